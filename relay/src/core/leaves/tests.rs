use std::time::Duration;

use confab_protocol::cluster::MAX_LEAVES;
use proptest::prelude::*;

use super::*;

const SESSIONS: usize = 4;

impl Holder for SessionLeaves {
    fn leaves(&self) -> &SessionLeaves {
        self
    }
}

/// Two and two with the same 2 bits in a key id; as many as a room remembers.
const GENERATIONS: [u64; IDLE_GENERATIONS] = [0, 1, 4, 5];

fn granted(generation: u64, leaf: u32, first_epoch: u64) -> GrantedLeaf {
    GrantedLeaf {
        leaf: GenerationLeaf { generation, leaf },
        first_epoch,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Grant(usize, GrantedLeaf),
    /// To a sender without a session.
    GrantElsewhere(GrantedLeaf),
    Retire(u64, u64),
    Leave(usize),
    Pass(Duration),
}

fn generation() -> impl Strategy<Value = u64> {
    prop::sample::select(&GENERATIONS[..])
}

fn grant() -> impl Strategy<Value = GrantedLeaf> {
    (generation(), 0u32..3, 0u64..600)
        .prop_map(|(generation, leaf, first_epoch)| granted(generation, leaf, first_epoch))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..SESSIONS, grant()).prop_map(|(to, granted)| Step::Grant(to, granted)),
        1 => grant().prop_map(Step::GrantElsewhere),
        1 => (generation(), 0u64..600).prop_map(|(of, epoch)| Step::Retire(of, epoch)),
        1 => (0..SESSIONS).prop_map(Step::Leave),
        2 => (0u64..3000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

/// A session as a reader of the rules would write it, with whole generations and epochs.
#[derive(Clone, Default)]
struct Model {
    leaves: BTreeMap<u64, GrantedLeaf>,
    newest: u64,
    before_until: Option<Instant>,
}

impl Model {
    fn grant(&mut self, now: Instant, granted: GrantedLeaf) {
        let generation = granted.leaf.generation;
        self.expire(now);
        self.leaves.insert(generation, granted);
        if generation > self.newest {
            self.newest = generation;
            self.before_until = Some(now + LEAF_BEFORE_FOR);
        }
        self.expire(now);
        while self.leaves.len() > MAX_LEAVES {
            self.leaves.pop_first();
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.before_until.is_none_or(|until| until <= now) {
            self.leaves
                .retain(|generation, _| *generation == self.newest);
        }
    }

    fn lose(&mut self, leaf: GenerationLeaf) {
        self.leaves.retain(|_, granted| granted.leaf != leaf);
    }
}

/// A room's sessions, and the model of each.
struct Play {
    now: Instant,
    room: RoomLeaves<SessionLeaves>,
    sessions: [Arc<SessionLeaves>; SESSIONS],
    checks: [LeafCheck<SessionLeaves>; SESSIONS],
    models: [Model; SESSIONS],
    retired: Option<(u64, u64)>,
    newest: BTreeMap<u64, u64>,
}

impl Play {
    fn new() -> Self {
        let sessions: [Arc<SessionLeaves>; SESSIONS] = Default::default();
        Self {
            now: Instant::now(),
            room: RoomLeaves::default(),
            checks: std::array::from_fn(|at| LeafCheck::new(Arc::clone(&sessions[at]))),
            sessions,
            models: Default::default(),
            retired: None,
            newest: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Grant(to, granted) => {
                self.room.grant(self.now, Some(&self.sessions[to]), granted);
                self.granted(Some(to), granted);
            }
            Step::GrantElsewhere(granted) => {
                self.room.grant(self.now, None, granted);
                self.granted(None, granted);
            }
            Step::Retire(generation, epoch) => {
                self.room.retire(generation, epoch);
                self.retired = self.retired.max(Some((generation, epoch)));
            }
            Step::Leave(which) => {
                self.room.release(&self.sessions[which]);
                self.sessions[which] = Arc::default();
                self.checks[which] = LeafCheck::new(Arc::clone(&self.sessions[which]));
                self.models[which] = Model::default();
            }
            Step::Pass(time) => self.now += time,
        }
    }

    fn granted(&mut self, to: Option<usize>, granted: GrantedLeaf) {
        let newest = self.newest.entry(granted.leaf.generation).or_default();
        *newest = granted.first_epoch.max(*newest);
        let is_anothers = |(at, model): (usize, &Model)| {
            let of_leaf = model.leaves.get(&granted.leaf.generation);
            let held = of_leaf.filter(|held| held.leaf == granted.leaf);
            to != Some(at) && held.is_some_and(|held| held.first_epoch > granted.first_epoch)
        };
        if self.models.iter().enumerate().any(is_anothers) {
            return;
        }
        for (at, model) in self.models.iter_mut().enumerate() {
            match to {
                Some(to) if to == at => model.grant(self.now, granted),
                _ => model.lose(granted.leaf),
            }
        }
    }

    /// Whether a frame of this epoch under this leaf passes by the rules; `None` where 8 bits cannot tell the epoch.
    fn expected(&self, session: usize, leaf: GenerationLeaf, epoch: u64) -> Option<bool> {
        let mut model = self.models[session].clone();
        model.expire(self.now);
        let mut passes = false;
        for granted in model.leaves.values() {
            let generation = granted.leaf.generation;
            if granted.leaf.leaf != leaf.leaf || generation & 3 != leaf.generation & 3 {
                continue;
            }
            let retired = self.retired.filter(|(of, _)| *of == generation);
            let after_retired = retired.map_or(0, |(_, epoch)| epoch + 1);
            let newest = self.newest.get(&generation).copied().unwrap_or(0);
            let newest = newest.max(after_retired);
            if !(newest.saturating_sub(128)..newest + 128).contains(&epoch) {
                return None;
            }
            let is_over = self
                .retired
                .is_some_and(|retired| retired >= (generation, epoch));
            passes |= epoch >= granted.first_epoch && !is_over;
        }
        Some(passes)
    }
}

proptest! {
    #[test]
    fn a_frame_passes_by_the_rules_for_whole_epochs(
        steps in prop::collection::vec((step(), 0u64..800), 1..60)
    ) {
        let mut play = Play::new();
        for (step, epoch) in steps {
            play.step(step);
            for session in 0..SESSIONS {
                for (generation, leaf) in GENERATIONS.into_iter().flat_map(|of| [(of, 0), (of, 1), (of, 2)]) {
                    let of = GenerationLeaf { generation, leaf };
                    let Some(expected) = play.expected(session, of, epoch) else { continue };
                    let key_id = KeyId::new(leaf, generation as u8, epoch as u8);
                    let checked = play.checks[session].check(play.now, key_id);
                    prop_assert_eq!(checked.is_ok(), expected, "{:?} {:?}", of, epoch);
                }
                let leaves = play.sessions[session].get(play.now);
                let mut model = play.models[session].clone();
                model.expire(play.now);
                let expected: Vec<_> = model.leaves.into_values().rev().collect();
                prop_assert_eq!(leaves.iter().collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn a_leaf_has_one_holder(steps in prop::collection::vec(step(), 1..60)) {
        let mut play = Play::new();
        for step in steps {
            play.step(step);
            let mut held = 0;
            for session in &play.sessions {
                for one in session.0.load().leaves() {
                    held += 1;
                    let holder = play.room.holders.get(&one.granted.leaf);
                    prop_assert!(holder.is_some_and(|holder| Arc::ptr_eq(holder, session)));
                }
            }
            prop_assert_eq!(play.room.holders.len(), held);
        }
    }
}

#[test]
fn a_room_remembers_few_generations_and_those_in_which_its_sessions_have_leaves() {
    let now = Instant::now();
    let mut room = RoomLeaves::default();
    let session = Arc::<SessionLeaves>::default();
    room.grant(now, Some(&session), granted(7, 0, 300));
    for generation in 8..10_000 {
        room.grant(now, None, granted(generation, 1, 0));
        assert!(room.generations.len() <= IDLE_GENERATIONS + 1);
    }
    // Only if the generation's newest epoch is known is this one the next.
    let mut check = LeafCheck::new(session);
    room.grant(now, None, granted(7, 1, 301));
    let next = KeyId::new(0, 7, (301 % 256) as u8);
    assert_eq!(check.check(now, next), Ok(()));
    assert!(room.generations.iter().any(|(of, _)| *of == 7));
}

#[test]
fn no_command_is_too_absurd() {
    let now = Instant::now();
    for extreme in [0, u64::MAX - 1, u64::MAX] {
        let mut room = RoomLeaves::default();
        let session = Arc::<SessionLeaves>::default();
        let mut check = LeafCheck::new(Arc::clone(&session));
        room.grant(now, Some(&session), granted(extreme, u32::MAX, extreme));
        let key_id = KeyId::new(u32::MAX, extreme as u8, extreme as u8);
        assert_eq!(check.check(now, key_id), Ok(()));
        for bits in 0..=u8::MAX {
            let _ = check.check(now, KeyId::new(u32::MAX, extreme as u8, bits));
        }
        room.retire(extreme, u64::MAX);
        assert_eq!(check.check(now, key_id), Err(DropCause::RetiredEpoch));
        room.retire(extreme, 0);
        assert_eq!(check.check(now, key_id), Err(DropCause::RetiredEpoch));
    }
}
