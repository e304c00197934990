//! One MLS group, as a member has it: openmls behind the few operations that Confab needs.

use std::collections::BTreeMap;

use openmls::prelude::hash_ref::ProposalRef;
use openmls::prelude::tls_codec::Serialize;
use openmls::prelude::{
    LeafNodeIndex, MlsGroup, ProcessedMessageContent, Proposal, QueuedProposal, Sender,
    StagedWelcome,
};
use openmls_traits::OpenMlsProvider;

use crate::keys::BaseKey;
use crate::mls::group_name::GroupName;
use crate::mls::identity::{Credential, SafetyCode, ServerId, room_code};
use crate::mls::parse;
use crate::mls::profile::{self, LeafError, LeafOwner};
use crate::mls::provider::Provider;
use crate::mls::rules::{self, RuleError};
use crate::mls::signing::{PUBLIC_KEY_LEN, SigningKey};
use crate::mls::suite::Suite;

/// Label of the exporter (RFC 9605 §5.2).
const EXPORTER_LABEL: &str = "SFrame 1.0 Base Key";

/// Why a message was not processed.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// It is not an MLS message of the kind that is expected here.
    #[error("not an MLS message of the expected kind")]
    Malformed,
    /// It is of another group, suite or delivery service, or has extensions that Confab's groups do not have.
    #[error("the group is not the one that was announced")]
    OtherGroup,
    /// MLS refuses it.
    #[error("MLS refuses it: {0}")]
    Mls(String),
    /// MLS allows it, Confab does not.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A leaf is refused.
    #[error("the leaf {leaf} is refused: {cause}")]
    Leaf {
        /// Its index; for an Add, its place in the list of proposals.
        leaf: u32,
        /// Why.
        cause: LeafError,
    },
}

/// What a member knows of a group beside its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupKind {
    pub(crate) name: GroupName,
    pub(crate) suite: Suite,
    pub(crate) server: ServerId,
    pub(crate) delivery_key: [u8; PUBLIC_KEY_LEN],
}

/// A commit of one's own, not yet accepted.
pub(crate) struct OwnCommit {
    pub(crate) commit: Vec<u8>,
    /// Empty if nobody is added.
    pub(crate) welcome: Vec<u8>,
}

/// A group, and the key of one's own leaf in it.
pub(crate) struct Group {
    kind: GroupKind,
    mls: MlsGroup,
    leaf_key: SigningKey,
    leaves: BTreeMap<u32, Credential>,
}

impl Group {
    /// A group with oneself as its only leaf.
    pub(crate) fn create(
        provider: &Provider,
        kind: GroupKind,
        leaf_key: SigningKey,
        credential: &Credential,
    ) -> Result<Self, GroupError> {
        let mls = MlsGroup::new_with_group_id(
            provider,
            &leaf_key,
            &profile::create_config(kind.suite, &kind.delivery_key),
            kind.name.group_id(),
            profile::credential_with_key(&leaf_key, credential),
        )
        .map_err(refused)?;
        Self::checked(provider, kind, mls, leaf_key)
    }

    /// The group of a Welcome.
    pub(crate) fn join(
        provider: &Provider,
        kind: GroupKind,
        leaf_key: SigningKey,
        welcome: &[u8],
        tree: &[u8],
    ) -> Result<Self, GroupError> {
        let welcome = parse::welcome(welcome).ok_or(GroupError::Malformed)?;
        let tree = parse::ratchet_tree(tree).ok_or(GroupError::Malformed)?;
        let staged =
            StagedWelcome::new_from_welcome(provider, &profile::join_config(), welcome, Some(tree))
                .map_err(refused)?;
        // Before anything is kept under the group's id.
        let context = staged.group_context();
        if !profile::is_context_of(context, kind.name, kind.suite, &kind.delivery_key) {
            return Err(GroupError::OtherGroup);
        }
        let mls = staged.into_group(provider).map_err(refused)?;
        Self::checked(provider, kind, mls, leaf_key)
    }

    fn checked(
        provider: &Provider,
        kind: GroupKind,
        mls: MlsGroup,
        leaf_key: SigningKey,
    ) -> Result<Self, GroupError> {
        let mut group = Self {
            kind,
            mls,
            leaf_key,
            leaves: BTreeMap::new(),
        };
        match group.read_leaves() {
            Ok(leaves) => group.leaves = leaves,
            Err(error) => {
                group.delete(provider);
                return Err(error);
            }
        }
        Ok(group)
    }

