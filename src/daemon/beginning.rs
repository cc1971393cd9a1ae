//! Whether a history may be begun: one that a mirror has is brought back first.
//!
//! A first repository that was lost and made anew has no histories. Histories that were begun in it
//! then would never get to a mirror that has those from before, which would stand still for ever.
//!
//! Invariant: a mirror that does not answer delays the beginning of a history for a few seconds,
//! and never what is captured into one that there is.

use crate::error::{Error, ErrorKind, Result};
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;

/// The mirrors of a repository, as far as they answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirrored {
    /// The repository's name.
    pub(super) first: String,
    /// The first mirror that has a history of the name.
    pub(super) rival: Option<String>,
}

impl Mirrored {
    /// Makes sure that a history is there, or that none is in a mirror.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a mirror has one that the repository has not.
    pub(super) fn check(&self, repository: &Repository, name: &str) -> Result<()> {
        let Self { first, rival: Some(mirror) } = self else { return Ok(()) };
        match repository.history(name) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            // What else ails it whoever goes on tells.
            _ => return Ok(()),
        }
        let what = format!(
            "the mirror {mirror} has a history {name:?}, and the repository {first} has none: was {first} lost, or made anew?"
        );
        let back = Remedy::CopyBack { from: mirror.clone(), to: first.clone() };
        Err(Error::new(ErrorKind::Refused, what).with_hint(advice![
            "no new one is begun, which that mirror would never take; bring the histories back: ",
            back,
            "; or, if this is another database, give it another name in the configuration",
        ]))
    }
}
