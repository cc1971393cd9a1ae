//! `find` gives what asking every commit gives, and asks few of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::Lab;
use crate::support::dice::{Dice, number};
use pagekeep::{
    Answer, ErrorKind, FindOptions, Goal, History, Monitor, Reply, Search, Seq, Silent, ViewOptions,
};
use rusqlite::Connection;
use rusqlite::types::Value;

/// Questions about a history of [`history`]; some have no answer at first.
const QUESTIONS: [&str; 6] = [
    "SELECT count(*) FROM t",
    "SELECT x FROM t WHERE id = 3",
    "SELECT * FROM later ORDER BY 1",
    "SELECT count(*) > 12 FROM t",
    "SELECT max(n) FROM more",
    "SELECT 1",
];

/// A history of so many commits, in which rows come, go and change.
fn history(lab: &Lab, seed: u64, commits: u64) -> History {
    let (path, mut dice) = (lab.path("app.db"), Dice::new(seed));
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    let turn = dice.below(commits);
    for i in 0..commits {
        if i == turn {
            db.execute_batch("CREATE TABLE later(a); INSERT INTO later VALUES(1)").unwrap();
        }
        let sql = match dice.below(6) {
            0..=2 => format!("INSERT INTO t(x) VALUES({})", dice.below(5)),
            3 => format!("DELETE FROM t WHERE id = {}", dice.below(9)),
            4 => format!("UPDATE t SET x = {} WHERE id = 3", dice.below(3)),
            _ => format!("CREATE TABLE IF NOT EXISTS more(n); INSERT INTO more VALUES({i})"),
        };
        db.execute_batch(&sql).unwrap();
        lab.backup(&path);
    }
    lab.repository.history("app").unwrap()
}

/// What asking every commit gives: the values, or `None` where there is no answer.
fn linear(history: &History, sql: &str) -> Vec<(Seq, Option<Vec<Vec<Value>>>)> {
    let points = history.restore_points().unwrap();
    let ask = |point: &pagekeep::RestorePoint| {
        let view = point.open(&ViewOptions::default()).unwrap();
        let mut statement = view.prepare(sql).ok()?;
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|i| row.get(i)).collect());
        Some(rows.unwrap().collect::<rusqlite::Result<_>>().unwrap())
    };
    points.iter().map(|point| (point.seq(), ask(point))).collect()
}

fn find(history: &History, sql: &str, options: &FindOptions) -> (Search, Vec<Reply>) {
    let mut steps = Vec::new();
    let found =
        history.find_change(sql, options, &Silent, &mut |reply| steps.push(reply.clone())).unwrap();
    (found, steps)
}

fn most(points: usize) -> u64 {
    u64::from((points.max(1) as u64).next_power_of_two().ilog2()) + 2
}

#[test]
fn a_search_finds_what_asking_every_commit_finds() {
    let (mut found, mut same) = (0, 0);
    for seed in 0..number("PAGEKEEP_QUERY_ROUNDS", 6) {
        let lab = Lab::quick();
        let mut dice = Dice::new(seed + 100);
        let commits = 1 + dice.below(40);
        let history = history(&lab, seed, commits);
        for sql in QUESTIONS {
            let all = linear(&history, sql);
            let is_true = |answer: &Option<Vec<Vec<Value>>>| {
                let first = answer.as_ref().and_then(|rows| rows.first()?.first());
                matches!(first, Some(Value::Integer(n)) if *n != 0)
            };
            let (oldest, newest) = (&all[0].1, &all.last().unwrap().1);
            for goal in [Goal::First, Goal::Last, Goal::True] {
                let is_after = |answer: &Option<Vec<Vec<Value>>>| match goal {
                    Goal::First => answer != oldest,
                    Goal::Last => answer == newest,
                    _ => is_true(answer),
                };
                let options = FindOptions::default().goal(goal);
                if oldest.is_none() && newest.is_none() {
                    let e = history.find_change(sql, &options, &Silent, &mut |_| ()).unwrap_err();
                    assert_eq!(e.kind(), ErrorKind::Usage, "{e:?}");
                    assert!(e.message().contains("no such table"), "{e:?}");
                    continue;
                }
                let (search, steps) = find(&history, sql, &options);
                assert_eq!(search.asked, steps.len() as u64);
                assert!(search.asked <= most(all.len()), "{} of {}", search.asked, all.len());
                assert_eq!(search.restore_points, all.len() as u64);
                for step in &steps {
                    let known = &all.iter().find(|(seq, _)| *seq == step.seq).unwrap().1;
                    assert_eq!(matches!(step.answer, Answer::Nothing(_)), known.is_none());
                    if let (Answer::Rows(rows), Some(known)) = (&step.answer, known) {
                        assert_eq!(rows.count, known.len() as u64);
                        assert_eq!(Some(&rows.first), known.first().or(Some(&Vec::new())));
                    }
                    assert_eq!(step.answer.is_true(), is_true(known));
                }
                let changes: Vec<usize> = (1..all.len())
                    .filter(|i| !is_after(&all[i - 1].1) && is_after(&all[*i].1))
                    .collect();
                match search.turn {
                    None => {
                        same += 1;
                        assert!(if goal == Goal::True {
                            !is_true(newest)
                        } else {
                            oldest == newest
                        });
                    }
                    Some(turn) => {
                        found += 1;
                        let after = all.iter().position(|(seq, _)| *seq == turn.after.seq).unwrap();
                        match turn.before {
                            Some(before) => {
                                assert!(changes.contains(&after), "{sql} {goal:?} at {after}");
                                assert_eq!(before.seq, all[after - 1].0);
                            }
                            None => assert!(goal == Goal::True && after == 0 && is_true(oldest)),
                        }
                        // Where it changes once, that is it.
                        if let [only] = changes[..] {
                            assert!(after == only || is_true(oldest), "{sql} {goal:?}");
                        }
                    }
                }
            }
        }
    }
    assert!(found > 20 && same > 5, "{found} found, {same} the same at both ends");
}

