//! When a member sends nothing: while somebody is here who is not to hear.

use std::collections::BTreeMap;

use crate::mls::identity::Credential;

/// Why nothing is sent, beside leaves that control has not announced.
#[derive(Default)]
pub(super) struct Hold {
    /// Somebody is here whom the participant does not trust.
    pub(super) is_held: bool,
    /// The leaves have changed, and the participant has not looked at them yet.
    pub(super) is_unseen: bool,
    leaves: BTreeMap<u32, Credential>,
    /// Generation and epoch of the newest keys that somebody has who is not to hear: those and the ones before them seal nothing,
    /// also when that one is removed.
    pub(super) tainted: Option<(u64, u64)>,
}

impl Hold {
    /// The group has these leaves now.
    pub(super) fn leaves_are(&mut self, leaves: &BTreeMap<u32, Credential>) {
        if self.leaves != *leaves {
            self.leaves.clone_from(leaves);
            self.is_unseen = true;
        }
    }
}
