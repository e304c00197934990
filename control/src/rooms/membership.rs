//! The participants of a room, its pending joins, the joins that were kicked, and sessions that relays may still have.

mod leaves;

use std::collections::BTreeMap;

use confab_protocol::cluster::Leaves;
use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, Capabilities, JoinId, Participant, ResumeSecret};
use confab_protocol::media::ConnectionId;

use super::departed::Departed;
use super::effect::{ClientId, Joiner, OwnJoin, Resume, Ticket};
use super::errors::JoinError;
use super::note::ResumeHash;
use super::participant::{Finished, MediaSession, ParticipantState, SessionRequest, Wanted};
use super::pending_joins::{JoinStage, PendingJoin, PendingJoins};
use super::world::World;
use crate::store::{ConferenceRecord, SessionId, Standing};

/// Participants that one account may have in a room.
const MAX_DEVICES: usize = 8;

/// The participants of a room, and sessions that outlive theirs.
pub(super) struct Membership {
    max_participants: usize,
    /// The version of the room's media datagrams; `None` before the first join is admitted.
    media_version: Option<u32>,
    /// By sender label.
    participants: BTreeMap<u16, ParticipantState>,
    joins: PendingJoins,
    /// Where the search for a free label starts.
    next_sender: u16,
    departed: Departed,
}

impl Membership {
    /// A room without participants.
    pub(super) fn new(max_participants: usize) -> Self {
        Self {
            max_participants,
            media_version: None,
            participants: BTreeMap::new(),
            joins: PendingJoins::default(),
            next_sender: 0,
            departed: Departed::default(),
        }
    }

    /// Takes over from a room of the same conference that just ended.
    pub(super) fn follow(&mut self, before: &mut Self) {
        self.departed.follow(&mut before.departed);
    }

    // ---- Participants

