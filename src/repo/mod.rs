//! A repository: histories of databases, sealed, in a store.
//!
//! - [`Repository`] opens it with a key and finds histories. [`keys`] are the secrets that people keep, [`slots`] wrap the
//!   master keys for each of them, and [`rotate`] brings a new master key in.
//! - [`history::History`] is one history, of whose description there are two copies ([`described`]); [`chain::Chain`] its segments, from the first to the newest.
//! - [`writer::Writer`] is the right to append to it, `publish::SegmentWriter` a segment under way.
//! - `page_map` finds which page versions a commit consists of.
//! - `state` is what this machine remembers; all of it can be deleted at any time. [`absent`] and [`place`] notice by it what is
//!   gone as a whole. [`recover`] writes the object `repository` anew when that is lost.
//!
//! Invariants: what was published is never overwritten; nothing is trusted before its seal opened and its place
//! in the chain was checked.

pub mod absent;
pub mod chain;
pub(crate) mod claims;
pub(crate) mod collect;
pub(crate) mod data;
pub mod described;
pub(crate) mod digests;
pub(crate) mod doubt;
pub(crate) mod expired;
pub mod history;
pub mod hold;
mod keyring;
pub mod keys;
pub(crate) mod links;
pub(crate) mod local;
pub(crate) mod merge;
mod newer;
pub mod numbers;
pub(crate) mod page_map;
pub mod place;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub mod recover;
pub(crate) mod rival;
pub mod rotate;
pub(crate) mod seen;
pub mod segment;
pub mod slots;
pub(crate) mod standing;
pub(crate) mod state;
pub mod strangers;
pub mod term;
pub(crate) mod upkeep;
pub mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::seal::{SealKey, TAG_LEN, history_id};
use crate::error::{Error, ErrorKind, Result};
use crate::format::about::{About, DigestKey};
use crate::format::names::{self, HistoryNames};
use crate::format::record::Record;
use crate::format::repository::RepositoryObject;
use crate::format::slot::{KdfParams, MasterKey};
use crate::format::{Header, ObjectKind, SealedPrefix, limits};
use crate::store::{Created, LocalStore, Nature, Store};
use crate::types::{HistoryId, RepositoryId, Timestamp, random_bytes};

use history::History;
use keyring::{Keyring, Keys, Opened};
use keys::Secret;

/// A repository that is open. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct Repository(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    id: RepositoryId,
    created: Timestamp,
    keys: Keys,
    state_dir: PathBuf,
}

impl Repository {
    /// Creates a repository in a store and opens it. Each secret gets a slot with a label.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when there is one already, or what is left of one whose object `repository` is missing; store errors.
    ///
    /// # Durability
    /// When this returns, the repository and its slots survive a crash. The repository object comes last, so
    /// one that exists has its slots.
    pub fn init(
        store: Arc<dyn Store>,
        secrets: &[(&Secret, &str)],
        kdf: KdfParams,
        state_dir: PathBuf,
    ) -> Result<Self> {
        let Some((first, _)) = secrets.first() else {
            return Err(Error::new(ErrorKind::Usage, "a repository needs a key"));
        };
        recover::check_free(&*store)?;
        let object = RepositoryObject { id: RepositoryId::random()?, created: Timestamp::now() };
        let keyring = Keyring::new()?;
        let mut slots = Vec::new();
        for (secret, label) in secrets {
            let slot = slots::make_slot(object.id, &keyring, secret, label, kdf)?;
            slots::store_slot(&*store, &slot)?;
            slots.push(slot.front.id);
        }
        // It is open with the first one.
        slots.truncate(1);
        if store.create(names::REPOSITORY, &object.encode())? == Created::Exists {
            return Err(Error::new(ErrorKind::Refused, "is a repository already")
                .with_object(store.location()));
        }
        let RepositoryObject { id, created } = object;
        let tried = slots.iter().copied().collect();
        let unread = Arc::default();
        let keys = Keys::new(first, Opened { slots, keyring, tried, unread });
        Ok(Self(Arc::new(Inner { store, id, created, keys, state_dir })))
    }

