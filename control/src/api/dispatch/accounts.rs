//! Requests about accounts and their sessions.

use bytes::Bytes;
use confab_e2ee::mls::identity::{EXPORTED_LEN, EXPORTER_LABEL};
use confab_protocol::control::{ErrorCode, Refusal};
use confab_protocol::wire::{self, response};

use super::super::client::Client;
use super::super::fields as read;
use super::reply::{Answer, done};
use crate::accounts::service::EmailChange;
use crate::accounts::{Granted, Login, SignedIn};
use crate::store::SessionRecord;

pub(super) async fn register(client: &Client, register: wire::Register) -> Answer {
    refuse_second_sign_in(client)?;
    let new = read::registration(register)?;
    let granted = client
        .services
        .accounts
        .register(new, client.source)
        .await?;
    sign_in(client, granted).await
}

pub(super) async fn login(client: &Client, login: wire::Login) -> Answer {
    refuse_second_sign_in(client)?;
    let login = Login {
        device: read::device(&login.device)?,
        name: login.name,
        password: read::password(login.password),
        cookie: login.device_cookie,
    };
    let granted = client.services.accounts.login(login, client.source).await?;
    sign_in(client, granted).await
}

pub(super) async fn enter_as_guest(client: &Client, enter: &wire::EnterAsGuest) -> Answer {
    refuse_second_sign_in(client)?;
    let mut exported = [0; EXPORTED_LEN];
    let connection = &client.connection;
    let exporting = connection.export_keying_material(&mut exported, EXPORTER_LABEL, b"");
    exporting.map_err(|_| Refusal::new(ErrorCode::Internal, "the connection exports no key"))?;
    let guest = read::guest(enter, &exported)?;
    let accounts = &client.services.accounts;
    let granted = accounts.enter_as_guest(guest, client.source).await?;
    sign_in(client, granted).await
}

pub(super) async fn authenticate(client: &Client, token: &[u8]) -> Answer {
    let granted = client.services.accounts.authenticate(token).await?;
    sign_in(client, granted).await
}

pub(super) async fn refresh(client: &Client, token: &[u8]) -> Answer {
    let granted = client.services.accounts.refresh(token).await?;
    sign_in(client, granted).await
}

pub(super) async fn logout(client: &Client, caller: &SignedIn) -> Answer {
    client.entry.sign_out();
    let accounts = &client.services.accounts;
    accounts.revoke(caller.account, caller.session).await?;
    done()
}

pub(super) async fn who_am_i(client: &Client, caller: &SignedIn) -> Answer {
    let account = client.services.accounts.account(caller.account).await?;
    Ok(response::Kind::Account(account.to_wire()))
}

pub(super) async fn change_password(
    client: &Client,
    caller: &SignedIn,
    change: wire::ChangePassword,
) -> Answer {
    let (old, new) = (
        read::password(change.old_password),
        read::password(change.new_password),
    );
    let accounts = &client.services.accounts;
    accounts.change_password(caller, old, new).await?;
    done()
}

pub(super) async fn send_email_code(
    client: &Client,
    caller: &SignedIn,
    send: &wire::SendEmailCode,
) -> Answer {
    let accounts = &client.services.accounts;
    accounts
        .send_email_code(caller, send.for_change, client.source)
        .await?;
    done()
}

pub(super) async fn verify_email(
    client: &Client,
    caller: &SignedIn,
    verify: &wire::VerifyEmail,
) -> Answer {
    let code = read::mail_code(&verify.code)?;
    let accounts = &client.services.accounts;
    accounts.verify_email(caller, &code, client.source).await?;
    done()
}

pub(super) async fn change_email(
    client: &Client,
    caller: &SignedIn,
    change: wire::ChangeEmail,
) -> Answer {
    let code = Some(&change.code).filter(|code| !code.is_empty());
    let change = EmailChange {
        new: read::email_if_any(&change.email)?,
        code: code.map(|code| read::mail_code(code)).transpose()?,
        password: read::password(change.password),
    };
    let accounts = &client.services.accounts;
    accounts.change_email(caller, change, client.source).await?;
    done()
}

pub(super) async fn send_reset_code(client: &Client, send: &wire::SendResetCode) -> Answer {
    let accounts = &client.services.accounts;
    accounts.send_reset_code(&send.name, client.source).await?;
    done()
}

