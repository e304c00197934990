//! The control node that owns a room dies, or stands still and wakes.

use std::time::Duration;

use confab_benches::fleet::Call;
use confab_testdb as testdb;
use tokio::time::{Instant, sleep, sleep_until};

use super::figures::{Figures, HIDDEN, HIDDEN_LOOSE, print, strict};
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
        let database = testdb::shared()?;
        let plan = Plan {
            nodes: 2,
            relays: 2,
            store: Some(testdb::fresh_keyspace(&database.address)),
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
        let users = world.users(0);
        let eve = join(&world, &users, "room", "eve", 3).await;
        let fay = join(&world, &users, "room", "fay", 4).await;
        everyone_hears_everyone(&mut talkers, PATIENCE).await;
        sleep(Duration::from_secs(2)).await;
        Some(Self {
            world,
            talkers,
            eve,
            fay,
        })
    }

    /// Mutes, sends out and joins by the other node, all at once, until each works.
    async fn command_elsewhere(&mut self, figures: &mut Figures) -> Call {
        let world = &self.world;
        let mute = ["conference", "mute", "room", "eve"];
        let kick = ["conference", "kick", "room", "fay"];
        let (muted, kicked, (joined, dia)) = tokio::join!(
            world.ok_at_last(1, "ann", &mute),
            world.ok_at_last(1, "ann", &kick),
            joined_at_last(world, 1, "dia")
        );
        for (what, time) in [("mute", muted), ("kick", kicked), ("join", joined)] {
            let what = format!("a {what} at another node");
            figures.within(&what, time, TAKEN_OVER, TAKEN_OVER_LOOSE);
        }
        dia
    }

    /// What was commanded has come about, and stays so.
    async fn is_obeyed(&mut self, figures: &mut Figures) {
        let since = Instant::now();
        sleep(Duration::from_secs(1)).await;
        let [ann, ..] = &mut self.talkers[..] else {
            panic!("there is ann")
        };
        let hears_eve = ann.has_heard_since("eve", since);
        figures.holds("who was muted is not heard", !hears_eve);
        let hears_fay = ann.has_heard_since("fay", since);
        figures.holds("who was sent out is not heard", !hears_fay);
        let left = self.fay.said("left");
        // By an event, or by the refusal to take the join up again.
        let is_out =
            left.is_some_and(|left| left["reason"] == "kicked" || left["reason"] == "failed");
        figures.holds("who was sent out has been told", is_out);
    }

    /// Everyone leaves, and nothing is left over.
    async fn end(mut self, mut dia: Call) {
        leave(&mut self.talkers).await;
        self.eve.call.leave().await.unwrap();
        dia.leave().await.unwrap();
        self.fay.call.crash().await;
        self.world.relays_are_empty().await;
        self.world.end().await;
    }
}

/// Joins by the node `at`, again until it works; how long that took.
async fn joined_at_last(world: &World, at: usize, name: &str) -> (Duration, Call) {
    let began = Instant::now();
    let args = ["room", "--in", "none", "--out", "none"];
    loop {
        let mut call = world.users(at).elsewhere().join(name, &args).unwrap();
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
    let mut figures = Figures::of("a node is killed");
    let fault = Moment::now();
    room.world.nodes[0].kill().await;
    let dia = room.command_elsewhere(&mut figures).await;
    sleep_until(fault.at + AFTERMATH).await;
    everyone_hears_everyone(&mut room.talkers, PATIENCE).await;
    room.is_obeyed(&mut figures).await;
    for talker in &mut room.talkers {
        let is_back = talker.said_since("reconnected", fault.at);
        figures.holds(&format!("{} is connected again", talker.name), is_back);
    }
    let missed = worst_missed(&mut room.talkers, fault, Moment::now());
    figures.within("gap in voice", missed.gap, HIDDEN, HIDDEN_LOOSE);
    room.end(dia).await;
    figures.judge();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_changes_nothing_when_it_wakes() {
    let Some(mut room) = Room::new().await else {
        return;
    };
    let mut figures = Figures::of("a node stands still");
    let standing = Duration::from_secs(if strict() { 30 } else { 12 });
    let fault = Moment::now();
    room.world.nodes[0].process.as_ref().unwrap().stall();
    let dia = room.command_elsewhere(&mut figures).await;
    sleep_until(fault.at + standing).await;
    everyone_hears_everyone(&mut room.talkers, PATIENCE).await;
    room.is_obeyed(&mut figures).await;
    let sessions = sessions(&room.world).await;
    let woke = Moment::now();
    room.world.nodes[0].process.as_ref().unwrap().wake();
    sleep_until(woke.at + AFTERMATH).await;
    let missed = worst_missed(&mut room.talkers, fault, woke);
    print(&format!("until it wakes {:?} were missed", missed.gap));

    let after = self::sessions(&room.world).await;
    figures.holds(
        "every relay has the sessions it had before it woke",
        after == sessions,
    );
    for talker in &mut room.talkers {
        let news = ["reconnecting", "participant_left", "participant_changed"];
        let is_undisturbed = !news.iter().any(|news| talker.said_since(news, woke.at));
        figures.holds(&format!("{} notices nothing", talker.name), is_undisturbed);
    }
    room.is_obeyed(&mut figures).await;
    let missed = worst_missed(&mut room.talkers, woke, Moment::now());
    figures.within(
        "gap in voice when it wakes",
        missed.gap,
        HIDDEN,
        HIDDEN_LOOSE,
    );
    room.end(dia).await;
    figures.judge();
}

/// How many sessions each relay has.
async fn sessions(world: &World) -> Vec<u64> {
    let mut sessions = Vec::new();
    for relay in &world.relays {
        sessions.push(relay.told().await.gauge("sessions"));
    }
    sessions
}
