//! A room that is taken over goes on with those who are in it.

use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome, GrantedLeaf, Leaves, MediaEndReason};
use confab_protocol::control::room::Role;
use confab_protocol::control::{
    Capabilities, ErrorCode, GenerationLeaf, JoinId, Participant, ParticipantName, ResumeSecret,
};
use confab_protocol::media::ConnectionId;

use super::table::*;
use crate::cluster::RelayEvent;
use crate::rooms::adoption::{Adopted, Adoptee, CallParameters};
use crate::rooms::effect::{Input, Resume, Ticket};
use crate::rooms::label::LabelKey;
use crate::rooms::room::Numbers;
use crate::store::SessionId;

const OF_ANN: ConnectionId = ConnectionId::new(0, 7, 7);
const JOIN_OF_ANN: JoinId = JoinId::new([3; 16]);
/// The room's before it was taken over.
const OTHER_LABELS: LabelKey = LabelKey::new([6; LabelKey::LEN]);
/// Ann's in the group of the owner before.
const LEAF_OF_ANN: GrantedLeaf = GrantedLeaf {
    leaf: GenerationLeaf {
        generation: 7,
        leaf: 5,
    },
    first_epoch: 3,
};

/// Ann is in the room by the word of its relay, muted since; Bob is there and banned.
fn taken_over() -> Table {
    let mut table = Table::new();
    let numbers = Numbers {
        command: 0,
        placement: 4,
    };
    table.room = room(home(7), numbers);
    let ann = Participant {
        sender: 5,
        leaf: Some(LEAF_OF_ANN.leaf),
        join_id: JOIN_OF_ANN,
        account: account(ANN),
        username: ParticipantName::from_wire("person1"),
        role: Role::Member,
        muted: true,
        capabilities: Capabilities::default(),
    };
    let secret = ResumeSecret::new([0xaa; 16]);
    table.secrets.insert(JOIN_OF_ANN, secret.clone());
    let adopted = Adopted {
        relay: relay("berlin", 1),
        participants: vec![Adoptee {
            participant: ann,
            username: "person1".parse().unwrap(),
            leaves: Leaves::one(LEAF_OF_ANN),
            session: SessionId([ANN; 16]),
            resume: (&secret).into(),
            connection_id: OF_ANN,
            may_speak: true,
        }],
        strangers: vec![(6, Some(account(BOB)))],
        parameters: Some(CallParameters {
            labels: OTHER_LABELS,
            media_version: 1,
        }),
    };
    table.room.adopt(table.now, adopted);
    table.collect();
    table
}

/// Ann's client takes her join up again.
fn ask_resume(table: &mut Table, live: Option<ConnectionId>) -> Ticket {
    let resume = table.resume(JOIN_OF_ANN, live);
    table.ask_join_with(ANN, Some(resume))
}

fn opens(table: &Table) -> usize {
    let is_open = |action: &&Action| matches!(action, Action::OpenMedia(_));
    table.actions.iter().filter(is_open).count()
}

#[test]
fn the_relay_is_told_what_has_changed_and_nothing_else() {
    let table = taken_over();
    let silenced = Action::SetMaySpeak {
        sender: 5,
        may_speak: false,
    };
    assert_eq!(table.actions, [silenced, Action::CloseMedia { sender: 6 }]);
    assert_eq!((table.room.live(), table.presence), (1, 1));
}

#[test]
fn a_join_is_taken_up_again_with_the_session_that_it_has() {
    let mut table = taken_over();
    let ticket = ask_resume(&mut table, Some(OF_ANN));
    table.settle();
    let joined = table.answer(ticket).unwrap().unwrap();
    assert_eq!((joined.sender, &joined.media), (5, &None));
    assert_eq!(joined.resume_secret, None);
    assert_eq!(joined.own().leaf, Some(LEAF_OF_ANN.leaf));
    assert_eq!(opens(&table), 0);
    // Its events go to whoever took it up.
    table.join(BOB);
    assert_eq!(table.events.last().unwrap().0, [u64::from(ANN)]);
}

#[test]
fn one_who_does_not_hear_the_relay_gets_a_new_session() {
    for live in [None, Some(ConnectionId::new(0, 8, 8))] {
        let mut table = taken_over();
        let ticket = ask_resume(&mut table, live);
        table.settle();
        let joined = table.answer(ticket).unwrap().unwrap();
        assert!(joined.media.is_some_and(|media| media.era == 7));
    }
}

#[test]
fn a_session_that_the_relay_has_no_more_is_opened_anew() {
    let mut table = taken_over();
    table.settle();
    let ticket = ask_resume(&mut table, Some(OF_ANN));
    table.admit();
    let keep = table.open.pop_front().unwrap();
    table.fulfil(keep, CommandOutcome::NotFound);
    table.settle();
    assert!(table.answer(ticket).unwrap().unwrap().media.is_some());
}

#[test]
fn a_relay_that_does_not_say_whether_it_has_the_session_ends_nobody() {
    let mut table = taken_over();
    table.settle();
    let ticket = ask_resume(&mut table, Some(OF_ANN));
    table.admit();
    table.pass(Duration::from_secs(3));
    assert_eq!(table.refusal(ticket), ErrorCode::Busy);
    table.open.clear();
    let again = ask_resume(&mut table, Some(OF_ANN));
    table.settle();
    assert_eq!(table.answer(again).unwrap().unwrap().media, None);
    assert_eq!(opens(&table), 0);
}

#[test]
fn who_never_comes_back_ends_with_the_session() {
    let mut table = taken_over();
    table.handle(Input::Relay(RelayEvent::MediaEnded {
        sender: 5,
        connection_id: OF_ANN,
        reason: MediaEndReason::Idle,
    }));
    assert!(table.room.is_over());
    assert_eq!(table.presence, 0);
}

#[test]
fn labels_of_those_who_are_there_are_not_given_again() {
    let mut table = taken_over();
    assert!(table.join(BOB).sender > 6);
}

#[test]
fn who_was_kicked_before_coming_back_does_not_come_in_again_unasked() {
    let mut table = taken_over();
    table.settle();
    let kick = table.kick(ANN);
    table.settle();
    assert!(matches!(table.answer(kick), Ok(None)));
    let again = ask_resume(&mut table, Some(OF_ANN));
    assert_eq!(table.refusal(again), ErrorCode::Denied);
    // At the person's own wish it may.
    table.join(ANN);
}

#[test]
fn a_join_is_taken_up_by_the_client_that_made_it_alone() {
    let mut table = taken_over();
    table.settle();
    // Another session of the same account knows the join id, for all in the room see it.
    let guessed = Resume {
        secret: ResumeSecret::new([0xbb; 16]),
        ..table.resume(JOIN_OF_ANN, Some(OF_ANN))
    };
    let ticket = table.ask_join_with(ANN, Some(guessed));
    assert_eq!(table.refusal(ticket), ErrorCode::NotFound);
    let ticket = ask_resume(&mut table, Some(OF_ANN));
    table.settle();
    assert!(table.answer(ticket).unwrap().is_some());
}

#[test]
fn a_session_that_may_be_anybodys_is_closed_before_a_ban_is_acknowledged() {
    let mut table = taken_over();
    table
        .room
        .membership_mut()
        .departed_mut()
        .note_unclosed(9, None);
    table.settle();
    let ticket = table.change(BOB, Some(standing(Role::Banned)));
    table.store_change();
    assert!(!table.is_answered(ticket));
    assert!(table.actions.contains(&Action::CloseMedia { sender: 9 }));
    table.settle();
    assert!(matches!(table.answer(ticket), Ok(None)));
}
