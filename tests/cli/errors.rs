//! What users and machines do wrong, through the real binary: each has a message of its own and the documented exit
//! code, in both forms of output, and leaves nothing half done.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::support::cli::{self, Ended, Lab, flip, signal, wait_until_caught, walk};
use rusqlite::Connection;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_no_sound_database_is_refused_and_begins_no_history() {
    let lab = Lab::new();
    fs::write(lab.path("letter.db"), "Dear all,\n".repeat(1000)).unwrap();
    lab.fails(&["backup", "letter.db"], 5, &["letter.db", "not a database", "encrypted"]);
    fs::write(lab.path("short.db"), "SQLite format 3\0").unwrap();
    lab.fails(&["backup", "short.db"], 5, &["short.db", "not a database"]);
    fs::create_dir(lab.path("dir.db")).unwrap();
    lab.fails(&["backup", "dir.db"], 5, &["dir.db", "is not a database file"]);
    lab.fails(
        &["backup", "absent.db"],
        5,
        &["absent.db", "cannot be found", "No such file", "pagekeep restore absent"],
    );
    for mode in ["DELETE", "WAL"] {
        let name = format!("{mode}.db");
        lab.make(&name, 500);
        lab.sql(&name, &format!("PRAGMA journal_mode={mode}"));
        let file = OpenOptions::new().write(true).open(lab.path(&name)).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        lab.fails(&["backup", &name], 5, &[&name, "malformed"]);
    }
    assert_eq!(lab.ok(&["snapshots"]).stdout.lines().count(), 1, "no history yet");
}

#[test]
fn an_unsound_original_is_kept_as_it_is_and_its_restore_says_so() {
    let lab = Lab::with_history();
    lab.sql("app.db", "PRAGMA journal_mode=DELETE");
    for at in 4096..5000 {
        flip(&lab.path("app.db"), at);
    }
    lab.ok(&["backup", "app.db"]);
    lab.fails(&["restore", "app", "out.db"], 4, &["unsound", "--check none"]);
    assert!(!lab.path("out.db").exists());
    lab.ok(&["restore", "app", "out.db", "--check", "none"]);
    assert!(fs::read(lab.path("out.db")).unwrap() == fs::read(lab.path("app.db")).unwrap());
    let verify = lab.run(&["verify", "app", "--level", "restore"]);
    assert_eq!(verify.code, Some(4), "{verify:?}");
    assert!(verify.stdout.contains("app@seq:3: integrity_check"), "{verify:?}");
    let assert = ["--assert", "SELECT count(x) > 0 FROM t"];
    let verify = lab.run(&[&["verify", "app", "--level", "restore"], &assert[..]].concat());
    assert_eq!(verify.code, Some(4), "damage, not misuse: {verify:?}");
    lab.ok(&["restore", "app@latest~1", "sound.db"]);
}

#[test]
fn a_restore_replaces_nothing_that_it_was_not_told_to() {
    let lab = Lab::with_history();
    fs::create_dir(lab.path("folder")).unwrap();
    lab.fails(&["restore", "app", "folder"], 2, &["folder", "is a directory"]);
    fs::write(lab.path("mine.db"), "precious").unwrap();
    lab.fails(&["restore", "app", "mine.db"], 17, &["mine.db", "exists already", "--force"]);
    assert_eq!(fs::read(lab.path("mine.db")).unwrap(), b"precious");
    fs::write(lab.path("gone.db-wal"), "").unwrap();
    lab.fails(&["restore", "app", "gone.db"], 17, &["gone.db-wal", "left over"]);
    lab.fails(&["restore", "app", "no/such/dir.db"], 2, &["no/such", "does not exist"]);
    lab.make("busy.db", 5);
    let open = Connection::open(lab.path("busy.db")).unwrap();
    open.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
    // It waits for a while before it gives up, so once is enough.
    let busy = lab.run(&["restore", "app", "busy.db", "--force"]);
    busy.failed(11, &["busy.db", "is in use", "stop the application"]);
    // SQLite says it twice, the second time with a number.
    assert_eq!(busy.stderr.matches("is locked").count(), 1, "{busy:?}");
    assert!(!busy.stderr.contains("Error code"), "{busy:?}");
    lab.tidy();
}

