//! `run`: the daemon, by a configuration file.

use std::io::IsTerminal;
use std::time::Instant;

use tracing::Level;

use super::args::RunArgs;
use super::config::load;
use super::context::Context;
use super::progress::{reload_at_hangup, stop_requested, take_reload};
use crate::api::config::RunSummary;
use crate::daemon::{self, Place, Wishes};
use crate::error::Result;
use crate::types::Clock;

/// What signals wish.
struct Signals;

impl Wishes for Signals {
    fn stop(&self) -> bool {
        stop_requested()
    }

    fn reload(&self) -> bool {
        take_reload()
    }
}

pub(crate) fn run(context: &Context, args: &RunArgs) -> Result<()> {
    reload_at_hangup();
    let (config, text) = load(context, &args.config)?;
    log(context);
    let state_dir = match &config.state_dir {
        Some(dir) => dir.clone(),
        None => context.state_dir()?,
    };
    let began = Instant::now();
    let place = Place { state_dir, clock: Clock::default() };
    let done = daemon::run(config, text, place, &Signals)?;
    context.out.json_summary(&RunSummary {
        databases: done.databases,
        commits: done.commits,
        jobs: done.jobs,
        seconds: began.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// Writes the log to standard error: lines for people, or with `--json` one object a line.
fn log(context: &Context) {
    let level = match (context.out.quiet, context.out.verbose) {
        (true, _) => Level::WARN,
        (_, true) => Level::DEBUG,
        _ => Level::INFO,
    };
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false);
    if context.out.json {
        log.json().flatten_event(true).with_current_span(false).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
