//! Requests and responses on streams of a connection.

use std::time::Duration;

use confab_protocol::control::MAX_RESPONSE;
use confab_protocol::control::framing::{Deframer, FrameError, encode};
use confab_protocol::control::text::Shown;
use confab_protocol::wire::{self, request, response};

use crate::net::ApiError;

/// Time limit for requests that a server answers at once.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for a join: after 6 s a server asks the client to try again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit for other requests: the server's own limit, and a margin for password hashing.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn request_in_time(
    connection: quinn::Connection,
    kind: request::Kind,
) -> Result<response::Kind, ApiError> {
    let time_limit = time_limit(&kind);
    let exchange = exchange(&connection, kind);
    let response = tokio::time::timeout(time_limit, exchange).await;
    response.map_err(|_| ApiError::Timeout)?
}

/// The time limit of a request.
fn time_limit(kind: &request::Kind) -> Duration {
    match kind {
        request::Kind::Hello(_)
        | request::Kind::Authenticate(_)
        | request::Kind::LeaveRoom(_)
        | request::Kind::ReportMedia(_)
        | request::Kind::ReportFrames(_) => SHORT_TIMEOUT,
        request::Kind::JoinRoom(_) => JOIN_TIMEOUT,
        _ => RESPONSE_TIMEOUT,
    }
}

async fn exchange(
    connection: &quinn::Connection,
    kind: request::Kind,
) -> Result<response::Kind, ApiError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let request = encode(&wire::Request { kind: Some(kind) });
    // The server may refuse before it has read all; its answer then says more than the failed write.
    let written = send
        .write_all(&request)
        .await
        .map_err(|error| ApiError::Lost(error.to_string()));
    let _ = send.finish();
    match read_response(&mut receive).await {
        Err(ApiError::Lost(_)) => written.and(Err(ApiError::Lost("the stream was reset".into()))),
        answer => answer,
    }
}

async fn read_response(receive: &mut quinn::RecvStream) -> Result<response::Kind, ApiError> {
    let mut deframer = Deframer::new(MAX_RESPONSE);
    loop {
        if let Some(response) = deframer.next::<wire::Response>().map_err(bad_frame)? {
            return match response.kind {
                Some(response::Kind::Error(error)) => Err(ApiError::Refused(error.into())),
                Some(kind) => Ok(kind),
                None => Err(ApiError::Malformed("an answer of an unknown kind")),
            };
        }
        match receive.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => deframer.push(&chunk.bytes),
            Ok(None) => return Err(ApiError::Malformed("an answer cut short")),
            Err(error) => return Err(ApiError::Lost(error.to_string())),
        }
    }
}

pub(super) fn bad_frame(error: FrameError) -> ApiError {
    tracing::debug!(error = %Shown(error), "a message that is not one");
    ApiError::Malformed("a message that is not one")
}
