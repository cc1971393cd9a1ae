//! One child process, and what it took: wall time, CPU time, peak memory.
//!
//! The child is run by an intermediate process, this binary again. The operating system counts the
//! memory of the process that forks as its child's until the child becomes the other program; the
//! bench itself has touched gigabytes by then, the intermediate has not. And the intermediate waits
//! for one child only, so that the usage of all its children is that child's.
//!
//! Invariant: nothing but the child runs between the two looks at the clock.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};

use super::Result;

/// The first argument that makes this binary the intermediate process.
pub const RELAY: &str = "--relay";

/// What a child took.
#[derive(Clone, Debug)]
pub struct Measured {
    pub wall: f64,
    pub cpu: f64,
    /// Peak resident memory in bytes. What any small process has is a few MiB.
    pub peak: u64,
    /// What it printed.
    pub output: String,
}

/// Runs a program to its end and measures it; a program that fails is an error with its words.
pub fn timed(program: &OsStr, arguments: &[OsString]) -> Result<Measured> {
    let relayed = Command::new(std::env::current_exe()?)
        .arg(RELAY)
        .arg(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("the intermediate process does not start: {e}"))?;
    let told: Value = serde_json::from_slice(&relayed.stdout).map_err(|_| {
        format!("the intermediate process failed: {}", String::from_utf8_lossy(&relayed.stderr))
    })?;
    let text = |name: &str| told[name].as_str().unwrap_or("").to_owned();
    if told["success"] != true {
        let line: Vec<_> = arguments.iter().map(|a| a.to_string_lossy()).collect();
        return Err(format!(
            "{} {} failed ({}):\n{}{}",
            program.to_string_lossy(),
            line.join(" "),
            text("status"),
            text("output"),
            text("errors"),
        )
        .into());
    }
    Ok(Measured {
        wall: told["wall"].as_f64().ok_or("no wall time was told")?,
        cpu: told["cpu"].as_f64().ok_or("no CPU time was told")?,
        peak: told["peak"].as_u64().ok_or("no peak memory was told")?,
        output: text("output"),
    })
}

/// The intermediate process: runs `arguments` as a command and prints what it took as JSON.
pub fn relay(arguments: &[OsString]) -> Result<()> {
    let (program, arguments) = arguments.split_first().ok_or("nothing to run")?;
    let start = Instant::now();
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{} does not start: {e}", program.to_string_lossy()))?;
    let wall = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    let told = json!({
        "wall": wall,
        "cpu": (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6,
        "peak": usage.max_rss() as u64 * unit,
        "success": output.status.success(),
        "status": output.status.to_string(),
        "output": String::from_utf8_lossy(&output.stdout),
        "errors": String::from_utf8_lossy(&output.stderr),
    });
    println!("{told}");
    Ok(())
}

/// Touches that much memory and gives it back, after all dirty pages went to the disk.
///
/// A virtual machine may hand free pages back to its host; a step that fills the page cache then
/// pays for getting them again, or not, by chance. The same 1 GiB write takes 0.7 or 2.7 seconds.
pub fn warm(mib: u64) {
    rustix::fs::sync();
    let mib = available_mib().map_or(mib, |available| mib.min(available / 2));
    let mut memory = vec![0_u8; (mib as usize) << 20];
    for byte in memory.iter_mut().step_by(4096) {
        *byte = 1;
    }
    std::hint::black_box(&memory);
}

fn available_mib() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Bytes of all files below a directory.
pub fn tree_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    let entries = fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { tree_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

/// Removes a file or a directory with all that is in it; that it is missing is well.
pub fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {e}", path.display()).into())
        }
        _ => Ok(()),
    }
}
