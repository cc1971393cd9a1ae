//! What following costs: its processor time for each commit, the application's throughput and commit latency with and without
//! it, the lag, an idle follower's processor time, and the stored bytes of keeping every transaction.
//!
//! `cargo bench --bench follow -- price [--seconds 4] [--rounds 3]`, `-- beside`, `-- footprint`, `-- lag`, `-- idle`, `-- cost`;
//! without a word, all of them. `price` and `beside` need Python, whose SQLite writes, and follow with the program.
//! The application is a process of its own. Rounds with and without a follower alternate, and ratios are of one run, since
//! machines are noisy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    missing_docs
)]

#[path = "follow/price.rs"]
mod price;

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use pagekeep::internals::capture::follow::{Event, FollowOptions, Follower, Listener};
use pagekeep::internals::format::slot::KdfParams;
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::progress::{Monitor, Silent};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::create_store;
use pagekeep::internals::types::Timestamp;
use rusqlite::{Connection, params};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The first argument of the application's process.
const WRITER: &str = "--writer";
/// Seconds before it is measured.
const WARM: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // A test run of all targets: there is nothing to test in a measurement.
    if arguments.is_empty() {
        return;
    }
    if arguments[0] == WRITER {
        return write(&arguments[1..]).unwrap();
    }
    if arguments[0] == price::HOG {
        return price::compute();
    }
    arguments.retain(|argument| argument != "--bench");
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|a| a == name);
        at.map_or(default, |i| arguments[i + 1].parse().expect("a number"))
    };
    let (seconds, rounds) = (number("--seconds", 4), number("--rounds", 3));
    let chosen = |word: &str| {
        let words = ["price", "beside", "footprint", "lag", "idle", "cost"];
        arguments.iter().any(|a| a == word)
            || !arguments.iter().any(|a| words.contains(&a.as_str()))
    };
    if chosen("price") {
        price::price(seconds, rounds).unwrap();
    }
    if chosen("beside") {
        price::beside(seconds, rounds).unwrap();
    }
    if chosen("footprint") {
        footprint(seconds, rounds).unwrap();
    }
    if chosen("lag") {
        lag(seconds).unwrap();
    }
    if chosen("idle") {
        idle(seconds.max(10)).unwrap();
    }
    if chosen("cost") {
        cost().unwrap();
    }
}

/// A repository and a database in a folder on disk.
struct Lab {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Lab {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let store = create_store(&dir.path().join("repo").display().to_string())?;
        let secret = Secret::new_recovery()?;
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let state = dir.path().join("state");
        let repository =
            Repository::init(store, &[(&secret, "")], kdf, &RepositoryOptions::new(state))?;
        let lab = Self { dir, repository };
        let db = lab.connect()?;
        db.execute_batch(
            "PRAGMA journal_mode=WAL;
             CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, seen INT);
             CREATE TABLE entry(id INTEGER PRIMARY KEY, customer INT, cents INT, note TEXT);
             CREATE INDEX entry_by_customer ON entry(customer);
             BEGIN;",
        )?;
        for n in 0..20_000 {
            db.execute(
                "INSERT INTO customer VALUES(?1, ?2, 0)",
                params![n, format!("customer {n}")],
            )?;
            db.execute(
                "INSERT INTO entry(customer, cents, note) VALUES(?1, ?2, ?3)",
                params![n, n * 7, format!("opening balance of customer {n}, carried over")],
            )?;
        }
        db.execute_batch("COMMIT")?;
        Ok(lab)
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("app.db")
    }

    fn connect(&self) -> Result<Connection> {
        let db = Connection::open(self.path())?;
        db.busy_timeout(Duration::from_secs(10))?;
        Ok(db)
    }

    fn follow(&self, interval: Duration, ear: Arc<Ear>) -> Result<Follower> {
        let options = WatchOptions {
            follow: FollowOptions { interval, ..FollowOptions::default() },
            ..WatchOptions::default()
        };
        let (_, follower) = self.repository.follow(&self.path(), options, ear)?;
        follower.wait_durable(PATIENCE)?;
        Ok(follower)
    }
}

