//! Pagekeep keeps every captured state of a SQLite database: page by page, compressed, encrypted,
//! and proven restorable.
//!
//! ```
//! # fn main() -> pagekeep::Result<()> {
//! # let dir = tempfile::tempdir().map_err(|e| pagekeep::Error::io(e, "no folder", "temp"))?;
//! # let (path, target, state) = (dir.path().join("app.db"), dir.path().join("out.db"), dir.path().join("state"));
//! # let app = pagekeep::rusqlite::Connection::open(&path).unwrap();
//! # app.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
//! # let location = dir.path().join("repo").display().to_string();
//! use pagekeep::{
//!     BackupOptions, Repository, RepositoryOptions, RestoreOptions, Secret, Silent, create_store,
//! };
//!
//! // Once: a repository, and the key that opens it.
//! let secret = Secret::create_key_file(&dir.path().join("key"))?;
//! let store = create_store(&location)?;
//! let options = RepositoryOptions::new(state);
//! let keys = [(&secret, "first key")];
//! let repository = Repository::init(store, &keys, Default::default(), &options)?;
//!
//! // Whenever: capture the live database as the next commit of its history.
//! let report = repository.backup(&path, &BackupOptions::default().label("begun"), &Silent)?;
//! assert_eq!(report.seq.0, 1);
//!
//! // In trouble: bring a commit back.
//! let point = repository.history("app")?.find("begun")?;
//! point.restore(&target, &RestoreOptions::default(), &Silent)?;
//! # Ok(())
//! # }
//! ```
//!
//! | to do | begin at |
//! |---|---|
//! | keep an application's database, every transaction | [`Keeper`] |
//! | create and open a repository | [`Repository::init`], [`Repository::open`], [`Secret`], [`open_store`] |
//! | back up now and then | [`Repository::backup`] |
//! | find a moment | [`History::find`], [`History::restore_points`], [`RestorePoint`] |
//! | look into a moment without restoring it | [`RestorePoint::open`] |
//! | find the commit that changed an answer | [`History::find_change`] |
//! | find every version of a row | [`History::trace`] |
//! | tell which moments can be reached | [`History::coverage`] |
//! | compare two moments, row by row | [`RestorePoint::diff`], [`RestorePoint::diff_live`] |
//! | what each commit did to the rows | [`History::feed`] |
//! | restore, or put a live database back | [`RestorePoint::restore`], [`RestorePoint::rewind`] |
//! | bring back rows that were lost | [`RestorePoint::recover`] |
//! | take back what some commits did | [`History::undo`] |
//! | prove that it can be restored | [`History::verify`] |
//! | keep what matters, drop the rest | [`History::prune`], [`RestorePoint::label`], [`RestorePoint::hold`] |
//! | a second copy elsewhere | [`History::copy_to`] |
//! | look after damage | [`History::plan_repair`], [`History::repair`] |
//! | find out what it takes | [`History::stats`] |
//! | compare a database with its history | [`Repository::drift`], [`RestorePoint::preview_rewind`] |
//! | keys | [`Repository::add_slot`], [`Repository::rotate`] |
//! | store objects elsewhere | [`Store`], [`testing::conformance`] |
//!
//! Options are made with `default()` and setters; what they and reports have may grow. Whatever
//! takes longer takes a [`Monitor`], which shows progress and may stop it. Every error is an
//! [`Error`] with an [`ErrorKind`], and with the [`Remedy`] that ends the trouble if one does.
//!
//! rusqlite is re-exported, since cargo allows one copy of SQLite in a program. The format of what
//! is stored is described in `docs/format.md`.

#[cfg(feature = "cli")]
mod api;
mod capture;
#[cfg(test)]
mod chance;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod codec;
mod count;
#[cfg(feature = "cli")]
mod daemon;
mod disk;
mod error;
mod format;
#[cfg(feature = "cli")]
mod input;
mod keeper;
mod machine;
mod ops;
mod policy;
mod progress;
mod remedy;
mod repo;
#[cfg(test)]
mod simulated;
mod sqlite;
mod store;
mod types;

pub use rusqlite;

