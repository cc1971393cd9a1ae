//! Whoever keeps a database followed: starts `watch`, hears what it acknowledges, and stops, kills
//! and supersedes it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Plan;
use super::application::Journal;
use super::ledger::Ledger;
use super::site::{Done, Over, Place, Site, Step};
use super::yard::{Running, Tail};
use crate::support::dice::Dice;

/// How long a follower that was superseded may go on before it notices: its writers never rest for
/// so long.
const SUPERSEDED: Duration = Duration::from_secs(300);
/// How long a follower that is told to stop may take.
const STOPPING: Duration = Duration::from_secs(120);
/// The state folders of followers: of two machines, as it were.
const STATES: [&str; 2] = ["state-a", "state-b"];

/// A database that is followed.
pub struct Database {
    pub name: String,
    pub path: PathBuf,
    pub journal: Journal,
    pub ledger: Mutex<Ledger>,
    /// What is known of the copy.
    pub copy: Mutex<Ledger>,
    pub rivals: Rivals,
    /// The state folder of the newest follower.
    state: Mutex<&'static str>,
}

impl Database {
    pub fn new(name: &str, path: PathBuf) -> Self {
        let journal = Journal::of(&path);
        Self {
            name: name.to_owned(),
            path,
            journal,
            ledger: Mutex::default(),
            copy: Mutex::default(),
            rivals: Rivals::default(),
            state: Mutex::new(STATES[0]),
        }
    }

    pub fn ledger_of(&self, place: Place) -> &Mutex<Ledger> {
        match place {
            Place::Original => &self.ledger,
            Place::Copy => &self.copy,
        }
    }

    pub fn state(&self) -> &'static str {
        *self.state.lock().unwrap()
    }

    /// The database's file, as commands name it.
    pub fn file(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// Others that write to a history. While there are any, a follower may end as superseded or busy.
#[derive(Default)]
pub struct Rivals {
    active: AtomicU64,
    begun: AtomicU64,
}

impl Rivals {
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }

    fn look(&self) -> (bool, u64) {
        (self.active.load(Ordering::SeqCst) > 0, self.begun.load(Ordering::SeqCst))
    }
}

/// A `watch` that runs.
struct Watch<'s> {
    site: &'s Site,
    database: &'s Database,
    running: Running,
    number: u64,
    what: String,
    out: Tail,
    state: &'static str,
    /// What there was of rivals when it began.
    rivals: (bool, u64),
    told: bool,
}

impl<'s> Watch<'s> {
    fn start(
        site: &'s Site,
        database: &'s Database,
        state: &'static str,
        takeover: bool,
        rivals: (bool, u64),
        dice: &mut Dice,
    ) -> Self {
        let mut args = vec!["watch", database.file(), "--threads", "1"];
        args.extend(["--interval", *dice.pick(&["0", "0", "1s", "2s"])]);
        args.extend(takeover.then_some("--takeover"));
        let number = site.number();
        let what = format!("[{number}] {state}: {}", args.join(" "));
        let running = site.start(&mut site.command(Place::Original, state, &args), number);
        let out = Tail::of(&site.output(number, "out"));
        site.note(format!("started   {what}"));
        site.count(if takeover { "watch --takeover" } else { "watch" });
        Self { site, database, running, number, what, out, state, rivals, told: false }
    }

