//! Who may ask the daemon over HTTP, and what they did: tokens and the audit log, in the ledger.
//!
//! Invariants: of a token only its digest is stored. An entry of the audit log holds the digest of
//! the one before, so that none can be changed or taken out alone. Where the ledger can't be read,
//! no token opens; the owner, who may open the daemon's socket, needs none.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

use super::ledger::{self, signed};
use crate::api::daemon::{Asker, AuditEntry, Role, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Clock, Timestamp, random_bytes, write_hex};

/// What a token begins with, so that people and scanners for secrets know it.
const PREFIX: &str = "pagekeep_";
/// How long the name of a token may be.
const LONGEST: usize = 64;
/// How many tokens there may be.
const MOST: u64 = 1000;
/// How many entries of the audit log are kept.
const ENTRIES: u64 = 100_000;
/// How long the longest text of an entry is, in characters.
const DETAIL: usize = 2000;
/// The digest that the first entry goes on from.
const FIRST: &str = "";

/// The tokens and the audit log.
#[derive(Debug)]
pub(crate) struct Access {
    path: PathBuf,
    clock: Clock,
    connection: Mutex<Option<Connection>>,
}

/// Something to be entered in the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) detail: String,
    pub(crate) status: u16,
}

impl Access {
    pub(crate) fn of(ledger: PathBuf, clock: Clock) -> Self {
        Self { path: ledger, clock, connection: Mutex::default() }
    }

