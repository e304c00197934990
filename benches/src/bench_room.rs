//! A relay core with a room in it and no sockets, for benches: what user space costs, without the kernel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, Fence, OpenMedia};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, ConnectionId, HopKey, KeyId, SframeHeader};
use confab_relay::core::limits::RateLimits;
use confab_relay::core::registry::Capacity;
use confab_relay::core::worker::WorkerConfig;
use confab_relay::core::{
    Counters, Crossings, Mailbox, Outgoing, Registry, SendStatus, Transport, Worker, mailbox,
};

const BOOT: BootId = BootId([1; 16]);

/// Bytes of a frame's SFrame: 24 kbit/s in 20 ms frames, with header and tag.
const SFRAME_LEN: usize = 85;

/// Speakers of the room that are forwarded at once.
pub const SPEAKERS: usize = 64;

/// Receive buffers of the worker.
const BUFFERS: usize = 8192;

/// Takes datagrams and looks at nothing but their number.
#[derive(Default)]
pub struct NullTransport {
    /// Datagrams taken.
    pub datagrams: u64,
}

impl Transport for NullTransport {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        std::hint::black_box(chunk);
        self.datagrams += chunk.len() as u64;
        SendStatus::All
    }
}

/// Keeps what is sent, to find the challenges in.
#[derive(Default)]
struct Kept(Vec<(SocketAddr, Vec<u8>)>);

impl Transport for Kept {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.0
            .extend(chunk.iter().map(|out| (out.to.remote, out.to_vec())));
        SendStatus::All
    }
}

/// One worker with one room, and its members.
pub struct BenchRoom {
    /// The worker.
    pub worker: Worker,
    /// The registry, for benches that change the room meanwhile.
    pub registry: Registry,
    /// The worker's time; every frame moves it by 20 ms.
    pub now: Instant,
    mailbox: Mailbox,
    members: Vec<Member>,
    commands: u64,
}

struct Member {
    id: ConnectionId,
    key: HopKey,
    leaf: u32,
    address: SocketAddr,
    next: u32,
}

impl BenchRoom {
    /// A room of `members` who have all proved their addresses.
    pub fn new(members: u16) -> Self {
        let (post, mailbox) = mailbox();
        let now = Instant::now();
        let config = WorkerConfig {
            index: 0,
            buffers: BUFFERS,
            speakers: SPEAKERS,
            limits: RateLimits::default(),
            idle_timeout: Duration::from_secs(30),
        };
        let capacity = Capacity {
            sessions: 1_000_000,
            rooms: 1,
            members: 65_536,
            share: 65_536,
        };
        let counters = Arc::new(Counters::default());
        let crossings = Arc::new(Crossings::new(1, 64, BUFFERS));
        let mut room = Self {
            worker: Worker::new(config, now, counters, crossings, HopKey::new([5; 16])),
            registry: Registry::new(BOOT, capacity, vec![post], [6; 32]),
            now,
            mailbox,
            members: Vec::new(),
            commands: 0,
        };
        for sender in 0..members {
            let member = room.open(sender);
            room.members.push(member);
        }
        room.publish();
        for member in 0..room.members.len() {
            room.prove_path(member);
        }
        room
    }

    /// Opens a session for `sender`, without publishing the room.
    pub fn join(&mut self, sender: u16) {
        self.open(sender);
    }

    /// Closes the session of `sender`, without publishing the room.
    pub fn leave(&mut self, sender: u16) {
        self.command(Action::CloseMedia { sender });
    }

    /// Lets the worker see what has changed.
    pub fn publish(&mut self) {
        self.registry.publish();
        for command in self.mailbox.take(usize::MAX) {
            self.worker.apply(self.now, command);
        }
    }

    /// The next frame of each of the first `speakers` members, as datagrams.
    pub fn frames(&mut self, speakers: usize) -> Vec<Vec<u8>> {
        self.now += Duration::from_millis(20);
        self.members[..speakers]
            .iter_mut()
            .map(Member::audio)
            .collect()
    }

    /// A sign of life of each member, as datagrams.
    pub fn keep_alives(&mut self) -> Vec<Vec<u8>> {
        self.now += Duration::from_millis(20);
        let members = self.members.iter_mut();
        members
            .map(|member| member.datagram(UplinkBody::KeepAlive { echo: [0; 8] }))
            .collect()
    }

