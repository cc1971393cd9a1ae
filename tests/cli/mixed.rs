//! Everything at once: three databases that are followed, their applications, and beside them all
//! other commands at random, several at a time, each killed now and then, and now and then the
//! whole machine. Nothing that was acknowledged is lost, nothing is ever called damaged, and what a
//! prune promised is kept.
//!
//! | variable | |
//! |---|---|
//! | `PAGEKEEP_MIXED_SECONDS` | how long it goes on before everything rests; 14 |
//! | `PAGEKEEP_MIXED_SEED` | brings a run back as far as timing allows; printed |
//! | `PAGEKEEP_MIXED_MODE` | `prune`: one database, nothing killed, labels and prunes in a loop beside the follower |
//! | `PAGEKEEP_MIXED_WORKERS` | how many commands run at a time beside followers and applications; 3 |
//! | `PAGEKEEP_MIXED_WITHOUT` | what to leave out, with commas between: `kill`, `crash`, `takeover`, or the name of an action, such as `repair` |
//! | `PAGEKEEP_MIXED_BIN` | another binary than the one under test, such as one of another build |
//! | `PAGEKEEP_MIXED_KEEP` | 1: keep the folder though all went well |

pub mod application;
mod follower;
mod ledger;
mod looks;
mod others;
mod rest;
mod retention;
mod site;
mod yard;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::dice::{Dice, number};
use crate::support::heavy;
use follower::{Database, follow};
use site::{Done, Place, Site, Step};
use yard::Running;

#[test]
#[ignore = "a role that the other test starts in processes of their own"]
fn role_writer() {
    if let Some(path) = std::env::var_os("PAGEKEEP_ROLE_DATABASE") {
        let (seed, pause) = (number("PAGEKEEP_ROLE_SEED", 0), number("PAGEKEEP_ROLE_PAUSE", 10));
        application::write_until_told(&PathBuf::from(path), seed, pause);
    }
}

/// What workers do, and how often.
const ACTIONS: [(&str, u64); 18] = [
    ("label", 14),
    ("relabel", 4),
    ("hold", 5),
    ("unhold", 3),
    ("prune", 16),
    ("restore", 16),
    ("use-label", 5),
    ("verify", 6),
    ("look", 7),
    ("backup", 3),
    ("copy", 5),
    ("restore-copy", 4),
    ("prune-copy", 3),
    ("verify-copy", 2),
    ("log-copy", 1),
    ("rotate", 3),
    ("repair", 2),
    ("repair-copy", 1),
];

/// How a run is made up.
struct Plan {
    /// What is left out.
    without: Vec<String>,
    databases: usize,
    /// How many commands run at a time.
    workers: u64,
    /// Whether processes are killed.
    kills: bool,
    /// Whether others write to the histories, too.
    rivals: bool,
    /// Labels and prunes, and nothing else.
    prunes_only: bool,
    /// How long a follower lives at most, in milliseconds.
    life: u64,
    /// The longest time between two transactions of an application, in milliseconds.
    pause: u64,
}

impl Plan {
    fn leaves_out(&self, action: &str) -> bool {
        self.without.iter().any(|without| without == action)
    }

    /// One of the actions, at random.
    fn choose(&self, dice: &mut Dice) -> &'static str {
        let there = || ACTIONS.iter().filter(|(name, _)| !self.leaves_out(name));
        let mut at = dice.below(there().map(|(_, weight)| weight).sum());
        for (name, weight) in there() {
            if at < *weight {
                return name;
            }
            at -= weight;
        }
        unreachable!("the weights add up")
    }

    fn chosen() -> Self {
        let without = std::env::var("PAGEKEEP_MIXED_WITHOUT").unwrap_or_default();
        let without: Vec<String> = without.split(',').map(str::to_owned).collect();
        let has = |what: &str| !without.iter().any(|without| without == what);
        match std::env::var("PAGEKEEP_MIXED_MODE").as_deref() {
            Ok("prune") => Self {
                databases: 1,
                workers: 1,
                kills: false,
                rivals: false,
                prunes_only: true,
                life: 5000,
                pause: 0,
                without,
            },
            Ok("all") | Err(_) => Self {
                databases: 3,
                workers: number("PAGEKEEP_MIXED_WORKERS", 3),
                kills: has("kill"),
                rivals: has("takeover"),
                prunes_only: false,
                life: 4000,
                pause: 20,
                without,
            },
            Ok(other) => panic!("PAGEKEEP_MIXED_MODE is all or prune, not {other:?}"),
        }
    }
}

