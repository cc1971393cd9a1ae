//! What ends a trouble: one deed each, whoever puts it into words.
//!
//! The library knows what helps, and not how a person does it: on the command line by a flag or a
//! command, in a program by a method, in a console by a button. So an error, or a warning, carries
//! [`Advice`]: sentences in which the deed stands as a [`Remedy`], and each front gives it its own
//! name. `Display` names the methods and options of this library.

use std::fmt;

/// What ends a trouble.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Replace what is there: [`RestoreOptions::force`](crate::RestoreOptions::force).
    Force,
    /// Give the history another name: [`BackupOptions::name`](crate::BackupOptions::name).
    Name,
    /// Go on with a history whose database lay elsewhere:
    /// [`BackupOptions::adopt`](crate::BackupOptions::adopt).
    Adopt,
    /// Supersede the follower at work: [`BackupOptions::takeover`](crate::BackupOptions::takeover).
    TakeOver,
    /// Let an empty database become the newest commit:
    /// [`BackupOptions::start_empty`](crate::BackupOptions::start_empty).
    StartEmpty,
    /// Bring back the newest commit where the database is missing or empty:
    /// [`Missing::Restore`](crate::Missing::Restore).
    RestoreMissing {
        /// The history's name.
        history: String,
        /// The database's file.
        file: String,
    },
    /// Restore a commit to a file: [`RestorePoint::restore`](crate::RestorePoint::restore).
    Restore {
        /// The history's name, if one is meant.
        history: Option<String>,
        /// The file, if one is meant.
        file: Option<String>,
        /// Whether it replaces the file that is there.
        force: bool,
    },
    /// Rewind a live database to a commit that is named apart from it:
    /// [`RestorePoint::rewind`](crate::RestorePoint::rewind).
    Rewind {
        /// The database's file.
        file: String,
    },
    /// Take back commits: [`History::undo`](crate::History::undo).
    Undo {
        /// The first one's number.
        first: u64,
        /// The last one's number.
        last: u64,
    },
    /// Set back rows that have other values, too:
    /// [`RecoverOptions::changed`](crate::RecoverOptions::changed).
    SetBackChanged,
    /// Wait until the application has made its database.
    AwaitDatabase {
        /// The database's file.
        file: String,
    },
    /// Name another place of a repository: [`open_store`](crate::open_store).
    OtherLocation,
    /// Create a repository: [`Repository::init`](crate::Repository::init).
    CreateRepository,
    /// Copy what a mirror has back into a repository that was made anew:
    /// [`History::copy_to`](crate::History::copy_to).
    CopyBack {
        /// The mirror's name.
        from: String,
        /// The repository's name.
        to: String,
    },
    /// Open it with another key: [`Secret`](crate::Secret).
    OtherKey,
    /// Use the text as a recovery key: [`Secret::parse_recovery`](crate::Secret::parse_recovery).
    RecoveryKey,
    /// List the key slots: [`Repository::slots`](crate::Repository::slots).
    ListKeys,
    /// Add a key slot: [`Repository::add_slot`](crate::Repository::add_slot).
    AddKey,
    /// Remove a key slot: [`Repository::remove_slot`](crate::Repository::remove_slot).
    RemoveKey {
        /// The slot.
        slot: String,
    },
    /// Bring a new master key in: [`Repository::rotate`](crate::Repository::rotate).
    RotateKeys,
    /// Give a rotation the other keys: [`RotateOptions::secrets`](crate::RotateOptions::secrets).
    GiveKeys,
    /// Let a rotation replace the recovery keys:
    /// [`RotateOptions::new_recovery`](crate::RotateOptions::new_recovery).
    NewRecoveryKey,
    /// Let a rotation remove what was not given:
    /// [`RotateOptions::remove_others`](crate::RotateOptions::remove_others).
    RemoveOtherKeys,
    /// Find out what is damaged and what remains:
    /// [`History::plan_repair`](crate::History::plan_repair).
    Examine {
        /// The history's name, or its id; the repository itself if `None`.
        history: Option<String>,
    },
    /// Repair: [`History::repair`](crate::History::repair).
    Repair {
        /// The history's name; the repository itself if `None`.
        history: Option<String>,
        /// The live database that heals it, if it does.
        database: Option<String>,
    },
    /// Take the repository for what it is now, whatever this machine saw before.
    AcceptRollback {
        /// The history's name, or its id; the repository itself if `None`.
        history: Option<String>,
    },
    /// Verify: [`History::verify`](crate::History::verify).
    Verify {
        /// The history's name; all if `None`.
        history: Option<String>,
        /// The name of the level, if one is meant.
        level: Option<&'static str>,
    },
    /// Let commits expire in spite of doubt:
    /// [`PruneOptions::in_doubt`](crate::PruneOptions::in_doubt).
    PruneInDoubt,
    /// Say what to keep: [`Policy`](crate::Policy).
    SayPolicy,
    /// Back the database up: [`Repository::backup`](crate::Repository::backup).
    Backup,
    /// Follow the database: [`Keeper::open`](crate::Keeper::open).
    Follow,
    /// List the commits of a history: [`History::restore_points`](crate::History::restore_points).
    ListCommits {
        /// The history's name, if one is meant.
        history: Option<String>,
    },
    /// List the histories: [`Repository::histories`](crate::Repository::histories).
    ListHistories,
    /// Restore without asking SQLite: [`Check::None`](crate::Check::None).
    SkipCheck,
    /// Use another folder for scratch files: [`StatsOptions::tables`](crate::StatsOptions::tables).
    OtherScratch,
    /// Give a question more time than it has.
    MoreTime,
    /// Give a question more memory than it has.
    MoreMemory,
    /// Leave tables out: [`StatsOptions::tables`](crate::StatsOptions::tables).
    SkipTables,
    /// Use another state folder:
    /// [`RepositoryOptions::state_dir`](crate::RepositoryOptions::state_dir).
    OtherStateFolder,
    /// See all that is wrong with the daemon's configuration.
    CheckConfiguration {
        /// Its file.
        file: String,
    },
}

