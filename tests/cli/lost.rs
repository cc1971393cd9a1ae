//! `recover` and `undo` through the real binary: the rows come back, what came later stays.
//!
//! `PAGEKEEP_KILL_SECONDS=300 cargo test --test cli lost::` kills them for minutes.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{Lab, last};
use crate::support::dice::{Dice, number};
use crate::support::heavy;
use rusqlite::Connection;
use serde_json::json;

/// A shop that sold, lost orders by mistake in its second commit, and sold on.
fn shop() -> Lab {
    let lab = Lab::new();
    for sql in [
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, who TEXT, total INT); CREATE TABLE log(x);
         CREATE TRIGGER sold AFTER INSERT ON orders BEGIN INSERT INTO log VALUES(new.id); END;
         INSERT INTO orders VALUES(1, 'Ada', 10), (2, 'Alan', 20), (3, 'Grace', 30)",
        "DELETE FROM orders WHERE total < 25; UPDATE orders SET total = 33 WHERE id = 3",
        "INSERT INTO orders VALUES(4, 'Edsger', 40)",
    ] {
        lab.sql("app.db", sql);
        lab.ok(&["backup", "app.db"]);
    }
    lab
}

fn orders(lab: &Lab) -> String {
    let db = Connection::open(lab.path("app.db")).unwrap();
    let sql =
        "SELECT group_concat(id || ' ' || total, ', ') FROM (SELECT * FROM orders ORDER BY id)";
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

const SOLD_ON: &str = "3 33, 4 40";
const WHOLE: &str = "1 10, 2 20, 3 33, 4 40";

#[test]
fn lost_rows_come_back_and_later_sales_stay() {
    let lab = shop();
    let ended = lab.run(&["recover", "app.db", "--at", "seq:1", "--table", "orders"]);
    assert_eq!((ended.code, orders(&lab).as_str()), (Some(0), WHOLE), "{ended:?}");
    ended.says(&["2 rows put back from app@seq:1", "before recover from seq:1", "sold"]);
    ended.says(&["undo: pagekeep undo app.db seq:4"]);
    assert!(ended.stderr.contains("1 row of that moment") && ended.stderr.contains("--changed"));
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM log"), 4);
    // Again there is nothing to do, and no label for it.
    let ended = lab.run(&["recover", "app.db", "--at", "seq:1", "--table", "orders"]);
    ended.says(&["nothing was done"]);
    let told = lab.json(&["recover", "app.db", "--at", "seq:1", "--table", "orders", "--changed"]);
    let summary = last(&told);
    assert_eq!(
        (&summary["at"], &summary["tables"][0]["updated"], &summary["before"], &summary["now"]),
        (&json!(1), &json!(1), &json!(4), &json!(5))
    );
    assert_eq!((&summary["alone"], &summary["silent_triggers"]), (&json!(true), &json!(["sold"])));
    assert_eq!(orders(&lab), "1 10, 2 20, 3 30, 4 40");
    // The command that takes it back does.
    let undo = summary["undo"].as_str().unwrap().split(' ').skip(1).collect::<Vec<_>>();
    lab.ok(&undo);
    assert_eq!(orders(&lab), WHOLE);
    lab.ok(&["undo", "app.db", "seq:4"]);
    assert_eq!(orders(&lab), SOLD_ON);
    lab.ok(&["verify", "app", "--level", "data"]);
}

#[test]
fn a_dry_run_shows_rows_or_sql_and_changes_nothing() {
    let lab = shop();
    let before = fs::read(lab.path("app.db")).unwrap();
    let recover = ["recover", "app.db", "--at", "seq:1", "--table", "orders", "-n"];
    let ended = lab.run(&recover);
    ended.says(&["+ id=1: who='Ada', total=10", "+ id=2", "2 rows would be put back"]);
    ended.says(&["nothing was changed"]);
    let ended = lab.ok(&["undo", "app.db", "seq:2", "-n"]);
    ended.says(&["+ id=1: who='Ada'", "~ id=3: total: 33 -> 30", "3 rows would be set back"]);
    let lines = lab.json(&["undo", "app.db", "seq:2", "--dry-run"]);
    assert_eq!((&lines[0]["type"], &lines[0]["key"]), (&json!("row-change"), &json!({"id": 1})));
    assert_eq!((&last(&lines)["dry_run"], &last(&lines)["undo"]), (&json!(true), &json!(null)));
    let sql = lab.ok(&["undo", "app.db", "seq:2", "-n", "--format", "sql"]).stdout;
    assert!(fs::read(lab.path("app.db")).unwrap() == before);
    assert_eq!(lab.seqs(), [1, 2, 3]);
    assert!(lab.json(&["snapshots"]).iter().all(|commit| commit["labels"] == json!([])));
    // The SQL is what would be done.
    lab.sql("app.db", &format!("DROP TRIGGER sold; {sql}"));
    assert_eq!(orders(&lab), "1 10, 2 20, 3 30, 4 40");
}

#[test]
fn rows_that_somebody_changed_since_are_conflicts() {
    let lab = shop();
    lab.sql(
        "app.db",
        "UPDATE orders SET total = 44 WHERE id = 3; INSERT INTO orders VALUES(1, 'Ada B.', 11)",
    );
    let kept = "1 11, 3 44, 4 40";
    lab.run(&["undo", "app.db", "seq:2"]).failed(17, &["captured first, as app@seq:4"]);
    for args in [&["undo", "app.db", "seq:2"][..], &["undo", "app.db", "seq:2", "-n"]] {
        let ended = lab.run(args);
        ended.failed(17, &["nothing was done", "2 rows", "--on-conflict skip"]);
        ended.says(&[
            "table orders",
            "! id=3: total: 33 -> 44, since",
            "! there is such a row again: id=1",
        ]);
        assert_eq!(orders(&lab), kept);
    }
    let lines = lab.run(&["undo", "app.db", "seq:2", "--json"]).objects();
    let conflict = lines.iter().find(|line| line["type"] == "conflict").unwrap();
    assert_eq!(
        (&conflict["reason"], &conflict["live"]["who"], &conflict["after"]["who"]),
        (&json!("present"), &json!("Ada B."), &json!("Ada"))
    );
    let error = lines.last().unwrap();
    assert_eq!((&error["type"], &error["exit_code"]), (&json!("error"), &json!(17)));
    assert_eq!(lab.seqs().len(), 4);
    let ended = lab.ok(&["undo", "app.db", "seq:2", "--on-conflict", "skip"]);
    ended.says(&["1 row set back: app@seq:2 is undone", "! id=3"]);
    assert_eq!(orders(&lab), "1 11, 2 20, 3 44, 4 40");
    lab.ok(&["undo", "app.db", "latest"]);
    lab.ok(&["undo", "app.db", "seq:2..seq:2", "--on-conflict", "force", "--table", "ORDERS"]);
    assert_eq!(orders(&lab), "1 10, 2 20, 3 30, 4 40");
}

#[test]
fn what_makes_no_sense_is_refused_and_says_what_does() {
    let lab = shop();
    let recover = |more: &'static [&str]| [&["recover", "app.db"], more].concat();
    lab.fails(&recover(&["--at", "seq:1", "--table", "none"]), 16, &["\"none\""]);
    lab.fails(&recover(&["--at", "seq:9", "--table", "orders"]), 16, &["seq:9"]);
    lab.fails(
        &recover(&["--at", "seq:1", "--table", "orders", "--where", "x ="]),
        2,
        &["syntax error", "every table"],
    );
    lab.misused(&recover(&["--at", "seq:1"]), &["--table"]);
    lab.misused(&recover(&["--table", "orders"]), &["--at"]);
    lab.misused(&["undo", "app.db", "seq:2", "--format", "sql"], &["--dry-run"]);
    lab.fails(&["undo", "app.db", "seq:1"], 17, &["before seq:1", "pagekeep log app"]);
    lab.fails(&["undo", "app.db", "seq:3..seq:2"], 2, &["seq:3", "seq:2"]);
    lab.fails(&["undo", "app.db", "seq:9"], 16, &["seq:9"]);
    lab.fails(&["undo", "none.db", "seq:2"], 5, &["none.db"]);
    lab.sql("app.db", "CREATE TABLE later(x)");
    lab.ok(&["backup", "app.db"]);
    lab.fails(
        &["undo", "app.db", "latest"],
        17,
        &["\"later\"", "made it", "pagekeep restore app@seq:3"],
    );
    lab.ok(&["prune", "app", "--keep-last", "1", "--grace", "0"]);
    lab.fails(&["undo", "app.db", "seq:3"], 17, &["before seq:3"]);
    // The history is another database's.
    lab.sql("other.db", "CREATE TABLE orders(x)");
    lab.fails(&["undo", "other.db", "seq:4", "--name", "app"], 17, &["belongs to"]);
}

#[test]
fn beside_a_watch_a_transaction_that_was_undone_is_a_commit_of_its_own() {
    let lab = shop();
    lab.sql("app.db", "PRAGMA journal_mode=WAL");
    let mut watch = Running(lab.command(&["watch", "app.db", "--interval", "0"]).spawn().unwrap());
    let db = Connection::open(lab.path("app.db")).unwrap();
    let wait_for = |watch: &mut Running, n: usize| {
        let begun = Instant::now();
        while lab.run(&["log", "app", "--json"]).objects().len() < n {
            assert_eq!(watch.0.try_wait().unwrap(), None, "the watch ended before commit {n}");
            assert!(begun.elapsed() < Duration::from_secs(120), "there is no commit {n}");
        }
    };
    wait_for(&mut watch, 4);
    db.execute_batch("DELETE FROM orders").unwrap();
    wait_for(&mut watch, 5);
    db.execute_batch("INSERT INTO orders VALUES(5, 'Barbara', 50)").unwrap();
    wait_for(&mut watch, 6);
    let done = lab.summary(&["undo", "app.db", "seq:5"]);
    assert_eq!(
        (&done["before"], &done["now"], &done["alone"]),
        (&json!(6), &json!(7), &json!(true))
    );
    assert_eq!(orders(&lab), "3 33, 4 40, 5 50");
    let show = lab.json(&["show", "app@seq:7"]);
    assert_eq!(show[0]["kind"], "transaction");
}

/// A process that ends with its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself can't be killed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn rows_that_were_left_out_are_told_in_words_of_their_own() {
    let lab = Lab::new();
    for sql in [
        "CREATE TABLE u(id INTEGER PRIMARY KEY, mail TEXT UNIQUE); INSERT INTO u VALUES(1, 'a'), (2, 'b'), (3, 'c')",
        "DELETE FROM u WHERE id < 3; INSERT INTO u VALUES(7, 'a')",
    ] {
        lab.sql("app.db", sql);
        lab.ok(&["backup", "app.db"]);
    }
    let recover = ["recover", "app.db", "--at", "seq:1", "--table", "u"];
    let way = "1 row can't be put back, since another row or a rule of the table is in its way";
    lab.run(&recover).failed(17, &[&format!("nothing was done: {way}")]);
    let skip = [&recover[..], &["--on-conflict", "skip"]].concat();
    let dry = [&skip[..], &["-n"]].concat();
    let told = lab.json(&dry);
    let changes: Vec<_> = told.iter().filter(|line| line["type"] == "row-change").collect();
    assert_eq!((changes.len(), &changes[0]["key"]), (1, &json!({"id": 2})));
    lab.ok(&dry).says(&["+ id=2", "1 row would be put back", way]);
    lab.ok(&skip).says(&["1 row put back", way]);
    // Rows are missing still.
    let ended = lab.ok(&skip);
    ended.says(&[&format!("nothing was done: {way}"), "SKIPPED"]);
    assert!(!ended.stdout.contains("missing from") && !ended.stderr.contains("missing from"));
    lab.ok(&[&recover[..], &["--where", "id = 2"]].concat())
        .says(&["nothing is missing from u that was there at app@seq:1"]);
    lab.sql("app.db", "UPDATE u SET mail = 'x' WHERE id = 7");
    let way = "1 row was changed since, or another row is in its way";
    let undo = ["undo", "app.db", "seq:2"];
    lab.run(&undo).failed(17, &[&format!("nothing was done: {way}")]);
}

