//! The delivery service of a room's MLS group, with real members over real connections.

use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_e2ee::BaseKeys;
use confab_e2ee::mls::identity::{DeviceKey, ServerId, Subject};
use confab_e2ee::mls::member::{Announced, MemberConfig, MemberEvent};
use confab_e2ee::mls::wire::{at, from_stream};
use confab_e2ee::mls::{FromMember, Member, ToMember};
use confab_protocol::cluster::Action;
use confab_protocol::control::{
    ConferenceId, ErrorCode, JoinId, MAX_GROUP_MESSAGES, MAX_REQUEST, Participant,
};
use confab_protocol::wire::{self, Visibility, event, request, response};

use crate::harness::{Client, PATIENCE, TestServer, secret_of};

const SLUG: &str = "standup";

/// A client that takes part in the room's group.
struct Talker {
    client: Client,
    member: Member,
    conference: ConferenceId,
    join: JoinId,
    participants: Vec<Participant>,
    texts: Vec<String>,
    refused_texts: usize,
}

impl Talker {
    async fn join(client: Client, name: &str) -> Self {
        let authority = match client.hello(1, 1).await.unwrap() {
            response::Kind::Welcome(welcome) => welcome.authority,
            other => panic!("{other:?}"),
        };
        let joined = client.join(SLUG).await.unwrap();
        let conference = joined.conference.as_ref().unwrap();
        let conference = ConferenceId::parse(&conference.id, "id").unwrap();
        let participants: Vec<Participant> = joined
            .participants
            .iter()
            .map(|one| one.try_into().unwrap())
            .collect();
        let mut all = participants.iter();
        let own = all.find(|one| u32::from(one.sender) == joined.self_sender);
        let own = own.unwrap().clone();
        let authority: [u8; 32] = authority[..].try_into().unwrap();
        let subject = Subject {
            server: ServerId::of_authority(&authority),
            account: own.account,
            username: name.parse().unwrap(),
            conference,
        };
        let delivery_key = joined.delivery_key[..].try_into().unwrap();
        let config = MemberConfig::new(DeviceKey::generate(), subject, delivery_key);
        let member = Member::new(config);
        let mut talker = Self {
            client,
            member,
            conference,
            join: own.join_id,
            participants: Vec::new(),
            texts: Vec::new(),
            refused_texts: 0,
        };
        for participant in participants {
            talker.see(participant);
        }
        talker.say().await;
        talker
    }

    fn see(&mut self, participant: Participant) {
        let announced = Announced {
            account: participant.account,
            leaf: participant.leaf,
        };
        self.member
            .announce(Instant::now(), participant.join_id, announced);
        self.participants
            .retain(|known| known.sender != participant.sender);
        self.participants.push(participant);
    }

    /// Sends what the member has to say.
    async fn say(&mut self) {
        let said = std::iter::from_fn(|| self.member.poll_message());
        let messages: Vec<wire::FromMember> = said.map(Into::into).collect();
        for some in messages.chunks(MAX_GROUP_MESSAGES) {
            self.client.done(self.request(some.to_vec())).await;
        }
    }

    fn request(&self, messages: Vec<wire::FromMember>) -> request::Kind {
        let join_id = self.join.to_wire();
        request::Kind::SendToGroup(wire::SendToGroup {
            conference_id: self.conference.to_wire(),
            resume_secret: secret_of(&join_id),
            join_id,
            messages,
        })
    }

