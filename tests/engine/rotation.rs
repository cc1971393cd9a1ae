//! Rotation of keys: what is stored afterwards is sealed under a new key, every key that was given opens everything at every
//! moment, whatever the store does and whoever else rotates; and an old slot opens nothing new.

mod removal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use crate::support::followed::{PATIENCE, at_once, start};
use crate::support::hooked::{Fate, Hooked, Op};
use crate::support::{CHEAP, objects, quick_dir, reference, restored_raw, store_of};
use pagekeep::internals::capture::follow::{Event, FollowOptions, Priority};
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::Repository;
use pagekeep::internals::repo::keys::rotate::{RotateOptions, Rotated};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::store::{Fault, FaultStore, MemoryStore, Store};
use pagekeep::internals::types::{KeyId, SlotId};
use pagekeep::{Error, ErrorKind, RepositoryOptions, Result};
use rusqlite::Connection;

const FAULTS: [Fault; 5] =
    [Fault::Error, Fault::LostResponse, Fault::Torn, Fault::StaleList, Fault::Dead];

/// The secrets of the repository.
struct Secrets {
    file: Secret,
    words: Secret,
    recovery: Secret,
}

impl Secrets {
    fn new(dir: &Path) -> Self {
        Self {
            file: Secret::create_key_file(&dir.join("key")).unwrap(),
            words: Secret::passphrase("correct horse".into()).unwrap(),
            recovery: Secret::new_recovery().unwrap(),
        }
    }

    fn all(&self) -> [(&Secret, &str); 3] {
        [(&self.file, "file"), (&self.words, "words"), (&self.recovery, "recovery")]
    }
}

/// A repository with one commit, and what came after.
struct Bench {
    dir: tempfile::TempDir,
    secrets: Arc<Secrets>,
    store: MemoryStore,
    app: Connection,
    references: BTreeMap<u64, Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        let dir = quick_dir();
        let secrets = Arc::new(Secrets::new(dir.path()));
        let store = MemoryStore::new();
        let state = dir.path().join("state");
        Repository::init(
            Arc::new(store.clone()),
            &secrets.all(),
            CHEAP,
            &RepositoryOptions::new(state),
        )
        .unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA page_size=512; PRAGMA synchronous=OFF; CREATE TABLE t(x)")
            .unwrap();
        let mut bench = Self { dir, secrets, store, app, references: BTreeMap::new() };
        bench.back_up(&bench.secrets.file.clone());
        bench
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("app.db")
    }

    fn through(&self, store: Arc<dyn Store>, secret: &Secret) -> Result<Repository> {
        Repository::open(
            store,
            secret,
            &RepositoryOptions::new(self.dir.path().join("state")).threads(1),
        )
    }

    fn open(&self, secret: &Secret) -> Repository {
        self.through(Arc::new(self.store.clone()), secret).unwrap()
    }

    /// Stores one more commit, opened with this secret; the key that it is sealed under.
    fn back_up(&mut self, secret: &Secret) -> KeyId {
        let repository = self.open(secret);
        self.back_up_with(&repository)
    }

    fn back_up_with(&mut self, repository: &Repository) -> KeyId {
        self.app.execute("INSERT INTO t VALUES(randomblob(300))", ()).unwrap();
        let options = BackupOptions::default().adopt(true);
        let report = repository.backup(&self.path(), &options, &Silent).unwrap();
        assert!(self.references.insert(report.seq.0, reference(&self.path())).is_none());
        let chain = report.history.chain().unwrap();
        let bytes = self.store.get(chain.newest().unwrap().name(), u64::MAX).unwrap().unwrap();
        KeyId(bytes[16..24].try_into().unwrap())
    }

    /// The secret opens every commit there ever was.
    fn opens_everything(&self, secret: &Secret, what: &str) {
        let repository = self.through(Arc::new(self.store.clone()), secret);
        let repository = repository.unwrap_or_else(|e| panic!("{what}: {secret:?}: {e:?}"));
        let history = repository.history("app").unwrap();
        let chain = history.chain().unwrap_or_else(|e| panic!("{what}: {secret:?}: {e:?}"));
        assert!(chain.commits().map(|c| c.seq.0).eq(self.references.keys().copied()), "{what}");
        for (seq, expected) in &self.references {
            let bytes = restored_raw(&history, &chain, *seq, self.dir.path());
            assert!(bytes.unwrap() == *expected, "{what}: commit {seq}");
        }
    }

    /// Each of the secrets opens what each of them stores.
    fn all_open_everything(&mut self, secrets: &[Secret], what: &str) {
        for writer in secrets {
            self.back_up(writer);
        }
        for reader in secrets {
            self.opens_everything(reader, what);
        }
    }

    fn slots(&self) -> Vec<SlotId> {
        self.open(&self.secrets.file).slots().unwrap().iter().map(|slot| slot.id).collect()
    }
}

