//! The daemon as a process, and what it uses as the system tells.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Result;
use super::scene::Scene;

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// Processor seconds since it began, all of its threads.
    pub cpu: f64,
    /// Resident memory in bytes, now and at the most.
    pub memory: u64,
    pub peak: u64,
    pub handles: usize,
    pub threads: u64,
    /// How many files and folders it has watched.
    pub watches: usize,
}

pub struct Daemon {
    child: Child,
    port: u16,
    log: BufReader<File>,
    line: String,
}

impl Daemon {
    pub fn start(scene: &Scene) -> Result<Self> {
        let path = scene.path("log");
        let log = File::create(&path)?;
        let mut run = scene.pagekeep();
        run.args(["run", "--json", "-v", "-c"]).arg(scene.path("pagekeep.toml"));
        let child = run.stdout(log.try_clone()?).stderr(log).spawn()?;
        let log = BufReader::new(File::open(path)?);
        Ok(Self { child, port: scene.port, log, line: String::new() })
    }

    pub fn used(&self) -> Result<Used> {
        let of = |name: &str| format!("/proc/{}/{name}", self.child.id());
        let stat = std::fs::read_to_string(of("stat"))?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let status = std::fs::read_to_string(of("status"))?;
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let (mut handles, mut watches) = (0, 0);
        for entry in std::fs::read_dir(of("fdinfo"))? {
            handles += 1;
            // One that is closed meanwhile.
            let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
            watches += text.lines().filter(|line| line.starts_with("inotify ")).count();
        }
        Ok(Used {
            // Linux counts in hundredths on every machine that we know.
            cpu: (fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0,
            memory: number("VmRSS:") * 1024,
            peak: number("VmHWM:") * 1024,
            handles,
            threads: number("Threads:"),
            watches,
        })
    }

    pub fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }

    fn sample(page: &str, name: &str) -> Option<usize> {
        let line = page.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }

    /// Waits until so many databases sleep.
    pub fn wait_asleep(&mut self, n: usize, patience: Duration) -> Result<()> {
        self.wait(patience, "the databases do not fall asleep", |page| {
            Self::sample(page, "pagekeep_databases_in_phase{phase=\"asleep\"}")
                .is_some_and(|m| m >= n)
        })
    }

    /// Waits until no job is left.
    pub fn wait_jobs(&mut self, patience: Duration) -> Result<()> {
        self.wait(patience, "the jobs do not end", |page| {
            let mut running = page.lines().filter(|l| l.starts_with("pagekeep_jobs_running{"));
            running.all(|line| line.ends_with(" 0"))
                && Self::sample(page, "pagekeep_jobs_waiting") == Some(0)
        })
    }

    fn wait(&mut self, patience: Duration, what: &str, is: impl Fn(&str) -> bool) -> Result<()> {
        let began = Instant::now();
        // Pages of many databases are dear: whoever asks seldom costs the daemon little.
        let mut pause = Duration::from_millis(100);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the daemon ended: {status}").into());
            }
            if self.metrics().is_ok_and(|page| is(&page)) {
                return Ok(());
            }
            if began.elapsed() > patience {
                return Err(what.into());
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_secs(2));
        }
    }

    /// Reads over what the log has by now.
    pub fn forget_log(&mut self) -> Result<()> {
        while self.next_line()?.is_some() {}
        Ok(())
    }

    /// The next whole line of the log, if there is one.
    fn next_line(&mut self) -> Result<Option<Value>> {
        loop {
            self.log.read_line(&mut self.line)?;
            if !self.line.ends_with('\n') {
                return Ok(None);
            }
            let value = serde_json::from_str(&self.line);
            self.line.clear();
            if let Ok(value) = value {
                return Ok(Some(value));
            }
        }
    }

    /// Waits until the log tells that something of a database is durable.
    pub fn wait_stored(&mut self, name: &str, patience: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            while let Some(line) = self.next_line()? {
                let text = line.to_string();
                let is_stored = text.contains("\"stored ") || text.contains("captured at rest");
                if is_stored && text.contains(&format!("\"{name}\"")) {
                    return Ok(());
                }
            }
            if began.elapsed() > patience {
                return Err(format!("a commit of {name} does not become durable").into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it as an operator does. Answers how long that took, and what it had used.
    pub fn end(mut self) -> Result<(f64, Used)> {
        let (began, used) = (Instant::now(), self.used()?);
        let told = Command::new("kill").arg(self.child.id().to_string()).status()?;
        assert!(told.success());
        let status = self.child.wait()?;
        assert!(status.success(), "the daemon ended: {status}");
        Ok((began.elapsed().as_secs_f64(), used))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
