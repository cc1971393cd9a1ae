//! Rewind a live database: an older commit becomes its content, while the application's connections
//! stay open.
//!
//! The road: capture what is there -> restore to scratch -> SQLite's check -> write lock -> capture
//! what came meanwhile, and label it -> copy as one transaction -> capture the result.
//!
//! Invariants:
//! - Everything that was committed before is in the history, under a label, before anything is
//!   written over. A rewind is a new commit, so another rewind undoes it.
//! - An error before the copy commits leaves the database as it was.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use derive_setters::Setters;
use rusqlite::Connection;

use crate::count::number;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::{SchemaChange, TableDiff};
use crate::ops::diff::run::Diff;
use crate::ops::point::RestorePoint;
use crate::ops::restore::{Check, check, check_space, still, sync, write_pages};
use crate::ops::safety::{Capture, Labelled, PATIENCE, TRIES, capture};
use crate::ops::scratch::Scratch;
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::chain::{Chain, retry_on_merge};
use crate::repo::history::handle::History;
use crate::repo::history::labels::{Snapshot, sound_label};
use crate::sqlite::check::connect_immutable;
use crate::sqlite::elsewhere::check_one_name;
use crate::sqlite::image::{self, Chunk, Method};
use crate::sqlite::install::{Image, install};
use crate::sqlite::layout;
use crate::sqlite::pin::Pin;
use crate::sqlite::source::Source;
use crate::types::{PageNo, Seq};

/// How to rewind.
#[derive(Clone, Debug, Default, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct RewindOptions {
    /// What SQLite is asked about the restored image before it is installed.
    pub check: Check,
    /// The label of the state before; one that names the target if `None`.
    #[setters(into)]
    pub label: Option<String>,
    /// Go on although a follower of another machine, account or container seems to be at work.
    pub takeover: bool,
}

/// What a rewind came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rewound {
    /// The commit whose content is back.
    pub to: Seq,
    /// The label of the state before: rewinding to it undoes this.
    pub before: Snapshot,
    /// The commit that the rewind made.
    pub now: Seq,
}

/// What a rewind would change: from what is there to the commit's content.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RewindPreview {
    /// Pages that differ, or are only in one of them.
    pub pages: u64,
    /// The tables whose definition or rows differ, by name.
    pub tables: Vec<TableDiff>,
    /// What else of the schema differs, and the definitions of tables.
    pub schema: Vec<SchemaChange>,
}

/// Rewinds the database at a path to a commit of its history.
///
/// # Errors
/// [`ErrorKind::Refused`] when the page size differs and the database is in WAL mode, or the
/// encoding of text differs, or somebody has the database open under another name;
/// [`ErrorKind::Busy`] when its locks can't be had, or a follower does not catch up;
/// [`ErrorKind::Damaged`] when the commit can't be restored or is not sound; what `capture`
/// answers.
///
/// # Durability
/// When this returns, the state before, its label and the rewound state are durable in the
/// repository.
pub fn rewind_capturing(
    history: &History,
    path: &Path,
    to: Seq,
    options: &RewindOptions,
    capture: Capture<'_>,
    monitor: &dyn Monitor,
) -> Result<Rewound> {
    let label = match options.label.as_deref() {
        Some(label) => sound_label(label)?.to_owned(),
        None => format!("before rewind to seq:{to}"),
    };
    check_one_name(&Source::open(path)?.pin()?, path, monitor)?;
    // Early, so that little is left to do under the lock, and trouble shows before anything else.
    capture(PATIENCE)?;
    let chain = history.chain()?;
    let scratch = scratch(history, &chain, path, to, options, monitor)?;
    let mut safety = Labelled::new(history, &label, capture);
    let mut tries = 0;
    loop {
        tries += 1;
        safety.begin_again();
        let installed = install(path, &Restored(&scratch), &mut safety, monitor);
        match installed {
            Ok(()) => break,
            Err(e) if safety.was_in_vain(&e) && tries < TRIES => {
                safety.capture_unlocked()?;
            }
            Err(e) => {
                // Nothing was written over then.
                if matches!(e.kind(), ErrorKind::Busy | ErrorKind::Interrupted) {
                    safety.take_back();
                }
                return Err(e);
            }
        }
    }
    let before = safety.before()?;
    let newest = safety.capture_unlocked().map_err(|e| {
        e.with_hint(advice![
            "the database is rewound, but that is not in the repository yet: run ",
            Remedy::Backup,
        ])
    })?;
    // Nobody could commit between the capture under the lock and the rewind itself; others may have
    // since.
    let now = newest.min(before.seq.next());
    Ok(Rewound { to, before, now })
}

/// A restored commit, to be installed.
struct Restored<'s>(&'s Scratch);

impl Image for Restored<'_> {
    fn open(&self) -> Result<Connection> {
        self.0.opened(connect_immutable)
    }

    fn file(&self) -> &File {
        self.0.file()
    }
}

