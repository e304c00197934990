//! The driver for systems without calls for batches, on real sockets. Linux has it for this test.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use confab_relay::core::{Outgoing, Packet, PacketPool, SendStatus, Transport};
use confab_relay::io::PortableDriver as UdpDriver;

const DEADLINE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[test]
fn it_receives_sends_and_is_woken() {
    let open = || {
        let socket = UdpSocket::bind(loopback()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let sockets = [open(), open()];
    let addresses = sockets
        .each_ref()
        .map(|socket| socket.local_addr().unwrap());
    let mut driver = UdpDriver::new(sockets.into(), 4).unwrap();
    let client = UdpSocket::bind(loopback()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    for n in 0..10u8 {
        let relay = addresses[usize::from(n) % 2];
        client.send_to(&[1, 0, n], relay).unwrap();
    }
    let mut pool = PacketPool::new(0, 256);
    let mut received: Vec<Box<Packet>> = Vec::new();
    let deadline = Instant::now() + DEADLINE;
    while received.len() < 10 && Instant::now() < deadline {
        driver.note_wakings();
        driver.wait(Duration::from_millis(50), false).unwrap();
        driver.receive(&mut pool, &mut received).unwrap();
    }
    received.sort_by_key(|packet| packet.data[2]);
    for (n, packet) in received.iter().enumerate() {
        assert_eq!(packet.bytes(), [1, 0, n as u8]);
        assert_eq!(usize::from(packet.from().local), n % 2);
        let outgoing = Outgoing {
            to: packet.from(),
            head: [n as u8; 14],
            body: [&[1, 2], &[3]],
        };
        assert_eq!(driver.send(&[outgoing]), SendStatus::All);
        let mut buffer = [0; 100];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from), (17, addresses[n % 2]));
    }
    driver.note_wakings();
    driver.waker().wake();
    let start = Instant::now();
    driver.wait(DEADLINE, false).unwrap();
    assert!(start.elapsed() < DEADLINE);
}
