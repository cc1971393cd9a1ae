//! Compare a live database with its history's head, page by page: finds what changed without a
//! commit, that is, silent corruption of the original.
//!
//! Invariants: nothing is written, neither to the database nor to the repository. A page that a
//! commit since the head explains is not drift; a leaf of the freelist is not either, since SQLite
//! leaves its content open.
//!
//! There are three answers. Where it is not known what was committed since the head, a difference
//! is no drift yet: an ordinary transaction makes one, too. Two things decide even then: outside
//! WAL mode every transaction changes page 1; and what SQLite finds unsound, no transaction wrote.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::locate::Database;
use crate::ops::restore::still;
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::chain::page_map::PageMap;
use crate::repo::chain::{Chain, Commit, retry_on_merge};
use crate::repo::history::handle::History;
use crate::repo::local::state;
use crate::repo::write::writer::is_written_here;
use crate::sqlite::image::{self, ChangedPages, Changes, Chunk, Method, PageReader};
use crate::sqlite::pin::Pin;
use crate::sqlite::source::{Position, Source};
use crate::sqlite::{check, layout};
use crate::types::{Digest, PageNo, Seq};

/// How often to look again while a follower is at work, and how long to wait in between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// What is known of the time since the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing was committed: what differs changed without a commit.
    Nothing,
    /// Some transactions were committed, and it is known which pages they wrote.
    Known,
    /// It can't be told whether a difference comes from a commit.
    Unknown,
}

impl Since {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Known => "known",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether the live database is what was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is, but for what transactions changed.
    Same,
    /// Something changed without a transaction.
    Drifted,
    /// Something differs, and it can't be told whether a transaction did that.
    Unknown,
}

impl Verdict {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Drifted => "drifted",
            Self::Unknown => "unknown",
        }
    }
}

/// How the live database differs from the head.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drift {
    /// The head.
    pub seq: Seq,
    /// Pages compared.
    pub pages: u64,
    /// Pages that differ, and that nothing explains.
    pub differing: u64,
    /// The tables that they belong to, with the number of pages; their indexes included.
    pub tables: BTreeMap<String, u64>,
    /// How many of them belong to no table.
    pub elsewhere: u64,
    /// Pages that differ because of transactions since the head.
    pub explained: u64,
    /// Pages of the freelist that differ, which means nothing.
    pub free: u64,
    /// Whether the sizes differ: the database's and the head's in pages.
    pub sizes: Option<(u32, u32)>,
    /// What is known of the time since the head.
    pub since: Since,
    /// What SQLite finds unsound in the live database. It is asked only where nothing else tells.
    pub unsound: Vec<String>,
}

impl Drift {
    /// Whether the live database is what was captured.
    pub fn verdict(&self) -> Verdict {
        let differs = self.differing > 0 || (self.sizes.is_some() && self.since != Since::Known);
        match self.since {
            _ if !differs => Verdict::Same,
            Since::Unknown if self.unsound.is_empty() => Verdict::Unknown,
            _ => Verdict::Drifted,
        }
    }
}

impl Repository {
    /// Compares the database at a path with the head of its history.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no history or no commit; [`ErrorKind::Source`] when
    /// the database can't be read; [`ErrorKind::Damaged`] when the repository is; store errors.
    pub fn drift(
        &self,
        path: &Path,
        name: Option<&str>,
        monitor: &dyn Monitor,
    ) -> Result<(History, Drift)> {
        let mut source = Source::open(path)?;
        let history = Database::at(path, name)?.history(self, false)?;
        let mut tries = 0;
        let (chain, head, mut pin, mut since, changes) = loop {
            tries += 1;
            let is_followed = state::is_followed(&history)?;
            let (chain, head, position) = newest(&history, is_followed)?;
            let pin = source.pin()?;
            let (since, changes) = since_head(&pin, &head, position.as_ref(), is_followed)?;
            // A follower at work publishes all the while, so the three may be of different moments.
            if since != Since::Unknown || tries >= TRIES || !is_written_here(&history)? {
                break (chain, head, pin, since, changes);
            }
            drop(pin);
            std::thread::sleep(PAUSE);
        };
        // A prune may replace what is read.
        let found: HashSet<PageNo> = retry_on_merge(&history, &chain, |chain| {
            compare(&history, chain, &still(chain, &head)?, &mut pin, monitor)
        })?
        .into_iter()
        .collect();
        if since == Since::Unknown && !found.contains(&PageNo(1)) && changes_page_1(&pin)? {
            since = Since::Nothing;
        }
        let explained = |page: &PageNo| changes.as_ref().is_some_and(|c| c.contains(*page));
        let sound = |page: PageNo| !found.contains(&page) || explained(&page);
        let free = layout::free_leaves(&pin, sound)?;
        let (mut drifted, mut counts) = (HashSet::new(), (0, 0));
        for page in found.iter().copied() {
            if free.contains(&page) {
                counts.0 += 1;
            } else if explained(&page) {
                counts.1 += 1;
            } else {
                drifted.insert(page);
            }
        }
        let differing = u64::try_from(drifted.len()).unwrap_or(u64::MAX);
        let tables = match differing {
            0 => BTreeMap::new(),
            // What can't even be walked is all the more to be told.
            _ => layout::by_table(pin.connection(), &drifted).unwrap_or_default(),
        };
        let sizes = (pin.pages() != head.record.pages).then_some((pin.pages(), head.record.pages));
        let mut drift = Drift {
            seq: head.seq,
            pages: pin.pages().into(),
            differing,
            elsewhere: differing.saturating_sub(tables.values().sum()),
            tables,
            explained: counts.1,
            free: counts.0,
            sizes,
            since,
            unsound: Vec::new(),
        };
        if drift.verdict() == Verdict::Unknown {
            monitor.phase(Phase::Check, None);
            drift.unsound = check::unsound(pin.connection())?;
        }
        drop(pin);
        Ok((history, drift))
    }
}

