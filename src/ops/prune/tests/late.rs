//! What comes late: a writer that another one superseded, a prune that looked before a hold was
//! there, a merge that was made long before it is published.

use std::collections::BTreeSet;
use std::sync::Mutex;

use rusqlite::Connection;

use super::*;
use crate::capture::commit::{CaptureOptions, capture};
use crate::progress::Phase;
use crate::repo::Repository;
use crate::repo::write::writer::Writer;
use crate::sqlite::source::Source;

/// Lets something happen when a phase begins, once.
struct When<F>(Phase, Mutex<Option<F>>);

impl<F: FnOnce() + Send> When<F> {
    fn new(phase: Phase, act: F) -> Self {
        Self(phase, Mutex::new(Some(act)))
    }

    fn happened(&self) -> bool {
        self.1.lock().unwrap().is_none()
    }
}

impl<F: FnOnce() + Send> Monitor for When<F> {
    fn phase(&self, phase: Phase, _: Option<u64>) {
        let act = if phase == self.0 { self.1.lock().unwrap().take() } else { None };
        if let Some(act) = act {
            act();
        }
    }
}

/// Fills the database's rows anew.
fn fill(bench: &Bench, rows: std::ops::Range<u32>) {
    for row in rows {
        let sql = format!("INSERT OR REPLACE INTO t VALUES({row}, randomblob(900))");
        bench.app.execute_batch(&sql).unwrap();
    }
}

#[test]
fn what_a_writer_builds_on_stays_whatever_another_one_published_after_it_looked() {
    let mut bench = Bench::with_page_size(5, 1024);
    bench.app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").unwrap();
    for _ in 0..4 {
        bench.pass(HOUR);
        fill(&bench, 0..30);
        bench.app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        bench.capture();
    }
    let path = bench.dir.path().join("app.db");
    let options = CaptureOptions::default();
    // Two machines: the other one takes over, and looks before the first publishes what it is at.
    let there = bench.through(Arc::new(bench.store.clone())).unwrap();
    let mut first = Writer::open(&bench.history, "watch").unwrap();
    let mut second = Writer::open(&there, "watch").unwrap();
    let image = std::fs::read(&path).unwrap();
    let pruning = bench.options(Policy { last: 1, ..Policy::default() });
    let (history, pruned, late) = (&bench.history, Mutex::new(None), path.clone());
    let meanwhile = When::new(Phase::Publish, || {
        let app = Connection::open(&late).unwrap();
        app.execute_batch("UPDATE t SET x=randomblob(900) WHERE id<20").unwrap();
        let mut source = Source::open(&late).unwrap();
        let pin = source.pin().unwrap();
        let e = capture(&mut first, pin, "app.db", &options, &Silent).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Superseded, "{e:?}");
        *pruned.lock().unwrap() = Some(history.prune(&pruning, &Silent).unwrap());
    });
    let options = CaptureOptions { mark: true, ..options.clone() };
    let mut source = Source::open(&path).unwrap();
    let captured =
        capture(&mut second, source.pin().unwrap(), "app.db", &options, &meanwhile).unwrap();
    assert!(meanwhile.happened());
    let report = pruned.into_inner().unwrap().unwrap();
    assert!(report.dropped.len() >= 3, "{report:?}");
    bench.expected.insert(captured.seq, image);
    let there = bench.check("what was acknowledged");
    assert!(there.contains(&captured.seq), "{there:?}");
}

