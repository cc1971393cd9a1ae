//! Random histories, pruned and merged at random: every restore point stays byte for byte what it
//! was, and nothing else does.

mod late;
mod year;

use std::collections::BTreeSet;

use std::sync::Arc;

use super::*;
use crate::chance::Random;
use crate::format::proof::Proof;
use crate::ops::trial::{Bench, FAULTS, HOUR};
use crate::policy::retention::Periods;
use crate::progress::{Monitor, Silent};
use crate::repo::merge::plan::DEAD_PERCENT;
use crate::store::{Fault, FaultStore, Store};
use crate::types::Timestamp;

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
            let announced =
                Expired::announce(&bench.history, (claim.term, Timestamp(0)), states, &[]).unwrap();
            announced.decide(&bench.history).unwrap();
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
                let options = Options { keep, compression: Compression::Fast, repack: false };
                merge(&bench.history, &chain, from..until, &claim, &options, &Silent)
                    .unwrap_or_else(|e| panic!("{what}: {from}..{until} of {segments}: {e:?}"));
                assert_eq!(bench.check(&what), points, "{what}");
                if random.below(2) == 0 {
                    let claim = Claim::take(&bench.history, PRUNE).unwrap();
                    let chain = bench.history.chain().unwrap();
                    gc::find(&bench.history, &chain, claim, Duration::ZERO)
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
            let expected = decide(&bench.history, &chain, &options, &[]).unwrap();
            let dry = PruneOptions { dry_run: true, ..options.clone() };
            let before = Store::list(&bench.store, "histories/").unwrap();
            let guess = bench.history.prune(&dry, &Silent).unwrap();
            assert_eq!(Store::list(&bench.store, "histories/").unwrap(), before);
            assert_eq!(guess.kept, expected.kept, "{what}");
            let report = bench.history.prune(&options, &Silent).unwrap();
            assert_eq!((&report.kept, &report.dropped), (&expected.kept, &expected.dropped));
            dropped += report.dropped.len();
            merges += report.merges;
            let kept: BTreeSet<Seq> = expected.kept.iter().map(|k| k.seq).collect();
            assert_eq!(bench.check(&what), kept, "{what}");
            // Again: nothing to do, and nothing left over.
            bench.pass(1);
            let again = bench.history.prune(&bench.options(policy.clone()), &Silent).unwrap();
            assert_eq!((again.dropped.len(), again.waiting_bytes), (0, 0), "{what}");
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
            bench.history.prune(&options, &Silent).unwrap();
            bench.check(&format!("seed {seed}"));
            // All that is worth reclaiming was reclaimed.
            let chain = bench.history.chain().unwrap();
            let needed = needed(&chain, &Silent).unwrap();
            let mut left = pieces(&chain, Some(&needed));
            left.pop();
            left.retain(|p| p.dead * 100 >= p.bytes * DEAD_PERCENT && p.dead > 0);
            assert_eq!(left, vec![], "seed {seed}, hold on {}", hold.seq);
            bench.pass(1);
            bench.history.remove_hold(hold).unwrap();
        }
    }
}

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
        let plan = decide(&bench.history, &chain, &bench.options(policy.clone()), &[]).unwrap();
        let kept: BTreeSet<Seq> = plan.kept.iter().map(|k| k.seq).collect();
        let (at, fault) = k.unwrap_or((u64::MAX, Fault::Error));
        let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), at, fault));
        let outcome = bench
            .through(store.clone())
            .and_then(|history| history.prune(&bench.options(policy.clone()), &Silent));
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
        bench
            .history
            .prune(&bench.options(policy.clone()), &Silent)
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(bench.check(&what), kept, "{what}");
        // What no segment names goes once it can't be of one that is being written.
        bench.pass(8 * 24 * HOUR);
        let options = PruneOptions {
            policy: Policy { last: 1000, ..Policy::default() },
            ..bench.options(policy.clone())
        };
        bench.history.prune(&options, &Silent).unwrap();
        assert_eq!(bench.check(&what), kept, "{what}");
        bench.no_orphans(&what);
        bench.verify(&what);
    }
    assert!(failed > operations, "only {failed} of {operations} failed");
}

