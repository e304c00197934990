//! Flags of the commands that make keys and certificates.

use std::path::PathBuf;

use crate::domain::{NodeName, RelayName};
use clap::Args;

/// Flags of `relay-identity`.
#[derive(Args, Debug)]
pub struct RelayIdentityFlags {
    /// What the relay is called: 1 to 32 of a-z, 0-9 and '-'. One name for each relay: a second link of the same name takes
    /// the first one's place.
    pub name: RelayName,

    /// Folder to write relay.crt, relay.key and ca.crt into; made when it is missing.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The server's data folder, which holds the cluster CA. The CA is made when there is none yet.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value = "confab-data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `node-identity`.
#[derive(Args, Debug)]
pub struct NodeIdentityFlags {
    /// What the node is called: 1 to 32 of a-z, 0-9 and '-'. It runs under this name.
    pub name: NodeName,

    /// A DNS name or address by which clients and relays reach the node, for its certificate, as `serve --public-name` has it; several
    /// may be given.
    #[arg(long = "public-name", value_name = "NAME")]
    pub public_names: Vec<String>,

    /// Folder to write to; made when it is missing.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The folder with the cluster's authority. It is made when there is none yet.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value = "confab-data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `operator-identity`.
#[derive(Args, Debug)]
pub struct OperatorIdentityFlags {
    /// Folder to write to; made when it is missing. Commands take it as their --data-dir.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// The folder with the cluster's authority.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value = "confab-data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `cluster-keys`.
#[derive(Args, Debug)]
pub struct ClusterKeysFlags {
    /// Folder to write to; made when it is missing. One that holds other keys is left alone.
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,

    /// Copy ca.key as well: the node makes its identity by itself, and can make any other.
    #[arg(long)]
    pub ca_key: bool,

    /// The data folder of a node that is in the cluster. Its keys are made when there are none yet.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value = "confab-data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}

/// Flags of `fingerprint`.
#[derive(Args, Debug)]
pub struct FingerprintFlags {
    /// The server's data folder, which holds the cluster CA.
    #[arg(
        long,
        env = "CONFAB_CONTROL_DATA_DIR",
        default_value = "confab-data",
        value_name = "FOLDER"
    )]
    pub data_dir: PathBuf,
}
