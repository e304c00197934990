use super::*;
use proptest::prelude::*;

fn actions() -> impl Strategy<Value = Action> {
    let open = (
        any::<u16>(),
        any::<u32>(),
        any::<bool>(),
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<[u8; SessionNote::LEN]>(),
    );
    prop_oneof![
        open.prop_map(
            |(sender, leaf, may_speak, up, down, note)| Action::OpenMedia(OpenMedia {
                sender,
                leaf,
                may_speak,
                uplink_key: HopKey::new(up),
                downlink_key: HopKey::new(down),
                note: SessionNote(note),
            })
        ),
        any::<u16>().prop_map(|sender| Action::CloseMedia { sender }),
        (any::<u16>(), any::<bool>())
            .prop_map(|(sender, may_speak)| Action::SetMaySpeak { sender, may_speak }),
        Just(Action::CloseRoom),
        any::<u16>().prop_map(|from| Action::ListMedia { from }),
    ]
}

fn media_states() -> impl Strategy<Value = MediaState> {
    let state = (
        any::<u16>(),
        any::<u32>(),
        any::<[u8; 8]>(),
        any::<bool>(),
        any::<bool>(),
        any::<[u8; SessionNote::LEN]>(),
    );
    state.prop_map(|(sender, leaf, id, may_speak, seen, note)| MediaState {
        sender,
        leaf,
        connection_id: ConnectionId::from_bytes(id),
        may_speak,
        seen,
        note: SessionNote(note),
    })
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
    let state = MediaState {
        sender: u16::MAX,
        leaf: u32::MAX,
        connection_id: ConnectionId::from_bytes([0xff; 8]),
        may_speak: true,
        seen: true,
        note: SessionNote([0xff; SessionNote::LEN]),
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