    /// Takes what has come.
    async fn listen(&mut self) {
        while let Some(message) = self.client.any_group_message().await {
            let (conference, join, message) = from_stream(message).unwrap().unwrap();
            assert_eq!(conference, self.conference);
            assert!(join.is_none_or(|join| join == self.join));
            self.take(message);
        }
        while let Some(event) = self.client.event_that_has_come().await {
            match event.kind.unwrap() {
                event::Kind::Joined(wire::ParticipantJoined { participant })
                | event::Kind::Changed(wire::ParticipantChanged { participant }) => {
                    self.see(participant.as_ref().unwrap().try_into().unwrap());
                }
                event::Kind::LeavesAssigned(assigned) => {
                    for one in assigned.leaves {
                        let mut all = self.participants.iter();
                        let known = all.find(|known| u32::from(known.sender) == one.sender);
                        let mut known = known.unwrap().clone();
                        known.leaf = one.leaf.as_ref().map(Into::into);
                        self.see(known);
                    }
                }
                event::Kind::Left(left) => {
                    let is_it = |one: &Participant| u32::from(one.sender) == left.sender;
                    let at = self.participants.iter().position(is_it).unwrap();
                    let gone = self.participants.remove(at);
                    self.member.depart(Instant::now(), gone.join_id);
                }
                _ => {}
            }
        }
        self.member.update(Instant::now());
        while let Some(event) = self.member.poll_event() {
            match event {
                MemberEvent::Text { text, .. } => self.texts.push(text),
                MemberEvent::TextRefused(_) => self.refused_texts += 1,
                MemberEvent::Refused(why) => panic!("{why}"),
                _ => {}
            }
        }
        self.say().await;
    }

    fn take(&mut self, message: ToMember) {
        self.member.handle(Instant::now(), message);
    }
}

