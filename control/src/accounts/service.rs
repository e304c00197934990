//! What can be done with an account. `outage`: what of it while the store does not answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use confab_protocol::control::{AccountId, Birthday, Device, Email, ErrorCode, Refusal, Username};
use zeroize::Zeroizing;

use super::hashing::{HashCost, Hasher, PasswordHash};
use super::limits::{Limiter, LoginLimits, Source};
use super::token::{REFRESH_AFTER, Token, TokenKey, Verdict};
use super::unproved::Unproved;
use super::{export, password};
use crate::clock::{Clock, UnixMillis};
use crate::random;
use crate::store::{
    AccountRecord, Recalled, Rotation, SessionId, SessionRecord, Store, StoreError,
};

mod outage;

/// Sessions that an account may have; a login beyond them ends the oldest.
const MAX_SESSIONS: usize = 100;
/// A refresh that meets another one reads again so often.
const ROTATE_ATTEMPTS: u32 = 3;

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
    /// Which account.
    pub account: AccountId,
    /// Its name.
    pub username: Username,
    /// By which session.
    pub session: SessionId,
}

/// A session was begun, renewed or shown to be alive.
pub struct Granted {
    /// For whom.
    pub account: AccountRecord,
    /// Which session.
    pub session: SessionId,
    /// What the client keeps; `None` when it has it already.
    pub token: Option<Bytes>,
    /// The session's end, unless it is refreshed.
    pub expires: UnixMillis,
    /// When the client is to refresh.
    pub refresh_after: UnixMillis,
}

/// What somebody registers with.
pub struct Registration {
    /// Unique in the service.
    pub username: Username,
    /// Unique in the service.
    pub email: Email,
    /// As it was typed.
    pub password: Zeroizing<String>,
    /// For the age.
    pub birthday: Birthday,
    /// What the person calls the device.
    pub device: Device,
}

/// How somebody logs in: by name or by address.
pub enum LoginName {
    /// By name.
    Username(Username),
    /// By address.
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
    clock: Clock,
    min_age: u8,
    session_ttl: Duration,
    on_end: OnSessionEnd,
    unproved: Unproved,
}

impl Accounts {
    /// Over `store`; `on_end` hears of every session that is ended.
    pub fn new(
        store: Arc<dyn Store>,
        key: TokenKey,
        clock: Clock,
        config: &AccountsConfig,
        on_end: OnSessionEnd,
    ) -> Self {
        Self {
            store,
            hasher: Hasher::new(config.cost, config.parallel, config.queue),
            limiter: Limiter::new(config.limits),
            key,
            clock,
            min_age: config.min_age,
            session_ttl: config.session_ttl,
            on_end,
            unproved: Unproved::default(),
        }
    }

    /// Makes an account and its first session.
    pub async fn register(&self, new: Registration, source: Source) -> Result<Granted, Refusal> {
        let Registration {
            username, email, ..
        } = &new;
        let now = self.clock.now();
        self.check_age(new.birthday, now)?;
        let password = password::choose(&new.password, "password", username, email)?;
        // Not the guarantee, which is the store's, but it saves the hash.
        if self
            .store
            .account_by_username(username.clone())
            .await?
            .is_some()
        {
            return Err(StoreError::Taken(crate::store::Name::Username).into());
        }
        self.limiter.admit_source(source)?;
        let account = AccountRecord {
            id: AccountId::new(random::time_ordered_id(now)),
            username: username.clone(),
            email: email.clone(),
            password: self.hasher.hash(password).await?,
            birthday: new.birthday,
            created: now,
        };
        self.store.create_account(account.clone()).await?;
        self.begin_session(account, new.device).await
    }

    /// Begins a session. Whether the account exists shows neither in the answer nor in the work.
    pub async fn login(
        &self,
        name: &str,
        password: Zeroizing<String>,
        device: Device,
        source: Source,
    ) -> Result<Granted, Refusal> {
        self.limiter.admit_source(source)?;
        let parsed = LoginName::parse(name);
        let key = parsed.as_ref().map_or("", LoginName::as_str);
        self.limiter.admit_name(key, source)?;
        let account = match &parsed {
            None => None,
            Some(LoginName::Username(name)) => self.store.account_by_username(name.clone()).await?,
            Some(LoginName::Email(email)) => self.store.account_by_email(email.clone()).await?,
        };
        let stored = account.as_ref().map(|account| account.password.clone());
        // A password that was not checked was not wrong.
        let checked = self.hasher.verify(password, stored).await;
        let right = checked.inspect_err(|_| self.limiter.was_right(key, source))?;
        let Some(account) = account.filter(|_| right) else {
            return Err(Refusal::new(
                ErrorCode::BadCredentials,
                "the name or the password is wrong",
            ));
        };
        self.limiter.was_right(key, source);
        self.begin_session(account, device).await
    }

    /// Whether the session has not ended, as far as is known while the store does not answer. To be asked once a connection is
    /// known to be signed in by it: whoever ends it from then on finds the connection.
    pub async fn is_live(&self, session: SessionId) -> Result<bool, Refusal> {
        let found = self.store.recall_session(session, self.clock.now()).await?;
        Ok(found.is_some())
    }

