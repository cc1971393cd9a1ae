//! A small repository with an object of every kind, for the damage matrix; all that is known about it; and a look at all
//! that can be seen of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pagekeep::Error;
use pagekeep::internals::format::proof::{Level, Proof};
use pagekeep::internals::format::segment::SegmentKind;
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::write::term::newest_claim;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::MemoryStore;
use pagekeep::internals::types::{Seq, Timestamp};
use rusqlite::Connection;

use super::twins::{Twins, set};
use super::{CHEAP, keep_last, noise, objects, quick_dir, reference, restored_raw};

pub type Objects = BTreeMap<String, Vec<u8>>;

/// A repository to damage, and all that is known about it.
pub struct Exhibit {
    pub objects: Objects,
    pub roles: BTreeMap<String, Role>,
    /// What the commits of each history restore to, by its name.
    pub references: BTreeMap<String, Vec<Vec<u8>>>,
    /// The restore points of each history.
    pub points: BTreeMap<String, Vec<u64>>,
    /// Commits of each that expired, and that a segment on the chain has still.
    pub expired: BTreeMap<String, Vec<u64>>,
}

/// What an object is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Repository,
    UsedSlot,
    OtherSlot,
    /// One of the two copies of a description.
    About {
        history: String,
    },
    Writer {
        history: String,
        newest: bool,
    },
    /// A sign of life, which nobody reads but a second follower.
    Sign {
        history: String,
    },
    /// A head that a writer builds on, which nobody reads but those who delete.
    Head {
        history: String,
    },
    /// On the chain. Its first commit, the name of its child, where its inline data begins, and whether what it covers is
    /// there still.
    Segment {
        history: String,
        seq: u64,
        child: Option<String>,
        data_at: usize,
        stands_in: bool,
    },
    /// A segment that a merged one stands in for.
    Covered {
        history: String,
    },
    Part {
        history: String,
        seq: u64,
    },
    Snapshot {
        history: String,
    },
    Proof {
        history: String,
    },
    Hold {
        history: String,
    },
    Expiry {
        history: String,
    },
}

impl Role {
    pub fn history(&self) -> Option<&str> {
        match self {
            Self::About { history }
            | Self::Writer { history, .. }
            | Self::Sign { history }
            | Self::Head { history }
            | Self::Segment { history, .. }
            | Self::Covered { history }
            | Self::Part { history, .. }
            | Self::Snapshot { history }
            | Self::Proof { history }
            | Self::Hold { history }
            | Self::Expiry { history } => Some(history),
            Self::Repository | Self::UsedSlot | Self::OtherSlot => None,
        }
    }

    /// Slots are one kind of object, whoever uses them.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Repository => 1,
            Self::UsedSlot | Self::OtherSlot => 2,
            Self::About { .. } => 3,
            Self::Writer { .. } | Self::Sign { .. } => 4,
            Self::Head { .. } => 11,
            Self::Segment { .. } | Self::Covered { .. } => 5,
            Self::Part { .. } => 6,
            Self::Snapshot { .. } => 7,
            Self::Proof { .. } => 8,
            Self::Hold { .. } => 9,
            Self::Expiry { .. } => 10,
        }
    }
}

fn work(db: &Connection, history: &str, step: u64) {
    // Text that compresses well keeps the objects small; a little noise makes each version its own.
    let insert = |id: u64, seed: u64, len: usize| {
        let mut x = noise(seed, 40);
        x.resize(len, b'a' + u8::try_from(step).unwrap());
        db.execute("INSERT OR REPLACE INTO t VALUES(?1, ?2)", (id.cast_signed(), x)).unwrap();
    };
    match (history, step) {
        ("small", 1) => (1..=20).for_each(|id| insert(id, id, 300)),
        ("small", _) => insert(step, 100 + step, 300),
        // More pages than an index block lists: such a segment has parts.
        (_, 1) => (1..=530).for_each(|id| insert(id, id, 4000)),
        (_, 2) => insert(77, 1077, 4000),
        (_, _) => (1..=530).for_each(|id| insert(id, step * 1000 + id, 4100)),
    }
}

