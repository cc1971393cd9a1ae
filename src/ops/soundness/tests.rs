//! What every command has to see in the same way, and what it must not do meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::capture::commit::{CaptureOptions, Captured, capture};
use crate::format::slot::KdfParams;
use crate::format::snapshot::SnapshotKind;
use crate::ops::copy::CopyOptions;
use crate::ops::prune::PruneOptions;
use crate::ops::repair::{Action, RepairOptions, RepairReport};
use crate::ops::trial::{Bench, HOUR, all_data};
use crate::policy::retention::Policy;
use crate::progress::Silent;
use crate::repo::Repository;
use crate::repo::history::expired::Expired;
use crate::repo::keys::rotate::RotateOptions;
use crate::repo::keys::secret::Secret;
use crate::repo::local::state::Head;
use crate::repo::merge::compaction;
use crate::repo::merge::{Keep, Options, merge};
use crate::repo::write::standing::{Standing, record};
use crate::repo::write::term::{Claim, PRUNE};
use crate::repo::write::writer::Writer;
use crate::sqlite::source::Source;
use crate::store::{MemoryStore, Store};
use crate::types::{Clock, Seq, Term, WriterToken};

/// A history of some small commits.
fn bench(seed: u64, commits: usize) -> Bench {
    let mut bench = Bench::with_page_size(seed, 512);
    for n in 0..commits {
        bench.pass(HOUR);
        bench.app.execute_batch(&format!("INSERT INTO t(x) VALUES('commit {n}')")).unwrap();
        bench.capture();
    }
    bench
}

const CHEAP: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

fn machine(bench: &Bench, name: &str) -> History {
    let store = Arc::new(bench.store.clone());
    Repository::open(store, &bench.secret, &bench.machine(name)).unwrap().history("app").unwrap()
}

fn change(store: &MemoryStore, name: &str, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = store.get(name, u64::MAX).unwrap().unwrap();
    how(&mut bytes);
    store.damage(name, &bytes);
}

/// Merges some segments of the chain, and answers the name of what came of it.
fn merged(bench: &Bench, range: std::ops::Range<usize>) -> String {
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let chain = bench.history.chain().unwrap();
    merge(&bench.history, &chain, range, &claim, &Options::new(Keep::All), &Silent).unwrap();
    let chain = bench.history.chain().unwrap();
    chain.segments().iter().find(|s| s.is_merged()).unwrap().name().to_owned()
}

fn tidy(bench: &Bench) -> Result<()> {
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    compaction::run(&bench.history, claim, &Silent).map(|_| ())
}

fn log(bench: &Bench) -> Vec<String> {
    let listed = bench.store.list(&bench.history.names().log()).unwrap();
    listed.into_iter().map(|e| e.name).collect()
}

fn look(history: &History) -> Soundness {
    judge_now(history, Look::Close, &Silent).unwrap().1
}

fn names_it(problems: &[Problem], object: &str) -> bool {
    problems.iter().any(|problem| problem.object == object)
}

fn mend(bench: &Bench) -> RepairReport {
    let options = RepairOptions { apply: true, data: true, adopt: false };
    bench.history.repair(None, &options, &Silent).unwrap()
}

fn write(writer: &mut Writer, path: &Path) -> Result<Captured> {
    let options = CaptureOptions::default();
    let mut source = Source::open(path)?;
    capture(writer, source.pin()?, "app.db", &options, &Silent)
}

