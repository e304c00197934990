//! A worker's routes to its receivers, kept so that the kernel is not asked for each datagram.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use super::frame::Headers;

/// A route is looked up again after this time, for changes that the kernel does not report, such as a smaller path MTU.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30);
/// A question without an answer is asked again after this time, and so is one whose next hop the kernel has not resolved
/// yet.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Routes that a worker keeps, at most. With more addresses it drops all and starts again.
const MAX_ROUTES: usize = 1 << 17;
/// Questions of a worker that wait, at most; the same for answers.
const MAX_UNDER_WAY: usize = 1024;

/// The two addresses of a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RouteKey {
    /// The other side's address, IPv4 as a part of IPv6 (RFC 4291 §2.5.5.2): a number is hashed and compared at once.
    remote: u128,
    /// Index of the relay's own address, in the order in which it listens.
    pub(crate) local: u8,
}

impl RouteKey {
    /// From the relay's own address of this index to a remote address.
    pub fn new(local: u8, remote: IpAddr) -> Self {
        let remote = match remote {
            IpAddr::V4(remote) => remote.to_ipv6_mapped(),
            IpAddr::V6(remote) => remote,
        };
        Self {
            remote: remote.to_bits(),
            local,
        }
    }

    /// The other side's address. A socket for both families sees IPv4 as a part of IPv6; here it is IPv4 again.
    pub fn remote(&self) -> IpAddr {
        Ipv6Addr::from_bits(self.remote).to_canonical()
    }
}

/// The route of frames to a remote address.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The index of the interface by which they leave.
    pub interface: i32,
    /// The headers before their payload.
    pub headers: Headers,
}

/// The resolver's result for a route.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resolution {
    /// Frames go this way.
    Frames(Route),
    /// The next hop's link address is not known yet: datagrams go by the UDP socket, which has the kernel find it.
    Unresolved,
    /// Datagrams go by the UDP socket: the way is not Ethernet, not unicast, or has too small an MTU.
    Datagrams,
}

/// The resolver's answer to a question.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) key: RouteKey,
    /// The [`ResolverQueues::generation`] of the answer: it is void in another.
    pub(crate) generation: u64,
    pub(crate) resolution: Resolution,
}

/// The bounded queues between a worker and the resolver. Neither waits for the other.
#[derive(Debug)]
pub(crate) struct ResolverQueues {
    /// Routes that the worker needs.
    pub(crate) questions: ArrayQueue<RouteKey>,
    pub(crate) answers: ArrayQueue<Answer>,
    /// Rises when earlier answers may be wrong; the same counter for all workers.
    pub(crate) generation: Arc<AtomicU64>,
}

impl ResolverQueues {
    pub(crate) fn new(generation: &Arc<AtomicU64>) -> Self {
        Self {
            questions: ArrayQueue::new(MAX_UNDER_WAY),
            answers: ArrayQueue::new(MAX_UNDER_WAY),
            generation: Arc::clone(generation),
        }
    }
}

/// A worker's own routes. Finding one takes no lock and no system call. A missing one is asked for, and datagrams go by the
/// UDP socket until the answer comes.
#[derive(Debug)]
pub struct Routes {
    known: HashMap<RouteKey, Known, foldhash::fast::RandomState>,
    /// The generation of all that is known.
    generation: u64,
    queues: Arc<ResolverQueues>,
    /// Wakes the resolver, whose thread ends when all workers have dropped their ends.
    wake: UnixStream,
    /// True if there are questions that the resolver was not woken for.
    has_asked: bool,
    /// The time of the round: exact enough, and the clock is not read for each datagram.
    now: Instant,
}

/// The result of [`Routes::find`].
#[derive(Debug)]
pub enum Found<'a> {
    /// Frames go this way.
    Frames(&'a Route),
    /// Datagrams go by the UDP socket.
    Datagrams,
    /// The route is not known, or too old: ask for it.
    Nothing,
}

#[derive(Debug)]
struct Known {
    /// `None` while it was not answered, and when there is none.
    route: Option<Route>,
    until: Instant,
}

impl Routes {
    /// No routes yet. `wake` must not block.
    pub(crate) fn new(queues: Arc<ResolverQueues>, wake: UnixStream) -> Self {
        Self {
            known: HashMap::default(),
            generation: queues.generation.load(Ordering::Acquire),
            queues,
            wake,
            has_asked: false,
            now: Instant::now(),
        }
    }

    /// To be called once a round: takes the resolver's answers.
    pub fn begin_round(&mut self, now: Instant) {
        self.now = now;
        self.follow_generation();
        while let Some(answer) = self.queues.answers.pop() {
            if answer.generation != self.generation {
                continue;
            }
            let (route, lifetime) = match answer.resolution {
                Resolution::Frames(route) => (Some(route), LIFETIME),
                Resolution::Unresolved => (None, RETRY),
                Resolution::Datagrams => (None, LIFETIME),
            };
            let until = now + lifetime;
            self.known.insert(answer.key, Known { route, until });
        }
    }

