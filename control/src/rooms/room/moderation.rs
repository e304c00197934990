//! Moderation, and other reasons for which participants leave.

use std::time::Instant;

use confab_protocol::cluster::Action;
use confab_protocol::control::room::{LeaveReason, Role};
use confab_protocol::control::{AccountId, JoinId};

use super::super::effect::{ClientId, Effect, EventKind, OwnJoin, Ticket};
use super::super::errors::{ChangeError, JoinError};
use super::super::former_relays::GIVEN_UP;
use super::super::requests::{Reach, StoredChange};
use super::Room;
use crate::cluster::nodes::messages::Moderation;
use crate::store::{SessionId, Standing};

impl Room {
    /// Has a change stored, or carries it out if there is nothing to store.
    pub(super) fn moderate(&mut self, now: Instant, ticket: Ticket, moderation: Moderation) {
        match moderation {
            Moderation::Kick(account) => self.kick(now, ticket, account),
            Moderation::Change { account, old, new } => {
                self.requests
                    .store(ticket, StoredChange::Standing(account, new));
                self.outbox.push(Effect::Change {
                    ticket,
                    account,
                    old,
                    new,
                });
            }
            Moderation::Delete => {
                self.requests.store(ticket, StoredChange::Deletion);
                self.outbox.push(Effect::Delete { ticket });
            }
        }
    }

