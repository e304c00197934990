//! Who takes a room over is told whom the relay has in it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use confab_protocol::cluster::{
    Action, CommandOutcome, Fence, MAX_MEDIA_STATES, MediaState, OpenMedia, SessionNote,
};
use confab_protocol::media::HopKey;
use lab::Lab;

const NEXT_OWNER: Fence = Fence {
    era: 2,
    placement: 0,
};

fn open(sender: u16) -> Action {
    let (uplink, downlink) = (HopKey::new([1; 16]), HopKey::new([2; 16]));
    Action::OpenMedia(OpenMedia {
        may_speak: !sender.is_multiple_of(3),
        note: note(sender),
        account_label: u32::from(sender) * 3,
        ..OpenMedia::new(sender, u32::from(sender) + 7, uplink, downlink)
    })
}

fn note(sender: u16) -> SessionNote {
    SessionNote::new(&vec![sender as u8; usize::from(sender) % 257]).unwrap()
}

fn list(lab: &mut Lab, from: u16) -> (Vec<MediaState>, bool) {
    let listed = lab.command_as(NEXT_OWNER, 1, Action::ListMedia { from });
    assert_eq!(listed.outcome, CommandOutcome::Obeyed);
    (listed.media, listed.more)
}

#[test]
fn sessions_are_listed_in_pages_with_controls_notes() {
    let mut lab = Lab::new();
    let count = MAX_MEDIA_STATES as u16 + 50;
    for sender in 0..count {
        assert_eq!(lab.command(1, open(sender)), CommandOutcome::Obeyed);
    }
    assert_eq!(lab.command(2, open(0)), CommandOutcome::Obeyed);
    let (mut all, more) = list(&mut lab, 0);
    assert!(more && all.len() == MAX_MEDIA_STATES);
    let (rest, more) = list(&mut lab, all.last().unwrap().sender + 1);
    assert!(!more);
    all.extend(rest);
    assert_eq!(all.len(), usize::from(count));
    for (state, sender) in all.into_iter().zip(0..) {
        let leaf = state.leaves.newest().unwrap().leaf.leaf;
        assert_eq!((state.sender, leaf), (sender, u32::from(sender) + 7));
        assert_eq!(state.account_label, u32::from(sender) * 3);
        assert_eq!(state.note, note(sender));
        assert_eq!(state.may_speak, !sender.is_multiple_of(3));
        assert!(!state.seen);
    }
}

#[test]
fn listing_a_room_fences_its_former_owner() {
    let mut lab = Lab::new();
    assert_eq!(lab.command(1, open(0)), CommandOutcome::Obeyed);
    list(&mut lab, 0);
    let silence = Action::SetMaySpeak {
        sender: 0,
        may_speak: false,
    };
    assert_eq!(lab.command(1, silence), CommandOutcome::Fenced);
    assert_eq!(lab.command(1, Action::CloseRoom), CommandOutcome::Fenced);
    assert_eq!(list(&mut lab, 0).0.len(), 1);
}

#[test]
fn a_client_is_seen_when_its_address_is_proved() {
    let mut lab = Lab::new();
    let mut ann = lab.open(1, 0);
    assert!(!list(&mut lab, 0).0[0].seen);
    lab.prove_path(&mut ann);
    assert!(list(&mut lab, 0).0[0].seen);
}

#[test]
fn a_room_that_does_not_exist_lists_no_sessions() {
    let mut lab = Lab::new();
    assert_eq!(list(&mut lab, 0), (Vec::new(), false));
}
