//! Reads what arrives, for all members: counts it, and looks into a sample.
//!
//! No thread waits for datagrams: a reader that slept in the kernel would be woken at the relay's cost, once for each
//! receiver. One thread looks after many sockets, a few thousand times a second; when a datagram arrived is the kernel's
//! word.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use confab_protocol::media::downlink::{Downlink, DownlinkBody, kind};
use confab_relay::core::{Packet, PacketPool, Transport};
use confab_relay::io::UdpDriver;

use super::crowd::Shared;
use super::voice::{Line, spoken_at};

/// Time between two looks at the sockets.
const READ_INTERVAL: Duration = Duration::from_micros(500);
/// Checks one datagram of this many.
const SAMPLE: u64 = 64;
/// Datagrams read by one system call.
const BATCH: usize = 64;
/// Answers that wait for who asked; more are dropped, as a network would.
pub(super) const ANSWERS: usize = 1024;
/// Reading gives way to speaking.
const NICE: i32 = 5;

/// A socket to be read.
pub(super) struct SocketReader {
    driver: UdpDriver,
    /// Its own: a driver keeps a batch of buffers ready.
    pool: PacketPool,
    lines: Lines,
    answers: SyncSender<Vec<u8>>,
}

/// A socket's sessions; a datagram does not say for which of them it is.
pub(super) type Lines = Arc<Mutex<Vec<Line>>>;

impl SocketReader {
    pub(super) fn new(
        socket: &UdpSocket,
        lines: &Lines,
        answers: SyncSender<Vec<u8>>,
    ) -> io::Result<Self> {
        Ok(Self {
            driver: UdpDriver::new(vec![socket.try_clone()?], BATCH)?,
            pool: PacketPool::new(0, 2 * BATCH),
            lines: Arc::clone(lines),
            answers,
        })
    }
}

/// Reads these sockets, and those that come, until the crowd ends.
pub(super) fn read_sockets(shared: &Shared, more: &Receiver<Vec<SocketReader>>) -> io::Result<()> {
    // Worth a try: without it, all run alike.
    let _ = rustix::process::setpriority_process(None, NICE);
    let mut reading: Vec<SocketReader> = Vec::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut seen = 0;
    while !shared.stop.load(Relaxed) {
        reading.extend(more.try_iter().flatten());
        for socket in &mut reading {
            loop {
                socket.driver.receive(&mut socket.pool, &mut batch)?;
                let was_full = batch.len() == BATCH;
                for packet in batch.drain(..) {
                    take(shared, socket, &packet, &mut seen)?;
                    socket.pool.give(packet);
                }
                if !was_full {
                    break;
                }
            }
            let drops = socket.driver.take_kernel_drops();
            if drops > 0 {
                shared.missed.fetch_add(drops, Relaxed);
            }
        }
        thread::sleep(READ_INTERVAL);
    }
    Ok(())
}

fn take(shared: &Shared, socket: &SocketReader, packet: &Packet, seen: &mut u64) -> io::Result<()> {
    let bytes = packet.bytes();
    let &[kind, frames, ..] = bytes else {
        return Ok(());
    };
    if kind == kind::PATH_CHALLENGE {
        return answer(socket, packet);
    }
    if kind != kind::AUDIO {
        let _ = socket.answers.try_send(bytes.to_vec());
        return Ok(());
    }
    *seen += 1;
    shared.datagrams.fetch_add(1, Relaxed);
    shared.frames.fetch_add(frames.into(), Relaxed);
    if seen.is_multiple_of(SAMPLE) {
        check_sample(shared, socket, packet);
    }
    Ok(())
}

/// The relay asks whether a session still hears.
fn answer(socket: &SocketReader, packet: &Packet) -> io::Result<()> {
    let Ok(downlink) = Downlink::parse(packet.bytes()) else {
        return Ok(());
    };
    let DownlinkBody::PathChallenge(challenge) = downlink.body else {
        return Ok(());
    };
    match line_of(&socket.lines, &downlink) {
        Some(line) => line.answer(challenge),
        None => Ok(()),
    }
}

fn check_sample(shared: &Shared, socket: &SocketReader, packet: &Packet) {
    let ago = socket.driver.elapsed(packet.received()).unwrap_or_default();
    let arrived = shared.epoch.elapsed().saturating_sub(ago);
    let downlink = Downlink::parse(packet.bytes()).ok();
    shared.checked.fetch_add(1, Relaxed);
    let Some(downlink) = downlink.filter(|downlink| line_of(&socket.lines, downlink).is_some())
    else {
        shared.bad.fetch_add(1, Relaxed);
        return;
    };
    let DownlinkBody::Audio(records) = downlink.body else {
        return;
    };
    for record in records.iter() {
        if let Some(spoken) = spoken_at(record.sframe) {
            shared
                .heard
                .record(arrived.saturating_sub(Duration::from_nanos(spoken)));
        }
    }
}

fn line_of(lines: &Lines, downlink: &Downlink<'_>) -> Option<Line> {
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().find(|line| line.is_for_me(downlink)).cloned()
}
