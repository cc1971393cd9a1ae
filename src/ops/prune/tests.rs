//! Random histories, pruned and merged at random: every restore point stays byte for byte what it was, and nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;

use super::*;
use crate::capture::commit::{CaptureOptions, capture};
use crate::codec::batch::SelfCheck;
use crate::format::slot::KdfParams;
use crate::ops::restore::{Check, RestoreOptions, restore};
use crate::policy::retention::Periods;
use crate::progress::Silent;
use crate::repo::Repository;
use crate::repo::keys::Secret;
use crate::repo::writer::Writer;
use crate::sqlite::source::Source;
use crate::store::{Fault, FaultStore, MemoryStore, Store};
use crate::types::Timestamp;

const HOUR: i64 = 3_600_000_000;
/// 2026-03-01T00:00:00Z.
const BEGIN: i64 = 1_772_323_200_000_000;

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % n
    }
}

/// A database, its history, and what each commit has to restore to.
struct Bench {
    dir: tempfile::TempDir,
    time: Arc<AtomicI64>,
    store: MemoryStore,
    secret: Secret,
    history: History,
    app: Connection,
    random: Random,
    expected: BTreeMap<Seq, Vec<u8>>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let time = Arc::new(AtomicI64::new(BEGIN));
        let clock = time.clone();
        let clock = Clock::new(move || Timestamp(clock.load(Ordering::Relaxed)));
        let store = MemoryStore::with_clock(clock);
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let shared = Arc::new(store.clone());
        let repository =
            Repository::init(shared, &[(&secret, "")], kdf, dir.path().join("state")).unwrap();
        let history = repository.create_history("app", "app.db").unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        let mut random = Random::new(seed);
        let page_size = [512, 512, 1024, 4096][random.below(4)];
        app.execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={}; PRAGMA synchronous=OFF;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)",
            random.below(3)
        ))
        .unwrap();
        let expected = BTreeMap::new();
        Self { dir, time, store, secret, history, app, random, expected }
    }

    fn clock(&self) -> Clock {
        let time = self.time.clone();
        Clock::new(move || Timestamp(time.load(Ordering::Relaxed)))
    }

    fn pass(&self, micros: i64) {
        self.time.fetch_add(micros, Ordering::Relaxed);
    }

    /// Changes the database in some way and captures it.
    fn commit(&mut self) -> Seq {
        let mut random = Random::new(self.random.below(1 << 30) as u64);
        let mut n = || random.below(1000);
        let sql = match n() % 10 {
            0..=4 => format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{})
                 INSERT INTO t(x) SELECT randomblob({}) FROM n",
                n() % 20 + 1,
                n() % 900
            ),
            5 | 6 => format!("UPDATE t SET x=randomblob({}) WHERE id%7={}", n() % 900, n() % 7),
            7 => format!("DELETE FROM t WHERE id%5={}", n() % 5),
            8 => "VACUUM".to_owned(),
            _ => "DELETE FROM t WHERE id>3; PRAGMA incremental_vacuum".to_owned(),
        };
        self.app.execute_batch(&sql).unwrap();
        self.capture()
    }

    fn capture(&mut self) -> Seq {
        let path = self.dir.path().join("app.db");
        let mut source = Source::open(&path).unwrap();
        let mut writer = Writer::open(&self.history, "backup").unwrap();
        let options = CaptureOptions {
            clock: self.clock(),
            threads: 1,
            self_check: SelfCheck::Every,
            ..CaptureOptions::default()
        };
        let captured =
            capture(&mut writer, source.pin().unwrap(), "app.db", &options, &Silent).unwrap();
        self.expected.insert(captured.seq, std::fs::read(path).unwrap());
        captured.seq
    }

    fn through(&self, store: Arc<dyn Store>) -> Result<History> {
        Repository::open(store, &self.secret, self.dir.path().join("elsewhere"))?.history("app")
    }

    /// Restores every restore point, and answers which they are.
    fn check(&self, what: &str) -> BTreeSet<Seq> {
        let chain = self.history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let options = RestoreOptions { check: Check::None, threads: 1, force: false };
        let mut found = BTreeSet::new();
        for commit in chain.commits() {
            let target = self.dir.path().join("restored");
            restore(&self.history, &chain, &commit, &target, &options, &Silent)
                .unwrap_or_else(|e| panic!("{what}: commit {}: {e:?}", commit.seq));
            let same = std::fs::read(&target).unwrap() == self.expected[&commit.seq];
            assert!(same, "{what}: commit {} has other bytes", commit.seq);
            std::fs::remove_file(target).unwrap();
            found.insert(commit.seq);
        }
        found
    }

    fn options(&self, policy: Policy) -> PruneOptions {
        PruneOptions {
            clock: self.clock(),
            threads: 1,
            grace: Duration::ZERO,
            ..PruneOptions::new(policy, Zone::Utc)
        }
    }

    fn verify(&self, what: &str) {
        let options = VerifyOptions {
            level: Level::Data,
            sample_ppm: None,
            max_time: None,
            assertions: Vec::new(),
            threads: 1,
            scratch: self.dir.path().to_owned(),
        };
        let report = verify(&self.history, None, &options, &Silent).unwrap();
        assert_eq!(report.findings, vec![], "{what}");
    }
}

