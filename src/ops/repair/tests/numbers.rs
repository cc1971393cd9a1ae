//! Numbers of lost commits: they never name other content, whatever was damaged and wherever a
//! repair died.

use std::collections::BTreeMap;

use super::*;
use crate::format::snapshot::SnapshotKind;
use crate::ops::point::RestorePoint;
use crate::ops::repair::{Action, Fault};
use crate::ops::restore::{Check, RestoreOptions};
use crate::ops::select::select;
use crate::policy::selector::Selector;
use crate::repo::merge::{Keep, Options as MergeOptions, merge};
use crate::repo::write::term::{Claim, PRUNE};
use crate::store::{Fault as Way, FaultStore};
use crate::types::Seq;

/// A history of commits that certainly differ, each with a label.
fn labelled(seed: u64, commits: usize) -> Bench {
    let mut bench = Bench::with_page_size(seed, 512);
    // More pages than a commit writes.
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(3000))").unwrap();
    for _ in 0..commits {
        let seq = step(&mut bench);
        bench.history.add_snapshot(seq, &format!("L{seq}"), SnapshotKind::Manual).unwrap();
    }
    bench
}

fn step(bench: &mut Bench) -> Seq {
    bench.pass(HOUR);
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(300))").unwrap();
    bench.capture()
}

fn flip(bench: &Bench, name: &str, at: usize) {
    let mut bytes = bench.store.get(name, u64::MAX).unwrap().unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 4;
    bench.store.damage(name, &bytes);
}

/// Another machine, which has seen nothing of it: only the repository tells what there was.
fn newcomer(bench: &mut Bench) {
    let fresh = tempfile::tempdir_in(bench.dir.path()).unwrap().keep();
    let store: Arc<dyn Store> = Arc::new(bench.store.clone());
    let repository = crate::repo::Repository::open(
        store,
        &bench.secret,
        &bench.machine(fresh.to_str().unwrap()),
    )
    .unwrap();
    bench.history = repository.history("app").unwrap();
}

/// Whatever can be restored under a number or a label that was told before is what it was told for.
fn judge(bench: &Bench, told: &BTreeMap<Seq, Vec<u8>>, what: &str) {
    let chain = bench.history.chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let options = RestoreOptions { check: Check::None, force: true };
    let target = bench.dir.path().join("judged");
    for (seq, bytes) in told {
        for when in [format!("seq:{seq}"), format!("L{seq}")] {
            let selector = Selector::parse(&when, &chrono::Utc::now()).unwrap();
            let Ok(commit) = select(&bench.history, &chain, &selector) else { continue };
            assert_eq!(commit.seq, *seq, "{what}: {when}");
            RestorePoint::of(&bench.history, &chain, &commit)
                .restore(&target, &options, &Silent)
                .unwrap_or_else(|e| panic!("{what}: {when}: {e:?}"));
            assert!(std::fs::read(&target).unwrap() == *bytes, "{what}: {when} has other bytes");
        }
    }
}

fn repaired(bench: &Bench, live: bool, what: &str) -> RepairReport {
    let path = bench.dir.path().join("app.db");
    let database = live.then_some(&*path);
    bench
        .history
        .repair(database, &options(true), &Silent)
        .unwrap_or_else(|e| panic!("{what}: {e:?}"))
}

