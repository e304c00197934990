//! Carries out control's commands: opens and closes sessions, and keeps the routing that the workers read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use confab_protocol::cluster::{
    Action, BootId, Command, CommandOutcome, CommandResult, MAX_MEDIA_STATES, MediaEndReason,
    OpenMedia,
};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::ConnectionId;
use confab_protocol::media::downlink::ByeReason;
use confab_protocol::version;
use dashmap::DashMap;
use foldhash::quality::RandomState;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::command::{Ended, WorkerCommand};
use super::fences::Fences;
use super::mailbox::MailboxSender;
use super::room::Room;
use super::session::SessionInfo;
use super::slots::Slots;

/// Slots of a worker beyond two for each session that the relay takes: a slot is not used again for a minute.
const SPARE_SLOTS: u32 = 1 << 16;

/// The sessions and rooms, as control's commands write them. Shared by all links; each worker has its own sessions.
pub struct Registry {
    boot: BootId,
    capacity: Capacity,
    mailboxes: Box<[MailboxSender]>,
    /// Read without the lock on `state`, as `rooms` is: by the task that reports ended sessions, by the links that list rooms, and by
    /// metrics.
    connections: DashMap<ConnectionId, Arc<SessionInfo>, RandomState>,
    rooms: DashMap<ConferenceId, Arc<Room>, RandomState>,
    /// Held while a command is carried out: commands come one after the other, whichever link they come by.
    state: Mutex<CommandState>,
}

/// The capacity of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Sessions, at most.
    pub sessions: u32,
    /// Rooms, at most.
    pub rooms: u32,
    /// Members of a room, at most.
    pub members: u32,
    /// Members of a room on one worker before the room goes to another one too.
    pub share: u32,
}

/// The state that only commands use.
struct CommandState {
    random: StdRng,
    /// By worker.
    slots: Box<[Slots]>,
    fences: Fences,
    /// Rooms that wait to be published.
    stale: Vec<Arc<Room>>,
}

/// A media session that ended without a command, to be reported to control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MediaEnded {
    /// The room's conference.
    pub conference: ConferenceId,
    /// The participant's sender label.
    pub sender: u16,
    /// The id of the session; the participant may have another one by now.
    pub connection_id: ConnectionId,
    /// The reason, as control is told.
    pub reason: MediaEndReason,
}

impl Registry {
    /// A registry over the workers behind `mailboxes`, in the order of their indexes: 1 to 256 of them.
    ///
    /// `seed` has to be random: connection ids are drawn from it.
    pub fn new(
        boot: BootId,
        capacity: Capacity,
        mailboxes: Vec<MailboxSender>,
        seed: [u8; 32],
    ) -> Self {
        assert!(
            (1..=256).contains(&mailboxes.len()),
            "a connection id names a worker by one byte"
        );
        let slots = capacity.sessions.saturating_mul(2);
        let slots = slots.saturating_add(SPARE_SLOTS);
        let state = CommandState {
            random: StdRng::from_seed(seed),
            slots: mailboxes.iter().map(|_| Slots::new(slots)).collect(),
            fences: Fences::new(capacity.rooms as usize),
            stale: Vec::new(),
        };
        Self {
            boot,
            capacity,
            mailboxes: mailboxes.into(),
            connections: DashMap::default(),
            rooms: DashMap::default(),
            state: Mutex::new(state),
        }
    }

    /// Carries out a command, if its fence and boot id allow it, and returns the outcome.
    ///
    /// When this returns, the workers no longer forward anything that the command forbids. The receivers of a room change
    /// with the next [`publish`](Self::publish).
    pub fn execute(&self, now: Instant, command: &Command) -> CommandResult {
        let state = &mut *self.state();
        let mut result = CommandResult::bare(command.id, CommandOutcome::Obeyed);
        if let Err(refused) = self.check(state, now, command) {
            result.outcome = refused;
            return result;
        }
        match &command.action {
            Action::OpenMedia(open) if !version::MEDIA.contains(open.media_version) => {
                result.outcome = CommandOutcome::Invalid;
            }
            Action::OpenMedia(open) => {
                result.connection_id = self.open(state, now, command.conference, open);
                if result.connection_id.is_none() {
                    result.outcome = CommandOutcome::Full;
                }
            }
            Action::CloseMedia { sender } => {
                result.outcome = self.close(state, now, command.conference, *sender);
            }
            Action::SetMaySpeak { sender, may_speak } => {
                match self.member(command.conference, *sender) {
                    Some(session) => session.set_may_speak(*may_speak),
                    None => result.outcome = CommandOutcome::NotFound,
                }
            }
            Action::CloseRoom => self.close_room(state, now, command.conference),
            Action::SetLeaves(granted) => match self.room(command.conference) {
                Some(room) => room.grant_leaves(now, granted),
                None => result.outcome = CommandOutcome::NotFound,
            },
            Action::RetireEpochs { generation, epoch } => match self.room(command.conference) {
                Some(room) => room.retire_epochs(*generation, *epoch),
                None => result.outcome = CommandOutcome::NotFound,
            },
            Action::ListMedia { from } => {
                if let Some(room) = self.room(command.conference) {
                    (result.media, result.more) = room.list(now, *from, MAX_MEDIA_STATES);
                }
            }
        }
        result
    }

