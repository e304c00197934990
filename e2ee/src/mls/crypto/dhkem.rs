//! DHKEM(X25519, HKDF-SHA256) of RFC 9180 §4.1.

use openmls_traits::types::CryptoError;

use super::kdf::{LabeledKdf, Secret};
use super::key_error::HpkeKeyError;
use super::x25519::{self, KEY_LEN, KeyPair};

/// Its number in the registry of RFC 9180 §7.1.
pub(super) const ID: u16 = 0x0020;

const KDF: LabeledKdf<'_> = LabeledKdf {
    suite_id: b"KEM\x00\x20",
};

pub(super) fn check_public_key(public_key: &[u8]) -> Result<(), HpkeKeyError> {
    x25519::check(parse_public(public_key)?)
}

/// `DeriveKeyPair` of RFC 9180 §7.1.3.
pub(super) fn derive_key_pair(ikm: &[u8]) -> Result<(Secret, Vec<u8>), CryptoError> {
    let prk = KDF.extract(&[], b"dkp_prk", ikm);
    let private = KDF.expand_array(&prk, b"sk", &[]);
    let public = KeyPair::new(&private)?.public.to_vec();
    Ok((private, public))
}

pub(super) fn encapsulate(public_key: &[u8]) -> Result<(Secret, Vec<u8>), HpkeKeyError> {
    let public_key = parse_public(public_key)?;
    encapsulate_from(&KeyPair::generate()?, public_key)
}

pub(super) fn decapsulate(enc: &[u8], private_key: &[u8]) -> Result<Secret, CryptoError> {
    let own = KeyPair::new(&x25519::parse_private(private_key)?)?;
    let enc = parse_public(enc)?;
    let agreed = own.agree(enc)?;
    Ok(shared_secret(&agreed, enc, &own.public))
}

/// `Encap` of RFC 9180 §4.1 with the ephemeral key given.
pub(super) fn encapsulate_from(
    ephemeral: &KeyPair,
    public_key: &[u8; KEY_LEN],
) -> Result<(Secret, Vec<u8>), HpkeKeyError> {
    let agreed = ephemeral.agree(public_key)?;
    let secret = shared_secret(&agreed, &ephemeral.public, public_key);
    Ok((secret, ephemeral.public.to_vec()))
}

/// `ExtractAndExpand` of RFC 9180 §4.1.
fn shared_secret(agreed: &Secret, enc: &[u8; KEY_LEN], public_key: &[u8; KEY_LEN]) -> Secret {
    let prk = KDF.extract(&[], b"eae_prk", agreed.as_ref());
    KDF.expand_array(&prk, b"shared_secret", &[*enc, *public_key].concat())
}

fn parse_public(public_key: &[u8]) -> Result<&[u8; KEY_LEN], HpkeKeyError> {
    public_key.try_into().map_err(|_| HpkeKeyError::Length {
        len: public_key.len(),
        expected: KEY_LEN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The points of order 1, 2, 4 and 8 of Curve25519 and of its twist, less those that are the same with other bytes
    /// (<https://cr.yp.to/ecdh.html#validate>).
    const LOW_ORDER: [[u8; KEY_LEN]; 5] = [
        [0; KEY_LEN],
        first(1),
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
            0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd,
            0xd0, 0x9f, 0x11, 0x57,
        ],
        below_the_prime(),
    ];

    const fn first(byte: u8) -> [u8; KEY_LEN] {
        let mut point = [0; KEY_LEN];
        point[0] = byte;
        point
    }

    /// 2^255 - 20.
    const fn below_the_prime() -> [u8; KEY_LEN] {
        let mut point = [0xff; KEY_LEN];
        point[0] = 0xec;
        point[KEY_LEN - 1] = 0x7f;
        point
    }

    #[test]
    fn points_of_low_order_are_refused() {
        let (private, good) = derive_key_pair(b"some keying material").expect("a key pair");
        assert_eq!(check_public_key(&good), Ok(()));
        for point in LOW_ORDER {
            let low_order = Err(HpkeKeyError::LowOrder);
            assert_eq!(check_public_key(&point), low_order, "{point:x?}");
            assert_eq!(encapsulate(&point).map(drop), low_order, "{point:x?}");
            let refused = Err(CryptoError::InvalidPublicKey);
            assert_eq!(decapsulate(&point, private.as_ref()), refused, "{point:x?}");
        }
    }

    #[test]
    fn other_lengths_are_refused() {
        for len in [0, 31, 33, 44] {
            let expected = Err(HpkeKeyError::Length { len, expected: 32 });
            assert_eq!(check_public_key(&vec![9; len]), expected);
            assert_eq!(encapsulate(&vec![9; len]).map(drop), expected);
        }
        let refused = Err(CryptoError::InvalidLength);
        assert_eq!(decapsulate(&[9; 32], &[1; 31]), refused);
    }
}
