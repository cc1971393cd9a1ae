//! The machine loses its power in the middle of anything that writes to a repository on a local
//! disk: after any file operation, with what was not synced there, gone or torn. Everything that
//! was promised at that moment restores, and the next run goes on.

mod following;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::capture::marks::settle;
use crate::chance::Random;
use crate::error::Result;
use crate::format::slot::KdfParams;
use crate::format::snapshot::SnapshotKind;
use crate::ops::copy::CopyOptions;
use crate::ops::repair::{RepairOptions, RepairReport};
use crate::ops::trial::Bench;
use crate::policy::mark::LASTS;
use crate::policy::retention::Policy;
use crate::progress::Silent;
use crate::repo::history::labels::Snapshot;
use crate::repo::keys::rotate::RotateOptions;
use crate::repo::keys::secret::Secret;
use crate::repo::merge::compaction;
use crate::repo::write::term::Claim;
use crate::repo::write::writer::Writer;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::LocalStore;
use crate::store::testing::power::{Fate, Files, Journal, files, lay_out};
use crate::types::{Seq, Timestamp};

const FATES: [Fate; 4] = [Fate::Kept, Fate::Lost, Fate::Half, Fate::Zeros];

/// How many different runs to try.
fn cases() -> u64 {
    std::env::var("PAGEKEEP_OUTAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The restore points that were promised after so many operations: of the original, and of the
/// copy.
struct Promise {
    at: usize,
    points: [BTreeSet<Seq>; 2],
}

/// A database, and two repositories on a disk with a journal.
struct Site {
    bench: Bench,
    journal: Journal,
    secret: Secret,
    promises: Vec<Promise>,
    points: [BTreeSet<Seq>; 2],
}

impl Site {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::with_page_size(seed, 1024);
        let journal = Journal::beside(&bench.dir.path().join("machine"));
        let secret = Secret::new_recovery().unwrap();
        for place in ["copy", "original"] {
            std::fs::create_dir(bench.dir.path().join(place)).unwrap();
            let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
            let store = LocalStore::on(Arc::new(journal.clone()), bench.dir.path().join(place));
            let machine = bench.machine("machine");
            let repository =
                Repository::init(Arc::new(store.unwrap()), &[(&secret, "")], kdf, &machine)
                    .unwrap();
            if place == "original" {
                bench.history = repository.create_history("app", "app.db").unwrap();
            }
        }
        let mut site =
            Self { bench, journal, secret, promises: Vec::new(), points: Default::default() };
        site.promise();
        site
    }

    fn promise(&mut self) {
        let at = self.journal.len();
        self.promises.push(Promise { at, points: self.points.clone() });
    }

    /// Opens a repository of the site as it is on the disk.
    fn open(&self, place: &str) -> Repository {
        let store =
            LocalStore::on(Arc::new(self.journal.clone()), self.bench.dir.path().join(place));
        let machine = self.bench.machine("machine");
        Repository::open(Arc::new(store.unwrap()), &self.secret, &machine).unwrap()
    }

    fn commit(&mut self) -> Seq {
        now(&self.bench);
        let seq = self.bench.commit();
        self.points[0].insert(seq);
        self.promise();
        seq
    }

    /// A migration; the state before is marked, or the one before an earlier upheaval.
    fn migrate(&mut self) {
        now(&self.bench);
        self.bench.app.execute_batch("ALTER TABLE t ADD COLUMN y").unwrap();
        let seq = self.bench.capture();
        self.points[0].insert(seq);
        self.promise();
        let mut writer = Writer::open(&self.bench.history, "backup").unwrap();
        let marked = settle(&mut writer, Some(LASTS), &Silent).unwrap();
        assert!(!marked.given.is_empty() && marked.gone.is_empty(), "{marked:?}");
        self.promise();
    }

    /// As another process does.
    fn reopen(&mut self) {
        self.bench.history = self.open("original").history("app").unwrap();
    }

    fn try_prune(&mut self, last: u32) -> Result<()> {
        now(&self.bench);
        let options = self.bench.options(Policy { last, ..Policy::default() });
        let report = self.bench.history.prune(&options, &Silent)?;
        self.points[0] = report.kept.iter().map(|kept| kept.seq).collect();
        Ok(())
    }

    fn prune(&mut self, last: u32) {
        self.try_prune(last).unwrap();
        self.promise();
    }

    fn try_copy(&mut self) -> Result<()> {
        let to = self.open("copy");
        let options = CopyOptions::default();
        self.bench.history.copy_to(&to, &options, &Silent)?;
        let chain = to.history("app")?.chain()?;
        self.points[1] = chain.commits().map(|c| c.seq).collect();
        Ok(())
    }

    fn copy(&mut self) {
        self.try_copy().unwrap();
        self.promise();
    }

    fn try_rotate(&mut self) -> Result<()> {
        let secrets = [(&self.secret, "the key")];
        let options = RotateOptions { secrets: &secrets, ..Default::default() };
        self.bench.history.repository().rotate(&options)?.complete()?;
        Ok(())
    }

    /// What must be there after so many operations, and what may be.
    fn promised(&self, k: usize, which: usize) -> (BTreeSet<Seq>, BTreeSet<Seq>) {
        let last = self.promises.iter().rposition(|p| p.at <= k).unwrap();
        let before = &self.promises[last].points[which];
        let after = &self.promises.get(last + 1).unwrap_or(&self.promises[last]).points[which];
        (before & after, before | after)
    }
}

/// The trial's clock follows the disk's.
fn now(bench: &Bench) {
    bench.time.store(Timestamp::now().0, std::sync::atomic::Ordering::Relaxed);
}

fn mend(bench: &Bench, apply: bool) -> Result<RepairReport> {
    let options = RepairOptions { apply, data: true, adopt: false };
    bench.history.repair(None, &options, &Silent)
}

/// Everything that writes to a repository, once and again.
fn everything(seed: u64) -> Site {
    let mut site = Site::new(seed);
    site.bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(1100000))").unwrap();
    let first = site.commit();
    for _ in 0..3 {
        site.commit();
    }
    site.bench.history.add_snapshot(first, "the first", SnapshotKind::Manual).unwrap();
    let held = site.commit();
    let hold = site.bench.history.add_hold(held, "audit").unwrap();
    site.copy();
    site.commit();
    site.migrate();
    site.prune(2);
    let marks = |label: &Snapshot| label.until.is_some();
    let marked = site.bench.history.snapshots().unwrap().into_iter().find(marks).unwrap().seq;
    assert!(site.points[0].contains(&marked), "a prune keeps it");
    site.try_rotate().unwrap();
    site.promise();
    site.reopen();
    site.bench.app.execute_batch("DELETE FROM t WHERE length(x)>1000000").unwrap();
    for _ in 0..8 {
        site.commit();
    }
    let claim = Claim::take(&site.bench.history, "backup").unwrap();
    now(&site.bench);
    compaction::run(&site.bench.history, claim, &Silent).unwrap();
    site.promise();
    site.copy();
    site.bench.history.rewrite(&Silent).unwrap();
    site.promise();
    site.bench.history.remove_hold(&hold).unwrap();
    site.prune(5);
    site.commit();
    site.copy();
    site.prune(1);
    site
}

