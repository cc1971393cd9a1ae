//! One history: its description, its labels, its proofs.

use std::collections::{HashMap, HashSet};

use crate::codec::digest::PageHasher;
use crate::error::{Error, ErrorKind, Result};
use crate::format::about::About;
use crate::format::header::SealedPrefix;
use crate::format::names::HistoryNames;
use crate::format::proof::Proof;
use crate::format::record::Record;
use crate::format::snapshot::{SnapshotKind, SnapshotRecord};
use crate::policy::selector::{check_reachable, trimmed};
use crate::repo::repository::Repository;
use crate::repo::chain::{Chain, Commit};
use crate::repo::expired;
use crate::repo::seen;
use crate::repo::standing::Standing;
use crate::types::{Digest, HistoryId, Seq, SnapshotId, Timestamp, WriterToken};

/// The past of one database.
#[derive(Clone, Debug)]
pub struct History {
    repository: Repository,
    id: HistoryId,
    about: About,
}

/// A label on a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identity.
    pub id: SnapshotId,
    /// The commit.
    pub seq: Seq,
    /// When the label was given.
    pub time: Timestamp,
    /// Why.
    pub kind: SnapshotKind,
    /// The label.
    pub label: String,
    /// The database digest of the commit that it was given to; `None` in a record of an earlier version.
    pub digest: Option<Digest>,
}

impl Snapshot {
    /// Whether it was given to this commit, and not to another one of its number that was lost.
    pub fn names(&self, commit: &Commit) -> bool {
        self.seq == commit.seq && self.digest.is_none_or(|digest| digest == commit.record.digest)
    }
}

impl History {
    pub(crate) fn new(repository: Repository, id: HistoryId, about: About) -> Self {
        Self { repository, id, about }
    }

    /// The repository that it is in.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its identity.
    pub fn id(&self) -> HistoryId {
        self.id
    }

    /// What it says of itself.
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

    /// Its segments, from the first to the newest.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when the chain is broken, or ends earlier than it did when this machine last
    /// saw it.
    pub fn chain(&self) -> Result<Chain> {
        self.as_seen(&|| Chain::load(self))
    }

    /// Its segments around what is missing or can't be read, for whoever only reads: [`Chain::holes`] says where something is missing.
    /// Of a history that is whole it is the same as [`History::chain`].
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when the history ends earlier than it did when this machine last saw it, and nothing tells that
    /// its newest segments are damaged.
    pub fn readable_chain(&self) -> Result<Chain> {
        self.as_seen(&|| Chain::load_readable(self, &HashSet::new()))
    }

    /// Reads a chain, and compares it with what this machine has seen. A listing is no moment: only what it shows twice is
    /// so.
    fn as_seen(&self, load: &dyn Fn() -> Result<Chain>) -> Result<Chain> {
        let seen = seen::read(self);
        let check = |chain: &Chain| match chain.holes().iter().all(|hole| hole.above.is_some()) {
            true => seen::check(self, chain, seen.as_ref()),
            // The newest segments can't be read: that is said already.
            false => Ok(()),
        };
        let chain = load()?;
        if check(&chain).is_ok() {
            return Ok(chain);
        }
        let chain = load()?;
        check(&chain)?;
        Ok(chain)
    }

    /// The chain as it is now, read in the same way as another one.
    pub(crate) fn chain_like(&self, other: &Chain) -> Result<Chain> {
        if other.is_tolerant() { self.readable_chain() } else { self.chain() }
    }

