//! A room keeps one version of media datagrams, and knows what its participants' clients understand.

use confab_protocol::cluster::Action;
use confab_protocol::control::room::{Capability, Role};
use confab_protocol::control::{Capabilities, ErrorCode, Participant};
use confab_protocol::version::VersionRange;

use super::table::*;
use crate::rooms::effect::{EventKind, Input, Joiner, RoomRequest};

fn speaking(who: u8, min: u32, max: u32) -> Joiner {
    Joiner {
        media: VersionRange::new(min, max).unwrap(),
        ..joiner(who)
    }
}

/// Relays of which some speak version 2 as well.
fn table(versions: &[u32]) -> Table {
    let mut table = Table::new();
    let relays = versions.iter().zip(1..).map(|(max, boot)| {
        let mut relay = relay(&format!("relay{boot}"), boot);
        relay.media = VersionRange::new(1, *max).unwrap();
        relay
    });
    table.world.relays = relays.collect();
    table
}

fn versions_opened(table: &Table) -> Vec<u32> {
    let opened = table.actions.iter().filter_map(|action| match action {
        Action::OpenMedia(open) => Some(open.media_version),
        _ => None,
    });
    opened.collect()
}

#[test]
fn a_room_keeps_the_version_that_its_first_participant_got() {
    let mut table = table(&[2]);
    let joined = table.join_as(speaking(ANN, 1, 3)).unwrap();
    assert_eq!(joined.media_version, 2);
    let joined = table.join_as(speaking(BOB, 2, 2)).unwrap();
    assert_eq!(joined.media_version, 2);
    let refused = table.join_as(speaking(3, 1, 1)).unwrap_err();
    assert_eq!(refused, ErrorCode::UnsupportedVersion);
    assert_eq!(versions_opened(&table), [2, 2]);
}

#[test]
fn a_room_that_began_with_an_old_client_stays_at_its_version() {
    let mut table = table(&[2]);
    assert_eq!(table.join_as(speaking(ANN, 1, 1)).unwrap().media_version, 1);
    assert_eq!(table.join_as(speaking(BOB, 1, 2)).unwrap().media_version, 1);
    let refused = table.join_as(speaking(3, 2, 2)).unwrap_err();
    assert_eq!(refused, ErrorCode::UnsupportedVersion);
}

#[test]
fn a_room_goes_to_a_relay_that_speaks_its_version() {
    let mut table = table(&[1, 2]);
    let joined = table.join_as(speaking(ANN, 2, 2)).unwrap();
    assert_eq!(joined.media_version, 2);
    let place = table.room.home().place.clone().unwrap();
    assert_eq!(place.relay.to_string(), "relay2");
}

#[test]
fn a_client_that_no_relay_speaks_to_is_told_so() {
    let mut table = table(&[1]);
    let refused = table.join_as(speaking(ANN, 2, 3)).unwrap_err();
    assert_eq!(refused, ErrorCode::UnsupportedVersion);
}

#[test]
fn what_a_client_understands_is_told_to_the_others_and_again_when_it_changes() {
    let mut table = Table::new();
    table.join(BOB);
    let first = Joiner {
        capabilities: Capabilities::from_wire(&[2, 900]),
        ..joiner(ANN)
    };
    let joined = table.join_as(first).unwrap();
    let own = joined.own().clone();
    assert!(own.capabilities.has(Capability::Dred));
    assert_eq!(own.capabilities.to_wire(), [2, 900]);
    // Its client was updated meanwhile.
    let resume = Some(table.resume(own.join_id, None));
    table.ask(RoomRequest::Join {
        who: Joiner {
            capabilities: Capabilities::from_wire(&[1, 2]),
            ..joiner(ANN)
        },
        resume,
    });
    table.settle();
    let changed: Vec<&Participant> = table
        .events
        .iter()
        .filter_map(|(_, event)| match &event.kind {
            EventKind::Changed(participant) => Some(participant),
            _ => None,
        })
        .collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].capabilities.to_wire(), [1, 2]);
}

#[test]
fn moderators_hear_of_frames_that_two_accounts_cannot_open() {
    let mut table = Table::new();
    let moderator = table.join(ANN);
    table.change(ANN, Some(standing(Role::Owner)));
    table.settle();
    let noise = table.join(BOB);
    let others = [table.join(3), table.join(4)];
    let leaf = table.give_leaf(noise.own().join_id, 7);
    let told = |table: &Table| {
        let tells = table
            .events
            .iter()
            .filter_map(|(clients, event)| match event.kind {
                EventKind::FramesUnreadable(sender, accounts) => {
                    Some((clients.clone(), sender, accounts))
                }
                _ => None,
            });
        tells.collect::<Vec<_>>()
    };
    for (who, join) in [(3, others[0].own().join_id), (3, others[0].own().join_id)] {
        let of = table.own(who, join);
        table.handle(Input::FramesReported { of, leaf });
    }
    // What the sender itself says of another, and what nobody can have said, does not count.
    let of = table.own(BOB, others[0].own().join_id);
    table.handle(Input::FramesReported { of, leaf });
    let of = table.own(BOB, noise.own().join_id);
    table.handle(Input::FramesReported { of, leaf });
    assert_eq!(told(&table), []);
    let of = table.own(4, others[1].own().join_id);
    table.handle(Input::FramesReported { of, leaf });
    assert_eq!(told(&table), [(vec![u64::from(ANN)], noise.sender, 2)]);
    assert_eq!(moderator.own().account, account(ANN));
}
