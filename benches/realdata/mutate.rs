//! Changes of known kinds to a database that [`super::build`] made.
//!
//! Invariant: the same database, kind and seed give the same change. Nothing but the caller decides
//! whether the change stays in the WAL: [`apply`] commits and does not checkpoint.

use std::path::Path;
use std::str::FromStr;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use serde_json::json;

use super::Result;
use super::rng::Rng;

/// How much is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One row, no index touched.
    One,
    /// 1% of the rows of every table, spread at random, and a few new ones.
    Rows,
    /// Single rows at random until about 1% of the pages changed.
    Pages,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "one" => Ok(Self::One),
            "pct1" => Ok(Self::Rows),
            "pct1pages" => Ok(Self::Pages),
            other => Err(format!("no such change: {other} (one, pct1 or pct1pages)")),
        }
    }
}

/// What was changed.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    pub rows: usize,
    /// Bytes of the WAL before any checkpoint.
    pub wal_bytes: u64,
}

/// Opens a database for changes; with `keep_wal` neither a commit nor the close checkpoints.
pub fn open(path: &Path, keep_wal: bool) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cache_size = -200000;")?;
    if keep_wal {
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    Ok(connection)
}

/// Opens, changes, and unless `keep_wal` checkpoints and closes, which removes the WAL.
pub fn change_file(path: &Path, kind: Kind, seed: u64, keep_wal: bool) -> Result<Changed> {
    let connection = open(path, keep_wal)?;
    let rows = apply(&connection, kind, seed)?;
    let wal_bytes = std::fs::metadata(super::sibling(path, "-wal")).map_or(0, |meta| meta.len());
    if !keep_wal {
        checkpoint(&connection)?;
    }
    connection.close().map_err(|(_, e)| e)?;
    Ok(Changed { rows, wal_bytes })
}

/// Checkpoints all of the WAL and empties it; fails when another connection prevents that.
pub fn checkpoint(connection: &Connection) -> Result<()> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Err("the checkpoint could not finish: another connection is in the way".into());
    }
    Ok(())
}

/// The largest id of a table, at least 1.
pub fn last_id(connection: &Connection, table: &str) -> Result<i64> {
    let sql = format!("SELECT coalesce(max(id), 1) FROM {table}");
    Ok(connection.query_row(&sql, [], |row| row.get(0))?)
}

/// Makes the change in one transaction and answers how many rows it met.
pub fn apply(connection: &Connection, kind: Kind, seed: u64) -> Result<usize> {
    let mut rng = Rng::new(seed, &format!("{kind:?}"));
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let rows = match kind {
        Kind::One => one(connection, &mut rng)?,
        Kind::Rows => rows(connection, &mut rng, seed)?,
        Kind::Pages => pages(connection, &mut rng)?,
    };
    connection.execute_batch("COMMIT")?;
    Ok(rows)
}

fn one(connection: &Connection, rng: &mut Rng) -> Result<usize> {
    let id = rng.between(1, last_id(connection, "events")? + 1);
    let changed = connection.execute(
        "UPDATE events SET value = value + 1.5
            WHERE id = (SELECT id FROM events WHERE id <= ? ORDER BY id DESC LIMIT 1)",
        params![id],
    )?;
    if changed == 0 {
        return Err("the row to change was not found; is this a database of make_db?".into());
    }
    Ok(changed)
}

fn rows(connection: &Connection, rng: &mut Rng, seed: u64) -> Result<usize> {
    let mut changed = 0;
    for (table, one_in, update) in [
        ("packages", 100, format!("note = 'changed {seed}', installed = installed + 3")),
        ("files", 100, "modified = modified + 11".to_owned()),
        ("events", 100, "value = value * 1.001 + 0.1".to_owned()),
        ("docs", 100, "views = views + 1".to_owned()),
        // The body too: that is what touches the full-text index.
        ("docs", 1000, format!("body = body || ' (edited {seed})'")),
        ("blobs", 100, format!("path = path || '~{seed}'")),
    ] {
        let last = last_id(connection, table)?;
        let mut update =
            connection.prepare(&format!("UPDATE {table} SET {update} WHERE id = ?"))?;
        for _ in 0..(last / one_in).max(1) {
            changed += update.execute(params![rng.between(1, last + 1)])?;
        }
    }
    let sessions: i64 =
        connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
    let mut update = connection.prepare(SESSION)?;
    for _ in 0..sessions / 100 {
        changed += update.execute(params![rng.uuid()])?;
    }

    let last = last_id(connection, "events")?;
    let time: i64 =
        connection.query_row("SELECT coalesce(max(ts), 0) FROM events", [], |row| row.get(0))?;
    let mut event = connection
        .prepare("INSERT INTO events(ts, device, kind, value, aux) VALUES (?, ?, ?, ?, ?)")?;
    for i in 0..last / 1000 {
        let (device, kind) = (rng.between(0, 2000), rng.between(1, 6));
        let aux = rng.between(0, 1 << 31);
        changed += event.execute(params![time + i, device, kind, rng.unit() * 9.0, aux])?;
    }
    let mut session = connection.prepare("INSERT INTO sessions VALUES (?, ?, ?, ?)")?;
    for i in 0..sessions / 1000 {
        let payload = json!({"new": rng.next()}).to_string();
        let user = rng.between(1, 50_000);
        changed += session.execute(params![rng.uuid(), time / 1000 + i, user, payload])?;
    }
    let mut blob = connection.prepare("INSERT INTO blobs(path, offset, data) VALUES (?, ?, ?)")?;
    for i in 0..5 {
        let mut data = vec![0; 50_000];
        rng.fill(&mut data);
        changed += blob.execute(params!["new", i, data])?;
    }
    Ok(changed)
}

/// Changes the session that follows a random key, without touching the index.
const SESSION: &str = "UPDATE sessions SET payload = replace(payload, '\"s\":200', '\"s\":201')
    WHERE uuid = (SELECT uuid FROM sessions WHERE uuid >= ? ORDER BY uuid LIMIT 1)";

fn pages(connection: &Connection, rng: &mut Rng) -> Result<usize> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let by_id = |update: &str| connection.prepare(update);
    let mut events = by_id("UPDATE events SET value = value + 0.25 WHERE id = ?")?;
    let mut files = by_id("UPDATE files SET modified = modified + 1 WHERE id = ?")?;
    let mut sessions = connection.prepare(SESSION)?;
    let last_event = last_id(connection, "events")?;
    let last_file = last_id(connection, "files")?;
    let mut changed = 0;
    // A few more than 1%, since some meet a page twice or a row that is gone.
    for _ in 0..(pages * 105 / 10_000).max(1) {
        changed += match rng.below(10) {
            0..5 => events.execute(params![rng.between(1, last_event + 1)])?,
            5..8 => files.execute(params![rng.between(1, last_file + 1)])?,
            _ => sessions.execute(params![rng.uuid()])?,
        };
    }
    Ok(changed)
}
