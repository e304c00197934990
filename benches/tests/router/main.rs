//! The real server behind a router: the ports that it has opened there, what it prints, and participants who come from elsewhere.
//!
//! The home, the router and the network outside are network namespaces, which need root. The router is of this test (`fake`).

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod fake;
#[path = "../../../relay/tests/namespaces/mod.rs"]
mod namespaces;
mod world;

use std::time::Duration;

use common::{hears_more, register, talk};
use fake::{Protocol, Request};
use tokio::time::Instant;
use world::World;

/// The server says within this time what came of its request, with the time in which a busy machine starts it.
const ANSWER: Duration = Duration::from_secs(15);
/// A router that does not answer is asked again within this time.
const NEXT_ATTEMPT: Duration = Duration::from_secs(60);
/// A call that is heard all the time has no longer gap, even on a busy machine. Statistics come every 100 ms.
const GAP: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn participants_elsewhere_talk_through_ports_that_nat_pmp_opened() {
    let Some(world) = World::new(&[Protocol::NatPmp], 1000) else {
        return;
    };
    let mut server = world.serve(&["--map-ports"]);
    server.wait_for(
        "the router passes UDP 203.0.113.9:5433 and :5434 to this machine",
        ANSWER,
    );
    let link = server.link("join from elsewhere: ", ANSWER);
    assert!(link.starts_with("confab://203.0.113.9:5433/"), "{link}");
    let near = server.link("join from this network: ", ANSWER);
    assert!(near.starts_with("confab://192.168.7.7/"), "{near}");
    world.relay_is_told(|addresses| {
        addresses[0] == "203.0.113.9:5434" && addresses.contains(&"192.168.7.7:4434")
    });

    // The network outside has no way to the home but those ports.
    let users = world.users_outside("203.0.113.9:5433");
    register(&users, "ann").await;
    register(&users, "ben").await;
    let (mut ann, mut ben) = talk(&users, &link).await;
    hears_more(&mut ben, "ann").await;
    ben.leave().await.unwrap();
    ann.leave().await.unwrap();

    assert_eq!(world.router.mapped(), [(4433, 5433), (4434, 5434)]);
    server.end();
    assert_eq!(world.router.mapped(), [], "released at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_opened_and_released_by_pcp() {
    opens_and_releases(Protocol::Pcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_opened_and_released_by_upnp() {
    opens_and_releases(Protocol::Upnp).await;
}

async fn opens_and_releases(protocol: Protocol) {
    let Some(world) = World::new(&[protocol], 0) else {
        return;
    };
    let mut server = world.serve(&["--map-ports"]);
    server.wait_for(
        "the router passes UDP 203.0.113.9:4433 and :4434 to this machine",
        ANSWER,
    );
    let link = server.link("join from elsewhere: ", ANSWER);
    assert!(link.starts_with("confab://203.0.113.9/"), "{link}");
    assert_eq!(world.router.mapped(), [(4433, 4433), (4434, 4434)]);
    server.end();
    assert_eq!(world.router.mapped(), [], "released at the end");
    // The ports were asked for as they are here, so that links stay valid over restarts.
    let wished = world
        .router
        .requests()
        .into_iter()
        .filter_map(|request| match request {
            Request::Map { internal, wished } => Some((internal, wished)),
            Request::Release => None,
        });
    assert!(
        wished
            .into_iter()
            .all(|(internal, wished)| internal == wished)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_does_not_answer_is_told_with_the_ports_to_forward() {
    let Some(world) = World::new(&[], 0) else {
        return;
    };
    let mut server = world.serve(&["--map-ports"]);
    let expected = "the router did not open the ports (it answers neither PCP, NAT-PMP nor UPnP): \
                    forward UDP ports 4433 and 4434 to 192.168.7.7 at the router, for friends outside of your network";
    server.wait_for(expected, ANSWER);
    let link = server.link("join from here or elsewhere: ", ANSWER);
    assert!(link.starts_with("confab://192.168.7.7/"), "{link}");
    server.end();

    let mut server = world.serve(&[]);
    let hint = "forward UDP ports 4433 and 4434 to 192.168.7.7 at the router, for friends outside of your network; \
                --map-ports asks the router for that";
    server.wait_for(hint, ANSWER);
    server.end();
    assert_eq!(world.router.requests(), [], "nobody asked the router");

    // With a name of its own the operator knows what to do.
    let mut server = world.serve(&["--public-name", "192.168.7.7"]);
    server.link("join from here or elsewhere: ", ANSWER);
    assert!(!server.has_said("forward UDP ports"));
    server.end();
}

/// Control learns the address outside while a call goes on, over a new link of the relay.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_answers_late_is_told_to_clients_and_no_call_is_lost() {
    let Some(world) = World::new(&[], 0) else {
        return;
    };
    let mut server = world.serve(&["--map-ports"]);
    server.wait_for("the router did not open the ports", ANSWER);
    let link = server.link("join from here or elsewhere: ", ANSWER);
    let users = world.users_at_home("192.168.7.7:4433");
    register(&users, "ann").await;
    register(&users, "ben").await;
    let (mut ann, mut ben) = talk(&users, &link).await;
    hears_more(&mut ben, "ann").await;

    world.router.answer(&[Protocol::NatPmp]);
    let before = Instant::now();
    server.wait_for(
        "the router passes UDP 203.0.113.9:4433 and :4434",
        NEXT_ATTEMPT,
    );
    println!(
        "a router that answers late: asked again after {:.1?}",
        before.elapsed()
    );
    world.relay_is_told(|addresses| addresses[0] == "203.0.113.9:4434");
    hears_more(&mut ben, "ann").await;
    let told = ben.told_since(before);
    assert!(
        !told.contains("reconnecting") && !told.contains("\"media\""),
        "{told}"
    );
    let gap = ben.longest_gap("ann", before, Instant::now());
    println!("the longest gap of voice: {gap:.1?}");
    assert!(gap < GAP, "{gap:?}{told}");
    ben.leave().await.unwrap();
    ann.leave().await.unwrap();
    server.end();
    assert_eq!(world.router.mapped(), [], "released at the end");
}
