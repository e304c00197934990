//! Flow-control limits of one connection.

use quinn::{Connection, VarInt};

/// Maximum number of concurrent requests of a signed-in client.
const REQUESTS_AT_ONCE: u32 = 32;

/// Flow-control limits of one connection.
#[derive(Clone, Copy)]
pub struct Windows {
    pub requests: u32,
    /// Bytes that the peer may send on all streams before they are read.
    pub receive: u32,
    /// Bytes that this side buffers until the peer acknowledges them.
    pub send: u32,
}

impl Windows {
    /// A client that is not signed in.
    pub const UNAUTHENTICATED: Self = Self {
        requests: 2,
        receive: 32 * 1024,
        send: 32 * 1024,
    };
    /// A signed-in client.
    pub const SIGNED_IN: Self = Self {
        requests: REQUESTS_AT_ONCE,
        receive: 512 * 1024,
        send: 256 * 1024,
    };
    /// A link of a relay or a node.
    pub const LINK: Self = Self {
        requests: REQUESTS_AT_ONCE,
        receive: 512 * 1024,
        send: 2 * 1024 * 1024,
    };

    /// Applies the limits to the connection. Data allowed before may still arrive.
    pub fn set(self, connection: &Connection) {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(self.requests));
        connection.set_receive_window(VarInt::from_u32(self.receive));
        connection.set_send_window(self.send.into());
    }
}
