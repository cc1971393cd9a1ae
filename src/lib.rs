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
//! use pagekeep::ops::backup::{BackupOptions, backup};
//! use pagekeep::ops::restore::{RestoreOptions, restore};
//! use pagekeep::progress::Silent;
//! use pagekeep::repo::{Repository, keys::Secret};
//! use pagekeep::store::create_store;
//!
//! // Once: a repository, and the key that opens it.
//! let secret = Secret::create_key_file(&dir.path().join("key"))?;
//! let store = create_store(&location)?;
//! let repository = Repository::init(store, &[(&secret, "first key")], Default::default(), state)?;
//!
//! // Whenever: capture the live database as the next commit of its history.
//! let report = backup(&repository, &path, &BackupOptions::default(), &Silent)?;
//! assert_eq!(report.seq.0, 1);
//!
//! // In trouble: bring a commit back.
//! let history = repository.history("app")?;
//! let chain = history.chain()?;
//! if let Some(commit) = chain.latest() {
//!     restore(&history, &chain, &commit, &target, &RestoreOptions::default(), &Silent)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`repo`]: repositories, histories, keys. [`store`]: where objects live.
//! - [`ops`]: what can be done: back up, restore, verify, select a commit.
//! - [`policy`]: how people name a commit, and which commits stay.
//! - [`format`](mod@format), [`codec`]: bytes at rest, pure. [`sqlite`]: reading live databases.
//! - [`capture`]: from a live database to a commit.
//!
//! rusqlite is re-exported, since cargo allows one copy of SQLite in a program.

pub mod capture;
#[cfg(test)]
mod chance;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codec;
mod count;
mod disk;
pub mod error;
pub mod format;
pub mod keeper;
mod machine;
pub mod ops;
pub mod policy;
pub mod progress;
pub mod repo;
#[cfg(test)]
mod simulated;
pub mod sqlite;
pub mod store;
pub mod types;

pub use error::{Error, ErrorKind, Result};
pub use keeper::Keeper;
pub use rusqlite;
