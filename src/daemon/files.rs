//! Notices of files: that a database which sleeps was written to, and that files came and went.
//!
//! A notice is a hint: whoever gets one looks. Where the system tells nothing, or has no more
//! watches, the supervisor looks once a second all the same.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Something that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Touch {
    /// The number of the watch.
    pub(super) watch: i32,
    /// The name of the file in the folder that is watched; `None` for a file that is.
    pub(super) name: Option<OsString>,
}

impl Touch {
    /// Says that more happened than notices tell of: whoever hears it looks at everything.
    const LOST: Self = Self { watch: -1, name: None };

    /// Whether notices were lost.
    pub(super) fn tells_of_loss(&self) -> bool {
        *self == Self::LOST
    }
}

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct Files {
    #[cfg(target_os = "linux")]
    system: Option<linux::Watches>,
    /// The databases and folders that are watched, by the numbers of their watches.
    watched: HashMap<i32, PathBuf>,
    /// The watches of each database.
    of_database: HashMap<PathBuf, Vec<i32>>,
    /// Whether it was told that there are no more watches.
    told: bool,
}

impl Files {
    /// Begins to listen. `hear` is called from a thread of its own.
    pub(super) fn listen(hear: impl Fn(Vec<Touch>) + Send + 'static) -> Self {
        #[cfg(target_os = "linux")]
        return Self { system: linux::Watches::listen(hear), ..Self::default() };
        #[cfg(not(target_os = "linux"))]
        {
            drop(hear);
            Self::default()
        }
    }

