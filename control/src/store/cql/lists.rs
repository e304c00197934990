//! The statements that read lists: an account's conferences, a conference's members, invitations and bans of guests, all accounts, all conferences.

use scylla::statement::prepared::PreparedStatement;

use super::db::{Db, Kind};
use super::keys::OWNED;
use crate::store::StoreError;

/// Entries of an account's list that are read at a time.
pub(super) const CHUNK: u32 = 64;

/// The statements that read lists.
pub(super) struct Lists {
    pub(super) members: PreparedStatement,
    pub(super) count_members: PreparedStatement,
    pub(super) invitations: PreparedStatement,
    pub(super) guest_bans: PreparedStatement,
    pub(super) conferences: PreparedStatement,
    pub(super) owned: PreparedStatement,
    pub(super) usernames: NameScan,
    pub(super) slugs: NameScan,
}

/// The statements that list all names of a table.
pub(super) struct NameScan {
    pub(super) first: PreparedStatement,
    /// After a name.
    pub(super) next: PreparedStatement,
}

impl NameScan {
    async fn prepare(db: &Db, table: &str, column: &str) -> Result<Self, StoreError> {
        let all = format!("SELECT {column} AS name, id FROM {table}");
        let first = db.prepare_scan(&format!("{all} LIMIT ?")).await?;
        let next = format!("{all} WHERE token({column}) > token(?) LIMIT ?");
        Ok(Self {
            first,
            next: db.prepare_scan(&next).await?,
        })
    }
}

impl Lists {
    pub(super) async fn prepare(
        db: &Db,
        (members, users): (&str, &str),
        (invitations, guest_bans): (&str, &str),
        (usernames, slugs): (&str, &str),
    ) -> Result<Self, StoreError> {
        let read = async |cql: String| db.prepare(&cql, Kind::Read).await;
        Ok(Self {
            members: read(format!(
                "SELECT account, value FROM {members} \
                 WHERE conference = ? AND bucket = ? AND account > ? LIMIT ?"
            ))
            .await?,
            count_members: read(format!(
                "SELECT count(value) AS count FROM {members} WHERE conference = ? AND bucket = ?"
            ))
            .await?,
            invitations: read(format!(
                "SELECT id, value FROM {invitations} WHERE conference = ?"
            ))
            .await?,
            guest_bans: read(format!(
                "SELECT device, value FROM {guest_bans} WHERE conference = ?"
            ))
            .await?,
            conferences: read(format!(
                "SELECT kind, item, value FROM {users} \
                 WHERE account = ? AND (kind, item) > (?, ?) LIMIT ?"
            ))
            .await?,
            owned: read(format!(
                "SELECT kind, item, value FROM {users} \
                 WHERE account = ? AND kind = {OWNED} AND item > ? LIMIT {CHUNK}"
            ))
            .await?,
            usernames: NameScan::prepare(db, usernames, "username").await?,
            slugs: NameScan::prepare(db, slugs, "slug").await?,
        })
    }
}
