mod attackers;
mod noise;
mod speech;

use confab_protocol::media::AudioLevel;

use super::*;

const FRAME: Duration = Duration::from_millis(20);

/// A room on virtual time, which watches that no place flutters.
struct Room {
    loudest: Loudest,
    limit: usize,
    now: Instant,
    start: Instant,
    /// Who is in each place, and since when.
    seen: Vec<(SessionSlot, Instant)>,
    changes: usize,
}

/// One session.
struct Device {
    session: SessionSlot,
    account: u32,
    loudness: Loudness,
    sent: Option<Instant>,
}

impl Room {
    fn new(limit: usize) -> Self {
        let now = Instant::now();
        Self {
            loudest: Loudest::default(),
            limit,
            now,
            start: now,
            seen: Vec::new(),
            changes: 0,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn send(&mut self, device: &mut Device, level: AudioLevel) -> Admission {
        if let Some(sent) = device.sent.replace(self.now) {
            device
                .loudness
                .advance((self.now - sent).as_micros() as u32);
        }
        let speaker = Speaker {
            session: device.session,
            sender: device.session.slot as u16,
            account: device.account,
            claim: device.loudness.update(level),
        };
        let admission = self.loudest.admit(self.now, self.limit, &speaker);
        self.watch();
        admission
    }

    /// A place that changed has been as it was for the hold time at least.
    fn watch(&mut self) {
        let places = self.loudest.places.iter().map(|place| place.session);
        for (at, session) in places.enumerate() {
            match self.seen.get_mut(at) {
                None => self.seen.push((session, self.now)),
                Some((before, _)) if *before == session => {}
                Some(place) => {
                    let held = self.now - place.1;
                    assert!(held >= MIN_HOLD, "a place changed after {held:?}");
                    *place = (session, self.now);
                    self.changes += 1;
                }
            }
        }
    }

    /// Has each of `speakers` send a frame every 20 ms at its level; says how many of each were forwarded and who had to
    /// stop.
    fn speak(&mut self, speakers: &mut [(Device, f32)], frames: usize) -> (Vec<usize>, Vec<u16>) {
        let mut forwarded = vec![0; speakers.len()];
        let mut stopped = Vec::new();
        for _ in 0..frames {
            self.pass(FRAME);
            for (n, (device, level)) in speakers.iter_mut().enumerate() {
                match self.send(device, voice(*level)) {
                    Admission::Forward => forwarded[n] += 1,
                    Admission::InsteadOf { sender, .. } => {
                        forwarded[n] += 1;
                        stopped.push(sender);
                    }
                    Admission::Refuse => {}
                }
            }
        }
        (forwarded, stopped)
    }
}

impl Device {
    fn new(slot: u32, account: u32) -> Self {
        Self {
            session: SessionSlot { worker: 0, slot },
            account,
            loudness: Loudness::default(),
            sent: None,
        }
    }
}

fn voice(minus_dbov: f32) -> AudioLevel {
    AudioLevel::new(true, minus_dbov)
}

/// Speakers of an account each.
fn speakers(levels: &[f32]) -> Vec<(Device, f32)> {
    let numbered = levels.iter().zip(0..);
    numbered
        .map(|(level, n)| (Device::new(n, n), *level))
        .collect()
}

#[test]
fn the_loudest_are_forwarded_and_the_rest_is_not() {
    let mut room = Room::new(2);
    let mut all = speakers(&[66.0, 60.0, 30.0, 24.0, 72.0]);
    room.speak(&mut all, 100);
    let (forwarded, _) = room.speak(&mut all, 100);
    assert_eq!(forwarded, [0, 0, 100, 100, 0]);
}

#[test]
fn all_speakers_are_forwarded_while_there_are_places() {
    let mut room = Room::new(3);
    let mut all = speakers(&[60.0, 120.0, 30.0]);
    let (forwarded, stopped) = room.speak(&mut all, 100);
    assert_eq!(forwarded, [100, 100, 100]);
    assert!(stopped.is_empty());
}

#[test]
fn two_speakers_of_similar_loudness_do_not_alternate() {
    let mut room = Room::new(1);
    let mut all = speakers(&[48.0, 48.0]);
    for round in 0..100 {
        all[0].1 = if round % 2 == 0 { 48.0 } else { 54.0 };
        all[1].1 = if round % 2 == 0 { 54.0 } else { 48.0 };
        room.speak(&mut all, 5);
    }
    assert_eq!(room.changes, 0);
}

#[test]
fn a_pause_may_be_half_as_long_as_the_speech_before_it() {
    let mut room = Room::new(1);
    let mut all = speakers(&[24.0, 60.0]);
    room.speak(&mut all[..1], 150);
    room.pass(Duration::from_millis(1400));
    let (ann, ben) = all.split_at_mut(1);
    let (ann, ben) = (&mut ann[0].0, &mut ben[0].0);
    assert_eq!(room.send(ben, voice(60.0)), Admission::Refuse, "a breath");
    room.pass(Duration::from_millis(100));
    assert_eq!(room.send(ben, voice(60.0)), Admission::Forward);
    assert_eq!(room.send(ann, voice(24.0)), Admission::Refuse, "so soon");
}

#[test]
fn a_steady_sound_loses_its_place_to_speech_up_to_twelve_db_quieter() {
    for (speech, wins) in [(36.0, true), (54.0, false)] {
        let mut room = Room::new(1);
        let mut hum = Device::new(0, 0);
        let mut talker = (Device::new(1, 1), speech::Speech::new(1, speech));
        let mut heard = 0;
        for at in 0..50 * 60 {
            room.pass(FRAME);
            room.send(&mut hum, voice(12.0));
            let level = talker.1.next().level;
            let admission = level.map(|level| room.send(&mut talker.0, level));
            let is_heard = admission.is_some_and(|admission| admission != Admission::Refuse);
            heard += usize::from(is_heard && at > 50 * 15);
        }
        assert_eq!(heard > 50 * 30, wins, "{heard} frames at -{speech} dBov");
    }
}

#[test]
fn nothing_ages_while_there_is_room() {
    let mut room = Room::new(2);
    let mut all = speakers(&[0.0, 36.0]);
    let (forwarded, _) = room.speak(&mut all, 50 * 600);
    assert_eq!(forwarded, [50 * 600; 2]);
    let rank = |room: &Room| room.loudest.places[0].claim.rank(Duration::ZERO);
    assert_eq!(
        rank(&room),
        91.0,
        "age counts from when more speak than may"
    );
}

#[test]
fn an_accounts_second_device_gives_way_first_however_loud_it_is() {
    let mut room = Room::new(3);
    let mut all: Vec<_> = [(0, 0, 36.0), (1, 1, 0.0), (2, 1, 0.0), (3, 2, 60.0)]
        .map(|(slot, account, level)| (Device::new(slot, account), level))
        .into();
    room.speak(&mut all[..3], 50);
    let (forwarded, stopped) = room.speak(&mut all, 100);
    assert_eq!(forwarded[0], 100);
    assert_eq!(forwarded[3], 100);
    assert_eq!(forwarded[1] + forwarded[2], 101, "both for one frame");
    assert_eq!(stopped.len(), 1);
}

#[test]
fn a_frame_without_a_voice_takes_no_speakers_place() {
    let mut room = Room::new(1);
    let mut all = speakers(&[36.0, 0.0]);
    room.speak(&mut all[..1], 50);
    let (_, quiet) = all.split_at_mut(1);
    let quiet = &mut quiet[0].0;
    let silence = AudioLevel::new(false, 0.0);
    for _ in 0..100 {
        room.pass(FRAME);
        assert_eq!(room.send(quiet, silence), Admission::Refuse);
    }
    room.pass(STOPPED);
    assert_eq!(room.send(quiet, silence), Admission::Forward);
    let ann = &mut all[0].0;
    room.pass(MIN_HOLD);
    assert!(matches!(
        room.send(ann, voice(60.0)),
        Admission::InsteadOf { .. }
    ));
}

#[test]
fn an_ended_session_loses_its_place() {
    let mut room = Room::new(1);
    let mut all = speakers(&[24.0, 127.0]);
    room.speak(&mut all[..1], 50);
    room.loudest.forget(all[0].0.session);
    assert_eq!(room.send(&mut all[1].0, voice(127.0)), Admission::Forward);
}
