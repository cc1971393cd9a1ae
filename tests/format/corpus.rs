//! Replays the seeds of every fuzz target, and thousands of small changes to each, on the stable toolchain.
//!
//! The bodies of the targets, with the properties that they check, stand in [`targets`]. The seeds are
//! written by [`write_seeds`], which is ignored in ordinary runs: it is for whoever changes the format or adds
//! a target. A seed must be accepted by its decoder, so seeds of an older format make this test fail.

mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pagekeep::internals::codec::batch::{Compression, Encoder, SelfCheck};
use pagekeep::internals::format::about::{About, DigestKey};
use pagekeep::internals::format::expiry::Expiry;
use pagekeep::internals::format::header::SPARSE;
use pagekeep::internals::format::hold::HoldRecord;
use pagekeep::internals::format::index::{BatchCodec, BatchRef, IndexBlock, IndexEntry};
use pagekeep::internals::format::names::{HistoryNames, LogName};
use pagekeep::internals::format::proof::{Level, Proof};
use pagekeep::internals::format::record::Record;
use pagekeep::internals::format::repository::RepositoryObject;
use pagekeep::internals::format::segment::{
    BlockRef, CommitKind, CommitRecord, Location, Manifest, Origin, PART_HEADER_LEN, PartHeader,
    SegmentKind, SegmentRef,
};
use pagekeep::internals::format::slot::{
    KdfParams, MasterKey, SecretKind, SlotFront, SlotObject, encode_keyring,
};
use pagekeep::internals::format::snapshot::{SnapshotKind, SnapshotRecord};
use pagekeep::internals::format::writer::WriterClaim;
use pagekeep::internals::format::{Header, ObjectKind, SealedPrefix};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::types::{
    Digest, HistoryId, HoldId, KeyId, PageNo, PageSize, RepositoryId, SegmentId, Seq, SlotId,
    SnapshotId, Term, Timestamp, WriterToken,
};
use zeroize::Zeroizing;

use crate::support::dice::Dice;

/// How many changed copies of each seed are tried.
const MUTATIONS: u64 = 3000;

#[test]
fn every_seed_is_accepted() {
    if is_package() {
        return;
    }
    for (name, target) in targets::ALL {
        for (path, bytes) in seeds(name) {
            assert!(target(&bytes), "{} is stale: run `write_seeds`", path.display());
        }
    }
}

#[test]
fn no_change_to_a_seed_breaks_a_decoder() {
    if is_package() {
        return;
    }
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        for (n, (path, seed)) in seeds.iter().enumerate() {
            let mut dice = dice(name, n);
            let (_, other) = &seeds[(n + 1) % seeds.len()];
            for round in 0..MUTATIONS {
                let changed = mutated(seed, other, &mut dice);
                let caught = std::panic::catch_unwind(|| target(&changed));
                if caught.is_err() {
                    let hex: String = changed.iter().map(|b| format!("{b:02x}")).collect();
                    panic!("{name}: change {round} of {} fails: {hex}", path.display());
                }
            }
        }
    }
}

#[test]
fn every_cut_of_a_seed_is_taken_calmly() {
    if is_package() {
        return;
    }
    for (name, target) in targets::ALL {
        for (_, seed) in seeds(name) {
            for len in 0..seed.len() {
                let _accepted = target(&seed[..len]);
            }
        }
    }
}

