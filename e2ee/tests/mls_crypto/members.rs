//! Members of groups on our provider, with groups as rooms have them: plaintext handshakes, the tree beside the Welcome.

use confab_e2ee::mls::{Crypto, Provider, SUITES, Storage};
use openmls::prelude::*;
use openmls_traits::signatures::{Signer, SignerError};
use tls_codec::{Deserialize as _, Serialize as _};

pub(crate) struct Member {
    pub(crate) provider: Provider,
    pub(crate) signer: Key,
}

/// A signature key.
pub(crate) struct Key {
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Self {
        let (private, public) = Crypto.signature_key_gen(SignatureScheme::ED25519).unwrap();
        Self { private, public }
    }

    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(b"somebody".to_vec()).into(),
            signature_key: self.public.clone().into(),
        }
    }
}

impl Signer for Key {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        let scheme = self.signature_scheme();
        let signature = Crypto.sign(scheme, payload, &self.private);
        signature.map_err(SignerError::CryptoError)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl Member {
    pub(crate) fn new() -> Self {
        Self {
            provider: Provider::new(),
            signer: Key::new(),
        }
    }

    pub(crate) fn storage(&self) -> &Storage {
        self.provider.storage()
    }

    pub(crate) fn create(&self, suite: Ciphersuite, external_sender: &Key) -> MlsGroup {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(suite)
            .capabilities(capabilities())
            .use_ratchet_tree_extension(false)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .with_group_context_extensions(external_senders(external_sender))
            .build();
        let credential = self.signer.credential();
        MlsGroup::new(&self.provider, &self.signer, &config, credential).unwrap()
    }

    pub(crate) fn key_package(&self, suite: Ciphersuite) -> KeyPackage {
        let credential = self.signer.credential();
        KeyPackage::builder()
            .leaf_node_capabilities(capabilities())
            .build(suite, &self.provider, &self.signer, credential)
            .unwrap()
            .into_key_package()
    }

    /// Joins with the tree of `sponsor`, which has merged the commit of the Welcome.
    pub(crate) fn join(&self, welcome: MlsMessageOut, sponsor: &MlsGroup) -> MlsGroup {
        let MlsMessageBodyIn::Welcome(welcome) = over_the_wire(welcome).extract() else {
            panic!("not a Welcome");
        };
        let config = MlsGroupJoinConfig::builder()
            .use_ratchet_tree_extension(false)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .build();
        let tree = sponsor.export_ratchet_tree().into();
        StagedWelcome::new_from_welcome(&self.provider, &config, welcome, Some(tree))
            .unwrap()
            .into_group(&self.provider)
            .unwrap()
    }

    /// Processes a proposal or commit, and queues or merges it.
    pub(crate) fn process(&self, group: &mut MlsGroup, message: MlsMessageOut) {
        let message = over_the_wire(message).try_into_protocol_message().unwrap();
        let processed = group.process_message(&self.provider, message).unwrap();
        match processed.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal) => group
                .store_pending_proposal(self.storage(), *proposal)
                .unwrap(),
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                group.merge_staged_commit(&self.provider, *commit).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    /// Commits what is queued, with a new path, and merges it.
    pub(crate) fn commit(&self, group: &mut MlsGroup) -> CommitMessageBundle {
        let commit = self.stage(group);
        group.merge_pending_commit(&self.provider).unwrap();
        commit
    }

    /// Commits what is queued, with a new path, and does not merge it.
    pub(crate) fn stage(&self, group: &mut MlsGroup) -> CommitMessageBundle {
        group
            .commit_builder()
            .force_self_update(true)
            .load_psks(self.storage())
            .unwrap()
            .build(self.provider.rand(), &Crypto, &self.signer, |_| true)
            .unwrap()
            .stage_commit(&self.provider)
            .unwrap()
    }
}

pub(crate) fn exported(group: &MlsGroup) -> Vec<u8> {
    group
        .export_secret(&Crypto, "a label", b"a context", 32)
        .unwrap()
}

/// A message as its receiver reads it.
pub(crate) fn over_the_wire(message: MlsMessageOut) -> MlsMessageIn {
    let bytes = message.tls_serialize_detached().unwrap();
    MlsMessageIn::tls_deserialize_exact(bytes).unwrap()
}

fn capabilities() -> Capabilities {
    let extensions = [ExtensionType::ExternalSenders];
    let credentials = [CredentialType::Basic];
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&SUITES),
        Some(&extensions),
        Some(&[]),
        Some(&credentials),
    )
}

fn external_senders(sender: &Key) -> Extensions<GroupContext> {
    let credential = sender.credential();
    let sender = ExternalSender::new(credential.signature_key, credential.credential);
    Extensions::single(Extension::ExternalSenders(vec![sender])).unwrap()
}
