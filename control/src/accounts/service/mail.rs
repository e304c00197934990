//! Operations on e-mail addresses: verify and change the address of an account, and reset a lost password by mail.

use std::time::Duration;

use confab_protocol::control::Email;
use zeroize::Zeroizing;

use super::{Accounts, SignedIn};
use crate::accounts::codes::{CODE_LIFE, Purpose};
use crate::accounts::errors::{ChangeEmailError, MailError, ResetPasswordError, VerifyEmailError};
use crate::accounts::hashing::Queue;
use crate::accounts::limits::{AttemptTarget, PasswordAttempt};
use crate::accounts::password;
use crate::domain::{AccountName, MailCode};
use crate::mail::letter::{Letter, LetterKind};
use crate::source::Source;
use crate::store::{AccountKind, AccountRecord, StoreError};

/// The life of a code in minutes, as letters say it.
const CODE_MINUTES: u64 = CODE_LIFE.as_secs() / Duration::from_secs(60).as_secs();

impl Accounts {
    /// True if this server sends mail.
    pub fn sends_mail(&self) -> bool {
        self.mail.is_on()
    }

    /// Sends a code that verifies the caller's address.
    pub async fn send_email_code(
        &self,
        caller: &SignedIn,
        source: Source,
    ) -> Result<(), MailError> {
        if !self.sends_mail() {
            return Err(MailError::NotHere);
        }
        let account = self.account(caller.account).await?;
        let email = account.email.as_ref().ok_or(MailError::NoAddress)?;
        if account.email_verified {
            return Err(MailError::Verified);
        }
        let target = AttemptTarget::Account(account.id);
        self.limiter.admit_mail(target, source)?;
        self.send_verification(&account, email);
        Ok(())
    }

    /// Sends the first code to an address that an account was just given, unless the source has had too many letters sent.
    pub(super) fn greet_by_mail(&self, account: &AccountRecord, source: Source) {
        let target = AttemptTarget::Account(account.id);
        if let Some(email) = &account.email
            && self.sends_mail()
            && self.limiter.admit_mail(target, source).is_ok()
        {
            self.send_verification(account, email);
        }
    }

    fn send_verification(&self, account: &AccountRecord, email: &Email) {
        let now = self.clock.now();
        let code = self.codes.code(Purpose::VerifyEmail, account, email, now);
        let kind = LetterKind::VerifyEmail(code, CODE_MINUTES);
        self.send_letter(account, email, kind);
    }

    fn send_letter(&self, account: &AccountRecord, email: &Email, kind: LetterKind) {
        self.mail.send(Letter {
            to: email.clone(),
            username: account.username.clone(),
            kind,
        });
    }

    /// Verifies the caller's address by a code of [`Self::send_email_code`]. Does nothing if it is verified already.
    pub async fn verify_email(
        &self,
        caller: &SignedIn,
        code: &MailCode,
        source: Source,
    ) -> Result<(), VerifyEmailError> {
        let account = self.account(caller.account).await?;
        let email = account.email.as_ref().ok_or(VerifyEmailError::WrongCode)?;
        let target = AttemptTarget::Account(account.id);
        self.limiter.admit_code(target, source)?;
        let (purpose, now) = (Purpose::VerifyEmail, self.clock.now());
        if !account.email_verified && !self.codes.is_good(code, purpose, &account, email, now) {
            return Err(VerifyEmailError::WrongCode);
        }
        self.limiter.give_back_code(target, source);
        self.store.verify_email(account.id, email.clone()).await?;
        Ok(())
    }

