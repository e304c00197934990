//! A call of two clients over a relay, on virtual time: their engines and the relay's core as they are, and a network between
//! them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab::audio::{BLOCK, MIX, MIX_TIME};
use confab::engine::room::Joined;
use confab::engine::{Engine, Settings};
use confab_e2ee::mls::delivery::{DeliveryConfig, Output};
use confab_e2ee::mls::identity::{DeviceKey, ServerId};
use confab_e2ee::mls::member::MemberConfig;
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{Delivery, Suite};
use confab_protocol::control::room::Role;
use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, GenerationLeaf, JoinId, Participant, ParticipantName,
    ResumeSecret,
};
use confab_protocol::media::uplink::{Uplink, UplinkBody};
use confab_protocol::media::{SFRAME_TAG_LEN, SframeHeader};
use confab_voice::{AdaptationConfig, ProcessingConfig};
use rustix::time::{ClockId, clock_gettime};

use super::network::{Delay, Loss, Way};
use super::relay::Relay;

/// Bits a second that a byte more in each frame of 20 ms takes.
const BITRATE_PER_BYTE: usize = 400;
/// Time in which the group is formed and the paths are proved, before anybody speaks.
const SETTLING: Duration = Duration::from_secs(6);

const CONFERENCE: ConferenceId = ConferenceId::new([9; 16]);
const SERVER: ServerId = ServerId([7; 16]);
const GENERATION: u64 = 1;
const SPEAKER: u16 = 0;
const LISTENER: u16 = 1;

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub voice: AdaptationConfig,
    /// The work on a captured sound before it is encoded.
    pub processing: ProcessingConfig,
    /// How many speak besides. With some, the listener speaks too.
    pub others: u16,
    /// Between the relay and the listener.
    pub loss: Loss,
    pub delay: Delay,
    pub seed: u64,
}

impl Setup {
    /// A client's defaults over a network that does nothing.
    pub fn calm() -> Self {
        Self {
            voice: AdaptationConfig::default(),
            processing: ProcessingConfig::default(),
            others: 0,
            loss: Loss::None,
            delay: Delay::Steady,
            seed: 1,
        }
    }
}

/// The listener's sound, and what was sent and lost for it.
#[derive(Debug, Default)]
pub struct Heard {
    /// From the moment at which the speaker began, as long as what was said.
    pub samples: Vec<f32>,
    /// Bytes of each payload, and of its Opus packet, sent so long after the begin.
    pub sent: Vec<(Duration, usize, usize)>,
    /// The delay that the listener's jitter buffer held over the fastest packet's, at each tick in which it played.
    pub delay_ms: Vec<(Duration, f32)>,
    pub frames_received: u64,
    pub late: u64,
    pub lost: u64,
    pub recovered: u64,
    pub concealed: u64,
    /// Processor time of the listener's engine.
    pub processor: Duration,
}

/// Has one say this (48 kHz), and gives what the other hears.
pub fn speak(said: &[f32], setup: &Setup) -> Heard {
    let mut call = Call::new(setup);
    let settled = call.now + SETTLING;
    while call.now < settled {
        call.tick(None);
    }
    call.begin = call.now;
    call.ways = [
        Way::new(Loss::None, Delay::Steady, setup.seed ^ 0xa5),
        Way::new(setup.loss, setup.delay, setup.seed),
    ];
    call.heard = Heard::default();
    // Two mixes are played while a block is captured.
    for block in said.chunks_exact(BLOCK) {
        call.tick(None);
        call.tick(Some(block));
    }
    let stats = call.engine(LISTENER).stats();
    if let Some(speaker) = stats.speakers.first() {
        call.heard.frames_received = speaker.frames_received;
        call.heard.late = speaker.late;
        call.heard.lost = speaker.lost;
        call.heard.recovered = speaker.recovered;
        call.heard.concealed = speaker.concealed;
    }
    call.heard
}

struct Call {
    now: Instant,
    begin: Instant,
    engines: Vec<Engine>,
    delivery: Delivery,
    relay: Relay,
    /// From and to the relay, for both clients.
    ways: [Way; 2],
    flights: BinaryHeap<Reverse<Flight>>,
    sent: u64,
    heard: Heard,
}

