//! Recordings of people, made ready to be spoken into a call.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use confab::audio::resample::Resampler;

use crate::RATE;

/// Where Debian's `pocketsphinx-testdata` and `codec2-examples` put their recordings.
const ROOTS: [&str; 2] = ["/usr/share/pocketsphinx/test/data", "/usr/share/codec2"];

/// A person's recordings: file below one of [`ROOTS`], rate of headerless files, and what `espeak-ng` says instead
/// where the files can't be had.
const VOICES: [Voice; 3] = [
    Voice {
        recordings: &[
            "librivox/sense_and_sensibility_01_austen_64kb-0870.wav",
            "librivox/sense_and_sensibility_01_austen_64kb-0890.wav",
        ],
        synthetic: (
            "en-us+f3",
            "The relay takes each frame as it comes and hands it to everyone in the room. Nobody between us can hear what is said.",
        ),
    },
    Voice {
        recordings: &["raw/speech_orig_16k.wav"],
        synthetic: (
            "en-gb+m3",
            "I hear you well. Let us talk at the same time for a while and see whether both of us are still understood by the others.",
        ),
    },
    Voice {
        recordings: &["goforward.raw", "numbers.raw", "something.raw"],
        synthetic: (
            "en-us+m7",
            "Go forward ten meters. One, two, three, four, five, six, seven. Now say something else, please, before we end this call.",
        ),
    },
];

/// How many of [`RECORDINGS`], from the first on, are at [`RAW_RATE`] and long enough to be judged by PESQ.
const WIDEBAND: usize = 8;

/// Recordings of speech without much noise in the two packages, below one of [`ROOTS`]: three minutes of several people.
const RECORDINGS: [&str; 19] = [
    "librivox/sense_and_sensibility_01_austen_64kb-0870.wav",
    "librivox/sense_and_sensibility_01_austen_64kb-0880.wav",
    "librivox/sense_and_sensibility_01_austen_64kb-0890.wav",
    "librivox/sense_and_sensibility_01_austen_64kb-0920.wav",
    "librivox/sense_and_sensibility_01_austen_64kb-0930.wav",
    "goforward.raw",
    "numbers.raw",
    "something.raw",
    "cards/001.wav",
    "cards/002.wav",
    "cards/003.wav",
    "cards/004.wav",
    "cards/005.wav",
    "raw/speech_orig_16k.wav",
    "wav/ve9qrp.wav",
    "wav/mmt1.wav",
    "wav/forig.wav",
    "wav/morig.wav",
    "wav/wia_16kHz.wav",
];

/// Where Debian's `alsa-utils` puts recordings of a voice with the whole of what people hear, and their names.
const FULLBAND_ROOT: &str = "/usr/share/sounds/alsa";
const FULLBAND: [&str; 8] = [
    "Front_Center.wav",
    "Front_Left.wav",
    "Front_Right.wav",
    "Rear_Center.wav",
    "Rear_Left.wav",
    "Rear_Right.wav",
    "Side_Left.wav",
    "Side_Right.wav",
];

/// Rate of the headerless recordings of `pocketsphinx-testdata`, in samples a second.
const RAW_RATE: u32 = 16_000;

struct Voice {
    recordings: &'static [&'static str],
    synthetic: (&'static str, &'static str),
}

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// Neither recordings nor a synthesiser.
    #[error(
        "no speech to be had: install pocketsphinx-testdata and codec2-examples, or espeak-ng ({0})"
    )]
    NoSource(String),
    /// A file is not what it should be.
    #[error("cannot use {}: {error}", .file.display())]
    File { file: PathBuf, error: String },
}

/// A speaker's input: pieces of mono speech at [`RATE`], ±1.0.
pub type Utterances = Vec<Vec<f32>>;

/// The speech of the `number`th of three speakers, and its source. `scratch` is a folder for synthesised speech.
pub fn voice(number: usize, scratch: &Path) -> Result<(Utterances, &'static str), SpeechError> {
    let voice = &VOICES[number % VOICES.len()];
    let files: Option<Vec<PathBuf>> = voice.recordings.iter().map(|name| find(name)).collect();
    match files {
        Some(files) => {
            let utterances = files
                .iter()
                .map(|file| read(file))
                .collect::<Result<_, _>>()?;
            Ok((utterances, "recording"))
        }
        None => Ok((vec![synthesise(voice, number, scratch)?], "espeak-ng")),
    }
}

