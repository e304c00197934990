//! The relay of a call: its core, with one worker and no sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, Fence, GrantedLeaf, OpenMedia};
use confab_protocol::control::{ConferenceId, GenerationLeaf, MediaGrant};
use confab_protocol::media::{ConnectionId, HopKey};
use confab_relay::core::{
    Capacity, Counters, Crossings, Outgoing, Packet, PacketPool, RateLimits, Registry, SendStatus,
    Transport, Worker, WorkerConfig, mailbox,
};

use crate::bench_room::packet;

const BOOT: BootId = BootId([1; 16]);
const BUFFERS: usize = 64;

/// The relay's core, with one worker.
pub(super) struct Relay {
    conference: ConferenceId,
    address: SocketAddr,
    worker: Worker,
    registry: Registry,
    transport: Datagrams,
    commands: u64,
}

/// Datagrams to and from the worker.
#[derive(Default)]
struct Datagrams {
    incoming: Vec<(SocketAddr, Vec<u8>)>,
    sent: Vec<(SocketAddr, Vec<u8>)>,
}

impl Transport for Datagrams {
    fn receive(
        &mut self,
        pool: &mut PacketPool,
        received: &mut Vec<Box<Packet>>,
    ) -> io::Result<()> {
        let incoming = self.incoming.drain(..);
        received.extend(incoming.map(|(from, datagram)| packet(pool, from, &datagram)));
        Ok(())
    }

    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        for one in chunk {
            let datagram = [&one.head[..], one.body[0], one.body[1]].concat();
            self.sent.push((one.to.remote, datagram));
        }
        SendStatus::All
    }

    fn reply(&mut self, reply: &Outgoing<'_>) -> SendStatus {
        self.send(std::slice::from_ref(reply))
    }
}

impl Relay {
    pub(super) fn new(now: Instant, conference: ConferenceId, address: SocketAddr) -> Self {
        let (post, mailbox) = mailbox();
        let config = WorkerConfig {
            index: 0,
            buffers: BUFFERS,
            batch: 8,
            speakers: 16,
            limits: RateLimits::default(),
            idle_timeout: Duration::from_secs(30),
        };
        let capacity = Capacity {
            sessions: 8,
            rooms: 1,
            members: 8,
            share: 8,
        };
        let crossings = Arc::new(Crossings::new(1, 64, BUFFERS));
        let counters = Arc::new(Counters::default());
        let key = HopKey::new([5; 16]);
        Self {
            conference,
            address,
            worker: Worker::new(config, now, mailbox, counters, crossings, key),
            registry: Registry::new(BOOT, capacity, vec![post], [6; 32]),
            transport: Datagrams::default(),
            commands: 0,
        }
    }

    /// Opens a session, whose participant has this leaf.
    pub(super) fn open(&mut self, now: Instant, sender: u16, leaf: GenerationLeaf) -> MediaGrant {
        let key = HopKey::new([sender as u8 + 1; 16]);
        let open = OpenMedia::new(sender, sender.into(), key.clone(), key.clone());
        let result = self.command(now, Action::OpenMedia(open));
        let leaf = GrantedLeaf {
            leaf,
            first_epoch: 0,
        };
        self.command(now, Action::SetLeaves(vec![(sender, leaf)]));
        self.registry.publish();
        self.run(now);
        MediaGrant {
            addresses: vec![self.address],
            connection_id: result.expect("the relay has room for two"),
            uplink_key: key.clone(),
            downlink_key: key,
            era: 1,
            placement: 1,
        }
    }

    fn command(&mut self, now: Instant, action: Action) -> Option<ConnectionId> {
        self.commands += 1;
        let command = Command {
            id: self.commands,
            conference: self.conference,
            fence: Fence::default(),
            boot: BOOT,
            action,
        };
        self.registry.execute(now, &command).connection_id
    }

    /// Takes a datagram, and gives what is sent then.
    pub(super) fn take(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: Vec<u8>,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        self.transport.incoming.push((from, datagram));
        self.run(now);
        std::mem::take(&mut self.transport.sent)
    }

    fn run(&mut self, now: Instant) {
        loop {
            let round = self.worker.round(now, &mut self.transport, |_| {});
            round.expect("this transport does not fail");
            if !self.worker.has_output() && !self.worker.has_commands() {
                return;
            }
        }
    }
}
