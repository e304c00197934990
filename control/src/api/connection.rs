//! The connection of one client: its requests, their rate and its events.

use std::sync::Arc;
use std::time::Duration;

use confab_protocol::control::Refusal;
use confab_protocol::control::framing::{self, StreamKind};
use confab_protocol::wire::{self, response};
use quinn::{Connection, RecvStream, SendStream};
use tokio::task::JoinSet;

use super::answer::{NotRead, PendingAnswer};
use super::client::Client;
use super::windows::Windows;
use super::{Services, dispatch, request};
use crate::client_queues::{Overflow, QueueReader, Queued, client_queues};
use crate::clients::ConnectionState;
use crate::close::{self, Close};
use crate::source::Source;
use crate::store::turns;

/// Time limit for hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// Time limit for sign-in, from the start of the connection or from the last sign-out.
const SIGN_IN_DEADLINE: Duration = Duration::from_secs(30);
/// Time limit for a client to read an event or a group message.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// Serves a client's connection until it ends, then waits for its requests. A request that was read whole is carried out, because
/// other participants must learn its result. The client's participants stay in their rooms.
pub async fn serve(connection: Connection, source: Source, services: Arc<Services>) {
    let (sink, queued) = client_queues();
    let Some(entry) = services.clients.enter(source, sink.events.clone()) else {
        return end(&services, &connection, close::EVICTED);
    };
    let client = Arc::new(Client::new(
        connection.clone(),
        source,
        services,
        (entry, sink),
    ));
    tracing::debug!(client = client.entry.id, "client connected");
    let mut requests = JoinSet::new();
    let why = tokio::select! {
        why = take_requests(&client, &mut requests) => why,
        why = send_stream(&connection, StreamKind::Events, queued.events) => why,
        why = send_stream(&connection, StreamKind::Group, queued.group) => why,
        why = expect_hello(&client) => Some(why),
        why = expect_sign_in(&client) => Some(why),
    };
    client.tell_rooms_of_end();
    // No further requests are accepted; incomplete ones are dropped.
    end(
        &client.services,
        &connection,
        why.unwrap_or(close::GOING_AWAY),
    );
    while requests.join_next().await.is_some() {}
    tracing::debug!(client = client.entry.id, "client gone");
}

/// Closes the connection if it is open.
fn end(services: &Services, connection: &Connection, why: Close) {
    if connection.close_reason().is_none() {
        why.close(connection);
        if let Some(closed) = why.counted_as() {
            services.metrics.connections.closes.count(closed);
        }
    }
}

/// Accepts requests until the connection is closed or must be closed.
async fn take_requests(client: &Arc<Client>, requests: &mut JoinSet<()>) -> Option<Close> {
    loop {
        tokio::select! {
            stream = client.connection.accept_bi() => {
                let (send, receive) = stream.ok()?;
                if client.floods() {
                    tracing::info!(client = client.entry.id, "closing a client that exceeds its request rate");
                    return Some(close::FLOODED);
                }
                requests.spawn(serve_request(send, receive, client.clone()));
            }
            Some(_) = requests.join_next() => {}
        }
    }
}

async fn serve_request(mut send: SendStream, mut receive: RecvStream, client: Arc<Client>) {
    let kind = match answer(&mut receive, &client).await {
        Ok(kind) => kind,
        Err(refusal) => response::Kind::Error(refusal.into()),
    };
    let bytes = framing::encode(&wire::Response { kind: Some(kind) });
    let share = client.entry.share().map(|(_, share)| share);
    let account = share.as_ref().map(|share| &share.unread);
    let given = match PendingAnswer::new(bytes, &client.unread, account) {
        Ok(waiting) => waiting.send_to(&mut send).await,
        Err(not_read) => Err(not_read),
    };
    if let Err(NotRead) = given {
        tracing::info!(
            client = client.entry.id,
            "closing a client that does not read its responses"
        );
        end(&client.services, &client.connection, close::TOO_SLOW);
    }
}

async fn answer(receive: &mut RecvStream, client: &Arc<Client>) -> Result<response::Kind, Refusal> {
    client.admit()?;
    let request = request::read(receive, client).await?;
    // Boxed, so that each stream's task does not have the size of the largest request's future.
    let dispatched = Box::pin(dispatch::dispatch(client, request));
    match client.entry.share() {
        Some((_, share)) => turns::within(share.statements.clone(), dispatched).await,
        None => dispatched.await,
    }
}

/// Sends all items of a queue on one stream, opened with the first. Returns when the connection is closed or must be closed.
async fn send_stream<T: Queued>(
    connection: &Connection,
    kind: StreamKind,
    mut queue: QueueReader<T>,
) -> Option<Close> {
    let mut stream: Option<SendStream> = None;
    loop {
        let item = match queue.next().await {
            Ok(Some(item)) => item,
            Ok(None) => return std::future::pending().await,
            Err(Overflow) => return Some(close::TOO_SLOW),
        };
        let sending = async {
            let stream = match &mut stream {
                Some(stream) => stream,
                None => {
                    let mut opened = connection.open_uni().await.ok()?;
                    opened.write_all(&[kind.to_byte()]).await.ok()?;
                    stream.insert(opened)
                }
            };
            for piece in item.into_pieces() {
                stream.write_chunk(piece).await.ok()?;
            }
            Some(())
        };
        tokio::select! {
            sent = tokio::time::timeout(READ_DEADLINE, sending) => match sent {
                Ok(Some(())) => {}
                // The client has stopped the stream or has disconnected.
                Ok(None) | Err(_) => return Some(close::TOO_SLOW),
            },
            Overflow = queue.overflowed() => return Some(close::TOO_SLOW),
        }
    }
}

/// Resolves if hello does not come in time.
async fn expect_hello(client: &Client) -> Close {
    let greeted = client.greeted.notified();
    match tokio::time::timeout(HELLO_DEADLINE, greeted).await {
        Ok(()) => std::future::pending().await,
        Err(_) => close::NO_HELLO,
    }
}

/// Resolves if the client does not sign in in time, or if its slot is given to a newer connection. Also sets the flow-control
/// limits whenever the client signs in or out.
async fn expect_sign_in(client: &Client) -> Close {
    let mut connection_state = client.entry.connection_state();
    loop {
        // The sender lives as long as the entry, which this client owns.
        let now = connection_state.borrow_and_update().clone();
        match now {
            ConnectionState::Unauthenticated(slot) => tokio::select! {
                () = tokio::time::sleep(SIGN_IN_DEADLINE) => return close::NOT_SIGNED_IN,
                () = slot.evicted() => return close::EVICTED,
                _ = connection_state.changed() => {}
            },
            ConnectionState::SignedIn => {
                Windows::SIGNED_IN.set(&client.connection);
                let _ = connection_state.changed().await;
                Windows::UNAUTHENTICATED.set(&client.connection);
            }
            ConnectionState::WithoutSlot => return close::EVICTED,
        }
    }
}
