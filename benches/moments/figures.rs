//! Whole processes, one after the other: their time, their peak of memory, and the ratios.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pagekeep::testing::{CountingStore, Verb};
use pagekeep::{Repository, RepositoryOptions, Secret, ViewOptions, open_store};
use rusqlite::Connection;

use super::measure::{Measured, timed};
use super::{Lab, MIDDLE, Result, one};

/// How often each is run; the median counts.
const ROUNDS: usize = 3;

/// Runs them all and prints what they took.
///
/// # Errors
/// A process that fails, with its words.
pub fn print(lab: &Lab) -> Result<()> {
    println!("\n{:<44}{:>10}{:>10}{:>12}", "process", "wall s", "CPU s", "peak MiB");
    let at = |seq| format!("real@seq:{seq}");
    let [first, before, behind] = lab.pct1.map(at);
    let until = |point: &str| format!("@{}", point.trim_start_matches("real@"));
    let (many, last) = (at(lab.many), format!("seq:{}", lab.last));
    let row = lab.row.to_string();
    let from = format!("seq:{}", lab.many);
    let run = |name: &str, arguments: &[&str]| lab.run(name, arguments);
    run("query, one row, cold", &["query", "-q", &many, MIDDLE])?;
    let scan = run(
        "query, sum over a table",
        &["query", "-q", &many, "SELECT sum(aux) FROM events NOT INDEXED"],
    )?;
    let (a, b) = (lab.work.join("a.db"), lab.work.join("b.db"));
    let restore = |name: &str, point: &str, target: &Path| {
        let target = target.display().to_string();
        lab.run(name, &["restore", point, &target, "--check", "none", "--force", "-q"])
    };
    let old = restore("restore, before", &before, &a)?;
    let new = restore("restore, behind", &behind, &b)?;
    run("diff, one row", &["diff", &first, &until(&before)])?;
    let diff = run("diff, 1% of rows", &["diff", &before, &until(&behind), "--json"])?;
    let (how, compared) = compare(&a, &b)?;
    run("find", &["find", "real", &lab.question(), "--from", &from, "--to", &last])?;
    run(
        "trace",
        &["trace", "real", "events", &row, "--from", &from, "--to", &last, "--limit", "0"],
    )?;
    let changes = run("changes, one row a commit", &["changes", "real", "--from", &from])?;

    let rows = lab.commits as f64;
    let both = old + new + compared;
    println!("\nscan of a table / restore of all: {:.2}", scan / old);
    println!("restore of both and {how} / diff of 1%: {:.1}", both / diff);
    println!("changes: {:.0} rows a second", rows / changes);
    println!("a point query fetches {} times", fetches(lab)?);
    Ok(())
}

impl Lab {
    /// Runs the program some times, its output thrown away. Returns how long it took.
    fn run(&self, name: &str, arguments: &[&str]) -> Result<f64> {
        let mut all: Vec<OsString> =
            ["-c", "exec \"$0\" \"$@\" > /dev/null", env!("CARGO_BIN_EXE_pagekeep")]
                .map(OsString::from)
                .to_vec();
        all.extend(arguments.iter().map(OsString::from));
        all.extend(self.place());
        rounds(name, || timed("sh".as_ref(), &all))
    }
}

fn rounds(name: &str, mut run: impl FnMut() -> Result<Measured>) -> Result<f64> {
    let mut runs = (0..ROUNDS).map(|_| run()).collect::<Result<Vec<Measured>>>()?;
    runs.sort_by(|a, b| a.wall.total_cmp(&b.wall));
    let peak = runs.iter().map(|run| run.peak).max().unwrap_or(0) as f64 / f64::from(1 << 20);
    let median = &runs[ROUNDS / 2];
    println!("{name:<44}{:>10.3}{:>10.3}{peak:>12.1}", median.wall, median.cpu);
    Ok(median.wall)
}

/// Compares two restored files: by SQLite's own `sqldiff`, if it is there (`SQLDIFF` names it), and
/// else by what each table has that the other one has not.
fn compare(a: &Path, b: &Path) -> Result<(&'static str, f64)> {
    if let Some(program) = sqldiff() {
        let script = "exec \"$0\" \"$@\" > /dev/null";
        let all = [OsString::from("-c"), script.into(), program.into(), a.into(), b.into()];
        return Ok(("sqldiff", rounds("sqldiff", || timed("sh".as_ref(), &all))?));
    }
    let began = std::time::Instant::now();
    let db = Connection::open(a)?;
    db.execute("ATTACH ?1 AS b", [b.display().to_string()])?;
    let mut statement = db.prepare(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'",
    )?;
    let names = statement.query_map([], |row| row.get(0))?;
    for name in names.collect::<rusqlite::Result<Vec<String>>>()? {
        for (from, other) in [("main", "b"), ("b", "main")] {
            let sql = format!(
                "SELECT count(*) FROM (SELECT * FROM {from}.\"{name}\" EXCEPT SELECT * FROM {other}.\"{name}\")"
            );
            db.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
        }
    }
    let wall = began.elapsed().as_secs_f64();
    println!("{:<44}{wall:>10.3}", "EXCEPT of each table, both ways");
    Ok(("EXCEPT of each table", wall))
}

fn sqldiff() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SQLDIFF") {
        return Some(named.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join("sqldiff")).find(|path| path.is_file())
}

/// How many objects, or parts of them, a point query reads, from opening the repository on.
fn fetches(lab: &Lab) -> Result<usize> {
    let location = lab.work.join("repo").display().to_string();
    let store = Arc::new(CountingStore::new(open_store(&location)?));
    let secret = Secret::read_key_file(&lab.work.join("key"))?;
    let options = RepositoryOptions::new(lab.work.join("state"));
    let repository = Repository::open(store.clone(), &secret, &options)?;
    let point = repository.history("real")?.point(lab.many)?;
    store.take();
    let view = point.open(&ViewOptions::default())?;
    one::<String>(&view, MIDDLE);
    let reads = [Verb::Get, Verb::GetRange];
    Ok(store.take().iter().filter(|call| reads.contains(&call.verb)).count())
}
