//! The datagrams of a member: proofs of its address, frames, keep-alives.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, ConnectionId, HopKey, SFRAME_TAG_LEN, SframeHeader};

use super::group::SealingKey;

/// An answer that has not come by then was lost.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);
const TRIES: u32 = 10;

/// A member's session, opened and not yet heard.
#[derive(Debug, Clone)]
pub struct Session {
    pub room: u32,
    /// Index of the member in the room.
    pub member: u16,
    /// The key id of its frames.
    pub key: SealingKey,
    /// Where its relay is.
    pub relay: std::net::SocketAddr,
    /// Names it at the relay.
    pub id: ConnectionId,
    /// Tags what it sends.
    pub uplink_key: HopKey,
    /// Tags what it receives.
    pub downlink_key: HopKey,
}

/// The keys and ids for sending in a session.
pub(super) struct Voice {
    pub(super) session: Session,
    line: Line,
    counter: u64,
}

/// A session's way to the relay, shared by who speaks for it and who reads what comes to it.
#[derive(Clone)]
pub(super) struct Line {
    id: ConnectionId,
    uplink_key: HopKey,
    downlink_key: HopKey,
    socket: Arc<UdpSocket>,
    next: Arc<AtomicU32>,
}

/// Where answers of a socket come from while its sessions prove their addresses.
pub(super) enum Answers {
    /// Only this thread reads the socket.
    Socket,
    /// Datagrams other than audio, from the thread that reads the socket.
    Thread(Receiver<Vec<u8>>),
}

impl Answers {
    fn next(&self, socket: &UdpSocket, deadline: Instant) -> Option<Vec<u8>> {
        let left = deadline.checked_duration_since(Instant::now())?;
        match self {
            Self::Thread(answers) => answers.recv_timeout(left).ok(),
            Self::Socket => {
                let mut buffer = [0; 1500];
                socket
                    .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                    .ok()?;
                let len = socket.recv(&mut buffer).ok()?;
                Some(buffer[..len].to_vec())
            }
        }
    }
}

impl Voice {
    pub(super) fn new(session: Session, socket: Arc<UdpSocket>) -> Self {
        let line = Line {
            id: session.id,
            uplink_key: session.uplink_key.clone(),
            downlink_key: session.downlink_key.clone(),
            socket,
            next: Arc::default(),
        };
        Self {
            session,
            line,
            counter: 0,
        }
    }

    /// Its way to the relay.
    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Proves the socket's address, and waits until the relay knows.
    pub(super) fn connect(&mut self, answers: &Answers) -> io::Result<()> {
        for _ in 0..TRIES {
            self.line.keep_alive()?;
            let deadline = Instant::now() + ANSWER_DEADLINE;
            while let Some(answer) = answers.next(&self.line.socket, deadline) {
                let Ok(answer) = Downlink::parse(&answer) else {
                    continue;
                };
                // The others on the socket are answered, too.
                if !self.line.is_for_me(&answer) {
                    continue;
                }
                match answer.body {
                    DownlinkBody::PathChallenge(challenge) => self.line.answer(challenge)?,
                    DownlinkBody::Pong(pong) if pong.echo == self.line.echo() => return Ok(()),
                    _ => {}
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the relay does not answer a new session",
        ))
    }

    /// A sign of life.
    pub(super) fn keep_alive(&self) -> io::Result<()> {
        self.line.keep_alive()
    }

    /// A frame that says when it was spoken, as time since `epoch`.
    pub(super) fn speak(&mut self, epoch: Instant, sframe_len: usize) -> io::Result<()> {
        // Without a key it is silent, as a client is.
        let Some(key_id) = self.session.key.get() else {
            return Ok(());
        };
        let header = SframeHeader {
            key_id,
            counter: self.counter,
        };
        self.counter += 1;
        let mut head = [0; SframeHeader::MAX_LEN];
        let head_len = header.write(&mut head);
        let mut sframe = vec![0xa5; sframe_len.max(head_len + SFRAME_TAG_LEN)];
        sframe[..head_len].copy_from_slice(&head[..head_len]);
        let spoken = epoch.elapsed().as_nanos() as u64;
        sframe[head_len..head_len + 8].copy_from_slice(&spoken.to_be_bytes());
        self.line.send(UplinkBody::Audio {
            level: AudioLevel::new(true, 24.0),
            sframe: &sframe,
        })
    }
}

impl Line {
    /// True when a datagram is for this session.
    pub(super) fn is_for_me(&self, downlink: &Downlink<'_>) -> bool {
        downlink.is_authentic(&self.downlink_key)
    }

    /// Shows that the socket's address receives, as a client does, and asks for a pong.
    pub(super) fn answer(&self, challenge: [u8; 8]) -> io::Result<()> {
        self.send(UplinkBody::PathResponse { challenge })?;
        self.keep_alive()
    }

    fn keep_alive(&self) -> io::Result<()> {
        let echo = self.echo();
        self.send(UplinkBody::KeepAlive { echo })
    }

    /// Tells the pongs of sessions apart.
    fn echo(&self) -> [u8; 8] {
        self.id.to_bytes()
    }

    fn send(&self, body: UplinkBody<'_>) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(160);
        let number = self.next.fetch_add(1, Relaxed);
        body.encode(self.id, number, &self.uplink_key, &mut datagram)
            .map_err(io::Error::other)?;
        match self.socket.send(&datagram) {
            Ok(_) => Ok(()),
            // A full buffer loses a datagram, as a network would.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// When an SFrame that [`Voice::speak`] made was spoken, in nanoseconds since its epoch.
pub(super) fn spoken_at(sframe: &[u8]) -> Option<u64> {
    let (_, len) = SframeHeader::parse(sframe).ok()?;
    let bytes = sframe.get(len..len + 8)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}
