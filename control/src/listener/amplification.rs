//! The anti-amplification limit: an unvalidated address is sent at most three times the bytes received from it, counted as UDP
//! payload (RFC 9000 §8.1).
//!
//! quinn checks the limit only before it starts a datagram, so it can exceed the limit by one datagram. With retransmissions of
//! the server's flight, a datagram of 1200 bytes was answered by 4116 bytes. Therefore the socket enforces the limit.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::mutex::lock;

/// Factor between bytes sent and bytes received.
const FACTOR: usize = 3;
/// Minimum length of a client's first datagram (RFC 9000 §14.1).
const FIRST_DATAGRAM: usize = 1200;
/// Time for which an address is still counted after its handshake failed.
const LINGER: Duration = Duration::from_secs(10);
/// The header form bit, set in packets of a handshake (RFC 9000 §17.2).
const LONG_HEADER: u8 = 0x80;

/// Counts bytes for each unvalidated address with a handshake. Clones share state.
#[derive(Clone, Default)]
pub struct AmplificationLimit(Arc<Shared>);

#[derive(Default)]
struct Shared {
    addresses: Mutex<HashMap<SocketAddr, Allowance>>,
    /// Number of counted addresses; usually zero, which saves the lookup.
    count: AtomicUsize,
    /// Number of datagrams that were not sent.
    blocked: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    received: usize,
    sent: usize,
    /// Handshakes in progress.
    handshakes: usize,
    /// End of the last handshake that failed.
    ended: Option<Instant>,
}

/// A handshake with an unvalidated address. Dropping it means that it failed.
pub struct Unvalidated {
    amplification: AmplificationLimit,
    address: SocketAddr,
    is_validated: bool,
}

impl AmplificationLimit {
    /// Starts to count for an unvalidated address.
    pub fn begin(&self, address: SocketAddr, now: Instant) -> Unvalidated {
        let mut addresses = self.lock();
        addresses.retain(|_, allowance| !allowance.is_over(now));
        let allowance = addresses.entry(address).or_insert(Allowance {
            received: 0,
            sent: 0,
            handshakes: 0,
            ended: None,
        });
        allowance.received += FIRST_DATAGRAM;
        allowance.handshakes += 1;
        allowance.ended = None;
        self.0.count.store(addresses.len(), Ordering::Release);
        Unvalidated {
            amplification: self.clone(),
            address,
            is_validated: false,
        }
    }

    /// Number of datagrams that were not sent.
    pub fn blocked(&self) -> usize {
        self.0.blocked.load(Ordering::Relaxed)
    }

    /// Counts received bytes.
    fn received(&self, address: SocketAddr, bytes: usize) {
        if self.is_idle() {
            return;
        }
        if let Some(allowance) = self.lock().get_mut(&address) {
            allowance.received += bytes;
        }
    }

    /// The number of these bytes that may be sent. `contents` is a sequence of datagrams of `segment` bytes; the last may be
    /// shorter.
    fn may_send(&self, address: SocketAddr, contents: &[u8], segment: usize) -> usize {
        let is_handshake = contents.first().is_some_and(|byte| byte & LONG_HEADER != 0);
        if !is_handshake || self.is_idle() {
            return contents.len();
        }
        let mut addresses = self.lock();
        let Some(allowance) = addresses.get_mut(&address) else {
            return contents.len();
        };
        let mut allowed = 0;
        for datagram in contents.chunks(segment.max(1)) {
            if allowance.sent + datagram.len() > allowance.received * FACTOR {
                self.0.blocked.fetch_add(1, Ordering::Relaxed);
                break;
            }
            allowance.sent += datagram.len();
            allowed += datagram.len();
        }
        allowed
    }

    /// Uncounts bytes that were allowed but not sent.
    fn not_sent(&self, address: SocketAddr, contents: &[u8]) {
        let is_handshake = contents.first().is_some_and(|byte| byte & LONG_HEADER != 0);
        if is_handshake
            && !self.is_idle()
            && let Some(allowance) = self.lock().get_mut(&address)
        {
            allowance.sent = allowance.sent.saturating_sub(contents.len());
        }
    }

