//! Accounts: register, login, logout, whoami, passwd, export, delete.

use confab_protocol::control::{AccountId, Birthday, Device, Email, ErrorCode, Username, text};
use confab_protocol::wire::{self, Role, request::Kind};
use serde::Serialize;

use super::context::Context;
use super::done::Done;
use super::{arrival, meet, password, questions};
use crate::failure::{Exit, Failure};
use crate::flags::{Account, Login, PasswordFlags, Register};
use crate::net::sign_in::Access;
use crate::net::{ApiError, Link};
use crate::output::Printed;
use confab_protocol::dates::time;

pub(super) async fn register(context: &Context, flags: Register) -> Result<(), Failure> {
    let username: Username = flags.name.parse()?;
    let email = flags.email.as_deref().map(str::parse::<Email>);
    let mut email = email.transpose()?;
    let birthday = flags.birthday.as_deref().map(str::parse::<Birthday>);
    let mut birthday = birthday.transpose()?;
    let device = flags.device()?;
    let of_link;
    let (context, invitation) = match &flags.invitation {
        None => (context, None),
        Some(link) => {
            let invitation = arrival::invitation_of(link).ok_or_else(|| {
                Failure::usage("the link has no invitation in it: ask for one that `confab conference invite --link` has made")
            })?;
            of_link = arrival::by_link(context, link).await?;
            (&of_link, Some(invitation))
        }
    };
    let mut access = meet::server(context, &flags.first_sight, &flags.password).await?;
    let is_asked = meet::has_person() && !flags.password.password_stdin;
    if is_asked && (email.is_none() || birthday.is_none()) {
        let link = access.open().await?;
        let terms = link.registration;
        link.close().await;
        if let Some(why) = questions::refusal_of_new(terms.policy, invitation.is_some()) {
            return Err(Failure::new(Exit::Denied, "denied", why));
        }
        if terms.email_required && email.is_none() {
            email = Some(questions::email().await?);
        }
        if terms.birthday_required && birthday.is_none() {
            birthday = Some(questions::birthday().await?);
        }
    }
    let password = password::chosen(&flags.password).await?;
    let link = access.open().await?;
    let request = wire::Register {
        username: username.into(),
        email: email.as_ref().map_or("", Email::as_str).to_owned(),
        password: password.reveal().to_owned(),
        birthday: birthday.map(|day| day.to_string()).unwrap_or_default(),
        device: device.into(),
        invitation,
    };
    let granted = link.granted(Kind::Register(request)).await?;
    let remark = match &email {
        Some(email) if link.sends_mail => {
            let email = email.as_str();
            format!(
                "; `confab verify-email CODE` verifies {email}, by the code that the server sends there"
            )
        }
        _ => String::new(),
    };
    report_session(context, ("registered", &remark), &access, &link, granted).await?;
    link.close().await;
    Ok(())
}

pub(super) async fn login(context: &Context, flags: Login) -> Result<(), Failure> {
    let device: Device = flags.device.parse()?;
    let mut access = meet::server(context, &flags.first_sight, &flags.password).await?;
    let password = password::current(&flags.password).await?;
    let link = access.open().await?;
    let request = wire::Login {
        device_cookie: access.device_cookie(&flags.name).await?,
        name: flags.name,
        password: password.to_string(),
        device: device.into(),
    };
    log_in(context, &access, &link, request).await?;
    link.close().await;
    Ok(())
}

/// Logs in, and stores and reports the session.
pub(super) async fn log_in(
    context: &Context,
    access: &Access,
    link: &Link,
    login: wire::Login,
) -> Result<(), Failure> {
    let name = login.name.clone();
    let granted = match link.granted(Kind::Login(login)).await {
        Ok(granted) => granted,
        Err(ApiError::Refused(mut refusal))
            if refusal.code == ErrorCode::BadCredentials && link.sends_mail =>
        {
            let server = &access.server;
            refusal.message += &format!(
                "; `confab --server {server} reset-password {name}` sets a new one by mail"
            );
            return Err(refusal.into());
        }
        Err(error) => return Err(error.into()),
    };
    report_session(context, ("logged_in", ""), access, link, granted).await
}

