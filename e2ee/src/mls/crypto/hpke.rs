//! HPKE in base mode (RFC 9180 §5.1.1), single-shot (§6), with HKDF-SHA256 and AES-128-GCM.

#[cfg(test)]
mod vectors;

use openmls_traits::types::CryptoError;
use zeroize::Zeroizing;

use super::aead;
use super::kdf::{HASH_LEN, LabeledKdf, Secret};
use super::kem::Kem;

/// `mode_base` of RFC 9180 §5.
const MODE_BASE: u8 = 0x00;
/// HKDF-SHA256 and AES-128-GCM in the registries of RFC 9180 §7.2 and §7.3.
const KDF_ID: u16 = 0x0001;
const AEAD_ID: u16 = 0x0001;

const NONCE_LEN: usize = 12;
const CONTEXT_LEN: usize = 1 + 2 * HASH_LEN;

/// HPKE with one KEM.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hpke {
    kem: Kem,
}

impl Hpke {
    pub(super) const fn new(kem: Kem) -> Self {
        Self { kem }
    }

    /// `DeriveKeyPair` of the KEM: the private key and the public key.
    pub(super) fn derive_key_pair(self, ikm: &[u8]) -> Result<(Secret, Vec<u8>), CryptoError> {
        self.kem.derive_key_pair(ikm)
    }

    /// `SealBase` of RFC 9180 §6.1: the KEM's output, and the ciphertext with its tag.
    ///
    /// [`CryptoError::InvalidPublicKey`] for a key that can't be encapsulated to.
    pub(super) fn seal(
        self,
        public_key: &[u8],
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        let (secret, enc) = self.kem.encapsulate(public_key)?;
        let keys = KeySchedule::new(self.kem, &secret, info);
        let sealed = aead::seal(keys.key().as_ref(), keys.nonce().as_ref(), aad, plaintext)?;
        Ok((enc, sealed))
    }

    /// `OpenBase` of RFC 9180 §6.1. [`CryptoError::HpkeDecryptionError`] whatever is wrong.
    pub(super) fn open(
        self,
        enc: &[u8],
        private_key: &[u8],
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.kem
            .decapsulate(enc, private_key)
            .and_then(|secret| {
                let keys = KeySchedule::new(self.kem, &secret, info);
                aead::open(keys.key().as_ref(), keys.nonce().as_ref(), aad, sealed)
            })
            .map_err(|_| CryptoError::HpkeDecryptionError)
    }

    /// `SendExportBase` of RFC 9180 §6.2: the KEM's output, and the secret of `len` bytes.
    ///
    /// Errors are those of [`Self::seal`], and [`CryptoError::ExporterError`] for a `len` over 8160.
    pub(super) fn send_export(
        self,
        public_key: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        let (secret, enc) = self.kem.encapsulate(public_key)?;
        let exported = KeySchedule::new(self.kem, &secret, info).export(context, len)?;
        Ok((enc, exported))
    }

    /// `ReceiveExportBase` of RFC 9180 §6.2.
    ///
    /// [`CryptoError::ReceiverSetupError`] for an `enc` or a key that is no such thing, and
    /// [`CryptoError::ExporterError`] for a `len` over 8160.
    pub(super) fn receive_export(
        self,
        enc: &[u8],
        private_key: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<Vec<u8>, CryptoError> {
        let secret = self.kem.decapsulate(enc, private_key);
        let secret = secret.map_err(|_| CryptoError::ReceiverSetupError)?;
        KeySchedule::new(self.kem, &secret, info).export(context, len)
    }
}

/// `KeySchedule` of RFC 9180 §5.1 without a PSK. A single shot needs either key and nonce or the exporter's secret, so each
/// is derived when it is asked for.
struct KeySchedule {
    suite_id: [u8; 10],
    secret: Secret,
    context: [u8; CONTEXT_LEN],
}

impl KeySchedule {
    fn new(kem: Kem, shared_secret: &Secret, info: &[u8]) -> Self {
        let mut suite_id = *b"HPKE......";
        suite_id[4..6].copy_from_slice(&kem.id().to_be_bytes());
        suite_id[6..8].copy_from_slice(&KDF_ID.to_be_bytes());
        suite_id[8..].copy_from_slice(&AEAD_ID.to_be_bytes());
        let kdf = LabeledKdf {
            suite_id: &suite_id,
        };
        let mut context = [MODE_BASE; CONTEXT_LEN];
        let (psk_id_hash, info_hash) = context[1..].split_at_mut(HASH_LEN);
        psk_id_hash.copy_from_slice(kdf.extract(&[], b"psk_id_hash", &[]).as_ref());
        info_hash.copy_from_slice(kdf.extract(&[], b"info_hash", info).as_ref());
        Self {
            secret: kdf.extract(shared_secret.as_ref(), b"secret", &[]),
            suite_id,
            context,
        }
    }

    fn key(&self) -> Zeroizing<[u8; aead::KEY_LEN]> {
        self.kdf().expand_array(&self.secret, b"key", &self.context)
    }

