//! What somebody should be told of: conditions that hold, and things that happened. Pure.
//!
//! [`judge`] finds out what holds now; [`course`] remembers of each alert who was told what, and
//! says what is to be told next; [`quiet`] knows the hours at which nobody wants to hear of it.

pub(crate) mod course;
pub(crate) mod judge;
pub(crate) mod quiet;

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is wrong, or happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// What is stored is damaged, or a verification found something, and no later one cleared that.
    Damage,
    /// The live database changed without a transaction.
    Drift,
    /// The repository was set back to an earlier state.
    Rollback,
    /// Not all was stored for longer than was promised.
    NotStored,
    /// The database can't be captured now.
    NotCaptured,
    /// A mirror has not had everything for longer than was promised.
    NotCopied,
    /// The repository can't be opened or reached.
    Unreachable,
    /// A job failed several times in a row.
    Failing,
    /// The newest proof is older than was promised.
    ProofOverdue,
    /// What was committed waits too long for being stored.
    Lag,
    /// There is little space left.
    LowSpace,
    /// A clock is wrong.
    WrongClock,
    /// Times of a schedule passed and nobody was there.
    MissedRun,
    /// Transactions were given up as single ones: one commit has what they came to.
    Gap,
    /// Much of a database was deleted at once.
    LargeDeletion,
    /// Something that is no SQLite wrote to the database's file, and a commit has what it wrote.
    Overwritten,
}

impl Kind {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 16] = [
        Self::Damage,
        Self::Drift,
        Self::Rollback,
        Self::NotStored,
        Self::NotCaptured,
        Self::NotCopied,
        Self::Unreachable,
        Self::Failing,
        Self::ProofOverdue,
        Self::Lag,
        Self::LowSpace,
        Self::WrongClock,
        Self::MissedRun,
        Self::Gap,
        Self::LargeDeletion,
        Self::Overwritten,
    ];

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Drift => "drift",
            Self::Rollback => "rollback",
            Self::NotStored => "not-stored",
            Self::NotCaptured => "not-captured",
            Self::NotCopied => "not-copied",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::ProofOverdue => "proof-overdue",
            Self::Lag => "lag",
            Self::LowSpace => "low-space",
            Self::WrongClock => "wrong-clock",
            Self::MissedRun => "missed-run",
            Self::Gap => "gap",
            Self::LargeDeletion => "large-deletion",
            Self::Overwritten => "overwritten",
        }
    }

    /// What it says about its subject, in a few words.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Damage => "damage was found",
            Self::Drift => "the live database changed without a transaction",
            Self::Rollback => "the repository was set back",
            Self::NotStored => "not all is stored",
            Self::NotCaptured => "can't be captured",
            Self::NotCopied => "a mirror lacks something",
            Self::Unreachable => "the repository can't be reached",
            Self::Failing => "a job fails again and again",
            Self::ProofOverdue => "the proof is overdue",
            Self::Lag => "what is committed is stored late",
            Self::LowSpace => "there is little space left",
            Self::WrongClock => "a clock is wrong",
            Self::MissedRun => "scheduled runs were missed",
            Self::Gap => "single transactions were given up",
            Self::LargeDeletion => "much was deleted at once",
            Self::Overwritten => "something other than SQLite wrote to the file",
        }
    }

    /// What to do about it.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::Damage => {
                "Keep the database's file as it is. Verify the history and look at what is found. If \
                 nothing is stored any more: stop the daemon, look at what a repair would do, repair \
                 the history, and start the daemon again."
            }
            Self::Drift => {
                "Look at the disk and the memory of the machine, and at what writes to the file besides \
                 SQLite. The state that was captured can be restored; keep a copy of the file first."
            }
            Self::Rollback => {
                "Find out who restored or replaced the repository, and put it back as it was. If it \
                 was set back on purpose, accept that."
            }
            Self::NotStored => {
                "Look at the daemon's log: until this ends, a restore brings an older state back."
            }
            Self::NotCaptured => {
                "Check that the database's file is there, and that the daemon may read it."
            }
            Self::NotCopied => "Check that the mirror's disk is mounted and has room, and its key.",
            Self::Unreachable => "Check that the repository's disk is mounted, and its key.",
            Self::Failing => "Look at the message of the job; it is tried again by itself.",
            Self::ProofOverdue => "Verify the history, and check when its verifications are due.",
            Self::Lag => "Check whether the repository's storage is slow.",
            Self::LowSpace => "Make room, or let more expire by a policy.",
            Self::WrongClock => "Set the clock of this machine, and of the repository's storage.",
            Self::MissedRun => {
                "One run made up for them. If this is no surprise (a machine that was off), do \
                 nothing."
            }
            Self::Gap => {
                "Nothing of the newest state is missing, but states between the two commits can't be \
                 restored. Find out what replaced the file or its WAL."
            }
            Self::LargeDeletion => {
                "If it was no intention: the state before it has a label, and can be restored."
            }
            Self::Overwritten => {
                "The newest commit has what was written, and the one before it has not. If nobody copied \
                 or restored a file there on purpose: compare the two, restore the one before, and look \
                 at the disk and at what writes to the file."
            }
        }
    }

    /// How bad it is.
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::Damage | Self::Drift | Self::Rollback | Self::NotStored | Self::Overwritten => {
                Severity::Critical
            }
            Self::NotCaptured
            | Self::NotCopied
            | Self::Unreachable
            | Self::Failing
            | Self::ProofOverdue
            | Self::Lag
            | Self::LowSpace
            | Self::WrongClock
            | Self::LargeDeletion => Severity::Warning,
            Self::MissedRun | Self::Gap => Severity::Notice,
        }
    }

    /// Whether it happens, and does not last: it has no end that could be told.
    pub(crate) const fn is_event(self) -> bool {
        matches!(
            self,
            Self::WrongClock
                | Self::MissedRun
                | Self::Gap
                | Self::LargeDeletion
                | Self::Overwritten
        )
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// Good to know.
    Notice,
    /// Somebody should look, today or tomorrow.
    Warning,
    /// Data may be lost if nobody does anything.
    Critical,
}

impl Severity {
    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Which alert it is: of several of one kind and subject the detail tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Key {
    /// What it is about.
    pub(crate) subject: Subject,
    /// What is wrong with it.
    pub(crate) kind: Kind,
    /// Which of several: the job that fails, the folder that is full; else empty.
    pub(crate) detail: String,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// The daemon and its machine.
    Daemon,
    /// A repository, by its name in the configuration.
    Repository(String),
    /// A database: its repository, and the name of its history.
    Database(String, String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("the daemon"),
            Self::Repository(name) => write!(f, "repository {name}"),
            Self::Database(_, name) => f.write_str(name),
        }
    }
}

/// What is known of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It holds, and why.
    Holds(String),
    /// It does not hold.
    Over,
    /// Nobody can tell now.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_alert_with_its_severity() {
        let document = include_str!("../../docs/alerts.md");
        for kind in Kind::ALL {
            let row = format!("| `{}` | {} |", kind.name(), kind.severity().name());
            assert!(document.contains(&row), "{row}");
            assert!(!kind.title().is_empty() && kind.advice().ends_with('.'), "{kind:?}");
        }
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let alerts = rows.filter(|row| {
            ["critical", "warning", "notice"].iter().any(|s| row.contains(&format!("| {s} |")))
        });
        assert_eq!(alerts.count(), Kind::ALL.len());
    }
}