#[test]
fn who_may_not_read_or_write_is_told_what() {
    let mut lab = Lab::with_history();
    lab.without_privileges();
    lab.ok(&["status"]);
    chmod(&lab.path("app.db"), 0o000);
    lab.fails(&["backup", "app.db"], 5, &["app.db", "cannot be", "may read"]);
    chmod(&lab.path("app.db"), 0o600);

    chmod(&lab.path("key"), 0o000);
    lab.fails(&["status"], 12, &["key", "cannot be read", "ermission denied"]);
    chmod(&lab.path("key"), 0o644);
    let exposed = lab.run(&["status"]);
    assert!(exposed.code == Some(3) && exposed.stderr.contains("chmod 600"), "{exposed:?}");
    chmod(&lab.path("key"), 0o600);

    lab.sql("app.db", "DELETE FROM t");
    let dirs = walk(&lab.path("repo")).into_iter().filter(|path| path.is_dir());
    let dirs: Vec<_> = dirs.chain([lab.path("repo")]).collect();
    for dir in &dirs {
        chmod(dir, 0o500);
    }
    lab.fails(&["backup", "app.db"], 13, &["cannot be written", "ermission denied", "writable"]);
    lab.ok(&["restore", "app", "out.db"]);
    chmod(&lab.path("repo"), 0o000);
    lab.fails(&["status"], 13, &["repo/repository: cannot be", "ermission denied", "mounted"]);
    for dir in dirs.iter().rev() {
        chmod(dir, 0o700);
    }

    fs::create_dir(lab.path("closed")).unwrap();
    chmod(&lab.path("closed"), 0o500);
    let owner = fs::metadata(lab.path("app.db")).unwrap();
    chown(lab.path("closed"), Some(owner.uid()), Some(owner.gid())).unwrap();
    lab.fails(&["restore", "app", "closed/out.db"], 13, &["closed", "ermission denied"]);
    lab.fails(&["init", "-r", "closed/repo"], 13, &["closed/repo", "cannot be created"]);
}

#[test]
fn a_wrong_key_is_told_from_none_and_from_a_mistyped_one() {
    let lab = Lab::new();
    let no_key_file = [("PAGEKEEP_KEY_FILE", "")];
    lab.fails_with(&no_key_file, &["status"], 12, &["no key was given", "--key-file"]);
    lab.fails(&["status", "--key-file", "absent"], 12, &["absent", "No such file", "mounted"]);
    fs::write(lab.path("junk"), "not hex\n").unwrap();
    lab.fails(&["status", "--key-file", "junk"], 12, &["junk", "not a pagekeep key file"]);
    fs::write(lab.path("other"), "0f".repeat(32)).unwrap();
    let mut other = lab.run(&["status", "--key-file", "other"]);
    other.failed(12, &["no key"]);
    assert!(!other.stderr.contains("0f0f"), "{other:?}");

    lab.secret("words", "the wrong words\n");
    lab.fails(&["status", "--password-file", "words"], 12, &["no key"]);
    lab.fails_with(
        &[("PAGEKEEP_KEY_FILE", ""), ("PAGEKEEP_PASSWORD", "the wrong words")],
        &["status"],
        12,
        &["no key"],
    );
    lab.fails(&["status", "--password-command", "exit 3"], 12, &["exit status: 3"]);
    lab.secret("empty", "");
    lab.fails(&["status", "--password-file", "empty"], 2, &["passphrase is empty"]);

    let recovery = lab.json(&["key", "recovery"])[0]["recovery_key"].as_str().unwrap().to_owned();
    let with = |text: &str| lab.secret("recovery", text);
    with(&recovery);
    lab.ok(&["status", "--recovery-key-file", "recovery"]);
    let status = ["status", "--recovery-key-file", "recovery"];
    let wrong = if recovery.starts_with('2') { "3" } else { "2" };
    for (text, why) in [
        (format!("{wrong}{}", &recovery[1..]), "mistyped"),
        (recovery[1..].to_owned(), "56 symbols"),
        (format!("U{}", &recovery[1..]), "character that none has"),
    ] {
        with(&text);
        let ended = lab.run(&status);
        ended.failed(12, &[why]);
        assert!(!ended.stderr.contains(&recovery[8..15]), "{ended:?}");
    }
    other = lab.run(&["init", "-r", "new", "--recovery-key-file", "recovery"]);
    other.failed(2, &["cannot be a repository's first key"]);

    let keys = lab.json(&["key", "list"]);
    for key in keys.iter().filter(|key| key["current"] != true) {
        lab.ok(&["key", "remove", key["id"].as_str().unwrap()]);
    }
    let last = lab.json(&["key", "list"])[0]["id"].as_str().unwrap().to_owned();
    lab.fails(&["key", "remove", &last], 17, &["last slot", "pagekeep key add"]);
}

