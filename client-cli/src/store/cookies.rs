//! Device cookies: by each, a server knows that an account has logged in from here before, and guesses of strangers do not slow
//! down its next login.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::hexadecimal;

/// Accounts of one server whose cookies are kept; the one that was kept first goes.
const MAX_ACCOUNTS: usize = 16;
/// Bytes of a cookie, at most. A longer one is not kept.
const MAX_COOKIE: usize = 512;

/// The cookies of one server's accounts, the one that was kept last at the end.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct DeviceCookies(Vec<DeviceCookie>);

#[derive(Clone, Serialize, Deserialize)]
struct DeviceCookie {
    username: String,
    email: String,
    #[serde(with = "hexadecimal")]
    cookie: Zeroizing<Vec<u8>>,
}

impl DeviceCookies {
    /// The cookie of the account with this name or address, as typed.
    pub(super) fn find(&self, name: &str) -> Option<&[u8]> {
        let name = name.to_lowercase();
        let found = self
            .0
            .iter()
            .find(|known| known.username == name || known.email == name);
        found.map(|known| &known.cookie[..])
    }

    /// Keeps the account's cookie in place of an earlier one.
    pub(super) fn keep(&mut self, username: &str, email: &str, cookie: Zeroizing<Vec<u8>>) {
        if cookie.len() > MAX_COOKIE {
            return;
        }
        self.forget(username);
        if self.0.len() >= MAX_ACCOUNTS {
            self.0.remove(0);
        }
        self.0.push(DeviceCookie {
            username: username.to_owned(),
            email: email.to_lowercase(),
            cookie,
        });
    }

    /// Forgets the account's cookie.
    pub(super) fn forget(&mut self, username: &str) {
        self.0.retain(|known| known.username != username);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_name_and_address_and_are_bounded() {
        let mut cookies = DeviceCookies::default();
        let cookie = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
        cookies.keep("ann", "ann@example.org", cookie(&[1]));
        cookies.keep("ann", "new@example.org", cookie(&[2]));
        cookies.keep("ben", "ben@example.org", cookie(&[0; MAX_COOKIE + 1]));
        assert_eq!(cookies.find("ANN"), Some(&[2][..]));
        assert_eq!(cookies.find("New@example.org"), Some(&[2][..]));
        assert_eq!(cookies.find("ann@example.org"), None);
        assert_eq!(cookies.find("ben"), None);
        for at in 0..MAX_ACCOUNTS {
            cookies.keep(&format!("user{at}"), "u@example.org", cookie(&[3]));
        }
        assert_eq!((cookies.find("ann"), cookies.0.len()), (None, MAX_ACCOUNTS));
    }
}
