//! The driver on real sockets: batches, scatter-gather, steering, and one relay a port.

#![cfg(all(target_os = "linux", not(feature = "portable")))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use confab_relay::core::{Outgoing, Packet, PacketPool, SendStatus, Transport};
use confab_relay::io::{BindError, UdpDriver, bind_group};

const DEADLINE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// All that comes to `driver` until `count` datagrams are there or the deadline has passed.
fn receive(driver: &mut UdpDriver, count: usize) -> Vec<Box<Packet>> {
    let mut pool = PacketPool::new(0, 256);
    let mut received = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while received.len() < count && Instant::now() < deadline {
        driver.note_wakings();
        driver.wait(Duration::from_millis(50), false).unwrap();
        driver.receive(&mut pool, &mut received).unwrap();
    }
    received
}

#[test]
fn the_worker_byte_chooses_the_socket_whatever_the_port_it_comes_from() {
    let mut group = bind_group(&[loopback()], 2, 64, 1 << 20).unwrap();
    for n in 0..40u8 {
        let client = UdpSocket::bind(loopback()).unwrap();
        for worker in 0..2 {
            client.send_to(&[1, worker, n], group.addresses[0]).unwrap();
        }
    }
    for (worker, driver) in group.drivers.iter_mut().enumerate() {
        let received = receive(driver, 40);
        assert_eq!(received.len(), 40);
        assert!(
            received
                .iter()
                .all(|packet| usize::from(packet.data[1]) == worker)
        );
    }
}

#[test]
fn a_chunk_arrives_in_order_and_in_one_piece_each() {
    let mut group = bind_group(&[loopback()], 1, 64, 1 << 20).unwrap();
    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let to = client.local_addr().unwrap();
    let body = [7u8; 100];
    let chunk: Vec<_> = (0..64u8)
        .map(|n| Outgoing {
            to: to.into(),
            head: [n; 14],
            body: [&body[..usize::from(n)], &body[..usize::from(n % 2)]],
        })
        .collect();
    assert_eq!(group.drivers[0].send(&chunk), SendStatus::All);
    let mut buffer = [0; 1500];
    for outgoing in &chunk {
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, group.addresses[0]);
        assert_eq!(buffer[..len], outgoing.to_vec());
    }
}

#[test]
fn a_destination_that_the_kernel_refuses_is_reported_with_its_position() {
    let mut group = bind_group(&[loopback()], 1, 64, 1 << 20).unwrap();
    let good = UdpSocket::bind(loopback()).unwrap().local_addr().unwrap();
    let outgoing = |to: SocketAddr| Outgoing {
        to: to.into(),
        head: [0; 14],
        body: [&[], &[]],
    };
    // Port 0 is nobody's.
    let bad = SocketAddr::from(([127, 0, 0, 1], 0));
    let status = group.drivers[0].send(&[outgoing(good), outgoing(bad), outgoing(good)]);
    assert_eq!(status, SendStatus::Refused { sent: 1 });
}

#[test]
fn ipv6_and_ipv4_come_to_one_socket_and_are_answered() {
    let Ok(mut group) = bind_group(&["[::]:0".parse().unwrap()], 1, 64, 1 << 20) else {
        eprintln!("this machine has no IPv6: not tried");
        return;
    };
    let port = group.addresses[0].port();
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let client = UdpSocket::bind(local).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let relay = SocketAddr::new(client.local_addr().unwrap().ip(), port);
        client.send_to(&[1, 0, 9], relay).unwrap();
        let received = receive(&mut group.drivers[0], 1);
        assert_eq!(received[0].bytes(), [1, 0, 9]);
        let outgoing = Outgoing {
            to: received[0].from(),
            head: [5; 14],
            body: [&[], &[]],
        };
        assert_eq!(group.drivers[0].send(&[outgoing]), SendStatus::All);
        let (len, from) = client.recv_from(&mut [0; 100]).unwrap();
        assert_eq!((len, from), (14, relay));
    }
}

#[test]
fn a_datagram_longer_than_allowed_is_received_one_byte_too_long() {
    let mut group = bind_group(&[loopback()], 1, 64, 1 << 20).unwrap();
    let client = UdpSocket::bind(loopback()).unwrap();
    client.send_to(&[0; 5000], group.addresses[0]).unwrap();
    client.send_to(&[], group.addresses[0]).unwrap();
    let received = receive(&mut group.drivers[0], 2);
    assert_eq!(received[0].bytes().len(), 1201);
    assert_eq!(received[1].bytes().len(), 0);
}

#[test]
fn a_second_relay_on_the_port_is_refused() {
    let group = bind_group(&[loopback()], 2, 64, 1 << 20).unwrap();
    let second = bind_group(&group.addresses, 1, 64, 1 << 20);
    assert!(matches!(second, Err(BindError::PortTaken(port)) if port == group.addresses[0].port()));
    let addresses = group.addresses.clone();
    drop(group);
    bind_group(&addresses, 1, 64, 1 << 20).unwrap();
}

#[test]
fn a_waker_ends_a_wait() {
    let mut group = bind_group(&[loopback()], 1, 64, 1 << 20).unwrap();
    let driver = &mut group.drivers[0];
    let start = Instant::now();
    driver.waker().wake();
    driver.wait(DEADLINE, false).unwrap();
    assert!(start.elapsed() < DEADLINE);
}

#[test]
fn several_addresses_are_served_and_answers_leave_by_the_one_that_was_asked() {
    let listen: [SocketAddr; 2] = [loopback(), "127.0.0.2:0".parse().unwrap()];
    let mut group = bind_group(&listen, 1, 64, 1 << 20).unwrap();
    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    for (n, relay) in group.addresses.iter().enumerate() {
        client.send_to(&[1, 0, n as u8], relay).unwrap();
    }
    let mut received = receive(&mut group.drivers[0], 2);
    received.sort_by_key(|packet| packet.data[2]);
    let chunk: Vec<_> = received
        .iter()
        .map(|packet| Outgoing {
            to: packet.from(),
            head: [packet.data[2]; 14],
            body: [&[], &[]],
        })
        .collect();
    assert_eq!(group.drivers[0].send(&chunk), SendStatus::All);
    for (n, relay) in group.addresses.iter().enumerate() {
        let mut buffer = [0; 100];
        let (_, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((from, buffer[0]), (*relay, n as u8));
    }
}

#[test]
fn ipv4_and_ipv6_may_have_the_same_port() {
    let listen = ["127.0.0.1:0".parse().unwrap()];
    let port = bind_group(&listen, 1, 64, 1 << 20).unwrap().addresses[0].port();
    let both = [
        SocketAddr::new("0.0.0.0".parse().unwrap(), port),
        SocketAddr::new("::".parse().unwrap(), port),
    ];
    match bind_group(&both, 2, 64, 1 << 20) {
        Ok(group) => assert_eq!(group.addresses, both),
        Err(error) => eprintln!("not tried, for this machine has no IPv6: {error}"),
    }
}
