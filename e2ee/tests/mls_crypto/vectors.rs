//! Vectors of other implementations.

use confab_e2ee::mls::{Crypto, SUITES, check_hpke_key};
use openmls::prelude::{Ciphersuite, HashType, HpkeCiphertext, SignatureScheme};
use openmls_traits::crypto::OpenMlsCrypto;
use serde_json::Value;
use tls_codec::{Serialize, VLBytes};

use crate::{bytes, parse};

const SHA256: HashType = HashType::Sha2_256;
const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// A string with its length in front, as MLS writes it (RFC 9420 §2.1.2).
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    VLBytes::from(bytes).tls_serialize_detached().unwrap()
}

fn labeled(vector: &Value, prefix: &str) -> Vec<u8> {
    let label = vector["label"].as_str().unwrap();
    prefixed(format!("{prefix}{label}").as_bytes())
}

/// `ExpandWithLabel` of RFC 9420 §8.
fn expand_with_label(vector: &Value, context: &[u8], len: u16) -> Vec<u8> {
    let info = [
        len.to_be_bytes().as_slice(),
        &labeled(vector, "MLS 1.0 "),
        &prefixed(context),
    ]
    .concat();
    let secret = bytes(vector, "secret");
    let expanded = Crypto.hkdf_expand(SHA256, &secret, &info, len.into());
    expanded.unwrap().as_slice().to_vec()
}

/// RFC 9420 §5.1.2, §5.1.3, §5.2, §8 and §9.
#[test]
fn the_basics_of_mls_are_those_of_other_implementations() {
    let file = parse(include_str!("../vectors/mls_crypto_basics.json"));
    let vector = &file["ref_hash"];
    let input = [labeled(vector, ""), prefixed(&bytes(vector, "value"))].concat();
    assert_eq!(Crypto.hash(SHA256, &input).unwrap(), bytes(vector, "out"));

    let vector = &file["expand_with_label"];
    let len = vector["length"].as_u64().unwrap() as u16;
    let expanded = expand_with_label(vector, &bytes(vector, "context"), len);
    assert_eq!(expanded, bytes(vector, "out"));

    let vector = &file["derive_secret"];
    let expanded = expand_with_label(vector, &[], 32);
    assert_eq!(expanded, bytes(vector, "out"));

    let vector = &file["derive_tree_secret"];
    let generation = vector["generation"].as_u64().unwrap() as u32;
    let expanded = expand_with_label(vector, &generation.to_be_bytes(), 32);
    assert_eq!(expanded, bytes(vector, "out"));

    let vector = &file["sign_with_label"];
    let content = [
        labeled(vector, "MLS 1.0 "),
        prefixed(&bytes(vector, "content")),
    ]
    .concat();
    let (public, signature) = (bytes(vector, "pub"), bytes(vector, "signature"));
    let scheme = SignatureScheme::ED25519;
    let signed = Crypto.sign(scheme, &content, &bytes(vector, "priv"));
    assert_eq!(signed.unwrap(), signature);
    let verified = Crypto.verify_signature(scheme, &content, &public, &signature);
    assert_eq!(verified, Ok(()));

    let vector = &file["encrypt_with_label"];
    let info = [
        labeled(vector, "MLS 1.0 "),
        prefixed(&bytes(vector, "context")),
    ]
    .concat();
    let sealed = HpkeCiphertext {
        kem_output: bytes(vector, "kem_output").into(),
        ciphertext: bytes(vector, "ciphertext").into(),
    };
    let private = bytes(vector, "priv");
    let opened = Crypto.hpke_open(SUITE.hpke_config(), &sealed, &private, &info, &[]);
    assert_eq!(opened.unwrap(), bytes(vector, "plaintext"));
}

/// What the providers of openmls derived, sealed and exported, in both suites.
#[test]
fn key_pairs_ciphertexts_and_exports_are_those_of_the_providers_of_openmls() {
    let file = parse(include_str!("../vectors/hpke_interop.json"));
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 12);
    for vector in vectors {
        let value = |name: &str| bytes(vector, name);
        let suite = vector["suite"].as_u64().unwrap();
        let suite = SUITES.into_iter().find(|known| *known as u64 == suite);
        let suite = suite.unwrap();
        let config = || suite.hpke_config();
        let pair = Crypto.derive_hpke_keypair(config(), &value("ikm")).unwrap();
        assert_eq!(*pair.private, value("private"), "{}", vector["provider"]);
        assert_eq!(pair.public, value("public"), "{}", vector["provider"]);
        assert_eq!(check_hpke_key(suite, &pair.public), Ok(()));

        let sealed = HpkeCiphertext {
            kem_output: value("enc").into(),
            ciphertext: value("ciphertext").into(),
        };
        let (info, aad) = (value("info"), value("aad"));
        let opened = Crypto.hpke_open(config(), &sealed, &pair.private, &info, &aad);
        assert_eq!(opened.unwrap(), value("plaintext"));

        let (enc, context) = (value("export_enc"), value("export_context"));
        let exported = Crypto.hpke_setup_receiver_and_export(
            config(),
            &enc,
            &pair.private,
            &info,
            &context,
            32,
        );
        assert_eq!(*exported.unwrap(), value("exported"));
    }
}
