use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use confab_protocol::cluster::{self, Action, Command, CommandResult, Fence, MediaState};
use confab_protocol::control::ConferenceId;
use confab_protocol::control::framing::{self, Deframer};
use confab_protocol::media::ConnectionId;
use confab_protocol::wire::{self, CommandOutcome};
use quinn::{Connection, RecvStream, SendStream};

use crate::harness::{PATIENCE, TestServer};

/// A relay for tests that obeys commands or answers as the test says.
pub struct FakeRelay {
    pub connection: Connection,
    pub boot: [u8; 16],
    shared: Arc<Shared>,
}

/// State of the relay that all of its links share.
#[derive(Default)]
struct Media {
    /// The highest fence of each conference.
    fences: HashMap<ConferenceId, Fence>,
    sessions: BTreeMap<(ConferenceId, u16), MediaState>,
}

struct Shared {
    /// Every command that was not fenced, with the connection ID given to an OpenMedia.
    seen: Mutex<Vec<(Command, u64)>>,
    media: Arc<Mutex<Media>>,
    /// Outcome of commands that are not fenced; `None`: no answer.
    outcome: Mutex<Option<CommandOutcome>>,
    /// The load report.
    load: Mutex<wire::RelayLoad>,
    send: tokio::sync::Mutex<SendStream>,
    /// Replaces results.
    replacement: Mutex<Option<Replacement>>,
}

/// Maps a command and its true result to the results that are sent.
type Replacement = Box<dyn FnMut(&Command, CommandResult) -> Vec<CommandResult> + Send>;

impl FakeRelay {
    /// Links the same relay to another node.
    pub async fn link(&self, server: &TestServer, name: &str) -> Self {
        let identity = server.relay_identity(name);
        let connection = server.connect(cluster::ALPN, Some(identity)).await.unwrap();
        let outcome = Some(CommandOutcome::Obeyed);
        let media = self.shared.media.clone();
        Self::link_with_hello(connection, self.boot, 1000, (outcome, media)).await
    }

    pub async fn link_as(connection: Connection, boot: [u8; 16], max_sessions: u32) -> Self {
        Self::link_with(connection, boot, max_sessions, Some(CommandOutcome::Obeyed)).await
    }

    pub async fn link_with(
        connection: Connection,
        boot: [u8; 16],
        max_sessions: u32,
        outcome: Option<CommandOutcome>,
    ) -> Self {
        Self::link_with_hello(connection, boot, max_sessions, (outcome, Arc::default())).await
    }

