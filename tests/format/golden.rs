//! The format does not change by accident.
//!
//! - `testdata/format/v1/repository` was written once by a release build. Every later version opens it with each of its keys and
//!   restores every commit to what `expected.json` says. No test ever writes it again.
//! - `testdata/format/v1/vectors.json` has the intermediate values of one object of each kind. They are computed twice, by the
//!   library and by the document's formulas, and must equal the file. After a change of `golden/inputs.rs`,
//!   `PAGEKEEP_BLESS=1 cargo test --test format golden::` writes the file anew; that it did so is a failure of that run.

mod document;
mod inputs;
mod library;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::{objects, quick_dir, restored, restored_raw, store_of, verify_all};
use document::{hex, unhex};
use pagekeep::internals::format::ObjectKind;
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::repo::Repository;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::write::term::newest_claim;
use pagekeep::internals::store::{LocalStore, Store};
use pagekeep::{Error, ErrorKind, RepositoryOptions, Result};
use serde_json::{Value, json};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/format/v1").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(golden(name)).unwrap()
}

/// The objects of the golden repository.
fn golden_objects() -> BTreeMap<String, Vec<u8>> {
    objects(&LocalStore::open(golden("repository")).unwrap())
}

#[test]
fn each_key_opens_the_golden_repository_and_every_commit_comes_back() {
    let expected: Value = serde_json::from_str(&text("expected.json")).unwrap();
    let secrets = [
        Secret::read_key_file(&golden("key")).unwrap(),
        Secret::passphrase(text("password").trim_end().to_owned()).unwrap(),
        Secret::parse_recovery(&text("recovery-key")).unwrap(),
    ];
    let dir = quick_dir();
    for secret in &secrets {
        let store = Arc::new(store_of(&golden_objects()));
        let repository =
            Repository::open(store, secret, &RepositoryOptions::new(dir.path().join("state")))
                .unwrap();
        let histories = repository.histories().unwrap();
        let found: Vec<Value> = histories.iter().map(|h| described(h, dir.path())).collect();
        assert_eq!(json!({"histories": found}), expected, "{secret:?}");
        for history in &histories {
            let report = verify_all(history, Level::Data, dir.path()).unwrap();
            assert_eq!(report.findings, [], "{}", history.name());
            assert_eq!(report.strays, 0);
        }
    }
}

/// A history as `expected.json` describes it, with what its commits restore to.
fn described(history: &History, dir: &Path) -> Value {
    let chain = history.chain().unwrap();
    let snapshots = history.snapshots().unwrap();
    let commits = chain.commits().map(|commit| {
        let labels = snapshots.iter().filter(|s| s.seq == commit.seq);
        let bytes = restored(history, commit.seq.0, dir).unwrap();
        json!({
            "seq": commit.seq,
            "kind": commit.record.kind.name(),
            "pages": commit.record.pages,
            "page_size": commit.segment.manifest.page_size,
            "labels": labels.map(|s| &*s.label).collect::<Vec<_>>(),
            "digest": commit.record.digest,
            "blake3": blake3::hash(&bytes).to_hex().to_string(),
        })
    });
    json!({"name": history.name(), "commits": commits.collect::<Vec<_>>()})
}

#[test]
fn the_golden_repository_has_what_the_format_has() {
    let objects = golden_objects();
    // Its first release wrote no others; the vectors have every kind.
    let later = [ObjectKind::Hold, ObjectKind::Expiry, ObjectKind::Head];
    for kind in ObjectKind::ALL {
        let there = objects.values().any(|bytes| bytes[4] == kind.number());
        assert_eq!(there, !later.contains(&kind), "{kind:?}");
    }
    let secret = Secret::read_key_file(&golden("key")).unwrap();
    let dir = quick_dir();
    let store = Arc::new(store_of(&objects));
    let repository = Repository::open(store, &secret, &RepositoryOptions::new(dir.path())).unwrap();
    assert_eq!(repository.slots().unwrap().len(), 3);
    let orders = repository.history("orders").unwrap();
    let proofs = orders.proofs().unwrap();
    assert_eq!(proofs.len(), 3);
    assert_eq!(proofs.iter().filter(|proof| proof.failure.is_some()).count(), 1);
    assert_eq!(newest_claim(&orders).unwrap().unwrap().term.0, 2);
    let archive = repository.history("archive").unwrap().chain().unwrap();
    let parts: Vec<_> = archive.segments().iter().map(|s| s.manifest.parts.len()).collect();
    assert_eq!(parts, [1, 0, 1, 0, 0]);
}

