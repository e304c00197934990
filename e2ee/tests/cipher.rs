//! Tests: which frames participants of a room can open, and which are refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use confab_e2ee::cipher::COUNTER_LIMIT;
use confab_e2ee::sframe::SframeKey;
use confab_e2ee::{BaseKey, BaseKeys, FixedKeys, FrameCipher, OpenError, SealError};
use confab_protocol::media::{KeyId, ReplayError, SframeHeader};
use proptest::prelude::*;

/// A member at leaf `n` that knows of members 0, 1 and 2.
fn member(n: u8) -> FrameCipher<FixedKeys> {
    member_of(7, n)
}

/// The same in the room of this number.
fn member_of(room: u8, n: u8) -> FrameCipher<FixedKeys> {
    let mut keys = FixedKeys::new(key_id(n), key(room, n));
    for other in 0..3 {
        keys.set(key_id(other), key(room, other));
    }
    FrameCipher::new(keys)
}

fn key_id(n: u8) -> KeyId {
    KeyId::new(n.into(), 0, 0)
}

fn key(room: u8, n: u8) -> BaseKey {
    BaseKey::new(std::array::from_fn(|at| if at == 0 { n } else { room }))
}

fn sealed(cipher: &mut FrameCipher<FixedKeys>, plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cipher.seal(plaintext, &mut out).unwrap();
    out
}

fn open(cipher: &mut FrameCipher<FixedKeys>, sframe: &[u8]) -> Result<(KeyId, Vec<u8>), OpenError> {
    let mut out = b"before".to_vec();
    let result = cipher.open(sframe, &mut out);
    assert!(out.starts_with(b"before"));
    match result {
        Ok(key_id) => Ok((key_id, out.split_off(6))),
        Err(error) => {
            assert_eq!(out, b"before", "an error leaves the buffer as it was");
            Err(error)
        }
    }
}

#[test]
fn every_member_opens_a_frame_once_and_knows_who_sealed_it() {
    let (mut ann, mut ben, mut cem) = (member(0), member(1), member(2));
    let frame = sealed(&mut ann, b"hello");
    for listener in [&mut ben, &mut cem] {
        let (key_id, plaintext) = open(listener, &frame).unwrap();
        assert_eq!((key_id.leaf, plaintext.as_slice()), (0, &b"hello"[..]));
        assert_eq!(
            open(listener, &frame),
            Err(OpenError::Replay(ReplayError::Seen))
        );
    }
}

#[test]
fn frames_may_come_in_any_order() {
    let (mut ann, mut ben) = (member(0), member(1));
    let frames: Vec<_> = (0..50u8).map(|n| sealed(&mut ann, &[n])).collect();
    for frame in frames.iter().rev() {
        open(&mut ben, frame).unwrap();
    }
}

#[test]
fn a_forged_frame_does_not_move_the_replay_window() {
    let (mut ann, mut ben) = (member(0), member(1));
    let first = sealed(&mut ann, b"first");
    let mut forged = first.clone();
    // One byte of counter, so that the forgery claims to be far ahead.
    forged[0] |= 0x0f;
    forged.splice(1..1, [0xff; 8]);
    assert!(open(&mut ben, &forged).is_err());
    assert!(open(&mut ben, &first).is_ok());
}

#[test]
fn a_client_outside_the_room_can_neither_open_nor_seal_a_frame() {
    let mut ann = member(0);
    let mut stranger = member_of(8, 1);
    let frame = sealed(&mut ann, b"secret");
    assert_eq!(open(&mut stranger, &frame), Err(OpenError::NotAuthentic));
    let forged = sealed(&mut stranger, b"forged");
    assert_eq!(open(&mut member(2), &forged), Err(OpenError::NotAuthentic));
}

#[test]
fn a_frame_under_ones_own_leaf_is_refused() {
    let mut ann = member(0);
    let mut twin = member(0);
    let frame = sealed(&mut twin, b"me?");
    assert_eq!(open(&mut ann, &frame), Err(OpenError::OwnLeaf));
}

#[test]
fn a_participant_who_left_is_not_heard_and_one_who_came_back_is() {
    let (mut ann, mut ben) = (member(0), member(1));
    let frame = sealed(&mut ann, b"1");
    open(&mut ben, &frame).unwrap();
    let late = sealed(&mut ann, b"2");
    ben.keys_mut().remove(key_id(0));
    assert!(matches!(
        open(&mut ben, &late),
        Err(OpenError::UnknownKey(_))
    ));

    let fresh = key(9, 0);
    let mut again = FrameCipher::new(FixedKeys::new(key_id(0), fresh.clone()));
    ben.keys_mut().set(key_id(0), fresh);
    assert!(open(&mut ben, &sealed(&mut again, b"3")).is_ok());
    assert_eq!(open(&mut ben, &late), Err(OpenError::NotAuthentic));
}

/// Keys whose epoch a test turns at will.
struct Epochs {
    epoch: Option<u8>,
    /// The oldest epoch that can be opened.
    oldest: u8,
}

impl BaseKeys for Epochs {
    fn sealing(&self) -> Option<KeyId> {
        self.epoch.map(|epoch| KeyId::new(0, 0, epoch))
    }

    fn base_key(&self, key_id: KeyId) -> Option<BaseKey> {
        (key_id.epoch >= self.oldest).then(|| BaseKey::new([key_id.epoch; 16]))
    }

    fn is_own(&self, key_id: KeyId) -> bool {
        key_id.leaf == 0
    }

    fn revision(&self) -> u64 {
        self.oldest.into()
    }
}

