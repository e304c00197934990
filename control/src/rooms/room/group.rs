//! What the room's MLS group needs: messages to members, leaves at relays and for everybody to see.

use std::time::{Duration, Instant};

use confab_e2ee::mls::delivery::{NewGroupCause, Output};
use confab_e2ee::mls::messages::TextRefusal;
use confab_e2ee::mls::{FromMember, Suite, ToMember};
use confab_protocol::cluster::{Action, GrantedLeaf, MAX_SET_LEAVES};
use confab_protocol::control::{GenerationLeaf, JoinId};

use super::super::effect::{ClientId, Effect, EventKind, OwnJoin};
use super::super::group::Gate;
use super::super::relay_calls::Purpose;
use super::Room;
use crate::metrics::groups::{GroupCause, GroupRefusal};

impl Room {
    /// A participant says something to the delivery service.
    pub(super) fn take_group_messages(
        &mut self,
        now: Instant,
        of: &OwnJoin,
        messages: Vec<FromMember>,
        round_trip: Duration,
    ) {
        let Some(sender) = self.membership.find_own(of) else {
            return;
        };
        let Some(state) = self.membership.get(sender) else {
            return;
        };
        let who = (of.join_id, state.participant.may_speak());
        for refusal in self.group.take(now, who, messages, round_trip) {
            self.outbox.push(Effect::CountRefused(match refusal {
                TextRefusal::NotAllowed => GroupRefusal::TextNotAllowed,
                TextRefusal::TooMany => GroupRefusal::TextRate,
            }));
            self.tell_member(of.join_id, ToMember::TextRefused(refusal));
        }
    }

    /// A client's connection is lost.
    pub(super) fn client_disconnected(&mut self, now: Instant, client: ClientId) {
        for join in self.membership.joins_of_client(client) {
            self.group.disconnect(now, join);
        }
    }

    /// Carries out what the delivery service wants done.
    pub(super) fn follow_group(&mut self, now: Instant) {
        while let Some(output) = self.group.next() {
            match output {
                Output::Send(join, message) => self.tell_member(join, message),
                Output::OpenGate {
                    generation,
                    epoch,
                    leaves,
                } => self.assign_leaves(now, Gate { generation, epoch }, leaves),
                Output::Retired { generation, epoch } => {
                    self.group.retire(Gate { generation, epoch });
                    self.membership.retire_generations_before(generation);
                    self.command_everywhere(now, &Action::RetireEpochs { generation, epoch });
                }
                Output::NewGroup {
                    group,
                    suite,
                    cause,
                } => {
                    self.outbox.push(Effect::CountGroup(counted(cause)));
                    let conference = self.conference;
                    match suite {
                        Suite::PostQuantum => {
                            tracing::debug!(%conference, generation = group.generation, ?cause, "a new group");
                        }
                        Suite::Classical => {
                            tracing::info!(%conference, generation = group.generation, ?cause, "a new group, too large for the post-quantum suite");
                        }
                    }
                }
                Output::Refused(join, cause) => {
                    self.outbox.push(Effect::CountRefused(GroupRefusal::Rule));
                    tracing::debug!(conference = %self.conference, %join, cause, "a group message was refused");
                }
            }
        }
    }

    fn tell_member(&mut self, join_id: JoinId, message: ToMember) {
        let sender = self.membership.find_join(join_id);
        let state = sender.and_then(|sender| self.membership.get(sender));
        if let Some(client) = state.and_then(|state| state.client) {
            self.outbox.push(Effect::TellMember {
                client,
                join_id,
                message,
            });
        }
    }

    /// Participants have leaves: relays are told first, and their Welcomes wait for that.
    fn assign_leaves(&mut self, now: Instant, gate: Gate, leaves: Vec<(JoinId, u32)>) {
        let mut granted = Vec::new();
        for (join, leaf) in leaves {
            let leaf = GrantedLeaf {
                leaf: GenerationLeaf {
                    generation: gate.generation,
                    leaf,
                },
                first_epoch: gate.epoch,
            };
            if let Some(sender) = self.membership.grant_leaf(join, leaf) {
                granted.push((sender, leaf));
            }
        }
        let mut commands = 0;
        for some in granted.chunks(MAX_SET_LEAVES) {
            let action = Action::SetLeaves(some.to_vec());
            let here = self.command(now, Purpose::Gate(gate), action.clone());
            let left = self.command_left(now, Purpose::Gate(gate), action);
            commands += here.into_iter().chain(left).count();
        }
        self.group.await_gate(now, gate, commands);
        let leaves: Vec<_> = granted
            .into_iter()
            .map(|(sender, granted)| (sender, granted.leaf))
            .collect();
        let everyone = self.membership.everyone();
        self.outbox
            .tell(everyone, EventKind::LeavesAssigned(leaves));
    }

    /// Tells a relay to which the room has just come which epochs have retired.
    pub(super) fn retire_at_relay(&mut self, now: Instant) {
        if let Some(Gate { generation, epoch }) = self.group.retired() {
            let action = Action::RetireEpochs { generation, epoch };
            self.command(now, Purpose::Nothing, action);
        }
    }
}

const fn counted(cause: NewGroupCause) -> GroupCause {
    match cause {
        NewGroupCause::Opened => GroupCause::Opened,
        NewGroupCause::NoCommitter => GroupCause::NoCommitter,
        NewGroupCause::BadCommit => GroupCause::BadCommit,
        NewGroupCause::BadCreator => GroupCause::BadCreator,
        NewGroupCause::TooLarge => GroupCause::TooLarge,
    }
}
