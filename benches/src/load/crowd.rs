//! The members of all rooms: few sockets, many sessions. Speakers speak at random phases; who only listens says that it is
//! there; a sample of what arrives is checked.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::pace::{self, Pace};
use super::reader::{ANSWERS, Lines, SocketReader, read_sockets};
use super::times::Times;
use super::voice::{Answers, Session, Voice};

/// A listener is heard of so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Longest time for which a thread does not look whether it is to end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Sockets for each thread that reads, and for each that speaks.
const SOCKETS_PER_THREAD: usize = 32;
/// Receive buffers of those who listen, in bytes, and of those who don't.
const CHECKED_BUFFER: usize = 8 << 20;
const DROPPED_BUFFER: usize = 4096;

/// Handling of the datagrams that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Read, counted, and a sample checked.
    Checked,
    /// Left in small socket buffers, where the kernel drops it: costs the sender the least and disturbs it the least. What
    /// the relay asks is not read either, so that it sends for less than 30 s.
    Dropped,
}

/// The pattern in which a crowd speaks and reads.
#[derive(Debug, Clone, Copy)]
pub struct TalkPattern {
    /// Number of speakers in each room: its first members.
    pub speakers: u16,
    /// Bytes of SFrame in a frame.
    pub sframe_len: usize,
    /// Fixes the speakers' phases.
    pub seed: u64,
    /// Sockets for each relay.
    pub sockets: usize,
    /// Handling of the datagrams that arrive.
    pub reading: Reading,
}

/// Counts so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that speakers sent.
    pub frames_sent: u64,
    /// Datagrams of audio that arrived.
    pub datagrams: u64,
    pub frames: u64,
    /// Datagrams that arrived and found the crowd's own receive buffers full.
    pub missed: u64,
    /// Datagrams of the sample.
    pub checked: u64,
    /// Datagrams of the sample with a wrong tag.
    pub bad: u64,
}

/// A crowd that is connected and speaks until it is dropped.
pub struct Crowd {
    shared: Arc<Shared>,
    pattern: TalkPattern,
    relays: HashMap<SocketAddr, Vec<SpeakerSocket>>,
    speakers: Vec<Sender<Vec<Voice>>>,
    listeners: Sender<Vec<Voice>>,
    readers: Vec<Sender<Vec<SocketReader>>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    sessions: usize,
}

/// The sending side of a socket.
struct SpeakerSocket {
    socket: Arc<UdpSocket>,
    lines: Lines,
    answers: Answers,
}

pub(super) struct Shared {
    pub(super) epoch: Instant,
    pub(super) stop: AtomicBool,
    silence: AtomicBool,
    frames_sent: AtomicU64,
    pub(super) datagrams: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) missed: AtomicU64,
    pub(super) checked: AtomicU64,
    pub(super) bad: AtomicU64,
    /// From speaking to the kernel's receive timestamp, of the sample.
    pub(super) heard: Times,
    /// How late frames were spoken.
    late: Times,
}

