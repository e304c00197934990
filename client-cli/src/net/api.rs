//! Requests as functions: domain types in, domain types out.

use bytes::Bytes;
use confab_e2ee::mls::{GroupName, wire as group_wire};
use confab_protocol::control::room::{BadField, Capability, KeyScheme, MAX_PARTICIPANTS};
use confab_protocol::control::text::Shown;
use confab_protocol::control::{Capabilities, ConferenceId, JoinId, Region, ResumeSecret, Slug};
use confab_protocol::media::ConnectionId;
use confab_protocol::version;
use confab_protocol::wire::{self, request, response};

use super::Link;
use super::errors::ApiError;
use super::node_list::parse_nodes;
use crate::engine::readability::Unreadable;
use crate::engine::room::Joined;

/// A join of this client, and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnJoin {
    pub conference: ConferenceId,
    pub id: JoinId,
    /// Known to this client alone.
    pub secret: ResumeSecret,
}

/// A join to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    pub join: OwnJoin,
    /// The media session to keep: one on which the relay answers.
    pub live: Option<ConnectionId>,
    /// Where the member stands in the room's group; `None` without a group.
    pub group: Option<(GroupName, u64)>,
}

/// A report to control that a relay answers on a media session, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaReport {
    pub conference: ConferenceId,
    pub join: JoinId,
    pub connection_id: ConnectionId,
    pub alive: bool,
}

/// The error for an answer without media where no session is kept.
pub(super) const NO_MEDIA: ApiError = ApiError::Malformed("a join without media");

/// The error for a new join whose answer lacks the resume secret.
pub(super) const NO_SECRET: ApiError = ApiError::Malformed("a join without its resume secret");

/// The optional capabilities of this client.
const CAPABILITIES: [Capability; 2] = [Capability::RedundantCopies, Capability::Dred];

/// Most entries of a list, over all its pages. More than any server allows.
const MAX_LISTED: usize = 100_000;

const ENDLESS: ApiError = ApiError::Malformed("a list without an end");

const WRONG_KIND: ApiError = ApiError::Malformed("an answer of another kind");

/// How far a change in a conference holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Holds,
    /// The change is stored; a relay that is out of reach obeys it when it is back.
    Pending,
}

impl Change {
    /// A remark for the person; empty when the change holds everywhere.
    pub fn note(self) -> &'static str {
        match self {
            Self::Holds => "",
            Self::Pending => {
                " (stored; a voice relay is out of the server's reach, and it holds there as soon as that relay is back)"
            }
        }
    }
}

impl Link {
    /// A request that is answered by `Done`.
    pub async fn done(&self, kind: request::Kind) -> Result<(), ApiError> {
        match self.request(kind).await? {
            response::Kind::Done(_) => Ok(()),
            _ => Err(WRONG_KIND),
        }
    }

    /// A change in a conference: whether it holds, or is only stored because a relay is out of reach.
    pub async fn change(&self, kind: request::Kind) -> Result<Change, ApiError> {
        match self.request(kind).await? {
            response::Kind::Done(wire::Done { pending: false }) => Ok(Change::Holds),
            response::Kind::Done(wire::Done { pending: true }) => Ok(Change::Pending),
            _ => Err(WRONG_KIND),
        }
    }

    /// A request that is answered by a session: register, login, refresh.
    pub async fn granted(&self, kind: request::Kind) -> Result<wire::SessionGranted, ApiError> {
        match self.request(kind).await? {
            response::Kind::SessionGranted(session) => Ok(session),
            _ => Err(WRONG_KIND),
        }
    }

    /// Signs the connection in with a token.
    pub async fn authenticate(&self, token: &[u8]) -> Result<wire::Authenticated, ApiError> {
        let token = Bytes::copy_from_slice(token);
        match self
            .request(request::Kind::Authenticate(wire::Authenticate { token }))
            .await?
        {
            response::Kind::Authenticated(session) => Ok(session),
            _ => Err(WRONG_KIND),
        }
    }

    /// The account of the connection.
    pub async fn who_am_i(&self) -> Result<wire::Account, ApiError> {
        match self.request(request::Kind::WhoAmI(wire::WhoAmI {})).await? {
            response::Kind::Account(account) => Ok(account),
            _ => Err(WRONG_KIND),
        }
    }

    pub async fn list_sessions(&self) -> Result<Vec<wire::Session>, ApiError> {
        match self
            .request(request::Kind::ListSessions(wire::ListSessions {}))
            .await?
        {
            response::Kind::Sessions(list) if list.sessions.len() > MAX_LISTED => Err(ENDLESS),
            response::Kind::Sessions(list) => Ok(list.sessions),
            _ => Err(WRONG_KIND),
        }
    }

