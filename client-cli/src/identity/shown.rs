//! A sighting as a line for a person and as JSON for a program. `docs/client.md` holds both and changes with them.

use serde::Serialize;

use super::pins::Sighting;
use super::watch::Seen;

/// The event `identity`, without the field `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdentityShown {
    name: String,
    /// 32 hexadecimal digits.
    account: String,
    /// The device's public key, 64 hexadecimal digits.
    device: String,
    change: &'static str,
    trusted: bool,
    #[serde(skip)]
    text: String,
}

impl From<&Seen> for IdentityShown {
    fn from(seen: &Seen) -> Self {
        Self {
            name: seen.name.to_string(),
            account: seen.account.to_string(),
            device: seen.device.to_string(),
            change: change(&seen.sighting),
            trusted: seen.is_trusted(),
            text: line(seen),
        }
    }
}

impl IdentityShown {
    /// The line for a person.
    pub fn text(&self) -> &str {
        &self.text
    }
}

const fn change(sighting: &Sighting) -> &'static str {
    match sighting {
        Sighting::Known => "known",
        Sighting::First => "first",
        Sighting::Endorsed { .. } => "endorsed",
        Sighting::NewDevice { .. } => "new_device",
        Sighting::NameOfAnother { .. } => "name_of_another",
        Sighting::Renamed { .. } => "renamed",
    }
}

fn line(seen: &Seen) -> String {
    let name = &seen.name;
    let loud = name.as_str().to_ascii_uppercase();
    let then = format!(
        "Compare codes by another way than this call: confab trust verify {name}. To go on without that: \
         confab trust accept {name}"
    );
    match &seen.sighting {
        Sighting::Known => format!("{name} is on a known device"),
        Sighting::First => {
            format!("{name} is here for the first time; the device is remembered")
        }
        Sighting::Endorsed { .. } => {
            format!("{name} is on a new device; a known device of {name} vouches for it")
        }
        Sighting::NewDevice { .. } => format!(
            "!! {loud} IS ON A NEW DEVICE. It may be {name}'s new computer, or somebody who has taken the account. {then}"
        ),
        Sighting::NameOfAnother { before } => format!(
            "!! THIS {loud} IS NOT THE {loud} THAT YOU KNOW. The account {} has the name of the account {before}. It may be \
             {name}'s new account, or somebody who shows {name}'s name. {then}",
            seen.account
        ),
        Sighting::Renamed { before } => format!(
            "!! {} IS NOW CALLED {loud}. You know this account as {before}. {then}",
            before.as_str().to_ascii_uppercase()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Person, cheap};
    use super::*;

    fn shown(sighting: Sighting) -> IdentityShown {
        let (account, device) = cheap(1, 2);
        let seen = Seen {
            leaf: 3,
            account,
            name: Person::new(1, "ben").name,
            device,
            sighting,
        };
        IdentityShown::from(&seen)
    }

    fn all() -> [Sighting; 5] {
        let (before, by) = cheap(9, 1);
        [
            Sighting::First,
            Sighting::Endorsed { by },
            Sighting::NewDevice { pinned: 1 },
            Sighting::NameOfAnother { before },
            Sighting::Renamed {
                before: "bob".parse().unwrap(),
            },
        ]
    }

    #[test]
    fn what_is_loud_says_so_and_what_to_do() {
        for sighting in all() {
            let shown = shown(sighting.clone());
            let line = shown.text();
            assert!(line.contains("ben"), "{line}");
            assert_eq!(line.starts_with("!! "), sighting.is_loud(), "{line}");
            for command in ["confab trust verify ben", "confab trust accept ben"] {
                assert_eq!(line.contains(command), sighting.is_loud(), "{line}");
            }
        }
    }

    #[test]
    fn a_program_gets_the_fields_of_the_page() {
        let changes = [
            "first",
            "endorsed",
            "new_device",
            "name_of_another",
            "renamed",
        ];
        for (sighting, change) in all().into_iter().zip(changes) {
            let trusted = !sighting.is_loud();
            let expected = serde_json::json!({
                "name": "ben",
                "account": "00000001".to_owned() + &"0".repeat(24),
                "device": "0000000100000002".to_owned() + &"0".repeat(48),
                "change": change,
                "trusted": trusted,
            });
            assert_eq!(serde_json::to_value(shown(sighting)).unwrap(), expected);
        }
    }
}
