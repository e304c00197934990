//! The state of a cluster's nodes and relays, and its encoding on the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use confab_protocol::control::Region;
use confab_protocol::control::room::BadField;
use confab_protocol::wire;

use crate::domain::{NodeName, RelayName};
use crate::store::NodeRecord;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClusterStatus {
    pub nodes: Vec<NodeStatus>,
    pub relays: Vec<RelayStatus>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    pub name: NodeName,
    /// Liveness as seen by the node that answers.
    pub life: NodeLiveness,
    /// Address for other nodes, `HOST:PORT`.
    pub cluster: String,
    /// Addresses for clients, `HOST:PORT` each.
    pub public: Vec<String>,
    /// The node's own report; `None` if it did not answer.
    pub figures: Option<NodeFigures>,
}

/// Liveness of a node, judged by its heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeLiveness {
    Alive,
    /// The heartbeat counter has not changed for 2 s.
    Suspected,
    /// The heartbeat counter has not changed for 3.5 s; other nodes may take over the node's rooms.
    Dead,
}

/// A node's report of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeFigures {
    /// Name and version of the program.
    pub agent: String,
    pub region: Option<Region>,
    /// Number of rooms that the node owns.
    pub rooms: u32,
    /// Number of participants in these rooms.
    pub participants: u32,
    /// Number of connected clients.
    pub clients: u32,
    /// True if the last operation of the store succeeded.
    pub store_answers: bool,
    /// Why the store could not write just now; empty if it could.
    pub store_problem: String,
}

/// A relay that is linked to at least one node.
#[derive(Clone, PartialEq, Debug)]
pub struct RelayStatus {
    pub name: RelayName,
    pub region: Option<Region>,
    /// Addresses for clients.
    pub addresses: Vec<SocketAddr>,
    /// Maximum number of media sessions.
    pub max_sessions: u32,
    /// The last load report.
    pub load: wire::RelayLoad,
    /// Names of the nodes that the relay is linked to, sorted.
    pub nodes: Vec<NodeName>,
}

impl Eq for RelayStatus {}

impl ClusterStatus {
    /// Merges the status that another node has sent.
    pub fn add(&mut self, node: &NodeRecord, life: NodeLiveness, theirs: Self) {
        let figures = theirs.nodes.into_iter().find_map(|node| node.figures);
        self.nodes.push(NodeStatus {
            name: node.run.name.clone(),
            life,
            cluster: node.cluster.clone(),
            public: node.public.clone(),
            figures,
        });
        let ours = std::mem::take(&mut self.relays).into_iter();
        let mut relays: BTreeMap<_, _> = ours.map(|relay| (relay.name.clone(), relay)).collect();
        for relay in theirs.relays {
            match relays.get_mut(&relay.name) {
                Some(known) => {
                    known.nodes.extend(relay.nodes);
                    known.nodes.sort();
                }
                None => {
                    relays.insert(relay.name.clone(), relay);
                }
            }
        }
        self.relays = relays.into_values().collect();
    }
}

impl From<ClusterStatus> for wire::ClusterStatus {
    fn from(status: ClusterStatus) -> Self {
        Self {
            nodes: status.nodes.into_iter().map(node_to_wire).collect(),
            relays: status.relays.into_iter().map(relay_to_wire).collect(),
        }
    }
}

impl TryFrom<wire::ClusterStatus> for ClusterStatus {
    type Error = BadField;

    fn try_from(status: wire::ClusterStatus) -> Result<Self, BadField> {
        let (nodes, relays) = (status.nodes.into_iter(), status.relays.into_iter());
        Ok(Self {
            nodes: nodes.map(parse_node).collect::<Result<_, _>>()?,
            relays: relays.map(parse_relay).collect::<Result<_, _>>()?,
        })
    }
}

fn node_to_wire(node: NodeStatus) -> wire::NodeStatus {
    let life = match node.life {
        NodeLiveness::Alive => wire::NodeLife::Alive,
        NodeLiveness::Suspected => wire::NodeLife::Doubted,
        NodeLiveness::Dead => wire::NodeLife::Dead,
    };
    wire::NodeStatus {
        name: node.name.to_string(),
        life: life.into(),
        cluster_address: node.cluster,
        public_addresses: node.public,
        figures: node.figures.map(|figures| wire::NodeFigures {
            agent: figures.agent,
            region: region_to_wire(figures.region),
            rooms: figures.rooms,
            participants: figures.participants,
            clients: figures.clients,
            store_answers: figures.store_answers,
            store_problem: figures.store_problem,
        }),
    }
}

