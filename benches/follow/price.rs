//! The follower as a process of its own beside an application of another language: the processor time of both for each commit,
//! and the application's throughput while other work has both cores.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{PATIENCE, Result, WARM, percentile};

/// The first argument of a process that computes, until it is killed.
pub const HOG: &str = "--hog";

/// Single rows of 200 bytes, each a transaction, for so many seconds; prints commits, processor and wall seconds.
const WRITER: &str = "
import resource, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
db.execute('PRAGMA synchronous=NORMAL')
def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
text, commits, before, began = 'x' * 200, 0, cpu(), time.monotonic()
while time.monotonic() < began + float(sys.argv[2]):
    for _ in range(100):
        db.execute('INSERT INTO t(v) VALUES(?)', (text,))
    commits += 100
print(commits, cpu() - before, time.monotonic() - began)
";

/// What a writer did.
struct Written {
    commits: f64,
    cpu: f64,
    seconds: f64,
}

fn write(database: &Path, seconds: u64) -> Result<Written> {
    let output = Command::new("python3")
        .args(["-c", WRITER, &database.display().to_string(), &seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> =
        text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    match numbers[..] {
        [commits, cpu, seconds] => Ok(Written { commits, cpu, seconds }),
        _ => Err(format!("the writer printed {text:?}").into()),
    }
}

/// A database in a folder, and what follows it.
struct Scene {
    dir: tempfile::TempDir,
    follower: Option<Child>,
}

impl Scene {
    fn new(followed: bool) -> Result<Self> {
        let mut scene = Self { dir: tempfile::tempdir()?, follower: None };
        let db = Connection::open(scene.path("app.db"))?;
        db.execute_batch(
            "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)",
        )?;
        if followed {
            let made = scene
                .pagekeep()
                .args(["init", "--no-recovery-key"])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .status()?;
            assert!(made.success());
            let log = std::fs::File::create(scene.path("log"))?;
            let mut watch = scene.pagekeep();
            watch.arg("watch").arg(scene.path("app.db")).stdout(log.try_clone()?).stderr(log);
            scene.follower = Some(watch.spawn()?);
            let began = Instant::now();
            while !std::fs::read_to_string(scene.path("log"))?.contains("seq:1") {
                assert!(began.elapsed() < PATIENCE, "the follower does not begin");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(scene)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn pagekeep(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pagekeep"));
        for name in ["HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
            command.env(name, self.dir.path());
        }
        command.arg("-r").arg(self.path("repo")).arg("--key-file").arg(self.path("key"));
        command
    }

    /// Processor seconds of the follower, all of its threads, and of those that ended.
    fn cpu(&self) -> Result<f64> {
        let Some(follower) = &self.follower else { return Ok(0.0) };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", follower.id()))?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Linux counts in hundredths on every machine that we know.
        Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
    }

    /// Stops the follower, and makes sure that it kept every transaction.
    fn end(mut self) -> Result<()> {
        let Some(mut follower) = self.follower.take() else { return Ok(()) };
        let pid = nix::unistd::Pid::from_raw(follower.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        assert!(follower.wait()?.success());
        let log = std::fs::read_to_string(self.path("log"))?;
        let last = log.lines().last().unwrap_or_default();
        let of = |word: &str| -> Option<u64> {
            let before = &last[..last.find(word)?];
            before.rsplit(' ').next()?.replace(',', "").parse().ok()
        };
        // All but the first, which was the whole database.
        assert_eq!(of(" commits").zip(of(" of them single")).map(|(a, b)| a - b), Some(1), "{log}");
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(follower) = &mut self.follower {
            let _ = follower.kill();
            let _ = follower.wait();
        }
    }
}

/// Processor time for each commit, at the writer's full speed.
pub fn price(seconds: u64, rounds: u64) -> Result<()> {
    println!(
        "processor time for each commit, single rows of 200 bytes from Python; {rounds} rounds of {seconds} s"
    );
    let (mut prices, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let scene = Scene::new(false)?;
        write(&scene.path("app.db"), WARM)?;
        let alone = write(&scene.path("app.db"), seconds)?;
        let scene = Scene::new(true)?;
        write(&scene.path("app.db"), WARM)?;
        let before = scene.cpu()?;
        let written = write(&scene.path("app.db"), seconds)?;
        let used = scene.cpu()? - before;
        scene.end()?;
        let each = |cpu: f64, by: &Written| cpu / by.commits * 1e6;
        println!(
            "  alone {:.0} commits/s, {:.1} us each; followed {:.0} commits/s, {:.1} us each, the follower {:.1} us: {:.2} of the writer's",
            alone.commits / alone.seconds,
            each(alone.cpu, &alone),
            written.commits / written.seconds,
            each(written.cpu, &written),
            each(used, &written),
            used / written.cpu,
        );
        prices.push((each(used, &written) * 1000.0) as u64);
        ratios.push((used / written.cpu * 1000.0) as u64);
    }
    println!(
        "the follower used {:.1} us for a commit (p50), {:.2} of what the writer used",
        percentile(&mut prices, 50) as f64 / 1000.0,
        percentile(&mut ratios, 50) as f64 / 1000.0
    );
    Ok(())
}

/// Throughput beside other work on every core, with and without a follower.
pub fn beside(seconds: u64, rounds: u64) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    println!(
        "single rows of 200 bytes from Python beside {cores} processes that compute; {rounds} rounds of {seconds} s each way"
    );
    let mut hogs = Hogs(Vec::new());
    for _ in 0..cores {
        hogs.0.push(Command::new(std::env::current_exe()?).arg(HOG).spawn()?);
    }
    let (mut alone, mut followed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (follow, rates) in [(false, &mut alone), (true, &mut followed)] {
            let scene = Scene::new(follow)?;
            write(&scene.path("app.db"), WARM)?;
            let written = write(&scene.path("app.db"), seconds)?;
            rates.push((written.commits / written.seconds) as u64);
            scene.end()?;
        }
        println!(
            "  {} commits/s alone, {} followed",
            alone[alone.len() - 1],
            followed[followed.len() - 1]
        );
    }
    let (a, f) = (percentile(&mut alone, 50), percentile(&mut followed, 50));
    println!("{a} commits/s alone, {f} followed, ratio {:.2}", f as f64 / a as f64);
    Ok(())
}

/// Processes that end with this one.
struct Hogs(Vec<Child>);

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// Computes until killed.
pub fn compute() {
    let parent = nix::unistd::getppid();
    let mut state = 1u64;
    while nix::unistd::getppid() == parent {
        for _ in 0..100_000_000u64 {
            state =
                std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}
