//! The only unsafe code of the crate: SQLite's own file handles and the wal-index (`file`), a VFS
//! whose one file is a sink for pages (`sink`), and one whose files are views of the past (`view`).
//!
//! Why SQLite's own handles: POSIX drops every lock that a process holds on a file as soon as any
//! descriptor of it is closed. Opening the database or the `-shm` a second time, in a process where
//! SQLite has them open, would silently take away the application's locks. So nothing here opens a
//! file; it asks the connection for the handle that it already has, each time anew, and borrows it
//! no longer than it borrows the connection.
//!
//! Invariants, each restated at the `unsafe` block that leans on it:
//! - a handle lives as long as its connection, and the connection is used by one thread at a time;
//! - what a callback gets from SQLite is valid for the call, and a callback never panics;
//! - the sink's destination connection is closed before its VFS is unregistered and freed;
//! - the VFS of views is never unregistered, and an open file keeps what it reads from.
#![allow(unsafe_code)]

mod callbacks;
mod file;
#[cfg(feature = "cli")]
mod memory;
mod result;
mod sink;
mod view;

pub(crate) use file::{FileRef, WAL_INDEX_LEN, forbid_other_files, keep_wal_on_close};
#[cfg(feature = "cli")]
pub(crate) use memory::memory_used;
pub(crate) use sink::PageSink;
pub(crate) use view::Served;
