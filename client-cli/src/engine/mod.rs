//! A participation in a room, without I/O: bytes, events and the time go in; bytes, events and the next deadline come
//! out. In the order of the way of a frame:
//!
//! * [`talker`]: one's own voice, encoded and sealed; `pre_roll`: the begin of a word, from before the gate opened;
//! * [`liveness`]: whether a relay answers;
//! * [`media`]: a session with a relay;
//! * [`relays`]: one or several such sessions;
//! * [`room`]: who is there;
//! * [`membership`]: the room's MLS group: the keys of all frames, and texts;
//! * [`readability`]: whether their frames open;
//! * `held`: frames that came before their keys, or before the news of their sender;
//! * [`speakers`]: their voices;
//! * [`stats`]: what is counted;
//! * `receive`: the way of a received frame through these.
//!
//! The leaf of the key that opens a frame identifies its speaker: by it the announced participant is found, whose voice goes on
//! when its leaf changes. The relay's label tells only which speaker it has stopped forwarding.

mod held;
pub mod liveness;
pub mod media;
pub mod membership;
mod pre_roll;
pub mod readability;
mod receive;
pub mod relays;
pub mod room;
pub mod speakers;
pub mod stats;
pub mod talker;

#[cfg(test)]
mod call_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod media_tests;
#[cfg(test)]
mod move_tests;
#[cfg(test)]
mod pre_roll_tests;
#[cfg(test)]
mod talker_tests;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use confab_e2ee::mls::member::{MemberConfig, TextError};
use confab_e2ee::mls::{FromMember, GroupName, Member, ToMember};
use confab_protocol::control::{ConferenceId, JoinId, MediaGrant, Participant};
use confab_protocol::media::{ConnectionId, Downlink, LossReport};
use confab_voice::{AdaptationConfig, CodecError, Processing, ProcessingConfig, Spurts, TalkMode};

use held::HeldFrames;
use media::{Received, Refused, Transmit};
use membership::{GroupEvent, Membership};
use readability::{Readability, Unreadable};
use relays::{MediaEvent, Relays};
use room::{Joined, LeaveReason, RoomEvent, Roster, RosterChange};
use speakers::{Speakers, Speaking};
use stats::{Drops, Sent, Stats};
use talker::{SealedFrame, TalkError, Talker};

/// Settings of the engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Of the sent voice; its longest delay holds for the received ones too.
    pub voice: AdaptationConfig,
    /// Media time of the first frame; random.
    pub timestamp: u32,
    /// What is done to captured sound before it is encoded.
    pub processing: ProcessingConfig,
    /// When the voice is sent.
    pub talk: TalkMode,
    /// Frames are sent in pauses too, so that the path cannot tell them from speech.
    pub hide_pauses: bool,
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
    /// News of the room's MLS group.
    Group(GroupEvent),
    /// A change of the media path.
    Media(MediaEvent),
}

pub struct Engine {
    conference: ConferenceId,
    roster: Roster,
    membership: Membership,
    relays: Relays,
    processing: Box<Processing>,
    /// Captured samples, processed.
    processed: Vec<f32>,
    talker: Talker,
    speakers: Speakers,
    readability: Readability,
    held: HeldFrames,
    plaintext: Vec<u8>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    sent: Sent,
    /// What the relay told last of loss.
    loss: Option<LossReport>,
    drops: Drops,
}

