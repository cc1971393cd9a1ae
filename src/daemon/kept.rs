//! One database, as the supervisor keeps it: what is known of it, and what is done with it now.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::{Agenda, Turn};
use super::config::{Mode, Plan};
use super::copying::Copying;
use super::ear::Ear;
use super::job::{Control, Ended};
use super::kind::Kind;
use super::overview::{CopyView, DatabaseView, Following, JobView, LastRun, Paused, Phase};
use super::pace::doubled;
use super::print::Print;
use super::words::{in_words, said};
use crate::capture::commit::CaptureOptions;
use crate::capture::follow::{Activity, FollowOptions, Follower, Status};
use crate::error::{Error, ErrorKind};
use crate::policy::verdict::{Standing, State, Verdict, verdict};
use crate::remedy::{Remedy, advice};
use crate::repo::history::handle::History;
use crate::types::Timestamp;

/// How long a follower that is told to stop goes on trying to reach the repository: a daemon that
/// is told to end ends soon, and its followers make up for it when it begins again.
const STOP: Duration = Duration::from_secs(1);
/// How long one is waited for that was told to stop: its repository may never answer.
pub(super) const LEAVE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });
/// How long to wait before what failed is tried again: the first time, and at most.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// The database that a message is about, as one configuration had it: a later one may mean
/// something else by the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) path: PathBuf,
    pub(super) number: u64,
}

/// A database.
#[derive(Debug)]
pub(super) struct Kept {
    /// Which one it is of those that were ever kept.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// The name of its history.
    pub(super) name: String,
    pub(super) plan: Arc<Plan>,
    pub(super) stage: Stage,
    pub(super) ear: Arc<Ear>,
    /// What its files looked like when last looked at, and since when.
    pub(super) print: Print,
    pub(super) quiet_since: Instant,
    /// Which file was taken up.
    pub(super) identity: Option<(u64, u64)>,
    /// What keeps it from being captured, told once.
    pub(super) fault: Option<String>,
    pub(super) failures: u32,
    /// Its history, once it was found: to look for it in its repository takes the longer the more
    /// there are.
    pub(super) history: Option<History>,
    /// How it stands, as far as the repository tells, and whether that is to be asked again.
    pub(super) standing: Standing,
    pub(super) judging: Judging,
    /// What kept the repository from being asked, if it could not be.
    pub(super) unasked: Option<String>,
    /// Since when this process keeps it.
    pub(super) began: Timestamp,
    /// Whether what keeps it from being captured is that what is stored is damaged.
    pub(super) is_broken: bool,
    /// Whether the repository was asked since the follower found that.
    pub(super) examined: Examined,
    /// When everything was last stored, as far as this process saw.
    pub(super) stored: Option<Timestamp>,
    /// What was last told of it.
    pub(super) told: Option<State>,
    pub(super) agenda: Agenda,
    /// Whether its history is known to have a commit.
    pub(super) has_commit: bool,
    pub(super) job: Option<Job>,
    /// Jobs that somebody asked for, and that have not begun.
    pub(super) wanted: VecDeque<WantedJob>,
    /// Who paused it while the daemon ran, if somebody did.
    pub(super) halted: Option<Paused>,
    /// Whether it stands in line for a job.
    pub(super) is_in_line: bool,
    /// Until when it is to be followed though it rests.
    pub(super) wanted_until: Option<Instant>,
    /// Backups and prunes that jobs made.
    pub(super) backups: u64,
    pub(super) prunes: u64,
    /// Moments of groups that were labelled, and runs that kept files.
    pub(super) labelled: u64,
    pub(super) files: u64,
    /// How far each mirror is.
    pub(super) copies: BTreeMap<String, Copying>,
    /// How the last job of each kind ended.
    pub(super) runs: BTreeMap<Kind, LastRun>,
    /// Whether its history is known to have been set back to an earlier state.
    pub(super) went_back: bool,
}

/// What is done to capture a database.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing yet: somebody is at work on it by an earlier configuration.
    Waiting,
    /// Nothing: it is paused, captured by a schedule, or its repository can't be opened.
    Idle,
    /// It is to be taken up then.
    At(Instant),
    /// Somebody takes it up.
    Starting,
    /// It is followed.
    Awake(Follower),
    /// Somebody stops following it, so that it sleeps, or is left.
    Stopping,
    /// All is captured; it looked like this then.
    Asleep(Print),
}

