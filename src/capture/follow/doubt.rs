//! Why a scan is made: what people are told of a saved position that proves nothing.

use crate::repo::write::writer::Writer;
use crate::sqlite::source::Position;

/// That the state folder does not have the place of the last commit.
const ELSEWHERE: &str =
    "the last commit may have been stored from another machine or another state folder";

/// That a commit is of no transaction.
pub(crate) const UNCOUNTED: &str = "the database file changed without a transaction: the last commit has what something else wrote, or what the disk lost; \
     the commit before it has neither";

/// Why a saved position does not prove that nothing was missed.
pub(super) fn doubt(writer: &Writer, saved: Option<&Position>) -> &'static str {
    match saved {
        Some(saved) if saved.wal().is_none() => {
            "the database is in WAL mode now, and was not when it was last captured"
        }
        _ if writer.needs_base() => "the pages of the last commit can't be built on",
        _ if writer.state.gap => "the run before met something that it could not follow",
        Some(_) if writer.needs_anchor() => ELSEWHERE,
        None => ELSEWHERE,
        Some(_) => "the place in the WAL where the last run left off is gone",
    }
}
