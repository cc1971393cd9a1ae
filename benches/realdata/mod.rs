//! Databases of any size, filled with what a machine has: package metadata, documentation, source
//! text, programs, and series made up the way services make them up.
//!
//! The tables grow side by side, so that their pages interleave in the file as they do in a
//! database that has lived; random updates and deletes at the end leave free pages and half-full
//! ones. Synthetic rows alone would compress, and index, unlike anything people back up.
//!
//! Invariants: one machine (in one state), size and seed give one database, byte for byte; any
//! size can be reached; the finished file is in WAL mode, checkpointed, and appears under its name
//! only when it is whole.

pub mod mutate;
mod rng;
mod rows;
mod sources;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params, params_from_iter};

use rng::{Rng, Words};
use rows::{Rows, weight};
use sources::Sources;

/// A failure in words; benches have nobody to handle it but the reader.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SCHEMA: &str = "
    PRAGMA page_size = 4096;
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA cache_size = -400000;
    PRAGMA temp_store = MEMORY;
    CREATE TABLE packages(id INTEGER PRIMARY KEY, name TEXT, version TEXT, section TEXT,
        maintainer TEXT, installed INT, digest TEXT, depends TEXT, description TEXT, record TEXT,
        note TEXT);
    CREATE INDEX packages_name ON packages(name);
    CREATE INDEX packages_section ON packages(section, installed);
    CREATE TABLE files(id INTEGER PRIMARY KEY, owner TEXT, path TEXT, digest TEXT, bytes INT,
        modified INT);
    CREATE INDEX files_path ON files(path);
    CREATE INDEX files_digest ON files(digest);
    CREATE TABLE docs(id INTEGER PRIMARY KEY, kind TEXT, path TEXT, title TEXT, body TEXT,
        views INT DEFAULT 0);
    CREATE INDEX docs_path ON docs(path);
    CREATE VIRTUAL TABLE docs_fts USING fts5(title, body, content='docs', content_rowid='id');
    CREATE TRIGGER docs_ai AFTER INSERT ON docs BEGIN
        INSERT INTO docs_fts(rowid, title, body) VALUES (new.id, new.title, new.body);
    END;
    CREATE TRIGGER docs_ad AFTER DELETE ON docs BEGIN
        INSERT INTO docs_fts(docs_fts, rowid, title, body)
            VALUES ('delete', old.id, old.title, old.body);
    END;
    CREATE TRIGGER docs_au AFTER UPDATE OF title, body ON docs BEGIN
        INSERT INTO docs_fts(docs_fts, rowid, title, body)
            VALUES ('delete', old.id, old.title, old.body);
        INSERT INTO docs_fts(rowid, title, body) VALUES (new.id, new.title, new.body);
    END;
    CREATE TABLE events(id INTEGER PRIMARY KEY, ts INT, device INT, kind INT, value REAL, aux INT,
        code TEXT);
    CREATE INDEX events_device ON events(device, ts);
    CREATE INDEX events_aux ON events(aux) WHERE kind >= 4;
    CREATE TABLE sessions(uuid TEXT PRIMARY KEY, started INT, user_id INT, payload TEXT)
        WITHOUT ROWID;
    CREATE INDEX sessions_user ON sessions(user_id, started);
    CREATE TABLE blobs(id INTEGER PRIMARY KEY, path TEXT, offset INT, data BLOB);
";

/// One table on its way to its size.
struct Table {
    insert: &'static str,
    /// Its part of each round's bytes, before indexes.
    share: i64,
    rows: Rows,
    /// Bytes it may still insert; negative after a long row, which later rounds make up for.
    credit: i64,
}

/// What was built.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    pub bytes: u64,
    pub pages: i64,
    pub free_pages: i64,
}

/// Builds a database of about `mib` MiB at `path`; an older one of that name is replaced.
pub fn build(path: &Path, mib: u64, seed: u64) -> Result<Built> {
    let part = sibling(path, ".part");
    for base in [path, &part] {
        remove_database(base)?;
    }
    let connection =
        Connection::open(&part).map_err(|e| format!("cannot create {}: {e}", part.display()))?;
    connection.execute_batch(SCHEMA)?;
    fill(&connection, mib << 20, seed)?;
    churn(&connection, seed)?;
    // A full ANALYZE of 10 GiB reads all of it; what it says matters to nobody here.
    connection.execute_batch("PRAGMA analysis_limit = 1000; ANALYZE;")?;
    connection.execute_batch("PRAGMA locking_mode = NORMAL;")?;
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("{} would not go to WAL mode: {mode}", part.display()).into());
    }
    mutate::checkpoint(&connection)?;
    let (pages, free_pages) = (number("page_count")?, number("freelist_count")?);
    connection.close().map_err(|(_, e)| e)?;
    fs::File::open(&part)?.sync_all()?;
    fs::rename(&part, path)
        .map_err(|e| format!("cannot put the database in place at {}: {e}", path.display()))?;
    Ok(Built { bytes: fs::metadata(path)?.len(), pages, free_pages })
}

