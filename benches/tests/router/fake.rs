//! A home router: it answers NAT-PMP, PCP or UPnP, and passes datagrams from outside by the mappings that it gave.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::namespaces::Host;

/// The router's address in the home, and outside.
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

const NAT_PMP_PORT: u16 = 5351;
const SEARCHED_PORT: u16 = 1900;
const SEARCH_GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const DESCRIPTION_PORT: u16 = 5000;
/// A reader looks this often whether its mapping is released.
const TICK: Duration = Duration::from_millis(100);
const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    NatPmp,
    Pcp,
    Upnp,
}

/// A request that the router was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// A mapping, and the external port that was wished.
    Map {
        internal: u16,
        wished: u16,
    },
    Release,
}

/// A router that runs until the test ends.
#[derive(Clone)]
pub(crate) struct Router(Arc<Mutex<State>>);

struct State {
    speaks: Vec<Protocol>,
    /// Added to the port that is wished.
    shift: u16,
    requests: Vec<Request>,
    mappings: Vec<Mapping>,
}

struct Mapping {
    internal: SocketAddrV4,
    /// Kept for the threads that pass datagrams: they end when the mapping no longer has it.
    _external: Arc<UdpSocket>,
    port: u16,
}

impl Router {
    /// Starts it on a host.
    pub(crate) fn start(host: &Host, speaks: &[Protocol], shift: u16) -> Self {
        let router = Self(Arc::new(Mutex::new(State {
            speaks: speaks.to_vec(),
            shift,
            requests: Vec::new(),
            mappings: Vec::new(),
        })));
        host.inside(|| {
            let requests = UdpSocket::bind((INSIDE, NAT_PMP_PORT)).unwrap();
            let searches = UdpSocket::bind(("0.0.0.0", SEARCHED_PORT)).unwrap();
            searches.join_multicast_v4(&SEARCH_GROUP, &INSIDE).unwrap();
            let description = TcpListener::bind((INSIDE, DESCRIPTION_PORT)).unwrap();
            let at = [router.clone(), router.clone(), router.clone()];
            let [by_datagram, by_search, by_http] = at;
            thread::spawn(move || by_datagram.serve_datagrams(&requests));
            thread::spawn(move || by_search.serve_searches(&searches));
            thread::spawn(move || by_http.serve_http(&description));
        });
        router
    }

