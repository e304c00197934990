//! The order in which devices replace one that is lost.

/// Devices that are tried, one after the other.
const TRIES: usize = 8;

/// ALSA's names for what is no device of its own: filters, bridges to servers that may not run, nothing at all.
const NO_DEVICES: [&str; 13] = [
    "null",
    "default",
    "lavrate",
    "samplerate",
    "speexrate",
    "speex",
    "upmix",
    "vdownmix",
    "jack",
    "oss",
    "usbstream",
    "a52",
    "dsnoop",
];

/// Outputs that are there on most machines, with nothing plugged in.
const OFTEN_DEAF: [&str; 6] = ["hdmi", "iec958", "spdif", "surround", "modem", "phoneline"];

/// The ids of `devices` in the order in which they are tried, without those that `lost` names.
pub fn stand_ins<'a>(devices: impl IntoIterator<Item = &'a str>, lost: &str) -> Vec<String> {
    let mut ranked: Vec<(u8, &str)> = devices
        .into_iter()
        .filter(|id| *id != lost && !is_no_device(id))
        .map(|id| (rank(id), id))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut ids: Vec<String> = ranked.into_iter().map(|(_, id)| id.to_owned()).collect();
    ids.dedup();
    ids.truncate(TRIES);
    ids
}

fn is_no_device(id: &str) -> bool {
    let name = id.split(':').next().unwrap_or(id);
    NO_DEVICES.contains(&name)
}

fn rank(id: &str) -> u8 {
    let name = id.split(':').next().unwrap_or(id);
    let lower = id.to_ascii_lowercase();
    if OFTEN_DEAF.iter().any(|word| lower.contains(word)) {
        return 5;
    }
    match name {
        // Servers know where sound is to go.
        "pipewire" | "pulse" => 0,
        // What somebody has given a name to, and what takes any form and may be shared.
        "sysdefault" => 2,
        "plughw" => 3,
        "hw" | "front" | "dmix" => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_devices_come_before_raw_ones_and_those_that_are_often_deaf_last() {
        let devices = [
            "null",
            "default",
            "samplerate",
            "hw:CARD=PCH,DEV=0",
            "hdmi:CARD=HDMI,DEV=0",
            "plughw:CARD=HDMI,DEV=3",
            "sysdefault:CARD=PCH",
            "plughw:CARD=PCH,DEV=0",
            "desk",
            "surround51:CARD=PCH,DEV=0",
            "pipewire",
        ];
        assert_eq!(
            stand_ins(devices, "desk"),
            [
                "pipewire",
                "sysdefault:CARD=PCH",
                "plughw:CARD=PCH,DEV=0",
                "hw:CARD=PCH,DEV=0",
                "hdmi:CARD=HDMI,DEV=0",
                "plughw:CARD=HDMI,DEV=3",
                "surround51:CARD=PCH,DEV=0",
            ]
        );
        assert_eq!(stand_ins(devices, "default")[1], "desk");
    }

    #[test]
    fn the_number_of_attempts_is_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("hw:CARD={n},DEV=0")).collect();
        let tried = stand_ins(many.iter().map(String::as_str), "x");
        assert_eq!(tried.len(), TRIES);
    }
}