/// A follower that was superseded had published once more by then. A prune counted that among the
/// newest commits that it was to keep; it was displaced, and fewer were left.
#[test]
fn what_another_writer_may_displace_takes_the_place_of_nothing_that_a_policy_keeps() {
    let policies = [
        (Policy { last: 3, ..Policy::default() }, 3..=5),
        (Policy { hourly: Some(Periods::Count(3)), ..Policy::default() }, 3..=5),
        (Policy { last: 1, floor: 4, ..Policy::default() }, 2..=5),
    ];
    for (policy, promised) in policies {
        let mut bench = Bench::with_page_size(5, 1024);
        bench.app.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").unwrap();
        for _ in 0..5 {
            fill(&bench, 0..30);
            bench.app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            bench.capture();
            bench.pass(HOUR);
        }
        let (path, options) = (bench.dir.path().join("app.db"), CaptureOptions::default());
        let there = bench.through(Arc::new(bench.store.clone())).unwrap();
        let mut first = Writer::open(&bench.history, "watch").unwrap();
        let mut second = Writer::open(&there, "watch").unwrap();
        let image = std::fs::read(&path).unwrap();
        let pruning = bench.options(policy.clone());
        let mut looking = bench.options(Policy { last: 1, ..Policy::default() });
        looking.dry_run = true;
        let (history, pruned) = (&bench.history, Mutex::new(None));
        let meanwhile = When::new(Phase::Publish, || {
            let app = Connection::open(&path).unwrap();
            app.execute_batch("UPDATE t SET x=randomblob(900) WHERE id<20").unwrap();
            let mut source = Source::open(&path).unwrap();
            let pin = source.pin().unwrap();
            let e = capture(&mut first, pin, "app.db", &options, &Silent).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Superseded, "{e:?}");
            // The one before it stays for no other reason than that, and this is counted.
            assert_eq!(history.prune(&looking, &Silent).unwrap().unsettled(), 1);
            *pruned.lock().unwrap() = Some(history.prune(&pruning, &Silent).unwrap());
        });
        let marked = CaptureOptions { mark: true, ..options.clone() };
        let mut source = Source::open(&path).unwrap();
        let pin = source.pin().unwrap();
        let captured = capture(&mut second, pin, "app.db", &marked, &meanwhile).unwrap();
        assert!(meanwhile.happened());
        let report = pruned.into_inner().unwrap().unwrap();
        let kept: Vec<u64> = report.kept.iter().map(|kept| kept.seq.0).collect();
        let late = promised.end() + 1;
        assert_eq!(kept, promised.clone().chain([late]).collect::<Vec<_>>(), "{policy:?}");
        // It is gone, and what was promised without it is there.
        bench.expected.insert(captured.seq, image);
        let expected: BTreeSet<Seq> = promised.map(Seq).chain([captured.seq]).collect();
        assert_eq!(bench.check("displaced"), expected, "{policy:?}");
    }
}

#[test]
fn a_merge_that_is_published_after_what_it_leads_to_was_replaced_hides_nothing() {
    for keep in [Keep::All, Keep::Points] {
        let mut bench = Bench::with_page_size(7, 1024);
        let commits: BTreeSet<Seq> = (0..10)
            .map(|_| {
                bench.pass(HOUR);
                fill(&bench, 0..3);
                bench.capture()
            })
            .collect();
        let merge_range = |range| {
            let claim = Claim::take(&bench.history, PRUNE).unwrap();
            let chain = bench.history.chain().unwrap();
            merge(&bench.history, &chain, range, &claim, &Options::new(keep), &Silent).unwrap();
        };
        // It is made, and whoever made it sleeps before it is published; or the answer does not
        // come, and it happens later.
        merge_range(3..7);
        let names = bench.history.names();
        let name = bench.store.list(&names.merged()).unwrap().remove(0).name;
        let object = bench.store.get(&name, u64::MAX).unwrap().unwrap();
        bench.store.delete(&name).unwrap();
        // Meanwhile others merge differently, and delete what they replaced.
        merge_range(1..5);
        bench.pass(HOUR * 2);
        let all = bench.options(Policy { last: 1000, ..Policy::default() });
        assert!(bench.history.prune(&all, &Silent).unwrap().deleted_objects >= 4);
        bench.store.create(&name, &object).unwrap();
        assert_eq!(bench.check("it is there"), commits);
        bench.pass(HOUR);
        bench.commit();
        bench.history.prune(&all, &Silent).unwrap();
        bench.pass(HOUR * 24 * 8);
        bench.history.prune(&all, &Silent).unwrap();
        assert!(bench.check("it is gone").is_superset(&commits));
        assert_eq!(bench.store.head(&name).unwrap(), None);
        bench.no_orphans("in the end");
    }
}

