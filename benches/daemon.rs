//! What many databases cost a daemon: how long it takes until all are captured and sleep, how long a start takes when all do,
//! what it uses while nothing happens, how soon a commit is durable, and whether trouble with some disturbs the others.
//!
//! `cargo bench --bench daemon -- run`, or with any of `--databases 1000`, `--wakes 40`, `--idle 30`, `--seconds 20`, `--dir DIR`,
//! `--keep`, `--unproven`, which leaves the first restores out. `PAGEKEEP_DAEMON_DATABASES` is the number, too, and `PAGEKEEP_DAEMON_PROGRAM` another build to be measured. Without an argument nothing is done: a test run of all targets
//! has nothing to measure. The daemon is the program as a process of its own; the bench is its applications. Machines are noisy:
//! believe processor time and what was counted, and wall times of a quiet machine alone.

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

#[path = "daemon/process.rs"]
mod process;
#[path = "daemon/scene.rs"]
mod scene;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use process::{Daemon, Used};
use scene::{Scene, Trouble, Writers};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How many databases are written all the time.
const WRITTEN: usize = 10;
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(3 * 60 * 60);
/// How long a commit that wakes a database is waited for.
const DURABLE: Duration = Duration::from_secs(120);

struct Options {
    databases: usize,
    wakes: usize,
    idle: u64,
    seconds: u64,
    dir: Option<PathBuf>,
    keep: bool,
    /// Whether none is restored to be proven.
    unproven: bool,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let from_env = std::env::var("PAGEKEEP_DAEMON_DATABASES").ok();
    if arguments.is_empty() && from_env.is_none() {
        return;
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name);
        at.map(|i| arguments.get(i + 1).expect("a value behind the option").clone())
    };
    let number = |name: &str, default: u64| {
        value(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let usual = from_env.map_or(1000, |text| text.parse().expect("a number"));
    let options = Options {
        databases: number("--databases", usual) as usize,
        wakes: number("--wakes", 40) as usize,
        idle: number("--idle", 30),
        seconds: number("--seconds", 20),
        dir: value("--dir").map(PathBuf::from),
        keep: arguments.iter().any(|a| a == "--keep"),
        unproven: arguments.iter().any(|a| a == "--unproven"),
    };
    run(&options).unwrap();
}

/// Rows of the table that is printed at the end.
#[derive(Default)]
struct Table(Vec<(String, String)>);

impl Table {
    fn row(&mut self, what: impl Into<String>, value: impl Into<String>) {
        let (what, value) = (what.into(), value.into());
        println!("  {what}: {value}");
        self.0.push((what, value));
    }

    fn print(&self) {
        let width = self.0.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        println!("\n| {:width$} | figure |\n|-{:-<width$}-|---|", "what", "");
        for (what, value) in &self.0 {
            println!("| {what:width$} | {value} |");
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let n = options.databases;
    let scene = Scene::new(n, options)?;
    let mut table = Table::default();
    table.row("databases", n.to_string());
    println!("in {}", scene.dir().display());

    // Those in trouble from the beginning.
    let trouble = Trouble::begin(&scene)?;

    let began = Instant::now();
    let mut daemon = Daemon::start(&scene)?;
    // Two more that get into trouble later.
    daemon.wait_asleep(n + 2, PATIENCE)?;
    let used = daemon.used()?;
    table.row("first start: all captured", seconds(began, &used));
    daemon.wait_jobs(PATIENCE)?;
    let used = daemon.used()?;
    table.row("first start: all of them proven by a restore", seconds(began, &used));
    table.row("the most memory until then", mib(used.peak));
    let (wall, used) = daemon.end()?;
    table.row("end", format!("{wall:.1} s, {:.1} s of CPU since its start", used.cpu));

    // A repository that is gone, and a full disk, from here on.
    trouble.worsen(&scene)?;
    let began = Instant::now();
    let mut daemon = Daemon::start(&scene)?;
    daemon.wait_asleep(n, PATIENCE)?;
    let used = daemon.used()?;
    table.row("start again: all asleep", seconds(began, &used));
    daemon.wait_jobs(PATIENCE)?;
    std::thread::sleep(Duration::from_secs(5));

    let before = daemon.used()?;
    std::thread::sleep(Duration::from_secs(options.idle));
    let used = daemon.used()?;
    let share = (used.cpu - before.cpu) / options.idle as f64;
    table.row("idle: share of a core", format!("{:.2}% over {} s", share * 100.0, options.idle));
    table.row("idle: memory", mib(used.memory));
    table.row("idle: file handles", used.handles.to_string());
    table.row("idle: threads", used.threads.to_string());
    table.row("idle: watches of the system", used.watches.to_string());
    let before = daemon.used()?;
    let bytes = daemon.metrics()?.len();
    let used = daemon.used()?;
    let cost = (used.cpu - before.cpu) * 1000.0;
    table.row(
        "one page of metrics",
        format!("{:.0} KiB, {cost:.0} ms of CPU", bytes as f64 / 1024.0),
    );

    let before = daemon.used()?;
    let mut lags = scene.wake(&mut daemon, options.wakes, DURABLE)?;
    let used = daemon.used()?;
    let each = (used.cpu - before.cpu) / options.wakes.max(1) as f64 * 1000.0;
    table.row("a commit wakes one: durable", spread(&mut lags));
    table.row("the same: CPU for each", format!("{each:.0} ms, with all that is done meanwhile"));

    let before = daemon.used()?;
    let (began, writers) = (Instant::now(), Writers::begin(&scene, WRITTEN)?);
    let mut lags = scene.wake(&mut daemon, options.wakes, DURABLE)?;
    while began.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let acknowledged = writers.end()?;
    let used = daemon.used()?;
    let wall = began.elapsed().as_secs_f64();
    let commits: u64 = acknowledged.iter().map(|(_, rows)| rows).sum();
    table.row(
        format!("{WRITTEN} are written constantly"),
        format!(
            "{:.0} commits a second, {:.1}% of a core",
            commits as f64 / wall,
            (used.cpu - before.cpu) / wall * 100.0
        ),
    );
    table.row("beside them a commit wakes one: durable", spread(&mut lags));
    table.row(
        "beside them: memory, file handles, threads",
        format!("{}, {}, {}", mib(used.memory), used.handles, used.threads),
    );
    table.row("those in trouble", trouble.told(&daemon)?);
    daemon.wait_asleep(n, PATIENCE)?;
    let (wall, _) = daemon.end()?;
    table.row("end", format!("{wall:.1} s"));

    let mut lost = 0;
    for (name, rows) in &acknowledged {
        let kept = scene.restored_rows(name)?;
        lost += rows.abs_diff(kept);
    }
    let of = format!("of {commits} acknowledged ones in {} restored databases", acknowledged.len());
    table.row("rows that are lost", format!("{lost} {of}"));
    let woken = scene.woken();
    let wrong =
        woken.iter().filter(|(name, rows)| scene.restored_rows(name).ok() != Some(*rows)).count();
    table.row(
        "woken databases whose restore lacks something",
        format!("{wrong} of {}", woken.len()),
    );
    table.print();
    assert!(lost == 0 && wrong == 0, "something is lost");
    Ok(())
}

fn seconds(began: Instant, used: &Used) -> String {
    format!("{:.1} s, {:.1} s of CPU", began.elapsed().as_secs_f64(), used.cpu)
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The middle and the most of some times.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
    match times {
        [] => "none".to_owned(),
        [.., most] => {
            let most = *most;
            format!(
                "{} (p50), {} at most, of {}",
                ms(times[times.len() / 2]),
                ms(most),
                times.len()
            )
        }
    }
}