#[test]
fn a_number_that_was_told_never_names_other_content() {
    // The newest segments have a flipped bit, in the seal or in the data, and the repair dies at
    // every operation.
    let scene = |damaged: usize, place: usize| {
        let bench = labelled(1, 8);
        let chain = bench.history.chain().unwrap();
        for segment in chain.segments().iter().rev().take(damaged) {
            let len = bench.store.head(segment.name()).unwrap().unwrap();
            let at = if place == 0 { 60 } else { usize::try_from(len).unwrap() - 40 };
            flip(&bench, segment.name(), at);
        }
        bench
    };
    let mut random = Random::new(3);
    let mut died = 0;
    for (damaged, place, live) in
        [(1, 0, true), (4, 0, true), (4, 0, false), (1, 1, true), (3, 1, false), (8, 0, true)]
    {
        let mut k = 0;
        loop {
            let mut bench = scene(damaged, place);
            let told = bench.expected.clone();
            let way = [Way::Error, Way::LostResponse, Way::Dead][random.below(3)];
            let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), k, way));
            let path = bench.dir.path().join("app.db");
            // What the machine itself remembers is no part of it: a new one each time.
            let ended = bench.through(store.clone()).and_then(|history| {
                history.repair(live.then_some(&*path), &options(true), &Silent)
            });
            died += usize::from(ended.is_err());
            let over = store.operations() <= k;
            let what = format!("{damaged} damaged at {place}, {way:?} at {k}");
            newcomer(&mut bench);
            // A backup may come before the next repair.
            bench.app.execute_batch("INSERT INTO t(x) VALUES('between')").unwrap();
            if random.below(2) == 0 && bench.try_capture().is_ok() {
                judge(&bench, &told, &format!("{what}, backed up"));
            }
            newcomer(&mut bench);
            repaired(&bench, live, &what);
            judge(&bench, &told, &what);
            let lost_labels = |seq: &Seq| bench.history.chain().unwrap().commit(*seq).is_none();
            assert!(told.keys().rev().take(damaged).all(lost_labels), "{what}");
            let survivors = told.len() - damaged;
            let here = bench.history.chain().unwrap();
            assert!(told.keys().take(survivors).all(|seq| here.commit(*seq).is_some()), "{what}");
            let next = step(&mut bench);
            assert!(next > *told.keys().next_back().unwrap(), "{what}: {next} was used before");
            judge(&bench, &told, &format!("{what}, next"));
            let again = bench.history.repair(None, &options(false), &Silent).unwrap();
            assert!(again.is_sound(), "{what}: {again:?}");
            if over {
                break;
            }
            // In an ordinary run a sample of the operations.
            let all = std::env::var_os("PAGEKEEP_ALL_FAULTS").is_some();
            k += if all { 1 } else { 1 + u64::try_from(random.below(9)).unwrap() };
        }
    }
    assert!(died > 20, "{died}");
}

#[test]
fn a_lost_base_with_merged_segments_behind_it_ends_well() {
    let mut bench = labelled(2, 12);
    let told = bench.expected.clone();
    let chain = bench.history.chain().unwrap();
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let merging = MergeOptions::new(Keep::All);
    merge(&bench.history, &chain, 1..6, &claim, &merging, &Silent).unwrap();
    for segment in &chain.segments()[..6] {
        bench.store.delete(segment.name()).unwrap();
    }
    newcomer(&mut bench);
    assert!(bench.try_capture().is_err());
    let report = repaired(&bench, false, "base lost");
    assert_eq!(report.lost, [(Seq(1), Seq(12))]);
    let next = step(&mut bench);
    // One number was used up for what shows that the newest are lost.
    assert_eq!(next, Seq(14));
    judge(&bench, &told, "base lost");
    assert!(bench.check("base lost").contains(&next));
    assert!(bench.history.repair(None, &options(false), &Silent).unwrap().is_sound());
}

#[test]
fn after_a_rollback_labels_name_no_new_commits() {
    for machine in [true, false] {
        let mut bench = labelled(3, 9);
        let told = bench.expected.clone();
        let chain = bench.history.chain().unwrap();
        for segment in chain.segments().iter().skip(5) {
            bench.store.delete(segment.name()).unwrap();
        }
        if machine {
            // Even without a label this machine knows how far it was.
            for entry in bench.store.list(&bench.history.names().snapshots()).unwrap() {
                bench.store.delete(&entry.name).unwrap();
            }
            crate::repo::accept_rollback(&bench.history).unwrap();
        } else {
            newcomer(&mut bench);
        }
        let next = step(&mut bench);
        assert_eq!(next, Seq(10), "machine {machine}");
        judge(&bench, &told, "rolled back");
        let chain = bench.history.chain().unwrap();
        let selector = Selector::Label("L8".to_owned());
        assert!(select(&bench.history, &chain, &selector).is_err());
    }
}

