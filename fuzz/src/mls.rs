//! A room's keys: an honest member and the delivery service, between a member with valid keys, a server of bad will, and any
//! bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_e2ee::BaseKeys;
use confab_e2ee::mls::delivery::{DeliveryConfig, Output};
use confab_e2ee::mls::identity::{DeviceKey, ServerId, Subject};
use confab_e2ee::mls::member::{Announced, MemberConfig};
use confab_e2ee::mls::messages::AcceptedCommit;
use confab_e2ee::mls::signing::SigningKey;
use confab_e2ee::mls::{Delivery, FromMember, GroupName, Member, Suite, ToMember};
use confab_protocol::control::{AccountId, ConferenceId, GenerationLeaf, JoinId, Username};

use crate::script::Script;

const SERVER: ServerId = ServerId([1; 16]);
const CONFERENCE: ConferenceId = ConferenceId::new([2; 16]);
const GROUP: GroupName = GroupName {
    conference: CONFERENCE,
    era: 1,
    generation: 1,
};
const HONEST: JoinId = JoinId::new([1; 16]);
const OTHER: JoinId = JoinId::new([2; 16]);

/// Steps of a script, at most: a commit takes milliseconds.
const MAX_STEPS: usize = 24;
/// Time in which the honest member is heard again once all others behave.
const CALM: Duration = Duration::from_secs(12);
/// Outputs of one step, at most.
const MAX_OUTPUTS: usize = 256;

/// Runs a script: first what the members say is changed and bytes come from nowhere, then all behave.
pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mut room = Room::new();
    room.run(&mut Script::new(&[]), Duration::from_secs(1));
    for _ in 0..MAX_STEPS {
        let Some(step) = script.step() else { break };
        room.step(step, &mut script);
    }
    room.calm();
}

struct Room {
    now: Instant,
    delivery: Delivery,
    honest: Member,
    other: Member,
    is_other_here: bool,
    to_delivery: VecDeque<(JoinId, FromMember)>,
    /// Of the next messages of the other member, this many are changed.
    changes: u8,
}

impl Room {
    fn new() -> Self {
        let now = Instant::now();
        let key = SigningKey::from_seed(&[3; 32]);
        let delivery_key = *key.public();
        let mut delivery = Delivery::new(DeliveryConfig {
            server: SERVER,
            conference: CONFERENCE,
            era: 1,
            key,
            first_generation: 1,
            suite: Suite::PostQuantum,
        });
        delivery.join(now, HONEST, AccountId::new([1; 16]), username(1));
        delivery.join(now, OTHER, AccountId::new([2; 16]), username(2));
        let member = |n: u8| {
            let subject = Subject {
                server: SERVER,
                account: AccountId::new([n; 16]),
                username: username(n),
                conference: CONFERENCE,
            };
            let device = DeviceKey::from_seed(&[n; 32]);
            Member::new(MemberConfig::new(device, subject, delivery_key))
        };
        Self {
            now,
            delivery,
            honest: member(1),
            other: member(2),
            is_other_here: true,
            to_delivery: VecDeque::new(),
            changes: 0,
        }
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step % 8 {
            0 => self.changes = script.byte() % 4,
            1 => {
                let message = from_member(script);
                self.delivery.handle(self.now, OTHER, message);
            }
            2 => {
                let message = to_member(script);
                self.honest.handle(self.now, message);
            }
            3 => {
                self.is_other_here = !self.is_other_here;
                match self.is_other_here {
                    true => {
                        self.delivery
                            .join(self.now, OTHER, AccountId::new([2; 16]), username(2))
                    }
                    false => self.delivery.leave(self.now, OTHER),
                }
                self.other.resume();
            }
            4 => drop(self.honest.send_text("hello")),
            5 => drop(self.other.send_text("hello")),
            6 => {
                self.delivery.disconnect(self.now, OTHER);
                let state = self.other.group().zip(self.other.epoch());
                self.delivery.resume(self.now, OTHER, state);
                self.other.resume();
            }
            _ => {}
        }
        let time = Duration::from_millis(u64::from(script.byte()) * 4);
        self.run(script, time);
    }

    /// Carries messages until there are none, and lets time pass.
    fn run(&mut self, script: &mut Script<'_>, time: Duration) {
        let end = self.now + time;
        loop {
            self.carry(script);
            let deadlines = [
                self.delivery.update(self.now),
                self.honest.update(self.now),
                self.other.update(self.now),
            ];
            self.carry(script);
            let next = deadlines.into_iter().flatten().min();
            match next.filter(|at| *at <= end) {
                // A deadline that is not after this moment would be one without end.
                Some(at) => self.now = at.max(self.now + Duration::from_millis(1)),
                None => break,
            }
        }
        self.now = end;
    }

