//! Which leaves and epochs a session's frames may have, as control says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::time::Duration;

use confab_protocol::cluster::{
    Action, CommandOutcome, Fence, GrantedLeaf, LEAF_BEFORE_FOR, Leaves, MediaState,
};
use confab_protocol::media::KeyId;
use confab_relay::core::DropCause;
use lab::{Client, Lab, Setup, granted};
use proptest::prelude::*;

const ROOM: u8 = 1;
const ANN: u16 = 0;
const BEN: u16 = 1;
const MILLISECOND: Duration = Duration::from_millis(1);

/// A room in which Ann has these leaves and Ben, who listens, has none.
struct Scene {
    lab: Lab,
    ann: Client,
    ben: Client,
}

impl Scene {
    fn new(leaves: &[GrantedLeaf]) -> Self {
        let mut lab = Lab::new();
        let ann = join(&mut lab, ANN, leaves);
        let ben = join(&mut lab, BEN, &[]);
        Self { lab, ann, ben }
    }

    /// Whether a frame of Ann's is heard under the key id of this leaf, generation and epoch.
    fn hears(&mut self, generation: u64, leaf: u32, epoch: u64) -> bool {
        hears(
            &mut self.lab,
            &mut self.ann,
            &self.ben,
            key_id(generation, leaf, epoch),
        )
    }

    /// The same with a frame of Ben's and Ann's ears.
    fn hears_ben(&mut self, generation: u64, leaf: u32, epoch: u64) -> bool {
        hears(
            &mut self.lab,
            &mut self.ben,
            &self.ann,
            key_id(generation, leaf, epoch),
        )
    }

    fn set(&mut self, leaves: &[(u16, GrantedLeaf)]) {
        let outcome = self.lab.command(ROOM, Action::SetLeaves(leaves.to_vec()));
        assert_eq!(outcome, CommandOutcome::Obeyed);
    }

    fn retire(&mut self, generation: u64, epoch: u64) {
        let retire = Action::RetireEpochs { generation, epoch };
        assert_eq!(self.lab.command(ROOM, retire), CommandOutcome::Obeyed);
    }

    /// Ann's leaves as control is told.
    fn leaves(&mut self) -> Vec<GrantedLeaf> {
        let list = Action::ListMedia { from: ANN };
        let listed = self.lab.command_as(Fence::default(), ROOM, list);
        listed.media[0].leaves.iter().collect()
    }

    fn wrong(&self) -> u64 {
        self.lab.dropped(DropCause::WrongLeaf)
    }

    fn retired(&self) -> u64 {
        self.lab.dropped(DropCause::RetiredEpoch)
    }
}

fn key_id(generation: u64, leaf: u32, epoch: u64) -> KeyId {
    KeyId::new(leaf, generation as u8, epoch as u8)
}

fn join(lab: &mut Lab, sender: u16, leaves: &[GrantedLeaf]) -> Client {
    let mut of_session = Leaves::NONE;
    leaves.iter().for_each(|leaf| of_session.grant(*leaf));
    let mut client = lab.open_with(ROOM, sender, sender.into(), of_session);
    lab.prove_path(&mut client);
    client
}

fn hears(lab: &mut Lab, speaker: &mut Client, listener: &Client, key_id: KeyId) -> bool {
    // Far below the rate at which frames are dropped.
    lab.pass(MILLISECOND * 20);
    let datagram = speaker.audio_under(key_id, "hello");
    let sent = lab.deliver(&speaker.clone(), &datagram);
    listener.heard(&sent).len() == 1
}

#[test]
fn a_session_without_a_leaf_forwards_nothing_and_hears() {
    let mut scene = Scene::new(&[granted(0, 0, 0)]);
    for leaf in [0, 1, u32::MAX] {
        for generation in 0..4 {
            assert!(!scene.hears_ben(generation, leaf, 0));
        }
    }
    assert_eq!(scene.wrong(), 12);
    assert!(scene.hears(0, 0, 0));
}

/// The datagram is there before the command, and the worker has had no round in between.
#[test]
fn a_command_is_in_force_with_the_next_datagram_that_is_examined() {
    let mut scene = Scene::new(&[]);
    let Scene { lab, ann, ben } = &mut scene;
    let retire = Action::RetireEpochs {
        generation: 5,
        epoch: 9,
    };
    let set = Action::SetLeaves(vec![(ANN, granted(5, 3, 7))]);
    for (action, heard) in [(set, 1), (retire, 0)] {
        let datagram = ann.audio_under(key_id(5, 3, 7), "hello");
        lab.hand_over(0, ann.address, &datagram);
        let result = lab.execute_as(Fence::default(), ROOM, action);
        assert_eq!(result.outcome, CommandOutcome::Obeyed);
        assert_eq!(ben.heard(&lab.flush()).len(), heard);
    }
    assert_eq!((scene.wrong(), scene.retired()), (0, 1));
}

