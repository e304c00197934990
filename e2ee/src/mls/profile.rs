//! Which key packages and groups Confab uses: everything that is not said here is refused.

use confab_protocol::control::ConferenceId;
use openmls::prelude::tls_codec::{Deserialize, Serialize, VLBytes};
use openmls::prelude::{
    BasicCredential, Capabilities, CredentialType, CredentialWithKey, Extension, Extensions,
    ExternalSender, GroupContext, KeyPackage, KeyPackageBundle, KeyPackageIn, LeafNode, Lifetime,
    MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProtocolVersion,
};
use openmls_traits::OpenMlsProvider;

use super::crypto::check_hpke_key;
use super::group_name::GroupName;
use super::identity::{Credential, CredentialError, ServerId};
use super::parse;
use super::provider::Provider;
use super::signing::{PUBLIC_KEY_LEN, SigningKey};
use super::suite::Suite;

/// Longest key package, in bytes: one of the post-quantum suite has about 2.8 kB, with four endorsements 3.2 kB.
pub(crate) const MAX_KEY_PACKAGE: usize = 6 * 1024;

/// The identity of the delivery service in the groups' list of external senders.
const DELIVERY_IDENTITY: &[u8] = b"Confab 1.0 delivery service";

/// Why a key package or a leaf is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It is not an MLS message of its kind, or its signatures are wrong.
    #[error("it is not a valid key package")]
    Malformed,
    /// It is longer than 6 KiB.
    #[error("it is too long")]
    TooLong,
    /// It is of another cipher suite than was said.
    #[error("it is of another cipher suite")]
    OtherSuite,
    /// It has extensions or capabilities that Confab's leaves do not have.
    #[error("its capabilities or extensions are not those of Confab")]
    OtherProfile,
    /// Nothing can be encrypted to one of its keys.
    #[error("nothing can be encrypted to its keys")]
    UnusableKey,
    /// It is of another account than the one that sent it.
    #[error("it is of another account")]
    OtherAccount,
    /// What it says of its owner is wrong.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// Makes a key package, and keeps its private keys in `provider`.
pub(crate) fn new_key_package(
    provider: &Provider,
    leaf_key: &SigningKey,
    credential: &Credential,
    suite: Suite,
) -> KeyPackageBundle {
    KeyPackage::builder()
        .key_package_lifetime(lifetime())
        .leaf_node_capabilities(capabilities())
        .build(
            suite.ciphersuite(),
            provider,
            leaf_key,
            credential_with_key(leaf_key, credential),
        )
        .expect("keys of our own make a key package")
}

/// Reads and checks a key package that somebody sent.
pub(crate) fn read_key_package(
    provider: &Provider,
    bytes: &[u8],
    suite: Suite,
    owner: LeafOwner,
) -> Result<(KeyPackage, Credential), LeafError> {
    if bytes.len() > MAX_KEY_PACKAGE {
        return Err(LeafError::TooLong);
    }
    let key_package = parse::key_package(bytes).ok_or(LeafError::Malformed)?;
    let key_package = validate(provider, key_package)?;
    let credential = check_key_package(&key_package, suite, owner)?;
    Ok((key_package, credential))
}

/// What a Welcome names a key package by (RFC 9420 §5.2).
pub(crate) fn reference(
    provider: &Provider,
    key_package: &KeyPackage,
) -> Result<Vec<u8>, LeafError> {
    let reference = key_package
        .hash_ref(provider.crypto())
        .map_err(|_| LeafError::Malformed)?;
    Ok(reference.as_slice().to_vec())
}

/// Where a leaf's owner is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafOwner {
    pub(crate) server: ServerId,
    pub(crate) conference: ConferenceId,
}

/// Checks a key package whose signatures are known to be right.
pub(crate) fn check_key_package(
    key_package: &KeyPackage,
    suite: Suite,
    owner: LeafOwner,
) -> Result<Credential, LeafError> {
    if key_package.ciphersuite() != suite.ciphersuite() {
        return Err(LeafError::OtherSuite);
    }
    if key_package.extensions().iter().next().is_some() {
        return Err(LeafError::OtherProfile);
    }
    check_hpke_key(suite.ciphersuite(), key_package.hpke_init_key().as_slice())
        .map_err(|_| LeafError::UnusableKey)?;
    check_leaf(key_package.leaf_node(), suite, owner)
}

