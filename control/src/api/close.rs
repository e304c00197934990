//! Why this side closes a connection: QUIC application error codes (RFC 9000 §20.2), for clients and relays to match on.

use quinn::{Connection, VarInt};

/// A code and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    code: u32,
    reason: &'static str,
}

/// The server is going away.
pub const GOING_AWAY: Close = Close::new(1, "the server is going away");
/// The connection went on asking after it had been refused often.
pub const FLOODED: Close = Close::new(2, "too many requests");
/// The client does not read its events.
pub const TOO_SLOW: Close = Close::new(3, "events were not read: connect again and resume");
/// `hello` did not come in time.
pub const NO_HELLO: Close = Close::new(4, "no hello");
/// As many connections as there may be.
pub const TOO_MANY: Close = Close::new(5, "too many connections");
/// No certificate of the cluster CA that names a relay or a node.
pub const NOT_A_RELAY: Close = Close::new(6, "no relay's or node's certificate of this cluster");
/// The relay broke the protocol, fell silent or was replaced by a newer link.
pub const BAD_LINK: Close = Close::new(7, "the link is over");
/// The relay's identity is revoked: it needs a new one.
pub const REVOKED: Close = Close::new(8, "this identity is revoked: make a new one");

impl Close {
    const fn new(code: u32, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// The code on the wire.
    pub const fn code(self) -> VarInt {
        VarInt::from_u32(self.code)
    }

    /// The reason on the wire.
    pub const fn reason(self) -> &'static [u8] {
        self.reason.as_bytes()
    }

    /// Closes the connection for this reason.
    pub fn close(self, connection: &Connection) {
        connection.close(self.code(), self.reason());
    }
}
