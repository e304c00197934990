//! What a member gets from others: frames that open once and only as they were sealed, payloads that are encoded as
//! they were read, and voices that are always playable.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use confab::engine::speakers::Speakers;
use confab_e2ee::cipher::COUNTER_LIMIT;
use confab_e2ee::{BaseKey, FixedKeys, FrameCipher, OpenError};
use confab_protocol::control::room::Role;
use confab_protocol::control::{
    AccountId, Capabilities, GenerationLeaf, JoinId, Participant, ParticipantName,
};
use confab_protocol::media::{AudioLevel, FramePayload, KeyId, SframeHeader};

use crate::script::Script;

const OWN_LEAF: u32 = 0;
/// The leaves 1 to this are members.
const MEMBERS: u32 = 3;
/// Samples of a pull.
const BLOCK: usize = 480;

/// Reads a payload, or the steps of a room, as the first byte says.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.byte() {
        0 => payload(script.rest()),
        _ => Room::new(data).play(&mut script),
    }
}

fn payload(plaintext: &[u8]) {
    let Ok(payload) = FramePayload::parse(plaintext) else {
        return;
    };
    let mut encoded = vec![0xee];
    payload
        .encode_to_size(plaintext.len(), &mut encoded)
        .expect("what was parsed can be encoded");
    assert_eq!(&encoded[1..], plaintext);
    assert_eq!(FramePayload::parse(&encoded[1..]).as_ref(), Ok(&payload));
}

/// Members who seal, and one who opens.
struct Room<'a> {
    /// The script's bytes, of which the keys are made: a fuzzer remembers frames that it saw in another script, and here
    /// they are foreign.
    script: &'a [u8],
    receiver: FrameCipher<FixedKeys>,
    members: Vec<Member>,
    joins: u8,
    sealed: Vec<Sealed>,
    speakers: Speakers,
    now: Instant,
}

struct Member {
    leaf: u32,
    join: JoinId,
    cipher: FrameCipher<FixedKeys>,
}

/// A frame on its way.
struct Sealed {
    leaf: u32,
    join: JoinId,
    plaintext: Vec<u8>,
    sframe: Vec<u8>,
    opened: bool,
}

impl<'a> Room<'a> {
    fn new(script: &'a [u8]) -> Self {
        let keys = FixedKeys::new(key_id(OWN_LEAF), base_key(script, 0));
        let mut room = Self {
            script,
            receiver: FrameCipher::new(keys),
            members: Vec::new(),
            joins: 0,
            sealed: Vec::new(),
            speakers: Speakers::new(Duration::from_millis(200)),
            now: Instant::now(),
        };
        for leaf in 1..=MEMBERS {
            let member = room.join(leaf);
            room.members.push(member);
        }
        room
    }

    fn play(&mut self, script: &mut Script<'_>) {
        while let Some(step) = script.step() {
            match step % 8 {
                0 => self.seal(script),
                1 => self.deliver(script),
                2 => self.tamper(script),
                3 => self.foreign(script.block()),
                4 => self.rejoin(script.below(MEMBERS as usize)),
                5 => self.suppress(script),
                6 => self.forge(script),
                _ => self.pull(script.byte()),
            }
        }
        self.pull(1);
        let _ = self.speakers.stats();
    }

    fn seal(&mut self, script: &mut Script<'_>) {
        let index = script.below(self.members.len());
        let plaintext = script.block().to_vec();
        let member = &mut self.members[index];
        let mut sframe = Vec::new();
        member
            .cipher
            .seal(&plaintext, &mut sframe)
            .expect("a member has a key, and not used up");
        let (header, _) = SframeHeader::parse(&sframe).expect("what is sealed has a header");
        assert_eq!(header.key_id, KeyId::new(member.leaf, 0, 0));
        self.sealed.push(Sealed {
            leaf: member.leaf,
            join: member.join,
            plaintext,
            sframe,
            opened: false,
        });
    }

    /// Delivers a frame, for the first time or again; its voice is heard.
    fn deliver(&mut self, script: &mut Script<'_>) {
        if self.sealed.is_empty() {
            return;
        }
        let index = script.below(self.sealed.len());
        let frame = &self.sealed[index];
        let is_member = self.members.iter().any(|m| m.join == frame.join);
        let mut out = vec![0xee];
        let opened = self.receiver.open(&frame.sframe, &mut out);
        assert_eq!(out[0], 0xee);
        if is_member && !frame.opened {
            // Fewer than a window's frames are on their way, so none is too old.
            assert_eq!(opened, Ok(KeyId::new(frame.leaf, 0, 0)));
        }
        if opened.is_err() {
            assert_eq!(out.len(), 1);
            return;
        }
        assert!(is_member && !frame.opened);
        assert_eq!(out[1..], frame.plaintext);
        payload(&out[1..]);
        let level = AudioLevel::from_byte(script.byte());
        // What is no voice frame is refused and changes nothing.
        let join = self.sealed[index].join;
        let _ = self.speakers.push(self.now, join, level, &out[1..]);
        self.sealed[index].opened = true;
    }

