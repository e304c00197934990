//! Counters of handshakes, refused requests and closed connections.

use super::tally::{Label, Tally};

/// Handshakes by outcome.
pub type Handshakes = Tally<HandshakeOutcome>;
/// Refused requests by limit.
pub type Refusals = Tally<Limit>;
/// Connections closed by this side, by reason.
pub type Closes = Tally<Closed>;

/// The outcome of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeOutcome {
    /// Admitted.
    Admitted,
    /// Answered by a Retry, to validate the address.
    Retried,
    /// Refused: the source exceeds its rate.
    Refused,
    /// Evicted by a newer handshake.
    Evicted,
    /// Failed, or exceeded its time limit.
    Failed,
}

impl Label for HandshakeOutcome {
    const NAME: &'static str = "verdict";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Admitted, "admitted"),
        (Self::Retried, "retried"),
        (Self::Refused, "refused"),
        (Self::Evicted, "crowded_out"),
        (Self::Failed, "failed"),
    ];
}

/// The limit for which a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Requests of a connection that is not signed in.
    RequestsUnauthenticated,
    /// Requests of an account.
    RequestsOfAccount,
    /// Unfinished requests of an account.
    UnfinishedOfAccount,
    /// Password checks from a source.
    SignInsOfSource,
    /// Password checks from a known device.
    SignInsOfDevice,
    /// Password attempts at an account.
    PasswordsOfAccount,
    /// Letters to an account, or from a source.
    Mails,
    /// Passwords waiting to be hashed.
    PasswordQueue,
    /// Connections of an account.
    ConnectionsOfAccount,
    /// Bytes of group messages of a connection.
    GroupBytesOfConnection,
    /// Signed-in connections of the node.
    Connections,
}

impl Label for Limit {
    const NAME: &'static str = "limit";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::RequestsUnauthenticated, "requests_of_stranger"),
        (Self::RequestsOfAccount, "requests_of_account"),
        (Self::UnfinishedOfAccount, "unfinished_of_account"),
        (Self::SignInsOfSource, "sign_ins_of_source"),
        (Self::SignInsOfDevice, "sign_ins_of_device"),
        (Self::PasswordsOfAccount, "passwords_of_account"),
        (Self::Mails, "mails"),
        (Self::PasswordQueue, "password_queue"),
        (Self::ConnectionsOfAccount, "connections_of_account"),
        (Self::GroupBytesOfConnection, "group_bytes_of_connection"),
        (Self::Connections, "connections"),
    ];
}

/// The reason of a close by this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The client exceeded its request rate too often.
    Flooded,
    /// The client did not read its events or responses.
    TooSlow,
    /// No hello in time.
    NoHello,
    /// No sign-in in time.
    NotSignedIn,
    /// Evicted by a newer connection.
    Evicted,
    /// The certificate names no relay, node or operator.
    NoCertificate,
}

impl Label for Closed {
    const NAME: &'static str = "reason";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Flooded, "flooded"),
        (Self::TooSlow, "too_slow"),
        (Self::NoHello, "no_hello"),
        (Self::NotSignedIn, "not_signed_in"),
        (Self::Evicted, "crowded_out"),
        (Self::NoCertificate, "no_certificate"),
    ];
}

/// The counters. Clones share state.
#[derive(Clone, Default)]
pub struct ConnectionCounters {
    /// Handshakes by outcome.
    pub handshakes: Handshakes,
    /// Refused requests by limit.
    pub refusals: Refusals,
    /// Connections closed by this side, by reason.
    pub closes: Closes,
}