    /// Does something with the ledger. A connection that failed is opened anew.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |e: rusqlite::Error| {
            Error::new(ErrorKind::Storage, format!("can't be read or written: {e}"))
                .with_object(self.path.display().to_string())
        };
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => ledger::open(&self.path).map_err(failed)?,
        };
        let done = work(&mut connection).map_err(failed)?;
        *slot = Some(connection);
        Ok(done)
    }

    /// Who has a token; `None` if nobody has it, or not any more.
    pub(crate) fn who(&self, secret: &str) -> Result<Option<Asker>> {
        let sql = "SELECT name, role, looks, created, expires FROM token WHERE digest = ?1";
        Ok(self.valid(sql, &digest_of(secret))?.map(|Token { name, role, looks, .. }| Asker {
            name,
            role,
            looks,
        }))
    }

    /// Whether a token of a name still opens.
    pub(crate) fn opens(&self, name: &str) -> Result<bool> {
        let sql = "SELECT name, role, looks, created, expires FROM token WHERE name = ?1";
        Ok(self.valid(sql, name)?.is_some())
    }

    /// The token that a query finds, unless it has ended.
    fn valid(&self, sql: &str, of: &str) -> Result<Option<Token>> {
        let now = self.clock.now();
        let found = self.with(|connection| connection.query_row(sql, [of], token).optional())?;
        Ok(found.filter(|token| token.expires.is_none_or(|end| now < end)))
    }

    /// Makes a token. What comes back with it is told this once.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name that can't be one, [`ErrorKind::Refused`] for one that there
    /// is.
    pub(crate) fn add(
        &self,
        name: &str,
        (role, looks): (Role, bool),
        lasts: Option<Duration>,
    ) -> Result<(Token, String)> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(is_part) {
            let hint = format!("take up to {LONGEST} letters, digits, and any of - _ . @");
            return Err(Error::new(ErrorKind::Usage, "can't be the name of a token")
                .with_object(format!("{name:?}"))
                .with_hint(hint));
        }
        let mut secret = PREFIX.to_owned();
        write_hex(&mut secret, &random_bytes::<32>()?)
            .map_err(|e| Error::new(ErrorKind::Failure, e.to_string()))?;
        let created = self.clock.now();
        let expires = lasts.map(|lasts| created.after(lasts));
        let made = Token { name: name.to_owned(), role, looks, created, expires };
        let (digest, new) = (digest_of(&secret), made.clone());
        let is_new = self.with(|connection| {
            let sql = "INSERT INTO token(name, digest, role, looks, created, expires)
                       SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM token) < ?7
                       ON CONFLICT(name) DO NOTHING";
            let (expires, most) = (new.expires.map(|end| end.0), signed(MOST));
            let row = (&new.name, &digest, role.name(), looks, new.created.0, expires, most);
            connection.execute(sql, row)
        })?;
        if is_new == 0 {
            return Err(Error::new(ErrorKind::Refused, "is there already, or there are too many")
                .with_object(format!("token {name:?}"))
                .with_hint("take another name, or remove that one first"));
        }
        Ok((made, secret))
    }

    /// All tokens, sorted by name.
    pub(crate) fn tokens(&self) -> Result<Vec<Token>> {
        self.with(|connection| {
            let sql = "SELECT name, role, looks, created, expires FROM token ORDER BY name";
            connection.prepare(sql)?.query_map([], token)?.collect()
        })
    }

    /// Takes a token away: whoever has it may do nothing any more.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of the name.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let gone =
            self.with(|connection| connection.execute("DELETE FROM token WHERE name = ?1", [name]));
        match gone? {
            0 => Err(Error::new(ErrorKind::NotFound, "is not there")
                .with_object(format!("token {name:?}"))),
            _ => Ok(()),
        }
    }

    /// Enters what somebody did.
    pub(crate) fn enter(&self, deed: Deed) -> Result<()> {
        let Deed { who, what, detail, status } = deed;
        let short = |text: &str| text.chars().take(DETAIL).collect::<String>();
        let (what, detail) = (short(&what), short(&detail));
        let at = self.clock.now();
        self.with(|connection| {
            let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let last = "SELECT id, digest FROM audit ORDER BY id DESC LIMIT 1";
            let last: Option<(u64, String)> = begun
                .query_row(last, [], |row| Ok((number_at(row, 0)?, row.get(1)?)))
                .optional()?;
            let (id, before) = last.map_or((1, FIRST.to_owned()), |(id, last)| (id + 1, last));
            let digest = String::new();
            let mut entry = AuditEntry { id, at, who, what, detail, status, digest };
            entry.digest = chained(&before, &entry);
            begun.execute(
                "INSERT INTO audit(id, at, who, what, detail, status, digest)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (signed(id), at.0, &entry.who, &entry.what, &entry.detail, status, &entry.digest),
            )?;
            begun.execute(
                "DELETE FROM audit WHERE id <= ?1",
                [signed(id.saturating_sub(ENTRIES))],
            )?;
            begun.commit()
        })
    }

    /// Entries below a number, the newest first, and whether their digests are right. At most so
    /// many.
    pub(crate) fn entries(
        &self,
        before: Option<u64>,
        limit: u64,
    ) -> Result<(Vec<AuditEntry>, bool)> {
        let before = before.map_or(i64::MAX, signed);
        let (mut found, has_ends): (Vec<AuditEntry>, bool) = self.with(|connection| {
            // One more, by which the last one is proven.
            let sql = "SELECT id, at, who, what, detail, status, digest FROM audit WHERE id < ?1
                       ORDER BY id DESC LIMIT ?2";
            let limit = signed(limit.saturating_add(1));
            let found: rusqlite::Result<Vec<AuditEntry>> =
                connection.prepare(sql)?.query_map((before, limit), entry)?.collect();
            // SQLite remembers the highest number that there ever was.
            let sql = "SELECT ifnull(min(id), 1), ifnull(max(id), 0),
                       ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0) FROM audit";
            let (oldest, newest, highest): (i64, i64, i64) =
                connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let first = highest.saturating_sub(signed(ENTRIES)).saturating_add(1).max(1);
            Ok((found?, newest == highest && oldest == first))
        })?;
        let is_proven = |pair: &[AuditEntry]| match pair {
            [entry, before] => {
                entry.id == before.id + 1 && entry.digest == chained(&before.digest, entry)
            }
            _ => true,
        };
        let mut whole = has_ends && found.windows(2).all(is_proven);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if found.len() > limit {
            found.truncate(limit);
        } else if let Some(first) = found.last().filter(|first| first.id == 1) {
            whole &= first.digest == chained(FIRST, first);
        }
        Ok((found, whole))
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let role: String = row.get(1)?;
    let expires: Option<i64> = row.get(4)?;
    Ok(Token {
        name: row.get(0)?,
        // What nobody knows may do the least.
        role: Role::of(&role).unwrap_or(Role::Viewer),
        looks: row.get(2)?,
        created: Timestamp(row.get(3)?),
        expires: expires.map(Timestamp),
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        id: number_at(row, 0)?,
        at: Timestamp(row.get(1)?),
        who: row.get(2)?,
        what: row.get(3)?,
        detail: row.get(4)?,
        status: row.get(5)?,
        digest: row.get(6)?,
    })
}

