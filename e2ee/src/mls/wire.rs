//! The messages of members and delivery service, as they cross the wire.

use std::sync::Arc;

use bytes::Bytes;
use confab_protocol::control::framing;
use confab_protocol::control::room::BadField;
use confab_protocol::control::{ConferenceId, JoinId};
use confab_protocol::wire::{self, from_member, to_group};

use super::group_name::GroupName;
use super::messages::{AcceptedCommit, FromMember, TextRefusal, ToMember};
use super::suite::Suite;

/// Field of `GroupWelcome` with the tree, and of `ToGroup` with the Welcome.
const TREE_FIELD: u32 = 3;
const WELCOME_FIELD: u32 = 6;

/// A message of the delivery service for the group stream: pieces to be sent one after the other. Large ones are shared, and not
/// copied.
pub fn to_stream(conference: ConferenceId, join: Option<JoinId>, message: &ToMember) -> Vec<Bytes> {
    let mut to_group = wire::ToGroup {
        conference_id: conference.to_wire(),
        join_id: join.map_or_else(Bytes::new, JoinId::to_wire),
        kind: None,
    };
    if let ToMember::Welcome {
        group,
        epoch,
        welcome,
        tree,
    } = message
    {
        let welcome = wire::GroupWelcome {
            at: Some(at(*group, *epoch)),
            welcome: shared(welcome),
            tree: Bytes::new(),
        };
        return framing::encode_with_nested_tail(
            &to_group,
            WELCOME_FIELD,
            &welcome,
            TREE_FIELD,
            shared(tree),
        )
        .into();
    }
    to_group.kind = kind_of(message);
    vec![framing::encode(&to_group)]
}

/// Reads a message of the delivery service: for whom it is, and what it says. `None` for a kind of a later version.
pub fn from_stream(
    message: wire::ToGroup,
) -> Result<Option<(ConferenceId, Option<JoinId>, ToMember)>, BadField> {
    let conference = ConferenceId::parse(&message.conference_id, "conference_id")?;
    let join = match message.join_id.as_ref() {
        [] => None,
        id => Some(JoinId::parse(id, "join_id")?),
    };
    let read = message.kind.map(to_member).transpose()?.flatten();
    Ok(read.map(|message| (conference, join, message)))
}

