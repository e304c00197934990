//! A room on virtual time: a delivery service, members, and a relay between them, with seeded delays.
//!
//! Messages of one direction of a link to control arrive in order, as on a QUIC stream. Frames take ways of their own.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use confab_e2ee::mls::delivery::{DeliveryConfig, Output};
use confab_e2ee::mls::identity::{DeviceKey, ServerId, Subject};
use confab_e2ee::mls::member::{Announced, MemberConfig, MemberEvent};
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{Delivery, FromMember, GroupName, Member, Suite, ToMember};
use confab_e2ee::{FrameCipher, OpenError};
use confab_protocol::control::{AccountId, ConferenceId, GenerationLeaf, JoinId, Username};

pub(crate) const SERVER: ServerId = ServerId([7; 16]);
pub(crate) const CONFERENCE: ConferenceId = ConferenceId::new([8; 16]);
const DELIVERY_SEED: [u8; 32] = [9; 32];

/// Time between two frames of a talker.
const FRAME: Duration = Duration::from_millis(20);
/// A receiver holds a frame whose epoch it does not know for this long.
const HOLD: Duration = Duration::from_millis(300);

/// Participants that come when so many are there only listen.
const MAX_TALKERS: usize = 16;

/// SplitMix64: the same delays for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// How long messages and frames take.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    pub(crate) shortest: Duration,
    pub(crate) longest: Duration,
}

impl Network {
    /// 50 ± 30 ms one way.
    pub(crate) const WIDE: Self = Self {
        shortest: Duration::from_millis(20),
        longest: Duration::from_millis(80),
    };

    fn delay(self, random: &mut Random) -> Duration {
        let range = (self.longest - self.shortest).as_micros() as u64;
        self.shortest + Duration::from_micros(random.below(range + 1))
    }
}

enum Arrival {
    AtControl(JoinId, FromMember),
    AtMember(JoinId, ToMember),
    Announcement(JoinId, JoinId, Option<Announced>),
    GateOpened(u64, u64),
    Frame {
        from: JoinId,
        to: JoinId,
        number: u64,
        sframe: Vec<u8>,
    },
    Talk(JoinId),
}

/// A member, and what it has heard.
pub(crate) struct Person {
    pub(crate) account: AccountId,
    pub(crate) cipher: FrameCipher<Member>,
    /// Its link to control carries messages.
    pub(crate) is_linked: bool,
    pub(crate) events: Vec<MemberEvent>,
    held: VecDeque<(Instant, JoinId, u64, Vec<u8>)>,
    /// Numbers of the frames that were opened, by speaker.
    pub(crate) heard: BTreeMap<JoinId, Vec<u64>>,
    /// When each frame was spoken, sealed or not.
    spoken: Vec<Instant>,
}

impl Person {
    pub(crate) fn member(&self) -> &Member {
        self.cipher.keys()
    }
}

/// A room.
pub(crate) struct Room {
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) network: Network,
    pub(crate) delivery: Delivery,
    pub(crate) people: BTreeMap<JoinId, Person>,
    pub(crate) outputs: Vec<Output>,
    /// Messages that a test wants to change or drop before they arrive.
    pub(crate) intercept: Option<fn(&mut Random, JoinId, &mut FromMember)>,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    sequence: u64,
    last_to_control: BTreeMap<JoinId, Instant>,
    last_to_member: BTreeMap<JoinId, Instant>,
    next_id: u8,
    next_account: u8,
    timer: Option<Instant>,
    hidden: Option<JoinId>,
}

pub(crate) fn delivery_key() -> SigningKey {
    SigningKey::from_seed(&DELIVERY_SEED)
}

/// A delivery service without participants.
pub(crate) fn delivery_service() -> Delivery {
    delivery_service_in(1, 5)
}

/// The same of an owner in this era.
fn delivery_service_in(era: u64, first_generation: u64) -> Delivery {
    Delivery::new(DeliveryConfig {
        server: SERVER,
        conference: CONFERENCE,
        era,
        key: delivery_key(),
        first_generation,
        suite: Suite::PostQuantum,
    })
}

pub(crate) fn username(account: AccountId) -> Username {
    let name = format!("user{}", account.as_bytes()[0]);
    name.parse().expect("a username")
}

pub(crate) fn subject(account: AccountId) -> Subject {
    Subject {
        server: SERVER,
        account,
        username: username(account),
        conference: CONFERENCE,
    }
}

/// A member on a device of its own.
pub(crate) fn member_config(account: AccountId) -> MemberConfig {
    let delivery_key = *delivery_key().public();
    MemberConfig::new(DeviceKey::generate(), subject(account), delivery_key)
}

