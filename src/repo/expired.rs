//! Which commits expired: they are in a segment still, and are no restore points any more.
//!
//! Invariants: every record counts, whoever wrote it; so a record that repeats another can be published before that one is
//! deleted, and nothing comes back in between. What no segment has any more needs no record.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::format::expiry::Expiry;
use crate::format::limits;
use crate::repo::history::History;
use crate::types::{Seq, Term, Timestamp, WriterToken};

/// The commits that expired, and the records that say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Ascending; they do not touch.
    ranges: Vec<(Seq, Seq)>,
    records: Vec<(String, Term)>,
}

impl Expired {
    /// Reads all records; `None` if one went away since it was listed.
    pub(crate) fn load(history: &History) -> Result<Option<Self>> {
        let (repository, names) = (history.repository(), history.names());
        let mut records = Vec::new();
        let mut ranges = Vec::new();
        for entry in repository.store().list(&names.expiries())? {
            let Some(term) = names.parse_expiry(&entry.name) else { continue };
            let Some((_, expiry)) = repository.read_record::<Expiry>(&entry.name)? else {
                return Ok(None);
            };
            if expiry.term != term {
                return Err(Error::damaged(entry.name, "is another record under this one's name"));
            }
            ranges.extend(expiry.ranges);
            records.push((entry.name, term));
        }
        Ok(Some(Self { ranges: joined(ranges), records }))
    }

    pub(crate) fn contains(&self, seq: Seq) -> bool {
        let at = self.ranges.partition_point(|(_, last)| *last < seq);
        self.ranges.get(at).is_some_and(|(first, _)| *first <= seq)
    }

    /// The highest number that expired.
    pub(crate) fn last(&self) -> Option<Seq> {
        self.ranges.last().map(|(_, last)| *last)
    }

    /// The same but for some, for asking what would be.
    pub(crate) fn allowing(&self, seqs: &BTreeSet<Seq>) -> Self {
        let mut ranges = Vec::new();
        for (mut first, last) in self.ranges.iter().copied() {
            for seq in seqs.range(first..=last) {
                if first < *seq {
                    ranges.push((first, Seq(seq.0 - 1)));
                }
                first = seq.next();
            }
            if first <= last {
                ranges.push((first, last));
            }
        }
        Self { ranges, records: self.records.clone() }
    }

    /// What both say: the records are those of the first.
    pub(crate) fn agreeing(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for (first, last) in self.ranges.iter().copied() {
            let from = other.ranges.partition_point(|(_, end)| *end < first);
            let inside = other.ranges.iter().skip(from).take_while(|(begin, _)| *begin <= last);
            ranges.extend(inside.map(|(begin, end)| ((*begin).max(first), (*end).min(last))));
        }
        Self { ranges, records: self.records.clone() }
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[(Seq, Seq)] {
        &self.ranges
    }

    /// The same and some more, for asking what would be.
    pub(crate) fn with(&self, seqs: impl Iterator<Item = Seq>) -> Self {
        let more = seqs.map(|seq| (seq, seq));
        let ranges = joined(self.ranges.iter().copied().chain(more).collect());
        Self { ranges, records: self.records.clone() }
    }

    /// The records, and the terms that they were written in.
    pub(crate) fn records(&self) -> &[(String, Term)] {
        &self.records
    }

    /// Publishes which commits expired: of all the `states` that segments have, in ascending order, and what is listed
    /// `besides`. Commits in between that no segment has are listed with them, which keeps the records short. Answers the
    /// records' names.
    pub(crate) fn publish(
        history: &History,
        (term, time): (Term, Timestamp),
        states: impl Iterator<Item = (Seq, bool)>,
        besides: &[(Seq, Seq)],
    ) -> Result<Vec<String>> {
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
        let mut published = Vec::new();
        for chunk in ranges.chunks(limits::EXPIRY_RANGES) {
            let token = WriterToken::random()?;
            let name = history.names().expiry(term, token);
            let record = Expiry { term, time, ranges: chunk.to_vec() };
            history.repository().create_record(&name, token.0, &record)?;
            published.push(name);
        }
        Ok(published)
    }
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
        let expired = Expired { ranges, records: Vec::new() };
        let inside: Vec<u64> = (0..12).filter(|n| expired.contains(Seq(*n))).collect();
        assert_eq!(inside, [1, 2, 3, 5, 6, 8, 9]);
        let some = BTreeSet::from([Seq(1), Seq(5), Seq(9), Seq(20)]);
        assert_eq!(expired.allowing(&some).ranges, s(&[(2, 3), (6, 6), (8, 8)]));
        let other = Expired { ranges: s(&[(2, 2), (6, 8), (9, 20)]), records: Vec::new() };
        assert_eq!(expired.agreeing(&other).ranges, s(&[(2, 2), (6, 6), (8, 8), (9, 9)]));
        assert_eq!(expired.agreeing(&Expired::default()), Expired::default());
        assert_eq!(joined(s(&[(1, u64::MAX), (u64::MAX, u64::MAX)])), s(&[(1, u64::MAX)]));
    }
}
