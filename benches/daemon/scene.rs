//! Many small databases, those in trouble, and the applications that write to some.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;

use super::process::Daemon;
use super::{Options, Result, WRITTEN};

/// Rows that each database has at first.
const ROWS: u64 = 20;
/// How long a writer waits between two transactions.
const PAUSE: Duration = Duration::from_millis(10);
/// How many databases lie in one folder.
const FOLDER: usize = 500;

pub struct Scene {
    dir: tempfile::TempDir,
    n: usize,
    /// Where the daemon tells how everything stands.
    pub port: u16,
    /// How many rows those have that were woken.
    rows: RefCell<BTreeMap<usize, u64>>,
    /// Connections of applications that stay open.
    open: RefCell<Vec<Connection>>,
}

impl Scene {
    pub fn new(n: usize, options: &Options) -> Result<Self> {
        assert!(n > 2 * WRITTEN, "there are more databases than are written");
        let mut dir = match &options.dir {
            Some(below) => tempfile::tempdir_in(below)?,
            None => tempfile::tempdir()?,
        };
        dir.disable_cleanup(options.keep);
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let scene = Self { dir, n, port, rows: RefCell::default(), open: RefCell::default() };
        let template = scene.path("template");
        make(&template, "wal")?;
        // As after a night: the daemon takes what was written just now for at work.
        let night = SystemTime::now() - Duration::from_secs(10 * 60 * 60);
        for i in 0..n {
            let path = scene.database(i);
            if i % FOLDER == 0 {
                fs::create_dir_all(path.parent().unwrap())?;
            }
            fs::copy(&template, &path)?;
            File::options().write(true).open(&path)?.set_modified(night)?;
        }
        for repository in ["repo", "gone"] {
            let made = scene
                .pagekeep()
                .args(["init", "--no-recovery-key", "-r"])
                .arg(scene.path(repository))
                .arg("--key-file")
                .arg(scene.path("key"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            assert!(made.success());
        }
        let proofs = if options.unproven { "verify.restore = \"never\"" } else { "" };
        let text = format!(
            r#"
[daemon]
state-dir = "state"
[http]
listen = "127.0.0.1:{port}"
[repositories.main]
location = "repo"
key-file = "key"
[repositories.gone]
location = "gone"
key-file = "key"
[defaults]
repository = "main"
sleep-after = "10s"
{proofs}
[[databases]]
path = "databases/*/*.db"
[[databases]]
path = "trouble/*.db"
[[databases]]
path = "full/*.db"
[[databases]]
path = "other/*.db"
repository = "gone"
"#
        );
        fs::write(scene.path("pagekeep.toml"), text)?;
        Ok(scene)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn name(i: usize) -> String {
        format!("tenant-{i:05}")
    }

    fn database(&self, i: usize) -> PathBuf {
        self.path("databases").join(format!("{:03}", i / FOLDER)).join(Self::name(i) + ".db")
    }

    pub fn pagekeep(&self) -> Command {
        let usual = env!("CARGO_BIN_EXE_pagekeep").to_owned();
        let mut command = Command::new(std::env::var("PAGEKEEP_DAEMON_PROGRAM").unwrap_or(usual));
        for name in ["HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
            command.env(name, self.dir.path());
        }
        command
    }

    /// Commits to databases that sleep, one after the other, and waits until each commit is durable. Half of the applications
    /// stay, the others close the database.
    pub fn wake(
        &self,
        daemon: &mut Daemon,
        wakes: usize,
        patience: Duration,
    ) -> Result<Vec<Duration>> {
        let mut lags = Vec::new();
        daemon.forget_log()?;
        for turn in 0..wakes {
            // Spread over all; those that are written constantly are the first.
            let woken = self.rows.borrow().len();
            let free = self.n - WRITTEN;
            let i = WRITTEN + (woken * 7919 + 13) % free;
            let db = Connection::open(self.database(i))?;
            db.busy_timeout(Duration::from_secs(60))?;
            let began = Instant::now();
            db.execute("INSERT INTO t(v) VALUES('woken')", [])?;
            let rows = rows_of(&db)?;
            self.rows.borrow_mut().insert(i, rows);
            if turn % 2 == 0 {
                self.open.borrow_mut().push(db);
            } else {
                drop(db);
            }
            daemon.wait_stored(&Self::name(i), patience)?;
            lags.push(began.elapsed());
        }
        Ok(lags)
    }

    /// The databases that were woken, and how many rows they have.
    pub fn woken(&self) -> Vec<(String, u64)> {
        self.rows.borrow().iter().map(|(i, rows)| (Self::name(*i), *rows)).collect()
    }

    /// How many rows a database has in a restore of its newest commit.
    pub fn restored_rows(&self, name: &str) -> Result<u64> {
        let to = self.path("restored.db");
        let restored = self
            .pagekeep()
            .args(["restore", name])
            .arg(&to)
            .arg("-c")
            .arg(self.path("pagekeep.toml"))
            .args(["-r", "main"])
            .output()?;
        if !restored.status.success() {
            return Err(String::from_utf8_lossy(&restored.stderr).into_owned().into());
        }
        let db = Connection::open(&to)?;
        let rows = rows_of(&db)?;
        drop(db);
        fs::remove_file(&to)?;
        Ok(rows)
    }
}

fn rows_of(db: &Connection) -> Result<u64> {
    let rows: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
    Ok(rows as u64)
}

/// A small database that nobody has open.
fn make(path: &Path, mode: &str) -> Result<()> {
    let db = Connection::open(path)?;
    db.execute_batch(&format!(
        "PRAGMA journal_mode={mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); BEGIN;"
    ))?;
    for n in 0..ROWS {
        db.execute("INSERT INTO t(v) VALUES(?1)", [format!("row {n} of a small database")])?;
    }
    db.execute_batch("COMMIT")?;
    Ok(())
}

/// Databases in trouble: one is no database, one is locked, one's repository goes, one's disk fills up.
pub struct Trouble {
    _lock: Connection,
    /// The small disk, if one could be mounted.
    disk: Option<PathBuf>,
}

impl Trouble {
    pub fn begin(scene: &Scene) -> Result<Self> {
        for folder in ["trouble", "other", "full"] {
            fs::create_dir(scene.path(folder))?;
        }
        fs::write(scene.path("trouble/corrupt.db"), vec![0x5a_u8; 64 * 1024])?;
        make(&scene.path("trouble/locked.db"), "delete")?;
        let lock = Connection::open(scene.path("trouble/locked.db"))?;
        lock.execute_batch("BEGIN EXCLUSIVE")?;
        make(&scene.path("other/without-repository.db"), "wal")?;
        let full = scene.path("full");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "pagekeep-bench"])
            .arg(&full)
            .stderr(Stdio::null())
            .status();
        let disk = mounted.is_ok_and(|status| status.success()).then_some(full);
        make(&scene.path("full/full.db"), "wal")?;
        Ok(Self { _lock: lock, disk })
    }

    /// Takes the repository of one away, and the room on the disk of another.
    pub fn worsen(&self, scene: &Scene) -> Result<()> {
        fs::rename(scene.path("gone"), scene.path("gone.away"))?;
        if let Some(disk) = &self.disk {
            let mut filler = File::create(disk.join("filler"))?;
            // Until nothing fits.
            while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {}
            println!("  a disk of 1 MiB is full");
        } else {
            println!("  no disk could be mounted: none is full");
        }
        Ok(())
    }

    /// What the daemon tells of them.
    pub fn told(&self, daemon: &Daemon) -> Result<String> {
        let page = daemon.metrics()?;
        let with = |start: &str| {
            page.lines().filter(|l| l.starts_with(start) && l.ends_with(" 1")).count()
        };
        let (faults, phase) = (with("pagekeep_database_fault{"), with("pagekeep_database_phase{"));
        let disk = if self.disk.is_some() { "" } else { "; no full disk" };
        Ok(format!("{faults} of {phase} shown have a fault{disk}"))
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            let _ = Command::new("umount").arg("-l").arg(disk).status();
        }
    }
}

/// Applications that write all the time.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<(String, JoinHandle<u64>)>,
}

impl Writers {
    pub fn begin(scene: &Scene, n: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for i in 0..n {
            let (path, stop) = (scene.database(i), stop.clone());
            let thread = std::thread::spawn(move || {
                let db = Connection::open(path).unwrap();
                db.busy_timeout(Duration::from_secs(60)).unwrap();
                let mut rows = ROWS;
                while !stop.load(Ordering::Relaxed) {
                    db.execute("INSERT INTO t(v) VALUES('written')", []).unwrap();
                    rows += 1;
                    std::thread::sleep(PAUSE);
                }
                rows
            });
            threads.push((Scene::name(i), thread));
        }
        Ok(Self { stop, threads })
    }

    /// Ends them. Answers how many rows each database has, as its application knows.
    pub fn end(self) -> Result<Vec<(String, u64)>> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|(name, thread)| match thread.join() {
            Ok(rows) => Ok((name, rows)),
            Err(_) => Err(format!("the writer of {name} failed").into()),
        });
        ended.collect()
    }
}
