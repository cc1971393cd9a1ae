//! What a repository tells of how a history stands, for the one verdict.

use crate::error::Result;
use crate::format::proof::Level;
use crate::ops::freshness::{CLOCKS, freshness};
use crate::policy::verdict::Standing;
use crate::repo::chain::Chain;
use crate::repo::history::doubt::doubt;
use crate::repo::history::handle::History;
use crate::types::Timestamp;

/// How a history stands by its commits and proofs.
///
/// # Errors
/// Store errors.
pub(crate) fn standing(history: &History, chain: &Chain, now: Timestamp) -> Result<Standing> {
    let fresh = freshness(history, chain, now)?;
    let (proofs, _) = history.readable_proofs()?;
    let passed = proofs.iter().filter(|p| p.level == Level::Restore && p.failure.is_none());
    let restored = passed.map(|p| p.started).filter(|time| *time <= now.after(CLOCKS)).max();
    let refuted = fresh.refuted.map(|(failure, _)| failure);
    Ok(Standing {
        looked: true,
        damage: doubt(history)?.map(|doubt| doubt.failure).or(refuted),
        stored: fresh.stored,
        verified: fresh.proven,
        restored,
        ..Standing::default()
    })
}
