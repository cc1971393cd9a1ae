//! Several machines that write to one history: in turns, at the same moment, and with the worst timing.
//!
//! Whatever happens: the chain stays whole, a commit that was reported as stored stays on it, and whoever came
//! second is told so by [`ErrorKind::Superseded`].

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};

use crate::support::hooked::{Hooked, Op};
use crate::support::{CHEAP, noise, quick_dir, reference, restored_raw};
use pagekeep::internals::ops::backup::{BackupOptions, BackupReport};
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::Repository;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::store::{LocalStore, MemoryStore, Store};
use pagekeep::internals::types::Seq;
use pagekeep::{Error, ErrorKind, RepositoryOptions, Result};
use rusqlite::Connection;

/// A repository that several machines reach.
struct Site {
    dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    secret: Secret,
}

/// One of them: with local state and a copy of the database of its own.
struct Machine {
    repository: Repository,
    path: PathBuf,
    app: Connection,
}

/// A commit that was reported as stored, and what it must restore to.
type Acknowledged = (Seq, Vec<u8>);

impl Site {
    fn new(store: impl FnOnce(PathBuf) -> Arc<dyn Store>) -> Self {
        let dir = quick_dir();
        let store = store(dir.path().join("repository"));
        let secret = Secret::new_recovery().unwrap();
        let init = [(&secret, "test")];
        Repository::init(
            store.clone(),
            &init,
            CHEAP,
            &RepositoryOptions::new(dir.path().join("init")),
        )
        .unwrap();
        Self { dir, store, secret }
    }

    fn in_memory() -> Self {
        Self::new(|_| Arc::new(MemoryStore::new()))
    }

    fn machine(&self, name: &str) -> Machine {
        self.machine_through(name, self.store.clone())
    }

    fn machine_through(&self, name: &str, store: Arc<dyn Store>) -> Machine {
        let home = self.dir.path().join(name);
        let repository = Repository::open(
            store,
            &self.secret,
            &RepositoryOptions::new(home.join("state")).threads(1),
        )
        .unwrap();
        std::fs::create_dir_all(&home).unwrap();
        let path = home.join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA synchronous=OFF; CREATE TABLE IF NOT EXISTS t(x)").unwrap();
        Machine { repository, path, app }
    }

    /// The chain is whole, and every acknowledged commit is on it.
    fn check(&self, acknowledged: &[Acknowledged]) {
        let look = self.machine("look");
        let history = look.repository.history("app").unwrap();
        let chain = history.chain().unwrap();
        // A merged segment has the term of whoever merged it.
        let captured = chain.segments().iter().filter(|s| !s.is_merged());
        let terms: Vec<_> = captured.map(|s| s.manifest.term).collect();
        assert!(terms.is_sorted(), "{terms:?}");
        for (seq, expected) in acknowledged {
            assert!(chain.commit(*seq).is_some(), "commit {seq} was acknowledged and is gone");
            let bytes = restored_raw(&history, &chain, seq.0, self.dir.path()).unwrap();
            assert!(bytes == *expected, "commit {seq} was acknowledged and is another one now");
        }
        for commit in chain.commits() {
            restored_raw(&history, &chain, commit.seq.0, self.dir.path()).unwrap();
        }
    }
}

impl Machine {
    fn write(&self, n: u64) {
        self.app.execute("INSERT INTO t VALUES(?1)", [noise(n, 900)]).unwrap();
    }

    /// The database lies elsewhere on every machine: each goes on with the history all the same.
    fn back_up(&self) -> Result<BackupReport> {
        let options = BackupOptions::default().adopt(true);
        self.repository.backup(&self.path, &options, &Silent)
    }

    fn acknowledged(&self, report: &BackupReport) -> Acknowledged {
        (report.seq, reference(&self.path))
    }
}

#[test]
fn two_machines_that_take_turns_make_one_chain() {
    let site = Site::in_memory();
    let machines = [site.machine("a"), site.machine("b")];
    let mut acknowledged = Vec::new();
    for (n, machine) in (1..).zip(machines.iter().cycle()).take(10) {
        machine.write(n);
        let report = machine.back_up().unwrap();
        assert!(report.commit.is_some() && report.seq.0 == n);
        acknowledged.push(machine.acknowledged(&report));
    }
    site.check(&acknowledged);
    let chain = machines[0].repository.history("app").unwrap().chain().unwrap();
    assert_eq!((chain.commits().count(), chain.strays()), (10, 0));
}

