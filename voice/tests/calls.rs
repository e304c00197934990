//! Whole calls: encoder, network, stream.

mod common;

use common::{Call, Encoded, Network, best_correlation, encode, speech, speech_call, tone};
use confab_voice::{Decoder, FrameDuration};

#[test]
fn a_calm_network_conceals_nothing_and_holds_less_than_a_frame() {
    let call = speech_call(10.0, &Network::default());
    assert_eq!(call.stats.concealed_samples, 0);
    assert_eq!(call.stats.lost, 0);
    assert_eq!(call.stats.late, 0);
    // 20 ms of framing and 10 ms of network are not the buffer's.
    let (p50, p95) = (
        call.delay_quantile(2.0, 10.0, 0.5) - 30.0,
        call.delay_quantile(2.0, 10.0, 0.95) - 30.0,
    );
    println!("calm: buffer p50 {p50:.1} ms, p95 {p95:.1} ms");
    assert!(p95 < 20.0, "{p95} ms");
}

#[test]
fn the_received_audio_matches_the_sent_audio() {
    let said = tone(8.0);
    let frames = encode(&said, FrameDuration::Ms20, 0);
    let call = Call::run(&frames, FrameDuration::Ms20, &Network::default());
    let (correlation, lag) =
        best_correlation(&said[4 * 48_000..6 * 48_000], &call.pcm[4 * 48_000..], 4800);
    println!(
        "correlation {correlation:.4} at {:.1} ms",
        lag as f64 / 48.0
    );
    assert!(correlation > 0.95, "{correlation}");

    // Past the codec, nothing is changed at all.
    let mut decoder = Decoder::new().unwrap();
    let mut decoded = vec![0.0; said.len()];
    for (frame, out) in frames.iter().zip(decoded.chunks_exact_mut(960)) {
        decoder.decode(&frame.packet, out).unwrap();
    }
    let from = 5 * 48_000;
    let exact = (0..4800).any(|lag| call.pcm[from + lag..][..48_000] == decoded[from..][..48_000]);
    assert!(exact);
}

#[test]
fn the_timestamp_of_a_pull_is_that_of_its_first_sample() {
    let frames = encode(&tone(4.0), FrameDuration::Ms20, 0);
    let call = Call::run(&frames, FrameDuration::Ms20, &Network::default());
    let mut decoder = Decoder::new().unwrap();
    let mut decoded = vec![0.0; frames.len() * 960];
    for (frame, out) in frames.iter().zip(decoded.chunks_exact_mut(960)) {
        decoder.decode(&frame.packet, out).unwrap();
    }
    for (heard, pcm) in call.heard.iter().zip(call.pcm.chunks(240)).skip(400) {
        let at = heard.pulled.timestamp.unwrap() as usize;
        assert!(*pcm == decoded[at..][..240], "{at}");
    }
}

#[test]
fn timestamps_wrap_without_a_trace() {
    let heard = |first| {
        let frames = encode(&tone(3.0), FrameDuration::Ms20, first);
        Call::run(&frames, FrameDuration::Ms20, &Network::default()).pcm
    };
    assert_eq!(heard(0), heard(0xffff_0000));
    assert_eq!(heard(0), heard(0x7fff_ff00));
}

#[test]
fn each_frame_duration_plays_without_a_gap() {
    use FrameDuration::{Ms10, Ms20, Ms40, Ms60};
    for frame in [Ms10, Ms20, Ms40, Ms60] {
        let frames = encode(&speech(5.0), frame, 0);
        let call = Call::run(&frames, frame, &Network::default());
        assert_eq!(call.stats.concealed_samples, 0, "{frame:?}");
        let held = call.delay_quantile(2.0, 5.0, 0.95) - 10.0 - frame.samples() as f64 / 48.0;
        assert!(held < 20.0, "{frame:?}: {held} ms");
    }
}

#[test]
fn a_tenth_of_the_frames_lost_is_a_tenth_concealed() {
    for (to_bad, to_good) in [(0.1, 0.9), (0.033, 0.3)] {
        let network = Network {
            loss: Some((to_bad, to_good)),
            ..Network::default()
        };
        let call = speech_call(30.0, &network);
        let gone = 1500 - call.stats.received;
        println!("loss: {gone} of 1500, {:?}", call.stats);
        assert!((75..225).contains(&gone));
        assert!(call.stats.lost.abs_diff(gone) <= 2);
        assert!(call.stats.concealed_frames.abs_diff(gone) <= 2);
        assert!(call.delay_quantile(2.0, 30.0, 0.95) - 30.0 < 45.0);
    }
}

#[test]
fn redundancy_fills_most_holes() {
    let network = Network {
        loss: Some((0.1, 0.9)),
        redundancy: Some(1),
        ..Network::default()
    };
    let call = speech_call(30.0, &network);
    println!("redundancy: {:?}", call.stats);
    assert!(call.stats.recovered > 100);
    assert!(call.stats.concealed_frames < 35);
    assert!(call.delay_quantile(2.0, 30.0, 0.95) - 30.0 < 50.0);
}

#[test]
fn delay_follows_jitter_up_at_once_and_down_within_ten_seconds() {
    let network = Network {
        jitter: 60.0,
        jitter_from_to: (5000.0, 20_000.0),
        ..Network::default()
    };
    let call = speech_call(40.0, &network);
    let underruns = call.concealed(7.0, 20.0);
    let (calm, jittery, after) = (
        call.delay_quantile(3.0, 5.0, 0.5) - 30.0,
        call.delay_quantile(8.0, 20.0, 0.5) - 30.0,
        call.delay_quantile(30.0, 40.0, 0.5) - 30.0,
    );
    println!(
        "jitter: {calm:.1} → {jittery:.1} → {after:.1} ms, {underruns} frames concealed of 650, {:?}",
        call.stats
    );
    assert!(call.concealed(5.0, 7.0) <= 12.0);
    assert!(underruns <= 6.5, "one in a hundred: {underruns}");
    assert!((45.0..85.0).contains(&jittery));
    assert!(after < 20.0);
}

