//! Histories with something missing, read: what does not need it is there, and nobody gets another
//! commit than the one that he asked for.

use std::collections::BTreeSet;

use crate::error::ErrorKind;
use crate::ops::point::RestorePoint;
use crate::ops::repair::RepairOptions;
use crate::ops::restore::{Check, RestoreOptions};
use crate::ops::select::select;
use crate::ops::trial::{Bench, HOUR, all_data};
use crate::policy::selector::Selector;
use crate::progress::Silent;
use crate::remedy::Remedy;
use crate::repo::Repository;
use crate::repo::chain::Chain;
use crate::repo::history::expired::Expired;
use crate::repo::history::handle::History;
use crate::repo::merge::{Keep, Options, merge};
use crate::repo::write::term::{Claim, PRUNE};
use crate::store::{MemoryStore, Store};
use crate::types::{SegmentId, Seq, Term, WriterToken};

/// A history of small commits, two of which store all pages themselves.
fn bench(seed: u64, commits: u64) -> Bench {
    let mut bench = Bench::with_page_size(seed, 512);
    for n in 0..commits {
        bench.pass(HOUR);
        if n == 6 || n == 9 {
            let sql = "UPDATE t SET x=randomblob(length(x)); VACUUM; PRAGMA user_version=1";
            bench.app.execute_batch(sql).unwrap();
            let size = if n == 6 { 1024 } else { 512 };
            // Another page size begins a base.
            bench.app.execute_batch(&format!("PRAGMA page_size={size}; VACUUM")).unwrap();
            bench.capture();
        } else {
            step(&mut bench);
        }
    }
    bench
}

/// A commit that certainly changes something.
fn step(bench: &mut Bench) -> Seq {
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(700))").unwrap();
    bench.capture()
}

/// Another machine, which has seen nothing of it.
fn elsewhere(bench: &mut Bench) {
    let store: std::sync::Arc<dyn Store> = std::sync::Arc::new(bench.store.clone());
    let fresh = tempfile::tempdir_in(bench.dir.path()).unwrap().keep();
    let machine = bench.machine(fresh.to_str().unwrap());
    bench.history =
        Repository::open(store, &bench.secret, &machine).unwrap().history("app").unwrap();
}

/// Restores whatever can be, and compares it; answers what that is. Whatever can't is damage.
fn restorable(bench: &Bench, chain: &Chain) -> BTreeSet<Seq> {
    let options = RestoreOptions { check: Check::None, force: false };
    let mut found = BTreeSet::new();
    for commit in chain.commits() {
        let target = bench.dir.path().join("restored");
        match RestorePoint::of(&bench.history, chain, &commit).restore(&target, &options, &Silent) {
            Ok(()) => {
                assert!(std::fs::read(&target).unwrap() == bench.expected[&commit.seq]);
                std::fs::remove_file(target).unwrap();
                found.insert(commit.seq);
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Damaged, "{e:?}");
                assert!(e.remedy() == Some(&Remedy::examine("app")), "{e:?}");
                assert!(!target.exists());
            }
        }
    }
    found
}

fn seqs(range: impl IntoIterator<Item = u64>) -> BTreeSet<Seq> {
    range.into_iter().map(Seq).collect()
}

fn refused(history: &History, chain: &Chain, when: &str) -> ErrorKind {
    let selector = Selector::parse(when, &chrono::Utc::now()).unwrap();
    select(history, chain, &selector).unwrap_err().kind()
}

