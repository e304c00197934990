//! The sound card's part in a call.

use std::time::Instant;

use tokio::join;

use crate::audio::device::card::{self, Cards};
use crate::audio::device::intake::Captured;
use crate::audio::device::keeper::{Notice, OpenError};
use crate::audio::device::microphone::Microphone;
use crate::audio::device::pipe::{CaptureTap, PlaybackTap};
use crate::audio::device::speakers::Speakers;
use crate::audio::device::stats::DevicesStats;
use crate::audio::device::wakeup::wakeup;
use crate::audio::device::wanted::Wanted;
use crate::audio::device::{Side, closed, opened};
use crate::audio::{AudioError, Mix};

/// The devices that a call uses.
pub(super) struct Devices {
    microphone: Option<Box<Microphone<Cards<CaptureTap>>>>,
    speakers: Option<Box<Speakers<Cards<PlaybackTap>>>>,
    /// Of the microphone and the speakers.
    wanted: [Wanted; 2],
}

impl Devices {
    /// Opens the wanted devices and waits until they are open.
    pub(super) async fn open(
        microphone: Option<Wanted>,
        speakers: Option<Wanted>,
    ) -> Result<Self, AudioError> {
        let now = Instant::now();
        let (wake_sender, wake_receiver) =
            wakeup().map_err(|error| no(Side::Microphone, error.to_string()))?;
        let wanted = [&microphone, &speakers].map(|one| one.clone().unwrap_or_default());
        let mut devices = Self {
            microphone: microphone.map(|wanted| {
                let cards = card::microphones(wanted, wake_sender);
                Box::new(Microphone::new(cards, wake_receiver, now))
            }),
            speakers: speakers.map(|wanted| Box::new(Speakers::new(card::speakers(wanted), now))),
            wanted,
        };
        let (microphone, speakers) = (&mut devices.microphone, &mut devices.speakers);
        let microphone = async {
            match microphone {
                Some(microphone) => opened(microphone.line()).await,
                None => Ok(()),
            }
        };
        let speakers = async {
            match speakers {
                Some(speakers) => opened(speakers.line()).await,
                None => Ok(()),
            }
        };
        let (microphone, speakers) = join!(microphone, speakers);
        let failed = |side| move |error: OpenError| no(side, error.reason);
        microphone.map_err(failed(Side::Microphone))?;
        speakers.map_err(failed(Side::Speakers))?;
        Ok(devices)
    }

    /// True if there is a device on this side.
    pub(super) fn has(&self, side: Side) -> bool {
        match side {
            Side::Microphone => self.microphone.is_some(),
            Side::Speakers => self.speakers.is_some(),
        }
    }

    /// The wanted microphone and speakers.
    pub(super) fn wanted(&self) -> [Wanted; 2] {
        self.wanted.clone()
    }

    /// From now on another device is wanted.
    pub(super) fn want(&mut self, now: Instant, side: Side, wanted: Wanted) {
        self.wanted[side as usize] = wanted.clone();
        match (side, &mut self.microphone, &mut self.speakers) {
            (Side::Microphone, Some(microphone), _) => microphone.want(now, wanted),
            (Side::Speakers, _, Some(speakers)) => speakers.want(now, wanted),
            _ => {}
        }
    }

    /// Starts to capture. Samples from before `since` are dropped.
    pub(super) fn listen(&mut self, since: Instant) {
        if let Some(microphone) = &mut self.microphone {
            microphone.listen(since);
        }
    }

    /// Waits until the microphone has samples; for ever without a microphone.
    pub(super) async fn woken(&self) {
        match &self.microphone {
            Some(microphone) => microphone.woken().await,
            None => std::future::pending().await,
        }
    }

    /// Opens and closes devices, and takes captured samples. Has to be called after each [`woken`](Self::woken), and every
    /// 100 ms at least.
    pub(super) fn update(&mut self, now: Instant) {
        if let Some(microphone) = &mut self.microphone {
            microphone.update(now);
        }
        if let Some(speakers) = &mut self.speakers {
            speakers.update(now);
        }
    }

    /// The next captured block.
    pub(super) fn captured(&mut self) -> Option<Captured> {
        self.microphone.as_mut()?.poll_captured()
    }

    /// False when speakers are wanted and none plays now.
    pub(super) fn play(&self, now: Instant) -> bool {
        self.speakers
            .as_ref()
            .is_none_or(|speakers| speakers.plays(now))
    }

    /// Gives the speakers a mix that is to be played from `at` on.
    pub(super) fn push(&mut self, now: Instant, at: Instant, mix: &Mix) {
        if let Some(speakers) = &mut self.speakers {
            speakers.push(now, at, mix);
        }
    }

    /// Seconds by which further mixes are to come later, earlier where that is less than none, to be just in time for the speakers.
    pub(super) fn take_shift(&mut self) -> f64 {
        let speakers = self.speakers.as_mut();
        speakers.map_or(0.0, |speakers| speakers.take_shift())
    }

    /// The next notice.
    pub(super) fn poll_notice(&mut self) -> Option<(Side, Notice)> {
        let microphone = self.microphone.as_mut();
        if let Some(notice) = microphone.and_then(|microphone| microphone.poll_notice()) {
            return Some((Side::Microphone, notice));
        }
        let notice = self.speakers.as_mut()?.poll_notice()?;
        Some((Side::Speakers, notice))
    }

    /// Counts since the call began.
    pub(super) fn stats(&self, now: Instant) -> DevicesStats {
        DevicesStats {
            microphone: self.microphone.as_ref().map(|side| side.stats(now)),
            speakers: self.speakers.as_ref().map(|side| side.stats(now)),
        }
    }

    /// Closes the devices, in a bounded time.
    pub(super) async fn close(&mut self) {
        let (microphone, speakers) = (self.microphone.as_mut(), self.speakers.as_mut());
        let microphone = async {
            if let Some(microphone) = microphone {
                closed(microphone.line()).await;
            }
        };
        let speakers = async {
            if let Some(speakers) = speakers {
                closed(speakers.line()).await;
            }
        };
        join!(microphone, speakers);
    }
}

fn no(side: Side, reason: String) -> AudioError {
    let (what, flag) = match side {
        Side::Microphone => ("microphone", "--in"),
        Side::Speakers => ("speakers", "--out"),
    };
    AudioError::Device { what, reason, flag }
}