#[test]
fn a_damaged_merged_segment_is_known_before_the_next_commit_brings_it_onto_the_chain() {
    for repair_first in [true, false] {
        let mut bench = bench(40, 4);
        let newest = bench.history.chain().unwrap().newest().unwrap().name().to_owned();
        let name = merged(&bench, 1..3);
        // The newest segment is gone, so the chain ends in what was merged: with the original of
        // that.
        bench.store.delete(&newest).unwrap();
        bench.history = machine(&bench, "elsewhere");
        change(&bench.store, &name, |bytes| bytes.truncate(bytes.len() - 40));
        let originals = log(&bench);
        let chain = bench.history.chain().unwrap();
        assert!(chain.segments().iter().all(|s| !s.is_merged()) && chain.strays() == 1);
        bench.check("the originals are read");
        let found = look(&bench.history);
        assert!(names_it(&found.damage, &name) && found.next.is_some(), "{found:?}");
        assert!(found.newest.is_none());
        let e = before_writing(&bench.history, None, &Silent).unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*name), "{e:?}");
        if !repair_first {
            // Somebody wrote all the same.
            bench.capture();
            assert!(bench.history.chain().unwrap().segments().iter().any(|s| s.is_merged()));
            bench.check("the originals are read though the merged segment comes first");
            for _ in 0..2 {
                bench.pass(HOUR * 24 * 8);
                tidy(&bench).unwrap();
            }
            assert!(originals.iter().all(|name| log(&bench).contains(name)), "{originals:?}");
        }
        let report = bench.history.verify(None, &all_data(bench.dir.path()), &Silent).unwrap();
        assert!(report.findings.iter().any(|f| f.object == name), "{report:?}");
        if !repair_first {
            for _ in 0..3 {
                bench.pass(HOUR * 24 * 8);
                let _ = tidy(&bench);
                let policy = Policy { last: 9, ..Policy::default() };
                let _ = bench.history.prune(&bench.options(policy), &Silent);
            }
            assert!(originals.iter().all(|name| log(&bench).contains(name)), "{originals:?}");
        }
        let done = mend(&bench);
        let put_away = |f: &&crate::ops::repair::Fault| f.object == name;
        let fault = done.faults.iter().find(put_away).unwrap();
        assert!(fault.action == Action::Quarantine && done.lost.is_empty(), "{done:?}");
        assert!(bench.store.head(&name).unwrap().is_none());
        bench.check("repaired");
        let found = look(&bench.history);
        assert!(found.damage.is_empty() && found.remarks.is_empty(), "{found:?}");
        before_writing(&bench.history, None, &Silent).unwrap();
        bench.app.execute_batch("INSERT INTO t(x) VALUES('after')").unwrap();
        bench.capture();
        bench.check("goes on");
        bench.verify("goes on");
    }
}

#[test]
fn a_merged_segment_that_another_one_took_the_place_of_is_a_remark_when_it_is_damaged() {
    let bench = bench(41, 6);
    let name = merged(&bench, 1..3);
    let larger = merged(&bench, 0..3);
    assert_ne!(name, larger);
    change(&bench.store, &name, |bytes| bytes.truncate(bytes.len() - 40));
    let found = look(&bench.history);
    assert!(found.damage.is_empty() && names_it(&found.remarks, &name), "{found:?}");
    before_writing(&bench.history, None, &Silent).unwrap();
    mend(&bench);
    assert!(bench.store.head(&name).unwrap().is_none() && look(&bench.history).remarks.is_empty());
    bench.check("repaired");
}

#[test]
fn damage_within_a_merged_segment_costs_nothing_while_what_it_replaced_is_there() {
    let bench = bench(42, 5);
    let originals = log(&bench);
    let name = merged(&bench, 0..4);
    change(&bench.store, &name, |bytes| {
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
    });
    bench.check("the originals are read");
    let report = bench.history.verify(None, &all_data(bench.dir.path()), &Silent).unwrap();
    assert!(report.findings.iter().any(|f| f.object == name), "{report:?}");
    // It is known now, so nothing is deleted for its sake.
    bench.pass(HOUR * 24);
    tidy(&bench).unwrap();
    assert!(originals.iter().all(|name| log(&bench).contains(name)));
    assert!(mend(&bench).lost.is_empty());
    bench.check("repaired");
}

