//! Keys that would stop later commits and Welcomes.

use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::identity::{Credential, DeviceKey};
use confab_e2ee::mls::signing::{SIGNATURE_LEN, SigningKey};
use confab_e2ee::mls::{FromMember, Provider, Suite, ToMember};
use confab_protocol::control::{AccountId, JoinId};
use openmls::prelude::tls_codec::{Deserialize, Serialize};
use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, CredentialType, CredentialWithKey, KeyPackage,
    Lifetime, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
    PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent, ProtocolVersion, RatchetTreeIn,
    StagedWelcome,
};
use openmls_traits::OpenMlsProvider;

use super::hall::{Hall, SECOND, assert_unharmed};
use crate::lab::subject;

/// A key package of the attacker's own making.
pub(super) fn key_package(account: AccountId, leaf_key: &SigningKey) -> Vec<u8> {
    key_package_in(&Provider::new(), account, leaf_key)
}

/// The same, with its private keys in `provider`.
fn key_package_in(provider: &Provider, account: AccountId, leaf_key: &SigningKey) -> Vec<u8> {
    let suite = Ciphersuite::MLS_128_MLKEM768X25519_AES128GCM_SHA256_Ed25519;
    let credential = Credential::sign(
        &DeviceKey::generate(),
        &subject(account),
        Suite::PostQuantum,
        leaf_key.public(),
        &[],
    );
    let capabilities = Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(vec![
            suite,
            Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519,
        ])
        .extensions(Vec::new())
        .proposals(Vec::new())
        .credentials(vec![CredentialType::Basic])
        .build();
    let bundle = KeyPackage::builder()
        .key_package_lifetime(Lifetime::init(0, u64::MAX))
        .leaf_node_capabilities(capabilities)
        .build(
            suite,
            provider,
            leaf_key,
            CredentialWithKey {
                credential: BasicCredential::new(credential.to_bytes()).into(),
                signature_key: leaf_key.public().as_slice().into(),
            },
        )
        .expect("a key package");
    MlsMessageOut::from(bundle.into_key_package())
        .to_bytes()
        .expect("bytes")
}

/// Bytes of an HPKE key of suite 0x004F (1184 of ML-KEM-768, 32 of X25519), and of the length before it.
const KEY_LEN: usize = 1216;
const VECTOR_LEN: usize = 2;
/// In a key package: MLSMessage's header, version, suite.
const INIT_KEY_AT: usize = 8;
const LEAF_AT: usize = INIT_KEY_AT + VECTOR_LEN + KEY_LEN;

fn encryption_key(key_package: &[u8]) -> &[u8] {
    &key_package[LEAF_AT + VECTOR_LEN..][..KEY_LEN]
}

/// Puts somebody else's public key into the leaf, and signs it again.
fn with_encryption_key(mut key_package: Vec<u8>, leaf_key: &SigningKey, key: &[u8]) -> Vec<u8> {
    key_package[LEAF_AT + VECTOR_LEN..][..KEY_LEN].copy_from_slice(key);
    let end = key_package.len();
    // At the end: the leaf's signature, no extensions, the key package's signature.
    let signature_at = end - SIGNATURE_LEN;
    let leaf_signature_at = signature_at - VECTOR_LEN - 1 - SIGNATURE_LEN;
    let leaf = sign(
        leaf_key,
        "LeafNodeTBS",
        &key_package[LEAF_AT..leaf_signature_at - VECTOR_LEN],
    );
    key_package[leaf_signature_at..][..SIGNATURE_LEN].copy_from_slice(&leaf);
    let whole = sign(
        leaf_key,
        "KeyPackageTBS",
        &key_package[4..signature_at - VECTOR_LEN],
    );
    key_package[signature_at..].copy_from_slice(&whole);
    key_package
}

/// SignWithLabel of RFC 9420 §5.1.2.
fn sign(key: &SigningKey, label: &str, content: &[u8]) -> [u8; SIGNATURE_LEN] {
    let label = format!("MLS 1.0 {label}");
    let mut message = vec![label.len() as u8];
    message.extend_from_slice(label.as_bytes());
    message.extend_from_slice(&(content.len() as u16 | 0x4000).to_be_bytes());
    message.extend_from_slice(content);
    key.sign(&message)
}

