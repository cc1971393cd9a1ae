//! Copies of random histories, interrupted anywhere, behind originals that are pruned meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::chance::Random;
use crate::format::slot::KdfParams;
use crate::ops::trial::{Bench, FAULTS, HOUR};
use crate::policy::retention::Policy;
use crate::progress::Silent;
use crate::repo::RepositoryOptions;
use crate::repo::keys::secret::Secret;
use crate::store::{FaultStore, MemoryStore, Store};

/// A repository to copy to.
struct Other {
    store: MemoryStore,
    secret: Secret,
    dir: tempfile::TempDir,
}

impl Other {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (store, secret) = (MemoryStore::new(), Secret::new_recovery().unwrap());
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let state = dir.path().join("state");
        Repository::init(
            Arc::new(store.clone()),
            &[(&secret, "")],
            kdf,
            &RepositoryOptions::new(state).threads(1),
        )
        .unwrap();
        Self { store, secret, dir }
    }

    fn open(&self, store: Arc<dyn Store>) -> Result<Repository> {
        Repository::open(
            store,
            &self.secret,
            &RepositoryOptions::new(self.dir.path().join("state")).threads(1),
        )
    }

    fn repository(&self) -> Repository {
        self.open(Arc::new(self.store.clone())).unwrap()
    }

    /// The same trial, as if the copy was its history.
    fn check(&self, bench: &mut Bench, what: &str) -> BTreeSet<Seq> {
        let copy = self.repository().history("app").unwrap();
        let original = std::mem::replace(&mut bench.history, copy);
        let found = bench.check(what);
        bench.verify(what);
        bench.history = original;
        found
    }
}

fn points(history: &History) -> BTreeSet<Seq> {
    history.chain().unwrap().commits().map(|c| c.seq).collect()
}

#[test]
fn a_copy_has_what_the_original_had_whatever_becomes_of_that() {
    for seed in 0..40 {
        let mut bench = Bench::new(seed);
        let mut random = Random::new(seed + 3_000_000);
        let other = Other::new();
        let mut copied: BTreeSet<Seq> = BTreeSet::new();
        for round in 0..5 {
            let what = format!("seed {seed}, round {round}");
            for _ in 0..random.below(8) {
                bench.pass(HOUR);
                let seq = bench.commit();
                if random.below(4) == 0 {
                    let kind = crate::format::snapshot::SnapshotKind::Manual;
                    bench.history.add_snapshot(seq, &format!("label {seq}"), kind).unwrap();
                }
            }
            if bench.expected.is_empty() {
                continue;
            }
            if random.below(2) == 0 {
                let last = u32::try_from(random.below(4)).unwrap() + 1;
                let policy = Policy { last, ..Policy::default() };
                bench.history.prune(&bench.options(policy), &Silent).unwrap();
            }
            let now = points(&bench.history);
            let behind = copied.last().copied().unwrap_or_default();
            let news: BTreeSet<Seq> = now.iter().copied().filter(|s| *s > behind).collect();
            let options = CopyOptions::default();
            let report = bench.history.copy_to(&other.repository(), &options, &Silent).unwrap();
            assert_eq!(report.commits, u64::try_from(news.len()).unwrap(), "{what}");
            copied.extend(news);
            assert_eq!(other.check(&mut bench, &what), copied, "{what}");
            let again = bench.history.copy_to(&other.repository(), &options, &Silent).unwrap();
            assert_eq!((again.commits, again.marks), (0, 0), "{what}");
            let labels = |history: &History| -> Vec<_> {
                let all = history.snapshots().unwrap().into_iter();
                all.filter(|s| copied.contains(&s.seq)).map(|s| (s.seq, s.label)).collect()
            };
            let copy = other.repository().history("app").unwrap();
            assert_eq!(labels(&copy), labels(&bench.history), "{what}");
        }
    }
}

#[test]
fn a_copy_that_dies_at_any_operation_goes_on_where_it_was() {
    let mut bench = Bench::new(5);
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(1200000))").unwrap();
    for _ in 0..6 {
        bench.pass(HOUR);
        bench.commit();
    }
    let wanted = points(&bench.history);
    bench.history.add_hold(*wanted.first().unwrap(), "audit").unwrap();
    let options = CopyOptions::default();
    let run = |other: &Other, store: Arc<dyn Store>| {
        other.open(store).and_then(|to| bench.history.copy_to(&to, &options, &Silent))
    };
    let other = Other::new();
    let counting = Arc::new(FaultStore::counting(Arc::new(other.store.clone())));
    let all = u64::try_from(wanted.len()).unwrap();
    assert_eq!(run(&other, counting.clone()).unwrap().commits, all);
    let segments = other.repository().history("app").unwrap().chain().unwrap().segments().len();
    assert!(segments > 1, "one stretch only");
    let operations = counting.operations();
    assert!(operations > 20, "{operations}");
    let mut outcomes = Vec::new();
    for (k, fault) in (0..operations).flat_map(|k| FAULTS.map(|fault| (k, fault))) {
        let other = Other::new();
        let failed =
            run(&other, Arc::new(FaultStore::new(Arc::new(other.store.clone()), k, fault)));
        let again = run(&other, Arc::new(other.store.clone()));
        again.unwrap_or_else(|e| panic!("{fault:?} at {k}: {e:?}"));
        outcomes.push((format!("{fault:?} at {k}"), other, failed.is_err()));
    }
    assert!(outcomes.iter().filter(|o| o.2).count() > outcomes.len() / 2);
    for (what, other, _) in outcomes {
        assert_eq!(other.check(&mut bench, &what), wanted, "{what}");
        assert_eq!(other.repository().history("app").unwrap().holds().unwrap().len(), 1, "{what}");
    }
}

#[test]
fn what_is_no_copy_is_left_alone() {
    let mut bench = Bench::new(6);
    bench.commit();
    let other = Other::new();
    let options = CopyOptions::default();
    let error = bench.history.copy_to(bench.history.repository(), &options, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    other.repository().create_history("app", "another").unwrap();
    let error = bench.history.copy_to(&other.repository(), &options, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    // Somebody wrote to the copy.
    let other = Other::new();
    bench.history.copy_to(&other.repository(), &options, &Silent).unwrap();
    let original =
        std::mem::replace(&mut bench.history, other.repository().history("app").unwrap());
    bench.app.execute_batch("INSERT INTO t(x) VALUES('mine')").unwrap();
    bench.capture();
    bench.history = original;
    let error = bench.history.copy_to(&other.repository(), &options, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
}
