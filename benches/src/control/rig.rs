//! The real programs, and connections of accounts to them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use confab::net::{ApiError, ConnectError, Link, Server, Trust};
use confab_protocol::control::ErrorCode;
use confab_protocol::wire::{self, request, response};

use super::errors::ControlError;
use crate::fleet::Fleet;
use crate::load::cpu::{self, Usage};

pub(super) const PASSWORD: &str = "four random words here";

/// The store of the accounts.
#[derive(Clone, Copy)]
pub enum StoreChoice<'a> {
    File,
    /// In a database, as `--store` names it.
    Database(&'a str),
}

impl StoreChoice<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::File => "sqlite",
            Self::Database(_) => "cql",
        }
    }
}

/// Control and a relay, as processes.
pub struct ControlRig {
    /// Suffix of its figures.
    pub name: &'static str,
    fleet: Fleet,
    /// In the fleet's authority.
    trust: Trust,
    _scratch: tempfile::TempDir,
}

/// A connection that is signed in.
pub(crate) struct SignedInUser {
    pub(crate) link: Arc<Link>,
    pub(crate) name: String,
    /// Session token, for another connection.
    pub(crate) token: Vec<u8>,
}

impl ControlRig {
    /// Starts them, without limits for one address.
    pub async fn start(programs: &Path, store: StoreChoice<'_>) -> Result<Self, ControlError> {
        let scratch = confab_testdb::scratch()?;
        let mut flags = vec!["--log-level", "warn", "--login-burst", "1000000"];
        flags.extend(["--max-strangers-per-address", "4096"]);
        flags.extend(["--handshake-burst", "100000"]);
        let mut flags: Vec<_> = flags.into_iter().map(str::to_owned).collect();
        if let StoreChoice::Database(address) = store {
            flags.extend(["--store".to_owned(), address.to_owned()]);
            flags.extend(["--store-replication".to_owned(), "1".to_owned()]);
        }
        let fleet = Fleet::start_with(programs, scratch.path(), flags).await?;
        Ok(Self {
            name: store.name(),
            trust: Trust::from_pem_file(&fleet.authority()).map_err(ConnectError::from)?,
            fleet,
            _scratch: scratch,
        })
    }

    /// Ends them in order.
    pub async fn end(self) -> Result<(), ControlError> {
        Ok(self.fleet.end().await?)
    }

    /// A connection that speaks for nobody yet.
    pub(crate) fn connect(
        &self,
    ) -> impl Future<Output = Result<Link, ControlError>> + Send + 'static {
        let server = Server {
            host: self.fleet.control.ip().to_string(),
            port: self.fleet.control.port(),
        };
        let trust = self.trust.clone();
        async move { Ok(Link::open(&server, &trust).await?) }
    }

    /// Makes an account, and a connection of it.
    pub(crate) async fn register(&self, name: &str) -> Result<SignedInUser, ControlError> {
        let link = self.connect().await?;
        let register = wire::Register {
            username: name.to_owned(),
            email: format!("{name}@bench.invalid"),
            password: PASSWORD.to_owned(),
            birthday: "1990-01-01".to_owned(),
            device: "confab-bench".to_owned(),
            invitation: None,
        };
        let granted = link.granted(request::Kind::Register(register)).await;
        let granted = granted.map_err(refused("an account"))?;
        drop_events(&link);
        Ok(SignedInUser {
            link: Arc::new(link),
            name: name.to_owned(),
            token: granted.token.to_vec(),
        })
    }

    /// The processor time of control's threads so far.
    pub(crate) fn usage(&self) -> Result<Usage, ControlError> {
        Ok(Usage::now(self.pid()?)?)
    }

    /// Processor time that control has used since `before`.
    pub(crate) fn used_since(&self, before: &Usage) -> Result<Duration, ControlError> {
        Ok(cpu::used_since(before, self.pid()?)?)
    }

    /// Control's resident memory, in bytes.
    pub(super) fn memory(&self) -> Result<u64, ControlError> {
        Ok(cpu::resident(self.pid()?)?)
    }

    fn pid(&self) -> Result<u32, ControlError> {
        let pid = self.fleet.control_pid();
        pid.ok_or(ControlError::Other("control has ended"))
    }
}

/// Reads a connection's events and drops them: unread ones would have the server wait.
pub(super) fn drop_events(link: &Link) {
    let mut incoming = link.incoming();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(_) = incoming.events.recv() => {}
                Some(_) = incoming.group.recv() => {}
                else => return,
            }
        }
    });
}

pub(crate) fn refused(what: &'static str) -> impl Fn(ApiError) -> ControlError {
    move |error| ControlError::Refused { what, error }
}

/// Asks again as long as the server says that one asks too often.
pub(super) async fn request_unthrottled(
    link: &Link,
    what: &'static str,
    kind: request::Kind,
) -> Result<response::Kind, ControlError> {
    loop {
        match link.request(kind.clone()).await {
            Err(ApiError::Refused(refusal)) if refusal.code == ErrorCode::Throttled => {
                let wait = refusal.retry_after.unwrap_or(Duration::from_millis(100));
                tokio::time::sleep(wait).await;
            }
            answer => return answer.map_err(refused(what)),
        }
    }
}