#[test]
fn junk_uses_up_few_numbers_and_no_memory() {
    let mut bench = labelled(4, 4);
    let names = bench.history.names();
    let junk = [
        format!("{}ffffffffffffffff-ffffffffffffffff", names.log()),
        format!("{}0000000000000001-ffffffffffffffff", names.log()),
        format!("{}ffffffffffffffff", names.writers()),
        format!("{}ffffffffffffffff-ffffffffffffffff", names.snapshots()),
        format!("{}ffffffffffffffff-ffffffffffffffff", names.holds()),
        format!("{QUARANTINE}{}0000000000000001-fffffffffffffff0", names.log()),
    ];
    for name in &junk {
        bench.store.create(name, &[0xa5; 300]).unwrap();
    }
    newcomer(&mut bench);
    let dry = bench.history.repair(None, &options(false), &Silent).unwrap();
    assert_eq!(dry.restorable, (1..=4).map(Seq).collect());
    let told = bench.expected.clone();
    let done = repaired(&bench, true, "junk");
    assert_eq!(done.faults, dry.faults);
    for name in &junk[..5] {
        assert!(bench.store.head(name).unwrap().is_none(), "{name}");
        assert!(bench.store.head(&format!("{QUARANTINE}{name}")).unwrap().is_some(), "{name}");
    }
    let next = step(&mut bench);
    assert!(next.0 < 100, "{next}");
    judge(&bench, &told, "junk");
    assert!(bench.history.repair(None, &options(false), &Silent).unwrap().is_sound());
}

#[test]
fn what_goes_on_behind_its_end_is_harmless_and_written_anew() {
    let mut bench = labelled(5, 4);
    let chain = bench.history.chain().unwrap();
    let name = chain.segments()[1].name().to_owned();
    let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
    bytes.push(0);
    bench.store.damage(&name, &bytes);
    newcomer(&mut bench);
    bench.verify("too long");
    let dry = bench.history.repair(None, &options(false), &Silent).unwrap();
    assert!(dry.is_sound());
    assert_eq!(dry.remarks.iter().map(|f| f.action).collect::<Vec<_>>(), [Action::Replace]);
    let policy = Policy { last: 4, ..Policy::default() };
    bench.history.prune(&bench.options(policy), &Silent).unwrap();
    repaired(&bench, false, "too long");
    let again = bench.history.repair(None, &options(false), &Silent).unwrap();
    assert!(again.is_sound() && again.remarks.is_empty(), "{again:?}");
    assert_eq!(bench.check("too long").len(), 4);
}

#[test]
fn commits_around_what_is_lost_stay() {
    // Of a segment in the middle, whether it is missing or can't be read, only what needs it is
    // lost.
    for missing in [true, false] {
        let mut bench = labelled(6, 4);
        let all = "PRAGMA auto_vacuum=0; VACUUM; DELETE FROM t; INSERT INTO t(x) VALUES(randomblob(3000))";
        bench.app.execute_batch(all).unwrap();
        let victim = step(&mut bench);
        bench.app.execute_batch("PRAGMA page_size=1024; VACUUM").unwrap();
        let whole = step(&mut bench);
        let last = step(&mut bench);
        let told = bench.expected.clone();
        let chain = bench.history.chain().unwrap();
        let name = chain.commit(victim).unwrap().segment.name().to_owned();
        if missing {
            bench.store.delete(&name).unwrap();
        } else {
            flip(&bench, &name, 60);
        }
        newcomer(&mut bench);
        let report = repaired(&bench, false, "the middle");
        assert_eq!(report.lost, [(victim, victim)]);
        assert_eq!(
            bench.check("the middle"),
            (1..=last.0).filter(|n| *n != victim.0).map(Seq).collect()
        );
        assert!(bench.history.chain().unwrap().commit(whole).is_some());
        bench.verify("the middle");
        judge(&bench, &told, "the middle");
        // Pruned and merged, it is still so.
        let policy = Policy { last: 3, ..Policy::default() };
        bench.history.prune(&bench.options(policy), &Silent).unwrap();
        bench.check("pruned");
        step(&mut bench);
        bench.verify("pruned");
    }
}

/// Something bad happens to an object.
fn harm(bench: &Bench, name: &str, random: &mut Random) -> &'static str {
    let mut bytes = bench.store.get(name, u64::MAX).unwrap().unwrap();
    match random.below(6) {
        0 => {
            bench.store.delete(name).unwrap();
            return "deleted";
        }
        1 => bytes.truncate(random.below(bytes.len())),
        2 => bytes.extend([0; 7]),
        3 => bytes.fill(0x33),
        _ => {
            // What a newer version wrote is another matter.
            let at = random.below(bytes.len());
            let at = if (5..8).contains(&at) { 4 } else { at };
            bytes[at] ^= 1 << random.below(8);
        }
    }
    bench.store.damage(name, &bytes);
    "changed"
}

