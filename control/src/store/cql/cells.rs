//! Rows that are changed by comparing: each is a key and one packed value, and is only ever written by conditional
//! statements.
//!
//! A statement that was given up may still be carried out, long after others: it lies in a node that stood still and goes on.
//! So it must not find again what it compares with. A value never comes back, for whatever is in it moves on only; and a row
//! that was removed keeps a mark of its own for a while, by which it differs from one that was never there.

use std::time::Duration;

use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::StoreError;
use super::db::{Answer, Db, Failure, Kind};
use crate::random::{self, jittered};

/// How often a write whose outcome is unknown is looked up, or begun again, before the caller is told so.
const SETTLE_TRIES: u32 = 4;
/// The first pause between two tries; doubled each time, and random from half of it up.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// How often a read at SERIAL is begun again.
const READ_AGAIN: u32 = 1;

/// A table of such rows, with its statements.
pub(super) struct Cells {
    read: PreparedStatement,
    read_serial: PreparedStatement,
    set_absent: PreparedStatement,
    set_removed: PreparedStatement,
    set_same: PreparedStatement,
    remove_same: PreparedStatement,
}

/// What came of a conditional write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// The row is as it was wished, by this write or by one that wished the same.
    Done,
    /// It was not as expected, and is so; `None` when there is none.
    Found(Option<Vec<u8>>),
}

/// For how long a row lives, in seconds; 0 is for ever.
pub(super) type Ttl = i32;

/// The mark of a row that was removed stays for so long, in seconds: no statement is carried out this late.
const REMOVED_TTL: Ttl = 60 * 60;

impl Cells {
    /// Prepares the statements of the table, whose primary key has the columns `key`.
    pub(super) async fn prepare(db: &Db, table: &str, key: &[&str]) -> Result<Self, StoreError> {
        let row: Vec<_> = key.iter().map(|column| format!("{column} = ?")).collect();
        let row = row.join(" AND ");
        let read = format!("SELECT v FROM {table} WHERE {row}");
        // Never an INSERT: that would leave a mark of the row behind when its value ends.
        let set = format!("UPDATE {table} USING TTL ? SET v = ? WHERE {row}");
        let remove = format!(
            "UPDATE {table} USING TTL {REMOVED_TTL} SET v = null, x = ? WHERE {row} IF v = ?"
        );
        Ok(Self {
            read: db.prepare(&read, Kind::Read).await?,
            read_serial: db.prepare(&read, Kind::SerialRead).await?,
            set_absent: db
                .prepare(
                    &format!("{set} IF v = null AND x = null"),
                    Kind::Conditional,
                )
                .await?,
            set_removed: db
                .prepare(&format!("{set} IF v = null AND x = ?"), Kind::Conditional)
                .await?,
            set_same: db
                .prepare(&format!("{set} IF v = ?"), Kind::Conditional)
                .await?,
            remove_same: db.prepare(&remove, Kind::Conditional).await?,
        })
    }

    /// The row's value, as a quorum of this datacentre knows it.
    pub(super) async fn read(
        &self,
        db: &Db,
        key: &[CqlValue],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(db.run(&self.read, key.to_vec()).await?.value())
    }

    /// The row's value as decided in the world: sees every conditional write that was acknowledged anywhere.
    pub(super) async fn read_decided(
        &self,
        db: &Db,
        key: &[CqlValue],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut turn = 0;
        loop {
            match db.run(&self.read_serial, key.to_vec()).await {
                Ok(answer) => return Ok(answer.value()),
                // The driver sends no read at SERIAL a second time.
                Err(_) if turn < READ_AGAIN => turn += 1,
                Err(failure) => return Err(failure.error),
            }
            tokio::time::sleep(jittered(SETTLE_PAUSE)).await;
        }
    }

    /// Puts `new` in the place of `old`; `None` stands for no row.
    ///
    /// A write whose outcome did not come back is looked up at SERIAL, which also settles what the database has begun of it.
    pub(super) async fn swap(
        &self,
        db: &Db,
        key: &[CqlValue],
        old: Option<&[u8]>,
        new: Option<(&[u8], Ttl)>,
    ) -> Result<Swapped, StoreError> {
        let wished = new.map(|(value, _)| value);
        let decide = |found: Option<Vec<u8>>| {
            if found.as_deref() == wished {
                Swapped::Done
            } else {
                Swapped::Found(found)
            }
        };
        let mut failure = match self.try_once(db, key, old, new).await {
            Ok(answer) if answer.is_applied()? => return Ok(Swapped::Done),
            Ok(answer) => return Ok(decide(answer.value())),
            Err(failure) => failure,
        };
        for turn in 0..SETTLE_TRIES {
            if failure.nothing_done {
                break;
            }
            tokio::time::sleep(jittered(SETTLE_PAUSE * 2u32.pow(turn))).await;
            match db.run(&self.read_serial, key.to_vec()).await {
                Err(again) => failure.error = again.error,
                Ok(answer) => match (answer.value(), old) {
                    // It was not done: do it again. If it is done all the same, only one of the two finds what it compares with.
                    (found, old) if found.as_deref() == old && found.as_deref() != wished => {
                        match self.try_once(db, key, old, new).await {
                            Ok(answer) if answer.is_applied()? => return Ok(Swapped::Done),
                            Ok(answer) => return Ok(decide(answer.value())),
                            Err(again) => failure = again,
                        }
                    }
                    (found, _) => return Ok(decide(found)),
                },
            }
        }
        Err(failure.error)
    }

    async fn try_once(
        &self,
        db: &Db,
        key: &[CqlValue],
        old: Option<&[u8]>,
        new: Option<(&[u8], Ttl)>,
    ) -> Result<Answer, Failure> {
        let set = new.map(|(value, ttl)| [CqlValue::Int(ttl), CqlValue::Blob(value.to_vec())]);
        let run =
            async |statement: &PreparedStatement, set: &[CqlValue], compared: Option<&[u8]>| {
                let compared = compared.map(|bytes| CqlValue::Blob(bytes.to_vec()));
                let values = set.iter().chain(key).cloned().chain(compared);
                db.run(statement, values.collect()).await
            };
        match (old, set) {
            (None, Some(set)) => {
                let answer = run(&self.set_absent, &set, None).await?;
                match answer.mark() {
                    // One that was removed, and is not there again.
                    Some(mark) if !answer.has_value() => {
                        run(&self.set_removed, &set, Some(&mark)).await
                    }
                    _ => Ok(answer),
                }
            }
            (Some(old), Some(set)) => run(&self.set_same, &set, Some(old)).await,
            (Some(old), None) => {
                let mark = CqlValue::Blob(random::bytes::<8>().to_vec());
                run(&self.remove_same, &[mark], Some(old)).await
            }
            // What is not there need not be removed; the callers have a row in hand.
            (None, None) => db.run(&self.read_serial, key.to_vec()).await,
        }
    }
}
