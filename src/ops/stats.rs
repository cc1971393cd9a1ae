//! What a history costs, and why.
//!
//! ```text
//! chain -> manifests: growth, sizes -> one walk over the indexes: who needs which page version, how often each page changed
//!       -> with tables: newest commit restored to a scratch file, SQLite says whose its pages are
//! ```
//!
//! What is counted:
//! - **A page version** is one content of one page that a commit wrote, as it is stored. Its bytes
//!   are an estimate: those of its segment, manifest and index included, divided evenly among the
//!   segment's versions.
//! - **A change** is a page version that does not belong to the first commit of a base: that one
//!   writes every page, whether it changed or not. What merges dropped is not there any more and is
//!   not counted: a pruned history tells less than there was.
//! - **A period** has what is stored now of the commits made in it. Its bytes are those of batches
//!   and index blocks, as the commits' records have them, so that all periods add up to
//!   [`Storage::batches`] and [`Storage::index`]. Expired commits that no prune reclaimed yet count
//!   with their bytes, and not as commits.
//! - **The age** of stored bytes is that of the newest restore point that needs them. A page that
//!   never changed is as young as the newest commit, however long ago it was written: so this is
//!   when bytes can be freed, not when they came.
//!
//! Invariants: nothing is written but a scratch file, which goes away; memory is that of one window
//! of index entries, and 4 bytes for each page of the database at its largest, besides what the
//! chain itself takes. Ages and what is not needed add up to the bytes of all segments.

mod changes;
mod cost;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;

use changes::Changes;
use chrono::{Datelike, Days, NaiveDate};
use derive_setters::Setters;

use crate::count::{number, part};
use crate::error::{ErrorKind, Result};
use crate::format::segment::{PART_HEADER_LEN, SegmentKind};
use crate::policy::retention::{Policy, Zone};
use crate::progress::{Monitor, Phase};
use crate::remedy::{Remedy, advice};
use crate::repo::chain::{Chain, Segment, retry_on_merge};
use crate::repo::history::handle::History;
use crate::repo::merge::{Use, each_version};
use crate::types::{Seq, Timestamp};

pub use cost::{PolicyCost, RuleCost};
pub use tables::{TableChanges, Tables};

/// A day, in microseconds.
const DAY: i64 = 24 * 3600 * 1_000_000;
/// How many versions are told of before progress is.
const STEP: u64 = 1 << 16;

/// What to find out.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct StatsOptions {
    /// The length of periods; `None` for one that fits the history.
    pub by: Option<By>,
    /// Whose days they are, and those of the policy.
    pub zone: Zone,
    /// A policy whose rules' costs are wanted.
    pub policy: Option<Policy>,
    /// Where to restore the newest commit to, for finding out which tables its pages belong to;
    /// `None` leaves tables out.
    #[setters(into)]
    pub tables: Option<PathBuf>,
}

impl Default for StatsOptions {
    fn default() -> Self {
        Self { by: None, zone: Zone::Local, policy: None, tables: None }
    }
}

/// The length of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// A day.
    #[default]
    Day,
    /// An ISO week, from Monday on.
    Week,
    /// A month.
    Month,
}

impl By {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// What makes neither one row nor hundreds of a history of so many microseconds.
    fn fitting(span: i64) -> Self {
        match span / DAY {
            ..=31 => Self::Day,
            32..=182 => Self::Week,
            _ => Self::Month,
        }
    }

    /// The first day of the period that a day is in.
    pub fn first_day(self, day: NaiveDate) -> NaiveDate {
        let into = match self {
            Self::Day => 0,
            Self::Week => day.weekday().num_days_from_monday(),
            Self::Month => day.day0(),
        };
        day.checked_sub_days(Days::new(into.into())).unwrap_or(day)
    }
}

/// What a stretch of time added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Period {
    /// Its first day; `None` for commits whose time is beyond the calendar.
    pub start: Option<NaiveDate>,
    /// Restore points of this time.
    pub commits: u64,
    /// Page versions that its commits wrote.
    pub versions: u64,
    /// Bytes of their batches and index blocks.
    pub stored: u64,
    /// `stored`, of this period and all before.
    pub cumulative: u64,
}

/// How old the newest restore point is that needs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Under a day, or dated in the future.
    Day,
    /// Under 7 days.
    Week,
    /// Under 30 days.
    Month,
    /// Under 365 days.
    Year,
    /// Older.
    Older,
    /// There is none: a prune can free it.
    Unneeded,
}

