//! Damage beneath a diff and a change feed: every row that is told is right, and what can't be told
//! is an error that names the object.
//!
//! `PAGEKEEP_FULL_MATRIX=1` damages every byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::work;
use crate::support::dice::{Dice, number};
use crate::support::{Lab, keep_last, objects, store_of, ways_to_damage};
use pagekeep::internals::types::Seq;
use pagekeep::{
    DiffOptions, Error, ErrorKind, FeedEvent, FeedOptions, History, Repository, RepositoryOptions,
    RestorePoint, RowChange, Silent, Timestamp,
};
use rusqlite::Connection;

/// The rows that turn one commit into another.
type Known = BTreeMap<(Seq, Seq), Vec<RowChange>>;

/// The rows of a diff up to its end, or to an error.
fn told(old: &RestorePoint, new: &RestorePoint, all: bool) -> (Vec<RowChange>, Option<Error>) {
    let mut rows = Vec::new();
    let options = DiffOptions::default().all_rows(all);
    let mut take = |change| {
        rows.push(change);
        Ok(())
    };
    let ended = old.diff(new, &options).and_then(|diff| diff.rows(&mut take, &Silent));
    (rows, ended.err())
}

/// The rows of the commits of a feed that ended, by commit and the one before, and an error.
fn fed(history: &History, first: &RestorePoint) -> (Known, Option<Error>) {
    let mut ended = Known::new();
    let (mut rows, mut before) = (Vec::new(), first.seq());
    let mut take = |seq: Seq, _time: Timestamp, event: FeedEvent| {
        match event {
            FeedEvent::Row(change) => rows.push(change),
            FeedEvent::End(_) => {
                ended.insert((before, seq), std::mem::take(&mut rows));
                before = seq;
            }
            _ => {}
        }
        Ok(())
    };
    let options = FeedOptions::default().from(first.seq());
    let error = history.feed(&options).and_then(|mut feed| feed.advance(&mut take, &Silent)).err();
    (ended, error)
}

#[test]
fn damage_gives_no_wrong_row() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    let mut dice = Dice::new(11);
    work::begin(&db, &mut dice);
    let mut known = Known::new();
    let history = |repository: &Repository| repository.history("app").unwrap();
    for i in 0..6 {
        work::change(&db, &mut dice);
        lab.backup(&path);
        let points = history(&lab.repository).restore_points().unwrap();
        for (at, old) in points.iter().enumerate() {
            for new in &points[at + 1..] {
                let (rows, error) = told(old, new, true);
                assert_eq!(error.map(|e| e.to_string()), None);
                known.insert((old.seq(), new.seq()), rows);
            }
        }
        if i == 3 {
            history(&lab.repository).prune(&keep_last(3, Default::default()), &Silent).unwrap();
        }
    }
    let whole = objects(&lab.store);
    let all = number("PAGEKEEP_FULL_MATRIX", 0) == 1;
    let (mut named, mut harmless) = (0, 0);
    let mut judge = |name: &str, error: Option<Error>| match error {
        None => harmless += 1,
        Some(e) => {
            assert!(e.object().is_some(), "{name}: {e:?}");
            let kinds = [ErrorKind::Damaged, ErrorKind::TooNew, ErrorKind::WrongKey];
            assert!(kinds.contains(&e.kind()), "{name}: {e:?}");
            named += 1;
        }
    };
    for (name, bytes) in &whole {
        for bad in ways_to_damage(bytes, all) {
            let mut objects = whole.clone();
            match bad {
                Some(bad) => objects.insert(name.clone(), bad),
                None => objects.remove(name),
            };
            let state = lab.path("elsewhere");
            let _ = std::fs::remove_dir_all(&state);
            let store = Arc::new(store_of(&objects));
            let opened = Repository::open(store, &lab.secret, &RepositoryOptions::new(state));
            let opened = opened.and_then(|repository| repository.history("app"));
            let (history, points) = match opened.and_then(|h| Ok((h.clone(), h.restore_points()?)))
            {
                Ok(found) => found,
                Err(e) => {
                    judge(name, Some(e));
                    continue;
                }
            };
            for pair in points.windows(2) {
                // A commit that was let go is seen again where the record of that is damaged.
                let Some(right) = known.get(&(pair[0].seq(), pair[1].seq())) else { continue };
                let (rows, error) = told(&pair[0], &pair[1], false);
                assert!(rows.iter().all(|row| right.contains(row)), "{name}: a wrong row");
                assert!(error.is_some() || rows == *right, "{name}: rows are missing");
                judge(name, error);
            }
            let Some(first) = points.first() else { continue };
            let (ended, error) = fed(&history, first);
            for (pair, rows) in &ended {
                assert!(known.get(pair).is_none_or(|right| right == rows), "{name}: {pair:?}");
            }
            assert!(
                error.is_some() || ended.len() + 1 == points.len(),
                "{name}: a commit is missing"
            );
            judge(name, error);
        }
    }
    println!("{named} named, {harmless} harmless");
    assert!(named > 50 && harmless > 50, "{named} named, {harmless} harmless");
}