#[test]
fn commits_around_a_missing_segment_are_there() {
    for victim in 0..12 {
        let mut bench = bench(3, 12);
        let chain = bench.history.chain().unwrap();
        let name = chain.segments()[victim].name().to_owned();
        let bases: Vec<u64> = (1..=12).filter(|n| [1, 7, 10].contains(n)).collect();
        bench.store.delete(&name).unwrap();
        elsewhere(&mut bench);
        let lost = u64::try_from(victim).unwrap() + 1;
        let chain = bench.history.readable_chain().unwrap();
        if lost == 12 {
            // Nothing tells that the newest is missing.
            assert_eq!(restorable(&bench, &chain), seqs(1..12));
            continue;
        }
        assert_eq!(bench.history.chain().unwrap_err().kind(), ErrorKind::Damaged);
        let [hole] = chain.holes() else { panic!("{:?}", chain.holes()) };
        assert_eq!(hole.above, Some(Seq(lost + 1)));
        assert_eq!(hole.below, Some(Seq(lost - 1)).filter(|seq| seq.0 > 0));
        let next_base = bases.iter().copied().find(|base| *base > lost).unwrap_or(13);
        let found = restorable(&bench, &chain);
        let certain = seqs((1..lost).chain(next_base..=12));
        assert!(found.is_superset(&certain), "{lost}: {found:?}");
        assert_eq!(chain.commits().count(), 11);
        assert_eq!(refused(&bench.history, &chain, &format!("seq:{lost}")), ErrorKind::Damaged);
        assert_eq!(refused(&bench.history, &chain, "seq:99"), ErrorKind::NotFound);
        // A moment whose commit may be in the hole.
        let time = |seq: u64| chain.commit(Seq(seq)).map(|c| c.record.time);
        if let Some(before) = time(lost - 1) {
            let when = Selector::at(before.after(std::time::Duration::from_secs(3600 * 3 / 2)));
            assert_eq!(
                select(&bench.history, &chain, &when).unwrap_err().kind(),
                ErrorKind::Damaged
            );
        }
        let after = Selector::at(time(lost + 1).unwrap());
        assert_eq!(select(&bench.history, &chain, &after).unwrap().seq, Seq(lost + 1));
    }
}

#[test]
fn a_commit_that_stored_all_its_pages_itself_outlives_what_was_before_it() {
    let mut bench = bench(4, 5);
    let all = "UPDATE t SET x=randomblob(length(x)); INSERT INTO t(x) VALUES('whole'); PRAGMA user_version=7";
    let few =
        "DELETE FROM t; INSERT INTO t(x) VALUES(randomblob(3000)); PRAGMA auto_vacuum=0; VACUUM";
    bench.app.execute_batch(few).unwrap();
    bench.pass(HOUR);
    bench.capture();
    bench.app.execute_batch(all).unwrap();
    bench.pass(HOUR);
    let whole = bench.capture();
    let chain = bench.history.chain().unwrap();
    let commit = chain.commit(whole).unwrap();
    assert_eq!(commit.record.changed, commit.record.pages, "the test needs a commit of all pages");
    assert!(chain.segments().last().unwrap().manifest.parent.is_some());
    let before = chain.segments()[chain.segments().len() - 2].name().to_owned();
    bench.store.delete(&before).unwrap();
    elsewhere(&mut bench);
    let chain = bench.history.readable_chain().unwrap();
    assert!(restorable(&bench, &chain).contains(&whole));
}

#[test]
fn of_several_holes_each_part_between_them_is_there() {
    let mut bench = bench(5, 12);
    let chain = bench.history.chain().unwrap();
    for victim in [2, 4, 8] {
        bench.store.delete(chain.segments()[victim].name()).unwrap();
    }
    elsewhere(&mut bench);
    let chain = bench.history.readable_chain().unwrap();
    assert_eq!(chain.holes().len(), 3);
    assert_eq!(chain.commits().count(), 9);
    assert!(restorable(&bench, &chain).is_superset(&seqs([1, 2, 7, 8, 10, 11, 12])));
}

#[test]
fn the_newest_that_cannot_be_read_is_not_silently_another_one() {
    let bench = bench(6, 5);
    let newest = bench.history.chain().unwrap().newest().unwrap().name().to_owned();
    let mut bytes = bench.store.get(&newest, u64::MAX).unwrap().unwrap();
    bytes[60] ^= 1;
    bench.store.damage(&newest, &bytes);
    assert_eq!(bench.history.chain().unwrap_err().object(), Some(&*newest));
    let chain = bench.history.readable_chain().unwrap();
    assert_eq!(chain.holes()[0].problem.object, newest);
    assert_eq!(restorable(&bench, &chain), seqs(1..5));
    assert_eq!(refused(&bench.history, &chain, "latest"), ErrorKind::Damaged);
    assert_eq!(refused(&bench.history, &chain, "seq:5"), ErrorKind::Damaged);
    assert_eq!(refused(&bench.history, &chain, "2100-01-01"), ErrorKind::Damaged);
}

