//! The server's events and the messages of its delivery service, as domain types.

use std::time::Duration;

use confab_e2ee::mls::ToMember;
use confab_protocol::control::room::{BadField, LeaveReason, MAX_PARTICIPANTS};
use confab_protocol::control::{ConferenceId, GenerationLeaf, JoinId, MediaGrant, Notice};
use confab_protocol::media::ConnectionId;
use confab_protocol::wire::{self, event::Kind};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::engine::room::{Change, RoomEvent};

/// What the server says unasked.
#[derive(Debug)]
pub struct Incoming {
    pub events: mpsc::Receiver<ServerEvent>,
    pub group: mpsc::Receiver<GroupMessage>,
}

/// A message of the delivery service of a conference.
#[derive(Debug)]
pub struct GroupMessage {
    pub conference: ConferenceId,
    /// For which join of this connection; `None`: for each in that conference.
    pub join: Option<JoinId>,
    pub message: ToMember,
    /// Its place among the bytes that are held until they are taken.
    pub(super) _place: OwnedSemaphorePermit,
}

/// An event that the server sends unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// A participant joined, left or changed.
    Room(ConferenceId, RoomEvent),
    /// The server ended this participation.
    Removed(JoinId, LeaveReason),
    /// The room moved to another relay.
    MediaMoved(JoinId, MediaGrant),
    /// Probe the relay on this media session, and report the result.
    ProbeMedia(JoinId, ConnectionId),
    /// The node is going away: connect again after this.
    GoingAway(Duration),
    /// The session was ended elsewhere.
    SessionEnded,
    /// The server's operator says something to everybody.
    OperatorNotice(Notice),
    /// Several participants cannot open the frames of one; moderators are told.
    FramesUnreadable {
        conference: ConferenceId,
        sender: u16,
        /// Number of accounts that reported it.
        accounts: u32,
    },
}

impl ServerEvent {
    /// Parses a message; `None` for a kind that a later version of the protocol may have.
    pub fn parse(event: &wire::Event) -> Result<Option<Self>, BadField> {
        let Some(kind) = &event.kind else {
            return Ok(None);
        };
        let change = match kind {
            Kind::Joined(joined) => Change::Joined(
                joined
                    .participant
                    .as_ref()
                    .ok_or(BadField("participant"))?
                    .try_into()?,
            ),
            Kind::Changed(changed) => Change::Changed(
                changed
                    .participant
                    .as_ref()
                    .ok_or(BadField("participant"))?
                    .try_into()?,
            ),
            Kind::LeavesAssigned(assigned) => Change::Leaves(
                assigned
                    .leaves
                    .iter()
                    .take(MAX_PARTICIPANTS)
                    .map(assigned_leaf)
                    .collect::<Result<_, _>>()?,
            ),
            Kind::Left(left) => Change::Left {
                sender: u16::try_from(left.sender).map_err(|_| BadField("sender"))?,
                reason: left.reason(),
            },
            Kind::Removed(removed) => {
                return Ok(Some(Self::Removed(
                    join_id(&removed.join_id)?,
                    removed.reason(),
                )));
            }
            Kind::ProbeMedia(probe) => {
                let connection_id = probe.connection_id[..]
                    .try_into()
                    .map_err(|_| BadField("connection_id"))?;
                return Ok(Some(Self::ProbeMedia(
                    join_id(&probe.join_id)?,
                    ConnectionId::from_bytes(connection_id),
                )));
            }
            Kind::MediaMoved(moved) => {
                let grant = moved.media.as_ref().ok_or(BadField("media"))?.try_into()?;
                return Ok(Some(Self::MediaMoved(join_id(&moved.join_id)?, grant)));
            }
            Kind::GoingAway(going) => {
                let wait = Duration::from_millis(going.retry_after_ms.into());
                return Ok(Some(Self::GoingAway(wait)));
            }
            Kind::SessionEnded(wire::SessionEnded {}) => return Ok(Some(Self::SessionEnded)),
            Kind::OperatorNotice(notice) => {
                let text = notice.text.parse().map_err(|_| BadField("text"))?;
                return Ok(Some(Self::OperatorNotice(text)));
            }
            Kind::FramesUnreadable(unreadable) => {
                return Ok(Some(Self::FramesUnreadable {
                    conference: ConferenceId::parse(&event.conference_id, "conference_id")?,
                    sender: u16::try_from(unreadable.sender).map_err(|_| BadField("sender"))?,
                    accounts: unreadable.accounts,
                }));
            }
        };
        let conference = ConferenceId::parse(&event.conference_id, "conference_id")?;
        Ok(Some(Self::Room(
            conference,
            RoomEvent {
                revision: event.revision,
                change,
            },
        )))
    }
}

fn assigned_leaf(assigned: &wire::AssignedLeaf) -> Result<(u16, GenerationLeaf), BadField> {
    let sender = u16::try_from(assigned.sender).map_err(|_| BadField("sender"))?;
    let leaf = assigned.leaf.as_ref().ok_or(BadField("leaf"))?;
    Ok((sender, leaf.into()))
}

fn join_id(bytes: &[u8]) -> Result<JoinId, BadField> {
    JoinId::parse(bytes, "join_id")
}
