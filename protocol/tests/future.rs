//! What a later version adds makes no message of this one unreadable.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use confab_protocol::cluster::{Command, CommandResult};
use confab_protocol::control::room::{LeaveReason, Role};
use confab_protocol::control::{ErrorCode, MediaGrant, Participant, Refusal};
use confab_protocol::wire::{
    self, control_to_relay, event, node_request, node_response, relay_to_control, request, response,
};
use prost::Message;

/// A number that no enum of this version has.
const UNKNOWN: i32 = 7777;

/// Fields of each wire type that no message of this version has.
fn with_more_fields(message: &impl Message) -> Bytes {
    let mut bytes = message.encode_to_vec();
    let key = |field: u64, wire_type: u64| field << 3 | wire_type;
    let mut varint = |mut value: u64| {
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    };
    for (field, wire_type, content) in [
        (15_000u64, 0u64, &[5u64][..]),
        (15_001, 1, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (15_002, 2, &[3, 1, 2, 3]),
        (15_003, 5, &[1, 2, 3, 4]),
    ] {
        varint(key(field, wire_type));
        content.iter().copied().for_each(&mut varint);
    }
    bytes.into()
}

fn survives<M: Message + Default + PartialEq + std::fmt::Debug>(message: M) {
    assert_eq!(M::decode(with_more_fields(&message)).unwrap(), message);
}

/// What a message that holds nothing but a field of an unknown kind becomes.
fn of_unknown_kind<M: Message + Default>() -> M {
    M::decode(with_more_fields(&M::default())).unwrap()
}

macro_rules! all_survive {
    ($($message:ident),* $(,)?) => { $( survives(wire::$message::default()); )* };
}

#[test]
fn unknown_fields_are_ignored_in_every_message() {
    all_survive!(
        Request,
        Response,
        Done,
        Error,
        Hello,
        Welcome,
        Register,
        Login,
        SessionGranted,
        Authenticate,
        Authenticated,
        Refresh,
        Logout,
        WhoAmI,
        Account,
        ChangePassword,
        ListSessions,
        Sessions,
        Session,
        RevokeSession,
        ExportAccount,
        AccountExport,
        DeleteAccount,
        CreateConference,
        Conference,
        ListConferences,
        Conferences,
        ConferenceInfo,
        ListMembers,
        Members,
        Member,
        ChangeConference,
        DeleteConference,
        LeaveConference,
        Invite,
        SetRole,
        EnterAsGuest,
        SendEmailCode,
        VerifyEmail,
        SendResetCode,
        ResetPassword,
        ChangeEmail,
        CreateInvitation,
        InvitationCreated,
        Invitation,
        ListInvitations,
        Invitations,
        RevokeInvitation,
        RedeemInvitation,
        JoinRoom,
        RoomJoined,
        Redirect,
        MediaSession,
        LeaveRoom,
        Kick,
        Ban,
        Mute,
        ReportMedia,
        ReportFrames,
        SendToGroup,
        GroupEpoch,
        FromMember,
        KeyPackage,
        GroupCreated,
        GroupCommit,
        CannotCommit,
        GroupText,
        ToGroup,
        CreateGroup,
        CommitWanted,
        AcceptedCommit,
        GroupWelcome,
        Activate,
        TextTaken,
        Event,
        ParticipantJoined,
        ParticipantLeft,
        ParticipantChanged,
        Removed,
        MediaMoved,
        ProbeMedia,
        FramesUnreadable,
        LeavesAssigned,
        AssignedLeaf,
        GoingAway,
        SessionEnded,
        OperatorNotice,
        Participant,
        GenerationLeaf,
        RelayToControl,
        ControlToRelay,
        RelayHello,
        LiveRooms,
        ControlHello,
        Alive,
        Drain,
        Command,
        OpenMedia,
        GrantedLeaf,
        SetLeaves,
        SenderLeaf,
        RetireEpochs,
        CloseMedia,
        SetMaySpeak,
        CloseRoom,
        ListMedia,
        CommandResult,
        MediaState,
        MediaEnded,
        RelayLoad,
        NodeRequest,
        NodeResponse,
        RoomRequest,
        KickAccount,
        ChangeStanding,
        Standing,
        CloseConference,
        EndSession,
        CountLive,
        LiveCounts,
        NotOwner,
        AskStatus,
        ClusterStatus,
        NodeStatus,
        NodeFigures,
        RelayStatus,
        DrainRelay,
        RevokeRelay,
        RevokeNode,
        AskRoster,
        Roster,
        Present,
        AskBusiest,
        BusiestRooms,
        BusyRoom,
        AdminRequest,
        AdminList,
        AdminNewAccount,
        AdminPassword,
        AdminEmail,
        AdminDeleteAccount,
        AdminNewConference,
        AdminToken,
        AdminTransfer,
        AdminResponse,
        AdminAccounts,
        AdminAccountDetails,
        AdminSession,
        AdminMembership,
        AdminConferences,
        AdminConferenceDetails,
        AdminRooms,
        AdminRoom,
    );
}

#[test]
fn every_message_of_the_schema_is_in_the_test_before() {
    let tested = include_str!("future.rs");
    for schema in [
        include_str!("../proto/confab/v1/common.proto"),
        include_str!("../proto/confab/v1/client.proto"),
        include_str!("../proto/confab/v1/cluster.proto"),
    ] {
        for line in schema.lines() {
            if let Some(rest) = line.strip_prefix("message ") {
                let name = rest.split([' ', '{']).next().unwrap();
                let is_listed = tested
                    .split(|c: char| !c.is_alphanumeric())
                    .any(|word| word == name);
                assert!(is_listed, "{name}");
            }
        }
    }
}

#[test]
fn a_message_of_an_unknown_kind_has_none() {
    assert_eq!(
        of_unknown_kind::<wire::Request>().kind,
        None::<request::Kind>
    );
    assert_eq!(
        of_unknown_kind::<wire::Response>().kind,
        None::<response::Kind>
    );
    assert_eq!(of_unknown_kind::<wire::Event>().kind, None::<event::Kind>);
    assert_eq!(
        of_unknown_kind::<wire::RelayToControl>().kind,
        None::<relay_to_control::Kind>
    );
    assert_eq!(
        of_unknown_kind::<wire::ControlToRelay>().kind,
        None::<control_to_relay::Kind>
    );
    assert_eq!(
        of_unknown_kind::<wire::NodeRequest>().kind,
        None::<node_request::Kind>
    );
    assert_eq!(
        of_unknown_kind::<wire::NodeResponse>().kind,
        None::<node_response::Kind>
    );
}

fn participant() -> wire::Participant {
    wire::Participant {
        sender: 1,
        leaf: Some(wire::GenerationLeaf {
            generation: 1,
            leaf: 1,
        }),
        join_id: Bytes::from_static(&[1; 16]),
        account_id: Bytes::from_static(&[2; 16]),
        username: "ann".into(),
        role: Role::Member.into(),
        muted: false,
        capabilities: vec![],
    }
}

#[test]
fn a_guest_of_a_later_version_leaves_the_others_in_the_room_readable() {
    let guest = wire::Participant {
        username: "Gäste: 👋 \u{202e}".into(),
        role: UNKNOWN,
        capabilities: vec![UNKNOWN; 100],
        leaf: None,
        ..participant()
    };
    let joined = wire::RoomJoined {
        participants: vec![participant(), guest],
        ..Default::default()
    };
    let joined = wire::RoomJoined::decode(with_more_fields(&joined)).unwrap();
    let read: Vec<Participant> = joined
        .participants
        .iter()
        .map(|participant| participant.try_into().unwrap())
        .collect();
    assert_eq!(read[1].role, Role::Listener);
    assert!(!read[1].username.as_str().contains('\u{202e}'));
}

#[test]
fn unknown_reasons_and_codes_say_nothing() {
    let left = wire::ParticipantLeft {
        sender: 1,
        reason: UNKNOWN,
    };
    let left = wire::ParticipantLeft::decode(with_more_fields(&left)).unwrap();
    assert_eq!(left.reason(), LeaveReason::Unspecified);
    let error = wire::Error {
        code: UNKNOWN,
        message: "later".into(),
        ..Default::default()
    };
    assert_eq!(Refusal::from(error).code, ErrorCode::Internal);
}

#[test]
fn a_result_with_an_unknown_outcome_is_one_that_was_not_obeyed() {
    let result = wire::CommandResult {
        id: 4,
        outcome: UNKNOWN,
        ..Default::default()
    };
    let result = CommandResult::try_from(&result).unwrap();
    assert_ne!(result.outcome, wire::CommandOutcome::Obeyed);
}

#[test]
fn a_command_of_an_unknown_kind_is_refused_and_nothing_else() {
    let command = wire::Command {
        conference_id: Bytes::from_static(&[1; 16]),
        boot_id: Bytes::from_static(&[2; 16]),
        ..Default::default()
    };
    let command = wire::Command::decode(with_more_fields(&command)).unwrap();
    assert!(Command::try_from(&command).is_err());
}

#[test]
fn a_media_session_may_grow() {
    let grant = wire::MediaSession {
        addresses: vec!["192.0.2.1:9000".into()],
        connection_id: Bytes::from_static(&[1; 8]),
        uplink_key: Bytes::from_static(&[2; 16]),
        downlink_key: Bytes::from_static(&[3; 16]),
        era: 1,
        placement: 2,
    };
    let grant = wire::MediaSession::decode(with_more_fields(&grant)).unwrap();
    assert_eq!(MediaGrant::try_from(&grant).unwrap().placement, 2);
}
