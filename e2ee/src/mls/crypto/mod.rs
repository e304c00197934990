//! The primitives of two MLS cipher suites. Most come from AWS-LC; HPKE and X-Wing are put together here.
//!
//! | suite | KEM of HPKE | everything else |
//! |---|---|---|
//! | 0x004F, `MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519` (draft-ietf-mls-pq-ciphersuites) | X-Wing | as below |
//! | 0x0001, `MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519` (RFC 9420 §17.1) | DHKEM(X25519, HKDF-SHA256) | HKDF-SHA256, AES-128-GCM, Ed25519 |
//!
//! Every other algorithm is refused with the error that names it.

mod aead;
mod dhkem;
pub(super) mod ed25519;
mod hpke;
mod kdf;
mod kem;
mod key_error;
mod x25519;
mod xwing;

use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext,
    HpkeConfig, HpkeKdfType, HpkeKemType, HpkeKeyPair, KemOutput, SignatureScheme,
};
use tls_codec::SecretVLBytes;

use hpke::Hpke;
use kem::Kem;
pub use key_error::HpkeKeyError;

/// The cipher suites that [`Crypto`] has, the preferred one first.
pub const SUITES: [Ciphersuite; 2] = [
    Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519,
    Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
];

/// Says whether `public_key`, an init key or a leaf's encryption key, can be encapsulated to in `suite`.
///
/// `openmls` does not look into these keys: one that fails here makes every commit that has to seal to it fail.
pub fn check_hpke_key(suite: Ciphersuite, public_key: &[u8]) -> Result<(), HpkeKeyError> {
    let kem = kem_of(suite.hpke_kem_algorithm()).filter(|_| SUITES.contains(&suite));
    let kem = kem.ok_or(HpkeKeyError::UnsupportedSuite(suite))?;
    kem.check_public_key(public_key)
}

/// The primitives. It has no state: random bytes come from AWS-LC's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct Crypto;

impl OpenMlsCrypto for Crypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        SUITES
            .contains(&ciphersuite)
            .then_some(())
            .ok_or(CryptoError::UnsupportedCiphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        SUITES.to_vec()
    }

    fn hkdf_extract(
        &self,
        hash_type: HashType,
        salt: &[u8],
        ikm: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        sha256_only(hash_type)?;
        Ok(kdf::extract(salt, ikm).as_slice().into())
    }

    fn hmac(
        &self,
        hash_type: HashType,
        key: &[u8],
        message: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        sha256_only(hash_type)?;
        // HKDF-Extract is HMAC with the salt as its key (RFC 5869 §2.2).
        Ok(kdf::extract(key, message).as_slice().into())
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        sha256_only(hash_type)?;
        let mut okm = vec![0; okm_len];
        kdf::expand(prk, &[info], &mut okm)?;
        Ok(SecretVLBytes::new(okm))
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        sha256_only(hash_type)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
        Ok(digest.as_ref().to_vec())
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        aes_128_gcm_only(alg)?;
        aead::seal(key, nonce, aad, data)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        aes_128_gcm_only(alg)?;
        aead::open(key, nonce, aad, ct_tag)
    }

    /// The private key, a seed of 32 bytes (RFC 8032 §5.1.5), and the public key, 32 bytes.
    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        ed25519_only(alg)?;
        ed25519::generate()
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        ed25519_only(alg)?;
        ed25519::verify(pk, data, signature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        ed25519_only(alg)?;
        ed25519::sign(key, data)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        let (kem_output, ciphertext) = hpke_of(config)?.seal(pk_r, info, aad, ptxt)?;
        Ok(HpkeCiphertext {
            kem_output: kem_output.into(),
            ciphertext: ciphertext.into(),
        })
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let (enc, ciphertext) = (input.kem_output.as_slice(), input.ciphertext.as_slice());
        hpke_of(config)?.open(enc, sk_r, info, aad, ciphertext)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        let hpke = hpke_of(config)?;
        let (enc, secret) = hpke.send_export(pk_r, info, exporter_context, exporter_length)?;
        Ok((enc, secret.into()))
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        sk_r: &[u8],
        info: &[u8],
        exporter_context: &[u8],
        exporter_length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        let hpke = hpke_of(config)?;
        let secret = hpke.receive_export(enc, sk_r, info, exporter_context, exporter_length)?;
        Ok(secret.into())
    }

    fn derive_hpke_keypair(
        &self,
        config: HpkeConfig,
        ikm: &[u8],
    ) -> Result<HpkeKeyPair, CryptoError> {
        let (private, public) = hpke_of(config)?.derive_key_pair(ikm)?;
        Ok(HpkeKeyPair {
            private: private.as_slice().into(),
            public,
        })
    }
}

impl OpenMlsRand for Crypto {
    type Error = CryptoError;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], CryptoError> {
        let mut bytes = [0; N];
        random(&mut bytes)?;
        Ok(bytes)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, CryptoError> {
        let mut bytes = vec![0; len];
        random(&mut bytes)?;
        Ok(bytes)
    }
}

fn random(bytes: &mut [u8]) -> Result<(), CryptoError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| CryptoError::InsufficientRandomness)
}

fn sha256_only(hash: HashType) -> Result<(), CryptoError> {
    match hash {
        HashType::Sha2_256 => Ok(()),
        _ => Err(CryptoError::UnsupportedHashAlgorithm),
    }
}

fn aes_128_gcm_only(aead: AeadType) -> Result<(), CryptoError> {
    match aead {
        AeadType::Aes128Gcm => Ok(()),
        _ => Err(CryptoError::UnsupportedAeadAlgorithm),
    }
}

fn ed25519_only(scheme: SignatureScheme) -> Result<(), CryptoError> {
    match scheme {
        SignatureScheme::ED25519 => Ok(()),
        _ => Err(CryptoError::UnsupportedSignatureScheme),
    }
}

fn kem_of(kem: HpkeKemType) -> Option<Kem> {
    match kem {
        HpkeKemType::DhKem25519 => Some(Kem::X25519),
        HpkeKemType::XWingKemDraft6 => Some(Kem::XWing),
        _ => None,
    }
}

fn hpke_of(HpkeConfig(kem, kdf, aead): HpkeConfig) -> Result<Hpke, CryptoError> {
    if kdf != HpkeKdfType::HkdfSha256 {
        return Err(CryptoError::UnsupportedKdf);
    }
    if aead != HpkeAeadType::AesGcm128 {
        return Err(CryptoError::UnsupportedAeadAlgorithm);
    }
    let kem = kem_of(kem).ok_or(CryptoError::UnsupportedCiphersuite)?;
    Ok(Hpke::new(kem))
}
