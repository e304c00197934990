//! A call as a client has it, from the datagram to the speakers, while others mean it harm: a member with valid keys, a relay
//! with valid tags, a server whose messages are well formed.
//!
//! An honest member talks beside them: what it says is heard whatever the others do, unless they cut it off by what is theirs
//! to decide (the server sends it out, the relay withholds it).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab::engine::room::{Change, Joined, LeaveReason, RoomEvent};
use confab::engine::{Engine, Settings};
use confab_e2ee::cipher::COUNTER_LIMIT;
use confab_e2ee::sframe::SframeKey;
use confab_protocol::control::room::Role;
use confab_protocol::control::{
    AccountId, Capabilities, ConferenceId, GenerationLeaf, JoinId, MediaGrant, Participant,
    ParticipantName, ResumeSecret,
};
use confab_protocol::media::downlink::{self, MAX_RECORDS_LEN, Record};
use confab_protocol::media::payload::{Block, MAX_AGE};
use confab_protocol::media::{
    AudioLevel, ConnectionId, FramePayload, HopKey, MAX_DATAGRAM, RecordDigest,
};
use confab_voice::{Encoder, EncoderConfig};

use crate::call_group::{self, GENERATION};
use crate::script::Script;

const CONFERENCE: ConferenceId = ConferenceId::new([9; 16]);
/// The leaf of each: the client, the honest member, the member of bad will.
const OWN: u32 = 0;
const HONEST: u32 = 1;
const WICKED: u32 = 2;
const BLOCK: usize = 480;
/// Frames of the honest member's voice, encoded once.
const VOICE_FRAMES: usize = 4;
/// Datagrams that an engine may want to send before it is asked again: keep-alives to all addresses of a few relays, an answer
/// to each datagram.
const MAX_TRANSMITS: usize = 256;
/// The events that an engine may return for a step.
const MAX_EVENTS: usize = 4096;

/// Takes the steps of a call.
pub fn run(data: &[u8]) {
    Call::new().play(&mut Script::new(data));
}

struct Call {
    engine: Engine,
    now: Instant,
    /// Of the session whose relay is heard.
    grant: MediaGrant,
    packet: u32,
    honest: Voice,
    wicked: SframeKey,
    /// True while nobody who may has cut the honest member off.
    is_with_us: bool,
    revision: u64,
    grants: u32,
}

/// The honest member's frames.
struct Voice {
    key: SframeKey,
    counter: u64,
    timestamp: u32,
    packets: Vec<Vec<u8>>,
}

impl Call {
    fn new() -> Self {
        let now = Instant::now();
        let grant = grant(0);
        let everyone = [OWN, HONEST, WICKED].map(|leaf| participant(leaf, leaf as u8));
        let joined = Joined::new(
            CONFERENCE,
            1,
            everyone.to_vec(),
            OWN as u16,
            Some(grant.clone()),
            *call_group::delivery_key().public(),
            Some(ResumeSecret::new([1; 16])),
        )
        .expect("the client is among the participants");
        let settings = Settings::default();
        let member = call_group::member_config(&joined.me, CONFERENCE);
        let mut engine = Engine::new(&joined, grant.clone(), member, settings, now)
            .expect("the codec can be had");
        let others = [HONEST, WICKED].map(|leaf| participant(leaf, leaf as u8));
        let keys = call_group::form(&mut engine, &others, CONFERENCE, now);
        let [honest, wicked] =
            <[SframeKey; 2]>::try_from(keys).unwrap_or_else(|_| panic!("there are two others"));
        Self {
            engine,
            now,
            grant,
            packet: 0,
            honest: Voice::new(honest),
            wicked,
            is_with_us: true,
            revision: 1,
            grants: 0,
        }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        self.settle();
        while let Some(step) = script.step() {
            match step % 12 {
                0 | 1 => self.talk(1 + usize::from(step) % 7),
                2 => self.wicked_frame(script),
                3 => self.wicked_payload(script),
                4 => self.records(script),
                5 => self.relay_body(script),
                6 => self.stranger(script),
                7 => self.room_event(script),
                8 => self.rejoin(script),
                9 => self.media(script),
                10 => self.pass(Duration::from_millis(u64::from(script.u16()) * 5)),
                _ => self.speak(script),
            }
            self.settle();
        }
        self.honest_member_is_heard();
    }

