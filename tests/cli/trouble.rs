//! A full disk and a user who changes his mind, through the real binary.

use std::io::{BufRead, BufReader, Read, Write};

use crate::support::cli::{self, Ended, Lab, is_root, signal};

/// Runs a shell script in a mount namespace of its own, where `tiny` is a file system of 2 MiB. `None` when the system does
/// not let us.
fn on_a_tiny_disk(lab: &Lab, script: &str) -> Option<Ended> {
    std::fs::create_dir(lab.path("tiny")).unwrap();
    let mount = "mount -t tmpfs -o size=2m tmpfs tiny || exit 77";
    let mut command = lab.other("unshare");
    command.args(["-m", "sh", "-c", &format!("{mount}; {script}")]).env("BIN", cli::BIN);
    match command.output() {
        Ok(output) if is_root() && !matches!(output.status.code(), Some(1 | 77)) => {
            Some(output.into())
        }
        other => {
            println!("skipped: no mount namespace of our own: {other:?}");
            None
        }
    }
}

#[test]
fn a_full_disk_ends_a_backup_and_harms_nothing() {
    let lab = Lab::empty();
    lab.make("small.db", 300);
    lab.sql("small.db", "SELECT 1");
    lab.make("big.db", 1);
    lab.sql("big.db", "INSERT INTO t(x) VALUES(randomblob(6000000))");
    let script = r#"
        export PAGEKEEP_REPO=tiny/repo
        "$BIN" init -q --no-recovery-key && "$BIN" backup -q small.db && echo "began: $?"
        "$BIN" backup big.db; echo "full: $?"
        find tiny -name '.tmp-*' | wc -l
        "$BIN" restore small tiny/out.db -q; echo "restored: $?"
        rm tiny/out.db
        "$BIN" verify small; echo "verified: $?"
    "#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    ended.says(&["began: 0", "full: 14", "\n0\n", "restored: 0", "data passed", "verified: 0"]);
    for expected in ["No space left", "free some space"] {
        assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
    }
}

#[test]
fn a_restore_that_will_not_fit_does_not_begin() {
    let lab = Lab::new();
    lab.make("big.db", 30_000);
    lab.ok(&["backup", "big.db"]);
    let script = r#""$BIN" restore big tiny/out.db; echo "full: $?"; ls -A tiny | wc -l"#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    assert!(ended.stdout.starts_with("full: 14\n0\n"), "{ended:?}");
    assert!(ended.stderr.contains("iB and has room for"), "{ended:?}");
}

