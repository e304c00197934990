//! Finds a device and opens it in the best form that it has.

use std::time::Duration;

use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{SampleFormat, SupportedBufferSize, SupportedStreamConfigRange};

use super::stream::{Built, class, text};
use super::{Opened, Side};
use crate::audio::device::fault::Fault;
use crate::audio::device::form::{self, Form, Offer};
use crate::audio::device::keeper::{Choice, OpenError};
use crate::audio::device::order;
use crate::audio::device::slot::DeviceInfo;
use crate::audio::device::wanted::{self, Wanted};

/// Opens the device of this choice with periods of this length; `build` makes a stream of it.
pub(super) fn open<T>(
    side: Side,
    wanted: &Wanted,
    choice: Choice,
    build: impl Fn(&cpal::Device, &Form<SampleFormat>) -> Built<T>,
    period: Duration,
) -> Opened<T> {
    silence_library();
    let host = cpal::default_host();
    let mut last = error(Fault::Gone, "there is no such device");
    for device in devices(&host, side, wanted, choice)? {
        match open_one(side, &device, &build, period) {
            Ok(opened) => return Ok(opened),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The wanted device, or the others in the order in which they are tried.
fn devices(
    host: &cpal::Host,
    side: Side,
    wanted: &Wanted,
    choice: Choice,
) -> Result<Vec<cpal::Device>, OpenError> {
    let default = match side {
        Side::Microphone => host.default_input_device(),
        Side::Speakers => host.default_output_device(),
    };
    let is_default = *wanted == Wanted::Default;
    if is_default && choice == Choice::Wanted {
        return Ok(default.into_iter().collect());
    }
    let all: Vec<cpal::Device> = host
        .devices()
        .map_err(|error| failed(&error))?
        .filter(|device| match side {
            Side::Microphone => device.supports_input(),
            Side::Speakers => device.supports_output(),
        })
        .collect();
    let names: Vec<(String, String)> = all.iter().map(|one| (id_of(one), name_of(one))).collect();
    let named = match wanted {
        Wanted::Default => Ok(None),
        Wanted::Named(name) => wanted::find(&names, name).map(Some),
    };
    if choice == Choice::Wanted {
        let place = named.map_err(|not_one| error(Fault::Gone, &not_one.to_string()))?;
        return Ok(place.map(|place| all[place].clone()).into_iter().collect());
    }
    let lost = match named {
        Ok(Some(place)) => names[place].0.clone(),
        Ok(None) => default.as_ref().map(id_of).unwrap_or_default(),
        Err(_) => String::new(),
    };
    let ids = order::stand_ins(names.iter().map(|(id, _)| id.as_str()), &lost);
    let find = |id: &String| {
        let place = names.iter().position(|(of, _)| of == id)?;
        Some(all[place].clone())
    };
    // What the system would take comes before what this program would.
    let first = default.filter(|_| !is_default);
    Ok(first
        .into_iter()
        .chain(ids.iter().filter_map(find))
        .collect())
}

fn open_one<T>(
    side: Side,
    device: &cpal::Device,
    build: &impl Fn(&cpal::Device, &Form<SampleFormat>) -> Built<T>,
    period: Duration,
) -> Opened<T> {
    let offers: Vec<_> = match side {
        Side::Microphone => device
            .supported_input_configs()
            .map(|all| all.filter_map(offer).collect()),
        Side::Speakers => device
            .supported_output_configs()
            .map(|all| all.filter_map(offer).collect()),
    }
    .map_err(|error| failed(&error))?;
    let mut last = error(Fault::Refused, Fault::Refused.reason());
    for form in form::forms(&offers, period) {
        let (handle, mut stream) = match build(device, &form) {
            Ok(built) => built,
            Err(error) => {
                last = failed(&error);
                // Another form may do; where the device itself is the matter it will not.
                if last.fault == Fault::Refused {
                    continue;
                }
                break;
            }
        };
        handle.play().map_err(|error| failed(&error))?;
        let info = info(device, &form, &handle, period);
        stream.keep = Box::new(handle);
        return Ok((info, stream));
    }
    Err(last)
}

fn info(
    device: &cpal::Device,
    form: &Form<SampleFormat>,
    stream: &cpal::Stream,
    period: Duration,
) -> DeviceInfo {
    let frames = stream.buffer_size().ok().filter(|frames| *frames > 0);
    let period = frames.map_or(period, |frames| {
        Duration::from_secs_f64(f64::from(frames) / f64::from(form.rate))
    });
    DeviceInfo {
        name: name_of(device),
        id: id_of(device),
        rate: form.rate,
        channels: form.channels,
        format: form.format.to_string(),
        period,
    }
}

pub(super) fn id_of(device: &cpal::Device) -> String {
    device.id().map(|id| id.id().to_owned()).unwrap_or_default()
}

pub(super) fn name_of(device: &cpal::Device) -> String {
    let name = device.description().map(|about| about.name().to_owned());
    let name = name.ok().filter(|name| !name.trim().is_empty());
    name.unwrap_or_else(|| id_of(device))
}

fn offer(range: SupportedStreamConfigRange) -> Option<Offer<SampleFormat>> {
    let format = range.sample_format();
    Some(Offer {
        channels: range.channels(),
        rates: (range.min_sample_rate(), range.max_sample_rate()),
        loss: loss(format)?,
        format,
        periods: match range.buffer_size() {
            SupportedBufferSize::Range { min, max } => Some((*min, *max)),
            SupportedBufferSize::Unknown => None,
        },
    })
}

/// The rank of a sample format, 0 the best; `None` where it is not PCM.
fn loss(format: SampleFormat) -> Option<u32> {
    Some(match format {
        SampleFormat::F32 => 0,
        SampleFormat::I32 | SampleFormat::I24 | SampleFormat::F64 => 1,
        SampleFormat::I64 | SampleFormat::U64 | SampleFormat::U32 | SampleFormat::U24 => 2,
        SampleFormat::I16 => 3,
        SampleFormat::U16 => 4,
        SampleFormat::I8 | SampleFormat::U8 => 30,
        _ => return None,
    })
}

pub(super) fn failed(error: &cpal::Error) -> OpenError {
    OpenError {
        fault: class(error.kind()).unwrap_or(Fault::Other),
        reason: text(error),
    }
}

pub(super) fn error(fault: Fault, reason: &str) -> OpenError {
    OpenError {
        fault,
        reason: reason.to_owned(),
    }
}

/// ALSA's library writes to standard error, a dozen lines for each device that it does not find. On this thread it does
/// not: what failed is told once, in this program's words.
pub(super) fn silence_library() {
    #[cfg(target_os = "linux")]
    let _ = alsa::Output::local_error_handler();
}
