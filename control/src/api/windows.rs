//! How much one connection may have under way.

use quinn::{Connection, VarInt};

/// Requests that a signed-in client may have under way.
const REQUESTS_AT_ONCE: u32 = 32;
/// What one connection may have under way.
#[derive(Clone, Copy)]
pub struct Windows {
    pub requests: u32,
    /// Bytes that the peer may send on all of its streams before they are read.
    pub receive: u32,
    /// Bytes that this side keeps until the peer has acknowledged them.
    pub send: u32,
}

impl Windows {
    /// Nobody is signed in.
    pub const UNAUTHENTICATED: Self = Self {
        requests: 2,
        receive: 32 * 1024,
        send: 32 * 1024,
    };
    /// Somebody is signed in.
    pub const SIGNED_IN: Self = Self {
        requests: REQUESTS_AT_ONCE,
        receive: 512 * 1024,
        send: 256 * 1024,
    };
    /// A relay or a node.
    pub const LINK: Self = Self {
        requests: REQUESTS_AT_ONCE,
        receive: 512 * 1024,
        send: 2 * 1024 * 1024,
    };

    /// Holds for the connection from now on. What was allowed before may still come.
    pub fn set(self, connection: &Connection) {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(self.requests));
        connection.set_receive_window(VarInt::from_u32(self.receive));
        connection.set_send_window(self.send.into());
    }
}
