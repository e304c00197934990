//! A relay of its own for a measurement: the real program, linked to a control node in this process, whose rooms are
//! opened by direct commands, without accounts.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Parser;
use confab_control::cluster::{LinkedRelay, RelayCriteria, RelayEvent, Response};
use confab_control::flags::{Command as ControlCommand, Flags};
use confab_control::inbox::{Inbox, InboxReader, inbox};
use confab_control::{Running, serve};
use confab_protocol::cluster::{
    Action, CommandOutcome, CommandResult, Fence, OpenMedia, SessionNote,
};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::{ConnectionId, HopKey, KeyId};
use confab_protocol::version;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Shape;
use super::cores::Cores;
use super::group::SealingKey;
use super::network::Network;
use super::voice::Session;

/// A relay that is not linked by then has failed.
const LINK_DEADLINE: Duration = Duration::from_secs(20);
/// A command that has no answer by then has failed.
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);
/// Commands under way at a time.
const COMMANDS_IN_FLIGHT: usize = 256;

/// Bytes of the note that control keeps with a session.
const NOTE_LEN: usize = 138;
/// A placement request without a preferred relay.
const ANY_RELAY: RelayCriteria<'static> = RelayCriteria {
    media_version: version::MEDIA.max(),
    region: None,
    prefer: None,
    avoid: None,
    sessions: 1,
    for_whole_room: false,
};

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// Control did not start.
    #[error("cannot start a control node: {0}")]
    Control(String),
    /// The relay did not start, or did not link.
    #[error("cannot start the relay: {0}")]
    Relay(String),
    /// A program is not where it should be.
    #[error("cannot start {}: {error}; give its folder with --programs", .program.display())]
    Program {
        program: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The relay did not obey.
    #[error("the relay did not open a session: {0}")]
    Command(String),
    /// A socket or a file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A relay process, and the control node that commands it.
pub struct Rig {
    /// Where the relay listens.
    pub relay: SocketAddr,
    /// The relay's process.
    pub pid: u32,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    control: Running,
    linked: LinkedRelay,
    _child: Child,
    _scratch: tempfile::TempDir,
}

/// A session's key, both ways: a datagram does not say for which session of a socket it is, its tag does.
fn hop_key(conference: ConferenceId, sender: u16) -> HopKey {
    let mut key = *conference.as_bytes();
    let [high, low] = sender.to_be_bytes();
    (key[14], key[15]) = (high, low);
    HopKey::new(key)
}

impl Rig {
    /// Starts a relay from the folder `programs` at the network's far end, with these flags on top.
    pub async fn start(
        network: &Network,
        programs: &Path,
        flags: &[&str],
    ) -> Result<Self, RigError> {
        Self::start_on(None, network, programs, flags).await
    }

    /// Does it on these cores; on any without.
    pub async fn start_on<F: AsRef<OsStr>>(
        cores: Option<&Cores>,
        network: &Network,
        programs: &Path,
        flags: &[F],
    ) -> Result<Self, RigError> {
        let near = SocketAddr::new(network.near, 0).to_string();
        let far = SocketAddr::new(network.far, 0).to_string();
        let scratch = tempfile::tempdir()?;
        let data = scratch.path().join("control").display().to_string();
        let identity = scratch.path().join("relay").display().to_string();
        let args = [
            "confab-control",
            "serve",
            "--listen",
            &near,
            "--data-dir",
            &data,
        ];
        let ControlCommand::Serve(serve_flags) = Flags::parse_from(args).command else {
            unreachable!("the arguments say serve")
        };
        let control = serve(serve_flags.config())
            .await
            .map_err(|error| RigError::Control(error.to_string()))?;
        let program = programs.join("confab-control");
        let made = Command::new(&program)
            .args([
                "relay-identity",
                "load",
                "--out",
                &identity,
                "--data-dir",
                &data,
            ])
            .output()
            .await
            .map_err(|error| RigError::Program { program, error })?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(RigError::Control(said));
        }
        let program = programs.join("confab-relay");
        let mut relay = network.command(&program);
        relay
            .args(["--listen", &far, "--identity", &identity])
            .args([
                "--control",
                &control.addr.to_string(),
                "--log-level",
                "warn",
            ])
            .args(["--metrics", &far])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        // It counts its cores to know how many workers to start.
        let mut child = match cores {
            Some(cores) => cores.while_here(|| relay.spawn())?,
            None => relay.spawn(),
        }
        .map_err(|error| RigError::Program { program, error })?;
        let metrics = metrics_address(&mut child).await?;
        let linked = wait_for_link(&control).await?;
        let relay = linked.addresses.first().copied();
        Ok(Self {
            relay: relay.ok_or_else(|| RigError::Relay("it has no address".to_owned()))?,
            pid: child
                .id()
                .ok_or_else(|| RigError::Relay("it ended".to_owned()))?,
            metrics,
            control,
            linked,
            _child: child,
            _scratch: scratch,
        })
    }

    /// Opens every session of `shape`. Rooms are numbered from `first_room` on.
    pub async fn open(&self, shape: Shape, first_room: u32) -> Result<Vec<Session>, RigError> {
        let (inbox, mut results) = inbox();
        let mut asked = HashMap::new();
        let mut opened = Vec::new();
        for room in first_room..first_room + shape.rooms {
            let conference = conference(room);
            if !self
                .control
                .peer_api()
                .relays
                .settle(&self.linked, conference, inbox.clone())
            {
                return Err(RigError::Relay("the link was lost".to_owned()));
            }
            for sender in 0..shape.members {
                let command = asked.len() as u64 + opened.len() as u64;
                asked.insert(command, (room, sender));
                self.open_one(conference, sender, command, &inbox);
                if asked.len() >= COMMANDS_IN_FLIGHT {
                    let session = next_opened(&mut results, &mut asked).await?;
                    opened.push(self.session(session));
                }
            }
        }
        while !asked.is_empty() {
            let session = next_opened(&mut results, &mut asked).await?;
            opened.push(self.session(session));
        }
        opened.sort_by_key(|session: &Session| (session.room, session.member));
        Ok(opened)
    }

    fn session(&self, (room, member, id): (u32, u16, ConnectionId)) -> Session {
        let key = hop_key(conference(room), member);
        Session {
            room,
            member,
            key: SealingKey::fixed(KeyId::new(member.into(), 0, 0)),
            relay: self.relay,
            id,
            uplink_key: key.clone(),
            downlink_key: key,
        }
    }

    fn open_one(
        &self,
        conference: ConferenceId,
        sender: u16,
        command: u64,
        inbox: &Inbox<RelayEvent>,
    ) {
        let key = hop_key(conference, sender);
        let open = OpenMedia {
            note: SessionNote::new(&[0; NOTE_LEN]).unwrap_or_default(),
            ..OpenMedia::new(sender, sender.into(), key.clone(), key)
        };
        self.control.peer_api().relays.command(
            &self.linked.name,
            conference,
            (command, inbox.clone()),
            (Fence::default(), self.linked.boot),
            Action::OpenMedia(open),
        );
    }
}

