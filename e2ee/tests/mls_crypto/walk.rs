//! Whole groups on our provider.

use confab_e2ee::mls::{Crypto, Provider, SUITES};
use openmls::prelude::hash_ref::ProposalRef;
use openmls::prelude::*;
use openmls::schedule::PreSharedKeyId;
use openmls_traits::storage::StorageProvider as _;

use crate::members::{Key, Member, exported, over_the_wire};

/// Proposals come from the external sender, as control's do.
struct Control {
    key: Key,
}

impl Control {
    fn new() -> Self {
        Self { key: Key::new() }
    }

    fn add(&self, group: &MlsGroup, key_package: KeyPackage) -> MlsMessageOut {
        let (id, epoch) = (group.group_id().clone(), group.epoch());
        let index = SenderExtensionIndex::new(0);
        ExternalProposal::new_add::<Provider>(key_package, id, epoch, &self.key, index).unwrap()
    }

    fn remove(&self, group: &MlsGroup, leaf: LeafNodeIndex) -> MlsMessageOut {
        let (id, epoch) = (group.group_id().clone(), group.epoch());
        let index = SenderExtensionIndex::new(0);
        ExternalProposal::new_remove::<Provider>(leaf, id, epoch, &self.key, index).unwrap()
    }
}

#[test]
fn two_members_join_and_one_is_removed() {
    for suite in SUITES {
        let control = Control::new();
        let [ann, bob, cid] = [(); 3].map(|()| Member::new());
        let mut anns = ann.create(suite, &control.key);
        for member in [&bob, &cid] {
            let proposal = control.add(&anns, member.key_package(suite));
            ann.process(&mut anns, proposal);
            assert_eq!(member.storage().secrets(), 1);
        }
        assert_eq!(ann.storage().proposals(), 2);
        let welcome = ann.commit(&mut anns).into_welcome_msg().unwrap();
        assert_eq!(ann.storage().proposals(), 0);
        let mut bobs = bob.join(welcome.clone(), &anns);
        let mut cids = cid.join(welcome, &anns);
        assert_eq!(exported(&anns), exported(&bobs));
        assert_eq!(exported(&anns), exported(&cids));

        let proposal = control.remove(&bobs, anns.own_leaf_index());
        bob.process(&mut bobs, proposal.clone());
        cid.process(&mut cids, proposal.clone());
        ann.process(&mut anns, proposal);
        let commit = bob.commit(&mut bobs).into_commit();
        ann.process(&mut anns, commit.clone());
        cid.process(&mut cids, commit);
        assert!(!anns.is_active());
        assert_eq!(exported(&bobs), exported(&cids));

        // A removed member's own last path stays until its group is deleted.
        assert_eq!(ann.storage().secrets(), 1);
        anns.delete(ann.storage()).unwrap();
        assert_eq!((ann.storage().secrets(), ann.storage().proposals()), (0, 0));
    }
}

#[test]
fn storage_does_not_grow_with_commits_and_wiping_leaves_nothing() {
    for suite in SUITES {
        let control = Control::new();
        let (ann, bob) = (Member::new(), Member::new());
        let mut anns = ann.create(suite, &control.key);
        let proposal = control.add(&anns, bob.key_package(suite));
        ann.process(&mut anns, proposal);
        let welcome = ann.commit(&mut anns).into_welcome_msg().unwrap();
        let mut bobs = bob.join(welcome, &anns);
        for epoch in 1..=100 {
            // One more joins and is removed again, so that there are proposals.
            let passer_by = Member::new().key_package(suite);
            let proposal = match anns.members().count() {
                2 => control.add(&anns, passer_by),
                _ => control.remove(&anns, LeafNodeIndex::new(2)),
            };
            ann.process(&mut anns, proposal.clone());
            bob.process(&mut bobs, proposal);
            // A commit that is not accepted leaves nothing behind.
            ann.stage(&mut anns);
            anns.clear_pending_commit(ann.storage()).unwrap();
            if epoch % 2 == 0 {
                let commit = ann.commit(&mut anns).into_commit();
                bob.process(&mut bobs, commit);
            } else {
                let commit = bob.commit(&mut bobs).into_commit();
                ann.process(&mut anns, commit);
            }
            for member in [&ann, &bob] {
                let storage = member.storage();
                let held = (storage.secrets(), storage.proposals());
                assert_eq!(held, (1, 0), "{suite:?}, {epoch} commits");
            }
        }
        assert_eq!(exported(&anns), exported(&bobs));
        ann.storage().wipe();
        assert_eq!(
            format!("{:?}", ann.storage()),
            "Storage { secrets: 0, proposals: 0 }"
        );
        let update = bob.commit(&mut bobs).into_commit();
        let update = over_the_wire(update).try_into_protocol_message().unwrap();
        assert!(anns.process_message(&ann.provider, update).is_err());
    }
}

