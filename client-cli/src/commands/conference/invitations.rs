//! Invitations by link: made, shown, revoked.

use std::time::Duration;

use confab_protocol::control::link::ConferenceLink;
use confab_protocol::control::room::role_name;
use confab_protocol::control::{InvitationId, InvitationToken, Slug};
use confab_protocol::dates::time;
use confab_protocol::wire::request::Kind;
use confab_protocol::wire::{self, Role};
use serde::Serialize;

use super::super::context::Context;
use super::super::done::Done;
use crate::failure::Failure;
use crate::net::sign_in::Access;
use crate::net::{ApiError, Link};
use crate::output::Printed;
use crate::stderr::print_on_stderr;

/// Makes an invitation and prints its link.
pub(super) async fn create(
    context: &Context,
    slug: Slug,
    role: Role,
    (uses, valid): (u32, Duration),
) -> Result<(), Failure> {
    let known = context.known_server().await?;
    let authority = *known.authority.as_bytes();
    super::warn_of_local(context, &known.server);
    let report = async |access: &Access, link: &Link| {
        let create = wire::CreateInvitation {
            slug: slug.to_string(),
            role: role.into(),
            uses,
            valid_s: valid.as_secs(),
        };
        let created = link.create_invitation(create).await?;
        let token = InvitationToken::parse(&created.token, "token")
            .map_err(|_| ApiError::Malformed("an invitation whose token is none"))?;
        let invitation = InvitationShown::from(created.invitation.unwrap_or_default());
        let link = ConferenceLink {
            server: access.server.short(),
            slug,
            authority,
            invitation: Some(token),
        };
        Ok(InvitationReport {
            event: "invitation",
            slug: link.slug.to_string(),
            link: link.to_string(),
            invitation,
        })
    };
    context.signed_in_report(report).await
}

pub(super) async fn list(context: &Context, slug: &Slug) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| {
        let invitations = link.list_invitations(slug).await?;
        Ok(InvitationList {
            event: "invitations",
            slug: slug.to_string(),
            invitations: invitations.into_iter().map(Into::into).collect(),
        })
    };
    context.signed_in_report(report).await
}

pub(super) async fn revoke(
    context: &Context,
    slug: &Slug,
    id: InvitationId,
) -> Result<(), Failure> {
    let text = format!("invitation {id} to {slug} is revoked; who became a member by it stays one");
    let done = Done::new("invitation_revoked", text).of_conference(slug.to_string());
    let report = async |_: &Access, link: &Link| {
        let (slug, id) = (slug.to_string(), id.to_wire());
        let revoke = Kind::RevokeInvitation(wire::RevokeInvitation { slug, id });
        link.done(revoke).await?;
        Ok(done)
    };
    context.signed_in_report(report).await
}

#[derive(Serialize)]
struct InvitationReport {
    event: &'static str,
    slug: String,
    link: String,
    #[serde(flatten)]
    invitation: InvitationShown,
}

#[derive(Serialize)]
struct InvitationShown {
    id: String,
    role: &'static str,
    uses: u32,
    used: u32,
    created: String,
    expires: String,
    author: String,
}

impl From<wire::Invitation> for InvitationShown {
    fn from(invitation: wire::Invitation) -> Self {
        let id = InvitationId::parse(&invitation.id, "id");
        Self {
            id: id.map_or_else(|_| "-".to_owned(), |id| id.to_string()),
            role: role_name(invitation.role()),
            uses: invitation.uses,
            used: invitation.used,
            created: time(invitation.created_ms),
            expires: time(invitation.expires_ms),
            author: invitation.author,
        }
    }
}

impl Printed for InvitationReport {
    /// The link alone on standard output, for a script; what it is good for on standard error.
    fn lines(&self) -> Vec<String> {
        let InvitationShown {
            id, uses, expires, ..
        } = &self.invitation;
        let accounts = match uses {
            1 => "one account".to_owned(),
            uses => format!("{uses} accounts"),
        };
        print_on_stderr(&format!(
            "good for {accounts} until {expires}; to end it before: `confab conference revoke-invitation {} {id}`",
            self.slug
        ));
        vec![self.link.clone()]
    }
}

#[derive(Serialize)]
struct InvitationList {
    event: &'static str,
    slug: String,
    invitations: Vec<InvitationShown>,
}

impl Printed for InvitationList {
    fn lines(&self) -> Vec<String> {
        if self.invitations.is_empty() {
            let hint = "no invitations by link: `confab conference invite --link SLUG` makes one";
            return vec![hint.into()];
        }
        let head = format!(
            "{:<32}  {:<8}  {:>9}  {:<20}  BY",
            "ID", "ROLE", "USED", "UNTIL"
        );
        let line = |one: &InvitationShown| {
            let used = format!("{} of {}", one.used, one.uses);
            format!(
                "{:<32}  {:<8}  {used:>9}  {:<20}  {}",
                one.id, one.role, one.expires, one.author
            )
        };
        let lines = self.invitations.iter().map(line);
        std::iter::once(head).chain(lines).collect()
    }
}