fn rotate(repository: &Repository, secrets: &[(&Secret, &str)]) -> Result<Rotated> {
    repository.rotate(&RotateOptions { secrets, ..Default::default() })?.complete()
}

#[test]
fn what_is_stored_after_a_rotation_is_sealed_under_its_key() {
    let mut bench = Bench::new();
    let secrets = bench.secrets.clone();
    let before = bench.open(&secrets.file).slots().unwrap();
    let first = bench.back_up(&secrets.words);
    let mut keys = vec![first];
    for round in 0..3 {
        let rotated = rotate(&bench.open(&secrets.words), &secrets.all()).unwrap();
        assert_eq!((rotated.added.len(), rotated.replaced.len(), rotated.removed.len()), (3, 3, 0));
        for (secret, _) in secrets.all() {
            assert_eq!(bench.back_up(secret), rotated.key, "{round}");
        }
        keys.push(rotated.key);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    let secrets_now = secrets.all().map(|(secret, _)| secret.clone());
    bench.all_open_everything(&secrets_now, "after three rotations");
    // Kind, label and cost went along; the slots are other ones.
    let after = bench.open(&secrets.file).slots().unwrap();
    let traits = |slots: &[pagekeep::internals::repo::keys::key_slots::SlotInfo]| {
        let of = |f: &pagekeep::internals::format::slot::SlotFront| {
            (f.secret.name(), f.label.clone(), f.kdf)
        };
        let mut all: Vec<_> = slots.iter().map(|s| of(s.front.as_ref().unwrap())).collect();
        all.sort_by_key(|(kind, ..)| *kind);
        all
    };
    assert_eq!(traits(&before), traits(&after));
    assert!(before.iter().all(|old| after.iter().all(|new| new.id != old.id)));
}

#[test]
fn a_rotation_without_all_secrets_is_refused_and_changes_nothing() {
    let bench = Bench::new();
    let secrets = &bench.secrets;
    let before = objects(&bench.store);
    let repository = bench.open(&secrets.file);
    let two = [(&secrets.file, "file"), (&secrets.recovery, "recovery")];
    let refused = rotate(&repository, &two).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.message().contains("(passphrase, \"words\")"), "{refused:?}");
    let others = rotate(&repository, &secrets.all()[1..]).unwrap_err();
    assert_eq!(others.kind(), ErrorKind::Refused, "the one in use counts too");
    let stranger = Secret::passphrase("wrong horse".into()).unwrap();
    let with = [secrets.all().as_slice(), &[(&stranger, "some/file")]].concat();
    let wrong = rotate(&repository, &with).unwrap_err();
    assert_eq!((wrong.kind(), wrong.object()), (ErrorKind::WrongKey, Some("some/file")));
    let all = RotateOptions { remove_others: true, ..Default::default() };
    assert_eq!(repository.rotate(&all).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(objects(&bench.store), before);
    // The same secret given twice is one.
    let twice = [secrets.all(), secrets.all()].concat();
    assert_eq!(rotate(&repository, &twice).unwrap().added.len(), 3);
}

#[test]
fn recovery_keys_are_replaced_and_others_removed_if_one_says_so() {
    let mut bench = Bench::new();
    let secrets = bench.secrets.clone();
    let another = Secret::new_recovery().unwrap();
    bench.open(&secrets.file).add_slot(&another, "another", CHEAP).unwrap();
    let new = Secret::new_recovery().unwrap();
    let given = [(&secrets.file, "file"), (&secrets.words, "words")];
    let options = RotateOptions { secrets: &given, new_recovery: Some(&new), remove_others: false };
    let rotated = bench.open(&secrets.file).rotate(&options).unwrap().complete().unwrap();
    assert_eq!((rotated.added.len(), rotated.replaced.len()), (3, 4));
    let kept = [&secrets.file, &secrets.words, &new].map(Clone::clone);
    bench.all_open_everything(&kept, "a new recovery key");
    for gone in [&secrets.recovery, &another] {
        let opened = bench.through(Arc::new(bench.store.clone()), gone);
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::WrongKey);
    }

    // Opened with the recovery key, which a newer one replaces, and nothing else remains.
    let newest = Secret::new_recovery().unwrap();
    let options = RotateOptions {
        secrets: &[(&new, "recovery")],
        new_recovery: Some(&newest),
        remove_others: true,
    };
    let rotated = bench.open(&new).rotate(&options).unwrap().complete().unwrap();
    assert_eq!((rotated.added.len(), rotated.replaced.len(), rotated.removed.len()), (1, 1, 2));
    bench.all_open_everything(&[newest], "one key");
}

