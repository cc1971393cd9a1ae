//! A year in the life of a history: what it takes, and what it costs to restore from, stay near the
//! least that is possible.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::format::slot::KdfParams;
use crate::ops::backup::BackupOptions;
use crate::ops::point::RestorePoint;
use crate::ops::restore::{Check, RestoreOptions};
use crate::repo::Repository;
use crate::store::{Created, Entry, MemoryStore, Upload};

/// Counts the bytes that are read through it.
#[derive(Debug)]
struct Counting {
    inner: MemoryStore,
    read: AtomicU64,
}

impl Store for Counting {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.inner.head(name)
    }
    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let bytes = self.inner.get(name, limit)?;
        let len = bytes.as_ref().map_or(0, Vec::len);
        self.read.fetch_add(u64::try_from(len).unwrap(), Ordering::Relaxed);
        Ok(bytes)
    }
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        let bytes = self.inner.get_range(name, offset, len)?;
        let len = bytes.as_ref().map_or(0, Vec::len);
        self.read.fetch_add(u64::try_from(len).unwrap(), Ordering::Relaxed);
        Ok(bytes)
    }
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.inner.create(name, bytes)
    }
    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.inner.upload(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.list(prefix)
    }
    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list_dirs(prefix)
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name)
    }
    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.inner.sweep(before)
    }
}

/// Bytes that restoring the newest commit of a history reads, once its chain is open.
fn reads(bench: &Bench, store: &MemoryStore) -> u64 {
    let counting = Arc::new(Counting { inner: store.clone(), read: AtomicU64::new(0) });
    let history = bench.through(counting.clone()).unwrap();
    let chain = history.chain().unwrap();
    let before = counting.read.load(Ordering::Relaxed);
    let target = bench.dir.path().join("restored");
    let options = RestoreOptions { check: Check::None, force: false };
    RestorePoint::of(&history, &chain, &chain.latest().unwrap())
        .restore(&target, &options, &Silent)
        .unwrap();
    std::fs::remove_file(target).unwrap();
    counting.read.load(Ordering::Relaxed) - before
}

/// Bytes of the segments of a history.
fn segments(history: &History) -> u64 {
    history.chain().unwrap().segments().iter().map(|s| s.stored_len()).sum()
}

/// The same restore points in as few bytes as this format allows: everything but the newest segment
/// packed anew into one.
fn least(bench: &Bench) -> u64 {
    let store = MemoryStore::new();
    for prefix in ["keys/", "histories/"] {
        for entry in bench.store.list(prefix).unwrap() {
            store.damage(&entry.name, &bench.store.get(&entry.name, u64::MAX).unwrap().unwrap());
        }
    }
    store.damage("repository", &bench.store.get("repository", u64::MAX).unwrap().unwrap());
    let history = bench.through(Arc::new(store)).unwrap();
    let chain = history.chain().unwrap();
    let claim = Claim::take(&history, PRUNE).unwrap();
    let options = Options { keep: Keep::Points, compression: Compression::Fast, repack: false };
    merge(&history, &chain, 0..chain.segments().len() - 1, &claim, &options, &Silent).unwrap();
    segments(&history)
}

/// A row's content, about half as long when it is compressed.
fn text(n: i64) -> String {
    (0..5u8).map(|i| blake3::hash(format!("{n} {i}").as_bytes()).to_hex().to_string()).collect()
}

