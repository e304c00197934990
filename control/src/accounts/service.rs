//! Operations on accounts.
//!
//! * `sessions`: creates, authenticates, refreshes and ends sessions;
//! * `guests`: accounts of people who have none; `operator`: what an operator does to accounts;
//! * `mail`: addresses that are verified, and passwords that are reset, by mail;
//! * `outage`: sign-in while the store does not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use confab_protocol::control::{
    AccountId, Birthday, ConferenceId, Device, Email, InvitationToken, Username,
};
use zeroize::Zeroizing;

use super::codes::CodeKey;
use super::cookie::{CookieKey, KnownDevice};
use super::errors::{
    ChangePasswordError, LoginError, PasswordCheckError, RegisterError, SessionError, Throttled,
};
use super::hashing::HashError;
use super::hashing::{Hasher, Queue};
use super::limits::{AttemptTarget, Limiter, LoginLimits, PasswordAttempt};
use super::recent_changes::RecentChanges;
use super::token::TokenKey;
use super::unverified::UnverifiedTokens;
use super::{export, password};
use crate::clock::{Clock, UnixMillis};
use crate::domain::{AccountName, HashCost, PasswordHash};
use crate::invitations::{Invitations, Invited, RedeemError};
use crate::mail::Mail;
use crate::metrics::connections::Refusals;
use crate::source::Source;
use crate::store::{AccountKind, AccountRecord, Name, SessionId, Store, StoreError};

mod guests;
mod mail;
mod operator;
mod outage;
mod sessions;

pub use confab_protocol::wire::RegistrationPolicy;
pub use guests::Guest;
pub use mail::EmailChange;
pub use operator::{NewAccount, OperatorError};

/// Settings of accounts.
#[derive(Clone, Debug)]
pub struct AccountsConfig {
    /// Who may make an account.
    pub registration: RegistrationPolicy,
    /// Takes guests.
    pub guests: bool,
    /// Minimum age in years.
    pub min_age: u8,
    /// What a registration has to say.
    pub required: Required,
    /// Lifetime of a session without a refresh.
    pub session_ttl: Duration,
    /// Limit of password checks per source.
    pub limits: LoginLimits,
    /// Cost of a new hash.
    pub cost: HashCost,
    /// Number of hashes computed at a time.
    pub parallel: usize,
    /// Maximum number of waiting hashes.
    pub queue: usize,
}

/// What a registration has to say beside a name and a password.
#[derive(Clone, Copy, Debug)]
pub struct Required {
    pub email: bool,
    pub birthday: bool,
}

/// The account and session that a connection acts for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedIn {
    pub account: AccountId,
    pub username: Username,
    pub session: SessionId,
    /// A bot and a guest may look, join, speak, write and leave, and nothing else.
    pub kind: AccountKind,
}

/// A session after a log-in, a sign-in or a refresh.
pub struct Granted {
    pub account: AccountRecord,
    pub session: SessionId,
    /// The client's new token; `None` if the token has not changed.
    pub token: Option<Bytes>,
    /// End of the session without a further refresh.
    pub expires: UnixMillis,
    /// Time of the client's next refresh.
    pub refresh_after: UnixMillis,
    /// The new device cookie; `None` if it has not changed.
    pub cookie: Option<Bytes>,
}

/// A parsed registration.
pub struct Registration {
    pub username: Username,
    pub email: Option<Email>,
    /// Not normalized.
    pub password: Zeroizing<String>,
    pub birthday: Option<Birthday>,
    /// The user's name for the device.
    pub device: Device,
    /// Makes the account a member of the conference, too.
    pub invited: Option<Invited>,
}

/// A parsed log-in.
pub struct Login {
    /// Username or e-mail address, as typed.
    pub name: String,
    /// Not normalized.
    pub password: Zeroizing<String>,
    /// The user's name for the device.
    pub device: Device,
    /// Device cookie of the last log-in; empty if none.
    pub cookie: Bytes,
}

/// Keys of accounts, derived from the cluster's key.
pub struct AccountKeys {
    pub tokens: TokenKey,
    pub cookies: CookieKey,
    pub codes: CodeKey,
}

impl AccountKeys {
    /// Derives the keys from the cluster's key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            tokens: TokenKey::new(key),
            cookies: CookieKey::new(key),
            codes: CodeKey::new(key),
        }
    }
}

/// Called for every session that ends before it expires.
pub type OnSessionEnd = Box<dyn Fn(AccountId, SessionId) + Send + Sync>;

