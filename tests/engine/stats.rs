//! What a history costs, counted from the outside: every number is worked out again from the images of the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pagekeep::ErrorKind;
use pagekeep::internals::capture::commit::{CaptureOptions, capture};
use pagekeep::internals::format::snapshot::SnapshotKind;
use pagekeep::internals::ops::prune::PruneOptions;
use pagekeep::internals::ops::stats::{Age, By, Stats, StatsOptions};
use pagekeep::internals::policy::retention::{Periods, Policy, Zone};
use pagekeep::internals::progress::{Silent, Stoppable};
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::write::writer::Writer;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::sqlite::source::Source;
use pagekeep::internals::store::MemoryStore;
use pagekeep::internals::types::{Clock, Seq, Timestamp};
use rusqlite::Connection;

use crate::support::{CHEAP, quick_dir};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// 2026-03-01T00:00:00Z, a Sunday.
const BEGIN: i64 = 1_772_323_200_000_000;

/// A database, its history, and the images and times of its commits.
struct Bench {
    dir: tempfile::TempDir,
    time: Arc<AtomicI64>,
    history: History,
    app: Connection,
    images: BTreeMap<u64, (i64, Vec<u8>)>,
}

/// A page version: the page and the commit that wrote it.
type Version = (usize, u64);

impl Bench {
    fn new() -> Self {
        let dir = quick_dir();
        let time = Arc::new(AtomicI64::new(BEGIN));
        let store = MemoryStore::with_clock(clock(&time));
        let secret = Secret::new_recovery().unwrap();
        let state = dir.path().join("state");
        let repository = Repository::init(
            Arc::new(store),
            &[(&secret, "")],
            CHEAP,
            &RepositoryOptions::new(state).clock(clock(&time)).threads(1),
        )
        .unwrap();
        let history = repository.create_history("app", "app.db").unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch(
            "PRAGMA page_size=1024; PRAGMA synchronous=OFF;
             CREATE TABLE hot(id INTEGER PRIMARY KEY, x BLOB);
             CREATE TABLE cold(id INTEGER PRIMARY KEY, x BLOB);
             CREATE TABLE left(id INTEGER PRIMARY KEY, x BLOB);
             CREATE INDEX cold_x ON cold(x);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60)
             INSERT INTO hot(x) SELECT randomblob(200) FROM n;
             INSERT INTO cold(x) SELECT randomblob(200) FROM hot;
             INSERT INTO left(x) SELECT randomblob(200) FROM hot",
        )
        .unwrap();
        Self { dir, time, history, app, images: BTreeMap::new() }
    }

    /// Hot changes often, cold once, and what was left is dropped: on the 1st, 2nd, 2nd, 10th and 10th of March.
    fn known() -> Self {
        let mut bench = Self::new();
        bench.commit("SELECT 1", HOUR);
        bench.commit("UPDATE hot SET x=randomblob(200) WHERE id<40", DAY);
        bench.commit("UPDATE hot SET x=randomblob(200) WHERE id<30", 12 * HOUR);
        bench.commit("UPDATE cold SET x=randomblob(200) WHERE id=1", 8 * DAY);
        bench.commit("DROP TABLE left; UPDATE hot SET x=randomblob(200)", HOUR);
        bench.time.fetch_add(2 * HOUR, Ordering::Relaxed);
        bench
    }

    /// Lets time go by, changes the database and captures it.
    fn commit(&mut self, sql: &str, later: i64) -> u64 {
        let now = self.time.fetch_add(later, Ordering::Relaxed) + later;
        self.app.execute_batch(sql).unwrap();
        let path = self.dir.path().join("app.db");
        let mut source = Source::open(&path).unwrap();
        let mut writer = Writer::open(&self.history, "backup").unwrap();
        let options = CaptureOptions::default();
        let captured =
            capture(&mut writer, source.pin().unwrap(), "app.db", &options, &Silent).unwrap();
        self.images.insert(captured.seq.0, (now, std::fs::read(path).unwrap()));
        captured.seq.0
    }

    fn options(&self) -> StatsOptions {
        StatsOptions::default().zone(Zone::Utc).tables(self.dir.path().to_owned())
    }

    fn stats(&self, policy: Option<Policy>) -> Stats {
        let mut options = self.options();
        options.policy = policy;
        self.history.stats(&options, &Silent).unwrap()
    }

    /// The versions that each commit wrote, and those that each commit consists of.
    fn versions(&self) -> (BTreeMap<u64, Vec<Version>>, BTreeMap<u64, Vec<Version>>) {
        let (mut written, mut needed) = (BTreeMap::new(), BTreeMap::new());
        let mut before: Vec<&[u8]> = Vec::new();
        let mut current: HashMap<usize, u64> = HashMap::new();
        for (seq, (_, image)) in &self.images {
            let pages: Vec<&[u8]> = image.chunks(1024).collect();
            let changed: Vec<Version> = (0..pages.len())
                .filter(|i| before.get(*i) != Some(&pages[*i]))
                .map(|i| (i + 1, *seq))
                .collect();
            current.extend(changed.iter().copied());
            needed.insert(*seq, (1..=pages.len()).map(|p| (p, current[&p])).collect());
            written.insert(*seq, changed);
            before = pages;
        }
        (written, needed)
    }

    /// What some commits need, in bytes: all versions of a segment count as equally large.
    fn bytes(&self, seqs: &[u64]) -> u64 {
        let (_, needed) = self.versions();
        let live: BTreeSet<Version> = seqs.iter().flat_map(|seq| needed[seq].clone()).collect();
        let chain = self.history.chain().unwrap();
        let segments = chain.segments().iter();
        segments
            .map(|s| {
                let mine = live.iter().filter(|(_, seq)| s.manifest.first == Seq(*seq)).count();
                s.stored_len() * mine as u64 / s.manifest.versions
            })
            .sum()
    }
}