/// Two machines, each with its own changes, that begin every backup at the same moment.
fn race(site: &Site) {
    const ROUNDS: u64 = 15;
    let first = site.machine("a");
    first.back_up().unwrap();
    let gate = Barrier::new(2);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (i, machine) in [(1, first), (2, site.machine("b"))] {
            let (gate, outcomes) = (&gate, &outcomes);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    machine.write(i * 1000 + round);
                    gate.wait();
                    // Whoever is told to come again does so at once.
                    let tries = (0..1000).map(|_| machine.back_up());
                    let outcome = { tries }.find(|outcome| !busy(outcome));
                    let outcome = outcome.map(|o| o.map(|report| machine.acknowledged(&report)));
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap().into_iter();
    let mut acknowledged: Vec<Acknowledged> = outcomes
        .map(|outcome| outcome.expect("never got its turn").expect("neither stored nor busy"))
        .collect();
    assert_eq!(acknowledged.len() as u64, 2 * ROUNDS);
    site.check(&acknowledged);
    acknowledged.sort();
    assert!(acknowledged.windows(2).all(|w| w[0].0 < w[1].0), "no commit is two machines'");
}

#[test]
fn two_machines_that_race_lose_nothing_that_was_acknowledged() {
    for _ in 0..5 {
        race(&Site::in_memory());
    }
    race(&Site::new(|root| Arc::new(LocalStore::create_root(root).unwrap())));
}

#[test]
fn two_processes_of_one_machine_never_write_at_once() {
    let site = Site::in_memory();
    let (slow, at_log, go_on) = site.held_back("a");
    slow.write(1);
    let site = &site;
    // The word is given when the scope unwinds, too: a failure must not wait for ever.
    std::thread::scope(move |scope| {
        let writing = scope.spawn(move || slow.back_up());
        at_log.recv().unwrap();
        let second = site.machine("a");
        assert_eq!(second.back_up().unwrap_err().kind(), ErrorKind::Busy);
        go_on.send(()).unwrap();
        assert!(writing.join().unwrap().is_ok());
        assert!(second.back_up().unwrap().commit.is_none());
    });
}

impl Site {
    /// A machine that holds back its segments: it says that one is about to be published, and waits for a word.
    fn held_back(&self, name: &str) -> (Machine, Receiver<()>, Sender<()>) {
        let ((says, said), (word, waits)) = (channel(), channel());
        let waits = Mutex::new(waits);
        let store = Hooked::with_event(self.store.clone(), move |op, name| {
            if matches!(op, Op::Create(_)) && name.contains("/log/") {
                // Who no longer listens or speaks holds nothing back.
                let _ = says.send(());
                let _ = waits.lock().unwrap().recv();
            }
        });
        (self.machine_through(name, Arc::new(store)), said, word)
    }
}

/// Two machines with a commit each: the state from which the timings below start.
fn two_writers(site: &Site) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for (n, name) in [(1, "b"), (2, "a")] {
        let machine = site.machine(name);
        machine.write(n);
        let report = machine.back_up().unwrap();
        acknowledged.push(machine.acknowledged(&report));
    }
    acknowledged
}

fn busy(result: &Result<BackupReport, Error>) -> bool {
    result.as_ref().is_err_and(|e| matches!(e.kind(), ErrorKind::Busy | ErrorKind::Superseded))
}

#[test]
fn a_writer_that_slept_through_a_takeover_is_told_and_takes_nothing_with_it() {
    let site = Site::in_memory();
    let mut acknowledged = two_writers(&site);
    let (sleeper, at_log, wake) = site.held_back("a");
    sleeper.write(3);
    let (here, known) = (&site, &mut acknowledged);
    std::thread::scope(move |scope| {
        let sleeping = scope.spawn(move || {
            let outcome = sleeper.back_up();
            (sleeper, outcome)
        });
        at_log.recv().unwrap();
        let other = here.machine("b");
        other.write(4);
        let report = other.back_up().unwrap();
        known.push(other.acknowledged(&report));
        wake.send(()).unwrap();
        let (sleeper, outcome) = sleeping.join().unwrap();
        assert!(busy(&outcome), "{outcome:?}");
        here.check(known);
        drop(sleeper);
    });
    let again = site.machine("a");
    acknowledged.push(again.acknowledged(&again.back_up().unwrap()));
    site.check(&acknowledged);
}

/// A publishes late, in its old term, and is told so. It tries again, finds its commit on top of the chain, and
/// reports it as stored. Meanwhile B, whose term lies between A's two and who looked before A published, publishes.
#[test]
fn an_acknowledgement_without_a_new_segment_holds_too() {
    let site = Site::in_memory();
    let mut acknowledged = two_writers(&site);
    let (a, a_at_log, a_goes_on) = site.held_back("a");
    a.write(3);
    let (b, b_at_log, b_goes_on) = site.held_back("b");
    b.write(4);
    let (here, known) = (&site, &mut acknowledged);
    std::thread::scope(move |scope| {
        let a_writes = scope.spawn(move || a.back_up());
        a_at_log.recv().unwrap();
        let b_writes = scope.spawn(move || b.back_up());
        b_at_log.recv().unwrap();
        a_goes_on.send(()).unwrap();
        let outcome = a_writes.join().unwrap();
        assert!(busy(&outcome), "{outcome:?}");
        let a = here.machine("a");
        known.push(a.acknowledged(&a.back_up().unwrap()));
        here.check(known);
        b_goes_on.send(()).unwrap();
        let outcome = b_writes.join().unwrap();
        assert!(busy(&outcome), "{outcome:?}");
    });
    site.check(&acknowledged);
}

/// An upkeep claims a turn of its own, and so it is done once in sixteen commits, also by machines
/// that make one commit and go.
#[test]
fn an_upkeep_is_not_done_again_by_the_next_backup() {
    let site = Site::in_memory();
    let machine = site.machine("one");
    let newest_head = || {
        let history = machine.repository.history("app").unwrap();
        let heads = site.store.list(&format!("histories/{}/heads/", history.id())).unwrap();
        heads.last().unwrap().name.clone()
    };
    for n in 0..15 {
        machine.write(n);
        machine.back_up().unwrap();
    }
    let before = newest_head();
    machine.write(15);
    machine.back_up().unwrap();
    let after = newest_head();
    assert_ne!(after, before, "the sixteenth claims a turn");
    for n in 16..31 {
        machine.write(n);
        machine.back_up().unwrap();
        assert_eq!(newest_head(), after, "commit {} claims a turn again", n + 1);
    }
}
