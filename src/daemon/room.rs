//! How much room there is on a disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often to ask.
const OFTEN: Duration = Duration::from_secs(15);
/// What was heard so long ago is not told any more.
const OLD: Duration = Duration::from_secs(5 * 60);

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// What this user may still write.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) size: u64,
}

/// Asks for the room at a path now and then. A file system that does not answer, as one of another
/// machine may, keeps a thread of its own waiting and nobody else.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_asking: AtomicBool,
    asked: Mutex<Option<Instant>>,
    heard: Mutex<Option<(Instant, Room)>>,
}

impl Gauge {
    /// What was last heard, if that is not long ago. Asks again when it is time.
    pub(super) fn room(&self, path: &Path) -> Option<Room> {
        let now = Instant::now();
        let mut asked = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = asked.is_none_or(|asked| now.saturating_duration_since(asked) >= OFTEN);
        if is_due && !self.0.is_asking.swap(true, Ordering::AcqRel) {
            *asked = Some(now);
            self.ask(path.to_owned());
        }
        drop(asked);
        let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.filter(|(at, _)| now.saturating_duration_since(*at) < OLD).map(|(_, room)| room)
    }

    fn ask(&self, path: PathBuf) {
        let state = self.0.clone();
        let ask = move || {
            let room = room_at(&path).map(|room| (Instant::now(), room));
            *state.heard.lock().unwrap_or_else(PoisonError::into_inner) = room;
            state.is_asking.store(false, Ordering::Release);
        };
        let spawned = std::thread::Builder::new().name("pagekeep-room".to_owned()).spawn(ask);
        if spawned.is_err() {
            self.0.is_asking.store(false, Ordering::Release);
        }
    }
}

/// The room at a path; `None` where there is none to be asked for.
fn room_at(path: &Path) -> Option<Room> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Room { free: of(stat.f_bavail), size: of(stat.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_some_room_and_what_is_not_there_has_none_to_tell_of() {
        let dir = tempfile::tempdir().unwrap();
        let room = room_at(dir.path()).unwrap();
        assert!(room.size > 0 && room.free <= room.size, "{room:?}");
        assert_eq!(room_at(&dir.path().join("absent")), None);
        // Whoever asks waits for nobody, and hears it later.
        let gauge = Gauge::default();
        let mut heard = gauge.room(dir.path());
        while heard.is_none() {
            std::thread::yield_now();
            heard = gauge.room(dir.path());
        }
        assert_eq!(heard.unwrap().size, room.size);
    }
}
