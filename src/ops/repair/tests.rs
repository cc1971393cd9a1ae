//! Histories with every kind of damage: what a repair says remains is exactly what can be restored
//! afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::chance::Random;
use crate::error::ErrorKind;
use crate::ops::prune::{GRACE, PruneOptions};
use crate::ops::trial::{Bench, FAULTS, HOUR};
use crate::policy::retention::Policy;
use crate::progress::Silent;
use crate::store::Store;
use crate::types::Seq;

fn options(apply: bool) -> RepairOptions {
    RepairOptions { apply, data: true, adopt: true }
}

/// A history with everything in it.
fn bench(seed: u64) -> Bench {
    let mut bench = Bench::new(seed);
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(1100000))").unwrap();
    for n in 0..8 {
        bench.pass(HOUR);
        let seq = bench.commit();
        if n % 3 == 0 {
            let kind = crate::format::snapshot::SnapshotKind::Manual;
            bench.history.add_snapshot(seq, &format!("label {n}"), kind).unwrap();
            bench.history.add_hold(seq, "audit").unwrap();
        }
    }
    bench
}

/// Every object of the history.
fn objects(bench: &Bench) -> Vec<String> {
    let listed = bench.store.list(&bench.history.names().all()).unwrap();
    listed.into_iter().map(|e| e.name).collect()
}

#[test]
fn what_a_repair_says_remains_is_what_remains() {
    let mut random = Random::new(9);
    let (mut lost_some, mut lost_none) = (0, 0);
    let count = objects(&bench(1)).len();
    for victim in 0..count {
        for way in 0..4 {
            let mut bench = bench(1);
            let name = objects(&bench).get(victim).cloned().unwrap();
            let what = format!("{name}, way {way}");
            let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
            match way {
                0 => bench.store.delete(&name).unwrap(),
                3 => {
                    // What a newer version might have written, if nothing vouched for it.
                    bytes[5 + victim % 3] ^= 8;
                    bench.store.damage(&name, &bytes);
                }
                _ => {
                    // In the seal in front, or in the data behind.
                    let at =
                        if way == 1 { 50 } else { bytes.len() - 1 - random.below(bytes.len() / 2) };
                    bytes[at] ^= 4;
                    bench.store.damage(&name, &bytes);
                }
            }
            // Another machine, which has seen nothing of it.
            bench.history = bench.through(Arc::new(bench.store.clone())).unwrap();
            let before = bench.store.list("histories/").unwrap();
            let dry = bench
                .history
                .repair(None, &options(false), &Silent)
                .unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(bench.store.list("histories/").unwrap(), before, "{what}");
            let path = bench.dir.path().join("app.db");
            let database = (way == 1).then_some(&*path);
            bench.pass(HOUR);
            let done = bench
                .history
                .repair(database, &options(true), &Silent)
                .unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!((&done.faults, &done.lost), (&dry.faults, &dry.lost), "{what}");
            let mut expected: BTreeSet<Seq> = dry.restorable.clone();
            if let Some(seq) = done.healed {
                bench.expected.insert(seq, std::fs::read(&path).unwrap());
                expected.insert(seq);
            }
            // A commit that marks the numbers of lost ones shows the one before it.
            let chain = bench.history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
            let mark = chain.commits().find(|c| !bench.expected.contains_key(&c.seq));
            if let Some(mark) = mark {
                let shown = expected.range(..mark.seq).next_back().copied().unwrap();
                bench.expected.insert(mark.seq, bench.expected[&shown].clone());
                expected.insert(mark.seq);
            }
            assert_eq!(bench.check(&what), expected, "{what}");
            bench.verify(&what);
            if done.lost.is_empty() {
                lost_none += 1
            } else {
                lost_some += 1
            }
            // The next backup goes on, and what it makes can be restored.
            bench.app.execute_batch("INSERT INTO t(x) VALUES('after')").unwrap();
            let next = bench.capture();
            assert!(bench.check(&what).contains(&next), "{what}");
            let again = bench.history.repair(None, &options(false), &Silent).unwrap();
            assert!(again.is_sound(), "{what}: {again:?}");
        }
    }
    assert!(lost_some > 10 && lost_none > 10, "{lost_some} {lost_none}");
}

