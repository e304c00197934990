//! Who comes and goes.

use std::time::Instant;

use confab_protocol::cluster::Action;
use confab_protocol::control::room::{LeaveReason, Role};
use confab_protocol::control::{
    AccountId, ErrorCode, JoinId, MediaGrant, Participant, Refusal, ResumeSecret,
};
use confab_protocol::version::VersionRange;

use super::commands::Purpose;
use super::effect::{Answer, ClientId, Effect, EventKind, Joined, Joiner, OwnJoin, Resume, Ticket};
use super::note::ResumeHash;
use super::room::{Join, JoinStage, MediaSession, ParticipantState, Room, World};
use super::unreached::Reach;
use crate::store::{ConferenceRecord, SessionId, Standing};

/// Devices with which one account may be in a room.
const MAX_DEVICES: usize = 8;
/// Joins that were kicked out which a room remembers.
const MAX_KICKED: usize = 256;

impl Room {
    pub(super) fn begin_join(
        &mut self,
        now: Instant,
        ticket: Ticket,
        who: Joiner,
        resume: Option<Resume>,
    ) {
        if let Some(resume) = &resume
            && self.find_resumed(who.account, resume).is_none()
        {
            if let Some(live) = resume.live {
                self.heard_unreached(now, live, None);
            }
            let is_kicked = self.kicked.contains(&(who.account, resume.join_id));
            let refusal = if is_kicked { kicked() } else { join_gone() };
            self.answer(ticket, Err(refusal));
            return;
        }
        let account = who.account;
        self.effects.push_back(Effect::Present(account));
        self.effects.push_back(Effect::Admit { ticket, account });
        let stage = JoinStage::Admitting { again: false };
        let join = Join {
            who,
            resume,
            failures: 0,
            stage,
        };
        self.joins.insert(ticket, join);
    }

    pub(super) fn admitted(
        &mut self,
        now: Instant,
        ticket: Ticket,
        result: Result<(ConferenceRecord, Standing), Refusal>,
        world: &mut dyn World,
    ) {
        let Some(join) = self.joins.get_mut(&ticket) else {
            return;
        };
        if let JoinStage::Admitting {
            again: again @ true,
        } = &mut join.stage
        {
            *again = false;
            let account = join.who.account;
            self.effects.push_back(Effect::Admit { ticket, account });
            return;
        }
        let participant = result.and_then(|(conference, standing)| {
            let (participant, secret) = self.future_participant(ticket, standing, world)?;
            Ok((participant, secret, conference))
        });
        match participant {
            Err(refusal) => self.cancel_join(now, ticket, refusal),
            Ok((participant, resume_secret, conference)) => {
                if self.region.is_none() {
                    let first = self
                        .joins
                        .get(&ticket)
                        .and_then(|join| join.who.region.clone());
                    self.region = conference.region.clone().or(first);
                }
                if let Some(join) = self.joins.get_mut(&ticket) {
                    join.stage = JoinStage::Opening {
                        conference: Box::new(conference),
                        participant,
                        resume_secret,
                    };
                }
                if self.place.is_some() {
                    self.open_join(now, ticket, world);
                } else {
                    self.place_or_wait(now, world);
                }
            }
        }
    }

