//! Which commits expired: they are in a segment still, and are no restore points any more.
//!
//! Invariants:
//! - Every record counts, whoever wrote it; so a record that repeats another can be published
//!   before that one is deleted, and nothing comes back in between. What no segment has any more
//!   needs no record.
//! - No commit expires that somebody was told is labelled or held. Who lets commits expire
//!   *announces* it, lists labels and holds, and only then publishes the record. Who labels or
//!   holds publishes that, lists the announcements, and *withdraws* those of its commit. An
//!   announcement and the record that decides about it have the same term and token, and to
//!   withdraw is to publish that record without any commit. Only one of the two can be published,
//!   as only one object can have a name.
//! - Who announced decides within ten minutes or starts over. A record without commits stays for a
//!   week: the request that it forestalls may be under way for so long.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::expiry::Expiry;
use crate::format::{limits, names};
use crate::repo::history::handle::History;
use crate::types::{Seq, Term, Timestamp, WriterToken};

/// How long after its announcement an expiry may be published.
const PROMPT: Duration = Duration::from_secs(600);

/// The commits that expired, and the records that say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Ascending; they do not touch.
    ranges: Vec<(Seq, Seq)>,
    records: Vec<(String, Term)>,
    /// Records without commits, and when they were made.
    withdrawn: Vec<(String, Timestamp)>,
}

/// Expiries that were announced and not decided about.
#[derive(Debug)]
pub(crate) struct Announcement {
    /// When, by this machine's clock.
    announced: Timestamp,
    /// The names of the announcements, their tokens, and the records that are to be published.
    records: Vec<(String, WriterToken, Expiry)>,
}

impl Expired {
    /// Reads all records; `None` if one went away since it was listed.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when one can't be read; store errors.
    pub(crate) fn load(history: &History) -> Result<Option<Self>> {
        Self::load_with(history, &mut |e| Err(e))
    }

    /// As [`Expired::load`], but without the records that can't be read, and what is wrong with
    /// those.
    pub(crate) fn load_readable(history: &History) -> Result<(Option<Self>, Vec<Error>)> {
        let mut bad = Vec::new();
        let found = Self::load_with(history, &mut |e| match e.kind() {
            ErrorKind::Damaged | ErrorKind::TooNew => {
                bad.push(e);
                Ok(())
            }
            _ => Err(e),
        })?;
        Ok((found, bad))
    }

