//! Commits, histories and proofs, as several commands show them.

use super::output::time;
use crate::api::commit::Mark;
use crate::api::status::Proof;
use crate::format::proof::Level;
use crate::policy::clock::local_day;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::doubt::About;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;

/// The commits before and after one, for people.
pub(crate) fn neighbours(chain: &Chain, commit: &Commit) -> Vec<String> {
    // A prune may have left gaps.
    let before = chain.commits().rev().find(|c| c.seq < commit.seq);
    let after = chain.commits().find(|c| c.seq > commit.seq);
    let line = |word: &str, c: Option<Commit>| {
        c.map(|c| format!("{word} it: seq:{}, {}", c.seq, time(c.record.time)))
            .unwrap_or_else(|| format!("{word} it: nothing"))
    };
    vec![line("before", before), line("after", after)]
}

/// A mark that was given.
pub(crate) fn marked(history: &str, mark: &Mark) -> String {
    let Mark { seq, label, until } = mark;
    format!("marked {history}@seq:{seq} as {label}, kept until {}", local_day(*until))
}

/// A label in a table, with its end if it has one.
pub(crate) fn label_with_end(label: &Snapshot) -> String {
    match label.until {
        Some(until) => format!("{} (kept until {})", label.label, local_day(until)),
        None => label.label.clone(),
    }
}

/// Labels, each of them once.
pub(crate) fn labels_with_ends(labels: &[&Snapshot]) -> String {
    let mut found: Vec<String> = Vec::new();
    for label in labels.iter().copied().map(label_with_end) {
        if !found.contains(&label) {
            found.push(label);
        }
    }
    found.join(", ")
}

/// That there is one copy of a history's description.
pub(crate) fn described_once(history: &History) -> String {
    format!(
        "{} is described once, as older versions did it; the next backup or prune, or `pagekeep repair --apply`, adds the second \
         copy, {}",
        history.name(),
        history.names().about_2()
    )
}

/// What a proof came to; behind the word stands when and where that was.
pub(crate) fn outcome(history: &History, proof: &Proof, when: &str) -> String {
    let word = match proof.about {
        None => "passed",
        Some(About::Backup | About::Database) => "FAILED",
        Some(About::Data) => "not as wished",
    };
    let share = proof.coverage * 100.0;
    let part = match proof.level {
        _ if proof.coverage >= 1.0 => String::new(),
        Level::Restore => format!(", {share:.1}% of the checks could be made"),
        Level::Chain | Level::Data => format!(", {share:.1}% of the batches"),
    };
    // Which commit it is about stands in front already.
    let object = format!("{}@seq:{}: ", history.name(), proof.seq);
    let failure = proof.failure.as_deref().map(|f| f.strip_prefix(&object).unwrap_or(f));
    let failure = failure.map_or(String::new(), |f| format!(": {f}"));
    format!("{word}{when}{part}{failure}")
}