impl Crowd {
    /// A crowd of these sessions.
    pub fn start(sessions: Vec<Session>, pattern: TalkPattern) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            stop: AtomicBool::new(false),
            silence: AtomicBool::new(false),
            frames_sent: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            bad: AtomicU64::new(0),
            heard: Times::default(),
            late: Times::default(),
        });
        let mut threads = Vec::new();
        let (listeners, quiet) = mpsc::channel();
        let for_signs = Arc::clone(&shared);
        threads.push(thread::spawn(move || keep_alive(&for_signs, &quiet)));
        let mut crowd = Self {
            shared,
            pattern,
            relays: HashMap::new(),
            speakers: Vec::new(),
            listeners,
            readers: Vec::new(),
            threads,
            sessions: 0,
        };
        for at in 0..pattern.sockets.max(1).div_ceil(SOCKETS_PER_THREAD) {
            crowd.start_threads(at as u64);
        }
        crowd.add(sessions)?;
        Ok(crowd)
    }

    /// Connects more sessions; when all are, their speakers begin.
    pub fn add(&mut self, sessions: Vec<Session>) -> io::Result<()> {
        let mut by_relay: HashMap<SocketAddr, Vec<Session>> = HashMap::new();
        for session in sessions {
            by_relay.entry(session.relay).or_default().push(session);
        }
        let mut voices = Vec::new();
        for (relay, sessions) in by_relay {
            // With `Reading::Dropped` an answer cannot be told from speech once there is speech.
            let known = self.relays.remove(&relay);
            let mut mouths = match known.filter(|_| self.pattern.reading == Reading::Checked) {
                Some(mouths) => mouths,
                None => self.open_sockets(relay)?,
            };
            voices.extend(connect(&mut mouths, sessions)?);
            self.relays.insert(relay, mouths);
        }
        self.sessions += voices.len();
        let (speaking, quiet): (Vec<_>, Vec<_>) = voices
            .into_iter()
            .partition(|voice| voice.session.member < self.pattern.speakers);
        // A thread that has ended for an error says so when the crowd is checked.
        let _ = self.listeners.send(quiet);
        let mut shares: Vec<_> = self.speakers.iter().map(|_| Vec::new()).collect();
        let threads = shares.len();
        for voice in speaking {
            shares[voice.session.room as usize % threads].push(voice);
        }
        for (speaker, share) in self.speakers.iter().zip(shares) {
            let _ = speaker.send(share);
        }
        Ok(())
    }

    /// Sessions that are connected.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            frames_sent: self.shared.frames_sent.load(Relaxed),
            datagrams: self.shared.datagrams.load(Relaxed),
            frames: self.shared.frames.load(Relaxed),
            missed: self.shared.missed.load(Relaxed),
            checked: self.shared.checked.load(Relaxed),
            bad: self.shared.bad.load(Relaxed),
        }
    }

    /// Times from speaking to the arrival at a listener, of a sample.
    pub fn heard(&self) -> &Times {
        &self.shared.heard
    }

    /// How late frames were spoken: the crowd's own lack of time.
    pub fn late(&self) -> &Times {
        &self.shared.late
    }

    /// Stops all speakers.
    pub fn silence(&self) {
        self.shared.silence.store(true, Relaxed);
    }

    /// An error when part of the crowd has failed.
    pub fn check(&mut self) -> io::Result<()> {
        while let Some(at) = self.threads.iter().position(JoinHandle::is_finished) {
            joined(self.threads.swap_remove(at))?;
        }
        Ok(())
    }

    pub fn end(mut self) -> io::Result<()> {
        self.shared.stop.store(true, Relaxed);
        self.threads.drain(..).try_for_each(joined)
    }

    fn start_threads(&mut self, at: u64) {
        let (to, voices) = mpsc::channel();
        let (shared, pattern) = (Arc::clone(&self.shared), self.pattern);
        let seed = pattern.seed.wrapping_add(at);
        self.threads.push(thread::spawn(move || {
            speak(&shared, &voices, pattern.sframe_len, seed)
        }));
        self.speakers.push(to);
        if self.pattern.reading == Reading::Checked {
            let (to, reading) = mpsc::channel();
            let shared = Arc::clone(&self.shared);
            self.threads
                .push(thread::spawn(move || read_sockets(&shared, &reading)));
            self.readers.push(to);
        }
    }

    fn open_sockets(&self, relay: SocketAddr) -> io::Result<Vec<SpeakerSocket>> {
        let mut mouths = Vec::new();
        for at in 0..self.pattern.sockets.max(1) {
            let socket = open_socket(relay, self.pattern.reading)?;
            let lines = Lines::default();
            let mut answers = Answers::Socket;
            if !self.readers.is_empty() {
                let (to, from) = mpsc::sync_channel(ANSWERS);
                let socket = SocketReader::new(&socket, &lines, to)?;
                let _ = self.readers[at % self.readers.len()].send(vec![socket]);
                answers = Answers::Thread(from);
            }
            mouths.push(SpeakerSocket {
                socket: Arc::new(socket),
                lines,
                answers,
            });
        }
        Ok(mouths)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

impl Counts {
    /// The counts since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            frames_sent: self.frames_sent - before.frames_sent,
            datagrams: self.datagrams - before.datagrams,
            frames: self.frames - before.frames,
            missed: self.missed - before.missed,
            checked: self.checked - before.checked,
            bad: self.bad - before.bad,
        }
    }
}

