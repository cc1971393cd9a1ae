//! How the engine's nouns and words stand in the schema of an answer.
//!
//! Invariants: a schema here says what the noun's `Serialize` writes. The words of an enumeration
//! are those of its `name()`, and a new variant does not compile before it is listed.

use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::capture::follow::Activity;
use crate::error::ErrorKind;
use crate::format::proof::Level;
use crate::format::segment::CommitKind;
use crate::format::slot::SecretKind;
use crate::ops::coverage::StretchKind;
use crate::ops::drift::{Since, Verdict};
use crate::ops::repair::Action;
use crate::ops::restore::Check;
use crate::ops::stats::{Age, By};
use crate::progress::Phase;
use crate::repo::history::doubt::About;
use crate::types::{
    Digest, HistoryId, HoldId, KeyId, PageSize, RepositoryId, Seq, SlotId, SnapshotId, Term,
    Timestamp,
};

/// Nouns that are whole numbers.
macro_rules! numbers {
    ($($name:ident from $least:literal: $doc:literal;)+) => {$(
        impl ToSchema for $name {}
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let number = ObjectBuilder::new().schema_type(Type::Integer);
                number.minimum(Some($least)).description(Some($doc)).into()
            }
        }
    )+};
}

/// Nouns that are text of one form.
macro_rules! texts {
    ($($name:ident, $pattern:expr, $doc:literal;)+) => {$(
        impl ToSchema for $name {}
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Type::String);
                text.pattern(Some($pattern)).description(Some($doc)).into()
            }
        }
    )+};
}

/// Enumerations: written as the word that `name()` has for each variant.
macro_rules! words {
    ($($name:ident { $($variant:ident),+ } $doc:literal;)+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }
        impl ToSchema for $name {}
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                // Says nothing: it is there to be exhaustive.
                let listed = |word: &$name| match word { $($name::$variant => {})+ };
                let all = [$($name::$variant),+];
                all.iter().for_each(listed);
                let text = ObjectBuilder::new().schema_type(Type::String);
                let words = all.iter().map(|word| word.name());
                text.enum_values(Some(words)).description(Some($doc)).into()
            }
        }
    )+};
}

numbers! {
    Seq from 1: "The number of a commit in its history. A number is never used twice.";
    Term from 0: "The number of a writer's turn at a history.";
    PageSize from 512: "The size of a page in bytes.";
}

/// RFC 3339 in UTC; or, outside the calendar, microseconds since 1970 with their unit.
const TIME: &str = r"^(-?\d{4,6}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z|\+\d{5,6}-\S+|-?\d+us)$";
const SHORT: &str = "^[0-9a-f]{16}$";
const LONG: &str = "^[0-9a-f]{32}$";

texts! {
    Timestamp, TIME, "A moment in UTC, as RFC 3339 with microseconds. A moment outside the calendar is a number of microseconds since 1970, such as `1us`.";
    RepositoryId, LONG, "The identity of a repository, in hex.";
    HistoryId, LONG, "The identity of a history, in hex.";
    SnapshotId, SHORT, "The identity of the record of a label, in hex.";
    HoldId, SHORT, "The identity of a hold, in hex.";
    SlotId, SHORT, "The identity of a key slot, in hex.";
    KeyId, SHORT, "The identity of a master key, in hex.";
    Digest, LONG, "The digest of all pages of a database, in hex. It depends on a key of the history.";
}

words! {
    ErrorKind {
        Failure, Usage, Damaged, Source, NoRepository, Busy, Superseded, WrongKey, Storage, NoSpace,
        TooNew, NotFound, Refused, Interrupted
    } "What a caller can do about an error; `docs/operations.md` tells what each kind means.";
    Phase {
        Capture, Digests, Publish, Plan, Layout, Restore, Sync, Check, Verify, Install, Compare,
        Merge, Copy
    } "What an operation is busy with.";
    CommitKind { Scan, Wal, Transaction } "How a commit was captured: `scan` by reading the whole database, `wal` by reading what transactions had added to the WAL, `transaction` as exactly one transaction.";
    Level { Chain, Data, Restore } "How deep a verification looks: `chain` at the objects, `data` at every page, `restore` at a restored database.";
    About { Backup, Database, Data } "What a failed verification is about: `backup` for what is stored, `database` for a database that was unsound when it was captured, `data` for an assertion that does not hold.";
    StretchKind { EveryTransaction, Scheduled, Thinned, Gap, Lost } "How a stretch of a history is covered: `every-transaction` is a restore point; `scheduled` backups may be what several came to; of `thinned` ones some are restore points no more; in a `gap` capture had lost its place; `lost` ones can't be read.";
    Check { None, Quick, Full } "What SQLite is asked about a restored database: `quick` is `quick_check`, `full` is `integrity_check`.";
    Verdict { Same, Drifted, Unknown } "Whether a live database is what was captured, but for what transactions changed.";
    Since { Nothing, Known, Unknown } "What is known of the time since the newest commit: `nothing` was committed, it is `known` which pages transactions changed, or that is `unknown`.";
    Action { Quarantine, PutBack, Expire, Bridge, Replace, Leave } "What a repair does: `quarantine` moves the object away, `put-back` takes the other copy of it, `expire` and `bridge` offer commits no more that need it, `replace` writes it anew, `leave` does nothing.";
    By { Day, Week, Month } "The length of a period.";
    Age { Day, Week, Month, Year, Older, Unneeded } "The age of the newest commit that needs something: under 1, 7, 30 or 365 days, or older; `unneeded` is what no commit needs.";
    Activity { Starting, Scanning, Following, Polling, Stopped } "What a follower is doing: `polling` reads the whole database whenever it changed.";
    SecretKind { Passphrase, KeyFile, Recovery } "What opens a key slot.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_word_is_written_as_the_schema_lists_it() {
        let schema = serde_json::to_value(Action::schema()).unwrap();
        assert_eq!(schema["enum"][1], json!(Action::PutBack));
        assert_eq!(json!(Action::PutBack), "put-back");
    }
}