fn cases(default: u64) -> u64 {
    std::env::var("PAGEKEEP_PRUNE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn merging_in_any_order_gives_the_same_answers() {
    for seed in 0..cases(150) {
        let mut bench = Bench::new(seed);
        let mut points: BTreeSet<Seq> = BTreeSet::new();
        let mut random = Random::new(seed + 1_000_000);
        for round in 0..4 {
            for _ in 0..random.below(8) + 2 {
                bench.pass(HOUR);
                points.insert(bench.commit());
            }
            // Some of them expire.
            let claim = Claim::take(&bench.history, PRUNE).unwrap();
            let chain = bench.history.chain().unwrap();
            let newest = chain.latest().unwrap().seq;
            let gone: HashSet<Seq> =
                points.iter().copied().filter(|s| *s != newest && random.below(3) == 0).collect();
            points.retain(|s| !gone.contains(s));
            let expired = |seq| gone.contains(&seq) || chain.expired().contains(seq);
            let states = chain.states().map(|c| (c.seq, expired(c.seq)));
            Expired::publish(&bench.history, claim.term, Timestamp(0), states).unwrap();
            for step in 0..random.below(6) {
                let what = format!("seed {seed}, round {round}, step {step}");
                let chain = bench.history.chain().unwrap();
                let segments = chain.segments().len();
                if segments < 2 {
                    break;
                }
                let from = random.below(segments - 1);
                let until = from + 1 + random.below(segments - 1 - from);
                // A range must not cross a base that something before needs.
                let crosses = chain.segments()[from + 1..until]
                    .iter()
                    .any(|s| s.manifest.kind == crate::format::segment::SegmentKind::Base);
                if crosses {
                    continue;
                }
                let keep = if random.below(2) == 0 { Keep::All } else { Keep::Points };
                let options = Options {
                    keep,
                    compression: Compression::Fast,
                    threads: 1,
                    rekey: random.below(4) == 0,
                    open_copied: true,
                };
                merge(&bench.history, &chain, from..until, &claim, &options, &Silent)
                    .unwrap_or_else(|e| panic!("{what}: {from}..{until} of {segments}: {e:?}"));
                assert_eq!(bench.check(&what), points, "{what}");
                if random.below(2) == 0 {
                    let claim = Claim::take(&bench.history, PRUNE).unwrap();
                    let chain = bench.history.chain().unwrap();
                    let now = bench.clock().now();
                    collect::find(&bench.history, &chain, claim, now, Duration::ZERO)
                        .unwrap()
                        .delete(&bench.history)
                        .unwrap();
                    assert_eq!(bench.check(&what), points, "{what}, collected");
                }
            }
        }
        bench.verify(&format!("seed {seed}"));
    }
}

fn policy(random: &mut Random) -> Policy {
    let mut periods = |n: usize| {
        let count = Periods::Count(u32::try_from(random.below(n)).unwrap() + 1);
        (random.below(2) == 0).then_some(count)
    };
    Policy {
        hourly: periods(4),
        daily: periods(4),
        weekly: periods(3),
        monthly: periods(2),
        window: (random.below(3) == 0)
            .then(|| chrono::TimeDelta::hours(i64::try_from(random.below(30)).unwrap() + 1)),
        last: u32::try_from(random.below(3)).unwrap() + 1,
        ..Policy::default()
    }
}

#[test]
fn exactly_what_was_promised_remains() {
    let (mut dropped, mut merges, mut held) = (0, 0, 0);
    for seed in 0..cases(100) {
        let mut bench = Bench::new(seed);
        let mut random = Random::new(seed + 2_000_000);
        let policy = policy(&mut random);
        for round in 0..3 {
            let what = format!("seed {seed}, round {round}, {policy:?}");
            for _ in 0..random.below(12) + 1 {
                bench.pass(HOUR * i64::try_from(random.below(20)).unwrap() + 1);
                bench.commit();
            }
            let chain = bench.history.chain().unwrap();
            let commits: Vec<Seq> = chain.commits().map(|c| c.seq).collect();
            for _ in 0..random.below(2) {
                bench.history.add_hold(commits[random.below(commits.len())], "audit").unwrap();
                held += 1;
            }
            let options = bench.options(policy.clone());
            let expected = decide(&bench.history, &chain, &options).unwrap();
            let dry = PruneOptions { dry_run: true, ..options.clone() };
            let before = Store::list(&bench.store, "histories/").unwrap();
            let guess = prune(&bench.history, &dry, &Silent).unwrap();
            assert_eq!(Store::list(&bench.store, "histories/").unwrap(), before);
            assert_eq!(guess.kept, expected.kept, "{what}");
            let report = prune(&bench.history, &options, &Silent).unwrap();
            assert_eq!((&report.kept, &report.dropped), (&expected.kept, &expected.dropped));
            dropped += report.dropped.len();
            merges += report.merges;
            let kept: BTreeSet<Seq> = expected.kept.iter().map(|k| k.seq).collect();
            assert_eq!(bench.check(&what), kept, "{what}");
            // Again: nothing to do, and nothing left over.
            bench.pass(1);
            let again = prune(&bench.history, &bench.options(policy.clone()), &Silent).unwrap();
            assert_eq!((again.dropped.len(), again.waiting), (0, 0), "{what}");
            assert_eq!(bench.check(&what), kept, "{what}, again");
            assert_eq!(bench.history.chain().unwrap().strays(), 0, "{what}");
        }
        bench.verify(&format!("seed {seed}"));
    }
    assert!(dropped > 200 && merges > 100 && held > 20, "{dropped} {merges} {held}");
}

#[test]
fn a_merged_segment_of_which_more_expires_is_rewritten() {
    for seed in 0..8 {
        let mut bench = Bench::new(seed);
        let commits: Vec<Seq> = (0..20)
            .map(|_| {
                bench.pass(HOUR);
                bench
                    .app
                    .execute_batch(
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)
                         INSERT OR REPLACE INTO t SELECT i, randomblob(900) FROM n",
                    )
                    .unwrap();
                bench.capture()
            })
            .collect();
        let holds: Vec<_> = commits[1..7]
            .iter()
            .map(|seq| bench.history.add_hold(*seq, "audit").unwrap())
            .collect();
        for hold in &holds {
            let options = bench.options(Policy { last: 1, ..Policy::default() });
            prune(&bench.history, &options, &Silent).unwrap();
            bench.check(&format!("seed {seed}"));
            // All that is worth reclaiming was reclaimed.
            let chain = bench.history.chain().unwrap();
            let live = live_versions(&chain, &Silent).unwrap();
            let left = dead(&pieces(&chain, Some(&live)), DEAD_PERCENT);
            assert_eq!(left, vec![], "seed {seed}, hold on {}", hold.seq);
            bench.pass(1);
            bench.history.remove_hold(hold).unwrap();
        }
    }
}

