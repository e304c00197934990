//! The name and addresses of this node.

use std::net::{IpAddr, SocketAddr};

use super::config::Config;
use super::errors::ServeError;
use crate::cluster::nodes::{Nodes, Peers};
use crate::domain::NodeName;
use crate::store::{NodeRecord, NodeRun, Store};
use crate::tls::TlsError;
use crate::tls::authority::{self, host_name};
use crate::tls::certificates::Sources;

/// Maximum length of a node's name in bytes.
const NAME_LEN: usize = 32;

pub(super) struct ThisNode {
    /// The record for the store.
    pub(super) record: NodeRecord,
}

/// Describes this node by its settings, with defaults for what is not set.
pub(super) fn this_node(config: &Config, listening: SocketAddr) -> Result<ThisNode, ServeError> {
    let named = config
        .node
        .name
        .clone()
        .or_else(|| authority::named_node(&config.data_dir));
    let name = match named {
        Some(name) => name,
        None => default_name(listening.port()).ok_or(ServeError::NoNodeName)?,
    };
    let public = if config.node.public.is_empty() {
        addresses(config, listening)
    } else {
        config.node.public.clone()
    };
    let cluster = match &config.node.cluster_address {
        Some(address) => address.clone(),
        None => public.first().cloned().unwrap_or_default(),
    };
    Ok(ThisNode {
        record: NodeRecord {
            run: NodeRun::new(name),
            counter: 0,
            cluster,
            public,
        },
    })
}

impl ThisNode {
    /// This node, with connections to others if the store is shared.
    pub(super) fn nodes(
        &self,
        store: &dyn Store,
        certificates: &Sources,
    ) -> Result<Nodes, TlsError> {
        let me = self.record.run.clone();
        if !store.is_shared() {
            return Ok(Nodes::alone(me));
        }
        let client = certificates.client(&me.name)?;
        Ok(Nodes::among(me, Peers::new(client)))
    }
}

/// Addresses for clients: the public names, else the listening address, else the machine's name.
fn addresses(config: &Config, listening: SocketAddr) -> Vec<String> {
    let port = listening.port();
    let with_port = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{name}:{port}"),
    };
    if !config.public_names.is_empty() {
        return config.public_names.iter().map(with_port).collect();
    }
    if !listening.ip().is_unspecified() {
        return vec![listening.to_string()];
    }
    let host = host_name().unwrap_or_else(|| "localhost".to_owned());
    vec![with_port(&host)]
}

/// Default name: the machine's name and the port, so that several nodes on one machine have different names.
fn default_name(port: u16) -> Option<NodeName> {
    let host = host_name()?.to_ascii_lowercase();
    let first = host.split('.').next().unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let port = format!("-{port}");
    let name: String = first
        .chars()
        .map(allowed)
        .take(NAME_LEN - port.len())
        .collect();
    format!("{}{port}", name.trim_matches('-')).parse().ok()
}