/// All that take part.
struct Party<'s> {
    site: &'s Site,
    plan: &'s Plan,
    databases: Vec<Database>,
    /// How many keys were made.
    rotations: Mutex<u64>,
    /// Nothing begins any more.
    tired: AtomicBool,
    /// Whether there is time for everything at the end.
    is_long: bool,
}

impl Party<'_> {
    /// A command with the state folder of whoever only looks.
    fn run(
        &self,
        place: Place,
        args: &[&str],
        kill: Option<Duration>,
        allowed: &[i32],
    ) -> Step<Done> {
        self.site.run(place, "state-looks", args, kill, allowed)
    }

    fn is_tired(&self) -> bool {
        self.tired.load(Ordering::SeqCst) || self.site.is_over()
    }

    /// One command after another, at random.
    fn work(&self, mut dice: Dice) -> Step {
        while !self.is_tired() {
            let database = dice.pick(&self.databases);
            if self.plan.prunes_only {
                for _ in 0..dice.below(4) {
                    self.label(database, &mut dice)?;
                }
                self.prune(Place::Original, &mut dice)?;
                continue;
            }
            match self.plan.choose(&mut dice) {
                "label" => self.label(database, &mut dice)?,
                "relabel" => self.change_label(database, &mut dice)?,
                "hold" => self.hold(database, &mut dice)?,
                "unhold" => self.remove_hold(database, &mut dice)?,
                "prune" => self.prune(Place::Original, &mut dice)?,
                "restore" => self.restore_some(Place::Original, database, &mut dice)?,
                "use-label" => self.use_label(database, &mut dice)?,
                "verify" => self.verify(Place::Original, &mut dice)?,
                "look" => self.look(database, &mut dice)?,
                "backup" => {
                    // Beside a follower of the same machine it is busy, beside another one's it
                    // supersedes.
                    let same = dice.one_in(3);
                    let state = if same { database.state() } else { "state-c" };
                    self.backup(state, database, &mut dice)?;
                }
                "copy" => {
                    let only = (!dice.one_in(3)).then_some(database);
                    self.copy(only, &mut dice)?;
                }
                "restore-copy" => self.restore_some(Place::Copy, database, &mut dice)?,
                "prune-copy" => self.prune(Place::Copy, &mut dice)?,
                "verify-copy" => self.verify(Place::Copy, &mut dice)?,
                "log-copy" => self.log(Place::Copy, database)?,
                "rotate" => self.rotate(&mut dice)?,
                "repair" => self.repair(Place::Original, &mut dice)?,
                _ => self.repair(Place::Copy, &mut dice)?,
            }
        }
        Ok(())
    }

    /// Keeps two applications at a database, which end when the test has enough.
    fn applications(&self, database: &Database, mut dice: Dice) -> Step {
        let start = |dice: &mut Dice| -> Running {
            let seed = self.site.number() + 1000 * dice.below(1_000_000);
            let mut command = application::command(&database.path, seed, self.plan.pause);
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            self.site.yard.start(&mut command)
        };
        let mut both = [start(&mut dice), start(&mut dice)];
        while !self.is_tired() {
            std::thread::sleep(Duration::from_millis(20));
            for one in &mut both {
                if self.plan.kills && dice.one_in(150) {
                    one.kill();
                    self.site.count("applications killed");
                }
                if let Some(status) = one.ended() {
                    if !one.was_killed() {
                        return self.site.fail(format!("an application ended: {status}"), None);
                    }
                    *one = start(&mut dice);
                }
            }
        }
        for one in both {
            one.end_input();
            one.wait();
        }
        Ok(())
    }

    /// Kills everything at once, now and then.
    fn crash(&self, mut dice: Dice, seconds: u64) {
        let mut next = Instant::now() + Duration::from_millis(3000 + dice.below(5000));
        let until = self.site.began + Duration::from_secs(seconds);
        while !self.is_tired() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            if Instant::now() >= next {
                self.site.note("everything is killed");
                let killed = self.site.yard.crash(Duration::from_millis(dice.below(200)));
                self.site.note(format!("{killed} processes were killed, and all begins anew"));
                self.site.count("everything was killed");
                next = Instant::now() + Duration::from_millis(2000 + dice.below(8000));
            }
        }
    }

    /// The whole run, until everything rests.
    fn party(&self, mut dice: Dice, seconds: u64) {
        let quiet = AtomicBool::new(false);
        let mut another = || Dice::new(dice.below(u64::MAX >> 12));
        std::thread::scope(|scope| {
            let mut followers = Vec::new();
            let mut workers = Vec::new();
            for database in &self.databases {
                let (mine, quiet) = (another(), &quiet);
                let enough = move || quiet.load(Ordering::SeqCst);
                followers.push(
                    scope.spawn(move || follow(self.site, database, self.plan, mine, &enough)),
                );
                let mine = another();
                workers.push(scope.spawn(move || self.applications(database, mine)));
            }
            for _ in 0..self.plan.workers {
                let mine = another();
                workers.push(scope.spawn(move || self.work(mine)));
            }
            if self.plan.kills && !self.plan.leaves_out("crash") {
                let mine = another();
                scope.spawn(move || self.crash(mine, seconds));
            }
            while self.site.began.elapsed() < Duration::from_secs(seconds) && !self.site.is_over() {
                std::thread::sleep(Duration::from_millis(20));
            }
            self.tired.store(true, Ordering::SeqCst);
            let join = |part: std::thread::ScopedJoinHandle<'_, Step>| {
                if part.join().is_err() {
                    let _ = self.site.fail::<()>("a part of the test panicked", None);
                }
            };
            workers.into_iter().for_each(join);
            quiet.store(true, Ordering::SeqCst);
            followers.into_iter().for_each(join);
        });
    }
}

