//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use confab_e2ee::mls::identity::{DevicePublicKey, Endorsement};
use confab_protocol::control::{Device, Region, Slug, Title, Username};
use confab_voice::AdaptationConfig;

use crate::net::{Fingerprint, Server};

mod times;

use times::{parse_max_delay, parse_time, parse_unix_seconds};

/// Bits a second of the sent voice.
const DEFAULT_BITRATE: u32 = 24_000;

/// Milliseconds of voice in a packet.
const DEFAULT_FRAME: &str = "20";

/// As [`AdaptationConfig`] has it.
const DEFAULT_MAX_DELAY: &str = "200ms";

/// Time between two `stats` events.
const DEFAULT_STATS_EVERY: Duration = Duration::from_secs(5);

/// Voice conferences: register, open a conference and talk, end to end encrypted.
#[derive(Debug, Parser)]
#[command(name = "confab", version, max_term_width = 110)]
pub struct Flags {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server, as HOST or HOST:PORT (UDP; port 4433 by default). Default: the one last logged in to.
    #[arg(long, global = true, env = "CONFAB_SERVER", value_name = "HOST[:PORT]")]
    pub server: Option<Server>,

    /// Trust the server only under the certificate authorities in this PEM file. Its cluster's authority is remembered, so
    /// that later commands need it no more.
    #[arg(
        long,
        global = true,
        env = "CONFAB_CA",
        value_name = "FILE",
        conflicts_with = "fingerprint"
    )]
    pub ca: Option<PathBuf>,

    /// Trust the server only under the authority with this fingerprint, as it prints at its start; it is remembered, in place
    /// of an earlier one. Default: the remembered authority of the server; at the first `register` or `login`
    /// a public authority, or else the person is asked.
    #[arg(
        long,
        global = true,
        env = "CONFAB_FINGERPRINT",
        value_name = "sha256:HEX"
    )]
    pub fingerprint: Option<Fingerprint>,

    /// Directory of sessions, known servers and devices. Default: confab in $XDG_CONFIG_HOME, or in ~/.config.
    #[arg(long, global = true, env = "CONFAB_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// Print JSON, one object a line, for programs.
    #[arg(long, global = true)]
    pub json: bool,

    /// Log details to standard error; twice for more. The log never has a secret or an address.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account and log in.
    Register(Register),
    /// Log in.
    Login(Login),
    /// End the session of this device.
    Logout,
    /// Show the account that is logged in.
    Whoami,
    /// Change the password; every other session of the account ends.
    Passwd(PasswordFlags),
    /// The account's sessions.
    #[command(subcommand)]
    Sessions(Sessions),
    /// The account's data.
    #[command(subcommand)]
    Account(Account),
    /// Create, show and moderate conferences.
    #[command(subcommand)]
    Conference(Conference),
    /// Know the people in a call: the devices that they were seen on.
    #[command(subcommand)]
    Trust(Trust),
    /// Join a conference's room and talk.
    Join(Box<Join>),
    /// Write texts into a conference's room, and leave it.
    Text(Text),
}

/// How a password comes in. It is never an argument: those are seen by every user of the machine.
#[derive(Debug, Clone, Args)]
pub struct PasswordFlags {
    /// Read the password from the first line of standard input (`passwd`: the old one, then the new one).
    /// Default: $CONFAB_PASSWORD (`passwd`: and $CONFAB_NEW_PASSWORD), or else a prompt without echo.
    #[arg(long)]
    pub password_stdin: bool,
}

/// Trust in an unknown server.
#[derive(Debug, Clone, Args)]
pub struct FirstSight {
    /// Take the authority that a server shows when it is seen for the first time, without a question, and remember it.
    /// An attacker on the path at that moment is trusted too: use --fingerprint wherever it is known.
    #[arg(
        long,
        env = "CONFAB_TRUST_FIRST_SIGHT",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub trust_first_sight: bool,
}

/// Options of `register`.
#[derive(Debug, Args)]
pub struct Register {
    /// The name: 3 to 32 letters, digits, '.', '_' and '-'.
    pub name: String,
    /// E-mail address.
    #[arg(long)]
    pub email: String,
    /// Day of birth.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub birthday: String,
    /// Name of this session in the list of sessions, up to 64 characters.
    #[arg(long, default_value_t = default_device(), value_name = "TEXT")]
    pub device: String,
    /// A server that was never seen before.
    #[command(flatten)]
    pub first_sight: FirstSight,
    /// The password.
    #[command(flatten)]
    pub password: PasswordFlags,
}