/// A copy read a commit that another writer was about to displace, and slept before it looked who
/// that was. The other one displaced it, and a prune deleted half of what told of that: the copy
/// took the commit for one that stays.
#[test]
fn a_chain_that_was_read_before_others_went_on_settles_nothing() {
    let mut bench = bench(44, 4);
    let old = bench.history.chain().unwrap();
    let settled = |chain: &Chain| Standing::of(&bench.history, chain).unwrap();
    assert_eq!(settled(&old).settled(), Some(Seq(4)));
    let strange = "histories/any/log/name";
    assert!(!settled(&old).needs(strange) && !settled(&old).is_outdated());
    // Where nobody of a later term published, nothing changes.
    Claim::take(&bench.history, PRUNE).unwrap();
    assert_eq!(settled(&old).settled(), Some(Seq(4)));
    bench.app.execute_batch("INSERT INTO t(x) VALUES('later')").unwrap();
    bench.capture();
    let now = bench.history.chain().unwrap();
    assert!(newest_term_of(&now) > newest_term_of(&old));
    // With the heads, and once a prune deleted them.
    for _ in 0..2 {
        let standing = Standing::of(&bench.history, &old).unwrap();
        assert!(standing.is_outdated() && standing.settled().is_none() && standing.needs(strange));
        standing.check(&bench.history).unwrap();
        assert_eq!(Standing::of(&bench.history, &now).unwrap().settled(), Some(Seq(5)));
        for head in bench.store.list(&bench.history.names().heads()).unwrap() {
            bench.store.delete(&head.name).unwrap();
        }
    }
}

/// A prune of a low term deleted what a merge stands for, but not the last segment of it, whose
/// term is higher. A writer had named that one in its head before the chain went on: every prune,
/// label and copy found damage until that writer published something.
#[test]
fn a_head_may_name_what_a_merge_stands_for() {
    let mut bench = bench(45, 4);
    let named = Head::of(&bench.history.chain().unwrap()).unwrap();
    bench.app.execute_batch("INSERT INTO t(x) VALUES('on it')").unwrap();
    bench.capture();
    merged(&bench, 0..4);
    let names = log(&bench);
    for name in names.iter().take(3) {
        bench.store.delete(name).unwrap();
    }
    let claim = Claim::take(&bench.history, "watch").unwrap();
    record(&bench.history, claim, Some(&named)).unwrap();
    let chain = bench.history.chain().unwrap();
    let standing = Standing::of(&bench.history, &chain).unwrap();
    standing.check(&bench.history).unwrap();
    assert_eq!(standing.settled(), Some(Seq(4)), "another one may have the place of seq 5");
    assert!(standing.needs(&names[3]));
    bench.pass(HOUR * 2);
    tidy(&bench).unwrap();
    assert!(log(&bench).contains(&names[3]), "its writer may not have published yet");
    // Without the merge it would stand on nothing.
    let stand_in = chain.segments().first().unwrap().name().to_owned();
    bench.store.delete(&stand_in).unwrap();
    let broken = bench.history.readable_chain().unwrap();
    let standing = Standing::of(&bench.history, &broken).unwrap();
    let e = standing.check(&bench.history).unwrap_err();
    assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*names[3]), "{e:?}");
}

fn newest_term_of(chain: &Chain) -> Term {
    chain.newest().unwrap().manifest.term
}

