//! Takes the participants of a room over from its relay: the relay lists its sessions, and the store says which accounts may be there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome, Fence, MediaState};
use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, Capabilities, ConferenceId, Participant, Username};

use super::adoption::{Adopted, Adoptee, CallParameters};
use super::note::Note;
use super::relay_request;
use super::shared::Shared;
use crate::cluster::{LinkedRelay, RelayEvent};
use crate::inbox::Inbox;
use crate::store::{HomePlace, HomeRecord, SessionId, Standing, StoreError, look_up_all};

/// Accounts that are looked up at the same time.
const LOOKED_UP_AT_ONCE: usize = 32;
/// Time for a relay to list all sessions of a room.
const LIST_DEADLINE: Duration = Duration::from_secs(4);

/// The result of a roll call.
pub(super) enum Roll {
    /// The room has no sessions.
    Nobody,
    /// The relay is not linked or does not answer: participants may be there. It lists the room when it links. With its idle timeout, if that is
    /// known.
    OutOfReach(HomePlace, Option<Duration>),
    /// The relay obeys a later owner.
    Fenced,
    /// The relay has these participants. The guard lets the ends of their sessions find the room until the room is started.
    There(Box<Adopted>, PresenceGuard),
}

/// Fences earlier owners of the room at the relay that the home names, and lists its participants. The relay's events go to `events` from
/// then on.
pub(super) async fn call(
    shared: &Arc<Shared>,
    conference: ConferenceId,
    home: &HomeRecord,
    events: &Inbox<RelayEvent>,
) -> Result<Roll, StoreError> {
    let Some(place) = &home.place else {
        return Ok(Roll::Nobody);
    };
    let relays = &shared.relays;
    let out_of_reach = || {
        let idle_timeout = relays.idle_timeout(&place.relay, place.boot);
        Roll::OutOfReach(place.clone(), idle_timeout)
    };
    let Some(relay) = relays.linked_in_time(&place.relay, place.boot).await else {
        // Another boot of the relay has no sessions of the room.
        return Ok(match relays.is_linked(&place.relay) {
            true => Roll::Nobody,
            false => out_of_reach(),
        });
    };
    // First: a session that ends after it was listed must reach the room.
    relays.settle(&relay, conference, events.clone());
    let mut held = PresenceGuard::new(shared, conference);
    let found = match list(shared, &relay, conference, home.era).await {
        Ok(sessions) if !sessions.is_empty() => {
            let sessions = open_notes(shared, conference, &relay, sessions);
            // Before the lookup: a session that ends meanwhile must find the room.
            held.hold(&sessions);
            check_sessions(shared, conference, sessions).await
        }
        Ok(_) => {
            relays.leave(&relay, conference);
            return Ok(Roll::Nobody);
        }
        Err(ListError::Fenced) => {
            relays.leave(&relay, conference);
            return Ok(Roll::Fenced);
        }
        Err(ListError::Silent) => {
            tracing::warn!(relay = %relay.name, %conference, "a relay does not say who is in a room");
            relays.leave(&relay, conference);
            relays.note_leftover(conference, &relay.name, relay.boot);
            return Ok(out_of_reach());
        }
    };
    match found {
        Ok(CheckedSessions {
            participants,
            strangers,
            parameters,
        }) => {
            let (here, not) = (participants.len(), strangers.len());
            tracing::info!(%conference, relay = %relay.name, participants = here, strangers = not, "a room is taken over with its participants");
            let adopted = Adopted {
                relay,
                participants,
                strangers,
                parameters,
            };
            Ok(Roll::There(Box::new(adopted), held))
        }
        Err(error) => {
            relays.leave(&relay, conference);
            relays.note_leftover(conference, &relay.name, relay.boot);
            Err(error)
        }
    }
}

/// Lets the ends of sessions find a room that is not started yet.
pub(super) struct PresenceGuard {
    shared: Arc<Shared>,
    conference: ConferenceId,
    accounts: Vec<AccountId>,
}

impl PresenceGuard {
    fn new(shared: &Arc<Shared>, conference: ConferenceId) -> Self {
        Self {
            shared: shared.clone(),
            conference,
            accounts: Vec::new(),
        }
    }

    fn hold(&mut self, sessions: &[(MediaState, Option<Note>)]) {
        for note in sessions.iter().filter_map(|(_, note)| note.as_ref()) {
            self.shared.present(note.account, self.conference);
            self.accounts.push(note.account);
        }
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        for account in &self.accounts {
            self.shared.absent(*account, self.conference);
        }
    }
}

/// Why a relay's sessions are not known.
enum ListError {
    /// The relay does not answer.
    Silent,
    /// The relay obeys a later owner.
    Fenced,
}

/// All sessions of the room at the relay. A relay whose list does not end, or has a session twice, counts as silent.
async fn list(
    shared: &Shared,
    relay: &LinkedRelay,
    conference: ConferenceId,
    era: u64,
) -> Result<Vec<MediaState>, ListError> {
    let listing = list_pages(shared, relay, conference, era);
    let listed = tokio::time::timeout(LIST_DEADLINE, listing).await;
    listed.unwrap_or(Err(ListError::Silent))
}