#[test]
fn what_is_held_while_a_prune_decides_does_not_expire() {
    let mut bench = Bench::new(3);
    for _ in 0..6 {
        bench.pass(HOUR);
        bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(3000))").unwrap();
        bench.capture();
    }
    // A prune looked at holds, and announces; somebody holds a commit and is told so; then the
    // prune decides.
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let chain = bench.history.chain().unwrap();
    let states = chain.states().map(|c| (c.seq, c.seq < Seq(6)));
    let announced =
        Expired::announce(&bench.history, (claim.term, Timestamp(0)), states, &[]).unwrap();
    bench.history.add_hold(Seq(2), "audit").unwrap();
    assert!(!announced.decide(&bench.history).unwrap());
    assert_eq!(bench.check("nothing expired").len(), 6);
    let policy = Policy { last: 1, ..Policy::default() };
    for round in 0..2 {
        bench.history.prune(&bench.options(policy.clone()), &Silent).unwrap();
        assert_eq!(bench.check("pruned"), BTreeSet::from([Seq(2), Seq(6)]), "round {round}");
        bench.pass(1);
    }
    bench.verify("in the end");
}

#[test]
fn a_batch_that_was_damaged_is_not_passed_on() {
    let mut bench = Bench::with_page_size(8, 4096);
    for _ in 0..400 {
        bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(9000))").unwrap();
    }
    bench.capture();
    bench.app.execute_batch("UPDATE t SET x=randomblob(9000) WHERE id<160").unwrap();
    bench.pass(HOUR);
    bench.capture();
    // The base's is the largest.
    let parts = bench.store.list(&bench.history.names().data()).unwrap();
    let part = parts.into_iter().max_by_key(|e| e.len).unwrap().name;
    let sound = bench.store.get(&part, u64::MAX).unwrap().unwrap();
    let mut bytes = sound.clone();
    // Among the last pages, which nobody changed.
    let at = bytes.len() * 3 / 4;
    bytes[at] ^= 1;
    bench.store.damage(&part, &bytes);
    let options = bench.options(Policy { last: 1, ..Policy::default() });
    let error = bench.history.prune(&options, &Silent).unwrap_err();
    assert_eq!((error.kind(), error.object()), (ErrorKind::Damaged, Some(&*part)), "{error:?}");
    assert!(bench.store.list(&bench.history.names().merged()).unwrap().is_empty());
    bench.store.damage(&part, &sound);
    assert!(bench.history.prune(&options, &Silent).unwrap().copied_bytes > 0);
    assert_eq!(bench.check("mended").len(), 1);
}

#[test]
fn of_a_commit_that_is_proven_every_night_only_the_newest_proofs_stay() {
    let mut bench = Bench::new(12);
    let seq = bench.capture();
    let digest = bench.history.chain().unwrap().latest().unwrap().record.digest;
    let options = bench.options(Policy { last: 1, ..Policy::default() });
    for night in 0..100 {
        bench.pass(HOUR * 24);
        let level = if night % 7 == 0 { Level::Restore } else { Level::Data };
        let proof = Proof {
            seq,
            digest,
            started: bench.clock().now(),
            micros: 1,
            level,
            failure: None,
            coverage_ppm: 1_000_000,
            page_bytes: 0,
            assertions: 0,
            host: String::new(),
        };
        bench.history.add_proof(&proof).unwrap();
        bench.history.prune(&options, &Silent).unwrap();
        let proofs = bench.history.proofs().unwrap();
        assert!(proofs.len() <= 16 && proofs.contains(&proof), "night {night}: {}", proofs.len());
        let restored = proofs.iter().filter(|p| p.level == Level::Restore).map(|p| p.started);
        let week = bench.clock().now().before(Duration::from_secs(7 * 24 * 3600));
        assert!(restored.max().unwrap() > week, "night {night}");
    }
}

