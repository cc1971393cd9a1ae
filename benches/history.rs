//! What a long history costs: opening one of a million commits, merging a gibibyte that mostly moves whole, and restoring the
//! newest commit of a history that was pruned every day.
//!
//! ```text
//! cargo bench --bench history -- open [COMMITS]
//! cargo bench --bench history -- merge [MIB]
//! cargo bench --bench history -- newest [MIB]
//! ```
//!
//! They work in `LAB` (a folder), or in a temporary one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss, clippy::indexing_slicing, missing_docs)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use pagekeep::internals::codec::batch::Compression;
use pagekeep::internals::format::slot::KdfParams;
use pagekeep::internals::keeper::{Keeper, KeeperOptions};
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::ops::point::RestorePoint;
use pagekeep::internals::ops::prune::PruneOptions;
use pagekeep::internals::ops::restore::RestoreOptions;
use pagekeep::internals::policy::retention::{Periods, Policy, Zone};
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::{LocalStore, MemoryStore};
use pagekeep::internals::types::{Clock, Timestamp};
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
        Some("newest") => newest(dir.path(), number.unwrap_or(256)),
        _ => println!("say which: open [COMMITS], merge [MIB] or newest [MIB]"),
    }
}

fn repository(dir: &Path) -> (Repository, Secret) {
    let secret = Secret::new_recovery().unwrap();
    let store = Arc::new(LocalStore::create_root(dir.join("repository")).unwrap());
    let made = Repository::init(
        store,
        &[(&secret, "")],
        CHEAP,
        &RepositoryOptions::new(dir.join("state")),
    )
    .unwrap();
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
    let options = KeeperOptions::default().interval(Duration::from_millis(100));
    let keeper = Keeper::open(&path, repository, options).unwrap();
    let app = keeper.connect().unwrap();
    app.execute_batch("PRAGMA synchronous=OFF").unwrap();
    // The first scan has what was committed before it.
    keeper.wait_durable(Duration::from_secs(600)).unwrap();
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
    println!("scans besides the first: {}", keeper.status().scans);
    drop(insert);
    drop(app);
    keeper.close().unwrap();
    let mut times = Vec::new();
    for _ in 0..7 {
        let store = Arc::new(LocalStore::open(dir.join("repository")).unwrap());
        let repository =
            Repository::open(store, &secret, &RepositoryOptions::new(dir.join("state"))).unwrap();
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
    let options = BackupOptions::default().compression(Compression::Off);
    repository.backup(&path, &options, &Silent).unwrap();
    app.execute("UPDATE t SET x=randomblob(1048000) WHERE id<=?1", [mib / 3]).unwrap();
    repository.backup(&path, &options, &Silent).unwrap();
    let history = repository.history("app").unwrap();
    let options =
        PruneOptions::new(Policy { last: 1, ..Policy::default() }, Zone::Utc).grace(Duration::ZERO);
    let mut ratios = Vec::new();
    // As many bytes as are copied, by the same file system, before and after.
    let copied = copy(dir, mib);
    let began = Instant::now();
    let report = history.prune(&options, &Silent).unwrap();
    let took = began.elapsed();
    let again = copy(dir, mib);
    let speed = report.copied_bytes as f64 / 1048576.0 / took.as_secs_f64();
    println!(
        "prune: {} MiB copied sealed, {} merges, {:.2} s: {speed:.0} MiB/s, check, audit and deletion included",
        report.copied_bytes / 1048576,
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

/// Backs a database up every hour and prunes the history every day for two simulated months, and compares restoring the newest
/// commit with restoring a first backup of the same database.
fn newest(dir: &Path, mib: i64) {
    const HOUR: i64 = 3_600_000_000;
    let time = Arc::new(AtomicI64::new(Timestamp::now().0));
    let now = time.clone();
    let clock = Clock::new(move || Timestamp(now.load(Ordering::Relaxed)));
    let in_memory = |clock: &Clock, state: &str| {
        let secret = Secret::new_recovery().unwrap();
        let store = Arc::new(MemoryStore::with_clock(clock.clone()));
        let options = RepositoryOptions::new(dir.join(state)).clock(clock.clone());
        Repository::init(store, &[(&secret, "")], CHEAP, &options).unwrap()
    };
    let repository = in_memory(&clock, "state");
    let path = dir.join("app.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, x)",
    )
    .unwrap();
    // Rows of about 320 bytes, half as long when they are compressed.
    let rows = mib * 3200;
    let text = |n: i64| -> String {
        let word = |i: u8| blake3::hash(format!("{n} {i}").as_bytes()).to_hex().to_string();
        (0..5).map(word).collect()
    };
    app.execute_batch("BEGIN").unwrap();
    for n in 0..rows {
        app.execute("INSERT INTO t(x) VALUES(?1)", [text(n)]).unwrap();
    }
    app.execute_batch("COMMIT").unwrap();
    let options = BackupOptions::default();
    let policy = Policy {
        window: Some(chrono::TimeDelta::hours(24)),
        daily: Some(Periods::Count(7)),
        weekly: Some(Periods::Count(4)),
        monthly: Some(Periods::Count(12)),
        ..Policy::default()
    };
    let began = Instant::now();
    for hour in 0..60 * 24 {
        time.fetch_add(HOUR, Ordering::Relaxed);
        // A little each hour, more each night, a lot each weekend.
        let every = match hour {
            h if h % 168 == 30 => 11,
            h if h % 24 == 2 => 101,
            _ => 9973,
        };
        app.execute_batch("BEGIN").unwrap();
        for id in (hour % every..rows).step_by(usize::try_from(every).unwrap()) {
            app.execute("UPDATE t SET x=?1 WHERE id=?2", rusqlite::params![text(hour + id), id])
                .unwrap();
        }
        app.execute_batch("COMMIT").unwrap();
        repository.backup(&path, &options, &Silent).unwrap();
        if hour % 24 == 22 {
            let history = repository.history("app").unwrap();
            let options = PruneOptions::new(policy.clone(), Zone::Utc);
            history.prune(&options, &Silent).unwrap();
        }
    }
    println!("two months took {:.0} s", began.elapsed().as_secs_f64());
    let fresh = in_memory(&clock, "fresh");
    fresh.backup(&path, &options, &Silent).unwrap();
    let (old, new) = (repository.history("app").unwrap(), fresh.history("app").unwrap());
    let chain = old.chain().unwrap();
    println!("{} restore points, {} segments", chain.commits().count(), chain.segments().len());
    let (mut ratios, mut bytes) = (Vec::new(), Vec::new());
    for round in 0..9 {
        let ((ours, ours_bytes), (theirs, theirs_bytes)) =
            (restored(&old, dir), restored(&new, dir));
        assert!(ours_bytes == theirs_bytes, "the same database");
        bytes.push(ours_bytes.len() >> 20);
        ratios.push(ours.as_secs_f64() / theirs.as_secs_f64());
        println!(
            "round {round}: {} MiB in {:.2} s, of a fresh base {:.2} s: {:.2}",
            bytes[round],
            ours.as_secs_f64(),
            theirs.as_secs_f64(),
            ratios[round]
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2} of a fresh base's time", ratios[ratios.len() / 2]);
}

/// Restores the newest commit of a history, and answers how long that took and the bytes.
fn restored(history: &History, dir: &Path) -> (Duration, Vec<u8>) {
    let target = dir.join("restored.db");
    let began = Instant::now();
    let chain = history.chain().unwrap();
    let commit = chain.latest().unwrap();
    RestorePoint::of(history, &chain, &commit)
        .restore(&target, &RestoreOptions::default(), &Silent)
        .unwrap();
    let took = began.elapsed();
    let bytes = fs::read(&target).unwrap();
    fs::remove_file(target).unwrap();
    (took, bytes)
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
