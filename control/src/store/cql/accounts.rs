//! Accounts and their names.

use std::time::Duration;

use confab_protocol::control::{AccountId, ConferenceId, Email};
use tokio::time::Instant;

use super::cas_table::{CasTable, Swapped, Ttl};
use super::core::{Core, ROUNDS};
use super::journal::Work;
use super::keys;
use super::packed::{self, ClosingAccount, State};
use super::rows::IdRow;
use crate::clock::UnixMillis;
use crate::domain::PasswordHash;
use crate::random::{self, jittered};
use crate::store::{AccountRecord, Name, StoreError};

/// Seconds for which a deleted account or conference stays *gone*: no statement is carried out this late.
pub(super) const GONE_TTL: Ttl = 24 * 60 * 60;
/// The wait for the outcome of another account's claim of the same name.
const CLAIM_WAIT: Duration = Duration::from_secs(2);
/// Time between two checks of it.
const CLAIM_LOOK: Duration = Duration::from_millis(25);

impl Core {
    pub(super) async fn create_account(&self, account: &AccountRecord) -> Result<(), StoreError> {
        if let Some(end) = account.ends() {
            let work = Work::ExpireGuest(account.id);
            self.journal.begin(&self.db, work, end).await?;
        }
        let work = Work::CreateAccount(account.into());
        let note = self.journal.begin(&self.db, work, account.created).await?;
        let outcome = self.claim_and_write(account).await;
        match &outcome {
            Ok(()) => {}
            Err(StoreError::Taken(_) | StoreError::Conflict) => {
                self.abandon_account(&account.into()).await?;
            }
            // A sweep undoes it, or the caller completes it by repeating.
            Err(_) => return outcome,
        }
        // The account exists whether or not the note is deleted.
        let _ = self.journal.end(&self.db, &note).await;
        outcome
    }

    async fn claim_and_write(&self, account: &AccountRecord) -> Result<(), StoreError> {
        let id = account.id.as_bytes();
        self.claim(Name::Username, account.username.as_str(), id)
            .await?;
        if let Some(email) = &account.email {
            self.claim(Name::Email, email.as_str(), id).await?;
        }
        let key = keys::account(account.id);
        let live = packed::account(account, State::Live);
        match self.users.put(&self.db, &key, None, &live, 0).await? {
            Swapped::Done => Ok(()),
            Swapped::Found(found) => match packed::account_state(found.as_ref())? {
                Some(State::Live) => Ok(()),
                // It was given up or deleted meanwhile.
                _ => Err(StoreError::Conflict),
            },
        }
    }

