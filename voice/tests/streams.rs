//! Tests of a stream, step by step: pauses, restarts, foreign bytes, clocks that jump.

mod common;

use std::time::{Duration, Instant};

use common::{Encoded, PERIOD, encode, speech};
use confab_voice::{FrameDuration, Listener, ReceivedFrame, SpeakerStream, level_dbov};

/// A stream and a clock that both move on by 20 ms with each frame.
struct Bench {
    stream: SpeakerStream,
    now: Instant,
    heard: Vec<f32>,
}

impl Bench {
    fn new() -> Self {
        Self {
            stream: SpeakerStream::new(Duration::from_millis(200)).expect("there is memory"),
            now: Instant::now(),
            heard: Vec::new(),
        }
    }

    fn send(&mut self, frames: &[Encoded]) {
        for frame in frames {
            self.stream
                .push(self.now, frame.timestamp, &frame.packet, frame.talkspurt);
            self.wait(2);
        }
    }

    fn wait(&mut self, periods: usize) {
        for _ in 0..periods {
            let mut out = [f32::NAN; PERIOD];
            self.stream.pull(self.now, &mut out);
            self.heard.extend_from_slice(&out);
            self.now += Duration::from_millis(10);
        }
    }

    fn level(&self, periods: usize) -> f32 {
        level_dbov(&self.heard[self.heard.len() - periods * PERIOD..])
    }
}

fn voice(seconds: f64, timestamp: u32) -> Vec<Encoded> {
    encode(&speech(seconds), FrameDuration::Ms20, timestamp)
}

#[test]
fn a_pause_is_not_counted_as_loss() {
    let mut bench = Bench::new();
    bench.send(&voice(1.0, 0));
    bench.wait(100);
    assert!(bench.level(60) > 120.0, "silence in the pause");
    // The sender's timestamps went on through the pause.
    bench.send(&voice(1.0, 2 * 48_000));
    let stats = bench.stream.stats();
    assert_eq!((stats.lost, stats.late, stats.restarts), (0, 0, 0));
    assert_eq!(stats.concealed_samples, 0);
    assert_eq!(stats.decoded_frames, 99 + 1, "{stats:?}");
    assert!(bench.level(20) < 40.0);
}

#[test]
fn a_pause_whose_first_frame_was_lost_is_not_hundreds_of_lost_frames() {
    let mut bench = Bench::new();
    bench.send(&voice(1.0, 0));
    bench.wait(1000);
    bench.send(&voice(1.0, 11 * 48_000)[1..]);
    let stats = bench.stream.stats();
    assert_eq!(stats.lost, 0);
    assert!(stats.concealed_frames <= 10);
    assert!(bench.level(20) < 40.0);
}

#[test]
fn a_speaker_who_is_announced_to_fall_silent_is_not_concealed() {
    let mut bench = Bench::new();
    let mut frames = voice(3.0, 0);
    bench.send(&frames[..50]);
    bench.stream.pause();
    bench.wait(100);
    assert!(bench.level(95) > 120.0);
    frames[100].talkspurt = false;
    bench.send(&frames[100..]);
    let stats = bench.stream.stats();
    assert_eq!((stats.lost, stats.concealed_samples), (0, 0), "{stats:?}");
    assert!(stats.decoded_frames >= 49 + 50, "{stats:?}");
    assert!(bench.level(20) < 40.0);
}

#[test]
fn a_sender_that_restarts_its_timestamps_is_heard_again() {
    for (timestamp, marked) in [(3_000_000_000, true), (3_000_000_000, false), (7, false)] {
        let mut bench = Bench::new();
        bench.send(&voice(5.0, 500_000));
        let mut again = voice(2.0, timestamp);
        again[0].talkspurt = marked;
        bench.send(&again);
        let stats = bench.stream.stats();
        assert_eq!(stats.restarts, 1, "{timestamp} {marked}");
        assert!(stats.decoded_frames > 340, "{stats:?}");
        assert!(stats.current_delay < Duration::from_millis(40));
        assert!(bench.level(20) < 40.0);
    }
}