/// A datagram on its way. The order is that of arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    order: u64,
    from: SocketAddr,
    to: SocketAddr,
    datagram: Vec<u8>,
}

impl Call {
    fn new(setup: &Setup) -> Self {
        let now = Instant::now();
        let mut relay = Relay::new(now, CONFERENCE, relay_address());
        let key = SigningKey::from_seed(&[9; 32]);
        let delivery_key = *key.public();
        let senders = 0..=LISTENER + setup.others;
        let all: Vec<_> = senders.clone().map(participant).collect();
        let engines = senders.clone().map(|sender| {
            let grant = relay.open(now, sender, leaf(sender));
            let joined = Joined::new(
                CONFERENCE,
                1,
                all.clone(),
                sender,
                Some(grant.clone()),
                delivery_key,
                Some(ResumeSecret::new([1; 16])),
            );
            let joined = joined.expect("it is among the participants");
            let settings = Settings {
                voice: setup.voice,
                processing: setup.processing,
                ..Settings::default()
            };
            let device = DeviceKey::from_seed(&[sender as u8 + 1; 32]);
            let member = MemberConfig::new(device, joined.subject(SERVER), delivery_key);
            Engine::new(&joined, grant, member, settings, now).expect("the codec can be had")
        });
        let engines = engines.collect();
        let delivery = Delivery::new(DeliveryConfig {
            server: SERVER,
            conference: CONFERENCE,
            era: 1,
            key,
            first_generation: GENERATION,
            suite: Suite::PostQuantum,
        });
        let mut call = Self {
            now,
            begin: now,
            engines,
            delivery,
            relay,
            ways: [0, 1].map(|seed| Way::new(Loss::None, Delay::Steady, seed)),
            flights: BinaryHeap::new(),
            sent: 0,
            heard: Heard::default(),
        };
        // One after the other, so that each has the leaf of its number.
        for sender in senders {
            let of = participant(sender);
            let username = name(sender).parse().expect("a username");
            call.delivery.join(now, of.join_id, of.account, username);
            let apart = call.now + Duration::from_secs(1);
            while call.now < apart {
                call.tick(None);
            }
        }
        call
    }

    fn engine(&mut self, sender: u16) -> &mut Engine {
        &mut self.engines[usize::from(sender)]
    }

    /// Lets 5 ms pass, at whose end the speaker has said a block, and plays a mix.
    fn tick(&mut self, said: Option<&[f32]>) {
        let until = self.now + MIX_TIME;
        loop {
            self.send_all();
            let next = self.flights.peek().map(|Reverse(flight)| flight.at);
            let timers = self.engines.iter().filter_map(Engine::poll_timeout);
            let due = timers.chain(next).min().filter(|due| *due <= until);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            let now = self.now;
            for sender in self.senders() {
                if self
                    .engine(sender)
                    .poll_timeout()
                    .is_some_and(|at| at <= now)
                {
                    self.run(sender, |engine| engine.handle_timeout(now));
                }
            }
            while self
                .flights
                .peek()
                .is_some_and(|Reverse(first)| first.at <= now)
            {
                if let Some(Reverse(flight)) = self.flights.pop() {
                    self.land(flight);
                }
            }
        }
        self.now = until;
        let now = self.now;
        if let Some(block) = said {
            let is_silent = |sender: &u16| *sender == LISTENER && self.engines.len() == 2;
            let speakers: Vec<_> = self.senders().filter(|sender| !is_silent(sender)).collect();
            for sender in speakers {
                self.run(sender, |engine| engine.capture(now, block));
            }
        }
        self.send_all();
        let mut mix = [0.0; MIX];
        self.run(LISTENER, |engine| {
            engine.play(now, &mut mix, true, |_, _| {})
        });
        self.heard.samples.extend_from_slice(&mix);
        let delay = self
            .engine(LISTENER)
            .stats()
            .speakers
            .first()
            .map(|one| one.delay_ms);
        let since = now - self.begin;
        self.heard.delay_ms.extend(
            delay
                .filter(|delay| *delay > 0.0)
                .map(|delay| (since, delay)),
        );
        self.pass_on();
        for engine in &mut self.engines {
            while engine.poll_event().is_some() {}
        }
    }

