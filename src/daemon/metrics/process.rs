//! What the process itself takes, by the names that all Prometheus clients use. The system tells it
//! in `/proc`; where there is none, nothing is told.

use std::fs;

use super::text::Page;

/// Adds what the process takes to a page.
pub(super) fn add(page: &mut Page) {
    let Some(usage) = Usage::read() else { return };
    page.gauge("process_resident_memory_bytes", "Memory that the process has in use.")
        .is(&[], usage.resident);
    page.gauge("process_virtual_memory_bytes", "Addresses that the process has.")
        .is(&[], usage.virtual_memory);
    page.counter("process_cpu_seconds_total", "Processor time that the process took.")
        .is(&[], usage.processor);
    page.gauge("process_start_time_seconds", "When the process began, since 1970.")
        .is(&[], usage.began);
    page.gauge("process_threads", "Threads of the process.").is(&[], usage.threads);
    page.gauge("process_open_fds", "Files that the process has open.").is(&[], usage.files);
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        page.gauge("process_max_fds", "Files that the process may have open.").is(&[], most);
    }
}

struct Usage {
    resident: u64,
    virtual_memory: u64,
    processor: f64,
    began: f64,
    threads: u64,
    files: usize,
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let files = fs::read_dir("/proc/self/fd").ok()?.count();
        Self::of(&stat, &system, files)
    }

    /// Takes what is told of a process, and of the system.
    fn of(stat: &str, system: &str, files: usize) -> Option<Self> {
        // The name of the program, in parentheses, may have anything in it.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // As proc(5) numbers them, of which the first that is left is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
        let booted: u32 = booted.trim().parse().ok()?;
        let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).ok()?);
        let seconds = |ticked: u64| u32::try_from(ticked).ok().map(|n| f64::from(n) / ticks);
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self {
            resident: field(24)?.saturating_mul(page),
            virtual_memory: field(23)?,
            processor: seconds(field(14)?.saturating_add(field(15)?))?,
            began: f64::from(booted) + seconds(field(22)?)?,
            threads: field(20)?,
            files,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_of_a_process_is_read() {
        let stat =
            "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 6 0 9000 1048576 3 1844";
        let usage = Usage::of(stat, "cpu 1 2\nbtime 1700000000\n", 12).unwrap();
        let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap());
        assert_eq!((usage.processor, usage.began), (300.0 / ticks, 1.7e9 + 9000.0 / ticks));
        assert_eq!((usage.threads, usage.virtual_memory, usage.files), (6, 1_048_576, 12));
        assert!(Usage::of("7 (cut", "btime 1\n", 0).is_none());
        assert!(Usage::of("7 (cut) S 1", "btime 1\n", 0).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_of_it() {
        let usage = Usage::read().unwrap();
        assert!(usage.resident > 0 && usage.threads > 0 && usage.files > 0);
    }
}
