//! The job that compares a live database with what was captured.
//!
//! Invariant: "can't tell" is not "differs". Where nobody followed the database, an ordinary
//! transaction makes a difference, too.

use super::job::{Ended, Order, Outcome};
use crate::count::counted;
use crate::error::Result;
use crate::ops::drift::{Drift, Verdict};
use crate::progress::Monitor;

/// How many tables are named.
const NAMED: usize = 5;

impl Order {
    /// Compares the live database with its newest commit.
    pub(super) fn compare(&self, monitor: &dyn Monitor) -> Result<Outcome> {
        let (_, drift) = self.repository.drift(&self.path, Some(&self.name), monitor)?;
        Ok(told(&drift))
    }
}

/// What a comparison came to, in words.
fn told(drift: &Drift) -> Outcome {
    let of = format!("{} compared with seq:{}", counted(drift.pages, "page"), drift.seq);
    let differs = match drift.differing {
        0 => "the size differs".to_owned(),
        1 => "1 page differs".to_owned(),
        n => format!("{n} pages differ"),
    };
    match drift.verdict() {
        Verdict::Same => Outcome::well(format!("{of}: no drift")),
        Verdict::Unknown => Outcome {
            ended: Ended::Unknown,
            message: format!(
                "{of}: {differs}, and nobody can tell whether a transaction made that, since none followed the database all the time"
            ),
        },
        Verdict::Drifted => {
            let mut tables: Vec<&str> = drift.tables.keys().map(String::as_str).collect();
            let more = tables.len().saturating_sub(NAMED);
            tables.truncate(NAMED);
            let within = match (tables.is_empty(), more) {
                (true, _) => String::new(),
                (_, 0) => format!(", of {}", tables.join(", ")),
                (_, n) => format!(", of {} and {n} more", tables.join(", ")),
            };
            let unsound =
                drift.unsound.first().map_or(String::new(), |why| format!("; SQLite says: {why}"));
            let message =
                format!("{of}: {differs}{within}, and no transaction explains it{unsound}");
            Outcome { ended: Ended::Found, message }
        }
    }
}
