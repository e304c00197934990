//! Where a room's media is, and how it goes elsewhere.

use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, CommandOutcome, GenerationLeaf, Leaves, OpenMedia};
use confab_protocol::control::{ErrorCode, MediaGrant, Participant, Refusal};
use confab_protocol::media::{ConnectionId, HopKey};
use confab_protocol::version;

use super::commands::Purpose;
use super::effect::{Effect, EventKind, Ticket};
use super::home::Recorded;
use super::note::{Note, ResumeHash};
use super::refused::Failure;
use super::room::{
    JoinStage, MediaSession, PLACE_RETRY, ParticipantState, Place, RelayWish, Room, World,
};
use super::secret::account_label;
use crate::cluster::{LinkedRelay, RelayName};
use crate::store::{HomePlace, SessionId};

/// A room that was placed less than this ago waits before it is placed again, so that a relay that refuses everything
/// does not keep the server busy.
const SETTLING: Duration = Duration::from_secs(1);
/// A store that did not take where a room is is asked again after this time.
const RECORD_RETRY: Duration = Duration::from_secs(1);

impl Room {
    /// Opens what waits for the room's relay, or finds a relay first.
    pub(super) fn place_or_wait(&mut self, now: Instant, world: &mut dyn World) {
        if self.place.is_some() {
            self.open_waiting(now, world);
            return;
        }
        if self.retry_at.is_some() || self.placing.is_some() {
            return;
        }
        let wish = RelayWish {
            prefer: self.home.place.as_ref(),
            avoid: self.avoid.as_ref(),
            ..self.wish()
        };
        match world.pick_relay(&wish) {
            None => {
                let none = || {
                    Refusal::new(
                        ErrorCode::NoRelay,
                        "no relay carries voice for this server now: its operator has to start confab-relay, or one with more room",
                    )
                    .after(PLACE_RETRY)
                };
                self.without_place(now, none);
            }
            Some(relay) => self.go_to(relay),
        }
    }

    /// Places the room at that relay, as soon as its home says so.
    pub(super) fn go_to(&mut self, relay: LinkedRelay) {
        self.fence.placement += 1;
        self.record_at = None;
        self.placing = Some(relay.clone());
        self.record(&relay);
    }

    /// The home says where the media is to be, or the store does not answer: then it goes there all the same, for a store
    /// that is down ends no call.
    pub(super) fn place_recorded(
        &mut self,
        now: Instant,
        recorded: Recorded,
        world: &mut dyn World,
    ) {
        self.is_recording = false;
        match recorded {
            Recorded::Done(home) => self.home = home,
            Recorded::Superseded => return self.depose(),
            Recorded::Unknown(_) if self.record_anew => {}
            Recorded::Unknown(error) => {
                tracing::warn!(conference = %self.conference, %error, "where a room is could not be written down");
                self.record_at = Some(now + RECORD_RETRY);
            }
        }
        if std::mem::take(&mut self.record_anew) {
            // This was about where the room was; where it goes is written now.
            self.record_again();
            return;
        }
        let Some(relay) = self.placing.take() else {
            return;
        };
        self.avoid = None;
        if let Some(before) = self.place.take() {
            self.leave_behind(now, before.relay);
        }
        self.effects.push_back(Effect::Settle(Some(relay.clone())));
        self.place = Some(Place::new(relay, now));
        self.homeless_since = None;
        // Sessions that an earlier owner opened there, or this one before its room was elsewhere, are nobody's any more but
        // would go on hearing: who is in the room is let in anew.
        self.command(now, Purpose::Nothing, Action::CloseRoom);
        self.look_for_the_rest(now);
        self.open_waiting(now, world);
        let joins: Vec<Ticket> = self.joins.keys().copied().collect();
        for ticket in joins {
            self.open_join(now, ticket, world);
        }
    }

    /// Writes again where the media is.
    pub(super) fn record_again(&mut self) {
        let place = self.place.as_ref().map(|place| &place.relay);
        if let Some(relay) = self.placing.as_ref().or(place).cloned() {
            self.record(&relay);
        }
    }

    /// One at a time: of two that meet, the older could be the one that stays.
    fn record(&mut self, relay: &LinkedRelay) {
        if std::mem::replace(&mut self.is_recording, true) {
            self.record_anew = true;
            return;
        }
        self.effects.push_back(Effect::RecordPlace {
            home: self.home.clone(),
            place: HomePlace {
                relay: relay.name.clone(),
                boot: relay.boot,
                placement: self.fence.placement,
            },
        });
    }