#[test]
fn keys_are_not_rotated_without_all_of_them() {
    let lab = Lab::new();
    lab.secret("words", "correct horse\n");
    lab.ok(&["key", "add", "--new-password-file", "words", "--label", "spare"]);
    let keys = lab.json(&["key", "list"]);
    let id = |kind: &str| keys.iter().find(|k| k["kind"] == kind).unwrap()["id"].as_str().unwrap();
    let (words, recovery) = (id("passphrase"), id("recovery"));
    let options = ["--with-key-file", "--new-recovery-key", "--remove-others"];
    let told = [&[words, recovery, "passphrase", "\"spare\"", "\"recovery key\""], &options[..]];
    lab.fails(&["key", "rotate"], 17, &told.concat());
    let with_words = ["key", "rotate", "--with-password-file", "words"];
    lab.fails(&with_words, 17, &[recovery]);
    assert!(!lab.run(&with_words).stderr.contains(words));

    fs::write(lab.path("other.key"), "0f".repeat(32)).unwrap();
    chmod(&lab.path("other.key"), 0o600);
    lab.secret("others", "wrong horse\n");
    lab.secret("empty", "");
    let rotate = |option, file| ["key", "rotate", "--remove-others", option, file];
    let wrong = rotate("--with-key-file", "other.key");
    lab.fails(&wrong, 12, &["other.key", "no key slot opens", "key list"]);
    lab.fails(&rotate("--with-password-file", "others"), 12, &["others", "no key slot opens"]);
    lab.fails(&rotate("--with-password-file", "absent"), 12, &["absent", "No such file"]);
    lab.fails(&rotate("--with-password-file", "empty"), 2, &["empty", "passphrase is empty"]);
    lab.fails(&rotate("--with-recovery-key-file", "words"), 12, &["words", "recovery key has"]);
    lab.misused(
        &[&rotate("--with-recovery-key-file", "words")[..], &["--new-recovery-key"]].concat(),
        &["cannot be used with"],
    );
    assert_eq!(lab.json(&["key", "list"]), keys);
    fs::remove_file(lab.path("repo/keys").join(words)).unwrap();
    fs::write(lab.path("repo/keys").join(words), "junk").unwrap();
    lab.fails(&["key", "rotate", "--new-recovery-key"], 17, &[words, "cannot be read"]);
    lab.run(&["key", "rotate", "--new-recovery-key", "--remove-others"]).failed(3, &[words]);
    assert_eq!(lab.json(&["key", "list"]).len(), 2);
}

