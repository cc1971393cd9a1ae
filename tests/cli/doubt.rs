//! Damage is not doubt: what is unsound, what could not be checked, and what is the application's own affair are told apart, and
//! retention never locks up.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use crate::support::cli::{Ended, Lab, flip, is_root};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use serde_json::Value;

const RESTORE: [&str; 4] = ["verify", "app", "--level", "restore"];
const PRUNE: [&str; 4] = ["prune", "app", "--keep-last", "1"];

/// A database as an application makes it, that has what this program does not, and its backup.
fn application(sql: &str) -> Lab {
    let lab = Lab::new();
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.create_collation("icu_root", |a, b| b.cmp(a)).unwrap();
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    db.execute_batch(&format!("PRAGMA foreign_keys=OFF; {sql}")).unwrap();
    drop(db);
    lab.ok(&["backup", "app.db"]);
    lab
}

/// F4: what SQLite lacks is a warning everywhere, and holds up nothing.
#[test]
fn what_sqlite_cannot_check_is_a_warning_and_holds_up_no_prune() {
    let renamed = |from: &str, to: &str| {
        format!(
            "PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = 'f'"
        )
    };
    let fts = |version: &str, with: &str| {
        format!(
            "CREATE VIRTUAL TABLE f USING {version}(a, {with}); INSERT INTO f VALUES('x'); {}",
            renamed("porter", "signal_tok")
        )
    };
    for (sql, lacks, quick_is_enough) in [
        (
            "CREATE TABLE f(a); CREATE INDEX i ON f(a COLLATE icu_root)".to_owned(),
            "no such collation sequence: icu_root",
            true,
        ),
        (
            format!("CREATE TABLE f(a, b REAL AS (abs(a))); {}", renamed("abs", "nobody_has")),
            "unknown function: nobody_has()",
            false,
        ),
        (fts("fts4", "tokenize=porter"), "unknown tokenizer: signal_tok", false),
        (fts("fts5", "tokenize='porter'"), "no such tokenizer: signal_tok", false),
        (
            "CREATE TABLE p(id INTEGER PRIMARY KEY, code); CREATE TABLE f(p REFERENCES p(code));
             INSERT INTO f VALUES('a')"
                .to_owned(),
            "foreign key mismatch",
            true,
        ),
    ] {
        let lab = application(&sql);
        let code = if quick_is_enough { 0 } else { 3 };
        let restored = lab.run(&["restore", "app", "out.db"]);
        let told = ["not be checked", lacks];
        restored.failed(code, if quick_is_enough { &[] } else { &told });
        lab.run(&["rewind", "app.db", "--to", "seq:1", "-n"]).failed(code, &[]);
        let verified = lab.run(&RESTORE);
        verified.failed(3, &["app@seq:1: could not be checked", lacks]);
        verified.says(&["passed, as far as it could be checked"]);
        let told = lab.run(&[&RESTORE[..], &["--json"]].concat());
        let of = |kind: &str| told.objects().into_iter().find(|o| o["type"] == kind).unwrap();
        assert!(of("verified")["passed"] == true && of("summary")["unchecked"] == 1, "{told:?}");
        lab.ok(&["status"]).says(&["50.0% of the checks could be made"]);
        lab.ok(&[&PRUNE[..], &["-n"]].concat());
        lab.ok(&PRUNE);
        lab.ok(&["backup", "app.db"]);
    }
}

/// F4: the bundled SQLite has what the SQLite of Debian, of Python and of the command-line shell have, as far as a schema may use it.
#[test]
fn the_bundled_sqlite_has_what_those_of_distributions_have() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE m(a REAL, b REAL AS (sqrt(a)), c REAL AS (pow(a, 2) + ln(a)));
         CREATE INDEX s ON m(soundex(a), json_extract(a, '$.x')); INSERT INTO m VALUES(4.0);
         CREATE VIRTUAL TABLE f3 USING fts3(a); CREATE VIRTUAL TABLE f4 USING fts4(a);
         CREATE VIRTUAL TABLE f5 USING fts5(a, tokenize='trigram');
         CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); CREATE VIRTUAL TABLE r2 USING rtree_i32(id, x0, x1);
         CREATE VIRTUAL TABLE g USING geopoly(a); SELECT count(*) FROM dbstat; SELECT median(a) FROM m",
    )
    .unwrap();
    let lab = application("CREATE TABLE m(a REAL, b REAL AS (sqrt(a))); INSERT INTO m VALUES(4.0)");
    lab.ok(&RESTORE);
    lab.ok(&["restore", "app", "out.db"]);
}

