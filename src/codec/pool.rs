//! A pool of workers over a stream of tasks.
//!
//! Invariants: each worker has its own state; the first error stops all and is the one that comes
//! back; tasks are taken in order, though they may finish in any.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// How many workers to use when nobody says: one for each core.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs `work` on every task, on `threads` threads; on the calling one if that is one. `state`
/// makes what each worker keeps.
///
/// # Errors
/// The first error of `state`, of a task, or of its work.
pub fn for_each<T: Send, W>(
    threads: usize,
    tasks: impl Iterator<Item = Result<T>> + Send,
    state: impl Fn() -> Result<W> + Sync,
    work: impl Fn(&mut W, T) -> Result<()> + Sync,
) -> Result<()> {
    let tasks = Mutex::new(tasks);
    let stop = AtomicBool::new(false);
    let run = || -> Result<()> {
        let mut own = state()?;
        while !stop.load(Ordering::Relaxed) {
            let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(task) = next else { break };
            work(&mut own, task?)?;
        }
        Ok(())
    };
    if threads <= 1 {
        return run();
    }
    let run = || run().inspect_err(|_| stop.store(true, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut result = Ok(());
        for worker in workers {
            let ended = worker.join().unwrap_or_else(|_| Err(panicked()));
            result = result.and(ended);
        }
        result
    })
}

/// The error that stands for a worker's panic, which is a defect of ours.
pub(crate) fn panicked() -> Error {
    Error::new(ErrorKind::Failure, "a worker thread panicked")
        .with_hint("this is a defect of pagekeep; please report it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_task_is_done_once_and_the_first_error_stops_all() {
        let sum = AtomicU64::new(0);
        for_each(
            4,
            (1..=1000u64).map(Ok),
            || Ok(()),
            |(), n| {
                sum.fetch_add(n, Ordering::Relaxed);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(sum.into_inner(), 500_500);

        let done = AtomicU64::new(0);
        let result = for_each(
            2,
            (0..1_000_000u64).map(Ok),
            || Ok(()),
            |(), n| {
                done.fetch_add(1, Ordering::Relaxed);
                if n == 100 { Err(Error::new(ErrorKind::Busy, "enough")) } else { Ok(()) }
            },
        );
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Busy);
        assert!(done.into_inner() < 1_000_000);
    }
}
