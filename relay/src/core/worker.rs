//! One worker: its round, and the parts that a round goes through.
//!
//! * `ingress`: the sessions; checks each datagram;
//! * `home`: the rooms; chooses the speakers and fills bundles;
//! * `egress`: the receivers; sends datagrams, and hands frames to other workers.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::cluster::MediaEndReason;
use confab_protocol::media::HopKey;

use super::command::{Ended, WorkerCommand};
use super::config::WorkerConfig;
use super::counters::Counters;
use super::crossing::{Crossing, Crossings};
use super::egress::Egress;
use super::home::Home;
use super::ingress::{Ingress, Liveness, Session, UplinkVerdict};
use super::mailbox::Mailbox;
use super::packet::Packet;
use super::transport::Transport;

/// Commands carried out in a round, at most.
const MAX_COMMANDS: usize = 1024;

/// Items taken from other workers in a round, at most.
const MAX_CROSSINGS: usize = 256;

/// The state machine of one worker. It reads no clock, and nothing in it blocks, locks or allocates for a packet.
pub struct Worker {
    config: WorkerConfig,
    mailbox: Mailbox,
    crossings: Arc<Crossings>,
    ingress: Ingress,
    home: Home,
    egress: Egress,
    ended: Vec<Ended>,
    counters: Arc<Counters>,
    /// Empty between rounds.
    received: Vec<Box<Packet>>,
}

/// The outcome of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round {
    /// True if there was anything to do.
    pub has_worked: bool,
    /// True if the transport takes no more datagrams for now.
    pub is_blocked: bool,
}

impl Worker {
    /// A worker without sessions, one of those that share `crossings`. `challenge_key` has to be random.
    pub fn new(
        config: WorkerConfig,
        now: Instant,
        mailbox: Mailbox,
        counters: Arc<Counters>,
        crossings: Arc<Crossings>,
        challenge_key: HopKey,
    ) -> Self {
        Self {
            ingress: Ingress::new(&config, now, challenge_key, &crossings, &counters),
            home: Home::new(&config, &counters),
            egress: Egress::new(&config, &crossings, &counters),
            received: Vec::with_capacity(config.batch),
            ended: Vec::new(),
            config,
            mailbox,
            crossings,
            counters,
        }
    }

    /// Does everything that is due at `now`, in this order: the registry's commands, items from other workers, free
    /// buffers, one batch of datagrams, bundles whose window ends, one chunk of each bundle to send, and a part of the
    /// check of idle sessions. Calls `wake` for each worker that was handed something, before it sends.
    ///
    /// The time that `transport` takes to receive is not added to `now`: frames carry the time that they waited, and
    /// all else is due a moment later in the next round.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::receive`].
    pub fn round(
        &mut self,
        now: Instant,
        transport: &mut impl Transport,
        wake: impl FnMut(u8),
    ) -> io::Result<Round> {
        let mut has_worked = self.has_output() || self.has_crossings();
        has_worked |= self.carry_out_commands(now);
        self.take_crossings(now);
        self.egress.free_buffers(self.config.batch);
        has_worked |= self.receive(now, transport)?;
        self.home.end_batch(now, &mut self.egress);
        self.egress.take_notified().workers().for_each(wake);
        has_worked |= self.has_output();
        let is_blocked = !self.egress.transmit(now, transport);
        self.check_idle_sessions(now);
        Ok(Round {
            has_worked,
            is_blocked,
        })
    }

    /// Sessions that ended since the last call, other than by a command.
    pub fn take_ended(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.drain(..)
    }

    /// True while datagrams wait to be sent.
    pub fn has_output(&self) -> bool {
        self.egress.has_output()
    }

    /// True while commands wait to be carried out.
    pub fn has_commands(&self) -> bool {
        !self.mailbox.is_empty()
    }

    /// True while items from other workers wait to be taken.
    pub fn has_crossings(&self) -> bool {
        !self.crossings.is_empty(self.config.index)
    }

    /// When the first open bundle closes: a round is due then.
    pub fn deadline(&self) -> Option<Instant> {
        self.home.deadline()
    }

    /// Sets how long a bundle waits for more frames, from the next bundle on.
    pub fn set_window(&mut self, window: Duration) {
        self.home.set_window(window);
    }