impl Remedy {
    /// A stable lower-case name, as `--json` prints it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Force => "force",
            Self::Name => "name",
            Self::Adopt => "adopt",
            Self::TakeOver => "take-over",
            Self::StartEmpty => "start-empty",
            Self::RestoreMissing { .. } => "restore-missing",
            Self::Restore { .. } => "restore",
            Self::Rewind { .. } => "rewind",
            Self::Undo { .. } => "undo",
            Self::SetBackChanged => "set-back-changed",
            Self::AwaitDatabase { .. } => "await-database",
            Self::OtherLocation => "other-location",
            Self::CreateRepository => "create-repository",
            Self::CopyBack { .. } => "copy-back",
            Self::OtherKey => "other-key",
            Self::RecoveryKey => "recovery-key",
            Self::ListKeys => "list-keys",
            Self::AddKey => "add-key",
            Self::RemoveKey { .. } => "remove-key",
            Self::RotateKeys => "rotate-keys",
            Self::GiveKeys => "give-keys",
            Self::NewRecoveryKey => "new-recovery-key",
            Self::RemoveOtherKeys => "remove-other-keys",
            Self::Examine { .. } => "examine",
            Self::Repair { .. } => "repair",
            Self::AcceptRollback { .. } => "accept-rollback",
            Self::Verify { .. } => "verify",
            Self::PruneInDoubt => "prune-in-doubt",
            Self::SayPolicy => "say-policy",
            Self::Backup => "backup",
            Self::Follow => "follow",
            Self::ListCommits { .. } => "list-commits",
            Self::ListHistories => "list-histories",
            Self::SkipCheck => "skip-check",
            Self::OtherScratch => "other-scratch",
            Self::SkipTables => "skip-tables",
            Self::MoreTime => "more-time",
            Self::MoreMemory => "more-memory",
            Self::OtherStateFolder => "other-state-folder",
            Self::CheckConfiguration { .. } => "check-configuration",
        }
    }

    /// To look at a history's damage.
    pub(crate) fn examine(history: impl Into<String>) -> Self {
        Self::Examine { history: Some(history.into()) }
    }

    /// To repair a history.
    pub(crate) fn repair(history: impl Into<String>) -> Self {
        Self::Repair { history: Some(history.into()), database: None }
    }

    /// To verify a history at a level.
    pub(crate) fn verify(history: impl Into<String>, level: &'static str) -> Self {
        Self::Verify { history: Some(history.into()), level: Some(level) }
    }

    /// One of each, and those with fields as full and as empty as they can be.
    #[cfg(test)]
    pub(crate) fn every() -> Vec<Self> {
        let mut every = vec![
            Self::Force,
            Self::Name,
            Self::Adopt,
            Self::TakeOver,
            Self::StartEmpty,
            Self::RestoreMissing { history: "app".to_owned(), file: "app.db".to_owned() },
            Self::Rewind { file: "app.db".to_owned() },
            Self::Undo { first: 3, last: 3 },
            Self::Undo { first: 3, last: 7 },
            Self::SetBackChanged,
            Self::AwaitDatabase { file: "app.db".to_owned() },
            Self::OtherLocation,
            Self::CreateRepository,
            Self::CopyBack { from: "offsite".to_owned(), to: "main".to_owned() },
            Self::OtherKey,
            Self::RecoveryKey,
            Self::ListKeys,
            Self::AddKey,
            Self::RemoveKey { slot: "0123456789abcdef".to_owned() },
            Self::RotateKeys,
            Self::GiveKeys,
            Self::NewRecoveryKey,
            Self::RemoveOtherKeys,
            Self::PruneInDoubt,
            Self::SayPolicy,
            Self::Backup,
            Self::Follow,
            Self::ListHistories,
            Self::SkipCheck,
            Self::OtherScratch,
            Self::SkipTables,
            Self::MoreTime,
            Self::MoreMemory,
            Self::OtherStateFolder,
            Self::CheckConfiguration { file: "pagekeep.toml".to_owned() },
        ];
        for given in [false, true] {
            let some = |text: &str| given.then(|| text.to_owned());
            let (history, file) = (some("app"), some("app.db"));
            every.extend([
                Self::Restore { history: history.clone(), file: file.clone(), force: given },
                Self::Examine { history: history.clone() },
                Self::Repair { history: history.clone(), database: file },
                Self::AcceptRollback { history: history.clone() },
                Self::Verify { history: history.clone(), level: given.then_some("data") },
                Self::ListCommits { history },
            ]);
        }
        every
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Force => "the option `force`",
            Self::Name => "the option `name`",
            Self::Adopt => "the option `adopt`",
            Self::TakeOver => "the option `takeover`",
            Self::StartEmpty => "the option `start_empty` (of a keeper, `Missing::StartEmpty`)",
            Self::RestoreMissing { .. } => "`Missing::Restore`",
            Self::Restore { force: true, .. } => "`RestorePoint::restore` with the option `force`",
            Self::Restore { .. } => "`RestorePoint::restore`",
            Self::Rewind { .. } => "`RestorePoint::rewind`",
            Self::Undo { first, last } => {
                return write!(f, "`History::undo` of seq:{first} to seq:{last}");
            }
            Self::SetBackChanged => "`RecoverOptions::changed`",
            Self::AwaitDatabase { .. } => "begin again once it is there",
            Self::OtherLocation => "the location",
            Self::CreateRepository => "`Repository::init`",
            Self::CopyBack { from, to } => {
                return write!(f, "`History::copy_to` from {from} to {to}");
            }
            Self::OtherKey => "another `Secret`",
            Self::RecoveryKey => "`Secret::parse_recovery`",
            Self::ListKeys => "`Repository::slots`",
            Self::AddKey => "`Repository::add_slot`",
            Self::RemoveKey { slot } => return write!(f, "`Repository::remove_slot` of {slot}"),
            Self::RotateKeys => "`Repository::rotate`",
            Self::GiveKeys => "`RotateOptions::secrets`",
            Self::NewRecoveryKey => "`RotateOptions::new_recovery`",
            Self::RemoveOtherKeys => "`RotateOptions::remove_others`",
            Self::Examine { .. } => "`History::plan_repair`",
            Self::Repair { .. } => "`History::repair`",
            Self::AcceptRollback { .. } => "another state folder",
            Self::Verify { level: Some(level), .. } => {
                return write!(f, "`History::verify` at level {level}");
            }
            Self::Verify { .. } => "`History::verify`",
            Self::PruneInDoubt => "`PruneOptions::in_doubt`",
            Self::SayPolicy => "`Policy { daily: Some(Periods::Count(7)), .. }`",
            Self::Backup => "`Repository::backup`",
            Self::Follow => "`Keeper::open`",
            Self::ListCommits { .. } => "`History::restore_points`",
            Self::ListHistories => "`Repository::histories`",
            Self::SkipCheck => "`Check::None`",
            Self::OtherScratch => "`StatsOptions::tables`",
            Self::SkipTables => "`StatsOptions` without `tables`",
            Self::MoreTime => "more time",
            Self::MoreMemory => "more memory",
            Self::OtherStateFolder => "`RepositoryOptions::state_dir`",
            Self::CheckConfiguration { .. } => "reading the configuration by hand",
        })
    }
}

