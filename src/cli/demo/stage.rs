//! The demo's stage: commands of ours, run as people run them, and the processes beside them.
//!
//! Each process of its own ends when its standard input does, which the demo holds: so none
//! outlives the demo, however that ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::api::demo::Step;
use crate::cli::context::Context;
use crate::cli::output::quote;
use crate::cli::progress::{request_stop, stop_requested};
use crate::cli::shop;
use crate::cli::terminal::bold;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::stopped;

/// The word that makes this program the demo's application.
pub(crate) const WRITER: &str = "demo-writer";
/// The word that makes this program a `watch` that ends with its standard input.
pub(crate) const WATCHER: &str = "demo-watch";
/// The variables that would lead the children somewhere else.
const VARIABLES: [&str; 4] =
    ["PAGEKEEP_REPO", "PAGEKEEP_KEY_FILE", "PAGEKEEP_PASSWORD", "PAGEKEEP_STATE_DIR"];
/// What leads every command but `init` to the demo's repository.
const WHERE: [&str; 6] = ["-r", "repo", "--key-file", "key", "--state-dir", "state"];
/// Where the demo's `watch` says what it does.
const LOG: &str = "watch.log";
/// How many times to look for something, 10 ms apart: a minute.
const LOOKS: u32 = 6000;

pub(super) fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Failure, format!("the demo failed: {what}"))
}

/// The folder, and the program whose commands are run in it.
pub(super) struct Stage<'c> {
    pub(super) context: &'c Context,
    pub(super) dir: PathBuf,
    pub(super) program: PathBuf,
}

impl Stage<'_> {
    pub(super) fn say(&self, text: &str) {
        self.context.out.summary(text);
    }

    /// The next part of the story.
    pub(super) fn next(&self, text: &str) {
        self.say("");
        self.say(text);
    }

    pub(super) fn show(&self, command: &str) {
        self.context.out.summary(bold(format_args!("$ {command}")));
    }

    /// Runs a command of ours in the folder, printed first, and fails if it does. Answers what it
    /// printed.
    pub(super) fn pagekeep(&self, args: &[&str]) -> Result<String> {
        if stop_requested() {
            return Err(stopped());
        }
        let args: Vec<&str> = args.iter().copied().chain(WHERE).collect();
        let shown: Vec<String> = args.iter().map(|a| quote(a)).collect();
        let command = format!("pagekeep {}", shown.join(" "));
        self.show(&command);
        let output = self
            .command()
            .args(&args)
            .output()
            .map_err(|e| Error::io(e, "cannot be run", &*command))?;
        for text in [&output.stdout, &output.stderr] {
            for line in String::from_utf8_lossy(text).lines() {
                self.say(&format!("  {line}"));
            }
        }
        if self.context.out.json {
            let exit_code = output.status.code();
            self.context.out.object(&Step { command: command.clone(), exit_code });
        }
        if output.status.success() {
            let printed = output.stdout.into_iter().chain(output.stderr).collect::<Vec<u8>>();
            return Ok(String::from_utf8_lossy(&printed).into_owned());
        }
        // Ctrl-C reaches every process of a terminal, and may end one that has just begun.
        let was_ended = output.status.signal() == Some(Signal::SIGINT as i32);
        if stop_requested() || was_ended || output.status.code() == Some(130) {
            return Err(stopped());
        }
        Err(failed(&format!("`{command}` ended with {}", output.status)))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir).stdin(Stdio::null());
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command
    }
}

/// A process beside the demo. Dropping it, or dying, closes its standard input, and that ends it.
pub(super) struct Beside {
    what: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Beside {
    /// Starts the application: it sells.
    pub(super) fn application(stage: &Stage<'_>) -> Result<Self> {
        stage.show(
            "sleep 10 | pagekeep demo-writer shop.db &    # sells until its standard input closes",
        );
        Self::start("the application", stage.command().args([WRITER, "shop.db"]))
    }

    /// Starts a `watch` of the shop's database, and waits until it follows.
    pub(super) fn watch(stage: &Stage<'_>) -> Result<Self> {
        stage.show(&format!("pagekeep watch shop.db {} > {LOG} 2>&1 &", WHERE.join(" ")));
        let path = stage.dir.join(LOG);
        let unusable = |e| Error::io(e, "cannot be used", path.display().to_string());
        let log = File::create_new(&path).map_err(unusable)?;
        let mut command = stage.command();
        command.args([WATCHER, "shop.db"]).args(WHERE);
        command.stdout(log.try_clone().map_err(unusable)?).stderr(log);
        let mut watch = Self::start("the watch", &mut command)?;
        for _ in 0..LOOKS {
            let said = std::fs::read_to_string(&path).map_err(unusable)?;
            if said.lines().any(|line| line.starts_with("watching ")) {
                return Ok(watch);
            }
            if let Some(status) = watch.child.try_wait().map_err(unusable)? {
                return Err(failed(&format!("the watch ended with {status}")));
            }
            pause()?;
        }
        Err(failed("the watch does not begin"))
    }

    fn start(what: &'static str, command: &mut Command) -> Result<Self> {
        let spawned = command.stdin(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| Error::io(e, "cannot be started", what))?;
        let stdin = child.stdin.take();
        Ok(Self { what, child, stdin })
    }

    pub(super) fn stop(mut self) -> Result<()> {
        self.stdin = None;
        let ended = self.child.wait();
        let status = ended.map_err(|e| Error::io(e, "cannot be stopped", self.what))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(&format!("{} ended with {status}", self.what)))
    }
}

/// Waits until the application has committed so many orders; it has a minute for it.
pub(super) fn wait_for_orders(database: &Path, orders: u32) -> Result<()> {
    for _ in 0..LOOKS {
        if shop::newest_order(database)? >= orders {
            return Ok(());
        }
        pause()?;
    }
    Err(failed("the application does not sell"))
}

/// Lets others work, unless somebody wants the demo to stop.
fn pause() -> Result<()> {
    if stop_requested() {
        return Err(stopped());
    }
    std::thread::sleep(Duration::from_millis(10));
    Ok(())
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// `demo-writer`: sells until its standard input closes.
pub(crate) fn write(database: &Path) -> Result<()> {
    let closed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            await_end_of_input();
            closed.store(true, Ordering::Relaxed);
        });
        let mut connection =
            Connection::open(database).map_err(|e| shop::sql_failed(database, &e))?;
        // Goes on with the orders of a run before.
        for order in shop::newest_order(database)?.. {
            if closed.load(Ordering::Relaxed) {
                break;
            }
            shop::sell(&mut connection, order).map_err(|e| shop::sql_failed(database, &e))?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })
}

/// `demo-watch`: from here on the end of the standard input is a Ctrl-C.
pub(crate) fn stop_with_input() {
    std::thread::spawn(|| {
        await_end_of_input();
        request_stop();
    });
}

/// Anything but more input means that the demo is over.
fn await_end_of_input() {
    let mut bytes = [0; 64];
    while matches!(io::stdin().read(&mut bytes), Ok(1..)) {}
}
