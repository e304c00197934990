//! Tests: recovery of a participation from failures, against control nodes that answer as the test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use confab_protocol::control::{ErrorCode, Refusal};
use confab_protocol::media::ConnectionId;
use confab_protocol::wire::{self, event, request, response};

use super::api::MediaReport;
use super::event::ServerEvent;
use super::sign_in::SignInError;
use super::slow_path::slow_path;
use super::supervisor::{CallRequest, Standing, Supervisor, Update};
use super::testing::{Node, kindly, next, redirecting, refuse, room_joined, slug, telling};
use super::{ApiError, Link, Nodes};
use crate::engine::testing;

/// Welcomes from a region.
fn from_region(region: &'static str) -> impl Fn(&request::Kind) -> response::Kind {
    move |request| match kindly(request) {
        response::Kind::Welcome(welcome) => response::Kind::Welcome(wire::Welcome {
            region: region.into(),
            ..welcome
        }),
        other => other,
    }
}

/// A join, and none that is resumed with a live session, has media.
fn keeping_media(request: &request::Kind) -> response::Kind {
    match (request, room_joined()) {
        (request::Kind::JoinRoom(join), response::Kind::RoomJoined(joined))
            if !join.live_connection_id.is_empty() =>
        {
            response::Kind::RoomJoined(wire::RoomJoined {
                media: None,
                ..joined
            })
        }
        _ => kindly(request),
    }
}

fn live(session: ConnectionId) -> Standing {
    Standing {
        live: Some(session),
        group: None,
    }
}

async fn rejoined(supervisor: &mut Supervisor) -> (bool, bool) {
    loop {
        if let Update::Rejoined {
            joined, resumed, ..
        } = next(supervisor).await
        {
            return (resumed, joined.media.is_some());
        }
    }
}

#[tokio::test]
async fn a_live_media_session_is_kept_when_the_join_is_taken_up_again() {
    let node = Node::start(keeping_media);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, media, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    supervisor.call_stands(live(media.connection_id));
    node.hang_up();
    assert_eq!(rejoined(&mut supervisor).await, (true, false));
    supervisor.call_stands(Standing::default());
    node.hang_up();
    assert_eq!(rejoined(&mut supervisor).await, (true, true));
    let live: Vec<_> = node
        .join_requests()
        .into_iter()
        .map(|join| join.live_connection_id.to_vec())
        .collect();
    let id = media.connection_id.to_bytes().to_vec();
    assert_eq!(live, [vec![], id, vec![]]);
}