#[test]
fn what_nobody_can_have_published_is_passed_over() {
    let mut bench = bench(7, 5);
    let names = bench.history.names();
    let junk = [
        format!("{}ffffffffffffffff-ffffffffffffffff", names.log()),
        format!("{}0000000000000009-0000000000000001", names.log()),
        format!("{}ffffffffffffffff", names.writers()),
        format!("{}0000000000000001-ffffffffffffffff-{}", names.merged(), SegmentId([7; 16])),
        format!("{}ffffffffffffffff-0000000000000001-{}", names.merged(), SegmentId([8; 16])),
    ];
    for name in &junk {
        bench.store.create(name, &[0x5a; 300]).unwrap();
    }
    for chain in [bench.history.chain().unwrap(), bench.history.readable_chain().unwrap()] {
        let passed: BTreeSet<&String> = chain.junk().iter().collect();
        assert_eq!(passed, junk[..2].iter().collect());
        assert!(chain.holes().is_empty());
    }
    // Turns go on where they were, and so does the history.
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    assert_eq!(claim.term, Term(2));
    bench.pass(HOUR);
    assert_eq!(step(&mut bench), Seq(6));
    assert_eq!(bench.check("beside junk"), seqs(1..=6));
    let policy = crate::policy::retention::Policy { last: 2, ..Default::default() };
    bench.history.prune(&bench.options(policy), &Silent).unwrap();
    // Without a claim that can be read nothing tells junk from damage.
    elsewhere(&mut bench);
    for entry in bench.store.list(&names.writers()).unwrap() {
        bench.store.delete(&entry.name).unwrap();
    }
    assert_eq!(bench.history.chain().unwrap_err().kind(), ErrorKind::Damaged);
    assert!(restorable(&bench, &bench.history.readable_chain().unwrap()).contains(&Seq(6)));
}

#[test]
fn a_merge_of_a_lower_term_than_what_it_follows_is_read_whole() {
    for gone in [false, true] {
        let mut bench = bench(8, 4);
        Claim::take(&bench.history, PRUNE).unwrap();
        for _ in 0..5 {
            bench.pass(HOUR);
            step(&mut bench);
        }
        let chain = bench.history.chain().unwrap();
        assert!(chain.segments()[5].manifest.term > Term(1));
        let late = Claim { term: Term(1), token: WriterToken([9; 16]) };
        let options = Options::new(Keep::All);
        merge(&bench.history, &chain, 6..8, &late, &options, &Silent).unwrap();
        if gone {
            for segment in &chain.segments()[6..8] {
                bench.store.delete(segment.name()).unwrap();
            }
        }
        elsewhere(&mut bench);
        let chain = bench.history.chain().unwrap();
        assert!(chain.segments()[6].is_merged() && chain.segments()[6].manifest.term == Term(1));
        assert_eq!(bench.check("a low term"), seqs(1..=9));
        bench.verify("a low term");
    }
}

#[test]
fn a_merge_that_leads_nowhere_farther_down_gives_way() {
    let mut bench = bench(9, 9);
    let chain = bench.history.chain().unwrap();
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let options = Options::new(Keep::All);
    // Two steps away: a merge that follows a merge that follows what is missing.
    merge(&bench.history, &chain, 2..4, &claim, &options, &Silent).unwrap();
    let once = bench.history.chain().unwrap();
    let low = once.segments()[2].clone();
    merge(&bench.history, &once, 2..4, &claim, &options, &Silent).unwrap();
    let twice = bench.history.chain().unwrap();
    assert!(twice.segments()[2].is_merged() && twice.segments().len() < once.segments().len());
    // The farthest one is damaged, and the middle one: the originals count.
    for name in [low.name(), twice.segments()[2].name()] {
        let mut bytes = bench.store.get(name, u64::MAX).unwrap().unwrap();
        bytes[70] ^= 1;
        bench.store.damage(name, &bytes);
    }
    elsewhere(&mut bench);
    assert_eq!(bench.check("originals"), seqs(1..=9));
}