#[test]
fn the_vectors_are_what_the_document_and_the_library_say() {
    let computed = document::vectors();
    assert_eq!(document::objects(&computed), library::objects());
    for digest in computed["page_digests"].as_array().unwrap() {
        let number = u32::try_from(digest["page"].as_u64().unwrap()).unwrap();
        let seq = (1..=7).find(|seq| hex(&inputs::page(number, *seq)) == digest["content"]);
        let by_library = library::page_digest(number, seq.unwrap());
        assert_eq!(hex(&by_library.0), digest["digest"]);
    }
    let printed = &computed["secrets"]["recovery_key"]["text"];
    let recovery = Secret::parse_recovery(printed.as_str().unwrap()).unwrap();
    assert_eq!(**recovery.print_recovery().unwrap(), *printed);
    assert!(matches!(&recovery, Secret::Recovery(key) if **key == inputs::RECOVERY_KEY));
    let kinds: BTreeSet<_> = library::objects().values().map(|bytes| bytes[4]).collect();
    assert!(ObjectKind::ALL.into_iter().all(|kind| kinds.contains(&kind.number())), "{kinds:?}");

    let mut written = serde_json::to_string_pretty(&computed).unwrap();
    written.push('\n');
    let differs = fs::read_to_string(golden("vectors.json")).ok() != Some(written.clone());
    if differs && std::env::var_os("PAGEKEEP_BLESS").is_some_and(|v| v == "1") {
        fs::write(golden("vectors.json"), written).unwrap();
        panic!(
            "wrote vectors.json anew: look at the difference, then run the test again without PAGEKEEP_BLESS"
        );
    }
    assert!(!differs, "vectors.json is not what the document and the library say");
}

/// Marks came later than the vectors, and change none of them.
#[test]
fn marks_are_what_the_document_and_the_library_say() {
    let computed = document::marks();
    assert_eq!(document::objects(&computed), library::marks());
    let file = golden("../marks/vectors.json");
    let written = serde_json::to_string_pretty(&computed).unwrap() + "\n";
    let differs = fs::read_to_string(&file).ok().as_ref() != Some(&written);
    if differs && std::env::var_os("PAGEKEEP_BLESS").is_some_and(|v| v == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, written).unwrap();
        panic!("wrote the marks anew: look at the difference, then run the test again");
    }
    assert!(!differs, "the marks are not what the document and the library say");

    let (dir, mut objects) = (quick_dir(), vector_objects(&json!([])));
    objects.extend(document::objects(&computed));
    let store = Arc::new(store_of(&objects));
    let options = RepositoryOptions::new(dir.path());
    let repository = Repository::open(store.clone(), &vector_secret(), &options).unwrap();
    let history = repository.history("app").unwrap();
    let labels = history.snapshots().unwrap();
    let found = labels.iter().map(|label| (label.seq.0, &*label.label, label.until.map(|t| t.0)));
    let until = inputs::TIME + 2_592_000_000_000;
    let expected = [(2, "before the sale", None), (4, "before-schema-change-5", Some(until))];
    assert!(found.eq(expected), "{labels:?}");
    let commit = history.chain().unwrap().commit(labels[1].seq).unwrap();
    assert!(labels[1].names(&commit));
    read(store, &vector_secret(), dir.path()).unwrap();
}