    /// Replaces the caller's address by another one, or by none, and sends the first code to the new one.
    pub async fn change_email(
        &self,
        caller: &SignedIn,
        password: Zeroizing<String>,
        new: Option<Email>,
        source: Source,
    ) -> Result<(), ChangeEmailError> {
        if new.is_none() && self.required.email {
            return Err(ChangeEmailError::EmailNeeded);
        }
        let account = self.account(caller.account).await?;
        self.check_password(&account, password).await?;
        if account.email == new {
            return Ok(());
        }
        // Probing for the addresses of others counts as a wrong password.
        let attempt = PasswordAttempt::SignedIn(account.id);
        self.limiter.admit(attempt)?;
        let (id, old) = (account.id, account.email.clone());
        let changed = self
            .store
            .change_email(id, old, new.clone(), self.clock.now())
            .await;
        if !matches!(changed, Err(StoreError::Taken(_))) {
            self.limiter.give_back(attempt);
        }
        changed?;
        if let Some((account, old)) = resettable(&account) {
            self.send_letter(account, old, LetterKind::EmailChanged);
        }
        let changed = AccountRecord {
            email: new,
            email_verified: false,
            ..account
        };
        self.greet_by_mail(&changed, source);
        Ok(())
    }

    /// Sends a code that resets the password of the account with this name, if it has a verified address. Neither the answer nor its time
    /// tells whether it has.
    pub async fn send_reset_code(&self, name: &str, source: Source) -> Result<(), MailError> {
        if !self.sends_mail() {
            return Err(MailError::NotHere);
        }
        self.limiter.admit_source(source)?;
        let name = name.parse::<AccountName>().ok();
        let account = self.by_name_if_any(name.as_ref()).await?;
        let target = AttemptTarget::of(account.as_ref(), name.as_ref());
        self.limiter.admit_mail(target, source)?;
        if let Some((account, email)) = account.as_ref().and_then(resettable) {
            let now = self.clock.now();
            let code = self.codes.code(Purpose::ResetPassword, account, email, now);
            let kind = LetterKind::ResetPassword(code, CODE_MINUTES);
            self.send_letter(account, email, kind);
        }
        Ok(())
    }

    /// Sets a password by a code of [`Self::send_reset_code`], and ends every session of the account.
    pub async fn reset_by_code(
        &self,
        name: &str,
        code: &MailCode,
        new: Zeroizing<String>,
        source: Source,
    ) -> Result<(), ResetPasswordError> {
        self.limiter.admit_source(source)?;
        let name = name.parse::<AccountName>().ok();
        let account = self.by_name_if_any(name.as_ref()).await?;
        let target = AttemptTarget::of(account.as_ref(), name.as_ref());
        self.limiter.admit_code(target, source)?;
        let now = self.clock.now();
        let found = account.as_ref().and_then(resettable);
        let found = found.filter(|(account, email)| {
            let purpose = Purpose::ResetPassword;
            self.codes.is_good(code, purpose, account, email, now)
        });
        // The rules for passwords come after the code: they would tell the account's address.
        let (account, email) = found.ok_or(ResetPasswordError::WrongCode)?;
        self.limiter.give_back_code(target, source);
        let chosen = password::choose(&new, &account.username, Some(email))?;
        let hash = self.hasher.hash(chosen, Queue::Known).await?;
        let old = account.password.clone();
        match self.store.set_password(account.id, old, hash).await {
            Ok(()) => {}
            // The code, or another one, was used at the same moment.
            Err(StoreError::Conflict) => return Err(ResetPasswordError::WrongCode),
            Err(error) => return Err(error.into()),
        }
        self.tell_of_new_password(account);
        Ok(self.end_all(account.id, None).await?)
    }

    /// Tells the holder of a verified address that the password was changed.
    pub(super) fn tell_of_new_password(&self, account: &AccountRecord) {
        if let Some((account, email)) = resettable(account) {
            self.send_letter(account, email, LetterKind::PasswordChanged);
        }
    }
}

/// The account and its address, if its password may be reset by mail.
fn resettable(account: &AccountRecord) -> Option<(&AccountRecord, &Email)> {
    let is_open =
        account.kind == AccountKind::Person && account.email_verified && !account.disabled;
    let email = account.email.as_ref().filter(|_| is_open)?;
    Some((account, email))
}