    /// Makes an invitation by link.
    pub async fn create_invitation(
        &self,
        create: wire::CreateInvitation,
    ) -> Result<wire::InvitationCreated, ApiError> {
        match self
            .request(request::Kind::CreateInvitation(create))
            .await?
        {
            response::Kind::InvitationCreated(created) => Ok(created),
            _ => Err(WRONG_KIND),
        }
    }

    /// The conference's invitations by link.
    pub async fn list_invitations(&self, slug: &Slug) -> Result<Vec<wire::Invitation>, ApiError> {
        let slug = slug.to_string();
        let list = request::Kind::ListInvitations(wire::ListInvitations { slug });
        match self.request(list).await? {
            response::Kind::Invitations(list) => Ok(list.invitations),
            _ => Err(WRONG_KIND),
        }
    }

    /// The account's data at the server, as a JSON document.
    pub async fn export_account(&self) -> Result<String, ApiError> {
        match self
            .request(request::Kind::ExportAccount(wire::ExportAccount {}))
            .await?
        {
            response::Kind::AccountExport(export) => Ok(export.json),
            _ => Err(WRONG_KIND),
        }
    }

    /// A request that is answered by a conference: create, info.
    pub async fn conference(&self, kind: request::Kind) -> Result<wire::Conference, ApiError> {
        match self.request(kind).await? {
            response::Kind::Conference(conference) => Ok(conference),
            _ => Err(WRONG_KIND),
        }
    }

    /// The conferences of which the account is a member, all pages of them.
    pub async fn list_conferences(&self) -> Result<Vec<wire::Conference>, ApiError> {
        let page = async |cursor| {
            let request = request::Kind::ListConferences(wire::ListConferences { cursor });
            match self.request(request).await? {
                response::Kind::Conferences(page) => Ok((page.conferences, page.next)),
                _ => Err(WRONG_KIND),
            }
        };
        all_pages(page).await
    }

    /// The members of a conference, all pages of them.
    pub async fn list_members(&self, slug: &Slug) -> Result<Vec<wire::Member>, ApiError> {
        let page = async |cursor| {
            let slug = slug.to_string();
            let request = request::Kind::ListMembers(wire::ListMembers { slug, cursor });
            match self.request(request).await? {
                response::Kind::Members(page) => Ok((page.members, page.next)),
                _ => Err(WRONG_KIND),
            }
        };
        all_pages(page).await
    }

    /// Joins a conference's room, or resumes an earlier join; `region` is the participant's.
    /// [`ApiError::Elsewhere`] says where the room is. The answer has media unless the live session stays.
    pub async fn join(
        &self,
        slug: &Slug,
        resume: Option<&Resume>,
        region: Option<&Region>,
    ) -> Result<Joined, ApiError> {
        let live = resume.and_then(|resume| resume.live);
        let join = resume.map(|resume| &resume.join);
        let group = resume.and_then(|resume| resume.group);
        let request = wire::JoinRoom {
            slug: slug.to_string(),
            resume_join_id: join.map_or_else(Bytes::new, |join| join.id.to_wire()),
            resume_secret: join.map_or_else(Bytes::new, |join| join.secret.to_wire()),
            live_connection_id: live.map_or_else(Bytes::new, connection_id),
            region: region.map_or_else(String::new, ToString::to_string),
            group: group.map(|(name, epoch)| group_wire::at(name, epoch)),
            min_media_version: version::MEDIA.min(),
            max_media_version: version::MEDIA.max(),
            capabilities: Capabilities::from(CAPABILITIES).to_wire(),
        };
        match self.request(request::Kind::JoinRoom(request)).await? {
            response::Kind::RoomJoined(joined) => {
                check_room(&joined)?;
                match Joined::try_from(&joined)? {
                    joined if joined.media.is_none() && live.is_none() => Err(NO_MEDIA),
                    joined if joined.resume.is_none() && resume.is_none() => Err(NO_SECRET),
                    joined => Ok(joined),
                }
            }
            response::Kind::Redirect(redirect) => match parse_nodes(&redirect.nodes) {
                nodes if nodes.is_empty() => {
                    Err(ApiError::Malformed("a redirection that leads nowhere"))
                }
                nodes => Err(ApiError::Elsewhere(nodes)),
            },
            _ => Err(WRONG_KIND),
        }
    }

    /// Reports whether a relay answers. The response is ignored.
    pub fn report_media(&self, report: MediaReport, secret: &ResumeSecret) {
        let message = wire::ReportMedia {
            conference_id: report.conference.to_wire(),
            join_id: report.join.to_wire(),
            connection_id: connection_id(report.connection_id),
            alive: report.alive,
            resume_secret: secret.to_wire(),
        };
        self.tell(request::Kind::ReportMedia(message));
    }

