//! Whoever has the document and a key can leave: `tests/reader/` holds a reader that was written from `docs/format.md` alone, in
//! another language. Here it restores a repository that the library has just written, the golden one, and the test vectors,
//! and must get the same bytes.
//!
//! The reader runs with the Python that `PAGEKEEP_READER_PYTHON` names, else with the one in `target/reader-venv`, which
//! `tests/run.sh` makes. Without either these tests pass with a note; with `PAGEKEEP_REQUIRE_READER=1` they fail.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::support::python::{self, in_package};
use crate::support::twins::{Twins, set};
use crate::support::{CHEAP, keep_last, noise, objects, quick_dir, reference, restored};
use pagekeep::internals::capture::follow::FollowOptions;
use pagekeep::internals::format::ObjectKind;
use pagekeep::internals::format::proof::{Level, Proof};
use pagekeep::internals::format::segment::SegmentKind;
use pagekeep::internals::format::snapshot::SnapshotKind;
use pagekeep::internals::ops::backup::{BackupOptions, BackupReport};
use pagekeep::internals::ops::follow::WatchOptions;
use pagekeep::internals::ops::prune::{PruneOptions, PruneReport};
use pagekeep::internals::policy::retention::{Policy, Zone};
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::rotate::RotateOptions;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::create_store;
use pagekeep::internals::types::{Seq, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Taken to write by who starts a process, and to read by who writes to a history: until it becomes another program, a new process
/// has a copy of the descriptor whose lock says that somebody writes.
static STARTING: RwLock<()> = RwLock::new(());

/// Does something while no process is being started.
fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _guard = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Runs a program to its end.
fn output_of(command: &mut Command) -> Output {
    let guard = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(guard);
    child.wait_with_output().unwrap()
}

/// The independent reader.
struct Reader {
    python: PathBuf,
}

impl Reader {
    /// The reader, if there is a Python for it.
    fn find() -> Option<Self> {
        python::find().map(|python| Self { python })
    }

    fn python(&self, script: &str) -> Command {
        python::script(&self.python, script)
    }

    /// Runs a command on a repository. `secret` is the option and the file of a key.
    fn run(&self, repository: &Path, secret: (&str, &Path), command: &[&str]) -> Output {
        let mut reader = self.python("pagekeep_reader.py");
        output_of(reader.arg(repository).arg(secret.0).arg(secret.1).args(command))
    }

    fn restore_all(
        &self,
        repository: &Path,
        secret: (&str, &Path),
        history: &str,
        target: &Path,
    ) -> BTreeMap<u64, Vec<u8>> {
        let target_text = target.display().to_string();
        said(&self.run(repository, secret, &["restore-all", history, &target_text]));
        let files = fs::read_dir(target).unwrap().map(|entry| entry.unwrap().path());
        files
            .map(|path| {
                let seq = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                (seq, fs::read(&path).unwrap())
            })
            .collect()
    }

    /// What it lists, by history and seq.
    fn list(
        &self,
        repository: &Path,
        secret: (&str, &Path),
    ) -> BTreeMap<String, BTreeMap<u64, Value>> {
        let mut found: BTreeMap<String, BTreeMap<u64, Value>> = BTreeMap::new();
        for line in said(&self.run(repository, secret, &["list"])).lines() {
            let commit: Value = serde_json::from_str(line).unwrap();
            let (name, seq) = (commit["history"].as_str().unwrap(), commit["seq"].as_u64());
            found.entry(name.to_owned()).or_default().insert(seq.unwrap(), commit);
        }
        found
    }
}

fn golden(name: &str) -> PathBuf {
    in_package("testdata/format/v1").join(name)
}

/// What a command printed, which must have succeeded.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A repository in a folder, and what every commit of its histories must restore to.
struct Written {
    dir: tempfile::TempDir,
    repository: Repository,
    references: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Written {
    fn new() -> Self {
        let dir = quick_dir();
        fs::write(dir.path().join("password"), "  zwölf Boxkämpfer \n").unwrap();
        let passphrase = Secret::passphrase("  zwölf Boxkämpfer ".into()).unwrap();
        let key_file = Secret::create_key_file(&dir.path().join("key")).unwrap();
        let secrets = [(&key_file, "file"), (&passphrase, "words")];
        let store = create_store(dir.path().join("repository").to_str().unwrap()).unwrap();
        let repository = Repository::init(
            store,
            &secrets,
            CHEAP,
            &RepositoryOptions::new(dir.path().join("state")),
        )
        .unwrap();
        Self { dir, repository, references: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Backs up, and notes what the database is at this moment.
    fn backup(&mut self, name: &str) -> BackupReport {
        let path = self.path(&format!("{name}.db"));
        let options = BackupOptions::default();
        let report = undisturbed(|| self.repository.backup(&path, &options, &Silent)).unwrap();
        let references = self.references.entry(name.to_owned()).or_default();
        references.push(reference(&path));
        assert_eq!(report.seq.0, references.len() as u64, "every backup is a commit");
        report
    }

    /// A history of one page size: a base, deltas of every kind, another term, a shrunken and a grown database.
    fn history(&mut self, page_size: u32, mode: &str, rows: u32, row: usize) {
        let name = format!("{mode}-{page_size}");
        let db = Connection::open(self.path(&format!("{name}.db"))).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA journal_mode={mode}; PRAGMA synchronous=OFF;
             CREATE TABLE t(id INTEGER PRIMARY KEY, x)"
        ))
        .unwrap();
        let write = |first: u32, last: u32, seed: u32| {
            db.execute_batch("BEGIN").unwrap();
            for id in first..last {
                // Half of it does not compress.
                let mut x = noise((seed + id).into(), row / 2);
                x.resize(row, b'a');
                db.execute("INSERT OR REPLACE INTO t VALUES(?1, ?2)", (id, x)).unwrap();
            }
            db.execute_batch("COMMIT").unwrap();
        };
        write(0, rows, 0);
        let report = self.backup(&name);
        write(rows / 2, rows / 2 + 2, 1_000_000);
        self.backup(&name);
        db.execute("DELETE FROM t WHERE id > 9", ()).unwrap();
        db.execute_batch("VACUUM").unwrap();
        self.backup(&name);
        fs::remove_dir_all(self.path("state")).unwrap();
        write(5, rows / 3, 2_000_000);
        let newest = self.backup(&name).seq;
        let history = &report.history;
        history.add_snapshot(report.seq, "first", SnapshotKind::Manual).unwrap();
        history.add_snapshot(report.seq, "nightly", SnapshotKind::Scheduled).unwrap();
        let mistake = history.add_snapshot(newest, "mistake", SnapshotKind::Safety).unwrap();
        history.remove_snapshot(&mistake).unwrap();
        history.add_proof(&proof(newest, None)).unwrap();
        history.add_proof(&proof(newest, Some("a page".into()))).unwrap();
    }
}

impl Written {
    /// A database whose transactions are kept one by one: segments of many commits, in which it grows and shrinks.
    fn followed(&mut self) {
        let begin = |path: &Path| {
            let db = Connection::open(path).unwrap();
            db.execute_batch(
                "PRAGMA page_size=1024; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;
                 CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX t_x ON t(x)",
            )
            .unwrap();
            db
        };
        let step = |db: &Connection, n: u64| match n % 6 {
            4 => db.execute_batch("DELETE FROM t WHERE id % 3 = 1").unwrap(),
            5 => db.execute_batch("PRAGMA incremental_vacuum(7)").unwrap(),
            _ => drop(db.execute("INSERT INTO t(x) VALUES(?1)", [noise(n, 2000)]).unwrap()),
        };
        // The same work on a twin tells what each commit must be, and takes the time that this takes beforehand.
        let twin = self.path("twin.db");
        let db = begin(&twin);
        let mut references = vec![reference(&twin)];
        for n in 0..60 {
            step(&db, n);
            let after = reference(&twin);
            if references.last() != Some(&after) {
                references.push(after);
            }
        }
        drop(db);
        let path = self.path("followed.db");
        let db = begin(&path);
        let options = WatchOptions {
            follow: FollowOptions {
                interval: Duration::from_secs(600),
                ..FollowOptions::default()
            },
            ..WatchOptions::default()
        };
        let (history, follower) = self.repository.follow(&path, options, Arc::new(Silent)).unwrap();
        follower.wait_durable(Duration::from_secs(60)).unwrap();
        (0..60).for_each(|n| step(&db, n));
        follower.stop().unwrap();
        let chain = history.chain().unwrap();
        assert!(chain.segments().iter().any(|s| s.manifest.commits.len() > 10));
        assert_eq!(chain.commits().count(), references.len());
        assert!(references.windows(2).any(|w| w[1].len() < w[0].len()), "it shrinks, too");
        self.references.insert("followed".to_owned(), references);
    }
}

fn proof(seq: Seq, failure: Option<String>) -> Proof {
    Proof {
        seq,
        digest: Default::default(),
        started: Timestamp::now(),
        micros: 1,
        level: Level::Restore,
        failure,
        coverage_ppm: 1,
        page_bytes: 2,
        assertions: 3,
        host: "host".into(),
    }
}

/// What the reader is to list of a history.
fn listed(history: &History) -> BTreeMap<u64, Value> {
    let snapshots = history.snapshots().unwrap();
    let chain = history.chain().unwrap();
    let commit = |commit: pagekeep::internals::repo::chain::Commit| {
        let labels = snapshots.iter().filter(|s| s.seq == commit.seq);
        let value = json!({
            "history": history.name(),
            "history_id": history.id(),
            "seq": commit.seq,
            "time": commit.record.time.0,
            "pages": commit.record.pages,
            "page_size": commit.segment.manifest.page_size,
            "digest": commit.record.digest,
            "kind": commit.record.kind.name(),
            "labels": sorted(labels.map(|s| &*s.label)),
        });
        (commit.seq.0, value)
    };
    chain.commits().map(commit).collect()
}

fn sorted<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    labels
}

/// The same, with the labels in the order of [`sorted`]: the document gives them none.
fn with_sorted_labels(mut commits: BTreeMap<u64, Value>) -> BTreeMap<u64, Value> {
    for commit in commits.values_mut() {
        let labels = commit["labels"].as_array().unwrap().clone();
        commit["labels"] = json!(sorted(labels.iter().map(|label| label.as_str().unwrap())));
    }
    commits
}

#[test]
fn it_restores_every_commit_that_the_library_writes() {
    let Some(reader) = Reader::find() else { return };
    let mut written = Written::new();
    // Parts, by the number of pages and by the number of bytes; and segments with their data inside.
    written.history(512, "wal", 4200, 450);
    written.history(4096, "delete", 900, 3000);
    written.history(1024, "delete", 90, 700);
    written.history(65536, "wal", 60, 9000);
    // A database without pages, and what becomes of it.
    fs::write(written.path("empty.db"), "").unwrap();
    written.backup("empty");
    let db = Connection::open(written.path("empty.db")).unwrap();
    db.execute_batch("PRAGMA page_size=8192; CREATE TABLE t(x)").unwrap();
    written.backup("empty");
    db.execute_batch("PRAGMA page_size=2048; VACUUM").unwrap();
    written.backup("empty");

    undisturbed(|| written.followed());

    let root = written.path("repository");
    let (password, key) = (written.path("password"), written.path("key"));
    let mut list = reader.list(&root, ("--key-file", &key));
    let mut with_parts = 0;
    for (name, references) in &written.references {
        let history = written.repository.history(name).unwrap();
        let by_reader = with_sorted_labels(list.remove(name).unwrap());
        assert_eq!(by_reader, listed(&history), "{name}");
        for segment in history.chain().unwrap().segments() {
            with_parts += usize::from(!segment.manifest.parts.is_empty());
        }
        let target = written.path(&format!("out-{name}"));
        let files = reader.restore_all(&root, ("--password-file", &password), name, &target);
        assert_eq!(files.len(), references.len(), "{name}");
        for (seq, expected) in (1..).zip(references) {
            assert!(files[&seq] == *expected, "the reader: {name} {seq}");
            let by_library = restored(&history, seq, written.dir.path()).unwrap();
            assert!(by_library == *expected, "the library: {name} {seq}");
        }
    }
    assert!(list.is_empty(), "no other histories");
    assert!(with_parts >= 2, "{with_parts} segments have parts");
}

#[test]
fn it_restores_the_golden_repository_with_each_key() {
    let Some(reader) = Reader::find() else { return };
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(golden("expected.json")).unwrap()).unwrap();
    let dir = quick_dir();
    let spoken = dir.path().join("spoken");
    // A recovery key as somebody may type it.
    let typed = fs::read_to_string(golden("recovery-key")).unwrap().to_lowercase();
    fs::write(&spoken, typed.replace('-', " ").replace('0', "o").replace('1', "l")).unwrap();
    let (key, password, recovery) = (golden("key"), golden("password"), golden("recovery-key"));
    for (i, secret) in [
        ("--key-file", &*key),
        ("--password-file", &password),
        ("--recovery-key-file", &recovery),
        ("--recovery-key-file", &spoken),
    ]
    .into_iter()
    .enumerate()
    {
        let list = reader.list(&golden("repository"), secret);
        for history in expected["histories"].as_array().unwrap() {
            let name = history["name"].as_str().unwrap();
            let target = dir.path().join(format!("{name}-{i}"));
            let files = reader.restore_all(&golden("repository"), secret, name, &target);
            let commits = history["commits"].as_array().unwrap();
            assert_eq!(files.len(), commits.len(), "{name}");
            let commits = commits.iter().map(|c| (c["seq"].as_u64().unwrap(), c.clone())).collect();
            let list = with_sorted_labels(list[name].clone());
            for (seq, commit) in with_sorted_labels(commits) {
                let hash = blake3::hash(&files[&seq]).to_hex();
                assert_eq!(*hash, commit["blake3"], "{name} {seq}");
                for field in ["pages", "page_size", "digest", "kind", "labels"] {
                    assert_eq!(list[&seq][field], commit[field], "{name} {seq}: {field}");
                }
            }
        }
    }
}

