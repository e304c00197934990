//! The requests of clients that the audit log has: sign-ins, changes of accounts, and moderation.

use confab_protocol::control::room::role_name;
use confab_protocol::wire::{self, request, response};
use data_encoding::HEXLOWER;

use super::super::client::Client;
use super::reply::Answer;
use crate::audit::{Act, By};

/// A request that the log has, before it is carried out.
pub(super) struct Audited {
    act: &'static str,
    of: Vec<(&'static str, String)>,
    /// The name that was typed to sign in.
    typed: Option<String>,
}

/// What the log will have of the request; `None` for one that it has not. `act` is the request's name in metrics.
pub(super) fn begin(
    client: &Client,
    act: &'static str,
    request: &request::Kind,
) -> Option<Audited> {
    use request::Kind;
    let audit = &client.services.audit;
    if !audit.is_on() {
        return None;
    }
    let mut typed = None;
    let of = match request {
        Kind::Register(register) => {
            typed = Some(register.username.clone());
            Vec::new()
        }
        Kind::Login(wire::Login { name, .. })
        | Kind::SendResetCode(wire::SendResetCode { name })
        | Kind::ResetPassword(wire::ResetPassword { name, .. }) => {
            let is_shown = audit.shows_addresses() || !name.contains('@');
            typed = Some(name.clone()).filter(|_| is_shown);
            Vec::new()
        }
        Kind::EnterAsGuest(enter) => vec![("slug", enter.slug.clone())],
        Kind::Logout(_)
        | Kind::ChangePassword(_)
        | Kind::ChangeEmail(_)
        | Kind::VerifyEmail(_)
        | Kind::RevokeSession(_)
        | Kind::ExportAccount(_)
        | Kind::DeleteAccount(_) => Vec::new(),
        Kind::CreateConference(create) => vec![("slug", create.slug.clone())],
        Kind::DeleteConference(delete) => vec![("slug", delete.slug.clone())],
        Kind::LeaveConference(leave) => vec![("slug", leave.slug.clone())],
        Kind::Invite(invite) => member(&invite.slug, &invite.username),
        Kind::CreateInvitation(create) => vec![
            ("slug", create.slug.clone()),
            ("uses", create.uses.to_string()),
        ],
        Kind::RevokeInvitation(revoke) => vec![
            ("slug", revoke.slug.clone()),
            ("invitation", HEXLOWER.encode(&revoke.id)),
        ],
        Kind::RedeemInvitation(redeem) => vec![("slug", redeem.slug.clone())],
        Kind::Kick(kick) => member(&kick.slug, &kick.username),
        Kind::Ban(ban) => member(&ban.slug, &ban.username),
        Kind::Mute(mute) => {
            let mut of = member(&mute.slug, &mute.username);
            of.push(("muted", mute.muted.to_string()));
            of
        }
        Kind::SetRole(set) => {
            let mut of = member(&set.slug, &set.username);
            of.push(("role", role_name(set.role()).to_owned()));
            of
        }
        _ => return None,
    };
    Some(Audited { act, of, typed })
}

/// Notes the request with its result. `before` is the account that the connection acted for.
pub(super) fn end(
    client: &Client,
    audited: Audited,
    before: Option<String>,
    answer: &Answer,
    result: &str,
) {
    let granted = match answer {
        Ok(response::Kind::SessionGranted(granted)) => granted.account.as_ref(),
        _ => None,
    };
    let by = match granted.map(|account| account.username.clone()).or(before) {
        Some(name) => By::Account(name),
        None => By::Unknown(audited.typed),
    };
    let act = Act {
        act: audited.act,
        by,
        of: audited.of,
    };
    let address = client.connection.remote_address().ip().to_canonical();
    client
        .services
        .audit
        .note(&act, result, Some(address.to_string()));
}

fn member(slug: &str, username: &str) -> Vec<(&'static str, String)> {
    vec![("slug", slug.to_owned()), ("username", username.to_owned())]
}
