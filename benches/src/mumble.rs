//! Debian's `mumble-server` as a peer: the real program, and members that speak its protocol.
//!
//! Control over TLS: `type (2) · length (4) · protobuf`. Voice over UDP: OCB2-AES128 (draft-krovetz-ocb-00 as Mumble has
//! it: one byte of nonce and three of tag in front), inside it a header byte, a sequence number and the Opus packet.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio_rustls::TlsConnector;

use crate::load::network::Network;
use crate::load::pace;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/murmurd";
/// The server wants to hear of a member every 30 s.
const PING: Duration = Duration::from_secs(10);
/// Time limit of a start.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Control messages that matter here.
mod kind {
    pub(super) const VERSION: u16 = 0;
    pub(super) const AUTHENTICATE: u16 = 2;
    pub(super) const PING: u16 = 3;
    pub(super) const REJECT: u16 = 4;
    pub(super) const SERVER_SYNC: u16 = 5;
    pub(super) const CRYPT_SETUP: u16 = 15;
}

pub struct Server {
    pub pid: u32,
    pub address: SocketAddr,
    _child: Child,
    _scratch: tempfile::TempDir,
}

/// Members of one channel, some of whom speak until this is dropped.
pub struct Members {
    shared: Arc<Shared>,
    speaker: Option<JoinHandle<io::Result<()>>>,
    /// Their control connections live as long as they.
    _pings: tokio::task::JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    frames_sent: AtomicU64,
}

impl Server {
    /// Starts the server at the network's far end, or says that it is not installed.
    pub async fn start(network: &Network, users: u16) -> io::Result<Self> {
        if !Path::new(PROGRAM).exists() {
            return Err(io::Error::other(
                "mumble-server is not installed (apt-get install mumble-server)",
            ));
        }
        let scratch = tempfile::tempdir()?;
        // Free at this end, and so, most probably, at the other.
        let port = UdpSocket::bind((network.near, 0))?.local_addr()?.port();
        let settings = scratch.path().join("server.ini");
        let database = scratch.path().join("server.sqlite");
        // Started by root the server becomes a user of its own, who has to reach its database.
        std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o777))?;
        // No ban for many members from one address, and no limit that 24 kbit/s would meet.
        std::fs::write(
            &settings,
            format!(
                "database={}\nport={port}\nhost={}\nusers={}\nbandwidth=558000\n\
                 autobanAttempts=0\nallowping=true\nopusthreshold=0\n",
                database.display(),
                network.far,
                users + 10
            ),
        )?;
        let mut child = network
            .command(PROGRAM)
            .arg("-fg")
            .arg("-ini")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let address = SocketAddr::new(network.far, port);
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if started.elapsed() > START_DEADLINE || child.try_wait()?.is_some() {
                return Err(io::Error::other("mumble-server did not start"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            pid: child.id().ok_or_else(|| io::Error::other("it ended"))?,
            address,
            _child: child,
            _scratch: scratch,
        })
    }

    /// Brings members into the root channel; the first `speakers` of them speak packets of `opus_len` bytes.
    pub async fn fill(
        &self,
        members: u16,
        (speakers, opus_len, seed): (u16, usize, u64),
    ) -> io::Result<Members> {
        let connector = connector();
        let mut voices = Vec::new();
        let mut pings = tokio::task::JoinSet::new();
        for number in 0..members {
            let (voice, stream) = enter(&connector, self.address, number).await?;
            pings.spawn(keep_alive(stream));
            voices.push(voice);
        }
        let shared = Arc::new(Shared::default());
        let for_speech = Arc::clone(&shared);
        let speaking: Vec<_> = voices.drain(..usize::from(speakers)).collect();
        let speaker = thread::spawn(move || {
            // The sockets of those who only listen stay open, and full.
            let _listening = voices;
            speak(&for_speech, speaking, opus_len, seed)
        });
        Ok(Members {
            shared,
            speaker: Some(speaker),
            _pings: pings,
        })
    }
}

