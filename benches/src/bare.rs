//! The yardstick: a bare loop that sends what a relay would send, and does nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use confab_protocol::media::downlink::HEADER_LEN;
use confab_relay::core::CHUNK;
use confab_relay::core::{Outgoing, SendStatus, Transport};
use confab_relay::io::UdpDriver;

use crate::load::cpu::{self, Usage};

#[derive(Debug, Clone)]
pub struct Bursts {
    /// By which address of this host.
    pub from: IpAddr,
    /// To whom, in turn.
    pub targets: Vec<SocketAddr>,
    /// Datagrams of a burst.
    pub datagrams: usize,
    /// Bytes of each after its header: the part that all share.
    pub body: usize,
    /// Bursts a second.
    pub per_second: u32,
    pub time: Duration,
}

/// Sends, and gives the processor time for each datagram.
pub fn run(bursts: &Bursts) -> io::Result<Duration> {
    let socket = UdpSocket::bind((bursts.from, 0))?;
    socket.set_nonblocking(true)?;
    let mut driver = UdpDriver::new(vec![socket], 1)?;
    let body = vec![0xa5; bursts.body];
    let pid = std::process::id();
    let before = Usage::now(pid)?;
    let start = Instant::now();
    let mut sent = 0u64;
    for burst in 0.. {
        let due = start + Duration::from_secs(1) * burst / bursts.per_second;
        if due - start >= bursts.time {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut left = bursts.datagrams;
        while left > 0 {
            let count = left.min(CHUNK);
            let chunk: Vec<_> = (0..count)
                .map(|n| Outgoing {
                    to: bursts.targets[(left - n) % bursts.targets.len()].into(),
                    head: [n as u8; HEADER_LEN],
                    body: [&body, &[]],
                })
                .collect();
            if driver.send(&chunk) != SendStatus::All {
                return Err(io::Error::other("the yardstick's socket was full"));
            }
            sent += count as u64;
            left -= count;
        }
    }
    let used = cpu::used_since(&before, pid)?;
    Ok(used.div_f64(sent.max(1) as f64))
}