/// Lets all go on until it is so.
async fn until(talkers: &mut [&mut Talker], is_so: impl Fn(&[&mut Talker]) -> bool) {
    let began = Instant::now();
    while !is_so(talkers) {
        for talker in talkers.iter_mut() {
            talker.listen().await;
        }
        assert!(began.elapsed() < PATIENCE, "it becomes so");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// True if all are in one epoch of so many leaves, and seal under it.
fn agree(talkers: &[&mut Talker], leaves: usize) -> bool {
    let code = |talker: &&mut Talker| talker.member.code().map(|code| code.to_string());
    let first = talkers.first().and_then(code);
    first.is_some()
        && talkers.iter().all(|talker| code(talker) == first)
        && talkers.iter().all(|talker| {
            let sealing = talker.member.sealing().map(|key_id| key_id.epoch);
            let epoch = talker.member.epoch().map(|epoch| epoch as u8);
            talker.member.leaves().count() == leaves && sealing == epoch
        })
}

async fn scene() -> (TestServer, crate::relay::FakeRelay, Talker, Talker) {
    let server = TestServer::start().await;
    let relay = server.relay("berlin").await;
    let ann = server.user("ann").await;
    ann.create(SLUG, Visibility::Public).await;
    let mut ann = Talker::join(ann, "ann").await;
    let mut bob = Talker::join(server.user("bob").await, "bob").await;
    until(&mut [&mut ann, &mut bob], |all| agree(all, 2)).await;
    (server, relay, ann, bob)
}

#[tokio::test]
async fn members_share_keys_and_the_relay_knows_their_leaves_first() {
    let (server, relay, mut ann, mut bob) = scene().await;
    let cem = server.user("cem").await;
    let mut cem = Talker::join(cem, "cem").await;
    until(&mut [&mut ann, &mut bob, &mut cem], |all| agree(all, 3)).await;
    let key_id = ann.member.sealing().unwrap();
    for other in [&bob, &cem] {
        assert_eq!(
            other.member.base_key(key_id),
            ann.member.base_key(key_id),
            "one key for all"
        );
        assert_eq!(other.member.participant(key_id), Some(ann.join));
    }
    let granted: Vec<u16> = relay
        .actions()
        .iter()
        .filter_map(|action| match action {
            Action::SetLeaves(leaves) => Some(leaves.iter().map(|(sender, _)| *sender)),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(granted, [0, 1, 2]);
}

#[tokio::test]
async fn who_leaves_has_no_key_of_the_next_epoch() {
    let (_server, _relay, mut ann, mut bob) = scene().await;
    let leave = wire::LeaveRoom {
        slug: SLUG.to_owned(),
        join_id: bob.join.to_wire(),
    };
    bob.client.done(request::Kind::LeaveRoom(leave)).await;
    until(&mut [&mut ann], |all| agree(all, 1)).await;
    // What comes to Bob's connection by then is nothing that helps.
    while let Some(message) = bob.client.any_group_message().await {
        let (_, _, message) = from_stream(message).unwrap().unwrap();
        bob.take(message);
    }
    let key_id = ann.member.sealing().unwrap();
    assert!(bob.member.base_key(key_id).is_none());
}

#[tokio::test]
async fn texts_reach_the_others_and_not_from_who_is_muted() {
    let (_server, _relay, mut ann, mut bob) = scene().await;
    bob.member.send_text("hello").unwrap();
    until(&mut [&mut ann, &mut bob], |all| !all[0].texts.is_empty()).await;
    assert_eq!(ann.texts, ["hello"]);
    ann.client
        .done(crate::harness::mute(SLUG, "bob", true))
        .await;
    bob.member.send_text("and more").unwrap();
    until(&mut [&mut ann, &mut bob], |all| all[1].refused_texts == 1).await;
    ann.client
        .done(crate::harness::mute(SLUG, "bob", false))
        .await;
    for n in 0..12 {
        bob.member.send_text(&n.to_string()).unwrap();
    }
    until(&mut [&mut ann, &mut bob], |all| {
        all[0].texts.len() - 1 + all[1].refused_texts - 1 == 12
    })
    .await;
    assert!(bob.refused_texts > 1, "ten at once, and then five a second");
    assert!(ann.texts.len() > 9);
}

#[tokio::test]
async fn a_member_whose_connection_is_lost_goes_on_where_it_was() {
    let (server, _relay, mut ann, mut bob) = scene().await;
    bob.client.connection.close(0u32.into(), b"gone");
    let mut cem = Talker::join(server.user("cem").await, "cem").await;
    until(&mut [&mut ann, &mut cem], |all| agree(all, 3)).await;
    let again = server.client().await;
    again.login("bob", crate::harness::PASSWORD).await.unwrap();
    let group = bob.member.group().zip(bob.member.epoch());
    let joined = again
        .resume_in_group(
            SLUG,
            &bob.join.to_wire(),
            group.map(|(name, epoch)| at(name, epoch)),
        )
        .await
        .unwrap();
    bob.client = again;
    for participant in &joined.participants {
        bob.see(participant.try_into().unwrap());
    }
    bob.member.resume();
    let before = bob.member.group();
    until(&mut [&mut ann, &mut bob, &mut cem], |all| agree(all, 3)).await;
    assert_eq!(bob.member.group(), before, "the group is the same");
}

#[tokio::test]
async fn a_long_request_is_for_who_was_asked_for_a_commit() {
    let (_server, _relay, mut ann, bob) = scene().await;
    let long = FromMember::Committed {
        group: bob.member.group().unwrap(),
        epoch: 0,
        commit: vec![0; 4 * MAX_REQUEST],
        welcome: Vec::new(),
    };
    let refused = bob.client.refused(bob.request(vec![long.into()])).await;
    assert_eq!(refused, ErrorCode::TooLarge);
    let many = FromMember::Merged {
        group: bob.member.group().unwrap(),
        epoch: 0,
    };
    let many = vec![wire::FromMember::from(many); MAX_GROUP_MESSAGES + 1];
    let refused = bob.client.refused(bob.request(many)).await;
    assert_eq!(refused, ErrorCode::InvalidArgument);
    let mut by_another = bob.request(Vec::new());
    if let request::Kind::SendToGroup(send) = &mut by_another {
        send.resume_secret = Bytes::from_static(&[0; 16]);
        send.messages = vec![
            FromMember::Failed {
                group: ann.member.group().unwrap(),
                epoch: ann.member.epoch().unwrap(),
            }
            .into(),
        ];
    }
    // It is answered as if it had been taken: whose join it is is told to nobody.
    ann.client.done(by_another).await;
    let mut bob = bob;
    until(&mut [&mut ann, &mut bob], |all| agree(all, 2)).await;
}
