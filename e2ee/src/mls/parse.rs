//! MLS messages as bytes (RFC 9420 §6), by kind. `None` if the bytes are not a message of that kind.

use openmls::messages::group_info::VerifiableGroupInfo;
use openmls::prelude::tls_codec::Deserialize;
use openmls::prelude::{
    KeyPackageIn, MlsMessageBodyIn, MlsMessageIn, PrivateMessageIn, PublicMessageIn, RatchetTreeIn,
    Welcome,
};

/// A message that members and the delivery service read: handshakes are public.
pub(super) fn public_message(bytes: &[u8]) -> Option<PublicMessageIn> {
    match read(bytes)? {
        MlsMessageBodyIn::PublicMessage(message) => Some(message),
        _ => None,
    }
}

/// A message for members alone: texts.
pub(super) fn private_message(bytes: &[u8]) -> Option<PrivateMessageIn> {
    match read(bytes)? {
        MlsMessageBodyIn::PrivateMessage(message) => Some(message),
        _ => None,
    }
}

pub(super) fn welcome(bytes: &[u8]) -> Option<Welcome> {
    match read(bytes)? {
        MlsMessageBodyIn::Welcome(welcome) => Some(welcome),
        _ => None,
    }
}

pub(super) fn group_info(bytes: &[u8]) -> Option<VerifiableGroupInfo> {
    match read(bytes)? {
        MlsMessageBodyIn::GroupInfo(info) => Some(info),
        _ => None,
    }
}

pub(super) fn key_package(bytes: &[u8]) -> Option<KeyPackageIn> {
    match read(bytes)? {
        MlsMessageBodyIn::KeyPackage(key_package) => Some(key_package),
        _ => None,
    }
}

/// A ratchet tree (RFC 9420 §12.4.3.3), which is no message of its own.
pub(super) fn ratchet_tree(bytes: &[u8]) -> Option<RatchetTreeIn> {
    RatchetTreeIn::tls_deserialize_exact(bytes).ok()
}

fn read(bytes: &[u8]) -> Option<MlsMessageBodyIn> {
    let message = MlsMessageIn::tls_deserialize_exact(bytes).ok()?;
    Some(message.extract())
}