/// A frame of leaf 1 in `epoch`.
fn sealed_in(epoch: u8) -> Vec<u8> {
    let key_id = KeyId::new(1, 0, epoch);
    let mut out = Vec::new();
    SframeKey::derive(&BaseKey::new([epoch; 16]), key_id).seal(0, &[], b"hello", &mut out);
    out
}

#[test]
fn a_key_that_was_used_does_not_outlive_its_epoch() {
    let mut cipher = FrameCipher::new(Epochs {
        epoch: Some(2),
        oldest: 1,
    });
    assert!(cipher.open(&sealed_in(1), &mut Vec::new()).is_ok());
    cipher.keys_mut().oldest = 2;
    let unknown = OpenError::UnknownKey(KeyId::new(1, 0, 1));
    assert_eq!(cipher.open(&sealed_in(1), &mut Vec::new()), Err(unknown));
    assert!(cipher.open(&sealed_in(2), &mut Vec::new()).is_ok());
}

#[test]
fn a_counter_never_starts_again_under_the_same_key() {
    let mut cipher = FrameCipher::new(Epochs {
        epoch: None,
        oldest: 0,
    });
    let mut out = Vec::new();
    assert_eq!(cipher.seal(b"x", &mut out), Err(SealError::NoKey));
    let mut seen = std::collections::HashSet::new();
    for epoch in [1, 2, 1, 1, 3, 2, 1, 2] {
        cipher.keys_mut().epoch = Some(epoch);
        let mut frame = Vec::new();
        cipher.seal(b"the same words", &mut frame).unwrap();
        assert!(seen.insert(frame), "a nonce was used twice");
    }
}

proptest! {
    #[test]
    fn no_bytes_open_and_none_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(open(&mut member(1), &bytes).is_err());
    }

    #[test]
    fn a_flipped_bit_is_noticed(plaintext in prop::collection::vec(any::<u8>(), 1..300), at: prop::sample::Index, bit in 0u8..8) {
        let mut frame = sealed(&mut member(0), &plaintext);
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        prop_assert!(open(&mut member(1), &frame).is_err());
    }
}

/// A frame of member `n` with a counter of its own choosing, as a member with valid keys can make it.
fn sealed_at(n: u8, counter: u64) -> Vec<u8> {
    let key = SframeKey::derive(&key(7, n), key_id(n));
    let mut out = Vec::new();
    key.seal(counter, &[], b"hello", &mut out);
    out
}

#[test]
fn a_member_that_counts_to_the_end_is_not_heard_and_harms_nobody() {
    let mut ben = member(1);
    for counter in [u64::MAX, u64::MAX - 1, 1 << 63, COUNTER_LIMIT] {
        assert_eq!(
            open(&mut ben, &sealed_at(0, counter)),
            Err(OpenError::CounterTooHigh(counter))
        );
    }
    assert!(open(&mut ben, &sealed_at(0, COUNTER_LIMIT - 1)).is_ok());
    assert_eq!(
        open(&mut ben, &sealed_at(0, COUNTER_LIMIT - 1)),
        Err(OpenError::Replay(ReplayError::Seen))
    );
    assert!(open(&mut ben, &sealed_at(2, 0)).is_ok());
}

proptest! {
    /// From a member with valid keys: every counter opens at most once, and none ends the receiver.
    #[test]
    fn any_counters_in_any_order_open_at_most_once_each(
        counters in prop::collection::vec(
            prop_oneof![
                0u64..3000,
                any::<u64>(),
                (0u64..3).prop_map(|below| u64::MAX - below),
                (0u64..6).prop_map(|about| COUNTER_LIMIT - 3 + about),
            ],
            1..60,
        )
    ) {
        let mut ben = member(1);
        let mut opened = std::collections::HashSet::new();
        for counter in counters {
            if open(&mut ben, &sealed_at(0, counter)).is_ok() {
                prop_assert!(counter < COUNTER_LIMIT);
                prop_assert!(opened.insert(counter));
            }
        }
    }
}

/// One key at a time, under one key id.
struct OneKey(BaseKey, u64, u32);

impl BaseKeys for OneKey {
    fn sealing(&self) -> Option<KeyId> {
        Some(KeyId::new(self.2, 1, 0))
    }

    fn base_key(&self, _: KeyId) -> Option<BaseKey> {
        Some(self.0.clone())
    }

    fn is_own(&self, key_id: KeyId) -> bool {
        key_id.leaf == self.2
    }

    fn revision(&self) -> u64 {
        self.1
    }
}

#[test]
fn a_key_id_that_comes_again_seals_under_its_new_key() {
    let (old, new) = (BaseKey::new([1; 16]), BaseKey::new([2; 16]));
    let mut sender = FrameCipher::new(OneKey(old.clone(), 0, 7));
    sender.seal(b"before", &mut Vec::new()).unwrap();
    // Four generations later: the two bits in the key id are the same.
    *sender.keys_mut() = OneKey(new.clone(), 1, 7);
    let mut sframe = Vec::new();
    sender.seal(b"after", &mut sframe).unwrap();
    let mut removed = FrameCipher::new(OneKey(old.clone(), 0, 8));
    assert!(removed.open(&sframe, &mut Vec::new()).is_err());
    let mut member = FrameCipher::new(OneKey(new, 0, 8));
    assert!(member.open(&sframe, &mut Vec::new()).is_ok());
    // And back: the counter goes on where it stood.
    *sender.keys_mut() = OneKey(old, 2, 7);
    let mut sframe = Vec::new();
    sender.seal(b"again", &mut sframe).unwrap();
    let (header, _) = SframeHeader::parse(&sframe).unwrap();
    assert_eq!(header.counter, 1);
}