/// Sentences for people, in which deeds stand as what they are. `Display` puts them into the words
/// of this library; [`Advice::told`] into those of a front.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Advice(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text(String),
    Deed(Remedy),
}

impl Advice {
    /// One after the other.
    pub(crate) fn of(parts: impl IntoIterator<Item = Self>) -> Self {
        Self(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// The deeds in it, in their order.
    pub fn remedies(&self) -> impl Iterator<Item = &Remedy> {
        self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Deed(remedy) => Some(remedy),
        })
    }

    /// The text, with the name that a front gives each deed.
    pub fn told(&self, name: impl Fn(&Remedy) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Deed(remedy) => name(remedy),
        };
        self.0.iter().map(part).collect()
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Deed(remedy) => remedy.fmt(f),
        })
    }
}

impl From<&str> for Advice {
    fn from(text: &str) -> Self {
        Self(vec![Part::Text(text.to_owned())])
    }
}

impl From<String> for Advice {
    fn from(text: String) -> Self {
        Self(vec![Part::Text(text)])
    }
}

impl From<&Self> for Advice {
    fn from(advice: &Self) -> Self {
        advice.clone()
    }
}

impl From<Remedy> for Advice {
    fn from(remedy: Remedy) -> Self {
        Self(vec![Part::Deed(remedy)])
    }
}

