//! Holds: commits that no policy drops, until the hold is removed.

use std::collections::HashSet;

use crate::error::Result;
use crate::format::hold::HoldRecord;
use crate::machine::host;
use crate::repo::chain::Commit;
use crate::repo::history::handle::{History, Readable, all_read, check_label, padded, records_of};
use crate::types::{Digest, HoldId, Seq, Timestamp};

/// A hold on a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hold {
    /// Its identity.
    pub id: HoldId,
    /// The commit.
    pub seq: Seq,
    /// Since when.
    pub time: Timestamp,
    /// Why.
    pub reason: String,
    /// The machine that asked for it.
    pub host: String,
    /// The database digest of the commit; `None` in a record of an earlier version.
    pub digest: Option<Digest>,
}

impl Hold {
    /// Whether it was given to this commit, and not to another one of its number that was lost.
    #[doc(hidden)]
    pub fn names(&self, commit: &Commit) -> bool {
        self.seq == commit.seq && self.digest.is_none_or(|digest| digest == commit.record.digest)
    }
}

impl History {
    /// The holds that count, by commit and then by age.
    ///
    /// # Errors
    /// Store errors; [`crate::error::ErrorKind::Damaged`] when a record can't be opened.
    pub fn holds(&self) -> Result<Vec<Hold>> {
        let (found, unread) = self.readable_holds()?;
        all_read(self, unread).map(|()| found)
    }

    /// The holds that count, as far as records can be read, and errors of those that can't be.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_holds(&self) -> Result<Readable<Hold>> {
        let mut found = Vec::new();
        let mut taken_back = HashSet::new();
        let names = self.names();
        let (records, unread) = records_of::<HoldRecord, (Seq, HoldId)>(
            self,
            &names.holds(),
            |name| names.parse_hold(name),
            |(seq, id), prefix, record| record.seq == *seq && prefix.object == padded(id.0),
        )?;
        for ((seq, id), record) in records {
            let HoldRecord { time, takes_back, reason, host, digest, .. } = record;
            match takes_back {
                Some(other) => {
                    taken_back.insert(other);
                }
                None => found.push(Hold { id, seq, time, reason, host, digest }),
            }
        }
        found.retain(|hold| !taken_back.contains(&hold.id));
        found.sort_by_key(|hold| (hold.seq, hold.time));
        Ok((found, unread))
    }

    /// Holds the commit of a number, whichever that is now.
    ///
    /// # Errors
    /// As [`History::hold`]; [`crate::error::ErrorKind::NotFound`] when there is none.
    pub fn add_hold(&self, seq: Seq, reason: &str) -> Result<Hold> {
        self.hold((seq, self.digest_of(seq)?), reason)
    }

    /// Holds a commit, given by its number and its database digest.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Usage`] for a reason that is empty or has control characters;
    /// [`crate::error::ErrorKind::NotFound`] when a prune dropped the commit meanwhile; store
    /// errors.
    ///
    /// # Durability
    /// When this returns, no prune drops the commit.
    pub fn hold(&self, (seq, digest): (Seq, Digest), reason: &str) -> Result<Hold> {
        check_label("a reason to hold", reason)?;
        let (time, host) = (self.repository().now(), host());
        let reason = reason.to_owned();
        let digest = Some(digest);
        let record = HoldRecord { seq, time, takes_back: None, reason, host, digest };
        let id = self.put_hold(&record)?;
        let HoldRecord { reason, host, .. } = record;
        let hold = Hold { id, seq, time, reason, host, digest };
        self.check_kept(seq, digest).inspect_err(|_| {
            // If it can't be taken back it does no harm.
            let _ = self.remove_hold(&hold);
        })?;
        Ok(hold)
    }

    /// Removes a hold.
    ///
    /// # Errors
    /// Store errors.
    pub fn remove_hold(&self, hold: &Hold) -> Result<()> {
        let takes_back = Some(hold.id);
        let record = HoldRecord {
            seq: hold.seq,
            time: self.repository().now(),
            takes_back,
            reason: hold.reason.clone(),
            host: host(),
            digest: None,
        };
        self.put_hold(&record).map(|_| ())
    }

    fn put_hold(&self, record: &HoldRecord) -> Result<HoldId> {
        let id = HoldId::random()?;
        let name = self.names().hold(record.seq, id);
        self.repository().create_record(&name, padded(id.0), record)?;
        Ok(id)
    }
}
