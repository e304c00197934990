//! Every order of events between a worker that goes to sleep and those who put something down for it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use loom::sync::atomic::AtomicUsize;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// What the wake_flag is made of, under loom's eyes.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
}

#[path = "../src/io/wake_flag.rs"]
#[allow(unreachable_pub, reason = "it is a file of the library")]
mod wake_flag;

use wake_flag::WakeFlag;

/// The kernel's part: an event that is remembered until somebody waits for it.
#[derive(Default)]
struct Event {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn set(&self) {
        *self.is_set.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut is_set = self.is_set.lock().unwrap();
        while !*is_set {
            is_set = self.changed.wait(is_set).unwrap();
        }
        *is_set = false;
    }
}

#[derive(Default)]
struct Worker {
    wake_flag: WakeFlag,
    event: Event,
    /// Stands for the rings and mailboxes: locked for a moment, never waited for.
    ring: Mutex<VecDeque<u32>>,
}

impl Worker {
    fn hand_over(&self, what: u32) {
        self.ring.lock().unwrap().push_back(what);
        if self.wake_flag.notify() {
            self.event.set();
        }
    }
}

#[test]
fn a_worker_that_waits_is_woken_for_all_queued_work() {
    loom::model(|| {
        let worker = Arc::new(Worker::default());
        let others: Vec<_> = (0..2)
            .map(|n| {
                let worker = Arc::clone(&worker);
                thread::spawn(move || worker.hand_over(n))
            })
            .collect();
        let mut taken = 0;
        while taken < 2 {
            // The worker's round: to sleep unless somebody rang, then look. A wake-up that is lost would leave this
            // waiting for ever, which loom reports.
            if worker.wake_flag.begin_wait() {
                worker.event.wait();
            }
            worker.wake_flag.acknowledge();
            taken += worker.ring.lock().unwrap().drain(..).count();
        }
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn work_queued_before_a_notification_is_visible_after_it_is_acknowledged() {
    loom::model(|| {
        let wake_flag = Arc::new(WakeFlag::default());
        let put_down = Arc::new(AtomicUsize::new(0));
        let (bell, put) = (Arc::clone(&wake_flag), Arc::clone(&put_down));
        let other = thread::spawn(move || {
            // No order of its own: only the wake_flag's.
            put.store(1, sync::Ordering::Relaxed);
            bell.notify();
        });
        let has_rung = !wake_flag.begin_wait();
        wake_flag.acknowledge();
        if has_rung {
            assert_eq!(put_down.load(sync::Ordering::Relaxed), 1);
        }
        other.join().unwrap();
    });
}
