//! What the stored proofs leave in doubt.
//!
//! | a failed proof tells of | until | it holds up |
//! |---|---|---|
//! | the backup: something stored is not as it was written | all of what failed is opened and passes | prunes, and what writers delete |
//! | the database, which was unsound when it was captured | that commit or a later one is restored and passes | prunes: an older commit may be the last sound one |
//! | an assertion that does not hold, or foreign keys | a later commit or the same passes with assertions | nothing: it is about the application's data |
//!
//! Which one it is stands in front of what failed, as `verify` writes it.

use crate::error::Result;
use crate::format::proof::{Level, Proof};
use crate::repo::history::handle::History;

/// In front of what SQLite finds unsound.
pub(crate) const INTEGRITY: &str = "integrity_check: ";
/// In front of foreign keys that refer to nothing. Older versions stored that as a failure.
pub(crate) const KEYS: &str = "foreign_key_check: ";
/// In front of an assertion that does not hold.
pub(crate) const ASSERTION: &str = "assertion: ";

/// What a failed proof tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Something stored is not as it was written.
    Backup,
    /// The database was unsound when it was captured.
    Database,
    /// The application's data is not as somebody wished.
    Data,
}

impl About {
    /// A stable lower-case name.
    #[cfg(feature = "cli")]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Database => "database",
            Self::Data => "data",
        }
    }

    /// What a failure of a history's proof tells of.
    pub(crate) fn of(history: &History, proof: &Proof) -> Option<Self> {
        let failure = proof.failure.as_deref()?;
        let object = format!("{}@seq:{}: ", history.name(), proof.seq);
        let Some(what) = failure.strip_prefix(&object) else { return Some(Self::Backup) };
        Some(match what {
            what if what.starts_with(INTEGRITY) => Self::Database,
            what if what.starts_with(ASSERTION) || what.starts_with(KEYS) => Self::Data,
            _ => Self::Backup,
        })
    }
}

/// A failed proof that no later one clears.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    /// How deep it looked.
    pub(crate) level: Level,
    /// What failed.
    pub(crate) failure: String,
    /// Whether that is the backup or the database.
    pub(crate) about: About,
}

/// The last failed proof that no later one clears: one about the backup, or else one about the
/// database.
///
/// # Errors
/// Store errors.
pub(crate) fn doubt(history: &History) -> Result<Option<Doubt>> {
    // The damage itself is told where a history is judged.
    let (mut proofs, _) = history.readable_proofs()?;
    proofs.sort_by_key(|p| p.started);
    let mut found: Option<Doubt> = None;
    for (at, failed) in proofs.iter().enumerate() {
        let later = proofs.get(at..).unwrap_or_default().iter().filter(|p| p.failure.is_none());
        let (Some(failure), Some(about)) = (&failed.failure, About::of(history, failed)) else {
            continue;
        };
        let is_hidden =
            about == About::Database && found.as_ref().is_some_and(|f| f.about == About::Backup);
        if about == About::Data || is_hidden || later.into_iter().any(|p| clears(p, failed, about))
        {
            continue;
        }
        found = Some(Doubt { level: failed.level, failure: failure.clone(), about });
    }
    Ok(found)
}

/// Whether a later proof that passed clears one that failed. A sample may have missed what failed,
/// and so may the restore of another commit. At level restore a share of the checks says nothing of
/// the pages, all of which were compared.
fn clears(passed: &Proof, failed: &Proof, about: About) -> bool {
    let is_restore = passed.level == Level::Restore;
    // All pages of all commits.
    let is_all = passed.level == Level::Data && passed.coverage_ppm == 1_000_000;
    match (about, failed.level) {
        (About::Backup, Level::Chain) => true,
        (About::Backup, Level::Data) => is_all,
        (About::Backup, Level::Restore) => is_all || (is_restore && passed.seq == failed.seq),
        // What was mended is in the commits that came later.
        (About::Database, _) => is_restore && passed.seq >= failed.seq,
        (About::Data, _) => is_restore && passed.seq >= failed.seq && passed.assertions > 0,
    }
}

/// The last proof that tells of the application's data, and that no later one clears: an assertion
/// that did not hold.
pub(crate) fn refuted<'p>(history: &History, proofs: &'p [Proof]) -> Option<&'p Proof> {
    let of_data = |p: &&Proof| About::of(history, p) == Some(About::Data);
    let failed = proofs.iter().filter(of_data).max_by_key(|p| p.started)?;
    let later = proofs.iter().filter(|p| p.failure.is_none() && p.started > failed.started);
    (!later.into_iter().any(|p| clears(p, failed, About::Data))).then_some(failed)
}