/// F4, E3: dangling foreign keys are the application's data, in Fossil even by design. So are rows that break a CHECK (A1).
#[test]
fn rules_that_the_application_breaks_are_a_warning_and_hold_up_no_prune() {
    for (sql, told) in [
        (
            "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE k(p REFERENCES p);
             INSERT INTO k VALUES(7)",
            "row 1 of k refers to nothing in p",
        ),
        (
            "CREATE TABLE k(x CHECK(x > 0)); PRAGMA ignore_check_constraints=ON;
             INSERT INTO k VALUES(-1)",
            "CHECK constraint failed in k",
        ),
    ] {
        let lab = application(sql);
        let verified = lab.run(&RESTORE);
        verified.failed(3, &["app@seq:1: ", told, "the application's data"]);
        verified.says(&["restore passed: "]);
        lab.ok(&["status"]).says(&["restore proof passed"]);
        lab.ok(&[&PRUNE[..], &["-n"]].concat());
        lab.ok(&PRUNE);
    }
}

/// F4: an unsound database holds up a prune, a dry run says so, and there is a way out.
#[test]
fn a_prune_that_will_be_refused_is_announced_and_has_a_way_out() {
    let lab = Lab::with_history();
    lab.sql("app.db", "PRAGMA journal_mode=DELETE");
    for at in 4096..5000 {
        flip(&lab.path("app.db"), at);
    }
    lab.ok(&["backup", "app.db"]);
    assert_eq!(lab.run(&RESTORE).code, Some(4));
    let refused = ["found the database itself unsound", "--in-doubt", "--level restore"];
    lab.fails(&PRUNE, 17, &refused);
    let dry = lab.run(&[&PRUNE[..], &["-n"]].concat());
    dry.failed(3, &refused);
    dry.says(&["would keep 2 commits of 3"]);
    assert_eq!(lab.seqs(), [1, 2, 3], "nothing was pruned");
    lab.run(&["backup", "app.db"]).failed(3, &["the database itself unsound", "may be sound"]);
    lab.ok(&[&PRUNE[..], &["-n", "--in-doubt"]].concat());
    lab.ok(&[&PRUNE[..], &["--in-doubt"]].concat());
    // A commit that is mended clears it.
    fs::remove_file(lab.path("app.db")).unwrap();
    lab.make("app.db", 100);
    assert_eq!(lab.run(&["backup", "app.db"]).code, Some(3));
    lab.ok(&RESTORE);
    lab.ok(&PRUNE);
    lab.ok(&["status"]);
}

/// F4: all data that is as it was written clears a restore that found stored damage.
#[test]
fn a_passed_look_at_all_data_clears_damage_that_a_restore_found() {
    let lab = Lab::with_history();
    let segment = lab.segment_of(1);
    let middle = fs::metadata(&segment).unwrap().len() / 2;
    flip(&segment, middle);
    assert_eq!(lab.run(&RESTORE).code, Some(4));
    lab.fails(&PRUNE, 17, &["its last verification failed", "pagekeep repair app", "--in-doubt"]);
    flip(&segment, middle);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&PRUNE);
}

/// M16: an assertion is a question about data, of whatever commit.
#[test]
fn an_assertion_that_does_not_hold_is_no_damage() {
    let lab = Lab::with_history();
    let asked = |target: &str, more: &[&str]| {
        let assert = ["--assert", "SELECT count(*) > 5000 FROM t"];
        let verified =
            lab.run(&[&["verify", target, "--level", "restore"], &assert[..], more].concat());
        assert_eq!(verified.code, Some(4), "{verified:?}");
        verified.says(&["failed  app@seq:", "assertion: ", "answers 0", "restore FAILED"]);
        assert!(!verified.stdout.contains("damaged"), "{verified:?}");
        verified.failed(4, &["an assertion does not hold; standard output names it"]);
        assert!(!verified.stderr.contains("damage was found"), "{verified:?}");
    };
    // Of an old commit, and where nothing is to be stored, nothing stays of it.
    asked("app@seq:1", &[]);
    asked("app", &["--no-store"]);
    lab.ok(&["status"]).says(&["restore proof passed 0 s ago at seq:1\n"]);
    assert!(!lab.ok(&["show", "app"]).stdout.contains("restore"));
    // Of the newest one it is news, and holds up nothing.
    asked("app", &[]);
    let status = lab.run(&["status"]);
    status.failed(3, &["warning: app@seq:2: assertion: ", "until an assertion"]);
    status.says(&["restore proof not as wished 0 s ago at seq:2: assertion: "]);
    lab.ok(&[&PRUNE[..], &["-n"]].concat());
    lab.ok(&["backup", "app.db"]);
    lab.ok(&PRUNE);
    let answered = lab.run(&[&RESTORE[..], &["--assert", "SELECT nobody_has(x) FROM t"]].concat());
    answered.failed(3, &["could not be checked: assertion: ", "no such function: nobody_has"]);
    // Nothing that asserts nothing clears it.
    lab.ok(&RESTORE);
    assert_eq!(lab.run(&["status"]).code, Some(3));
    lab.ok(&[&RESTORE[..], &["--assert", "SELECT count(*) > 5 FROM t"]].concat());
    lab.ok(&["status"]);
    // A table that is gone is what assertions are for.
    let gone = lab.run(&[&RESTORE[..], &["--assert", "SELECT count(*) > 0 FROM users"]].concat());
    gone.says(&["failed  app@seq:2: assertion: ", "no such table: users"]);
    assert_eq!((gone.code, lab.run(&["status"]).code), (Some(4), Some(3)));
}