/// The objects of the vectors, without some of them.
fn vector_objects(without: &Value) -> BTreeMap<String, Vec<u8>> {
    let vectors: Value = serde_json::from_str(&text("vectors.json")).unwrap();
    let mut objects = document::objects(&vectors);
    for name in without.as_array().unwrap() {
        objects.remove(name.as_str().unwrap()).unwrap();
    }
    objects
}

/// The key of [`vector_objects`].
fn vector_secret() -> Secret {
    Secret::KeyFile(zeroize::Zeroizing::new(inputs::KEY_FILE))
}

#[test]
fn the_vectors_are_a_repository_that_each_key_opens() {
    let vectors: Value = serde_json::from_str(&text("vectors.json")).unwrap();
    let dir = quick_dir();
    let key_file = dir.path().join("key");
    let said = |kind: &str| vectors["secrets"][kind]["text"].as_str().unwrap().to_owned();
    fs::write(&key_file, said("key_file")).unwrap();
    let secrets = [
        Secret::passphrase(said("passphrase")).unwrap(),
        Secret::read_key_file(&key_file).unwrap(),
        Secret::parse_recovery(&said("recovery_key")).unwrap(),
    ];
    let check = |reading: &Value, secret| {
        let store = Arc::new(store_of(&vector_objects(&reading["without"])));
        let repository =
            Repository::open(store, secret, &RepositoryOptions::new(dir.path().join("state")))
                .unwrap();
        let history = repository.history("app").unwrap();
        let chain = history.chain().unwrap();
        let seqs: Vec<u64> = chain.commits().map(|commit| commit.seq.0).collect();
        assert_eq!(json!(seqs), reading["commits"], "{reading}");
        assert_eq!(chain.unreadable(), [""; 0], "{reading}");
        for seq in seqs {
            let database = &vectors["databases"][usize::try_from(seq).unwrap() - 1];
            let bytes = restored_raw(&history, &chain, seq, dir.path()).unwrap();
            assert!(bytes == unhex(&database["bytes"]), "commit {seq}: {reading}");
        }
        let labels = history.snapshots().unwrap();
        assert!(
            labels.iter().map(|label| (label.seq.0, &*label.label)).eq([(2, "before the sale")])
        );
        let holds = history.holds().unwrap();
        assert!(holds.iter().map(|hold| (hold.seq.0, &*hold.reason)).eq([(4, "Prüfung 2026")]));
        assert_eq!(verify_all(&history, Level::Data, dir.path()).unwrap().findings, []);
        assert_eq!(history.proofs().unwrap().len(), 2);
    };
    let readings = vectors["readings"].as_array().unwrap();
    for secret in &secrets {
        check(&readings[0], secret);
    }
    for reading in readings {
        check(reading, &secrets[1]);
    }
}

/// Reads all that there is. The headers of parts are verify's to read: the seals of a segment vouch for what a restore takes.
fn read(store: Arc<dyn Store>, secret: &Secret, dir: &Path) -> Result<()> {
    let repository = Repository::open(store, secret, &RepositoryOptions::new(dir.join("state")))?;
    for history in repository.histories()? {
        newest_claim(&history)?;
        history.snapshots()?;
        history.holds()?;
        history.proofs()?;
        let chain = history.chain()?;
        for commit in chain.commits() {
            restored_raw(&history, &chain, commit.seq.0, dir)?;
        }
        if let Some(found) = verify_all(&history, Level::Chain, dir)?.findings.first() {
            return Err(Error::new(ErrorKind::Damaged, &*found.message).with_object(&*found.object));
        }
    }
    Ok(())
}

const VERSION: usize = 5;
const REQUIRED_FEATURES: usize = 6;