#[test]
fn numbers_that_expired_before_a_history_was_set_back_are_not_used_again() {
    let mut bench = Bench::with_page_size(9, 1024);
    let commits: Vec<Seq> = (0..10)
        .map(|_| {
            bench.pass(HOUR);
            fill(&bench, 0..3);
            bench.capture()
        })
        .collect();
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let chain = bench.history.chain().unwrap();
    let expired = |seq| commits[5] <= seq && seq < commits[9];
    let states = chain.states().map(|c| (c.seq, expired(c.seq)));
    let announced = Expired::announce(&bench.history, (claim.term, Timestamp(0)), states, &[]);
    announced.unwrap().decide(&bench.history).unwrap();
    // The newest segments are lost, but not what says what expired.
    for segment in &chain.segments()[5..] {
        bench.store.delete(segment.name()).unwrap();
    }
    crate::repo::accept_rollback(&bench.history).unwrap();
    let mut there: BTreeSet<Seq> = commits[..5].iter().copied().collect();
    assert_eq!(bench.check("set back"), there);
    for _ in 0..3 {
        bench.pass(HOUR);
        fill(&bench, 0..3);
        there.insert(bench.capture());
        assert_eq!(bench.check("acknowledged"), there);
    }
    // What goes on is no base.
    let chain = bench.history.chain().unwrap();
    assert_eq!(chain.lineage(chain.latest().unwrap().seq).len(), 8);
}

#[test]
fn a_database_at_rest_gets_no_new_commits_beside_prunes() {
    let mut bench = Bench::with_page_size(10, 1024);
    for _ in 0..2 {
        bench.pass(HOUR);
        fill(&bench, 0..3);
        bench.capture();
    }
    let newest = bench.capture();
    for day in 0..6 {
        bench.pass(HOUR * 24);
        let options = bench.options(Policy { last: 2, ..Policy::default() });
        bench.history.prune(&options, &Silent).unwrap();
        assert_eq!(bench.capture(), newest, "day {day}");
    }
    // Somebody else claims a turn, and may have looked before: that is another matter.
    let there = bench.through(Arc::new(bench.store.clone())).unwrap();
    drop(Writer::open(&there, "backup").unwrap());
    assert!(bench.capture() > newest);
}

#[test]
fn a_claim_that_comes_late_gives_nobody_a_turn() {
    let mut bench = Bench::with_page_size(11, 1024);
    fill(&bench, 0..3);
    bench.capture();
    let path = bench.dir.path().join("app.db");
    let options = CaptureOptions::default();
    let write = |writer: &mut Writer, row: u32| {
        fill(&bench, row..row + 1);
        let mut source = Source::open(&path).unwrap();
        capture(writer, source.pin().unwrap(), "app.db", &options, &Silent).map(|c| c.seq)
    };
    let there = bench.through(Arc::new(bench.store.clone())).unwrap();
    let mut sleeper = Writer::open(&bench.history, "backup").unwrap();
    let term = sleeper.term();
    for row in 0..3 {
        bench.pass(HOUR);
        write(&mut Writer::open(&there, "backup").unwrap(), row).unwrap();
        there.prune(&bench.options(Policy { last: 9, ..Policy::default() }), &Silent).unwrap();
    }
    let names = bench.history.names();
    assert_eq!(bench.store.head(&names.writer(term)).unwrap(), None);
    // Whoever lost the race for that term gave up when no answer came; now it happens.
    let late = crate::format::writer::WriterClaim {
        term,
        since: Timestamp(0),
        process: 1,
        host: "elsewhere".to_owned(),
        role: "backup".to_owned(),
    };
    bench.history.repository().create_record(&names.writer(term), [7; 16], &late).unwrap();
    let e = write(&mut sleeper, 5).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Superseded, "{e:?}");
}

