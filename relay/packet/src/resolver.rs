//! The thread that finds out for the workers how frames reach their receivers, and that tells them when it may be wrong.

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
use super::netlink::{Ear, Hop, Kernel, News};
use super::route::{Answer, Board, Ends, Route, Routes, Verdict};

/// Changes of a network come in bunches: after one of them nothing is answered for so long, so that a network that is
/// never at rest costs ten rounds of questions a second and no more.
const SETTLE: Duration = Duration::from_millis(100);
/// Questions of a worker that are answered before one listens for changes again.
const BATCH: usize = 64;

/// Asks the kernel, and remembers what the answers given so far stand on.
struct Resolver {
    kernel: Kernel,
    ear: Ear,
    bell: UnixStream,
    /// The relay's own addresses, in the order in which it listens.
    listeners: Vec<SocketAddr>,
    boards: Vec<Arc<Board>>,
    /// The same as the boards'.
    generation: Arc<AtomicU64>,
    /// When there are answers again, after a change.
    settled: Option<Instant>,
    grounds: Grounds,
}

/// What the answers of this generation stand on.
#[derive(Default)]
struct Grounds {
    /// Own link address, by interface; `None` where frames cannot leave.
    interfaces: HashMap<u32, Option<Mac>>,
    /// Of next hops that are in use, by interface and address.
    next_hops: HashMap<(u32, IpAddr), Mac>,
}

