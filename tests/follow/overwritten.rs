//! The database file is overwritten by something that is no SQLite: copied over in place, written into, cut, made longer. No commit mixes
//! two files, and what SQLite reads then becomes a commit of its own.
//!
//! `PAGEKEEP_OVERWRITES` says how many overwrites there are (200), `PAGEKEEP_OVERWRITE_SEED` brings a run back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::dice::{Dice, number};
use crate::support::followed::{Ear, PATIENCE, app, at_once, start};
use crate::support::{Lab, heavy, restored_raw};
use pagekeep::internals::capture::follow::{Event, Follower};
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::history::handle::History;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

/// What SQLite reads of a database that others have open, byte for byte but for what a copy changes in the header; `None` if it can't.
fn live(path: &Path) -> Option<Vec<u8>> {
    let copy = path.with_extension("live");
    let _ = fs::remove_file(&copy);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let from = Connection::open_with_flags(path, flags).ok()?;
    let mut to = Connection::open(&copy).unwrap();
    Backup::new(&from, &mut to).ok()?.run_to_completion(i32::MAX, Duration::ZERO, None).ok()?;
    drop(to);
    Some(bare(fs::read(&copy).unwrap()))
}

/// Without the journal mode, the change counter, and the version of SQLite.
fn bare(mut bytes: Vec<u8>) -> Vec<u8> {
    for range in [18..20, 24..28, 92..100] {
        bytes[range].fill(0);
    }
    bytes
}

fn newest(history: &History, dir: &Path) -> Vec<u8> {
    let chain = history.chain().unwrap();
    bare(restored_raw(history, &chain, chain.latest().unwrap().seq.0, dir).unwrap())
}

/// As `cp` does: the same file, cut and written anew.
fn copy_over(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A database of some pages, and a copy of an earlier state of it.
fn with_past(path: &Path) -> (Connection, Vec<u8>) {
    let app = app(path);
    app.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200)
         INSERT INTO t(x) SELECT printf('%0500d', 11) FROM n; PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    let past = fs::read(path).unwrap();
    app.execute_batch("UPDATE t SET x=printf('%0500d', 22); PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    (app, past)
}

fn scans(ear: &Ear) -> usize {
    ear.count(|e| matches!(e, Event::Scan { reason } if reason.contains("overwritten")))
}

#[test]
fn a_file_that_is_copied_over_while_it_is_followed_is_noticed_before_anything_is_acknowledged() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let (app, past) = with_past(&path);
    drop(app);
    let (follower, ear) = start(&lab.repository, &path, at_once());
    follower.wait_durable(PATIENCE).unwrap();
    copy_over(&path, &past);
    let app = Connection::open(&path).unwrap();
    app.execute("UPDATE t SET x=printf('%0500d', 33) WHERE id=200", ()).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    let history = lab.repository.history("app").unwrap();
    assert!(newest(&history, lab.dir.path()) == live(&path).unwrap());
    assert_eq!(scans(&ear), 1, "{:?}", ear.heard());
    // Then it goes on, transaction by transaction.
    for _ in 0..3 {
        app.execute("UPDATE t SET x=x+1 WHERE id<9", ()).unwrap();
        follower.wait_durable(PATIENCE).unwrap();
    }
    assert!(newest(&history, lab.dir.path()) == live(&path).unwrap());
    assert_eq!(scans(&ear), 1, "{:?}", ear.heard());
    follower.stop().unwrap();
}

#[test]
fn a_file_that_is_copied_over_between_two_backups_is_read_whole() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let (app, past) = with_past(&path);
    app.execute("UPDATE t SET x=1 WHERE id=1", ()).unwrap();
    let options = BackupOptions::default();
    let take = || lab.repository.backup(&path, &options, &Silent).unwrap();
    take();
    let history = lab.repository.history("app").unwrap();
    // Nothing new in the WAL, and then a new frame.
    for (sql, kind) in [("", CommitKind::Scan), ("UPDATE t SET x=2 WHERE id=21", CommitKind::Wal)] {
        // The second time every page that differs has a newer frame.
        copy_over(&path, &past);
        let fresh = Connection::open(&path).unwrap();
        fresh.execute_batch(sql).unwrap();
        take();
        assert!(newest(&history, lab.dir.path()) == live(&path).unwrap(), "{sql:?}");
        let chain = history.chain().unwrap();
        assert_eq!(chain.latest().unwrap().record.kind, kind, "{sql:?}");
        app.execute_batch("UPDATE t SET x=printf('%0500d', 44) WHERE id>20").unwrap();
        take();
    }
}

