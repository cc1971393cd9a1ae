//! Every row that differs lies in what is told, whatever was done in between.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::*;
use crate::types::PageSize;

/// A database's file as it was once.
struct Snapshot {
    image: Arc<Image>,
    _dir: tempfile::TempDir,
    db: Connection,
}

struct Image {
    bytes: Vec<u8>,
    page_size: PageSize,
}

impl PageProvider for Image {
    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn pages(&self) -> u32 {
        u32::try_from(self.bytes.len() / self.page_size.bytes()).unwrap()
    }

    fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()> {
        let at = usize::try_from(self.page_size.offset(page)).unwrap();
        into.copy_from_slice(&self.bytes[at..at + into.len()]);
        Ok(())
    }
}

impl Snapshot {
    fn of(db: &Connection) -> Self {
        let path = db.path().unwrap().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        let bytes = std::fs::read(&copy).unwrap();
        let size: u32 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
        let page_size = PageSize::new(size).unwrap();
        let image = Arc::new(Image { bytes, page_size });
        Self { image, db: Connection::open(copy).unwrap(), _dir: dir }
    }

    fn root(&self, table: &str) -> Option<u32> {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        self.db.query_row(sql, [table], |row| row.get(0)).ok()
    }

    fn rows(&self, table: &str, key: &str) -> BTreeMap<i64, Vec<Value>> {
        let sql = format!("SELECT {key}, * FROM {table}");
        let mut statement = self.db.prepare(&sql).unwrap();
        let n = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (1..n).map(|i| row.get(i)).collect::<rusqlite::Result<Vec<Value>>>()?;
            Ok((row.get(0)?, values))
        };
        statement.query_map([], row).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }
}

fn differing(old: &Image, new: &Image) -> Vec<PageNo> {
    let page = |of: &Image, n: u32| {
        let mut content = vec![0; of.page_size.bytes()];
        (n <= of.pages()).then(|| of.read(PageNo(n), &mut content).map(|()| content).unwrap())
    };
    (1..=old.pages().max(new.pages()))
        .filter(|n| page(old, *n) != page(new, *n))
        .map(PageNo)
        .collect()
}

/// How many rows of a table are told of, and how many differ; all that differ are told of.
fn judge(old: &Snapshot, new: &Snapshot, table: &str) -> Option<(usize, usize)> {
    judge_on(old, new, table, &mut Memory::default())
}

/// As [`judge`], with what is remembered of the old state, and then of the new one.
fn judge_on(
    old: &Snapshot,
    new: &Snapshot,
    table: &str,
    memory: &mut Memory,
) -> Option<(usize, usize)> {
    let known = std::mem::take(memory);
    let (root, other) = (old.root(table)?, new.root(table)?);
    if root != other {
        return None;
    }
    let pages = differing(&old.image, &new.image);
    let trees = Trees::new(old.image.clone(), new.image.clone(), &pages, known, 1).unwrap();
    let judged = judge_trees(old, new, (table, root), &trees);
    *memory = trees.into_memory();
    judged
}

fn judge_trees(
    old: &Snapshot,
    new: &Snapshot,
    (table, root): (&str, u32),
    trees: &Trees,
) -> Option<(usize, usize)> {
    if table == "keyed" {
        let (a, b) = (old.rows(table, "rowno"), new.rows(table, "rowno"));
        assert!(a == b || trees.touches(root).unwrap(), "{table}");
        return None;
    }
    let (a, b) = (old.rows(table, "rowid"), new.rows(table, "rowid"));
    let differs = |rowid: &&i64| a.get(rowid) != b.get(rowid);
    let all: BTreeSet<i64> = a.keys().chain(b.keys()).copied().collect();
    let wrong: Vec<i64> = all.iter().filter(differs).copied().collect();
    let extent = trees.table(root).unwrap();
    let is_told = |rowid: i64| match &extent {
        Extent::Whole => true,
        Extent::Ranges(ranges) => ranges.iter().any(|(a, b)| (*a..=*b).contains(&rowid)),
    };
    for rowid in &wrong {
        assert!(is_told(*rowid), "row {rowid} of {table} differs, and is not in {extent:?}");
    }
    Some((all.iter().filter(|rowid| is_told(**rowid)).count(), wrong.len()))
}

fn database(page_size: u32, auto_vacuum: u32) -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("app.db")).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA synchronous=OFF;
         CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE u(x, y); CREATE INDEX by_x ON u(x);
         CREATE TABLE keyed(rowno INTEGER, x, PRIMARY KEY(rowno)) WITHOUT ROWID"
    ))
    .unwrap();
    (dir, db)
}

