//! A delivery service whose messages arrive at once, and members that may do their worst.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_e2ee::mls::delivery::Output;
use confab_e2ee::mls::member::{Announced, MemberEvent};
use confab_e2ee::mls::{Delivery, FromMember, GroupName, Member, ToMember};
use confab_protocol::control::{AccountId, JoinId};

use crate::lab::{delivery_service, member_config, username};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const TICK: Duration = Duration::from_millis(10);

pub(super) type Tamper = Box<dyn FnMut(JoinId, FromMember) -> Option<FromMember>>;

/// A delivery service and members without any delay between them; participants without a [`Member`] are the attacker's.
pub(super) struct Hall {
    pub(super) now: Instant,
    pub(super) delivery: Delivery,
    pub(super) members: BTreeMap<JoinId, Member>,
    pub(super) accounts: BTreeMap<JoinId, AccountId>,
    pub(super) outputs: Vec<Output>,
    pub(super) events: Vec<(JoinId, MemberEvent)>,
    /// Changes or drops what members send.
    pub(super) tamper: Tamper,
    pub(super) gates: Vec<(u64, u64)>,
    /// The relay does not answer.
    pub(super) is_gate_stuck: bool,
    pub(super) next: u8,
}

impl Hall {
    pub(super) fn new() -> Self {
        Self {
            now: Instant::now(),
            delivery: delivery_service(),
            members: BTreeMap::new(),
            accounts: BTreeMap::new(),
            outputs: Vec::new(),
            events: Vec::new(),
            tamper: Box::new(|_, message| Some(message)),
            gates: Vec::new(),
            is_gate_stuck: false,
            next: 0,
        }
    }

    /// A room in which `count` honest members agree.
    pub(super) fn of(count: usize) -> (Self, Vec<JoinId>) {
        let mut hall = Self::new();
        let joins: Vec<_> = (0..count)
            .map(|_| {
                let join = hall.join();
                hall.run(SECOND / 2);
                join
            })
            .collect();
        assert!(hall.agree());
        (hall, joins)
    }

    pub(super) fn join(&mut self) -> JoinId {
        self.next += 1;
        self.join_as(JoinId::new([self.next; 16]))
    }

    pub(super) fn join_as(&mut self, join: JoinId) -> JoinId {
        self.admit(join);
        let member = Member::new(member_config(self.accounts[&join]));
        self.members.insert(join, member);
        self.pump();
        join
    }

    /// The attacker's participant: nobody answers for it.
    pub(super) fn join_without_member(&mut self) -> JoinId {
        self.next += 1;
        let join = JoinId::new([self.next; 16]);
        self.admit(join);
        join
    }

    pub(super) fn admit(&mut self, join: JoinId) {
        let account = AccountId::new([join.as_bytes()[0]; 16]);
        self.accounts.insert(join, account);
        self.delivery
            .join(self.now, join, account, username(account));
        self.pump();
    }

    pub(super) fn send(&mut self, from: JoinId, message: FromMember) {
        self.delivery.handle(self.now, from, message);
        self.pump();
    }

