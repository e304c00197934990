//! The QUIC settings of the server's endpoint.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hkdf::Prk;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    BloomTokenLog, IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
};

use crate::api::windows::Windows;
use crate::hkdf;

/// QUIC idle timeout.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// QUIC keep-alive interval.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Flow-control window of a stream: one request and its length, with a margin. It also limits a relay's stream.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Maximum number of incoming handshakes that wait to be accepted; more are ignored, and the clients retransmit.
const MAX_INCOMING: usize = 1024;
/// Maximum of buffered bytes of one waiting handshake, and of all.
const INCOMING_BUFFER: u64 = 16 * 1024;
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;
/// Lifetime of address validation tokens for later connections (RFC 9000 §8.1.3). Each is valid once at each node.
const TOKEN_LIFETIME: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// Tokens sent to a client on a connection: one for its next connection and one for another node.
const TOKENS_SENT: u32 = 2;
/// Memory of the log of used tokens, and the number of tokens expected within [`TOKEN_LIFETIME`].
const TOKEN_LOG_BYTES: usize = 16 * 1024 * 1024;
const TOKENS_EXPECTED: u64 = 4_000_000;
const TOKEN_KEY_SALT: &[u8] = b"confab address proofs v1";

/// Derives the key of address validation tokens from the cluster's key, so that all nodes accept each other's tokens.
pub fn address_token_key(key: &[u8; 32]) -> Arc<Prk> {
    Arc::new(hkdf::extract(TOKEN_KEY_SALT, key))
}

/// The settings of the endpoint. Every connection begins with the limits of a client that is not signed in.
pub fn server_config(tls: QuicServerConfig, token_key: Arc<Prk>) -> ServerConfig {
    let windows = Windows::UNAUTHENTICATED;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(windows.requests))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(windows.receive))
        .send_window(windows.send.into());
    let mut given = ValidationTokenConfig::default();
    given
        .lifetime(TOKEN_LIFETIME)
        .log(Arc::new(BloomTokenLog::new_expected_items(
            TOKEN_LOG_BYTES,
            TOKENS_EXPECTED,
        )))
        .sent(TOKENS_SENT);
    let mut config = ServerConfig::new(Arc::new(tls), token_key);
    config
        .transport_config(Arc::new(transport))
        .validation_token_config(given)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS);
    config
}