/// One of the things that happen to a database.
fn step(db: &Connection, (what, at, len): (u8, i64, u32)) {
    let blob = |len: u32| format!("zeroblob({len})");
    let fill = |table: &str, columns: &str, from: i64, n: u32, len: u32| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i+1 FROM n WHERE i < {from} + {n})
             INSERT OR REPLACE INTO {table}({columns}) SELECT i, hex(randomblob({len})) FROM n"
        )
    };
    let at = at % 2000;
    let sql = match what % 16 {
        0 => fill("t", "id, x", at, len % 300, 20),
        1 => fill("t", "id, x", at, 3, len % 4000),
        2 => fill("u", "rowid, x", at, len % 200, 15),
        3 => format!("UPDATE t SET x = hex(randomblob(20)) WHERE id = {at}"),
        // Of the same length: overflow pages are written in place.
        4 => format!("UPDATE t SET x = substr(x, 1, length(x) - 4) || 'edit' WHERE id >= {at} AND length(x) > 600"),
        5 => format!("DELETE FROM t WHERE id BETWEEN {at} AND {at} + {}", len % 60),
        6 => format!("DELETE FROM u WHERE rowid > {at}"),
        7 => "DELETE FROM t".to_owned(),
        8 => format!("INSERT INTO t(id, x) VALUES(-{at} - 5, {})", blob(len % 3000)),
        9 => format!("INSERT OR REPLACE INTO t VALUES({}, 'far')", i64::MAX - at),
        10 => "DROP TABLE u; CREATE TABLE u(x, y); CREATE INDEX by_x ON u(x)".to_owned(),
        11 => "VACUUM".to_owned(),
        12 => fill("keyed", "rowno, x", at, len % 100, 12),
        13 => format!("UPDATE u SET y = {} WHERE rowid = {at}", blob(len % 5000)),
        14 => "ALTER TABLE t RENAME TO w; ALTER TABLE u RENAME TO t; ALTER TABLE w RENAME TO u;
               ALTER TABLE t RENAME TO w; ALTER TABLE u RENAME TO t; ALTER TABLE w RENAME TO u"
            .to_owned(),
        // The same rows again: pages that are free have what they will have.
        _ => "CREATE TEMP TABLE kept AS SELECT * FROM t; DELETE FROM t; INSERT INTO t SELECT * FROM kept; DROP TABLE kept"
            .to_owned(),
    };
    db.execute_batch(&sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn every_row_that_differs_is_told_of(
        page_size in prop_oneof![Just(512u32), Just(1024), Just(4096)],
        auto_vacuum in 0u32..3,
        steps in prop::collection::vec((any::<u8>(), 0i64..5000, any::<u32>()), 6..40),
    ) {
        let (_dir, db) = database(page_size, auto_vacuum);
        let mut snapshots = vec![Snapshot::of(&db)];
        for (n, what) in steps.into_iter().enumerate() {
            step(&db, what);
            if n % 3 == 0 {
                snapshots.push(Snapshot::of(&db));
            }
        }
        // Step by step, with what the step before left.
        for table in ["t", "u", "keyed"] {
            let mut memory = Memory::default();
            for two in snapshots.windows(2) {
                judge_on(&two[0], &two[1], table, &mut memory);
            }
        }
        for (i, old) in snapshots.iter().enumerate() {
            for new in snapshots.iter().skip(i) {
                for table in ["t", "u", "keyed"] {
                    judge(old, new, table);
                    judge(new, old, table);
                }
            }
        }
    }
}

