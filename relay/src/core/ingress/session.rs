//! One session as its worker keeps it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use confab_protocol::media::downlink::Pong;
use confab_protocol::media::uplink::Uplink;
use confab_protocol::media::{
    AudioLevel, ConnectionId, LossReport, ReceptionCounts, ReplayError, ReplayWindow,
    SFRAME_TAG_LEN, SframeHeader,
};

use crate::core::counters::DropCause;
use crate::core::frame::CheckedFrame;
use crate::core::home::RoomIndex;
use crate::core::leaves::LeafCheck;
use crate::core::limits::{RateLimit, RateLimits};
use crate::core::loss::SessionLoss;
use crate::core::loudest::{Loudness, Speaker};
use crate::core::path::{FourTuple, PATH_TIMEOUT, Path, PathAction, Proof};
use crate::core::session::{SessionInfo, SessionSlot};

/// A session at its worker, which alone writes it.
pub(in crate::core) struct Session {
    info: Arc<SessionInfo>,
    leaves: LeafCheck<SessionInfo>,
    room: RoomIndex,
    replay: ReplayWindow,
    limit: RateLimit,
    loudness: Loudness,
    path: Path,
    /// When the newest challenge was made that the client has answered, or when the session was opened.
    alive: Instant,
    loss: SessionLoss,
}

