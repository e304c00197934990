//! The journal of operations that write several tables: begun and not ended.
//!
//! An operation notes itself before its first write and strikes the note out after its last. What a crash left behind is
//! found by a sweep, which finishes or undoes it. Notes are few: they live as long as their operation, or half a day after a
//! crash.

use std::time::Duration;

use confab_protocol::control::{AccountId, ConferenceId};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::Core;
use super::db::{Db, Kind, blob};
use super::values::{self, State};
use crate::clock::UnixMillis;
use crate::random;
use crate::store::StoreError;

/// Notes are spread over so many partitions.
const BUCKETS: u8 = 16;
/// What is being made is left alone for so long, and what is to be deleted and lives. Every statement of it was given up long before.
const UNTOUCHED: Duration = Duration::from_secs(10 * 60);
/// What was given up half-made is looked at again for so long: who was making it may have stood still meanwhile, and write more
/// before it finds out. Shorter than the mark of what is gone lives.
const MAY_COME_LATE: Duration = Duration::from_secs(12 * 60 * 60);
/// Notes that are read at a time.
pub(super) const CHUNK: usize = 256;

/// What was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub(super) enum Work {
    CreateAccount = 1,
    DeleteAccount = 2,
    CreateConference = 3,
    DeleteConference = 4,
}

/// A note in the journal.
#[derive(Debug)]
pub(super) struct Note {
    work: i8,
    id: [u8; 16],
    nonce: Vec<u8>,
    /// When it was begun.
    begun: UnixMillis,
    /// What it is about, as its own row has it.
    value: Vec<u8>,
}

pub(super) struct Journal {
    insert: PreparedStatement,
    delete: PreparedStatement,
    list: PreparedStatement,
}

impl Journal {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        let insert = format!("INSERT INTO {table} (b, k, i, n, t, v) VALUES (?, ?, ?, ?, ?, ?)");
        let delete = format!("DELETE FROM {table} WHERE b = ? AND k = ? AND i = ? AND n = ?");
        let list = format!(
            "SELECT k, i, n, t, v FROM {table} WHERE b = ? AND (k, i, n) > (?, ?, ?) LIMIT {CHUNK}"
        );
        Ok(Self {
            insert: db.prepare(&insert, Kind::Write).await?,
            delete: db.prepare(&delete, Kind::Write).await?,
            list: db.prepare(&list, Kind::Read).await?,
        })
    }

    /// Notes what begins now.
    pub(super) async fn begin(
        &self,
        db: &Db,
        work: Work,
        id: &[u8; 16],
        begun: UnixMillis,
        value: Vec<u8>,
    ) -> Result<Note, StoreError> {
        let note = Note {
            work: work as i8,
            id: *id,
            // Two attempts at the same thing must not strike out each other's note.
            nonce: random::bytes::<8>().to_vec(),
            begun,
            value,
        };
        let mut values = note.key();
        values.push(CqlValue::BigInt(i64::try_from(begun.0).unwrap_or(i64::MAX)));
        values.push(CqlValue::Blob(note.value.clone()));
        db.run(&self.insert, values).await?;
        Ok(note)
    }

    /// Strikes out what has ended.
    pub(super) async fn end(&self, db: &Db, note: &Note) -> Result<(), StoreError> {
        db.run(&self.delete, note.key()).await?;
        Ok(())
    }

    /// Some of a partition's notes, from the one after `last` on.
    async fn list(
        &self,
        db: &Db,
        bucket: u8,
        last: Option<&Note>,
    ) -> Result<Vec<Note>, StoreError> {
        let after = match last {
            Some(note) => note.key(),
            None => vec![
                CqlValue::TinyInt(bucket as i8),
                CqlValue::TinyInt(i8::MIN),
                CqlValue::Blob(Vec::new()),
                CqlValue::Blob(Vec::new()),
            ],
        };
        let answer = db.run(&self.list, after).await?;
        let mut notes = Vec::new();
        for row in answer.rows {
            let Ok([work, id, nonce, begun, value]) = <[_; 5]>::try_from(row.columns) else {
                return Err(StoreError::Corrupt("a note"));
            };
            let (Some(CqlValue::TinyInt(work)), Some(CqlValue::BigInt(begun))) = (work, begun)
            else {
                return Err(StoreError::Corrupt("a note"));
            };
            notes.push(Note {
                work,
                id: values::id(&blob(id).unwrap_or_default())?,
                nonce: blob(nonce).unwrap_or_default(),
                begun: UnixMillis(u64::try_from(begun).unwrap_or_default()),
                value: blob(value).unwrap_or_default(),
            });
        }
        Ok(notes)
    }
}

impl Note {
    fn key(&self) -> Vec<CqlValue> {
        vec![
            CqlValue::TinyInt((self.id[15] % BUCKETS) as i8),
            CqlValue::TinyInt(self.work),
            CqlValue::Blob(self.id.to_vec()),
            CqlValue::Blob(self.nonce.clone()),
        ]
    }
}

impl Core {
    /// Finishes or undoes what was begun and not ended; how many notes it struck out.
    ///
    /// # Errors
    ///
    /// The first that it met; the other notes were tried all the same.
    pub(super) async fn settle_unfinished(&self, now: UnixMillis) -> Result<u64, StoreError> {
        let (mut settled, mut failed) = (0, None);
        for bucket in 0..BUCKETS {
            let mut last = None;
            loop {
                let notes = match self.journal.list(&self.db, bucket, last.as_ref()).await {
                    Ok(notes) => notes,
                    Err(error) => {
                        failed.get_or_insert(error);
                        break;
                    }
                };
                for note in &notes {
                    match self.settle(note, now).await {
                        Ok(is_over) => settled += u64::from(is_over),
                        Err(error) => {
                            failed.get_or_insert(error);
                        }
                    }
                }
                if notes.len() < CHUNK {
                    break;
                }
                last = notes.into_iter().next_back();
            }
        }
        failed.map_or(Ok(settled), Err)
    }

    /// Whether the note was struck out.
    async fn settle(&self, note: &Note, now: UnixMillis) -> Result<bool, StoreError> {
        let age = now.since(note.begun);
        let is_made = matches!(note.work, 1 | 3);
        if is_made && age < UNTOUCHED {
            return Ok(false);
        }
        let (account, conference) = (AccountId::new(note.id), ConferenceId::new(note.id));
        let is_over = match note.work {
            1 => {
                let record = values::read_account(account, &note.value)?;
                self.abandon_account(&record).await? || age >= MAY_COME_LATE
            }
            // What still lives was not deleted, as its owner was told, or will be in a moment.
            2 => match self.account_state(account).await? {
                Some(State::Live) => age >= UNTOUCHED,
                Some(State::Held | State::Closing) => match self.close_account(account).await {
                    Ok(()) => true,
                    // It owns a conference again.
                    Err(StoreError::Conflict) => age >= UNTOUCHED,
                    Err(error) => return Err(error),
                },
                Some(State::Gone) | None => true,
            },
            3 => {
                let record = values::read_conference(conference, &note.value)?;
                self.abandon_conference(&record).await? || age >= MAY_COME_LATE
            }
            4 => match self.conference_state(conference).await? {
                Some(State::Live) => age >= UNTOUCHED,
                _ => self.close_conference(conference).await.map(|()| true)?,
            },
            // A newer program's: that one settles it.
            _ => false,
        };
        if is_over {
            self.journal.end(&self.db, note).await?;
        }
        Ok(is_over)
    }
}