    /// The honest member says so many frames, and they are played.
    fn talk(&mut self, frames: usize) {
        for _ in 0..frames {
            let sframe = self.honest.next();
            self.send_records(&[(HONEST as u16, AudioLevel::new(true, 24.0), sframe)]);
            self.listen(2);
        }
    }

    /// Whatever came before: after a while of calm a second of the honest member's voice is heard.
    fn honest_member_is_heard(&mut self) {
        if !self.is_with_us {
            return;
        }
        let received = |call: &Self| {
            let stats = call.engine.stats();
            let mut speakers = stats.speakers.into_iter();
            let honest = speakers.find(|speaker| u32::from(speaker.sender) == HONEST);
            honest.map_or(0, |honest| honest.frames_received)
        };
        let before = received(self);
        let mut loudest = 0f32;
        for _ in 0..100 {
            let sframe = self.honest.next();
            self.send_records(&[(HONEST as u16, AudioLevel::new(true, 24.0), sframe)]);
            loudest = loudest.max(self.listen(2));
        }
        assert!(received(self) >= before + 100, "honest frames are taken");
        assert!(loudest > 0.01, "and they are heard: {loudest}");
    }

    /// Sealed with the wicked member's own key, at a counter and for a content of its choice.
    fn wicked_frame(&mut self, script: &mut Script<'_>) {
        let counter = match script.below(6) {
            0 => u64::from(script.u16()),
            1 => u64::MAX - u64::from(script.byte()),
            2 => COUNTER_LIMIT - 2 + u64::from(script.byte() % 4),
            3 => u64::from(script.u32()) << script.below(32),
            4 => 1 << script.below(64),
            _ => u64::from(script.u32()),
        };
        let plaintext = script.block().to_vec();
        self.wicked_says(counter, &plaintext, script.byte());
    }

    /// A payload that is well formed, with a time, blocks and Opus bytes of its choice.
    fn wicked_payload(&mut self, script: &mut Script<'_>) {
        let counter = u64::from(script.u16());
        let timestamp = script.u32();
        let talkspurt = script.byte() & 1 == 1;
        let age = script.byte().clamp(1, MAX_AGE);
        let (copy, opus) = (script.block(), script.block());
        let mut plaintext = Vec::new();
        let block = match copy.len() {
            0 => None,
            1..3 => Some(Block::Copy { age, opus: copy }),
            // The receiver has to bear repair symbols of any content.
            _ if age.is_multiple_of(4) => Some(Block::Xor {
                mask: age.into(),
                symbol: copy,
            }),
            _ if age % 4 == 1 => Some(Block::RandomLinear {
                mask: age.into(),
                symbol: copy,
            }),
            _ => Some(Block::Copy { age, opus: copy }),
        };
        let payload = FramePayload {
            timestamp,
            talkspurt,
            comfort: age.is_multiple_of(2),
            dred_version: script.byte() % 8,
            opus: if opus.is_empty() { &[0xff] } else { opus },
            blocks: block.into_iter().collect(),
        };
        if payload.encode(&mut plaintext).is_ok() {
            self.wicked_says(counter, &plaintext, script.byte());
        }
    }

    fn wicked_says(&mut self, counter: u64, plaintext: &[u8], level: u8) {
        let mut sframe = Vec::new();
        self.wicked.seal(counter, &[], plaintext, &mut sframe);
        self.send_records(&[(WICKED as u16, AudioLevel::from_byte(level), sframe)]);
    }

    /// Records of the relay's choice, tagged as its own.
    fn records(&mut self, script: &mut Script<'_>) {
        let count = 1 + script.below(5);
        let records: Vec<_> = (0..count)
            .map(|_| {
                let (sender, level) = (script.u16() % 6, AudioLevel::from_byte(script.byte()));
                (sender, level, script.block().to_vec())
            })
            .collect();
        self.send_records(&records);
    }

    /// Anything but audio, tagged with the session's key.
    fn relay_body(&mut self, script: &mut Script<'_>) {
        let kind = [0x12, 0x13, 0x14, 0x15, 0x3f][script.below(5)];
        if kind == 0x14 {
            self.is_with_us = false;
        }
        let [a, b, c, d] = self.next_packet(script.byte()).to_be_bytes();
        let head = [kind, script.byte(), a, b, c, d];
        let body = script.block();
        let tag = self.grant.downlink_key.tag(&[&head[..], body].concat());
        self.receive(&[&head[..], &tag, body].concat());
    }