    fn load_with(
        history: &History,
        bad: &mut dyn FnMut(Error) -> Result<()>,
    ) -> Result<Option<Self>> {
        let (repository, names) = (history.repository(), history.names());
        let mut records = Vec::new();
        let mut ranges = Vec::new();
        let mut withdrawn = Vec::new();
        for entry in repository.store().list(&names.expiries())? {
            let Some(term) = names.parse_expiry(&entry.name) else { continue };
            match repository.read_record::<Expiry>(&entry.name) {
                Ok(None) => return Ok(None),
                Ok(Some((_, expiry))) if expiry.term == term && expiry.ranges.is_empty() => {
                    withdrawn.push((entry.name, entry.modified));
                }
                Ok(Some((_, expiry))) if expiry.term == term => {
                    ranges.extend(expiry.ranges);
                    records.push((entry.name, term));
                }
                Ok(Some(_)) => {
                    bad(Error::damaged(entry.name, "is another record under this one's name"))?;
                }
                Err(e) => bad(e)?,
            }
        }
        Ok(Some(Self { ranges: joined(ranges), records, withdrawn }))
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < seq);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= seq)
    }

    /// The highest number that expired.
    pub(crate) fn last(&self) -> Option<Seq> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// What both say: the records are those of the first.
    pub(crate) fn agreeing(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for (first, last) in self.ranges.iter().copied() {
            let from = other.ranges.partition_point(|(_, end)| *end < first);
            let inside = other.ranges.iter().skip(from).take_while(|(begin, _)| *begin <= last);
            ranges.extend(inside.map(|(begin, end)| ((*begin).max(first), (*end).min(last))));
        }
        Self { ranges, ..self.clone() }
    }

    /// What did not expire yet of some ranges; ascending, and joined where they touch.
    pub(crate) fn rest_of(&self, ranges: Vec<(Seq, Seq)>) -> Vec<(Seq, Seq)> {
        let mut rest = Vec::new();
        for (mut first, last) in joined(ranges) {
            let from = self.ranges.partition_point(|(_, end)| *end < first);
            for (begin, end) in
                self.ranges.iter().skip(from).take_while(|(begin, _)| *begin <= last)
            {
                if first < *begin {
                    rest.push((first, Seq(begin.0 - 1)));
                }
                first = end.next();
            }
            if first <= last && !self.contains(first) {
                rest.push((first, last));
            }
        }
        rest
    }

    /// The ranges that go on behind a number.
    pub(crate) fn beyond(&self, end: Seq) -> &[(Seq, Seq)] {
        let from = self.ranges.partition_point(|(_, last)| *last <= end);
        self.ranges.get(from..).unwrap_or_default()
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[(Seq, Seq)] {
        &self.ranges
    }

    /// The same and some more, for asking what would be.
    pub(crate) fn with(&self, seqs: impl Iterator<Item = Seq>) -> Self {
        let more = seqs.map(|seq| (seq, seq));
        let ranges = joined(self.ranges.iter().copied().chain(more).collect());
        Self { ranges, ..self.clone() }
    }

    /// Records that only forestall others, and when they were made.
    pub(crate) fn withdrawn(&self) -> &[(String, Timestamp)] {
        &self.withdrawn
    }

    /// The records, and the terms that they were written in.
    pub(crate) fn records(&self) -> &[(String, Term)] {
        &self.records
    }

    /// Announces which commits expire: of all the `states` that segments have, in ascending order,
    /// and what is listed `besides`. Commits in between that no segment has are listed with them,
    /// which keeps the records short.
    pub(crate) fn announce(
        history: &History,
        (term, time): (Term, Timestamp),
        states: impl Iterator<Item = (Seq, bool)>,
        besides: &[(Seq, Seq)],
    ) -> Result<Announcement> {
        let mut ranges: Vec<(Seq, Seq)> = Vec::new();
        let mut open = false;
        for (seq, expired) in states {
            match (expired, ranges.last_mut().filter(|_| open)) {
                (true, Some((_, last))) => *last = seq,
                (true, None) => ranges.push((seq, seq)),
                (false, _) => {}
            }
            open = expired;
        }
        ranges.extend(besides);
        // Commits that touch are one range, as the format wants it.
        let ranges = joined(ranges);
        let announced = history.repository().now();
        let mut announcement = Announcement { announced, records: Vec::new() };
        for chunk in ranges.chunks(limits::EXPIRY_RANGES) {
            let token = WriterToken::random()?;
            let name = history.names().announcement(term, token);
            let record = Expiry { term, time, ranges: chunk.to_vec() };
            history.repository().create_record(&name, token.0, &record)?;
            announcement.records.push((name, token, record));
        }
        Ok(announcement)
    }

    /// Publishes which commits are lost. Labels and holds do not bring those back, so nothing is
    /// announced.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn publish_lost(
        history: &History,
        (term, time): (Term, Timestamp),
        lost: &[(Seq, Seq)],
    ) -> Result<()> {
        for chunk in joined(lost.to_vec()).chunks(limits::EXPIRY_RANGES) {
            let token = WriterToken::random()?;
            let record = Expiry { term, time, ranges: chunk.to_vec() };
            history.repository().create_record(
                &history.names().expiry(term, token),
                token.0,
                &record,
            )?;
        }
        Ok(())
    }
}

