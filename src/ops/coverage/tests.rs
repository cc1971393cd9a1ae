//! A history of each kind of stretch, and holes in its middle and at both of its ends.

use super::*;
use crate::ops::trial::{Bench, HOUR};
use crate::store::Store;

type Row = (&'static str, Option<u64>, Option<u64>, Option<u64>);

fn rows(stretches: &[Stretch]) -> Vec<Row> {
    for pair in stretches.windows(2) {
        assert_eq!(pair[0].to, pair[1].from);
    }
    let seq = |mark: Option<CoveragePoint>| mark.map(|mark| mark.seq.0);
    let row = |s: &Stretch| {
        assert_eq!(s.loss.is_some(), s.kind == StretchKind::Lost);
        (s.kind.name(), seq(s.from), seq(s.to), s.missing)
    };
    stretches.iter().map(row).collect()
}

fn told(bench: &Bench) -> Vec<Row> {
    rows(&bench.history.coverage().unwrap().stretches)
}

/// A row of a stretch that has both ends.
fn row(kind: &'static str, from: u64, to: u64, missing: u64) -> Row {
    (kind, Some(from), Some(to), Some(missing))
}

fn grow(bench: &mut Bench) {
    bench.pass(HOUR);
    bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(700))").unwrap();
    bench.capture();
}

/// A commit that stores all its pages: another page size begins a base.
fn base(bench: &mut Bench, page_size: u32) {
    bench.pass(HOUR);
    bench.app.execute_batch(&format!("PRAGMA page_size={page_size}; VACUUM")).unwrap();
    bench.capture();
}

fn bench(commits: u64) -> Bench {
    let mut bench = Bench::with_page_size(7, 512);
    for _ in 0..commits {
        grow(&mut bench);
    }
    bench
}

fn lose(bench: &Bench, seq: u64) {
    let chain = bench.history.chain().unwrap();
    let victim = chain.commit(Seq(seq)).unwrap().segment.name().to_owned();
    bench.store.delete(&victim).unwrap();
}

#[test]
fn backups_by_schedule_and_thinned_say_so() {
    let bench = bench(6);
    assert_eq!(told(&bench), [row("scheduled", 1, 6, 0)]);
    let chain = bench.history.chain().unwrap().without([Seq(3), Seq(4)].into_iter());
    let commits = reachable(&bench.history, &chain).unwrap();
    assert_eq!(
        rows(&stretches(&chain, &commits)),
        [row("scheduled", 1, 2, 0), row("thinned", 2, 5, 2), row("scheduled", 5, 6, 0)]
    );
}

#[test]
fn what_a_hole_takes_with_it_is_lost_up_to_the_next_commit_that_has_all_its_pages() {
    let mut bench = bench(6);
    base(&mut bench, 1024);
    grow(&mut bench);
    lose(&bench, 4);
    let coverage = bench.history.coverage().unwrap();
    assert_eq!(
        rows(&coverage.stretches),
        [row("scheduled", 1, 3, 0), row("lost", 3, 7, 3), row("scheduled", 7, 8, 0)]
    );
    assert_eq!(coverage.restore_points, 5);
    let restorable = |seq| {
        let point = bench.history.point(Seq(seq)).unwrap();
        let target = bench.dir.path().join("restored");
        let options = crate::ops::restore::RestoreOptions::default().force(true);
        point.restore(&target, &options, &crate::progress::Silent).is_ok()
    };
    assert_eq!([3, 5, 6, 7].map(restorable), [true, false, false, true]);
    let loss = coverage.stretches[1].loss.as_ref().unwrap();
    assert!(loss.object.contains("log") && !loss.message.is_empty(), "{loss:?}");
}

#[test]
fn a_hole_before_the_oldest_restore_point_has_no_beginning() {
    let mut bench = bench(3);
    base(&mut bench, 1024);
    grow(&mut bench);
    lose(&bench, 1);
    let coverage = bench.history.coverage().unwrap();
    assert_eq!(
        rows(&coverage.stretches),
        [("lost", None, Some(4), Some(3)), row("scheduled", 4, 5, 0)]
    );
    assert_eq!((coverage.oldest.unwrap().seq, coverage.newest.unwrap().seq), (Seq(4), Seq(5)));
}

#[test]
fn a_hole_behind_the_newest_restore_point_has_no_end() {
    let bench = bench(4);
    let chain = bench.history.chain().unwrap();
    let victim = chain.commit(Seq(4)).unwrap().segment.name().to_owned();
    let mut bytes = bench.store.get(&victim, u64::MAX).unwrap().unwrap();
    bytes[60] ^= 1;
    bench.store.damage(&victim, &bytes);
    assert_eq!(told(&bench), [row("scheduled", 1, 3, 0), ("lost", Some(3), None, None)]);
}

#[test]
fn where_nothing_is_left_all_is_lost_and_where_nothing_was_nothing_is() {
    let bench = bench(3);
    lose(&bench, 1);
    let coverage = bench.history.coverage().unwrap();
    assert_eq!(rows(&coverage.stretches), [("lost", None, None, None)]);
    assert_eq!((coverage.restore_points, coverage.oldest), (0, None));
    let empty = Bench::with_page_size(7, 512);
    assert_eq!(empty.history.coverage().unwrap(), Coverage::default());
}

#[test]
fn a_proof_that_looked_at_nothing_is_none_and_newer_restore_points_are_counted() {
    use crate::ops::trial::all_data;
    use crate::progress::Silent;
    let mut bench = bench(3);
    let mut options = all_data(bench.dir.path());
    options.max_time = Some(std::time::Duration::ZERO);
    bench.history.verify(None, &options, &Silent).unwrap();
    assert_eq!(bench.history.coverage().unwrap().proofs, []);
    bench.history.verify(None, &all_data(bench.dir.path()), &Silent).unwrap();
    grow(&mut bench);
    let coverage = bench.history.coverage().unwrap();
    let proofs: Vec<_> = coverage.proofs.iter().map(|p| (p.proof.level, p.newer)).collect();
    assert_eq!(proofs, [(Level::Data, 1)]);
    assert_eq!(coverage.stored, Some(coverage.newest.unwrap().time));
}