/// Commits from before and after, with slots of every stage of a rotation that was interrupted.
#[test]
fn it_restores_what_was_stored_before_and_after_a_rotation_of_keys() {
    let Some(reader) = Reader::find() else { return };
    let mut written = Written::new();
    let path = written.path("app.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE t(x)").unwrap();
    written.backup("app");
    let key = Secret::read_key_file(&written.path("key")).unwrap();
    let words = Secret::passphrase("  zwölf Boxkämpfer ".into()).unwrap();
    let secrets = [(&key, "key"), (&words, "password")];
    let options = RotateOptions { secrets: &secrets, ..Default::default() };
    let state = written.path("state");
    let open = |root: &Path| {
        let store = pagekeep::internals::store::LocalStore::open(root).unwrap();
        Repository::open(Arc::new(store), &key, &RepositoryOptions::new(&state)).unwrap()
    };
    let root = written.path("repository");
    let old = fs::read_dir(root.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    let old: Vec<_> = old.map(|path| (fs::read(&path).unwrap(), path)).collect();
    open(&root).rotate(&options).unwrap().complete().unwrap();
    written.repository = open(&root);
    db.execute_batch("INSERT INTO t VALUES(1)").unwrap();
    written.backup("app");
    for (bytes, path) in old {
        fs::write(path, bytes).unwrap();
    }
    drop(open(&root).rotate(&options).unwrap());
    assert_eq!(written.repository.slots().unwrap().len(), 6);
    for (i, secret) in
        [("--key-file", "key"), ("--password-file", "password")].into_iter().enumerate()
    {
        let target = written.path(&format!("restored-{i}"));
        let files = reader.restore_all(&root, (secret.0, &written.path(secret.1)), "app", &target);
        assert!(files.into_values().eq(written.references["app"].iter().cloned()));
    }
}

#[test]
fn it_agrees_with_the_test_vectors() {
    let Some(reader) = Reader::find() else { return };
    said(&output_of(reader.python("check_vectors.py").arg(golden("vectors.json"))));
}

/// What a history looks like behind its list of commits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    merged: usize,
    sparse_bases: usize,
    carried: usize,
    /// Commits that expired and that a segment has still; of them in bases.
    expired: (usize, usize),
    strays: usize,
}