async fn list_pages(
    shared: &Shared,
    relay: &LinkedRelay,
    conference: ConferenceId,
    era: u64,
) -> Result<Vec<MediaState>, ListError> {
    // Participants, and removed participants whose sessions the relay has not closed yet.
    let most = shared.limits.max_participants.saturating_mul(2);
    let (mut sessions, mut from) = (Vec::new(), 0);
    let fence = Fence { era, placement: 0 };
    loop {
        let action = Action::ListMedia { from };
        let listed = relay_request::ask(&shared.relays, relay, conference, fence, action).await;
        let listed = listed.ok_or(ListError::Silent)?;
        match listed.outcome {
            CommandOutcome::Obeyed => {}
            CommandOutcome::Fenced => return Err(ListError::Fenced),
            _ => return Err(ListError::Silent),
        }
        if !rises(from, &listed.media) || sessions.len() + listed.media.len() > most {
            tracing::warn!(relay = %relay.name, %conference, "a relay lists sessions that cannot be: it is not believed");
            return Err(ListError::Silent);
        }
        let next = listed.media.last().map(|session| session.sender);
        sessions.extend(listed.media);
        match next.and_then(|last| last.checked_add(1)) {
            Some(next) if listed.more => from = next,
            _ => return Ok(sessions),
        }
    }
}

/// Whether the sessions are in the order of their senders, each once, and none before `from`.
pub(super) fn rises(from: u16, sessions: &[MediaState]) -> bool {
    let is_first = |session: &MediaState| session.sender >= from;
    sessions.first().is_none_or(is_first)
        && sessions.is_sorted_by(|one, next| one.sender < next.sender)
}

/// Opens the note of each session; `None` if this cluster has not made it for the session.
fn open_notes(
    shared: &Shared,
    conference: ConferenceId,
    relay: &LinkedRelay,
    sessions: Vec<MediaState>,
) -> Vec<(MediaState, Option<Note>)> {
    let notes = shared.notes.of(conference);
    let open = |state: MediaState| match notes.open(relay.boot, &state) {
        Ok(note) => (state, Some(note)),
        Err(error) => {
            tracing::warn!(relay = %relay.name, %conference, sender = state.sender, %error, "a relay's session is not taken over");
            (state, None)
        }
    };
    sessions.into_iter().map(open).collect()
}

/// The sessions of a relay, after a look at the store.
struct CheckedSessions {
    participants: Vec<Adoptee>,
    strangers: Vec<(u16, Option<AccountId>)>,
    parameters: Option<CallParameters>,
}

/// Separates the participants that may be in the room from the others. All must have the same call parameters, those of most sessions: the
/// others could not be decrypted.
async fn check_sessions(
    shared: &Shared,
    conference: ConferenceId,
    sessions: Vec<(MediaState, Option<Note>)>,
) -> Result<CheckedSessions, StoreError> {
    let known = look_up(shared, conference, &sessions).await?;
    let (mut strangers, mut admitted) = (Vec::new(), Vec::new());
    for (state, note) in sessions {
        let Some(note) = note else {
            strangers.push((state.sender, None));
            continue;
        };
        let found = known
            .get(&(note.account, note.session))
            .and_then(Option::as_ref);
        match found.filter(|(_, standing)| standing.role != Role::Banned) {
            None => strangers.push((state.sender, Some(note.account))),
            Some((username, standing)) => {
                let parameters = CallParameters {
                    labels: note.labels.clone(),
                    media_version: state.media_version,
                };
                let adoptee = Adoptee {
                    participant: Participant {
                        sender: state.sender,
                        leaf: state.leaves.newest().map(|granted| granted.leaf),
                        join_id: note.join_id,
                        account: note.account,
                        username: username.clone().into(),
                        role: standing.role,
                        muted: standing.muted,
                        // The client tells them when it resumes the join.
                        capabilities: Capabilities::default(),
                    },
                    username: username.clone(),
                    leaves: state.leaves,
                    session: note.session,
                    resume: note.resume,
                    connection_id: state.connection_id,
                    may_speak: state.may_speak,
                };
                admitted.push((adoptee, parameters));
            }
        }
    }
    let parameters = most_common(admitted.iter().map(|(_, parameters)| parameters)).cloned();
    let (participants, others): (Vec<_>, Vec<_>) = admitted
        .into_iter()
        .partition(|(_, of)| Some(of) == parameters.as_ref());
    let other = |(adoptee, _): (Adoptee, CallParameters)| {
        let participant = adoptee.participant;
        (participant.sender, Some(participant.account))
    };
    strangers.extend(others.into_iter().map(other));
    Ok(CheckedSessions {
        participants: participants
            .into_iter()
            .map(|(adoptee, _)| adoptee)
            .collect(),
        strangers,
        parameters,
    })
}

/// The value that occurs most often; of several such, the first.
fn most_common<'a, T: PartialEq>(values: impl Iterator<Item = &'a T>) -> Option<&'a T> {
    let mut counts: Vec<(&T, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| *known == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(value, _)| value)
}

/// An account that is signed in by a session.
type SignedIn = (AccountId, SessionId);

/// The name and standing of each account; `None` for one without a standing or whose session has ended.
async fn look_up(
    shared: &Shared,
    conference: ConferenceId,
    sessions: &[(MediaState, Option<Note>)],
) -> Result<HashMap<SignedIn, Option<(Username, Standing)>>, StoreError> {
    let mut wanted: Vec<SignedIn> = sessions
        .iter()
        .filter_map(|(_, note)| note.as_ref())
        .map(|note| (note.account, note.session))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    if shared.store.conference(conference).await?.is_none() {
        return Ok(HashMap::new());
    }
    let lookups = wanted.into_iter().map(|(account, session)| {
        let (store, now) = (shared.store.clone(), shared.clock.now());
        async move {
            let standing = store.member(conference, account).await?;
            let is_signed_in = store.session(session, now).await?.is_some();
            let record = store.account(account).await?;
            let known = record
                .zip(standing)
                .filter(|_| is_signed_in)
                .map(|(record, standing)| (record.username, standing));
            Ok(((account, session), known))
        }
    });
    let known = look_up_all(LOOKED_UP_AT_ONCE, lookups).await?;
    Ok(known.into_iter().collect())
}
