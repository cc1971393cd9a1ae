//! Whatever is gone is noticed: histories, descriptions, the object `repository`, and the repository at its place. Through the real
//! binary; each case names what is gone and what to do, and nothing is begun anew in silence.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::cli::{self, Ended, Lab, flip, walk};
use pagekeep::ErrorKind;
use pagekeep::internals::capture::follow::Event;
use pagekeep::internals::keeper::{Callback, Keeper, KeeperOptions};
use pagekeep::internals::repo::keys::secret::Secret;
use pagekeep::internals::repo::{Repository, RepositoryOptions};

/// The folder of the one history.
fn history(lab: &Lab) -> PathBuf {
    let mut found = fs::read_dir(lab.path("repo/histories")).unwrap().map(|e| e.unwrap().path());
    let only = found.next().unwrap();
    assert!(found.next().is_none());
    only
}

fn id(history: &Path) -> String {
    history.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A second history beside `app`.
fn with_two() -> (Lab, PathBuf) {
    let lab = Lab::with_history();
    let app = history(&lab);
    lab.make("other.db", 10);
    lab.ok(&["backup", "other.db"]);
    (lab, app)
}

/// Every command that should know says that `app` is gone, and none begins it anew.
fn is_missed(lab: &Lab, id: &str) {
    let told = ["app", id, "commit 2", "is gone", "--accept-rollback", "put the folder"];
    let prune = ["prune", "--keep-last", "5"];
    for all in [&["status"][..], &["snapshots"], &["verify"], &["repair"], &["stats"], &prune] {
        let ended = lab.run(all);
        ended.failed(4, &told);
        let json = lab.run(&[all, &["--json"]].concat());
        json.failed(4, &told);
        let found = json.objects().into_iter().find(|o| o["absent"] == true).unwrap();
        assert_eq!((&found["history"], &found["seq"]), (&"app".into(), &2.into()), "{found}");
        assert!(found["id"] == id && found["time"].is_i64() | found["time"].is_string(), "{found}");
    }
    for one in [
        &["status", "app"][..],
        &["log", "app"],
        &["show", "app"],
        &["restore", "app", "out.db"],
        &["verify", "app"],
        &["repair", "app"],
        &["prune", "app", "--keep-last", "5"],
        &["label", "app", "x"],
        &["rewind", "app.db", "--to", "seq:1"],
        &["log", id],
        &["backup", "app.db"],
        &["backup", "app.db", "--name", "anew"],
        &["watch", "app.db"],
    ] {
        lab.fails(one, 4, &told);
    }
}

#[test]
fn a_history_whose_folder_is_gone_is_missed_by_every_command() {
    let (lab, app) = with_two();
    fs::rename(&app, lab.path("aside")).unwrap();
    is_missed(&lab, &id(&app));
    // The other one goes on.
    lab.sql("other.db", "DELETE FROM t");
    lab.ok(&["backup", "other.db"]);
    let status = lab.run(&["status"]);
    status.says(&["other.db", "seq:2"]);
    // The folder put back: all is well again.
    fs::rename(lab.path("aside"), &app).unwrap();
    assert_eq!(lab.seqs(), [1, 2]);
    lab.ok(&["verify"]);
    lab.ok(&["repair"]);
    lab.ok(&["status"]);
}

#[test]
fn all_histories_gone_are_missed_and_an_empty_verification_says_that_it_is_one() {
    let lab = Lab::new();
    lab.ok(&["verify"]).says(&["nothing to verify"]);
    lab.make("app.db", 200);
    lab.ok(&["backup", "app.db"]);
    lab.sql("app.db", "DELETE FROM t WHERE id < 9");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["status"]);
    let app = history(&lab);
    fs::remove_dir_all(lab.path("repo/histories")).unwrap();
    is_missed(&lab, &id(&app));
    // Without what this machine remembers nothing can be noticed, and nothing else is lost.
    fs::remove_dir_all(lab.path("state")).unwrap();
    lab.ok(&["status"]);
    lab.ok(&["backup", "app.db"]);
    assert_eq!(lab.seqs(), [1]);
}