#[test]
fn a_frame_under_another_leaf_or_generation_is_dropped() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    for (generation, leaf) in [(5, 2), (5, 4), (4, 3), (6, 3), (0, 0)] {
        assert!(!scene.hears(generation, leaf, 0));
    }
    assert_eq!(scene.wrong(), 5);
    assert!(scene.hears(5, 3, 0));
    scene.set(&[(ANN, granted(5, 4, 1))]);
    assert!(!scene.hears(5, 3, 1), "the new one took its place");
    assert!(scene.hears(5, 4, 1));
}

/// One commit removes Ann's leaf and adds Ben, who gets it: Ben cannot speak as Ann did, nor Ann as Ben, although Ann
/// has keys of the epochs before and may be given those of the epochs after.
#[test]
fn a_leaf_that_is_used_again_is_its_new_owners_from_its_first_epoch_on() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    assert!(scene.hears(5, 3, 6));
    scene.set(&[(BEN, granted(5, 3, 7))]);
    assert!(!scene.hears_ben(5, 3, 6));
    assert!(!scene.hears_ben(5, 3, 0));
    assert!(scene.hears_ben(5, 3, 7));
    assert!(
        scene.hears_ben(5, 3, 8),
        "commits may tell the relay nothing"
    );
    assert!(!scene.hears(5, 3, 6) && !scene.hears(5, 3, 7));
    assert_eq!(scene.wrong(), 4);
    assert!(scene.leaves().is_empty());
}

/// At a relay to which a room moves, sessions open in any order: one may bring a leaf that it has lost.
#[test]
fn a_leaf_that_two_sessions_bring_is_that_ones_who_got_it_later() {
    for order in [[0, 1], [1, 0]] {
        let mut lab = Lab::new();
        let brought = [granted(5, 3, 0), granted(5, 3, 7)];
        let mut clients = order.map(|which| join(&mut lab, which as u16, &[brought[which]]));
        clients.sort_by_key(|client| client.sender);
        let [mut before, mut owner] = clients;
        let key_id = key_id(5, 3, 7);
        assert!(hears(&mut lab, &mut owner, &before, key_id));
        assert!(!hears(&mut lab, &mut before, &owner, key_id));
    }
}

#[test]
fn two_participants_can_swap_their_leaves_in_one_command() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    scene.set(&[(BEN, granted(5, 4, 1))]);
    scene.set(&[(ANN, granted(5, 4, 2)), (BEN, granted(5, 3, 2))]);
    assert!(scene.hears(5, 4, 2) && scene.hears_ben(5, 3, 2));
    assert!(!scene.hears(5, 3, 2) && !scene.hears_ben(5, 4, 2));
}

#[test]
fn a_leaf_of_a_participant_without_a_session_is_nobody_elses() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    scene.set(&[(77, granted(5, 3, 7)), (BEN, granted(5, 4, 7))]);
    assert!(!scene.hears(5, 3, 7) && !scene.hears(5, 3, 6));
    assert!(scene.hears_ben(5, 4, 7));
    let mut cem = join(&mut scene.lab, 77, &[granted(5, 4, 9)]);
    let heard = hears(&mut scene.lab, &mut cem, &scene.ann, key_id(5, 4, 9));
    assert!(
        heard && !scene.hears_ben(5, 4, 9),
        "nor that of a session that opens"
    );
}

#[test]
fn frames_of_retired_epochs_are_dropped_around_the_wrap_of_the_key_id_too() {
    for start in [0, 240, 250, (1 << 32) - 10, (7 << 40) + 250] {
        let mut scene = Scene::new(&[granted(5, 3, start)]);
        for epoch in start..start + 300 {
            assert!(scene.hears(5, 3, epoch));
            scene.retire(5, epoch);
            assert!(!scene.hears(5, 3, epoch));
            assert!(epoch == start || !scene.hears(5, 3, epoch - 1));
            assert!(scene.hears(5, 3, epoch + 2));
        }
        assert_eq!((scene.wrong(), scene.retired()), (0, 300 + 299));
    }
}

#[test]
fn epochs_that_control_has_not_told_of_count_for_half_the_circle() {
    let mut scene = Scene::new(&[granted(5, 3, 1000)]);
    assert!(scene.hears(5, 3, 1127));
    assert!(!scene.hears(5, 3, 1128), "read as 872");
    scene.set(&[(BEN, granted(5, 4, 1100))]);
    assert!(
        scene.hears(5, 3, 1227),
        "another participant's leaf tells of the epoch"
    );
    scene.retire(5, 1199);
    assert!(scene.hears(5, 3, 1327));
    assert!(!scene.hears(5, 3, 1199));
    assert_eq!((scene.wrong(), scene.retired()), (1, 1));
}

