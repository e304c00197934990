//! Who has a standing in which conference: a row with the conference, and one in the account's own list that leads to it.

use confab_protocol::control::{AccountId, ConferenceId};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};

use super::cells::Swapped;
use super::db::{Db, Kind, blob};
use super::{Core, ROUNDS, join_all, values};
use crate::clock::UnixMillis;
use crate::store::{
    ConferenceRecord, Cursor, MemberRecord, Membership, Page, Standing, StoreError,
};

/// The members of a conference are spread over so many partitions: 10 000 of them take 30 kB in each, and 1000 who join in
/// the same second do not wait for one another. Never change it: it is in the keys.
pub(super) const BUCKETS: u8 = 16;
/// Rows of an account's list that are looked at together.
const CHUNK: i32 = 64;

/// Which of its lists an account has a conference in. The first column after the account's.
const OWNED: i8 = 0;
const JOINED: i8 = 1;

/// The place of a conference in an account's list.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) conference: ConferenceId,
    pub(super) account: AccountId,
    list: i8,
}

impl Place {
    pub(super) fn of(conference: &ConferenceRecord, account: AccountId) -> Self {
        Self {
            conference: conference.id,
            account,
            list: if conference.owner == account {
                OWNED
            } else {
                JOINED
            },
        }
    }

    pub(super) fn member_key(&self) -> [CqlValue; 3] {
        member_key(self.conference, self.account)
    }

    fn key(&self) -> [CqlValue; 3] {
        [
            CqlValue::Blob(self.account.as_bytes().to_vec()),
            CqlValue::TinyInt(self.list),
            CqlValue::Blob(self.conference.as_bytes().to_vec()),
        ]
    }
}

/// The statements that read several rows.
pub(super) struct Lists {
    members: PreparedStatement,
    count_members: PreparedStatement,
    conferences: PreparedStatement,
    owned: PreparedStatement,
}

impl Lists {
    pub(super) async fn prepare(
        db: &Db,
        members: &str,
        conferences: &str,
    ) -> Result<Self, StoreError> {
        let read = async |cql: String| db.prepare(&cql, Kind::Read).await;
        Ok(Self {
            members: read(format!(
                "SELECT u, v FROM {members} WHERE c = ? AND b = ? AND u > ? LIMIT ?"
            ))
            .await?,
            count_members: read(format!(
                "SELECT count(*) FROM {members} WHERE c = ? AND b = ?"
            ))
            .await?,
            conferences: read(format!(
                "SELECT o, c, v FROM {conferences} WHERE u = ? AND (o, c) > (?, ?) LIMIT ?"
            ))
            .await?,
            owned: read(format!(
                "SELECT c FROM {conferences} WHERE u = ? AND o = {OWNED} AND c > ? LIMIT {CHUNK}"
            ))
            .await?,
        })
    }
}

impl Core {
    pub(super) async fn member(
        &self,
        conference: ConferenceId,
        account: AccountId,
    ) -> Result<Option<Standing>, StoreError> {
        let key = member_key(conference, account);
        let found = self.members.read(&self.db, &key).await?;
        found.map(|value| values::read_standing(&value)).transpose()
    }

