//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use confab_console::configuration::{OwnFile, Program, ProgramFlags, Typed};
use confab_e2ee::mls::identity::{DevicePublicKey, Endorsement};
use confab_protocol::control::link::ConferenceLink;
use confab_protocol::control::{Device, Username};

use crate::failure::{Exit, Failure};
use crate::net::{Fingerprint, Server};
use crate::output;
use crate::store;

mod conference;
mod join;
mod mail;
mod voice;

pub use conference::{ChangeConference, Conference, Invite, MemberOf, NewRole};
pub use join::{Join, Place, PlaceFlag, SoundCard, Text};
pub use mail::{ChangeEmail, ResetPassword, VerifyEmail};
pub use voice::{TalkFlag, Voice};

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

impl ProgramFlags for Flags {
    const PROGRAM: Program = Program {
        name: "confab",
        unwritten: Exit::Output as u8,
        typed_only: &[("yes", "answers a question that is asked each time")],
        tables: &[],
        own_file: Some(OwnFile {
            name: "config.toml",
            folder_flag: "config-dir",
            default_folder: store::default_dir,
        }),
    };

    fn wrong_as_json(message: &str) -> Option<String> {
        Some(output::failure_line(&Failure::usage(message)))
    }

    /// A link names its server: it goes before what the environment or a file says of another one.
    fn settle(&mut self, typed: &Typed) {
        let has_link = match &self.command {
            Command::Join(join) => join.place.is_link(),
            Command::Text(text) => text.place.is_link(),
            Command::Register(register) => register.invitation.is_some(),
            _ => false,
        };
        if !has_link {
            return;
        }
        let common = &mut self.common;
        common.server = common.server.take().filter(|_| typed.has("server"));
        common.fingerprint = common.fingerprint.filter(|_| typed.has("fingerprint"));
        common.ca = common.ca.take().filter(|_| typed.has("ca"));
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server, as HOST or HOST:PORT (UDP; port 4433 by default). Default: the one last logged in to.
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub server: Option<Server>,

    /// Trust the server only under the certificate authorities in this PEM file. Its cluster's authority is remembered, so
    /// that later commands need it no more.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "fingerprint"
    )]
    pub ca: Option<PathBuf>,

    /// Trust the server only under the authority with this fingerprint, as it prints at its start; it is remembered, in place
    /// of an earlier one. Default: the remembered authority of the server; at the first `register` or `login`
    /// a public authority, or else the person is asked.
    #[arg(long, global = true, value_name = "sha256:HEX")]
    pub fingerprint: Option<Fingerprint>,

    /// Directory of sessions, known servers and devices. Default: confab in $XDG_CONFIG_HOME, or in ~/.config.
    #[arg(long, global = true, value_name = "DIR")]
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
    /// Set a password in place of a lost one, by a code that the server sends to the account's verified address, and log in.
    ResetPassword(ResetPassword),
    /// Verify the account's e-mail address, by a code that the server sends to it: a lost password can then be reset.
    VerifyEmail(VerifyEmail),
    /// Give the account another e-mail address; the server sends a code to it that verifies it.
    ChangeEmail(ChangeEmail),
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
    /// The microphones and speakers of this machine.
    Devices,
    /// Join a conference's room and talk.
    Join(Box<Join>),
    /// Write texts into a conference's room, and leave it.
    Text(Text),
}

/// How a password comes in. It is never an argument: those are seen by every user of the machine.
#[derive(Debug, Clone, Default, Args)]
pub struct PasswordFlags {
    /// Read the password from the first line of standard input (`passwd`: the old one, then the new one).
    /// Default: $CONFAB_PASSWORD, or the file that $CONFAB_PASSWORD_FILE names (`passwd`: and $CONFAB_NEW_PASSWORD,
    /// $CONFAB_NEW_PASSWORD_FILE), or else a prompt without echo.
    #[arg(long)]
    pub password_stdin: bool,
}

/// Trust in an unknown server.
#[derive(Debug, Clone, Default, Args)]
pub struct FirstSight {
    /// Take the authority that a server shows when it is seen for the first time, without a question, and remember it.
    /// An attacker on the path at that moment is trusted too: use --fingerprint wherever it is known.
    #[arg(long)]
    pub trust_first_sight: bool,
}

/// Options of `register`.
#[derive(Debug, Args)]
pub struct Register {
    /// The name: 3 to 32 letters, digits, '.', '_' and '-'.
    pub name: String,
    /// E-mail address. Most servers ask for one.
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// Day of birth. Most servers ask for it, because they may take nobody below a certain age.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub birthday: Option<String>,
    /// The link of an invitation, which also names the server. Some servers take nobody without one.
    #[arg(long, value_name = "LINK")]
    pub invitation: Option<ConferenceLink>,
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

impl Register {
    /// The device's name, checked.
    pub fn device(&self) -> Result<Device, confab_protocol::control::NameError> {
        self.device.parse()
    }
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

/// The name of this device's sessions, if the person gives none.
pub(crate) fn default_device() -> String {
    format!("confab on {}", std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    use clap::CommandFactory as _;
    use confab_voice::{FrameDuration, ProcessingConfig};

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
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
        let line = "confab --json --server [::1]:9 join friday --in - --out - --frame 10ms --bit-rate 32kbit/s --duration 1m --region EU-west";
        let Command::Join(join) = Flags::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("it is a join");
        };
        let encoder = join.voice.adaptation().encoder;
        assert_eq!(encoder.frame, FrameDuration::Ms10);
        assert_eq!(encoder.bitrate, 32_000);
        assert_eq!(join.duration, Some(Duration::from_secs(60)));
        assert_eq!(join.region.unwrap().as_str(), "eu-west");
        for bad in [
            "--region a_b",
            "--frame 15ms",
            "--bit-rate 1kbit/s",
            "--tone 5",
            "--in a.wav --tone 440",
            "--in a.wav --input-device desk",
            "--talk threshold --threshold 5",
        ] {
            let line = format!("confab join friday {bad}");
            assert!(Flags::try_parse_from(line.split(' ')).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_microphone_is_processed_unless_it_is_asked_for() {
        let processing = |line: &str| {
            let flags = Flags::try_parse_from(line.split(' ')).unwrap();
            let Command::Join(join) = flags.command else {
                panic!("it is a join");
            };
            join.voice.processing(join.has_microphone())
        };
        assert!(processing("confab join friday").suppress_noise);
        assert!(!processing("confab join friday --noise-suppression off").suppress_noise);
        assert_eq!(
            processing("confab join friday --in a.wav"),
            ProcessingConfig::default()
        );
        let asked =
            processing("confab join friday --in a.wav --noise-suppression on --gain-control");
        assert!(asked.suppress_noise && asked.control_gain && !asked.cancel_echo);
    }
}
