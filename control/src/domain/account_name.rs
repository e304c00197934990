//! The names by which an account is found.

use confab_protocol::control::{Email, Username};

/// A name that belongs to an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccountName {
    Username(Username),
    Email(Email),
}

impl AccountName {
    /// Text with an `@` is an address. `None` if the text can be neither name nor address, so that no account matches.
    pub fn parse(text: &str) -> Option<Self> {
        if text.contains('@') {
            text.parse().ok().map(Self::Email)
        } else {
            text.parse().ok().map(Self::Username)
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Username(name) => name.as_str(),
            Self::Email(email) => email.as_str(),
        }
    }
}
