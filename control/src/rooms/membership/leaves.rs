//! The leaves that participants have in the room's MLS group.

use confab_protocol::cluster::GrantedLeaf;
use confab_protocol::control::JoinId;

use super::Membership;
use crate::rooms::effect::ClientId;

impl Membership {
    /// The joins of the client's participants.
    pub(in crate::rooms) fn joins_of_client(&self, client: ClientId) -> Vec<JoinId> {
        let of = self.all().filter(|state| state.client == Some(client));
        of.map(|state| state.participant.join_id).collect()
    }

    /// The participant has this leaf from now on, and nobody else has it. Returns its sender.
    pub(in crate::rooms) fn grant_leaf(
        &mut self,
        join_id: JoinId,
        granted: GrantedLeaf,
    ) -> Option<u16> {
        let sender = self.find_join(join_id)?;
        for state in self.participants.values_mut() {
            if state.participant.sender == sender {
                state.leaves.grant(granted);
            } else if !state.leaves.revoke(granted.leaf) {
                continue;
            }
            state.participant.leaf = state.leaves.newest().map(|newest| newest.leaf);
        }
        Some(sender)
    }

    /// Leaves of generations before this one count no more.
    pub(in crate::rooms) fn retire_generations_before(&mut self, generation: u64) {
        for state in self.participants.values_mut() {
            let newest = state.leaves.newest();
            if newest.is_some_and(|newest| newest.leaf.generation >= generation) {
                state.leaves.forget_before();
            }
        }
    }
}