#[test]
fn every_target_has_a_program_and_seeds_and_there_are_no_others() {
    if is_package() {
        return;
    }
    let names: BTreeSet<String> = targets::ALL.iter().map(|(name, _)| (*name).into()).collect();
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let bins = manifest.split("[[bin]]").skip(1).map(|bin| {
        let name = bin.lines().find_map(|l| l.strip_prefix("name = ")).unwrap();
        name.trim_matches('"').to_owned()
    });
    assert_eq!(bins.collect::<BTreeSet<_>>(), names, "[[bin]] in fuzz/Cargo.toml");
    let programs = listing("fuzz/fuzz_targets").into_iter();
    let programs: BTreeSet<_> = programs.map(|n| n.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(programs, names, "fuzz/fuzz_targets");
    assert_eq!(listing("fuzz/corpus"), names, "fuzz/corpus");
}

/// The published package has no `fuzz/`, and so no seeds. Cargo leaves this file in it.
fn is_package() -> bool {
    root().join("Cargo.toml.orig").exists()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn listing(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// The committed seeds of a target, by name. What a fuzzer found on this machine and left beside them is
/// passed over: its names are 40 hex digits.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = format!("fuzz/corpus/{target}");
    let found = |n: &String| n.len() == 40 && n.bytes().all(|b| b.is_ascii_hexdigit());
    let paths = listing(&folder).into_iter().filter(|n| !found(n));
    let seeds: Vec<_> = paths
        .map(|name| root().join(&folder).join(name))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert!(!seeds.is_empty(), "{folder} has no seeds");
    seeds
}

/// The same changes to a seed in every run.
fn dice(target: &str, seed: usize) -> Dice {
    let hash = blake3::hash(format!("{target} {seed}").as_bytes());
    Dice::new(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap()))
}

/// One to three changes: a flipped bit, a byte or a little-endian number at a boundary value, a cut, doubled
/// or inserted bytes, or the tail of another seed.
fn mutated(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.place(3) {
        let at = dice.place(bytes.len());
        match dice.place(8) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.place(8);
                }
            }
            2 => overwrite(&mut bytes, at, &dice.next().to_le_bytes()[..1]),
            3 => {
                let edges = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, u32::MAX];
                let edge = edges[dice.place(edges.len())].to_le_bytes();
                let width = [1, 2, 4][dice.place(3)];
                overwrite(&mut bytes, at, &edge[..width]);
            }
            4 => bytes.truncate(at),
            5 => {
                let end = (at + 1 + dice.place(64)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let extra = dice.next().to_le_bytes();
                let n = 1 + dice.place(8);
                bytes.splice(at..at, extra[..n].iter().copied());
            }
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(with) {
        *to = *from;
    }
}

