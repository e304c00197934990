//! Formats the state of a cluster as tables and as JSON.

use std::fmt::{Display, Write as _};

use confab_protocol::control::text::escaped;
use serde_json::{Value, json};

use crate::cluster::status::{ClusterStatus, NodeFigures, NodeLiveness, NodeStatus, RelayStatus};

const GAP: &str = "  ";

/// Printed below the relays: control does not verify these values.
const SELF_REPORTED: &str = "(load, region and addresses are what a relay says of itself)\n";

/// Tables of nodes and relays, with totals.
pub fn text(status: &ClusterStatus) -> String {
    let mut out = String::new();
    let nodes = status.nodes.iter().map(node_row);
    table(
        &mut out,
        &[
            "NODE",
            "STATE",
            "ROOMS",
            "PEOPLE",
            "CLIENTS",
            "STORE",
            "REGION",
            "VERSION",
            "ADDRESSES",
        ],
        nodes.collect(),
    );
    out.push('\n');
    let relays = status
        .relays
        .iter()
        .map(|relay| relay_row(relay, &status.nodes));
    table(
        &mut out,
        &[
            "RELAY",
            "STATE",
            "SESSIONS",
            "MAX",
            "ROOMS",
            "IN/S",
            "OUT/S",
            "BUSY",
            "LINKS",
            "REGION",
            "ADDRESSES",
        ],
        relays.collect(),
    );
    if !status.relays.is_empty() {
        out.push_str(SELF_REPORTED);
    }
    let totals = Totals::of(status);
    let _ = writeln!(
        out,
        "\n{} with {}, {}",
        counted(totals.rooms, "room"),
        counted(totals.participants, "participant"),
        counted(totals.sessions, "media session")
    );
    out
}

/// One JSON object. Keys are stable across versions; new ones may be added.
pub fn json(status: &ClusterStatus) -> Value {
    let totals = Totals::of(status);
    json!({
        "nodes": status.nodes.iter().map(node_json).collect::<Vec<_>>(),
        "relays": status.relays.iter().map(relay_json).collect::<Vec<_>>(),
        "rooms": totals.rooms,
        "participants": totals.participants,
        "sessions": totals.sessions,
    })
}

/// A number with its noun.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// The names in a line; `none` where there are none.
pub(crate) fn names<N: Display>(names: impl IntoIterator<Item = N>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

struct Totals {
    rooms: u64,
    participants: u64,
    sessions: u64,
}

impl Totals {
    fn of(status: &ClusterStatus) -> Self {
        let figures = || status.nodes.iter().filter_map(|node| node.figures.as_ref());
        Self {
            rooms: figures().map(|figures| u64::from(figures.rooms)).sum(),
            participants: figures()
                .map(|figures| u64::from(figures.participants))
                .sum(),
            sessions: status
                .relays
                .iter()
                .map(|relay| u64::from(relay.load.sessions))
                .sum(),
        }
    }
}

fn node_row(node: &NodeStatus) -> Vec<String> {
    let figures = node.figures.as_ref();
    let number = |of: Option<u32>| of.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let text = |of: Option<String>| {
        of.filter(|text| !text.is_empty())
            .unwrap_or_else(|| "-".to_owned())
    };
    let store = figures.map(|figures| match figures {
        NodeFigures {
            store_answers: false,
            ..
        } => "down".to_owned(),
        NodeFigures { store_problem, .. } if !store_problem.is_empty() => {
            format!("cannot write ({store_problem})")
        }
        _ => "ok".to_owned(),
    });
    vec![
        node.name.to_string(),
        state(node).to_owned(),
        number(figures.map(|figures| figures.rooms)),
        number(figures.map(|figures| figures.participants)),
        number(figures.map(|figures| figures.clients)),
        text(store),
        text(
            figures
                .and_then(|figures| figures.region.as_ref())
                .map(ToString::to_string),
        ),
        text(figures.map(|figures| version(&figures.agent).to_owned())),
        text(Some(node.public.join(" "))),
    ]
}

fn relay_row(relay: &RelayStatus, nodes: &[NodeStatus]) -> Vec<String> {
    let load = &relay.load;
    let addresses: Vec<_> = relay.addresses.iter().map(ToString::to_string).collect();
    let answering = nodes.iter().filter(|node| node.figures.is_some());
    vec![
        relay.name.to_string(),
        if load.draining { "draining" } else { "ok" }.to_owned(),
        load.sessions.to_string(),
        relay.max_sessions.to_string(),
        load.rooms.to_string(),
        load.datagrams_in_per_s.to_string(),
        load.datagrams_out_per_s.to_string(),
        format!("{} %", load.busy_percent),
        format!("{}/{}", relay.nodes.len(), answering.count()),
        relay
            .region
            .as_ref()
            .map_or_else(|| "-".to_owned(), ToString::to_string),
        addresses.join(" "),
    ]
}

fn node_json(node: &NodeStatus) -> Value {
    let mut all = json!({
        "name": node.name.as_str(),
        "state": state(node),
        "cluster_address": node.cluster,
        "public_addresses": node.public,
    });
    if let Some(figures) = &node.figures {
        all["version"] = version(&figures.agent).into();
        all["region"] = figures.region.as_ref().map(ToString::to_string).into();
        all["rooms"] = figures.rooms.into();
        all["participants"] = figures.participants.into();
        all["clients"] = figures.clients.into();
        all["store_answers"] = figures.store_answers.into();
        all["store_problem"] = match figures.store_problem.is_empty() {
            true => Value::Null,
            false => figures.store_problem.as_str().into(),
        };
    }
    all
}

fn relay_json(relay: &RelayStatus) -> Value {
    let load = &relay.load;
    json!({
        "name": relay.name.as_str(),
        "region": relay.region.as_ref().map(ToString::to_string),
        "addresses": relay.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "linked_to": relay.nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "draining": load.draining,
        "sessions": load.sessions,
        "max_sessions": relay.max_sessions,
        "rooms": load.rooms,
        "datagrams_in_per_second": load.datagrams_in_per_s,
        "datagrams_out_per_second": load.datagrams_out_per_s,
        "busy_percent": load.busy_percent,
    })
}

fn state(node: &NodeStatus) -> &'static str {
    match (node.life, node.figures.is_some()) {
        (NodeLiveness::Alive, true) => "alive",
        (NodeLiveness::Alive, false) => "silent",
        (NodeLiveness::Suspected, _) => "doubted",
        (NodeLiveness::Dead, _) => "dead",
    }
}

