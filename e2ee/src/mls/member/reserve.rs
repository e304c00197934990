//! Key packages that the delivery service has and that no Welcome has used.

use std::collections::BTreeSet;

use openmls::prelude::hash_ref::KeyPackageRef;
use openmls::prelude::{KeyPackage, MlsMessageOut};
use openmls_traits::OpenMlsProvider;
use openmls_traits::storage::StorageProvider;

use crate::mls::identity::Credential;
use crate::mls::parse;
use crate::mls::profile;
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;

/// The private halves of the key packages.
#[derive(Default)]
pub(super) struct Reserve(Vec<Reserved>);

struct Reserved {
    /// What a Welcome names the key package by (RFC 9420 §5.2).
    reference: KeyPackageRef,
    suite: Suite,
    leaf_key: SigningKey,
    key_package: Vec<u8>,
}

/// A key package that a Welcome names.
pub(super) struct Taken {
    pub(super) reference: KeyPackageRef,
    pub(super) suite: Suite,
    pub(super) leaf_key: SigningKey,
}

impl Reserve {
    /// Makes a key package with `leaf_key`, and gives its bytes.
    pub(super) fn add(
        &mut self,
        provider: &Provider,
        suite: Suite,
        leaf_key: SigningKey,
        credential: &Credential,
    ) -> Vec<u8> {
        let bundle = profile::new_key_package(provider, &leaf_key, credential, suite);
        self.keep(provider, suite, leaf_key, bundle.into_key_package())
    }

    /// Keeps a key package whose private keys are `leaf_key` and with `provider`, and gives its bytes.
    pub(super) fn keep(
        &mut self,
        provider: &Provider,
        suite: Suite,
        leaf_key: SigningKey,
        key_package: KeyPackage,
    ) -> Vec<u8> {
        let reference = key_package
            .hash_ref(provider.crypto())
            .expect("a key package of ours has a reference");
        let key_package = MlsMessageOut::from(key_package)
            .to_bytes()
            .expect("a key package of ours can be written");
        self.0.push(Reserved {
            reference,
            suite,
            leaf_key,
            key_package: key_package.clone(),
        });
        key_package
    }

    /// The suites that have key packages.
    pub(super) fn suites(&self) -> BTreeSet<Suite> {
        self.0.iter().map(|one| one.suite).collect()
    }

    /// Takes out the older of two key packages of a suite, if there are two.
    pub(super) fn take_oldest(&mut self, suite: Suite) -> Option<KeyPackageRef> {
        let mut places = (0..self.0.len()).filter(|at| self.0[*at].suite == suite);
        let oldest = places.next().filter(|_| places.next().is_some())?;
        Some(self.0.remove(oldest).reference)
    }

    /// The key packages, with their suites.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Suite, &[u8])> {
        self.0
            .iter()
            .map(|one| (one.suite, one.key_package.as_slice()))
    }

    /// Takes out the key package that a Welcome has used; its private keys stay with `provider` until [`forget`] drops them.
    pub(super) fn take(&mut self, welcome: &[u8]) -> Option<Taken> {
        let welcome = parse::welcome(welcome)?;
        let is_named = |one: &Reserved| {
            let names = |secrets: &openmls::prelude::EncryptedGroupSecrets| {
                secrets.new_member() == one.reference
            };
            one.suite.ciphersuite() == welcome.ciphersuite() && welcome.secrets().iter().any(names)
        };
        let place = self.0.iter().position(is_named)?;
        let reserved = self.0.remove(place);
        Some(Taken {
            reference: reserved.reference,
            suite: reserved.suite,
            leaf_key: reserved.leaf_key,
        })
    }
}

/// Drops the private keys of a key package, if the Welcome has not used them.
pub(super) fn forget(provider: &Provider, reference: &KeyPackageRef) {
    // The storage is in memory, and cannot fail.
    let _ = provider.storage().delete_key_package(reference);
}
