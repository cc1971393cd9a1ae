//! `adopt`: a daemon on a bare machine, from what it kept.

mod remembered;
mod standing;

use std::path::{Path, absolute};

use remembered::{Database, Here, Remembered, own_history};
use standing::Standing;

use super::args::AdoptArgs;
use super::context::Context;
use super::output::{bytes, counted, quote, time};
use super::progress::Progress;
use super::remedy::behind;
use super::write::create_new;
use crate::api::adopt::{AdoptSummary, Missing};
use crate::count::number;
use crate::daemon::LEDGER;
use crate::daemon::config::{Config, RepositoryConfig, SecretSource};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::restore::RestoreOptions;
use crate::repo::Repository;
use crate::repo::recover::examine;
use crate::store::open_store;

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
    // Commands are pasted anywhere.
    let state_dir = absolute(&state_dir).unwrap_or(state_dir);
    let file = absolute(&file).unwrap_or(file);
    let databases = remembered.databases(&config);
    context.out.summary(format_args!(
        "{}: as it was at {}, {}",
        own.name(),
        time(newest.time()),
        counted(number(databases.len()), "database")
    ));
    let here = Here::of(&config, &repository, &args.location);
    let mut adopted = Adopted {
        context,
        args,
        config: &config,
        here,
        options: format!("-c {}", quote(&file.display().to_string())),
        missing: 0,
        restored: 0,
    };
    adopted.tell_of_first();
    let typed = context.global.state_dir.as_ref().map(|_| &state_dir);
    let text = typed.and_then(|dir| Config::with_state_dir(&remembered.text, dir));
    let is_new = adopted.bring("configuration", &file, || {
        create_new(&file, text.as_ref().unwrap_or(&remembered.text).as_bytes())
    })?;
    match (typed, &text) {
        (Some(dir), Some(_)) if is_new => {
            context.out.summary(format_args!("  with the state-dir {}", dir.display()));
        }
        // The file says nothing of it, or something else.
        (Some(dir), _) => {
            let dir = quote(&dir.display().to_string());
            adopted.options.push_str(&format!(" --state-dir {dir}"));
        }
        (None, _) => {}
    }
    let ledger = state_dir.join(LEDGER);
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
    for database in &databases {
        let is_doubtful = adopted.is_doubtful(database, &databases);
        adopted.database(&repository, database, is_doubtful)?;
    }
    let run = format!("pagekeep run {}", adopted.options);
    let Adopted { missing, restored, .. } = adopted;
    context.out.json_summary(&AdoptSummary {
        configuration: file.display().to_string(),
        state: ledger.display().to_string(),
        missing,
        restored,
        run: run.clone(),
        dry_run: args.dry_run,
    });
    context.out.summary(match missing {
        0 => format!("nothing is missing; `{run}` goes on"),
        n => format!("{} to be put right; then `{run}` goes on", counted(n, "thing")),
    });
    Ok(())
}

struct Adopted<'a> {
    context: &'a Context,
    args: &'a AdoptArgs,
    config: &'a Config,
    here: Here<'a>,
    /// What each command that goes by the configuration is given.
    options: String,
    missing: u64,
    restored: u64,
}

