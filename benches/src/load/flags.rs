//! The flags of `confab-load`, on the command line or in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use confab::net::{Fingerprint, Server};

use super::Shape;
use super::cores::Cores;
use super::ramp::Limits;

/// Measures how many participants a relay holds: opens more and more rooms until frames are lost or late.
///
/// Without --control it starts the real relay from its own folder and commands it directly: nothing else is needed, and
/// nothing is left. With --control it measures a deployment that stands, through accounts of its own.
#[derive(Parser, Debug, Clone)]
#[command(name = "confab-load", version)]
pub struct Flags {
    /// Members of each room, 2 to 1000.
    #[arg(long, env = "CONFAB_LOAD_MEMBERS", default_value_t = 10, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub members: u16,

    /// How many of them speak at a time, each 50 frames a second. One is a conversation; more are a quarrel. Relays forward
    /// 16 of a room unless they are told otherwise.
    #[arg(
        long,
        env = "CONFAB_LOAD_SPEAKERS",
        default_value_t = 1,
        value_name = "COUNT"
    )]
    pub speakers: u16,

    /// Rooms of the first step.
    #[arg(long, env = "CONFAB_LOAD_ROOMS", default_value_t = 50, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rooms: u32,

    /// How many times the rooms of a step the next one has, as 1.25x. Smaller finds the knee more exactly and takes longer.
    #[arg(long, env = "CONFAB_LOAD_STEP", default_value = "1.25x", value_name = "FACTOR", value_parser = parse_growth)]
    pub step: f64,

    /// Time of each measurement, as 5s. Longer is steadier.
    #[arg(long, env = "CONFAB_LOAD_STEP_TIME", default_value = "5s", value_name = "TIME", value_parser = parse_time)]
    pub step_time: Duration,

    /// Time before each measurement that does not count, as 1s.
    #[arg(long, env = "CONFAB_LOAD_WARM_UP", default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    pub warm_up: Duration,

    /// No ramp: --rooms for this time, as 60s.
    #[arg(long, env = "CONFAB_LOAD_HOLD", value_name = "TIME", value_parser = parse_time)]
    pub hold: Option<Duration>,

    /// Rooms at which the ramp ends.
    #[arg(long, env = "CONFAB_LOAD_MAX_ROOMS", default_value_t = 1_000_000, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_rooms: u32,

    /// Share of frames that may be lost, as 0.5%. What the load generator itself fails to read does not count.
    #[arg(long, env = "CONFAB_LOAD_MAX_LOSS", default_value = "0.5%", value_name = "PERCENT", value_parser = parse_percent)]
    pub max_loss: f64,

    /// Limit of the 99th percentile of the latency that the relay adds, as 20ms. Where the relay's metrics are not known,
    /// the time from speaking to arrival is held against it.
    #[arg(long, env = "CONFAB_LOAD_MAX_LATENCY", default_value = "20ms", value_name = "TIME", value_parser = parse_time)]
    pub max_latency: Duration,

    /// Bytes of SFrame in a frame, 32 to 1000. The default is Opus at 24 kbit/s with its header and tag.
    #[arg(long, env = "CONFAB_LOAD_FRAME_BYTES", default_value_t = 85, value_name = "BYTES",
          value_parser = clap::value_parser!(u16).range(32..=1000))]
    pub frame_bytes: u16,

    /// Fixes at which phases speakers speak; the same number speaks the same.
    #[arg(
        long,
        env = "CONFAB_LOAD_SEED",
        default_value_t = 1,
        value_name = "NUMBER"
    )]
    pub seed: u64,

    /// UDP sockets for each relay. More hold more while the load generator is busy; it has a thread that reads and one that
    /// speaks for each 32.
    #[arg(long, env = "CONFAB_LOAD_SOCKETS", default_value_t = 16, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub sockets: u16,

    /// Cores of the load generator, as 0,2-3. Default: the lower half of them, where it starts the relay itself; all, where
    /// it does not. What shares a core with the relay measures the scheduler.
    #[arg(long, env = "CONFAB_LOAD_CORES", value_name = "CORES")]
    pub cores: Option<Cores>,

    /// Cores of the relay that it starts, one worker on each unless --workers says otherwise. Default: the upper half.
    #[arg(
        long,
        env = "CONFAB_LOAD_RELAY_CORES",
        value_name = "CORES",
        conflicts_with = "control"
    )]
    pub relay_cores: Option<Cores>,

    /// File for the measurements: a line of JSON each, and one for the end.
    #[arg(long, env = "CONFAB_LOAD_OUT", value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Folder of confab-control and confab-relay. Default: the one of this program.
    #[arg(
        long,
        env = "CONFAB_LOAD_PROGRAMS",
        value_name = "DIR",
        conflicts_with = "control"
    )]
    pub programs: Option<PathBuf>,

    /// Control node of the deployment to measure, HOST:PORT. Run this on another machine than the relays, and raise
    /// --login-burst there to --members: each member registers an account, which is deleted in the end.
    #[arg(long, env = "CONFAB_LOAD_CONTROL", value_name = "HOST:PORT")]
    pub control: Option<Server>,

    /// Trust the control node only under the authority with this fingerprint, as `confab-control fingerprint` prints it
    /// there. Default: under a public authority.
    #[arg(
        long,
        env = "CONFAB_LOAD_FINGERPRINT",
        value_name = "sha256:HEX",
        requires = "control"
    )]
    pub fingerprint: Option<Fingerprint>,

    /// How the names of accounts and conferences begin, 1 to 16 of a-z, 0-9 and '-'.
    #[arg(long, env = "CONFAB_LOAD_USER_PREFIX", default_value = "load", value_name = "TEXT",
          value_parser = parse_prefix)]
    pub user_prefix: String,

    /// Metrics of the deployment's relay, for its latency and cores.
    #[arg(
        long,
        env = "CONFAB_LOAD_RELAY_METRICS",
        value_name = "IP:PORT",
        requires = "control"
    )]
    pub relay_metrics: Option<SocketAddr>,

    /// Flags for the relay that it starts, behind `--`, as `-- --workers 2 --coalesce-max 5ms`.
    #[arg(
        last = true,
        env = "CONFAB_LOAD_RELAY_FLAGS",
        value_delimiter = ' ',
        conflicts_with = "control"
    )]
    pub relay_flags: Vec<String>,
}

