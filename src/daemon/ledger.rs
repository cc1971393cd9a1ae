//! What the daemon remembers, in a SQLite database of its own: which jobs ran, with which result,
//! and which databases it knows.
//!
//! Invariant: nothing that is kept depends on it. A ledger that is lost, locked, full or damaged
//! costs what it remembers: jobs count as never run, and the daemon says so. So no caller waits for
//! it, and none gets an error from it.

pub(super) mod past;

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rusqlite::Connection;

use super::job::Ended;
use super::kind::Kind;
use super::overview::LastRun;
use super::tested::{Found, Method};
use crate::types::Timestamp;

/// How many entries wait for a database that takes none, before the oldest are given up.
const MOST: usize = 100_000;
/// How long to wait before the database is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long runs are remembered.
const KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS run(
        id INTEGER PRIMARY KEY,
        database TEXT NOT NULL,
        kind TEXT NOT NULL,
        scheduled INTEGER,
        began INTEGER NOT NULL,
        ended INTEGER,
        result TEXT NOT NULL,
        message TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS run_of ON run(database, kind, scheduled);
    CREATE INDEX IF NOT EXISTS run_began ON run(began);
    CREATE TABLE IF NOT EXISTS test(
        run INTEGER PRIMARY KEY,
        method TEXT NOT NULL,
        found TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS known(
        database TEXT PRIMARY KEY,
        path TEXT NOT NULL,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS configuration(
        read INTEGER PRIMARY KEY,
        path TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS token(
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL,
        looks INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS audit(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        who TEXT NOT NULL,
        what TEXT NOT NULL,
        detail TEXT NOT NULL,
        status INTEGER NOT NULL,
        digest TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS paused(
        database TEXT PRIMARY KEY,
        by TEXT NOT NULL,
        since INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS alert(
        name TEXT PRIMARY KEY,
        state TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// What a database is called here: its repository and its history.
pub(crate) fn key(repository: &str, history: &str) -> String {
    format!("{repository}/{history}")
}

/// Something to be remembered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    /// A job was asked for, and waits.
    Accepted { id: u64, database: String, kind: Kind, at: Timestamp },
    /// A job began.
    Began { id: u64, database: String, kind: Kind, scheduled: Option<Timestamp>, at: Timestamp },
    /// It ended.
    Ended { id: u64, at: Timestamp, ended: Ended, message: String },
    /// The job is a test, which is done like this.
    Tested { id: u64, method: Method },
    /// What it found of each commit.
    Found { id: u64, found: Vec<Found> },
    /// A database is known from now on.
    Known { database: String, path: PathBuf, since: Timestamp },
    /// A configuration was read.
    Configured { path: PathBuf, text: String, at: Timestamp },
    /// Somebody paused a database, or nobody does any more.
    Paused { database: String, by: Option<String>, since: Timestamp },
    /// An alert is like this now, or done with.
    Alert { name: String, state: Option<String> },
}

/// What was remembered when the daemon began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// The latest scheduled time of each job that ran.
    pub(super) last: BTreeMap<String, BTreeMap<Kind, Timestamp>>,
    /// How the last job of each kind ended.
    pub(super) runs: BTreeMap<String, BTreeMap<Kind, LastRun>>,
    /// When one moment of each group was last labelled.
    pub(super) made: BTreeMap<String, Timestamp>,
    /// The file of each database, as it was last known.
    pub(super) paths: BTreeMap<String, PathBuf>,
    /// Since when each database is known.
    pub(super) since: BTreeMap<String, Timestamp>,
    /// The highest number of a run.
    pub(super) newest: u64,
    /// Who paused which database while the daemon ran, and since when.
    pub(super) paused: BTreeMap<String, (String, Timestamp)>,
    /// The alerts that are not done with.
    pub(super) alerts: Vec<String>,
}

/// The ledger, and the thread that writes to it.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: Option<Sender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the ledger at a path, and begins to write to it.
    pub(super) fn open(path: &Path, now: Timestamp) -> (Self, Memory) {
        let (connection, memory) = match read(path, now) {
            Ok((connection, memory)) => (Some(connection), memory),
            Err(e) => {
                tracing::error!(
                    "{}: what ran before can't be read, and no job counts as run: {e}",
                    path.display()
                );
                (None, Memory::default())
            }
        };
        let (entries, queue) = unbounded();
        let path = path.to_owned();
        let work = move || {
            Writing { path, connection, waiting: VecDeque::new(), lost: 0, told: false }.run(&queue)
        };
        match std::thread::Builder::new().name("pagekeep-ledger".to_owned()).spawn(work) {
            Ok(thread) => (Self { entries: Some(entries), thread: Some(thread) }, memory),
            Err(e) => {
                tracing::error!("nothing is remembered: no thread for it: {e}");
                (Self { entries: None, thread: None }, memory)
            }
        }
    }

    /// Remembers something, soon.
    pub(super) fn enter(&self, entry: Entry) {
        self.scribe().enter(entry);
    }

    /// What enters for another thread, which has to end before the ledger does.
    pub(super) fn scribe(&self) -> Scribe {
        Scribe(self.entries.clone())
    }
}

/// What others enter by.
#[derive(Clone, Debug)]
pub(super) struct Scribe(Option<Sender<Entry>>);

impl Scribe {
    /// Remembers something, soon.
    pub(super) fn enter(&self, entry: Entry) {
        // One that is full has a writer that stands still, and says so. Thousands of databases may
        // become known at once.
        if let Some(entries) = self.0.as_ref().filter(|entries| entries.len() < MOST) {
            let _ = entries.send(entry);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens the database and reads what it remembers. What ran when the daemon ended was interrupted.
fn read(path: &Path, now: Timestamp) -> rusqlite::Result<(Connection, Memory)> {
    let connection = open(path)?;
    connection.execute(
        "UPDATE run SET result = 'interrupted', ended = ?1, message = 'the daemon ended meanwhile'
         WHERE result IN ('running', 'waiting')",
        [now.0],
    )?;
    let long_ago = now.0.saturating_sub(i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX));
    connection.execute("DELETE FROM run WHERE began < ?1", [long_ago])?;
    connection.execute("DELETE FROM test WHERE run NOT IN (SELECT id FROM run)", [])?;
    let mut memory = Memory::default();
    {
        let sql = "SELECT database, kind, max(scheduled) FROM run
                   WHERE scheduled IS NOT NULL AND result NOT IN ('interrupted', 'stopped') GROUP BY 1, 2";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(kind) = Kind::of(&row.get::<_, String>(1)?) {
                let last = memory.last.entry(row.get(0)?).or_default();
                last.insert(kind, Timestamp(row.get(2)?));
            }
        }
        memory.runs = last_runs(&connection)?;
        let sql = "SELECT database, max(ended) FROM run WHERE kind = 'group' AND result = 'well' GROUP BY 1";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            memory.made.insert(row.get(0)?, Timestamp(row.get(1)?));
        }
        let mut statement = connection.prepare("SELECT database, since, path FROM known")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            memory.since.insert(row.get(0)?, Timestamp(row.get(1)?));
            memory.paths.insert(row.get(0)?, PathBuf::from(row.get::<_, String>(2)?));
        }
    }
    memory.paused = connection
        .prepare("SELECT database, by, since FROM paused")?
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, Timestamp(row.get(2)?)))))?
        .collect::<rusqlite::Result<_>>()?;
    memory.alerts = connection
        .prepare("SELECT state FROM alert ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let newest: i64 =
        connection.query_row("SELECT ifnull(max(id), 0) FROM run", [], |row| row.get(0))?;
    memory.newest = u64::try_from(newest).unwrap_or_default();
    Ok((connection, memory))
}