    /// Watches a database that sleeps: its file, and its WAL if there is one.
    pub(super) fn watch_database(&mut self, path: &Path) {
        let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut wal = OsString::from(&file);
        wal.push("-wal");
        for part in [file, PathBuf::from(wal)] {
            self.add(&part, path, false);
        }
        // What is made beside it is told of by its folder.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(folder) = real.parent() {
            self.watch_folder(folder);
        }
    }

    /// Watches a folder for files that come and go.
    pub(super) fn watch_folder(&mut self, folder: &Path) {
        self.add(folder, folder, true);
    }

    /// Watches a database no longer, since somebody else does.
    pub(super) fn leave_database(&mut self, path: &Path) {
        for watch in self.of_database.remove(path).unwrap_or_default() {
            // Of two names of one file, the later one has the watch.
            if self.watched.get(&watch).is_none_or(|of| of != path) {
                continue;
            }
            self.watched.remove(&watch);
            #[cfg(target_os = "linux")]
            if let Some(system) = &self.system {
                system.remove(watch);
            }
        }
    }

    /// The database, or the file in a folder, that a notice is about.
    pub(super) fn touched(&self, touch: &Touch) -> Option<PathBuf> {
        let of = self.watched.get(&touch.watch)?;
        Some(match &touch.name {
            Some(name) => of.join(name),
            None => of.clone(),
        })
    }

    #[cfg(target_os = "linux")]
    fn add(&mut self, part: &Path, of: &Path, is_folder: bool) {
        let Some(system) = &self.system else { return };
        match system.add(part, is_folder) {
            Ok(watch) => {
                self.watched.insert(watch, of.to_owned());
                if !is_folder {
                    let watches = self.of_database.entry(of.to_owned()).or_default();
                    if !watches.contains(&watch) {
                        watches.push(watch);
                    }
                }
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(e) if !self.told => {
                self.told = true;
                tracing::warn!(
                    "{}: changes are noticed within a second and not at once, since the system watches no more files: {e} \
                     (fs.inotify.max_user_watches)",
                    part.display()
                );
            }
            Err(_) => {}
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn add(&mut self, _part: &Path, _of: &Path, _is_folder: bool) {}
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::ffi::{OsStr, OsString};
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use rustix::io::Errno;

    use super::Touch;

    /// How often the listener looks whether anybody wants to hear.
    const WHILE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
    /// How long notices are collected: a file that is written to all the time is told of so often.
    const TOGETHER: Duration = Duration::from_millis(5);
    /// How many files are told of at once; of more it is told that there are more.
    const MANY: usize = 1000;

    #[derive(Debug)]
    pub(super) struct Watches(Arc<OwnedFd>);

    impl Watches {
        pub(super) fn listen(hear: impl Fn(Vec<Touch>) + Send + 'static) -> Option<Self> {
            let told = |why: &dyn std::fmt::Display| {
                tracing::warn!("changes are noticed within a second and not at once: {why}");
            };
            let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
            let fd = inotify::init(flags).map_err(|e| told(&e)).ok()?;
            let fd = Arc::new(fd);
            let theirs = Arc::downgrade(&fd);
            let thread = std::thread::Builder::new().name("pagekeep-files".to_owned());
            thread.spawn(move || listen(&theirs, &hear)).map_err(|e| told(&e)).ok()?;
            Some(Self(fd))
        }

        pub(super) fn add(&self, path: &Path, is_folder: bool) -> Result<i32, Errno> {
            let flags = match is_folder {
                true => {
                    WatchFlags::CREATE
                        | WatchFlags::MOVED_TO
                        | WatchFlags::MOVED_FROM
                        | WatchFlags::DELETE
                        | WatchFlags::ONLYDIR
                }
                false => {
                    WatchFlags::MODIFY
                        | WatchFlags::ATTRIB
                        | WatchFlags::DELETE_SELF
                        | WatchFlags::MOVE_SELF
                }
            };
            inotify::add_watch(&*self.0, path, flags)
        }

        pub(super) fn remove(&self, watch: i32) {
            // One whose file is gone is gone with it.
            let _ = inotify::remove_watch(&*self.0, watch);
        }
    }

    fn listen(fd: &Weak<OwnedFd>, hear: &dyn Fn(Vec<Touch>)) {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        while let Some(fd) = fd.upgrade() {
            match poll(&mut [PollFd::new(&*fd, PollFlags::IN)], Some(&WHILE)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            let mut touches: HashSet<Touch> = HashSet::new();
            let mut reader = inotify::Reader::new(&*fd, &mut buffer);
            // It ends when nothing is left to read.
            while let Ok(event) = reader.next() {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                // The system says by the same number that it lost some.
                touches.insert(match touches.len() < MANY {
                    true => Touch { watch: event.wd(), name: name.map(OsString::from) },
                    false => Touch::LOST,
                });
            }
            hear(touches.into_iter().collect());
            std::thread::sleep(TOGETHER);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_write_a_new_wal_and_a_new_file_are_noticed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let dir = std::fs::canonicalize(dir.path()).unwrap();
        let path = dir.join("a.db");
        std::fs::write(&path, "x").unwrap();
        let (sender, heard) = crossbeam_channel::unbounded();
        let mut files = Files::listen(move |touches| drop(sender.send(touches)));
        files.watch_database(&path);
        let next = |files: &Files| {
            let touches = heard.recv_timeout(Duration::from_secs(30)).unwrap();
            touches.iter().filter_map(|touch| files.touched(touch)).collect::<Vec<_>>()
        };
        std::fs::write(&path, "xy").unwrap();
        assert_eq!(next(&files), std::slice::from_ref(&path));
        std::fs::write(dir.join("a.db-wal"), "x").unwrap();
        assert!(next(&files).contains(&dir.join("a.db-wal")));
        files.leave_database(&path);
        std::fs::write(&path, "xyz").unwrap();
        std::fs::write(dir.join("b.db"), "x").unwrap();
        let mut seen = Vec::new();
        while !seen.contains(&dir.join("b.db")) {
            seen.extend(next(&files));
        }
        assert!(!seen.contains(&path), "{seen:?}");
    }

    #[test]
    fn of_more_files_than_are_told_of_it_is_told_that_there_are_more() {
        let dir = tempfile::tempdir().unwrap();
        let dir = std::fs::canonicalize(dir.path()).unwrap();
        let (sender, heard) = crossbeam_channel::unbounded();
        let mut files = Files::listen(move |touches| drop(sender.send(touches)));
        files.watch_folder(&dir);
        let mut touched = std::collections::BTreeSet::new();
        for n in 0..5000 {
            std::fs::write(dir.join(format!("{n}.db")), "x").unwrap();
        }
        // Each is told of, or it is told that not all are.
        while touched.len() < 5000 {
            let touches = heard.recv_timeout(Duration::from_secs(30)).unwrap();
            assert!(touches.len() <= 1001, "{}", touches.len());
            if touches.iter().any(Touch::tells_of_loss) {
                return;
            }
            touched.extend(touches.iter().filter_map(|touch| files.touched(touch)));
        }
    }

    #[test]
    fn leaving_one_database_of_many_leaves_the_others_watched() {
        let dir = tempfile::tempdir().unwrap();
        let dir = std::fs::canonicalize(dir.path()).unwrap();
        let (sender, heard) = crossbeam_channel::unbounded();
        let mut files = Files::listen(move |touches| drop(sender.send(touches)));
        let [one, other] = ["one.db", "other.db"].map(|name| dir.join(name));
        for path in [&one, &other] {
            std::fs::write(path, "x").unwrap();
            files.watch_database(path);
            files.watch_database(path);
        }
        // Another name of the second: the system has one watch for both.
        let again = dir.join("again.db");
        std::fs::hard_link(&other, &again).unwrap();
        files.watch_database(&again);
        files.leave_database(&one);
        files.leave_database(&other);
        assert_eq!(files.of_database.len(), 1);
        std::fs::write(&one, "xy").unwrap();
        std::fs::write(&other, "xy").unwrap();
        let mut seen = Vec::new();
        while !seen.contains(&again) {
            let touches = heard.recv_timeout(Duration::from_secs(30)).unwrap();
            seen.extend(touches.iter().filter_map(|touch| files.touched(touch)));
        }
        assert!(!seen.contains(&one), "{seen:?}");
        files.leave_database(&again);
        assert!(files.of_database.is_empty());
    }
}