fn conference(room: u32) -> ConferenceId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&room.to_be_bytes());
    ConferenceId::new(id)
}

/// Where the relay says that its metrics are: the last line that it prints.
async fn metrics_address(child: &mut Child) -> Result<SocketAddr, RigError> {
    let missing = || RigError::Relay("it did not say where its metrics are".to_owned());
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let mut lines = BufReader::new(stdout).lines();
    let said = async {
        while let Ok(Some(line)) = lines.next_line().await {
            let rest = line.strip_prefix("metrics on http://");
            if let Some(address) = rest.and_then(|rest| rest.strip_suffix("/metrics")) {
                return address.parse().ok();
            }
        }
        None
    };
    let said = tokio::time::timeout(LINK_DEADLINE, said).await;
    said.ok().flatten().ok_or_else(missing)
}

async fn wait_for_link(control: &Running) -> Result<LinkedRelay, RigError> {
    let linked = async {
        loop {
            if let Some(relay) = control.peer_api().relays.pick(&ANY_RELAY) {
                return relay;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let missing = |_| RigError::Relay("it did not link to control".to_owned());
    tokio::time::timeout(LINK_DEADLINE, linked)
        .await
        .map_err(missing)
}

async fn next_opened(
    results: &mut InboxReader<RelayEvent>,
    asked: &mut HashMap<u64, (u32, u16)>,
) -> Result<(u32, u16, ConnectionId), RigError> {
    let failed = |what: &str| RigError::Command(what.to_owned());
    loop {
        let event = tokio::time::timeout(COMMAND_DEADLINE, results.next()).await;
        let event = event.map_err(|_| failed("no answer"))?;
        let Some(RelayEvent::CommandDone { command, response }) = event else {
            continue;
        };
        let Response::Answered(CommandResult {
            outcome: CommandOutcome::Obeyed,
            connection_id: Some(id),
            ..
        }) = response
        else {
            return Err(failed("it refused; raise --max-sessions"));
        };
        if let Some((room, sender)) = asked.remove(&command) {
            return Ok((room, sender, id));
        }
    }
}
