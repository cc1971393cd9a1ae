//! One commit: what has to be read, and what comes of it.
//!
//! | head | position | read | published |
//! |---|---|---|---|
//! | none, or of another page size, or not restorable any more | | every page | a base |
//! | there | proves that nothing was committed | a sample of the pages | nothing |
//! | there | the WAL's new frames are all that is new | those frames, and a sample of the other pages | a delta |
//! | there | proves nothing | every page, compared by digest | a delta of what differs, or nothing |
//! | there, not safe without an anchor, or to be marked | | every page, compared by digest | a delta, without pages if nothing differs |
//!
//! Invariants: a delta holds a version of every page that differs from the head, and of every page
//! beyond the head's size; the new database digest is the head's with old digests out and new ones
//! in, and after a scan the sum over all pages as well.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::capture::divergence::{Divergence, Watched};
use crate::capture::overwritten::{Before, agrees};
use crate::capture::pipeline::{self, Entries, Plan, Sink, Totals};
use crate::codec::batch::{Compression, SealedBatch, SelfCheck};
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::segment::{CommitKind, CommitRecord, SegmentKind};
use crate::policy::mark::Front;
use crate::progress::{Monitor, Phase};
use crate::repo::chain::page_map::PageMap;
use crate::repo::chain::{Chain, retry_on_merge};
use crate::repo::history::handle::History;
use crate::repo::local::digests::{DigestsWriter, HeadDigests};
use crate::repo::local::state::Head;
use crate::repo::write::segment_writer::{Outline, SegmentWriter};
use crate::repo::write::writer::Writer;
use crate::sqlite::image::{self, Changes, Chunk, Method, PageSource};
use crate::sqlite::layout::{behind_end, cut_off};
use crate::sqlite::pin::Pin;
use crate::sqlite::source::Position;
use crate::sqlite::witness::OVERWRITTEN;
use crate::types::{Digest, PageNo, PageSize, Seq, Timestamp};

/// How to capture.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// How hard to compress.
    pub compression: Compression,
    /// How much of what was encoded is decoded again before it is published.
    pub self_check: SelfCheck,
    /// How to read a full image.
    pub method: Method,
    /// Publish a commit even if nothing differs: it marks that commits before it may be missing.
    pub mark: bool,
}

/// What a capture came to.
#[derive(Clone, Copy, Debug)]
pub struct Captured {
    /// The head's seq after it.
    pub seq: Seq,
    /// The new commit, or `None` when nothing had changed.
    pub commit: Option<CommitRecord>,
    /// Bytes of pages that were read.
    pub read: u64,
}

/// Captures the pinned moment as the history's next commit, if it differs from the head.
///
/// # Errors
/// [`ErrorKind::Source`] when the database can't be read; [`ErrorKind::Superseded`] when another
/// writer took over; store errors.
///
/// # Durability
/// When this returns, the commit is published, durable and acknowledged.
pub fn capture(
    writer: &mut Writer,
    pin: Pin<'_>,
    source: &str,
    options: &CaptureOptions,
    monitor: &dyn Monitor,
) -> Result<Captured> {
    let head = writer.head().cloned();
    let run = Run { position: pin.position(), source, options, monitor };
    match head {
        Some(head) if head.page_size == pin.page_size() && !writer.needs_base() => {
            delta(writer, pin, &head, &run)
        }
        head => base(writer, pin, head.as_ref(), &run),
    }
}

/// What a capture is given and passes on.
struct Run<'a> {
    position: Option<Position>,
    source: &'a str,
    options: &'a CaptureOptions,
    monitor: &'a dyn Monitor,
}

impl Run<'_> {
    /// Nothing had changed: acknowledges the head, and remembers the new place in the source.
    fn unchanged(&self, writer: &mut Writer, seq: Seq, read: u64) -> Result<Captured> {
        writer.confirm()?;
        // What was read because something was written, or may have been, was written and taken
        // back.
        writer.state.gap |= read > 0;
        writer.remember(None, self.position, self.source)?;
        Ok(Captured { seq, commit: None, read })
    }
}