#[test]
fn latency_after_a_stall_drains() {
    let network = Network {
        stall: Some((5000.0, 7000.0)),
        ..Network::default()
    };
    let call = speech_call(15.0, &network);
    let buffer = |from| call.delay_quantile(from, from + 0.5, 1.0) - 30.0;
    println!("stall: {:?}", [7.0, 7.5, 8.0, 8.5, 9.0, 10.0].map(buffer));
    assert!(buffer(7.5) < 100.0, "half a second after the stall");
    assert!(buffer(9.0) <= 20.0, "two seconds after the stall");
    // Concealment gave up after 200 ms.
    assert!(call.stats.concealed_samples <= 48 * 220);
    assert!(call.pcm[6 * 48_000..48_000 * 7].iter().all(|&s| s == 0.0));
}

#[test]
fn a_short_stall_is_played_faster_and_not_skipped() {
    let network = Network {
        stall: Some((5000.0, 5200.0)),
        ..Network::default()
    };
    let call = speech_call(15.0, &network);
    println!("short stall: {:?}", call.stats);
    assert_eq!(call.stats.skipped, 0);
    assert!(call.delay_quantile(7.0, 7.5, 1.0) - 30.0 < 60.0);
    assert!(call.delay_quantile(14.5, 15.0, 1.0) - 30.0 <= 20.0);
}

#[test]
fn a_fast_sender_does_not_add_up() {
    drift(200.0, 15);
}

#[test]
fn a_slow_sender_does_not_run_dry() {
    drift(-200.0, 15);
}

#[test]
#[ignore = "an hour of calls: `make test-audio` runs it"]
fn an_hour_of_a_fast_or_a_slow_sender_neither_adds_up_nor_runs_dry() {
    drift(200.0, 60);
    drift(-200.0, 60);
}

/// The same speech until there are so many frames.
fn again_and_again(said: &[f32], frame: FrameDuration, count: usize) -> Vec<Encoded> {
    let voice = encode(said, frame, 0);
    let mut frames: Vec<_> = voice.iter().cycle().take(count).cloned().collect();
    for (n, one) in frames.iter_mut().enumerate() {
        one.timestamp = (n * frame.samples()) as u32;
        one.talkspurt = n == 0;
    }
    frames
}

fn drift(drift_ppm: f64, minutes: usize) {
    // The same six seconds again and again.
    let frames = again_and_again(&speech(6.0), FrameDuration::Ms60, minutes * 1000);
    let last = minutes as f64 * 60.0 - 70.0;
    let network = Network {
        drift_ppm,
        jitter: 3.0,
        ..Network::default()
    };
    let call = Call::run(&frames, FrameDuration::Ms60, &network);
    // The fastest packet arrives 70 ms after its first sample was spoken: 60 ms of framing, 10 ms of network.
    let held = |from: f64| call.delay_quantile(from, from + 60.0, 0.95) - 70.0;
    println!(
        "drift {drift_ppm}: {:.1} → {:.1} ms, {:?}",
        held(60.0),
        held(last),
        call.stats
    );
    assert!(held(60.0) < 22.0);
    assert!(held(last) < 22.0);
    assert!(call.stats.concealed_frames <= 3);
}

#[test]
fn devices_1500_ppm_apart_neither_add_delay_nor_take_any() {
    devices_apart(12);
}

#[test]
#[ignore = "an hour of calls: `make test-audio` runs it"]
fn an_hour_of_devices_1500_ppm_apart_neither_adds_delay_nor_takes_any() {
    devices_apart(60);
}

fn devices_apart(minutes: usize) {
    let end = minutes as f64 * 60.0;
    for drift_ppm in [1500.0, -1500.0] {
        let said = speech(6.0);
        let frames = again_and_again(&said, FrameDuration::Ms20, minutes * 3000);
        let network = Network {
            drift_ppm,
            ..Network::default()
        };
        let call = Call::run(&frames, FrameDuration::Ms20, &network);
        let delay = |q: f64| call.delay_quantile(30.0, end - 10.0, q);
        let likeness = |from: f64| {
            let pieces = call.between(from, from + 6.0).step_by(17);
            let likenesses: Vec<f64> = pieces
                .filter_map(|heard| {
                    let at = heard.pulled.timestamp? as usize % (6 * 48_000);
                    let said = said.get(at..at + 2400)?;
                    let from = (heard.at * 48_000.0) as usize;
                    let heard = call.pcm.get(from..from + 2400 + 960)?;
                    Some(best_correlation(said, heard, 960).0)
                })
                .collect();
            likenesses.iter().sum::<f64>() / likenesses.len() as f64
        };
        let (first, last) = (likeness(60.0), likeness(end - 20.0));
        println!(
            "{drift_ppm} ppm: delay {:.1} to {:.1} ms, likeness {first:.3} and {last:.3}, {:?}",
            delay(0.0),
            delay(1.0),
            call.stats
        );
        assert!(delay(1.0) - delay(0.0) <= 5.0);
        assert!(first > 0.9 && last > first - 0.02);
        assert_eq!(call.stats.concealed_samples, 0);
    }
}

#[test]
fn duplicates_and_reordering_are_heard_as_if_there_were_none() {
    let network = Network {
        jitter: 45.0,
        duplicates: 0.3,
        ..Network::default()
    };
    let call = speech_call(20.0, &network);
    println!("duplicates: {:?}", call.stats);
    assert!(call.stats.duplicate > 200);
    assert!(call.concealed(3.0, 20.0) <= 4.0);
}
