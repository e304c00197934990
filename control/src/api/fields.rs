//! Parses the fields of requests into domain types. No other module does.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use confab_e2ee::mls::identity::{DevicePublicKey, EXPORTED_LEN};
use confab_e2ee::mls::wire::parse_at;
use confab_e2ee::mls::{FromMember, GroupName};
use confab_protocol::control::invitation::{MAX_USES, MAX_VALID, MIN_VALID};
use confab_protocol::control::room::{BadField, Role, Visibility};
use confab_protocol::control::{
    ConferenceId, Device, Email, InvitationId, InvitationToken, JoinId, MIN_FAILED_FRAMES, Refusal,
    Region, ResumeSecret, Slug, Title,
};
use confab_protocol::media::ConnectionId;
use confab_protocol::version::VersionRange;
use confab_protocol::wire;
use zeroize::Zeroizing;

use crate::accounts::SignedIn;
use crate::accounts::service::{Guest, Registration};
use crate::conferences::NewInvitation;
use crate::domain::{BadMailCode, MailCode};
use crate::invitations::Invited;
use crate::refusals::wrong_code;
use crate::rooms::{OwnJoin, Resume};
use crate::store::{ConferenceChange, Cursor, SessionId};

/// Parses text; the refusal names the field.
pub(super) fn parse<T>(text: &str, field: &'static str) -> Result<T, Refusal>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse()
        .map_err(|error: T::Err| Refusal::invalid(field, error.to_string()))
}