impl Age {
    /// All there are, youngest first.
    pub const ALL: [Self; 6] =
        [Self::Day, Self::Week, Self::Month, Self::Year, Self::Older, Self::Unneeded];

    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
            Self::Older => "older",
            Self::Unneeded => "unneeded",
        }
    }

    fn of(newest: Option<Timestamp>, now: Timestamp) -> Self {
        let Some(time) = newest else { return Self::Unneeded };
        match now.0.saturating_sub(time.0).div_euclid(DAY) {
            ..1 => Self::Day,
            1..7 => Self::Week,
            7..30 => Self::Month,
            30..365 => Self::Year,
            _ => Self::Older,
        }
    }
}

/// How much changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Changes, as the module counts them.
    pub changes: u64,
    /// Different pages that changed at least once.
    pub distinct: u64,
    /// Pages of the newest commit.
    pub pages: u32,
    /// Microseconds from the first restore point to the last.
    pub span: i64,
}

impl Change {
    /// Changes per day; `None` for a history of less than a day, which says nothing of a day.
    pub fn per_day(&self) -> Option<f64> {
        (self.span >= DAY)
            .then(|| float(self.changes) * float(DAY.unsigned_abs()))
            .map(|n| n / float(self.span.unsigned_abs()))
    }
}

/// Bytes of all objects of a history, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storage {
    /// Bytes of the stored page versions before they were compressed and sealed.
    pub plain: u64,
    /// Page versions, compressed and sealed.
    pub batches: u64,
    /// Index blocks.
    pub index: u64,
    /// Manifests, with the headers of segments and parts.
    pub manifests: u64,
    /// Labels and holds.
    pub labels: u64,
    /// Results of verifications.
    pub proofs: u64,
    /// Claims of writers.
    pub writers: u64,
    /// The history's description, and which commits expired.
    pub other: u64,
    /// Segments and parts that are not on the chain: replaced by merges, under way, or left by a
    /// writer that was superseded.
    pub replaced: u64,
}

impl Storage {
    /// Bytes of the segments on the chain.
    pub fn segments(&self) -> u64 {
        self.batches + self.index + self.manifests
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        let records = self.labels + self.proofs + self.writers + self.other;
        self.segments() + records + self.replaced
    }

    /// How many times smaller page versions are stored than they are; `None` if there are none.
    pub fn ratio(&self) -> Option<f64> {
        (self.batches > 0).then(|| float(self.plain) / float(self.batches))
    }
}

/// What a history costs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Restore points.
    pub commits: u64,
    /// The earliest and the latest time of a restore point.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Segments on the chain.
    pub segments: u64,
    /// Page versions stored.
    pub versions: u64,
    /// The length of the periods.
    pub by: By,
    /// Those that have commits, in the order of time.
    pub periods: Vec<Period>,
    /// Bytes of segments, in the order of [`Age::ALL`].
    pub ages: [u64; 6],
    /// How much changes.
    pub change: Change,
    /// What everything takes.
    pub storage: Storage,
    /// What each rule of the policy costs, if one was given.
    pub policy: Option<PolicyCost>,
    /// Where the changes are, if that was wanted.
    pub tables: Option<Tables>,
}

impl History {
    /// Finds out what a history costs.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] and [`ErrorKind::Usage`] for a policy that keeps nothing or makes no
    /// sense; [`ErrorKind::Damaged`] when an object can't be opened; [`ErrorKind::NoSpace`] when
    /// the newest commit does not fit into the scratch folder; store errors.
    pub fn stats(&self, options: &StatsOptions, monitor: &dyn Monitor) -> Result<Stats> {
        // A merge may replace what is looked at.
        retry_on_merge(self, &self.chain()?, |chain| stats_of(self, chain, options, monitor))
    }
}

