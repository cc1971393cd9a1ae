//! The hostile application: processes that write, roll back, vacuum, checkpoint in every mode, open and close, two of them through an
//! older SQLite, while the follower runs. Nothing may be lost: every change of generation is proven, as many commits are captured as the
//! wal-index counts, and at random moments, under the write lock, the head equals the database byte for byte.
//!
//! `PAGEKEEP_HOSTILE_SECONDS` makes it longer; `cargo test --test hostile -- --nocapture` shows the figures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Lab, noise, reference, restored_raw};
use pagekeep::capture::follow::{Activity, Event, FollowOptions, Listener};
use pagekeep::ops::follow::{WatchOptions, follow};
use pagekeep::progress::Monitor;
use rusqlite::Connection;

const PATIENCE: Duration = Duration::from_secs(120);
/// Set for the application's own processes.
const ROLE: &str = "PAGEKEEP_HOSTILE_DATABASE";
const WAL_LIMIT: u64 = 16 * 1024 * 1024;

/// Tells what goes wrong.
struct Ear;

impl Monitor for Ear {}

impl Listener for Ear {
    fn event(&self, event: &Event) {
        if !matches!(event, Event::Published { .. }) {
            println!("{event:?}");
        }
    }
}

/// A process of the application.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Sends a line, and waits for the one that answers it.
    fn ask(&mut self, expected: &str) {
        self.input.as_mut().unwrap().write_all(b"go\n").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), expected);
    }

    /// Lets it end, and answers what it printed.
    fn end(mut self) -> String {
        drop(self.input.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "{text}");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn python() -> Command {
    let name = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    Command::new(name)
}

fn in_python(path: &Path, seed: &str) -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/application.py");
    Process::start(python().arg(script).arg(path).arg(seed))
}

/// The count of commits in the wal-index, read by a process that does not have the database open: opening the file in one that has
/// would drop its locks.
fn count_of_commits(path: &Path) -> u32 {
    let shm = format!("{}-shm", path.display());
    let output = Command::new("od").args(["-An", "-tu4", "-j8", "-N4", &shm]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The bytes of the database while its write lock is held, copied by other processes for the same reason.
fn copy_of(path: &Path, to: &Path) -> Vec<u8> {
    // The database first: what a checkpoint moves meanwhile is in the WAL all the same.
    for suffix in ["", "-wal"] {
        let (from, to) =
            (format!("{}{suffix}", path.display()), format!("{}{suffix}", to.display()));
        assert!(Command::new("cp").args([&from, &to]).status().unwrap().success());
    }
    reference(to)
}

/// The pages in which two images differ.
fn differing(a: &[u8], b: &[u8], page_size: usize) -> Vec<usize> {
    let pages = a.len().max(b.len()).div_ceil(page_size);
    let page =
        |bytes: &[u8], n: usize| bytes.get(n * page_size..(n + 1) * page_size).map(<[u8]>::to_vec);
    (0..pages).filter(|n| page(a, *n) != page(b, *n)).map(|n| n + 1).collect()
}

#[test]
fn nothing_is_lost_whatever_the_application_does() {
    let seconds: u64 = std::env::var("PAGEKEEP_HOSTILE_SECONDS").map_or(20, |s| s.parse().unwrap());
    let lab = Lab::quick();
    let path = lab.path("app.db");
    {
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size=1024; PRAGMA journal_mode=WAL;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x, y); CREATE INDEX t_y ON t(y);",
        )
        .unwrap();
    }
    let options = WatchOptions {
        follow: FollowOptions {
            interval: Duration::from_millis(300),
            wal_limit: WAL_LIMIT,
            ..FollowOptions::default()
        },
        ..WatchOptions::default()
    };
    let (history, follower) = follow(&lab.repository, &path, options, Arc::new(Ear)).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    let first = count_of_commits(&path);

    let mut writers = vec![in_python(&path, "1"), in_python(&path, "2")];
    let this = std::env::current_exe().unwrap();
    writers.push(Process::start(
        Command::new(&this).args(["--exact", "application", "--nocapture"]).env(ROLE, &path),
    ));
    let mut auditor = in_python(&path, "hold");
    let (began, mut audits, mut largest) = (Instant::now(), 0, 0);
    let mut random = 1u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pause = Instant::now() + Duration::from_millis(100 + (random >> 33) % 400);
        while Instant::now() < pause {
            let wal = std::fs::metadata(format!("{}-wal", path.display())).unwrap().len();
            largest = largest.max(wal);
            std::thread::sleep(Duration::from_millis(5));
        }
        auditor.ask("locked");
        let seq = follower.wait_durable(PATIENCE).unwrap();
        let expected = copy_of(&path, &lab.path("copy.db"));
        auditor.ask("released");
        let chain = history.chain().unwrap();
        assert_eq!(chain.latest().unwrap().seq, seq);
        let found = restored_raw(&history, &chain, seq.0, lab.dir.path()).unwrap();
        let pages = differing(&found, &expected, 1024);
        assert!(pages.is_empty(), "commit {seq} differs in pages {pages:?}");
        audits += 1;
    }
    let texts: Vec<String> = writers.into_iter().map(Process::end).collect();
    let seq = follower.wait_durable(PATIENCE).unwrap();
    let status = follower.status();
    let counted = count_of_commits(&path).wrapping_sub(first);
    auditor.end();

    let mut locks = follower.lock_times();
    locks.sort_unstable();
    let mut truncates: Vec<u64> = texts
        .iter()
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("truncates")))
        .flat_map(|times| times.split_whitespace().map(|t| t.parse().unwrap()))
        .collect();
    truncates.sort_unstable();
    println!("{:?}", status.wal);
    println!(
        "{audits} audits, head seq:{seq}, {} bytes stored, WAL at most {largest}",
        status.stored
    );
    println!(
        "write lock held by handoffs: p99 {:?}, worst {:?}",
        locks.get(locks.len() * 99 / 100),
        locks.last()
    );
    println!(
        "{} TRUNCATE checkpoints: median {:?} us, p99 {:?} us, worst {:?} us",
        truncates.len(),
        truncates.get(truncates.len() / 2),
        truncates.get(truncates.len() * 99 / 100),
        truncates.last()
    );
    for text in &texts {
        println!("{}", text.lines().find(|l| l.starts_with("done")).unwrap_or(""));
    }
    assert_eq!((status.scans, status.activity), (0, Activity::Following));
    assert_eq!(status.wal.commits, u64::from(counted));
    assert_eq!(status.published, status.wal.commits);
    assert!(status.wal.generations > seconds, "{:?}", status.wal);
    assert!(audits > 5);
    follower.stop().unwrap();
    let chain = history.chain().unwrap();
    assert_eq!(chain.commits().count() as u64, status.published + 1);
}

