//! Records a member's view of a room, with a delivery service and other members as they are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use confab_protocol::control::{AccountId, ConferenceId, JoinId};
use confab_protocol::media::SframeHeader;
use data_encoding::HEXLOWER as HEX;
use openmls::prelude::KeyPackageBundle;
use serde_json::{Value, json};

use super::{SUITE, member_with, open_text, state};
use crate::FrameCipher;
use crate::mls::delivery::{Delivery, DeliveryConfig, Output};
use crate::mls::identity::{Credential, DeviceKey, ServerId, Subject};
use crate::mls::member::{Announced, Member, MemberConfig, MemberEvent};
use crate::mls::messages::{AcceptedCommit, ToMember};
use crate::mls::profile;
use crate::mls::provider::Provider;
use crate::mls::signing::SigningKey;
use crate::mls::suite::Suite;

const SERVER: ServerId = ServerId([1; 16]);
const CONFERENCE: ConferenceId = ConferenceId::new([2; 16]);
const DELIVERY_SEED: [u8; 32] = [3; 32];
const ERA: u64 = 3;
/// Above era · 2^32, with another last byte than the epochs have.
const FIRST_GENERATION: u64 = (ERA << 32) + 6;
const LEAF_SEED: [u8; 32] = [4; 32];

/// The recorded member's number among the names; the others are not recorded.
const RECORDED: u8 = 2;
const NAMES: [&str; 5] = ["anna", "bert", "clara", "dora", "emil"];

const STEP: Duration = Duration::from_millis(10);
/// Enough for a commit, its answers and its activation.
const SETTLED_AFTER: u32 = 100;

/// Clara joins anna and bert. Dora joins; then, in one commit, anna leaves and emil takes her leaf.
pub(super) fn record() -> Value {
    let mut room = Room::new();
    for other in 0..RECORDED {
        room.join(other, Member::new(config(other)));
        room.run(SETTLED_AFTER);
    }
    let (member, own) = recorded_member();
    room.join(RECORDED, member);
    room.run(SETTLED_AFTER);
    room.text(1, "hello");
    room.frame(1, b"a frame");

    room.join(3, Member::new(config(3)));
    room.run(1);
    room.leave(0);
    room.join(4, Member::new(config(4)));
    room.run(SETTLED_AFTER);
    room.text(
        3,
        "Grüße an alle, in einem Text von mehr als vierundfünfzig Bytes",
    );
    room.frame(4, b"another frame");
    room.frame(4, b"its next one");
    room.frame(RECORDED, b"the member's own frame");

    let group = room.member(RECORDED).group().unwrap();
    let [joined, epochs @ ..] = room.recorded.as_slice() else {
        panic!("the member has not joined");
    };
    json!({
        "cipher_suite": SUITE.number(),
        "server": HEX.encode(&SERVER.0),
        "conference": HEX.encode(CONFERENCE.as_bytes()),
        "group_id": HEX.encode(&group.to_bytes()),
        "delivery_key": HEX.encode(SigningKey::from_seed(&DELIVERY_SEED).public()),
        "member": own,
        "joined": joined,
        "epochs": epochs,
    })
}

/// A member whose private keys are known, and these keys.
fn recorded_member() -> (Member, Value) {
    let config = config(RECORDED);
    let leaf_key = SigningKey::from_seed(&LEAF_SEED);
    let credential = Credential::sign(
        &config.device,
        &config.subject,
        SUITE,
        leaf_key.public(),
        &[],
    );
    let provider = Provider::new();
    let bundle = profile::new_key_package(&provider, &leaf_key, &credential, SUITE);
    let (init, encryption) = private_keys(&bundle);
    let subject = config.subject.clone();
    let member = member_with(config, provider, leaf_key, bundle.into_key_package());
    let (_, key_package) = member.reserve.iter().next().unwrap();
    let own = json!({
        "account": HEX.encode(subject.account.as_bytes()),
        "username": subject.username.as_str(),
        "device_priv": HEX.encode(&device_seed(RECORDED)),
        "signature_priv": HEX.encode(&LEAF_SEED),
        "init_priv": HEX.encode(&init),
        "encryption_priv": HEX.encode(&encryption),
        "key_package": HEX.encode(key_package),
    });
    (member, own)
}

/// The private halves of the init key and of the leaf's key, which `openmls` gives to a storage alone.
fn private_keys(bundle: &KeyPackageBundle) -> (Vec<u8>, Vec<u8>) {
    let parts = serde_json::to_value(bundle).unwrap();
    let bytes = |key: &Value| serde_json::from_value(key["vec"].clone()).unwrap();
    let encryption = &parts["private_encryption_key"]["key"];
    (bytes(&parts["private_init_key"]), bytes(encryption))
}

fn config(number: u8) -> MemberConfig {
    let subject = Subject {
        server: SERVER,
        account: account(number),
        username: NAMES[usize::from(number)].parse().unwrap(),
        conference: CONFERENCE,
    };
    let device = DeviceKey::from_seed(&device_seed(number));
    let delivery_key = *SigningKey::from_seed(&DELIVERY_SEED).public();
    MemberConfig::new(device, subject, delivery_key)
}

const fn account(number: u8) -> AccountId {
    AccountId::new([0x10 + number; 16])
}

