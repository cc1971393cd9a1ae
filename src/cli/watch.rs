//! `watch`: follow a database until stopped, and show how it goes.
//!
//! One line on stdout for each published group, or one JSON object for each commit; on a terminal a
//! line on stderr that tells how it stands right now.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::args::{self, WatchArgs};
use super::context::Context;
use super::describe::marked;
use super::output::{Output, bytes, count, counted, stderr_is_terminal, time};
use super::progress::{Progress, new_line, stop_requested};
use super::terminal::printable;
use crate::api::commit::{Commit, Mark};
use crate::api::follow::{self as answers, Marked, Recovered, Scan, WatchSummary};
use crate::capture::commit::CaptureOptions;
use crate::capture::follow::{Activity, Event, FollowOptions, Follower, Listener, Status};
use crate::codec::batch::SelfCheck;
use crate::error::{ErrorKind, Result};
use crate::format::segment::{CommitKind, CommitRecord};
use crate::ops::follow::WatchOptions;
use crate::ops::locate::Database;
use crate::ops::missing::{Missing, if_missing};
use crate::progress::{Monitor, Phase, Silent};
use crate::remedy::Advice;
use crate::repo::history::labels::Snapshot;

/// How often to look for a stop, and to draw.
const TICK: Duration = Duration::from_millis(200);
/// How often `--json` tells how it stands.
const STATUS: Duration = Duration::from_secs(5);

pub(crate) fn watch(context: &Context, args: WatchArgs) -> Result<()> {
    let began = Instant::now();
    let repository = context.repository()?;
    if args.restore_if_missing {
        let progress = Progress::new(&context.out);
        let (name, restore) = (args.name.as_deref(), Missing::Restore);
        let restored =
            if_missing(&repository, &args.database, name, restore, args.adopt, &progress)?;
        drop(progress);
        if let Some(seq) = restored {
            let file = args.database.display();
            context.out.summary(format_args!("{file} was not there: restored seq:{seq}"));
        }
    }
    if args.wait && !args.start_empty && matches!(args.database.try_exists(), Ok(false)) {
        // What an application makes in the place of a database that is gone would become the newest
        // state.
        let (name, refuse) = (args.name.as_deref(), Missing::Refuse);
        if_missing(&repository, &args.database, name, refuse, args.adopt, &Silent)?;
    }
    if args.wait && !wait_for(context, &args.database) {
        context.out.summary("stopped: nothing was followed");
        return Ok(());
    }
    let database = Database::at(&args.database, args.name.as_deref())?;
    let name = database.name.clone();
    let capture = CaptureOptions {
        compression: args::compression(args.compression),
        self_check: if args.self_check { SelfCheck::Every } else { SelfCheck::Sampled },
        ..CaptureOptions::default()
    };
    let options = WatchOptions {
        name: args.name,
        adopt: args.adopt,
        takeover: args.takeover,
        start_empty: args.start_empty,
        follow: FollowOptions {
            interval: args.interval,
            wal_limit: args.wal_limit,
            priority: args::priority(args.priority),
            marks: args.marks.lasts(),
            capture,
            ..FollowOptions::default()
        },
    };
    let show = Arc::new(Show::new(&context.out, &name));
    let listener: Arc<dyn Listener + Sync> = show.clone();
    let (_, follower) = repository.follow(&args.database, options, listener)?;
    context.out.summary(format_args!(
        "watching {} as {name} in {}; Ctrl-C stops",
        database.place,
        repository.store().location()
    ));
    let status = until_stopped(context, &show, &follower);
    show.clear();
    let ended = follower.stop();
    summarise(context, &show, &status, began);
    match ended {
        Err(e) if e.kind() != ErrorKind::Interrupted => Err(e),
        _ => {
            // Stopped with everything stored: a supervisor that asked for it is not told of a
            // failure.
            context.out.forgive_warnings();
            Ok(())
        }
    }
}

/// Waits until a file is there. Answers whether it is, or somebody said to stop.
fn wait_for(context: &Context, path: &Path) -> bool {
    // What can't be looked at is for others to tell.
    let is_absent = || matches!(path.try_exists(), Ok(false));
    if is_absent() {
        context.out.summary(format_args!("{} is not there yet: waiting for it", path.display()));
    }
    while is_absent() {
        if stop_requested() {
            return false;
        }
        std::thread::sleep(TICK);
    }
    true
}

/// Waits for a signal, or for the follower's own end; answers how it stood then.
fn until_stopped(context: &Context, show: &Show, follower: &Follower) -> Status {
    let mut told = Instant::now();
    loop {
        let status = follower.status();
        if stop_requested() || follower.has_ended() {
            return status;
        }
        show.draw(&status);
        if context.out.json && told.elapsed() >= STATUS {
            told = Instant::now();
            context.out.object(&answers::Follower::of(&show.name, &status));
        }
        std::thread::sleep(TICK);
    }
}

fn summarise(context: &Context, show: &Show, before: &Status, began: Instant) {
    let mut totals = show.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
    totals.scans = before.scans;
    totals.seconds = began.elapsed().as_secs_f64();
    context.out.json_summary(&totals);
    context.out.summary(format_args!(
        "stopped after {:.1} s: {}, {} of them single transactions, {} stored",
        totals.seconds,
        counted(totals.commits, "commit"),
        count(totals.transactions),
        bytes(totals.stored_bytes),
    ));
}

