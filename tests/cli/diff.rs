//! `diff` through the real binary, as a user runs it.

use std::io::{BufRead, BufReader};

use rusqlite::Connection;
use serde_json::json;

use crate::support::cli::{Ended, Lab, last, signal};

/// Three commits: a table fills; rows come, go and change; the schema changes.
fn shop() -> Lab {
    let lab = Lab::new();
    for sql in [
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, who TEXT, total);
         INSERT INTO orders VALUES(1, 'Ada', 10), (2, 'Al\x1b[31man', 20.5), (3, 'it''s', x'00ff');
         CREATE TABLE pairs(a TEXT COLLATE NOCASE, b, PRIMARY KEY(a, b)) WITHOUT ROWID;
         INSERT INTO pairs VALUES('k', 1), ('k', 2)",
        "DELETE FROM orders WHERE id = 2; UPDATE orders SET total = '10' WHERE id = 1;
         INSERT INTO orders VALUES(4, 'Grace, \"H\"', NULL); DELETE FROM pairs WHERE b = 1",
        "ALTER TABLE orders ADD COLUMN paid; CREATE INDEX by_who ON orders(who)",
    ] {
        lab.sql("app.db", sql);
        lab.ok(&["backup", "app.db"]);
    }
    lab
}

/// What a diff says that comes to its end.
fn diff(lab: &Lab, args: &[&str]) -> Ended {
    let ended = lab.run(&[&["diff"], args].concat());
    assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
    ended
}

#[test]
fn each_row_is_a_line_and_each_table_has_its_counts() {
    let lab = shop();
    let told = diff(&lab, &["app@seq:1", "@seq:2"]);
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(
        lines[..6],
        [
            "table orders",
            "  ~ id=1: total: 10 -> '10'",
            "  - id=2: who='Al\\u{1b}[31man', total=20.5",
            "  + id=4: who='Grace, \"H\"', total=NULL",
            "table pairs",
            "  - a='k', b=1",
        ],
        "{told:?}"
    );
    let counts = told.stdout.lines().find(|line| line.trim_start().starts_with("orders")).unwrap();
    assert_eq!(counts.split_whitespace().collect::<Vec<_>>(), ["orders", "1", "1", "1"]);
    assert!(told.stderr.contains("app@seq:1 -> app@seq:2: 4 rows differ"), "{told:?}");

    let back = diff(&lab, &["app@seq:1", "@seq:2", "--reverse", "--table", "pairs"]);
    assert!(back.stdout.starts_with("table pairs\n  + a='k', b=1\n"), "{back:?}");
    let stat = diff(&lab, &["app@seq:1", "app@seq:2", "--stat", "-q"]).stdout;
    assert!(!stat.contains('+') && stat.contains("orders"), "{stat}");
    let some = diff(&lab, &["app@seq:1", "@seq:2", "--where", "id > 3", "--table", "orders"]);
    assert_eq!(some.stdout.matches("id=").count(), 1, "{some:?}");
    let schema = diff(&lab, &["app@seq:2"]).stdout;
    assert!(schema.contains("~ table orders redefined: CREATE TABLE orders("), "{schema}");
    assert!(schema.contains("+ index by_who created"), "{schema}");
    let none = diff(&lab, &["app@seq:2", "@seq:2"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("no row differs"), "{none:?}");
}

#[test]
fn programs_get_every_value_with_its_type() {
    let lab = shop();
    let lines = lab.run(&["diff", "app@seq:1", "@seq:2", "--json"]).objects();
    let of = |kind: &str| lines.iter().filter(|l| l["type"] == kind).collect::<Vec<_>>();
    let rows = of("row-change");
    assert_eq!(rows.len(), 4);
    assert_eq!(
        (&rows[0]["operation"], &rows[0]["before"]["total"], &rows[0]["after"]["total"]),
        (&json!("update"), &json!(10), &json!("10"))
    );
    assert_eq!(rows[3]["key"], json!({"a": "k", "b": 1}));
    assert_eq!(of("table-diff").len(), 2);
    let summary = last(&lines);
    assert_eq!((&summary["rows"], &summary["tables"]), (&json!(4), &json!(2)));
    assert_eq!((&summary["from"]["seq"], &summary["to"]["seq"]), (&json!(1), &json!(2)));

    let csv = diff(&lab, &["app@seq:1", "@seq:2", "--format", "csv"]).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines,
        [
            "table,operation,key,column,before,after",
            "orders,update,1,total,10,10",
            "orders,delete,2,id,2,",
            "orders,delete,2,who,Al\x1b[31man,",
            "orders,delete,2,total,20.5,",
            "orders,insert,4,id,,4",
            "orders,insert,4,who,,\"Grace, \"\"H\"\"\"",
            "orders,insert,4,total,,",
            "pairs,delete,\"k,1\",a,k,",
            "pairs,delete,\"k,1\",b,1,",
        ]
    );
}

