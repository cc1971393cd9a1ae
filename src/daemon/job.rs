//! What is done with a database now and then: a snapshot, a verification, a prune. Each is a job:
//! it has a beginning, an end, a result in words, and can be stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::beginning::Mirrored;
use super::config::Plan;
use super::ear::Ear;
use super::kind::Kind;
use super::pool::{Hand, guarded};
use super::tested::Found;
use super::underway::{Far, Underway};
use super::words::{in_words, said};
use crate::count::{bytes, counted, number};
use crate::error::{Error, ErrorKind, Result};
use crate::format::proof::Level;
use crate::ops::backup::BackupOptions;
use crate::ops::files::history_of;
use crate::ops::finding::Finding;
use crate::ops::locate::Known;
use crate::ops::prune::{PruneOptions, PruneReport};
use crate::ops::verify::{VerifyOptions, VerifyReport};
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::remedy::Advice;
use crate::repo::Repository;
use crate::repo::history::handle::History;

/// How much longer than a verification may take a mirror is waited for: it may be busy.
const ANSWER: Duration = Duration::from_secs(60);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// It did what it was to do.
    Well,
    /// It did, and found damage or an assertion that does not hold.
    Found,
    /// It could not.
    Failed,
    /// It did, and what it looked for can't be told. What was known before still is.
    Unknown,
    /// It was stopped, and is done another time.
    Stopped,
    /// Somebody asked for its end.
    Cancelled,
}

impl Ended {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Well, Self::Found, Self::Failed, Self::Unknown, Self::Stopped, Self::Cancelled];

    /// The one of a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ended| ended.name() == name)
    }

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Found => "found",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ended: Ended,
    /// What it did or found, in words.
    pub(crate) message: String,
}

impl Outcome {
    pub(super) fn well(message: String) -> Self {
        Self { ended: Ended::Well, message }
    }

    /// What a result is in the books.
    pub(super) fn of(done: Result<Self>) -> Self {
        done.unwrap_or_else(|e| {
            let ended = match e.kind() {
                ErrorKind::Interrupted => Ended::Stopped,
                ErrorKind::Damaged => Ended::Found,
                _ => Ended::Failed,
            };
            Self { ended, message: in_words(&e) }
        })
    }
}

/// A mirror that is open, and who asks it: it may not answer.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) name: String,
    pub(super) repository: Repository,
    pub(super) clerk: Hand,
}

/// What a job needs to know.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) kind: Kind,
    pub(super) repository: Repository,
    /// The database's file.
    pub(super) path: PathBuf,
    /// The history's name, and the history, if it was found before.
    pub(super) name: String,
    pub(super) known: Option<History>,
    pub(super) plan: Arc<Plan>,
    /// What the mirrors have of its history's name, and of that of its files.
    pub(super) mirrored: [Mirrored; 2],
    /// The mirrors that are open.
    pub(super) mirrors: Vec<Mirror>,
    /// Where scratch restores go.
    pub(super) scratch: PathBuf,
    /// Hears of what happens to the database.
    pub(super) ear: Arc<Ear>,
    /// The label that a backup gives.
    pub(super) label: Option<String>,
    /// What a test found of each commit.
    pub(super) found: Arc<Mutex<Vec<Found>>>,
}

impl Order {
    /// Does it.
    ///
    /// # Errors
    /// What keeps it from being done; [`ErrorKind::Interrupted`].
    pub(super) fn carry_out(&self, monitor: &dyn Monitor) -> Result<Outcome> {
        let [database, files] = &self.mirrored;
        match self.kind {
            Kind::Backup => database.check(&self.repository, &self.name, None, monitor)?,
            Kind::Files => {
                files.check(&self.repository, &history_of(&self.name), None, monitor)?;
            }
            _ => {}
        }
        match self.kind {
            Kind::Backup => self.back_up(monitor),
            Kind::Files => self.keep_files(monitor),
            Kind::VerifyData => self.verify(Level::Data, monitor),
            Kind::VerifyRestore => self.verify(Level::Restore, monitor),
            Kind::Prune => self.prune(monitor),
            Kind::Drift => self.compare(monitor),
            // It is about several databases.
            Kind::Group => Err(Error::new(ErrorKind::Failure, "a group is no job of one database")),
        }
    }

