//! Whether all is well with the daemon itself: that it lives, and that it is ready. How each
//! database stands is told by metrics, and by verdicts.

use std::time::Duration;

use serde::Serialize;

use crate::count::{counted, number};
use crate::daemon::overview::Overview;

/// How long the supervisor may take from one look to the next. It looks every second, and every few
/// seconds where there are many databases.
const SLOW: Duration = Duration::from_secs(60);
/// How many reasons are told.
const MOST: usize = 10;

/// An answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl Health {
    fn of(mut reasons: Vec<String>) -> Self {
        let more = reasons.len().saturating_sub(MOST);
        reasons.truncate(MOST);
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        Self { status: if reasons.is_empty() { "ok" } else { "unavailable" }, reasons }
    }

    pub(super) fn is_well(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Whether the daemon lives: its supervisor moves, and so does capture. `seen` is the newest
/// overview and its age, if there is one; `up` for how long the server is there.
pub(super) fn lives(seen: Option<(&Overview, Duration)>, up: Duration) -> Health {
    Health::of(troubles(seen, up))
}

/// Whether it is ready: it lives, all repositories are open, and it looked at all databases once.
pub(super) fn is_ready(seen: Option<(&Overview, Duration)>, up: Duration) -> Health {
    let mut reasons = troubles(seen, up);
    let Some((overview, _)) = seen else {
        if reasons.is_empty() {
            reasons.push("it has not looked at its databases yet".to_owned());
        }
        return Health::of(reasons);
    };
    for repository in overview.repositories.iter().filter(|repository| !repository.is_open) {
        let name = &repository.name;
        reasons.push(match &repository.fault {
            Some(why) => format!("repository {name}: {why}"),
            None => format!("repository {name}: {} is not open yet", repository.location),
        });
    }
    let is_open =
        |name: &str| overview.repositories.iter().any(|known| known.name == name && known.is_open);
    // Those of a repository that is not open can't be looked at, and that is told.
    let unseen = |repository: &str, looked: bool| !looked && is_open(repository);
    let mut waiting =
        overview.databases.iter().filter(|view| unseen(&view.repository, view.standing.looked));
    if let Some(first) = waiting.next() {
        let n = number(1 + waiting.count());
        reasons.push(format!("{} not looked at yet: {} first", counted(n, "database"), first.name));
    }
    Health::of(reasons)
}

/// What tells that the daemon stands still.
fn troubles(seen: Option<(&Overview, Duration)>, up: Duration) -> Vec<String> {
    let mut reasons = Vec::new();
    let ago = seen.map_or(up, |(_, ago)| ago);
    if ago >= SLOW {
        reasons.push(format!("the supervisor has not looked for {} s", ago.as_secs()));
    }
    for name in seen.iter().flat_map(|(overview, _)| &overview.still) {
        reasons.push(format!("the capture of {name} stands still"));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::samples::{followed, open};

    const SOON: Duration = Duration::from_secs(1);

    fn sample() -> Overview {
        Overview {
            databases: vec![followed("app")],
            repositories: vec![open("main")],
            ..Overview::default()
        }
    }

    #[test]
    fn a_supervisor_that_stands_still_is_seen_whenever_it_stopped() {
        let overview = sample();
        let seen = Some((&overview, SOON));
        assert!(lives(seen, SLOW).is_well() && is_ready(seen, SLOW).is_well());
        let old = Some((&overview, SLOW));
        assert!(!lives(old, SLOW).is_well() && !is_ready(old, SLOW).is_well());
        // It has time for its first look.
        assert!(lives(None, SOON).is_well() && !is_ready(None, SOON).is_well());
        assert!(!lives(None, SLOW).is_well());
        let still = Overview { still: vec!["app".to_owned()], ..sample() };
        assert!(!lives(Some((&still, SOON)), SOON).is_well());
    }

    #[test]
    fn it_is_ready_once_all_is_open_and_looked_at() {
        let mut overview = sample();
        let reasons = |overview: &Overview| is_ready(Some((overview, SOON)), SOON).reasons;
        overview.databases[0].standing.looked = false;
        assert_eq!(reasons(&overview), ["1 database not looked at yet: app first"]);
        overview.repositories[0].is_open = false;
        assert_eq!(reasons(&overview), ["repository main: /backups/main is not open yet"]);
        overview.repositories[0].fault = Some("the disk is gone".to_owned());
        assert_eq!(reasons(&overview), ["repository main: the disk is gone"]);
        // A repository that is closed takes nothing from the daemon's life.
        assert!(lives(Some((&overview, SOON)), SOON).is_well());
        overview.repositories = (0..30).map(|n| open(&format!("r{n}"))).collect();
        overview.repositories.iter_mut().for_each(|repository| repository.is_open = false);
        assert_eq!(reasons(&overview).len(), MOST + 1);
    }
}
