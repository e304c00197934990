//! Which commits are allowed. The delivery service and each member check the same.
//!
//! MLS lets members commit much more than Confab needs: openmls alone lets any member remove any other, by a proposal of its
//! own inside the commit.

use openmls::group::StagedCommit;
use openmls::prelude::hash_ref::ProposalRef;
use openmls::prelude::{
    Ciphersuite, LeafNode, Proposal, ProposalOrRefType, QueuedProposal, Sender,
    SenderExtensionIndex,
};

use super::crypto::check_hpke_key;
use super::profile::encryption_key;

/// Why a commit or a proposal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A proposal is not from the delivery service.
    #[error("a proposal is not from the delivery service")]
    NotFromDelivery,
    /// A proposal stands in the commit by value.
    #[error("a proposal stands in the commit by value")]
    ByValue,
    /// A proposal is neither an Add nor a Remove.
    #[error("a proposal is neither an Add nor a Remove")]
    NotAllowed,
    /// The commit leaves out proposals that were to be committed, or has others.
    #[error("the commit does not have exactly the proposals that were to be committed")]
    OtherProposals,
    /// The commit has no path, so the committer's keys stay as they were.
    #[error("the commit has no path")]
    NoPath,
    /// The committer's leaf changes its signature key, credential, capabilities or extensions.
    #[error("the commit changes who its committer is")]
    OtherCommitter,
    /// Nothing can be encrypted to a key of the commit's path, or the tree has that key already.
    #[error("a key in the commit's path cannot be used")]
    UnusableKey,
}

/// A proposal must be an Add or a Remove by the delivery service.
pub(super) fn check_proposal(queued: &QueuedProposal) -> Result<(), RuleError> {
    if *queued.sender() != Sender::External(SenderExtensionIndex::new(0)) {
        return Err(RuleError::NotFromDelivery);
    }
    match queued.proposal() {
        Proposal::Add(_) | Proposal::Remove(_) => Ok(()),
        _ => Err(RuleError::NotAllowed),
    }
}

/// A commit must have exactly the proposals `wanted`, by reference, and a new path for `committer` (its leaf before the
/// commit).
pub(super) fn check_commit(
    staged: &StagedCommit,
    suite: Ciphersuite,
    committer: &LeafNode,
    wanted: &[ProposalRef],
) -> Result<(), RuleError> {
    let mut count = 0;
    for queued in staged.queued_proposals() {
        if !matches!(queued.proposal_or_ref_type(), ProposalOrRefType::Reference) {
            return Err(RuleError::ByValue);
        }
        check_proposal(queued)?;
        if !wanted.contains(queued.proposal_reference_ref()) {
            return Err(RuleError::OtherProposals);
        }
        count += 1;
    }
    if count != wanted.len() {
        return Err(RuleError::OtherProposals);
    }
    let after = staged.update_path_leaf_node().ok_or(RuleError::NoPath)?;
    let same = after.signature_key() == committer.signature_key()
        && after.credential() == committer.credential()
        && after.capabilities() == committer.capabilities()
        && after.extensions() == committer.extensions();
    if !same {
        return Err(RuleError::OtherCommitter);
    }
    // openmls does not look into it, and nobody else checks it: the other keys of the path follow from its secret.
    check_hpke_key(suite, &encryption_key(after)).map_err(|_| RuleError::UnusableKey)
}