fn base(
    writer: &mut Writer,
    mut pin: Pin<'_>,
    head: Option<&Head>,
    run: &Run<'_>,
) -> Result<Captured> {
    let time = writer.history().repository().now();
    let mut work = Work::new(writer, true)?;
    let (page_size, pages) = (pin.page_size(), pin.pages());
    let before = Before::of_all(&pin)?;
    warn_of_size(&pin, run.monitor)?;
    let reader = image::full(&mut pin, run.options.method)?;
    let read = reader.total_bytes();
    let front = OnceLock::new();
    let totals = work.run(writer, Looking::at(reader, &front), None, run)?;
    before.check(&pin)?;
    // Publishing does not need the source: let its writers go on.
    drop(pin);
    let outline = Outline {
        kind: SegmentKind::Base,
        page_size,
        parent: head.map(Head::reference),
        commits: vec![record(time, pages, totals, totals.toggled, CommitKind::Scan)?],
    };
    work.front = front.into_inner();
    work.publish(writer, outline, read, run)
}

fn delta(writer: &mut Writer, mut pin: Pin<'_>, head: &Head, run: &Run<'_>) -> Result<Captured> {
    let options = run.options;
    let anchor = writer.needs_anchor() || options.mark;
    let mut changes = match &writer.state.position {
        Some(then) if !anchor => image::changes_since(&pin, then, head.pages)?,
        _ => Changes::Unknown,
    };
    // With a rollback journal the time of modification is part of a position.
    if pin.blocks_writers() && matches!(changes, Changes::Nothing) {
        return run.unchanged(writer, head.seq, 0);
    }
    let mut divergence = Divergence::watch(writer, head)?;
    let old = head_digests(writer, head, run.monitor)?;
    if let (Some(then), Changes::Nothing | Changes::Pages(_)) = (&writer.state.position, &changes)
        && !agrees(&pin, then, head, &old, &writer.history().hasher())?
    {
        run.monitor.warn(&format!("{OVERWRITTEN}: all of it is read again"));
        changes = Changes::Unknown;
    }
    if matches!(changes, Changes::Nothing) {
        return run.unchanged(writer, head.seq, 0);
    }
    let time = writer.history().repository().now();
    let (pages, kind) = (pin.pages(), kind_of(&changes));
    let mut work = Work::new(writer, kind == CommitKind::Scan)?;
    let before = match kind {
        CommitKind::Scan => Before::of_all(&pin)?,
        _ => Before::of_frames(&pin),
    };
    let reader: Box<dyn PageSource + '_> = match changes {
        Changes::Pages(changed) => image::delta(&mut pin, changed),
        _ => {
            warn_of_size(&pin, run.monitor)?;
            image::full(&mut pin, options.method)?
        }
    };
    let read = reader.total_bytes();
    let seen = divergence.as_mut().filter(|_| kind == CommitKind::Scan);
    let front = OnceLock::new();
    let totals = work.run(writer, Looking::at(reader, &front), Some((&old, seen)), run)?;
    before.check(&pin)?;
    drop(pin);
    if let Some(advice) = divergence.and_then(|found| found.warning()) {
        run.monitor.advise(&advice);
    }
    if totals.changed == 0 && pages == head.pages && !anchor {
        drop(work);
        return run.unchanged(writer, head.seq, read);
    }
    let digest = next_digest(head, &old, pages, &totals)?;
    work.check_sum(&digest)?;
    let outline = Outline {
        kind: SegmentKind::Delta,
        page_size: head.page_size,
        parent: Some(head.reference()),
        commits: vec![record(time, pages, totals, digest, kind)?],
    };
    (work.old, work.front) = (Some(old), front.into_inner());
    work.publish(writer, outline, read, run)
}

/// Tells people of pages that the database should have and that are nowhere, which SQLite takes for
/// zeros, and so do we; and of bytes in the file that no page is made of.
fn warn_of_size(pin: &Pin<'_>, monitor: &dyn Monitor) -> Result<()> {
    if let Some(bytes) = behind_end(pin)? {
        monitor.warn(&format!(
            "{bytes} bytes of the file lie behind the database's last page, {}, and are not stored: SQLite does not read them either",
            pin.pages()
        ));
    }
    let missing = cut_off(pin)?;
    if let Some(first) = missing.first() {
        monitor.warn(&format!(
            "the file was cut off: {} of its {} pages, from page {first} on, are neither in it nor in its WAL, and are stored as \
             zeros, as SQLite reads them",
            missing.len(),
            pin.pages()
        ));
    }
    Ok(())
}

fn kind_of(changes: &Changes) -> CommitKind {
    match changes {
        Changes::Pages(_) => CommitKind::Wal,
        Changes::Nothing | Changes::Unknown => CommitKind::Scan,
    }
}