#[test]
fn a_file_that_is_copied_over_while_nobody_follows_is_read_whole() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let (app, past) = with_past(&path);
    let (follower, _) = start(&lab.repository, &path, at_once());
    app.execute("UPDATE t SET x=1 WHERE id=1", ()).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    follower.stop().unwrap();
    copy_over(&path, &past);
    let (follower, ear) = start(&lab.repository, &path, at_once());
    follower.wait_durable(PATIENCE).unwrap();
    let history = lab.repository.history("app").unwrap();
    assert!(newest(&history, lab.dir.path()) == live(&path).unwrap());
    assert_eq!(scans(&ear), 1, "{:?}", ear.heard());
    follower.stop().unwrap();
    // Where nobody overwrote it, nothing is scanned.
    app.execute("UPDATE t SET x=2 WHERE id=1", ()).unwrap();
    let (follower, ear) = start(&lab.repository, &path, at_once());
    follower.wait_durable(PATIENCE).unwrap();
    assert_eq!(scans(&ear), 0, "{:?}", ear.heard());
    follower.stop().unwrap();
}

/// An enemy of the file, beside an application that writes and checkpoints in every way.
struct Enemy {
    dice: Dice,
    path: PathBuf,
    /// Sound states of the database, whole in the file.
    past: Vec<Vec<u8>>,
}

impl Enemy {
    fn overwrite(&mut self) -> String {
        let len = fs::metadata(&self.path).unwrap().len();
        let page = 4096;
        let pages = (len / page).max(1);
        let which = usize::try_from(self.dice.below(self.past.len() as u64)).unwrap();
        match self.dice.below(16) {
            0..8 => {
                copy_over(&self.path, &self.past[which]);
                format!("copied state {which} over it")
            }
            8..13 => {
                // As `rsync --inplace` does: only what differs, and the length.
                let past = &self.past[which];
                let file = OpenOptions::new().write(true).open(&self.path).unwrap();
                let now = fs::read(&self.path).unwrap();
                for (n, content) in past.chunks(4096).enumerate() {
                    if now.get(n * 4096..n * 4096 + content.len()) != Some(content) {
                        file.write_all_at(content, n as u64 * page).unwrap();
                    }
                }
                file.set_len(past.len() as u64).unwrap();
                format!("wrote the differences of state {which} into it")
            }
            13 => {
                let (at, past) = (self.dice.below(pages), &self.past[which]);
                let from = usize::try_from(at * page).unwrap();
                let content = past.get(from..from + 4096).unwrap_or(&[0x5a; 4096]);
                let file = OpenOptions::new().write(true).open(&self.path).unwrap();
                file.write_all_at(content, at * page).unwrap();
                format!("wrote page {} of state {which} into it", at + 1)
            }
            14 => {
                let left = self.dice.below(pages) + 1;
                let file = OpenOptions::new().write(true).open(&self.path).unwrap();
                file.set_len(left * page).unwrap();
                format!("cut it to {left} pages")
            }
            _ => {
                let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
                file.write_all(&[7; 4096]).unwrap();
                "made it a page longer".to_owned()
            }
        }
    }
}

fn write_some(app: &Connection, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        let (id, len) = (dice.below(200).cast_signed() + 1, dice.below(1500).cast_signed());
        // What was overwritten may be no sound database.
        let _ = app.execute("UPDATE t SET x=randomblob(?2) WHERE id=?1", (id, len));
    }
    let mode = dice.pick(&["PASSIVE", "FULL", "RESTART", "TRUNCATE", "", ""]);
    if !mode.is_empty() {
        let _ = app.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    }
}

/// Brings all of the WAL into the file: what is overwritten below frames that are not there yet is another matter, see `docs/capture.md`.
fn calm(app: &Connection) {
    for _ in 0..200 {
        let done = app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            Ok(row.get::<_, i64>(0)? == 0 && row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
        });
        match done {
            Ok(false) => std::thread::sleep(Duration::from_millis(2)),
            _ => return,
        }
    }
}

