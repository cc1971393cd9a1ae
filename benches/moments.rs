//! Looking into a moment, and along a history, over a generated database of 64 MiB
//! (`PAGEKEEP_MOMENTS_MIB` for another size) on a disk: a base and three deltas, a commit of 1% of
//! the rows spread over all tables, and then 100,000 commits of one row each
//! (`PAGEKEEP_MOMENTS_COMMITS`), captured by a keeper. Half of those write the page of one row.
//! `PAGEKEEP_MOMENTS_AT` names a folder in which all this stays, for the next run to measure again.
//!
//! The groups of criterion measure this process. Behind them stand whole processes, each with its
//! peak of memory, and the ratios that matter, all from one run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::print_stdout,
    missing_docs
)]

#[path = "moments/figures.rs"]
mod figures;
// Only timing a process is needed here.
#[allow(dead_code)]
#[path = "harness/measure.rs"]
mod measure;
// Only building and changing databases is needed here.
#[allow(dead_code)]
mod realdata;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use pagekeep::rusqlite::types::FromSql;
use pagekeep::rusqlite::{Connection, params};
use pagekeep::{
    BackupOptions, Check, DatabaseView, DiffOptions, FeedEvent, FeedOptions, FindOptions, History,
    KdfParams, Keeper, KeeperOptions, KeyValue, Repository, RepositoryOptions, RestoreOptions,
    Secret, Seq, Silent, TraceOptions, ViewOptions, create_store, open_store,
};
use realdata::mutate::{self, Kind};
use serde_json::{Value, json};

/// A failure in words.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One row by its key.
const MIDDLE: &str = "SELECT path FROM files WHERE id = (SELECT max(id) / 2 FROM files)";

/// The file that has what is known of a repository that stays.
const KEPT: &str = "lab.json";

