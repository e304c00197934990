//! What can be done with an account.
//!
//! * `sessions`: how they begin, are shown and renewed, and end;
//! * `outage`: what of it is possible while the store does not answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::{AccountId, Birthday, Device, Email, Username};
use zeroize::Zeroizing;

use super::cookie::{CookieKey, KnownDevice};
use super::errors::{
    ChangePasswordError, LoginError, PasswordCheckError, RegisterError, SessionError, Throttled,
};
use super::hashing::HashError;
use super::hashing::{Hasher, Queue};
use super::limits::{AttemptTarget, Limiter, LoginLimits, PasswordAttempt};
use super::token::TokenKey;
use super::unverified::UnverifiedTokens;
use super::{export, password};
use crate::clock::{Clock, UnixMillis};
use crate::domain::{HashCost, PasswordHash};
use crate::metrics::connections::Refusals;
use crate::random;
use crate::source::Source;
use crate::store::{AccountRecord, Name, SessionId, Store, StoreError};

mod outage;
mod sessions;

/// What the operator decides about accounts.
#[derive(Clone, Debug)]
pub struct AccountsConfig {
    /// Age at which one may register, in years.
    pub min_age: u8,
    /// How long a session lives without a refresh.
    pub session_ttl: Duration,
    /// How many passwords a source may have checked.
    pub limits: LoginLimits,
    /// What a new hash costs.
    pub cost: HashCost,
    /// Hashes computed at a time.
    pub parallel: usize,
    /// Hashes that wait at most.
    pub queue: usize,
}

/// Who a connection acts for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedIn {
    pub account: AccountId,
    pub username: Username,
    pub session: SessionId,
}

/// A session was begun, renewed or shown to be alive.
pub struct Granted {
    pub account: AccountRecord,
    pub session: SessionId,
    /// What the client keeps; `None` when it has it already.
    pub token: Option<Bytes>,
    /// The session's end, unless it is refreshed.
    pub expires: UnixMillis,
    /// When the client is to refresh.
    pub refresh_after: UnixMillis,
    /// What the device shows at its next log-in; `None` when it has it already.
    pub cookie: Option<Bytes>,
}

/// What somebody registers with.
pub struct Registration {
    pub username: Username,
    pub email: Email,
    /// As it was typed.
    pub password: Zeroizing<String>,
    pub birthday: Birthday,
    /// What the person calls the device.
    pub device: Device,
}

/// What somebody logs in with.
pub struct Login {
    /// The account's name or address, as it was typed.
    pub name: String,
    /// As it was typed.
    pub password: Zeroizing<String>,
    /// What the person calls the device.
    pub device: Device,
    /// What the device was given when the account last logged in from it; empty: nothing.
    pub cookie: Bytes,
}

/// How somebody logs in: by name or by address.
pub enum LoginName {
    Username(Username),
    Email(Email),
}

impl LoginName {
    /// Whatever holds an `@` is an address. `None` when it can be neither: then no account has it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains('@') {
            text.parse().ok().map(Self::Email)
        } else {
            text.parse().ok().map(Self::Username)
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Username(name) => name.as_str(),
            Self::Email(email) => email.as_str(),
        }
    }
}

/// Told of every session that has ended before its time.
pub type OnSessionEnd = Box<dyn Fn(AccountId, SessionId) + Send + Sync>;

/// Accounts and sessions over a store.
pub struct Accounts {
    store: Arc<dyn Store>,
    hasher: Hasher,
    limiter: Limiter,
    key: TokenKey,
    cookies: CookieKey,
    clock: Clock,
    min_age: u8,
    session_ttl: Duration,
    on_end: OnSessionEnd,
    unverified: UnverifiedTokens,
}

impl Accounts {
    /// Over `store`; `on_end` hears of every session that is ended.
    pub fn new(
        store: Arc<dyn Store>,
        (key, cookies): (TokenKey, CookieKey),
        clock: Clock,
        config: &AccountsConfig,
        refusals: &Refusals,
        on_end: OnSessionEnd,
    ) -> Self {
        Self {
            store,
            hasher: Hasher::new(config.cost, config.parallel, config.queue, refusals.clone()),
            limiter: Limiter::new(config.limits, refusals.clone()),
            key,
            cookies,
            clock,
            min_age: config.min_age,
            session_ttl: config.session_ttl,
            on_end,
            unverified: UnverifiedTokens::default(),
        }
    }

    /// Makes an account and its first session.
    pub async fn register(
        &self,
        new: Registration,
        source: Source,
    ) -> Result<Granted, RegisterError> {
        let Registration {
            username, email, ..
        } = &new;
        let now = self.clock.now();
        self.check_age(new.birthday, now)?;
        let password = password::choose(&new.password, username, email)?;
        self.limiter.admit_source(source)?;
        // Not the guarantee, which is the store's, but it saves the hash.
        let taken = |account: AccountRecord, name| {
            // Whose names these are is a guess as well.
            let attempt = PasswordAttempt::Unknown(AttemptTarget::Account(account.id), source);
            self.limiter.admit(attempt)?;
            Err::<Granted, RegisterError>(StoreError::Taken(name).into())
        };
        if let Some(account) = self.store.account_by_username(username.clone()).await? {
            return taken(account, Name::Username);
        }
        if let Some(account) = self.store.account_by_email(email.clone()).await? {
            return taken(account, Name::Email);
        }
        let attempt = PasswordAttempt::Unknown(AttemptTarget::Name(username.as_str()), source);
        self.limiter.admit(attempt)?;
        let account = AccountRecord {
            id: AccountId::new(random::time_ordered_id(now)),
            username: username.clone(),
            email: email.clone(),
            password: self
                .hasher
                .hash(password, Queue::Unauthenticated)
                .await
                .inspect_err(|_| self.limiter.give_back(attempt))?,
            birthday: new.birthday,
            created: now,
        };
        self.store.create_account(account.clone()).await?;
        self.limiter.give_back(attempt);
        let cookie = self.cookies.create(account.id);
        Ok(self.begin_session(account, new.device, cookie).await?)
    }

