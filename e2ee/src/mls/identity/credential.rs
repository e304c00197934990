//! The credential in a leaf.
//!
//! It is an MLS basic credential (RFC 9420 §5.3) whose identity is, with integers in big-endian:
//!
//! ```text
//! version (1) = 1 · server (16) · account (16) · username: length (1), UTF-8 ·
//! device key (32) · device signature (64) · endorsements: count (1), each key (32), signature (64)
//! ```

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use confab_protocol::control::{AccountId, ConferenceId, Username};

use super::{DeviceKey, DevicePublicKey, NotHexadecimal, ServerId, hexadecimal};
use crate::mls::signing::{PUBLIC_KEY_LEN, SIGNATURE_LEN, is_signed_by};
use crate::mls::suite::Suite;

/// Most endorsements of a credential.
pub const MAX_ENDORSEMENTS: usize = 4;

const VERSION: u8 = 1;
const LEAF_LABEL: &[u8] = b"Confab 1.0 leaf key";
const ENDORSEMENT_LABEL: &[u8] = b"Confab 1.0 endorsed device";

/// Whose credential it is, and for which leaf key: the device signs all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The server where the account is.
    pub server: ServerId,
    /// The account.
    pub account: AccountId,
    /// The account's name, as it is shown to others.
    pub username: Username,
    /// The conference whose group the leaf is in.
    pub conference: ConferenceId,
}

/// Why a credential is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It does not have its form, or one of a later version.
    #[error("the credential is malformed, or of a later version")]
    Malformed,
    /// It names another server.
    #[error("the credential is of another server")]
    OtherServer,
    /// The device did not sign this leaf key, for this account, name, conference and suite.
    #[error("the device's signature of the leaf key is wrong")]
    WrongSignature,
    /// An endorsement is not signed by the device that it names.
    #[error("an endorsement's signature is wrong")]
    WrongEndorsement,
}

/// A device says that another device belongs to the same account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endorsement {
    /// The older device.
    pub by: DevicePublicKey,
    signature: [u8; SIGNATURE_LEN],
}

/// The identity in a leaf's credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// The server where the account is.
    pub server: ServerId,
    /// The account.
    pub account: AccountId,
    /// The account's name.
    pub username: Username,
    /// The device.
    pub device: DevicePublicKey,
    signature: [u8; SIGNATURE_LEN],
    endorsements: Vec<Endorsement>,
}

impl Endorsement {
    /// Its length in bytes.
    pub const LEN: usize = PUBLIC_KEY_LEN + SIGNATURE_LEN;

    /// `by` says that `device` belongs to `account` at `server`.
    pub fn sign(
        by: &DeviceKey,
        server: ServerId,
        account: AccountId,
        device: DevicePublicKey,
    ) -> Self {
        Self {
            by: by.public(),
            signature: by.0.sign(&endorsed(server, account, device)),
        }
    }

    /// True if [`by`](Self::by) has signed that `device` belongs to `account` at `server`.
    pub fn is_valid(&self, server: ServerId, account: AccountId, device: DevicePublicKey) -> bool {
        let message = endorsed(server, account, device);
        is_signed_by(&self.by.0, &message, &self.signature)
    }

    /// The older device's key and its signature.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (by, signature) = bytes.split_at_mut(PUBLIC_KEY_LEN);
        by.copy_from_slice(&self.by.0);
        signature.copy_from_slice(&self.signature);
        bytes
    }

    /// Reads an endorsement. Its signature is for [`is_valid`](Self::is_valid).
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (mut by, mut signature) = ([0; PUBLIC_KEY_LEN], [0; SIGNATURE_LEN]);
        by.copy_from_slice(&bytes[..PUBLIC_KEY_LEN]);
        signature.copy_from_slice(&bytes[PUBLIC_KEY_LEN..]);
        Self {
            by: DevicePublicKey(by),
            signature,
        }
    }
}

/// 192 hexadecimal digits.
impl Display for Endorsement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        hexadecimal::write(&self.to_bytes(), f)
    }
}

impl FromStr for Endorsement {
    type Err = NotHexadecimal;

    fn from_str(text: &str) -> Result<Self, NotHexadecimal> {
        hexadecimal::read(text).map(|bytes| Self::from_bytes(&bytes))
    }
}

