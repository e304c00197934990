//! The file of the known devices of one server: text, for each account a line and one for each of its devices.
//!
//! ```text
//! account ID NAME [CLAIMED]
//! device KEY pending|accepted|verified FIRST_SEEN
//! ```
//!
//! ID has 32 hexadecimal digits, KEY 64; CLAIMED is another name that the account has shown since; FIRST_SEEN is in milliseconds
//! since 1970.

use std::fmt::Write as _;

use confab_e2ee::mls::identity::DevicePublicKey;
use confab_protocol::control::{AccountId, Username};
use data_encoding::HEXLOWER;

use super::pins::{Account, Pins, Standing};

const ACCOUNT: &str = "account";
const DEVICE: &str = "device";

/// A line of the file is not what this program writes. None is skipped: without it a new device would be quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}")]
pub struct DamagedLine {
    /// From 1.
    pub line: usize,
}

impl Standing {
    /// The word in files and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Verified => "verified",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Accepted, Self::Verified];
        all.into_iter().find(|standing| standing.word() == word)
    }
}

impl Pins {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// The first line that is damaged.
    pub fn parse(text: &str) -> Result<Self, DamagedLine> {
        let mut pins = Self::default();
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            let read = reader.read(line, &mut pins);
            read.ok_or(DamagedLine { line: index + 1 })?;
        }
        if reader.needs_device {
            let line = text.lines().count();
            return Err(DamagedLine { line });
        }
        pins.keep_all_within_bounds();
        Ok(pins)
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (id, account) in self.accounts() {
            write_account(&mut text, *id, account).expect("a string takes all that is written");
        }
        text
    }
}

fn write_account(text: &mut String, id: AccountId, account: &Account) -> std::fmt::Result {
    write!(text, "{ACCOUNT} {id} {}", account.name())?;
    if let Some(claimed) = account.claimed() {
        write!(text, " {claimed}")?;
    }
    text.push('\n');
    for (key, device) in account.devices() {
        let standing = device.standing.word();
        let since = device.first_seen_ms;
        writeln!(text, "{DEVICE} {key} {standing} {since}")?;
    }
    Ok(())
}

#[derive(Default)]
struct Reader {
    account: Option<AccountId>,
    /// The last line was an account's.
    needs_device: bool,
}

impl Reader {
    fn read(&mut self, line: &str, pins: &mut Pins) -> Option<()> {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            [ACCOUNT, id, name] => self.account(id, name, None, pins),
            [ACCOUNT, id, name, claimed] => self.account(id, name, Some(claimed), pins),
            [DEVICE, key, standing, since] => self.device(key, standing, since, pins),
            _ => None,
        }
    }

    fn account(
        &mut self,
        id: &str,
        name: &str,
        claimed: Option<&str>,
        pins: &mut Pins,
    ) -> Option<()> {
        let id = AccountId::new(bytes(id)?);
        if self.needs_device || pins.accounts().contains_key(&id) {
            return None;
        }
        let claimed = match claimed {
            Some(claimed) if claimed != name => Some(username(claimed)?),
            Some(_) => return None,
            None => None,
        };
        pins.set_name(id, &username(name)?);
        pins.set_claimed(id, claimed);
        self.account = Some(id);
        self.needs_device = true;
        Some(())
    }

    fn device(&mut self, key: &str, standing: &str, since: &str, pins: &mut Pins) -> Option<()> {
        let account = self.account?;
        let key = DevicePublicKey(bytes(key)?);
        let (standing, since_ms): (_, u64) = (Standing::parse(standing)?, since.parse().ok()?);
        let is_there = pins.accounts().get(&account)?.devices().contains_key(&key);
        if is_there || since_ms.to_string() != since {
            return None;
        }
        pins.set(account, key, standing, since_ms);
        self.needs_device = false;
        Some(())
    }
}

/// A name in the form in which it is written.
fn username(text: &str) -> Option<Username> {
    let name: Username = text.parse().ok()?;
    (name.as_str() == text).then_some(name)
}

fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(digits.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Person, cheap};
    use super::*;
    use proptest::prelude::*;

    fn standing() -> impl Strategy<Value = Standing> {
        prop_oneof![
            Just(Standing::Pending),
            Just(Standing::Accepted),
            Just(Standing::Verified)
        ]
    }

    /// Some accounts, names that several have, names that are claimed, and what a person has decided.
    fn pins() -> impl Strategy<Value = Pins> {
        let device = (0..12u32, 0..20u32, standing(), any::<u64>());
        let claim = (0..12u32, "[a-z][a-z0-9._-]{2,31}|user[0-4]");
        let decision = (0..5u32, any::<bool>());
        let devices = prop::collection::vec(device, 0..80);
        let claims = prop::collection::vec(claim, 0..4);
        let decisions = prop::collection::vec(decision, 0..3);
        (devices, claims, decisions).prop_map(|(devices, claims, decisions)| {
            let mut pins = Pins::default();
            for (account, device, standing, since) in devices {
                let (id, key) = cheap(account, device);
                pins.set_name(id, &format!("user{}", account % 5).parse().unwrap());
                pins.set(id, key, standing, since);
                pins.keep_within_bounds(id);
            }
            for (account, name) in claims {
                let id = cheap(account, 0).0;
                let name: Username = name.parse().unwrap();
                let known = pins.accounts().get(&id);
                if known.is_some_and(|known| *known.name() != name) {
                    pins.set_claimed(id, Some(name));
                }
            }
            for (number, accepts) in decisions {
                let name = format!("user{number}").parse().unwrap();
                match accepts {
                    true => drop(pins.accept(&name)),
                    false => drop(pins.forget(&name)),
                }
            }
            pins
        })
    }

    fn line() -> impl Strategy<Value = String> {
        let number = prop_oneof!["[0-9]{1,20}", "[0-9a-f]{32}", "[0-9a-f]{64}", "[a-z]{3}"];
        let kind = prop_oneof![Just("account"), Just("device"), Just("")];
        let word = prop_oneof![Just("accepted"), Just("pending"), Just("ben"), Just("x")];
        (kind, number.clone(), word, number)
            .prop_map(|(kind, one, word, other)| format!("{kind} {one} {word} {other}"))
    }

    proptest! {
        #[test]
        fn pins_are_read_as_they_were_written(pins in pins()) {
            prop_assert_eq!(Pins::parse(&pins.to_text()), Ok(pins));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}", lines in prop::collection::vec(line(), 0..8)) {
            for text in [text, lines.join("\n")] {
                if let Ok(pins) = Pins::parse(&text) {
                    prop_assert_eq!(Pins::parse(&pins.to_text()), Ok(pins));
                }
            }
        }
    }

    #[test]
    fn a_damaged_line_is_named_and_none_is_skipped() {
        let (id, key) = ("0".repeat(32), "1".repeat(64));
        let whole = format!("account {id} ben\ndevice {key} accepted 5\n");
        assert_eq!(Pins::parse(&whole).unwrap().to_text(), whole);
        let damaged = [
            (1, String::from("\n")),
            (1, format!("device {key} accepted 5\n")),
            (1, format!("account {id} Ben\ndevice {key} accepted 5\n")),
            (
                1,
                format!("account {id} ben ben\ndevice {key} accepted 5\n"),
            ),
            (1, format!("account {id}0 ben\ndevice {key} accepted 5\n")),
            (1, format!("account {id} ben\n")),
            (2, format!("account {id} ben\ndevice {key} known 5\n")),
            (2, format!("account {id} ben\ndevice {key} accepted -5\n")),
            (2, format!("account {id} ben\ndevice {key} accepted 05\n")),
            (2, format!("account {id} ben\ndevice {key}\n")),
            (2, format!("account {id} ben\naccount {id} ben\n")),
            (3, format!("{whole}{whole}")),
            (3, format!("{whole}device {key} verified 5\n")),
        ];
        for (line, text) in damaged {
            assert_eq!(Pins::parse(&text), Err(DamagedLine { line }), "{text}");
        }
    }

    #[test]
    fn what_was_observed_is_the_same_after_reading() {
        let mut pins = Pins::default();
        let (ben, mut eve) = (Person::new(1, "ben"), Person::new(2, "eve"));
        pins.observe(&ben.credential(), 1);
        pins.observe(&Person::new(1, "ben").credential(), 2);
        pins.observe(&eve.credential(), 3);
        eve.name = "ben".parse().unwrap();
        pins.observe(&eve.credential(), 4);
        let mut read = Pins::parse(&pins.to_text()).unwrap();
        assert_eq!(read, pins);
        assert_eq!(
            read.observe(&eve.credential(), 5),
            pins.observe(&eve.credential(), 5)
        );
    }
}
