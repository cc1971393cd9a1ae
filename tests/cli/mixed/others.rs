//! Whoever else is at the repository: backups of other machines, copies, rotations of keys,
//! repairs.

use serde_json::Value;

use super::Party;
use super::application;
use super::follower::Database;
use super::ledger::{Commit, Mark, Standing};
use super::site::{Done, Place, Step};
use crate::support::dice::Dice;

impl Party<'_> {
    /// A backup beside the follower: by the same machine, which is busy then, or by another one,
    /// which may end it.
    pub fn backup(&self, state: &str, database: &Database, dice: &mut Dice) -> Step<Option<Done>> {
        let before = application::last(&database.path);
        let label = format!("label {}", self.site.number());
        let mut args = vec!["backup", database.file()];
        if dice.one_in(3) {
            args.extend(["--label", &label]);
        }
        database.rivals.begin();
        // A prune may drop the commit before the label is given: the follower publishes meanwhile.
        let allowed: &[i32] = if args.contains(&"--label") { &[16] } else { &[] };
        let done = self.site.run(Place::Original, state, &args, self.maybe_kill(dice), allowed);
        database.rivals.end();
        let done = done?;
        if !done.well() {
            return Ok(None);
        }
        let summary = done.summary();
        let seq = summary["seq"].as_u64().unwrap();
        let text = |name: &str| summary["commit"][name].as_str().map(str::to_owned);
        let mut told = Commit { digest: text("digest"), kind: text("kind"), ..Commit::default() };
        told.least = before;
        let known = {
            let mut ledger = database.ledger.lock().unwrap();
            if args.contains(&"--label") {
                ledger.pin(seq);
                ledger.labels.push(Mark {
                    text: label.clone(),
                    seq,
                    standing: Standing::There,
                    busy: false,
                });
            }
            ledger.acknowledge(seq, &told)
        };
        known.or_else(|e| self.site.fail(e, Some(&done)))?;
        Ok(Some(done))
    }

    /// Copies one history, or all. What must be there in the original must be there in the copy
    /// then.
    pub fn copy(&self, only: Option<&Database>, dice: &mut Dice) -> Step {
        let targets = self.databases.iter().filter(|d| only.is_none_or(|o| o.name == d.name));
        let before: Vec<_> = targets
            .map(|database| {
                let ledger = database.ledger.lock().unwrap();
                let labels = ledger.labels.iter().filter(|m| m.standing == Standing::There);
                let labels: Vec<(String, u64)> = labels.map(|m| (m.text.clone(), m.seq)).collect();
                let copied = database.copy.lock().unwrap();
                (database, ledger.firm(), labels, ledger.prunes_begun(), copied.prunes_begun())
            })
            .collect();
        let mut args = vec!["copy", Place::Original.repo(), Place::Copy.repo()];
        args.extend(["--to-key-file", Place::Copy.key()]);
        args.extend(only.map(|d| ["--name", &*d.name]).into_iter().flatten());
        let done = self.run(Place::Original, &args, self.maybe_kill(dice), &[])?;
        let objects = done.objects();
        for (database, firm, labels, begun, copy_begun) in before {
            let summary: Option<&Value> =
                objects.iter().find(|o| o["type"] == "summary" && o["history"] == *database.name);
            let Some(newest) = summary.and_then(|s| s["newest"].as_u64()) else { continue };
            let ledger = database.ledger.lock().unwrap();
            let mut copy = database.copy.lock().unwrap();
            let moved = ledger.is_pruned_since(begun);
            let still = |seq: u64| ledger.is_firm(seq) && (!moved || ledger.is_pinned(seq));
            for seq in firm.into_iter().filter(|seq| *seq <= newest && still(*seq)) {
                let Some(commit) = ledger.commits.get(&seq) else { continue };
                // What the copy had and dropped does not come again.
                let known = copy.acknowledge(seq, commit);
                known.or_else(|e| self.site.fail(e, Some(&done)))?;
            }
            if copy.is_pruned_since(copy_begun) {
                continue;
            }
            for (text, seq) in labels {
                let there = ledger
                    .labels
                    .iter()
                    .any(|m| m.text == text && m.standing == Standing::There && !m.busy);
                let copied = copy.labels.iter().any(|m| m.text == text);
                if there && !copied && seq <= newest && copy.is_firm(seq) {
                    copy.pin(seq);
                    let standing = Standing::There;
                    copy.labels.push(Mark { text, seq, standing, busy: false });
                }
            }
        }
        Ok(())
    }

    /// A new master key, or everything sealed anew under the newest.
    pub fn rotate(&self, dice: &mut Dice) -> Step {
        let place = if dice.one_in(3) { Place::Copy } else { Place::Original };
        if dice.one_in(2) {
            return self
                .run(place, &["key", "rotate", "--rewrite"], self.maybe_kill(dice), &[])
                .map(|_| ());
        }
        // One at a time, as the documents say, and not too many: every one makes the keyring
        // longer.
        let Ok(mut rotations) = self.rotations.try_lock() else { return Ok(()) };
        if *rotations > self.site.began.elapsed().as_secs() / 6 {
            return Ok(());
        }
        *rotations += 1;
        let args = ["key", "rotate", "--with-recovery-key-file", place.recovery()];
        self.run(place, &args, self.maybe_kill(dice), &[]).map(|_| ())
    }

    /// A repair of what is sound: it finds nothing, and changes nothing.
    pub fn repair(&self, place: Place, dice: &mut Dice) -> Step {
        let name = &*dice.pick(&self.databases).name;
        let mut args = vec!["repair"];
        args.extend((!dice.one_in(4)).then_some(name));
        args.extend(dice.one_in(2).then_some("--apply"));
        args.extend(dice.one_in(3).then_some("--quick"));
        // A state folder of its own: with a follower's it waits for that one to end.
        let done = self.site.run(place, "state-repair", &args, self.maybe_kill(dice), &[16])?;
        self.found_nothing(&done)
    }

    pub fn found_nothing(&self, done: &Done) -> Step {
        let nothing = |o: &Value| o["damage"] == 0 && o["lost"] == serde_json::json!([]);
        let summaries = done.objects().into_iter().filter(|o| o["type"] == "summary");
        match summaries.into_iter().find(|o| !nothing(o)) {
            Some(_) => {
                let what = format!("a repair found faults in what is sound: {}", done.stdout);
                self.site.fail(what, Some(done))
            }
            None => Ok(()),
        }
    }
}
