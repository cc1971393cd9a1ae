//! The tests of a time: the daemon's jobs in its ledger, and proofs in the repository that none of
//! them made, in the order in which they began.
//!
//! Invariant: of tests that the ledger has, one after the other is in memory. Proofs of the
//! repository are: a prune lets few of them stay.

use std::collections::BTreeMap;

use super::document::{Foot, Gap, Told, count};
use crate::api::evidence::TestTally;
use crate::daemon::tested::{Test, Tests};
use crate::error::{Error, Result};
use crate::format::proof::{Level, Proof};
use crate::types::Timestamp;

/// Tells all tests of a database that began within a time. Answers what kept the ledger from being
/// read to its end.
///
/// # Errors
/// Those of whoever is told.
pub(super) fn tests(
    ledger: Option<(&Tests, &str)>,
    span: (Timestamp, Timestamp),
    proofs: Vec<Proof>,
    tell: &mut dyn FnMut(Told) -> Result<()>,
) -> Result<Option<Error>> {
    let mut proofs = Proofs::within(proofs, span);
    let unread = match ledger {
        None => None,
        Some((tests, database)) => tests.each(database, span, &mut |test| {
            let own = proofs.take_own(&test);
            while let Some(proof) = proofs.take_before(test.began) {
                tell(Told::of_proof(&proof))?;
            }
            tell(Told::of_job(test, &own))
        })?,
    };
    for proof in proofs.0.into_values() {
        tell(Told::of_proof(&proof))?;
    }
    Ok(unread)
}

/// Proofs of the repository that no test was found for yet, in the order of their beginnings.
struct Proofs(BTreeMap<(Timestamp, usize), Proof>);

impl Proofs {
    fn within(proofs: Vec<Proof>, (since, until): (Timestamp, Timestamp)) -> Self {
        let numbered = proofs.into_iter().enumerate();
        let keyed = numbered.map(|(n, proof)| ((proof.started, n), proof));
        Self(keyed.filter(|((at, _), _)| since <= *at && *at <= until).collect())
    }

    /// The next one that began before a time.
    fn take_before(&mut self, time: Timestamp) -> Option<Proof> {
        let (key, _) = self.0.first_key_value()?;
        if key.0 < time { self.0.pop_first().map(|(_, proof)| proof) } else { None }
    }

    /// Those that a job stored, as it wrote down. An earlier version wrote nothing down: of its
    /// jobs those count that are of the job's level and time.
    fn take_own(&mut self, test: &Test) -> Vec<Proof> {
        let mut own = Vec::new();
        for found in &test.found {
            let at = Timestamp(found.started);
            let mut there = self.0.range((at, 0)..=(at, usize::MAX));
            let key = there.find(|(_, proof)| found.is_of(proof)).map(|(key, _)| *key);
            own.extend(key.and_then(|key| self.0.remove(&key)));
        }
        let is_early = test.method.is_none() && test.found.is_empty();
        if let Some(ended) = test.ended.filter(|ended| is_early && *ended >= test.began) {
            let there = self.0.range((test.began, 0)..=(ended, usize::MAX));
            let keys: Vec<_> =
                there.filter(|(_, p)| p.level == test.level).map(|(key, _)| *key).collect();
            own.extend(keys.iter().filter_map(|key| self.0.remove(key)));
        }
        own
    }
}

/// What comes of all tests: how many ended how, and the stretches without any.
pub(super) struct Sums {
    wished: u64,
    any: Timestamp,
    restore: Timestamp,
    gaps: Vec<Gap>,
    pub(super) tally: TestTally,
}

impl Sums {
    /// From a time on, where stretches of more seconds than that are to be named.
    pub(super) fn new(since: Timestamp, wished: u64) -> Self {
        let tally = TestTally::default();
        Self { wished, any: since, restore: since, gaps: Vec::new(), tally }
    }

    /// Takes a test in. One that came to no answer ends no stretch.
    pub(super) fn add(&mut self, test: &Told) {
        count(&mut self.tally, test.result);
        if test.is_answered() {
            if test.level == Level::Restore {
                self.stretch("restore", self.restore, test.began);
                self.restore = self.restore.max(test.began);
            }
            self.stretch("any", self.any, test.began);
            self.any = self.any.max(test.began);
        }
    }

    fn stretch(&mut self, level: &'static str, from: Timestamp, to: Timestamp) {
        let seconds = u64::try_from(to.0.saturating_sub(from.0) / 1_000_000).unwrap_or_default();
        if seconds > self.wished {
            self.gaps.push(Gap { level, from, to, seconds });
        }
    }

