//! The context of every command: its common flags, its output, and its connection.

use crate::failure::{Exit, Failure};
use crate::flags::Common;
use crate::net::server::BadServer;
use crate::net::sign_in::Access;
use crate::net::trust::PinSource;
use crate::net::{Link, Server, Trust};
use crate::output::{Output, Printed};
use crate::store::Store;

/// The context of every command.
pub(super) struct Context {
    pub(super) common: Common,
    pub(super) output: Output,
}

impl Context {
    /// Where the server is and what vouches for it.
    pub(super) async fn access(&self) -> Result<Access, Failure> {
        let store = Store::open(self.common.config_dir.clone()).await?;
        let server = match &self.common.server {
            Some(server) => server.clone(),
            None => last_server(&store).await?,
        };
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
        Ok(Access::new(server, trust, store).await?)
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
