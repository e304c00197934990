//! The speakers of a call, whichever device they are at the moment.

use std::time::{Duration, Instant};

use super::feed::Feed;
use super::keeper::{Health, Notice, OpenError};
use super::line::{Backend, Line};
use super::pipe::PlaybackTap;
use super::quiet::Quiet;
use super::slot::StreamId;
use super::stats::{DeviceStats, SpeakersStats};
use super::wanted::Wanted;
use crate::audio::{MIX_TIME, Mix};

/// Speakers that are kept open.
pub struct Speakers<B: Backend<Tap = PlaybackTap>> {
    line: Line<B>,
    /// The stream that is fed.
    fed: Option<StreamId>,
    feed: Option<Feed>,
    quiet: Quiet,
    samples: Vec<f32>,
    unheard: Duration,
    /// Missing time that earlier streams reported.
    short: Duration,
}

impl<B: Backend<Tap = PlaybackTap>> Speakers<B> {
    /// Nothing is open yet: [`update`](Self::update) opens them.
    pub fn new(backend: B, now: Instant) -> Self {
        Self {
            line: Line::new(backend, now),
            fed: None,
            feed: None,
            quiet: Quiet::new(now),
            samples: Vec::new(),
            unheard: Duration::ZERO,
            short: Duration::ZERO,
        }
    }

    pub fn line(&mut self) -> &mut Line<B> {
        &mut self.line
    }

    /// Looks after the devices. To be called each 100 ms at least.
    pub fn update(&mut self, now: Instant) {
        self.line.update(now, self.quiet.is_quiet(now));
        if self.fed != self.line.used() {
            self.fed = self.line.used();
            self.short += self.feed.take().map_or(Duration::ZERO, |feed| feed.short());
            let device = self.line.device();
            self.feed = device.map(|device| Feed::new(device.rate));
        }
        let (Some(feed), Some(tap)) = (&mut self.feed, self.line.stream()) else {
            return;
        };
        while let Some(mark) = tap.mark() {
            feed.called(&mark);
        }
    }

    /// True when what is mixed now will be played.
    pub fn plays(&self, now: Instant) -> bool {
        let moves = self.line.health(now) == Health::Moving;
        moves && self.feed.as_ref().is_some_and(|feed| feed.is_asked(now))
    }

    /// Gives a mix that was due at `at`. It is dropped when no device asks for sound.
    pub fn push(&mut self, now: Instant, at: Instant, mix: &Mix) {
        self.quiet.add(now, mix);
        let plays = self.plays(now);
        if !self.give(now, at, mix) || !plays {
            self.unheard += MIX_TIME;
        }
    }

    /// Seconds by which further mixes are to come later, earlier where that is less than none, to be just in time for the device.
    pub fn take_shift(&mut self) -> f64 {
        self.feed.as_mut().map_or(0.0, Feed::take_shift)
    }

    /// From now on another device is wanted.
    pub fn want(&mut self, now: Instant, wanted: Wanted) {
        self.line.want(now, wanted);
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.line.poll_notice()
    }

    /// Why there are no speakers, once none could be opened.
    pub fn failure(&self) -> Option<OpenError> {
        self.line.failure()
    }

    /// Counts since the call began.
    pub fn stats(&self, now: Instant) -> SpeakersStats {
        let feed = self.feed.as_ref();
        let short = feed.map_or(Duration::ZERO, Feed::short);
        SpeakersStats {
            device: DeviceStats::of(&self.line, now, feed.and_then(Feed::drift)),
            starved_ms: (self.short + short).as_millis() as u64,
            unheard_ms: self.unheard.as_millis() as u64,
            waits_ms: feed
                .and_then(Feed::waits)
                .map(|waits| waits.as_secs_f32() * 1000.0),
        }
    }

    fn give(&mut self, now: Instant, at: Instant, mix: &Mix) -> bool {
        let (Some(feed), Some(tap)) = (&mut self.feed, self.line.stream()) else {
            return false;
        };
        self.samples.clear();
        if !feed.mix(now, at, mix, tap.room(), &mut self.samples) {
            return false;
        }
        let skip = feed.take_skip();
        if skip > 0 {
            tap.skip(skip);
        }
        tap.push(&self.samples)
    }
}