impl Credential {
    /// The credential of `subject` for a leaf with the public key `leaf_key`, signed by `device`.
    ///
    /// Only the first [`MAX_ENDORSEMENTS`] endorsements are taken.
    pub fn sign(
        device: &DeviceKey,
        subject: &Subject,
        suite: Suite,
        leaf_key: &[u8; PUBLIC_KEY_LEN],
        endorsements: &[Endorsement],
    ) -> Self {
        Self {
            server: subject.server,
            account: subject.account,
            username: subject.username.clone(),
            device: device.public(),
            signature: device.0.sign(&signed(subject, suite, leaf_key)),
            endorsements: endorsements
                .iter()
                .take(MAX_ENDORSEMENTS)
                .copied()
                .collect(),
        }
    }

    /// Checks what the device and its endorsers signed, for a leaf with the public key `leaf_key`.
    pub fn verify(
        &self,
        server: ServerId,
        conference: ConferenceId,
        suite: Suite,
        leaf_key: &[u8],
    ) -> Result<(), CredentialError> {
        if self.server != server {
            return Err(CredentialError::OtherServer);
        }
        let leaf_key = leaf_key
            .try_into()
            .map_err(|_| CredentialError::WrongSignature)?;
        let subject = Subject {
            server,
            account: self.account,
            username: self.username.clone(),
            conference,
        };
        if !is_signed_by(
            &self.device.0,
            &signed(&subject, suite, leaf_key),
            &self.signature,
        ) {
            return Err(CredentialError::WrongSignature);
        }
        let is_valid = |one: &Endorsement| one.is_valid(server, self.account, self.device);
        let all = self.endorsements.iter().all(is_valid);
        all.then_some(()).ok_or(CredentialError::WrongEndorsement)
    }

    /// The devices of the same account that vouch for this one; [`verify`](Self::verify) has checked their signatures.
    pub fn endorsers(&self) -> impl Iterator<Item = DevicePublicKey> + '_ {
        self.endorsements.iter().map(|one| one.by)
    }

    /// The identity of the MLS basic credential.
    pub fn to_bytes(&self) -> Vec<u8> {
        let name = self.username.as_str().as_bytes();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.server.0);
        bytes.extend_from_slice(self.account.as_bytes());
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(&self.device.0);
        bytes.extend_from_slice(&self.signature);
        bytes.push(self.endorsements.len() as u8);
        for one in &self.endorsements {
            bytes.extend_from_slice(&one.to_bytes());
        }
        bytes
    }

    /// Reads the identity of an MLS basic credential. Signatures are for [`verify`](Self::verify).
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialError> {
        read(bytes).ok_or(CredentialError::Malformed)
    }
}

fn read(bytes: &[u8]) -> Option<Credential> {
    let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else {
        return None;
    };
    let (server, rest) = rest.split_first_chunk::<16>()?;
    let (account, rest) = rest.split_first_chunk::<16>()?;
    let (&[length], rest) = rest.split_first_chunk::<1>()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let text = std::str::from_utf8(name).ok()?;
    let username: Username = text.parse().ok()?;
    // One name has one form: what is folded when it is read was not written by a client of ours.
    if username.as_str() != text {
        return None;
    }
    let (device, rest) = rest.split_first_chunk::<PUBLIC_KEY_LEN>()?;
    let (signature, rest) = rest.split_first_chunk::<SIGNATURE_LEN>()?;
    let (&[count], mut rest) = rest.split_first_chunk::<1>()?;
    if usize::from(count) > MAX_ENDORSEMENTS {
        return None;
    }
    let mut endorsements = Vec::new();
    for _ in 0..count {
        let (one, after) = rest.split_first_chunk::<{ Endorsement::LEN }>()?;
        endorsements.push(Endorsement::from_bytes(one));
        rest = after;
    }
    rest.is_empty().then_some(Credential {
        server: ServerId(*server),
        account: AccountId::new(*account),
        username,
        device: DevicePublicKey(*device),
        signature: *signature,
        endorsements,
    })
}

/// What a device signs for a leaf. Each part has one length, or says it.
fn signed(subject: &Subject, suite: Suite, leaf_key: &[u8; PUBLIC_KEY_LEN]) -> Vec<u8> {
    let name = subject.username.as_str().as_bytes();
    let mut message = LEAF_LABEL.to_vec();
    message.extend_from_slice(&subject.server.0);
    message.extend_from_slice(subject.account.as_bytes());
    message.push(name.len() as u8);
    message.extend_from_slice(name);
    message.extend_from_slice(subject.conference.as_bytes());
    message.extend_from_slice(&suite.number().to_be_bytes());
    message.extend_from_slice(leaf_key);
    message
}

