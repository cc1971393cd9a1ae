//! Follow a live database into its history, from now until told to stop.

use std::path::Path;
use std::sync::Arc;

use crate::capture::follow::{FollowOptions, Follower, Listener};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::beside::check_rival;
use crate::ops::locate::{Database, Known};
use crate::ops::missing::refuse_emptied;
use crate::ops::soundness::{before_writing, dated_back};
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::repo::write::presence::WATCH;
use crate::repo::write::writer::Writer;
use crate::sqlite::elsewhere::check_one_name;
use crate::sqlite::source::Source;

/// Whose history, and how to follow.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// The history's name; the file's stem if `None`.
    pub name: Option<String>,
    /// Go on with the history although its database lay elsewhere before.
    pub adopt: bool,
    /// Go on although somebody else follows it, who is superseded by that.
    pub takeover: bool,
    /// Go on although the file is empty and the history has pages.
    pub start_empty: bool,
    /// How to follow.
    pub follow: FollowOptions,
}

impl Repository {
    /// Begins to follow the database at a path.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Source`] when the file can't be read as a database,
    /// [`crate::ErrorKind::Refused`] when the history belongs to another file, or has pages and the
    /// file is empty, or the SQLite library is not safe to follow with, [`crate::ErrorKind::Busy`]
    /// when another process of this machine writes to the history, or one of another machine
    /// follows it, [`crate::ErrorKind::Damaged`] when its newest commit can't be restored; store
    /// errors.
    #[doc(hidden)]
    pub fn follow(
        &self,
        path: &Path,
        options: WatchOptions,
        listener: Arc<dyn Listener + Sync>,
    ) -> Result<(History, Follower)> {
        self.follow_known(path, Known::default(), options, listener)
    }

    /// As [`Repository::follow`], where something is known of the histories.
    pub(crate) fn follow_known(
        &self,
        path: &Path,
        known: Known<'_>,
        options: WatchOptions,
        listener: Arc<dyn Listener + Sync>,
    ) -> Result<(History, Follower)> {
        let database = Database::at(path, options.name.as_deref())?;
        if !options.start_empty {
            refuse_emptied(self, path, &database.name)?;
        }
        // Look at the source before a history is made for it: what is no database begins none.
        check_one_name(&Source::open(path)?.pin()?, path, &*listener)?;
        let history = database.known_or_new(self, known, options.adopt)?;
        if !options.takeover {
            check_rival(&history)?;
        }
        let newest = before_writing(&history, Some(&database.place), &*listener)?;
        if let Some(text) = dated_back(self.now(), newest) {
            listener.warn(&text);
        }
        let writer = Writer::open(&history, WATCH)?;
        // Others find a follower, and what it does, by that folder.
        if writer.forgets().is_some() {
            return Err(Error::new(ErrorKind::NoSpace, "takes nothing that is written")
                .with_object(self.state_dir().display().to_string())
                .with_hint(advice![
                    "a follower needs it, so that others find it: make room there, or name another folder with ",
                    Remedy::OtherStateFolder,
                ]));
        }
        let follower = Follower::start(writer, path, &database.place, options.follow, listener)?;
        Ok((history, follower))
    }
}

#[cfg(test)]
mod tests;
