//! The room's MLS group: its delivery service, the gates at relays that joiners wait for, and who may write texts.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::messages::TextRefusal;
use confab_e2ee::mls::{Delivery, FromMember, GroupName};
use confab_protocol::control::{AccountId, ConferenceId, JoinId, Username};

use super::group_keys::GroupKeys;
use crate::throttle::{Bucket, Rate};

/// Generations of an era begin at era · 2^32: a later owner's are above those of all owners before.
const GENERATION_BITS: u32 = 32;

/// Texts of one participant.
const TEXTS_RATE: Rate = Rate {
    burst: 10.0,
    per_second: 5.0,
};

/// Names the leaves of one epoch, of which the relays have to know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Gate {
    pub(super) generation: u64,
    pub(super) epoch: u64,
}

/// A member's state of the group, as it says when it resumes its join.
pub(super) type GroupState = Option<(GroupName, u64)>;

/// The group of a room.
pub(super) struct Group {
    keys: GroupKeys,
    conference: ConferenceId,
    era: u64,
    delivery: Delivery,
    deadline: Option<Instant>,
    /// Commands to relays that are not answered, by gate.
    gates: BTreeMap<Gate, usize>,
    /// The newest epoch that has retired.
    retired: Option<Gate>,
    texts: HashMap<JoinId, Bucket>,
}

impl Group {
    /// The group of a room without participants, whose owner has this era.
    pub(super) fn new(keys: GroupKeys, conference: ConferenceId, era: u64) -> Self {
        let first = era.wrapping_shl(GENERATION_BITS);
        let delivery = Delivery::new(keys.of(conference, era, first));
        Self {
            keys,
            conference,
            era,
            delivery,
            deadline: None,
            gates: BTreeMap::new(),
            retired: None,
            texts: HashMap::new(),
        }
    }

    /// Takes over from the group of a room of the same conference and era that has ended: generations go on.
    pub(super) fn follow(&mut self, before: &Self) {
        let first = before.delivery.next_generation();
        let config = self.keys.of(self.conference, self.era, first);
        self.delivery = Delivery::new(config);
    }

    /// The public key under which the delivery service proposes.
    pub(super) fn public_key(&self) -> [u8; 32] {
        self.keys.public()
    }

    /// A participant has joined.
    pub(super) fn join(
        &mut self,
        now: Instant,
        join: JoinId,
        account: AccountId,
        username: Username,
    ) {
        self.delivery.join(now, join, account, username);
        self.set_deadline(now);
    }

    /// A participant is taken over from another owner.
    pub(super) fn adopt(&mut self, join: JoinId, account: AccountId, username: Username) {
        self.delivery.adopt(join, account, username);
    }

    /// A participant has left.
    pub(super) fn leave(&mut self, now: Instant, join: JoinId) {
        self.texts.remove(&join);
        self.delivery.leave(now, join);
        self.set_deadline(now);
    }

    /// A participant's connection is lost.
    pub(super) fn disconnect(&mut self, now: Instant, join: JoinId) {
        self.delivery.disconnect(now, join);
        self.set_deadline(now);
    }

    /// A participant has resumed its join, in this state.
    pub(super) fn resume(&mut self, now: Instant, join: JoinId, state: GroupState) {
        self.delivery.resume(now, join, state);
        self.set_deadline(now);
    }

    /// Takes messages of a participant, which may write texts or not. Returns the refused texts, one each.
    pub(super) fn take(
        &mut self,
        now: Instant,
        (join, may_write): (JoinId, bool),
        messages: Vec<FromMember>,
        round_trip: Duration,
    ) -> Vec<TextRefusal> {
        self.delivery.set_round_trip(join, round_trip);
        let mut refused = Vec::new();
        for message in messages {
            if matches!(message, FromMember::Text { .. })
                && let Err(refusal) = self.admit_text(now, join, may_write)
            {
                refused.push(refusal);
                continue;
            }
            self.delivery.handle(now, join, message);
        }
        self.set_deadline(now);
        refused
    }

    fn admit_text(
        &mut self,
        now: Instant,
        join: JoinId,
        may_write: bool,
    ) -> Result<(), TextRefusal> {
        if !may_write {
            return Err(TextRefusal::NotAllowed);
        }
        let new = || Bucket::new(TEXTS_RATE, now);
        let rate = self.texts.entry(join).or_insert_with(new);
        rate.take(now).map_err(|_| TextRefusal::TooMany)
    }

    /// So many commands tell relays of a gate; with none it is open.
    pub(super) fn await_gate(&mut self, now: Instant, gate: Gate, commands: usize) {
        match commands {
            0 => self.open_gate(now, gate),
            _ => drop(self.gates.insert(gate, commands)),
        }
    }

    /// A relay has answered one of a gate's commands, or is not waited for any more.
    pub(super) fn gate_answered(&mut self, now: Instant, gate: Gate) {
        if let Some(open) = self.gates.get_mut(&gate) {
            *open -= 1;
            if *open == 0 {
                self.gates.remove(&gate);
                self.open_gate(now, gate);
            }
        }
    }

    fn open_gate(&mut self, now: Instant, gate: Gate) {
        self.delivery.gate_opened(now, gate.generation, gate.epoch);
        self.set_deadline(now);
    }

    /// Notes an epoch as retired.
    pub(super) fn retire(&mut self, gate: Gate) {
        self.retired = Some(gate);
    }

    /// The newest epoch that has retired: a relay to which the room moves has to know.
    pub(super) fn retired(&self) -> Option<Gate> {
        self.retired
    }

    /// What is to be done next.
    pub(super) fn next(&mut self) -> Option<Output> {
        self.delivery.poll()
    }

    /// When to call [`expire`](Self::expire).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Does what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.set_deadline(now);
        }
    }

    fn set_deadline(&mut self, now: Instant) {
        self.deadline = self.delivery.update(now);
    }
}