pub struct Accounts {
    store: Arc<dyn Store>,
    hasher: Hasher,
    limiter: Limiter,
    key: TokenKey,
    cookies: CookieKey,
    codes: CodeKey,
    mail: Mail,
    clock: Clock,
    invitations: Invitations,
    registration: RegistrationPolicy,
    takes_guests: bool,
    min_age: u8,
    required: Required,
    session_ttl: Duration,
    on_end: OnSessionEnd,
    unverified: UnverifiedTokens,
    changes: RecentChanges,
}

impl Accounts {
    /// Uses `store`, and `mail` for letters; calls `on_end` for every session that is ended.
    pub fn new(
        (store, mail): (Arc<dyn Store>, Mail),
        invitations: Invitations,
        keys: AccountKeys,
        clock: Clock,
        config: &AccountsConfig,
        refusals: &Refusals,
        on_end: OnSessionEnd,
    ) -> Self {
        Self {
            store,
            hasher: Hasher::new(config.cost, config.parallel, config.queue, refusals.clone()),
            limiter: Limiter::new(config.limits, refusals.clone()),
            key: keys.tokens,
            cookies: keys.cookies,
            codes: keys.codes,
            mail,
            clock,
            invitations,
            registration: config.registration,
            takes_guests: config.guests,
            min_age: config.min_age,
            required: config.required,
            session_ttl: config.session_ttl,
            on_end,
            unverified: UnverifiedTokens::default(),
            changes: RecentChanges::default(),
        }
    }

    /// The policy for new accounts.
    pub fn registration(&self) -> RegistrationPolicy {
        self.registration
    }

    /// The fields that a registration needs.
    pub fn required(&self) -> Required {
        self.required
    }

    /// Creates an account and its first session.
    pub async fn register(
        &self,
        new: Registration,
        source: Source,
    ) -> Result<Granted, RegisterError> {
        let Registration {
            username, email, ..
        } = &new;
        let now = self.clock.now();
        if username.is_guest() {
            return Err(RegisterError::GuestName);
        }
        if self.required.email && email.is_none() {
            return Err(RegisterError::EmailNeeded);
        }
        match new.birthday {
            Some(birthday) => self.check_age(birthday, now)?,
            None if self.required.birthday => return Err(RegisterError::BirthdayNeeded),
            None => {}
        }
        let password = password::choose(&new.password, username, email.as_ref())?;
        self.limiter.admit_source(source)?;
        let invitation = self.admit(new.invited.as_ref()).await?;
        // Saves the hash in most cases. Uniqueness is guaranteed by the store.
        let taken = |account: AccountRecord, name| {
            // Probing for existing names counts as a password attempt.
            let attempt = PasswordAttempt::Unknown(AttemptTarget::Account(account.id), source);
            self.limiter.admit(attempt)?;
            Err::<Granted, RegisterError>(StoreError::Taken(name).into())
        };
        if let Some(account) = self.store.account_by_username(username.clone()).await? {
            return taken(account, Name::Username);
        }
        if let Some(email) = email
            && let Some(account) = self.store.account_by_email(email.clone()).await?
        {
            return taken(account, Name::Email);
        }
        let attempt = PasswordAttempt::Unknown(AttemptTarget::Name(username.as_str()), source);
        self.limiter.admit(attempt)?;
        let hash = self.hasher.hash(password, Queue::Unauthenticated).await;
        let hash = hash.inspect_err(|_| self.limiter.give_back(attempt))?;
        let account = AccountRecord {
            email: email.clone(),
            birthday: new.birthday,
            ..AccountRecord::new(AccountKind::Person, username.clone(), hash, now)
        };
        self.store.create_account(account.clone()).await?;
        self.limiter.give_back(attempt);
        if let Some((conference, token)) = invitation {
            // Last, so that a name that is taken uses up no invitation.
            let redeemed = self
                .invitations
                .redeem(conference, &token, account.id)
                .await;
            if let Err(error) = redeemed
                && !self.is_open()
            {
                self.delete(account.id).await?;
                return Err(error.into());
            }
        }
        self.greet_by_mail(&account, Some(source));
        let cookie = self.cookies.create(account.id);
        Ok(self.begin_session(account, new.device, cookie).await?)
    }

    /// True if an account needs no invitation.
    fn is_open(&self) -> bool {
        self.registration == RegistrationPolicy::Open
    }

