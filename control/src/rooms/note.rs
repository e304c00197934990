//! Notes: sealed data that a relay keeps with each media session for the node that takes the room over.
//!
//! A note is sealed: the relay can neither read nor make one, and a note opens only for the conference, the sender label and
//! the run of the relay (boot id) for which it was made. `version (1) · key id (1) · nonce (12) · ciphertext · tag (16)`,
//! AES-256-GCM-SIV (RFC 8452) under a key that HKDF-SHA-256 derives from the cluster's key, conference and boot id.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::Prk;
use confab_protocol::cluster::{BootId, MediaState, SessionNote};
use confab_protocol::control::{AccountId, ConferenceId, JoinId, ResumeSecret};
use zeroize::Zeroizing;

use super::label::LabelKey;
use super::world::World;
use crate::hkdf;
use crate::store::SessionId;

/// The version of the layout.
const VERSION: u8 = 2;

const SALT: &[u8] = b"confab session notes v1";
const KEY_LEN: usize = 32;

/// Length of the plaintext in bytes; see [`Note::to_bytes`].
const PLAINTEXT_LEN: usize = 4 * 16 + LabelKey::LEN;

/// Whose a media session is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    /// The participant's account.
    pub(super) account: AccountId,
    /// The account's session.
    pub(super) session: SessionId,
    /// The participant's join.
    pub(super) join_id: JoinId,
    /// The hash of the client's resume secret.
    pub(super) resume: ResumeHash,
    /// The key of the gathering's labels.
    pub(super) labels: LabelKey,
}

/// The first 16 bytes of the SHA-256 hash of a resume secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ResumeHash([u8; 16]);

/// Derives the keys of notes from a key that all nodes of a server share.
#[derive(Clone)]
pub struct NoteKeys {
    key: Prk,
    /// Names the cluster's key, so that a note under another one is not taken for forged.
    id: u8,
}

/// Seals and opens the notes of one conference.
#[derive(Clone)]
pub struct NoteSealer {
    keys: NoteKeys,
    conference: ConferenceId,
}

/// Why a note does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadNote {
    /// It has another layout, or is sealed under another cluster's key.
    #[error("the note is of another version or of another cluster key")]
    Unknown,
    /// This cluster did not make it for this session.
    #[error("the note was not made for this session")]
    Forged,
}

impl From<&ResumeSecret> for ResumeHash {
    fn from(secret: &ResumeSecret) -> Self {
        let hash = digest::digest(&digest::SHA256, secret.reveal());
        let mut first = [0; 16];
        first.copy_from_slice(&hash.as_ref()[..16]);
        Self(first)
    }
}

impl NoteKeys {
    /// The keys that are derived from the cluster's key.
    pub fn new(key: &[u8; 32]) -> Self {
        let prk = hkdf::extract(SALT, key);
        let mut id = [0];
        hkdf::expand(&prk, &[b"key id"], &mut id);
        Self {
            key: prk,
            id: id[0],
        }
    }

    /// The sealer of one conference.
    pub fn of(&self, conference: ConferenceId) -> NoteSealer {
        NoteSealer {
            keys: self.clone(),
            conference,
        }
    }
}

impl NoteSealer {
    /// Seals a note for the session of `sender` at this boot of a relay.
    pub(super) fn seal(
        &self,
        boot: BootId,
        sender: u16,
        note: &Note,
        world: &mut dyn World,
    ) -> SessionNote {
        let mut nonce = [0; NONCE_LEN];
        world.random(&mut nonce);
        let head = self.head();
        let mut sealed = Zeroizing::new(note.to_bytes().to_vec());
        self.key(boot)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.bound_to(head, sender)),
                &mut *sealed,
            )
            .expect("a note is far shorter than what one key may seal");
        let bytes = [&head[..], &nonce, &sealed].concat();
        SessionNote::new(&bytes).expect("a note has less than 256 bytes")
    }

    /// Opens the note of a session at this boot of a relay.
    pub(super) fn open(&self, boot: BootId, state: &MediaState) -> Result<Note, BadNote> {
        let head = self.head();
        let sealed = state.note.as_bytes();
        let sealed = sealed.strip_prefix(&head).ok_or(BadNote::Unknown)?;
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(BadNote::Forged)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let opened = self
            .key(boot)
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.bound_to(head, state.sender)),
                &mut sealed,
            )
            .map_err(|_| BadNote::Forged)?;
        let opened: &[u8; PLAINTEXT_LEN] = (&*opened).try_into().map_err(|_| BadNote::Forged)?;
        Ok(Note::from_bytes(opened))
    }

    fn head(&self) -> [u8; 2] {
        [VERSION, self.keys.id]
    }

    /// The associated data of a note.
    fn bound_to(&self, head: [u8; 2], sender: u16) -> [u8; 4] {
        let [high, low] = sender.to_be_bytes();
        [head[0], head[1], high, low]
    }

    fn key(&self, boot: BootId) -> LessSafeKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let info: [&[u8]; 3] = [b"note", self.conference.as_bytes(), &boot.0];
        hkdf::expand(&self.keys.key, &info, key.as_mut());
        let key = UnboundKey::new(&AES_256_GCM_SIV, key.as_ref()).expect("a key of 32 bytes");
        LessSafeKey::new(key)
    }
}

