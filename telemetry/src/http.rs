//! The HTTP server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4";
/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// Time limit for the head of a request.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// A connection is closed after this time, whatever it does.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(60);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The state of a server, as its HTTP pages give it.
pub trait Source: Send + Sync + 'static {
    /// The metrics, as [`Page`](crate::Page) writes them.
    fn figures(&self) -> String;

    /// The answer of `/readyz`: whether clients may be sent to this server.
    fn readiness(&self) -> Readiness;

    /// The answer of `/healthz`. The default suits a server whose process ends when it cannot work.
    fn health(&self) -> Health {
        Health::Well
    }
}

/// The health of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// The server works: 200.
    Well,
    /// The server has to be restarted, for this reason: 503.
    Ill(String),
}

/// The readiness of a server for new clients, with a remark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// Clients may be sent to it: 200.
    Ready(&'static str),
    /// No clients may be sent to it: 503.
    NotReady(&'static str),
}

/// Answers requests for as long as the task lives.
pub async fn serve(listener: Arc<TcpListener>, source: Arc<impl Source>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client that went away: the next accept may succeed.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let source = source.clone();
        tokio::spawn(async move {
            let served = converse(stream, source);
            // A malformed request or a slow client ends the connection; neither is logged.
            let _ = tokio::time::timeout(CONNECTION_DEADLINE, served).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, source: Arc<impl Source>) -> hyper::Result<()> {
    let answer = move |request: Request<Incoming>| {
        let response = respond(source.as_ref(), request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    };
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
}

fn respond(source: &impl Source, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET, "/metrics") => (StatusCode::OK, source.figures()),
        (&Method::GET, "/healthz") => match source.health() {
            Health::Well => (StatusCode::OK, "ok\n".to_owned()),
            Health::Ill(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("{what}\n")),
        },
        (&Method::GET, "/readyz") => match source.readiness() {
            Readiness::Ready(text) => (StatusCode::OK, format!("{text}\n")),
            Readiness::NotReady(text) => (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")),
        },
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(PROMETHEUS);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