fn clock(time: &Arc<AtomicI64>) -> Clock {
    let time = time.clone();
    Clock::new(move || Timestamp(time.load(Ordering::Relaxed)))
}

/// What holds for every history.
fn consistent(stats: &Stats) {
    let storage = &stats.storage;
    let stored: u64 = stats.periods.iter().map(|p| p.stored).sum();
    assert_eq!(stored, storage.batches + storage.index);
    assert_eq!(stats.periods.last().map_or(0, |p| p.cumulative), stored);
    assert_eq!(stats.periods.iter().map(|p| p.versions).sum::<u64>(), stats.versions);
    assert_eq!(stats.periods.iter().map(|p| p.commits).sum::<u64>(), stats.commits);
    assert_eq!(stats.ages.iter().sum::<u64>(), storage.segments());
    if let Some(tables) = &stats.tables {
        let in_tables: u64 = tables.tables.iter().map(|t| t.changes).sum();
        let elsewhere = tables.free + tables.gone + tables.other_page_size;
        assert_eq!(in_tables + elsewhere, stats.change.changes);
    }
    if let Some(policy) = &stats.policy {
        assert_eq!(policy.kept + policy.dropped, stats.commits);
        assert_eq!(policy.stays + policy.goes, storage.segments());
    }
}

#[test]
fn growth_and_changes_are_those_of_the_images() {
    let bench = Bench::known();
    let stats = bench.stats(None);
    consistent(&stats);
    let (written, _) = bench.versions();
    let of = |seqs: &[u64]| seqs.iter().map(|seq| written[seq].len() as u64).sum::<u64>();
    let rows: Vec<(String, u64, u64)> = stats
        .periods
        .iter()
        .map(|p| (p.start.unwrap().to_string(), p.commits, p.versions))
        .collect();
    assert_eq!(
        rows,
        [
            ("2026-03-01".to_owned(), 1, of(&[1])),
            ("2026-03-02".to_owned(), 2, of(&[2, 3])),
            ("2026-03-10".to_owned(), 2, of(&[4, 5]))
        ]
    );
    let chain = bench.history.chain().unwrap();
    for (commit, versions) in chain.commits().zip(written.values()) {
        assert_eq!(commit.record.changed as usize, versions.len());
    }
    let by = |by| {
        let options = bench.options().by(by);
        let periods = bench.history.stats(&options, &Silent).unwrap().periods;
        periods.iter().map(|p| (p.start.unwrap().to_string(), p.commits)).collect::<Vec<_>>()
    };
    // The first of March was a Sunday.
    assert_eq!(
        by(By::Week),
        [("2026-02-23".into(), 1), ("2026-03-02".into(), 2), ("2026-03-09".into(), 2)]
    );
    assert_eq!(by(By::Month), [("2026-03-01".into(), 5)]);

    let changes = &stats.change;
    assert_eq!(changes.changes, of(&[2, 3, 4, 5]));
    let distinct: BTreeSet<usize> = (2..=5).flat_map(|seq| &written[&seq]).map(|v| v.0).collect();
    assert_eq!(changes.distinct, distinct.len() as u64);
    assert_eq!(changes.span, 9 * DAY + 13 * HOUR);
    assert_eq!(stats.storage.plain, of(&[1, 2, 3, 4, 5]) * 1024);
    let store = bench.history.repository().store();
    let listed = store.list("histories/").unwrap();
    assert_eq!(stats.storage.total(), listed.iter().map(|e| e.len).sum::<u64>());
}

