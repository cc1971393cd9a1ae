//! The log of a daemon on standard error: lines for people, lines for systemd's journal, or with
//! `--json` one object a line.
//!
//! Invariant: nothing that a terminal obeys reaches it from names, paths and messages.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::context::Context;
use super::output::second;
use super::terminal::printable;
use crate::types::Timestamp;

/// Begins to write the log.
pub(crate) fn begin(context: &Context) {
    let level = match (context.out.quiet, context.out.verbose) {
        (true, _) => Level::WARN,
        (_, true) => Level::DEBUG,
        _ => Level::INFO,
    };
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    if context.out.json {
        log.json().flatten_event(true).with_current_span(false).with_target(false).init();
    } else {
        // The journal knows times, and reads how grave a line is from its beginning.
        let is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
        let is_terminal = std::io::stderr().is_terminal();
        log.event_format(Lines { is_journal: is_journal && !is_terminal }).init();
    }
}

/// One line for each event: when, how grave, which database, what.
struct Lines {
    is_journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut told = Told::default();
        event.record(&mut told);
        let level = *event.metadata().level();
        if self.is_journal {
            let grave = match level {
                Level::ERROR => 3,
                Level::WARN => 4,
                Level::INFO => 6,
                _ => 7,
            };
            write!(writer, "<{grave}>")?;
        } else {
            let word = match level {
                Level::ERROR => "error",
                Level::WARN => "warn ",
                Level::INFO => "info ",
                _ => "debug",
            };
            write!(writer, "{} {word} ", second(Timestamp::now()))?;
        }
        if !told.of.is_empty() {
            write!(writer, "{}: ", printable(&told.of))?;
        }
        write!(writer, "{}", printable(&told.message))?;
        for (what, id) in [("job", &told.job), ("request", &told.request)] {
            if !id.is_empty() {
                write!(writer, " ({what} {id})")?;
            }
        }
        writeln!(writer)
    }
}

/// What an event tells.
#[derive(Default)]
struct Told {
    /// The database or the repository that it is about.
    of: String,
    job: String,
    request: String,
    message: String,
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let into = match field.name() {
            "message" => &mut self.message,
            "database" | "repository" => &mut self.of,
            "job" => &mut self.job,
            "request" => &mut self.request,
            // What programs want to know stands in the words for people.
            _ => return,
        };
        // Writing to a text never fails.
        let _ = write!(into, "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
