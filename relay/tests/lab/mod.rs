//! A relay core with clients, on virtual time and without sockets.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of the laboratory"
)]

mod client;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{
    Action, BootId, Command, CommandOutcome, CommandResult, Fence, GrantedLeaf, Leaves, OpenMedia,
};
use confab_protocol::control::{ConferenceId, GenerationLeaf};
use confab_protocol::media::HopKey;
use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_relay::core::Capacity;
use confab_relay::core::RateLimits;
use confab_relay::core::WorkerConfig;
use confab_relay::core::{
    Counters, Crossings, DropCause, KernelTime, MediaEnded, Outgoing, Packet, PacketPool, Received,
    Registry, SendStatus, Transport, Worker, mailbox,
};

pub use client::Client;

pub const BOOT: BootId = BootId([9; 16]);
pub const BUFFERS: usize = 256;
/// Buffers that are free when a round receives.
const BATCH: usize = 32;
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Workers, their registry and a clock that a test turns. Most tests have one worker.
pub struct Lab {
    pub now: Instant,
    pub registry: Registry,
    pub workers: Vec<LabWorker>,
    pub wire: Wire,
    commands: u64,
}

pub struct LabWorker {
    pub worker: Worker,
    pub counters: Arc<Counters>,
    /// Datagrams that its socket has and the worker has not received.
    incoming: VecDeque<Incoming>,
}

/// A datagram on its way to a worker.
pub struct Incoming {
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
    /// How long it waits in the socket's buffer.
    pub waited: Duration,
}

/// One worker's side of the wire.
struct Socket<'a, T> {
    incoming: &'a mut VecDeque<Incoming>,
    out: &'a mut T,
}

/// Takes the datagrams that workers send.
pub trait Send {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus;
}

/// What a laboratory has that is not as in a relay.
#[derive(Clone, Copy)]
pub struct Setup {
    pub workers: u8,
    /// Speakers of a room that are forwarded.
    pub speakers: usize,
    /// Entries of the ring between workers.
    pub ring: usize,
    pub idle_timeout: Duration,
    pub capacity: Capacity,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 1,
            speakers: 64,
            ring: 1024,
            idle_timeout: IDLE_TIMEOUT,
            capacity: Capacity {
                sessions: 20_000,
                rooms: 10_000,
                members: 10_000,
                share: 256,
            },
        }
    }
}

/// What the relay sent, and what the socket is to say.
#[derive(Default)]
pub struct Wire {
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
    /// So many datagrams more, then `WouldBlock`.
    pub capacity: Option<usize>,
    pub refused: Option<SocketAddr>,
    /// Sizes of the chunks that were handed over.
    pub chunks: Vec<usize>,
}

impl Send for Wire {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.chunks.push(chunk.len());
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
            self.sent.push((outgoing.to.remote, outgoing.to_vec()));
        }
        SendStatus::All
    }
}

impl<T: Send> Transport for Socket<'_, T> {
    fn receive(
        &mut self,
        pool: &mut PacketPool,
        received: &mut Vec<Box<Packet>>,
    ) -> io::Result<()> {
        while let Some(incoming) = self.incoming.front() {
            let Some(mut packet) = pool.take() else {
                break;
            };
            let len = incoming.bytes.len().min(packet.data.len());
            packet.data[..len].copy_from_slice(&incoming.bytes[..len]);
            packet.filled(Received {
                len,
                from: incoming.from.into(),
                at: KernelTime::default(),
                waited: incoming.waited,
            });
            received.push(packet);
            self.incoming.pop_front();
        }
        Ok(())
    }

    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.out.send(chunk)
    }
}

impl LabWorker {
    /// A round of the worker, which sends to `out`. False if `out` is blocked.
    pub fn round(&mut self, now: Instant, out: &mut impl Send) -> bool {
        let incoming = &mut self.incoming;
        let mut socket = Socket { incoming, out };
        let round = self.worker.round(now, &mut socket, |_| {});
        !round.expect("this transport does not fail").is_blocked
    }
}

impl Lab {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    /// A laboratory whose rooms forward so many at once.
    pub fn with_speakers(speakers: usize) -> Self {
        Self::with(Setup {
            speakers,
            ..Setup::default()
        })
    }

