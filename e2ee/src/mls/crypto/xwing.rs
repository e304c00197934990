//! X-Wing: ML-KEM-768 with X25519 (draft-connolly-cfrg-xwing-kem-06).
//!
//! | bytes | |
//! |---|---|
//! | private key, 32 | a seed. SHAKE256 of it gives ML-KEM's `d`, 32 bytes, ML-KEM's `z`, 32, and the X25519 private key, 32 |
//! | public key, 1216 | ML-KEM's encapsulation key, 1184, then the X25519 public key, 32 |
//! | ciphertext, 1120 | ML-KEM's ciphertext, 1088, then the ephemeral X25519 public key, 32 |
//! | shared secret, 32 | SHA3-256 of ML-KEM's secret, the X25519 secret, the ephemeral and the static X25519 public key, and `\.//^\` |
//!
//! In HPKE it is KEM 0x647A, and `DeriveKeyPair(ikm)` takes SHAKE256 of `ikm`, 32 bytes, as the private key: both as in
//! the draft's section on HPKE, and as `hpke-rs` has it, on which the providers of `openmls` stand. Their own type has
//! 0x004D for this KEM, but that number enters no computation. draft-ietf-hpke-pq has the same KEM under the same number,
//! but derives key pairs differently: there SHAKE256 takes `ikm` · `HPKE-v1` · `KEM` 0x647A · the label `DeriveKeyPair`
//! with its length in two bytes · the output's length in two bytes. So key pairs that are derived from one secret differ,
//! which matters to MLS (RFC 9420 §7.4: every member of a subtree derives its node's key pair), while keys that are sent,
//! and everything sealed to them, are the same.
//!
//! Unlike the draft, an X25519 secret of zero is an error on both sides: only a key or ciphertext that was made for it
//! leads there.

use aws_lc_rs::{digest, kem};
use ml_kem::ml_kem_768::DecapsulationKey;
use ml_kem::{KeyExport, Seed};
use openmls_traits::types::CryptoError;
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use zeroize::Zeroizing;

use super::kdf::Secret;
use super::key_error::HpkeKeyError;
use super::x25519::{self, KeyPair};

/// Its number in the registry of HPKE's KEMs: 25519 + 203.
pub(super) const ID: u16 = 0x647a;

const LABEL: &[u8; 6] = br"\.//^\";

const ML_KEM_PUBLIC_KEY_LEN: usize = 1184;
const ML_KEM_CIPHERTEXT_LEN: usize = 1088;
const ML_KEM_SEED_LEN: usize = 64;
/// Bytes of the public key that are coefficients, 12 bits each; the rest is a seed (FIPS 203 §5.1).
const ML_KEM_COEFFICIENTS_LEN: usize = 1152;
/// `q` of FIPS 203 §2.4.
const ML_KEM_MODULUS: u16 = 3329;

const PUBLIC_KEY_LEN: usize = ML_KEM_PUBLIC_KEY_LEN + x25519::KEY_LEN;
const CIPHERTEXT_LEN: usize = ML_KEM_CIPHERTEXT_LEN + x25519::KEY_LEN;

pub(super) fn check_public_key(public_key: &[u8]) -> Result<(), HpkeKeyError> {
    let (ml_kem, x25519) = parse_public(public_key)?;
    if !is_reduced(ml_kem) {
        return Err(HpkeKeyError::NotReduced);
    }
    x25519::check(x25519)
}

/// The private key is SHAKE256 of `ikm`: see the module's comment.
pub(super) fn derive_key_pair(ikm: &[u8]) -> Result<(Secret, Vec<u8>), CryptoError> {
    let mut seed = Secret::default();
    shake256(ikm, seed.as_mut());
    let public = PrivateKey::expand(&seed)?.public();
    Ok((seed, public))
}

pub(super) fn encapsulate(public_key: &[u8]) -> Result<(Secret, Vec<u8>), HpkeKeyError> {
    let (ml_kem, x25519) = parse_public(public_key)?;
    if !is_reduced(ml_kem) {
        return Err(HpkeKeyError::NotReduced);
    }
    let (ciphertext, secret) = kem::EncapsulationKey::new(&kem::ML_KEM_768, ml_kem)
        .map_err(|_| HpkeKeyError::Library)?
        .encapsulate()
        .map_err(|_| HpkeKeyError::Library)?;
    let ephemeral = KeyPair::generate()?;
    encapsulate_from(ciphertext.as_ref(), secret.as_ref(), &ephemeral, x25519)
}

