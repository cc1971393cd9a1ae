//! The engine's roads, one by one, over a generated database of 64 MiB: capture (both readers), encode, restore,
//! verify, and incremental by scan and by WAL. Compare with `floor`, the same work with no engine around it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    missing_docs
)]

// Only building and changing databases is needed here.
#[allow(dead_code)]
mod realdata;

use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use pagekeep::internals::codec::batch::{Compression, DataSeal, Encoder, SelfCheck};
use pagekeep::internals::codec::seal::SealKey;
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::format::slot::{KdfParams, MasterKey};
use pagekeep::internals::ops::backup::BackupOptions;
use pagekeep::internals::ops::point::RestorePoint;
use pagekeep::internals::ops::restore::{Check, RestoreOptions};
use pagekeep::internals::ops::verify::VerifyOptions;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::sqlite::image::{Chunk, Method, full};
use pagekeep::internals::sqlite::source::Source;
use pagekeep::internals::store::create_store;
use pagekeep::internals::types::{HistoryId, KeyId, RepositoryId, SegmentId, Timestamp};
use realdata::mutate::{self, Kind};

/// Bytes of pages in a batch, as the engine has it.
const BATCH: usize = 256 * 1024;

fn main() {
    // Without `--bench` this is a test run: each bench once, and small.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let work = tempfile::Builder::new()
        .prefix("roads-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory for the database");
    let database = work.path().join("real.db");
    realdata::build(&database, if measuring { 64 } else { 2 }, 1).expect("the database is built");
    let bytes = std::fs::metadata(&database).unwrap().len();

    let mut group = criterion.benchmark_group("roads");
    group.throughput(Throughput::Bytes(bytes));
    capture(&mut group, &database);
    encode(&mut group, &database);
    back_and_forth(&mut group, work.path(), &database);
    incremental(&mut group, work.path(), &database);
    group.finish();
    criterion.final_summary();
}

/// Reading every page, by each reader.
fn capture(group: &mut BenchmarkGroup<'_, WallTime>, database: &Path) {
    for (name, method) in [("capture/raw", Method::Raw), ("capture/backup", Method::Backup)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut source = Source::open(database).unwrap();
                let mut pin = source.pin().unwrap();
                let mut reader = full(&mut pin, method).unwrap();
                let mut chunk = Chunk::default();
                let mut pages = 0;
                while reader.next(&mut chunk).unwrap() {
                    pages += chunk.pages.len();
                }
                pages
            });
        });
    }
}

/// Compressing, sealing and checking, on one thread.
fn encode(group: &mut BenchmarkGroup<'_, WallTime>, database: &Path) {
    let bytes = std::fs::read(database).unwrap();
    let master = MasterKey { id: KeyId([1; 8]), created: Timestamp(0), secret: [2; 32] };
    let ids = (RepositoryId([1; 16]), HistoryId([2; 16]), SegmentId([3; 16]));
    let seal = DataSeal { key: SealKey::for_data(&master, ids.0, ids.1, ids.2), ids };
    for (name, compression, check) in [
        ("encode/fast", Compression::Fast, SelfCheck::Sampled),
        ("encode/fast, every batch checked", Compression::Fast, SelfCheck::Every),
        ("encode/default", Compression::Default, SelfCheck::Sampled),
    ] {
        group.bench_function(name, |b| {
            let mut encoder = Encoder::new(compression, check).unwrap();
            b.iter(|| {
                let mut stored = 0;
                for (number, batch) in (0..).zip(bytes.chunks(BATCH)) {
                    let pages = u16::try_from(batch.len() / 4096).unwrap();
                    stored += encoder.encode(&seal, number, pages, batch).unwrap().bytes.len();
                }
                stored
            });
        });
    }
}

/// A repository of its own in a fresh directory.
fn repository(work: &Path) -> (Repository, PathBuf) {
    let dir = tempfile::tempdir_in(work).unwrap().keep();
    let store = create_store(dir.join("repo").to_str().unwrap()).unwrap();
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams::default();
    let repository =
        Repository::init(store, &[(&secret, "")], kdf, &RepositoryOptions::new(dir.join("state")))
            .unwrap();
    (repository, dir)
}

fn run(repository: &Repository, database: &Path) {
    repository.backup(database, &BackupOptions::default(), &Silent).unwrap();
}

fn back_and_forth(group: &mut BenchmarkGroup<'_, WallTime>, work: &Path, database: &Path) {
    group.bench_function("backup/full", |b| {
        b.iter_batched(
            || repository(work),
            |(repository, dir)| {
                run(&repository, database);
                std::fs::remove_dir_all(dir).unwrap();
            },
            BatchSize::PerIteration,
        );
    });
    let (repository, dir) = repository(work);
    run(&repository, database);
    let history = repository.history("real").unwrap();
    let chain = history.chain().unwrap();
    let commit = chain.latest().unwrap();
    for (name, check) in [("restore/no check", Check::None), ("restore/quick check", Check::Quick)]
    {
        group.bench_function(name, |b| {
            let options = RestoreOptions::default().check(check);
            let target = dir.join("restored.db");
            b.iter(|| {
                RestorePoint::of(&history, &chain, &commit)
                    .restore(&target, &options, &Silent)
                    .unwrap();
                std::fs::remove_file(&target).unwrap();
            });
        });
    }
    group.bench_function("verify/data", |b| {
        let options = VerifyOptions::new(Level::Data, dir.clone());
        b.iter(|| assert!(history.verify(None, &options, &Silent).unwrap().findings.is_empty()));
    });
}

fn incremental(group: &mut BenchmarkGroup<'_, WallTime>, work: &Path, database: &Path) {
    for (name, kind, keep_wal) in [
        ("incremental/one row, in the WAL", Kind::One, true),
        ("incremental/one row, by scan", Kind::One, false),
        ("incremental/1% of rows, by scan", Kind::Rows, false),
    ] {
        let (repository, dir) = repository(work);
        let copy = dir.join("real.db");
        std::fs::copy(database, &copy).unwrap();
        // Open all the while, as an application is, so that its WAL stays.
        let application = mutate::open(&copy, keep_wal).unwrap();
        run(&repository, &copy);
        let mut seed = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    seed += 1;
                    mutate::apply(&application, kind, seed).unwrap();
                    if !keep_wal {
                        mutate::checkpoint(&application).unwrap();
                    }
                },
                |()| run(&repository, &copy),
                BatchSize::PerIteration,
            );
        });
    }
}