    /// Who this join will be, with the secret that its client is given, or who it is when it takes one up again.
    fn future_participant(
        &mut self,
        ticket: Ticket,
        standing: Standing,
        world: &mut dyn World,
    ) -> Result<(Participant, Option<ResumeSecret>), Refusal> {
        let Some(Join { who, resume, .. }) = self.joins.get(&ticket) else {
            return Err(join_gone());
        };
        if standing.role == Role::Banned {
            return Err(banned());
        }
        let version = match self.media_version {
            Some(version) => Some(version).filter(|version| who.media.contains(*version)),
            None => world.media_version(who.media),
        };
        let version = version.ok_or_else(|| unsupported_media(who.media, self.media_version))?;
        if let Some(resume) = resume {
            let person = self
                .find_resumed(who.account, resume)
                .and_then(|sender| self.participants.get(&sender));
            let person = person.ok_or_else(join_gone)?;
            return Ok((person.participant.clone(), None));
        }
        let accounts = self
            .participants
            .values()
            .map(|person| person.participant.account);
        let coming_of_account = self.joins.values().filter(|join| {
            matches!(&join.stage, JoinStage::Opening { .. })
                && join.resume.is_none()
                && join.who.account == who.account
        });
        let devices = accounts.filter(|account| *account == who.account).count();
        if devices + coming_of_account.count() >= MAX_DEVICES {
            return Err(Refusal::new(
                ErrorCode::LimitReached,
                format!(
                    "you are in this room with {MAX_DEVICES} devices already: leave with one of them"
                ),
            ));
        }
        let coming = self.joins.values().filter(|join| {
            matches!(&join.stage, JoinStage::Opening { .. }) && join.resume.is_none()
        });
        if self.participants.len() + coming.count() >= self.max_participants {
            return Err(Refusal::new(
                ErrorCode::LimitReached,
                format!(
                    "the room is full: it takes {} participants",
                    self.max_participants
                ),
            ));
        }
        let (account, username) = (who.account, who.username.clone());
        let capabilities = who.capabilities.clone();
        let sender = self.free_sender().ok_or_else(|| {
            Refusal::new(
                ErrorCode::LimitReached,
                "the room has given all of its labels away",
            )
        })?;
        let (mut join_id, mut secret) = ([0; JoinId::LEN], [0; ResumeSecret::LEN]);
        world.random(&mut join_id);
        world.random(&mut secret);
        self.media_version = Some(version);
        let participant = Participant {
            sender,
            // A leaf of its own for each participant: the label will do until a group gives one.
            leaf: Some(sender.into()),
            join_id: JoinId::new(join_id),
            account,
            username: username.into(),
            role: standing.role,
            muted: standing.muted,
            capabilities,
        };
        Ok((participant, Some(ResumeSecret::new(secret))))
    }

    /// The relay has opened the join's media session, or still has the one that is `None` here because it stays.
    pub(super) fn finish_join(&mut self, ticket: Ticket, media: Option<MediaGrant>) {
        let Some(Join { who, stage, .. }) = self.joins.remove(&ticket) else {
            return;
        };
        let opened = media
            .as_ref()
            .map(|media| MediaSession::Open(media.connection_id));
        let JoinStage::Opening {
            conference,
            participant,
            resume_secret,
        } = stage
        else {
            return;
        };
        let sender = participant.sender;
        let role = if let Some(secret) = &resume_secret {
            let others = self.everyone();
            let role = participant.role;
            self.participants.insert(
                sender,
                ParticipantState {
                    participant: participant.clone(),
                    session: who.session,
                    client: Some(who.client),
                    resume: secret.into(),
                    media: opened.unwrap_or(MediaSession::Waiting),
                },
            );
            self.tell(others, EventKind::Joined(participant));
            role
        } else {
            // The participant counts already; this was the join's own count.
            self.effects.push_back(Effect::Absent(who.account));
            let Some(person) = self.participants.get_mut(&sender) else {
                self.answer(ticket, Err(join_gone()));
                return;
            };
            person.client = Some(who.client);
            person.session = who.session;
            if let Some(opened) = opened {
                person.media = opened;
            }
            let role = person.participant.role;
            if person.participant.capabilities != who.capabilities {
                person.participant.capabilities = who.capabilities;
                let changed = EventKind::Changed(person.participant.clone());
                self.tell(self.everyone(), changed);
            }
            role
        };
        let joined = Joined {
            conference: *conference,
            role,
            revision: self.revision,
            participants: self
                .participants
                .values()
                .map(|person| person.participant.clone())
                .collect(),
            sender,
            media,
            secret: self.secret.clone(),
            media_version: self.media_version(),
            resume_secret,
        };
        self.answer(ticket, Ok(Answer::Joined(Box::new(joined))));
    }

