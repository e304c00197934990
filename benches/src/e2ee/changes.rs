//! One member more, one less: processor time of all who take part, and bytes, in groups of three sizes.
//!
//! In groups of 10 and 100 every member has committed once, so that the tree is filled. The group of 1000 is as after a burst: two
//! members commit for all, and the others are leaves without a path of their own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use confab_e2ee::mls::delivery::{BATCH_INTERVAL, DeliveryConfig, Output};
use confab_e2ee::mls::identity::{DeviceKey, ServerId, Subject};
use confab_e2ee::mls::member::MemberConfig;
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{Delivery, FromMember, Member, Suite, ToMember};
use confab_protocol::control::{AccountId, ConferenceId, JoinId, Username};

use crate::figures::{Figure, Goal, median};
use crate::load::group::announce_all;

/// Sizes of groups, and how many of their members are real.
const SIZES: [(usize, usize); 3] = [(10, 10), (100, 100), (1000, 2)];
/// Changes of each kind that are measured.
const TIMES: usize = 5;

/// Batch intervals after a change in which everything is acknowledged, and most of them until a change is made.
const AFTER_A_CHANGE: u32 = 8;
const MOST_STEPS: u32 = 10_000;

const SERVER: ServerId = ServerId([1; 16]);
const CONFERENCE: ConferenceId = ConferenceId::new([2; 16]);

/// All figures.
pub fn figures() -> Vec<Figure> {
    SIZES.into_iter().flat_map(figures_of).collect()
}

fn figures_of((size, real): (usize, usize)) -> Vec<Figure> {
    let mut hall = Hall::new();
    for number in 0..size {
        hall.join(number < real);
        if number % 50 == 0 {
            hall.settle();
        }
    }
    hall.settle();
    let fill = if real == size { size } else { 0 };
    for _ in 0..fill {
        let guest = hall.join(true);
        hall.settle();
        hall.leave(guest);
        hall.settle();
    }
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        hall.costs = Costs::default();
        let guest = hall.join(true);
        hall.settle();
        added.push(std::mem::take(&mut hall.costs));
        hall.leave(guest);
        hall.settle();
        removed.push(std::mem::take(&mut hall.costs));
    }
    let figure = |name: String, of: &[Costs], value: fn(&Costs) -> f64, unit| {
        let name = format!("e2ee.{name}.{size}");
        Figure::new(
            &name,
            median(of.iter().map(value).collect()),
            unit,
            Goal::None,
        )
    };
    vec![
        figure("add_ms".into(), &added, Costs::on_the_way, "ms"),
        figure(
            "add_ms.committer".into(),
            &added,
            |of| ms(of.committer),
            "ms",
        ),
        figure("add_ms.control".into(), &added, |of| ms(of.control), "ms"),
        figure("add_ms.member".into(), &added, |of| ms(of.member), "ms"),
        figure("add_ms.joiner".into(), &added, |of| ms(of.joiner), "ms"),
        figure("add_bytes".into(), &added, |of| of.commit as f64, "bytes"),
        figure(
            "welcome_bytes".into(),
            &added,
            |of| of.welcome as f64,
            "bytes",
        ),
        figure("remove_ms".into(), &removed, Costs::on_the_way, "ms"),
        figure(
            "remove_bytes".into(),
            &removed,
            |of| of.commit as f64,
            "bytes",
        ),
    ]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The costs of one change.
#[derive(Default)]
struct Costs {
    committer: Duration,
    control: Duration,
    /// The slowest member's.
    member: Duration,
    joiner: Duration,
    /// Bytes of what each member gets, and of what the joiner gets.
    commit: usize,
    welcome: usize,
}

impl Costs {
    /// Processor time that passes before the slowest has the next epoch, in milliseconds.
    fn on_the_way(&self) -> f64 {
        ms(self.committer + self.control + self.member.max(self.joiner))
    }
}