#[test]
fn a_history_that_went_backwards_is_taken_as_it_is_only_if_somebody_says_so() {
    let mut bench = bench(2);
    let newest = bench.history.chain().unwrap().newest().unwrap().name().to_owned();
    bench.store.delete(&newest).unwrap();
    let objects = bench.store.list("histories/").unwrap();
    let report = bench.history.repair(None, &options(false), &Silent).unwrap();
    // The state of this machine says more than the repository does.
    assert!(report.set_back && report.lost.is_empty(), "{report:?}");
    assert!(report.faults.iter().all(|f| f.action == Action::Leave), "{report:?}");
    let e = bench.history.repair(None, &options(true), &Silent).unwrap_err();
    assert!(e.kind() == ErrorKind::Damaged && e.to_string().contains("went backwards"), "{e:?}");
    assert_eq!(bench.store.list("histories/").unwrap(), objects);
    assert!(bench.history.chain().unwrap_err().to_string().contains("went backwards"));
    crate::repo::accept_rollback(&bench.history).unwrap();
    bench.app.execute_batch("INSERT INTO t(x) VALUES('after')").unwrap();
    let next = bench.capture();
    assert!(bench.check("accepted").contains(&next));
}

#[test]
fn a_repair_that_dies_at_any_operation_is_finished_by_the_next() {
    use crate::store::{Fault, FaultStore};

    let scene = |fault: Option<(u64, Fault)>| {
        let bench = bench(4);
        // A label, a segment in the middle, and pages of the base.
        let chain = bench.history.chain().unwrap();
        let names = bench.history.names();
        let mut victims = vec![chain.segments()[5].name().to_owned()];
        victims.push(bench.store.list(&names.snapshots()).unwrap()[0].name.clone());
        for (name, from_end) in victims
            .iter()
            .map(|n| (n.clone(), 40))
            .chain([(bench.store.list(&names.data()).unwrap()[0].name.clone(), 500_000)])
        {
            let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
            let at = bytes.len().saturating_sub(from_end).max(50).min(bytes.len() - 1);
            bytes[at] ^= 1;
            bench.store.damage(&name, &bytes);
        }
        let (at, fault) = fault.unwrap_or((u64::MAX, Fault::Error));
        let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), at, fault));
        let path = bench.dir.path().join("app.db");
        let ended = bench
            .through(store.clone())
            .and_then(|history| history.repair(Some(&path), &options(true), &Silent));
        (bench, ended, store.operations())
    };
    let (mut healthy, ended, operations) = scene(None);
    let healed = ended.unwrap().healed.unwrap();
    healthy.history = healthy.through(Arc::new(healthy.store.clone())).unwrap();
    let path = healthy.dir.path().join("app.db");
    healthy.expected.insert(healed, std::fs::read(&path).unwrap());
    // In an ordinary run every operation in one of the ways.
    let all = std::env::var_os("PAGEKEEP_ALL_FAULTS").is_some();
    let due = |(k, way): &(u64, u64)| all || k % 4 == *way;
    let cases = (0..operations).flat_map(|k| (0..4).map(move |way| (k, way))).filter(due);
    for (k, fault) in cases.map(|(k, way)| (k, FAULTS[usize::try_from(way).unwrap()])) {
        let what = format!("{fault:?} at {k}");
        let (mut bench, _, _) = scene(Some((k, fault)));
        bench.history = bench.through(Arc::new(bench.store.clone())).unwrap();
        let path = bench.dir.path().join("app.db");
        let done = bench
            .history
            .repair(Some(&path), &options(true), &Silent)
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        // Whichever of the two healed it, the newest commit is the live database.
        let chain = bench.history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let newest = chain.latest().unwrap().seq;
        assert!(done.healed.is_none_or(|seq| seq == newest), "{what}");
        let live = std::fs::read(&path).unwrap();
        let known = *bench.expected.keys().next_back().unwrap();
        for commit in chain.commits().filter(|c| c.seq > known) {
            // Commits that mark lost numbers show what was newest then; the last is the live
            // database.
            if commit.record.digest == chain.latest().unwrap().record.digest {
                bench.expected.insert(commit.seq, live.clone());
            }
        }
        assert!(bench.expected.contains_key(&newest), "{what}");
        let shown: BTreeSet<Seq> = chain.commits().map(|c| c.seq).collect();
        for seq in shown {
            let before = bench.expected.range(..seq).next_back().map(|(_, b)| b.clone());
            if let (false, Some(before)) = (bench.expected.contains_key(&seq), before) {
                bench.expected.insert(seq, before);
            }
        }
        assert!(bench.check(&what).contains(&newest), "{what}");
        bench.verify(&what);
    }
    assert!(operations > 60, "{operations}");
}