fn shape(history: &History) -> Shape {
    let chain = history.chain().unwrap();
    let points: BTreeSet<Seq> = chain.commits().map(|commit| commit.seq).collect();
    let mut shape = Shape { strays: chain.strays(), ..Shape::default() };
    for segment in chain.segments() {
        let gone = segment.manifest.states().iter().filter(|c| !points.contains(&c.seq)).count();
        let base = segment.manifest.kind == SegmentKind::Base;
        shape.merged += usize::from(segment.is_merged());
        shape.sparse_bases += usize::from(base && segment.is_merged());
        shape.carried += usize::from(segment.manifest.carries);
        shape.expired.0 += gone;
        shape.expired.1 += if base { gone } else { 0 };
    }
    shape
}

/// The reader lists the same commits as the library, and both restore them to the same bytes.
fn agree(reader: &Reader, written: &Written, history: &History, what: &str) {
    let (root, key) = (written.path("repository"), written.path("key"));
    let name = history.name();
    let mut list = reader.list(&root, ("--key-file", &key));
    let by_library = listed(history);
    assert_eq!(with_sorted_labels(list.remove(name).unwrap()), by_library, "{what}");
    let target = written.path(&format!("out of {what}"));
    let files = reader.restore_all(&root, ("--key-file", &key), name, &target);
    assert!(files.keys().eq(by_library.keys()), "{what}: {:?}", files.keys());
    for (seq, bytes) in files {
        let expected = &written.references[name][usize::try_from(seq).unwrap() - 1];
        assert!(bytes == *expected, "the reader, {what}: {seq}");
        assert!(restored(history, seq, written.dir.path()).unwrap() == *expected, "{what}: {seq}");
    }
}

