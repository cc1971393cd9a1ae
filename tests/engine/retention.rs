//! Pruning beside everything else: writers tidy up, followers go on, prunes race, readers find their way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::followed::{self, Ear, PATIENCE, at_once};
use crate::support::hooked::{Hooked, Op};
use crate::support::{Lab, come_back, keep_last, reference, restored_raw, verify_all};
use pagekeep::internals::capture::follow::Activity;
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::format::segment::CommitKind;
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::ops::prune::{PruneOptions, PruneReport};
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::Repository;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::store::{MemoryStore, Store};
use pagekeep::internals::types::Timestamp;
use pagekeep::{Error, ErrorKind, RepositoryOptions};

fn last(n: u32) -> PruneOptions {
    keep_last(n, Duration::ZERO)
}

fn seqs(history: &History) -> BTreeSet<u64> {
    history.chain().unwrap().commits().map(|c| c.seq.0).collect()
}

fn verified(history: &History, dir: &Path) {
    assert_eq!(verify_all(history, Level::Data, dir).unwrap().findings, []);
}

#[test]
fn backups_keep_the_chain_short_by_themselves() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = followed::app(&path);
    let mut expected = BTreeMap::new();
    for n in 0..300 {
        app.execute("INSERT INTO t(x) VALUES(?1)", [format!("row {n}")]).unwrap();
        let report = lab.backup(&path);
        expected.insert(report.seq.0, reference(&path));
    }
    let history = lab.repository.history("app").unwrap();
    let chain = history.chain().unwrap();
    assert_eq!(chain.commits().count(), 300);
    assert!(chain.segments().len() < 50, "{} segments", chain.segments().len());
    come_back(&history, &chain, expected.iter().map(|(seq, bytes)| (*seq, bytes)), lab.dir.path());
    verified(&history, lab.dir.path());
    // All that was replaced is there for a while.
    assert!(chain.strays() > 200);
    // And each backup still costs few requests, but for the one that tidies up.
    assert!(lab.store.list("histories/").unwrap().len() < 400);
}

#[test]
fn a_follower_goes_on_beside_prunes() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = followed::app(&path);
    let ear = Arc::new(Ear::default());
    let options = WatchOptions { follow: at_once(), ..WatchOptions::default() };
    let (history, follower) = lab.repository.follow(&path, options, ear.clone()).unwrap();
    follower.wait_durable(PATIENCE).unwrap();
    let mut expected = BTreeMap::new();
    for n in 0..120 {
        app.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
        let seq = follower.wait_durable(PATIENCE).unwrap();
        expected.insert(seq.0, reference(&path));
        if n % 20 == 10 {
            let report = history.prune(&last(15), &Silent).unwrap();
            assert!(report.kept.len() >= 11, "{}", report.kept.len());
        }
    }
    let status = follower.status();
    assert_eq!((status.activity, status.scans), (Activity::Following, 0), "{status:?}");
    follower.stop().unwrap();
    history.prune(&last(15), &Silent).unwrap();
    let chain = history.chain().unwrap();
    // Every transaction was kept one by one, and the last fifteen are there.
    let found: Vec<_> = chain.commits().map(|c| (c.seq.0, c.record.kind)).collect();
    assert_eq!(found.len(), 15);
    let consecutive = found.windows(2).all(|w| w[0].0 + 1 == w[1].0);
    assert!(consecutive && found.iter().all(|f| f.1 == CommitKind::Transaction), "{found:?}");
    let expected = found.iter().map(|(seq, _)| (*seq, &expected[seq]));
    come_back(&history, &chain, expected, lab.dir.path());
    verified(&history, lab.dir.path());
    let troubles = ear.heard();
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn prunes_and_restores_at_once_do_each_other_no_harm() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = followed::app(&path);
    let expected = Mutex::new(BTreeMap::new());
    let done = AtomicBool::new(false);
    let restored = AtomicU64::new(0);
    let back_up = |n: i64| {
        app.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
        app.execute("UPDATE t SET x=x+1 WHERE id%7=?1", [n % 7]).unwrap();
        // The bytes are known before anybody can find the commit.
        let bytes = reference(&path);
        let next = expected.lock().unwrap().keys().last().map_or(1, |seq| seq + 1);
        expected.lock().unwrap().insert(next, bytes);
        assert_eq!(lab.backup(&path).seq.0, next);
    };
    for n in 0..30 {
        back_up(n);
    }
    let history = lab.repository.history("app").unwrap();
    std::thread::scope(|scope| {
        for keep in [5, 8] {
            let (history, done) = (&history, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let report: PruneReport = history.prune(&last(keep), &Silent).unwrap();
                    assert!(!report.kept.is_empty());
                }
            });
        }
        for reader in 0..2u64 {
            let dir = lab.path(&format!("reader-{reader}"));
            fs::create_dir(&dir).unwrap();
            let (history, done, expected, restored) = (&history, &done, &expected, &restored);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let chain = history.chain().unwrap();
                    // The second newest is kept by both for a while.
                    let commit = chain.commits().rev().nth(1).unwrap();
                    match restored_raw(history, &chain, commit.seq.0, &dir) {
                        Ok(bytes) => {
                            assert!(bytes == expected.lock().unwrap()[&commit.seq.0]);
                            restored.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound, "{e:?}"),
                    }
                }
            });
        }
        for n in 30..100 {
            back_up(n);
        }
        done.store(true, Ordering::Relaxed);
    });
    history.prune(&last(5), &Silent).unwrap();
    assert_eq!(seqs(&history), (96..=100).collect());
    assert!(restored.into_inner() > 20);
    verified(&history, lab.dir.path());
}

