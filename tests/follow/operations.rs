//! A follower whose store fails at one operation, whichever and however: it goes on by itself, and what it called durable is.
//! Where the store is gone for good, the next follower carries on.
//!
//! In an ordinary run every operation meets one of the faults; `PAGEKEEP_ALL_FAULTS=1` lets each meet all of them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::followed::{Ear, PATIENCE, app, at_once};
use crate::support::hooked::{Fate, Hooked, Op};
use crate::support::{Lab, come_back, reference, verify_all};
use pagekeep::Error;
use pagekeep::ErrorKind;
use pagekeep::internals::capture::follow::{FollowOptions, Follower, Priority};
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::store::{Fault, FaultStore, MemoryStore, Store};
use rusqlite::Connection;

const FAULTS: [Fault; 4] = [Fault::Error, Fault::LostResponse, Fault::Torn, Fault::Dead];
/// Enough for two upkeeps.
const COMMITS: usize = 36;
/// How often to look whether the store is dead.
const PACE: Duration = Duration::from_millis(5);

struct Scene {
    lab: Lab,
    path: PathBuf,
    db: Connection,
    /// What the database was after each commit.
    references: Vec<Vec<u8>>,
    /// How many of them were called durable.
    durable: usize,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let db = app(&path);
        let references = vec![reference(&path)];
        Self { lab, path, db, references, durable: 0 }
    }

    fn commit(&mut self) {
        self.db.execute("INSERT INTO t(x) VALUES(randomblob(300))", []).unwrap();
        self.references.push(reference(&self.path));
    }

    fn follow(&self, store: Arc<dyn Store>) -> Result<Follower, Error> {
        let follow_options = FollowOptions {
            stop_patience: Duration::ZERO,
            // Merges are made when they are due, however busy the machine is.
            priority: Priority::Normal,
            ..at_once()
        };
        let options = WatchOptions { follow: follow_options, ..WatchOptions::default() };
        let ear = Arc::new(Ear::default());
        Ok(self.lab.through(store)?.follow(&self.path, options, ear)?.1)
    }

    /// Waits until everything is durable; `false` if the store is dead before.
    fn is_durable(&mut self, follower: &Follower, mortal: bool) -> bool {
        let patience = if mortal { PACE } else { PATIENCE };
        loop {
            match follower.wait_durable(patience) {
                Ok(seq) => {
                    assert_eq!(seq.0, self.references.len() as u64);
                    self.durable = self.references.len();
                    return true;
                }
                Err(e) => assert!(mortal && e.kind() != ErrorKind::Superseded, "{e:?}"),
            }
            if follower.status().fault.is_some() {
                return false;
            }
        }
    }

    /// Commits under a follower, one durable after the other, until the store is dead.
    fn work(&mut self, store: &Arc<FaultStore<MemoryStore>>, fault: Fault) {
        let mortal = fault == Fault::Dead;
        let follower = match self.follow(store.clone()) {
            Ok(follower) => follower,
            Err(_) if mortal => return,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Storage, "{e:?}");
                // People try again.
                self.follow(store.clone()).unwrap()
            }
        };
        while self.is_durable(&follower, mortal) {
            if self.references.len() == COMMITS {
                let stopped = follower.stop();
                assert!(stopped.is_ok() || mortal, "{stopped:?}");
                return;
            }
            self.commit();
        }
        // Something is on its way.
        self.commit();
    }

    /// Everything that was called durable is there; `whole` if every commit has to be.
    fn check(&self, whole: bool) {
        let repository = self.lab.through(Arc::new(self.lab.store.clone())).unwrap();
        let Ok(history) = repository.history("app") else {
            assert_eq!(self.durable, 0);
            return;
        };
        let chain = history.chain().unwrap();
        let wanted = if whole { self.references.len() } else { self.durable };
        come_back(&history, &chain, (1..).zip(&self.references[..wanted]), self.lab.dir.path());
        if whole {
            let kinds: Vec<_> = chain.commits().map(|c| c.record.kind).collect();
            assert_eq!(kinds.len(), wanted);
            assert!(kinds[1..].iter().all(|k| *k == CommitKind::Transaction), "{kinds:?}");
        }
    }

    /// Another follower takes the history up where the first left it.
    fn carry_on(&mut self) {
        let follower = self.follow(Arc::new(self.lab.store.clone())).unwrap();
        follower.wait_durable(PATIENCE).unwrap();
        self.commit();
        let newest = follower.wait_durable(PATIENCE).unwrap();
        follower.stop().unwrap();
        let history = self.lab.repository.history("app").unwrap();
        let last = self.references.last().unwrap();
        let chain = history.chain().unwrap();
        come_back(&history, &chain, [(newest.0, last)], self.lab.dir.path());
        let report = verify_all(&history, Level::Data, self.lab.dir.path()).unwrap();
        assert_eq!(report.findings, vec![]);
    }
}

#[test]
fn a_follower_survives_every_fault_at_every_operation() {
    let all = std::env::var_os("PAGEKEEP_ALL_FAULTS").is_some();
    let mut healthy = Scene::new();
    let counting = Arc::new(FaultStore::counting(Arc::new(healthy.lab.store.clone())));
    healthy.work(&counting, Fault::Error);
    healthy.check(true);
    let operations = counting.operations();
    assert!(operations > 150, "{operations}");
    for k in 0..operations {
        for (way, fault) in (0..).zip(FAULTS) {
            if !all && k % 4 != way {
                continue;
            }
            println!("{fault:?} at {k} of {operations}");
            let mut scene = Scene::new();
            let store = FaultStore::new(Arc::new(scene.lab.store.clone()), k, fault);
            scene.work(&Arc::new(store), fault);
            scene.check(fault != Fault::Dead);
            scene.carry_on();
            scene.check(false);
        }
    }
}

/// A store whose answer to a create is lost, and which creates the object only when the next one of that name is asked for.
#[test]
fn a_scan_that_comes_to_be_stored_late_is_gone_on_from() {
    let mut scene = Scene::new();
    let inner = Arc::new(scene.lab.store.clone());
    let late: Mutex<Vec<(String, Vec<u8>)>> = Mutex::default();
    let below = inner.clone();
    let hooked = Hooked::new(inner, move |op, name| {
        let Op::Create(bytes) = op else { return Fate::PassOn };
        let mut late = late.lock().unwrap();
        if !name.contains("/log/") {
            return Fate::PassOn;
        }
        match late.iter().find(|(known, _)| known == name) {
            Some((name, bytes)) => {
                below.create(name, bytes).unwrap();
                Fate::PassOn
            }
            // The first of all, which is a scan.
            None if late.is_empty() => {
                late.push((name.to_owned(), bytes.to_vec()));
                Fate::Fail(Error::new(ErrorKind::Storage, "timed out"))
            }
            None => Fate::PassOn,
        }
    });
    let follower = scene.follow(Arc::new(hooked)).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    scene.commit();
    assert_eq!(follower.wait_durable(PATIENCE).unwrap().0, 2);
    follower.stop().unwrap();
    scene.check(true);
}
