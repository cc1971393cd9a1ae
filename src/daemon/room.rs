//! How much room there is where the daemon writes, and whether these places answer. Metrics and
//! alerts are told from the same answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often to ask.
const OFTEN: Duration = Duration::from_secs(10);
/// What was heard so long ago is not told any more: the place does not answer.
const OLD: Duration = Duration::from_secs(5 * 60);

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Which file system it is.
    pub(crate) of: u64,
    /// What this user may still write.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) size: u64,
}

/// What is known of the room at a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Nobody answered yet.
    #[default]
    Unknown,
    /// So much.
    Room(Room),
    /// The place can't be reached, and why.
    Gone(String),
}

impl Measured {
    /// The room, if it is known.
    pub(crate) fn room(&self) -> Option<Room> {
        match self {
            Self::Room(room) => Some(*room),
            _ => None,
        }
    }

    /// What keeps the place from being reached, if something does.
    pub(crate) fn fault(&self) -> Option<&str> {
        match self {
            Self::Gone(why) => Some(why),
            _ => None,
        }
    }
}

/// What a path is to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It has to be there.
    Path,
    /// A folder that is made when it is needed: the one that will have it counts.
    Folder,
}

/// Asks for the room at a path now and then. A file system that does not answer, as one of another
/// machine may, keeps a thread of its own waiting and nobody else.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Since when somebody asks.
    asks: Option<Instant>,
    asked: Option<Instant>,
    heard: Measured,
    /// Whether it was told that nobody answers.
    told: bool,
}

impl Gauge {
    /// What was last heard, if that is not long ago. Asks again when it is time.
    pub(super) fn look(&self, path: &Path, at: At) -> Measured {
        self.look_at(path, at, Instant::now())
    }

    fn look_at(&self, path: &Path, at: At, now: Instant) -> Measured {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = state.asks {
            if now.saturating_duration_since(since) < OLD {
                return state.heard.clone();
            }
            let why = format!("{}: does not answer", path.display());
            if !std::mem::replace(&mut state.told, true) {
                tracing::warn!("{why}: nobody knows how much room there is");
            }
            return Measured::Gone(why);
        }
        let is_due = state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= OFTEN);
        if is_due {
            (state.asked, state.asks) = (Some(now), Some(now));
            let (shared, path) = (self.0.clone(), path.to_owned());
            let ask = move || {
                let heard = measure(&path, at);
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                (state.heard, state.asks, state.told) = (heard, None, false);
            };
            let spawned = std::thread::Builder::new().name("pagekeep-room".to_owned()).spawn(ask);
            if spawned.is_err() {
                state.asks = None;
            }
        }
        state.heard.clone()
    }
}

/// Gauges of folders.
#[derive(Debug, Default)]
pub(super) struct Gauges(BTreeMap<PathBuf, Gauge>);

impl Gauges {
    /// What is known of the room of each of these folders.
    pub(super) fn look(&mut self, folders: [PathBuf; 2]) -> Vec<(PathBuf, Measured)> {
        self.0.retain(|path, _| folders.contains(path));
        let mut look = |path: PathBuf| {
            let measured = self.0.entry(path.clone()).or_default().look(&path, At::Folder);
            (path, measured)
        };
        folders.into_iter().map(&mut look).collect()
    }
}

/// The room at a path, or why nobody knows.
fn measure(path: &Path, at: At) -> Measured {
    let place = match at {
        At::Path => Some(path),
        At::Folder => path.ancestors().find(|path| path.exists()),
    };
    match rustix::fs::statvfs(place.unwrap_or(path)) {
        Ok(stat) => {
            let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
            let (free, size) = (bytes(stat.f_bavail), bytes(stat.f_blocks));
            Measured::Room(Room { of: stat.f_fsid, free, size })
        }
        Err(e) => Measured::Gone(format!("{}: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a gauge hears, for up to a minute.
    fn heard(gauge: &Gauge, path: &Path) -> Measured {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match gauge.look(path, At::Path) {
                Measured::Unknown => assert!(Instant::now() < until, "nobody answers"),
                heard => return heard,
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_disk_has_some_room_and_what_is_not_there_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (gauge, absent) = (Gauge::default(), dir.path().join("absent/below"));
        // Whoever asks waits for nobody, and hears it later.
        assert_eq!(gauge.look(dir.path(), At::Path), Measured::Unknown);
        let room = heard(&gauge, dir.path()).room().unwrap();
        assert!(room.size > 0 && room.free <= room.size, "{room:?}");
        let gone = heard(&Gauge::default(), &absent);
        assert!(gone.fault().is_some_and(|why| why.contains("No such file")), "{gone:?}");
        // A folder that is made later has the room of the one that is there.
        assert!(measure(&absent, At::Folder).room().is_some_and(|of| of.of == room.of));
    }

    #[test]
    fn a_place_that_hangs_is_told_and_what_was_heard_of_it_grows_old() {
        let (gauge, path, now) = (Gauge::default(), Path::new("/srv"), Instant::now());
        let room = Room { of: 1, free: 5, size: 10 };
        {
            let mut state = gauge.0.lock().unwrap();
            (state.heard, state.asks) = (Measured::Room(room), Some(now));
        }
        assert_eq!(gauge.look_at(path, At::Path, now), Measured::Room(room));
        let late = gauge.look_at(path, At::Path, now + OLD);
        assert_eq!(late.fault(), Some("/srv: does not answer"));
    }
}
