//! `query` through the real binary, as a user runs it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::cli::{BIN, Ended, Lab, flip, last};
use crate::support::terminal::Terminal;
use serde_json::{Value, json};

/// Asks quietly: what stands on standard error are problems.
fn ask(lab: &Lab, args: &[&str]) -> String {
    lab.ok(&[&["query", "-q"], args].concat()).stdout
}

/// Orders, of which the second commit lost some and has a new one.
fn shop() -> Lab {
    let lab = Lab::new();
    lab.sql(
        "app.db",
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, who TEXT, cents INT, note BLOB);
         INSERT INTO orders VALUES(1, 'Ada', 1200, NULL), (2, 'Grace, \"Hopper\"', 5, x'00ff'), (3, '', -7, 'a
b')",
    );
    lab.ok(&["backup", "app.db", "--label", "full"]);
    lab.sql(
        "app.db",
        "DELETE FROM orders WHERE id > 1; INSERT INTO orders VALUES(9, 'Alan', 1, 2.5)",
    );
    lab.ok(&["backup", "app.db"]);
    lab
}

#[test]
fn any_moment_answers_in_any_format() {
    let lab = shop();
    let all = "SELECT * FROM orders ORDER BY id";
    assert_eq!(
        ask(&lab, &["app", all]),
        "  id  who   cents  note\n   1  Ada    1200  NULL\n   9  Alan      1   2.5\n"
    );
    assert_eq!(
        ask(&lab, &["app@full", all, "--format", "csv"]),
        "id,who,cents,note\n1,Ada,1200,\n2,\"Grace, \"\"Hopper\"\"\",5,x'00ff'\n3,\"\",-7,\"a\nb\"\n"
    );
    assert_eq!(
        ask(&lab, &["app@seq:1", "SELECT id, note FROM orders WHERE id < 3", "--format", "line"]),
        "  id = 1\nnote = NULL\n\n  id = 2\nnote = x'00ff'\n"
    );
    let lines = ask(&lab, &["app@full", all, "--format", "ndjson"]);
    let rows: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        rows[1],
        json!({"id": 2, "who": "Grace, \"Hopper\"", "cents": 5, "note": {"blob": "00ff"}})
    );
    let array: Value =
        serde_json::from_str(&ask(&lab, &["app@full", all, "--format", "json"])).unwrap();
    assert_eq!(array.as_array().unwrap(), &rows);
    let nothing = ask(&lab, &["app", "SELECT id FROM orders WHERE 0", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&nothing).unwrap(), json!([]));
    let lines = lab.json(&["query", "app@full", all]);
    let summary = last(&lines);
    assert_eq!((&summary["rows"], &summary["seq"]), (&json!(3), &json!(1)));
    assert_eq!(lines[0], json!({"type": "row", "values": rows[0]}));
    // People are told which moment it was.
    let told = lab.run(&["query", "app@full", all]);
    assert!(
        told.code == Some(0) && told.stderr.contains("3 rows of app@seq:1, captured"),
        "{told:?}"
    );
}

#[test]
fn moments_are_compared_in_one_statement() {
    let lab = shop();
    lab.sql(
        "other.db",
        "CREATE TABLE people(who TEXT, town TEXT); INSERT INTO people VALUES('Ada', 'London')",
    );
    lab.ok(&["backup", "other.db"]);
    let lost = "SELECT id FROM old.orders WHERE id NOT IN (SELECT id FROM main.orders)";
    let args = ["app", "--attach", "old=app@full", lost, "--format", "csv"];
    assert_eq!(ask(&lab, &args), "id\n2\n3\n");
    let towns = "SELECT town FROM old.orders JOIN p.people USING(who)";
    let args = ["app", "--attach", "old=app@full", "--attach", "p=other", towns, "--format", "csv"];
    assert_eq!(ask(&lab, &args), "town\nLondon\n");
    // A word of SQL has to be quoted, and that is said.
    let quoted = "SELECT count(*) FROM \"then\".orders";
    let ended = lab.run(&["query", "app", "--attach", "then=app@full", quoted, "--format", "csv"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "count(*)\n3\n"));
    assert!(ended.stderr.contains("\"then\".orders"), "{ended:?}");
    lab.misused(&["query", "app", "--attach", "app@full", "SELECT 1"], &["AS=NAME"]);
    lab.fails(&["query", "app", "--attach", "main=app@full", "SELECT 1"], 2, &["main"]);
    lab.fails(&["query", "app", "--attach", "old=app@none", "SELECT 1"], 16, &["none"]);
}