/// The disk after a loss of power, in a place of its own, and the machine's state in one of the
/// ways that it may be in.
fn aftermath(site: &Site, k: usize, random: &mut Random) -> tempfile::TempDir {
    let ways = random.below(3);
    let left = site.journal.outage(k, || match ways {
        0 => Fate::Lost,
        1 => FATES[random.below(2)],
        _ => FATES[random.below(4)],
    });
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    lay_out(&left, site.bench.dir.path(), place.path());
    let machine = site.bench.dir.path().join("machine");
    let mut moments: Vec<Files> = site.journal.moments(k);
    let newest = moments.pop().unwrap_or_default();
    match random.below(4) {
        // Another machine.
        0 => {}
        1 => lay_out(&newest, &machine, &place.path().join("machine")),
        2 => {
            moments.push(newest);
            let some = &moments[random.below(moments.len())];
            lay_out(some, &machine, &place.path().join("machine"));
        }
        _ => {
            lay_out(&newest, &machine, &place.path().join("machine"));
            for (path, mut bytes) in files(&place.path().join("machine")) {
                match random.below(4) {
                    0 => std::fs::remove_file(path).unwrap(),
                    1 => std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
                    2 => {
                        bytes.fill(0);
                        std::fs::write(path, bytes).unwrap();
                    }
                    _ => {}
                }
            }
        }
    }
    place
}