fn stats_of(
    history: &History,
    chain: &Chain,
    options: &StatsOptions,
    monitor: &dyn Monitor,
) -> Result<Stats> {
    let now = history.repository().now();
    let costs = match &options.policy {
        Some(policy) => Some(cost::Rules::new(history, chain, policy, &options.zone, now)?),
        None => None,
    };
    let span = span(chain);
    let by =
        options.by.unwrap_or_else(|| By::fitting(span.map_or(0, |(a, b)| b.0.saturating_sub(a.0))));
    let mut stats = Stats {
        commits: number(chain.commits().count()),
        times: span,
        segments: number(chain.segments().len()),
        versions: chain.segments().iter().map(|s| s.manifest.versions).sum(),
        by,
        periods: periods(chain, by, &options.zone),
        storage: storage(history, chain)?,
        ..Stats::default()
    };
    let mut choices = vec![chain.clone()];
    choices.extend(costs.iter().flat_map(|rules| rules.choices(chain)));
    let walk = Walk::run(&choices, now, monitor)?;
    stats.ages = walk.ages(chain, now);
    stats.policy = costs.map(|rules| rules.priced(chain, walk.needed.get(1..).unwrap_or_default()));
    let Some(latest) = chain.latest() else {
        stats.tables = options.tables.as_ref().map(|_| Tables::default());
        return Ok(stats);
    };
    stats.change = Change {
        changes: walk.changes.of_size + walk.changes.of_other_size,
        distinct: walk.changes.distinct(),
        pages: latest.record.pages,
        span: span.map_or(0, |(first, last)| last.0.saturating_sub(first.0)),
    };
    if let Some(dir) = &options.tables {
        let found = tables::find(history, chain, &latest, &walk.changes, dir, monitor);
        stats.tables = Some(found.map_err(|e| match e.kind() {
            ErrorKind::NoSpace => e.with_hint(advice![
                "another folder will do with ",
                Remedy::OtherScratch,
                "; ",
                Remedy::SkipTables,
                " needs none",
            ]),
            _ => e,
        })?);
    }
    Ok(stats)
}

/// The earliest and the latest time of a restore point: clocks jump, so they need not be the
/// first's and the last's.
fn span(chain: &Chain) -> Option<(Timestamp, Timestamp)> {
    let times = || chain.commits().map(|c| c.record.time);
    Some((times().min()?, times().max()?))
}

fn periods(chain: &Chain, by: By, zone: &Zone) -> Vec<Period> {
    let mut periods: BTreeMap<Option<NaiveDate>, Period> = BTreeMap::new();
    for segment in chain.segments() {
        let points = segment.manifest.states().len();
        for (at, record) in segment.manifest.commits.iter().enumerate() {
            let start = zone.day(record.time).map(|day| by.first_day(day));
            let empty = Period { start, commits: 0, versions: 0, stored: 0, cumulative: 0 };
            let period = periods.entry(start).or_insert(empty);
            period.commits += u64::from(at < points && !chain.expired().contains(record.seq));
            period.versions += u64::from(record.changed);
            period.stored = period.stored.saturating_add(record.stored);
        }
    }
    let mut sum = 0u64;
    let add = |mut period: Period| {
        sum = sum.saturating_add(period.stored);
        period.cumulative = sum;
        period
    };
    periods.into_values().map(add).collect()
}

fn storage(history: &History, chain: &Chain) -> Result<Storage> {
    let names = history.names();
    let mut storage = Storage::default();
    let mut on_chain = BTreeMap::new();
    for segment in chain.segments() {
        let manifest = &segment.manifest;
        let parts: u64 = manifest.parts.iter().sum();
        let headers = PART_HEADER_LEN.saturating_mul(number(manifest.parts.len()));
        let index: u64 = manifest.blocks.iter().map(|b| u64::from(b.at.len)).sum();
        let data = manifest.inline_len.saturating_add(parts).saturating_sub(headers);
        storage.plain += manifest.versions.saturating_mul(manifest.page_size.get().into());
        storage.index += index;
        storage.batches += data.saturating_sub(index);
        storage.manifests += segment.stored_len().saturating_sub(data);
        let id = segment.reference.id;
        let parts = (0..).zip(&manifest.parts).map(|(n, _)| names.part(id, n));
        on_chain.extend(parts.chain([segment.name().to_owned()]).map(|name| (name, ())));
    }
    let segments = [names.log(), names.merged(), names.data()];
    for entry in history.repository().store().list(&names.all())? {
        let under = |prefix: String| entry.name.starts_with(&prefix);
        let kind = if segments.iter().any(|prefix| entry.name.starts_with(prefix)) {
            if on_chain.contains_key(&entry.name) {
                continue;
            }
            &mut storage.replaced
        } else if under(names.snapshots()) || under(names.holds()) {
            &mut storage.labels
        } else if under(names.proofs()) {
            &mut storage.proofs
        } else if under(names.writers()) {
            &mut storage.writers
        } else {
            &mut storage.other
        };
        *kind += entry.len;
    }
    Ok(storage)
}

/// What a walk over the indexes counts.
struct Walk {
    /// For each choice and segment the versions that some restore point needs.
    needed: Vec<Vec<u64>>,
    /// For each segment the versions of each age.
    ages: Vec<[u64; 6]>,
    changes: Changes,
    /// What was found last of a newest restore point.
    last: Option<(Option<Seq>, Age)>,
}

