//! Messages that come twice, at the wrong time, with numbers at their limits, or with changed bytes.

use std::time::{Duration, Instant};

use confab_e2ee::BaseKeys;
use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::member::{Announced, MemberEvent};
use confab_e2ee::mls::messages::AcceptedCommit;
use confab_e2ee::mls::{FromMember, GroupName, Member, Suite, ToMember};
use confab_protocol::control::{AccountId, JoinId};

use super::hall::{Hall, SECOND};
use super::keys::offer;
use crate::lab::{CONFERENCE, Random, member_config, username};

#[test]
fn a_commit_that_is_sent_twice_does_not_lose_the_own_one() {
    let (mut hall, joins) = Hall::of(2);
    let old = hall
        .outputs
        .iter()
        .rev()
        .find_map(|output| match output {
            Output::Send(_, ToMember::Commit(commit)) => Some(commit.clone()),
            _ => None,
        })
        .expect("a commit");
    let group = hall.group(joins[0]);
    // Each member gets an old commit again before control takes its own.
    let mut repeats = Vec::new();
    for _ in 0..4 {
        hall.join_quietly(&mut repeats);
        let now = hall.now;
        for member in hall.members.values_mut() {
            member.handle(now, ToMember::Commit(old.clone()));
        }
        for (from, message) in repeats.drain(..) {
            hall.delivery.handle(now, from, message);
        }
        hall.run(SECOND);
    }
    assert!(hall.agree());
    assert_eq!(hall.group(joins[0]), group);
    let refused = hall
        .events
        .iter()
        .any(|(_, event)| matches!(event, MemberEvent::Refused(_)));
    assert!(!refused);
}

#[test]
fn numbers_at_their_limits_are_refused() {
    let (mut hall, joins) = Hall::of(2);
    let group = hall.group(joins[0]);
    let now = hall.now;
    let member = hall.members.get_mut(&joins[0]).unwrap();
    for epoch in [u64::MAX, u64::MAX - 1] {
        member.handle(
            now,
            ToMember::Commit(std::sync::Arc::new(AcceptedCommit {
                group,
                epoch,
                proposals: Vec::new(),
                commit: Vec::new().into(),
            })),
        );
        for generation in [group.generation, u64::MAX] {
            hall.delivery.gate_opened(now, generation, epoch);
        }
        for message in [
            FromMember::Merged { group, epoch },
            FromMember::Failed { group, epoch },
            FromMember::CannotCommit {
                group,
                epoch,
                refused: vec![u32::MAX],
            },
        ] {
            hall.delivery.handle(now, joins[1], message);
        }
    }
    hall.run(SECOND);
    hall.delivery.set_round_trip(joins[0], Duration::MAX);
    hall.delivery.set_round_trip(joins[1], Duration::MAX);
    hall.join();
    hall.run(3 * SECOND);
    assert!(hall.agree());
}

#[test]
fn a_leaf_that_is_announced_now_and_then_is_named() {
    let (mut hall, joins) = Hall::of(2);
    let ghost = hall.join();
    hall.run(SECOND);
    let leaves = hall.delivery.leaves();
    let place = leaves.iter().find(|(join, ..)| *join == ghost);
    let announced = Announced {
        account: hall.accounts[&ghost],
        leaf: place.map(|(_, leaf)| *leaf),
    };
    for _ in 0..3 {
        let now = hall.now;
        let member = hall.members.get_mut(&joins[0]).unwrap();
        member.announce(now, ghost, announced);
        member.depart(now, ghost);
        hall.run(2 * SECOND);
    }
    assert!(hall.members[&joins[0]].sealing().is_none());
    let named = |(join, event): &(JoinId, MemberEvent)| {
        *join == joins[0] && matches!(event, MemberEvent::Unannounced { .. })
    };
    assert_eq!(hall.events.iter().filter(|one| named(one)).count(), 1);
    // Announced for good, it is not held against anybody any more.
    let now = hall.now;
    let member = hall.members.get_mut(&joins[0]).unwrap();
    member.announce(now, ghost, announced);
    assert!(member.sealing().is_some());
}

#[test]
fn a_group_with_another_suite_is_told() {
    let mut settings = member_config(AccountId::new([1; 16]));
    settings.allows_classical = true;
    let mut member = Member::new(settings);
    let group = GroupName {
        conference: CONFERENCE,
        era: 1,
        generation: 5,
    };
    let suite = Suite::Classical;
    member.handle(Instant::now(), ToMember::CreateGroup { group, suite });
    let events: Vec<_> = std::iter::from_fn(|| member.poll_event()).collect();
    assert!(events.contains(&MemberEvent::Suite(Suite::Classical)));
}

