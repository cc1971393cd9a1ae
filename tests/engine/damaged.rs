//! Damaged repositories of every kind that is known, as `testdata/damaged` keeps them: what must remain restorable is, before a repair and
//! after it, and nothing else is offered in the place of what is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{quick_dir, verify_all};
use pagekeep::ErrorKind;
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::ops::point::RestorePoint;
use pagekeep::internals::ops::repair::RepairOptions;
use pagekeep::internals::ops::restore::{Check, RestoreOptions};
use pagekeep::internals::ops::select::select;
use pagekeep::internals::policy::selector::Selector;
use pagekeep::internals::progress::Silent;
use pagekeep::internals::repo::chain::Chain;
use pagekeep::internals::repo::history::handle::History;
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::open_store;
use pagekeep::internals::types::Seq;
use serde_json::Value;

struct Kind {
    name: String,
    dir: PathBuf,
    /// The hash of each commit's database.
    restorable: BTreeMap<u64, String>,
    lost: Vec<u64>,
    newest_lost: bool,
    /// Whether something is damaged though no commit is lost.
    faulty: bool,
}

fn kinds() -> Vec<Kind> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/damaged");
    let dirs = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
    dirs.map(|dir| {
        let expected = fs::read(dir.join("expected.json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let hashes = expected["restorable"].as_object().unwrap().iter();
        let restorable =
            hashes.map(|(seq, hash)| (seq.parse().unwrap(), hash.as_str().unwrap().to_owned()));
        let lost = expected["lost"].as_array().unwrap().iter().map(|seq| seq.as_u64().unwrap());
        Kind {
            name: dir.file_name().unwrap().to_str().unwrap().to_owned(),
            restorable: restorable.collect(),
            lost: lost.collect(),
            newest_lost: expected["newest_lost"].as_bool().unwrap(),
            faulty: expected.get("faulty").is_some_and(|faulty| faulty == true),
            dir,
        }
    })
    .collect()
}

fn open(kind: &Kind, repository: &Path, state: &Path) -> History {
    let text = fs::read_to_string(kind.dir.join("recovery-key")).unwrap();
    let secret = Secret::parse_recovery(&text).unwrap();
    let store = open_store(repository.to_str().unwrap()).unwrap();
    Repository::open(store, &secret, &RepositoryOptions::new(state).threads(1))
        .unwrap()
        .history("app")
        .unwrap()
}

/// Restores what must be restorable, and nothing of what is lost.
fn check(kind: &Kind, history: &History, chain: &Chain, dir: &Path) {
    let what = &kind.name;
    let options = RestoreOptions::default().check(Check::Full).force(true);
    let target = dir.join("restored.db");
    for (seq, hash) in &kind.restorable {
        let commit = select(history, chain, &Selector::Seq(Seq(*seq)))
            .unwrap_or_else(|e| panic!("{what}: {seq}: {e}"));
        RestorePoint::of(history, chain, &commit)
            .restore(&target, &options, &Silent)
            .unwrap_or_else(|e| panic!("{what}: {seq}: {e}"));
        let found = blake3::hash(&fs::read(&target).unwrap()).to_hex().to_string();
        assert_eq!(found, *hash, "{what}: {seq}");
    }
    for seq in &kind.lost {
        let found = select(history, chain, &Selector::Seq(Seq(*seq))).and_then(|commit| {
            RestorePoint::of(history, chain, &commit).restore(&target, &options, &Silent)
        });
        let kind = found.expect_err(what).kind();
        assert!(
            matches!(kind, ErrorKind::Damaged | ErrorKind::NotFound),
            "{what}: {seq}: {kind:?}"
        );
    }
}

#[test]
fn what_remains_of_a_damaged_repository_can_be_restored_before_a_repair_and_after() {
    let kinds = kinds();
    let names: BTreeSet<&str> = kinds.iter().map(|kind| &*kind.name).collect();
    assert!(names.len() >= 11, "{names:?}");
    for kind in &kinds {
        let dir = quick_dir();
        let history = open(kind, &kind.dir.join("repository"), &dir.path().join("first"));
        let chain = history.readable_chain().unwrap();
        check(kind, &history, &chain, dir.path());
        let latest = select(&history, &chain, &Selector::Latest(0));
        assert_eq!(latest.is_err(), kind.newest_lost, "{}", kind.name);
        // Repaired in another place.
        let copied = dir.path().join("repository");
        copy(&kind.dir.join("repository"), &copied);
        let history = open(kind, &copied, &dir.path().join("second"));
        let options = RepairOptions::default().apply(true).data(true);
        let report = history
            .repair(None, &options, &Silent)
            .unwrap_or_else(|e| panic!("{}: {e}", kind.name));
        let sound = kind.lost.is_empty() && !kind.faulty;
        assert_eq!(report.is_sound(), sound, "{}: {report:?}", kind.name);
        assert_eq!(report.lost.is_empty(), kind.lost.is_empty(), "{}: {report:?}", kind.name);
        let chain = history.chain().unwrap_or_else(|e| panic!("{}: {e}", kind.name));
        check(kind, &history, &chain, dir.path());
        let offered: BTreeSet<u64> = chain.commits().map(|c| c.seq.0).collect();
        assert!(kind.lost.iter().all(|seq| !offered.contains(seq)), "{}: {offered:?}", kind.name);
        let found = verify_all(&history, Level::Data, dir.path()).unwrap().findings;
        assert_eq!(found, [], "{}", kind.name);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