fn record(
    time: Timestamp,
    pages: u32,
    totals: Totals,
    digest: Digest,
    kind: CommitKind,
) -> Result<CommitRecord> {
    let changed = u32::try_from(totals.changed)
        .map_err(|_| Error::new(ErrorKind::Source, "has more pages than SQLite can count"))?;
    // The seq and the stored bytes are known when the segment is published.
    Ok(CommitRecord { seq: Seq(0), time, pages, changed, digest, stored: 0, kind })
}

/// The database digest after the change: changed pages toggled, pages beyond the new size taken
/// out.
fn next_digest(head: &Head, old: &HeadDigests, pages: u32, totals: &Totals) -> Result<Digest> {
    let mut digest = head.digest;
    digest.toggle(&totals.toggled);
    if pages < head.pages {
        digest.toggle(&old.sum(pages.saturating_add(1), head.pages)?);
    }
    Ok(digest)
}

/// The digests of the head's pages: from the local file, or rebuilt from the repository.
pub(super) fn head_digests(
    writer: &Writer,
    head: &Head,
    monitor: &dyn Monitor,
) -> Result<HeadDigests> {
    let history = writer.history();
    let path = writer.dir.path("digests");
    if let Some(digests) = HeadDigests::open(&path, history.id(), head)? {
        return Ok(digests);
    }
    match rebuilt(history, head, &path, monitor) {
        // The disk takes the small state, and not these.
        Err(e) if e.kind() == ErrorKind::NoSpace && !writer.dir.is_stand_in() => {
            let folder = tempfile::tempdir()
                .map_err(|e| Error::io(e, "cannot be created", "a temporary folder"))?;
            rebuilt(history, head, &folder.path().join("digests"), monitor)
        }
        rebuilt => rebuilt,
    }
}