/// A repository with a history, and what is known of it.
struct Lab {
    work: PathBuf,
    history: History,
    /// How many bytes the pages of `events` have.
    events: u64,
    /// The commits before and behind the one that changed 1% of the rows, and behind the one row
    /// before.
    pct1: [Seq; 3],
    /// The last commit before those of one row each.
    many: Seq,
    /// The newest commit.
    last: Seq,
    /// How many commits of one row there are.
    commits: u64,
    /// The row of `events` that is followed.
    row: i64,
}

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == measure::RELAY) {
        return measure::relay(&arguments[1..]).unwrap();
    }
    // Without `--bench` this is a test run: each bench once, and small.
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let number = |name: &str, n: u64| match std::env::var(name) {
        Ok(given) => given.parse().expect("a number"),
        Err(_) => n,
    };
    let mib = number("PAGEKEEP_MOMENTS_MIB", if measuring { 64 } else { 2 });
    let commits = number("PAGEKEEP_MOMENTS_COMMITS", if measuring { 100_000 } else { 200 });
    let kept = std::env::var_os("PAGEKEEP_MOMENTS_AT").map(PathBuf::from);
    let temporary = kept.is_none().then(|| {
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix("moments-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        made.expect("a directory for the database")
    });
    let lab = match (&kept, &temporary) {
        (Some(at), _) if at.join(KEPT).exists() => Lab::open(at),
        (Some(at), _) => {
            std::fs::create_dir_all(at).unwrap();
            let lab = Lab::new(at, mib, commits);
            lab.keep();
            lab
        }
        (None, work) => Lab::new(work.as_ref().unwrap().path(), mib, commits),
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    one_moment(&mut criterion, &lab);
    along(&mut criterion, &lab);
    criterion.final_summary();
    figures::print(&lab).unwrap();
}

impl Lab {
    fn new(work: &Path, mib: u64, commits: u64) -> Self {
        let database = work.join("real.db");
        realdata::build(&database, mib, 1).expect("the database is built");
        let events = size_of_events(&database);
        let repository = {
            let secret = Secret::create_key_file(&work.join("key")).unwrap();
            let store = create_store(&work.join("repo").display().to_string()).unwrap();
            let options = RepositoryOptions::new(work.join("state"));
            Repository::init(store, &[(&secret, "")], KdfParams::default(), &options).unwrap()
        };
        let application = mutate::open(&database, true).unwrap();
        let backup =
            || repository.backup(&database, &BackupOptions::default(), &Silent).unwrap().seq;
        let mut seqs = Vec::new();
        for seed in 0..4 {
            seqs.push(backup());
            mutate::apply(&application, Kind::One, seed).unwrap();
        }
        let before = backup();
        mutate::apply(&application, Kind::Rows, 9).unwrap();
        let behind = backup();
        drop(application);
        let row: i64 = {
            let db = Connection::open(&database).unwrap();
            let sql = "SELECT id FROM events WHERE id > (SELECT max(id) / 2 FROM events) LIMIT 1";
            db.query_row(sql, [], |row| row.get(0)).unwrap()
        };
        follow(&database, &repository, commits, row);
        let history = repository.history("real").unwrap();
        let last = history.latest().unwrap().unwrap().seq();
        let pct1 = [seqs[3], before, behind];
        Self { work: work.to_owned(), history, events, pct1, many: behind, last, commits, row }
    }

    /// What an earlier run left.
    fn open(work: &Path) -> Self {
        let known: Value =
            serde_json::from_slice(&std::fs::read(work.join(KEPT)).unwrap()).unwrap();
        let number = |name: &str| known[name].as_u64().unwrap();
        let [a, b, c] = ["before_one", "before", "many"].map(|name| Seq(number(name)));
        let secret = Secret::read_key_file(&work.join("key")).unwrap();
        let store = open_store(&work.join("repo").display().to_string()).unwrap();
        let options = RepositoryOptions::new(work.join("state"));
        let repository = Repository::open(store, &secret, &options).unwrap();
        Self {
            work: work.to_owned(),
            history: repository.history("real").unwrap(),
            events: number("events"),
            pct1: [a, b, c],
            many: c,
            last: Seq(number("last")),
            commits: number("commits"),
            row: number("row") as i64,
        }
    }

    /// Leaves what is known for the next run.
    fn keep(&self) {
        let [before_one, before, many] = self.pct1.map(|seq| seq.0);
        let known = json!({
            "events": self.events,
            "before_one": before_one,
            "before": before,
            "many": many,
            "last": self.last.0,
            "commits": self.commits,
            "row": self.row,
        });
        std::fs::write(self.work.join(KEPT), known.to_string()).unwrap();
    }
}

/// Makes commits of one row each. Every other one writes the page of a row, and a hundredth of them
/// that row.
fn follow(database: &Path, repository: &Repository, commits: u64, row: i64) {
    let options = KeeperOptions::default().interval(Duration::from_millis(50));
    let keeper = Keeper::open(database, repository.clone(), options).unwrap();
    let application = keeper.connect().unwrap();
    application.execute_batch("PRAGMA synchronous = OFF").unwrap();
    keeper.wait_durable(Duration::from_secs(600)).unwrap();
    {
        let mut update =
            application.prepare("UPDATE events SET value = value + 1 WHERE id = ?1").unwrap();
        let mut insert = application
            .prepare("INSERT INTO events(ts, device, kind, value, aux) VALUES (?1, ?2, 1, ?3, 7)")
            .unwrap();
        for n in 0..commits as i64 {
            match n % 2 {
                0 => update.execute([row + i64::from(n % 200 != 0)]).unwrap(),
                _ => insert.execute(params![n, n % 50, n as f64 / 7.0]).unwrap(),
            };
            if n % 20_000 == 19_999 {
                keeper.wait_durable(Duration::from_secs(600)).unwrap();
            }
        }
    }
    keeper.wait_durable(Duration::from_secs(600)).unwrap();
    drop(application);
    keeper.close().unwrap();
}

/// Questions to one moment.
fn one_moment(criterion: &mut Criterion, lab: &Lab) {
    let point = lab.history.point(lab.many).unwrap();
    let mut group = criterion.benchmark_group("moments");
    group.bench_function("point query/cold, in this process", |b| {
        b.iter(|| {
            let point = lab.history.point(lab.many).unwrap();
            one::<String>(&point.open(&ViewOptions::default()).unwrap(), MIDDLE)
        });
    });
    group.bench_function("point query/cold, whole process", |b| {
        b.iter(|| {
            let at = format!("real@seq:{}", lab.many);
            let asked = lab.command(&["query", "-q", &at, MIDDLE]).output().unwrap();
            assert!(asked.status.success(), "{asked:?}");
        });
    });
    group.throughput(Throughput::Bytes(lab.events));
    for (name, sql) in [
        ("scan/count(*)", "SELECT count(*) FROM events NOT INDEXED"),
        ("scan/sum", "SELECT sum(aux) FROM events NOT INDEXED"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| one::<i64>(&point.open(&ViewOptions::default()).unwrap(), sql));
        });
    }
    group.throughput(Throughput::Bytes(point.database_bytes()));
    group.bench_function("restore, no check", |b| {
        let target = lab.work.join("restored.db");
        let options = RestoreOptions::default().check(Check::None).force(true);
        b.iter(|| point.restore(&target, &options, &Silent).unwrap());
    });
    group.finish();
}