impl Engine {
    /// An engine for a new join, in whose group it is `member`. Its first keep-alives are sent at the first
    /// [`handle_timeout`](Self::handle_timeout).
    pub fn new(
        joined: &Joined,
        media: MediaGrant,
        member: MemberConfig,
        settings: Settings,
        now: Instant,
    ) -> Result<Self, CodecError> {
        let spurts = Spurts::new(settings.talk, settings.hide_pauses);
        let mut engine = Self {
            conference: joined.conference,
            roster: Roster::new(joined),
            membership: Membership::new(member),
            relays: Relays::new(media, now),
            processing: Box::new(Processing::new(settings.processing)),
            processed: Vec::new(),
            talker: Talker::new(settings.voice, settings.timestamp, spurts)?,
            speakers: Speakers::new(settings.voice.max_delay),
            readability: Readability::default(),
            held: HeldFrames::default(),
            plaintext: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            sent: Sent::default(),
            loss: None,
            drops: Drops::default(),
        };
        engine.membership.announce(now, &joined.me);
        for participant in &joined.others {
            engine.add_participant(participant, now);
        }
        engine.take_group_changes(now);
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

    /// Where the member stands in the room's group, for a resumed join; `None` without a group.
    pub fn group_standing(&self) -> Option<(GroupName, u64)> {
        self.membership.standing()
    }

    /// The member of the room's group: its leaves, and the room's code.
    pub fn member(&self) -> &Member {
        self.membership.member()
    }

    /// Takes the answer to a resumed or a fresh join.
    ///
    /// After a resumed join keys and counters go on; a fresh one begins as a new member of the group. Without media in the answer
    /// the session stays.
    pub fn rejoined(&mut self, joined: &Joined, now: Instant) {
        let is_fresh = joined.me.join_id != self.join_id();
        let changes = self.roster.replace(joined);
        if is_fresh {
            self.membership.restart(joined.delivery_key);
            for participant in &joined.others {
                self.membership.announce(now, participant);
            }
        } else {
            self.membership.resume();
        }
        self.membership.announce(now, &joined.me);
        for change in changes {
            self.take_change(change, now);
        }
        self.take_group_changes(now);
        if let Some(media) = joined.media.clone() {
            self.relays.move_to(media, now);
        }
    }

    /// Takes a message of the delivery service to this join.
    pub fn handle_group(&mut self, now: Instant, message: ToMember) {
        self.membership.handle(now, message);
        self.take_group_changes(now);
    }

    /// The next message for the delivery service.
    pub fn poll_group(&mut self) -> Option<FromMember> {
        self.membership.poll_message()
    }

    /// Sends no voice and no text from now on, or does again.
    pub fn hold_sending(&mut self, is_held: bool) {
        self.membership.hold_sending(is_held);
    }

    /// Writes a text for the room. It waits until there is a group.
    pub fn send_text(&mut self, text: &str) -> Result<(), TextError> {
        self.membership.send_text(text)
    }

    /// A participant joined, left or changed.
    pub fn handle_room_event(&mut self, conference: ConferenceId, event: RoomEvent, now: Instant) {
        if conference != self.conference {
            return;
        }
        let changes = self.roster.apply(event);
        if changes.is_empty() {
            return;
        }
        for change in changes {
            self.take_change(change, now);
        }
        self.take_group_changes(now);
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
            Ok(Received::Loss(report)) => self.take_loss(&report),
            Ok(Received::Nothing | Received::Bye(_)) => {}
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
            .chain(self.membership.poll_timeout())
            .chain(self.relays.poll_timeout())
            .min()
    }

    /// Handles deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.relays.handle_timeout(now, &mut self.transmits);
        self.take_media_events();
        let stopped = self.speakers.expire(now).map(Event::Speaking);
        self.events.extend(stopped);
        if self.membership.poll_timeout().is_some_and(|at| at <= now) {
            self.take_group_changes(now);
        }
        while let Some(key_id) = self.held.pop_expired(now) {
            self.count_unknown(now, key_id);
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

    /// Takes a captured block of 10 ms (48 kHz mono) that ended at `now`.
    pub fn capture(&mut self, now: Instant, block: &[f32]) {
        block.clone_into(&mut self.processed);
        // Also when nobody is to hear it: it learns of the noise and of the echo.
        self.processing.process(&mut self.processed);
        if !self.me().may_speak() {
            // The relay would drop it.
            return self.pause(now);
        }
        let cipher = self.membership.cipher();
        let sealed = self.talker.capture(now, &self.processed, cipher);
        self.send(now, sealed);
    }

    /// Capture pauses: sends the rest of the last frame; the next frame begins a talkspurt.
    pub fn pause(&mut self, now: Instant) {
        let sealed = self.talker.pause(self.membership.cipher());
        self.send(now, sealed);
    }

    /// Capture broke off some time ago: drops samples that were not sent, as too old.
    pub fn interrupt(&mut self) {
        self.processing.interrupt();
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
        if heard {
            self.processing.played(mix);
        }
    }

    /// The person wants to be heard, or not, where only that decides ([`TalkMode::Push`]).
    pub fn push_to_talk(&mut self, now: Instant, is_pushed: bool) {
        self.talker.push(now, is_pushed);
    }

    /// The person mutes its own voice, or lifts that.
    pub fn mute(&mut self, now: Instant, is_muted: bool) {
        self.talker.mute(now, is_muted);
    }

    /// Sets how loud the participants of this name are played, 0 (silent) to 2; false if there are none.
    pub fn set_volume(&mut self, username: &str, volume: f32) -> bool {
        self.speakers.set_volume(username, volume) > 0
    }

    /// Tells the relay that the session ends. Control is told separately.
    pub fn leave(&mut self) {
        self.relays.bye(&mut self.transmits);
    }

    pub fn stats(&self) -> Stats {
        let session = self.relays.active();
        let plan = self.talker.plan();
        Stats {
            frames_sent: self.sent.frames,
            talked_ms: self.sent.voiced.as_millis() as u64,
            rtt_ms: session.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
            uplink_loss: session.uplink_loss(),
            receivers_loss: self.loss.map(|loss| loss.receivers.part()),
            redundancy: plan.profile.name,
            voice_bitrate: plan.bitrate,
            speakers: self.speakers.stats(),
            drops: self.drops,
        }
    }

    fn send(&mut self, now: Instant, sealed: Result<Option<SealedFrame>, TalkError>) {
        match sealed {
            Ok(Some(frame)) => {
                let to = &mut self.transmits;
                if self.relays.send_audio(now, frame.level, &frame.sframe, to) {
                    self.sent.count(&frame);
                } else {
                    self.drops.unsent += 1;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "a frame was not made");
                self.drops.unsealed += 1;
            }
        }
    }

    fn take_loss(&mut self, report: &LossReport) {
        self.loss = Some(*report);
        let rtt = self.relays.active().rtt();
        if let Err(error) = self.talker.take_loss(report, rtt) {
            tracing::debug!(%error, "the encoder does not adapt to loss");
        }
    }

    fn take_change(&mut self, change: RosterChange, now: Instant) {
        match change {
            RosterChange::Joined(participant) => {
                self.add_participant(&participant, now);
                self.events.push_back(Event::ParticipantJoined(participant));
            }
            RosterChange::Left(participant, reason) => {
                self.remove_participant(participant.join_id, now);
                self.events
                    .push_back(Event::ParticipantLeft(participant, reason));
            }
            RosterChange::Changed { before, now: after } => {
                if before.join_id != after.join_id {
                    self.remove_participant(before.join_id, now);
                }
                if after.sender == self.me().sender {
                    self.membership.announce(now, &after);
                } else {
                    self.add_participant(&after, now);
                }
                if !is_same_but_leaf(&before, &after) {
                    self.events.push_back(Event::ParticipantChanged(after));
                }
            }
        }
    }

    /// Adds a participant, or what is new of it.
    fn add_participant(&mut self, participant: &Participant, now: Instant) {
        self.membership.announce(now, participant);
        self.speakers.set(participant.clone());
    }

    fn remove_participant(&mut self, join: JoinId, now: Instant) {
        self.membership.depart(now, join);
        self.speakers.remove(join);
        self.readability.forget(join);
    }

    /// Does what is due in the group, and takes what came of a change: events, and frames that can be opened now.
    fn take_group_changes(&mut self, now: Instant) {
        self.membership.update(now);
        while let Some(event) = self.membership.poll_event() {
            self.events.push_back(Event::Group(event));
        }
        let membership = &self.membership;
        for held in self.held.take(|key_id| membership.can_open(key_id)) {
            self.take_record(now, held.record());
        }
    }

    fn take_media_events(&mut self) {
        while let Some(event) = self.relays.poll_event() {
            self.events.push_back(Event::Media(event));
        }
    }
}

/// A leaf that is another, and nothing else, is no news for the person.
fn is_same_but_leaf(before: &Participant, after: &Participant) -> bool {
    let leaf = after.leaf;
    Participant {
        leaf,
        ..before.clone()
    } == *after
}
