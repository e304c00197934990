//! The QUIC settings of the server's endpoint.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hkdf;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    BloomTokenLog, IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt,
};

use crate::api::windows::Windows;

/// A connection on which nothing was heard for so long is over.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// This side sends something at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// What a peer may send on one stream before it is read: a request and its length, with room to spare. A relay's stream
/// is served by the same limit, in turns.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Handshakes that wait to be looked at; what comes beyond is not answered, and comes again.
const MAX_INCOMING: usize = 1024;
/// Bytes that come with a handshake that waits to be looked at: one's, and all.
const INCOMING_BUFFER: u64 = 16 * 1024;
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;
/// A proof of an address, for those who return, is good for so long (RFC 9000 §8.1.3), once at each node.
const TOKEN_LIFETIME: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// Proofs that a client is given with a connection: one for the next, and one for another node.
const TOKENS_SENT: u32 = 2;
/// Memory for the proofs that were used, and how many there are expected to be within [`TOKEN_LIFETIME`].
const TOKEN_LOG_BYTES: usize = 16 * 1024 * 1024;
const TOKENS_EXPECTED: u64 = 4_000_000;
const TOKEN_KEY_SALT: &[u8] = b"confab address proofs v1";

/// Proves to this server later that somebody is at an address. Of the cluster's key, so that all nodes take each other's proofs.
pub fn address_token_key(key: &[u8; 32]) -> Arc<hkdf::Prk> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, TOKEN_KEY_SALT);
    Arc::new(salt.extract(key))
}

/// The endpoint's settings. Every connection begins as a stranger's.
pub fn server_config(tls: QuicServerConfig, token_key: Arc<hkdf::Prk>) -> ServerConfig {
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