impl Announcement {
    /// Lets what was announced expire. Returns whether all of it did; what somebody withdrew
    /// meanwhile did not.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when the announcement is too old: a record that withdrew it may be
    /// deleted again by now; store errors.
    pub(crate) fn decide(self, history: &History) -> Result<bool> {
        let (repository, mut all) = (history.repository(), true);
        let now = repository.now();
        if now > self.announced.after(PROMPT) || now < self.announced {
            self.take_back(history)?;
            return Err(Error::new(ErrorKind::Busy, "slept while it decided what expires")
                .with_object(format!("history {:?}", history.name()))
                .with_hint("run it again"));
        }
        for (announced, token, record) in self.records {
            let name = history.names().expiry(record.term, token);
            match repository.create_record(&name, token.0, &record) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Busy => all = false,
                Err(e) => return Err(e),
            }
            repository.store().delete(&announced)?;
        }
        Ok(all)
    }

    /// Takes back what was announced.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn take_back(self, history: &History) -> Result<()> {
        // Nobody else publishes the records that would decide.
        self.records.iter().try_for_each(|(name, ..)| history.repository().store().delete(name))
    }
}

/// Withdraws those announcements that concern somebody, whoever made them. One that was decided
/// about meanwhile stays as it is. What concerns somebody is asked by the name of the decision, and
/// by what is announced if that can be read: a prune that is at work knows what it announced,
/// whatever became of the object.
///
/// # Errors
/// Store errors.
pub(crate) fn withdraw(
    history: &History,
    concerns: impl Fn(&str, Option<&Expiry>) -> bool,
) -> Result<()> {
    let (repository, names) = (history.repository(), history.names());
    for entry in repository.store().list(&names.announcements())? {
        let Some((term, decision)) = names.parse_announcement(&entry.name) else { continue };
        let announced = match repository.read_record::<Expiry>(&entry.name) {
            Ok(Some((prefix, announced))) if announced.term == term => {
                Some((prefix.object, announced))
            }
            // It was decided about.
            Ok(None) => continue,
            Ok(Some(_)) => None,
            Err(e) if e.kind() == ErrorKind::Damaged => None,
            Err(e) => return Err(e),
        };
        if !concerns(&decision, announced.as_ref().map(|(_, announced)| announced)) {
            continue;
        }
        let (object, nothing) = match announced {
            Some((object, announced)) => (object, Expiry { ranges: Vec::new(), ..announced }),
            None => {
                let time = repository.now();
                (object_of(&decision)?, Expiry { term, time, ranges: Vec::new() })
            }
        };
        match repository.create_record(&decision, object, &nothing) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::Busy => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// An object id for a record of which only the name is known: that shows the first four bytes.
fn object_of(name: &str) -> Result<[u8; 16]> {
    let mut object = WriterToken::random()?.0;
    for (byte, known) in object.iter_mut().zip(names::token_of(name).into_iter().flatten()) {
        *byte = known;
    }
    Ok(object)
}

/// The same seqs in ranges that ascend and do not touch.
fn joined(mut ranges: Vec<(Seq, Seq)>) -> Vec<(Seq, Seq)> {
    ranges.sort_unstable();
    let mut joined: Vec<(Seq, Seq)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if end.next() >= first => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_where_they_touch() {
        let s = |pairs: &[(u64, u64)]| -> Vec<(Seq, Seq)> {
            pairs.iter().map(|(a, b)| (Seq(*a), Seq(*b))).collect()
        };
        let ranges = joined(s(&[(8, 9), (1, 2), (3, 3), (5, 6), (5, 5)]));
        assert_eq!(ranges, s(&[(1, 3), (5, 6), (8, 9)]));
        let expired = Expired { ranges, ..Expired::default() };
        let inside: Vec<u64> = (0..12).filter(|n| expired.contains(Seq(*n))).collect();
        assert_eq!(inside, [1, 2, 3, 5, 6, 8, 9]);
        let other = Expired { ranges: s(&[(2, 2), (6, 8), (9, 20)]), ..Expired::default() };
        assert_eq!(expired.agreeing(&other).ranges, s(&[(2, 2), (6, 6), (8, 8), (9, 9)]));
        assert_eq!(expired.agreeing(&Expired::default()), Expired::default());
        assert_eq!(
            expired.rest_of(s(&[(2, 10), (12, 12)])),
            s(&[(4, 4), (7, 7), (10, 10), (12, 12)])
        );
        assert_eq!(expired.rest_of(s(&[(1, 3), (5, 5)])), s(&[]));
        assert_eq!(joined(s(&[(1, u64::MAX), (u64::MAX, u64::MAX)])), s(&[(1, u64::MAX)]));
    }
}
