//! Which commits are worth a restore point of the state before them: those that change the schema,
//! and those that free much of the database at once.
//!
//! Page 1 of a database tells, beside its size:
//!
//! | offset | field |
//! |---|---|
//! | 0 | `SQLite format 3` and a zero byte |
//! | 36 | how many pages are free, big-endian |
//! | 40 | the schema cookie, which SQLite counts up whenever the schema changes, big-endian |
//!
//! Pure: nothing is read here.
//!
//! Invariants:
//! - A commit that leaves the cookie as it was, and as many pages in use or more, is marked never.
//! - `VACUUM` frees nothing that was in use. SQLite counts it as a change of the schema, and page 1
//!   can't tell it from one.
//! - However often the schema changes, marks stay few: what follows within a minute of a mark
//!   belongs to the same migration, and a day has at most so many marks of one cause.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{PageSize, Seq, Timestamp};

/// How long a mark lasts, unless another time is asked for.
pub const LASTS: Duration = Duration::from_secs(30 * 24 * 3600);
/// What comes so soon before or after a mark of the same cause belongs to the same migration.
const SAME: u64 = 60_000_000;
/// In so long there are at most so many marks of one cause: a schema that changes all day is at
/// work, and nobody migrates it.
const DAY: u64 = 24 * 3600 * 1_000_000;
const MOST: usize = 10;
/// So many pages have to be freed at least: of a tiny database nearly everything is a quarter.
const LEAST: u64 = 16;
/// The part of a database that is much of it.
const PART: u64 = 4;

/// What page 1 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Front {
    cookie: u32,
    free: u32,
}

/// A database as a whole: its schema cookie and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    cookie: u32,
    free: u32,
    pages: u32,
    page_size: PageSize,
}

/// Why the state before a commit is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The schema changed.
    SchemaChange,
    /// Much of the database was freed at once.
    LargeDelete,
}

impl Front {
    /// Reads page 1; `None` when it is not a database's.
    pub fn of(page: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = page.get(at..at.checked_add(4)?)?;
            bytes.try_into().ok().map(u32::from_be_bytes)
        };
        if !page.starts_with(b"SQLite format 3\0") {
            return None;
        }
        Some(Self { free: word(36)?, cookie: word(40)? })
    }

    /// The database that has this page 1.
    pub fn shape(self, pages: u32, page_size: PageSize) -> Shape {
        Shape { cookie: self.cookie, free: self.free, pages, page_size }
    }
}

impl Shape {
    /// A database without pages.
    pub fn empty(page_size: PageSize) -> Self {
        Self { cookie: 0, free: 0, pages: 0, page_size }
    }

    /// The same database, which has so many pages now.
    pub fn resized(self, pages: u32) -> Self {
        Self { pages, ..self }
    }

    /// Whether it has no table yet: each has a page of its own beside page 1.
    pub fn is_bare(&self) -> bool {
        self.used() <= 1
    }

    /// Whether it is as small as one whose application is making its tables right now.
    pub fn is_small(&self) -> bool {
        self.used() < LEAST
    }

    /// Pages in use.
    fn used(&self) -> u64 {
        self.pages.saturating_sub(self.free).into()
    }
}

/// Why the state before a commit is worth a mark; of two causes the one that tells more first.
pub fn causes(before: &Shape, after: &Shape) -> Vec<Cause> {
    let page = |shape: &Shape| u64::from(shape.page_size.get());
    let in_use = |shape: &Shape| shape.used().saturating_mul(page(shape));
    // A VACUUM may change the page size.
    let freed = in_use(before).saturating_sub(in_use(after));
    let size = u64::from(before.pages).saturating_mul(page(before));
    let is_much = freed.saturating_mul(PART) >= size && freed >= LEAST * page(before);
    let found =
        [(before.cookie != after.cookie, Cause::SchemaChange), (is_much, Cause::LargeDelete)];
    found.into_iter().filter_map(|(is_so, cause)| is_so.then_some(cause)).collect()
}