#[test]
fn a_repository_is_where_it_is_said_to_be() {
    let lab = Lab::new();
    lab.fails_with(&[("PAGEKEEP_REPO", "")], &["status"], 2, &["no repository was named", "-r"]);
    lab.fails(&["status", "-r", "nowhere"], 10, &["nowhere", "does not exist", "pagekeep init"]);
    lab.fails(&["status", "-r", "key"], 10, &["key", "is not a directory"]);
    fs::create_dir(lab.path("plain")).unwrap();
    lab.fails(&["status", "-r", "plain"], 10, &["plain", "is not a pagekeep repository", "init"]);
    lab.fails(&["status", "-r", "s3://bucket"], 2, &["s3://", "not supported"]);
    lab.fails(&["init"], 17, &["repo", "is a repository already"]);
    for below in ["key", "key/repo"] {
        lab.fails(&["init", "-r", below], 13, &[below, "cannot be created", "not a directory"]);
    }
    assert_eq!(fs::read_dir(lab.path("plain")).unwrap().count(), 0);
}

#[test]
fn histories_do_not_mix_and_one_writer_writes() {
    let lab = Lab::with_history();
    fs::create_dir(lab.path("elsewhere")).unwrap();
    lab.make("elsewhere/app.db", 5);
    let other = ["backup", "elsewhere/app.db"];
    lab.fails(&other, 17, &["elsewhere/app.db", "belongs to", "--adopt", "--name"]);
    let lock = walk(&lab.path("state")).into_iter().find(|path| path.ends_with("lock")).unwrap();
    let lock = File::open(lock).unwrap();
    lock.lock().unwrap();
    lab.sql("app.db", "DELETE FROM t WHERE id = 1");
    // Nobody knows what that process does; so a signal ends the wait, and not a commit that was missed.
    let mut waiting = lab.command(&["backup", "app.db"]).spawn().unwrap();
    wait_until_caught(&waiting, 2);
    signal("-INT", &waiting.id().to_string());
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    lab.ok(&["restore", "app", "out.db"]);
    lock.unlock().unwrap();
    assert_eq!(lab.summary(&["backup", "app.db"])["seq"], 3);
    lab.ok(&[&other[..], &["--adopt"]].concat());
    lab.fails(&["backup", "app.db", "--name", "a@b"], 2, &["a@b", "name has"]);
    fs::rename(lab.path("app.db"), lab.path("a@b.db")).unwrap();
    lab.fails(&["backup", "a@b.db"], 2, &["a@b", "name has"]);
}

#[test]
fn damage_is_found_and_the_object_named() {
    let lab = Lab::with_history();
    let (first, second) = (lab.segment_of(1), lab.segment_of(2));
    let name = first.strip_prefix(lab.path("repo")).unwrap().to_str().unwrap().to_owned();
    let middle = fs::metadata(&first).unwrap().len() / 2;
    flip(&first, middle);
    for target in ["app", "app@seq:1"] {
        lab.fails(&["restore", target, "out.db"], 4, &[&name]);
        assert!(!lab.path("out.db").exists());
    }
    for level in ["data", "restore"] {
        let verify = lab.run(&["verify", "app", "--level", level]);
        assert_eq!(verify.code, Some(4), "{verify:?}");
        assert!(verify.stdout.contains(&name) && verify.stdout.contains("FAILED"), "{verify:?}");
        let verify = lab.run(&["verify", "app", "--level", level, "--json"]);
        let finding = verify.objects().into_iter().find(|o| o["type"] == "finding");
        assert_eq!((verify.code, &finding.unwrap()["object"]), (Some(4), &name.as_str().into()));
    }
    let status = lab.run(&["status"]);
    assert!(status.code == Some(4) && status.stdout.contains("FAILED"), "{status:?}");
    flip(&first, middle);
    lab.ok(&["verify", "app", "--level", "restore"]);

    fs::rename(&first, lab.path("away")).unwrap();
    lab.fails(&["restore", "app", "out.db"], 4, &["missing"]);
    fs::rename(lab.path("away"), &first).unwrap();
    let bytes = fs::read(&second).unwrap();
    fs::write(&second, &bytes[..bytes.len() - 1]).unwrap();
    let verify = lab.run(&["verify", "app", "--level", "chain"]);
    assert!(verify.code == Some(4) && verify.stdout.contains("bytes instead of"), "{verify:?}");
    fs::write(&second, &bytes).unwrap();
    lab.ok(&["verify", "app"]);
    lab.tidy();
}

