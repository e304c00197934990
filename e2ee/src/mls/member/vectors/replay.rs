//! Takes a member through the vectors.

use std::sync::Arc;
use std::time::Instant;

use confab_protocol::control::{AccountId, ConferenceId};
use confab_protocol::media::{KeyId, SframeHeader};
use data_encoding::HEXLOWER as HEX;
use openmls::prelude::{KeyPackage, KeyPackageBundle};
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::StorageProvider;
use serde_json::{Value, json};

use super::{SUITE, member_with, open_text, state};
use crate::FrameCipher;
use crate::mls::group_name::GroupName;
use crate::mls::identity::{DeviceKey, ServerId, Subject};
use crate::mls::member::{Member, MemberConfig, MemberEvent};
use crate::mls::messages::{AcceptedCommit, ToMember};
use crate::mls::profile::{self, LeafOwner};
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;

/// Panics at the first value that is not what this code gives.
pub(super) fn replay(vectors: &Value) {
    let now = Instant::now();
    assert_eq!(vectors["cipher_suite"], SUITE.number());
    let group = GroupName::from_bytes(&bytes(vectors, "group_id")).unwrap();
    let mut cipher = FrameCipher::new(recorded_member(vectors));
    let joined = &vectors["joined"];
    let welcome = ToMember::Welcome {
        group,
        epoch: joined["state"]["epoch"].as_u64().unwrap(),
        welcome: bytes(joined, "welcome").into(),
        tree: bytes(joined, "ratchet_tree").into(),
    };
    handle(&mut cipher, now, welcome);
    check(&mut cipher, now, group, joined);
    let epochs = list(vectors, "epochs");
    assert_eq!(epochs.len(), 2);
    for epoch in epochs {
        let proposals = list(epoch, "proposals").iter().map(|one| hex(one).into());
        let commit = AcceptedCommit {
            group,
            epoch: cipher.keys().epoch().unwrap(),
            proposals: proposals.collect(),
            commit: bytes(epoch, "commit").into(),
        };
        handle(&mut cipher, now, ToMember::Commit(Arc::new(commit)));
        check(&mut cipher, now, group, epoch);
    }
}

/// The member of the vectors, with its key package and nothing else.
fn recorded_member(vectors: &Value) -> Member {
    let own = &vectors["member"];
    let device = DeviceKey::from_seed(&array(own, "device_priv"));
    let leaf_key = SigningKey::from_seed(&array(own, "signature_priv"));
    let subject = Subject {
        server: ServerId(array(vectors, "server")),
        account: AccountId::new(array(own, "account")),
        username: own["username"].as_str().unwrap().parse().unwrap(),
        conference: ConferenceId::new(array(vectors, "conference")),
    };
    let owner = LeafOwner {
        server: subject.server,
        conference: subject.conference,
    };
    let provider = Provider::new();
    let (key_package, credential) =
        profile::read_key_package(&provider, &bytes(own, "key_package"), SUITE, owner).unwrap();
    let leaf_public = key_package.leaf_node().signature_key();
    assert_eq!(leaf_public.as_slice(), leaf_key.public());
    store_private_keys(&provider, own, &key_package);
    let config = MemberConfig::new(device, subject, array(vectors, "delivery_key"));
    let member = member_with(config, provider, leaf_key, key_package);
    // Ed25519 has one signature of a message, so that the credential's is known.
    let leaf_key = SigningKey::from_seed(&array(own, "signature_priv"));
    assert_eq!(member.credential(SUITE, &leaf_key), credential);
    member
}

/// `openmls` takes no private keys from outside, so its own type is read from its parts.
fn store_private_keys(provider: &Provider, own: &Value, key_package: &KeyPackage) {
    let private = |name: &str| json!({ "vec": bytes(own, name) });
    let bundle = json!({
        "key_package": key_package,
        "private_init_key": private("init_priv"),
        "private_encryption_key": { "key": private("encryption_priv") },
    });
    let bundle: KeyPackageBundle = serde_json::from_value(bundle).unwrap();
    let reference = key_package.hash_ref(provider.crypto()).unwrap();
    let written = provider.storage().write_key_package(&reference, &bundle);
    written.unwrap();
}

fn handle(cipher: &mut FrameCipher<Member>, now: Instant, message: ToMember) {
    let member = cipher.keys_mut();
    member.handle(now, message);
    while let Some(event) = member.poll_event() {
        assert!(!matches!(event, MemberEvent::Refused(_)), "{event:?}");
    }
}

/// Holds an epoch, its texts and its frames against what the vectors say.
fn check(cipher: &mut FrameCipher<Member>, now: Instant, group: GroupName, expected: &Value) {
    assert_eq!(state(cipher.keys()), expected["state"]);
    for text in list(expected, "texts") {
        assert_eq!(open_text(cipher.keys_mut(), &bytes(text, "message")), *text);
    }
    let activate = ToMember::Activate {
        group,
        epoch: cipher.keys().epoch().unwrap(),
        absent: Arc::new([]),
    };
    handle(cipher, now, activate);
    for frame in list(expected, "frames") {
        check_frame(cipher, frame);
    }
}

/// Seals a frame of the member's own leaf, opens another one.
fn check_frame(cipher: &mut FrameCipher<Member>, frame: &Value) {
    let (sframe, plaintext) = (bytes(frame, "sframe"), bytes(frame, "plaintext"));
    let number = |name: &str| frame[name].as_u64().unwrap();
    let key_id = KeyId::new(
        number("leaf") as u32,
        number("generation") as u8,
        number("epoch") as u8,
    );
    let counter = number("counter");
    let (header, _) = SframeHeader::parse(&sframe).unwrap();
    assert_eq!(header, SframeHeader { key_id, counter });
    let mut out = Vec::new();
    if frame["is_own"].as_bool().unwrap() {
        cipher.seal(&plaintext, &mut out).unwrap();
        assert_eq!(out, sframe);
    } else {
        assert_eq!(cipher.open(&sframe, &mut out), Ok(key_id));
        assert_eq!(out, plaintext);
    }
}

fn list<'a>(vector: &'a Value, name: &str) -> &'a [Value] {
    let list = vector[name].as_array();
    list.unwrap_or_else(|| panic!("no list {name}"))
}

fn array<const N: usize>(vector: &Value, name: &str) -> [u8; N] {
    bytes(vector, name).try_into().unwrap()
}

fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    hex(&vector[name])
}

fn hex(value: &Value) -> Vec<u8> {
    HEX.decode(value.as_str().unwrap().as_bytes()).unwrap()
}
