//! Codes that are sent by mail. No I/O, and nothing is stored.
//!
//! A code is the first 80 bits of an HMAC-SHA-256 over its purpose, the account, and a window of time, under a key that HKDF-SHA-256
//! derives from the cluster's key: every node can check a code that another one has sent. A code to reset a password, or to change a
//! verified address, also depends on the hash of the present password, so that it is used up when that is changed, by it or otherwise.

use std::time::Duration;

use aws_lc_rs::hmac;
use confab_protocol::control::Email;

use crate::clock::UnixMillis;
use crate::domain::MailCode;
use crate::hkdf;
use crate::store::AccountRecord;

/// How long a code is good at least. Twice as long at most: the window before the present one counts.
pub const CODE_LIFE: Duration = Duration::from_secs(15 * 60);

const SALT: &[u8] = b"confab mail codes v1";

/// The purpose of a code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// Proves that the holder of the account reads the mail of its address.
    VerifyEmail,
    /// Allows to set a password.
    ResetPassword,
    /// Allows to give the account another address in place of a verified one.
    ChangeEmail,
}

/// Makes and checks codes. The same key on every node of a cluster.
pub struct CodeKey(hmac::Key);

impl CodeKey {
    /// Derives the key from the cluster's key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hkdf::hmac_key(SALT, key, b"code"))
    }

    /// The code for a mail to `email`, the account's address.
    pub fn code(
        &self,
        purpose: Purpose,
        account: &AccountRecord,
        email: &Email,
        now: UnixMillis,
    ) -> MailCode {
        self.of_window(purpose, account, email, window(now))
    }

    /// True if `code` was made for this account and purpose in this window of time or the one before.
    pub fn is_good(
        &self,
        code: &MailCode,
        purpose: Purpose,
        account: &AccountRecord,
        email: &Email,
        now: UnixMillis,
    ) -> bool {
        let this = window(now);
        [Some(this), this.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|window| self.of_window(purpose, account, email, window).is(code))
    }

    fn of_window(
        &self,
        purpose: Purpose,
        account: &AccountRecord,
        email: &Email,
        window: u64,
    ) -> MailCode {
        let mut text = Vec::with_capacity(128);
        text.push(match purpose {
            Purpose::VerifyEmail => 0,
            Purpose::ResetPassword => 1,
            Purpose::ChangeEmail => 2,
        });
        if purpose != Purpose::VerifyEmail {
            text.extend_from_slice(&account.password.to_bytes());
        }
        text.extend_from_slice(account.id.as_bytes());
        text.extend_from_slice(&window.to_be_bytes());
        // Last, because its length varies.
        text.extend_from_slice(email.as_str().as_bytes());
        let tag = hmac::sign(&self.0, &text);
        MailCode::from_prefix(tag.as_ref()).expect("a tag has 32 bytes")
    }
}

fn window(now: UnixMillis) -> u64 {
    now.0 / 1000 / CODE_LIFE.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PasswordHash;
    use crate::store::AccountKind;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn ann() -> (AccountRecord, Email) {
        let hash = PasswordHash::from_bytes(&[1; 60]).unwrap();
        let name = "ann".parse().unwrap();
        let account = AccountRecord::new(AccountKind::Person, name, hash, NOW);
        (account, "ann@example.org".parse().unwrap())
    }

    #[test]
    fn a_code_is_good_at_every_node_for_one_account_address_and_purpose_and_a_while() {
        let (account, email) = ann();
        let (key, other) = (CodeKey::new(&[7; 32]), CodeKey::new(&[7; 32]));
        let purpose = Purpose::VerifyEmail;
        let code = key.code(purpose, &account, &email, NOW);
        let good = |after| other.is_good(&code, purpose, &account, &email, NOW.after(after));
        assert!(good(Duration::ZERO));
        assert!(good(CODE_LIFE));
        assert!(!good(CODE_LIFE * 2));
        let (another, _) = ann();
        let elsewhere = "eve@example.org".parse().unwrap();
        for (purpose, account, email) in [
            (Purpose::ResetPassword, &account, &email),
            (purpose, &another, &email),
            (purpose, &account, &elsewhere),
        ] {
            assert!(!other.is_good(&code, purpose, account, email, NOW));
        }
        assert!(!CodeKey::new(&[8; 32]).is_good(&code, purpose, &account, &email, NOW));
    }

    #[test]
    fn a_changed_password_uses_up_the_codes_that_reset_it() {
        let (mut account, email) = ann();
        let (key, purpose) = (CodeKey::new(&[7; 32]), Purpose::ResetPassword);
        let code = key.code(purpose, &account, &email, NOW);
        assert!(key.is_good(&code, purpose, &account, &email, NOW));
        account.password = PasswordHash::from_bytes(&[1; 60]).unwrap();
        assert!(key.is_good(&code, purpose, &account, &email, NOW));
        let mut bytes = [1; 60];
        bytes[59] = 2;
        account.password = PasswordHash::from_bytes(&bytes).unwrap();
        assert!(!key.is_good(&code, purpose, &account, &email, NOW));
    }
}