impl Adopted<'_> {
    /// Brings a file back that is not there. Answers whether it is as it was.
    fn bring(&self, what: &str, file: &Path, make: impl FnOnce() -> Result<()>) -> Result<bool> {
        let out = &self.context.out;
        let shown = file.display();
        if file.symlink_metadata().is_ok() {
            out.warn(&format!("{shown} is there, and stays as it is: {what} is not brought back"));
            return Ok(false);
        }
        if self.args.dry_run {
            out.summary(format_args!("would write {shown}: {what}"));
            return Ok(true);
        }
        make()?;
        out.summary(format_args!("wrote {shown}: {what}"));
        Ok(true)
    }

    fn lacks(&mut self, what: &str, object: &str, next: &str, commands: Vec<String>) {
        self.missing += 1;
        if self.context.out.json {
            self.context.out.object(&Missing {
                what: what.to_owned(),
                object: object.to_owned(),
                next: next.to_owned(),
                commands,
            });
        } else {
            self.context.out.line(format_args!("missing  {what} {object}: {next}"));
        }
    }

    /// A mirror may be behind its first repository, which is asked for nothing here.
    fn tell_of_first(&self) {
        for first in &self.here.mirror_of {
            let Some(config) = self.config.repositories.get(*first) else { continue };
            if is_there(&config.location) {
                self.context.out.remark(&format!(
                    "this is a mirror; the repository {first}, which it is a copy of, is there as well, at {}, and may have more",
                    config.location
                ));
            }
        }
    }

    /// Says what a repository of the configuration lacks here.
    fn look_at(&mut self, name: &str, repository: &RepositoryConfig) {
        let is_there = is_there(&repository.location);
        let init = format!("pagekeep init {} -r {}", self.options, quote(name));
        if !is_there {
            let mut next = "mount it, or change its location in the configuration".to_owned();
            let mut commands = Vec::new();
            if let Some(mirror) = self.mirror_for(repository) {
                let mirror = quote(mirror);
                let copy = format!("pagekeep copy {mirror} {} {}", quote(name), self.options);
                next.push_str(&format!(
                    "; if it is lost: `{init}`, then `{copy}`, which brings the histories back, and both before the daemon runs"
                ));
                commands = vec![init, copy];
            } else if self.config.is_mirror(name) {
                next.push_str(&format!(
                    "; if it is lost: `{init}`, and the daemon copies everything to it"
                ));
                commands = vec![init];
            }
            self.lacks(&format!("repository {name}"), &repository.location, &next, commands);
        }
        let (what, object, next) = match &repository.secret {
            SecretSource::KeyFile(file) if !file.is_file() => (
                "key file",
                file.display().to_string(),
                match is_there {
                    true => {
                        "put it there; without a copy of it, the recovery key opens the repository, and `pagekeep key add` makes another"
                    }
                    false => {
                        "put it there; `pagekeep init` makes another where the repository is made anew"
                    }
                },
            ),
            SecretSource::PasswordFile(file) if !file.is_file() => {
                ("file with the passphrase", file.display().to_string(), "write it again")
            }
            SecretSource::PasswordEnv(variable) if std::env::var_os(variable).is_none() => {
                ("variable of the environment", variable.clone(), "set it for the daemon")
            }
            _ => return,
        };
        self.lacks(what, &object, next, Vec::new());
    }

    /// The mirror from which a repository that is lost gets its histories back.
    fn mirror_for<'c>(&self, repository: &'c RepositoryConfig) -> Option<&'c str> {
        let mut mirrors = repository.mirrors.iter().map(String::as_str);
        let lies = |name: &&str| {
            self.config.repositories.get(*name).is_some_and(|mirror| is_there(&mirror.location))
        };
        let is_here = |name: &&str| self.here.name == Some(name);
        let mut all = mirrors.clone();
        let first = repository.mirrors.first().map(String::as_str);
        mirrors.find(is_here).or_else(|| all.find(lies)).or(first)
    }

    /// Whether there is one history for two databases: of two first repositories of a mirror, or of
    /// a repository that lies where the configuration has none, and may be any of them.
    fn is_doubtful(&self, database: &Database, all: &[Database]) -> bool {
        let may_be_here = |other: &Database| {
            self.here.name.is_none() || self.here.mirror_of.contains(&&*other.repository)
        };
        let rival = |other: &&Database| other.name == database.name && may_be_here(other);
        may_be_here(database) && all.iter().filter(rival).count() > 1
    }

    /// The command that restores a database.
    fn restore_of(&self, database: &Database, repository: &str) -> String {
        let path = quote(&database.path.display().to_string());
        let several = self.config.repositories.keys().filter(|r| !self.config.is_mirror(r));
        let is_said = self.config.is_mirror(repository) || several.count() > 1;
        let of = if is_said { format!(" -r {}", quote(repository)) } else { String::new() };
        format!("pagekeep restore {} {path} {}{of}", quote(&database.name), self.options)
    }

    /// Tells whether a database that is there is what would be restored: an application that came
    /// first may have made a new one. Reads all of it, so it is asked only where a restore was.
    fn compare(&self, repository: &Repository, database: &Database) -> Result<()> {
        if !self.args.restore {
            return Ok(());
        }
        let Database { path, name, .. } = database;
        let out = &self.context.out;
        let compared = {
            let progress = Progress::new(out);
            repository.drift(path, Some(name), &progress)
        };
        let how = match compared {
            Ok((_, drift)) if drift.differing == 0 && drift.sizes.is_none() => return Ok(()),
            Ok((_, drift)) => {
                let pages = format!("{} of {}", drift.differing, counted(drift.pages, "page"));
                let seq = drift.seq;
                format!(
                    "differs from seq:{seq}, the newest commit of {name}, in {pages}: it went on since, or it is another database"
                )
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
            Err(e) => format!("cannot be compared with the newest commit of {name}: {e}"),
        };
        let shown = path.display();
        out.warn(&format!("{shown} is there, and stays as it is; it {how}"));
        Ok(())
    }

    /// Restores a database that is not there, or says how.
    fn database(
        &mut self,
        repository: &Repository,
        database: &Database,
        is_doubtful: bool,
    ) -> Result<()> {
        let Database { path, name, repository: kept_in } = database;
        let shown = path.display().to_string();
        let standing = Standing::of(path);
        if let Standing::Other(what) = standing {
            let out = &self.context.out;
            out.warn(&format!("{shown} is {what}, and stays as it is: {name} is not brought back"));
            let command = self.restore_of(database, self.here.name.unwrap_or(kept_in));
            let next = format!("{what} is in its place: move that away; then `{command}`");
            self.lacks("database", &shown, &next, vec![command]);
            return Ok(());
        }
        if !self.here.has(kept_in) || is_doubtful {
            if standing == Standing::Database {
                return Ok(());
            }
            let command = self.restore_of(database, kept_in);
            let why = match is_doubtful {
                true => format!(
                    "several databases are called {name}, and this repository has one history of that name"
                ),
                false => format!("it is kept in the repository {kept_in}"),
            };
            let next = format!("{why}; `{command}` brings it back");
            self.lacks("database", &shown, &next, vec![command]);
            return Ok(());
        }
        if standing == Standing::Database {
            return self.compare(repository, database);
        }
        // From here, unless nobody can say by which name this repository goes.
        let command = self.restore_of(database, self.here.name.unwrap_or(kept_in));
        let newest = match repository.history(name).and_then(|history| history.latest()) {
            Ok(Some(newest)) => newest,
            Ok(None) => {
                self.lacks("database", &shown, "nothing of it is stored", Vec::new());
                return Ok(());
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
            Err(e) => {
                self.lacks("database", &shown, &format!("{e}{}", behind(&e)), Vec::new());
                return Ok(());
            }
        };
        if !self.args.restore || self.args.dry_run {
            let captured = time(newest.time());
            let next = format!("`{command}` brings it back as of {captured}");
            self.lacks("database", &shown, &next, vec![command]);
            return Ok(());
        }
        let progress = Progress::new(&self.context.out);
        let restored = folder_of(path)
            .and_then(|()| newest.restore(path, &RestoreOptions::default(), &progress));
        drop(progress);
        match restored {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
            // What ails one is no reason to leave the others out.
            Err(e) => {
                let elsewhere = self.restore_of(database, kept_in);
                self.context.out.warn(&format!("{name}: {e}{}", behind(&e)));
                let next = format!("it was not restored: {e}; `{elsewhere}` tries it again");
                self.lacks("database", &shown, &next, vec![elsewhere]);
                return Ok(());
            }
        }
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

/// Makes the folder of a file.
fn folder_of(file: &Path) -> Result<()> {
    let Some(folder) = file.parent() else { return Ok(()) };
    crate::disk::make_dirs(folder)
        .map_err(|e| Error::io(e, "cannot be made", folder.display().to_string()))
}

/// Whether there is a repository: the folder alone may be where its disk is mounted.
fn is_there(location: &str) -> bool {
    match open_store(location).and_then(|store| examine(&*store)) {
        Ok(_) => true,
        Err(e) => e.kind() != ErrorKind::NoRepository,
    }
}
