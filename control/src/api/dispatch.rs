//! What each request does.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use confab_protocol::control::room::Role;
use confab_protocol::control::{Capabilities, ErrorCode, JoinId, MAX_REQUEST, Refusal};
use confab_protocol::version;
use confab_protocol::wire::{self, request, response};

use super::connection::Client;
use super::fields as read;
use crate::AGENT;
use crate::accounts::{Granted, Login, SignedIn};
use crate::rooms::{Join, Joiner, Resume, Settled};
use crate::store::{AccountRecord, Cursor, SessionId};

type Answer = Result<response::Kind, Refusal>;

/// Does what is asked. Before `hello` nothing else is.
pub(super) async fn dispatch(client: &Client, request: request::Kind) -> Answer {
    let (kind, began) = (name(&request), Instant::now());
    let answer = act(client, request).await;
    let result = match &answer {
        Ok(response::Kind::Redirect(_)) => "redirect",
        Ok(_) => "ok",
        Err(refusal) => refusal.code.as_str_name(),
    };
    let requests = &client.server.metrics.requests;
    requests.observe(kind, result, began.elapsed());
    if let Err(refusal) = &answer
        && refusal.code == ErrorCode::NoRelay
    {
        tracing::warn!(
            client = client.entry.id,
            "a join failed: no relay is linked, or none has room"
        );
    }
    answer
}

/// What figures call a request.
fn name(request: &request::Kind) -> &'static str {
    use request::Kind;
    match request {
        Kind::Hello(_) => "hello",
        Kind::Register(_) => "register",
        Kind::Login(_) => "login",
        Kind::Authenticate(_) => "authenticate",
        Kind::Refresh(_) => "refresh",
        Kind::Logout(_) => "logout",
        Kind::WhoAmI(_) => "who_am_i",
        Kind::ChangePassword(_) => "change_password",
        Kind::ListSessions(_) => "list_sessions",
        Kind::RevokeSession(_) => "revoke_session",
        Kind::ExportAccount(_) => "export_account",
        Kind::DeleteAccount(_) => "delete_account",
        Kind::CreateConference(_) => "create_conference",
        Kind::ListConferences(_) => "list_conferences",
        Kind::ConferenceInfo(_) => "conference_info",
        Kind::ListMembers(_) => "list_members",
        Kind::DeleteConference(_) => "delete_conference",
        Kind::LeaveConference(_) => "leave_conference",
        Kind::Invite(_) => "invite",
        Kind::SetRole(_) => "set_role",
        Kind::JoinRoom(_) => "join_room",
        Kind::LeaveRoom(_) => "leave_room",
        Kind::Kick(_) => "kick",
        Kind::Ban(_) => "ban",
        Kind::Mute(_) => "mute",
        Kind::ReportMedia(_) => "report_media",
        Kind::ReportFrames(_) => "report_frames",
    }
}

async fn act(client: &Client, request: request::Kind) -> Answer {
    use request::Kind;
    if client.version.get().is_none() && !matches!(request, Kind::Hello(_)) {
        return Err(Refusal::new(
            ErrorCode::HelloRequired,
            "the first request of a connection is hello",
        ));
    }
    if matches!(request, Kind::Register(_) | Kind::Login(_)) && client.entry.signed_in().is_some() {
        return Err(signed_in_already());
    }
    match request {
        Kind::Hello(hello) => greet(client, &hello),
        Kind::Register(register) => {
            let new = read::registration(register)?;
            let granted = client.server.accounts.register(new, client.source).await?;
            sign_in(client, granted).await
        }
        Kind::Login(login) => {
            let login = Login {
                device: read::device(&login.device)?,
                name: login.name,
                password: read::password(login.password),
                cookie: login.device_cookie,
            };
            let granted = client.server.accounts.login(login, client.source).await?;
            sign_in(client, granted).await
        }
        Kind::Authenticate(wire::Authenticate { token }) => {
            let granted = client.server.accounts.authenticate(&token).await?;
            sign_in(client, granted).await
        }
        Kind::Refresh(wire::Refresh { token }) => {
            let granted = client.server.accounts.refresh(&token).await?;
            sign_in(client, granted).await
        }
        signed_in => {
            let who = client.entry.signed_in().ok_or_else(|| {
                Refusal::new(
                    ErrorCode::NotAuthenticated,
                    "sign in first: log in or register",
                )
            })?;
            match signed_in {
                request @ (Kind::JoinRoom(_)
                | Kind::LeaveRoom(_)
                | Kind::ReportMedia(_)
                | Kind::ReportFrames(_)) => in_room(client, &who, request).await,
                request @ (Kind::Logout(_)
                | Kind::WhoAmI(_)
                | Kind::ChangePassword(_)
                | Kind::ListSessions(_)
                | Kind::RevokeSession(_)
                | Kind::ExportAccount(_)
                | Kind::DeleteAccount(_)) => with_account(client, &who, request).await,
                request => with_conference(client, &who, request).await,
            }
        }
    }
}

