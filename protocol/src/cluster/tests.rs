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
    ]
}

fn notes() -> impl Strategy<Value = SessionNote> {
    proptest::collection::vec(any::<u8>(), 0..=SessionNote::MAX_LEN)
        .prop_map(|bytes| SessionNote::new(&bytes).unwrap())
}

/// One leaf, or two of different generations.
fn leaves() -> impl Strategy<Value = Leaves> {
    let two = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u32>());
    two.prop_map(|(generation, leaf, other, other_leaf)| {
        let leaf = wire::GenerationLeaf { generation, leaf };
        let other = wire::GenerationLeaf {
            generation: other,
            leaf: other_leaf,
        };
        let both = [leaf, other];
        let taken = if other.generation == generation {
            &both[..1]
        } else {
            &both[..]
        };
        Leaves::parse(taken).unwrap()
    })
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
    fn a_command_comes_out_as_it_went_in(
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
    fn a_result_comes_out_as_it_went_in(
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
    const LARGEST: GenerationLeaf = GenerationLeaf {
        generation: u64::MAX,
        leaf: u32::MAX,
    };
    let state = MediaState {
        sender: u16::MAX,
        leaves: Leaves {
            newest: LARGEST,
            before: Some(LARGEST),
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
fn the_leaf_and_generation_of_a_key_id_have_to_be_a_sessions_own() {
    let of = |generation, leaf| wire::GenerationLeaf { generation, leaf };
    let leaves = Leaves::parse(&[of(5, 7), of(6, 9)]).unwrap();
    assert_eq!(leaves.newest().generation, 6);
    for (leaf, generation, allowed) in [
        (7, 1, true),
        (9, 2, true),
        (7, 2, false),
        (9, 1, false),
        (8, 1, false),
    ] {
        assert_eq!(leaves.allow(KeyId::new(leaf, generation, 200)), allowed);
    }
    for wrong in [
        vec![],
        vec![of(1, 1), of(1, 2)],
        vec![of(1, 1), of(2, 2), of(3, 3)],
    ] {
        assert!(Leaves::parse(&wrong).is_err());
    }
}
