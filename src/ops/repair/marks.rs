//! Labels and holds that a repair leaves without their commits, or commits without them: people
//! have to be told.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::repo::history::handle::History;
use crate::types::Seq;

/// What a label or a hold that can't be read no longer keeps; `None` if the object is neither.
pub(super) fn unprotected(history: &History, name: &str) -> Option<String> {
    let names = history.names();
    let label = names.parse_snapshot(name).map(|(seq, _)| ("label", seq));
    let hold = names.parse_hold(name).map(|(seq, _)| ("hold", seq));
    let (what, seq) = label.or(hold)?;
    Some(format!("; commit {seq} is without this {what}: give it again, if it was not taken back"))
}

/// The labels and the reasons of holds of lost commits, as far as they can be read.
///
/// # Errors
/// Store errors.
pub(super) fn of_lost(history: &History, lost: &[(Seq, Seq)]) -> Result<BTreeSet<(Seq, String)>> {
    let is_lost = |seq: Seq| lost.iter().any(|(first, last)| (*first..=*last).contains(&seq));
    // That some can't be read is told of themselves.
    let (labels, _) = history.readable_snapshots()?;
    let (holds, _) = history.readable_holds()?;
    let labels = labels.into_iter().map(|label| (label.seq, format!("label {:?}", label.label)));
    let holds = holds.into_iter().map(|hold| (hold.seq, format!("hold {:?}", hold.reason)));
    Ok(labels.chain(holds).filter(|(seq, _)| is_lost(*seq)).collect())
}
