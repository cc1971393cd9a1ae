//! A repository that is opened with a clock stores no other time than that clock's, whatever is
//! done with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::capture::follow::FollowOptions;
use crate::format::about::About;
use crate::format::expiry::Expiry;
use crate::format::hold::HoldRecord;
use crate::format::names;
use crate::format::proof::{Level, Proof};
use crate::format::record::Record;
use crate::format::repository::RepositoryObject;
use crate::format::slot::{KdfParams, SlotObject};
use crate::format::snapshot::SnapshotRecord;
use crate::format::writer::WriterClaim;
use crate::format::{ObjectKind, SealedPrefix};
use crate::ops::backup::BackupOptions;
use crate::ops::copy::CopyOptions;
use crate::ops::follow::WatchOptions;
use crate::ops::prune::PruneOptions;
use crate::ops::verify::VerifyOptions;
use crate::policy::retention::{Policy, Zone};
use crate::progress::Silent;
use crate::repo::history::expired::Expired;
use crate::repo::history::handle::History;
use crate::repo::keys::rotate::RotateOptions;
use crate::repo::keys::secret::Secret;
use crate::repo::write::term::{Claim, PRUNE};
use crate::repo::{Repository, RepositoryOptions, last_run_here};
use crate::store::{MemoryStore, Store};
use crate::types::{Clock, Seq, Timestamp};

/// 2031-05-17T03:33:20Z.
const MOMENT: Timestamp = Timestamp(1_936_755_200_000_000);

const PATIENCE: Duration = Duration::from_secs(60);

/// A repository in memory, which says with each object when it was created.
struct Site {
    dir: tempfile::TempDir,
    store: MemoryStore,
    secret: Secret,
    repository: Repository,
}

impl Site {
    fn new() -> Self {
        let (dir, secret) = (tempfile::tempdir().unwrap(), Secret::new_recovery().unwrap());
        let clock = Clock::new(|| MOMENT);
        let store = MemoryStore::with_clock(clock.clone());
        let options = RepositoryOptions::new(dir.path().join("state")).clock(clock).threads(1);
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let (shared, keys) = (Arc::new(store.clone()), [(&secret, "")]);
        let repository = Repository::init(shared, &keys, kdf, &options).unwrap();
        Self { dir, store, secret, repository }
    }

    /// How many objects of each kind there are that say a time; that it is the moment, each.
    fn times(&self, what: &str) -> BTreeMap<&'static str, usize> {
        let mut seen = BTreeMap::new();
        let histories = self.repository.histories().unwrap();
        let mut prefixes: Vec<String> = histories.iter().map(|h| h.names().all()).collect();
        prefixes.push(names::KEYS.to_owned());
        let listed = prefixes.iter().flat_map(|prefix| self.store.list(prefix).unwrap());
        let objects = listed.map(|entry| entry.name).chain([names::REPOSITORY.to_owned()]);
        for name in objects {
            let bytes = self.store.get(&name, u64::MAX).unwrap().unwrap();
            let (kind, times) = self.times_of(&name, &bytes);
            for time in times {
                assert_eq!(time, MOMENT, "{what}: {name}");
            }
            *seen.entry(kind).or_default() += 1;
        }
        assert_eq!(self.repository.created(), MOMENT);
        // A key of a rotation is later than the one before it, whatever the clock says.
        let key = self.repository.newest_key().unwrap().created;
        assert!((0..=1).contains(&(key.0 - MOMENT.0)), "{what}: the key is of {key}");
        seen
    }

    fn times_of(&self, name: &str, bytes: &[u8]) -> (&'static str, Vec<Timestamp>) {
        if name == names::REPOSITORY {
            return ("repository", vec![RepositoryObject::decode(bytes).unwrap().created]);
        }
        if names::parse_slot(name).is_some() {
            return ("slot", vec![SlotObject::decode(bytes).unwrap().front.created]);
        }
        let is_of = |kind: &ObjectKind| SealedPrefix::decode(bytes, *kind, usize::MAX).is_ok();
        match ObjectKind::ALL.into_iter().find(is_of) {
            Some(ObjectKind::About) => ("about", vec![self.record::<About>(name).created]),
            Some(ObjectKind::Writer) => ("claim", vec![self.record::<WriterClaim>(name).since]),
            Some(ObjectKind::Snapshot) => ("label", vec![self.record::<SnapshotRecord>(name).time]),
            Some(ObjectKind::Proof) => ("proof", vec![self.record::<Proof>(name).started]),
            Some(ObjectKind::Hold) => ("hold", vec![self.record::<HoldRecord>(name).time]),
            Some(ObjectKind::Expiry) => ("expiry", vec![self.record::<Expiry>(name).time]),
            Some(ObjectKind::Segment) => ("segment", self.commit_times()),
            Some(ObjectKind::Head) => ("head", Vec::new()),
            other => panic!("{name} is of kind {other:?}, whose times nobody looks at"),
        }
    }

    fn record<R: Record>(&self, name: &str) -> R {
        self.repository.read_record::<R>(name).unwrap().unwrap().1
    }

    fn commit_times(&self) -> Vec<Timestamp> {
        let chain = self.repository.history("app").unwrap().chain().unwrap();
        chain.segments().iter().flat_map(|s| s.manifest.states()).map(|c| c.time).collect()
    }
}

