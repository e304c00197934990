//! Flags of the commands that send requests to a running cluster.

use std::path::PathBuf;

use clap::Args;

use super::data_dir;
use crate::domain::{NodeName, RelayName};

/// The node that an operator's command connects to.
#[derive(Args, Debug)]
pub struct OperatorFlags {
    /// A folder with ca.crt and ca.key, such as a node's data folder, or a folder that `operator-identity` has written. Default:
    /// confab-data, or /var/lib/confab if only that exists.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,

    /// The node to connect to, which queries the others. Default: the node that runs on the data folder, else 127.0.0.1:4433.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub node: Option<String>,
}

/// Flags of `status`.
#[derive(Args, Debug)]
pub struct StatusFlags {
    #[command(flatten)]
    pub operator: OperatorFlags,

    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `drain`.
#[derive(Args, Debug)]
pub struct DrainFlags {
    /// Name of the relay.
    pub relay: RelayName,

    #[command(flatten)]
    pub operator: OperatorFlags,

    /// Maximum time to wait until the relay has no sessions, in seconds. The relay continues to drain after that.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub wait: u64,
}

/// Flags of `revoke-relay`.
#[derive(Args, Debug)]
pub struct RevokeRelayFlags {
    /// Name of the relay.
    pub relay: RelayName,

    #[command(flatten)]
    pub operator: OperatorFlags,
}

/// Flags of `revoke-node`.
#[derive(Args, Debug)]
pub struct RevokeNodeFlags {
    /// Name of the node.
    #[arg(value_name = "NAME")]
    pub name: NodeName,

    #[command(flatten)]
    pub operator: OperatorFlags,
}

pub(super) fn host_and_port(text: &str) -> Result<String, &'static str> {
    let is_one = |(host, port): (&str, &str)| {
        let has_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        has_port && !host.is_empty() && (is_bracketed || !host.contains(':'))
    };
    match text.rsplit_once(':').is_some_and(is_one) {
        true => Ok(text.to_owned()),
        false => Err("expected HOST:PORT, an IPv6 address as [ADDRESS]:PORT"),
    }
}