#[test]
fn an_old_slot_opens_nothing_new() {
    let mut bench = Bench::new();
    let secrets = bench.secrets.clone();
    let saved: BTreeMap<_, _> =
        objects(&bench.store).into_iter().filter(|(name, _)| name.starts_with("keys/")).collect();
    let rotated = rotate(&bench.open(&secrets.file), &secrets.all()).unwrap();
    let before = objects(&bench.store);
    bench.back_up(&secrets.file);
    let mut stolen = objects(&bench.store);
    stolen.retain(|name, _| !name.starts_with("keys/"));
    stolen.extend(saved.clone());
    let open = |objects| {
        // A thief has seen nothing before.
        let _ = std::fs::remove_dir_all(bench.dir.path().join("state"));
        let repository = bench.through(Arc::new(store_of(objects)), &secrets.file).unwrap();
        repository.history("app").unwrap().chain()
    };
    let refused = open(&stolen).unwrap_err();
    assert!(refused.message().contains("not in the keyring"), "{refused:?}");
    // What was there before the rotation, it does.
    let mut old = before;
    old.retain(|name, _| !name.starts_with("keys/"));
    old.extend(saved.clone());
    assert_eq!(open(&old).unwrap().latest().unwrap().seq.0, 1);
    // Put back besides the new ones, old slots change nothing.
    for (name, bytes) in &saved {
        bench.store.damage(name, bytes);
    }
    assert_eq!(bench.open(&secrets.file).opened_slots().len(), 2);
    assert_eq!(bench.back_up(&secrets.file), rotated.key);
    for (secret, _) in secrets.all() {
        bench.opens_everything(secret, "old slots are back");
    }
    // Nor is the wrong one of the two removed by mistake.
    let repository = bench.open(&secrets.file);
    for new in &rotated.added[1..] {
        repository.remove_slot(*new).unwrap();
    }
    let last = repository.remove_slot(rotated.added[0]).unwrap_err();
    assert_eq!(last.kind(), ErrorKind::Refused, "{last:?}");
    assert!(last.message().contains("newest keys"), "{last:?}");
}

#[test]
fn who_has_it_open_during_a_rotation_goes_on_with_the_new_key() {
    let mut bench = Bench::new();
    let secrets = bench.secrets.clone();
    let early = bench.open(&secrets.file);
    let lost = bench.open(&secrets.words);
    let unaware = bench.open(&secrets.file);
    rotate(&bench.open(&secrets.file), &secrets.all()).unwrap();
    // It goes on, under the key that it has.
    let old = bench.back_up_with(&early);
    let new = bench.back_up(&secrets.file);
    assert_ne!(old, new);
    // Until it meets the new key.
    assert_eq!(early.history("app").unwrap().chain().unwrap().commits().count(), 3);
    assert_eq!(bench.back_up_with(&early), new);
    // Of a second one it knows nothing yet.
    let slots = bench.slots();
    let spare = Secret::new_recovery().unwrap();
    assert_eq!(unaware.add_slot(&spare, "", CHEAP).unwrap_err().kind(), ErrorKind::WrongKey);
    assert_eq!(bench.slots(), slots);
    // Whose key is not kept is told.
    let kept = [(&secrets.file, "file")];
    let options = RotateOptions { secrets: &kept, remove_others: true, ..Default::default() };
    bench.open(&secrets.file).rotate(&options).unwrap().complete().unwrap();
    bench.back_up_with(&early);
    let newest = bench.back_up(&secrets.file);
    let e = lost.history("app").unwrap().chain().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::WrongKey, "{e:?}");
    assert!(e.hint().unwrap().to_string().contains("rotated"), "{e:?}");
    early.history("app").unwrap().chain().unwrap();
    assert_eq!(bench.back_up_with(&early), newest);
    bench.opens_everything(&secrets.file, "an old process wrote");
    // For who has the keys, an unknown one is damage.
    let now = bench.open(&secrets.file);
    let name = now.history("app").unwrap().chain().unwrap().newest().unwrap().name().to_owned();
    let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
    bytes[17] ^= 1;
    bench.store.damage(&name, &bytes);
    let e = now.history("app").unwrap().chain().unwrap_err();
    assert_eq!((e.kind(), e.object()), (ErrorKind::Damaged, Some(&*name)));
}