    /// Removes a session that its worker has ended. `None` if control has closed it before.
    pub fn ended(&self, now: Instant, ended: &Ended) -> Option<MediaEnded> {
        let state = &mut *self.state();
        let info = &ended.info;
        self.connections.remove(&info.id)?;
        state.give_slot(now, info.id);
        let was_in = info.room.remove_session(info);
        state.mark_stale(&info.room);
        self.drop_room_if_empty(&info.room);
        was_in.then_some(MediaEnded {
            conference: info.room.id,
            sender: info.sender,
            connection_id: info.id,
            reason: ended.reason,
        })
    }

    /// Shows the workers every change so far. To be called a few milliseconds after a change, for all changes in between.
    pub fn publish(&self) {
        let stale = std::mem::take(&mut self.state().stale);
        for room in stale {
            room.publish();
        }
    }

    /// Ends every session: the relay stops.
    pub fn drain(&self, now: Instant) {
        let state = &mut *self.state();
        let sessions: Vec<_> = self
            .connections
            .iter()
            .map(|session| Arc::clone(&session))
            .collect();
        for session in sessions {
            self.end_session(state, now, &session, ByeReason::Draining);
        }
    }

    /// Forgets fences that were not used for 10 minutes. To be called about every minute.
    pub fn sweep(&self, now: Instant) {
        let is_live = |conference: &ConferenceId| self.rooms.contains_key(conference);
        self.state().fences.sweep(now, is_live);
    }

    /// Count of commands that the worker with most of them has not carried out yet. Links take no commands while it is high.
    pub fn waiting(&self) -> usize {
        self.mailboxes
            .iter()
            .map(MailboxSender::waiting)
            .max()
            .unwrap_or(0)
    }

    /// The conferences that have sessions here.
    pub fn live_rooms(&self) -> Vec<ConferenceId> {
        self.rooms.iter().map(|room| *room.key()).collect()
    }

    /// Live sessions.
    pub fn sessions(&self) -> usize {
        self.connections.len()
    }

    /// Live rooms.
    pub fn rooms(&self) -> usize {
        self.rooms.len()
    }

    /// Checks a command's boot id and fence.
    fn check(
        &self,
        state: &mut CommandState,
        now: Instant,
        command: &Command,
    ) -> Result<(), CommandOutcome> {
        if command.boot != self.boot {
            return Err(CommandOutcome::WrongBoot);
        }
        let is_live = |conference: &ConferenceId| self.rooms.contains_key(conference);
        let fences = &mut state.fences;
        if fences.pass(now, command.conference, command.fence, is_live) {
            Ok(())
        } else {
            Err(CommandOutcome::Fenced)
        }
    }

    fn open(
        &self,
        state: &mut CommandState,
        now: Instant,
        conference: ConferenceId,
        open: &OpenMedia,
    ) -> Option<ConnectionId> {
        if self.connections.len() >= self.capacity.sessions as usize {
            return None;
        }
        let room = self.room_for(state, conference)?;
        let is_new = room.member(open.sender).is_none();
        if is_new && room.len() >= self.capacity.members as usize {
            return None;
        }
        let worker = self.worker_for(state, &room);
        let slots = state.slots.get_mut(usize::from(worker));
        let Some(slot) = slots.and_then(|slots| slots.take(now)) else {
            self.drop_room_if_empty(&room);
            return None;
        };
        let check = state.random.next_u32();
        let id = ConnectionId::new(worker, slot, check);
        let session = Arc::new(SessionInfo::new(id, Arc::clone(&room), open));
        self.connections.insert(id, Arc::clone(&session));
        if let Some(before) = room.insert(now, Arc::clone(&session), open.leaves) {
            self.end_session(state, now, &before, ByeReason::Replaced);
        }
        self.tell(worker, WorkerCommand::Open(session));
        state.mark_stale(&room);
        Some(id)
    }

