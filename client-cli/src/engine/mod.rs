//! A participation in a room, without I/O: bytes, events and the time go in; bytes, events and the next deadline come
//! out. In the order of the way of a frame:
//!
//! * [`talker`]: one's own voice, encoded and sealed;
//! * [`liveness`]: whether a relay answers;
//! * [`media`]: a session with a relay;
//! * [`relays`]: one or several such sessions;
//! * [`room`]: who is there;
//! * [`readability`]: whether their frames open;
//! * `held`: frames that came before the news of their sender;
//! * [`speakers`]: their voices;
//! * [`stats`]: what is counted.
//!
//! The leaf of the key that opens a frame identifies its speaker. The relay's label tells only which speaker it has stopped
//! forwarding.

mod held;
pub mod liveness;
pub mod media;
pub mod readability;
pub mod relays;
pub mod room;
pub mod speakers;
pub mod stats;
pub mod talker;

#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod media_tests;
#[cfg(test)]
mod move_tests;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use confab_e2ee::{FrameCipher, OpenError, RoomKeys};
use confab_protocol::control::{ConferenceId, JoinId, MediaGrant, Participant};
use confab_protocol::media::downlink::{Record, Records};
use confab_protocol::media::{ConnectionId, Downlink, SframeHeader};
use confab_voice::{CodecError, EncoderConfig};

use held::HeldFrames;
use media::{Received, Refused, Transmit};
use readability::{Readability, Unreadable};
use relays::{MediaEvent, Relays};
use room::{Joined, LeaveReason, RoomEvent, Roster, RosterChange};
use speakers::{Speakers, Speaking};
use stats::{Drops, Stats};
use talker::{SealedFrame, TalkError, Talker};

/// Settings of the engine.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub encoder: EncoderConfig,
    /// Media time of the first frame; random.
    pub timestamp: u32,
}

/// A change in the room or of the media path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    ParticipantJoined(Participant),
    ParticipantLeft(Participant, LeaveReason),
    /// The role or mute of a participant changed; it may be this client's own.
    ParticipantChanged(Participant),
    /// A participant began or stopped speaking.
    Speaking(Speaking),
    /// A participant's frames do not decrypt.
    Unreadable(Participant, Unreadable),
    /// A change of the media path.
    Media(MediaEvent),
}

pub struct Engine {
    conference: ConferenceId,
    roster: Roster,
    cipher: FrameCipher<RoomKeys>,
    relays: Relays,
    talker: Talker,
    speakers: Speakers,
    readability: Readability,
    held: HeldFrames,
    plaintext: Vec<u8>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    frames_sent: u64,
    /// Expected loss of sent packets, in percent.
    expected_loss: u8,
    drops: Drops,
}

impl Engine {
    /// An engine for a new join. Its first keep-alives are sent at the first
    /// [`handle_timeout`](Self::handle_timeout).
    pub fn new(
        joined: &Joined,
        media: MediaGrant,
        settings: Settings,
        now: Instant,
    ) -> Result<Self, CodecError> {
        let mut engine = Self {
            conference: joined.conference,
            roster: Roster::new(joined),
            cipher: new_cipher(joined),
            relays: Relays::new(media, now),
            talker: Talker::new(settings.encoder, settings.timestamp)?,
            speakers: Speakers::default(),
            readability: Readability::default(),
            held: HeldFrames::default(),
            plaintext: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            frames_sent: 0,
            expected_loss: 0,
            drops: Drops::default(),
        };
        for participant in &joined.others {
            engine.add_participant(participant);
        }
        Ok(engine)
    }

    pub fn me(&self) -> &Participant {
        self.roster.me()
    }

    /// The id of this client's join.
    pub fn join_id(&self) -> JoinId {
        self.roster.me().join_id
    }

    pub fn conference(&self) -> ConferenceId {
        self.conference
    }

    /// The media session that a resumed join is to keep: none unless its relay answers.
    pub fn live_session(&self, now: Instant) -> Option<ConnectionId> {
        self.relays.live(now)
    }

    pub fn others(&self) -> impl Iterator<Item = &Participant> {
        self.roster.others()
    }

    /// The relay's address in use.
    pub fn relay(&self) -> Option<SocketAddr> {
        self.relays.active().address()
    }

