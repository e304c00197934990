//! Commands of control, good and bad, and their answers.

use bytes::Bytes;
use confab_protocol::cluster::{Fence, GrantedLeaf, Leaves, OpenMedia};
use confab_protocol::control::framing;
use confab_protocol::control::{ConferenceId, GenerationLeaf};
use confab_protocol::media::HopKey;
use confab_protocol::wire::{control_to_relay, relay_to_control};

use super::*;
use crate::link::tests::{BOOT, registry};

fn command(id: u64, action: cluster::Action) -> wire::Command {
    wire::Command::from(&Command {
        id,
        conference: ConferenceId::new([1; 16]),
        fence: Fence::default(),
        boot: BOOT,
        action,
    })
}

fn open(sender: u16) -> OpenMedia {
    OpenMedia::new(sender, 0, HopKey::new([0; 16]), HopKey::new([1; 16]))
}

/// The relay's answer to a command.
fn result(orders: &mut Orders, command: wire::Command) -> wire::CommandResult {
    let id = command.id;
    let kind = Some(control_to_relay::Kind::Command(command));
    orders.push(&framing::encode(&wire::ControlToRelay { kind }));
    let Ok(Some(Handled::Result(result))) = orders.next(Instant::now()) else {
        panic!("a command is answered");
    };
    assert_eq!(result.id, id);
    result
}

/// The outcome of a command.
fn answer(orders: &mut Orders, command: wire::Command) -> CommandOutcome {
    result(orders, command).outcome()
}

#[test]
fn commands_that_make_no_sense_are_answered_as_invalid() {
    let (registry, _mailbox) = registry();
    let mut orders = Orders::new(registry);
    let good = || command(7, cluster::Action::OpenMedia(open(1)));
    assert_eq!(answer(&mut orders, good()), CommandOutcome::Obeyed);
    let mut bad = Vec::new();
    let mut change = |change: &dyn Fn(&mut wire::Command)| {
        let mut command = good();
        change(&mut command);
        bad.push(command);
    };
    change(&|command| command.kind = None);
    change(&|command| command.boot_id = Bytes::new());
    change(&|command| command.conference_id = Bytes::from_static(b"short"));
    let mut change_open = |change_it: &dyn Fn(&mut wire::OpenMedia)| {
        change(&|command| {
            if let Some(wire::command::Kind::OpenMedia(open)) = &mut command.kind {
                change_it(open);
            }
        });
    };
    change_open(&|open| open.sender = 65_536);
    change_open(&|open| open.leaves[0].leaf = None);
    change_open(&|open| open.leaves = vec![open.leaves[0]; 3]);
    change_open(&|open| open.uplink_key = Bytes::new());
    change_open(&|open| open.downlink_key = Bytes::from(vec![0; 17]));
    change_open(&|open| open.note = Bytes::from(vec![0; 257]));
    change_open(&|open| open.media_version = 2);
    for command in bad {
        let shown = format!("{command:?}");
        assert_eq!(
            answer(&mut orders, command),
            CommandOutcome::Invalid,
            "{shown}"
        );
    }
    let fenced_off = wire::Command {
        boot_id: Bytes::from(vec![9; 16]),
        ..good()
    };
    assert_eq!(answer(&mut orders, fenced_off), CommandOutcome::WrongBoot);
}

/// What the relay says of the leaves of the room's only session.
fn leaves(orders: &mut Orders) -> Vec<wire::GrantedLeaf> {
    let list = command(99, cluster::Action::ListMedia { from: 0 });
    let result = result(orders, list);
    assert_eq!(result.media.len(), 1);
    result.media[0].leaves.clone()
}