#[test]
fn one_backup_is_enough_to_miss_a_history() {
    for part in ["", "log"] {
        let lab = Lab::new();
        lab.make("app.db", 20);
        lab.ok(&["backup", "app.db"]);
        let app = history(&lab);
        fs::remove_dir_all(app.join(part)).unwrap();
        for args in [&["status"][..], &["snapshots"], &["backup", "app.db"], &["log", "app"]] {
            lab.run(args).failed(4, &["app", &id(&app), "this machine has seen commit 1"]);
        }
        lab.run(&["verify"]).says(&[] as &[&str]);
        assert_eq!(lab.run(&["verify"]).code, Some(4));
        assert_eq!(lab.run(&["repair"]).code, Some(4));
        lab.ok(&["repair", "app", "--accept-rollback"]);
        lab.ok(&["backup", "app.db"]);
        lab.ok(&["status"]);
    }
}

#[test]
fn what_is_gone_on_purpose_is_forgotten_and_begins_anew() {
    let (lab, app) = with_two();
    fs::remove_dir_all(&app).unwrap();
    lab.fails(&["backup", "app.db"], 4, &["is gone"]);
    lab.ok(&["repair", "app", "--accept-rollback"]).says(&["app", &id(&app), "forgotten"]);
    lab.ok(&["status"]);
    lab.ok(&["backup", "app.db"]);
    assert_eq!(lab.seqs(), [1]);
    lab.ok(&["verify"]);
    // By its id, too; and another one that is gone later is missed again.
    let again = lab.json(&["status", "app"])[0]["id"].as_str().unwrap().to_owned();
    fs::remove_dir_all(lab.path("repo/histories").join(&again)).unwrap();
    lab.fails(&["backup", "app.db"], 4, &["is gone", &again]);
    lab.ok(&["repair", &again, "--accept-rollback"]);
    lab.ok(&["backup", "app.db"]);
    lab.fails(&["repair", "nobody", "--accept-rollback"], 16, &["nobody", "there are"]);
}