    /// The base nonce, which is that of the first message, and there is no other.
    fn nonce(&self) -> Zeroizing<[u8; NONCE_LEN]> {
        self.kdf()
            .expand_array(&self.secret, b"base_nonce", &self.context)
    }

    fn exporter_secret(&self) -> Secret {
        self.kdf().expand_array(&self.secret, b"exp", &self.context)
    }

    /// `Context.Export` of RFC 9180 §5.3.
    fn export(&self, context: &[u8], len: usize) -> Result<Vec<u8>, CryptoError> {
        let mut exported = vec![0; len];
        self.kdf()
            .expand(&self.exporter_secret(), b"sec", context, &mut exported)
            .map_err(|_| CryptoError::ExporterError)?;
        Ok(exported)
    }

    fn kdf(&self) -> LabeledKdf<'_> {
        LabeledKdf {
            suite_id: &self.suite_id,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use data_encoding::HEXLOWER as HEX;
    use serde_json::Value;

    use super::*;
    use crate::mls::crypto::{dhkem, x25519};

    fn bytes(vector: &Value, name: &str) -> Vec<u8> {
        HEX.decode(vector[name].as_str().unwrap().as_bytes())
            .unwrap()
    }

    /// RFC 9180, appendix A.1.1: every value of it.
    #[test]
    fn all_values_are_those_of_rfc_9180() {
        let file = include_str!("../../../tests/vectors/hpke_rfc9180.json");
        let vector: Value = serde_json::from_str(file).unwrap();
        let value = |name: &str| bytes(&vector, name);
        let hpke = Hpke::new(Kem::X25519);
        let (ephemeral, ephemeral_public) = hpke.derive_key_pair(&value("ikmE")).unwrap();
        assert_eq!(ephemeral.as_ref(), value("skEm").as_slice());
        assert_eq!(ephemeral_public, value("pkEm"));
        let (private, public) = hpke.derive_key_pair(&value("ikmR")).unwrap();
        assert_eq!(private.as_ref(), value("skRm").as_slice());
        assert_eq!(public, value("pkRm"));

        let ephemeral = x25519::KeyPair::new(&ephemeral).unwrap();
        let public: [u8; 32] = public.try_into().unwrap();
        let (secret, enc) = dhkem::encapsulate_from(&ephemeral, &public).unwrap();
        assert_eq!(enc, value("enc"));
        assert_eq!(secret.as_ref(), value("shared_secret").as_slice());
        let opened = Kem::X25519.decapsulate(&enc, private.as_ref());
        assert_eq!(opened.unwrap(), secret);

        let info = value("info");
        let keys = KeySchedule::new(Kem::X25519, &secret, &info);
        assert_eq!(keys.context.as_slice(), value("key_schedule_context"));
        assert_eq!(keys.secret.as_ref(), value("secret").as_slice());
        assert_eq!(keys.key().as_ref(), value("key").as_slice());
        assert_eq!(keys.nonce().as_ref(), value("base_nonce").as_slice());
        let exporter_secret = keys.exporter_secret();
        assert_eq!(
            exporter_secret.as_ref(),
            value("exporter_secret").as_slice()
        );

        let encryptions = vector["encryptions"].as_array().unwrap();
        assert_eq!(encryptions.len(), 6);
        for encryption in encryptions {
            let value = |name: &str| bytes(encryption, name);
            let sealed = aead::seal(
                keys.key().as_ref(),
                &value("nonce"),
                &value("aad"),
                &value("pt"),
            );
            assert_eq!(sealed.unwrap(), value("ct"));
        }
        let first = &encryptions[0];
        let (aad, sealed) = (bytes(first, "aad"), bytes(first, "ct"));
        let opened = hpke.open(&enc, private.as_ref(), &info, &aad, &sealed);
        assert_eq!(opened.unwrap(), bytes(first, "pt"));

        let exports = vector["exports"].as_array().unwrap();
        assert_eq!(exports.len(), 3);
        for export in exports {
            let context = bytes(export, "exporter_context");
            let len = export["L"].as_u64().unwrap() as usize;
            let exported = hpke.receive_export(&enc, private.as_ref(), &info, &context, len);
            assert_eq!(exported.unwrap(), bytes(export, "exported_value"));
        }
    }

    #[test]
    fn no_more_is_exported_than_hkdf_gives() {
        let hpke = Hpke::new(Kem::X25519);
        let (_, public) = hpke.derive_key_pair(&[7; 32]).unwrap();
        let export = |len| {
            let exported = hpke.send_export(&public, &[], &[], len);
            exported.map(|(_, secret)| secret.len())
        };
        assert_eq!(export(255 * HASH_LEN), Ok(255 * HASH_LEN));
        assert_eq!(export(255 * HASH_LEN + 1), Err(CryptoError::ExporterError));
        assert_eq!(export(1 << 16), Err(CryptoError::ExporterError));
    }
}
