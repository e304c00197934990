//! Names that people choose, valid by construction: the server and the client check them by the same code.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::text::{self, Reason, Refused};

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too few or too many characters.
    #[error("{what} has {min} to {max} characters, not {got}")]
    Length {
        /// Which name.
        what: &'static str,
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
        /// How many there were.
        got: usize,
    },
    /// A character that no text has.
    #[error("{what} may not contain {refused}")]
    Text {
        /// Which name.
        what: &'static str,
        /// The first one that is out of place.
        refused: Refused,
    },
    /// A character that no password has. Which one is not told.
    #[error("{what} may not contain {reason}")]
    Secret {
        /// Which name.
        what: &'static str,
        /// What is wrong with the first one that is out of place.
        reason: Reason,
    },
    /// A character that has no place in it.
    #[error("{what} may not contain {}: {allowed}", named(*got))]
    Character {
        /// Which name.
        what: &'static str,
        /// The first one that is out of place.
        got: char,
        /// What is allowed.
        allowed: &'static str,
    },
    /// It does not have the form of its kind.
    #[error("{0}")]
    Form(&'static str),
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name! {
    /// A name in the service: 3 to 32 of `a-z 0-9 . _ -`, the first a letter or digit; a guest's has `~` and four of `a-z 2-7` behind
    /// it, which no account that stays has, and 32 in all at most.
    ///
    /// Upper case is folded to lower case, so that two names never differ by case alone.
    Username
}

name! {
    /// A conference's name in the service: 3 to 64 of `a-z 0-9 -`, with no `-` at either end. Upper case is folded.
    Slug
}

name! {
    /// A conference's title: 1 to 100 characters that pass [`text::check`], not all of them blank.
    ///
    /// Spaces of all widths become U+0020, those at its ends go, and the rest is in NFC.
    Title
}

name! {
    /// Where relays and nodes are, as their operators call it: 1 to 32 of `a-z 0-9 -`. Upper case is folded.
    Region
}

name! {
    /// What a session is shown as: 0 to 64 characters, as in a [`Title`], but it may be empty.
    Device
}

name! {
    /// A line of the server's operator to everybody: 1 to 200 characters, as in a [`Title`].
    Notice
}

impl Default for Device {
    /// Without a name.
    fn default() -> Self {
        Self(String::new())
    }
}

/// An e-mail address: 3 to 254 bytes (RFC 5321 §4.5.3.1.3), one `@` with something on both sides. Folded to lower case.
///
/// Its `Debug` shows nothing, so that no log holds an address by accident.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(String);

/// A password: 10 to 128 characters, in memory for as short as can be, never shown.
///
/// It is in the form of RFC 8265 §4.2 (OpaqueString), so that it is the same one however a keyboard composes its letters.
/// Long enough is all that is asked of it (NIST SP 800-63B §5.1.1.2); whether it is a common one or little more than the
/// person's name is for the server to judge.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// A day of birth, between 1900 and today.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Birthday(jiff::civil::Date);

impl FromStr for Username {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a username";
        length(WHAT, text, 3, 32)?;
        let text = text.to_ascii_lowercase();
        let (chosen, _) = guest_parts(&text).unwrap_or((&text, ""));
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        characters(
            WHAT,
            chosen,
            allowed,
            "letters a-z, digits, '.', '_' and '-'",
        )?;
        length(WHAT, chosen, 3, 32)?;
        if text.starts_with(['.', '_', '-']) {
            return Err(NameError::Form(
                "a username begins with a letter or a digit",
            ));
        }
        Ok(Self(text))
    }
}

impl Username {
    /// Most characters of the name that a guest chooses.
    pub const MAX_OF_GUEST: usize = 32 - 1 - GUEST_MARK_LEN;

    /// A guest's name: the one that it chose, and random bytes, which tell guests of the same name apart. `None` if it chose a guest's
    /// name, or one of more than [`MAX_OF_GUEST`](Self::MAX_OF_GUEST) characters.
    pub fn guest(chosen: &Self, random: [u8; 4]) -> Option<Self> {
        if chosen.is_guest() || chosen.0.len() > Self::MAX_OF_GUEST {
            return None;
        }
        let digit = |byte: u8| char::from(GUEST_DIGITS[usize::from(byte) % GUEST_DIGITS.len()]);
        let mark: String = random.map(digit).iter().collect();
        Some(Self(format!("{}{GUEST_SEPARATOR}{mark}", chosen.0)))
    }