/// Options of `login`.
#[derive(Debug, Args)]
pub struct Login {
    /// Name or e-mail address.
    pub name: String,
    /// Name of this session in the list of sessions, up to 64 characters.
    #[arg(long, default_value_t = default_device(), value_name = "TEXT")]
    pub device: String,
    /// A server that was never seen before.
    #[command(flatten)]
    pub first_sight: FirstSight,
    /// The password.
    #[command(flatten)]
    pub password: PasswordFlags,
}

/// `sessions ...`
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// Show where the account is logged in.
    List,
    /// End a session.
    Revoke {
        /// Its id, as `sessions list` shows it.
        id: String,
    },
}

/// `account ...`
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Print everything that the server keeps about the account, as JSON.
    Export,
    /// Delete the account and the conferences that it owns. Asks for the password.
    Delete(PasswordFlags),
}

/// `trust ...`: about people. A server is trusted by `--ca`, `--fingerprint` and at the first login.
#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Show the devices of people that were seen at the server.
    List,
    /// Accept the new devices of a person without comparing codes.
    Accept {
        /// The person's name.
        name: Username,
    },
    /// Forget the devices of a person; the next one that is seen is taken for the first.
    Forget {
        /// The person's name.
        name: Username,
    },
    /// Show the code of a person's new device, or of all devices if none is new, to compare it with what that person sees. A
    /// device whose code is the same is accepted.
    Verify {
        /// The person's name.
        name: Username,
        /// The codes were compared, and all of them are the same. Default: ask at the terminal.
        #[arg(long)]
        yes: bool,
    },
    /// Show the key of this device, and the devices of the same account that endorse it.
    Device,
    /// Endorse another device of the same account, so that people who know this one take it without a warning. Prints the
    /// endorsement, for `confab trust endorsed` on the other device.
    Endorse {
        /// The other device's key, as `confab trust device` shows it there.
        #[arg(value_name = "KEY")]
        device: DevicePublicKey,
    },
    /// Keep an endorsement of this device by another one of the same account: each join shows it to the others.
    Endorsed {
        /// The endorsement, as `confab trust endorse` has printed it on the other device.
        #[arg(value_name = "TEXT")]
        endorsement: Endorsement,
    },
}

/// `conference ...`
#[derive(Debug, Subcommand)]
pub enum Conference {
    /// Open a conference.
    Create {
        /// Its name in the service: 3 to 64 letters, digits and '-'.
        slug: Slug,
        /// The title, 1 to 100 characters. Default: the slug.
        #[arg(long)]
        title: Option<Title>,
        /// Only invited accounts may join. Default: every account.
        #[arg(long)]
        invite_only: bool,
        /// Region of the relay, as the server's operator names it. Default: that of the first participant.
        #[arg(long, value_name = "NAME")]
        region: Option<Region>,
    },
    /// Show the conferences of which the account is a member.
    List,
    /// Show a conference.
    Info {
        /// The conference's slug.
        slug: Slug,
    },
    /// Show the members of a conference.
    Members {
        /// The conference's slug.
        slug: Slug,
    },
    /// Delete a conference; its room closes.
    Delete {
        /// The conference's slug.
        slug: Slug,
    },
    /// End the account's membership.
    Leave {
        /// The conference's slug.
        slug: Slug,
    },
    /// Make an account a member.
    Invite {
        /// The member.
        #[command(flatten)]
        member: MemberOf,
        /// The member may hear and not speak.
        #[arg(long)]
        listener: bool,
    },
    /// Remove a participant from the room; the participant may join again.
    Kick(MemberOf),
    /// Remove a participant from the room, and refuse further joins.
    Ban(MemberOf),
    /// Lift a ban: the account is a member again.
    Unban(MemberOf),
    /// Mute a member: other participants do not hear it.
    Mute(MemberOf),
    /// Lift a mute.
    Unmute(MemberOf),
    /// Change a member's role.
    Role {
        /// The member.
        #[command(flatten)]
        member: MemberOf,
        /// The new role.
        role: NewRole,
    },
}

