//! Requests about conferences, their members, and moderation.

use confab_protocol::control::Refusal;
use confab_protocol::control::room::Role;
use confab_protocol::wire::{self, response};

use super::super::client::Client;
use super::super::fields as read;
use super::reply::{Answer, done, next};
use crate::accounts::SignedIn;
use crate::conferences::NewConference;
use crate::rooms::Settled;
use crate::store::{ConferenceRecord, Membership};

/// Most participants that are named.
const MAX_PRESENT: usize = 100;

pub(super) async fn create(
    client: &Client,
    caller: &SignedIn,
    create: &wire::CreateConference,
) -> Answer {
    let slug = read::slug(&create.slug)?;
    let title = read::title(&create.title, &slug)?;
    let new = NewConference {
        slug,
        title,
        visibility: read::visibility(create.visibility())?,
        region: read::region(&create.region)?,
    };
    let made = client.services.conferences.create(caller, new).await?;
    Ok(response::Kind::Conference(made.to_wire(Role::Owner, 0)))
}

pub(super) async fn change(
    client: &Client,
    caller: &SignedIn,
    change: &wire::ChangeConference,
) -> Answer {
    let slug = read::slug(&change.slug)?;
    let change = read::conference_change(change)?;
    let conferences = &client.services.conferences;
    let changed = conferences.change(caller, slug, change).await?;
    Ok(response::Kind::Conference(
        shown(client, changed, Role::Owner).await,
    ))
}

pub(super) async fn list(
    client: &Client,
    caller: &SignedIn,
    list: wire::ListConferences,
) -> Answer {
    let conferences = &client.services.conferences;
    let page = conferences.list(caller, read::cursor(list.cursor)).await?;
    let ids: Vec<_> = page.items.iter().map(|item| item.conference.id).collect();
    let live = client.services.counts.of(&ids).await;
    let to_wire = |(membership, live): (Membership, u32)| {
        membership
            .conference
            .to_wire(membership.standing.role, live)
    };
    Ok(response::Kind::Conferences(wire::Conferences {
        conferences: page.items.into_iter().zip(live).map(to_wire).collect(),
        next: next(page.next),
    }))
}

pub(super) async fn info(
    client: &Client,
    caller: &SignedIn,
    info: &wire::ConferenceInfo,
) -> Answer {
    let conferences = &client.services.conferences;
    let (conference, role) = conferences.info(caller, read::slug(&info.slug)?).await?;
    Ok(response::Kind::Conference(
        shown(client, conference, role).await,
    ))
}

/// The conference for a caller of this role: members see who is in the room.
async fn shown(client: &Client, conference: ConferenceRecord, role: Role) -> wire::Conference {
    let counts = &client.services.counts;
    if role == Role::Unspecified {
        let live = counts.of(&[conference.id]).await;
        return conference.to_wire(role, live.first().copied().unwrap_or_default());
    }
    let present = counts.roster(conference.id).await;
    let live = u32::try_from(present.len()).unwrap_or(u32::MAX);
    let mut shown = conference.to_wire(role, live);
    let names = present.into_iter().take(MAX_PRESENT);
    shown.present = names.map(|one| one.username).collect();
    shown
}

pub(super) async fn list_members(
    client: &Client,
    caller: &SignedIn,
    list: wire::ListMembers,
) -> Answer {
    let slug = read::slug(&list.slug)?;
    let conferences = &client.services.conferences;
    let page = conferences
        .members(caller, slug, read::cursor(list.cursor))
        .await?;
    Ok(response::Kind::Members(wire::Members {
        members: page.items.into_iter().map(Into::into).collect(),
        next: next(page.next),
    }))
}

pub(super) async fn delete(
    client: &Client,
    caller: &SignedIn,
    delete: &wire::DeleteConference,
) -> Answer {
    let slug = read::slug(&delete.slug)?;
    settled(client.services.conferences.delete(caller, slug).await)
}

pub(super) async fn leave(
    client: &Client,
    caller: &SignedIn,
    leave: &wire::LeaveConference,
) -> Answer {
    let slug = read::slug(&leave.slug)?;
    settled(client.services.conferences.leave(caller, slug).await)
}

pub(super) async fn invite(client: &Client, caller: &SignedIn, invite: &wire::Invite) -> Answer {
    let slug = read::slug(&invite.slug)?;
    let username = read::parse(&invite.username, "username")?;
    let role = read::invited_role(invite.role)?;
    let conferences = &client.services.conferences;
    conferences.invite(caller, slug, username, role).await?;
    done()
}

pub(super) async fn set_role(client: &Client, caller: &SignedIn, set: &wire::SetRole) -> Answer {
    let slug = read::slug(&set.slug)?;
    let username = read::parse(&set.username, "username")?;
    let role = read::role(set.role())?;
    let conferences = &client.services.conferences;
    let role = (role, set.only_of_banned);
    settled(conferences.set_role(caller, slug, username, role).await)
}

pub(super) async fn kick(client: &Client, caller: &SignedIn, kick: &wire::Kick) -> Answer {
    let username = read::parse(&kick.username, "username")?;
    let slug = read::slug(&kick.slug)?;
    settled(
        client
            .services
            .conferences
            .kick(caller, slug, username)
            .await,
    )
}

pub(super) async fn ban(client: &Client, caller: &SignedIn, ban: &wire::Ban) -> Answer {
    let username = read::parse(&ban.username, "username")?;
    let slug = read::slug(&ban.slug)?;
    settled(
        client
            .services
            .conferences
            .ban(caller, slug, username)
            .await,
    )
}

pub(super) async fn mute(client: &Client, caller: &SignedIn, mute: &wire::Mute) -> Answer {
    let username = read::parse(&mute.username, "username")?;
    let slug = read::slug(&mute.slug)?;
    let conferences = &client.services.conferences;
    settled(conferences.mute(caller, slug, username, mute.muted).await)
}

/// The response to a change that relays have to obey.
fn settled<E>(settled: Result<Settled, E>) -> Answer
where
    Refusal: From<E>,
{
    let pending = settled? == Settled::WhereReached;
    Ok(response::Kind::Done(wire::Done { pending }))
}
