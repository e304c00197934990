//! Tables and their migrations.
//!
//! Accounts and conferences have a small row number that other tables refer to, because a row of a member then takes a
//! third of what two ids of 16 bytes would.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Inspected;
use crate::store::StoreError;

/// The wait of a statement for a lock: another process may read the file.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection caches: more than there are.
const STATEMENTS: usize = 64;

/// The migrations; each one's index is the version that it starts from. Never change a released one.
const MIGRATIONS: [&str; 1] = ["
CREATE TABLE accounts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    username TEXT NOT NULL UNIQUE,
    email TEXT UNIQUE,
    password BLOB NOT NULL,
    birthday INTEGER,
    created INTEGER NOT NULL,
    disabled INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    email_verified INTEGER NOT NULL,
    device BLOB,
    invitation BLOB
) STRICT;
CREATE INDEX guests ON accounts (created) WHERE kind = 2;
CREATE TABLE sessions (
    id BLOB PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    secret_hash BLOB NOT NULL,
    used INTEGER NOT NULL,
    device TEXT NOT NULL,
    created INTEGER NOT NULL,
    rotated INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_account ON sessions (account);
CREATE TABLE conferences (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    slug TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    visibility INTEGER NOT NULL,
    owner INTEGER NOT NULL REFERENCES accounts (number),
    created INTEGER NOT NULL,
    region TEXT,
    revision INTEGER NOT NULL
) STRICT;
CREATE INDEX conferences_of_owner ON conferences (owner);
CREATE TABLE members (
    conference INTEGER NOT NULL REFERENCES conferences (number) ON DELETE CASCADE,
    account INTEGER NOT NULL REFERENCES accounts (number) ON DELETE CASCADE,
    role INTEGER NOT NULL,
    muted INTEGER NOT NULL,
    since INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (conference, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX conferences_of_account ON members (account);
CREATE TABLE invitations (
    conference INTEGER NOT NULL REFERENCES conferences (number) ON DELETE CASCADE,
    id BLOB NOT NULL,
    role INTEGER NOT NULL,
    author BLOB NOT NULL,
    author_name TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    used INTEGER NOT NULL,
    last_user BLOB,
    PRIMARY KEY (conference, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE guest_bans (
    conference INTEGER NOT NULL REFERENCES conferences (number) ON DELETE CASCADE,
    device BLOB NOT NULL,
    account BLOB NOT NULL,
    username TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (conference, device)
) STRICT, WITHOUT ROWID;
CREATE TABLE conference_home (
    conference BLOB PRIMARY KEY,
    era INTEGER NOT NULL,
    owner TEXT,
    incarnation INTEGER,
    relay TEXT,
    boot BLOB,
    placement INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    cluster TEXT NOT NULL,
    public TEXT NOT NULL,
    heard INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE server (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL
) STRICT;
CREATE TABLE revoked (
    name TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"];

pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    settle(&db)?;
    Ok(db)
}

pub(super) fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    settle(&db)?;
    Ok(db)
}

pub(super) fn inspect(db: &Connection) -> Result<Inspected, StoreError> {
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(match (version as usize).cmp(&MIGRATIONS.len()) {
        std::cmp::Ordering::Less => Inspected::Older,
        std::cmp::Ordering::Equal => Inspected::Current,
        std::cmp::Ordering::Greater => Inspected::Newer,
    })
}

/// Brings tables of an older program up to date, and returns what they are then: current, or of a newer program and left alone.
pub(super) fn migrate(db: &mut Connection) -> Result<Inspected, StoreError> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: usize =
        transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))? as usize;
    let Some(missing) = MIGRATIONS.get(version..) else {
        return Ok(Inspected::Newer);
    };
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(Inspected::Current)
}

fn settle(db: &Connection) -> Result<(), StoreError> {
    db.busy_timeout(LOCK_WAIT)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut db = connect(&path).unwrap();
        assert_eq!(inspect(&db), Ok(Inspected::Older));
        assert_eq!(migrate(&mut db), Ok(Inspected::Current));
        assert_eq!(migrate(&mut db), Ok(Inspected::Current));
        assert_eq!(inspect(&db), Ok(Inspected::Current));
        db.pragma_update(None, "user_version", 99).unwrap();
        assert_eq!(inspect(&db), Ok(Inspected::Newer));
        assert_eq!(migrate(&mut db), Ok(Inspected::Newer));
    }
}