    /// Claims a name for `id`. A name is taken as long as the row that it leads to is live or may become so.
    ///
    /// If the other holder is not live yet, this waits up to [`CLAIM_WAIT`]: the holder may have to free the name again because its other
    /// name is taken.
    pub(super) async fn claim(
        &self,
        kind: Name,
        name: &str,
        id: &[u8; 16],
    ) -> Result<(), StoreError> {
        let key = keys::name(name);
        let until = Instant::now() + CLAIM_WAIT;
        let ours = IdRow::new(id);
        loop {
            let claimed = self.names(kind).put(&self.db, &key, None, &ours, 0);
            let holder = match claimed.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(None) => continue,
                Swapped::Found(Some(holder)) => read_holder(&holder)?,
            };
            let state = match kind {
                Name::Slug => self.conference_state(ConferenceId::new(holder)).await?,
                Name::Username | Name::Email => self.account_state(AccountId::new(holder)).await?,
            };
            if state == Some(State::Gone) {
                // The holder was deleted, and should have freed it.
                self.free(kind, name, &holder).await?;
                continue;
            }
            if state == Some(State::Live) || Instant::now() > until {
                return Err(StoreError::Taken(kind));
            }
            tokio::time::sleep(jittered(CLAIM_LOOK)).await;
        }
    }

    /// Gives up an account that was not finished, so that it never can be. Returns true if it was finished meanwhile.
    pub(super) async fn abandon_account(
        &self,
        account: &ClosingAccount,
    ) -> Result<bool, StoreError> {
        let key = keys::account(account.id);
        let closing = packed::closing_account(account);
        match self.users.put(&self.db, &key, None, &closing, 0).await? {
            Swapped::Done => self.finish_closing_account(account).await?,
            Swapped::Found(found) => match packed::account_state(found.as_ref())? {
                Some(State::Live | State::Held) => return Ok(true),
                Some(State::Closing) => self.finish_closing_account(account).await?,
                // The names were claimed after that.
                Some(State::Gone) | None => self.free_names(account).await?,
            },
        }
        Ok(false)
    }

    pub(super) async fn delete_account(
        &self,
        id: AccountId,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        match self.account_state(id).await? {
            None | Some(State::Gone) => return Ok(()),
            // Checked before anything is written, so that a refused deletion does not hide the account for a moment.
            Some(State::Live) if self.owns_conference(id).await? => {
                return Err(StoreError::Conflict);
            }
            Some(_) => {}
        }
        let work = Work::DeleteAccount(id);
        let note = self.journal.begin(&self.db, work, now).await?;
        let outcome = self.close_account(id).await;
        if matches!(outcome, Ok(()) | Err(StoreError::Conflict)) {
            let _ = self.journal.end(&self.db, &note).await;
        }
        outcome
    }

    /// Closes the account and removes all that belongs to it. It may be repeated from any point, and concurrently.
    pub(super) async fn close_account(&self, id: AccountId) -> Result<(), StoreError> {
        let key = keys::account(id);
        let mut found = self.users.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let (Some(state), Some(value)) = (packed::account_state(found.as_ref())?, &found)
            else {
                return Ok(());
            };
            let next = match state {
                State::Live => State::Held,
                // Checked while the account is not visible: the creation of a conference checks its owner last.
                State::Held if self.owns_conference(id).await? => State::Live,
                // It must not become live again: a concurrent deletion may have begun to remove what belongs to it.
                State::Held => State::Closing,
                State::Closing => {
                    let account = packed::read_closing_account(id, value)?;
                    return self.finish_closing_account(&account).await;
                }
                State::Gone => return Ok(()),
            };
            let new = packed::in_state(value, next);
            let moved = self.users.put(&self.db, &key, Some(value), &new, 0);
            found = match moved.await? {
                Swapped::Done if next == State::Live => return Err(StoreError::Conflict),
                Swapped::Done => Some(new),
                Swapped::Found(other) => other,
            };
        }
        // Not a conflict: the caller would read that as a conference that the account owns.
        Err(StoreError::Unavailable(
            "the account is changed again and again".to_owned(),
        ))
    }

    async fn finish_closing_account(&self, account: &ClosingAccount) -> Result<(), StoreError> {
        let id = account.id;
        self.end_sessions_of(id, None).await?;
        self.remove_all_memberships(id).await?;
        self.free_names(account).await?;
        let key = keys::account(id);
        let found = self.users.read(&self.db, &key).await?;
        let state = packed::account_state(found.as_ref())?;
        if let (Some(State::Closing), Some(value)) = (state, &found) {
            let gone = packed::gone_account();
            self.users
                .put(&self.db, &key, Some(value), &gone, GONE_TTL)
                .await?;
        }
        Ok(())
    }

    async fn free_names(&self, account: &ClosingAccount) -> Result<(), StoreError> {
        let id = account.id.as_bytes();
        self.free(Name::Username, account.username.as_str(), id)
            .await?;
        match &account.email {
            Some(email) => self.free(Name::Email, email.as_str(), id).await,
            None => Ok(()),
        }
    }

    /// Frees a name if `id` holds it.
    pub(super) async fn free(
        &self,
        kind: Name,
        name: &str,
        id: &[u8; 16],
    ) -> Result<(), StoreError> {
        self.names(kind)
            .remove(&self.db, &keys::name(name), &IdRow::new(id))
            .await
            .map(drop)
    }

    /// The holder of a name.
    pub(super) async fn holder(
        &self,
        kind: Name,
        name: &str,
    ) -> Result<Option<[u8; 16]>, StoreError> {
        let found = self.names(kind).read(&self.db, &keys::name(name)).await?;
        found.as_ref().map(read_holder).transpose()
    }

    fn names(&self, kind: Name) -> &CasTable<IdRow> {
        match kind {
            Name::Username => &self.by_username,
            Name::Email => &self.by_email,
            Name::Slug => &self.by_slug,
        }
    }

    pub(super) async fn account(&self, id: AccountId) -> Result<Option<AccountRecord>, StoreError> {
        let found = self.users.read(&self.db, &keys::account(id)).await?;
        match (packed::account_state(found.as_ref())?, found) {
            (Some(State::Live), Some(value)) => packed::read_account(id, &value).map(Some),
            _ => Ok(None),
        }
    }

    /// The account that holds a name, if it is live.
    pub(super) async fn account_by_name(
        &self,
        kind: Name,
        name: &str,
    ) -> Result<Option<AccountRecord>, StoreError> {
        // A free name takes as long as a taken one: a login must not show which accounts exist.
        let holder = self.holder(kind, name).await?;
        self.account(AccountId::new(holder.unwrap_or_else(random::bytes)))
            .await
    }

    pub(super) async fn account_state(&self, id: AccountId) -> Result<Option<State>, StoreError> {
        let found = self.users.read(&self.db, &keys::account(id)).await?;
        packed::account_state(found.as_ref())
    }

    pub(super) async fn is_account(&self, id: AccountId) -> Result<bool, StoreError> {
        Ok(self.account_state(id).await? == Some(State::Live))
    }

    pub(super) async fn set_password(
        &self,
        id: AccountId,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<(), StoreError> {
        self.change_account(id, |account| {
            if account.password != *old && account.password != *new {
                return Err(StoreError::Conflict);
            }
            account.password = new.clone();
            Ok(())
        })
        .await
    }

    pub(super) async fn set_disabled(
        &self,
        id: AccountId,
        disabled: bool,
    ) -> Result<(), StoreError> {
        self.change_account(id, |account| {
            account.set_disabled(disabled);
            Ok(())
        })
        .await
    }

    pub(super) async fn verify_email(
        &self,
        id: AccountId,
        email: &Email,
    ) -> Result<(), StoreError> {
        self.change_account(id, |account| {
            if account.email.as_ref() != Some(email) {
                return Err(StoreError::Conflict);
            }
            account.email_verified = true;
            Ok(())
        })
        .await
    }

    pub(super) async fn change_email(
        &self,
        id: AccountId,
        old: Option<&Email>,
        new: Option<&Email>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut notes = Vec::new();
        for email in [old, new].into_iter().flatten() {
            let work = Work::ChangeEmail(id, email.clone());
            notes.push((self.journal.begin(&self.db, work, now).await?, email));
        }
        let outcome = self.claim_and_set_email(id, old, new).await;
        let is_decided = matches!(
            outcome,
            Ok(()) | Err(StoreError::Taken(_) | StoreError::Conflict | StoreError::NotFound)
        );
        if !is_decided {
            // It may have been done. A sweep finds out, or the caller completes it by repeating.
            return outcome;
        }
        for (note, email) in notes {
            self.free_unless_held(id, email).await?;
            // The address is changed whether or not the note is deleted.
            let _ = self.journal.end(&self.db, &note).await;
        }
        outcome
    }

    async fn claim_and_set_email(
        &self,
        id: AccountId,
        old: Option<&Email>,
        new: Option<&Email>,
    ) -> Result<(), StoreError> {
        if let Some(new) = new {
            self.claim(Name::Email, new.as_str(), id.as_bytes()).await?;
        }
        self.set_email(id, old, new).await?;
        match new {
            // A sweep frees the address of a change that takes too long, and somebody else may have it then.
            Some(new) => self.hold_email(id, new).await,
            None => Ok(()),
        }
    }

    /// Claims the address that the account has; if another one has claimed it, the account has none.
    async fn hold_email(&self, id: AccountId, email: &Email) -> Result<(), StoreError> {
        let claimed = self.claim(Name::Email, email.as_str(), id.as_bytes()).await;
        if claimed == Err(StoreError::Taken(Name::Email)) {
            self.set_email(id, Some(email), None).await?;
        }
        claimed
    }

    async fn set_email(
        &self,
        id: AccountId,
        old: Option<&Email>,
        new: Option<&Email>,
    ) -> Result<(), StoreError> {
        let change = |account: &mut AccountRecord| account.change_email(old, new).map(drop);
        self.change_account(id, change).await
    }

    /// Frees an address, unless the account has it. An account that gets it meanwhile has it afterwards.
    pub(super) async fn free_unless_held(
        &self,
        id: AccountId,
        email: &Email,
    ) -> Result<(), StoreError> {
        if self.has_email(id, email).await? {
            return Ok(());
        }
        self.free(Name::Email, email.as_str(), id.as_bytes())
            .await?;
        match self.has_email(id, email).await? {
            true => self.hold_email(id, email).await,
            false => Ok(()),
        }
    }

    async fn has_email(&self, id: AccountId, email: &Email) -> Result<bool, StoreError> {
        let found = self.users.read_serial(&self.db, &keys::account(id)).await?;
        let of_account = match (packed::account_state(found.as_ref())?, &found) {
            (Some(State::Live | State::Held), Some(value)) => {
                packed::read_account(id, value)?.email
            }
            (Some(State::Closing), Some(value)) => packed::read_closing_account(id, value)?.email,
            _ => None,
        };
        Ok(of_account.as_ref() == Some(email))
    }

    /// Changes a live account; `change` is repeated if another write comes in between.
    async fn change_account(
        &self,
        id: AccountId,
        change: impl Fn(&mut AccountRecord) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let key = keys::account(id);
        let mut found = self.users.read(&self.db, &key).await?;
        for _ in 0..ROUNDS {
            let value = match (packed::account_state(found.as_ref())?, &found) {
                (Some(State::Live), Some(value)) => value,
                _ => return Err(StoreError::NotFound),
            };
            let mut account = packed::read_account(id, value)?;
            change(&mut account)?;
            let changed = packed::account(&account, State::Live);
            if changed == *value {
                return Ok(());
            }
            let swapped = self.users.put(&self.db, &key, Some(value), &changed, 0);
            match swapped.await? {
                Swapped::Done => return Ok(()),
                Swapped::Found(other) => found = other,
            }
        }
        Err(StoreError::Conflict)
    }
}

/// The id of the account or conference that a name belongs to.
fn read_holder(row: &IdRow) -> Result<[u8; 16], StoreError> {
    row.id().ok_or(StoreError::Corrupt("the holder of a name"))
}
