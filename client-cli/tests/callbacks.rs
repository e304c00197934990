//! The callbacks of a sound card's thread allocate nothing, whatever the call does meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::time::{Duration, Instant};

use confab::audio::device::fault::Fault;
use confab::audio::device::pipe;
use confab::audio::device::wakeup::wakeup;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PERIOD: Duration = Duration::from_millis(10);

/// Without the harness of tests, whose own thread allocates at the same time.
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .unwrap()
        .block_on(no_callback_allocates_whether_the_call_reads_or_stands_still());
}

async fn no_callback_allocates_whether_the_call_reads_or_stands_still() {
    let (wake_sender, wake_receiver) = wakeup().unwrap();
    let (mut microphone, mut heard) = pipe::capture(48_000, 8, wake_sender);
    let (mut speakers, mut played) = pipe::playback(44_100, 2);
    let (shared, start) = (microphone.shared(), Instant::now());
    let mut blocks = Vec::with_capacity(480 * 4000);
    let input: Vec<i16> = (0..480 * 8).map(|n| (n % 977) as i16 * 30).collect();
    let mut output = vec![0_u8; 441 * 2];

    let region = Region::new(ALLOCATOR);
    for n in 0..4000 {
        if n == 10 {
            heard.listen();
        }
        // The device stands still for 4 s once, and the call for 20 s.
        let gap = if n > 3500 { 400 } else { 0 };
        let at = start + PERIOD * (n + gap);
        microphone.write_captured(at, PERIOD, &input, |s| f32::from(s) / 32_768.0);
        speakers.play(at, &mut output, |s| ((s + 1.0) * 127.0) as u8);
        shared.faults.add(Fault::Xrun);
        if !(1000..3000).contains(&n) {
            while heard.take(&mut blocks).is_some() {}
            while played.mark().is_some() {}
            played.push(&[0.25; 441]);
            played.skip(u64::from(n % 7));
        }
    }
    let change = region.change();
    assert_eq!(change.allocations, 0, "{change:?}");
    assert_eq!(change.deallocations, 0, "{change:?}");
    assert_eq!(change.reallocations, 0, "{change:?}");
    assert!(blocks.len() > 480 * 1000, "it heard something");
    assert!(output[0] > 150, "it played something");
    assert_eq!(shared.faults.get(Fault::Xrun), 4000);
    wake_receiver.woken().await;
}