/// Waits for the follower, and compares. `false` if SQLite can't read what is there.
///
/// Below a WAL that is in part in the file already, SQLite reads the frames of it at one moment, and only the file at the next, as checkpoints
/// have come: whoever overwrites the file there makes two databases of it. So a scan may have found the one and we the other; then the next
/// scan comes. A transaction has no such excuse.
fn settles(follower: &Follower, lab: &Lab, path: &Path, what: &str) -> bool {
    let history = || lab.repository.history("app").unwrap();
    for patience in 0.. {
        // A moment at a time: what is sound now may turn out not to be once its WAL was read.
        let began = Instant::now();
        let durable = loop {
            let durable = follower.wait_durable(Duration::from_millis(200));
            if durable.is_ok() || live(path).is_none() || began.elapsed() > PATIENCE {
                break durable;
            }
        };
        let Some(now) = live(path) else { return false };
        durable.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let stored = newest(&history(), lab.dir.path());
        // Frames of one file over another one may tell of more pages than the header does; nobody reads those.
        if stored.starts_with(&now) {
            return true;
        }
        let kind = history().chain().unwrap().latest().unwrap().record.kind;
        let differs = stored.chunks(4096).zip(now.chunks(4096)).position(|(a, b)| a != b);
        assert!(
            kind == CommitKind::Scan && patience < 200,
            "{what}: {kind:?}, {} bytes and not {}, page {differs:?} differs: {:?}",
            stored.len(),
            now.len(),
            follower.status(),
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

fn following_of(follower: &Option<Follower>) -> &Follower {
    follower.as_ref().unwrap()
}

/// How many overwrites a history sees: what is compared after each of them takes longer with every commit.
const ROUNDS: u64 = 25;

#[test]
fn whatever_is_overwritten_and_when_no_commit_mixes_two_files() {
    let _heavy = heavy();
    let seed = number("PAGEKEEP_OVERWRITE_SEED", 1);
    for stretch in 0..number("PAGEKEEP_OVERWRITES", 200).div_ceil(ROUNDS) {
        overwritten(seed + stretch, ROUNDS);
    }
}

fn overwritten(seed: u64, rounds: u64) {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let (first, past) = with_past(&path);
    let mut enemy = Enemy {
        dice: Dice::new(seed),
        path: path.clone(),
        past: vec![past, fs::read(&path).unwrap()],
    };
    drop(first);
    let (first, mut ear): (Follower, Arc<Ear>) = start(&lab.repository, &path, at_once());
    let mut follower = Some(first);
    follower.as_ref().unwrap().wait_durable(PATIENCE).unwrap();
    let (mut told, mut broken) = (0, 0);
    for round in 0..rounds {
        let mut story = format!("seed {seed}, round {round}: ");
        if let Ok(app) = Connection::open(&path) {
            let _ = app.busy_timeout(Duration::from_millis(200));
            write_some(&app, &mut enemy.dice);
            if enemy.dice.below(2) == 0 {
                let following = follower.as_ref().unwrap();
                settles(following, &lab, &path, &format!("{story}before"));
            }
            calm(&app);
            // Now and then beside a connection with a cache of its own, which writes at once.
            if enemy.dice.below(4) == 0 {
                story += &enemy.overwrite();
                story += ", beside a connection; ";
                write_some(&app, &mut enemy.dice);
                if !settles(following_of(&follower), &lab, &path, &story) {
                    copy_over(&path, &enemy.past[0].clone());
                }
                calm(&app);
            }
        }
        let down = enemy.dice.below(8) == 0;
        if down {
            let _ = follower.take().unwrap().stop();
            told += scans(&ear);
        }
        story += &enemy.overwrite();
        if let Ok(app) = Connection::open(&path) {
            write_some(&app, &mut enemy.dice);
        }
        if down {
            story += ", while nobody followed";
            // What SQLite can't open can't be followed: a sound state comes back first.
            if live(&path).is_none() {
                copy_over(&path, &enemy.past[0].clone());
            }
            let (again, heard) = start(&lab.repository, &path, at_once());
            (follower, ear) = (Some(again), heard);
        }
        let Some(following) = &follower else { unreachable!() };
        if std::env::var_os("PAGEKEEP_OVERWRITE_STORY").is_some() {
            println!("{story}; {:?} bytes", fs::metadata(&path).map(|m| m.len()));
        }
        if !settles(following, &lab, &path, &story) || round % 10 == 9 {
            broken += 1;
            // Without a trace of the WAL before, as a person would do it at last.
            copy_over(&path, &enemy.past[0].clone());
            if !settles(following, &lab, &path, &format!("{story}; a sound state came back")) {
                story += "; nothing sound is left";
                drop(follower.take());
                for suffix in ["-wal", "-shm"] {
                    let _ = fs::remove_file(format!("{}{suffix}", path.display()));
                }
                copy_over(&path, &enemy.past[0].clone());
                let (again, heard) = start(&lab.repository, &path, at_once());
                assert!(settles(&again, &lab, &path, &story), "{story}");
                (follower, ear) = (Some(again), heard);
            }
        }
    }
    told += scans(&ear);
    println!(
        "seed {seed}: {rounds} overwrites, {told} scans told of them, {broken} times a sound state was put back"
    );
    assert!(told as u64 >= rounds / 4, "{told}");
    drop(follower);
}