fn greet(client: &Client, hello: &wire::Hello) -> Answer {
    let agent = read::parse::<confab_protocol::control::Device>(&hello.agent, "agent")?;
    let version = version::CONTROL
        .negotiate(hello.min_version, hello.max_version)
        .map_err(|error| Refusal::new(ErrorCode::UnsupportedVersion, error.to_string()))?;
    if client.greet(version) {
        tracing::info!(
            client = client.entry.id,
            agent = agent.as_str(),
            version,
            "hello"
        );
    }
    Ok(response::Kind::Welcome(wire::Welcome {
        version: client.version.get().copied().unwrap_or(version),
        agent: AGENT.to_owned(),
        server_time_ms: client.server.clock.now().0,
        max_request_bytes: u32::try_from(MAX_REQUEST).unwrap_or(u32::MAX),
        nodes: client.server.nodes.public_addresses(),
        region: client
            .server
            .region
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        authority: Bytes::copy_from_slice(&client.server.authority),
    }))
}

/// The connection acts for the account from now on.
async fn sign_in(client: &Client, granted: Granted) -> Answer {
    let Granted {
        account,
        session,
        token,
        expires,
        refresh_after,
        cookie,
    } = granted;
    // Events and participations are the connection's: another account's do not mix with them.
    let before = client.entry.signed_in();
    if before
        .as_ref()
        .is_some_and(|before| before.account != account.id)
    {
        return Err(signed_in_already());
    }
    let is_known = before.is_some_and(|before| before.session == session);
    let who = SignedIn {
        account: account.id,
        username: account.username.clone(),
        session,
    };
    if let Err(full) = client.entry.sign_in(who) {
        if cookie.is_some() {
            // Nobody is told of a session that has just begun. One that is left over ends by itself.
            let _ = client.server.accounts.revoke(account.id, session).await;
        }
        return Err(full);
    }
    // Whoever ended the session before it was entered did not find this connection.
    let live = client.server.accounts.is_live(session).await;
    if !is_known && !matches!(live, Ok(true)) {
        client.entry.sign_out();
    }
    if !live? {
        client.entry.sign_out();
        let message = "this session has ended: log in again";
        return Err(Refusal::new(ErrorCode::SessionEnded, message));
    }
    tracing::info!(client = client.entry.id, account = %account.id, ?session, "signed in");
    let account = Some(account_to_wire(&account));
    Ok(match token {
        Some(token) => response::Kind::SessionGranted(wire::SessionGranted {
            token,
            expires_ms: expires.0,
            refresh_after_ms: refresh_after.0,
            account,
            device_cookie: cookie.unwrap_or_default(),
        }),
        None => response::Kind::Authenticated(wire::Authenticated {
            account,
            expires_ms: expires.0,
            refresh_after_ms: refresh_after.0,
        }),
    })
}

fn signed_in_already() -> Refusal {
    Refusal::new(
        ErrorCode::Denied,
        "this connection is signed in already: log out first, or open another",
    )
}