#[test]
fn everything_at_once_and_whatever_is_killed_nothing_acknowledged_is_lost() {
    let _heavy = heavy();
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("PAGEKEEP_MIXED_SEED", u64::from(clock.subsec_nanos()) % 1_000_000);
    let seconds = number("PAGEKEEP_MIXED_SECONDS", 14);
    println!("PAGEKEEP_MIXED_SEED={seed}");
    let mut dice = Dice::new(seed);
    // Where it is quick: nothing here has to survive a loss of power.
    let mut named = tempfile::Builder::new();
    named.prefix("pagekeep-mixed-");
    let dir = named.tempdir_in("/dev/shm").unwrap_or_else(|_| named.tempdir().unwrap());
    let bin = std::env::var_os("PAGEKEEP_MIXED_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_pagekeep").into(), PathBuf::from);
    let site = Site::new(dir.path().to_owned(), bin);
    let plan = Plan::chosen();
    for place in [Place::Original, Place::Copy] {
        let done = site.run(place, "state-looks", &["init"], None, &[]).expect("init");
        let recovery = done.summary()["recovery_key"].as_str().unwrap().to_owned();
        site.secret(place.recovery(), &recovery);
    }
    let databases = ["one", "two", "three"].into_iter().take(plan.databases).map(|name| {
        let path = site.path(&format!("{name}.db"));
        application::begin(&path, *dice.pick(&[512, 1024, 4096]));
        Database::new(name, path)
    });
    let databases: Vec<Database> = databases.collect();
    let is_long = seconds >= rest::LONG;
    let (rotations, tired) = (Mutex::default(), AtomicBool::new(false));
    let party = Party { site: &site, plan: &plan, databases, rotations, tired, is_long };
    // Every history begins with a commit, so that no command may miss it.
    let begun = party.databases.iter().try_for_each(|d| party.catch_up(d, &mut dice));
    if begun.is_ok() {
        party.party(Dice::new(dice.below(u64::MAX >> 12)), seconds);
    }
    if !site.is_over() {
        let _ = party.rest(Dice::new(dice.below(u64::MAX >> 12)));
    }
    for (what, n) in site.counts() {
        println!("{n:8}  {what}");
    }
    println!("{:.1} s", site.began.elapsed().as_secs_f64());
    let keep = number("PAGEKEEP_MIXED_KEEP", 0) == 1;
    match site.failure() {
        Some(failure) => {
            let folder = dir.keep();
            std::fs::write(folder.join("failure.txt"), &failure).unwrap();
            panic!("PAGEKEEP_MIXED_SEED={seed}\n{failure}\nthe folder stays: {}", folder.display());
        }
        None if keep => println!("the folder stays: {}", dir.keep().display()),
        None => {}
    }
}