#[test]
fn a_result_that_cannot_be_kept_hides_no_damage() {
    use crate::progress::Monitor;
    use crate::store::{Fault, FaultStore};
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    struct Ear(Mutex<Vec<String>>);
    impl Monitor for Ear {
        fn warn(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    let bench = bench(10, 5);
    let chain = bench.history.chain().unwrap();
    let name = chain.segments()[2].name().to_owned();
    let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
    let at = bytes.len() - 30;
    bytes[at] ^= 1;
    bench.store.damage(&name, &bytes);
    let options = all_data(bench.dir.path());
    let run = |at: u64| {
        let store = Arc::new(FaultStore::new(Arc::new(bench.store.clone()), at, Fault::Error));
        let history = bench.through(store.clone()).unwrap();
        let ear = Ear::default();
        let report = history.verify(None, &options, &ear);
        // Each run is like the first.
        for entry in bench.store.list(&history.names().proofs()).unwrap() {
            bench.store.delete(&entry.name).unwrap();
        }
        (report, ear.0.into_inner().unwrap(), store.operations())
    };
    let (report, warnings, operations) = run(u64::MAX);
    let findings = report.unwrap().findings;
    assert!(!findings.is_empty() && warnings.is_empty());
    // Storing the result is one of the last things that are done.
    let warned = (20..operations).rev().find_map(|at| {
        let (report, warnings, _) = run(at);
        (!warnings.is_empty()).then(|| (report.unwrap().findings, warnings))
    });
    let (found, warnings) = warned.unwrap();
    assert_eq!(found, findings);
    assert!(warnings[0].contains("can't be kept"), "{warnings:?}");
}

#[test]
fn a_batch_that_several_index_blocks_list_is_counted_once() {
    // Merged with many small pages: index blocks of 4096 versions end within a batch.
    let mut bench = Bench::with_page_size(11, 512);
    for n in 0..3 {
        bench.pass(HOUR);
        let sql = format!("INSERT INTO t(x) VALUES(randomblob({}))", 2_300_000 + n * 1000);
        bench.app.execute_batch(&sql).unwrap();
        bench.capture();
    }
    let chain = bench.history.chain().unwrap();
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let options = Options { repack: true, ..Options::new(Keep::All) };
    merge(&bench.history, &chain, 0..2, &claim, &options, &Silent).unwrap();
    let (store, two) = (bench.store.clone(), bench.machine("two threads").threads(2));
    let opened = Repository::open(std::sync::Arc::new(store), &bench.secret, &two).unwrap();
    let options = all_data(bench.dir.path());
    let report = opened.history("app").unwrap().verify(None, &options, &Silent).unwrap();
    assert_eq!(report.batches_opened, report.batches);
    let chain = bench.history.chain().unwrap();
    let listed: u64 = chain
        .segments()
        .iter()
        .flat_map(|s| &s.manifest.blocks)
        .map(|b| u64::from(b.batches))
        .sum();
    assert!(listed > report.batches, "the test needs a batch that two blocks list: {listed}");
}

/// A backup that another one was about to supersede published a commit which nobody was told of.
/// Then the newest segment is damaged.
#[test]
fn what_was_displaced_does_not_come_back_when_the_newest_segment_is_damaged() {
    let mut bench = bench(11, 4);
    let machine = |bench: &Bench, store: &MemoryStore, name: &str| {
        let store = std::sync::Arc::new(store.clone());
        let repository = Repository::open(store, &bench.secret, &bench.machine(name)).unwrap();
        repository.history("app").unwrap()
    };
    // The one claims its term, and the other one publishes before it does.
    let aside = bench.store.branch(bench.clock());
    let one = machine(&bench, &aside, "one");
    let original = std::mem::replace(&mut bench.history, one);
    let displaced = step(&mut bench);
    let late = bench.history.chain().unwrap().newest().unwrap().name().to_owned();
    for entry in aside.list(&bench.history.names().writers()).unwrap() {
        let bytes = aside.get(&entry.name, u64::MAX).unwrap().unwrap();
        let _ = bench.store.create(&entry.name, &bytes).unwrap();
    }
    bench.history = machine(&bench, &bench.store, "other");
    assert_eq!(step(&mut bench), displaced);
    let newest = bench.history.chain().unwrap().newest().unwrap().name().to_owned();
    let bytes = aside.get(&late, u64::MAX).unwrap().unwrap();
    bench.store.create(&late, &bytes).unwrap();
    assert_ne!(late, newest);
    assert_eq!(bench.history.chain().unwrap().newest().unwrap().name(), newest);
    let bytes = bench.store.get(&newest, u64::MAX).unwrap().unwrap();
    bench.store.damage(&newest, &bytes[..60]);

    bench.history = original;
    let chain = bench.history.readable_chain().unwrap();
    assert_eq!(restorable(&bench, &chain), seqs(1..=4));
    mend(&bench);
    bench.expected.insert(Seq(7), bench.expected[&Seq(4)].clone());
    let chain = bench.history.chain().unwrap();
    assert_eq!(restorable(&bench, &chain), seqs([1, 2, 3, 4, 7]));
    assert_eq!(step(&mut bench), Seq(8));
}

/// A prune died in the middle of what it deletes, and then the newest segment is damaged.
#[test]
fn what_is_merged_is_read_where_the_newest_segment_and_the_originals_are_gone() {
    let mut bench = bench(12, 6);
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let chain = bench.history.chain().unwrap();
    merge(&bench.history, &chain, 0..5, &claim, &Options::new(Keep::All), &Silent).unwrap();
    for segment in &chain.segments()[2..5] {
        bench.store.delete(segment.name()).unwrap();
    }
    let newest = chain.newest().unwrap().name();
    bench.store.damage(newest, b"PGKP");
    let readable = bench.history.readable_chain().unwrap();
    assert_eq!(restorable(&bench, &readable), seqs(1..=5));
    mend(&bench);
    bench.expected.insert(Seq(7), bench.expected[&Seq(5)].clone());
    let chain = bench.history.chain().unwrap();
    assert_eq!(restorable(&bench, &chain), seqs([1, 2, 3, 4, 5, 7]));
    assert_eq!(step(&mut bench), Seq(8));
}

/// Before a commit whose number leaves out another one, several merged segments may end where it
/// goes on.
#[test]
fn the_widest_merge_before_a_gap_counts() {
    let mut bench = bench(13, 5);
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let lost = [(Seq(6), Seq(6))];
    Expired::publish_lost(&bench.history, (claim.term, bench.clock().now()), &lost).unwrap();
    assert_eq!(step(&mut bench), Seq(7));
    for range in [1..5, 0..2] {
        let chain = bench.history.chain().unwrap();
        merge(&bench.history, &chain, range, &claim, &Options::new(Keep::All), &Silent).unwrap();
    }
    let chain = bench.history.chain().unwrap();
    assert_eq!(chain.segments().len(), 2);
    assert_eq!(restorable(&bench, &chain), seqs([1, 2, 3, 4, 5, 7]));
}

fn mend(bench: &Bench) {
    let options = RepairOptions { apply: true, data: true, adopt: false };
    let report = bench.history.repair(None, &options, &Silent).unwrap();
    assert!(!report.is_sound());
    let again = RepairOptions { apply: false, ..options };
    let left = bench.history.repair(None, &again, &Silent).unwrap();
    assert_eq!((left.faults, left.remarks), (vec![], vec![]));
}