fn reopen(place: &tempfile::TempDir, name: &str, secret: &Secret) -> Repository {
    let store = Arc::new(LocalStore::open(place.path().join(name)).unwrap());
    Repository::open(
        store,
        secret,
        &RepositoryOptions::new(place.path().join("machine")).threads(1),
    )
    .unwrap()
}

/// What was promised restores, nothing else is shown, and what comes next does as if nothing had
/// happened.
fn goes_on(site: &mut Site, k: usize, random: &mut Random, what: &str) {
    let place = aftermath(site, k, random);
    let before = site.bench.history.clone();
    let expected = site.bench.expected.clone();
    if k >= site.promises[1].at {
        check_copy(site, &place, k, what);
    }
    site.bench.history = reopen(&place, "original", &site.secret).history("app").unwrap();
    let found = site.bench.check(what);
    let (must, may) = site.promised(k, 0);
    assert!(must.is_subset(&found), "{what}: {found:?} lacks some of {must:?}");
    assert!(found.is_subset(&may), "{what}: {found:?} has more than {may:?}");
    now(&site.bench);
    site.bench.app.execute_batch("INSERT INTO t(x) VALUES('after the outage')").unwrap();
    let next = site.bench.capture();
    let all = Policy { last: 1000, ..Policy::default() };
    site.bench
        .history
        .prune(&site.bench.options(all.clone()), &Silent)
        .unwrap_or_else(|e| panic!("{what}: {e:?}"));
    let mut wanted = found;
    wanted.insert(next);
    assert_eq!(site.bench.check(what), wanted, "{what}");
    // What was under way is cleaned up once it is old.
    age(place.path());
    site.bench.history.prune(&site.bench.options(all), &Silent).unwrap();
    site.bench.no_orphans(what);
    no_leftovers(&place.path().join("original"), what);
    site.bench.verify(what);
    (site.bench.history, site.bench.expected) = (before, expected);
}

/// The copy has what it was said to have, and can be gone on with.
fn check_copy(site: &mut Site, place: &tempfile::TempDir, k: usize, what: &str) {
    let what = format!("{what}, the copy");
    let repository = reopen(place, "copy", &site.secret);
    let (must, may) = site.promised(k, 1);
    let original = site.bench.history.clone();
    match repository.history("app") {
        Ok(history) => site.bench.history = history,
        Err(e) => {
            assert!(must.is_empty(), "{what}: {e:?}");
            return;
        }
    }
    let found = site.bench.check(&what);
    assert!(must.is_subset(&found), "{what}: {found:?} lacks some of {must:?}");
    assert!(found.is_subset(&may), "{what}: {found:?} has more than {may:?}");
    site.bench.history = original;
}

/// Sets all files back, so that they are old.
fn age(dir: &std::path::Path) {
    let then = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    for path in files(dir).into_keys() {
        std::fs::File::open(path).unwrap().set_modified(then).unwrap();
    }
}

fn no_leftovers(dir: &std::path::Path, what: &str) {
    for path in files(dir).into_keys() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.starts_with('.'), "{what}: {name} was left behind");
    }
}

