//! A participant with valid keys that does its worst: its own member, whose messages the test changes, and its own socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use confab::engine::room::Joined;
use confab::net::api::OwnJoin;
use confab::net::event::Incoming;
use confab::net::{Link, Server, Trust};
use confab_benches::fleet::Fleet;
use confab_benches::load::group::announce_all;
use confab_e2ee::mls::identity::DeviceKey;
use confab_e2ee::mls::member::MemberConfig;
use confab_e2ee::mls::{FromMember, Member};
use confab_e2ee::{BaseKey, BaseKeys as _, FixedKeys, FrameCipher};
use confab_protocol::control::Slug;
use confab_protocol::media::downlink::{Downlink, DownlinkBody};
use confab_protocol::media::payload::FramePayload;
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{AudioLevel, KeyId};
use confab_protocol::wire::{self, request};
use confab_voice::{Encoder, EncoderConfig};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::common::PASSWORD;

const FRAME: Duration = Duration::from_millis(20);
/// Samples of a frame at 48 kHz.
const SAMPLES: usize = 960;
/// Upper bound for one step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Changes or drops what the member says.
pub type Tamper = Box<dyn FnMut(FromMember) -> Vec<FromMember> + Send + Sync>;

/// The hostile participant.
pub struct Hostile {
    pub member: Member,
    pub tamper: Tamper,
    /// Messages that were changed or dropped.
    pub tampered: Arc<AtomicU32>,
    link: Link,
    incoming: Incoming,
    own: OwnJoin,
    joined: Joined,
    socket: UdpSocket,
    packets: u32,
    /// Datagrams of audio that came.
    pub audio: u64,
    /// Messages of the group that came.
    pub messages: u64,
}

impl Hostile {
    /// Registers `name`, joins the room, and takes part until it has keys.
    pub async fn join(fleet: &Fleet, name: &str, slug: &str) -> Self {
        let link = connect(fleet).await;
        let register = wire::Register {
            username: name.to_owned(),
            email: format!("{name}@example.org"),
            password: PASSWORD.to_owned(),
            birthday: "1990-01-01".to_owned(),
            device: "hostile".to_owned(),
            invitation: None,
        };
        link.granted(request::Kind::Register(register))
            .await
            .unwrap();
        let incoming = link.incoming();
        let slug: Slug = slug.parse().unwrap();
        let joined = link.join(&slug, None, None).await.unwrap();
        let own = OwnJoin {
            conference: joined.conference,
            id: joined.me.join_id,
            secret: joined.resume.clone().unwrap(),
        };
        let subject = joined.subject(link.server_id());
        let config = MemberConfig::new(DeviceKey::generate(), subject, joined.delivery_key);
        let relay = joined.media.as_ref().unwrap().addresses[0];
        let mut hostile = Self {
            member: Member::new(config),
            tamper: Box::new(|message| vec![message]),
            tampered: Arc::default(),
            incoming,
            own,
            socket: bound_for(relay).await,
            joined,
            link,
            packets: 0,
            audio: 0,
            messages: 0,
        };
        let began = Instant::now();
        while hostile.member.sealing().is_none() {
            assert!(began.elapsed() < PATIENCE, "no keys");
            hostile.take_part(FRAME).await;
        }
        hostile.prove_address().await;
        hostile
    }

