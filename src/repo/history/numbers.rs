//! Which number a history's next commit may have.
//!
//! Commits can be lost: their segments were damaged or deleted, or the repository was set back.
//! Whoever was told of one knows its number, from a label, a proof, a log file; so that number
//! never names other content. The next one is above every one that anything authentic ever named:
//! segments on the chain and off it, in the quarantine too, labels, holds, proofs, heads, expiries,
//! and what this machine remembers.
//!
//! Names are untrusted. What can't be opened counts only if its number is near the highest that is
//! authentic: near enough for whatever was lost at once, so that junk uses up no more than a few of
//! very many numbers.

use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::format::expiry::Expiry;
use crate::format::head::HeadRecord;
use crate::format::hold::HoldRecord;
use crate::format::names::QUARANTINE;
use crate::format::proof::Proof;
use crate::format::record::Record;
use crate::format::snapshot::SnapshotRecord;
use crate::repo::chain::{Chain, Segment};
use crate::repo::history::handle::History;
use crate::repo::local::{rollback_guard, state};
use crate::repo::quarantine;
use crate::store::Entry;
use crate::types::Seq;

/// How far beyond the highest authentic number a mere name is believed.
const NEAR: u64 = 65_536;
/// Bytes of a commit in a manifest.
const COMMIT_LEN: u64 = 48;

/// An object whose name tells a number.
struct Named {
    /// Where it lies, and the name under which it was sealed.
    at: String,
    name: String,
    seq: Seq,
    /// How many commits it may have.
    commits: u64,
}

impl History {
    /// The highest number that a commit ever had, as far as anything tells. The chain is the
    /// history's, read in either way.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn highest_number(&self, chain: &Chain) -> Result<Seq> {
        let mut highest = chain.newest().map_or(Seq(0), |segment| segment.end);
        highest = highest.max(chain.expired().last().unwrap_or_default());
        highest = highest.max(rollback_guard::remembered(&state::dir_of(self))?);
        let mut unproven = Vec::new();
        let names = self.names();
        let store = self.repository().store();
        // What a merge replaced has no number that it has not.
        let replaced = |name: &str| {
            let covers =
                |s: &&Arc<Segment>, at: Seq| s.is_merged() && s.manifest.first <= at && at <= s.end;
            let first = names.parse_segment(name).map(|at| at.first);
            first.is_some_and(|first| chain.stored().any(|s| covers(&s, first)))
        };
        let of_chain = chain.off_chain().iter().map(|e| e.name.as_str()).filter(|n| !replaced(n));
        let strays = of_chain.chain(chain.holes().iter().flat_map(|hole| {
            std::iter::once(&hole.problem).chain(&hole.besides).map(|p| p.object.as_str())
        }));
        let mut listed: Vec<Named> = strays.filter_map(|name| self.named(name, name)).collect();
        for prefix in [names.snapshots(), names.holds(), names.proofs(), names.heads()] {
            listed.extend(store.list(&prefix)?.iter().filter_map(|e| self.named(&e.name, &e.name)));
        }
        let all = names.all();
        for Entry { name: at, .. } in store.list(&format!("{QUARANTINE}{all}"))? {
            let Some(name) = quarantine::original(&at) else { continue };
            listed.extend(self.named(&at, name));
        }
        // The highest first: of each only what may tell more has to be opened.
        listed.sort_by_key(|named| std::cmp::Reverse(named.seq));
        for named in listed {
            if Seq(named.seq.0.saturating_add(named.commits)) <= highest {
                continue;
            }
            match self.proven(&named)? {
                Some(seq) => highest = highest.max(seq),
                None => unproven.push(named),
            }
        }
        // From the lowest on, so that what lies one behind the other counts.
        unproven.sort_by_key(|named| named.seq);
        for named in unproven {
            if named.seq.0 <= highest.0.saturating_add(NEAR) {
                let more = self.commits_at_most(&named)?.min(NEAR);
                highest = highest.max(Seq(named.seq.0.saturating_add(more)));
            }
        }
        Ok(highest)
    }

    fn named(&self, at: &str, name: &str) -> Option<Named> {
        let names = self.names();
        let (seq, commits) = if let Some(at) = names.parse_segment(name) {
            // How many, its manifest tells.
            (at.first, NEAR)
        } else if let Some((_, last, _)) = names.parse_merged(name) {
            (last, 0)
        } else if let Some((seq, _)) = names.parse_snapshot(name) {
            (seq, 0)
        } else if let Some((seq, _)) = names.parse_hold(name) {
            (seq, 0)
        } else if let Some(seq) = names.parse_proof(name) {
            (seq, 0)
        } else if names.parse_expiry(name).is_some() || names.parse_head(name).is_some() {
            // Its name tells none.
            (Seq(0), u64::MAX)
        } else {
            return None;
        };
        Some(Named { at: at.to_owned(), name: name.to_owned(), seq, commits })
    }

    /// The number that an object proves; `None` if it can't be opened.
    fn proven(&self, named: &Named) -> Result<Option<Seq>> {
        let (names, Named { at, name, seq, .. }) = (self.names(), named);
        let found = if names.parse_segment(name).is_some() || names.parse_merged(name).is_some() {
            let last = names.parse_merged(name).map(|(_, last, _)| last);
            Segment::read_at(self, at, name).map(|s| s.map(|s| last.unwrap_or(s.end)))
        } else if names.parse_snapshot(name).is_some() {
            self.opened::<SnapshotRecord>(at, name).map(|r| r.map(|_| *seq))
        } else if names.parse_hold(name).is_some() {
            self.opened::<HoldRecord>(at, name).map(|r| r.map(|_| *seq))
        } else if names.parse_expiry(name).is_some() {
            let last = |expiry: Expiry| expiry.ranges.last().map_or(Seq(0), |(_, last)| *last);
            self.opened::<Expiry>(at, name).map(|r| r.map(last))
        } else if names.parse_head(name).is_some() {
            // Of a segment that is lost nothing else may tell; how many commits it had, this does
            // not.
            self.opened::<HeadRecord>(at, name).map(|r| r.map(|head| head.first))
        } else {
            self.opened::<Proof>(at, name).map(|r| r.map(|_| *seq))
        };
        match found {
            Ok(found) => Ok(found),
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn opened<R: Record>(&self, at: &str, name: &str) -> Result<Option<R>> {
        Ok(self.repository().read_record_at::<R>(at, name)?.map(|(_, record)| record))
    }

    /// How many commits a segment that can't be opened may have had, besides its first: as many as
    /// its manifest has room for.
    fn commits_at_most(&self, named: &Named) -> Result<u64> {
        if named.commits != NEAR {
            return Ok(0);
        }
        Ok(Segment::manifest_len(self, &named.at)? / COMMIT_LEN)
    }
}
