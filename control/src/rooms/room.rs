//! What decides in a room. No I/O: [`Input`]s and a clock in, [`Effect`]s out.
//!
//! The rules that everything here serves:
//!
//! * A join is answered, and the others told of it, once the relay has opened its media session.
//! * A mute, kick, ban or role is acknowledged once it is stored and the relay has obeyed. It takes effect on joins that
//!   are under way: whoever is banned between the look at the membership and the relay's answer does not get in.
//! * Nothing waits for a relay longer than two seconds.
//! * A participant ends by a request or by the relay's word, never by the loss of a QUIC connection.
//!
//! This file receives inputs and keeps time; `people` has who comes and goes, `adoption` who is there already, `moves` where
//! the media is, `silence`, `drain` and `refused` when it has to go elsewhere, `commands` what the relay was asked.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Fence, MediaEndReason};
use confab_protocol::control::room::LeaveReason;
use confab_protocol::control::{
    AccountId, ConferenceId, ErrorCode, JoinId, Participant, Refusal, Region, ResumeSecret,
    RoomSecret,
};
use confab_protocol::media::ConnectionId;
use confab_protocol::version::VersionRange;

use super::commands::{Command, Waiting};
use super::drain::Leaving;
use super::effect::{
    Answer, ClientId, Effect, EventKind, Input, Joiner, Resume, RoomEvent, Ticket,
};
use super::frame_reports::FrameReports;
use super::home::Recorded;
use super::note::{NoteSealer, ResumeHash};
use super::probe_limits::ProbeLimits;
use super::silence::Silence;
use super::unreached::{Reach, Unreached};
use crate::cluster::{LinkedRelay, RelayName};
use crate::store::{ConferenceRecord, HomePlace, HomeRecord, SessionId, Standing};

/// A room without a relay looks for one this often.
pub const PLACE_RETRY: Duration = Duration::from_millis(250);

/// What a room needs from around it, at once.
pub trait World {
    /// A relay with room for one more.
    fn pick_relay(&mut self, wish: &RelayWish<'_>) -> Option<LinkedRelay>;
    /// The highest version of media datagrams that a client of these, this node and one relay at least speak; without a
    /// relay, that the client and this node speak.
    fn media_version(&mut self, theirs: VersionRange) -> Option<u32>;
    /// The relay did not answer in time when it was asked to open a media session.
    fn note_unanswered(&mut self, relay: &LinkedRelay);
    /// Fills `bytes` with what nobody can guess.
    fn random(&mut self, bytes: &mut [u8]);
}

/// Which relay a room wants.
#[derive(Clone, Copy, Debug)]
pub struct RelayWish<'a> {
    /// It has to speak this version of media datagrams.
    pub media_version: u32,
    /// In this region, if one there has room.
    pub region: Option<&'a Region>,
    /// This run of a relay if it has room, wherever it is.
    pub prefer: Option<&'a HomePlace>,
    /// This one only when there is no other.
    pub avoid: Option<&'a RelayName>,
    /// So many sessions are to be opened there.
    pub sessions: u64,
    /// None rather than a relay that has no room for all of these, or that did not open a session lately.
    pub of_all: bool,
}

