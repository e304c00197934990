//! The storage as `openmls` asks for it.

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};

use super::{Kind, Queued, Storage, StorageError, decode, encode_public};

/// Parts of a group's state that are read by `load` alone: writing and deleting them do nothing, and there is none to read.
macro_rules! not_kept {
    ($($write:ident, $read:ident, $delete:ident: $part:ident;)*) => {$(
        fn $write<
            GroupId: traits::GroupId<CURRENT_VERSION>,
            Part: traits::$part<CURRENT_VERSION>,
        >(
            &self,
            _: &GroupId,
            _: &Part,
        ) -> Result<(), StorageError> {
            Ok(())
        }

        fn $read<
            GroupId: traits::GroupId<CURRENT_VERSION>,
            Part: traits::$part<CURRENT_VERSION>,
        >(
            &self,
            _: &GroupId,
        ) -> Result<Option<Part>, StorageError> {
            Ok(None)
        }

        fn $delete<GroupId: traits::GroupId<CURRENT_VERSION>>(
            &self,
            _: &GroupId,
        ) -> Result<(), StorageError> {
            Ok(())
        }
    )*};
}

impl StorageProvider<CURRENT_VERSION> for Storage {
    type Error = StorageError;

    fn write_key_package<
        HashReference: traits::HashReference<CURRENT_VERSION>,
        KeyPackage: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        hash_ref: &HashReference,
        key_package: &KeyPackage,
    ) -> Result<(), StorageError> {
        self.held()
            .write_secret(Kind::KeyPackage, hash_ref, key_package)
    }

    fn key_package<
        HashReference: traits::HashReference<CURRENT_VERSION>,
        KeyPackage: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        hash_ref: &HashReference,
    ) -> Result<Option<KeyPackage>, StorageError> {
        self.held().secret(Kind::KeyPackage, hash_ref)
    }

    fn delete_key_package<HashReference: traits::HashReference<CURRENT_VERSION>>(
        &self,
        hash_ref: &HashReference,
    ) -> Result<(), StorageError> {
        self.held().delete_secret(Kind::KeyPackage, hash_ref)
    }

    fn write_encryption_key_pair<
        EncryptionKey: traits::EncryptionKey<CURRENT_VERSION>,
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        public_key: &EncryptionKey,
        key_pair: &HpkeKeyPair,
    ) -> Result<(), StorageError> {
        self.held()
            .write_secret(Kind::EncryptionKeyPair, public_key, key_pair)
    }

    fn encryption_key_pair<
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
        EncryptionKey: traits::EncryptionKey<CURRENT_VERSION>,
    >(
        &self,
        public_key: &EncryptionKey,
    ) -> Result<Option<HpkeKeyPair>, StorageError> {
        self.held().secret(Kind::EncryptionKeyPair, public_key)
    }

    fn delete_encryption_key_pair<EncryptionKey: traits::EncryptionKey<CURRENT_VERSION>>(
        &self,
        public_key: &EncryptionKey,
    ) -> Result<(), StorageError> {
        self.held()
            .delete_secret(Kind::EncryptionKeyPair, public_key)
    }

    fn write_encryption_epoch_key_pairs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        EpochKey: traits::EpochKey<CURRENT_VERSION>,
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
        key_pairs: &[HpkeKeyPair],
    ) -> Result<(), StorageError> {
        let key = (group_id, epoch, leaf_index);
        self.held()
            .write_secret(Kind::EpochKeyPairs, &key, &key_pairs)
    }

    /// Empty if there are none.
    fn encryption_epoch_key_pairs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        EpochKey: traits::EpochKey<CURRENT_VERSION>,
        HpkeKeyPair: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
    ) -> Result<Vec<HpkeKeyPair>, StorageError> {
        let key = (group_id, epoch, leaf_index);
        let key_pairs = self.held().secret(Kind::EpochKeyPairs, &key)?;
        Ok(key_pairs.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        EpochKey: traits::EpochKey<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
        epoch: &EpochKey,
        leaf_index: u32,
    ) -> Result<(), StorageError> {
        let key = (group_id, epoch, leaf_index);
        self.held().delete_secret(Kind::EpochKeyPairs, &key)
    }

    fn write_psk<
        PskId: traits::PskId<CURRENT_VERSION>,
        PskBundle: traits::PskBundle<CURRENT_VERSION>,
    >(
        &self,
        psk_id: &PskId,
        psk: &PskBundle,
    ) -> Result<(), StorageError> {
        self.held().write_secret(Kind::Psk, psk_id, psk)
    }

    fn psk<PskBundle: traits::PskBundle<CURRENT_VERSION>, PskId: traits::PskId<CURRENT_VERSION>>(
        &self,
        psk_id: &PskId,
    ) -> Result<Option<PskBundle>, StorageError> {
        self.held().secret(Kind::Psk, psk_id)
    }

    fn delete_psk<PskId: traits::PskId<CURRENT_VERSION>>(
        &self,
        psk_id: &PskId,
    ) -> Result<(), StorageError> {
        self.held().delete_secret(Kind::Psk, psk_id)
    }

    /// A proposal that is queued already stays where it is.
    fn queue_proposal<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
        QueuedProposal: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
        proposal_ref: &ProposalRef,
        proposal: &QueuedProposal,
    ) -> Result<(), StorageError> {
        let group_id = encode_public(group_id)?;
        let (reference, proposal) = (encode_public(proposal_ref)?, encode_public(proposal)?);
        let mut held = self.held();
        let queue = held.proposals.entry(group_id).or_default();
        if !queue.iter().any(|queued| queued.reference == reference) {
            queue.push(Queued {
                reference,
                proposal,
            });
        }
        Ok(())
    }

    fn queued_proposals<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
        QueuedProposal: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
    ) -> Result<Vec<(ProposalRef, QueuedProposal)>, StorageError> {
        let group_id = encode_public(group_id)?;
        let held = self.held();
        let queue = held.proposals.get(&group_id).into_iter().flatten();
        queue
            .map(|queued| Ok((decode(&queued.reference)?, decode(&queued.proposal)?)))
            .collect()
    }

    fn queued_proposal_refs<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
    ) -> Result<Vec<ProposalRef>, StorageError> {
        let group_id = encode_public(group_id)?;
        let held = self.held();
        let queue = held.proposals.get(&group_id).into_iter().flatten();
        queue.map(|queued| decode(&queued.reference)).collect()
    }

    fn remove_proposal<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
        proposal_ref: &ProposalRef,
    ) -> Result<(), StorageError> {
        let (group_id, reference) = (encode_public(group_id)?, encode_public(proposal_ref)?);
        let mut held = self.held();
        if let Some(queue) = held.proposals.get_mut(&group_id) {
            queue.retain(|queued| queued.reference != reference);
            if queue.is_empty() {
                held.proposals.remove(&group_id);
            }
        }
        Ok(())
    }

    fn clear_proposal_queue<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        ProposalRef: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        group_id: &GroupId,
    ) -> Result<(), StorageError> {
        let group_id = encode_public(group_id)?;
        self.held().proposals.remove(&group_id);
        Ok(())
    }

    /// Always [`StorageError::SignatureKey`].
    fn write_signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<CURRENT_VERSION>,
        SignatureKeyPair: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &SignaturePublicKey,
        _: &SignatureKeyPair,
    ) -> Result<(), StorageError> {
        Err(StorageError::SignatureKey)
    }

    fn signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<CURRENT_VERSION>,
        SignatureKeyPair: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &SignaturePublicKey,
    ) -> Result<Option<SignatureKeyPair>, StorageError> {
        Ok(None)
    }

    fn delete_signature_key_pair<
        SignaturePublicKey: traits::SignaturePublicKey<CURRENT_VERSION>,
    >(
        &self,
        _: &SignaturePublicKey,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    not_kept! {
        write_tree, tree, delete_tree: TreeSync;
        write_context, group_context, delete_context: GroupContext;
        write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash:
            InterimTranscriptHash;
        write_confirmation_tag, confirmation_tag, delete_confirmation_tag: ConfirmationTag;
        write_mls_join_config, mls_group_join_config, delete_group_config: MlsGroupJoinConfig;
        write_message_secrets, message_secrets, delete_message_secrets: MessageSecrets;
        write_resumption_psk_store, resumption_psk_store, delete_all_resumption_psk_secrets:
            ResumptionPskStore;
        write_own_leaf_index, own_leaf_index, delete_own_leaf_index: LeafNodeIndex;
    }

    fn write_group_state<
        GroupState: traits::GroupState<CURRENT_VERSION>,
        GroupId: traits::GroupId<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
        _: &GroupState,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn group_state<
        GroupState: traits::GroupState<CURRENT_VERSION>,
        GroupId: traits::GroupId<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Result<Option<GroupState>, StorageError> {
        Ok(None)
    }

    fn delete_group_state<GroupId: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &GroupId,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn write_group_epoch_secrets<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        GroupEpochSecrets: traits::GroupEpochSecrets<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
        _: &GroupEpochSecrets,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn group_epoch_secrets<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        GroupEpochSecrets: traits::GroupEpochSecrets<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Result<Option<GroupEpochSecrets>, StorageError> {
        Ok(None)
    }

    /// Drops the key pairs of all epochs of the group too: a member that merged its own removal still has those of the epoch
    /// before, and `MlsGroup::delete` asks for those of the last epoch alone.
    fn delete_group_epoch_secrets<GroupId: traits::GroupId<CURRENT_VERSION>>(
        &self,
        group_id: &GroupId,
    ) -> Result<(), StorageError> {
        let group_id = encode_public(group_id)?;
        self.held().delete_epochs(&group_id);
        Ok(())
    }

    fn append_own_leaf_node<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        LeafNode: traits::LeafNode<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
        _: &LeafNode,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    fn own_leaf_nodes<
        GroupId: traits::GroupId<CURRENT_VERSION>,
        LeafNode: traits::LeafNode<CURRENT_VERSION>,
    >(
        &self,
        _: &GroupId,
    ) -> Result<Vec<LeafNode>, StorageError> {
        Ok(Vec::new())
    }

    fn delete_own_leaf_nodes<GroupId: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &GroupId,
    ) -> Result<(), StorageError> {
        Ok(())
    }
}
