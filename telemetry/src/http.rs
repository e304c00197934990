//! Answers who asks.

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
/// A request's head has to be whole by then.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// A connection is closed after this time, whatever it does.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(60);
/// After a connection could not be taken the next one is.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that tells something of itself.
pub trait Source: Send + Sync + 'static {
    /// All figures, as [`Page`](crate::Page) writes them.
    fn figures(&self) -> String;

    /// Whether people may be sent to it.
    fn readiness(&self) -> Readiness;

    /// Whether it does its work. A server whose process ends when it cannot leaves this as it is.
    fn health(&self) -> Health {
        Health::Well
    }
}

/// Whether a server does its work, or should be started anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// It does: 200.
    Well,
    /// It does not, and this is wrong: 503.
    Ill(String),
}

/// Whether people may be sent to a server, and what else there is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// They may: 200.
    Ready(&'static str),
    /// They may not: 503.
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
            // Out of descriptors, or a client that went away: the next one may have more luck.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let source = source.clone();
        tokio::spawn(async move {
            let served = converse(stream, source);
            // Who talks nonsense or too long is cut off, and nobody needs to know.
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
