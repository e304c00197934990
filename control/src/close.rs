//! Why this side closes a connection: QUIC application error codes (RFC 9000 §20.2), for clients and relays to match on.

use quinn::{Connection, VarInt};

use crate::metrics::connections::Closed;

/// A code and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    code: u32,
    reason: &'static str,
    counted_as: Option<Closed>,
}

/// The server is going away.
pub const GOING_AWAY: Close = Close::new(1, "the server is going away");
/// The connection went on asking after it had been refused often.
pub const FLOODED: Close = Close::new(2, "too many requests").counted(Closed::Flooded);
/// The client does not read its events or answers.
pub const TOO_SLOW: Close = Close::new(
    3,
    "events or answers were not read: connect again and resume",
)
.counted(Closed::TooSlow);
/// `hello` did not come in time.
pub const NO_HELLO: Close = Close::new(4, "no hello").counted(Closed::NoHello);
/// The place was needed for somebody who came later.
pub const EVICTED: Close = Close::new(
    5,
    "too many connections that are not signed in: connect again and sign in",
)
.counted(Closed::Evicted);
/// No certificate of the cluster CA that names a relay or a node.
pub const NOT_A_RELAY: Close = Close::new(6, "no relay's or node's certificate of this cluster")
    .counted(Closed::NoCertificate);
/// The relay broke the protocol, fell silent or was replaced by a newer link.
pub const BAD_LINK: Close = Close::new(7, "the link is over");
/// The relay's identity is revoked: it needs a new one.
pub const REVOKED: Close = Close::new(8, "this identity is revoked: make a new one");
/// Nobody signed in in time.
pub const NOT_SIGNED_IN: Close =
    Close::new(9, "nobody signed in: connect again and do").counted(Closed::NotSignedIn);
/// The identity has as many links as it may have.
pub const TOO_MANY_LINKS: Close = Close::new(10, "too many links of this identity: end some");

impl Close {
    const fn new(code: u32, reason: &'static str) -> Self {
        Self {
            code,
            reason,
            counted_as: None,
        }
    }

    const fn counted(self, closed: Closed) -> Self {
        Self {
            counted_as: Some(closed),
            ..self
        }
    }

    /// The code on the wire.
    pub const fn code(self) -> VarInt {
        VarInt::from_u32(self.code)
    }

    /// The reason on the wire.
    pub const fn reason(self) -> &'static [u8] {
        self.reason.as_bytes()
    }

    /// How figures call it, if they do.
    pub const fn counted_as(self) -> Option<Closed> {
        self.counted_as
    }

    /// Closes the connection for this reason.
    pub fn close(self, connection: &Connection) {
        connection.close(self.code(), self.reason());
    }
}
