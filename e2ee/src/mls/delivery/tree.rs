//! The public side of a group: openmls' `PublicGroup` behind what the delivery service needs.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use openmls::group::{ProposalStore, PublicGroup, StagedCommit};
use openmls::prelude::hash_ref::ProposalRef;
use openmls::prelude::tls_codec::{Serialize, Size};
use openmls::prelude::{
    ExternalProposal, GroupEpoch, GroupId, KeyPackage, LeafNodeIndex, MlsMessageOut,
    ProcessedMessageContent, ProtocolMessage, Sender, SenderExtensionIndex, Welcome,
};
use openmls_traits::OpenMlsProvider;

use super::node_keys;
use crate::mls::crypto::check_hpke_key;
use crate::mls::group_name::GroupName;
use crate::mls::parse;
use crate::mls::profile::{self, MAX_KEY_PACKAGE};
use crate::mls::provider::Provider;
use crate::mls::rules::{self, RuleError};
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;

/// Longest commit or Welcome that is looked at, in bytes.
pub const MAX_MESSAGE: usize = 2 * 1024 * 1024;

/// Longest encrypted GroupInfo of a Welcome, in bytes: one has about 1.8 kB. Each joiner gets a copy.
const MAX_GROUP_INFO: usize = 4 * 1024;

/// Longest text, sealed, in bytes: 4096 of plaintext, a signature and headers.
const MAX_TEXT_MESSAGE: usize = 4608;

/// Bytes of `MLSMessage` before a Welcome: protocol version and wire format.
const MESSAGE_HEADER: usize = 4;
/// Bytes of a Welcome's cipher suite.
const SUITE_LEN: usize = 2;

/// Why a group, a commit or a Welcome of a member is refused.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It is not an MLS message of the kind that was asked for, or longer than [`MAX_MESSAGE`].
    #[error("not an MLS message of the expected kind, or too long")]
    Malformed,
    /// The group has another name, suite, delivery service or creator than was asked for.
    #[error("the group is not the one that was asked for")]
    OtherGroup,
    /// It is not by the member who sent it.
    #[error("it is signed by another member")]
    OtherSender,
    /// MLS refuses it.
    #[error("MLS refuses it: {0}")]
    Mls(String),
    /// MLS allows it, Confab does not.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A key package has a key that another leaf or node has.
    #[error("a key of the key package is in the tree already")]
    UsedKey,
    /// The Welcome leaves out somebody who is added, or has others.
    #[error("the Welcome is not for exactly those who are added")]
    OtherWelcome,
}

/// A proposal of the delivery service.
#[derive(Clone)]
pub(super) struct Proposal {
    pub(super) bytes: Arc<[u8]>,
    reference: ProposalRef,
}

/// A commit that passed all checks, not merged yet.
pub(super) struct CheckedCommit {
    staged: StagedCommit,
    /// A Welcome for each key package, in the order of the list that was given.
    pub(super) welcomes: Vec<Arc<[u8]>>,
}

/// The tree and context of one group.
pub(super) struct Tree {
    group: PublicGroup,
    /// The tree of this epoch as bytes, once it was needed: a round with an Add needs it for its keys, the check of a commit for
    /// those of its path, and each joiner gets it.
    exported: OnceLock<Arc<[u8]>>,
}

impl Tree {
    /// Opens a group that a member has created, if it has this name, suite and delivery service.
    pub(super) fn open(
        provider: &Provider,
        delivery_key: &SigningKey,
        (name, suite): (GroupName, Suite),
        (group_info, tree): (&[u8], &[u8]),
    ) -> Result<Self, CommitError> {
        // One leaf is as long as a key package; each leaf of a longer tree would cost a look at its signature.
        if group_info.len().max(tree.len()) > MAX_KEY_PACKAGE {
            return Err(CommitError::Malformed);
        }
        let info = parse::group_info(group_info).ok_or(CommitError::Malformed)?;
        let tree = parse::ratchet_tree(tree).ok_or(CommitError::Malformed)?;
        let (group, _) = PublicGroup::from_external(
            provider.crypto(),
            provider.storage(),
            tree,
            info,
            ProposalStore::new(),
        )
        .map_err(refused)?;
        if !profile::is_context_of(group.group_context(), name, suite, delivery_key.public()) {
            return Err(CommitError::OtherGroup);
        }
        Ok(Self {
            group,
            exported: OnceLock::new(),
        })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.group.group_context().epoch().as_u64()
    }