    fn is_idle(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Allowance>> {
        lock(&self.0.addresses)
    }
}

impl Allowance {
    fn is_over(&self, now: Instant) -> bool {
        let ended = self.ended.filter(|_| self.handshakes == 0);
        ended.is_some_and(|ended| now.saturating_duration_since(ended) >= LINGER)
    }
}

impl Unvalidated {
    /// The address is validated: counting ends.
    pub fn validated(mut self) {
        self.is_validated = true;
    }
}

impl Drop for Unvalidated {
    fn drop(&mut self) {
        let mut addresses = self.amplification.lock();
        if self.is_validated {
            addresses.remove(&self.address);
        } else if let Some(allowance) = addresses.get_mut(&self.address) {
            allowance.handshakes = allowance.handshakes.saturating_sub(1);
            allowance.ended = Some(Instant::now());
        }
        self.amplification
            .0
            .count
            .store(addresses.len(), Ordering::Release);
    }
}

/// A UDP socket that enforces the limit.
pub struct LimitedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    amplification: AmplificationLimit,
}

impl LimitedSocket {
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, amplification: AmplificationLimit) -> Self {
        Self {
            inner,
            amplification,
        }
    }
}

impl fmt::Debug for LimitedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LimitedSocket")
    }
}

impl AsyncUdpSocket for LimitedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    /// Datagrams over the limit are dropped. QUIC retransmits them when more has been received.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let contents = transmit.contents;
        let segment = transmit.segment_size.unwrap_or(contents.len());
        let allowed = self
            .amplification
            .may_send(transmit.destination, contents, segment);
        if allowed == 0 {
            return Ok(());
        }
        let sent = self.inner.try_send(&Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents: &contents[..allowed],
            segment_size: transmit.segment_size.filter(|segment| *segment < allowed),
            src_ip: transmit.src_ip,
        });
        // quinn retries with the whole transmit.
        sent.inspect_err(|_| {
            self.amplification
                .not_sent(transmit.destination, &contents[..allowed])
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &polled {
            for meta in &meta[..*count] {
                self.amplification.received(meta.addr, meta.len);
            }
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// A datagram with a long header.
    fn datagram(len: usize) -> Vec<u8> {
        vec![0xc0; len]
    }

    #[test]
    fn an_address_receives_at_most_three_times_what_it_sent() {
        let amplification = AmplificationLimit::default();
        let handshake = amplification.begin(address(1), Instant::now());
        let flight = datagram(2058);
        assert_eq!(amplification.may_send(address(1), &flight, 1200), 2058);
        assert_eq!(amplification.may_send(address(1), &flight, 1200), 1200);
        assert_eq!(amplification.may_send(address(1), &flight, 1200), 0);
        assert_eq!(amplification.blocked(), 2);
        amplification.received(address(1), 100);
        assert_eq!(amplification.may_send(address(1), &datagram(643), 1200), 0);
        assert_eq!(
            amplification.may_send(address(1), &datagram(642), 1200),
            642
        );
        assert_eq!(amplification.may_send(address(2), &flight, 1200), 2058);
        amplification.not_sent(address(1), &datagram(642));
        assert_eq!(
            amplification.may_send(address(1), &datagram(642), 1200),
            642
        );
        handshake.validated();
        assert_eq!(amplification.may_send(address(1), &flight, 1200), 2058);
    }

    #[test]
    fn packets_of_an_established_connection_are_not_counted() {
        let amplification = AmplificationLimit::default();
        let _handshake = amplification.begin(address(1), Instant::now());
        let established = vec![0x40; 9000];
        assert_eq!(amplification.may_send(address(1), &established, 1200), 9000);
    }

    #[test]
    fn packets_after_a_failed_handshake_count_until_the_linger_time_ends() {
        let amplification = AmplificationLimit::default();
        let now = Instant::now();
        let handshakes = [0; 2].map(|_| amplification.begin(address(1), now));
        assert_eq!(
            amplification.may_send(address(1), &datagram(7200), 1200),
            7200
        );
        drop(handshakes);
        assert_eq!(amplification.may_send(address(1), &datagram(40), 1200), 0);
        drop(amplification.begin(address(2), now + LINGER / 2));
        assert_eq!(amplification.may_send(address(1), &datagram(40), 1200), 0);
        drop(amplification.begin(address(2), Instant::now() + LINGER));
        assert_eq!(amplification.lock().len(), 1);
        assert_eq!(amplification.may_send(address(1), &datagram(40), 1200), 40);
    }
}
