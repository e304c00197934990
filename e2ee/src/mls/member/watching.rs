//! What a member watches: who is in the group beside who was announced, and frames that do not open.

use std::collections::BTreeMap;
use std::time::Instant;

use confab_protocol::control::JoinId;
use confab_protocol::media::KeyId;

use super::Member;
use super::event::MemberEvent;
use super::roster::Announced;
use crate::keys::BaseKeys as _;
use crate::mls::messages::FromMember;

impl Member {
    /// Control has announced a participant, or where its leaf is.
    pub fn announce(&mut self, now: Instant, join: JoinId, announced: Announced) {
        self.roster.announce(join, announced);
        self.compare_roster(now);
        self.send_texts();
    }

    /// Control has announced that a participant is gone.
    pub fn depart(&mut self, now: Instant, join: JoinId) {
        self.roster.depart(now, join);
        self.compare_roster(now);
        self.send_texts();
    }

    /// Sends nothing from now on, voice or text, or does again: the participant has looked at who is here.
    pub fn hold_sending(&mut self, is_held: bool) {
        (self.hold.is_held, self.hold.is_unseen) = (is_held, false);
        self.note_hold(is_held);
        self.send_texts();
    }

    /// True while nothing is sent by [`hold_sending`](Self::hold_sending).
    pub fn is_sending_held(&self) -> bool {
        self.hold.is_held
    }

    /// False while somebody is in the group who is not to read what is written there.
    pub(super) fn may_write(&self) -> bool {
        !self.hold.is_held && !self.hold.is_unseen && !self.roster.is_violated()
    }

    /// False while somebody has the keys of frames who is not to hear.
    pub(super) fn may_speak(&self) -> bool {
        let sealing = self.epochs.sealing_at();
        let is_tainted = self
            .hold
            .tainted
            .is_some_and(|tainted| sealing <= Some(tainted));
        self.may_write() && !is_tainted
    }

    /// Compares the leaves of the group with who was announced.
    pub(super) fn compare_roster(&mut self, now: Instant) {
        let none = BTreeMap::new();
        let (at, own_leaf, leaves) = match &self.group {
            Some(group) => {
                let at = (group.name(), group.epoch());
                (Some(at), group.own_leaf(), group.leaves())
            }
            None => (None, 0, &none),
        };
        let was_violated = self.roster.is_violated();
        for (leaf, credential) in self.roster.compare(now, at, own_leaf, leaves) {
            self.events
                .push_back(MemberEvent::Unannounced { leaf, credential });
        }
        let is_violated = self.roster.is_violated();
        if was_violated && !is_violated {
            self.events.push_back(MemberEvent::Announced);
        }
        self.note_hold(is_violated);
    }

    /// Somebody who is not to hear has the keys of the newest epoch; or nobody has after all, in the same epoch.
    fn note_hold(&mut self, is_violated: bool) {
        let newest = self.epochs.newest();
        if is_violated {
            self.hold.tainted = newest;
        } else if self.hold.tainted == newest && !self.hold.is_held && !self.roster.is_violated() {
            self.hold.tainted = None;
        }
    }

    /// A frame of a member of the group did not open, although it had come through the relay.
    pub fn note_unopened(&mut self, now: Instant, key_id: KeyId) {
        let Some(group) = &self.group else { return };
        if !group.leaves().contains_key(&key_id.leaf) || self.is_own(key_id) {
            return;
        }
        let (name, epoch) = (group.name(), group.epoch());
        let is_current = self
            .sealing()
            .is_some_and(|own| (own.generation, own.epoch) == (key_id.generation, key_id.epoch));
        if is_current {
            if self.unopened.note_failed(now, key_id.leaf) {
                let leaf = key_id.leaf;
                self.events.push_back(MemberEvent::Forked { leaf });
            }
        } else if self.speaker(key_id).is_none() {
            let others = group.leaves().len() - 1;
            let unreached = self.unopened.note_unknown(now, key_id.leaf, others);
            if unreached.is_told {
                self.events.push_back(MemberEvent::Unreachable);
            }
            if unreached.is_behind {
                self.messages
                    .push_back(FromMember::Behind { group: name, epoch });
            }
        }
    }
}
