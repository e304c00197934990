//! The journal of operations that write several tables: begun and not ended.
//!
//! An operation writes a note before its first write, and deletes it after its last. A sweep finds the notes of operations that a
//! crash interrupted, and finishes or undoes them. Notes are few: they live as long as their operation, or half a day after a crash.
//! A guest's account has one from its beginning: a sweep deletes it after a day.

use confab_protocol::control::{AccountId, ConferenceId, Email};
use scylla::DeserializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, CqlValue};

use super::conference_row::{ClosingConference, time, timestamp};
use super::db::{Db, Kind};
use super::keys;
use super::packed::ClosingAccount;
use crate::clock::UnixMillis;
use crate::random;
use crate::store::StoreError;

/// Partitions of the journal.
pub(super) const BUCKETS: u8 = 16;
/// Notes that are read at a time.
pub(super) const CHUNK: usize = 256;

/// An operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Work {
    CreateAccount(ClosingAccount),
    DeleteAccount(AccountId),
    /// The account gets this address or loses it: whichever it is, the address is free unless the account has it.
    ChangeEmail(AccountId, Email),
    /// The account of a guest, to be deleted at the time at which the note says that this begins.
    ExpireGuest(AccountId),
    CreateConference(ClosingConference),
    DeleteConference(ConferenceId),
}

const CREATE_ACCOUNT: &str = "create account";
const DELETE_ACCOUNT: &str = "delete account";
const CHANGE_EMAIL: &str = "change email";
const EXPIRE_GUEST: &str = "expire guest";
const CREATE_CONFERENCE: &str = "create conference";
const DELETE_CONFERENCE: &str = "delete conference";

impl Work {
    /// The column `work`.
    fn name(&self) -> &'static str {
        match self {
            Self::CreateAccount(_) => CREATE_ACCOUNT,
            Self::DeleteAccount(_) => DELETE_ACCOUNT,
            Self::ChangeEmail(..) => CHANGE_EMAIL,
            Self::ExpireGuest(_) => EXPIRE_GUEST,
            Self::CreateConference(_) => CREATE_CONFERENCE,
            Self::DeleteConference(_) => DELETE_CONFERENCE,
        }
    }

    fn id(&self) -> &[u8; 16] {
        match self {
            Self::CreateAccount(account) => account.id.as_bytes(),
            Self::DeleteAccount(id) | Self::ChangeEmail(id, _) | Self::ExpireGuest(id) => {
                id.as_bytes()
            }
            Self::CreateConference(conference) => conference.id.as_bytes(),
            Self::DeleteConference(id) => id.as_bytes(),
        }
    }

    /// The columns `username`, `email`, `slug`, `owner` and `created`.
    fn values(&self) -> [Option<CqlValue>; 5] {
        let text = |text: &str| Some(CqlValue::Text(text.to_owned()));
        match self {
            Self::CreateAccount(account) => [
                text(account.username.as_str()),
                account
                    .email
                    .as_ref()
                    .and_then(|email| text(email.as_str())),
                None,
                None,
                None,
            ],
            Self::ChangeEmail(_, email) => [None, text(email.as_str()), None, None, None],
            Self::CreateConference(conference) => [
                None,
                None,
                text(conference.slug.as_str()),
                Some(keys::bytes(conference.owner.as_bytes())),
                Some(CqlValue::Timestamp(timestamp(conference.created))),
            ],
            Self::DeleteAccount(_) | Self::ExpireGuest(_) | Self::DeleteConference(_) => {
                [const { None }; 5]
            }
        }
    }
}

/// A note. Its key names the operation and the attempt, so that two attempts at the same do not delete each other's note.
#[derive(Debug)]
pub(super) struct Note {
    key: [CqlValue; 4],
    pub(super) begun: UnixMillis,
    /// `None` if a newer program wrote it.
    pub(super) work: Option<Work>,
}

#[derive(DeserializeRow)]
struct NoteRow {
    work: String,
    id: Vec<u8>,
    attempt: Vec<u8>,
    begun: CqlTimestamp,
    username: Option<String>,
    email: Option<String>,
    slug: Option<String>,
    owner: Option<Vec<u8>>,
    created: Option<CqlTimestamp>,
}

