//! A relay's core without threads and sockets: registry, workers, one clock, one wire. All that knows the core's API is
//! here; what may be expected of it is in [`relay_core`](crate::relay_core).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, CommandResult, Fence};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::{ConnectionId, HopKey};
use confab_relay::core::limits::RateLimits;
use confab_relay::core::registry::Capacity;
use confab_relay::core::worker::WorkerConfig;
use confab_relay::core::{
    Counters, Crossings, Mailbox, Outgoing, Registry, SendStatus, Transport, Worker, WorkerCommand,
    mailbox,
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
/// A worker looks after a part of its sessions no more often.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);
/// Turns in which a worker looks after each of its sessions.
const TURNS_OF_A_SCAN: usize = 12;
/// A worker that stood still for so long asks nobody to answer for that time.
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

pub(crate) struct World {
    /// The latest time that was told; what is told may be earlier by `skew`.
    now: Instant,
    skew: Duration,
    pub(crate) registry: Registry,
    workers: Vec<(Worker, Mailbox)>,
    /// Time in which the workers went round, as they count it; and what it was at each of the last turns.
    awake: Duration,
    /// When they last looked after sessions.
    turned: Instant,
    turns: VecDeque<Duration>,
    pub(crate) wire: Wire,
    commands: u64,
    /// Sessions that have come to their worker, and those that are over there.
    known: Vec<ConnectionId>,
    over: Vec<ConnectionId>,
}

/// What was sent, and what the socket is to say.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) sent: Vec<(SocketAddr, Vec<u8>)>,
    /// So many datagrams more, then `WouldBlock`.
    pub(crate) capacity: Option<usize>,
    pub(crate) refused: Option<SocketAddr>,
}

impl Transport for Wire {
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
    pub(crate) fn new() -> Self {
        // Far from the platform's first instant, so that the clock can be turned back.
        let now = Instant::now() + Duration::from_secs(1 << 20);
        let (posts, mailboxes): (Vec<_>, Vec<_>) = (0..WORKERS).map(|_| mailbox()).unzip();
        let crossings = Arc::new(Crossings::new(WORKERS.into(), RING, BUFFERS));
        let worker = |index| {
            let config = WorkerConfig {
                index,
                buffers: BUFFERS,
                speakers: SPEAKERS,
                limits: RateLimits::default(),
                idle_timeout: IDLE_TIMEOUT,
            };
            let key = HopKey::new([index | 0x80; 16]);
            let counters = Arc::new(Counters::default());
            Worker::new(config, now, counters, Arc::clone(&crossings), key)
        };
        Self {
            now,
            skew: Duration::ZERO,
            registry: Registry::new(BOOT, CAPACITY, posts, [7; 32]),
            workers: (0..WORKERS).map(worker).zip(mailboxes).collect(),
            awake: Duration::ZERO,
            turned: now,
            turns: VecDeque::new(),
            wire: Wire::default(),
            commands: 0,
            known: Vec::new(),
            over: Vec::new(),
        }
    }

    /// What the next caller is told.
    fn now(&self) -> Instant {
        self.now - self.skew
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// From now on all are told a time that is earlier by so much, as by a thread that was held up.
    pub(crate) fn set_skew(&mut self, skew: Duration) {
        self.skew = skew;
    }

    pub(crate) fn set_window(&mut self, window: Duration) {
        for (worker, _) in &mut self.workers {
            worker.set_window(window);
        }
    }

    /// Carries a command out; workers and packets see it later.
    pub(crate) fn command(&mut self, room: u8, fence: Fence, action: Action) -> CommandResult {
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

    pub(crate) fn publish(&mut self) {
        // The workers may not have read of the change yet.
        self.registry.publish();
    }

    pub(crate) fn read_mailboxes(&mut self) {
        let now = self.now();
        for (worker, mailbox) in &mut self.workers {
            for command in mailbox.take(usize::MAX) {
                match &command {
                    WorkerCommand::Open(info) => self.known.push(info.id),
                    WorkerCommand::Close(id, _) => self.over.push(*id),
                    WorkerCommand::Host(_) | WorkerCommand::Unhost(_) => {}
                }
                worker.apply(now, command);
            }
        }
    }

    /// A datagram comes to the worker that its connection id names; false when there is no buffer for it.
    pub(crate) fn receive(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        let index = bytes.get(1).map_or(0, |worker| worker % WORKERS);
        let now = self.now();
        let (worker, _) = &mut self.workers[usize::from(index)];
        let Some(mut packet) = worker.packets().take() else {
            return false;
        };
        packet.len = bytes.len().min(packet.data.len());
        packet.data[..packet.len].copy_from_slice(&bytes[..packet.len]);
        packet.from = from.into();
        worker.receive(now, packet);
        self.take_ended();
        true
    }

    /// The rest of a worker's round, and the start of the next one up to where it receives.
    pub(crate) fn turn(&mut self) {
        let now = self.now();
        self.count_turn(now);
        for (worker, _) in &mut self.workers {
            worker.end_batch(now);
            worker.transmit(now, &mut self.wire);
            worker.tick(now);
        }
        self.take_ended();
        self.read_mailboxes();
        for (worker, _) in &mut self.workers {
            worker.receive_crossings(now);
            worker.make_room(BATCH);
            assert!(worker.packets().available() <= BUFFERS);
        }
    }

    /// The workers look after a part of their sessions, if it is time.
    fn count_turn(&mut self, now: Instant) {
        let Some(since) = now.checked_duration_since(self.turned) else {
            return;
        };
        if since < SCAN_INTERVAL {
            return;
        }
        self.turned = now;
        if since < STALL {
            self.awake += since;
        }
        self.turns.push_back(self.awake);
        if self.turns.len() > TURNS_OF_A_SCAN {
            self.turns.pop_front();
        }
    }

    /// The time in which the workers went round.
    pub(crate) fn awake(&self) -> Duration {
        self.awake
    }

    /// Whether the workers must have noticed that a client answered last at this time.
    pub(crate) fn is_overdue(&self, answered: Duration) -> bool {
        self.turns.len() == TURNS_OF_A_SCAN
            && self.turns.iter().all(|turn| *turn > answered + SILENCE)
    }

    /// Sends all that waits over a wire that takes it. Then every buffer is back.
    pub(crate) fn flush(&mut self) {
        self.wire.capacity = None;
        self.wire.refused = None;
        self.set_skew(Duration::ZERO);
        self.set_window(Duration::ZERO);
        self.pass(Duration::from_secs(1));
        self.read_mailboxes();
        let now = self.now();
        // A frame goes home, from there to the others, and its buffer back.
        for _ in 0..4 {
            for (worker, _) in &mut self.workers {
                worker.receive_crossings(now);
                worker.end_batch(now);
                while worker.has_output() {
                    assert!(worker.transmit(now, &mut self.wire));
                }
            }
        }
        for (worker, _) in &mut self.workers {
            assert_eq!(worker.deadline(), None);
            assert!(!worker.has_crossings());
            assert_eq!(worker.packets().available(), BUFFERS);
        }
    }

    /// Sessions that have come to their worker since the last call.
    pub(crate) fn take_known(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.known)
    }

    /// Sessions that are over at their worker since the last call: nothing but farewells is sent to them any more.
    pub(crate) fn take_over(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.over)
    }

    fn take_ended(&mut self) {
        let now = self.now();
        for (worker, _) in &mut self.workers {
            let ended: Vec<_> = worker.take_ended().collect();
            for ended in ended {
                self.over.push(ended.info.id);
                self.registry.ended(now, &ended);
            }
        }
    }
}