async fn with_account(client: &Client, who: &SignedIn, request: request::Kind) -> Answer {
    use request::Kind;
    let accounts = &client.server.accounts;
    match request {
        Kind::Logout(_) => {
            client.entry.sign_out();
            accounts.revoke(who.account, who.session).await?;
        }
        Kind::WhoAmI(_) => {
            let account = accounts.account(who.account).await?;
            return Ok(response::Kind::Account(account_to_wire(&account)));
        }
        Kind::ChangePassword(change) => {
            let (old, new) = (
                read::password(change.old_password),
                read::password(change.new_password),
            );
            accounts.change_password(who, old, new).await?;
        }
        Kind::ListSessions(_) => {
            let sessions = accounts.sessions(who.account).await?;
            let to_wire = |session: crate::store::SessionRecord| wire::Session {
                id: Bytes::copy_from_slice(&session.id.0),
                device: session.device.as_str().to_owned(),
                created_ms: session.created.0,
                expires_ms: session.expires.0,
                current: session.id == who.session,
            };
            let sessions = sessions.into_iter().map(to_wire).collect();
            return Ok(response::Kind::Sessions(wire::Sessions { sessions }));
        }
        Kind::RevokeSession(wire::RevokeSession { id }) => {
            let id = id.as_ref().try_into().map(SessionId);
            let id = id.map_err(|_| Refusal::invalid("id", "a session's id has 16 bytes"))?;
            accounts.revoke(who.account, id).await?;
        }
        Kind::ExportAccount(_) => {
            let json = accounts.export(who.account).await?;
            return Ok(response::Kind::AccountExport(wire::AccountExport { json }));
        }
        Kind::DeleteAccount(delete) => {
            let account = accounts.account(who.account).await?;
            let password = read::password(delete.password);
            accounts
                .check_password(&account, password, "password")
                .await?;
            client.server.conferences.delete_owned(account.id).await?;
            client.entry.sign_out();
            accounts.delete(account.id).await?;
            tracing::info!(account = %account.id, "account deleted");
        }
        _ => return Err(not_here()),
    }
    done()
}

async fn with_conference(client: &Client, who: &SignedIn, request: request::Kind) -> Answer {
    use request::Kind;
    let (conferences, counts) = (&client.server.conferences, &client.server.counts);
    let settled = match request {
        Kind::CreateConference(create) => {
            let slug = read::slug(&create.slug)?;
            let title = read::title(&create.title, &slug)?;
            let visibility = read::visibility(create.visibility())?;
            let region = read::region(&create.region)?;
            let made = conferences
                .create(who, slug, title, visibility, region)
                .await?;
            return Ok(response::Kind::Conference(made.to_wire(Role::Owner, 0)));
        }
        Kind::ListConferences(list) => {
            let page = conferences.list(who, read::cursor(list.cursor)).await?;
            let ids: Vec<_> = page.items.iter().map(|item| item.conference.id).collect();
            let live = counts.of(&ids).await;
            let to_wire = |(membership, live): (crate::store::Membership, u32)| {
                membership
                    .conference
                    .to_wire(membership.standing.role, live)
            };
            return Ok(response::Kind::Conferences(wire::Conferences {
                conferences: page.items.into_iter().zip(live).map(to_wire).collect(),
                next: next(page.next),
            }));
        }
        Kind::ConferenceInfo(info) => {
            let (conference, role) = conferences.info(who, read::slug(&info.slug)?).await?;
            let live = counts.of(&[conference.id]).await;
            let live = live.first().copied().unwrap_or_default();
            return Ok(response::Kind::Conference(conference.to_wire(role, live)));
        }
        Kind::ListMembers(list) => {
            let slug = read::slug(&list.slug)?;
            let page = conferences
                .members(who, slug, read::cursor(list.cursor))
                .await?;
            let to_wire = |member: crate::store::MemberRecord| wire::Member {
                account_id: member.account.to_wire(),
                username: member.username.into(),
                role: member.standing.role.into(),
                muted: member.standing.muted,
                since_ms: member.standing.since.0,
            };
            return Ok(response::Kind::Members(wire::Members {
                members: page.items.into_iter().map(to_wire).collect(),
                next: next(page.next),
            }));
        }
        Kind::DeleteConference(delete) => {
            conferences.delete(who, read::slug(&delete.slug)?).await?
        }
        Kind::LeaveConference(leave) => conferences.leave(who, read::slug(&leave.slug)?).await?,
        Kind::Invite(invite) => {
            let slug = read::slug(&invite.slug)?;
            let username = read::parse(&invite.username, "username")?;
            let role = read::invited_role(invite.role)?;
            conferences.invite(who, slug, username, role).await?;
            Settled::Holds
        }
        Kind::SetRole(set) => {
            let slug = read::slug(&set.slug)?;
            let username = read::parse(&set.username, "username")?;
            conferences
                .set_role(who, slug, username, read::role(set.role())?)
                .await?
        }
        Kind::Kick(kick) => {
            let username = read::parse(&kick.username, "username")?;
            conferences
                .kick(who, read::slug(&kick.slug)?, username)
                .await?
        }
        Kind::Ban(ban) => {
            let username = read::parse(&ban.username, "username")?;
            conferences
                .ban(who, read::slug(&ban.slug)?, username)
                .await?
        }
        Kind::Mute(mute) => {
            let username = read::parse(&mute.username, "username")?;
            conferences
                .mute(who, read::slug(&mute.slug)?, username, mute.muted)
                .await?
        }
        _ => return Err(not_here()),
    };
    let pending = settled == Settled::Pending;
    Ok(response::Kind::Done(wire::Done { pending }))
}