    /// Asks the relay for the media session of a join that has been admitted.
    pub(super) fn open_join(&mut self, now: Instant, ticket: Ticket, world: &mut dyn World) {
        let Some(join) = self.joins.get_mut(&ticket) else {
            return;
        };
        let JoinStage::Opening {
            participant,
            resume_secret,
            ..
        } = &join.stage
        else {
            return;
        };
        let (participant, session) = (participant.clone(), join.who.session);
        let fresh = resume_secret.as_ref().map(ResumeHash::from);
        // Asked for once: if the relay does not have it, there will be a new one.
        let is_resumed = join.resume.is_some();
        let live = join.resume.as_mut().and_then(|resume| resume.live.take());
        let is_known = |person: &ParticipantState| {
            // What the relay keeps with the session says by whose session it came.
            person.session == session
                && matches!(&person.media, MediaSession::Open(id) if Some(*id) == live)
        };
        if self
            .participants
            .get(&participant.sender)
            .is_some_and(is_known)
        {
            let (sender, may_speak) = (participant.sender, participant.may_speak());
            let action = Action::SetMaySpeak { sender, may_speak };
            self.command(now, Purpose::Keep(ticket), action);
            return;
        }
        if is_resumed && let Some(person) = self.participants.get_mut(&participant.sender) {
            person.media = MediaSession::Opening;
        }
        let known = self.participants.get(&participant.sender);
        let Some(resume) = fresh.or(known.map(|person| person.resume)) else {
            return;
        };
        if let Some((uplink, downlink, action)) = self.open(&participant, session, resume, world) {
            self.command(now, Purpose::Join(ticket, uplink, downlink), action);
        }
    }

    /// What a participant was given when its session is open.
    pub(super) fn grant(
        &self,
        connection_id: ConnectionId,
        uplink_key: HopKey,
        downlink_key: HopKey,
    ) -> MediaGrant {
        let addresses = self
            .place
            .as_ref()
            .map(|place| place.relay.addresses.clone());
        MediaGrant {
            addresses: addresses.unwrap_or_default(),
            connection_id,
            uplink_key,
            downlink_key,
            era: self.fence.era,
            placement: self.fence.placement,
        }
    }

    pub(super) fn finish_move(&mut self, sender: u16, media: MediaGrant) {
        let Some(person) = self.participants.get_mut(&sender) else {
            return;
        };
        person.media = MediaSession::Open(media.connection_id);
        let (client, join_id) = (person.client, person.participant.join_id);
        let clients = client.into_iter().collect();
        self.tell(clients, EventKind::MediaMoved(join_id, media));
    }

    /// Has the participant's session opened anew at that time, or when sessions are looked after anyway.
    pub(super) fn reopen(&mut self, at: Instant, sender: u16) {
        if let Some(person) = self.participants.get_mut(&sender) {
            person.media = MediaSession::Waiting;
            self.retry_at.get_or_insert(at);
        }
    }

    /// A relay to which the room could go, other than the one where it is.
    pub(super) fn another_relay(&self, world: &mut dyn World) -> Option<LinkedRelay> {
        let here = &self.place.as_ref()?.relay.name;
        let wish = RelayWish {
            avoid: Some(here),
            ..self.wish()
        };
        world.pick_relay(&wish).filter(|relay| relay.name != *here)
    }