/// A member of a conference.
#[derive(Debug, Args)]
pub struct MemberOf {
    /// The conference's slug.
    pub slug: Slug,
    /// The member's username.
    pub user: String,
}

/// Roles that can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NewRole {
    /// May invite, kick, ban, mute and change roles below its own.
    Moderator,
    /// May speak and hear.
    Member,
    /// May hear only.
    Listener,
}

/// Options of `join`.
#[derive(Debug, Clone, Args)]
pub struct Join {
    /// The conference.
    pub slug: Slug,

    /// The input: a WAV file of any rate and number of channels, `-` for a WAV stream on standard input, or `none`.
    /// Default: the microphone; none in a build without the feature `device`.
    #[arg(long = "in", value_name = "FILE.wav|-|none", conflicts_with = "tone")]
    pub input: Option<String>,

    /// Send a sine of this frequency, 20 to 20000 Hz.
    #[arg(long, value_name = "HZ", value_parser = parse_hertz)]
    pub tone: Option<f32>,

    /// The output: a WAV file that does not exist yet (48 kHz, 16 bit, mono; RF64 beyond 4 GiB), `-` for a
    /// WAV stream on standard output (events then go to standard error), or `none`. Default: the speakers; none in a build
    /// without the feature `device`.
    #[arg(long = "out", value_name = "FILE.wav|-|none")]
    pub output: Option<String>,

    /// Replace the file of --out if it exists; its content is lost.
    #[arg(long, requires = "output")]
    pub overwrite: bool,

    /// Write one file for each speaker into this directory, NAME-LABEL.wav (NAME-LABEL-2.wav where that is there already),
    /// all beginning when --out does. An account gets 8 files and 4 GiB at most.
    #[arg(long, value_name = "DIR")]
    pub record_dir: Option<PathBuf>,

    /// Leave after this time in the room, as 10s, 1.5s, 500ms, 2m or 1h. Default: stay until Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,

    /// Leave 1 s after the input has ended.
    #[arg(long, conflicts_with = "repeat")]
    pub until_end: bool,

    /// Play the input file from its beginning again and again.
    #[arg(long = "loop")]
    pub repeat: bool,

    /// Begin the input this long after the join, as 1.5s. Default: at once.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "start_at")]
    pub delay: Option<Duration>,

    /// Begin the input at this time of the wall clock, in seconds since 1970-01-01 UTC with a fraction; at once if it
    /// has passed.
    #[arg(long, value_name = "SECONDS", value_parser = parse_unix_seconds)]
    pub start_at: Option<f64>,

    /// The participant's region, as the server's operator names it: it decides the relay of a room that begins. Default: where
    /// the control node is that answers first.
    #[arg(long, value_name = "NAME")]
    pub region: Option<Region>,

    /// Bits a second of the sent voice, with what protects it against loss, 6000 to 128000. More is clearer, and costs every
    /// participant's download.
    #[arg(long, default_value_t = DEFAULT_BITRATE, value_name = "BITS", value_parser = clap::value_parser!(u32).range(6_000..=128_000))]
    pub bitrate: u32,

    /// Length of each packet's voice in milliseconds: 10, 20, 40 or 60. Shorter is quicker, longer costs less.
    #[arg(long, default_value = DEFAULT_FRAME, value_name = "MS", value_parser = ["10", "20", "40", "60"])]
    pub frame: String,

    /// Where frames are lost, wait up to this long for what brings them back, as 60ms; 0s to 400ms. Longer mends more, and
    /// everybody answers later. Without loss nothing waits. It holds for what you hear and for how your voice is protected.
    #[arg(long, default_value = DEFAULT_MAX_DELAY, value_name = "TIME", value_parser = parse_max_delay)]
    pub max_delay: Duration,

    /// Send frames in pauses too, so that nobody on the path, the relay included, can tell when somebody speaks. Members still
    /// see who speaks. Costs the full bit rate all the time, yours and that of all who hear you; and in a room with more
    /// speakers than the relay forwards, a place among them, which you lose to others when you speak for long. The input's
    /// begin, a mute and a failing microphone still show. Default: pauses in which there is nothing to hear are not sent.
    #[arg(long)]
    pub hide_pauses: bool,

