use super::*;
use proptest::prelude::*;

fn actions() -> impl Strategy<Value = Action> {
    let open = (
        any::<u16>(),
        any::<u32>(),
        any::<bool>(),
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        notes(),
        any::<u32>(),
    );
    prop_oneof![
        open.prop_map(
            |(sender, leaf, may_speak, up, down, note, account_label)| Action::OpenMedia(
                OpenMedia {
                    may_speak,
                    note,
                    account_label,
                    ..OpenMedia::new(sender, leaf, HopKey::new(up), HopKey::new(down))
                }
            )
        ),
        any::<u16>().prop_map(|sender| Action::CloseMedia { sender }),
        (any::<u16>(), any::<bool>())
            .prop_map(|(sender, may_speak)| Action::SetMaySpeak { sender, may_speak }),
        Just(Action::CloseRoom),
        any::<u16>().prop_map(|from| Action::ListMedia { from }),
        proptest::collection::vec((any::<u16>(), granted_leaves()), 0..20)
            .prop_map(Action::SetLeaves),
        (any::<u64>(), any::<u64>())
            .prop_map(|(generation, epoch)| Action::RetireEpochs { generation, epoch }),
    ]
}

fn notes() -> impl Strategy<Value = SessionNote> {
    proptest::collection::vec(any::<u8>(), 0..=SessionNote::MAX_LEN)
        .prop_map(|bytes| SessionNote::new(&bytes).unwrap())
}

/// No leaf, one, or two of different generations.
fn leaves() -> impl Strategy<Value = Leaves> {
    proptest::collection::vec(granted_leaves(), 0..=MAX_LEAVES).prop_map(|all| {
        let mut leaves = Leaves::NONE;
        for granted in all {
            leaves.grant(granted);
        }
        leaves
    })
}

fn granted_leaves() -> impl Strategy<Value = GrantedLeaf> {
    (any::<u64>(), any::<u32>(), any::<u64>())
        .prop_map(|(generation, leaf, first_epoch)| granted(generation, leaf, first_epoch))
}

fn granted(generation: u64, leaf: u32, first_epoch: u64) -> GrantedLeaf {
    GrantedLeaf {
        leaf: GenerationLeaf { generation, leaf },
        first_epoch,
    }
}

fn media_states() -> impl Strategy<Value = MediaState> {
    let state = (
        any::<u16>(),
        leaves(),
        any::<[u8; 8]>(),
        any::<bool>(),
        any::<bool>(),
        notes(),
        1u32..,
        any::<u32>(),
    );
    state.prop_map(
        |(sender, leaves, id, may_speak, seen, note, media_version, account_label)| MediaState {
            sender,
            leaves,
            connection_id: ConnectionId::from_bytes(id),
            may_speak,
            seen,
            note,
            media_version,
            account_label,
        },
    )
}

proptest! {
    #[test]
    fn a_command_survives_encoding_and_decoding(
        id: u64, conference: [u8; 16], era: u64, placement: u64, boot: [u8; 16], action in actions()
    ) {
        let command = Command {
            id,
            conference: ConferenceId::new(conference),
            fence: Fence { era, placement },
            boot: BootId(boot),
            action,
        };
        prop_assert_eq!(Command::try_from(&wire::Command::from(&command)), Ok(command));
    }

    #[test]
    fn a_result_survives_encoding_and_decoding(
        id: u64, opened: Option<[u8; 8]>, media in proptest::collection::vec(media_states(), 0..4), more: bool
    ) {
        let result = CommandResult {
            id,
            outcome: CommandOutcome::Obeyed,
            connection_id: opened.map(ConnectionId::from_bytes),
            media,
            more,
        };
        prop_assert_eq!(CommandResult::try_from(&wire::CommandResult::from(&result)), Ok(result));
    }
}

#[test]
fn the_longest_list_of_sessions_fits_a_message() {
    use prost::Message;
    let largest = granted(u64::MAX, u32::MAX, u64::MAX);
    let state = MediaState {
        sender: u16::MAX,
        leaves: {
            let mut leaves = Leaves::one(largest);
            leaves.grant(granted(u64::MAX - 1, u32::MAX, u64::MAX));
            leaves
        },
        connection_id: ConnectionId::from_bytes([0xff; 8]),
        may_speak: true,
        seen: true,
        note: SessionNote::new(&[0xff; SessionNote::MAX_LEN]).unwrap(),
        media_version: u32::MAX,
        account_label: u32::MAX,
    };
    let result = CommandResult {
        media: vec![state; MAX_MEDIA_STATES],
        more: true,
        ..CommandResult::bare(u64::MAX, CommandOutcome::Obeyed)
    };
    let kind = wire::relay_to_control::Kind::Result((&result).into());
    let message = wire::RelayToControl { kind: Some(kind) };
    assert!(message.encoded_len() <= MAX_MESSAGE);
}

#[test]
fn the_longest_list_of_leaves_fits_a_message() {
    use prost::Message;
    let command = Command {
        id: u64::MAX,
        conference: ConferenceId::new([0xff; 16]),
        fence: Fence {
            era: u64::MAX,
            placement: u64::MAX,
        },
        boot: BootId([0xff; 16]),
        action: Action::SetLeaves(vec![
            (u16::MAX, granted(u64::MAX, u32::MAX, u64::MAX));
            MAX_SET_LEAVES
        ]),
    };
    let kind = wire::control_to_relay::Kind::Command((&command).into());
    let message = wire::ControlToRelay { kind: Some(kind) };
    assert!(message.encoded_len() <= MAX_MESSAGE);
    assert_eq!(
        Command::try_from(&wire::Command::from(&command)),
        Ok(command)
    );
}

#[test]
fn a_session_has_leaves_of_the_two_newest_generations() {
    let mut leaves = Leaves::one(granted(5, 7, 0));
    leaves.grant(granted(6, 9, 3));
    assert_eq!(leaves.newest(), Some(granted(6, 9, 3)));
    assert_eq!(leaves.before(), Some(granted(5, 7, 0)));
    leaves.grant(granted(6, 8, 4));
    assert_eq!(leaves.newest(), Some(granted(6, 8, 4)));
    assert_eq!(leaves.before(), Some(granted(5, 7, 0)));
    leaves.grant(granted(7, 1, 0));
    assert_eq!(leaves.before(), Some(granted(6, 8, 4)));
    assert!(!leaves.revoke(granted(5, 7, 0).leaf));
    assert!(leaves.revoke(granted(7, 1, 0).leaf));
    assert_eq!(leaves.newest(), Some(granted(6, 8, 4)));
    leaves.grant(granted(7, 1, 0));
    leaves.forget_before();
    assert_eq!(leaves.iter().count(), 1);
    let of = |all: &[GrantedLeaf]| all.iter().map(|one| (*one).into()).collect::<Vec<_>>();
    for wrong in [
        vec![granted(1, 1, 0), granted(1, 2, 0)],
        vec![granted(1, 1, 0), granted(2, 2, 0), granted(3, 3, 0)],
    ] {
        assert!(Leaves::parse(&of(&wrong)).is_err());
    }
    assert_eq!(Leaves::parse(&[]), Ok(Leaves::NONE));
}
