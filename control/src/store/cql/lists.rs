//! Rows that are read together: an account's conferences, a conference's members.

use confab_protocol::control::{AccountId, ConferenceId};
use scylla::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::db::{Db, Kind};
use super::keys::{self, BUCKETS, OWNED, Place};
use super::rows::Packed;
use super::{Core, packed};
use crate::store::batch::join_all;
use crate::store::{Cursor, MemberRecord, Membership, Page, StoreError};

/// Rows of an account's list that are looked at together.
pub(super) const CHUNK: i32 = 64;

/// The statements that read several rows.
pub(super) struct Lists {
    members: PreparedStatement,
    count_members: PreparedStatement,
    conferences: PreparedStatement,
    owned: PreparedStatement,
}

impl Lists {
    pub(super) async fn prepare(db: &Db, members: &str, users: &str) -> Result<Self, StoreError> {
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
        })
    }
}

impl Core {
    /// The conferences that are in the account's list as its own.
    pub(super) async fn owned(&self, account: AccountId) -> Result<Vec<ConferenceId>, StoreError> {
        let (mut owned, mut last) = (Vec::new(), Vec::new());
        loop {
            let values = vec![keys::bytes(account.as_bytes()), CqlValue::Blob(last)];
            let places = places(account, self.db.rows(&self.lists.owned, values).await?)?;
            let there = places.iter().filter(|(_, listed)| listed.is_some());
            owned.extend(there.map(|(place, _)| place.conference));
            match places.last() {
                Some((place, _)) if places.len() == CHUNK as usize => {
                    last = place.conference.as_bytes().to_vec();
                }
                _ => return Ok(owned),
            }
        }
    }

    pub(super) async fn conferences_of(
        &self,
        account: AccountId,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Membership>, StoreError> {
        let after = match after {
            None => Place::before_all(account),
            Some(cursor) => {
                let (list, id) = cursor_parts(&cursor)?;
                Place {
                    conference: ConferenceId::new(id),
                    account,
                    list: list as i8,
                }
            }
        };
        let mut rows = self.places_after(&after, more(limit)).await?;
        let next = cut(&mut rows, limit, |(place, _)| {
            cursor(place.list as u8, place.conference.as_bytes())
        });
        let reads = rows.iter().map(|(place, _)| async move {
            let (conference, standing) = tokio::join!(
                self.conference(place.conference),
                self.member(place.conference, account)
            );
            Ok::<_, StoreError>((conference?, standing?))
        });
        let mut items = Vec::new();
        for read in join_all(reads).await {
            // A place may have been removed, or a crash may have left it to lead nowhere.
            if let (Some(conference), Some(standing)) = read? {
                items.push(Membership {
                    conference,
                    standing,
                });
            }
        }
        Ok(Page { items, next })
    }

    pub(super) async fn members(
        &self,
        conference: ConferenceId,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<MemberRecord>, StoreError> {
        let none = Page {
            items: Vec::new(),
            next: None,
        };
        let (first, last) = match after {
            None => (0, Vec::new()),
            Some(cursor) => {
                let (bucket, id) = cursor_parts(&cursor)?;
                (bucket, id.to_vec())
            }
        };
        if self.conference(conference).await?.is_none() {
            return Ok(none);
        }
        // All that may be needed at once: most conferences are small and lie in many buckets.
        let last = &last;
        let reads = (first..BUCKETS).map(|bucket| async move {
            let after = if bucket == first {
                last.as_slice()
            } else {
                &[]
            };
            let limit = limit.saturating_add(1);
            let rows = self.members_after(conference, bucket, after, limit).await?;
            Ok::<_, StoreError>(rows.into_iter().map(move |row| (bucket, row)))
        });
        let mut rows = Vec::new();
        for read in join_all(reads).await {
            rows.extend(read?);
        }
        let next = cut(&mut rows, limit, |(bucket, (account, _))| {
            cursor(*bucket, account.as_bytes())
        });
        let reads = rows.iter().map(|(_, (account, _))| self.account(*account));
        let accounts = join_all(reads).await;
        let mut items = Vec::with_capacity(rows.len());
        for ((_, (_, value)), account) in rows.into_iter().zip(accounts) {
            // The standing may have been removed, and the account be on its way out.
            if let (Some(value), Some(account)) = (value, account?) {
                items.push(MemberRecord {
                    account: account.id,
                    username: account.username,
                    standing: packed::read_standing(&value)?,
                });
            }
        }
        Ok(Page { items, next })
    }

    pub(super) async fn count_members(&self, conference: ConferenceId) -> Result<u64, StoreError> {
        let counts = (0..BUCKETS).map(|bucket| async move {
            let key = keys::bucket(conference, bucket);
            let rows: Vec<CountRow> = self.db.rows(&self.lists.count_members, key).await?;
            let count = rows.first().and_then(|row| u64::try_from(row.count).ok());
            count.ok_or(StoreError::Corrupt("a count"))
        });
        join_all(counts).await.into_iter().sum()
    }

    /// Rows of one bucket, by account, from the one after `last` on: standings, or `None` for one that was removed.
    pub(super) async fn members_after(
        &self,
        conference: ConferenceId,
        bucket: u8,
        last: &[u8],
        limit: u32,
    ) -> Result<Vec<(AccountId, Option<Packed>)>, StoreError> {
        let mut values = keys::bucket(conference, bucket).to_vec();
        values.push(CqlValue::Blob(last.to_vec()));
        values.push(CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX)));
        let rows: Vec<MemberRow> = self.db.rows(&self.lists.members, values).await?;
        let member = |row: MemberRow| {
            let account = AccountId::new(keys::read_id(&row.account)?);
            Ok((account, row.value.map(Packed::new)))
        };
        rows.into_iter().map(member).collect()
    }