pub(super) async fn reset_password(client: &Client, reset: wire::ResetPassword) -> Answer {
    let code = read::mail_code(&reset.code)?;
    let new = read::password(reset.new_password);
    let accounts = &client.services.accounts;
    accounts
        .reset_by_code(&reset.name, &code, new, client.source)
        .await?;
    done()
}

pub(super) async fn list_sessions(client: &Client, caller: &SignedIn) -> Answer {
    let sessions = client.services.accounts.sessions(caller.account).await?;
    let to_wire = |session: SessionRecord| wire::Session {
        id: Bytes::copy_from_slice(&session.id.0),
        device: session.device.as_str().to_owned(),
        created_ms: session.created.0,
        expires_ms: session.expires.0,
        current: session.id == caller.session,
    };
    let sessions = sessions.into_iter().map(to_wire).collect();
    Ok(response::Kind::Sessions(wire::Sessions { sessions }))
}

pub(super) async fn revoke_session(
    client: &Client,
    caller: &SignedIn,
    revoke: &wire::RevokeSession,
) -> Answer {
    let session = read::session_id(&revoke.id)?;
    let accounts = &client.services.accounts;
    accounts.revoke(caller.account, session).await?;
    done()
}

pub(super) async fn export(client: &Client, caller: &SignedIn) -> Answer {
    let json = client.services.accounts.export(caller.account).await?;
    Ok(response::Kind::AccountExport(wire::AccountExport { json }))
}

pub(super) async fn delete(
    client: &Client,
    caller: &SignedIn,
    delete: wire::DeleteAccount,
) -> Answer {
    let accounts = &client.services.accounts;
    let account = accounts.account(caller.account).await?;
    let password = read::password(delete.password);
    accounts.check_password(&account, password).await?;
    client.services.conferences.delete_owned(account.id).await?;
    client.entry.sign_out();
    accounts.delete(account.id).await?;
    tracing::info!(account = %account.id, "account deleted");
    done()
}

/// Signs the connection in.
async fn sign_in(client: &Client, granted: Granted) -> Answer {
    let Granted {
        account,
        session,
        token,
        expires,
        refresh_after,
        cookie,
    } = granted;
    // Events and participants belong to the connection: another account must not receive them.
    let before = client.entry.signed_in();
    if before
        .as_ref()
        .is_some_and(|before| before.account != account.id)
    {
        return Err(signed_in_already());
    }
    let is_known = before.is_some_and(|before| before.session == session);
    let caller = SignedIn {
        account: account.id,
        username: account.username.clone(),
        session,
        kind: account.kind,
    };
    if let Err(full) = client.entry.sign_in(caller) {
        if cookie.is_some() {
            // No notice is needed for a session that has just begun. If this fails, the session expires.
            let _ = client.services.accounts.revoke(account.id, session).await;
        }
        return Err(full.into());
    }
    // If the session was ended before the connection was registered, the connection was not found and is refused here.
    let live = client.services.accounts.is_live(session).await;
    if !is_known && !matches!(live, Ok(true)) {
        client.entry.sign_out();
    }
    if !live? {
        client.entry.sign_out();
        let message = "this session has ended: log in again";
        return Err(Refusal::new(ErrorCode::SessionEnded, message));
    }
    tracing::info!(client = client.entry.id, account = %account.id, ?session, "signed in");
    let account = Some(account.to_wire());
    Ok(match token {
        Some(token) => response::Kind::SessionGranted(wire::SessionGranted {
            token,
            expires_ms: expires.0,
            refresh_after_ms: refresh_after.0,
            account,
            device_cookie: cookie.unwrap_or_default(),
        }),
        None => response::Kind::Authenticated(wire::Authenticated {
            account,
            expires_ms: expires.0,
            refresh_after_ms: refresh_after.0,
        }),
    })
}

fn refuse_second_sign_in(client: &Client) -> Result<(), Refusal> {
    match client.entry.signed_in() {
        Some(_) => Err(signed_in_already()),
        None => Ok(()),
    }
}

fn signed_in_already() -> Refusal {
    Refusal::new(
        ErrorCode::Denied,
        "this connection is signed in already: log out first, or open another",
    )
}
