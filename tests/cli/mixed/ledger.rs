//! What is known of a history: which commits were acknowledged, what keeps them, and which prunes
//! may let them go.
//!
//! A commit is *firm* while it was acknowledged and no prune may have dropped it: it must restore.
//! From its beginning a prune *threatens* every commit that no label or hold keeps. If it ends well
//! it says what it dropped, and threatens the others no longer; if it is killed, or fails, its
//! threat stays until a prune that began later lists the commit among what it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Instant;

use serde_json::Value;

/// An acknowledged commit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Its digest, if it was told.
    pub digest: Option<String>,
    pub kind: Option<String>,
    /// The transaction that it restored to.
    pub n: Option<u64>,
    /// The transaction that was committed before it was captured.
    pub least: u64,
    pub threats: BTreeSet<u64>,
    /// When it was first acknowledged, in seconds.
    pub heard: f64,
}

/// A label or a hold that was acknowledged.
#[derive(Clone, Debug)]
pub struct Mark {
    pub text: String,
    pub seq: u64,
    pub standing: Standing,
    /// Somebody is taking it back, or giving it back.
    pub busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    There,
    /// Somebody began to take it back, or to give it back, and was killed.
    Unknown,
    Removed,
}

/// A prune under way, or one that was killed.
#[derive(Clone, Debug)]
struct Prune {
    /// How many prunes had ended when it began.
    began: u64,
    /// When it ended without saying what it did: how many had ended by then, and the newest commit
    /// that it can have dropped.
    died: Option<(u64, u64)>,
}

/// What is remembered of a prune, for whoever looks into a failure.
#[derive(Debug)]
struct Past {
    id: u64,
    began: f64,
    ended: Option<(f64, End)>,
}

#[derive(Debug)]
enum End {
    Told { kept: BTreeSet<u64>, dropped: BTreeSet<u64> },
    Died { newest: u64, upto: u64 },
}

/// When a ledger was begun.
#[derive(Debug)]
struct Began(Instant);

impl Default for Began {
    fn default() -> Self {
        Self(Instant::now())
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub commits: BTreeMap<u64, Commit>,
    pub labels: Vec<Mark>,
    pub holds: Vec<Mark>,
    /// Commits that a prune said it dropped.
    pub dropped: BTreeSet<u64>,
    /// How many labels, given and never to be forgotten, and holds keep each commit.
    pins: BTreeMap<u64, u64>,
    prunes: BTreeMap<u64, Prune>,
    begun: u64,
    ended: u64,
    past: Vec<Past>,
    since: Began,
}

impl Ledger {
    /// A commit was acknowledged.
    pub fn acknowledge(&mut self, seq: u64, told: &Commit) -> Result<(), String> {
        let threats: BTreeSet<u64> = self
            .prunes
            .iter()
            .filter(|(_, prune)| prune.died.is_none_or(|(_, upto)| seq <= upto))
            .map(|(id, _)| *id)
            .collect();
        let (pinned, heard) = (self.is_pinned(seq), self.now());
        let commit = self.commits.entry(seq).or_insert_with(|| Commit {
            threats: if pinned { BTreeSet::new() } else { threats },
            heard,
            ..Commit::default()
        });
        if let (Some(before), Some(now)) = (&commit.digest, &told.digest)
            && before != now
        {
            return Err(format!("commit {seq} was acknowledged as {before}, and now as {now}"));
        }
        commit.digest = commit.digest.take().or_else(|| told.digest.clone());
        commit.kind = commit.kind.take().or_else(|| told.kind.clone());
        commit.least = commit.least.max(told.least);
        Ok(())
    }

    /// As [`Ledger::acknowledge`], by the JSON of a commit.
    pub fn acknowledge_json(&mut self, commit: &Value) -> Result<u64, String> {
        let text = |name: &str| commit[name].as_str().map(str::to_owned);
        let seq = commit["seq"].as_u64().ok_or_else(|| format!("has no number: {commit}"))?;
        let told = Commit { digest: text("digest"), kind: text("kind"), ..Commit::default() };
        self.acknowledge(seq, &told)?;
        Ok(seq)
    }