    pub(crate) fn name(&self) -> GroupName {
        self.kind.name
    }

    pub(crate) fn suite(&self) -> Suite {
        self.kind.suite
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    pub(crate) fn own_leaf(&self) -> u32 {
        self.mls.own_leaf_index().u32()
    }

    /// The leaves of the group, and who they say they are; their devices' signatures are checked.
    pub(crate) fn leaves(&self) -> &BTreeMap<u32, Credential> {
        &self.leaves
    }

    /// The code of this epoch.
    pub(crate) fn code(&self) -> SafetyCode {
        room_code(self.epoch_authenticator())
    }

    /// Shows that all secrets of this epoch are the same (RFC 9420 §8.7).
    pub(crate) fn epoch_authenticator(&self) -> &[u8] {
        self.mls.epoch_authenticator().as_slice()
    }

    /// The base key of this epoch's frames (RFC 9605 §5.2).
    pub(crate) fn base_key(&self, provider: &Provider) -> BaseKey {
        let key = self
            .mls
            .export_secret(provider.crypto(), EXPORTER_LABEL, &[], BaseKey::LEN);
        let key = zeroize::Zeroizing::new(key.expect("an active group has an exporter"));
        BaseKey::new(
            key.as_slice()
                .try_into()
                .expect("the exporter gives the length asked for"),
        )
    }

    /// GroupInfo and ratchet tree of this epoch, for the delivery service.
    pub(crate) fn export(&self, provider: &Provider) -> Result<(Vec<u8>, Vec<u8>), GroupError> {
        let info = self
            .mls
            .export_group_info(provider.crypto(), &self.leaf_key, false)
            .map_err(refused)?;
        let info = info.to_bytes().map_err(|_| GroupError::Malformed)?;
        let tree = self.mls.export_ratchet_tree().tls_serialize_detached();
        Ok((info, tree.map_err(|_| GroupError::Malformed)?))
    }

    /// Makes a commit of these proposals; it takes effect when [`merge_own`](Self::merge_own) says that it was accepted.
    pub(crate) fn commit(
        &mut self,
        provider: &Provider,
        proposals: &[impl AsRef<[u8]>],
    ) -> Result<OwnCommit, GroupError> {
        self.forget_pending(provider)?;
        let wanted = self.take_proposals(provider, proposals)?;
        let made = self
            .mls
            .commit_builder()
            .force_self_update(true)
            .consume_proposal_store(true)
            .load_psks(provider.storage())
            .map_err(refused)?
            .use_ratchet_tree_extension(false)
            .build(provider.rand(), provider.crypto(), &self.leaf_key, |_| true)
            .map_err(refused)?
            .stage_commit(provider)
            .map_err(refused)?;
        let (commit, welcome, _) = made.into_messages();
        let staged = self.mls.pending_commit().ok_or(GroupError::Malformed)?;
        rules::check_commit(
            staged,
            self.kind.suite.ciphersuite(),
            self.mls.own_leaf_node().ok_or(GroupError::Malformed)?,
            &wanted,
        )?;
        let encode = |message: openmls::prelude::MlsMessageOut| {
            message.to_bytes().map_err(|_| GroupError::Malformed)
        };
        Ok(OwnCommit {
            commit: encode(commit)?,
            welcome: welcome.map(encode).transpose()?.unwrap_or_default(),
        })
    }

    /// One's own commit was accepted.
    pub(crate) fn merge_own(&mut self, provider: &Provider) -> Result<(), GroupError> {
        self.mls.merge_pending_commit(provider).map_err(refused)?;
        self.leaves = self.read_leaves()?;
        Ok(())
    }

    /// Somebody else's commit was accepted.
    pub(crate) fn merge(
        &mut self,
        provider: &Provider,
        proposals: &[impl AsRef<[u8]>],
        commit: &[u8],
    ) -> Result<(), GroupError> {
        self.forget_pending(provider)?;
        let wanted = self.take_proposals(provider, proposals)?;
        let message = parse::public_message(commit).ok_or(GroupError::Malformed)?;
        let processed = self
            .mls
            .process_message(provider, message)
            .map_err(refused)?;
        let Sender::Member(committer) = *processed.sender() else {
            return Err(GroupError::Malformed);
        };
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
            return Err(GroupError::Malformed);
        };
        let before = self
            .mls
            .public_group()
            .leaf(committer)
            .ok_or(GroupError::Malformed)?;
        rules::check_commit(&staged, self.kind.suite.ciphersuite(), before, &wanted)?;
        self.mls
            .merge_staged_commit(provider, *staged)
            .map_err(refused)?;
        self.leaves = self.read_leaves()?;
        Ok(())
    }