    /// Ends a join that has not been answered.
    pub(super) fn cancel_join(&mut self, now: Instant, ticket: Ticket, refusal: Refusal) {
        let Some(join) = self.joins.remove(&ticket) else {
            return;
        };
        self.effects.push_back(Effect::Absent(join.who.account));
        self.answer(ticket, Err(refusal));
        let asked = self
            .commands
            .values_mut()
            .find(|command| matches!(&command.purpose, Purpose::Join(of, ..) | Purpose::Keep(of) if *of == ticket));
        // One that is only asked for stays as it is.
        let was_asked = asked
            .map(|command| std::mem::replace(&mut command.purpose, Purpose::Nothing))
            .is_some_and(|purpose| matches!(purpose, Purpose::Join(..)));
        if let JoinStage::Opening { participant, .. } = join.stage {
            let sender = participant.sender;
            if join.resume.is_none() {
                // Whether the relay opened it or not: what is closed after it was asked to open stays closed.
                if self.fence().placement > 0 {
                    self.unclosed.insert(sender, Some(join.who.account));
                }
                self.command_everywhere(now, &Action::CloseMedia { sender });
            } else if was_asked
                || self
                    .participants
                    .get(&sender)
                    .is_some_and(ParticipantState::is_opening)
            {
                // The session that it had may be closed already: it has to have one again.
                self.reopen(now, sender);
            }
        }
    }

    pub(super) fn leave(
        &mut self,
        now: Instant,
        ticket: Ticket,
        account: AccountId,
        client: ClientId,
        join_id: JoinId,
    ) {
        let Some(sender) = self.find(account, join_id) else {
            self.answer(ticket, Err(participant_gone()));
            return;
        };
        self.take_out(sender, LeaveReason::Left, Some(client));
        self.unclosed.insert(sender, Some(account));
        let commands = self.close_media(now, &[sender]);
        self.wait_for(ticket, Reach::All, commands);
    }

    /// Nobody has the keys of a join whose answer found no client: it would stand in the room until its session is over.
    pub(super) fn unclaimed(&mut self, now: Instant, join_id: JoinId) {
        let mut participants = self.participants.iter();
        let found = participants.find(|(_, person)| person.participant.join_id == join_id);
        let Some(sender) = found.map(|(sender, _)| *sender) else {
            return;
        };
        self.take_all_out(&[sender], LeaveReason::Lost);
        self.close_media(now, &[sender]);
    }

    pub(super) fn kick(&mut self, now: Instant, ticket: Ticket, account: AccountId) {
        let joins = self.cancel_joins_of(now, account, kicked);
        let senders = self.senders_of(account);
        let is_unclosed = self.unclosed.values().any(|of| may_be(*of, account));
        let reach = self.reach(now, account);
        if senders.is_empty() && joins == 0 && !is_unclosed && reach == Reach::All {
            let message = "nobody of this name is in the room";
            self.answer(
                ticket,
                Err(Refusal::new(ErrorCode::NotFound, message).about("username")),
            );
            return;
        }
        self.remember_kicked(&senders);
        self.take_all_out(&senders, LeaveReason::Kicked);
        let commands = self.close_all_of(now, account);
        self.wait_for(ticket, reach, commands);
    }

    /// Whose client is on its way back from a lost connection does not hear of the kick, and would come in again: it is told
    /// when it wants to take its join up.
    fn remember_kicked(&mut self, senders: &[u16]) {
        for person in senders
            .iter()
            .filter_map(|sender| self.participants.get(sender))
        {
            if self.kicked.len() >= MAX_KICKED {
                self.kicked.pop_front();
            }
            let participant = &person.participant;
            self.kicked
                .push_back((participant.account, participant.join_id));
        }
    }