    fn stranger(&mut self, script: &mut Script<'_>) {
        let length = usize::from(script.u16()) % (MAX_DATAGRAM + 10);
        let datagram = script.take(length).to_vec();
        self.receive(&datagram);
    }

    /// A change of the room, from the server.
    fn room_event(&mut self, script: &mut Script<'_>) {
        let (leaf, join) = (u32::from(script.byte()) % 5, script.byte() % 6);
        let mut participant = participant(leaf, join);
        participant.sender = u16::from(script.byte()) % 6;
        participant.leaf = match script.below(4) {
            0 => None,
            1 => Some(GenerationLeaf {
                generation: script.byte().into(),
                leaf: script.u32(),
            }),
            _ => Some(generation_leaf(leaf)),
        };
        participant.muted = script.byte() & 1 == 1;
        let change = match script.below(3) {
            0 => Change::Joined(participant.clone()),
            1 => Change::Changed(participant.clone()),
            _ => Change::Left {
                sender: participant.sender,
                reason: LeaveReason::Unspecified,
            },
        };
        let is_honest = u32::from(participant.sender) == HONEST
            || participant.leaf == Some(generation_leaf(HONEST))
            || participant.join_id == JoinId::new([HONEST as u8; 16]);
        // It may give its leaf to another, or say that it is gone.
        self.is_with_us &= !is_honest;
        self.revision = match script.below(4) {
            0 => u64::MAX - u64::from(script.byte()),
            _ => self.revision.saturating_add(1),
        };
        let event = RoomEvent {
            revision: self.revision,
            change,
        };
        self.engine.handle_room_event(CONFERENCE, event, self.now);
    }

    /// The answer to a join that was taken up, or made afresh.
    fn rejoin(&mut self, script: &mut Script<'_>) {
        let own = participant(script.byte().into(), script.byte());
        let sender = own.sender;
        let others = (0..script.below(5)).map(|_| {
            let mut other = participant(u32::from(script.byte()) % 6, script.byte() % 6);
            other.sender = u16::from(script.byte()) % 6;
            other
        });
        let everyone = [own].into_iter().chain(others.collect::<Vec<_>>());
        let media = match script.below(3) {
            0 => None,
            _ => Some(self.new_grant(script)),
        };
        let joined = Joined::new(
            CONFERENCE,
            u64::from(script.u16()),
            everyone.collect(),
            sender,
            media,
            *call_group::delivery_key().public(),
            None,
        );
        if let Ok(joined) = joined {
            self.is_with_us = false;
            self.engine.rejoined(&joined, self.now);
        }
    }

    /// The server moves the media, or asks after it.
    fn media(&mut self, script: &mut Script<'_>) {
        match script.below(4) {
            0 => {
                let grant = self.new_grant(script);
                self.engine.move_media(grant, self.now);
            }
            1 => {
                let join = self.engine.join_id();
                self.engine
                    .probe_media(join, self.grant.connection_id, self.now);
            }
            2 => self.engine.route_changed(self.now),
            _ => self.engine.resume_after_sleep(self.now),
        }
    }