#[test]
fn an_update_that_a_member_proposed_is_committed_by_another() {
    for suite in SUITES {
        let (ann, bob) = (Member::new(), Member::new());
        let mut anns = ann.create(suite, &Key::new());
        let added = anns.add_members(&ann.provider, &ann.signer, &[bob.key_package(suite)]);
        let (_, welcome, _) = added.unwrap();
        anns.merge_pending_commit(&ann.provider).unwrap();
        let mut bobs = bob.join(welcome, &anns);
        let update = LeafNodeParameters::default();
        let update = bobs.propose_self_update(&bob.provider, &bob.signer, update);
        ann.process(&mut anns, update.unwrap().0);
        assert_eq!((bob.storage().secrets(), bob.storage().proposals()), (2, 1));
        let commit = ann.commit(&mut anns).into_commit();
        bob.process(&mut bobs, commit);
        assert_eq!(exported(&anns), exported(&bobs));
        assert_eq!((bob.storage().secrets(), bob.storage().proposals()), (1, 0));
    }
}

#[test]
fn a_pre_shared_key_is_found_and_deleted() {
    for suite in SUITES {
        let (ann, bob) = (Member::new(), Member::new());
        let mut anns = ann.create(suite, &Key::new());
        let nonce = Crypto.random_vec(32).unwrap();
        let psk = PreSharedKeyId::external(b"a name".to_vec(), nonce);
        for member in [&ann, &bob] {
            psk.store(&member.provider, b"the key").unwrap();
        }
        let proposed = anns.propose_pre_shared_key(&ann.provider, &ann.signer, psk.clone());
        proposed.unwrap();
        let key_package = bob.key_package(suite);
        let proposed = anns.propose_add_member(&ann.provider, &ann.signer, &key_package);
        proposed.unwrap();
        let welcome = ann.commit(&mut anns).into_welcome_msg().unwrap();
        let bobs = bob.join(welcome, &anns);
        assert_eq!(exported(&anns), exported(&bobs));
        assert_eq!(bob.storage().secrets(), 2);
        bob.storage().delete_psk(psk.psk()).unwrap();
        assert_eq!(bob.storage().secrets(), 1);
    }
}

/// `PublicGroup` is control's view of a group. Its queue is in the storage too.
#[test]
fn the_public_view_of_a_group_follows_it_on_the_same_storage() {
    for suite in SUITES {
        let control = Control::new();
        let ann = Member::new();
        let mut anns = ann.create(suite, &control.key);
        let view = Provider::new();
        let info = anns.export_group_info(&Crypto, &ann.signer, false).unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = over_the_wire(info).extract() else {
            panic!("not a GroupInfo");
        };
        let tree = anns.export_ratchet_tree().into();
        let (mut public, _) =
            PublicGroup::from_external(&Crypto, view.storage(), tree, info, ProposalStore::new())
                .unwrap();
        let mut added = Vec::new();
        for _ in 0..3 {
            let proposal = control.add(&anns, Member::new().key_package(suite));
            ann.process(&mut anns, proposal.clone());
            let proposal = over_the_wire(proposal).try_into_protocol_message().unwrap();
            let processed = public.process_message(&Crypto, proposal).unwrap();
            let ProcessedMessageContent::ProposalMessage(proposal) = processed.into_content()
            else {
                panic!("not a proposal");
            };
            added.push(proposal.proposal_reference_ref().clone());
            public.add_proposal(view.storage(), *proposal).unwrap();
        }
        let queue = |public: &PublicGroup| -> Vec<ProposalRef> {
            let queued = public.queued_proposals(view.storage()).unwrap();
            let check = |(reference, proposal): (ProposalRef, QueuedProposal)| {
                assert_eq!(proposal.proposal_reference_ref().clone(), reference);
                reference
            };
            queued.into_iter().map(check).collect()
        };
        assert_eq!(queue(&public), added);
        let commit = ann.commit(&mut anns).into_commit();
        let commit = over_the_wire(commit).try_into_protocol_message().unwrap();
        let processed = public.process_message(&Crypto, commit).unwrap();
        let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content() else {
            panic!("not a commit");
        };
        public.merge_commit(view.storage(), *commit).unwrap();
        assert_eq!(public.group_context(), anns.public_group().group_context());
        assert_eq!(queue(&public), []);
        assert_eq!(
            (view.storage().secrets(), view.storage().proposals()),
            (0, 0)
        );
    }
}

#[test]
fn a_proposal_can_be_taken_out_of_the_queue() {
    let control = Control::new();
    let ann = Member::new();
    let mut anns = ann.create(SUITES[1], &control.key);
    for _ in 0..2 {
        let proposal = control.add(&anns, Member::new().key_package(SUITES[1]));
        ann.process(&mut anns, proposal);
    }
    let references: Vec<_> = anns
        .pending_proposals()
        .map(|queued| queued.proposal_reference_ref().clone())
        .collect();
    for (left, reference) in [1, 0].into_iter().zip(&references) {
        anns.remove_pending_proposal(ann.storage(), reference)
            .unwrap();
        assert_eq!(ann.storage().proposals(), left);
    }
    let proposal = control.add(&anns, Member::new().key_package(SUITES[1]));
    ann.process(&mut anns, proposal);
    anns.clear_pending_proposals(ann.storage()).unwrap();
    assert_eq!(ann.storage().proposals(), 0);
}
