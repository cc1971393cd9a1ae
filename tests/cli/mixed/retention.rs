//! What decides how long commits stay: labels, holds, prunes; and what each of them promises.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Party;
use super::follower::Database;
use super::ledger::{Ledger, Mark, Standing};
use super::site::{Done, Place, Step};
use crate::support::dice::Dice;

/// So many labels a history gets at once; later one now and then.
const LABELS: usize = 60;

impl Party<'_> {
    /// A commit that is likely there: a recent one, or any acknowledged one.
    pub fn some_commit(&self, ledger: &Ledger, dice: &mut Dice) -> Option<u64> {
        let newest = ledger.newest()?;
        if dice.one_in(2) {
            return Some(newest.saturating_sub(dice.below(30)).max(1));
        }
        let all: Vec<u64> = ledger.commits.keys().copied().collect();
        Some(*dice.pick(&all))
    }

    pub fn label(&self, database: &Database, dice: &mut Dice) -> Step {
        let (given, seq) = {
            let ledger = database.ledger.lock().unwrap();
            (ledger.labels.len(), self.some_commit(&ledger, dice))
        };
        // What has a label stays for ever, and everything takes longer.
        let room = LABELS + usize::try_from(self.site.began.elapsed().as_secs() / 10).unwrap();
        let Some(seq) = seq.filter(|_| given < room || self.plan.prunes_only) else {
            return Ok(());
        };
        let text = format!("label {}", self.site.number());
        let target = match dice.below(4) {
            0 => format!("{}@latest~{}", database.name, dice.below(30)),
            _ => format!("{}@seq:{seq}", database.name),
        };
        let args = ["label", &*target, &*text];
        let done = self.run(Place::Original, &args, self.maybe_kill(dice), &[16])?;
        if done.well() {
            let seq = done.summary()["seq"].as_u64().unwrap();
            let mut ledger = database.ledger.lock().unwrap();
            ledger.pin(seq);
            ledger.labels.push(Mark { text, seq, standing: Standing::There, busy: false });
        }
        Ok(())
    }

    /// Takes a label back, or gives one back. Either way its commit stays for a week.
    pub fn change_label(&self, database: &Database, dice: &mut Dice) -> Step {
        let chosen = self.claim_mark(database, dice, |ledger| &mut ledger.labels);
        let Some((at, mark)) = chosen else { return Ok(()) };
        let (name, text) = (&*database.name, &*mark.text);
        let remove = mark.standing != Standing::Removed;
        let args = if remove {
            vec!["label", name, text, "--remove"]
        } else {
            vec!["undelete", name, text]
        };
        // Of one whose last change was killed nobody knows whether it is there.
        let allowed: &[i32] = if mark.standing == Standing::Unknown { &[16] } else { &[] };
        let done = self.run(Place::Original, &args, self.maybe_kill(dice), allowed)?;
        let standing = match (done.code, remove) {
            (Some(0 | 3), true) | (Some(16), true) => Standing::Removed,
            (Some(0 | 3), false) => Standing::There,
            _ => Standing::Unknown,
        };
        if done.well() && !remove && done.summary()["seq"].as_u64() != Some(mark.seq) {
            return self.site.fail(format!("was given to commit {}", mark.seq), Some(&done));
        }
        let mark = &mut database.ledger.lock().unwrap().labels[at];
        (mark.standing, mark.busy) = (standing, false);
        Ok(())
    }

    /// A mark that nobody else is at; it is unknown until it is known again.
    fn claim_mark(
        &self,
        database: &Database,
        dice: &mut Dice,
        of: impl Fn(&mut Ledger) -> &mut Vec<Mark>,
    ) -> Option<(usize, Mark)> {
        let mut ledger = database.ledger.lock().unwrap();
        let marks = of(&mut ledger);
        let at = usize::try_from(dice.below(u64::try_from(marks.len()).unwrap().max(1))).unwrap();
        let mark = marks.get_mut(at).filter(|mark| !mark.busy)?;
        mark.busy = true;
        Some((at, mark.clone()))
    }

    pub fn hold(&self, database: &Database, dice: &mut Dice) -> Step {
        let seq = self.some_commit(&database.ledger.lock().unwrap(), dice);
        let Some(seq) = seq else { return Ok(()) };
        let (target, text) = (format!("{}@seq:{seq}", database.name), self.site.number());
        let text = format!("hold {text}");
        let args = ["hold", "add", &*target, &*text];
        let done = self.run(Place::Original, &args, self.maybe_kill(dice), &[16])?;
        if done.well() {
            let mut ledger = database.ledger.lock().unwrap();
            ledger.pin(seq);
            ledger.holds.push(Mark { text, seq, standing: Standing::There, busy: false });
        }
        Ok(())
    }

    pub fn remove_hold(&self, database: &Database, dice: &mut Dice) -> Step {
        let chosen = self.claim_mark(database, dice, |ledger| &mut ledger.holds);
        let Some((at, mark)) = chosen else { return Ok(()) };
        if mark.standing == Standing::There {
            let mut ledger = database.ledger.lock().unwrap();
            ledger.unpin(mark.seq);
            ledger.holds[at].standing = Standing::Unknown;
        }
        let args = ["hold", "remove", &*database.name, &*mark.text];
        let allowed: &[i32] = if mark.standing == Standing::There { &[] } else { &[16] };
        self.run(Place::Original, &args, self.maybe_kill(dice), allowed)?;
        database.ledger.lock().unwrap().holds[at].busy = false;
        Ok(())
    }

    /// A prune by a random policy, of one history or of all.
    pub fn prune(&self, place: Place, dice: &mut Dice) -> Step {
        let all = dice.one_in(8);
        let chosen = dice.pick(&self.databases);
        let targets: Vec<&Database> =
            self.databases.iter().filter(|d| all || d.name == chosen.name).collect();
        let last = *dice.pick(&[1, 3, 20, 50, 100, 200, 400]);
        let text = last.to_string();
        let mut args = vec!["prune", "--keep-last", &*text];
        args.extend((!all).then_some(&*chosen.name));
        match dice.below(6) {
            0 => args.extend(["--keep-window", *dice.pick(&["1s", "5s", "1m"])]),
            1 => args.extend(["--keep-hourly", "3", "--keep-daily", "2"]),
            2 => args.extend(["--keep-floor", "7", "--time-zone", "utc"]),
            _ => {}
        }
        args.extend(match dice.below(4) {
            0..2 => vec!["--grace", "0"],
            2 => vec!["--grace", "2s"],
            _ => vec![],
        });
        if dice.one_in(10) {
            return self.dry_prune(place, &args, &targets, last);
        }
        let id = self.site.number();
        for database in &targets {
            database.ledger_of(place).lock().unwrap().begin_prune(id);
        }
        // A copy is begun by the first `copy`.
        let allowed: &[i32] = if place == Place::Copy { &[16] } else { &[] };
        let done = self.run(place, &args, self.maybe_kill(dice), allowed)?;
        for database in targets {
            self.account(place, database, &done, id, last)?;
        }
        Ok(())
    }

    /// What a prune came to at a history.
    pub fn account(
        &self,
        place: Place,
        database: &Database,
        done: &Done,
        id: u64,
        last: u64,
    ) -> Step {
        let ledger = database.ledger_of(place);
        if let Some((kept, dropped)) = listed(done, &database.name) {
            let told = ledger.lock().unwrap().prune_ended(id, &kept, &dropped, last);
            let named = |e| format!("history {:?}: {e}", database.name);
            return told.or_else(|e| self.site.fail(named(e), Some(done)));
        }
        // It died, or found somebody else at work. How far it can have come is asked for
        // afterwards, by somebody who is not killed on purpose.
        let newest = loop {
            let log = ["log", &*database.name, "--last", "1"];
            let log = self.run(place, &log, None, &[16])?;
            match log.code {
                Some(0 | 3) => {
                    break log.objects().last().map_or(0, |c| c["seq"].as_u64().unwrap());
                }
                Some(16) => break 0,
                _ => {}
            }
        };
        ledger.lock().unwrap().prune_died(id, newest, last);
        Ok(())
    }

    fn dry_prune(&self, place: Place, args: &[&str], targets: &[&Database], last: u64) -> Step {
        let args = [args, &["--dry-run"]].concat();
        let before: Vec<BTreeSet<u64>> = targets.iter().map(|d| self.pinned(place, d)).collect();
        let done = self.run(place, &args, None, &[16])?;
        for (database, before) in targets.iter().zip(before) {
            let Some((kept, dropped)) = listed(&done, &database.name) else { continue };
            // Only what was pinned all the time: a dry run sees one moment.
            let now = self.pinned(place, database);
            let dropped: BTreeSet<u64> = dropped
                .into_iter()
                .filter(|seq| before.contains(seq) || !now.contains(seq))
                .collect();
            let told = database.ledger_of(place).lock().unwrap().check_drops(&kept, &dropped, last);
            told.or_else(|e| self.site.fail(e, Some(&done)))?;
        }
        Ok(())
    }

    fn pinned(&self, place: Place, database: &Database) -> BTreeSet<u64> {
        let ledger = database.ledger_of(place).lock().unwrap();
        ledger.commits.keys().copied().filter(|seq| ledger.is_pinned(*seq)).collect()
    }

    /// How long a command may live that is to be killed, for some.
    pub fn maybe_kill(&self, dice: &mut Dice) -> Option<Duration> {
        let kill = self.plan.kills && dice.one_in(5);
        let longest = *dice.pick(&[8_000, 40_000, 200_000]);
        kill.then(|| Duration::from_micros(dice.below(longest)))
    }
}

/// What a prune says that it kept and dropped of a history; `None` unless it came to that one's
/// end.
fn listed(done: &Done, name: &str) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
    let (mut kept, mut dropped) = (BTreeSet::new(), BTreeSet::new());
    for object in done.objects() {
        let seq = object["seq"].as_u64();
        match object["type"].as_str() {
            _ if object["history"] != name => {}
            Some("kept") => drop(kept.insert(seq?)),
            Some("dropped") => drop(dropped.insert(seq?)),
            Some("summary") => return Some((kept, dropped)),
            _ => {}
        }
    }
    None
}
