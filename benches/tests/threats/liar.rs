//! A control node that lies: it holds the node's own certificate, and people's clients talk to it. What they ask goes on to the
//! honest node, and what that answers is changed on the way back.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use confab_benches::fleet::{Fleet, Users};
use confab_protocol::control::framing::{Deframer, StreamKind, encode};
use confab_protocol::control::{ALPN, CLUSTER_SERVER_NAME};
use confab_protocol::wire::{self, request, response};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::common::PASSWORD;

/// The longest message of either side.
const MAX_MESSAGE: usize = 16 << 20;

/// The lies told on one connection.
pub trait Lies: Send + 'static {
    /// The client asks this.
    fn request(&mut self, _request: &mut request::Kind) {}

    /// The node answers this.
    fn response(&mut self, _response: &mut response::Kind) {}

    /// The node tells this of a room; false keeps it back.
    fn event(&mut self, _event: &mut wire::Event) -> bool {
        true
    }

    /// The delivery service says this to a member; it gets these messages instead.
    fn to_group(&mut self, message: wire::ToGroup) -> Vec<wire::ToGroup> {
        vec![message]
    }
}

type Shared = Arc<Mutex<dyn Lies>>;

/// The lying node.
pub struct Liar {
    pub address: SocketAddr,
    endpoint: Endpoint,
}

impl Liar {
    /// Stands before the fleet's node; `lies` makes the lies of each connection.
    pub fn before<L: Lies>(fleet: &Fleet, lies: impl Fn() -> L + Send + 'static) -> Self {
        let (server, client) = configs(&fleet.data_dir());
        let mut endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        endpoint.set_default_client_config(client);
        let (accepting, node) = (endpoint.clone(), fleet.control);
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let lies: Shared = Arc::new(Mutex::new(lies()));
                let endpoint = accepting.clone();
                tokio::spawn(async move {
                    let Ok(client) = incoming.await else {
                        return;
                    };
                    let node = endpoint.connect(node, CLUSTER_SERVER_NAME).unwrap();
                    let Ok(node) = node.await else {
                        return;
                    };
                    between(client, node, lies).await;
                });
            }
        });
        Self {
            address: endpoint.local_addr().unwrap(),
            endpoint,
        }
    }

    /// The fleet's users, whose clients talk to this node: these have logged in by it.
    pub async fn users(&self, fleet: &Fleet, names: &[&str]) -> Users {
        let mut users = fleet.users();
        users.server = self.address.to_string();
        for name in names {
            let args = ["login", name];
            users.client(name, &args, Some(PASSWORD)).await.unwrap();
        }
        users
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

/// The node's own certificate towards clients, and trust in its authority towards the node.
fn configs(data_dir: &Path) -> (quinn::ServerConfig, quinn::ClientConfig) {
    let certificates = |file: &str| -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_file_iter(data_dir.join(file)).unwrap();
        all.map(Result::unwrap).collect()
    };
    let key = PrivateKeyDer::from_pem_file(data_dir.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = [&rustls::version::TLS13];
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates("server.crt"), key)
        .unwrap();
    server.alpn_protocols = vec![ALPN.to_vec()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates("ca.crt").remove(0)).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![ALPN.to_vec()];
    let server = QuicServerConfig::try_from(server).unwrap();
    let client = QuicClientConfig::try_from(client).unwrap();
    (
        quinn::ServerConfig::with_crypto(Arc::new(server)),
        quinn::ClientConfig::new(Arc::new(client)),
    )
}

/// Passes on what a client and the node say to each other, until one of them goes.
async fn between(client: Connection, node: Connection, lies: Shared) {
    loop {
        tokio::select! {
            Ok((answer_to, request)) = client.accept_bi() => {
                let (node, lies) = (node.clone(), lies.clone());
                // Whoever has gone does not wait for it.
                tokio::spawn(async move { ask(&node, answer_to, request, &lies).await });
            }
            Ok(told) = node.accept_uni() => {
                let (client, lies) = (client.clone(), lies.clone());
                tokio::spawn(async move { tell(&client, told, &lies).await });
            }
            why = node.closed() => {
                let (code, reason) = closing(&why);
                client.close(code, &reason);
                return;
            }
            why = client.closed() => {
                let (code, reason) = closing(&why);
                node.close(code, &reason);
                return;
            }
        }
    }
}

fn closing(why: &quinn::ConnectionError) -> (quinn::VarInt, Vec<u8>) {
    match why {
        quinn::ConnectionError::ApplicationClosed(close) => {
            (close.error_code, close.reason.to_vec())
        }
        _ => (0u32.into(), Vec::new()),
    }
}

/// One request and its answer. `None` when somebody went.
async fn ask(
    node: &Connection,
    mut answer_to: SendStream,
    mut request: RecvStream,
    lies: &Shared,
) -> Option<()> {
    let bytes = request.read_to_end(MAX_MESSAGE).await.ok()?;
    let mut request: wire::Request = message(&bytes)?;
    lies.lock().unwrap().request(request.kind.as_mut()?);
    let (mut to_node, mut from_node) = node.open_bi().await.ok()?;
    to_node.write_all(&encode(&request)).await.ok()?;
    to_node.finish().ok()?;
    let bytes = from_node.read_to_end(MAX_MESSAGE).await.ok()?;
    let mut response: wire::Response = message(&bytes)?;
    lies.lock().unwrap().response(response.kind.as_mut()?);
    answer_to.write_all(&encode(&response)).await.ok()?;
    answer_to.finish().ok()
}

/// One stream of the node. `None` when somebody went.
async fn tell(client: &Connection, mut told: RecvStream, lies: &Shared) -> Option<()> {
    let mut kind = [0];
    told.read_exact(&mut kind).await.ok()?;
    let mut out = client.open_uni().await.ok()?;
    out.write_all(&kind).await.ok()?;
    let mut deframer = Deframer::new(MAX_MESSAGE);
    while let Some(chunk) = told.read_chunk(65_536, true).await.ok()? {
        deframer.push(&chunk.bytes);
        for bytes in changed(StreamKind::from_byte(kind[0])?, &mut deframer, lies) {
            out.write_all(&bytes).await.ok()?;
        }
    }
    out.finish().ok()
}

/// The messages that have come, with the lies in them.
fn changed(kind: StreamKind, deframer: &mut Deframer, lies: &Shared) -> Vec<bytes::Bytes> {
    let mut lies = lies.lock().unwrap();
    let mut all = Vec::new();
    match kind {
        StreamKind::Events => {
            while let Some(mut event) = deframer.next::<wire::Event>().unwrap() {
                if lies.event(&mut event) {
                    all.push(encode(&event));
                }
            }
        }
        StreamKind::Group => {
            while let Some(message) = deframer.next::<wire::ToGroup>().unwrap() {
                all.extend(lies.to_group(message).iter().map(encode));
            }
        }
    }
    all
}

fn message<M: prost::Message + Default>(bytes: &[u8]) -> Option<M> {
    let mut deframer = Deframer::new(MAX_MESSAGE);
    deframer.push(bytes);
    deframer.next().ok().flatten()
}