/// Three minutes of recordings, or what the synthesiser says in the three voices. `scratch` is a folder for the latter.
pub fn recordings(scratch: &Path) -> Result<Utterances, SpeechError> {
    let files: Vec<PathBuf> = RECORDINGS.iter().filter_map(|name| find(name)).collect();
    if !files.is_empty() {
        return files.iter().map(|file| read(file)).collect();
    }
    let mut spoken = Vec::new();
    for (number, voice) in VOICES.iter().enumerate() {
        spoken.push(synthesise(voice, number, scratch)?);
    }
    Ok(spoken)
}

/// The recordings that have the whole of wideband, each at [`RATE`].
pub fn wideband() -> Result<Utterances, SpeechError> {
    let files: Vec<PathBuf> = RECORDINGS[..WIDEBAND]
        .iter()
        .filter_map(|name| find(name))
        .collect();
    if files.is_empty() {
        return Err(SpeechError::NoSource("no wideband recordings".to_owned()));
    }
    files.iter().map(|file| read(file)).collect()
}

/// Eleven seconds of a voice up to 20 kHz, at [`RATE`].
pub fn fullband() -> Result<Vec<f32>, SpeechError> {
    let files = FULLBAND.map(|name| Path::new(FULLBAND_ROOT).join(name));
    let pieces = files.iter().map(|file| read(file));
    Ok(pieces.collect::<Result<Utterances, _>>()?.concat())
}

/// Writes mono samples at [`RATE`] as 16-bit WAV.
pub fn write_wav(file: &Path, samples: &[f32]) -> Result<(), SpeechError> {
    write_wav_at(file, RATE, samples)
}

/// Writes mono samples at `rate` as 16-bit WAV.
pub fn write_wav_at(file: &Path, rate: u32, samples: &[f32]) -> Result<(), SpeechError> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let write = || -> Result<(), hound::Error> {
        let mut writer = hound::WavWriter::create(file, spec)?;
        for sample in samples {
            writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0) as i16)?;
        }
        writer.finalize()
    };
    write().map_err(failed(file))
}

/// Reads a mono WAV file (or a `.raw` one at 16 kHz) as samples at [`RATE`].
pub fn read(file: &Path) -> Result<Vec<f32>, SpeechError> {
    let (rate, samples) = if file.extension().is_some_and(|extension| extension == "raw") {
        let bytes = fs::read(file).map_err(failed(file))?;
        let samples = bytes
            .chunks_exact(2)
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32_768.0)
            .collect();
        (RAW_RATE, samples)
    } else {
        let mut reader = hound::WavReader::open(file).map_err(failed(file))?;
        let samples = reader
            .samples::<i16>()
            .map(|sample| sample.map(|sample| f32::from(sample) / 32_768.0))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed(file))?;
        (reader.spec().sample_rate, samples)
    };
    let mut out = Vec::new();
    let mut resampler = Resampler::new(rate, RATE);
    resampler.push(&samples, &mut out);
    resampler.finish(&mut out);
    Ok(out)
}

fn find(name: &str) -> Option<PathBuf> {
    ROOTS
        .iter()
        .map(|root| Path::new(root).join(name))
        .find(|file| file.is_file())
}

fn synthesise(voice: &Voice, number: usize, scratch: &Path) -> Result<Vec<f32>, SpeechError> {
    let file = scratch.join(format!("voice-{number}.wav"));
    let (name, text) = voice.synthetic;
    let status = Command::new("espeak-ng")
        .args(["-v", name, "-w"])
        .arg(&file)
        .arg(text)
        .status();
    match status {
        Ok(status) if status.success() => read(&file),
        Ok(status) => Err(SpeechError::NoSource(format!("espeak-ng: {status}"))),
        Err(error) => Err(SpeechError::NoSource(format!("espeak-ng: {error}"))),
    }
}

fn failed<E: ToString>(file: &Path) -> impl FnOnce(E) -> SpeechError {
    let file = file.to_owned();
    move |error| SpeechError::File {
        file,
        error: error.to_string(),
    }
}
