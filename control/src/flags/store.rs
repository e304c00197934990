//! The store of accounts and conferences.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use confab_console::values::whole_within;
use zeroize::Zeroizing;

use crate::store::cql::config::{self as cql, CqlAddress, CqlConfig, CqlLogin, CqlTls};

/// The value of `--store`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreUrl {
    /// A SQLite file; `None`: in the data folder.
    Sqlite(Option<PathBuf>),
    /// A CQL database.
    Cql(CqlAddress),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("cql:") {
            return text.parse().map(Self::Cql);
        }
        match text.strip_prefix("sqlite:") {
            _ if text == "sqlite" => Ok(Self::Sqlite(None)),
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(Some(path.into()))),
            _ => {
                Err("expected sqlite, sqlite:PATH or cql://HOST:PORT,HOST:PORT/KEYSPACE".to_owned())
            }
        }
    }
}

/// Flags of a CQL store.
#[derive(Args, Debug)]
pub struct CqlFlags {
    /// User name at the database. Requires --store-password.
    #[arg(long, value_name = "NAME", requires = "store_password")]
    pub store_user: Option<String>,

    /// Password at the database. Set it in the environment, or name a file by --store-password-file: other users of this machine
    /// can see command lines.
    #[arg(
        long,
        hide_env_values = true,
        value_name = "PASSWORD",
        requires = "store_user"
    )]
    pub store_password: Option<StorePassword>,

    /// PEM file with the CA of the database's certificates, which must name the nodes' IP addresses. With it the connection is
    /// encrypted; without it password hashes cross the network in plain text.
    #[arg(long, value_name = "FILE")]
    pub store_ca: Option<PathBuf>,

    /// PEM file with a client certificate, for a database that requires one.
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["store_key", "store_ca"]
    )]
    pub store_certificate: Option<PathBuf>,

    /// PEM file with the private key of --store-certificate.
    #[arg(long, value_name = "FILE", requires = "store_certificate")]
    pub store_key: Option<PathBuf>,

    /// Number of replicas of each row when the keyspace is created; to change it later, use ALTER KEYSPACE. With 3 the loss of
    /// one node has no effect; 1 is for tests.
    #[arg(long, default_value_t = cql::REPLICATION, value_name = "COUNT",
          value_parser = whole_within(1_u8..=9))]
    pub store_replication: u8,

    /// The datacentre of the database to use. Required when there are several; choose the nearest.
    #[arg(long, value_name = "NAME")]
    pub store_datacenter: Option<String>,
}

/// A password that `Debug` hides.
#[derive(Clone)]
pub struct StorePassword(Zeroizing<String>);

impl std::fmt::Debug for StorePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StorePassword(…)")
    }
}

impl FromStr for StorePassword {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl CqlFlags {
    /// The configuration for the database at `address`.
    pub(super) fn config(&self, address: &CqlAddress) -> CqlConfig {
        let login = self.store_user.clone().zip(self.store_password.clone());
        CqlConfig {
            address: address.clone(),
            login: login.map(|(user, StorePassword(password))| CqlLogin { user, password }),
            tls: self.store_ca.clone().map(|authority| CqlTls {
                authority,
                own: self.store_certificate.clone().zip(self.store_key.clone()),
            }),
            replication: self.store_replication,
            datacenter: self.store_datacenter.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::flags::{Command, Flags};
    use crate::server::StoreConfig;

    #[test]
    fn a_store_is_a_file_or_a_database() {
        assert_eq!("sqlite".parse(), Ok(StoreUrl::Sqlite(None)));
        assert_eq!(
            "sqlite:/tmp/x".parse(),
            Ok(StoreUrl::Sqlite(Some("/tmp/x".into())))
        );
        let Ok(StoreUrl::Cql(address)) = "cql://node/voice".parse() else {
            panic!("it is a database");
        };
        assert_eq!(address.keyspace, "voice");
        for wrong in ["postgres://x", "sqlite:", "sqlite3", "cql://", ""] {
            assert!(wrong.parse::<StoreUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_hides_the_password_of_the_store() {
        let flags = |more: &[&str]| {
            let all = ["confab-control", "serve", "--store", "cql://node"];
            Flags::try_parse_from(all.iter().chain(more))
        };
        let login = ["--store-user", "ann", "--store-password", "hush-hush"];
        let parsed = flags(&login).unwrap();
        assert!(!format!("{parsed:?}").contains("hush-hush"));
        let Command::Serve(serve) = parsed.command else {
            panic!("it serves");
        };
        let config = serve.config();
        assert!(!format!("{config:?}").contains("hush-hush"));
        let StoreConfig::Cql(cql) = config.store else {
            panic!("it is a database");
        };
        assert_eq!(cql.login.unwrap().password.as_str(), "hush-hush");
        for wrong in [
            &["--store-user", "ann"][..],
            &["--store-certificate", "a", "--store-key", "b"],
            &["--store-replication", "0"],
        ] {
            assert!(flags(wrong).is_err(), "{wrong:?}");
        }
    }
}