#[test]
fn what_a_verification_found_is_not_forgotten_for_one_that_looks_at_less() {
    let mut bench = Bench::new(14);
    for _ in 0..3 {
        bench.pass(HOUR);
        bench.commit();
    }
    let latest = bench.history.chain().unwrap().latest().unwrap();
    let prove = |minute: i64, level: Level, failure: Option<&str>| {
        let proof = Proof {
            seq: latest.seq,
            digest: latest.record.digest,
            started: Timestamp(minute),
            micros: 1,
            level,
            failure: failure.map(str::to_owned),
            coverage_ppm: 1_000_000,
            page_bytes: 0,
            assertions: 0,
            host: String::new(),
        };
        bench.history.add_proof(&proof).unwrap();
    };
    let options = bench.options(Policy { last: 1, ..Policy::default() });
    prove(1, Level::Data, Some("a batch"));
    prove(2, Level::Chain, None);
    let e = bench.history.prune(&options, &Silent).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused, "{e:?}");
    // One commit is less than all.
    prove(3, Level::Restore, None);
    let e = bench.history.prune(&options, &Silent).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused, "{e:?}");
    prove(4, Level::Data, None);
    assert_eq!(bench.history.prune(&options, &Silent).unwrap().dropped.len(), 2);
}

#[test]
fn what_older_versions_stored_of_data_holds_up_no_prune() {
    let mut bench = Bench::new(15);
    bench.commit();
    let latest = bench.history.chain().unwrap().latest().unwrap();
    let options = bench.options(Policy { last: 1, ..Policy::default() });
    let prove = |failure: &str| {
        let proof = Proof {
            seq: latest.seq,
            digest: latest.record.digest,
            started: bench.clock().now(),
            micros: 1,
            level: Level::Restore,
            failure: Some(failure.to_owned()),
            coverage_ppm: 1_000_000,
            page_bytes: 0,
            assertions: 1,
            host: String::new(),
        };
        bench.history.add_proof(&proof).unwrap();
    };
    prove("app@seq:1: foreign_key_check: row 1 of k refers to nothing in p");
    prove("app@seq:1: assertion: `SELECT 0` answers 0");
    bench.history.prune(&options, &Silent).unwrap();
    // Of another history's name, or of another kind, it is damage.
    prove("other@seq:1: assertion: `SELECT 0` answers 0");
    let e = bench.history.prune(&options, &Silent).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused, "{e:?}");
    bench.history.prune(&PruneOptions { in_doubt: true, ..options }, &Silent).unwrap();
}

#[test]
fn prunes_whose_merges_overlap_delete_nothing_that_is_needed() {
    for later_term_first in [false, true] {
        let mut bench = Bench::new(1);
        for _ in 0..8 {
            bench.pass(HOUR);
            bench.commit();
        }
        let options = Options::new(Keep::All);
        let mut claims = [(); 2].map(|()| Claim::take(&bench.history, PRUNE).unwrap());
        if later_term_first {
            claims.reverse();
        }
        let [one, other] = claims;
        let chain = bench.history.chain().unwrap();
        assert_eq!(chain.segments().len(), 8);
        let collect = |claim| {
            let chain = bench.history.chain().unwrap();
            gc::find(&bench.history, &chain, claim, Duration::ZERO).unwrap()
        };
        // One merges 2 to 5, finds what can go, and sleeps.
        merge(&bench.history, &chain, 1..5, &one, &options, &Silent).unwrap();
        let found = collect(one);
        // The other one, which read the chain before, merges 4 to 6, and deletes.
        merge(&bench.history, &chain, 3..6, &other, &options, &Silent).unwrap();
        collect(other).delete(&bench.history).unwrap();
        found.delete(&bench.history).unwrap();
        let what = format!("later term first: {later_term_first}");
        assert_eq!(bench.check(&what).len(), 8, "{what}");
        // Nothing of it stays for good.
        for _ in 0..2 {
            bench.pass(9 * 24 * HOUR);
            let claim = Claim::take(&bench.history, PRUNE).unwrap();
            let chain = bench.history.chain().unwrap();
            let found = gc::find(&bench.history, &chain, claim, Duration::ZERO).unwrap();
            found.delete(&bench.history).unwrap();
        }
        assert_eq!(bench.check(&what).len(), 8, "{what}");
        crate::ops::trial::no_orphans(&bench.history, &what);
    }
}