/// A delivery service, and members whose messages arrive at once.
struct Hall {
    now: Instant,
    delivery: Delivery,
    delivery_key: [u8; 32],
    members: BTreeMap<JoinId, Member>,
    accounts: BTreeMap<JoinId, AccountId>,
    next: u32,
    costs: Costs,
}

impl Hall {
    fn new() -> Self {
        let key = SigningKey::from_seed(&[3; 32]);
        let delivery_key = *key.public();
        let config = DeliveryConfig {
            server: SERVER,
            conference: CONFERENCE,
            era: 1,
            key,
            first_generation: 1,
            suite: Suite::PostQuantum,
        };
        Self {
            now: Instant::now(),
            delivery: Delivery::new(config),
            delivery_key,
            members: BTreeMap::new(),
            accounts: BTreeMap::new(),
            next: 0,
            costs: Costs::default(),
        }
    }

    /// Somebody joins. Who is not real has given its key packages, and answers nothing.
    fn join(&mut self, is_real: bool) -> JoinId {
        self.next += 1;
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.next.to_be_bytes());
        let (join, account) = (JoinId::new(id), AccountId::new(id));
        let username: Username = format!("member-{}", self.next)
            .parse()
            .expect("it is a username");
        let subject = Subject {
            server: SERVER,
            account,
            username: username.clone(),
            conference: CONFERENCE,
        };
        let mut member = Member::new(MemberConfig {
            allows_classical: true,
            ..MemberConfig::new(DeviceKey::generate(), subject, self.delivery_key)
        });
        self.delivery.join(self.now, join, account, username);
        self.accounts.insert(join, account);
        while let Some(message) = member.poll_message() {
            self.delivery.handle(self.now, join, message);
        }
        if is_real {
            self.members.insert(join, member);
        }
        join
    }

    fn leave(&mut self, join: JoinId) {
        self.members.remove(&join);
        self.accounts.remove(&join);
        self.delivery.leave(self.now, join);
    }

    /// Lets everything that is under way come to its end: all are in the group, which may wait for its budget, and nothing follows.
    fn settle(&mut self) {
        let mut steps = 0;
        while steps < AFTER_A_CHANGE || !self.is_complete() {
            steps += 1;
            assert!(steps < MOST_STEPS, "the group does not take all in");
            self.now += BATCH_INTERVAL;
            self.delivery.update(self.now);
            self.pump();
        }
    }

    fn is_complete(&self) -> bool {
        let leaves = self.accounts.len();
        let mut members = self.members.values();
        members.all(|member| member.leaves().count() == leaves)
    }

    fn pump(&mut self) {
        while let Some(output) = self.delivery.poll() {
            match output {
                Output::Send(to, message) => self.deliver(to, message),
                Output::OpenGate {
                    generation, epoch, ..
                } => self.delivery.gate_opened(self.now, generation, epoch),
                _ => {}
            }
        }
    }

    fn deliver(&mut self, to: JoinId, message: ToMember) {
        let Some(member) = self.members.get_mut(&to) else {
            return;
        };
        let began = Instant::now();
        let costs = &mut self.costs;
        let mut uncounted = Duration::ZERO;
        let cost = match &message {
            ToMember::CommitWanted { .. } => &mut costs.committer,
            ToMember::Welcome { welcome, tree, .. } => {
                costs.welcome = welcome.len() + tree.len();
                &mut costs.joiner
            }
            ToMember::Commit(accepted) => {
                let proposals = accepted.proposals.iter().map(|proposal| proposal.len());
                costs.commit = accepted.commit.len() + proposals.sum::<usize>();
                &mut costs.member
            }
            _ => &mut uncounted,
        };
        member.handle(self.now, message);
        *cost = (*cost).max(began.elapsed());
        // Who is where is not what is measured.
        announce_all(member, self.now);
        let said: Vec<FromMember> = std::iter::from_fn(|| member.poll_message()).collect();
        for message in said {
            let is_commit = matches!(message, FromMember::Committed { .. });
            let began = Instant::now();
            self.delivery.handle(self.now, to, message);
            if is_commit {
                self.costs.control = self.costs.control.max(began.elapsed());
            }
        }
    }
}