    /// A frame that was changed on its way never opens.
    fn tamper(&mut self, script: &mut Script<'_>) {
        if self.sealed.is_empty() {
            return;
        }
        let mut sframe = self.sealed[script.below(self.sealed.len())].sframe.clone();
        let at = usize::from(script.u16()) % sframe.len();
        match script.byte() {
            0 => sframe.truncate(at),
            flip => sframe[at] ^= flip,
        }
        self.foreign(&sframe);
    }

    /// Bytes that no member sealed.
    fn foreign(&mut self, sframe: &[u8]) {
        if self.sealed.iter().any(|sealed| sealed.sframe == sframe) {
            return;
        }
        let mut out = vec![0xee];
        assert!(self.receiver.open(sframe, &mut out).is_err());
        assert_eq!(out, [0xee]);
    }

    /// A header of any key id and counter, over bytes that nobody sealed: what is unknown stays unknown, and a counter
    /// that was not authentic moves no window.
    fn forge(&mut self, script: &mut Script<'_>) {
        let kid = u64::from(script.u32());
        let counter = u64::from(script.u32()) << script.below(32);
        let key_id = KeyId::from_u64(kid).expect("a leaf of 22 bits");
        let mut header = [0; SframeHeader::MAX_LEN];
        let len = SframeHeader { key_id, counter }.write(&mut header);
        let sframe = [&header[..len], script.block()].concat();
        if self.sealed.iter().any(|sealed| sealed.sframe == sframe) {
            return;
        }
        let error = self.receiver.open(&sframe, &mut Vec::new());
        let is_known = key_id.generation == 0 && key_id.epoch == 0 && key_id.leaf <= MEMBERS;
        match error {
            Err(OpenError::CounterTooHigh(high)) => {
                assert!(high == counter && high >= COUNTER_LIMIT)
            }
            Err(OpenError::OwnLeaf) => assert_eq!(key_id.leaf, OWN_LEAF),
            Err(OpenError::UnknownKey(unknown)) => assert!(unknown == key_id && !is_known),
            Err(OpenError::NotAuthentic | OpenError::Replay(_)) => assert!(is_known),
            other => panic!("a forged frame was {other:?}"),
        }
    }

    /// A member leaves and comes back by a new join: nothing that it sealed before opens any more.
    fn rejoin(&mut self, index: usize) {
        if self.joins == u8::MAX {
            return;
        }
        let Member { leaf, join, .. } = self.members[index];
        self.receiver.keys_mut().remove(key_id(leaf));
        self.speakers.remove(join);
        self.members[index] = self.join(leaf);
        let joins: HashSet<_> = self.members.iter().map(|member| member.join).collect();
        assert_eq!(joins.len(), self.members.len());
    }

    fn join(&mut self, leaf: u32) -> Member {
        self.joins += 1;
        let join = JoinId::new([self.joins; 16]);
        let (key_id, key) = (key_id(leaf), base_key(self.script, self.joins));
        self.receiver.keys_mut().set(key_id, key.clone());
        self.speakers.set(participant(leaf, join));
        let keys = FixedKeys::new(key_id, key);
        Member {
            leaf,
            join,
            cipher: FrameCipher::new(keys),
        }
    }

    fn suppress(&mut self, script: &mut Script<'_>) {
        let sender = u16::from(script.byte()) % (MEMBERS as u16 + 2);
        let _ = self.speakers.suppress(sender);
        self.speakers
            .count_duplicate(JoinId::new([sender as u8; 16]));
    }

    fn pull(&mut self, ticks: u8) {
        for _ in 0..=ticks % 8 {
            self.now += Duration::from_millis(10);
            let mut mix = [f32::NAN; BLOCK];
            self.speakers.play(self.now, &mut mix, true, |who, pcm| {
                let leaf = who.leaf.map(|of| of.leaf);
                assert!(leaf.is_some_and(|leaf| (1..=MEMBERS).contains(&leaf)));
                assert_eq!(pcm.len(), BLOCK);
            });
            assert!(mix.iter().all(|sample| sample.abs() <= 1.0));
        }
        let stopped = self.speakers.expire(self.now).count();
        assert!(stopped <= MEMBERS as usize);
    }
}

fn key_id(leaf: u32) -> KeyId {
    KeyId::new(leaf, 0, 0)
}

/// The key of a join, by its number: another one in each script.
fn base_key(script: &[u8], join: u8) -> BaseKey {
    let mut key = [join; BaseKey::LEN];
    let mut hasher = DefaultHasher::new();
    (script, join).hash(&mut hasher);
    key[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    BaseKey::new(key)
}

fn participant(leaf: u32, join: JoinId) -> Participant {
    Participant {
        sender: leaf as u16,
        leaf: Some(GenerationLeaf {
            generation: 0,
            leaf,
        }),
        join_id: join,
        account: AccountId::new([leaf as u8; 16]),
        username: ParticipantName::from_wire(&format!("user{leaf}")),
        role: Role::Member,
        muted: false,
        capabilities: Capabilities::default(),
    }
}