/// Waits until the node was asked for so many joins.
async fn asked(node: &Node, joins: usize) {
    let asked = async {
        while node.join_requests().len() < joins {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let asked = tokio::time::timeout(Duration::from_secs(5), asked);
    asked.await.expect("a join in time");
}

#[tokio::test]
async fn a_media_session_that_dies_while_it_is_kept_is_replaced_at_once() {
    for reconnects in [true, false] {
        let node = Node::start(keeping_media);
        let (access, _home) = node.logged_in(u64::MAX).await;
        let (_, media, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
        supervisor.call_stands(live(media.connection_id));
        *node.pause.lock().unwrap() = Duration::from_millis(200);
        if reconnects {
            node.hang_up();
        } else {
            supervisor.request(CallRequest::Resume);
        }
        asked(&node, 2).await;
        // The answer is on its way, and says that the session stays.
        supervisor.call_stands(Standing::default());
        supervisor.request(CallRequest::Resume);
        assert_eq!(rejoined(&mut supervisor).await, (true, false));
        assert_eq!(rejoined(&mut supervisor).await, (true, true));
    }
}

#[tokio::test]
async fn a_join_anew_that_is_refused_for_now_is_asked_for_again() {
    let refusals = AtomicU32::new(0);
    let node = Node::start(move |request| match request {
        request::Kind::JoinRoom(join)
            if !join.resume_join_id.is_empty() && refusals.fetch_add(1, Ordering::Relaxed) < 3 =>
        {
            refuse(ErrorCode::Throttled)
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    supervisor.request(CallRequest::Resume);
    assert_eq!(rejoined(&mut supervisor).await, (true, true));
    assert_eq!(node.join_requests().len(), 5);
    // It is there, so that it is wanted no more.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.join_requests().len(), 5);
}

#[tokio::test]
async fn a_node_that_says_nothing_more_is_left_for_another() {
    let node = Node::start(kindly);
    let other = node.start_beside(kindly);
    let (mut access, _home) = node.logged_in(u64::MAX).await;
    let others = vec![other.address.to_string().parse().unwrap()];
    access.set_nodes(Nodes::new(access.server.clone(), others));
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    // It still acknowledges what comes, and answers nothing.
    *node.pause.lock().unwrap() = Duration::from_secs(3600);
    supervisor.request(CallRequest::Resume);
    let begun = Instant::now();
    let back = async {
        while other.joins().is_empty() {
            supervisor.updates.recv().await.expect("it goes on");
        }
    };
    let back = tokio::time::timeout(Duration::from_secs(60), back).await;
    back.expect("the other node is asked");
    let server_time = Duration::from_secs(6);
    assert!(
        begun.elapsed() > server_time,
        "the server's own time was not waited for"
    );
}

#[tokio::test]
async fn a_join_without_media_is_malformed_when_none_was_live() {
    let node = Node::start(|request| match kindly(request) {
        response::Kind::RoomJoined(joined) => response::Kind::RoomJoined(wire::RoomJoined {
            media: None,
            ..joined
        }),
        other => other,
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let refused = Supervisor::start(access, slug(), None).await.unwrap_err();
    assert!(
        matches!(refused, SignInError::Api(ApiError::Malformed(_))),
        "{refused}"
    );
}

#[tokio::test]
async fn the_region_of_the_node_that_was_reached_first_is_told_to_the_one_that_has_the_room() {
    let home_node = Node::start(from_region("north"));
    let redirect = redirecting(home_node.address);
    let south = from_region("south");
    let first = home_node.start_beside(move |request| match redirect(request) {
        response::Kind::Welcome(_) => south(request),
        other => other,
    });
    for (flag, told) in [(None, "south"), (Some("west".parse().unwrap()), "west")] {
        let (access, _home) = first.logged_in(u64::MAX).await;
        let (_, _, mut supervisor) = Supervisor::start(access, slug(), flag).await.unwrap();
        home_node.hang_up();
        rejoined(&mut supervisor).await;
        for node in [&first, &home_node] {
            let regions: Vec<_> = node
                .join_requests()
                .into_iter()
                .map(|join| join.region)
                .collect();
            assert_eq!(regions.last().map(String::as_str), Some(told));
        }
    }
}

#[tokio::test]
async fn a_room_that_changes_its_node_is_asked_for_again_on_the_same_connection() {
    let asked = AtomicU32::new(0);
    let node = Node::start(move |request| match request {
        request::Kind::JoinRoom(_) if asked.fetch_add(1, Ordering::Relaxed) < 4 => {
            let wait = Duration::from_millis(50);
            let refusal = Refusal::new(ErrorCode::Busy, "it changes its node").after(wait);
            response::Kind::Error(refusal.into())
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let begun = Instant::now();
    Supervisor::start(access, slug(), None).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(4 * 50));
    assert_eq!(node.joins().len(), 5);
    assert_eq!(node.connections.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_first_join_without_a_relay_fails_at_once() {
    let node = Node::start(|request| match request {
        request::Kind::JoinRoom(_) => refuse(ErrorCode::NoRelay),
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    Supervisor::start(access, slug(), None).await.unwrap_err();
    assert_eq!(node.joins().len(), 1);
}

#[tokio::test]
async fn a_join_redirected_to_a_dead_node_succeeds_at_the_rooms_next_node() {
    let dead = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let asked = AtomicU32::new(0);
    let redirect = redirecting(dead);
    let node = Node::start(move |request| match request {
        request::Kind::JoinRoom(_) if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
            redirect(request)
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    Supervisor::start(access, slug(), None).await.unwrap();
    assert_eq!(node.joins().len(), 2);
}

#[tokio::test]
async fn a_probe_reaches_the_call_while_a_join_is_under_way_and_its_report_the_server() {
    // Refused for as long as no report has come: control waits for it.
    let reported = Arc::new(AtomicU32::new(0));
    let reports = reported.clone();
    let node = Node::start(move |request| match request {
        request::Kind::JoinRoom(join)
            if !join.resume_join_id.is_empty() && reports.load(Ordering::Relaxed) == 0 =>
        {
            refuse(ErrorCode::Busy)
        }
        request::Kind::ReportMedia(_) => {
            reports.store(1, Ordering::Relaxed);
            kindly(request)
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (joined, media, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    supervisor.request(CallRequest::Resume);
    let probe = wire::ProbeMedia {
        join_id: joined.me.join_id.to_wire(),
        connection_id: media.connection_id.to_bytes().to_vec().into(),
    };
    node.tell(event::Kind::ProbeMedia(probe));
    let Update::Event(ServerEvent::ProbeMedia(join, connection_id)) = next(&mut supervisor).await
    else {
        panic!("the probe comes first");
    };
    assert_eq!(
        (join, connection_id),
        (joined.me.join_id, media.connection_id)
    );
    supervisor.request(CallRequest::Report(MediaReport {
        conference: testing::CONFERENCE,
        join,
        connection_id,
        alive: true,
    }));
    assert_eq!(rejoined(&mut supervisor).await, (true, true));
    let requests = node.requests.lock().unwrap();
    let report = requests.iter().find_map(|request| match request {
        request::Kind::ReportMedia(report) => Some(report.clone()),
        _ => None,
    });
    let report = report.unwrap();
    assert!(report.alive);
    assert_eq!(report.conference_id, testing::CONFERENCE.to_wire());
    assert_eq!(report.connection_id[..], connection_id.to_bytes()[..]);
}

#[tokio::test]
async fn events_that_overtake_a_join_are_told_after_it() {
    let node = Node::start(|request| match request {
        request::Kind::JoinRoom(join) if !join.resume_join_id.is_empty() => {
            std::thread::sleep(Duration::from_millis(200));
            kindly(request)
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    supervisor.request(CallRequest::Resume);
    tokio::time::sleep(Duration::from_millis(50)).await;
    node.tell(event::Kind::SessionEnded(wire::SessionEnded {}));
    assert!(matches!(
        next(&mut supervisor).await,
        Update::Rejoined { .. }
    ));
    assert!(matches!(
        next(&mut supervisor).await,
        Update::Event(ServerEvent::SessionEnded)
    ));
}

#[tokio::test]
async fn after_a_long_sleep_the_connection_is_made_anew_at_once_and_after_a_short_one_kept() {
    let node = Node::start(|request| match request {
        request::Kind::JoinRoom(join) if !join.resume_join_id.is_empty() => {
            refuse(ErrorCode::NotFound)
        }
        other => kindly(other),
    });
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    supervisor.request(CallRequest::Woke(Duration::from_secs(5)));
    supervisor.request(CallRequest::Woke(Duration::from_secs(300)));
    let Update::Lost(reason) = next(&mut supervisor).await else {
        panic!("the connection is given up");
    };
    assert_eq!(reason, "asleep for 300 s");
    assert!(matches!(
        next(&mut supervisor).await,
        Update::Rejoined {
            resumed: false,
            reconnected: true,
            ..
        }
    ));
    assert_eq!(node.connections.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_impostor_on_the_way_is_told_of_and_does_not_end_the_call() {
    let node = Node::start(kindly);
    let leads_to = Arc::new(Mutex::new(node.address));
    let path = slow_path(leads_to.clone(), Duration::ZERO).await;
    let (access, _home) = node.logged_in_at(path, u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    let impostor = Node::start(kindly);
    *leads_to.lock().unwrap() = impostor.address;
    node.hang_up();
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Update::Lost(reason) = next(&mut supervisor).await {
            told.push(reason);
        }
    }
    assert!(told[1].contains("somebody may be in between"), "{told:?}");
    *leads_to.lock().unwrap() = node.address;
    assert_eq!(rejoined(&mut supervisor).await, (true, true));
    assert!(impostor.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_everybody_comes_to_is_waited_for() {
    let node = Node::start(kindly);
    let (access, _home) = node.access(node.pinned()).await;
    // A round trip is longer than the silence after which a connection that stands is lost.
    let slow = Arc::new(Mutex::new(node.address));
    let slow = slow_path(slow, Duration::from_millis(1600)).await;
    let server = slow.to_string().parse().unwrap();
    let link = Link::open(&server, access.trust()).await.unwrap();
    let lost = tokio::time::timeout(Duration::from_secs(5), link.lost()).await;
    assert!(lost.is_err(), "{lost:?}");
}

#[tokio::test]
async fn a_node_that_answers_nothing_any_more_is_told_apart_from_one_that_hangs_up() {
    let node = Node::start(kindly);
    let (access, _home) = node.access(node.pinned()).await;
    let link = Link::open(&access.server, access.trust()).await.unwrap();
    let mut events = link.incoming().events;
    assert!(events.recv().await.is_some());
    node.hang_up();
    assert!(events.recv().await.is_none());
    assert!(!link.lost().await.node_is_gone);

    let link = Link::open(&access.server, access.trust()).await.unwrap();
    let mut events = link.incoming().events;
    assert!(events.recv().await.is_some());
    // As one that was killed: nobody reads what comes to its port.
    let nobody = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    node.endpoint.rebind(nobody.try_clone().unwrap()).unwrap();
    let lost = tokio::time::timeout(Duration::from_secs(20), link.lost()).await;
    assert!(lost.unwrap().node_is_gone);
    assert!(events.recv().await.is_none());
    assert!(link.lost().await.node_is_gone, "its reason stays");
}

#[tokio::test]
async fn a_node_that_goes_away_is_left_for_another() {
    let other = Node::start(kindly);
    let first = other.start_beside(telling(other.address));
    let (access, _home) = first.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    // It is there still, for a while.
    first.tell(event::Kind::GoingAway(wire::GoingAway {
        retry_after_ms: 10,
    }));
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    assert_eq!(rejoined(&mut supervisor).await, (true, true));
    assert_eq!((first.joins().len(), other.joins().len()), (1, 1));
}

#[tokio::test]
async fn a_network_that_is_back_cuts_a_wait_short() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    let an_hour = wire::GoingAway {
        retry_after_ms: 3_600_000,
    };
    node.tell(event::Kind::GoingAway(an_hour));
    assert!(matches!(next(&mut supervisor).await, Update::Lost(_)));
    supervisor.request(CallRequest::NetworkBack);
    assert_eq!(rejoined(&mut supervisor).await, (true, true));
}

#[tokio::test]
async fn a_server_that_floods_with_events_waits_for_the_call_and_the_call_can_leave() {
    let node = Node::start(kindly);
    let (access, _home) = node.logged_in(u64::MAX).await;
    let (_, _, mut supervisor) = Supervisor::start(access, slug(), None).await.unwrap();
    next(&mut supervisor).await;
    // Nobody reads: neither the events nor what the supervisor tells.
    for _ in 0..60 {
        for _ in 0..100 {
            node.tell(event::Kind::SessionEnded(wire::SessionEnded {}));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        supervisor.updates.len() <= 2048,
        "{}",
        supervisor.updates.len()
    );
    let (to, left) = tokio::sync::oneshot::channel();
    supervisor.request(CallRequest::Leave(to));
    tokio::time::timeout(Duration::from_secs(5), left)
        .await
        .unwrap()
        .unwrap();
}