/// How the last job of each kind ended, and how many in a row did not end well.
fn last_runs(
    connection: &Connection,
) -> rusqlite::Result<BTreeMap<String, BTreeMap<Kind, LastRun>>> {
    let sql = "WITH ended AS (SELECT * FROM run WHERE result IN ('well', 'found', 'failed')),
               newest AS (SELECT database, kind, max(id) AS id,
                   max(CASE result WHEN 'well' THEN id ELSE 0 END) AS well FROM ended GROUP BY 1, 2)
               SELECT database, kind, result, ended, message,
                   (SELECT count(*) FROM ended e WHERE e.database = newest.database
                       AND e.kind = newest.kind AND e.id > newest.well)
               FROM newest JOIN ended USING (database, kind, id)";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut runs = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (kind, ended) = (row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        if let (Some(kind), Some(ended)) = (Kind::of(&kind), Ended::of(&ended)) {
            let of: &mut BTreeMap<Kind, LastRun> = runs.entry(row.get(0)?).or_default();
            let (at, message, failures) = (Timestamp(row.get(3)?), row.get(4)?, row.get(5)?);
            of.insert(kind, LastRun { at, ended, message, failures });
        }
    }
    Ok(runs)
}

/// Opens the database; makes it if it is not there.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    // Only this user may read it: a configuration names commands that print secrets.
    let mut file = std::fs::OpenOptions::new();
    if !path.exists() {
        // What keeps it from being made SQLite tells.
        let _ = file.write(true).create_new(true).mode(0o600).open(path);
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// The thread that writes.
struct Writing {
    path: PathBuf,
    connection: Option<Connection>,
    waiting: VecDeque<Entry>,
    /// Entries that were given up.
    lost: u64,
    /// Whether it was told that nothing can be written.
    told: bool,
}

impl Writing {
    fn run(mut self, queue: &Receiver<Entry>) {
        loop {
            let ended = match self.waiting.is_empty() {
                true => match queue.recv() {
                    Ok(entry) => {
                        self.take(entry);
                        false
                    }
                    Err(_) => return,
                },
                // Something could not be written: wait, and collect.
                false => match queue.recv_timeout(PATIENCE) {
                    Ok(entry) => {
                        self.take(entry);
                        false
                    }
                    Err(RecvTimeoutError::Timeout) => false,
                    Err(RecvTimeoutError::Disconnected) => true,
                },
            };
            while let Ok(entry) = queue.try_recv() {
                self.take(entry);
            }
            match self.write() {
                Ok(()) if self.told => {
                    let lost = match self.lost {
                        0 => "nothing was forgotten".to_owned(),
                        n => format!("{n} entries were forgotten"),
                    };
                    tracing::info!("{}: takes entries again, and {lost}", self.path.display());
                    (self.told, self.lost) = (false, 0);
                }
                Err(e) if !self.told => {
                    self.told = true;
                    tracing::error!("{}: what runs can't be remembered: {e}", self.path.display());
                }
                _ => {}
            }
            if ended {
                return;
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(entry);
    }

    /// Writes all that waits, as one transaction.
    fn write(&mut self) -> rusqlite::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(&self.path)?),
        };
        let written = write_all(connection, &self.waiting);
        match written {
            Ok(()) => self.waiting.clear(),
            // Whatever is wrong with it, the next one may be of another file.
            Err(_) => self.connection = None,
        }
        written
    }
}

