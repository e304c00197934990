//! What is counted at the door: handshakes, refusals for a limit, connections that were closed.

use super::tally::{Label, Tally};

/// What became of handshakes.
pub type Handshakes = Tally<Handshake>;
/// Requests that were refused for a limit.
pub type Refusals = Tally<Limit>;
/// Connections that this side closed.
pub type Closes = Tally<Closed>;

/// What becomes of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// It may go on.
    Admitted,
    /// The address is to be proved first.
    Retried,
    /// Its source has too many.
    Refused,
    /// It gave way to a newer one.
    Evicted,
    /// It was not over in time, or failed.
    Failed,
}

impl Label for Handshake {
    const NAME: &'static str = "verdict";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Admitted, "admitted"),
        (Self::Retried, "retried"),
        (Self::Refused, "refused"),
        (Self::Evicted, "crowded_out"),
        (Self::Failed, "failed"),
    ];
}

/// For which limit a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Requests of a connection that is not signed in.
    RequestsUnauthenticated,
    /// Requests of an account.
    RequestsOfAccount,
    /// Unfinished requests of an account.
    UnfinishedOfAccount,
    /// Passwords that a source may have checked.
    SignInsOfSource,
    /// Passwords that a device with its cookie may have checked.
    SignInsOfDevice,
    /// Passwords that may be tried for an account.
    PasswordsOfAccount,
    /// Passwords that may wait to be hashed.
    PasswordQueue,
    /// Connections of an account.
    ConnectionsOfAccount,
    /// Connections that are signed in.
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
        (Self::PasswordQueue, "password_queue"),
        (Self::ConnectionsOfAccount, "connections_of_account"),
        (Self::Connections, "connections"),
    ];
}

/// Why this side closed a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// It went on asking after it had been refused often.
    Flooded,
    /// It did not read its events or answers.
    TooSlow,
    /// It did not say hello.
    NoHello,
    /// It did not sign in.
    NotSignedIn,
    /// It gave way to a newer stranger.
    Evicted,
    /// Its certificate lets it in nowhere.
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

/// All of it. Clones share it.
#[derive(Clone, Default)]
pub struct ConnectionCounters {
    /// What became of handshakes.
    pub handshakes: Handshakes,
    /// Requests that were refused for a limit.
    pub refusals: Refusals,
    /// Connections that this side closed.
    pub closes: Closes,
}
