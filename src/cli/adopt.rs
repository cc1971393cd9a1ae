//! `adopt`: a daemon on a bare machine, from what it kept.

use std::path::{Path, PathBuf};

use super::args::AdoptArgs;
use super::context::Context;
use super::output::{bytes, counted, quote, time};
use super::progress::Progress;
use super::write::create_new;
use crate::api::adopt::{AdoptSummary, Missing};
use crate::count::number;
use crate::daemon::config::{Config, RepositoryConfig, SecretSource};
use crate::daemon::{LEDGER, OWN_NAME};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::point::RestorePoint;
use crate::ops::restore::RestoreOptions;
use crate::ops::view::ViewOptions;
use crate::repo::Repository;
use crate::repo::history::handle::History;

/// The longest configuration that is believed.
const MAX_TEXT: usize = 16 << 20;

pub(crate) fn adopt(context: &Context, args: &AdoptArgs) -> Result<()> {
    let repository = context.repository_at(&args.location)?;
    let own = own_history(context, &repository, args.from.as_deref())?;
    let newest = own
        .latest()?
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "has no commits").with_object(own.name()))?;
    let remembered = Remembered::read(&newest)?;
    let file = args.output.clone().unwrap_or_else(|| remembered.path.clone());
    let config = match Config::parse(&remembered.path, &remembered.text) {
        Ok(config) => config,
        Err(mistaken) => return Err(mistaken.error()),
    };
    let state_dir = match (&context.global.state_dir, &config.state_dir) {
        (None, Some(dir)) => dir.clone(),
        _ => context.state_dir()?,
    };
    context.out.summary(format_args!(
        "{}: as it was at {}, {}",
        own.name(),
        time(newest.time()),
        counted(number(remembered.known.len()), "database")
    ));
    let ledger = state_dir.join(LEDGER);
    let mut adopted = Adopted { context, args, missing: 0, restored: 0 };
    adopted.bring("configuration", &file, || create_new(&file, remembered.text.as_bytes()))?;
    adopted.bring("what it remembered", &ledger, || {
        crate::disk::make_dirs(&state_dir)
            .map_err(|e| Error::io(e, "cannot be made", state_dir.display().to_string()))?;
        let progress = Progress::new(&context.out);
        newest.restore(&ledger, &RestoreOptions::default(), &progress)
    })?;
    if file != remembered.path {
        context.out.warn(&format!(
            "the configuration was {}; relative paths in it are relative to the folder of its file",
            remembered.path.display()
        ));
    }
    for (name, repository) in &config.repositories {
        adopted.look_at(name, repository);
    }
    for (path, name) in remembered.known_in(&config, &repository, &args.location) {
        adopted.database(&repository, &path, &name, &file)?;
    }
    let Adopted { missing, restored, .. } = adopted;
    context.out.json_summary(&AdoptSummary {
        configuration: file.display().to_string(),
        state: ledger.display().to_string(),
        missing,
        restored,
        dry_run: args.dry_run,
    });
    let shown = quote(&file.display().to_string());
    context.out.summary(match missing {
        0 => format!("nothing is missing; `pagekeep run -c {shown}` goes on"),
        n => format!(
            "{} to be put right; then `pagekeep run -c {shown}` goes on",
            counted(n, "thing")
        ),
    });
    Ok(())
}

/// The history of the daemon's own database.
fn own_history(context: &Context, repository: &Repository, from: Option<&str>) -> Result<History> {
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
struct Remembered {
    /// Its configuration: the file, and what it said.
    path: PathBuf,
    text: String,
    /// Databases that it knew: repository and history, and the file.
    known: Vec<(String, PathBuf)>,
}

impl Remembered {
    fn read(newest: &RestorePoint) -> Result<Self> {
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
            let mut statement =
                view.prepare("SELECT database, path FROM known ORDER BY database")?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, PathBuf::from(row.get::<_, String>(1)?))))?;
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

    /// The databases that the configuration still means and this repository has, with the names of
    /// their histories.
    fn known_in(
        &self,
        config: &Config,
        repository: &Repository,
        location: &str,
    ) -> Vec<(PathBuf, String)> {
        let whole = std::path::absolute(location).unwrap_or_else(|_| PathBuf::from(location));
        let is_here = |config: &RepositoryConfig| {
            Path::new(&config.location) == whole
                || Path::new(&config.location) == Path::new(&repository.store().location())
        };
        // A repository that lies elsewhere by now is the one whose daemon this was.
        let here = config.repositories.iter().find(|(_, config)| is_here(config));
        let here = here.map(|(name, _)| name.as_str());
        let mut known = Vec::new();
        for (database, path) in &self.known {
            let Some((of, name)) = database.split_once('/') else { continue };
            let is_kept = config.targets.iter().any(|target| target.means(path));
            if is_kept && here.is_none_or(|here| here == of) {
                known.push((path.clone(), name.to_owned()));
            }
        }
        known
    }
}

