//! Conferences: create them, list them, decide who may do what.

mod invitations;
mod shown;

use std::net::IpAddr;

use confab_protocol::control::link::ConferenceLink;
use confab_protocol::control::{Slug, Username};
use confab_protocol::wire::request::Kind;
use confab_protocol::wire::{self, Role, Visibility};

use super::context::Context;
use super::done::Done;
use super::meet;
use crate::failure::{Exit, Failure};
use crate::flags::{Conference, Invite, MemberOf, NewRole};
use crate::net::sign_in::Access;
use crate::net::{Link, Server};
use crate::stderr::print_on_stderr;
use confab_protocol::control::room::role_name;
use shown::{ConferenceList, ConferenceReport, MemberList};

pub(super) async fn run(context: &Context, command: Conference) -> Result<(), Failure> {
    match command {
        Conference::Create {
            slug,
            title,
            invite_only,
            region,
        } => {
            let visibility = match invite_only {
                true => Visibility::Invite,
                false => Visibility::Public,
            };
            let request = wire::CreateConference {
                slug: slug.into(),
                title: title.map_or_else(String::new, Into::into),
                visibility: visibility.into(),
                region: region.map_or_else(String::new, Into::into),
            };
            let request = Kind::CreateConference(request);
            show(context, "conference_created", request).await
        }
        Conference::Change(flags) => {
            let visibility = match (flags.public, flags.invite_only) {
                (true, _) => Visibility::Public,
                (_, true) => Visibility::Invite,
                _ if flags.title.is_none() => {
                    let message =
                        "nothing is to be changed: give --title, --public or --invite-only";
                    return Err(Failure::usage(message));
                }
                _ => Visibility::Unspecified,
            };
            let request = wire::ChangeConference {
                slug: flags.slug.into(),
                title: flags.title.map_or_else(String::new, Into::into),
                visibility: visibility.into(),
            };
            let request = Kind::ChangeConference(request);
            show(context, "conference_changed", request).await
        }
        Conference::Info { slug } => {
            let request = wire::ConferenceInfo { slug: slug.into() };
            show(context, "conference", Kind::ConferenceInfo(request)).await
        }
        Conference::List => list(context).await,
        Conference::Link { slug } => link(context, slug).await,
        Conference::Members { slug } => members(context, &slug).await,
        Conference::Delete { slug, yes } => {
            if !yes && meet::has_person() {
                // Nobody is asked about a conference that is not there, or is another's.
                own(context, &slug).await?;
                meet::confirm(&format!(
                    "Delete the conference {slug} with its memberships, for ever? Type yes and Enter:"
                ))
                .await?;
            }
            let done = Done::new("conference_deleted", format!("conference {slug} deleted"));
            let slug = slug.to_string();
            let request = Kind::DeleteConference(wire::DeleteConference { slug: slug.clone() });
            change(context, done.of_conference(slug), request).await
        }
        Conference::Leave { slug } => {
            let done = Done::new("conference_left", format!("no longer a member of {slug}"));
            let slug = slug.to_string();
            let request = Kind::LeaveConference(wire::LeaveConference { slug: slug.clone() });
            change(context, done.of_conference(slug), request).await
        }
        Conference::Invite(flags) => invite(context, flags).await,
        Conference::Invitations { slug } => invitations::list(context, &slug).await,
        Conference::RevokeInvitation { slug, id } => invitations::revoke(context, &slug, id).await,
        Conference::Kick(member) => {
            let text = format!("{} was sent out of {}", member.user, member.slug);
            let request = |slug, username| Kind::Kick(wire::Kick { slug, username });
            moderate(context, "kicked", member, text, request).await
        }
        Conference::Ban(member) => {
            let mut text = format!("{} is banned from {}", member.user, member.slug);
            let of_guest = member.user.parse::<Username>();
            if of_guest.is_ok_and(|name| name.is_guest()) {
                text += ", on this device and by the link that it came with, if there was one: it is revoked. A guest can make itself another device; into a public conference it then comes without a link";
            }
            let request = |slug, username| Kind::Ban(wire::Ban { slug, username });
            moderate(context, "banned", member, text, request).await
        }
        Conference::Unban(member) => {
            set_role(context, "unbanned", member, (Role::Member, true)).await
        }
        Conference::Mute(member) => mute(context, "muted", member, true).await,
        Conference::Unmute(member) => mute(context, "unmuted", member, false).await,
        Conference::Role { member, role } => {
            let role = match role {
                NewRole::Moderator => Role::Moderator,
                NewRole::Member => Role::Member,
                NewRole::Listener => Role::Listener,
            };
            set_role(context, "role_set", member, (role, false)).await
        }
    }
}

