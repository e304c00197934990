//! A build without the sound card: a call has files or nothing.

use std::future::pending;
use std::time::Instant;

use crate::audio::device::Side;
use crate::audio::device::intake::Captured;
use crate::audio::device::keeper::Notice;
use crate::audio::device::stats::DevicesStats;
use crate::audio::device::wanted::Wanted;
use crate::audio::{AudioError, Mix};

pub(super) struct Devices;

impl Devices {
    /// There is nothing to open.
    #[expect(clippy::unused_async, reason = "opening a real one takes time")]
    pub(super) async fn open(_: Option<Wanted>, _: Option<Wanted>) -> Result<Self, AudioError> {
        Ok(Self)
    }

    pub(super) fn has(&self, _: Side) -> bool {
        false
    }

    pub(super) fn wanted(&self) -> [Wanted; 2] {
        Default::default()
    }

    pub(super) fn want(&mut self, _: Instant, _: Side, _: Wanted) {}

    pub(super) fn listen(&mut self, _: Instant) {}

    pub(super) async fn woken(&self) {
        pending().await
    }

    pub(super) fn update(&mut self, _: Instant) {}

    pub(super) fn captured(&mut self) -> Option<Captured> {
        None
    }

    pub(super) fn play(&self, _: Instant) -> bool {
        true
    }

    pub(super) fn push(&mut self, _: Instant, _: Instant, _: &Mix) {}

    pub(super) fn take_shift(&mut self) -> f64 {
        0.0
    }

    pub(super) fn poll_notice(&mut self) -> Option<(Side, Notice)> {
        None
    }

    pub(super) fn stats(&self, _: Instant) -> DevicesStats {
        DevicesStats::default()
    }

    #[expect(clippy::unused_async, reason = "closing a real one takes time")]
    pub(super) async fn close(&mut self) {}
}
