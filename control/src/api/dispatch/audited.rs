//! The requests of clients that the audit log has: sign-ins, changes of accounts, and moderation.

use std::str::FromStr;

use confab_protocol::control::invitation::INVITATION_LEN;
use confab_protocol::control::room::{Visibility, role_name, visibility_name};
use confab_protocol::control::{Email, Slug, Username};
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
            typed = shown::<Username>(&register.username);
            Vec::new()
        }
        Kind::Login(wire::Login { name, .. })
        | Kind::SendResetCode(wire::SendResetCode { name })
        | Kind::ResetPassword(wire::ResetPassword { name, .. }) => {
            typed = shown::<Username>(name);
            if audit.shows_addresses() {
                typed = typed.or_else(|| shown::<Email>(name));
            }
            Vec::new()
        }
        Kind::EnterAsGuest(enter) => conference(&enter.slug),
        Kind::Logout(_)
        | Kind::ChangePassword(_)
        | Kind::ChangeEmail(_)
        | Kind::VerifyEmail(_)
        | Kind::RevokeSession(_)
        | Kind::ExportAccount(_)
        | Kind::DeleteAccount(_) => Vec::new(),
        Kind::CreateConference(create) => conference(&create.slug),
        Kind::ChangeConference(change) => {
            let mut of = conference(&change.slug);
            if change.visibility() != Visibility::Unspecified {
                of.push((
                    "visibility",
                    visibility_name(change.visibility()).to_owned(),
                ));
            }
            of
        }
        Kind::DeleteConference(delete) => conference(&delete.slug),
        Kind::LeaveConference(leave) => conference(&leave.slug),
        Kind::Invite(invite) => member(&invite.slug, &invite.username),
        Kind::CreateInvitation(create) => {
            let mut of = conference(&create.slug);
            of.push(("uses", create.uses.to_string()));
            of
        }
        Kind::RevokeInvitation(revoke) => {
            let mut of = conference(&revoke.slug);
            if revoke.id.len() == INVITATION_LEN {
                of.push(("invitation", HEXLOWER.encode(&revoke.id)));
            }
            of
        }
        Kind::RedeemInvitation(redeem) => conference(&redeem.slug),
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

fn conference(slug: &str) -> Vec<(&'static str, String)> {
    let slug = shown::<Slug>(slug).map(|slug| ("slug", slug));
    slug.into_iter().collect()
}

fn member(slug: &str, username: &str) -> Vec<(&'static str, String)> {
    let mut of = conference(slug);
    let username = shown::<Username>(username).map(|username| ("username", username));
    of.extend(username);
    of
}

/// Typed text, if it has the form of what belongs there: the log keeps no text of a stranger's choice, and no address that was typed
/// in the place of a name.
fn shown<T: FromStr>(typed: &str) -> Option<String> {
    typed.parse::<T>().is_ok().then(|| typed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_types_is_noted_if_it_is_a_name_and_nothing_else() {
        assert_eq!(shown::<Username>("ann"), Some("ann".to_owned()));
        for typed in ["", "ann@example.org", "\u{1}", &"a".repeat(16_000)] {
            assert_eq!(shown::<Username>(typed), None);
        }
        assert_eq!(member("no slug", "ann"), [("username", "ann".to_owned())]);
    }
}
