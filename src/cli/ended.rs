//! How a command ends.

/// What a command ended with, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All is well.
    Well,
    /// A verification or comparison found damage.
    Damaged,
    /// An assertion does not hold, and nothing is damaged.
    Refuted,
}