/// Whether the repository is asked how a history stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judging {
    /// It is to be, then.
    At(Instant),
    /// It is.
    Running,
}

/// Whether the repository was asked since a follower met damage: a history that was set back looks
/// like damage to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Examined {
    /// The follower met none.
    Whole,
    /// It is being asked.
    Asked,
    /// It was asked.
    Damaged,
}

/// Whether a follower looks at every transaction, and is not busy with finding out where it is.
fn is_calm(status: &Status) -> bool {
    matches!(status.activity, Activity::Following | Activity::Polling) && status.seq.is_some()
}

/// A job that somebody asked for, and that has not begun.
#[derive(Clone, Debug)]
pub(super) struct WantedJob {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// The label that a backup is to give.
    pub(super) label: Option<String>,
}

/// A job that runs.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) kind: Kind,
    pub(super) control: Arc<Control>,
    pub(super) began: Instant,
    /// When that was, for people.
    pub(super) at: Timestamp,
    /// Whether somebody asked for its end.
    pub(super) is_cancelled: bool,
}

impl Job {
    fn view(&self) -> JobView {
        JobView { id: self.id, kind: self.kind, began: self.at, far: self.control.far() }
    }
}

impl Kept {
    /// Which database a message is about.
    pub(super) fn whose(&self) -> Whose {
        Whose { path: self.path.clone(), number: self.number }
    }

    pub(super) fn new(
        number: u64,
        path: PathBuf,
        name: String,
        plan: Arc<Plan>,
        agenda: Agenda,
        runs: BTreeMap<Kind, LastRun>,
        (now, began): (Instant, Timestamp),
    ) -> Self {
        let print = Print::of(&path);
        Self {
            number,
            ear: Arc::new(Ear::of(&name)),
            stage: Stage::Idle,
            print,
            identity: None,
            quiet_since: now,
            fault: None,
            failures: 0,
            history: None,
            standing: Standing::default(),
            judging: Judging::At(now),
            unasked: None,
            began,
            is_broken: false,
            examined: Examined::Whole,
            stored: None,
            told: None,
            agenda,
            has_commit: false,
            job: None,
            wanted: VecDeque::new(),
            halted: None,
            is_in_line: false,
            wanted_until: None,
            backups: 0,
            prunes: 0,
            labelled: 0,
            files: 0,
            copies: BTreeMap::new(),
            runs,
            went_back: false,
            path,
            name,
            plan,
        }
    }

    /// How much has changed since it is kept: what there is to copy.
    pub(super) fn changes(&self) -> u64 {
        let published = self.ear.published().saturating_add(self.backups);
        published.saturating_add(self.labelled).saturating_add(self.files)
    }

    /// Who paused it, if it is paused.
    pub(super) fn paused(&self) -> Option<Paused> {
        let by_plan = || Paused { by: "the configuration".to_owned(), since: None };
        self.halted.clone().or_else(|| self.plan.paused.then(by_plan))
    }

    /// Whether it is paused.
    fn is_paused(&self) -> bool {
        self.plan.paused || self.halted.is_some()
    }

    /// Whether every transaction of it is to be kept.
    pub(super) fn is_followed(&self) -> bool {
        !self.is_paused() && matches!(self.plan.mode, Mode::Follow { .. })
    }

    /// How it is followed.
    pub(super) fn options(&self) -> FollowOptions {
        let usual = FollowOptions::default();
        let (interval, wal_limit) = match self.plan.mode {
            Mode::Follow { interval, wal_limit, .. } => (interval, wal_limit),
            Mode::Snapshots(_) => (usual.interval, usual.wal_limit),
        };
        FollowOptions {
            interval,
            wal_limit,
            stop_patience: STOP,
            marks: self.plan.marks,
            capture: CaptureOptions {
                compression: self.plan.compression,
                ..CaptureOptions::default()
            },
            ..usual
        }
    }

    /// Whether nobody seems to be at work on it: so long nothing was written, and nothing lies
    /// beside it.
    pub(super) fn seems_at_rest(&self, now: Timestamp) -> bool {
        let Mode::Follow { sleep_after, .. } = self.plan.mode else { return false };
        self.sleeps() && self.print.rests_since(now.before(sleep_after))
    }