    /// Opens the repository in a store.
    ///
    /// # Errors
    /// [`ErrorKind::NoRepository`], [`ErrorKind::WrongKey`], [`ErrorKind::TooNew`],
    /// [`ErrorKind::Damaged`]; [`ErrorKind::Refused`] when what this machine remembers is another
    /// user's; store errors.
    pub fn open(store: Arc<dyn Store>, secret: &Secret, state_dir: PathBuf) -> Result<Self> {
        let object = recover::read_object(&*store)?;
        let opened = slots::open_slots(&*store, object.id, secret)?;
        let RepositoryObject { id, created } = object;
        local::check_folder(&state_dir.join(id.to_string()))?;
        let keys = Keys::new(secret, opened);
        Ok(Self(Arc::new(Inner { store, id, created, keys, state_dir })))
    }

    /// The same repository, opened by another process on another machine.
    #[cfg(test)]
    pub(crate) fn elsewhere(&self, store: Arc<dyn Store>, state_dir: PathBuf) -> Self {
        let Inner { id, created, keys, .. } = &*self.0;
        let (id, created, keys) = (*id, *created, keys.again());
        Self(Arc::new(Inner { store, id, created, keys, state_dir }))
    }

    /// The same repository, opened once more with the keys that there are now.
    #[cfg(test)]
    pub(crate) fn again(&self, secret: &Secret) -> Result<Self> {
        Self::open(self.0.store.clone(), secret, self.0.state_dir.clone())
    }

    /// The repository's identity.
    pub fn id(&self) -> RepositoryId {
        self.0.id
    }

    /// When it was created.
    pub fn created(&self) -> Timestamp {
        self.0.created
    }

