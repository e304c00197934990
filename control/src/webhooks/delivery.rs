//! Delivers webhooks, one after another, and repeats those that are not taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::Event;
use super::target::WebhookTarget;
use crate::AGENT;
use crate::clock::Clock;
use crate::metrics::deliveries::{Delivery, DeliveryCounters};
use crate::random::{self, jittered};

/// Time limit of a request.
const DEADLINE: Duration = Duration::from_secs(10);
/// Waits before the repetitions of a message that was not taken. Others wait meanwhile: the receiver gets them in order.
pub(super) const REPETITIONS: [Duration; 4] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
];
/// After so many messages in a row that were given up, each further one is tried once, until one is taken.
const GIVEN_UP: u32 = 3;

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    #[error("the name is none that a certificate may have")]
    Name,
    #[error("status {0}")]
    Status(u16),
}

/// Delivers the messages of a queue.
pub(super) struct Courier {
    target: WebhookTarget,
    /// `None` for a target without TLS.
    tls: Option<TlsConnector>,
    clock: Clock,
    counters: DeliveryCounters,
    /// See [`REPETITIONS`].
    repetitions: &'static [Duration],
}

impl Courier {
    pub(super) fn new(
        target: WebhookTarget,
        clock: Clock,
        counters: DeliveryCounters,
        repetitions: &'static [Duration],
    ) -> Result<Self, rustls::Error> {
        let tls = target.url.is_tls.then(public_authorities).transpose()?;
        Ok(Self {
            target,
            tls,
            clock,
            counters,
            repetitions,
        })
    }

    pub(super) async fn run(self, mut events: mpsc::Receiver<Event>) {
        let mut given_up = 0;
        while let Some(event) = events.recv().await {
            let repetitions = match given_up < GIVEN_UP {
                true => self.repetitions,
                false => &[],
            };
            match self.deliver(&event, repetitions).await {
                Ok(()) => {
                    given_up = 0;
                    self.counters.count(Delivery::Taken);
                }
                Err(error) => {
                    given_up += 1;
                    self.counters.count(Delivery::GivenUp);
                    tracing::warn!(%error, "a webhook was given up");
                }
            }
        }
    }

    async fn deliver(&self, event: &Event, repetitions: &[Duration]) -> Result<(), NotTaken> {
        // The same in each repetition: the receiver knows by it what it has already.
        let id = format!("msg_{}", BASE32_NOPAD.encode(&random::bytes::<16>()));
        let body = event.body().to_string();
        let mut waits = repetitions.iter();
        loop {
            let sent = tokio::time::timeout(DEADLINE, self.send(&id, &body)).await;
            let error = match sent.unwrap_or(Err(NotTaken::Timeout)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let Some(wait) = waits.next() else {
                return Err(error);
            };
            tracing::debug!(%error, "a webhook is repeated");
            tokio::time::sleep(jittered(*wait)).await;
        }
    }

    async fn send(&self, id: &str, body: &str) -> Result<(), NotTaken> {
        let url = &self.target.url;
        let stream = TcpStream::connect((url.dialled(), url.port)).await?;
        match &self.tls {
            None => self.exchange(stream, id, body).await,
            Some(tls) => {
                let name = ServerName::try_from(url.dialled().to_owned());
                let name = name.map_err(|_| NotTaken::Name)?;
                let stream = tls.connect(name, stream).await?;
                self.exchange(stream, id, body).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        id: &str,
        body: &str,
    ) -> Result<(), NotTaken> {
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let seconds = self.clock.now().0 / 1000;
        let url = &self.target.url;
        let request = Request::post(&url.path)
            .header("host", url.host_header())
            .header("user-agent", AGENT)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header(
                "webhook-signature",
                self.target.secret.sign(id, seconds, body),
            )
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let answer = requests.send_request(request).await;
        // What else it says is not read.
        connection.abort();
        match answer?.status() {
            status if status.is_success() => Ok(()),
            status => Err(NotTaken::Status(status.as_u16())),
        }
    }
}

/// TLS by the public authorities of this machine.
fn public_authorities() -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::webhooks::{News, NewsKind, Webhooks};

    const SOON: [Duration; 4] = [Duration::from_millis(5); 4];
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Answers requests with these statuses; gives what came.
    async fn receiver(statuses: Vec<u16>) -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, requests) = mpsc::channel(16);
        tokio::spawn(async move {
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                while !is_whole(&text) {
                    let mut piece = [0; 4096];
                    let len = stream.read(&mut piece).await.unwrap();
                    assert!(len > 0, "{text}");
                    text.push_str(std::str::from_utf8(&piece[..len]).unwrap());
                }
                heard.send(text).await.unwrap();
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (port, requests)
    }

    /// True for a request with its body.
    fn is_whole(text: &str) -> bool {
        text.split_once("\r\n\r\n")
            .is_some_and(|(head, body)| header(head, "content-length").parse() == Ok(body.len()))
    }

    fn news() -> News {
        News {
            conference: confab_protocol::control::ConferenceId::new([1; 16]),
            slug: "friday".parse().unwrap(),
            kind: NewsKind::RoomStarted,
        }
    }

    fn header<'a>(request: &'a str, name: &str) -> &'a str {
        let line = request.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1
    }

