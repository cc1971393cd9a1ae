//! Who is on the stage: the real operations, one actor each.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::damage::Strike;
use super::observer::Observer;
use super::schedule::{Kind, Schedule};
use super::stage::{Mind, Stage};
use crate::capture::commit::{CaptureOptions, Captured, capture};
use crate::capture::marks::settle;
use crate::chance::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::SnapshotKind;
use crate::ops::copy::CopyOptions;
use crate::ops::point::RestorePoint;
use crate::ops::prune::PruneOptions;
use crate::ops::repair::RepairOptions;
use crate::ops::restore::{Check, RestoreOptions};
use crate::ops::rewind::{RewindOptions, rewind_capturing};
use crate::ops::stats::StatsOptions;
use crate::ops::trial::all_data;
use crate::policy::retention::{Policy, Zone};
use crate::progress::Silent;

use crate::repo::chain::Commit;
use crate::repo::history::handle::History;
use crate::repo::keys::rotate::RotateOptions;
use crate::repo::keys::secret::Secret;
use crate::repo::merge::compaction;
use crate::repo::write::writer::Writer;
use crate::repo::{Repository, RepositoryOptions};
use crate::simulated::{self, World};
use crate::sqlite::pin::Pin;
use crate::sqlite::source::Source;
use crate::store::MemoryStore;
use crate::types::{Clock, Digest};

/// How long marks last: time passes by an hour or by eight days.
const MARKED: Duration = Duration::from_secs(2 * 24 * 3600);

/// What an actor does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Role {
    /// One-shot backups, one after the other.
    Backup {
        machine: usize,
        times: usize,
    },
    /// One writer that stays, with the merging of its own beside it.
    Follow {
        machine: usize,
        commits: usize,
        renew: bool,
    },
    Prune {
        last: u32,
        grace: u64,
        times: usize,
    },
    /// Labels commits, and takes some of the labels back.
    Label {
        times: usize,
    },
    /// Holds commits, and removes some of the holds.
    Hold {
        times: usize,
    },
    Copy {
        times: usize,
    },
    /// Brings a new master key in, and seals everything anew under it.
    Rotate,
    /// Repairs what is sound: nothing may change.
    Repair,
    /// Restores some of the newest commits.
    Restore {
        times: usize,
    },
    /// Looks at everything.
    Verify,
    /// Plans prunes without doing them, and asks what takes how much.
    Look {
        times: usize,
    },
    /// Backs a database up, changes it, and rewinds it.
    Rewind {
        machine: usize,
    },
    /// Damages one object of those whose names have this in them.
    Damage {
        of: &'static str,
    },
    /// A machine that was cloned, with all that it remembers.
    Clone {
        times: usize,
    },
}

/// What all actors of a run share.
#[derive(Clone)]
pub(super) struct Theatre {
    pub(super) seed: u64,
    pub(super) schedule: Arc<Schedule>,
    pub(super) observer: Arc<Observer>,
    pub(super) store: MemoryStore,
    /// The repository as it was opened once.
    pub(super) opened: Repository,
    pub(super) secret: Arc<Secret>,
    /// Where copies go, and who watches them.
    pub(super) copies: (MemoryStore, Repository, Arc<Observer>),
    pub(super) dir: PathBuf,
    pub(super) threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    pub(super) fan: usize,
    pub(super) inline: usize,
}

/// An actor on the stage.
struct Actor {
    theatre: Theatre,
    me: usize,
    random: Random,
}