#[test]
fn a_table_whose_rowids_moved_is_refused_with_what_helps() {
    let lab = Lab::new();
    for sql in [
        "CREATE TABLE t(x); INSERT INTO t VALUES('a'), ('b'), ('c'), ('d')",
        "DELETE FROM t WHERE rowid < 3; VACUUM",
    ] {
        lab.sql("app.db", sql);
        lab.ok(&["backup", "app.db"]);
    }
    let recover = ["recover", "app.db", "--at", "seq:1", "--table", "t"];
    lab.fails(&recover, 17, &["VACUUM", "pagekeep restore app@seq:1", "--changed"]);
    lab.ok(&[&recover[..], &["--changed"]].concat()).says(&["4 rows put back"]);
}

/// Whatever moment a kill meets: all rows, or none.
#[test]
fn a_kill_leaves_all_or_nothing() {
    let _heavy = heavy();
    let lab = Lab::new();
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    let mut dice = Dice::new(number("PAGEKEEP_KILL_SEED", 1));
    let journal = dice.pick(&["WAL", "DELETE"]);
    db.execute_batch(&format!(
        "PRAGMA journal_mode={journal}; CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE sold(x);
         WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO t SELECT i, hex(randomblob(200)) FROM n; CREATE TABLE spare AS SELECT * FROM t"
    ))
    .unwrap();
    lab.ok(&["backup", "app.db"]);
    let sum = || -> (i64, i64) {
        let sql = "SELECT count(*), coalesce(sum(length(x)), 0) FROM t";
        db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let whole = sum();
    db.execute_batch("DELETE FROM t WHERE id % 2").unwrap();
    lab.ok(&["backup", "app.db"]);
    let half = sum();
    // An undo of this commit leaves half of the rows.
    db.execute_batch("INSERT INTO t SELECT * FROM spare WHERE id % 2").unwrap();
    lab.ok(&["backup", "app.db"]);
    let until = Instant::now() + Duration::from_secs(number("PAGEKEEP_KILL_SECONDS", 10));
    // How many did all, and how many nothing: of a recover, and of an undo.
    let (mut kills, mut sold, mut came, mut in_time) = (0_u32, 0, [0_u32; 2], [0_u32; 2]);
    // How long one takes that is not killed.
    db.execute_batch("DELETE FROM t WHERE id % 2").unwrap();
    let begun = Instant::now();
    lab.run(&["recover", "app.db", "--at", "seq:1", "--table", "t", "-n", "--quiet"]);
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap();
    while Instant::now() < until || kills < 24 {
        // Some are left to end, of each command, so that both outcomes are seen.
        let is_left = kills % 6 == 5;
        let undoes = if is_left { kills % 12 == 5 } else { dice.one_in(2) };
        let state = if undoes {
            db.execute_batch("DELETE FROM t; INSERT INTO t SELECT * FROM spare").unwrap();
            whole
        } else {
            db.execute_batch("DELETE FROM t WHERE id % 2").unwrap();
            half
        };
        assert_eq!(sum(), state);
        let command: &[&str] = match undoes {
            true => &["undo", "app.db", "seq:3", "--table", "t"],
            false => &["recover", "app.db", "--at", "seq:1", "--table", "t"],
        };
        let mut command = lab.command(command);
        let told = fs::File::create(lab.path("told")).unwrap();
        let command = command.stdout(Stdio::null()).stderr(told);
        let mut child = Running(command.spawn().unwrap());
        let patience = (!is_left).then(|| Duration::from_micros(dice.below(took * 2)));
        let begun = Instant::now();
        loop {
            match patience {
                Some(patience) if begun.elapsed() >= patience => break,
                None if child.0.try_wait().unwrap().is_some() => break,
                _ => {}
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{command:?} does not end");
            db.execute("INSERT INTO sold VALUES(1)", []).unwrap();
            sold += 1;
            std::thread::sleep(Duration::from_millis(3));
        }
        if patience.is_some() {
            child.0.kill().unwrap();
        }
        let ended = child.0.wait().unwrap();
        kills += 1;
        let now = sum();
        assert!(now == half || now == whole, "{now:?} after {kills} kills");
        match now == state {
            true => in_time[usize::from(undoes)] += 1,
            false => came[usize::from(undoes)] += 1,
        }
        let told = fs::read_to_string(lab.path("told")).unwrap();
        // A machine under load takes long to read a database whose writers wait meanwhile, and says
        // so.
        let waited = |line: &str| line.contains("is not in WAL mode: its writers had to wait");
        let is_warned = *journal == "DELETE"
            && ended.code() == Some(3)
            && told.lines().filter(|line| line.starts_with("warning:")).all(waited);
        assert!(
            patience.is_some() || ((ended.success() || is_warned) && now != state),
            "{journal}: {command:?}: {ended}: {told}"
        );
        let there: i64 = db.query_row("SELECT count(*) FROM sold", [], |row| row.get(0)).unwrap();
        assert_eq!(there, sold, "after {kills} kills");
    }
    assert_eq!(crate::support::integrity_check(&db), "ok");
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["verify", "app", "--level", "data"]);
    // Whether a kill comes in time is luck in each round, and in dozens of rounds it is not.
    println!(
        "{journal}: {kills} runs; of a recover and an undo {in_time:?} did nothing, {came:?} all"
    );
    assert!(came.iter().all(|n| *n > 0) && in_time.iter().sum::<u32>() > 0, "{came:?} {in_time:?}");
}
