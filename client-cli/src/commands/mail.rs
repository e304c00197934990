//! Operations on e-mail addresses: verify and change the account's, and reset a lost password by mail.

use confab_protocol::control::{Device, Email};
use confab_protocol::wire::{self, request::Kind};

use super::context::Context;
use super::done::Done;
use super::{account, meet, password};
use crate::failure::Failure;
use crate::flags::{ChangeEmail, ResetPassword, VerifyEmail};
use crate::net::Link;
use crate::net::sign_in::Access;
use crate::stderr::print_on_stderr;

pub(super) async fn verify(context: &Context, flags: VerifyEmail) -> Result<(), Failure> {
    let code = match flags.code {
        Some(code) => code,
        None => {
            let (_, link) = context.signed_in().await?;
            let email = link.who_am_i().await?.email;
            match mailed_code(link, &email, false).await? {
                Mailed::Typed(code) => code,
                Mailed::Sent(sent) => {
                    let text = format!("{sent}: confab verify-email CODE");
                    context.output.print(&Done::new("code_sent", text));
                    return Ok(());
                }
            }
        }
    };
    let report = async |_: &_, link: &Link| {
        let verify = wire::VerifyEmail { code };
        link.done(Kind::VerifyEmail(verify)).await?;
        let text = "the e-mail address is verified: a lost password can be reset by mail";
        Ok(Done::new("email_verified", text))
    };
    context.signed_in_report(report).await
}

pub(super) async fn change(context: &Context, flags: ChangeEmail) -> Result<(), Failure> {
    if flags.remove && flags.email.is_some() {
        return Err(Failure::usage("give another address or --remove, not both"));
    }
    let new = flags
        .email
        .as_deref()
        .map(str::parse::<Email>)
        .transpose()?;
    meet::session(context, &flags.password, password::CURRENT).await?;
    let code = match flags.code {
        Some(code) => code,
        None => match code_for_change(context).await? {
            None => String::new(),
            Some(Mailed::Typed(code)) => code,
            Some(Mailed::Sent(sent)) => {
                let new = new.as_ref().map_or("--remove", Email::as_str);
                let text = format!("{sent}: confab change-email {new} --code CODE");
                context.output.print(&Done::new("code_sent", text));
                return Ok(());
            }
        },
    };
    let password = password::current(&flags.password).await?;
    let report = async |_: &Access, link: &Link| {
        let email = new.as_ref().map_or("", Email::as_str);
        let change = wire::ChangeEmail {
            password: password.to_string(),
            email: email.to_owned(),
            code: code.clone(),
        };
        link.done(Kind::ChangeEmail(change)).await?;
        let text = match &new {
            None => "the account has no e-mail address any more".to_owned(),
            Some(_) if link.sends_mail => format!(
                "the account's e-mail address is {email}; `confab verify-email CODE` verifies it, by the code that the server sends there"
            ),
            Some(_) => format!("the account's e-mail address is {email}"),
        };
        Ok(Done::new("email_changed", text))
    };
    context.signed_in_report(report).await
}

/// Has a code sent to the address that the account has, if it is verified there.
async fn code_for_change(context: &Context) -> Result<Option<Mailed>, Failure> {
    let (_, link) = context.signed_in().await?;
    let account = link.who_am_i().await?;
    if !account.email_verified || !link.sends_mail {
        link.close().await;
        return Ok(None);
    }
    Ok(Some(mailed_code(link, &account.email, true).await?))
}

/// A code that was sent to the account's address.
enum Mailed {
    Typed(String),
    /// Nobody is here to type it: the sentence says where it was sent.
    Sent(String),
}

/// Has a code sent to the account's address, which is `email`, and asks for it. No connection stays open while a person looks for the mail.
async fn mailed_code(link: Link, email: &str, for_change: bool) -> Result<Mailed, Failure> {
    let send = wire::SendEmailCode { for_change };
    link.done(Kind::SendEmailCode(send)).await?;
    link.close().await;
    let sent = format!("a code was sent to {email}");
    Ok(match asked(&sent).await? {
        Some(code) => Mailed::Typed(code),
        None => Mailed::Sent(sent),
    })
}

pub(super) async fn reset(context: &Context, flags: ResetPassword) -> Result<(), Failure> {
    let device: Device = flags.device.parse()?;
    let mut access = meet::server(context, &flags.first_sight, &flags.password).await?;
    let name = flags.name;
    let code = match flags.code {
        Some(code) => code,
        None => {
            let link = access.open().await?;
            let send = wire::SendResetCode { name: name.clone() };
            link.done(Kind::SendResetCode(send)).await?;
            link.close().await;
            let sent = format!("if {name} has a verified address, a code was sent to it");
            let Some(code) = asked(&sent).await? else {
                let server = &access.server;
                let text =
                    format!("{sent}: confab --server {server} reset-password {name} --code CODE");
                context.output.print(&Done::new("code_sent", text));
                return Ok(());
            };
            code
        }
    };
    let new = password::chosen(&flags.password).await?;
    let link = access.open().await?;
    let reset = wire::ResetPassword {
        name: name.clone(),
        code,
        new_password: new.reveal().to_owned(),
    };
    link.done(Kind::ResetPassword(reset)).await?;
    let text = "password changed; every session of the account is over";
    context.output.print(&Done::new("password_changed", text));
    let login = wire::Login {
        device_cookie: access.device_cookie(&name).await?,
        name,
        password: new.reveal().to_owned(),
        device: device.into(),
    };
    account::log_in(context, &access, &link, login).await?;
    link.close().await;
    Ok(())
}

/// Asks a person at a terminal for the code; `None` without a terminal.
async fn asked(sent: &str) -> Result<Option<String>, Failure> {
    if !meet::has_person() {
        return Ok(None);
    }
    print_on_stderr(&format!("{sent}. Type it here, when it has come:"));
    let line = meet::read_line().await?;
    match line.trim() {
        "" => Err(Failure::usage(
            "no code was typed: run the command again, with the code of the mail",
        )),
        code => Ok(Some(code.to_owned())),
    }
}