    pub(super) fn get(&self, sender: u16) -> Option<&ParticipantState> {
        self.participants.get(&sender)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &ParticipantState> {
        self.participants.values()
    }

    pub(super) fn len(&self) -> usize {
        self.participants.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Adds a participant. Replaces the participant of the same label.
    pub(super) fn insert(&mut self, state: ParticipantState) {
        self.participants.insert(state.participant.sender, state);
    }

    /// Removes a participant.
    pub(super) fn remove(&mut self, sender: u16) -> Option<ParticipantState> {
        self.participants.remove(&sender)
    }

    /// Removes all participants.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = ParticipantState> + use<> {
        std::mem::take(&mut self.participants).into_values()
    }

    /// The sender of the account's join.
    pub(super) fn find(&self, account: AccountId, join_id: JoinId) -> Option<u16> {
        self.sender_where(|state| {
            state.participant.account == account && state.participant.join_id == join_id
        })
    }

    /// The sender of the join.
    pub(super) fn find_join(&self, join_id: JoinId) -> Option<u16> {
        self.sender_where(|state| state.participant.join_id == join_id)
    }

    /// The sender of the join, if the secret proves that this client made it.
    pub(super) fn find_own(&self, of: &OwnJoin) -> Option<u16> {
        let sender = self.find(of.account, of.join_id)?;
        let state = self.participants.get(&sender)?;
        (state.resume == ResumeHash::from(&of.secret)).then_some(sender)
    }

    /// The sender that the client asks to resume, if its secret is right.
    pub(super) fn find_resumed(&self, account: AccountId, resume: &Resume) -> Option<u16> {
        self.find_own(&OwnJoin {
            account,
            join_id: resume.join_id,
            secret: resume.secret.clone(),
        })
    }

    fn sender_where(&self, is_it: impl Fn(&ParticipantState) -> bool) -> Option<u16> {
        let mut all = self.participants.iter();
        all.find(|(_, state)| is_it(state))
            .map(|(sender, _)| *sender)
    }

    fn senders_where(&self, is_it: impl Fn(&ParticipantState) -> bool) -> Vec<u16> {
        let all = self.participants.iter();
        all.filter(|(_, state)| is_it(state))
            .map(|(sender, _)| *sender)
            .collect()
    }

    pub(super) fn senders(&self) -> Vec<u16> {
        self.participants.keys().copied().collect()
    }

    pub(super) fn senders_of(&self, account: AccountId) -> Vec<u16> {
        self.senders_where(|state| state.participant.account == account)
    }

    pub(super) fn senders_of_session(&self, session: SessionId) -> Vec<u16> {
        self.senders_where(|state| state.session == session)
    }

    /// The clients of all participants for which `is_one` holds, without duplicates.
    pub(super) fn clients_where(&self, is_one: impl Fn(&Participant) -> bool) -> Vec<ClientId> {
        let of = self.all().filter(|state| is_one(&state.participant));
        let mut clients: Vec<_> = of.filter_map(|state| state.client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// The clients of all participants, without duplicates.
    pub(super) fn everyone(&self) -> Vec<ClientId> {
        self.clients_where(|_| true)
    }

    /// Whether the client has a participant or a pending join here.
    pub(super) fn knows(&self, client: ClientId) -> bool {
        self.all().any(|state| state.client == Some(client)) || self.joins.knows(client)
    }

    /// The account sessions of all participants and pending joins.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        let present = self.all().map(|state| state.session);
        present.chain(self.joins.sessions())
    }

    /// Sets a participant's role and mute. Returns the participant if that changed it.
    pub(super) fn change(&mut self, sender: u16, standing: Standing) -> Option<Participant> {
        let participant = &mut self.participants.get_mut(&sender)?.participant;
        let new = (standing.role, standing.muted);
        if (participant.role, participant.muted) == new {
            return None;
        }
        (participant.role, participant.muted) = new;
        Some(participant.clone())
    }

    /// The account's participants and admitted joins, with their right to speak.
    pub(super) fn may_speak_of(&self, account: AccountId) -> Vec<(u16, bool)> {
        let present = self.all().map(|state| &state.participant);
        let of = present.chain(self.joins.newcomers());
        of.filter(|participant| participant.account == account)
            .map(|participant| (participant.sender, participant.may_speak()))
            .collect()
    }

    // ---- Media sessions

    /// The version of the room's media datagrams; `None` before the first join is admitted.
    pub(super) fn media_version(&self) -> Option<u32> {
        self.media_version
    }

    /// Sets the version of a room that was taken over.
    pub(super) fn keep_version(&mut self, version: u32) {
        self.media_version = Some(version);
    }

    pub(super) fn set_media(&mut self, sender: u16, media: MediaSession) {
        if let Some(state) = self.participants.get_mut(&sender) {
            state.media = media;
        }
    }

    /// The room has lost its relay, and with it all sessions.
    pub(super) fn lose_media(&mut self) {
        for state in self.participants.values_mut() {
            state.media = MediaSession::Waiting;
        }
    }

    /// Marks all waiting sessions as opening and returns them. The session of a participant that is being resumed is opened by its join
    /// instead.
    pub(super) fn open_waiting(&mut self) -> Vec<SessionRequest> {
        let opening = self.joins.opening();
        let resuming: Vec<u16> = opening.map(|participant| participant.sender).collect();
        let waiting = self.participants.iter_mut().filter(|(sender, state)| {
            state.media == MediaSession::Waiting && !resuming.contains(sender)
        });
        waiting
            .map(|(_, state)| {
                state.media = MediaSession::Opening;
                SessionRequest {
                    participant: state.participant.clone(),
                    session: state.session,
                    resume: state.resume,
                    leaves: state.leaves,
                }
            })
            .collect()
    }

    /// All open sessions with their participants.
    pub(super) fn open_sessions(&self) -> impl Iterator<Item = (ConnectionId, &ParticipantState)> {
        self.all().filter_map(|state| match state.media {
            MediaSession::Open(id) => Some((id, state)),
            MediaSession::Waiting | MediaSession::Opening => None,
        })
    }

    /// Whether every participant has an open session.
    pub(super) fn are_all_open(&self) -> bool {
        self.all()
            .all(|state| matches!(state.media, MediaSession::Open(_)))
    }

    /// Whether this is the participant's open session.
    pub(super) fn has_session(&self, sender: u16, connection_id: ConnectionId) -> bool {
        let state = self.participants.get(&sender);
        state.is_some_and(|state| state.media == MediaSession::Open(connection_id))
    }

    /// Whether the participant's session is being opened.
    pub(super) fn is_opening(&self, sender: u16) -> bool {
        let state = self.participants.get(&sender);
        state.is_some_and(ParticipantState::is_opening)
    }

    /// Whether a participant other than the join's own has an open session.
    pub(super) fn has_others_open(&self, ticket: Ticket) -> bool {
        let own = self.joins.get(ticket).and_then(PendingJoin::opening);
        let own = own.map(|participant| participant.sender);
        self.open_sessions()
            .any(|(_, state)| Some(state.participant.sender) != own)
    }

    /// Sessions that the room needs for its participants and admitted joins.
    pub(super) fn sessions_wanted(&self) -> u64 {
        (self.participants.len() + self.joins.newcomers().count()) as u64
    }

    // ---- Joins

    /// Joins that are not answered.
    pub(super) fn joins(&self) -> &PendingJoins {
        &self.joins
    }

    pub(super) fn joins_mut(&mut self) -> &mut PendingJoins {
        &mut self.joins
    }

    /// Admits a join with the standing that the store gave its account. Fails if the room has no place for it, or does not speak its
    /// version of media datagrams.
    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        conference: ConferenceRecord,
        standing: Standing,
        world: &mut dyn World,
    ) -> Result<(), JoinError> {
        let (participant, resume_secret) = self.future_participant(ticket, standing, world)?;
        self.joins
            .admit(ticket, conference, participant, resume_secret);
        Ok(())
    }

    /// The participant of the join, with the secret for a new one.
    fn future_participant(
        &mut self,
        ticket: Ticket,
        standing: Standing,
        world: &mut dyn World,
    ) -> Result<(Participant, Option<ResumeSecret>), JoinError> {
        let join = self.joins.get(ticket).ok_or(JoinError::Gone)?;
        let who = &join.who;
        if standing.role == Role::Banned {
            return Err(JoinError::Banned);
        }
        let version = match self.media_version {
            Some(version) => Some(version).filter(|version| who.media.contains(*version)),
            None => world.media_version(who.media),
        };
        let version = version.ok_or(JoinError::UnsupportedMedia {
            theirs: who.media,
            kept: self.media_version,
        })?;
        if let Some(resume) = &join.resume {
            let found = self.find_resumed(who.account, resume);
            let found = found.and_then(|sender| self.participants.get(&sender));
            let found = found.ok_or(JoinError::Gone)?;
            return Ok((found.participant.clone(), None));
        }
        self.check_room(who.account)?;
        let (account, username) = (who.account, who.username.clone());
        let capabilities = who.capabilities.clone();
        let sender = self.free_sender().ok_or(JoinError::NoLabel)?;
        let (mut join_id, mut secret) = ([0; JoinId::LEN], [0; ResumeSecret::LEN]);
        world.random(&mut join_id);
        world.random(&mut secret);
        self.media_version = Some(version);
        let participant = Participant {
            sender,
            leaf: None,
            join_id: JoinId::new(join_id),
            account,
            username: username.into(),
            role: standing.role,
            muted: standing.muted,
            capabilities,
        };
        Ok((participant, Some(ResumeSecret::new(secret))))
    }

    /// Fails if the room, or the account in it, has all the participants that it may have.
    fn check_room(&self, account: AccountId) -> Result<(), JoinError> {
        let present = self.all().map(|state| &state.participant);
        let all = present.chain(self.joins.newcomers());
        let (mut devices, mut count) = (0, 0);
        for participant in all {
            count += 1;
            devices += usize::from(participant.account == account);
        }
        if devices >= MAX_DEVICES {
            return Err(JoinError::TooManyDevices { most: MAX_DEVICES });
        }
        if count >= self.max_participants {
            return Err(JoinError::RoomFull {
                most: self.max_participants,
            });
        }
        Ok(())
    }

    fn free_sender(&mut self) -> Option<u16> {
        let is_coming = |sender| {
            let mut opening = self.joins.opening();
            opening.any(|participant| participant.sender == sender)
        };
        let first = self.next_sender;
        let mut candidates = (0..=u16::MAX).map(|step| first.wrapping_add(step));
        let free = candidates.find(|sender| {
            !self.participants.contains_key(sender)
                && !self.departed.is_unclosed(*sender)
                && !is_coming(*sender)
        })?;
        self.next_sender = free.wrapping_add(1);
        Some(free)
    }

    /// Gives no label up to `highest` to the next joins: its last holder may have left a moment ago.
    pub(super) fn give_labels_after(&mut self, highest: u16) {
        self.next_sender = highest.wrapping_add(1);
    }

    /// The command that an admitted join needs. `None` if it is not admitted.
    pub(super) fn wanted(&mut self, ticket: Ticket) -> Option<Wanted> {
        let live = self.joins.take_live(ticket);
        let join = self.joins.get(ticket)?;
        let JoinStage::Opening {
            participant,
            resume_secret,
            ..
        } = &join.stage
        else {
            return None;
        };
        let (sender, session) = (participant.sender, join.who.session);
        let fresh = resume_secret.as_ref().map(ResumeHash::from);
        if join.resume.is_some()
            && let Some(state) = self.participants.get_mut(&sender)
        {
            // What the relay keeps with the session says by whose session it came.
            let is_kept = state.session == session
                && live.is_some_and(|live| state.media == MediaSession::Open(live));
            if is_kept {
                return Some(Wanted::Kept(sender, participant.may_speak()));
            }
            state.media = MediaSession::Opening;
        }
        let known = self.participants.get(&sender);
        Some(Wanted::Opened(Box::new(SessionRequest {
            participant: participant.clone(),
            session,
            resume: fresh.or(known.map(|state| state.resume))?,
            leaves: known.map_or(Leaves::NONE, |state| state.leaves),
        })))
    }

    /// Ends a join whose session the relay has opened; with `None` the participant keeps the session that it has.
    pub(super) fn finish(
        &mut self,
        who: &Joiner,
        participant: Participant,
        resume_secret: Option<ResumeSecret>,
        opened: Option<ConnectionId>,
    ) -> Finished {
        let sender = participant.sender;
        let opened = opened.map(MediaSession::Open);
        if let Some(secret) = resume_secret {
            self.insert(ParticipantState {
                participant: participant.clone(),
                session: who.session,
                client: Some(who.client),
                resume: (&secret).into(),
                media: opened.unwrap_or(MediaSession::Waiting),
                leaves: Leaves::NONE,
            });
            return Finished::Joined(participant, secret);
        }
        let Some(state) = self.participants.get_mut(&sender) else {
            return Finished::Gone;
        };
        state.client = Some(who.client);
        state.session = who.session;
        if let Some(opened) = opened {
            state.media = opened;
        }
        let changed = set_capabilities(&mut state.participant, &who.capabilities);
        let changed = changed.then(|| state.participant.clone());
        Finished::Resumed(state.participant.role, changed)
    }

    // ---- Departed participants

    /// The departed participants.
    pub(super) fn departed(&self) -> &Departed {
        &self.departed
    }

    pub(super) fn departed_mut(&mut self) -> &mut Departed {
        &mut self.departed
    }

    /// Whether a relay may have a session of the account.
    pub(super) fn may_have_sessions(&self, account: AccountId) -> bool {
        !self.senders_of(account).is_empty() || !self.departed.unclosed_of(account).is_empty()
    }

    /// Remembers the joins of participants that are kicked.
    pub(super) fn remember_kicked(&mut self, senders: &[u16]) {
        for sender in senders {
            if let Some(state) = self.participants.get(sender) {
                let participant = &state.participant;
                self.departed
                    .note_kicked(participant.account, participant.join_id);
            }
        }
    }
}

/// Returns whether that changed them.
fn set_capabilities(participant: &mut Participant, capabilities: &Capabilities) -> bool {
    let changed = participant.capabilities != *capabilities;
    if changed {
        participant.capabilities.clone_from(capabilities);
    }
    changed
}
