//! Statements on accounts and sessions.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, Email, InvitationId, Username};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{broken, millis, one_more_than, page, parsed, parsed_if_any, row_of, signed};
use crate::clock::UnixMillis;
use crate::domain::PasswordHash;
use crate::store::records::{GUEST_ACCOUNT_LIFE, day_number, numbered_day};
use crate::store::{
    AccountKind, AccountRecord, Cursor, GuestOrigin, Name, Page, Rotation, SecretHash, SessionId,
    SessionRecord, StoreError,
};

const ACCOUNT: &str = "SELECT id, username, email, password, birthday, created, disabled, revision, kind, email_verified, device, invitation, number FROM accounts";
const SESSION: &str = "SELECT s.id, a.id, s.generation, s.secret_hash, s.used, s.device, s.created, s.rotated, s.expires \
     FROM sessions s JOIN accounts a ON a.number = s.account";

pub(super) fn create(db: &Connection, account: &AccountRecord) -> Result<(), StoreError> {
    let AccountRecord {
        id,
        username,
        email,
        ..
    } = account;
    if let Some(holder) = by_username(db, username)? {
        return if holder.id == *id {
            Ok(())
        } else {
            Err(StoreError::Taken(Name::Username))
        };
    }
    if let Some(email) = email
        && by_email(db, email)?.is_some()
    {
        return Err(StoreError::Taken(Name::Email));
    }
    db.prepare_cached(
        "INSERT INTO accounts (id, username, email, password, birthday, created, disabled, revision, kind, email_verified, device, invitation) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        id.as_bytes(),
        username.as_str(),
        email.as_ref().map(Email::as_str),
        account.password.to_bytes(),
        account.birthday.map(day_number),
        signed(account.created.0),
        account.disabled,
        account.revision,
        i32::from(account.kind),
        account.email_verified,
        account.guest.map(|guest| guest.device.0),
        account.guest.and_then(|guest| guest.invitation).map(|id| id.0),
    ])?;
    Ok(())
}

pub(super) fn by_id(db: &Connection, id: AccountId) -> Result<Option<AccountRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{ACCOUNT} WHERE id = ?"))?;
    Ok(statement.query_row([id.as_bytes()], account).optional()?)
}

pub(super) fn by_username(
    db: &Connection,
    name: &Username,
) -> Result<Option<AccountRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{ACCOUNT} WHERE username = ?"))?;
    Ok(statement.query_row([name.as_str()], account).optional()?)
}

pub(super) fn by_email(
    db: &Connection,
    email: &Email,
) -> Result<Option<AccountRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{ACCOUNT} WHERE email = ?"))?;
    Ok(statement.query_row([email.as_str()], account).optional()?)
}

pub(super) fn set_password(
    db: &Connection,
    id: AccountId,
    old: &PasswordHash,
    new: &PasswordHash,
) -> Result<(), StoreError> {
    let account = by_id(db, id)?.ok_or(StoreError::NotFound)?;
    if account.password != *old && account.password != *new {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached("UPDATE accounts SET password = ? WHERE id = ?")?
        .execute(params![new.to_bytes(), id.as_bytes()])?;
    Ok(())
}

pub(super) fn set_disabled(
    db: &Connection,
    id: AccountId,
    disabled: bool,
) -> Result<(), StoreError> {
    let mut account = by_id(db, id)?.ok_or(StoreError::NotFound)?;
    account.set_disabled(disabled);
    db.prepare_cached("UPDATE accounts SET disabled = ?, revision = ? WHERE id = ?")?
        .execute(params![account.disabled, account.revision, id.as_bytes()])?;
    Ok(())
}

pub(super) fn verify_email(
    db: &Connection,
    id: AccountId,
    email: &Email,
) -> Result<(), StoreError> {
    let account = by_id(db, id)?.ok_or(StoreError::NotFound)?;
    if account.email.as_ref() != Some(email) {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached("UPDATE accounts SET email_verified = 1 WHERE id = ?")?
        .execute([id.as_bytes()])?;
    Ok(())
}

pub(super) fn change_email(
    db: &Connection,
    id: AccountId,
    old: Option<&Email>,
    new: Option<&Email>,
) -> Result<(), StoreError> {
    let mut account = by_id(db, id)?.ok_or(StoreError::NotFound)?;
    if !account.change_email(old, new)? {
        return Ok(());
    }
    if let Some(new) = new
        && by_email(db, new)?.is_some()
    {
        return Err(StoreError::Taken(Name::Email));
    }
    db.prepare_cached(
        "UPDATE accounts SET email = ?, email_verified = 0, revision = ? WHERE id = ?",
    )?
    .execute(params![
        new.map(Email::as_str),
        account.revision,
        id.as_bytes()
    ])?;
    Ok(())
}

pub(super) fn all(
    db: &Connection,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<AccountRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "{ACCOUNT} WHERE number > ? ORDER BY number LIMIT ?"
    ))?;
    let rows = statement.query_map(params![row_of(after)?, one_more_than(limit)], |row| {
        Ok((row.get(12)?, account(row)?))
    })?;
    Ok(page(rows.collect::<Result<_, _>>()?, limit))
}