    /// The labels that count, by commit and then by age.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when a record can't be opened.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        Ok(self
            .all_snapshots()?
            .into_iter()
            .filter_map(|(s, gone)| gone.is_none().then_some(s))
            .collect())
    }

    /// The labels that were taken back, and when; by commit and then by age.
    ///
    /// # Errors
    /// As [`History::snapshots`].
    pub fn deleted_snapshots(&self) -> Result<Vec<(Snapshot, Timestamp)>> {
        Ok(self.all_snapshots()?.into_iter().filter_map(|(s, gone)| Some((s, gone?))).collect())
    }

    /// All labels, with when they were taken back if they were.
    pub(crate) fn all_snapshots(&self) -> Result<Vec<Given>> {
        let (found, unread) = self.readable_labels()?;
        all_read(self, unread).map(|()| found)
    }

    /// The labels that count, as far as records can be read, and errors of those that can't be.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_snapshots(&self) -> Result<Readable<Snapshot>> {
        let (found, unread) = self.readable_labels()?;
        let counts = found.into_iter().filter_map(|(s, gone)| gone.is_none().then_some(s));
        Ok((counts.collect(), unread))
    }

    /// All labels that can be read, with when they were taken back if they were, and errors of the others.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_labels(&self) -> Result<Readable<Given>> {
        let mut found = Vec::new();
        let mut taken_back = HashMap::new();
        let names = self.names();
        let (records, unread) = records_of::<SnapshotRecord, (Seq, SnapshotId)>(
            self,
            &names.snapshots(),
            |name| names.parse_snapshot(name),
            |(seq, id), prefix, record| record.seq == *seq && prefix.object == padded(id.0),
        )?;
        for ((seq, id), record) in records {
            match record.takes_back {
                Some(other) => {
                    taken_back.insert(other, record.time);
                }
                None => found.push(Snapshot {
                    id,
                    seq,
                    time: record.time,
                    kind: record.kind,
                    label: record.label,
                    digest: record.digest,
                }),
            }
        }
        found.sort_by_key(|s| (s.seq, s.time));
        let gone = |s: &Snapshot| taken_back.get(&s.id).copied();
        Ok((found.into_iter().map(|s| (gone(&s), s)).map(|(gone, s)| (s, gone)).collect(), unread))
    }

    /// Labels the commit of a number, whichever that is now.
    ///
    /// # Errors
    /// As [`History::label`]; [`ErrorKind::NotFound`] when there is none.
    pub fn add_snapshot(&self, seq: Seq, label: &str, kind: SnapshotKind) -> Result<Snapshot> {
        self.label((seq, self.digest_of(seq)?), label, kind)
    }

    /// The database digest of a commit, restore point or not.
    pub(crate) fn digest_of(&self, seq: Seq) -> Result<Digest> {
        let chain = self.readable_chain()?;
        let found = chain.states().find(|commit| commit.seq == seq);
        found.map(|commit| commit.record.digest).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("has no commit seq:{seq}"))
                .with_object(format!("history {:?}", self.name()))
        })
    }

    /// Labels a commit, given by its number and its database digest.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a label that can't be selected later; [`ErrorKind::NotFound`] when a prune dropped the commit
    /// meanwhile; store errors.
    pub fn label(
        &self,
        (seq, digest): (Seq, Digest),
        label: &str,
        kind: SnapshotKind,
    ) -> Result<Snapshot> {
        let label = sound_label(label)?;
        // Always a record of its own, also of a label that is given already: whoever gave that may be about to take it back.
        let time = Timestamp::now();
        let digest = Some(digest);
        let id = self.put_snapshot(&SnapshotRecord {
            seq,
            time,
            kind,
            takes_back: None,
            label: label.to_owned(),
            digest,
        })?;
        let snapshot = Snapshot { id, seq, time, kind, label: label.to_owned(), digest };
        self.check_kept(seq, digest).inspect_err(|_| {
            // A label on what is going away means nothing; if it can't be taken back it does no harm.
            let _ = self.remove_snapshot(&snapshot);
        })?;
        Ok(snapshot)
    }

    /// Makes sure that a commit stays, now that a record was written that is to keep it: that no other writer takes its
    /// place, and that no prune drops it. What prunes announced is withdrawn; what they announce later, they decide on
    /// when they have seen the record.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it is no restore point any more; [`ErrorKind::Busy`] when another writer may still
    /// displace it; [`ErrorKind::Damaged`] when it can't be told on what another writer builds; store errors.
    pub(crate) fn check_kept(&self, seq: Seq, digest: Option<Digest>) -> Result<()> {
        // What can't be read may concern any commit.
        expired::withdraw(self, |_, announced| {
            announced.is_none_or(|announced| {
                announced.ranges.iter().any(|(first, last)| (*first..=*last).contains(&seq))
            })
        })?;
        let chain = self.readable_chain()?;
        let gone = match chain.commit(seq) {
            None => "a prune dropped it",
            Some(now) if digest.is_some_and(|digest| digest != now.record.digest) => {
                "another writer displaced it"
            }
            Some(_) => "",
        };
        if !gone.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("commit {seq} is no restore point any more: {gone}"),
            )
            .with_object(format!("history {:?}", self.name())));
        }
        let standing = Standing::of(self, &chain)?;
        standing.check(self)?;
        if standing.settled().is_none_or(|settled| settled < seq) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("another writer is taking over, and may still displace commit {seq}"),
            )
            .with_object(format!("history {:?}", self.name()))
            .with_hint("run it again once something newer is stored"));
        }
        Ok(())
    }

    /// Takes a label back.
    ///
    /// # Errors
    /// Store errors.
    pub fn remove_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        self.put_snapshot(&SnapshotRecord {
            seq: snapshot.seq,
            time: Timestamp::now(),
            kind: snapshot.kind,
            takes_back: Some(snapshot.id),
            label: snapshot.label.clone(),
            digest: None,
        })
        .map(|_| ())
    }

    fn put_snapshot(&self, record: &SnapshotRecord) -> Result<SnapshotId> {
        let id = SnapshotId::random()?;
        let name = self.names().snapshot(record.seq, id);
        self.repository.create_record(&name, padded(id.0), record)?;
        Ok(id)
    }

    /// The stored verification results, oldest commit first.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::Damaged`] when one can't be opened.
    pub fn proofs(&self) -> Result<Vec<Proof>> {
        let (found, unread) = self.readable_proofs()?;
        all_read(self, unread).map(|()| found)
    }

    /// The stored verification results that can be read, and errors of the others. What those said nobody knows.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_proofs(&self) -> Result<Readable<Proof>> {
        let names = self.names();
        let (records, unread) = records_of::<Proof, Seq>(
            self,
            &names.proofs(),
            |name| names.parse_proof(name),
            |seq, _, proof| proof.seq == *seq,
        )?;
        let mut found: Vec<Proof> = records.into_iter().map(|(_, proof)| proof).collect();
        found.sort_by_key(|p| (p.seq, p.started));
        Ok((found, unread))
    }

    /// Stores a verification result.
    ///
    /// # Errors
    /// Store errors.
    pub fn add_proof(&self, proof: &Proof) -> Result<()> {
        let token = WriterToken::random()?;
        let name = self.names().proof(proof.seq, proof.started, token);
        self.repository.create_record(&name, token.0, proof)
    }
}

/// A label, and when it was taken back if it was.
type Given = (Snapshot, Option<Timestamp>);

/// What could be read, and errors of the rest.
pub(crate) type Readable<T> = (Vec<T>, Vec<Error>);

/// The records below a prefix with what their names say, and errors of those that can't be read. `fits` tells whether a record is the one
/// that its name says.
pub(super) fn records_of<R: Record, N>(
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

/// What counts only if all of it can be read: one that can't be may take another one back, or keep a commit.
pub(super) fn all_read(history: &History, unread: Vec<Error>) -> Result<()> {
    match unread.into_iter().next() {
        None => Ok(()),
        Some(e) if e.kind() == ErrorKind::TooNew || e.hint().is_some() => Err(e),
        Some(e) => Err(e.with_hint(format!(
            "`pagekeep repair {}` says what can be done about it",
            history.name()
        ))),
    }
}

/// A label as it is given: without white space around it, which nobody sees.
///
/// # Errors
/// [`ErrorKind::Usage`] for one that nobody could select a commit by.
pub(crate) fn sound_label(label: &str) -> Result<&str> {
    let label = trimmed(label);
    check_label("a label", label)?;
    check_reachable(label).map(|()| label)
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