    /// Takes part in the group and reads what the relay sends, for this time.
    pub async fn take_part(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut buffer = [0; 1500];
        loop {
            self.say().await;
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return;
            };
            let due = self.member.update(Instant::now());
            let due = due.map_or(left, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                Some(message) = self.incoming.group.recv() => {
                    self.messages += 1;
                    self.member.handle(Instant::now(), message.message);
                }
                Some(_) = self.incoming.events.recv() => {}
                Ok(len) = self.socket.recv(&mut buffer) => self.receive(&buffer[..len]).await,
                () = tokio::time::sleep(due.min(left)) => {}
            }
            // It believes in every leaf: it has nothing to lose.
            announce_all(&mut self.member, Instant::now());
        }
    }

    /// Says what the member has to say, changed. What is refused is dropped.
    async fn say(&mut self) {
        while let Some(message) = self.member.poll_message() {
            let changed = (self.tamper)(message.clone());
            if changed != [message] {
                self.tampered.fetch_add(1, Relaxed);
            }
            for message in changed {
                let _ = self.send(message.into()).await;
            }
        }
        while self.member.poll_event().is_some() {}
    }

    /// Gives a message to the delivery service. True if it is taken.
    pub async fn send(&self, message: wire::FromMember) -> bool {
        let sent = timeout(PATIENCE, self.link.send_to_group(&self.own, vec![message]));
        sent.await.unwrap().is_ok()
    }

    /// The leaf of a participant in the group.
    pub fn leaf_of(&self, username: &str) -> u32 {
        let mut leaves = self.member.leaves();
        let of_name = leaves.find(|(_, credential)| credential.username.as_str() == username);
        of_name.unwrap().0
    }

    /// The key id under which the member seals, for another leaf, and its base key: all members have it.
    pub fn key_of(&self, leaf: u32) -> (KeyId, BaseKey) {
        let own = self.member.sealing().unwrap();
        let key = self.member.base_key(own).unwrap();
        (KeyId::new(leaf, own.generation, own.epoch), key)
    }

    /// Speaks for this time under a key id, whosever it is. Takes part meanwhile only if `takes_part`.
    pub async fn speak(
        &mut self,
        (key_id, key): (KeyId, BaseKey),
        time: Duration,
        takes_part: bool,
    ) {
        let mut cipher = FrameCipher::new(FixedKeys::new(key_id, key));
        let mut encoder = Encoder::new(EncoderConfig::default()).unwrap();
        let mut clock = interval(FRAME);
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for frame in 0..time.as_millis() / FRAME.as_millis() {
            clock.tick().await;
            if takes_part {
                self.take_part(Duration::ZERO).await;
            }
            let sample = |n| ((n as f32) * 0.05).sin() * 0.2;
            let pcm: Vec<f32> = (0..SAMPLES).map(sample).collect();
            let opus = encoder.encode(&pcm).unwrap();
            let payload = FramePayload {
                timestamp: (frame as u32).wrapping_mul(SAMPLES as u32),
                talkspurt: frame == 0,
                comfort: false,
                dred_version: 0,
                opus,
                blocks: Vec::new(),
            };
            let (mut plaintext, mut sframe) = (Vec::new(), Vec::new());
            payload.encode(&mut plaintext).unwrap();
            cipher.seal(&plaintext, &mut sframe).unwrap();
            self.send_frame(&sframe).await;
        }
    }

    /// Sends anything as a frame.
    pub async fn send_frame(&mut self, sframe: &[u8]) {
        let level = AudioLevel::new(true, 6.0);
        self.uplink(UplinkBody::Audio { level, sframe }).await;
    }

    async fn uplink(&mut self, body: UplinkBody<'_>) {
        let media = self.joined.media.as_ref().unwrap();
        let mut datagram = Vec::new();
        let encoded = body.encode(
            media.connection_id,
            self.packets,
            &media.uplink_key,
            &mut datagram,
        );
        self.packets += 1;
        if encoded.is_ok() {
            let _ = self.socket.send(&datagram).await;
        }
    }

    async fn receive(&mut self, datagram: &[u8]) {
        let media = self.joined.media.as_ref().unwrap();
        let Ok(downlink) = Downlink::parse(datagram) else {
            return;
        };
        if !downlink.is_authentic(&media.downlink_key) {
            return;
        }
        match downlink.body {
            DownlinkBody::PathChallenge(challenge) => {
                self.uplink(UplinkBody::PathResponse { challenge }).await;
            }
            DownlinkBody::Audio(_) => self.audio += 1,
            _ => {}
        }
    }

    async fn prove_address(&mut self) {
        for _ in 0..10 {
            self.uplink(UplinkBody::KeepAlive { echo: [7; 8] }).await;
            self.take_part(Duration::from_millis(100)).await;
        }
    }
}

async fn connect(fleet: &Fleet) -> Link {
    let server = Server {
        host: fleet.control.ip().to_string(),
        port: fleet.control.port(),
    };
    let trust = Trust::from_pem_file(&fleet.authority()).unwrap();
    Link::open(&server, &trust).await.unwrap()
}

async fn bound_for(relay: SocketAddr) -> UdpSocket {
    let any = match relay {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).await.unwrap();
    socket.connect(relay).await.unwrap();
    socket
}
