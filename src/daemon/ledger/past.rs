//! Past jobs, as the ledger has them.

use rusqlite::{Connection, Row};

use super::signed;
use crate::api::daemon::DaemonJob;
use crate::types::Timestamp;

const COLUMNS: &str =
    "SELECT id, database, kind, scheduled, began, ended, result, message FROM run";

/// Which jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The one of this number.
    pub(crate) id: Option<u64>,
    /// Those of lower numbers.
    pub(crate) before: Option<u64>,
    /// At most so many.
    pub(crate) limit: u64,
    /// Those of a database, a kind, a result.
    pub(crate) database: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) result: Option<String>,
}

/// Jobs that began, the newest first.
pub(crate) fn read(connection: &Connection, wanted: &Wanted) -> rusqlite::Result<Vec<DaemonJob>> {
    if let Some(id) = wanted.id {
        let sql = format!("{COLUMNS} WHERE id = ?1");
        return connection.prepare(&sql)?.query_map([signed(id)], job)?.collect();
    }
    // Those of one database have an index.
    let of = if wanted.database.is_some() { "database = ?2" } else { "?2 IS NULL" };
    let sql = format!(
        "{COLUMNS} WHERE id < ?1 AND {of} AND (?3 IS NULL OR kind = ?3)
             AND (?4 IS NULL OR result = ?4)
         ORDER BY id DESC LIMIT ?5"
    );
    let asked = (
        wanted.before.map_or(i64::MAX, signed),
        &wanted.database,
        &wanted.kind,
        &wanted.result,
        signed(wanted.limit),
    );
    connection.prepare(&sql)?.query_map(asked, job)?.collect()
}

/// Whether somebody is remembered to have paused a database.
pub(crate) fn is_paused(connection: &Connection, database: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM paused WHERE database = ?1)";
    connection.query_row(sql, [database], |row| row.get(0))
}

fn job(row: &Row<'_>) -> rusqlite::Result<DaemonJob> {
    let time = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(Timestamp));
    Ok(DaemonJob {
        id: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
        database: row.get(1)?,
        kind: row.get(2)?,
        scheduled: time(3)?,
        began: time(4)?,
        ended: time(5)?,
        result: row.get(6)?,
        message: row.get(7)?,
        progress: None,
    })
}