/// A live room.
pub struct Room {
    pub(super) conference: ConferenceId,
    pub(super) max_participants: usize,
    pub(super) secret: RoomSecret,
    pub(super) notes: NoteSealer,
    /// The version of media datagrams that the room keeps; `None` before the first join is let in.
    pub(super) media_version: Option<u32>,
    pub(super) participants: BTreeMap<u16, ParticipantState>,
    pub(super) joins: HashMap<Ticket, Join>,
    pub(super) next_sender: u16,
    pub(super) revision: u64,
    /// As the store has it, as far as is known.
    pub(super) home: HomeRecord,
    /// False when another node has the room: then this one commands nothing any more.
    is_owned: bool,
    pub(super) fence: Fence,
    pub(super) place: Option<Place>,
    /// Where the media will be once the home says so.
    pub(super) placing: Option<LinkedRelay>,
    /// Where the media was until a moment ago, and where some still are.
    pub(super) leaving: Option<Leaving>,
    /// Where the room is to be placed.
    pub(super) region: Option<Region>,
    /// Senders that were taken out and whose session the relay may still have, for it has not said that it was closed; with the
    /// account, where it is known.
    pub(super) unclosed: BTreeMap<u16, Option<AccountId>>,
    /// Joins that were kicked out, the newest last.
    pub(super) kicked: VecDeque<(AccountId, JoinId)>,
    /// When to write again where the media is, for a store that did not answer.
    pub(super) record_at: Option<Instant>,
    /// Where the media is is being written.
    pub(super) is_recording: bool,
    /// It is to be written anew then.
    pub(super) record_anew: bool,
    /// Relays at which participants may be, and that cannot be commanded.
    pub(super) unreached: Vec<Unreached>,
    /// Since when the room has no relay any more.
    pub(super) homeless_since: Option<Instant>,
    /// When to ask the relay who has come to it, while one is left or parted from; `None` while it is asked.
    pub(super) roll_at: Option<Instant>,
    pub(super) avoid: Option<RelayName>,
    /// When everybody was moved last because the relay did not open a session for another.
    pub(super) made_way: Option<Instant>,
    pub(super) retry_at: Option<Instant>,
    /// Stores under way, with what they will change.
    storing: HashMap<Ticket, Storing>,
    /// Requests that wait for relays to obey.
    pub(super) waiting: HashMap<Ticket, Waiting>,
    pub(super) commands: BTreeMap<u64, Command>,
    pub(super) next_command: u64,
    /// How often members' reports make the others be asked whether they hear the relay.
    pub(super) probe_limits: ProbeLimits,
    /// By sender label.
    pub(super) frame_reports: HashMap<u16, FrameReports>,
    pub(super) effects: VecDeque<Effect>,
}

/// A participant and what only the server knows of it.
pub(super) struct ParticipantState {
    pub(super) participant: Participant,
    pub(super) session: SessionId,
    /// Where its events go; `None` until it has taken up again what another node let it into.
    pub(super) client: Option<ClientId>,
    /// Of the secret that only its client has.
    pub(super) resume: ResumeHash,
    pub(super) media: MediaSession,
}

/// Where a participant's media session stands.
pub(super) enum MediaSession {
    /// There is no relay for it, or none has been asked yet.
    Waiting,
    /// The relay was asked; the keys are in the command.
    Opening,
    /// The relay has it.
    Open(ConnectionId),
}

impl ParticipantState {
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.media, MediaSession::Opening)
    }
}

/// A join that is not answered yet.
pub(super) struct Join {
    pub(super) who: Joiner,
    pub(super) resume: Option<Resume>,
    /// How many opens have failed for it.
    pub(super) failures: u32,
    pub(super) stage: JoinStage,
}

pub(super) enum JoinStage {
    /// The store is asked; once more after it answers when `again`, because the standing changed meanwhile.
    Admitting { again: bool },
    /// Waits for the room to have a relay, or for that relay to obey.
    Opening {
        conference: Box<ConferenceRecord>,
        /// The participant that will be, or (when a join is taken up again) that is.
        participant: Participant,
        /// The secret that a new participant is given.
        resume_secret: Option<ResumeSecret>,
    },
}

/// Where the media is.
pub(super) struct Place {
    pub(super) relay: LinkedRelay,
    pub(super) since: Instant,
    /// While nothing is heard of the relay.
    pub(super) silence: Option<Silence>,
    /// When to look for another relay, because this one is about to end.
    pub(super) drain_at: Option<Instant>,
    /// How many opens have failed there since the last one that did not.
    pub(super) failures: u32,
}

impl Place {
    pub(super) fn new(relay: LinkedRelay, since: Instant) -> Self {
        Self {
            relay,
            since,
            silence: None,
            drain_at: None,
            failures: 0,
        }
    }
}

/// Where the numbers of a room go on that begins again in one era.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// Of its next command.
    pub command: u64,
    /// Of its last placement.
    pub placement: u64,
}

enum Storing {
    Change(AccountId, Option<Standing>),
    Delete,
}