/// What a failed verification left in doubt is cleared by one that looked at the same, and not by one that looked elsewhere.
#[test]
fn only_who_looked_at_what_failed_clears_it() {
    let lab = Lab::with_history();
    let segment = lab.segment_of(1);
    let middle = fs::metadata(&segment).unwrap().len() / 2;
    flip(&segment, middle);
    assert_eq!(lab.run(&["verify", "app", "--level", "data"]).code, Some(4));
    // A sample opens something, whatever its size; and nothing that is less than all clears the failure.
    let sample = lab.run(&["verify", "app", "--level", "data", "--sample", "1%"]);
    assert_eq!(sample.code, Some(4), "{sample:?}");
    lab.run(&["verify", "app", "--level", "chain"]);
    let status = lab.run(&["status"]);
    status.failed(4, &["damage was found"]);
    flip(&segment, middle);
    lab.ok(&["verify", "app", "--level", "restore"]);
    lab.run(&["status"]).failed(4, &[]);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&["status"]);
}

/// Whether an assertion about an empty database is asked at all.
#[test]
fn an_assertion_is_asked_of_an_empty_database_too() {
    let lab = Lab::new();
    fs::write(lab.path("app.db"), "").unwrap();
    lab.ok(&["backup", "app.db"]);
    lab.ok(&RESTORE);
    let asked =
        lab.run(&[&RESTORE[..], &["--assert", "SELECT count(*) > 0 FROM sqlite_schema"]].concat());
    assert_eq!(asked.code, Some(4), "{asked:?}");
}

/// F8: SQLite leaves the accounting of pages out where a view was made last.
#[test]
fn a_page_that_is_in_use_and_on_the_freelist_is_found_beside_a_view() {
    for made_last in ["CREATE VIEW w AS SELECT 1", "CREATE VIRTUAL TABLE w USING fts5(x)"] {
        let lab = application(&format!(
            "PRAGMA secure_delete=OFF; CREATE TABLE t(x); CREATE TABLE u(x);
             INSERT INTO t VALUES('precious'); INSERT INTO u VALUES(zeroblob(20000)); {made_last};
             DELETE FROM u"
        ));
        lab.ok(&RESTORE);
        lab.ok(&["restore", "app", "sound.db", "--check", "full"]);
        let path = lab.path("app.db");
        let mut bytes = fs::read(&path).unwrap();
        let number = |bytes: &[u8], at: usize| {
            u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
        };
        let trunk = (number(&bytes, 32) - 1) * 4096;
        let last = trunk + 8 + 4 * (number(&bytes, trunk + 4) - 1);
        bytes[last..last + 4].copy_from_slice(&2u32.to_be_bytes());
        fs::write(&path, &bytes).unwrap();
        lab.ok(&["backup", "app.db"]);
        let found = lab.run(&RESTORE);
        assert_eq!(found.code, Some(4), "{made_last}: {found:?}");
        // Where the schema lists another table first, SQLite finds it itself.
        let by_sqlite = found.stdout.contains("2nd reference to page 2");
        assert!(!by_sqlite || made_last.contains("fts5"), "{found:?}");
        assert!(by_sqlite || found.stdout.contains("page 2 is t's and on the freelist"));
        for check in ["quick", "full"] {
            lab.fails(&["restore", "app", "out.db", "--check", check], 4, &["page 2", "unsound"]);
        }
    }
}

