//! The mail server, and the address that letters come from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use hyper::Uri;
use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use zeroize::Zeroizing;

use crate::random;

/// The connection to a mail server.
pub(super) type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Time for a connection, and for each answer of the mail server.
const DEADLINE: Duration = Duration::from_secs(20);

/// Where letters are handed in, and how they are signed.
#[derive(Clone, Debug)]
pub struct MailTarget {
    pub url: SmtpUrl,
    /// The address that they come from.
    pub from: MailSender,
    /// The server's name or address for people, with its port unless it is the usual one. In the text.
    pub server: String,
}

/// The URL of a mail server, with the password of its user. `Debug` hides it.
#[derive(Clone)]
pub struct SmtpUrl(Zeroizing<String>);

/// The address that letters come from, as `Confab <confab@example.org>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailSender(pub(super) Mailbox);

/// Text that is no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error(
        "give a URL as smtps://USER:PASSWORD@mail.example.org, or smtp://USER:PASSWORD@mail.example.org?tls=required for STARTTLS; \
         characters such as @ and / in the password are written as %40 and %2F"
    )]
    Url,
    #[error(
        "without TLS codes would cross the network in the clear: write smtps://…, or smtp://…?tls=required; smtp:// alone is for a mail server \
         on this machine"
    )]
    Plain,
    #[error("give a sender as confab@example.org, or 'Confab <confab@example.org>'")]
    Sender,
}

impl MailTarget {
    /// The id of a new letter, in the sender's domain (RFC 5322, section 3.6.4).
    pub(super) fn message_id(&self) -> String {
        let id = HEXLOWER.encode(&random::bytes::<16>());
        format!("<{id}@{}>", self.from.0.email.domain())
    }
}

impl FromStr for SmtpUrl {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let text = text.trim();
        let uri: Uri = text.parse().map_err(|_| BadTarget::Url)?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or(BadTarget::Url)?;
        match (uri.scheme_str(), uri.query()) {
            (Some("smtps"), None) | (Some("smtp"), Some("tls=required")) => {}
            (Some("smtp"), None) if is_here(host) => {}
            (Some("smtp"), None | Some("tls=opportunistic")) => return Err(BadTarget::Plain),
            _ => return Err(BadTarget::Url),
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// True for names and addresses of this machine.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>();
    bare == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl SmtpUrl {
    /// The mail server's host and port, without the password.
    pub fn shown(&self) -> String {
        let uri: Option<Uri> = self.0.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let port = uri.as_ref().and_then(Uri::port_u16);
        port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// A connection, which is opened when a letter is sent. `server` is this server's name, with or without a port: it greets by it.
    pub(super) fn transport(&self, server: &str) -> Result<Transport, smtp::Error> {
        let mut builder = Transport::from_url(&self.0)?;
        let host = server.split(':').next().unwrap_or_default();
        if host.contains('.') && host.parse::<IpAddr>().is_err() {
            builder = builder.hello_name(ClientId::Domain(host.to_owned()));
        }
        Ok(builder.timeout(Some(DEADLINE)).build())
    }

    /// Connects as `server`, and logs in.
    ///
    /// # Errors
    ///
    /// The mail server cannot be reached, or refuses.
    pub async fn try_out(&self, server: &str) -> Result<(), smtp::Error> {
        self.transport(server)?.test_connection().await.map(drop)
    }
}

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpUrl({})", self.shown())
    }
}

impl FromStr for MailSender {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let mailbox = text.trim().parse().map_err(|_| BadTarget::Sender)?;
        Ok(Self(mailbox))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A connection belongs to a runtime.
    #[tokio::test]
    async fn a_url_says_how_the_mail_server_is_reached_and_never_without_tls_over_a_network() {
        for good in [
            "smtps://mail.example.org",
            "smtps://ann:se%40cret@mail.example.org:2465",
            "smtp://ann:secret@mail.example.org?tls=required",
            "smtp://ann:secret@mail.example.org:2587/?tls=required",
            "smtp://localhost",
            "smtp://127.0.0.1:2525",
            "smtp://[::1]:2525",
        ] {
            let url: SmtpUrl = good
                .parse()
                .unwrap_or_else(|error| panic!("{good}: {error}"));
            assert!(url.transport("talk.example.org:99").is_ok(), "{good}");
            assert!(!format!("{url:?}").contains("cret"), "{url:?}");
        }
        for plain in [
            "smtp://mail.example.org",
            "smtp://192.0.2.1:25",
            "smtp://mail.example.org?tls=opportunistic",
        ] {
            let refused = plain.parse::<SmtpUrl>().map(drop);
            assert_eq!(refused, Err(BadTarget::Plain), "{plain}");
        }
        for bad in [
            "",
            "mail.example.org",
            "https://a.org",
            "smtps://",
            "smtp://localhost?tls=no",
        ] {
            assert_eq!(
                bad.parse::<SmtpUrl>().map(drop),
                Err(BadTarget::Url),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_sender_is_an_address_with_or_without_a_name() {
        for good in ["confab@example.org", "Confab <confab@example.org>"] {
            assert!(good.parse::<MailSender>().is_ok(), "{good}");
        }
        for bad in ["", "confab", "Confab <confab>"] {
            assert_eq!(bad.parse::<MailSender>(), Err(BadTarget::Sender), "{bad}");
        }
    }
}