impl Room {
    /// An empty room that `home` gives to this node; its members derive their frame keys from `secret`, which is random.
    pub fn new(
        conference: ConferenceId,
        home: HomeRecord,
        max_participants: usize,
        numbers: Numbers,
        secret: RoomSecret,
        notes: NoteSealer,
    ) -> Self {
        Self {
            conference,
            max_participants,
            secret,
            notes,
            media_version: None,
            participants: BTreeMap::new(),
            joins: HashMap::new(),
            next_sender: 0,
            revision: 0,
            fence: Fence {
                era: home.era,
                placement: numbers.placement,
            },
            home,
            is_owned: true,
            place: None,
            placing: None,
            leaving: None,
            region: None,
            record_at: None,
            is_recording: false,
            record_anew: false,
            unreached: Vec::new(),
            homeless_since: None,
            roll_at: None,
            unclosed: BTreeMap::new(),
            kicked: VecDeque::new(),
            avoid: None,
            made_way: None,
            retry_at: None,
            storing: HashMap::new(),
            waiting: HashMap::new(),
            commands: BTreeMap::new(),
            next_command: numbers.command,
            probe_limits: ProbeLimits::default(),
            frame_reports: HashMap::new(),
            effects: VecDeque::new(),
        }
    }

    /// Takes something in; then [`Self::next_effect`] has what follows.
    pub fn handle(&mut self, now: Instant, input: Input, world: &mut dyn World) {
        if !self.is_owned {
            return;
        }
        match input {
            Input::Join {
                ticket,
                who,
                resume,
            } => self.begin_join(now, ticket, who, resume),
            Input::Leave {
                ticket,
                account,
                client,
                join_id,
            } => self.leave(now, ticket, account, client, join_id),
            Input::Unclaimed(join_id) => self.unclaimed(now, join_id),
            Input::Kick { ticket, account } => self.kick(now, ticket, account),
            Input::Change {
                ticket,
                account,
                old,
                new,
            } => {
                self.storing.insert(ticket, Storing::Change(account, new));
                self.effects.push_back(Effect::Change {
                    ticket,
                    account,
                    old,
                    new,
                });
            }
            Input::Delete { ticket } => {
                self.storing.insert(ticket, Storing::Delete);
                self.effects.push_back(Effect::Delete { ticket });
            }
            Input::SessionEnded(session) => self.end_session(now, session),
            Input::Admitted { ticket, result } => self.admitted(now, ticket, result, world),
            Input::Stored { ticket, result } => self.stored(now, ticket, result),
            Input::PlaceRecorded(recorded) => self.place_recorded(now, recorded, world),
            Input::Looked(recorded) => self.looked(recorded),
            // What it wakes for was done before.
            Input::Woken => {}
            Input::CommandDone { command, outcome } => {
                self.command_done(now, command, outcome, world);
            }
            Input::MediaEnded {
                sender,
                connection_id,
                reason,
            } => self.media_ended(sender, connection_id, reason),
            Input::MediaReported {
                of,
                connection_id,
                alive,
            } => self.media_reported(now, &of, connection_id, alive, world),
            Input::FramesReported { of, leaf } => self.frames_reported(now, &of, leaf),
            Input::LeftoverClosed(relay) => self.forget_unreached(&relay),
            Input::RelayGone(boot)
            | Input::RelaySilent(boot)
            | Input::RelayHeard(boot)
            | Input::RelayBack(boot)
            | Input::RelayDrains(boot)
                if self.boot() != Some(boot) => {}
            Input::RelayGone(_) => self.displace(now, None, world),
            Input::RelaySilent(_) => self.relay_silent(now, world),
            Input::RelayHeard(_) => self.relay_heard(),
            Input::RelayBack(_) => {
                self.relay_heard();
                self.probe_all(now);
            }
            Input::RelayDrains(_) => self.relay_drains(now, world),
        }
        self.close_if_over(now);
    }

