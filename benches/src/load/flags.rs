//! The flags of `confab-load`, on the command line, in the environment or in a file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use confab::net::{Fingerprint, Server};
use confab_console::configuration::{Program, ProgramFlags};
use confab_console::values::{Size, duration_within, socket_address, whole_within};

use super::Shape;
use super::cores::Cores;
use super::ramp::Limits;

const SHORTEST_TIME: Duration = Duration::from_millis(1);
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Measures how many participants a relay holds: opens more and more rooms until frames are lost or late.
///
/// Without --control it starts the real relay from its own folder and commands it directly: nothing else is needed, and
/// nothing is left. With --control it measures a deployment that stands, through accounts of its own.
#[derive(Parser, Debug, Clone)]
#[command(name = "confab-load", version)]
pub struct Flags {
    /// Members of each room, 2 to 1000.
    #[arg(long, default_value_t = 10, value_name = "COUNT",
          value_parser = whole_within(2_u16..=1000))]
    pub members: u16,

    /// How many of them speak at a time, each 50 frames a second. One is a conversation; more are a quarrel. Relays forward
    /// 16 of a room unless they are told otherwise.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub speakers: u16,

    /// Rooms of the first step.
    #[arg(long, default_value_t = 50, value_name = "COUNT",
          value_parser = whole_within(1_u32..=1_000_000))]
    pub rooms: u32,

    /// How many times the rooms of a step the next one has, as 1.25x. Smaller finds the knee more exactly and takes longer.
    #[arg(long, default_value = "1.25x", value_name = "FACTOR")]
    pub step: Growth,

    /// Time of each measurement, as 5s. Longer is steadier.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration_within(SHORTEST_TIME..=LONGEST_TIME))]
    pub step_time: Duration,

    /// Time before each measurement that does not count, as 1s.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = duration_within(SHORTEST_TIME..=LONGEST_TIME))]
    pub warm_up: Duration,

    /// No ramp: --rooms for this time, as 60s.
    #[arg(long, value_name = "TIME", value_parser = duration_within(SHORTEST_TIME..=LONGEST_TIME))]
    pub hold: Option<Duration>,

    /// Rooms at which the ramp ends.
    #[arg(long, default_value_t = 1_000_000, value_name = "COUNT",
          value_parser = whole_within(1_u32..=1_000_000))]
    pub max_rooms: u32,

    /// Share of frames that may be lost, as 0.5%. What the load generator itself fails to read does not count.
    #[arg(long, default_value = "0.5%", value_name = "PERCENT")]
    pub max_loss: Percent,

    /// Limit of the 99th percentile of the latency that the relay adds, as 20ms. Where the relay's metrics are not known,
    /// the time from speaking to arrival is held against it.
    #[arg(long, default_value = "20ms", value_name = "TIME", value_parser = duration_within(SHORTEST_TIME..=LONGEST_TIME))]
    pub max_latency: Duration,

    /// Size of a frame's SFrame, 32B to 1000B. The default is Opus at 24 kbit/s with its header and tag.
    #[arg(long, default_value_t = Size(85), value_name = "SIZE", value_parser = Size::within(Size(32)..=Size(1000)))]
    pub frame_size: Size,

    /// Fixes at which phases speakers speak; the same number speaks the same.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,

    /// UDP sockets for each relay. More hold more while the load generator is busy; it has a thread that reads and one that
    /// speaks for each 32.
    #[arg(long, default_value_t = 16, value_name = "COUNT",
          value_parser = whole_within(1_u16..=4096))]
    pub sockets: u16,

    /// Cores of the load generator, as 0,2-3. Default: the lower half of them, where it starts the relay itself; all, where
    /// it does not. What shares a core with the relay measures the scheduler.
    #[arg(long, value_name = "CORES")]
    pub cores: Option<Cores>,

    /// Cores of the relay that it starts, one worker on each unless --workers says otherwise. Default: the upper half.
    #[arg(long, value_name = "CORES", conflicts_with = "control")]
    pub relay_cores: Option<Cores>,

    /// File for the measurements: a line of JSON each, and one for the end.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Folder of confab-control and confab-relay. Default: the one of this program.
    #[arg(long, value_name = "DIR", conflicts_with = "control")]
    pub programs: Option<PathBuf>,

    /// Control node of the deployment to measure, HOST:PORT. Run this on another machine than the relays, and raise
    /// --login-burst there to --members: each member registers an account, which is deleted in the end.
    #[arg(long, value_name = "HOST:PORT")]
    pub control: Option<Server>,

    /// Trust the control node only under the authority with this fingerprint, as `confab-control fingerprint` prints it
    /// there. Default: under a public authority.
    #[arg(long, value_name = "sha256:HEX", requires = "control")]
    pub fingerprint: Option<Fingerprint>,

    /// How the names of accounts and conferences begin, 1 to 16 of a-z, 0-9 and '-'.
    #[arg(long, default_value = "load", value_name = "TEXT",
          value_parser = parse_prefix)]
    pub user_prefix: String,

    /// Metrics of the deployment's relay, for its latency and cores.
    #[arg(long, value_name = "IP:PORT", requires = "control", value_parser = socket_address)]
    pub relay_metrics: Option<SocketAddr>,

    /// Flags for the relay that it starts, behind `--`, as `-- --workers 2 --coalesce-max 5ms`.
    #[arg(last = true, value_delimiter = ' ', conflicts_with = "control")]
    pub relay_flags: Vec<String>,
}

impl ProgramFlags for Flags {
    const PROGRAM: Program = Program {
        name: "confab-load",
        unwritten: 1,
        typed_only: &[],
        tables: &[],
        own_file: None,
    };
}

/// How many times as many, as `1.25x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth(pub f64);

/// A share, from 0 to 1, as `0.5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

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
            loss: self.max_loss.0,
            latency: self.max_latency,
        }
    }
}

impl FromStr for Growth {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('x').and_then(|text| text.parse().ok());
        match number {
            Some(growth) if growth > 1.0 && growth <= 10.0 => Ok(Self(growth)),
            _ => Err("a factor above 1 and up to 10, as 1.25x"),
        }
    }
}

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').and_then(|text| text.parse().ok());
        match number {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => Err("a percentage from 0% to 100%"),
        }
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
            "2m",
            "--max-loss",
            "1%",
            "--cores",
            "0-1",
            "--",
            "--workers",
            "2",
        ]);
        let flags = flags.expect("good flags");
        assert_eq!(flags.step, Growth(1.5));
        assert_eq!(flags.step_time, Duration::from_millis(500));
        assert_eq!(flags.hold, Some(Duration::from_secs(120)));
        assert_eq!(flags.max_loss, Percent(0.01));
        assert_eq!(flags.relay_flags, ["--workers", "2"]);
    }

    #[test]
    fn impossible_assumptions_are_refused_with_the_reason() {
        for (args, says) in [
            (&["--members", "1"][..], "between 2 and 1000"),
            (&["--speakers", "11"], "more than --members"),
            (&["--speakers", "0"], "use --hold"),
            (
                &["--rooms", "5", "--max-rooms", "4"],
                "more than --max-rooms",
            ),
            (&["--step", "1x"], "above 1"),
            (&["--step-time", "5"], "has a unit"),
            (&["--step-time", "0s"], "not between 1ms and 1d"),
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
