//! What a configuration of `pagekeep run` says about the repositories of a command: whoever has one
//! names no location, no key and no state folder besides.

use std::path::Path;

use super::context::Context;
use super::located::all_at;
use super::output::Output;
use crate::api::config::Mistake;
use crate::daemon::config::{Config, Mistaken, RepositoryConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::remedy::way_back;

/// Reads a configuration; of one that is wrong it shows each place.
pub(crate) fn load(out: &Output, path: &Path) -> Result<(Config, String)> {
    match Config::load(path)? {
        Ok(loaded) => Ok(loaded),
        Err(mistaken) => {
            tell(out, path, &mistaken);
            Err(mistaken.error())
        }
    }
}

/// Shows each place where a configuration is wrong.
pub(crate) fn tell(out: &Output, path: &Path, mistaken: &Mistaken) {
    if out.json {
        for mistake in mistaken.mistakes() {
            out.object(&Mistake {
                file: path.display().to_string(),
                line: mistaken.line(mistake),
                message: mistake.message.clone(),
                help: mistake.help.clone(),
            });
        }
        return;
    }
    for picture in mistaken.pictures() {
        picture.lines().for_each(|line| out.trouble(line));
    }
}

impl Context {
    /// The configuration's file, for a command that needs one.
    pub(crate) fn config_file(&self) -> Result<&Path> {
        self.global.config.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Usage, "no configuration was named")
                .with_hint("say which: -c FILE, or set PAGEKEEP_CONFIG")
        })
    }

    /// The configuration, if one was named.
    pub(crate) fn config(&self) -> Result<Option<&Config>> {
        let Some(file) = &self.global.config else { return Ok(None) };
        if let Some(config) = self.configured.get() {
            return Ok(Some(config));
        }
        let (config, _) = load(&self.out, file)?;
        Ok(Some(self.configured.get_or_init(|| config)))
    }

    /// The repository that the command is about, if the configuration has it: the one that `-r`
    /// names, or the only one that is no mirror.
    pub(crate) fn configured(&self) -> Result<Option<(&str, &RepositoryConfig)>> {
        let Some(config) = self.config()? else { return Ok(None) };
        if let Some(named) = &self.global.repo {
            let found = self.configured_as(named)?;
            // A path that the configuration does not know is a path.
            if found.is_some() || Path::new(named).is_dir() || named.contains('/') {
                return Ok(found);
            }
            let object = config.file.display().to_string();
            return Err(Error::new(ErrorKind::Usage, format!("has no repository {named:?}"))
                .with_object(object)
                .with_hint(format!("it has {}", names(config))));
        }
        let mut firsts = config.repositories.iter().filter(|(name, _)| !config.is_mirror(name));
        match (firsts.next(), firsts.next()) {
            (Some((name, repository)), None) => Ok(Some((name, repository))),
            _ => Err(Error::new(ErrorKind::Usage, "it is not said which repository is meant")
                .with_object(config.file.display().to_string())
                .with_hint(format!("name one by -r: it has {}", names(config)))),
        }
    }

    /// The repository of the configuration that a name, or a location, means.
    pub(crate) fn configured_as(&self, named: &str) -> Result<Option<(&str, &RepositoryConfig)>> {
        let Some(config) = self.config()? else { return Ok(None) };
        if let Some((name, repository)) = config.repositories.get_key_value(named) {
            return Ok(Some((name.as_str(), repository)));
        }
        Ok(all_at(config, named).into_iter().next())
    }

    /// The error of a repository that is not there; with the way back, if it has mirrors.
    pub(super) fn told_if_lost(&self, e: Error) -> Error {
        let Ok(Some((name, repository))) = self.configured() else { return e };
        match repository.mirrors.first() {
            Some(mirror) if e.kind() == ErrorKind::NoRepository => {
                e.with_hint(way_back(name, mirror))
            }
            _ => e,
        }
    }

    /// The mirrors of the command's repository, by name.
    pub(crate) fn mirrors(&self) -> Result<Vec<(&str, &RepositoryConfig)>> {
        let (Some(config), Some((_, repository))) = (self.config()?, self.configured()?) else {
            return Ok(Vec::new());
        };
        let mirror = |name: &String| config.repositories.get_key_value(name);
        let mirrors = repository.mirrors.iter().filter_map(mirror);
        Ok(mirrors.map(|(name, mirror)| (name.as_str(), mirror)).collect())
    }
}

fn names(config: &Config) -> String {
    let names: Vec<&str> = config.repositories.keys().map(String::as_str).collect();
    names.join(", ")
}