#[test]
fn a_thousand_commits_take_twelve_questions_and_the_ends_can_be_named() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA synchronous=OFF; CREATE TABLE t(x); INSERT INTO t VALUES(0)").unwrap();
    for i in 0..200 {
        db.execute("UPDATE t SET x = ?1", [i / 20]).unwrap();
        lab.backup(&path);
    }
    let history = lab.repository.history("app").unwrap();
    let n = history.restore_points().unwrap().len();
    let sql = "SELECT x FROM t";
    let turn = |options: FindOptions| {
        let (search, _) = find(&history, sql, &options);
        assert!(search.asked <= most(n), "{search:?}");
        search.turn.map(|turn| turn.after.answer)
    };
    let first = |answer: Option<Answer>| match answer {
        Some(Answer::Rows(rows)) => rows.first,
        other => panic!("{other:?}"),
    };
    // It never comes back to what it was: the first change, and the last one.
    assert_eq!(first(turn(FindOptions::default())), [Value::Integer(1)]);
    assert_eq!(first(turn(FindOptions::default().goal(Goal::Last))), [Value::Integer(9)]);
    let seqs: Vec<Seq> = history.restore_points().unwrap().iter().map(|p| p.seq()).collect();
    let middle = FindOptions::default().from(seqs[n / 4]).to(seqs[n / 2]).goal(Goal::Last);
    let (search, steps) = find(&history, sql, &middle);
    assert!(steps.iter().all(|step| step.seq >= seqs[n / 4] && step.seq <= seqs[n / 2]));
    assert_eq!(search.restore_points, (n / 2 - n / 4 + 1) as u64);
    let wrong = FindOptions::default().from(seqs[3]).to(seqs[1]);
    let e = history.find_change(sql, &wrong, &Silent, &mut |_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Usage);
    let none = FindOptions::default().from(Seq(9999));
    let e = history.find_change(sql, &none, &Silent, &mut |_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    for (sql, kind) in [
        ("SELEC x", ErrorKind::Usage),
        ("DELETE FROM t", ErrorKind::Refused),
        ("SELECT no_such_function(1)", ErrorKind::Usage),
    ] {
        let e =
            history.find_change(sql, &FindOptions::default(), &Silent, &mut |_| ()).unwrap_err();
        assert_eq!(e.kind(), kind, "{sql}: {e:?}");
    }
}

/// Asks for a stop after a while.
struct Impatient(AtomicU64);

impl Monitor for Impatient {
    fn cancelled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 3
    }
}

#[test]
fn a_stop_ends_a_question_amid_its_answer() {
    let lab = Lab::quick();
    let history = history(&lab, 1, 3);
    let endless =
        "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let options = FindOptions::default();
    let impatient = Impatient(AtomicU64::new(0));
    let e = history.find_change(endless, &options, &impatient, &mut |_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted, "{e:?}");
    let short = options.timeout(std::time::Duration::from_millis(50));
    let e = history.find_change(endless, &short, &Silent, &mut |_| ()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Failure, "{e:?}");
}