    /// All of it, where nothing comes before the end any more.
    pub(super) fn end(mut self, until: Timestamp, unread: Vec<String>) -> Foot {
        self.stretch("restore", self.restore, until);
        self.stretch("any", self.any, until);
        self.gaps.sort_by_key(|gap| (gap.from, gap.to, gap.level));
        let Self { wished, gaps, tally, .. } = self;
        Foot { longest_wished_seconds: wished, gaps, tally, unread }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::daemon::tested::Found;
    use crate::types::{Digest, Seq};

    fn proof(started: i64, level: Level, failure: Option<&str>) -> Proof {
        Proof {
            seq: Seq(1),
            digest: Digest([7; 16]),
            started: Timestamp(started),
            micros: 5,
            level,
            failure: failure.map(str::to_owned),
            coverage_ppm: 1_000_000,
            page_bytes: 4096,
            assertions: 0,
            host: "here".to_owned(),
        }
    }

    /// Job, kind, begin, end, result, and what it wrote down.
    type Row<'a> = (i64, &'a str, i64, Option<i64>, &'a str, Option<Vec<Found>>);

    /// A ledger with these tests.
    fn ledger(dir: &tempfile::TempDir, rows: &[Row<'_>]) -> Tests {
        let path = dir.path().join("daemon.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "CREATE TABLE run(id INTEGER PRIMARY KEY, database TEXT, kind TEXT, scheduled INTEGER,
                began INTEGER, ended INTEGER, result TEXT, message TEXT);
             CREATE TABLE test(run INTEGER PRIMARY KEY, method TEXT, found TEXT);",
        )
        .unwrap();
        for (id, kind, began, ended, result, found) in rows {
            db.execute(
                "INSERT INTO run VALUES(?1, 'main/a', ?2, NULL, ?3, ?4, ?5, '')",
                (id, kind, began, ended, result),
            )
            .unwrap();
            if let Some(found) = found {
                let method = r#"{"version":"1","host":"here","sample_ppm":null,"assertions":[],"max_seconds":1}"#;
                let found = serde_json::to_string(found).unwrap();
                db.execute("INSERT INTO test VALUES(?1, ?2, ?3)", (id, method, found)).unwrap();
            }
        }
        Tests::open(&path).unwrap()
    }

    fn told(ledger: &Tests, span: (i64, i64), proofs: Vec<Proof>) -> Vec<(i64, String, usize)> {
        let mut all = Vec::new();
        let span = (Timestamp(span.0), Timestamp(span.1));
        let unread = tests(Some((ledger, "main/a")), span, proofs, &mut |test| {
            let name = format!("{} {}", test.from, test.result);
            all.push((test.began.0, name, test.proofs.len()));
            Ok(())
        });
        assert!(unread.unwrap().is_none());
        all
    }

    #[test]
    fn each_test_and_each_proof_is_told_once_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let restore = "verify-restore";
        let (first, late) =
            (proof(12, Level::Restore, None), proof(43, Level::Restore, Some("bad")));
        let ledger = ledger(
            &dir,
            &[
                (1, restore, 10, Some(20), "well", Some(vec![Found::from(&first)])),
                // An earlier version's; the machine's clock went on by itself in the next one.
                (2, "verify-data", 30, Some(35), "well", None),
                (3, restore, 40, Some(41), "found", Some(vec![Found::from(&late)])),
                (4, "prune", 50, Some(51), "well", None),
                (5, restore, 60, Some(90), "interrupted", Some(vec![])),
                (6, restore, 100, None, "running", Some(vec![])),
                (7, restore, 500, Some(501), "well", None),
            ],
        );
        let by_hand = [
            proof(13, Level::Restore, None),
            proof(33, Level::Chain, None),
            proof(70, Level::Restore, None),
        ];
        let mut proofs =
            vec![first, proof(32, Level::Data, None), late, proof(3, Level::Data, None)];
        proofs.extend(by_hand);
        let expected = [
            (10, "daemon passed", 1),
            (13, "repository passed", 1),
            (30, "daemon passed", 1),
            (33, "repository passed", 1),
            (40, "daemon failed", 1),
            (60, "daemon interrupted", 0),
            (70, "repository passed", 1),
            (100, "daemon running", 0),
        ];
        let all = told(&ledger, (10, 499), proofs);
        let all: Vec<(i64, &str, usize)> =
            all.iter().map(|(at, name, n)| (*at, &**name, *n)).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn stretches_are_named_whatever_ended_without_an_answer() {
        let second = 1_000_000;
        let test = |at: i64, level, result| Told {
            result,
            ..Told::of_proof(&proof(at * second, level, None))
        };
        let mut sums = Sums::new(Timestamp(0), 10);
        for (at, level, result) in [
            (5, Level::Data, "passed"),
            (9, Level::Restore, "not-done"),
            (16, Level::Data, "failed"),
            (17, Level::Restore, "passed"),
            (20, Level::Restore, "interrupted"),
        ] {
            sums.add(&test(at, level, result));
        }
        let foot = sums.end(Timestamp(28 * second), Vec::new());
        let gaps: Vec<_> = foot
            .gaps
            .iter()
            .map(|g| (g.level, g.from.0 / second, g.to.0 / second, g.seconds))
            .collect();
        assert_eq!(
            gaps,
            [
                ("restore", 0, 17, 17),
                ("any", 5, 16, 11),
                ("any", 17, 28, 11),
                ("restore", 17, 28, 11)
            ]
        );
        let tally = &foot.tally;
        assert_eq!(
            (tally.tests, tally.passed, tally.failed, tally.not_done, tally.interrupted),
            (5, 2, 1, 1, 1)
        );
    }
}
