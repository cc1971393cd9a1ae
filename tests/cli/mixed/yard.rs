//! Processes that can be killed one by one, and all at once, as if the machine had died.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often somebody looks whether a process ended.
pub const TICK: Duration = Duration::from_millis(2);

/// Every process that runs.
#[derive(Default)]
pub struct Yard {
    all: Mutex<All>,
    up: Condvar,
}

#[derive(Default)]
struct All {
    down: bool,
    running: Vec<Running>,
}

/// A process.
#[derive(Clone)]
pub struct Running {
    child: Arc<Mutex<Child>>,
    pid: u32,
    killed: Arc<AtomicBool>,
}

impl Yard {
    fn lock(&self) -> MutexGuard<'_, All> {
        // Whoever panicked left it as it should be, and all have to be killed still.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a process; while the machine is down, waits until it is up again.
    pub fn start(&self, command: &mut Command) -> Running {
        let mut all = self.lock();
        while all.down {
            all = self.up.wait(all).unwrap_or_else(PoisonError::into_inner);
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let pid = child.id();
        let (child, killed) = (Arc::new(Mutex::new(child)), Arc::default());
        let running = Running { child, pid, killed };
        all.running.retain(|r| r.ended().is_none());
        all.running.push(running.clone());
        running
    }

    /// Kills everything, and lets nothing start for a while. Returns how many were killed.
    pub fn crash(&self, pause: Duration) -> usize {
        let running = {
            let mut all = self.lock();
            all.down = true;
            std::mem::take(&mut all.running)
        };
        let killed = running.iter().filter(|r| r.kill()).count();
        for one in running {
            one.wait();
        }
        std::thread::sleep(pause);
        self.lock().down = false;
        self.up.notify_all();
        killed
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // A test that failed leaves nobody behind.
        self.crash(Duration::ZERO);
    }
}

impl Running {
    /// SIGKILL, at whatever it is. Returns whether it was there still.
    pub fn kill(&self) -> bool {
        let mut child = self.child.lock().unwrap();
        let there = child.try_wait().unwrap().is_none();
        if there {
            self.killed.store(true, Ordering::SeqCst);
            child.kill().unwrap();
        }
        there
    }

    /// SIGINT, as Ctrl-C sends it.
    pub fn interrupt(&self) {
        let mut child = self.child.lock().unwrap();
        if child.try_wait().unwrap().is_none() {
            let pid = self.pid.to_string();
            // It may end before the signal comes.
            let _ = Command::new("kill").args(["-INT", &pid]).output().unwrap();
        }
    }

    /// Ends what it reads.
    pub fn end_input(&self) {
        drop(self.child.lock().unwrap().stdin.take());
    }

    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    pub fn was_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    pub fn wait(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Waits for so long.
    pub fn wait_for(&self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(TICK);
        }
        self.ended()
    }
}

/// A file that another process writes to.
pub struct Tail {
    file: File,
    rest: Vec<u8>,
}

impl Tail {
    pub fn of(path: &Path) -> Self {
        Self { file: File::open(path).unwrap(), rest: Vec::new() }
    }

    /// The lines that were finished since the last time.
    pub fn lines(&mut self) -> Vec<String> {
        self.file.read_to_end(&mut self.rest).unwrap();
        let end = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        String::from_utf8(whole).unwrap().lines().map(str::to_owned).collect()
    }
}