/// A change of one row tells of the rows of its page, and an overflow page that was written in
/// place of all.
#[test]
fn few_rows_are_told_of_where_few_differ() {
    let (_dir, db) = database(1024, 0);
    step(&db, (0, 0, 299));
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000)
         INSERT OR REPLACE INTO t SELECT i, hex(randomblob(20)) FROM n;
         INSERT INTO u SELECT x, id FROM t; INSERT INTO t VALUES(30000, hex(randomblob(9000)));
         INSERT INTO keyed SELECT id, x FROM t",
    )
    .unwrap();
    let old = Snapshot::of(&db);
    db.execute_batch(
        "UPDATE t SET x = 'changed' WHERE id = 777; DELETE FROM u WHERE rowid = 12345",
    )
    .unwrap();
    let new = Snapshot::of(&db);
    for table in ["t", "u"] {
        let (told, differ) = judge(&old, &new, table).unwrap();
        assert!(differ == 1 && told < 60, "{told} of {table}");
    }
    let pages = differing(&old.image, &new.image);
    let trees =
        Trees::new(old.image.clone(), new.image.clone(), &pages, Memory::default(), 1).unwrap();
    assert!(!trees.touches(new.root("keyed").unwrap()).unwrap());
    // A long row that comes, goes, or is another one has overflow pages that are explained.
    db.execute_batch("UPDATE t SET x = hex(randomblob(8000)) WHERE id = 30000").unwrap();
    let longer = Snapshot::of(&db);
    assert!(judge(&new, &longer, "t").unwrap().0 < 60);
    // This one is written in place.
    db.execute_batch("UPDATE t SET x = substr(x, 1, 15990) || 'edited....' WHERE id = 30000")
        .unwrap();
    let edited = Snapshot::of(&db);
    assert_eq!(judge(&longer, &edited, "t").unwrap().1, 1);
    assert_eq!(judge(&longer, &longer, "t").unwrap(), (0, 0));
}

/// Pages with any bytes in them end in some answer.
#[test]
fn no_bytes_stop_it() {
    let (_dir, db) = database(512, 0);
    step(&db, (0, 0, 299));
    let old = Snapshot::of(&db);
    let mut dice = 12345u64;
    for _ in 0..400 {
        let mut new = Snapshot::of(&db);
        for _ in 0..6 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(dice >> 33).unwrap() % (new.image.bytes.len() - 100) + 100;
            Arc::get_mut(&mut new.image).unwrap().bytes[at] = u8::try_from(dice >> 56).unwrap();
        }
        let pages = differing(&old.image, &new.image);
        let trees =
            Trees::new(old.image.clone(), new.image.clone(), &pages, Memory::default(), 1).unwrap();
        for root in [0, 1, 2, 3, 4, 5, u32::MAX] {
            trees.table(root).unwrap();
            trees.touches(root).unwrap();
        }
    }
}

/// A row's overflow pages lead in a circle, its length says that there are very many, and children
/// lead to one page again and again.
#[test]
fn circles_end() {
    const LEN: usize = 512;
    let image = |fill: u8, interior: u8, leaf: u8| {
        let mut bytes = vec![0; 6 * LEN];
        bytes[16..18].copy_from_slice(&512u16.to_be_bytes());
        // A cell of 2^62 bytes, whose first overflow page is 3, which leads to itself.
        let mut cell = vec![0xc0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 1];
        cell.extend(vec![fill; 40]);
        cell.extend([0, 0, 0, 3].repeat(120));
        cell.truncate(LEN - 20);
        bytes[LEN] = leaf;
        bytes[LEN + 3..LEN + 5].copy_from_slice(&1u16.to_be_bytes());
        bytes[LEN + 8..LEN + 10].copy_from_slice(&20u16.to_be_bytes());
        bytes[LEN + 20..2 * LEN].copy_from_slice(&cell);
        bytes[2 * LEN + 3] = 3;
        bytes[2 * LEN + 9] = fill;
        // Something that nothing leads to.
        bytes[3 * LEN + 9] = fill;
        // An interior page, all of whose children are itself.
        bytes[4 * LEN] = interior;
        bytes[4 * LEN + 3..4 * LEN + 5].copy_from_slice(&20u16.to_be_bytes());
        bytes[4 * LEN + 11] = 5;
        for i in 0..20u16 {
            let (at, cell) = (4 * LEN + 12 + usize::from(i) * 2, 100 + i * 6);
            bytes[at..at + 2].copy_from_slice(&cell.to_be_bytes());
            let at = 4 * LEN + usize::from(cell);
            bytes[at..at + 5].copy_from_slice(&[0, 0, 0, 5, u8::try_from(i).unwrap()]);
        }
        Arc::new(Image { bytes, page_size: PageSize::new(512).unwrap() })
    };
    for (interior, leaf) in [(TABLE_INTERIOR, TABLE_LEAF), (INDEX_INTERIOR, INDEX_LEAF)] {
        let (old, new) = (image(1, interior, leaf), image(2, interior, leaf));
        let pages: Vec<PageNo> = (2..=4).map(PageNo).collect();
        for pages in [&pages[..], &pages[..1]] {
            let trees = Trees::new(old.clone(), new.clone(), pages, Memory::default(), 1).unwrap();
            assert!(trees.touches(5).unwrap());
            assert_eq!(trees.table(5).unwrap(), Extent::Whole);
        }
    }
}
