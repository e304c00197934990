//! Carries out requests. Each kind has a function in `accounts`, `conferences` or `rooms`; a kind without one does not compile.

mod accounts;
mod audited;
mod conferences;
mod invitations;
mod reply;
mod rooms;

use std::time::Instant;

use bytes::Bytes;
use confab_protocol::control::{ErrorCode, MAX_REQUEST, Refusal};
use confab_protocol::version;
use confab_protocol::wire::{self, request, response};

use self::reply::Answer;
use super::client::Client;
use super::fields as read;
use crate::AGENT;
use crate::accounts::SignedIn;
use crate::store::AccountKind;

/// Carries out a request and counts it. Before `hello` every other request is refused.
pub(super) async fn dispatch(client: &Client, request: request::Kind) -> Answer {
    let (kind, began) = (name(&request), Instant::now());
    let version = client.version.get();
    let audited = version.and_then(|_| audited::begin(client, kind, &request));
    let before = client.entry.signed_in().filter(|_| audited.is_some());
    let answer = act(client, request).await;
    let result = match &answer {
        Ok(response::Kind::Redirect(_)) => "redirect",
        Ok(_) => "ok",
        Err(refusal) => refusal.code.as_str_name(),
    };
    let requests = &client.services.metrics.requests;
    requests.observe(kind, result, began.elapsed());
    if let Some(audited) = audited {
        let before = before.map(|caller| caller.username.to_string());
        audited::end(client, audited, before, &answer, result);
    }
    answer
}

/// The name of the request kind in metrics.
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
        Kind::EnterAsGuest(_) => "enter_as_guest",
        Kind::SendEmailCode(_) => "send_email_code",
        Kind::VerifyEmail(_) => "verify_email",
        Kind::SendResetCode(_) => "send_reset_code",
        Kind::ResetPassword(_) => "reset_password",
        Kind::ChangeEmail(_) => "change_email",
        Kind::CreateConference(_) => "create_conference",
        Kind::ListConferences(_) => "list_conferences",
        Kind::ConferenceInfo(_) => "conference_info",
        Kind::ListMembers(_) => "list_members",
        Kind::ChangeConference(_) => "change_conference",
        Kind::DeleteConference(_) => "delete_conference",
        Kind::LeaveConference(_) => "leave_conference",
        Kind::Invite(_) => "invite",
        Kind::SetRole(_) => "set_role",
        Kind::CreateInvitation(_) => "create_invitation",
        Kind::ListInvitations(_) => "list_invitations",
        Kind::RevokeInvitation(_) => "revoke_invitation",
        Kind::RedeemInvitation(_) => "redeem_invitation",
        Kind::JoinRoom(_) => "join_room",
        Kind::LeaveRoom(_) => "leave_room",
        Kind::Kick(_) => "kick",
        Kind::Ban(_) => "ban",
        Kind::Mute(_) => "mute",
        Kind::ReportMedia(_) => "report_media",
        Kind::ReportFrames(_) => "report_frames",
        Kind::SendToGroup(_) => "send_to_group",
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
    let kind = client.entry.signed_in().map(|caller| caller.kind);
    let is_limited = matches!(kind, Some(AccountKind::Bot | AccountKind::Guest));
    if is_limited && !is_for_every_kind(&request) {
        return Err(Refusal::new(
            ErrorCode::Denied,
            "a bot or a guest may look, join, speak, write and leave, and nothing else",
        ));
    }
    // A ban would not know by which invitation it came.
    if kind == Some(AccountKind::Guest) && matches!(request, Kind::RedeemInvitation(_)) {
        return Err(Refusal::new(
            ErrorCode::Denied,
            "a guest is in one conference: come to another one by its link, with --guest",
        ));
    }
    let caller = || signed_in(client);
    match request {
        Kind::Hello(hello) => greet(client, &hello),
        Kind::Register(register) => accounts::register(client, register).await,
        Kind::Login(login) => accounts::login(client, login).await,
        Kind::EnterAsGuest(enter) => accounts::enter_as_guest(client, &enter).await,
        Kind::SendEmailCode(send) => accounts::send_email_code(client, &caller()?, &send).await,
        Kind::VerifyEmail(verify) => accounts::verify_email(client, &caller()?, &verify).await,
        Kind::ChangeEmail(change) => accounts::change_email(client, &caller()?, change).await,
        Kind::SendResetCode(send) => accounts::send_reset_code(client, &send).await,
        Kind::ResetPassword(reset) => accounts::reset_password(client, reset).await,
        Kind::Authenticate(request) => accounts::authenticate(client, &request.token).await,
        Kind::Refresh(request) => accounts::refresh(client, &request.token).await,
        Kind::Logout(_) => accounts::logout(client, &caller()?).await,
        Kind::WhoAmI(_) => accounts::who_am_i(client, &caller()?).await,
        Kind::ChangePassword(change) => accounts::change_password(client, &caller()?, change).await,
        Kind::ListSessions(_) => accounts::list_sessions(client, &caller()?).await,
        Kind::RevokeSession(revoke) => accounts::revoke_session(client, &caller()?, &revoke).await,
        Kind::ExportAccount(_) => accounts::export(client, &caller()?).await,
        Kind::DeleteAccount(delete) => accounts::delete(client, &caller()?, delete).await,
        Kind::CreateConference(create) => conferences::create(client, &caller()?, &create).await,
        Kind::ListConferences(list) => conferences::list(client, &caller()?, list).await,
        Kind::ConferenceInfo(info) => conferences::info(client, &caller()?, &info).await,
        Kind::ListMembers(list) => conferences::list_members(client, &caller()?, list).await,
        Kind::ChangeConference(change) => conferences::change(client, &caller()?, &change).await,
        Kind::DeleteConference(delete) => conferences::delete(client, &caller()?, &delete).await,
        Kind::LeaveConference(leave) => conferences::leave(client, &caller()?, &leave).await,
        Kind::Invite(invite) => conferences::invite(client, &caller()?, &invite).await,
        Kind::SetRole(set) => conferences::set_role(client, &caller()?, &set).await,
        Kind::CreateInvitation(create) => invitations::create(client, &caller()?, &create).await,
        Kind::ListInvitations(list) => invitations::list(client, &caller()?, &list).await,
        Kind::RevokeInvitation(revoke) => invitations::revoke(client, &caller()?, &revoke).await,
        Kind::RedeemInvitation(redeem) => invitations::redeem(client, &caller()?, &redeem).await,
        Kind::Kick(kick) => conferences::kick(client, &caller()?, &kick).await,
        Kind::Ban(ban) => conferences::ban(client, &caller()?, &ban).await,
        Kind::Mute(mute) => conferences::mute(client, &caller()?, &mute).await,
        Kind::JoinRoom(join) => rooms::join(client, &caller()?, join).await,
        Kind::LeaveRoom(leave) => rooms::leave(client, &caller()?, &leave).await,
        Kind::ReportMedia(report) => rooms::report_media(client, &caller()?, &report),
        Kind::ReportFrames(report) => rooms::report_frames(client, &caller()?, &report),
        Kind::SendToGroup(send) => rooms::send_to_group(client, &caller()?, send),
    }
}

