//! Threads for what takes long, so that the supervisor never waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::codec::pool::panicked;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Monitor, check_cancelled};

/// How often whoever waits looks whether it is to stop.
const TICK: Duration = Duration::from_millis(50);

type Task = Box<dyn FnOnce() + Send>;

/// A number of threads that take tasks in the order in which they come. Dropping it waits for
/// nobody, since a task may hang for ever: what was given is done, and then the threads end.
#[derive(Debug)]
pub(super) struct Pool {
    tasks: Sender<Task>,
    /// Whether no more tasks are begun.
    ended: Arc<AtomicBool>,
    /// Tells when all threads have ended: each holds the other end.
    alive: Receiver<()>,
}

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failure`] when the system starts none.
    pub(super) fn start(name: &str, threads: usize) -> Result<Self> {
        let (tasks, queue) = unbounded::<Task>();
        let (lives, alive) = bounded(0);
        let pool = Self { tasks, ended: Arc::default(), alive };
        for _ in 0..threads {
            let (queue, ended, lives) = (queue.clone(), pool.ended.clone(), lives.clone());
            let work = move || {
                let _lives: Sender<()> = lives;
                while let Ok(task) = queue.recv() {
                    if ended.load(Ordering::Relaxed) {
                        continue;
                    }
                    // Whoever gave it learns of a panic by what it answers, or does not.
                    let _ = catch_unwind(AssertUnwindSafe(task));
                }
            };
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
            let failed = |e| Error::io(e, "cannot be started", "a thread of the daemon");
            drop(thread.map_err(failed)?);
        }
        Ok(pool)
    }

    /// Begins no more tasks, and waits until those that began are done, until then at most.
    /// Answers whether they are.
    pub(super) fn end(self, until: Instant) -> bool {
        let Self { tasks, ended, alive } = self;
        ended.store(true, Ordering::Relaxed);
        drop(tasks);
        // Nobody sends anything.
        matches!(alive.recv_deadline(until), Err(RecvTimeoutError::Disconnected))
    }

    /// A hand that gives it tasks, for somebody else.
    pub(super) fn hand(&self) -> Hand {
        Hand(self.tasks.clone())
    }

    /// Has a task done.
    pub(super) fn give(&self, task: impl FnOnce() + Send + 'static) {
        // The threads take tasks as long as the sender is there.
        let _ = self.tasks.send(Box::new(task));
    }
}

/// Gives tasks to a pool, for as long as there is one that has it.
#[derive(Clone, Debug)]
pub(super) struct Hand(Sender<Task>);

impl Hand {
    /// Has a task done, and waits for what it answers, until then at most. The task hears by its
    /// control that nobody waits any more.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Busy`] when nothing is answered in time;
    /// [`crate::ErrorKind::Interrupted`].
    pub(super) fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        monitor: &dyn Monitor,
        stop: impl FnOnce(),
        task: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = bounded(1);
        // Who does not wait any more needs no answer.
        let _ = self.0.send(Box::new(move || drop(tell.send(guarded(task)))));
        let now = Instant::now();
        let until = now.checked_add(patience).unwrap_or(now);
        let ended = loop {
            match told.recv_timeout(TICK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => break Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Err(e) = check_cancelled(monitor) {
                break Err(e);
            }
        };
        stop();
        ended.and_then(|()| Err(Error::new(ErrorKind::Busy, "gave no answer in time")))
    }
}

/// What a task comes to; a panic of ours is an error like any other, so that whoever waits for an
/// answer gets one.
pub(super) fn guarded<T>(task: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|_| Err(panicked()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn nobody_waits_for_a_task_that_hangs_longer_than_said() {
        let pool = Pool::start("test", 2).unwrap();
        let (go, wait) = bounded::<()>(0);
        let (tell, told) = unbounded();
        pool.give(move || {
            let _ = wait.recv();
        });
        for n in 0..3 {
            let tell = tell.clone();
            pool.give(move || tell.send(n).unwrap());
        }
        // The other thread does all that comes behind.
        assert_eq!((0..3).map(|_| told.recv().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!pool.end(Instant::now() + Duration::from_millis(10)));
        drop(go);

        let pool = Pool::start("test", 1).unwrap();
        let (go, wait) = bounded::<()>(0);
        let hand = pool.hand();
        let stopped = AtomicBool::new(false);
        let task = move || {
            let _ = wait.recv();
            Ok(())
        };
        let stop = || stopped.store(true, Ordering::Relaxed);
        let busy = hand.ask(Duration::from_millis(10), &Silent, stop, task).unwrap_err();
        assert_eq!((busy.kind(), stopped.load(Ordering::Relaxed)), (ErrorKind::Busy, true));
        drop(go);
        assert_eq!(hand.ask(Duration::from_secs(3600), &Silent, || (), || Ok(7)).unwrap(), 7);
        // What was given is done, though the pool is gone.
        drop(pool);
        assert_eq!(hand.ask(Duration::from_secs(3600), &Silent, || (), || Ok(8)).unwrap(), 8);

        let pool = Pool::start("test", 1).unwrap();
        assert!(pool.end(Instant::now() + Duration::from_secs(60)));
    }
}
