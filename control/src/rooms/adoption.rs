//! Who is in a room already that this node takes over: what its relay has goes on as it is.

use std::time::Instant;

use confab_protocol::cluster::Action;
use confab_protocol::control::{AccountId, Participant, RoomSecret};
use confab_protocol::media::ConnectionId;

use super::commands::Purpose;
use super::effect::Effect;
use super::note::ResumeHash;
use super::room::{MediaSession, ParticipantState, Place, Room};
use crate::cluster::LinkedRelay;
use crate::store::SessionId;

/// A room as it was found at its relay.
pub struct Adopted {
    /// Where.
    pub relay: LinkedRelay,
    /// Who is there and may be.
    pub participants: Vec<Adoptee>,
    /// Who is there and may not be: their sessions are closed. `None` for a session of which the relay has no good note.
    pub strangers: Vec<(u16, Option<AccountId>)>,
    /// What `participants` have in common; `None` when there is nobody.
    pub gathering: Option<Gathering>,
}

/// What the participants of a room have in common while they gather.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gathering {
    /// What their frame keys are derived from.
    pub secret: RoomSecret,
    /// The version of media datagrams that they speak.
    pub media_version: u32,
}

/// One who is in the room by the word of its relay, and of the store.
pub struct Adoptee {
    /// As the store knows its account.
    pub participant: Participant,
    /// Ends with this session.
    pub session: SessionId,
    /// Of the secret that only its client has.
    pub(super) resume: ResumeHash,
    /// Its media session.
    pub connection_id: ConnectionId,
    /// What the relay lets it do.
    pub may_speak: bool,
}

impl Room {
    /// Takes over what a room's relay has of it. Nobody hears of it: who comes back takes its join up again.
    pub fn adopt(&mut self, now: Instant, adopted: Adopted) {
        let Adopted {
            relay,
            participants,
            strangers,
            gathering,
        } = adopted;
        if let Some(gathering) = gathering {
            self.secret = gathering.secret;
            self.media_version = Some(gathering.media_version);
        }
        self.region = relay.region.clone();
        self.effects.push_back(Effect::Settle(Some(relay.clone())));
        self.place = Some(Place::new(relay, now));
        for adoptee in participants {
            let participant = adoptee.participant;
            let (sender, may_speak) = (participant.sender, participant.may_speak());
            self.effects.push_back(Effect::Present(participant.account));
            let person = ParticipantState {
                participant,
                session: adoptee.session,
                client: None,
                resume: adoptee.resume,
                media: MediaSession::Open(adoptee.connection_id),
            };
            self.participants.insert(sender, person);
            if may_speak != adoptee.may_speak {
                let action = Action::SetMaySpeak { sender, may_speak };
                self.command(now, Purpose::Nothing, action);
            }
        }
        let highest = self
            .participants
            .keys()
            .copied()
            .chain(strangers.iter().map(|(sender, _)| *sender))
            .max();
        // Those before may have been given away a moment ago.
        self.next_sender = highest.map_or(0, |highest| highest.wrapping_add(1));
        let senders: Vec<u16> = strangers.iter().map(|(sender, _)| *sender).collect();
        self.unclosed.extend(strangers);
        self.close_media(now, &senders);
    }
}