    /// A standing was stored; the commands that make it so.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        account: AccountId,
        new: Option<Standing>,
    ) -> Vec<u64> {
        let senders = self.senders_of(account);
        match new {
            None => {
                let left = || Refusal::new(ErrorCode::Denied, "you have left the conference");
                self.cancel_joins_of(now, account, left);
                self.take_all_out(&senders, LeaveReason::Left);
                self.close_all_of(now, account)
            }
            Some(Standing {
                role: Role::Banned, ..
            }) => {
                self.cancel_joins_of(now, account, banned);
                self.take_all_out(&senders, LeaveReason::Banned);
                self.close_all_of(now, account)
            }
            Some(standing) => {
                self.change_joins_of(account, standing);
                for sender in senders {
                    self.change(sender, standing);
                }
                self.set_may_speak(now, account)
            }
        }
    }

    pub(super) fn end_session(&mut self, now: Instant, session: SessionId) {
        let ended = || {
            Refusal::new(
                ErrorCode::SessionEnded,
                "your session has ended: log in again",
            )
        };
        let joins: Vec<Ticket> = self
            .joins
            .iter()
            .filter(|(_, join)| join.who.session == session)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in joins {
            self.cancel_join(now, ticket, ended());
        }
        let senders: Vec<u16> = self
            .participants
            .iter()
            .filter(|(_, person)| person.session == session)
            .map(|(sender, _)| *sender)
            .collect();
        self.take_all_out(&senders, LeaveReason::SessionEnded);
        self.close_media(now, &senders);
    }

    /// Takes a participant out of the room and tells everybody, itself unless `quiet` is where it asked from.
    pub(super) fn take_out(&mut self, sender: u16, reason: LeaveReason, quiet: Option<ClientId>) {
        let Some(person) = self.participants.remove(&sender) else {
            return;
        };
        let others = self.everyone();
        self.tell(others, EventKind::Left(sender, reason));
        if let Some(client) = person.client.filter(|client| quiet != Some(*client)) {
            let removed = EventKind::Removed(person.participant.join_id, reason);
            self.tell_again(vec![client], removed);
        }
        self.effects
            .push_back(Effect::Absent(person.participant.account));
        self.frame_reports.remove(&sender);
        self.forget_commands_of(sender);
    }

    /// What was asked of the relay for a participant that is gone matters to nobody any more.
    fn forget_commands_of(&mut self, gone: u16) {
        for command in self.commands.values_mut() {
            if matches!(command.purpose, Purpose::Move(of, ..) | Purpose::Probe(of) if of == gone) {
                command.purpose = Purpose::Nothing;
            }
        }
        let resumes = |join: &Join| {
            join.resume.is_some()
                && matches!(&join.stage, JoinStage::Opening { participant, .. } if participant.sender == gone)
        };
        let tickets: Vec<Ticket> = self
            .joins
            .iter()
            .filter(|(_, join)| resumes(join))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            if let Some(join) = self.joins.remove(&ticket) {
                self.effects.push_back(Effect::Absent(join.who.account));
                self.answer(ticket, Err(join_gone()));
            }
        }
    }

    fn take_all_out(&mut self, senders: &[u16], reason: LeaveReason) {
        for sender in senders {
            if let Some(person) = self.participants.get(sender) {
                self.unclosed
                    .insert(*sender, Some(person.participant.account));
            }
            self.take_out(*sender, reason, None);
        }
    }

    /// Whether a relay where the room is, or was a moment ago, may have sessions of the account.
    pub(super) fn may_be_there(&self, account: AccountId) -> bool {
        !self.senders_of(account).is_empty()
            || self.unclosed.values().any(|of| may_be(*of, account))
    }

    /// Has the relay close what it may still have of the account.
    fn close_all_of(&mut self, now: Instant, account: AccountId) -> Vec<u64> {
        let of_account =
            |(sender, of): (&u16, &Option<AccountId>)| may_be(*of, account).then_some(*sender);
        let senders: Vec<u16> = self.unclosed.iter().filter_map(of_account).collect();
        self.close_media(now, &senders)
    }

    /// Has the relay close what it has not said to be closed.
    pub(super) fn close_unclosed(&mut self, now: Instant) {
        let senders: Vec<u16> = self.unclosed.keys().copied().collect();
        self.close_media(now, &senders);
    }

    pub(super) fn close_media(&mut self, now: Instant, senders: &[u16]) -> Vec<u64> {
        let close = |sender: &u16| {
            let action = Action::CloseMedia { sender: *sender };
            self.command_everywhere(now, &action)
        };
        senders.iter().flat_map(close).collect()
    }

    fn change(&mut self, sender: u16, standing: Standing) {
        let Some(person) = self.participants.get_mut(&sender) else {
            return;
        };
        let participant = &mut person.participant;
        if (participant.role, participant.muted) == (standing.role, standing.muted) {
            return;
        }
        (participant.role, participant.muted) = (standing.role, standing.muted);
        let changed = EventKind::Changed(participant.clone());
        self.tell(self.everyone(), changed);
    }

    /// Has the relay know what the account's participants may do, those on their way in too.
    fn set_may_speak(&mut self, now: Instant, account: AccountId) -> Vec<u64> {
        let coming = self.joins.values().filter_map(|join| match &join.stage {
            JoinStage::Opening { participant, .. } if join.resume.is_none() => Some(participant),
            _ => None,
        });
        let present = self.participants.values().map(|person| &person.participant);
        let rights: Vec<(u16, bool)> = present
            .chain(coming)
            .filter(|participant| participant.account == account)
            .map(|participant| (participant.sender, participant.may_speak()))
            .collect();
        let set = |(sender, may_speak)| {
            let action = Action::SetMaySpeak { sender, may_speak };
            self.command_everywhere(now, &action)
        };
        rights.into_iter().flat_map(set).collect()
    }

    /// Joins under way meet the standing that was stored meanwhile.
    fn change_joins_of(&mut self, account: AccountId, standing: Standing) {
        for join in self
            .joins
            .values_mut()
            .filter(|join| join.who.account == account)
        {
            match &mut join.stage {
                JoinStage::Admitting { again } => *again = true,
                JoinStage::Opening { participant, .. } => {
                    (participant.role, participant.muted) = (standing.role, standing.muted);
                }
            }
        }
    }

    fn cancel_joins_of(
        &mut self,
        now: Instant,
        account: AccountId,
        refusal: impl Fn() -> Refusal,
    ) -> usize {
        let of_account =
            |(ticket, join): (&Ticket, &Join)| (join.who.account == account).then_some(*ticket);
        let joins: Vec<Ticket> = self.joins.iter().filter_map(of_account).collect();
        for ticket in &joins {
            self.cancel_join(now, *ticket, refusal());
        }
        joins.len()
    }

    pub(super) fn find(&self, account: AccountId, join_id: JoinId) -> Option<u16> {
        let mut participants = self.participants.values().map(|person| &person.participant);
        participants
            .find(|participant| participant.account == account && participant.join_id == join_id)
            .map(|participant| participant.sender)
    }

    /// The participant of that join, if the client has made it.
    pub(super) fn find_own(&self, of: &OwnJoin) -> Option<u16> {
        let sender = self.find(of.account, of.join_id)?;
        let person = self.participants.get(&sender)?;
        (person.resume == ResumeHash::from(&of.secret)).then_some(sender)
    }

    fn find_resumed(&self, account: AccountId, resume: &Resume) -> Option<u16> {
        self.find_own(&OwnJoin {
            account,
            join_id: resume.join_id,
            secret: resume.secret.clone(),
        })
    }

    fn senders_of(&self, account: AccountId) -> Vec<u16> {
        let participants = self.participants.values().map(|person| &person.participant);
        participants
            .filter(|participant| participant.account == account)
            .map(|participant| participant.sender)
            .collect()
    }

    fn free_sender(&mut self) -> Option<u16> {
        let coming = |sender| {
            self.joins.values().any(|join| {
                matches!(&join.stage, JoinStage::Opening { participant, .. } if participant.sender == sender)
            })
        };
        let first = self.next_sender;
        let mut candidates = (0..=u16::MAX).map(|step| first.wrapping_add(step));
        let free = candidates.find(|sender| {
            !self.participants.contains_key(sender)
                && !self.unclosed.contains_key(sender)
                && !coming(*sender)
        })?;
        self.next_sender = free.wrapping_add(1);
        Some(free)
    }
}

