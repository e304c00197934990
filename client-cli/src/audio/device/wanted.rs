//! The device that a person wants, by what `confab devices` shows.

use serde::Serialize;

/// The name of the device that the system chooses.
pub const DEFAULT: &str = "default";

/// A device of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id at the sound system.
    pub id: String,
    /// Its name for a person.
    pub name: String,
    /// It has a microphone.
    pub input: bool,
    /// It has speakers.
    pub output: bool,
}

/// A wanted device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// The one that the system chooses.
    #[default]
    Default,
    /// This one: an id, a name or a part of one.
    Named(String),
}

/// Why a name does not tell a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOne {
    /// None is called so.
    #[error("no device here is called {0:?}: `confab devices` shows what there is")]
    None(String),
    /// Several are.
    #[error("several devices here are called {name:?}: give an id, one of {}", ids.join(", "))]
    Several {
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
}

impl Wanted {
    /// Reads a person's words; none are [`DEFAULT`].
    pub fn new(text: &str) -> Self {
        match text.trim() {
            "" | DEFAULT => Self::Default,
            name => Self::Named(name.to_owned()),
        }
    }

    /// The device that the settings keep, by its id; `None` for the one that the system chooses.
    pub fn from_kept(id: Option<String>) -> Self {
        id.map_or(Self::Default, Self::Named)
    }

    /// The form that the settings keep: the inverse of [`Wanted::from_kept`].
    pub fn into_kept(self) -> Option<String> {
        match self {
            Self::Default => None,
            Self::Named(id) => Some(id),
        }
    }

    /// As a person would write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Default => DEFAULT,
            Self::Named(name) => name,
        }
    }
}

/// The place of the device that is called `wanted`, among ids and names: an id, or else a name, or else a part of a name that no
/// other has. Letters count the same in either case.
///
/// # Errors
///
/// None is called so, or several are.
pub fn find(devices: &[(String, String)], wanted: &str) -> Result<usize, NotOne> {
    let lower = wanted.to_lowercase();
    let places = |is_it: &dyn Fn(&str, &str) -> bool| -> Vec<usize> {
        let all = devices.iter().enumerate();
        let found = all.filter(|(_, (id, name))| is_it(id, &name.to_lowercase()));
        found.map(|(place, _)| place).collect()
    };
    let tries = [
        places(&|id, _| id == wanted),
        places(&|_, name| name == lower),
        places(&|_, name| name.contains(&lower)),
    ];
    for found in tries {
        match found[..] {
            [] => {}
            [one] => return Ok(one),
            // A sound system may name one device in several ways: what it tells first is meant for people.
            [first, ..] if found.iter().all(|n| devices[*n].0 == devices[first].0) => {
                return Ok(first);
            }
            _ => {
                return Err(NotOne::Several {
                    name: wanted.to_owned(),
                    ids: found.iter().map(|n| devices[*n].0.clone()).collect(),
                });
            }
        }
    }
    Err(NotOne::None(wanted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Vec<(String, String)> {
        [
            ("hw:CARD=PCH,DEV=0", "HDA Intel PCH, ALC257 Analog"),
            ("plughw:CARD=PCH,DEV=0", "HDA Intel PCH, ALC257 Analog"),
            ("headset", "USB Headset"),
            ("desk", "Desk Headset Stand"),
        ]
        .map(|(id, name)| (id.to_owned(), name.to_owned()))
        .to_vec()
    }

    #[test]
    fn a_device_is_found_by_its_id_its_name_or_a_part_that_only_it_has() {
        let all = devices();
        for (wanted, place) in [
            ("plughw:CARD=PCH,DEV=0", 1),
            ("headset", 2),
            ("usb headset", 2),
            ("USB", 2),
            ("stand", 3),
        ] {
            assert_eq!(find(&all, wanted), Ok(place), "{wanted}");
        }
    }

    #[test]
    fn a_name_of_none_or_of_several_is_refused_with_what_to_do() {
        let all = devices();
        assert_eq!(find(&all, "jabra"), Err(NotOne::None("jabra".into())));
        let several = find(&all, "analog").unwrap_err().to_string();
        assert!(several.contains("plughw:CARD=PCH,DEV=0"), "{several}");
    }

    #[test]
    fn what_the_system_chooses_has_a_name() {
        assert_eq!(Wanted::new("default"), Wanted::Default);
        assert_eq!(Wanted::new(" "), Wanted::Default);
        assert_eq!(Wanted::new("desk").as_str(), "desk");
    }
}
