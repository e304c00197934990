//! The names by which an account is found.

use std::str::FromStr;

use confab_protocol::control::{Email, NameError, Username};

/// A name that belongs to an account. Text with an `@` is an e-mail address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccountName {
    Username(Username),
    Email(Email),
}

impl AccountName {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Username(name) => name.as_str(),
            Self::Email(email) => email.as_str(),
        }
    }
}

impl FromStr for AccountName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.contains('@') {
            true => text.parse().map(Self::Email),
            false => text.parse().map(Self::Username),
        }
    }
}
