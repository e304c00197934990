//! A forwarded packet allocates nothing.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use confab_relay::core::{Outgoing, SendStatus, Transport};
use lab::Lab;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts and forgets.
#[derive(Default)]
struct Sink {
    datagrams: usize,
}

impl Transport for Sink {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.datagrams += chunk.len();
        SendStatus::All
    }
}

#[test]
fn forwarding_allocates_nothing_once_it_is_under_way() {
    let mut lab = Lab::new();
    let mut clients: Vec<_> = (0..200).map(|sender| lab.join(1, sender)).collect();
    let mut sink = Sink::default();
    let mut allocated = 0;
    for round in 0..100 {
        lab.pass(Duration::from_millis(20));
        let datagrams: Vec<_> = clients[..10]
            .iter_mut()
            .map(|client| {
                (
                    client.address,
                    client.audio("a voice frame of the usual length, more or less"),
                )
            })
            .collect();
        let before = ALLOCATIONS.with(Cell::get);
        // Together, so that they are bundled, and then alone, so that one goes out in place.
        for (at, (from, bytes)) in datagrams.iter().enumerate() {
            let mut packet = lab.worker.packets().take().unwrap();
            packet.len = bytes.len();
            packet.data[..bytes.len()].copy_from_slice(bytes);
            packet.from = *from;
            lab.worker.receive(lab.now, packet);
            if at >= 5 {
                lab.worker.end_batch(lab.now);
            }
        }
        while lab.worker.has_output() {
            lab.worker.transmit(lab.now, &mut sink);
        }
        lab.worker.tick(lab.now);
        if round >= 10 {
            allocated += ALLOCATIONS.with(Cell::get) - before;
        }
    }
    assert!(sink.datagrams > 10_000);
    assert_eq!(allocated, 0);
}