fn write_all(connection: &mut Connection, entries: &VecDeque<Entry>) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for entry in entries {
        match entry {
            Entry::Accepted { id, database, kind, at } => transaction.execute(
                "INSERT INTO run(id, database, kind, scheduled, began, result, message)
                 VALUES(?1, ?2, ?3, NULL, ?4, 'waiting', '')",
                (signed(*id), database, kind.name(), at.0),
            )?,
            Entry::Began { id, database, kind, scheduled, at } => transaction.execute(
                "INSERT OR REPLACE INTO run(id, database, kind, scheduled, began, result, message)
                 VALUES(?1, ?2, ?3, ?4, ?5, 'running', '')",
                (signed(*id), database, kind.name(), scheduled.map(|t| t.0), at.0),
            )?,
            Entry::Ended { id, at, ended, message } => transaction.execute(
                "UPDATE run SET ended = ?2, result = ?3, message = ?4 WHERE id = ?1",
                (signed(*id), at.0, ended.name(), message),
            )?,
            Entry::Tested { id, method } => transaction.execute(
                "INSERT OR REPLACE INTO test(run, method, found) VALUES(?1, ?2, '[]')",
                (signed(*id), json(method)?),
            )?,
            Entry::Found { id, found } => transaction.execute(
                "UPDATE test SET found = ?2 WHERE run = ?1",
                (signed(*id), json(found)?),
            )?,
            Entry::Known { database, path, since } => transaction.execute(
                "INSERT INTO known(database, path, since) VALUES(?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET path = excluded.path",
                (database, path.display().to_string(), since.0),
            )?,
            Entry::Configured { path, text, at } => transaction.execute(
                "INSERT OR REPLACE INTO configuration(read, path, text) SELECT ?1, ?2, ?3
                 WHERE NOT EXISTS (SELECT 1 FROM configuration WHERE text = ?3
                     AND read = (SELECT max(read) FROM configuration))",
                (at.0, path.display().to_string(), text),
            )?,
            Entry::Paused { database, by: Some(by), since } => transaction.execute(
                "INSERT OR REPLACE INTO paused(database, by, since) VALUES(?1, ?2, ?3)",
                (database, by, since.0),
            )?,
            Entry::Paused { database, by: None, .. } => {
                transaction.execute("DELETE FROM paused WHERE database = ?1", [database])?
            }
            Entry::Alert { name, state: Some(state) } => transaction.execute(
                "INSERT OR REPLACE INTO alert(name, state) VALUES(?1, ?2)",
                (name, state),
            )?,
            Entry::Alert { name, state: None } => {
                transaction.execute("DELETE FROM alert WHERE name = ?1", [name])?
            }
        };
    }
    transaction.commit()
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// A number as SQLite has it.
pub(super) fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tested::Tests;

    fn began(id: u64, kind: Kind, scheduled: i64) -> Entry {
        let scheduled = Some(Timestamp(scheduled));
        Entry::Began { id, database: "main/a".to_owned(), kind, scheduled, at: Timestamp(5) }
    }

    #[test]
    fn what_ran_is_known_to_the_next_one_and_what_was_interrupted_did_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.db");
        let (ledger, memory) = Ledger::open(&path, Timestamp(1));
        assert_eq!(memory, Memory::default());
        ledger.enter(began(1, Kind::Backup, 10));
        let message = "stored".to_owned();
        ledger.enter(Entry::Ended { id: 1, at: Timestamp(6), ended: Ended::Well, message });
        ledger.enter(began(2, Kind::Prune, 20));
        let (database, file) = ("main/a".to_owned(), PathBuf::from("/a"));
        ledger.enter(Entry::Known { database, path: file, since: Timestamp(3) });
        drop(ledger);
        let (ledger, memory) = Ledger::open(&path, Timestamp(30));
        assert_eq!(memory.last["main/a"], BTreeMap::from([(Kind::Backup, Timestamp(10))]));
        assert_eq!((memory.newest, memory.since["main/a"]), (2, Timestamp(3)));
        let (ended, message) = (Ended::Well, "stored".to_owned());
        let run = LastRun { at: Timestamp(6), ended, message, failures: 0 };
        assert_eq!(memory.runs["main/a"], BTreeMap::from([(Kind::Backup, run)]));
        drop(ledger);
        let db = Connection::open(&path).unwrap();
        let result = db.query_row("SELECT result FROM run WHERE id = 2", [], |row| row.get(0));
        assert_eq!(result, Ok("interrupted".to_owned()));
    }

    #[test]
    fn how_a_test_was_done_and_what_it_found_is_remembered_as_long_as_the_test() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.db");
        let (ledger, _) = Ledger::open(&path, Timestamp(1));
        ledger.enter(began(1, Kind::VerifyRestore, 10));
        let method = Method {
            version: "1".to_owned(),
            host: "here".to_owned(),
            sample_ppm: None,
            assertions: vec!["SELECT 1".to_owned()],
            max_seconds: 60,
        };
        ledger.enter(Entry::Tested { id: 1, method: method.clone() });
        let found = vec![Found {
            seq: 3,
            digest: crate::types::Digest([1; 16]),
            started: 6,
            micros: 7,
            coverage_ppm: 1_000_000,
            page_bytes: 4096,
            assertions: 1,
            failure: Some("\u{1b}[31m\n".to_owned()),
        }];
        ledger.enter(Entry::Found { id: 1, found: found.clone() });
        drop(ledger);
        let all = |path: &Path| {
            let mut all = Vec::new();
            let tests = Tests::open(path).unwrap();
            let span = (Timestamp(0), Timestamp(i64::MAX));
            let unread = tests.each("main/a", span, &mut |test| {
                all.push(test);
                Ok(())
            });
            assert!(unread.unwrap().is_none());
            all
        };
        let tests = all(&path);
        assert_eq!((tests[0].method.clone(), tests[0].found.clone()), (Some(method), found));
        assert_eq!(tests[0].result, "running");
        // A byte here or there makes other tests of it, or none, and breaks nobody.
        let whole = std::fs::read(&path).unwrap();
        let broken = dir.path().join("broken.db");
        for at in (0..whole.len()).step_by(37) {
            let mut other = whole.clone();
            other[at] ^= 0x41;
            std::fs::write(&broken, other).unwrap();
            if let Ok(tests) = Tests::open(&broken) {
                let span = (Timestamp(0), Timestamp(i64::MAX));
                let _ = tests.each("main/a", span, &mut |_| Ok(()));
            }
        }
        // It goes with the test.
        drop(Ledger::open(&path, Timestamp(1).after(KEPT * 2)));
        let db = Connection::open(&path).unwrap();
        let left = db.query_row("SELECT count(*) FROM test", [], |row| row.get::<_, i64>(0));
        assert_eq!((all(&path).len(), left), (0, Ok(0)));
    }

    #[test]
    fn a_database_that_takes_nothing_for_a_while_gets_it_all_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.db");
        drop(Ledger::open(&path, Timestamp(1)));
        let connection = Some(open(&path).unwrap());
        let mut writing = Writing {
            path: path.clone(),
            connection,
            waiting: VecDeque::new(),
            lost: 0,
            told: false,
        };
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        writing.take(began(1, Kind::Backup, 10));
        assert!(writing.write().is_err());
        writing.take(began(2, Kind::Backup, 20));
        other.execute_batch("ROLLBACK").unwrap();
        writing.write().unwrap();
        let n: i64 = other.query_row("SELECT count(*) FROM run", [], |row| row.get(0)).unwrap();
        assert_eq!(n, 2);
        // No more is remembered than there is room for, and what is oldest goes.
        for id in 0..u64::try_from(MOST).unwrap() + 5 {
            writing.take(began(id, Kind::Backup, 1));
        }
        assert_eq!((writing.waiting.len(), writing.lost), (MOST, 5));
    }
}
