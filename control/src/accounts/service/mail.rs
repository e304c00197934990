//! Operations on e-mail addresses: verify and change the address of an account, and reset a lost password by mail.

use std::time::Duration;

use confab_protocol::control::Email;
use zeroize::Zeroizing;

use super::{Accounts, SignedIn};
use crate::accounts::codes::{CODE_LIFE, Purpose};
use crate::accounts::errors::{
    ChangeEmailError, MailError, ResetPasswordError, Throttled, VerifyEmailError,
};
use crate::accounts::hashing::Queue;
use crate::accounts::limits::{AttemptTarget, Letters, PasswordAttempt};
use crate::accounts::password;
use crate::domain::{AccountName, MailCode};
use crate::mail::letter::{Letter, LetterKind};
use crate::source::Source;
use crate::store::{AccountKind, AccountRecord, StoreError};

/// The life of a code in minutes, as letters say it.
const CODE_MINUTES: u64 = CODE_LIFE.as_secs() / Duration::from_secs(60).as_secs();

/// Another address for an account.
pub struct EmailChange {
    /// The account's password.
    pub password: Zeroizing<String>,
    pub new: Option<Email>,
    /// Sent to the present address, if that is verified.
    pub code: Option<MailCode>,
}

impl Accounts {
    /// True if this server sends mail.
    pub fn sends_mail(&self) -> bool {
        self.mail.is_on()
    }

    /// Sends a code to the caller's address, that verifies it or, for a change, allows to replace it.
    pub async fn send_email_code(
        &self,
        caller: &SignedIn,
        for_change: bool,
        source: Source,
    ) -> Result<(), MailError> {
        if !self.sends_mail() {
            return Err(MailError::NotHere);
        }
        let account = self.account(caller.account).await?;
        let email = account.email.as_ref().ok_or(MailError::NoAddress)?;
        let purpose = match (for_change, account.email_verified) {
            (false, false) => Purpose::VerifyEmail,
            (true, true) => Purpose::ChangeEmail,
            (false, true) => return Err(MailError::Verified),
            (true, false) => return Err(MailError::NotVerified),
        };
        self.admit_letter(Letters::Asked(purpose), &account, email, source)?;
        self.send_code(purpose, &account, email);
        Ok(())
    }

    /// Sends the first code to an address that an account was just given, unless the source has had too many letters sent. Without a
    /// source an operator gave it.
    pub(super) fn greet_by_mail(&self, account: &AccountRecord, source: Option<Source>) {
        let is_admitted = |email: &Email| match source {
            Some(source) => {
                let admitted = self.admit_letter(Letters::First, account, email, source);
                admitted.is_ok()
            }
            None => true,
        };
        if let Some(email) = &account.email
            && self.sends_mail()
            && is_admitted(email)
        {
            self.send_code(Purpose::VerifyEmail, account, email);
        }
    }

    /// Takes tokens for a letter that the holder of the account asks for. The address has a limit, too: it may be somebody else's, and be
    /// given by one account after the other.
    fn admit_letter(
        &self,
        letters: Letters,
        account: &AccountRecord,
        email: &Email,
        source: Source,
    ) -> Result<(), Throttled> {
        self.limiter.admit_mail_of(source)?;
        let holder = AttemptTarget::Account(account.id);
        self.limiter.admit_mail_to(letters, holder)?;
        let address = AttemptTarget::Name(email.as_str());
        self.limiter.admit_mail_to(letters, address)
    }

