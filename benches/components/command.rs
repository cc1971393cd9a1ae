//! The floor as a process of its own, to be timed like any other program:
//!
//! ```text
//! --run backup|scan|restore|verify --dir D [--db F] [--out F] [--level 1] [--threads 2]
//!       [--pages-only WAL [--wal-from BYTE]]
//! ```
//!
//! It prints one line of JSON with wall seconds, CPU seconds and bytes stored.
//! `--pages-only WAL` makes `scan` take the pages of the WAL's committed frames for
//! all that changed; with `--wal-from` of those frames alone that begin at this byte or behind it.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::{Result, backup, cpu_seconds, restore, scan, verify};

/// Runs one operation and prints what it took.
pub fn main(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let need = |path: &Option<PathBuf>, name: &str| {
        path.clone().ok_or_else(|| format!("--run {} needs {name}", options.run))
    };
    let dir = need(&options.dir, "--dir")?;
    let (level, threads) = (options.level, options.threads);
    let start = Instant::now();
    let outcome = match options.run.as_str() {
        "backup" => backup(&need(&options.db, "--db")?, &dir, level, threads)?,
        "scan" => {
            let wal = options.pages_only.as_deref().map(|wal| (wal, options.wal_from));
            scan(&need(&options.db, "--db")?, &dir, level, threads, wal)?
        }
        "restore" => restore(&dir, &need(&options.out, "--out")?, threads)?,
        "verify" => verify(&dir, threads)?,
        other => return Err(format!("--run {other}: backup, scan, restore or verify").into()),
    };
    let line = json!({
        "run": options.run,
        "wall": (start.elapsed().as_secs_f64() * 1e4).round() / 1e4,
        "cpu": (cpu_seconds() * 1e4).round() / 1e4,
        "plain": outcome.plain,
        "stored": outcome.stored,
        "pages": outcome.pages,
    });
    println!("{line}");
    Ok(())
}

struct Options {
    run: String,
    db: Option<PathBuf>,
    dir: Option<PathBuf>,
    out: Option<PathBuf>,
    pages_only: Option<PathBuf>,
    wal_from: u64,
    level: i32,
    threads: usize,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            run: String::new(),
            db: None,
            dir: None,
            out: None,
            pages_only: None,
            wal_from: 0,
            level: 1,
            threads: 2,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--run" => options.run.clone_from(value),
                "--db" => options.db = Some(value.into()),
                "--dir" => options.dir = Some(value.into()),
                "--out" => options.out = Some(value.into()),
                "--pages-only" => options.pages_only = Some(value.into()),
                "--wal-from" => {
                    options.wal_from = value.parse().map_err(|_| "--wal-from: a number")?;
                }
                "--level" => options.level = value.parse().map_err(|_| "--level: a number")?,
                "--threads" => {
                    options.threads = value.parse().map_err(|_| "--threads: a number")?
                }
                _ => return Err(format!("no such option: {name}").into()),
            }
        }
        Ok(options)
    }
}
