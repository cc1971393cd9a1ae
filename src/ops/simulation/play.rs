//! One run from a seed: its cast, its beginning, its end, and how a run that went wrong is made
//! small.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::cast::{App, Role, Theatre};
use super::observer::Observer;
use super::schedule::{Director, Point, Schedule, Turn};
use crate::capture::commit::{CaptureOptions, capture};
use crate::chance::Random;
use crate::format::slot::KdfParams;
use crate::ops::prune::PruneOptions;
use crate::ops::trial::all_data;
use crate::policy::retention::{Policy, Zone};
use crate::progress::Silent;
use crate::repo::history::handle::History;
use crate::repo::keys::secret::Secret;
use crate::repo::write::writer::Writer;
use crate::repo::{Repository, RepositoryOptions};
use crate::simulated::{self, World};
use crate::sqlite::pin::Pin;
use crate::store::MemoryStore;
use crate::types::{Clock, Digest, Seq, Timestamp};

const DAY: i64 = 24 * 3600 * 1_000_000;
/// When the histories begin that runs find: 2026-02-20T00:00:00Z.
const BEFORE: i64 = 1_771_545_600_000_000;

/// What a run consists of, apart from what the director decides.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) beginning: usize,
    pub(super) cast: Vec<Role>,
    pub(super) fan: usize,
    pub(super) inline: usize,
}

/// What a run came to.
pub(super) struct Outcome {
    pub(super) violation: Option<String>,
    pub(super) taken: Vec<(Point, Turn)>,
    pub(super) story: Vec<String>,
    pub(super) steps: u32,
    /// The points in the order in which they came.
    pub(super) points: Vec<Point>,
}

