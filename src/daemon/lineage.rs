//! Whether the daemon's own database is the one that a history has, though it lies elsewhere now: a
//! new machine may have another state folder.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::error::Result;
use crate::ops::view::ViewOptions;
use crate::repo::history::handle::History;

/// When each database became known and each configuration was read, to the microsecond. Both are
/// written once and never removed, and no two daemons share one of them.
const FACTS: &str = "SELECT database, since FROM known UNION ALL SELECT 'configuration ' || path, read FROM configuration";

type Facts = BTreeSet<(String, i64)>;

/// Whether a file goes on where a history's newest commit is.
///
/// # Errors
/// When the commit can't be read.
pub(super) fn goes_on(history: &History, path: &Path) -> Result<bool> {
    let Some(newest) = history.latest()? else { return Ok(false) };
    let view = newest.open(&ViewOptions::default())?;
    // A database that is none of a daemon's has no such facts.
    let Ok(before) = facts(&view) else { return Ok(false) };
    let now = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let Ok(now) = now.and_then(|now| facts(&now)) else { return Ok(false) };
    Ok(!before.is_empty() && before.is_subset(&now))
}

fn facts(database: &Connection) -> rusqlite::Result<Facts> {
    let mut statement = database.prepare(FACTS)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::ledger::{Entry, Ledger};
    use crate::ops::backup::BackupOptions;
    use crate::ops::restore::RestoreOptions;
    use crate::repo::keys::secret::Secret;
    use crate::repo::{Repository, RepositoryOptions};
    use crate::types::Timestamp;

    #[test]
    fn only_what_has_all_that_the_history_has_goes_on_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let enter = |path: &Path, second: i64| {
            let (ledger, _) = Ledger::open(path, Timestamp(second));
            let (path, text) = (at("c.toml"), format!("a text of {second}"));
            ledger.enter(Entry::Configured { path, text, at: Timestamp(second) });
        };
        enter(&at("daemon.db"), 1);
        let store = crate::store::create_store(at("repo").to_str().unwrap()).unwrap();
        let secret = Secret::new_recovery().unwrap();
        let options = RepositoryOptions::new(at("state"));
        let kdf = crate::format::slot::KdfParams::default();
        let repository = Repository::init(store, &[(&secret, "key")], kdf, &options).unwrap();
        let backup = BackupOptions::default().name("own");
        let silent = &crate::progress::Silent;
        let history = repository.backup(&at("daemon.db"), &backup, silent).unwrap().history;
        // One that was restored elsewhere, and goes on.
        let newest = history.latest().unwrap().unwrap();
        newest.restore(&at("moved.db"), &RestoreOptions::default(), silent).unwrap();
        assert!(goes_on(&history, &at("moved.db")).unwrap());
        enter(&at("moved.db"), 2);
        assert!(goes_on(&history, &at("moved.db")).unwrap());
        // One that began by itself, one that is behind, none at all.
        enter(&at("other.db"), 3);
        assert!(!goes_on(&history, &at("other.db")).unwrap());
        std::fs::copy(at("moved.db"), at("behind.db")).unwrap();
        enter(&at("daemon.db"), 4);
        repository.backup(&at("daemon.db"), &backup, silent).unwrap();
        assert!(!goes_on(&history, &at("behind.db")).unwrap());
        assert!(!goes_on(&history, &at("none.db")).unwrap());
    }
}
