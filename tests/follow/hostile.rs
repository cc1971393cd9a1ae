//! A hostile application: several processes, through two versions of SQLite, write, roll back, spill, vacuum, checkpoint in every mode,
//! open and close one database without regard for each other, while it is followed.
//!
//! What must hold: nothing is lost and nothing is scanned again; as many commits are captured as the wal-index counts; and at random moments,
//! while the write lock is held, the head is the database, page by page. How long anybody had to wait for the follower
//! is printed, and bounded loosely: a machine may be busy with other things.
//!
//! `PAGEKEEP_HOSTILE_GENERATIONS` makes it go on until so many generations of the WAL have passed, `PAGEKEEP_HOSTILE_SEED` makes
//! the applications act otherwise.

mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::dice::{Dice, number};
use crate::support::followed::Ear;
use crate::support::process::{Process, python};
use crate::support::{Lab, heavy, restored_raw};
use pagekeep::internals::capture::follow::{Activity, FollowOptions, Follower};
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::types::Seq;
use rusqlite::Connection;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);
/// The WAL's limit: low, so that it is met.
const WAL_LIMIT: u64 = 16 * 1024 * 1024;

/// One of the writing processes; without a database it has nothing to do.
#[test]
#[ignore = "a role that the other tests start in processes of their own"]
fn role_writer() {
    if let Some(path) = std::env::var_os("PAGEKEEP_ROLE_DATABASE") {
        writer::write_until_told(Path::new(&path), number("PAGEKEEP_ROLE_SEED", 0));
    }
}

/// A process that never pauses.
#[test]
#[ignore = "a role that the other tests start in processes of their own"]
fn role_flood() {
    if let Some(path) = std::env::var_os("PAGEKEEP_ROLE_DATABASE") {
        writer::flood(Path::new(&path), number("PAGEKEEP_ROLE_SEED", 0));
    }
}

/// What is measured on the way.
#[derive(Default)]
struct Findings {
    judged: u64,
    /// Pages of the freelist that differed.
    free: u64,
    wal_max: u64,
}

struct Scene<'l> {
    lab: &'l Lab,
    path: PathBuf,
    history: History,
    follower: Follower,
    ear: Arc<Ear>,
    judge: Process,
    findings: Findings,
}

impl Scene<'_> {
    /// While the write lock is held, everything is made durable; then the head must be what the lock's holder sees.
    fn compare(&mut self) {
        assert_eq!(self.judge.ask("lock"), "locked");
        let seq = self.follower.wait_durable(PATIENCE).unwrap();
        let image = self.lab.path("image.db");
        let free: Vec<u32> =
            serde_json::from_str(&self.judge.ask(&format!("image {}", image.display()))).unwrap();
        assert_eq!(self.judge.ask("unlock"), "unlocked");
        self.check(seq, &std::fs::read(&image).unwrap(), &free);
        self.findings.judged += 1;
    }

    fn check(&mut self, seq: Seq, expected: &[u8], free: &[u32]) {
        let chain = self.history.chain().unwrap();
        let found = restored_raw(&self.history, &chain, seq.0, self.lab.dir.path()).unwrap();
        assert_eq!(found.len(), expected.len(), "bytes at commit {seq}");
        for (page, (found, expected)) in
            (1u32..).zip(found.chunks_exact(4096).zip(expected.chunks_exact(4096)))
        {
            if found != expected {
                let kind = chain.commit(seq).unwrap().record.kind;
                println!(
                    "commit {seq} ({kind:?}): page {page} differs, free: {}",
                    free.contains(&page)
                );
                assert!(free.contains(&page), "page {page} of commit {seq}");
                self.findings.free += 1;
            }
        }
    }

    fn look(&mut self) {
        let wal = PathBuf::from(format!("{}-wal", self.path.display()));
        let bytes = std::fs::metadata(wal).map_or(0, |meta| meta.len());
        self.findings.wal_max = self.findings.wal_max.max(bytes);
        let status = self.follower.status();
        let found = (status.activity, status.scans);
        assert_eq!(found, (Activity::Following, 0), "{:?}", self.ear.heard());
    }
}

#[test]
fn nothing_is_lost_to_a_hostile_application() {
    let _heavy = heavy();
    let (Some(mut judge), Some(mut looker), Some(mut python)) = (python(), python(), python())
    else {
        return;
    };
    let wanted = number("PAGEKEEP_HOSTILE_GENERATIONS", 200);
    let seed = number("PAGEKEEP_HOSTILE_SEED", 1);
    let lab = Lab::quick();
    let path = lab.path("app.db");
    begin(&path);
    let ear = Arc::new(Ear::default());
    let options = WatchOptions {
        follow: FollowOptions {
            interval: Duration::from_millis(20),
            wal_limit: WAL_LIMIT,
            ..FollowOptions::default()
        },
        ..WatchOptions::default()
    };
    let (history, follower) = lab.repository.follow(&path, options, ear.clone()).unwrap();
    let judge = Process::start(judge.arg("judge").arg(&path));
    let findings = Findings::default();
    let mut scene = Scene { lab: &lab, path, history, follower, ear, judge, findings };
    scene.follower.wait_durable(PATIENCE).unwrap();
    let mut looker = Process::start(looker.arg("look").arg(&scene.path));
    let count = |looker: &mut Process| looker.ask("").parse::<u32>().unwrap();
    let before = count(&mut looker);

    let began = Instant::now();
    let mut writers = vec![
        Process::start(python.arg("write").arg(&scene.path).arg(seed.to_string())),
        Process::role("hostile::role_writer", &scene.path, seed + 1),
        Process::role("hostile::role_writer", &scene.path, seed + 2),
    ];
    let mut dice = Dice::new(seed);
    while scene.follower.status().wal.generations < wanted || scene.findings.judged < 20 {
        std::thread::sleep(Duration::from_millis(dice.below(150)));
        scene.look();
        if dice.one_in(2) {
            scene.compare();
        }
        assert!(!writers.iter_mut().any(Process::has_ended), "a writer gave up");
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(wanted), "too few generations");
    }
    let ends: Vec<String> = writers.into_iter().map(Process::end).collect();
    scene.compare();
    scene.look();
    let committed = count(&mut looker).wrapping_sub(before);
    looker.end();
    report(&scene, &ends, committed, began.elapsed());

    let status = scene.follower.status();
    assert_eq!(status.wal.commits, u64::from(committed), "commits captured, and committed");
    assert_eq!((status.wal.rebuilt, status.fault), (0, None));
    // Beyond the limit come a few large transactions and vacuums, until a handoff finds its moment; on a busy machine more of them.
    assert!(scene.findings.wal_max < 4 * WAL_LIMIT, "the WAL grew to {}", scene.findings.wal_max);
    scene.follower.stop().unwrap();
}