/// Shows what happens.
struct Show {
    out: Output,
    name: String,
    /// The progress of a scan.
    progress: Mutex<Option<Progress>>,
    /// Whether there is a line that tells how it stands: on a terminal only.
    drawn: bool,
    /// That line, while it is drawn.
    line: Mutex<Option<ProgressBar>>,
    totals: Mutex<WatchSummary>,
}

impl Show {
    fn new(out: &Output, name: &str) -> Self {
        Self {
            out: out.clone(),
            name: name.to_owned(),
            progress: Mutex::new(None),
            drawn: stderr_is_terminal() && !out.json && !out.quiet,
            line: Mutex::new(None),
            totals: Mutex::new(WatchSummary::new(name)),
        }
    }

    /// Takes away what is drawn. What is printed from now on does not bring it back.
    fn clear(&self) {
        self.end_progress();
        self.end_line();
    }

    fn end_progress(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn end_line(&self) {
        if let Some(line) = self.line.lock().unwrap_or_else(PoisonError::into_inner).take() {
            line.finish_and_clear();
        }
    }

    fn draw(&self, status: &Status) {
        if !self.drawn {
            return;
        }
        if matches!(status.activity, Activity::Scanning) {
            // The progress of the scan is there instead.
            self.end_line();
            return;
        }
        let seq = status.seq.map_or("no commit yet".to_owned(), |seq| format!("seq:{seq}"));
        let pending = match status.pending {
            0 => "all stored".to_owned(),
            n => format!("{} pending for {:.1} s", count(n), status.lag.as_secs_f64()),
        };
        let fault = status.fault.as_ref().map_or(String::new(), |f| format!(" · {}", f.message));
        let text = printable(&format!(
            "{} · {seq} · {pending} · WAL {} · {} stored{fault}",
            status.activity.name(),
            bytes(status.wal_bytes),
            bytes(status.stored),
        ));
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.get_or_insert_with(new_line).set_message(text);
    }

    /// Prints without tearing what is drawn.
    fn print(&self, print: impl FnOnce()) {
        let print = || match &*self.progress.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(progress) => progress.beside(print),
            None => print(),
        };
        match &*self.line.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(line) => line.suspend(print),
            None => print(),
        }
    }

    fn published(&self, commits: &[CommitRecord], lag: Duration) {
        let stored: u64 = commits.iter().map(|c| c.stored).sum();
        let transactions = commits.iter().filter(|c| c.kind == CommitKind::Transaction).count();
        {
            let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
            totals.commits += u64::try_from(commits.len()).unwrap_or(0);
            totals.transactions += u64::try_from(transactions).unwrap_or(0);
            totals.stored_bytes += stored;
        }
        if self.out.json {
            for commit in commits {
                self.out.object(&Commit::of(&self.name, commit.seq, commit, None));
            }
            return;
        }
        let (Some(first), Some(last)) = (commits.first(), commits.last()) else { return };
        let pages: u64 = commits.iter().map(|c| u64::from(c.changed)).sum();
        let seqs = match first.seq == last.seq {
            true => format!("seq:{}", last.seq),
            false => format!("seq:{}..{}", first.seq, last.seq),
        };
        let what = match last.kind {
            CommitKind::Transaction => {
                counted(u64::try_from(commits.len()).unwrap_or(0), "transaction")
            }
            CommitKind::Scan | CommitKind::Wal => "the whole database".to_owned(),
        };
        self.out.summary(format_args!(
            "{}@{seqs}  {}  {what}, {}, {} stored, {:.2} s",
            self.name,
            time(last.time),
            counted(pages, "page version"),
            bytes(stored),
            lag.as_secs_f64(),
        ));
    }
}

impl Show {
    fn marked(&self, mark: &Snapshot) {
        for answer in Mark::among([mark]) {
            self.out.summary(marked(&self.name, &answer));
            if self.out.json {
                self.out.object(&Marked { history: self.name.clone(), mark: answer });
            }
        }
    }
}

impl Monitor for Show {
    fn phase(&self, phase: Phase, total: Option<u64>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.get_or_insert_with(|| Progress::new(&self.out)).phase(phase, total);
    }

    fn advance(&self, by: u64) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = &*progress {
            progress.advance(by);
        }
    }

    fn warn(&self, message: &str) {
        self.print(|| self.out.warn(message));
    }

    fn advise(&self, advice: &Advice) {
        self.print(|| self.out.advise(advice));
    }
}

impl Listener for Show {
    fn event(&self, event: &Event) {
        self.end_progress();
        self.print(|| match event {
            Event::Published { commits, lag } => self.published(commits, *lag),
            Event::Scan { reason } => {
                if self.out.json {
                    self.out.object(&Scan { history: self.name.clone(), reason: reason.clone() });
                }
                self.out.trouble(format_args!(
                    "reading the whole database, and storing what differs as one commit: {reason}"
                ));
            }
            Event::Fault(fault) => {
                if self.out.json {
                    self.out.object(&answers::Fault::of(&self.name, fault));
                }
                self.out.trouble(format_args!("trouble, trying again: {}", fault.message));
            }
            Event::Recovered => {
                if self.out.json {
                    self.out.object(&Recovered { history: self.name.clone() });
                }
                self.out.trouble("it works again");
            }
            Event::Marked(mark) => self.marked(mark),
            Event::Warning(message) => self.out.warn(message),
        });
    }
}
