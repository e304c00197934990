//! One worker: its sessions, its rooms, and what waits to be sent.
//!
//! [`ingress`](super::ingress), `home` and [`fanout`](super::fanout) hold the rest of it: what comes in, to
//! whom it is forwarded, what goes out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use confab_protocol::cluster::MediaEndReason;
use confab_protocol::media::downlink::{self, ByeReason};
use confab_protocol::media::{ConnectionId, HopKey, ReplayWindow};

use super::bundle::BundlePool;
use super::counters::{Counters, DropCause};
use super::crossing::{Crossing, Crossings, Rung};
use super::fanout::Fanout;
use super::limits::{RateLimit, RateLimits};
use super::local_rooms::LocalRooms;
use super::loudest::Loudness;
use super::packet::{Packet, PacketPool};
use super::path::{FourTuple, Path};
use super::room::Room;
use super::session::{Outbound, Seat, Session, SessionInfo};

/// Time in which the idle scan goes once over all slots.
const IDLE_SCAN_PERIOD: Duration = Duration::from_secs(1);
/// Parts in which it does.
const IDLE_SCAN_PARTS: u32 = 10;

/// When the worker itself stood still for so long, the silence meanwhile says nothing about its clients.
const STALL: Duration = Duration::from_secs(2);

/// Replies that may wait to be sent; more are dropped, their clients ask again.
const MAX_REPLIES: usize = 4096;

/// What is taken from other workers at once, at most: one's own socket is to have its turn.
const MAX_CROSSINGS: usize = 256;

/// What control's side tells a worker.
pub enum WorkerCommand {
    /// Is a room's home from now on.
    Host(Arc<Room>),
    /// Is not any more: the room has closed.
    Unhost(Arc<Room>),
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
    /// What a session may send.
    pub limits: RateLimits,
    /// A session from which nothing was heard for so long is over.
    pub idle_timeout: Duration,
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
    pub(super) rooms: LocalRooms,
    /// Rooms whose bundle may be open, with the time at which it closes; the oldest first.
    pub(super) open_rooms: VecDeque<(Instant, usize)>,
    /// Bundles under way, oldest first.
    pub(super) fanouts: VecDeque<Fanout>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) ended: Vec<Ended>,
    pub(super) challenges: ChallengeSource,
    pub(super) crossings: Arc<Crossings>,
    rung: Rung,
    scan_at: Instant,
    scan_part: u32,
}

/// A datagram that is not audio, whole.
pub(super) struct Reply {
    pub(super) to: FourTuple,
    pub(super) bytes: ArrayVec<u8, 32>,
}

/// Draws challenge bytes that nobody can guess: SipHash of a counter under a key of its own.
pub(super) struct ChallengeSource {
    key: HopKey,
    drawn: u64,
}

impl Worker {
    /// A worker without sessions, one of those that share `crossings`. `challenge_key` has to be random.
    pub fn new(
        config: WorkerConfig,
        now: Instant,
        counters: Arc<Counters>,
        crossings: Arc<Crossings>,
        challenge_key: HopKey,
    ) -> Self {
        Self {
            config,
            window: Duration::ZERO,
            counters,
            packets: PacketPool::new(config.index, config.buffers),
            bundles: BundlePool::default(),
            sessions: Vec::new(),
            outbound: Vec::new(),
            rooms: LocalRooms::default(),
            open_rooms: VecDeque::new(),
            fanouts: VecDeque::new(),
            replies: VecDeque::new(),
            ended: Vec::new(),
            challenges: ChallengeSource {
                key: challenge_key,
                drawn: 0,
            },
            crossings,
            rung: Rung::default(),
            scan_at: now,
            scan_part: 0,
        }
    }

    /// Free receive buffers, for the driver to fill.
    pub fn packets(&mut self) -> &mut PacketPool {
        &mut self.packets
    }

