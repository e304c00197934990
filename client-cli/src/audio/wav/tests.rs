use super::header::{TAG_FLOAT, TAG_PCM};
use super::*;
use hound::{SampleFormat, WavSpec, WavWriter};
use proptest::prelude::*;

fn all(bytes: &[u8]) -> (Spec, Vec<f32>) {
    let mut reader = WavReader::new(bytes).unwrap();
    let mut out = Vec::new();
    while reader.read(7, &mut out).unwrap() > 0 {}
    (reader.spec(), out)
}

fn written(bits: u16, format: SampleFormat, channels: u16) -> Vec<u8> {
    let spec = WavSpec {
        channels,
        sample_rate: 44_100,
        bits_per_sample: bits,
        sample_format: format,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    for n in 0..20 {
        for channel in 0..channels {
            let value = (f64::from(n) - 10.0) / 16.0 * if channel == 0 { 1.0 } else { 0.5 };
            match format {
                SampleFormat::Float => writer.write_sample(value as f32).unwrap(),
                SampleFormat::Int => {
                    let full = f64::from(1u32 << (bits - 1));
                    writer.write_sample((value * full) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

#[test]
fn files_that_another_library_wrote_are_read() {
    let kinds = [
        (8, SampleFormat::Int),
        (16, SampleFormat::Int),
        (24, SampleFormat::Int),
        (32, SampleFormat::Int),
        (32, SampleFormat::Float),
    ];
    for (bits, format) in kinds {
        for channels in [1, 2] {
            let (spec, samples) = all(&written(bits, format, channels));
            assert_eq!((spec.rate, spec.channels), (44_100, channels));
            assert_eq!(samples.len(), 20);
            for (n, sample) in samples.iter().enumerate() {
                let expected = (n as f32 - 10.0) / 16.0;
                assert!(
                    (sample - expected).abs() < 0.01,
                    "{bits} bits, {channels} channels: {sample} {expected}"
                );
            }
        }
    }
}

/// The same with other lengths of the form and of its samples.
fn with_lengths(bytes: &[u8], riff: u32, data: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(4).position(|w| w == b"data").unwrap() + 4;
    bytes[4..8].copy_from_slice(&riff.to_le_bytes());
    bytes[at..at + 4].copy_from_slice(&data.to_le_bytes());
    bytes
}

#[test]
fn a_stream_of_unknown_length_is_read_to_its_end() {
    let written = written(16, SampleFormat::Int, 1);
    for (riff, data) in [
        (0, 0),
        (36, 0),
        (u32::MAX, u32::MAX),
        (u32::MAX, 0),
        (0x7fff_ffff, 0x7fff_ffff),
        (0x7fff_ff24, 0x7fff_ff00),
        (36, u32::MAX - 36),
    ] {
        let bytes = with_lengths(&written, riff, data);
        assert_eq!(all(&bytes).1.len(), 20, "{riff:#x} {data:#x}");
        assert_eq!(all(&bytes[..bytes.len() - 1]).1.len(), 19);
    }
}

/// A second of a voice with these gains on the channels.
fn voice_on(gains: &[f32]) -> Vec<f32> {
    let channels = gains.len() as u16;
    let data = 48_000 * u32::from(channels) * 4;
    let mut file = header(TAG_FLOAT, channels, 4, 32, data);
    for n in 0..48_000 {
        let sample = (n as f32 * 0.05).sin();
        for gain in gains {
            file.extend_from_slice(&(sample * gain).to_le_bytes());
        }
    }
    all(&file).1
}

#[test]
fn a_voice_is_as_loud_on_one_channel_of_several_or_with_opposite_signs_as_alone() {
    let alone = voice_on(&[0.5]);
    for gains in [
        &[0.0, 0.5][..],
        &[0.5, -0.5],
        &[0.5, 0.5],
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.5],
    ] {
        let heard = voice_on(gains);
        assert_eq!(heard.len(), alone.len());
        for (n, (heard, alone)) in heard.iter().zip(&alone).enumerate().skip(480) {
            assert!((heard - alone).abs() < 0.001, "{gains:?}, sample {n}");
        }
    }
}

#[test]
fn an_empty_recording_has_no_samples_whatever_follows_it() {
    let mut bytes = header(TAG_PCM, 1, 1, 8, 0);
    bytes.extend_from_slice(
        b"LIST\x14\0\0\0INFO\xff\0\x80\x20\xff\0\x80\x20\xff\0\x80\x20\xff\0\x80\x20",
    );
    let size = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    assert!(all(&bytes).1.is_empty());
}

#[test]
fn an_empty_recording_with_an_unfinished_header_does_not_play_the_chunk_behind_it() {
    for id in [b"LIST", b"id3 ", b"bext", b"iXML", b"PEAK"] {
        let mut bytes = header(TAG_PCM, 1, 2, 16, 0);
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&4096u32.to_le_bytes());
        bytes.extend_from_slice(&[0x55; 4096]);
        for (riff, data) in [(0, 0), (36, 0), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
            let bytes = with_lengths(&bytes, riff, data);
            assert!(all(&bytes).1.is_empty(), "{riff:#x} {data:#x}");
        }
    }
}

#[test]
fn samples_that_resemble_the_head_of_a_chunk_are_played() {
    for begin in [
        // No sensible length.
        &b"LIST\x10\0\0\x40"[..],
        b"LIST\xff\xff\xff\xff",
        // No known identifier.
        b"Loud\x10\0\0\0",
        b"\0\0\0\0\0\0\0\0",
        // Too few bytes for a chunk.
        b"LIST\0\0",
        b"LI",
    ] {
        let bytes = [&header(TAG_PCM, 1, 1, 8, 0), begin].concat();
        let (_, samples) = all(&bytes);
        assert_eq!(samples.len(), begin.len());
        let expected: Vec<f32> = begin.iter().map(|byte| Format::U8.read(&[*byte])).collect();
        assert_eq!(samples, expected);
    }
}

#[test]
fn a_header_is_read_before_the_first_sample_is_there() {
    struct Live<'a>(&'a [u8]);
    impl Read for Live<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "it would wait for the first sample");
            self.0.read(bytes)
        }
    }
    let bytes = header(TAG_PCM, 1, 2, 16, 0);
    assert!(WavReader::new(Live(&bytes)).is_ok());
}

/// A header for samples of `bits` in `bytes` bytes, and a length of theirs.
fn header(tag: u16, channels: u16, bytes: u16, bits: u16, data: u32) -> Vec<u8> {
    let align = bytes * channels;
    let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    for word in [tag, channels] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&48_000u32.to_le_bytes());
    out.extend_from_slice(&(48_000 * u32::from(align)).to_le_bytes());
    for word in [align, bits] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&data.to_le_bytes());
    out
}