impl Script {
    /// A cast of several, by chance.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut n = |below: usize| random.below(below);
        let mut cast = Vec::new();
        let size = 2 + n(4);
        let machines = 1 + n(3);
        // Now and then a crowd of writers on machines of their own, and who deletes all that it
        // may.
        if n(3) == 0 {
            cast.extend((0..2 + n(2)).map(|machine| Role::Backup { machine, times: 1 + n(2) }));
            cast.extend((0..1 + n(2)).map(|_| Role::Prune { last: 1, grace: 0, times: 1 }));
        }
        cast.push(match n(2) {
            0 => Role::Backup { machine: n(machines), times: 1 + n(3) },
            _ => Role::Follow { machine: n(machines), commits: 2 + n(5), renew: n(2) == 0 },
        });
        while cast.len() < size.max(3) {
            cast.push(match n(16) {
                0..=2 => Role::Backup { machine: n(machines), times: 1 + n(3) },
                3 | 4 => Role::Follow { machine: n(machines), commits: 2 + n(5), renew: n(2) == 0 },
                5..=7 => Role::Prune {
                    last: u32::try_from(1 + n(4)).unwrap(),
                    grace: [0, 0, 3600][n(3)],
                    times: 1 + n(2),
                },
                8 => Role::Label { times: 1 + n(3) },
                9 => Role::Hold { times: 1 + n(3) },
                10 => Role::Copy { times: 1 + n(2) },
                11 => [Role::Rotate, Role::Repair][n(2)].clone(),
                12 | 13 => Role::Restore { times: 1 + n(2) },
                14 => match n(3) {
                    0 => Role::Verify,
                    1 => Role::Look { times: 1 + n(2) },
                    _ => Role::Rewind { machine: n(machines) },
                },
                _ => Role::Clone { times: 1 + n(2) },
            });
        }
        let (fan, inline) = (2 + n(3), [100_000, 100_000, 600][n(3)]);
        Self { seed, beginning: n(BEGINNINGS), cast, fan, inline }
    }

    /// Plays it.
    pub(super) fn run(&self, director: Director, tell: bool) -> Outcome {
        let beginning = &beginnings()[self.beginning];
        let schedule = Arc::new(Schedule::new(director, tell));
        let clock = {
            let schedule = schedule.clone();
            Clock::new(move || schedule.now())
        };
        let dir = folder();
        copy_dir(&beginning.state, &dir.path().join("0"));
        let store = beginning.store.branch(clock.clone());
        let reader = |store: &MemoryStore, opened: &Repository, name: &str| {
            let options = RepositoryOptions::new(dir.path().join(name));
            opened.elsewhere(Arc::new(store.clone()), options.clock(clock.clone()).threads(1))
        };
        let watched = reader(&store, &beginning.repository, "observer").history("app").unwrap();
        let observer = Arc::new(Observer::new(
            "",
            watched.clone(),
            beginning.secret.clone(),
            beginning.acknowledged.clone(),
        ));
        // The copy has the identity of the original, and keys of its own.
        let copies = beginning.copy.0.branch(clock.clone());
        let copied = reader(&copies, &beginning.copy.1, "observer of copies");
        let copied = History::new(copied, watched.id(), watched.about().clone());
        let copy_observer = Arc::new(Observer::new(
            "the copy: ",
            copied.clone(),
            beginning.secret.clone(),
            BTreeMap::new(),
        ));
        let theatre = Theatre {
            seed: self.seed,
            schedule: schedule.clone(),
            observer: observer.clone(),
            store: store.clone(),
            opened: beginning.repository.clone(),
            secret: beginning.secret.clone(),
            copies: (copies.clone(), beginning.copy.1.clone(), copy_observer.clone()),
            dir: dir.path().to_owned(),
            threads: Arc::default(),
            fan: self.fan,
            inline: self.inline,
        };
        for (at, role) in self.cast.iter().enumerate() {
            theatre.act(&format!("{at} {}", name_of(role)), role.clone());
        }
        schedule.begin();
        loop {
            let next = theatre.threads.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(thread) = next else { break };
            thread.join().unwrap();
        }
        let epilogue = Epilogue(Mutex::new(Random::new(self.seed)));
        let _world = simulated::enter(Some(Arc::new(epilogue) as Arc<dyn World>));
        schedule.settle();
        observer.look(&schedule);
        copy_observer.look(&schedule);
        if observer.whole().is_none() {
            copy_observer.compare(&observer, &schedule);
        }
        let calm = schedule.violation().is_none();
        if let Some(whole) = observer.whole().filter(|_| calm) {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let history = observer.reopen().unwrap_or_else(|e| panic!("{e:?}"));
                super::damage::in_the_end(&history, dir.path(), &whole);
            }));
            if let Err(panic) = ended {
                let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                schedule.violated(format!("in the end: {what}"));
            }
            observer.look(&schedule);
        } else if calm {
            for watching in [&observer, &copy_observer] {
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let history = watching.reopen().unwrap_or_else(|e| panic!("{e:?}"));
                    in_the_end(&history, &schedule, dir.path());
                }));
                if let Err(panic) = ended {
                    let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    schedule.violated(format!("in the end: {what}"));
                }
                observer.look(&schedule);
                copy_observer.look(&schedule);
            }
        }
        let (violation, steps) = (schedule.violation(), schedule.steps());
        let (taken, story, points) = schedule.end();
        Outcome { violation, taken, story, steps, points }
    }

    /// The smallest run that goes wrong in the same way, as far as that is found quickly.
    pub(super) fn shrink(&self, taken: Vec<(Point, Turn)>) -> (Self, Vec<(Point, Turn)>) {
        let (mut script, mut turns) = (self.clone(), taken);
        let fails = |script: &Self, turns: &[(Point, Turn)]| {
            let outcome = script.run(repeat(turns), false);
            outcome.violation.is_some()
        };
        // Turns first, in ever smaller pieces.
        let mut piece = turns.len().div_ceil(2).max(1);
        let mut budget = 600;
        while budget > 0 && !turns.is_empty() {
            let mut at = 0;
            while at < turns.len() && budget > 0 {
                let mut fewer = turns.clone();
                fewer.drain(at..(at + piece).min(turns.len()));
                budget -= 1;
                if fails(&script, &fewer) {
                    turns = fewer;
                } else {
                    at += piece;
                }
            }
            if piece == 1 {
                break;
            }
            piece = piece.div_ceil(2);
        }
        // An actor without a part keeps its place, so that the others keep theirs.
        for at in 0..script.cast.len() {
            let mut fewer = script.clone();
            fewer.cast[at] = Role::Label { times: 0 };
            if fails(&fewer, &turns) {
                script = fewer;
            }
        }
        (script, turns)
    }
}

/// A director that repeats what was noted.
pub(super) fn repeat(turns: &[(Point, Turn)]) -> Director {
    let mut script: HashMap<Point, Vec<Turn>> = HashMap::new();
    for (at, turn) in turns {
        script.entry(*at).or_default().push(*turn);
    }
    Director::Script(script)
}

fn name_of(role: &Role) -> &'static str {
    match role {
        Role::Backup { .. } => "backup",
        Role::Follow { .. } => "watch",
        Role::Prune { .. } => "prune",
        Role::Label { .. } => "label",
        Role::Hold { .. } => "hold",
        Role::Copy { .. } => "copy",
        Role::Rotate => "rotate",
        Role::Repair => "repair",
        Role::Damage { .. } => "damage",
        Role::Restore { .. } => "restore",
        Role::Verify => "verify",
        Role::Look { .. } => "look",
        Role::Rewind { .. } => "rewind",
        Role::Clone { .. } => "clone",
    }
}