/// Questions to many moments.
fn along(criterion: &mut Criterion, lab: &Lab) {
    let mut group = criterion.benchmark_group("along");
    let [first, before, behind] = lab.pct1;
    for (name, from, to) in [("diff/one row", first, before), ("diff/1% of rows", before, behind)] {
        let point = |seq| lab.history.point(seq).unwrap();
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rows = 0_u64;
                let diff = point(from).diff(&point(to), &DiffOptions::default()).unwrap();
                let mut count = |_| {
                    rows += 1;
                    Ok(())
                };
                diff.rows(&mut count, &Silent).unwrap();
                assert!(rows > 0);
                rows
            });
        });
    }
    group.bench_function("find", |b| {
        b.iter(|| {
            let options = FindOptions::default().from(lab.many).to(lab.last);
            let found = lab.history.find_change(&lab.question(), &options, &Silent, &mut |_| {});
            assert!(found.unwrap().asked <= 20);
        });
    });
    group.bench_function("trace", |b| {
        b.iter(|| {
            let key = [KeyValue::from(lab.row)];
            let options = TraceOptions::default().from(lab.many).to(lab.last);
            lab.history.trace("events", &key, &options, &Silent, &mut |_| Ok(())).unwrap()
        });
    });
    group.throughput(Throughput::Elements(lab.commits));
    group.bench_function("changes, one row a commit", |b| {
        b.iter(|| {
            let options = FeedOptions::default().from(lab.many).to(lab.last);
            let mut rows = 0_u64;
            let mut take = |_, _, event| {
                rows += u64::from(matches!(event, FeedEvent::Row(_)));
                Ok(())
            };
            lab.history.feed(&options).unwrap().advance(&mut take, &Silent).unwrap();
            assert_eq!(rows, lab.commits);
        });
    });
    group.finish();
}

impl Lab {
    /// A question whose answer changed once.
    fn question(&self) -> String {
        format!("SELECT max(id) > {} FROM events", self.row * 2 + 100)
    }

    /// The program, to be run on the repository.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagekeep"));
        command.args(arguments).args(self.place());
        command
    }

    /// Where the repository and its key are.
    fn place(&self) -> Vec<OsString> {
        let mut place = Vec::new();
        for (flag, path) in [("-r", "repo"), ("--key-file", "key"), ("--state-dir", "state")] {
            place.push(flag.into());
            place.push(self.work.join(path).into());
        }
        place
    }
}

/// How many bytes the pages of the largest table have.
fn size_of_events(database: &Path) -> u64 {
    let connection = Connection::open(database).unwrap();
    let sql = "SELECT sum(pgsize) FROM dbstat WHERE name = 'events'";
    let bytes: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    bytes as u64
}

fn one<T: FromSql>(view: &DatabaseView, sql: &str) -> T {
    view.query_row(sql, [], |row| row.get(0)).unwrap()
}