/// A token has 256 bits by chance, so a plain digest of it tells nobody anything.
fn digest_of(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// The digest of an entry behind another one. Each text has its length in front, so that no two
/// entries are written alike.
fn chained(before: &str, entry: &AuditEntry) -> String {
    let mut hasher = blake3::Hasher::new();
    let (id, at, status) = (entry.id.to_string(), entry.at.0.to_string(), entry.status.to_string());
    for text in [before, &id, &at, &entry.who, &entry.what, &entry.detail, &status] {
        hasher.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn number_at(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn access() -> (tempfile::TempDir, Arc<AtomicI64>, Access) {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicI64::new(1_000_000));
        let clock = {
            let time = time.clone();
            Clock::new(move || Timestamp(time.load(Ordering::SeqCst)))
        };
        let access = Access::of(dir.path().join("daemon.db"), clock);
        (dir, time, access)
    }

    #[test]
    fn a_token_opens_until_it_ends_or_is_taken_away_and_is_stored_nowhere() {
        let (dir, time, access) = access();
        let hour = Duration::from_secs(3600);
        let (made, secret) = access.add("ci", (Role::Operator, false), Some(hour)).unwrap();
        let (_, other) = access.add("grafana", (Role::Viewer, true), None).unwrap();
        assert_ne!(secret, other);
        let who = access.who(&secret).unwrap().unwrap();
        assert_eq!((&*who.name, who.role, who.looks), ("ci", Role::Operator, false));
        for wrong in ["", PREFIX, &secret[..secret.len() - 1], "ci"] {
            assert_eq!(access.who(wrong).unwrap(), None, "{wrong}");
        }
        assert_eq!(access.tokens().unwrap().first(), Some(&made));
        let twice = access.add("ci", (Role::Admin, true), None).unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::Refused);
        for bad in ["", "a b", "é", &"x".repeat(LONGEST + 1), "a\nb"] {
            let e = access.add(bad, (Role::Viewer, false), None).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Usage, "{bad}");
        }
        time.fetch_add(3_600_000_000, Ordering::SeqCst);
        assert_eq!(access.who(&secret).unwrap(), None);
        assert!(access.who(&other).unwrap().is_some());
        assert!(!access.opens("ci").unwrap() && access.opens("grafana").unwrap());
        access.remove("grafana").unwrap();
        assert_eq!(access.who(&other).unwrap(), None);
        assert_eq!(access.remove("grafana").unwrap_err().kind(), ErrorKind::NotFound);
        for name in ["daemon.db", "daemon.db-wal"] {
            let Ok(bytes) = std::fs::read(dir.path().join(name)) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&secret[PREFIX.len()..]), "{name}");
        }
    }

    fn deed(n: u64) -> Deed {
        let what = format!("POST /api/v1/{n}");
        Deed { who: "ci".to_owned(), what, detail: "SELECT 1".to_owned(), status: 202 }
    }

    #[test]
    fn whoever_changes_an_entry_is_found_out() {
        let (_dir, _, access) = access();
        (0..10).for_each(|n| access.enter(deed(n)).unwrap());
        let (all, whole) = access.entries(None, 100).unwrap();
        assert_eq!((all.len(), whole, all[0].id), (10, true, 10));
        let (some, whole) = access.entries(Some(8), 3).unwrap();
        assert_eq!(some.iter().map(|e| e.id).collect::<Vec<_>>(), [7, 6, 5]);
        assert!(whole);
        let changes = [
            "UPDATE audit SET who = 'x' WHERE id = 4",
            "UPDATE audit SET at = at + 1 WHERE id = 4",
            "UPDATE audit SET status = 200 WHERE id = 1",
            "UPDATE audit SET what = 'POST /api/v1/', detail = '3SELECT 1' WHERE id = 4",
            "DELETE FROM audit WHERE id = 5",
            "DELETE FROM audit WHERE id < 4",
            "DELETE FROM audit WHERE id > 8",
        ];
        for change in changes {
            let spoilt = access.with(|connection| {
                connection.execute_batch("SAVEPOINT s")?;
                connection.execute_batch(change)
            });
            spoilt.unwrap();
            assert!(!access.entries(None, 100).unwrap().1, "{change}");
            access.with(|c| c.execute_batch("ROLLBACK TO s; RELEASE s")).unwrap();
        }
        assert!(access.entries(None, 100).unwrap().1);
    }

    #[test]
    fn what_is_no_database_opens_for_nobody() {
        let (dir, _, access) = access();
        std::fs::write(dir.path().join("daemon.db"), [7; 5000]).unwrap();
        assert_eq!(access.who("x").unwrap_err().kind(), ErrorKind::Storage);
        std::fs::remove_file(dir.path().join("daemon.db")).unwrap();
        assert_eq!(access.who("x").unwrap(), None);
    }
}