#[test]
fn whatever_was_promised_when_the_power_went_restores() {
    for seed in 0..cases() {
        let mut site = everything(seed + 11);
        let mut random = Random::new(seed);
        let (begin, end) = (site.promises[0].at, site.journal.len());
        assert!(end - begin > 300, "{}", end - begin);
        let mut k = begin;
        while k <= end {
            let what = format!("seed {seed}, power lost after {k} of {end}");
            goes_on(&mut site, k, &mut random, &what);
            k += 1 + random.below(7);
        }
    }
}

/// What a process does.
type Act = fn(&mut Site) -> Result<()>;

const ACTS: [(&str, Act); 4] = [
    ("backup", |site| {
        let seq = site.bench.try_capture()?;
        site.points[0].insert(seq);
        Ok(())
    }),
    ("prune", |site| site.try_prune(2)),
    ("copy", |site| site.try_copy()),
    ("rotate", |site| site.try_rotate()),
];

/// A process is killed, another one does the same to its end and tells so, and only then the power
/// goes.
#[test]
fn whatever_was_told_after_a_kill_survives_a_loss_of_power() {
    for (name, act) in ACTS {
        let mut kills = 0;
        for operations in 0.. {
            let mut site = Site::new(5);
            for _ in 0..4 {
                site.commit();
            }
            site.copy();
            site.commit();
            site.bench.app.execute_batch("INSERT INTO t(x) VALUES(zeroblob(5000))").unwrap();
            site.journal.die_after(operations);
            let killed = act(&mut site);
            site.journal.revive();
            site.reopen();
            act(&mut site).unwrap_or_else(|e| panic!("{name}, killed after {operations}: {e:?}"));
            site.promise();
            let mut random = Random::new(operations as u64);
            let end = site.journal.len();
            for outage in 0..6 {
                let what = format!("{name}, killed after {operations}, outage {outage}");
                goes_on(&mut site, end, &mut random, &what);
            }
            if killed.is_ok() {
                break;
            }
            kills += 1;
        }
        assert!(kills >= 4, "{name}: {kills}");
    }
}

#[test]
fn a_repair_whose_power_went_is_finished_by_the_next() {
    let mut site = Site::new(7);
    site.bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(1100000))").unwrap();
    for _ in 0..6 {
        site.bench.app.execute_batch("INSERT INTO t(x) VALUES(randomblob(3000))").unwrap();
        site.commit();
    }
    let chain = site.bench.history.chain().unwrap();
    let original = site.bench.dir.path().join("original");
    let label = site.bench.history.add_snapshot(Seq(2), "a label", SnapshotKind::Manual).unwrap();
    let names = site.bench.history.names();
    for name in [chain.segments()[3].name(), &names.snapshot(label.seq, label.id)] {
        let flip = |bytes: &mut Vec<u8>| {
            let last = bytes.len() - 20;
            bytes[last] ^= 1;
        };
        site.journal.damage(&original.join(name), flip);
    }
    let dry = mend(&site.bench, false).unwrap();
    assert!(dry.faults.len() >= 2 && !dry.lost.is_empty(), "{dry:?}");
    let begin = site.journal.len();
    let report = mend(&site.bench, true).unwrap();
    assert_eq!(report.restorable, dry.restorable);
    let end = site.journal.len();
    assert!(end - begin > 20, "{}", end - begin);
    let mut random = Random::new(3);
    for k in begin..=end {
        let what = format!("power lost after {k} of {begin} to {end}");
        let place = aftermath(&site, k, &mut random);
        let before = site.bench.history.clone();
        site.bench.history = reopen(&place, "original", &site.secret).history("app").unwrap();
        let again = mend(&site.bench, true).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(again.restorable, dry.restorable, "{what}");
        assert_eq!(site.bench.check(&what), dry.restorable, "{what}");
        assert!(mend(&site.bench, false).unwrap().is_sound(), "{what}");
        site.bench.verify(&what);
        site.bench.history = before;
    }
}
