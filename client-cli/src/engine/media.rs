//! A media session with a relay: packet numbers and tags, keep-alives, the race of its addresses, replay, loss.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use confab_protocol::control::MediaGrant;
use confab_protocol::media::downlink::{ByeReason, DownlinkBody, Pong, Records};
use confab_protocol::media::loss::{MIN_REPORTED, REPORT_INTERVAL_MS};
use confab_protocol::media::uplink::UplinkBody;
use confab_protocol::media::{
    AudioLevel, Downlink, LossReport, MediaError, PACKET_NUMBER_LIMIT, ReceptionCounts,
    ReplayError, ReplayWindow,
};

use super::liveness::{Health, Liveness};

/// Most keep-alives whose pongs are awaited.
const OUTSTANDING: usize = 32;

/// A new session is requested when only this many packet numbers are left: more than a day of voice.
const PACKET_NUMBERS_LEFT: u32 = 10_000_000;

/// Weight of a new interval in the mean of the loss.
const LOSS_WEIGHT: f32 = 0.25;

/// Time between two reports of what has arrived, while audio does.
const REPORT_INTERVAL: Duration = Duration::from_millis(REPORT_INTERVAL_MS);

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub to: SocketAddr,
    pub datagram: Vec<u8>,
}

/// Why a datagram was refused. A refused datagram changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its tag is not of this session's relay.
    Tag,
    /// The packet number was received before, or is below the replay window.
    Replay(ReplayError),
}

/// The content of an accepted datagram.
#[derive(Debug, Clone, Copy)]
pub enum Received<'a> {
    Audio(Records<'a>),
    /// What is lost of this client's audio.
    Loss(LossReport),
    /// A pong or a challenge, which was handled.
    Nothing,
    /// The relay ended the session.
    Bye(ByeReason),
}

/// The client's side of a media session.
#[derive(Debug)]
pub struct MediaSession {
    grant: MediaGrant,
    next_packet: u32,
    window: ReplayWindow,
    /// The address that answered; packets go there.
    chosen: Option<SocketAddr>,
    liveness: Liveness,
    outstanding: VecDeque<KeepAlive>,
    next_echo: u64,
    uplink: UplinkLoss,
    downlink: Reception,
}

/// What has come of the relay's datagrams, and what it was told of that.
#[derive(Debug, Clone, Copy)]
struct Reception {
    counts: ReceptionCounts,
    told: ReceptionCounts,
    due: Instant,
}

#[derive(Debug, Clone, Copy)]
struct KeepAlive {
    echo: u64,
    sent: Instant,
    to: SocketAddr,
}

/// Loss of the uplink, from pongs.
#[derive(Debug, Clone, Copy, Default)]
struct UplinkLoss {
    last: Option<(u32, u32)>,
    mean: Option<f32>,
}

impl MediaSession {
    /// A session that sends its first keep-alives at the next [`handle_timeout`](Self::handle_timeout).
    pub fn new(grant: MediaGrant, now: Instant) -> Self {
        Self {
            grant,
            next_packet: 0,
            window: ReplayWindow::new(),
            chosen: None,
            liveness: Liveness::new(now),
            outstanding: VecDeque::new(),
            next_echo: 0,
            uplink: UplinkLoss::default(),
            downlink: Reception {
                counts: ReceptionCounts::default(),
                told: ReceptionCounts::default(),
                due: now,
            },
        }
    }

    pub fn grant(&self) -> &MediaGrant {
        &self.grant
    }

    pub fn health(&self) -> Health {
        self.liveness.health()
    }

    /// True while its relay answers, as far as is known, and packet numbers are left.
    pub fn is_answering(&self, now: Instant) -> bool {
        self.liveness.is_answering(now) && !self.is_worn_out()
    }

    /// Smoothed round trip to the relay.
    pub fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// Smoothed share of own datagrams that did not reach the relay, 0.0 to 1.0.
    pub fn uplink_loss(&self) -> Option<f32> {
        self.uplink.mean
    }

    /// The relay's address that packets go to.
    pub fn address(&self) -> Option<SocketAddr> {
        self.chosen
    }

    /// True when its packet numbers, or the relay's, are nearly used up: a new session is needed.
    pub fn is_worn_out(&self) -> bool {
        const WORN: u32 = PACKET_NUMBER_LIMIT - PACKET_NUMBERS_LEFT;
        let received = self.window.highest().unwrap_or(0);
        self.next_packet > WORN || received > u64::from(WORN)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.liveness.poll_timeout()
    }

