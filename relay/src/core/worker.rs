//! One worker: its sessions, its rooms, and what waits to be sent.
//!
//! [`ingress`](super::ingress), `home` and [`fanout`](super::fanout) hold the rest of it: what comes in, to
//! whom it is forwarded, what goes out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use super::path::{PATH_TIMEOUT, Path, PathAction};
use super::replies::Replies;
use super::room::Room;
use super::session::{Seat, Session, SessionInfo};
use super::table::SessionTable;

/// Time in which the scan for silent sessions goes once over all slots.
const SCAN_PERIOD: Duration = Duration::from_secs(1);
/// Parts in which it does.
const SCAN_PARTS: u32 = 10;

/// When the worker itself stood still for so long, the silence meanwhile says nothing about its clients.
const STALL: Duration = Duration::from_secs(2);

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
    /// A session whose path has answered no challenge for so long is over.
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
    pub(super) sessions: SessionTable,
    pub(super) rooms: LocalRooms,
    /// Rooms whose bundle may be open, with the time at which it closes; the oldest first.
    pub(super) open_rooms: VecDeque<(Instant, usize)>,
    /// Bundles under way, oldest first.
    pub(super) fanouts: VecDeque<Fanout>,
    pub(super) replies: Replies,
    pub(super) ended: Vec<Ended>,
    pub(super) challenges: ChallengeSource,
    pub(super) crossings: Arc<Crossings>,
    rung: Rung,
    scan_at: Instant,
    scan_part: u32,
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
            sessions: SessionTable::default(),
            rooms: LocalRooms::default(),
            open_rooms: VecDeque::new(),
            fanouts: VecDeque::new(),
            replies: Replies::default(),
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
            WorkerCommand::Close(id, reason) => self.close(id, reason),
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

    /// Asks paths whether they still answer, and ends sessions that have been silent for too long. To be called often; does
    /// a part of the work each time.
    pub fn tick(&mut self, now: Instant) {
        let late = now.checked_duration_since(self.scan_at);
        let Some(late) = late else {
            return;
        };
        if late >= STALL {
            // A machine that was paused, or a clock that leapt.
            for session in self.sessions.iter_mut() {
                session.alive = (session.alive + late).min(now);
                session.path.forgive(now, late);
            }
        }
        self.scan_at = now + SCAN_PERIOD / SCAN_PARTS;
        let part = self.scan_part;
        self.scan_part = (part + 1) % SCAN_PARTS;
        for slot in (part as usize..self.sessions.len()).step_by(SCAN_PARTS as usize) {
            self.look_after(now, slot as u32);
        }
    }

    fn look_after(&mut self, now: Instant, slot: u32) {
        let Some((session, outbound)) = self.sessions.at(slot) else {
            return;
        };
        if now.saturating_duration_since(session.alive) >= self.config.idle_timeout {
            self.end(slot, MediaEndReason::Idle);
            return;
        }
        let after = check_after(self.config.idle_timeout, session.info.id);
        let challenges = &mut self.challenges;
        match session.path.check(now, after, || challenges.draw()) {
            PathAction::None | PathAction::Challenge(_) => {}
            PathAction::Check(path, bytes) => {
                self.counters.path_checks.add(1);
                outbound.challenge(path, bytes, &mut self.replies);
            }
            PathAction::Lost => {
                self.counters.paths_lost.add(1);
                outbound.path = None;
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

    /// Ends a session for a reason of its own, which control's side is told.
    pub(super) fn end(&mut self, slot: u32, reason: MediaEndReason) {
        if let Some(session) = self.forget(slot) {
            self.ended.push(Ended {
                info: session.info,
                reason,
            });
        }
    }

    fn open(&mut self, now: Instant, info: Arc<SessionInfo>) {
        self.forget(info.id.slot());
        let place = self.rooms.hold(&info.room);
        self.sessions.insert(Session {
            place,
            replay: ReplayWindow::new(),
            limit: RateLimit::new(now, &self.config.limits),
            loudness: Loudness::default(),
            path: Path::default(),
            alive: now,
            received: 0,
            info,
        });
    }

    fn close(&mut self, id: ConnectionId, reason: ByeReason) {
        let Some((session, outbound)) = self.sessions.at(id.slot()) else {
            return;
        };
        // The slot may be another session's by now.
        if session.info.id != id {
            return;
        }
        if let Some(path) = outbound.path
            && let Some(number) = outbound.take_number()
        {
            let datagram = downlink::bye(reason, number, &outbound.key);
            self.replies.push(path, &datagram);
        }
        self.forget(id.slot());
    }

    /// Empties a slot.
    fn forget(&mut self, slot: u32) -> Option<Box<Session>> {
        let session = self.sessions.remove(slot)?;
        let seat = Seat::from(session.info.id);
        if let Some(room) = self.rooms.get_mut(session.place) {
            room.loudest.forget(seat);
        }
        self.rooms.let_go(session.place);
        Some(session)
    }
}

/// When a path is asked whether it still answers, after its last answer: three times in the shorter of the times after
/// which it is not sent to or the session ends, a little sooner or later for each session, so that those that came
/// together are not asked together (RFC 7675 §5.1).
fn check_after(idle_timeout: Duration, id: ConnectionId) -> Duration {
    const SPREAD_PERCENT: u32 = 41;
    let percent = 80 + id.check() % SPREAD_PERCENT;
    idle_timeout.min(PATH_TIMEOUT) / 3 * percent / 100
}

impl ChallengeSource {
    pub(super) fn draw(&mut self) -> [u8; 8] {
        self.drawn += 1;
        self.key.tag(&self.drawn.to_be_bytes())
    }
}
