//! Something that is wrong, as it is told.

use crate::error::Error;
use crate::repo::chain::Problem;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Finding {
    /// The object, or the commit.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// The commit that it is about, if it is about one.
    pub commit: Option<crate::types::Seq>,
}

impl Finding {
    pub(crate) fn of(e: &Error) -> Self {
        Problem::of(e).into()
    }
}

impl From<Problem> for Finding {
    fn from(Problem { object, message, .. }: Problem) -> Self {
        Self { object, message, commit: None }
    }
}

/// How many remarks are told one by one: somebody may have put any number of files there.
pub(crate) const FEW: usize = 10;

/// The first few of some texts, and how many more there are.
pub(crate) fn few(texts: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = texts.len().saturating_sub(FEW);
    let mut shown: Vec<String> = texts.take(FEW).collect();
    if more > 0 {
        shown.push(format!("and {more} more like these"));
    }
    shown
}
