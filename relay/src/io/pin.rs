//! The core that a worker runs on.

use std::io;

/// The assignment of workers to cores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pinning {
    /// Each on a core of its own, if there are as many workers as the process may use cores; else anywhere.
    Auto,
    /// Wherever the system puts them.
    None,
    /// Worker n on the n-th of these cores; after the last one from the first again.
    Cores(Vec<usize>),
}

impl Pinning {
    /// The core for each of `workers`; `None` for anywhere.
    pub fn cores(&self, workers: usize) -> Vec<Option<usize>> {
        match self {
            Self::None => vec![None; workers],
            Self::Cores(cores) => cores
                .iter()
                .copied()
                .map(Some)
                .cycle()
                .take(workers)
                .collect(),
            Self::Auto => {
                let allowed = allowed_cores().unwrap_or_default();
                if allowed.len() == workers {
                    allowed.into_iter().map(Some).collect()
                } else {
                    vec![None; workers]
                }
            }
        }
    }
}

/// Cores on which the calling thread may run.
#[cfg(target_os = "linux")]
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    let cores = 0..rustix::thread::CpuSet::MAX_CPU;
    Ok(cores.filter(|core| set.is_set(*core)).collect())
}

/// Cores on which the calling thread may run: this system does not say.
#[cfg(not(target_os = "linux"))]
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Keeps the calling thread on a core from now on.
#[cfg(target_os = "linux")]
pub(super) fn pin_to(core: usize) -> io::Result<()> {
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(io::Error::other("there is no such core"));
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Keeps the calling thread on a core from now on: this system has no such call.
#[cfg(not(target_os = "linux"))]
pub fn pin_to(_core: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_assigned_to_the_given_cores_in_turn() {
        let cores = Pinning::Cores(vec![4, 6]).cores(3);
        assert_eq!(cores, [Some(4), Some(6), Some(4)]);
        assert_eq!(Pinning::None.cores(2), [None, None]);
    }

    #[test]
    fn each_worker_has_a_core_of_its_own_when_there_are_as_many() {
        let allowed = allowed_cores().unwrap_or_default();
        let cores = Pinning::Auto.cores(allowed.len());
        assert_eq!(cores, allowed.iter().copied().map(Some).collect::<Vec<_>>());
        assert_eq!(
            Pinning::Auto.cores(allowed.len() + 1),
            vec![None; allowed.len() + 1]
        );
    }
}
