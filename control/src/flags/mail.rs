//! Flags of mail.

use std::net::SocketAddr;

use clap::Args;
use confab_protocol::control::server::Server;

use crate::mail::target::{MailSender, MailTarget, SmtpUrl};
use crate::tls::authority::host_name;

/// Flags of `serve` for mail.
#[derive(Args, Debug)]
pub struct MailFlags {
    /// Mail server that takes this server's letters: codes by which addresses are verified and lost passwords reset.
    /// `smtps://USER:PASSWORD@HOST`, `smtp://USER:PASSWORD@HOST?tls=required` for STARTTLS, or `smtp://localhost` for one on this machine.
    /// Better in a file: CONFAB_CONTROL_SMTP_URL_FILE. Default: no mail is sent, and only you reset passwords.
    #[arg(
        long,
        value_name = "URL",
        requires = "mail_from",
        hide_env_values = true
    )]
    pub smtp_url: Option<SmtpUrl>,

    /// Address that the letters come from, as `confab@example.org` or `Confab <confab@example.org>`.
    #[arg(long, value_name = "ADDRESS", requires = "smtp_url")]
    pub mail_from: Option<MailSender>,
}

impl MailFlags {
    /// The mail server. Letters name this server by the first of `names`, or else by the machine's name, with the port of `listen`.
    pub(super) fn target(&self, names: &[String], listen: SocketAddr) -> Option<MailTarget> {
        let (url, from) = self.smtp_url.clone().zip(self.mail_from.clone())?;
        let host = names.first().cloned().or_else(host_name);
        let server = Server {
            host: host.unwrap_or_else(|| "localhost".to_owned()),
            port: listen.port(),
        };
        Some(MailTarget {
            url,
            from,
            server: server.short(),
        })
    }
}
