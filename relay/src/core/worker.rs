//! One worker: its sessions, its rooms, and what waits to be sent.
//!
//! [`ingress`](super::ingress) and [`fanout`](super::fanout) hold the rest of it: what comes in, what goes out.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use confab_protocol::cluster::MediaEndReason;
use confab_protocol::control::ConferenceId;
use confab_protocol::media::downlink::{self, ByeReason};
use confab_protocol::media::{ConnectionId, HopKey, IDLE_TIMEOUT_SECONDS, ReplayWindow};

use super::counters::Counters;
use super::fanout::{Bundle, BundlePool};
use super::limits::RateLimit;
use super::loudest::{Loudest, Loudness};
use super::packet::PacketPool;
use super::path::Path;
use super::room::Room;
use super::session::{Outbound, Session, SessionInfo};

/// A session from which nothing was heard for so long is over.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(IDLE_TIMEOUT_SECONDS);

/// Time in which the idle scan goes once over all slots.
const IDLE_SCAN_PERIOD: Duration = Duration::from_secs(1);
/// Parts in which it does.
const IDLE_SCAN_PARTS: u32 = 10;

/// Replies that may wait to be sent; more are dropped, their clients ask again.
const MAX_REPLIES: usize = 4096;

/// What control's side tells a worker.
pub enum WorkerCommand {
    /// Takes a session on.
    Open(Arc<SessionInfo>),
    /// Lets it go, with a bye to the client.
    Close(ConnectionId, ByeReason),
}

/// A session that ended at the worker.
pub struct Ended {
    /// Which.
    pub info: Arc<SessionInfo>,
    /// Why.
    pub reason: MediaEndReason,
}

/// What an operator sets of a worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Its index: the worker byte of its sessions' connection ids.
    pub index: u8,
    /// Receive buffers, at most.
    pub buffers: usize,
    /// Speakers of a room that are forwarded at once, at most.
    pub speakers: usize,
}

/// The state machine of one worker. All its time is told to it; nothing in it blocks, locks or allocates for a packet.
pub struct Worker {
    pub(super) config: WorkerConfig,
    /// How long a bundle waits for more frames. The driver of this state machine turns it with the load.
    pub(super) window: Duration,
    pub(super) counters: Arc<Counters>,
    pub(super) packets: PacketPool,
    pub(super) bundles: BundlePool,
    /// By slot.
    pub(super) sessions: Vec<Option<Box<Session>>>,
    /// By slot too.
    pub(super) outbound: Vec<Outbound>,
    pub(super) rooms: Vec<WorkerRoom>,
    free_rooms: Vec<usize>,
    rooms_by_id: HashMap<ConferenceId, usize>,
    /// Rooms whose bundle may be open, with the time at which it closes; the oldest first.
    pub(super) open_rooms: VecDeque<(Instant, usize)>,
    /// Bundles under way, oldest first.
    pub(super) fanouts: VecDeque<Box<Bundle>>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) ended: Vec<Ended>,
    pub(super) challenges: ChallengeSource,
    scan_at: Instant,
    scan_part: u32,
}

/// A room with sessions on this worker.
pub(super) struct WorkerRoom {
    pub(super) shared: Option<Arc<Room>>,
    sessions: usize,
    pub(super) bundle: Option<Box<Bundle>>,
    /// True while it is among the worker's open rooms; its place is not given again before.
    pub(super) is_open: bool,
    /// Who is forwarded.
    pub(super) loudest: Loudest,
}

/// A datagram that is not audio, whole.
pub(super) struct Reply {
    pub(super) to: SocketAddr,
    pub(super) bytes: ArrayVec<u8, 32>,
}

/// Draws challenge bytes that nobody can guess: SipHash of a counter under a key of its own.
pub(super) struct ChallengeSource {
    key: HopKey,
    drawn: u64,
}

impl Worker {
    /// A worker without sessions. `challenge_key` has to be random.
    pub fn new(
        config: WorkerConfig,
        now: Instant,
        counters: Arc<Counters>,
        challenge_key: HopKey,
    ) -> Self {
        Self {
            config,
            window: Duration::ZERO,
            counters,
            packets: PacketPool::new(config.buffers),
            bundles: BundlePool::default(),
            sessions: Vec::new(),
            outbound: Vec::new(),
            rooms: Vec::new(),
            free_rooms: Vec::new(),
            rooms_by_id: HashMap::new(),
            open_rooms: VecDeque::new(),
            fanouts: VecDeque::new(),
            replies: VecDeque::new(),
            ended: Vec::new(),
            challenges: ChallengeSource {
                key: challenge_key,
                drawn: 0,
            },
            scan_at: now,
            scan_part: 0,
        }
    }

    /// Free receive buffers, for the driver to fill.
    pub fn packets(&mut self) -> &mut PacketPool {
        &mut self.packets
    }

    /// From now on a bundle waits for more frames for so long.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// When the first open bundle closes; [`end_batch`](Self::end_batch) wants to be called then.
    pub fn deadline(&self) -> Option<Instant> {
        self.open_rooms.front().map(|(closes, _)| *closes)
    }

