//! Control in tests: says who is there, and has the room's delivery service. Its messages arrive at once.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use confab_e2ee::mls::delivery::{DeliveryConfig, Output};
use confab_e2ee::mls::identity::{DeviceKey, ServerId};
use confab_e2ee::mls::member::MemberConfig;
use confab_e2ee::mls::messages::ToMember;
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{Delivery, Suite};
use confab_protocol::control::{GenerationLeaf, JoinId, Participant, ResumeSecret};

use super::{CONFERENCE, Client};
use crate::engine::room::{Change, Joined, LeaveReason, RoomEvent};

const SERVER: ServerId = ServerId([7; 16]);

/// Step of the delivery service's clock while a world begins.
const STEP: Duration = Duration::from_millis(10);

/// Generation of the first group.
const FIRST_GENERATION: u64 = 5;

/// A participant, as control has it.
struct Person {
    participant: Participant,
    /// The others know of it.
    is_announced: bool,
}

pub(crate) struct Control {
    delivery: Delivery,
    /// How many there have been.
    services: u64,
    /// By client.
    people: BTreeMap<u16, Person>,
    revision: u64,
    /// How far the delivery service's clock is ahead of the world's.
    ahead: Duration,
    next: Option<Instant>,
    /// Clients without a connection to control.
    pub(crate) unlinked: Vec<u16>,
    /// Clients whose messages of the group wait, and these messages.
    pub(crate) delayed: BTreeMap<u16, Vec<ToMember>>,
}

/// A delivery service without participants.
fn delivery_service(first_generation: u64) -> Delivery {
    Delivery::new(DeliveryConfig {
        server: SERVER,
        conference: CONFERENCE,
        era: 1,
        key: delivery_key(),
        first_generation,
        suite: Suite::PostQuantum,
    })
}

pub(crate) fn delivery_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A member on a device of its own.
pub(crate) fn member_config(joined: &Joined) -> MemberConfig {
    let subject = joined.subject(SERVER);
    MemberConfig::new(DeviceKey::generate(), subject, joined.delivery_key)
}

impl Control {
    pub(super) fn new() -> Self {
        Self {
            delivery: delivery_service(FIRST_GENERATION),
            services: 1,
            people: BTreeMap::new(),
            revision: 1,
            ahead: Duration::ZERO,
            next: None,
            unlinked: Vec::new(),
            delayed: BTreeMap::new(),
        }
    }

    /// A participant joins by client `n`.
    pub(super) fn join(
        &mut self,
        now: Instant,
        n: u16,
        participant: Participant,
        is_announced: bool,
    ) {
        let name = participant.username.as_str().parse().unwrap();
        let at = now + self.ahead;
        self.delivery
            .join(at, participant.join_id, participant.account, name);
        let person = Person {
            participant,
            is_announced,
        };
        self.people.insert(n, person);
    }

    /// The participant of client `n` is gone.
    pub(super) fn leave(&mut self, now: Instant, n: u16) -> Participant {
        let person = self.people.remove(&n).unwrap();
        let at = now + self.ahead;
        self.delivery.leave(at, person.participant.join_id);
        person.participant
    }

    /// The answer to a join of client `n`, as the room is now.
    pub(super) fn joined(&self, n: u16) -> Joined {
        let own = &self.people[&n].participant;
        let is_seen = |(other, person): &(&u16, &Person)| **other == n || person.is_announced;
        let everyone = self.people.iter().filter(is_seen);
        Joined::new(
            CONFERENCE,
            self.revision,
            everyone
                .map(|(_, person)| person.participant.clone())
                .collect(),
            own.sender,
            None,
            *delivery_key().public(),
            Some(ResumeSecret::new([own.sender as u8; 16])),
        )
        .unwrap()
    }

    /// A join was taken up again on a new connection.
    pub(super) fn resume(&mut self, now: Instant, n: u16, client: &mut Client) {
        let join = self.people[&n].participant.join_id;
        self.unlinked.retain(|other| *other != n);
        let (at, standing) = (now + self.ahead, client.engine.group_standing());
        self.delivery.resume(at, join, standing);
    }

    pub(super) fn unlink(&mut self, now: Instant, n: u16) {
        self.unlinked.push(n);
        let join = self.people[&n].participant.join_id;
        self.delivery.disconnect(now + self.ahead, join);
    }

    /// The room's group is begun anew, by a node that knows its participants: with the next generation.
    pub(super) fn begin_generation(&mut self, now: Instant, clients: &mut HashMap<u16, Client>) {
        self.delivery = delivery_service(FIRST_GENERATION + self.services);
        self.services += 1;
        let at = now + self.ahead;
        for (n, person) in &self.people {
            let (participant, client) = (&person.participant, clients.get_mut(n).unwrap());
            let name = participant.username.as_str().parse().unwrap();
            self.delivery
                .join(at, participant.join_id, participant.account, name);
            self.delivery
                .resume(at, participant.join_id, client.engine.group_standing());
            // As after a lost connection, whose resumed join brings key packages.
            client.engine.rejoined(&self.joined(*n), now);
        }
    }