    /// As [`Order::carry_out`]; a panic of ours is a failure like any other.
    pub(super) fn carry_out_whatever_happens(&self, monitor: &dyn Monitor) -> Outcome {
        Outcome::of(guarded(|| self.carry_out(monitor)))
    }

    /// What a test found of each commit, once it ended.
    pub(super) fn take_found(&self) -> Vec<Found> {
        std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn back_up(&self, monitor: &dyn Monitor) -> Result<Outcome> {
        let mut options = BackupOptions::default().name(&self.name).marks(self.plan.marks);
        options.compression = self.plan.compression;
        options.label.clone_from(&self.label);
        let known = Known { history: self.known.as_ref(), ..Known::default() };
        let report = self.repository.backup_known(&self.path, known, &options, monitor)?;
        report.marks.iter().for_each(|mark| self.ear.marked(mark));
        let seq = report.seq;
        Ok(Outcome::well(match report.commit {
            Some(_) => format!("stored seq:{seq}"),
            None if report.followed => format!("a follower has everything, up to seq:{seq}"),
            None => format!("nothing is new since seq:{seq}"),
        }))
    }

    /// The database's history. To find one by its name takes the longer the more there are.
    pub(super) fn history(&self) -> Result<History> {
        match &self.known {
            Some(known) if self.repository.has_history(known) => Ok(known.clone()),
            _ => self.repository.history(&self.name),
        }
    }

    fn verify(&self, level: Level, monitor: &dyn Monitor) -> Result<Outcome> {
        let history = self.history()?;
        let outcome = match self.verified(&history, level, monitor) {
            Ok(report) if report.findings.is_empty() => return Ok(told(level, &report)),
            Ok(report) => told(level, &report),
            Err(e) if e.kind() == ErrorKind::Damaged => Outcome::of(Err(e)),
            Err(e) => return Err(e),
        };
        // What is damaged here may be whole there: whoever has to act is to know.
        let mut message = outcome.message;
        for mirror in &self.mirrors {
            let name = &mirror.name;
            let Outcome { ended, message: there } =
                Outcome::of(self.ask_mirror(mirror, &history, level, monitor));
            match ended {
                Ended::Stopped | Ended::Cancelled => check_cancelled(monitor)?,
                Ended::Well => message += &format!("; the mirror {name} is sound: {there}"),
                _ => message += &format!("; the mirror {name} does not help: {there}"),
            }
        }
        Ok(Outcome { ended: Ended::Found, message })
    }

    /// Verifies a history, and that of the files behind it. One that is damaged is told of first.
    fn verified(
        &self,
        history: &History,
        level: Level,
        monitor: &dyn Monitor,
    ) -> Result<VerifyReport> {
        let plan = &self.plan.verify;
        let mut options = VerifyOptions::new(level, &self.scratch).max_time(plan.max_time);
        match level {
            Level::Restore => options.assertions.clone_from(&plan.assertions),
            _ => options.sample_ppm = Some(plan.sample_ppm),
        }
        let report = history.verify(None, &options, monitor)?;
        if history.repository().id() == self.repository.id() {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            *found = report.proofs.iter().map(Found::from).collect();
        }
        if !report.findings.is_empty() || !report.refuted.is_empty() {
            return Ok(report);
        }
        self.verify_files(history.repository(), report, &options, monitor)
    }

    /// Has the copy of a history in a mirror verified. It is known by its identity: a mirror may
    /// have another history of the name.
    fn ask_mirror(
        &self,
        mirror: &Mirror,
        history: &History,
        level: Level,
        monitor: &dyn Monitor,
    ) -> Result<Outcome> {
        let (order, to, id) = (self.clone(), mirror.repository.clone(), history.id());
        let control = Control::of(&self.name, None, self.ear.clone());
        let theirs = control.clone();
        let patience = self.plan.verify.max_time.saturating_add(ANSWER);
        mirror.clerk.ask(
            patience,
            monitor,
            || control.stop(),
            move || {
                let census = to.census()?;
                let copy = census.histories.into_iter().find(|copy| copy.id() == id);
                let copy = copy.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "has no copy of this history")
                        .with_object(to.store().location())
                })?;
                order.verified(&copy, level, &*theirs).map(|report| told(level, &report))
            },
        )
    }

    fn prune(&self, monitor: &dyn Monitor) -> Result<Outcome> {
        let Some((policy, _)) = &self.plan.retention else {
            return Ok(Outcome::well("there is no policy: everything stays".to_owned()));
        };
        let mut options = PruneOptions::new(policy.clone(), self.plan.zone);
        options.compression = self.plan.compression;
        let report = self.history()?.prune(&options, monitor)?;
        let of_files = self.prune_files(&options, monitor)?;
        let of_files_waiting = of_files.as_ref().map_or(0, PruneReport::unsettled);
        let told =
            of_files.map_or_else(String::new, |report| format!("; files: {}", pruned(&report)));
        let waiting = report.unsettled() + of_files_waiting;
        let message = pruned(&report) + &told;
        if waiting == 0 {
            return Ok(Outcome::well(message));
        }
        // Who wrote last decides about these with the next commit.
        let waiting = counted(number(waiting), "commit");
        let message = format!(
            "{message}; the policy does not keep {waiting} more, which another writer may still \
             go on before; it is tried again soon"
        );
        Ok(Outcome { ended: Ended::Unknown, message })
    }
}

