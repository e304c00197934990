//! Participants, joins, and a world on virtual time: control, relays, clients and a seeded network between them.

mod control;
mod relay;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, JoinId, MediaGrant, Participant, ParticipantName,
    ResumeSecret,
};
use confab_protocol::media::downlink::ByeReason;
use confab_protocol::media::downlink::{Pong, bye};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{ConnectionId, HopKey, KeyId, ReplayWindow, SframeHeader, Uplink};
use confab_protocol::wire::Role;
use confab_voice::{AdaptationConfig, EncoderConfig};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::room::Joined;
use super::{Engine, Event, Settings};
pub(crate) use control::{Control, delivery_key, member_config};
use relay::{Flight, Session};

pub(crate) const CONFERENCE: ConferenceId = ConferenceId::new([9; 16]);
const TICK: Duration = Duration::from_millis(10);
const BLOCK: usize = 480;

pub(crate) fn participant(n: u16) -> Participant {
    Participant {
        sender: n,
        leaf: None,
        join_id: JoinId::new([n as u8; 16]),
        account: AccountId::new([n as u8; 16]),
        username: ParticipantName::from_wire(&format!("user{n}")),
        role: Role::Member,
        muted: false,
        capabilities: Capabilities::default(),
    }
}

/// The join of `own` among `all`.
pub(crate) fn joined(own: u16, all: &[u16], revision: u64) -> Joined {
    let everyone = all.iter().map(|n| participant(*n)).collect();
    Joined::new(
        CONFERENCE,
        revision,
        everyone,
        own,
        Some(grant(0, own, 0)),
        *delivery_key().public(),
        Some(ResumeSecret::new([own as u8; 16])),
    )
    .unwrap()
}

/// The `number`th session of `owner` at a relay.
pub(crate) fn grant(relay: u8, owner: u16, number: u32) -> MediaGrant {
    let mut key = [relay; 16];
    key[0] = owner as u8;
    key[1] = number as u8;
    let uplink_key = HopKey::new(key);
    key[2] = 1;
    MediaGrant {
        addresses: vec![relay_address(relay)],
        connection_id: ConnectionId::new(relay, u32::from(owner), number),
        uplink_key,
        downlink_key: HopKey::new(key),
        era: 1,
        placement: number.into(),
    }
}

pub(crate) fn relay_address(relay: u8) -> SocketAddr {
    format!("192.0.2.{}:9000", relay + 1).parse().unwrap()
}

fn client_address(n: u16) -> SocketAddr {
    format!("198.51.100.{}:5000", n + 1).parse().unwrap()
}

/// Loss, delay and duplication of the network; chances are 0.0 to 1.0.
#[derive(Clone, Copy)]
pub(crate) struct LinkQuality {
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) delay: (Duration, Duration),
}

/// A change that a relay makes to a frame that it forwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Forward,
    /// Flips a bit of the frame.
    Tamper,
    /// Sends each frame twice, with two packet numbers.
    Repeat,
    /// Tags with another receiver's key.
    Misdirect,
    /// Forwards nothing, as for a speaker who is not among the loudest.
    Suppress,
}

pub(crate) struct Client {
    pub(crate) engine: Engine,
    pub(crate) talks: bool,
    /// No device plays what is heard.
    pub(crate) deaf: bool,
    pub(crate) events: Vec<Event>,
    /// Blocks in which something was heard, and all that were played.
    pub(crate) heard: u32,
    pub(crate) played: u32,
    phase: f32,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) weather: LinkQuality,
    pub(crate) deed: Action,
    pub(crate) clients: HashMap<u16, Client>,
    /// Relays that answer nothing.
    pub(crate) dead: Vec<u8>,
    /// Clients without a network.
    pub(crate) cut_off: Vec<u16>,
    /// Datagrams that clients sent, by relay.
    pub(crate) uplinks: HashMap<SocketAddr, u32>,
    /// Key id and counter of each frame that came to a relay.
    pub(crate) nonces: Vec<(KeyId, u64)>,
    sessions: HashMap<ConnectionId, Session>,
    flights: BinaryHeap<Reverse<Flight>>,
    random: StdRng,
    order: u64,
    next_tick: Instant,
    pub(crate) control: Control,
}

