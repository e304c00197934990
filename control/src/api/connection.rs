//! One client's connection: its requests, their rate, and its events.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use confab_protocol::control::framing::{self, Deframer, FrameError};
use confab_protocol::control::{ErrorCode, MAX_REQUEST, REQUEST_TIMEOUT_SECONDS, Refusal};
use confab_protocol::wire::{self, request, response};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::clients::Entry;
use super::{close, dispatch};
use crate::Server;
use crate::accounts::limits::Source;
use crate::events::{EventSink, EventSource, Overflow, event_queue};
use crate::throttle::{Bucket, Rate};

/// Requests of one connection.
const RATE: Rate = Rate {
    burst: 100.0,
    per_second: 50.0,
};
/// A connection that was refused for its rate this often is closed.
const MAX_REFUSED: u32 = 500;
/// `hello` has to have come by then.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A request has to be whole by then.
const REQUEST_DEADLINE: Duration = Duration::from_secs(REQUEST_TIMEOUT_SECONDS);
/// An answer has to be taken by then.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(30);

/// A connected client.
pub struct Client {
    /// What it can ask.
    pub server: Arc<Server>,
    /// Where it comes from.
    pub source: Source,
    /// Its place among the clients.
    pub entry: Entry,
    /// Where its events go.
    pub events: EventSink,
    /// The version that it speaks, once it has said hello.
    pub version: OnceLock<u32>,
    greeted: Notify,
    rate: Mutex<Bucket>,
    refused: AtomicU32,
}

/// Serves a client's connection to its end. Its participants stay in their rooms.
pub async fn serve(connection: Connection, source: Source, server: Arc<Server>) {
    let (sink, events) = event_queue();
    let client = Arc::new(Client {
        entry: server.clients.enter(sink.clone()),
        server,
        source,
        events: sink,
        version: OnceLock::new(),
        greeted: Notify::new(),
        rate: Mutex::new(Bucket::new(RATE, Instant::now())),
        refused: AtomicU32::new(0),
    });
    tracing::debug!(client = client.entry.id, "client connected");
    tokio::select! {
        () = take_requests(&connection, &client) => {}
        () = send_events(&connection, events) => {}
        () = expect_hello(&client) => close::NO_HELLO.close(&connection),
    }
    tracing::debug!(client = client.entry.id, "client gone");
}

impl Client {
    /// `hello` has come; true when it is the first.
    pub fn greet(&self, version: u32) -> bool {
        let first = self.version.set(version).is_ok();
        self.greeted.notify_one();
        first
    }

    /// Takes a request's token, or refuses it.
    fn admit(&self) -> Result<(), Refusal> {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.take(Instant::now()).map_err(|wait| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Refusal::new(ErrorCode::Throttled, "too many requests: slow down").after(wait)
        })
    }
}

async fn take_requests(connection: &Connection, client: &Arc<Client>) {
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, recv)) = stream else {
                    // What was asked for is done to its end: others have to hear of it.
                    requests.detach_all();
                    return;
                };
                if client.refused.load(Ordering::Relaxed) >= MAX_REFUSED {
                    tracing::info!(client = client.entry.id, "a client that floods is closed");
                    close::FLOODED.close(connection);
                    requests.detach_all();
                    return;
                }
                requests.spawn(serve_request(send, recv, client.clone()));
            }
            Some(_) = requests.join_next() => {}
        }
    }
}

async fn serve_request(mut send: SendStream, mut recv: RecvStream, client: Arc<Client>) {
    let kind = match answer(&mut recv, &client).await {
        Ok(kind) => kind,
        Err(refusal) => response::Kind::Error(refusal.into()),
    };
    let bytes = framing::encode(&wire::Response { kind: Some(kind) });
    let sending = async {
        // A client that has gone needs no answer.
        if send.write_chunk(bytes).await.is_ok() {
            let _ = send.finish();
        }
    };
    let _ = tokio::time::timeout(RESPONSE_DEADLINE, sending).await;
}

async fn answer(recv: &mut RecvStream, client: &Arc<Client>) -> Result<response::Kind, Refusal> {
    client.admit()?;
    let request = tokio::time::timeout(REQUEST_DEADLINE, read(recv)).await;
    let request = request.map_err(|_| malformed("the request did not come in time"))??;
    // Boxed: the largest request's future would else stand in every stream's task.
    Box::pin(dispatch::dispatch(client, request)).await
}

async fn read(recv: &mut RecvStream) -> Result<request::Kind, Refusal> {
    let mut deframer = Deframer::new(MAX_REQUEST);
    loop {
        match deframer.next::<wire::Request>() {
            Ok(Some(request)) => {
                deframer
                    .finish()
                    .map_err(|_| malformed("one request to a stream"))?;
                // Takes the end of the stream in when it is there already, so that it is not answered by STOP_SENDING.
                let _ = tokio::time::timeout(Duration::ZERO, recv.read_chunk(1, true)).await;
                return request.kind.ok_or_else(|| {
                    Refusal::new(
                        ErrorCode::UnknownRequest,
                        "this server does not know this request: it may be older than the client",
                    )
                });
            }
            Ok(None) => {}
            Err(FrameError::TooLarge { limit, .. }) => {
                let message = format!("a request has {limit} bytes at most");
                return Err(Refusal::new(ErrorCode::TooLarge, message));
            }
            Err(error) => return Err(malformed(&error.to_string())),
        }
        match recv.read_chunk(MAX_REQUEST, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Err(malformed("the stream ended before the request was whole")),
            Err(_) => return Err(malformed("the stream was reset")),
        }
    }
}

/// One stream for all events, opened with the first.
async fn send_events(connection: &Connection, mut events: EventSource) {
    let mut stream: Option<SendStream> = None;
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return std::future::pending().await,
            Err(Overflow) => return close::TOO_SLOW.close(connection),
        };
        if stream.is_none() {
            stream = tokio::select! {
                opened = connection.open_uni() => opened.ok(),
                _ = events.overflowed() => return close::TOO_SLOW.close(connection),
            };
        }
        let Some(stream) = &mut stream else {
            return;
        };
        tokio::select! {
            written = stream.write_chunk(event) => if written.is_err() {
                return;
            },
            _ = events.overflowed() => return close::TOO_SLOW.close(connection),
        }
    }
}

/// Resolves when the client has not said hello in time.
async fn expect_hello(client: &Client) {
    if tokio::time::timeout(HELLO_DEADLINE, client.greeted.notified())
        .await
        .is_ok()
    {
        std::future::pending::<()>().await;
    }
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(
        ErrorCode::Malformed,
        format!("the request cannot be read: {why}"),
    )
}