#[test]
fn leaves_are_set_and_epochs_retired_by_control() {
    let (registry, _mailbox) = registry();
    let mut orders = Orders::new(registry);
    let granted = |generation, leaf, first_epoch| GrantedLeaf {
        leaf: GenerationLeaf { generation, leaf },
        first_epoch,
    };
    let set = |leaves| command(8, cluster::Action::SetLeaves(leaves));
    let retire =
        |generation, epoch| command(9, cluster::Action::RetireEpochs { generation, epoch });
    let ours = || set(vec![(1, granted(3, 5, 7))]);
    assert_eq!(answer(&mut orders, ours()), CommandOutcome::NotFound);
    assert_eq!(answer(&mut orders, retire(3, 7)), CommandOutcome::NotFound);
    let connecting = OpenMedia {
        leaves: Leaves::NONE,
        ..open(1)
    };
    let opened = answer(
        &mut orders,
        command(7, cluster::Action::OpenMedia(connecting)),
    );
    assert_eq!(opened, CommandOutcome::Obeyed);
    assert_eq!(leaves(&mut orders), []);
    assert_eq!(answer(&mut orders, ours()), CommandOutcome::Obeyed);
    assert_eq!(
        answer(&mut orders, retire(3, u64::MAX)),
        CommandOutcome::Obeyed
    );
    assert_eq!(leaves(&mut orders), [granted(3, 5, 7).into()]);

    let many = |count| {
        set((0..count)
            .map(|sender| (sender, granted(0, 0, 0)))
            .collect())
    };
    let most = cluster::MAX_SET_LEAVES as u16;
    assert_eq!(answer(&mut orders, many(most)), CommandOutcome::Obeyed);
    assert_eq!(answer(&mut orders, many(most + 1)), CommandOutcome::Invalid);
    for flaw in [
        |one: &mut wire::SenderLeaf| one.sender = 65_536,
        |one: &mut wire::SenderLeaf| one.leaf = None,
    ] {
        let mut bad = ours();
        if let Some(wire::command::Kind::SetLeaves(set)) = &mut bad.kind {
            set.leaves.iter_mut().for_each(flaw);
        }
        assert_eq!(answer(&mut orders, bad), CommandOutcome::Invalid);
    }
}

/// Whoever commands faster than the workers obey is read no more until they have caught up.
#[test]
fn commands_that_the_workers_have_not_carried_out_are_bounded() {
    let (registry, mailbox) = registry();
    let mut orders = Orders::new(registry);
    let mut commands = 0;
    while !orders.is_ahead() {
        answer(
            &mut orders,
            command(commands, cluster::Action::OpenMedia(open(1))),
        );
        commands += 1;
        assert!(commands < 100_000, "it would take any number");
    }
    let taken = std::iter::from_fn(|| mailbox.next()).count();
    assert!(taken < 30_000, "{taken}");
    assert!(!orders.is_ahead());
}

/// A room whose sessions have notes and leaves as large as they may be, page by page.
#[test]
fn the_largest_pages_fit_into_a_message() {
    let (registry, _mailbox) = registry();
    let mut orders = Orders::new(registry);
    for sender in 0..100 {
        let mut open = command(
            sender.into(),
            cluster::Action::OpenMedia(open(u16::MAX - sender)),
        );
        if let Some(wire::command::Kind::OpenMedia(open)) = &mut open.kind {
            open.note = Bytes::from(vec![7; 256]);
            open.account_label = u32::MAX;
            open.leaves = [u64::MAX, u64::MAX - 1]
                .map(|generation| wire::GrantedLeaf {
                    leaf: Some(wire::GenerationLeaf {
                        generation,
                        leaf: u32::MAX - u32::from(sender),
                    }),
                    first_epoch: u64::MAX,
                })
                .into();
        }
        assert_eq!(answer(&mut orders, open), CommandOutcome::Obeyed);
    }
    let list = command(u64::MAX, cluster::Action::ListMedia { from: 0 });
    let result = result(&mut orders, list);
    assert_eq!(result.media.len(), 100);
    assert!(result.media.iter().all(|state| state.leaves.len() == 2));
    let kind = Some(relay_to_control::Kind::Result(result));
    let bytes = framing::encode(&wire::RelayToControl { kind });
    assert!(bytes.len() * cluster::MAX_MEDIA_STATES / 100 < cluster::MAX_MESSAGE);
    let mut deframer = Deframer::new(cluster::MAX_MESSAGE);
    deframer.push(&bytes);
    assert!(matches!(
        deframer.next::<wire::RelayToControl>(),
        Ok(Some(_))
    ));
}