/// The commit as a file beside the database, checked.
pub(crate) fn scratch(
    history: &History,
    chain: &Chain,
    path: &Path,
    to: Seq,
    options: &RewindOptions,
    monitor: &dyn Monitor,
) -> Result<Scratch> {
    let commit = chain.commit(to).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("has no commit seq:{to}"))
            .with_object(format!("history {:?}", history.name()))
    })?;
    let scratch = Scratch::beside(path)?;
    check_space(scratch.path(), &commit)?;
    // A prune may replace what is read.
    retry_on_merge(history, chain, |chain| {
        let commit = still(chain, &commit)?;
        write_pages(history, chain, &commit, scratch.file(), monitor)
    })?;
    sync(&scratch, monitor)?;
    check(&scratch, &format!("{}@seq:{to}", history.name()), options.check, monitor)?;
    Ok(scratch)
}

impl RestorePoint {
    /// Makes it the present content of the live database at a path, as one transaction, while the
    /// application's connections stay open and see it next. What is there is captured and labelled
    /// first, by a follower of this machine if one is at work, and rewinding to that undoes it.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the page size differs and the database is in WAL mode, or the
    /// encoding of text differs, or somebody has the database open under another name, or the
    /// history is another database's; [`ErrorKind::Busy`] when its locks can't be had, or a
    /// follower does not catch up; [`ErrorKind::Damaged`] when the commit can't be restored or is
    /// not sound. After an error the database is as it was.
    ///
    /// # Durability
    /// When this returns, the state before, its label and the rewound state are durable in the
    /// repository.
    pub fn rewind(
        &self,
        database: &Path,
        options: &RewindOptions,
        monitor: &dyn Monitor,
    ) -> Result<Rewound> {
        let mut capture = |patience| self.capture(database, options, patience, monitor);
        rewind_capturing(&self.history, database, self.seq(), options, &mut capture, monitor)
    }

    /// Captures what the database at a path has now, and returns its commit if that is this point's
    /// content: a rewind would do nothing but label it.
    ///
    /// # Errors
    /// As [`RestorePoint::rewind`], but for what is restored.
    pub fn is_present(
        &self,
        database: &Path,
        options: &RewindOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<Seq>> {
        // Before anything is stored.
        options.label.as_deref().map(sound_label).transpose()?;
        check_one_name(&Source::open(database)?.pin()?, database, monitor)?;
        let newest = self.capture(database, options, PATIENCE, monitor)?;
        let now = self.history.point(newest)?;
        let content = |point: &Self| (point.database_bytes(), point.digest());
        Ok((content(&now) == content(self)).then_some(newest))
    }

    /// Makes sure that what is in the database is in the history, and returns its newest commit.
    fn capture(
        &self,
        database: &Path,
        options: &RewindOptions,
        patience: Duration,
        monitor: &dyn Monitor,
    ) -> Result<Seq> {
        capture(&self.history, database, options.takeover, patience, monitor)
    }

    /// What a rewind would change, without changing anything.
    ///
    /// # Errors
    /// As [`RestorePoint::rewind`], but for locks, which it needs none of.
    pub fn preview_rewind(
        &self,
        database: &Path,
        options: &RewindOptions,
        monitor: &dyn Monitor,
    ) -> Result<RewindPreview> {
        let scratch = scratch(&self.history, &self.chain, database, self.seq(), options, monitor)?;
        let mut source = Source::open(database)?;
        let mut pin = source.pin()?;
        let pages = differing_pages(&mut pin, scratch.file(), monitor)?;
        let image = scratch.opened(connect_immutable)?;
        let mut touched = HashSet::new();
        for database in [pin.connection(), &image] {
            touched.extend(layout::by_table(database, &pages)?.into_keys());
        }
        let diff = Diff::with_file(pin, image, &touched)?;
        let tables = diff.rows(&mut |_| Ok(()), monitor)?;
        Ok(RewindPreview { pages: number(pages.len()), tables, schema: diff.schema() })
    }
}

/// The pages that differ between what a pin sees and an image file.
fn differing_pages(
    pin: &mut Pin<'_>,
    image: &File,
    monitor: &dyn Monitor,
) -> Result<HashSet<PageNo>> {
    let failed = |e| Error::io(e, "cannot be read", "the restored file");
    let page_size = pin.page_size();
    let len = image.metadata().map_err(failed)?.len();
    let mut reader = image::full(pin, Method::Auto)?;
    monitor.phase(Phase::Compare, Some(reader.total_bytes()));
    let (mut chunk, mut there) = (Chunk::default(), Vec::new());
    let mut found = HashSet::new();
    let mut last = PageNo(0);
    while reader.next(&mut chunk)? {
        check_cancelled(monitor)?;
        for (page, content) in chunk.pages.iter().zip(chunk.data.chunks_exact(page_size.bytes())) {
            last = *page;
            let offset = page_size.offset(*page);
            there.resize(content.len(), 0);
            let same = offset + page_size.file_len(1) <= len && {
                image.read_exact_at(&mut there, offset).map_err(failed)?;
                there == content
            };
            if !same {
                found.insert(*page);
            }
        }
        monitor.advance(u64::try_from(chunk.data.len()).unwrap_or(u64::MAX));
    }
    let pages = u32::try_from(len / page_size.file_len(1)).unwrap_or(u32::MAX);
    found.extend((last.0.saturating_add(1)..=pages).map(PageNo));
    Ok(found)
}
