//! Which history belongs to a database file.
//!
//! Invariants: two databases of the same name never alternate in one history, unless somebody says
//! so by `adopt`. A history that is gone is not begun anew.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::folder::follow_links;
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::catalog::Descriptions;
use crate::repo::history::handle::History;
use crate::repo::local::state;

/// What is known of a repository's histories before one is looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'k> {
    /// The database's history, as far as it was found before.
    pub(crate) history: Option<&'k History>,
    /// Descriptions that were read before.
    pub(crate) described: Option<&'k Descriptions>,
}

/// A database file as a history knows it.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// The history's name.
    pub(crate) name: String,
    /// The file's canonical path.
    pub(crate) place: String,
}

impl Database {
    /// The database at a path, and the name of its history: the one that is given, or the file's
    /// stem.
    pub(crate) fn at(path: &Path, name: Option<&str>) -> Result<Self> {
        let name = name_of(path, name)?;
        let place = std::fs::canonicalize(path).map_err(|e| {
            let is_absent = e.kind() == std::io::ErrorKind::NotFound;
            let file = path.display().to_string();
            let hint = match file.split_once('@') {
                // Who means a commit of the live database names the commit elsewhere.
                Some((before, _)) => advice![
                    format!("this names the database's file, such as {before}.db; a commit is named apart from it: "),
                    Remedy::Rewind { file: format!("{before}.db") },
                ],
                None => advice![
                    "check the path, and whether its disk is mounted; ",
                    Remedy::Restore { history: Some(name.clone()), file: Some(file.clone()), force: false },
                    " brings back the newest commit, if there is one; if its application has not made the file yet: ",
                    Remedy::AwaitDatabase { file: file.clone() },
                ],
            };
            let error = Error::io(e, "cannot be found", file).with_kind(ErrorKind::Source);
            if is_absent { error.with_hint(hint) } else { error }
        })?;
        Ok(Self { name, place: as_text(&place) })
    }

    /// As [`Database::at`], for a file that may not be there yet, though its folder is.
    pub(crate) fn absent_or_at(path: &Path, name: Option<&str>) -> Result<Self> {
        let found = Self::at(path, name);
        let Err(e) = &found else { return found };
        // A link may lead to where the file is missing.
        let there = follow_links(path)?;
        let Some(file) = there.file_name() else { return found };
        let folder = there.parent().filter(|dir| !dir.as_os_str().is_empty());
        match std::fs::canonicalize(folder.unwrap_or(Path::new("."))) {
            Ok(folder) if e.kind() == ErrorKind::Source => {
                Ok(Self { name: name_of(path, name)?, place: as_text(&folder.join(file)) })
            }
            _ => found,
        }
    }

    /// The database's history.
    pub(crate) fn history(&self, repository: &Repository, adopt: bool) -> Result<History> {
        let history = repository.history(&self.name)?;
        self.check(&history, adopt)?;
        Ok(history)
    }

    /// The database's history, begun if there is none and none is gone.
    pub(crate) fn history_or_new(&self, repository: &Repository, adopt: bool) -> Result<History> {
        self.known_or_new(repository, Known::default(), adopt)
    }

    /// As [`Database::history_or_new`], where something is known of the histories. Looking for one
    /// by its name takes the longer the more there are.
    pub(crate) fn known_or_new(
        &self,
        repository: &Repository,
        known: Known<'_>,
        adopt: bool,
    ) -> Result<History> {
        if let Some(known) = known.history.filter(|known| known.name() == self.name)
            && repository.has_history(known)
        {
            self.check(known, adopt)?;
            return Ok(known.clone());
        }
        let census = repository.census_after(known.described)?;
        census.check_name(&self.name, &self.place)?;
        let history = match census.find(&self.name) {
            // Of several that have the name, the one that was written from here.
            Err(e) if e.kind() == ErrorKind::Usage => self.own_of(repository)?.ok_or(e),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                match repository.create_history(&self.name, &self.place) {
                    // Somebody else began it at the same time.
                    Err(e) if e.kind() == ErrorKind::Busy => repository.history(&self.name),
                    begun => begun,
                }
            }
            found => found,
        }?;
        self.check(&history, adopt)?;
        Ok(history)
    }

    /// The only history of the name that this machine wrote from this database.
    fn own_of(&self, repository: &Repository) -> Result<Option<History>> {
        let (histories, _) = repository.readable_histories()?;
        let mut own = Vec::new();
        for history in histories.into_iter().filter(|history| history.name() == self.name) {
            if state::peek(&history)?.is_some_and(|state| state.source == self.place) {
                own.push(history);
            }
        }
        Ok(own.pop().filter(|_| own.is_empty()))
    }

    /// Makes sure that a history is of this database.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it is of another one, and that is not meant to change.
    pub(crate) fn check(&self, history: &History, adopt: bool) -> Result<()> {
        let remembered = state::peek(history)?.map(|state| state.source).filter(|s| !s.is_empty());
        let known = remembered.as_deref().unwrap_or(&history.about().source);
        if adopt || known == self.place {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!("history {:?} belongs to {known}", history.name()),
        )
        .with_object(&*self.place)
        .with_hint(advice![
            "give this database a history of its own: ",
            Remedy::Name,
            "; or go on with this one: ",
            Remedy::Adopt,
            ", once",
        ]))
    }
}

/// What is no text is escaped, so that two of such paths don't become one.
fn as_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => path.as_os_str().as_bytes().escape_ascii().to_string(),
    }
}

/// The name of a database's history: the one that is given, or the file's stem.
///
/// # Errors
/// [`ErrorKind::Usage`] when the file's name has none.
pub(crate) fn name_of(path: &Path, name: Option<&str>) -> Result<String> {
    if let Some(name) = name {
        return Ok(name.to_owned());
    }
    path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned).ok_or_else(|| {
        Error::new(ErrorKind::Usage, "has no name that could be the history's")
            .with_object(path.display().to_string())
            .with_hint(advice!["give one: ", Remedy::Name])
    })
}
