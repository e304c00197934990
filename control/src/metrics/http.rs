//! Answers over HTTP. A relay does so by the same rules, but has nothing in common with control except the protocol.

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

use super::page;
use crate::Server;

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

/// Answers requests for as long as the server lives.
pub async fn serve(listener: TcpListener, server: Arc<Server>) {
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
        let server = server.clone();
        tokio::spawn(async move {
            let served = converse(stream, server);
            // Who talks nonsense or too long is cut off, and nobody needs to know.
            let _ = tokio::time::timeout(CONNECTION_DEADLINE, served).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, server: Arc<Server>) -> hyper::Result<()> {
    let answer = move |request: Request<Incoming>| {
        let response = respond(&server, request.method(), request.uri().path());
        async move { Ok::<_, std::convert::Infallible>(response) }
    };
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
}

fn respond(server: &Server, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let (status, body) = match (method, path) {
        (&Method::GET, "/metrics") => (StatusCode::OK, page::render(server)),
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") => readiness(server),
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

/// A store that does not answer makes no node unready: it is down for all of them, and people who are known still come in.
fn readiness(server: &Server) -> (StatusCode, String) {
    if server.metrics.is_closing() {
        return (StatusCode::SERVICE_UNAVAILABLE, "closing\n".to_owned());
    }
    let body = match server.accounts.store_answers() {
        true => "ok\n",
        false => "ok, but the store does not answer\n",
    };
    (StatusCode::OK, body.to_owned())
}
