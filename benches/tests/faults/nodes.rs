//! The control node that owns a room dies, or stands still and wakes.

use std::time::Duration;

use confab_benches::fleet::Call;
use tokio::time::{Instant, sleep, sleep_until};

use super::database::Database;
use super::figures::{HIDDEN, assert_within, say, strict};
use super::talkers::{Moment, Talker, everyone_hears_everyone, join, leave, talking, worst_missed};
use super::world::{PATIENCE, Plan, World};

/// Who talks all the time.
const NAMES: [&str; 3] = ["ann", "ben", "cem"];
/// Another node commands within this time.
const TAKEN_OVER: Duration = Duration::from_secs(5);
const TAKEN_OVER_LOOSE: Duration = Duration::from_secs(25);
/// So long after a takeover whatever was to come of it has come.
const AFTERMATH: Duration = Duration::from_secs(12);

/// A room that the first of two nodes owns: three who talk, and two to whom something will happen.
struct Room {
    world: World,
    talkers: Vec<Talker>,
    /// Will be muted.
    eve: Talker,
    /// Will be sent out.
    fay: Talker,
}

impl Room {
    /// `None` without a database.
    async fn new() -> Option<Self> {
        let database = Database::shared()?;
        let plan = Plan {
            nodes: 2,
            relays: 2,
            store: Some(database.keyspace()),
            ..Plan::default()
        };
        let world = World::start(plan).await;
        world.register(0, &NAMES).await;
        world.register(0, &["dia", "eve", "fay"]).await;
        for name in ["ann", "dia"] {
            world.log_in(1, name).await;
        }
        world.ok(0, "ann", &["conference", "create", "room"]).await;
        let mut talkers = talking(&world, 0, "room", &NAMES).await;
        let people = world.people(0);
        let eve = join(&world, &people, "room", "eve", 3).await;
        let fay = join(&world, &people, "room", "fay", 4).await;
        everyone_hears_everyone(&mut talkers, PATIENCE).await;
        sleep(Duration::from_secs(2)).await;
        Some(Self {
            world,
            talkers,
            eve,
            fay,
        })
    }

    /// Mutes, sends out and joins by the other node, all at once; how long each took.
    async fn command_elsewhere(&mut self) -> Commanded {
        let world = &self.world;
        let mute = ["conference", "mute", "room", "eve"];
        let kick = ["conference", "kick", "room", "fay"];
        let (muted, kicked, (joined, dia)) = tokio::join!(
            world.ok_at_last(1, "ann", &mute),
            world.ok_at_last(1, "ann", &kick),
            joined_at_last(world, 1, "dia")
        );
        Commanded {
            muted,
            kicked,
            joined,
            dia,
        }
    }
}

struct Commanded {
    muted: Duration,
    kicked: Duration,
    joined: Duration,
    dia: Call,
}

impl Commanded {
    fn assert_in_time(&self, fault: &str) {
        for (what, time) in [
            ("mute", self.muted),
            ("kick", self.kicked),
            ("join", self.joined),
        ] {
            let what = format!("{fault}: a {what} at another node");
            assert_within(&what, time, TAKEN_OVER, TAKEN_OVER_LOOSE);
        }
    }
}

/// Joins by the node `at`, again until it works; how long that took.
async fn joined_at_last(world: &World, at: usize, name: &str) -> (Duration, Call) {
    let began = Instant::now();
    let args = ["room", "--in", "none", "--out", "none"];
    loop {
        let mut call = world.people(at).join(name, &args).unwrap();
        match call.wait_for("joined").await {
            Ok(_) => return (began.elapsed(), call),
            Err(error) if began.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn voice_goes_on_and_another_node_commands_when_the_owner_is_killed() {
    let Some(mut room) = Room::new().await else {
        return;
    };
    let fault = Moment::now();
    room.world.nodes[0].kill().await;
    let mut commanded = room.command_elsewhere().await;
    everyone_hears_everyone(&mut room.talkers, PATIENCE).await;
    sleep_until(fault.at + AFTERMATH).await;
    let end = Moment::now();
    let left = room.fay.call.wait_for("left").await.unwrap();
    assert_eq!(left["reason"], "kicked");
    for talker in &mut room.talkers {
        assert!(talker.said_since("reconnected", fault.at), "{}", talker.name);
    }
    leave(&mut room.talkers).await;
    leave(&mut [room.eve]).await;
    commanded.dia.leave().await.unwrap();
    let missed = worst_missed(&room.talkers, fault, end);
    let loose = Duration::from_secs(1);
    assert_within("a node is killed: gap in voice", missed.gap, HIDDEN, loose);
    commanded.assert_in_time("a node is killed");
    room.world.relays_are_empty().await;
    room.world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_changes_nothing_when_it_wakes() {
    let Some(mut room) = Room::new().await else {
        return;
    };
    let standing = Duration::from_secs(if strict() { 30 } else { 12 });
    let fault = Moment::now();
    room.world.nodes[0].process.as_ref().unwrap().stall();
    let mut commanded = room.command_elsewhere().await;
    sleep_until(fault.at + standing).await;
    everyone_hears_everyone(&mut room.talkers, PATIENCE).await;
    let sessions = sessions(&room.world).await;
    let woke = Moment::now();
    room.world.nodes[0].process.as_ref().unwrap().wake();
    sleep_until(woke.at + AFTERMATH).await;
    let end = Moment::now();
    assert_eq!(self::sessions(&room.world).await, sessions, "on the relays");
    let left = room.fay.call.wait_for("left").await.unwrap();
    assert_eq!(left["reason"], "kicked");
    for talker in &mut room.talkers {
        assert!(!talker.said_since("reconnecting", woke.at), "{}", talker.name);
        assert!(!talker.said_since("participant_left", woke.at));
    }
    let [ann, ..] = &mut room.talkers[..] else {
        panic!("there is ann")
    };
    assert!(!ann.has_heard_since("eve", woke.at), "eve stays muted");
    leave(&mut room.talkers).await;
    leave(&mut [room.eve]).await;
    commanded.dia.leave().await.unwrap();
    let missed = worst_missed(&room.talkers, fault, woke);
    say(&format!("a node stalls: gap in voice until it wakes: {:?}", missed.gap));
    let missed = worst_missed(&room.talkers, woke, end);
    let loose = Duration::from_millis(500);
    assert_within("a node wakes: gap in voice", missed.gap, HIDDEN, loose);
    commanded.assert_in_time("a node stalls");
    room.world.relays_are_empty().await;
    room.world.end().await;
}

/// How many sessions each relay has.
async fn sessions(world: &World) -> Vec<u64> {
    let mut sessions = Vec::new();
    for relay in &world.relays {
        sessions.push(relay.told().await.gauge("sessions"));
    }
    sessions
}
