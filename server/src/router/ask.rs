//! Requests to the router: datagrams that are repeated, a search, and HTTP.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::upnp;

/// Waits for an answer, each after sending the request once more (RFC 6886 §3.1).
const WAITS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(750),
];
/// Time limit of a search, beside that of the request which follows: routers answer within a second (MX).
const SEARCH: Duration = Duration::from_millis(1500);
/// Time limit of an HTTP request.
const HTTP: Duration = Duration::from_millis(1500);
/// Longest datagram that is read: answers to a search are the longest.
const MAX_DATAGRAM: usize = 2048;
/// Longest HTTP body that is read.
const MAX_BODY: usize = 256 << 10;

/// Sends a request until an answer is there that `read` understands. `None` if none comes in time.
pub(super) async fn ask<T>(
    local: Ipv4Addr,
    to: SocketAddrV4,
    request: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let socket = UdpSocket::bind((local, 0)).await.ok()?;
    socket.connect(to).await.ok()?;
    let mut buffer = [0; MAX_DATAGRAM];
    for wait in WAITS {
        socket.send(request).await.ok()?;
        let until = Instant::now() + wait;
        let answer = async {
            // An error is an ICMP message: nothing listens there now, but that may change.
            while let Ok(length) = socket.recv(&mut buffer).await {
                if let Some(answer) = read(&buffer[..length]) {
                    return Some(answer);
                }
            }
            None
        };
        // Around all of it: whoever sends without end is not waited for.
        if let Ok(Some(answer)) = timeout_at(until, answer).await {
            return Some(answer);
        }
        tokio::time::sleep_until(until).await;
    }
    None
}

/// Finds a router that maps ports by UPnP.
pub(super) async fn search(local: Ipv4Addr) -> Option<upnp::Service> {
    let socket = UdpSocket::bind((local, 0)).await.ok()?;
    for target in upnp::TARGETS {
        let search = upnp::search(target);
        socket
            .send_to(search.as_bytes(), upnp::MULTICAST)
            .await
            .ok()?;
    }
    timeout(SEARCH + HTTP, first_service(&socket)).await.ok()
}

/// The service of the first router that answers.
async fn first_service(socket: &UdpSocket) -> upnp::Service {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let Ok((length, SocketAddr::V4(from))) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        // Other devices answer, too.
        let Some((at, path)) = upnp::location(&buffer[..length], *from.ip()) else {
            continue;
        };
        if let Some(description) = get(at, &path).await
            && let Some(service) = upnp::service(&description, at)
        {
            return service;
        }
    }
}

/// Why a router does not carry out an action of UPnP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it does not answer")]
    Silent,
    #[error("UPnP error {0}")]
    Code(u32),
    #[error("HTTP status {0}")]
    Status(u16),
}

/// Carries out an action of the service; the text of the answer.
pub(super) async fn act(
    service: &upnp::Service,
    action: &str,
    envelope: String,
) -> Result<String, Fault> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(&service.path)
        .header(CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
        .header("SOAPAction", format!("\"{}#{action}\"", service.kind));
    let (status, text) = exchange(service.at, request, envelope)
        .await
        .ok_or(Fault::Silent)?;
    match upnp::error_code(&text) {
        _ if status.is_success() => Ok(text),
        Some(code) => Err(Fault::Code(code)),
        None => Err(Fault::Status(status.as_u16())),
    }
}

async fn get(at: SocketAddrV4, path: &str) -> Option<String> {
    let asked = exchange(at, Request::builder().uri(path), String::new()).await;
    let (status, text) = asked?;
    status.is_success().then_some(text)
}

async fn exchange(
    at: SocketAddrV4,
    request: hyper::http::request::Builder,
    body: String,
) -> Option<(StatusCode, String)> {
    let request = request
        .header(HOST, at.to_string())
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .ok()?;
    let exchanging = async {
        let stream = TokioIo::new(TcpStream::connect(at).await.ok()?);
        let (mut sender, connection) = http1::handshake(stream).await.ok()?;
        let answering = async move {
            let response = sender.send_request(request).await.ok()?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_BODY);
            let bytes = body.collect().await.ok()?.to_bytes();
            Some((status, String::from_utf8_lossy(&bytes).into_owned()))
        };
        let (answer, _) = tokio::join!(answering, connection);
        answer
    };
    timeout(HTTP, exchanging).await.ok().flatten()
}