/// Makes sure that the conference is there, and the account's own.
async fn own(context: &Context, slug: &Slug) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let slug = slug.to_string();
    let info = Kind::ConferenceInfo(wire::ConferenceInfo { slug });
    let conference = link.conference(info).await;
    link.close().await;
    match conference?.role() {
        Role::Owner => Ok(()),
        _ => {
            let message = "only the owner may delete the conference";
            Err(Failure::new(Exit::Denied, "denied", message))
        }
    }
}

async fn show(context: &Context, event: &'static str, request: Kind) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| {
        let conference = link.conference(request).await?.into();
        Ok(ConferenceReport { event, conference })
    };
    context.signed_in_report(report).await
}

/// Makes an account a member, or prints a link that makes whoever follows it one.
async fn invite(context: &Context, flags: Invite) -> Result<(), Failure> {
    let role = match flags.listener {
        true => Role::Listener,
        false => Role::Member,
    };
    let Invite {
        slug, user, link, ..
    } = flags;
    let wrong = match (&user, link) {
        (Some(_), true) => Some("a link is for whoever follows it: leave out the name, or --link"),
        (None, false) => Some("who is invited? Give a name, or --link"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(Failure::usage(wrong));
    }
    let Some(user) = user else {
        return invitations::create(context, slug, role, (flags.uses, flags.valid)).await;
    };
    let member = MemberOf { slug, user };
    let text = has_role(&member, role);
    let request = |slug, username| {
        let role = role.into();
        Kind::Invite(wire::Invite {
            slug,
            username,
            role,
        })
    };
    moderate(context, "invited", member, text, request).await
}

/// Says that a link to this server leads nowhere elsewhere, if it is a server of this machine.
fn warn_of_local(context: &Context, server: &Server) {
    let host = server.host.as_str();
    let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_here && !context.common.json {
        print_on_stderr(&format!(
            "This link is for this machine alone: {host} is another one elsewhere. For others give the server by its name or address: \
             `confab --server HOST login NAME`, then this command again."
        ));
    }
}

/// Prints a link. The server is not asked: whether the conference is there shows when somebody follows it.
async fn link(context: &Context, slug: Slug) -> Result<(), Failure> {
    let known = context.known_server().await?;
    let link = ConferenceLink {
        server: known.server.short(),
        slug,
        authority: *known.authority.as_bytes(),
        invitation: None,
    };
    warn_of_local(context, &known.server);
    context
        .output
        .print(&Done::new("conference_link", link.to_string()).with_link(link.to_string()));
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| {
        let conferences = link.list_conferences().await?;
        Ok(ConferenceList {
            event: "conferences",
            conferences: conferences.into_iter().map(Into::into).collect(),
        })
    };
    context.signed_in_report(report).await
}

async fn members(context: &Context, slug: &Slug) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| {
        let members = link.list_members(slug).await?;
        Ok(MemberList {
            event: "members",
            slug: slug.to_string(),
            members: members.into_iter().map(Into::into).collect(),
        })
    };
    context.signed_in_report(report).await
}

async fn set_role(
    context: &Context,
    event: &'static str,
    member: MemberOf,
    (role, only_of_banned): (Role, bool),
) -> Result<(), Failure> {
    let text = has_role(&member, role);
    let request = |slug, username| {
        let role = role.into();
        Kind::SetRole(wire::SetRole {
            slug,
            username,
            role,
            only_of_banned,
        })
    };
    moderate(context, event, member, text, request).await
}

fn has_role(member: &MemberOf, role: Role) -> String {
    format!(
        "{} is a {} of {}",
        member.user,
        role_name(role),
        member.slug
    )
}

async fn mute(
    context: &Context,
    event: &'static str,
    member: MemberOf,
    muted: bool,
) -> Result<(), Failure> {
    let text = format!("{} is {event} in {}", member.user, member.slug);
    let request = |slug, username| {
        Kind::Mute(wire::Mute {
            slug,
            username,
            muted,
        })
    };
    moderate(context, event, member, text, request).await
}

/// A change of one member; `request` is made of the slug and the username.
async fn moderate(
    context: &Context,
    event: &'static str,
    member: MemberOf,
    text: String,
    request: impl FnOnce(String, String) -> Kind,
) -> Result<(), Failure> {
    let (slug, username) = (member.slug.to_string(), member.user);
    let request = request(slug.clone(), username.clone());
    let done = Done::new(event, text).of_conference(slug).of_user(username);
    change(context, done, request).await
}

/// A change of a conference, which may not hold everywhere yet.
async fn change(context: &Context, done: Done, request: Kind) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| Ok(done.held(link.change(request).await?));
    context.signed_in_report(report).await
}