#[test]
fn what_a_merge_replaced_stays_if_the_merged_segment_has_lost_its_parts() {
    let mut bench = Bench::with_page_size(13, 4096);
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(1200000))").unwrap();
    bench.capture();
    for _ in 0..2 {
        bench.pass(HOUR);
        bench.app.execute_batch("UPDATE t SET x=randomblob(1200000)").unwrap();
        bench.capture();
    }
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    let chain = bench.history.chain().unwrap();
    merge(&bench.history, &chain, 0..2, &claim, &Options::new(Keep::All), &Silent).unwrap();
    let merged = bench.history.chain().unwrap().segments()[0].clone();
    assert!(merged.is_merged() && !merged.manifest.parts.is_empty());
    // It slept between its parts and its object for so long that they were taken for left over.
    bench.store.delete(&bench.history.names().part(merged.reference.id, 0)).unwrap();
    bench.pass(HOUR * 24);
    let claim = Claim::take(&bench.history, PRUNE).unwrap();
    compaction::run(&bench.history, claim, &Silent).unwrap();
    bench.store.delete(merged.name()).unwrap();
    assert_eq!(bench.check("without it").len(), 3);
}

/// Three machines claim their turns one after the other; the third looks when the first has
/// published late, and the second publishes even later.
#[test]
fn a_late_write_stays_while_another_writer_may_build_on_it() {
    let mut bench = Bench::with_page_size(15, 1024);
    let path = bench.dir.path().join("app.db");
    for _ in 0..2 {
        bench.pass(HOUR);
        fill(&bench, 0..20);
        bench.capture();
    }
    let machine = |name: &str| {
        let store = Arc::new(bench.store.clone());
        Repository::open(store, &bench.secret, &bench.machine(name))
            .unwrap()
            .history("app")
            .unwrap()
    };
    let options = CaptureOptions::default();
    let publish = |writer: &mut Writer, row: u32, monitor: &dyn Monitor| {
        let app = Connection::open(&path).unwrap();
        let sql = "UPDATE t SET x=randomblob(900) WHERE id BETWEEN ?1 AND ?1+4";
        app.execute(sql, [row]).unwrap();
        let image = std::fs::read(&path).unwrap();
        let mut source = Source::open(&path).unwrap();
        (capture(writer, source.pin().unwrap(), "app.db", &options, monitor), image)
    };
    let mut first = Writer::open(&bench.history, "watch").unwrap();
    let mut second = Writer::open(&machine("second"), "watch").unwrap();
    // Whoever is late is told so.
    let (late, image) = publish(&mut first, 0, &Silent);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Superseded);
    let mut third = Writer::open(&machine("third"), "watch").unwrap();
    let pruning = bench.options(Policy { last: 1, ..Policy::default() });
    let (history, time) = (bench.history.clone(), bench.time.clone());
    let meanwhile = When::new(Phase::Publish, || {
        let (later, _) = publish(&mut second, 5, &Silent);
        assert_eq!(later.unwrap_err().kind(), ErrorKind::Superseded);
        time.fetch_add(HOUR, std::sync::atomic::Ordering::Relaxed);
        history.prune(&pruning, &Silent).unwrap();
    });
    let (captured, newest) = publish(&mut third, 10, &meanwhile);
    let seq = captured.unwrap().seq;
    bench.expected.insert(Seq(3), image);
    bench.expected.insert(seq, newest);
    assert!(bench.check("acknowledged").contains(&seq));
    // In the term that it renewed, behind which nobody claimed a turn.
    let (captured, newest) = publish(&mut third, 15, &Silent);
    let seq = captured.unwrap().seq;
    bench.expected.insert(seq, newest);
    bench.pass(HOUR);
    let report = bench.history.prune(&pruning, &Silent).unwrap();
    assert_eq!((bench.check("pruned"), report.unsettled()), (BTreeSet::from([seq]), 0));
    bench.no_orphans("pruned");
}
