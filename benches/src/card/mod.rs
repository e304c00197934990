//! Sound cards without hardware, for tests of a client with the feature `device`.
//!
//! A card is a folder and a plugin (`plugin.c`) that ALSA's library loads into the client. What its microphone is to hear
//! is put before it as samples; what its speakers played is read afterwards; both by the card's own clock, which may be
//! too fast or too slow. It can be unplugged, stalled and made to hang while a call runs.
//!
//! Needs a C compiler and ALSA's headers: `scripts/setup device`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use confab::audio::resample::Resampler;
use rustix::time::{ClockId, clock_gettime};

use crate::RATE;

const PLUGIN: &str = include_str!("plugin.c");

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// No compiler or no headers.
    #[error(
        "cannot compile the sound card's plugin (scripts/setup device installs what it needs): {0}"
    )]
    Compile(String),
    /// A file of the card.
    #[error("cannot use {}: {error}", file.display())]
    File { file: PathBuf, error: io::Error },
}

#[derive(Debug, Clone)]
pub struct Plugin(PathBuf);

/// Abilities of a card, and how well it keeps time.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Frames a second.
    pub rate: u32,
    pub channels: usize,
    pub format: Format,
    /// Frames of a period; 0: as the program likes.
    pub period: u32,
    /// By how much its clock is too fast, in parts of a million.
    pub ppm: i32,
    /// How late a program may be before it is an xrun.
    pub slack: Duration,
}

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 16 bits.
    S16,
    /// Signed, 24 bits in 32.
    S24,
    /// Signed, 32 bits.
    S32,
    /// Float, 32 bits.
    F32,
    /// Float, 64 bits.
    F64,
}

/// A fault of a card, for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The card is not there.
    Unplugged,
    /// The card does not take or give samples.
    Stalled,
    /// Opening it does not end.
    HangOpen,
    /// Closing it does not end.
    HangClose,
}

#[derive(Debug, Clone)]
pub struct Card {
    dir: PathBuf,
    form: Form,
    /// Nanoseconds of the monotonic clock at frame 0.
    zero: i64,
}

impl Plugin {
    /// Compiles it into `scratch`.
    pub fn compile(scratch: &Path) -> Result<Self, CardError> {
        let source = scratch.join("card.c");
        let plugin = scratch.join("card.so");
        write(&source, PLUGIN.as_bytes())?;
        let output = Command::new("cc")
            .args([
                "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-DPIC", "-o",
            ])
            .args([&plugin, &source])
            .arg("-lasound")
            .output()
            .map_err(|error| CardError::Compile(format!("cc: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(CardError::Compile(said));
        }
        Ok(Self(plugin))
    }
}

impl Default for Form {
    fn default() -> Self {
        Self {
            rate: 48_000,
            channels: 2,
            format: Format::F32,
            period: 0,
            ppm: 0,
            slack: Duration::from_millis(500),
        }
    }
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::U8 => "U8",
            Self::S16 => "S16_LE",
            Self::S24 => "S24_LE",
            Self::S32 => "S32_LE",
            Self::F32 => "FLOAT_LE",
            Self::F64 => "FLOAT64_LE",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::S16 => 2,
            Self::S24 | Self::S32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn write(self, sample: f32, out: &mut Vec<u8>) {
        let scaled = |full: f64| (f64::from(sample.clamp(-1.0, 1.0)) * full).round();
        match self {
            Self::U8 => out.push((scaled(127.0) + 128.0) as u8),
            Self::S16 => out.extend((scaled(32_767.0) as i16).to_le_bytes()),
            // The upper 8 bits mean nothing; as hardware does they are left at zero.
            Self::S24 => out.extend((scaled(8_388_607.0) as i32 & 0xff_ffff).to_le_bytes()),
            Self::S32 => out.extend((scaled(2_147_483_647.0) as i32).to_le_bytes()),
            Self::F32 => out.extend(sample.to_le_bytes()),
            Self::F64 => out.extend(f64::from(sample).to_le_bytes()),
        }
    }

    fn read(self, bytes: &[u8]) -> f32 {
        let four = || [bytes[0], bytes[1], bytes[2], bytes[3]];
        match self {
            // What was never played is zeros in the file, and the lowest of all samples.
            Self::U8 if bytes[0] == 0 => 0.0,
            Self::U8 => (f32::from(bytes[0]) - 128.0) / 128.0,
            Self::S16 => f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32_768.0,
            Self::S24 => ((i32::from_le_bytes(four()) << 8) as f64 / 2_147_483_648.0) as f32,
            Self::S32 => (f64::from(i32::from_le_bytes(four())) / 2_147_483_648.0) as f32,
            Self::F32 => f32::from_le_bytes(four()),
            Self::F64 => f64::from_le_bytes(std::array::from_fn(|n| bytes[n])) as f32,
        }
    }
}

impl Fault {
    fn file(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::Stalled => "stalled",
            Self::HangOpen => "hang_open",
            Self::HangClose => "hang_close",
        }
    }
}

impl Card {
    /// A card in the folder `dir`, which is made. Its clock begins now.
    pub fn new(dir: &Path, form: Form) -> Result<Self, CardError> {
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let card = Self {
            dir: dir.to_owned(),
            form,
            zero: monotonic(),
        };
        card.set_clock()?;
        Ok(card)
    }