impl Theatre {
    /// Puts an actor on the stage; it waits for its turn.
    pub(super) fn enter(&self, name: &str, act: impl FnOnce(&Self, usize) + Send + 'static) {
        let me = self.schedule.join(name);
        let theatre = self.clone();
        let thread = std::thread::spawn(move || {
            let mind = Mind {
                schedule: theatre.schedule.clone(),
                me,
                random: Mutex::new(Random::new(theatre.seed * 64 + me as u64)),
                fan: theatre.fan,
                inline: theatre.inline,
            };
            let _world = simulated::enter(Some(Arc::new(mind) as Arc<dyn World>));
            theatre.schedule.enter(me);
            let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                act(&theatre, me);
            }));
            if let Err(panic) = acted {
                let what = panic.downcast_ref::<String>().cloned();
                let what = what.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                theatre.schedule.violated(format!("panicked: {what:?}"));
            }
            theatre.schedule.leave(me);
        });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    pub(super) fn act(&self, name: &str, role: Role) {
        self.enter(name, move |theatre, me| {
            let random = Random::new(theatre.seed * 64 + 32 + me as u64);
            Actor { theatre: theatre.clone(), me, random }.act(&role);
        });
    }

    pub(super) fn clock(&self) -> Clock {
        let schedule = self.schedule.clone();
        Clock::new(move || schedule.now())
    }

    /// How a repository is opened on a machine of this name.
    pub(super) fn machine(&self, name: &str) -> RepositoryOptions {
        RepositoryOptions::new(self.dir.join(name)).clock(self.clock()).threads(1)
    }

    fn repository(&self, me: usize, machine: &str) -> Repository {
        let stage = Stage {
            inner: self.store.clone(),
            schedule: self.schedule.clone(),
            observer: self.observer.clone(),
            me,
            place: "",
        };
        self.opened.elsewhere(Arc::new(stage), self.machine(machine))
    }
}

impl Actor {
    fn act(&mut self, role: &Role) {
        let machine = match role {
            Role::Backup { machine, .. }
            | Role::Follow { machine, .. }
            | Role::Rewind { machine } => machine.to_string(),
            Role::Copy { .. } => "0".to_owned(),
            Role::Clone { .. } => format!("clone {}", self.me),
            _ => format!("actor {}", self.me),
        };
        if matches!(role, Role::Clone { .. }) {
            super::play::copy_dir(&self.theatre.dir.join("0"), &self.theatre.dir.join(&machine));
        }
        let repository = self.theatre.repository(self.me, &machine);
        let history = match repository.history("app") {
            Ok(history) => history,
            Err(e) => return self.failed("looks for the history", &e),
        };
        match role {
            Role::Backup { times, .. } | Role::Clone { times } => {
                let mut app = App::new(&mut self.random);
                for n in 0..*times {
                    // Now and then nothing has changed since.
                    if n == 0 || self.random.below(3) > 0 {
                        app.change(&mut self.random);
                    }
                    let done = self.backup(&history, &mut app);
                    self.note("the backup", done);
                }
            }
            Role::Follow { commits, renew, .. } => {
                let done = self.follow(&history, *commits, *renew);
                self.note("the follower", done);
            }
            Role::Prune { last, grace, times } => {
                for _ in 0..*times {
                    let done = self.prune(&history, *last, Duration::from_secs(*grace));
                    self.note("the prune", done);
                }
            }
            Role::Label { times } => {
                for _ in 0..*times {
                    let done = self.label(&history);
                    self.note("the label", done);
                }
            }
            Role::Hold { times } => {
                for _ in 0..*times {
                    let done = self.hold(&history);
                    self.note("the hold", done);
                }
            }
            Role::Copy { times } => {
                for _ in 0..*times {
                    let done = self.copy(&history);
                    self.note("the copy", done);
                }
            }
            Role::Restore { times } => {
                for n in 0..*times {
                    let done = self.restore(&history, n);
                    self.note("the restore", done);
                }
            }
            Role::Damage { of } => {
                let done = self.damage(of);
                self.note("the damage", done);
            }
            Role::Verify => {
                let done = self.verify(&history);
                self.note("the verification", done);
            }
            Role::Look { times } => {
                for _ in 0..*times {
                    let done = self.look(&history);
                    self.note("the look", done);
                }
            }
            Role::Rewind { .. } => {
                let done = self.rewind(&history);
                self.note("the rewind", done);
            }
            Role::Rotate => {
                let done = self.rotate(&history);
                self.note("the rotation", done);
            }
            Role::Repair => {
                let options = RepairOptions { apply: true, data: true, adopt: false };
                let done = history.repair(None, &options, &Silent).map(|report| {
                    if !report.is_sound() && !self.is_dead() && !self.is_damaged() {
                        self.theatre.schedule.violated(format!("a repair found {report:?}"));
                    }
                });
                self.note("the repair", done);
            }
        }
    }

