//! What the ledger knows of tests: how each was done, what it found of each commit, and how it
//! ended. A test is a job that verifies.
//!
//! Invariants: every test that began is told, however it ended. Of an earlier version's tests it is
//! not known how they were done.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};
use serde::{Deserialize, Serialize};

use super::config::Plan;
use super::kind::Kind;
use crate::error::{Error, ErrorKind, Result};
use crate::format::proof::{Level, Proof};
use crate::machine::host;
use crate::types::{Digest, Seq, Timestamp};

/// How long to wait for a daemon that writes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many characters of a text in the ledger are read: a few for each commit of the largest test
/// that there is. What is cut is no JSON any more, and not known.
const TEXT: u32 = 4 << 20;

/// How a test was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Method {
    /// The version of the program.
    pub(crate) version: String,
    /// The machine.
    pub(crate) host: String,
    /// The share of the batches that were to be opened, in millionths; null for no sample.
    pub(crate) sample_ppm: Option<u32>,
    /// Queries that had to answer something true.
    pub(crate) assertions: Vec<String>,
    /// How long it might take.
    pub(crate) max_seconds: u64,
}

impl Method {
    /// How a job of a kind is done by a plan; `None` for one that is no test.
    pub(super) fn of(kind: Kind, plan: &Plan) -> Option<Self> {
        let restores = match kind {
            Kind::VerifyRestore => true,
            Kind::VerifyData => false,
            Kind::Backup | Kind::Files | Kind::Prune | Kind::Drift | Kind::Group => return None,
        };
        let verify = &plan.verify;
        Some(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
            sample_ppm: (!restores).then_some(verify.sample_ppm),
            assertions: if restores { verify.assertions.clone() } else { Vec::new() },
            max_seconds: verify.max_time.as_secs(),
        })
    }
}

/// What a test found of one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The commit; at level data the newest of those that were looked at.
    pub(crate) seq: u64,
    /// Its database digest.
    pub(crate) digest: Digest,
    /// When this began, in microseconds since 1970.
    pub(crate) started: i64,
    /// How long it took.
    pub(crate) micros: u64,
    /// The share of the batches that were opened, or of the checks that came to an end, in
    /// millionths.
    pub(crate) coverage_ppm: u32,
    /// Bytes of pages whose digests were compared.
    pub(crate) page_bytes: u64,
    /// Assertions that hold.
    pub(crate) assertions: u32,
    /// What failed; null when nothing did.
    pub(crate) failure: Option<String>,
}

impl From<&Proof> for Found {
    fn from(proof: &Proof) -> Self {
        Self {
            seq: proof.seq.0,
            digest: proof.digest,
            started: proof.started.0,
            micros: proof.micros,
            coverage_ppm: proof.coverage_ppm,
            page_bytes: proof.page_bytes,
            assertions: proof.assertions,
            failure: proof.failure.clone(),
        }
    }
}

impl Found {
    /// Whether a repository's proof is this one's.
    pub(crate) fn is_of(&self, proof: &Proof) -> bool {
        (Seq(self.seq), self.digest, Timestamp(self.started))
            == (proof.seq, proof.digest, proof.started)
    }
}

/// A test as the ledger knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Test {
    /// The number of the job.
    pub(crate) job: u64,
    /// How deep it looked.
    pub(crate) level: Level,
    /// When it was to begin, when it did, and when it ended.
    pub(crate) scheduled: Option<Timestamp>,
    pub(crate) began: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// How it ended: a name of [`super::job::Ended`], `interrupted` or `running`.
    pub(crate) result: String,
    /// What it came to, in words.
    pub(crate) message: String,
    /// How it was done, if that is known.
    pub(crate) method: Option<Method>,
    /// What it found of each commit, as far as that is known.
    pub(crate) found: Vec<Found>,
}

/// A ledger that is read beside the daemon that writes it.
#[derive(Debug)]
pub(crate) struct Tests {
    connection: Connection,
    file: String,
}