#[test]
fn a_head_that_cannot_be_read_keeps_everything_until_something_newer_is_published() {
    for repaired in [false, true] {
        let mut bench = bench(43, 5);
        let path = bench.dir.path().join("app.db");
        bench.app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
        let mut second = Writer::open(&machine(&bench, "second"), "watch").unwrap();
        let heads = bench.store.list(&bench.history.names().heads()).unwrap();
        let head = heads.last().unwrap().name.clone();
        let originals = log(&bench);
        merged(&bench, 0..4);
        bench.pass(HOUR * 2);
        change(&bench.store, &head, |bytes| bytes[60] ^= 1);
        let standing = || {
            let chain = bench.history.chain().unwrap();
            Standing::of(&bench.history, &chain).unwrap()
        };
        let e = standing().check(&bench.history).unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*head), "{e:?}");
        assert!(standing().settled().is_none());
        tidy(&bench).unwrap();
        assert_eq!(log(&bench), originals, "nobody knows what is needed");
        let found = look(&bench.history);
        assert!(names_it(&found.damage, &head) && found.newest.is_none(), "{found:?}");
        let options: PruneOptions = bench.options(Policy { last: 1, ..Policy::default() });
        let e = bench.history.prune(&options, &Silent).unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*head), "{e:?}");
        let e = bench.history.add_snapshot(Seq(5), "x", SnapshotKind::Manual).unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*head), "{e:?}");
        let to = MemoryStore::new();
        let kdf = CHEAP;
        let to =
            Repository::init(Arc::new(to), &[(&bench.secret, "")], kdf, &bench.machine("copy"));
        let copying = CopyOptions::default();
        let e = bench.history.copy_to(&to.unwrap(), &copying, &Silent).unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*head), "{e:?}");
        if repaired {
            let done = mend(&bench);
            assert!(done.lost.is_empty(), "{done:?}");
            assert!(bench.store.head(&head).unwrap().is_none());
            let newest = bench.history.chain().unwrap().latest().unwrap();
            assert_eq!(newest.seq, Seq(6), "something stands behind what it may have named");
            bench.expected.insert(Seq(6), bench.expected[&Seq(5)].clone());
            // Its writer may not go on from what was deleted then.
            let e = write(&mut second, &path).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Superseded, "{e:?}");
        } else {
            let seq = write(&mut second, &path).unwrap().seq;
            bench.expected.insert(seq, std::fs::read(&path).unwrap());
        }
        standing().check(&bench.history).unwrap();
        // The prune said that a verification failed.
        bench.verify("healed");
        bench.pass(HOUR * 2);
        tidy(&bench).unwrap();
        assert!(log(&bench).len() < originals.len(), "it counts for nothing any more");
        assert!(look(&bench.history).damage.is_empty());
        bench.check("healed");
    }
}

#[test]
fn heads_of_terms_that_nobody_claimed_are_junk() {
    let bench = bench(44, 5);
    merged(&bench, 0..4);
    let names = bench.history.names();
    let junk = names.head(Term(u64::MAX), WriterToken([1; 16]));
    bench.store.create(&junk, &[0x5a; 200]).unwrap();
    let found = look(&bench.history);
    assert!(found.damage.is_empty() && names_it(&found.remarks, &junk), "{found:?}");
    bench.history.add_snapshot(Seq(5), "x", SnapshotKind::Manual).unwrap();
    bench.pass(HOUR * 2);
    tidy(&bench).unwrap();
    assert_eq!(log(&bench).len(), 1);
    let commits = bench.history.chain().unwrap().commits().count();
    mend(&bench);
    assert!(bench.store.head(&junk).unwrap().is_none() && look(&bench.history).remarks.is_empty());
    assert_eq!(bench.history.chain().unwrap().commits().count(), commits);
}

#[test]
fn an_announcement_that_cannot_be_read_is_withdrawn_like_one_of_the_commit() {
    let bench = bench(45, 4);
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let at = (claim.term, bench.clock().now());
    let states = [(Seq(2), true)].into_iter();
    let announced = Expired::announce(&bench.history, at, states, &[]).unwrap();
    let listed = bench.store.list(&bench.history.names().announcements()).unwrap();
    let name = listed[0].name.clone();
    change(&bench.store, &name, |bytes| bytes[60] ^= 1);
    assert!(names_it(&look(&bench.history).damage, &name));
    bench.history.add_snapshot(Seq(2), "kept", SnapshotKind::Manual).unwrap();
    assert!(!announced.decide(&bench.history).unwrap(), "it was withdrawn");
    assert!(bench.check("labelled").contains(&Seq(2)));
}

#[test]
fn a_repair_puts_an_announcement_away_that_cannot_be_read() {
    let bench = bench(46, 2);
    let name = bench.history.names().announcement(Term(1), WriterToken([3; 16]));
    bench.store.create(&name, &[0x5a; 200]).unwrap();
    assert!(names_it(&look(&bench.history).damage, &name));
    mend(&bench);
    assert!(bench.store.head(&name).unwrap().is_none());
    assert!(look(&bench.history).damage.is_empty());
}

