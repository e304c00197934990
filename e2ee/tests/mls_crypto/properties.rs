//! What holds for all inputs.

use confab_e2ee::mls::{Crypto, SUITES, check_hpke_key};
use openmls::prelude::{AeadType, Ciphersuite, CryptoError, HpkeCiphertext, SignatureScheme};
use openmls_traits::crypto::OpenMlsCrypto;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn suites() -> impl Strategy<Value = Ciphersuite> {
    select(SUITES.to_vec())
}

/// Bytes of any length up to `max`.
fn any_bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn flip(bytes: &mut [u8], bit: Index) {
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Bytes of a public key, of a private key and of the KEM's output.
fn lengths(suite: Ciphersuite) -> (usize, usize, usize) {
    match suite {
        Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519 => (1216, 32, 1120),
        _ => (32, 32, 32),
    }
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_no_bit_of_it_can_change(
        suite in suites(),
        ikm in any_bytes(64),
        (info, aad, plaintext) in (any_bytes(64), any_bytes(64), any_bytes(256)),
        bit in any::<Index>(),
    ) {
        let config = || suite.hpke_config();
        let pair = Crypto.derive_hpke_keypair(config(), &ikm).unwrap();
        let (public_len, private_len, enc_len) = lengths(suite);
        prop_assert_eq!((pair.public.len(), pair.private.len()), (public_len, private_len));
        prop_assert_eq!(check_hpke_key(suite, &pair.public), Ok(()));
        let sealed = Crypto.hpke_seal(config(), &pair.public, &info, &aad, &plaintext).unwrap();
        prop_assert_eq!(sealed.kem_output.as_slice().len(), enc_len);
        prop_assert_eq!(sealed.ciphertext.as_slice().len(), plaintext.len() + 16);
        let open = |sealed: &HpkeCiphertext, info: &[u8], aad: &[u8]| {
            Crypto.hpke_open(config(), sealed, &pair.private, info, aad)
        };
        prop_assert_eq!(open(&sealed, &info, &aad), Ok(plaintext));

        let refused = Err(CryptoError::HpkeDecryptionError);
        let mut other = [sealed.kem_output.as_slice(), sealed.ciphertext.as_slice()].concat();
        flip(&mut other, bit);
        // X25519 ignores the highest bit of a public key (RFC 7748 §5). DHKEM binds it all the same (RFC 9180 §4.1), and so
        // does X-Wing: every bit counts.
        let (kem_output, ciphertext) = other.split_at(enc_len);
        let other = HpkeCiphertext { kem_output: kem_output.into(), ciphertext: ciphertext.into() };
        prop_assert_eq!(open(&other, &info, &aad), refused.clone());
        prop_assert_eq!(open(&sealed, &[info.as_slice(), &[0]].concat(), &aad), refused.clone());
        prop_assert_eq!(open(&sealed, &info, &[aad.as_slice(), &[0]].concat()), refused);
    }

    #[test]
    fn both_sides_export_the_same(
        suite in suites(),
        ikm in any_bytes(64),
        (info, context) in (any_bytes(64), any_bytes(64)),
        len in 0_usize..300,
    ) {
        let config = || suite.hpke_config();
        let pair = Crypto.derive_hpke_keypair(config(), &ikm).unwrap();
        let (enc, sent) =
            Crypto.hpke_setup_sender_and_export(config(), &pair.public, &info, &context, len).unwrap();
        let received =
            Crypto.hpke_setup_receiver_and_export(config(), &enc, &pair.private, &info, &context, len);
        prop_assert_eq!(sent.len(), len);
        prop_assert_eq!(&*received.unwrap(), &*sent);
    }

    #[test]
    fn foreign_bytes_are_errors_and_no_panics(
        suite in suites(),
        (key, enc, sealed) in (any_bytes(1300), any_bytes(1300), any_bytes(100)),
        exact in any::<bool>(),
    ) {
        let config = || suite.hpke_config();
        let (public_len, private_len, enc_len) = lengths(suite);
        let fit = |bytes: &[u8], len: usize| {
            let mut bytes = bytes.to_vec();
            if exact {
                bytes.resize(len, 0x55);
            }
            bytes
        };
        let (public, enc) = (fit(&key, public_len), fit(&enc, enc_len));
        let checked = check_hpke_key(suite, &public);
        let sealed_to = Crypto.hpke_seal(config(), &public, &[], &[], &[]);
        let exported_to = Crypto.hpke_setup_sender_and_export(config(), &public, &[], &[], 32);
        prop_assert_eq!(sealed_to.is_ok(), checked.is_ok());
        prop_assert_eq!(exported_to.is_ok(), checked.is_ok());
        if checked.is_err() {
            prop_assert_eq!(sealed_to, Err(CryptoError::InvalidPublicKey));
        }
        let private = fit(&key, private_len);
        let foreign = HpkeCiphertext { kem_output: enc.clone().into(), ciphertext: sealed.into() };
        let opened = Crypto.hpke_open(config(), &foreign, &private, &[], &[]);
        prop_assert_eq!(opened, Err(CryptoError::HpkeDecryptionError));
        let exported = Crypto.hpke_setup_receiver_and_export(config(), &enc, &private, &[], &[], 32);
        if (private.len(), enc.len()) != (private_len, enc_len) {
            prop_assert_eq!(exported.map(drop), Err(CryptoError::ReceiverSetupError));
        }
    }

    #[test]
    fn no_bit_of_what_aes_gcm_sealed_can_change(
        (key, nonce) in (any::<[u8; 16]>(), any::<[u8; 12]>()),
        (aad, plaintext) in (any_bytes(64), any_bytes(256)),
        bit in any::<Index>(),
    ) {
        let aead = AeadType::Aes128Gcm;
        let mut sealed = Crypto.aead_encrypt(aead, &key, &plaintext, &nonce, &aad).unwrap();
        prop_assert_eq!(Crypto.aead_decrypt(aead, &key, &sealed, &nonce, &aad), Ok(plaintext));
        flip(&mut sealed, bit);
        let refused = Err(CryptoError::AeadDecryptionError);
        prop_assert_eq!(Crypto.aead_decrypt(aead, &key, &sealed, &nonce, &aad), refused);
    }

    #[test]
    fn no_bit_of_a_signature_can_change_and_foreign_ones_fail(
        message in any_bytes(256),
        bit in any::<Index>(),
        (foreign_key, foreign) in (any_bytes(40), any_bytes(70)),
    ) {
        let scheme = SignatureScheme::ED25519;
        let (private, public) = Crypto.signature_key_gen(scheme).unwrap();
        let mut signature = Crypto.sign(scheme, &message, &private).unwrap();
        prop_assert_eq!(Crypto.verify_signature(scheme, &message, &public, &signature), Ok(()));
        prop_assert!(Crypto.verify_signature(scheme, &message, &foreign_key, &foreign).is_err());
        flip(&mut signature, bit);
        let refused = Err(CryptoError::InvalidSignature);
        prop_assert_eq!(Crypto.verify_signature(scheme, &message, &public, &signature), refused);
    }
}
