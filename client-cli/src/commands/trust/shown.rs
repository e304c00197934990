//! How devices of people are printed.

use confab_e2ee::mls::identity::{DevicePublicKey, Endorsement, SafetyCode};
use confab_protocol::control::Username;
use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::identity::Pins;
use crate::identity::choice::Known;
use crate::net::Server;
use crate::output::Printed;
use crate::store::device_keys::AccountKey;
use confab_protocol::dates::time;

/// Bytes of a key that are shown to people. What they compare is the code.
const SHORT: usize = 8;

/// All devices at a server.
#[derive(Serialize)]
pub(super) struct DeviceList {
    event: &'static str,
    server: String,
    devices: Vec<DeviceShown>,
}

#[derive(Serialize)]
struct DeviceShown {
    name: String,
    /// Another name that the account has shown since.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown_as: Option<String>,
    account: String,
    device: String,
    trust: &'static str,
    first_seen: String,
    this_device: bool,
    #[serde(skip)]
    short: String,
}

/// What was decided about devices.
#[derive(Serialize)]
pub(super) struct Decided {
    event: &'static str,
    name: String,
    server: String,
    devices: Vec<String>,
    #[serde(skip)]
    text: String,
}

/// The code of this device and another.
#[derive(Serialize)]
pub(super) struct Code {
    event: &'static str,
    name: String,
    account: String,
    device: String,
    trust: &'static str,
    first_seen: String,
    code: String,
    #[serde(skip)]
    short: String,
}

/// The key of this device.
#[derive(Serialize)]
pub(super) struct OwnDeviceShown {
    event: &'static str,
    name: String,
    server: String,
    account: String,
    device: String,
    endorsed_by: Vec<String>,
    #[serde(skip)]
    endorsers: Vec<String>,
}

/// An endorsement for another device.
#[derive(Serialize)]
pub(super) struct EndorsementShown {
    event: &'static str,
    name: String,
    server: String,
    device: String,
    endorsement: String,
}

/// An endorsement of this device was kept.
#[derive(Serialize)]
pub(super) struct EndorserKept {
    event: &'static str,
    name: String,
    server: String,
    by: String,
    #[serde(skip)]
    text: String,
}

impl OwnDeviceShown {
    pub(super) fn new(server: &Server, own: &AccountKey) -> Self {
        let by = own.endorsements.iter().map(|endorsement| endorsement.by);
        Self {
            event: "own_device",
            name: own.name.to_string(),
            server: server.to_string(),
            account: own.account.to_string(),
            device: own.key.public().to_string(),
            endorsed_by: by.clone().map(|by| by.to_string()).collect(),
            endorsers: by.map(|by| short(&by)).collect(),
        }
    }
}

impl Printed for OwnDeviceShown {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}  {}", self.name, self.device)];
        let endorsers = self.endorsers.iter();
        lines.extend(endorsers.map(|by| format!("  endorsed by {by}")));
        lines
    }
}

impl EndorsementShown {
    pub(super) fn new(
        server: &Server,
        own: &AccountKey,
        device: DevicePublicKey,
        endorsement: Endorsement,
    ) -> Self {
        Self {
            event: "endorsement",
            name: own.name.to_string(),
            server: server.to_string(),
            device: device.to_string(),
            endorsement: endorsement.to_string(),
        }
    }
}

impl Printed for EndorsementShown {
    fn text(&self) -> Option<String> {
        Some(self.endorsement.clone())
    }
}

impl EndorserKept {
    pub(super) fn new(server: &Server, own: &AccountKey, by: DevicePublicKey) -> Self {
        Self {
            event: "endorsement_kept",
            name: own.name.to_string(),
            server: server.to_string(),
            by: by.to_string(),
            text: format!(
                "this device of {} is endorsed by {}: each join shows it from now on",
                own.name,
                short(&by)
            ),
        }
    }
}

impl Printed for EndorserKept {
    fn text(&self) -> Option<String> {
        Some(self.text.clone())
    }
}

impl DeviceList {
    pub(super) fn new(server: &Server, pins: &Pins, own: Option<DevicePublicKey>) -> Self {
        let mut devices = Vec::new();
        for (id, account) in pins.accounts() {
            for (key, device) in account.devices() {
                devices.push(DeviceShown {
                    name: account.name().to_string(),
                    shown_as: account.claimed().map(ToString::to_string),
                    account: id.to_string(),
                    device: key.to_string(),
                    trust: device.standing.word(),
                    first_seen: time(device.first_seen_ms),
                    this_device: own == Some(*key),
                    short: short(key),
                });
            }
        }
        devices.sort_by(|one, other| {
            (&one.name, &one.first_seen).cmp(&(&other.name, &other.first_seen))
        });
        Self {
            event: "known_devices",
            server: server.to_string(),
            devices,
        }
    }
}

impl Printed for DeviceList {
    fn lines(&self) -> Vec<String> {
        if self.devices.is_empty() {
            return vec![format!("no device is known at {} yet", self.server)];
        }
        let line = |device: &DeviceShown| {
            let mark = if device.this_device { "* " } else { "  " };
            let shown_as = match &device.shown_as {
                Some(name) => format!("  shown as {name} since, not accepted"),
                None => String::new(),
            };
            format!(
                "{mark}{:<32}  {:<8}  {}  {}{shown_as}",
                device.name, device.trust, device.first_seen, device.short
            )
        };
        let head = format!("  {:<32}  {:<8}  {:<20}  DEVICE", "NAME", "TRUST", "SINCE");
        let lines = self.devices.iter().map(line);
        std::iter::once(head).chain(lines).collect()
    }
}

impl Decided {
    pub(super) fn new(
        event: &'static str,
        server: &Server,
        name: &Username,
        devices: Vec<String>,
        text: String,
    ) -> Self {
        Self {
            event,
            name: name.to_string(),
            server: server.to_string(),
            devices,
            text,
        }
    }
}

impl Printed for Decided {
    fn text(&self) -> Option<String> {
        Some(self.text.clone())
    }
}

impl Code {
    pub(super) fn new(name: &Username, known: &Known, code: SafetyCode) -> Self {
        Self {
            event: "device_code",
            name: name.to_string(),
            account: known.account.to_string(),
            device: known.key.to_string(),
            trust: known.device.standing.word(),
            first_seen: time(known.device.first_seen_ms),
            code: code.to_string(),
            short: short(&known.key),
        }
    }
}

impl Printed for Code {
    fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "{}  {}  {}  since {}",
                self.name, self.trust, self.short, self.first_seen
            ),
            format!("  {}", self.code),
        ]
    }
}

/// The first digits of a device's key, for people.
pub(super) fn short(key: &DevicePublicKey) -> String {
    HEXLOWER.encode(&key.0[..SHORT])
}

/// The keys of devices, as they are printed.
pub(super) fn keys_of(devices: &[Known]) -> Vec<String> {
    devices.iter().map(|known| known.key.to_string()).collect()
}