pub(super) fn delete(db: &Connection, id: AccountId) -> Result<(), StoreError> {
    if super::conferences::count_owned(db, id)? > 0 {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached("DELETE FROM accounts WHERE id = ?")?
        .execute([id.as_bytes()])?;
    Ok(())
}

/// The row number of an account.
pub(super) fn number(db: &Connection, id: AccountId) -> Result<i64, StoreError> {
    db.prepare_cached("SELECT number FROM accounts WHERE id = ?")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NotFound)
}

pub(super) fn create_session(db: &Connection, session: &SessionRecord) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO sessions (id, account, generation, secret_hash, used, device, created, rotated, expires) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        session.id.0,
        number(db, session.account)?,
        session.generation,
        session.secret_hash,
        session.used,
        session.device.as_str(),
        signed(session.created.0),
        signed(session.rotated.0),
        signed(session.expires.0),
    ])?;
    Ok(())
}

pub(super) fn session(
    db: &Connection,
    id: SessionId,
    now: UnixMillis,
) -> Result<Option<SessionRecord>, StoreError> {
    let mut statement =
        db.prepare_cached(&format!("{SESSION} WHERE s.id = ? AND s.expires > ?"))?;
    Ok(statement
        .query_row(params![id.0, signed(now.0)], session_row)
        .optional()?)
}

pub(super) fn rotate_session(
    db: &Connection,
    id: SessionId,
    presented: u32,
    rotation: Rotation,
) -> Result<(), StoreError> {
    let found: Option<(u32, SecretHash)> = db
        .prepare_cached("SELECT generation, secret_hash FROM sessions WHERE id = ?")?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (generation, secret_hash) = found.ok_or(StoreError::NotFound)?;
    let next = presented.checked_add(1).ok_or(StoreError::Conflict)?;
    if generation == next && secret_hash == rotation.secret_hash {
        return Ok(());
    }
    if generation != presented {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached(
        "UPDATE sessions SET generation = ?, secret_hash = ?, used = 0, rotated = ?, expires = ? WHERE id = ?",
    )?
    .execute(params![
        next,
        rotation.secret_hash,
        signed(rotation.rotated.0),
        signed(rotation.expires.0),
        id.0,
    ])?;
    Ok(())
}

pub(super) fn mark_used(db: &Connection, id: SessionId, generation: u32) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE sessions SET used = 1 WHERE id = ? AND generation = ?")?
        .execute(params![id.0, generation])?;
    Ok(())
}

pub(super) fn end_session(
    db: &Connection,
    account: AccountId,
    id: SessionId,
) -> Result<bool, StoreError> {
    let ended = db
        .prepare_cached(
            "DELETE FROM sessions WHERE id = ? AND account = (SELECT number FROM accounts WHERE id = ?)",
        )?
        .execute(params![id.0, account.as_bytes()])?;
    Ok(ended > 0)
}