    pub fn newest(&self) -> Option<u64> {
        self.commits.keys().next_back().copied()
    }

    pub fn is_pinned(&self, seq: u64) -> bool {
        self.pins.get(&seq).is_some_and(|n| *n > 0)
    }

    pub fn is_firm(&self, seq: u64) -> bool {
        let known = self.commits.get(&seq).is_some_and(|c| c.threats.is_empty());
        self.is_pinned(seq) || (known && !self.dropped.contains(&seq))
    }

    /// Whether a prune said that it dropped the commit. It stays so.
    pub fn is_gone(&self, seq: u64) -> bool {
        self.dropped.contains(&seq)
    }

    pub fn firm(&self) -> Vec<u64> {
        self.commits.keys().copied().filter(|seq| self.is_firm(*seq)).collect()
    }

    /// How many prunes began so far.
    pub fn prunes_begun(&self) -> u64 {
        self.begun
    }

    /// Whether a prune is at work, or began since there were so many.
    pub fn is_pruned_since(&self, begun: u64) -> bool {
        self.begun != begun || self.prunes.values().any(|prune| prune.died.is_none())
    }

    /// A label or a hold keeps the commit from here on.
    pub fn pin(&mut self, seq: u64) {
        *self.pins.entry(seq).or_default() += 1;
        if let Some(commit) = self.commits.get_mut(&seq) {
            commit.threats.clear();
        }
    }

    /// A hold may be gone from here on.
    pub fn unpin(&mut self, seq: u64) {
        if let Some(pins) = self.pins.get_mut(&seq) {
            *pins -= 1;
        }
        if !self.is_pinned(seq) {
            let running = self.prunes.iter().filter(|(_, prune)| prune.died.is_none());
            let running: Vec<u64> = running.map(|(id, _)| *id).collect();
            if let Some(commit) = self.commits.get_mut(&seq) {
                commit.threats.extend(running);
            }
        }
    }

    /// A prune begins.
    pub fn begin_prune(&mut self, id: u64) {
        self.begun += 1;
        self.past.push(Past { id, began: self.now(), ended: None });
        self.prunes.insert(id, Prune { began: self.ended, died: None });
        let pins = &self.pins;
        for (seq, commit) in &mut self.commits {
            if pins.get(seq).is_none_or(|n| *n == 0) {
                commit.threats.insert(id);
            }
        }
    }

    /// A prune was killed, or failed. By then `newest` was the newest commit, of which the newest
    /// `last` stay for certain.
    pub fn prune_died(&mut self, id: u64, newest: u64, last: u64) {
        self.ended += 1;
        // Between two restore points there may be numbers that are none, so more than these stay.
        let upto = newest.saturating_sub(last.max(1));
        self.remember(id, End::Died { newest, upto });
        for (_, commit) in self.commits.range_mut(upto + 1..) {
            commit.threats.remove(&id);
        }
        if let Some(prune) = self.prunes.get_mut(&id) {
            prune.died = Some((self.ended, upto));
        }
    }