#[test]
fn a_follower_whose_key_is_removed_goes_on_and_says_so() {
    let mut bench = Bench::new();
    let secrets = bench.secrets.clone();
    bench.app.execute_batch("PRAGMA journal_mode=WAL").unwrap();
    let options = FollowOptions {
        stop_patience: Duration::ZERO,
        // Merges, which find out, are made when they are due, however busy the machine is.
        priority: Priority::Normal,
        ..at_once()
    };
    let (follower, ear) = start(&bench.open(&secrets.words), &bench.path(), options);
    let told =
        || ear.count(|e| matches!(e, Event::Warning(text) if text.contains("was removed from it")));
    // More than enough for an upkeep.
    let commit_many = |bench: &mut Bench| {
        for _ in 0..20 {
            bench.app.execute("INSERT INTO t VALUES(randomblob(300))", ()).unwrap();
            let seq = follower.wait_durable(PATIENCE).unwrap();
            bench.references.insert(seq.0, reference(&bench.path()));
        }
    };
    commit_many(&mut bench);
    assert_eq!(told(), 0, "{:?}", ear.heard());
    let kept = [(&secrets.file, "file")];
    let options = RotateOptions { secrets: &kept, remove_others: true, ..Default::default() };
    bench.open(&secrets.file).rotate(&options).unwrap().complete().unwrap();
    commit_many(&mut bench);
    commit_many(&mut bench);
    assert_eq!(told(), 1, "{:?}", ear.heard());
    follower.stop().unwrap();
    let locked = bench.through(Arc::new(bench.store.clone()), &secrets.words).unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::WrongKey);
    // What it stored since is there for whoever has a key.
    let history = bench.open(&secrets.file).history("app").unwrap();
    let chain = history.chain().unwrap();
    for seq in bench.references.keys().rev().take(30) {
        let bytes = restored_raw(&history, &chain, *seq, bench.dir.path()).unwrap();
        assert!(bytes == bench.references[seq], "commit {seq}");
    }
}

/// What a rotation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Everybody,
    NewRecovery,
    OnlyFile,
}

