//! A relay's core without threads and sockets: registry, workers, one clock, one wire. Only this module knows the core's
//! interface.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, CommandResult, Fence};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::{ConnectionId, HopKey};
use confab_relay::core::Capacity;
use confab_relay::core::RateLimits;
use confab_relay::core::WorkerConfig;
use confab_relay::core::{
    Counters, Crossings, KernelTime, Outgoing, Packet, PacketPool, Received, Registry, SendStatus,
    Transport, Worker, mailbox,
};

const BOOT: BootId = BootId([9; 16]);
/// Few of each, so that a short script meets the limits.
const WORKERS: u8 = 2;
const BUFFERS: usize = 16;
const SPEAKERS: usize = 3;
/// Buffers that a worker keeps free for what comes, at the start of a round.
const BATCH: usize = 4;

const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A path and a session are over after so long without an answer, and a little more for clocks out of step.
const SILENCE: Duration = Duration::from_secs(35);
/// A worker checks a part of its sessions no more often.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);
/// Checks in which a worker has checked each of its sessions.
const CHECKS_OF_A_SCAN: usize = 12;
/// A worker that had no round for this time requires no answer for it.
const STALL: Duration = Duration::from_secs(2);
/// Entries of a worker's ring.
const RING: usize = 6;
/// How much the relay takes on.
const CAPACITY: Capacity = Capacity {
    sessions: 24,
    rooms: 10,
    members: 20,
    // So that rooms of a few are on both workers.
    share: 2,
};

pub(super) struct World {
    /// The latest time that was told; what is told may be earlier by `skew`.
    now: Instant,
    skew: Duration,
    pub(super) registry: Registry,
    workers: Vec<WorldWorker>,
    pub(super) wire: Wire,
    commands: u64,
    /// Workers that had a round since [`take_rounds`](World::take_rounds).
    rounds: BTreeSet<u8>,
    /// Sessions that their worker has ended by itself.
    ended: Vec<ConnectionId>,
}

struct WorldWorker {
    worker: Worker,
    /// Time in which the worker had rounds without a stall between them.
    awake: Duration,
    /// When it last checked sessions for an answer, and `awake` at the last of these times.
    checked: Instant,
    checks: VecDeque<Duration>,
}

/// The datagrams that were sent, and how the socket takes more.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) sent: Vec<(SocketAddr, Vec<u8>)>,
    /// So many datagrams more, then `WouldBlock`.
    pub(super) capacity: Option<usize>,
    pub(super) refused: Option<SocketAddr>,
}

/// The wire, with a datagram for one worker.
struct Socket<'a> {
    incoming: Option<(SocketAddr, &'a [u8])>,
    wire: &'a mut Wire,
}

impl Transport for Socket<'_> {
    fn receive(
        &mut self,
        pool: &mut PacketPool,
        received: &mut Vec<Box<Packet>>,
    ) -> io::Result<()> {
        if self.incoming.is_none() {
            return Ok(());
        }
        let Some(mut packet) = pool.take() else {
            return Ok(());
        };
        if let Some((from, bytes)) = self.incoming.take() {
            let len = bytes.len().min(packet.data.len());
            packet.data[..len].copy_from_slice(&bytes[..len]);
            packet.filled(Received {
                len,
                from: from.into(),
                at: KernelTime::default(),
                waited: Duration::ZERO,
            });
            received.push(packet);
        }
        Ok(())
    }

    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.wire.send(chunk)
    }
}

impl Wire {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        for (sent, outgoing) in chunk.iter().enumerate() {
            if self.capacity == Some(0) {
                return SendStatus::WouldBlock { sent };
            }
            if self.refused == Some(outgoing.to.remote) {
                return SendStatus::Refused { sent };
            }
            if let Some(capacity) = &mut self.capacity {
                *capacity -= 1;
            }
            let bytes = outgoing.to_vec();
            assert_eq!(bytes.len(), outgoing.len());
            self.sent.push((outgoing.to.remote, bytes));
        }
        SendStatus::All
    }
}

