//! What every store keeps to.
//!
//! Deliberately absent: overwriting, appending, renaming, and conditional deletes. Nothing that was
//! published changes, and no store needs more than create-if-absent.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::types::Timestamp;

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The object's name.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// When it was created, by the storage's clock.
    pub modified: Timestamp,
}

/// What lies directly below a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// A file whose name may be an object's.
    File,
    /// A folder whose name may be a part of an object's.
    Folder,
    /// Neither: no object, and in the way if it has the name of one.
    Strange,
}

/// What became of a create-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is ours, and durable.
    New,
    /// An object of that name was there before; it is untouched.
    Exists,
}

/// A place for immutable objects. Their names are those of [`crate::format::names`]: relative, with
/// `/` between parts, of letters, digits, `-`, `_` and `.`; no part begins with a dot.
///
/// Every implementation keeps these rules:
/// - **Atomic.** An object is there whole, under its name, or not at all.
/// - **Durable.** When [`create`](Store::create) or [`Upload::finish`] returns, the object survives
///   a crash of the machine; when [`delete`](Store::delete) returns, it does not come back with
///   one. So whoever deletes in some order finds that order kept.
/// - **Read after write.** What was created is seen by every later `get`, `head` and `list`. It may
///   be seen before it is durable, and its creator may have died in between: before anything is
///   told or deleted on the strength of an object that somebody else created, [`sync`](Store::sync)
///   its prefix.
/// - **A listing takes time.** It has everything that was there from its beginning to its end. Of
///   what is created or deleted meanwhile it may have any part: a later object without the one that
///   was created before it.
/// - **Errors are errors.** A failed listing is an error and never an empty list; a missing object
///   is `None` and never an error. What has an object's name and is none (a folder, a pipe, a link
///   to nowhere), and what stands in the place of a folder, is [`ErrorKind::Damaged`]: it is named,
///   and nobody waits for it.
/// - After an error of `create` or `finish` the object may be there or not. Whoever needs to know
///   looks.
///
/// # Errors
/// Every method answers [`ErrorKind::Storage`] when the storage is unreachable or denies access,
/// [`ErrorKind::NoSpace`] when it is full, and [`ErrorKind::Failure`] otherwise.
pub trait Store: Send + Sync + fmt::Debug {
    /// The location, for people.
    fn location(&self) -> String;

    /// The length of an object, if it is there.
    ///
    /// # Errors
    /// See [`Store`].
    fn head(&self, name: &str) -> Result<Option<u64>>;

    /// A whole object, if it is there.
    ///
    /// # Errors
    /// See [`Store`]; and [`ErrorKind::Damaged`] when it has more than `limit` bytes, before memory
    /// is taken for it.
    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>>;

    /// The bytes of an object from `offset` on, `len` of them or as many as there are.
    ///
    /// # Errors
    /// See [`Store`].
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>>;

    /// Creates an object if there is none of that name. Of any number of racing calls exactly one
    /// answers [`Created::New`].
    ///
    /// # Errors
    /// See [`Store`].
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created>;

    /// Begins an object that is too large for memory. Its name must be one that nobody else uses.
    ///
    /// # Errors
    /// See [`Store`].
    fn upload(&self, name: &str) -> Result<Box<dyn Upload>>;

    /// All objects whose names begin with `prefix`, which ends in `/`; sorted by name. What is in
    /// the place of one and is none has an entry, too, with no bytes.
    ///
    /// # Errors
    /// See [`Store`].
    fn list(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// The names directly below `prefix` that have objects below themselves, without a `/` at the
    /// end; sorted.
    ///
    /// # Errors
    /// See [`Store`].
    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>>;

    /// All that lies directly below a prefix, objects or not, in any order; names that are no text
    /// as people can read them. A store that can have nothing but objects has nothing to tell.
    ///
    /// # Errors
    /// See [`Store`].
    fn look(&self, _prefix: &str) -> Result<Vec<(String, Nature)>> {
        Ok(Vec::new())
    }

    /// Deletes an object. Deleting what is not there is no error.
    ///
    /// # Errors
    /// See [`Store`].
    fn delete(&self, name: &str) -> Result<()>;

    /// Makes what can be seen directly below a prefix durable, whoever created it. A store whose
    /// objects are never seen before they are durable has nothing to do.
    ///
    /// # Errors
    /// See [`Store`].
    fn sync(&self, _prefix: &str) -> Result<()> {
        Ok(())
    }

    /// Removes what writes that never finished left behind, and places for objects where there are
    /// none, if they were last changed before a moment. Answers how many writes there were. Objects
    /// are none of its business.
    ///
    /// # Errors
    /// See [`Store`].
    fn sweep(&self, before: Timestamp) -> Result<u64>;
}

/// An object under way. Dropping it without [`finish`](Upload::finish) leaves nothing under the
/// object's name.
pub trait Upload: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// See [`Store`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Publishes the object. It is durable when this returns.
    ///
    /// The name is one that nobody else uses, with an id in it that was drawn for this object. So
    /// a store need not look whether there is an object of that name: the end of an upload in
    /// parts is unconditional in object storage. A store that can refuses one that is there.
    ///
    /// # Errors
    /// See [`Store`].
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Refuses names that are not of the form that [`Store`] describes.
pub(super) fn check_name(name: &str) -> Result<()> {
    name.split('/')
        .all(is_part_of_name)
        .then_some(())
        .ok_or_else(|| Error::new(ErrorKind::Usage, "is not an object name").with_object(name))
}

/// Whether a part of a name may have others behind it: a word, or an id of 32 hexadecimal digits.
/// An object's last part is neither, but for objects that are read by name and never looked for in
/// a listing.
pub(super) fn is_folder_name(part: &str) -> bool {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    part.bytes().all(|b| b.is_ascii_lowercase()) || (part.len() == 32 && part.bytes().all(is_hex))
}

pub(super) fn is_part_of_name(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Refuses prefixes that do not end in `/`.
pub(super) fn check_prefix(prefix: &str) -> Result<&str> {
    let dir = prefix.strip_suffix('/').ok_or_else(|| {
        Error::new(ErrorKind::Usage, "is not a prefix of object names").with_object(prefix)
    })?;
    check_name(dir)?;
    Ok(dir)
}

pub(super) fn too_large(name: &str, len: u64, limit: u64) -> Error {
    Error::damaged(name, format!("has {len} bytes; at most {limit} are possible"))
}

pub(super) fn already_there(name: &str) -> Error {
    Error::new(ErrorKind::Failure, "exists already, though its name should be unique")
        .with_object(name)
}
