//! Rows come back, and commits are taken back, in the database of a `Keeper` of the same process,
//! whose connections stay open.

use std::time::Duration;

use super::of;
use crate::support::Lab;
use pagekeep::internals::types::Seq;
use pagekeep::{ErrorKind, Keeper, KeeperOptions, OnConflict, Silent, UndoOptions};
use rusqlite::Connection;

const PATIENCE: Duration = Duration::from_secs(60);

fn count(db: &Connection) -> i64 {
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_keeper_brings_back_rows_and_takes_commits_back_beside_its_own_connections() {
    let lab = Lab::quick();
    let path = lab.path("app.db");
    let options = KeeperOptions::default();
    let keeper = Keeper::open(&path, lab.repository.clone(), options.clone()).unwrap();
    let db = keeper.connect().unwrap();
    db.execute_batch(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 'a'), (2, 'b')",
    )
    .unwrap();
    let whole = keeper.wait_durable(PATIENCE).unwrap();
    db.execute_batch("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(3, 'c')").unwrap();
    keeper.wait_durable(PATIENCE).unwrap();

    // What was committed a moment ago, and is not stored yet, is in the label of before.
    db.execute("INSERT INTO t VALUES(4, 'd')", []).unwrap();
    let point = keeper.history().point(whole).unwrap();
    let applied = keeper.recover(&point, &of("t")).unwrap();
    let done = applied.done.unwrap();
    assert_eq!((applied.tables[0].inserted, count(&db)), (1, 4));
    assert_eq!(done.before.label, format!("before recover from seq:{whole}"));
    assert_eq!((done.before.seq.next(), done.alone), (done.now, true));
    let restored = lab.path("before.db");
    let before = keeper.history().point(done.before.seq).unwrap();
    before.restore(&restored, &Default::default(), &Silent).unwrap();
    let ids = |db: &Connection| -> String {
        let sql = "SELECT group_concat(id) FROM (SELECT id FROM t ORDER BY id)";
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(ids(&Connection::open(&restored).unwrap()), "2,3,4");

    // Nothing is missing any more.
    let again = keeper.recover(&point, &of("t")).unwrap();
    assert!(again.done.is_none() && again.changed() == 0);

    let undone = keeper.undo((done.now, done.now), &UndoOptions::default()).unwrap();
    assert_eq!((undone.tables[0].deleted, ids(&db)), (1, "2,3,4".to_owned()));
    let twice = undone.done.unwrap().now;
    db.execute("INSERT INTO t VALUES(1, 'of somebody else')", []).unwrap();
    let options = UndoOptions::default().on_conflict(OnConflict::Stop);
    let conflict = keeper.undo((twice, twice), &options).unwrap();
    assert!(conflict.stopped && conflict.conflicts.count == 1 && conflict.done.is_none());
    assert_eq!(ids(&db), "1,2,3,4");
    let newest = keeper.history().latest().unwrap().unwrap().seq();
    assert_eq!(conflict.captured, Some(newest));

    // Points and commits that are not its own.
    let other = lab.path("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY)")
        .unwrap();
    lab.backup(&other);
    let foreign = lab.repository.history("other").unwrap().point(Seq(1)).unwrap();
    let refused = keeper.recover(&foreign, &of("t")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);
    let none = keeper.undo((Seq(9999), Seq(9999)), &UndoOptions::default()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    keeper.close().unwrap();
}
