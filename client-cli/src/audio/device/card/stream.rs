//! Streams of `cpal`: what runs in the audio thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cpal::traits::DeviceTrait as _;
use cpal::{BufferSize, Data, ErrorKind, I24, Sample as _, SampleFormat, StreamConfig, U24};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::audio::device::fault::Fault;
use crate::audio::device::form::Form;
use crate::audio::device::line::Stream;
use crate::audio::device::pipe::{self, CaptureEnd, CaptureTap, PlaybackEnd, PlaybackTap, Shared};
use crate::audio::device::wakeup::WakeSender;

/// Errors of a stream whose texts wait to be read; those of more are lost, and still counted.
const REASONS: usize = 16;

/// The audio thread looks at its device at least this often, whether the device says anything or not.
const POLL: Duration = Duration::from_millis(200);

/// The stream of the sound system, and the call's end of it.
pub(super) type Built<T> = Result<(cpal::Stream, Stream<T>), cpal::Error>;

pub(super) fn microphone(
    device: &cpal::Device,
    form: &Form<SampleFormat>,
    wake_sender: WakeSender,
) -> Built<CaptureTap> {
    let (mut end, tap) = pipe::capture(form.rate, form.channels, wake_sender);
    let (on_error, reason) = errors(end.shared());
    let handle = device.build_input_stream_raw(
        config(form),
        form.format,
        move |data, info| {
            let time = info.timestamp();
            let age = time.callback.saturating_duration_since(time.capture);
            write_captured(&mut end, Instant::now(), age, data);
        },
        on_error,
        Some(POLL),
    )?;
    Ok((handle, stream(tap, reason)))
}

pub(super) fn speakers(device: &cpal::Device, form: &Form<SampleFormat>) -> Built<PlaybackTap> {
    let (mut end, tap) = pipe::playback(form.rate, form.channels);
    let (on_error, reason) = errors(end.shared());
    let handle = device.build_output_stream_raw(
        config(form),
        form.format,
        move |data, _| play(&mut end, Instant::now(), data),
        on_error,
        Some(POLL),
    )?;
    Ok((handle, stream(tap, reason)))
}

fn stream<T>(tap: T, mut reasons: Consumer<cpal::Error>) -> Stream<T> {
    Stream {
        tap,
        reason: Box::new(move || {
            let last = std::iter::from_fn(|| reasons.pop().ok()).last();
            last.map(|error| text(&error))
        }),
        keep: Box::new(()),
    }
}

fn config(form: &Form<SampleFormat>) -> StreamConfig {
    StreamConfig {
        channels: form.channels,
        sample_rate: form.rate,
        buffer_size: form.period.map_or(BufferSize::Default, BufferSize::Fixed),
    }
}

/// A stream's error callback: counts errors, and passes them on.
fn errors(
    shared: Arc<Shared>,
) -> (
    impl FnMut(cpal::Error) + Send + 'static,
    Consumer<cpal::Error>,
) {
    let (mut to, reasons): (Producer<cpal::Error>, _) = RingBuffer::new(REASONS);
    let on_error = move |error: cpal::Error| {
        if let Some(fault) = class(error.kind()) {
            // The text is made, if at all, where it is read.
            let _ = to.push(error);
            shared.faults.add(fault);
        }
    };
    (on_error, reasons)
}

/// The system's error.
pub(super) fn text(error: &cpal::Error) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}

/// The class of an error; `None` for what is no trouble.
pub(super) fn class(kind: ErrorKind) -> Option<Fault> {
    Some(match kind {
        ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => return None,
        ErrorKind::Xrun => Fault::Xrun,
        ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated => Fault::Gone,
        ErrorKind::HostUnavailable => Fault::ServerGone,
        ErrorKind::UnsupportedConfig
        | ErrorKind::UnsupportedOperation
        | ErrorKind::InvalidInput => Fault::Refused,
        ErrorKind::DeviceBusy => Fault::Busy,
        ErrorKind::PermissionDenied => Fault::Denied,
        _ => Fault::Other,
    })
}

fn write_captured(end: &mut CaptureEnd, at: Instant, age: Duration, data: &Data) {
    macro_rules! hear {
        ($type:ty, $read:expr) => {
            if let Some(samples) = data.as_slice::<$type>() {
                end.write_captured(at, age, samples, $read);
            }
        };
    }
    match data.sample_format() {
        SampleFormat::F32 => hear!(f32, |s| s),
        SampleFormat::F64 => hear!(f64, |s| s as f32),
        SampleFormat::I8 => hear!(i8, |s| s.to_sample::<f32>()),
        SampleFormat::I16 => hear!(i16, |s| s.to_sample::<f32>()),
        SampleFormat::I24 => hear!(I24, |s| signed_24(s.inner())),
        SampleFormat::I32 => hear!(i32, |s| s.to_sample::<f32>()),
        SampleFormat::I64 => hear!(i64, |s| s.to_sample::<f32>()),
        SampleFormat::U8 => hear!(u8, |s| s.to_sample::<f32>()),
        SampleFormat::U16 => hear!(u16, |s| s.to_sample::<f32>()),
        SampleFormat::U24 => hear!(U24, |s| signed_24(s.inner() ^ (1 << 23))),
        SampleFormat::U32 => hear!(u32, |s| s.to_sample::<f32>()),
        SampleFormat::U64 => hear!(u64, |s| s.to_sample::<f32>()),
        _ => {}
    }
}

/// 24 bits in 32, of which the upper 8 may be anything.
fn signed_24(bits: i32) -> f32 {
    ((bits << 8) >> 8) as f32 / (1 << 23) as f32
}

fn play(end: &mut PlaybackEnd, at: Instant, data: &mut Data) {
    macro_rules! play {
        ($type:ty, $write:expr) => {
            if let Some(samples) = data.as_slice_mut::<$type>() {
                end.play(at, samples, $write);
            }
        };
    }
    match data.sample_format() {
        SampleFormat::F32 => play!(f32, |s| s),
        SampleFormat::F64 => play!(f64, f64::from),
        SampleFormat::I8 => play!(i8, i8::from_sample),
        SampleFormat::I16 => play!(i16, i16::from_sample),
        SampleFormat::I24 => play!(I24, I24::from_sample),
        SampleFormat::I32 => play!(i32, i32::from_sample),
        SampleFormat::I64 => play!(i64, i64::from_sample),
        SampleFormat::U8 => play!(u8, u8::from_sample),
        SampleFormat::U16 => play!(u16, u16::from_sample),
        SampleFormat::U24 => play!(U24, U24::from_sample),
        SampleFormat::U32 => play!(u32, u32::from_sample),
        SampleFormat::U64 => play!(u64, u64::from_sample),
        _ => {}
    }
}
