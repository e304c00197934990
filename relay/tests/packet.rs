//! Audio as Ethernet frames, between hosts that are network namespaces: it arrives as it would from the UDP socket, and
//! goes on arriving when the network changes.

#![cfg(all(target_os = "linux", not(feature = "portable")))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod namespaces;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use confab_relay::core::{Outgoing, PacketPool, SendStatus, Transport};
use confab_relay::io::{SocketGroup, TransmitError, UdpDriver, bind_group};
use namespaces::Host;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

const DEADLINE: Duration = Duration::from_secs(30);
/// What is not there after this time is lost: nothing on these cables takes long.
const LOST: Duration = Duration::from_secs(5);
const SOCKET_BUFFER: usize = 1 << 20;

/// A relay's sockets on a host.
struct Relay {
    group: SocketGroup,
    pool: PacketPool,
    /// Datagrams sent so far; each has its number in it.
    sent: u32,
}

impl Relay {
    fn start(host: &Host, listen: &[&str]) -> Self {
        let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().unwrap()).collect();
        let group = host.inside(|| {
            let mut group = bind_group(&listen, 1, 64, SOCKET_BUFFER).unwrap();
            let drivers = &mut group.drivers;
            UdpDriver::transmit_by_packet(drivers, &group.addresses, SOCKET_BUFFER).unwrap();
            group
        });
        Self {
            group,
            pool: PacketPool::new(0, 256),
            sent: 0,
        }
    }

    /// A round of a worker: hears what the resolver says, sends audio. Says how many datagrams went as frames.
    fn send(&mut self, to: &[SocketAddr], body: [&[u8]; 2]) -> u64 {
        let driver = &mut self.group.drivers[0];
        driver.receive(&mut self.pool, &mut Vec::new()).unwrap();
        self.sent += 1;
        let mut head = [0; 14];
        head[..4].copy_from_slice(&self.sent.to_be_bytes());
        let outgoing = |to: &SocketAddr| Outgoing {
            to: (*to).into(),
            head,
            body,
        };
        let chunk: Vec<_> = to.iter().map(outgoing).collect();
        assert_eq!(driver.send(&chunk), SendStatus::All);
        driver.take_sent_by_packet()
    }

    /// Sends until so many of the datagrams went as frames: an interface that is new has still some changes to tell.
    fn send_frames(&mut self, to: &[SocketAddr], body: [&[u8]; 2], frames: u64) {
        let deadline = Instant::now() + DEADLINE;
        while self.send(to, body) != frames {
            assert!(Instant::now() < deadline, "they do not leave as frames");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What was sent last, from whom, when it has come; what was sent before is passed over.
    fn receive_last(&self, listener: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 1500];
        loop {
            let (len, sender) = listener.recv_from(&mut buffer).unwrap();
            if buffer[..4] == self.sent.to_be_bytes() {
                return (buffer[14..len].to_vec(), sender);
            }
        }
    }

    /// Sends until a datagram that went as a frame has been heard. What is sent meanwhile may be lost, if `may_lose`.
    fn is_heard_by_packet(&mut self, listener: &UdpSocket, to: SocketAddr, may_lose: bool) {
        let patience = match may_lose {
            true => Duration::from_millis(50),
            false => LOST,
        };
        listener.set_read_timeout(Some(patience)).unwrap();
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let frames = self.send(&[to], [b"can you hear me", &[]]);
            let mut buffer = [0; 1500];
            let mut is_heard = false;
            // Later than the patience for one of them, another may still come.
            while !is_heard && let Ok(len) = listener.recv(&mut buffer) {
                is_heard = buffer[..4] == self.sent.to_be_bytes();
                assert_eq!(&buffer[14..len], b"can you hear me");
            }
            assert!(is_heard || may_lose, "one of {frames} frames was lost");
            if is_heard && frames == 1 {
                return;
            }
        }
        panic!("nothing that was sent as a frame was heard");
    }
}

fn bind(host: &Host, address: &str) -> UdpSocket {
    let socket = host.inside(|| UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(LOST)).unwrap();
    socket
}

