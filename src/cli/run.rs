//! `run`: the daemon, by a configuration file.

use std::time::Instant;

use super::configured::load;
use super::context::Context;
use super::equivalent::command;
use super::journal;
use super::progress::{stop_requested, take_reload};
use super::remedy::named;
use crate::api::config::RunSummary;
use crate::count::counted;
use crate::daemon::words::Words;
use crate::daemon::{self, Place, Wishes};
use crate::error::Result;
use crate::types::{Clock, Timestamp};

/// How the daemon speaks to people.
const WORDS: Words = Words { remedy: named, instead: command };

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

pub(crate) fn run(context: &Context) -> Result<()> {
    let (config, text) = load(&context.out, context.config_file()?)?;
    journal::begin(context);
    let began = Instant::now();
    let place = Place { state_dir: context.state_dir()?, clock: clock() };
    let done = daemon::run(config, text, place, WORDS, &Signals)?;
    if done.unstored > 0 {
        let unstored = counted(done.unstored, "database");
        context
            .out
            .warn(&format!("not all is stored of {unstored}, which the next run makes up for"));
    }
    context.out.json_summary(&RunSummary {
        databases: done.databases,
        commits: done.commits,
        jobs: done.jobs,
        unstored: done.unstored,
        seconds: began.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// This machine's clock; for tests, what a file says that they write, in microseconds since 1970.
pub(super) fn clock() -> Clock {
    let Some(file) = std::env::var_os("PAGEKEEP_TEST_CLOCK") else { return Clock::default() };
    let told = move || std::fs::read_to_string(&file).ok()?.trim().parse().ok().map(Timestamp);
    Clock::new(move || told().unwrap_or_else(Timestamp::now))
}
