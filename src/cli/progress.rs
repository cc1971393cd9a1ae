//! Progress on stderr: a bar on a terminal, a line now and then elsewhere, lines of JSON with
//! `--json`.
//!
//! People are shown nothing for work of under a second; programs get a line at the start of each
//! phase.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::bar::{self, eta, rate};
use super::echo::show_typing;
use super::output::{Output, bytes, stderr_is_terminal};
use super::remedy::said;
use crate::api::progress;
use crate::progress::{Monitor, Phase};
use crate::remedy::Advice;

/// Set by the first Ctrl-C or SIGTERM, or SIGHUP.
static STOP: AtomicBool = AtomicBool::new(false);
/// What SIGHUP asks for, which the command says.
static HANGUP: Mutex<Hangup> = Mutex::new(Hangup::Early(false));
/// Set by SIGHUP where it asks for the configuration to be read again.
static RELOAD: AtomicBool = AtomicBool::new(false);

/// What SIGHUP means.
#[derive(Debug, PartialEq, Eq)]
enum Hangup {
    /// It is not known yet which command this is; whether it came already.
    Early(bool),
    /// The work is to stop.
    Stops,
    /// The configuration is to be read again.
    Reloads,
}

/// What is to be done about a SIGHUP now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
}

impl Hangup {
    /// One came.
    fn came(&mut self) -> Option<Wish> {
        match self {
            Self::Early(came) => {
                *came = true;
                None
            }
            Self::Stops => Some(Wish::Stop),
            Self::Reloads => Some(Wish::Reload),
        }
    }

    /// It is known what it means. Answers what is to be done about one that came before.
    fn decided(&mut self, reloads: bool) -> Option<Wish> {
        let came = *self == Self::Early(true);
        *self = if reloads { Self::Reloads } else { Self::Stops };
        if came { self.came() } else { None }
    }
}

/// How soon work is long enough to show progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether Ctrl-C or SIGTERM came.
pub(crate) fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Asks for a stop, as Ctrl-C does.
pub(crate) fn request_stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// Whether a stop was asked for; it is obeyed then, and the next one is another.
pub(crate) fn take_stop() -> bool {
    STOP.swap(false, Ordering::SeqCst)
}

/// Makes Ctrl-C and SIGTERM stop the work cleanly. A second one ends the process at once, which
/// loses nothing that was published.
pub(crate) fn catch_signals() {
    // Without a handler the signals end the process, which is as safe.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                let mut hangup = HANGUP.lock().unwrap_or_else(PoisonError::into_inner);
                match hangup.came() {
                    Some(Wish::Stop) => {}
                    Some(Wish::Reload) => {
                        RELOAD.store(true, Ordering::SeqCst);
                        continue;
                    }
                    None => continue,
                }
            }
            if STOP.swap(true, Ordering::SeqCst) {
                show_typing();
                std::process::exit(130);
            }
        }
    });
}

/// Says what SIGHUP means for this command: that its configuration is to be read again, or else
/// that it is to stop. One that came before counts.
pub(crate) fn hangup_reloads(reloads: bool) {
    let mut hangup = HANGUP.lock().unwrap_or_else(PoisonError::into_inner);
    match hangup.decided(reloads) {
        Some(Wish::Reload) => RELOAD.store(true, Ordering::SeqCst),
        Some(Wish::Stop) => request_stop(),
        None => {}
    }
}

/// Whether SIGHUP came since this was last asked.
#[cfg(feature = "cli")]
pub(crate) fn take_reload() -> bool {
    RELOAD.swap(false, Ordering::SeqCst)
}

/// Draws progress.
pub(crate) struct Progress {
    out: Output,
    state: Mutex<State>,
    /// Warnings that were told: of several steps each may find the same.
    told: Mutex<HashSet<String>>,
}

struct State {
    phase: Option<Phase>,
    total: Option<u64>,
    done: u64,
    began: Instant,
    shown: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(out: &Output) -> Self {
        let now = Instant::now();
        let state = State { phase: None, total: None, done: 0, began: now, shown: now, bar: None };
        Self { out: out.clone(), state: Mutex::new(state), told: Mutex::default() }
    }

    /// Prints without tearing the bar that is drawn.
    pub(crate) fn beside(&self, print: impl FnOnce()) {
        match &self.state().bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_phase(&self, state: &mut State) {
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(phase) = state.phase.take() {
            let took = state.began.elapsed().as_secs_f64();
            let of =
                if state.done > 0 { format!(", {}", bytes(state.done)) } else { String::new() };
            self.out.detail(format_args!("{}: {took:.2} s{of}", phase.name()));
        }
    }

    fn show(&self, state: &mut State) {
        let Some(phase) = state.phase else { return };
        let elapsed = state.began.elapsed();
        if self.out.json {
            if state.shown.elapsed() >= Duration::from_millis(500) {
                state.shown = Instant::now();
                self.show_json(phase, state, elapsed);
            }
            return;
        }
        if self.out.quiet || elapsed < PATIENCE {
            return;
        }
        if stderr_is_terminal() {
            let line = bar::line(phase.name(), state.done, state.total, elapsed);
            state.bar.get_or_insert_with(new_line).set_message(line);
        } else if state.shown.elapsed() >= Duration::from_secs(5) {
            state.shown = Instant::now();
            let rate = rate(state.done, elapsed);
            let of = state.total.map_or(String::new(), |total| {
                format!(" of {}, {} left", bytes(total), eta(state.done, total, rate))
            });
            let (phase, done) = (phase.name(), bytes(state.done));
            self.out.note(format_args!("{phase}: {done}{of}, {}/s", bytes(rate)));
        }
    }

    fn show_json(&self, phase: Phase, state: &State, elapsed: Duration) {
        let rate = rate(state.done, elapsed);
        self.out.object(&progress::Progress::of(phase, state.done, state.total, rate));
    }
}

impl Monitor for Progress {
    fn phase(&self, phase: Phase, total: Option<u64>) {
        let mut state = self.state();
        self.end_phase(&mut state);
        let now = Instant::now();
        *state = State { phase: Some(phase), total, done: 0, began: now, shown: now, bar: None };
        if self.out.json {
            self.show_json(phase, &state, Duration::ZERO);
        }
    }

    fn advance(&self, by: u64) {
        let mut state = self.state();
        state.done = state.done.saturating_add(by);
        self.show(&mut state);
    }

    fn warn(&self, message: &str) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(message.to_owned()) {
            self.beside(|| self.out.warn(message));
        }
    }

    fn advise(&self, advice: &Advice) {
        self.warn(&said(advice));
    }

    fn cancelled(&self) -> bool {
        stop_requested()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.state();
        self.end_phase(&mut state);
    }
}

/// A line that is drawn anew with every message.
pub(crate) fn new_line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        line.set_style(style);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager may ask for the configuration to be read again before the command line is.
    #[test]
    fn a_hangup_that_comes_early_means_what_it_means_later() {
        for (reloads, wish) in [(true, Wish::Reload), (false, Wish::Stop)] {
            let mut hangup = Hangup::Early(false);
            assert_eq!((hangup.decided(reloads), hangup.came()), (None, Some(wish)));
            let mut early = Hangup::Early(false);
            assert_eq!((early.came(), early.came()), (None, None));
            assert_eq!((early.decided(reloads), early.came()), (Some(wish), Some(wish)));
        }
    }
}