fn change(path: &Path, n: i64) {
    let app = Connection::open(path).unwrap();
    app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(x)").unwrap();
    app.execute("INSERT INTO t VALUES(?1)", [n]).unwrap();
}

fn backed_up(site: &Site, path: &Path, n: i64) -> History {
    change(path, n);
    let options = BackupOptions::default().label(format!("number {n}"));
    site.repository.backup(path, &options, &Silent).unwrap().history
}

#[test]
fn what_is_stored_has_no_time_but_that_of_the_clock_it_was_opened_with() {
    let site = Site::new();
    let path = site.dir.path().join("app.db");
    let mut history = None;
    for n in 0..4 {
        history = Some(backed_up(&site, &path, n));
    }
    let history = history.unwrap();
    assert_eq!(last_run_here(&history).unwrap(), Some(MOMENT));
    site.times("after backups");

    let point = history.point(Seq(2)).unwrap();
    let hold = history.add_hold(Seq(2), "audit").unwrap();
    assert_eq!(hold.time, MOMENT);
    assert_eq!(point.label("again").unwrap().time, MOMENT);
    let label = history.snapshots().unwrap().into_iter().find(|s| s.seq == Seq(1)).unwrap();
    history.remove_snapshot(&label).unwrap();
    history.remove_hold(&hold).unwrap();
    let verify = VerifyOptions::new(Level::Data, site.dir.path());
    history.verify(None, &verify, &Silent).unwrap();
    site.times("after marks and a proof");

    // What a prune announces before it decides.
    let claim = Claim::take(&history, PRUNE).unwrap();
    let at = (claim.term, history.repository().now());
    let announced = [(Seq(1), true), (Seq(2), false)].into_iter();
    let announced = Expired::announce(&history, at, announced, &[]).unwrap();
    assert!(site.times("announced").contains_key("expiry"));
    announced.take_back(&history).unwrap();
    let policy = Policy { last: 1, ..Policy::default() };
    let prune = PruneOptions::new(policy, Zone::Utc).deleted(Duration::ZERO).grace(Duration::ZERO);
    let report = history.prune(&prune, &Silent).unwrap();
    assert!(report.dropped.iter().any(|dropped| dropped.seq == Seq(1)), "{report:?}");

    let follow = FollowOptions { interval: Duration::ZERO, ..FollowOptions::default() };
    let watch = WatchOptions { follow, ..WatchOptions::default() };
    let (_, follower) = site.repository.follow(&path, watch, Arc::new(Silent)).unwrap();
    change(&path, 9);
    follower.wait_durable(PATIENCE).unwrap();
    site.times("followed");
    follower.stop().unwrap();

    let keys = [(&site.secret, "")];
    let rotate = RotateOptions { secrets: &keys, ..RotateOptions::default() };
    site.repository.rotate(&rotate).unwrap().complete().unwrap();
    let seen = site.times("in the end");
    for kind in
        ["repository", "slot", "about", "claim", "label", "hold", "proof", "expiry", "segment"]
    {
        assert!(seen.contains_key(kind), "nothing of kind {kind} was looked at: {seen:?}");
    }
}

#[test]
fn a_copy_has_the_time_of_the_clock_that_it_was_opened_with() {
    let (from, to) = (Site::new(), Site::new());
    let history = backed_up(&from, &from.dir.path().join("app.db"), 1);
    history.add_hold(Seq(1), "audit").unwrap();
    history.copy_to(&to.repository, &CopyOptions::default(), &Silent).unwrap();
    let seen = to.times("the copy");
    assert!(seen.contains_key("claim") && seen.contains_key("segment"), "{seen:?}");
}
