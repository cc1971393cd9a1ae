//! What is no object in the folders of a repository, through the real binary: every command goes on with what is sound, names what is
//! in its way, and waits for nobody.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cli::{Ended, Lab, walk};

/// A repository with two histories, `app` and `other`.
fn two() -> Lab {
    let lab = Lab::with_history();
    lab.make("other.db", 20);
    lab.ok(&["backup", "other.db"]);
    lab
}

fn folder(lab: &Lab, name: &str) -> PathBuf {
    let id = lab.summary_of(name);
    lab.path("repo/histories").join(id)
}

trait More {
    fn summary_of(&self, name: &str) -> String;
    fn quickly(&self, args: &[&str]) -> Ended;
}

impl More for Lab {
    fn summary_of(&self, name: &str) -> String {
        self.json(&["status", name])[0]["id"].as_str().unwrap().to_owned()
    }

    /// Runs a command that has to end by itself.
    fn quickly(&self, args: &[&str]) -> Ended {
        let mut command = self.other("timeout");
        let ended = Ended::of(command.arg("60").arg(self.binary()).args(args));
        assert_ne!(ended.code, Some(124), "{args:?} waits: {ended:?}");
        ended
    }
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Removes what was put in a place, and puts what was there before back.
fn put_back(aside: &Path, path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        fs::remove_dir(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
    fs::rename(aside, path).unwrap();
}

const OF_ALL: [&[&str]; 5] = [
    &["status"],
    &["verify"],
    &["snapshots"],
    &["prune", "--keep-last", "99"],
    &["repair", "--quick"],
];

/// The names of the objects of a history in the first folders that hold some.
fn objects(history: &Path) -> Vec<PathBuf> {
    let files = |folder: &str| walk(&history.join(folder)).into_iter().filter(|p| p.is_file());
    let first = |folder: &str| files(folder).min();
    let newest = files("log").max();
    let folders = ["log", "writers", "snapshots", "holds", "proofs", "data"];
    folders.into_iter().filter_map(first).chain(newest).collect()
}

/// The other history is well, whatever lies in the first.
fn other_is_well(lab: &Lab, what: &str) {
    lab.sql("other.db", "INSERT INTO t(x) VALUES('more')");
    for args in [&["log", "other"][..], &["verify", "other"], &["backup", "other.db"]] {
        let ended = lab.quickly(args);
        assert_eq!(ended.code, Some(0), "{what}: {args:?}: {ended:?}");
    }
}

#[test]
fn what_is_nothing_of_ours_is_passed_over_with_one_warning() {
    let lab = two();
    let histories = lab.path("repo/histories");
    let app = folder(&lab, "app");
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let long = "x".repeat(255);
    type Put<'a> = (&'a str, PathBuf, &'a dyn Fn(&Path));
    let dir: &dyn Fn(&Path) = &|path| fs::create_dir_all(path.join("deep/er")).unwrap();
    let file: &dyn Fn(&Path) = &|path| fs::write(path, "junk").unwrap();
    let fifo: &dyn Fn(&Path) = &|path| pipe(path);
    let unknown: Vec<Put<'_>> = vec![
        ("a folder", histories.join("junk"), dir),
        ("a file", histories.join("junk"), file),
        ("a pipe", histories.join("junk"), fifo),
        ("no UTF-8", histories.join(odd), dir),
        ("a long name", histories.join(&long), dir),
        ("a file in a history", app.join("junk"), file),
        ("a folder in a history", app.join("junk"), dir),
        ("a pipe in the log", app.join("log/junk"), fifo),
        ("a long name in the log", app.join("log").join(&long), file),
        ("no UTF-8 among labels", app.join("snapshots").join(odd), file),
        ("spaces among labels", app.join("snapshots/a b"), file),
        ("another name among labels", app.join("snapshots/junk"), file),
    ];
    for (what, path, put) in unknown {
        put(&path);
        for args in [&["status"][..], &["verify"], &["repair", "--quick"]] {
            let ended = lab.quickly(args);
            assert_eq!(ended.code, Some(3), "{what}: {args:?}: {ended:?}");
            let told = ended.stderr.matches("move it out of the repository").count()
                + ended.stdout.matches("move it out of the repository").count();
            assert_eq!(told.clamp(1, 2), told, "{what}: {args:?}: {ended:?}");
        }
        other_is_well(&lab, what);
        let ended = lab.quickly(&["repair", "--apply"]);
        assert_eq!(ended.code, Some(3), "{what}: {ended:?}");
        assert!(path.symlink_metadata().is_ok(), "{what} was moved");
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        lab.ok(&["status"]);
    }
    // A folder that could be a history's, with nothing of one in it.
    let bare = histories.join("1".repeat(32));
    fs::create_dir(&bare).unwrap();
    lab.ok(&["status"]);
    fs::write(bare.join("junk"), "junk").unwrap();
    lab.quickly(&["status"]).failed(3, &[&"1".repeat(32), "move it out"]);
    fs::write(bare.join("about"), "junk").unwrap();
    for args in OF_ALL {
        lab.quickly(args).failed(4, &[&"1".repeat(32), "move that folder"]);
    }
    other_is_well(&lab, "a description that is junk");
}

#[test]
fn what_is_in_the_way_of_an_object_is_damage_that_is_named() {
    let lab = two();
    let app = folder(&lab, "app");
    let id = lab.summary_of("app");
    let aside = lab.path("aside");
    type Put<'a> = (&'a str, &'a dyn Fn(&Path));
    let dir: Put<'_> = ("a folder", &|path| fs::create_dir(path).unwrap());
    let file: Put<'_> = ("a file", &|path| fs::write(path, "junk").unwrap());
    let fifo: Put<'_> = ("a pipe", &|path| pipe(path));
    let link: Put<'_> = ("a symbolic link", &|path| symlink("/nowhere", path).unwrap());
    let to_itself: Put<'_> = ("a symbolic link", &|path| symlink(path, path).unwrap());
    for (name, puts) in [
        ("about", [dir, fifo, link, to_itself].as_slice()),
        ("about-2", &[dir, fifo, link, to_itself]),
        ("log", &[file, fifo, link]),
        ("writers", &[file]),
    ] {
        for (what, put) in puts {
            let path = app.join(name);
            fs::rename(&path, &aside).unwrap();
            put(&path);
            let object = format!("histories/{id}/{name}");
            for args in OF_ALL {
                let ended = lab.quickly(args);
                let said = format!("{}{}", ended.stdout, ended.stderr);
                let read = name.starts_with("about");
                // With one copy of the description all else is there to be seen and done.
                let fails = !read || ["status", "verify", "repair"].contains(&args[0]);
                if fails && !(name == "writers" && args[0] == "snapshots") {
                    assert_eq!(ended.code, Some(4), "{what} {name}: {args:?}: {ended:?}");
                    assert!(said.contains(&object), "{what} {name}: {args:?}: {ended:?}");
                }
            }
            other_is_well(&lab, &format!("{what} as {name}"));
            let _ = lab.quickly(&["repair", "--apply"]);
            assert!(path.symlink_metadata().is_ok(), "{what} as {name} was moved");
            put_back(&aside, &path);
            lab.ok(&["verify"]);
            lab.ok(&["status"]);
        }
    }
    // The same for what the whole repository needs.
    for (name, puts) in [
        ("repository", [dir, fifo, link].as_slice()),
        ("keys", &[file, link]),
        ("histories", &[file, fifo, link]),
    ] {
        for (what, put) in puts {
            let path = lab.path("repo").join(name);
            fs::rename(&path, &aside).unwrap();
            put(&path);
            for args in OF_ALL.iter().chain(&[&["log", "app"][..], &["backup", "app.db"]]) {
                let ended = lab.quickly(args);
                let wanted = [name, "move it to another place"];
                assert_eq!(ended.code, Some(4), "{what} {name}: {args:?}: {ended:?}");
                ended.failed(4, &wanted);
            }
            put_back(&aside, &path);
            lab.ok(&["status"]);
        }
    }
}

#[test]
fn an_object_that_is_no_file_is_damaged_and_not_missing() {
    let lab = two();
    // A base in parts, a label, a hold, a proof.
    lab.sql("app.db", "CREATE TABLE big AS SELECT randomblob(9000000) x");
    lab.ok(&["backup", "app.db", "--label", "mine"]);
    lab.ok(&["hold", "add", "app", "audit"]);
    lab.ok(&["verify", "app"]);
    lab.sql("app.db", "INSERT INTO t(x) VALUES('last')");
    lab.ok(&["backup", "app.db"]);
    let kept = || {
        let labels = lab.quickly(&["snapshots", "app", "--json"]).stdout;
        let holds = lab.quickly(&["hold", "list", "app", "--json"]).stdout;
        [labels.contains("mine"), holds.contains("audit")]
    };
    let (app, aside, commits) = (folder(&lab, "app"), lab.path("aside"), lab.seqs());
    type Put<'a> = (&'a str, &'a dyn Fn(&Path));
    let puts: [Put<'_>; 4] = [
        ("a pipe", &pipe),
        ("a symbolic link", &|path| symlink("/nowhere", path).unwrap()),
        ("a symbolic link", &|path| symlink(path, path).unwrap()),
        ("a folder", &|path| fs::create_dir(path).unwrap()),
    ];
    let all = objects(&app);
    assert_eq!(all.len(), 7, "{all:?}");
    for path in all {
        let object = path.strip_prefix(lab.path("repo")).unwrap().to_str().unwrap().to_owned();
        for (what, put) in puts {
            fs::rename(&path, &aside).unwrap();
            put(&path);
            let prune = &["prune", "app", "--keep-last", "1"][..];
            let tried = [&["status", "app"][..], prune, &["verify", "app"]];
            for args in tried {
                let ended = lab.quickly(args);
                let said = format!("{}{}", ended.stdout, ended.stderr);
                assert_eq!(ended.code, Some(4), "{what} {object}: {args:?}: {ended:?}");
                assert!(said.contains(&object), "{what} {object}: {args:?}: {ended:?}");
            }
            let repaired = lab.quickly(&["repair", "app", "--apply"]);
            assert_eq!(repaired.code, Some(4), "{what} {object}: {repaired:?}");
            assert!(
                repaired.stderr.contains(&object) || repaired.stdout.contains(&object),
                "{repaired:?}"
            );
            assert!(path.symlink_metadata().is_ok(), "{what} {object} was moved");
            put_back(&aside, &path);
            lab.ok(&["verify", "app"]);
            assert_eq!(lab.seqs(), commits, "{what} {object}");
            assert_eq!(kept(), [true; 2], "{what} {object}");
        }
        // A link to where the file is now is as good as the file.
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        for args in [&["status", "app"][..], &["verify", "app", "--level", "data"]] {
            let ended = lab.quickly(args);
            assert_eq!(ended.code, Some(0), "{object} as a link: {args:?}: {ended:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    // So is a link to where a folder is.
    let folders =
        ["log", "snapshots", "holds", "proofs", "writers", "data"].map(|name| app.join(name));
    let parts = fs::read_dir(app.join("data")).unwrap().next().unwrap().unwrap().path();
    for path in folders.iter().chain([&parts]) {
        fs::rename(path, &aside).unwrap();
        symlink(&aside, path).unwrap();
        for args in
            [&["status", "app"][..], &["verify", "app"], &["repair", "app", "--quick", "--apply"]]
        {
            let ended = lab.quickly(args);
            assert_eq!(ended.code, Some(0), "{} as a link: {args:?}: {ended:?}", path.display());
        }
        assert_eq!((lab.seqs(), kept()), (commits.clone(), [true; 2]), "{}", path.display());
        fs::remove_file(path).unwrap();
        fs::rename(&aside, path).unwrap();
    }
    fs::rename(&app, &aside).unwrap();
    symlink(&aside, &app).unwrap();
    lab.ok(&["verify"]);
    assert_eq!(lab.json(&["status"]).len(), 2);
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["verify", "app", "--level", "restore"]);
}

/// A machine that never saw the history takes what is no file for no reason to begin anew, or to use a number again.
#[test]
fn what_is_no_file_is_damage_on_a_fresh_machine_too() {
    let lab = two();
    let (app, aside) = (folder(&lab, "app"), lab.path("aside"));
    lab.ok(&["label", "app", "mine"]);
    let newest = walk(&app.join("log")).into_iter().max().unwrap();
    type Put<'a> = (&'a str, &'a dyn Fn(&Path));
    let puts: [Put<'_>; 4] = [
        ("a pipe", &pipe),
        ("a file", &|path| fs::write(path, "junk").unwrap()),
        ("a link", &|path| symlink("/nowhere", path).unwrap()),
        ("a folder", &|path| fs::create_dir(path).unwrap()),
    ];
    for (n, path) in [newest, app].into_iter().enumerate() {
        for (what, put) in puts {
            if n == 1 && what == "a folder" {
                // A history that is not there, to a machine that never saw it.
                continue;
            }
            fs::rename(&path, &aside).unwrap();
            put(&path);
            let fresh = format!("fresh-{n}-{}", what.replace(' ', "-"));
            for args in [
                &["log", "app"][..],
                &["backup", "app.db"],
                &["status"],
                &["verify"],
                &["restore", "app", "out.db"],
            ] {
                let ended = lab.quickly(&[args, &["--state-dir", &fresh]].concat());
                assert_eq!(ended.code, Some(4), "{what} {}: {args:?}: {ended:?}", path.display());
            }
            put_back(&aside, &path);
            lab.ok(&["verify"]);
        }
    }
}

#[test]
fn bytes_behind_small_records_harm_nobody() {
    let lab = two();
    lab.ok(&["label", "app", "mine"]);
    lab.ok(&["hold", "add", "app", "audit"]);
    lab.ok(&["verify", "app"]);
    let (app, repo) = (folder(&lab, "app"), lab.path("repo"));
    let keys = walk(&repo.join("keys"));
    let plain = keys.iter().cloned().chain([
        repo.join("repository"),
        app.join("about"),
        app.join("about-2"),
    ]);
    let records = ["writers", "snapshots", "holds", "proofs"].map(|folder| walk(&app.join(folder)));
    let records: Vec<PathBuf> = records.into_iter().flatten().collect();
    assert!(records.len() >= 4 && keys.len() >= 2, "{records:?} {keys:?}");
    let both = |path: PathBuf| [(path.clone(), 4096), (path, 200_000)];
    for (path, more) in plain.chain(records.iter().cloned()).flat_map(both) {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &vec![0; more]].concat()).unwrap();
        let told = if records.contains(&path) { 3 } else { 0 };
        for args in [&["status"][..], &["verify"], &["repair", "--apply"]] {
            let ended = lab.quickly(args);
            assert_eq!(ended.code, Some(told), "{}: {args:?}: {ended:?}", path.display());
            if told == 3 {
                let said = format!("{}{}", ended.stdout, ended.stderr);
                assert!(
                    said.contains(&format!("has {more} bytes behind its end, which nobody reads")),
                    "{said}"
                );
            }
        }
        assert_eq!(
            fs::read(&path).unwrap().len(),
            whole.len() + more,
            "{} was moved",
            path.display()
        );
        fs::write(&path, whole).unwrap();
    }
    lab.ok(&["status"]);
}

#[test]
fn key_slots_that_cannot_be_read_are_told_of_by_every_command() {
    let lab = two();
    let keys = walk(&lab.path("repo/keys"));
    assert_eq!(keys.len(), 2);
    let mut judged = 0;
    for path in keys {
        let whole = fs::read(&path).unwrap();
        let id = path.file_name().unwrap().to_str().unwrap().to_owned();
        let object = format!("keys/{id}");
        let mut bad = whole.clone();
        *bad.last_mut().unwrap() ^= 1;
        fs::write(&path, &bad).unwrap();
        if lab.quickly(&["log", "app"]).code == Some(4) {
            // The one that is in use: nothing opens.
            lab.quickly(&["status"]).failed(4, &[&object]);
            fs::write(&path, whole).unwrap();
            continue;
        }
        judged += 1;
        for damage in 0..3 {
            if damage > 0 {
                fs::remove_file(&path).unwrap();
            }
            match damage {
                0 => {}
                1 => pipe(&path),
                _ => symlink("/nowhere", &path).unwrap(),
            }
            for args in [&["status"][..], &["status", "app"], &["verify"], &["repair", "--quick"]] {
                lab.quickly(args).failed(4, &[&object]);
            }
            for args in [&["log", "app"][..], &["backup", "other.db"]] {
                lab.quickly(args).failed(3, &[&object]);
            }
            lab.quickly(&["key", "list"]).failed(3, &[&object]);
            // Nothing that can be opened only by it goes.
            assert!(path.symlink_metadata().is_ok());
        }
        lab.run(&["key", "remove", &id]).failed(3, &[&object]);
        assert!(path.symlink_metadata().is_err());
        lab.ok(&["status"]);
    }
    assert_eq!(judged, 1);
}

#[test]
fn very_many_junk_files_cost_little() {
    let lab = two();
    let app = folder(&lab, "app");
    for n in 0..100_000 {
        let name = format!("snapshots/junk-{n}");
        fs::write(app.join(name), "").unwrap();
    }
    let ended = lab.quickly(&["status"]);
    ended.failed(3, &[]);
    ended.says(&["snapshots/junk-0", "99999 more like it"]);
    assert!(ended.stdout.len() < 5000, "{}", ended.stdout.len());
    lab.quickly(&["verify"]).failed(3, &["snapshots/junk-0", "99999 more like it"]);
    other_is_well(&lab, "very many files");
}

#[test]
fn a_copy_of_the_description_that_is_missing_comes_back_with_the_next_backup() {
    let lab = two();
    let app = folder(&lab, "app");
    let whole = fs::read(app.join("about")).unwrap();
    fs::remove_file(app.join("about")).unwrap();
    lab.run(&["backup", "app.db"]).failed(3, &["about: was missing, and was put back"]);
    assert!(fs::read(app.join("about")).unwrap() == whole);
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["status"]);
    // One that is damaged is not replaced by a backup.
    fs::write(app.join("about"), "PGKP").unwrap();
    for _ in 0..2 {
        lab.run(&["backup", "app.db"]).failed(3, &["about: is damaged", "repair app --apply"]);
    }
    lab.ok(&["repair", "app", "--apply"]);
    lab.ok(&["backup", "app.db"]);
    assert!(walk(&lab.path("repo/quarantine")).iter().any(|path| path.ends_with("about")));
}