#[test]
fn retired_epochs_stay_retired_whatever_comes() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    scene.retire(5, 9);
    for (generation, epoch) in [(5, 8), (5, 0), (4, u64::MAX), (0, 0)] {
        scene.retire(generation, epoch);
        assert!(!scene.hears(5, 3, 9));
        assert!(scene.hears(5, 3, 10));
    }
    scene.set(&[(ANN, granted(5, 3, 0))]);
    assert!(!scene.hears(5, 3, 9));
    let mut ann = join(&mut scene.lab, ANN, &[granted(5, 3, 0)]);
    assert!(!hears(
        &mut scene.lab,
        &mut ann,
        &scene.ben,
        key_id(5, 3, 9)
    ));
    assert!(hears(
        &mut scene.lab,
        &mut ann,
        &scene.ben,
        key_id(5, 3, 10)
    ));
}

#[test]
fn a_generation_that_retired_takes_those_before_it_along_and_not_those_after_it() {
    let mut scene = Scene::new(&[granted(5, 3, 0), granted(6, 4, 0)]);
    assert!(scene.hears(5, 3, 0) && scene.hears(6, 4, 0));
    scene.retire(6, 0);
    assert!(!scene.hears(5, 3, 0) && !scene.hears(5, 3, 200) && !scene.hears(6, 4, 0));
    assert_eq!(scene.retired(), 3);
    assert!(scene.hears(6, 4, 1));
    scene.set(&[(BEN, granted(5, 1, 50))]);
    assert!(!scene.hears_ben(5, 1, 50), "granted after it retired");
    scene.retire(6, u64::MAX);
    assert!(!scene.hears(6, 4, 1));
    scene.set(&[(ANN, granted(7, 4, 0))]);
    assert!(scene.hears(7, 4, 0) && scene.hears(7, 4, 1));
}

#[test]
fn the_leaf_of_the_generation_before_counts_for_two_seconds_more() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    scene.set(&[(ANN, granted(6, 8, 0))]);
    let switched = scene.lab.now;
    assert!(scene.hears(5, 3, 0) && scene.hears(6, 8, 0));
    // Another leaf of the new generation does not prolong the time.
    scene.set(&[(ANN, granted(6, 9, 1))]);
    scene.lab.now = switched + LEAF_BEFORE_FOR - MILLISECOND * 21;
    assert!(scene.hears(5, 3, 0));
    assert_eq!(scene.leaves(), [granted(6, 9, 1), granted(5, 3, 0)]);
    scene.lab.now = switched + LEAF_BEFORE_FOR - MILLISECOND * 20;
    assert!(!scene.hears(5, 3, 0));
    assert_eq!(scene.leaves(), [granted(6, 9, 1)]);
    assert!(scene.hears(6, 9, 1));
    assert_eq!(scene.wrong(), 1);
    scene.set(&[(ANN, granted(5, 3, 0))]);
    assert!(!scene.hears(5, 3, 0), "it comes too late");
}

#[test]
fn of_three_generations_the_oldest_ends_at_once() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    scene.set(&[(ANN, granted(6, 3, 0))]);
    scene.set(&[(ANN, granted(9, 3, 0))]);
    assert_eq!(scene.leaves(), [granted(9, 3, 0), granted(6, 3, 0)]);
    scene.lab.pass(LEAF_BEFORE_FOR);
    // In key ids 9 is as 5.
    assert!(scene.hears(9, 3, 0) && scene.hears(5, 3, 0));
    assert!(!scene.hears(6, 3, 0));
}

#[test]
fn a_session_that_opens_with_two_leaves_has_both_for_two_seconds() {
    let mut scene = Scene::new(&[granted(5, 3, 0), granted(6, 4, 0)]);
    assert_eq!(scene.leaves(), [granted(6, 4, 0), granted(5, 3, 0)]);
    scene.lab.pass(LEAF_BEFORE_FOR);
    assert!(!scene.hears(5, 3, 0) && scene.hears(6, 4, 0));
}

#[test]
fn a_session_opened_again_has_only_the_leaves_that_it_brings() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    let mut ann = join(&mut scene.lab, ANN, &[]);
    assert!(!hears(
        &mut scene.lab,
        &mut ann,
        &scene.ben,
        key_id(5, 3, 0)
    ));
    assert!(scene.leaves().is_empty());
}

#[test]
fn a_room_that_closed_has_no_retired_epochs() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    scene.retire(5, 9);
    assert_eq!(
        scene.lab.command(ROOM, Action::CloseRoom),
        CommandOutcome::Obeyed
    );
    let lab = &mut scene.lab;
    let (mut ann, ben) = (join(lab, ANN, &[granted(5, 3, 0)]), join(lab, BEN, &[]));
    assert!(hears(lab, &mut ann, &ben, key_id(5, 3, 9)));
}

