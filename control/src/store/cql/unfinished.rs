//! Finishes or undoes operations that a crash interrupted.

use std::time::Duration;

use super::core::Core;
use super::journal::{BUCKETS, CHUNK, Note, Work};
use super::packed::State;
use crate::clock::UnixMillis;
use crate::store::StoreError;

/// The age below which a sweep leaves alone what is being created, and a deletion that has not changed anything yet. Every statement of
/// an older operation was given up long before.
const UNTOUCHED: Duration = Duration::from_secs(10 * 60);
/// The age up to which a sweep looks again at what it has undone: its creator may have been suspended, and may write more before it
/// learns of that. Shorter than the mark of a deleted row lives.
const MAY_COME_LATE: Duration = Duration::from_secs(12 * 60 * 60);

impl Core {
    /// Finishes or undoes operations that have not ended. Returns the number of notes that it deleted.
    ///
    /// # Errors
    ///
    /// The first one; it tries the other notes all the same.
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

    /// Finishes or undoes the operation if its time has come. True if the note was deleted.
    async fn settle(&self, note: &Note, now: UnixMillis) -> Result<bool, StoreError> {
        let age = now.since(note.begun);
        let is_over = match &note.work {
            Some(Work::CreateAccount(_) | Work::ChangeEmail(..) | Work::CreateConference(_))
                if age < UNTOUCHED =>
            {
                false
            }
            Some(Work::CreateAccount(account)) => {
                self.abandon_account(account).await? || age >= MAY_COME_LATE
            }
            // A live account was not deleted, as its owner was told, or its deletion has only begun.
            Some(Work::DeleteAccount(id)) => match self.account_state(*id).await? {
                Some(State::Live) => age >= UNTOUCHED,
                Some(State::Held | State::Closing) => match self.close_account(*id).await {
                    Ok(()) => true,
                    // It owns a conference again.
                    Err(StoreError::Conflict) => age >= UNTOUCHED,
                    Err(error) => return Err(error),
                },
                Some(State::Gone) | None => true,
            },
            Some(Work::ChangeEmail(id, email)) => {
                self.free_unless_held(*id, email).await?;
                age >= MAY_COME_LATE
            }
            Some(Work::ExpireGuest(_)) if now < note.begun => false,
            Some(Work::ExpireGuest(id)) => self.delete_account(*id, now).await.map(|()| true)?,
            Some(Work::CreateConference(conference)) => {
                self.abandon_conference(conference).await? || age >= MAY_COME_LATE
            }
            Some(Work::DeleteConference(id)) => match self.conference_state(*id).await? {
                Some(State::Live) => age >= UNTOUCHED,
                _ => self.close_conference(*id).await.map(|()| true)?,
            },
            // The newer program settles it.
            None => false,
        };
        if is_over {
            self.journal.end(&self.db, note).await?;
        }
        Ok(is_over)
    }
}