    /// Takes the answer to a resumed or a fresh join.
    ///
    /// After a resumed join keys and counters go on; a fresh one has new keys. Without media in the answer the session stays.
    pub fn rejoined(&mut self, joined: &Joined, now: Instant) {
        let fresh = joined.me.join_id != self.join_id() || Some(joined.leaf) != self.me().leaf;
        let changes = self.roster.replace(joined).into_iter();
        // Who went had their leaves under the old keys: one of these may be one's own by now.
        let (went, came): (Vec<_>, Vec<_>) =
            changes.partition(|change| matches!(change, RosterChange::Left(..)));
        for change in went {
            self.take_change(change, now);
        }
        if fresh {
            self.cipher = new_cipher(joined);
        }
        for change in came {
            self.take_change(change, now);
        }
        if fresh {
            for participant in &joined.others {
                if let Some(leaf) = participant.leaf {
                    self.cipher.keys_mut().set_member(leaf, participant.join_id);
                }
            }
        }
        if let Some(media) = joined.media.clone() {
            self.relays.move_to(media, now);
        }
    }

    /// A participant joined, left or changed.
    pub fn handle_room_event(&mut self, conference: ConferenceId, event: RoomEvent, now: Instant) {
        if conference != self.conference {
            return;
        }
        if let Some(change) = self.roster.apply(event) {
            self.take_change(change, now);
        }
    }

    /// Control moved the room to another relay.
    pub fn move_media(&mut self, grant: MediaGrant, now: Instant) {
        self.relays.move_to(grant, now);
    }

    /// The local address or the route changed.
    pub fn route_changed(&mut self, now: Instant) {
        self.relays.route_changed(now, &mut self.transmits);
    }

    /// The machine or the program was suspended.
    pub fn resume_after_sleep(&mut self, now: Instant) {
        self.relays.resume_after_sleep(now, &mut self.transmits);
    }

    /// Control asks whether the relay answers on a media session: a [`MediaEvent::Report`] follows, within 250 ms.
    pub fn probe_media(&mut self, join: JoinId, connection_id: ConnectionId, now: Instant) {
        if join == self.join_id() {
            self.relays.probe(connection_id, now, &mut self.transmits);
            self.take_media_events();
        }
    }