#[test]
fn what_nobody_has_is_not_found() {
    let lab = Lab::with_history();
    lab.fails(&["log", "nothing"], 16, &["nothing", "no history of this name", "there are: app"]);
    lab.fails(&["show", "app@seq:99"], 16, &["seq:99", "seq:1 (", "pagekeep log app"]);
    lab.fails(&["restore", "app@latest~9", "out.db"], 16, &["latest~9"]);
    lab.fails(&["restore", "app@no such label", "out.db"], 16, &["\"no such label\""]);
    lab.fails(&["restore", "app@2001-01-01", "out.db"], 16, &["as old as"]);
    lab.fails(&["label", "app", "none", "--remove"], 16, &["no label \"none\"", "snapshots app"]);
    lab.fails(&["key", "remove", "ffffffffff"], 16, &["ffffffffff", "no key has this id"]);
    for bad in ["seq:0", "seq:x", "latest~-1", "", "5 apples ago", "2026-13-45", "today 25:00"] {
        lab.fails(&["show", &format!("app@{bad}")], 2, &["names no commit", "latest~2"]);
    }
    lab.fails(&["log", "app", "--since", "the second"], 2, &["\"the second\"", "is not a time"]);
    assert!(!lab.path("out.db").exists());
}

#[test]
fn a_wrong_assertion_fails_and_one_that_makes_no_sense_is_misuse() {
    let lab = Lab::with_history();
    let restore = ["verify", "app", "--level", "restore", "--assert"];
    let verify = lab.run(&[&restore[..], &["SELECT count(*) > 1000 FROM t"]].concat());
    assert_eq!(verify.code, Some(4), "{verify:?}");
    assert!(verify.stdout.contains("app@seq:2: assertion: "), "{verify:?}");
    lab.fails(&[&restore[..], &["SELEKT 1"]].concat(), 2, &["not a query"]);
    lab.fails(&["verify", "--assert", "SELECT 1"], 2, &["--assert means nothing at level data"]);
    for (level, option, value) in [
        ("chain", "--sample", "10%"),
        ("chain", "--max-time", "1s"),
        ("chain", "--assert", "SELECT 1"),
        ("data", "--scratch", "."),
    ] {
        let message = format!("{option} means nothing at level {level}");
        lab.fails(&["verify", "--level", level, option, value], 2, &[&message]);
    }
}

#[test]
fn arguments_that_make_no_sense_are_misuse() {
    let lab = Lab::empty();
    for (args, fragments) in [
        (&[][..], &["Usage: pagekeep"][..]),
        (&["bakcup"], &["bakcup", "backup"]),
        (&["backup"], &["<DATABASE>"]),
        (&["backup", "a.db", "--no-such"], &["--no-such"]),
        (&["backup", "a.db", "--compression", "most"], &["most", "possible values"]),
        (&["restore", "app"], &["<TARGET>"]),
        (&["log", "app", "-n", "x"], &["invalid value 'x'"]),
        (&["verify", "--sample", "0"], &["above 0"]),
        (&["verify", "--max-time", "soon"], &["90s or 10m"]),
        (&["status", "--threads", "0"], &["1..=256"]),
        (&["status", "-q", "-v"], &["cannot be used with"]),
        (&["status", "--key-file", "a", "--password-file", "b"], &["cannot be used with"]),
        (&["key"], &["Usage: pagekeep key"]),
        (&["completions", "cmd"], &["cmd", "bash"]),
    ] {
        lab.misused(args, fragments);
    }
    let none = Ended::of(lab.command(&["status"]).env("PAGEKEEP_REPO", "").env_remove("HOME"));
    none.failed(2, &["location is empty"]);
}

