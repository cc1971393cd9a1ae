//! Rows are read as SQLite reads them, whatever is stored; and no bytes make it panic.

use proptest::prelude::*;
use rusqlite::Connection;

use super::super::cell::cells as read_cells;
use super::super::page::{child_of, first_child, key_at};
use super::super::table::{schema, select};
use super::*;

const DECLARED: [&str; 14] = [
    "",
    "INTEGER",
    "REAL",
    "DOUBLE PRECISION",
    "FLOAT",
    "TEXT",
    "BLOB",
    "NUMERIC",
    "FLOATING POINT",
    "CHAREAL",
    "REAL BLOB",
    "\"a real\"",
    "DATETIME",
    "doub",
];

const DEFAULTS: [&str; 11] =
    ["5", "-5", "+0.5", "'five'", "x'00ff'", "NULL", "TRUE", "word", "\"quoted\"", "12.0", "(-3)"];

fn values() -> Vec<Cell> {
    let mut all =
        vec![Cell::Null, Cell::Blob(vec![]), Cell::Blob(vec![0; 900]), Cell::Blob(vec![7; 70_000])];
    let integers = [
        0,
        1,
        2,
        -1,
        127,
        -128,
        128,
        32_767,
        -32_769,
        1 << 23,
        -(1 << 31),
        1 << 40,
        1 << 47,
        i64::MIN,
        i64::MAX,
    ];
    all.extend(integers.map(Cell::Integer));
    all.extend(
        [0.0, -0.0, 1.0, 0.5, 1e300, f64::INFINITY, 9.007_199_254_740_993e15].map(Cell::Real),
    );
    all.extend(["", "1", "1.0", "text", "a\0b", "größer"].map(|text| Cell::Text(text.into())));
    all
}

/// All rows of a table, as they are stored and as SQLite reads them.
fn compare(db: &Connection, table: &str) -> usize {
    let found = schema(db).unwrap().tables.remove(table).unwrap();
    let layout = found.layout.as_ref().unwrap();
    let bytes = std::fs::read(db.path().unwrap()).unwrap();
    let page_len =
        usize::try_from(db.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0)).unwrap())
            .unwrap();
    let content = |page: u32| {
        let at = (usize::try_from(page).unwrap() - 1) * page_len;
        bytes[at..at + page_len].to_vec()
    };
    let usable = usable_len(&content(1)).unwrap();
    let pages = u32::try_from(bytes.len() / page_len).unwrap();
    let mut statement = db
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path")
        .unwrap();
    let leaves: Vec<u32> = statement
        .query_map([table], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let mut rows = Vec::new();
    for page in leaves {
        let content_of_leaf = content(page);
        for row in rows_of(&content_of_leaf, page, usable, (i64::MIN, i64::MAX)).unwrap() {
            let read = |page: u32| Ok(content(page).into());
            let record = Kept::of(&row).record(usable, pages, &read).unwrap().unwrap();
            rows.push((row.rowid, layout.values(&record, row.rowid).unwrap()));
            let of = row_of(&content_of_leaf, page, usable, row.rowid).unwrap().unwrap();
            assert_eq!(of, Kept::of(&row));
        }
    }
    let mut statement = db.prepare(&select(&found, &found.columns, None, false)).unwrap();
    let n = found.columns.len();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, read_cells(row, 1, n)?));
    let expected: Vec<(i64, Vec<Cell>)> =
        statement.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert_eq!(rows, expected);
    rows.len()
}

#[test]
fn every_value_of_every_column_is_read_as_sqlite_reads_it() {
    for (page_size, id) in [(512, "id INTEGER PRIMARY KEY, "), (4096, ""), (65_536, "")] {
        let dir = tempfile::tempdir().unwrap();
        let db = Connection::open(dir.path().join("app.db")).unwrap();
        let columns: Vec<String> =
            DECLARED.iter().enumerate().map(|(i, declared)| format!("c{i} {declared}")).collect();
        db.execute_batch(&format!(
            "PRAGMA page_size={page_size}; CREATE TABLE t({id}{})",
            columns.join(", ")
        ))
        .unwrap();
        let mut added = 0;
        for value in values() {
            let names: Vec<String> = (0..DECLARED.len()).map(|i| format!("c{i}")).collect();
            let marks = vec!["?1"; names.len()].join(", ");
            let sql = format!("INSERT INTO t({}) VALUES({marks})", names.join(", "));
            db.execute(&sql, [&value]).unwrap();
            // Rows before it have no such column.
            if let Some(default) = DEFAULTS.get(added) {
                let declared = DECLARED[added % DECLARED.len()];
                db.execute(
                    &format!("ALTER TABLE t ADD COLUMN d{added} {declared} DEFAULT {default}"),
                    [],
                )
                .unwrap();
                added += 1;
            }
        }
        assert_eq!(compare(&db, "t"), values().len());
    }
}

#[test]
fn what_is_not_certain_is_left_to_sqlite() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE derived(x, y AS (x + 1)); CREATE TABLE kept(x, y AS (x + 1) STORED);
         CREATE TABLE bare(k TEXT PRIMARY KEY, x) WITHOUT ROWID; CREATE VIRTUAL TABLE words USING fts5(x);
         CREATE TABLE hidden(rowid, oid, _rowid_); CREATE TABLE plain(x)",
    )
    .unwrap();
    let tables = schema(&db).unwrap().tables;
    for (name, has_layout) in [
        ("derived", false),
        ("kept", false),
        ("words", false),
        ("hidden", false),
        ("plain", true),
        ("bare", true),
    ] {
        assert_eq!(tables[name].layout.is_some(), has_layout, "{name}");
    }
    let other = Connection::open_in_memory().unwrap();
    other.execute_batch("PRAGMA encoding='UTF-16le'; CREATE TABLE plain(x)").unwrap();
    assert_eq!(schema(&other).unwrap().tables["plain"].layout, None);
}

proptest! {
    #[test]
    fn no_bytes_stop_it(mut content in prop::collection::vec(any::<u8>(), 512), kind in 0u8..4, cells in 0u8..40) {
        content[0] = [2, 5, 10, 13][usize::from(kind)];
        (content[3], content[4]) = (0, cells);
        for page in [1, 2] {
            for row in rows_of(&content, page, 512, (i64::MIN, i64::MAX)).into_iter().flatten() {
                let read = |_| Ok(content.clone().into());
                let kept = Kept::of(&row);
                kept.record(512, 9, &read).unwrap();
                kept.overflows_into(512, 9, &|_| false, &read).unwrap();
            }
            for cell in 0..40 {
                let key = key_at(&content, page, 512, cell);
                key.and_then(|key| first_values(key, 3));
            }
            child_of(&content, page, 7);
            first_child(&content, page);
        }
        usable_len(&content);
        let stored = |place| Stored { place, is_rowid: place == 0, is_real: place == 1, default: None };
        let layout = Layout::of((0..4).map(stored).collect());
        for at in 0..content.len() {
            layout.values(&content[at..], 1);
            first_values(&content[at..], 2);
        }
    }
}
