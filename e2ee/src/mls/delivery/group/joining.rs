//! How members come into a group: their leaves, their Welcomes, and what they missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::control::JoinId;

use super::LiveGroup;
use crate::mls::delivery::output::Output;
use crate::mls::delivery::participants::Place;
use crate::mls::delivery::room::Room;
use crate::mls::delivery::round::Round;
use crate::mls::delivery::welcomes::{Missed, Waiting};
use crate::mls::group_name::GroupName;
use crate::mls::messages::ToMember;

/// A member is sent what it missed so often at most.
const CATCH_UP_INTERVAL: Duration = Duration::from_secs(2);

impl LiveGroup {
    /// A member's link stands again: sends what it missed, or has it join again.
    pub(in crate::mls::delivery) fn bring_up_to_date(
        &mut self,
        from: JoinId,
        state: Option<(GroupName, u64)>,
        room: &mut Room<'_>,
    ) {
        let Some(participant) = room.participants.get_mut(&from) else {
            return;
        };
        let Place::Leaf(leaf) = participant.place else {
            return;
        };
        if self.welcomes.joins().contains(&from) {
            // Its Welcome has not been sent.
            return;
        }
        if let Some(round) = &mut self.round {
            round.forget(from);
        }
        let missed = state
            .filter(|(name, _)| *name == self.name)
            .and_then(|(_, epoch)| self.history.since(epoch, self.tree.epoch()));
        match missed {
            Some(commits) => {
                if let Some((_, epoch)) = state {
                    participant.acknowledge(epoch);
                }
                self.send_missed(from, commits.into_iter().map(ToMember::Commit), room);
            }
            None => {
                participant.place = Place::Broken(leaf);
                room.send(from, ToMember::Rejoin { group: self.name });
            }
        }
    }

    /// A member cannot open frames of others: sends the commits that it missed, if there are any.
    pub(in crate::mls::delivery) fn catch_up(
        &mut self,
        now: Instant,
        from: JoinId,
        epoch: u64,
        room: &mut Room<'_>,
    ) {
        let Some(participant) = room.participants.get_mut(&from) else {
            return;
        };
        let is_early = participant
            .caught_up_at
            .is_some_and(|at| at + CATCH_UP_INTERVAL > now);
        if epoch < self.tree.epoch() && !is_early {
            participant.caught_up_at = Some(now);
            let state = Some((self.name, epoch));
            self.bring_up_to_date(from, state, room);
        }
    }

    /// The relays know the leaves of an epoch: their owners may come in. What was committed meanwhile follows their Welcomes.
    pub(in crate::mls::delivery) fn send_welcomes(
        &mut self,
        now: Instant,
        epoch: u64,
        room: &mut Room<'_>,
    ) {
        self.activation.gate_opened(now, epoch);
        for waiting in self.welcomes.take(epoch) {
            self.send_welcome(waiting, room);
        }
    }

    fn send_welcome(&self, waiting: Waiting, room: &mut Room<'_>) {
        let Some(participant) = room
            .participants
            .get_mut(&waiting.join)
            .filter(|one| one.place == Place::Leaf(waiting.leaf))
        else {
            return;
        };
        let Some(missed) = waiting.missed.take() else {
            participant.place = Place::Broken(waiting.leaf);
            return;
        };
        participant.use_up(self.suite, &waiting.reference);
        room.send(waiting.join, waiting.welcome);
        self.send_missed(waiting.join, missed, room);
    }

    /// Sends what the group was sent meanwhile, and what is activated.
    fn send_missed(
        &self,
        to: JoinId,
        missed: impl IntoIterator<Item = ToMember>,
        room: &mut Room<'_>,
    ) {
        for message in missed {
            room.send(to, message);
        }
        if let Some(epoch) = self.activation.last() {
            room.send(to, self.activate_message(epoch));
        }
    }

    /// Gives those who were added their leaves; their Welcomes wait for the relay. Gives the bytes of what waits.
    pub(super) fn place_added(
        &mut self,
        round: &Round,
        welcomes: &[Arc<[u8]>],
        room: &mut Room<'_>,
    ) -> usize {
        let (generation, epoch) = (self.name.generation, self.tree.epoch());
        let leaves: BTreeMap<Vec<u8>, u32> = self
            .tree
            .leaves()
            .into_iter()
            .map(|(leaf, signature_key)| (signature_key, leaf))
            .collect();
        let mut gate = Vec::new();
        let mut waiting = Vec::new();
        let mut tree = None;
        let mut bytes = 0;
        for (added, welcome) in round.added.iter().zip(welcomes) {
            let Some(leaf) = leaves.get(&added.signature_key).copied() else {
                continue;
            };
            let Some(participant) = room.participants.get_mut(&added.join) else {
                // It has left while it was added.
                self.leaving.insert(leaf);
                continue;
            };
            participant.place = Place::Leaf(leaf);
            participant.acknowledged = None;
            gate.push((added.join, leaf));
            let tree = tree.get_or_insert_with(|| self.tree.export());
            bytes += welcome.len() + tree.len();
            waiting.push(Waiting {
                join: added.join,
                leaf,
                reference: added.reference.clone(),
                welcome: ToMember::Welcome {
                    group: self.name,
                    epoch,
                    welcome: Arc::clone(welcome),
                    tree: Arc::clone(tree),
                },
                missed: Missed::default(),
            });
        }
        if !gate.is_empty() {
            self.welcomes.insert(epoch, waiting);
            room.outputs.push_back(Output::OpenGate {
                generation,
                epoch,
                leaves: gate,
            });
        }
        bytes
    }
}
