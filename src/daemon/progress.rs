//! Whether capture makes progress. A service manager gets a sign of life only while it does.
//!
//! What is in trouble and says so does not stand still: it is tried again, and a new start would
//! help it no more. What stands still is a follower that has something to store, knows of no
//! trouble, and stores nothing; or one that looks at its database no longer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::overview::DatabaseView;

/// After how long without a move a follower stands still. Storing one group, or capturing one
/// transaction, may take minutes on a slow disk.
pub(super) const LONG: Duration = Duration::from_secs(15 * 60);

/// What was seen of followers that have something to store.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How many commits each had published when that last changed, and when that was.
    moved: BTreeMap<PathBuf, (u64, Instant)>,
}

impl Progress {
    /// The names of those databases whose followers stand still.
    pub(super) fn look(&mut self, databases: &[DatabaseView], now: Instant) -> Vec<String> {
        let before = std::mem::take(&mut self.moved);
        let mut still = Vec::new();
        for database in databases {
            let Some(following) = &database.following else { continue };
            // The trouble of others, as of a repository that can't be asked, explains nothing.
            if following.has_fault {
                continue;
            }
            // One that begins, or reads the whole database, looks at no WAL, and may take hours.
            let Some(looked) = following.looked else { continue };
            let mut stands = looked >= LONG;
            if following.pending > 0 {
                let known = before.get(&database.path).copied();
                let (published, since) = known
                    .filter(|(published, _)| *published == database.published)
                    .unwrap_or((database.published, now));
                stands |= now.saturating_duration_since(since) >= LONG;
                self.moved.insert(database.path.clone(), (published, since));
            }
            if stands {
                still.push(database.name.clone());
            }
        }
        still
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::followed;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// What is told after each of some looks, one a minute, at a database that has so many
    /// transactions pending and so many published.
    fn told(looks: impl IntoIterator<Item = (u64, u64, Option<&'static str>)>) -> Vec<bool> {
        let (mut progress, mut now) = (Progress::default(), Instant::now());
        let mut told = Vec::new();
        for (pending, published, fault) in looks {
            let mut database = followed("app");
            database.published = published;
            database.standing.fault = Some("the repository can't be asked".to_owned());
            if let Some(following) = &mut database.following {
                (following.pending, following.has_fault) = (pending, fault.is_some());
            }
            told.push(!progress.look(&[database], now).is_empty());
            now += MINUTE;
        }
        told
    }

    #[test]
    fn whoever_has_something_to_store_and_stores_nothing_for_long_stands_still() {
        // It captures all the while, and stores nothing.
        let stuck = told((0..20).map(|minute| (1 + minute, 7, None)));
        assert_eq!(stuck.iter().position(|stuck| *stuck), Some(15));
        assert!(stuck[15..].iter().all(|stuck| *stuck));
    }

    #[test]
    fn whoever_moves_rests_or_says_what_is_wrong_does_not() {
        let never = |looks: Vec<(u64, u64, Option<&'static str>)>| !told(looks).contains(&true);
        // Slow, with a backlog that never ends.
        assert!(never((0..60).map(|minute| (500, minute / 14, None)).collect()));
        assert!(never(vec![(0, 7, None); 60]));
        assert!(never(vec![(5, 7, Some("the disk is full")); 60]));
        // A trouble that is over, or a rest, begins the time anew.
        let mut looks = vec![(5, 7, None); 14];
        looks.push((5, 7, Some("the disk is full")));
        looks.extend(vec![(5, 7, None); 14]);
        looks.push((0, 7, None));
        looks.extend(vec![(5, 7, None); 14]);
        assert!(never(looks));
    }

    #[test]
    fn whoever_reads_the_whole_database_may_take_hours() {
        let (mut progress, mut now) = (Progress::default(), Instant::now());
        let mut database = followed("app");
        if let Some(following) = &mut database.following {
            (following.pending, following.looked) = (5, None);
        }
        for _ in 0..60 {
            assert!(progress.look(&[database.clone()], now).is_empty());
            now += MINUTE;
        }
    }

    #[test]
    fn whoever_looks_no_longer_stands_still_though_nothing_is_pending() {
        let mut database = followed("app");
        let mut at = |looked: Option<Duration>| {
            if let Some(following) = &mut database.following {
                following.looked = looked;
            }
            Progress::default().look(&[database.clone()], Instant::now())
        };
        assert!(at(None).is_empty());
        assert!(at(Some(14 * MINUTE)).is_empty());
        assert_eq!(at(Some(LONG)), ["app"]);
    }
}
