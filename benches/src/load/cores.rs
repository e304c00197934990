//! Cores for the relay and for the load: a load that shares the relay's cores measures the scheduler.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use confab_relay::io::allowed_cores;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Cores by their numbers, ascending, one at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores(Vec<usize>);

/// Where the relay and its load run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub relay: Cores,
    pub load: Cores,
}

impl Placement {
    /// The relay on the upper half of the cores on which this thread may run, the load on the lower; on a single core
    /// both.
    pub fn halves() -> io::Result<Self> {
        let all = Cores::available()?;
        let (load, relay) = all.0.split_at(all.0.len() / 2);
        if load.is_empty() {
            return Ok(Self {
                relay: all.clone(),
                load: all,
            });
        }
        Ok(Self {
            relay: Cores(relay.to_vec()),
            load: Cores(load.to_vec()),
        })
    }
}

impl Cores {
    /// The cores on which this thread may run.
    pub fn available() -> io::Result<Self> {
        Ok(Self(allowed_cores()?))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Keeps every thread of a process on these cores, and all threads that those start.
    pub fn pin_process(&self, pid: u32) -> io::Result<()> {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = task?.file_name();
            let thread = name.to_str().and_then(|name| name.parse().ok());
            match sched_setaffinity(thread.and_then(Pid::from_raw), &self.set()) {
                // A thread may end between the listing and the call.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Does something on these cores, such as starting a process, which stays there.
    pub fn while_here<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, &self.set())?;
        let done = work();
        sched_setaffinity(None, &before)?;
        Ok(done)
    }

    fn set(&self) -> CpuSet {
        let mut set = CpuSet::new();
        for core in &self.0 {
            set.set(*core);
        }
        set
    }
}

/// Text that names no cores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cores look like 0,2-3: numbers below {max}, ranges with the smaller end first", max = CpuSet::MAX_CPU)]
pub struct BadCores;

impl FromStr for Cores {
    type Err = BadCores;

    fn from_str(text: &str) -> Result<Self, BadCores> {
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| BadCores)?;
            let last: usize = last.trim().parse().map_err(|_| BadCores)?;
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(BadCores);
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_numbers_and_ranges() {
        let cores: Cores = "3,0-1,1".parse().expect("cores");
        assert_eq!(cores.to_string(), "0,1,3");
        assert_eq!(cores.count(), 3);
        for bad in ["", "a", "2-1", "0,", "0-999999", "-1"] {
            assert_eq!(bad.parse::<Cores>(), Err(BadCores), "{bad:?}");
        }
    }

    #[test]
    fn a_temporary_pin_ends() {
        let before = Cores::available().expect("cores");
        let first: Cores = before.0[0].to_string().parse().expect("a core");
        let meanwhile = first.while_here(Cores::available).expect("may be pinned");
        assert_eq!(meanwhile.expect("cores"), first);
        assert_eq!(Cores::available().expect("cores"), before);
    }
}