    /// The same with the clock of another card.
    pub fn beside(&self, dir: &Path, form: Form) -> Result<Self, CardError> {
        let mut card = Self::new(dir, form)?;
        card.zero = self.zero;
        card.set_clock()?;
        Ok(card)
    }

    /// Puts 48 kHz samples before the microphone, the first at the beginning of the card's clock, on every channel.
    pub fn hear(&self, samples: &[f32]) -> Result<(), CardError> {
        self.hear_on(samples, |_| true)
    }

    /// The same on some channels; the others are silent.
    pub fn hear_on(&self, samples: &[f32], on: impl Fn(usize) -> bool) -> Result<(), CardError> {
        let form = self.form;
        let mut own = Vec::new();
        let mut resampler = Resampler::adjustable(RATE, form.rate);
        // A clock that is too fast has more frames in the same time.
        let fast = 1.0 + f64::from(form.ppm) * 1e-6;
        resampler.set_speed(1.0 / fast - 1.0);
        resampler.push(samples, &mut own);
        resampler.finish(&mut own);
        let mut bytes = Vec::new();
        for sample in own {
            for channel in 0..form.channels {
                let sample = if on(channel) { sample } else { 0.0 };
                form.format.write(sample, &mut bytes);
            }
        }
        write(&self.dir.join("microphone.raw"), &bytes)
    }

    /// The first channel of the sound that the speakers played, as 48 kHz samples from the beginning of the card's clock on.
    pub fn played(&self) -> Result<Vec<f32>, CardError> {
        let form = self.form;
        let file = self.dir.join("speakers.raw");
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            // No stream was opened.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&file)(error)),
        };
        let frame = form.format.bytes() * form.channels;
        let own: Vec<f32> = bytes
            .chunks_exact(frame)
            .map(|frame| form.format.read(frame))
            .collect();
        let mut out = Vec::new();
        let mut resampler = Resampler::adjustable(form.rate, RATE);
        resampler.set_speed(f64::from(form.ppm) * 1e-6);
        resampler.push(&own, &mut out);
        resampler.finish(&mut out);
        Ok(out)
    }

    /// Seconds since the beginning of the card's clock.
    pub fn now(&self) -> f64 {
        (monotonic() - self.zero) as f64 / 1e9
    }

    /// The second of the card's clock at which the wall clock showed this time, in nanoseconds since 1970.
    pub fn at(&self, unix_ns: u64) -> f64 {
        let time = clock_gettime(ClockId::Realtime);
        let now = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        self.now() - (now - unix_ns as i64) as f64 / 1e9
    }