#[test]
fn a_damaged_merge_gives_way_to_what_it_replaced_while_that_is_there() {
    let mut random = Random::new(5);
    for victim in 0..8 {
        let mut bench = bench(20 + victim);
        for _ in 0..12 {
            bench.pass(HOUR);
            bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(2000))").unwrap();
            bench.capture();
        }
        let policy = Policy { last: 12, ..Policy::default() };
        let prune_options = PruneOptions { grace: GRACE, ..bench.options(policy) };
        assert!(bench.history.prune(&prune_options, &Silent).unwrap().merges > 0);
        let points = bench.check("pruned");
        let chain = bench.history.chain().unwrap();
        let merged: Vec<_> = chain.segments().iter().filter(|s| s.is_merged()).collect();
        let segment = merged[random.below(merged.len())];
        // Within the data, wherever that lies.
        let name = match segment.manifest.parts.len() {
            0 => segment.name().to_owned(),
            _ => bench.history.names().part(segment.reference.id, 0),
        };
        let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
        let at = bytes.len() - 1 - random.below(bytes.len() / 2);
        bytes[at] ^= 1;
        bench.store.damage(&name, &bytes);
        let what = format!("{victim}: {name} at {at} of {}", bytes.len());
        let dry = bench.history.repair(None, &options(false), &Silent).unwrap();
        assert_eq!((&dry.lost, &dry.restorable), (&Vec::new(), &points), "{what}");
        let done = bench.history.repair(None, &options(true), &Silent).unwrap();
        assert_eq!((&done.faults, &done.lost), (&dry.faults, &dry.lost), "{what}");
        assert_eq!(bench.check(&what), points, "{what}");
        bench.verify(&what);
        let again = bench.history.repair(None, &options(false), &Silent).unwrap();
        assert!(again.is_sound(), "{what}: {again:?}");
        // Merged once more, and the originals gone: still all there.
        bench.pass(HOUR);
        bench.history.prune(&prune_options, &Silent).unwrap();
        bench.pass(HOUR * 2);
        bench.history.prune(&prune_options, &Silent).unwrap();
        assert_eq!(bench.check(&what), points, "{what}");
    }
}

#[test]
fn a_backup_after_a_repair_that_died_is_on_the_chain() {
    use crate::store::{Fault, FaultStore};

    let scene = |at: u64, fault: Fault| {
        let bench = bench(4);
        let name = bench.history.chain().unwrap().segments()[5].name().to_owned();
        let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
        bytes[60] ^= 1;
        bench.store.damage(&name, &bytes);
        let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), at, fault));
        let ended = bench
            .through(store.clone())
            .and_then(|history| history.repair(None, &options(true), &Silent));
        (bench, ended, store.operations())
    };
    let (_, ended, operations) = scene(u64::MAX, Fault::Error);
    assert!(!ended.unwrap().lost.is_empty());
    for k in 0..operations {
        for fault in [Fault::Dead, Fault::LostResponse] {
            let what = format!("{fault:?} at {k}");
            let (mut bench, _, _) = scene(k, fault);
            bench.history = bench.through(Arc::new(bench.store.clone())).unwrap();
            bench.app.execute_batch("INSERT INTO t(x) VALUES('after')").unwrap();
            bench.pass(HOUR);
            // Before it is repaired the chain is broken.
            let Ok(seq) = bench.try_capture() else { continue };
            let chain = bench.history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert_eq!(chain.latest().map(|c| c.seq), Some(seq), "{what}");
        }
    }
    let (mut bench, _, _) = scene(u64::MAX, Fault::Error);
    bench.history = bench.through(Arc::new(bench.store.clone())).unwrap();
    bench.try_capture().unwrap();
}

mod numbers;