fn endorsed(server: ServerId, account: AccountId, device: DevicePublicKey) -> Vec<u8> {
    let mut message = ENDORSEMENT_LABEL.to_vec();
    message.extend_from_slice(&server.0);
    message.extend_from_slice(account.as_bytes());
    message.extend_from_slice(&device.0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mls::signing::SigningKey;

    fn subject() -> Subject {
        Subject {
            server: ServerId([1; 16]),
            account: AccountId::new([2; 16]),
            username: "anna".parse().unwrap(),
            conference: ConferenceId::new([3; 16]),
        }
    }

    fn verify(
        credential: &Credential,
        subject: &Subject,
        suite: Suite,
        leaf: &SigningKey,
    ) -> Result<(), CredentialError> {
        credential.verify(subject.server, subject.conference, suite, leaf.public())
    }

    #[test]
    fn a_credential_is_read_as_it_was_written_and_verifies() {
        let (device, older, leaf) = (
            DeviceKey::generate(),
            DeviceKey::generate(),
            SigningKey::generate(),
        );
        let endorsement =
            Endorsement::sign(&older, subject().server, subject().account, device.public());
        let credential = Credential::sign(
            &device,
            &subject(),
            Suite::PostQuantum,
            leaf.public(),
            &[endorsement],
        );
        let read = Credential::parse(&credential.to_bytes()).unwrap();
        assert_eq!(read, credential);
        assert_eq!(verify(&read, &subject(), Suite::PostQuantum, &leaf), Ok(()));
        assert_eq!(read.endorsers().collect::<Vec<_>>(), [older.public()]);
    }

    #[test]
    fn a_credential_holds_for_one_account_name_conference_suite_and_leaf() {
        let (device, leaf) = (DeviceKey::generate(), SigningKey::generate());
        let credential =
            Credential::sign(&device, &subject(), Suite::PostQuantum, leaf.public(), &[]);
        let wrong = Err(CredentialError::WrongSignature);
        assert_eq!(
            verify(&credential, &subject(), Suite::Classical, &leaf),
            wrong
        );
        assert_eq!(
            verify(
                &credential,
                &subject(),
                Suite::PostQuantum,
                &SigningKey::generate()
            ),
            wrong
        );
        let mut elsewhere = subject();
        elsewhere.conference = ConferenceId::new([9; 16]);
        assert_eq!(
            verify(&credential, &elsewhere, Suite::PostQuantum, &leaf),
            wrong
        );
        elsewhere = subject();
        elsewhere.server = ServerId([9; 16]);
        assert_eq!(
            verify(&credential, &elsewhere, Suite::PostQuantum, &leaf),
            Err(CredentialError::OtherServer)
        );
        let renamed = Credential {
            username: "bert".parse().unwrap(),
            ..credential.clone()
        };
        assert_eq!(
            verify(&renamed, &subject(), Suite::PostQuantum, &leaf),
            wrong
        );
        let other_account = Credential {
            account: AccountId::new([9; 16]),
            ..credential
        };
        assert_eq!(
            verify(&other_account, &subject(), Suite::PostQuantum, &leaf),
            wrong
        );
    }

    #[test]
    fn an_endorsement_of_another_device_is_refused() {
        let (device, older, leaf) = (
            DeviceKey::generate(),
            DeviceKey::generate(),
            SigningKey::generate(),
        );
        let other = Endorsement::sign(
            &older,
            subject().server,
            subject().account,
            DeviceKey::generate().public(),
        );
        let credential = Credential::sign(
            &device,
            &subject(),
            Suite::Classical,
            leaf.public(),
            &[other],
        );
        assert_eq!(
            verify(&credential, &subject(), Suite::Classical, &leaf),
            Err(CredentialError::WrongEndorsement)
        );
    }

    #[test]
    fn a_truncated_or_longer_credential_is_refused() {
        let (device, leaf) = (DeviceKey::generate(), SigningKey::generate());
        let bytes =
            Credential::sign(&device, &subject(), Suite::Classical, leaf.public(), &[]).to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(
                Credential::parse(&bytes[..len]),
                Err(CredentialError::Malformed)
            );
        }
        assert_eq!(
            Credential::parse(&[&bytes[..], &[0]].concat()),
            Err(CredentialError::Malformed)
        );
    }

    #[test]
    fn a_username_in_another_form_is_refused() {
        let (device, leaf) = (DeviceKey::generate(), SigningKey::generate());
        let mut bytes =
            Credential::sign(&device, &subject(), Suite::Classical, leaf.public(), &[]).to_bytes();
        let name = bytes.windows(4).position(|four| four == b"anna").unwrap();
        bytes[name] = b'A';
        assert_eq!(Credential::parse(&bytes), Err(CredentialError::Malformed));
    }
}
