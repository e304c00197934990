//! Statements on guests' devices that may not come.

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, ConferenceId, Username};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{millis, parsed, signed};
use super::conferences::number;
use crate::clock::UnixMillis;
use crate::store::{GUEST_BAN_LIFE, GuestBan, StoreError};

const BAN: &str = "SELECT device, account, username, since FROM guest_bans \
     WHERE conference = (SELECT number FROM conferences WHERE id = ?) AND since > ?";

pub(super) fn ban(db: &Connection, ban: &GuestBan) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO guest_bans (conference, device, account, username, since) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute(params![
        number(db, ban.conference)?,
        ban.device.0,
        ban.account.as_bytes(),
        ban.username.as_str(),
        signed(ban.since.0),
    ])?;
    Ok(())
}

pub(super) fn by_device(
    db: &Connection,
    conference: ConferenceId,
    device: DevicePublicKey,
    now: UnixMillis,
) -> Result<Option<GuestBan>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{BAN} AND device = ?"))?;
    let of = params![conference.as_bytes(), since_of_life(now), device.0];
    Ok(statement
        .query_row(of, |row| read(row, conference))
        .optional()?)
}

pub(super) fn all(
    db: &Connection,
    conference: ConferenceId,
    now: UnixMillis,
) -> Result<Vec<GuestBan>, StoreError> {
    let mut statement = db.prepare_cached(&format!("{BAN} ORDER BY device"))?;
    let of = params![conference.as_bytes(), since_of_life(now)];
    let rows = statement.query_map(of, |row| read(row, conference))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn lift(
    db: &Connection,
    conference: ConferenceId,
    device: DevicePublicKey,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM guest_bans WHERE conference = (SELECT number FROM conferences WHERE id = ?) AND device = ?",
    )?
    .execute(params![conference.as_bytes(), device.0])?;
    Ok(())
}

/// Deletes what is over.
pub(super) fn sweep(db: &Connection, now: UnixMillis) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM guest_bans WHERE since <= ?")?
        .execute([since_of_life(now)])?;
    Ok(())
}

/// Bans from before this are over.
fn since_of_life(now: UnixMillis) -> i64 {
    let life = u64::try_from(GUEST_BAN_LIFE.as_millis()).unwrap_or(u64::MAX);
    signed(now.0.saturating_sub(life))
}

fn read(row: &Row<'_>, conference: ConferenceId) -> rusqlite::Result<GuestBan> {
    Ok(GuestBan {
        conference,
        device: DevicePublicKey(row.get(0)?),
        account: AccountId::new(row.get(1)?),
        username: parsed::<Username>(row, 2)?,
        since: millis(row, 3)?,
    })
}