/// The rotation with every fault at every operation.
fn every_fault(request: Request) {
    let template = Bench::new();
    let (sound, seqs) = (objects(&template.store), template.references.clone());
    let secrets = template.secrets.clone();
    let new = Secret::new_recovery().unwrap();
    let all = secrets.all();
    let options = match request {
        Request::Everybody => RotateOptions { secrets: &all, ..Default::default() },
        Request::NewRecovery => {
            RotateOptions { secrets: &all[..2], new_recovery: Some(&new), remove_others: false }
        }
        Request::OnlyFile => {
            RotateOptions { secrets: &all[..1], new_recovery: None, remove_others: true }
        }
    };
    let kept: Vec<Secret> = match request {
        Request::Everybody => vec![&secrets.file, &secrets.words, &secrets.recovery],
        Request::NewRecovery => vec![&secrets.file, &secrets.words, &new],
        Request::OnlyFile => vec![&secrets.file],
    }
    .into_iter()
    .cloned()
    .collect();
    let before: Vec<Secret> = all.iter().map(|(secret, _)| (*secret).clone()).collect();

    // A rotation, and whether it came so far that a new recovery key was shown.
    let run = |bench: &Bench, store: Arc<dyn Store>| -> (bool, Result<Rotated, Error>) {
        let rotation =
            bench.through(store, &secrets.file).and_then(|repository| repository.rotate(&options));
        match rotation {
            Ok(rotation) => (true, rotation.complete()),
            Err(e) => (false, Err(e)),
        }
    };
    let fresh = || {
        let dir = quick_dir();
        std::fs::copy(template.path(), dir.path().join("app.db")).unwrap();
        let app = Connection::open(dir.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA synchronous=OFF").unwrap();
        let store = store_of(&sound);
        Bench { dir, secrets: secrets.clone(), store, app, references: seqs.clone() }
    };
    let bench = fresh();
    let counting = Arc::new(FaultStore::counting(Arc::new(bench.store.clone())));
    run(&bench, counting.clone()).1.unwrap();
    let operations = counting.operations();
    assert!(operations > 12, "{operations}");

    let mut failed = 0;
    for (k, fault) in (0..operations).flat_map(|k| FAULTS.map(|fault| (k, fault))) {
        let what = format!("{request:?}, {fault:?} at {k}");
        let mut bench = fresh();
        let store = FaultStore::new(Arc::new(bench.store.clone()), k, fault);
        let (announced, outcome) = run(&bench, Arc::new(store));
        failed += u64::from(outcome.is_err());
        let slots = bench.slots();
        if outcome.is_ok() {
            assert_eq!(slots.len(), kept.len(), "{what}");
        }
        let open: &[Secret] = if announced { &kept } else { &before };
        if !announced && fault != Fault::Dead {
            assert_eq!(slots.len(), before.len(), "{what}: nothing stays");
        }
        bench.all_open_everything(open, &what);
        // Once more, as people do.
        let rotated = run(&bench, Arc::new(bench.store.clone())).1;
        let rotated = rotated.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let mut slots = bench.slots();
        slots.sort_unstable();
        assert_eq!(slots, rotated.added, "{what}: no slot too many");
        assert_eq!(slots.len(), kept.len(), "{what}");
        bench.all_open_everything(&kept, &what);
        assert_eq!(bench.back_up(&secrets.file), rotated.key, "{what}");
    }
    assert!(failed > operations, "only {failed} rotations failed");
}

#[test]
fn a_rotation_of_all_keys_survives_every_fault() {
    every_fault(Request::Everybody);
}

#[test]
fn a_rotation_with_a_new_recovery_key_survives_every_fault() {
    every_fault(Request::NewRecovery);
}

#[test]
fn a_rotation_that_removes_keys_survives_every_fault() {
    every_fault(Request::OnlyFile);
}

/// Runs a rotation of all keys, and something else right before its operation `k`; whether that came to happen.
fn interrupted_by(
    bench: &Bench,
    k: u64,
    event: impl FnOnce() + Send + 'static,
) -> (Result<Rotated>, bool) {
    let pending = Arc::new(Mutex::new(Some(event)));
    let (due, done) = (pending.clone(), AtomicU64::new(0));
    let store = Hooked::with_event(Arc::new(bench.store.clone()), move |_, _| {
        if done.fetch_add(1, Ordering::SeqCst) == k {
            let event = due.lock().unwrap().take();
            event.into_iter().for_each(|event| event());
        }
    });
    let outcome = bench
        .through(Arc::new(store), &bench.secrets.file)
        .and_then(|repository| rotate(&repository, &bench.secrets.all()));
    let happened = pending.lock().unwrap().is_none();
    (outcome, happened)
}

#[test]
fn no_slot_goes_before_its_successor_was_read_back() {
    let mut bench = Bench::new();
    let secrets = bench.secrets.clone();
    let before = bench.slots();
    let store = Hooked::new(Arc::new(bench.store.clone()), |op, _| match op {
        Op::Create(bytes) => {
            let mut other = bytes.to_vec();
            other[200] ^= 1;
            Fate::Garble(other)
        }
        _ => Fate::PassOn,
    });
    let repository = bench.through(Arc::new(store), &secrets.file).unwrap();
    let e = rotate(&repository, &secrets.all()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Damaged, "{e:?}");
    assert!(before.iter().all(|id| bench.slots().contains(id)));
    let kept = secrets.all().map(|(secret, _)| secret.clone());
    bench.all_open_everything(&kept, "garbled slots");
    let options =
        RotateOptions { secrets: &secrets.all(), new_recovery: None, remove_others: true };
    bench.open(&secrets.file).rotate(&options).unwrap().complete().unwrap();
    assert_eq!(bench.slots().len(), 3);
}

/// At every operation of a rotation another one runs, or the first half of one, and whoever has it stores something.
#[test]
fn of_two_rotations_that_race_neither_loses_a_key() {
    let mut busy = [0, 0];
    for whole in [true, false] {
        for k in 0.. {
            let what = format!("another at {k}, whole: {whole}");
            let bench = Bench::new();
            let (secrets, store) = (bench.secrets.clone(), bench.store.clone());
            let state = bench.dir.path().join("state");
            let bench = Arc::new(Mutex::new(bench));
            let shared = bench.clone();
            let other: Arc<Mutex<Option<Result<()>>>> = Arc::default();
            let result = other.clone();
            let event = move || {
                let open = |secret| {
                    Repository::open(
                        Arc::new(store.clone()),
                        secret,
                        &RepositoryOptions::new(&state),
                    )
                    .unwrap()
                };
                let all = secrets.all();
                let options = RotateOptions { secrets: &all, ..Default::default() };
                let outcome = open(&secrets.words).rotate(&options);
                let outcome = outcome.and_then(|rotation| match whole {
                    true => rotation.complete().map(|_| ()),
                    false => Ok(()),
                });
                *result.lock().unwrap() = Some(outcome);
                // Under the key that is the newest now.
                shared.lock().unwrap().back_up(&secrets.words);
            };
            // The lock is free while the rotation runs: it needs none of what changes.
            let view = {
                let bench = bench.lock().unwrap();
                Bench {
                    dir: quick_dir(),
                    secrets: bench.secrets.clone(),
                    store: bench.store.clone(),
                    app: Connection::open_in_memory().unwrap(),
                    references: BTreeMap::new(),
                }
            };
            let (outcome, happened) = interrupted_by(&view, k, event);
            if !happened {
                assert!(k > 15 && outcome.is_ok());
                break;
            }
            let mut bench = bench.lock().unwrap();
            other.lock().unwrap().take().unwrap().unwrap_or_else(|e| panic!("{what}: {e:?}"));
            match outcome {
                // Both did well, so one after the other, and nothing is left of the first.
                Ok(_) => assert!(!whole || bench.slots().len() == 3, "{what}"),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Busy, "{what}: {e:?}");
                    busy[usize::from(whole)] += 1;
                }
            }
            let kept = bench.secrets.all().map(|(secret, _)| secret.clone());
            bench.all_open_everything(&kept, &what);
            let secrets = bench.secrets.clone();
            let rotated = rotate(&bench.open(&secrets.file), &secrets.all()).unwrap();
            let mut slots = bench.slots();
            slots.sort_unstable();
            assert_eq!(slots, rotated.added, "{what}");
            bench.all_open_everything(&kept, &what);
        }
    }
    assert!(busy.iter().all(|n| *n > 3), "{busy:?}");
}

