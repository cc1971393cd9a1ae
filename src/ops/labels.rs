//! Labels beside records of labels that can't be read.
//!
//! Invariants: a label that can be read is found, whatever is the matter with another one, and what
//! that may have said is said. Only a label that is not among those that can be read ends with an
//! error.

use crate::error::{Error, ErrorKind};
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::history::handle::History;

/// What a record that can't be read may have meant, for whoever goes on without it.
pub(crate) fn passed_over(history: &History, e: &Error) -> Advice {
    let seq = e.object().and_then(|object| history.names().parse_snapshot(object));
    let of = seq.map_or(String::new(), |(seq, _)| format!(" of commit {seq}"));
    advice![
        format!("{e}; a label{of} was given or taken back by it, and does not count; "),
        &next(history, e),
    ]
}

/// That a label is not among those that can be read; `None` if all can be.
pub(crate) fn not_readable(history: &History, label: &str, unread: &[Error]) -> Option<Error> {
    let (first, others) = unread.split_first()?;
    let more = match others.len() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    let what = format!(
        "{}{more}; {label:?} is not among the labels that can be read, and may be this one",
        first.message()
    );
    Some(
        Error::new(first.kind(), what)
            .with_object(first.object().unwrap_or_default())
            .with_hint(next(history, first)),
    )
}

fn next(history: &History, e: &Error) -> Advice {
    match (e.hint(), e.kind()) {
        (Some(hint), _) => hint.clone(),
        (None, ErrorKind::TooNew) => Advice::from("a newer pagekeep can read it"),
        (None, _) => {
            advice![Remedy::examine(history.name()), " says what can be done about it"]
        }
    }
}
