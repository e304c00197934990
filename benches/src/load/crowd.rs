//! The members of all rooms: few sockets, many sessions. Speakers speak at random phases; who only listens keeps its
//! session alive; a sample of what arrives is checked.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, KeyId, SframeHeader};
use confab_relay::core::PacketPool;
use confab_relay::io::UdpDriver;
use socket2::SockRef;

use super::pace;
use super::rig::{Session, hop_key};

/// A listener is heard of so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// One datagram of so many is looked into.
const SAMPLE: u64 = 16;
/// A challenge that has not come by then was lost.
const CHALLENGE_DEADLINE: Duration = Duration::from_millis(500);
const CHALLENGE_TRIES: u32 = 10;

/// Whether anybody reads what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ears {
    /// Read, counted, and a sample checked.
    Open,
    /// Left in small socket buffers, where the kernel drops it: costs the sender the least and disturbs it the least.
    Shut,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Frames that speakers sent.
    pub frames_sent: u64,
    /// Datagrams of audio that arrived.
    pub datagrams: u64,
    /// Frames in them.
    pub frames: u64,
    /// Datagrams of the sample whose tag was wrong.
    pub bad: u64,
}

/// A crowd that is connected and speaks until it is dropped.
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<Vec<Duration>>>>,
}

struct Shared {
    epoch: Instant,
    stop: AtomicBool,
    frames_sent: AtomicU64,
    datagrams: AtomicU64,
    frames: AtomicU64,
    bad: AtomicU64,
}

/// What is needed to speak for a session.
struct Voice {
    session: Session,
    socket: Arc<UdpSocket>,
    next: u32,
}

impl Crowd {
    /// Connects every session over `sockets` sockets and starts to speak: in each room, the first `speakers` members.
    /// Frames have `sframe_len` bytes of SFrame. `seed` fixes the speakers' phases.
    pub fn start(
        relay: SocketAddr,
        sessions: Vec<Session>,
        (speakers, sframe_len, seed): (u16, usize, u64),
        sockets: usize,
        ears: Ears,
    ) -> io::Result<Self> {
        let sockets = open_sockets(relay, sockets, ears)?;
        let mut voices = Vec::new();
        for (at, session) in sessions.into_iter().enumerate() {
            let socket = Arc::clone(&sockets[at % sockets.len()]);
            let mut voice = Voice {
                session,
                socket,
                next: 0,
            };
            voice.connect()?;
            voices.push(voice);
        }
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            stop: AtomicBool::new(false),
            frames_sent: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            bad: AtomicU64::new(0),
        });
        let (speaking, listening): (Vec<_>, Vec<_>) = voices
            .into_iter()
            .partition(|voice| voice.session.sender < speakers);
        let mut threads = Vec::new();
        let for_speech = Arc::clone(&shared);
        threads.push(thread::spawn(move || {
            speak(&for_speech, speaking, sframe_len, seed).map(|()| Vec::new())
        }));
        let for_signs = Arc::clone(&shared);
        threads.push(thread::spawn(move || {
            keep_alive(&for_signs, listening).map(|()| Vec::new())
        }));
        if ears == Ears::Open {
            for socket in sockets {
                let shared = Arc::clone(&shared);
                threads.push(thread::spawn(move || hear(&shared, &socket)));
            }
        }
        Ok(Self { shared, threads })
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        Counts {
            frames_sent: self.shared.frames_sent.load(Relaxed),
            datagrams: self.shared.datagrams.load(Relaxed),
            frames: self.shared.frames.load(Relaxed),
            bad: self.shared.bad.load(Relaxed),
        }
    }

    /// Ends the crowd; gives the time from speaking to hearing of each sampled frame.
    pub fn end(mut self) -> io::Result<Vec<Duration>> {
        self.shared.stop.store(true, Relaxed);
        let mut delays = Vec::new();
        for thread in self.threads.drain(..) {
            let heard = thread
                .join()
                .map_err(|_| io::Error::other("a thread of the load panicked"))?;
            delays.extend(heard?);
        }
        Ok(delays)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

impl Counts {
    /// What has happened since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            frames_sent: self.frames_sent - before.frames_sent,
            datagrams: self.datagrams - before.datagrams,
            frames: self.frames - before.frames,
            bad: self.bad - before.bad,
        }
    }
}

