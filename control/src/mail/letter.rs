//! The text of letters.

use confab_protocol::control::{Email, Username};

use crate::domain::MailCode;

/// A letter to the holder of an account.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: Email,
    pub username: Username,
    pub kind: LetterKind,
}

/// The kinds of letters.
#[derive(Clone, Debug)]
pub enum LetterKind {
    /// A code to verify the address, good for so many minutes.
    VerifyEmail(MailCode, u64),
    /// A code to reset the password, good for so many minutes.
    ResetPassword(MailCode, u64),
    /// A code to replace the address, good for so many minutes.
    ChangeEmail(MailCode, u64),
    /// The password was changed.
    PasswordChanged,
    /// The account has another address now, or none.
    EmailChanged,
}

impl Letter {
    /// The subject.
    pub(super) fn subject(&self, server: &str) -> String {
        match self.kind {
            LetterKind::VerifyEmail(..) => format!("Your address at {server}"),
            LetterKind::ResetPassword(..) => format!("A new password at {server}"),
            LetterKind::ChangeEmail(..) => format!("Another address at {server}"),
            LetterKind::PasswordChanged => format!("Your password at {server} was changed"),
            LetterKind::EmailChanged => format!("Your address at {server} was changed"),
        }
    }

    /// The text, in lines that end with `\n`.
    pub(super) fn text(&self, server: &str) -> String {
        let name = &self.username;
        match &self.kind {
            LetterKind::VerifyEmail(code, minutes) => format!(
                "Hello {name},\n\n\
                 the account {name} gives this address, at the voice server\n\
                 {server}.\n\
                 If the account is yours, show that you read its mail:\n\n    \
                 confab --server {server} verify-email {code}\n\n\
                 The code is good for {minutes} minutes. A lost password can be reset by\n\
                 mail to a verified address, and to no other.\n\n\
                 If you have no account there, do nothing: the address is not used.\n"
            ),
            LetterKind::ResetPassword(code, minutes) => format!(
                "Hello {name},\n\n\
                 somebody asks for a new password of the account {name}, at the\n\
                 voice server {server}. If it was you:\n\n    \
                 confab --server {server} reset-password {name} --code {code}\n\n\
                 The code is good for {minutes} minutes, once. All devices will have to\n\
                 log in again.\n\n\
                 If it was not you, do nothing: the password stays as it is.\n"
            ),
            LetterKind::ChangeEmail(code, minutes) => format!(
                "Hello {name},\n\n\
                 somebody who is logged in as {name}, at the voice server\n\
                 {server}, is about to give the account another e-mail address\n\
                 in place of this one. If it was you, with the new address:\n\n    \
                 confab --server {server} change-email NEW --code {code}\n\n\
                 The code is good for {minutes} minutes, once.\n\n\
                 If it was not you, change your password: somebody else has it.\n\n    \
                 confab --server {server} passwd\n"
            ),
            LetterKind::PasswordChanged => format!(
                "Hello {name},\n\n\
                 the password of the account {name} was changed, at the voice server\n\
                 {server}. If it was not you, set another:\n\n    \
                 confab --server {server} reset-password {name}\n"
            ),
            LetterKind::EmailChanged => format!(
                "Hello {name},\n\n\
                 the account {name} has another e-mail address now, or none, at the\n\
                 voice server {server}. Nothing more is sent to this one.\n\n\
                 If it was not you, somebody has your password. Change it:\n\n    \
                 confab --server {server} passwd\n\n\
                 If it is not yours any more, ask the server's operator for another.\n"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_the_command_with_the_code_and_short_lines_around_it() {
        let code: MailCode = "abcd-efgh-ijkl-mnop".parse().unwrap();
        let letter = |kind| Letter {
            to: "ann@example.org".parse().unwrap(),
            username: "ann".parse().unwrap(),
            kind,
        };
        for (kind, command) in [
            (
                LetterKind::VerifyEmail(code.clone(), 15),
                "confab --server talk.example.org verify-email abcd-efgh-ijkl-mnop",
            ),
            (
                LetterKind::ResetPassword(code.clone(), 15),
                "confab --server talk.example.org reset-password ann --code abcd-efgh-ijkl-mnop",
            ),
            (
                LetterKind::ChangeEmail(code, 15),
                "confab --server talk.example.org change-email NEW --code abcd-efgh-ijkl-mnop",
            ),
            (
                LetterKind::PasswordChanged,
                "confab --server talk.example.org reset-password ann",
            ),
            (
                LetterKind::EmailChanged,
                "confab --server talk.example.org passwd",
            ),
        ] {
            let text = letter(kind).text("talk.example.org");
            assert!(
                text.lines().any(|line| line == format!("    {command}")),
                "{text}"
            );
            // RFC 5322, section 2.1.1: no more than 78. A command stays whole.
            let mut prose = text.lines().filter(|line| !line.starts_with(' '));
            assert!(prose.all(|line| line.len() <= 78), "{text}");
        }
    }
}
