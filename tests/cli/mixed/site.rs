//! The folder of a run: repositories, keys, state folders and databases; commands that run there, a
//! log of them, and what becomes of the first failure.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::yard::{Running, Yard};

/// How many commands a failure lists.
const LISTED: usize = 200;
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The run is over: somebody failed.
#[derive(Debug)]
pub struct Over;

/// Something that ends when the run does.
pub type Step<T = ()> = Result<T, Over>;

/// The repository, and the one that it is copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Original,
    Copy,
}

impl Place {
    pub fn repo(self) -> &'static str {
        match self {
            Self::Original => "repo",
            Self::Copy => "copy",
        }
    }

    pub fn key(self) -> &'static str {
        match self {
            Self::Original => "key",
            Self::Copy => "copy.key",
        }
    }

    /// The file with the recovery key.
    pub fn recovery(self) -> &'static str {
        match self {
            Self::Original => "recovery",
            Self::Copy => "copy.recovery",
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub what: String,
    /// `None` if we killed it; a signal that is not ours, less than zero.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Whether it did what it was to do.
    pub fn well(&self) -> bool {
        matches!(self.code, Some(0 | 3))
    }

    /// Its lines of JSON, without progress.
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let objects = self.stdout.lines().map(parse);
        objects.filter(|o: &Value| o["type"] != "progress").collect()
    }

    pub fn summary(&self) -> Value {
        let last = self.objects().pop().unwrap_or_else(|| panic!("no summary: {self:?}"));
        assert_eq!(last["type"], "summary", "{self:?}");
        last
    }
}

