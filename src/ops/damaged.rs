//! Makes `testdata/damaged`: a small repository of each kind of damage, with what must remain
//! restorable. They are made once and read for ever, by `tests/engine/damaged.rs` and by the reader
//! in Python:
//!
//! ```text
//! cargo test --lib -- --ignored make_damaged_repositories
//! ```
//!
//! A kind that is there already is left alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::format::slot::KdfParams;
use crate::format::snapshot::SnapshotKind;
use crate::ops::copy::CopyOptions;
use crate::ops::trial::{Bench, HOUR};
use crate::progress::Silent;
use crate::repo::Repository;
use crate::repo::merge::{Keep, Options, merge};
use crate::repo::write::term::{Claim, PRUNE};
use crate::store::{MemoryStore, Store};
use crate::types::{SegmentId, Seq, Term, WriterToken};

/// What a kind of damage leaves: commits that can be restored, and whether nothing tells which was
/// the newest.
struct Remains {
    restorable: BTreeSet<u64>,
    newest_lost: bool,
    /// Whether something is damaged though no commit is lost.
    faulty: bool,
}

impl Remains {
    fn all_but(lost: &[u64]) -> Self {
        let restorable = (1..=9).filter(|seq| !lost.contains(seq)).collect();
        Self { restorable, newest_lost: false, faulty: false }
    }
}

/// Nine commits; the fourth is of another page size, so it begins a base, and the fifth and all
/// others store less than all. The last four are of a later term.
fn bench(seed: u64) -> Bench {
    let mut bench = Bench::with_page_size(seed, 512);
    bench.app.execute_batch("PRAGMA auto_vacuum=0; VACUUM").unwrap();
    bench.app.execute_batch("INSERT INTO t(x) VALUES(zeroblob(4000))").unwrap();
    for n in 1..=9 {
        bench.pass(HOUR);
        let sql = match n {
            4 => "PRAGMA page_size=1024; VACUUM".to_owned(),
            n => format!("INSERT INTO t(x) VALUES('commit {n}')"),
        };
        bench.app.execute_batch(&sql).unwrap();
        if n == 6 {
            Claim::take(&bench.history, PRUNE).unwrap();
        }
        assert_eq!(bench.capture(), Seq(n));
    }
    let names = [(Seq(2), "early"), (Seq(5), "middle"), (Seq(9), "late")];
    for (seq, label) in names {
        bench.history.add_snapshot(seq, label, SnapshotKind::Manual).unwrap();
    }
    bench
}

fn name_of(bench: &Bench, seq: u64) -> String {
    bench.history.chain().unwrap().commit(Seq(seq)).unwrap().segment.name().to_owned()
}

fn change(store: &MemoryStore, name: &str, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = store.get(name, u64::MAX).unwrap().unwrap();
    how(&mut bytes);
    store.damage(name, &bytes);
}

/// A merge of a lower term than the segment of the log that it follows: what a prune left beside a
/// writer that had renewed its turn.
fn low_term(bench: &Bench, originals: bool) -> Remains {
    let chain = bench.history.chain().unwrap();
    let late = Claim { term: Term(1), token: WriterToken([9; 16]) };
    merge(&bench.history, &chain, 6..8, &late, &Options::new(Keep::All), &Silent).unwrap();
    if !originals {
        for segment in &chain.segments()[6..8] {
            bench.store.delete(segment.name()).unwrap();
        }
    }
    Remains::all_but(&[])
}