/// An ML-KEM ciphertext that was not made for this key gives a secret that nobody else has, not an error (FIPS 203 §6.3).
pub(super) fn decapsulate(enc: &[u8], private_key: &[u8]) -> Result<Secret, CryptoError> {
    let own = PrivateKey::expand(&x25519::parse_private(private_key)?)?;
    let (ml_kem, ephemeral) = parse(enc, CIPHERTEXT_LEN)?;
    let ml_kem_secret = own.decapsulate_ml_kem(ml_kem)?;
    let agreed = own.x25519.agree(ephemeral)?;
    Ok(combine(
        ml_kem_secret.as_ref(),
        &agreed,
        ephemeral,
        &own.x25519.public,
    ))
}

/// A private key, ready for use.
struct PrivateKey {
    ml_kem: DecapsulationKey,
    x25519: KeyPair,
}

impl PrivateKey {
    /// `expandDecapsulationKey` of the draft's section on key derivation.
    fn expand(seed: &Secret) -> Result<Self, HpkeKeyError> {
        let mut expanded = Zeroizing::new([0; ML_KEM_SEED_LEN + x25519::KEY_LEN]);
        shake256(seed.as_ref(), expanded.as_mut());
        let (ml_kem, x25519) = expanded.split_at(ML_KEM_SEED_LEN);
        let ml_kem = Seed::try_from(ml_kem).expect("the first 64 bytes of 96");
        let mut private = Secret::default();
        private.copy_from_slice(x25519);
        Ok(Self {
            ml_kem: DecapsulationKey::from_seed(ml_kem),
            x25519: KeyPair::new(&private)?,
        })
    }

    /// AWS-LC makes no ML-KEM key from a seed, but it decapsulates several times as fast as `ml-kem`.
    #[expect(deprecated, reason = "AWS-LC takes the expanded form of a key alone")]
    fn decapsulate_ml_kem(&self, ciphertext: &[u8]) -> Result<kem::SharedSecret, HpkeKeyError> {
        use ml_kem::ExpandedKeyEncoding;

        let expanded = Zeroizing::new(self.ml_kem.to_expanded_bytes());
        kem::DecapsulationKey::new(&kem::ML_KEM_768, expanded.as_slice())
            .map_err(|_| HpkeKeyError::Library)?
            .decapsulate(ciphertext.into())
            .map_err(|_| HpkeKeyError::Library)
    }

    fn public(&self) -> Vec<u8> {
        let ml_kem = self.ml_kem.encapsulation_key().to_bytes();
        [ml_kem.as_slice(), &self.x25519.public].concat()
    }
}

/// Completes an encapsulation of ML-KEM.
pub(super) fn encapsulate_from(
    ml_kem_ciphertext: &[u8],
    ml_kem_secret: &[u8],
    ephemeral: &KeyPair,
    x25519: &[u8; x25519::KEY_LEN],
) -> Result<(Secret, Vec<u8>), HpkeKeyError> {
    let agreed = ephemeral.agree(x25519)?;
    let secret = combine(ml_kem_secret, &agreed, &ephemeral.public, x25519);
    Ok((secret, [ml_kem_ciphertext, &ephemeral.public].concat()))
}

/// `Combiner` of the draft's section of that name.
fn combine(
    ml_kem_secret: &[u8],
    agreed: &Secret,
    ephemeral: &[u8; x25519::KEY_LEN],
    x25519: &[u8; x25519::KEY_LEN],
) -> Secret {
    let pieces = [ml_kem_secret, agreed.as_ref(), ephemeral, x25519, LABEL];
    let digest = digest::digest(&digest::SHA3_256, &Zeroizing::new(pieces.concat()));
    let mut secret = Secret::default();
    secret.copy_from_slice(digest.as_ref());
    secret
}

fn shake256(input: &[u8], out: &mut [u8]) {
    let mut shake = Shake256::default();
    shake.update(input);
    shake.finalize_xof().read(out);
}

/// The modulus check of FIPS 203 §7.2. The key is public, so it may take as long as it takes.
fn is_reduced(ml_kem: &[u8]) -> bool {
    let (coefficients, _) = ml_kem.split_at(ML_KEM_COEFFICIENTS_LEN);
    let (pairs, _) = coefficients.as_chunks::<3>();
    pairs.iter().all(|&[low, middle, high]| {
        let first = u16::from(low) | u16::from(middle & 0x0f) << 8;
        let second = u16::from(middle >> 4) | u16::from(high) << 4;
        first < ML_KEM_MODULUS && second < ML_KEM_MODULUS
    })
}