#[test]
fn ctrl_c_ends_a_backup_and_the_next_one_goes_on() {
    let lab = Lab::with_history();
    lab.sql(
        "app.db",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<6000)
         INSERT INTO t(x) SELECT hex(randomblob(3000)) FROM n",
    );
    let before = lab.json(&["log", "app"]);
    // So hard to compress that it takes seconds.
    let slow = ["backup", "app.db", "--compression", "max", "--threads", "1", "--json"];
    let mut child = lab.command(&slow).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let capture = lines.by_ref().find(|l| l.as_ref().unwrap().contains("\"capture\""));
    assert!(capture.is_some(), "progress tells that it began");
    signal("-INT", &child.id().to_string());
    let last = lines.last().unwrap().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{last} {stderr}");
    assert!(last.contains("\"interrupted\"") && stderr.contains("stopped on request"), "{stderr}");
    assert!(stderr.contains("nothing was published"), "{stderr}");
    lab.tidy();

    assert_eq!(lab.json(&["log", "app"]), before);
    lab.ok(&["verify", "app"]);
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["verify", "app"]);
    lab.ok(&["restore", "app", "out.db"]);
    assert_eq!(lab.number("out.db", "SELECT count(*) FROM t"), 6200);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let lab = Lab::with_history();
    let mut child = lab.command(&["log", "app"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

/// What has to be read whole is tried again ever more seldom, and told once.
#[test]
fn a_full_disk_under_a_scan_does_not_flood_the_log() {
    let lab = Lab::empty();
    lab.make("small.db", 20);
    let script = r#"
        export PAGEKEEP_REPO=tiny/repo
        "$BIN" init -q --no-recovery-key
        "$BIN" backup -q small.db
        python3 -c 'import sqlite3
sqlite3.connect("small.db").executescript("PRAGMA journal_mode=WAL; VACUUM; CREATE TABLE big AS SELECT hex(randomblob(99999)) x")'
        cat /dev/zero > tiny/fill 2> /dev/null
        "$BIN" watch small.db --interval 0 2> said > out & watch=$!
        for _ in $(seq 100); do grep -q trouble said && break; sleep 0.1; done
        sleep 3; rm tiny/fill
        for _ in $(seq 300); do grep -q 'it works again' said && break; sleep 0.1; done
        kill -INT $watch; wait $watch; echo "watch: $?"
        cat said
    "#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    ended.says(&["watch: 0", "it works again"]);
    for told in ["trouble, trying again", "reading the whole database"] {
        assert_eq!(ended.stdout.matches(told).count(), 1, "{ended:?}");
    }
}

#[test]
fn a_full_disk_delays_a_watch_and_it_recovers_by_itself() {
    let lab = Lab::empty();
    lab.make("small.db", 20);
    let script = r#"
        export PAGEKEEP_REPO=tiny/repo
        until_said() { for _ in $(seq 600); do grep -q "$1" said && return; sleep 0.1; done; echo "never: $1"; }
        "$BIN" init -q --no-recovery-key
        "$BIN" watch small.db --interval 0 --json > said & watch=$!
        until_said '"seq":1,'
        cat /dev/zero > tiny/fill 2> /dev/null
        python3 -c 'import sqlite3
db = sqlite3.connect("small.db", isolation_level=None)
for n in range(5): db.execute("INSERT INTO t(x) VALUES(hex(randomblob(500)))")
print("the application went on")'
        until_said '"kind":"no-space"'
        rm tiny/fill
        until_said '"type":"recovered"'
        until_said '"seq":6,'
        kill -INT $watch; wait $watch; echo "watch: $?"
        "$BIN" verify small; echo "verified: $?"
        "$BIN" log small
    "#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    ended.says(&["the application went on", "watch: 0", "verified: 0"]);
    assert!(!ended.stdout.contains("never:"), "{ended:?}");
    assert_eq!(ended.stdout.matches("transaction").count(), 5, "{ended:?}");
}

/// The VFS unix-dotfile locks by a folder beside the database, which no other VFS sees.
#[test]
fn a_database_that_is_locked_by_a_folder_is_left_alone() {
    let lab = Lab::new();
    lab.make("app.db", 5);
    lab.ok(&["backup", "app.db"]);
    std::fs::create_dir(lab.path("app.db.lock")).unwrap();
    // Another program's: such a lock and a WAL don't go together.
    lab.ok(&["backup", "app.db"]);
    lab.sql("app.db", "PRAGMA journal_mode=DELETE");
    for args in [&["backup", "app.db"][..], &["watch", "app.db"]] {
        lab.fails(args, 11, &["app.db", "unix-dotfile", "app.db.lock", "remove it"]);
    }
    std::fs::remove_dir(lab.path("app.db.lock")).unwrap();
    // A file of that name is somebody else's.
    std::fs::write(lab.path("app.db.lock"), "").unwrap();
    lab.ok(&["backup", "app.db"]);
}

/// Pages that neither the file nor the WAL has read as zeros, for SQLite as well. That is stored, and said.
#[test]
fn a_file_that_was_cut_off_below_its_wal_is_told_of() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         INSERT INTO t SELECT value, randomblob(3000) FROM json_each('[1,2,3,4,5,6,7,8,9]');
         CREATE TABLE free(x); INSERT INTO free VALUES(randomblob(40000)); DROP TABLE free",
    )
    .unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    db.execute("UPDATE t SET id = 90 WHERE id = 9", []).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    // Free pages need not be there.
    file.set_len((pages - 2) * 4096).unwrap();
    lab.ok(&["backup", "app.db", "--name", "free"]);
    file.set_len(4 * 4096).unwrap();
    let ended = lab.run(&["backup", "app.db"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let told = ["the file was cut off", &format!("of its {pages} pages"), "from page 5 on"];
    assert!(told.iter().all(|told| ended.stderr.contains(told)), "{ended:?}");
    assert_eq!(lab.run(&["verify", "app", "--level", "restore"]).code, Some(4));
}

/// Room that SQLite asked for ahead is zeros, and nothing is lost with it.
#[test]
fn bytes_behind_the_end_of_a_database_are_told_of() {
    let lab = Lab::with_history();
    lab.sql("app.db", "PRAGMA journal_mode=DELETE");
    let path = lab.path("app.db");
    let append = |bytes: &[u8]| {
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
    };
    append(&[0; 70_000]);
    lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    let ended = lab.run(&["backup", "app.db"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    append(b"appended by another program");
    let told = ["70027 bytes of the file lie behind the database's last page", "are not stored"];
    lab.run(&["backup", "app.db"]).failed(3, &told);
    lab.ok(&["verify", "app", "--level", "restore"]);
}

/// What a machine remembers is a cache: a backup does without.
#[test]
fn a_state_folder_that_takes_nothing_costs_no_backup() {
    let lab = Lab::empty();
    lab.make("small.db", 20);
    lab.ok(&["init", "--no-recovery-key"]);
    let script = r#"
        grow() { python3 -c 'import sqlite3
db = sqlite3.connect("small.db"); db.execute("INSERT INTO t(x) VALUES(1)"); db.commit()'; }
        try() { grow; "$BIN" backup -q small.db --state-dir "$1"; echo "$1: $?"; }
        try tiny/old
        cat /dev/zero > tiny/fill 2> /dev/null
        try tiny/old
        try tiny/new
        try tiny/new
        "$BIN" prune small --keep-last 1 --grace 0 -q --state-dir other; echo "pruned: $?"
        try tiny/old
        rm tiny/fill
        mount -o remount,ro tiny
        try tiny/old
        try tiny/new
        "$BIN" log small --json | grep -c '"seq"'
    "#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    ended.says(&[
        "tiny/old: 0\ntiny/old: 3\ntiny/new: 3\ntiny/new: 3\npruned: 0\ntiny/old: 3\ntiny/old: 3\ntiny/new: 3\n",
    ]);
    for told in ["warning: tiny/new/", "warning: tiny/old/", ": takes nothing that is written, so"]
    {
        assert!(ended.stderr.contains(told), "{told}: {ended:?}");
    }
    lab.ok(&["verify", "small", "--level", "restore"]);
    lab.ok(&["restore", "small", "out.db"]);
    assert_eq!(lab.number("out.db", "SELECT count(*) FROM t"), 27);
}

/// The state takes a few hundred bytes, the page digests sixteen for each page.
#[test]
fn page_digests_that_find_no_room_cost_no_backup() {
    let lab = Lab::empty();
    lab.make("large.db", 200_000);
    lab.ok(&["init", "--no-recovery-key"]);
    let script = r#"
        grow() { python3 -c 'import sqlite3
db = sqlite3.connect("large.db"); db.execute("INSERT INTO t(x) VALUES(1)"); db.commit()'; }
        try() { grow; "$BIN" backup -q large.db --state-dir tiny/state; echo "$1: $?"; }
        head -c 8M /dev/zero > tiny/fill 2> /dev/null
        truncate -s -40K tiny/fill
        try full
        try rebuilt
        ls -l tiny >&2
        rm tiny/fill
        try again
        try kept
    "#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    ended.says(&["full: 3\nrebuilt: 3\nagain: 0\nkept: 0\n"]);
    assert!(ended.stderr.contains("the commit is stored, but tiny/state/"), "{ended:?}");
    lab.ok(&["restore", "large", "out.db"]);
    assert_eq!(lab.number("out.db", "SELECT count(*) FROM t"), 200_004);
}

/// Some file systems, such as those of FUSE, have neither hard links nor renames that replace nothing. The same answers of the system's.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_file_system_without_links_gets_restores_and_holds_no_repository() {
    const FILTER: &str = r"
import ctypes, os, struct, sys
def op(code, jt, jf, k): return struct.pack('HBBI', code, jt, jf, k)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
def fails(number): return 0x00050000 | number
program = b''.join([
    op(LOAD, 0, 0, 0),
    op(EQUAL, 0, 1, 86), op(RETURN, 0, 0, fails(38)),      # link
    op(EQUAL, 0, 1, 265), op(RETURN, 0, 0, fails(38)),     # linkat
    op(EQUAL, 0, 3, 316), op(LOAD, 0, 0, 16 + 8 * 4),      # renameat2 with flags
    op(EQUAL, 1, 0, 0), op(RETURN, 0, 0, fails(22)),
    op(RETURN, 0, 0, 0x7fff0000)])
class Program(ctypes.Structure): _fields_ = [('len', ctypes.c_ushort), ('p', ctypes.c_void_p)]
libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(program)
filter = Program(len(program) // 8, ctypes.addressof(buffer))
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, ctypes.byref(filter), 0, 0): sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
";
    let lab = Lab::with_history();
    let run = |args: &[&str]| {
        let mut command = lab.other("python3");
        Ended::of(command.args(["-c", FILTER, cli::BIN]).args(args))
    };
    let restored = run(&["restore", "app", "out.db"]);
    if restored.code == Some(77) {
        println!("skipped: no filter for calls of the system");
        return;
    }
    for ended in [restored, run(&["restore", "app", "out.db", "--force"])] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(lab.number("out.db", "SELECT count(*) FROM t"), 200);
        lab.tidy();
    }
    let told = ["neither hard links nor renames", "file system that has hard links"];
    run(&["init", "-r", "second", "--key-file", "new"]).failed(17, &told);
    lab.sql("app.db", "DELETE FROM t");
    run(&["backup", "app.db"]).failed(17, &told);
}

#[test]
fn a_database_on_a_read_only_disk_is_copied_elsewhere_first() {
    let lab = Lab::empty();
    lab.ok(&["init"]);
    std::fs::create_dir(lab.path("disk")).unwrap();
    lab.sql("disk/app.db", "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
    let script = "mount --bind disk disk && mount -o remount,ro,bind disk || exit 77; exec \"$BIN\" backup disk/app.db";
    let mut command = lab.other("unshare");
    command.args(["-m", "sh", "-c", script]).env("BIN", cli::BIN);
    let ended = Ended::of(&mut command);
    if !is_root() || matches!(ended.code, Some(1 | 77)) {
        println!("skipped: no mount namespace of our own: {ended:?}");
        return;
    }
    ended.failed(5, &["app.db", "read-only disk", "copy the database elsewhere"]);
}

/// Restores and verifications that were killed leave whole databases in plaintext.
#[test]
fn what_killed_restores_and_verifications_left_goes_with_the_next_one() {
    let lab = Lab::with_history();
    std::fs::create_dir(lab.path("scratch")).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let left = |folder: &str, name: &str| {
        let path = lab.path(folder).join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        (path, file)
    };
    for (folder, args) in [
        ("", &["restore", "app", "out.db"][..]),
        ("scratch", &["verify", "app", "--level", "restore", "--scratch", "scratch"]),
        ("scratch", &["stats", "app", "--scratch", "scratch"]),
    ] {
        let (gone, file) = left(folder, ".tmp-0011223344556677.db");
        drop(file);
        let (at_work, file) = left(folder, ".tmp-8899aabbccddeeff.db");
        file.lock().unwrap();
        let (foreign, _) = left(folder, ".tmp-mine.db");
        lab.ok(args);
        assert!(!gone.exists(), "{args:?}");
        assert!(at_work.exists() && foreign.exists(), "{args:?}");
        std::fs::remove_file(at_work).unwrap();
    }
}

#[test]
fn a_key_file_that_was_made_in_vain_is_named() {
    let lab = Lab::empty();
    let script = r#"
        export PAGEKEEP_REPO=tiny/repo
        "$BIN" init -q --no-recovery-key || exit 77
        dd if=/dev/zero of=tiny/filler bs=4096 2>/dev/null
        "$BIN" key add --new-key-file second; echo "add: $?"
        "$BIN" key passwd --new-key-file third; echo "passwd: $?"
        "$BIN" init -r tiny/other --key-file fourth --no-recovery-key; echo "init: $?"
        "$BIN" key add --new-key-file second; echo "again: $?"
        rm tiny/filler
        "$BIN" key add --new-key-file second -q; echo "added: $?"
        "$BIN" status --key-file second -q > tiny/status; echo "opens: $?""#;
    let Some(ended) = on_a_tiny_disk(&lab, script) else { return };
    let codes: Vec<&str> = ended.stdout.lines().filter(|line| line.contains(": ")).collect();
    assert_eq!(
        codes,
        ["add: 14", "passwd: 14", "init: 14", "again: 14", "added: 0", "opens: 0"],
        "{ended:?}"
    );
    for made in ["second", "third", "fourth"] {
        let told = format!("the key file {made} was made already: the same command again uses it");
        assert_eq!(ended.stderr.matches(&told).count(), 1, "{ended:?}");
    }
}