#[test]
fn a_reader_goes_on_wherever_a_prune_takes_its_objects_away() {
    let outcome = |at: u64| -> (u64, Result<(), Error>) {
        let lab = Lab::quick();
        let path = lab.path("app.db");
        let app = followed::app(&path);
        for n in 0..12 {
            app.execute("INSERT INTO t(x) VALUES(hex(randomblob(3000)))", []).unwrap();
            app.execute("UPDATE t SET x=?1 WHERE id=1", [n]).unwrap();
            lab.backup(&path);
        }
        let expected = reference(&path);
        // The store prunes when its reader has come so far.
        let left = Arc::new(AtomicU64::new(at));
        let (counted, pruned) = (left.clone(), lab.repository.clone());
        let store = Hooked::with_event(Arc::new(lab.store.clone()), move |op, _| {
            if matches!(op, Op::Get | Op::GetRange | Op::List)
                && counted.fetch_sub(1, Ordering::Relaxed) == 1
            {
                pruned.history("app").unwrap().prune(&last(3), &Silent).unwrap();
            }
        });
        let repository = lab.through(Arc::new(store)).unwrap();
        let history = repository.history("app").unwrap();
        let read = history.chain().and_then(|chain| {
            let newest = chain.latest().unwrap().seq.0;
            assert_eq!(newest, 12);
            restored_raw(&history, &chain, newest, lab.dir.path())
        });
        let used = at.wrapping_sub(left.load(Ordering::Relaxed));
        (used, read.map(|bytes| assert!(bytes == expected)))
    };
    let (reads, undisturbed) = outcome(u64::MAX);
    undisturbed.unwrap();
    assert!(reads > 20, "{reads} reads");
    for at in 1..=reads {
        let (_, read) = outcome(at);
        read.unwrap_or_else(|e| panic!("pruned at read {at}: {e:?}"));
    }
}

/// A machine of its own: its state, and a copy of the database.
fn machine(lab: &Lab, name: &str, store: Arc<dyn Store>) -> (Repository, std::path::PathBuf) {
    let home = lab.path(name);
    fs::create_dir(&home).unwrap();
    let repository = Repository::open(
        store,
        &lab.secret,
        &RepositoryOptions::new(home.join("state")).threads(1),
    )
    .unwrap();
    (repository, home.join("app.db"))
}