    /// A prune says what it kept and what it dropped, and was to keep the newest `last`.
    pub fn prune_ended(
        &mut self,
        id: u64,
        kept: &BTreeSet<u64>,
        dropped: &BTreeSet<u64>,
        last: u64,
    ) -> Result<(), String> {
        self.ended += 1;
        self.remember(id, End::Told { kept: kept.clone(), dropped: dropped.clone() });
        let prune = self.prunes.remove(&id).expect("a prune that began");
        self.check_drops(kept, dropped, last)?;
        self.dropped.extend(dropped);
        let dead: BTreeSet<u64> = self
            .prunes
            .iter()
            .filter(|(_, other)| other.died.is_some_and(|(ended, _)| ended <= prune.began))
            .map(|(id, _)| *id)
            .collect();
        let end = kept.last().max(dropped.last()).copied().unwrap_or_default();
        let only = BTreeSet::from([id]);
        let mut missing = None;
        for (seq, commit) in &mut self.commits {
            let listed = kept.contains(seq) || dropped.contains(seq);
            // A commit that was acknowledged before the prune began has its threat. It was a
            // restore point then.
            if *seq <= end && !listed && commit.threats == only && !self.dropped.contains(seq) {
                missing = Some(*seq);
                break;
            }
            commit.threats.remove(&id);
            if kept.contains(seq) {
                commit.threats.retain(|threat| !dead.contains(threat));
            }
        }
        if let Some(seq) = missing {
            let what = format!("commit {seq} is neither among what it keeps nor what it drops");
            return Err(format!("{what}\n{}", self.story(seq)));
        }
        // Those that died long ago threaten nothing that is still to be acknowledged.
        let newest = self.newest().unwrap_or_default();
        self.prunes.retain(|_, other| other.died.is_none_or(|(_, upto)| upto + 5000 > newest));
        Ok(())
    }

    fn now(&self) -> f64 {
        self.since.0.elapsed().as_secs_f64()
    }

    fn remember(&mut self, id: u64, end: End) {
        let now = self.now();
        if let Some(past) = self.past.iter_mut().rev().find(|past| past.id == id) {
            past.ended = Some((now, end));
        }
    }

    /// What became of a commit: when it was acknowledged, and what each prune said of it.
    pub fn story(&self, seq: u64) -> String {
        let mut story = match self.commits.get(&seq) {
            Some(commit) => format!("commit {seq}, acknowledged at {:.3} s", commit.heard),
            None => format!("commit {seq}, never acknowledged"),
        };
        for Past { id, began, ended } in &self.past {
            let told = match ended {
                None => "is at work".to_owned(),
                Some((at, End::Told { kept, dropped })) => {
                    let said = match (kept.contains(&seq), dropped.contains(&seq)) {
                        (true, _) => "kept it",
                        (_, true) => "dropped it",
                        _ => "did not list it",
                    };
                    let newest = kept.last().copied().unwrap_or_default();
                    format!("ended at {at:.3} s, {said}, newest {newest}")
                }
                Some((at, End::Died { newest, upto })) => {
                    format!("died before {at:.3} s, newest {newest}: dropped none behind {upto}")
                }
            };
            let _ = write!(story, "\n  prune {id} began at {began:.3} s, {told}");
        }
        story
    }

    /// What a prune drops, or would drop, is allowed.
    pub fn check_drops(
        &self,
        kept: &BTreeSet<u64>,
        dropped: &BTreeSet<u64>,
        last: u64,
    ) -> Result<(), String> {
        if let Some(seq) = dropped.iter().find(|seq| self.is_pinned(**seq)) {
            return Err(format!("it drops commit {seq}, which a label or a hold keeps"));
        }
        let all: BTreeSet<u64> = kept.union(dropped).copied().collect();
        let promised = all.iter().rev().take(usize::try_from(last.max(1)).unwrap());
        match promised.into_iter().find(|seq| dropped.contains(seq)) {
            Some(seq) => Err(format!("it drops commit {seq}, one of the newest {last}")),
            None => Ok(()),
        }
    }