/// The newest commit, and the position in the source that it is known to stand for. A follower may
/// publish another one before it remembers where that stands: then the one before is the newest.
fn newest(history: &History, is_followed: bool) -> Result<(Chain, Commit, Option<Position>)> {
    let known = state::peek(history)?;
    let chain = history.chain()?;
    let remembered = known.as_ref().and_then(|state| state.head.as_ref()).filter(|_| is_followed);
    let remembered = remembered.and_then(|head| {
        chain.commit(head.seq).filter(|commit| commit.record.digest == head.digest)
    });
    let head = remembered.or_else(|| chain.latest()).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "has no commits yet")
            .with_object(format!("history {:?}", history.name()))
            .with_hint(advice![Remedy::Backup, " makes the first one"])
    })?;
    let position = known
        .filter(|state| state.head.as_ref().is_some_and(|h| h.seq == head.seq))
        .and_then(|state| state.position);
    Ok((chain, head, position))
}

/// What is known of the time between the head and the pinned moment.
fn since_head(
    pin: &Pin<'_>,
    head: &Commit,
    position: Option<&Position>,
    is_followed: bool,
) -> Result<(Since, Option<ChangedPages>)> {
    let Some(position) = position.filter(|_| pin.page_size() == head.segment.manifest.page_size)
    else {
        return Ok((Since::Unknown, None));
    };
    Ok(match image::changes_since(pin, position, head.record.pages)? {
        Changes::Nothing => (Since::Nothing, None),
        Changes::Pages(pages) => (Since::Known, Some(pages)),
        // The WAL was reset and nothing committed since: the follower's count tells.
        Changes::Unknown if is_followed && pin.moment().is_just(position) => (Since::Nothing, None),
        Changes::Unknown => (Since::Unknown, None),
    })
}

/// Whether every transaction changes page 1 of the pinned database: outside WAL mode it counts them
/// there.
fn changes_page_1(pin: &Pin<'_>) -> Result<bool> {
    if pin.pages() == 0 {
        return Ok(false);
    }
    let first = PageReader::new(pin)?.read(PageNo(1))?;
    Ok(first.get(18..20) == Some(&[1, 1]))
}

/// The pages of the pinned database whose digest is not the head's.
fn compare(
    history: &History,
    chain: &Chain,
    head: &Commit,
    pin: &mut Pin<'_>,
    monitor: &dyn Monitor,
) -> Result<Vec<PageNo>> {
    let hasher = history.hasher();
    let mut known = Known::new(head, chain)?;
    let comparable = pin.page_size() == head.segment.manifest.page_size;
    let page_len = pin.page_size().bytes();
    let mut reader = image::full(pin, Method::Auto)?;
    monitor.phase(Phase::Compare, Some(reader.total_bytes()));
    let (mut chunk, mut found) = (Chunk::default(), Vec::new());
    while reader.next(&mut chunk)? {
        check_cancelled(monitor)?;
        for (page, content) in chunk.pages.iter().zip(chunk.data.chunks_exact(page_len)) {
            let same = comparable && known.get(*page)? == Some(hasher.digest(*page, content));
            if !same {
                found.push(*page);
            }
        }
        monitor.advance(u64::try_from(chunk.data.len()).unwrap_or(u64::MAX));
    }
    Ok(found)
}

/// The head's page digests, window by window, for pages asked for in ascending order.
struct Known<'a> {
    map: PageMap<'a>,
    window: Vec<(PageNo, Digest)>,
    ended: bool,
}

impl<'a> Known<'a> {
    fn new(head: &'a Commit, chain: &'a Chain) -> Result<Self> {
        let map = PageMap::new(head, chain.lineage(head.seq))?;
        Ok(Self { map, window: Vec::new(), ended: false })
    }

    fn get(&mut self, page: PageNo) -> Result<Option<Digest>> {
        while !self.ended && self.window.last().is_none_or(|(last, _)| *last < page) {
            let Some(wanted) = self.map.next_window()? else {
                self.ended = true;
                break;
            };
            self.window =
                wanted.iter().flat_map(|w| w.pages.iter().map(|(_, p, d)| (*p, *d))).collect();
            self.window.sort_unstable();
        }
        let at = self.window.binary_search_by_key(&page, |(p, _)| *p).ok();
        Ok(at.and_then(|at| self.window.get(at)).map(|(_, digest)| *digest))
    }
}