/// Stores a session and reports it. The device gets its key for the account, unless it has it.
async fn report_session(
    context: &Context,
    (event, remark): (&'static str, &str),
    access: &Access,
    link: &Link,
    granted: wire::SessionGranted,
) -> Result<(), Failure> {
    let account = granted.account.as_ref().map(|account| &account.id[..]);
    let account = AccountId::parse(account.unwrap_or_default(), "id")
        .map_err(|_| ApiError::Malformed("a session whose account has no id"))?;
    let username = access.keep(granted).await?;
    let name: Username = username.parse()?;
    let store = &access.store;
    store.device_key(link.server_id(), account, &name).await?;
    let text = format!("logged in at {} as {username}{remark}", access.server);
    let done = Done::new(event, text).of_user(username).at(&access.server);
    context.output.print(&done);
    Ok(())
}

pub(super) async fn logout(context: &Context) -> Result<(), Failure> {
    let report = async |access: &Access, link: &Link| {
        link.done(Kind::Logout(wire::Logout {})).await?;
        let server = &access.server;
        let mut sessions = access.store.lock_sessions().await?;
        sessions.remove(&server.to_string()).await?;
        let text = format!("logged out at {server}");
        Ok(Done::new("logged_out", text).at(server))
    };
    context.signed_in_report(report).await
}

pub(super) async fn whoami(context: &Context) -> Result<(), Failure> {
    let report = async |access: &Access, link: &Link| {
        let account = link.who_am_i().await?;
        Ok(AccountReport {
            event: "account",
            username: account.username,
            email: Some(account.email).filter(|email| !email.is_empty()),
            email_verified: account.email_verified,
            sends_mail: link.sends_mail,
            birthday: Some(account.birthday).filter(|day| !day.is_empty()),
            created: time(account.created_ms),
            server: access.server.to_string(),
        })
    };
    context.signed_in_report(report).await
}

pub(super) async fn passwd(context: &Context, flags: &PasswordFlags) -> Result<(), Failure> {
    meet::session(context, flags, password::CHANGE).await?;
    let (old, new) = password::change(flags).await?;
    let report = async |_: &Access, link: &Link| {
        let request = wire::ChangePassword {
            old_password: old.to_string(),
            new_password: new.reveal().to_owned(),
        };
        link.done(Kind::ChangePassword(request)).await?;
        let text = "password changed; every other session of the account is over";
        Ok(Done::new("password_changed", text))
    };
    context.signed_in_report(report).await
}

pub(super) async fn data(context: &Context, command: Account) -> Result<(), Failure> {
    match command {
        Account::Export => export(context).await,
        Account::Delete(flags) => delete(context, &flags).await,
    }
}

async fn export(context: &Context) -> Result<(), Failure> {
    let report = async |_: &Access, link: &Link| {
        let json = link.export_account().await?;
        let data = serde_json::from_str(&json)
            .map_err(|_| ApiError::Malformed("an export that is no JSON"))?;
        Ok(AccountExport {
            event: "account_export",
            data,
        })
    };
    context.signed_in_report(report).await
}

async fn delete(context: &Context, flags: &PasswordFlags) -> Result<(), Failure> {
    meet::session(context, flags, password::CURRENT).await?;
    if meet::has_person() {
        meet::confirm(&format!("{} Type yes and Enter:", question(context).await?)).await?;
    }
    let password = password::current(flags).await?;
    let report = async |access: &Access, link: &Link| {
        let request = wire::DeleteAccount {
            password: password.to_string(),
        };
        link.done(Kind::DeleteAccount(request)).await?;
        let mut sessions = access.store.lock_sessions().await?;
        sessions.remove_account(&access.server.to_string()).await?;
        Ok(Done::new("account_deleted", "account deleted"))
    };
    context.signed_in_report(report).await
}

/// The question before an account is deleted: it names what goes with it.
async fn question(context: &Context) -> Result<String, Failure> {
    let (_, link) = context.signed_in().await?;
    let conferences = link.list_conferences().await?;
    link.close().await;
    let own = conferences.iter().filter(|one| one.role() == Role::Owner);
    let own: Vec<_> = own
        .map(|one| text::escaped(&one.slug).into_owned())
        .collect();
    Ok(match own.as_slice() {
        [] => "Delete this account, for ever?".to_owned(),
        own => format!(
            "Delete this account and its conferences ({}), for ever?",
            own.join(", ")
        ),
    })
}

#[derive(Serialize)]
struct AccountReport {
    event: &'static str,
    username: String,
    email: Option<String>,
    email_verified: bool,
    #[serde(skip)]
    sends_mail: bool,
    birthday: Option<String>,
    created: String,
    server: String,
}

impl Printed for AccountReport {
    fn lines(&self) -> Vec<String> {
        let email = match &self.email {
            None => "-".to_owned(),
            Some(email) if self.email_verified => format!("{email} (verified)"),
            Some(email) if self.sends_mail => {
                format!("{email} (not verified: confab verify-email)")
            }
            Some(email) => email.clone(),
        };
        vec![
            format!("{} at {}", self.username, self.server),
            format!("e-mail    {email}"),
            format!("birthday  {}", self.birthday.as_deref().unwrap_or("-")),
            format!("since     {}", self.created),
        ]
    }
}

#[derive(Serialize)]
struct AccountExport {
    event: &'static str,
    data: serde_json::Value,
}

impl Printed for AccountExport {
    /// JSON for a person, too: a program can read it from a file.
    fn lines(&self) -> Vec<String> {
        let json = format!("{:#}", self.data);
        text::json_escaped(&json)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}
