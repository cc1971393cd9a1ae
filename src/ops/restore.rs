//! Bring a commit back as a database file.
//!
//! The road: page map -> fetch and open batches on all cores -> compare every page digest -> write
//! -> compare the database digest -> fsync -> SQLite's check -> final name.
//!
//! Invariants:
//! - The file grows under a temporary name in the target's directory. Whatever happens before the
//!   last step, nothing stands under the final name that was not there before.
//! - Every page's digest and the sum of all are compared; a restored file that differs from what
//!   was captured is an error.
//! - Without `force` an existing target is never replaced; with it, the old file and its `-wal`,
//!   `-shm` and `-journal` step aside together before the new file takes the name, so no old WAL is
//!   ever applied to the new file.

mod target;

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::target::Target;
use derive_setters::Setters;

use crate::codec::pool;
use crate::count::bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::finding::few;
use crate::ops::point::RestorePoint;
use crate::ops::scratch::Scratch;
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::chain::page_map::{PageMap, adds_up};
use crate::repo::chain::reader::BatchReader;
use crate::repo::chain::{Chain, Commit, Segment, retry_on_merge};
use crate::repo::history::handle::History;
use crate::sqlite::check::Checker;
use crate::types::{Digest, PageNo, PageSize, SegmentId};

/// What SQLite is asked about the restored file before it gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Check {
    /// Nothing: the digests alone decide.
    None,
    /// `PRAGMA quick_check`.
    #[default]
    Quick,
    /// `PRAGMA integrity_check`, but for CHECK constraints.
    Full,
}

impl Check {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// How to restore.
#[derive(Clone, Copy, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Replace an existing target.
    pub force: bool,
    /// What SQLite is asked.
    pub check: Check,
}

/// How many bytes may be written before the disk is told to begin.
const WRITEBACK: u64 = 16 * 1024 * 1024;

impl RestorePoint {
    /// Restores it to a file.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the target exists, [`ErrorKind::NoSpace`] before anything is
    /// written when it won't fit, [`ErrorKind::Damaged`] naming the object when the repository is
    /// damaged, [`ErrorKind::Busy`] when the target is open elsewhere; store errors.
    ///
    /// # Durability
    /// When this returns, the file is durable under its name.
    pub fn restore(
        &self,
        target: &Path,
        options: &RestoreOptions,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        let Self { history, chain, commit } = self;
        let target = Target::at(target, options.force)?;
        target.check_outside(history.repository())?;
        let scratch = Scratch::beside(target.path())?;
        check_space(scratch.path(), commit)?;
        let write = |chain: &Chain| {
            let commit = still(chain, commit)?;
            write_pages(history, chain, &commit, scratch.file(), monitor)
        };
        match retry_on_merge(history, chain, write) {
            Err(e) if e.kind() == ErrorKind::Damaged => around(history, e, write, monitor)?,
            done => done?,
        }
        sync(&scratch, monitor)?;
        let name = format!("{}@seq:{}", history.name(), commit.seq);
        check(&scratch, &name, options.check, monitor)?;
        check_cancelled(monitor)?;
        target.take(scratch, monitor)
    }
}

/// Does something that came upon damage once more, without the damaged merged segments: what they
/// replaced may be there still. Whichever it is read from, the digests tell that it is the same.
///
/// # Errors
/// What was found first, if this doesn't help; store errors.
pub(crate) fn around(
    history: &History,
    damage: Error,
    work: impl Fn(&Chain) -> Result<()>,
    monitor: &dyn Monitor,
) -> Result<()> {
    let mut without = HashSet::new();
    let mut object = damage.object().unwrap_or_default().to_owned();
    let mut chain = Chain::load_readable(history, &without)?;
    // Each time there is one merged segment less.
    while let Some(damaged) = merged_with(history, &chain, &object) {
        without.insert(damaged);
        chain = Chain::load_readable(history, &without)?;
        match work(&chain) {
            Ok(()) => {
                monitor.advise(&advice![
                    format!("{damage}; what it replaced is there still and was read instead, "),
                    Remedy::repair(history.name()),
                    " puts it away",
                ]);
                return Ok(());
            }
            Err(e) if e.kind() == ErrorKind::Damaged => {
                object = e.object().unwrap_or_default().to_owned();
            }
            Err(e) if e.kind() == ErrorKind::NotFound => break,
            Err(e) => return Err(e),
        }
    }
    Err(damage)
}

/// The merged segment of a chain that an object is of.
fn merged_with(history: &History, chain: &Chain, object: &str) -> Option<SegmentId> {
    let part_of = history.names().parse_part(object).map(|(id, _)| id);
    let is_it = |s: &&Arc<Segment>| s.name() == object || part_of == Some(s.reference.id);
    chain.stored().filter(|s| s.is_merged()).find(is_it).map(|s| s.reference.id)
}

/// The same commit, in whatever segment it is now.
pub(crate) fn still(chain: &Chain, commit: &Commit) -> Result<Commit> {
    match chain.commit(commit.seq) {
        Some(now) if now.record.digest == commit.record.digest => Ok(now),
        _ => Err(Error::new(ErrorKind::NotFound, "was pruned meanwhile")
            .with_object(format!("commit {}", commit.seq))),
    }
}