impl World {
    pub(super) fn new() -> Self {
        // Far from the platform's first instant, so that the clock can be turned back.
        let now = Instant::now() + Duration::from_secs(1 << 20);
        let (posts, mailboxes): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| mailbox()).unzip();
        let crossings = Arc::new(Crossings::new(WORKERS.into(), RING, BUFFERS));
        let worker = |(index, mailbox)| {
            let config = WorkerConfig {
                index,
                buffers: BUFFERS,
                batch: BATCH,
                speakers: SPEAKERS,
                limits: RateLimits::default(),
                idle_timeout: IDLE_TIMEOUT,
            };
            let key = HopKey::new([index | 0x80; 16]);
            let counters = Arc::new(Counters::default());
            WorldWorker {
                worker: Worker::new(config, now, mailbox, counters, Arc::clone(&crossings), key),
                awake: Duration::ZERO,
                checked: now,
                checks: VecDeque::new(),
            }
        };
        Self {
            now,
            skew: Duration::ZERO,
            registry: Registry::new(BOOT, CAPACITY, posts, [7; 32]),
            workers: (0..WORKERS).zip(mailboxes).map(worker).collect(),
            wire: Wire::default(),
            commands: 0,
            rounds: BTreeSet::new(),
            ended: Vec::new(),
        }
    }

    /// What the next caller is told.
    fn now(&self) -> Instant {
        self.now - self.skew
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// From now on all are told a time that is earlier by so much, as by a thread that was held up.
    pub(super) fn set_skew(&mut self, skew: Duration) {
        self.skew = skew;
    }

    pub(super) fn set_window(&mut self, window: Duration) {
        for of_world in &mut self.workers {
            of_world.worker.set_window(window);
        }
    }

    /// Carries a command out; workers and packets see it later.
    pub(super) fn command(&mut self, room: u8, fence: Fence, action: Action) -> CommandResult {
        self.commands += 1;
        let command = Command {
            id: self.commands,
            conference: ConferenceId::new([room; 16]),
            fence,
            boot: BOOT,
            action,
        };
        let result = self.registry.execute(self.now(), &command);
        assert_eq!(result.id, self.commands);
        result
    }

    pub(super) fn publish(&mut self) {
        // The workers may not have read of the change yet.
        self.registry.publish();
    }

    /// A datagram comes to the worker that its connection id names, which has a round. False if no buffer is free for it.
    pub(super) fn receive(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        let worker = bytes.get(1).map_or(0, |worker| worker % WORKERS);
        self.round(worker, Some((from, bytes))).has_received
    }

    /// A round of each worker.
    pub(super) fn turn(&mut self) {
        for worker in 0..WORKERS {
            self.round(worker, None);
        }
    }

    /// Time in which a worker had rounds without a stall between them.
    pub(super) fn awake(&self, worker: u8) -> Duration {
        self.workers[usize::from(worker)].awake
    }

    /// True if a worker must have noticed that a client answered last at this time.
    pub(super) fn is_overdue(&self, worker: u8, answered: Duration) -> bool {
        let checks = &self.workers[usize::from(worker)].checks;
        checks.len() == CHECKS_OF_A_SCAN && checks.iter().all(|check| *check > answered + SILENCE)
    }

    /// Sends all that waits over a wire that takes it. Then every buffer is back.
    pub(super) fn flush(&mut self) {
        self.wire.capacity = None;
        self.wire.refused = None;
        self.set_skew(Duration::ZERO);
        self.set_window(Duration::ZERO);
        self.pass(Duration::from_secs(1));
        // A frame goes home, from there to the others, and its buffer back.
        for _ in 0..4 {
            for worker in 0..WORKERS {
                let mut done = self.round(worker, None);
                while done.has_output {
                    assert!(!done.is_blocked);
                    done = self.round(worker, None);
                }
            }
        }
        for WorldWorker { worker, .. } in &self.workers {
            assert_eq!(worker.deadline(), None);
            assert!(!worker.has_crossings());
            assert_eq!(worker.free_buffers(), BUFFERS);
        }
    }

    /// Workers that had a round since the last call: they have carried out all commands before it.
    pub(super) fn take_rounds(&mut self) -> BTreeSet<u8> {
        std::mem::take(&mut self.rounds)
    }

    /// Sessions that their worker has ended by itself since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.ended)
    }

    fn round(&mut self, worker: u8, incoming: Option<(SocketAddr, &[u8])>) -> Done {
        let now = self.now();
        let of_world = &mut self.workers[usize::from(worker)];
        of_world.count_check(now);
        let mut socket = Socket {
            incoming,
            wire: &mut self.wire,
        };
        let round = of_world.worker.round(now, &mut socket, |_| {});
        let done = Done {
            has_received: socket.incoming.is_none(),
            is_blocked: round.expect("this transport does not fail").is_blocked,
            has_output: of_world.worker.has_output(),
        };
        assert!(of_world.worker.free_buffers() <= BUFFERS);
        for ended in of_world.worker.take_ended() {
            self.ended.push(ended.info.id);
            self.registry.ended(now, &ended);
        }
        self.rounds.insert(worker);
        done
    }
}

/// The outcome of a worker's round.
struct Done {
    has_received: bool,
    is_blocked: bool,
    has_output: bool,
}

impl WorldWorker {
    /// Counts that the worker checks a part of its sessions, if it is time for that.
    fn count_check(&mut self, now: Instant) {
        let Some(since) = now.checked_duration_since(self.checked) else {
            return;
        };
        if since < SCAN_INTERVAL {
            return;
        }
        self.checked = now;
        if since < STALL {
            self.awake += since;
        }
        self.checks.push_back(self.awake);
        if self.checks.len() > CHECKS_OF_A_SCAN {
            self.checks.pop_front();
        }
    }
}