    /// When [`Self::expire`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        // Commands are numbered as they are sent, so the first one is due first.
        let command = self
            .commands
            .values()
            .next()
            .map(|command| command.deadline);
        let place = self.place.as_ref();
        let silence = place.and_then(|place| place.silence.as_ref());
        [
            command,
            self.retry_at,
            self.record_at,
            silence.map(Silence::deadline),
            place.and_then(|place| place.drain_at),
            self.unreached_deadline(),
            self.roll_at,
            self.leaving.as_ref().map(Leaving::deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has become due.
    pub fn expire(&mut self, now: Instant, world: &mut dyn World) {
        let is_due = |(id, command): (&u64, &Command)| (command.deadline <= now).then_some(*id);
        let due: Vec<u64> = self.commands.iter().filter_map(is_due).collect();
        for command in due {
            self.note_unanswered(command, world);
            self.command_failed(now, command, world);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.place_or_wait(now, world);
        }
        if self.record_at.is_some_and(|at| at <= now) {
            self.record_at = None;
            self.record_again();
        }
        self.expire_unreached(now);
        self.expire_silence(now, world);
        self.expire_drain(now, world);
        self.expire_gathering(now);
        self.close_if_over(now);
    }

    /// Another node has the room: everybody who waits is told to ask again, and this node does nothing more in it.
    pub fn depose(&mut self) {
        if !std::mem::replace(&mut self.is_owned, false) {
            return;
        }
        let waiting = self.waiting.drain().map(|(ticket, _)| ticket);
        let storing = self.storing.drain().map(|(ticket, _)| ticket);
        let joins = self.joins.drain().map(|(ticket, join)| {
            self.effects.push_back(Effect::Absent(join.who.account));
            ticket
        });
        let tickets: Vec<Ticket> = joins
            .collect::<Vec<_>>()
            .into_iter()
            .chain(waiting)
            .chain(storing)
            .collect();
        for ticket in tickets {
            self.answer(ticket, Ok(Answer::Again));
        }
        self.commands.clear();
        (self.placing, self.retry_at, self.record_at) = (None, None, None);
        self.leaving = None;
        if self.place.take().is_some() {
            self.effects.push_back(Effect::Settle(None));
        }
        for person in std::mem::take(&mut self.participants).into_values() {
            self.effects
                .push_back(Effect::Absent(person.participant.account));
        }
    }

    /// Whether this node still has the room.
    pub fn is_owned(&self) -> bool {
        self.is_owned
    }

    /// The room is begun anew where it has just been over: what may be out of reach still is, and who was sent out was.
    pub fn follow(&mut self, before: &mut Self) {
        self.unreached = std::mem::take(&mut before.unreached);
        self.homeless_since = before.homeless_since;
        self.kicked = std::mem::take(&mut before.kicked);
    }

    /// Whether the room is at that relay, goes there, or is about to leave it.
    pub fn uses(&self, relay: &RelayName) -> bool {
        let place = self.place.as_ref().map(|place| &place.relay);
        let leaving = self.leaving.as_ref().map(Leaving::relay);
        let mut used = [place, self.placing.as_ref(), leaving]
            .into_iter()
            .flatten();
        used.any(|used| used.name == *relay)
    }

    /// The room's home as it was last known.
    pub fn home(&self) -> &HomeRecord {
        &self.home
    }

    /// Whether participants may be at relays that cannot be commanded: to be remembered for as long, whether somebody is in the
    /// room or not.
    pub fn has_unreached(&self) -> bool {
        !self.unreached.is_empty()
    }

    /// In whose name the room commands.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Whose the room is was looked up.
    fn looked(&mut self, recorded: Recorded) {
        match recorded {
            Recorded::Done(home) => self.home = home,
            Recorded::Superseded => self.depose(),
            // An owner acts until it is fenced: a store that is down ends no call.
            Recorded::Unknown(_) => {}
        }
    }

    /// The next thing to be done, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether nobody is in the room, wants in, or waits for an answer.
    pub fn is_over(&self) -> bool {
        self.participants.is_empty()
            && self.joins.is_empty()
            && self.storing.is_empty()
            && self.waiting.is_empty()
            && self.placing.is_none()
    }

    /// How many are in the room.
    pub fn live(&self) -> usize {
        self.participants.len()
    }

    /// The sessions by which participants are here, or about to be.
    pub fn sessions(&self) -> Vec<SessionId> {
        let participants = self.participants.values().map(|person| person.session);
        let joins = self.joins.values().map(|join| join.who.session);
        let sessions: HashSet<SessionId> = participants.chain(joins).collect();
        sessions.into_iter().collect()
    }

    /// Whether events for this client may still come.
    pub fn knows(&self, client: ClientId) -> bool {
        let mut participants = self.participants.values();
        participants.any(|person| person.client == Some(client))
            || self.joins.values().any(|join| join.who.client == client)
    }

    /// Where the numbers of a successor begin.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            command: self.next_command,
            placement: self.fence.placement,
        }
    }