    /// Any relay that will do.
    pub(super) fn wish(&self) -> RelayWish<'_> {
        RelayWish {
            media_version: self.media_version(),
            region: self.region.as_ref(),
            prefer: None,
            avoid: None,
            sessions: 1,
            of_all: false,
        }
    }

    /// The version of media datagrams that the room keeps.
    pub(super) fn media_version(&self) -> u32 {
        self.media_version.unwrap_or(version::MEDIA.max())
    }

    /// Leaves the relay and looks for another, rather not `avoid`.
    pub(super) fn displace(
        &mut self,
        now: Instant,
        avoid: Option<RelayName>,
        world: &mut dyn World,
    ) {
        let Some(place) = self.place.take() else {
            return;
        };
        self.effects.push_back(Effect::Settle(None));
        self.effects.push_back(Effect::Abandon(place.relay));
        self.homeless_since = Some(now);
        self.avoid = avoid;
        self.look_for_the_rest(now);
        for command in std::mem::take(&mut self.commands).into_values() {
            // Joins and moves are asked for again at the new place.
            match command.purpose {
                Purpose::Part(ticket) => self.fail_waiting(now, ticket),
                Purpose::CloseLeft(relay) => self.left_unclosed(relay),
                _ => {}
            }
        }
        for person in self.participants.values_mut() {
            person.media = MediaSession::Waiting;
        }
        if now < place.since + SETTLING {
            self.retry_at = Some(now + PLACE_RETRY);
        } else {
            self.retry_at = None;
            self.place_or_wait(now, world);
        }
    }

    /// The relay answered that it did not do it.
    pub(super) fn disobeyed(
        &mut self,
        now: Instant,
        outcome: CommandOutcome,
        purpose: Purpose,
        world: &mut dyn World,
    ) {
        let here = self.place.as_ref().map(|place| place.relay.name.clone());
        match (&purpose, outcome) {
            // The relay has seen a later owner.
            (_, CommandOutcome::Fenced) => self.depose(),
            (_, CommandOutcome::WrongBoot) => {
                if let Purpose::Part(ticket) = purpose {
                    self.fail_waiting(now, ticket);
                }
                self.displace(now, None, world);
            }
            (Purpose::Join(ticket, ..), CommandOutcome::Full) => {
                self.join_failed(now, *ticket, Failure::Full, world);
            }
            (Purpose::Join(ticket, ..) | Purpose::Keep(ticket), _) => {
                self.join_failed(now, *ticket, Failure::Refused(outcome), world);
            }
            (Purpose::Move(..), _) => self.displace(now, here, world),
            (Purpose::Part(ticket), _) => self.fail_waiting(now, *ticket),
            (
                Purpose::Probe(_) | Purpose::Roll(..) | Purpose::CloseLeft(_) | Purpose::Nothing,
                _,
            ) => {}
        }
    }

    /// A relay that was out of reach may have ended sessions meanwhile, and told nobody.
    pub(super) fn probe_all(&mut self, now: Instant) {
        let participants: Vec<(u16, bool)> = self
            .participants
            .values()
            .filter(|person| matches!(person.media, MediaSession::Open(_)))
            .map(|person| (person.participant.sender, person.participant.may_speak()))
            .collect();
        for (sender, may_speak) in participants {
            let action = Action::SetMaySpeak { sender, may_speak };
            self.command(now, Purpose::Probe(sender), action);
        }
        self.close_unclosed(now);
    }

    /// Who waits to come in is told; who is in waits on.
    fn without_place(&mut self, now: Instant, refusal: impl Fn() -> Refusal) {
        let opening = |(ticket, join): (&Ticket, &super::room::Join)| {
            matches!(join.stage, JoinStage::Opening { .. }).then_some(*ticket)
        };
        let joins: Vec<Ticket> = self.joins.iter().filter_map(opening).collect();
        for ticket in joins {
            self.cancel_join(now, ticket, refusal());
        }
        if !self.participants.is_empty() {
            self.retry_at = Some(now + PLACE_RETRY);
        }
    }

    /// Asks for the sessions of those that have none. Somebody who takes a join up again is asked for there.
    fn open_waiting(&mut self, now: Instant, world: &mut dyn World) {
        let resuming: Vec<u16> = self
            .joins
            .values()
            .filter_map(|join| match &join.stage {
                JoinStage::Opening { participant, .. } => Some(participant.sender),
                JoinStage::Admitting { .. } => None,
            })
            .collect();
        let waiting: Vec<(Participant, SessionId, ResumeHash)> = self
            .participants
            .values_mut()
            .filter(|person| matches!(person.media, MediaSession::Waiting))
            .filter(|person| !resuming.contains(&person.participant.sender))
            .map(|person| {
                person.media = MediaSession::Opening;
                (person.participant.clone(), person.session, person.resume)
            })
            .collect();
        for (participant, session, resume) in waiting {
            if let Some((uplink, downlink, action)) =
                self.open(&participant, session, resume, world)
            {
                let purpose = Purpose::Move(participant.sender, uplink, downlink);
                self.command(now, purpose, action);
            }
        }
    }

    /// A command that opens a session under fresh keys; `None` without a relay, or for a participant without a leaf.
    fn open(
        &self,
        participant: &Participant,
        session: SessionId,
        resume: ResumeHash,
        world: &mut dyn World,
    ) -> Option<(HopKey, HopKey, Action)> {
        let (boot, sender) = (self.boot()?, participant.sender);
        let (mut uplink, mut downlink) = ([0; HopKey::LEN], [0; HopKey::LEN]);
        world.random(&mut uplink);
        world.random(&mut downlink);
        let (uplink_key, downlink_key) = (HopKey::new(uplink), HopKey::new(downlink));
        let leaf = GenerationLeaf {
            generation: 0,
            leaf: participant.leaf?,
        };
        let note = Note {
            account: participant.account,
            session,
            join_id: participant.join_id,
            resume,
            secret: self.secret.clone(),
            leaf,
        };
        let action = Action::OpenMedia(OpenMedia {
            sender,
            leaves: Leaves::one(leaf),
            may_speak: participant.may_speak(),
            uplink_key: uplink_key.clone(),
            downlink_key: downlink_key.clone(),
            note: self.notes.seal(boot, sender, &note, world),
            media_version: self.media_version(),
            account_label: account_label(&self.secret, participant.account),
        });
        Some((uplink_key, downlink_key, action))
    }
}