impl Tests {
    /// Opens a ledger.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let metadata = std::fs::metadata(path);
        // SQLite would wait for who writes to a pipe.
        let is_file = metadata.map_err(|e| Error::io(e, "cannot be read", &*file))?.is_file();
        if !is_file {
            return Err(Error::new(ErrorKind::Storage, "is no file").with_object(file));
        }
        let open = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(PATIENCE)?;
            // A file that somebody else made may say anything.
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.pragma_update(None, "cell_size_check", true)?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Self { connection, file }),
            Err(e) => Err(unread(&file, e)),
        }
    }

    /// Since when it knows a database.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn known_since(&self, database: &str) -> Result<Option<Timestamp>> {
        let mut found = None;
        let sql = "SELECT since FROM known WHERE database = ?1";
        let read = self.connection.prepare(sql).and_then(|mut statement| {
            let mut rows = statement.query([database])?;
            if let Some(row) = rows.next()? {
                found = Some(Timestamp(row.get(0)?));
            }
            Ok(())
        });
        read.map(|()| found).map_err(|e| unread(&self.file, e))
    }

    /// Tells each test of a database that began within a time, in the order in which they began.
    /// One after the other is in memory. Answers what kept it from reading on.
    ///
    /// # Errors
    /// Those of whoever is told.
    pub(crate) fn each(
        &self,
        database: &str,
        (since, until): (Timestamp, Timestamp),
        tell: &mut dyn FnMut(Test) -> Result<()>,
    ) -> Result<Option<Error>> {
        let mut refused = None;
        let mut read = || {
            let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'test'";
            let has_methods = self.connection.query_row(sql, [], |row| row.get::<_, bool>(0))?;
            let (more, join) = match has_methods {
                true => (
                    format!("substr(t.method, 1, {TEXT}), substr(t.found, 1, {TEXT})"),
                    "LEFT JOIN test t ON t.run = r.id",
                ),
                false => ("NULL, NULL".to_owned(), ""),
            };
            let mut statement = self.connection.prepare(&format!(
                "SELECT r.id, r.kind, r.scheduled, r.began, r.ended, r.result,
                        substr(r.message, 1, 4096), {more}
                 FROM run r {join}
                 WHERE r.database = ?1 AND r.kind IN ('verify-data', 'verify-restore')
                     AND r.began BETWEEN ?2 AND ?3
                 ORDER BY r.began, r.id"
            ))?;
            let mut rows = statement.query((database, since.0, until.0))?;
            while let Some(row) = rows.next()? {
                if let Err(e) = tell(test_of(row)?) {
                    refused = Some(e);
                    return Ok(());
                }
            }
            Ok(())
        };
        let read: rusqlite::Result<()> = read();
        match refused {
            Some(e) => Err(e),
            None => Ok(read.err().map(|e| unread(&self.file, e))),
        }
    }
}

fn test_of(row: &Row<'_>) -> rusqlite::Result<Test> {
    let level = match row.get::<_, String>(1)?.as_str() {
        "verify-restore" => Level::Restore,
        _ => Level::Data,
    };
    let (method, found): (Option<String>, Option<String>) = (row.get(7)?, row.get(8)?);
    Ok(Test {
        job: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
        level,
        scheduled: row.get::<_, Option<i64>>(2)?.map(Timestamp),
        began: Timestamp(row.get(3)?),
        ended: row.get::<_, Option<i64>>(4)?.map(Timestamp),
        result: row.get(5)?,
        message: row.get(6)?,
        // What makes no sense is not known.
        method: method.and_then(|text| serde_json::from_str(&text).ok()),
        found: found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
    })
}

fn unread(file: &str, e: rusqlite::Error) -> Error {
    let error = Error::new(ErrorKind::Failure, "what the daemon remembers can't be read");
    error.with_object(file).with_source(e)
}
