//! The thread that looks up routes for the workers, and invalidates them when the network changes.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frame::{Headers, Mac};
use super::netlink::{ChangeListener, Hop, Kernel, NetworkChange};
use super::route::{Answer, Resolution, ResolverQueues, Route, RouteKey, Routes};

/// Pause after a change of the network before lookups go on. Changes come in bursts: a network that changes all the time
/// costs ten rounds of lookups a second at most.
const SETTLE: Duration = Duration::from_millis(100);
/// Questions of a worker that are answered before changes are read again.
const BATCH: usize = 64;

/// Asks the kernel, and keeps the state of the kernel that its answers depend on.
struct Resolver {
    kernel: Kernel,
    listener: ChangeListener,
    wake: UnixStream,
    /// The relay's own addresses, in the order in which it listens.
    listeners: Vec<SocketAddr>,
    queues: Vec<Arc<ResolverQueues>>,
    /// The generation of all answers: the same counter as in the queues.
    generation: Arc<AtomicU64>,
    /// When there are answers again, after a change.
    settled: Option<Instant>,
    known: KernelState,
}

/// The link addresses that the answers of this generation depend on.
#[derive(Default)]
struct KernelState {
    /// Own link address, by interface; `None` where frames cannot leave.
    interfaces: HashMap<u32, Option<Mac>>,
    /// Of next hops that are in use, by interface and address.
    next_hops: HashMap<(u32, IpAddr), Mac>,
}

/// Starts the thread, for this many workers of a relay that listens at `listeners`. It ends when they have dropped their
/// routes.
///
/// # Errors
///
/// When there is no netlink here, or no thread.
pub(crate) fn start(listeners: &[SocketAddr], workers: usize) -> io::Result<Vec<Routes>> {
    let (wake_of_workers, wake) = UnixStream::pair()?;
    wake_of_workers.set_nonblocking(true)?;
    wake.set_nonblocking(true)?;
    let generation = Arc::new(AtomicU64::new(0));
    let queues: Vec<_> = (0..workers)
        .map(|_| Arc::new(ResolverQueues::new(&generation)))
        .collect();
    let routes = queues
        .iter()
        .map(|queues| {
            Ok(Routes::new(
                Arc::clone(queues),
                wake_of_workers.try_clone()?,
            ))
        })
        .collect::<io::Result<_>>()?;
    let resolver = Resolver {
        kernel: Kernel::open()?,
        // Opened before the first question, so that no change after an answer is missed.
        listener: ChangeListener::open()?,
        wake,
        listeners: listeners.to_vec(),
        queues,
        generation,
        settled: None,
        known: KernelState::default(),
    };
    thread::Builder::new()
        .name("relay-routes".to_owned())
        .spawn(move || {
            if let Err(error) = resolver.run() {
                tracing::error!(
                    "routes are not looked up any more, all audio goes by the UDP sockets: {error}"
                );
            }
        })?;
    Ok(routes)
}