/// Everybody has gone home: one more backup and two prunes, and nothing is left that nobody names.
fn in_the_end(history: &History, schedule: &Schedule, dir: &Path) {
    if history.chain().unwrap().segments().is_empty() {
        return;
    }
    let prune_all = || {
        let options = PruneOptions {
            grace: Duration::ZERO,
            deleted: Duration::ZERO,
            ..PruneOptions::new(Policy { last: 1000, ..Policy::default() }, Zone::Utc)
        };
        history.prune(&options, &Silent).unwrap_or_else(|e| panic!("the last prune: {e:?}"));
    };
    schedule.pass(9 * DAY);
    let mut random = Random::new(77);
    let mut app = App::new(&mut random);
    let mut writer = Writer::open(history, "backup").unwrap_or_else(|e| panic!("{e:?}"));
    let options = CaptureOptions::default();
    let pin = Pin::on_connection(&mut app.0).unwrap();
    capture(&mut writer, pin, "app.db", &options, &Silent).unwrap_or_else(|e| panic!("{e:?}"));
    drop(writer);
    prune_all();
    schedule.pass(9 * DAY);
    prune_all();
    let options = all_data(dir);
    let report = history.verify(None, &options, &Silent).unwrap();
    assert_eq!(report.findings, vec![], "the last verification");
    crate::ops::trial::no_orphans(history, "in the end");
}

/// How many beginnings there are.
pub(super) const BEGINNINGS: usize = 4;

/// A history that a run finds.
struct Beginning {
    store: MemoryStore,
    repository: Repository,
    secret: Arc<Secret>,
    copy: (MemoryStore, Repository),
    /// What the machine remembers that made it.
    state: PathBuf,
    acknowledged: BTreeMap<Seq, Digest>,
}

/// Makes the beginnings once: nothing, a few commits, more of them with merges, more with a turn
/// that a prune had.
fn beginnings() -> &'static [Beginning] {
    static MADE: OnceLock<(Vec<Beginning>, tempfile::TempDir)> = OnceLock::new();
    let (made, _) = MADE.get_or_init(|| {
        let dir = folder();
        let made = (0..BEGINNINGS).map(|at| begin(at, &dir.path().join(at.to_string()))).collect();
        (made, dir)
    });
    made
}

fn begin(which: usize, state: &Path) -> Beginning {
    let world = Arc::new(Prologue(Mutex::new((Random::new(which as u64), BEFORE))));
    let _world = simulated::enter(Some(world.clone() as Arc<dyn World>));
    let clock = Clock::new(move || world.now());
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let secret = Arc::new(Secret::new_recovery().unwrap());
    let make = |state: PathBuf| {
        let store = MemoryStore::with_clock(clock.clone());
        let shared = Arc::new(store.clone());
        let options = RepositoryOptions::new(state).clock(clock.clone()).threads(1);
        (store, Repository::init(shared, &[(&*secret, "")], kdf, &options).unwrap())
    };
    let (store, repository) = make(state.to_owned());
    let copy = make(state.with_extension("copy"));
    let history = repository.create_history("app", "app.db").unwrap();
    std::fs::create_dir_all(state).unwrap();
    let mut random = Random::new(which as u64 + 9);
    let mut app = App::new(&mut random);
    let mut acknowledged = BTreeMap::new();
    for n in 0..[0, 3, 9, 6][which] {
        app.change(&mut random);
        let mut writer = Writer::open(&history, "backup").unwrap();
        let options = CaptureOptions::default();
        let pin = Pin::on_connection(&mut app.0).unwrap();
        let captured = capture(&mut writer, pin, "app.db", &options, &Silent).unwrap();
        acknowledged.insert(captured.seq, captured.commit.unwrap().digest);
        drop(writer);
        if (which, n) == (2, 7) || (which, n) == (3, 3) {
            let policy = Policy { last: 1000, ..Policy::default() };
            let options = PruneOptions::new(policy, Zone::Utc);
            history.prune(&options, &Silent).unwrap();
        }
    }
    Beginning { store, repository, secret, copy, state: state.to_owned(), acknowledged }
}

/// The world in which beginnings are made: all by itself, an hour for each commit.
struct Prologue(Mutex<(Random, i64)>);

impl Prologue {
    /// A second later than it was asked last.
    fn now(&self) -> Timestamp {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1 += 1_000_000;
        Timestamp(inner.1)
    }
}

impl World for Prologue {
    fn random(&self, bytes: &mut [u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.fill_with(|| u8::try_from(inner.0.below(256)).unwrap());
    }
    fn local(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
    fn fan(&self) -> usize {
        3
    }
    fn inline(&self) -> usize {
        100_000
    }
}

/// The world when everybody has gone home: nothing fails.
struct Epilogue(Mutex<Random>);

impl World for Epilogue {
    fn random(&self, bytes: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.fill_with(|| u8::try_from(random.below(256)).unwrap());
    }
    fn local(&self, _: &str) -> std::io::Result<()> {
        Ok(())
    }
    fn fan(&self) -> usize {
        3
    }
    fn inline(&self) -> usize {
        100_000
    }
}

/// A folder in memory, if there is room.
fn folder() -> tempfile::TempDir {
    let named = || tempfile::Builder::new().prefix("pagekeep-stage-").to_owned();
    named().tempdir_in("/dev/shm").or_else(|_| named().tempdir()).unwrap()
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
