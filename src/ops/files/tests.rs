use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::error::ErrorKind;
use crate::format::slot::KdfParams;
use crate::ops::backup::BackupOptions;
use crate::ops::restore::RestoreOptions;
use crate::progress::Silent;
use crate::repo::keys::secret::Secret;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::MemoryStore;

mod races;
mod whole;

struct Lab {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let options = RepositoryOptions::new(dir.path().join("state")).threads(1);
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::init(store, &[(&secret, "")], kdf, &options).unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        Self { dir, repository }
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    fn try_keep(&self, paths: &[&str], exclude: &[&str]) -> crate::error::Result<FilesReport> {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let chosen = Chosen::new(self.dir.path(), &paths, &exclude)?;
        self.repository.back_up_files("shop", &chosen, &FilesOptions::default(), &Silent)
    }

    fn keep(&self, paths: &[&str]) -> FilesReport {
        self.try_keep(paths, &[]).unwrap()
    }

    /// The names of the newest commit, below the folder of the lab.
    fn names(&self) -> Vec<String> {
        let point = self.repository.history("shop.files").unwrap().find("latest").unwrap();
        let front = format!("{}/", self.path("").display());
        let front = front.trim_start_matches('/').trim_end_matches('/');
        let name = |entry: &Entry| {
            entry.shown().trim_start_matches(front).trim_start_matches('/').to_owned()
        };
        list(&point).unwrap().iter().map(name).collect()
    }

    fn archive(&self) -> PathBuf {
        self.repository.state_dir().join("files/shop.files/archive.db")
    }

    fn restore(&self, when: &str, to: &Path) -> Restored {
        let point = self.repository.history("shop.files").unwrap().find(when).unwrap();
        restore(&point, to, &Silent).unwrap()
    }

    /// A repository's history that has what somebody else made of an archive.
    fn hostile(&self, sql: &str) -> crate::ops::point::RestorePoint {
        let path = self.path("hostile.db");
        let _ = fs::remove_file(&path);
        let db = Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        let options = BackupOptions::default().name("hostile");
        self.repository.backup(&path, &options, &Silent).unwrap();
        self.repository.history("hostile").unwrap().find("latest").unwrap()
    }
}

/// What is below a folder: its mode, its time, and its content or where it leads.
type Tree = BTreeMap<PathBuf, (u32, i128, Vec<u8>)>;

fn tree(folder: &Path) -> Tree {
    fn add(found: &mut Tree, root: &Path, path: &Path) {
        let meta = fs::symlink_metadata(path).unwrap();
        let time = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let content = match () {
            () if meta.is_symlink() => {
                fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
            }
            () if meta.is_file() => fs::read(path).unwrap(),
            () => Vec::new(),
        };
        let mode = if meta.is_symlink() { 0o120_000 } else { meta.mode() };
        found.insert(path.strip_prefix(root).unwrap().to_owned(), (mode, time, content));
        if meta.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                add(found, root, &entry.unwrap().path());
            }
        }
    }
    let mut found = Tree::new();
    add(&mut found, folder, folder);
    found
}