    fn is_dead(&self) -> bool {
        self.theatre.schedule.is_dead(self.me)
    }

    /// How something ended. Nobody but the injected faults and others at work may be the reason of
    /// an error.
    fn note(&self, what: &str, done: Result<()>) {
        match done {
            Ok(()) => self.theatre.schedule.tell(self.me, &format!("{what} ends well")),
            Err(e) => self.failed(what, &e),
        }
    }

    fn failed(&self, what: &str, e: &Error) {
        self.theatre.schedule.tell(self.me, &format!("{what} ends: {e}"));
        let expected = [
            ErrorKind::Busy,
            ErrorKind::Superseded,
            ErrorKind::Storage,
            ErrorKind::NotFound,
            ErrorKind::Refused,
        ];
        let fault = format!("{e:?}").contains("simulated fault")
            || (self.is_damaged() && e.kind() == ErrorKind::Damaged);
        if !self.is_dead() && !fault && !expected.contains(&e.kind()) {
            self.theatre.schedule.violated(format!("{what} ended: {e:?}"));
        }
    }

    fn acknowledge(&self, captured: &Captured, head: Digest) {
        let digest = captured.commit.map_or(head, |commit| commit.digest);
        if !self.is_dead() {
            self.theatre
                .schedule
                .tell(self.me, &format!("is told that seq {} is safe", captured.seq));
            self.theatre.observer.acknowledge(&self.theatre.schedule, captured.seq, digest);
        }
    }

    fn capture(&self, writer: &mut Writer, app: &mut App) -> Result<()> {
        let options = CaptureOptions::default();
        let captured =
            capture(writer, Pin::on_connection(&mut app.0)?, "app.db", &options, &Silent)?;
        let head = writer.head().map(|head| head.digest).unwrap_or_default();
        self.acknowledge(&captured, head);
        self.mark(writer);
        Ok(())
    }

    /// Marks the states before commits that matter; what can't be marked now is so later.
    fn mark(&self, writer: &mut Writer) {
        match settle(writer, Some(MARKED), &Silent) {
            Ok(marked) => {
                for mark in marked.given.iter().filter(|_| !self.is_dead()) {
                    let (schedule, label) = (&self.theatre.schedule, &mark.label);
                    schedule.tell(self.me, &format!("is told that seq {} is {label}", mark.seq));
                    self.theatre.observer.mark(schedule, mark);
                }
            }
            Err(e) => self.failed("the marking", &e),
        }
    }

    fn backup(&self, history: &History, app: &mut App) -> Result<()> {
        let mut writer = Writer::open(history, "backup")?;
        self.capture(&mut writer, app)
    }

    fn follow(&mut self, history: &History, commits: usize, renew: bool) -> Result<()> {
        let mut app = App::new(&mut self.random);
        let mut writer = Writer::open(history, "watch")?;
        for n in 0..commits {
            app.change(&mut self.random);
            let mut tries = 0;
            while let Err(e) = self.capture(&mut writer, &mut app) {
                tries += 1;
                if e.kind() == ErrorKind::Superseded || self.is_dead() || tries > 3 {
                    return Err(e);
                }
                if let Some(records) = writer.resolve("app.db")? {
                    for record in records {
                        let commit = Some(record);
                        let captured = Captured { seq: record.seq, commit, read: 0 };
                        self.acknowledge(&captured, record.digest);
                    }
                }
            }
            if n % 2 == 1 {
                let claim = writer.begin_upkeep(renew)?;
                let (history, machine) = (history.id().to_string(), format!("{} beside", self.me));
                self.theatre.enter(&format!("upkeep of {}", self.me), move |theatre, me| {
                    let repository = theatre.repository(me, &machine);
                    let done = repository
                        .history(&history)
                        .and_then(|history| compaction::run(&history, claim, &Silent));
                    let random = Random::new(1);
                    let actor = Self { theatre: theatre.clone(), me, random };
                    actor.note("the merging", done.map(|_| ()));
                });
            }
        }
        Ok(())
    }

