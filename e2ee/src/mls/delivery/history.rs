//! The last commits of a group, for members whose link was lost.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mls::messages::AcceptedCommit;

/// Most commits that are kept.
pub(super) const MAX_COMMITS: usize = 64;

/// Most bytes of them.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct History {
    commits: VecDeque<Arc<AcceptedCommit>>,
    bytes: usize,
}

impl History {
    pub(super) fn push(&mut self, commit: Arc<AcceptedCommit>) {
        self.bytes += commit.size();
        self.commits.push_back(commit);
        while self.commits.len() > MAX_COMMITS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.commits.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
    }

    /// The commits that lead on from `epoch` to `newest`; `None` if one of them is not kept any more.
    pub(super) fn since(&self, epoch: u64, newest: u64) -> Option<Vec<Arc<AcceptedCommit>>> {
        let commits: Vec<_> = self
            .commits
            .iter()
            .filter(|one| one.epoch >= epoch)
            .cloned()
            .collect();
        (epoch <= newest && commits.len() as u64 == newest - epoch).then_some(commits)
    }
}