    /// Reports that frames under a leaf do not open. The response is ignored.
    pub fn report_frames(&self, conference: ConferenceId, join: &OwnJoin, frames: Unreadable) {
        self.tell(request::Kind::ReportFrames(wire::ReportFrames {
            conference_id: conference.to_wire(),
            join_id: join.id.to_wire(),
            leaf: frames.leaf,
            opened: frames.counts.opened,
            failed: frames.counts.failed,
            resume_secret: join.secret.to_wire(),
        }));
    }

    /// Gives messages of a member to the delivery service, in order.
    pub async fn send_to_group(
        &self,
        join: &OwnJoin,
        messages: Vec<wire::FromMember>,
    ) -> Result<(), ApiError> {
        let request = wire::SendToGroup {
            conference_id: join.conference.to_wire(),
            join_id: join.id.to_wire(),
            resume_secret: join.secret.to_wire(),
            messages,
        };
        self.done(request::Kind::SendToGroup(request)).await
    }

    /// Sends a request and ignores its response.
    fn tell(&self, kind: request::Kind) {
        let request = self.send(kind);
        tokio::spawn(async move {
            if let Err(error) = request.await {
                tracing::debug!(error = %Shown(error), "the server did not take a report");
            }
        });
    }

    /// Leaves the room.
    pub async fn leave(&self, slug: &Slug, join: JoinId) -> Result<(), ApiError> {
        let request = wire::LeaveRoom {
            slug: slug.to_string(),
            join_id: join.to_wire(),
        };
        self.done(request::Kind::LeaveRoom(request)).await
    }
}

fn connection_id(id: ConnectionId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// Reads the pages of a list. A hostile server might send pages for ever: an empty page counts as an entry, too.
async fn all_pages<T>(
    page: impl AsyncFn(Bytes) -> Result<(Vec<T>, Bytes), ApiError>,
) -> Result<Vec<T>, ApiError> {
    let (mut all, mut cursor) = (Vec::new(), Bytes::new());
    for pages in 1.. {
        let (some, next) = page(cursor).await?;
        if all.len() + some.len() + pages > MAX_LISTED {
            break;
        }
        all.extend(some);
        if next.is_empty() {
            return Ok(all);
        }
        cursor = next;
    }
    Err(ENDLESS)
}

/// Refuses a room whose key scheme or media version this client does not support.
fn check_room(joined: &wire::RoomJoined) -> Result<(), ApiError> {
    if joined.key_scheme() != KeyScheme::Mls {
        return Err(ApiError::KeyScheme(joined.key_scheme));
    }
    if !version::MEDIA.contains(version::media_version_from_wire(joined.media_version)) {
        return Err(ApiError::Malformed(
            "a room whose version of voice this client does not know",
        ));
    }
    Ok(())
}

impl TryFrom<&wire::RoomJoined> for Joined {
    type Error = BadField;

    fn try_from(message: &wire::RoomJoined) -> Result<Self, BadField> {
        let conference = message.conference.as_ref().ok_or(BadField("conference"))?;
        let participants = message
            .participants
            .iter()
            .take(MAX_PARTICIPANTS)
            .map(TryInto::try_into)
            .collect::<Result<Vec<_>, _>>()?;
        let self_sender =
            u16::try_from(message.self_sender).map_err(|_| BadField("self_sender"))?;
        Self::new(
            ConferenceId::parse(&conference.id, "conference.id")?,
            message.revision,
            participants,
            self_sender,
            message.media.as_ref().map(TryInto::try_into).transpose()?,
            message.delivery_key[..]
                .try_into()
                .map_err(|_| BadField("delivery_key"))?,
            match message.resume_secret.as_ref() {
                [] => None,
                secret => Some(ResumeSecret::parse(secret)?),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn pages_are_put_together() {
        let asked = Cell::new(0);
        let page = async |cursor: Bytes| {
            asked.set(asked.get() + 1);
            let next = if cursor.len() < 2 {
                cursor.len() + 1
            } else {
                0
            };
            Ok((vec![cursor.len()], vec![b'x'; next].into()))
        };
        assert_eq!(all_pages(page).await, Ok(vec![0, 1, 2]));
        assert_eq!(asked.get(), 3);
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        for size in [0, 1, 1000] {
            let asked = Cell::new(0);
            let page = async |_| {
                asked.set(asked.get() + 1);
                Ok((vec![(); size], Bytes::from_static(b"again")))
            };
            assert_eq!(all_pages(page).await, Err(ENDLESS));
            assert!(asked.get() <= MAX_LISTED + 1);
        }
    }
}
