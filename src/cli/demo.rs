//! `demo`: a shop's database, a busy application, a mistake, and the way back, all in one folder.
//!
//! Every step is the real binary, run as its own process, and printed so that it can be repeated by
//! hand in the folder. The application is a second process, too: `demo-writer`, which stops as soon
//! as its standard input closes, so that it never outlives the demo.

use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::args::DemoArgs;
use super::context::Context;
use super::output::{counted, quote};
use super::progress::stop_requested;
use super::shop;
use super::terminal::bold;
use crate::api::demo::{DemoSummary, Step};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::stopped;
use crate::types::{random_bytes, write_hex};

/// The word that makes this program the demo's application.
pub(crate) const WRITER: &str = "demo-writer";
/// What the good state is called.
const LABEL: &str = "before the mistake";
/// How many orders the application has to commit before and after a backup.
const ORDERS: u32 = 50;
/// The variables that would lead the children somewhere else.
const VARIABLES: [&str; 4] =
    ["PAGEKEEP_REPO", "PAGEKEEP_KEY_FILE", "PAGEKEEP_PASSWORD", "PAGEKEEP_STATE_DIR"];

pub(crate) fn demo(context: &Context, args: &DemoArgs) -> Result<()> {
    let dir = make_folder(args)?;
    let program = std::env::current_exe()
        .map_err(|e| Error::io(e, "cannot be found", "the running program"))?;
    let told = run(&Demo { context, dir: dir.clone(), program })
        .map_err(|e| e.with_hint(format!("the demo's files are in {}", dir.display())));
    if args.cleanup {
        std::fs::remove_dir_all(&dir)
            .map_err(|e| Error::io(e, "cannot be removed", dir.display().to_string()))?;
    }
    let (before, rescued) = told?;
    context.out.json_summary(&DemoSummary {
        dir: dir.to_string_lossy().into_owned(),
        orders_before: before,
        orders_rescued: rescued,
        kept: !args.cleanup,
    });
    if args.cleanup {
        context.out.summary("");
        context.out.summary("Done; the folder was removed.");
    } else {
        context.out.summary("");
        let dir = dir.display();
        context
            .out
            .summary(format_args!("Done. The database, the repository and its key are in {dir}"));
        context.out.summary(
            "Go there and try `pagekeep show shop@latest~1 -r repo --key-file key`, or `status`, or `key list`.",
        );
    }
    Ok(())
}

fn make_folder(args: &DemoArgs) -> Result<PathBuf> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            let mut name = String::from("pagekeep-demo-");
            write_hex(&mut name, &random_bytes::<4>()?)
                .map_err(|e| failed("has no name").with_source(e))?;
            std::env::temp_dir().join(name)
        }
    };
    DirBuilder::new().mode(0o700).create(&dir).map_err(|e| {
        let exists = e.kind() == io::ErrorKind::AlreadyExists;
        let error = Error::io(e, "cannot be created", dir.display().to_string());
        if exists {
            return error
                .with_kind(ErrorKind::Refused)
                .with_hint("name a folder that does not exist");
        }
        error
    })?;
    std::fs::canonicalize(&dir)
        .map_err(|e| Error::io(e, "cannot be found", dir.display().to_string()))
}

