//! What nodes ask of each other, as domain types.

use bytes::Bytes;
use confab_protocol::control::room::BadField;
use confab_protocol::control::{AccountId, ConferenceId, Refusal};
use confab_protocol::wire::{self, node_request, node_response, room_request};

use crate::clock::UnixMillis;
use crate::cluster::status::ClusterStatus;
use crate::domain::{NodeName, RelayName};
use crate::store::{SessionId, Standing};

/// Longest request to a node, in bytes of protobuf.
pub const MAX_NODE_MESSAGE: usize = 64 * 1024;
/// Longest answer of a node, in bytes of protobuf: some thousand relays, each linked to a hundred nodes.
pub const MAX_NODE_ANSWER: usize = 4 << 20;
/// Rooms in one [`NodeAsk::CountLive`], at most.
pub const MAX_COUNTED: usize = 2000;

/// What one node asks of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeAsk {
    /// A client asks for it, in a room that the other node owns.
    Moderate(ConferenceId, Moderation),
    /// The session is over.
    EndSession(AccountId, SessionId),
    /// How many are in each of these rooms.
    CountLive(Vec<ConferenceId>),
    Status {
        /// Everywhere, not at this node alone.
        everybody: bool,
    },
    /// A relay is to drain and end.
    DrainRelay {
        relay: RelayName,
        /// By the link of another node, if it has none here.
        by_any: bool,
    },
    /// A relay's identities that were made until then are not good any more.
    RevokeRelay(RelayName, UnixMillis),
    /// The same of a node.
    RevokeNode(NodeName, UnixMillis),
}

/// A change to a room that holds for others once it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moderation {
    /// All participants of the account go out.
    Kick(AccountId),
    /// The account's standing changes: in the store, then in the room.
    Change {
        account: AccountId,
        /// What it has to be now.
        old: Option<Standing>,
        /// What it becomes; `None` ends the membership.
        new: Option<Standing>,
    },
    Delete,
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeAnswer {
    Done,
    /// It is stored, and a relay that is out of reach obeys it when it is back.
    Pending,
    /// It is refused, in the words for the client.
    Refused(Refusal),
    /// It is refused because what was to be changed does not exist.
    Absent(Refusal),
    /// The room is not this node's.
    NotOwner,
    /// How many are in each room, in the order asked.
    Live(Vec<u32>),
    Status(Box<ClusterStatus>),
}

impl From<&NodeAsk> for wire::NodeRequest {
    fn from(ask: &NodeAsk) -> Self {
        use node_request::Kind;
        let kind = match ask {
            NodeAsk::Moderate(conference, ask) => Kind::Room(wire::RoomRequest {
                conference_id: conference.to_wire(),
                kind: Some(ask.into()),
            }),
            NodeAsk::EndSession(account, session) => Kind::EndSession(wire::EndSession {
                account_id: account.to_wire(),
                session_id: Bytes::copy_from_slice(&session.0),
            }),
            NodeAsk::CountLive(conferences) => Kind::CountLive(wire::CountLive {
                conference_ids: conferences.iter().map(|id| id.to_wire()).collect(),
            }),
            NodeAsk::Status { everybody } => Kind::AskStatus(wire::AskStatus {
                everybody: *everybody,
            }),
            NodeAsk::DrainRelay { relay, by_any } => Kind::DrainRelay(wire::DrainRelay {
                name: relay.to_string(),
                by_any: *by_any,
            }),
            NodeAsk::RevokeNode(node, until) => Kind::RevokeNode(wire::RevokeNode {
                name: node.to_string(),
                until_ms: until.0,
            }),
            NodeAsk::RevokeRelay(relay, until) => Kind::RevokeRelay(wire::RevokeRelay {
                name: relay.to_string(),
                until_ms: until.0,
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

impl TryFrom<wire::NodeRequest> for NodeAsk {
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
            Kind::AskStatus(wire::AskStatus { everybody }) => Self::Status { everybody },
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

impl From<NodeAnswer> for wire::NodeResponse {
    fn from(answer: NodeAnswer) -> Self {
        use node_response::Kind;
        let kind = match answer {
            NodeAnswer::Done => Kind::Done(wire::Done { pending: false }),
            NodeAnswer::Pending => Kind::Done(wire::Done { pending: true }),
            NodeAnswer::Refused(refusal) => Kind::Error(refusal.into()),
            NodeAnswer::Absent(refusal) => Kind::Absent(refusal.into()),
            NodeAnswer::NotOwner => Kind::NotOwner(wire::NotOwner {}),
            NodeAnswer::Live(counts) => Kind::LiveCounts(wire::LiveCounts { counts }),
            NodeAnswer::Status(status) => Kind::Status((*status).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::NodeResponse> for NodeAnswer {
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
        })
    }
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
    fn what_is_asked_and_answered_comes_out_as_it_went_in() {
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
            NodeAsk::Moderate(conference, Moderation::Kick(account)),
            NodeAsk::Moderate(conference, change),
            NodeAsk::Moderate(conference, end),
            NodeAsk::Moderate(conference, Moderation::Delete),
            NodeAsk::EndSession(account, SessionId([3; 16])),
            NodeAsk::CountLive(vec![conference, ConferenceId::new([4; 16])]),
            NodeAsk::Status { everybody: true },
            NodeAsk::DrainRelay {
                relay: "berlin".parse().unwrap(),
                by_any: true,
            },
            NodeAsk::RevokeRelay("berlin".parse().unwrap(), UnixMillis(5)),
            NodeAsk::RevokeNode("two".parse().unwrap(), UnixMillis(6)),
        ] {
            assert_eq!(NodeAsk::try_from(wire::NodeRequest::from(&ask)), Ok(ask));
        }
        for answer in [
            NodeAnswer::Done,
            NodeAnswer::Pending,
            NodeAnswer::NotOwner,
            NodeAnswer::Live(vec![0, 5]),
            NodeAnswer::Status(Box::default()),
            NodeAnswer::Refused(Refusal::new(ErrorCode::Busy, "wait")),
            NodeAnswer::Absent(Refusal::new(ErrorCode::NotFound, "nobody")),
        ] {
            let wired = wire::NodeResponse::from(answer.clone());
            assert_eq!(NodeAnswer::try_from(wired), Ok(answer));
        }
    }

    #[test]
    fn what_no_node_would_ask_is_refused() {
        let too_many = NodeAsk::CountLive(vec![ConferenceId::new([0; 16]); MAX_COUNTED + 1]);
        let nothing = wire::NodeRequest { kind: None };
        for request in [wire::NodeRequest::from(&too_many), nothing] {
            assert!(NodeAsk::try_from(request).is_err());
        }
    }
}