    /// Changes a participant, and tells everybody who is to know of it.
    pub(super) fn change(
        &mut self,
        now: Instant,
        n: u16,
        clients: &mut HashMap<u16, Client>,
        change: impl FnOnce(&mut Participant),
    ) {
        let person = self.people.get_mut(&n).unwrap();
        change(&mut person.participant);
        let (participant, is_announced) = (person.participant.clone(), person.is_announced);
        let to = |other: u16| is_announced || other == n;
        self.tell(now, clients, &Change::Changed(participant), to);
    }

    /// Tells the others of a participant of whom they did not know.
    pub(super) fn announce(&mut self, now: Instant, n: u16, clients: &mut HashMap<u16, Client>) {
        let person = self.people.get_mut(&n).unwrap();
        person.is_announced = true;
        let change = Change::Joined(person.participant.clone());
        self.tell(now, clients, &change, |other| other != n);
    }

    /// Tells everybody but `n` that the participant `sender` is gone.
    pub(super) fn announce_left(
        &mut self,
        now: Instant,
        (n, sender): (u16, u16),
        clients: &mut HashMap<u16, Client>,
    ) {
        let reason = LeaveReason::Left;
        let change = Change::Left { sender, reason };
        self.tell(now, clients, &change, |other| other != n);
    }

    /// A participant stays in the group, and the others are told that it is gone.
    pub(super) fn hide(&mut self, now: Instant, n: u16, clients: &mut HashMap<u16, Client>) {
        let person = self.people.get_mut(&n).unwrap();
        person.is_announced = false;
        let sender = person.participant.sender;
        self.announce_left(now, (n, sender), clients);
    }

    fn tell(
        &mut self,
        now: Instant,
        clients: &mut HashMap<u16, Client>,
        change: &Change,
        to: impl Fn(u16) -> bool,
    ) {
        self.revision += 1;
        let unlinked = &self.unlinked;
        for (_, client) in clients
            .iter_mut()
            .filter(|(n, _)| to(**n) && !unlinked.contains(n))
        {
            let event = RoomEvent {
                revision: self.revision,
                change: change.clone(),
            };
            client.engine.handle_room_event(CONFERENCE, event, now);
        }
    }

    /// Passes messages on until all are in one group.
    pub(super) fn settle(&mut self, now: Instant, clients: &mut HashMap<u16, Client>) {
        self.pass_on(now, clients);
        while !self.agrees(clients) {
            self.ahead += STEP;
            self.pass_on(now, clients);
        }
    }

    fn agrees(&self, clients: &HashMap<u16, Client>) -> bool {
        let mut standings = clients.values().map(|client| {
            let member = client.engine.member();
            let is_whole = member.leaves().count() == clients.len();
            client.engine.group_standing().filter(|_| is_whole)
        });
        let Some(first) = standings.next() else {
            return true;
        };
        first.is_some() && standings.all(|one| one == first)
    }

    /// When [`pass_on`](Self::pass_on) is to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Passes messages on until there are none.
    pub(super) fn pass_on(&mut self, now: Instant, clients: &mut HashMap<u16, Client>) {
        let at = now + self.ahead;
        loop {
            let mut is_quiet = true;
            for (n, person) in &self.people {
                let client = clients.get_mut(n).filter(|_| !self.unlinked.contains(n));
                let Some(client) = client else { continue };
                while let Some(message) = client.engine.poll_group() {
                    is_quiet = false;
                    self.delivery
                        .handle(at, person.participant.join_id, message);
                }
            }
            let next = self.delivery.update(at);
            self.next = next
                .map(|next| next - self.ahead)
                .filter(|next| *next > now);
            while let Some(output) = self.delivery.poll() {
                is_quiet = false;
                self.take_output(now, output, clients);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn take_output(&mut self, now: Instant, output: Output, clients: &mut HashMap<u16, Client>) {
        match output {
            Output::Send(join, message) => {
                let Some(n) = self.client_of(join) else {
                    return;
                };
                if let Some(delayed) = self.delayed.get_mut(&n) {
                    delayed.push(message);
                } else if !self.unlinked.contains(&n) {
                    clients
                        .get_mut(&n)
                        .unwrap()
                        .engine
                        .handle_group(now, message);
                }
            }
            Output::OpenGate {
                generation,
                epoch,
                leaves,
            } => {
                for (join, leaf) in leaves {
                    let leaf = Some(GenerationLeaf { generation, leaf });
                    if let Some(n) = self.client_of(join) {
                        self.change(now, n, clients, |participant| participant.leaf = leaf);
                    }
                }
                self.delivery
                    .gate_opened(now + self.ahead, generation, epoch);
            }
            Output::Retired { .. } | Output::NewGroup { .. } => {}
            Output::Refused(join, why) => panic!("{join} was refused: {why}"),
        }
    }

    fn client_of(&self, join: JoinId) -> Option<u16> {
        let mut people = self.people.iter();
        let person = people.find(|(_, person)| person.participant.join_id == join);
        person.map(|(n, _)| *n)
    }
}