impl Resolver {
    fn run(mut self) -> io::Result<()> {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
        // Changes are not noticed from now on.
        self.invalidate_answers();
        served.unwrap_or_else(|_| Err(io::Error::other("the thread that looks them up panicked")))
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            if self.have_all_workers_gone()? {
                return Ok(());
            }
            self.read_changes();
            if self.settled.is_none_or(|settled| settled <= Instant::now()) {
                self.settled = None;
                self.answer();
            }
        }
    }

    /// Waits until a worker has a question, the network changes, or the pause after a change ends.
    fn wait(&self) -> io::Result<()> {
        if self.settled.is_none()
            && self
                .queues
                .iter()
                .any(|queues| !queues.questions.is_empty())
        {
            return Ok(());
        }
        let timeout = self.settled.map(|settled| {
            let left = settled.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut polled = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the workers' wakings. True if all workers have dropped their routes.
    fn have_all_workers_gone(&mut self) -> io::Result<bool> {
        match self.wake.read(&mut [0; 256]) {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads all changes, and invalidates the answers if they may be wrong.
    fn read_changes(&mut self) {
        let mut is_outdated = false;
        loop {
            let heard = self
                .listener
                .read_changes(|change| is_outdated |= self.known.is_outdated_by(change));
            match heard {
                Ok(true) => {}
                Ok(false) => break,
                // Notifications were lost, or cannot be read: anything may have changed.
                Err(_) => {
                    is_outdated = true;
                    break;
                }
            }
        }
        if is_outdated {
            self.invalidate_answers();
            self.settled = Some(Instant::now() + SETTLE);
        }
    }

    /// Makes all answers so far invalid.
    fn invalidate_answers(&mut self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.known = KernelState::default();
    }

    /// Answers up to [`BATCH`] questions of each worker.
    fn answer(&mut self) {
        let generation = self.generation.load(Ordering::Acquire);
        for queues in self.queues.clone() {
            for _ in 0..BATCH {
                let Some(key) = queues.questions.pop() else {
                    break;
                };
                let resolution = self.resolve(key).unwrap_or(Resolution::Unresolved);
                let answer = Answer {
                    key,
                    generation,
                    resolution,
                };
                // If the queue is full the worker asks again.
                let _ = queues.answers.push(answer);
            }
        }
    }

    fn resolve(&mut self, key: RouteKey) -> io::Result<Resolution> {
        let Some(listener) = self.listeners.get(usize::from(key.local)).copied() else {
            return Ok(Resolution::Datagrams);
        };
        let remote = key.remote();
        if is_of_the_link(remote) {
            return Ok(Resolution::Datagrams);
        }
        let bound = Some(listener.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
        let hop = self.kernel.route(remote, bound, listener.port())?;
        let Some(Hop {
            interface,
            next,
            source,
        }) = hop
        else {
            return Ok(Resolution::Datagrams);
        };
        let Some(own) = self.own_mac(interface)? else {
            return Ok(Resolution::Datagrams);
        };
        let Some(next_hop) = self.next_mac((interface, next))? else {
            return Ok(Resolution::Unresolved);
        };
        let source = SocketAddr::new(source, listener.port());
        let headers = Headers::new(own, next_hop, source, remote);
        Ok(headers.map_or(Resolution::Datagrams, |headers| {
            Resolution::Frames(Route {
                // An index is a positive `int` wherever the kernel takes or gives one.
                interface: interface as i32,
                headers,
            })
        }))
    }

    fn own_mac(&mut self, interface: u32) -> io::Result<Option<Mac>> {
        if let Some(own) = self.known.interfaces.get(&interface) {
            return Ok(*own);
        }
        let own = self.kernel.interface(interface)?;
        self.known.interfaces.insert(interface, own);
        Ok(own)
    }

    fn next_mac(&mut self, hop: (u32, IpAddr)) -> io::Result<Option<Mac>> {
        if let Some(next) = self.known.next_hops.get(&hop) {
            return Ok(Some(*next));
        }
        let next = self.kernel.neighbour(hop)?;
        if let Some(next) = next {
            self.known.next_hops.insert(hop, next);
        }
        Ok(next)
    }
}

impl KernelState {
    /// True if answers may be wrong after a change. A neighbour's link address that stays the same changes nothing.
    fn is_outdated_by(&self, change: NetworkChange) -> bool {
        match change {
            NetworkChange::Routes => true,
            NetworkChange::Interface(index, own) => {
                let known = self.interfaces.get(&index);
                known.is_some_and(|known| *known != own)
            }
            NetworkChange::Neighbour(hop, next) => {
                let known = self.next_hops.get(&hop);
                known.is_some_and(|known| Some(*known) != next)
            }
        }
    }
}

/// True for a link-local address, which is ambiguous without its interface.
fn is_of_the_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOP: (u32, IpAddr) = (2, IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)));
    const OTHER: (u32, IpAddr) = (2, IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)));

    fn known() -> KernelState {
        KernelState {
            interfaces: HashMap::from([(2, Some([1; 6])), (3, None)]),
            next_hops: HashMap::from([(HOP, [2; 6])]),
        }
    }

    #[test]
    fn a_change_of_a_used_link_address_or_route_outdates_the_answers() {
        for change in [
            NetworkChange::Routes,
            NetworkChange::Interface(2, Some([9; 6])),
            NetworkChange::Interface(2, None),
            NetworkChange::Interface(3, Some([1; 6])),
            NetworkChange::Neighbour(HOP, Some([9; 6])),
            NetworkChange::Neighbour(HOP, None),
        ] {
            assert!(known().is_outdated_by(change), "{change:?}");
        }
    }

    #[test]
    fn a_change_of_nothing_or_of_an_unused_entry_does_not() {
        for change in [
            NetworkChange::Interface(2, Some([1; 6])),
            NetworkChange::Interface(3, None),
            NetworkChange::Interface(7, Some([9; 6])),
            NetworkChange::Neighbour(HOP, Some([2; 6])),
            NetworkChange::Neighbour(OTHER, Some([9; 6])),
            NetworkChange::Neighbour(OTHER, None),
        ] {
            assert!(!known().is_outdated_by(change), "{change:?}");
        }
    }
}