    /// Seals an application message under this epoch.
    pub(crate) fn seal_text(
        &mut self,
        provider: &Provider,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, GroupError> {
        let sealed = self
            .mls
            .create_message(provider, &self.leaf_key, plaintext)
            .map_err(refused)?;
        sealed.to_bytes().map_err(|_| GroupError::Malformed)
    }

    /// Opens an application message; gives the leaf that sealed it.
    pub(crate) fn open_text(
        &mut self,
        provider: &Provider,
        message: &[u8],
    ) -> Result<(u32, Vec<u8>), GroupError> {
        let private = parse::private_message(message).ok_or(GroupError::Malformed)?;
        let processed = self
            .mls
            .process_message(provider, private)
            .map_err(refused)?;
        let Sender::Member(leaf) = *processed.sender() else {
            return Err(GroupError::Malformed);
        };
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(text) => {
                Ok((leaf.u32(), text.into_bytes()))
            }
            _ => Err(GroupError::Malformed),
        }
    }

    /// True if the group goes on without oneself.
    pub(crate) fn is_left(&self) -> bool {
        !self.mls.is_active()
    }

    /// Drops the secrets that the provider keeps for this group.
    pub(crate) fn delete(mut self, provider: &Provider) {
        // The storage is in memory, and cannot fail.
        let _ = self.mls.delete(provider.storage());
    }

    /// Reads proposals, checks them, and keeps them for the commit that follows. Gives their references in order.
    fn take_proposals(
        &mut self,
        provider: &Provider,
        proposals: &[impl AsRef<[u8]>],
    ) -> Result<Vec<ProposalRef>, GroupError> {
        let mut references = Vec::new();
        for (place, bytes) in proposals.iter().enumerate() {
            let message = parse::public_message(bytes.as_ref()).ok_or(GroupError::Malformed)?;
            let processed = self
                .mls
                .process_message(provider, message)
                .map_err(refused)?;
            let ProcessedMessageContent::ProposalMessage(queued) = processed.into_content() else {
                return Err(GroupError::Malformed);
            };
            rules::check_proposal(&queued)?;
            self.check_added(&queued)
                .map_err(|cause| GroupError::Leaf {
                    leaf: place as u32,
                    cause,
                })?;
            references.push(queued.proposal_reference_ref().clone());
            self.mls
                .store_pending_proposal(provider.storage(), *queued)
                .map_err(refused)?;
        }
        Ok(references)
    }

    fn check_added(&self, queued: &QueuedProposal) -> Result<(), LeafError> {
        match queued.proposal() {
            Proposal::Add(add) => {
                profile::check_key_package(add.key_package(), self.kind.suite, self.owner())
                    .map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Drops a commit of one's own that was not accepted, and proposals that were not committed.
    pub(crate) fn forget_pending(&mut self, provider: &Provider) -> Result<(), GroupError> {
        self.mls
            .clear_pending_commit(provider.storage())
            .map_err(refused)?;
        self.mls
            .clear_pending_proposals(provider.storage())
            .map_err(refused)
    }

    fn read_leaves(&self) -> Result<BTreeMap<u32, Credential>, GroupError> {
        if self.is_left() {
            return Ok(BTreeMap::new());
        }
        let group = self.mls.public_group();
        let members: Vec<LeafNodeIndex> = group.members().map(|member| member.index).collect();
        let mut leaves = BTreeMap::new();
        for index in members {
            let leaf = group.leaf(index).ok_or(GroupError::Malformed)?;
            // What was checked before stands: the rules keep a leaf's identity as it is.
            let known = self.leaves.get(&index.u32());
            let credential = profile::credential_of(leaf).map_err(|cause| GroupError::Leaf {
                leaf: index.u32(),
                cause: cause.into(),
            })?;
            if known != Some(&credential) {
                profile::check_leaf(leaf, self.kind.suite, self.owner()).map_err(|cause| {
                    GroupError::Leaf {
                        leaf: index.u32(),
                        cause,
                    }
                })?;
            }
            leaves.insert(index.u32(), credential);
        }
        Ok(leaves)
    }

    fn owner(&self) -> LeafOwner {
        LeafOwner {
            server: self.kind.server,
            conference: self.kind.name.conference,
        }
    }
}

fn refused(error: impl std::fmt::Display) -> GroupError {
    GroupError::Mls(error.to_string())
}
