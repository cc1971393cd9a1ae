//! What alerts are judged by, from an overview; and who is told of what.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::job::Ended;
use crate::daemon::kind::Kind as Job;
use crate::daemon::overview::{DatabaseView, Overview, Phase, RepositoryView};
use crate::daemon::room::Measured;
use crate::policy::alert::judge::{self, DatabaseFacts, JobFacts};
use crate::policy::alert::{Key, Kind, Known, Subject};
use crate::types::Timestamp;

/// What is known of every condition that holds, and of all of those subjects of which there are
/// alerts: of thousands of databases that are well nothing has to be said each second.
pub(super) fn seen(
    overview: &Overview,
    alerted: &BTreeSet<&Subject>,
    now: Timestamp,
) -> BTreeMap<Key, Known> {
    let limits = &overview.notices.alerts.limits;
    let mut seen = BTreeMap::new();
    let mut reachable = BTreeSet::new();
    for repository in &overview.repositories {
        let RepositoryView { name, room, fault, is_open, .. } = repository;
        let known = judge::repository(fault.as_deref(), *is_open, room.fault());
        if known == Known::Over {
            reachable.insert(name);
        }
        let subject = Subject::Repository(name.clone());
        seen.insert(Key { subject, kind: Kind::Unreachable, detail: String::new() }, known);
    }
    for (subject, detail, known) in space(overview) {
        seen.insert(Key { subject, kind: Kind::LowSpace, detail }, known);
    }
    for group in &overview.groups {
        let Some(run) = &group.run else { continue };
        let known = match run.failures >= limits.failures {
            true => Known::Holds(format!(
                "no moment of the group {} was labelled {} times in a row, at last with: {}",
                group.name, run.failures, run.message
            )),
            false => Known::Over,
        };
        let (subject, detail) = (Subject::Daemon, format!("group {}", group.name));
        seen.insert(Key { subject, kind: Kind::Failing, detail }, known);
    }
    for view in &overview.databases {
        let facts = facts(view, reachable.contains(&view.repository));
        let judged = judge::database(&facts, limits, now);
        let holds = judged.iter().any(|(.., known)| matches!(known, Known::Holds(_)));
        let subject = subject(view);
        if !holds && !alerted.contains(&subject) {
            continue;
        }
        for (kind, detail, known) in judged {
            seen.insert(Key { subject: subject.clone(), kind, detail }, known);
        }
    }
    seen
}

/// Which places have little space left; of those on one file system the first counts.
fn space(overview: &Overview) -> Vec<(Subject, String, Known)> {
    let repositories = overview.repositories.iter().map(|repository| {
        let subject = Subject::Repository(repository.name.clone());
        (subject, repository.location.clone(), &repository.room)
    });
    let folders = overview
        .folders
        .iter()
        .map(|(path, measured)| (Subject::Daemon, path.display().to_string(), measured));
    let places: Vec<_> = folders.chain(repositories).collect();
    // Which of several is the first nobody knows before all have answered.
    let is_known = places.iter().all(|(.., measured)| **measured != Measured::Unknown);
    let (mut met, mut judged) = (BTreeSet::new(), Vec::new());
    for (subject, name, measured) in places {
        let known = match measured.room() {
            Some(room) if is_known => {
                if !met.insert(room.of) {
                    continue;
                }
                judge::space(room.free, room.size, overview.notices.alerts.limits.low_space)
            }
            _ => Known::Unknown,
        };
        judged.push((subject, name, known));
    }
    judged
}

/// A database as alerts name it.
pub(super) fn subject(view: &DatabaseView) -> Subject {
    Subject::Database(view.repository.clone(), view.name.clone())
}