impl Session {
    pub(super) fn new(
        now: Instant,
        info: Arc<SessionInfo>,
        room: RoomIndex,
        limits: &RateLimits,
    ) -> Self {
        Self {
            leaves: LeafCheck::new(Arc::clone(&info)),
            info,
            room,
            replay: ReplayWindow::new(),
            limit: RateLimit::new(now, limits),
            loudness: Loudness::default(),
            path: Path::default(),
            alive: now,
            loss: SessionLoss::default(),
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.info.id
    }

    pub(in crate::core) fn room(&self) -> RoomIndex {
        self.room
    }

    pub(in crate::core) fn slot(&self) -> SessionSlot {
        SessionSlot::from(self.info.id)
    }

    pub(in crate::core) fn into_info(self) -> Arc<SessionInfo> {
        self.info
    }

    /// True if this is the session of exactly this id, and control has not closed it.
    pub(super) fn is_open(&self, id: ConnectionId) -> bool {
        self.info.id == id && !self.info.is_closed()
    }

    /// Checks a datagram's tag and packet number. True if the number is the highest so far.
    pub(super) fn authenticate(&mut self, uplink: &Uplink<'_>) -> Result<bool, DropCause> {
        if !uplink.is_authentic(&self.info.uplink_key) {
            return Err(DropCause::BadTag);
        }
        let number = uplink.packet_number.into();
        let highest = self.highest();
        let is_newest = highest < Some(uplink.packet_number);
        let committed = self.replay.commit(number);
        committed.map_err(|error| match error {
            ReplayError::Seen => DropCause::Replayed,
            // Packet numbers are far below the highest number of a window.
            ReplayError::TooOld | ReplayError::TooHigh => DropCause::TooOld,
        })?;
        self.loss.count_uplink(highest, uplink.packet_number);
        Ok(is_newest)
    }

    /// Counts a datagram of `len` bytes against the session's limits.
    pub(super) fn limit(
        &mut self,
        now: Instant,
        len: usize,
        limits: &RateLimits,
    ) -> Result<(), DropCause> {
        let passed = self.limit.fill(now, limits);
        self.loudness.advance(passed);
        self.loss.advance(passed);
        match self.limit.take(len) {
            true => Ok(()),
            false => Err(DropCause::RateLimited),
        }
    }

    /// Checks the header of an SFrame and the right to speak. True beside the frame if its level was rounded.
    pub(super) fn check_frame(
        &mut self,
        now: Instant,
        level: AudioLevel,
        sframe: &[u8],
    ) -> Result<(CheckedFrame, bool), DropCause> {
        let info = &self.info;
        let (header, length) = SframeHeader::parse(sframe).map_err(|_| DropCause::BadFrame)?;
        if sframe.len() < length + SFRAME_TAG_LEN {
            return Err(DropCause::BadFrame);
        }
        self.leaves.check(now, header.key_id)?;
        if !info.may_speak() {
            return Err(DropCause::MayNotSpeak);
        }
        let (level, was_rounded) = level.in_steps();
        let speaker = Speaker {
            session: SessionSlot::from(info.id),
            sender: info.sender,
            account: info.account_label,
            claim: self.loudness.update(level),
        };
        Ok((CheckedFrame { speaker, level }, was_rounded))
    }

    pub(super) fn pong(&self, echo: [u8; 8]) -> Pong {
        Pong {
            echo,
            highest: self.highest().unwrap_or(0),
            received: self.loss.received(),
        }
    }

    /// The client's highest packet number so far.
    fn highest(&self) -> Option<u32> {
        // Packet numbers have 32 bits.
        let highest = self.replay.highest()?;
        Some(u32::try_from(highest).unwrap_or(u32::MAX))
    }

    /// The client told what has come of the relay's datagrams.
    pub(super) fn take_reception(&mut self, counts: ReceptionCounts) {
        self.loss.take_reception(&self.info.room.loss, counts);
    }

    /// What the client, which sent audio, is to be told of loss, if that is due.
    pub(super) fn loss_report(&mut self) -> Option<LossReport> {
        self.loss.report(&self.info.room.loss, self.highest()?)
    }

    /// A second has passed.
    pub(super) fn age_reception(&mut self) {
        self.loss.age(&self.info.room.loss);
    }

    /// The session leaves its slot.
    pub(super) fn end(&mut self) {
        self.loss.end(&self.info.room.loss);
    }

    /// As [`Path::on_packet`].
    pub(super) fn follow_path(
        &mut self,
        now: Instant,
        from: FourTuple,
        is_newest: bool,
        fresh: impl FnOnce() -> [u8; 8],
    ) -> PathAction {
        self.path.on_packet(now, from, is_newest, fresh)
    }

    /// As [`Path::on_response`].
    pub(super) fn prove_path(
        &mut self,
        now: Instant,
        from: FourTuple,
        challenge: [u8; 8],
    ) -> Option<Proof> {
        let proof = self.path.on_response(now, from, challenge)?;
        self.alive = self.alive.max(proof.at);
        if proof.is_new {
            self.info.set_seen();
        }
        Some(proof)
    }

    /// As [`Path::check`], for a worker whose sessions end after `idle_timeout`.
    pub(super) fn check_path(
        &mut self,
        now: Instant,
        idle_timeout: Duration,
        fresh: impl FnOnce() -> [u8; 8],
    ) -> PathAction {
        let after = check_after(idle_timeout, self.info.id);
        self.path.check(now, after, fresh)
    }

    /// True if the client has answered nothing for `idle_timeout`.
    pub(super) fn is_idle(&self, now: Instant, idle_timeout: Duration) -> bool {
        now.saturating_duration_since(self.alive) >= idle_timeout
    }

    /// Adds the time in which the worker stood still to the time that the client has for its answer.
    pub(super) fn extend_by_stall(&mut self, now: Instant, stall: Duration) {
        self.alive = (self.alive + stall).min(now);
        self.path.extend_by_stall(now, stall);
    }
}

/// The age of a path's last answer at which it is asked for another: three times in the shorter of the path's timeout and
/// the session's, and a little different for each session, so that sessions of one time are not asked at one time
/// (RFC 7675 §5.1).
fn check_after(idle_timeout: Duration, id: ConnectionId) -> Duration {
    const SPREAD_PERCENT: u32 = 41;
    let percent = 80 + id.check() % SPREAD_PERCENT;
    idle_timeout.min(PATH_TIMEOUT) / 3 * percent / 100
}