    async fn link_with_hello(
        connection: Connection,
        boot: [u8; 16],
        max_sessions: u32,
        (outcome, media): (Option<CommandOutcome>, Arc<Mutex<Media>>),
    ) -> Self {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let hello = wire::RelayHello {
            min_version: 1,
            max_version: 1,
            agent: "fake-relay/1".to_owned(),
            boot_id: Bytes::copy_from_slice(&boot),
            region: String::new(),
            addresses: vec!["192.0.2.1:9000".to_owned(), "[2001:db8::1]:9000".to_owned()],
            workers: 1,
            max_sessions,
            ..wire::RelayHello::default()
        };
        send.write_all(&relay_message(wire::relay_to_control::Kind::Hello(hello)))
            .await
            .unwrap();
        let mut deframer = Deframer::new(cluster::MAX_MESSAGE);
        let greeting = tokio::time::timeout(PATIENCE, next_message(&mut recv, &mut deframer)).await;
        let kind = greeting.unwrap().expect("control answers").kind;
        assert!(matches!(kind, Some(wire::control_to_relay::Kind::Hello(_))));
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            outcome: Mutex::new(outcome),
            media,
            load: Mutex::default(),
            send: tokio::sync::Mutex::new(send),
            replacement: Mutex::default(),
        });
        tokio::spawn(obey(recv, deframer, shared.clone()));
        tokio::spawn(report(shared.clone()));
        Self {
            connection,
            boot,
            shared,
        }
    }

    pub fn answer_with(&self, outcome: Option<CommandOutcome>) {
        *self.shared.outcome.lock().unwrap() = outcome;
    }

    /// Sets the number of sessions in load reports.
    pub fn has_sessions(&self, sessions: u32) {
        self.shared.load.lock().unwrap().sessions = sessions;
    }

    /// True after a command to drain.
    pub fn is_draining(&self) -> bool {
        self.shared.load.lock().unwrap().draining
    }

    pub fn commands(&self) -> Vec<Command> {
        self.shared
            .seen
            .lock()
            .unwrap()
            .iter()
            .map(|(command, _)| command.clone())
            .collect()
    }

    pub fn actions(&self) -> Vec<Action> {
        self.commands()
            .into_iter()
            .map(|command| command.action)
            .collect()
    }

    /// The last command about the sender's permission to speak.
    pub fn may_speak(&self, of: u16) -> Option<bool> {
        self.actions()
            .into_iter()
            .rev()
            .find_map(|action| match action {
                Action::OpenMedia(open) if open.sender == of => Some(open.may_speak),
                Action::SetMaySpeak { sender, may_speak } if sender == of => Some(may_speak),
                _ => None,
            })
    }

    /// True if the sender has a session.
    pub fn has_session(&self, of: u16) -> bool {
        let media = self.shared.media.lock().unwrap();
        media.sessions.keys().any(|(_, sender)| *sender == of)
    }

    pub fn closed(&self, of: u16) -> bool {
        self.actions().contains(&Action::CloseMedia { sender: of })
    }

    /// Reports that the sender's newest session has ended.
    pub async fn end_media(&self, of: u16, reason: wire::MediaEndReason) {
        let (conference, id) = {
            let seen = self.shared.seen.lock().unwrap();
            let opened = seen
                .iter()
                .rev()
                .find_map(|(command, id)| match &command.action {
                    Action::OpenMedia(open) if open.sender == of => Some((command.conference, *id)),
                    _ => None,
                });
            opened.unwrap()
        };
        self.shared
            .media
            .lock()
            .unwrap()
            .sessions
            .remove(&(conference, of));
        let ended = wire::MediaEnded {
            conference_id: conference.to_wire(),
            sender: of.into(),
            connection_id: Bytes::copy_from_slice(&id.to_be_bytes()),
            reason: reason.into(),
        };
        self.shared
            .send(wire::relay_to_control::Kind::MediaEnded(ended))
            .await;
    }

    /// Reports that the relay drains.
    pub fn drain(&self) {
        self.shared.load.lock().unwrap().draining = true;
    }

    /// Reports that the relay has the room of this conference.
    pub async fn has_room(&self, conference: &Bytes) {
        let rooms = wire::LiveRooms {
            conference_ids: vec![conference.clone()],
        };
        let kind = wire::relay_to_control::Kind::LiveRooms(rooms);
        self.shared.send(kind).await;
    }

    /// Number of commands to close the room of this conference.
    pub fn rooms_closed(&self, conference: &Bytes) -> usize {
        let commands = self.commands();
        let closed = commands.iter().filter(|command| {
            command.action == Action::CloseRoom && command.conference.to_wire() == *conference
        });
        closed.count()
    }

    /// Replaces each result by those that `replacement` returns.
    pub fn answer_instead(
        &self,
        replacement: impl FnMut(&Command, CommandResult) -> Vec<CommandResult> + Send + 'static,
    ) {
        *self.shared.replacement.lock().unwrap() = Some(Box::new(replacement));
    }

    /// Changes the relay's sessions, and so its next session list.
    pub fn change_state(
        &self,
        change: impl FnOnce(&mut BTreeMap<(ConferenceId, u16), MediaState>),
    ) {
        change(&mut self.shared.media.lock().unwrap().sessions);
    }

    /// Sends a message.
    pub async fn send(&self, kind: wire::relay_to_control::Kind) {
        self.shared.send(kind).await;
    }

    /// Sends raw bytes.
    pub async fn send_bytes(&self, bytes: &[u8]) {
        let _ = self.shared.send.lock().await.write_all(bytes).await;
    }

    /// Breaks the link.
    pub fn unlink(&self) {
        self.connection.close(0u32.into(), b"test");
    }
}