/// One single-row transaction: mostly inserts, some updates.
fn transact(db: &Connection, n: u64) -> rusqlite::Result<()> {
    let n = i64::try_from(n).unwrap_or(0);
    let customer = n.wrapping_mul(7919) % 20_000;
    if n % 3 == 0 {
        db.prepare_cached("UPDATE customer SET seen=seen+1 WHERE id=?1")?.execute([customer])?;
    } else {
        db.prepare_cached("INSERT INTO entry(customer, cents, note) VALUES(?1, ?2, ?3)")?.execute(
            params![
                customer,
                n % 10_000,
                format!("order {n}, to be delivered on the {}th", n % 28)
            ],
        )?;
    }
    Ok(())
}

/// The application: transactions for so many seconds, as fast as it can or at a rate; prints the moment and the duration of each in
/// microseconds.
fn write(arguments: &[String]) -> Result<()> {
    let db = Connection::open(&arguments[0])?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.execute_batch(&format!("PRAGMA synchronous={}", arguments[1]))?;
    let seconds: u64 = arguments[2].parse()?;
    let rate: u32 = arguments[3].parse()?;
    let began = Instant::now();
    let mut times = Vec::new();
    for n in 0.. {
        if began.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        let before = Instant::now();
        transact(&db, n)?;
        times.push((Timestamp::now().0, before.elapsed().as_micros()));
        if rate > 0 {
            std::thread::sleep(Duration::from_secs(1) / rate);
        }
    }
    for (moment, took) in times {
        println!("{moment} {took}");
    }
    Ok(())
}

/// Runs the application, and answers when each commit returned and how long it took.
fn run_writer(path: &Path, synchronous: &str, seconds: u64, rate: u32) -> Result<Vec<(i64, u64)>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([WRITER, &path.display().to_string(), synchronous])
        .args([seconds.to_string(), rate.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut text = String::new();
    child.stdout.take().ok_or("no output")?.read_to_string(&mut text)?;
    if !child.wait()?.success() {
        return Err("the application failed".into());
    }
    let parse = |line: &str| -> Result<(i64, u64)> {
        let (moment, took) = line.split_once(' ').ok_or("no pair")?;
        Ok((moment.parse()?, took.parse()?))
    };
    text.lines().map(parse).collect()
}

fn percentile<T: Copy + Ord + Default>(values: &mut [T], percent: usize) -> T {
    if values.is_empty() {
        return T::default();
    }
    values.sort_unstable();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    let time =
        |t: nix::sys::time::TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000);
    time(usage.user_time()) + time(usage.system_time())
}

fn footprint(seconds: u64, rounds: u64) -> Result<()> {
    println!(
        "one writer of single-row transactions, as fast as it can; {rounds} rounds of {seconds} s each way"
    );
    for synchronous in ["NORMAL", "FULL"] {
        let (mut locks, mut handoffs) = (Vec::new(), 0);
        let (mut alone, mut followed) = (Vec::new(), Vec::new());
        let (mut slow, mut slow_followed) = (Vec::new(), Vec::new());
        let mut used = Vec::new();
        for _ in 0..rounds {
            // The first seconds extend the WAL, which is slow to sync; an application that has run for a while overwrites it.
            let lab = Lab::new()?;
            run_writer(&lab.path(), synchronous, WARM, 0)?;
            let times = run_writer(&lab.path(), synchronous, seconds, 0)?;
            alone.push(times.len() as u64 / seconds);
            slow.extend(times.iter().map(|t| t.1));
            let lab = Lab::new()?;
            let follower = lab.follow(Duration::from_secs(1), Arc::default())?;
            let mut all = run_writer(&lab.path(), synchronous, WARM, 0)?.len();
            let before = cpu();
            let times = run_writer(&lab.path(), synchronous, seconds, 0)?;
            used.push(((cpu() - before).as_millis() as u64) / (seconds * 10));
            follower.wait_durable(PATIENCE)?;
            let status = follower.status();
            all += times.len();
            assert_eq!((status.scans, status.published), (0, all as u64));
            locks.extend(follower.lock_times());
            handoffs += status.wal.handoffs;
            follower.stop()?;
            followed.push(times.len() as u64 / seconds);
            slow_followed.extend(times.iter().map(|t| t.1));
        }
        let (a, f) = (percentile(&mut alone, 50), percentile(&mut followed, 50));
        println!(
            "synchronous={synchronous}: {a} transactions/s alone, {f} followed, ratio {:.3}; follower {}% of a core",
            f as f64 / a as f64,
            percentile(&mut used, 50),
        );
        println!(
            "  {handoffs} handoffs, write lock held {:?} (p50), {:?} (p99)",
            percentile(&mut locks, 50),
            percentile(&mut locks, 99),
        );
        for percent in [50, 99] {
            println!(
                "  commit p{percent}: {} us alone, {} us followed",
                percentile(&mut slow, percent),
                percentile(&mut slow_followed, percent),
            );
        }
    }
    Ok(())
}