type Kind = (&'static str, fn(&Bench) -> Remains);

const KINDS: [Kind; 11] = [
    ("merge-of-a-lower-term", |bench| low_term(bench, true)),
    ("merge-of-a-lower-term-alone", |bench| low_term(bench, false)),
    // What is built on it is lost up to the next base.
    ("missing-in-the-middle", |bench| {
        bench.store.delete(&name_of(bench, 2)).unwrap();
        Remains::all_but(&[2, 3])
    }),
    ("damaged-newest", |bench| {
        change(&bench.store, &name_of(bench, 9), |bytes| bytes[60] ^= 1);
        Remains { newest_lost: true, ..Remains::all_but(&[9]) }
    }),
    ("junk", |bench| {
        let names = bench.history.names();
        for name in [
            format!("{}ffffffffffffffff-ffffffffffffffff", names.log()),
            format!("{}ffffffffffffffff", names.writers()),
            format!("{}0000000000000001-ffffffffffffffff-{}", names.merged(), SegmentId([7; 16])),
            format!("{}0000000000000001-0000000000000008-{}", names.merged(), SegmentId([8; 16])),
        ] {
            bench.store.create(&name, &[0x5a; 300]).unwrap();
        }
        Remains::all_but(&[])
    }),
    ("trailing-bytes", |bench| {
        for seq in [3, 9] {
            change(&bench.store, &name_of(bench, seq), |bytes| bytes.extend([0; 5]));
        }
        Remains::all_but(&[])
    }),
    // Of every kind of small object.
    ("bytes-behind-records", |bench| {
        for name in listed(&bench.store).into_iter().chain(["repository".to_owned()]) {
            if bench.history.names().parse_segment(&name).is_none() {
                change(&bench.store, &name, |bytes| bytes.extend([0xa5; 9]));
            }
        }
        Remains::all_but(&[])
    }),
    ("damaged-pages", |bench| {
        change(&bench.store, &name_of(bench, 2), |bytes| {
            let at = bytes.len() - 40;
            bytes[at] ^= 1;
        });
        Remains::all_but(&[2, 3])
    }),
    ("about-missing", |bench| {
        bench.store.delete(&bench.history.names().about()).unwrap();
        Remains { faulty: true, ..Remains::all_but(&[]) }
    }),
    // The version that a label tells, and a feature that a claim tells.
    ("header-of-a-record", |bench| {
        let names = bench.history.names();
        let label = bench.store.list(&names.snapshots()).unwrap().remove(1);
        change(&bench.store, &label.name, |bytes| bytes[5] ^= 2);
        let claim = bench.store.list(&names.writers()).unwrap().remove(0);
        change(&bench.store, &claim.name, |bytes| bytes[7] ^= 0x40);
        Remains { faulty: true, ..Remains::all_but(&[]) }
    }),
    ("header-of-a-segment", |bench| {
        change(&bench.store, &name_of(bench, 2), |bytes| bytes[6] ^= 0x10);
        Remains::all_but(&[2, 3])
    }),
];

/// Writes a repository and what must remain of it.
fn write(dir: &Path, store: &MemoryStore, bench: &Bench, remains: &Remains) {
    for name in ["repository".to_owned()].into_iter().chain(listed(store)) {
        let path = dir.join("repository").join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, store.get(&name, u64::MAX).unwrap().unwrap()).unwrap();
    }
    fs::write(dir.join("recovery-key"), &*bench.secret.print_recovery().unwrap()).unwrap();
    let hash = |seq: &u64| blake3::hash(&bench.expected[&Seq(*seq)]).to_hex().to_string();
    let restorable: serde_json::Map<String, serde_json::Value> =
        remains.restorable.iter().map(|seq| (seq.to_string(), json!(hash(seq)))).collect();
    let lost: Vec<u64> = (1..=9).filter(|seq| !remains.restorable.contains(seq)).collect();
    let mut expected = json!({
        "history": "app", "restorable": restorable, "lost": lost, "newest_lost": remains.newest_lost,
    });
    if remains.faulty {
        expected["faulty"] = true.into();
    }
    let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
    fs::write(dir.join("expected.json"), text).unwrap();
}

fn listed(store: &MemoryStore) -> Vec<String> {
    let prefixes = ["keys/", "histories/"];
    prefixes.iter().flat_map(|p| store.list(p).unwrap()).map(|e| e.name).collect()
}

/// A part of a large segment is missing: of a copy, which packs a base into parts however well it
/// compresses.
fn missing_part(dir: &Path) {
    let mut bench = Bench::with_page_size(20, 4096);
    bench.app.execute_batch("PRAGMA auto_vacuum=0; VACUUM").unwrap();
    for n in 1..=9 {
        bench.pass(HOUR);
        let sql = match n {
            3 => "INSERT INTO t(x) VALUES(zeroblob(900000))".to_owned(),
            6 => "DELETE FROM t; PRAGMA page_size=1024; VACUUM".to_owned(),
            n => format!("INSERT INTO t(x) VALUES('commit {n}')"),
        };
        bench.app.execute_batch(&sql).unwrap();
        assert_eq!(bench.capture(), Seq(n));
    }
    let store = MemoryStore::new();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let to = Repository::init(shared, &[(&bench.secret, "")], kdf, &bench.machine("copy")).unwrap();
    let options = CopyOptions::default();
    bench.history.copy_to(&to, &options, &Silent).unwrap();
    let parts = store.list(&bench.history.names().data()).unwrap();
    assert!(!parts.is_empty(), "the copy has no parts");
    for part in parts {
        store.delete(&part.name).unwrap();
    }
    // The stretch that lies in parts, and what is built on it.
    let twin = to.history("app").unwrap();
    let chain = twin.readable_chain().unwrap();
    let in_parts = |seq: u64| chain.lineage(Seq(seq)).iter().any(|s| !s.manifest.parts.is_empty());
    let restorable = (1..=9).filter(|seq| !in_parts(*seq)).collect();
    write(dir, &store, &bench, &Remains { restorable, newest_lost: false, faulty: false });
}

#[test]
#[ignore = "writes testdata/damaged; for another kind of damage"]
fn make_damaged_repositories() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/damaged");
    for (seed, (kind, damage)) in (30..).zip(KINDS) {
        let dir = root.join(kind);
        if !dir.exists() {
            let bench = bench(seed);
            let remains = damage(&bench);
            write(&dir, &bench.store, &bench, &remains);
        }
    }
    let dir = root.join("missing-part");
    if !dir.exists() {
        missing_part(&dir);
    }
}