impl Voice {
    /// Proves the socket's address. One session at a time on a socket: a challenge does not say whose it is.
    fn connect(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1500];
        for _ in 0..CHALLENGE_TRIES {
            self.send(UplinkBody::KeepAlive { echo: [0; 8] })?;
            while let Ok(len) = self.socket.recv(&mut buffer) {
                let body = Downlink::parse(&buffer[..len]).map(|downlink| downlink.body);
                if let Ok(DownlinkBody::PathChallenge(challenge)) = body {
                    return self.send(UplinkBody::PathResponse { challenge });
                }
            }
        }
        Err(io::Error::other("the relay does not answer a new session"))
    }

    fn send(&mut self, body: UplinkBody<'_>) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(160);
        body.encode(self.session.id, self.next, &hop_key(), &mut datagram)
            .map_err(io::Error::other)?;
        self.next += 1;
        match self.socket.send(&datagram) {
            Ok(_) => Ok(()),
            // A full buffer loses a datagram, as a network would.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A frame that says when it was spoken.
    fn speak(&mut self, epoch: Instant, sframe_len: usize) -> io::Result<()> {
        let header = SframeHeader {
            key_id: KeyId::new(self.session.sender.into(), 0, 0),
            counter: self.next.into(),
        };
        let mut head = [0; SframeHeader::MAX_LEN];
        let head_len = header.write(&mut head);
        let mut sframe = vec![0xa5; sframe_len.max(head_len + 8)];
        sframe[..head_len].copy_from_slice(&head[..head_len]);
        let spoken = epoch.elapsed().as_nanos() as u64;
        sframe[head_len..head_len + 8].copy_from_slice(&spoken.to_be_bytes());
        self.send(UplinkBody::Audio {
            level: AudioLevel::new(true, 24.0),
            sframe: &sframe,
        })
    }
}

fn open_sockets(relay: SocketAddr, count: usize, ears: Ears) -> io::Result<Vec<Arc<UdpSocket>>> {
    let open = || {
        let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let size = match ears {
            Ears::Open => 8 << 20,
            Ears::Shut => 4096,
        };
        SockRef::from(&socket).set_recv_buffer_size(size)?;
        socket.set_read_timeout(Some(CHALLENGE_DEADLINE))?;
        socket.connect(relay)?;
        Ok(Arc::new(socket))
    };
    (0..count.max(1)).map(|_| open()).collect()
}

/// Speaks for everyone.
fn speak(shared: &Shared, mut voices: Vec<Voice>, sframe_len: usize, seed: u64) -> io::Result<()> {
    pace::at_random_phases(voices.len(), seed, &shared.stop, |speaker| {
        voices[speaker].speak(shared.epoch, sframe_len)?;
        shared.frames_sent.fetch_add(1, Relaxed);
        Ok(())
    })
}

fn keep_alive(shared: &Shared, mut voices: Vec<Voice>) -> io::Result<()> {
    let count = u32::try_from(voices.len()).unwrap_or(u32::MAX).max(1);
    let step = KEEP_ALIVE / count;
    let mut due = Instant::now();
    while !voices.is_empty() {
        for voice in &mut voices {
            due += step;
            while Instant::now() < due {
                if shared.stop.load(Relaxed) {
                    return Ok(());
                }
                thread::sleep((due - Instant::now()).min(Duration::from_millis(50)));
            }
            voice.send(UplinkBody::KeepAlive { echo: [0; 8] })?;
        }
    }
    Ok(())
}

/// Reads what arrives; gives the delays of the sample.
fn hear(shared: &Shared, socket: &UdpSocket) -> io::Result<Vec<Duration>> {
    let mut driver = UdpDriver::new(vec![socket.try_clone()?], 64)?;
    let mut pool = PacketPool::new(0, 256);
    let mut batch = Vec::new();
    let mut delays = Vec::new();
    let mut seen = 0;
    while !shared.stop.load(Relaxed) {
        driver.wait(Duration::from_millis(50), false)?;
        driver.receive(&mut pool, &mut batch)?;
        for packet in batch.drain(..) {
            let bytes = packet.bytes();
            if bytes.first() == Some(&confab_protocol::media::downlink::kind::AUDIO) {
                seen += 1;
                shared.datagrams.fetch_add(1, Relaxed);
                shared.frames.fetch_add(u64::from(bytes[1]), Relaxed);
                if seen % SAMPLE == 0 {
                    look_into(shared, bytes, &mut delays);
                }
            }
            pool.give(packet);
        }
    }
    Ok(delays)
}

fn look_into(shared: &Shared, bytes: &[u8], delays: &mut Vec<Duration>) {
    let now = shared.epoch.elapsed().as_nanos() as u64;
    let downlink = Downlink::parse(bytes).ok();
    let Some(downlink) = downlink.filter(|downlink| downlink.is_authentic(&hop_key())) else {
        shared.bad.fetch_add(1, Relaxed);
        return;
    };
    let DownlinkBody::Audio(records) = downlink.body else {
        return;
    };
    for record in records.iter() {
        let spoken = SframeHeader::parse(record.sframe)
            .ok()
            .and_then(|(_, len)| record.sframe.get(len..len + 8))
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_be_bytes);
        if let Some(spoken) = spoken {
            delays.push(Duration::from_nanos(now.saturating_sub(spoken)));
        }
    }
}