/// The story. Answers the number of orders in the good state and after the rescue.
fn run(demo: &Demo<'_>) -> Result<(u32, u32)> {
    let database = demo.dir.join("shop.db");
    demo.say("A shop's database, in WAL mode, with customers, products and orders:");
    demo.show(&format!("cd {}", quote(&demo.dir.to_string_lossy())));
    demo.show(&format!("alias pagekeep={}", quote(&demo.program.to_string_lossy())));
    shop::create(&database)?;
    let orders = shop::count(&database, "orders")?;
    demo.say(&format!("shop.db has {}.", counted(orders.into(), "order")));

    demo.next("A repository, and the key that opens it:");
    demo.pagekeep(&["init", "-r", "repo", "--key-file", "key"])?;

    demo.next("An application begins to sell, many orders a second, and goes on while we back up:");
    let application = Application::start(demo)?;
    application.wait_for_orders(&database, orders + ORDERS)?;
    demo.pagekeep(&["backup", "shop.db"])?;
    application.wait_for_orders(&database, orders + 3 * ORDERS)?;
    demo.pagekeep(&["backup", "shop.db"])?;
    application.stop()?;

    demo.next(
        "The application stops, and before somebody tidies up, one more backup, with a label:",
    );
    demo.pagekeep(&["backup", "shop.db", "--label", LABEL])?;
    let good = shop::count(&database, "orders")?;

    demo.next("The mistake, in SQL:");
    demo.show(&format!("sqlite3 shop.db \"{}\"", shop::MISTAKE));
    shop::execute(&database, shop::MISTAKE)?;
    demo.say(&format!(
        "shop.db has {} left, and nobody notices before the next backup:",
        counted(shop::count(&database, "orders")?.into(), "order")
    ));
    demo.pagekeep(&["backup", "shop.db"])?;
    demo.pagekeep(&["log", "shop"])?;

    demo.next("The moment before the mistake comes back, beside the broken database:");
    let target = format!("shop@{LABEL}");
    demo.pagekeep(&["restore", &target, "rescued.db"])?;
    demo.next("The proof: a restore to scratch, SQLite's own checks, and what the shop itself holds to be true:");
    let assertion = shop::INVARIANT;
    demo.pagekeep(&["verify", &target, "--level", "restore", "--assert", assertion])?;

    let rescued = shop::count(&demo.dir.join("rescued.db"), "orders")?;
    if rescued != good {
        return Err(failed(&format!("rescued.db has {rescued} orders instead of {good}")));
    }
    demo.next(&format!("rescued.db has all {} again.", counted(rescued.into(), "order")));
    Ok((good, rescued))
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Failure, format!("the demo failed: {what}"))
}

struct Demo<'c> {
    context: &'c Context,
    dir: PathBuf,
    program: PathBuf,
}

impl Demo<'_> {
    fn say(&self, text: &str) {
        self.context.out.summary(text);
    }

    /// The next part of the story.
    fn next(&self, text: &str) {
        self.say("");
        self.say(text);
    }

    fn show(&self, command: &str) {
        self.context.out.summary(bold(format_args!("$ {command}")));
    }

    /// Runs a command of ours in the folder, printed first, and fails if it does.
    fn pagekeep(&self, args: &[&str]) -> Result<()> {
        if stop_requested() {
            return Err(stopped());
        }
        let mut args: Vec<&str> = args.to_vec();
        if args.first() != Some(&"init") {
            args.extend(["-r", "repo", "--key-file", "key"]);
        }
        args.extend(["--state-dir", "state"]);
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
            return Ok(());
        }
        // Ctrl-C reaches every process of a terminal.
        if stop_requested() || output.status.code() == Some(130) {
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

/// The second process. Dropping it, or dying, closes its standard input, and that ends it.
struct Application {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Application {
    fn start(demo: &Demo<'_>) -> Result<Self> {
        demo.show(
            "sleep 10 | pagekeep demo-writer shop.db &    # sells until its standard input closes",
        );
        let mut child = demo
            .command()
            .args([WRITER, "shop.db"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|e| Error::io(e, "cannot be started", "the application"))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }

    /// Waits until the application has committed so many orders; it has a minute for it.
    fn wait_for_orders(&self, database: &Path, orders: u32) -> Result<()> {
        for _ in 0..6000 {
            if stop_requested() {
                return Err(stopped());
            }
            if shop::count(database, "orders")? >= orders {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Err(failed("the application does not sell"))
    }

    fn stop(mut self) -> Result<()> {
        self.stdin = None;
        let status =
            self.child.wait().map_err(|e| Error::io(e, "cannot be stopped", "the application"))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(&format!("the application ended with {status}")))
    }
}

impl Drop for Application {
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
            // Anything but more input means that the demo is over.
            let mut byte = [0; 64];
            while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
            closed.store(true, Ordering::Relaxed);
        });
        let mut connection =
            Connection::open(database).map_err(|e| shop::sql_failed(database, &e))?;
        for order in 0.. {
            if closed.load(Ordering::Relaxed) {
                break;
            }
            shop::sell(&mut connection, order).map_err(|e| shop::sql_failed(database, &e))?;
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(())
    })
}
