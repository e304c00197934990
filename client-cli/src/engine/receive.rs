//! Received frames: opened, held or counted.

use std::time::Instant;

use confab_e2ee::OpenError;
use confab_protocol::control::{JoinId, Participant};
use confab_protocol::media::downlink::{Record, Records};
use confab_protocol::media::{AudioLevel, KeyId, SframeHeader};

use super::readability::Unreadable;
use super::{Engine, Event};

impl Engine {
    pub(super) fn take_records(&mut self, now: Instant, records: Records<'_>) {
        for record in records.iter() {
            if record.sframe.is_empty() {
                if self.relays.is_moving() {
                    // Another relay may forward that sender.
                    continue;
                }
                let stopped = self.speakers.suppress(record.sender).map(Event::Speaking);
                self.events.extend(stopped);
            } else {
                self.take_record(now, record);
            }
        }
    }

    pub(super) fn take_record(&mut self, now: Instant, record: Record<'_>) {
        let Ok((header, _)) = SframeHeader::parse(record.sframe) else {
            self.drops.not_sframe += 1;
            return;
        };
        let key_id = header.key_id;
        if !self.membership.is_own(key_id) && !self.membership.can_open(key_id) {
            if !self.held.push(now, key_id, record) {
                self.count_unknown(now, key_id);
            }
            return;
        }
        self.plaintext.clear();
        match self.membership.open(record.sframe, &mut self.plaintext) {
            Ok(Some(join)) => self.take_voice(now, join, key_id, record.level),
            Ok(None) => self.count_unknown(now, key_id),
            Err(error) => self.count_unopened(now, error, key_id),
        }
    }

    /// Takes the plaintext of a frame of `join`.
    fn take_voice(&mut self, now: Instant, join: JoinId, key_id: KeyId, level: AudioLevel) {
        match self.speakers.push(now, join, level, &self.plaintext) {
            Ok(began) => {
                self.readability.opened(now, join);
                self.events.extend(began.map(Event::Speaking));
            }
            Err(error) => {
                tracing::debug!(%error, "an opened frame was dropped");
                self.drops.bad_payload += 1;
                self.count_unreadable(now, key_id);
            }
        }
    }

    fn count_unopened(&mut self, now: Instant, error: OpenError, key_id: KeyId) {
        self.drops.count_unopened(&error);
        match error {
            OpenError::Replay(_) => {
                if let Some(join) = self.member().participant(key_id) {
                    self.speakers.count_duplicate(join);
                }
            }
            OpenError::NotAuthentic | OpenError::CounterTooHigh(_) | OpenError::UnknownKey(_) => {
                self.note_unopened(now, key_id);
                self.count_unreadable(now, key_id);
            }
            OpenError::Malformed(_) | OpenError::OwnLeaf => {}
        }
    }

    /// Counts a frame whose key, or whose participant, did not become known in time.
    pub(super) fn count_unknown(&mut self, now: Instant, key_id: KeyId) {
        if self.membership.is_known(key_id) {
            self.drops.unannounced += 1;
        } else {
            self.drops.unknown_leaf += 1;
            self.note_unopened(now, key_id);
        }
        self.count_unreadable(now, key_id);
    }

    fn note_unopened(&mut self, now: Instant, key_id: KeyId) {
        self.membership.note_unopened(now, key_id);
        while let Some(event) = self.membership.poll_event() {
            self.events.push_back(Event::Group(event));
        }
    }

    /// Counts a frame that gave no voice, if its participant is known.
    fn count_unreadable(&mut self, now: Instant, key_id: KeyId) {
        // Who is not in the group can open nobody's.
        if self.member().group().is_none() {
            return;
        }
        let by_key = self.member().participant(key_id);
        let is_speaker = |participant: &Participant| match by_key {
            Some(join) => participant.join_id == join,
            // Its epoch is not known here: the announcement alone says whose leaf it is.
            None => participant.leaf.is_some_and(|of| {
                let generation = (of.generation & KeyId::GENERATION_MASK) as u8;
                (of.leaf, generation) == (key_id.leaf, key_id.generation)
            }),
        };
        let Some(participant) = self.roster.others().find(|other| is_speaker(other)) else {
            return;
        };
        let Some(of) = participant.leaf else { return };
        if let Some(counts) = self.readability.failed(now, participant.join_id) {
            let unreadable = Unreadable {
                leaf: of.leaf,
                counts,
            };
            let event = Event::Unreadable(participant.clone(), unreadable);
            self.events.push_back(event);
        }
    }
}
