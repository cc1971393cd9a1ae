use super::*;

/// A database that was made by some SQL, with what a user's application brings.
fn made(sql: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b%?#.db");
    let db = Connection::open(&path).unwrap();
    db.create_collation("icu_root", |a, b| b.cmp(a)).unwrap();
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    db.execute_batch(&format!("PRAGMA foreign_keys=OFF; {sql}")).unwrap();
    drop(db);
    (dir, path)
}

fn answer(unsound: &[&str], broken_rules: &[&str], unchecked: &[&str]) -> Answer {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Answer {
        unsound: owned(unsound),
        broken_rules: owned(broken_rules),
        unchecked: owned(unchecked),
    }
}

fn scratch(path: &Path) -> Checker {
    let file = File::options().read(true).write(true).open(path).unwrap();
    Checker::of_scratch(path, &file).unwrap()
}

#[test]
fn checks_leave_no_trace_and_find_what_is_wrong() {
    let (dir, path) = made(
        "PRAGMA journal_mode=WAL; CREATE TABLE p(id INTEGER PRIMARY KEY);
         CREATE TABLE c(p REFERENCES p(id)); INSERT INTO c VALUES(7);",
    );
    let before = std::fs::read(&path).unwrap();
    let checker = Checker::open(&path).unwrap();
    assert_eq!(checker.quick_check().unwrap(), Answer::default());
    assert_eq!(checker.integrity_check().unwrap(), Answer::default());
    let orphan = answer(&[], &["row 1 of c refers to nothing in p"], &[]);
    assert_eq!(checker.foreign_key_check().unwrap(), orphan);
    assert_eq!(checker.assertion("SELECT count(*) = 1 FROM c").unwrap(), Asserted::Holds);
    for not_true in ["SELECT 0", "SELECT NULL", "SELECT 'x'", "SELECT 1 WHERE 0"] {
        let asserted = checker.assertion(not_true).unwrap();
        assert!(matches!(asserted, Asserted::Fails(_)), "{not_true}: {asserted:?}");
    }
    for misuse in ["SELEC 1", "SELECT x FROM nothing", "SELECT nothing"] {
        assert_eq!(checker.assertion(misuse).unwrap_err().kind(), ErrorKind::Usage, "{misuse}");
    }
    let unanswered = checker.assertion("SELECT nobody_has(1)").unwrap();
    assert!(matches!(unanswered, Asserted::Unanswered(_)), "{unanswered:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(before == std::fs::read(&path).unwrap());
    // A scratch file is taken out of WAL mode, and otherwise stays what it was, too.
    assert_eq!(scratch(&path).integrity_check().unwrap(), Answer::default());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let after = std::fs::read(&path).unwrap();
    assert!(before[..18] == after[..18] && after[18..20] == [1, 1] && before[20..] == after[20..]);
}

#[test]
fn a_database_too_unsound_to_check_is_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("unsound.db");
    std::fs::write(&path, "no database".repeat(1000)).unwrap();
    let unsound = answer(&["file is not a database"], &[], &[]);
    for checker in [Checker::open(&path).unwrap(), scratch(&path)] {
        assert_eq!(checker.quick_check().unwrap(), unsound);
        assert_eq!(checker.integrity_check().unwrap(), unsound);
        assert_eq!(checker.foreign_key_check().unwrap(), unsound);
        let told = checker.assertion("SELECT count(*) FROM t").unwrap();
        assert!(matches!(told, Asserted::Unsound(_)), "{told:?}");
    }
}

/// The schema entry of a table, changed behind SQLite's back.
fn renamed(table: &str, from: &str, to: &str) -> String {
    format!(
        "PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = '{table}';"
    )
}

#[test]
fn what_sqlite_lacks_is_no_damage_and_the_rest_is_checked() {
    let fts = |version: &str, with: &str| {
        format!(
            "CREATE VIRTUAL TABLE f USING {version}(a, {with}); INSERT INTO f VALUES('x');
             {}",
            renamed("f", "porter", "signal_tok")
        )
    };
    for (sql, why) in [
        (
            "CREATE TABLE f(a); CREATE INDEX i ON f(a COLLATE icu_root); INSERT INTO f VALUES(1), (2)"
                .to_owned(),
            "f: no such collation sequence: icu_root",
        ),
        (
            format!("CREATE TABLE f(a, b REAL AS (abs(a))); {}", renamed("f", "abs", "nobody_has")),
            "f: unknown function: nobody_has()",
        ),
        (fts("fts4", "tokenize=porter"), "f: unknown tokenizer: signal_tok"),
        (fts("fts5", "tokenize='porter'"), "f: no such tokenizer: signal_tok"),
        (
            format!(
                "CREATE VIRTUAL TABLE f USING fts5(a); {}",
                renamed("f", "fts5", "nobodys_module")
            ),
            "f: no such module: nobodys_module",
        ),
    ] {
        let (_dir, path) = made(&format!(
            "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES('precious'); CREATE TABLE k(a NOT NULL);
             INSERT INTO k VALUES(5); {sql}"
        ));
        let unchecked = answer(&[], &[], &[why]);
        assert_eq!(Checker::open(&path).unwrap().integrity_check().unwrap(), unchecked);
        assert_eq!(scratch(&path).integrity_check().unwrap(), unchecked, "{why}");
        let quick = Checker::open(&path).unwrap().quick_check().unwrap();
        let has_stand_in = why.contains("collation");
        assert_eq!(quick, if has_stand_in { Answer::default() } else { unchecked }, "{why}");
        // A table beside it that is unsound is still found.
        let db = Connection::open(&path).unwrap();
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
        db.execute_batch(&renamed("t", "UNIQUE", "")).unwrap();
        db.execute_batch("PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE tbl_name='t' AND type='index'").unwrap();
        drop(db);
        for checker in [Checker::open(&path).unwrap(), scratch(&path)] {
            let found = checker.integrity_check().unwrap();
            assert!(
                found.unsound.iter().any(|f| f.contains("belongs to nothing")
                    || f.contains("never used")),
                "{why}: {found:?}"
            );
        }
    }
}

#[test]
fn foreign_keys_that_cannot_be_checked_hide_no_others() {
    let (_dir, path) = made(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, code);
         CREATE TABLE a(p REFERENCES p(code)); INSERT INTO a VALUES('x');
         CREATE TABLE b(p REFERENCES p); INSERT INTO b VALUES(7)",
    );
    let expected = answer(
        &[],
        &["row 1 of b refers to nothing in p"],
        &["foreign keys of a: foreign key mismatch - \"a\" referencing \"p\""],
    );
    assert_eq!(Checker::open(&path).unwrap().foreign_key_check().unwrap(), expected);
}

#[test]
fn rows_that_break_a_check_constraint_are_told_where_sqlite_may_write() {
    let (_dir, path) = made(
        "PRAGMA ignore_check_constraints=ON; CREATE TABLE k(x CHECK(x > 0));
         INSERT INTO k VALUES(-1)",
    );
    let broken = answer(&[], &["CHECK constraint failed in k"], &[]);
    assert_eq!(scratch(&path).integrity_check().unwrap(), broken);
    assert_eq!(Checker::open(&path).unwrap().integrity_check().unwrap(), Answer::default());
}
