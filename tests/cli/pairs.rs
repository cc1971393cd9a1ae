//! Two on one database: what each command does beside a running `watch` of this account, and beside one of another account that has a
//! state folder of its own. The table stands in docs/operations.md.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::support::cli::{self, Ended, Lab};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watch(Child);

impl Watch {
    /// A `watch` of `app.db` that has captured everything.
    fn start(lab: &Lab) -> Self {
        let before = lab.seqs().len();
        let mut command = lab.command(&["watch", "app.db", "--interval", "0"]);
        command.stdout(std::process::Stdio::null());
        command.stderr(fs::File::create(lab.path("watch.err")).unwrap());
        let watch = Self(command.spawn().unwrap());
        lab.sql("app.db", &format!("UPDATE t SET x = 'watched {before}' WHERE id = 1"));
        let began = Instant::now();
        while lab.seqs().len() == before {
            assert!(began.elapsed() < PATIENCE, "it captured nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
        watch
    }

    fn is_there(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn stop(mut self) -> Option<i32> {
        cli::signal("-TERM", &self.0.id().to_string());
        self.0.wait().unwrap().code()
    }

    /// How it ended by itself.
    fn ended(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command of somebody whose state is elsewhere: of another account, if this one is root; else as in a container.
fn elsewhere(lab: &Lab, args: &[&str]) -> Ended {
    let mut command = if cli::is_root() {
        let program = share(lab);
        let mut command = lab.other("setpriv");
        command.args([&format!("--reuid={OTHER}"), &format!("--regid={OTHER}")]);
        command.arg(format!("--groups={GROUP}")).arg(program).args(args);
        command.env("PAGEKEEP_KEY_FILE", "key of another");
        command
    } else {
        lab.command(args)
    };
    command.env("PAGEKEEP_STATE_DIR", "state of another");
    Ended::of(&mut command)
}

/// Another account, and the group that shares the database and the repository with it.
const OTHER: u32 = 4002;
const GROUP: u32 = 5000;

/// Lets the group do what root does here, but for root's key and memory. Answers where the other account finds the program.
fn share(lab: &Lab) -> PathBuf {
    let all = [lab.path("")].into_iter().chain(cli::walk(&lab.path("")));
    let private = [lab.path("key"), lab.path("state")];
    for path in all.filter(|path| !private.iter().any(|private| path.starts_with(private))) {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.uid() == 0 {
            chown(&path, None, Some(GROUP)).unwrap();
            let mode = if meta.is_dir() { 0o2775 } else { meta.mode() | 0o060 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let (program, key) = (lab.path("program"), lab.path("key of another"));
    if !program.exists() {
        assert!(
            Command::new("cp").args([cli::BIN.as_ref(), &*program]).status().unwrap().success()
        );
        fs::copy(lab.path("key"), &key).unwrap();
        fs::create_dir_all(lab.path("state of another")).unwrap();
        for path in [&key, &lab.path("state of another")] {
            chown(path, Some(OTHER), Some(OTHER)).unwrap();
        }
    }
    program
}

/// The README's own order: `backup` first, and then `watch` in the turn that the backup claimed.
#[test]
fn a_follower_that_goes_on_in_the_turn_of_a_backup_is_seen_by_all_others() {
    let lab = Lab::with_history();
    let mut watch = Watch::start(&lab);
    for args in [
        &["watch", "app.db"][..],
        &["backup", "app.db"],
        &["backup", "app.db", "--label", "mine"],
        &["rewind", "app.db", "--to", "seq:1"],
        &["recover", "app.db", "--at", "seq:1", "--table", "t", "--changed"],
        &["undo", "app.db", "latest"],
    ] {
        let ended = elsewhere(&lab, args);
        let pid = watch.0.id().to_string();
        ended.failed(11, &["app", "is followed by process", &pid, "--takeover"]);
        assert!(watch.is_there(), "{args:?}");
    }
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM t WHERE x LIKE 'watched%'"), 1);
    // What writes no commits may be done by anybody.
    for args in [
        &["label", "app", "theirs"][..],
        &["prune", "app", "--keep-last", "100"],
        &["verify", "app"],
        &["restore", "app", "out.db"],
        &["hold", "add", "app@seq:1", "why"],
        &["drift", "app.db"],
        &["query", "app", "SELECT count(*) FROM t"],
        &["diff", "app@seq:1"],
        &["changes", "app"],
        &["find", "app", "SELECT x FROM t WHERE id = 1"],
        &["trace", "app", "t", "1"],
        &["coverage", "app"],
    ] {
        let ended = elsewhere(&lab, args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        assert!(watch.is_there(), "{args:?}");
    }
    assert!(matches!(watch.stop(), Some(0 | 3)));
    // It said goodbye: nobody has to ask any more.
    assert!(matches!(elsewhere(&lab, &["backup", "app.db"]).code, Some(0 | 3)));
}

/// A `watch` that was killed and started again leaves a sign, although it goes on in its own turn.
#[test]
fn a_follower_that_was_started_again_is_seen() {
    let lab = Lab::with_history();
    let first = Watch::start(&lab);
    drop(first);
    let mut second = Watch::start(&lab);
    elsewhere(&lab, &["watch", "app.db"]).failed(11, &[&second.0.id().to_string()]);
    assert!(second.is_there());
}

#[test]
fn a_takeover_ends_the_other_one_which_says_who_it_was() {
    let lab = Lab::with_history();
    let mut watch = Watch::start(&lab);
    let taken = elsewhere(&lab, &["backup", "app.db", "--takeover"]);
    assert!(matches!(taken.code, Some(0 | 3)), "{taken:?}");
    lab.sql("app.db", "UPDATE t SET x = 'more' WHERE id = 2");
    assert_eq!(watch.ended(), Some(11));
    let told = fs::read_to_string(lab.path("watch.err")).unwrap();
    assert!(told.contains("was taken over by `backup`, process "), "{told}");
    assert!(told.contains("take turns"), "{told}");
}

/// A point "now" while the database is followed: the label names a commit with everything that was committed before.
#[test]
fn a_backup_beside_a_follower_of_this_account_has_it_do_the_work() {
    let lab = Lab::with_history();
    let mut watch = Watch::start(&lab);
    for n in 0..5 {
        lab.sql("app.db", &format!("UPDATE t SET x = 'now' WHERE id = {}", n + 10));
        let label = format!("before migration {n}");
        let summary = lab.summary(&["backup", "app.db", "--label", &label]);
        assert_eq!(summary["followed"], true, "{summary}");
        let out = format!("out-{n}.db");
        lab.ok(&["restore", &format!("app@{label}"), &out]);
        assert_eq!(lab.number(&out, "SELECT count(*) FROM t WHERE x = 'now'"), n + 1);
    }
    lab.ok(&["rewind", "app.db", "--to", "before migration 2"]);
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM t WHERE x = 'now'"), 3);
    // Rows that were set back are a commit of their own, which can be taken back.
    let now = "SELECT count(*) FROM t WHERE x = 'now'";
    let last = ["recover", "app.db", "--at", "before migration 4", "--table", "t", "--changed"];
    let summary = lab.summary(&last);
    assert_eq!((lab.number("app.db", now), &summary["alone"]), (5, &true.into()), "{summary}");
    lab.ok(&["undo", "app.db", &format!("seq:{}", summary["now"])]);
    assert_eq!(lab.number("app.db", now), 3);
    // A second follower of this account has nothing to do.
    lab.run(&["watch", "app.db"]).failed(11, &["app"]);
    assert!(watch.is_there());
    assert!(matches!(watch.stop(), Some(0 | 3)));
}

/// Somebody removed the file `-shm` under an application: it goes on in the one that is gone, and a follower would wait for it in the
/// new one for ever.
#[test]
fn commits_through_another_wal_index_are_not_passed_over_in_silence() {
    let lab = Lab::with_history();
    let app = rusqlite::Connection::open(lab.path("app.db")).unwrap();
    app.execute_batch("UPDATE t SET x = 'before' WHERE id = 20").unwrap();
    let watch = Watch::start(&lab);
    fs::remove_file(lab.path("app.db-shm")).unwrap();
    let told = || fs::read_to_string(lab.path("watch.err")).unwrap();
    let began = Instant::now();
    while !told().contains("another wal-index") {
        assert!(began.elapsed() < PATIENCE, "it says nothing: {}", told());
        app.execute_batch("UPDATE t SET x = x || '.' WHERE id = 20").unwrap();
        // The application rests, so that nothing else is to be noticed.
        std::thread::sleep(Duration::from_secs(5));
    }
    let last: String =
        app.query_row("SELECT x FROM t WHERE id = 20", [], |row| row.get(0)).unwrap();
    drop(app);
    assert!(matches!(watch.stop(), Some(0)));
    lab.run(&["backup", "app.db"]);
    lab.ok(&["restore", "app", "out.db"]);
    let found = format!("SELECT count(*) FROM t WHERE id = 20 AND x = '{last}'");
    assert_eq!(lab.number("out.db", &found), 1);
}

/// The first captures of a database begin its history: two at once begin one, also those of two accounts or containers.
#[test]
fn two_that_begin_at_once_begin_one_history() {
    for round in 0..12 {
        let lab = Lab::new();
        lab.make("app.db", 5);
        let states = if round < 6 { ["state", "state"] } else { ["state", "other"] };
        let both = states
            .map(|state| lab.command(&["backup", "app.db", "--state-dir", state]).spawn().unwrap());
        for mut one in both {
            assert!(matches!(one.wait().unwrap().code(), Some(0 | 3 | 11)));
        }
        let histories = fs::read_dir(lab.path("repo/histories")).unwrap().count();
        assert_eq!(histories, 1);
        lab.ok(&["backup", "app.db"]);
    }
}

/// A file that came from a machine whose clock is ahead.
#[test]
fn a_database_that_is_dated_in_the_future_is_captured() {
    for journal in ["WAL", "DELETE"] {
        let lab = Lab::new();
        lab.sql("app.db", &format!("PRAGMA journal_mode={journal}; CREATE TABLE t(x)"));
        let tomorrow = std::time::SystemTime::now() + Duration::from_secs(24 * 3600);
        let date = || {
            let file = fs::File::options().append(true).open(lab.path("app.db")).unwrap();
            file.set_modified(tomorrow).unwrap();
        };
        date();
        lab.ok(&["backup", "app.db"]);
        lab.sql("app.db", "INSERT INTO t VALUES(1)");
        date();
        lab.ok(&["backup", "app.db"]);
        lab.ok(&["restore", "app", "out.db"]);
        assert_eq!(lab.number("out.db", "SELECT count(*) FROM t"), 1);
    }
}

/// With a rollback journal each transaction counts in the file. What changed without one is stored, since it is what the file has, and told.
#[test]
fn what_changed_without_a_transaction_is_told_while_it_is_followed() {
    let lab = Lab::new();
    lab.sql(
        "app.db",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, zeroblob(9000))",
    );
    lab.ok(&["backup", "app.db"]);
    let _watch = Watch::start(&lab);
    let told = || fs::read_to_string(lab.path("watch.err")).unwrap();
    assert!(!told().contains("without a transaction"));
    let file = fs::File::options().write(true).open(lab.path("app.db")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xee; 64], 2 * 4096 + 2000).unwrap();
    let began = Instant::now();
    while !told().contains("changed without a transaction") {
        assert!(began.elapsed() < PATIENCE, "it says nothing: {}", told());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A hard link, a file that is mounted alone, a file that was renamed while it was open: the WAL lies beside the other name.
#[test]
fn a_database_that_is_open_under_another_name_is_not_taken_for_all_of_it() {
    let lab = Lab::new();
    let app = rusqlite::Connection::open(lab.path("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(x); PRAGMA wal_checkpoint; INSERT INTO t VALUES(1)")
        .unwrap();
    lab.ok(&["backup", "app.db"]);
    fs::hard_link(lab.path("app.db"), lab.path("hard.db")).unwrap();
    let told = ["hard.db", "is open under another name", "another -wal"];
    let warned = lab.run(&["backup", "hard.db"]);
    warned.failed(3, &told);
    lab.fails(&["watch", "hard.db"], 17, &told);
    lab.fails(&["rewind", "hard.db", "--to", "seq:1"], 17, &told);
    // By its own name it is as ever, whoever has it open.
    lab.ok(&["backup", "app.db"]);
    drop(app);
    fs::remove_file(lab.path("hard.db")).unwrap();

    // Whoever is outside can't be seen: that is only told.
    if cli::is_root() {
        let alone = |command: &str| {
            let script = format!(
                "touch alone.db && mount --bind app.db alone.db || exit 77; exec \"$BIN\" {command}"
            );
            let mut command = lab.other("unshare");
            command.args(["-m", "sh", "-c", &script]).env("BIN", cli::BIN);
            let ended = Ended::of(&mut command);
            let skipped = matches!(ended.code, Some(1 | 77)) && !ended.stderr.contains("pagekeep");
            if skipped {
                println!("skipped: nothing can be mounted here: {}", ended.stderr);
            }
            (!skipped).then_some(ended)
        };
        let told = ["alone.db", "is mounted alone", "mount its folder"];
        let Some(ended) = alone("backup alone.db") else { return };
        ended.failed(3, &told);
        let ended = alone("rewind alone.db --to latest").unwrap();
        ended.failed(3, &told);
        assert_eq!(ended.stderr.matches("is mounted alone").count(), 1, "{ended:?}");
        alone("restore alone alone.db --force").unwrap().failed(17, &told);
    }
}

/// A copied machine has a copy of the database and of what the first one remembers. Then both go on
/// in one history, each taking back what the other one brought.
#[test]
fn two_copies_of_a_database_in_one_history_are_noticed() {
    let lab = Lab::new();
    lab.sql(
        "app.db",
        "PRAGMA journal_mode=WAL; CREATE TABLE one(id INTEGER PRIMARY KEY, x); CREATE TABLE two(x)",
    );
    let grow = |table: &str| {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<99)";
        lab.sql(
            "app.db",
            &format!("{sql} INSERT INTO {table}(x) SELECT hex(randomblob(900)) FROM n"),
        );
    };
    let backup = |state: &str| lab.run(&["backup", "app.db", "--state-dir", state]);
    grow("one");
    assert_eq!(backup("first").code, Some(0));
    // Two state folders of one database see each other's commits in it.
    assert_eq!(backup("other").code, Some(0));
    for state in ["first", "other", "first"] {
        grow("two");
        let ended = backup(state);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{state}: {ended:?}");
    }
    // A copy of the machine.
    fs::copy(lab.path("app.db"), lab.path("theirs.db")).unwrap();
    let copied =
        Command::new("cp").args(["-a", "first", "theirs"]).current_dir(lab.path("")).status();
    assert!(copied.unwrap().success());
    grow("one");
    assert_eq!(backup("first").code, Some(0));
    let swap = || {
        fs::rename(lab.path("app.db"), lab.path("ours.db")).unwrap();
        fs::rename(lab.path("theirs.db"), lab.path("app.db")).unwrap();
        fs::rename(lab.path("ours.db"), lab.path("theirs.db")).unwrap();
    };
    for state in ["theirs", "first", "theirs"] {
        swap();
        grow("two");
        backup(state).failed(3, &["does not have what the commits after seq:", "--name NAME"]);
    }
    lab.ok(&["verify", "app", "--level", "restore"]);
}
