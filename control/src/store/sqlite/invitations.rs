//! Statements on invitations.

use confab_protocol::control::room::Role;
use confab_protocol::control::{AccountId, ConferenceId, InvitationId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{broken, millis, parsed, signed};
use super::conferences::number;
use crate::clock::UnixMillis;
use crate::store::{InvitationRecord, StoreError};

const INVITATION: &str = "SELECT id, role, author, author_name, created, expires, uses, used, last_user FROM invitations \
     WHERE conference = (SELECT number FROM conferences WHERE id = ?)";

pub(super) fn create(db: &Connection, invitation: &InvitationRecord) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO invitations (conference, id, role, author, author_name, created, expires, uses, used, last_user) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        number(db, invitation.conference)?,
        invitation.id.0,
        i32::from(invitation.role),
        invitation.author.as_bytes(),
        invitation.author_name.as_str(),
        signed(invitation.created.0),
        signed(invitation.expires.0),
        invitation.uses,
        invitation.used,
        last_user(invitation),
    ])?;
    Ok(())
}

pub(super) fn by_id(
    db: &Connection,
    conference: ConferenceId,
    id: InvitationId,
    now: UnixMillis,
) -> Result<Option<InvitationRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{INVITATION} AND id = ? AND expires > ?"))?;
    let found = statement.query_row(params![conference.as_bytes(), id.0, signed(now.0)], |row| {
        invitation(row, conference)
    });
    Ok(found.optional()?)
}

pub(super) fn all(
    db: &Connection,
    conference: ConferenceId,
    now: UnixMillis,
) -> Result<Vec<InvitationRecord>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{INVITATION} AND expires > ? ORDER BY id"))?;
    let rows = statement.query_map(params![conference.as_bytes(), signed(now.0)], |row| {
        invitation(row, conference)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn take(
    db: &Connection,
    old: &InvitationRecord,
    by: AccountId,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let found = by_id(db, old.conference, old.id, now)?.ok_or(StoreError::NotFound)?;
    let new = old.used_by(by);
    if found == new {
        return Ok(());
    }
    if found != *old {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached(
        "UPDATE invitations SET used = ?, last_user = ? WHERE conference = ? AND id = ?",
    )?
    .execute(params![
        new.used,
        last_user(&new),
        number(db, old.conference)?,
        old.id.0
    ])?;
    Ok(())
}

pub(super) fn revoke(
    db: &Connection,
    conference: ConferenceId,
    id: InvitationId,
) -> Result<bool, StoreError> {
    let deleted = db
        .prepare_cached(
            "DELETE FROM invitations WHERE conference = (SELECT number FROM conferences WHERE id = ?) AND id = ?",
        )?
        .execute(params![conference.as_bytes(), id.0])?;
    Ok(deleted > 0)
}

/// Deletes what has expired.
pub(super) fn sweep(db: &Connection, now: UnixMillis) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM invitations WHERE expires <= ?")?
        .execute([signed(now.0)])?;
    Ok(())
}

fn last_user(invitation: &InvitationRecord) -> Option<&[u8; 16]> {
    invitation.last_user.as_ref().map(AccountId::as_bytes)
}

fn invitation(row: &Row<'_>, conference: ConferenceId) -> rusqlite::Result<InvitationRecord> {
    let role: i32 = row.get(1)?;
    let last_user: Option<[u8; 16]> = row.get(8)?;
    Ok(InvitationRecord {
        conference,
        id: InvitationId(row.get(0)?),
        role: Role::try_from(role).map_err(|_| broken(1, Type::Integer))?,
        author: AccountId::new(row.get(2)?),
        author_name: parsed(row, 3)?,
        created: millis(row, 4)?,
        expires: millis(row, 5)?,
        uses: row.get(6)?,
        used: row.get(7)?,
        last_user: last_user.map(AccountId::new),
    })
}
