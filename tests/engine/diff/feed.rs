//! The change feed tells of each commit what a diff with the one before tells.

use pagekeep::{
    DiffOptions, FeedEvent, FeedOptions, History, RestorePoint, RowChange, SchemaChange, Seq,
    Silent, TableDiff,
};

use super::{history, small_changes};
use crate::support::Lab;
use crate::support::dice::number;

/// What was told of a commit.
#[derive(Debug, Default, PartialEq)]
struct Told {
    schema: Vec<SchemaChange>,
    rows: Vec<RowChange>,
    tables: Vec<TableDiff>,
}

/// What the feed tells, and how many tables' rows it read without SQLite.
fn feed(history: &History, options: &FeedOptions) -> (Vec<(Seq, Told)>, u64) {
    let (mut ended, mut open) = (Vec::new(), Told::default());
    let mut take = |seq, _, event| {
        match event {
            FeedEvent::Schema(change) => open.schema.push(change),
            FeedEvent::Row(change) => open.rows.push(change),
            FeedEvent::End(mut tables) => {
                tables.retain(|table| table.uncompared.is_none());
                open.tables = tables;
                ended.push((seq, std::mem::take(&mut open)));
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    };
    let mut feed = history.feed(options).unwrap();
    feed.advance(&mut take, &Silent).unwrap();
    assert_eq!(open, Told::default());
    (ended, feed.read_directly())
}

fn between(old: Option<&RestorePoint>, new: &RestorePoint) -> Told {
    // By all rows, and not by pages as the feed goes.
    let options = DiffOptions::default().all_rows(true);
    let diff = match old {
        Some(old) => old.diff(new, &options).unwrap(),
        None => new.diff_from_nothing(&options).unwrap(),
    };
    let (mut rows, schema) = (Vec::new(), diff.schema());
    let mut take = |change| {
        rows.push(change);
        Ok(())
    };
    let mut tables = diff.rows(&mut take, &Silent).unwrap();
    // Of what can't be compared the feed knows more: that nothing of it was touched.
    tables.retain(|table| table.uncompared.is_none());
    Told { schema, rows, tables }
}

#[test]
fn each_commit_is_told_once_and_as_its_diff_tells_it() {
    for seed in 200..200 + number("PAGEKEEP_DIFF_ROUNDS", 4) {
        let lab = Lab::quick();
        let (history, _) = history(&lab, seed, 10);
        let points = history.restore_points().unwrap();
        let mut before: Option<&RestorePoint> = None;
        let (all, _) = feed(&history, &FeedOptions::default());
        assert_eq!(all.len(), points.len());
        for (point, (seq, told)) in points.iter().zip(&all) {
            assert_eq!(*seq, point.seq());
            assert_eq!(*told, between(before, point), "seed {seed}, commit {seq}");
            before = Some(point);
        }
        // From wherever it is gone on from, the rest is the same.
        for n in 1..points.len() {
            let options = FeedOptions::default().from(points[n - 1].seq());
            assert_eq!(feed(&history, &options).0, all[n..], "seed {seed}, from {n}");
            let options = options.to(points[n].seq());
            assert_eq!(feed(&history, &options).0, all[n..=n], "seed {seed}, {n}");
        }
    }
}

#[test]
fn small_commits_are_told_without_sqlite_and_as_their_diffs_tell_them() {
    let mut direct = 0;
    for seed in 500..500 + number("PAGEKEEP_DIFF_ROUNDS", 4) {
        let lab = Lab::quick();
        let history = small_changes(&lab, seed, 25);
        let points = history.restore_points().unwrap();
        let (all, tables) = feed(&history, &FeedOptions::default());
        let mut before: Option<&RestorePoint> = None;
        for (point, (seq, told)) in points.iter().zip(&all) {
            assert_eq!(*told, between(before, point), "seed {seed}, commit {seq}");
            before = Some(point);
        }
        direct += tables;
    }
    assert!(direct > 80, "{direct}");
}
