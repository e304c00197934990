//! What a person has chosen for all calls, in `settings.json`: devices, and how loud others are.

use std::collections::BTreeMap;

use confab_e2ee::mls::identity::ServerId;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{LOCK_TIMEOUT, Store, StoreError};

const FILE: &str = "settings.json";
const LOCK: &str = "settings.lock";

/// People of one server whose loudness is kept; the names that come first in the alphabet stay.
const MAX_VOLUMES: usize = 4096;

/// The choices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The id of the microphone; `None`: what the system chooses.
    pub input_device: Option<String>,
    /// The id of the speakers, likewise.
    pub output_device: Option<String>,
    /// By server and username, in percent; who is not here has 100.
    volumes: BTreeMap<String, BTreeMap<String, u8>>,
}

impl Settings {
    /// How loud people of a server are, in percent: those who are not as loud as they come.
    pub fn volumes(&self, server: ServerId) -> impl Iterator<Item = (&str, u8)> {
        let all = self.volumes.get(&key(server)).into_iter().flatten();
        all.map(|(name, percent)| (name.as_str(), *percent))
    }

    /// Sets how loud somebody is, in percent.
    pub fn set_volume(&mut self, server: ServerId, username: &str, percent: u8) {
        let volumes = self.volumes.entry(key(server)).or_default();
        match percent {
            100 => drop(volumes.remove(username)),
            _ => drop(volumes.insert(username.to_owned(), percent)),
        }
        while volumes.len() > MAX_VOLUMES {
            volumes.pop_last();
        }
    }
}

impl Store {
    /// Reads the choices.
    ///
    /// # Errors
    ///
    /// A file that cannot be used, or is damaged.
    pub async fn settings(&self) -> Result<Settings, StoreError> {
        let Some(text) = self.read(FILE).await? else {
            return Ok(Settings::default());
        };
        serde_json::from_str(&text).map_err(|error| StoreError::DamagedSettings {
            path: self.path(FILE),
            reason: error.to_string(),
        })
    }

    /// Changes the choices, beside what other processes have changed meanwhile.
    ///
    /// # Errors
    ///
    /// As [`settings`](Self::settings): a damaged file is not replaced.
    pub async fn change_settings(
        &self,
        change: impl FnOnce(&mut Settings),
    ) -> Result<(), StoreError> {
        let _lock = self.lock(LOCK, LOCK_TIMEOUT).await?;
        let before = self.settings().await?;
        let mut settings = before.clone();
        change(&mut settings);
        if settings == before {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&settings).expect("it is made of maps and numbers");
        self.write(FILE, Zeroizing::new(text + "\n")).await
    }
}

fn key(server: ServerId) -> String {
    HEXLOWER.encode(&server.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::store;
    use super::*;

    const SERVER: ServerId = ServerId([7; 16]);

    #[tokio::test]
    async fn choices_are_there_in_the_next_call_and_at_their_server_only() {
        let (store, _home) = store().await;
        assert_eq!(store.settings().await.unwrap(), Settings::default());
        let change = |settings: &mut Settings| {
            settings.input_device = Some("headset".to_owned());
            settings.set_volume(SERVER, "ben", 60);
            settings.set_volume(SERVER, "cem", 100);
        };
        store.change_settings(change).await.unwrap();
        let settings = store.settings().await.unwrap();
        assert_eq!(settings.input_device.as_deref(), Some("headset"));
        assert_eq!(settings.volumes(SERVER).collect::<Vec<_>>(), [("ben", 60)]);
        assert_eq!(settings.volumes(ServerId([8; 16])).count(), 0);
    }

    #[tokio::test]
    async fn a_damaged_file_is_told_and_left_alone() {
        let (store, _home) = store().await;
        std::fs::write(store.path(FILE), "{").unwrap();
        assert!(matches!(
            store.change_settings(|_| {}).await,
            Err(StoreError::DamagedSettings { .. })
        ));
        assert_eq!(std::fs::read_to_string(store.path(FILE)).unwrap(), "{");
    }

    #[tokio::test]
    async fn what_a_later_version_has_added_does_no_harm() {
        let (store, _home) = store().await;
        let text = r#"{"output_device":"desk","theme":"dark"}"#;
        std::fs::write(store.path(FILE), text).unwrap();
        let settings = store.settings().await.unwrap();
        assert_eq!(settings.output_device.as_deref(), Some("desk"));
    }
}