    pub(super) fn leave(&mut self, join: JoinId) {
        self.members.remove(&join);
        self.delivery.leave(self.now, join);
        self.pump();
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            self.delivery.update(self.now);
            for member in self.members.values_mut() {
                member.update(self.now);
            }
            self.pump();
        }
    }

    pub(super) fn pump(&mut self) {
        loop {
            let mut is_quiet = true;
            while let Some(output) = self.delivery.poll() {
                is_quiet = false;
                self.take(&output);
                self.outputs.push(output);
            }
            let joins: Vec<_> = self.members.keys().copied().collect();
            for join in joins {
                while let Some(message) = self.poll(join) {
                    is_quiet = false;
                    if let Some(message) = (self.tamper)(join, message) {
                        self.delivery.handle(self.now, join, message);
                    }
                }
            }
            if !self.is_gate_stuck {
                for (generation, epoch) in std::mem::take(&mut self.gates) {
                    is_quiet = false;
                    self.delivery.gate_opened(self.now, generation, epoch);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    pub(super) fn poll(&mut self, join: JoinId) -> Option<FromMember> {
        let member = self.members.get_mut(&join)?;
        while let Some(event) = member.poll_event() {
            self.events.push((join, event));
        }
        member.poll_message()
    }

    pub(super) fn take(&mut self, output: &Output) {
        match output {
            Output::Send(to, message) => {
                if let Some(member) = self.members.get_mut(to) {
                    member.handle(self.now, message.clone());
                }
            }
            Output::OpenGate {
                generation, epoch, ..
            } => {
                self.gates.push((*generation, *epoch));
                for (join, leaf) in self.delivery.leaves() {
                    let announced = Announced {
                        account: self.accounts[&join],
                        leaf: Some(leaf),
                    };
                    for member in self.members.values_mut() {
                        member.announce(self.now, join, announced);
                    }
                }
            }
            _ => {}
        }
    }

    /// True if all members have the same group, epoch and code.
    pub(super) fn agree(&self) -> bool {
        let state = |member: &Member| {
            let code = member.code().map(|code| code.to_string());
            (member.group(), member.epoch(), code)
        };
        let mut states = self.members.values().map(state);
        states
            .next()
            .is_none_or(|first| first.0.is_some() && states.all(|one| one == first))
    }

    pub(super) fn group(&self, join: JoinId) -> GroupName {
        self.members[&join].group().expect("it is in a group")
    }

    pub(super) fn write(&mut self, from: JoinId, text: &str) {
        let member = self.members.get_mut(&from).expect("it is a member");
        member.send_text(text).expect("it is a text");
        self.pump();
    }

    pub(super) fn texts(&self, to: JoinId) -> Vec<&str> {
        let events = self.events.iter().filter(|(join, _)| *join == to);
        events
            .filter_map(|(_, event)| match event {
                MemberEvent::Text { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn is_refused(&self, from: JoinId) -> bool {
        let is_it = |output: &Output| matches!(output, Output::Refused(join, _) if *join == from);
        self.outputs.iter().any(is_it)
    }

    /// The Welcome that was sent to `join`, and its tree.
    pub(super) fn welcome(&self, join: JoinId) -> (Arc<[u8]>, Arc<[u8]>) {
        let to_it = |output: &Output| match output {
            Output::Send(to, ToMember::Welcome { welcome, tree, .. }) if *to == join => {
                Some((welcome.clone(), tree.clone()))
            }
            _ => None,
        };
        self.outputs.iter().find_map(to_it).expect("a Welcome")
    }

    /// Guests come and go, one after the other.
    pub(super) fn have_guests(&mut self, count: usize) {
        for _ in 0..count {
            let guest = self.join();
            self.run(SECOND);
            self.leave(guest);
            self.run(SECOND);
        }
    }

    /// Somebody joins; commits for it are kept back.
    pub(super) fn join_quietly(&mut self, commits: &mut Vec<(JoinId, FromMember)>) {
        let (send, receive) = std::sync::mpsc::channel();
        self.tamper = Box::new(move |from, message| match message {
            FromMember::Committed { .. } => {
                let _ = send.send((from, message));
                None
            }
            other => Some(other),
        });
        self.join();
        self.run(Duration::from_millis(200));
        self.tamper = Box::new(|_, message| Some(message));
        commits.extend(receive.try_iter());
    }
}

/// Two members say of all that others commit that they cannot process it, and commit and create nothing.
pub(super) fn lying(liars: [JoinId; 2]) -> Tamper {
    Box::new(move |from, message| match message {
        FromMember::Merged { group, epoch } if liars.contains(&from) && epoch > 0 => {
            Some(FromMember::Failed { group, epoch })
        }
        FromMember::Committed { .. } | FromMember::Created { .. } if liars.contains(&from) => None,
        other => Some(other),
    })
}

/// The others go on in the same group, and somebody can still join.
pub(super) fn assert_unharmed(hall: &mut Hall, group: GroupName) {
    hall.run(3 * SECOND);
    let late = hall.join();
    hall.run(3 * SECOND);
    assert!(hall.agree());
    assert_eq!(hall.group(late), group);
}