const FAULTS: [Fault; 4] = [Fault::Error, Fault::LostResponse, Fault::Torn, Fault::Dead];

#[test]
fn a_prune_that_dies_at_any_operation_loses_nothing_and_the_next_completes_it() {
    let policy = Policy { last: 2, daily: Some(Periods::Count(3)), ..Policy::default() };
    let scene = |k: Option<(u64, Fault)>| {
        let mut bench = Bench::new(77);
        // Large enough for parts.
        bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(1500000))").unwrap();
        for _ in 0..12 {
            bench.pass(HOUR * 7);
            bench.commit();
        }
        let hold = bench.expected.keys().nth(3).copied().unwrap();
        bench.history.add_hold(hold, "audit").unwrap();
        let chain = bench.history.chain().unwrap();
        let plan = decide(&bench.history, &chain, &bench.options(policy.clone())).unwrap();
        let kept: BTreeSet<Seq> = plan.kept.iter().map(|k| k.seq).collect();
        let (at, fault) = k.unwrap_or((u64::MAX, Fault::Error));
        let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), at, fault));
        let outcome = bench
            .through(store.clone())
            .and_then(|history| prune(&history, &bench.options(policy.clone()), &Silent));
        (bench, kept, outcome, store.operations())
    };
    let (bench, kept, outcome, operations) = scene(None);
    assert!(outcome.unwrap().merges > 0);
    assert_eq!(bench.check("undisturbed"), kept);
    assert!(kept.len() < 8 && operations > 60, "{kept:?}, {operations} operations");
    let mut failed = 0;
    for (k, fault) in (0..operations).flat_map(|k| FAULTS.map(|fault| (k, fault))) {
        let what = format!("{fault:?} at {k}");
        let (bench, kept, outcome, _) = scene(Some((k, fault)));
        failed += u64::from(outcome.is_err());
        let there = bench.check(&what);
        assert!(kept.is_subset(&there), "{what}: {there:?} lacks some of {kept:?}");
        bench.pass(1);
        prune(&bench.history, &bench.options(policy.clone()), &Silent)
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(bench.check(&what), kept, "{what}");
        // What no segment names goes once it can't be of one that is being written.
        bench.pass(8 * 24 * HOUR);
        let options = PruneOptions {
            policy: Policy { last: 1000, ..Policy::default() },
            ..bench.options(policy.clone())
        };
        prune(&bench.history, &options, &Silent).unwrap();
        assert_eq!(bench.check(&what), kept, "{what}");
        bench.no_orphans(&what);
        bench.verify(&what);
    }
    assert!(failed > operations, "only {failed} of {operations} failed");
}

impl Bench {
    /// Every object of the history is one that somebody needs.
    fn no_orphans(&self, what: &str) {
        let chain = self.history.chain().unwrap();
        let names = self.history.names();
        let mut needed: BTreeSet<String> = BTreeSet::new();
        for segment in chain.segments() {
            needed.insert(segment.name().to_owned());
            let parts = 0..u32::try_from(segment.manifest.parts.len()).unwrap();
            needed.extend(parts.map(|part| names.part(segment.reference.id, part)));
        }
        for prefix in [names.log(), names.merged(), names.data()] {
            for entry in self.store.list(&prefix).unwrap() {
                assert!(needed.contains(&entry.name), "{what}: {} is an orphan", entry.name);
            }
        }
        assert!(chain.expired().records().len() <= 1, "{what}");
    }
}
