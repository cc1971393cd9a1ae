//! The steps, and what a round puts the floor and Pagekeep through.
//!
//! Each round begins with a fresh copy of the database and empty repositories. Within a step the two
//! follow each other at once, and who goes first alternates, so that whatever else the machine does
//! meets both. A connection of ours stands for the application where the step needs the WAL at hand.
//!
//! Invariant: while that connection is open this process opens the database file in no other way:
//! closing any descriptor of a file drops all of a process's POSIX locks on it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::Result;
use super::compare;
use super::measure::{self, Measured, remove, timed, tree_bytes};
use super::options::Options;
use super::report::{self, Sample, Who};
use crate::realdata::mutate::{self, Kind};
use crate::realdata::sibling;

/// The first argument that makes this binary the floor.
pub const FLOOR: &str = "--floor";
/// The first argument that makes this binary copy a file.
pub const COPY: &str = "--copy";

const PAGEKEEP: &str = env!("CARGO_BIN_EXE_pagekeep");
/// The history's name.
const NAME: &str = "bench";

/// What is measured, in the order in which a round does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything, into an empty repository.
    Full,
    /// Nothing changed, and the WAL's position proves it. There is no floor: nothing is unavoidable.
    Unchanged,
    /// Nothing changed, but the WAL is gone: all must be read to know.
    UnchangedScan,
    /// The state of the full backup, from a repository that holds no other.
    Restore,
    /// Every stored byte of that repository.
    Verify,
    /// One changed row, its frame in the WAL.
    One,
    /// 1% of the rows changed and the WAL gone.
    Rows,
    /// The last state, out of full and incremental backups; the floor restores the full one.
    RestoreLast,
}

impl Step {
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::Unchanged,
        Self::UnchangedScan,
        Self::Restore,
        Self::Verify,
        Self::One,
        Self::Rows,
        Self::RestoreLast,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unchanged => "unchanged",
            Self::UnchangedScan => "unchanged-scan",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::One => "one",
            Self::Rows => "pct1",
            Self::RestoreLast => "restore-last",
        }
    }

    /// Whether enough is written for memory to matter.
    const fn writes_much(self) -> bool {
        matches!(self, Self::Full | Self::Restore | Self::Rows | Self::RestoreLast)
    }
}

impl FromStr for Step {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|step| step.name() == text);
        found.ok_or_else(|| format!("no such step: {text}").into())
    }
}

/// The comparison under way.
pub struct Bench {
    options: Options,
    /// The database that every round copies.
    source: PathBuf,
    work: PathBuf,
    samples: Vec<Sample>,
    floor_first: bool,
    /// Copies of every state that was backed up, of the last round and in order.
    kept: Vec<PathBuf>,
    keeping: bool,
}

impl Bench {
    pub fn new(options: Options, source: PathBuf) -> Self {
        let work = options.dir.join("round");
        Self {
            options,
            source,
            work,
            samples: Vec::new(),
            floor_first: true,
            kept: Vec::new(),
            keeping: false,
        }
    }

