//! What a process has used of its cores, from the kernel's scheduler.

use std::fs;
use std::io;
use std::time::Duration;

/// What all threads of a process had of the cores so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shares {
    /// Time in which they ran.
    pub used: Duration,
    /// Time in which they could have run, but had to wait for a core: what else ran there was in the way.
    pub waited: Duration,
}

/// Time that all threads of a process have run, to the nanosecond (`/proc/PID/task/*/schedstat`).
pub fn used(pid: u32) -> io::Result<Duration> {
    Ok(shares(pid)?.used)
}

/// Time that this thread has run, to the nanosecond.
pub fn used_by_thread() -> io::Result<Duration> {
    let line = fs::read_to_string("/proc/thread-self/schedstat")?;
    let used = line.split_whitespace().next();
    used.and_then(|text| text.parse().ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("no time in /proc/thread-self/schedstat"))
}

/// Time that all threads of a process have run and waited, to the nanosecond (`/proc/PID/task/*/schedstat`).
pub fn shares(pid: u32) -> io::Result<Shares> {
    let mut total = [0; 2];
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the look.
        if let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) {
            for (total, text) in total.iter_mut().zip(line.split_whitespace()) {
                *total += text.parse::<u64>().unwrap_or(0);
            }
        }
    }
    let [used, waited] = total.map(Duration::from_nanos);
    Ok(Shares { used, waited })
}

/// Resident memory of a process, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc/PID/status"))
}