#[test]
fn frames_arrive_as_datagrams_from_the_relays_own_address() {
    let (Some(relay_host), Some(client_host)) = (Host::new(), Host::new()) else {
        return;
    };
    relay_host.cable(
        ("east", &["198.18.0.1/24", "fd00:18::1/64"]),
        &client_host,
        ("west", &["198.18.0.2/24", "fd00:18::2/64"]),
    );
    let body: Vec<u8> = (0..1186u32).map(|n| (n * 7) as u8).collect();
    for (listen, client, relay_ip, client_ip) in [
        ("198.18.0.1:0", "198.18.0.2:0", "198.18.0.1", "198.18.0.2"),
        ("0.0.0.0:0", "198.18.0.2:0", "198.18.0.1", "198.18.0.2"),
        ("[::]:0", "[fd00:18::2]:0", "fd00:18::1", "fd00:18::2"),
        (
            "[fd00:18::1]:0",
            "[fd00:18::2]:0",
            "fd00:18::1",
            "fd00:18::2",
        ),
        // A socket for both families sends to IPv4 by its address in IPv6.
        ("[::]:0", "198.18.0.2:0", "198.18.0.1", "::ffff:198.18.0.2"),
    ] {
        let mut relay = Relay::start(&relay_host, &[listen]);
        let from = SocketAddr::new(relay_ip.parse().unwrap(), relay.group.addresses[0].port());
        let listener = bind(&client_host, client);
        let port = listener.local_addr().unwrap().port();
        let to = SocketAddr::new(client_ip.parse().unwrap(), port);
        relay.is_heard_by_packet(&listener, to, false);
        for (first, second) in [
            (0, 0),
            (1, 0),
            (90, 0),
            (91, 3),
            (2, 91),
            (1186, 0),
            (601, 585),
        ] {
            let body = [&body[..first], &body[first..first + second]];
            relay.send_frames(&[to; 16], body, 16);
            for _ in 0..16 {
                let (heard, sender) = relay.receive_last(&listener);
                assert_eq!(sender, from, "{listen}");
                assert_eq!(heard, body.concat(), "{listen}");
            }
        }
    }
}

#[test]
fn replies_and_what_stays_on_this_host_go_by_the_udp_socket() {
    let (Some(relay_host), Some(client_host)) = (Host::new(), Host::new()) else {
        return;
    };
    relay_host.cable(
        ("east", &["198.18.0.1/24"]),
        &client_host,
        ("west", &["198.18.0.2/24"]),
    );
    let mut relay = Relay::start(&relay_host, &["0.0.0.0:0"]);
    let far = bind(&client_host, "198.18.0.2:0");
    let near: Vec<_> = ["127.0.0.1:0", "198.18.0.1:0"]
        .map(|address| bind(&relay_host, address))
        .into();
    relay.is_heard_by_packet(&far, far.local_addr().unwrap(), false);

    let reply = Outgoing {
        to: far.local_addr().unwrap().into(),
        head: [9; 14],
        body: [&[], &[]],
    };
    let driver = &mut relay.group.drivers[0];
    assert_eq!(driver.reply(&reply), SendStatus::All);
    assert_eq!(driver.take_sent_by_packet(), 0);
    let mut buffer = [0; 100];
    assert_eq!(far.recv(&mut buffer).unwrap(), 14);
    assert_eq!(buffer[..14], [9; 14]);

    // A chunk to both, in turn: one goes as a frame, the others do not.
    let to: Vec<_> = [&near[0], &far, &near[1]]
        .map(|socket| socket.local_addr().unwrap())
        .into();
    for _ in 0..20 {
        relay.send(&to, [b"all", &[]]);
        for socket in near.iter().chain([&far]) {
            assert_eq!(relay.receive_last(socket).0, b"all");
        }
    }
    relay.send_frames(&to, [b"all", &[]], 1);
}

