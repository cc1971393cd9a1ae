//! The kinds of jobs.

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Captures the database as it is.
    Backup,
    /// Keeps the files of the application.
    Files,
    /// Opens what is stored and compares it.
    VerifyData,
    /// Restores the newest commit to scratch space, and asks it.
    VerifyRestore,
    /// Removes what the policy does not keep.
    Prune,
    /// Compares the live database with what was captured.
    Drift,
    /// Labels one moment of several databases.
    Group,
}

impl Kind {
    /// All of them, in the order in which those begin that are due at once.
    pub(crate) const ALL: [Self; 7] = [
        Self::Backup,
        Self::Files,
        Self::VerifyRestore,
        Self::VerifyData,
        Self::Prune,
        Self::Drift,
        Self::Group,
    ];

    /// A stable lower-case name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Files => "files",
            Self::VerifyData => "verify-data",
            Self::VerifyRestore => "verify-restore",
            Self::Prune => "prune",
            Self::Drift => "drift",
            Self::Group => "group",
        }
    }

    /// The kind of a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