impl Room {
    /// A room in which `count` members have joined one after the other, and agree.
    pub(crate) fn of(seed: u64, count: usize) -> (Self, Vec<JoinId>) {
        let mut room = Self::new(seed, Network::WIDE);
        let joins = (0..count)
            .map(|_| {
                let join = room.join();
                room.run(Duration::from_millis(400));
                join
            })
            .collect();
        room.run(Duration::from_secs(2));
        assert!(room.agrees());
        (room, joins)
    }

    pub(crate) fn new(seed: u64, network: Network) -> Self {
        let now = Instant::now();
        Self {
            now,
            random: Random(seed),
            network,
            delivery: delivery_service(),
            people: BTreeMap::new(),
            outputs: Vec::new(),
            intercept: None,
            arrivals: BTreeMap::new(),
            sequence: 0,
            last_to_control: BTreeMap::new(),
            last_to_member: BTreeMap::new(),
            next_id: 0,
            next_account: 0,
            timer: None,
            hidden: None,
        }
    }

    /// Somebody joins, and talks from then on.
    pub(crate) fn join(&mut self) -> JoinId {
        self.next_account = self.next_account.wrapping_add(1);
        let account = AccountId::new([self.next_account; 16]);
        self.join_as(account)
    }

    pub(crate) fn join_as(&mut self, account: AccountId) -> JoinId {
        self.next_id = self.next_id.wrapping_add(1);
        let mut bytes = [self.next_id; 16];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        let join = JoinId::new(bytes);
        let member = Member::new(member_config(account));
        self.people.insert(
            join,
            Person {
                account,
                cipher: FrameCipher::new(member),
                is_linked: true,
                events: Vec::new(),
                held: VecDeque::new(),
                heard: BTreeMap::new(),
                spoken: Vec::new(),
            },
        );
        self.delivery
            .join(self.now, join, account, username(account));
        let others = self.accounts();
        for (other, other_account) in others {
            let leaf = self.leaf_of(other);
            self.announce(
                join,
                other,
                Some(Announced {
                    account: other_account,
                    leaf,
                }),
            );
            self.announce(
                other,
                join,
                Some(Announced {
                    account,
                    leaf: None,
                }),
            );
        }
        self.drain_member(join);
        if self.people.len() <= MAX_TALKERS {
            let phase = Duration::from_micros(self.random.below(20_000));
            self.schedule(self.now + phase, Arrival::Talk(join));
        }
        join
    }

    /// Somebody leaves, in order.
    pub(crate) fn leave(&mut self, join: JoinId) {
        self.people.remove(&join);
        self.delivery.leave(self.now, join);
        let others: Vec<_> = self.people.keys().copied().collect();
        for other in others {
            self.announce(other, join, None);
        }
    }

    /// A link to control breaks, and control notices: nothing that is under way arrives.
    pub(crate) fn unlink(&mut self, join: JoinId) {
        self.unlink_unnoticed(join);
        self.delivery.disconnect(self.now, join);
    }

    /// A link to control breaks, and control does not notice.
    pub(crate) fn unlink_unnoticed(&mut self, join: JoinId) {
        if let Some(person) = self.people.get_mut(&join) {
            person.is_linked = false;
        }
        self.arrivals.retain(|_, arrival| match arrival {
            Arrival::AtControl(from, _) => *from != join,
            Arrival::AtMember(to, _) | Arrival::Announcement(to, ..) => *to != join,
            _ => true,
        });
    }

    /// The node that owns the room dies, and another one takes it over: all links are broken.
    pub(crate) fn take_over(&mut self) {
        self.delivery = delivery_service_in(2, 1 << 32);
        let all = self.accounts();
        for (join, account) in all {
            self.unlink_unnoticed(join);
            self.delivery.adopt(join, account, username(account));
        }
    }

    /// Control does not announce a participant any more.
    pub(crate) fn hide(&mut self, join: JoinId) {
        self.hidden = Some(join);
        let others: Vec<_> = self
            .people
            .keys()
            .copied()
            .filter(|other| *other != join)
            .collect();
        for other in others {
            self.announce(other, join, None);
        }
    }

    /// Everybody's account.
    fn accounts(&self) -> Vec<(JoinId, AccountId)> {
        let people = self.people.iter();
        people.map(|(join, one)| (*join, one.account)).collect()
    }

    /// A link to control stands again: the member says where it is, and control tells it who is there.
    pub(crate) fn relink(&mut self, join: JoinId) {
        let Some(person) = self.people.get_mut(&join) else {
            return;
        };
        person.is_linked = true;
        let state = person.member().group().zip(person.member().epoch());
        let all = self.accounts();
        for (other, account) in all {
            let leaf = self.leaf_of(other);
            self.announce(join, other, Some(Announced { account, leaf }));
        }
        self.delivery.resume(self.now, join, state);
        if let Some(person) = self.people.get_mut(&join) {
            person.cipher.keys_mut().resume();
        }
        self.drain_member(join);
    }