    /// Receive buffers that are free.
    pub fn free_buffers(&self) -> usize {
        self.egress.available_buffers()
    }

    /// Counts time in which the worker's thread did not wait.
    pub fn count_busy(&self, time: Duration) {
        self.counters.busy_ns.add(time.as_nanos() as u64);
    }

    /// True if there was a command.
    fn carry_out_commands(&mut self, now: Instant) -> bool {
        let mut has_worked = false;
        for _ in 0..MAX_COMMANDS {
            let Some(command) = self.mailbox.next() else {
                break;
            };
            self.carry_out(now, command);
            has_worked = true;
        }
        has_worked
    }

    fn carry_out(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Host(room) => {
                self.home.hold(&room);
            }
            WorkerCommand::Unhost(room) => self.home.unhost(&room),
            WorkerCommand::Open(info) => {
                let slot = info.id.slot();
                self.remove(slot);
                self.egress.open_receiver(slot, &info.downlink_key);
                let room = self.home.hold(&info.room);
                self.ingress.open(now, info, room);
            }
            WorkerCommand::Close(id, reason) => {
                // By now the slot may be another session's.
                if self.ingress.has(id) {
                    self.egress.send_bye(id.slot(), reason);
                    self.remove(id.slot());
                }
            }
        }
    }

    fn take_crossings(&mut self, now: Instant) {
        self.egress.take_buffers_back();
        for _ in 0..MAX_CROSSINGS {
            match self.crossings.receive(self.config.index) {
                Some(Crossing::Datagram(packet)) => self.take(now, packet),
                Some(Crossing::Frame(packet, room, frame)) => {
                    let egress = &mut self.egress;
                    self.home.take_crossed(now, packet, &room, &frame, egress);
                }
                Some(Crossing::Fanout(fanout)) => self.egress.push(fanout),
                None => return,
            }
        }
    }

    /// Receives a batch. True if it is not empty.
    fn receive(&mut self, now: Instant, transport: &mut impl Transport) -> io::Result<bool> {
        let mut received = std::mem::take(&mut self.received);
        let result = transport.receive(self.egress.packets(), &mut received);
        let is_empty = received.is_empty();
        if !is_empty {
            let counters = &self.counters;
            counters.batch_sizes.record(received.len() as u64, 1);
            counters.kernel_drops.add(transport.take_kernel_drops());
        }
        for packet in received.drain(..) {
            self.counters.datagrams_in.add(1);
            self.counters.bytes_in.add(packet.len as u64);
            self.take(now, packet);
        }
        self.received = received;
        result.map(|()| !is_empty)
    }

    /// Takes one datagram, whichever worker received it. One that fails a check is counted and never answered.
    fn take(&mut self, now: Instant, packet: Box<Packet>) {
        match self.ingress.examine(now, &packet, &mut self.egress) {
            Ok(UplinkVerdict::Forward(room, frame)) => {
                let egress = &mut self.egress;
                self.home.take_frame(now, packet, room, frame, egress);
            }
            Ok(UplinkVerdict::PassOn(worker)) => {
                self.counters.misdirected.add(1);
                self.egress.cross(worker, Crossing::Datagram(packet));
            }
            Ok(UplinkVerdict::End(slot, reason)) => {
                self.egress.release(packet);
                self.end(slot, reason);
            }
            Ok(UplinkVerdict::Done) => self.egress.release(packet),
            Err(cause) => self.egress.drop_packet(packet, cause),
        }
    }

    fn check_idle_sessions(&mut self, now: Instant) {
        let Some(slots) = self.ingress.begin_scan(now) else {
            return;
        };
        for slot in slots {
            match self.ingress.check(now, slot, &mut self.egress) {
                Liveness::Alive => {}
                Liveness::Idle => self.end(slot, MediaEndReason::Idle),
            }
        }
    }

    /// Ends a session without a command, and has the registry told.
    fn end(&mut self, slot: u32, reason: MediaEndReason) {
        if let Some(session) = self.remove(slot) {
            self.ended.push(Ended {
                info: session.into_info(),
                reason,
            });
        }
    }

    /// Empties a slot.
    fn remove(&mut self, slot: u32) -> Option<Box<Session>> {
        let session = self.ingress.remove(slot)?;
        self.egress.close_receiver(slot);
        self.home.remove_speaker(session.room(), session.slot());
        Some(session)
    }
}