#[test]
fn changes_are_found_in_the_tables_that_had_them() {
    let bench = Bench::known();
    let stats = bench.stats(None);
    let (written, _) = bench.versions();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    let mut statement = bench.app.prepare("SELECT name, pageno FROM dbstat").unwrap();
    let mut rows = statement.query([]).unwrap();
    let changes = || written.range(2..).flat_map(|(_, versions)| versions);
    while let Some(row) = rows.next().unwrap() {
        let (name, page): (String, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        *expected.entry(name).or_default() +=
            changes().filter(|(changed, _)| i64::try_from(*changed) == Ok(page)).count() as u64;
    }
    let tables = stats.tables.unwrap();
    let found: BTreeMap<String, u64> =
        tables.tables.iter().map(|t| (t.name.clone(), t.changes)).collect();
    assert_eq!(found, expected);
    let hottest = &tables.tables[0];
    assert_eq!((&*hottest.name, &hottest.index_of), ("hot", &None));
    assert!(hottest.changed <= hottest.pages && hottest.changes > hottest.changed);
    let index = tables.tables.iter().find(|t| t.name == "cold_x").unwrap();
    assert_eq!((index.index_of.as_deref(), index.changes > 0), (Some("cold"), true));
    // What the dropped table had is free now, and some of it changed when it became so.
    assert_eq!(tables.free, changes().count() as u64 - expected.values().sum::<u64>());
    assert!(tables.free > 0 && (tables.gone, tables.other_page_size) == (0, 0));
    // No scratch file stays.
    let left = std::fs::read_dir(bench.dir.path()).unwrap().map(|e| e.unwrap().file_name());
    assert!(left.into_iter().all(|name| name == "app.db" || name == "state"));
}

#[test]
fn pages_that_are_gone_or_had_another_size_are_told_apart() {
    let mut bench = Bench::known();
    // Pages at the end, whatever chance put where before.
    bench.commit("CREATE TABLE more(x); INSERT INTO more SELECT randomblob(900) FROM hot", HOUR);
    bench.commit("DROP TABLE more", HOUR);
    bench.commit("VACUUM", HOUR);
    let stats = bench.stats(None);
    consistent(&stats);
    let before = stats.change.changes;
    assert!(stats.tables.unwrap().gone > 0);
    bench.commit("PRAGMA page_size=4096; VACUUM", HOUR);
    bench.commit("UPDATE hot SET x=randomblob(200) WHERE id=1", HOUR);
    let stats = bench.stats(None);
    consistent(&stats);
    let tables = stats.tables.unwrap();
    assert_eq!((tables.other_page_size, tables.gone), (before, 0));
    assert_eq!(tables.tables.iter().find(|t| t.name == "hot").unwrap().changes, 1);
}

#[test]
fn bytes_are_as_old_as_what_needs_them() {
    let bench = Bench::known();
    let (_, needed) = bench.versions();
    let now = bench.time.load(Ordering::Relaxed);
    let mut newest: BTreeMap<Version, u64> = BTreeMap::new();
    for (seq, versions) in &needed {
        newest.extend(versions.iter().map(|v| (*v, *seq)));
    }
    let mut expected = [0.0; 6];
    for segment in bench.history.chain().unwrap().segments() {
        let each = segment.stored_len() as f64 / segment.manifest.versions as f64;
        for ((_, by), seq) in &newest {
            if Seq(*by) == segment.manifest.first {
                let days = (now - bench.images[seq].0) / DAY;
                expected[if days < 1 { 0 } else { 1 + usize::from(days >= 7) }] += each;
            }
        }
    }
    let ages = bench.stats(None).ages;
    for (at, (found, expected)) in ages.iter().zip(expected).enumerate() {
        let off = (*found as f64 - expected).abs();
        assert!(off <= 5.0, "{:?}: {found} instead of {expected}", Age::ALL[at]);
    }
    assert!(ages[0] > 0 && ages[1] == 0 && ages[2] > 0, "{ages:?}");
}

#[test]
fn a_rule_costs_what_only_its_points_need() {
    let bench = Bench::known();
    let daily = Some(Periods::Count(7));
    let policy = Policy { last: 1, daily, ..Policy::default() };
    let cost = bench.stats(Some(policy.clone())).policy.unwrap();
    // Daily keeps 1, 3 and 5; the last is 5 as well, so that it costs nothing.
    let rules = |cost: &pagekeep::internals::ops::stats::PolicyCost| -> Vec<_> {
        cost.rules.iter().map(|r| (r.rule, r.points, r.only, r.bytes)).collect()
    };
    let (all, newest) = (bench.bytes(&[1, 3, 5]), bench.bytes(&[5]));
    assert_eq!(rules(&cost), [("last", 1, 0, 0), ("daily", 3, 2, all - newest)]);
    assert_eq!((cost.kept, cost.dropped, cost.stays, cost.shared), (3, 2, all, newest));

    // The same day by two rules: neither costs it.
    let both = Policy { monthly: daily, weekly: daily, ..policy.clone() };
    let cost = bench.stats(Some(both)).policy.unwrap();
    let weekly = [("weekly", 3, 0, 0), ("monthly", 1, 0, 0)];
    assert_eq!(rules(&cost), [&[("last", 1, 0, 0), ("daily", 3, 0, 0)][..], &weekly].concat());
    assert_eq!(cost.shared, cost.stays);

    // A label is a rule of its own, and so is a floor.
    bench.history.add_snapshot(Seq(2), "mine", SnapshotKind::Manual).unwrap();
    let cost = bench.stats(Some(Policy { floor: 5, ..policy })).policy.unwrap();
    let all = bench.bytes(&[1, 2, 3, 4, 5]);
    assert_eq!(
        rules(&cost),
        [
            ("last", 1, 0, 0),
            // Without it the floor keeps them.
            ("daily", 3, 0, 0),
            ("floor", 1, 1, all - bench.bytes(&[1, 2, 3, 5])),
            ("pinned", 1, 0, 0)
        ]
    );
    let refused = bench.options().policy(Policy::default());
    assert_eq!(bench.history.stats(&refused, &Silent).unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn what_a_policy_could_free_is_free_after_it_was_pruned_by() {
    let mut bench = Bench::known();
    let policy = Policy { last: 2, ..Policy::default() };
    let promised = bench.stats(Some(policy.clone())).policy.unwrap();
    let stays = bench.bytes(&[4, 5]);
    assert_eq!((promised.stays, promised.dropped), (stays, 3));
    let options = PruneOptions::new(policy.clone(), Zone::Utc).grace(Duration::ZERO);
    bench.history.prune(&options, &Silent).unwrap();
    let stats = bench.stats(Some(policy));
    consistent(&stats);
    assert_eq!((stats.commits, stats.policy.as_ref().unwrap().dropped), (2, 0));
    let off = stats.storage.segments().abs_diff(stays);
    // A segment is written anew where a fifth of it is needed no more; so up to a quarter of what stays may be left besides.
    assert!(off * 4 < stays, "{} instead of {stays}", stats.storage.segments());
    // And on top of what was merged.
    bench.commit("UPDATE hot SET x=randomblob(200)", HOUR);
    bench.commit("UPDATE hot SET x=randomblob(200)", HOUR);
    consistent(&bench.stats(None));
}

#[test]
fn short_histories_have_plain_numbers() {
    let mut bench = Bench::new();
    let empty = bench.stats(Some(Policy { last: 1, ..Policy::default() }));
    consistent(&empty);
    assert_eq!((empty.commits, empty.times, empty.periods.len()), (0, None, 0));
    assert!(empty.storage.segments() == 0 && empty.storage.total() > 0);
    bench.commit("SELECT 1", HOUR);
    let one = bench.stats(Some(Policy { last: 1, ..Policy::default() }));
    consistent(&one);
    assert_eq!((one.commits, one.change.changes, one.change.per_day()), (1, 0, None));
    assert_eq!(one.tables.as_ref().unwrap().tables, []);
    let policy = one.policy.unwrap();
    assert_eq!((policy.goes, policy.shared, policy.rules[0].bytes), (0, policy.stays, 0));
    assert_eq!(one.ages[0], one.storage.segments());
}

#[test]
fn it_stops_on_request() {
    let bench = Bench::known();
    let stop = Stoppable::default();
    stop.stop();
    let e = bench.history.stats(&bench.options(), &stop).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted);
}