#[test]
fn a_sender_whose_timestamps_step_back_a_little_is_heard_again() {
    let mut bench = Bench::new();
    bench.send(&voice(5.0, 0));
    let mut again = voice(3.0, 4 * 48_000);
    again[0].talkspurt = false;
    bench.send(&again);
    let stats = bench.stream.stats();
    assert!(stats.decoded_frames > 250 + 95, "{stats:?}");
    assert!(bench.level(20) < 40.0);
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    for jump in [0.05, 0.4, 1.5, 2.5, 3600.0] {
        let mut bench = Bench::new();
        bench.send(&voice(5.0, 0));
        bench.now += Duration::from_secs_f64(jump);
        let mut rest = voice(12.0, 5 * 48_000);
        rest[0].talkspurt = false;
        bench.send(&rest[..100]);
        let settled = bench.stream.stats();
        bench.send(&rest[100..]);
        let stats = bench.stream.stats();
        println!("{jump} s: {settled:?}");
        assert!(settled.concealed_frames <= 25, "{jump}: {settled:?}");
        assert_eq!(stats.concealed_frames, settled.concealed_frames, "{jump}");
        assert!(
            stats.current_delay < Duration::from_millis(40),
            "{jump}: {stats:?}"
        );
        assert!(bench.level(20) < 40.0);
    }
}

#[test]
fn an_output_that_stands_still_and_comes_back_does_not_keep_the_delay() {
    let mut bench = Bench::new();
    let frames = voice(10.0, 0);
    bench.send(&frames[..100]);
    for frame in &frames[100..200] {
        bench
            .stream
            .push(bench.now, frame.timestamp, &frame.packet, false);
        assert!(bench.stream.waiting() <= 64);
        bench.now += Duration::from_millis(20);
    }
    bench.send(&frames[200..350]);
    let stats = bench.stream.stats();
    assert!(stats.current_delay < Duration::from_millis(40), "{stats:?}");
    assert!(stats.skipped > 80);
}

#[test]
fn a_device_that_pulls_twice_at_a_time_is_served() {
    let mut bench = Bench::new();
    for frame in voice(5.0, 0) {
        bench
            .stream
            .push(bench.now, frame.timestamp, &frame.packet, frame.talkspurt);
        let mut out = [0.0; PERIOD];
        bench.stream.pull(bench.now, &mut out);
        bench.stream.pull(bench.now, &mut out);
        bench.now += Duration::from_millis(20);
    }
    let stats = bench.stream.stats();
    assert_eq!(stats.concealed_samples, 0, "{stats:?}");
    assert!(stats.current_delay < Duration::from_millis(40), "{stats:?}");
}

#[test]
fn a_packet_that_libopus_refuses_is_concealed_and_counted() {
    let mut bench = Bench::new();
    let mut frames = voice(2.0, 0);
    // Three frames whose lengths do not add up: broken framing.
    frames[50].packet = vec![0xff, 0x3f, 1, 2, 3];
    bench.send(&frames);
    let stats = bench.stream.stats();
    assert_eq!(stats.decode_errors, 1);
    assert_eq!(stats.concealed_frames, 1);
}

#[test]
fn long_loss_fades_to_silence_and_the_voice_fades_in_again() {
    let mut bench = Bench::new();
    let frames = voice(4.0, 0);
    bench.send(&frames[..100]);
    bench.wait(10);
    let lost_for_100_ms = bench.level(2);
    assert!(lost_for_100_ms < 70.0, "{lost_for_100_ms}");
    bench.wait(17);
    assert!(bench.level(4) > 120.0);
    let before = bench.heard.len();
    bench.wait(1);
    bench.send(&frames[114..]);
    let after = &bench.heard[before..];
    let steepest = |pcm: &[f32]| {
        pcm.windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max)
    };
    let usual = steepest(&bench.heard[24_000..72_000]);
    assert!(steepest(after) <= usual * 1.2, "no click");
    assert!(bench.level(20) < 40.0);
}

#[test]
fn a_listener_mixes_speakers_and_shows_each() {
    let mut listener = Listener::new(Duration::from_millis(200));
    let frames = voice(2.0, 0);
    let mut now = Instant::now();
    let mut heard = [0_usize; 2];
    let mut out = [0.0; PERIOD];
    for frame in &frames {
        for leaf in [4, 9] {
            let received = ReceivedFrame {
                timestamp: frame.timestamp,
                talkspurt: frame.talkspurt,
                packet: &frame.packet,
            };
            listener.push(now, leaf, received, &[]).unwrap();
        }
        for _ in 0..2 {
            listener.pull_each(now, &mut out, |leaf, pulled, pcm| {
                assert_eq!(pcm.len(), PERIOD);
                heard[usize::from(leaf == 9)] += pulled.voice;
            });
            assert!(out.iter().all(|sample| sample.abs() <= 1.0));
            now += Duration::from_millis(10);
        }
    }
    assert_eq!(heard[0], heard[1]);
    assert!(heard[0] > 90_000);
    listener.set_gain(4, 0.0).unwrap();
    listener.set_gain(9, 0.0).unwrap();
    listener.pull(now, &mut out);
    listener.remove(4);
    assert_eq!(
        listener.stats().map(|(leaf, _)| leaf).collect::<Vec<_>>(),
        [9]
    );
}