    /// Whether an account may be made. Returns the invitation to redeem, and its conference.
    async fn admit(
        &self,
        invited: Option<&Invited>,
    ) -> Result<Option<(ConferenceId, InvitationToken)>, RegisterError> {
        match (self.registration, invited) {
            (RegistrationPolicy::Closed, _) => Err(RegisterError::Closed),
            (RegistrationPolicy::ByInvitation, None) => Err(RegisterError::InvitationNeeded),
            (RegistrationPolicy::Open, None) => Ok(None),
            (RegistrationPolicy::Open | RegistrationPolicy::ByInvitation, Some(invited)) => {
                match self.invitations.look_up(invited).await {
                    Ok(found) => Ok(Some((found.conference, invited.token.clone()))),
                    Err(RedeemError::NotGood | RedeemError::NoConference) if self.is_open() => {
                        Ok(None)
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Creates a session. Neither the answer nor its cost reveals whether the account exists.
    pub async fn login(&self, login: Login, source: Source) -> Result<Granted, LoginError> {
        let shown = self.cookies.open(&login.cookie);
        match shown {
            Some(device) => self.limiter.admit_device(device)?,
            None => self.limiter.admit_source(source)?,
        }
        // Text that is no name is not refused: it is as wrong as a name without an account.
        let name = login.name.parse::<AccountName>().ok();
        let account = self.by_name_if_any(name.as_ref()).await?;
        let known = shown.filter(|device| Some(device.account) == account.as_ref().map(|a| a.id));
        if shown.is_some() && known.is_none() {
            // The device is known to another account: for this one it is unknown.
            self.limiter.admit_source(source)?;
        }
        let target = AttemptTarget::of(account.as_ref(), name.as_ref());
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
        if account.disabled {
            return Err(LoginError::Disabled);
        }
        let cookie = self.cookie_of(known, account.id);
        self.begin_session(account, login.device, cookie).await
    }

    async fn by_name_if_any(
        &self,
        name: Option<&AccountName>,
    ) -> Result<Option<AccountRecord>, StoreError> {
        match name {
            Some(name) => self.by_name(name).await,
            None => Ok(None),
        }
    }

    async fn by_name(&self, name: &AccountName) -> Result<Option<AccountRecord>, StoreError> {
        match name {
            AccountName::Username(name) => self.store.account_by_username(name.clone()).await,
            AccountName::Email(email) => self.store.account_by_email(email.clone()).await,
        }
    }

    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    pub async fn account(&self, id: AccountId) -> Result<AccountRecord, SessionError> {
        self.store.account(id).await?.ok_or(SessionError::Ended)
    }

    /// Changes the password and ends every other session.
    pub async fn change_password(
        &self,
        caller: &SignedIn,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
    ) -> Result<(), ChangePasswordError> {
        let account = self.account(caller.account).await?;
        let chosen = password::choose(&new, &account.username, account.email.as_ref())?;
        if let Err(error) = self.check_password(&account, old).await {
            // A repeated request whose first answer was lost: the new password is already stored.
            let (id, now) = (account.id, Instant::now());
            let is_repeated = error == PasswordCheckError::Wrong
                && self.changes.is_by(id, caller.session, now)
                && self.is_right(account, new).await?;
            return match is_repeated {
                true => Ok(self.end_all(id, Some(caller.session)).await?),
                false => Err(error.into()),
            };
        }
        let hash = self.hasher.hash(chosen, Queue::Known).await?;
        let old = account.password.clone();
        self.store.set_password(account.id, old, hash).await?;
        self.tell_of_new_password(&account);
        let now = Instant::now();
        self.changes.note(account.id, caller.session, now);
        Ok(self.end_all(account.id, Some(caller.session)).await?)
    }

    /// True if it is the account's password. A wrong one counts as an attempt.
    async fn is_right(
        &self,
        account: AccountRecord,
        password: Zeroizing<String>,
    ) -> Result<bool, PasswordCheckError> {
        let attempt = PasswordAttempt::SignedIn(account.id);
        self.check(attempt, Queue::Known, password, Some(account.password))
            .await
    }

    /// All data of the account, as JSON.
    pub async fn export(&self, account: AccountId) -> Result<String, SessionError> {
        let account = self.account(account).await?;
        Ok(export::document(self.store.as_ref(), &account, self.clock.now()).await?)
    }

    /// Confirms the password of a signed-in account before an irreversible operation.
    pub async fn check_password(
        &self,
        account: &AccountRecord,
        password: Zeroizing<String>,
    ) -> Result<(), PasswordCheckError> {
        self.limiter.admit_signed_in(account.id)?;
        match self.is_right(account.clone(), password).await? {
            true => Ok(()),
            false => Err(PasswordCheckError::Wrong),
        }
    }

    /// Deletes an account and ends its sessions. The account must own no conference.
    pub async fn delete(&self, account: AccountId) -> Result<(), StoreError> {
        self.end_all(account, None).await?;
        self.store.delete_account(account, self.clock.now()).await
    }

    /// True if the password matches `stored`. Takes a token of the limit of wrong passwords and gives it back unless the password
    /// was wrong.
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

    /// The cookie of a known device, or a new one.
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