const fn device_seed(number: u8) -> [u8; 32] {
    [0x20 + number; 32]
}

const fn join_id(number: u8) -> JoinId {
    JoinId::new([0x30 + number; 16])
}

/// A room in which messages take no time.
struct Room {
    now: Instant,
    delivery: Delivery,
    members: BTreeMap<JoinId, FrameCipher<Member>>,
    /// How the member came in, then its epochs.
    recorded: Vec<Value>,
}

impl Room {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            delivery: Delivery::new(DeliveryConfig {
                server: SERVER,
                conference: CONFERENCE,
                era: ERA,
                key: SigningKey::from_seed(&DELIVERY_SEED),
                first_generation: FIRST_GENERATION,
                suite: Suite::PostQuantum,
            }),
            members: BTreeMap::new(),
            recorded: Vec::new(),
        }
    }

    fn join(&mut self, number: u8, member: Member) {
        let username = NAMES[usize::from(number)].parse().unwrap();
        let join = join_id(number);
        self.members.insert(join, FrameCipher::new(member));
        self.delivery
            .join(self.now, join, account(number), username);
    }

    fn leave(&mut self, number: u8) {
        let join = join_id(number);
        self.members.remove(&join);
        self.delivery.leave(self.now, join);
        for member in self.members.values_mut() {
            member.keys_mut().depart(self.now, join);
        }
    }

    fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.now += STEP;
            for (join, cipher) in &mut self.members {
                let member = cipher.keys_mut();
                member.update(self.now);
                while let Some(message) = member.poll_message() {
                    self.delivery.handle(self.now, *join, message);
                }
                while let Some(event) = member.poll_event() {
                    assert!(!matches!(event, MemberEvent::Refused(_)), "{event:?}");
                }
            }
            self.delivery.update(self.now);
            while let Some(output) = self.delivery.poll() {
                self.obey(output);
            }
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Send(to, message) if to == join_id(RECORDED) => self.record(message),
            Output::Send(to, message) => {
                let member = self.members.get_mut(&to).unwrap().keys_mut();
                member.handle(self.now, message);
            }
            Output::OpenGate {
                generation, epoch, ..
            } => {
                self.announce();
                self.delivery.gate_opened(self.now, generation, epoch);
            }
            Output::Refused(_, why) => panic!("{why}"),
            Output::Retired { .. } | Output::NewGroup { .. } => {}
        }
    }

    /// Tells all members of all leaves.
    fn announce(&mut self) {
        let leaves = self.delivery.leaves();
        for member in self.members.values_mut() {
            for (join, leaf) in &leaves {
                let number = join.as_bytes()[0] - join_id(0).as_bytes()[0];
                let announced = Announced {
                    account: account(number),
                    leaf: Some(*leaf),
                };
                member.keys_mut().announce(self.now, *join, announced);
            }
        }
    }

    /// Passes a message to the recorded member, and notes it.
    fn record(&mut self, message: ToMember) {
        let member = self.member(RECORDED);
        let noted = match &message {
            // The secrets of a commit of its own would not be in the vectors.
            ToMember::CommitWanted { .. } => return,
            ToMember::Text(text) => {
                let text = open_text(member, text);
                return self.note("texts", text);
            }
            ToMember::Welcome { welcome, tree, .. } => Some(json!({
                "welcome": HEX.encode(welcome),
                "ratchet_tree": HEX.encode(tree),
            })),
            ToMember::Commit(commit) => Some(committed(commit)),
            _ => None,
        };
        let now = self.now;
        let member = self.member(RECORDED);
        member.handle(now, message);
        if let Some(mut noted) = noted {
            noted["state"] = state(member);
            noted["texts"] = json!([]);
            noted["frames"] = json!([]);
            self.recorded.push(noted);
        }
    }

    /// Notes a text or a frame of the last epoch.
    fn note(&mut self, list: &str, value: Value) {
        let epoch = self.recorded.last_mut().unwrap();
        epoch[list].as_array_mut().unwrap().push(value);
    }

    fn text(&mut self, from: u8, text: &str) {
        self.member(from).send_text(text).unwrap();
        self.run(1);
    }

    fn frame(&mut self, from: u8, plaintext: &[u8]) {
        let mut sframe = Vec::new();
        let cipher = self.members.get_mut(&join_id(from)).unwrap();
        cipher.seal(plaintext, &mut sframe).unwrap();
        let (header, _) = SframeHeader::parse(&sframe).unwrap();
        let frame = json!({
            "is_own": from == RECORDED,
            "leaf": header.key_id.leaf,
            "generation": header.key_id.generation,
            "epoch": header.key_id.epoch,
            "counter": header.counter,
            "plaintext": HEX.encode(plaintext),
            "sframe": HEX.encode(&sframe),
        });
        self.note("frames", frame);
    }

    fn member(&mut self, number: u8) -> &mut Member {
        self.members.get_mut(&join_id(number)).unwrap().keys_mut()
    }
}

fn committed(accepted: &AcceptedCommit) -> Value {
    let proposals = accepted.proposals.iter().map(|one| HEX.encode(one));
    json!({
        "proposals": proposals.collect::<Vec<_>>(),
        "commit": HEX.encode(&accepted.commit),
    })
}
