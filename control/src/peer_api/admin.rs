//! Carries out what operators ask about accounts, conferences and rooms.

use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::room::Role;
use confab_protocol::control::{Email, ErrorCode, Notice, Refusal, Slug, Username};
use confab_protocol::wire::{self, admin_response::Kind};
use tokio::task::JoinSet;

use super::Services;
use crate::accounts::service;
use crate::audit::{Act, By};
use crate::cluster::nodes::admin::{AdminRequest, NewAccount, Span};
use crate::cluster::nodes::{NodeRequest, NodeResponse};
use crate::conferences::NewConference;
use crate::domain::{AccountName, NodeName, Present};
use crate::rooms::Settled;
use crate::store::batch::join_all;
use crate::store::{AccountRecord, ConferenceRecord, Cursor, Membership, SessionRecord};

/// Time limit for the answers of other nodes.
const DEADLINE: Duration = Duration::from_secs(2);
/// Conferences that a refusal names.
const NAMED: usize = 5;

type Answer = Result<Kind, Refusal>;

/// Carries the request out and logs it.
pub(super) async fn answer(services: &Services, ask: AdminRequest) -> NodeResponse {
    let done = match ask {
        AdminRequest::ListAccounts(span) => list_accounts(services, span).await,
        AdminRequest::ShowAccount(name) => show_account(services, &name).await,
        AdminRequest::AddAccount(new) => add_account(services, new).await,
        AdminRequest::AddBot(name) => add_bot(services, name).await,
        AdminRequest::RenewToken(name) => renew_token(services, name).await,
        AdminRequest::SetDisabled(name, disabled) => set_disabled(services, &name, disabled).await,
        AdminRequest::ResetPassword(name, password) => {
            reset_password(services, &name, &password.0).await
        }
        AdminRequest::SetEmail(name, email) => set_email(services, &name, email).await,
        AdminRequest::DeleteAccount {
            account,
            with_conferences,
        } => delete_account(services, &account, with_conferences).await,
        AdminRequest::ListConferences(span) => list_conferences(services, span).await,
        AdminRequest::ShowConference(slug) => show_conference(services, slug).await,
        AdminRequest::CreateConference {
            slug,
            title,
            visibility,
            region,
            owner,
        } => {
            let new = NewConference {
                slug,
                title,
                visibility,
                region,
            };
            create_conference(services, owner, new).await
        }
        AdminRequest::Transfer { slug, owner } => {
            tracing::warn!(%slug, "an operator gives a conference to another owner");
            let settled = services.conferences.transfer(slug, owner).await;
            settled.map_err(Into::into).map(done)
        }
        AdminRequest::DeleteConference(slug) => {
            tracing::warn!(%slug, "an operator deletes a conference");
            let settled = services.conferences.remove(slug).await;
            settled.map_err(Into::into).map(done)
        }
        AdminRequest::ListRooms { limit } => list_rooms(services, limit).await,
        AdminRequest::ShowRoom(slug) => show_room(services, slug).await,
        AdminRequest::EndRoom(slug) => end_room(services, slug).await,
        AdminRequest::Announce(notice) => announce(services, &notice).await,
    };
    match done {
        Ok(kind) => NodeResponse::Admin(Box::new(wire::AdminResponse { kind: Some(kind) })),
        Err(refusal) => NodeResponse::Refused(refusal),
    }
}

/// What the audit log has of an operator's request; `None` for one that changes nothing.
/// `shows_addresses`: the log has e-mail addresses, too.
pub(super) fn act(ask: &NodeRequest, shows_addresses: bool) -> Option<Act> {
    let (act, of) = match ask {
        NodeRequest::DrainRelay { relay, .. } => ("drain", vec![("relay", relay.to_string())]),
        NodeRequest::RevokeRelay(relay, _) => ("revoke_relay", vec![("relay", relay.to_string())]),
        NodeRequest::RevokeNode(node, _) => ("revoke_node", vec![("node", node.to_string())]),
        NodeRequest::Admin(ask) => admin_act(ask, shows_addresses)?,
        _ => return None,
    };
    let by = By::Operator;
    Some(Act { act, by, of })
}