    /// Send nothing while a participant is on a device that is not trusted: a new one for which no known device of the
    /// account vouches, or one under the name of another account. `confab trust accept` and `confab trust verify` end that,
    /// also during the call. Default: such a device is shown, and can hear.
    #[arg(long)]
    pub strict_trust: bool,

    /// Join a room of up to 256 participants even if its keys are not protected against quantum computers of the future.
    /// Default: that is refused, for a server that asks for it may want to weaken the call.
    #[arg(long)]
    pub allow_classical: bool,

    /// Time between two `stats` events (with --json), as 5s.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = parse_time)]
    pub stats_every: Duration,
}

/// Options of `text`.
#[derive(Debug, Clone, Args)]
pub struct Text {
    /// The conference.
    pub slug: Slug,

    /// A text of up to 4086 bytes; may be repeated. Default: each line of standard input is one.
    #[arg(long = "message", value_name = "TEXT")]
    pub messages: Vec<String>,
}

impl Join {
    /// A participation that says nothing and plays nothing.
    pub fn without_sound(slug: Slug) -> Self {
        let none = || Some("none".to_owned());
        Self {
            slug,
            input: none(),
            tone: None,
            output: none(),
            overwrite: false,
            record_dir: None,
            strict_trust: false,
            allow_classical: false,
            duration: None,
            until_end: false,
            repeat: false,
            delay: None,
            start_at: None,
            region: None,
            bitrate: DEFAULT_BITRATE,
            frame: DEFAULT_FRAME.to_owned(),
            max_delay: AdaptationConfig::default().max_delay,
            hide_pauses: false,
            stats_every: DEFAULT_STATS_EVERY,
        }
    }
}

impl Register {
    /// The device's name, checked.
    pub fn device(&self) -> Result<Device, confab_protocol::control::NameError> {
        self.device.parse()
    }
}

fn default_device() -> String {
    format!("confab on {}", std::env::consts::OS)
}

fn parse_hertz(text: &str) -> Result<f32, String> {
    let hertz: f32 = text
        .parse()
        .map_err(|_| "a number of hertz, such as 440".to_owned())?;
    if (20.0..=20_000.0).contains(&hertz) {
        Ok(hertz)
    } else {
        Err("20 to 20000 Hz can be heard".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        let cases = [
            ("10s", 10_000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("3", 3000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(
                parse_time(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for bad in ["", "s", "-1s", "1d", "1e400s", "NaN"] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_no_argument() {
        let parsed =
            Flags::try_parse_from(["confab", "login", "ann", "--password", "correct horse"]);
        assert!(parsed.is_err());
    }

    #[test]
    fn first_sight_is_for_those_commands_that_make_a_session() {
        let parse = |line: &str| Flags::try_parse_from(line.split(' '));
        let Command::Login(login) = parse("confab login ann --trust-first-sight")
            .unwrap()
            .command
        else {
            panic!("it is a login");
        };
        assert!(login.first_sight.trust_first_sight);
        assert!(parse("confab whoami --trust-first-sight").is_err());
        assert!(parse("confab join friday --trust-first-sight").is_err());
    }

    #[test]
    fn a_person_is_named_as_the_server_names_one() {
        let line = "confab trust verify Ben --yes";
        let parsed = Flags::try_parse_from(line.split(' ')).unwrap().command;
        let Command::Trust(Trust::Verify { name, yes: true }) = parsed else {
            panic!("it is a verification");
        };
        assert_eq!(name.as_str(), "ben");
        assert!(Flags::try_parse_from(["confab", "trust", "accept", "a b"]).is_err());
    }

    #[test]
    fn a_join_for_a_script_is_understood() {
        let line = "confab --json --server [::1]:9 join friday --in - --out - --frame 10 --bitrate 32000 --duration 1m --region EU-west";
        let Command::Join(join) = Flags::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("it is a join");
        };
        assert_eq!((join.frame.as_str(), join.bitrate), ("10", 32_000));
        assert_eq!(join.duration, Some(Duration::from_secs(60)));
        assert_eq!(join.region.unwrap().as_str(), "eu-west");
        for bad in [
            "--region a_b",
            "--frame 15",
            "--bitrate 1000",
            "--tone 5",
            "--in a.wav --tone 440",
        ] {
            let line = format!("confab join friday {bad}");
            assert!(Flags::try_parse_from(line.split(' ')).is_err(), "{bad}");
        }
    }
}