    /// Takes a datagram that came from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Ok(datagram) = Downlink::parse(datagram) else {
            self.drops.malformed += 1;
            return;
        };
        match self
            .relays
            .receive(now, from, &datagram, &mut self.transmits)
        {
            Ok(Received::Audio(records)) => self.take_records(now, records),
            Ok(Received::Nothing) => self.expect_loss(),
            Ok(Received::Bye(_)) => {}
            Err(Refused::Tag) => self.drops.wrong_tag += 1,
            Err(Refused::Replay(_)) => self.drops.replayed += 1,
        }
        self.take_media_events();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when nothing is due any more.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let speakers = self.speakers.poll_timeout();
        speakers
            .into_iter()
            .chain(self.held.poll_timeout())
            .chain(self.relays.poll_timeout())
            .min()
    }

    /// Handles deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.relays.handle_timeout(now, &mut self.transmits);
        self.take_media_events();
        let stopped = self.speakers.expire(now).map(Event::Speaking);
        self.events.extend(stopped);
        while let Some(leaf) = self.held.pop_expired(now) {
            self.drops.unknown_leaf += 1;
            self.count_unreadable(now, leaf);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes a captured block (48 kHz mono) that ended at `now`.
    pub fn capture(&mut self, now: Instant, block: &[f32]) {
        if !self.me().may_speak() {
            // The relay would drop it.
            return self.pause(now);
        }
        let sealed = self.talker.capture(now, block, &mut self.cipher);
        self.send(now, sealed);
    }

    /// Capture pauses: sends the rest of the last frame; the next frame begins a talkspurt.
    pub fn pause(&mut self, now: Instant) {
        let sealed = self.talker.pause(&mut self.cipher);
        self.send(now, sealed);
    }

    /// Capture broke off some time ago: drops samples that were not sent, as too old.
    pub fn interrupt(&mut self) {
        self.talker.interrupt();
    }

    /// Fills `mix` with the samples for `now`, and calls `each` with each speaker's. `heard`: false when no device
    /// will play it.
    pub fn play(
        &mut self,
        now: Instant,
        mix: &mut [f32],
        heard: bool,
        each: impl FnMut(&Participant, &[f32]),
    ) {
        self.speakers.play(now, mix, heard, each);
    }

    /// Tells the relay that the session ends. Control is told separately.
    pub fn leave(&mut self) {
        self.relays.bye(&mut self.transmits);
    }

    pub fn stats(&self) -> Stats {
        let session = self.relays.active();
        Stats {
            frames_sent: self.frames_sent,
            rtt_ms: session.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
            uplink_loss: session.uplink_loss(),
            speakers: self.speakers.stats(),
            drops: self.drops,
        }
    }

    fn send(&mut self, now: Instant, sealed: Result<Option<SealedFrame>, TalkError>) {
        match sealed {
            Ok(Some(frame))
                if self
                    .relays
                    .send_audio(now, frame.level, &frame.sframe, &mut self.transmits) =>
            {
                self.frames_sent += 1;
            }
            Ok(Some(_)) => self.drops.unsent += 1,
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "a frame was not made");
                self.drops.unsealed += 1;
            }
        }
    }

    /// Sets the encoder's expected loss to that of the uplink, as pongs report it.
    fn expect_loss(&mut self) {
        let percent = self.relays.active().uplink_loss().unwrap_or(0.0) * 100.0;
        let percent = percent.round().clamp(0.0, 100.0) as u8;
        if percent == self.expected_loss {
            return;
        }
        self.expected_loss = percent;
        if let Err(error) = self.talker.expect_loss(percent) {
            tracing::debug!(%error, "the encoder does not prepare for loss");
        }
    }

    fn take_records(&mut self, now: Instant, records: Records<'_>) {
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

    fn take_record(&mut self, now: Instant, record: Record<'_>) {
        self.plaintext.clear();
        match self.cipher.open(record.sframe, &mut self.plaintext) {
            Ok(key_id) => match self
                .speakers
                .push(now, key_id.leaf, record.level, &self.plaintext)
            {
                Ok(began) => {
                    self.readability.opened(now, key_id.leaf);
                    self.events.extend(began.map(Event::Speaking));
                }
                Err(error) => {
                    tracing::debug!(%error, "an opened frame was dropped");
                    self.drops.bad_payload += 1;
                    self.count_unreadable(now, key_id.leaf);
                }
            },
            Err(OpenError::UnknownKey(key_id)) if self.held.has_room() => {
                self.held.push(now, key_id.leaf, record);
            }
            Err(error) => self.count_unopened(now, error, record.sframe),
        }
    }

    fn count_unopened(&mut self, now: Instant, error: OpenError, sframe: &[u8]) {
        self.drops.count_unopened(&error);
        let Ok((header, _)) = SframeHeader::parse(sframe) else {
            return;
        };
        match error {
            OpenError::Replay(_) => self.speakers.count_duplicate(header.key_id.leaf),
            OpenError::NotAuthentic | OpenError::CounterTooHigh(_) | OpenError::UnknownKey(_) => {
                self.count_unreadable(now, header.key_id.leaf);
            }
            OpenError::Malformed(_) | OpenError::OwnLeaf => {}
        }
    }

    /// Counts a frame of `leaf` that gave no voice.
    fn count_unreadable(&mut self, now: Instant, leaf: u32) {
        let mut others = self.roster.others();
        let Some(participant) = others.find(|participant| participant.leaf == Some(leaf)) else {
            return;
        };
        if let Some(unreadable) = self.readability.failed(now, leaf) {
            let event = Event::Unreadable(participant.clone(), unreadable);
            self.events.push_back(event);
        }
    }

    fn take_change(&mut self, change: RosterChange, now: Instant) {
        match change {
            RosterChange::Joined(participant) => {
                self.add_participant(&participant);
                self.open_held(&participant, now);
                self.events.push_back(Event::ParticipantJoined(participant));
            }
            RosterChange::Left(participant, reason) => {
                self.remove_participant(&participant);
                self.events
                    .push_back(Event::ParticipantLeft(participant, reason));
            }
            RosterChange::Changed { before, now: after } => {
                if before.leaf == after.leaf {
                    self.speakers.update(&after);
                } else {
                    self.remove_participant(&before);
                    self.add_participant(&after);
                    self.open_held(&after, now);
                }
                self.events.push_back(Event::ParticipantChanged(after));
            }
        }
    }

    /// Adds a participant's key and speaker, if it has a leaf.
    fn add_participant(&mut self, participant: &Participant) {
        let Some(leaf) = participant.leaf else {
            return;
        };
        self.cipher.forget(leaf);
        self.cipher.keys_mut().set_member(leaf, participant.join_id);
        self.speakers.add(leaf, participant.clone());
    }

    /// Removes a participant's key and speaker.
    fn remove_participant(&mut self, participant: &Participant) {
        let Some(leaf) = participant.leaf else {
            return;
        };
        self.cipher.keys_mut().remove_member(leaf);
        self.cipher.forget(leaf);
        self.speakers.remove(leaf);
        self.readability.forget(leaf);
    }

    /// Decrypts the held frames of a participant that is known now.
    fn open_held(&mut self, participant: &Participant, now: Instant) {
        let Some(leaf) = participant.leaf else {
            return;
        };
        for held in self.held.take(leaf) {
            self.take_record(now, held.record());
        }
    }

    fn take_media_events(&mut self) {
        while let Some(event) = self.relays.poll_event() {
            self.events.push_back(Event::Media(event));
        }
    }
}

fn new_cipher(joined: &Joined) -> FrameCipher<RoomKeys> {
    FrameCipher::new(RoomKeys::new(
        joined.secret.clone(),
        joined.leaf,
        joined.me.join_id,
    ))
}