#[test]
fn a_later_version_and_an_unknown_feature_count_only_where_something_vouches_for_them() {
    let secret = Secret::read_key_file(&golden("key")).unwrap();
    let dir = quick_dir();
    // The vectors without merged segments: with those, the part would not be on the chain.
    let vectors: Value = serde_json::from_str(&text("vectors.json")).unwrap();
    let without = &vectors["readings"][2]["without"];
    for (sound, secret) in [(golden_objects(), secret), (vector_objects(without), vector_secret())]
    {
        read(Arc::new(store_of(&sound)), &secret, dir.path()).unwrap();
        let kinds = sound.values().map(|bytes| bytes[4]).collect::<BTreeSet<_>>();
        let of_vectors = kinds.len() == ObjectKind::ALL.len();
        for kind in ObjectKind::ALL.into_iter().filter(|kind| kinds.contains(&kind.number())) {
            let mut changes =
                vec![(VERSION, 3), (REQUIRED_FEATURES, 4), (REQUIRED_FEATURES + 1, 128)];
            if of_vectors {
                let bits = |byte| (0..8).map(move |bit| (byte, 1 << bit));
                changes.extend(bits(REQUIRED_FEATURES).chain(bits(REQUIRED_FEATURES + 1)));
            }
            for (byte, bits) in changes {
                let mut raised = sound.clone();
                let of_kind = raised.values_mut().filter(|bytes| bytes[4] == kind.number());
                of_kind.for_each(|bytes| bytes[byte] ^= bits);
                if [ObjectKind::Repository, ObjectKind::Slot].contains(&kind) {
                    let mut vouched = raised.clone();
                    let of_kind = vouched.values_mut().filter(|bytes| bytes[4] == kind.number());
                    of_kind.for_each(|bytes| {
                        let (body, sum) = bytes.split_last_chunk_mut::<16>().unwrap();
                        sum.copy_from_slice(&blake3::hash(body).as_bytes()[..16]);
                    });
                    let e = read(Arc::new(store_of(&vouched)), &secret, dir.path()).unwrap_err();
                    assert_eq!(e.kind(), ErrorKind::TooNew, "{kind:?}, byte {byte} ^ {bits}: {e}");
                    assert!(e.message().contains("newer version"), "{e}");
                }
                let read = read(Arc::new(store_of(&raised)), &secret, dir.path());
                // Heads are for those who delete; nobody who reads looks at them.
                if kind == ObjectKind::Head {
                    read.unwrap();
                    continue;
                }
                let e = read.unwrap_err();
                let what = format!("{kind:?}, byte {byte} ^ {bits}: {e}");
                // Nothing vouches for them.
                assert_eq!(e.kind(), ErrorKind::Damaged, "{what}");
            }
        }
    }
}

/// A sparse segment under another flag, or without it, is none: what it covers counts while that is there, and else it is an
/// error that names it.
#[test]
fn a_sparse_segment_is_one_by_its_flag() {
    let vectors: Value = serde_json::from_str(&text("vectors.json")).unwrap();
    let dir = quick_dir();
    for flag in [1, 2] {
        for covered in [false, true] {
            let mut objects = vector_objects(&vectors["readings"][usize::from(covered)]["without"]);
            let sparse = |(_, bytes): &(&String, &mut Vec<u8>)| {
                bytes[4] == ObjectKind::Segment.number() && bytes[REQUIRED_FEATURES] == 1
            };
            let (name, bytes) = objects.iter_mut().find(sparse).unwrap();
            bytes[REQUIRED_FEATURES] ^= flag;
            let name = name.clone();
            let store = Arc::new(store_of(&objects));
            let repository =
                Repository::open(store, &vector_secret(), &RepositoryOptions::new(dir.path()))
                    .unwrap();
            let chain = repository.history("app").unwrap().chain();
            if covered {
                let e = chain.unwrap_err();
                assert_eq!((e.kind(), e.object()), (ErrorKind::Damaged, Some(&*name)));
            } else {
                let chain = chain.unwrap();
                assert!(chain.commits().map(|commit| commit.seq.0).eq([1, 4, 7]));
                assert_eq!(chain.unreadable(), [name]);
            }
        }
    }
}