#[test]
fn it_reads_what_a_prune_leaves() {
    let Some(reader) = Reader::find() else { return };
    let mut written = Written::new();
    let mut twins = Twins::new(written.dir.path(), "pruned", 1024);
    let step = |n: u64, id: u64| set(id, n * 1000 + id, 500, 900);
    // A base, half of which stays; a segment of many commits that write the same rows; and single commits.
    (1..=60).for_each(|id| twins.run(&step(0, id)));
    let history = undisturbed(|| twins.backup(&written.repository)).history;
    let many: Vec<_> = (21..=50).map(|id| step(2, id)).collect();
    let mut steps = vec![format!("BEGIN; {}; COMMIT", many.join("; "))];
    steps.extend(
        (3..=12).map(|n| format!("BEGIN; {}; {}; COMMIT", step(n, n % 3 + 1), step(n, 20))),
    );
    undisturbed(|| twins.follow(&written.repository, &steps));
    for n in 13..=15 {
        (1..=30).for_each(|id| twins.run(&step(n, id)));
        undisturbed(|| twins.backup(&written.repository));
    }
    let prune = |last: u32, grace: u64| -> PruneReport {
        history.prune(&keep_last(last, Duration::from_secs(grace)), &Silent).unwrap()
    };
    let seqs =
        || -> Vec<u64> { history.chain().unwrap().commits().map(|commit| commit.seq.0).collect() };
    let holds: Vec<_> = [5, 8, 14].map(|seq| history.add_hold(Seq(seq), "audit").unwrap()).into();
    written.references.insert("pruned".into(), twins.references.clone());

    // What is replaced stays for readers that are at it; then it goes.
    prune(1, 3600);
    assert_eq!(seqs(), [5, 8, 14, 15]);
    let first = shape(&history);
    assert!(first.sparse_bases == 1 && first.carried > 0 && first.strays >= 2, "{first:?}");
    agree(&reader, &written, &history, "within grace");
    // Merged objects that can't be read: what they cover has the same commits.
    let merged = history
        .chain()
        .unwrap()
        .segments()
        .iter()
        .filter(|s| s.is_merged())
        .map(|s| s.name().to_owned())
        .collect::<Vec<_>>();
    for name in &merged {
        let path = written.path("repository").join(name);
        let sound = fs::read(&path).unwrap();
        let mut damaged = sound.clone();
        damaged[50] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(history.chain().unwrap().unreadable(), std::slice::from_ref(name));
        agree(&reader, &written, &history, &format!("damage to {}", name.replace('/', " ")));
        fs::write(&path, sound).unwrap();
    }
    prune(1, 0);
    assert_eq!((seqs(), shape(&history)), (vec![5, 8, 14, 15], Shape { strays: 0, ..first }));
    agree(&reader, &written, &history, "after grace");

    // A hold ends: its commit expires, and stays in its base, since too little of that would be gained.
    history.remove_hold(&holds[0]).unwrap();
    assert_eq!(prune(1, 0).merges, 0);
    let second = shape(&history);
    assert!(seqs() == [8, 14, 15] && second.expired.1 == 1, "{second:?}");
    agree(&reader, &written, &history, "an expired commit in a base");

    // Another page size, so another base, and many segments.
    twins.run("PRAGMA journal_mode=DELETE; PRAGMA page_size=2048; VACUUM; PRAGMA journal_mode=WAL");
    for n in 16..=40 {
        twins.run(&step(n, n));
        undisturbed(|| twins.backup(&written.repository));
    }
    written.references.insert("pruned".into(), twins.references.clone());
    agree(&reader, &written, &history, "more commits");
    prune(3, 0);
    assert_eq!(seqs(), [8, 14, 38, 39, 40]);
    agree(&reader, &written, &history, "two bases");
    holds.iter().skip(1).for_each(|hold| history.remove_hold(hold).unwrap());
    prune(2, 0);
    assert_eq!(seqs(), [39, 40]);
    agree(&reader, &written, &history, "little is left");
}

