//! `protocol/vectors/mls_member.json` says what a member gets from the delivery service and what follows from it, for other
//! implementations of the suite 0x004F. It has the member's private keys.
//!
//! After a change: `CONFAB_WRITE_VECTORS=1 cargo test -p confab-e2ee --lib member::vectors`. It records another run, with new
//! keys; the names of the fields are to stay.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod record;
mod replay;

use std::path::Path;

use data_encoding::HEXLOWER as HEX;
use openmls::prelude::KeyPackage;
use serde_json::{Value, json};

use super::reserve::Reserve;
use super::{Member, MemberConfig, texts};
use crate::mls::messages::FromMember;
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;

const SUITE: Suite = Suite::PostQuantum;

#[test]
fn a_member_with_the_keys_of_the_vectors_goes_through_their_epochs() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/mls_member.json");
    if std::env::var_os("CONFAB_WRITE_VECTORS").is_some() {
        std::fs::write(&file, format!("{:#}\n", record::record())).unwrap();
    }
    let vectors = std::fs::read_to_string(file).unwrap();
    replay::replay(&serde_json::from_str(&vectors).unwrap());
}

/// A member whose only key package is this one; `provider` has its private keys.
fn member_with(
    config: MemberConfig,
    provider: Provider,
    leaf_key: SigningKey,
    key_package: KeyPackage,
) -> Member {
    let mut member = Member::new(config);
    member.provider = provider;
    member.reserve = Reserve::default();
    member.messages.clear();
    let key_package = member
        .reserve
        .keep(&member.provider, SUITE, leaf_key, key_package);
    member.messages.push_back(FromMember::KeyPackage {
        suite: SUITE,
        key_package,
    });
    member
}

/// Everything that all members of an epoch agree on.
fn state(member: &Member) -> Value {
    let group = member.group.as_ref().unwrap();
    let leaves = member.leaves().map(|(leaf, credential)| {
        json!({
            "leaf": leaf,
            "account": HEX.encode(credential.account.as_bytes()),
            "username": credential.username.as_str(),
            "device_key": HEX.encode(&credential.device.0),
        })
    });
    json!({
        "epoch": group.epoch(),
        "epoch_authenticator": HEX.encode(group.epoch_authenticator()),
        "base_key": HEX.encode(group.base_key(&member.provider).reveal()),
        "code": group.code().to_string(),
        "leaves": leaves.collect::<Vec<_>>(),
    })
}

/// Opens a text, before it is shown: its sender, its plaintext, and what the plaintext says.
fn open_text(member: &mut Member, message: &[u8]) -> Value {
    let group = member.group.as_mut().unwrap();
    let (leaf, plaintext) = group.open_text(&member.provider, message).unwrap();
    let (id, text) = texts::unpad(&plaintext).unwrap();
    json!({
        "message": HEX.encode(message),
        "leaf": leaf,
        "plaintext": HEX.encode(&plaintext),
        "id": HEX.encode(&id),
        "text": text,
    })
}
