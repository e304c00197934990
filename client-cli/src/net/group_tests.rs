//! Tests: the messages of the room's group between a participation and its server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use confab_e2ee::mls::{FromMember, GroupName, ToMember, wire as group_wire};
use confab_protocol::control::{ConferenceId, ErrorCode, JoinId, MAX_GROUP_MESSAGE};
use confab_protocol::wire::{self, request, response};

use super::ApiError;
use super::event::GroupMessage;
use super::sign_in::SignInError;
use super::supervisor::{CallRequest, Standing, Supervisor, Update};
use super::testing::{Node, kindly, next, refuse, room_joined, slug};
use crate::engine::testing::CONFERENCE;
use crate::failure::{Exit, Failure};

const GROUP: GroupName = GroupName {
    conference: CONFERENCE,
    era: 1,
    generation: 1,
};

/// One's own join at these nodes.
const OWN: JoinId = JoinId::new([0; 16]);

fn merged(epoch: u64) -> FromMember {
    FromMember::Merged {
        group: GROUP,
        epoch,
    }
}

/// The epochs in each request so far.
fn epochs(node: &Node) -> Vec<Vec<u64>> {
    let epoch = |message: wire::FromMember| match FromMember::try_from(message).unwrap() {
        FromMember::Merged { epoch, .. } => epoch,
        other => panic!("{other:?}"),
    };
    let requests = node.group_requests().into_iter();
    requests
        .map(|request| request.messages.into_iter().map(epoch).collect())
        .collect()
}

