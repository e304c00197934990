//! A voice over networks that lose, from engine to engine through the relay's core, on virtual time.

use std::time::Duration;

use confab_benches::clarity::call::{self, Heard, Setup};
use confab_benches::clarity::network::{Delay, Loss};
use confab_benches::voice;

/// Twelve seconds of a voice over this network.
fn hear(loss: Loss, delay: Delay) -> Heard {
    let setup = Setup {
        loss,
        delay,
        seed: 1,
        ..Setup::calm()
    };
    call::speak(&voice::voice(1, 12.0), &setup)
}

/// The delays that the jitter buffer held in the last six seconds, in milliseconds.
fn delays(heard: &Heard) -> Vec<f32> {
    let late = heard
        .delay_ms
        .iter()
        .filter(|(at, _)| *at >= Duration::from_secs(6));
    late.map(|(_, delay)| *delay).collect()
}

#[test]
fn without_loss_nothing_is_protected_and_nothing_waits() {
    let heard = hear(Loss::None, Delay::Steady);
    assert_eq!((heard.lost, heard.recovered, heard.concealed), (0, 0, 0));
    let sizes = heard.sent.iter().map(|(_, payload, _)| payload);
    assert_eq!(sizes.clone().min(), sizes.max());
    assert!(delays(&heard).iter().all(|delay| *delay <= 30.0));
}

#[test]
fn most_of_what_is_lost_comes_back_once_the_sender_has_heard_of_it() {
    let heard = hear(Loss::Random(0.1), Delay::Steady);
    let missing = heard.sent.len() as u64 - heard.frames_received;
    assert!(missing > 30);
    assert!(
        heard.recovered * 10 > missing * 7,
        "{} of {missing}",
        heard.recovered
    );
    // The bits of the voice, its blocks and their headers.
    let bytes: usize = heard.sent.iter().map(|(_, payload, _)| payload).sum();
    let kbps = bytes as f64 * 0.4 / heard.sent.len() as f64;
    assert!(kbps < 24.0 + 2.4 + 2.4, "{kbps}");
    assert!(delays(&heard).iter().all(|delay| *delay <= 240.0));
}

#[test]
fn a_stall_of_half_a_second_is_over_three_seconds_later() {
    let (at, length) = (Duration::from_secs(4), Duration::from_millis(500));
    let heard = hear(Loss::None, Delay::Stall { at, length });
    let drained = at + length + Duration::from_secs(3);
    let after = heard.delay_ms.iter().filter(|(at, _)| *at >= drained);
    let longest = after.map(|(_, delay)| *delay).fold(0.0, f32::max);
    assert!(longest <= 40.0, "{longest} ms");
}
