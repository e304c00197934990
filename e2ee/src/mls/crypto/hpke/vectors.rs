//! `protocol/vectors/mls_hpke.json` says what HPKE with X-Wing gives, for other implementations of the suite 0x004F.
//!
//! After a change: `CONFAB_WRITE_VECTORS=1 cargo test -p confab-e2ee --lib key_pairs_encapsulations`, and look at the difference.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use data_encoding::HEXLOWER as HEX;
use ml_kem::ml_kem_768::EncapsulationKey;
use serde_json::{Value, json};
use tls_codec::{Serialize, VLBytes};

use super::{AEAD_ID, Hpke, KDF_ID, KeySchedule};
use crate::mls::Suite;
use crate::mls::crypto::aead;
use crate::mls::crypto::kem::Kem;
use crate::mls::crypto::{x25519, xwing};

/// Bytes of ML-KEM's key in a public key of X-Wing.
const ML_KEM_PUBLIC_KEY_LEN: usize = 1184;

/// Bytes of ML-KEM's message in an encapsulation's eseed; the ephemeral X25519 private key follows.
const ML_KEM_MESSAGE_LEN: usize = 32;

#[test]
fn key_pairs_encapsulations_and_ciphertexts_from_seeds() {
    // MLS derives from 32 bytes (RFC 9420 §7.4), but keying material may have any length.
    let recipients = [counting(0, 32), counting(100, 80)].map(Recipient::derive);
    let label = "UpdatePathNode";
    let context = counting(200, 48);
    let mut encrypted = recipients[0].seal(
        &counting(64, 64),
        &encrypt_context(label, &context),
        b"",
        &counting(7, 32),
    );
    encrypted["label"] = label.into();
    encrypted["context"] = HEX.encode(&context).into();
    let sealed: Vec<_> = recipients
        .iter()
        .map(|recipient| {
            let eseed = counting(16, 64);
            recipient.seal(&eseed, b"information", b"additional data", b"a plaintext")
        })
        .collect();
    let vectors = json!({
        "cipher_suite": Suite::PostQuantum.number(),
        "kem": Kem::XWing.id(),
        "kdf": KDF_ID,
        "aead": AEAD_ID,
        "key_pairs": recipients.each_ref().map(Recipient::to_json),
        "sealed": sealed,
        "encrypt_with_label": encrypted,
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/mls_hpke.json");
    let text = format!("{vectors:#}\n");
    if std::env::var_os("CONFAB_WRITE_VECTORS").is_some() {
        std::fs::write(file, text).unwrap();
        return;
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), text);
}

/// A key pair, and what it is derived from.
struct Recipient {
    ikm: Vec<u8>,
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Recipient {
    fn derive(ikm: Vec<u8>) -> Self {
        let (private, public) = Hpke::new(Kem::XWing).derive_key_pair(&ikm).unwrap();
        Self {
            ikm,
            private: private.to_vec(),
            public,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "ikm": HEX.encode(&self.ikm),
            "private": HEX.encode(&self.private),
            "public": HEX.encode(&self.public),
        })
    }

    /// `SealBase` with the encapsulation's eseed given, step by step; `OpenBase` as it is must open it.
    fn seal(&self, eseed: &[u8], info: &[u8], aad: &[u8], plaintext: &[u8]) -> Value {
        let (message, ephemeral) = eseed.split_at(ML_KEM_MESSAGE_LEN);
        let (ml_kem, x25519) = self.public.split_at(ML_KEM_PUBLIC_KEY_LEN);
        let ml_kem = EncapsulationKey::new(&ml_kem.try_into().unwrap()).unwrap();
        let ml_kem = ml_kem.encapsulate_deterministic(&message.try_into().unwrap());
        let ephemeral = x25519::parse_private(ephemeral).unwrap();
        let ephemeral = x25519::KeyPair::new(&ephemeral).unwrap();
        let x25519 = x25519.try_into().unwrap();
        let (secret, enc) =
            xwing::encapsulate_from(&ml_kem.0, &ml_kem.1, &ephemeral, x25519).unwrap();
        let keys = KeySchedule::new(Kem::XWing, &secret, info);
        let (key, nonce) = (keys.key(), keys.nonce());
        let sealed = aead::seal(key.as_ref(), nonce.as_ref(), aad, plaintext).unwrap();
        let hpke = Hpke::new(Kem::XWing);
        let opened = hpke.open(&enc, &self.private, info, aad, &sealed);
        assert_eq!(opened.as_deref(), Ok(plaintext));
        json!({
            "public": HEX.encode(&self.public),
            "eseed": HEX.encode(eseed),
            "enc": HEX.encode(&enc),
            "shared_secret": HEX.encode(secret.as_ref()),
            "info": HEX.encode(info),
            "key": HEX.encode(key.as_ref()),
            "base_nonce": HEX.encode(nonce.as_ref()),
            "aad": HEX.encode(aad),
            "plaintext": HEX.encode(plaintext),
            "ciphertext": HEX.encode(&sealed),
        })
    }
}

/// `EncryptContext` of RFC 9420 §5.1.3.
fn encrypt_context(label: &str, context: &[u8]) -> Vec<u8> {
    let labeled = format!("MLS 1.0 {label}");
    [labeled.as_bytes(), context]
        .map(|part| VLBytes::from(part).tls_serialize_detached().unwrap())
        .concat()
}

/// Bytes that count up from `first`.
fn counting(first: u8, len: usize) -> Vec<u8> {
    (0..len).map(|n| first.wrapping_add(n as u8)).collect()
}