impl Members {
    /// Frames that were sent so far.
    pub fn frames_sent(&self) -> u64 {
        self.shared.frames_sent.load(Relaxed)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(speaker) = self.speaker.take() {
            let _ = speaker.join();
        }
    }
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

struct Voice {
    socket: UdpSocket,
    cipher: Ocb2,
    sequence: u8,
}

async fn enter(
    connector: &TlsConnector,
    server: SocketAddr,
    number: u16,
) -> io::Result<(Voice, Stream)> {
    let tcp = TcpStream::connect(server).await?;
    let name = ServerName::IpAddress(server.ip().into());
    let mut stream = connector.connect(name, tcp).await?;
    let version = [field(1, 0x1_0304), text(2, b"load")].concat();
    send(&mut stream, kind::VERSION, &version).await?;
    let who = [text(1, format!("load{number}").as_bytes()), field(5, 1)].concat();
    send(&mut stream, kind::AUTHENTICATE, &who).await?;
    let mut cipher = None;
    loop {
        let (kind, body) = receive(&mut stream).await?;
        match kind {
            kind::CRYPT_SETUP => cipher = Some(Ocb2::from_setup(&body)?),
            kind::REJECT => return Err(io::Error::other("mumble-server rejects the member")),
            kind::SERVER_SYNC => break,
            _ => {}
        }
    }
    let mut cipher = cipher.ok_or_else(|| io::Error::other("no key came"))?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    SockRef::from(&socket).set_recv_buffer_size(4096)?;
    socket.connect(server)?;
    // A ping by UDP tells the server to send voice by UDP.
    socket.send(&cipher.seal(&[0x20, 1]))?;
    let voice = Voice {
        socket,
        cipher,
        sequence: 0,
    };
    Ok((voice, stream))
}

/// Reads what the server says and lets it know that the member is there.
async fn keep_alive(stream: Stream) {
    let (mut read, mut write) = tokio::io::split(stream);
    let reading = async {
        let mut buffer = [0; 4096];
        while read.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    let pinging = async {
        loop {
            tokio::time::sleep(PING).await;
            if send(&mut write, kind::PING, &[]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = pinging => {}
    }
}

fn speak(shared: &Shared, mut voices: Vec<Voice>, opus_len: usize, seed: u64) -> io::Result<()> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut opus = vec![0; opus_len];
    pace::at_random_phases(voices.len(), seed, &shared.stop, |speaker| {
        random.fill_bytes(&mut opus);
        voices[speaker].speak(&opus)?;
        shared.frames_sent.fetch_add(1, Relaxed);
        Ok(())
    })
}

impl Voice {
    fn speak(&mut self, opus: &[u8]) -> io::Result<()> {
        // Opus, to everyone in the channel. Sequence numbers count 10 ms.
        let mut packet = vec![4 << 5, self.sequence & 0x7f];
        self.sequence = self.sequence.wrapping_add(2);
        if opus.len() < 0x80 {
            packet.push(opus.len() as u8);
        } else {
            packet.extend_from_slice(&(0x8000 | opus.len() as u16).to_be_bytes());
        }
        packet.extend_from_slice(opus);
        self.socket.send(&self.cipher.seal(&packet)).map(drop)
    }
}

/// OCB2 with AES-128, as Mumble seals.
struct Ocb2 {
    aes: Aes128,
    nonce: u128,
}

impl Ocb2 {
    /// From the server's message: key (1) and the client's nonce (2).
    fn from_setup(body: &[u8]) -> io::Result<Self> {
        let fields = bytes_fields(body);
        let get =
            |number: u64| -> Option<[u8; 16]> { fields.get(&number)?.as_slice().try_into().ok() };
        let (Some(key), Some(nonce)) = (get(1), get(2)) else {
            return Err(io::Error::other("the key is no key"));
        };
        Ok(Self {
            aes: Aes128::new(&key.into()),
            nonce: u128::from_le_bytes(nonce),
        })
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.nonce = self.nonce.wrapping_add(1);
        let nonce = self.nonce.to_le_bytes();
        let mut delta = self.encrypt(u128::from_be_bytes(nonce));
        let mut checksum = 0;
        let mut out = vec![nonce[0], 0, 0, 0];
        let last = (plain.len() - 1) / 16 * 16;
        for block in plain[..last].chunks_exact(16) {
            let block = u128::from_be_bytes(block.try_into().expect("chunks of 16"));
            delta = double(delta);
            out.extend_from_slice(&(delta ^ self.encrypt(delta ^ block)).to_be_bytes());
            checksum ^= block;
        }
        let rest = &plain[last..];
        delta = double(delta);
        let pad = self.encrypt((rest.len() as u128 * 8) ^ delta).to_be_bytes();
        let mut filled = pad;
        filled[..rest.len()].copy_from_slice(rest);
        checksum ^= u128::from_be_bytes(filled);
        out.extend(rest.iter().zip(pad).map(|(byte, pad)| byte ^ pad));
        let tag = self.encrypt(double(delta) ^ delta ^ checksum).to_be_bytes();
        out[1..4].copy_from_slice(&tag[..3]);
        out
    }

    fn encrypt(&self, block: u128) -> u128 {
        let mut block = block.to_be_bytes().into();
        self.aes.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    }
}

/// Times x in GF(2^128).
fn double(block: u128) -> u128 {
    block << 1 ^ if block >> 127 == 1 { 0x87 } else { 0 }
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), kind: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let message = [&kind.to_be_bytes()[..], &length.to_be_bytes(), body].concat();
    stream.write_all(&message).await?;
    stream.flush().await
}

async fn receive(stream: &mut Stream) -> io::Result<(u16, Vec<u8>)> {
    let kind = stream.read_u16().await?;
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// A protobuf field that is a number.
fn field(number: u64, value: u64) -> Vec<u8> {
    let mut out = varint(number << 3);
    out.extend(varint(value));
    out
}

/// A protobuf field that is bytes.
fn text(number: u64, value: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// The fields of a protobuf message that are bytes.
fn bytes_fields(mut body: &[u8]) -> HashMap<u64, Vec<u8>> {
    let mut fields = HashMap::new();
    while let Some((key, rest)) = read_varint(body) {
        let Some((value, rest)) = read_varint(rest) else {
            break;
        };
        body = rest;
        if key & 7 == 2 {
            let Some((bytes, rest)) = rest.split_at_checked(value as usize) else {
                break;
            };
            fields.insert(key >> 3, bytes.to_vec());
            body = rest;
        }
    }
    fields
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn connector() -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The server was started by this process on a loopback port, under a certificate it made a moment ago.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
