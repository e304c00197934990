//! Lists of accounts, conferences and members, and their pages.

use confab_protocol::control::{AccountId, ConferenceId};
use scylla::DeserializeRow;
use scylla::value::CqlValue;

use super::core::Core;
use super::keys::{self, BUCKETS, ListEntry};
use super::lists::{CHUNK, NameScan};
use super::packed;
use super::rows::Packed;
use crate::store::batch::join_all;
use crate::store::{
    AccountRecord, ConferenceRecord, Cursor, MemberRecord, Membership, Page, StoreError,
};

impl Core {
    /// The conferences in the account's list of owned ones.
    pub(super) async fn owned(&self, account: AccountId) -> Result<Vec<ConferenceId>, StoreError> {
        let (mut owned, mut last) = (Vec::new(), Vec::new());
        loop {
            let values = vec![keys::bytes(account.as_bytes()), CqlValue::Blob(last)];
            let entries = entries(account, self.db.rows(&self.lists.owned, values).await?)?;
            let there = entries.iter().filter(|(_, listed)| listed.is_some());
            owned.extend(there.map(|(entry, _)| entry.conference));
            match entries.last() {
                Some((entry, _)) if entries.len() == CHUNK as usize => {
                    last = entry.conference.as_bytes().to_vec();
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
            None => ListEntry::before_all(account),
            Some(cursor) => {
                let (list, id) = cursor_parts(&cursor)?;
                ListEntry {
                    conference: ConferenceId::new(id),
                    account,
                    list: list as i8,
                }
            }
        };
        let mut rows = self.entries_after(&after, more(limit)).await?;
        let next = cut(&mut rows, limit, |(entry, _)| {
            cursor(entry.list as u8, entry.conference.as_bytes())
        });
        // A removed entry may lead to a conference that is in the other list now.
        let listed = rows.iter().filter(|(_, listed)| listed.is_some());
        let reads = listed.map(|(entry, _)| async move {
            let (conference, standing) = tokio::join!(
                self.conference(entry.conference),
                self.member(entry.conference, account)
            );
            Ok::<_, StoreError>((conference?, standing?))
        });
        let mut items = Vec::new();
        for read in join_all(reads).await {
            // The entry may have been removed, or a crash may have left it without a conference.
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
        // All buckets at once: most conferences are small, and spread over many of them.
        let last = &last;
        let reads = (first..BUCKETS).map(|bucket| async move {
            let after = if bucket == first {
                last.as_slice()
            } else {
                &[]
            };
            let rows = self
                .members_after(conference, bucket, after, more(limit))
                .await?;
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
            // The standing may have been removed, or the account may be closing.
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

    /// All live accounts, in the order of the tokens of their usernames.
    pub(super) async fn accounts(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<AccountRecord>, StoreError> {
        let (ids, next) = self.scan(&self.lists.usernames, after, limit).await?;
        let reads = ids.into_iter().map(|id| self.account(AccountId::new(id)));
        Ok(Page {
            items: found(join_all(reads).await)?,
            next,
        })
    }

    /// All live conferences, in the order of the tokens of their slugs.
    pub(super) async fn all_conferences(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<ConferenceRecord>, StoreError> {
        let (ids, next) = self.scan(&self.lists.slugs, after, limit).await?;
        let reads = ids
            .into_iter()
            .map(|id| self.conference(ConferenceId::new(id)));
        Ok(Page {
            items: found(join_all(reads).await)?,
            next,
        })
    }

    /// The holders of `limit` names; the cursor is the last name.
    async fn scan(
        &self,
        names: &NameScan,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<(Vec<[u8; 16]>, Option<Cursor>), StoreError> {
        let mut rows: Vec<NameRow> = match after {
            None => {
                let values = [row_limit(more(limit))];
                self.db.rows(&names.first, values).await?
            }
            Some(Cursor(name)) => {
                let name = String::from_utf8(name.into()).map_err(|_| StoreError::BadCursor)?;
                let values = [CqlValue::Text(name), row_limit(more(limit))];
                self.db.rows(&names.next, values).await?
            }
        };
        let next = cut(&mut rows, limit, |row| Cursor(row.name.clone().into()));
        // A row without an id is the mark of a name that was freed.
        let ids = rows.iter().filter_map(|row| row.id.as_deref());
        let ids = ids.map(keys::read_id).collect::<Result<_, _>>()?;
        Ok((ids, next))
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
        values.push(row_limit(limit));
        let rows: Vec<MemberRow> = self.db.rows(&self.lists.members, values).await?;
        let member = |row: MemberRow| {
            let account = AccountId::new(keys::read_id(&row.account)?);
            Ok((account, row.value.map(Packed::new)))
        };
        rows.into_iter().map(member).collect()
    }

    /// Rows of the account's lists, from the one after `after` on: entries with their values, or `None` for one that was removed.
    pub(super) async fn entries_after(
        &self,
        after: &ListEntry,
        limit: u32,
    ) -> Result<Vec<ListedConference>, StoreError> {
        let mut values = after.key().to_vec();
        values.push(row_limit(limit));
        let rows = self.db.rows(&self.lists.conferences, values).await?;
        entries(after.account, rows)
    }
}

/// An entry of an account's list with its value; `None` if it was removed.
pub(super) type ListedConference = (ListEntry, Option<Packed>);

#[derive(DeserializeRow)]
struct MemberRow {
    account: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(DeserializeRow)]
struct NameRow {
    name: String,
    id: Option<Vec<u8>>,
}

#[derive(DeserializeRow)]
struct EntryRow {
    kind: i8,
    item: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(DeserializeRow)]
struct CountRow {
    count: i64,
}

fn entries(account: AccountId, rows: Vec<EntryRow>) -> Result<Vec<ListedConference>, StoreError> {
    let entry = |row: EntryRow| {
        let entry = ListEntry {
            conference: ConferenceId::new(keys::read_id(&row.item)?),
            account,
            list: row.kind,
        };
        Ok((entry, row.value.map(Packed::new)))
    };
    rows.into_iter().map(entry).collect()
}

/// The rows that are live; a name may lead to one that is not yet, or not any more.
fn found<T>(reads: Vec<Result<Option<T>, StoreError>>) -> Result<Vec<T>, StoreError> {
    reads.into_iter().filter_map(Result::transpose).collect()
}

/// One row more than the page has, to learn whether there is a next page.
fn more(limit: u32) -> u32 {
    limit.saturating_add(1)
}

/// The value of a `LIMIT`.
fn row_limit(limit: u32) -> CqlValue {
    CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX))
}

/// Cuts the rows to the page. Returns the start of the next page, if there is one.
fn cut<T>(rows: &mut Vec<T>, limit: u32, cursor: impl Fn(&T) -> Cursor) -> Option<Cursor> {
    if rows.len() <= limit as usize {
        return None;
    }
    rows.truncate(limit as usize);
    rows.last().map(cursor)
}

/// `bucket or kind (1) · id (16)` of the last row of the page.
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