#[test]
fn a_writer_acknowledges_nothing_on_a_chain_that_lost_a_link_meanwhile() {
    let mut bench = bench(47, 6);
    let path = bench.dir.path().join("app.db");
    let mut writer = Writer::open(&bench.history, "watch").unwrap();
    let commit = |bench: &Bench, writer: &mut Writer| {
        bench.app.execute_batch("INSERT INTO t(x) VALUES('more')").unwrap();
        write(writer, &path)
    };
    commit(&bench, &mut writer).unwrap();
    let chain = bench.history.chain().unwrap();
    let third = chain.segments()[2].name().to_owned();
    let bytes = bench.store.get(&third, u64::MAX).unwrap().unwrap();
    for shortened in [true, false] {
        writer.links.every = Duration::ZERO;
        commit(&bench, &mut writer).unwrap();
        match shortened {
            true => bench.store.damage(&third, &bytes[..bytes.len() - 1]),
            false => bench.store.delete(&third).unwrap(),
        }
        let first = commit(&bench, &mut writer).unwrap_err();
        // However often it is tried.
        let again = writer.resolve("app.db").unwrap_err();
        for e in [first, again] {
            assert_eq!(e.kind(), ErrorKind::Damaged, "{e:?}");
            assert!(
                e.remedy().is_some_and(|remedy| matches!(
                    remedy,
                    Remedy::Repair { .. } | Remedy::Examine { .. }
                )),
                "{e:?}"
            );
            if shortened {
                assert_eq!(e.object(), Some(&*third));
            }
        }
        // It comes back, and so does the writer.
        let _ = bench.store.delete(&third);
        bench.store.create(&third, &bytes).unwrap();
        drop(writer);
        writer = Writer::open(&bench.history, "watch").unwrap();
        let seq = commit(&bench, &mut writer).unwrap().seq;
        bench.expected.insert(seq, std::fs::read(&path).unwrap());
    }
    // The newest is looked at every time.
    let newest = bench.history.chain().unwrap().newest().unwrap().name().to_owned();
    writer.links.every = Duration::from_secs(3600);
    change(&bench.store, &newest, |bytes| bytes.truncate(bytes.len() - 1));
    let e = commit(&bench, &mut writer).unwrap_err();
    assert!(e.kind() == ErrorKind::Damaged && e.object() == Some(&*newest), "{e:?}");
}

#[test]
fn a_machine_whose_clock_is_wrong_deletes_nothing() {
    let bench = bench(48, 5);
    let part = bench.history.names().part(crate::types::SegmentId([9; 16]), 0);
    bench.store.create(&part, b"of an upload that is under way").unwrap();
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let wrong = bench.clock().now().after(Duration::from_secs(9 * 24 * 3600));
    let machine = bench.machine("wrong").clock(Clock::new(move || wrong));
    let opened = Repository::open(Arc::new(bench.store.clone()), &bench.secret, &machine).unwrap();
    let e = compaction::run(&opened.history("app").unwrap(), claim, &Silent).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Refused, "{e:?}");
    assert!(bench.store.head(&part).unwrap().is_some());
}

#[test]
fn a_key_that_is_missing_is_no_hole() {
    let bench = bench(49, 5);
    let gone = Secret::new_recovery().unwrap();
    bench.history.repository().add_slot(&gone, "", CHEAP).unwrap();
    let machine_of = bench.machine("stale");
    let stale = Repository::open(Arc::new(bench.store.clone()), &gone, &machine_of).unwrap();
    let stale = stale.history("app").unwrap();
    let rotating = machine(&bench, "rotating");
    let options =
        RotateOptions { secrets: &[(&bench.secret, "")], new_recovery: None, remove_others: true };
    rotating.repository().rotate(&options).unwrap().complete().unwrap();
    let fresh = machine(&bench, "fresh");
    let claim = Claim::take(&fresh, PRUNE).unwrap();
    let chain = fresh.chain().unwrap();
    merge(&fresh, &chain, 1..3, &claim, &Options::new(Keep::All), &Silent).unwrap();
    for segment in &chain.segments()[1..3] {
        bench.store.delete(segment.name()).unwrap();
    }
    let key = fresh.repository().newest_key().unwrap().id.to_string();
    for chain in [stale.readable_chain(), stale.chain()] {
        let e = chain.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WrongKey, "{e:?}");
        assert!(e.message().contains(&key), "{e:?}");
        assert!(e.hint().is_some_and(|hint| hint.to_string().contains("rotated")), "{e:?}");
    }
    fresh.chain().unwrap();
}
