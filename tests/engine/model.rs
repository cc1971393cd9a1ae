//! The model test: random work on random databases, a backup after every step, and in the end every commit
//! restored and compared, byte for byte, with what the file was at that moment.
//!
//! The model is a plain copy of the database files. It decides two things: what a commit must restore to, and
//! whether there must be one: a step publishes a commit exactly if the bytes differ from those of the step before.
//!
//! `PROPTEST_CASES` sets the number of cases.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Lab, come_back, noise, reference};
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::sqlite::image::Method;
use proptest::prelude::*;
use rusqlite::{Connection, params};

/// How a database is made.
#[derive(Clone, Debug)]
struct Shape {
    page_size: u32,
    journal: &'static str,
    auto_vacuum: &'static str,
    encoding: &'static str,
    autocheckpoint: u32,
}

/// The tables of every database.
#[derive(Clone, Copy, Debug)]
enum Table {
    Plain,
    WithoutRowid,
    Fts,
    Rtree,
}

#[derive(Clone, Debug)]
enum Op {
    Insert { table: Table, rows: u8, len: u16, seed: u16 },
    Big { len: u32, seed: u16 },
    Update { modulo: u8, len: u16, seed: u16 },
    Rewrite,
    Delete { table: Table, modulo: u8 },
    Clear,
    CreateTable(u8),
    DropTable(u8),
    CreateIndex,
    DropIndex,
    RolledBack(Box<Op>),
    HalfRolledBack(Box<Op>, Box<Op>),
    LeftOpen(Box<Op>),
    Vacuum,
    IncrementalVacuum(u8),
    PageSize(u32),
    Checkpoint(&'static str),
    Journal(&'static str),
    Reopen,
    Move,
    HoldReader,
    ReleaseReader,
    ForgetState,
    ForgetDigests,
    Nothing,
}

#[derive(Clone, Debug)]
struct Step {
    ops: Vec<Op>,
    method: Method,
    threads: usize,
}

fn page_size() -> impl Strategy<Value = u32> {
    (9u32..=16).prop_map(|n| 1 << n)
}

fn shape() -> impl Strategy<Value = Shape> {
    let journal = prop_oneof![
        9 => Just("WAL"), 2 => Just("DELETE"), 1 => Just("TRUNCATE"), 1 => Just("PERSIST"),
        1 => Just("MEMORY"),
    ];
    let auto_vacuum = prop_oneof![Just("NONE"), Just("FULL"), Just("INCREMENTAL")];
    let encoding = prop_oneof![Just("UTF-8"), Just("UTF-16le"), Just("UTF-16be")];
    (page_size(), journal, auto_vacuum, encoding, prop_oneof![Just(0u32), Just(5), Just(1000)])
        .prop_map(|(page_size, journal, auto_vacuum, encoding, autocheckpoint)| Shape {
            page_size,
            journal,
            auto_vacuum,
            encoding,
            autocheckpoint,
        })
}

fn table() -> impl Strategy<Value = Table> {
    use Table::{Fts, Plain, Rtree, WithoutRowid};
    prop_oneof![3 => Just(Plain), 1 => Just(WithoutRowid), 1 => Just(Fts), 1 => Just(Rtree)]
}

/// What may stand inside a transaction.
fn change() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (table(), 1u8..60, 0u16..500, any::<u16>())
            .prop_map(|(table, rows, len, seed)| Op::Insert { table, rows, len, seed }),
        2 => (1000u32..150_000, any::<u16>()).prop_map(|(len, seed)| Op::Big { len, seed }),
        3 => (1u8..20, 0u16..900, any::<u16>())
            .prop_map(|(modulo, len, seed)| Op::Update { modulo, len, seed }),
        1 => Just(Op::Rewrite),
        2 => (table(), 1u8..5).prop_map(|(table, modulo)| Op::Delete { table, modulo }),
        1 => Just(Op::Clear),
        1 => (0u8..3).prop_map(Op::CreateTable),
        1 => (0u8..3).prop_map(Op::DropTable),
        1 => Just(Op::CreateIndex),
        1 => Just(Op::DropIndex),
        1 => (0u8..40).prop_map(Op::IncrementalVacuum),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let checkpoint = prop_oneof![Just("PASSIVE"), Just("FULL"), Just("RESTART"), Just("TRUNCATE")];
    let journal = prop_oneof![3 => Just("WAL"), 2 => Just("DELETE"), 1 => Just("PERSIST")];
    let boxed = || change().prop_map(Box::new);
    prop_oneof![
        24 => change(),
        1 => boxed().prop_map(Op::RolledBack),
        1 => (boxed(), boxed()).prop_map(|(a, b)| Op::HalfRolledBack(a, b)),
        1 => boxed().prop_map(Op::LeftOpen),
        1 => Just(Op::Vacuum),
        1 => page_size().prop_map(Op::PageSize),
        3 => checkpoint.prop_map(Op::Checkpoint),
        1 => journal.prop_map(Op::Journal),
        1 => Just(Op::Reopen),
        1 => Just(Op::Move),
        2 => Just(Op::HoldReader),
        1 => Just(Op::ReleaseReader),
        1 => Just(Op::ForgetState),
        1 => Just(Op::ForgetDigests),
        1 => Just(Op::Nothing),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let method = prop_oneof![3 => Just(Method::Auto), 1 => Just(Method::Backup)];
    (prop::collection::vec(op(), 1..4), method, 1usize..4).prop_map(|(ops, method, threads)| Step {
        ops,
        method,
        threads,
    })
}

/// A database under work, its repository, and what each commit must restore to.
struct Bench {
    lab: Lab,
    path: PathBuf,
    shape: Shape,
    app: Option<Connection>,
    /// Holds a read transaction, so that no checkpoint gets past it and the WAL goes on.
    reader: Option<Connection>,
    references: Vec<Vec<u8>>,
    /// Whether the next backup finds no local state, and claims a term.
    forgotten: bool,
    /// Segments published since the last upkeep that the state remembers.
    since_upkeep: u32,
    /// Terms claimed since the one that the newest commit was published in.
    claims: u32,
}

impl Bench {
    fn new(shape: Shape) -> Self {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let mut bench = Self {
            lab,
            path,
            shape,
            app: None,
            reader: None,
            references: Vec::new(),
            forgotten: true,
            since_upkeep: 0,
            claims: 0,
        };
        bench.open();
        let Shape { page_size, journal, auto_vacuum, encoding, .. } = bench.shape.clone();
        bench.sql(&format!(
            "PRAGMA page_size={page_size}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={auto_vacuum};
             CREATE TABLE plain(id INTEGER PRIMARY KEY, k INTEGER, x);
             CREATE TABLE pair(a TEXT, b INTEGER, x BLOB, PRIMARY KEY(a, b)) WITHOUT ROWID;
             CREATE VIRTUAL TABLE words USING fts5(body);
             CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
             PRAGMA journal_mode={journal};"
        ));
        bench
    }

    fn app(&self) -> &Connection {
        self.app.as_ref().unwrap()
    }

    fn open(&mut self) {
        let app = Connection::open(&self.path).unwrap();
        app.busy_timeout(Duration::ZERO).unwrap();
        // The cache is large enough for every transaction: one that spills would lock readers out.
        let autocheckpoint = self.shape.autocheckpoint;
        app.execute_batch(&format!(
            "PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;
             PRAGMA wal_autocheckpoint={autocheckpoint};"
        ))
        .unwrap();
        self.app = Some(app);
    }

    /// Runs statements; what the database's present state does not allow is no error of the test.
    fn sql(&self, sql: &str) {
        let _ = self.app().execute_batch(sql);
    }

    fn end_transaction(&self) {
        if !self.app().is_autocommit() {
            self.app().execute_batch("ROLLBACK").unwrap();
        }
    }

    fn in_wal_mode(&self) -> bool {
        let mode = self.app().query_row("PRAGMA journal_mode", [], |r| r.get::<_, String>(0));
        mode.unwrap() == "wal"
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Insert { table, rows, len, seed } => self.insert(*table, *rows, *len, *seed),
            Op::Big { len, seed } => {
                // Half of it noise, half of it text: overflow pages of both kinds.
                let mut blob = noise(u64::from(*seed), *len as usize / 2);
                blob.resize(*len as usize, b'x');
                self.insert_plain(0, &blob);
            }
            Op::Update { modulo, len, seed } => {
                let x = noise(u64::from(*seed), usize::from(*len));
                let sql = "UPDATE plain SET x=?1 WHERE id%?2=0";
                self.app().execute(sql, params![x, modulo]).unwrap();
            }
            // New frames with the content that was there.
            Op::Rewrite => self.sql("UPDATE plain SET x=x; PRAGMA user_version=0"),
            Op::Delete { table, modulo } => {
                let (name, key) = match table {
                    Table::Plain => ("plain", "id"),
                    Table::WithoutRowid => ("pair", "b"),
                    Table::Fts => ("words", "rowid"),
                    Table::Rtree => ("boxes", "id"),
                };
                self.sql(&format!("DELETE FROM {name} WHERE {key}%{modulo}=0"));
            }
            Op::Clear => self.sql("DELETE FROM plain; DELETE FROM pair"),
            Op::CreateTable(n) => self.sql(&format!(
                "CREATE TABLE more{n}(a, b UNIQUE); INSERT INTO more{n} SELECT x, id FROM plain"
            )),
            Op::DropTable(n) => self.sql(&format!("DROP TABLE more{n}")),
            Op::CreateIndex => self.sql("CREATE INDEX by_k ON plain(k, x)"),
            Op::DropIndex => self.sql("DROP INDEX by_k"),
            Op::RolledBack(op) => {
                self.sql("BEGIN");
                self.run(op);
                self.end_transaction();
            }
            Op::HalfRolledBack(a, b) => {
                self.sql("BEGIN");
                self.run(a);
                self.sql("SAVEPOINT half");
                self.run(b);
                self.sql("ROLLBACK TO half; RELEASE half; COMMIT");
                self.end_transaction();
            }
            Op::LeftOpen(op) => {
                self.sql("BEGIN");
                self.run(op);
            }
            Op::Vacuum => self.sql("VACUUM"),
            Op::IncrementalVacuum(n) => self.sql(&format!("PRAGMA incremental_vacuum({n})")),
            // In WAL mode SQLite ignores the new size.
            Op::PageSize(size) => self.sql(&format!("PRAGMA page_size={size}; VACUUM")),
            Op::Checkpoint(mode) => self.sql(&format!("PRAGMA wal_checkpoint({mode})")),
            Op::Journal(mode) if self.reader.is_none() => {
                self.sql(&format!("PRAGMA journal_mode={mode}"))
            }
            Op::HoldReader if self.reader.is_none() && self.in_wal_mode() => {
                let reader = Connection::open(&self.path).unwrap();
                reader.execute_batch("BEGIN; SELECT count(*) FROM plain").unwrap();
                self.reader = Some(reader);
            }
            Op::ReleaseReader => self.reader = None,
            Op::Reopen => {
                self.app = None;
                self.open();
            }
            // Another file under the same path, with the same content.
            Op::Move => {
                (self.app, self.reader) = (None, None);
                let copy = self.lab.path("copy");
                std::fs::copy(&self.path, &copy).unwrap();
                std::fs::rename(copy, &self.path).unwrap();
                self.open();
            }
            Op::ForgetState => {
                self.lab.forget_state();
                self.forgotten = true;
            }
            Op::ForgetDigests => {
                if let Ok(history) = self.lab.repository.history("app") {
                    let _ = std::fs::remove_file(self.lab.state_of(&history).join("digests"));
                }
            }
            Op::Nothing | Op::HoldReader | Op::Journal(_) => {}
        }
    }

    fn insert(&self, table: Table, rows: u8, len: u16, seed: u16) {
        let own = !self.app().is_autocommit();
        self.sql("SAVEPOINT rows");
        for row in 0..rows {
            let number = u64::from(seed) << 8 | u64::from(row);
            let bytes = noise(number, usize::from(len));
            let id = i64::try_from(number).unwrap();
            let text: String = bytes.iter().map(|b| char::from(b'a' + b % 23)).collect();
            let app = self.app();
            let inserted = match table {
                Table::Plain => {
                    self.insert_plain(id, &bytes);
                    continue;
                }
                Table::WithoutRowid => app.execute(
                    "INSERT OR REPLACE INTO pair VALUES(?1,?2,?3)",
                    params![text, id, bytes],
                ),
                Table::Fts => app.execute("INSERT INTO words VALUES(?1)", [text]),
                Table::Rtree => app
                    .execute("INSERT OR REPLACE INTO boxes VALUES(?1,?2,?3)", params![id, row, id]),
            };
            inserted.unwrap();
        }
        self.sql("RELEASE rows");
        assert_eq!(own, !self.app().is_autocommit());
    }

    fn insert_plain(&self, k: i64, bytes: &[u8]) {
        self.app().execute("INSERT INTO plain(k, x) VALUES(?1,?2)", params![k, bytes]).unwrap();
    }

    fn step(&mut self, step: &Step, coverage: &Cell<Coverage>) {
        for op in &step.ops {
            self.run(op);
            if !matches!(op, Op::LeftOpen(_)) {
                self.end_transaction();
            }
        }
        self.back_up(step.method, step.threads, coverage);
        self.end_transaction();
    }

    /// A backup, which must publish a commit exactly if the model changed; or one without pages, an anchor, if it
    /// can't tell whether the holder of a term between its own and the head's is still about to publish.
    fn back_up(&mut self, method: Method, threads: usize, coverage: &Cell<Coverage>) {
        // With a rollback journal the file is the database: even while a transaction is open, whose journal
        // would look like one to roll back beside a copy.
        let now = match self.in_wal_mode() {
            true => reference(&self.path),
            false => std::fs::read(&self.path).unwrap(),
        };
        let options = BackupOptions::default().method(method);
        let (store, opening) = (self.lab.store.clone(), self.lab.opening().threads(threads));
        let opened = Repository::open(Arc::new(store), &self.lab.secret, &opening).unwrap();
        let report = opened.backup(&self.path, &options, &Silent).unwrap();
        let mut seen = coverage.get();
        match report.commit.map(|commit| commit.kind) {
            None => seen.nothing += 1,
            Some(CommitKind::Wal) => seen.wal += 1,
            Some(_) => seen.scans += 1,
        }
        coverage.set(seen);
        if std::mem::take(&mut self.forgotten) {
            self.claims += 1;
            self.since_upkeep = 0;
        }
        let changed = self.references.last() != Some(&now);
        let anchor = !changed && self.claims > 1;
        let published = report.commit.map(|commit| commit.changed > 0);
        let expected = (changed || anchor).then_some(changed);
        assert_eq!(published, expected, "a commit exactly if the bytes changed, or as an anchor");
        if expected.is_some() {
            self.since_upkeep += 1;
            // Every sixteenth segment is followed by an upkeep, for which the writer claims the next term.
            let upkeep = self.since_upkeep >= 16;
            self.claims = u32::from(upkeep);
            if upkeep {
                self.since_upkeep = 0;
            }
            self.references.push(now);
        }
        assert_eq!(report.seq.0, self.references.len() as u64);
    }

    /// Another machine, which has nothing but the repository and the key, gets every commit.
    fn check(&self) {
        let lab = &self.lab;
        let store = Arc::new(lab.store.clone());
        let elsewhere =
            Repository::open(store, &lab.secret, &RepositoryOptions::new(lab.path("elsewhere")))
                .unwrap();
        let history = elsewhere.history("app").unwrap();
        let chain = history.chain().unwrap();
        // What an upkeep merged is there for an hour.
        let merged = chain.segments().iter().filter(|segment| segment.is_merged()).count();
        assert_eq!(chain.strays() >= 16, merged > 0, "{} of {merged}", chain.strays());
        assert!(merged > 0 || chain.strays() == 0, "{}", chain.strays());
        assert_eq!(chain.commits().count(), self.references.len());
        come_back(&history, &chain, (1..).zip(&self.references), lab.dir.path());
    }
}

/// What the backups of a run were, so that a run which tests little fails.
#[derive(Clone, Copy, Debug, Default)]
struct Coverage {
    nothing: u32,
    scans: u32,
    wal: u32,
}

#[test]
fn every_commit_of_any_work_restores_to_the_bytes_of_its_moment() {
    let mut config = ProptestConfig { failure_persistence: None, ..Default::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 60;
    }
    config.max_shrink_iters = 300;
    let coverage = Cell::new(Coverage::default());
    proptest!(config, |(shape in shape(), steps in prop::collection::vec(step(), 1..25))| {
        let mut bench = Bench::new(shape);
        for step in &steps {
            bench.step(step, &coverage);
        }
        bench.check();
    });
    let Coverage { nothing, scans, wal } = coverage.get();
    assert!(nothing > 10 && scans > 10 && wal > 10, "{:?} is hardly a test", coverage.get());
}
