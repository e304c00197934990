//! What is not supported, or has the wrong length, is refused by name.

use confab_e2ee::mls::{Crypto, HpkeKeyError, SUITES, check_hpke_key};
use openmls::prelude::{AeadType, Ciphersuite, CryptoError, HashType, SignatureScheme};
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::{HpkeAeadType, HpkeConfig, HpkeKdfType, HpkeKemType};

#[test]
fn there_are_two_suites() {
    assert_eq!(Crypto.supported_ciphersuites(), SUITES);
    assert_eq!(SUITES.map(|suite| suite as u16), [0x004f, 0x0001]);
    for suite in SUITES {
        assert_eq!(Crypto.supports(suite), Ok(()));
    }
    // X-Wing and X25519, but with another AEAD or hash.
    for other in [
        Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
        Ciphersuite::MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519,
        Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256,
    ] {
        let unsupported = Err(CryptoError::UnsupportedCiphersuite);
        assert_eq!(Crypto.supports(other), unsupported);
        let unsupported = Err(HpkeKeyError::UnsupportedSuite(other));
        assert_eq!(check_hpke_key(other, &[9; 32]), unsupported);
    }
}

#[test]
fn other_algorithms_are_refused_by_name() {
    let hash = HashType::Sha2_384;
    let refused = CryptoError::UnsupportedHashAlgorithm;
    assert_eq!(Crypto.hash(hash, &[]), Err(refused));
    assert_eq!(Crypto.hmac(hash, &[], &[]), Err(refused));
    assert_eq!(Crypto.hkdf_extract(hash, &[], &[]), Err(refused));
    assert_eq!(Crypto.hkdf_expand(hash, &[], &[], 1), Err(refused));

    let aead = AeadType::ChaCha20Poly1305;
    let refused = Err(CryptoError::UnsupportedAeadAlgorithm);
    assert_eq!(
        Crypto.aead_encrypt(aead, &[0; 32], &[], &[0; 12], &[]),
        refused
    );
    assert_eq!(
        Crypto.aead_decrypt(aead, &[0; 32], &[], &[0; 12], &[]),
        refused
    );

    let scheme = SignatureScheme::ECDSA_SECP256R1_SHA256;
    let refused = CryptoError::UnsupportedSignatureScheme;
    assert_eq!(Crypto.signature_key_gen(scheme), Err(refused));
    assert_eq!(Crypto.sign(scheme, &[], &[]), Err(refused));
    assert_eq!(Crypto.verify_signature(scheme, &[], &[], &[]), Err(refused));

    let (kem, kdf) = (HpkeKemType::XWingKemDraft6, HpkeKdfType::HkdfSha256);
    let aead = HpkeAeadType::AesGcm128;
    for (config, refused) in [
        (
            HpkeConfig(HpkeKemType::DhKemP256, kdf, aead),
            CryptoError::UnsupportedCiphersuite,
        ),
        (
            HpkeConfig(kem, HpkeKdfType::HkdfSha384, aead),
            CryptoError::UnsupportedKdf,
        ),
        (
            HpkeConfig(kem, kdf, HpkeAeadType::AesGcm256),
            CryptoError::UnsupportedAeadAlgorithm,
        ),
    ] {
        let derived = Crypto.derive_hpke_keypair(config, &[0; 32]);
        assert_eq!(derived.map(drop), Err(refused));
    }
}

#[test]
fn keys_and_nonces_of_other_lengths_are_refused() {
    let aead = AeadType::Aes128Gcm;
    let refused = Err(CryptoError::InvalidLength);
    assert_eq!(
        Crypto.aead_encrypt(aead, &[0; 32], &[], &[0; 12], &[]),
        refused
    );
    assert_eq!(
        Crypto.aead_encrypt(aead, &[0; 16], &[], &[0; 16], &[]),
        refused
    );
    assert_eq!(
        Crypto.aead_decrypt(aead, &[0; 15], &[0; 20], &[0; 12], &[]),
        refused
    );
    let truncated = Crypto.aead_decrypt(aead, &[0; 16], &[0; 15], &[0; 12], &[]);
    assert_eq!(truncated, Err(CryptoError::AeadDecryptionError));

    let long = Crypto.hkdf_expand(HashType::Sha2_256, &[0; 65], &[], 32);
    assert_eq!(long, Err(CryptoError::InvalidLength));
    let long = Crypto.hkdf_expand(HashType::Sha2_256, &[0; 32], &[], 8161);
    assert_eq!(long, Err(CryptoError::HkdfOutputLengthInvalid));

    let scheme = SignatureScheme::ED25519;
    let (private, public) = Crypto.signature_key_gen(scheme).unwrap();
    let signature = Crypto.sign(scheme, b"message", &private).unwrap();
    let verify =
        |key: &[u8], signature: &[u8]| Crypto.verify_signature(scheme, b"message", key, signature);
    assert_eq!(verify(&public, &signature), Ok(()));
    assert_eq!(
        verify(&public, &signature[1..]),
        Err(CryptoError::InvalidSignature)
    );
    assert_eq!(
        verify(&public[1..], &signature),
        Err(CryptoError::InvalidPublicKey)
    );
    // The same key as X.509 writes it (RFC 8410 §4), which AWS-LC would take.
    let x509 = [
        b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
        public.as_slice(),
    ]
    .concat();
    assert_eq!(
        verify(&x509, &signature),
        Err(CryptoError::InvalidPublicKey)
    );
    let long = [private.as_slice(), &public].concat();
    assert_eq!(
        Crypto.sign(scheme, &[], &long),
        Err(CryptoError::InvalidLength)
    );
}