/// A key that is added or removed while others rotate is not overlooked.
#[test]
fn a_key_added_during_a_rotation_opens_everything_or_is_refused() {
    for k in 0.. {
        let mut bench = Bench::new();
        let secrets = bench.secrets.clone();
        let spare = Secret::new_recovery().unwrap();
        // It was opened before the rotation began.
        let early = bench.open(&secrets.words);
        let added = Arc::new(Mutex::new(None));
        let (result, secret) = (added.clone(), spare.clone());
        let event = move || *result.lock().unwrap() = Some(early.add_slot(&secret, "spare", CHEAP));
        let (outcome, happened) = interrupted_by(&bench, k, event);
        if !happened {
            assert!(k > 15 && outcome.is_ok());
            break;
        }
        let added = added.lock().unwrap().take().unwrap();
        let what = format!("at {k}: {added:?}, {outcome:?}");
        let mut kept = secrets.all().map(|(secret, _)| secret.clone()).to_vec();
        match (&added, &outcome) {
            (Ok(_), Err(e)) => {
                // Before the rotation began it is a key that was not given.
                assert!(matches!(e.kind(), ErrorKind::Busy | ErrorKind::Refused), "{what}");
                kept.push(spare);
            }
            (Err(e), Ok(_)) => assert_eq!(e.kind(), ErrorKind::WrongKey, "{what}"),
            _ => panic!("{what}"),
        }
        bench.all_open_everything(&kept, &what);
    }
}

#[test]
fn rotations_from_several_threads_leave_every_key_working() {
    for _ in 0..20 {
        let mut bench = Bench::new();
        let secrets = bench.secrets.clone();
        let (barrier, store) = (Barrier::new(3), bench.store.clone());
        let state = bench.dir.path().join("state");
        let outcomes: Vec<Result<Rotated>> = std::thread::scope(|scope| {
            let rotating: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let store = Arc::new(store.clone());
                        Repository::open(store, &secrets.file, &RepositoryOptions::new(&state))
                            .and_then(|repository| rotate(&repository, &secrets.all()))
                    })
                })
                .collect();
            rotating.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for e in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(e.kind(), ErrorKind::Busy, "{e:?}");
        }
        let kept = secrets.all().map(|(secret, _)| secret.clone());
        bench.all_open_everything(&kept, "threads");
        let rotated = rotate(&bench.open(&secrets.file), &secrets.all()).unwrap();
        assert_eq!(bench.slots().len(), 3);
        assert_eq!(bench.back_up(&secrets.words), rotated.key);
    }
}
