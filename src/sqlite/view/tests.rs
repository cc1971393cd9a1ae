//! A file's pages, served one by one, are the database that the file is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::{Error, ErrorKind};
use crate::types::{PageNo, PageSize};

/// The bytes of a database file; some pages can't be read, or panic.
#[derive(Clone)]
struct Image {
    bytes: Arc<Vec<u8>>,
    page_size: PageSize,
    bad: Option<PageNo>,
    cursed: Option<PageNo>,
    reads: Arc<AtomicUsize>,
}

impl PageProvider for Image {
    fn page_size(&self) -> PageSize {
        self.page_size
    }

    fn pages(&self) -> u32 {
        u32::try_from(self.bytes.len() / self.page_size.bytes()).unwrap()
    }

    fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(self.cursed != Some(page), "page {page} is cursed");
        if self.bad == Some(page) {
            return Err(Error::damaged("data/x", format!("page {page} is bad")));
        }
        let at = usize::try_from(self.page_size.offset(page)).unwrap();
        into.copy_from_slice(&self.bytes[at..at + self.page_size.bytes()]);
        Ok(())
    }
}

/// A database whose table has a row on each of many pages.
fn image(page_size: u32, journal: &str) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA journal_mode={journal};
         CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB); CREATE INDEX i ON t(b);
         WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n WHERE x < 200)
         INSERT INTO t SELECT x, randomblob({}) FROM n;",
        page_size / 3
    ))
    .unwrap();
    drop(db);
    Image {
        bytes: Arc::new(std::fs::read(&path).unwrap()),
        page_size: PageSize::new(page_size).unwrap(),
        bad: None,
        cursed: None,
        reads: Arc::default(),
    }
}

fn open(image: &Image) -> Result<View> {
    View::open(Box::new(image.clone()), 64 * 1024)
}

fn number(view: &View, sql: &str) -> rusqlite::Result<i64> {
    view.connection().query_row(sql, [], |row| row.get(0))
}

/// A page of the table that a scan reads, and a question for the first row does not.
fn leaf(image: &Image) -> PageNo {
    let sql = "SELECT max(pageno) FROM dbstat WHERE name = 't' AND pagetype = 'leaf'";
    PageNo(u32::try_from(number(&open(image).unwrap(), sql).unwrap()).unwrap())
}

#[test]
fn a_view_answers_in_every_journal_mode_and_page_size() {
    for page_size in [512, 4096, 65536] {
        for journal in ["DELETE", "WAL"] {
            let image = image(page_size, journal);
            let view = open(&image).unwrap();
            assert_eq!(number(&view, "SELECT count(*) FROM t").unwrap(), 200);
            assert_eq!(number(&view, "SELECT sum(a) FROM t").unwrap(), 20_100);
            let check: String = view
                .connection()
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(check, "ok");
            assert!(number(&view, "SELECT unixepoch('now')").unwrap() > 1_700_000_000);
        }
    }
}

#[test]
fn a_view_reads_what_a_question_needs_and_not_more() {
    let image = image(4096, "WAL");
    let view = open(&image).unwrap();
    number(&view, "SELECT length(b) FROM t WHERE a = 77").unwrap();
    let reads = image.reads.load(Ordering::Relaxed);
    assert!(reads < 8 && image.pages() > 60, "{reads} reads of {} pages", image.pages());
}

#[test]
fn nothing_can_be_written() {
    let view = open(&image(4096, "WAL")).unwrap();
    for sql in
        ["DELETE FROM t", "PRAGMA user_version = 3", "CREATE TABLE u(x)", "VACUUM", "DROP TABLE t"]
    {
        assert!(view.connection().execute_batch(sql).is_err(), "{sql}");
    }
}

#[test]
fn a_sort_larger_than_the_cache_goes_to_a_temporary_file_and_comes_back() {
    let view = open(&image(4096, "DELETE")).unwrap();
    view.connection().execute_batch("PRAGMA temp_store = FILE").unwrap();
    let sql = "SELECT count(*) FROM (SELECT DISTINCT x.b || y.a FROM t x, t y ORDER BY 1)";
    assert_eq!(number(&view, sql).unwrap(), 40_000);
    view.connection()
        .execute_batch("CREATE TEMP TABLE u AS SELECT * FROM t x, t y; DROP TABLE u")
        .unwrap();
}

