//! Participants, joins, and a world on virtual time: relays, clients and a seeded network between them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, JoinId, MediaGrant, Participant, ParticipantName,
    ResumeSecret, RoomSecret,
};
use confab_protocol::media::downlink::ByeReason;
use confab_protocol::media::downlink::{Pong, Record, audio_header, bye};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{ConnectionId, HopKey, RecordDigest, ReplayWindow, Uplink};
use confab_protocol::wire::Role;
use confab_voice::EncoderConfig;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::room::{Change, Joined, LeaveReason, RoomEvent};
use super::{Engine, Event, Settings};

pub(crate) const CONFERENCE: ConferenceId = ConferenceId::new([9; 16]);
const TICK: Duration = Duration::from_millis(10);
const BLOCK: usize = 480;

pub(crate) fn participant(n: u16) -> Participant {
    Participant {
        sender: n,
        leaf: Some(u32::from(n) + 100),
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
        RoomSecret::new([5; 32]),
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

struct Session {
    owner: u16,
    sender: u16,
    grant: MediaGrant,
    address: Option<SocketAddr>,
    window: ReplayWindow,
    received: u32,
    next_packet: u32,
}

struct Flight {
    at: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    datagram: Vec<u8>,
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
    sessions: HashMap<ConnectionId, Session>,
    flights: BinaryHeap<Reverse<Flight>>,
    random: StdRng,
    order: u64,
    next_tick: Instant,
    revision: u64,
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
            sessions: HashMap::new(),
            flights: BinaryHeap::new(),
            random: StdRng::seed_from_u64(seed),
            order: 0,
            next_tick: now + TICK,
            revision: 1,
        };
        for member in members {
            world.enter(&joined(*member, members, 1));
        }
        world
    }

    /// A client that begins with `joined`.
    pub(crate) fn enter(&mut self, joined: &Joined) {
        let encoder = EncoderConfig {
            complexity: 2,
            ..EncoderConfig::default()
        };
        let settings = Settings {
            encoder,
            timestamp: self.random.random(),
        };
        let media = joined.media.clone().unwrap();
        self.open(media.clone(), joined.me.sender);
        let client = Client {
            engine: Engine::new(joined, media, settings, self.now).unwrap(),
            talks: false,
            deaf: false,
            events: Vec::new(),
            heard: 0,
            played: 0,
            phase: 0.0,
        };
        self.clients.insert(joined.me.sender, client);
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

    /// Tells everybody but `except` of a change.
    pub(crate) fn announce(&mut self, change: &Change, except: u16) {
        self.revision += 1;
        let (now, revision) = (self.now, self.revision);
        for (n, client) in &mut self.clients {
            if *n != except {
                client.engine.handle_room_event(
                    CONFERENCE,
                    RoomEvent {
                        revision,
                        change: change.clone(),
                    },
                    now,
                );
            }
        }
    }

    pub(crate) fn announce_left(&mut self, n: u16) {
        self.announce(
            &Change::Left {
                sender: n,
                reason: LeaveReason::Left,
            },
            n,
        );
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
                self.forward(id.worker(), owner, sender, level, sframe);
            }
            UplinkBody::PathResponse { .. } | UplinkBody::Bye => {}
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

impl Session {
    fn number(&mut self) -> u32 {
        self.next_packet += 1;
        self.next_packet - 1
    }

    fn audio(
        &mut self,
        sender: u16,
        level: confab_protocol::media::AudioLevel,
        sframe: &[u8],
        key: &HopKey,
    ) -> Vec<u8> {
        let mut record = Record::header(sender, level, sframe.len())
            .unwrap()
            .to_vec();
        record.extend_from_slice(sframe);
        let digest = RecordDigest::of(&record);
        let number = self.number();
        let mut datagram = audio_header(1, number, key, [&digest]).to_vec();
        datagram.extend_from_slice(&record);
        datagram
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