// To open.
pub use format::slot::{KdfParams, SecretKind, SlotFront};
pub use repo::keys::key_slots::SlotInfo;
pub use repo::keys::rotate::{RotateOptions, Rotated, Rotation};
pub use repo::keys::secret::Secret;
pub use repo::{Repository, RepositoryOptions};
pub use store::{Created, Entry, LocalStore, Nature, Store, Upload, create_store, open_store};

// The past.
pub use format::proof::{Level, Proof};
pub use format::segment::{CommitKind, CommitRecord};
pub use format::snapshot::SnapshotKind;
pub use ops::point::{RestorePoint, Selection};
pub use policy::selector::{Edge, Moment, Reading, Selector};
pub use repo::history::handle::History;
pub use repo::history::holds::Hold;
pub use repo::history::labels::Snapshot;

// To do.
pub use codec::batch::{Compression, SelfCheck};
pub use ops::apply::report::{
    Applied, AppliedTable, Conflict, Conflicts, Done, OnConflict, Reason as ConflictReason,
};
pub use ops::backup::{BackupOptions, BackupReport};
pub use ops::copy::{CopyOptions, CopyReport};
pub use ops::coverage::{Coverage, CoveragePoint, Loss, Proven, Stretch, StretchKind};
pub use ops::diff::change::{Named, Operation, RowChange, SchemaChange, TableDiff, TableFate};
pub use ops::diff::feed::{Feed, FeedEvent, FeedOptions, TakeEvent};
pub use ops::diff::run::{Diff, DiffOptions, LiveDatabase};
pub use ops::drift::{Drift, Since, Verdict};
pub use ops::find::{FindOptions, Goal, Search, Turn};
pub use ops::finding::Finding;
pub use ops::prune::{PruneOptions, PruneReport, RewriteReport, Usage};
pub use ops::question::{Answer, Reply, Rows};
pub use ops::recover::RecoverOptions;
pub use ops::repair::{Action, Fault as RepairFault, RepairOptions, RepairPlan, RepairReport};
pub use ops::restore::{Check, RestoreOptions};
pub use ops::rewind::{RewindOptions, RewindPreview, Rewound};

pub use ops::stats::{
    Age, By, Change, Period, PolicyCost, RuleCost, Stats, StatsOptions, Storage, TableChanges,
    Tables,
};
pub use ops::trace::{KeyValue, Trace, TraceOptions, Version};
pub use ops::undo::UndoOptions;
pub use ops::verify::{VerifyOptions, VerifyReport};
pub use ops::view::{DatabaseView, ViewOptions};
pub use policy::retention::{Kept, Periods, Point, Policy, Reason, Zone};
pub use sqlite::image::Method;
pub use sqlite::rows::cell::Cell;

// To follow.
pub use capture::follow::{Activity, Event, Fault, Priority, Status, TailStats};
pub use keeper::{Callback, Keeper, KeeperOptions, Missing};

// Progress, errors, and small things.
pub use error::{Error, ErrorKind, Result};
pub use progress::{Monitor, Phase, Silent, Stoppable};
pub use remedy::{Advice, Remedy};
pub use types::{
    Clock, Digest, HistoryId, HoldId, KeyId, PageNo, PageSize, RepositoryId, SegmentId, Seq,
    SlotId, SnapshotId, Term, Timestamp,
};

/// What tests of programs that use this library need. No part of the stable API.
pub mod testing {
    pub use crate::store::testing::{
        Call, CountingStore, Fault, FaultStore, MemoryStore, Verb, conformance,
    };
}

/// What this project's own tests, benches and fuzzers see of the inside. No part of the API: any
/// version may change it.
#[doc(hidden)]
pub mod internals {
    pub mod capture {
        pub use crate::capture::*;
    }
    pub mod codec {
        pub use crate::codec::*;
    }
    pub mod format {
        pub use crate::format::*;
    }
    pub mod keeper {
        pub use crate::keeper::*;
    }
    pub mod ops {
        pub use crate::ops::*;
    }
    pub mod policy {
        pub use crate::policy::*;
    }
    pub mod progress {
        pub use crate::progress::*;
    }
    pub mod repo {
        pub use crate::repo::*;
    }
    pub mod sqlite {
        pub use crate::sqlite::*;
    }
    pub mod store {
        pub use crate::store::*;
    }
    pub mod types {
        pub use crate::types::*;
    }
}
