//! What a repository tells of how a history stands, for the one verdict.

use crate::ops::freshness::Freshness;
use crate::policy::verdict::Standing;
use crate::repo::history::doubt::Doubt;

/// How a history stands by its commits and proofs.
pub(crate) fn standing(fresh: &Freshness, doubt: Option<&Doubt>) -> Standing {
    let failed = doubt.map(|doubt| &doubt.failure);
    Standing {
        looked: true,
        damage: failed.or(fresh.refuted.as_ref().map(|(failure, _)| failure)).cloned(),
        stored: fresh.stored,
        verified: fresh.proven,
        restored: fresh.restored,
        ..Standing::default()
    }
}
