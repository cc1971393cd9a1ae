//! Threads for what takes long, so that the supervisor never waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, unbounded};

use crate::codec::pool::panicked;
use crate::error::{Error, Result};

type Task = Box<dyn FnOnce() + Send>;

/// A number of threads that take tasks in the order in which they come. Dropping it waits until
/// those that began are done; the others are never begun.
#[derive(Debug)]
pub(super) struct Pool {
    tasks: Option<Sender<Task>>,
    /// Whether no more tasks are begun.
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts so many threads.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failure`] when the system starts none.
    pub(super) fn start(name: &str, threads: usize) -> Result<Self> {
        let (tasks, queue) = unbounded::<Task>();
        let mut pool = Self {
            tasks: Some(tasks),
            ended: Arc::default(),
            threads: Vec::with_capacity(threads),
        };
        for _ in 0..threads {
            let (queue, ended) = (queue.clone(), pool.ended.clone());
            let work = move || {
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
            pool.threads.push(thread.map_err(failed)?);
        }
        Ok(pool)
    }

    /// Has a task done.
    pub(super) fn give(&self, task: impl FnOnce() + Send + 'static) {
        if let Some(tasks) = &self.tasks {
            // The threads take tasks as long as the sender is there.
            let _ = tasks.send(Box::new(task));
        }
    }
}

/// What a task comes to; a panic of ours is an error like any other, so that whoever waits for an
/// answer gets one.
pub(super) fn guarded<T>(task: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(task)).unwrap_or_else(|_| Err(panicked()))
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.tasks = None;
        for thread in self.threads.drain(..) {
            // A task that panicked was caught.
            let _ = thread.join();
        }
    }
}