#[test]
fn what_is_typed_wrongly_or_does_more_than_read_is_refused() {
    let lab = shop();
    lab.fails(&["query", "app", "SELEC 1"], 2, &["SQL", "syntax error"]);
    lab.fails(&["query", "app", "SELECT * FROM order"], 2, &["SQL", "syntax error"]);
    lab.fails(&["query", "app", "SELECT * FROM none_such"], 2, &["no such table"]);
    lab.fails(&["query", "app@seq:77", "SELECT 1"], 16, &["seq:77"]);
    lab.fails(&["query", "none", "SELECT 1"], 16, &["none"]);
    let both = lab.run(&["query", "app", "SELECT 1", "--format", "csv", "--json"]);
    both.failed(2, &["--format", "--json"]);
    lab.misused(&["query", "app", "SELECT 1", "--timeout", "soon"], &["soon"]);
    for sql in [
        "ATTACH 'x.db' AS x",
        "DELETE FROM orders",
        "VACUUM INTO 'x.db'",
        "SELECT load_extension('x')",
        "CREATE TEMP TABLE x(y)",
        "PRAGMA hard_heap_limit = 0",
    ] {
        let ended = lab.run(&["query", "app", sql]);
        assert!(matches!(ended.code, Some(17 | 2)), "{sql}: {ended:?}");
        assert_eq!(ended.stdout, "", "{sql}");
    }
    assert!(!lab.path("x.db").exists());
    assert_eq!(
        ask(&lab, &["app", "SELECT count(*) FROM orders", "--format", "csv"]),
        "count(*)\n2\n"
    );
}

#[test]
fn time_rows_and_memory_are_limited() {
    let lab = shop();
    let endless = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n)";
    let count = format!("{endless} SELECT count(*) FROM n");
    lab.fails(&["query", "app", &count, "--timeout", "100ms"], 1, &["took longer", "--timeout"]);
    let some = format!("{endless} SELECT i FROM n");
    let ended = lab.run(&["query", "app", &some, "--max-rows", "3", "--format", "csv"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(3), "i\n1\n2\n3\n"), "{ended:?}");
    assert!(ended.stderr.contains("more rows than 3"), "{ended:?}");
    lab.fails(&["query", "app", "SELECT zeroblob(1 << 30)"], 14, &["too big", "--memory"]);
    let hoard = format!("SELECT {}", ["randomblob(15000000)"; 8].join(", "));
    lab.fails(&["query", "app", &hoard, "--memory", "64MiB"], 14, &["out of memory", "--memory"]);
    lab.misused(&["query", "app", "SELECT 1", "--memory", "1MiB"], &["8MiB"]);
    // A reader that goes away ends what only prints.
    let mut child =
        lab.command(&["query", "app", &some, "--format", "csv", "--timeout", "0"]).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn standard_input_is_asked_where_nobody_types() {
    let lab = shop();
    let mut command = lab.command(&["query", "-q", "app", "--format", "csv"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let sql = b"SELECT 1 AS one; -- and\nSELECT count(*) AS n FROM orders;\n";
    child.stdin.take().unwrap().write_all(sql).unwrap();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "one\n1\nn\n2\n"), "{ended:?}");
}