#[test]
fn what_the_repository_has_of_a_history_tells_a_machine_that_never_saw_it() {
    // Without segments: labels are left.
    let lab = Lab::with_history();
    lab.ok(&["hold", "add", "app@seq:1", "audit"]);
    lab.ok(&["verify"]);
    let app = history(&lab);
    fs::remove_dir_all(app.join("log")).unwrap();
    fs::remove_dir_all(lab.path("state")).unwrap();
    let told = ["app", &id(&app), "1 hold, 1 label, 1 proof", "no commit", "--accept-rollback"];
    for args in [&["status"][..], &["snapshots"], &["prune", "--keep-last", "1"]] {
        lab.run(args).failed(4, &told);
    }
    for args in ["verify", "repair"] {
        let ended = lab.run(&[args]);
        ended.failed(4, &[]);
        ended.says(&["1 hold, 1 label, 1 proof"]);
    }
    lab.run(&["repair"]).says(&told);
    for args in [&["backup", "app.db"][..], &["log", "app"], &["watch", "app.db"]] {
        lab.fails(args, 4, &told);
    }
    // On purpose: its numbers are not used again, so no label names another commit.
    lab.ok(&["repair", "app", "--accept-rollback"]);
    lab.ok(&["backup", "app.db"]);
    assert_eq!(lab.seqs(), [3]);
    lab.ok(&["status"]);

    // Without a description and segments: nobody can tell which one it was.
    let lab = Lab::with_history();
    let app = history(&lab);
    for gone in ["about", "about-2"] {
        let _ = fs::remove_file(app.join(gone));
    }
    fs::remove_dir_all(app.join("log")).unwrap();
    fs::remove_dir_all(lab.path("state")).unwrap();
    lab.run(&["status"]).failed(4, &[&id(&app), "claim", "1 label"]);
    lab.fails(&["backup", "app.db"], 4, &[&id(&app), "is gone"]);
    lab.ok(&["repair", &id(&app), "--accept-rollback"]);
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn what_a_repair_put_away_tells_of_a_history_too() {
    let lab = Lab::with_history();
    let app = history(&lab);
    for segment in walk(&app.join("log")) {
        flip(&segment, 60);
    }
    lab.ok(&["repair", "app", "--apply"]);
    // The machine that repaired it knows; another machine does not.
    lab.ok(&["status"]);
    fs::remove_dir_all(app.join("snapshots")).unwrap();
    fs::remove_dir_all(lab.path("state")).unwrap();
    lab.run(&["status"]).failed(4, &["app", "2 quarantined objects"]);
    fs::remove_dir_all(&app).unwrap();
    lab.run(&["status"]).failed(4, &[&id(&app), "2 quarantined objects"]);
    lab.fails(&["backup", "app.db"], 4, &[&id(&app)]);
    fs::remove_dir_all(lab.path("repo/quarantine")).unwrap();
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn a_machine_that_saw_what_a_repair_elsewhere_lost_goes_on_with_higher_numbers() {
    let lab = Lab::with_history();
    let app = history(&lab);
    for segment in walk(&app.join("log")) {
        flip(&segment, 60);
    }
    let elsewhere = |state: &str, args: &[&str]| {
        let mut command = lab.command(args);
        Ended::of(command.env("PAGEKEEP_STATE_DIR", state))
    };
    assert_eq!(elsewhere("state2", &["repair", "app", "--apply"]).code, Some(0));
    assert_eq!(elsewhere("state2", &["status"]).code, Some(0), "it repaired it");
    elsewhere("state3", &["status"]).failed(4, &["app", "2 quarantined objects"]);
    // What this machine saw is recorded as lost.
    lab.ok(&["status"]);
    lab.ok(&["backup", "app.db"]);
    let seqs = lab.seqs();
    assert!(seqs.len() == 1 && seqs[0] > 2, "{seqs:?}");
    assert_eq!(elsewhere("state3", &["verify"]).code, Some(0));
}

#[test]
fn a_history_under_creation_is_not_missed() {
    let lab = Lab::with_history();
    let app = history(&lab);
    // As a backup that died before its first commit leaves it.
    for entry in fs::read_dir(&app).unwrap().map(|e| e.unwrap()) {
        if !["about", "about-2", "writers"].contains(&entry.file_name().to_str().unwrap()) {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    fs::remove_dir_all(lab.path("state")).unwrap();
    lab.ok(&["status"]);
    lab.ok(&["verify"]);
    lab.ok(&["repair"]);
    lab.ok(&["backup", "app.db"]);
    assert_eq!(lab.seqs(), [1]);
}

#[test]
fn a_copy_is_missed_at_both_ends() {
    let lab = Lab::with_history();
    lab.ok(&["init", "-r", "offsite", "--key-file", "key2"]);
    let copy = ["copy", "repo", "offsite", "--to-key-file", "key2"];
    lab.ok(&copy);
    let app = history(&lab);
    fs::rename(lab.path("offsite/histories"), lab.path("aside")).unwrap();
    lab.fails(&copy, 4, &["app", &id(&app), "is gone", "offsite", "commit 2"]);
    fs::rename(lab.path("aside"), lab.path("offsite/histories")).unwrap();
    lab.ok(&copy);
    fs::remove_dir_all(&app).unwrap();
    lab.run(&copy).failed(4, &["app", &id(&app), "is gone", "repo"]);
    lab.fails(&[&copy[..], &["--name", "app"]].concat(), 4, &["is gone"]);
}

#[test]
fn a_history_of_the_name_that_another_machine_began_does_not_hide_the_one_that_is_gone() {
    let lab = Lab::with_history();
    let app = history(&lab);
    fs::remove_dir_all(&app).unwrap();
    let other = [("PAGEKEEP_STATE_DIR", "state2")];
    let mut command = lab.command(&["backup", "app.db"]);
    command.envs(other);
    assert_eq!(Ended::of(&mut command).code, Some(0));
    // Begun within the same minute it has the same identity: then it went backwards.
    let is_same = app.exists();
    let what = if is_same { "went backwards" } else { "is gone" };
    lab.fails(&["backup", "app.db"], 4, &[what, &id(&app)]);
    let status = lab.run(&["status"]);
    assert_eq!(status.code, Some(4), "{status:?}");
    assert!((status.stdout + &status.stderr).contains(what));
    assert_eq!(lab.run(&["log", "app"]).code, Some(if is_same { 4 } else { 0 }));
    lab.ok(&["repair", "app", "--accept-rollback"]);
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn another_repository_at_the_place_is_told_until_it_is_meant() {
    let lab = Lab::with_history();
    lab.ok(&["status"]);
    let before = lab.json(&["status"]).len();
    assert_eq!(before, 1);
    // Somebody else puts another one there.
    fs::rename(lab.path("repo"), lab.path("old")).unwrap();
    let mut init = lab.command(&["init"]);
    init.env("PAGEKEEP_STATE_DIR", "state2");
    assert_eq!(Ended::of(&mut init).code, Some(0));
    let told = ["another repository", "\"app\" up to commit 2", "--accept-rollback"];
    for args in [&["status"][..], &["snapshots"], &["backup", "app.db"], &["status", "--json"]] {
        let ended = lab.run(args);
        ended.failed(3, &told);
        assert_eq!(ended.stderr.matches("another repository").count(), 1, "{ended:?}");
    }
    lab.ok(&["repair", "--accept-rollback"]);
    lab.ok(&["status"]);
    // The old one comes back, as if a disk had not been mounted.
    fs::rename(lab.path("repo"), lab.path("new")).unwrap();
    fs::rename(lab.path("old"), lab.path("repo")).unwrap();
    lab.run(&["status"]).failed(3, &["another repository", "\"app\" up to commit 1"]);
    lab.ok(&["repair", "--accept-rollback"]);
    // The user who begins one here is told once.
    fs::remove_dir_all(lab.path("repo")).unwrap();
    lab.run(&["init"]).failed(3, &["another repository", "\"app\" up to commit 2", "mounted"]);
    lab.ok(&["status"]);
}

/// The repository as a program opens it.
fn opened(lab: &Lab) -> Repository {
    let store =
        pagekeep::internals::store::open_store(&lab.path("repo").display().to_string()).unwrap();
    let secret = Secret::read_key_file(&lab.path("key")).unwrap();
    Repository::open(store, &secret, &RepositoryOptions::new(lab.path("state"))).unwrap()
}

#[test]
fn a_keeper_begins_nothing_anew_and_hears_of_another_repository() {
    let lab = Lab::with_history();
    let app = history(&lab);
    fs::rename(&app, lab.path("aside")).unwrap();
    for name in [None, Some("anew".to_owned())] {
        let mut options = KeeperOptions::default();
        options.name = name;
        let e = Keeper::open(lab.path("app.db"), opened(&lab), options).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Damaged);
        assert!(e.to_string().contains("is gone") && e.hint().is_some(), "{e}");
    }
    fs::rename(lab.path("aside"), &app).unwrap();
    let heard = Arc::new(Mutex::new(Vec::<String>::new()));
    let hear = |heard: &Arc<Mutex<Vec<String>>>| {
        let heard = heard.clone();
        let on_event: Callback = Arc::new(move |event| {
            if let Event::Warning(text) = event {
                heard.lock().unwrap().push(text.clone());
            }
        });
        KeeperOptions::default().on_event(on_event)
    };
    let told = || heard.lock().unwrap().iter().any(|text| text.contains("another repository"));
    Keeper::open(lab.path("app.db"), opened(&lab), hear(&heard)).unwrap().close().unwrap();
    assert!(!told());
    fs::remove_dir_all(lab.path("repo")).unwrap();
    let mut init = lab.command(&["init"]);
    assert_eq!(Ended::of(init.env("PAGEKEEP_STATE_DIR", "state2")).code, Some(0));
    Keeper::open(lab.path("app.db"), opened(&lab), hear(&heard)).unwrap().close().unwrap();
    assert!(told());
}

// ---- the object `repository` ----

/// All files of the repository but one, with their bytes.
fn rest(lab: &Lab) -> Vec<(PathBuf, Vec<u8>)> {
    let files = walk(&lab.path("repo")).into_iter().filter(|path| path.is_file());
    let rest = files.filter(|path| *path != lab.path("repo/repository"));
    let mut rest: Vec<_> = rest.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    rest.sort();
    rest
}

#[test]
fn the_object_repository_is_written_anew_and_init_buries_nothing() {
    for damaged in [false, true] {
        let lab = Lab::with_history();
        let repository = lab.path("repo/repository");
        let was = fs::read(&repository).unwrap();
        let told = if damaged {
            flip(&repository, 20);
            ["repository", "repair"]
        } else {
            fs::remove_file(&repository).unwrap();
            ["`repository` is missing, the rest is here: 2 key slots, 1 history", "pagekeep repair"]
        };
        let before = rest(&lab);
        for args in [&["status"][..], &["log", "app"], &["backup", "app.db"], &["key", "list"]] {
            lab.fails(args, 4, &told);
        }
        lab.fails(&["init"], 17, &["repo"]);
        let anew = ["init", "--key-file", "another.key"];
        lab.fails(&anew, 17, &["repo"]);
        assert!(!lab.path("another.key").exists(), "no key file for what is refused");
        // Without `--apply` it is only said.
        let dry = lab.run(&["repair"]);
        dry.failed(4, &[]);
        dry.says(&["would be written anew", "--apply"]);
        assert_eq!(rest(&lab), before);
        lab.run(&["repair", "--json"]).failed(4, &[]);
        fs::write(lab.path("wrong"), "0f".repeat(32)).unwrap();
        lab.run(&["repair", "--apply", "--key-file", "wrong"]).failed(12, &["there are: key-file"]);
        assert_eq!(rest(&lab), before);

        lab.run(&["repair", "--apply"]).says(&["was written anew", "app: sound, 2 commits"]);
        let now = fs::read(&repository).unwrap();
        assert_eq!(now[..32], was[..32], "the same repository");
        assert_eq!(now.len(), was.len());
        let quarantined = lab.path("repo/quarantine/repository");
        assert_eq!(quarantined.exists(), damaged);
        lab.ok(&["status"]);
        lab.ok(&["restore", "app", "out.db"]);
        lab.ok(&["verify"]);
        lab.ok(&["repair", "--apply"]);
    }
}

#[test]
fn slots_of_two_repositories_are_told_apart_and_not_chosen_from() {
    let lab = Lab::with_history();
    let old = lab.json(&["status"])[0]["id"].as_str().unwrap().to_owned();
    assert!(!old.is_empty());
    lab.ok(&["init", "-r", "other"]);
    fs::remove_file(lab.path("repo/repository")).unwrap();
    let mut strangers = Vec::new();
    for slot in walk(&lab.path("other/keys")) {
        let name = slot.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(&slot, lab.path("repo/keys").join(&name)).unwrap();
        strangers.push(name);
    }
    let told: Vec<&str> = strangers.iter().map(String::as_str).chain(["different"]).collect();
    lab.fails(&["repair"], 17, &told);
    lab.fails(&["repair", "--apply"], 17, &told);
    assert!(!lab.path("repo/repository").exists());
    for name in &strangers {
        fs::remove_file(lab.path("repo/keys").join(name)).unwrap();
    }
    lab.ok(&["repair", "--apply"]);
    assert_eq!(lab.seqs(), [1, 2]);
}

/// As an older version's `init` left it, which was run where the object `repository` was lost.
#[test]
fn a_repository_that_another_one_was_created_over_is_told_and_comes_back() {
    let lab = Lab::with_history();
    lab.ok(&["init", "-r", "other"]);
    fs::remove_file(lab.path("repo/repository")).unwrap();
    let mut theirs = vec!["repository".to_owned()];
    for slot in walk(&lab.path("other/keys")) {
        theirs.push(format!("keys/{}", slot.file_name().unwrap().to_str().unwrap()));
    }
    for name in &theirs {
        fs::copy(lab.path("other").join(name), lab.path("repo").join(name)).unwrap();
    }
    let told = [&*theirs[1], &*theirs[2], "created over it", "pagekeep repair --apply"];
    lab.run(&["status"]).failed(4, &told);
    lab.run(&["log", "app"]).failed(4, &told);
    lab.run(&["backup", "app.db"]).failed(4, &told);
    for name in &theirs {
        fs::remove_file(lab.path("repo").join(name)).unwrap();
    }
    lab.ok(&["repair", "--apply"]);
    assert_eq!(lab.seqs(), [1, 2]);
}

#[test]
fn key_slots_that_are_gone_are_told() {
    let lab = Lab::with_history();
    fs::rename(lab.path("repo/keys"), lab.path("aside")).unwrap();
    for args in [&["status"][..], &["backup", "app.db"], &["repair"]] {
        lab.fails(args, 4, &["repo", "no key slots", "put the folder keys/ back"]);
    }
    lab.fails(&["init"], 17, &["is a repository already"]);
    fs::remove_file(lab.path("repo/repository")).unwrap();
    lab.fails(&["init"], 17, &["1 history", "unreadable"]);
    lab.fails(&["repair", "--apply"], 4, &["no key slots"]);
    fs::rename(lab.path("aside"), lab.path("repo/keys")).unwrap();
    lab.ok(&["repair", "--apply"]);
    assert_eq!(lab.seqs(), [1, 2]);
}

#[test]
fn an_init_that_was_interrupted_is_completed_by_a_repair() {
    let lab = Lab::new();
    fs::remove_file(lab.path("repo/repository")).unwrap();
    lab.fails(&["init"], 17, &["2 key slots", "interrupted", "pagekeep repair"]);
    lab.ok(&["repair", "--apply"]);
    lab.make("app.db", 5);
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn a_path_that_is_not_there_asks_for_the_disk_first_and_a_failed_init_leaves_nothing() {
    let lab = Lab::empty();
    lab.fails(&["status", "-r", "mnt/repo"], 10, &["mnt/repo", "does not exist", "disk mounted"]);
    lab.fails(&["init", "--key-file", "no/such/key"], 2, &["no/such/key", "cannot be created"]);
    assert!(!lab.path("repo").exists());
    fs::create_dir(lab.path("plain")).unwrap();
    lab.fails(&["status", "-r", "plain"], 10, &["plain", "is not a pagekeep repository", "disk"]);
    lab.ok(&["init"]);
    let ended = lab.run(&["status", "--key-file", "home/nokey"]);
    ended.failed(12, &["home/nokey", "check its path", "mounted"]);
}

// ---- descriptions ----

#[test]
fn a_description_is_kept_twice_and_either_copy_is_enough() {
    let lab = Lab::with_history();
    let app = history(&lab);
    let whole: Vec<Vec<u8>> =
        ["about", "about-2"].iter().map(|name| fs::read(app.join(name)).unwrap()).collect();
    for (at, name) in ["about", "about-2"].iter().enumerate() {
        let path = app.join(name);
        for damaged in [true, false] {
            if damaged {
                flip(&path, 60)
            } else {
                fs::remove_file(&path).unwrap()
            }
            // Everything can be read.
            assert_eq!(lab.seqs(), [1, 2]);
            let _ = fs::remove_file(lab.path("out.db"));
            lab.ok(&["restore", "app", "out.db"]);
            // A second copy that is not there is what older versions leave: a warning.
            let code = if !damaged && at == 1 { 3 } else { 4 };
            for args in ["status", "verify", "repair"] {
                let ended = lab.run(&[args]);
                assert_eq!(ended.code, Some(code), "{name} {damaged}: {args}: {ended:?}");
                let said = format!("{}{}", ended.stdout, ended.stderr);
                assert!(said.contains(&format!("{}/{name}", id(&app))), "{args}: {ended:?}");
            }
            assert_eq!(path.exists(), damaged, "a dry run changes nothing");
            lab.ok(&["repair", "--apply"]);
            assert_eq!(fs::read(&path).unwrap().len(), whole[at].len());
            // A proof that failed counts until another one passes.
            for args in ["verify", "status", "repair"] {
                lab.ok(&[args]);
            }
        }
    }
    // The next writer to a history of an older version adds the second one.
    for args in [&["backup", "app.db"][..], &["prune", "app", "--keep-last", "9"]] {
        fs::remove_file(app.join("about-2")).unwrap();
        lab.ok(args);
        lab.ok(&["status"]);
    }
    // A copy has both.
    lab.ok(&["init", "-r", "offsite", "--key-file", "key2"]);
    fs::remove_file(app.join("about")).unwrap();
    lab.ok(&["copy", "repo", "offsite", "--to-key-file", "key2"]);
    for name in ["about", "about-2"] {
        assert!(lab.path("offsite/histories").join(id(&app)).join(name).exists());
    }
    // With neither nothing can be read; this machine knows its name.
    for name in ["about", "about-2"] {
        fs::write(app.join(name), "PGKP").unwrap();
    }
    lab.fails(&["log", "app"], 4, &["about", "knows the history as \"app\""]);
    lab.run(&["status"]).failed(4, &["about", "knows the history as \"app\""]);
    lab.fails(&["backup", "app.db"], 4, &["about"]);
}

// ---- a repository that goes away while it is written ----

/// A watch of `app.db`, with what it says on standard error in a file.
fn watching(lab: &Lab) -> Child {
    let log = File::create(lab.path("watch.log")).unwrap();
    let mut command = lab.command(&["watch", "app.db", "--interval", "0"]);
    command.stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap()
}

fn said(lab: &Lab) -> String {
    fs::read_to_string(lab.path("watch.log")).unwrap()
}

/// Waits until something holds.
fn until(what: &str, lab: &Lab, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: {}", said(lab));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_watch_whose_repository_is_replaced_or_emptied_says_so_and_goes_on_with_the_right_one() {
    let lab = Lab::with_history();
    lab.ok(&["init", "-r", "other"]);
    fs::create_dir(lab.path("empty")).unwrap();
    fs::create_dir(lab.path("bare")).unwrap();
    let copy = |name: &str| {
        fs::create_dir_all(lab.path("bare").join(name).parent().unwrap()).unwrap();
        fs::copy(lab.path("repo").join(name), lab.path("bare").join(name)).unwrap();
    };
    copy("repository");
    for slot in walk(&lab.path("repo/keys")) {
        copy(&format!("keys/{}", slot.file_name().unwrap().to_str().unwrap()));
    }
    let mut child = watching(&lab);
    lab.sql("app.db", "UPDATE t SET x = 'watched' WHERE id = 8");
    until("it watches", &lab, || lab.seqs().len() >= 3);
    for (n, (place, told)) in [
        ("other", "was replaced"),
        ("empty", "is not there any more"),
        ("bare", "is gone from repo"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = walk(&lab.path(place));
        fs::rename(lab.path("repo"), lab.path("old")).unwrap();
        fs::rename(lab.path(place), lab.path("repo")).unwrap();
        lab.sql("app.db", &format!("UPDATE t SET x = 'step {n}' WHERE id = 8"));
        until("it tells", &lab, || said(&lab).contains(told));
        assert!(child.try_wait().unwrap().is_none(), "it waits for the right one");
        fs::rename(lab.path("repo"), lab.path(place)).unwrap();
        assert_eq!(walk(&lab.path(place)), before, "nothing is put into another repository");
        fs::rename(lab.path("old"), lab.path("repo")).unwrap();
        let _ = fs::remove_file(lab.path("out.db"));
        until("it goes on", &lab, || {
            let _ = fs::remove_file(lab.path("out.db"));
            lab.ok(&["restore", "app", "out.db"]);
            let sql = format!("SELECT count(*) FROM t WHERE x = 'step {n}'");
            lab.number("out.db", &sql) == 1
        });
    }
    cli::signal("-TERM", &child.id().to_string());
    child.wait().unwrap();
    lab.ok(&["verify"]);
}

/// Nothing is acknowledged onto an older copy: its chain lacks what the next commit builds on.
#[test]
fn a_watch_whose_repository_is_set_back_to_an_older_copy_acknowledges_nothing_more() {
    let lab = Lab::with_history();
    let log = File::create(lab.path("watch.log")).unwrap();
    let mut command = lab.command(&["watch", "app.db", "--interval", "0"]);
    // The lines of acknowledged commits, too.
    let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    for n in 0..4 {
        lab.sql("app.db", &format!("UPDATE t SET x = 'watched {n}' WHERE id = 8"));
        until("it watches", &lab, || lab.seqs().len() >= 3 + n);
        // With its claim in it, so that nothing else tells it.
        if n == 0 {
            let copied = lab.other("cp").args(["-a", "repo", "older"]).status();
            assert!(copied.is_ok_and(|status| status.success()));
        }
    }
    let acknowledged = *lab.seqs().last().unwrap();
    fs::rename(lab.path("repo"), lab.path("newer")).unwrap();
    fs::rename(lab.path("older"), lab.path("repo")).unwrap();
    lab.sql("app.db", "UPDATE t SET x = 'onto what is not there' WHERE id = 9");
    until("it tells", &lab, || said(&lab).contains("is gone") || said(&lab).contains("backwards"));
    for n in 0..3 {
        lab.sql("app.db", &format!("UPDATE t SET x = 'more {n}' WHERE id = 10"));
    }
    cli::signal("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(4), "{}", said(&lab));
    let told = said(&lab);
    assert!(told.contains(&format!("app@seq:{acknowledged} ")), "{told}");
    for seq in acknowledged + 1..acknowledged + 5 {
        assert!(!told.contains(&format!("app@seq:{seq} ")), "{told}");
    }
    lab.run(&["log", "app"]).failed(4, &["went backwards", "commit 3"]);
    // Neither is there anything that a machine without a memory would take for a commit.
    let log = lab.json(&["log", "app", "--state-dir", "elsewhere"]);
    assert_eq!(log.last().unwrap()["seq"], 3, "{log:?}");
    // With the right one it goes on, and has everything.
    fs::rename(lab.path("repo"), lab.path("older")).unwrap();
    fs::rename(lab.path("newer"), lab.path("repo")).unwrap();
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["verify", "--level", "data"]);
    lab.ok(&["restore", "app", "out.db"]);
    let all = "SELECT count(*) FROM t WHERE x IN ('watched 3', 'onto what is not there', 'more 2')";
    assert_eq!(lab.number("out.db", all), 3);
}

#[test]
fn a_watch_whose_newest_segment_loses_its_end_acknowledges_nothing_more() {
    let lab = Lab::with_history();
    let mut child = watching(&lab);
    lab.sql("app.db", "UPDATE t SET x = 'watched' WHERE id = 8");
    until("it watches", &lab, || lab.seqs().len() >= 3);
    let newest = lab.segment_of(*lab.seqs().last().unwrap());
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    lab.sql("app.db", "UPDATE t SET x = 'more' WHERE id = 9");
    until("it tells", &lab, || said(&lab).contains("instead of"));
    assert!(said(&lab).contains(newest.file_name().unwrap().to_str().unwrap()), "{}", said(&lab));
    cli::signal("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(4), "{}", said(&lab));
    assert!(said(&lab).contains("pagekeep repair app"), "{}", said(&lab));
}