fn admin_act(
    ask: &AdminRequest,
    shows_addresses: bool,
) -> Option<(&'static str, Vec<(&'static str, String)>)> {
    let account = |name: &AccountName| match name {
        AccountName::Email(_) if !shows_addresses => ("account", "(an e-mail address)".to_owned()),
        name => ("account", name.as_str().to_owned()),
    };
    let slug = |slug: &Slug| ("slug", slug.to_string());
    Some(match ask {
        AdminRequest::AddAccount(new) => {
            let name = new.username.as_str().to_owned();
            ("add_account", vec![("account", name)])
        }
        AdminRequest::AddBot(name) => ("add_bot", vec![("account", name.as_str().to_owned())]),
        AdminRequest::RenewToken(name) => {
            ("renew_token", vec![("account", name.as_str().to_owned())])
        }
        AdminRequest::SetDisabled(name, true) => ("disable_account", vec![account(name)]),
        AdminRequest::SetDisabled(name, false) => ("enable_account", vec![account(name)]),
        AdminRequest::ResetPassword(name, _) => ("reset_password", vec![account(name)]),
        AdminRequest::SetEmail(name, _) => ("set_email", vec![account(name)]),
        AdminRequest::DeleteAccount { account: name, .. } => {
            ("delete_account", vec![account(name)])
        }
        AdminRequest::CreateConference {
            slug: of, owner, ..
        } => {
            let owner = ("username", owner.as_str().to_owned());
            ("create_conference", vec![slug(of), owner])
        }
        AdminRequest::Transfer { slug: of, owner } => {
            let owner = ("username", owner.as_str().to_owned());
            ("transfer_conference", vec![slug(of), owner])
        }
        AdminRequest::DeleteConference(of) => ("delete_conference", vec![slug(of)]),
        AdminRequest::EndRoom(of) => ("end_room", vec![slug(of)]),
        AdminRequest::Announce(notice) => ("message", vec![("text", notice.to_string())]),
        AdminRequest::ListAccounts(_)
        | AdminRequest::ShowAccount(_)
        | AdminRequest::ListConferences(_)
        | AdminRequest::ShowConference(_)
        | AdminRequest::ListRooms { .. }
        | AdminRequest::ShowRoom(_) => return None,
    })
}

/// Shows the line to the clients of this node.
pub(super) fn announce_here(services: &Services, notice: &Notice) {
    let text = notice.to_string();
    let event = wire::OperatorNotice { text };
    services
        .clients
        .broadcast(wire::event::Kind::OperatorNotice(event));
}

async fn list_accounts(services: &Services, Span { after, limit }: Span) -> Answer {
    let page = services.accounts.all(after, limit).await?;
    Ok(Kind::Accounts(wire::AdminAccounts {
        accounts: page.items.iter().map(AccountRecord::to_wire).collect(),
        next: next(page.next),
    }))
}

async fn show_account(services: &Services, name: &AccountName) -> Answer {
    let account = services.accounts.find(name).await?;
    let sessions = services.accounts.sessions(account.id).await?;
    let memberships = services.conferences.standings_of(account.id).await?;
    let session = |session: SessionRecord| wire::AdminSession {
        device: session.device.as_str().to_owned(),
        created_ms: session.created.0,
        refreshed_ms: session.rotated.0,
    };
    let membership = |item: Membership| wire::AdminMembership {
        slug: item.conference.slug.to_string(),
        role: item.standing.role.into(),
        muted: item.standing.muted,
    };
    Ok(Kind::Account(wire::AdminAccountDetails {
        account: Some(account.to_wire()),
        sessions: sessions.into_iter().map(session).collect(),
        more: memberships.next.is_some(),
        memberships: memberships.items.into_iter().map(membership).collect(),
    }))
}

async fn add_account(services: &Services, new: NewAccount) -> Answer {
    let account = services.accounts.add(service::NewAccount {
        username: new.username,
        email: new.email,
        birthday: new.birthday,
        password: new.password.0,
    });
    let account = account.await?;
    tracing::warn!(account = %account.id, "an operator has made an account");
    Ok(everywhere())
}

