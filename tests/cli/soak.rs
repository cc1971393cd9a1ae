//! A daemon with many databases, their applications, and trouble for all of them at once: whoever
//! is at work is killed, and the storage goes away and comes back. What was stored is there at the
//! end, and each of it is a state that its application committed.
//!
//! | variable | |
//! |---|---|
//! | `PAGEKEEP_SOAK_SECONDS` | how long it goes on before everything rests; 15 |
//! | `PAGEKEEP_SOAK_DATABASES` | how many databases there are; 6, or 50 from 300 seconds on |
//! | `PAGEKEEP_SOAK_SEED` | brings a run back as far as timing allows; printed |

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, init};
use crate::mixed::application::{self, Journal};
use crate::support::cli::Lab;
use crate::support::dice::{Dice, number};
use crate::support::heavy;

/// How long everything that was committed may take to be stored, once nobody disturbs any more.
const CATCH_UP: Duration = Duration::from_secs(300);
/// How many commits of each database are restored at the end, beside the newest.
const RESTORED: usize = 5;

/// A database, its application while there is one, and what was seen in its history: digests by
/// number.
struct Database {
    name: String,
    path: PathBuf,
    application: Option<Child>,
    stored: BTreeMap<u64, String>,
}

impl Database {
    fn make(lab: &Lab, n: u64, dice: &mut Dice) -> Self {
        let name = format!("db{n:02}");
        let path = lab.path("data").join(format!("{name}.db"));
        application::begin(&path, *dice.pick(&[512, 1024, 4096]));
        Self { name, path, application: None, stored: BTreeMap::new() }
    }

    fn start(&mut self, dice: &mut Dice) {
        let mut command = application::command(&self.path, dice.next(), 1 + dice.below(40));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        self.application = Some(child);
    }

    /// Ends its application: as it ends by itself, or by a kill.
    fn end(&mut self, is_killed: bool) {
        let Some(mut child) = self.application.take() else { return };
        if is_killed {
            child.kill().unwrap();
        }
        drop(child.stdin.take());
        let ended = child.wait().unwrap();
        assert!(is_killed || ended.success(), "the application of {}: {ended:?}", self.name);
    }

    /// What a repository has of it: digests by number.
    fn log(&self, lab: &Lab, repository: &str) -> Option<BTreeMap<u64, String>> {
        let log = lab.run(&["log", &*self.name, "-c", "pagekeep.toml", "-r", repository, "--json"]);
        let commits = || {
            let of = |commit: &serde_json::Value| {
                let digest = commit["digest"].as_str().unwrap().to_owned();
                (commit["seq"].as_u64().unwrap(), digest)
            };
            log.objects().iter().filter(|line| line["type"] == "commit").map(of).collect()
        };
        (log.code == Some(0)).then(commits)
    }

    /// Remembers what is stored by now. What was stored stays.
    fn look(&mut self, lab: &Lab) {
        let Some(now) = self.log(lab, "main") else { return };
        for (seq, digest) in &self.stored {
            assert_eq!(now.get(seq), Some(digest), "{}@seq:{seq}", self.name);
        }
        self.stored = now;
    }

