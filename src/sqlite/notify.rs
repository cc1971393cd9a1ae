//! Waiting until a database may have changed: a file notification from outside, a wake-up from
//! inside, or a while.
//!
//! A notice is a hint and never a proof: it may come too early, since a writer writes its frames
//! before it commits them, and on some systems not at all. Whoever waits looks again after a while
//! in any case.
//!
//! Linux tells of writes by inotify, by path and without opening the files; elsewhere there is only
//! the while, so it is shorter.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};

use super::beside::{beside, full_path};
use crate::error::{Error, ErrorKind, Result};

/// Wakes a [`Notice`] from another thread, or from a commit hook.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    write: OwnedFd,
    /// Set while a byte is on its way, so that a thousand commits write one.
    pending: AtomicBool,
}

impl Waker {
    /// Ends the present wait, or else the next.
    pub(crate) fn wake(&self) {
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // The pipe is full only if there is a byte to wake up for.
            let _ = write(&self.0.write, &[1]);
        }
    }
}

/// Waits for changes of one database.
#[derive(Debug)]
pub(crate) struct Notice {
    read: OwnedFd,
    waker: Waker,
    watch: Watch,
}

impl Notice {
    /// A notice for the database at a path.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] when the system has no more handles.
    pub(crate) fn new() -> Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed)?;
        let waker = Waker(Arc::new(Pipe { write, pending: AtomicBool::new(false) }));
        Ok(Self { read, waker, watch: Watch::new() })
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Watches the database and its WAL, those of them that are there. To be called again now and
    /// then: a file that was made anew is another one.
    pub(crate) fn watch(&mut self, database: &Path) {
        // The WAL is beside the file that a link leads to.
        let database = full_path(database);
        self.watch.add(&database);
        self.watch.add(&beside(&database, "-wal"));
    }

    /// Waits for a notice, and at most so long. Answers whether there was one.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let at_most = self.watch.at_most(at_most);
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut handles = vec![PollFd::new(&self.read, PollFlags::IN)];
        handles.extend(self.watch.handle().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut handles, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return false,
            Ok(_) => {}
            // Without notices there is still the while.
            Err(_) => {
                std::thread::sleep(at_most);
                return false;
            }
        }
        drain(&self.read);
        if let Some(fd) = self.watch.handle() {
            drain(fd);
        }
        // In this order: whoever wakes in between is answered by the present return.
        self.waker.0.pending.store(false, Ordering::Release);
        true
    }
}

fn drain(fd: &OwnedFd) {
    let mut buffer = [0; 4096];
    while read(fd, &mut buffer).is_ok_and(|n| n > 0) {}
}

fn failed(e: Errno) -> Error {
    Error::new(ErrorKind::Failure, "the system gives no handle to wait on").with_source(e)
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Watch(Option<OwnedFd>);

#[cfg(target_os = "linux")]
impl Watch {
    fn new() -> Self {
        use rustix::fs::inotify;
        // A system may run out of them; then the while has to do.
        Self(inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok())
    }

    fn add(&mut self, path: &Path) {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        if let Some(fd) = &self.0 {
            let events = WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            // What is not there yet is watched when it is.
            let _ = add_watch(fd, path, events);
        }
    }

    fn handle(&self) -> Option<&OwnedFd> {
        self.0.as_ref()
    }

    fn at_most(&self, wanted: Duration) -> Duration {
        if self.0.is_some() { wanted } else { wanted.min(POLL) }
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Watch;

#[cfg(not(target_os = "linux"))]
impl Watch {
    fn new() -> Self {
        Self
    }

    fn add(&mut self, _path: &Path) {}

    fn handle(&self) -> Option<&OwnedFd> {
        None
    }

    fn at_most(&self, wanted: Duration) -> Duration {
        wanted.min(POLL)
    }
}

/// How long to wait at most where the system tells nothing.
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost_and_a_thousand_are_one() {
        let notice = Notice::new().unwrap();
        let waker = notice.waker();
        for _ in 0..1000 {
            waker.wake();
        }
        assert!(notice.wait(LONG));
        assert!(!notice.wait(Duration::ZERO));
        waker.wake();
        assert!(notice.wait(LONG));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_write_to_the_wal_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let app = rusqlite::Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x)").unwrap();
        let link = dir.path().join("folder");
        std::fs::create_dir(&link).unwrap();
        let link = link.join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [path, link] {
            let mut notice = Notice::new().unwrap();
            notice.watch(&path);
            assert!(!notice.wait(Duration::ZERO));
            app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
            let began = Instant::now();
            assert!(notice.wait(LONG));
            assert!(began.elapsed() < LONG, "{}", path.display());
        }
    }
}
