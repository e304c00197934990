//! Rejects passwords that are easy to guess (NIST SP 800-63B §5.1.1.2).

use std::str::FromStr as _;

use confab_protocol::control::{Email, NameError, Password, Username, text};
use zeroize::Zeroizing;

/// Minimum number of characters that a password has beside the username and the e-mail address.
pub const MIN_OWN_CHARACTERS: usize = 8;

/// Names shorter than this are ignored, since most passwords contain a given letter or two.
const MIN_NAME_CHARACTERS: usize = 3;

/// The most common passwords of leaked lists that have the minimum length, in lower case.
const COMMON: [&str; 64] = [
    "0123456789",
    "0987654321",
    "1029384756",
    "1122334455",
    "11223344556677",
    "1212121212",
    "1231231231",
    "123123123123",
    "12341234123",
    "123412341234",
    "12345678900",
    "1234567890",
    "1234567891",
    "12345678910",
    "1234567890123",
    "123456789a",
    "123456789q",
    "123456789987654321",
    "1234567899",
    "123456abcdef",
    "1234qwerasdf",
    "123qweasdzxc",
    "147258369147",
    "1q2w3e4r5t",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "1qazxsw23edc",
    "3rjs1la7qe",
    "741852963741",
    "9876543210",
    "a123456789",
    "abc123456789",
    "abcdefghij",
    "abcdefghijk",
    "administrator",
    "alexander1",
    "asdfghjkl1",
    "asdfghjkl123",
    "asdfghjklo",
    "changeme123",
    "charlie123",
    "chocolate1",
    "christopher",
    "football123",
    "iloveyou12",
    "iloveyou123",
    "january2024",
    "letmein123",
    "letmeinnow",
    "manchester",
    "minecraft123",
    "mynameisjohn",
    "password10",
    "password11",
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "princess123",
    "qwerty12345",
    "qwerty123456",
    "qwertyuiop",
    "qwertyuiop123",
    "zaq12wsxcde3",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeakPassword {
    /// Not a valid password (RFC 8265): too short, too long, or with characters that are not allowed.
    Form(NameError),
    /// One of the most common passwords.
    Common,
    /// One or two characters, repeated.
    Repeated,
    /// Fewer than [`MIN_OWN_CHARACTERS`] characters beside the username and the e-mail address.
    Names,
}

/// Parses a new password and rejects one that is easy to guess.
pub fn choose(
    text: &str,
    username: &Username,
    email: Option<&Email>,
) -> Result<Password, WeakPassword> {
    let password = Password::from_str(text).map_err(WeakPassword::Form)?;
    let folded = Zeroizing::new(password.reveal().to_lowercase());
    if is_common(&folded) {
        return Err(WeakPassword::Common);
    }
    if is_repeated(&folded) {
        return Err(WeakPassword::Repeated);
    }
    if own_characters(&folded, username, email) < MIN_OWN_CHARACTERS {
        return Err(WeakPassword::Names);
    }
    Ok(password)
}

/// Number of characters of the lower-case password without the names.
fn own_characters(folded: &str, username: &Username, email: Option<&Email>) -> usize {
    let local_part = email
        .and_then(|email| email.as_str().rsplit_once('@'))
        .map_or("", |(local, _)| local);
    // In the Unicode composition that passwords use.
    let local_part = text::prepared(local_part).unwrap_or_default();
    let mut names = [username.as_str(), &local_part];
    // Longest first, because one name may contain the other.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let mut own = Zeroizing::new(folded.to_owned());
    for name in names {
        if name.chars().count() >= MIN_NAME_CHARACTERS {
            own = Zeroizing::new(own.replace(name, ""));
        }
    }
    own.chars().count()
}

fn is_common(folded: &str) -> bool {
    // Users often append punctuation to a common password to satisfy rules.
    let stem = folded.trim_end_matches(['!', '.', '?', '*', '#']);
    COMMON.contains(&folded) || COMMON.contains(&stem)
}

fn is_repeated(folded: &str) -> bool {
    let mut characters: Vec<char> = folded.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    characters.len() <= 2
}

#[cfg(test)]
mod tests {
    use confab_protocol::control::{ErrorCode, Refusal};

    use super::*;
    use crate::accounts::errors::RegisterError;

    fn judge(text: &str) -> Result<Password, WeakPassword> {
        let (username, email) = (
            "ann.lee".parse().unwrap(),
            "sunshine@example.org".parse().unwrap(),
        );
        choose(text, &username, Some(&email))
    }

    #[test]
    fn easy_passwords_are_refused_with_a_reason() {
        for easy in [
            "short",
            "password123",
            "Password123!",
            "1234567890",
            "aaaaaaaaaaaa",
            "ababababab",
            "ann.lee rocks",
            "my SUNSHINE day",
            "ANN.LEE sunshine 1",
            "sunshinesunshinesunshine",
            "correct\u{202e}horse",
            &"x1y2".repeat(40),
        ] {
            let refusal = Refusal::from(RegisterError::from(judge(easy).unwrap_err()));
            assert_eq!(refusal.code, ErrorCode::WeakPassword, "{easy}");
            assert_eq!(refusal.field, Some("password"));
            assert!(!refusal.message.contains(easy));
        }
    }

    #[test]
    fn a_long_password_may_contain_a_name() {
        assert!(judge("ann.lee and eight more").is_ok());
        let judge = |text: &str, username: &str, email: &str| {
            let email = email.parse().unwrap();
            choose(text, &username.parse().unwrap(), Some(&email))
        };
        assert!(judge("seven brown bears", "eve", "e@example.org").is_ok());
        assert!(judge("evening12345eve", "eve", "e@example.org").is_ok());
        assert!(judge("eve1234567", "eve", "e@example.org").is_err());
        assert!(judge("Evelyn and Eve", "eve", "evelyn@example.org").is_err());
        // The address is in decomposed form.
        assert!(judge("Čtyři psi", "ann", "ctyri@example.org").is_err());
        assert!(
            judge(
                "čtyřipsi 123456",
                "ann",
                "c\u{30c}tyr\u{30c}ipsi@example.org"
            )
            .is_err()
        );
    }

    #[test]
    fn without_an_address_only_the_username_counts() {
        let username = "ann.lee".parse().unwrap();
        assert!(choose("sunshine day 1", &username, None).is_ok());
        assert!(choose("ann.lee rocks", &username, None).is_err());
    }

    #[test]
    fn passwords_of_a_few_words_are_accepted() {
        for fine in ["correct horse battery", "čtyři psi u řeky", "k9$vvPq2zL"] {
            assert!(judge(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn the_list_of_common_passwords_has_no_short_ones() {
        for common in COMMON {
            assert!(
                common.len() >= Password::MIN && common == common.to_lowercase(),
                "{common}"
            );
        }
    }
}