    pub fn with(setup: Setup) -> Self {
        let now = Instant::now();
        let crossings = Crossings::new(setup.workers.into(), setup.ring, BUFFERS);
        let crossings = Arc::new(crossings);
        let mut mailboxes = Vec::new();
        let mut workers = Vec::new();
        for index in 0..setup.workers {
            let (post, mailbox) = mailbox();
            mailboxes.push(post);
            let config = WorkerConfig {
                index,
                buffers: BUFFERS,
                batch: BATCH,
                speakers: setup.speakers,
                limits: RateLimits::default(),
                idle_timeout: setup.idle_timeout,
            };
            let counters = Arc::new(Counters::default());
            let key = HopKey::new([3 + index; 16]);
            let counted = Arc::clone(&counters);
            workers.push(LabWorker {
                worker: Worker::new(config, now, mailbox, counted, Arc::clone(&crossings), key),
                counters,
                incoming: VecDeque::new(),
            });
        }
        Self {
            now,
            registry: Registry::new(BOOT, setup.capacity, mailboxes, [7; 32]),
            workers,
            wire: Wire::default(),
            commands: 0,
        }
    }

    /// The first worker.
    pub fn worker(&mut self) -> &mut Worker {
        &mut self.workers[0].worker
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub fn command_as(&mut self, fence: Fence, room: u8, action: Action) -> CommandResult {
        let result = self.execute_as(fence, room, action);
        self.registry.publish();
        self.round();
        result
    }

    /// Has the registry carry out a command. The workers do nothing meanwhile.
    pub fn execute_as(&mut self, fence: Fence, room: u8, action: Action) -> CommandResult {
        self.commands += 1;
        let command = Command {
            id: self.commands,
            conference: conference(room),
            fence,
            boot: BOOT,
            action,
        };
        let result = self.registry.execute(self.now, &command);
        assert_eq!(result.id, self.commands);
        result
    }

    /// A round of each worker.
    pub fn round(&mut self) {
        for worker in &mut self.workers {
            worker.round(self.now, &mut self.wire);
        }
    }

    pub fn command(&mut self, room: u8, action: Action) -> CommandOutcome {
        self.command_as(Fence::default(), room, action).outcome
    }

    /// Opens a session of an account of its own; the client has not been heard yet.
    pub fn open(&mut self, room: u8, sender: u16) -> Client {
        self.open_for(room, sender, sender.into())
    }

    /// Opens a session of an account.
    pub fn open_for(&mut self, room: u8, sender: u16, account_label: u32) -> Client {
        let leaves = Leaves::one(granted(0, sender.into(), 0));
        self.open_with(room, sender, account_label, leaves)
    }

    /// Opens a session with these leaves.
    pub fn open_with(
        &mut self,
        room: u8,
        sender: u16,
        account_label: u32,
        leaves: Leaves,
    ) -> Client {
        let uplink = HopKey::new([sender as u8 | 1; 16]);
        let downlink = HopKey::new([sender as u8 & !1; 16]);
        let open = OpenMedia {
            account_label,
            leaves,
            ..OpenMedia::new(sender, 0, uplink.clone(), downlink.clone())
        };
        let result = self.command_as(Fence::default(), room, Action::OpenMedia(open));
        assert_eq!(result.outcome, CommandOutcome::Obeyed);
        Client {
            id: result.connection_id.unwrap(),
            sender,
            uplink,
            downlink,
            address: SocketAddr::from(([10, 0, room, 0], 1000 + sender)),
            next: 0,
            counter: 0,
        }
    }

    /// Opens a session whose client has proved its address.
    pub fn join(&mut self, room: u8, sender: u16) -> Client {
        let mut client = self.open(room, sender);
        self.prove_path(&mut client);
        client
    }

    pub fn prove_path(&mut self, client: &mut Client) {
        let datagram = client.datagram(UplinkBody::KeepAlive { echo: [0; 8] });
        let out = self.deliver(client, &datagram);
        let challenge = challenge_in(client, &out).expect("a challenge");
        let datagram = client.datagram(UplinkBody::PathResponse { challenge });
        assert!(self.deliver(client, &datagram).is_empty());
    }

    /// Hands datagrams to the workers that they are for as one batch and gives back all that is sent.
    pub fn batch(&mut self, datagrams: &[(SocketAddr, Vec<u8>)]) -> Vec<(SocketAddr, Vec<u8>)> {
        for (from, bytes) in datagrams {
            let worker = bytes.get(1).copied().unwrap_or(0);
            let worker = usize::from(worker) % self.workers.len();
            self.hand_over(worker, *from, bytes);
        }
        self.flush()
    }

    /// Puts a datagram into a worker's socket, whichever worker its session is of.
    pub fn hand_over(&mut self, worker: usize, from: SocketAddr, bytes: &[u8]) {
        let incoming = Incoming {
            from,
            bytes: bytes.to_vec(),
            waited: Duration::ZERO,
        };
        self.hand_over_late(worker, incoming);
    }

    /// The same with a datagram that waits in the socket's buffer.
    pub fn hand_over_late(&mut self, worker: usize, incoming: Incoming) {
        self.workers[worker].incoming.push_back(incoming);
    }

    /// One datagram from the client's own address.
    pub fn deliver(&mut self, client: &Client, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.batch(&[(client.address, datagram.to_vec())])
    }

    /// Has the workers do all that is due now, and returns all that they sent, or as much as the wire takes.
    pub fn flush(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        // A frame goes to its room's home, from there to the other workers, and its buffer back.
        for _ in 0..4 {
            for worker in &mut self.workers {
                while worker.round(self.now, &mut self.wire) && worker.worker.has_output() {}
            }
        }
        std::mem::take(&mut self.wire.sent)
    }

    /// Lets time pass while the workers look for silent sessions.
    pub fn scan_for(&mut self, time: Duration) -> Vec<MediaEnded> {
        let until = self.now + time;
        let mut ended = Vec::new();
        while self.now < until {
            ended.extend(self.scan());
        }
        ended
    }

    /// Lets time pass while a client answers the challenges that come to it.
    pub fn live(&mut self, client: &mut Client, time: Duration) -> Vec<MediaEnded> {
        let until = self.now + time;
        let mut ended = Vec::new();
        while self.now < until {
            ended.extend(self.scan());
            let sent = self.flush();
            self.answer(client, &sent);
        }
        ended
    }

    /// Answers the last challenge to the client in what the relay sent.
    pub fn answer(&mut self, client: &mut Client, sent: &[(SocketAddr, Vec<u8>)]) {
        if let Some(challenge) = challenge_in(client, sent) {
            let datagram = client.datagram(UplinkBody::PathResponse { challenge });
            self.deliver(&client.clone(), &datagram);
        }
    }

    /// Lets a second pass, in which the idle scan goes over all slots.
    pub fn scan(&mut self) -> Vec<MediaEnded> {
        for _ in 0..10 {
            self.pass(Duration::from_millis(100));
            self.round();
        }
        self.ended()
    }

    pub fn ended(&mut self) -> Vec<MediaEnded> {
        let workers = self.workers.iter_mut();
        let ended: Vec<_> = workers
            .flat_map(|worker| worker.worker.take_ended())
            .collect();
        let told = ended
            .iter()
            .filter_map(|ended| self.registry.ended(self.now, ended))
            .collect();
        self.registry.publish();
        told
    }

    pub fn dropped(&self, cause: DropCause) -> u64 {
        let workers = self.workers.iter();
        workers.map(|worker| worker.counters.dropped(cause)).sum()
    }
}

/// A leaf in a generation, from an epoch on.
pub fn granted(generation: u64, leaf: u32, first_epoch: u64) -> GrantedLeaf {
    GrantedLeaf {
        leaf: GenerationLeaf { generation, leaf },
        first_epoch,
    }
}

pub fn conference(room: u8) -> ConferenceId {
    ConferenceId::new([room; 16])
}

/// The path challenge to this client in what the relay sent.
pub fn challenge_in(client: &Client, sent: &[(SocketAddr, Vec<u8>)]) -> Option<[u8; 8]> {
    sent.iter()
        .filter(|(to, _)| *to == client.address)
        .find_map(|(_, datagram)| {
            let downlink = Downlink::parse(datagram).unwrap();
            assert!(downlink.is_authentic(&client.downlink));
            match downlink.body {
                DownlinkBody::PathChallenge(bytes) => Some(bytes),
                _ => None,
            }
        })
}
