//! Requests about invitations by link.

use confab_protocol::wire::{self, response};

use super::super::client::Client;
use super::super::fields as read;
use super::reply::{Answer, done};
use crate::accounts::SignedIn;

pub(super) async fn create(
    client: &Client,
    caller: &SignedIn,
    create: &wire::CreateInvitation,
) -> Answer {
    let slug = read::slug(&create.slug)?;
    let new = read::new_invitation(create)?;
    let conferences = &client.services.conferences;
    let (token, invitation) = conferences.create_invitation(caller, slug, new).await?;
    let created = wire::InvitationCreated {
        token: token.to_wire(),
        invitation: Some(invitation.into()),
    };
    Ok(response::Kind::InvitationCreated(created))
}

pub(super) async fn list(
    client: &Client,
    caller: &SignedIn,
    list: &wire::ListInvitations,
) -> Answer {
    let slug = read::slug(&list.slug)?;
    let conferences = &client.services.conferences;
    let found = conferences.list_invitations(caller, slug).await?;
    let invitations = found.into_iter().map(Into::into).collect();
    Ok(response::Kind::Invitations(wire::Invitations {
        invitations,
    }))
}

pub(super) async fn revoke(
    client: &Client,
    caller: &SignedIn,
    revoke: &wire::RevokeInvitation,
) -> Answer {
    let slug = read::slug(&revoke.slug)?;
    let id = read::invitation_id(&revoke.id)?;
    let conferences = &client.services.conferences;
    conferences.revoke_invitation(caller, slug, id).await?;
    done()
}

pub(super) async fn redeem(
    client: &Client,
    caller: &SignedIn,
    redeem: &wire::RedeemInvitation,
) -> Answer {
    let invited = read::invited(redeem)?;
    let conferences = &client.services.conferences;
    let (conference, role) = conferences.redeem_invitation(caller, invited).await?;
    let live = client.services.counts.of(&[conference.id]).await;
    let live = live.first().copied().unwrap_or_default();
    Ok(response::Kind::Conference(conference.to_wire(role, live)))
}