fn facts(view: &DatabaseView, is_reachable: bool) -> DatabaseFacts<'_> {
    let verifies = |kind: Job| matches!(kind, Job::VerifyData | Job::VerifyRestore);
    let is_scheduled = |kind: Job| view.plan.schedule(kind).is_some();
    // What an earlier configuration had compared nobody compares again.
    let counts = |kind: Job| kind != Job::Drift || is_scheduled(kind);
    let runs = view.runs.iter().filter(|(kind, _)| counts(**kind));
    let jobs = runs.map(|(kind, run)| JobFacts {
        name: kind.name(),
        verifies: verifies(*kind),
        compares: *kind == Job::Drift,
        at: run.at,
        found: run.ended == Ended::Found,
        failures: run.failures,
        message: &run.message,
    });
    DatabaseFacts {
        standing: &view.standing,
        promise: view.plan.promise,
        is_reachable,
        is_moving: matches!(view.phase, Phase::Waiting | Phase::Moving),
        is_verified: Job::ALL.into_iter().any(|kind| verifies(kind) && is_scheduled(kind)),
        went_back: view.went_back,
        lag: view.following.map(|following| following.lag),
        jobs: jobs.collect(),
    }
}

/// Which channels are told of a subject.
#[derive(Debug, Default)]
pub(super) struct Audience(BTreeMap<Subject, BTreeSet<String>>);

impl Audience {
    /// A database has its own. A repository has those of its databases; it and the daemon also have
    /// those that the defaults name. Where these name none, all channels are the daemon's.
    pub(super) fn of(overview: &Overview) -> Self {
        let mut all: BTreeMap<Subject, BTreeSet<String>> = BTreeMap::new();
        let usual = &overview.notices.notify;
        let mut add = |subject: Subject, names: &[String]| {
            all.entry(subject).or_default().extend(names.iter().cloned());
        };
        for view in &overview.databases {
            add(subject(view), &view.plan.notify);
            add(Subject::Repository(view.repository.clone()), &view.plan.notify);
            if usual.is_empty() {
                add(Subject::Daemon, &view.plan.notify);
            }
        }
        for repository in &overview.repositories {
            add(Subject::Repository(repository.name.clone()), usual);
        }
        add(Subject::Daemon, usual);
        Self(all)
    }

    pub(super) fn has(&self, channel: &str, subject: &Subject) -> bool {
        self.0.get(subject).is_some_and(|channels| channels.contains(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::room::Room;
    use crate::daemon::samples::open;

    fn overview(measured: Vec<Measured>, folder: Measured) -> Overview {
        let name = |n: usize| format!("r{n}");
        let repositories = measured.into_iter().enumerate();
        Overview {
            repositories: repositories
                .map(|(n, room)| RepositoryView { room, ..open(&name(n)) })
                .collect(),
            folders: vec![("/state".into(), folder)],
            ..Overview::default()
        }
    }

    fn room(of: u64, free: u64) -> Measured {
        Measured::Room(Room { of, free, size: 1000 })
    }

    #[test]
    fn space_is_judged_once_for_a_file_system_and_unknown_until_all_have_answered() {
        let told = |overview: &Overview| -> Vec<(String, bool, bool)> {
            let each = space(overview).into_iter();
            each.map(|(_, name, known)| {
                (name, matches!(known, Known::Holds(_)), known == Known::Unknown)
            })
            .collect()
        };
        // As after a restart: what was remembered stays as it was, under its own name.
        let unheard = overview(vec![Measured::Unknown, room(1, 0)], room(1, 0));
        assert!(told(&unheard).iter().all(|(_, _, unknown)| *unknown));
        assert_eq!(told(&unheard).len(), 3);
        let heard = overview(vec![room(2, 0), room(1, 0)], room(1, 0));
        let names: Vec<String> = told(&heard).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["/state", "/backups/r0"]);
        assert!(told(&heard).iter().all(|(_, holds, _)| *holds));
        // One that is gone says nothing of its space, and hides nothing.
        let gone = overview(vec![Measured::Gone("no answer".to_owned())], room(1, 900));
        let told = told(&gone);
        assert!(!told[0].1 && !told[0].2 && told[1].2, "{told:?}");
    }
}
