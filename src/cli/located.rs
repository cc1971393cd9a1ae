//! Which repository of a configuration lies at a place, however the place is spelt: through a link,
//! with `..`, or where the same disk is mounted once more.
//!
//! Invariant: a place that hangs keeps no command waiting for more than a moment; it counts as
//! another one than that which is named.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use crate::daemon::config::{Config, RepositoryConfig};
use crate::repo::recover::identity;
use crate::store::open_store;
use crate::types::RepositoryId;

/// How long the places of a configuration may take to say what they are.
const PATIENCE: Duration = Duration::from_secs(2);

/// What tells a place from others.
#[derive(Clone, Debug)]
struct Place {
    written: PathBuf,
    /// Its device and inode.
    folder: Option<(u64, u64)>,
    /// Which repository lies there.
    id: Option<RepositoryId>,
}

impl Place {
    fn of(location: &str) -> Self {
        let written = absolute(location).unwrap_or_else(|_| PathBuf::from(location));
        let folder = std::fs::metadata(location).ok().map(|folder| (folder.dev(), folder.ino()));
        // What is not there, or can't be read, is the same as nothing else.
        let store = folder.and_then(|_| open_store(location).ok());
        Self { written, folder, id: store.and_then(|store| identity(&*store)) }
    }

    fn is_at(&self, other: &Self) -> bool {
        self.written == other.written
            || self.folder.is_some_and(|folder| Some(folder) == other.folder)
    }

    fn has_same(&self, other: &Self) -> bool {
        self.is_at(other) || self.id.is_some_and(|id| Some(id) == other.id)
    }
}

/// The repositories of a configuration that lie at a place.
pub(super) fn all_at<'c>(
    config: &'c Config,
    location: &str,
) -> Vec<(&'c str, &'c RepositoryConfig)> {
    those(config, location, Place::is_at)
}

/// The repositories of a configuration that lie at a place, and those that are the same as the one
/// that lies there: copies of its folder, or another mount of it.
pub(super) fn all_like<'c>(
    config: &'c Config,
    location: &str,
) -> Vec<(&'c str, &'c RepositoryConfig)> {
    those(config, location, Place::has_same)
}

fn those<'c>(
    config: &'c Config,
    location: &str,
    is_it: fn(&Place, &Place) -> bool,
) -> Vec<(&'c str, &'c RepositoryConfig)> {
    let here = Place::of(location);
    let (sender, answers) = unbounded();
    let mut asked = 0_usize;
    let mut found = BTreeSet::new();
    for (name, repository) in &config.repositories {
        if Path::new(&repository.location) == here.written {
            found.insert(name.clone());
            continue;
        }
        let (here, there, sender) = (here.clone(), repository.location.clone(), sender.clone());
        let of = name.clone();
        let look = move || {
            let there = Place::of(&there);
            drop(sender.send((of, is_it(&here, &there))));
        };
        // Where no thread begins, the place is taken for another one.
        let begun = std::thread::Builder::new().name("pagekeep-place".to_owned()).spawn(look);
        asked += usize::from(begun.is_ok());
    }
    let until = Instant::now() + PATIENCE;
    for _ in 0..asked {
        match answers.recv_deadline(until) {
            Ok((name, true)) => drop(found.insert(name)),
            Ok((_, false)) => {}
            Err(_) => break,
        }
    }
    let all = config.repositories.iter().filter(|(name, _)| found.contains(*name));
    all.map(|(name, repository)| (name.as_str(), repository)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_place_is_known_however_it_is_spelt() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["far", "other"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        symlink(at("far"), at("link")).unwrap();
        let text = |location: &str| {
            format!(
                "[repositories.far]\nlocation = {location:?}\nkey-file = \"k\"
                 [repositories.z]\nlocation = \"z\"\nkey-file = \"k\"\n"
            )
        };
        let names = |location: &str, asked: &Path| -> Vec<String> {
            let file = at("pagekeep.toml");
            let config = Config::parse(&file, &text(location)).unwrap();
            let found = all_at(&config, asked.to_str().unwrap());
            found.into_iter().map(|(name, _)| name.to_owned()).collect()
        };
        for spelt in ["far", "link", "other/../far", "./far//", "link/."] {
            assert_eq!(names("far", &at(spelt)), ["far"], "{spelt}");
            // A place that is a link in the configuration, and the real one that is typed.
            assert_eq!(names("link", &at(spelt)), ["far"], "{spelt}");
        }
        assert!(names("far", &at("other")).is_empty());
        // One that is not there yet goes by its name.
        assert_eq!(names("new", &at("new")), ["far"]);
        assert!(names("new", &at("far")).is_empty());
    }
}