fn parse_node(node: wire::NodeStatus) -> Result<NodeStatus, BadField> {
    let parse_figures = |figures: wire::NodeFigures| {
        Ok(NodeFigures {
            region: parse_region(&figures.region)?,
            agent: figures.agent,
            rooms: figures.rooms,
            participants: figures.participants,
            clients: figures.clients,
            store_answers: figures.store_answers,
            store_problem: figures.store_problem,
        })
    };
    Ok(NodeStatus {
        life: match node.life() {
            wire::NodeLife::Alive => NodeLiveness::Alive,
            wire::NodeLife::Doubted => NodeLiveness::Suspected,
            wire::NodeLife::Dead => NodeLiveness::Dead,
            wire::NodeLife::Unspecified => return Err(BadField("life")),
        },
        name: node.name.parse().map_err(|_| BadField("name"))?,
        cluster: node.cluster_address,
        public: node.public_addresses,
        figures: node.figures.map(parse_figures).transpose()?,
    })
}

fn relay_to_wire(relay: RelayStatus) -> wire::RelayStatus {
    wire::RelayStatus {
        name: relay.name.to_string(),
        region: region_to_wire(relay.region),
        addresses: relay.addresses.iter().map(ToString::to_string).collect(),
        max_sessions: relay.max_sessions,
        load: Some(relay.load),
        nodes: relay.nodes.iter().map(ToString::to_string).collect(),
    }
}

fn parse_relay(relay: wire::RelayStatus) -> Result<RelayStatus, BadField> {
    let address = |text: &String| text.parse().map_err(|_| BadField("addresses"));
    let node = |text: &String| text.parse().map_err(|_| BadField("nodes"));
    Ok(RelayStatus {
        name: relay.name.parse().map_err(|_| BadField("name"))?,
        region: parse_region(&relay.region)?,
        addresses: relay
            .addresses
            .iter()
            .map(address)
            .collect::<Result<_, _>>()?,
        max_sessions: relay.max_sessions,
        load: relay.load.unwrap_or_default(),
        nodes: relay.nodes.iter().map(node).collect::<Result<_, _>>()?,
    })
}

fn region_to_wire(region: Option<Region>) -> String {
    region.map(String::from).unwrap_or_default()
}

fn parse_region(text: &str) -> Result<Option<Region>, BadField> {
    Region::parse(text).map_err(|_| BadField("region"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NodeRun;

    fn relay(name: &str, node: &str) -> RelayStatus {
        RelayStatus {
            name: name.parse().unwrap(),
            region: Some("europe".parse().unwrap()),
            addresses: vec!["192.0.2.1:9000".parse().unwrap()],
            max_sessions: 1000,
            load: wire::RelayLoad {
                sessions: 7,
                draining: true,
                ..wire::RelayLoad::default()
            },
            nodes: vec![node.parse().unwrap()],
        }
    }

    fn node(name: &str, figures: Option<NodeFigures>) -> NodeStatus {
        NodeStatus {
            name: name.parse().unwrap(),
            life: NodeLiveness::Suspected,
            cluster: "10.0.0.1:4433".to_owned(),
            public: vec!["one.example.org:4433".to_owned()],
            figures,
        }
    }

    fn figures() -> NodeFigures {
        NodeFigures {
            agent: "confab-control/1".to_owned(),
            region: None,
            rooms: 1,
            participants: 2,
            clients: 3,
            store_answers: true,
            store_problem: "the disk is full".to_owned(),
        }
    }

    #[test]
    fn a_status_survives_encoding_and_parsing() {
        let status = ClusterStatus {
            nodes: vec![node("one", Some(figures())), node("two", None)],
            relays: vec![relay("berlin", "one")],
        };
        let wired = wire::ClusterStatus::from(status.clone());
        assert_eq!(ClusterStatus::try_from(wired), Ok(status));
    }

    #[test]
    fn a_relay_linked_to_two_nodes_is_listed_once() {
        let mut all = ClusterStatus {
            nodes: vec![node("two", Some(figures()))],
            relays: vec![relay("berlin", "two")],
        };
        let theirs = ClusterStatus {
            nodes: vec![node("one", Some(figures()))],
            relays: vec![relay("berlin", "one"), relay("amsterdam", "one")],
        };
        let record = NodeRecord {
            run: NodeRun::new("one".parse().unwrap()),
            counter: 0,
            cluster: String::new(),
            public: Vec::new(),
        };
        all.add(&record, NodeLiveness::Alive, theirs);
        let relays: Vec<_> = all
            .relays
            .iter()
            .map(|relay| (relay.name.as_str(), relay.nodes.len()))
            .collect();
        assert_eq!(relays, [("amsterdam", 1), ("berlin", 2)]);
        assert_eq!(all.nodes[1].figures, Some(figures()));
    }
}
