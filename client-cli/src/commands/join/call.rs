//! The call itself: the engine between sockets, sound and control, by the real clock.

use std::time::{Duration, Instant, SystemTime};

use confab_console::{Signal, Signals};

use super::audio::CallAudio;
use super::choices::Choices;
use super::ending::{Ending, ended_by, no_media};
use super::event::{CallEvent, Counts, MediaState, ParticipantShown, leave_reason};
use super::group_news::GroupNews;
use super::identities::Identities;
use super::network::Network;
use super::own_voice::OwnVoice;
use super::plan::Plan;
use super::sleep::{CHECK_INTERVAL, Clocks};
use super::texts::Texts;
use crate::commands::hot_key::HotKey;
use crate::engine::membership::GroupEvent;
use crate::engine::relays::MediaEvent;
use crate::engine::{Engine, Event};
use crate::failure::{Exit, Failure};
use crate::identity::Pins;
use crate::net::api::MediaReport;
use crate::net::event::ServerEvent;
use crate::net::supervisor::{CallRequest, Standing, Supervisor, Update};
use crate::net::udp::{RECEIVE_LEN, Sockets};
use crate::output::Output;
use crate::stderr::print_on_stderr;
use crate::store::StoreError;

/// Datagrams that are taken before the clock is compared at again.
const RECEIVE_BATCH: usize = 64;

/// A call that lasted longer than this without an answer of the relay has failed.
const MEDIA_DEADLINE: Duration = Duration::from_secs(3);

/// A call that runs.
pub(super) struct Call {
    pub(super) engine: Engine,
    pub(super) audio: CallAudio,
    network: Network,
    supervisor: Supervisor,
    /// As commands name it.
    server: String,
    pub(super) output: Output,
    plan: Plan,
    next_stats: Instant,
    clocks: Clocks,
    next_clock_check: Instant,
    /// True after a write error of the output was reported.
    write_error_reported: bool,
    /// True when the relay has answered.
    was_live: bool,
    /// False while the connection to the server is lost: the group's messages wait, for a resumed join repeats them.
    is_connected: bool,
    texts: Texts,
    group_news: GroupNews,
    identities: Identities,
    pub(super) own_voice: OwnVoice,
    pub(super) choices: Choices,
    hot_key: HotKey,
    end: Option<Ending>,
}

/// The parts of a call by which a person takes part in it.
pub(super) struct PersonParts {
    /// The server, as commands name it.
    pub(super) server: String,
    /// Texts, written and read.
    pub(super) texts: Texts,
    /// Changes that are told.
    pub(super) news: GroupNews,
    /// Members, compared with the known devices.
    pub(super) identities: Identities,
    /// Whether the person's voice is to be heard.
    pub(super) own_voice: OwnVoice,
    /// Devices, and how loud others are.
    pub(super) choices: Choices,
    /// A key of the desktop.
    pub(super) hot_key: HotKey,
}

impl Call {
    pub(super) fn new(
        engine: Engine,
        audio: CallAudio,
        sockets: Sockets,
        supervisor: Supervisor,
        output: Output,
        plan: Plan,
        person: PersonParts,
    ) -> Self {
        let start = plan.start();
        Self {
            next_stats: start + plan.stats_every(),
            network: Network::new(sockets, start),
            clocks: Clocks::new(start, SystemTime::now()),
            next_clock_check: start + CHECK_INTERVAL,
            write_error_reported: false,
            was_live: false,
            is_connected: true,
            server: person.server,
            texts: person.texts,
            group_news: person.news,
            identities: person.identities,
            own_voice: person.own_voice,
            choices: person.choices,
            hot_key: person.hot_key,
            end: None,
            engine,
            audio,
            supervisor,
            output,
            plan,
        }
    }