#[derive(Clone, Debug)]
enum Step {
    File {
        at: u8,
        len: usize,
        seed: u8,
    },
    Folder {
        at: u8,
    },
    Link {
        at: u8,
        to: u8,
    },
    Remove {
        at: u8,
    },
    Append {
        at: u8,
    },
    Mode {
        at: u8,
        mode: u32,
    },
    Time {
        at: u8,
        nanos: u64,
    },
    Rename {
        at: u8,
        to: u8,
    },
    /// Other bytes of the same size and with the same time of change.
    Behind {
        at: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..40_u8;
    prop_oneof![
        (at(), 0..600_000_usize, any::<u8>()).prop_map(|(at, len, seed)| {
            Step::File { at, len: if len > 300_000 { len } else { len % 5000 }, seed }
        }),
        at().prop_map(|at| Step::Folder { at }),
        (at(), at()).prop_map(|(at, to)| Step::Link { at, to }),
        at().prop_map(|at| Step::Remove { at }),
        at().prop_map(|at| Step::Append { at }),
        (at(), 0..0o1000_u32).prop_map(|(at, mode)| Step::Mode { at, mode: mode | 0o600 }),
        (at(), any::<u32>()).prop_map(|(at, n)| Step::Time { at, nanos: u64::from(n) * 977 }),
        (at(), at()).prop_map(|(at, to)| Step::Rename { at, to }),
        at().prop_map(|at| Step::Behind { at }),
    ]
}

/// One of a few names, up to three folders deep. Whether it can be there is up to the folder.
fn place(root: &Path, at: u8) -> PathBuf {
    let names = ["a", "b c", "ü", ".d", "e-wal", "%_", "f\ng"];
    let name = |n: u8| names[usize::from(n) % names.len()];
    match at % 3 {
        0 => root.join(name(at)),
        1 => root.join(name(at / 3)).join(name(at)),
        _ => root.join(name(at / 3)).join(name(at / 5)).join(name(at)),
    }
}

fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Does what can be done; what can't is no step.
fn take(root: &Path, step: &Step) {
    let set_time = |path: &Path, time: SystemTime| {
        let file = fs::File::open(path).unwrap();
        file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
    };
    match *step {
        Step::File { at, len, seed } => {
            let path = place(root, at);
            if !path.is_symlink() && !path.is_dir() {
                let byte = |n: usize| u8::try_from(n * usize::from(seed | 1) % 251).unwrap();
                let _ = fs::write(path, (0..len).map(byte).collect::<Vec<u8>>());
            }
        }
        Step::Folder { at } => drop(fs::create_dir(place(root, at))),
        Step::Link { at, to } => drop(symlink(place(Path::new("."), to), place(root, at))),
        Step::Remove { at } => {
            let path = place(root, at);
            let is_folder = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            drop(if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) });
        }
        Step::Append { at } if is_plain(&place(root, at)) => {
            let mut file = fs::OpenOptions::new().append(true).open(place(root, at)).unwrap();
            file.write_all(b"more").unwrap();
        }
        Step::Mode { at, mode } => {
            let path = place(root, at);
            if fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_symlink()) {
                let mode = if path.is_dir() { mode | 0o700 } else { mode };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        Step::Time { at, nanos } if is_plain(&place(root, at)) => {
            set_time(&place(root, at), SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos));
        }
        Step::Rename { at, to } => drop(fs::rename(place(root, at), place(root, to))),
        Step::Behind { at } if is_plain(&place(root, at)) => {
            let path = place(root, at);
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            let bytes: Vec<u8> = fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
            fs::write(&path, bytes).unwrap();
            set_time(&path, time);
        }
        Step::Append { .. } | Step::Time { .. } | Step::Behind { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn every_state_comes_back_as_it_was(
        runs in prop::collection::vec(prop::collection::vec(step(), 0..12), 1..6),
        lost in prop::option::of(0..6_usize),
    ) {
        let lab = Lab::new();
        let app = lab.path("app");
        let mut expected = BTreeMap::new();
        for (run, steps) in runs.iter().enumerate() {
            for step in steps {
                take(&app, step);
            }
            if lost == Some(run) {
                let _ = fs::remove_file(lab.archive());
            }
            let was = tree(&app);
            let report = lab.keep(&["app"]);
            prop_assert!(report.passed_over.is_empty(), "{:?}", report.passed_over);
            prop_assert_eq!(&tree(&app), &was, "keeping changed something");
            prop_assert_eq!(report.tally.files + report.tally.folders + report.tally.links, was.len() as u64);
            expected.insert(report.backup.seq, was);
            // What is as it was makes no commit.
            prop_assert!(lab.keep(&["app"]).backup.commit.is_none());
        }
        for (seq, was) in expected {
            let to = lab.path(&format!("out-{seq}"));
            let restored = lab.restore(&format!("seq:{seq}"), &to);
            prop_assert_eq!(restored.refused, []);
            let there = to.join(app.strip_prefix("/").unwrap());
            prop_assert_eq!(tree(&there), was, "seq:{}", seq);
        }
    }

    #[test]
    fn no_archive_breaks_a_restore_or_leads_out_of_its_folder(
        rows in prop::collection::vec(
            (
                prop_oneof![
                    "[a./]{0,6}", "a(/[ab]){0,3}", "\\.\\./x", "/tmp/x", Just("a\0b".to_owned()),
                    Just("b/c".to_owned()), Just("b".to_owned()),
                ],
                prop_oneof![
                    Just(0o100_644_i64), Just(0o040_755), Just(0o120_777), Just(0o010_644), any::<i64>()
                ],
                any::<i64>(),
                prop_oneof![Just(-1_i64), Just(0), Just(3), any::<i64>()],
                prop_oneof![
                    Just("NULL"), Just("x'616263'"), Just("'../..'"), Just("'/'"), Just("7"),
                    Just("x''"), Just("zeroblob(100000)"),
                ],
            ),
            0..12,
        ),
        ids in prop_oneof![Just("-1, -1"), Just("4294967295, 0"), Just("'x', NULL"), Just("0, 0")],
    ) {
        let lab = Lab::new();
        let mut sql = "CREATE TABLE sqlar(name TEXT, mode INT, mtime INT, sz INT, data BLOB);
            CREATE TABLE pagekeep_files(name TEXT, uid, gid, mtime_ns, ctime_ns, inode);".to_owned();
        for (name, mode, mtime, size, data) in &rows {
            let name: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            let name = format!("CAST(x'{name}' AS TEXT)");
            sql += &format!("INSERT INTO sqlar VALUES({name}, {mode}, {mtime}, {size}, {data});
                INSERT INTO pagekeep_files VALUES({name}, {ids}, {mtime}, 0, 0);");
        }
        let point = lab.hostile(&sql);
        fs::create_dir(lab.path("in")).unwrap();
        let before: Vec<_> = tree(&lab.path("")).into_keys().collect();
        let restored = restore(&point, &lab.path("in/out"), &Silent);
        prop_assert!(restored.is_ok(), "{restored:?}");
        fs::remove_dir_all(lab.path("in/out")).unwrap();
        let after: Vec<_> = tree(&lab.path("")).into_keys().collect();
        prop_assert_eq!(before, after);
        prop_assert!(list(&point).is_ok());
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_one_by_one() {
    let lab = Lab::new();
    let outside = lab.path("outside");
    fs::create_dir(&outside).unwrap();
    let point = lab.hostile(&format!(
        "CREATE TABLE sqlar(name TEXT, mode INT, mtime INT, sz INT, data BLOB);
         INSERT INTO sqlar VALUES('../up', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('/abs', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('a/../../up', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('link', 41471, 0, -1, '{0}');
         INSERT INTO sqlar VALUES('link/file', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('link/folder', 16877, 0, 0, NULL);
         INSERT INTO sqlar VALUES('twice', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('twice', 41471, 0, -1, '{0}');
         INSERT INTO sqlar VALUES('file', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('file/below', 33188, 0, 1, x'61');
         INSERT INTO sqlar VALUES('device', 8630, 0, 0, NULL);
         INSERT INTO sqlar VALUES('packed', 33188, 0, 9, x'789c');
         INSERT INTO sqlar VALUES('good', 33188, 0, 4, x'676f6f64');
         INSERT INTO sqlar VALUES('setuid', 35309, 0, 1, x'61');",
        outside.display()
    ));
    let restored = restore(&point, &lab.path("out"), &Silent).unwrap();
    let names: Vec<&str> = restored.refused.iter().map(|refused| &*refused.name).collect();
    for name in [
        "../up",
        "/abs",
        "a/../../up",
        "link/file",
        "link/folder",
        "twice",
        "file/below",
        "device",
        "packed",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert_eq!(names.len(), 9, "{names:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read(lab.path("out/good")).unwrap(), b"good");
    assert!(lab.path("out/link").is_symlink());
    // Nobody knows whose it was.
    assert_eq!(fs::metadata(lab.path("out/setuid")).unwrap().mode() & 0o7000, 0);
    // A second time it is there.
    let refused = restore(&point, &lab.path("out"), &Silent).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
}

#[test]
fn what_is_no_archive_says_so() {
    let lab = Lab::new();
    for sql in [
        "CREATE TABLE t(x)",
        "CREATE VIEW sqlar AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
         SELECT i AS name, 33188 AS mode, 0 AS mtime, 0 AS sz, NULL AS data FROM n",
        "CREATE TABLE sqlar(name TEXT, mode, mtime, sz, data AS (zeroblob(900000000)))",
        "CREATE VIRTUAL TABLE sqlar USING fts5(name, mode, mtime, sz, data)",
        "CREATE TABLE sqlar(name TEXT PRIMARY KEY, mode, mtime, sz, data) WITHOUT ROWID",
    ] {
        let point = lab.hostile(&format!("DROP TABLE IF EXISTS gone; {sql}"));
        let error = restore(&point, &lab.path("out"), &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{sql}: {error:?}");
        assert!(!lab.path("out").exists() && list(&point).is_err(), "{sql}");
    }
}

#[test]
fn what_is_no_plain_file_is_passed_over_by_name() {
    let lab = Lab::new();
    let app = lab.path("app");
    fs::write(app.join("good"), "good").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, app.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(app.join("socket")).unwrap();
    for name in ["kept.db", "other.db"] {
        let db = Connection::open(app.join(name)).unwrap();
        db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x)").unwrap();
        std::mem::forget(db);
    }
    let options = BackupOptions::default();
    lab.repository.backup(&app.join("kept.db"), &options, &Silent).unwrap();
    let report = lab.keep(&["app", "missing"]);
    let told: Vec<_> = report
        .passed_over
        .iter()
        .map(|over| (over.path.file_name().unwrap().to_str().unwrap(), over.why.name()))
        .collect();
    // Its WAL goes with it, and the one that is kept itself is nobody's trouble.
    assert_eq!(
        told,
        [
            ("other.db", "database"),
            ("pipe", "special"),
            ("socket", "special"),
            ("missing", "missing")
        ]
    );
    assert_eq!(lab.names(), ["app", "app/good"]);
    let error = lab.try_keep(&["missing"], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert_eq!(lab.names().len(), 2);
}

#[test]
fn repositories_and_the_state_are_left_out() {
    let lab = Lab::new();
    let app = lab.path("app");
    fs::write(app.join("good"), "good").unwrap();
    // The state of the lab lies beside it; a repository in a folder of the application's own.
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let store = crate::store::create_store(app.to_str().unwrap()).unwrap();
    let options = RepositoryOptions::new(lab.path("state"));
    Repository::init(store, &[(&secret, "")], kdf, &options).unwrap();
    assert!(app.join("repository").is_file() && app.join("keys").is_dir());
    lab.keep(&["."]);
    lab.keep(&["."]);
    let names = lab.names();
    assert_eq!(
        names.iter().filter(|name| !name.is_empty()).collect::<Vec<_>>(),
        ["app", "app/good"]
    );
}

#[test]
fn patterns_find_what_they_mean_and_follow_no_link() {
    let lab = Lab::new();
    for name in [
        "app/one/conf/a.toml",
        "app/two/conf/b.toml",
        "app/two/conf/deep/c.toml",
        "app/two/x.tmp",
        "secret/d.toml",
    ] {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        fs::write(lab.path(name), name).unwrap();
    }
    symlink(lab.path("secret"), lab.path("app/three")).unwrap();
    symlink(lab.path("secret"), lab.path("app/two/conf/out")).unwrap();
    for (path, exclude, expected) in [
        ("app/*/conf/*.toml", "", &["app/one/conf/a.toml", "app/two/conf/b.toml"][..]),
        ("app/**/*.toml", "b*", &["app/one/conf/a.toml", "app/two/conf/deep/c.toml"]),
        ("app/two/**", "conf", &["app/two", "app/two/x.tmp"]),
        (
            "app/two",
            "*.toml",
            &["app/two", "app/two/conf", "app/two/conf/deep", "app/two/conf/out", "app/two/x.tmp"],
        ),
        ("app/three", "x", &["app/three"]),
        ("app/three/", "x", &["secret", "secret/d.toml"]),
        ("app/three/d.toml", "x", &["secret/d.toml"]),
        ("app/t*/d.toml", "x", &[]),
        ("app/../secret", "x", &["secret", "secret/d.toml"]),
    ] {
        let exclude: Vec<&str> =
            Some(exclude).filter(|text| !text.is_empty()).into_iter().collect();
        lab.try_keep(&[path], &exclude).unwrap();
        assert_eq!(lab.names(), expected, "{path}");
    }
}

#[test]
fn what_can_not_be_read_keeps_its_last_version() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    let app = lab.path("app");
    fs::create_dir(app.join("folder")).unwrap();
    for name in ["file", "folder/below", "gone"] {
        fs::write(app.join(name), "before").unwrap();
    }
    lab.keep(&["app"]);
    let lock = |name: &str, mode: u32| {
        fs::set_permissions(app.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::write(app.join("file"), "changed").unwrap();
    lock("file", 0);
    lock("folder", 0);
    fs::remove_file(app.join("gone")).unwrap();
    let report = lab.keep(&["app"]);
    let told: Vec<_> =
        report.passed_over.iter().map(|over| (over.why.name(), over.is_held)).collect();
    assert_eq!(told, [("unread", true), ("unread", true)], "{:?}", report.passed_over);
    lock("folder", 0o700);
    assert_eq!(lab.names(), ["app", "app/file", "app/folder", "app/folder/below"]);
    lab.restore("latest", &lab.path("out"));
    let there = lab.path("out").join(app.strip_prefix("/").unwrap());
    assert_eq!(fs::read(there.join("file")).unwrap(), b"before");
}

#[test]
fn an_archive_that_is_lost_or_damaged_is_made_anew_and_what_is_stored_stays_where_it_is() {
    let lab = Lab::new();
    let mut random = crate::chance::Random::new(7);
    let noise: Vec<u8> = (0..2_000_000).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    fs::write(lab.path("app/big"), &noise).unwrap();
    let first = lab.keep(&["app"]);
    assert!(first.backup.commit.unwrap().stored > 1_000_000);
    let archive = lab.archive();
    assert_eq!(fs::metadata(&archive).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(archive.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    for damage in [None, Some(&b"no database at all"[..]), Some(&[0; 100_000])] {
        match damage {
            None => fs::remove_file(&archive).unwrap(),
            Some(bytes) => fs::write(&archive, bytes).unwrap(),
        }
        fs::write(lab.path("app/small"), format!("{damage:?}").len().to_string()).unwrap();
        let report = lab.keep(&["app"]);
        let commit = report.backup.commit.unwrap();
        assert!(commit.stored < 100_000, "{damage:?}: {commit:?}");
        assert_eq!(lab.names(), ["app", "app/big", "app/small"]);
    }
    lab.restore("latest", &lab.path("out"));
    let there = lab.path("out").join(lab.path("app").strip_prefix("/").unwrap());
    assert_eq!(fs::read(there.join("big")).unwrap(), noise);
}

#[test]
fn what_is_too_large_is_refused_by_name_and_the_rest_goes_on() {
    let lab = Lab::new();
    fs::File::create(lab.path("app/sparse")).unwrap().set_len(1_000_000_001).unwrap();
    fs::write(lab.path("app/small"), "small").unwrap();
    let report = lab.keep(&["app"]);
    let told: Vec<_> = report.passed_over.iter().map(|over| over.why.name()).collect();
    assert_eq!(told, ["too-large"]);
    assert_eq!(lab.names(), ["app", "app/small"]);
}

#[test]
fn another_program_reads_the_archive() {
    let lab = Lab::new();
    fs::write(lab.path("app/file"), "what it has").unwrap();
    fs::write(lab.path("app/empty"), "").unwrap();
    symlink("file", lab.path("app/link")).unwrap();
    lab.keep(&["app"]);
    let out = lab.path("archive.sqlar");
    let point = lab.repository.history("shop.files").unwrap().find("latest").unwrap();
    point.restore(&out, &RestoreOptions::default(), &Silent).unwrap();
    let script = "import sqlite3, stat, sys
for name, mode, mtime, sz, data in sqlite3.connect(sys.argv[1]).execute(
        'SELECT name, mode, mtime, sz, data FROM sqlar ORDER BY name'):
    print(name.rsplit('/', 1)[1], stat.filemode(mode)[0], sz, data, mtime > 1600000000)";
    let read = Command::new("python3").args(["-c", script]).arg(&out).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    assert_eq!(
        String::from_utf8(read.stdout).unwrap(),
        "app d 0 None True\nempty - 0 b'' True\nfile - 11 b'what it has' True\nlink l -1 file True\n"
    );
}