#[test]
fn it_reads_the_newest_of_merged_segments_with_one_range() {
    let Some(reader) = Reader::find() else { return };
    let mut written = Written::new();
    let mut twins = Twins::new(written.dir.path(), "rewritten", 512);
    let mut commit = |n: u64| {
        (1..=15).for_each(|id| twins.run(&set(id, n * 100 + id, 300, 400)));
        undisturbed(|| twins.backup(&written.repository)).history
    };
    let history = (1..=20).map(&mut commit).last().unwrap();
    written.references.insert("rewritten".into(), twins.references);
    let holds = [4, 8, 12, 16].map(|seq| history.add_hold(Seq(seq), "audit").unwrap());
    for (n, hold) in holds.iter().enumerate() {
        let policy = Policy { last: 1, ..Policy::default() };
        history.prune(&PruneOptions::new(policy, Zone::Utc), &Silent).unwrap();
        let chain = history.chain().unwrap();
        let merged = chain.segments().iter().filter(|s| s.is_merged());
        let states: usize = merged.map(|s| s.manifest.states().len()).sum();
        assert_eq!(states, holds.len() - n, "the newest counts");
        agree(&reader, &written, &history, &format!("{n} holds less"));
        history.remove_hold(hold).unwrap();
    }
}

#[test]
fn it_takes_either_copy_of_a_description() {
    let Some(reader) = Reader::find() else { return };
    let mut written = Written::new();
    let db = Connection::open(written.path("plain.db")).unwrap();
    db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES('kept twice')").unwrap();
    let id = written.backup("plain").history.id();
    let (root, key) = (written.path("repository"), written.path("key"));
    let copies = ["about", "about-2"].map(|name| root.join(format!("histories/{id}/{name}")));
    let whole = copies.each_ref().map(|copy| fs::read(copy).unwrap());
    for (at, copy) in copies.iter().enumerate() {
        for (how, damaged) in [("damaged", true), ("missing", false)] {
            if damaged {
                fs::write(copy, b"PGKP").unwrap()
            } else {
                fs::remove_file(copy).unwrap()
            }
            let target = written.path(&format!("out-{at}-{how}"));
            let files = reader.restore_all(&root, ("--key-file", &key), "plain", &target);
            assert!(files[&1] == written.references["plain"][0], "{at} is {how}");
            assert_eq!(reader.list(&root, ("--key-file", &key)).len(), 1);
        }
        fs::write(copy, &whole[at]).unwrap();
    }
    copies.iter().for_each(|copy| fs::remove_file(copy).unwrap());
    let output = reader.run(&root, ("--key-file", &key), &["list"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains(&format!("{id}/about: ")), "{message}");
    // Without segments it is a history under creation.
    fs::remove_dir_all(root.join(format!("histories/{id}/log"))).unwrap();
    assert!(reader.list(&root, ("--key-file", &key)).is_empty());
}

/// A reader that checks nothing would prove little.
#[test]
fn it_names_the_object_that_is_damaged() {
    let Some(reader) = Reader::find() else { return };
    let store = pagekeep::internals::store::LocalStore::open(golden("repository")).unwrap();
    let sound = objects(&store);
    let in_golden = |kind: &ObjectKind| sound.values().any(|bytes| bytes[4] == kind.number());
    for kind in ObjectKind::ALL.into_iter().filter(in_golden) {
        let damaged = sound.iter().rfind(|(_, bytes)| bytes[4] == kind.number()).unwrap().0;
        let message = complaint(&reader, &sound, damaged, &golden("key"), &["orders", "archive"]);
        assert!(message.starts_with(&format!("pagekeep_reader: {damaged}: ")), "{message}");
    }
    // What the first release had not is in the vectors: there without what is covered.
    let vectors = fs::read_to_string(golden("vectors.json")).unwrap();
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    let without = vectors["readings"][1]["without"].as_array().unwrap();
    let objects = vectors["objects"].as_array().unwrap().iter();
    let mut sound: BTreeMap<String, Vec<u8>> = objects
        .map(|object| {
            let text = object["bytes"].as_str().unwrap();
            let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
            let bytes = (0..text.len()).step_by(2).map(byte).collect();
            (object["name"].as_str().unwrap().to_owned(), bytes)
        })
        .collect();
    sound.retain(|name, _| without.iter().all(|other| other != name));
    let dir = quick_dir();
    let key = dir.path().join("key");
    fs::write(&key, vectors["secrets"]["key_file"]["text"].as_str().unwrap()).unwrap();
    let later = ["/holds/", "/expired/", "/merged/"];
    for damaged in sound.keys().filter(|name| later.iter().any(|folder| name.contains(folder))) {
        let message = complaint(&reader, &sound, damaged, &key, &["app"]);
        assert!(message.starts_with(&format!("pagekeep_reader: {damaged}: ")), "{message}");
    }
}

/// What the reader says when the last byte of an object is another one.
fn complaint(
    reader: &Reader,
    sound: &BTreeMap<String, Vec<u8>>,
    damaged: &str,
    key: &Path,
    histories: &[&str],
) -> String {
    let dir = quick_dir();
    let root = dir.path().join("repository");
    for (name, bytes) in sound {
        let mut bytes = bytes.clone();
        if name == damaged {
            *bytes.last_mut().unwrap() ^= 1;
        }
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let run = |command: &[&str]| reader.run(&root, ("--key-file", key), command);
    let restore = |name: &&str| {
        let target = dir.path().join(name).display().to_string();
        run(&["restore-all", name, &target])
    };
    let mut outputs = std::iter::once(run(&["list"])).chain(histories.iter().map(restore));
    let failed = outputs.find(|output| !output.status.success());
    String::from_utf8_lossy(&failed.expect(damaged).stderr).into_owned()
}

/// What the document says of damaged histories is enough to restore what remains of them.
#[test]
fn damaged_repositories_give_what_remains_of_them() {
    let Some(reader) = Reader::find() else { return };
    let mut kinds = 0;
    for dir in fs::read_dir(in_package("testdata/damaged")).unwrap().map(|e| e.unwrap().path()) {
        if !dir.is_dir() {
            continue;
        }
        kinds += 1;
        let expected: Value =
            serde_json::from_slice(&fs::read(dir.join("expected.json")).unwrap()).unwrap();
        let key = dir.join("recovery-key");
        let folder = tempfile::tempdir().unwrap();
        let restore = |seq: &str| {
            let target = folder.path().join(format!("{seq}.db"));
            let command = ["restore", "app", seq, target.to_str().unwrap()];
            let repository = dir.join("repository");
            let output = reader.run(&repository, ("--recovery-key-file", &key), &command);
            (output, target)
        };
        for (seq, hash) in expected["restorable"].as_object().unwrap() {
            let (output, target) = restore(seq);
            said(&output);
            let found = blake3::hash(&fs::read(&target).unwrap()).to_hex().to_string();
            assert_eq!(found, *hash, "{}: {seq}", dir.display());
        }
        for seq in expected["lost"].as_array().unwrap() {
            let (output, target) = restore(&seq.to_string());
            assert!(!output.status.success() && !target.exists(), "{}: {seq}", dir.display());
        }
        let latest = restore("latest").0.status.success();
        assert_eq!(latest, expected["newest_lost"] != true, "{}", dir.display());
    }
    assert!(kinds >= 11, "{kinds}");
}