    /// Speaks these protocols from now on.
    pub(crate) fn answer(&self, protocols: &[Protocol]) {
        self.state().speaks = protocols.to_vec();
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The mappings as internal and external ports, in order.
    pub(crate) fn mapped(&self) -> Vec<(u16, u16)> {
        let state = self.state();
        let mappings = state.mappings.iter();
        let mut ports: Vec<_> = mappings
            .map(|mapping| (mapping.internal.port(), mapping.port))
            .collect();
        ports.sort_unstable();
        ports
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn speaks(&self, protocol: Protocol) -> bool {
        self.state().speaks.contains(&protocol)
    }

    /// Maps a port, or releases it if `seconds` is zero; gives the external port.
    fn map(&self, internal: SocketAddrV4, wished: u16, seconds: u32) -> u16 {
        let mut state = self.state();
        let known = state
            .mappings
            .iter()
            .position(|known| known.internal == internal);
        if seconds == 0 {
            state.requests.push(Request::Release);
            if let Some(known) = known {
                state.mappings.remove(known);
            }
            return 0;
        }
        state.requests.push(Request::Map {
            internal: internal.port(),
            wished,
        });
        if let Some(known) = known {
            return state.mappings[known].port;
        }
        let port = wished + state.shift;
        let external = Arc::new(UdpSocket::bind((OUTSIDE, port)).unwrap());
        external.set_read_timeout(Some(TICK)).unwrap();
        let mapping = Arc::clone(&external);
        state.mappings.push(Mapping {
            internal,
            _external: external,
            port,
        });
        thread::spawn(move || pass(mapping, internal));
        port
    }

    fn serve_datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; 1100];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let (request, SocketAddr::V4(from)) = (&buffer[..length], from) else {
                continue;
            };
            let answer = match request.first() {
                Some(0) if self.speaks(Protocol::NatPmp) => self.nat_pmp(request, *from.ip()),
                Some(2) if self.speaks(Protocol::Pcp) => self.pcp(request, *from.ip()),
                _ => continue,
            };
            socket.send_to(&answer, from).unwrap();
        }
    }

    /// RFC 6886.
    fn nat_pmp(&self, request: &[u8], from: Ipv4Addr) -> Vec<u8> {
        let mut answer = vec![0, 128 | request[1], 0, 0, 0, 0, 0, 1];
        match request {
            [0, 0] => answer.extend(OUTSIDE.octets()),
            [0, 1, 0, 0, ports @ ..] => {
                let (internal, wished) = (u16_at(ports, 0), u16_at(ports, 2));
                let port = self.map(SocketAddrV4::new(from, internal), wished, u32_at(ports, 4));
                answer.extend(internal.to_be_bytes());
                answer.extend(port.to_be_bytes());
                answer.extend(&ports[4..8]);
            }
            other => panic!("{other:?}"),
        }
        answer
    }

    /// RFC 6887.
    fn pcp(&self, request: &[u8], from: Ipv4Addr) -> Vec<u8> {
        assert_eq!(request[8..24], from.to_ipv6_mapped().octets());
        let mut answer = vec![2, 128 | request[1], 0, 0];
        answer.extend(&request[4..8]);
        answer.extend([0; 16]);
        if request[1] == 1 {
            let (internal, wished) = (u16_at(request, 40), u16_at(request, 42));
            let internal = SocketAddrV4::new(from, internal);
            let port = self.map(internal, wished, u32_at(request, 4));
            answer.extend(&request[24..42]);
            answer.extend(port.to_be_bytes());
            answer.extend(OUTSIDE.to_ipv6_mapped().octets());
        }
        answer
    }

    fn serve_searches(&self, socket: &UdpSocket) {
        let mut buffer = [0; 1100];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let search = String::from_utf8_lossy(&buffer[..length]);
            let is_meant = search.contains("InternetGatewayDevice:1");
            if is_meant && self.speaks(Protocol::Upnp) {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
                     LOCATION: http://{INSIDE}:{DESCRIPTION_PORT}/root.xml\r\n\r\n"
                );
                socket.send_to(answer.as_bytes(), from).unwrap();
            }
        }
    }

    fn serve_http(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_request(&mut stream);
            let body = self.upnp(&request);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }

    /// UPnP's WANIPConnection.
    fn upnp(&self, request: &str) -> String {
        if request.starts_with("GET /root.xml ") {
            return format!(
                "<?xml version=\"1.0\"?><root><device><serviceList><service><serviceType>{SERVICE}</serviceType>\
                 <controlURL>/control</controlURL></service></serviceList></device></root>"
            );
        }
        assert!(request.starts_with("POST /control "), "{request}");
        let value = |name: &str| {
            let (_, rest) = request.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0
        };
        if request.contains("#GetExternalIPAddress\"") {
            return format!("<NewExternalIPAddress>{OUTSIDE}</NewExternalIPAddress>");
        }
        let external: u16 = value("NewExternalPort").parse().unwrap();
        assert_eq!(value("NewProtocol"), "UDP");
        if request.contains("#AddPortMapping\"") {
            let client = value("NewInternalClient").parse().unwrap();
            let port = value("NewInternalPort").parse().unwrap();
            let seconds = value("NewLeaseDuration").parse().unwrap();
            self.map(SocketAddrV4::new(client, port), external, seconds);
        } else {
            assert!(request.contains("#DeletePortMapping\""), "{request}");
            let mut state = self.state();
            state.requests.push(Request::Release);
            state.mappings.retain(|mapping| mapping.port != external);
        }
        String::new()
    }
}

/// Passes what comes to an external port, and the answers, until the mapping is released.
fn pass(external: Arc<UdpSocket>, internal: SocketAddrV4) {
    let mut flows: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let mut buffer = [0; 2048];
    // The mapping holds it, too.
    while Arc::strong_count(&external) > flows.len() + 1 {
        let Ok((length, from)) = external.recv_from(&mut buffer) else {
            continue;
        };
        if !flows.iter().any(|(of, _)| *of == from) {
            let flow = UdpSocket::bind((INSIDE, 0)).unwrap();
            flow.connect(internal).unwrap();
            flow.set_read_timeout(Some(TICK)).unwrap();
            let (back, outside) = (flow.try_clone().unwrap(), Arc::clone(&external));
            thread::spawn(move || {
                let mut buffer = [0; 2048];
                while Arc::strong_count(&outside) > 1 {
                    if let Ok(length) = back.recv(&mut buffer) {
                        // The friend may have left.
                        let _ = outside.send_to(&buffer[..length], from);
                    }
                }
            });
            flows.push((from, flow));
        }
        if let Some((_, flow)) = flows.iter().find(|(of, _)| *of == from) {
            let _ = flow.send(&buffer[..length]);
        }
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).unwrap();
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let wanted = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let wanted: usize = wanted.map_or(0, |length| length.trim().parse().unwrap());
        if body.len() >= wanted || length == 0 {
            return request;
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