/// F9, M15: the result is told, whether it can be stored or not.
#[test]
fn a_result_that_cannot_be_stored_is_told() {
    let mut lab = Lab::with_history();
    lab.ok(&["verify", "app"]);
    let (segment, was) = (lab.segment_of(1), lab.path("repo"));
    let proofs = fs::read_dir(was.join("histories")).unwrap().next().unwrap().unwrap().path();
    lab.without_privileges();
    let readable = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(proofs.join("proofs"), mode).unwrap();
    };
    readable(0o555);
    if is_root() || fs::File::create(proofs.join("proofs/x")).is_err() {
        let told = lab.run(&["verify", "app"]);
        told.failed(3, &["the result can't be kept in the repository"]);
        told.says(&["data passed: 2 commits"]);
        lab.ok(&["verify", "app", "--no-store"]);
        flip(&segment, fs::metadata(&segment).unwrap().len() / 2);
        let told = lab.run(&["verify", "app", "--json"]);
        told.failed(4, &["the result can't be kept in the repository"]);
        let finding = told.objects().into_iter().find(|o| o["type"] == "finding");
        assert!(finding.is_some(), "{told:?}");
    }
    readable(0o755);
}

/// M17: a monitoring rule such as "data proof younger than 7 days" survives a prune.
#[test]
fn status_remembers_proofs_of_commits_that_are_gone() {
    let lab = Lab::new();
    lab.make("app.db", 200);
    lab.ok(&["backup", "app.db"]);
    lab.sql("app.db", "UPDATE t SET x = 'more' WHERE id = 8");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&["verify", "app", "--level", "restore"]);
    lab.sql("app.db", "UPDATE t SET x = 'most' WHERE id = 8");
    lab.ok(&["backup", "app.db"]);
    let dates = || {
        let proofs = |status: &Value| -> Vec<(String, String)> {
            let text = |p: &Value, key: &str| p[key].to_string();
            let of = |p: &Value| (text(p, "level"), text(p, "time"));
            status["proofs"].as_array().unwrap().iter().map(of).collect()
        };
        let mut proofs = proofs(&lab.json(&["status", "app"])[0]);
        proofs.retain(|(level, _)| level != "\"chain\"");
        proofs
    };
    let before = dates();
    for _ in 0..2 {
        lab.ok(&[&PRUNE[..], &["--grace", "0"]].concat());
        lab.sql("app.db", "UPDATE t SET x = x || 'y' WHERE id = 9");
        lab.ok(&["backup", "app.db"]);
    }
    lab.ok(&[&PRUNE[..], &["--grace", "0"]].concat());
    assert!(!lab.seqs().contains(&2));
    assert_eq!(dates(), before);
    lab.ok(&["status"]).says(&["data proof    passed", "at seq:2"]);
}

#[test]
fn verify_opens_no_more_batches_than_there_are() {
    let lab = Lab::new();
    let change = |rule: &str| {
        lab.sql("app.db", &format!("UPDATE t SET x = randomblob(1000000) WHERE id % {rule}"));
        lab.ok(&["backup", "app.db"]);
    };
    lab.sql(
        "app.db",
        "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40)
         INSERT INTO t(x) SELECT randomblob(1000000) FROM n",
    );
    lab.ok(&["backup", "app.db"]);
    change("2");
    change("3 = 0");
    lab.ok(&["prune", "app", "--keep-last", "1", "--grace", "0"]);
    let verified = lab.json(&["verify", "app"]);
    let verified = verified.iter().find(|o| o["type"] == "verified").unwrap();
    assert_eq!(verified["batches_opened"], verified["batches"], "{verified}");
}

/// H10: an ordinary transaction between two backups is no drift, and nobody is told to capture what may be damage.
#[test]
fn drift_says_that_it_cannot_tell_and_does_not_advise_to_capture() {
    let lab = Lab::with_history();
    let drift = |code: i32| {
        let told = lab.run(&["drift", "app.db", "--json"]);
        assert_eq!(told.code, Some(code), "{told:?}");
        (told.objects().pop().unwrap(), lab.run(&["drift", "app.db"]))
    };
    lab.sql("app.db", "INSERT INTO t(x) VALUES('an ordinary transaction')");
    let (object, told) = drift(3);
    assert!(object["verdict"] == "unknown" && object["drifted"].is_null(), "{object}");
    told.failed(3, &["can't tell", "--to seq:2 -n", "hold add", "pagekeep watch"]);
    assert!(!told.stderr.contains("pagekeep backup"), "{told:?}");
    assert!(!told.stdout.contains("no transaction explains"), "{told:?}");
    // What SQLite finds unsound no transaction wrote.
    let page = lab.number("app.db", "SELECT max(pageno) FROM dbstat WHERE name = 't'");
    let file = fs::File::options().write(true).open(lab.path("app.db")).unwrap();
    file.write_all_at(&[0x55; 64], u64::try_from(page - 1).unwrap() * 4096).unwrap();
    let (object, told) = drift(4);
    assert!(object["verdict"] == "drifted" && object["drifted"] == true, "{object}");
    told.says(&["no transaction explains it", "SQLite finds it unsound"]);
}

