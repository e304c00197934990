//! The MLS group of a call: its delivery service, and members beside the client. Messages arrive at once.

use std::time::{Duration, Instant};

use confab::engine::Engine;
use confab_e2ee::BaseKeys;
use confab_e2ee::mls::delivery::{DeliveryConfig, Output};
use confab_e2ee::mls::identity::{DeviceKey, ServerId, Subject};
use confab_e2ee::mls::member::MemberConfig;
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{Delivery, Member, Suite};
use confab_e2ee::sframe::SframeKey;
use confab_protocol::control::{ConferenceId, GenerationLeaf, JoinId, Participant, Username};

pub(crate) const SERVER: ServerId = ServerId([7; 16]);

/// Generation of the group.
pub(crate) const GENERATION: u64 = 1;

/// Time between two members that come: each is added by a commit of its own.
const BETWEEN: Duration = Duration::from_secs(1);

/// Brings the client into a group as its leaf 0, and the others as the leaves 1, 2 and so on. Gives the keys of the others.
pub(crate) fn form(
    engine: &mut Engine,
    others: &[Participant],
    conference: ConferenceId,
    now: Instant,
) -> Vec<SframeKey> {
    let mut forming = Forming {
        delivery: Delivery::new(DeliveryConfig {
            server: SERVER,
            conference,
            era: 1,
            key: delivery_key(),
            first_generation: GENERATION,
            suite: Suite::PostQuantum,
        }),
        engine,
        members: Vec::new(),
        now,
        at: now,
    };
    let own = forming.engine.me().clone();
    forming.join(&own);
    for other in others {
        let member = Member::new(member_config(other, conference));
        forming.members.push((other.join_id, member));
        forming.join(other);
    }
    let leaves = (0..).map(|leaf| GenerationLeaf {
        generation: GENERATION,
        leaf,
    });
    let joins = [own.join_id]
        .into_iter()
        .chain(others.iter().map(|one| one.join_id));
    assert_eq!(
        forming.delivery.leaves(),
        joins.zip(leaves).collect::<Vec<_>>()
    );
    let keys = forming.members.iter().map(|(_, member)| {
        let key_id = member.sealing().expect("the epoch is active");
        let base_key = member.base_key(key_id).expect("one has one's own key");
        SframeKey::derive(&base_key, key_id)
    });
    keys.collect()
}

pub(crate) fn delivery_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

/// A member on a device of its own.
pub(crate) fn member_config(of: &Participant, conference: ConferenceId) -> MemberConfig {
    let seed = of.join_id.as_bytes().repeat(2);
    let device = DeviceKey::from_seed(seed[..].try_into().expect("32 bytes"));
    let subject = Subject {
        server: SERVER,
        account: of.account,
        username: username(of),
        conference,
    };
    MemberConfig::new(device, subject, *delivery_key().public())
}

struct Forming<'a> {
    delivery: Delivery,
    engine: &'a mut Engine,
    members: Vec<(JoinId, Member)>,
    /// The members' clock, which stands, and the delivery service's.
    now: Instant,
    at: Instant,
}

impl Forming<'_> {
    fn join(&mut self, participant: &Participant) {
        self.at += BETWEEN;
        self.delivery.join(
            self.at,
            participant.join_id,
            participant.account,
            username(participant),
        );
        while self.pass_on() {}
    }

    /// Passes messages on; false if there were none.
    fn pass_on(&mut self) -> bool {
        let mut is_busy = false;
        let own = self.engine.join_id();
        while let Some(message) = self.engine.poll_group() {
            is_busy = true;
            self.delivery.handle(self.at, own, message);
        }
        for (join, member) in &mut self.members {
            while let Some(message) = member.poll_message() {
                is_busy = true;
                self.delivery.handle(self.at, *join, message);
            }
        }
        self.delivery.update(self.at);
        while let Some(output) = self.delivery.poll() {
            is_busy = true;
            match output {
                Output::Send(to, message) if to == own => {
                    self.engine.handle_group(self.now, message);
                }
                Output::Send(to, message) => {
                    let mut members = self.members.iter_mut();
                    if let Some((_, member)) = members.find(|(join, _)| *join == to) {
                        member.handle(self.now, message);
                    }
                }
                Output::OpenGate {
                    generation, epoch, ..
                } => self.delivery.gate_opened(self.at, generation, epoch),
                _ => {}
            }
        }
        is_busy
    }
}

fn username(of: &Participant) -> Username {
    let name = of.username.as_str().parse();
    name.expect("the participants of the group have usernames")
}
