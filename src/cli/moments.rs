//! What the commands share that look along a history: their bounds, and how values and answers are
//! shown.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::{Value as Sql, ValueRef};

use super::args::BoundsArgs;
use super::context::Context;
use super::output::counted;
use super::query::format::cell;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::question::Answer;
use crate::ops::view::ViewOptions;
use crate::policy::guess::meant;
use crate::policy::selector::{Edge, Moment, Selector, TIMES};
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// How much memory SQLite may take.
const HEAP: i64 = 256 << 20;

impl BoundsArgs {
    pub(super) fn timeout(&self) -> Option<Duration> {
        Some(self.timeout).filter(|time| *time > Duration::ZERO)
    }

    pub(super) fn view(&self) -> ViewOptions {
        ViewOptions::default().cache_bytes(usize::try_from(self.cache).unwrap_or(usize::MAX))
    }
}

/// Limits what SQL may take of the memory: the heap of the process is SQLite's.
///
/// # Errors
/// [`ErrorKind::Failure`] when SQLite takes no limit.
pub(super) fn limit_heap() -> Result<()> {
    Connection::open_in_memory()
        .and_then(|db| db.pragma_update_and_check(None, "hard_heap_limit", HEAP, |_| Ok(())))
        .map_err(|e| Error::new(ErrorKind::Failure, "SQLite takes no limits").with_source(e))
}

/// The commit that a flag names.
pub(super) fn named(
    context: &Context,
    history: &History,
    chain: &Chain,
    when: Option<&str>,
) -> Result<Option<Seq>> {
    let choose = |when: &str| {
        let selector = Selector::parse(when, &super::context::now())?;
        context.choose(history, chain, &selector).map(|commit| commit.seq)
    };
    when.map(choose).transpose()
}

/// The time that a flag names; of a day, its beginning or its end.
pub(super) fn moment(text: Option<&str>, edge: Edge) -> Result<Option<Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    match Moment::parse(text, &super::context::now(), edge)? {
        Some(moment) => Ok(Some(moment.time)),
        None => {
            let guess = meant(text).map_or(String::new(), |guess| format!("{guess}; "));
            Err(Error::new(ErrorKind::Usage, "is not a time")
                .with_object(format!("{text:?}"))
                .with_hint(format!("{guess}{TIMES}")))
        }
    }
}

/// A value as people are shown it.
pub(super) fn shown(value: &Sql) -> String {
    cell(ValueRef::from(value))
}

/// An answer in a line.
pub(super) fn in_words(answer: &Answer) -> String {
    match answer {
        Answer::Nothing(said) => said.clone(),
        Answer::Rows(rows) if rows.count == 0 => "no rows".to_owned(),
        Answer::Rows(rows) => {
            let values: Vec<String> = rows.first.iter().map(shown).collect();
            let more = if rows.columns > rows.first.len() { ", …" } else { "" };
            let values = format!("{}{more}", values.join(", "));
            match rows.count {
                1 => values,
                n => format!("{}, the first: {values}", counted(n, "row")),
            }
        }
    }
}