    /// Begins a session. Whether the account exists shows neither in the answer nor in the work.
    pub async fn login(&self, login: Login, source: Source) -> Result<Granted, LoginError> {
        let shown = self.cookies.open(&login.cookie);
        match shown {
            Some(device) => self.limiter.admit_device(device)?,
            None => self.limiter.admit_source(source)?,
        }
        let name = LoginName::parse(&login.name);
        let account = match &name {
            None => None,
            Some(LoginName::Username(name)) => self.store.account_by_username(name.clone()).await?,
            Some(LoginName::Email(email)) => self.store.account_by_email(email.clone()).await?,
        };
        let known = shown.filter(|device| Some(device.account) == account.as_ref().map(|a| a.id));
        if shown.is_some() && known.is_none() {
            // Known to another account: a stranger here.
            self.limiter.admit_source(source)?;
        }
        let target = match &account {
            Some(account) => AttemptTarget::Account(account.id),
            None => AttemptTarget::Name(name.as_ref().map_or("", LoginName::as_str)),
        };
        let (attempt, queue) = match known {
            Some(device) => (PasswordAttempt::Device(device), Queue::Known),
            None => (
                PasswordAttempt::Unknown(target, source),
                Queue::Unauthenticated,
            ),
        };
        let stored = account.as_ref().map(|account| account.password.clone());
        let right = self
            .check::<LoginError>(attempt, queue, login.password, stored)
            .await?;
        let Some(account) = account.filter(|_| right) else {
            return Err(LoginError::WrongCredentials);
        };
        let cookie = self.cookie_of(known, account.id);
        self.begin_session(account, login.device, cookie).await
    }

    /// What computes the hashes of passwords.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The account that a connection acts for.
    pub async fn account(&self, id: AccountId) -> Result<AccountRecord, SessionError> {
        self.store.account(id).await?.ok_or(SessionError::Ended)
    }

    /// Takes another password and ends every other session.
    pub async fn change_password(
        &self,
        caller: &SignedIn,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<(), ChangePasswordError> {
        let account = self.account(caller.account).await?;
        let chosen = password::choose(&new, &account.username, &account.email)?;
        let checked = self.check_password(&account, old).await;
        if let Err(error) = checked {
            // It may be this very wish that set it, whose end came to nothing. Or a second guess, which counts as one.
            let (attempt, stored) = (
                PasswordAttempt::SignedIn(account.id),
                account.password.clone(),
            );
            let is_set = error == PasswordCheckError::Wrong
                && self
                    .check::<PasswordCheckError>(attempt, Queue::Known, new, Some(stored))
                    .await?;
            return match is_set {
                true => Ok(self.end_all(account.id, Some(caller.session)).await?),
                false => Err(error.into()),
            };
        }
        let hash = self.hasher.hash(chosen, Queue::Known).await?;
        self.store
            .set_password(account.id, account.password, hash)
            .await?;
        Ok(self.end_all(account.id, Some(caller.session)).await?)
    }

    /// Everything that is kept about the account, as JSON.
    pub async fn export(&self, account: AccountId) -> Result<String, SessionError> {
        let account = self.account(account).await?;
        Ok(export::document(self.store.as_ref(), &account, self.clock.now()).await?)
    }

    /// Whether `password` is the account's, before something that cannot be undone. For somebody who is signed in to it.
    pub async fn check_password(
        &self,
        account: &AccountRecord,
        password: Zeroizing<String>,
    ) -> Result<(), PasswordCheckError> {
        self.limiter.admit_signed_in(account.id)?;
        let attempt = PasswordAttempt::SignedIn(account.id);
        let stored = Some(account.password.clone());
        match self
            .check::<PasswordCheckError>(attempt, Queue::Known, password, stored)
            .await?
        {
            true => Ok(()),
            false => Err(PasswordCheckError::Wrong),
        }
    }

    /// Deletes an account that owns no conference any more, and ends its sessions.
    pub async fn delete(&self, account: AccountId) -> Result<(), StoreError> {
        self.end_all(account, None).await?;
        self.store.delete_account(account, self.clock.now()).await
    }

    /// Whether the password is the one that is `stored`, if the guess may be made. One that is right, or is not checked, does not count.
    async fn check<E: From<Throttled> + From<HashError>>(
        &self,
        attempt: PasswordAttempt<'_>,
        queue: Queue,
        password: Zeroizing<String>,
        stored: Option<PasswordHash>,
    ) -> Result<bool, E> {
        self.limiter.admit(attempt)?;
        let checked = self.hasher.verify(password, stored, queue).await;
        if !matches!(checked, Ok(false)) {
            self.limiter.give_back(attempt);
        }
        Ok(checked?)
    }

    /// A device that is known keeps its cookie.
    fn cookie_of(&self, device: Option<KnownDevice>, account: AccountId) -> Bytes {
        match device {
            Some(device) => self.cookies.seal(device),
            None => self.cookies.create(account),
        }
    }

    fn check_age(&self, birthday: Birthday, now: UnixMillis) -> Result<(), RegisterError> {
        let age = birthday.age_on(now.day());
        if age < 0 {
            return Err(RegisterError::BirthdayInFuture);
        }
        if age < i16::from(self.min_age) {
            return Err(RegisterError::TooYoung {
                min_age: self.min_age,
            });
        }
        Ok(())
    }
}