pub(super) fn offer(hall: &mut Hall, join: JoinId, key_package: Vec<u8>) {
    let suite = Suite::PostQuantum;
    hall.send(join, FromMember::KeyPackage { suite, key_package });
}

#[test]
fn key_packages_with_the_same_leaf_key_do_not_stop_the_commits() {
    let (mut hall, joins) = Hall::of(3);
    let group = hall.group(joins[0]);
    let leaf_key = SigningKey::generate();
    for _ in 0..2 {
        let join = hall.join_without_member();
        let bytes = key_package(hall.accounts[&join], &leaf_key);
        offer(&mut hall, join, bytes);
    }
    assert_unharmed(&mut hall, group);
}

#[test]
fn a_key_package_with_the_encryption_key_of_another_leaf_does_not_stop_the_commits() {
    let (mut hall, joins) = Hall::of(3);
    let group = hall.group(joins[0]);
    let leaf_key = SigningKey::generate();
    let first = hall.join_without_member();
    let victim = key_package(hall.accounts[&first], &leaf_key);
    offer(&mut hall, first, victim.clone());
    hall.run(SECOND);
    let leaf_key = SigningKey::generate();
    let second = hall.join_without_member();
    let copy = key_package(hall.accounts[&second], &leaf_key);
    let copy = with_encryption_key(copy, &leaf_key, encryption_key(&victim));
    offer(&mut hall, second, copy);
    assert_unharmed(&mut hall, group);
    assert!(hall.is_refused(second));
}

#[test]
fn a_key_package_with_the_key_of_a_parent_node_does_not_stop_the_welcomes() {
    let (mut hall, joins) = Hall::of(4);
    let group = hall.group(joins[0]);
    let tree = hall
        .outputs
        .iter()
        .rev()
        .find_map(|output| match output {
            Output::Send(_, ToMember::Welcome { tree, .. }) => Some(tree.clone()),
            _ => None,
        })
        .expect("a Welcome");
    // A node that is there, a parent, and the length of its key.
    let head = [1, 2, 0x40 | (KEY_LEN >> 8) as u8, KEY_LEN as u8];
    let at = tree
        .windows(head.len())
        .rposition(|bytes| bytes == head)
        .expect("a parent");
    let parent = &tree[at + head.len()..][..KEY_LEN];
    let leaf_key = SigningKey::generate();
    let join = hall.join_without_member();
    let copy = key_package(hall.accounts[&join], &leaf_key);
    let copy = with_encryption_key(copy, &leaf_key, parent);
    offer(&mut hall, join, copy);
    assert_unharmed(&mut hall, group);
    assert!(hall.is_refused(join));
}

/// A member of the attacker's own making, in the group of the Welcome that was sent to `join`.
fn rogue(hall: &Hall, provider: &Provider, join: JoinId) -> MlsGroup {
    let (welcome, tree) = hall.welcome(join);
    let MlsMessageBodyIn::Welcome(welcome) = read(&welcome) else {
        panic!("not a Welcome");
    };
    let tree = RatchetTreeIn::tls_deserialize_exact(&tree[..]).expect("a tree");
    let settings = MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .build();
    StagedWelcome::new_from_welcome(provider, &settings, welcome, Some(tree))
        .and_then(|staged| staged.into_group(provider))
        .expect("a group")
}

fn read(bytes: &[u8]) -> MlsMessageBodyIn {
    MlsMessageIn::tls_deserialize_exact(bytes)
        .expect("a message")
        .extract()
}