#[test]
fn fewer_bits_than_the_bytes_hold_are_the_highest_ones() {
    for (bytes, bits) in [(4, 24), (4, 20), (3, 20), (2, 12), (4, 32)] {
        let mut file = header(TAG_PCM, 1, bytes, bits, u32::from(bytes) * 3);
        for value in [0.5f64, -0.25, 0.0] {
            let sample = (value * 2_147_483_648.0) as i32;
            file.extend_from_slice(&sample.to_le_bytes()[usize::from(4 - bytes)..]);
        }
        assert_eq!(all(&file).1, [0.5, -0.25, 0.0], "{bits} in {bytes}");
    }
    for (bytes, bits) in [(2, 24), (2, 0), (5, 40)] {
        let file = header(TAG_PCM, 1, bytes, bits, 20);
        assert!(WavReader::new(&file[..]).is_err());
    }
}

/// An RF64 file of 20 samples and a chunk behind them, with these lengths of the form and of the samples in `ds64`.
fn rf64(form: u64, data: u64) -> Vec<u8> {
    let short = written(16, SampleFormat::Int, 1);
    let at = short.windows(4).position(|w| w == b"data").unwrap();
    let mut bytes = b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0".to_vec();
    for length in [form, data, data / 2] {
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&short[12..at + 4]);
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    bytes.extend_from_slice(&short[at + 8..]);
    bytes.extend_from_slice(b"LIST\x04\0\0\0INFO");
    bytes
}

#[test]
fn a_file_over_four_gib_is_read_by_its_long_lengths() {
    let long = |samples: u64| rf64(samples * 2 + 80, samples * 2);
    assert_eq!(all(&long(20)).1.len(), 20);
    // Cut short: what is there is read, 5 GiB or not.
    assert_eq!(all(&long(3 << 30)).1.len(), 26);
}

#[test]
fn long_lengths_that_were_never_brought_up_to_date_mean_up_to_the_end() {
    // 72: the form ends where the samples begin.
    for (form, data) in [(0, 0), (72, 0), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
        assert_eq!(all(&rf64(form, data)).1.len(), 26, "{form} {data}");
    }
    // The form has more: the recording is finished and empty.
    assert!(all(&rf64(92, 0)).1.is_empty());
}

#[test]
fn recordings_of_other_kinds_are_called_by_their_name() {
    for (begin, name) in [
        (&b"OggS\0\x02"[..], "Ogg"),
        (b"fLaC\0\0\0\x22", "FLAC"),
        (b"ID3\x04", "MP3"),
        (b"\0\0\0\x20ftypM4A ", "MP4"),
    ] {
        let bytes = [begin, &[0; 40]].concat();
        let error = WavReader::new(&bytes[..]).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("ffmpeg"), "{error}");
    }
}

#[test]
fn chunks_after_the_samples_are_not_played() {
    let mut bytes = written(16, SampleFormat::Int, 1);
    bytes.extend_from_slice(b"LIST\x04\0\0\0INFO");
    assert_eq!(all(&bytes).1.len(), 20);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), keep in 0usize..50) {
        let good = written(16, SampleFormat::Int, 2);
        let keep = keep.min(bytes.len());
        bytes[..keep].copy_from_slice(&good[..keep]);
        if let Ok(mut reader) = WavReader::new(&bytes[..]) {
            let mut out = Vec::new();
            while reader.read(16, &mut out).unwrap() > 0 {}
        }
    }
}