    /// True for the name of a guest.
    pub fn is_guest(&self) -> bool {
        guest_parts(&self.0).is_some()
    }
}

/// What stands between the name that a guest chose and its mark.
const GUEST_SEPARATOR: char = '~';
const GUEST_MARK_LEN: usize = 4;
const GUEST_DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The name that a guest chose, and its mark.
fn guest_parts(text: &str) -> Option<(&str, &str)> {
    let (chosen, mark) = text.rsplit_once(GUEST_SEPARATOR)?;
    let is_mark =
        mark.len() == GUEST_MARK_LEN && mark.bytes().all(|byte| GUEST_DIGITS.contains(&byte));
    is_mark.then_some((chosen, mark))
}

impl FromStr for Slug {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a conference's slug";
        length(WHAT, text, 3, 64)?;
        let text = text.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        characters(WHAT, &text, allowed, "letters a-z, digits and '-'")?;
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Form(
                "a conference's slug neither begins nor ends with '-'",
            ));
        }
        Ok(Self(text))
    }
}

impl FromStr for Region {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a region's name";
        length(WHAT, text, 1, 32)?;
        let text = text.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        characters(WHAT, &text, allowed, "letters a-z, digits and '-'")?;
        Ok(Self(text))
    }
}

impl Region {
    /// Reads a region from a message's field; empty is none.
    pub fn parse(text: &str) -> Result<Option<Self>, NameError> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some)
    }
}

impl FromStr for Title {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a title";
        let text = readable(WHAT, text)?;
        length(WHAT, &text, 1, 100)?;
        if text::is_blank(&text) {
            return Err(NameError::Form("a title has something to see in it"));
        }
        Ok(Self(text))
    }
}

impl FromStr for Notice {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a notice";
        let text = readable(WHAT, text)?;
        length(WHAT, &text, 1, 200)?;
        if text::is_blank(&text) {
            return Err(NameError::Form("a notice has something to see in it"));
        }
        Ok(Self(text))
    }
}

impl FromStr for Device {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a device's name";
        let text = readable(WHAT, text)?;
        length(WHAT, &text, 0, 64)?;
        if !text.is_empty() && text::is_blank(&text) {
            return Err(NameError::Form(
                "a device's name is empty or has something to see in it",
            ));
        }
        Ok(Self(text))
    }
}

impl FromStr for Email {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "an e-mail address";
        const FORM: NameError = NameError::Form("an e-mail address looks like name@example.org");
        // Some letters take more bytes in lower case.
        let text = text.to_lowercase();
        if !(3..=254).contains(&text.len()) {
            return Err(NameError::Length {
                what: WHAT,
                min: 3,
                max: 254,
                got: text.len(),
            });
        }
        text::check(&text).map_err(|refused| NameError::Text {
            what: WHAT,
            refused,
        })?;
        characters(WHAT, &text, |c| !c.is_whitespace(), "no spaces")?;
        let (local, domain) = text.rsplit_once('@').ok_or(FORM)?;
        if local.is_empty() || local.contains('@') || domain.is_empty() {
            return Err(FORM);
        }
        if domain.starts_with('.') || domain.ends_with('.') || domain.contains("..") {
            return Err(FORM);
        }
        Ok(Self(text))
    }
}

impl Email {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

impl FromStr for Password {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const WHAT: &str = "a password";
        if text.len() > Self::MAX_TYPED {
            length(WHAT, text, Self::MIN, Self::MAX)?;
        }
        let prepared =
            text::opaque(text).map_err(|reason| NameError::Secret { what: WHAT, reason })?;
        length(WHAT, &prepared, Self::MIN, Self::MAX)?;
        Ok(Self(prepared))
    }
}

impl Password {
    /// Fewest characters.
    pub const MIN: usize = 10;
    /// Most characters.
    pub const MAX: usize = 128;
    /// Most bytes before letters are composed: four characters of four bytes for each. What is longer is not looked at.
    const MAX_TYPED: usize = 16 * Self::MAX;

    /// The password, to be hashed or sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl FromStr for Birthday {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const FORM: NameError = NameError::Form("a birthday is a day since 1900 as YYYY-MM-DD");
        if text.len() != "YYYY-MM-DD".len() {
            return Err(FORM);
        }
        let date: jiff::civil::Date = text.parse().map_err(|_| FORM)?;
        if date.year() < 1900 {
            return Err(FORM);
        }
        Ok(Self(date))
    }
}