/// Half of a statement is another statement.
#[test]
fn sql_is_asked_whole_or_not_at_all() {
    let lab = shop();
    let mut long = b"SELECT count(*) FROM orders WHERE id > 0".to_vec();
    long.resize(1024 * 1024, b' ');
    long.extend_from_slice(b" AND id < 0;");
    let nul = b"SELECT count(*) FROM orders \0 WHERE id < 0;".to_vec();
    for (sql, told) in [(long, "has more than 1.0 MiB of SQL"), (nul, "has a NUL character")] {
        let mut child = lab.command(&["query", "app"]).stdin(Stdio::piped()).spawn().unwrap();
        // It may be told no before it read all.
        let _ = child.stdin.take().unwrap().write_all(&sql);
        let ended = Ended::from(child.wait_with_output().unwrap());
        ended.failed(2, &[told]);
        assert_eq!(ended.stdout, "", "{ended:?}");
    }
}

/// An answer without an end is given up once nobody gets it.
#[test]
fn an_answer_that_cant_be_written_ends() {
    let lab = shop();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT x FROM c";
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = lab.command(&["query", "app", endless, "--timeout", "0"]);
    Ended::from(command.stdout(full).output().unwrap()).failed(14, &["standard output"]);
}

#[test]
fn a_prompt_answers_statement_by_statement() {
    let lab = shop();
    let line = format!("{BIN} query app; echo ended $?");
    let Some(mut terminal) = Terminal::start(&lab, &line) else { return };
    for (asked, prompts, typed, answer) in [
        ("pagekeep> ", 1, "SELECT 40+count(*)\r", "...> "),
        // The tab completes the name of the table.
        ("...> ", 1, "FROM ord\t;\r", "40+count(*)"),
        ("pagekeep> ", 2, "nonsense;\r", "syntax error"),
        ("pagekeep> ", 3, ".tables\r", "main"),
        ("pagekeep> ", 4, "DELETE FROM orders;\r", "can only be read"),
        ("pagekeep> ", 5, ".quit\r", "ended 0"),
    ] {
        terminal.wait_for(asked, prompts);
        assert!(terminal.types(typed));
        terminal.wait_for(answer, 1);
    }
    let seen = terminal.end();
    assert_eq!(seen.matches("syntax error").count(), 1, "{seen}");
}

#[test]
fn what_is_typed_ahead_of_a_prompt_is_answered() {
    let lab = shop();
    let line = format!("{BIN} query app; echo ended $?");
    let Some(mut terminal) = Terminal::start(&lab, &line) else { return };
    // Somebody pastes a list of questions and does not wait for answers.
    let asked: String = (100..130).map(|n| format!("SELECT {n}||'!';\r")).collect();
    assert!(terminal.types(&asked));
    assert!(terminal.types(".quit\r"));
    let seen = terminal.end();
    for n in 100..130 {
        assert!(seen.contains(&format!("{n}!")), "{n}: {seen}");
    }
    assert!(seen.contains("ended 0"), "{seen}");
}

#[test]
fn damage_is_named_and_no_other_row_comes() {
    let lab = shop();
    let segment = lab.segment_of(1);
    let len = fs::metadata(&segment).unwrap().len();
    // The batch with the pages lies behind the manifest.
    let at = fs::read(&segment).unwrap().len() as u64 - len / 3;
    flip(&segment, at);
    let ended = lab.run(&["query", "app@full", "SELECT * FROM orders"]);
    ended.failed(4, &["error: histories/"]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn nothing_in_a_value_is_obeyed_by_a_terminal() {
    let lab = Lab::new();
    let evil = "x\u{1b}[31m\u{9b}2J\u{202e}y";
    lab.sql(
        "app.db",
        &format!("CREATE TABLE \"{evil}\"(\"{evil}\"); INSERT INTO \"{evil}\" VALUES('{evil}\n')"),
    );
    lab.ok(&["backup", "app.db"]);
    let sql = format!("SELECT * FROM \"{evil}\"");
    for format in ["table", "json", "ndjson", "line"] {
        let shown = ask(&lab, &["app", &sql, "--format", format, "--color", "always"]);
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.contains(bad), "{format}: {shown:?}");
    }
    // A program gets what was stored.
    let csv = ask(&lab, &["app", &sql, "--format", "csv"]);
    assert_eq!(csv, format!("{evil}\n\"{evil}\n\"\n"));
}
