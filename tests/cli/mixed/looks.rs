//! Whoever only reads: restores, and what they restore to; verifications, lists, previews.

use std::collections::BTreeMap;

use super::Party;
use super::follower::Database;
use super::ledger::Standing;
use super::site::{Done, Place, Step};
use crate::support::dice::Dice;

impl Party<'_> {
    /// Restores a commit that must be there, or one that must be gone.
    pub fn restore_some(&self, place: Place, database: &Database, dice: &mut Dice) -> Step {
        let seq = {
            let ledger = database.ledger_of(place).lock().unwrap();
            let firm = ledger.firm();
            if firm.is_empty() {
                return Ok(());
            }
            match dice.below(8) {
                0 if !ledger.dropped.is_empty() => {
                    let dropped: Vec<u64> = ledger.dropped.iter().copied().collect();
                    *dice.pick(&dropped)
                }
                1..4 => {
                    firm[firm.len() - 1 - usize::try_from(dice.below(30)).unwrap() % firm.len()]
                }
                _ => *dice.pick(&firm),
            }
        };
        self.restore(place, database, seq, dice)
    }

    /// Restores a commit, if it is there, and holds it to all that is known.
    pub fn restore(&self, place: Place, database: &Database, seq: u64, dice: &mut Dice) -> Step {
        let ledger = database.ledger_of(place);
        let (target, source) = (self.site.target(), format!("{}@seq:{seq}", database.name));
        let text = target.text();
        let mut args = vec!["restore", &*source, &*text];
        args.extend(["--check", *dice.pick(&["none", "quick", "full"])]);
        for _ in 0..10 {
            let before = {
                let ledger = ledger.lock().unwrap();
                (ledger.is_firm(seq), ledger.is_gone(seq), ledger.prunes_begun())
            };
            let (was_firm, was_gone, begun) = before;
            let done = self.run(place, &args, self.maybe_kill(dice), &[16])?;
            let (firm, pinned, moved) = {
                let ledger = ledger.lock().unwrap();
                let moved = ledger.is_pruned_since(begun);
                (was_firm && ledger.is_firm(seq), ledger.is_pinned(seq), moved)
            };
            match done.code {
                Some(0 | 3) if was_gone => {
                    return self.site.fail("a commit that was dropped is back", Some(&done));
                }
                Some(0 | 3) => return self.check_restored(place, database, &done, &target.0),
                // While a prune decides, what it may drop may be away and come back; not what is
                // kept.
                Some(16) if firm && (pinned || !moved) => {
                    let what = if pinned { "labelled or held" } else { "acknowledged" };
                    let what = format!("commit {seq} was {what}, and cannot be restored");
                    return self.site.fail(what, Some(&done));
                }
                Some(16) if firm => {}
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn check_restored(
        &self,
        place: Place,
        database: &Database,
        done: &Done,
        file: &std::path::Path,
    ) -> Step {
        let commit = done.summary()["commit"].clone();
        let (seq, digest) = (commit["seq"].as_u64().unwrap(), commit["digest"].as_str().unwrap());
        let known = database.journal.recognise(file).and_then(|n| {
            database.ledger_of(place).lock().unwrap().restored(seq, n, digest).map(|()| n)
        });
        self.site.count(format!("checked restores of the {}", place.repo()));
        match known {
            Ok(_) => Ok(()),
            Err(e) => {
                // For whoever looks into it.
                std::fs::copy(file, self.site.path("suspect.db")).unwrap();
                self.site.fail(format!("commit {seq} of {}: {e}", database.name), Some(done))
            }
        }
    }

    /// A label names the commit that it was given to.
    pub fn use_label(&self, database: &Database, dice: &mut Dice) -> Step {
        let mark = {
            let ledger = database.ledger.lock().unwrap();
            if ledger.labels.is_empty() {
                return Ok(());
            }
            dice.pick(&ledger.labels).clone()
        };
        if mark.standing != Standing::There || mark.busy {
            return Ok(());
        }
        self.check_label(Place::Original, database, &mark.text, mark.seq, dice.one_in(3))
    }

    pub fn check_label(
        &self,
        place: Place,
        database: &Database,
        label: &str,
        seq: u64,
        whole: bool,
    ) -> Step {
        let target = self.site.target();
        let (source, text) = (format!("{}@{label}", database.name), target.text());
        let args = if whole { vec!["restore", &*source, &*text] } else { vec!["show", &*source] };
        let done = self.run(place, &args, None, &[16])?;
        let there = |at: usize| {
            let now = database.ledger.lock().unwrap();
            let mark = now.labels.get(at).cloned();
            mark.is_some_and(|m| m.standing == Standing::There && !m.busy)
        };
        let at = database.ledger.lock().unwrap().labels.iter().position(|m| m.text == label);
        match done.code {
            Some(0 | 3) => {
                let object = done.objects().pop().unwrap();
                let commit = if whole { &object["commit"] } else { &object };
                if commit["seq"].as_u64() != Some(seq) {
                    let what = format!("{label:?} was given to commit {seq}");
                    return self.site.fail(what, Some(&done));
                }
                if whole { self.check_restored(place, database, &done, &target.0) } else { Ok(()) }
            }
            // It may have been taken back meanwhile.
            Some(16) if at.is_some_and(there) => {
                self.site.fail(format!("{label:?} was given to commit {seq}"), Some(&done))
            }
            _ => Ok(()),
        }
    }

    pub fn verify(&self, place: Place, dice: &mut Dice) -> Step {
        let name = &*dice.pick(&self.databases).name;
        let mut args = vec!["verify"];
        args.extend((!dice.one_in(4)).then_some(name));
        args.extend(match dice.below(6) {
            0 | 1 => vec!["--level", "chain"],
            2 => vec!["--level", "data"],
            3 => vec!["--level", "data", "--sample", "20%", "--max-time", "1s"],
            4 => vec!["--level", "restore"],
            _ => vec!["--level", "restore", "--sample", "5%", "--max-time", "1s"],
        });
        // A history begins with its first commit. On a machine that is busy a second may be too
        // short for one commit.
        let is_short = args.contains(&"--max-time");
        let allowed: &[i32] = if is_short { &[16, 1] } else { &[16] };
        let done = self.run(place, &args, self.maybe_kill(dice), allowed)?;
        match done.code {
            Some(1) if !done.stderr.contains("time was up") => {
                self.site.fail("it failed, and not for want of time".to_owned(), Some(&done))
            }
            _ => Ok(()),
        }
    }

    /// One of the commands that list and preview.
    pub fn look(&self, database: &Database, dice: &mut Dice) -> Step {
        let (name, file) = (&*database.name, database.file());
        let seq = self.some_commit(&database.ledger.lock().unwrap(), dice).unwrap_or(1);
        let (commit, selector) = (format!("{name}@seq:{seq}"), format!("seq:{seq}"));
        let args: Vec<&str> = match dice.below(9) {
            0 => vec!["status"],
            1 => vec!["stats", name],
            2 => vec!["stats", "--no-tables", "--keep-last", "10"],
            3 => vec!["snapshots", name],
            4 => vec!["show", &commit],
            5 => vec!["rewind", "-n", file, "--to", &selector],
            6 => return self.drift(database),
            7 => vec!["hold", "list"],
            _ => return self.log(Place::Original, database),
        };
        self.run(Place::Original, &args, self.maybe_kill(dice), &[16]).map(|_| ())
    }

    /// Nothing differs that no transaction explains, as far as the machine that follows can tell.
    pub fn drift(&self, database: &Database) -> Step {
        let args = ["drift", database.file()];
        let done = self.site.run(Place::Original, database.state(), &args, None, &[4, 16])?;
        match done.code {
            Some(4) if done.summary()["since_head"] != "unknown" => {
                self.site.fail("a drift where there is none", Some(&done))
            }
            _ => Ok(()),
        }
    }

    /// The log lists every commit that must be there, once, in order, with the digest that was
    /// told.
    pub fn log(&self, place: Place, database: &Database) -> Step {
        let ledger = database.ledger_of(place);
        let (firm, begun) = {
            let ledger = ledger.lock().unwrap();
            (ledger.firm(), ledger.prunes_begun())
        };
        let done = self.run(place, &["log", &database.name], None, &[16])?;
        if !done.well() {
            return Ok(());
        }
        let listed: Vec<(u64, String)> = done
            .objects()
            .iter()
            .map(|c| (c["seq"].as_u64().unwrap(), c["digest"].as_str().unwrap().to_owned()))
            .collect();
        let wrong = {
            let ledger = ledger.lock().unwrap();
            let moved = ledger.is_pruned_since(begun);
            let digests: BTreeMap<u64, &str> = listed.iter().map(|(s, d)| (*s, &**d)).collect();
            let told = |seq: &u64| ledger.commits.get(seq).and_then(|c| c.digest.as_deref());
            let right = |seq: &u64| match (digests.get(seq), told(seq)) {
                (Some(is), Some(told)) => *is == told,
                (is, _) => is.is_some(),
            };
            let held_to = |seq: &&u64| ledger.is_firm(**seq) && (!moved || ledger.is_pinned(**seq));
            firm.iter().filter(held_to).find(|seq| !right(seq)).copied()
        };
        if !listed.is_sorted_by(|a, b| a.0 < b.0) {
            return self.site.fail("the log is not in order", Some(&done));
        }
        match wrong {
            Some(seq) => {
                let what =
                    format!("commit {seq} must be there: {:?}", listed.iter().find(|l| l.0 == seq));
                self.site.fail(what, Some(&done))
            }
            None => Ok(()),
        }
    }
}