    /// The client's own voice.
    fn speak(&mut self, script: &mut Script<'_>) {
        let value = f32::from_bits(script.u32());
        self.now += Duration::from_millis(10);
        self.engine.capture(self.now, &[value; BLOCK]);
        if script.byte() & 1 == 1 {
            self.engine.pause(self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= until) {
            let before = self.now;
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.settle();
            let still_due = self.engine.poll_timeout().is_some_and(|next| next <= at);
            assert!(
                !(still_due && self.now == before),
                "a timer that never ends"
            );
        }
        self.now = until;
    }

    /// Plays so many blocks of 10 ms, and gives the loudest sample.
    fn listen(&mut self, blocks: usize) -> f32 {
        let mut loudest = 0f32;
        for _ in 0..blocks {
            self.pass(Duration::from_millis(10));
            let mut mix = [f32::NAN; BLOCK];
            self.engine.play(self.now, &mut mix, true, |_, pcm| {
                assert!(pcm.iter().all(|sample| sample.is_finite()));
            });
            assert!(mix.iter().all(|sample| sample.abs() <= 1.0));
            loudest = mix
                .iter()
                .fold(loudest, |most, sample| most.max(sample.abs()));
        }
        loudest
    }

    /// Takes what the engine wants to send and say: both have an end.
    fn settle(&mut self) {
        let mut transmits = 0;
        while let Some(transmit) = self.engine.poll_transmit() {
            assert!(transmit.datagram.len() <= MAX_DATAGRAM);
            transmits += 1;
        }
        assert!(transmits <= MAX_TRANSMITS, "{transmits} datagrams at once");
        while self.engine.poll_group().is_some() {}
        let events = std::iter::from_fn(|| self.engine.poll_event()).count();
        assert!(events <= MAX_EVENTS, "{events} events at once");
        assert!(self.engine.stats().speakers.len() <= 4096);
    }

    fn send_records(&mut self, records: &[(u16, AudioLevel, Vec<u8>)]) {
        let (mut bytes, mut digests) = (Vec::new(), Vec::new());
        for (sender, level, sframe) in records {
            let Ok(header) = Record::header(*sender, *level, sframe.len()) else {
                continue;
            };
            if bytes.len() + header.len() + sframe.len() > MAX_RECORDS_LEN {
                continue;
            }
            let start = bytes.len();
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(sframe);
            digests.push(RecordDigest::of(&bytes[start..]));
        }
        if digests.is_empty() {
            return;
        }
        let number = self.next_packet(0);
        let count = digests.len() as u8;
        let head = downlink::audio_header(count, number, &self.grant.downlink_key, &digests);
        self.receive(&[&head[..], &bytes].concat());
    }

    /// Sometimes with a gap, so that windows move.
    fn next_packet(&mut self, gap: u8) -> u32 {
        self.packet += 1 + u32::from(gap % 8);
        self.packet
    }

    fn receive(&mut self, datagram: &[u8]) {
        self.engine.handle_datagram(self.now, relay(), datagram);
    }

    /// A grant that the server may send; its numbers are arbitrary.
    fn new_grant(&mut self, script: &mut Script<'_>) -> MediaGrant {
        self.grants += 1;
        let mut grant = grant(self.grants);
        grant.era = match script.below(3) {
            0 => u64::MAX,
            _ => script.byte().into(),
        };
        grant.placement = script.byte().into();
        grant
    }
}

impl Voice {
    fn new(key: SframeKey) -> Self {
        let config = EncoderConfig::default();
        let mut encoder = Encoder::new(config).expect("the codec can be had");
        let samples = config.frame.samples();
        let packets = (0..VOICE_FRAMES).map(|frame| {
            let tone = |n: usize| {
                let phase = (frame * samples + n) as f32 / 48_000.0 * 440.0;
                0.3 * (phase * std::f32::consts::TAU).sin()
            };
            let pcm: Vec<f32> = (0..samples).map(tone).collect();
            encoder.encode(&pcm).expect("a tone is encoded").to_vec()
        });
        Self {
            packets: packets.collect(),
            key,
            counter: 0,
            timestamp: 0,
        }
    }

    fn next(&mut self) -> Vec<u8> {
        let opus = &self.packets[self.counter as usize % self.packets.len()];
        let payload = FramePayload {
            timestamp: self.timestamp,
            talkspurt: self.counter == 0,
            comfort: false,
            dred_version: 0,
            opus,
            blocks: Vec::new(),
        };
        let mut plaintext = Vec::new();
        payload
            .encode(&mut plaintext)
            .expect("a frame of voice fits");
        let mut sframe = Vec::new();
        self.key.seal(self.counter, &[], &plaintext, &mut sframe);
        self.counter += 1;
        self.timestamp = self.timestamp.wrapping_add(960);
        sframe
    }
}

fn generation_leaf(leaf: u32) -> GenerationLeaf {
    GenerationLeaf {
        generation: GENERATION,
        leaf,
    }
}

fn participant(leaf: u32, join: u8) -> Participant {
    Participant {
        sender: leaf as u16,
        leaf: Some(generation_leaf(leaf)),
        join_id: JoinId::new([join; 16]),
        account: AccountId::new([join; 16]),
        username: ParticipantName::from_wire(&format!("user{join}")),
        role: Role::Member,
        muted: false,
        capabilities: Capabilities::default(),
    }
}

fn grant(number: u32) -> MediaGrant {
    MediaGrant {
        addresses: vec![relay()],
        connection_id: ConnectionId::new(0, 1, number),
        uplink_key: HopKey::new([3; 16]),
        downlink_key: HopKey::new([number as u8 | 0x80; 16]),
        era: 1,
        placement: number.into(),
    }
}

fn relay() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 9000))
}
