//! Schedules by chance, by priorities, and all of a small case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::play::{Outcome, Script, repeat};
use super::schedule::Director;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// Tells what went wrong, as a story that can be run again.
fn tell(script: &Script, outcome: Outcome) -> ! {
    let (small, turns) = script.shrink(outcome.taken);
    let again = small.run(repeat(&turns), true);
    panic!(
        "seed {}: {}\n{:?}\n{turns:?}\n{}\n(it was: {})",
        script.seed,
        again.violation.unwrap_or_default(),
        small,
        again.story.join("\n"),
        outcome.violation.unwrap_or_default(),
    );
}

#[test]
fn no_schedule_breaks_a_promise() {
    let first = variable("PAGEKEEP_SCHEDULE_SEED").unwrap_or(1);
    let count = variable("PAGEKEEP_SCHEDULES").unwrap_or(1500);
    let next = AtomicU64::new(first);
    let steps = AtomicU64::new(0);
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= first.saturating_add(count) {
                            return None;
                        }
                        let script = Script::new(seed);
                        let outcome = script.run(Director::new(seed), false);
                        steps.fetch_add(outcome.steps.into(), Ordering::Relaxed);
                        if outcome.violation.is_some() {
                            next.store(u64::MAX / 2, Ordering::SeqCst);
                            return Some((script, outcome));
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().find_map(|worker| worker.join().unwrap())
    });
    let tried = next.load(Ordering::SeqCst).min(first.saturating_add(count)) - first;
    eprintln!("{tried} schedules, {} steps, {:?}", steps.into_inner(), began.elapsed());
    if let Some((script, outcome)) = found {
        tell(&script, outcome);
    }
}
