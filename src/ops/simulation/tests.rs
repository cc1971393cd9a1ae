//! Schedules by chance, by priorities, and all of a small case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::cast::Role;
use super::play::{Outcome, Script, repeat};
use super::schedule::Director;
use super::schedule::{PROLOGUE, Point, Turn};

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
    try_schedules(Script::new, variable("PAGEKEEP_SCHEDULES").unwrap_or(1500));
}

#[test]
fn no_schedule_loses_more_than_damage_did() {
    try_schedules(Script::damaged, variable("PAGEKEEP_SCHEDULES").unwrap_or(300));
}

fn try_schedules(script_of: fn(u64) -> Script, count: u64) {
    let first = variable("PAGEKEEP_SCHEDULE_SEED").unwrap_or(1);
    let next = AtomicU64::new(first);
    let steps = AtomicU64::new(0);
    let began = Instant::now();
    // A core idles while one actor wakes another: more runs than cores keep it at work.
    let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    let found = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= first.saturating_add(count) {
                            return None;
                        }
                        let script = script_of(seed);
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

/// All schedules of two actors that switch from one to the other at most so many times before one
/// ends.
struct Small {
    script: Script,
    switches: usize,
    tried: u64,
}

impl Small {
    fn explore(&mut self, turns: &[(Point, Turn)]) {
        let outcome = self.script.run(repeat(turns), false);
        self.tried += 1;
        if outcome.violation.is_some() {
            tell(&self.script, Outcome { taken: turns.to_vec(), ..outcome });
        }
        let inside = turns.iter().filter(|(at, _)| *at != PROLOGUE).count();
        if inside == self.switches {
            return;
        }
        // Only behind the last switch, so that each set of them is tried once.
        let last = turns.iter().rev().find(|(at, _)| *at != PROLOGUE).map(|(at, _)| *at);
        let from = last.map_or(0, |last| {
            outcome.points.iter().position(|at| *at == last).map_or(usize::MAX, |at| at + 1)
        });
        for at in outcome.points.iter().skip(from) {
            let mut more = turns.to_vec();
            more.push((*at, Turn::Switch(1 - at.0.min(1))));
            self.explore(&more);
        }
    }
}

#[test]
fn no_schedule_of_two_that_meet_breaks_a_promise() {
    let switches = variable("PAGEKEEP_SWITCHES").map_or(1, |n| usize::try_from(n).unwrap());
    let roles = [
        Role::Backup { machine: 0, times: 1 },
        Role::Backup { machine: 1, times: 1 },
        Role::Prune { last: 1, grace: 0, times: 1 },
        Role::Label { times: 1 },
        Role::Copy { times: 1 },
        Role::Restore { times: 1 },
    ];
    let pairs = (0..roles.len()).flat_map(|a| (a..roles.len()).map(move |b| (a, b)));
    let mut tried = 0;
    // A machine has one writer at a time; who only reads does not meet who only reads.
    for (a, b) in pairs.filter(|pair| ![(0, 0), (5, 5)].contains(pair)) {
        let cast = vec![roles[a].clone(), roles[b].clone()];
        let seed = u64::try_from(a * 10 + b).unwrap();
        let script = Script { seed, beginning: 1, cast, fan: 2, inline: 100_000 };
        let mut small = Small { script, switches, tried: 0 };
        for first in [0, 1] {
            let turns: Vec<(Point, Turn)> =
                if first == 0 { Vec::new() } else { vec![(PROLOGUE, Turn::Switch(1))] };
            small.explore(&turns);
        }
        tried += small.tried;
    }
    eprintln!("{tried} schedules with at most {switches} switches");
}