/// The path with `suffix` behind its file name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a database and what SQLite may have left beside it.
pub fn remove_database(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = sibling(path, suffix);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("cannot remove {}: {e}", file.display()).into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn tables(seed: u64, target: u64) -> Vec<Table> {
    let mut sources = Sources::find(seed);
    let words = Words::new(seed);
    // In a database of a few MiB a long row would be a good part of it.
    let longest = (target / 24).clamp(4096, 256 << 10) as usize;
    let table = |share, insert, rows| Table { insert, share, rows, credit: 0 };
    let blobs = rows::blobs(&mut sources, seed, words.clone(), longest);
    vec![
        table(
            10,
            "INSERT INTO packages(name, version, section, maintainer, installed, digest, depends,
                description, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows::packages(sources.packages, seed, words.clone()),
        ),
        table(
            10,
            "INSERT INTO files(owner, path, digest, bytes, modified) VALUES (?, ?, ?, ?, ?)",
            rows::files(sources.file_lists, seed, words.clone()),
        ),
        table(
            34,
            "INSERT INTO docs(kind, path, title, body) VALUES (?, ?, ?, ?)",
            rows::documents(sources.texts, seed, words.clone(), longest / 2),
        ),
        table(
            17,
            "INSERT INTO events(ts, device, kind, value, aux, code) VALUES (?, ?, ?, ?, ?, ?)",
            rows::events(seed),
        ),
        table(12, "INSERT INTO sessions VALUES (?, ?, ?, ?)", rows::sessions(seed, words)),
        table(17, "INSERT INTO blobs(path, offset, data) VALUES (?, ?, ?)", blobs),
    ]
}

/// Inserts in rounds, each table its share, until the file is nearly as large as asked for.
fn fill(connection: &Connection, target: u64, seed: u64) -> Result<()> {
    let mut tables = tables(seed, target);
    let shares: i64 = tables.iter().map(|table| table.share).sum();
    let round = (target as i64 / 200).clamp(32 << 10, 8 << 20);
    // What follows (WAL mode, statistics) adds a few pages.
    let enough = (target - target / 100) as i64;
    loop {
        for table in &mut tables {
            table.credit += round * table.share / shares;
            connection.execute_batch("BEGIN")?;
            let mut insert = connection.prepare_cached(table.insert)?;
            while table.credit > 0 {
                let row = (table.rows)();
                table.credit -= weight(&row);
                insert.execute(params_from_iter(row))?;
            }
            connection.execute_batch("COMMIT")?;
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            if pages * 4096 >= enough {
                return Ok(());
            }
        }
    }
}

/// Updates 2% and deletes 1% of the rows, at random.
fn churn(connection: &Connection, seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed, "churn");
    connection.execute_batch("BEGIN")?;
    for (table, update) in [
        ("packages", Some("note = 'seen again', installed = installed + 1")),
        ("files", Some("modified = modified + 7")),
        ("docs", Some("views = views + 1")),
        ("events", Some("value = value * 1.01")),
        ("blobs", None),
    ] {
        let last = mutate::last_id(connection, table)?;
        if let Some(update) = update {
            let sql = format!("UPDATE {table} SET {update} WHERE id = ?");
            let mut update = connection.prepare(&sql)?;
            for _ in 0..last / 50 {
                update.execute(params![rng.between(1, last + 1)])?;
            }
        }
        let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE id = ?"))?;
        for _ in 0..(last / 100).max(3) {
            delete.execute(params![rng.between(1, last + 1)])?;
        }
    }
    let sessions: i64 =
        connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
    let mut delete = connection.prepare(
        "DELETE FROM sessions
            WHERE uuid = (SELECT uuid FROM sessions WHERE uuid >= ? ORDER BY uuid LIMIT 1)",
    )?;
    for _ in 0..sessions / 100 {
        delete.execute(params![rng.uuid()])?;
    }
    connection.execute_batch("COMMIT")?;
    Ok(())
}