#[test]
fn senders_without_a_session_are_skipped_and_a_room_without_sessions_is_not_found() {
    let mut scene = Scene::new(&[]);
    scene.set(&[
        (9, granted(5, 9, 0)),
        (ANN, granted(5, 3, 0)),
        (u16::MAX, granted(5, 8, 0)),
    ]);
    assert!(scene.hears(5, 3, 0));
    scene.set(&[]);
    for action in [
        Action::SetLeaves(vec![(ANN, granted(5, 3, 0))]),
        Action::RetireEpochs {
            generation: 5,
            epoch: 9,
        },
    ] {
        assert_eq!(
            scene.lab.command(ROOM + 1, action),
            CommandOutcome::NotFound
        );
    }
    assert!(scene.hears(5, 3, 9), "another room's epochs");
}

#[test]
fn an_owner_before_sets_no_leaves_and_retires_no_epochs() {
    let mut scene = Scene::new(&[granted(5, 3, 0)]);
    let owner = |era| Fence { era, placement: 0 };
    let list = Action::ListMedia { from: 0 };
    scene.lab.command_as(owner(2), ROOM, list);
    for (action, outcome) in [
        (
            Action::SetLeaves(vec![(BEN, granted(5, 3, 0))]),
            CommandOutcome::Fenced,
        ),
        (
            Action::RetireEpochs {
                generation: 6,
                epoch: 0,
            },
            CommandOutcome::Fenced,
        ),
    ] {
        let result = scene.lab.command_as(owner(1), ROOM, action);
        assert_eq!(result.outcome, outcome);
        assert!(scene.hears(5, 3, 0) && !scene.hears_ben(5, 3, 0));
    }
}

#[test]
fn commands_reach_the_sessions_on_all_workers_of_a_room() {
    let mut setup = Setup {
        workers: 3,
        ..Setup::default()
    };
    setup.capacity.share = 2;
    let mut lab = Lab::with(setup);
    let mut clients: Vec<_> = (0..6).map(|sender| join(&mut lab, sender, &[])).collect();
    let leaves = (0..6).map(|sender| (sender, granted(5, u32::from(sender), 8)));
    let set = Action::SetLeaves(leaves.collect());
    assert_eq!(lab.command(ROOM, set), CommandOutcome::Obeyed);
    let retire = Action::RetireEpochs {
        generation: 5,
        epoch: 9,
    };
    assert_eq!(lab.command(ROOM, retire), CommandOutcome::Obeyed);
    for speaker in 0..6 {
        let listener = clients[(speaker + 1) % 6].clone();
        for (epoch, heard) in [(7, false), (8, false), (9, false), (10, true)] {
            let key_id = key_id(5, speaker as u32, epoch);
            assert_eq!(
                hears(&mut lab, &mut clients[speaker], &listener, key_id),
                heard
            );
        }
    }
}

/// Numbers that control should never say, and some that it does.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, u64::MAX - 3..=u64::MAX, any::<u64>()]
}

proptest! {
    /// Whatever control says, the relay lives on, a leaf is reported of one session alone, and a new generation is heard.
    #[test]
    fn absurd_commands_do_no_lasting_harm(
        commands in prop::collection::vec((0u16..4, number(), number(), 0u32..3, any::<bool>()), 1..40)
    ) {
        let mut scene = Scene::new(&[]);
        for (sender, generation, epoch, leaf, retires) in commands {
            let action = match retires {
                true => Action::RetireEpochs { generation, epoch },
                false => Action::SetLeaves(vec![(sender, granted(generation, leaf, epoch))]),
            };
            prop_assert_eq!(scene.lab.command(ROOM, action), CommandOutcome::Obeyed);
            scene.hears(generation, leaf, epoch);
            let list = Action::ListMedia { from: 0 };
            let media: Vec<MediaState> = scene.lab.command_as(Fence::default(), ROOM, list).media;
            let mut held: Vec<_> = media.iter().flat_map(|one| one.leaves.iter()).map(|one| one.leaf).collect();
            let count = held.len();
            held.sort_unstable();
            held.dedup();
            prop_assert_eq!(held.len(), count);
        }
        prop_assert_eq!(scene.lab.command(ROOM, Action::CloseRoom), CommandOutcome::Obeyed);
        let lab = &mut scene.lab;
        let (mut ann, ben) = (join(lab, ANN, &[granted(1, 0, 0)]), join(lab, BEN, &[]));
        prop_assert!(hears(lab, &mut ann, &ben, key_id(1, 0, 0)));
        prop_assert_eq!(lab.worker().free_buffers(), lab::BUFFERS);
    }
}