#[test]
fn a_receiver_behind_a_router_goes_on_hearing_when_the_network_changes() {
    let (Some(relay_host), Some(router)) = (Host::new(), Host::new()) else {
        return;
    };
    relay_host.cable(
        ("first", &["198.18.0.1/24"]),
        &router,
        ("in1", &["198.18.0.2/24"]),
    );
    relay_host.cable(
        ("second", &["198.18.1.1/24"]),
        &router,
        ("in2", &["198.18.1.2/24"]),
    );
    router.ip("address add 203.0.113.1/32 dev lo");
    relay_host.ip("route add 203.0.113.1/32 via 198.18.0.2");
    let mut relay = Relay::start(&relay_host, &["0.0.0.0:0"]);
    let listener = bind(&router, "203.0.113.1:0");
    let to = listener.local_addr().unwrap();
    relay.is_heard_by_packet(&listener, to, false);

    // The neighbour is forgotten and found again.
    relay_host.ip("neighbour flush dev first");
    relay.is_heard_by_packet(&listener, to, false);

    // The next hop gets another link address.
    router.ip("link set in1 address 02:00:00:00:00:77");
    relay_host.ip("neighbour replace 198.18.0.2 lladdr 02:00:00:00:00:77 dev first nud reachable");
    relay.is_heard_by_packet(&listener, to, true);

    // So does the relay's own interface.
    relay_host.ip("link set first address 02:00:00:00:00:78");
    relay.is_heard_by_packet(&listener, to, true);

    // The route changes. The resolver tells of it a moment later; until then frames take the old one.
    relay_host.ip("route replace 203.0.113.1/32 via 198.18.1.2");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let old_route = router.received_by("in1");
        for _ in 0..5 {
            relay.is_heard_by_packet(&listener, to, true);
        }
        if router.received_by("in1") == old_route {
            break;
        }
        assert!(Instant::now() < deadline, "the old route is still in use");
    }
    let before = (router.received_by("in1"), router.received_by("in2"));
    for _ in 0..100 {
        relay.is_heard_by_packet(&listener, to, false);
    }
    assert!(router.received_by("in2") >= before.1 + 100);
    assert!(router.received_by("in1") < before.0 + 100);

    // The cable is cut, and another way is left.
    relay_host.ip("route add 203.0.113.1/32 via 198.18.0.2 metric 50");
    relay_host.ip("link set second down");
    relay.is_heard_by_packet(&listener, to, true);
}

#[test]
fn an_interface_with_a_small_mtu_or_without_ethernet_is_used_by_the_udp_socket_only() {
    let (Some(relay_host), Some(client_host)) = (Host::new(), Host::new()) else {
        return;
    };
    relay_host.cable(
        ("east", &["198.18.0.1/24"]),
        &client_host,
        ("west", &["198.18.0.2/24"]),
    );
    let mut relay = Relay::start(&relay_host, &["198.18.0.1:0"]);
    let listener = bind(&client_host, "198.18.0.2:0");
    let to = listener.local_addr().unwrap();
    relay.is_heard_by_packet(&listener, to, false);
    relay_host.ip("link set east mtu 1000");
    let deadline = Instant::now() + DEADLINE;
    while relay.send(&[to], [&[7; 1100], &[]]) > 0 {
        assert!(Instant::now() < deadline, "frames still leave");
    }
    assert_eq!(relay.receive_last(&listener).0, [7; 1100]);
    relay_host.ip("link set east mtu 1500");
    relay.is_heard_by_packet(&listener, to, false);
}

#[test]
fn without_the_capability_the_error_gives_the_remedy() {
    let mut group = bind_group(&["127.0.0.1:0".parse().unwrap()], 1, 64, SOCKET_BUFFER).unwrap();
    // Of this thread alone.
    let mut mine = capabilities(None).unwrap();
    mine.effective.remove(CapabilitySet::NET_RAW);
    set_capabilities(None, mine).unwrap();
    let refused =
        UdpDriver::transmit_by_packet(&mut group.drivers, &group.addresses, SOCKET_BUFFER);
    let error = refused.unwrap_err();
    assert!(matches!(error, TransmitError::NotPermitted), "{error}");
    assert!(error.to_string().contains("setcap cap_net_raw+ep"));
}