    fn start(port: u16, counters: &DeliveryCounters) -> Webhooks {
        let target = WebhookTarget {
            url: format!("http://127.0.0.1:{port}/hook?of=confab")
                .parse()
                .unwrap(),
            secret: SECRET.parse().unwrap(),
        };
        Webhooks::start_with(target, Clock::System, counters.clone(), &SOON).unwrap()
    }

    #[tokio::test]
    async fn a_message_is_signed_and_repeated_under_the_same_id_until_it_is_taken() {
        let (port, mut requests) = receiver(vec![503, 200]).await;
        let counters = DeliveryCounters::default();
        let webhooks = start(port, &counters);
        webhooks.tell(news());
        let (first, second) = (
            requests.recv().await.unwrap(),
            requests.recv().await.unwrap(),
        );
        assert!(
            first.starts_with("POST /hook?of=confab HTTP/1.1\r\n"),
            "{first}"
        );
        assert_eq!(header(&first, "host"), format!("127.0.0.1:{port}"));
        let id = header(&first, "webhook-id");
        assert_eq!(header(&second, "webhook-id"), id);
        let body = second.split_once("\r\n\r\n").unwrap().1;
        let seconds = header(&second, "webhook-timestamp").parse().unwrap();
        let secret: crate::webhooks::target::WebhookSecret = SECRET.parse().unwrap();
        let signature = secret.sign(id, seconds, body);
        assert_eq!(header(&second, "webhook-signature"), signature);
        assert_eq!(first.split_once("\r\n\r\n").unwrap().1, body);
        while counters.of(Delivery::Taken) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_nobody_takes_is_given_up_and_the_next_one_is_tried() {
        let (port, mut requests) = receiver(vec![500; 5].into_iter().chain([204]).collect()).await;
        let counters = DeliveryCounters::default();
        let webhooks = start(port, &counters);
        webhooks.tell(news());
        webhooks.tell(news());
        let mut ids = Vec::new();
        for _ in 0..6 {
            let request = requests.recv().await.unwrap();
            ids.push(header(&request, "webhook-id").to_owned());
        }
        assert!(ids[..5].iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_ne!(ids[5], ids[0]);
        assert_eq!(counters.of(Delivery::GivenUp), 1);
    }

    #[tokio::test]
    async fn a_queue_that_is_full_drops_and_counts() {
        let (port, _requests) = receiver(Vec::new()).await;
        let counters = DeliveryCounters::default();
        let webhooks = start(port, &counters);
        for _ in 0..super::super::QUEUE + 50 {
            webhooks.tell(news());
        }
        assert!(counters.of(Delivery::Dropped) >= 49);
    }
}
