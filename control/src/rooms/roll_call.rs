//! Who is in a room already that this node takes over: its relay says it, and the store says whether they may be.

use std::collections::HashMap;
use std::sync::Arc;

use confab_protocol::cluster::{Action, CommandOutcome, Fence, MediaState};
use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, ConferenceId, Participant, Refusal, Username};

use super::adoption::{Adopted, Adoptee};
use super::leftovers;
use super::note::Whose;
use super::registry::Shared;
use crate::cluster::LinkedRelay;
use crate::cluster::registry::RoomInbox;
use crate::store::{HomeRecord, SessionId, Standing, StoreError, look_up_all};

/// Accounts that are looked up at the same time.
const LOOKED_UP_AT_ONCE: usize = 32;

/// What came of it.
pub(super) enum Roll {
    /// Nobody is there.
    Nobody,
    /// There is no way to the relay, or it does not say: people may be there. It tells what it has of the room when it links.
    OutOfReach,
    /// The relay obeys a later owner.
    Fenced,
    /// These are. The room is found by them until it says itself who is in it.
    There(Adopted, Held),
}

/// Fences whoever had the room before at the relay that the home names, and finds out who is there.
///
/// From then on the room's `inbox` hears of the relay.
pub(super) async fn call(
    shared: &Arc<Shared>,
    conference: ConferenceId,
    home: &HomeRecord,
    inbox: &RoomInbox,
) -> Result<Roll, Refusal> {
    let Some(place) = &home.place else {
        return Ok(Roll::Nobody);
    };
    let relays = &shared.relays;
    let Some(relay) = relays.linked_soon(&place.relay, place.boot).await else {
        // Another boot of it has nothing of the room.
        return Ok(match relays.is_linked(&place.relay) {
            true => Roll::Nobody,
            false => Roll::OutOfReach,
        });
    };
    // First: what ends after the relay has said who is there is to be heard of.
    relays.settle(&relay, conference, inbox.clone());
    let mut held = Held::new(shared, conference);
    let found = match list(shared, &relay, conference, home.era).await {
        Ok(sessions) if !sessions.is_empty() => {
            // Before they are looked up: a session that ends meanwhile finds the room.
            held.hold(&sessions);
            judge(shared, conference, sessions).await
        }
        Ok(_) => {
            relays.leave(&relay, conference);
            return Ok(Roll::Nobody);
        }
        Err(Unsaid::Fenced) => {
            relays.leave(&relay, conference);
            return Ok(Roll::Fenced);
        }
        Err(Unsaid::Silent) => {
            tracing::warn!(relay = %relay.name, %conference, "a relay does not say who is in a room");
            relays.leave(&relay, conference);
            relays.note_left(conference, &relay.name, relay.boot);
            return Ok(Roll::OutOfReach);
        }
    };
    match found {
        Ok((people, strangers)) => {
            let (here, not) = (people.len(), strangers.len());
            tracing::info!(%conference, relay = %relay.name, people = here, strangers = not, "a room is taken over with its people");
            let adopted = Adopted {
                relay,
                people,
                strangers,
            };
            Ok(Roll::There(adopted, held))
        }
        Err(error) => {
            relays.leave(&relay, conference);
            relays.note_left(conference, &relay.name, relay.boot);
            Err(error.into())
        }
    }
}

/// Accounts by which the room is found when a session ends, until the room itself says who is in it.
pub(super) struct Held {
    shared: Arc<Shared>,
    conference: ConferenceId,
    accounts: Vec<AccountId>,
}

impl Held {
    fn new(shared: &Arc<Shared>, conference: ConferenceId) -> Self {
        Self {
            shared: shared.clone(),
            conference,
            accounts: Vec::new(),
        }
    }

    fn hold(&mut self, sessions: &[MediaState]) {
        for state in sessions {
            let account = Whose::from(state.note).account;
            self.shared.present(account, self.conference);
            self.accounts.push(account);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for account in &self.accounts {
            self.shared.absent(*account, self.conference);
        }
    }
}

/// Why a relay does not say who is there.
enum Unsaid {
    /// It does not answer.
    Silent,
    /// It obeys a later owner.
    Fenced,
}

/// All sessions that the relay has of the room.
async fn list(
    shared: &Shared,
    relay: &LinkedRelay,
    conference: ConferenceId,
    era: u64,
) -> Result<Vec<MediaState>, Unsaid> {
    let (mut sessions, mut from) = (Vec::new(), 0);
    let fence = Fence { era, placement: 0 };
    loop {
        let action = Action::ListMedia { from };
        let listed = leftovers::ask(&shared.relays, relay, conference, fence, action).await;
        let listed = listed.ok_or(Unsaid::Silent)?;
        match listed.outcome {
            CommandOutcome::Obeyed => {}
            CommandOutcome::Fenced => return Err(Unsaid::Fenced),
            _ => return Err(Unsaid::Silent),
        }
        let last = listed.media.last().map(|session| session.sender);
        sessions.extend(listed.media);
        match last {
            Some(last) if listed.more && last < u16::MAX => from = last + 1,
            _ => return Ok(sessions),
        }
    }
}

/// Who of them may be there.
async fn judge(
    shared: &Shared,
    conference: ConferenceId,
    sessions: Vec<MediaState>,
) -> Result<(Vec<Adoptee>, Vec<(u16, AccountId)>), StoreError> {
    let known = look_up(shared, conference, &sessions).await?;
    let (mut people, mut strangers) = (Vec::new(), Vec::new());
    for state in sessions {
        let whose = Whose::from(state.note);
        let found = known
            .get(&(whose.account, whose.session))
            .and_then(Option::as_ref);
        match found.filter(|(_, standing)| standing.role != Role::Banned) {
            None => strangers.push((state.sender, whose.account)),
            Some((username, standing)) => people.push(Adoptee {
                participant: Participant {
                    sender: state.sender,
                    leaf: state.leaf,
                    join_id: whose.join_id,
                    account: whose.account,
                    username: username.clone(),
                    role: standing.role,
                    muted: standing.muted,
                },
                session: whose.session,
                connection_id: state.connection_id,
                may_speak: state.may_speak,
            }),
        }
    }
    Ok((people, strangers))
}

/// An account that is signed in by a session.
type SignedIn = (AccountId, SessionId);

/// What each of them is in the conference, `None` for one that is nothing any more.
async fn look_up(
    shared: &Shared,
    conference: ConferenceId,
    sessions: &[MediaState],
) -> Result<HashMap<SignedIn, Option<(Username, Standing)>>, StoreError> {
    let mut wanted: Vec<SignedIn> = sessions
        .iter()
        .map(|state| Whose::from(state.note))
        .map(|whose| (whose.account, whose.session))
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