    /// From now on this is wrong with it.
    pub fn fail(&self, fault: Fault) -> Result<(), CardError> {
        write(&self.dir.join(fault.file()), b"")
    }

    /// From now on this is not wrong with it any more.
    pub fn mend(&self, fault: Fault) -> Result<(), CardError> {
        let file = self.dir.join(fault.file());
        fs::remove_file(&file).map_err(failed(&file))
    }

    /// A line for each thing that the card's streams did.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn set_clock(&self) -> Result<(), CardError> {
        let text = format!("{}\n", self.zero);
        write(&self.dir.join("clock"), text.as_bytes())
    }

    /// ALSA's definition of it.
    fn definition(&self, more: &str) -> String {
        let Form {
            rate,
            channels,
            format,
            period,
            ppm,
            slack,
        } = self.form;
        format!(
            "{{ type confabcard dir \"{}\" rate {rate} channels {channels} format {} period {period} ppm {ppm} slack_ms {} {more} }}",
            self.dir.display(),
            format.name(),
            slack.as_millis()
        )
    }
}

/// Devices that a program is to find: a `default`, and others beside it.
#[derive(Debug)]
pub struct Sounds {
    text: String,
}

impl Sounds {
    /// A single card for microphone and speakers.
    pub fn default(plugin: &Plugin, card: &Card) -> Self {
        Self::begin(plugin, &format!("pcm.default {}", card.definition("")))
    }

    /// A card for each direction.
    pub fn apart(plugin: &Plugin, microphone: &Card, speakers: &Card) -> Self {
        let text = format!(
            "pcm.one {}\npcm.other {}\npcm.default {{ type asym capture.pcm one playback.pcm other }}",
            microphone.definition(""),
            speakers.definition("")
        );
        Self::begin(plugin, &text)
    }

    /// A card behind ALSA's own conversions, as the default of a desktop is.
    pub fn converted(plugin: &Plugin, card: &Card) -> Self {
        let text = format!(
            "pcm.default {{ type plug slave.pcm {} }}",
            card.definition("")
        );
        Self::begin(plugin, &text)
    }

    /// Another card, which a program finds in the list of all.
    pub fn and(mut self, name: &str, card: &Card) -> Self {
        let hint = format!("hint {{ show on description \"{name}\" }}");
        let definition = card.definition(&hint);
        self.text.push_str(&format!("pcm.{name} {definition}\n"));
        self
    }

    /// Writes the definitions; the variable of the environment that has a program find them and nothing else.
    pub fn write(&self, file: &Path) -> Result<(String, String), CardError> {
        write(file, self.text.as_bytes())?;
        let variable = "ALSA_CONFIG_PATH".to_owned();
        Ok((variable, file.display().to_string()))
    }

    fn begin(plugin: &Plugin, text: &str) -> Self {
        let library = plugin.0.display();
        Self {
            text: format!("pcm_type.confabcard {{ lib \"{library}\" }}\n{text}\n"),
        }
    }
}

/// Nanoseconds of the monotonic clock.
fn monotonic() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn write(file: &Path, bytes: &[u8]) -> Result<(), CardError> {
    fs::write(file, bytes).map_err(failed(file))
}

fn failed(file: &Path) -> impl FnOnce(io::Error) -> CardError {
    let file = file.to_owned();
    move |error| CardError::File { file, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_read_as_it_was_written() {
        let formats = [
            (Format::U8, 0.01),
            (Format::S16, 1e-4),
            (Format::S24, 1e-6),
            (Format::S32, 1e-6),
            (Format::F32, 0.0),
            (Format::F64, 0.0),
        ];
        for (format, error) in formats {
            for sample in [-0.9, -0.5, -0.001, 0.0, 0.001, 0.25, 0.99] {
                let mut bytes = Vec::new();
                format.write(sample, &mut bytes);
                assert_eq!(bytes.len(), format.bytes());
                let read = format.read(&bytes);
                assert!(
                    (read - sample).abs() <= error,
                    "{format:?}: {sample} {read}"
                );
            }
        }
    }
}