#[test]
fn a_second_follower_refuses_and_a_takeover_supersedes_the_first() {
    let lab = Lab::quick();
    let store: Arc<dyn Store> = Arc::new(lab.store.clone());
    let (first, path) = machine(&lab, "first", store.clone());
    let (second, other_path) = machine(&lab, "second", store);
    let (app, other) = (followed::app(&path), followed::app(&other_path));
    let options = |takeover| WatchOptions {
        adopt: true,
        takeover,
        follow: at_once(),
        ..WatchOptions::default()
    };
    let ear = Arc::new(Ear::default());
    let (history, follower) = first.follow(&path, options(false), ear.clone()).unwrap();
    let mut acknowledged = BTreeMap::new();
    for n in 0..10 {
        app.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
        acknowledged.insert(follower.wait_durable(PATIENCE).unwrap().0, reference(&path));
    }
    let refused = second.follow(&other_path, options(false), ear.clone()).unwrap_err();
    assert_eq!((refused.kind(), refused.kind().exit_code()), (ErrorKind::Busy, 11), "{refused:?}");
    assert_eq!(refused.remedy().map(pagekeep::Remedy::name), Some("take-over"));
    let (_, successor) = second.follow(&other_path, options(true), ear).unwrap();
    for n in 0..10 {
        other.execute("INSERT INTO t(x) VALUES(?1)", [1000 + n]).unwrap();
        acknowledged.insert(successor.wait_durable(PATIENCE).unwrap().0, reference(&other_path));
    }
    // What the first one captures now is acknowledged to nobody, and it ends.
    app.execute("INSERT INTO t(x) VALUES(77)", []).unwrap();
    let unheard = follower.wait_durable(PATIENCE).unwrap_err();
    assert!(
        matches!(unheard.kind(), ErrorKind::Superseded | ErrorKind::Interrupted),
        "{unheard:?}"
    );
    let ended = follower.stop().unwrap_err();
    assert_eq!((ended.kind(), ended.kind().exit_code()), (ErrorKind::Superseded, 11));
    other.execute("INSERT INTO t(x) VALUES(2000)", []).unwrap();
    acknowledged.insert(successor.wait_durable(PATIENCE).unwrap().0, reference(&other_path));
    successor.stop().unwrap();
    let chain = history.chain().unwrap();
    let expected = acknowledged.iter().map(|(seq, bytes)| (*seq, bytes));
    come_back(&history, &chain, expected, lab.dir.path());
    verified(&history, lab.dir.path());
}

type Asleep = Arc<Mutex<Option<(Sender<()>, Receiver<()>)>>>;

/// A store whose next segment waits before it is published, once there is whom it tells and whose word it waits for.
fn sleeper(inner: &MemoryStore) -> (Arc<dyn Store>, Asleep) {
    let asleep = Asleep::default();
    let next = asleep.clone();
    let store = Hooked::with_event(Arc::new(inner.clone()), move |op, name| {
        if matches!(op, Op::Create(_))
            && name.contains("/log/")
            && let Some((says, waits)) = next.lock().unwrap().take()
        {
            says.send(()).unwrap();
            waits.recv().unwrap();
        }
    });
    (Arc::new(store), asleep)
}

#[test]
fn a_writer_that_sleeps_through_a_takeover_a_merge_and_its_deletion_changes_nothing() {
    use pagekeep::internals::ops::backup::BackupOptions;
    // With another writer in between, and with only prunes.
    for (others, large) in [(40, false), (40, true), (0, false), (0, true)] {
        let what = format!("{others} others, large: {large}");
        let lab = Lab::quick();
        let ((says, said), (word, waits)) = (channel(), channel());
        let (store, asleep) = sleeper(&lab.store);
        let (first, path) = machine(&lab, "first", store);
        let (second, other_path) = machine(&lab, "second", Arc::new(lab.store.clone()));
        let (app, other) = (followed::app(&path), followed::app(&other_path));
        let options = BackupOptions::default().adopt(true);
        let store = |repository: &Repository, path: &Path| {
            repository.backup(path, &options, &Silent).map(|report| (report.seq.0, reference(path)))
        };
        let mut acknowledged = BTreeMap::new();
        for n in 0..5 {
            app.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
            acknowledged.extend([store(&first, &path).unwrap()]);
        }
        *asleep.lock().unwrap() = Some((says, waits));
        let size = if large { 3_000_000 } else { 10 };
        app.execute("INSERT INTO t(x) VALUES(randomblob(?1))", [size]).unwrap();
        let history = lab.repository.history("app").unwrap();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| store(&first, &path));
            said.recv().unwrap();
            for n in 0..others {
                other.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
                acknowledged.extend([store(&second, &other_path).unwrap()]);
            }
            for _ in 0..2 {
                history.prune(&last(1000), &Silent).unwrap();
            }
            word.send(()).unwrap();
            match late.join().unwrap() {
                Ok((seq, bytes)) => {
                    // Only if nobody published meanwhile.
                    assert_eq!(others, 0, "{what}");
                    acknowledged.insert(seq, bytes);
                }
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Superseded, "{what}: {e:?}");
                    assert!(others > 0, "{what}: {e:?}");
                }
            }
        });
        history.prune(&last(1000), &Silent).unwrap();
        let elsewhere = Repository::open(
            Arc::new(lab.store.clone()),
            &lab.secret,
            &RepositoryOptions::new(lab.path("elsewhere")),
        );
        let history = elsewhere.unwrap().history("app").unwrap();
        let chain = history.chain().unwrap();
        assert_eq!(chain.commits().count(), acknowledged.len(), "{what}");
        for (seq, bytes) in acknowledged {
            let found = restored_raw(&history, &chain, seq, lab.dir.path()).unwrap();
            assert!(found == bytes, "{what}: {seq}");
        }
        verified(&history, lab.dir.path());
    }
}

