//! The messages of members and delivery service come out of a stream as they went in.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use confab_e2ee::mls::messages::{AcceptedCommit, TextRefusal};
use confab_e2ee::mls::wire::{from_stream, to_stream};
use confab_e2ee::mls::{FromMember, GroupName, Suite, ToMember};
use confab_protocol::control::framing::Deframer;
use confab_protocol::control::{ConferenceId, JoinId, MAX_GROUP_MESSAGE};
use confab_protocol::wire;
use proptest::prelude::*;

fn groups() -> impl Strategy<Value = GroupName> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>()).prop_map(|(conference, era, generation)| {
        GroupName {
            conference: ConferenceId::new(conference),
            era,
            generation,
        }
    })
}

fn suites() -> impl Strategy<Value = Suite> {
    prop::sample::select(Suite::ALL.to_vec())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

fn shared() -> impl Strategy<Value = Arc<[u8]>> {
    bytes().prop_map(Into::into)
}

fn to_members() -> impl Strategy<Value = ToMember> {
    let proposals = || prop::collection::vec(shared(), 0..4);
    let others = prop_oneof![
        Just(ToMember::TextAccepted),
        Just(ToMember::TextStale),
        Just(ToMember::TextRefused(TextRefusal::NotAllowed)),
        Just(ToMember::TextRefused(TextRefusal::TooMany)),
    ];
    prop_oneof![
        (groups(), suites()).prop_map(|(group, suite)| ToMember::CreateGroup { group, suite }),
        (groups(), any::<u64>(), proposals()).prop_map(|(group, epoch, proposals)| {
            ToMember::CommitWanted {
                group,
                epoch,
                proposals,
            }
        }),
        (groups(), any::<u64>(), proposals(), shared()).prop_map(
            |(group, epoch, proposals, commit)| ToMember::Commit(Arc::new(AcceptedCommit {
                group,
                epoch,
                proposals,
                commit,
            }))
        ),
        (groups(), any::<u64>(), shared(), shared()).prop_map(|(group, epoch, welcome, tree)| {
            ToMember::Welcome {
                group,
                epoch,
                welcome,
                tree,
            }
        }),
        (
            groups(),
            any::<u64>(),
            prop::collection::vec(any::<u32>(), 0..9)
        )
            .prop_map(|(group, epoch, absent)| ToMember::Activate {
                group,
                epoch,
                absent: absent.into(),
            }),
        shared().prop_map(ToMember::Text),
        groups().prop_map(|group| ToMember::Rejoin { group }),
        others,
    ]
}

fn from_members() -> impl Strategy<Value = FromMember> {
    prop_oneof![
        (suites(), bytes())
            .prop_map(|(suite, key_package)| FromMember::KeyPackage { suite, key_package }),
        (groups(), bytes(), bytes()).prop_map(|(group, group_info, tree)| FromMember::Created {
            group,
            group_info,
            tree,
        }),
        (groups(), any::<u64>(), bytes(), bytes()).prop_map(|(group, epoch, commit, welcome)| {
            FromMember::Committed {
                group,
                epoch,
                commit,
                welcome,
            }
        }),
        (
            groups(),
            any::<u64>(),
            prop::collection::vec(any::<u32>(), 0..9)
        )
            .prop_map(|(group, epoch, refused)| FromMember::CannotCommit {
                group,
                epoch,
                refused,
            }),
        (groups(), any::<u64>()).prop_map(|(group, epoch)| FromMember::Merged { group, epoch }),
        (groups(), any::<u64>()).prop_map(|(group, epoch)| FromMember::Failed { group, epoch }),
        (groups(), any::<u64>()).prop_map(|(group, epoch)| FromMember::Behind { group, epoch }),
        (groups(), any::<u64>(), bytes()).prop_map(|(group, epoch, message)| FromMember::Text {
            group,
            epoch,
            message,
        }),
    ]
}

proptest! {
    #[test]
    fn what_the_delivery_service_says_comes_out_of_the_stream(
        conference in any::<[u8; 16]>(),
        join in prop::option::of(any::<[u8; 16]>()),
        messages in prop::collection::vec(to_members(), 1..5),
    ) {
        let (conference, join) = (ConferenceId::new(conference), join.map(JoinId::new));
        let mut deframer = Deframer::new(MAX_GROUP_MESSAGE);
        for message in &messages {
            for piece in to_stream(conference, join, message) {
                deframer.push(&piece);
            }
        }
        for message in messages {
            let read = deframer.next::<wire::ToGroup>().unwrap().unwrap();
            prop_assert_eq!(from_stream(read), Ok(Some((conference, join, message))));
        }
        prop_assert_eq!(deframer.finish(), Ok(()));
    }

    #[test]
    fn what_a_member_says_comes_out_of_a_request(message in from_members()) {
        let wire = wire::FromMember::from(message.clone());
        prop_assert_eq!(FromMember::try_from(wire), Ok(message));
    }
}
