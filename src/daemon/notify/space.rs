//! How much space is left where the daemon writes, and whether these places can be reached. A
//! thread of its own asks, since a file system of another machine may never answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::{Error, Result};
use crate::policy::alert::judge::{Room, space};
use crate::policy::alert::{Known, Subject};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(10);

/// A place where the daemon writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) subject: Subject,
    /// How it is called: its path.
    pub(super) name: String,
}

/// What was found out of places.
type Found = BTreeMap<Place, std::result::Result<Free, String>>;

/// How much is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Free {
    /// Which file system it is.
    of: u64,
    free: u64,
    whole: u64,
}

/// The thread that asks, and what was last found out.
#[derive(Debug)]
pub(super) struct Spaces {
    ask: Sender<Vec<Place>>,
    answers: Receiver<Found>,
    asked: Option<Instant>,
    found: Found,
}

impl Spaces {
    /// Starts the thread, which ends with this or with the process.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Failure`] when the system starts none.
    pub(super) fn start() -> Result<Self> {
        let (ask, asked) = bounded::<Vec<Place>>(1);
        let (answer, answers) = bounded(1);
        let work = move || {
            while let Ok(places) = asked.recv() {
                let found = places.into_iter().map(|place| {
                    let free = free(Path::new(&place.name));
                    (place, free)
                });
                if answer.send(found.collect()).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("pagekeep-space".to_owned()).spawn(work);
        thread.map_err(|e| Error::io(e, "cannot be started", "a thread of the daemon"))?;
        Ok(Self { ask, answers, asked: None, found: BTreeMap::new() })
    }

    /// Takes what was found out, and asks again now and then.
    pub(super) fn look(&mut self, places: impl FnOnce() -> Vec<Place>) {
        while let Ok(found) = self.answers.try_recv() {
            self.found = found;
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= EVERY) {
            self.asked = Some(Instant::now());
            // One that did not answer yet is asked nothing more.
            let _ = self.ask.try_send(places());
        }
    }

    /// What keeps a place from being reached.
    pub(super) fn fault(&self, path: &str) -> Option<&str> {
        let of = self.found.iter().find(|(place, _)| place.name == path);
        of.and_then(|(_, free)| free.as_ref().err()).map(String::as_str)
    }

    /// Which places have little space left; of those on one file system the first counts.
    pub(super) fn judged(&self, least: Room) -> Vec<(&Place, Known)> {
        let mut known = Vec::new();
        let mut judged = Vec::new();
        for (place, free) in &self.found {
            let Ok(free) = free else {
                judged.push((place, Known::Unknown));
                continue;
            };
            if !known.contains(&free.of) {
                known.push(free.of);
                judged.push((place, space(free.free, free.whole, least)));
            }
        }
        judged
    }
}

/// A folder that is there yet, on the way to one that is made when it is needed.
pub(super) fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(path).to_owned()
}

/// How much space is left at a path, for this user.
fn free(path: &Path) -> std::result::Result<Free, String> {
    let stat = rustix::fs::statvfs(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Free { of: stat.f_fsid, free: bytes(stat.f_bavail), whole: bytes(stat.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_its_space_or_why_it_can_not_be_reached() {
        let dir = tempfile::tempdir().unwrap();
        let there = free(dir.path()).unwrap();
        assert!(there.free <= there.whole && there.whole > 0);
        let gone = free(&dir.path().join("gone")).unwrap_err();
        assert!(gone.contains("No such file"), "{gone}");
        assert_eq!(existing(&dir.path().join("a/b")), dir.path());
        let place = |name: &Path| {
            let name = name.display().to_string();
            Place { subject: Subject::Daemon, name }
        };
        let (here, gone) = (place(dir.path()), place(&dir.path().join("gone")));
        let mut spaces = Spaces::start().unwrap();
        let asked = vec![here.clone(), gone.clone(), place(dir.path())];
        spaces.look(|| asked);
        spaces.found = spaces.answers.recv().unwrap();
        assert!(spaces.fault(&gone.name).is_some() && spaces.fault(&here.name).is_none());
        let judged = spaces.judged(Room::Share(1_000_000));
        assert!(matches!(judged.as_slice(), [(_, Known::Holds(_)), (_, Known::Unknown)]));
    }
}