    /// Whether there was damage: then it may be found.
    fn is_damaged(&self) -> bool {
        self.theatre.observer.is_damaged()
    }

    fn damage(&mut self, of: &str) -> Result<()> {
        // It comes at some time.
        self.theatre.schedule.point(self.me, "strikes", Kind::Write);
        if self.is_dead() {
            return Ok(());
        }
        let Some(strike) = Strike::choose(&self.theatre.store, of, &mut self.random)? else {
            return Ok(());
        };
        let whole = strike.whole(&self.theatre, self.me)?;
        strike.apply(&self.theatre.store)?;
        self.theatre.schedule.tell(self.me, &strike.told);
        self.theatre.schedule.tell(self.me, &format!("whole are {whole:?}"));
        self.theatre.observer.damaged(&self.theatre.schedule, &whole);
        Ok(())
    }

    fn prune(&self, history: &History, last: u32, grace: Duration) -> Result<()> {
        let options = PruneOptions {
            grace,
            deleted: Duration::ZERO,
            ..PruneOptions::new(Policy { last, ..Policy::default() }, Zone::Utc)
        };
        self.theatre.observer.prune_begins(last.try_into().unwrap());
        history.prune(&options, &Silent).map(|_| ())
    }

    /// One of the newest few commits.
    fn some_commit(&mut self, history: &History) -> Result<Option<Commit>> {
        let chain = history.chain()?;
        let back = self.random.below(6);
        Ok(chain.commits().rev().nth(back))
    }

    fn label(&mut self, history: &History) -> Result<()> {
        let Some(commit) = self.some_commit(history)? else { return Ok(()) };
        let snapshot =
            history.label((commit.seq, commit.record.digest), "a label", SnapshotKind::Manual)?;
        let key = snapshot.id.0;
        if !self.is_dead() {
            self.theatre
                .schedule
                .tell(self.me, &format!("is told that seq {} has a label", commit.seq));
            let (schedule, observer) = (&self.theatre.schedule, &self.theatre.observer);
            observer.keep(schedule, &key, commit.seq, commit.record.digest);
        }
        if self.random.below(3) == 0 {
            self.theatre.observer.release(&key);
            history.remove_snapshot(&snapshot)?;
        }
        Ok(())
    }

    fn hold(&mut self, history: &History) -> Result<()> {
        let Some(commit) = self.some_commit(history)? else { return Ok(()) };
        let hold = history.hold((commit.seq, commit.record.digest), "an audit")?;
        let key = hold.id.0;
        if !self.is_dead() {
            self.theatre
                .schedule
                .tell(self.me, &format!("is told that seq {} is held", commit.seq));
            let (schedule, observer) = (&self.theatre.schedule, &self.theatre.observer);
            observer.keep(schedule, &key, commit.seq, commit.record.digest);
        }
        if self.random.below(3) == 0 {
            self.theatre.observer.release(&key);
            history.remove_hold(&hold)?;
        }
        Ok(())
    }

    fn rotate(&self, history: &History) -> Result<()> {
        let secret = self.theatre.secret.clone();
        let secrets = [(&*secret, "the key")];
        let options = RotateOptions { secrets: &secrets, ..Default::default() };
        history.repository().rotate(&options)?.complete()?;
        let history = history.repository().again(&secret)?.history("app")?;
        history.rewrite(&Silent).map(|_| ())
    }

    fn restore(&mut self, history: &History, n: usize) -> Result<()> {
        let chain = history.chain()?;
        let back = self.random.below(4);
        let Some(commit) = chain.commits().rev().nth(back) else { return Ok(()) };
        let target = self.theatre.dir.join(format!("restored by {} {n}", self.me));
        let options = RestoreOptions { force: false, check: Check::None };
        // Every digest is compared on the way.
        RestorePoint::of(history, &chain, &commit).restore(&target, &options, &Silent)
    }

