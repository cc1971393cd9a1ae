//! Looking into a moment without restoring it, over a generated database of 64 MiB
//! (`PAGEKEEP_MOMENTS_MIB` for another size) with a base and three deltas on a disk: a point query
//! cold, in this process and by the command; scans of the largest table, with the speed of its
//! pages; and beside them, in the same run, a restore.
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

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use pagekeep::rusqlite::Connection;
use pagekeep::rusqlite::types::FromSql;
use pagekeep::{
    BackupOptions, Check, DatabaseView, KdfParams, Repository, RepositoryOptions, RestoreOptions,
    Secret, Silent, ViewOptions, create_store,
};
use realdata::mutate::{self, Kind};

fn main() {
    // Without `--bench` this is a test run: each bench once, and small.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let mib = std::env::var("PAGEKEEP_MOMENTS_MIB").map_or(64, |n| n.parse().expect("a number"));
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let work = tempfile::Builder::new()
        .prefix("moments-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory for the database");
    let database = work.path().join("real.db");
    realdata::build(&database, if measuring { mib } else { 2 }, 1).expect("the database is built");
    let table = size_of_events(&database);

    let secret = Secret::create_key_file(&work.path().join("key")).unwrap();
    let location = work.path().join("repo").display().to_string();
    let state = work.path().join("state");
    let store = create_store(&location).unwrap();
    let kdf = KdfParams::default();
    let repository =
        Repository::init(store, &[(&secret, "")], kdf, &RepositoryOptions::new(state.clone()))
            .unwrap();
    let application = mutate::open(&database, true).unwrap();
    for seed in 0..4 {
        repository.backup(&database, &BackupOptions::default(), &Silent).unwrap();
        mutate::apply(&application, Kind::One, seed).unwrap();
    }
    let history = repository.history("real").unwrap();
    let point = history.latest().unwrap().unwrap();
    let middle = "SELECT path FROM files WHERE id = (SELECT max(id) / 2 FROM files)";

    let mut group = criterion.benchmark_group("moments");
    group.bench_function("point query/cold, in this process", |b| {
        b.iter(|| {
            let point = history.latest().unwrap().unwrap();
            one::<String>(&point.open(&ViewOptions::default()).unwrap(), middle)
        });
    });
    group.bench_function("point query/cold, whole process", |b| {
        b.iter(|| {
            let asked = Command::new(env!("CARGO_BIN_EXE_pagekeep"))
                .args(["query", "-q", "real", middle, "-r", &location, "--key-file"])
                .arg(work.path().join("key"))
                .arg("--state-dir")
                .arg(&state)
                .output()
                .unwrap();
            assert!(asked.status.success(), "{asked:?}");
        });
    });
    group.throughput(Throughput::Bytes(table));
    for (name, sql) in [
        ("scan/count(*)", "SELECT count(*) FROM events NOT INDEXED"),
        ("scan/sum", "SELECT sum(aux) FROM events NOT INDEXED"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| one::<i64>(&point.open(&ViewOptions::default()).unwrap(), sql));
        });
    }
    group.throughput(Throughput::Bytes(point.database_bytes()));
    group.bench_function("restore, no check", |b| {
        let target = work.path().join("restored.db");
        let options = RestoreOptions::default().check(Check::None).force(true);
        b.iter(|| point.restore(&target, &options, &Silent).unwrap());
    });
    group.finish();
    criterion.final_summary();
}

/// How many bytes the pages of the largest table have.
fn size_of_events(database: &Path) -> u64 {
    let connection = Connection::open(database).unwrap();
    let sql = "SELECT sum(pgsize) FROM dbstat WHERE name = 'events'";
    let bytes: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    bytes as u64
}

fn one<T: FromSql>(view: &DatabaseView, sql: &str) -> T {
    view.query_row(sql, [], |row| row.get(0)).unwrap()
}
