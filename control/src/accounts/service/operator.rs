//! What an operator does to accounts, without their passwords.

use confab_protocol::control::{AccountId, Birthday, Email, Username};
use zeroize::Zeroizing;

use super::Accounts;
use crate::accounts::hashing::{HashError, Queue};
use crate::accounts::password::{self, WeakPassword};
use crate::causes::from_causes;
use crate::domain::AccountName;
use crate::random;
use crate::store::{AccountRecord, Cursor, Page, StoreError};

/// Attempts to change a password that its owner changes at the same time.
const RESET_ATTEMPTS: u32 = 3;

/// An account that an operator makes. What a registration must say binds nobody here.
pub struct NewAccount {
    pub username: Username,
    pub email: Option<Email>,
    pub birthday: Option<Birthday>,
    /// Not normalized.
    pub password: Zeroizing<String>,
}

/// An error of an operator's change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorError {
    NoSuchAccount,
    WeakPassword(WeakPassword),
    Hash(HashError),
    Store(StoreError),
}

from_causes! {
    OperatorError: WeakPassword(WeakPassword), Hash(HashError), Store(StoreError);
}

impl Accounts {
    /// The account with this name.
    pub async fn find(&self, name: &AccountName) -> Result<AccountRecord, OperatorError> {
        let found = self.by_name(name).await?;
        found.ok_or(OperatorError::NoSuchAccount)
    }

    /// All accounts.
    pub async fn all(
        &self,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<AccountRecord>, StoreError> {
        self.store.accounts(after, limit).await
    }

    /// Makes an account, without a session.
    pub async fn add(&self, new: NewAccount) -> Result<AccountRecord, OperatorError> {
        let password = password::choose(&new.password, &new.username, new.email.as_ref())?;
        let now = self.clock.now();
        let account = AccountRecord {
            id: AccountId::new(random::time_ordered_id(now)),
            username: new.username,
            email: new.email,
            password: self.hasher.hash(password, Queue::Known).await?,
            birthday: new.birthday,
            created: now,
            disabled: false,
            revision: 0,
        };
        self.store.create_account(account.clone()).await?;
        Ok(account)
    }

    /// Disables the account and ends its sessions, or enables it.
    pub async fn set_disabled(&self, id: AccountId, disabled: bool) -> Result<(), StoreError> {
        self.store.set_disabled(id, disabled).await?;
        match disabled {
            // After it: a log-in reads the account again when its session is stored.
            true => self.end_all(id, None).await,
            false => Ok(()),
        }
    }

    /// Sets a password and ends every session.
    pub async fn reset_password(
        &self,
        account: AccountRecord,
        new: &str,
    ) -> Result<(), OperatorError> {
        let id = account.id;
        let chosen = password::choose(new, &account.username, account.email.as_ref())?;
        let hash = self.hasher.hash(chosen, Queue::Known).await?;
        let mut old = account.password;
        for _ in 0..RESET_ATTEMPTS {
            match self.store.set_password(id, old, hash.clone()).await {
                Ok(()) => return Ok(self.end_all(id, None).await?),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            let account = self.store.account(id).await?;
            old = account.ok_or(OperatorError::NoSuchAccount)?.password;
        }
        Err(StoreError::Conflict.into())
    }
}