    fn stored(&mut self, now: Instant, ticket: Ticket, result: Result<(), Refusal>) {
        let Some(storing) = self.storing.remove(&ticket) else {
            return;
        };
        if let Err(refusal) = result {
            self.answer(ticket, Err(refusal));
            return;
        }
        match storing {
            Storing::Change(account, new) => {
                let reach = self.reach(now, account);
                let commands = self.apply(now, account, new);
                self.wait_for(ticket, reach, commands);
            }
            Storing::Delete => {
                let commands = self.close(now);
                self.wait_for(ticket, Reach::All, commands);
            }
        }
    }

    /// The conference is gone from the store.
    fn close(&mut self, now: Instant) -> Vec<u64> {
        let gone = || Refusal::new(ErrorCode::NotFound, "the conference was deleted");
        let joins: Vec<Ticket> = self.joins.keys().copied().collect();
        for ticket in joins {
            self.cancel_join(now, ticket, gone());
        }
        let senders: Vec<u16> = self.participants.keys().copied().collect();
        for sender in senders {
            self.take_out(sender, LeaveReason::Closed, None);
        }
        self.command_everywhere(now, &Action::CloseRoom)
    }

    fn media_ended(&mut self, sender: u16, ended: ConnectionId, reason: MediaEndReason) {
        let reason = match reason {
            MediaEndReason::Bye => LeaveReason::Left,
            MediaEndReason::Idle | MediaEndReason::Unspecified => LeaveReason::Lost,
        };
        // The end of a session that another has replaced ends nobody.
        let is_newest = |person: &ParticipantState| match &person.media {
            MediaSession::Open(connection_id) => *connection_id == ended,
            MediaSession::Waiting | MediaSession::Opening => false,
        };
        if self.participants.get(&sender).is_some_and(is_newest) {
            self.take_out(sender, reason, None);
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Result<Answer, Refusal>) {
        self.effects.push_back(Effect::Answer { ticket, answer });
    }

    /// Counts a change and tells of it.
    pub(super) fn tell(&mut self, clients: Vec<ClientId>, kind: EventKind) {
        self.revision += 1;
        if !clients.is_empty() {
            self.tell_again(clients, kind);
        }
    }

    /// Tells another side of the change that was counted last.
    pub(super) fn tell_again(&mut self, clients: Vec<ClientId>, kind: EventKind) {
        let event = RoomEvent {
            conference: self.conference,
            revision: self.revision,
            kind,
        };
        self.effects.push_back(Effect::Tell { clients, event });
    }

    /// The clients of everyone in the room, each once.
    pub(super) fn everyone(&self) -> Vec<ClientId> {
        let participants = self.participants.values();
        let mut clients: Vec<_> = participants.filter_map(|person| person.client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    pub(super) fn boot(&self) -> Option<BootId> {
        self.place.as_ref().map(|place| place.relay.boot)
    }

    fn close_if_over(&mut self, now: Instant) {
        if self.is_over()
            && self.place.is_none()
            && let Some(leaving) = self.leaving.take()
        {
            self.left_unclosed(leaving.relay().clone());
        }
        if self.is_over() && self.place.is_some() {
            self.command_everywhere(now, &Action::CloseRoom);
            (self.place, self.leaving) = (None, None);
            self.homeless_since = Some(now);
            self.commands.clear();
            (self.retry_at, self.record_at) = (None, None);
            self.effects.push_back(Effect::Settle(None));
        }
    }
}