    /// Leaves and their signature keys.
    pub(super) fn leaves(&self) -> Vec<(u32, Vec<u8>)> {
        let members = self.group.members();
        members
            .map(|member| (member.index.u32(), member.signature_key))
            .collect()
    }

    /// True for an application message of this group and epoch.
    pub(super) fn is_text(&self, message: &[u8]) -> bool {
        if message.len() > MAX_TEXT_MESSAGE {
            return false;
        }
        let Some(private) = parse::private_message(message) else {
            return false;
        };
        let message = ProtocolMessage::from(private);
        let context = self.group.group_context();
        !message.is_handshake_message()
            && message.group_id() == context.group_id()
            && message.epoch() == context.epoch()
    }

    /// The leaf with this index, if there is one.
    pub(super) fn leaf(&self, index: u32) -> Option<&openmls::prelude::LeafNode> {
        self.group.leaf(LeafNodeIndex::new(index))
    }

    /// The tree of this epoch, for joiners.
    pub(super) fn export(&self) -> Arc<[u8]> {
        let export = || {
            let tree = self.group.export_ratchet_tree().tls_serialize_detached();
            tree.expect("a tree is shorter than a vector's limit")
                .into()
        };
        Arc::clone(self.exported.get_or_init(export))
    }

    /// Proposes an Add, if its keys are not among `keys`; they are from then on.
    pub(super) fn propose_add(
        &mut self,
        provider: &Provider,
        key: &SigningKey,
        key_package: KeyPackage,
        keys: &mut HashSet<Vec<u8>>,
    ) -> Result<Proposal, CommitError> {
        let leaf = key_package.leaf_node();
        let own = [
            leaf.signature_key().as_slice().to_vec(),
            profile::encryption_key(leaf),
            key_package.hpke_init_key().as_slice().to_vec(),
        ];
        if own.iter().any(|key| keys.contains(key)) {
            return Err(CommitError::UsedKey);
        }
        keys.extend(own);
        let (group_id, epoch) = self.position();
        let message = ExternalProposal::new_add::<Provider>(
            key_package,
            group_id,
            epoch,
            key,
            SenderExtensionIndex::new(0),
        )
        .map_err(refused)?;
        self.keep(provider, &message)
    }

    /// All public keys in the tree, but those of the leaves `removed`.
    pub(super) fn keys(&self, removed: &BTreeSet<u32>) -> HashSet<Vec<u8>> {
        let tree = self.export();
        let nodes = node_keys::of_tree(&tree).expect("a tree has the form in which it was written");
        let stays = |leaf: Option<u32>| leaf.is_none_or(|leaf| !removed.contains(&leaf));
        let encryption = nodes
            .into_iter()
            .filter(|(leaf, _)| stays(*leaf))
            .map(|(_, key)| key.to_vec());
        let signature = self
            .leaves()
            .into_iter()
            .filter(|(leaf, _)| stays(Some(*leaf)))
            .map(|(_, key)| key);
        encryption.chain(signature).collect()
    }

    /// Proposes a Remove.
    pub(super) fn propose_remove(
        &mut self,
        provider: &Provider,
        key: &SigningKey,
        leaf: u32,
    ) -> Result<Proposal, CommitError> {
        let (group_id, epoch) = self.position();
        let leaf = LeafNodeIndex::new(leaf);
        let message = ExternalProposal::new_remove::<Provider>(
            leaf,
            group_id,
            epoch,
            key,
            SenderExtensionIndex::new(0),
        )
        .map_err(refused)?;
        self.keep(provider, &message)
    }

    /// Takes proposals back that were not committed.
    pub(super) fn withdraw(&mut self, provider: &Provider, proposals: &[Proposal]) {
        for proposal in proposals {
            // The storage is in memory, and cannot fail.
            let _ = self
                .group
                .remove_proposal(provider.storage(), &proposal.reference);
        }
    }