    fn send_code(&self, purpose: Purpose, account: &AccountRecord, email: &Email) {
        let code = self.codes.code(purpose, account, email, self.clock.now());
        let kind = match purpose {
            Purpose::VerifyEmail => LetterKind::VerifyEmail(code, CODE_MINUTES),
            Purpose::ResetPassword => LetterKind::ResetPassword(code, CODE_MINUTES),
            Purpose::ChangeEmail => LetterKind::ChangeEmail(code, CODE_MINUTES),
        };
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

    /// Replaces the caller's address by another one, or by none, and sends the first code to the new one. Whoever has stolen the password
    /// is not to take a verified address away, by which the holder could set another: that needs a code of [`Self::send_email_code`].
    pub async fn change_email(
        &self,
        caller: &SignedIn,
        change: EmailChange,
        source: Source,
    ) -> Result<(), ChangeEmailError> {
        let EmailChange {
            password,
            new,
            code,
        } = change;
        if new.is_none() && self.required.email {
            return Err(ChangeEmailError::EmailNeeded);
        }
        let account = self.account(caller.account).await?;
        self.check_password(&account, password).await?;
        if account.email == new {
            // A repeated request whose first answer was lost, and perhaps its letter.
            if !account.email_verified {
                self.greet_by_mail(&account, Some(source));
            }
            return Ok(());
        }
        if let Some((account, old)) = resettable(&account)
            && self.sends_mail()
        {
            let code = code.ok_or(ChangeEmailError::CodeNeeded)?;
            let target = AttemptTarget::Account(account.id);
            self.limiter.admit_code(target, source)?;
            let (purpose, now) = (Purpose::ChangeEmail, self.clock.now());
            if !self.codes.is_good(&code, purpose, account, old, now) {
                return Err(ChangeEmailError::WrongCode);
            }
            self.limiter.give_back_code(target, source);
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
        if matches!(changed, Ok(()) | Err(StoreError::Unavailable(_))) {
            self.tell_of_new_email(&account);
        }
        changed?;
        self.greet_by_mail(&account.with_email(new), Some(source));
        Ok(())
    }

    /// Sends a code that resets the password of the account with this name, if it has a verified address. Neither the answer nor its time
    /// tells whether it has.
    pub async fn send_reset_code(&self, name: &str, source: Source) -> Result<(), MailError> {
        if !self.sends_mail() {
            return Err(MailError::NotHere);
        }
        self.limiter.admit_source(source)?;
        self.limiter.admit_mail_of(source)?;
        let name = name.parse::<AccountName>().ok();
        let purpose = Purpose::ResetPassword;
        let letters = Letters::Asked(purpose);
        // What was typed decides the answer: an account's own limit would tell that two names are one account's.
        self.limiter.admit_mail_to(letters, named(name.as_ref()))?;
        let account = self.by_name_if_any(name.as_ref()).await?;
        if let Some((account, email)) = account.as_ref().and_then(resettable) {
            let holder = AttemptTarget::Account(account.id);
            if self.limiter.admit_mail_to(letters, holder).is_ok() {
                self.send_code(purpose, account, email);
            }
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
        // As for the mail: what was typed decides the answer.
        let typed = named(name.as_ref());
        self.limiter.admit_code(typed, source)?;
        let account = self.by_name_if_any(name.as_ref()).await?;
        let now = self.clock.now();
        let found = account.as_ref().and_then(resettable);
        let found = found.filter(|(account, email)| {
            let (purpose, target) = (Purpose::ResetPassword, AttemptTarget::Account(account.id));
            let is_admitted = self.limiter.admit_code(target, source).is_ok();
            is_admitted && self.codes.is_good(code, purpose, account, email, now)
        });
        // The rules for passwords come after the code: they would tell the account's address.
        let (account, email) = found.ok_or(ResetPasswordError::WrongCode)?;
        for target in [typed, AttemptTarget::Account(account.id)] {
            self.limiter.give_back_code(target, source);
        }
        let chosen = password::choose(&new, &account.username, Some(email))?;
        let hash = self.hasher.hash(chosen, Queue::Known).await?;
        // First, and again afterwards: if the second time fails, nothing of what had the old password goes on.
        self.end_all(account.id, None).await?;
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

    /// Tells the holder of a verified address that the account has another one now, or none.
    pub(super) fn tell_of_new_email(&self, before: &AccountRecord) {
        if let Some((account, old)) = resettable(before) {
            self.send_letter(account, old, LetterKind::EmailChanged);
        }
    }

    /// Tells the holder of a verified address that the password was changed.
    pub(super) fn tell_of_new_password(&self, account: &AccountRecord) {
        if let Some((account, email)) = resettable(account) {
            self.send_letter(account, email, LetterKind::PasswordChanged);
        }
    }
}

/// The typed name, whether or not there is such an account.
fn named(name: Option<&AccountName>) -> AttemptTarget<'_> {
    AttemptTarget::Name(name.map_or("", AccountName::as_str))
}

/// The account and its address, if its password may be reset by mail.
fn resettable(account: &AccountRecord) -> Option<(&AccountRecord, &Email)> {
    let is_open =
        account.kind == AccountKind::Person && account.email_verified && !account.disabled;
    let email = account.email.as_ref().filter(|_| is_open)?;
    Some((account, email))
}