/// Starts the thread, for this many workers of a relay that listens there. It ends when they have dropped their routes.
///
/// # Errors
///
/// When there is no netlink here, or no thread.
pub(crate) fn start(listeners: &[SocketAddr], workers: usize) -> io::Result<Vec<Routes>> {
    let (bell_of_workers, bell) = UnixStream::pair()?;
    bell_of_workers.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    let generation = Arc::new(AtomicU64::new(0));
    let boards: Vec<_> = (0..workers)
        .map(|_| Arc::new(Board::new(&generation)))
        .collect();
    let routes = boards
        .iter()
        .map(|board| Ok(Routes::new(Arc::clone(board), bell_of_workers.try_clone()?)))
        .collect::<io::Result<_>>()?;
    let resolver = Resolver {
        kernel: Kernel::open()?,
        // Opened before the first question: no change after an answer goes unheard.
        ear: Ear::open()?,
        bell,
        listeners: listeners.to_vec(),
        boards,
        generation,
        settled: None,
        grounds: Grounds::default(),
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
        // Nobody would hear of changes from now on.
        self.turn_the_page();
        served.unwrap_or_else(|_| Err(io::Error::other("the thread that looks them up panicked")))
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            self.wait()?;
            if self.have_all_gone()? {
                return Ok(());
            }
            self.hear();
            if self.settled.is_none_or(|settled| settled <= Instant::now()) {
                self.settled = None;
                self.answer();
            }
        }
    }

    /// Until a worker rings, the network changes, or it has settled.
    fn wait(&self) -> io::Result<()> {
        if self.settled.is_none() && self.boards.iter().any(|board| !board.questions.is_empty()) {
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
            PollFd::new(&self.ear, PollFlags::IN),
            PollFd::new(&self.bell, PollFlags::IN),
        ];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes note of the rings. True when no worker is left that could ring.
    fn have_all_gone(&mut self) -> io::Result<bool> {
        match self.bell.read(&mut [0; 256]) {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes note of what has changed.
    fn hear(&mut self) {
        let mut is_shaken = false;
        loop {
            let heard = self
                .ear
                .hear(|news| is_shaken |= self.grounds.shaken_by(news));
            match heard {
                Ok(true) => {}
                Ok(false) => break,
                // The kernel had no room for all the news, or some that cannot be read: it may have been any.
                Err(_) => {
                    is_shaken = true;
                    break;
                }
            }
        }
        if is_shaken {
            self.turn_the_page();
            self.settled = Some(Instant::now() + SETTLE);
        }
    }

    /// Nothing that was said before holds any more.
    fn turn_the_page(&mut self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.grounds = Grounds::default();
    }

    /// Answers the first questions of each worker.
    fn answer(&mut self) {
        let generation = self.generation.load(Ordering::Acquire);
        for board in self.boards.clone() {
            for _ in 0..BATCH {
                let Some(ends) = board.questions.pop() else {
                    break;
                };
                let verdict = self.resolve(ends).unwrap_or(Verdict::Unresolved);
                let answer = Answer {
                    ends,
                    generation,
                    verdict,
                };
                // While the worker has no room for it, it asks again.
                let _ = board.answers.push(answer);
            }
        }
    }

    fn resolve(&mut self, ends: Ends) -> io::Result<Verdict> {
        let Some(listener) = self.listeners.get(usize::from(ends.local)).copied() else {
            return Ok(Verdict::Datagrams);
        };
        let remote = ends.remote();
        if is_of_the_link(remote) {
            return Ok(Verdict::Datagrams);
        }
        let bound = Some(listener.ip().to_canonical()).filter(|ip| !ip.is_unspecified());
        let hop = self.kernel.route(remote, bound, listener.port())?;
        let Some(Hop {
            interface,
            next,
            source,
        }) = hop
        else {
            return Ok(Verdict::Datagrams);
        };
        let Some(own) = self.own_mac(interface)? else {
            return Ok(Verdict::Datagrams);
        };
        let Some(next_hop) = self.next_mac((interface, next))? else {
            return Ok(Verdict::Unresolved);
        };
        let source = SocketAddr::new(source, listener.port());
        let headers = Headers::new(own, next_hop, source, remote);
        Ok(headers.map_or(Verdict::Datagrams, |headers| {
            Verdict::Frames(Route {
                // An index is a positive `int` wherever the kernel takes or gives one.
                interface: interface as i32,
                headers,
            })
        }))
    }

    fn own_mac(&mut self, interface: u32) -> io::Result<Option<Mac>> {
        if let Some(own) = self.grounds.interfaces.get(&interface) {
            return Ok(*own);
        }
        let own = self.kernel.interface(interface)?;
        self.grounds.interfaces.insert(interface, own);
        Ok(own)
    }

    fn next_mac(&mut self, hop: (u32, IpAddr)) -> io::Result<Option<Mac>> {
        if let Some(next) = self.grounds.next_hops.get(&hop) {
            return Ok(Some(*next));
        }
        let next = self.kernel.neighbour(hop)?;
        if let Some(next) = next {
            self.grounds.next_hops.insert(hop, next);
        }
        Ok(next)
    }
}

impl Grounds {
    /// Whether answers may be wrong now. That a neighbour was heard of again, or not for a while, changes nothing.
    fn shaken_by(&self, news: News) -> bool {
        match news {
            News::Routes => true,
            News::Interface(index, own) => {
                let known = self.interfaces.get(&index);
                known.is_some_and(|known| *known != own)
            }
            News::Neighbour(hop, next) => {
                let known = self.next_hops.get(&hop);
                known.is_some_and(|known| Some(*known) != next)
            }
        }
    }
}

/// Addresses that say nothing without their interface.
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

    fn grounds() -> Grounds {
        Grounds {
            interfaces: HashMap::from([(2, Some([1; 6])), (3, None)]),
            next_hops: HashMap::from([(HOP, [2; 6])]),
        }
    }

    #[test]
    fn what_the_answers_stand_on_shakes_them() {
        for news in [
            News::Routes,
            News::Interface(2, Some([9; 6])),
            News::Interface(2, None),
            News::Interface(3, Some([1; 6])),
            News::Neighbour(HOP, Some([9; 6])),
            News::Neighbour(HOP, None),
        ] {
            assert!(grounds().shaken_by(news), "{news:?}");
        }
    }

    #[test]
    fn what_is_as_it_was_or_of_no_use_does_not() {
        for news in [
            News::Interface(2, Some([1; 6])),
            News::Interface(3, None),
            News::Interface(7, Some([9; 6])),
            News::Neighbour(HOP, Some([2; 6])),
            News::Neighbour(OTHER, Some([9; 6])),
            News::Neighbour(OTHER, None),
        ] {
            assert!(!grounds().shaken_by(news), "{news:?}");
        }
    }
}