/// When commits were captured, and when they were durable.
#[derive(Default)]
struct Ear(Mutex<Vec<(i64, i64)>>);

impl Monitor for Ear {}

impl Listener for Ear {
    fn event(&self, event: &Event) {
        if let Event::Published { commits, .. } = event {
            let now = Timestamp::now().0;
            self.0.lock().unwrap().extend(commits.iter().map(|c| (c.time.0, now)));
        }
    }
}

fn lag(seconds: u64) -> Result<()> {
    for rate in [20, 200, 2000] {
        let lab = Lab::new()?;
        let ear = Arc::new(Ear::default());
        let follower = lab.follow(Duration::ZERO, ear.clone())?;
        ear.0.lock().unwrap().clear();
        let times = run_writer(&lab.path(), "NORMAL", seconds, rate)?;
        follower.wait_durable(PATIENCE)?;
        follower.stop()?;
        let heard = ear.0.lock().unwrap().clone();
        assert_eq!(heard.len(), times.len());
        let pairs = times.iter().zip(&heard);
        // A commit may be captured before it has returned to the application.
        let mut captured: Vec<i64> = pairs.clone().map(|(t, h)| (h.0 - t.0).max(0)).collect();
        let mut durable: Vec<i64> = pairs.map(|(t, h)| (h.1 - t.0).max(0)).collect();
        println!(
            "interval 0, about {} transactions/s: captured after {} us (p50), {} us (p99); durable after {} us (p50), {} us (p99)",
            times.len() as u64 / seconds,
            percentile(&mut captured, 50),
            percentile(&mut captured, 99),
            percentile(&mut durable, 50),
            percentile(&mut durable, 99),
        );
    }
    Ok(())
}

fn idle(seconds: u64) -> Result<()> {
    let lab = Lab::new()?;
    let application = lab.connect()?;
    let follower = lab.follow(Duration::from_secs(1), Arc::default())?;
    // Until it has handed the WAL off.
    std::thread::sleep(Duration::from_secs(5));
    let before = cpu();
    std::thread::sleep(Duration::from_secs(seconds));
    let used = cpu() - before;
    println!(
        "idle: {:.3}% of a core over {seconds} s",
        used.as_secs_f64() / seconds as f64 * 100.0
    );
    follower.stop()?;
    drop(application);
    Ok(())
}

/// Bytes of all segments that came after the first.
fn stored(repository: &Repository) -> Result<(u64, usize)> {
    let chain = repository.history("app")?.chain()?;
    let bytes = chain.segments().iter().skip(1).map(|s| s.stored_len()).sum();
    Ok((bytes, chain.commits().count() - 1))
}

fn cost() -> Result<()> {
    println!("10,000 single-row transactions: every transaction kept, against one commit a second");
    for rate in [1u64, 10, 50, 100, 1000] {
        let every = Lab::new()?;
        let db = every.connect()?;
        // Publishes when it is told to: once for each second's worth of transactions.
        let follower = every.follow(Duration::from_secs(3600), Arc::default())?;
        for n in 0..10_000 {
            transact(&db, n)?;
            if (n + 1).is_multiple_of(rate) {
                follower.wait_durable(PATIENCE)?;
            }
        }
        follower.stop()?;
        let each = Lab::new()?;
        let db = each.connect()?;
        let take = || each.repository.backup(&each.path(), &BackupOptions::default(), &Silent);
        take()?;
        for n in 0..10_000 {
            transact(&db, n)?;
            if (n + 1).is_multiple_of(rate) {
                take()?;
            }
        }
        let ((a, commits), (b, few)) = (stored(&every.repository)?, stored(&each.repository)?);
        println!(
            "  {rate:>4} transactions/s: {commits} commits in {a} bytes, {few} commits in {b} bytes, ratio {:.2}",
            a as f64 / b as f64
        );
    }
    Ok(())
}
