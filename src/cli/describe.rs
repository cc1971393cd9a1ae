//! Commits, histories and proofs, as several commands show them.

use serde_json::{Value, json};

use super::output::time;
use crate::format::proof::{Level, Proof};
use crate::format::segment::CommitRecord;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::doubt::About;
use crate::repo::history::handle::History;
use crate::types::Seq;

/// A commit as JSON.
pub(crate) fn commit_json(
    history: &str,
    seq: Seq,
    record: &CommitRecord,
    labels: &[&str],
) -> Value {
    json!({
        "type": "commit",
        "history": history,
        "seq": seq,
        "time": record.time,
        "pages": record.pages,
        "changed_pages": record.changed,
        "stored_bytes": record.stored,
        "digest": record.digest,
        // The last one, as before there were several; and all.
        "label": labels.last(),
        "labels": labels,
        "kind": record.kind.name(),
    })
}

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
    let word = match About::of(history, proof) {
        None => "passed",
        Some(About::Backup | About::Database) => "FAILED",
        Some(About::Data) => "not as wished",
    };
    let share = f64::from(proof.coverage_ppm) / 1e4;
    let part = match proof.level {
        _ if proof.coverage_ppm == 1_000_000 => String::new(),
        Level::Restore => format!(", {share:.1}% of the checks could be made"),
        Level::Chain | Level::Data => format!(", {share:.1}% of the batches"),
    };
    // Which commit it is about stands in front already.
    let object = format!("{}@seq:{}: ", history.name(), proof.seq);
    let failure = proof.failure.as_deref().map(|f| f.strip_prefix(&object).unwrap_or(f));
    let failure = failure.map_or(String::new(), |f| format!(": {f}"));
    format!("{word}{when}{part}{failure}")
}
