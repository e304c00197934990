//! Who is in the rooms of this node, for lists of members and of operators.

use std::sync::atomic::Ordering;

use confab_protocol::control::ConferenceId;
use tokio::sync::oneshot;

use super::ask::Ask;
use super::registry::Rooms;
use super::shared::RoomHandle;
use crate::domain::Present;
use crate::mutex::lock;

impl Rooms {
    /// The participants of a room of this node, by sender label; nobody if this node does not own the room.
    pub async fn roster(&self, conference: ConferenceId) -> Vec<Present> {
        let (answer, answered) = oneshot::channel();
        {
            // A room is not started for this.
            let rooms = lock(&self.shared.rooms);
            let Some(room) = rooms.get(&conference) else {
                return Vec::new();
            };
            if room.requests.try_send(Ask::Roster { answer }).is_err() {
                return Vec::new();
            }
        }
        answered.await.unwrap_or_default()
    }

    /// The rooms of this node with the most participants, those with more first. Empty rooms are left out.
    pub fn busiest(&self, limit: u32) -> Vec<(ConferenceId, u32)> {
        let mut all: Vec<(ConferenceId, u32)> = {
            let rooms = lock(&self.shared.rooms);
            let live =
                |(id, room): (&ConferenceId, &RoomHandle)| (*id, room.live.load(Ordering::Relaxed));
            rooms
                .iter()
                .map(live)
                .filter(|(_, live)| *live > 0)
                .collect()
        };
        all.sort_unstable_by_key(|(id, live)| (std::cmp::Reverse(*live), *id));
        all.truncate(limit as usize);
        all
    }
}