fn parse_public(public_key: &[u8]) -> Result<(&[u8], &[u8; x25519::KEY_LEN]), HpkeKeyError> {
    parse(public_key, PUBLIC_KEY_LEN)
}

/// Bytes of ML-KEM, then 32 bytes of X25519, together `expected`.
fn parse(bytes: &[u8], expected: usize) -> Result<(&[u8], &[u8; x25519::KEY_LEN]), HpkeKeyError> {
    bytes
        .split_last_chunk()
        .filter(|_| bytes.len() == expected)
        .ok_or(HpkeKeyError::Length {
            len: bytes.len(),
            expected,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use data_encoding::HEXLOWER as HEX;

    use super::*;

    /// The draft's test vectors. Encapsulation takes 32 bytes for ML-KEM and then the ephemeral X25519 key from `eseed`.
    #[test]
    fn keys_ciphertexts_and_secrets_are_those_of_the_draft() {
        let file = include_str!("../../../tests/vectors/xwing.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 3);
        for vector in vectors {
            let bytes = |name: &str| {
                HEX.decode(vector[name].as_str().unwrap().as_bytes())
                    .unwrap()
            };
            let (seed, eseed, public) = (bytes("seed"), bytes("eseed"), bytes("pk"));
            let seed = x25519::parse_private(&seed).unwrap();
            assert_eq!(seed.as_ref(), bytes("sk").as_slice());
            let own = PrivateKey::expand(&seed).unwrap();
            assert_eq!(own.public(), public);
            check_public_key(&public).unwrap();

            let (ml_kem, ephemeral) = eseed.split_at(32);
            let key = own.ml_kem.encapsulation_key();
            let ml_kem = key.encapsulate_deterministic(&ml_kem.try_into().unwrap());
            let ephemeral = KeyPair::new(&x25519::parse_private(ephemeral).unwrap()).unwrap();
            let (_, x25519) = parse_public(&public).unwrap();
            let (secret, ciphertext) =
                encapsulate_from(&ml_kem.0, &ml_kem.1, &ephemeral, x25519).unwrap();
            assert_eq!(ciphertext, bytes("ct"));
            assert_eq!(secret.as_ref(), bytes("ss").as_slice());
            assert_eq!(decapsulate(&ciphertext, seed.as_ref()).unwrap(), secret);
        }
    }

    #[test]
    fn a_key_whose_coefficients_are_not_reduced_is_refused() {
        let (_, good) = derive_key_pair(b"some keying material").unwrap();
        // 3329 as the first and as the second of two coefficients; 3328 is the largest that may be.
        for (place, coefficient, expected) in [
            (0, [0x01, 0x0d, 0x00], Err(HpkeKeyError::NotReduced)),
            (1149, [0x00, 0x10, 0xd0], Err(HpkeKeyError::NotReduced)),
            (0, [0xff, 0xff, 0xff], Err(HpkeKeyError::NotReduced)),
            (0, [0x00, 0x0d, 0x00], Ok(())),
            (1149, [0x00, 0x00, 0xd0], Ok(())),
        ] {
            let mut key = good.clone();
            key[place..place + 3].copy_from_slice(&coefficient);
            assert_eq!(check_public_key(&key), expected, "{coefficient:x?}");
            assert_eq!(encapsulate(&key).map(drop), expected, "{coefficient:x?}");
        }
    }

    #[test]
    fn a_point_of_low_order_is_refused_as_key_and_as_ephemeral_key() {
        let (private, good) = derive_key_pair(b"some keying material").unwrap();
        let (_, mut ciphertext) = encapsulate(&good).unwrap();
        let mut key = good;
        key[ML_KEM_PUBLIC_KEY_LEN..].fill(0);
        assert_eq!(check_public_key(&key), Err(HpkeKeyError::LowOrder));
        assert_eq!(encapsulate(&key).map(drop), Err(HpkeKeyError::LowOrder));
        ciphertext[ML_KEM_CIPHERTEXT_LEN..].fill(0);
        assert_eq!(
            decapsulate(&ciphertext, private.as_ref()),
            Err(CryptoError::InvalidPublicKey)
        );
    }

    #[test]
    fn another_ml_kem_ciphertext_gives_another_secret() {
        let (private, public) = derive_key_pair(b"some keying material").unwrap();
        let (secret, mut ciphertext) = encapsulate(&public).unwrap();
        assert_eq!(decapsulate(&ciphertext, private.as_ref()).unwrap(), secret);
        ciphertext[0] ^= 1;
        assert_ne!(decapsulate(&ciphertext, private.as_ref()).unwrap(), secret);
    }
}