    fn carry(&mut self, script: &mut Script<'_>) {
        for _ in 0..MAX_OUTPUTS {
            while let Some(message) = self.honest.poll_message() {
                self.to_delivery.push_back((HONEST, message));
            }
            while let Some(mut message) = self.other.poll_message() {
                if self.changes > 0 {
                    self.changes -= 1;
                    change(&mut message, script);
                }
                if self.is_other_here {
                    self.to_delivery.push_back((OTHER, message));
                }
            }
            while self.honest.poll_event().is_some() || self.other.poll_event().is_some() {}
            let (output, message) = (self.delivery.poll(), self.to_delivery.pop_front());
            if output.is_none() && message.is_none() {
                return;
            }
            if let Some((from, message)) = message {
                self.delivery.handle(self.now, from, message);
            }
            match output {
                Some(Output::Send(HONEST, message)) => self.honest.handle(self.now, message),
                Some(Output::Send(_, message)) => self.other.handle(self.now, message),
                Some(Output::OpenGate {
                    generation,
                    epoch,
                    leaves,
                }) => {
                    for (join, leaf) in leaves {
                        self.announce(join, GenerationLeaf { generation, leaf });
                    }
                    self.delivery.gate_opened(self.now, generation, epoch);
                }
                _ => {}
            }
        }
        panic!("one moment has no end");
    }

    fn announce(&mut self, join: JoinId, leaf: GenerationLeaf) {
        let account = if join == HONEST { 1 } else { 2 };
        let announced = Announced {
            account: AccountId::new([account; 16]),
            leaf: Some(leaf),
        };
        self.honest.announce(self.now, join, announced);
        self.other.announce(self.now, join, announced);
    }

    /// All behave, and somebody new comes: then the honest member and the new one share a key.
    fn calm(&mut self) {
        self.changes = 0;
        if self.is_other_here {
            self.delivery.leave(self.now, OTHER);
        }
        // The server's bytes may have moved the honest member away: it comes again, as after a lost call.
        self.delivery.leave(self.now, HONEST);
        let fresh = Self::new();
        (self.honest, self.other) = (fresh.honest, fresh.other);
        self.to_delivery.clear();
        self.delivery
            .join(self.now, HONEST, AccountId::new([1; 16]), username(1));
        self.delivery
            .join(self.now, OTHER, AccountId::new([2; 16]), username(2));
        self.is_other_here = true;
        self.run(&mut Script::new(&[]), CALM);
        let code = self.honest.code();
        assert!(
            code.is_some() && code == self.other.code(),
            "they do not share an epoch"
        );
        assert!(self.honest.sealing().is_some());
        assert!(self.honest.secrets() <= 4, "secrets pile up");
    }
}

/// A message of a member, of any bytes.
fn from_member(script: &mut Script<'_>) -> FromMember {
    let kind = script.byte();
    let epoch = u64::from(script.byte() % 4);
    let bytes = block(script);
    match kind % 7 {
        0 => FromMember::KeyPackage {
            suite: Suite::ALL[usize::from(kind > 127)],
            key_package: bytes,
        },
        1 => FromMember::Created {
            group: GROUP,
            group_info: bytes.clone(),
            tree: bytes,
        },
        2 => FromMember::Committed {
            group: GROUP,
            epoch,
            commit: bytes.clone(),
            welcome: bytes,
        },
        3 => FromMember::CannotCommit {
            group: GROUP,
            epoch,
            refused: bytes.into_iter().map(u32::from).collect(),
        },
        4 => FromMember::Merged {
            group: GROUP,
            epoch,
        },
        5 => FromMember::Text {
            group: GROUP,
            epoch,
            message: bytes,
        },
        _ => FromMember::Failed {
            group: GROUP,
            epoch,
        },
    }
}

/// A message of the server, of any bytes.
fn to_member(script: &mut Script<'_>) -> ToMember {
    let kind = script.byte();
    let epoch = u64::from(script.byte() % 4);
    let generation = u64::from(script.byte() % 4);
    let group = GroupName {
        generation,
        ..GROUP
    };
    let bytes: Arc<[u8]> = block(script).into();
    match kind % 8 {
        0 => ToMember::CreateGroup {
            group,
            suite: Suite::ALL[usize::from(kind > 127)],
        },
        1 => ToMember::CommitWanted {
            group,
            epoch,
            proposals: vec![bytes],
        },
        2 => {
            let commit = Arc::clone(&bytes);
            ToMember::Commit(Arc::new(AcceptedCommit {
                group,
                epoch,
                proposals: vec![bytes],
                commit,
            }))
        }
        3 => ToMember::Welcome {
            group,
            epoch,
            welcome: Arc::clone(&bytes),
            tree: bytes,
        },
        4 => ToMember::Activate {
            group,
            epoch,
            absent: bytes.iter().map(|byte| u32::from(*byte)).collect(),
        },
        5 => ToMember::Text(bytes),
        6 => ToMember::Rejoin { group },
        _ => ToMember::TextStale,
    }
}

fn block(script: &mut Script<'_>) -> Vec<u8> {
    let length = usize::from(script.u16());
    script.take(length).to_vec()
}

/// Changes a byte of a message's parts.
fn change(message: &mut FromMember, script: &mut Script<'_>) {
    let bytes = match message {
        FromMember::KeyPackage { key_package, .. } => key_package,
        FromMember::Created {
            group_info, tree, ..
        } => match script.byte() % 2 {
            0 => group_info,
            _ => tree,
        },
        FromMember::Committed {
            commit, welcome, ..
        } => match script.byte() % 2 {
            0 => commit,
            _ => welcome,
        },
        FromMember::Text { message, .. } => message,
        _ => return,
    };
    if bytes.is_empty() {
        return;
    }
    let place = usize::from(script.u16());
    let at = place % bytes.len();
    bytes[at] ^= script.byte() | 1;
}

fn username(n: u8) -> Username {
    format!("member{n}").parse().expect("a username")
}
