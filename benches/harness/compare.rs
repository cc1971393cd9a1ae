//! Whether what comes out of the repository is what went in.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Result;
use crate::realdata::remove_database;

/// Restores commit after commit, from 1 until there is none, to `restored`, and compares each with
/// the states that were kept, in order.
///
/// A backup that found nothing new may have made a commit or not, hence the same state may come
/// more than once; but every state must come, and no other.
pub fn every_commit(
    kept: &[PathBuf],
    restored: &Path,
    restore: impl Fn(u64) -> Result<()>,
) -> Result<()> {
    let mut seen = 0;
    for commit in 1.. {
        remove_database(restored)?;
        if let Err(error) = restore(commit) {
            if seen < kept.len() {
                return Err(format!("commit {commit} is not restored: {error}").into());
            }
            // The reason is for the reader to judge: it should be that there is no such commit.
            let error = error.to_string();
            println!("\n{} commits restored, all {seen} states, byte for byte", commit - 1);
            println!("commit {commit}: {}", error.trim().lines().last().unwrap_or(""));
            return Ok(());
        }
        if seen > 0 && same_bytes(restored, &kept[seen - 1])? {
            continue;
        }
        match kept.get(seen) {
            Some(state) if same_bytes(restored, state)? => seen += 1,
            _ => return Err(unlike(commit, seen, kept, restored).into()),
        }
    }
    Ok(())
}

fn unlike(commit: u64, seen: usize, kept: &[PathBuf], restored: &Path) -> String {
    let mut text = format!("commit {commit}, restored to {}, is not", restored.display());
    for state in &kept[seen.saturating_sub(1)..kept.len().min(seen + 1)] {
        text.push_str(&format!(" {}", state.display()));
    }
    text
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map_err(|e| format!("{}: {e}", path.display()));
    let (mut a, mut b) = (open(a)?, open(b)?);
    let mut left = a.metadata()?.len();
    if b.metadata()?.len() != left {
        return Ok(false);
    }
    let (mut from_a, mut from_b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while left > 0 {
        let length = left.min(1 << 20) as usize;
        a.read_exact(&mut from_a[..length])?;
        b.read_exact(&mut from_b[..length])?;
        if from_a[..length] != from_b[..length] {
            return Ok(false);
        }
        left -= length as u64;
    }
    Ok(true)
}