/// The parser knows letters and no meaning. Only a slip of a finger gets a tip.
#[test]
fn no_tip_is_about_another_command_than_was_meant() {
    let lab = Lab::empty();
    for (args, tip) in [
        (&["bakcup", "a.db"][..], "'backup'"),
        (&["snapshot"], "'snapshots'"),
        (&["restore", "app", "a.db", "--forec"], "'--force'"),
        (&["prune", "--keep-dayly", "7"], "'--keep-daily'"),
    ] {
        lab.misused(args, &["tip: ", tip]);
    }
    for args in [
        &["delete", "app"][..],
        &["rename"],
        &["find"],
        &["diff"],
        &["remove"],
        &["list"],
        &["key", "replace"],
        &["hold", "delete"],
        &["key", "rotate", "--remove"],
        &["rewind", "a.db", "--to", "latest", "--force"],
        &["restore", "app", "--no-check"],
        &["--apply", "repair"],
    ] {
        let ended = lab.run(args);
        ended.failed(2, &["pagekeep"]);
        assert!(!ended.stderr.contains("tip:"), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("--help"), "{args:?}: {}", ended.stderr);
    }
}

/// One of each kind, by its exit code: what it is about, and what to do next.
#[test]
fn every_kind_of_error_names_its_object_and_the_next_step() {
    let mut lab = Lab::with_history();
    lab.ok(&["verify"]);
    let mut seen = std::collections::BTreeSet::new();
    let mut see = |ended: &Ended, object: &str| {
        let last = ended.objects().pop().unwrap();
        assert_eq!(last["exit_code"].as_i64(), ended.code.map(i64::from), "{ended:?}");
        let about = last["object"].as_str().unwrap_or_default();
        assert!(about.contains(object), "{object:?}: {last}");
        assert!(last["hint"].as_str().is_some_and(|hint| hint.len() > 10), "{last}");
        assert!(ended.stderr.contains("hint: ") && ended.stderr.contains("error: "), "{ended:?}");
        seen.insert(last["kind"].as_str().unwrap().to_owned());
    };
    let run = |lab: &Lab, args: &[&str]| lab.run(&[args, &["--json"]].concat());
    see(&run(&lab, &["restore", "app", "new/"]), "new/");
    see(&run(&lab, &["backup", "none.db"]), "none.db");
    see(&run(&lab, &["status", "-r", "nowhere"]), "nowhere");
    see(&run(&lab, &["restore", "nobody", "out.db"]), "nobody");
    see(&run(&lab, &["restore", "app", "app.db"]), "app.db");
    fs::write(lab.path("wrong"), format!("{:064x}\n", 1)).unwrap();
    chmod(&lab.path("wrong"), 0o600);
    see(&run(&lab, &["status", "--key-file", "wrong"]), "repo");

    // Somebody writes, and then somebody else does.
    let mut watch = lab.command(&["watch", "app.db", "--json"]).spawn().unwrap();
    lab.sql("app.db", "DELETE FROM t WHERE id = 1");
    // Once it has stored that, it has the history.
    let mut lines = BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"type\":\"commit\"") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
    }
    watch.stdout = Some(lines.into_inner());
    see(&run(&lab, &["watch", "app.db"]), "app");
    lab.ok(&["backup", "app.db", "--state-dir", "other", "--takeover"]);
    lab.sql("app.db", "DELETE FROM t WHERE id = 2");
    let superseded = Ended::from(watch_end(&mut watch));
    see(&superseded, "");

    // A limit on the size of files stands for a full disk.
    let mut limited = lab.other("sh");
    lab.sql("big.db", "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(300000))");
    let script = "ulimit -f 8; exec \"$BIN\" backup big.db --compression off --json";
    limited.args(["-c", script]).env("BIN", cli::BIN);
    let limited = Ended::of(&mut limited);
    assert_eq!(limited.code, Some(14), "{limited:?}");
    see(&limited, "");

    // What a later version wrote, and what was damaged.
    let object = lab.path("repo/repository");
    let whole = fs::read(&object).unwrap();
    let mut later = whole.clone();
    later[5] = 9;
    let end = later.len() - 16;
    let sum = blake3::hash(&later[..end]);
    later[end..].copy_from_slice(&sum.as_bytes()[..16]);
    fs::write(&object, &later).unwrap();
    see(&run(&lab, &["status"]), "repository");
    fs::write(&object, &whole).unwrap();
    let segment = lab.segment_of(2);
    flip(&segment, fs::metadata(&segment).unwrap().len() - 5);
    see(&run(&lab, &["restore", "app@seq:2", "out.db"]), "log/");

    // Who may not read; root may.
    lab.without_privileges();
    chmod(&lab.path("repo/histories"), 0);
    see(&run(&lab, &["status"]), "histories");
    chmod(&lab.path("repo/histories"), 0o700);
    let all = [
        "busy",
        "damaged",
        "no-repository",
        "no-space",
        "not-found",
        "refused",
        "source",
        "storage",
        "superseded",
        "too-new",
        "usage",
        "wrong-key",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

fn watch_end(watch: &mut std::process::Child) -> std::process::Output {
    use std::io::Read;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    watch.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    watch.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    std::process::Output { status: watch.wait().unwrap(), stdout, stderr }
}

/// The header of a live database is destroyed; its history brings it back.
#[test]
fn what_is_no_database_any_more_can_be_restored() {
    let lab = Lab::with_history();
    let file = OpenOptions::new().write(true).open(lab.path("app.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 100], 0).unwrap();
    lab.fails(&["backup", "app.db"], 5, &["app.db", "pagekeep restore NAME FILE --force"]);
    lab.ok(&["restore", "app", "app.db", "--force"]);
    lab.ok(&["backup", "app.db"]);
}

#[test]
fn a_dash_is_standard_input_and_no_file() {
    let lab = Lab::with_history();
    lab.fails(&["restore", "app", "-"], 2, &["standard output", "./-"]);
    lab.fails(&["key", "add", "--new-key-file", "-"], 2, &["standard output", "./-"]);
    assert!(!lab.path("-").exists());
    let piped = format!("{} status --key-file - < key", cli::BIN);
    assert_eq!(Ended::of(lab.other("sh").args(["-c", &piped])).code, Some(0));
}

/// The parser does not say which argument is no text.
#[test]
fn an_argument_that_is_no_text_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::with_history();
    let (repo, file) = (OsStr::from_bytes(b"caf\xe9"), OsStr::from_bytes(b"dat\xe9.db"));
    for json in [&["--json"][..], &[]] {
        let mut command = lab.command(&["-r"]);
        command.arg(repo).arg("backup").arg(file).args(json);
        let ended = Ended::of(&mut command);
        ended.failed(2, &["argument", "caf\u{fffd}", "UTF-8", "--help"]);
        assert!(!ended.stderr.contains("dat"), "a database may be called so: {ended:?}");
        assert_eq!(ended.stdout.contains("caf"), !json.is_empty(), "{ended:?}");
    }
    let ended = Ended::of(lab.command(&["status"]).env("PAGEKEEP_REPO", repo));
    ended.failed(2, &["variable PAGEKEEP_REPO", "UTF-8"]);
    let ended = Ended::of(lab.command(&["backup", "--name", "dat"]).arg(file));
    ended.failed(5, &["dat\u{fffd}.db", "cannot be found"]);
}

#[test]
fn who_names_a_commit_where_a_file_is_meant_is_told_so() {
    let lab = Lab::with_history();
    for args in [
        &["rewind", "app@seq:1", "--to", "latest"][..],
        &["drift", "app@2h ago"],
        &["backup", "app@latest"],
        &["watch", "app@latest"],
    ] {
        lab.fails(args, 5, &["app@", "such as app.db", "--to WHEN"]);
    }
}
