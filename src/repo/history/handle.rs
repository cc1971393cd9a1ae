//! One history: a handle with its description, and how its small records are read.

use std::sync::Arc;

use crate::codec::digest::PageHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::format::about::About;
use crate::format::header::SealedPrefix;
use crate::format::names::HistoryNames;
use crate::format::record::Record;
use crate::remedy::{Remedy, advice};
use crate::repo::repository::Repository;
use crate::types::{HistoryId, Timestamp};

/// The past of one database.
#[derive(Clone, Debug)]
pub struct History {
    repository: Repository,
    id: HistoryId,
    /// Shared by all clones: each restore point has one.
    about: Arc<About>,
}

impl History {
    pub(crate) fn new(repository: Repository, id: HistoryId, about: About) -> Self {
        Self { repository, id, about: Arc::new(about) }
    }

    /// The repository that it is in.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its identity.
    pub fn id(&self) -> HistoryId {
        self.id
    }

    /// When it began.
    pub fn created(&self) -> Timestamp {
        self.about.created
    }

    /// Where its database lay when it began.
    pub fn source(&self) -> &str {
        &self.about.source
    }

    /// What it says of itself, with the key of its page digests.
    #[doc(hidden)]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.about.name
    }

    pub(crate) fn names(&self) -> HistoryNames {
        HistoryNames(self.id)
    }

    pub(crate) fn hasher(&self) -> PageHasher {
        PageHasher::new(self.about.digest_key.clone())
    }
}

/// What could be read, and errors of the rest.
pub(crate) type Readable<T> = (Vec<T>, Vec<Error>);

/// The records below a prefix with what their names say, and errors of those that can't be read.
/// `fits` tells whether a record is the one that its name says.
pub(crate) fn records_of<R: Record, N>(
    history: &History,
    prefix: &str,
    parse: impl Fn(&str) -> Option<N>,
    fits: impl Fn(&N, &SealedPrefix, &R) -> bool,
) -> Result<Readable<(N, R)>> {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for entry in history.repository().store().list(prefix)? {
        let Some(named) = parse(&entry.name) else { continue };
        match history.repository().read_record::<R>(&entry.name) {
            Ok(None) => {}
            Ok(Some((prefix, record))) if fits(&named, &prefix, &record) => {
                found.push((named, record));
            }
            Ok(Some(_)) => {
                let what = "is another record under this one's name";
                unread.push(Error::damaged(entry.name, what));
            }
            Err(e) if matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => unread.push(e),
            Err(e) => return Err(e),
        }
    }
    Ok((found, unread))
}

/// What counts only if all of it can be read: one that can't be may take another one back, or keep
/// a commit.
pub(crate) fn all_read(history: &History, unread: Vec<Error>) -> Result<()> {
    match unread.into_iter().next() {
        None => Ok(()),
        Some(e) if e.kind() == ErrorKind::TooNew || e.hint().is_some() => Err(e),
        Some(e) => Err(e.with_hint(advice![
            Remedy::examine(history.name()),
            " says what can be done about it",
        ])),
    }
}

/// Refuses what can't be typed or shown as one line.
pub(crate) fn check_label(what: &str, label: &str) -> Result<()> {
    let sound =
        !label.trim().is_empty() && label.len() <= 255 && !label.chars().any(char::is_control);
    sound.then_some(()).ok_or_else(|| {
        Error::new(ErrorKind::Usage, format!("{what} has 1 to 255 bytes and no control character"))
            .with_object(format!("{label:?}"))
    })
}

/// An id of eight bytes as an object id.
pub(crate) fn padded(id: [u8; 8]) -> [u8; 16] {
    let mut object = [0; 16];
    for (to, from) in object.iter_mut().skip(8).zip(id) {
        *to = from;
    }
    object
}
