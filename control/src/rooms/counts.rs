//! The participants in rooms of all nodes, for lists and `conference_info`. This node counts its own rooms; for the others it looks up
//! the homes, asks each node once, and remembers the answers for 5 s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use confab_protocol::control::ConferenceId;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::Rooms;
use crate::cluster::nodes::members::Liveness;
use crate::cluster::nodes::{NodeRequest, NodeResponse, Nodes};
use crate::domain::Present;
use crate::mutex::lock;
use crate::store::batch::join_all;
use crate::store::{NodeRecord, Store};

/// Age up to which a count of another node is used.
const GOOD_FOR: Duration = Duration::from_secs(5);
/// Time for the store and the nodes to answer. A count that is not known by then is shown as 0.
const DEADLINE: Duration = Duration::from_millis(500);
/// Most counts that are remembered.
const MAX_REMEMBERED: usize = 65_536;

/// The participants in rooms of all nodes.
pub struct LiveCounts {
    rooms: Rooms,
    nodes: Nodes,
    store: Arc<dyn Store>,
    remembered: Mutex<HashMap<ConferenceId, Remembered>>,
}

#[derive(Clone, Copy)]
struct Remembered {
    live: u32,
    since: Instant,
}

impl LiveCounts {
    /// Nothing is remembered yet.
    pub fn new(rooms: Rooms, nodes: Nodes, store: Arc<dyn Store>) -> Self {
        Self {
            rooms,
            nodes,
            store,
            remembered: Mutex::default(),
        }
    }

    /// The number of participants in the room of each conference, whichever node owns it.
    pub async fn of(&self, conferences: &[ConferenceId]) -> Vec<u32> {
        let is_alone = self.nodes.others().is_empty();
        let now = Instant::now();
        let known: Vec<Option<u32>> = {
            let remembered = self.lock();
            let of_others = |id: &ConferenceId| {
                let found = remembered.get(id).filter(|found| found.is_good(now));
                found.map(|found| found.live)
            };
            let known = conferences.iter().map(|id| match self.rooms.live(*id) {
                0 if !is_alone => of_others(id),
                here => Some(here),
            });
            known.collect()
        };
        let unknown: Vec<ConferenceId> = conferences
            .iter()
            .zip(&known)
            .filter_map(|(id, live)| live.is_none().then_some(*id))
            .collect();
        let asked = match unknown.is_empty() {
            true => HashMap::new(),
            false => self.ask(&unknown).await,
        };
        if !unknown.is_empty() {
            self.remember(&unknown, &asked, now);
        }
        let zipped = conferences.iter().zip(known);
        zipped
            .map(|(id, live)| live.unwrap_or_else(|| asked.get(id).copied().unwrap_or_default()))
            .collect()
    }

    /// The participants of the conference's room, whichever node owns it. Nobody if that node does not answer.
    pub async fn roster(&self, conference: ConferenceId) -> Vec<Present> {
        let here = self.rooms.roster(conference).await;
        if !here.is_empty() || self.nodes.others().is_empty() {
            return here;
        }
        let asking = async {
            let node = self.home(conference).await?;
            let request = NodeRequest::Roster(conference);
            match self.nodes.ask(&node, &request).await {
                Ok(NodeResponse::Roster(there)) => Some(there),
                _ => None,
            }
        };
        let answer = tokio::time::timeout(DEADLINE, asking).await;
        answer.ok().flatten().unwrap_or_default()
    }

    /// Asks the owners of the rooms. A conference without an owner, or whose owner does not answer, is missing.
    async fn ask(&self, conferences: &[ConferenceId]) -> HashMap<ConferenceId, u32> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let looking = join_all(conferences.iter().map(|id| self.home(*id)));
        let homes = timeout_at(deadline, looking).await.unwrap_or_default();
        let mut by_node: HashMap<String, (NodeRecord, Vec<ConferenceId>)> = HashMap::new();
        for (id, home) in conferences.iter().zip(homes) {
            if let Some(node) = home {
                let of_node = by_node.entry(node.run.name.to_string());
                of_node.or_insert((node, Vec::new())).1.push(*id);
            }
        }
        let mut asked = JoinSet::new();
        for (node, ids) in by_node.into_values() {
            let nodes = self.nodes.clone();
            asked.spawn(async move {
                let answer = nodes.ask(&node, &NodeRequest::CountLive(ids.clone())).await;
                (ids, answer)
            });
        }
        let mut counts = HashMap::new();
        while let Ok(Some(answer)) = timeout_at(deadline, asked.join_next()).await {
            if let Ok((ids, Ok(NodeResponse::Live(live)))) = answer {
                counts.extend(ids.into_iter().zip(live));
            }
        }
        counts
    }

    /// The other node that owns the conference's room, if it is alive.
    async fn home(&self, conference: ConferenceId) -> Option<NodeRecord> {
        let home = self.store.home(conference).await.ok().flatten()?;
        let run = home.owner.filter(|run| run != self.nodes.me())?;
        match self.nodes.liveness(&run) {
            Liveness::Alive(node) => Some(node),
            Liveness::Suspected | Liveness::Dead => None,
        }
    }

    fn remember(&self, asked: &[ConferenceId], counts: &HashMap<ConferenceId, u32>, now: Instant) {
        let mut remembered = self.lock();
        if remembered.len() + asked.len() > MAX_REMEMBERED {
            remembered.retain(|_, found| found.is_good(now));
        }
        for id in asked {
            if remembered.len() < MAX_REMEMBERED {
                let live = counts.get(id).copied().unwrap_or_default();
                remembered.insert(*id, Remembered { live, since: now });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConferenceId, Remembered>> {
        lock(&self.remembered)
    }
}

impl Remembered {
    fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < GOOD_FOR
    }
}
