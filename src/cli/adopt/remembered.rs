//! What a daemon remembered, as its own database in a repository has it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::located::{all_at, all_like};
use crate::daemon::OWN_NAME;
use crate::daemon::config::{Config, Files};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::view::ViewOptions;
use crate::repo::Repository;
use crate::repo::history::handle::History;

/// The longest configuration that is believed.
const MAX_TEXT: usize = 16 << 20;

/// The history of the daemon's own database.
pub(super) fn own_history(
    context: &Context,
    repository: &Repository,
    from: Option<&str>,
) -> Result<History> {
    let all = context.all_histories(repository)?;
    let own: Vec<&History> = all.iter().filter(|h| h.name().starts_with(OWN_NAME)).collect();
    let host = |history: &History| history.name().trim_start_matches(OWN_NAME).to_owned();
    let hosts = || own.iter().map(|history| host(history)).collect::<Vec<_>>().join(", ");
    let object = repository.store().location();
    match (from, own.as_slice()) {
        (_, []) => Err(Error::new(ErrorKind::NotFound, "has no daemon's own database")
            .with_object(object)
            .with_hint("it may be in another repository; `pagekeep snapshots` lists what is here")),
        (Some(from), own) => {
            let found = own.iter().find(|history| host(history) == from);
            found.map(|history| (*history).clone()).ok_or_else(|| {
                let what = format!("has nothing of a daemon of {from:?}");
                let error = Error::new(ErrorKind::NotFound, what).with_object(object);
                error.with_hint(format!("it has some of {}", hosts()))
            })
        }
        (None, [only]) => Ok((*only).clone()),
        (None, _) => Err(Error::new(ErrorKind::Usage, "has the databases of several daemons")
            .with_object(object)
            .with_hint(format!("say whose by --from HOST: {}", hosts()))),
    }
}

/// What a daemon remembered.
pub(super) struct Remembered {
    /// Its configuration: the file, and what it said.
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The files of the databases that it knew.
    known: Vec<PathBuf>,
}

/// A database that the daemon kept.
pub(super) struct Database {
    pub(super) path: PathBuf,
    /// The name of its history.
    pub(super) name: String,
    /// The repository of the configuration that it is kept in.
    pub(super) repository: String,
}

impl Remembered {
    pub(super) fn read(newest: &RestorePoint) -> Result<Self> {
        let view = newest.open(&ViewOptions::default())?;
        let object = || format!("{}@seq:{}", newest.history().name(), newest.seq());
        let failed = |e: rusqlite::Error| {
            Error::new(ErrorKind::Damaged, "is no daemon's database").with_source(e)
        };
        let read = || {
            let sql = "SELECT path, text FROM configuration ORDER BY read DESC LIMIT 1";
            let (path, text) = view.query_row(sql, [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })?;
            let mut statement = view.prepare("SELECT path FROM known ORDER BY database")?;
            let rows =
                statement.query_map([], |row| Ok(PathBuf::from(row.get::<_, String>(0)?)))?;
            let known = rows.collect::<rusqlite::Result<_>>()?;
            Ok(Self { path: PathBuf::from(path), text, known })
        };
        let remembered: Self = read().map_err(|e| failed(e).with_object(object()))?;
        if remembered.text.len() > MAX_TEXT || !remembered.path.is_absolute() {
            let what = "has a configuration that no daemon wrote";
            return Err(Error::new(ErrorKind::Damaged, what).with_object(object()));
        }
        Ok(remembered)
    }

    /// The databases that the configuration means: those that it names, and those that its
    /// patterns matched, which the daemon knew.
    pub(super) fn databases(&self, config: &Config) -> Vec<Database> {
        let named = config.targets.iter().filter_map(|target| match &target.files {
            Files::One(path) => Some(path),
            Files::Matching(_) => None,
        });
        let paths: BTreeSet<&PathBuf> = self.known.iter().chain(named).collect();
        let database = |path: &PathBuf| {
            // The first entry that means a file counts, as for the daemon.
            let target = config.targets.iter().find(|target| target.means(path))?;
            let (name, repository) = (target.name_of(path), target.plan.repository.clone());
            Some(Database { path: path.clone(), name, repository })
        };
        paths.into_iter().filter_map(database).collect()
    }
}

/// What the repository is for the configuration of whose daemon it is.
pub(super) struct Here<'a> {
    /// Its name; `None` if none of the configuration's lies there.
    pub(super) name: Option<&'a str>,
    /// The repositories whose mirror it is.
    pub(super) mirror_of: Vec<&'a str>,
}

impl<'a> Here<'a> {
    pub(super) fn of(config: &'a Config, repository: &Repository, location: &str) -> Self {
        let real = repository.store().location();
        let mut named = all_at(config, location);
        named.extend(all_at(config, &real));
        named.extend(all_like(config, &real));
        let name = named.into_iter().next().map(|(name, _)| name);
        Self { name, mirror_of: name.map_or_else(Vec::new, |name| config.firsts_of(name)) }
    }

    /// Whether it has what is kept in a repository of the configuration. One that lies elsewhere by
    /// now may be any of them.
    pub(super) fn has(&self, repository: &str) -> bool {
        self.name.is_none_or(|here| here == repository) || self.mirror_of.contains(&repository)
    }
}