/// An exhibit, unless this machine paused while a database was followed for it.
fn build(secrets: &[(&Secret, &str)]) -> Option<Exhibit> {
    let dir = quick_dir();
    let store = MemoryStore::new();
    let state = dir.path().join("state");
    let init =
        Repository::init(Arc::new(store.clone()), secrets, CHEAP, &RepositoryOptions::new(&state));
    let repository = init.unwrap();
    let mut references = BTreeMap::new();
    for name in ["small", "large"] {
        let path = dir.path().join(format!("{name}.db"));
        let db = Connection::open(&path).unwrap();
        db.execute_batch(
            "PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x)",
        )
        .unwrap();
        let mut commits = Vec::new();
        for step in 1..=3 {
            work(&db, name, step);
            let mut options = BackupOptions::default();
            options.label = (step < 3).then(|| format!("label {step}"));
            let report = repository.backup(&path, &options, &Silent).unwrap();
            assert_eq!(report.seq.0, step);
            commits.push(reference(&path));
            report.history.add_proof(&proof(step)).unwrap();
            if step == 2 {
                report.history.remove_snapshot(&report.snapshot.unwrap()).unwrap();
                // A second term.
                std::fs::remove_dir_all(&state).unwrap();
            }
        }
        references.insert(name.to_owned(), commits);
    }
    references.insert("pruned".to_owned(), pruned(&repository, dir.path())?);
    let roles = roles(&repository);
    let objects = objects(&store);
    assert!(objects.keys().eq(roles.keys()), "every object has a role");
    let (mut points, mut expired) = (BTreeMap::new(), BTreeMap::new());
    for history in repository.histories().unwrap() {
        let chain = history.chain().unwrap();
        let name = history.name().to_owned();
        let seqs: Vec<u64> = chain.commits().map(|commit| commit.seq.0).collect();
        let states = chain.segments().iter().flat_map(|s| s.manifest.states());
        let gone = states.map(|c| c.seq.0).filter(|seq| !seqs.contains(seq)).collect();
        points.insert(name.clone(), seqs);
        expired.insert(name, gone);
    }
    Some(Exhibit { objects, roles, references, points, expired })
}

/// A history of segments with many commits that was pruned twice: first for good, then with what was replaced still there.
fn pruned(repository: &Repository, dir: &Path) -> Option<Vec<Vec<u8>>> {
    let mut twins = Twins::new(dir, "pruned", 512);
    let step = |n: u64, id: u64| set(id, n * 1000 + id, 300, 300);
    (1..=20).for_each(|id| twins.run(&step(1, id)));
    // Enough that stays, so that what changes is little beside it.
    (2001..=2003).for_each(|id| twins.run(&set(id, id, 4_500, 4_500)));
    // So much that a merge writes to parts; none of it stays.
    (1001..=1100).for_each(|id| twins.run(&set(id, id, 11_000, 11_000)));
    let history = twins.backup(repository).history;
    let mut steps = vec!["DELETE FROM t WHERE id BETWEEN 1001 AND 1999".to_owned()];
    let rows = [(3, 16), (4, 12), (5, 12), (6, 13), (7, 14), (8, 14), (9, 15)];
    steps.extend(rows.map(|(n, id)| step(n, id)));
    twins.follow(repository, &steps).then_some(())?;
    let both = format!("BEGIN; {}; {}; COMMIT", step(15, 10), step(15, 11));
    let rows = [(10, 10), (11, 10), (12, 11), (13, 3), (14, 2)];
    let mut steps = rows.map(|(n, id)| step(n, id)).to_vec();
    steps.push(both);
    twins.follow(repository, &steps).then_some(())?;
    let prune = |last: u32, grace: u64| {
        history.prune(&keep_last(last, Duration::from_secs(grace)), &Silent).unwrap()
    };
    history.add_hold(Seq(6), "audit").unwrap();
    let mistake = history.add_hold(Seq(4), "mistake").unwrap();
    history.remove_hold(&mistake).unwrap();
    assert_eq!(prune(6, 0).merges, 1);
    // Of these, 16 and 17 need versions that the next merge drops, and 19 needs none of them.
    let steps = [(16, 1), (17, 2), (18, 3), (19, 4), (20, 5)].map(|(n, id)| step(n, id));
    twins.follow(repository, &steps).then_some(())?;
    twins.run(&step(21, 6));
    twins.backup(repository);
    for seq in [12, 18, 20] {
        history.add_hold(Seq(seq), "audit").unwrap();
    }
    assert_eq!(prune(1, 3600).merges, 1);
    // What the matrix is meant to have: two sparse segments that carry a commit, a base with a part, of which nothing else is
    // left, and a delta beside what it covers; and segments of the log of whose commits some expired.
    let chain = history.chain().unwrap();
    let shape: Vec<_> = chain
        .segments()
        .iter()
        .map(|s| {
            let seqs: Vec<u64> = s.manifest.commits.iter().map(|c| c.seq.0).collect();
            (s.is_merged(), s.manifest.carries, s.manifest.parts.len(), seqs)
        })
        .collect();
    let expected = [
        (true, true, 1, vec![1]),
        (false, false, 0, (2..=9).collect()),
        (true, true, 0, vec![12, 15]),
        (false, false, 0, vec![16, 17, 18, 19, 20]),
        (false, false, 0, vec![21]),
    ];
    assert_eq!((&*shape, chain.strays()), (&expected[..], 1));
    let points: Vec<u64> = chain.commits().map(|commit| commit.seq.0).collect();
    assert_eq!(points, [6, 12, 18, 20, 21]);
    Some(twins.references)
}