/// See the module.
pub struct Site {
    pub dir: PathBuf,
    pub yard: Yard,
    pub began: Instant,
    bin: PathBuf,
    numbers: AtomicU64,
    over: AtomicBool,
    log: Mutex<VecDeque<String>>,
    failure: Mutex<Option<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Site {
    pub fn new(dir: PathBuf, bin: PathBuf) -> Self {
        for folder in ["out", "runs", "tmp"] {
            fs::create_dir(dir.join(folder)).unwrap();
        }
        Self {
            dir,
            bin,
            yard: Yard::default(),
            began: Instant::now(),
            numbers: AtomicU64::new(0),
            over: AtomicBool::new(false),
            log: Mutex::default(),
            failure: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file that only this user may read.
    pub fn secret(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A number that nobody else gets.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether the run is to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Counts something, for the line at the end.
    pub fn count(&self, what: impl Into<String>) {
        *self.counts.lock().unwrap().entry(what.into()).or_default() += 1;
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap().clone()
    }

    /// Writes a line into the log.
    pub fn note(&self, line: impl std::fmt::Display) {
        let mut log = self.log.lock().unwrap();
        log.push_back(format!("{:9.3}  {line}", self.began.elapsed().as_secs_f64()));
        let surplus = log.len().saturating_sub(LISTED);
        log.drain(..surplus);
    }

    /// The run failed. The first one to say so stops everything, so that what is there stays as it
    /// is.
    pub fn fail<T>(&self, what: impl std::fmt::Display, done: Option<&Done>) -> Step<T> {
        let mut failure = self.failure.lock().unwrap();
        if failure.is_none() {
            self.end();
            self.yard.crash(Duration::ZERO);
            let at = self.began.elapsed().as_secs_f64();
            let command = done.map_or(String::new(), |done| {
                format!(
                    "\ncommand: {}\nexit code: {:?}\nstderr: {}\nstdout: {:.2000}\n",
                    done.what, done.code, done.stderr, done.stdout
                )
            });
            *failure = Some(format!("after {at:.3} s: {what}{command}"));
        }
        Err(Over)
    }

    /// The failure, with what led to it.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap().clone()?;
        let log: Vec<String> = self.log.lock().unwrap().iter().cloned().collect();
        Some(format!("the last commands:\n{}\n\n{failure}", log.join("\n")))
    }

    /// A command at a place, with a state folder.
    pub fn command(&self, place: Place, state: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.args(args).arg("--json").current_dir(&self.dir).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command.env("PAGEKEEP_REPO", place.repo()).env("PAGEKEEP_KEY_FILE", place.key());
        command.env("PAGEKEEP_STATE_DIR", state).stdin(Stdio::null());
        command
    }

    /// Starts a command, its output going to files of this number.
    pub fn start(&self, command: &mut Command, number: u64) -> Running {
        command.stdout(File::create(self.output(number, "out")).unwrap());
        command.stderr(File::create(self.output(number, "err")).unwrap());
        self.yard.start(command)
    }

    pub fn output(&self, number: u64, kind: &str) -> PathBuf {
        self.path("runs").join(format!("{number}.{kind}"))
    }

    /// Runs a command to its end, or kills it after a while. Besides doing well, and being busy, it
    /// may end with `allowed`.
    ///
    /// # Errors
    /// Any other end is a failure of the run.
    pub fn run(
        &self,
        place: Place,
        state: &str,
        args: &[&str],
        kill: Option<Duration>,
        allowed: &[i32],
    ) -> Step<Done> {
        let number = self.number();
        let words: Vec<String> = args.iter().map(|a| quoted(a)).collect();
        let what = format!("[{number}] {} {state}: {}", place.repo(), words.join(" "));
        let running = self.start(&mut self.command(place, state, args), number);
        let began = Instant::now();
        if running.wait_for(kill.unwrap_or(PATIENCE)).is_none() {
            running.kill();
            if kill.is_none() {
                return self.fail(format!("{what}: does not end"), None);
            }
        }
        let done = self.done(&running, number, what);
        let took = began.elapsed().as_secs_f64();
        let line = done.stderr.lines().next().unwrap_or_default();
        let code = done.code.map_or("killed".to_owned(), |code| code.to_string());
        self.note(format!("{:6.3} s  {}  -> {code} {line}", took, done.what));
        let verb = args.iter().take_while(|a| !a.starts_with('-')).take(1);
        let verb = verb.chain(args.iter().filter(|a| matches!(**a, "--rewrite" | "--apply")));
        self.count(format!("{} {code}", verb.copied().collect::<Vec<_>>().join(" ")));
        self.judge(&done, allowed)?;
        Ok(done)
    }

    /// What a process that ended left.
    pub fn done(&self, running: &Running, number: u64, what: String) -> Done {
        let status = running.wait();
        let text = |kind| String::from_utf8(fs::read(self.output(number, kind)).unwrap()).unwrap();
        let (mut stdout, stderr) = (text("out"), text("err"));
        if status.code().is_none() {
            // The last line may be half of one.
            stdout.truncate(stdout.rfind('\n').map_or(0, |end| end + 1));
        }
        for kind in ["out", "err"] {
            fs::remove_file(self.output(number, kind)).unwrap();
        }
        // A signal that is not ours is no end that a command may have.
        let signal = || (!running.was_killed()).then_some(-status.signal().unwrap_or_default());
        let code = status.code().or_else(signal);
        Done { what, code, stdout, stderr }
    }

    /// The rules for every command.
    pub fn judge(&self, done: &Done, allowed: &[i32]) -> Step {
        for line in done.stderr.lines().filter(|line| line.starts_with("warning: ")) {
            self.count(line.replace(|c: char| c.is_ascii_digit(), "#"));
        }
        if done.stderr.contains("panicked") {
            return self.fail("a command panicked", Some(done));
        }
        match done.code {
            None | Some(0 | 3 | 11) => Ok(()),
            Some(code) if allowed.contains(&code) => Ok(()),
            Some(4) => self.fail("a command found damage", Some(done)),
            Some(_) => self.fail("a command ended as it never may", Some(done)),
        }
    }

    /// A path for a restored file, and what removes it.
    pub fn target(&self) -> Target {
        Target(self.path("out").join(format!("{}.db", self.number())))
    }
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("{word:?}") } else { word.to_owned() }
}

/// A restored file; removed when it is not needed any more, unless the test is failing.
pub struct Target(pub PathBuf);

impl Target {
    pub fn text(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Everything below a folder that is a file.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