    /// Whether the session has ended, as the store says.
    pub async fn has_ended(&self, session: SessionId) -> Result<bool, Refusal> {
        Ok(self
            .store
            .session(session, self.clock.now())
            .await?
            .is_none())
    }

    /// What computes the hashes of passwords.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Signs in by token.
    pub async fn authenticate(&self, token: &[u8]) -> Result<Granted, Refusal> {
        let token = self.key.open(token).ok_or_else(session_ended)?;
        let found = self.live_session(&token).await?;
        if found.from_memory {
            self.admit_from_memory(&token, &found.value)?;
            return self.granted(&found.value, None).await;
        }
        let session = found.value;
        match self.key.judge(&token, &session, self.clock.now()) {
            Verdict::Current => {
                if !session.used {
                    // Without the mark the token before is good for the rest of its minute, as if its holder had not come yet.
                    match self.store.mark_used(session.id, session.generation).await {
                        Err(error) if !error.is_outage() => return Err(error.into()),
                        _ => {}
                    }
                }
            }
            Verdict::InGrace { .. } => {}
            Verdict::Stolen => return Err(self.revoke_stolen(&session).await),
        }
        self.granted(&session, None).await
    }

    /// Exchanges a token for its successor.
    pub async fn refresh(&self, token: &[u8]) -> Result<Granted, Refusal> {
        let token = self.key.open(token).ok_or_else(session_ended)?;
        for _ in 0..ROTATE_ATTEMPTS {
            let found = self.live_session(&token).await?;
            if found.from_memory {
                return self.keep_token(&token, &found.value).await;
            }
            let (mut session, now) = (found.value, self.clock.now());
            match self.key.judge(&token, &session, now) {
                Verdict::Stolen => return Err(self.revoke_stolen(&session).await),
                Verdict::InGrace { successor } => {
                    return self.granted(&session, Some(&successor)).await;
                }
                Verdict::Current => {}
            }
            let successor = self.key.successor(&token).ok_or_else(session_ended)?;
            let rotation = Rotation {
                secret_hash: successor.secret_hash(),
                rotated: now,
                expires: now.after(self.session_ttl),
            };
            let rotated = self
                .store
                .rotate_session(session.id, token.generation(), rotation);
            match rotated.await {
                Ok(()) => {
                    session.generation = successor.generation();
                    session.rotated = now;
                    session.expires = rotation.expires;
                    return self.granted(&session, Some(&successor)).await;
                }
                // Another refresh with the same token was faster: it made the successor that this one gives too.
                Err(StoreError::Conflict) => {}
                Err(StoreError::NotFound) => return Err(session_ended()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// The account that a connection acts for.
    pub async fn account(&self, id: AccountId) -> Result<AccountRecord, Refusal> {
        self.store.account(id).await?.ok_or_else(session_ended)
    }

    /// The account of a name that somebody wrote.
    pub async fn by_username(&self, name: Username) -> Result<AccountRecord, Refusal> {
        let found = self.store.account_by_username(name).await?;
        found.ok_or_else(|| {
            Refusal::new(ErrorCode::NotFound, "there is no account of this name").about("username")
        })
    }

    /// Takes another password and ends every other session.
    pub async fn change_password(
        &self,
        who: &SignedIn,
        old: Zeroizing<String>,
        new: Zeroizing<String>,
        source: Source,
    ) -> Result<(), Refusal> {
        let account = self.account(who.account).await?;
        let chosen = password::choose(&new, "new_password", &account.username, &account.email)?;
        self.check_password(&account, old, "old_password", source)
            .await?;
        let hash = self.hasher.hash(chosen).await?;
        self.store
            .set_password(account.id, account.password, hash)
            .await?;
        Ok(self.end_all(account.id, Some(who.session)).await?)
    }

    /// Ends the account's sessions but the one to `keep`, and tells of each. Of some it may not be known whether they have
    /// ended: those are told of, too, for nobody would ask a second time.
    async fn end_all(&self, account: AccountId, keep: Option<SessionId>) -> Result<(), StoreError> {
        let listed = self.store.sessions_of(account, self.clock.now()).await?;
        let ended = self.store.end_sessions_of(account, keep).await;
        let to_tell = match &ended {
            Ok(ended) => ended.clone(),
            Err(_) => {
                let others = listed.iter().map(|session| session.id);
                others.filter(|id| Some(*id) != keep).collect()
            }
        };
        for session in to_tell {
            (self.on_end)(account, session);
        }
        ended.map(drop)
    }

    /// The account's sessions, oldest first.
    pub async fn sessions(&self, account: AccountId) -> Result<Vec<SessionRecord>, Refusal> {
        Ok(self.store.sessions_of(account, self.clock.now()).await?)
    }

    /// Ends a session of the account.
    pub async fn revoke(&self, account: AccountId, session: SessionId) -> Result<(), Refusal> {
        if !self.store.end_session(account, session).await? {
            // It may be this very wish that ended it, whose answer was lost.
            if self
                .store
                .session(session, self.clock.now())
                .await?
                .is_none()
            {
                (self.on_end)(account, session);
            }
            return Err(Refusal::new(
                ErrorCode::NotFound,
                "you have no such session: it may have ended already",
            )
            .about("id"));
        }
        (self.on_end)(account, session);
        Ok(())
    }

    /// Everything that is kept about the account, as JSON.
    pub async fn export(&self, account: AccountId) -> Result<String, Refusal> {
        let account = self.account(account).await?;
        export::document(self.store.as_ref(), &account, self.clock.now()).await
    }

    /// Whether `password` is the account's, before something that cannot be undone.
    pub async fn check_password(
        &self,
        account: &AccountRecord,
        password: Zeroizing<String>,
        field: &'static str,
        source: Source,
    ) -> Result<(), Refusal> {
        let name = account.username.as_str();
        self.limiter.admit_source(source)?;
        self.limiter.admit_name(name, source)?;
        let checked = self
            .hasher
            .verify(password, Some(account.password.clone()))
            .await;
        if !checked.inspect_err(|_| self.limiter.was_right(name, source))? {
            return Err(
                Refusal::new(ErrorCode::BadCredentials, "the password is wrong").about(field),
            );
        }
        self.limiter.was_right(name, source);
        Ok(())
    }

    /// Deletes an account that owns no conference any more, and ends its sessions.
    pub async fn delete(&self, account: AccountId) -> Result<(), Refusal> {
        self.end_all(account, None).await?;
        Ok(self.store.delete_account(account).await?)
    }

    /// Forgets sessions whose time is over.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.store.sweep(self.clock.now()).await
    }

    fn check_age(&self, birthday: Birthday, now: UnixMillis) -> Result<(), Refusal> {
        let age = birthday.age_on(now.day());
        if age < 0 {
            return Err(Refusal::invalid(
                "birthday",
                "a birthday does not lie in the future",
            ));
        }
        if age < i16::from(self.min_age) {
            let message = format!("one has to be {} years old to register", self.min_age);
            return Err(Refusal::new(ErrorCode::TooYoung, message).about("birthday"));
        }
        Ok(())
    }

    async fn begin_session(
        &self,
        account: AccountRecord,
        device: Device,
    ) -> Result<Granted, Refusal> {
        let now = self.clock.now();
        let token = self
            .key
            .first(SessionId(random::time_ordered_id(now)), random::bytes());
        let session = SessionRecord {
            id: token.session(),
            account: account.id,
            generation: token.generation(),
            secret_hash: token.secret_hash(),
            // The first token has none before it that could be shown instead.
            used: true,
            device,
            created: now,
            rotated: now,
            expires: now.after(self.session_ttl),
        };
        self.store.create_session(session.clone()).await?;
        self.end_if_password_changed(&account, session.id).await?;
        self.end_oldest_beyond_limit(account.id, now).await?;
        self.granted(&session, Some(&token)).await
    }

    /// A password that was changed while this login was under way has ended every session but this one.
    async fn end_if_password_changed(
        &self,
        checked: &AccountRecord,
        session: SessionId,
    ) -> Result<(), Refusal> {
        let now_set: Option<PasswordHash> = self
            .store
            .account(checked.id)
            .await?
            .map(|account| account.password);
        if now_set.as_ref() == Some(&checked.password) {
            return Ok(());
        }
        self.store.end_session(checked.id, session).await?;
        Err(Refusal::new(
            ErrorCode::BadCredentials,
            "the name or the password is wrong",
        ))
    }

    async fn end_oldest_beyond_limit(
        &self,
        account: AccountId,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let sessions = self.store.sessions_of(account, now).await?;
        let beyond = sessions.len().saturating_sub(MAX_SESSIONS);
        for session in &sessions[..beyond] {
            if self.store.end_session(account, session.id).await? {
                (self.on_end)(account, session.id);
            }
        }
        Ok(())
    }

    async fn live_session(&self, token: &Token) -> Result<Recalled<SessionRecord>, Refusal> {
        let found = self
            .store
            .recall_session(token.session(), self.clock.now())
            .await?;
        found.ok_or_else(session_ended)
    }

    async fn revoke_stolen(&self, session: &SessionRecord) -> Refusal {
        match self.end_stolen(session).await {
            Ok(()) => session_ended(),
            Err(error) => error.into(),
        }
    }

    async fn end_stolen(&self, session: &SessionRecord) -> Result<(), StoreError> {
        tracing::warn!(session = ?session.id, "an old token was shown: the session is revoked");
        self.store.end_session(session.account, session.id).await?;
        (self.on_end)(session.account, session.id);
        Ok(())
    }

    async fn granted(
        &self,
        session: &SessionRecord,
        token: Option<&Token>,
    ) -> Result<Granted, Refusal> {
        let account = self.store.recall_account(session.account).await?;
        Ok(Granted {
            account: account.ok_or_else(session_ended)?.value,
            session: session.id,
            token: token.map(|token| self.key.seal(token)),
            expires: session.expires,
            refresh_after: session.rotated.after(REFRESH_AFTER),
        })
    }
}

fn session_ended() -> Refusal {
    Refusal::new(
        ErrorCode::SessionEnded,
        "this session has ended: log in again",
    )
}