    /// Does what control's side says.
    pub fn apply(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Host(room) => {
                self.rooms.hold(&room);
            }
            WorkerCommand::Unhost(room) => {
                if let Some(place) = self.rooms.find(&room) {
                    self.rooms.let_go(place);
                }
            }
            WorkerCommand::Open(info) => self.open(now, info),
            WorkerCommand::Close(id, reason) => {
                if self.holds(id) {
                    self.say_bye(id.slot(), reason);
                    self.forget(id.slot());
                }
            }
        }
    }

    /// Takes what other workers have handed over, or as much of it as is good at once.
    pub fn receive_crossings(&mut self, now: Instant) {
        while let Some(packet) = self.crossings.take_back(self.config.index) {
            self.packets.give(packet);
        }
        for _ in 0..MAX_CROSSINGS {
            match self.crossings.receive(self.config.index) {
                Some(Crossing::Datagram(packet)) => self.take(now, packet),
                Some(Crossing::Frame(packet, room, frame)) => match self.rooms.find(&room) {
                    Some(place) => self.admit(now, packet, place, &frame),
                    None => {
                        self.counters.count_drop(DropCause::RoomClosed);
                        self.give(packet);
                    }
                },
                Some(Crossing::Fanout(fanout)) => self.fanouts.push_back(fanout),
                None => return,
            }
        }
    }

    /// Who has been handed something since the last call, and may have to be woken.
    pub fn take_rung(&mut self) -> Rung {
        std::mem::take(&mut self.rung)
    }

    /// Ends sessions that have been silent for too long. To be called often; does a part of the work each time.
    pub fn tick(&mut self, now: Instant) {
        if now < self.scan_at {
            return;
        }
        if now.saturating_duration_since(self.scan_at) >= STALL {
            // A machine that was paused, or a clock that leapt.
            for session in self.sessions.iter_mut().flatten() {
                session.last_heard = now;
            }
        }
        self.scan_at = now + IDLE_SCAN_PERIOD / IDLE_SCAN_PARTS;
        let part = self.scan_part;
        self.scan_part = (part + 1) % IDLE_SCAN_PARTS;
        for slot in (part as usize..self.sessions.len()).step_by(IDLE_SCAN_PARTS as usize) {
            let Some(session) = &self.sessions[slot] else {
                continue;
            };
            if now.saturating_duration_since(session.last_heard) >= self.config.idle_timeout {
                self.end(slot as u32, MediaEndReason::Idle);
            }
        }
    }

    /// Sessions that ended by themselves since the last call.
    pub fn take_ended(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.drain(..)
    }

    /// Counts a batch of `datagrams`, and those that the kernel dropped before it.
    pub fn count_batch(&self, datagrams: usize, kernel_drops: u64) {
        self.counters.batch_sizes.record(datagrams as u64);
        self.counters.kernel_drops.add(kernel_drops);
    }

    /// Counts datagrams that a packet socket has sent.
    pub fn count_sent_by_packet(&self, datagrams: u64) {
        self.counters.datagrams_out_by_packet.add(datagrams);
    }

    /// Counts time in which the worker's thread did not wait.
    pub fn count_busy(&self, time: Duration) {
        self.counters.busy_ns.add(time.as_nanos() as u64);
    }

    /// True while something waits to be sent.
    pub fn has_output(&self) -> bool {
        !self.fanouts.is_empty() || !self.replies.is_empty()
    }

    /// True while other workers have handed over what was not taken yet.
    pub fn has_crossings(&self) -> bool {
        !self.crossings.is_empty(self.config.index)
    }

    /// Hands something to another worker, or sheds it when that one's ring is full.
    pub(super) fn cross(&mut self, to: u8, crossing: Crossing) {
        let Err(refused) = self.crossings.send(to, crossing) else {
            self.rung.mark(to);
            return;
        };
        let frames = match refused {
            Crossing::Datagram(packet) | Crossing::Frame(packet, ..) => {
                self.give(packet);
                1
            }
            Crossing::Fanout(fanout) => fanout.unsent(),
        };
        self.counters.count_drops(DropCause::RingFull, frames);
    }

    /// Gives a buffer back to the pool that it is of.
    pub(super) fn give(&mut self, packet: Box<Packet>) {
        if packet.owner == self.config.index {
            self.packets.give(packet);
        } else {
            self.crossings.give_back(packet);
        }
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
    pub(super) fn reply(&mut self, to: FourTuple, bytes: &[u8]) {
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
        let place = self.rooms.hold(&info.room);
        self.outbound[slot] = Outbound {
            path: None,
            key: info.downlink_key.clone(),
            next: 0,
        };
        self.sessions[slot] = Some(Box::new(Session {
            place,
            replay: ReplayWindow::new(),
            limit: RateLimit::new(now, &self.config.limits),
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
        if let Some(path) = outbound.path {
            let bytes = downlink::bye(reason, outbound.next, &outbound.key);
            outbound.next += 1;
            self.reply(path, &bytes);
        }
    }

    /// Empties a slot.
    fn forget(&mut self, slot: u32) -> Option<Box<Session>> {
        let session = self.sessions.get_mut(slot as usize)?.take()?;
        self.outbound[slot as usize] = Outbound::nobody();
        let seat = Seat::from(session.info.id);
        self.rooms[session.place].loudest.forget(seat);
        self.rooms.let_go(session.place);
        Some(session)
    }
}

impl ChallengeSource {
    pub(super) fn draw(&mut self) -> [u8; 8] {
        self.drawn += 1;
        self.key.tag(&self.drawn.to_be_bytes())
    }
}