/// Writes the head's page digests to `path` and opens them. The file may be deleted after that.
fn rebuilt(
    history: &History,
    head: &Head,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<HeadDigests> {
    monitor.phase(Phase::Digests, Some(head.page_size.file_len(head.pages)));
    let chain = history.chain()?;
    let file =
        retry_on_merge(history, &chain, |chain| rebuild(chain, head, path, history, monitor))?;
    file.finish(history.id(), head)?;
    HeadDigests::open(path, history.id(), head)?.ok_or_else(|| {
        Error::damaged(
            history.names().segment(LogName { term: head.term, first: head.first }),
            format!("the page digests of commit {} do not add up to its database digest", head.seq),
        )
    })
}

/// Writes the head's page digests, as the indexes have them, into a new file.
fn rebuild(
    chain: &Chain,
    head: &Head,
    path: &Path,
    history: &History,
    monitor: &dyn Monitor,
) -> Result<DigestsWriter> {
    let commit = chain
        .commit(head.seq)
        .filter(|c| c.segment.reference == head.reference())
        .ok_or_else(|| {
            Error::new(ErrorKind::Superseded, "another writer published meanwhile")
                .with_object(history.name())
        })?;
    let mut file = DigestsWriter::create(path)?;
    let mut map = PageMap::new(&commit, chain.lineage(commit.seq))?;
    while let Some(wanted) = map.next_window()? {
        let mut pages: Vec<(PageNo, Digest)> =
            wanted.iter().flat_map(|w| w.pages.iter().map(|(_, page, d)| (*page, *d))).collect();
        pages.sort_unstable();
        for (page, digest) in &pages {
            file.push(*page, digest)?;
        }
        let bytes = pages.len().saturating_mul(head.page_size.bytes());
        monitor.advance(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
    Ok(file)
}

/// A segment under way, and the new page digests that go with it.
struct Work {
    segment: SegmentWriter,
    new_digests: NewDigests,
    old: Option<HeadDigests>,
    digests_path: PathBuf,
    /// What page 1 says, if it was read.
    front: Option<Front>,
}

/// How the digests of the new head come about.
enum NewDigests {
    /// All of them are written anew, and summed up. A file that can't be written is only a cache
    /// less: that is told when the commit is stored.
    All(Result<DigestsWriter>, Digest),
    /// The old ones are patched.
    Changed(Entries),
}

impl Work {
    fn new(writer: &Writer, all: bool) -> Result<Self> {
        let segment = SegmentWriter::new(writer.history())?;
        let digests_path = writer.dir.path("digests");
        let new_digests = if all {
            NewDigests::All(DigestsWriter::create(&digests_path), Digest::default())
        } else {
            NewDigests::Changed(Vec::new())
        };
        Ok(Self { segment, new_digests, old: None, digests_path, front: None })
    }

    fn run(
        &mut self,
        writer: &Writer,
        reader: Box<dyn PageSource + '_>,
        head: Option<(&HeadDigests, Option<&mut Divergence>)>,
        run: &Run<'_>,
    ) -> Result<Totals> {
        let (options, monitor) = (run.options, run.monitor);
        monitor.phase(Phase::Capture, Some(reader.total_bytes()));
        let page_size = reader.page_size();
        let seal = self.segment.seal().clone();
        let hasher = writer.history().hasher();
        let plan = Plan {
            hasher: &hasher,
            seal: &seal,
            compression: options.compression,
            self_check: options.self_check,
            threads: writer.history().repository().threads(),
            page_size,
            old: head.as_ref().map(|(old, _)| *old),
        };
        match head {
            Some((head, Some(divergence))) => {
                let mut sink = Watched { sink: self, head, divergence };
                pipeline::run(&plan, reader, &mut sink, monitor)
            }
            _ => pipeline::run(&plan, reader, self, monitor),
        }
    }

    /// After a scan, the digest that was toggled together must be the sum of all pages.
    fn check_sum(&self, digest: &Digest) -> Result<()> {
        match &self.new_digests {
            NewDigests::All(_, sum) if sum != digest => {
                Err(Error::new(ErrorKind::Failure, "the database digest does not add up")
                    .with_hint("nothing was published; test this machine's memory"))
            }
            _ => Ok(()),
        }
    }

    /// Publishes the segment, then brings the local state up to it.
    fn publish(
        self,
        writer: &mut Writer,
        outline: Outline,
        read: u64,
        run: &Run<'_>,
    ) -> Result<Captured> {
        run.monitor.phase(Phase::Publish, None);
        let mut prepared = self.segment.prepare(writer, outline)?;
        // Without it a run that dies here costs the next one a scan, and nothing else.
        let _ = writer.intend(prepared.head(), run.position);
        prepared.publish(writer)?;
        let head = prepared.head().clone();
        let commit = prepared.commits().first().copied();
        let history = writer.history().id();
        let renewed = match (self.new_digests, self.old) {
            (NewDigests::All(file, _), _) => file.and_then(|file| file.finish(history, &head)),
            (NewDigests::Changed(changed), Some(mut old)) => old.patch(&head, &changed),
            (NewDigests::Changed(_), None) => Ok(()),
        };
        let seq = head.seq;
        let front = self.front;
        writer.noticed.note(head.page_size, commit.map(|commit| (commit, front)));
        // The commit is safe. A cache that can't be written is worth a warning, and is rebuilt next
        // time.
        let remembered = writer.remember(Some(head), run.position, run.source);
        if let Err(e) = renewed.and(remembered) {
            let path = self.digests_path.display();
            run.monitor.warn(&format!(
                "the commit is stored, but {path} could not be kept up to date: {e}"
            ));
        }
        Ok(Captured { seq, commit, read })
    }
}

/// Pages on their way, and a look at page 1 among them.
struct Looking<'s, 'f> {
    source: Box<dyn PageSource + 's>,
    front: &'f OnceLock<Front>,
}

impl<'a> Looking<'a, 'a> {
    fn at(
        source: Box<dyn PageSource + 'a>,
        front: &'a OnceLock<Front>,
    ) -> Box<dyn PageSource + 'a> {
        Box::new(Self { source, front })
    }
}

impl PageSource for Looking<'_, '_> {
    fn next(&mut self, chunk: &mut Chunk) -> Result<bool> {
        let more = self.source.next(chunk)?;
        if more
            && chunk.pages.first() == Some(&PageNo(1))
            && let Some(front) = Front::of(&chunk.data)
        {
            self.front.get_or_init(|| front);
        }
        Ok(more)
    }

    fn total_bytes(&self) -> u64 {
        self.source.total_bytes()
    }

    fn page_size(&self) -> PageSize {
        self.source.page_size()
    }
}

impl Sink for Work {
    fn seen(&mut self, pages: &[(PageNo, Digest)]) -> Result<()> {
        if let NewDigests::All(file, sum) = &mut self.new_digests {
            for (page, digest) in pages {
                if let Ok(open) = file
                    && let Err(e) = open.push(*page, digest)
                {
                    *file = Err(e);
                }
                sum.toggle(digest);
            }
        }
        Ok(())
    }

    fn batch(&mut self, batch: &SealedBatch, entries: &Entries) -> Result<()> {
        if let NewDigests::Changed(changed) = &mut self.new_digests {
            changed.extend_from_slice(entries);
        }
        self.segment.push(batch, entries.iter().map(|(page, digest)| (*page, 0, *digest)))
    }
}
