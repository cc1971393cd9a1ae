//! Progress on stderr: a bar on a terminal, a line now and then elsewhere, lines of JSON with `--json`.
//!
//! People are shown nothing for work of under a second; programs get a line at the start of each phase.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::output::{Output, bytes, stderr_is_terminal};
use crate::progress::{Monitor, Phase};

/// Set by the first Ctrl-C or SIGTERM.
static STOP: AtomicBool = AtomicBool::new(false);

/// How soon work is long enough to show progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether Ctrl-C or SIGTERM came.
pub(crate) fn stop_requested() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Makes Ctrl-C and SIGTERM stop the work cleanly. A second one ends the process at once, which loses nothing
/// that was published.
pub(crate) fn catch_signals() {
    let caught = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
    // Without a handler the signals end the process, which is as safe.
    let _ = caught;
}

/// Draws progress.
pub(crate) struct Progress {
    out: Output,
    state: Mutex<State>,
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
        Self { out: out.clone(), state: Mutex::new(state) }
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
            let (done, total) = (state.done, state.total);
            let bar = state.bar.get_or_insert_with(|| new_bar(phase, total, elapsed));
            bar.set_position(done);
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
        let left = state.total.map(|total| total.saturating_sub(state.done));
        self.out.object(&json!({
            "type": "progress",
            "phase": phase.name(),
            "done_bytes": state.done,
            "total_bytes": state.total,
            "bytes_per_second": rate,
            "eta_seconds": left.and_then(|left| left.checked_div(rate)),
        }));
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
        let state = self.state();
        match &state.bar {
            Some(bar) => bar.suspend(|| self.out.warn(message)),
            None => self.out.warn(message),
        }
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

fn new_bar(phase: Phase, total: Option<u64>, elapsed: Duration) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => {
            "{msg:>8} [{bar:30}] {binary_bytes:>10} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
        }
        None => "{msg:>8} {spinner} {binary_bytes}",
    };
    // The templates are constants, and a test draws them.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_elapsed(elapsed).with_message(phase.name())
}

fn rate(done: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    done.saturating_mul(1000) / millis
}

fn eta(done: u64, total: u64, rate: u64) -> String {
    match total.saturating_sub(done).checked_div(rate) {
        Some(seconds) if seconds >= 60 => format!("{} min {} s", seconds / 60, seconds % 60),
        Some(seconds) => format!("{seconds} s"),
        None => "unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound_and_times_read_well() {
        for total in [Some(100), None] {
            let bar = new_bar(Phase::Capture, total, Duration::from_secs(2));
            bar.set_draw_target(ProgressDrawTarget::hidden());
            bar.set_position(50);
        }
        assert_eq!(rate(500, Duration::from_millis(250)), 2000);
        assert_eq!(eta(0, 1000, 10), "1 min 40 s");
        assert_eq!(eta(0, 1000, 0), "unknown time");
    }
}
