//! What an operator does to accounts, without their passwords.

use bytes::Bytes;
use confab_protocol::control::{AccountId, Birthday, Email, Username};
use zeroize::Zeroizing;

use super::Accounts;
use crate::accounts::hashing::{HashError, Queue};
use crate::accounts::password::{self, WeakPassword};
use crate::causes::from_causes;
use crate::domain::{AccountName, PasswordHash};
use crate::random;
use crate::store::{AccountKind, AccountRecord, Cursor, Page, StoreError};

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
    /// A bot and a guest have no password.
    NoPassword,
    /// A bot and a guest have no e-mail address.
    NoEmail,
    /// Names with `~` are guests'.
    GuestName,
    /// A person has no token that can be shown.
    NoBot,
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
        no_guest(&new.username)?;
        let password = password::choose(&new.password, &new.username, new.email.as_ref())?;
        let hash = self.hasher.hash(password, Queue::Known).await?;
        let (kind, now) = (AccountKind::Person, self.clock.now());
        let account = AccountRecord {
            email: new.email,
            birthday: new.birthday,
            ..AccountRecord::new(kind, new.username, hash, now)
        };
        self.store.create_account(account.clone()).await?;
        Ok(account)
    }

    /// Makes an account for a program. Returns its token, which nobody learns again.
    pub async fn add_bot(
        &self,
        username: Username,
    ) -> Result<(AccountRecord, Bytes), OperatorError> {
        no_guest(&username)?;
        let password = PasswordHash::of_nobody(random::bytes());
        let account = AccountRecord::new(AccountKind::Bot, username, password, self.clock.now());
        self.store.create_account(account.clone()).await?;
        let token = self.open_bot_session(account.id).await?;
        Ok((account, token))
    }

    /// Ends the token of a bot, and returns another.
    pub async fn renew_token(&self, account: &AccountRecord) -> Result<Bytes, OperatorError> {
        if account.kind != AccountKind::Bot {
            return Err(OperatorError::NoBot);
        }
        self.end_all(account.id, None).await?;
        Ok(self.open_bot_session(account.id).await?)
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

    /// Gives the account another e-mail address, which gets a code, or none.
    pub async fn set_email(
        &self,
        account: AccountRecord,
        new: Option<Email>,
    ) -> Result<(), OperatorError> {
        if account.kind != AccountKind::Person {
            return Err(OperatorError::NoEmail);
        }
        let (id, old, now) = (account.id, account.email.clone(), self.clock.now());
        self.store.change_email(id, old, new.clone(), now).await?;
        if account.email != new {
            self.tell_of_new_email(&account);
            self.greet_by_mail(&account.with_email(new), None);
        }
        Ok(())
    }

    /// Sets a password and ends every session.
    pub async fn reset_password(
        &self,
        account: AccountRecord,
        new: &str,
    ) -> Result<(), OperatorError> {
        let id = account.id;
        if account.kind != AccountKind::Person {
            return Err(OperatorError::NoPassword);
        }
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

/// An account that stays has no guest's name.
fn no_guest(name: &Username) -> Result<(), OperatorError> {
    match name.is_guest() {
        true => Err(OperatorError::GuestName),
        false => Ok(()),
    }
}
