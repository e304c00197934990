//! A control node that lies to members: they see through it, and say so.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_benches::fleet::{Call, Users};
use confab_e2ee::mls::identity::{DeviceKey, ServerId, Subject};
use confab_e2ee::mls::member::MemberConfig;
use confab_e2ee::mls::{FromMember, Member};
use confab_protocol::control::{AccountId, ConferenceId};
use confab_protocol::wire::{
    self, event, from_member, request, response, to_group, to_group::Kind as ToGroup,
};
use serde_json::Value;

use super::common::{Stage, hears_more, received};
use super::liar::{Liar, Lies};
use super::scene::{ROOM, join};

/// Servers, and accounts of Ann, who owns the room, Ben, and Eve.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    for name in ["ann", "ben", "eve"] {
        stage.register(name).await;
    }
    stage.ok("ann", &["conference", "create", ROOM]).await;
    stage
}

async fn speaker(users: &Users, name: &str, args: &[&str]) -> Call {
    join(users, name, &[&["--tone", "440"], args].concat()).await
}

async fn listener(users: &Users, name: &str) -> Call {
    join(users, name, &["--in", "none"]).await
}

/// Keeps back who a participant is, and that it is there.
#[derive(Default)]
struct Hide {
    senders: HashSet<u32>,
}

impl Hide {
    fn is_hidden(&mut self, participant: Option<&wire::Participant>) -> bool {
        let hidden = participant.filter(|one| one.username == "eve");
        self.senders.extend(hidden.map(|one| one.sender));
        hidden.is_some()
    }
}

impl Lies for Hide {
    fn response(&mut self, response: &mut response::Kind) {
        if let response::Kind::RoomJoined(joined) = response {
            joined.participants.retain(|one| !self.is_hidden(Some(one)));
        }
    }