    /// Where it lives.
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// Where this machine keeps what it remembers of the repository.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.0.state_dir.join(self.0.id.to_string())
    }

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

    /// The histories whose descriptions can be read, oldest first, and what is wrong with the others'.
    ///
    /// # Errors
    /// Store errors.
    pub fn readable_histories(&self) -> Result<(Vec<History>, Vec<Error>)> {
        let Folders { histories, unreadable, .. } = self.folders()?;
        Ok((histories, unreadable.into_iter().map(|(_, e)| e).collect()))
    }

    /// The folders of histories, by what can be told of them.
    fn folders(&self) -> Result<Folders> {
        let mut folders = Folders::default();
        for dir in self.store().list_dirs(names::HISTORIES)? {
            let Some(id) = names::parse_history(&dir) else { continue };
            let name = HistoryNames(id).about();
            match self.read_about(id) {
                Ok(Some(about)) => {
                    folders.known.insert(id);
                    folders.histories.push(History::new(self.clone(), id, about));
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
    /// [`ErrorKind::NotFound`] when there is none; [`ErrorKind::Damaged`] when there was one and it is gone;
    /// [`ErrorKind::Usage`] when two machines created the name at the same moment and only an id tells them apart.
    pub fn history(&self, name: &str) -> Result<History> {
        // Damage of another history is no reason not to find this one.
        self.census()?.find(name)
    }

    /// Begins a history.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name that can't be selected later; [`ErrorKind::Busy`] when somebody else begins one of this name
    /// at the same time; store errors.
    pub fn create_history(&self, name: &str, source: &str) -> Result<History> {
        check_history_name(name)?;
        let created = Timestamp::now();
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

    /// The identity of a history that is begun. Those who begin one of the same name at once have the same, so that only one of them
    /// comes to describe it. Whoever begins one again, after it was removed, has another.
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

    /// Begins a history that is the copy of another repository's: with its identity and its digests.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn adopt_history(&self, from: &History) -> Result<History> {
        self.describe(from.id(), from.about().clone())
    }

    /// The whole object that holds a sealed body: prefix and seal. A reader has to know the `required` features.
    pub(crate) fn seal_object(
        &self,
        name: &str,
        (kind, required): (ObjectKind, u16),
        object: [u8; 16],
        body: &[u8],
        master: &MasterKey,
    ) -> Result<Vec<u8>> {
        let body_len = u32::try_from(body.len() + TAG_LEN)
            .map_err(|_| Error::new(ErrorKind::Failure, "has too long a body").with_object(name))?;
        let header = Header { required, ..Header::new(kind) };
        let prefix = SealedPrefix { header, key: master.id, object, body_len };
        let mut bytes = prefix.encode();
        let key = SealKey::for_object(master, self.0.id, kind, &object);
        let sealed =
            key.seal(&[&bytes, &self.0.id.0, name.as_bytes()], body).map_err(|e| e.of(name))?;
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Opens the body behind a prefix. `bytes` begin with the prefix and hold at least the body.
    pub(crate) fn open_object(
        &self,
        name: &str,
        prefix: &SealedPrefix,
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        let master = self.master(prefix.key, name)?;
        let truncated = || Error::damaged(name, "ends too early");
        let (front, rest) = bytes.split_at_checked(SealedPrefix::LEN).ok_or_else(truncated)?;
        let len = usize::try_from(prefix.body_len).map_err(|_| truncated())?;
        let mut sealed = rest.get(..len).ok_or_else(truncated)?.to_vec();
        let key = SealKey::for_object(&master, self.0.id, prefix.header.kind, &prefix.object);
        let bound = [front, &self.0.id.0, name.as_bytes()];
        key.open_in_place(&bound, &mut sealed).map_err(|e| e.of(name))?;
        Ok(sealed.split_off(TAG_LEN))
    }

    /// Publishes a small record under a name that nobody has.
    pub(crate) fn create_record<R: Record>(
        &self,
        name: &str,
        object: [u8; 16],
        record: &R,
    ) -> Result<()> {
        let (kind, body) = ((R::KIND, record.required()), record.encode());
        let bytes = self.seal_object(name, kind, object, &body, &self.newest_key()?)?;
        match self.store().create(name, &bytes)? {
            Created::New => Ok(()),
            Created::Exists => {
                Err(Error::new(ErrorKind::Busy, "was created by somebody else").with_object(name))
            }
        }
    }

    /// Reads and opens a small record, if it is there.
    pub(crate) fn read_record<R: Record>(&self, name: &str) -> Result<Option<(SealedPrefix, R)>> {
        self.read_record_at(name, name)
    }

    /// As [`Repository::read_record`], of one that was sealed under another name than it lies under: in the quarantine.
    pub(crate) fn read_record_at<R: Record>(
        &self,
        at: &str,
        name: &str,
    ) -> Result<Option<(SealedPrefix, R)>> {
        // Whatever follows belongs to nothing.
        let longest = limits::RECORD_BODY + SealedPrefix::LEN;
        let Some(bytes) = self.store().get_range(at, 0, longest)? else { return Ok(None) };
        let as_what = (R::KIND, limits::RECORD_BODY);
        let prefix = self.prefix_of(name, as_what, &bytes, |_| Ok(bytes.clone()))?;
        let body = self.open_object(name, &prefix, &bytes)?;
        let record = R::decode_as(prefix.header.required, &body).map_err(|e| e.of(name))?;
        Ok(Some((prefix, record)))
    }
}

/// The folders of histories, by what can be told of them.
#[derive(Default)]
struct Folders {
    /// The histories whose descriptions can be read, oldest first.
    histories: Vec<History>,
    /// Their identities.
    known: BTreeSet<HistoryId>,
    /// Errors of the descriptions of others.
    unreadable: Vec<(HistoryId, Error)>,
    /// Those that have neither a description nor segments.
    bare: Vec<HistoryId>,
}

/// When a backup of the history last ran to its end on this machine, whether or not there was anything new.
///
/// # Errors
/// When the local state can't be read.
pub fn last_run_here(history: &History) -> Result<Option<Timestamp>> {
    Ok(state::peek(history)?.and_then(|state| state.last_run).map(Timestamp))
}

/// Forgets what this machine saw of a history, so that one which was set back on purpose is taken as it is.
///
/// # Errors
/// [`ErrorKind::Busy`] when a process of this machine writes to the history; when the local state can't be removed.
pub fn accept_rollback(history: &History) -> Result<()> {
    seen::forget(history)
}

/// The store at a location, as the command line and configuration files write it: a directory.
///
/// # Errors
/// [`ErrorKind::NoRepository`] when there is no such directory; [`ErrorKind::Usage`] for a location
/// of a kind that this build can't reach.
pub fn open_store(location: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(LocalStore::open(local_path(location)?)?))
}

/// As [`open_store`], creating the directory.
///
/// # Errors
/// As [`open_store`], and when it can't be created.
pub fn create_store(location: &str) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(LocalStore::create_root(local_path(location)?)?))
}

fn local_path(location: &str) -> Result<&Path> {
    if location.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the repository's location is empty"));
    }
    if let Some((scheme, _)) = location.split_once("://") {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{scheme}:// locations are not supported yet; only directories are"),
        )
        .with_object(location));
    }
    Ok(Path::new(location))
}

fn check_history_name(name: &str) -> Result<()> {
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
        .with_hint("give the history another name: --name NAME")
    })
}

/// This machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