    /// Runs for a time.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.drain();
            let next = self.arrivals.keys().next().map(|(at, _)| *at);
            let timers = self.people.values_mut().filter_map(|one| {
                let held = one.held.front().map(|(at, ..)| *at + HOLD);
                [one.cipher.keys_mut().update(self.now), held]
                    .into_iter()
                    .flatten()
                    .min()
            });
            let next = timers
                .chain(next)
                .chain(self.timer)
                .min()
                .unwrap_or(end)
                .max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        while let Some(((at, sequence), _)) = self
            .arrivals
            .first_key_value()
            .map(|(key, value)| (*key, value))
        {
            if at > self.now {
                break;
            }
            if let Some(arrival) = self.arrivals.remove(&(at, sequence)) {
                self.arrive(arrival);
                self.drain();
            }
        }
        self.timer = self.delivery.update(self.now).filter(|at| *at > self.now);
        let joins: Vec<_> = self.people.keys().copied().collect();
        for join in joins {
            self.expire_held(join);
            self.drain_member(join);
        }
        self.drain();
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::AtControl(from, message) => self.delivery.handle(self.now, from, message),
            Arrival::AtMember(to, message) => {
                let now = self.now;
                if let Some(person) = self.people.get_mut(&to) {
                    person.cipher.keys_mut().handle(now, message);
                }
                self.open_held(to);
                self.drain_member(to);
            }
            Arrival::Announcement(to, about, announced) => {
                let now = self.now;
                if let Some(person) = self.people.get_mut(&to) {
                    match announced {
                        Some(announced) => person.cipher.keys_mut().announce(now, about, announced),
                        None => person.cipher.keys_mut().depart(now, about),
                    }
                }
            }
            Arrival::GateOpened(generation, epoch) => {
                self.delivery.gate_opened(self.now, generation, epoch)
            }
            Arrival::Talk(join) => self.talk(join),
            Arrival::Frame {
                from,
                to,
                number,
                sframe,
            } => self.hear(to, from, number, sframe),
        }
    }

    /// Takes what the delivery service wants done.
    fn drain(&mut self) {
        self.timer = self.delivery.update(self.now).filter(|at| *at > self.now);
        while let Some(output) = self.delivery.poll() {
            match &output {
                Output::Send(to, message) => self.send_to_member(*to, message.clone()),
                Output::OpenGate {
                    generation,
                    epoch,
                    leaves,
                } => {
                    let at = self.now + self.network.delay(&mut self.random) / 2;
                    self.schedule(at, Arrival::GateOpened(*generation, *epoch));
                    for (join, leaf) in leaves {
                        let (generation, leaf) = (*generation, *leaf);
                        self.announce_leaf(*join, GenerationLeaf { generation, leaf });
                    }
                }
                _ => {}
            }
            self.outputs.push(output);
        }
    }

    fn announce_leaf(&mut self, join: JoinId, leaf: GenerationLeaf) {
        let Some(account) = self.people.get(&join).map(|one| one.account) else {
            return;
        };
        let others: Vec<_> = self.people.keys().copied().collect();
        for other in others {
            let leaf = Some(leaf);
            self.announce(other, join, Some(Announced { account, leaf }));
        }
    }

    fn leaf_of(&self, join: JoinId) -> Option<GenerationLeaf> {
        let leaves = self.delivery.leaves();
        leaves
            .into_iter()
            .find(|(one, _)| *one == join)
            .map(|(_, leaf)| leaf)
    }

    fn drain_member(&mut self, join: JoinId) {
        let Some(person) = self.people.get_mut(&join) else {
            return;
        };
        let keys = person.cipher.keys_mut();
        while let Some(event) = keys.poll_event() {
            person.events.push(event);
        }
        let messages: Vec<_> = std::iter::from_fn(|| keys.poll_message()).collect();
        for message in messages {
            self.send_to_control(join, message);
        }
    }

    fn send_to_control(&mut self, from: JoinId, mut message: FromMember) {
        if !self.people.get(&from).is_some_and(|one| one.is_linked) {
            return;
        }
        if let Some(intercept) = self.intercept {
            intercept(&mut self.random, from, &mut message);
        }
        let at = self.in_order(from, true);
        self.schedule(at, Arrival::AtControl(from, message));
    }

    fn send_to_member(&mut self, to: JoinId, message: ToMember) {
        if self.people.get(&to).is_some_and(|one| one.is_linked) {
            let at = self.in_order(to, false);
            self.schedule(at, Arrival::AtMember(to, message));
        }
    }

    fn announce(&mut self, to: JoinId, about: JoinId, announced: Option<Announced>) {
        let is_hidden = announced.is_some() && self.hidden == Some(about) && to != about;
        if self.people.get(&to).is_some_and(|one| one.is_linked) && !is_hidden {
            let at = self.in_order(to, false);
            self.schedule(at, Arrival::Announcement(to, about, announced));
        }
    }

    fn in_order(&mut self, join: JoinId, is_to_control: bool) -> Instant {
        let at = self.now + self.network.delay(&mut self.random);
        let last = match is_to_control {
            true => self.last_to_control.entry(join),
            false => self.last_to_member.entry(join),
        };
        let last = last.or_insert(at);
        *last = at.max(*last);
        *last
    }

    fn schedule(&mut self, at: Instant, arrival: Arrival) {
        self.sequence += 1;
        self.arrivals.insert((at, self.sequence), arrival);
    }

    fn talk(&mut self, join: JoinId) {
        let now = self.now;
        let others: Vec<_> = self
            .people
            .keys()
            .copied()
            .filter(|other| *other != join)
            .collect();
        let Some(person) = self.people.get_mut(&join) else {
            return;
        };
        person.cipher.keys_mut().update(now);
        let number = person.spoken.len() as u64;
        person.spoken.push(now);
        let mut sframe = Vec::new();
        if person
            .cipher
            .seal(&number.to_be_bytes(), &mut sframe)
            .is_ok()
        {
            for to in others {
                let at = now + self.network.delay(&mut self.random);
                self.schedule(
                    at,
                    Arrival::Frame {
                        from: join,
                        to,
                        number,
                        sframe: sframe.clone(),
                    },
                );
            }
        }
        self.schedule(now + FRAME, Arrival::Talk(join));
    }

    fn hear(&mut self, to: JoinId, from: JoinId, number: u64, sframe: Vec<u8>) {
        let now = self.now;
        let Some(person) = self.people.get_mut(&to) else {
            return;
        };
        person.cipher.keys_mut().update(now);
        let mut plaintext = Vec::new();
        match person.cipher.open(&sframe, &mut plaintext) {
            Ok(_) => {
                assert_eq!(plaintext, number.to_be_bytes());
                person.heard.entry(from).or_default().push(number);
            }
            Err(OpenError::UnknownKey(_)) => person.held.push_back((now, from, number, sframe)),
            Err(error) => panic!("a frame of a member was refused: {error}"),
        }
    }

    /// Tries again to open what was held.
    fn open_held(&mut self, to: JoinId) {
        let Some(person) = self.people.get_mut(&to) else {
            return;
        };
        for (since, from, number, sframe) in std::mem::take(&mut person.held) {
            match person.cipher.open(&sframe, &mut Vec::new()) {
                Ok(_) => person.heard.entry(from).or_default().push(number),
                Err(_) => person.held.push_back((since, from, number, sframe)),
            }
        }
    }

    fn expire_held(&mut self, join: JoinId) {
        let now = self.now;
        if let Some(person) = self.people.get_mut(&join) {
            person.held.retain(|(since, ..)| *since + HOLD > now);
        }
    }

    /// True if all have the same group, epoch and code, and each has a leaf for all.
    pub(crate) fn agrees(&self) -> bool {
        let state = |one: &Person| {
            let member = one.member();
            (
                member.group(),
                member.epoch(),
                member.code().map(|code| code.to_string()),
                member.leaves().count(),
            )
        };
        let Some(first) = self.people.values().next().map(state) else {
            return true;
        };
        first.0.is_some()
            && first.3 == self.people.len()
            && self.people.values().all(|one| state(one) == first)
    }

    pub(crate) fn group(&self, join: JoinId) -> Option<GroupName> {
        self.people.get(&join).and_then(|one| one.member().group())
    }

    /// All have heard all that the others have spoken between two moments.
    pub(crate) fn assert_no_gap(&self, joins: &[JoinId], from: Instant, to: Instant) {
        for listener in joins {
            for speaker in joins.iter().filter(|speaker| *speaker != listener) {
                let gap = self.longest_gap(*listener, *speaker, from, to);
                assert_eq!(gap, Duration::ZERO);
            }
        }
    }

    /// The longest time in which `listener` opened no frame of `speaker`, of what was spoken between two moments.
    pub(crate) fn longest_gap(
        &self,
        listener: JoinId,
        speaker: JoinId,
        from: Instant,
        to: Instant,
    ) -> Duration {
        let none = Vec::new();
        let heard = self.people[&listener].heard.get(&speaker).unwrap_or(&none);
        let heard: std::collections::BTreeSet<_> = heard.iter().collect();
        let spoken = self.people[&speaker].spoken.iter().enumerate();
        let numbers = spoken
            .filter(|(_, at)| (from..to).contains(*at))
            .map(|(number, _)| number as u64);
        let (mut longest, mut gap) = (0, 0);
        for number in numbers {
            gap = if heard.contains(&number) { 0 } else { gap + 1 };
            longest = longest.max(gap);
        }
        FRAME * longest
    }
}