    fn event(&mut self, event: &mut wire::Event) -> bool {
        match &mut event.kind {
            Some(event::Kind::Joined(joined)) => !self.is_hidden(joined.participant.as_ref()),
            Some(event::Kind::Changed(changed)) => !self.is_hidden(changed.participant.as_ref()),
            Some(event::Kind::Left(left)) => !self.senders.contains(&left.sender),
            Some(event::Kind::LeavesAssigned(assigned)) => {
                assigned
                    .leaves
                    .retain(|leaf| !self.senders.contains(&leaf.sender));
                true
            }
            _ => true,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ear_that_is_kept_from_members_is_named_and_hears_nothing_more() {
    let stage = stage().await;
    let liar = Liar::before(&stage.fleet, Hide::default);
    let users = liar.users(&stage.fleet, &["ann", "ben"]).await;
    let mut ann = speaker(&users, "ann", &[]).await;
    let mut ben = listener(&users, "ben").await;
    hears_more(&mut ben, "ann").await;

    let mut eve = listener(&stage.fleet.users(), "eve").await;
    for call in [&mut ann, &mut ben] {
        let named = call.wait_for("unannounced").await.unwrap();
        assert_eq!(named["username"], "eve");
    }
    // What was on its way has come by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        eve.catch_up().unwrap();
        heard.push(received(&eve.wait_for("stats").await.unwrap(), "ann"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(heard[0], heard[1], "eve went on hearing");

    eve.leave().await.unwrap();
    ann.wait_for("announced").await.unwrap();
    hears_more(&mut ben, "ann").await;
}

/// Puts its own key packages in the place of those of the client's device.
#[derive(Default)]
struct Swap {
    server: Option<ServerId>,
    own: Option<Member>,
}

impl Lies for Swap {
    fn request(&mut self, request: &mut request::Kind) {
        let (request::Kind::SendToGroup(sent), Some(own)) = (request, &mut self.own) else {
            return;
        };
        for message in &mut sent.messages {
            if let Some(from_member::Kind::KeyPackage(theirs)) = &mut message.kind {
                while let Some(message) = own.poll_message() {
                    if let FromMember::KeyPackage { suite, key_package } = message
                        && u32::from(suite.number()) == theirs.suite
                    {
                        theirs.key_package = Bytes::copy_from_slice(&key_package);
                        break;
                    }
                }
            }
        }
    }

    fn response(&mut self, response: &mut response::Kind) {
        match response {
            response::Kind::Welcome(welcome) => {
                let digest = welcome.authority[..].try_into().unwrap();
                self.server = Some(ServerId::of_authority(digest));
            }
            response::Kind::RoomJoined(joined) => {
                let mut all = joined.participants.iter();
                let me = all.find(|one| one.sender == joined.self_sender).unwrap();
                let conference = joined.conference.as_ref().unwrap();
                let subject = Subject {
                    server: self.server.unwrap(),
                    account: AccountId::new(me.account_id[..].try_into().unwrap()),
                    username: me.username.parse().unwrap(),
                    conference: ConferenceId::new(conference.id[..].try_into().unwrap()),
                };
                let delivery_key = joined.delivery_key[..].try_into().unwrap();
                let config = MemberConfig::new(DeviceKey::generate(), subject, delivery_key);
                let mut own = Member::new(config);
                own.update(Instant::now());
                self.own = Some(own);
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_package_that_is_swapped_shows_as_another_device_and_holds_who_is_strict() {
    let stage = stage().await;
    let honest = stage.fleet.users();
    // They meet, and keep each other's devices.
    let mut ann = speaker(&honest, "ann", &[]).await;
    let mut ben = listener(&honest, "ben").await;
    hears_more(&mut ben, "ann").await;
    ben.leave().await.unwrap();
    ann.leave().await.unwrap();

    let liar = Liar::before(&stage.fleet, Swap::default);
    let mut ann = speaker(&honest, "ann", &["--strict-trust"]).await;
    let args = [ROOM, "--in", "none", "--out", "none"];
    let users = liar.users(&stage.fleet, &["ben"]).await;
    let _ben = users.join("ben", &args).unwrap();
    let changed = ann.wait_for("identity").await.unwrap();
    assert_eq!(changed["name"], "ben", "{changed}");
    let is_held = |event: &Value| event["held"] == true;
    ann.wait_until("sending_held", is_held).await.unwrap();
}

/// Keeps back what leads to later epochs.
struct Withhold {
    does: Arc<AtomicBool>,
}

impl Lies for Withhold {
    fn to_group(&mut self, message: wire::ToGroup) -> Vec<wire::ToGroup> {
        let is_way = matches!(message.kind, Some(ToGroup::Commit(_) | ToGroup::Welcome(_)));
        match is_way && self.does.load(Relaxed) {
            true => Vec::new(),
            false => vec![message],
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_withheld_from_a_member_are_missed_by_it() {
    let stage = stage().await;
    let does = Arc::new(AtomicBool::new(false));
    let of_lies = does.clone();
    let liar = Liar::before(&stage.fleet, move || Withhold {
        does: of_lies.clone(),
    });
    let _ann = speaker(&stage.fleet.users(), "ann", &[]).await;
    let users = liar.users(&stage.fleet, &["ben"]).await;
    let mut ben = listener(&users, "ben").await;
    hears_more(&mut ben, "ann").await;
    does.store(true, Relaxed);
    let _eve = listener(&stage.fleet.users(), "eve").await;
    ben.wait_for("unreachable").await.unwrap();
    // What ben asks for is kept back, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // He was not harmed for good: he asks again.
    does.store(false, Relaxed);
    hears_more(&mut ben, "ann").await;
}

/// Offers keys that a quantum computer would open.
struct Downgrade;

impl Lies for Downgrade {
    fn to_group(&mut self, mut message: wire::ToGroup) -> Vec<wire::ToGroup> {
        if let Some(ToGroup::CreateGroup(create)) = &mut message.kind {
            create.suite = 1;
        }
        vec![message]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weaker_keys_are_refused_and_the_person_is_told() {
    let stage = stage().await;
    let liar = Liar::before(&stage.fleet, || Downgrade);
    let args = [ROOM, "--tone", "440", "--out", "none"];
    let users = liar.users(&stage.fleet, &["ann"]).await;
    let mut ann = users.join("ann", &args).unwrap();
    ann.wait_for("downgrade").await.unwrap();
    let left = ann.leave().await.unwrap();
    assert_eq!(left["frames_sent"], 0, "{left}");
}

/// Offers the scheme by which control handed out a room's key.
struct OldKeys;

impl Lies for OldKeys {
    fn response(&mut self, response: &mut response::Kind) {
        if let response::Kind::RoomJoined(joined) = response {
            joined.key_scheme = 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hands_out_keys_is_refused() {
    let stage = stage().await;
    let liar = Liar::before(&stage.fleet, || OldKeys);
    let users = liar.users(&stage.fleet, &["ann"]).await;
    let args = ["join", ROOM, "--in", "none", "--out", "none"];
    let ended = users.try_client("ann", &args, None).await.unwrap();
    assert_eq!(ended.code, Some(8));
    assert!(ended.stderr.contains("in place of MLS"), "{ended:?}");
}

/// Lets one member commit twice for one epoch: the others get the first commit, it goes on by the second.
struct Fork {
    /// The one member was found.
    is_done: Arc<AtomicBool>,
    wanted: Option<wire::ToGroup>,
    stage: ForkStage,
}

#[derive(PartialEq)]
enum ForkStage {
    Waits,
    /// It was asked anew, as if its commit had not been accepted.
    Asked(wire::AcceptedCommit),
    /// Its second commit is here.
    Has(wire::AcceptedCommit),
    Done,
}

impl Lies for Fork {
    fn request(&mut self, request: &mut request::Kind) {
        let request::Kind::SendToGroup(sent) = request else {
            return;
        };
        for message in &mut sent.messages {
            if let Some(from_member::Kind::Commit(second)) = &message.kind
                && let ForkStage::Asked(first) = &self.stage
            {
                let at = first.at.clone().unwrap();
                self.stage = ForkStage::Has(wire::AcceptedCommit {
                    commit: second.commit.clone(),
                    ..first.clone()
                });
                // The node thinks that it went on by its first.
                message.kind = Some(from_member::Kind::Reached(wire::GroupEpoch {
                    epoch: at.epoch + 1,
                    ..at
                }));
            }
        }
    }

    fn to_group(&mut self, message: wire::ToGroup) -> Vec<wire::ToGroup> {
        match &message.kind {
            Some(ToGroup::CommitWanted(_)) => self.wanted = Some(message.clone()),
            Some(ToGroup::Commit(accepted)) if self.stage == ForkStage::Waits => {
                let is_own = |wanted: &wire::ToGroup| match &wanted.kind {
                    Some(ToGroup::CommitWanted(wanted)) => wanted.at == accepted.at,
                    _ => false,
                };
                if let Some(wanted) = self.wanted.clone().filter(is_own)
                    && !self.is_done.swap(true, Relaxed)
                {
                    self.stage = ForkStage::Asked(accepted.clone());
                    return vec![wanted];
                }
            }
            Some(ToGroup::Activate(_)) => {
                if let ForkStage::Has(second) = &self.stage {
                    let second = wire::ToGroup {
                        kind: Some(to_group::Kind::Commit(second.clone())),
                        ..message.clone()
                    };
                    self.stage = ForkStage::Done;
                    return vec![second, message];
                }
            }
            _ => {}
        }
        vec![message]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_split_in_two_is_seen_by_who_hears_the_other_part() {
    let stage = stage().await;
    let is_armed = Arc::new(AtomicBool::new(true));
    let of_lies = is_armed.clone();
    let liar = Liar::before(&stage.fleet, move || Fork {
        is_done: of_lies.clone(),
        wanted: None,
        stage: ForkStage::Waits,
    });
    let users = liar.users(&stage.fleet, &["ann", "ben", "eve"]).await;
    // Each speaks, so that whoever is alone in the other part is heard by the others, and hears them.
    let mut ann = speaker(&users, "ann", &[]).await;
    let mut ben = speaker(&users, "ben", &[]).await;
    hears_more(&mut ben, "ann").await;
    hears_more(&mut ann, "ben").await;
    is_armed.store(false, Relaxed);
    let _eve = listener(&users, "eve").await;
    for (call, other) in [(&mut ann, "ben"), (&mut ben, "ann")] {
        let forked = call.wait_for("forked").await.unwrap();
        assert_eq!(forked["username"], other);
    }
}