impl Flags {
    /// Checks flags against each other, which clap can't.
    pub fn check(&self) -> Result<(), String> {
        if self.speakers > self.members {
            return Err(format!(
                "--speakers {} are more than --members {}",
                self.speakers, self.members
            ));
        }
        if self.speakers == 0 && self.hold.is_none() {
            return Err("without --speakers a ramp measures nothing: use --hold".to_owned());
        }
        if self.rooms > self.max_rooms {
            return Err(format!(
                "--rooms {} are more than --max-rooms {}",
                self.rooms, self.max_rooms
            ));
        }
        Ok(())
    }

    /// Rooms as they are at the start.
    pub fn shape(&self) -> Shape {
        Shape {
            rooms: self.rooms,
            members: self.members,
            speakers: self.speakers,
        }
    }

    /// The limits of a good step.
    pub fn limits(&self) -> Limits {
        Limits {
            loss: self.max_loss,
            latency: self.max_latency,
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("min", 60.0), ("s", 1.0)];
    let parsed = units
        .iter()
        .find_map(|(unit, seconds)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            Duration::try_from_secs_f64(number * seconds).ok()
        })
        .filter(|time| !time.is_zero());
    parsed.ok_or_else(|| "a time looks like 500us, 20ms, 5s or 2min".to_owned())
}

fn parse_growth(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text).parse();
    match number {
        Ok(growth) if growth > 1.0 && growth <= 10.0 => Ok(growth),
        _ => Err("a factor above 1 and up to 10, as 1.25x".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse();
    match number {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("a percentage from 0% to 100%".to_owned()),
    }
}

fn parse_prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=16).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err("1 to 16 of a-z, 0-9 and '-', not with '-' in front".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Flags, String> {
        let args = [&["confab-load"], args].concat();
        let flags = Flags::try_parse_from(args).map_err(|error| error.to_string())?;
        flags.check().map(|()| flags)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    #[test]
    fn units_are_said_and_understood() {
        let flags = parsed(&[
            "--step",
            "1.5x",
            "--step-time",
            "500ms",
            "--hold",
            "2min",
            "--max-loss",
            "1%",
            "--cores",
            "0-1",
            "--",
            "--workers",
            "2",
        ]);
        let flags = flags.expect("good flags");
        assert_eq!(flags.step, 1.5);
        assert_eq!(flags.step_time, Duration::from_millis(500));
        assert_eq!(flags.hold, Some(Duration::from_secs(120)));
        assert_eq!(flags.max_loss, 0.01);
        assert_eq!(flags.relay_flags, ["--workers", "2"]);
    }

    #[test]
    fn impossible_assumptions_are_refused_with_the_reason() {
        for (args, says) in [
            (&["--members", "1"][..], "2..=1000"),
            (&["--speakers", "11"], "more than --members"),
            (&["--speakers", "0"], "use --hold"),
            (
                &["--rooms", "5", "--max-rooms", "4"],
                "more than --max-rooms",
            ),
            (&["--step", "1x"], "above 1"),
            (&["--step-time", "5"], "looks like"),
            (&["--step-time", "0s"], "looks like"),
            (&["--max-loss", "200%"], "0% to 100%"),
            (&["--cores", "two"], "look like"),
            (&["--user-prefix", "Load"], "a-z"),
            (&["--relay-metrics", "127.0.0.1:1"], "--control"),
            (
                &["--control", "a:1", "--", "--workers", "1"],
                "cannot be used",
            ),
        ] {
            let error = parsed(args).expect_err("bad flags");
            assert!(error.contains(says), "{args:?}: {error}");
        }
    }
}
