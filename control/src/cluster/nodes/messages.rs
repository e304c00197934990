//! Requests between nodes and their responses, as domain types.

use bytes::Bytes;
use confab_protocol::control::room::BadField;
use confab_protocol::control::{AccountId, ConferenceId, Notice, Refusal};
use confab_protocol::wire::{self, node_request, node_response, room_request};

use super::admin::{self, AdminRequest, MAX_ROOMS};
use crate::clock::UnixMillis;
use crate::cluster::status::ClusterStatus;
use crate::domain::{NodeName, Present, RelayName};
use crate::store::{SessionId, Standing};

/// Maximum size of a request, in bytes of protobuf.
pub const MAX_NODE_REQUEST: usize = 64 * 1024;
/// Maximum size of a response, in bytes of protobuf: some thousand relays, each linked to a hundred nodes.
pub const MAX_NODE_RESPONSE: usize = 4 << 20;
/// Maximum number of rooms in one [`NodeRequest::CountLive`].
pub const MAX_COUNTED: usize = 2000;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeRequest {
    /// Moderates a room that the other node owns, for a client of this node.
    Moderate(ConferenceId, Moderation),
    /// Ends a session of an account.
    EndSession(AccountId, SessionId),
    /// Counts the participants of these rooms.
    CountLive(Vec<ConferenceId>),
    Status {
        /// True for the whole cluster, false for the receiving node alone.
        whole_cluster: bool,
    },
    /// Tells a relay to drain.
    DrainRelay {
        relay: RelayName,
        /// If true, another node's link is used when the receiver has none.
        by_any: bool,
    },
    /// Revokes all identities of a relay issued until this time.
    RevokeRelay(RelayName, UnixMillis),
    /// Revokes all identities of a node issued until this time.
    RevokeNode(NodeName, UnixMillis),
    /// What an operator asks about accounts, conferences and rooms.
    Admin(Box<AdminRequest>),
    /// The participants of a room that the other node owns.
    Roster(ConferenceId),
    /// The receiving node's rooms with the most participants, at most [`MAX_ROOMS`].
    Busiest(u32),
    /// Shows a line to every client of the receiving node.
    Announce(Notice),
}

/// A change of a room that is acknowledged only when the relays have obeyed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moderation {
    /// Removes all participants of the account.
    Kick(AccountId),
    /// Changes the account's standing, first in the store, then in the room.
    Change {
        account: AccountId,
        /// The expected present standing; if it differs, nothing changes.
        old: Option<Standing>,
        /// The new standing; `None` ends the membership.
        new: Option<Standing>,
    },
    Delete,
}

#[derive(Clone, PartialEq, Debug)]
pub enum NodeResponse {
    Done,
    /// Stored; a relay that is unreachable obeys when it returns.
    Pending,
    /// Refused, with the error for the client.
    Refused(Refusal),
    /// Refused because the participant or member does not exist.
    Absent(Refusal),
    /// The receiver does not own the room.
    NotOwner,
    /// Number of participants of each room, in the order of the request.
    Live(Vec<u32>),
    Status(Box<ClusterStatus>),
    Admin(Box<wire::AdminResponse>),
    Roster(Vec<Present>),
    /// Rooms with their numbers of participants.
    Busiest(Vec<(ConferenceId, u32)>),
}