    fn look(&mut self, history: &History) -> Result<()> {
        if self.random.below(2) == 0 {
            let options = StatsOptions { zone: Zone::Utc, ..Default::default() };
            return history.stats(&options, &Silent).map(|_| ());
        }
        let policy = Policy { last: 2, ..Policy::default() };
        let options = PruneOptions { dry_run: true, ..PruneOptions::new(policy, Zone::Utc) };
        history.prune(&options, &Silent).map(|_| ())
    }

    /// The database is a file, which SQLite writes to as it does; what it was rewound to is asked
    /// for.
    fn rewind(&mut self, history: &History) -> Result<()> {
        let path = self.theatre.dir.join(format!("rewound by {}.db", self.me));
        let mut app = App::with(Connection::open(&path).unwrap(), &mut self.random);
        let mut present = |_: Duration| {
            let mut writer = Writer::open(history, "rewind")?;
            let mut source = Source::open(&path)?;
            let options = CaptureOptions::default();
            let captured = capture(&mut writer, source.pin()?, "app.db", &options, &Silent)?;
            let head = writer.head().map(|head| head.digest).unwrap_or_default();
            self.acknowledge(&captured, head);
            Ok(captured.seq)
        };
        let (to, rows) = (present(Duration::ZERO)?, app.rows());
        app.change(&mut Random::new(self.theatre.seed));
        let options = RewindOptions { check: Check::Quick, ..RewindOptions::default() };
        rewind_capturing(history, &path, to, &options, &mut present, &Silent)?;
        if app.rows() != rows && !self.is_dead() {
            self.theatre.schedule.violated(format!("a rewind to seq {to} came to something else"));
        }
        Ok(())
    }

    fn verify(&self, history: &History) -> Result<()> {
        let options = all_data(&self.theatre.dir);
        let report = history.verify(None, &options, &Silent)?;
        if !report.findings.is_empty() && !self.is_dead() && !self.is_damaged() {
            self.theatre.schedule.violated(format!("a verification found {:?}", report.findings));
        }
        Ok(())
    }

    fn copy(&self, history: &History) -> Result<()> {
        let (store, opened, observer) = self.theatre.copies.clone();
        let stage = Stage {
            inner: store,
            schedule: self.theatre.schedule.clone(),
            observer,
            me: self.me,
            place: "copy: ",
        };
        let to = opened.elsewhere(Arc::new(stage), self.theatre.machine("copies"));
        history.copy_to(&to, &CopyOptions::default(), &Silent).map(|_| ())
    }
}

/// An application's database, in memory.
pub(super) struct App(pub(super) Connection);

impl App {
    pub(super) fn new(random: &mut Random) -> Self {
        Self::with(Connection::open_in_memory().unwrap(), random)
    }

    fn with(app: Connection, random: &mut Random) -> Self {
        app.execute_batch("PRAGMA page_size=512; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
            .unwrap();
        let mut app = Self(app);
        for _ in 0..3 {
            app.change(random);
        }
        app
    }

    fn rows(&self) -> Vec<(i64, String)> {
        let mut query = self.0.prepare("SELECT id, x FROM t ORDER BY id").unwrap();
        let rows = query.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    /// One transaction.
    pub(super) fn change(&mut self, random: &mut Random) {
        let (row, text) = (random.below(9), random.below(1 << 30));
        let sql = match random.below(8) {
            0 => format!("DELETE FROM t WHERE id>{row}; VACUUM"),
            // A migration.
            1 => "CREATE INDEX t_x ON t(x); DROP INDEX t_x".to_owned(),
            _ => format!(
                "INSERT OR REPLACE INTO t VALUES({row}, '{}')",
                format!("{text:08x}").repeat(24)
            ),
        };
        self.0.execute_batch(&sql).unwrap();
    }
}