#[test]
fn the_wal_is_bounded_under_a_load_that_never_pauses() {
    let _heavy = heavy();
    let seconds = number("PAGEKEEP_HOSTILE_FLOOD_SECONDS", 4);
    let writers = number("PAGEKEEP_HOSTILE_FLOOD_WRITERS", 2);
    let micros = number("PAGEKEEP_HOSTILE_FLOOD_MICROS", 250);
    let lab = if number("PAGEKEEP_HOSTILE_DISK", 0) == 0 { Lab::quick() } else { Lab::new() };
    let path = lab.path("app.db");
    begin(&path);
    let options = WatchOptions {
        follow: FollowOptions { wal_limit: WAL_LIMIT, ..FollowOptions::default() },
        ..WatchOptions::default()
    };
    let (_, follower) = lab.repository.follow(&path, options, Arc::new(Ear::default())).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    let floods: Vec<Process> =
        (0..writers).map(|_| Process::role("hostile::role_flood", &path, micros)).collect();
    let began = Instant::now();
    let mut wal_max = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let wal = std::fs::metadata(lab.path("app.db-wal")).map_or(0, |meta| meta.len());
        wal_max = wal_max.max(wal);
        std::thread::sleep(Duration::from_millis(5));
    }
    let said: Vec<String> = floods.into_iter().map(Process::end).collect();
    follower.wait_durable(PATIENCE).unwrap();
    let status = follower.status();
    let mut locks: Vec<f64> =
        follower.lock_times().iter().map(|t| t.as_secs_f64() * 1000.0).collect();
    locks.sort_by(f64::total_cmp);
    let lines = said.iter().flat_map(|said| said.lines());
    for line in lines.filter(|line| line.ends_with("transactions")) {
        println!("a flood: {line}");
    }
    println!(
        "{} commits, {} generations, {} handoffs; WAL at most {} KiB, its limit {} KiB; write lock held {} times: \
         median {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        status.wal.commits,
        status.wal.generations,
        status.wal.handoffs,
        wal_max / 1024,
        WAL_LIMIT / 1024,
        locks.len(),
        quantile(&locks, 500),
        quantile(&locks, 990),
        quantile(&locks, 1000)
    );
    assert_eq!(status.scans, 0);
    assert!(wal_max < 2 * WAL_LIMIT, "the WAL grew to {wal_max}");
    assert!(status.wal.handoffs > 0);
    follower.stop().unwrap();
}

/// A database in WAL mode, with something in it.
fn begin(path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;
         CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b); CREATE INDEX i ON t(a);
         INSERT INTO t(a, b) VALUES(1, 'first')",
    )
    .unwrap();
}

/// The value below which so many of a thousand are.
fn quantile(sorted: &[f64], mille: usize) -> f64 {
    sorted.get(sorted.len().saturating_sub(1) * mille / 1000).copied().unwrap_or_default()
}

fn report(scene: &Scene<'_>, ends: &[String], committed: u32, took: Duration) {
    let status = scene.follower.status();
    let mut truncates = Vec::new();
    for end in ends {
        let line = end.lines().rfind(|line| line.starts_with('{')).expect("what a writer says");
        let said: serde_json::Value = serde_json::from_str(line).unwrap();
        println!("a writer: {}", said["counts"]);
        truncates.extend(said["truncates"].as_array().unwrap().iter().filter_map(|v| v.as_f64()));
    }
    truncates.sort_by(f64::total_cmp);
    let mut locks: Vec<f64> =
        scene.follower.lock_times().iter().map(|t| t.as_secs_f64() * 1000.0).collect();
    locks.sort_by(f64::total_cmp);
    let wal = status.wal;
    println!(
        "{took:.1?}: {committed} commits, {} frames, {} generations, {} handoffs, {} yields, {} scans",
        wal.frames, wal.generations, wal.handoffs, wal.yields, status.scans
    );
    println!(
        "{} comparisons, {} free pages differed; WAL at most {} KiB",
        scene.findings.judged,
        scene.findings.free,
        scene.findings.wal_max / 1024
    );
    println!(
        "write lock held {} times: median {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        locks.len(),
        quantile(&locks, 500),
        quantile(&locks, 990),
        quantile(&locks, 1000)
    );
    println!(
        "TRUNCATE {} times: median {:.1} ms, p99 {:.1} ms, at most {:.1} ms",
        truncates.len(),
        quantile(&truncates, 500),
        quantile(&truncates, 990),
        quantile(&truncates, 1000)
    );
}
