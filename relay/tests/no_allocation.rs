//! A forwarded packet allocates nothing.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lab;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use confab_protocol::cluster::{Action, CommandOutcome, Fence};
use confab_relay::core::{Outgoing, SendStatus};
use lab::{Incoming, Lab, Send, Setup, granted};

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

impl Send for Sink {
    fn send(&mut self, chunk: &[Outgoing<'_>]) -> SendStatus {
        self.datagrams += chunk.len();
        SendStatus::All
    }
}

/// Rounds of all workers until what one has received is sent by all.
fn rounds(lab: &mut Lab, sink: &mut Sink) {
    for _ in 0..3 {
        for worker in &mut lab.workers {
            while worker.round(lab.now, sink) && worker.worker.has_output() {}
        }
    }
}

/// Allocations of 90 rounds, after 10 to warm up, in which 10 of 200 members speak.
fn allocations(setup: Setup) -> u64 {
    let mut lab = Lab::with(setup);
    let mut clients: Vec<_> = (0..200).map(|sender| lab.join(1, sender)).collect();
    let mut sink = Sink::default();
    let mut allocated = 0;
    for round in 0..100 {
        lab.pass(Duration::from_millis(20));
        let step = clients.len() / 10;
        let datagrams: Vec<_> = clients
            .iter_mut()
            .step_by(step)
            .map(|client| {
                let incoming = Incoming {
                    from: client.address,
                    bytes: client.audio("a voice frame of the usual length, more or less"),
                    waited: Duration::ZERO,
                };
                (usize::from(client.id.worker()), incoming)
            })
            .collect();
        // Workers take over new leaves while they forward.
        let leaves = clients
            .iter()
            .map(|client| (client.sender, granted(0, client.sender.into(), 0)));
        let set = Action::SetLeaves(leaves.collect());
        let result = lab.execute_as(Fence::default(), 1, set);
        assert_eq!(result.outcome, CommandOutcome::Obeyed);
        let before = ALLOCATIONS.with(Cell::get);
        // Together, so that they are bundled, and then alone, so that one goes out in place.
        for (at, (worker, incoming)) in datagrams.into_iter().enumerate() {
            lab.hand_over_late(worker, incoming);
            if at >= 5 {
                rounds(&mut lab, &mut sink);
            }
        }
        if round >= 10 {
            allocated += ALLOCATIONS.with(Cell::get) - before;
        }
    }
    assert!(sink.datagrams > 10_000);
    allocated
}

#[test]
fn forwarding_allocates_nothing_once_it_is_under_way() {
    assert_eq!(allocations(Setup::default()), 0);
}

#[test]
fn forwarding_allocates_nothing_in_a_room_larger_than_a_worker() {
    let mut setup = Setup {
        workers: 3,
        ..Setup::default()
    };
    setup.capacity.share = 70;
    assert_eq!(allocations(setup), 0);
}