pub(super) fn sessions_of(
    db: &Connection,
    account: AccountId,
    now: UnixMillis,
) -> Result<Vec<SessionRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!(
        "{SESSION} WHERE s.account = (SELECT number FROM accounts WHERE id = ?) AND s.expires > ? \
         ORDER BY s.created, s.id"
    ))?;
    let rows = statement.query_map(params![account.as_bytes(), signed(now.0)], session_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn end_sessions_of(
    db: &Connection,
    account: AccountId,
    keep: Option<SessionId>,
) -> Result<Vec<SessionId>, StoreError> {
    let mut statement = db.prepare_cached(
        "DELETE FROM sessions WHERE account = (SELECT number FROM accounts WHERE id = ?1) AND id IS NOT ?2 \
         RETURNING id",
    )?;
    let rows = statement.query_map(
        params![account.as_bytes(), keep.map(|keep| keep.0)],
        |row| row.get(0).map(SessionId),
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Checks `step` sessions from `first` on. Returns the number of expired ones that it deleted, and the next first one.
pub(super) fn sweep(
    db: &Connection,
    now: UnixMillis,
    first: SessionId,
    step: u32,
) -> Result<(u64, Option<SessionId>), StoreError> {
    let next: Option<[u8; 16]> = db
        .prepare_cached("SELECT id FROM sessions WHERE id >= ? ORDER BY id LIMIT 1 OFFSET ?")?
        .query_row(params![first.0, step], |row| row.get(0))
        .optional()?;
    let ended = db
        .prepare_cached(
            "DELETE FROM sessions WHERE id >= ?1 AND (?2 IS NULL OR id < ?2) AND expires <= ?3",
        )?
        .execute(params![first.0, next, signed(now.0)])?;
    Ok((ended as u64, next.map(SessionId)))
}

/// Deletes the accounts of guests whose time is over.
pub(super) fn sweep_guests(db: &Connection, now: UnixMillis) -> Result<(), StoreError> {
    let millis = GUEST_ACCOUNT_LIFE.as_millis();
    let created_by = now.0.saturating_sub(millis.try_into().unwrap_or(u64::MAX));
    db.prepare_cached("DELETE FROM accounts WHERE kind = 2 AND created <= ?")?
        .execute([signed(created_by)])?;
    Ok(())
}

fn account(row: &Row<'_>) -> rusqlite::Result<AccountRecord> {
    let password = row.get_ref(3)?.as_blob()?;
    let day: Option<u32> = row.get(4)?;
    let kind: i32 = row.get(8)?;
    let (device, invitation): (Option<[u8; 32]>, Option<[u8; 16]>) = (row.get(10)?, row.get(11)?);
    let birthday = day.map(|number| numbered_day(number).ok_or_else(|| broken(4, Type::Integer)));
    Ok(AccountRecord {
        id: AccountId::new(row.get(0)?),
        username: parsed(row, 1)?,
        email: parsed_if_any(row, 2)?,
        password: PasswordHash::from_bytes(password).ok_or_else(|| broken(3, Type::Blob))?,
        birthday: birthday.transpose()?,
        created: millis(row, 5)?,
        disabled: row.get(6)?,
        revision: row.get(7)?,
        kind: AccountKind::try_from(kind).map_err(|_| broken(8, Type::Integer))?,
        email_verified: row.get(9)?,
        guest: device.map(|device| GuestOrigin {
            device: DevicePublicKey(device),
            invitation: invitation.map(InvitationId),
        }),
    })
}

fn session_row(row: &Row<'_>) -> rusqlite::Result<SessionRecord> {
    Ok(SessionRecord {
        id: SessionId(row.get(0)?),
        account: AccountId::new(row.get(1)?),
        generation: row.get(2)?,
        secret_hash: row.get(3)?,
        used: row.get(4)?,
        device: parsed(row, 5)?,
        created: millis(row, 6)?,
        rotated: millis(row, 7)?,
        expires: millis(row, 8)?,
    })
}