    /// Checks a commit of the member at `committer`, and the Welcome for `added`: references of key packages, in order.
    pub(super) fn check(
        &self,
        provider: &Provider,
        committer: u32,
        proposals: &[Proposal],
        added: &[Vec<u8>],
        (commit, welcome): (&[u8], &[u8]),
    ) -> Result<CheckedCommit, CommitError> {
        if commit.len().max(welcome.len()) > MAX_MESSAGE {
            return Err(CommitError::Malformed);
        }
        let message = parse::public_message(commit).ok_or(CommitError::Malformed)?;
        let processed = self
            .group
            .process_message(provider.crypto(), message)
            .map_err(refused)?;
        if *processed.sender() != Sender::Member(LeafNodeIndex::new(committer)) {
            return Err(CommitError::OtherSender);
        }
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(CommitError::Malformed);
        };
        let before = self.leaf(committer).ok_or(CommitError::OtherSender)?;
        let wanted: Vec<_> = proposals.iter().map(|one| one.reference.clone()).collect();
        let suite = self.group.ciphersuite();
        rules::check_commit(&staged, suite, before, &wanted)?;
        self.check_path(commit)?;
        let welcomes = match (added.is_empty(), welcome.is_empty()) {
            (true, true) => Vec::new(),
            (false, false) => {
                let welcome = parse::welcome(welcome).ok_or(CommitError::Malformed)?;
                if welcome.ciphersuite() != suite {
                    return Err(CommitError::OtherWelcome);
                }
                split(&welcome, added)?
            }
            _ => return Err(CommitError::OtherWelcome),
        };
        Ok(CheckedCommit {
            staged: *staged,
            welcomes,
        })
    }

    /// The keys of a path must be new, and something can be encrypted to each: whoever commits next has to.
    fn check_path(&self, commit: &[u8]) -> Result<(), CommitError> {
        let path = node_keys::of_path(commit).ok_or(CommitError::Malformed)?;
        let used = self.keys(&BTreeSet::new());
        let is_usable = |key: &&[u8]| {
            !used.contains(*key) && check_hpke_key(self.group.ciphersuite(), key).is_ok()
        };
        let all = path.iter().all(is_usable);
        all.then_some(())
            .ok_or(CommitError::Rule(RuleError::UnusableKey))
    }

    /// Takes a checked commit into the tree.
    pub(super) fn merge(
        &mut self,
        provider: &Provider,
        checked: CheckedCommit,
    ) -> Result<(), CommitError> {
        self.exported = OnceLock::new();
        self.group
            .merge_commit(provider.storage(), checked.staged)
            .map_err(refused)
    }

    /// Where a proposal has to be made.
    fn position(&self) -> (GroupId, GroupEpoch) {
        let context = self.group.group_context();
        (context.group_id().clone(), context.epoch())
    }

    fn keep(
        &mut self,
        provider: &Provider,
        message: &MlsMessageOut,
    ) -> Result<Proposal, CommitError> {
        let bytes = message.to_bytes().map_err(refused)?;
        let public = parse::public_message(&bytes).ok_or(CommitError::Malformed)?;
        let processed = self
            .group
            .process_message(provider.crypto(), public)
            .map_err(refused)?;
        let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else {
            return Err(CommitError::Malformed);
        };
        let reference = queued.proposal_reference_ref().clone();
        self.group
            .add_proposal(provider.storage(), *queued)
            .map_err(refused)?;
        Ok(Proposal {
            bytes: bytes.into(),
            reference,
        })
    }
}

/// Cuts a Welcome into one for each key package, with its own entry alone: a Welcome for a hundred joiners has 130 kB.
fn split(welcome: &Welcome, added: &[Vec<u8>]) -> Result<Vec<Arc<[u8]>>, CommitError> {
    let whole = welcome
        .tls_serialize_detached()
        .map_err(|_| CommitError::Malformed)?;
    let all = welcome.secrets();
    if all.len() != added.len() {
        return Err(CommitError::OtherWelcome);
    }
    // What follows the entries is the encrypted GroupInfo, the same for all.
    let entries_len = all.to_vec().tls_serialized_len();
    let group_info = whole
        .get(SUITE_LEN + entries_len..)
        .ok_or(CommitError::Malformed)?;
    if group_info.len() > MAX_GROUP_INFO {
        return Err(CommitError::Malformed);
    }
    let head =
        MlsMessageOut::from_welcome(welcome.clone(), openmls::prelude::ProtocolVersion::Mls10)
            .to_bytes()
            .map_err(refused)?;
    let head = &head[..MESSAGE_HEADER + SUITE_LEN];
    let cut = |reference: &Vec<u8>| {
        let own = all
            .iter()
            .find(|one| one.new_member().as_slice() == reference.as_slice());
        let own = vec![own.ok_or(CommitError::OtherWelcome)?.clone()];
        let own = own
            .tls_serialize_detached()
            .map_err(|_| CommitError::Malformed)?;
        Ok([head, &own, group_info].concat().into())
    };
    added.iter().map(cut).collect()
}

fn refused(error: impl std::fmt::Display) -> CommitError {
    CommitError::Mls(error.to_string())
}