async fn in_room(client: &Client, who: &SignedIn, request: request::Kind) -> Answer {
    let rooms = &client.server.rooms;
    match request {
        request::Kind::JoinRoom(join) => {
            let conference = client
                .server
                .conferences
                .find_to_join(read::slug(&join.slug)?)
                .await?;
            let resume = match join.resume_join_id.as_ref() {
                [] => None,
                bytes => Some(Resume {
                    join_id: JoinId::parse(bytes, "resume_join_id").map_err(read::bad_field)?,
                    secret: read::resume_secret(&join.resume_secret)?,
                    live: read::live_connection_id(&join.live_connection_id)?,
                }),
            };
            let media = read::media_versions(join.min_media_version, join.max_media_version)?;
            let joiner = Joiner {
                account: who.account,
                username: who.username.clone(),
                session: who.session,
                client: client.entry.id,
                region: read::region(&join.region)?.or_else(|| client.server.region.clone()),
                media,
                capabilities: Capabilities::from_wire(&join.capabilities),
            };
            let events = client.events.clone();
            let joined = match rooms.join(conference.id, joiner, resume, events).await? {
                Join::Here(joined) => joined,
                Join::Elsewhere(node) => {
                    let nodes = node.public;
                    return Ok(response::Kind::Redirect(wire::Redirect { nodes }));
                }
            };
            client.has_joined.store(true, Ordering::Relaxed);
            let still_in = client.entry.signed_in().as_ref() == Some(who);
            // A store that does not say is no proof that it lives.
            if !still_in
                && !client
                    .server
                    .accounts
                    .is_live(who.session)
                    .await
                    .unwrap_or(false)
            {
                // The session ended while the room let the client in, and the room may not have heard of it.
                rooms.session_ended(who.account, who.session);
            }
            Ok(response::Kind::RoomJoined(joined.as_ref().into()))
        }
        request::Kind::ReportMedia(report) => {
            let conference = read::conference_id(&report.conference_id)?;
            let of = read::own_join(who, &report.join_id, &report.resume_secret)?;
            let connection_id = read::connection_id(&report.connection_id, "connection_id")?;
            rooms.media_reported(conference, of, connection_id, report.alive);
            done()
        }
        request::Kind::ReportFrames(report) => {
            let conference = read::conference_id(&report.conference_id)?;
            let of = read::own_join(who, &report.join_id, &report.resume_secret)?;
            if read::is_unreadable(report.opened, report.failed) {
                rooms.frames_reported(conference, of, report.leaf);
            }
            done()
        }
        request::Kind::LeaveRoom(leave) => {
            let conference = client
                .server
                .conferences
                .find_to_join(read::slug(&leave.slug)?)
                .await?;
            let join_id = JoinId::parse(&leave.join_id, "join_id").map_err(read::bad_field)?;
            rooms
                .leave(conference.id, who.account, client.entry.id, join_id)
                .await?;
            done()
        }
        _ => Err(not_here()),
    }
}

fn account_to_wire(account: &AccountRecord) -> wire::Account {
    wire::Account {
        id: account.id.to_wire(),
        username: account.username.as_str().to_owned(),
        email: account.email.as_str().to_owned(),
        birthday: account.birthday.to_string(),
        created_ms: account.created.0,
    }
}

fn next(cursor: Option<Cursor>) -> Bytes {
    cursor.map_or_else(Bytes::new, |Cursor(bytes)| bytes)
}

fn done() -> Answer {
    Ok(response::Kind::Done(wire::Done { pending: false }))
}

/// A request that was sent down the wrong one of the branches above.
fn not_here() -> Refusal {
    Refusal::new(
        ErrorCode::UnknownRequest,
        "this server does not know this request",
    )
}
