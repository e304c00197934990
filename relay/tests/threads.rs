//! Worker threads on real sockets: a large room on several of them, while members come and go.

#![cfg(all(target_os = "linux", not(feature = "portable")))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use confab_protocol::cluster::{Action, BootId, Command, CommandOutcome, Fence, OpenMedia};
use confab_protocol::control::ConferenceId;
use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, ConnectionId, HopKey, KeyId, SframeHeader};
use confab_relay::core::Capacity;
use confab_relay::core::RateLimits;
use confab_relay::core::WindowControl;
use confab_relay::core::WorkerConfig;
use confab_relay::core::{Counters, Crossings, Registry, Worker, mailbox};
use confab_relay::io::WorkerThread;
use confab_relay::io::{UdpDriver, Waker, bind_group};
use confab_relay::metrics::Heartbeat;

const WORKERS: usize = 3;
const BUFFERS: usize = 4096;
const BOOT: BootId = BootId([4; 16]);
const DEADLINE: Duration = Duration::from_secs(30);
const FRAMES: u32 = 100;

struct Running {
    registry: Arc<Registry>,
    relay: SocketAddr,
    wakers: Arc<[Waker]>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<std::io::Result<()>>>,
}

struct Member {
    id: ConnectionId,
    sender: u16,
    socket: UdpSocket,
    next: u32,
}

fn key() -> HopKey {
    HopKey::new([8; 16])
}

fn start() -> Running {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let group = bind_group(&[loopback], WORKERS, 64, 1 << 20).unwrap();
    let wakers: Arc<[Waker]> = group.drivers.iter().map(UdpDriver::waker).collect();
    let crossings = Arc::new(Crossings::new(WORKERS, 1024, BUFFERS));
    let stop = Arc::new(AtomicBool::new(false));
    let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
    for (index, driver) in group.drivers.into_iter().enumerate() {
        let (post, mailbox) = mailbox();
        mailboxes.push(post);
        let config = WorkerConfig {
            index: index as u8,
            buffers: BUFFERS,
            batch: 64,
            speakers: 16,
            limits: RateLimits::default(),
            idle_timeout: DEADLINE,
        };
        let (ended, _) = tokio::sync::mpsc::unbounded_channel();
        let worker = Worker::new(
            config,
            Instant::now(),
            mailbox,
            Arc::new(Counters::default()),
            Arc::clone(&crossings),
            HopKey::new([9; 16]),
        );
        let thread = WorkerThread {
            worker,
            driver,
            ended,
            heartbeat: Arc::new(Heartbeat::new(Instant::now())),
            stop: Arc::clone(&stop),
            wakers: Arc::clone(&wakers),
            window: WindowControl::new(Duration::ZERO, Duration::ZERO),
            core: None,
            busy_poll: Duration::ZERO,
        };
        threads.push(thread.spawn(index).unwrap());
    }
    let capacity = Capacity {
        sessions: 100_000,
        rooms: 10,
        members: 10_000,
        share: 4,
    };
    Running {
        registry: Arc::new(Registry::new(BOOT, capacity, mailboxes, [5; 32])),
        relay: group.addresses[0],
        wakers,
        stop,
        threads,
    }
}

impl Running {
    fn command(&self, action: Action) -> Option<ConnectionId> {
        let result = self.registry.execute(
            Instant::now(),
            &Command {
                id: 1,
                conference: ConferenceId::new([6; 16]),
                fence: Fence::default(),
                boot: BOOT,
                action,
            },
        );
        assert_eq!(result.outcome, CommandOutcome::Obeyed);
        self.wakers.iter().for_each(Waker::wake);
        self.registry.publish();
        result.connection_id
    }

    fn open(&self, sender: u16) -> ConnectionId {
        let open = OpenMedia::new(sender, sender.into(), key(), key());
        self.command(Action::OpenMedia(open)).unwrap()
    }

    fn join(&self, sender: u16) -> Member {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.relay).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let mut member = Member {
            id: self.open(sender),
            sender,
            socket,
            next: 0,
        };
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            member.send(UplinkBody::KeepAlive { echo: [0; 8] });
            if let Some(DownlinkBody::PathChallenge(challenge)) = member.receive(&mut [0; 1500]) {
                member.send(UplinkBody::PathResponse { challenge });
                return member;
            }
        }
        panic!("the relay does not answer");
    }
}

impl Member {
    fn send(&mut self, body: UplinkBody<'_>) {
        let mut datagram = Vec::new();
        body.encode(self.id, self.next, &key(), &mut datagram)
            .unwrap();
        self.next += 1;
        self.socket.send(&datagram).unwrap();
    }

    fn speak(&mut self) {
        let header = SframeHeader {
            key_id: KeyId::new(self.sender.into(), 0, 0),
            counter: self.next.into(),
        };
        let mut sframe = [0; 60];
        header.write((&mut sframe[..SframeHeader::MAX_LEN]).try_into().unwrap());
        self.send(UplinkBody::Audio {
            level: AudioLevel::new(true, 20.0),
            sframe: &sframe,
        });
    }

    fn receive<'a>(&self, buffer: &'a mut [u8; 1500]) -> Option<DownlinkBody<'a>> {
        let len = self.socket.recv(buffer).ok()?;
        let downlink = Downlink::parse(&buffer[..len]).unwrap();
        assert!(downlink.is_authentic(&key()));
        Some(downlink.body)
    }

    /// Frames that come until `wanted` are there or nothing has come for long.
    fn listen(&self, wanted: u32) -> u32 {
        let mut heard = 0;
        let deadline = Instant::now() + DEADLINE;
        while heard < wanted && Instant::now() < deadline {
            if let Some(DownlinkBody::Audio(records)) = self.receive(&mut [0; 1500]) {
                heard += records.iter().count() as u32;
            }
        }
        heard
    }
}

#[test]
fn a_room_on_three_workers_loses_nothing_while_others_come_and_go() {
    let running = start();
    let mut members: Vec<_> = (0..9).map(|sender| running.join(sender)).collect();
    let homes: Vec<_> = members.iter().map(|member| member.id.worker()).collect();
    assert!(
        (0..WORKERS as u8).all(|worker| homes.contains(&worker)),
        "{homes:?}"
    );
    let speakers = members.split_off(6);

    thread::scope(|scope| {
        let listeners = members
            .iter()
            .map(|member| scope.spawn(|| member.listen(3 * FRAMES)));
        let listeners: Vec<_> = listeners.collect();
        for mut speaker in speakers {
            scope.spawn(move || {
                for _ in 0..FRAMES {
                    speaker.speak();
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
        // Meanwhile a thousand changes.
        for n in 0..500 {
            running.open(100 + n);
            if n >= 50 {
                let sender = 50 + n;
                running.command(Action::CloseMedia { sender });
            }
            thread::sleep(Duration::from_millis(1));
        }
        for listener in listeners {
            assert_eq!(listener.join().unwrap(), 3 * FRAMES);
        }
    });

    running.stop.store(true, Ordering::Release);
    running.wakers.iter().for_each(Waker::wake);
    for thread in running.threads {
        thread.join().unwrap().unwrap();
    }
}
