//! Requests of participants.

use std::time::Duration;

use confab_e2ee::mls::FromMember;
use confab_protocol::control::{Capabilities, ErrorCode, Refusal};
use confab_protocol::wire::{self, response};

use super::super::client::Client;
use super::super::fields as read;
use super::reply::{Answer, done};
use crate::accounts::SignedIn;
use crate::rooms::{Join, JoinError, Joiner};
use crate::store::AccountKind;

/// A guest's account is deleted so long after the guest has left: the client has the answer then.
const GUEST_STAYS: Duration = Duration::from_secs(2);
/// When to try again to say something to a room that is far behind.
const GROUP_RETRY: Duration = Duration::from_millis(200);

pub(super) async fn join(client: &Client, caller: &SignedIn, join: wire::JoinRoom) -> Answer {
    let (services, rooms) = (&client.services, &client.services.rooms);
    let slug = read::slug(&join.slug)?;
    let conference = services.conferences.find_to_join(slug).await?;
    if caller.kind == AccountKind::Guest {
        // A guest stays where it came to: elsewhere it is no member, and does not become one.
        services
            .conferences
            .check_guest(conference.id, caller)
            .await?;
    }
    let resume = read::resume(&join)?;
    let media = read::media_versions(join.min_media_version, join.max_media_version)?;
    let joiner = Joiner {
        account: caller.account,
        username: caller.username.clone(),
        session: caller.session,
        client: client.entry.id,
        region: read::region(&join.region)?.or_else(|| services.region.clone()),
        media,
        capabilities: Capabilities::from_wire(&join.capabilities),
    };
    let sink = client.sink.clone();
    let joined = match rooms.join(conference.id, joiner, resume, sink).await {
        Ok(Join::Here(joined)) => joined,
        Ok(Join::Elsewhere(node)) => {
            let nodes = node.public;
            return Ok(response::Kind::Redirect(wire::Redirect { nodes }));
        }
        Err(error) => {
            if matches!(error, JoinError::NoRelay | JoinError::RelayFull) {
                tracing::warn!(
                    client = client.entry.id,
                    "a join failed: no relay is linked, or none has room"
                );
            }
            return Err(error.into());
        }
    };
    client.note_joined(conference.id);
    if client.connection.close_reason().is_some() {
        // The rooms of this connection have been told of its end already.
        rooms.disconnected(conference.id, client.entry.id);
    }
    if client.entry.signed_in().as_ref() != Some(caller) {
        // The session may have ended during the join without a notice to the room. An outage of the store does not prove that the
        // session is live.
        let is_live = services.accounts.is_live(caller.session).await;
        if !is_live.unwrap_or(false) {
            rooms.session_ended(caller.account, caller.session);
        }
    }
    Ok(response::Kind::RoomJoined(joined.as_ref().into()))
}

pub(super) async fn leave(client: &Client, caller: &SignedIn, leave: &wire::LeaveRoom) -> Answer {
    let slug = read::slug(&leave.slug)?;
    let conference = client.services.conferences.find_to_join(slug).await?;
    let join_id = read::join_id(&leave.join_id, "join_id")?;
    let rooms = &client.services.rooms;
    rooms
        .leave(conference.id, caller.account, client.entry.id, join_id)
        .await?;
    if caller.kind == AccountKind::Guest {
        let (accounts, guest) = (client.services.accounts.clone(), caller.account);
        // After the answer: it ends the session of this connection. If it fails, the store deletes the account after a day.
        tokio::spawn(async move {
            tokio::time::sleep(GUEST_STAYS).await;
            accounts.forget_guest(guest).await;
        });
    }
    done()
}

pub(super) fn report_media(
    client: &Client,
    caller: &SignedIn,
    report: &wire::ReportMedia,
) -> Answer {
    let conference = read::conference_id(&report.conference_id)?;
    let of = read::own_join(caller, &report.join_id, &report.resume_secret)?;
    let connection_id = read::connection_id(&report.connection_id, "connection_id")?;
    let rooms = &client.services.rooms;
    rooms.media_reported(conference, of, connection_id, report.alive);
    done()
}

pub(super) fn report_frames(
    client: &Client,
    caller: &SignedIn,
    report: &wire::ReportFrames,
) -> Answer {
    let conference = read::conference_id(&report.conference_id)?;
    let of = read::own_join(caller, &report.join_id, &report.resume_secret)?;
    if read::is_unreadable(report.opened, report.failed) {
        let rooms = &client.services.rooms;
        rooms.frames_reported(conference, of, report.leaf);
    }
    done()
}

pub(super) fn send_to_group(client: &Client, caller: &SignedIn, send: wire::SendToGroup) -> Answer {
    let conference = read::conference_id(&send.conference_id)?;
    let of = read::own_join(caller, &send.join_id, &send.resume_secret)?;
    let messages = read::group_messages(send.messages)?;
    let has_commit = messages.iter().any(FromMember::may_be_long);
    let counted = messages.iter().filter(|message| !message.may_be_long());
    let bytes = counted.map(FromMember::size).sum();
    let taken = client.admit_group_bytes(conference, bytes).and_then(|()| {
        let (rooms, round_trip) = (&client.services.rooms, client.connection.rtt());
        match rooms.to_group(conference, of, messages, round_trip) {
            true => Ok(()),
            false => {
                let message = "the room has too much to do: try again";
                Err(Refusal::new(ErrorCode::Busy, message).after(GROUP_RETRY))
            }
        }
    });
    if has_commit && taken.is_err() {
        // It may send it again.
        client.sink.commits.grant();
    }
    taken?;
    done()
}
