//! A relay core with a room in it and no sockets, for benches: what user space costs, without the kernel.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, Fence, OpenMedia};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::downlink::kind;
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, ConnectionId, HopKey, KeyId, SframeHeader};
use confab_relay::core::Capacity;
use confab_relay::core::RateLimits;
use confab_relay::core::WorkerConfig;
use confab_relay::core::{
    Counters, Crossings, KernelTime, Outgoing, Packet, PacketPool, Received, Registry, SendStatus,
    Transport, Worker, mailbox,
};

const BOOT: BootId = BootId([1; 16]);

/// Bytes of a frame's SFrame: 24 kbit/s in 20 ms frames, with header and tag.
const SFRAME_LEN: usize = 85;

/// Speakers of the room that are forwarded at once.
pub const SPEAKERS: usize = 64;

/// Receive buffers of the worker.
const BUFFERS: usize = 8192;

/// Receive buffers that are free when a round receives.
const BATCH: usize = 64;

/// Hands datagrams to the worker, and counts those that it sends. Only challenges are kept.
struct BenchTransport<'a, I> {
    incoming: I,
    sent: &'a mut Sent,
}

/// Datagrams and unanswered challenges of the worker.
#[derive(Default)]
struct Sent {
    datagrams: u64,
    /// Challenges that are not answered yet.
    challenges: Vec<(SocketAddr, [u8; 8])>,
}

impl<'d, I: Iterator<Item = (SocketAddr, &'d Vec<u8>)>> Transport for BenchTransport<'_, I> {
    fn receive(
        &mut self,
        pool: &mut PacketPool,
        received: &mut Vec<Box<Packet>>,
    ) -> io::Result<()> {
        let incoming = self.incoming.by_ref();
        received.extend(incoming.map(|(from, datagram)| packet(pool, from, datagram)));
        Ok(())
    }

    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        std::hint::black_box(chunk);
        self.sent.datagrams += chunk.len() as u64;
        SendStatus::All
    }

    fn reply(&mut self, reply: &Outgoing<'_>) -> SendStatus {
        if reply.head[0] == kind::PATH_CHALLENGE
            && let Ok(challenge) = reply.body[0].try_into()
        {
            self.sent.challenges.push((reply.to.remote, challenge));
        }
        self.send(std::slice::from_ref(reply))
    }
}

/// A buffer of the pool with a datagram that did not wait.
pub(crate) fn packet(pool: &mut PacketPool, from: SocketAddr, datagram: &[u8]) -> Box<Packet> {
    let mut packet = pool.take().expect("there are more buffers than datagrams");
    packet.data[..datagram.len()].copy_from_slice(datagram);
    packet.filled(Received {
        len: datagram.len(),
        from: from.into(),
        at: KernelTime::default(),
        waited: Duration::ZERO,
    });
    packet
}

/// A worker with a room and its members.
pub struct BenchRoom {
    worker: Worker,
    registry: Registry,
    /// The worker's time; every frame moves it by 20 ms.
    now: Instant,
    members: Vec<Member>,
    sent: Sent,
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
            batch: BATCH,
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
            worker: Worker::new(
                config,
                now,
                mailbox,
                counters,
                crossings,
                HopKey::new([5; 16]),
            ),
            registry: Registry::new(BOOT, capacity, vec![post], [6; 32]),
            now,
            members: Vec::new(),
            sent: Sent {
                datagrams: 0,
                challenges: Vec::with_capacity(members.into()),
            },
            commands: 0,
        };
        for sender in 0..members {
            let member = room.open(sender);
            room.members.push(member);
        }
        room.publish();
        let keep_alives = room.keep_alives();
        room.forward(&keep_alives);
        room.answer_challenges();
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

    /// Publishes the changes and has the worker carry out its commands.
    pub fn publish(&mut self) {
        self.registry.publish();
        while self.worker.has_commands() {
            self.forward(&[]);
        }
    }

    /// Sets how long a bundle waits for more frames.
    pub fn set_window(&mut self, window: Duration) {
        self.worker.set_window(window);
    }

    /// The next frame of each of the first `speakers` members, as datagrams.
    pub fn frames(&mut self, speakers: usize) -> Vec<Vec<u8>> {
        self.answer_challenges();
        self.now += Duration::from_millis(20);
        self.members[..speakers]
            .iter_mut()
            .map(Member::audio)
            .collect()
    }

    /// A sign of life of each member, as datagrams.
    pub fn keep_alives(&mut self) -> Vec<Vec<u8>> {
        self.answer_challenges();
        self.now += Duration::from_millis(20);
        let members = self.members.iter_mut();
        members
            .map(|member| member.datagram(UplinkBody::KeepAlive { echo: [0; 8] }))
            .collect()
    }

    /// Hands datagrams of the first members to the worker, each as a batch of its own, and sends what follows once
    /// `window` is over.
    pub fn forward_one_by_one(&mut self, datagrams: &[Vec<u8>], window: Duration) {
        for at in 0..datagrams.len() {
            let datagram = &datagrams[at..=at];
            self.rounds(self.now, at, datagram, 1);
        }
        self.rounds(self.now + window, 0, &[], usize::MAX);
    }

    /// Hands datagrams of the first members to the worker as one batch and sends all that follows.
    pub fn forward(&mut self, datagrams: &[Vec<u8>]) {
        self.forward_of(0, datagrams);
    }

    /// The same with datagrams of the members from `first` on.
    pub fn forward_of(&mut self, first: usize, datagrams: &[Vec<u8>]) {
        self.rounds(self.now, first, datagrams, usize::MAX);
    }

    /// Runs rounds, `most` at most, until nothing waits to be sent. The first one receives datagrams of the members from
    /// `first` on.
    fn rounds(&mut self, now: Instant, first: usize, datagrams: &[Vec<u8>], most: usize) {
        let members = self.members[first..].iter();
        let mut transport = BenchTransport {
            incoming: members.map(|member| member.address).zip(datagrams),
            sent: &mut self.sent,
        };
        for _ in 0..most {
            let round = self.worker.round(now, &mut transport, |_| {});
            round.expect("this transport does not fail");
            if !self.worker.has_output() {
                break;
            }
        }
    }

    /// Keeps the members' paths.
    fn answer_challenges(&mut self) {
        let mut challenges = std::mem::take(&mut self.sent.challenges);
        for (address, challenge) in challenges.drain(..) {
            let known = |member: &Member| member.address == address;
            let member = self.members.iter().position(known);
            let member = member.expect("only members are challenged");
            let response = self.members[member].datagram(UplinkBody::PathResponse { challenge });
            self.forward_of(member, &[response]);
        }
        self.sent.challenges = challenges;
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