/// Writes all pages of a commit into a file, and compares every digest.
pub(crate) fn write_pages(
    history: &History,
    chain: &Chain,
    commit: &Commit,
    file: &File,
    monitor: &dyn Monitor,
) -> Result<()> {
    check_above_hole(history, chain, commit)?;
    let page_size = commit.segment.manifest.page_size;
    let total = page_size.file_len(commit.record.pages);
    monitor.phase(Phase::Restore, Some(total));
    file.set_len(total).map_err(|e| Error::io(e, "cannot be written", "the restored file"))?;
    let sum = Mutex::new(Digest::default());
    let mut map = PageMap::new(commit, chain.lineage(commit.seq))?;
    let (full, wake) = crossbeam_channel::bounded(1);
    let output = Output { file, page_size, written: AtomicU64::new(0), full };
    std::thread::scope(|scope| {
        // The disk begins while pages still come, so that the last fsync finds little to do.
        let writeback = scope.spawn(move || wake.iter().try_for_each(|()| file.sync_data()));
        let output = output;
        while let Some(wanted) = map.next_window()? {
            pool::for_each(
                history.repository().threads(),
                wanted.into_iter().map(Ok),
                || BatchReader::new(history),
                |reader: &mut BatchReader, request| {
                    check_cancelled(monitor)?;
                    let mut part = Digest::default();
                    let bytes = reader.open(&request, &mut |pages, content, digest| {
                        part.toggle(&digest);
                        output.write(pages, content)
                    })?;
                    sum.lock().unwrap_or_else(PoisonError::into_inner).toggle(&part);
                    monitor.advance(bytes);
                    Ok(())
                },
            )?;
        }
        drop(output);
        let written = writeback.join().map_err(|_| pool::panicked())?;
        written.map_err(|e| Error::io(e, "cannot be written", "the restored file"))
    })?;
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    if sum != commit.record.digest {
        return Err(Error::damaged(
            commit.segment.name(),
            format!("the pages of commit {} do not add up to its database digest", commit.seq),
        ));
    }
    Ok(())
}

/// Makes sure that a commit above a hole needs nothing that was in it or below: the indexes tell,
/// before anything is written.
///
/// # Errors
/// [`ErrorKind::Damaged`], naming what is missing, when it does; store errors.
pub(crate) fn check_above_hole(history: &History, chain: &Chain, commit: &Commit) -> Result<()> {
    let Some(hole) = chain.hole_below(commit.seq) else { return Ok(()) };
    if adds_up(commit, chain.lineage(commit.seq))? {
        return Ok(());
    }
    let name = history.name();
    Err(Error::new(
        ErrorKind::Damaged,
        format!("commit {} needs pages that are missing: {}", commit.seq, hole.problem.message),
    )
    .with_object(&*hole.problem.object)
    .with_hint(advice![
        format!(
            "commits below seq:{} are not affected; ",
            hole.below.map_or(1, |seq| seq.next().0)
        ),
        Remedy::examine(name),
        " says which others can be restored",
    ]))
}

/// Where pages are written, by several threads.
struct Output<'f> {
    file: &'f File,
    page_size: PageSize,
    written: AtomicU64,
    /// Wakes the thread that makes the disk begin.
    full: crossbeam_channel::Sender<()>,
}

impl Output<'_> {
    fn write(&self, first: PageNo, content: &[u8]) -> Result<()> {
        let failed = |e| Error::io(e, "cannot be written", "the restored file");
        self.file.write_all_at(content, self.page_size.offset(first)).map_err(failed)?;
        let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let before = self.written.fetch_add(len, Ordering::Relaxed);
        if before / WRITEBACK != (before + len) / WRITEBACK {
            // If it is still at work it need not be woken.
            let _ = self.full.try_send(());
        }
        Ok(())
    }
}

/// Asks SQLite about a restored file. `commit` is what errors call it.
pub(crate) fn check(
    scratch: &Scratch,
    commit: &str,
    check: Check,
    monitor: &dyn Monitor,
) -> Result<()> {
    if check == Check::None || scratch.file().metadata().is_ok_and(|meta| meta.len() == 0) {
        return Ok(());
    }
    monitor.phase(Phase::Check, None);
    let checker = scratch.opened(Checker::open)?;
    let answer = checker.until(&|| monitor.cancelled(), |checker| match check {
        Check::Full => checker.integrity_check(),
        Check::Quick | Check::None => checker.quick_check(),
    });
    check_cancelled(monitor)?;
    let answer = answer?;
    for text in few(answer.unchecked.into_iter()) {
        monitor.warn(&format!("the restored database could not be checked in full: {text}"));
    }
    match answer.unsound.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(
            ErrorKind::Damaged,
            format!("SQLite finds the restored database unsound: {first}"),
        )
        .with_object(commit)
        .with_hint(advice![
            "it is byte for byte what was captured, so the original was unsound then; try an earlier commit, or ",
            Remedy::SkipCheck,
            " to have it all the same",
        ])),
    }
}

/// Waits until a scratch file is on the disk.
pub(crate) fn sync(scratch: &Scratch, monitor: &dyn Monitor) -> Result<()> {
    monitor.phase(Phase::Sync, None);
    let failed = |e| Error::io(e, "cannot be written", scratch.path().display().to_string());
    scratch.file().sync_all().map_err(failed)
}

pub(crate) fn check_space(path: &Path, commit: &Commit) -> Result<()> {
    let needed = commit.segment.manifest.page_size.file_len(commit.record.pages);
    let Ok(stat) = rustix::fs::statvfs(path) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("needs {} and has room for {}", bytes(needed), bytes(free)),
        )
        .with_object(path.parent().unwrap_or(path).display().to_string())
        .with_hint("free some space or restore to another disk"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