#[test]
fn its_sql_leads_from_one_moment_to_the_other_and_back() {
    let lab = shop();
    let apply = |file: &str, args: &[&str]| {
        let sql = diff(&lab, &[args, &["--format", "sql"]].concat()).stdout;
        Connection::open(lab.path(file)).unwrap().execute_batch(&sql).unwrap();
    };
    for (from, to) in [(1, 2), (1, 3), (3, 1)] {
        let (a, b) = (format!("app@seq:{from}"), format!("@seq:{to}"));
        let file = format!("{from}-{to}.db");
        lab.ok(&["restore", &a, &file]);
        apply(&file, &[&a, &b]);
        let live = lab.path(&file).display().to_string();
        let whole = format!("app{b}");
        let left = diff(&lab, &[&whole, "--live", &live]);
        assert!(left.stdout.is_empty(), "{left:?}");
        apply(&file, &[&a, &b, "--reverse"]);
        let left = diff(&lab, &[&a, "--live", &live]);
        assert!(left.stdout.is_empty(), "{left:?}");
    }
    // The live database beside its application.
    let app = Connection::open(lab.path("app.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode=WAL; BEGIN; DELETE FROM orders WHERE id = 4").unwrap();
    let open = diff(&lab, &["app", "--live", "app.db"]);
    assert!(open.stdout.is_empty(), "{open:?}");
    app.execute_batch("COMMIT").unwrap();
    let told = diff(&lab, &["app", "--live", "app.db"]).stdout;
    assert!(told.contains("- id=4: who='Grace"), "{told}");
}

#[test]
fn what_can_not_be_compared_is_refused_or_named() {
    let lab = shop();
    lab.fails(&["diff", "none@seq:1"], 16, &["none"]);
    lab.fails(&["diff", "app@seq:9"], 16, &["seq:9"]);
    lab.fails(&["diff", "app"], 2, &["app", "itself"]);
    lab.fails(&["diff", "app@seq:1", "--table", "none"], 16, &["none"]);
    lab.fails(&["diff", "app@seq:1", "@seq:2", "--where", "none > 1"], 2, &["none"]);
    lab.fails(&["diff", "app@seq:1", "@seq:2", "--where", "1; DROP TABLE orders"], 2, &["filter"]);
    lab.fails(&["diff", "app@seq:1", "--live", "no.db"], 5, &["no.db"]);
    lab.misused(&["diff", "app@seq:1", "@seq:2", "--live", "app.db"], &["--live"]);
    lab.misused(&["diff", "app@seq:1", "--stat", "--format", "csv"], &["--stat"]);
    lab.sql("app.db", "CREATE VIRTUAL TABLE words USING fts5(word, content='')");
    lab.ok(&["backup", "app.db"]);
    let told = diff(&lab, &["app@seq:3"]).stdout;
    assert!(told.contains("not compared"), "{told}");
    let told = lab.run(&["diff", "app@seq:3", "--format", "sql"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stderr.contains("words is not compared"), "{told:?}");
}

#[test]
fn the_change_feed_goes_on_where_it_was_left() {
    let lab = shop();
    let all = lab.ok(&["changes", "app"]).objects();
    let ends: Vec<_> = all.iter().filter(|l| l["type"] == "commit-end").collect();
    assert_eq!(ends.iter().map(|end| end["seq"].as_u64()).collect::<Vec<_>>(), [1, 2, 3].map(Some));
    assert_eq!(
        ends.iter().map(|end| end["rows"].as_u64()).collect::<Vec<_>>(),
        [5, 4, 0].map(Some)
    );
    let first = all.iter().find(|line| line["type"] == "change").unwrap();
    assert_eq!((&first["seq"], &first["operation"]), (&json!(1), &json!("insert")));
    assert_eq!((&first["before"], &first["after"]["who"]), (&json!(null), &json!("Ada")));
    let at = all.iter().position(|line| line == ends[0]).unwrap();
    assert_eq!(lab.ok(&["changes", "app", "--from", "seq:1"]).objects(), all[at + 1..]);
    assert_eq!(lab.ok(&["changes", "app", "--to", "seq:1", "--json"]).objects(), all[..=at]);
    let some = lab.ok(&["changes", "app", "--table", "pairs"]).objects();
    let rows: Vec<_> = some.iter().filter(|line| line["type"] == "change").collect();
    assert!(rows.len() == 3 && rows.iter().all(|row| row["table"] == "pairs"), "{some:?}");

    lab.run(&["changes", "app", "--table", "none"]).failed(16, &["none"]);
    lab.fails(&["changes", "app", "--from", "seq:9"], 16, &["seq:9"]);
    lab.fails(&["changes", "app", "--from", "seq:3", "--to", "seq:1"], 2, &["seq:3"]);
    lab.misused(&["changes", "app", "--to", "seq:2", "--follow"], &["--follow"]);
}

#[test]
fn log_and_show_name_the_tables_that_a_commit_touched() {
    let lab = shop();
    let told = lab.ok(&["log", "app", "--tables"]).stdout;
    for (seq, tables) in [
        ("seq:1", "all: it is the oldest"),
        ("seq:2", "orders +1 ~1 -1, pairs -1"),
        ("seq:3", "orders redefined"),
    ] {
        let line = told.lines().find(|line| line.starts_with(seq)).unwrap();
        assert!(line.contains(tables), "{told}");
    }
    let told = lab.ok(&["show", "app@seq:2", "--tables"]).stdout;
    assert!(told.contains("tables     orders +1 ~1 -1, pairs -1"), "{told}");
    assert!(!lab.ok(&["show", "app@seq:2"]).stdout.contains("tables"));
    let lines = lab.ok(&["log", "app", "-n", "2", "--tables", "--json"]).objects();
    let of = |line: &serde_json::Value, member: &str| line["tables"][0][member].clone();
    assert_eq!((of(&lines[0], "table"), of(&lines[0], "updated")), (json!("orders"), json!(1)));
    assert_eq!(of(&lines[1], "definition"), json!("redefined"));
    let lines = lab.ok(&["log", "app", "--json"]).objects();
    assert!(lines.iter().all(|line| line["tables"].is_null()), "{lines:?}");
}

#[test]
fn the_change_feed_follows_until_it_is_stopped() {
    let lab = shop();
    let args = ["changes", "app", "--from", "latest", "--follow", "--interval", "50ms"];
    let mut child = lab.command(&args).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 5..8 {
        lab.sql("app.db", &format!("INSERT INTO orders(id, who) VALUES({n}, 'later')"));
        lab.ok(&["backup", "app.db"]);
        let mut next = || -> serde_json::Value {
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
        };
        let (row, end) = (next(), next());
        assert_eq!((&row["type"], &row["key"]), (&json!("change"), &json!({"id": n})), "{row}");
        assert_eq!((&end["type"], &end["seq"]), (&json!("commit-end"), &json!(n - 1)), "{end}");
    }
    signal("-TERM", &child.id().to_string());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(lines.next().is_none());
}

#[test]
fn a_changeset_is_bytes_for_programs_and_says_what_it_has_not() {
    let lab = shop();
    let file = lab.path("app.changeset");
    let write = |args: &[&str]| {
        let mut command = lab.command(&[&["diff", "--format", "changeset"], args].concat());
        command.stdout(std::fs::File::create(&file).unwrap());
        let ended = command.output().unwrap();
        (
            ended.status.code(),
            String::from_utf8(ended.stderr).unwrap(),
            std::fs::read(&file).unwrap(),
        )
    };
    let (code, said, bytes) = write(&["app@seq:1", "@seq:2"]);
    assert_eq!((code, &*said), (Some(0), ""));
    assert!(bytes.starts_with(b"T\x03\x01\x00\x00orders\0"), "{bytes:?}");
    assert!(bytes.windows(10).any(|w| w == b"T\x02\x01\x02pairs\0"), "{bytes:?}");
    let (code, said, bytes) = write(&["app@seq:2", "@seq:3"]);
    let what = "a changeset has rows alone, and not: table orders redefined, index by_who created";
    assert!(code == Some(3) && said.contains(what) && bytes.is_empty(), "{code:?} {said}");
    let both = lab.run(&["diff", "app@seq:1", "--format", "changeset", "--json"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}
