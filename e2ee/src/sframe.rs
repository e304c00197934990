//! A key of SFrame (RFC 9605), cipher suite 0x0004: AES-128-GCM with SHA-256 and 16-byte tags.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use confab_protocol::media::{KeyId, SframeHeader};
use zeroize::Zeroizing;

use crate::hkdf::OutputLen;
use crate::keys::BaseKey;

/// AES_128_GCM_SHA256_128 in the registry of RFC 9605 §8.1.
pub const CIPHER_SUITE: u16 = 0x0004;

/// Bytes of the AEAD's tag.
pub const AEAD_TAG_LEN: usize = 16;

/// Bytes that sealing adds to a plaintext, at most.
pub const MAX_OVERHEAD: usize = SframeHeader::MAX_LEN + AEAD_TAG_LEN;

const KEY_LEN: usize = 16;
const KEY_LABEL: &[u8] = b"SFrame 1.0 Secret key ";
const SALT_LABEL: &[u8] = b"SFrame 1.0 Secret salt ";

/// The AEAD says that somebody without the key made or changed this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frame is not authentic")]
pub struct NotAuthentic;

/// Seals and opens the frames of one key id. Derived once, then cached: deriving costs more than a frame.
pub struct SframeKey {
    key_id: KeyId,
    aead: LessSafeKey,
    salt: Zeroizing<[u8; NONCE_LEN]>,
}

impl SframeKey {
    /// Derives key and salt (RFC 9605 §4.4.2).
    pub fn derive(base_key: &BaseKey, key_id: KeyId) -> Self {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(base_key.reveal());
        let kid = key_id.to_u64().to_be_bytes();
        let suite = CIPHER_SUITE.to_be_bytes();
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let mut salt = Zeroizing::new([0; NONCE_LEN]);
        expand(&secret, &[KEY_LABEL, &kid, &suite], key.as_mut());
        expand(&secret, &[SALT_LABEL, &kid, &suite], salt.as_mut());
        let unbound = UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("a key of 16 bytes");
        Self {
            key_id,
            aead: LessSafeKey::new(unbound),
            salt,
        }
    }

    /// Appends `header · ciphertext · tag` to `out`. A counter must never be used twice.
    ///
    /// `metadata` is authenticated with the frame and has to be the same when it is opened; Confab's frames have none.
    pub fn seal(&self, counter: u64, metadata: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
        let header = SframeHeader {
            key_id: self.key_id,
            counter,
        };
        let mut head = [0; SframeHeader::MAX_LEN];
        let head_len = header.write(&mut head);
        let head = &head[..head_len];
        out.extend_from_slice(head);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = with_aad(head, metadata, |aad| {
            self.aead
                .seal_in_place_separate_tag(self.nonce(counter), Aad::from(aad), &mut out[start..])
                .expect("a frame is far shorter than AES-GCM's limit")
        });
        out.extend_from_slice(tag.as_ref());
    }

    /// Appends the plaintext of `sframe` to `out`, or leaves `out` as it was.
    ///
    /// `header` and `header_len` are what [`SframeHeader::parse`] gave for `sframe`.
    pub fn open(
        &self,
        header: SframeHeader,
        header_len: usize,
        metadata: &[u8],
        sframe: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        let (head, sealed) = sframe.split_at_checked(header_len).ok_or(NotAuthentic)?;
        let start = out.len();
        out.extend_from_slice(sealed);
        let opened = with_aad(head, metadata, |aad| {
            self.aead
                .open_in_place(
                    self.nonce(header.counter),
                    Aad::from(aad),
                    &mut out[start..],
                )
                .map(|plaintext| plaintext.len())
        });
        match opened {
            Ok(len) => {
                out.truncate(start + len);
                Ok(())
            }
            Err(_) => {
                out.truncate(start);
                Err(NotAuthentic)
            }
        }
    }

    /// The salt, with the counter over its last 8 bytes (RFC 9605 §4.4.3).
    fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = *self.salt;
        for (byte, counter) in nonce[NONCE_LEN - 8..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= counter;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl std::fmt::Debug for SframeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SframeKey({:?})", self.key_id)
    }
}

/// Header, then metadata: the AEAD wants them in one piece. Without metadata nothing is copied.
fn with_aad<R>(head: &[u8], metadata: &[u8], f: impl FnOnce(&[u8]) -> R) -> R {
    if metadata.is_empty() {
        f(head)
    } else {
        f(&[head, metadata].concat())
    }
}

fn expand(secret: &hkdf::Prk, info: &[&[u8]], out: &mut [u8]) {
    secret
        .expand(info, OutputLen(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("HKDF gives a few bytes of any secret");
}