#[test]
fn what_the_provider_answers_is_an_error_that_can_be_asked_for() {
    let mut image = image(4096, "WAL");
    image.bad = Some(leaf(&image));
    let view = open(&image).unwrap();
    let e = number(&view, "SELECT sum(length(b)) FROM t NOT INDEXED").unwrap_err();
    assert_eq!(e.sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
    let cause = view.take_error().unwrap();
    assert_eq!((cause.kind(), cause.object()), (ErrorKind::Damaged, Some("data/x")));
    assert!(view.take_error().is_none());
    // Other pages are none the worse.
    assert_eq!(number(&view, "SELECT a FROM t WHERE a = 1").unwrap(), 1);
    // A page that can't be read at all: the database can't be opened.
    image.bad = Some(PageNo(1));
    assert_eq!(open(&image).err().map(|e| e.kind()), Some(ErrorKind::Damaged));
}

#[test]
fn a_panic_ends_at_the_border_and_is_an_error() {
    let mut image = image(4096, "WAL");
    image.cursed = Some(leaf(&image));
    let view = open(&image).unwrap();
    number(&view, "SELECT sum(length(b)) FROM t NOT INDEXED").unwrap_err();
    let cause = view.take_error().unwrap();
    assert_eq!(cause.kind(), ErrorKind::Failure);
    assert!(std::error::Error::source(&cause).unwrap().to_string().contains("cursed"));
}

#[test]
fn several_are_attached_to_one_connection_and_answer_for_themselves() {
    let (mut first, second) = (image(4096, "WAL"), image(512, "DELETE"));
    first.bad = Some(leaf(&first));
    let mut view = open(&second).unwrap();
    view.attach("then", Box::new(first), 64 * 1024).unwrap();
    view.attach("again", Box::new(second.clone()), 64 * 1024).unwrap();
    let sql =
        "SELECT count(*) FROM main.t JOIN \"then\".t o USING(a) JOIN again.t USING(a) WHERE a < 3";
    assert_eq!(number(&view, sql).unwrap(), 2);
    number(&view, "SELECT sum(length(b)) FROM \"then\".t NOT INDEXED").unwrap_err();
    assert_eq!(view.take_error().unwrap().kind(), ErrorKind::Damaged);
    assert!(view.attach("main", Box::new(second), 0).is_err());
}

#[test]
fn a_file_that_is_open_outlives_what_served_it() {
    let image = image(4096, "WAL");
    let served = Served::begin(Box::new(image.clone())).unwrap();
    let uri = served.uri().unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let stranger = Connection::open_with_flags(&uri, flags).unwrap();
    drop(served);
    let sum = |db: &Connection| db.query_row("SELECT sum(a) FROM t", [], |r| r.get::<_, i64>(0));
    assert_eq!(sum(&stranger).unwrap(), 20_100);
    let again = Connection::open_with_flags(&uri, flags).and_then(|db| sum(&db));
    assert!(again.is_err());
    drop(stranger);
    assert_eq!(Arc::strong_count(&image.bytes), 1);
}

#[test]
fn views_are_used_by_many_threads_at_once_and_move_between_them() {
    let image = image(4096, "WAL");
    let views: Vec<View> = (0..8).map(|_| open(&image).unwrap()).collect();
    let threads = views.into_iter().map(|view| {
        std::thread::spawn(move || {
            for _ in 0..20 {
                assert_eq!(number(&view, "SELECT sum(a) FROM t").unwrap(), 20_100);
            }
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

#[test]
fn a_database_without_pages_is_empty() {
    let image = Image { bytes: Arc::default(), ..image(4096, "WAL") };
    let view = open(&image).unwrap();
    assert_eq!(number(&view, "SELECT count(*) FROM sqlite_schema").unwrap(), 0);
}