/// Checks a leaf, and says whose it is.
pub(crate) fn check_leaf(
    leaf: &LeafNode,
    suite: Suite,
    owner: LeafOwner,
) -> Result<Credential, LeafError> {
    if *leaf.capabilities() != capabilities() || leaf.extensions().iter().next().is_some() {
        return Err(LeafError::OtherProfile);
    }
    check_hpke_key(suite.ciphersuite(), &encryption_key(leaf))
        .map_err(|_| LeafError::UnusableKey)?;
    let credential = credential_of(leaf)?;
    credential.verify(
        owner.server,
        owner.conference,
        suite,
        leaf.signature_key().as_slice(),
    )?;
    Ok(credential)
}

/// The credential of a leaf, without a look at its signature.
pub(crate) fn credential_of(leaf: &LeafNode) -> Result<Credential, CredentialError> {
    let basic = BasicCredential::try_from(leaf.credential().clone())
        .map_err(|_| CredentialError::Malformed)?;
    Credential::parse(basic.identity())
}

/// A group with its creator as the only leaf.
pub(crate) fn create_config(
    suite: Suite,
    delivery_key: &[u8; PUBLIC_KEY_LEN],
) -> MlsGroupCreateConfig {
    MlsGroupCreateConfig::builder()
        .ciphersuite(suite.ciphersuite())
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .lifetime(lifetime())
        .capabilities(capabilities())
        .with_group_context_extensions(group_context_extensions(delivery_key))
        .build()
}

/// How members join by Welcome.
pub(crate) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .use_ratchet_tree_extension(false)
        .build()
}

/// True if a group has this name, this suite, this delivery service, and no other extension.
pub(crate) fn is_context_of(
    context: &GroupContext,
    group: GroupName,
    suite: Suite,
    delivery_key: &[u8; PUBLIC_KEY_LEN],
) -> bool {
    context.protocol_version() == ProtocolVersion::Mls10
        && context.ciphersuite() == suite.ciphersuite()
        && context.group_id().as_slice() == group.to_bytes()
        && *context.extensions() == group_context_extensions(delivery_key)
}

pub(crate) fn credential_with_key(
    leaf_key: &SigningKey,
    credential: &Credential,
) -> CredentialWithKey {
    CredentialWithKey {
        credential: BasicCredential::new(credential.to_bytes()).into(),
        signature_key: leaf_key.public().as_slice().into(),
    }
}

fn validate(provider: &Provider, key_package: KeyPackageIn) -> Result<KeyPackage, LeafError> {
    key_package
        .validate(provider.crypto(), ProtocolVersion::Mls10)
        .map_err(|_| LeafError::Malformed)
}

fn group_context_extensions(delivery_key: &[u8; PUBLIC_KEY_LEN]) -> Extensions<GroupContext> {
    let delivery = ExternalSender::new(
        delivery_key.as_slice().into(),
        BasicCredential::new(DELIVERY_IDENTITY.to_vec()).into(),
    );
    Extensions::single(Extension::ExternalSenders(vec![delivery]))
        .expect("a list of external senders may stand in a group's context")
}

/// Set in full: what openmls would put there by itself changes with its version.
fn capabilities() -> Capabilities {
    Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(Suite::ALL.map(Suite::ciphersuite).to_vec())
        .extensions(Vec::new())
        .proposals(Vec::new())
        .credentials(vec![CredentialType::Basic])
        .build()
}

/// Key packages are used once, seconds after they are made, and control forgets them with the join: no clock is needed.
fn lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// The public key of a leaf.
pub(crate) fn encryption_key(leaf: &LeafNode) -> Vec<u8> {
    let encoded = leaf
        .encryption_key()
        .tls_serialize_detached()
        .expect("a key is shorter than a vector's limit");
    VLBytes::tls_deserialize_exact(&encoded)
        .expect("it has just been written")
        .into()
}
