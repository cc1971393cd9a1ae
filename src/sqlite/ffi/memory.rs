//! How much memory SQLite has in this process.

/// Bytes that all connections of this process have at the moment.
pub(crate) fn memory_used() -> u64 {
    // SAFETY: it takes nothing, may be called by any thread at any time, and reads a counter.
    let used = unsafe { rusqlite::ffi::sqlite3_memory_used() };
    u64::try_from(used).unwrap_or(0)
}
