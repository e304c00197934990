//! Flags of the commands that create keys and certificates.

use std::path::PathBuf;

use clap::Args;

use super::data_dir;
use crate::domain::{NodeName, RelayName};

/// Flags of `relay-identity`.
#[derive(Args, Debug)]
pub struct RelayIdentityFlags {
    /// Name of the relay: 1 to 32 of a-z, 0-9 and '-'. Each relay needs its own: a second link of the same name replaces the
    /// first.
    pub name: RelayName,

    /// Folder to write relay.crt, relay.key and ca.crt to; created when missing.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The server's data folder, with the cluster CA. The CA is created when missing. Default: confab-data, or /var/lib/confab if
    /// only that exists.
    #[arg(
        long,
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `node-identity`.
#[derive(Args, Debug)]
pub struct NodeIdentityFlags {
    /// Name of the node: 1 to 32 of a-z, 0-9 and '-'. The node runs under this name.
    pub name: NodeName,

    /// DNS name or address by which clients and relays reach the node, for its certificate, as with `serve --public-name`. May be
    /// repeated, or separated by commas.
    #[arg(long = "public-name", value_name = "NAME", value_delimiter = ',')]
    pub public_names: Vec<String>,

    /// Folder to write to; created when missing.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The folder with the cluster CA, which is created when missing. Default: confab-data, or /var/lib/confab if only that
    /// exists.
    #[arg(
        long,
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `operator-identity`.
#[derive(Args, Debug)]
pub struct OperatorIdentityFlags {
    /// Folder to write to; created when missing. Use it as --data-dir of the commands.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The folder with the cluster CA. Default: confab-data, or /var/lib/confab if only that exists.
    #[arg(
        long,
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `cluster-keys`.
#[derive(Args, Debug)]
pub struct ClusterKeysFlags {
    /// Folder to write to; created when missing. A folder with other keys is not changed.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// Also copy ca.key: the node then issues its own identity, and can issue any other.
    #[arg(long)]
    pub ca_key: bool,

    /// The data folder of a node in the cluster. Its keys are created when missing. Default: confab-data, or /var/lib/confab if
    /// only that exists.
    #[arg(
        long,
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `fingerprint`.
#[derive(Args, Debug)]
pub struct FingerprintFlags {
    /// The server's data folder, with the cluster CA. Default: confab-data, or /var/lib/confab if only that exists.
    #[arg(
        long,
        default_value_os_t = data_dir::of_commands(),
        hide_default_value = true,
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}