async fn add_bot(services: &Services, name: Username) -> Answer {
    let (account, token) = services.accounts.add_bot(name).await?;
    tracing::warn!(account = %account.id, "an operator has made a bot");
    Ok(shown_once(services, token))
}

async fn renew_token(services: &Services, name: Username) -> Answer {
    let account = services.accounts.find(&AccountName::Username(name)).await?;
    tracing::warn!(account = %account.id, "an operator makes another token for a bot");
    let token = services.accounts.renew_token(&account).await?;
    Ok(shown_once(services, token))
}

fn shown_once(services: &Services, token: Bytes) -> Kind {
    let authority = Bytes::copy_from_slice(&services.authority);
    Kind::Token(wire::AdminToken { token, authority })
}

async fn set_disabled(services: &Services, name: &AccountName, disabled: bool) -> Answer {
    let account = services.accounts.find(name).await?;
    tracing::warn!(account = %account.id, disabled, "an operator disables or enables an account");
    services.accounts.set_disabled(account.id, disabled).await?;
    Ok(everywhere())
}

async fn reset_password(services: &Services, name: &AccountName, password: &str) -> Answer {
    let account = services.accounts.find(name).await?;
    tracing::warn!(account = %account.id, "an operator sets the password of an account");
    services.accounts.reset_password(account, password).await?;
    Ok(everywhere())
}

async fn set_email(services: &Services, name: &AccountName, email: Option<Email>) -> Answer {
    let account = services.accounts.find(name).await?;
    tracing::warn!(account = %account.id, "an operator sets the e-mail address of an account");
    services.accounts.set_email(account, email).await?;
    Ok(everywhere())
}

async fn delete_account(services: &Services, name: &AccountName, with_conferences: bool) -> Answer {
    let account = services.accounts.find(name).await?;
    let owned = services.conferences.owned_by(account.id).await?;
    if !with_conferences && !owned.is_empty() {
        let slugs: Vec<_> = owned.iter().map(|one| one.slug.as_str()).collect();
        let mut named = slugs[..slugs.len().min(NAMED)].join(", ");
        if slugs.len() > NAMED {
            named.push_str(" and others");
        }
        return Err(Refusal::new(
            ErrorCode::Owner,
            format!(
                "this account owns {named}: give each to somebody with `conferences transfer`, or delete all with \
                 --with-conferences"
            ),
        ));
    }
    tracing::warn!(account = %account.id, with_conferences, "an operator deletes an account");
    services.conferences.delete_owned(account.id).await?;
    services.accounts.delete(account.id).await?;
    Ok(everywhere())
}

async fn list_conferences(services: &Services, Span { after, limit }: Span) -> Answer {
    let page = services.conferences.all(after, limit).await?;
    let ids: Vec<_> = page.items.iter().map(|one| one.id).collect();
    let live = services.counts.of(&ids).await;
    let zipped = page.items.iter().zip(live);
    Ok(Kind::Conferences(wire::AdminConferences {
        conferences: zipped
            .map(|(conference, live)| conference.to_wire(Role::Unspecified, live))
            .collect(),
        next: next(page.next),
    }))
}

async fn create_conference(services: &Services, owner: Username, new: NewConference) -> Answer {
    let made = services.conferences.create_for(owner, new).await?;
    tracing::warn!(slug = %made.slug, "an operator has created a conference");
    Ok(everywhere())
}

async fn show_conference(services: &Services, slug: Slug) -> Answer {
    let (conference, present) = present_in(services, slug).await?;
    let page = services.conferences.standings(conference.id).await?;
    let live = u32::try_from(present.len()).unwrap_or(u32::MAX);
    Ok(Kind::Conference(wire::AdminConferenceDetails {
        conference: Some(conference.to_wire(Role::Unspecified, live)),
        more: page.next.is_some(),
        members: page.items.into_iter().map(Into::into).collect(),
        present: present.into_iter().map(Into::into).collect(),
    }))
}