/// The role of the third process: the application with the newest SQLite. As a test of its own it does nothing.
#[test]
fn application() {
    let Ok(path) = std::env::var(ROLE) else { return };
    let stop = std::thread::spawn(|| {
        let mut rest = String::new();
        let _ = std::io::stdin().read_to_string(&mut rest);
    });
    let open = || {
        let db = Connection::open(&path).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db.execute_batch("PRAGMA synchronous=OFF; PRAGMA cache_size=20").unwrap();
        db
    };
    let mut db = open();
    let mut truncates = Vec::new();
    let (mut done, mut busy) = (0u64, 0u64);
    for n in 0u64.. {
        if stop.is_finished() {
            break;
        }
        let (pick, key) = (noise(n + 77, 8)[7] % 64, i64::try_from(n % 1000).unwrap());
        let worked = match pick {
            0..30 => {
                db.execute("INSERT INTO t(x, y) VALUES(?1, ?2)", (noise(n, 300), key)).map(|_| ())
            }
            30..40 => db.execute("DELETE FROM t WHERE y=?1", [key]).map(|_| ()),
            40..46 => db.execute_batch("BEGIN IMMEDIATE; DELETE FROM t; ROLLBACK"),
            46..50 => db.execute_batch("BEGIN; UPDATE t SET y=y+1 WHERE y<50; COMMIT"),
            50..52 => db.execute_batch("PRAGMA incremental_vacuum(20)"),
            52 => db.execute_batch("VACUUM"),
            53..56 => {
                let began = Instant::now();
                let ran = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
                truncates.push(began.elapsed().as_micros());
                ran
            }
            56..58 => db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())),
            58 => {
                db = open();
                Ok(())
            }
            _ => {
                std::thread::sleep(Duration::from_millis(2));
                Ok(())
            }
        };
        done += 1;
        if let Err(e) = worked {
            assert!(e.to_string().contains("locked"), "{e}");
            busy += 1;
            if !db.is_autocommit() {
                db.execute_batch("ROLLBACK").unwrap();
            }
        }
    }
    // The test harness has put its own words on the line that is under way.
    println!("\ndone {done} busy {busy}");
    let times: Vec<String> = truncates.iter().map(u128::to_string).collect();
    println!("truncates {}", times.join(" "));
}
