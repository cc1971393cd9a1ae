//! Which versions of a window survive, and the proof that nothing else was needed.

use super::emit::Survivor;
use super::liveness::{Kept, Life, Sums};
use super::window::{Version, Window};
use super::work::inconsistent;
use crate::error::Result;
use crate::format::segment::CommitRecord;
use crate::types::Seq;

/// Decides window by window, and keeps account of what the staying commits see before and after.
pub(super) struct Filter {
    kept: Kept,
    before: Sums,
    after: Sums,
    /// Survivors of each commit of the table.
    changed: Vec<u32>,
}

impl Filter {
    pub(super) fn new(kept: Kept) -> Self {
        let (before, after) = (kept.sums(), kept.sums());
        let changed = vec![0; kept.table.len()];
        Self { kept, before, after, changed }
    }

    /// Whether the last commit of the table is carried.
    pub(super) fn carries(&self) -> bool {
        self.kept.carries
    }

    /// The survivors of a window among those versions that `counts` says are to be looked at.
    pub(super) fn keep(
        &mut self,
        window: &Window,
        counts: impl Fn(&Version) -> bool,
    ) -> Result<Vec<Survivor>> {
        let kept = &self.kept;
        let mut survivors: Vec<Survivor> = Vec::new();
        for (version, life) in window.lives().filter(|(version, _)| counts(version)) {
            self.before.add(kept, life, &version.digest);
            if !kept.needs(life) {
                continue;
            }
            let commit = kept.slot(version.seq).ok_or_else(inconsistent)?;
            let count = usize::try_from(commit).ok().and_then(|i| self.changed.get_mut(i));
            *count.ok_or_else(inconsistent)? += 1;
            let current = kept.is_current(life);
            survivors.push(Survivor { version: *version, commit, current });
        }
        // Lives now end where the next survivor begins, and begin with the commit that the table
        // has.
        let seq_of = |commit: u32| -> Option<Seq> {
            usize::try_from(commit).ok().and_then(|i| kept.table.get(i)).map(|c| c.seq)
        };
        for (at, Survivor { version, commit, .. }) in survivors.iter().enumerate() {
            let next = survivors.get(at + 1).filter(|next| next.version.page == version.page);
            let until = match next {
                Some(next) => seq_of(next.commit),
                None => window.later.get(&version.page).copied(),
            };
            let from = seq_of(*commit).ok_or_else(inconsistent)?;
            self.after.add(kept, Life { page: version.page, from, until }, &version.digest);
        }
        Ok(survivors)
    }

    /// The table, with what each commit has now: `versions` in all, which take `stored` bytes.
    pub(super) fn finish(self, mut versions: u64, mut stored: u64) -> Result<Vec<CommitRecord>> {
        if self.before != self.after {
            return Err(inconsistent());
        }
        let mut table = self.kept.table;
        for (commit, changed) in table.iter_mut().zip(self.changed) {
            commit.changed = changed;
            let part = u128::from(stored) * u128::from(changed) / u128::from(versions.max(1));
            commit.stored = u64::try_from(part).unwrap_or(stored);
            stored = stored.saturating_sub(commit.stored);
            versions = versions.saturating_sub(changed.into());
        }
        Ok(table)
    }
}
