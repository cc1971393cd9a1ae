//! Brings the archive up to date with what is there.
//!
//! Invariants: a file that could not be read as one state keeps the version that was stored last. A
//! name is removed only when it is known that nothing has it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use super::archive::{Archive, Copied};
use super::facts::Facts;
use super::name::name_of;
use super::report::{PassedOver, Tally, Why};
use super::walk::{Found, Visitor};
use crate::error::Result;
use crate::types::Timestamp;

#[cfg(test)]
pub(super) mod meanwhile;

/// How often a file is read that changes meanwhile.
const TRIES: u32 = 3;
/// What every SQLite database begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// What SQLite has beside a database.
const BESIDE: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];

/// One run.
pub(super) struct Gather<'a> {
    pub(super) archive: &'a Archive,
    /// Databases that are kept by themselves.
    pub(super) kept: &'a BTreeSet<PathBuf>,
    /// When the archive was last brought up to date.
    pub(super) looked: Option<Timestamp>,
    /// The largest file that is taken.
    pub(super) largest: u64,
    pub(super) tally: Tally,
    pub(super) passed_over: Vec<PassedOver>,
    /// The names that are there.
    seen: BTreeSet<Vec<u8>>,
    /// The folders of which nobody knows what they have.
    held: Vec<Vec<u8>>,
    /// Whether nobody knows what is gone.
    holds_all: bool,
}

impl<'a> Gather<'a> {
    pub(super) fn new(
        archive: &'a Archive,
        kept: &'a BTreeSet<PathBuf>,
        looked: Option<Timestamp>,
        largest: u64,
    ) -> Self {
        Self {
            archive,
            kept,
            looked,
            largest,
            tally: Tally::default(),
            passed_over: Vec::new(),
            seen: BTreeSet::new(),
            held: Vec::new(),
            holds_all: false,
        }
    }

    /// Removes the names that are gone.
    pub(super) fn finish(mut self) -> Result<(Tally, Vec<PassedOver>)> {
        for name in self.archive.names()? {
            if self.seen.contains(&name) {
                continue;
            }
            if self.holds_all || self.held.iter().any(|held| is_below(&name, held)) {
                self.tally.held += 1;
                continue;
            }
            self.archive.forget(&name)?;
            self.tally.removed += 1;
        }
        for over in &mut self.passed_over {
            over.is_held = self.archive.record(name_of(&over.path))?.is_some();
        }
        Ok((self.tally, self.passed_over))
    }

    fn pass_over(&mut self, path: &Path, why: Why) {
        self.passed_over.push(PassedOver { path: path.to_owned(), why, is_held: false });
    }

    /// A file that can't be stored as it is: what was stored of it stays.
    fn keep_last(&mut self, found: &Found<'_>, why: Why) {
        self.held.push(name_of(found.path).to_vec());
        self.pass_over(found.path, why);
    }

    fn folder(&mut self, name: &[u8], facts: &Facts) -> Result<()> {
        self.tally.folders += 1;
        if !self.archive.record(name)?.is_some_and(|record| record.is(facts, 0)) {
            self.archive.put(name, facts, None)?;
            self.tally.changed += 1;
        }
        Ok(())
    }

    fn link(&mut self, found: &Found<'_>, name: &[u8]) -> Result<bool> {
        let target = match readlinkat(found.folder, found.name, Vec::new()) {
            Ok(target) => target,
            // Something else has the name by now: the next run sees it.
            Err(e) => {
                self.keep_last(found, Why::Unread(io::Error::from(e).to_string()));
                return Ok(false);
            }
        };
        self.tally.links += 1;
        let record = self.archive.record(name)?.filter(|record| record.is(&found.facts, -1));
        let is_same = match &record {
            Some(record) => self.archive.target(record)?.as_deref() == Some(target.as_bytes()),
            None => false,
        };
        if !is_same {
            self.archive.put(name, &found.facts, Some(target.as_bytes()))?;
            self.tally.changed += 1;
        }
        Ok(true)
    }

