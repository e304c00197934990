//! Flags of the commands that send requests to a running cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use confab_console::values::duration;
use confab_protocol::control::server::{BadServer, Server};

use super::data_dir;
use crate::domain::{NodeName, RelayName};

/// The node that an operator's command connects to.
#[derive(Args, Debug)]
pub struct OperatorFlags {
    /// A folder with ca.crt and ca.key, such as a node's data folder, or a folder that `operator-identity` has written. Default:
    /// confab-data, or /var/lib/confab if only that exists.
    #[arg(
        long,
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,

    /// The node to connect to, which queries the others. Default: the node that runs on the data folder, else 127.0.0.1:4433.
    // `serve` has a --node that is a name.
    #[arg(long, env = "CONFAB_CONTROL_OPERATOR_NODE", value_name = "HOST:PORT", value_parser = host_and_port)]
    pub node: Option<String>,
}

/// Flags of the commands that ask a node, and show what it answers.
#[derive(Args, Debug)]
pub struct AdminFlags {
    #[command(flatten)]
    pub operator: OperatorFlags,

    /// Print JSON, one object a line, instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `drain`.
#[derive(Args, Debug)]
pub struct DrainFlags {
    /// Name of the relay.
    pub relay: RelayName,

    #[command(flatten)]
    pub admin: AdminFlags,

    /// Maximum time to wait until the relay has no sessions. The relay continues to drain after that.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration)]
    pub wait: Duration,
}

/// Flags of `revoke-relay`.
#[derive(Args, Debug)]
pub struct RevokeRelayFlags {
    /// Name of the relay.
    pub relay: RelayName,

    #[command(flatten)]
    pub admin: AdminFlags,
}

/// Flags of `revoke-node`.
#[derive(Args, Debug)]
pub struct RevokeNodeFlags {
    /// Name of the node.
    #[arg(value_name = "NAME")]
    pub name: NodeName,

    #[command(flatten)]
    pub admin: AdminFlags,
}

pub(super) fn host_and_port(text: &str) -> Result<String, BadServer> {
    Server::with_port(text).map(|server| server.to_string())
}