fn proof(seq: u64) -> Proof {
    Proof {
        seq: Seq(seq),
        digest: Default::default(),
        started: Timestamp::now(),
        micros: 5,
        level: Level::Data,
        failure: None,
        coverage_ppm: 1_000_000,
        page_bytes: 512,
        assertions: 0,
        host: "host".into(),
    }
}

fn roles(repository: &Repository) -> BTreeMap<String, Role> {
    let mut roles = BTreeMap::from([("repository".to_owned(), Role::Repository)]);
    for slot in repository.slots().unwrap() {
        let role = if slot.current { Role::UsedSlot } else { Role::OtherSlot };
        roles.insert(format!("keys/{}", slot.id), role);
    }
    for history in repository.histories().unwrap() {
        roles_of(&history, &mut roles);
    }
    roles
}

fn roles_of(history: &History, roles: &mut BTreeMap<String, Role>) {
    let name = || history.name().to_owned();
    let prefix = format!("histories/{}", history.id());
    let store = history.repository().store();
    let below = |kind: &str| store.list(&format!("{prefix}/{kind}/")).unwrap();
    for about in ["about", "about-2"] {
        roles.insert(format!("{prefix}/{about}"), Role::About { history: name() });
    }
    let claims = below("writers");
    for (i, claim) in (1..).zip(&claims) {
        let newest = i == claims.len();
        roles.insert(claim.name.clone(), Role::Writer { history: name(), newest });
    }
    for sign in below("signs") {
        roles.insert(sign.name, Role::Sign { history: name() });
    }
    for head in below("heads") {
        roles.insert(head.name, Role::Head { history: name() });
    }
    let chain = history.chain().unwrap();
    let segments = chain.segments();
    for (i, segment) in segments.iter().enumerate() {
        let seq = segment.manifest.first.0;
        let bytes = store.get(segment.name(), u64::MAX).unwrap().unwrap();
        let body = u32::from_le_bytes(bytes[40..44].try_into().unwrap());
        let child = segments.get(i + 1).map(|child| child.name().to_owned());
        let data_at = 44 + body as usize;
        let stands_in = segment.is_merged() && segment.manifest.parts.is_empty();
        roles.insert(
            segment.name().to_owned(),
            Role::Segment { history: name(), seq, child, data_at, stands_in },
        );
        for part in below(&format!("data/{}", segment.reference.id)) {
            roles.insert(part.name, Role::Part { history: name(), seq });
        }
        assert_eq!(segment.manifest.kind == SegmentKind::Base, seq == 1);
        // What the matrix is meant to have: a base and a delta with parts, and both without.
        if history.name() != "pruned" {
            let parts = if history.name() == "large" && seq != 2 { 1 } else { 0 };
            assert_eq!(segment.manifest.parts.len(), parts, "{} {seq}", history.name());
        }
    }
    for stray in below("log") {
        roles.entry(stray.name).or_insert(Role::Covered { history: name() });
    }
    for hold in below("holds") {
        roles.insert(hold.name, Role::Hold { history: name() });
    }
    for expiry in below("expired") {
        roles.insert(expiry.name, Role::Expiry { history: name() });
    }
    for label in below("snapshots") {
        roles.insert(label.name, Role::Snapshot { history: name() });
    }
    for proof in below("proofs") {
        roles.insert(proof.name, Role::Proof { history: name() });
    }
}

/// Two repositories with the same keys.
pub struct Museum {
    pub secret: Secret,
    pub main: Exhibit,
    pub other: Exhibit,
}