/// Waits until the node has got as many messages.
async fn got(node: &Node, count: usize) -> Vec<Vec<u64>> {
    let waiting = async {
        loop {
            let epochs = epochs(node);
            if epochs.concat().len() >= count {
                return epochs;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting);
    waited.await.expect("messages in time")
}

/// The next message of the group.
async fn next_of_group(supervisor: &mut Supervisor) -> GroupMessage {
    loop {
        if let Update::Group(message) = next(supervisor).await {
            return message;
        }
    }
}

fn joined_with(change: impl Fn(&mut wire::RoomJoined)) -> response::Kind {
    let response::Kind::RoomJoined(mut joined) = room_joined() else {
        panic!("it is a join");
    };
    change(&mut joined);
    response::Kind::RoomJoined(joined)
}

#[tokio::test]
async fn a_room_whose_keys_are_made_in_an_old_way_is_not_joined() {
    for scheme in [0, 1, 3] {
        let node = Node::start(move |request| match request {
            request::Kind::JoinRoom(_) => joined_with(|joined| joined.key_scheme = scheme),
            other => kindly(other),
        });
        let (access, _home) = node.logged_in(u64::MAX).await;
        let refused = Supervisor::start(access, slug(), None).await.unwrap_err();
        let failure = Failure::from(refused);
        let begins = "this server offers an old or unknown way of end-to-end encryption: ";
        assert!(failure.message.starts_with(begins), "{}", failure.message);
        assert_eq!(failure.exit, Exit::Version);
    }
}

#[tokio::test]
async fn a_join_without_the_key_of_the_delivery_service_is_refused() {
    let node = Node::start(|request| match request {
        request::Kind::JoinRoom(_) => {
            joined_with(|joined| joined.delivery_key = vec![1; 31].into())
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let refused = Supervisor::start(access, slug(), None).await.unwrap_err();
    assert!(matches!(refused, SignInError::Api(ApiError::Malformed(_))));
}

#[tokio::test]
async fn messages_go_in_order_one_request_at_a_time_and_all_that_waits_in_the_next() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    *node.pause.lock().unwrap() = Duration::from_millis(300);
    supervisor.request(CallRequest::Group(OWN, merged(0)));
    got(&node, 1).await;
    for epoch in 1..=20 {
        supervisor.request(CallRequest::Group(OWN, merged(epoch)));
    }
    let requests = got(&node, 21).await;
    let lengths: Vec<_> = requests.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 16, 4]);
    assert_eq!(requests.concat(), (0..=20).collect::<Vec<_>>());
    let request = &node.group_requests()[0];
    assert_eq!(request.conference_id, CONFERENCE.to_wire());
    assert_eq!(request.join_id, OWN.to_wire());
    assert_eq!(request.resume_secret[..], [4; 16]);
}

#[tokio::test]
async fn a_request_that_is_refused_for_now_is_repeated_before_the_next_one() {
    let refusals = AtomicU32::new(0);
    let node = Node::start(move |request| match request {
        request::Kind::SendToGroup(_) => match refusals.fetch_add(1, Ordering::Relaxed) {
            0 => refuse(ErrorCode::Throttled),
            1 => refuse(ErrorCode::Busy),
            // The next one is refused for good.
            3 => refuse(ErrorCode::InvalidArgument),
            _ => kindly(request),
        },
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    supervisor.request(CallRequest::Group(OWN, merged(1)));
    got(&node, 1).await;
    supervisor.request(CallRequest::Group(OWN, merged(2)));
    got(&node, 4).await;
    supervisor.request(CallRequest::Group(OWN, merged(3)));
    assert_eq!(got(&node, 5).await, [[1], [1], [1], [2], [3]]);
}

#[tokio::test]
async fn messages_of_a_join_that_is_over_are_not_sent() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    supervisor.request(CallRequest::Group(JoinId::new([9; 16]), merged(1)));
    supervisor.request(CallRequest::Group(OWN, merged(2)));
    assert_eq!(got(&node, 1).await, [[2]]);
}

#[tokio::test]
async fn of_the_groups_messages_those_to_this_join_or_to_all_in_its_room_are_taken() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    // The streams are there when the first event has come.
    next(&mut supervisor).await;
    let text = |n| ToMember::Text([n].into());
    node.tell_group(ConferenceId::new([1; 16]), None, &text(1));
    node.tell_group(CONFERENCE, Some(JoinId::new([9; 16])), &text(2));
    node.tell_group(CONFERENCE, None, &text(3));
    let welcome = ToMember::Welcome {
        group: GROUP,
        epoch: 1,
        welcome: [1; 1000].into(),
        tree: vec![2; 3_000_000].into(),
    };
    node.tell_group(CONFERENCE, Some(OWN), &welcome);
    assert_eq!(next_of_group(&mut supervisor).await.message, text(3));
    assert_eq!(next_of_group(&mut supervisor).await.message, welcome);
}

#[tokio::test]
async fn messages_that_nobody_takes_are_held_up_to_a_limit() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    // 2 MB each: eight of them fit, and all come as they are taken.
    let welcome = ToMember::Welcome {
        group: GROUP,
        epoch: 1,
        welcome: [1; 100].into(),
        tree: vec![2; MAX_GROUP_MESSAGE / 4].into(),
    };
    for _ in 0..12 {
        node.tell_group(CONFERENCE, None, &welcome);
    }
    let mut held = Vec::new();
    for _ in 0..7 {
        held.push(next_of_group(&mut supervisor).await);
    }
    let another = tokio::time::timeout(Duration::from_millis(500), next_of_group(&mut supervisor));
    assert!(another.await.is_err(), "the limit is reached");
    held.clear();
    for _ in 7..12 {
        next_of_group(&mut supervisor).await;
    }
}

#[tokio::test]
async fn a_resumed_join_says_where_the_member_stands() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    supervisor.call_stands(Standing {
        live: None,
        group: Some((GROUP, 7)),
    });
    node.hang_up();
    while !matches!(next(&mut supervisor).await, Update::Rejoined { .. }) {}
    let joins = node.join_requests();
    assert_eq!(joins[0].group, None);
    assert_eq!(joins[1].group, Some(group_wire::at(GROUP, 7)));
}

#[tokio::test]
async fn a_message_to_the_group_that_is_too_long_ends_the_connection() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    let too_long = u32::try_from(MAX_GROUP_MESSAGE + 1).unwrap();
    node.tell_group_bytes(&too_long.to_be_bytes());
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
}
