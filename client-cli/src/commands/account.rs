//! Accounts: register, login, logout, whoami, passwd, export, delete.

use confab_protocol::control::{Birthday, Device, Email, Username, text};
use confab_protocol::wire::{self, request};
use serde::Serialize;

use super::{Context, meet, password};
use crate::failure::Failure;
use crate::flags::{Account, Login, PasswordFlags, Register};
use crate::net::ApiError;
use crate::output::Say;

pub(super) async fn register(context: &Context, flags: Register) -> Result<(), Failure> {
    let username: Username = flags.name.parse()?;
    let email: Email = flags.email.parse()?;
    let birthday: Birthday = flags.birthday.parse()?;
    let device = flags.device()?;
    let mut access = meet::server(context, &flags.first_sight, &flags.password).await?;
    let password = password::chosen(&flags.password).await?;
    let link = access.open().await?;
    let request = wire::Register {
        username: username.into(),
        email: email.as_str().to_owned(),
        password: password.reveal().to_owned(),
        birthday: birthday.to_string(),
        device: device.into(),
    };
    let granted = link.granted(request::Kind::Register(request)).await?;
    let username = access.keep(granted).await?;
    context.output.say(&SignedIn {
        event: "registered",
        username,
        server: access.server.to_string(),
    });
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
    let granted = link.granted(request::Kind::Login(request)).await?;
    let username = access.keep(granted).await?;
    context.output.say(&SignedIn {
        event: "logged_in",
        username,
        server: access.server.to_string(),
    });
    link.close().await;
    Ok(())
}

pub(super) async fn logout(context: &Context) -> Result<(), Failure> {
    let (access, link) = context.signed_in().await?;
    let name = access.server.to_string();
    link.done(request::Kind::Logout(wire::Logout {})).await?;
    let mut sessions = access.store.lock_sessions().await?;
    sessions.remove(&name).await?;
    context.output.say(&LoggedOut {
        event: "logged_out",
        server: name,
    });
    link.close().await;
    Ok(())
}

pub(super) async fn whoami(context: &Context) -> Result<(), Failure> {
    let (access, link) = context.signed_in().await?;
    let account = link.who_am_i().await?;
    context.output.say(&WhoAmI {
        event: "account",
        username: account.username,
        email: account.email,
        birthday: account.birthday,
        created: time(account.created_ms),
        server: access.server.to_string(),
    });
    link.close().await;
    Ok(())
}

pub(super) async fn passwd(context: &Context, flags: &PasswordFlags) -> Result<(), Failure> {
    meet::session(context, flags, password::CHANGE).await?;
    let (old, new) = password::change(flags).await?;
    let (_, link) = context.signed_in().await?;
    let request = wire::ChangePassword {
        old_password: old.to_string(),
        new_password: new.reveal().to_owned(),
    };
    link.done(request::Kind::ChangePassword(request)).await?;
    context.output.say(&PasswordChanged {
        event: "password_changed",
    });
    link.close().await;
    Ok(())
}

pub(super) async fn data(context: &Context, command: Account) -> Result<(), Failure> {
    match command {
        Account::Export => {
            let (_, link) = context.signed_in().await?;
            let json = link.export_account().await?;
            let data = serde_json::from_str(&json)
                .map_err(|_| ApiError::Malformed("an export that is no JSON"))?;
            context.output.say(&Exported {
                event: "account_export",
                data,
            });
            link.close().await;
        }
        Account::Delete(flags) => {
            meet::session(context, &flags, password::CURRENT).await?;
            let password = password::current(&flags).await?;
            let (access, link) = context.signed_in().await?;
            let request = wire::DeleteAccount {
                password: password.to_string(),
            };
            link.done(request::Kind::DeleteAccount(request)).await?;
            let mut sessions = access.store.lock_sessions().await?;
            sessions.remove_account(&access.server.to_string()).await?;
            context.output.say(&AccountDeleted {
                event: "account_deleted",
            });
            link.close().await;
        }
    }
    Ok(())
}

/// A time of the server as text, RFC 3339 in UTC.
pub(super) fn time(ms: u64) -> String {
    let known = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(
        || "unknown".into(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

#[derive(Serialize)]
struct SignedIn {
    event: &'static str,
    username: String,
    server: String,
}

impl Say for SignedIn {
    fn text(&self) -> Option<String> {
        Some(format!("logged in at {} as {}", self.server, self.username))
    }
}

#[derive(Serialize)]
struct LoggedOut {
    event: &'static str,
    server: String,
}

impl Say for LoggedOut {
    fn text(&self) -> Option<String> {
        Some(format!("logged out at {}", self.server))
    }
}

#[derive(Serialize)]
struct WhoAmI {
    event: &'static str,
    username: String,
    email: String,
    birthday: String,
    created: String,
    server: String,
}

impl Say for WhoAmI {
    fn lines(&self) -> Vec<String> {
        vec![
            format!("{} at {}", self.username, self.server),
            format!("e-mail    {}", self.email),
            format!("birthday  {}", self.birthday),
            format!("since     {}", self.created),
        ]
    }
}

#[derive(Serialize)]
struct PasswordChanged {
    event: &'static str,
}

impl Say for PasswordChanged {
    fn text(&self) -> Option<String> {
        Some("password changed; every other session of the account is over".into())
    }
}

#[derive(Serialize)]
struct Exported {
    event: &'static str,
    data: serde_json::Value,
}

impl Say for Exported {
    /// JSON for a person, too: whoever keeps it in a file can read it by a program.
    fn lines(&self) -> Vec<String> {
        let json = format!("{:#}", self.data);
        text::json_escaped(&json)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

#[derive(Serialize)]
struct AccountDeleted {
    event: &'static str,
}

impl Say for AccountDeleted {
    fn text(&self) -> Option<String> {
        Some("account deleted".into())
    }
}