/// Each session on a socket in turn; all sockets at once, for an answer may come from far away.
fn connect(mouths: &mut [SpeakerSocket], sessions: Vec<Session>) -> io::Result<Vec<Voice>> {
    let mut shares: Vec<Vec<Session>> = mouths.iter().map(|_| Vec::new()).collect();
    for (at, session) in sessions.into_iter().enumerate() {
        shares[at % mouths.len()].push(session);
    }
    thread::scope(|scope| {
        let under_way: Vec<_> = mouths
            .iter_mut()
            .zip(shares)
            .map(|(mouth, share)| scope.spawn(|| mouth.connect(share)))
            .collect();
        let mut voices = Vec::new();
        for thread in under_way {
            voices.extend(thread.join().map_err(|_| panicked())??);
        }
        Ok(voices)
    })
}

impl SpeakerSocket {
    fn connect(&mut self, sessions: Vec<Session>) -> io::Result<Vec<Voice>> {
        let mut voices = Vec::new();
        for session in sessions {
            let mut voice = Voice::new(session, Arc::clone(&self.socket));
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(voice.line().clone());
            drop(lines);
            voice.connect(&self.answers)?;
            voices.push(voice);
        }
        Ok(voices)
    }
}

fn open_socket(relay: SocketAddr, reading: Reading) -> io::Result<UdpSocket> {
    let any: SocketAddr = match relay {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    match reading {
        Reading::Checked => {
            // Beyond the system's limit where that is allowed, up to it elsewhere.
            let forced =
                rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, CHECKED_BUFFER);
            if forced.is_err() {
                SockRef::from(&socket).set_recv_buffer_size(CHECKED_BUFFER)?;
            }
        }
        Reading::Dropped => SockRef::from(&socket).set_recv_buffer_size(DROPPED_BUFFER)?,
    }
    socket.connect(relay)?;
    Ok(socket)
}

fn joined(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().map_err(|_| panicked())?
}

fn panicked() -> io::Error {
    io::Error::other("a thread of the load panicked")
}

/// Speaks for everyone who comes.
fn speak(
    shared: &Shared,
    coming: &Receiver<Vec<Voice>>,
    sframe_len: usize,
    seed: u64,
) -> io::Result<()> {
    pace::wake_in_time()?;
    let mut pace = Pace::new(seed);
    let mut voices = Vec::new();
    while !shared.stop.load(Relaxed) {
        for more in coming.try_iter() {
            pace.add(more.len());
            voices.extend(more);
        }
        let next = pace.next_speaker();
        let Some((due, speaker)) = next.filter(|_| !shared.silence.load(Relaxed)) else {
            thread::sleep(LOOK_UP);
            continue;
        };
        shared.late.record(pace::sleep_until(due));
        voices[speaker].speak(shared.epoch, sframe_len)?;
        shared.frames_sent.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Gives signs of life for everyone who comes and is silent.
fn keep_alive(shared: &Shared, coming: &Receiver<Vec<Voice>>) -> io::Result<()> {
    let mut voices: Vec<Voice> = Vec::new();
    let mut next = 0;
    let mut due = Instant::now();
    while !shared.stop.load(Relaxed) {
        let wait = due.saturating_duration_since(Instant::now()).min(LOOK_UP);
        match coming.recv_timeout(wait) {
            Ok(more) => voices.extend(more),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(wait),
        }
        if Instant::now() < due {
            continue;
        }
        if let Some(voice) = voices.get_mut(next) {
            voice.keep_alive()?;
        }
        next = (next + 1) % voices.len().max(1);
        let count = u32::try_from(voices.len()).unwrap_or(u32::MAX).max(1);
        due += KEEP_ALIVE / count;
    }
    Ok(())
}