struct Adopted<'a> {
    context: &'a Context,
    args: &'a AdoptArgs,
    missing: u64,
    restored: u64,
}

impl Adopted<'_> {
    /// Brings a file back that is not there.
    fn bring(&self, what: &str, file: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let out = &self.context.out;
        let shown = file.display();
        if file.symlink_metadata().is_ok() {
            out.warn(&format!("{shown} is there, and stays as it is: {what} is not brought back"));
            return Ok(());
        }
        if self.args.dry_run {
            out.summary(format_args!("would write {shown}: {what}"));
            return Ok(());
        }
        make()?;
        out.summary(format_args!("wrote {shown}: {what}"));
        Ok(())
    }

    fn lacks(&mut self, what: &str, object: &str, next: &str) {
        self.missing += 1;
        if self.context.out.json {
            self.context.out.object(&Missing {
                what: what.to_owned(),
                object: object.to_owned(),
                next: next.to_owned(),
            });
        } else {
            self.context.out.line(format_args!("missing  {what} {object}: {next}"));
        }
    }

    /// Says what a repository of the configuration lacks here.
    fn look_at(&mut self, name: &str, repository: &RepositoryConfig) {
        if !Path::new(&repository.location).is_dir() {
            let next = "mount it, or change its location in the configuration";
            self.lacks(&format!("repository {name}"), &repository.location, next);
        }
        let (what, object, next) = match &repository.secret {
            SecretSource::KeyFile(file) if !file.is_file() => (
                "key file",
                file.display().to_string(),
                "put it there; without a copy of it, the recovery key opens the repository, and `pagekeep key add` makes another",
            ),
            SecretSource::PasswordFile(file) if !file.is_file() => {
                ("file with the passphrase", file.display().to_string(), "write it again")
            }
            SecretSource::PasswordEnv(variable) if std::env::var_os(variable).is_none() => {
                ("variable of the environment", variable.clone(), "set it for the daemon")
            }
            _ => return,
        };
        self.lacks(what, &object, next);
    }

    /// Restores a database that is not there, or says how.
    fn database(
        &mut self,
        repository: &Repository,
        path: &Path,
        name: &str,
        config: &Path,
    ) -> Result<()> {
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        let shown = path.display().to_string();
        let newest = match repository.history(name).and_then(|history| history.latest()) {
            Ok(Some(newest)) => newest,
            Ok(None) => {
                self.lacks("database", &shown, "nothing of it is stored");
                return Ok(());
            }
            Err(e) => {
                self.lacks("database", &shown, &e.to_string());
                return Ok(());
            }
        };
        if !self.args.restore || self.args.dry_run {
            let (file, config) = (quote(&shown), quote(&config.display().to_string()));
            let next = format!(
                "`pagekeep restore {} {file} -c {config}` brings it back as of {}",
                quote(name),
                time(newest.time())
            );
            self.lacks("database", &shown, &next);
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            crate::disk::make_dirs(folder)
                .map_err(|e| Error::io(e, "cannot be made", folder.display().to_string()))?;
        }
        let progress = Progress::new(&self.context.out);
        newest.restore(path, &RestoreOptions::default(), &progress)?;
        drop(progress);
        self.restored += 1;
        let size = bytes(path.metadata().map_or(0, |meta| meta.len()));
        let captured = time(newest.time());
        let (seq, out) = (newest.seq(), &self.context.out);
        out.summary(format_args!(
            "restored {name}@seq:{seq} to {shown}: {size}, captured {captured}"
        ));
        Ok(())
    }
}
