//! How everything stands, as Prometheus reads it. Pure but for what the process takes.
//!
//! A moment is told as a moment and not as an age, so that whoever asks computes the age by its own
//! clock, also while nobody answers. `docs/metrics.md` has every metric.
//!
//! Invariants: the labels that tell one thing from another are the names of databases and
//! repositories, and nothing that grows with time. Of no more than [`MOST`] databases each is told,
//! those in trouble first.

mod process;
mod text;

use std::fmt::Display;

use super::job::Ended;
use super::kind::Kind;
use super::overview::{DatabaseView, Overview, Phase, RepositoryView};
use crate::policy::verdict::State;
use crate::types::Timestamp;

pub(super) use text::CONTENT_TYPE;
use text::{Family, Page, Seconds};

/// Of how many databases each has its own samples: more would be more than a monitor likes to
/// store, and than is sent in the time that it waits.
pub(super) const MOST: usize = 10_000;

/// What others count besides.
#[derive(Clone, Debug, Default)]
pub(super) struct Besides {
    /// Answers to monitors, by their code.
    pub(super) answers: Vec<(&'static str, u64)>,
}

/// A page with all metrics.
pub(super) fn page(overview: &Overview, besides: &Besides) -> String {
    let mut page = Page::default();
    of_daemon(&mut page, overview, besides);
    of_repositories(&mut page, overview);
    let told = told(&overview.databases);
    of_databases(&mut page, &told);
    of_groups(&mut page, overview);
    of_mirrors(&mut page, &told);
    of_proofs(&mut page, &told);
    of_jobs(&mut page, &told);
    process::add(&mut page);
    page.text()
}

/// The databases of which each is told.
fn told(databases: &[DatabaseView]) -> Vec<&DatabaseView> {
    let mut told: Vec<&DatabaseView> = databases.iter().collect();
    if told.len() > MOST {
        let is_well = |view: &&DatabaseView| match view.verdict.state {
            State::AtRisk => 0,
            State::Look => 1,
            _ => 2,
        };
        told.sort_by_key(is_well);
        told.truncate(MOST);
    }
    told
}

fn of_daemon(page: &mut Page, overview: &Overview, besides: &Besides) {
    page.gauge("pagekeep_build_info", "Which version it is; always 1.")
        .is(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge(
        "pagekeep_overview_timestamp_seconds",
        "When the daemon last looked at everything, since 1970; all the rest is as of then.",
    )
    .is(&[], Seconds(overview.at));
    let mut databases = page.gauge("pagekeep_databases", "How many databases have each verdict.");
    let states = overview.states();
    for state in State::ALL {
        databases.is(&[("state", state.name())], states.get(&state).unwrap_or(&0));
    }
    let mut phases =
        page.gauge("pagekeep_databases_in_phase", "How many databases are captured in which way.");
    for phase in Phase::ALL {
        phases.is(&[("phase", phase.name())], overview.count(|view| view.phase == phase));
    }
    page.gauge(
        "pagekeep_databases_left_out",
        "Databases that have no samples of their own here, since there are too many; those in trouble are left out last.",
    )
    .is(&[], overview.databases.len().saturating_sub(MOST));
    page.gauge(
        "pagekeep_databases_still",
        "Databases whose capture stands still and knows of no trouble; the watchdog is not fed then.",
    )
    .is(&[], overview.still.len());
    page.counter("pagekeep_commits_total", "Commits that were stored by following.")
        .is(&[], overview.tally.commits);
    let mut running = page.gauge("pagekeep_jobs_running", "Jobs that run.");
    for kind in Kind::ALL {
        let moments = match kind {
            Kind::Group => overview.groups.iter().filter(|group| group.is_running).count(),
            _ => 0,
        };
        let n = overview.count(|view| view.does(kind)) + moments;
        running.is(&[("kind", kind.name())], n);
    }
    page.gauge("pagekeep_jobs_waiting", "Databases that wait for their turn for a job.")
        .is(&[], overview.waiting);
    let mut jobs = page.counter("pagekeep_jobs_total", "Jobs that ended, by how they did.");
    for kind in Kind::ALL {
        for ended in Ended::ALL {
            let n = overview.tally.jobs.get(&(kind, ended)).unwrap_or(&0);
            jobs.is(&[("kind", kind.name()), ("result", ended.name())], n);
        }
    }
    let mut answers =
        page.counter("pagekeep_http_responses_total", "Answers to monitors, by their code.");
    for (code, n) in &besides.answers {
        answers.is(&[("code", *code)], n);
    }
    let room = overview.folders.first().and_then(|(_, measured)| measured.room());
    let help = "Room on the disk of the state folder that may still be taken.";
    let mut family = page.gauge("pagekeep_state_disk_free_bytes", help);
    room.iter().for_each(|room| family.is(&[], room.free));
    let help = "Size of the disk of the state folder.";
    let mut family = page.gauge("pagekeep_state_disk_size_bytes", help);
    room.iter().for_each(|room| family.is(&[], room.size));
}

fn of_repositories(page: &mut Page, overview: &Overview) {
    let mut each = |name, is_counter, help, samples: &dyn Fn(&RepositoryView, &mut Family<'_>)| {
        let mut family = match is_counter {
            true => page.counter(name, help),
            false => page.gauge(name, help),
        };
        overview.repositories.iter().for_each(|repository| samples(repository, &mut family));
    };
    each("pagekeep_repository_up", false, "Whether it is open: 1, or 0.", &|r, family| {
        family.is(&[("repository", &r.name)], u8::from(r.is_open));
    });
    each("pagekeep_disk_free_bytes", false, "Room that may still be taken there.", &|r, family| {
        let room = r.room.room().into_iter();
        room.for_each(|room| family.is(&[("repository", &r.name)], room.free));
    });
    each("pagekeep_disk_size_bytes", false, "Size of the disk there.", &|r, family| {
        let room = r.room.room().into_iter();
        room.for_each(|room| family.is(&[("repository", &r.name)], room.size));
    });
    let help = "Requests to the storage, by what was asked.";
    each("pagekeep_store_requests_total", true, help, &|r, family| {
        for (request, n) in r.traffic.requests() {
            family.is(&[("repository", &r.name), ("operation", request.name())], n);
        }
    });
    let help = "Requests to the storage that failed, by the kind of the error.";
    each("pagekeep_store_errors_total", true, help, &|r, family| {
        for (class, n) in r.traffic.errors() {
            family.is(&[("repository", &r.name), ("class", class.name())], n);
        }
    });
    let help = "Bytes that were read from the storage.";
    each("pagekeep_store_read_bytes_total", true, help, &|r, family| {
        family.is(&[("repository", &r.name)], r.traffic.bytes().0);
    });
    let help = "Bytes that were stored.";
    each("pagekeep_store_written_bytes_total", true, help, &|r, family| {
        family.is(&[("repository", &r.name)], r.traffic.bytes().1);
    });
}

/// One sample for each database that has one.
fn each<T: Display>(
    mut family: Family<'_>,
    databases: &[&DatabaseView],
    value: impl Fn(&DatabaseView) -> Option<T>,
) {
    for database in databases {
        if let Some(value) = value(database) {
            family.is(&names(database), value);
        }
    }
}

/// The labels that tell a database from all others.
fn names(database: &DatabaseView) -> [(&str, &str); 2] {
    [("database", &database.name), ("repository", &database.repository)]
}

fn of_databases(page: &mut Page, databases: &[&DatabaseView]) {
    let mut family = page.gauge(
        "pagekeep_database_verdict",
        "How it stands: 1, with the label of the one state that it has.",
    );
    for database in databases {
        let [name, repository] = names(database);
        family.is(&[name, repository, ("state", database.verdict.state.name())], 1);
    }
    let mut family = page.gauge(
        "pagekeep_database_phase",
        "How it is captured now: 1, with the label of the one phase that it is in.",
    );
    for database in databases {
        let [name, repository] = names(database);
        family.is(&[name, repository, ("phase", database.phase.name())], 1);
    }
    let help = "When all of it was last known to be stored, since 1970.";
    let family = page.gauge("pagekeep_database_last_stored_timestamp_seconds", help);
    each(family, databases, |view| view.standing.stored.map(Seconds));
    let help =
        "When its newest commit was captured, since 1970: long ago while the database rests.";
    let family = page.gauge("pagekeep_database_last_commit_timestamp_seconds", help);
    each(family, databases, |view| view.standing.newest.map(Seconds));
    let help = "Whether something keeps it from being captured: 1, or 0.";
    let family = page.gauge("pagekeep_database_fault", help);
    each(family, databases, |view| Some(u8::from(view.standing.fault.is_some())));
    let help =
        "Whether something stored is damaged, or the last verification found something: 1, or 0.";
    let family = page.gauge("pagekeep_database_damaged", help);
    each(family, databases, |view| Some(u8::from(view.standing.damage.is_some())));
    let family = page.counter("pagekeep_database_commits_total", "Commits stored by following.");
    each(family, databases, |view| Some(view.published));
    let help = "Transactions that are captured and not stored yet, while it is followed.";
    let family = page.gauge("pagekeep_database_pending_transactions", help);
    each(family, databases, |view| view.following.map(|f| f.pending));
    let help = "For how long the oldest of those waits, while it is followed.";
    let family = page.gauge("pagekeep_database_lag_seconds", help);
    each(family, databases, |view| view.following.map(|f| f.lag.as_secs_f64()));
    let help = "Bytes of the present generation of its WAL, while it is followed.";
    let family = page.gauge("pagekeep_database_wal_bytes", help);
    each(family, databases, |view| view.following.map(|f| f.wal_bytes));
    let help =
        "How often its follower read the whole database, since what changed could not be proven.";
    let family = page.counter("pagekeep_database_scans_total", help);
    each(family, databases, |view| view.following.map(|f| f.scans));
}

fn of_groups(page: &mut Page, overview: &Overview) {
    let help = "When one moment of all its databases was last labelled, since 1970.";
    let mut family = page.gauge("pagekeep_group_last_timestamp_seconds", help);
    for group in &overview.groups {
        group.made.iter().for_each(|made| family.is(&[("group", &group.name)], Seconds(*made)));
    }
    let help = "When it was last tried to label one, since 1970.";
    let mut family = page.gauge("pagekeep_group_last_try_timestamp_seconds", help);
    for group in &overview.groups {
        group.run.iter().for_each(|run| family.is(&[("group", &group.name)], Seconds(run.at)));
    }
    let help = "How many times in a row no moment of it could be labelled.";
    let mut family = page.gauge("pagekeep_group_failures", help);
    for group in &overview.groups {
        group.run.iter().for_each(|run| family.is(&[("group", &group.name)], run.failures));
    }
}

fn of_mirrors(page: &mut Page, databases: &[&DatabaseView]) {
    let help = "When a mirror was last known to have everything of it, since 1970.";
    let mut family = page.gauge("pagekeep_mirror_complete_timestamp_seconds", help);
    for database in databases {
        let [name, repository] = names(database);
        for copy in &database.copies {
            if let Some(complete) = copy.complete {
                family.is(&[name, repository, ("mirror", &copy.mirror)], Seconds(complete));
            }
        }
    }
    let help = "Whether something keeps it from being copied to a mirror: 1, or 0.";
    let mut family = page.gauge("pagekeep_mirror_fault", help);
    for database in databases {
        let [name, repository] = names(database);
        for copy in &database.copies {
            let labels = [name, repository, ("mirror", &*copy.mirror)];
            family.is(&labels, u8::from(copy.fault.is_some()));
        }
    }
}

fn of_proofs(page: &mut Page, databases: &[&DatabaseView]) {
    let help = "When a verification of that level last passed, since 1970: data counts whatever opens what is stored.";
    let mut family = page.gauge("pagekeep_database_proof_timestamp_seconds", help);
    for database in databases {
        let standing = &database.standing;
        let [name, repository] = names(database);
        let mut level = |level, passed: Option<Timestamp>| {
            if let Some(passed) = passed {
                family.is(&[name, repository, ("level", level)], Seconds(passed));
            }
        };
        level("data", standing.verified.max(standing.restored));
        level("restore", standing.restored);
    }
}

fn of_jobs(page: &mut Page, databases: &[&DatabaseView]) {
    let mut family = page.gauge(
        "pagekeep_job_last_result",
        "How the last job of a kind ended: 1, with the label of that result.",
    );
    for database in databases {
        let [name, repository] = names(database);
        for (kind, run) in &database.runs {
            let labels = [name, repository, ("kind", kind.name()), ("result", run.ended.name())];
            family.is(&labels, 1);
        }
    }
    let help = "When the last job of a kind ended, since 1970.";
    let mut family = page.gauge("pagekeep_job_last_timestamp_seconds", help);
    for database in databases {
        let [name, repository] = names(database);
        for (kind, run) in &database.runs {
            family.is(&[name, repository, ("kind", kind.name())], Seconds(run.at));
        }
    }
    let help = "How many jobs of a kind in a row failed, or found something.";
    let mut family = page.gauge("pagekeep_job_failures", help);
    for database in databases {
        let [name, repository] = names(database);
        for (kind, run) in &database.runs {
            family.is(&[name, repository, ("kind", kind.name())], run.failures);
        }
    }
}

#[cfg(test)]
mod tests;