    /// The number of the last transaction that is stored.
    fn last_stored(&self, lab: &Lab) -> Option<u64> {
        let sql = ["query", &*self.name, "SELECT n FROM record", "--format", "csv"];
        let asked = lab.run(&sql);
        asked.stdout.lines().last().and_then(|line| line.parse().ok())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(child) = &mut self.application {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn until(lab: &Lab, what: &str, mut yes: impl FnMut() -> bool) {
    let began = Instant::now();
    while !yes() {
        let log = || fs::read_to_string(lab.path("run.log")).unwrap_or_default();
        assert!(began.elapsed() < CATCH_UP, "{what}: {}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_a_daemon_stored_is_there_whoever_dies_and_whatever_goes_away() {
    let _heavy = heavy();
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("PAGEKEEP_SOAK_SEED", u64::from(time.subsec_nanos()));
    let seconds = number("PAGEKEEP_SOAK_SECONDS", 15);
    let databases = number("PAGEKEEP_SOAK_DATABASES", if seconds >= 300 { 50 } else { 6 });
    println!("PAGEKEEP_SOAK_SEED={seed}");
    let mut dice = Dice::new(seed);
    let lab = Lab::new();
    fs::create_dir(lab.path("data")).unwrap();
    let mut databases: Vec<Database> =
        (0..databases).map(|n| Database::make(&lab, n, &mut dice)).collect();
    let text = "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
         mirrors = [\"far\"]\ncopy-every = \"1s\"
         [repositories.far]\nlocation = \"far\"\nkey-file = \"far.key\"
         [defaults]\nsleep-after = \"3s\"\nverify.data = \"every 1m\"\nmarks = \"off\"
         [[databases]]\npath = \"data/*.db\"
         [groups.pair]\ndatabases = [\"db00\", \"db01\"]\nschedule = \"every 1m\"";
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    init(&lab, "far");

    let mut daemon = Some(Daemon::start(&lab));
    let until_then = Instant::now() + Duration::from_secs(seconds);
    let (mut kills, mut ends, mut outages, mut looks) = (0, 0, 0, 0);
    while Instant::now() < until_then {
        match dice.below(20) {
            0 => {
                // As a kill does; a process that ends as it is told to is the rarer case.
                match daemon.take() {
                    Some(daemon) if dice.one_in(3) => drop(daemon.stop()),
                    gone => drop(gone),
                }
                kills += 1;
                std::thread::sleep(Duration::from_millis(dice.below(1500)));
                daemon = Some(Daemon::start(&lab));
            }
            1 => {
                let name = *dice.pick(&["repo", "repo", "far"]);
                let away = lab.path(&format!("{name}.away"));
                fs::rename(lab.path(name), &away).unwrap();
                std::thread::sleep(Duration::from_millis(dice.below(3000)));
                // Nothing may have been begun in its place.
                fs::rename(&away, lab.path(name)).unwrap();
                outages += 1;
            }
            2..=4 => {
                let place = dice.place(databases.len());
                databases[place].look(&lab);
                looks += 1;
            }
            5..=8 => {
                let place = dice.place(databases.len());
                let is_killed = !dice.one_in(4);
                databases[place].end(is_killed);
                ends += 1;
            }
            _ => {
                // A third of them is at work at a time, or the machine is.
                let at_work = databases.iter().filter(|d| d.application.is_some()).count();
                let place = dice.place(databases.len());
                if databases[place].application.is_none() && at_work * 3 <= databases.len() {
                    databases[place].start(&mut dice);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(dice.below(200)));
    }

    databases.iter_mut().for_each(|database| database.end(false));
    for database in &databases {
        let last = application::last(&database.path);
        until(&lab, &format!("{} up to transaction {last}", database.name), || {
            database.last_stored(&lab) == Some(last)
        });
    }
    for database in &databases {
        let all = database.log(&lab, "main").unwrap();
        until(&lab, &format!("the mirror has {}", database.name), || {
            database.log(&lab, "far").as_ref() == Some(&all)
        });
    }
    drop(daemon.take().unwrap().stop());

    let mut commits = 0;
    for database in &mut databases {
        database.look(&lab);
        commits += database.stored.len();
        let journal = Journal::of(&database.path);
        let all: Vec<u64> = database.stored.keys().copied().collect();
        let mut some: Vec<u64> = (0..RESTORED).map(|_| *dice.pick(&all)).collect();
        some.sort_unstable();
        some.push(*all.last().unwrap());
        let mut before = 0;
        for seq in some {
            let (point, file) = (format!("{}@seq:{seq}", database.name), lab.path("restored.db"));
            lab.ok(&["restore", &point, "restored.db", "--force"]);
            let n = journal.recognise(&file).unwrap_or_else(|e| panic!("{point}: {e}"));
            assert!(n >= before, "{point} has transaction {n}, and one before it {before}");
            before = n;
        }
        assert_eq!(before, application::last(&database.path), "{}", database.name);
    }
    for repository in ["main", "far"] {
        let verify = ["verify", "--level", "data", "-c", "pagekeep.toml", "-r", repository];
        let verified = lab.run(&verify);
        assert_eq!(verified.code, Some(0), "{repository}: {verified:?}");
    }
    println!(
        "{} databases, {commits} commits, {kills} ends of the daemon, {ends} of applications, {outages} outages, {looks} looks",
        databases.len()
    );
}
