//! Tables whose rows are only ever written by conditional statements (lightweight transactions): compare-and-set.
//!
//! The database may carry a statement out long after its sender gave up, and after later statements: a node that was suspended
//! still has it. Such a statement must not find the row that it compares with. So no content of a row ever comes back, because a part
//! of it only grows; and a removed row keeps a random mark for an hour, which distinguishes it from a row that never existed.

use std::marker::PhantomData;
use std::time::Duration;

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::db::{Db, Failure, Kind, uncertain};
use super::rows::{Answer, Row};
use crate::random::{self, jittered};
use crate::store::StoreError;

/// Attempts to learn the outcome of a write that was not answered, or to repeat it, before the caller gets the error.
const SETTLE_TRIES: u32 = 4;
/// The pause before the first of these attempts. It doubles each time, and half of it is random.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// Repetitions of a read at SERIAL that failed.
const READ_AGAIN: u32 = 1;
/// Seconds for which the mark of a removed row stays: no statement is carried out this late.
const REMOVED_TTL: Ttl = 60 * 60;

/// The life of a row in seconds; 0 is for ever.
pub(super) type Ttl = i32;

/// A table, and the statements on it.
pub(super) struct CasTable<R> {
    read: PreparedStatement,
    read_serial: PreparedStatement,
    create: PreparedStatement,
    create_again: PreparedStatement,
    replace: PreparedStatement,
    remove: PreparedStatement,
    row: PhantomData<fn() -> R>,
}

/// The outcome of a conditional write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swapped<R> {
    /// The row is as requested, by this write or by another that requested the same.
    Done,
    /// The row was not as expected. This is the row now; `None` if there is none.
    Found(Option<R>),
}

enum Change<'a, R> {
    /// Without `old` there must be no row.
    Put {
        old: Option<&'a R>,
        new: &'a R,
        ttl: Ttl,
    },
    Remove {
        old: &'a R,
    },
}

impl<'a, R> Change<'a, R> {
    fn old(&self) -> Option<&'a R> {
        match self {
            Self::Put { old, .. } => *old,
            Self::Remove { old } => Some(*old),
        }
    }

    fn requested(&self) -> Option<&'a R> {
        match self {
            Self::Put { new, .. } => Some(*new),
            Self::Remove { .. } => None,
        }
    }
}

impl<R: Row> CasTable<R> {
    /// Prepares the statements on the table, whose primary key has the columns `key`.
    pub(super) async fn prepare(db: &Db, table: &str, key: &[&str]) -> Result<Self, StoreError> {
        let all = |form: fn(&str) -> String, separator: &str| {
            let columns = R::COLUMNS.iter().map(|column| form(column));
            columns.collect::<Vec<_>>().join(separator)
        };
        let row: Vec<_> = key.iter().map(|column| format!("{column} = ?")).collect();
        let row = row.join(" AND ");
        let read = format!("SELECT {} FROM {table} WHERE {row}", R::COLUMNS.join(", "));
        // Not an INSERT: that leaves a row marker behind when the columns expire.
        let set = all(|column| format!("{column} = ?"), ", ");
        let set = format!("UPDATE {table} USING TTL ? SET {set} WHERE {row}");
        let is_absent = all(|column| format!("{column} = null"), " AND ");
        let is_same = all(|column| format!("{column} = ?"), " AND ");
        let clear = all(|column| format!("{column} = null"), ", ");
        let remove = format!(
            "UPDATE {table} USING TTL {REMOVED_TTL} SET {clear}, removed = ? WHERE {row} IF {is_same}"
        );
        let conditional = async |cql: String| db.prepare(&cql, Kind::Conditional).await;
        Ok(Self {
            read: db.prepare(&read, Kind::Read).await?,
            read_serial: db.prepare(&read, Kind::SerialRead).await?,
            create: conditional(format!("{set} IF {is_absent} AND removed = null")).await?,
            create_again: conditional(format!("{set} IF {is_absent} AND removed = ?")).await?,
            replace: conditional(format!("{set} IF {is_same}")).await?,
            remove: conditional(remove).await?,
            row: PhantomData,
        })
    }

    /// The row, read at LOCAL_QUORUM.
    pub(super) async fn read(&self, db: &Db, key: &[CqlValue]) -> Result<Option<R>, StoreError> {
        Ok(find(db, &self.read, key).await?)
    }