    /// Whether it is stored, now or before.
    fn file(&mut self, found: &Found<'_>, name: &[u8]) -> Result<bool> {
        if self.is_kept_itself(found) {
            return Ok(false);
        }
        let record = self.archive.record(name)?;
        let size = i64::try_from(found.facts.size).unwrap_or(i64::MAX);
        if record.is_some_and(|record| record.is(&found.facts, size))
            && !found.facts.may_change_unseen(self.looked)
        {
            self.count(found.facts.size);
            return Ok(true);
        }
        for _ in 0..TRIES {
            let (mut file, facts) = match open(found.folder, found.name) {
                Ok(Some(opened)) => opened,
                // Something else has the name by now: the next run sees it.
                Ok(None) => break,
                // It is gone.
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(e) => {
                    self.keep_last(found, Why::Unread(e.to_string()));
                    return Ok(false);
                }
            };
            // What is written while it is read has to get another time than it has now.
            if let Some(wait) = facts.settles_in(Timestamp::now()) {
                std::thread::sleep(wait);
            }
            if has_header(&mut file) {
                self.pass_over(found.path, Why::Database);
                return Ok(false);
            }
            if facts.size > self.largest {
                self.keep_last(found, Why::TooLarge { size: facts.size, most: self.largest });
                return Ok(false);
            }
            self.archive.run("SAVEPOINT file")?;
            let copied = self.archive.copy(name, &facts, &mut file, record.as_ref())?;
            #[cfg(test)]
            meanwhile::happens(found.path);
            let after = rustix::fs::fstat(&file).map(|stat| Facts::of(&stat));
            let is_whole = after.is_ok_and(|after| !after.moved_since(&facts));
            match copied {
                Ok(Copied::Whole { is_new }) if is_whole => {
                    self.archive.run("RELEASE file")?;
                    self.tally.read += 1;
                    let same = record.is_some_and(|record| {
                        record.is(&facts, i64::try_from(facts.size).unwrap_or(i64::MAX))
                    });
                    self.tally.changed += u64::from(is_new || !same);
                    self.count(facts.size);
                    return Ok(true);
                }
                Ok(_) => self.archive.run("ROLLBACK TO file; RELEASE file")?,
                Err(e) => {
                    self.archive.run("ROLLBACK TO file; RELEASE file")?;
                    self.keep_last(found, Why::Unread(e.to_string()));
                    return Ok(false);
                }
            }
        }
        self.keep_last(found, Why::Moving);
        Ok(false)
    }

    fn count(&mut self, bytes: u64) {
        self.tally.files += 1;
        self.tally.bytes = self.tally.bytes.saturating_add(bytes);
    }

    /// Whether a file is a database that is kept by itself, or lies beside a database.
    fn is_kept_itself(&self, found: &Found<'_>) -> bool {
        if self.kept.contains(found.path) {
            return true;
        }
        let name = found.name.as_bytes();
        let Some(of) = BESIDE.iter().find_map(|suffix| name.strip_suffix(*suffix)) else {
            return false;
        };
        let of = OsStr::from_bytes(of);
        self.kept.contains(&found.path.with_file_name(of))
            || match open(found.folder, of) {
                Ok(Some((mut file, _))) => has_header(&mut file),
                _ => false,
            }
    }
}

impl Visitor for Gather<'_> {
    fn found(&mut self, found: &Found<'_>) -> Result<()> {
        let name = name_of(found.path);
        let is_there = match found.facts.kind {
            FileType::Directory => self.folder(name, &found.facts).map(|()| true)?,
            FileType::RegularFile => self.file(found, name)?,
            FileType::Symlink => self.link(found, name)?,
            kind => {
                self.pass_over(found.path, Why::Special(kind_name(kind)));
                false
            }
        };
        if is_there {
            self.seen.insert(name.to_vec());
        }
        Ok(())
    }

    fn unread(&mut self, path: &Path, e: &io::Error) {
        self.held.push(name_of(path).to_vec());
        self.pass_over(path, Why::Unread(e.to_string()));
    }

    fn missing(&mut self, path: &Path) {
        self.pass_over(path, Why::Missing);
    }

    fn own(&mut self, path: &Path) {
        self.pass_over(path, Why::Special("a part of a repository or of the state folder"));
    }

    fn unknown(&mut self, path: &Path, e: &io::Error) {
        self.holds_all = true;
        self.pass_over(path, Why::Unread(e.to_string()));
    }
}

fn is_below(name: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no file",
    }
}

/// Opens a file that nothing is waited for; `None` if the name is not a file's.
fn open(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<(File, Facts)>> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let facts = Facts::of(&rustix::fs::fstat(&file)?);
    Ok((facts.kind == FileType::RegularFile).then_some((file, facts)))
}

fn has_header(file: &mut File) -> bool {
    let mut front = [0; HEADER.len()];
    let is_one = file.read_exact(&mut front).is_ok() && front == *HEADER;
    file.seek(SeekFrom::Start(0)).is_ok() && is_one
}
