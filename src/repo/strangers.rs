//! What lies in a repository's folders and is nothing that this version knows: it is passed over,
//! and told of.
//!
//! Nothing here moves it or deletes it. A newer version may know it, and what has no name of an
//! object is no object, whoever put it there.

use super::repository::Repository;
use crate::error::Result;
use crate::format::names::{self, HistoryNames};
use crate::repo::history::handle::History;
use crate::store::{Nature, Store};
use crate::types::HistoryId;

/// What is not known: the first of it, by name, and how much there is.
#[derive(Clone, Debug, Default)]
pub struct Strangers {
    first: Option<String>,
    count: u64,
}

impl Strangers {
    pub(super) fn add(&mut self, name: String) {
        // It is printed.
        let plain =
            |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
        let name: String = name.chars().map(plain).collect();
        self.count = self.count.saturating_add(1);
        if self.first.as_ref().is_none_or(|first| name < *first) {
            self.first = Some(name);
        }
    }

    /// The first one, and what is to be said of all of them.
    pub fn told(&self) -> Option<(&str, String)> {
        let first = self.first.as_ref()?;
        let more = match self.count {
            ..=1 => String::new(),
            n => format!(" (and {} more like it)", n - 1),
        };
        let told = format!(
            "is nothing that this pagekeep knows{more}, and is passed over; if no newer pagekeep wrote it, move it out of the repository's folder"
        );
        Some((first, told))
    }
}

/// What is not known among the objects of a history.
///
/// # Errors
/// Store errors.
pub(crate) fn of_history(history: &History) -> Result<Strangers> {
    let mut found = Strangers::default();
    among(history.repository().store(), history.names(), &mut found)?;
    Ok(found)
}

fn among(store: &dyn Store, names: HistoryNames, found: &mut Strangers) -> Result<()> {
    let prefixes = names.prefixes();
    for (name, nature) in store.look(&names.all())? {
        let is_object = names.is_object(&name);
        let is_folder = prefixes.iter().any(|prefix| prefix.trim_end_matches('/') == name);
        match nature {
            Nature::Folder if is_folder => {}
            // Whoever reads what is no file is told so.
            _ if is_object => {}
            _ => found.add(name),
        }
    }
    let of_parts = names.data();
    for prefix in prefixes {
        for (name, nature) in store.look(&prefix)? {
            let part = format!("{name}/00000000");
            match nature {
                Nature::Folder if prefix == of_parts && names.is_object(&part) => {}
                _ if names.is_object(&name) => {}
                _ => found.add(name),
            }
        }
    }
    Ok(())
}

impl Repository {
    /// What is not known among the folders of histories. `bare` are those that have neither a
    /// description nor segments.
    pub(super) fn strangers(&self, bare: &[HistoryId]) -> Result<Strangers> {
        let mut found = Strangers::default();
        for (name, _) in self.store().look(names::HISTORIES)? {
            // What is in the place of a history's folder is damage, and told of as that.
            if names::parse_history(&name).is_none() {
                found.add(name);
            }
        }
        for id in bare {
            let names = HistoryNames(*id);
            let listed = self.store().list(&names.all())?;
            // One that is under creation has objects of a history, or nothing.
            if !listed.is_empty() && !listed.iter().any(|e| names.is_object(&e.name)) {
                let all = names.all();
                found.add(all.trim_end_matches('/').to_owned());
            }
        }
        Ok(found)
    }
}