    /// Does what control's side says.
    pub fn apply(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Open(info) => self.open(now, info),
            WorkerCommand::Close(id, reason) => {
                if self.holds(id) {
                    self.say_bye(id.slot(), reason);
                    self.forget(id.slot());
                }
            }
        }
    }

    /// Ends sessions that have been silent for [`IDLE_TIMEOUT`]. To be called often; does a part of the work each time.
    pub fn tick(&mut self, now: Instant) {
        if now < self.scan_at {
            return;
        }
        self.scan_at = now + IDLE_SCAN_PERIOD / IDLE_SCAN_PARTS;
        let part = self.scan_part;
        self.scan_part = (part + 1) % IDLE_SCAN_PARTS;
        for slot in (part as usize..self.sessions.len()).step_by(IDLE_SCAN_PARTS as usize) {
            let Some(session) = &self.sessions[slot] else {
                continue;
            };
            if now.saturating_duration_since(session.last_heard) >= IDLE_TIMEOUT {
                self.end(slot as u32, MediaEndReason::Idle);
            }
        }
    }

    /// Sessions that ended by themselves since the last call.
    pub fn take_ended(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.drain(..)
    }

    /// Counts a batch of datagrams, and those that the kernel dropped before it.
    pub fn count_batch(&self, kernel_drops: u64) {
        self.counters.batches.add(1);
        self.counters.kernel_drops.add(kernel_drops);
    }

    /// Counts time in which the worker's thread did not wait.
    pub fn count_busy(&self, time: Duration) {
        self.counters.busy_ns.add(time.as_nanos() as u64);
    }

    /// True while something waits to be sent.
    pub fn has_output(&self) -> bool {
        !self.fanouts.is_empty() || !self.replies.is_empty()
    }

    /// The live session with exactly this id.
    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.slot() as usize)?
            .as_deref_mut()
            .filter(|session| session.info.id == id && !session.info.is_closed())
    }

    /// Ends a session for a reason of its own, which control's side is told.
    pub(super) fn end(&mut self, slot: u32, reason: MediaEndReason) {
        if let Some(session) = self.forget(slot) {
            self.ended.push(Ended {
                info: session.info,
                reason,
            });
        }
    }

    /// Queues a datagram that is not audio.
    pub(super) fn reply(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.replies.len() < MAX_REPLIES {
            let bytes = bytes
                .try_into()
                .expect("no datagram but audio is longer than a pong");
            self.replies.push_back(Reply { to, bytes });
        }
    }

    fn open(&mut self, now: Instant, info: Arc<SessionInfo>) {
        let slot = info.id.slot() as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
            self.outbound.resize_with(slot + 1, Outbound::nobody);
        }
        self.forget(slot as u32);
        let room = self.enter_room(&info.room);
        self.outbound[slot] = Outbound {
            address: None,
            key: info.downlink_key.clone(),
            next: 0,
        };
        self.sessions[slot] = Some(Box::new(Session {
            room,
            replay: ReplayWindow::new(),
            limit: RateLimit::new(now),
            loudness: Loudness::default(),
            path: Path::default(),
            last_heard: now,
            received: 0,
            info,
        }));
    }

    /// Whether the slot is still this session's, closed or not.
    fn holds(&self, id: ConnectionId) -> bool {
        let session = self.sessions.get(id.slot() as usize);
        session
            .and_then(Option::as_deref)
            .is_some_and(|session| session.info.id == id)
    }

    fn say_bye(&mut self, slot: u32, reason: ByeReason) {
        let outbound = &mut self.outbound[slot as usize];
        if let Some(address) = outbound.address {
            let bytes = downlink::bye(reason, outbound.next, &outbound.key);
            outbound.next += 1;
            self.reply(address, &bytes);
        }
    }

    /// Empties a slot.
    fn forget(&mut self, slot: u32) -> Option<Box<Session>> {
        let session = self.sessions.get_mut(slot as usize)?.take()?;
        self.outbound[slot as usize] = Outbound::nobody();
        self.rooms[session.room].loudest.forget(slot);
        self.leave_room(session.room);
        Some(session)
    }

    fn enter_room(&mut self, room: &Arc<Room>) -> usize {
        let known = self.rooms_by_id.get(&room.id).copied();
        // A room that closed and opened again has the same id and other members.
        let is_same = |index: &usize| {
            let shared = self.rooms[*index].shared.as_ref();
            shared.is_some_and(|shared| Arc::ptr_eq(shared, room))
        };
        if let Some(index) = known.filter(is_same) {
            self.rooms[index].sessions += 1;
            return index;
        }
        let entered = WorkerRoom {
            shared: Some(Arc::clone(room)),
            sessions: 1,
            bundle: None,
            is_open: false,
            loudest: Loudest::default(),
        };
        let index = match self.free_rooms.pop() {
            Some(index) => {
                self.rooms[index] = entered;
                index
            }
            None => {
                self.rooms.push(entered);
                self.rooms.len() - 1
            }
        };
        self.rooms_by_id.insert(room.id, index);
        index
    }

    fn leave_room(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.sessions -= 1;
        if room.sessions > 0 {
            return;
        }
        if let Some(shared) = room.shared.take()
            && self.rooms_by_id.get(&shared.id) == Some(&index)
        {
            self.rooms_by_id.remove(&shared.id);
        }
        if !room.is_open {
            self.free_rooms.push(index);
        }
    }

    /// The room has no bundle any more. Its place is free if everyone has left meanwhile.
    pub(super) fn settle_room(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.is_open = false;
        if room.sessions == 0 {
            self.free_rooms.push(index);
        }
    }
}

impl ChallengeSource {
    pub(super) fn draw(&mut self) -> [u8; 8] {
        self.drawn += 1;
        self.key.tag(&self.drawn.to_be_bytes())
    }
}
