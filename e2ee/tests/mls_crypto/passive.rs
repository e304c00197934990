//! A member that joins by other implementations' Welcomes and follows their commits, on our provider and storage.

use confab_e2ee::mls::{Crypto, Provider};
use openmls::prelude::*;
use openmls::schedule::PreSharedKeyId;
use openmls_traits::storage::StorageProvider as _;
use serde_json::{Value, json};
use tls_codec::Deserialize as _;

use crate::{bytes, parse};

/// The authenticator of an epoch (RFC 9420 §8.7) shows that all of its secrets are the same.
#[test]
fn the_epochs_of_other_implementations_have_the_same_authenticators() {
    let file = parse(include_str!("../vectors/mls_passive_client.json"));
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let provider = Provider::new();
        for psk in vector["external_psks"].as_array().unwrap() {
            let id = PreSharedKeyId::external(bytes(psk, "psk_id"), Vec::new());
            id.store(&provider, &bytes(psk, "psk")).unwrap();
        }
        store_key_package(&provider, vector);
        let mut group = join(&provider, vector);
        assert_authenticator(&group, &vector["initial_epoch_authenticator"]);
        for epoch in vector["epochs"].as_array().unwrap() {
            for proposal in epoch["proposals"].as_array().unwrap() {
                let processed = process(&mut group, &provider, proposal);
                let ProcessedMessageContent::ProposalMessage(proposal) = processed else {
                    panic!("not a proposal");
                };
                let stored = group.store_pending_proposal(provider.storage(), *proposal);
                stored.unwrap();
            }
            let processed = process(&mut group, &provider, &epoch["commit"]);
            let ProcessedMessageContent::StagedCommitMessage(commit) = processed else {
                panic!("not a commit");
            };
            group.merge_staged_commit(&provider, *commit).unwrap();
            assert_authenticator(&group, &epoch["epoch_authenticator"]);
        }
    }
}

/// `openmls` takes neither private keys from outside nor a key package that has expired, so its own type is read from its parts.
fn store_key_package(provider: &Provider, vector: &Value) {
    let MlsMessageBodyIn::KeyPackage(key_package) = message(&vector["key_package"]).extract()
    else {
        panic!("not a key package");
    };
    let private = |name: &str| json!({ "vec": bytes(vector, name) });
    let bundle = json!({
        "key_package": key_package,
        "private_init_key": private("init_priv"),
        "private_encryption_key": { "key": private("encryption_priv") },
    });
    let bundle: KeyPackageBundle = serde_json::from_value(bundle).unwrap();
    let reference = bundle.key_package().hash_ref(&Crypto).unwrap();
    let written = provider.storage().write_key_package(&reference, &bundle);
    written.unwrap();
}

fn join(provider: &Provider, vector: &Value) -> MlsGroup {
    let MlsMessageBodyIn::Welcome(welcome) = message(&vector["welcome"]).extract() else {
        panic!("not a Welcome");
    };
    let config = MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .number_of_resumption_psks(16)
        .build();
    let joining = StagedWelcome::build_from_welcome(provider, &config, welcome).unwrap();
    let joining = match vector["ratchet_tree"].is_null() {
        true => joining,
        false => {
            let tree = bytes(vector, "ratchet_tree");
            joining.with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact(tree).unwrap())
        }
    };
    let staged = joining.skip_lifetime_validation().build().unwrap();
    staged.into_group(provider).unwrap()
}

fn process(group: &mut MlsGroup, provider: &Provider, bytes: &Value) -> ProcessedMessageContent {
    let message = message(bytes).try_into_protocol_message().unwrap();
    let processed = group.process_message(provider, message);
    processed.unwrap().into_content()
}

fn message(hex: &Value) -> MlsMessageIn {
    let bytes = data_encoding::HEXLOWER.decode(hex.as_str().unwrap().as_bytes());
    MlsMessageIn::tls_deserialize_exact(bytes.unwrap()).unwrap()
}

fn assert_authenticator(group: &MlsGroup, hex: &Value) {
    let authenticator = data_encoding::HEXLOWER.encode(group.epoch_authenticator().as_slice());
    assert_eq!(authenticator, hex.as_str().unwrap());
}
