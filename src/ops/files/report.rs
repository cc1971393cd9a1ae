//! What keeping and restoring files came to.

use std::fmt;
use std::path::PathBuf;

use crate::ops::backup::BackupReport;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) files: u64,
    pub(crate) folders: u64,
    pub(crate) links: u64,
    /// Bytes of the files.
    pub(crate) bytes: u64,
    /// Files that were read.
    pub(crate) read: u64,
    /// Names that are new or changed.
    pub(crate) changed: u64,
    /// Names that are gone.
    pub(crate) removed: u64,
    /// Names that stay as they were stored, since they could not be read.
    pub(crate) held: u64,
}

/// Why a file is not in the archive as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The system does not let it be read.
    Unread(String),
    /// It changed whenever it was read.
    Moving,
    /// It is larger than SQLite takes.
    TooLarge { size: u64, most: u64 },
    /// It is a database.
    Database,
    /// It was named, and is not there.
    Missing,
    /// It is no file, folder or link.
    Special(&'static str),
}

impl Why {
    /// A stable word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Unread(_) => "unread",
            Self::Moving => "changing",
            Self::TooLarge { .. } => "too-large",
            Self::Database => "database",
            Self::Missing => "missing",
            Self::Special(_) => "special",
        }
    }

    /// Whether something is not kept that should be.
    pub(crate) fn is_trouble(&self) -> bool {
        !matches!(self, Self::Special(_))
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) => write!(f, "cannot be read: {why}"),
            Self::Moving => f.write_str("changed whenever it was read"),
            Self::TooLarge { size, most } => {
                write!(f, "has {size} bytes, and SQLite takes no file of more than {most}")
            }
            Self::Database => f.write_str(
                "is a SQLite database, of which a copied file is no backup: keep it by itself, or leave it out",
            ),
            Self::Missing => f.write_str("is not there"),
            Self::Special(what) => write!(f, "is {what}, and is passed over"),
        }
    }
}

/// A file that is not in the archive as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PassedOver {
    pub(crate) path: PathBuf,
    pub(crate) why: Why,
    /// Whether the archive has what was stored of it before.
    pub(crate) is_held: bool,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.is_held { "; what was stored of it before stays" } else { "" };
        write!(f, "{}: {}{held}", self.path.display(), self.why)
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct FilesReport {
    pub(crate) backup: BackupReport,
    pub(crate) tally: Tally,
    pub(crate) passed_over: Vec<PassedOver>,
}

/// A name that is not restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// What a restore came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restored {
    pub(crate) files: u64,
    pub(crate) folders: u64,
    pub(crate) links: u64,
    /// Bytes of the files.
    pub(crate) bytes: u64,
    /// How many have not the owner or the time that they had.
    pub(crate) undressed: u64,
    pub(crate) refused: Vec<Refused>,
}