impl fmt::Display for Birthday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Birthday {
    /// Whole years from this day to `today`; negative when it lies ahead. Who was born on 29 February turns on 1 March.
    pub fn age_on(self, today: jiff::civil::Date) -> i16 {
        let had_birthday = (today.month(), today.day()) >= (self.0.month(), self.0.day());
        today.year() - self.0.year() - i16::from(!had_birthday)
    }
}

fn length(what: &'static str, text: &str, min: usize, max: usize) -> Result<(), NameError> {
    let got = text.chars().count();
    if (min..=max).contains(&got) {
        Ok(())
    } else {
        Err(NameError::Length {
            what,
            min,
            max,
            got,
        })
    }
}

fn characters(
    what: &'static str,
    text: &str,
    is_allowed: impl Fn(char) -> bool,
    allowed: &'static str,
) -> Result<(), NameError> {
    match text.chars().find(|c| !is_allowed(*c)) {
        None => Ok(()),
        Some(got) => Err(NameError::Character { what, got, allowed }),
    }
}

/// A text for people as it is kept.
fn readable(what: &'static str, text: &str) -> Result<String, NameError> {
    text::prepared(text).map_err(|refused| NameError::Text { what, refused })
}

/// A character in a message: itself where it can be shown.
fn named(c: char) -> String {
    let mut buffer = [0; 4];
    let text = c.encode_utf8(&mut buffer);
    match text::check(text) {
        Ok(()) => format!("'{text}'"),
        Err(refused) => refused.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usernames_fold_case_and_refuse_the_rest() {
        assert_eq!("Ann.B-2".parse::<Username>().unwrap().as_str(), "ann.b-2");
        for bad in [
            "ab",
            ".ann",
            "an n",
            "ännä",
            "a\u{0}bc",
            "",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<Username>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_guest_has_the_name_that_it_chose_and_a_mark() {
        let ann: Username = "Ann".parse().unwrap();
        let guest = Username::guest(&ann, [0, 25, 31, 32]).unwrap();
        assert_eq!(guest.as_str(), "ann~az7a");
        assert_eq!(guest.as_str().parse(), Ok(guest.clone()));
        assert!(guest.is_guest() && !ann.is_guest());
        let longest: Username = "a".repeat(Username::MAX_OF_GUEST).parse().unwrap();
        let guest = Username::guest(&longest, [1; 4]).unwrap();
        assert_eq!(guest.as_str().len(), 32);
        assert_eq!(guest.as_str().parse(), Ok(guest.clone()));
        assert_eq!(Username::guest(&guest, [1; 4]), None);
        let longer: Username = "a".repeat(Username::MAX_OF_GUEST + 1).parse().unwrap();
        assert_eq!(Username::guest(&longer, [1; 4]), None);
        for bad in [
            "ann~",
            "ann~abc",
            "ann~abc1",
            "an~abcd",
            "~abcd",
            "ann~abcd~abcd",
            "ann~abcde",
        ] {
            assert!(bad.parse::<Username>().is_err(), "{bad}");
        }
    }

    #[test]
    fn slugs_have_no_hyphen_at_their_ends() {
        assert!("friday-night".parse::<Slug>().is_ok());
        for bad in ["-abc", "abc-", "a_b_c", "ab", "a/b", "a.b"] {
            assert!(bad.parse::<Slug>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_needs_both_sides() {
        assert!("a@b.c".parse::<Email>().is_ok());
        for bad in ["a@", "@b", "ab", "a@b@c", "a b@c", "a@.b", "a@b."] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_as_short_as_it_must_be_in_lower_case_too() {
        // Two bytes each; three in lower case.
        let grows = |letters: usize| format!("{}@b.c", "İ".repeat(letters));
        assert_eq!(grows(125).len(), 254);
        assert!(grows(125).parse::<Email>().is_err());
        let longest: Email = grows(83).parse().unwrap();
        assert_eq!(longest.as_str().len(), 253);
        assert_eq!(longest.as_str().parse(), Ok(longest));
    }

    #[test]
    fn titles_hold_what_people_write_and_nothing_that_deceives() {
        for (text, kept) in [
            ("  Friday\u{a0}night ", "Friday night"),
            ("👩🏽\u{200d}🚀 crew", "👩🏽\u{200d}🚀 crew"),
            ("می\u{200c}خواهم", "می\u{200c}خواهم"),
            ("cafe\u{301}", "café"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
        ] {
            assert_eq!(text.parse::<Title>().unwrap().as_str(), kept);
            assert_eq!(text.parse::<Device>().unwrap().as_str(), kept);
            assert_eq!(text.parse::<Notice>().unwrap().as_str(), kept);
        }
        for bad in [
            "a\u{61c}b",
            "a\u{ad}b",
            "a\u{2060}b",
            "a\u{180e}b",
            "a\u{e0041}b",
            "a\u{fff9}b",
            "a\u{202e}b",
            "a\u{200d}b",
            "a\u{9b}b",
            "line\n",
            "\u{3164}",
            "\u{2800} \u{2800}",
            &format!("a{}", "\u{301}".repeat(40)),
        ] {
            let refused = bad.parse::<Title>().unwrap_err().to_string();
            assert_eq!(text::check(&refused), Ok(()), "{refused:?}");
            assert!(bad.parse::<Device>().is_err(), "{bad:?}");
            assert!(bad.parse::<Notice>().is_err(), "{bad:?}");
        }
        assert!("".parse::<Device>().is_ok());
        assert!(" ".parse::<Title>().is_err());
    }

    #[test]
    fn a_refusal_shows_no_character_that_deceives() {
        for bad in ["ann\u{202e}", "ann\u{3164}", "ann\u{301}", "ann\n", "änn"] {
            let refused = bad.parse::<Username>().unwrap_err().to_string();
            assert_eq!(text::check(&refused), Ok(()), "{refused:?}");
        }
        let refused = "a\u{202e}nn@b.c".parse::<Email>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "an e-mail address may not contain a character that turns the direction of text (U+202E)"
        );
    }

    #[test]
    fn a_password_is_the_same_however_it_was_typed_and_no_error_shows_it() {
        let composed: Password = "čtyři psi u řeky".parse().unwrap();
        let typed = "c\u{30c}tyr\u{30c}i\u{a0}psi\u{3000}u r\u{30c}eky";
        assert_eq!(
            typed.parse::<Password>().unwrap().reveal(),
            composed.reveal()
        );
        let refused = "correct\u{202e}horse".parse::<Password>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a password may not contain a character that turns the direction of text"
        );
        assert!(!format!("{refused:?}").contains("202e"));
        // Ten bytes and marks that go into their letters are no ten characters.
        assert!("e\u{301}".repeat(9).parse::<Password>().is_err());
    }

    #[test]
    fn age_counts_whole_years() {
        let born: Birthday = "2014-11-23".parse().unwrap();
        assert_eq!(born.age_on("2026-11-22".parse().unwrap()), 11);
        assert_eq!(born.age_on("2026-11-23".parse().unwrap()), 12);
        let leap: Birthday = "2004-02-29".parse().unwrap();
        assert_eq!(leap.age_on("2026-02-28".parse().unwrap()), 21);
        assert!("2026-13-01".parse::<Birthday>().is_err());
        assert!("1899-01-01".parse::<Birthday>().is_err());
    }

    #[test]
    fn secrets_do_not_show() {
        let password: Password = "correct horse battery".parse().unwrap();
        let email: Email = "ann@example.org".parse().unwrap();
        assert!(!format!("{password:?} {email:?}").contains("horse"));
        assert!(!format!("{email:?}").contains("ann"));
    }

    proptest! {
        #[test]
        fn what_is_parsed_parses_again_to_the_same(text in ".{0,70}") {
            if let Ok(name) = text.parse::<Username>() {
                prop_assert_eq!(&name.as_str().parse::<Username>().unwrap(), &name);
            }
            if let Ok(name) = text.parse::<Slug>() {
                prop_assert_eq!(&name.as_str().parse::<Slug>().unwrap(), &name);
            }
            if let Ok(name) = text.parse::<Title>() {
                prop_assert_eq!(&name.as_str().parse::<Title>().unwrap(), &name);
            }
            if let Ok(name) = text.parse::<Device>() {
                prop_assert_eq!(&name.as_str().parse::<Device>().unwrap(), &name);
            }
            if let Ok(name) = text.parse::<Email>() {
                prop_assert_eq!(&name.as_str().parse::<Email>().unwrap(), &name);
            }
            if let Ok(password) = text.parse::<Password>() {
                let again: Password = password.reveal().parse().unwrap();
                prop_assert_eq!(again.reveal(), password.reveal());
            }
        }
    }
}