    /// All rounds, the table, and the comparison of what can be restored.
    pub fn run(mut self) -> Result<()> {
        for round in 0..self.options.rounds {
            println!("round {} of {}", round + 1, self.options.rounds);
            self.floor_first = round.is_multiple_of(2);
            self.keeping = self.options.compare && round + 1 == self.options.rounds;
            self.round().map_err(|e| format!("{e}\n(files left in {})", self.work.display()))?;
        }
        report::print(&self.samples);
        if self.options.compare {
            let restored = self.path("restored.db");
            compare::every_commit(&self.kept, &restored, |commit| {
                self.pagekeep(&["restore", &format!("@seq:{commit}")]).map(drop)
            })?;
        }
        if !self.options.keep_work {
            remove(&self.work)?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    fn live(&self) -> PathBuf {
        self.path("live.db")
    }

    fn wants(&self, step: Step) -> bool {
        self.options.steps.contains(&step)
    }

    fn round(&mut self) -> Result<()> {
        remove(&self.work)?;
        fs::create_dir_all(&self.work)?;
        let live = self.live();
        fs::copy(&self.source, &live)
            .map_err(|e| format!("cannot copy {}: {e}", self.source.display()))?;
        self.init()?;

        // The frame is in the file too, so that both back up the same pages, and the WAL stays.
        let application = mutate::open(&live, true)?;
        mutate::apply(&application, Kind::One, 1)?;
        application.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        let backup = |db: &Path| floor_run("backup", &[("--db", db.as_os_str())]);
        self.step(Step::Full, Some(backup(&live)), &["backup"])?;
        self.keep("full")?;
        if self.wants(Step::Unchanged) {
            self.step(Step::Unchanged, None, &["backup"])?;
        }
        close_without_wal(application, &live)?;

        let scan = floor_run("scan", &[("--db", live.as_os_str())]);
        if self.wants(Step::UnchangedScan) {
            self.step(Step::UnchangedScan, Some(scan.clone()), &["backup"])?;
        }
        if self.wants(Step::Restore) {
            self.step(Step::Restore, Some(self.floor_restore()), &["restore"])?;
        }
        if self.wants(Step::Verify) {
            self.step(Step::Verify, Some(floor_run("verify", &[])), &["verify"])?;
        }
        if self.wants(Step::One) {
            self.one_row(&live)?;
        }
        if self.wants(Step::Rows) {
            mutate::change_file(&live, Kind::Rows, 1, false)?;
            self.step(Step::Rows, Some(scan), &["backup"])?;
            self.keep("pct1")?;
        }
        if self.wants(Step::RestoreLast) {
            self.step(Step::RestoreLast, Some(self.floor_restore()), &["restore"])?;
        }
        Ok(())
    }

    /// One row after a backup that has seen the WAL's beginning, the application still running.
    fn one_row(&mut self, live: &Path) -> Result<()> {
        let application = mutate::open(live, true)?;
        mutate::apply(&application, Kind::One, 2)?;
        let wal = sibling(live, "-wal");
        // Both have seen what the WAL holds up to here when the row changes.
        let seen = OsString::from(fs::metadata(&wal)?.len().to_string());
        self.pagekeep(&["backup"])?;
        self.keep("one-before")?;
        mutate::apply(&application, Kind::One, 3)?;
        let options = [
            ("--db", live.as_os_str()),
            ("--pages-only", wal.as_os_str()),
            ("--wal-from", seen.as_os_str()),
        ];
        self.step(Step::One, Some(floor_run("scan", &options)), &["backup"])?;
        self.keep("one")?;
        close_without_wal(application, live)
    }

    /// Runs a step of both, or of Pagekeep alone, and notes the figures.
    fn step(&mut self, step: Step, floor: Option<Vec<OsString>>, pagekeep: &[&str]) -> Result<()> {
        let stores = !matches!(step, Step::Restore | Step::RestoreLast | Step::Verify);
        let order = if self.floor_first {
            [Who::Floor, Who::Pagekeep]
        } else {
            [Who::Pagekeep, Who::Floor]
        };
        for who in order {
            if who == Who::Floor && floor.is_none() {
                continue;
            }
            remove(&self.path("restored.db"))?;
            measure::warm(if step.writes_much() { self.options.warm_mib } else { 0 });
            let (measured, added) = match (who, &floor) {
                (Who::Floor, Some(arguments)) => self.floor(arguments)?,
                _ => self.pagekeep(pagekeep)?,
            };
            let Measured { wall, cpu, peak, .. } = measured;
            println!("  {:<15}{:<10}{wall:>8.3} s {cpu:>8.3} s CPU", step.name(), who.name());
            let stored = stores.then_some(added);
            // A step may have run only because later ones build on it.
            if self.wants(step) {
                self.samples.push(Sample { step, who, wall, cpu, peak, stored });
            }
        }
        Ok(())
    }

    fn floor_restore(&self) -> Vec<OsString> {
        floor_run("restore", &[("--out", self.path("restored.db").as_os_str())])
    }

    /// Runs the floor; answers with the bytes that it stored.
    fn floor(&self, arguments: &[OsString]) -> Result<(Measured, u64)> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--level", self.options.level(), "--dir"].map(Into::into));
        arguments.push(self.path("floor").into());
        let measured = timed(std::env::current_exe()?.as_os_str(), &arguments)?;
        let told: serde_json::Value = serde_json::from_str(&measured.output)?;
        let stored = told["stored"].as_u64().ok_or("the floor did not tell what it stored")?;
        Ok((measured, stored))
    }

    /// Creates the repository and its key file.
    fn init(&self) -> Result<()> {
        let (repository, key) = (self.path("repository"), self.path("key"));
        let arguments: [&OsStr; 5] = [
            "init".as_ref(),
            "-r".as_ref(),
            repository.as_ref(),
            "--key-file".as_ref(),
            key.as_ref(),
        ];
        timed(PAGEKEEP.as_ref(), &arguments.map(OsStr::to_owned))?;
        Ok(())
    }

    /// Runs a command of Pagekeep; answers with the bytes that the repository grew by.
    fn pagekeep(&self, command: &[&str]) -> Result<(Measured, u64)> {
        let mut arguments: Vec<OsString> = vec![command[0].into()];
        match command[0] {
            "backup" => {
                arguments.push(self.live().into());
                let compression = self.options.compression.as_str();
                arguments
                    .extend(["--name", NAME, "--compression", compression, "-q"].map(Into::into));
            }
            "restore" => {
                let selector = command.get(1).copied().unwrap_or("@latest");
                arguments.push(format!("{NAME}{selector}").into());
                arguments.push(self.path("restored.db").into());
                arguments.extend(["--check", "none"].map(Into::into));
            }
            _ => arguments.extend([NAME, "--level", "data"].map(Into::into)),
        }
        let repository = self.path("repository");
        for (name, value) in [
            ("-r", &repository),
            ("--key-file", &self.path("key")),
            ("--state-dir", &self.path("state")),
        ] {
            arguments.push(name.into());
            arguments.push(value.into());
        }
        let before = tree_bytes(&repository)?;
        let measured = timed(PAGEKEEP.as_ref(), &arguments)?;
        Ok((measured, tree_bytes(&repository)?.saturating_sub(before)))
    }

    /// Keeps the state that was just backed up, to compare with.
    fn keep(&mut self, name: &str) -> Result<()> {
        if !self.keeping {
            return Ok(());
        }
        let copy = self.path(&format!("kept-{name}.db"));
        let live = self.live();
        for suffix in ["", "-wal"] {
            let from = sibling(&live, suffix);
            if from.exists() {
                let to = sibling(&copy, suffix);
                // In a process of its own, since the application may be connected.
                timed(
                    std::env::current_exe()?.as_os_str(),
                    &[COPY.into(), from.into(), to.into()],
                )?;
            }
        }
        let connection = mutate::open(&copy, false)?;
        close_without_wal(connection, &copy)?;
        self.kept.push(copy);
        Ok(())
    }
}

fn floor_run(run: &str, options: &[(&str, &OsStr)]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![FLOOR.into(), "--run".into(), run.into()];
    for (name, value) in options {
        arguments.push(name.into());
        arguments.push((*value).to_owned());
    }
    arguments
}

/// Checkpoints all and closes; as the last connection it takes the WAL with it.
fn close_without_wal(connection: Connection, path: &Path) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    mutate::checkpoint(&connection)?;
    connection.close().map_err(|(_, e)| e)?;
    let wal = sibling(path, "-wal");
    if wal.exists() {
        return Err(format!("{} is still there: somebody else is connected", wal.display()).into());
    }
    Ok(())
}