/// What a prune came to, in words.
fn pruned(report: &PruneReport) -> String {
    format!(
        "{} expired, {} stay; {} in {} deleted",
        counted(number(report.dropped.len()), "commit"),
        number(report.kept.len()),
        bytes(report.deleted_bytes),
        counted(report.deleted_objects, "object"),
    )
}

/// What a verification came to, in words.
fn told(level: Level, report: &VerifyReport) -> Outcome {
    let found: Vec<&Finding> = report.findings.iter().chain(&report.refuted).collect();
    if let [first, others @ ..] = found.as_slice() {
        let more = match others.len() {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        let message = format!("{}: {}{more}", first.object, first.message);
        return Outcome { ended: Ended::Found, message };
    }
    let what = match (level, report.restored.as_slice()) {
        (Level::Restore, [seq]) => format!("seq:{seq} was restored and is sound"),
        (Level::Restore, restored) => {
            format!("{} were restored and are sound", counted(number(restored.len()), "commit"))
        }
        _ => format!("{} of {} batches are sound", report.batches_opened, report.batches),
    };
    let unfinished =
        if report.timed_out { "; the time ran out before all was looked at" } else { "" };
    Outcome::well(format!("{what}{unfinished}"))
}

/// Hears how a job goes, and stops it.
#[derive(Debug)]
pub(super) struct Control {
    stop: AtomicBool,
    /// Warnings that were told already: of several steps each may find the same.
    told: Mutex<Vec<String>>,
    database: String,
    /// The number of the job; a copy has none.
    job: Option<u64>,
    /// Hears of what is said about a clock.
    ear: Arc<Ear>,
    underway: Underway,
}

impl Control {
    pub(super) fn of(name: &str, job: Option<u64>, ear: Arc<Ear>) -> Arc<Self> {
        let (stop, told) = (AtomicBool::default(), Mutex::default());
        let underway = Underway::default();
        Arc::new(Self { stop, told, database: name.to_owned(), job, ear, underway })
    }

    /// How far it is, if it can tell.
    pub(super) fn far(&self) -> Option<Far> {
        self.underway.far()
    }

    /// Asks for a stop.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Monitor for Control {
    fn phase(&self, phase: Phase, total: Option<u64>) {
        self.underway.phase(phase, total);
    }

    fn advance(&self, bytes: u64) {
        self.underway.advance(bytes);
    }

    fn warn(&self, message: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.iter().any(|known| known == message) {
            told.push(message.to_owned());
            self.ear.said(message);
            tracing::warn!(database = self.database, job = self.job, "{message}");
        }
    }

    fn advise(&self, advice: &Advice) {
        self.warn(&said(advice));
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The folder for scratch restores.
pub(super) fn scratch_of(configured: Option<&Path>) -> PathBuf {
    configured.map_or_else(std::env::temp_dir, Path::to_owned)
}
