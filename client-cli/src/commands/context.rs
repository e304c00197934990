//! The context of every command: its common flags, its output, and its connection.

use confab_e2ee::mls::identity::ServerId;

use super::password;
use crate::failure::{Exit, Failure};
use crate::flags::Common;
use crate::net::sign_in::Access;
use crate::net::trust::PinSource;
use crate::net::{BadServer, Fingerprint, Link, Remembered, Server, Trust};
use crate::output::{Output, Printed};
use crate::store::{Store, StoreError};

/// The context of every command.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) common: Common,
    pub(super) output: Output,
}

/// A server that was reached before, and the files about it.
pub(super) struct KnownServer {
    pub(super) store: Store,
    pub(super) server: Server,
    /// As its credentials name it.
    pub(super) id: ServerId,
    /// Its cluster's authority.
    pub(super) authority: Fingerprint,
}

impl Context {
    /// Where the server is and what vouches for it.
    pub(super) async fn access(&self) -> Result<Access, Failure> {
        let (store, server) = self.store_and_server().await?;
        let trust = match (self.common.ca.clone(), self.common.fingerprint) {
            (Some(path), _) => {
                // Reading may block, for example on a named pipe.
                let reading = tokio::task::spawn_blocking(move || Trust::from_pem_file(&path));
                reading.await.map_err(|error| {
                    let message = format!("cannot read --ca: {error}");
                    Failure::new(Exit::Other, "thread", message)
                })??
            }
            (None, Some(pin)) => Trust::Pinned {
                pin,
                source: PinSource::Flag,
            },
            (None, None) => match store.known_server(&server.to_string()).await? {
                Some(how) => Trust::remembered(how, &store.known_servers_path()).await?,
                None => Trust::Unknown,
            },
        };
        let access = Access::new(server, trust, store).await?;
        Ok(match password::bot_token().await? {
            Some(token) => access.by_token(token),
            None => access,
        })
    }

    /// The server by what is remembered of it, without a connection.
    pub(super) async fn known_server(&self) -> Result<KnownServer, Failure> {
        let (store, server) = self.store_and_server().await?;
        let name = server.to_string();
        let remembered = match self.common.fingerprint {
            Some(pin) => Some(pin),
            None => {
                let known = store.known_server(&name).await?;
                known.map(Remembered::authority)
            }
        };
        let authority = remembered.ok_or_else(|| {
            let message = format!(
                "nothing is known of {name} here: log in there first with `confab --server {name} login NAME`"
            );
            Failure::new(Exit::NotFound, "unknown_server", message)
        })?;
        let id = ServerId::of_authority(authority.as_bytes());
        Ok(KnownServer {
            store,
            server,
            id,
            authority,
        })
    }

    /// The client's files.
    pub(super) async fn store(&self) -> Result<Store, StoreError> {
        Store::open(self.common.config_dir.clone()).await
    }

    async fn store_and_server(&self) -> Result<(Store, Server), Failure> {
        let store = self.store().await?;
        let server = match &self.common.server {
            Some(server) => server.clone(),
            None => last_server(&store).await?,
        };
        Ok((store, server))
    }

    /// A connection that speaks for the account.
    pub(super) async fn signed_in(&self) -> Result<(Access, Link), Failure> {
        let mut access = self.access().await?;
        let link = access.open_signed_in().await?.0;
        Ok((access, link))
    }

    /// Signs in, prints what `report` returns, and closes the connection.
    pub(super) async fn signed_in_report<R: Printed>(
        &self,
        report: impl AsyncFnOnce(&Access, &Link) -> Result<R, Failure>,
    ) -> Result<(), Failure> {
        let (access, link) = self.signed_in().await?;
        self.output.print(&report(&access, &link).await?);
        link.close().await;
        Ok(())
    }
}

async fn last_server(store: &Store) -> Result<Server, Failure> {
    let last = store.sessions().await?.last_server.ok_or_else(|| {
        Failure::usage("which server? Name it with --server HOST or in CONFAB_SERVER; after a login it is remembered")
    })?;
    last.parse()
        .map_err(|error: BadServer| Failure::usage(error.to_string()))
}