    /// To be called before a chunk is sent: drops routes that the resolver has invalidated.
    pub fn follow_generation(&mut self) {
        let generation = self.queues.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.known.clear();
        }
    }

    /// The route to an address.
    pub fn find(&self, key: RouteKey) -> Found<'_> {
        match self.known.get(&key) {
            Some(known) if known.until > self.now => match &known.route {
                Some(route) => Found::Frames(route),
                None => Found::Datagrams,
            },
            _ => Found::Nothing,
        }
    }

    /// Asks for a route that [`find`](Self::find) did not find. Until the answer is there, or is overdue, datagrams go by the
    /// UDP socket.
    pub fn ask(&mut self, key: RouteKey) {
        // If the queue is full, the next datagram asks again.
        if self.queues.questions.push(key).is_err() {
            return;
        }
        self.has_asked = true;
        if self.known.len() >= MAX_ROUTES {
            self.known.clear();
        }
        let until = self.now + RETRY;
        self.known.insert(key, Known { route: None, until });
    }

    /// Wakes the resolver if it was asked something. To be called after a chunk.
    pub fn wake_resolver(&mut self) {
        if std::mem::take(&mut self.has_asked) {
            // It fails if so many wakings wait that the resolver cannot miss them.
            let _ = self.wake.write(&[1]);
        }
    }

    /// Drops all routes: the kernel has refused a frame.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    fn routes() -> (Routes, Arc<ResolverQueues>, UnixStream) {
        let queues = Arc::new(ResolverQueues::new(&Arc::default()));
        let (wake, heard) = UnixStream::pair().expect("a pair of sockets");
        wake.set_nonblocking(true).expect("it can");
        heard.set_nonblocking(true).expect("it can");
        (Routes::new(Arc::clone(&queues), wake), queues, heard)
    }

    fn key(n: u8) -> RouteKey {
        RouteKey::new(0, [198, 51, 100, n].into())
    }

    fn resolution() -> Resolution {
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let headers = Headers::new([0; 6], [0; 6], source, Ipv4Addr::LOCALHOST.into());
        Resolution::Frames(Route {
            interface: 1,
            headers: headers.expect("one family"),
        })
    }

    fn answer(queues: &ResolverQueues, n: u8, resolution: Resolution) {
        let generation = queues.generation.load(Ordering::Acquire);
        let answer = Answer {
            key: key(n),
            generation,
            resolution,
        };
        queues.answers.push(answer).expect("there is room");
    }

    #[test]
    fn an_unknown_route_is_asked_for_once_and_found_after_the_answer() {
        let (mut routes, queues, mut heard) = routes();
        let now = Instant::now();
        routes.begin_round(now);
        assert!(matches!(routes.find(key(1)), Found::Nothing));
        routes.ask(key(1));
        assert!(matches!(routes.find(key(1)), Found::Datagrams), "asked");
        routes.wake_resolver();
        routes.wake_resolver();
        assert_eq!(queues.questions.pop(), Some(key(1)));
        let mut rings = [0; 8];
        let rang = std::io::Read::read(&mut heard, &mut rings);
        assert_eq!(rang.expect("it rang"), 1);
        answer(&queues, 1, resolution());
        routes.begin_round(now);
        assert!(matches!(routes.find(key(1)), Found::Frames(_)));
        assert!(matches!(routes.find(key(2)), Found::Nothing));
    }

    #[test]
    fn every_answer_expires() {
        let (mut routes, queues, _heard) = routes();
        let now = Instant::now();
        routes.begin_round(now);
        routes.ask(key(1));
        answer(&queues, 2, resolution());
        answer(&queues, 3, Resolution::Unresolved);
        answer(&queues, 4, Resolution::Datagrams);
        routes.begin_round(now);
        for (n, lifetime) in [(1, RETRY), (2, LIFETIME), (3, RETRY), (4, LIFETIME)] {
            routes.begin_round(now + lifetime - Duration::from_millis(1));
            assert!(!matches!(routes.find(key(n)), Found::Nothing), "{n}");
            routes.begin_round(now + lifetime);
            assert!(matches!(routes.find(key(n)), Found::Nothing), "{n}");
        }
    }

    #[test]
    fn a_change_of_the_network_drops_all_routes_and_late_answers() {
        let (mut routes, queues, _heard) = routes();
        let now = Instant::now();
        answer(&queues, 1, resolution());
        routes.begin_round(now);
        answer(&queues, 2, resolution());
        queues.generation.fetch_add(1, Ordering::AcqRel);
        routes.follow_generation();
        assert!(matches!(routes.find(key(1)), Found::Nothing));
        routes.begin_round(now);
        assert!(matches!(routes.find(key(2)), Found::Nothing), "late");
    }

    #[test]
    fn routes_of_many_addresses_take_bounded_memory() {
        let (mut routes, queues, _heard) = routes();
        for n in 0..200u8 {
            for m in 0..200 {
                routes.ask(RouteKey::new(0, [10, 0, n, m].into()));
            }
        }
        assert_eq!(queues.questions.len(), MAX_UNDER_WAY);
        assert_eq!(routes.known.len(), MAX_UNDER_WAY);
    }

    #[test]
    fn ipv4_is_the_same_whichever_way_a_socket_names_it() {
        let four = Ipv4Addr::new(198, 51, 100, 7);
        let mapped = RouteKey::new(0, four.to_ipv6_mapped().into());
        assert_eq!(RouteKey::new(0, four.into()), mapped);
        assert_eq!(mapped.remote(), IpAddr::from(four));
    }
}