/// Commits what was asked for, with a public key in the leaf to which nothing can be encrypted.
fn commit_with_unusable_key(
    group: &mut MlsGroup,
    provider: &Provider,
    leaf_key: &SigningKey,
    proposals: &[std::sync::Arc<[u8]>],
) -> (Vec<u8>, Vec<u8>) {
    for proposal in proposals {
        let MlsMessageBodyIn::PublicMessage(proposal) = read(proposal) else {
            panic!("not a public message");
        };
        let processed = group
            .process_message(provider, proposal)
            .expect("a step of the commit");
        let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else {
            panic!("not a proposal");
        };
        group
            .store_pending_proposal(provider.storage(), *queued)
            .expect("a step of the commit");
    }
    let (commit, welcome, _) = group
        .commit_builder()
        .force_self_update(true)
        .load_psks(provider.storage())
        .expect("a step of the commit")
        .build(provider.rand(), provider.crypto(), leaf_key, |_| true)
        .expect("a step of the commit")
        .stage_commit(provider)
        .expect("a step of the commit")
        .into_messages();
    let mut commit = commit.to_bytes().expect("a step of the commit");
    let leaf = group
        .pending_commit()
        .expect("a step of the commit")
        .update_path_leaf_node();
    let leaf = leaf
        .expect("a step of the commit")
        .tls_serialize_detached()
        .expect("a step of the commit");
    let at = commit
        .windows(leaf.len())
        .position(|bytes| bytes == leaf)
        .expect("a step of the commit");
    commit[at + VECTOR_LEN..][..KEY_LEN].fill(0xff);
    let id = group.group_id().as_slice();
    let signature_at = at + leaf.len() - SIGNATURE_LEN;
    let mut signed = commit[at..signature_at - VECTOR_LEN].to_vec();
    signed.push(id.len() as u8);
    signed.extend_from_slice(id);
    signed.extend_from_slice(&group.own_leaf_index().u32().to_be_bytes());
    let signature = sign(leaf_key, "LeafNodeTBS", &signed);
    commit[signature_at..][..SIGNATURE_LEN].copy_from_slice(&signature);
    // After the content: the signature, the confirmation tag, the membership tag.
    let content_end = commit.len() - (VECTOR_LEN + SIGNATURE_LEN) - 2 * 33;
    let mut signed = commit[..content_end].to_vec();
    let context = group.public_group().group_context();
    signed.extend(
        context
            .tls_serialize_detached()
            .expect("a step of the commit"),
    );
    let signature = sign(leaf_key, "FramedContentTBS", &signed);
    commit[content_end + VECTOR_LEN..][..SIGNATURE_LEN].copy_from_slice(&signature);
    (
        commit,
        welcome
            .expect("a step of the commit")
            .to_bytes()
            .expect("a step of the commit"),
    )
}

#[test]
fn a_commit_with_a_leaf_key_that_nobody_can_encrypt_to_is_refused() {
    let (mut hall, joins) = Hall::of(2);
    let group = hall.group(joins[0]);
    let (provider, leaf_key) = (Provider::new(), SigningKey::generate());
    let join = hall.join_without_member();
    let bytes = key_package_in(&provider, hall.accounts[&join], &leaf_key);
    offer(&mut hall, join, bytes);
    hall.run(SECOND);
    let mut mls = rogue(&hall, &provider, join);
    let epoch = mls.epoch().as_u64();
    hall.send(join, FromMember::Merged { group, epoch });
    // Nobody else answers, so that it is asked.
    hall.tamper = Box::new(|_, message| match message {
        FromMember::Committed { .. } => None,
        other => Some(other),
    });
    hall.join();
    hall.run(SECOND / 2);
    let proposals = hall.outputs.iter().find_map(|output| match output {
        Output::Send(to, ToMember::CommitWanted { proposals, .. }) if *to == join => {
            Some(proposals.clone())
        }
        _ => None,
    });
    let proposals = proposals.expect("it is asked");
    let (commit, welcome) = commit_with_unusable_key(&mut mls, &provider, &leaf_key, &proposals);
    hall.send(
        join,
        FromMember::Committed {
            group,
            epoch,
            commit,
            welcome,
        },
    );
    assert!(hall.outputs.iter().any(|output| matches!(
        output,
        Output::Refused(from, cause) if *from == join && cause.contains("path")
    )));
}