impl World {
    /// `members` in one room at relay 0; all have joined.
    pub(crate) fn new(members: &[u16], seed: u64) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            weather: LinkQuality {
                loss: 0.0,
                duplicate: 0.0,
                delay: (Duration::from_millis(20), Duration::from_millis(20)),
            },
            deed: Action::Forward,
            clients: HashMap::new(),
            dead: Vec::new(),
            cut_off: Vec::new(),
            uplinks: HashMap::new(),
            nonces: Vec::new(),
            sessions: HashMap::new(),
            flights: BinaryHeap::new(),
            random: StdRng::seed_from_u64(seed),
            order: 0,
            next_tick: now + TICK,
            control: Control::new(),
        };
        for member in members {
            world.control.join(now, *member, participant(*member), true);
        }
        for member in members {
            world.begin(*member);
        }
        world.control.settle(now, &mut world.clients);
        world
    }

    /// A client that joins, and of whom the others are not told.
    pub(crate) fn enter(&mut self, n: u16) {
        self.control.join(self.now, n, participant(n), false);
        self.begin(n);
    }

    /// A client that has joined.
    fn begin(&mut self, n: u16) {
        let joined = self.control.joined(n);
        let encoder = EncoderConfig {
            complexity: 2,
            ..EncoderConfig::default()
        };
        let settings = Settings {
            voice: AdaptationConfig {
                encoder,
                ..AdaptationConfig::default()
            },
            timestamp: self.random.random(),
            ..Settings::default()
        };
        let media = grant(0, n, 0);
        self.open(media.clone(), n);
        let member = member_config(&joined);
        let client = Client {
            engine: Engine::new(&joined, media, member, settings, self.now).unwrap(),
            talks: false,
            deaf: false,
            events: Vec::new(),
            heard: 0,
            played: 0,
            phase: 0.0,
        };
        self.clients.insert(n, client);
    }

    /// Opens a media session at its relay.
    pub(crate) fn open(&mut self, grant: MediaGrant, owner: u16) {
        let session = Session {
            owner,
            sender: owner,
            address: None,
            window: ReplayWindow::new(),
            received: 0,
            next_packet: 0,
            grant,
        };
        self.sessions.insert(session.grant.connection_id, session);
    }

    pub(crate) fn client(&mut self, n: u16) -> &mut Client {
        self.clients.get_mut(&n).unwrap()
    }

    /// Changes a participant, and tells everybody.
    pub(crate) fn change(&mut self, n: u16, change: impl FnOnce(&mut Participant)) {
        self.control.change(self.now, n, &mut self.clients, change);
    }

    /// Tells the others of a client that has [entered](Self::enter).
    pub(crate) fn announce(&mut self, n: u16) {
        self.control.announce(self.now, n, &mut self.clients);
    }

    /// A participant is gone, for control and for the others; the client does not know.
    pub(crate) fn remove(&mut self, n: u16) {
        let gone = self.control.leave(self.now, n);
        self.control
            .announce_left(self.now, (n, gone.sender), &mut self.clients);
    }

    /// Tells the others that a participant is gone, who stays in the group.
    pub(crate) fn hide(&mut self, n: u16) {
        self.control.hide(self.now, n, &mut self.clients);
    }

    /// Clients join anew, at once, each under this label and by this join. The others are told.
    pub(crate) fn rejoin(&mut self, afresh: &[(u16, u16, JoinId)]) {
        let now = self.now;
        for (n, ..) in afresh {
            self.remove(*n);
        }
        for (n, sender, join_id) in afresh {
            let me = Participant {
                sender: *sender,
                join_id: *join_id,
                ..participant(*n)
            };
            self.control.join(now, *n, me, true);
        }
        for (n, ..) in afresh {
            let mut joined = self.control.joined(*n);
            let media = grant(0, *n, 1);
            self.open(media.clone(), *n);
            joined.media = Some(media);
            self.client(*n).engine.rejoined(&joined, now);
            self.announce(*n);
        }
    }

    /// The client loses its connection to control.
    pub(crate) fn unlink(&mut self, n: u16) {
        self.control.unlink(self.now, n);
    }

    /// The client takes its join up again, with this media session; `None`: it has one.
    pub(crate) fn resume(&mut self, n: u16, media: Option<MediaGrant>) {
        let now = self.now;
        let mut joined = self.control.joined(n);
        joined.media = media.clone();
        if let Some(media) = media {
            self.open(media, n);
        }
        let client = self.clients.get_mut(&n).unwrap();
        self.control.resume(now, n, client);
        client.engine.rejoined(&joined, now);
    }

    /// The room's group begins anew, with the next generation.
    pub(crate) fn begin_generation(&mut self) {
        self.control.begin_generation(self.now, &mut self.clients);
    }

    /// Messages of the group to a client wait from now on.
    pub(crate) fn delay_group(&mut self, n: u16) {
        self.control.delayed.insert(n, Vec::new());
    }

    /// They arrive.
    pub(crate) fn deliver_group(&mut self, n: u16) {
        let now = self.now;
        for message in self.control.delayed.remove(&n).unwrap() {
            self.client(n).engine.handle_group(now, message);
        }
    }

    /// The relay ends a session.
    pub(crate) fn end_session(&mut self, id: ConnectionId, reason: ByeReason) {
        let mut session = self.sessions.remove(&id).unwrap();
        let number = session.number();
        let datagram = bye(reason, number, &session.grant.downlink_key).to_vec();
        let (from, to) = (session.grant.addresses[0], session.address.unwrap());
        self.fly(from, to, datagram);
    }

    /// Sends a record as the relay of `id` would.
    pub(crate) fn inject(&mut self, id: ConnectionId, sender: u16, sframe: &[u8]) {
        let level = confab_protocol::media::AudioLevel::SILENCE;
        let session = self.sessions.get_mut(&id).unwrap();
        let datagram = session.audio(sender, level, sframe, &session.grant.downlink_key.clone());
        let (from, to) = (session.grant.addresses[0], session.address.unwrap());
        self.fly(from, to, datagram);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.flush();
            let timers = self
                .clients
                .values()
                .filter_map(|client| client.engine.poll_timeout());
            let next = timers
                .chain([self.next_tick])
                .chain(self.control.poll_timeout())
                .chain(self.flights.peek().map(|Reverse(flight)| flight.at));
            let next = next.min().unwrap().max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            while self
                .flights
                .peek()
                .is_some_and(|Reverse(flight)| flight.at <= next)
            {
                let Reverse(flight) = self.flights.pop().unwrap();
                self.land(flight);
            }
            for client in self.clients.values_mut() {
                if client.engine.poll_timeout().is_some_and(|at| at <= next) {
                    client.engine.handle_timeout(next);
                }
            }
            if self.next_tick <= next {
                self.next_tick += TICK;
                self.clients
                    .values_mut()
                    .for_each(|client| client.tick(next));
            }
        }
    }

    fn flush(&mut self) {
        self.control.pass_on(self.now, &mut self.clients);
        let mut members: Vec<_> = self.clients.keys().copied().collect();
        members.sort_unstable();
        for n in members {
            while let Some(transmit) = self.client(n).engine.poll_transmit() {
                *self.uplinks.entry(transmit.to).or_default() += 1;
                self.fly(client_address(n), transmit.to, transmit.datagram);
            }
            let client = self.client(n);
            while let Some(event) = client.engine.poll_event() {
                client.events.push(event);
            }
        }
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        if self.random.random_bool(self.weather.loss) {
            return;
        }
        let copies = if self.random.random_bool(self.weather.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let (least, most) = self.weather.delay;
            let delay = least + (most - least).mul_f64(self.random.random());
            self.order += 1;
            let flight = Flight {
                at: self.now + delay,
                order: self.order,
                from,
                to,
                datagram: datagram.clone(),
            };
            self.flights.push(Reverse(flight));
        }
    }

    fn land(&mut self, flight: Flight) {
        let now = self.now;
        let client = self
            .clients
            .iter_mut()
            .find(|(n, _)| client_address(**n) == flight.to);
        let cut_off = |address| self.cut_off.iter().any(|n| client_address(*n) == address);
        if cut_off(flight.to) || cut_off(flight.from) {
            return;
        }
        if let Some((_, client)) = client {
            client
                .engine
                .handle_datagram(now, flight.from, &flight.datagram);
        } else {
            self.relay(flight);
        }
    }

    fn relay(&mut self, flight: Flight) {
        let uplink = Uplink::parse(&flight.datagram).unwrap();
        let id = uplink.connection_id;
        if self.dead.contains(&id.worker()) || relay_address(id.worker()) != flight.to {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        assert!(
            uplink.is_authentic(&session.grant.uplink_key),
            "clients tag what they send"
        );
        if session.window.commit(uplink.packet_number.into()).is_err() {
            return;
        }
        session.address = Some(flight.from);
        session.received += 1;
        match uplink.body {
            UplinkBody::KeepAlive { echo } => {
                let highest = session.window.highest().unwrap() as u32;
                let pong = Pong {
                    echo,
                    highest,
                    received: session.received,
                };
                let number = session.number();
                let datagram = pong.encode(number, &session.grant.downlink_key).to_vec();
                self.fly(flight.to, flight.from, datagram);
            }
            UplinkBody::Audio { level, sframe } => {
                let (sender, owner) = (session.sender, session.owner);
                let (header, _) = SframeHeader::parse(sframe).unwrap();
                self.nonces.push((header.key_id, header.counter));
                self.forward(id.worker(), owner, sender, level, sframe);
            }
            UplinkBody::PathResponse { .. } | UplinkBody::Bye | UplinkBody::Reception(_) => {}
        }
    }

    fn forward(
        &mut self,
        relay: u8,
        owner: u16,
        sender: u16,
        level: confab_protocol::media::AudioLevel,
        sframe: &[u8],
    ) {
        if self.deed == Action::Suppress {
            return;
        }
        let mut sframe = sframe.to_vec();
        if self.deed == Action::Tamper {
            *sframe.last_mut().unwrap() ^= 1;
        }
        let mut out = Vec::new();
        let mut ids: Vec<_> = self
            .sessions
            .keys()
            .copied()
            .filter(|id| id.worker() == relay)
            .collect();
        ids.sort_unstable();
        for id in ids {
            let session = self.sessions.get_mut(&id).unwrap();
            let Some(to) = session.address.filter(|_| session.owner != owner) else {
                continue;
            };
            let key = if self.deed == Action::Misdirect {
                HopKey::new([66; 16])
            } else {
                session.grant.downlink_key.clone()
            };
            for _ in 0..if self.deed == Action::Repeat { 2 } else { 1 } {
                out.push((
                    session.grant.addresses[0],
                    to,
                    session.audio(sender, level, &sframe, &key),
                ));
            }
        }
        for (from, to, datagram) in out {
            self.fly(from, to, datagram);
        }
    }
}

impl Client {
    fn tick(&mut self, now: Instant) {
        if self.talks {
            let block: [f32; BLOCK] = std::array::from_fn(|_| {
                self.phase = (self.phase + 300.0 / 48_000.0).fract();
                0.3 * (self.phase * std::f32::consts::TAU).sin()
            });
            self.engine.capture(now, &block);
        }
        let mut mix = [0.0; BLOCK];
        self.engine.play(now, &mut mix, !self.deaf, |_, _| {});
        self.played += 1;
        self.heard += u32::from(mix.iter().any(|sample| sample.abs() > 0.05));
    }
}
