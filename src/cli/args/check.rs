//! What SQLite is asked about a restored file.

use clap::ValueEnum;

use crate::ops::restore::Check;

/// What the choice means.
pub(crate) fn check_of(choice: CheckArg) -> Check {
    match choice {
        CheckArg::None => Check::None,
        CheckArg::Quick => Check::Quick,
        CheckArg::Full => Check::Full,
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CheckArg {
    /// Nothing
    None,
    /// PRAGMA quick_check
    Quick,
    /// PRAGMA integrity_check, but for CHECK constraints
    Full,
}