    /// The row, read at SERIAL: it includes every conditional write that was acknowledged in any datacentre.
    pub(super) async fn read_serial(
        &self,
        db: &Db,
        key: &[CqlValue],
    ) -> Result<Option<R>, StoreError> {
        let mut turn = 0;
        loop {
            match find(db, &self.read_serial, key).await {
                Ok(found) => return Ok(found),
                // The driver sends no read at SERIAL a second time.
                Err(_) if turn < READ_AGAIN => turn += 1,
                Err(failure) => return Err(failure.error),
            }
            tokio::time::sleep(jittered(SETTLE_PAUSE)).await;
        }
    }

    /// Replaces `old`, or creates a row where there is none.
    pub(super) async fn put(
        &self,
        db: &Db,
        key: &[CqlValue],
        old: Option<&R>,
        new: &R,
        ttl: Ttl,
    ) -> Result<Swapped<R>, StoreError> {
        self.swap(db, key, &Change::Put { old, new, ttl }).await
    }

    /// Removes `old`.
    pub(super) async fn remove(
        &self,
        db: &Db,
        key: &[CqlValue],
        old: &R,
    ) -> Result<Swapped<R>, StoreError> {
        self.swap(db, key, &Change::Remove { old }).await
    }

    /// A write that is not answered is looked up at SERIAL, which also completes or discards what the database has begun of it.
    async fn swap(
        &self,
        db: &Db,
        key: &[CqlValue],
        change: &Change<'_, R>,
    ) -> Result<Swapped<R>, StoreError> {
        let compare_with_request = |found: Option<R>| {
            if found.as_ref() == change.requested() {
                Swapped::Done
            } else {
                Swapped::Found(found)
            }
        };
        let decide = |answer: Answer<R>| match answer.applied {
            Some(true) => Swapped::Done,
            _ => compare_with_request(found(answer)),
        };
        let mut failure = match self.try_once(db, key, change).await {
            Ok(answer) => return Ok(decide(answer)),
            Err(failure) => failure,
        };
        for turn in 0..SETTLE_TRIES {
            if failure.nothing_done {
                break;
            }
            tokio::time::sleep(jittered(SETTLE_PAUSE * 2u32.pow(turn))).await;
            let found = match find(db, &self.read_serial, key).await {
                Ok(found) => found,
                Err(again) => {
                    failure.error = again.error;
                    continue;
                }
            };
            if found.as_ref() != change.old() || found.as_ref() == change.requested() {
                return Ok(compare_with_request(found));
            }
            // It was not done. If the database still does it later, only one of the two finds the row that it compares with.
            match self.try_once(db, key, change).await {
                Ok(answer) => return Ok(decide(answer)),
                Err(again) => failure = again,
            }
        }
        Err(failure.error)
    }

    async fn try_once(
        &self,
        db: &Db,
        key: &[CqlValue],
        change: &Change<'_, R>,
    ) -> Result<Answer<R>, Failure> {
        let key = || key.iter().cloned().map(Some);
        match change {
            Change::Put { old, new, ttl } => {
                let mut values = vec![Some(CqlValue::Int(*ttl))];
                values.extend(new.values());
                values.extend(key());
                let Some(old) = old else {
                    let answer: Answer<R> = compare(db, &self.create, values.clone()).await?;
                    return match answer.removed.clone() {
                        Some(mark) if !answer.row.exists() => {
                            values.push(Some(CqlValue::Blob(mark)));
                            compare(db, &self.create_again, values).await
                        }
                        _ => Ok(answer),
                    };
                };
                values.extend(old.values());
                compare(db, &self.replace, values).await
            }
            Change::Remove { old } => {
                let mut values = vec![Some(CqlValue::Blob(random::bytes::<8>().to_vec()))];
                values.extend(key());
                values.extend(old.values());
                compare(db, &self.remove, values).await
            }
        }
    }
}

async fn find<R: Row>(
    db: &Db,
    statement: &PreparedStatement,
    key: &[CqlValue],
) -> Result<Option<R>, Failure> {
    let answers: Vec<Answer<R>> = db.rows(statement, key.to_vec()).await?;
    Ok(answers.into_iter().next().and_then(found))
}

/// Sends a conditional statement.
async fn compare<R: Row>(
    db: &Db,
    statement: &PreparedStatement,
    values: Vec<Option<CqlValue>>,
) -> Result<Answer<R>, Failure> {
    let answers: Vec<Answer<R>> = db.rows(statement, values).await?;
    let answer = answers.into_iter().next();
    answer.ok_or_else(|| uncertain(StoreError::Corrupt("the answer to a conditional write")))
}

fn found<R: Row>(answer: Answer<R>) -> Option<R> {
    Some(answer.row).filter(R::exists)
}
