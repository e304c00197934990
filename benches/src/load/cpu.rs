//! CPU time of a process, from the kernel's scheduler.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::time::Duration;

/// Processor time of the threads of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// Time in which they ran.
    pub used: Duration,
    /// Time in which they could have run, but had to wait for a core: what else ran there was in the way.
    pub waited: Duration,
}

/// Processor time of each thread of a process up to a moment, to the nanosecond (`/proc/PID/task/*/schedstat`).
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// By the thread's id: nanoseconds run, and waited.
    threads: BTreeMap<OsString, [u64; 2]>,
}

impl Usage {
    pub fn now(pid: u32) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // A thread may end between the listing and the look.
            if let Ok(line) = fs::read_to_string(task.path().join("schedstat")) {
                let mut times = line
                    .split_whitespace()
                    .map(|text| text.parse().unwrap_or(0));
                let times = [times.next().unwrap_or(0), times.next().unwrap_or(0)];
                threads.insert(task.file_name(), times);
            }
        }
        Ok(Self { threads })
    }

    /// Processor time after `before`. That of a thread that has ended meanwhile is not known.
    pub fn since(&self, before: &Self) -> Shares {
        let mut total = [0; 2];
        for (thread, times) in &self.threads {
            let before = before.threads.get(thread).copied().unwrap_or_default();
            for ((total, now), then) in total.iter_mut().zip(times).zip(before) {
                *total += now.saturating_sub(then);
            }
        }
        let [used, waited] = total.map(Duration::from_nanos);
        Shares { used, waited }
    }
}

/// Time that the threads of a process have run since `before`.
pub fn used_since(before: &Usage, pid: u32) -> io::Result<Duration> {
    Ok(Usage::now(pid)?.since(before).used)
}

/// Time that this thread has run, to the nanosecond.
pub fn used_by_thread() -> io::Result<Duration> {
    let line = fs::read_to_string("/proc/thread-self/schedstat")?;
    let used = line.split_whitespace().next();
    used.and_then(|text| text.parse().ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("no time in /proc/thread-self/schedstat"))
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_takes_nothing_from_the_others() {
        let usage = |threads: &[(&str, [u64; 2])]| {
            let threads = threads
                .iter()
                .map(|(id, times)| (OsString::from(id), *times));
            Usage {
                threads: threads.collect(),
            }
        };
        let before = usage(&[("1", [100, 10]), ("2", [5000, 500])]);
        let after = usage(&[("1", [130, 11]), ("3", [7, 2])]);
        let shares = after.since(&before);
        assert_eq!(shares.used, Duration::from_nanos(37));
        assert_eq!(shares.waited, Duration::from_nanos(3));
    }
}