impl Walk {
    fn run(choices: &[Chain], now: Timestamp, monitor: &dyn Monitor) -> Result<Self> {
        let segments = choices.first().map_or(&[][..], Chain::segments);
        let newest_size = segments.last().map(|s| s.manifest.page_size);
        let same_size = |s: &Segment| Some(s.manifest.page_size) == newest_size;
        let records = segments.iter().filter(|s| same_size(s)).flat_map(|s| &s.manifest.commits);
        let largest = records.map(|c| c.pages).max().unwrap_or(0);
        let mut walk = Self {
            needed: vec![vec![0; segments.len()]; choices.len()],
            ages: vec![[0; 6]; segments.len()],
            changes: Changes {
                counts: vec![0; usize::try_from(largest).unwrap_or(0).saturating_add(1)],
                ..Changes::default()
            },
            last: None,
        };
        let bytes =
            |s: &Segment| s.manifest.versions.saturating_mul(s.manifest.page_size.get().into());
        monitor.phase(Phase::Plan, Some(segments.iter().map(|s| bytes(s)).sum()));
        let mut told = 0u64;
        let mut pending = 0u64;
        let Some(chain) = choices.first() else { return Ok(walk) };
        each_version(choices, monitor, &mut |version| {
            let Some(segment) = segments.get(version.segment) else { return Ok(()) };
            walk.add(chain, segment, version, now);
            pending += u64::from(segment.manifest.page_size.get());
            told += 1;
            if told.is_multiple_of(STEP) {
                monitor.advance(std::mem::take(&mut pending));
            }
            Ok(())
        })?;
        monitor.advance(pending);
        Ok(walk)
    }

    fn add(&mut self, chain: &Chain, segment: &Segment, version: Use<'_>, now: Timestamp) {
        for (needed, newest) in self.needed.iter_mut().zip(version.newest) {
            if let Some(count) = needed.get_mut(version.segment).filter(|_| newest.is_some()) {
                *count += 1;
            }
        }
        let age = self.age_of(chain, version.newest.first().copied().flatten(), now);
        if let Some(ages) = self.ages.get_mut(version.segment) {
            bump(ages, age, 1);
        }
        let manifest = &segment.manifest;
        let whole = manifest.kind == SegmentKind::Base
            && manifest.commits.first().is_some_and(|first| first.seq == version.seq);
        let newest_size = chain.newest().map(|s| s.manifest.page_size);
        match Some(manifest.page_size) == newest_size {
            _ if whole => {}
            true => self.changes.add(version.page),
            false => self.changes.of_other_size += 1,
        }
    }

    /// Most versions are needed by one and the same commit.
    fn age_of(&mut self, chain: &Chain, newest: Option<Seq>, now: Timestamp) -> Age {
        match self.last {
            Some((seq, age)) if seq == newest => age,
            _ => {
                let commit = newest.and_then(|seq| chain.commit(seq));
                let age = Age::of(commit.map(|c| c.record.time), now);
                self.last = Some((newest, age));
                age
            }
        }
    }

    /// The bytes of all segments by age. Those of a segment without page versions are as old as its
    /// newest restore point.
    fn ages(&self, chain: &Chain, now: Timestamp) -> [u64; 6] {
        let mut bytes = [0; 6];
        for (segment, ages) in chain.segments().iter().zip(&self.ages) {
            let versions: u64 = ages.iter().sum();
            if versions == 0 {
                let points = segment.manifest.states().iter().rev();
                let newest = points.map(|c| c.seq).find(|seq| chain.commit(*seq).is_some());
                let time = newest.and_then(|seq| chain.commit(seq)).map(|c| c.record.time);
                bump(&mut bytes, Age::of(time, now), segment.stored_len());
                continue;
            }
            // Rounded so that the parts add up to the whole.
            let (mut upto, mut given) = (0, 0);
            for (age, n) in Age::ALL.into_iter().zip(ages) {
                upto += n;
                let share = part(segment.stored_len(), upto, versions);
                bump(&mut bytes, age, share - given);
                given = share;
            }
        }
        bytes
    }
}

fn bump(counts: &mut [u64; 6], age: Age, by: u64) {
    let at = Age::ALL.iter().position(|a| *a == age);
    if let Some(count) = at.and_then(|at| counts.get_mut(at)) {
        *count = count.saturating_add(by);
    }
}

/// Near enough for ratios.
#[allow(clippy::cast_precision_loss)]
fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests;