#[test]
fn whatever_is_damaged_and_wherever_repairs_die_the_end_is_sound_and_true() {
    let all = std::env::var_os("PAGEKEEP_ALL_FAULTS").is_some();
    let rounds: usize = if all { 600 } else { 60 };
    let (mut kills, mut kept) = (0, 0);
    for seed in 0..u64::try_from(rounds).unwrap() {
        let mut random = Random::new(seed + 1000);
        let mut bench = labelled(seed, 6 + random.below(8));
        if random.below(2) == 0 {
            bench.history.add_hold(Seq(2), "audit").unwrap();
            let chain = bench.history.chain().unwrap();
            let claim = Claim::take(&bench.history, PRUNE).unwrap();
            let merging = MergeOptions::new(Keep::All);
            let from = random.below(3);
            merge(&bench.history, &chain, from..from + 3, &claim, &merging, &Silent).unwrap();
            if random.below(2) == 0 {
                for segment in &chain.segments()[from..from + 3] {
                    bench.store.delete(segment.name()).unwrap();
                }
            }
        }
        let told = bench.expected.clone();
        let about = bench.history.names().about();
        let mut what = format!("seed {seed}");
        for _ in 0..=random.below(3) {
            let listed = bench.store.list(&bench.history.names().all()).unwrap();
            let names: Vec<_> =
                listed.into_iter().map(|e| e.name).filter(|n| *n != about).collect();
            let name = &names[random.below(names.len())];
            let done = harm(&bench, name, &mut random);
            what = format!("{what}, {name} {done}");
        }
        newcomer(&mut bench);
        // Whatever can be read before the repair is there after it.
        let before = bench.history.readable_chain().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let live = random.below(2) == 0;
        let dry = bench
            .history
            .repair(None, &options(false), &Silent)
            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let target = bench.dir.path().join("before");
        let restoring = RestoreOptions { check: Check::None, force: true };
        for commit in before.commits() {
            let done = RestorePoint::of(&bench.history, &before, &commit)
                .restore(&target, &restoring, &Silent);
            if done.is_ok() {
                // And more, where what a damaged merge replaced is there still.
                assert!(dry.restorable.contains(&commit.seq), "{what}: {}", commit.seq);
                assert!(std::fs::read(&target).unwrap() == told[&commit.seq], "{what}");
            }
        }
        for _ in 0..random.below(4) {
            let way = [Way::Error, Way::LostResponse, Way::Dead][random.below(3)];
            let at = u64::try_from(40 + random.below(120)).unwrap();
            let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), at, way));
            let path = bench.dir.path().join("app.db");
            let ended = bench.through(store).and_then(|history| {
                history.repair(live.then_some(&*path), &options(true), &Silent)
            });
            kills += usize::from(ended.is_err());
            if random.below(3) == 0 {
                newcomer(&mut bench);
                bench.app.execute_batch("INSERT INTO t(x) VALUES('between')").unwrap();
                // Not before the history is whole.
                drop(bench.try_capture());
            }
            // A new machine each time.
            let _ = std::fs::remove_dir_all(bench.dir.path().join("elsewhere"));
        }
        newcomer(&mut bench);
        repaired(&bench, live, &what);
        judge(&bench, &told, &what);
        let chain = bench.history.chain().unwrap();
        for seq in &dry.restorable {
            assert!(chain.commit(*seq).is_some(), "{what}: commit {seq} was there before");
            kept += 1;
        }
        let used = told.keys().next_back().copied().unwrap();
        let next = step(&mut bench);
        // The newest segment may be gone without a trace but its label.
        let labels = bench.history.snapshots().unwrap();
        let known = labels.iter().map(|s| s.seq).max().unwrap_or_default();
        assert!(next > known, "{what}: {next}");
        assert!(next > used || known < used, "{what}: {next}");
        judge(&bench, &told, &format!("{what}, next"));
        bench.verify(&what);
        // What goes on behind its end was perhaps the newest segment: now something stands behind
        // it.
        assert!(repaired(&bench, false, &what).is_sound(), "{what}");
        let again = bench.history.repair(None, &options(false), &Silent).unwrap();
        // Small records stay as they are.
        let stays = |f: &Fault| f.action == Action::Leave && f.message.contains("behind its end");
        assert!(again.is_sound() && again.remarks.iter().all(stays), "{what}: {again:?}");
    }
    assert!(kills > rounds / 4 && kept > rounds * 3, "{kills} {kept}");
}