    /// A commit restored to a transaction.
    pub fn restored(&mut self, seq: u64, n: u64, digest: &str) -> Result<(), String> {
        let before = self.commits.range(..seq).rev().find_map(|(s, c)| Some((*s, c.n?)));
        let after = self.commits.range(seq + 1..).find_map(|(s, c)| Some((*s, c.n?)));
        if let Some((other, m)) = before.filter(|(_, m)| *m > n) {
            return Err(format!("commit {seq} is transaction {n}, commit {other} already {m}"));
        }
        if let Some((other, m)) = after.filter(|(_, m)| *m < n) {
            return Err(format!("commit {seq} is transaction {n}, commit {other} only {m}"));
        }
        let Some(commit) = self.commits.get_mut(&seq) else { return Ok(()) };
        if commit.n.is_some_and(|m| m != n) {
            return Err(format!("commit {seq} is transaction {n}, and was {:?}", commit.n));
        }
        if commit.digest.as_deref().is_some_and(|told| told != digest) {
            return Err(format!("commit {seq} has digest {digest}, and was told as {commit:?}"));
        }
        if n < commit.least {
            return Err(format!("commit {seq} is transaction {n}: {commit:?}"));
        }
        let single = commit.kind.as_deref() == Some("transaction");
        commit.n = Some(n);
        match before {
            Some((other, m)) if single && other + 1 == seq && n != m + 1 => {
                Err(format!("commit {seq} is one transaction behind {m}, and is {n}"))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn a_ledger_tells_what_a_prune_must_not_do() {
    let set = |seqs: &[u64]| -> BTreeSet<u64> { seqs.iter().copied().collect() };
    let mut ledger = Ledger::default();
    for seq in 1..=6 {
        ledger.acknowledge(seq, &Commit::default()).unwrap();
    }
    ledger.pin(2);
    // One that is killed leaves a threat, but to what is kept and to the newest three.
    ledger.begin_prune(1);
    assert_eq!(ledger.firm(), [2]);
    ledger.prune_died(1, 6, 3);
    assert_eq!(ledger.firm(), [2, 4, 5, 6]);
    // A later one that keeps a commit takes the threat away.
    ledger.begin_prune(2);
    ledger.prune_ended(2, &set(&[1, 2, 4, 5, 6]), &set(&[]), 1).unwrap();
    assert_eq!(ledger.firm(), [1, 2, 4, 5, 6]);
    for (kept, dropped, last) in [
        // What is pinned, one of the newest, and what is firm and not there at all.
        (set(&[1, 4, 5, 6]), set(&[2]), 1),
        (set(&[1, 2, 4, 6]), set(&[5]), 2),
        (set(&[2, 4, 5, 6]), set(&[]), 1),
    ] {
        ledger.begin_prune(3);
        assert!(ledger.prune_ended(3, &kept, &dropped, last).is_err());
    }
    let told = |digest: &str| Commit { digest: Some(digest.to_owned()), ..Commit::default() };
    ledger.acknowledge(7, &told("a")).unwrap();
    assert!(ledger.acknowledge(7, &told("b")).is_err());
    ledger.restored(7, 70, "a").unwrap();
    assert!(ledger.restored(6, 71, "x").is_err() && ledger.restored(7, 70, "b").is_err());
}

#[test]
fn a_failure_tells_what_each_prune_said_of_a_commit() {
    let set = |seqs: &[u64]| -> BTreeSet<u64> { seqs.iter().copied().collect() };
    let mut ledger = Ledger::default();
    for seq in 1..=6 {
        ledger.acknowledge(seq, &Commit::default()).unwrap();
    }
    ledger.begin_prune(1);
    ledger.prune_died(1, 6, 3);
    // Of two at once, which may each have dropped what the other one misses, the last is blamed.
    ledger.begin_prune(2);
    ledger.begin_prune(3);
    ledger.prune_ended(2, &set(&[1, 2, 3, 5, 6]), &set(&[]), 1).unwrap();
    let e = ledger.prune_ended(3, &set(&[5, 6]), &set(&[1, 2, 3]), 1).unwrap_err();
    assert!(e.starts_with("commit 4 is neither"), "{e}");
    assert!(e.contains("prune 1 began at") && e.contains("dropped none behind 3"), "{e}");
    assert_eq!(e.matches("did not list it").count(), 2, "{e}");
}