    /// Hears what it says for so long, or until it ends.
    fn hear(&mut self, patience: Duration) -> Step<bool> {
        let until = Instant::now() + patience;
        loop {
            let ended = self.running.ended().is_some();
            for line in self.out.lines() {
                self.line(&line)?;
            }
            if ended || Instant::now() >= until || self.site.is_over() {
                return Ok(ended);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn line(&self, line: &str) -> Step {
        let said: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        match said["type"].as_str() {
            Some("commit") => {
                let told = self.database.ledger.lock().unwrap().acknowledge_json(&said);
                self.site.count("commits acknowledged");
                told.map(|_| ()).or_else(|e| self.site.fail(format!("{}: {e}", self.what), None))
            }
            Some("scan") => {
                self.site.count("scans");
                Ok(())
            }
            Some("fault") => {
                let message = said["message"].as_str().unwrap_or_default();
                let kind = message.rsplit(": ").next().unwrap_or_default();
                self.site.count(format!("fault of watch: {kind}"));
                self.site.note(format!("{}: {said}", self.what));
                match said["kind"].as_str() {
                    Some("damaged" | "failure" | "wrong-key") => {
                        self.site.fail(format!("{} has trouble: {said}", self.what), None)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// It ended, or was killed: whether it may have.
    fn judge(mut self) -> Step {
        self.running.wait();
        self.hear(Duration::ZERO)?;
        let done = self.site.done(&self.running, self.number, self.what.clone());
        let code = done.code.map_or("killed".to_owned(), |code| code.to_string());
        let line = done.stderr.lines().rfind(|l| l.starts_with("error")).unwrap_or_default();
        self.site.note(format!("ended     {}  -> {code} {line}", self.what));
        self.site.count(format!("watch {code}"));
        // A signal that comes before it listens for one ends it as well; one that comes before it
        // follows stops its beginning.
        let stopped: &[i32] = if self.told { &[-2, 130] } else { &[] };
        self.site.judge(&done, stopped)?;
        let (active, begun) = self.rivals;
        let rivalled = active || begun != self.database.rivals.look().1;
        match done.code {
            Some(11) if !rivalled && !self.site.is_over() => {
                self.fail("a follower without rivals was superseded", &done)
            }
            Some(0 | 3) if !self.told => self.fail("a follower ended by itself", &done),
            _ => Ok(()),
        }
    }

    fn fail(&self, what: &str, done: &Done) -> Step {
        self.site.fail(what, Some(done))
    }

    /// Tells it to stop, and waits until it did.
    fn stop(mut self) -> Step {
        self.told = true;
        self.running.interrupt();
        let began = Instant::now();
        let mut ended = false;
        while !ended && began.elapsed() < STOPPING && !self.site.is_over() {
            ended = self.hear(Duration::from_millis(100))?;
        }
        if !ended && !self.site.is_over() {
            return self.site.fail(format!("{}: goes on when told to stop", self.what), None);
        }
        if self.site.is_over() { Err(Over) } else { self.judge() }
    }
}

/// Keeps a database followed until `enough` says so; then its follower stops with everything
/// captured.
pub fn follow(
    site: &Site,
    database: &Database,
    plan: &Plan,
    mut dice: Dice,
    enough: &dyn Fn() -> bool,
) -> Step {
    let mut takeover = false;
    // A rival of the follower before may have left a claim without a commit.
    let mut rivals = database.rivals.look();
    let mut current: Option<Watch<'_>> = None;
    while !enough() && !site.is_over() {
        let mut watch = match current.take() {
            Some(watch) => watch,
            None => {
                let other = plan.rivals && dice.one_in(4);
                let state = if other { *dice.pick(&STATES) } else { database.state() };
                let now = database.rivals.look();
                let watch = Watch::start(site, database, state, takeover, rivals, &mut dice);
                rivals = now;
                *database.state.lock().unwrap() = state;
                takeover = false;
                watch
            }
        };
        let life = Duration::from_millis(200 + dice.below(plan.life));
        if watch.hear(life.min(Duration::from_secs(5)))? {
            // Somebody else seems to follow it: next time it insists.
            takeover = !watch.running.was_killed();
            watch.judge()?;
            continue;
        }
        if !plan.kills {
            current = Some(watch);
            continue;
        }
        match dice.below(8) {
            0..3 => {
                watch.running.kill();
                watch.judge()?;
            }
            3..5 => watch.stop()?,
            5 if plan.rivals => current = supersede(site, database, watch, &mut dice, enough)?,
            _ => current = Some(watch),
        }
    }
    match current {
        Some(watch) => watch.stop(),
        None => Ok(()),
    }
}

/// Another machine takes over. Returns who goes on.
fn supersede<'s>(
    site: &'s Site,
    database: &'s Database,
    mut old: Watch<'s>,
    dice: &mut Dice,
    resting: &dyn Fn() -> bool,
) -> Step<Option<Watch<'s>>> {
    let state = if old.state == STATES[0] { STATES[1] } else { STATES[0] };
    database.rivals.begin();
    let rivals = database.rivals.look();
    let mut new = Watch::start(site, database, state, true, rivals, dice);
    *database.state.lock().unwrap() = state;
    let until = Instant::now() + SUPERSEDED;
    let (mut old_ended, mut new_ended) = (false, false);
    while !(old_ended || new_ended || resting() || site.is_over()) && Instant::now() < until {
        old_ended = old.hear(Duration::from_millis(20))?;
        new_ended = new.hear(Duration::from_millis(20))?;
    }
    database.rivals.end();
    if site.is_over() {
        return Err(Over);
    }
    if resting() && !old_ended && !new_ended {
        // Whoever has nothing to publish does not notice.
        old.stop()?;
        return Ok(Some(new));
    }
    if !old_ended && !new_ended {
        let what = format!("{}: goes on beside {}", old.what, new.what);
        return site.fail(what, None);
    }
    let mut left = None;
    for (watch, ended) in [(old, old_ended), (new, new_ended)] {
        if ended { watch.judge()? } else { left = Some(watch) }
    }
    Ok(left)
}
