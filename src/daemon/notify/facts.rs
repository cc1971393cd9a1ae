//! What alerts are judged by, from an overview; and who is told of what.

use std::collections::{BTreeMap, BTreeSet};

use super::space::Spaces;
use crate::daemon::job::Ended;
use crate::daemon::kind::Kind as Job;
use crate::daemon::overview::{DatabaseView, Overview, Phase, RepositoryView};
use crate::policy::alert::judge::{self, DatabaseFacts, JobFacts};
use crate::policy::alert::{Key, Kind, Known, Subject};
use crate::types::Timestamp;

/// What is known of every condition that holds, and of all of those subjects of which there are
/// alerts: of thousands of databases that are well nothing has to be said each second.
pub(super) fn seen(
    overview: &Overview,
    spaces: &Spaces,
    alerted: &BTreeSet<&Subject>,
    now: Timestamp,
) -> BTreeMap<Key, Known> {
    let limits = &overview.notices.alerts.limits;
    let mut seen = BTreeMap::new();
    let mut reachable = BTreeSet::new();
    for repository in &overview.repositories {
        let RepositoryView { name, location, fault, is_open, .. } = repository;
        let place = spaces.fault(location);
        let known = judge::repository(fault.as_deref(), *is_open, place);
        if known == Known::Over {
            reachable.insert(name);
        }
        let subject = Subject::Repository(name.clone());
        seen.insert(Key { subject, kind: Kind::Unreachable, detail: String::new() }, known);
    }
    for (place, known) in spaces.judged(limits.low_space) {
        let subject = place.subject.clone();
        seen.insert(Key { subject, kind: Kind::LowSpace, detail: place.name.clone() }, known);
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
