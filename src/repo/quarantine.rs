//! The quarantine: where damaged objects go, so that nothing is deleted that somebody may want to
//! look at.
//!
//! Invariant: an object leaves its place only once the quarantine has the same bytes.

use crate::error::{Error, ErrorKind, Result};
use crate::format::names::QUARANTINE;
use crate::store::{Created, Store};

/// The largest object that is copied in one piece.
const PIECE: usize = 16 * 1024 * 1024;
/// How many objects of one name it keeps.
const SAME_NAME: usize = 1000;

/// The name that an object of the quarantine had; `None` if it is no such object.
pub(crate) fn original(place: &str) -> Option<&str> {
    let name = place.strip_prefix(QUARANTINE)?;
    // One of several that had the name; no object's own name has a dot.
    Some(name.split('.').next().unwrap_or(name))
}

/// Moves an object out of the way: copies it, and then removes it from its place. One that is not
/// there is out of the way.
///
/// # Errors
/// Store errors. It may be run again after any.
///
/// # Durability
/// When this returns, the copy survives a crash, and the object does not come back.
pub(crate) fn put(store: &dyn Store, name: &str) -> Result<()> {
    let Some(len) = store.head(name)? else { return Ok(()) };
    for n in 0..SAME_NAME {
        let to = match n {
            0 => format!("{QUARANTINE}{name}"),
            n => format!("{QUARANTINE}{name}.{n}"),
        };
        // One that is there already is from a move that was interrupted, or another object that was
        // damaged under this name before.
        if copy(store, name, &to, len)? || same(store, name, &to, len)? {
            if let Some((folder, _)) = to.rsplit_once('/') {
                store.sync(&format!("{folder}/"))?;
            }
            return store.delete(name);
        }
    }
    Err(Error::new(ErrorKind::Failure, "is in the quarantine too often").with_object(name))
}

/// Copies an object if there is none of the other name; whether there was none.
fn copy(store: &dyn Store, from: &str, to: &str, len: u64) -> Result<bool> {
    if store.head(to)?.is_some() {
        return Ok(false);
    }
    if len <= u64::try_from(PIECE).unwrap_or(u64::MAX) {
        let bytes = store.get_range(from, 0, PIECE)?.unwrap_or_default();
        return Ok(store.create(to, &bytes)? == Created::New);
    }
    let mut upload = store.upload(to)?;
    let mut at = 0;
    while at < len {
        let bytes = store.get_range(from, at, PIECE)?.filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes else { break };
        at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        upload.write(&bytes)?;
    }
    upload.finish()?;
    Ok(true)
}

/// Whether two objects have the same bytes.
fn same(store: &dyn Store, one: &str, other: &str, len: u64) -> Result<bool> {
    if store.head(other)? != Some(len) {
        return Ok(false);
    }
    let mut at = 0;
    while at < len {
        let (a, b) = (store.get_range(one, at, PIECE)?, store.get_range(other, at, PIECE)?);
        if a != b || a.as_ref().is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        at = at.saturating_add(u64::try_from(PIECE).unwrap_or(u64::MAX));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn nothing_leaves_its_place_without_a_copy() {
        let store = MemoryStore::new();
        put(&store, "a/b").unwrap();
        for bytes in [b"1", b"2", b"2"] {
            store.create("a/b", bytes).unwrap();
            put(&store, "a/b").unwrap();
            assert!(store.head("a/b").unwrap().is_none());
        }
        let copies: Vec<String> =
            store.list(QUARANTINE).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(copies, ["quarantine/a/b", "quarantine/a/b.1"]);
        assert_eq!(store.get("quarantine/a/b.1", 9).unwrap().unwrap(), b"2");
    }
}