    /// Sends the keep-alives that are due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        if self.liveness.due(now) {
            self.send_keep_alives(now, out);
        }
    }

    /// The local address or the route changed: sends keep-alives to every address at once.
    pub fn route_changed(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.liveness.seek();
        self.send_keep_alives(now, out);
    }

    /// The machine was suspended: forgets that the relay answered.
    pub fn resume_after_sleep(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.liveness.suspect();
        self.route_changed(now, out);
    }

    /// Probes the relay; [`take_probed`](Self::take_probed) returns the result.
    pub fn probe(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.liveness.probe(now);
        if self.health() == Health::Over {
            self.liveness.end();
        } else {
            self.send_keep_alives(now, out);
        }
    }

    /// The result of a probe, once.
    pub fn take_probed(&mut self) -> Option<bool> {
        self.liveness.take_probed()
    }

    /// Checks a datagram, and answers a challenge.
    pub fn receive<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &Downlink<'a>,
        out: &mut VecDeque<Transmit>,
    ) -> Result<Received<'a>, Refused> {
        if !datagram.is_authentic(&self.grant.downlink_key) {
            return Err(Refused::Tag);
        }
        self.window
            .commit(datagram.packet_number.into())
            .map_err(Refused::Replay)?;
        self.downlink.counts.count(datagram.packet_number);
        self.liveness.heard(now);
        match datagram.body {
            DownlinkBody::Audio(records) => {
                self.liveness.heard_voice();
                self.report_reception(now, out);
                return Ok(Received::Audio(records));
            }
            DownlinkBody::Loss(report) => return Ok(Received::Loss(report)),
            DownlinkBody::Bye(reason) => {
                self.liveness.end();
                return Ok(Received::Bye(reason));
            }
            DownlinkBody::Pong(pong) => self.take_pong(now, pong),
            DownlinkBody::PathChallenge(challenge) => {
                self.answer_challenge(now, from, challenge, out)
            }
        }
        Ok(Received::Nothing)
    }

    /// Sends a frame; false when no address has answered yet, or the packet numbers are used up.
    pub fn send_audio(
        &mut self,
        now: Instant,
        level: AudioLevel,
        sframe: &[u8],
        out: &mut VecDeque<Transmit>,
    ) -> bool {
        let Some(to) = self.chosen else {
            return false;
        };
        if self.health() == Health::Over {
            return false;
        }
        self.liveness.spoke(now);
        self.send(to, &UplinkBody::Audio { level, sframe }, out)
            .is_ok()
    }

    /// Tells the relay that the session ends.
    pub fn bye(&mut self, out: &mut VecDeque<Transmit>) {
        if let Some(to) = self.chosen {
            // Only the packet numbers' end could keep it back, and then the session is over anyway.
            let _ = self.send(to, &UplinkBody::Bye, out);
        }
    }

    /// Tells the relay what has come of its datagrams, if that is due.
    fn report_reception(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        let Reception { counts, told, due } = self.downlink;
        let Some(to) = self.chosen else { return };
        if now < due || counts.sent_since(&told) < MIN_REPORTED {
            return;
        }
        self.downlink.told = counts;
        self.downlink.due = now + REPORT_INTERVAL;
        // Only the packet numbers' end could keep it back, and then the session is over anyway.
        let _ = self.send(to, &UplinkBody::Reception(counts), out);
    }

    fn send_keep_alives(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        let addresses = match self.chosen {
            Some(chosen) if !self.liveness.is_seeking() => vec![chosen],
            _ => self.grant.addresses.clone(),
        };
        for to in addresses {
            let echo = self.next_echo;
            self.next_echo += 1;
            let body = UplinkBody::KeepAlive {
                echo: echo.to_be_bytes(),
            };
            if self.send(to, &body, out).is_err() {
                continue;
            }
            if self.outstanding.len() == OUTSTANDING {
                self.outstanding.pop_front();
            }
            self.outstanding.push_back(KeepAlive {
                echo,
                sent: now,
                to,
            });
        }
        self.liveness.asked(now);
    }

    fn take_pong(&mut self, now: Instant, pong: Pong) {
        let echo = u64::from_be_bytes(pong.echo);
        let Some(at) = self.outstanding.iter().position(|sent| sent.echo == echo) else {
            return;
        };
        let Some(keep_alive) = self.outstanding.remove(at) else {
            return;
        };
        if self.liveness.answered(now, keep_alive.sent) {
            self.chosen = Some(keep_alive.to);
        }
        self.uplink.update(pong);
    }

    /// Answered to where it came from, then asked for a pong, which tells that the path has moved.
    ///
    /// A challenge by another address of the relay than the chosen one is a late answer to the race: left alone, or the
    /// media would go to and fro.
    fn answer_challenge(
        &mut self,
        now: Instant,
        from: SocketAddr,
        challenge: [u8; 8],
        out: &mut VecDeque<Transmit>,
    ) {
        let lost_the_race =
            !self.liveness.is_seeking() && self.chosen.is_some_and(|chosen| chosen != from);
        if lost_the_race && self.grant.addresses.contains(&from) {
            return;
        }
        if self
            .send(from, &UplinkBody::PathResponse { challenge }, out)
            .is_ok()
        {
            self.send_keep_alives(now, out);
        }
    }

    fn send(
        &mut self,
        to: SocketAddr,
        body: &UplinkBody<'_>,
        out: &mut VecDeque<Transmit>,
    ) -> Result<(), MediaError> {
        let mut datagram = Vec::new();
        body.encode(
            self.grant.connection_id,
            self.next_packet,
            &self.grant.uplink_key,
            &mut datagram,
        )?;
        self.next_packet += 1;
        out.push_back(Transmit { to, datagram });
        Ok(())
    }
}

impl UplinkLoss {
    fn update(&mut self, pong: Pong) {
        let (highest, received) = (pong.highest, pong.received);
        if let Some((last_highest, last_received)) = self.last {
            let sent = highest.saturating_sub(last_highest);
            if sent == 0 {
                return;
            }
            let arrived = received.wrapping_sub(last_received).min(sent);
            let loss = (sent - arrived) as f32 / sent as f32;
            let mean = self.mean.unwrap_or(loss);
            self.mean = Some(mean + LOSS_WEIGHT * (loss - mean));
        }
        self.last = Some((highest, received));
    }
}
