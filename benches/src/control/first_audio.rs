//! From the start of a client until it plays what somebody in the room says.

use std::path::Path;
use std::time::{Duration, Instant};

use super::errors::ControlError;
use super::rig::PASSWORD;
use crate::figures::median;
use crate::fleet::{Call, Fleet};

/// Members of the room, the one who comes and goes included.
const MEMBERS: usize = 10;
/// How often it comes.
const TIMES: usize = 15;
const SLUG: &str = "first-audio";

/// Time for the room's keys to settle before it comes again: a join in the wake of a change waits for the next commit, 150 ms at
/// most.
const SETTLED: Duration = Duration::from_millis(400);

/// The median in milliseconds, over real clients: one says a tone, eight listen, and the tenth is started, signs in with its token, joins, and
/// tells that it plays the tone.
pub async fn join_to_first_audio(programs: &Path) -> Result<f64, ControlError> {
    let scratch = tempfile::tempdir()?;
    let fleet = Fleet::start(programs, scratch.path()).await?;
    let mut members: Vec<Call> = Vec::new();
    for number in 0..MEMBERS {
        let name = format!("member-{number}");
        fleet.users().register(&name, PASSWORD).await?;
        if number == 0 {
            let create = ["conference", "create", SLUG];
            fleet.users().client(&name, &create, None).await?;
        }
    }
    for number in 1..MEMBERS {
        let says: &[&str] = match number {
            1 => &["--tone", "440"],
            _ => &["--in", "none"],
        };
        let args: Vec<_> = [SLUG, "--out", "none"]
            .iter()
            .chain(says)
            .copied()
            .collect();
        let mut call = fleet.users().join(&format!("member-{number}"), &args)?;
        call.wait_until("media", |event| event["state"] == "live")
            .await?;
        members.push(call);
    }
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let mut call = fleet
            .users()
            .join("member-0", &[SLUG, "--in", "none", "--out", "none"])?;
        call.wait_until("speaking", |event| event["speaking"] == true)
            .await?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        call.leave().await?;
        tokio::time::sleep(SETTLED).await;
    }
    for mut call in members {
        call.leave().await?;
    }
    fleet.end().await?;
    Ok(median(times))
}
