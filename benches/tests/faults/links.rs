//! Control and a relay cannot see each other, and people see both.

use std::time::Duration;

use confab_benches::wire::Scope;
use tokio::time::{Instant, sleep, sleep_until};

use super::figures::{Figures, HIDDEN, HIDDEN_LOOSE, print, strict};
use super::talkers::{Moment, everyone_hears_everyone, join, leave, talking, worst_missed};
use super::world::{PATIENCE, Plan, World};

const NAMES: [&str; 3] = ["ann", "ben", "cem"];
/// After the link is back, all is as it should be within this time: longer than a relay waits between two attempts.
const CONVERGED: Duration = Duration::from_secs(10);
const CONVERGED_LOOSE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn voice_goes_on_and_a_kick_is_applied_when_control_and_relay_are_parted() {
    let plan = Plan {
        relays: 2,
        wires: true,
        ..Plan::default()
    };
    let world = World::start(plan).await;
    world.register(0, &NAMES).await;
    world.register(0, &["dia", "eve"]).await;
    world.ok(0, "ann", &["conference", "create", "room"]).await;
    let mut talkers = talking(&world, 0, "room", &NAMES).await;
    let users = world.users(0);
    let mut eve = join(&world, &users, "room", "eve", 3).await;
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    sleep(Duration::from_secs(2)).await;
    let at = world.relay_with_sessions().await;

    let parted = Duration::from_secs(if strict() { 20 } else { 8 });
    let fault = Moment::now();
    world.relays[at].links[0].cut(Scope::Everyone);
    sleep(Duration::from_secs(3)).await;
    let kick = ["conference", "kick", "room", "eve"];
    let kick = users.try_client("ann", &kick, None);
    let (answer, ()) = tokio::join!(kick, sleep_until(fault.at + parted));
    print(&format!("a kick while parted got {:?}", answer.unwrap()));
    everyone_hears_everyone(&mut talkers, PATIENCE).await;

    let mended = Instant::now();
    world.relays[at].links[0].mend(Scope::Everyone);
    let left = eve.call.wait_for("left").await.unwrap();
    assert_eq!(left["reason"], "kicked");
    // Those who talk, and nobody else, are on one relay, and on no other.
    loop {
        let mut sessions = Vec::new();
        for relay in &world.relays {
            sessions.push(relay.told().await.gauge("sessions"));
        }
        sessions.sort();
        if sessions == [0, NAMES.len() as u64] {
            break;
        }
        assert!(
            mended.elapsed() < PATIENCE,
            "sessions on relays: {sessions:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
    let converged = mended.elapsed();
    let end = Moment::now();
    world.linked().await;
    let dia = join(&world, &users, "room", "dia", 4).await;
    talkers.push(dia);
    everyone_hears_everyone(&mut talkers, PATIENCE).await;
    leave(&mut talkers).await;
    talkers.pop();
    let mut figures = Figures::of("control and a relay are parted");
    let what = "all is as it should be after the link is back";
    figures.within(what, converged, CONVERGED, CONVERGED_LOOSE);
    let missed = worst_missed(&mut talkers, fault, end);
    figures.within("gap in voice", missed.gap, HIDDEN, HIDDEN_LOOSE);
    world.relays_are_empty().await;
    world.end().await;
    figures.judge();
}