    /// Hands datagrams of the first members to the worker, each as a batch of its own; when `window` is over, sends all
    /// that follows.
    pub fn forward_one_by_one(
        &mut self,
        datagrams: &[Vec<u8>],
        window: Duration,
        transport: &mut impl Transport,
    ) {
        for (datagram, member) in datagrams.iter().zip(&self.members) {
            deliver(&mut self.worker, self.now, member.address, datagram);
            self.worker.end_batch(self.now);
        }
        let later = self.now + window;
        self.worker.end_batch(later);
        while self.worker.has_output() {
            self.worker.transmit(later, transport);
        }
    }

    /// Hands datagrams of the first members to the worker as one batch and sends all that follows.
    pub fn forward(&mut self, datagrams: &[Vec<u8>], transport: &mut impl Transport) {
        self.forward_of(0, datagrams, transport);
    }

    /// The same with datagrams of the members from `first` on.
    pub fn forward_of(
        &mut self,
        first: usize,
        datagrams: &[Vec<u8>],
        transport: &mut impl Transport,
    ) {
        for (datagram, member) in datagrams.iter().zip(&self.members[first..]) {
            deliver(&mut self.worker, self.now, member.address, datagram);
        }
        self.worker.end_batch(self.now);
        while self.worker.has_output() {
            self.worker.transmit(self.now, transport);
        }
    }

    fn open(&mut self, sender: u16) -> Member {
        let key = HopKey::new([sender as u8; 16]);
        let id = self.command(Action::OpenMedia(OpenMedia::new(
            sender,
            sender.into(),
            key.clone(),
            key.clone(),
        )));
        Member {
            id: id.expect("the relay has room for everyone"),
            key,
            leaf: sender.into(),
            address: SocketAddr::from(([10, 0, (sender >> 8) as u8, sender as u8], 5000)),
            next: 0,
        }
    }

    fn command(&mut self, action: Action) -> Option<ConnectionId> {
        self.commands += 1;
        let command = Command {
            id: self.commands,
            conference: ConferenceId::new([2; 16]),
            fence: Fence::default(),
            boot: BOOT,
            action,
        };
        self.registry.execute(self.now, &command).connection_id
    }

    fn prove_path(&mut self, member: usize) {
        let member = &mut self.members[member];
        let mut kept = Kept::default();
        let hello = member.datagram(UplinkBody::KeepAlive { echo: [0; 8] });
        deliver(&mut self.worker, self.now, member.address, &hello);
        self.worker.transmit(self.now, &mut kept);
        let challenge = kept
            .0
            .iter()
            .find_map(|(_, datagram)| match Downlink::parse(datagram).ok()?.body {
                DownlinkBody::PathChallenge(bytes) => Some(bytes),
                _ => None,
            })
            .expect("a new address is challenged");
        let response = member.datagram(UplinkBody::PathResponse { challenge });
        deliver(&mut self.worker, self.now, member.address, &response);
    }
}

impl Member {
    fn datagram(&mut self, body: UplinkBody<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        body.encode(self.id, self.next, &self.key, &mut out)
            .expect("the body fits");
        self.next += 1;
        out
    }

    fn audio(&mut self) -> Vec<u8> {
        let header = SframeHeader {
            key_id: KeyId::new(self.leaf, 0, 0),
            counter: self.next.into(),
        };
        let mut head = [0; SframeHeader::MAX_LEN];
        let len = header.write(&mut head);
        let mut sframe = vec![0xa5; SFRAME_LEN];
        sframe[..len].copy_from_slice(&head[..len]);
        let level = AudioLevel::new(true, 24.0);
        self.datagram(UplinkBody::Audio {
            level,
            sframe: &sframe,
        })
    }
}

fn deliver(worker: &mut Worker, now: Instant, from: SocketAddr, datagram: &[u8]) {
    let mut packet = worker.packets().take().expect("a free buffer");
    packet.len = datagram.len();
    packet.data[..datagram.len()].copy_from_slice(datagram);
    packet.from = from.into();
    worker.receive(now, packet);
}
