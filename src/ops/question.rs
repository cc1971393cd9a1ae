//! One question, asked of one restore point after the other, and answers that can be compared.
//!
//! Invariant: two answers are equal if and only if all their rows are, value by value and in their
//! order; of large ones a digest is kept and not the rows. A table or a column that is not there
//! yet is an answer. A page that can't be read is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::query::{Answers, Asked, Limits, Next};
use crate::ops::view::ViewOptions;
use crate::progress::Monitor;
use crate::sqlite::check::is_about_schema;
use crate::types::{Seq, Timestamp};

/// The largest value or row that a question may make.
const VALUE_BYTES: usize = 64 * 1024 * 1024;
/// How many values of the first row are kept to be shown.
const SHOWN: usize = 16;
/// How many bytes of a value are kept to be shown.
const SHOWN_BYTES: usize = 1024;
/// How soon a stop ends a statement.
const TICK: Duration = Duration::from_millis(50);

/// What a question came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// Rows.
    Rows(Rows),
    /// There is no answer, as SQLite says: `no such table: orders`.
    Nothing(String),
}

/// The rows that a question came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rows {
    /// How many there are.
    pub count: u64,
    /// The first row, to be shown: its first values, of which long ones are cut.
    pub first: Vec<Value>,
    /// How many columns the first row has.
    pub columns: usize,
    /// Of all values.
    digest: [u8; 32],
    is_true: bool,
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        (self.count, self.digest) == (other.count, other.digest)
    }
}

impl Answer {
    /// Whether the first value of the first row is true: a number other than zero.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Rows(rows) if rows.is_true)
    }
}

/// What a question came to at a restore point.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reply {
    /// The commit.
    pub seq: Seq,
    /// When it was captured.
    pub time: Timestamp,
    /// The answer there.
    pub answer: Answer,
}

/// A question, and what asking it may take.
pub(super) struct Question<'q> {
    pub(super) sql: &'q str,
    pub(super) view: ViewOptions,
    /// How long a statement may take.
    pub(super) timeout: Option<Duration>,
    /// Set when a stop was asked for.
    pub(super) stop: Arc<AtomicBool>,
}

impl Question<'_> {
    /// Asks a restore point.
    ///
    /// # Errors
    /// As [`RestorePoint::open`] and [`Asked::run`], but for tables and columns that are not there.
    pub(super) fn ask(&self, point: &RestorePoint) -> Result<Reply> {
        let limits = Limits { time: self.timeout, value_bytes: VALUE_BYTES };
        let stop = self.stop.clone();
        let asked =
            Asked::new(point.open(&self.view)?, limits, move || stop.load(Ordering::Relaxed))?;
        let mut taken = Taken::default();
        let answer = match asked.run(self.sql, &mut taken) {
            Ok(()) => Answer::Rows(taken.rows()),
            Err(e) if e.kind() == ErrorKind::Usage && is_about_schema(e.message()) => {
                Answer::Nothing(e.message().to_owned())
            }
            Err(e) => return Err(e),
        };
        if self.stop.load(Ordering::Relaxed) {
            return Err(crate::progress::stopped());
        }
        Ok(Reply { seq: point.seq(), time: point.time(), answer })
    }
}

/// Does something with a flag that is set when a monitor asks for a stop, also amid a statement.
pub(super) fn stoppable<T>(
    monitor: &dyn Monitor,
    work: impl FnOnce(&Arc<AtomicBool>) -> Result<T>,
) -> Result<T> {
    let stop = Arc::new(AtomicBool::new(monitor.cancelled()));
    std::thread::scope(|scope| {
        let (over, wait) = crossbeam_channel::bounded::<()>(0);
        let flag = stop.clone();
        scope.spawn(move || {
            while wait.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                flag.fetch_or(monitor.cancelled(), Ordering::Relaxed);
            }
        });
        let done = work(&stop);
        drop(over);
        done
    })
}

/// Takes rows, of which it keeps little.
#[derive(Default)]
struct Taken {
    hasher: blake3::Hasher,
    columns: usize,
    count: u64,
    first: Option<(Vec<Value>, usize, bool)>,
}

impl Taken {
    fn rows(self) -> Rows {
        let (first, columns, is_true) = self.first.unwrap_or_default();
        let digest = *self.hasher.finalize().as_bytes();
        Rows { count: self.count, first, columns, digest, is_true }
    }

    fn take(&mut self, value: ValueRef<'_>) {
        let mut tagged = |tag: u8, bytes: &[u8]| {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.hasher.update(&[tag]).update(&len.to_le_bytes()).update(bytes);
        };
        match value {
            ValueRef::Null => tagged(0, &[]),
            ValueRef::Integer(n) => tagged(1, &n.to_le_bytes()),
            ValueRef::Real(x) => tagged(2, &x.to_bits().to_le_bytes()),
            ValueRef::Text(text) => tagged(3, text),
            ValueRef::Blob(blob) => tagged(4, blob),
        }
    }
}

impl Answers for Taken {
    fn begin(&mut self, columns: &[String]) -> Result<()> {
        self.columns = columns.len();
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> rusqlite::Result<Next> {
        self.count = self.count.saturating_add(1);
        for i in 0..self.columns {
            self.take(row.get_ref(i)?);
        }
        self.hasher.update(b"\n");
        if self.first.is_none() {
            let mut shown = Vec::new();
            for i in 0..self.columns.min(SHOWN) {
                shown.push(cut(row.get_ref(i)?));
            }
            let is_true = match shown.first() {
                Some(Value::Integer(n)) => *n != 0,
                Some(Value::Real(x)) => *x != 0.0,
                _ => false,
            };
            self.first = Some((shown, self.columns, is_true));
        }
        Ok(Next::Row)
    }

    fn end(&mut self) {
        self.hasher.update(b";");
    }
}

/// A value, as much of it as is shown.
pub(super) fn cut(value: ValueRef<'_>) -> Value {
    let short = |bytes: &[u8]| bytes.get(..SHOWN_BYTES).unwrap_or(bytes).to_vec();
    match value {
        ValueRef::Text(text) if text.len() > SHOWN_BYTES => match std::str::from_utf8(text) {
            Ok(whole) => {
                let end = whole.floor_char_boundary(SHOWN_BYTES);
                Value::Text(format!("{}…", whole.get(..end).unwrap_or_default()))
            }
            Err(_) => Value::Blob(short(text)),
        },
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(whole) => Value::Text(whole.to_owned()),
            Err(_) => Value::Blob(text.to_vec()),
        },
        ValueRef::Blob(blob) => Value::Blob(short(blob)),
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Integer(n),
        ValueRef::Real(x) => Value::Real(x),
    }
}

/// The error of a question that has no answer at either end.
pub(super) fn unanswered(said: &str) -> Error {
    let hint = "`SELECT sql FROM sqlite_schema` shows what there is at a moment";
    Error::new(ErrorKind::Usage, format!("{said}, neither at the beginning nor at the end"))
        .with_object("SQL")
        .with_hint(hint)
}
