//! What a long history costs: opening one of a million commits, and merging a gibibyte that mostly moves whole.
//!
//! ```text
//! cargo bench --bench history -- open [COMMITS]
//! cargo bench --bench history -- merge [MIB]
//! ```
//!
//! Both work in `LAB` (a folder), or in a temporary one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss, clippy::indexing_slicing, missing_docs)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pagekeep::codec::batch::Compression;
use pagekeep::format::slot::KdfParams;
use pagekeep::keeper::{Keeper, Options};
use pagekeep::ops::backup::{BackupOptions, backup};
use pagekeep::ops::prune::{PruneOptions, prune};
use pagekeep::policy::retention::{Policy, Zone};
use pagekeep::progress::Silent;
use pagekeep::repo::Repository;
use pagekeep::repo::keys::Secret;
use pagekeep::store::LocalStore;
use rusqlite::Connection;

const CHEAP: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = args.get(1).and_then(|n| n.parse().ok());
    let lab = std::env::var_os("LAB").map(std::path::PathBuf::from);
    let dir = match &lab {
        Some(lab) => tempfile::tempdir_in(lab).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    match args.first().map(String::as_str) {
        Some("open") => open(dir.path(), number.unwrap_or(1_000_000)),
        Some("merge") => merge(dir.path(), number.unwrap_or(1024)),
        _ => println!("say which: open [COMMITS] or merge [MIB]"),
    }
}

fn repository(dir: &Path) -> (Repository, Secret) {
    let secret = Secret::new_recovery().unwrap();
    let store = Arc::new(LocalStore::create_root(dir.join("repository")).unwrap());
    let made = Repository::init(store, &[(&secret, "")], CHEAP, dir.join("state")).unwrap();
    (made, secret)
}

/// Commits as many transactions as asked for, followed by a keeper, and opens the history again and again.
fn open(dir: &Path, commits: i64) {
    let (repository, secret) = repository(dir);
    let path = dir.join("app.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
         CREATE TABLE t(id INTEGER PRIMARY KEY, x)",
    )
    .unwrap();
    drop(app);
    let options = Options { interval: Duration::from_millis(100), ..Options::default() };
    let keeper = Keeper::open(&path, repository, options).unwrap();
    let app = keeper.connect().unwrap();
    app.execute_batch("PRAGMA synchronous=OFF").unwrap();
    let mut insert = app.prepare("INSERT OR REPLACE INTO t VALUES(?1, ?2)").unwrap();
    let began = Instant::now();
    for n in 0..commits {
        insert.execute([n % 1000, n]).unwrap();
        if n % 100_000 == 99_999 {
            keeper.wait_durable(Duration::from_secs(600)).unwrap();
            println!("{} commits after {:.0} s", n + 1, began.elapsed().as_secs_f64());
        }
    }
    keeper.wait_durable(Duration::from_secs(600)).unwrap();
    drop(insert);
    drop(app);
    keeper.close().unwrap();
    let mut times = Vec::new();
    for _ in 0..7 {
        let store = Arc::new(LocalStore::open(dir.join("repository")).unwrap());
        let repository = Repository::open(store, &secret, dir.join("state")).unwrap();
        let began = Instant::now();
        let history = repository.history("app").unwrap();
        let chain = history.chain().unwrap();
        let commits = chain.commits().count();
        times.push(began.elapsed());
        println!(
            "opened: {} segments, {commits} commits, {:.1} ms",
            chain.segments().len(),
            times[times.len() - 1].as_secs_f64() * 1000.0
        );
    }
    times.sort();
    println!("median {:.1} ms", times[times.len() / 2].as_secs_f64() * 1000.0);
}

/// Lets a quarter of a base die in one place, and compares the prune that rewrites it with copying as many bytes.
fn merge(dir: &Path, mib: i64) {
    let (repository, _) = repository(dir);
    let path = dir.join("app.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch("PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    app.execute_batch("BEGIN").unwrap();
    for _ in 0..mib * 4 / 3 {
        app.execute("INSERT INTO t(x) VALUES(randomblob(1048000))", []).unwrap();
    }
    app.execute_batch("COMMIT").unwrap();
    let options = BackupOptions { compression: Compression::Off, ..BackupOptions::default() };
    backup(&repository, &path, &options, &Silent).unwrap();
    app.execute("UPDATE t SET x=randomblob(1048000) WHERE id<=?1", [mib / 3]).unwrap();
    backup(&repository, &path, &options, &Silent).unwrap();
    let history = repository.history("app").unwrap();
    let options = PruneOptions {
        grace: Duration::ZERO,
        ..PruneOptions::new(Policy { last: 1, ..Policy::default() }, Zone::Utc)
    };
    let mut ratios = Vec::new();
    // As many bytes as are copied, by the same file system, before and after.
    let copied = copy(dir, mib);
    let began = Instant::now();
    let report = prune(&history, &options, &Silent).unwrap();
    let took = began.elapsed();
    let again = copy(dir, mib);
    let speed = report.copied as f64 / 1048576.0 / took.as_secs_f64();
    println!(
        "prune: {} MiB copied sealed, {} merges, {:.2} s: {speed:.0} MiB/s, check, audit and deletion included",
        report.copied / 1048576,
        report.merges,
        took.as_secs_f64()
    );
    for cp in [copied, again] {
        let theirs = mib as f64 / cp.as_secs_f64();
        ratios.push(speed / theirs);
        println!("cp and sync: {mib} MiB, {:.2} s: {theirs:.0} MiB/s", cp.as_secs_f64());
    }
    println!("of cp's speed: {ratios:.2?}");
}

/// Copies so many bytes from a file to another as `cp` does, and syncs them.
fn copy(dir: &Path, mib: i64) -> Duration {
    let (from, to) = (dir.join("app.db"), dir.join("copy"));
    let began = Instant::now();
    let mut source = File::open(from).unwrap().take(mib.unsigned_abs() << 20);
    let mut target = File::create(&to).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = source.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        target.write_all(&buffer[..n]).unwrap();
    }
    target.sync_all().unwrap();
    let took = began.elapsed();
    fs::remove_file(to).unwrap();
    took
}
