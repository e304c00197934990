//! QUIC application error codes with which this side closes connections (RFC 9000 §20.2). Clients and relays match on the code.

use quinn::{Connection, VarInt};

use crate::metrics::connections::Closed;

/// An error code with its reason phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    code: u32,
    reason: &'static str,
    counted_as: Option<Closed>,
}

/// The server shuts down.
pub const GOING_AWAY: Close = Close::new(1, "the server is going away");
/// The client exceeded its request rate too often.
pub const FLOODED: Close = Close::new(2, "too many requests").counted(Closed::Flooded);
/// The client did not read its events or responses.
pub const TOO_SLOW: Close = Close::new(
    3,
    "events or answers were not read: connect again and resume",
)
.counted(Closed::TooSlow);
/// `hello` did not come in time.
pub const NO_HELLO: Close = Close::new(4, "no hello in time").counted(Closed::NoHello);
/// A newer connection took the slot.
pub const EVICTED: Close = Close::new(
    5,
    "too many connections that are not signed in: connect again and sign in",
)
.counted(Closed::Evicted);
/// The peer has no certificate of the cluster CA that names a relay, node or operator.
pub const NOT_A_RELAY: Close = Close::new(6, "no relay's or node's certificate of this cluster")
    .counted(Closed::NoCertificate);
/// The relay violated the protocol, was silent or was replaced by a newer link.
pub const BAD_LINK: Close = Close::new(7, "the link has ended");
/// The peer's identity is revoked.
pub const REVOKED: Close = Close::new(8, "this identity is revoked: make a new one");
/// The client did not sign in in time.
pub const NOT_SIGNED_IN: Close =
    Close::new(9, "no sign-in in time: connect again and sign in").counted(Closed::NotSignedIn);
/// The identity has its maximum of links.
pub const TOO_MANY_LINKS: Close = Close::new(10, "too many links of this identity: end some");

/// Another relay of this name is linked.
pub const NAME_IN_USE: Close = Close::new(11, "another relay uses this name");

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

    /// The label in metrics; `None` if the close is not counted.
    pub const fn counted_as(self) -> Option<Closed> {
        self.counted_as
    }

    /// Closes the connection for this reason, with a more precise phrase.
    pub fn close_saying(self, connection: &Connection, phrase: &str) {
        connection.close(self.code(), phrase.as_bytes());
    }

    /// Closes the connection for this reason.
    pub fn close(self, connection: &Connection) {
        connection.close(self.code(), self.reason());
    }
}