    pub(super) async fn add_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        standing: Standing,
    ) -> Result<(), StoreError> {
        let value = values::standing(standing);
        let key = member_key(conference, account);
        let (record, is_account, found) = tokio::join!(
            self.conference(conference),
            self.is_account(account),
            self.members.read(&self.db, &key),
        );
        let Some(record) = record? else {
            return Err(StoreError::NotFound);
        };
        if !is_account? {
            return Err(StoreError::NotFound);
        }
        if found?.is_some_and(|found| found != value) {
            return Err(StoreError::Conflict);
        }
        let place = Place::of(&record, account);
        self.point_to(&place, standing.since).await?;
        let added = self.members.swap(&self.db, &key, None, Some((&value, 0)));
        if let Swapped::Found(found) = added.await? {
            // Somebody else was faster, and the place in the list has to tell of that standing.
            if let Some(other) = found {
                let since = values::read_standing(&other)?.since;
                let (mine, theirs) = (values::tag(standing.since), values::tag(since));
                self.memberships
                    .swap(&self.db, &place.key(), Some(&mine), Some((&theirs, 0)))
                    .await?;
            }
            return Err(StoreError::Conflict);
        }
        // Looked at last: who deletes either closes it first, then removes the standings that it finds.
        let (is_conference, is_account) =
            tokio::join!(self.conference(conference), self.is_account(account));
        if is_conference?.is_some() && is_account? {
            return Ok(());
        }
        self.remove_with_place_last(&place, value).await?;
        Err(StoreError::NotFound)
    }

    pub(super) async fn change_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
        new: Standing,
    ) -> Result<(), StoreError> {
        let key = member_key(conference, account);
        let mut found = self.members.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let value = found.ok_or(StoreError::NotFound)?;
            let is = values::read_standing(&value)?;
            if same_rights(is, new) {
                return Ok(());
            }
            if !same_rights(is, old) {
                return Err(StoreError::Conflict);
            }
            let changed = values::standing(Standing {
                since: is.since,
                ..new
            });
            let swapped = self
                .members
                .swap(&self.db, &key, Some(&value), Some((&changed, 0)));
            match swapped.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }

    pub(super) async fn remove_member(
        &self,
        conference: ConferenceId,
        account: AccountId,
        old: Standing,
    ) -> Result<(), StoreError> {
        let key = member_key(conference, account);
        let mut found = self.members.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let value = found.ok_or(StoreError::NotFound)?;
            let is = values::read_standing(&value)?;
            if !same_rights(is, old) {
                return Err(StoreError::Conflict);
            }
            match self
                .members
                .swap(&self.db, &key, Some(&value), None)
                .await?
            {
                Swapped::Done => {
                    // Last: a standing that no list leads to would outlive its account.
                    if let Some(record) = self.conference(conference).await? {
                        self.forget(&Place::of(&record, account), is.since).await?;
                    }
                    return Ok(());
                }
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Puts the conference into the account's list, for a standing since `since`.
    pub(super) async fn point_to(
        &self,
        place: &Place,
        since: UnixMillis,
    ) -> Result<(), StoreError> {
        let (key, tag) = (place.key(), values::tag(since));
        let mut old = None;
        for _ in 0..ROUNDS {
            let new = Some((tag.as_slice(), 0));
            let swapped = self.memberships.swap(&self.db, &key, old.as_deref(), new);
            match swapped.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => old = other,
            }
        }
        Err(StoreError::Conflict)
    }

    /// Takes the conference out of the account's list, unless it is there for a newer standing.
    pub(super) async fn forget(&self, place: &Place, since: UnixMillis) -> Result<(), StoreError> {
        self.memberships
            .swap(&self.db, &place.key(), Some(&values::tag(since)), None)
            .await
            .map(drop)
    }

    /// Takes a standing away, whatever it is, for the end of its account: whose list leads to it.
    async fn remove_with_place_last(
        &self,
        place: &Place,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = values::read_standing(&value)?.since;
            found = self.remove_standing(place, &value).await?;
            self.forget(place, since).await?;
        }
        Ok(())
    }

    /// The same for the end of its conference: the standing itself leads to the place in the list.
    pub(super) async fn remove_with_place_first(
        &self,
        place: &Place,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut found = Some(value);
        while let Some(value) = found {
            let since = values::read_standing(&value)?.since;
            self.forget(place, since).await?;
            found = self.remove_standing(place, &value).await?;
        }
        Ok(())
    }

    /// Takes this standing away; the other one that was found in its place.
    async fn remove_standing(
        &self,
        place: &Place,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let key = place.member_key();
        let removed = self.members.swap(&self.db, &key, Some(value), None);
        match removed.await? {
            Swapped::Done => Ok(None),
            Swapped::Found(other) => Ok(other),
        }
    }

    pub(super) async fn leave_everywhere(&self, account: AccountId) -> Result<(), StoreError> {
        let mut after = beginning();
        loop {
            let rows = self.places_after(account, &after, CHUNK).await?;
            let leaves = rows.iter().map(|(place, tag)| async move {
                let key = place.member_key();
                if let Some(standing) = self.members.read(&self.db, &key).await? {
                    self.remove_with_place_last(place, standing).await?;
                }
                // One whose standing is gone, or was never written.
                self.memberships
                    .swap(&self.db, &place.key(), Some(tag), None)
                    .await
                    .map(drop)
            });
            for left in join_all(leaves).await {
                left?;
            }
            match rows.last() {
                Some((place, _)) if rows.len() == CHUNK as usize => after = position(place),
                _ => return Ok(()),
            }
        }
    }

    /// The conferences that are in the account's list as its own.
    pub(super) async fn owned(&self, account: AccountId) -> Result<Vec<ConferenceId>, StoreError> {
        let (mut owned, mut last) = (Vec::new(), Vec::new());
        loop {
            let values = vec![
                CqlValue::Blob(account.as_bytes().to_vec()),
                CqlValue::Blob(last),
            ];
            let answer = self.db.run(&self.lists.owned, values).await?;
            let count = answer.rows.len();
            for row in answer.rows {
                let id = blob(row.columns.into_iter().next().flatten()).unwrap_or_default();
                owned.push(ConferenceId::new(values::id(&id)?));
            }
            match owned.last() {
                Some(id) if count == CHUNK as usize => last = id.as_bytes().to_vec(),
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
            None => beginning(),
            Some(cursor) => {
                let (list, id) = cursor_parts(&cursor)?;
                (list as i8, id.to_vec())
            }
        };
        let mut rows = self.places_after(account, &after, more(limit)).await?;
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
            // A crash may have left a place that leads nowhere.
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
        for ((_, (_, value)), account) in rows.iter().zip(accounts) {
            // The account may be on its way out.
            if let Some(account) = account? {
                items.push(MemberRecord {
                    account: account.id,
                    username: account.username,
                    standing: values::read_standing(value)?,
                });
            }
        }
        Ok(Page { items, next })
    }

    pub(super) async fn count_members(&self, conference: ConferenceId) -> Result<u64, StoreError> {
        let counts = (0..BUCKETS).map(|bucket| async move {
            let answer = self
                .db
                .run(&self.lists.count_members, partition(conference, bucket))
                .await?;
            match answer.rows.first().and_then(|row| row.columns.first()) {
                Some(Some(CqlValue::BigInt(count))) => {
                    u64::try_from(*count).map_err(|_| StoreError::Corrupt("a count"))
                }
                _ => Err(StoreError::Corrupt("a count")),
            }
        });
        join_all(counts).await.into_iter().sum()
    }

    /// Rows of one bucket, by account, from the one after `last` on.
    pub(super) async fn members_after(
        &self,
        conference: ConferenceId,
        bucket: u8,
        last: &[u8],
        limit: u32,
    ) -> Result<Vec<(AccountId, Vec<u8>)>, StoreError> {
        let mut values = partition(conference, bucket);
        values.push(CqlValue::Blob(last.to_vec()));
        values.push(CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX)));
        let answer = self.db.run(&self.lists.members, values).await?;
        let mut rows = Vec::with_capacity(answer.rows.len());
        for row in answer.rows {
            let [account, value] = columns(row)?;
            let (Some(account), Some(value)) = (blob(account), blob(value)) else {
                return Err(StoreError::Corrupt("a member"));
            };
            rows.push((AccountId::new(values::id(&account)?), value));
        }
        Ok(rows)
    }

    async fn places_after(
        &self,
        account: AccountId,
        after: &(i8, Vec<u8>),
        limit: i32,
    ) -> Result<Vec<(Place, Vec<u8>)>, StoreError> {
        let values = vec![
            CqlValue::Blob(account.as_bytes().to_vec()),
            CqlValue::TinyInt(after.0),
            CqlValue::Blob(after.1.clone()),
            CqlValue::Int(limit),
        ];
        let answer = self.db.run(&self.lists.conferences, values).await?;
        let mut places = Vec::with_capacity(answer.rows.len());
        for row in answer.rows {
            let [list, conference, tag] = columns(row)?;
            let (Some(CqlValue::TinyInt(list)), Some(conference), Some(tag)) =
                (list, blob(conference), blob(tag))
            else {
                return Err(StoreError::Corrupt("a membership"));
            };
            let place = Place {
                conference: ConferenceId::new(values::id(&conference)?),
                account,
                list,
            };
            places.push((place, tag));
        }
        Ok(places)
    }
}

pub(super) fn member_key(conference: ConferenceId, account: AccountId) -> [CqlValue; 3] {
    let account = account.as_bytes();
    [
        CqlValue::Blob(conference.as_bytes().to_vec()),
        // Its last byte is random.
        CqlValue::TinyInt((account[15] % BUCKETS) as i8),
        CqlValue::Blob(account.to_vec()),
    ]
}

fn partition(conference: ConferenceId, bucket: u8) -> Vec<CqlValue> {
    vec![
        CqlValue::Blob(conference.as_bytes().to_vec()),
        CqlValue::TinyInt(bucket as i8),
    ]
}

fn columns<const N: usize>(row: Row) -> Result<[Option<CqlValue>; N], StoreError> {
    row.columns
        .try_into()
        .map_err(|_| StoreError::Corrupt("the columns of a row"))
}

/// Before every place.
fn beginning() -> (i8, Vec<u8>) {
    (-1, Vec::new())
}

fn position(place: &Place) -> (i8, Vec<u8>) {
    (place.list, place.conference.as_bytes().to_vec())
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

fn same_rights(one: Standing, other: Standing) -> bool {
    (one.role, one.muted) == (other.role, other.muted)
}