/// Whether bots and guests may ask it.
fn is_for_every_kind(request: &request::Kind) -> bool {
    use request::Kind;
    match request {
        Kind::Hello(_)
        | Kind::Register(_)
        | Kind::Login(_)
        | Kind::EnterAsGuest(_)
        | Kind::SendResetCode(_)
        | Kind::ResetPassword(_)
        | Kind::Authenticate(_)
        | Kind::Refresh(_)
        | Kind::WhoAmI(_)
        | Kind::ListConferences(_)
        | Kind::ConferenceInfo(_)
        | Kind::ListMembers(_)
        | Kind::RedeemInvitation(_)
        | Kind::JoinRoom(_)
        | Kind::LeaveRoom(_)
        | Kind::ReportMedia(_)
        | Kind::ReportFrames(_)
        | Kind::SendToGroup(_) => true,
        Kind::Logout(_)
        | Kind::SendEmailCode(_)
        | Kind::VerifyEmail(_)
        | Kind::ChangePassword(_)
        | Kind::ChangeEmail(_)
        | Kind::ListSessions(_)
        | Kind::RevokeSession(_)
        | Kind::ExportAccount(_)
        | Kind::DeleteAccount(_)
        | Kind::CreateConference(_)
        | Kind::ChangeConference(_)
        | Kind::DeleteConference(_)
        | Kind::LeaveConference(_)
        | Kind::Invite(_)
        | Kind::SetRole(_)
        | Kind::CreateInvitation(_)
        | Kind::ListInvitations(_)
        | Kind::RevokeInvitation(_)
        | Kind::Kick(_)
        | Kind::Ban(_)
        | Kind::Mute(_) => false,
    }
}

/// The account that the connection acts for; refused if it is not signed in.
fn signed_in(client: &Client) -> Result<SignedIn, Refusal> {
    client.entry.signed_in().ok_or_else(|| {
        Refusal::new(
            ErrorCode::NotAuthenticated,
            "sign in first: log in or register",
        )
    })
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
        server_time_ms: client.services.clock.now().0,
        max_request_bytes: u32::try_from(MAX_REQUEST).unwrap_or(u32::MAX),
        nodes: client.services.nodes.public_addresses(),
        region: client
            .services
            .region
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        authority: Bytes::copy_from_slice(&client.services.authority),
        mail: client.services.accounts.sends_mail(),
        registration: client.services.accounts.registration().into(),
        email_required: client.services.accounts.required().email,
        birthday_required: client.services.accounts.required().birthday,
    }))
}
