//! A member's view of a room's frames: seals its own, opens everyone else's.

use std::collections::HashMap;

use confab_protocol::media::{KeyId, MediaError, ReplayError, ReplayWindow, SframeHeader};

use crate::keys::{BaseKey, BaseKeys};
use crate::sframe::SframeKey;

/// Counters of the frames sealed under one key are below this, far below where AES-GCM weakens with so short messages.
/// Receivers take no others.
pub const COUNTER_LIMIT: u64 = 1 << 32;

/// Own keys that are remembered with their counters after another took their place.
const REMEMBERED_KEYS: usize = 32;

/// Why a frame was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key yet, or none any more.
    #[error("there is no key to seal with")]
    NoKey,
    /// [`COUNTER_LIMIT`] frames were sealed under this key.
    #[error("the key is used up")]
    Exhausted,
}

/// Why a frame was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The bytes are not an SFrame.
    #[error("not an SFrame: {0}")]
    Malformed(#[from] MediaError),
    /// The key id is this client's own.
    #[error("a received frame has this client's own key id")]
    OwnLeaf,
    /// No participant has this key id.
    #[error("nobody in the room has the key id {0:?}")]
    UnknownKey(KeyId),
    /// Sealed by somebody without the key, or changed on its way.
    #[error("the frame is not authentic")]
    NotAuthentic,
    /// The counter was seen before, or is below the replay window.
    #[error("the frame is a replay: {0}")]
    Replay(#[from] ReplayError),
    /// Its counter is at [`COUNTER_LIMIT`] or above: no sender may get there.
    #[error("the frame's counter {0} is too high")]
    CounterTooHigh(u64),
}

/// Seals own frames and opens those of others, with keys derived once and kept.
///
/// The cipher belongs to the join, not to a media session: counters and replay windows go on when the relay changes.
#[derive(Debug)]
pub struct FrameCipher<K> {
    keys: K,
    own: Option<OwnKey>,
    /// Keys that sealed before, with where their counters stand: a counter never starts again under the same key.
    retired: Vec<OwnKey>,
    peers: HashMap<KeyId, PeerKey>,
    /// Of the keys when `peers` was last compared with them.
    revision: u64,
    /// Of the keys when `own` was last compared with them: a key id comes again, with another key, after 256 epochs or four
    /// generations.
    own_revision: u64,
}

#[derive(Debug)]
struct OwnKey {
    key_id: KeyId,
    base_key: BaseKey,
    sframe: SframeKey,
    counter: u64,
}

#[derive(Debug)]
struct PeerKey {
    base_key: BaseKey,
    sframe: SframeKey,
    window: ReplayWindow,
}

impl<K: BaseKeys> FrameCipher<K> {
    /// A cipher that has sealed and opened nothing.
    pub fn new(keys: K) -> Self {
        Self {
            keys,
            own: None,
            retired: Vec::new(),
            peers: HashMap::new(),
            revision: 0,
            own_revision: 0,
        }
    }

    /// Where the base keys come from.
    pub fn keys(&self) -> &K {
        &self.keys
    }

    /// The same, to tell it of members who came or went.
    pub fn keys_mut(&mut self) -> &mut K {
        &mut self.keys
    }

    /// Appends the SFrame of `plaintext` to `out`.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let key_id = self.keys.sealing().ok_or(SealError::NoKey)?;
        let revision = self.keys.revision();
        if self.own_revision != revision || self.own.as_ref().is_none_or(|own| own.key_id != key_id)
        {
            self.change_own_key(key_id)?;
            self.own_revision = revision;
        }
        let own = self.own.as_mut().ok_or(SealError::NoKey)?;
        if own.counter >= COUNTER_LIMIT {
            return Err(SealError::Exhausted);
        }
        own.sframe.seal(own.counter, &[], plaintext, out);
        own.counter += 1;
        Ok(())
    }

    /// Appends the plaintext of `sframe` to `out` and says under which key it came; on error `out` is as it was.
    ///
    /// The key id's leaf is who speaks. A frame opens once.
    pub fn open(&mut self, sframe: &[u8], out: &mut Vec<u8>) -> Result<KeyId, OpenError> {
        let (header, header_len) = SframeHeader::parse(sframe)?;
        let key_id = header.key_id;
        if header.counter >= COUNTER_LIMIT {
            return Err(OpenError::CounterTooHigh(header.counter));
        }
        if self.keys.is_own(key_id) {
            return Err(OpenError::OwnLeaf);
        }
        self.drop_old_keys();
        let PeerKey {
            sframe: key,
            window,
            ..
        } = match self.peers.entry(key_id) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let base_key = self.keys.base_key(key_id);
                let base_key = base_key.ok_or(OpenError::UnknownKey(key_id))?;
                entry.insert(PeerKey {
                    sframe: SframeKey::derive(&base_key, key_id),
                    base_key,
                    window: ReplayWindow::new(),
                })
            }
        };
        window.admit(header.counter, || {
            key.open(header, header_len, &[], sframe, out)
                .map_err(|_| OpenError::NotAuthentic)
        })?;
        Ok(key_id)
    }

    /// Drops the keys that are not those of their key id any more, with their replay windows.
    fn drop_old_keys(&mut self) {
        let revision = self.keys.revision();
        if revision != self.revision {
            self.revision = revision;
            let keys = &self.keys;
            self.peers
                .retain(|key_id, peer| keys.base_key(*key_id).as_ref() == Some(&peer.base_key));
        }
    }

    /// Seals under `key_id` from now on, at the counter where its key stood if it has sealed before.
    fn change_own_key(&mut self, key_id: KeyId) -> Result<(), SealError> {
        let base_key = self.keys.base_key(key_id).ok_or(SealError::NoKey)?;
        let known = |key: &OwnKey| key.key_id == key_id && key.base_key == base_key;
        if self.own.as_ref().is_some_and(known) {
            return Ok(());
        }
        let next = match self.retired.iter().position(known) {
            Some(at) => self.retired.remove(at),
            None => OwnKey {
                key_id,
                sframe: SframeKey::derive(&base_key, key_id),
                base_key,
                counter: 0,
            },
        };
        if let Some(before) = self.own.replace(next) {
            if self.retired.len() == REMEMBERED_KEYS {
                self.retired.remove(0);
            }
            self.retired.push(before);
        }
        Ok(())
    }
}