    /// The live room, or a new one if there may be one more.
    fn room_for(&self, state: &CommandState, conference: ConferenceId) -> Option<Arc<Room>> {
        if let Some(room) = self.room(conference) {
            return Some(room);
        }
        if self.rooms.len() >= self.capacity.rooms as usize {
            return None;
        }
        let room = Arc::new(Room::new(conference, state.least_loaded_worker()));
        self.rooms.insert(conference, Arc::clone(&room));
        self.tell(room.home, WorkerCommand::Host(Arc::clone(&room)));
        Some(room)
    }

    /// The worker for one session more of a room: a worker of the room that has less than its share; else the worker with the
    /// fewest sessions of the room; among equals the home, then the one with the fewest sessions of all.
    fn worker_for(&self, state: &CommandState, room: &Room) -> u8 {
        let taken = room.worker_with_room(self.capacity.share as usize);
        taken.unwrap_or_else(|| {
            let workers = state.slots.iter().enumerate();
            let loads = workers.map(|(worker, slots)| (worker as u8, slots.used()));
            loads
                .min_by_key(|(worker, used)| (room.len_at(*worker), *worker != room.home, *used))
                .map_or(room.home, |(worker, _)| worker)
        })
    }

    fn close(
        &self,
        state: &mut CommandState,
        now: Instant,
        conference: ConferenceId,
        sender: u16,
    ) -> CommandOutcome {
        let Some(room) = self.room(conference) else {
            return CommandOutcome::NotFound;
        };
        let Some(session) = room.remove(sender) else {
            return CommandOutcome::NotFound;
        };
        self.end_session(state, now, &session, ByeReason::Closed);
        state.mark_stale(&room);
        self.drop_room_if_empty(&room);
        CommandOutcome::Obeyed
    }

    fn close_room(&self, state: &mut CommandState, now: Instant, conference: ConferenceId) {
        if let Some((_, room)) = self.rooms.remove(&conference) {
            for session in room.clear() {
                self.end_session(state, now, &session, ByeReason::Closed);
            }
            state.mark_stale(&room);
            self.tell(room.home, WorkerCommand::Unhost(room));
        }
    }

    /// Ends a session that was taken out of its room.
    fn end_session(
        &self,
        state: &mut CommandState,
        now: Instant,
        session: &SessionInfo,
        reason: ByeReason,
    ) {
        session.close();
        if self.connections.remove(&session.id).is_some() {
            state.give_slot(now, session.id);
        }
        self.tell(
            session.id.worker(),
            WorkerCommand::Close(session.id, reason),
        );
    }

    fn tell(&self, worker: u8, command: WorkerCommand) {
        if let Some(mailbox) = self.mailboxes.get(usize::from(worker)) {
            mailbox.send(command);
        }
    }

    fn room(&self, conference: ConferenceId) -> Option<Arc<Room>> {
        self.rooms.get(&conference).map(|room| Arc::clone(&room))
    }

    fn member(&self, conference: ConferenceId, sender: u16) -> Option<Arc<SessionInfo>> {
        self.room(conference)?.member(sender)
    }

    fn drop_room_if_empty(&self, room: &Arc<Room>) {
        let is_over = |listed: &Arc<Room>| Arc::ptr_eq(listed, room) && room.is_empty();
        if let Some((_, room)) = self.rooms.remove_if(&room.id, |_, room| is_over(room)) {
            self.tell(room.home, WorkerCommand::Unhost(room));
        }
    }

    fn state(&self) -> MutexGuard<'_, CommandState> {
        // A panic in a command ends its link's task; it leaves at most one room half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommandState {
    fn give_slot(&mut self, now: Instant, id: ConnectionId) {
        if let Some(slots) = self.slots.get_mut(usize::from(id.worker())) {
            slots.give(now, id.slot());
        }
    }

    fn mark_stale(&mut self, room: &Arc<Room>) {
        if room.mark_stale() {
            self.stale.push(Arc::clone(room));
        }
    }

    fn least_loaded_worker(&self) -> u8 {
        let loads = self.slots.iter().enumerate();
        let least = loads.min_by_key(|(_, slots)| slots.used());
        least.map_or(0, |(index, _)| index as u8)
    }
}