    pub(super) async fn run(mut self, signals: &mut Signals) -> Result<Exit, Failure> {
        let mut buffer = [0; RECEIVE_LEN];
        let first = self.own_voice.first_event();
        first.iter().for_each(|event| self.output.print(event));
        let end = loop {
            self.handle_timeouts(Instant::now());
            self.flush();
            if let Some(end) = self.end.take() {
                break end;
            }
            let deadline = self.next_deadline();
            let texts_under_way = self.engine.member().texts_under_way();
            tokio::select! {
                (length, from) = self.network.receive(&mut buffer) => {
                    let now = Instant::now();
                    self.engine.handle_datagram(now, from, &buffer[..length]);
                    for _ in 1..RECEIVE_BATCH {
                        let Some((length, from)) = self.network.try_receive(&mut buffer) else {
                            break;
                        };
                        self.engine.handle_datagram(now, from, &buffer[..length]);
                    }
                }
                update = self.supervisor.updates.recv() => match update {
                    Some(update) => self.take_update(update),
                    // It says why before it ends.
                    None => self.finish(Ending::Wanted("failed", Exit::Network)),
                },
                () = self.audio.woken() => {}
                typed = self.texts.next(texts_under_way) => self.take_typed(typed),
                is_held = self.hot_key.next() => self.take_hot_key(is_held),
                Some(chosen) = self.choices.next() => self.take_chosen(chosen),
                stored = self.identities.stored() => self.take_stored(stored),
                signal = signals.next() => {
                    let reason = match signal {
                        Signal::Interrupt => "interrupted",
                        Signal::Terminate | Signal::Hangup => "terminated",
                    };
                    self.finish(Ending::Wanted(reason, ended_by(signal)));
                }
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
        };
        Box::pin(self.leave(end)).await
    }

    fn next_deadline(&self) -> Instant {
        [
            self.engine.poll_timeout(),
            Some(self.audio.next_deadline()),
            self.plan.leave_at(),
            self.texts.deadline(),
            self.identities.deadline(),
            Some(self.next_stats),
            Some(self.network.next_check()),
            Some(self.next_clock_check),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.next_stats)
    }

    fn handle_timeouts(&mut self, now: Instant) {
        self.check_clocks(now);
        self.audio.exchange(now, &mut self.engine, &mut self.plan);
        if self.engine.poll_timeout().is_some_and(|at| now >= at) {
            self.engine.handle_timeout(now);
        }
        if now >= self.next_stats {
            self.next_stats = now + self.plan.stats_every();
            self.output.print(&CallEvent::Stats(self.counts(now)));
        }
        if self.network.route_changed(now, self.engine.relay()) {
            self.supervisor.request(CallRequest::NetworkChanged);
            self.engine.route_changed(now);
        }
        self.identities.expire(now);
        if let Some(reason) = self.plan.leave_reason(now) {
            self.finish(Ending::Wanted(reason, Exit::Done));
        }
        self.check_output();
    }

    /// Ends a call whose texts are all passed on, or were refused. After the engine's events, which say what was refused.
    fn end_after_texts(&mut self, now: Instant) {
        let under_way = self.engine.member().texts_under_way();
        match self.texts.is_over(now, under_way) {
            Some(Ok(())) => self.finish(Ending::Wanted("texts_sent", Exit::Done)),
            Some(Err(failure)) => self.finish(Ending::Failed("failed", failure)),
            None => {}
        }
    }

    fn counts(&self, now: Instant) -> Counts {
        Counts {
            engine: self.engine.stats(),
            devices: self.audio.stats(now),
        }
    }

    /// Sends the engine's datagrams and prints its events.
    fn flush(&mut self) {
        let now = Instant::now();
        let mut broken = false;
        while let Some(transmit) = self.engine.poll_transmit() {
            // An address that is only tried may be out of reach.
            broken |= self.network.send(transmit.to, &transmit.datagram).is_err()
                && self.engine.relay() == Some(transmit.to);
        }
        if broken {
            self.rebind(now);
        }
        self.supervisor.call_stands(Standing {
            live: self.engine.live_session(now),
            group: self.engine.group_standing(),
        });
        if self.is_connected {
            let join = self.engine.join_id();
            while let Some(message) = self.engine.poll_group() {
                self.supervisor.request(CallRequest::Group(join, message));
            }
        }
        while let Some(event) = self.engine.poll_event() {
            self.take_engine_event(event);
        }
        self.end_after_texts(now);
    }

    fn take_engine_event(&mut self, event: Event) {
        let printed = match event {
            Event::ParticipantJoined(participant) => {
                CallEvent::ParticipantJoined(ParticipantShown::from(&participant))
            }
            Event::ParticipantLeft(participant, reason) => CallEvent::ParticipantLeft {
                username: participant.username.to_string(),
                sender: participant.sender,
                reason: leave_reason(reason),
            },
            Event::ParticipantChanged(participant) => CallEvent::ParticipantChanged {
                is_me: participant.sender == self.engine.me().sender,
                participant: ParticipantShown::from(&participant),
            },
            Event::Speaking(speaking) => CallEvent::Speaking {
                username: speaking.participant.username.to_string(),
                sender: speaking.participant.sender,
                speaking: speaking.speaking,
            },
            Event::Unreadable(participant, unreadable) => {
                self.supervisor.request(CallRequest::ReportFrames(
                    self.engine.conference(),
                    unreadable,
                ));
                CallEvent::FramesUnreadable {
                    username: participant.username.to_string(),
                    sender: participant.sender,
                    accounts: None,
                }
            }
            Event::Group(event) => return self.take_group_event(event),
            Event::Media(MediaEvent::Live) => {
                self.was_live = true;
                self.supervisor.request(CallRequest::NetworkBack);
                CallEvent::Media {
                    state: MediaState::Live,
                }
            }
            Event::Media(MediaEvent::Silent) => CallEvent::Media {
                state: MediaState::Silent,
            },
            Event::Media(MediaEvent::Gone) => CallEvent::Media {
                state: MediaState::Gone,
            },
            Event::Media(MediaEvent::Rebind) => return self.rebind(Instant::now()),
            Event::Media(MediaEvent::NeedGrant) => {
                return self.supervisor.request(CallRequest::Resume);
            }
            Event::Media(MediaEvent::Report {
                connection_id,
                alive,
            }) => {
                return self.supervisor.request(CallRequest::Report(MediaReport {
                    conference: self.engine.conference(),
                    join: self.engine.join_id(),
                    connection_id,
                    alive,
                }));
            }
        };
        self.output.print(&printed);
    }

    fn take_group_event(&mut self, event: GroupEvent) {
        match &event {
            GroupEvent::TextRefused(why) => self.texts.refused(*why),
            GroupEvent::Changed { .. } => self.look_who_is_here(),
            _ => {}
        }
        if let Some(event) = self.group_news.event(event) {
            self.output.print(&event);
        }
    }

    fn look_who_is_here(&mut self) {
        let now = Instant::now();
        let events = self.identities.look(now, self.engine.member());
        self.tell_identities(&events);
    }

    fn take_stored(&mut self, stored: Result<Pins, StoreError>) {
        let events = self.identities.take_stored(Instant::now(), stored);
        self.tell_identities(&events);
    }

    fn tell_identities(&mut self, events: &[CallEvent]) {
        self.engine.hold_sending(self.identities.holds());
        for event in events {
            self.output.print(event);
        }
    }

    /// Gives a text to the room.
    pub(super) fn send_text(&mut self, text: &str) {
        if let Err(error) = self.texts.send(&mut self.engine, text) {
            let message = format!("the text was not sent: {error}");
            self.output.print(&CallEvent::Warning { message });
        }
    }

    fn take_update(&mut self, update: Update) {
        let now = Instant::now();
        match update {
            Update::Event(ServerEvent::Room(conference, event)) => {
                self.engine.handle_room_event(conference, event, now);
            }
            Update::Event(ServerEvent::MediaMoved(join, grant))
                if join == self.engine.join_id() =>
            {
                self.engine.move_media(grant, now);
            }
            Update::Event(ServerEvent::ProbeMedia(join, connection_id)) => {
                self.engine.probe_media(join, connection_id, now);
            }
            Update::Event(ServerEvent::Removed(join, reason)) if join == self.engine.join_id() => {
                self.finish(Ending::removed(reason, &self.server));
            }
            Update::Event(ServerEvent::FramesUnreadable {
                conference,
                sender,
                accounts,
            }) if conference == self.engine.conference() => {
                let mut others = self.engine.others();
                if let Some(participant) = others.find(|other| other.sender == sender) {
                    self.output.print(&CallEvent::FramesUnreadable {
                        username: participant.username.to_string(),
                        sender,
                        accounts: Some(accounts),
                    });
                }
            }
            Update::Event(ServerEvent::OperatorNotice(notice)) => {
                let text = notice.to_string();
                self.output.print(&CallEvent::OperatorNotice { text });
            }
            Update::Event(ServerEvent::SessionEnded) => {
                self.finish(Ending::session_ended(&self.server));
            }
            // Of another device of the account, or dealt with before.
            Update::Event(
                ServerEvent::MediaMoved(..)
                | ServerEvent::Removed(..)
                | ServerEvent::GoingAway(_)
                | ServerEvent::FramesUnreadable { .. },
            ) => {}
            Update::Group(group) => self.engine.handle_group(now, group.message),
            Update::Lost(reason) => {
                self.is_connected = false;
                self.output.print(&CallEvent::Reconnecting { reason });
            }
            Update::Rejoined {
                joined,
                resumed,
                reconnected,
            } => {
                self.is_connected = true;
                self.engine.rejoined(&joined, now);
                if reconnected || !resumed {
                    self.output.print(&CallEvent::Reconnected { resumed });
                }
            }
            Update::Failed(error) => self.finish(Ending::Failed("failed", error.into())),
        }
    }

    /// Ends the call when standard output has no reader. Reports other write errors once.
    fn check_output(&mut self) {
        if self.output.is_gone() || self.audio.lost_reader() {
            self.finish(Ending::Wanted("output_closed", Exit::Output));
        }
        match self.output.refusal() {
            Some(error) if !std::mem::replace(&mut self.write_error_reported, true) => {
                print_on_stderr(&format!(
                    "confab: warning: {error}; events are delayed or lost"
                ))
            }
            Some(_) => {}
            None => self.write_error_reported = false,
        }
    }

    fn check_clocks(&mut self, now: Instant) {
        self.next_clock_check = now + CHECK_INTERVAL;
        if let Some(slept) = self.clocks.check(now, SystemTime::now()) {
            self.engine.resume_after_sleep(now);
            self.supervisor.call_stands(Standing {
                live: None,
                group: self.engine.group_standing(),
            });
            self.supervisor.request(CallRequest::Woke(slept));
        }
    }

    /// Opens new sockets and probes paths: the network has changed, or may have.
    fn rebind(&mut self, now: Instant) {
        if self.network.rebind(now) {
            self.supervisor.request(CallRequest::NetworkChanged);
            self.engine.route_changed(now);
        }
    }

    /// The first reason to end is the one that counts.
    pub(super) fn finish(&mut self, end: Ending) {
        self.end.get_or_insert(end);
    }

    async fn leave(mut self, end: Ending) -> Result<Exit, Failure> {
        let counts = self.counts(Instant::now());
        let lasted_ms = self.plan.start().elapsed().as_millis() as u64;
        tokio::join!(
            self.supervisor.leave(),
            self.audio.close_devices(),
            self.choices.finish()
        );
        // The relay reports the leave if control cannot be reached.
        self.engine.leave();
        while let Some(transmit) = self.engine.poll_transmit() {
            let _ = self.network.send(transmit.to, &transmit.datagram);
        }
        self.audio.finish_recordings(&self.plan).await;
        if self.audio.lost_reader() {
            self.finish(Ending::Wanted("output_closed", Exit::Output));
        }
        let (reason, result) = match (end, self.end.take()) {
            // The recorder has found at the end that standard output has no reader.
            (Ending::Wanted(reason, _), Some(Ending::Wanted(_, exit))) => (reason, Ok(exit)),
            (Ending::Wanted(reason, exit), _) => (reason, Ok(exit)),
            (Ending::Failed(reason, failure), _) => (reason, Err(failure)),
        };
        self.output.print(&CallEvent::Left {
            reason,
            lasted_ms,
            for_texts: self.texts.is_purpose(),
            counts,
        });
        match result {
            // Texts do not go by the relay.
            Ok(Exit::Done) if self.texts.is_purpose() => Ok(Exit::Done),
            Ok(Exit::Done) if !self.was_live && self.plan.start().elapsed() > MEDIA_DEADLINE => {
                Err(no_media(self.engine.relay()))
            }
            Ok(Exit::Done | Exit::Interrupted) if self.audio.recording_failed() => {
                let message = "a recording is not whole: what was printed when it stopped says why";
                Err(Failure::new(Exit::Audio, "recording", message))
            }
            result => result,
        }
    }
}