impl From<FromMember> for wire::FromMember {
    fn from(message: FromMember) -> Self {
        use from_member::Kind;
        let kind = match message {
            FromMember::KeyPackage { suite, key_package } => Kind::KeyPackage(wire::KeyPackage {
                suite: suite.number().into(),
                key_package: key_package.into(),
            }),
            FromMember::Created {
                group,
                group_info,
                tree,
            } => Kind::Created(wire::GroupCreated {
                group_id: group_id(group),
                group_info: group_info.into(),
                tree: tree.into(),
            }),
            FromMember::Committed {
                group,
                epoch,
                commit,
                welcome,
            } => Kind::Commit(wire::GroupCommit {
                at: Some(at(group, epoch)),
                commit: commit.into(),
                welcome: welcome.into(),
            }),
            FromMember::CannotCommit {
                group,
                epoch,
                refused,
            } => Kind::CannotCommit(wire::CannotCommit {
                at: Some(at(group, epoch)),
                refused,
            }),
            FromMember::Merged { group, epoch } => Kind::Reached(at(group, epoch)),
            FromMember::Failed { group, epoch } => Kind::Failed(at(group, epoch)),
            FromMember::Behind { group, epoch } => Kind::Behind(at(group, epoch)),
            FromMember::Text {
                group,
                epoch,
                message,
            } => Kind::Text(wire::GroupText {
                at: Some(at(group, epoch)),
                message: message.into(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<wire::FromMember> for FromMember {
    type Error = BadField;

    fn try_from(message: wire::FromMember) -> Result<Self, BadField> {
        use from_member::Kind;
        Ok(match message.kind.ok_or(BadField("kind"))? {
            Kind::KeyPackage(package) => Self::KeyPackage {
                suite: suite(package.suite)?,
                key_package: package.key_package.into(),
            },
            Kind::Created(created) => Self::Created {
                group: parse_group(&created.group_id)?,
                group_info: created.group_info.into(),
                tree: created.tree.into(),
            },
            Kind::Commit(commit) => {
                let (group, epoch) = parse_at(commit.at.as_ref())?;
                Self::Committed {
                    group,
                    epoch,
                    commit: commit.commit.into(),
                    welcome: commit.welcome.into(),
                }
            }
            Kind::CannotCommit(cannot) => {
                let (group, epoch) = parse_at(cannot.at.as_ref())?;
                Self::CannotCommit {
                    group,
                    epoch,
                    refused: cannot.refused,
                }
            }
            Kind::Reached(reached) => {
                let (group, epoch) = parse_at(Some(&reached))?;
                Self::Merged { group, epoch }
            }
            Kind::Failed(failed) => {
                let (group, epoch) = parse_at(Some(&failed))?;
                Self::Failed { group, epoch }
            }
            Kind::Behind(behind) => {
                let (group, epoch) = parse_at(Some(&behind))?;
                Self::Behind { group, epoch }
            }
            Kind::Text(text) => {
                let (group, epoch) = parse_at(text.at.as_ref())?;
                Self::Text {
                    group,
                    epoch,
                    message: text.message.into(),
                }
            }
        })
    }
}

/// An epoch of a group, as it crosses the wire.
pub fn at(group: GroupName, epoch: u64) -> wire::GroupEpoch {
    wire::GroupEpoch {
        group_id: group_id(group),
        epoch,
    }
}

/// Reads an epoch of a group.
pub fn parse_at(message: Option<&wire::GroupEpoch>) -> Result<(GroupName, u64), BadField> {
    let message = message.ok_or(BadField("at"))?;
    Ok((parse_group(&message.group_id)?, message.epoch))
}

/// All but Welcomes.
fn kind_of(message: &ToMember) -> Option<to_group::Kind> {
    use to_group::Kind;
    let fate = |fate: wire::TextFate| Kind::TextTaken(wire::TextTaken { fate: fate.into() });
    Some(match message {
        ToMember::CreateGroup { group, suite } => Kind::CreateGroup(wire::CreateGroup {
            group_id: group_id(*group),
            suite: suite.number().into(),
        }),
        ToMember::CommitWanted {
            group,
            epoch,
            proposals,
        } => Kind::CommitWanted(wire::CommitWanted {
            at: Some(at(*group, *epoch)),
            proposals: proposals.iter().map(shared).collect(),
        }),
        ToMember::Commit(accepted) => Kind::Commit(wire::AcceptedCommit {
            at: Some(at(accepted.group, accepted.epoch)),
            proposals: accepted.proposals.iter().map(shared).collect(),
            commit: shared(&accepted.commit),
        }),
        ToMember::Activate {
            group,
            epoch,
            absent,
        } => Kind::Activate(wire::Activate {
            at: Some(at(*group, *epoch)),
            absent: absent.to_vec(),
        }),
        ToMember::Text(message) => Kind::Text(shared(message)),
        ToMember::TextAccepted => fate(wire::TextFate::PassedOn),
        ToMember::TextStale => fate(wire::TextFate::StaleEpoch),
        ToMember::TextRefused(TextRefusal::NotAllowed) => fate(wire::TextFate::NotAllowed),
        ToMember::TextRefused(TextRefusal::TooMany) => fate(wire::TextFate::TooMany),
        ToMember::Rejoin { group } => Kind::Rejoin(group_id(*group)),
        ToMember::Welcome { .. } => return None,
    })
}

/// `None` for a fate of a text that this code does not know.
fn to_member(kind: to_group::Kind) -> Result<Option<ToMember>, BadField> {
    use to_group::Kind;
    Ok(Some(match kind {
        Kind::CreateGroup(create) => ToMember::CreateGroup {
            group: parse_group(&create.group_id)?,
            suite: suite(create.suite)?,
        },
        Kind::CommitWanted(wanted) => {
            let (group, epoch) = parse_at(wanted.at.as_ref())?;
            ToMember::CommitWanted {
                group,
                epoch,
                proposals: arcs(&wanted.proposals),
            }
        }
        Kind::Commit(accepted) => {
            let (group, epoch) = parse_at(accepted.at.as_ref())?;
            ToMember::Commit(Arc::new(AcceptedCommit {
                group,
                epoch,
                proposals: arcs(&accepted.proposals),
                commit: accepted.commit.as_ref().into(),
            }))
        }
        Kind::Welcome(welcome) => {
            let (group, epoch) = parse_at(welcome.at.as_ref())?;
            ToMember::Welcome {
                group,
                epoch,
                welcome: welcome.welcome.as_ref().into(),
                tree: welcome.tree.as_ref().into(),
            }
        }
        Kind::Activate(activate) => {
            let (group, epoch) = parse_at(activate.at.as_ref())?;
            ToMember::Activate {
                group,
                epoch,
                absent: activate.absent.into(),
            }
        }
        Kind::Text(message) => ToMember::Text(message.as_ref().into()),
        Kind::TextTaken(taken) => match taken.fate() {
            wire::TextFate::PassedOn => ToMember::TextAccepted,
            wire::TextFate::StaleEpoch => ToMember::TextStale,
            wire::TextFate::NotAllowed => ToMember::TextRefused(TextRefusal::NotAllowed),
            wire::TextFate::TooMany => ToMember::TextRefused(TextRefusal::TooMany),
            wire::TextFate::Unspecified => return Ok(None),
        },
        Kind::Rejoin(group) => ToMember::Rejoin {
            group: parse_group(&group)?,
        },
    }))
}

fn group_id(group: GroupName) -> Bytes {
    Bytes::copy_from_slice(&group.to_bytes())
}

fn parse_group(bytes: &[u8]) -> Result<GroupName, BadField> {
    GroupName::from_bytes(bytes).ok_or(BadField("group_id"))
}

fn suite(number: u32) -> Result<Suite, BadField> {
    let number = u16::try_from(number).ok();
    number.and_then(Suite::from_number).ok_or(BadField("suite"))
}

fn shared(bytes: &Arc<[u8]>) -> Bytes {
    Bytes::from_owner(Arc::clone(bytes))
}

fn arcs(all: &[Bytes]) -> Vec<Arc<[u8]>> {
    all.iter().map(|bytes| bytes.as_ref().into()).collect()
}