/// Writes `fuzz/corpus/` anew: `cargo test --test format corpus::write_seeds -- --ignored`.
#[test]
#[ignore = "writes fuzz/corpus; for changes of the format or of the targets"]
fn write_seeds() {
    for (target, name, bytes) in plain_objects()
        .into_iter()
        .chain(records())
        .chain(segments())
        .chain(index_blocks())
        .chain(batches())
        .chain(texts())
    {
        let folder = root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// The target, the file's name, and its bytes.
type Seed = (&'static str, &'static str, Vec<u8>);

fn plain_objects() -> Vec<Seed> {
    let repository =
        |created| RepositoryObject { id: RepositoryId([9; 16]), created: Timestamp(created) };
    let slot = |secret: SecretKind, kdf, label: &str, keys: usize| SlotObject {
        front: SlotFront {
            id: SlotId([1; 8]),
            repository: RepositoryId([2; 16]),
            secret,
            created: Timestamp(1_777_000_000_000_000),
            kdf,
            salt: [3; 16],
            label: label.into(),
            optional: 0,
        },
        commitment: [4; 32],
        sealed: vec![5; SealedPrefix::TAG_LEN + 4 + 48 * keys],
    };
    let key =
        |n: u8| MasterKey { id: KeyId([n; 8]), created: Timestamp(n.into()), secret: [n; 32] };
    let passphrase = slot(SecretKind::Passphrase, Some(KdfParams::default()), "laptop", 1);
    vec![
        ("repository", "ordinary", repository(1_777_000_000_000_000).encode()),
        ("repository", "before-1970", repository(-1).encode()),
        ("slot", "passphrase", passphrase.encode()),
        ("slot", "key-file", slot(SecretKind::KeyFile, None, "", 2).encode()),
        ("slot", "recovery-key", slot(SecretKind::Recovery, None, "Tresor, Büro", 0).encode()),
        ("keyring", "one-key", encode_keyring(&[key(1)]).to_vec()),
        ("keyring", "three-keys", encode_keyring(&[key(1), key(2), key(3)]).to_vec()),
    ]
}

fn records() -> Vec<Seed> {
    let about = |name: &str, source: &str| About {
        created: Timestamp(1_777_000_000_000_000),
        digest_key: DigestKey([2; 32]),
        name: name.into(),
        source: source.into(),
        host: "host".into(),
    };
    let claim = |term, host: &str| WriterClaim {
        term: Term(term),
        since: Timestamp(5),
        process: 4711,
        host: host.into(),
        role: "backup".into(),
    };
    let snapshot = |kind, takes_back, label: &str| SnapshotRecord {
        seq: Seq(7),
        time: Timestamp(8),
        kind,
        takes_back,
        label: label.into(),
        digest: None,
        until: None,
    };
    let proof = |level, failure: Option<&str>| Proof {
        seq: Seq(1),
        digest: Digest([2; 16]),
        started: Timestamp(3),
        micros: 4,
        level,
        failure: failure.map(str::to_owned),
        coverage_ppm: 1_000_000,
        page_bytes: 4096,
        assertions: 6,
        host: "host".into(),
    };
    let hold = |takes_back, reason: &str| HoldRecord {
        seq: Seq(7),
        time: Timestamp(8),
        takes_back,
        reason: reason.into(),
        host: "host".into(),
        digest: None,
    };
    let expiry = |ranges: &[(u64, u64)]| Expiry {
        term: Term(3),
        time: Timestamp(1_777_000_000_000_000),
        ranges: ranges.iter().map(|(first, last)| (Seq(*first), Seq(*last))).collect(),
    };
    let many: Vec<(u64, u64)> = (0..40).map(|n| (n * 10 + 1, n * 10 + 1 + n % 9)).collect();
    let taken_back = snapshot(SnapshotKind::Scheduled, Some(SnapshotId([9; 8])), "");
    let mark = |digest| {
        let until = Some(Timestamp(1_779_592_000_000_000));
        let mark = snapshot(SnapshotKind::Mark, None, "before-schema-change-8");
        SnapshotRecord { digest, until, ..mark }
    };
    let digest = Some(Digest([6; 16]));
    let with_digest =
        SnapshotRecord { digest, ..snapshot(SnapshotKind::Manual, None, "before 2.0") };
    vec![
        ("about", "ordinary", about("app", "/srv/app.db").encode()),
        ("about", "no-words", about("", "").encode()),
        ("about", "beyond-ascii", about("Bücher 📚", "/srv/Bücher.db").encode()),
        ("writer", "ordinary", claim(4, "host").encode()),
        ("writer", "last-term", claim(u64::MAX, "").encode()),
        ("snapshot", "manual", snapshot(SnapshotKind::Manual, None, "before 2.0").encode()),
        ("snapshot", "safety", snapshot(SnapshotKind::Safety, None, "").encode()),
        ("snapshot", "taken-back", taken_back.encode()),
        ("snapshot", "mark", mark(None).encode()),
        ("snapshot", "mark-with-digest", mark(Some(Digest([6; 16]))).encode()),
        ("snapshot", "with-digest", with_digest.encode()),
        ("proof", "passed", proof(Level::Restore, None).encode()),
        ("proof", "failed", proof(Level::Data, Some("a part is damaged")).encode()),
        ("proof", "failed-without-words", proof(Level::Chain, Some("")).encode()),
        ("hold", "ordinary", hold(None, "audit").encode()),
        ("hold", "taken-back", hold(Some(HoldId([9; 8])), "").encode()),
        ("expiry", "nothing", expiry(&[]).encode()),
        ("expiry", "to-the-last", expiry(&[(1, 1), (3, u64::MAX)]).encode()),
        ("expiry", "many", expiry(&many).encode()),
    ]
}

/// A delta of two commits whose data lie inline.
fn delta() -> Manifest {
    let commit = |seq, kind| CommitRecord {
        seq: Seq(seq),
        time: Timestamp(1_777_000_000_000_000),
        pages: 70_000,
        changed: 2,
        digest: Digest([6; 16]),
        stored: 300,
        kind,
    };
    Manifest {
        history: HistoryId([1; 16]),
        term: Term(2),
        token: WriterToken([3; 16]),
        kind: SegmentKind::Delta,
        page_size: PageSize::DEFAULT,
        parent: Some(SegmentRef { id: SegmentId([4; 16]), digest: [5; 32] }),
        covers: None,
        carries: false,
        first: Seq(10),
        versions: 4,
        batches: 2,
        inline_len: 600,
        commits: vec![commit(10, CommitKind::Wal), commit(11, CommitKind::Transaction)],
        parts: vec![],
        origins: vec![],
        blocks: vec![BlockRef {
            first_page: 1,
            last_page: 70_000,
            entries: 4,
            batches: 2,
            at: Location { part: 0, offset: 400, len: 200 },
        }],
    }
}

fn segments() -> Vec<Seed> {
    let mut first = delta();
    first.kind = SegmentKind::Base;
    first.parent = None;
    first.first = Seq(1);
    first.commits.truncate(1);
    first.commits[0].seq = Seq(1);
    first.commits[0].kind = CommitKind::Scan;
    first.inline_len = 0;
    first.parts = vec![1 << 20, 5000];
    let mut block = first.blocks[0];
    block.at = Location { part: 0, offset: PART_HEADER_LEN, len: 200 };
    let next = BlockRef {
        first_page: 70_000,
        last_page: 70_001,
        at: Location { part: 1, offset: 4800, len: 200 },
        ..block
    };
    first.blocks = vec![block, next];
    first.versions = 8;
    let mut merged = delta();
    merged.covers = Some(SegmentRef { id: SegmentId([7; 16]), digest: [8; 32] });
    merged.commits[1].seq = Seq(90);
    merged.origins = vec![Origin { key: KeyId([1; 8]), segment: SegmentId([9; 16]) }];
    let mut unchanged = delta();
    (unchanged.versions, unchanged.batches, unchanged.inline_len) = (0, 0, 0);
    unchanged.blocks.clear();
    // Bases with a parent that carry a commit, one of them nothing else; a segment of the log with a gap; many commits.
    let mut carrying = merged.clone();
    (carrying.kind, carrying.carries) = (SegmentKind::Base, true);
    let mut alone = carrying.clone();
    alone.commits.remove(0);
    let mut gaps = delta();
    gaps.commits[1].seq = Seq(12);
    let mut many = delta();
    let next = |n: u64| CommitRecord { seq: Seq(10 + n), ..many.commits[1] };
    many.commits = (0..200).map(next).collect();
    let part = |n| PartHeader { key: KeyId([1; 8]), segment: SegmentId([2; 16]), part: n };
    let prefix = |kind, body_len| SealedPrefix {
        header: Header::new(kind),
        key: KeyId([3; 8]),
        object: [4; 16],
        body_len,
    };
    let mut flagged = prefix(ObjectKind::Snapshot, 100);
    flagged.header.optional = 1;
    let mut sparse = prefix(ObjectKind::Segment, 300);
    sparse.header.required = SPARSE;
    vec![
        ("manifest", "delta-inline", delta().encode()),
        ("manifest", "base-in-parts", first.encode()),
        ("manifest", "merged", merged.encode()),
        ("manifest", "no-pages", unchanged.encode()),
        ("manifest", "base-that-carries", carrying.encode()),
        ("manifest", "only-a-carried-commit", alone.encode()),
        ("manifest", "log-with-gaps", gaps.encode()),
        ("manifest", "many-commits", many.encode()),
        ("part_header", "first", part(0).encode()),
        ("part_header", "last", part(u32::MAX).encode()),
        ("sealed_prefix", "about", prefix(ObjectKind::About, 100).encode()),
        ("sealed_prefix", "manifest", prefix(ObjectKind::Segment, 1 << 20).encode()),
        ("sealed_prefix", "optional-flag", flagged.encode()),
        ("sealed_prefix", "sparse", sparse.encode()),
        ("sealed_prefix", "hold", prefix(ObjectKind::Hold, 50).encode()),
        ("sealed_prefix", "expiry", prefix(ObjectKind::Expiry, 50).encode()),
    ]
}

/// Two batches of which four page versions take their pages, and one batch with one page.
fn blocks() -> [IndexBlock; 2] {
    let batch = |number, pages, origin, codec| BatchRef {
        at: Location { part: 0, offset: PART_HEADER_LEN, len: 100 },
        number,
        pages,
        origin,
        codec,
    };
    let entry = |page, commit, batch, slot| IndexEntry {
        page: PageNo(page),
        commit,
        batch,
        slot,
        digest: Digest([7; 16]),
    };
    let two = IndexBlock {
        batches: vec![batch(0, 3, 0, BatchCodec::Zstd), batch(1, 1, 1, BatchCodec::Stored)],
        entries: vec![
            entry(1, 0, 0, 0),
            entry(1, 1, 0, 1),
            entry(9, 0, 0, 2),
            entry(70_000, 1, 1, 0),
        ],
    };
    let one = IndexBlock {
        batches: vec![batch(u32::MAX, u16::MAX, 0, BatchCodec::Zstd)],
        entries: vec![entry(u32::MAX, 0, 0, u16::MAX - 1)],
    };
    [two, one]
}

fn index_blocks() -> Vec<Seed> {
    let count = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let mut seeds = Vec::new();
    for (name, block) in ["two-batches", "one-page"].into_iter().zip(blocks()) {
        let counts = [count(block.batches.len()), count(block.entries.len())].concat();
        let plain = block.encode();
        let frame = zstd::bulk::compress(&plain, 1).unwrap();
        let commits = count(2);
        seeds.push(("index_block", name, [&counts[..], &commits, &plain].concat()));
        seeds.push(("index_frame", name, [&counts[..], &frame].concat()));
    }
    seeds
}

fn batches() -> Vec<Seed> {
    let plain = b"the same words again and again. ".repeat(32);
    let len = u32::try_from(plain.len()).unwrap().to_le_bytes();
    let pages = 2u16;
    let sealed = |compression| {
        let mut encoder = Encoder::new(compression, SelfCheck::Every).unwrap();
        let batch = encoder.encode(&targets::data_seal(), targets::NUMBER, pages, &plain).unwrap();
        [&[batch.codec as u8][..], &pages.to_le_bytes(), &len, &batch.bytes].concat()
    };
    let framed = |level, plain: &[u8]| {
        let len = u32::try_from(plain.len()).unwrap().to_le_bytes();
        let frame = zstd::bulk::compress(plain, level).unwrap();
        [&pages.to_le_bytes()[..], &len, &frame].concat()
    };
    let noise: Vec<u8> =
        (0..8u32).flat_map(|i| *blake3::hash(&i.to_le_bytes()).as_bytes()).collect();
    vec![
        ("batch_sealed", "zstd", sealed(Compression::Fast)),
        ("batch_sealed", "stored", sealed(Compression::Off)),
        ("batch_frame", "words", framed(1, &plain)),
        ("batch_frame", "words-hard", framed(19, &plain)),
        ("batch_frame", "noise", framed(1, &noise)),
        ("batch_frame", "zeros", framed(1, &[0; 8192])),
    ]
}

fn texts() -> Vec<Seed> {
    let of = HistoryNames(HistoryId([0xab; 16]));
    let (first, last) = (Seq(1), Seq(0x1234));
    let whole_names = [
        ("slot", pagekeep::internals::format::names::slot(SlotId([1; 8]))),
        ("writer", of.writer(Term(9))),
        ("sign", of.sign(Term(9), 2)),
        ("log", of.segment(LogName { term: Term(3), first: last })),
        ("merged", of.merged_segment(first, last, SegmentId([2; 16]))),
        ("snapshot", of.snapshot(last, SnapshotId([1; 8]))),
        ("part", of.part(SegmentId([2; 16]), 7)),
        ("proof", of.proof(last, Timestamp(-1), WriterToken([2; 16]))),
        ("hold", of.hold(last, HoldId([3; 8]))),
        ("expiry", of.expiry(Term(4), WriterToken([2; 16]))),
    ];
    let tails = [
        ("tail-of-two-numbers", "0000000000000003-0000000000001234"),
        ("tail-of-a-history", "abababababababababababababababab"),
    ];
    let printed = |n| {
        let secret = Secret::Recovery(Zeroizing::new([n; 32]));
        secret.print_recovery().unwrap().to_string()
    };
    let typed = printed(0x5a).to_lowercase().replace('-', " ").replace('0', "o");
    let selectors = [
        ("latest", 0, "latest"),
        ("before-latest", 1, "latest~2"),
        ("number", 2, "seq:17"),
        ("label", 3, "label:before migration"),
        ("span", 4, "1h30m ago"),
        ("spans", 5, "1 day 2 hours ago"),
        ("rfc-3339", 6, "2026-05-01T12:00:00Z"),
        ("day", 7, "2026-05-01"),
        ("yesterday", 8, "yesterday 18:00"),
        ("today", 0, "today 09:15:30.123456789"),
        ("never-was", 1, "2026-03-29 02:30"),
        ("was-twice", 2, "2026-10-25 02:30"),
        ("far-year", 0, "+200000-01-01 23:59:60"),
        ("target", 0, "app@seq:3"),
    ];
    let mut seeds: Vec<Seed> =
        whole_names.into_iter().map(|(name, text)| ("names", name, text.into())).collect();
    seeds.extend(tails.map(|(name, text)| ("names", name, text.into())));
    seeds.push(("recovery_key", "printed", printed(0x11).into()));
    seeds.push(("recovery_key", "typed", typed.into()));
    seeds.extend(selectors.map(|(name, choice, text)| {
        ("selector", name, format!("{}{text}", char::from(choice)).into())
    }));
    seeds
}
