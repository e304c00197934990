//! The members of a connection's rooms: relays forward nothing of who has no leaf in the room's MLS group.
//!
//! The load takes every leaf for announced: who is in a room is for its own accounts to know.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use confab::engine::room::Joined;
use confab::net::Link;
use confab::net::api::OwnJoin;
use confab::net::event::{GroupMessage, ServerEvent};
use confab::net::supervisor::outbox::{self, Outbox};
use confab_e2ee::BaseKeys as _;
use confab_e2ee::mls::Member;
use confab_e2ee::mls::identity::{DeviceKey, ServerId};
use confab_e2ee::mls::member::{Announced, MemberConfig, MemberEvent};
use confab_protocol::control::{ConferenceId, GenerationLeaf, JoinId};
use confab_protocol::media::KeyId;
use tokio::sync::mpsc;

/// No key: more than any key id.
const NONE: u64 = u64::MAX;

/// The key id under which a member seals now, shared with who speaks for it.
#[derive(Clone, Debug)]
pub struct SealingKey(Arc<AtomicU64>);

impl SealingKey {
    /// A key id that does not change.
    pub fn fixed(key_id: KeyId) -> Self {
        Self(Arc::new(AtomicU64::new(key_id.to_u64())))
    }

    fn none() -> Self {
        Self(Arc::new(AtomicU64::new(NONE)))
    }

    /// `None` while the member has no key.
    pub fn get(&self) -> Option<KeyId> {
        KeyId::from_u64(self.0.load(Relaxed)).ok()
    }

    fn set(&self, key_id: Option<KeyId>) {
        self.0.store(key_id.map_or(NONE, KeyId::to_u64), Relaxed);
    }
}

/// A join whose member is to take part in the group.
pub(crate) struct NewMember {
    own: OwnJoin,
    member: Box<Member>,
    key: SealingKey,
    outbox: Outbox,
}

/// A member on a device of its own, in a room of any size.
pub(crate) fn member_config(joined: &Joined, server: ServerId) -> MemberConfig {
    let (device, subject) = (DeviceKey::generate(), joined.subject(server));
    MemberConfig {
        allows_classical: true,
        ..MemberConfig::new(device, subject, joined.delivery_key)
    }
}

impl NewMember {
    /// The member of a join, on a device of its own.
    pub(crate) fn new(link: &Link, own: OwnJoin, joined: &Joined) -> Self {
        let config = member_config(joined, link.server_id());
        Self {
            own,
            member: Box::new(Member::new(config)),
            key: SealingKey::none(),
            outbox: Outbox::default(),
        }
    }

    /// The key id under which it seals.
    pub(crate) fn key(&self) -> SealingKey {
        self.key.clone()
    }
}

/// Takes part in the groups of a connection until it ends. Counts events that are not of a room in `moved`.
pub(crate) async fn take_part(
    link: Arc<Link>,
    mut new: mpsc::UnboundedReceiver<NewMember>,
    moved: Arc<AtomicU64>,
) {
    let mut incoming = link.incoming();
    let mut members: HashMap<ConferenceId, NewMember> = HashMap::new();
    let mut deadlines: HashMap<ConferenceId, Instant> = HashMap::new();
    loop {
        let due = deadlines.values().min().copied();
        let mut changed: Vec<ConferenceId> = Vec::new();
        tokio::select! {
            joined = new.recv() => match joined {
                Some(joined) => {
                    changed.push(joined.own.conference);
                    members.insert(joined.own.conference, joined);
                }
                None => return,
            },
            message = incoming.group.recv() => match message {
                Some(GroupMessage { conference, message, .. }) => {
                    if let Some(member) = members.get_mut(&conference) {
                        member.member.handle(Instant::now(), message);
                        changed.push(conference);
                    }
                }
                None => return,
            },
            event = incoming.events.recv() => match event {
                Some(ServerEvent::Room(..)) => {}
                Some(_) => drop(moved.fetch_add(1, Relaxed)),
                None => return,
            },
            () = sleep_until(due) => {
                let now = Instant::now();
                let is_due = |(_, at): &(&ConferenceId, &Instant)| **at <= now;
                changed.extend(deadlines.iter().filter(is_due).map(|(of, _)| *of));
            }
        }
        for conference in changed {
            let Some(member) = members.get_mut(&conference) else {
                continue;
            };
            match member.go_on() {
                Some(at) => drop(deadlines.insert(conference, at)),
                None => drop(deadlines.remove(&conference)),
            }
            member.say(&link).await;
        }
    }
}

impl NewMember {
    /// Does what is due, and says when to be called again.
    fn go_on(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while let Some(event) = self.member.poll_event() {
            if event == MemberEvent::Changed {
                announce_all(&mut self.member, now);
            }
        }
        let due = self.member.update(now);
        self.key.set(self.member.sealing());
        due
    }

    async fn say(&mut self, link: &Link) {
        loop {
            while let Some(message) = self.member.poll_message() {
                // One that is lost leaves the member without a key, and silent: the measurement tells.
                let _ = self.outbox.push(message);
            }
            let batch = self.outbox.next_batch();
            if batch.is_empty() {
                return;
            }
            outbox::send(link, self.own.clone(), batch).await;
        }
    }
}

/// Announces every leaf of a member's group to it: it sends whoever is there.
pub fn announce_all(member: &mut Member, now: Instant) {
    let Some(group) = member.group() else {
        return;
    };
    let leaves: Vec<_> = member
        .leaves()
        .map(|(leaf, credential)| (leaf, credential.account))
        .collect();
    for (leaf, account) in leaves {
        let mut join = [0; JoinId::LEN];
        join[..4].copy_from_slice(&leaf.to_be_bytes());
        let generation = group.generation;
        let leaf = Some(GenerationLeaf { generation, leaf });
        member.announce(now, JoinId::new(join), Announced { account, leaf });
    }
}

/// Sleeps until then; without a time, for ever.
pub(crate) async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