/// An application with habits: a little each hour, more each night, a lot each weekend, and it
/// grows.
fn work(bench: &Bench, hour: i64) {
    let word = |n: i64| text(hour * 1000 + n);
    let app = &bench.app;
    app.execute_batch("BEGIN").unwrap();
    for n in 0..6 {
        app.execute("INSERT INTO t(x) VALUES(?1)", [word(hour * 7 + n)]).unwrap();
    }
    app.execute("UPDATE t SET x=?1 WHERE id%997=?2", rusqlite::params![word(hour), hour % 997])
        .unwrap();
    if hour % 24 == 2 {
        let day = hour / 24;
        app.execute("UPDATE t SET x=?1 WHERE id%101=?2", rusqlite::params![word(day), day % 101])
            .unwrap();
    }
    if hour % 168 == 30 {
        let week = hour / 168;
        app.execute("UPDATE t SET x=?1 WHERE id%11=?2", rusqlite::params![word(week), week % 11])
            .unwrap();
        app.execute("DELETE FROM t WHERE id<?1 AND id%3=?2", [hour * 3, week % 3]).unwrap();
    }
    app.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_year_stays_small_and_quick() {
    let days: i64 =
        std::env::var("PAGEKEEP_YEAR_DAYS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut bench = Bench::with_page_size(1, 4096);
    for n in 0..8000 {
        bench.app.execute("INSERT INTO t(x) VALUES(?1)", [text(-n)]).unwrap();
    }
    let policy = Policy {
        window: Some(chrono::TimeDelta::hours(24)),
        daily: Some(Periods::Count(7)),
        weekly: Some(Periods::Count(4)),
        monthly: Some(Periods::Count(12)),
        ..Policy::default()
    };
    let options = BackupOptions::default().adopt(true);
    let path = bench.dir.path().join("app.db");
    let repository = bench.history.repository().clone();
    let (mut worst, mut sum) = (0f64, (0u64, 0u64));
    for hour in 0..days * 24 {
        bench.pass(HOUR);
        work(&bench, hour);
        let report = repository.backup(&path, &options, &Silent).unwrap();
        // The last of each day.
        if hour % 24 != 22 {
            continue;
        }
        bench.expected.insert(report.seq, std::fs::read(&path).unwrap());
        let prune_options = PruneOptions { grace: GRACE, ..bench.options(policy.clone()) };
        let pruned = bench.history.prune(&prune_options, &Silent).unwrap();
        assert!(pruned.kept.len() <= 24 + 2 + 7 + 4 + 12 + 1, "{}", pruned.kept.len());
        let day = hour / 24;
        if day > 20 && day % 10 == 0 {
            let (now, least) = (segments(&bench.history), least(&bench));
            sum = (sum.0 + now, sum.1 + least);
            #[allow(clippy::cast_precision_loss)]
            let ratio = now as f64 / least as f64;
            worst = worst.max(ratio);
            let chain = bench.history.chain().unwrap();
            let fresh = fresh_base(&bench, &path);
            #[allow(clippy::cast_precision_loss)]
            let reads = reads(&bench, &bench.store) as f64 / fresh as f64;
            eprintln!(
                "day {day}: {} points, {} segments, {now} bytes, {ratio:.2} of the least, reads {reads:.2}; \
                 all objects {}",
                chain.commits().count(),
                chain.segments().len(),
                pruned.after.bytes,
            );
            if std::env::var_os("PAGEKEEP_YEAR_VERBOSE").is_some() {
                let needed = needed(&chain, &Silent).unwrap();
                for (segment, needed) in chain.segments().iter().zip(needed) {
                    eprintln!(
                        "  {}..{} {:?} {} commits {} bytes {} versions {} batches {needed:?}",
                        segment.manifest.first,
                        segment.end,
                        segment.manifest.kind,
                        segment.manifest.commits.len(),
                        segment.stored_len(),
                        segment.manifest.versions,
                        segment.manifest.batches,
                    );
                }
            }
            let points = chain.commits().count();
            assert!(chain.segments().len() < 3 * points, "{} segments", chain.segments().len());
            assert!(ratio < 1.5, "day {day}: {ratio:.2} times the least");
            assert!(reads < 1.3, "day {day}: reads {reads:.2} times what a fresh base does");
        }
    }
    // Daily commits are there, and are what they were.
    let chain = bench.history.chain().unwrap();
    bench.expected.retain(|seq, _| chain.commit(*seq).is_some());
    assert!(bench.expected.len() >= 7);
    for seq in bench.expected.keys() {
        let target = bench.dir.path().join("restored");
        let options = RestoreOptions { check: Check::None, force: false };
        let commit = chain.commit(*seq).unwrap();
        RestorePoint::of(&bench.history, &chain, &commit)
            .restore(&target, &options, &Silent)
            .unwrap();
        assert!(std::fs::read(&target).unwrap() == bench.expected[seq], "commit {seq}");
        std::fs::remove_file(target).unwrap();
    }
    bench.verify("the year");
}

/// Bytes that restoring reads right after a first backup.
fn fresh_base(bench: &Bench, path: &std::path::Path) -> u64 {
    let store = MemoryStore::new();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let state = tempfile::tempdir().unwrap();
    let shared = Arc::new(store.clone());
    let repository = Repository::init(
        shared,
        &[(&bench.secret, "")],
        kdf,
        &bench.machine(state.path().to_str().unwrap()),
    )
    .unwrap();
    repository.backup(path, &BackupOptions::default(), &Silent).unwrap();
    reads(bench, &store)
}
