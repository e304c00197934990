//! Welcomes that wait until the relays know the joiners' leaves.

use std::collections::{BTreeMap, BTreeSet};

use confab_protocol::control::JoinId;

use super::history::MAX_COMMITS;
use crate::mls::messages::ToMember;

/// Texts that are kept for a joiner; later ones do not reach it.
const MAX_TEXTS: usize = 256;

/// A joiner that the relay does not know yet.
pub(super) struct Waiting {
    pub(super) join: JoinId,
    pub(super) leaf: u32,
    /// Of the key package that its Welcome uses.
    pub(super) reference: Vec<u8>,
    pub(super) welcome: ToMember,
    pub(super) missed: Missed,
}

/// Commits and texts that the group was sent since a Welcome's epoch, in order.
#[derive(Default)]
pub(super) struct Missed {
    messages: Vec<ToMember>,
    commits: usize,
    texts: usize,
}

impl Missed {
    fn push(&mut self, message: &ToMember) {
        let (count, most) = match message {
            ToMember::Text(_) => (&mut self.texts, MAX_TEXTS),
            _ => (&mut self.commits, MAX_COMMITS),
        };
        *count += 1;
        if *count <= most {
            self.messages.push(message.clone());
        }
    }

    /// All of it; `None` if there were too many commits to keep.
    pub(super) fn take(self) -> Option<Vec<ToMember>> {
        (self.commits <= MAX_COMMITS).then_some(self.messages)
    }
}

/// The Welcomes, by the epoch of which they are.
#[derive(Default)]
pub(super) struct Welcomes(BTreeMap<u64, Vec<Waiting>>);

impl Welcomes {
    pub(super) fn insert(&mut self, epoch: u64, waiting: Vec<Waiting>) {
        self.0.insert(epoch, waiting);
    }

    /// The group was sent a commit or a text: all joiners get it after their Welcomes.
    pub(super) fn miss(&mut self, message: &ToMember) {
        for waiting in self.0.values_mut().flatten() {
            waiting.missed.push(message);
        }
    }

    /// Takes out those up to `epoch`.
    pub(super) fn take(&mut self, epoch: u64) -> Vec<Waiting> {
        let later = self.0.split_off(&epoch.saturating_add(1));
        let due = std::mem::replace(&mut self.0, later);
        due.into_values().flatten().collect()
    }

    /// The joiners that wait.
    pub(super) fn joins(&self) -> BTreeSet<JoinId> {
        self.0.values().flatten().map(|one| one.join).collect()
    }
}