    fn senders(&self) -> std::ops::Range<u16> {
        0..self.engines.len() as u16
    }

    /// Has an engine do something, and counts its processor time if it is the listener's.
    fn run<T>(&mut self, sender: u16, work: impl FnOnce(&mut Engine) -> T) -> T {
        let before = processor_time();
        let done = work(self.engine(sender));
        if sender == LISTENER {
            self.heard.processor += processor_time().saturating_sub(before);
        }
        done
    }

    fn send_all(&mut self) {
        for sender in self.senders() {
            while let Some(transmit) = self.engine(sender).poll_transmit() {
                if sender == SPEAKER {
                    self.count(&transmit.datagram);
                }
                self.fly(address(sender), transmit.to, transmit.datagram);
            }
        }
    }

    /// Counts the bytes of a frame that is sent.
    fn count(&mut self, datagram: &[u8]) {
        let uplink = Uplink::parse(datagram).expect("a client's datagram");
        let UplinkBody::Audio { sframe, .. } = uplink.body else {
            return;
        };
        let (_, header) = SframeHeader::parse(sframe).expect("a client's frame");
        let payload = sframe.len() - header - SFRAME_TAG_LEN;
        let plan = self.engines[usize::from(SPEAKER)].stats();
        let opus = plan.voice_bitrate as usize / BITRATE_PER_BYTE;
        self.heard.sent.push((self.now - self.begin, payload, opus));
    }

    /// The listener's way loses and delays what comes to it.
    fn fly(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        let way = &mut self.ways[usize::from(to == address(LISTENER))];
        let Some(arrival) = way.arrival(self.now - self.begin) else {
            return;
        };
        self.sent += 1;
        self.flights.push(Reverse(Flight {
            at: self.begin + arrival,
            order: self.sent,
            from,
            to,
            datagram,
        }));
    }

    fn land(&mut self, flight: Flight) {
        let now = self.now;
        for sender in self.senders() {
            if flight.to == address(sender) {
                self.run(sender, |engine| {
                    engine.handle_datagram(now, flight.from, &flight.datagram);
                });
                return;
            }
        }
        for (to, datagram) in self.relay.take(now, flight.from, flight.datagram) {
            self.fly(relay_address(), to, datagram);
        }
    }

    /// Passes the group's messages on.
    fn pass_on(&mut self) {
        loop {
            let mut is_busy = false;
            for engine in &mut self.engines {
                let join = engine.join_id();
                while let Some(message) = engine.poll_group() {
                    is_busy = true;
                    self.delivery.handle(self.now, join, message);
                }
            }
            self.delivery.update(self.now);
            while let Some(output) = self.delivery.poll() {
                is_busy = true;
                match output {
                    Output::Send(to, message) => {
                        let mut engines = self.engines.iter_mut();
                        if let Some(engine) = engines.find(|engine| engine.join_id() == to) {
                            engine.handle_group(self.now, message);
                        }
                    }
                    Output::OpenGate {
                        generation, epoch, ..
                    } => self.delivery.gate_opened(self.now, generation, epoch),
                    _ => {}
                }
            }
            if !is_busy {
                return;
            }
        }
    }
}

fn leaf(sender: u16) -> GenerationLeaf {
    GenerationLeaf {
        generation: GENERATION,
        leaf: sender.into(),
    }
}

fn participant(sender: u16) -> Participant {
    Participant {
        sender,
        leaf: Some(leaf(sender)),
        join_id: JoinId::new([sender as u8 + 1; 16]),
        account: AccountId::new([sender as u8 + 1; 16]),
        username: ParticipantName::from_wire(&name(sender)),
        role: Role::Member,
        muted: false,
        capabilities: Capabilities::default(),
    }
}

fn name(sender: u16) -> String {
    match sender {
        SPEAKER => "speaker".to_owned(),
        LISTENER => "listener".to_owned(),
        other => format!("speaker-{other}"),
    }
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn address(sender: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, sender as u8 + 1], 5000))
}

fn relay_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 1], 6000))
}