    /// Rows of the account's lists, from the one after `after` on: places with their values, or `None` for one that was removed.
    pub(super) async fn places_after(
        &self,
        after: &Place,
        limit: i32,
    ) -> Result<Vec<ListedPlace>, StoreError> {
        let mut values = after.key().to_vec();
        values.push(CqlValue::Int(limit));
        let rows = self.db.rows(&self.lists.conferences, values).await?;
        places(after.account, rows)
    }
}

/// A place in an account's list with its value; `None` if it was removed.
pub(super) type ListedPlace = (Place, Option<Packed>);

#[derive(DeserializeRow)]
struct MemberRow {
    account: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(DeserializeRow)]
struct PlaceRow {
    kind: i8,
    item: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(DeserializeRow)]
struct CountRow {
    count: i64,
}

fn places(account: AccountId, rows: Vec<PlaceRow>) -> Result<Vec<ListedPlace>, StoreError> {
    let place = |row: PlaceRow| {
        let place = Place {
            conference: ConferenceId::new(keys::read_id(&row.item)?),
            account,
            list: row.kind,
        };
        Ok((place, row.value.map(Packed::new)))
    };
    rows.into_iter().map(place).collect()
}

/// One row more than the page holds tells whether there is a next one.
fn more(limit: u32) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX).saturating_add(1)
}

/// Cuts the rows to the page; where the next one begins, when there is one.
fn cut<T>(rows: &mut Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Option<Cursor> {
    if rows.len() <= limit as usize {
        return None;
    }
    rows.truncate(limit as usize);
    rows.last().map(cursor)
}

/// `bucket or list (1) · id (16)` of the last row that was given.
fn cursor(first: u8, id: &[u8; 16]) -> Cursor {
    Cursor([&[first], id.as_slice()].concat().into())
}

fn cursor_parts(cursor: &Cursor) -> Result<(u8, [u8; 16]), StoreError> {
    match cursor.0.split_first() {
        Some((first, id)) if *first < BUCKETS => {
            Ok((*first, id.try_into().map_err(|_| StoreError::BadCursor)?))
        }
        _ => Err(StoreError::BadCursor),
    }
}