/// Whether a session of which this much is known may be the account's.
fn may_be(of: Option<AccountId>, account: AccountId) -> bool {
    of.is_none_or(|of| of == account)
}

const GONE: &str = "this participant is not in the room any more: join afresh";

/// Of a participant that is to leave.
pub(super) fn participant_gone() -> Refusal {
    Refusal::new(ErrorCode::NotFound, GONE).about("join_id")
}

/// Of a join that is to be taken up again.
fn join_gone() -> Refusal {
    Refusal::new(ErrorCode::NotFound, GONE).about("resume_join_id")
}

fn unsupported_media(theirs: VersionRange, kept: Option<u32>) -> Refusal {
    let ours = match kept {
        Some(version) => format!("this room keeps version {version}"),
        None => "the server has no relay that speaks one of them".to_owned(),
    };
    Refusal::new(
        ErrorCode::UnsupportedVersion,
        format!("your client speaks versions {theirs} of voice, and {ours}: update the older"),
    )
}

fn kicked() -> Refusal {
    Refusal::new(
        ErrorCode::Denied,
        "you were kicked from the room; you may join again",
    )
}

fn banned() -> Refusal {
    Refusal::new(
        ErrorCode::Banned,
        "you are banned from this conference; only its owner or a moderator can lift that",
    )
}