pub fn museum() -> &'static Museum {
    static MUSEUM: OnceLock<Museum> = OnceLock::new();
    MUSEUM.get_or_init(|| {
        let dir = quick_dir();
        let secret = Secret::create_key_file(&dir.path().join("key")).unwrap();
        let recovery = Secret::new_recovery().unwrap();
        let passphrase = Secret::passphrase("correct horse".into()).unwrap();
        // The one under test opens with the key file: the first slot is the one in use while it is built.
        let secrets = [(&secret, "key file"), (&recovery, "recovery"), (&passphrase, "words")];
        let built = || (0..20).find_map(|_| build(&secrets)).unwrap();
        let (main, other) = (built(), built());
        Museum { secret, main, other }
    })
}

impl Exhibit {
    /// The name of the history that an object belongs to.
    pub fn history_of(&self, object: &str) -> String {
        let prefix = &object[..object.rfind('/').unwrap()];
        let mut below = self.roles.iter().filter(|(name, _)| name.starts_with(prefix));
        below.find_map(|(_, role)| role.history()).unwrap().to_owned()
    }

    /// The objects of one kind.
    pub fn of_kind(&self, kind: u8) -> impl Iterator<Item = &String> {
        self.roles.iter().filter(move |(_, role)| role.kind() == kind).map(|(name, _)| name)
    }
}

/// Where an error can show when everything is opened and restored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Open,
    Slots,
    Histories,
    /// One of the two copies of a description.
    Description(String),
    Claim(String),
    Labels(String),
    Proofs(String),
    Holds(String),
    Chain(String),
    Commit(String, u64),
}

/// What was found when everything was opened and restored.
#[derive(Debug, Default)]
pub struct View {
    pub errors: BTreeMap<Place, Error>,
    /// Slots that can't be read.
    pub bad_slots: Vec<String>,
    /// Commits that came back with the bytes that they should have, by history.
    pub restored: BTreeMap<String, Vec<u64>>,
    /// Segments that can't be read, and that nothing needs.
    pub unreadable: Vec<String>,
}

/// Which commits to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore<'a> {
    Nothing,
    History(&'a str),
    Everything,
}

impl Restore<'_> {
    pub fn includes(self, history: &str) -> bool {
        self == Self::Everything || self == Restore::History(history)
    }
}

/// Opens a store with nothing but the secret, looks at everything, and restores.
pub fn look(museum: &Museum, store: &MemoryStore, restore: Restore<'_>, dir: &Path) -> View {
    let mut view = View::default();
    let store = Arc::new(store.clone());
    // Nothing but the secret: what an earlier look saw does not count.
    let _ = std::fs::remove_dir_all(dir.join("state"));
    let opened =
        Repository::open(store, &museum.secret, &RepositoryOptions::new(dir.join("state")));
    let Some(repository) = view.keep(Place::Open, opened) else { return view };
    let slots = repository.slots().unwrap();
    let bad = slots.iter().filter(|slot| slot.front.is_err());
    view.bad_slots = bad.map(|slot| format!("keys/{}", slot.id)).collect();
    let histories = view.keep(Place::Histories, repository.histories()).unwrap_or_default();
    for history in histories {
        let name = history.name().to_owned();
        let copies = history.copies().unwrap();
        for e in copies.faults {
            view.errors.insert(Place::Description(name.clone()), e);
        }
        if copies.kept_once {
            let e = Error::damaged(format!("histories/{}/about-2", history.id()), "is missing");
            view.errors.insert(Place::Description(name.clone()), e);
        }
        view.keep(Place::Claim(name.clone()), newest_claim(&history));
        view.keep(Place::Labels(name.clone()), history.snapshots());
        view.keep(Place::Proofs(name.clone()), history.proofs());
        view.keep(Place::Holds(name.clone()), history.holds());
        let Some(chain) = view.keep(Place::Chain(name.clone()), history.chain()) else { continue };
        view.unreadable.extend_from_slice(chain.unreadable());
        if !restore.includes(&name) {
            continue;
        }
        for seq in chain.commits().map(|commit| commit.seq.0) {
            let bytes = restored_raw(&history, &chain, seq, dir);
            let Some(bytes) = view.keep(Place::Commit(name.clone(), seq), bytes) else { continue };
            let right = &museum.main.references[&name][usize::try_from(seq).unwrap() - 1];
            assert!(bytes == *right, "commit {seq} of {name} restores to other bytes");
            view.restored.entry(name.clone()).or_default().push(seq);
        }
    }
    view
}

impl View {
    fn keep<T>(&mut self, place: Place, result: Result<T, Error>) -> Option<T> {
        result.map_err(|e| self.errors.insert(place, e)).ok()
    }
}