    /// A participant leaves by its own request, which came from `client`.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        ticket: Ticket,
        (account, client, join_id): (AccountId, ClientId, JoinId),
    ) {
        let Some(sender) = self.membership.find(account, join_id) else {
            self.outbox
                .answer_change(ticket, Err(ChangeError::ParticipantGone));
            return;
        };
        self.take_out(now, sender, LeaveReason::Left, Some(client));
        self.membership
            .departed_mut()
            .note_unclosed(sender, Some(account));
        let commands = self.close_media(now, &[sender]);
        self.acknowledge(ticket, Reach::All, &commands);
    }

    /// The answer to a join found no client: nobody has the keys of the participant, which would stay until its session is idle.
    pub(super) fn unclaimed(&mut self, now: Instant, join_id: JoinId) {
        if let Some(sender) = self.membership.find_join(join_id) {
            self.take_all_out(now, &[sender], LeaveReason::Lost);
            self.close_media(now, &[sender]);
        }
    }

    /// Removes all participants of an account.
    fn kick(&mut self, now: Instant, ticket: Ticket, account: AccountId) {
        let joins = self.cancel_joins(now, self.membership.joins().of(account), &JoinError::Kicked);
        let reach = self.reach(now, account);
        if joins == 0 && !self.membership.may_have_sessions(account) && reach == Reach::All {
            self.outbox
                .answer_change(ticket, Err(ChangeError::NobodyToKick));
            return;
        }
        let senders = self.membership.senders_of(account);
        self.membership.remember_kicked(&senders);
        self.take_all_out(now, &senders, LeaveReason::Kicked);
        let commands = self.close_all_of(now, account);
        self.acknowledge(ticket, reach, &commands);
    }

    /// The store has answered a request.
    pub(super) fn stored(&mut self, now: Instant, ticket: Ticket, result: Result<(), ChangeError>) {
        let Some(change) = self.requests.stored(ticket) else {
            return;
        };
        if let Err(error) = result {
            self.outbox.answer_change(ticket, Err(error));
            return;
        }
        match change {
            StoredChange::Standing(account, new) => {
                let reach = self.reach(now, account);
                let commands = self.apply(now, account, new);
                self.acknowledge(ticket, reach, &commands);
            }
            StoredChange::Deletion => {
                let commands = self.close(now);
                self.acknowledge(ticket, Reach::All, &commands);
            }
        }
    }

    /// Whether all relays that may have sessions of the account can be commanded.
    fn reach(&self, now: Instant, account: AccountId) -> Reach {
        let nowhere = self.placement.nowhere_since();
        let nowhere = nowhere.filter(|_| self.membership.may_have_sessions(account));
        let since = self
            .former_relays
            .unreachable_since()
            .into_iter()
            .chain(nowhere);
        match since.min() {
            None => Reach::All,
            Some(since) if now.saturating_duration_since(since) < GIVEN_UP => Reach::NotAll,
            Some(_) => Reach::GivenUp,
        }
    }

    /// Applies a stored standing. Returns the commands that carry it out.
    fn apply(&mut self, now: Instant, account: AccountId, new: Option<Standing>) -> Vec<u64> {
        let (error, reason) = match new {
            None => (JoinError::NotAMember, LeaveReason::Left),
            Some(standing) if standing.role == Role::Banned => {
                (JoinError::Banned, LeaveReason::Banned)
            }
            Some(standing) => return self.change(now, account, standing),
        };
        self.cancel_joins(now, self.membership.joins().of(account), &error);
        self.take_all_out(now, &self.membership.senders_of(account), reason);
        self.close_all_of(now, account)
    }

    fn change(&mut self, now: Instant, account: AccountId, standing: Standing) -> Vec<u64> {
        self.membership.joins_mut().change(account, standing);
        for sender in self.membership.senders_of(account) {
            if let Some(participant) = self.membership.change(sender, standing) {
                let everyone = self.membership.everyone();
                self.outbox.tell(everyone, EventKind::Changed(participant));
            }
        }
        let rights = self.membership.may_speak_of(account);
        let set = |(sender, may_speak)| {
            let action = Action::SetMaySpeak { sender, may_speak };
            self.command_everywhere(now, &action)
        };
        rights.into_iter().flat_map(set).collect()
    }

    /// Closes the room of a deleted conference.
    fn close(&mut self, now: Instant) -> Vec<u64> {
        self.cancel_joins(
            now,
            self.membership.joins().tickets(),
            &JoinError::ConferenceDeleted,
        );
        for sender in self.membership.senders() {
            self.take_out(now, sender, LeaveReason::Closed, None);
        }
        self.command_everywhere(now, &Action::CloseRoom)
    }

    /// An account session has ended: its participants leave.
    pub(super) fn end_session(&mut self, now: Instant, session: SessionId) {
        let joins = self.membership.joins().of_session(session);
        self.cancel_joins(now, joins, &JoinError::SessionEnded);
        let senders = self.membership.senders_of_session(session);
        self.take_all_out(now, &senders, LeaveReason::SessionEnded);
        self.close_media(now, &senders);
    }

    /// Refuses these joins and returns their number.
    fn cancel_joins(&mut self, now: Instant, joins: Vec<Ticket>, error: &JoinError) -> usize {
        for ticket in &joins {
            self.cancel_join(now, *ticket, error.clone());
        }
        joins.len()
    }

    /// Removes participants whose sessions have to be closed.
    fn take_all_out(&mut self, now: Instant, senders: &[u16], reason: LeaveReason) {
        for sender in senders {
            if let Some(state) = self.membership.get(*sender) {
                let account = state.participant.account;
                self.membership
                    .departed_mut()
                    .note_unclosed(*sender, Some(account));
            }
            self.take_out(now, *sender, reason, None);
        }
    }

    /// Removes a participant and tells everybody; its own client too, unless that is `quiet`.
    pub(super) fn take_out(
        &mut self,
        now: Instant,
        sender: u16,
        reason: LeaveReason,
        quiet: Option<ClientId>,
    ) {
        let Some(state) = self.membership.remove(sender) else {
            return;
        };
        self.group.leave(now, state.participant.join_id);
        let others = self.membership.everyone();
        self.outbox.tell(others, EventKind::Left(sender, reason));
        if let Some(client) = state.client.filter(|client| quiet != Some(*client)) {
            let removed = EventKind::Removed(state.participant.join_id, reason);
            self.outbox.tell_more(vec![client], removed);
        }
        self.outbox.push(Effect::Absent(state.participant.account));
        self.frame_reports.forget(sender);
        // What was asked of the relay for it matters to nobody any more.
        self.calls.forget_participant(sender);
        for ticket in self.membership.joins().resuming(sender) {
            if let Some(join) = self.membership.joins_mut().take(ticket) {
                self.outbox.push(Effect::Absent(join.who.account));
                self.outbox.answer_join(ticket, Err(JoinError::Gone));
            }
        }
    }

    /// Closes all sessions that may belong to the account.
    fn close_all_of(&mut self, now: Instant, account: AccountId) -> Vec<u64> {
        let senders = self.membership.departed().unclosed_of(account);
        self.close_media(now, &senders)
    }

    /// A participant reports that frames under a leaf do not decrypt.
    pub(super) fn frames_reported(&mut self, now: Instant, of: &OwnJoin, leaf: u32) {
        let Some(reporter) = self.membership.find_own(of) else {
            return;
        };
        let mut participants = self.membership.all().map(|state| &state.participant);
        let Some((sender, account)) = participants
            .find(|participant| participant.leaf.map(|of| of.leaf) == Some(leaf))
            .map(|participant| (participant.sender, participant.account))
        else {
            return;
        };
        // What one's own devices say of each other is for nobody to judge.
        if sender == reporter || account == of.account {
            return;
        }
        let Some(accounts) = self.frame_reports.take(now, sender, of.account) else {
            return;
        };
        let accounts = u32::try_from(accounts).unwrap_or(u32::MAX);
        let moderates = |role| matches!(role, Role::Owner | Role::Moderator);
        let moderators = self
            .membership
            .clients_where(|participant| moderates(participant.role));
        self.outbox
            .tell(moderators, EventKind::FramesUnreadable(sender, accounts));
    }
}