impl Media {
    fn obey(&mut self, command: &Command, connection: u64) -> CommandResult {
        let room = command.conference;
        let mut result = CommandResult::bare(command.id, CommandOutcome::Obeyed);
        let is_there = match &command.action {
            Action::OpenMedia(open) => {
                let connection_id = ConnectionId::from_bytes(connection.to_be_bytes());
                result.connection_id = Some(connection_id);
                let state = MediaState {
                    sender: open.sender,
                    leaves: open.leaves,
                    connection_id,
                    may_speak: open.may_speak,
                    seen: true,
                    note: open.note.clone(),
                    media_version: open.media_version,
                    account_label: open.account_label,
                };
                self.sessions.insert((room, open.sender), state);
                true
            }
            Action::CloseMedia { sender } => self.sessions.remove(&(room, *sender)).is_some(),
            Action::SetMaySpeak { sender, may_speak } => {
                let session = self.sessions.get_mut(&(room, *sender));
                session
                    .map(|session| session.may_speak = *may_speak)
                    .is_some()
            }
            Action::SetLeaves(leaves) => {
                for (sender, leaf) in leaves {
                    if let Some(session) = self.sessions.get_mut(&(room, *sender)) {
                        session.leaves.grant(*leaf);
                    }
                }
                true
            }
            Action::RetireEpochs { .. } => true,
            Action::CloseRoom => {
                self.sessions.retain(|(of, _), _| *of != room);
                true
            }
            Action::ListMedia { from } => {
                let of_room = self.sessions.range((room, *from)..=(room, u16::MAX));
                result.media = of_room.map(|(_, state)| state.clone()).collect();
                true
            }
        };
        if !is_there {
            result.outcome = CommandOutcome::NotFound;
        }
        result
    }
}

impl Shared {
    async fn send(&self, kind: wire::relay_to_control::Kind) {
        let _ = self.send.lock().await.write_all(&relay_message(kind)).await;
    }
}

async fn obey(mut recv: RecvStream, mut deframer: Deframer, shared: Arc<Shared>) {
    let mut next_id = 1u64;
    while let Some(message) = next_message(&mut recv, &mut deframer).await {
        let command = match message.kind {
            Some(wire::control_to_relay::Kind::Command(command)) => command,
            Some(wire::control_to_relay::Kind::Drain(_)) => {
                shared.load.lock().unwrap().draining = true;
                continue;
            }
            other => panic!("{other:?}"),
        };
        let command = Command::try_from(&command).unwrap();
        let id = next_id;
        next_id += 1;
        let is_fenced = {
            let mut media = shared.media.lock().unwrap();
            let highest = media.fences.entry(command.conference).or_default();
            *highest = command.fence.max(*highest);
            command.fence < *highest
        };
        let outcome = match is_fenced {
            true => Some(CommandOutcome::Fenced),
            false => *shared.outcome.lock().unwrap(),
        };
        let result = outcome.map(|outcome| match outcome {
            CommandOutcome::Obeyed => shared.media.lock().unwrap().obey(&command, id),
            outcome => CommandResult::bare(command.id, outcome),
        });
        let results = {
            let mut replacement = shared.replacement.lock().unwrap();
            result.map_or_else(Vec::new, |result| match &mut *replacement {
                Some(replacement) => replacement(&command, result),
                None => vec![result],
            })
        };
        if !is_fenced {
            shared.seen.lock().unwrap().push((command, id));
        }
        for result in results {
            shared
                .send(wire::relay_to_control::Kind::Result((&result).into()))
                .await;
        }
    }
}

async fn report(shared: Arc<Shared>) {
    loop {
        let load = *shared.load.lock().unwrap();
        shared.send(wire::relay_to_control::Kind::Load(load)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn next_message(
    recv: &mut RecvStream,
    deframer: &mut Deframer,
) -> Option<wire::ControlToRelay> {
    loop {
        if let Some(message) = deframer.next().unwrap() {
            return Some(message);
        }
        let chunk = recv.read_chunk(usize::MAX, true).await.ok()??;
        deframer.push(&chunk.bytes);
    }
}

fn relay_message(kind: wire::relay_to_control::Kind) -> Bytes {
    framing::encode(&wire::RelayToControl { kind: Some(kind) })
}
