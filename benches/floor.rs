//! The floor: what the unavoidable work costs with no engine around it.
//!
//! `cargo bench --bench floor` measures the components and the whole runs over a generated database
//! of 64 MiB. With `--run` the same binary is a program that does one run over any database (see
//! [`components::command`]), for comparison with other programs as a process.

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

mod components;
// Changing databases is not needed here.
#[allow(dead_code)]
mod realdata;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use components::{BATCH, Codec, TAG, backup, open_detached, page_digests, restore, scan, verify};
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};

const THREADS: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--run") {
        if let Err(error) = components::command::main(&arguments) {
            eprintln!("floor: {error}");
            return ExitCode::FAILURE;
        }
        return ExitCode::SUCCESS;
    }
    // Without `--bench` this is a test run: each bench once, and small.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let work = tempfile::Builder::new()
        .prefix("floor-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory for the database");
    let database = work.path().join("real.db");
    realdata::build(&database, if measuring { 64 } else { 2 }, 1).expect("the database is built");
    let bytes = fs::read(&database).expect("the database is read");

    let mut group = criterion.benchmark_group("floor");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    stages(&mut group, &bytes);
    runs(&mut group, &database, work.path());
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// One stage at a time, on one core, in memory. Bytes are those of the pages throughout, so that
/// the times of the stages add up.
fn stages(group: &mut BenchmarkGroup<'_, WallTime>, bytes: &[u8]) {
    group.bench_function("hash", |b| {
        b.iter(|| page_digests(black_box(bytes), 4096, 1));
    });
    let codec = |level| Codec::new(level).expect("a codec");
    for level in [1, 3] {
        let mut codec = codec(level);
        group.bench_function(format!("compress-{level}"), |b| {
            b.iter(|| {
                let lengths = bytes.chunks(BATCH).map(|batch| codec.compress(batch).unwrap());
                black_box(lengths.sum::<usize>())
            });
        });
    }

    let mut codec = codec(1);
    let numbered = || (0..).zip(bytes.chunks(BATCH));
    let sealed: Vec<(u64, Vec<u8>)> =
        numbered().map(|(n, batch)| (n, codec.seal(n, batch).unwrap().to_vec())).collect();
    group.bench_function("seal", |b| {
        // What the buffer holds is no matter: the cipher's time depends on lengths alone.
        b.iter(|| sealed.iter().for_each(|(n, s)| codec.seal_bytes(*n, s.len()).unwrap()));
    });
    let mut siv = Aes256Siv::new(&[7; 64].into());
    let mut scratch = vec![0; BATCH * 2];
    group.bench_function("open", |b| {
        b.iter(|| {
            for (number, sealed) in &sealed {
                let copy = &mut scratch[..sealed.len()];
                copy.copy_from_slice(sealed);
                black_box(open_detached(&mut siv, *number, copy).unwrap());
            }
        });
    });
    let mut compressed = sealed;
    for (number, batch) in &mut compressed {
        open_detached(&mut siv, *number, batch).expect("what was sealed opens");
    }
    group.bench_function("decompress", |b| {
        b.iter(|| {
            for (_, batch) in &compressed {
                black_box(codec.decompress(&batch[TAG..], &mut scratch).unwrap());
            }
        });
    });
}

/// Whole runs with files and `fsync`, on two threads.
fn runs(group: &mut BenchmarkGroup<'_, WallTime>, database: &Path, work: &Path) {
    let (dir, out) = (work.join("packs"), work.join("restored.db"));
    for level in [3, 1] {
        group.bench_function(format!("backup-{level}"), |b| {
            b.iter(|| backup(database, &dir, level, THREADS).expect("a backup"));
        });
    }
    // A filter may have left the benches above out.
    backup(database, &dir, 1, THREADS).expect("a backup");
    group.bench_function("scan", |b| {
        b.iter(|| scan(database, &dir, 1, THREADS, None).expect("a scan"));
    });
    group.bench_function("restore", |b| {
        b.iter(|| restore(&dir, &out, THREADS).expect("a restore"));
    });
    group.bench_function("verify", |b| {
        b.iter(|| verify(&dir, THREADS).expect("a verification"));
    });
    restore(&dir, &out, THREADS).expect("a restore");
    let same = fs::read(database).unwrap() == fs::read(&out).unwrap();
    assert!(same, "the restored database is not the one that was backed up");
}