#[test]
fn a_clock_that_is_off_by_a_year_prunes_nothing() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = followed::app(&path);
    for n in 0..5 {
        app.execute("INSERT INTO t(x) VALUES(?1)", [n]).unwrap();
        lab.backup(&path);
    }
    let history = lab.repository.history("app").unwrap();
    let day = 24 * 3_600_000_000i64;
    for days in [-365, 2, 365] {
        let clock = pagekeep::internals::types::Clock::new(move || {
            Timestamp(Timestamp::now().0 + days * day)
        });
        let store = Arc::new(lab.store.clone());
        let opened = Repository::open(store, &lab.secret, &lab.opening().clock(clock)).unwrap();
        let error = opened.history("app").unwrap().prune(&last(1), &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{days} days: {error:?}");
        assert_eq!(seqs(&history).len(), 5, "{days} days");
    }
}

/// Parts that no segment names yet are deleted after a week; somebody may sleep for that long in the middle of a merge.
#[test]
fn a_merge_whose_parts_were_cleaned_away_before_it_was_published_is_withdrawn() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let app = followed::app(&path);
    let mut expected = BTreeMap::new();
    // Half of it stays, and is enough for parts.
    app.execute_batch("INSERT INTO t(x) SELECT randomblob(700000) FROM (VALUES(1), (2), (3), (4))")
        .unwrap();
    for n in 1..=4 {
        app.execute("UPDATE t SET x=randomblob(700000) WHERE id=1+?1%2", [n]).unwrap();
        expected.insert(lab.backup(&path).seq.0, reference(&path));
    }
    let (inner, slept) = (lab.store.clone(), Arc::new(AtomicBool::new(false)));
    let sleeps = slept.clone();
    let store = Hooked::with_event(Arc::new(lab.store.clone()), move |op, name| {
        if matches!(op, Op::Create(_)) && name.contains("/merged/") {
            let (history, _) = name.split_once("/merged/").unwrap();
            let (_, id) = name.rsplit_once('-').unwrap();
            for part in inner.list(&format!("{history}/data/{id}/")).unwrap() {
                inner.delete(&part.name).unwrap();
                sleeps.store(true, Ordering::Relaxed);
            }
        }
    });
    let sleeper = lab.through(Arc::new(store)).unwrap().history("app").unwrap();
    let e = sleeper.prune(&last(2), &Silent).unwrap_err();
    assert!(slept.load(Ordering::Relaxed), "it wrote no parts");
    assert_eq!(e.kind(), ErrorKind::Busy, "{e:?}");
    assert!(e.object().unwrap().contains("/data/"), "{e:?}");
    // What it had let expire is gone, and all that stays is whole.
    let history = lab.repository.history("app").unwrap();
    let check = || {
        let chain = history.chain().unwrap();
        let there = expected.iter().filter(|(seq, _)| [3, 4].contains(*seq));
        come_back(&history, &chain, there.map(|(seq, bytes)| (*seq, bytes)), lab.dir.path());
        assert_eq!(seqs(&history), BTreeSet::from([3, 4]));
    };
    check();
    history.prune(&last(2), &Silent).unwrap();
    check();
    verified(&history, lab.dir.path());
}