    /// Whether it is ever closed while it rests.
    pub(super) fn sleeps(&self) -> bool {
        let is_wanted = self.wanted_until.is_some_and(|until| until > Instant::now());
        !is_wanted
            && matches!(self.plan.mode, Mode::Follow { sleep_after, .. } if !sleep_after.is_zero())
    }

    /// Looks at the files. Answers whether they changed since they were last looked at.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let print = Print::of(&self.path);
        let changed = print != self.print;
        if changed {
            (self.print, self.quiet_since) = (print, now);
        }
        changed
    }

    /// Looks at the files of one that sleeps. Answers whether it goes on sleeping, and nobody has
    /// to do anything else about it now: so it is for nearly all of thousands.
    pub(super) fn sleeps_on(&mut self, now: Instant) -> bool {
        let is_to_be_judged = matches!(self.judging, Judging::At(at) if at <= now);
        let is_known = self.has_commit && self.history.is_some();
        if !is_known || is_to_be_judged || !matches!(self.stage, Stage::Asleep(_)) {
            return false;
        }
        self.look(now);
        let (changes, prunes) = (self.changes(), self.prunes);
        matches!(&self.stage, Stage::Asleep(print) if *print == self.print)
            && !self.copies.values().any(|copying| copying.is_due(changes, prunes, now))
    }

    /// Whether it rested long enough to sleep, with a follower that has everything.
    pub(super) fn may_sleep(&self, status: &Status, now: Instant) -> bool {
        let Mode::Follow { sleep_after, .. } = self.plan.mode else { return false };
        let rests = now.duration_since(self.quiet_since) >= sleep_after;
        let has_all = status.pending == 0 && status.fault.is_none();
        self.sleeps() && rests && is_calm(status) && has_all
    }

    /// Plans the next try after a failure.
    pub(super) fn try_again(&mut self, now: Instant) {
        let wait = doubled(FIRST, self.failures, LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::At(now.checked_add(wait).unwrap_or(now));
    }

    /// How it stands. Tells it in the log if its verdict is another one than before.
    pub(super) fn view(&mut self, now: Timestamp) -> DatabaseView {
        let mut standing = self.standing.clone();
        standing.paused = self.is_paused();
        standing.fault = self.fault.clone();
        standing.fault = standing.fault.or_else(|| self.unasked.clone());
        // What an earlier process saw nobody knows before it was looked.
        let since = if standing.looked { self.agenda.since() } else { self.began };
        standing.since = Some(since);
        let mut met = None;
        let mut following = None;
        match &self.stage {
            // Whoever is awake and has nothing to store has stored all, and so has one that rests.
            Stage::Awake(follower) => {
                let status = follower.status();
                if status.pending == 0 && status.fault.is_none() && is_calm(&status) {
                    self.stored = Some(now);
                }
                following = Some(Following {
                    pending: status.pending,
                    lag: status.lag,
                    wal_bytes: status.wal_bytes,
                    scans: status.scans,
                    looked: status.looked,
                    has_fault: status.fault.is_some(),
                });
                met = status.fault.as_ref().map(|fault| fault.kind);
                standing.fault = status.fault.map(|fault| fault.message).or(standing.fault);
            }
            // What the repository has nobody knows while it can't be asked.
            Stage::Asleep(_) if self.unasked.is_none() => self.stored = Some(now),
            _ => {}
        }
        let is_damaged = met == Some(ErrorKind::Damaged) || (met.is_none() && self.is_broken);
        self.examine(is_damaged);
        if self.examined == Examined::Damaged && !self.went_back {
            let met = standing.fault.as_deref().map(|fault| self.damaged(fault));
            standing.damage = standing.damage.or(met);
        }
        let changes = self.changes();
        let copies: Vec<CopyView> = self
            .copies
            .iter_mut()
            .map(|(name, copying)| copying.view(name, changes, now))
            .collect();
        standing.uncopied =
            copies.iter().find_map(|copy| copy.lateness(self.plan.promise.max_age, now));
        standing.stored = standing.stored.max(self.stored);
        standing.looked |= self.stored.is_some();
        standing.newest = standing.newest.max(self.ear.newest());
        let verdict = verdict(&standing, self.plan.promise, now);
        self.tell(&verdict);
        DatabaseView {
            path: self.path.clone(),
            name: self.name.clone(),
            repository: self.plan.repository.clone(),
            plan: self.plan.clone(),
            phase: self.phase(),
            standing,
            verdict,
            following,
            published: self.ear.published(),
            copies,
            job: self.job.as_ref().map(Job::view),
            wanted: self.wanted.iter().map(|wanted| (wanted.id, wanted.kind)).collect(),
            paused: self.paused(),
            runs: self.runs.clone(),
            went_back: self.went_back,
            happened: self.ear.happened(),
        }
    }

    /// Has the repository asked when a follower met damage.
    fn examine(&mut self, is_damaged: bool) {
        match (is_damaged, self.examined, self.judging) {
            (false, ..) => self.examined = Examined::Whole,
            // An answer that is on its way may be older than the damage.
            (true, Examined::Whole, Judging::At(_)) => {
                (self.examined, self.judging) = (Examined::Asked, Judging::At(Instant::now()));
            }
            _ => {}
        }
    }

    /// Damage that keeps it from being captured, and what ends that.
    fn damaged(&self, fault: &str) -> String {
        let way = advice![
            "; nothing more is stored until it is repaired: stop the daemon, then ",
            Remedy::examine(&*self.name),
            ", ",
            Remedy::repair(&*self.name),
            ", and start the daemon again"
        ];
        format!("{fault}{}", said(&way))
    }

    fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Idle => Phase::Idle,
            Stage::Waiting | Stage::At(_) => Phase::Waiting,
            Stage::Starting | Stage::Stopping => Phase::Moving,
            Stage::Awake(_) => Phase::Followed,
            Stage::Asleep(_) => Phase::Asleep,
        }
    }

    /// Tells a verdict in the log, if it is another one than before.
    fn tell(&mut self, verdict: &Verdict) {
        let (database, state, why) = (&*self.name, verdict.state.name(), &*verdict.why);
        if self.told != Some(verdict.state) {
            match verdict.state {
                State::Unknown => {}
                State::AtRisk => tracing::error!(database, state, "is at risk: {why}"),
                State::Look => tracing::warn!(database, state, "needs a look: {why}"),
                State::Paused => tracing::info!(database, state, "is paused"),
                State::Kept => tracing::info!(database, state, "is kept, and not proven: {why}"),
                State::Proven => tracing::info!(database, state, "is kept and proven: {why}"),
            }
            self.told = Some(verdict.state);
        }
    }

    /// Remembers how a job ended. One that was stopped, or can't tell, says nothing about the
    /// database.
    pub(super) fn ran(&mut self, kind: Kind, at: Timestamp, ended: Ended, message: String) {
        let before = self.runs.get(&kind).map_or(0, |run| run.failures);
        // Also a run that could not read all of them kept what it read.
        self.files += u64::from(kind == Kind::Files);
        let failures = match ended {
            Ended::Well => {
                self.backups += u64::from(kind == Kind::Backup);
                self.prunes += u64::from(kind == Kind::Prune);
                0
            }
            // What could be decided was: the copies follow, and nothing failed.
            Ended::Unknown if kind == Kind::Prune => {
                self.prunes += 1;
                return self.runs.get_mut(&kind).map_or((), |run| run.failures = 0);
            }
            Ended::Stopped | Ended::Cancelled | Ended::Unknown => return,
            Ended::Found | Ended::Failed => before.saturating_add(1),
        };
        self.runs.insert(kind, LastRun { at, ended, message, failures });
    }

    /// Remembers what keeps it from being captured; tells it if that is news.
    pub(super) fn fails(&mut self, error: &Error) {
        self.is_broken = error.kind() == ErrorKind::Damaged;
        let why = in_words(error);
        if self.fault.as_deref() != Some(&why) {
            tracing::warn!(database = self.name, "{why}; it is tried again");
        }
        self.fault = Some(why);
    }

    /// Remembers that nothing keeps it from being captured.
    pub(super) fn works(&mut self) {
        (self.failures, self.is_broken) = (0, false);
        if self.fault.take().is_some() {
            tracing::info!(database = self.name, "works again");
        }
    }

    /// The job that is to begin now, if one is and none runs.
    pub(super) fn turn(&mut self, now: Timestamp) -> Option<Turn> {
        if self.is_paused() || self.job.is_some() || matches!(self.stage, Stage::Waiting) {
            return None;
        }
        if let Some(wanted) = self.wanted.front() {
            return Some(Turn { kind: wanted.kind, scheduled: now, missed: 0 });
        }
        self.agenda.turn_soon(self.has_commit, now)
    }
}
