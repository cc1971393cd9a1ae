//! The flags of `query`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::when::when;
use crate::policy::typed::{parse_interval, parse_size};

/// Ask a moment with SQL, without restoring it
///
/// Pages are read as the question needs them, and each is compared with its digest. The moment is
/// read only: SQL can't write, attach files or load extensions. Without SQL there is a prompt, or,
/// where nobody types, standard input is read. Temporary tables can't be made; what does not fit
/// into memory while it is sorted goes to the system's folder for temporary files.
#[derive(Args, Debug)]
#[command(after_help = when!("Examples:
  pagekeep query app \"SELECT count(*) FROM orders\"
  pagekeep query \"app@2h ago\"                          # a prompt
  pagekeep query app@seq:17 \"SELECT * FROM orders\" --format csv > orders.csv
  pagekeep query app --attach \"old=app@yesterday\" \\
    \"SELECT * FROM old.orders WHERE id NOT IN (SELECT id FROM main.orders)\""))]
pub(crate) struct QueryArgs {
    /// The history, and which commit of it: `main` in SQL
    #[arg(value_name = "NAME[@WHEN]")]
    pub(crate) target: String,
    /// What to ask; several statements with ; between them
    pub(crate) sql: Option<String>,
    /// Another moment, also of another history, by the name that SQL shall have for it; may be
    /// repeated, ten times at most
    #[arg(long, value_name = "AS=NAME[@WHEN]", value_parser = parse_attached)]
    pub(crate) attach: Vec<Attached>,
    /// How rows are printed [default: table]
    #[arg(long, value_enum, conflicts_with = "json")]
    pub(crate) format: Option<FormatArg>,
    /// How long a statement may take, such as 10s; 0 for as long as it takes
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "60s")]
    pub(crate) timeout: Duration,
    /// Print so many rows of a statement at most
    #[arg(long, value_name = "N")]
    pub(crate) max_rows: Option<u64>,
    /// How much memory SQLite may take, caches included; a single value a quarter of it
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, default_value = "256MiB")]
    pub(crate) memory: u64,
    /// How much memory may hold pages and what finds them, of all moments together
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, default_value = "32MiB")]
    pub(crate) cache: u64,
}

/// A moment and its name in SQL.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) name: String,
    pub(crate) target: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// Columns, aligned, for people
    #[default]
    Table,
    /// Comma-separated values, the names of the columns first (RFC 4180)
    Csv,
    /// One JSON array of objects for each statement
    Json,
    /// One JSON object a row
    Ndjson,
    /// One line a value
    Line,
}

/// Below a few MiB SQLite can't even open a database.
fn parse_memory(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|n| match n {
        0x80_0000.. => Ok(n),
        _ => Err("the limit is at least 8MiB".to_owned()),
    })
}

fn parse_attached(text: &str) -> Result<Attached, String> {
    match text.split_once('=') {
        Some((name, target)) if !name.is_empty() && !target.is_empty() => {
            Ok(Attached { name: name.to_owned(), target: target.to_owned() })
        }
        _ => Err("not of the form AS=NAME[@WHEN], such as old=app@yesterday".to_owned()),
    }
}