/// [`Advice`] from texts, remedies and other advice, one after the other.
macro_rules! advice {
    ($($part:expr),+ $(,)?) => {
        $crate::remedy::Advice::of([$($crate::remedy::Advice::from($part)),+])
    };
}
pub(crate) use advice;

/// What brings back a repository that is not there, from its mirror.
#[cfg(feature = "cli")]
pub(crate) fn way_back(name: &str, mirror: &str) -> Advice {
    let back = Remedy::CopyBack { from: mirror.to_owned(), to: name.to_owned() };
    advice![
        "is its disk mounted? if it is lost: ",
        Remedy::CreateRepository,
        ", then ",
        back,
        " before anything is kept in it, or else the mirror takes nothing more"
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_deed_has_a_name_of_its_own_and_every_is_all_of_them() {
        let names: BTreeSet<&str> = Remedy::every().iter().map(Remedy::name).collect();
        let source = include_str!("remedy.rs");
        let of_name = source.split("pub const fn name").nth(1).unwrap();
        let arms = of_name.split("\n    }\n").next().unwrap().matches(" => \"").count();
        assert_eq!(names.len(), arms, "{names:?}");
    }

    #[test]
    fn advice_is_told_in_the_words_of_a_front() {
        let advice = advice!["go on with it: ", Remedy::Adopt, format!(", {}", "once")];
        assert_eq!(advice.to_string(), "go on with it: the option `adopt`, once");
        assert_eq!(advice.told(|remedy| remedy.name().to_owned()), "go on with it: adopt, once");
        let nested = advice!["no; ", &advice, "; or ", Remedy::Force];
        assert_eq!(nested.remedies().collect::<Vec<_>>(), [&Remedy::Adopt, &Remedy::Force]);
    }
}