/// H10: outside WAL mode each transaction counts itself on page 1, so nothing else is taken for one.
#[test]
fn drift_knows_damage_from_transactions_outside_wal_mode() {
    let lab = Lab::new();
    lab.sql("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES(hex(zeroblob(1000)))");
    lab.ok(&["backup", "app.db"]);
    let file = fs::File::options().write(true).open(lab.path("app.db")).unwrap();
    file.write_all_at(b"7777", 8000).unwrap();
    let told = lab.run(&["drift", "app.db"]);
    assert_eq!(told.code, Some(4), "{told:?}");
    told.says(&["1 page differs and no transaction explains it"]);
    file.write_all_at(b"0000", 8000).unwrap();
    lab.ok(&["drift", "app.db"]).says(&["no drift"]);
    lab.sql("app.db", "INSERT INTO t VALUES(1)");
    assert_eq!(lab.run(&["drift", "app.db"]).code, Some(3));
}

/// A function that only the application has is in an index, a constraint, a generated column: what needs it can't be checked, and all else is.
#[test]
fn a_function_of_the_application_leaves_only_its_own_table_unchecked() {
    let lab = Lab::new();
    let db = Connection::open(lab.path("app.db")).unwrap();
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("fx", 1, flags, |context| context.get::<i64>(0)).unwrap();
    db.execute_batch(
        "CREATE TABLE q(a CHECK(fx(a) > 0)); CREATE INDEX qi ON q(fx(a)); INSERT INTO q VALUES(1);
         CREATE TABLE other(x); INSERT INTO other VALUES(1)",
    )
    .unwrap();
    drop(db);
    lab.ok(&["backup", "app.db"]);
    let verified = lab.run(&RESTORE);
    verified.failed(3, &["could not be checked", "fx()"]);
    assert_eq!(lab.run(&["restore", "app", "out.db", "--check", "full"]).code, Some(3));
    lab.run(&["drift", "app.db"]).failed(0, &[]);
}

/// A name that is no text can't be said in a query; the others are compared all the same.
#[test]
fn tables_whose_names_are_no_text_are_told_of() {
    let lab = Lab::new();
    lab.sql(
        "app.db",
        "CREATE TABLE cafX(x); INSERT INTO cafX VALUES(zeroblob(9000)); CREATE TABLE other(x)",
    );
    let rename = || {
        let mut bytes = fs::read(lab.path("app.db")).unwrap();
        for at in 0..bytes.len() - 4 {
            if &bytes[at..at + 4] == b"cafX" {
                bytes[at + 3] = 0xe9;
            }
        }
        fs::write(lab.path("app.db"), bytes).unwrap();
    };
    rename();
    lab.ok(&["backup", "app.db"]);
    // Pages of both tables change.
    let mut bytes = fs::read(lab.path("app.db")).unwrap();
    let end = bytes.len() - 4096 - 8;
    bytes[end] ^= 1;
    fs::write(lab.path("app.db"), bytes).unwrap();
    lab.sql("app.db", "INSERT INTO other VALUES(1)");
    lab.ok(&["backup", "app.db"]);
    let told = lab.ok(&["rewind", "app.db", "--to", "seq:1", "-n"]).stdout;
    assert!(told.contains("caf") && told.contains("other"), "{told}");
    let told = lab.ok(&["stats", "app"]).stdout;
    assert!(told.contains("caf"), "{told}");
}

/// Two folders whose names are no text are two places, and not the same one.
#[test]
fn databases_in_folders_whose_names_are_no_text_are_told_apart() {
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::new();
    let place = |byte: u8| {
        let dir = lab.path("").join(std::ffi::OsStr::from_bytes(&[byte]));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("app.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        path
    };
    let backup = |path: &std::path::Path| Ended::of(lab.command(&["backup"]).arg(path));
    let (one, other) = (place(0xff), place(0xfe));
    assert_eq!(backup(&one).code, Some(0));
    backup(&other).failed(17, &["belongs to"]);
    let again = backup(&one);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(lab.seqs(), [1]);
}