impl NoteRow {
    fn read(&self, bucket: u8) -> Result<Note, StoreError> {
        let id = keys::read_id(&self.id)?;
        let account = || {
            Some(ClosingAccount {
                id: AccountId::new(id),
                username: self.username.as_ref()?.parse().ok()?,
                email: match &self.email {
                    None => None,
                    Some(email) => Some(email.parse().ok()?),
                },
            })
        };
        let conference = || {
            Some(ClosingConference {
                id: ConferenceId::new(id),
                slug: self.slug.as_ref()?.parse().ok()?,
                owner: AccountId::new(self.owner.as_deref()?.try_into().ok()?),
                created: time(self.created?)?,
            })
        };
        let wrong = || StoreError::Corrupt("a note of an unfinished operation");
        let work = match self.work.as_str() {
            CREATE_ACCOUNT => Some(Work::CreateAccount(account().ok_or_else(wrong)?)),
            DELETE_ACCOUNT => Some(Work::DeleteAccount(AccountId::new(id))),
            CHANGE_EMAIL => {
                let email = self.email.as_ref().and_then(|email| email.parse().ok());
                let email = email.ok_or_else(wrong)?;
                Some(Work::ChangeEmail(AccountId::new(id), email))
            }
            EXPIRE_GUEST => Some(Work::ExpireGuest(AccountId::new(id))),
            CREATE_CONFERENCE => Some(Work::CreateConference(conference().ok_or_else(wrong)?)),
            DELETE_CONFERENCE => Some(Work::DeleteConference(ConferenceId::new(id))),
            _ => None,
        };
        Ok(Note {
            key: key(bucket, &self.work, &id, &self.attempt),
            begun: time(self.begun).ok_or_else(wrong)?,
            work,
        })
    }
}

/// The statements on `unfinished`.
pub(super) struct Journal {
    insert: PreparedStatement,
    delete: PreparedStatement,
    list: PreparedStatement,
}

impl Journal {
    pub(super) async fn prepare(db: &Db, table: &str) -> Result<Self, StoreError> {
        const COLUMNS: &str = "work, id, attempt, begun, username, email, slug, owner, created";
        let insert = format!(
            "INSERT INTO {table} (bucket, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        let delete =
            format!("DELETE FROM {table} WHERE bucket = ? AND work = ? AND id = ? AND attempt = ?");
        let list = format!(
            "SELECT {COLUMNS} FROM {table} \
             WHERE bucket = ? AND (work, id, attempt) > (?, ?, ?) LIMIT {CHUNK}"
        );
        Ok(Self {
            insert: db.prepare(&insert, Kind::Write).await?,
            delete: db.prepare(&delete, Kind::Write).await?,
            list: db.prepare(&list, Kind::Read).await?,
        })
    }

    /// Writes a note of an operation that begins at `begun`.
    pub(super) async fn begin(
        &self,
        db: &Db,
        work: Work,
        begun: UnixMillis,
    ) -> Result<Note, StoreError> {
        let bucket = work.id()[15] % BUCKETS;
        let key = key(bucket, work.name(), work.id(), &random::bytes::<8>());
        let mut values: Vec<_> = key.iter().cloned().map(Some).collect();
        values.push(Some(CqlValue::Timestamp(timestamp(begun))));
        values.extend(work.values());
        db.execute(&self.insert, values).await?;
        Ok(Note {
            key,
            begun,
            work: Some(work),
        })
    }

    /// Deletes the note of an operation that has ended.
    pub(super) async fn end(&self, db: &Db, note: &Note) -> Result<(), StoreError> {
        Ok(db.execute(&self.delete, note.key.clone()).await?)
    }

    /// Up to [`CHUNK`] notes of a partition, from the one after `last` on.
    pub(super) async fn list(
        &self,
        db: &Db,
        bucket: u8,
        last: Option<&Note>,
    ) -> Result<Vec<Note>, StoreError> {
        let before_all = || {
            let none = || CqlValue::Blob(Vec::new());
            let partition = CqlValue::TinyInt(bucket as i8);
            [partition, CqlValue::Text(String::new()), none(), none()]
        };
        let after = last.map_or_else(before_all, |note| note.key.clone());
        let rows: Vec<NoteRow> = db.rows(&self.list, after).await?;
        rows.iter().map(|row| row.read(bucket)).collect()
    }
}

fn key(bucket: u8, work: &str, id: &[u8; 16], attempt: &[u8]) -> [CqlValue; 4] {
    [
        CqlValue::TinyInt(bucket as i8),
        CqlValue::Text(work.to_owned()),
        keys::bytes(id),
        keys::bytes(attempt),
    ]
}