impl From<&NodeRequest> for wire::NodeRequest {
    fn from(ask: &NodeRequest) -> Self {
        use node_request::Kind;
        let kind = match ask {
            NodeRequest::Moderate(conference, ask) => Kind::Room(wire::RoomRequest {
                conference_id: conference.to_wire(),
                kind: Some(ask.into()),
            }),
            NodeRequest::EndSession(account, session) => Kind::EndSession(wire::EndSession {
                account_id: account.to_wire(),
                session_id: Bytes::copy_from_slice(&session.0),
            }),
            NodeRequest::CountLive(conferences) => Kind::CountLive(wire::CountLive {
                conference_ids: conferences.iter().map(|id| id.to_wire()).collect(),
            }),
            NodeRequest::Status { whole_cluster } => Kind::AskStatus(wire::AskStatus {
                everybody: *whole_cluster,
            }),
            NodeRequest::DrainRelay { relay, by_any } => Kind::DrainRelay(wire::DrainRelay {
                name: relay.to_string(),
                by_any: *by_any,
            }),
            NodeRequest::RevokeNode(node, until) => Kind::RevokeNode(wire::RevokeNode {
                name: node.to_string(),
                until_ms: until.0,
            }),
            NodeRequest::RevokeRelay(relay, until) => Kind::RevokeRelay(wire::RevokeRelay {
                name: relay.to_string(),
                until_ms: until.0,
            }),
            NodeRequest::Admin(ask) => Kind::Admin((&**ask).into()),
            NodeRequest::Roster(conference) => Kind::AskRoster(wire::AskRoster {
                conference_id: conference.to_wire(),
            }),
            NodeRequest::Busiest(limit) => Kind::AskBusiest(wire::AskBusiest { limit: *limit }),
            NodeRequest::Announce(notice) => Kind::Announce(wire::OperatorNotice {
                text: notice.to_string(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl From<&Moderation> for room_request::Kind {
    fn from(ask: &Moderation) -> Self {
        match ask {
            Moderation::Kick(account) => Self::Kick(wire::KickAccount {
                account_id: account.to_wire(),
            }),
            Moderation::Change { account, old, new } => Self::Change(wire::ChangeStanding {
                account_id: account.to_wire(),
                old: old.map(standing_to_wire),
                new: new.map(standing_to_wire),
            }),
            Moderation::Delete => Self::Close(wire::CloseConference {}),
        }
    }
}

impl TryFrom<wire::NodeRequest> for NodeRequest {
    type Error = BadField;

    fn try_from(request: wire::NodeRequest) -> Result<Self, BadField> {
        use node_request::Kind;
        Ok(match request.kind.ok_or(BadField("kind"))? {
            Kind::Room(room) => {
                let conference = ConferenceId::parse(&room.conference_id, "conference_id")?;
                Self::Moderate(conference, room.kind.ok_or(BadField("kind"))?.try_into()?)
            }
            Kind::EndSession(end) => {
                let session = end.session_id.as_ref().try_into().map(SessionId);
                Self::EndSession(
                    AccountId::parse(&end.account_id, "account_id")?,
                    session.map_err(|_| BadField("session_id"))?,
                )
            }
            Kind::CountLive(count) => {
                if count.conference_ids.len() > MAX_COUNTED {
                    return Err(BadField("conference_ids"));
                }
                let parse = |id: &Bytes| ConferenceId::parse(id, "conference_ids");
                let ids = count.conference_ids.iter().map(parse);
                Self::CountLive(ids.collect::<Result<_, _>>()?)
            }
            Kind::AskStatus(wire::AskStatus { everybody }) => Self::Status {
                whole_cluster: everybody,
            },
            Kind::DrainRelay(wire::DrainRelay { name, by_any }) => Self::DrainRelay {
                relay: name.parse().map_err(|_| BadField("name"))?,
                by_any,
            },
            Kind::RevokeNode(wire::RevokeNode { name, until_ms }) => {
                let node = name.parse().map_err(|_| BadField("name"))?;
                Self::RevokeNode(node, UnixMillis(until_ms))
            }
            Kind::RevokeRelay(wire::RevokeRelay { name, until_ms }) => {
                let relay = name.parse().map_err(|_| BadField("name"))?;
                Self::RevokeRelay(relay, UnixMillis(until_ms))
            }
            Kind::Admin(ask) => Self::Admin(Box::new(ask.try_into()?)),
            Kind::AskRoster(ask) => {
                Self::Roster(ConferenceId::parse(&ask.conference_id, "conference_id")?)
            }
            Kind::AskBusiest(ask) => Self::Busiest(admin::within(ask.limit, MAX_ROOMS)?),
            Kind::Announce(announce) => Self::Announce(admin::parse_notice(&announce)?),
        })
    }
}

impl TryFrom<room_request::Kind> for Moderation {
    type Error = BadField;

    fn try_from(kind: room_request::Kind) -> Result<Self, BadField> {
        use room_request::Kind;
        Ok(match kind {
            Kind::Kick(kick) => Self::Kick(AccountId::parse(&kick.account_id, "account_id")?),
            Kind::Change(change) => Self::Change {
                account: AccountId::parse(&change.account_id, "account_id")?,
                old: change.old.map(parse_standing).transpose()?,
                new: change.new.map(parse_standing).transpose()?,
            },
            Kind::Close(wire::CloseConference {}) => Self::Delete,
        })
    }
}

impl From<NodeResponse> for wire::NodeResponse {
    fn from(answer: NodeResponse) -> Self {
        use node_response::Kind;
        let kind = match answer {
            NodeResponse::Done => Kind::Done(wire::Done { pending: false }),
            NodeResponse::Pending => Kind::Done(wire::Done { pending: true }),
            NodeResponse::Refused(refusal) => Kind::Error(refusal.into()),
            NodeResponse::Absent(refusal) => Kind::Absent(refusal.into()),
            NodeResponse::NotOwner => Kind::NotOwner(wire::NotOwner {}),
            NodeResponse::Live(counts) => Kind::LiveCounts(wire::LiveCounts { counts }),
            NodeResponse::Status(status) => Kind::Status((*status).into()),
            NodeResponse::Admin(answer) => Kind::Admin(*answer),
            NodeResponse::Roster(present) => Kind::Roster(wire::Roster {
                present: present.into_iter().map(Into::into).collect(),
            }),
            NodeResponse::Busiest(rooms) => Kind::Busiest(wire::BusiestRooms {
                rooms: rooms.into_iter().map(busy_to_wire).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::NodeResponse> for NodeResponse {
    type Error = BadField;

    fn try_from(response: wire::NodeResponse) -> Result<Self, BadField> {
        use node_response::Kind;
        Ok(match response.kind.ok_or(BadField("kind"))? {
            Kind::Done(wire::Done { pending: false }) => Self::Done,
            Kind::Done(wire::Done { pending: true }) => Self::Pending,
            Kind::Error(error) => Self::Refused(error.into()),
            Kind::Absent(error) => Self::Absent(error.into()),
            Kind::NotOwner(wire::NotOwner {}) => Self::NotOwner,
            Kind::LiveCounts(live) => Self::Live(live.counts),
            Kind::Status(status) => Self::Status(Box::new(status.try_into()?)),
            Kind::Admin(answer) => Self::Admin(Box::new(answer)),
            Kind::Roster(roster) => {
                let present = roster.present.into_iter().map(TryInto::try_into);
                Self::Roster(present.collect::<Result<_, _>>()?)
            }
            Kind::Busiest(busiest) => {
                let rooms = busiest.rooms.into_iter().map(parse_busy);
                Self::Busiest(rooms.collect::<Result<_, _>>()?)
            }
        })
    }
}

fn busy_to_wire((conference, live): (ConferenceId, u32)) -> wire::BusyRoom {
    wire::BusyRoom {
        conference_id: conference.to_wire(),
        live,
    }
}

fn parse_busy(room: wire::BusyRoom) -> Result<(ConferenceId, u32), BadField> {
    let conference = ConferenceId::parse(&room.conference_id, "conference_id")?;
    Ok((conference, room.live))
}

fn standing_to_wire(standing: Standing) -> wire::Standing {
    wire::Standing {
        role: standing.role.into(),
        muted: standing.muted,
        since_ms: standing.since.0,
        revision: standing.revision.into(),
    }
}

fn parse_standing(standing: wire::Standing) -> Result<Standing, BadField> {
    let role = wire::Role::try_from(standing.role).map_err(|_| BadField("role"))?;
    if role == wire::Role::Unspecified {
        return Err(BadField("role"));
    }
    Ok(Standing {
        role,
        muted: standing.muted,
        since: UnixMillis(standing.since_ms),
        revision: u16::try_from(standing.revision).map_err(|_| BadField("revision"))?,
    })
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::ErrorCode;
    use confab_protocol::control::room::Role;

    use super::*;

    #[test]
    fn requests_and_responses_survive_encoding_and_parsing() {
        let (account, conference) = (AccountId::new([1; 16]), ConferenceId::new([2; 16]));
        let standing = |muted| Standing {
            role: Role::Moderator,
            muted,
            since: UnixMillis(77),
            revision: 700,
        };
        let change = Moderation::Change {
            account,
            old: Some(standing(false)),
            new: Some(standing(true)),
        };
        let end = Moderation::Change {
            account,
            old: Some(standing(true)),
            new: None,
        };
        for ask in [
            NodeRequest::Moderate(conference, Moderation::Kick(account)),
            NodeRequest::Moderate(conference, change),
            NodeRequest::Moderate(conference, end),
            NodeRequest::Moderate(conference, Moderation::Delete),
            NodeRequest::EndSession(account, SessionId([3; 16])),
            NodeRequest::CountLive(vec![conference, ConferenceId::new([4; 16])]),
            NodeRequest::Status {
                whole_cluster: true,
            },
            NodeRequest::DrainRelay {
                relay: "berlin".parse().unwrap(),
                by_any: true,
            },
            NodeRequest::RevokeRelay("berlin".parse().unwrap(), UnixMillis(5)),
            NodeRequest::RevokeNode("two".parse().unwrap(), UnixMillis(6)),
            NodeRequest::Admin(Box::new(AdminRequest::ListRooms { limit: 3 })),
            NodeRequest::Roster(conference),
            NodeRequest::Busiest(MAX_ROOMS),
            NodeRequest::Announce("back at ten".parse().unwrap()),
        ] {
            assert_eq!(
                NodeRequest::try_from(wire::NodeRequest::from(&ask)),
                Ok(ask)
            );
        }
        for answer in [
            NodeResponse::Done,
            NodeResponse::Pending,
            NodeResponse::NotOwner,
            NodeResponse::Live(vec![0, 5]),
            NodeResponse::Status(Box::default()),
            NodeResponse::Admin(Box::new(wire::AdminResponse {
                kind: Some(wire::admin_response::Kind::Count(4)),
            })),
            NodeResponse::Roster(vec![Present {
                account,
                username: "ann".to_owned(),
                role: Role::Listener,
                muted: true,
            }]),
            NodeResponse::Busiest(vec![(conference, 7)]),
            NodeResponse::Refused(Refusal::new(ErrorCode::Busy, "wait")),
            NodeResponse::Absent(Refusal::new(ErrorCode::NotFound, "nobody")),
        ] {
            let wired = wire::NodeResponse::from(answer.clone());
            assert_eq!(NodeResponse::try_from(wired), Ok(answer));
        }
    }

    #[test]
    fn invalid_requests_are_refused() {
        let too_many = NodeRequest::CountLive(vec![ConferenceId::new([0; 16]); MAX_COUNTED + 1]);
        let nothing = wire::NodeRequest { kind: None };
        for request in [wire::NodeRequest::from(&too_many), nothing] {
            assert!(NodeRequest::try_from(request).is_err());
        }
    }
}