async fn show_room(services: &Services, slug: Slug) -> Answer {
    let (_, present) = present_in(services, slug).await?;
    Ok(Kind::Room(wire::Roster {
        present: present.into_iter().map(Into::into).collect(),
    }))
}

async fn end_room(services: &Services, slug: Slug) -> Answer {
    tracing::warn!(%slug, "an operator ends a room");
    let (conference, present) = present_in(services, slug).await?;
    let ended = services.conferences.end_room(conference.id, &present);
    Ok(Kind::Count(ended.await?))
}

/// The conference, and who is in its room.
async fn present_in(
    services: &Services,
    slug: Slug,
) -> Result<(ConferenceRecord, Vec<Present>), Refusal> {
    let conference = services.conferences.find(slug).await?;
    let present = services.counts.roster(conference.id).await;
    Ok((conference, present))
}

async fn list_rooms(services: &Services, limit: u32) -> Answer {
    let me = services.nodes.me().name.clone();
    let here = services.rooms.busiest(limit).into_iter();
    let mut all: Vec<_> = here.map(|(id, live)| (me.clone(), id, live)).collect();
    let ask = NodeRequest::Busiest(limit);
    let (answers, silent) = ask_others(services, &ask).await;
    for (node, answer) in answers {
        if let NodeResponse::Busiest(rooms) = answer {
            all.extend(rooms.into_iter().map(|(id, live)| (node.clone(), id, live)));
        }
    }
    all.sort_by_key(|(_, id, live)| (std::cmp::Reverse(*live), *id));
    all.truncate(limit as usize);
    let looked_up = join_all(all.iter().map(|(_, id, _)| services.conferences.by_id(*id))).await;
    let mut rooms = Vec::with_capacity(all.len());
    for ((node, _, live), conference) in all.iter().zip(looked_up) {
        // It may have been deleted a moment ago.
        if let Some(conference) = conference? {
            rooms.push(wire::AdminRoom {
                slug: conference.slug.to_string(),
                title: conference.title.to_string(),
                live: *live,
                node: node.to_string(),
            });
        }
    }
    let silent = silent.iter().map(ToString::to_string).collect();
    Ok(Kind::Rooms(wire::AdminRooms { rooms, silent }))
}

async fn announce(services: &Services, notice: &Notice) -> Answer {
    tracing::warn!("an operator shows a notice to all clients");
    announce_here(services, notice);
    let ask = NodeRequest::Announce(notice.clone());
    let (_, silent) = ask_others(services, &ask).await;
    match silent.is_empty() {
        true => Ok(everywhere()),
        false => {
            let silent: Vec<_> = silent.iter().map(ToString::to_string).collect();
            Err(Refusal::new(
                ErrorCode::Busy,
                format!(
                    "clients of these nodes may not have got it, which did not answer: {}",
                    silent.join(", ")
                ),
            ))
        }
    }
}

/// Asks all other nodes that are alive. Returns their answers, and the names of those that did not answer in time.
async fn ask_others(
    services: &Services,
    ask: &NodeRequest,
) -> (Vec<(NodeName, NodeResponse)>, Vec<NodeName>) {
    let mut asked = JoinSet::new();
    for node in services.nodes.others() {
        let (nodes, ask) = (services.nodes.clone(), ask.clone());
        asked.spawn(async move {
            let answer = tokio::time::timeout(DEADLINE, nodes.ask(&node, &ask)).await;
            (node.run.name, answer.ok().and_then(Result::ok))
        });
    }
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok((node, Some(answer))) => answers.push((node, answer)),
            Ok((node, None)) => silent.push(node),
            Err(error) => tracing::error!(%error, "a request to another node panicked"),
        }
    }
    (answers, silent)
}

fn done(settled: Settled) -> Kind {
    Kind::Done(wire::Done {
        pending: settled == Settled::WhereReached,
    })
}

fn everywhere() -> Kind {
    done(Settled::Everywhere)
}

/// Empty on the last page.
fn next(cursor: Option<Cursor>) -> Bytes {
    cursor.map(|Cursor(bytes)| bytes).unwrap_or_default()
}