/// As [`parse`]; empty text is none.
fn parse_if_any<T>(text: &str, field: &'static str) -> Result<Option<T>, Refusal>
where
    T: FromStr,
    T::Err: Display,
{
    match text.is_empty() {
        true => Ok(None),
        false => parse(text, field).map(Some),
    }
}

/// A typed password; its memory is wiped after use.
pub(super) fn password(text: String) -> Zeroizing<String> {
    Zeroizing::new(text)
}

pub(super) fn email_if_any(text: &str) -> Result<Option<Email>, Refusal> {
    parse_if_any(text, "email")
}

pub(super) fn registration(request: wire::Register) -> Result<Registration, Refusal> {
    Ok(Registration {
        username: parse(&request.username, "username")?,
        email: email_if_any(&request.email)?,
        password: password(request.password),
        birthday: parse_if_any(&request.birthday, "birthday")?,
        device: device(&request.device)?,
        invited: request.invitation.as_ref().map(invited).transpose()?,
    })
}

/// A guest. `exported` is what both ends export from the connection, for the proof that the guest has its device's key.
pub(super) fn guest(
    enter: &wire::EnterAsGuest,
    exported: &[u8; EXPORTED_LEN],
) -> Result<Guest, Refusal> {
    let key = enter.device_key[..].try_into().map(DevicePublicKey);
    let key = key.map_err(|_| Refusal::invalid("device_key", "a device's key has 32 bytes"))?;
    if !key.has_signed_entry(exported, &enter.device_proof) {
        let message = "the device has not signed the entry on this connection";
        return Err(Refusal::invalid("device_proof", message));
    }
    let token = Some(&enter.token).filter(|token| !token.is_empty());
    let token = token.map(|token| InvitationToken::parse(token, "token"));
    Ok(Guest {
        name: parse(&enter.name, "name")?,
        slug: slug(&enter.slug)?,
        token: token.transpose().map_err(bad_field)?,
        device: device(&enter.device)?,
        key,
    })
}

/// A conference and the token of an invitation to it.
pub(super) fn invited(redeem: &wire::RedeemInvitation) -> Result<Invited, Refusal> {
    Ok(Invited {
        slug: slug(&redeem.slug)?,
        token: InvitationToken::parse(&redeem.token, "token").map_err(bad_field)?,
    })
}

/// An invitation to be made.
pub(super) fn new_invitation(create: &wire::CreateInvitation) -> Result<NewInvitation, Refusal> {
    let valid = Duration::from_secs(create.valid_s);
    if !(1..=MAX_USES).contains(&create.uses) {
        let message = format!("an invitation is for 1 to {MAX_USES} accounts");
        return Err(Refusal::invalid("uses", message));
    }
    if !(MIN_VALID..=MAX_VALID).contains(&valid) {
        let message = "an invitation is good for a minute to 366 days";
        return Err(Refusal::invalid("valid_s", message));
    }
    Ok(NewInvitation {
        role: invited_role(create.role)?,
        uses: create.uses,
        valid,
    })
}

pub(super) fn invitation_id(bytes: &[u8]) -> Result<InvitationId, Refusal> {
    InvitationId::parse(bytes, "id").map_err(bad_field)
}

pub(super) fn device(text: &str) -> Result<Device, Refusal> {
    parse(text, "device")
}

pub(super) fn slug(text: &str) -> Result<Slug, Refusal> {
    parse(text, "slug")
}

/// Parses a title; if it is empty, the slug is used.
pub(super) fn title(text: &str, slug: &Slug) -> Result<Title, Refusal> {
    let text = if text.is_empty() { slug.as_str() } else { text };
    parse(text, "title")
}

pub(super) fn region(text: &str) -> Result<Option<Region>, Refusal> {
    Region::parse(text).map_err(|error| Refusal::invalid("region", error.to_string()))
}

pub(super) fn visibility(visibility: Visibility) -> Result<Visibility, Refusal> {
    match visibility {
        Visibility::Unspecified => Err(Refusal::invalid(
            "visibility",
            "a conference is either public or by invitation: say which",
        )),
        known => Ok(known),
    }
}

pub(super) fn conference_change(
    change: &wire::ChangeConference,
) -> Result<ConferenceChange, Refusal> {
    let visibility = match change.visibility {
        0 => None,
        // One that is not known reads as none.
        _ => Some(visibility(change.visibility())?),
    };
    let title = parse_if_any(&change.title, "title")?;
    if title.is_none() && visibility.is_none() {
        let message = "nothing is to be changed: give a title, or who may join";
        return Err(Refusal::invalid("title", message));
    }
    Ok(ConferenceChange { title, visibility })
}

pub(super) fn role(role: Role) -> Result<Role, Refusal> {
    match role {
        Role::Unspecified => Err(Refusal::invalid("role", "this role is not known")),
        known => Ok(known),
    }
}

/// Parses the role of an invitation. Without one it is member; an unknown role is refused.
pub(super) fn invited_role(role: i32) -> Result<Role, Refusal> {
    match Role::try_from(role) {
        Ok(Role::Unspecified) => Ok(Role::Member),
        Ok(known) => Ok(known),
        Err(_) => Err(Refusal::invalid("role", "this role is not known")),
    }
}

pub(super) fn cursor(bytes: Bytes) -> Option<Cursor> {
    (!bytes.is_empty()).then(|| Cursor(Bytes::copy_from_slice(&bytes)))
}

pub(super) fn connection_id(bytes: &[u8], field: &'static str) -> Result<ConnectionId, Refusal> {
    let bytes = bytes.try_into().map_err(|_| bad_field(BadField(field)))?;
    Ok(ConnectionId::from_bytes(bytes))
}

/// Empty bytes mean none.
fn live_connection_id(bytes: &[u8]) -> Result<Option<ConnectionId>, Refusal> {
    if bytes.is_empty() {
        return Ok(None);
    }
    connection_id(bytes, "live_connection_id").map(Some)
}

pub(super) fn conference_id(bytes: &[u8]) -> Result<ConferenceId, Refusal> {
    ConferenceId::parse(bytes, "conference_id").map_err(bad_field)
}

pub(super) fn join_id(bytes: &[u8], field: &'static str) -> Result<JoinId, Refusal> {
    JoinId::parse(bytes, field).map_err(bad_field)
}

pub(super) fn mail_code(text: &str) -> Result<MailCode, Refusal> {
    text.parse().map_err(|BadMailCode| wrong_code())
}

pub(super) fn session_id(bytes: &[u8]) -> Result<SessionId, Refusal> {
    let id = bytes.try_into().map(SessionId);
    id.map_err(|_| Refusal::invalid("id", "a session's id has 16 bytes"))
}

/// The join that the client asks to resume; `None` without an id.
pub(super) fn resume(join: &wire::JoinRoom) -> Result<Option<Resume>, Refusal> {
    if join.resume_join_id.is_empty() {
        return Ok(None);
    }
    Ok(Some(Resume {
        join_id: join_id(&join.resume_join_id, "resume_join_id")?,
        secret: resume_secret(&join.resume_secret)?,
        live: live_connection_id(&join.live_connection_id)?,
        group: group_state(join.group.as_ref())?,
    }))
}

/// Where the client's group stands; `None` without one.
fn group_state(group: Option<&wire::GroupEpoch>) -> Result<Option<(GroupName, u64)>, Refusal> {
    let read = |at| parse_at(Some(at)).map_err(bad_field);
    group.map(read).transpose()
}

/// Messages to the delivery service.
pub(super) fn group_messages(messages: Vec<wire::FromMember>) -> Result<Vec<FromMember>, Refusal> {
    let read = |message| FromMember::try_from(message).map_err(bad_field);
    messages.into_iter().map(read).collect()
}

fn resume_secret(bytes: &[u8]) -> Result<ResumeSecret, Refusal> {
    ResumeSecret::parse(bytes).map_err(bad_field)
}

/// A join that the client claims as its own, with its secret.
pub(super) fn own_join(
    caller: &SignedIn,
    join_id: &[u8],
    secret: &[u8],
) -> Result<OwnJoin, Refusal> {
    Ok(OwnJoin {
        account: caller.account,
        join_id: self::join_id(join_id, "join_id")?,
        secret: resume_secret(secret)?,
    })
}

pub(super) fn media_versions(min: u32, max: u32) -> Result<VersionRange, Refusal> {
    VersionRange::media_from_wire(min, max).ok_or_else(|| {
        let message = "min_media_version is above max_media_version";
        Refusal::invalid("max_media_version", message)
    })
}

/// True if the share of undecryptable frames is high enough for a report.
pub(super) fn is_unreadable(opened: u32, failed: u32) -> bool {
    failed >= MIN_FAILED_FRAMES && failed >= opened
}

fn bad_field(error: BadField) -> Refusal {
    Refusal::invalid(error.0, error.to_string())
}
