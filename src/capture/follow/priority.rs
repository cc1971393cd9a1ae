//! Who goes first when there is more to do than the machine can.
//!
//! Only threads that nobody waits for have a low priority: those that hash and pack what was
//! captured, and those that merge. The watching thread holds locks of SQLite's, and so does a scan;
//! while such a thread waited for its turn behind somebody's computation, the application would
//! wait with it. So those have the application's own priority, and so has what little is left to do
//! of a publication when all is packed.
//!
//! Invariants:
//! - What is lowered is a thread of ours and those that it begins, never the process.
//! - A thread of a low priority takes no lock but one for a moment that the watching thread does
//!   not wait for (`Slabs`).
//! - A low priority never costs a transaction: who falls behind has the application's.

use crate::codec::pool::panicked;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;

/// How important the follower is beside the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Priority {
    /// Hashing, packing, storing and merging give way to others, and merging waits for the machine
    /// to have little to do, up to a limit.
    #[default]
    Low,
    /// As important as the application.
    Normal,
}

/// By how much the nice value is raised: against another thread that computes, ours gets a quarter.
/// With a tenth of it, as 10 would give, a writer that uses all of a busy core is not kept up with.
#[cfg(target_os = "linux")]
const NICER: i32 = 5;

impl Priority {
    /// Does work on a thread of this priority, and waits for it.
    ///
    /// # Errors
    /// What the work answers; [`ErrorKind::Failure`] when it panics.
    pub(super) fn run<T: Send>(
        self,
        name: &str,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        if self == Self::Normal || cfg!(not(target_os = "linux")) {
            return work();
        }
        let mut work = Some(work);
        let slot = &mut work;
        let done = std::thread::scope(|scope| {
            let lowered = || {
                self.apply();
                slot.take().map(|work| work())
            };
            match std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, lowered) {
                Ok(thread) => thread.join().map_err(|_| panicked()),
                // A system without another thread has it done by this one.
                Err(_) => Ok(None),
            }
        })?;
        match (done, work) {
            (Some(done), _) => done,
            (None, Some(work)) => work(),
            (None, None) => Err(panicked()),
        }
    }

    /// Lowers the calling thread, where the system can lower one alone. Threads that it begins are
    /// as low.
    pub(super) fn apply(self) {
        #[cfg(target_os = "linux")]
        if self == Self::Low {
            use rustix::process::{getpriority_process, setpriority_process};
            // Linux takes no process for the calling thread. Without it all works as well.
            if let Ok(nice) = getpriority_process(None) {
                let _ = setpriority_process(None, nice.saturating_add(NICER));
            }
        }
    }
}

/// Whether more threads want to run than there are cores, in the average of the last minute.
pub(super) fn is_machine_busy() -> bool {
    #[cfg(target_os = "linux")]
    {
        let cores = crate::codec::pool::default_threads();
        let [minute, ..] = rustix::system::sysinfo().loads;
        // The kernel counts in units of 2^-16.
        usize::try_from(minute >> 16).is_ok_and(|load| load >= cores)
    }
    #[cfg(not(target_os = "linux"))]
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_the_thread_itself_and_its_children_are_lowered() {
        let before = getpriority_process(None).unwrap();
        let of_child = |priority: Priority| {
            let thread = std::thread::spawn(move || {
                priority.apply();
                let child = std::thread::spawn(|| getpriority_process(None).unwrap());
                (getpriority_process(None).unwrap(), child.join().unwrap())
            });
            thread.join().unwrap()
        };
        let lower = (before + NICER).min(19);
        assert_eq!(of_child(Priority::Low), (lower, lower));
        assert_eq!(of_child(Priority::Normal), (before, before));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