fn version(agent: &str) -> &str {
    agent.rsplit_once('/').map_or(agent, |(_, version)| version)
}

/// Appends a table. Columns fit their widest cell; numbers are right-aligned. Control characters in reported text are escaped, so
/// that a row is one line.
pub(super) fn table(out: &mut String, heads: &[&str], mut rows: Vec<Vec<String>>) {
    for cell in rows.iter_mut().flatten() {
        *cell = escaped(cell).into_owned();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let is_figure = |cell: &String| {
        cell.starts_with(|c: char| c.is_ascii_digit())
            && cell
                .chars()
                .all(|c| c.is_ascii_digit() || " %/".contains(c))
    };
    let is_number = |column: usize| {
        rows.iter().any(|row| is_figure(&row[column])) && column + 1 < heads.len() && column > 0
    };
    let numbers: Vec<_> = (0..heads.len()).map(is_number).collect();
    let mut line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (column, cell) in cells.into_iter().enumerate() {
            let width = widths[column];
            let _ = match numbers[column] {
                true => write!(text, "{cell:>width$}{GAP}"),
                false => write!(text, "{cell:<width$}{GAP}"),
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(heads.to_vec());
    for row in &rows {
        line(row.iter().map(String::as_str).collect());
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::wire;

    use super::*;

    fn status() -> ClusterStatus {
        let node = |name: &str, figures| NodeStatus {
            name: name.parse().unwrap(),
            life: NodeLiveness::Alive,
            cluster: "10.0.0.1:4433".to_owned(),
            public: vec![format!("{name}.example.org:4433")],
            figures,
        };
        ClusterStatus {
            nodes: vec![
                node(
                    "berlin-1",
                    Some(NodeFigures {
                        agent: "confab-control/0.1.0".to_owned(),
                        region: Some("europe".parse().unwrap()),
                        rooms: 12,
                        participants: 345,
                        clients: 1024,
                        store_answers: true,
                        store_problem: String::new(),
                    }),
                ),
                node("two", None),
            ],
            relays: vec![RelayStatus {
                name: "r1".parse().unwrap(),
                region: None,
                addresses: vec!["192.0.2.1:9000".parse().unwrap()],
                max_sessions: 4000,
                load: wire::RelayLoad {
                    sessions: 345,
                    rooms: 12,
                    datagrams_in_per_s: 5000,
                    datagrams_out_per_s: 51_000,
                    busy_percent: 37,
                    draining: false,
                },
                nodes: vec!["berlin-1".parse().unwrap()],
            }],
        }
    }

    #[test]
    fn columns_are_aligned() {
        let shown = text(&status());
        let expected = "\
NODE      STATE   ROOMS  PEOPLE  CLIENTS  STORE  REGION  VERSION  ADDRESSES
berlin-1  alive      12     345     1024  ok     europe  0.1.0    berlin-1.example.org:4433
two       silent      -       -        -  -      -       -        two.example.org:4433

RELAY  STATE  SESSIONS   MAX  ROOMS  IN/S  OUT/S  BUSY  LINKS  REGION  ADDRESSES
r1     ok          345  4000     12  5000  51000  37 %    1/1  -       192.0.2.1:9000
(load, region and addresses are what a relay says of itself)

12 rooms with 345 participants, 345 media sessions
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn control_characters_in_a_nodes_report_are_escaped() {
        let lines = text(&status()).lines().count();
        let mut status = status();
        status.nodes[0].public = vec!["a\u{1b}[2J\nr9  ok  0".to_owned()];
        let figures = status.nodes[0].figures.as_mut().unwrap();
        figures.agent = "x/0.1\u{202e}".to_owned();
        let shown = text(&status);
        assert_eq!(shown.lines().count(), lines);
        for line in shown.lines() {
            assert_eq!(confab_protocol::control::text::check(line), Ok(()));
        }
    }

    #[test]
    fn json_keys_are_stable() {
        let shown = json(&status());
        assert_eq!(shown["nodes"][0]["state"], "alive");
        assert_eq!(shown["nodes"][0]["participants"], 345);
        assert_eq!(shown["nodes"][1]["state"], "silent");
        assert_eq!(shown["relays"][0]["datagrams_out_per_second"], 51_000);
        assert_eq!(shown["relays"][0]["linked_to"], json!(["berlin-1"]));
        assert_eq!(shown["sessions"], 345);
    }
}
