//! Which histories a repository has.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::history::handle::History;
use super::repository::Repository;
use crate::codec::seal::history_id;
use crate::error::{Error, ErrorKind, Result};
use crate::format::about::{About, DigestKey};
use crate::format::names::{self, HistoryNames};
use crate::machine::host;
use crate::remedy::{Remedy, advice};
use crate::store::Nature;
use crate::types::{HistoryId, Timestamp, random_bytes};

impl Repository {
    /// All histories, oldest first.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when a description can't be opened.
    pub fn histories(&self) -> Result<Vec<History>> {
        let (found, mut unreadable) = self.readable_histories()?;
        match unreadable.pop() {
            Some(e) => Err(e),
            None => Ok(found),
        }
    }

    /// The histories whose descriptions can be read, oldest first, and what is wrong with the
    /// others'.
    ///
    /// # Errors
    /// Store errors.
    pub fn readable_histories(&self) -> Result<(Vec<History>, Vec<Error>)> {
        let Folders { histories, unreadable, .. } = self.folders(None)?;
        Ok((histories, unreadable.into_iter().map(|(_, e)| e).collect()))
    }

    /// The folders of histories, by what can be told of them. What was read before need not be read
    /// again.
    pub(super) fn folders(&self, before: Option<&Descriptions>) -> Result<Folders> {
        let mut folders = Folders::default();
        for dir in self.store().list_dirs(names::HISTORIES)? {
            let Some(id) = names::parse_history(&dir) else { continue };
            if let Some(history) = before.and_then(|before| before.of(id)) {
                folders.known.insert(id);
                folders.histories.push(history);
                continue;
            }
            let name = HistoryNames(id).about();
            match self.read_about(id) {
                Ok(Some(about)) => {
                    let history = History::new(self.clone(), id, about);
                    before.iter().for_each(|before| before.remember(&history));
                    folders.known.insert(id);
                    folders.histories.push(history);
                }
                // A history under creation has no description yet, and nothing else.
                Ok(None) => match self.has_segments(id) {
                    Ok(true) => {
                        let e = Error::damaged(name, "is missing, and so is its copy");
                        folders.unreadable.push((id, e));
                    }
                    Ok(false) => folders.bare.push(id),
                    Err(e) if e.kind() == ErrorKind::Damaged => folders.unreadable.push((id, e)),
                    Err(e) => return Err(e),
                },
                Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                    folders.unreadable.push((id, e));
                }
                Err(e) => return Err(e),
            }
        }
        for (name, nature) in self.store().look(names::HISTORIES)? {
            let Some(id) = names::parse_history(&name).filter(|_| nature != Nature::Folder) else {
                continue;
            };
            if let Err(e) = self.store().list(&HistoryNames(id).log()) {
                folders.unreadable.push((id, e));
            }
        }
        folders.histories.sort_by_key(|h| (h.about().created, h.id()));
        Ok(folders)
    }

    fn has_segments(&self, id: HistoryId) -> Result<bool> {
        let names = HistoryNames(id);
        let log = self.store().list(&names.log())?;
        if log.iter().any(|entry| names.parse_segment(&entry.name).is_some()) {
            return Ok(true);
        }
        let merged = self.store().list(&names.merged())?;
        Ok(merged.iter().any(|entry| names.parse_merged(&entry.name).is_some()))
    }

    /// The history of that name or id.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; [`ErrorKind::Damaged`] when there was one and it
    /// is gone; [`ErrorKind::Usage`] when two machines created the name at the same moment and only
    /// an id tells them apart.
    pub fn history(&self, name: &str) -> Result<History> {
        // Damage of another history is no reason not to find this one.
        self.census()?.find(name)
    }

    /// Whether a history that was found before is certainly still there, under the same name. Of
    /// one that is not, [`Repository::history`] tells why.
    pub(crate) fn has_history(&self, known: &History) -> bool {
        let about = self.read_about(known.id());
        about.is_ok_and(|about| about.is_some_and(|about| about.name == known.name()))
    }

    /// Begins a history.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name that can't be selected later; [`ErrorKind::Busy`] when
    /// somebody else begins one of this name at the same time; store errors.
    pub fn create_history(&self, name: &str, source: &str) -> Result<History> {
        check_history_name(name)?;
        let created = self.now();
        let id = self.id_of_new(name, created)?;
        let about = About {
            created,
            digest_key: DigestKey(random_bytes()?),
            name: name.to_owned(),
            source: source.to_owned(),
            host: host(),
        };
        self.describe(id, about)
    }

    /// The identity of a history that is begun. Those who begin one of the same name at once have
    /// the same, so that only one of them comes to describe it. Whoever begins one again, after it
    /// was removed, has another.
    fn id_of_new(&self, name: &str, now: Timestamp) -> Result<HistoryId> {
        const MINUTE: i64 = 60_000_000;
        // The oldest key: those who know of a rotation have it, and those who don't.
        if let Some(oldest) = self.keyring().0.first() {
            // Jobs begin with the minute; so one ends at half of it.
            let minute = now.0.saturating_add(MINUTE / 2).div_euclid(MINUTE);
            let id = history_id(oldest, self.id(), minute, name);
            let names = HistoryNames(id);
            let listed = self.store().list(&names.all())?;
            if listed.iter().any(|entry| names.abouts().contains(&entry.name)) {
                return Err(Error::new(ErrorKind::Busy, "was begun by somebody else just now")
                    .with_object(format!("history {name:?}")));
            }
            if listed.is_empty() && !self.state_dir().join(id.to_string()).exists() {
                return Ok(id);
            }
        }
        HistoryId::random()
    }

    /// Begins a history that is the copy of another repository's: with its identity and its
    /// digests.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn adopt_history(&self, from: &History) -> Result<History> {
        self.describe(from.id(), from.about().clone())
    }
}

/// Histories whose descriptions were read, for whoever begins thousands one after the other: a
/// description never changes. Whoever wants to know whether it is still sound reads it.
#[derive(Debug, Default)]
pub(crate) struct Descriptions(Mutex<HashMap<HistoryId, History>>);

impl Descriptions {
    fn of(&self, id: HistoryId) -> Option<History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn remember(&self, history: &History) {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(history.id(), history.clone());
    }
}

/// The folders of histories, by what can be told of them.
#[derive(Default)]
pub(super) struct Folders {
    /// The histories whose descriptions can be read, oldest first.
    pub(super) histories: Vec<History>,
    /// Their identities.
    pub(super) known: BTreeSet<HistoryId>,
    /// Errors of the descriptions of others.
    pub(super) unreadable: Vec<(HistoryId, Error)>,
    /// Those that have neither a description nor segments.
    pub(super) bare: Vec<HistoryId>,
}

pub(crate) fn check_history_name(name: &str) -> Result<()> {
    let sound = !name.is_empty()
        && name.len() <= 255
        && name.trim() == name
        && !name.contains(['@', '/'])
        && !name.chars().any(char::is_control);
    sound.then_some(()).ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            "a history's name has 1 to 255 bytes, no @, / or control character, and no space around it",
        )
        .with_object(name)
        .with_hint(advice!["give the history another name: ", Remedy::Name])
    })
}
