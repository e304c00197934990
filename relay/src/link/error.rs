//! The reason why a link ended, and the advice for an operator.

use std::io;
use std::sync::Arc;

use confab_protocol::control::framing::FrameError;
use quinn::ConnectionError;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use super::timing::{CONNECT_TIMEOUT, WRITE_TIMEOUT};
use crate::descriptors;
use crate::identity::{CertificateRefusal, Identity, MAKE_ONE, moment};

/// The application error code by which control refuses a relay whose identity is revoked.
const REVOKED: u32 = 8;
/// The same while another relay of the name is linked.
const NAME_IN_USE: u32 = 11;

/// TLS alerts are error codes of QUIC from here on (RFC 9001 §4.8).
const FIRST_ALERT: u64 = 0x100;

/// The reason why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the name does not resolve: {0}")]
    Resolve(io::Error),
    #[error("cannot open a UDP socket for the link: {0}")]
    Socket(io::Error),
    #[error("TLS: {0}")]
    Tls(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    #[error("no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the control node has read nothing for {} s", WRITE_TIMEOUT.as_secs())]
    Stuck,
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("{}", cause(.0))]
    Write(#[from] quinn::WriteError),
    #[error("{}", cause(.0))]
    Read(#[from] quinn::ReadError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the control node closed the link")]
    Closed,
    #[error("the control node chose protocol version {0}, which this relay does not support")]
    Version(u32),
    #[error("the control node's first message is not a hello")]
    NoHello,
}

/// The error's cause, if it has one: a stream says no more than that its connection was lost, and the connection says by what.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().unwrap_or(error).to_string()
}

/// A refusal that lasts until somebody changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Revoked,
    /// Another relay of the same name is linked.
    NameInUse,
}

/// Advice for an operator, beside the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice(String);

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl LinkError {
    /// The cause of the error and its remedy, where they are known. Decides by the TLS alert, by the verifier's recorded
    /// refusal or by error codes.
    pub(super) fn advice(
        &self,
        identity: &Identity,
        refusal: &Arc<CertificateRefusal>,
        now: UnixTime,
    ) -> Option<Advice> {
        if let Some(refused) = refusal.take() {
            return Some(of_control(&refused));
        }
        if let Self::Socket(error) | Self::Resolve(error) = self
            && let Some(advice) = descriptors::advice(error)
        {
            return Some(Advice(advice.to_owned()));
        }
        let connection = self.connection_error()?;
        match self.refusal() {
            Some(Refusal::Revoked) => {
                return Some(Advice(format!("the identity is revoked: {MAKE_ONE}")));
            }
            Some(Refusal::NameInUse) => {
                let advice =
                    format!("each relay has an identity of its own: {MAKE_ONE}, with another name");
                return Some(Advice(advice));
            }
            None => {}
        }
        of_own(tls_alert(connection)?, identity, now)
    }

    /// Why the control node takes no link of this relay, and would not take the next one either.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        let connection = self.connection_error()?;
        if tls_alert(connection) == Some(AlertDescription::CertificateRevoked) {
            return Some(Refusal::Revoked);
        }
        let ConnectionError::ApplicationClosed(close) = connection else {
            return None;
        };
        if close.error_code == REVOKED.into() {
            return Some(Refusal::Revoked);
        }
        (close.error_code == NAME_IN_USE.into()).then_some(Refusal::NameInUse)
    }

    /// True if TLS did not come about, because one of the sides did not take the other's certificate, as an example.
    pub(super) fn is_by_tls(&self) -> bool {
        match self.connection_error() {
            Some(ConnectionError::TransportError(error)) => u64::from(error.code) >= FIRST_ALERT,
            Some(error) => tls_alert(error).is_some(),
            None => false,
        }
    }

    fn connection_error(&self) -> Option<&ConnectionError> {
        match self {
            Self::Connection(error)
            | Self::Write(quinn::WriteError::ConnectionLost(error))
            | Self::Read(quinn::ReadError::ConnectionLost(error)) => Some(error),
            _ => None,
        }
    }
}

/// The TLS alert by which the control node ended the connection.
fn tls_alert(error: &ConnectionError) -> Option<AlertDescription> {
    let ConnectionError::ConnectionClosed(close) = error else {
        return None;
    };
    let alert = u64::from(close.error_code).checked_sub(FIRST_ALERT)?;
    u8::try_from(alert).ok().map(AlertDescription::from)
}

/// Advice about a control node's certificate that this relay has refused.
fn of_control(refused: &CertificateError) -> Advice {
    Advice(match refused {
        CertificateError::ExpiredContext { time, not_after } => {
            let (now, ended) = (moment(*time), moment(*not_after));
            format!(
                "the control node's certificate ended on {ended}, and this machine's clock says {now}: either the clock is \
                 fast by {} at least, or the control node has to be started anew, which renews its certificate",
                ended.until(now)
            )
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let (now, begins) = (moment(*time), moment(*not_before));
            format!(
                "this machine's clock says {now} and is slow by {} at least: the control node's certificate was made after \
                 {begins}. Set the clock",
                now.until(begins)
            )
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the control node's certificate is of another authority than the identity's ca.crt: {MAKE_ONE} of this server"
        ),
        _ => "the server at this address is not a control node of this deployment: check --control"
            .to_owned(),
    })
}

/// Advice about the relay's own certificate, which the control node has refused.
fn of_own(alert: AlertDescription, identity: &Identity, now: UnixTime) -> Option<Advice> {
    match alert {
        AlertDescription::CertificateExpired => Some(Advice(match identity.validity_error(now) {
            Some(validity_error) => validity_error.to_string(),
            None => format!(
                "the time of the relay's identity is over or has not begun by the control node's clock, but not by this \
                 machine's, which says {}: one of the two is wrong",
                moment(now)
            ),
        })),
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::DecryptError => Some(Advice(format!(
            "the identity is of another server's authority: {MAKE_ONE} of this server"
        ))),
        AlertDescription::CertificateRevoked => {
            Some(Advice(format!("the identity is revoked: {MAKE_ONE}")))
        }
        AlertDescription::CertificateRequired
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => Some(Advice(format!(
            "relay.crt is not the certificate of a relay: {MAKE_ONE}"
        ))),
        AlertDescription::NoApplicationProtocol => Some(Advice(
            "the server at this address is not a control node: check --control".to_owned(),
        )),
        _ => None,
    }
}