#[test]
fn welcomes_that_cannot_be_opened_leave_no_secrets_behind() {
    let (hall, joins) = Hall::of(2);
    let group = hall.group(joins[0]);
    let mut stranger = Member::new(member_config(AccountId::new([99; 16])));
    let before = stranger.secrets();
    for _ in 0..5 {
        let packages: Vec<_> = std::iter::from_fn(|| stranger.poll_message())
            .filter_map(|message| match message {
                FromMember::KeyPackage {
                    suite: Suite::PostQuantum,
                    key_package,
                } => Some(key_package),
                _ => None,
            })
            .collect();
        let key_package = packages.last().expect("a new key package").clone();
        let mut other = Hall::new();
        let first = other.join();
        other.run(SECOND);
        let join = other.join_without_member();
        other.delivery.leave(other.now, join);
        let account = AccountId::new([99; 16]);
        other
            .delivery
            .join(other.now, join, account, username(account));
        other.accounts.insert(join, account);
        offer(&mut other, join, key_package);
        other.run(SECOND);
        assert!(other.members[&first].leaves().count() == 2);
        let (welcome, tree) = other.welcome(join);
        // Its tree is not the one of the Welcome.
        let tree: Vec<u8> = tree.iter().rev().copied().collect();
        stranger.handle(
            hall.now,
            ToMember::Welcome {
                group,
                epoch: 1,
                welcome,
                tree: tree.into(),
            },
        );
    }
    assert_eq!(stranger.secrets(), before);
}

/// Changes a few bytes, or cuts some off.
fn mutate(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        // Most of the structure is at the beginning.
        let end = [bytes.len() as u64, 300][random.below(2) as usize].min(bytes.len() as u64);
        if end == 0 {
            break;
        }
        let at = random.below(end) as usize;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 1, 0x3f, 0x40, 0x80, 0xbf, 0xff][random.below(7) as usize],
            2 => bytes.truncate(at),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

#[test]
fn changed_bytes_at_the_delivery_service_are_refused() {
    let mut random = Random(17);
    for _ in 0..150 {
        let mut hall = Hall::new();
        let mut seed = Random(random.next());
        hall.tamper = Box::new(move |_, mut message| {
            match &mut message {
                FromMember::KeyPackage { key_package, .. } if seed.below(4) == 0 => {
                    *key_package = mutate(&mut seed, key_package);
                }
                FromMember::Created {
                    group_info, tree, ..
                } if seed.below(2) == 0 => match seed.below(2) {
                    0 => *group_info = mutate(&mut seed, group_info),
                    _ => *tree = mutate(&mut seed, tree),
                },
                FromMember::Committed {
                    commit, welcome, ..
                } if seed.below(2) == 0 => match seed.below(2) {
                    0 => *commit = mutate(&mut seed, commit),
                    _ => *welcome = mutate(&mut seed, welcome),
                },
                _ => {}
            }
            Some(message)
        });
        for _ in 0..3 {
            hall.join();
            hall.run(SECOND);
        }
    }
}

#[test]
fn changed_bytes_at_a_member_are_refused() {
    let mut random = Random(23);
    let (mut hall, joins) = Hall::of(3);
    hall.write(joins[0], "hello");
    hall.run(SECOND);
    let sent: Vec<_> = hall
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send(to, message) => Some((*to, message.clone())),
            _ => None,
        })
        .collect();
    let now = hall.now;
    let member = hall.members.get_mut(&joins[2]).unwrap();
    for _ in 0..60 {
        for (_, message) in &sent {
            let mut message = message.clone();
            match &mut message {
                ToMember::CommitWanted { proposals, .. } => {
                    for proposal in proposals.iter_mut() {
                        *proposal = mutate(&mut random, proposal).into();
                    }
                }
                ToMember::Commit(accepted) => {
                    let mut changed = AcceptedCommit::clone(accepted);
                    changed.epoch = member.epoch().unwrap_or_default();
                    changed.commit = mutate(&mut random, &changed.commit).into();
                    message = ToMember::Commit(std::sync::Arc::new(changed));
                }
                ToMember::Welcome { welcome, tree, .. } => match random.below(2) {
                    0 => *welcome = mutate(&mut random, welcome).into(),
                    _ => *tree = mutate(&mut random, tree).into(),
                },
                ToMember::Text(text) => *text = mutate(&mut random, text).into(),
                _ => continue,
            }
            member.handle(now, message);
            while member.poll_message().is_some() {}
            while member.poll_event().is_some() {}
        }
    }
    assert!(member.secrets() < 10);
}