impl fmt::Debug for NoteSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSealer({})", self.conference)
    }
}

impl Note {
    /// `account (16) · session (16) · join id (16) · resume hash (16) · key of labels (16)`.
    fn to_bytes(&self) -> Zeroizing<[u8; PLAINTEXT_LEN]> {
        let parts: [&[u8]; 5] = [
            self.account.as_bytes(),
            &self.session.0,
            self.join_id.as_bytes(),
            &self.resume.0,
            self.labels.reveal(),
        ];
        let mut bytes = Zeroizing::new([0; PLAINTEXT_LEN]);
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; PLAINTEXT_LEN]) -> Self {
        fn part<const N: usize>(bytes: &[u8; PLAINTEXT_LEN], at: usize) -> [u8; N] {
            std::array::from_fn(|byte| bytes[at + byte])
        }
        Self {
            account: AccountId::new(part(bytes, 0)),
            session: SessionId(part(bytes, 16)),
            join_id: JoinId::new(part(bytes, 32)),
            resume: ResumeHash(part(bytes, 48)),
            labels: LabelKey::new(part(bytes, 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use confab_protocol::cluster::Leaves;
    use confab_protocol::media::ConnectionId;
    use confab_protocol::version::VersionRange;

    use super::*;
    use crate::cluster::LinkedRelay;

    /// Draws the same bytes each time.
    struct Fixed(u8);

    impl World for Fixed {
        fn pick_relay(&mut self, _: &crate::cluster::RelayCriteria<'_>) -> Option<LinkedRelay> {
            None
        }

        fn media_version(&mut self, theirs: VersionRange) -> Option<u32> {
            Some(theirs.max())
        }

        fn note_unanswered(&mut self, _: &LinkedRelay) {}

        fn lease_epoch(&mut self, _: std::time::Instant) -> Option<u64> {
            Some(0)
        }

        fn random(&mut self, bytes: &mut [u8]) {
            self.0 += 1;
            bytes.fill(self.0);
        }
    }

    const BOOT: BootId = BootId([8; 16]);

    fn sealer(key: u8, conference: u8) -> NoteSealer {
        NoteKeys::new(&[key; 32]).of(ConferenceId::new([conference; 16]))
    }

    fn note() -> Note {
        Note {
            account: AccountId::new([1; 16]),
            session: SessionId([2; 16]),
            join_id: JoinId::new([3; 16]),
            resume: (&ResumeSecret::new([4; 16])).into(),
            labels: LabelKey::new([5; 16]),
        }
    }

    fn state(sender: u16, note: SessionNote) -> MediaState {
        MediaState {
            sender,
            leaves: Leaves::NONE,
            connection_id: ConnectionId::new(0, 0, 0),
            may_speak: true,
            seen: true,
            note,
            media_version: 1,
            account_label: 0,
        }
    }

    #[test]
    fn a_note_opens_for_its_session_alone() {
        let sealed = sealer(1, 1).seal(BOOT, 9, &note(), &mut Fixed(0));
        let open =
            |sealer: NoteSealer, boot, sender| sealer.open(boot, &state(sender, sealed.clone()));
        assert_eq!(open(sealer(1, 1), BOOT, 9), Ok(note()));
        let forged = Err(BadNote::Forged);
        assert_eq!(open(sealer(1, 2), BOOT, 9), forged, "another room");
        assert_eq!(
            open(sealer(1, 1), BootId([9; 16]), 9),
            forged,
            "another boot"
        );
        assert_eq!(open(sealer(1, 1), BOOT, 10), forged, "another sender");
        assert!(open(sealer(2, 1), BOOT, 9).is_err(), "another cluster");
    }

    #[test]
    fn what_a_relay_changes_in_a_note_does_not_open() {
        let sealed = sealer(1, 1).seal(BOOT, 9, &note(), &mut Fixed(0));
        for at in 0..sealed.as_bytes().len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[at] ^= 1;
            let changed = SessionNote::new(&bytes).unwrap();
            assert!(
                sealer(1, 1).open(BOOT, &state(9, changed)).is_err(),
                "byte {at}"
            );
            let cut = SessionNote::new(&sealed.as_bytes()[..at]).unwrap();
            assert!(
                sealer(1, 1).open(BOOT, &state(9, cut)).is_err(),
                "{at} bytes"
            );
        }
    }

    #[test]
    fn a_note_shows_nothing_of_what_is_in_it() {
        let mut world = Fixed(0);
        let sealed = sealer(1, 1).seal(BOOT, 9, &note(), &mut world);
        for plain in [[1; 16], [2; 16], [3; 16], [5; 16]] {
            assert!(!sealed.as_bytes().windows(16).any(|window| window == plain));
        }
        assert_ne!(sealer(1, 1).seal(BOOT, 9, &note(), &mut world), sealed);
        assert!(
            sealed.as_bytes().len() <= 150,
            "{}",
            sealed.as_bytes().len()
        );
    }
}