/// The cause that a commit is marked for, beside the marks that there are, each with the time of
/// the commit that it was for; `None` if those are enough.
pub fn due(causes: &[Cause], time: Timestamp, marks: &[(Cause, Timestamp)]) -> Option<Cause> {
    let is_due = |cause: &&Cause| {
        // A clock that was set back makes no marks.
        let away = marks.iter().filter(|(of, _)| of == *cause).map(|(_, t)| t.0.abs_diff(time.0));
        let near: Vec<u64> = away.filter(|away| *away < DAY).collect();
        near.len() < MOST && near.iter().all(|away| *away >= SAME)
    };
    causes.iter().find(is_due).copied()
}

impl Cause {
    /// Every cause.
    const ALL: [Self; 2] = [Self::SchemaChange, Self::LargeDelete];

    /// How a label of it begins.
    const fn words(self) -> &'static str {
        match self {
            Self::SchemaChange => "before-schema-change-",
            Self::LargeDelete => "before-large-delete-",
        }
    }

    /// The label of the state before a commit.
    pub fn label(self, commit: Seq) -> String {
        format!("{self}{commit}")
    }

    /// The cause that a label names, and the commit that it was for.
    pub fn of_label(label: &str) -> Option<(Self, Seq)> {
        let named = |cause: Self| {
            let rest = label.strip_prefix(cause.words())?;
            let number = rest.split_once('-').map_or(rest, |(number, _)| number);
            number.parse().ok().map(|seq| (cause, Seq(seq)))
        };
        Self::ALL.into_iter().find_map(named)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cause::{LargeDelete, SchemaChange};

    fn shape(cookie: u32, pages: u32, free: u32) -> Shape {
        Front { cookie, free }.shape(pages, PageSize::DEFAULT)
    }

    /// What happened; cookie, pages and free pages before and after; what calls for a mark.
    type Case = (&'static str, [u32; 3], [u32; 3], &'static [Cause]);

    const TABLE: [Case; 21] = [
        ("nothing", [5, 100, 0], [5, 100, 0], &[]),
        ("an insert that grows it", [5, 100, 0], [5, 900, 0], &[]),
        ("an insert into free pages", [5, 100, 60], [5, 100, 2], &[]),
        ("a small delete", [5, 100, 0], [5, 100, 24], &[]),
        ("a quarter deleted", [5, 100, 0], [5, 100, 25], &[LargeDelete]),
        ("a quarter of what it is, free pages counted", [5, 100, 60], [5, 100, 84], &[]),
        ("all the rest deleted", [5, 100, 60], [5, 100, 98], &[LargeDelete]),
        ("a quarter of a tiny one", [5, 60, 0], [5, 60, 15], &[]),
        ("of one that is as small as may be", [5, 60, 0], [5, 60, 16], &[LargeDelete]),
        ("a quarter, auto_vacuum cut it off", [5, 100, 0], [5, 75, 0], &[LargeDelete]),
        ("less than a quarter, cut off", [5, 100, 0], [5, 76, 0], &[]),
        ("incremental_vacuum of free pages", [5, 100, 60], [5, 40, 0], &[]),
        ("a vacuum of free pages", [5, 100, 60], [6, 40, 0], &[SchemaChange]),
        ("a column more", [5, 100, 0], [6, 100, 0], &[SchemaChange]),
        ("several statements in one transaction", [5, 100, 0], [9, 120, 0], &[SchemaChange]),
        ("a small table dropped", [5, 100, 0], [6, 100, 3], &[SchemaChange]),
        ("a large table dropped", [5, 100, 0], [6, 100, 70], &[SchemaChange, LargeDelete]),
        ("a cookie that was set back", [5, 100, 0], [1, 100, 0], &[SchemaChange]),
        ("one that begins anew", [u32::MAX, 100, 0], [0, 100, 0], &[SchemaChange]),
        ("emptied", [5, 100, 0], [0, 0, 0], &[SchemaChange, LargeDelete]),
        ("more free pages than pages", [5, 100, 0], [5, 100, u32::MAX], &[LargeDelete]),
    ];

    #[test]
    fn page_1_tells_what_is_worth_a_mark() {
        for (what, before, after, expected) in TABLE {
            let [before, after] = [before, after].map(|[cookie, pages, free]| {
                assert!(
                    pages != 0 || Shape::empty(PageSize::DEFAULT) == shape(cookie, pages, free)
                );
                shape(cookie, pages, free)
            });
            assert_eq!(causes(&before, &after), expected, "{what}");
            assert_eq!(causes(&before, &before), [], "{what}");
        }
    }

    #[test]
    fn the_sizes_of_two_page_sizes_are_compared_in_bytes() {
        let of =
            |pages, size| Front { cookie: 1, free: 0 }.shape(pages, PageSize::new(size).unwrap());
        assert_eq!(causes(&of(1000, 1024), &of(250, 4096)), []);
        assert_eq!(causes(&of(1000, 1024), &of(187, 4096)), [LargeDelete]);
        assert_eq!(causes(&of(100, 4096), &of(100, 1024)), [LargeDelete]);
        assert_eq!(causes(&of(u32::MAX, 65536), &of(1, 512)), [LargeDelete]);
    }

    #[test]
    fn a_database_without_tables_is_bare() {
        for (shape, is_bare) in [
            (shape(0, 0, 0), true),
            (shape(0, 1, 0), true),
            (shape(7, 9, 8), true),
            (shape(0, 2, 0), false),
        ] {
            assert_eq!(shape.is_bare(), is_bare, "{shape:?}");
            assert!(shape.is_small());
        }
        assert!(shape(9, 20, 5).is_small() && !shape(9, 20, 4).is_small());
    }

    #[test]
    fn only_page_1_of_a_database_says_something() {
        let mut page = vec![0; 512];
        assert_eq!(Front::of(&page), None);
        page[..16].copy_from_slice(b"SQLite format 3\0");
        page[36..44].copy_from_slice(&[0, 0, 1, 2, 9, 0, 0, 3]);
        let front = Front { free: 258, cookie: 0x0900_0003 };
        assert_eq!(Front::of(&page), Some(front));
        assert_eq!(Front::of(&page[..44]), Some(front));
        (0..44).for_each(|len| assert_eq!(Front::of(&page[..len]), None, "{len}"));
        page[0] ^= 1;
        assert_eq!(Front::of(&page), None);
    }

    #[test]
    fn what_comes_within_a_minute_belongs_to_the_same_migration() {
        let second = |n: i64| Timestamp(n * 1_000_000);
        let marks = [(SchemaChange, second(1000))];
        for (at, expected) in [(1000, None), (1059, None), (941, None), (1060, Some(SchemaChange))]
        {
            assert_eq!(due(&[SchemaChange], second(at), &marks), expected, "{at}");
            assert_eq!(due(&[LargeDelete], second(at), &marks), Some(LargeDelete), "{at}");
        }
        // The other cause of the same commit is judged by itself.
        let both = [SchemaChange, LargeDelete];
        assert_eq!(due(&both, second(1001), &marks), Some(LargeDelete));
        assert_eq!(due(&both, second(2000), &marks), Some(SchemaChange));
        assert_eq!(due(&[], second(2000), &marks), None);
        assert_eq!(
            due(&both, Timestamp(i64::MIN), &[(LargeDelete, Timestamp(i64::MAX))]),
            Some(SchemaChange)
        );
    }

    #[test]
    fn a_schema_that_changes_all_day_is_marked_ten_times() {
        let (mut marks, mut made) = (Vec::new(), Vec::new());
        for minute in 0..3 * 24 * 60 {
            let time = Timestamp(minute * 60_000_000);
            if let Some(cause) = due(&[SchemaChange], time, &marks) {
                marks.push((cause, time));
                made.push(minute);
            }
        }
        assert_eq!(made.len(), 30, "{made:?}");
        assert_eq!(made[..11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 24 * 60]);
    }

    #[test]
    fn a_label_tells_its_cause_and_its_commit() {
        for cause in Cause::ALL {
            let label = cause.label(Seq(124));
            assert_eq!(Cause::of_label(&label), Some((cause, Seq(124))));
            assert_eq!(Cause::of_label(&format!("{label}-2")), Some((cause, Seq(124))));
            assert!(crate::policy::selector::check_reachable(&label).is_ok());
        }
        assert_eq!(SchemaChange.label(Seq(123)), "before-schema-change-123");
        assert_eq!(LargeDelete.label(Seq(124)), "before-large-delete-124");
        for other in ["", "before-schema-change-", "before-large-delete-x", "before 2.0"] {
            assert_eq!(Cause::of_label(other), None, "{other}");
        }
    }
}
