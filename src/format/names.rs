//! Where each object lives: names relative to the repository, with `/` between their parts.
//!
//! Invariant: numbers in names have a fixed width, so that names sort as their numbers do; a name
//! that is not exactly what these functions build is not an object of ours.

use crate::types::{
    HistoryId, HoldId, SegmentId, Seq, SlotId, SnapshotId, Term, Timestamp, WriterToken, parse_hex,
};

/// The repository object.
pub const REPOSITORY: &str = "repository";
/// The prefix of key slots.
pub const KEYS: &str = "keys/";
/// The prefix of histories.
pub const HISTORIES: &str = "histories/";

/// Where a repair puts damaged objects: in front of their names.
pub const QUARANTINE: &str = "quarantine/";

/// All that is in a repository's folder.
pub const TOP: [&str; 4] = ["repository", "keys", "histories", "quarantine"];

/// A key slot.
pub fn slot(id: SlotId) -> String {
    format!("{KEYS}{id}")
}

/// The slot that a name below [`KEYS`] stands for.
pub fn parse_slot(name: &str) -> Option<SlotId> {
    parse_hex(name.strip_prefix(KEYS)?).map(SlotId)
}

/// The history that a directory below [`HISTORIES`] stands for.
pub fn parse_history(name: &str) -> Option<HistoryId> {
    parse_hex(name.strip_prefix(HISTORIES)?).map(HistoryId)
}

/// The names of one history's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryNames(pub HistoryId);

/// A published segment, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    /// The term of its writer.
    pub term: Term,
    /// Its first commit.
    pub first: Seq,
}

impl HistoryNames {
    fn under(self, rest: &str) -> String {
        format!("{HISTORIES}{}/{rest}", self.0)
    }

    /// The prefix of all its objects.
    pub fn all(self) -> String {
        self.under("")
    }

    /// The description of the history.
    pub fn about(self) -> String {
        self.under("about")
    }

    /// The same once more: it has the only key of the history's page digests.
    pub fn about_2(self) -> String {
        self.under("about-2")
    }

    /// Both copies of the description, in the order in which they are created and read.
    pub fn abouts(self) -> [String; 2] {
        [self.about(), self.about_2()]
    }

    /// The prefix of writers' claims.
    pub fn writers(self) -> String {
        self.under("writers/")
    }

    /// A writer's claim.
    pub fn writer(self, term: Term) -> String {
        self.under(&format!("writers/{:016x}", term.0))
    }

    /// The term of a claim.
    pub fn parse_writer(self, name: &str) -> Option<Term> {
        fixed(name.strip_prefix(&self.writers())?).map(Term)
    }

    /// The prefix of followers' signs.
    pub fn signs(self) -> String {
        self.under("signs/")
    }

    /// A sign that a follower is there: the claim of its term once more, counted.
    pub fn sign(self, term: Term, number: u64) -> String {
        self.under(&format!("signs/{:016x}-{number:016x}", term.0))
    }

    /// The term and number of a sign.
    pub fn parse_sign(self, name: &str) -> Option<(Term, u64)> {
        let (term, number) = name.strip_prefix(&self.signs())?.split_once('-')?;
        Some((Term(fixed(term)?), fixed(number)?))
    }

    /// The prefix of published segments.
    pub fn log(self) -> String {
        self.under("log/")
    }

    /// A published segment.
    pub fn segment(self, at: LogName) -> String {
        self.under(&format!("log/{:016x}-{:016x}", at.term.0, at.first.0))
    }

    /// The term and the first commit of a published segment.
    pub fn parse_segment(self, name: &str) -> Option<LogName> {
        let (term, first) = name.strip_prefix(&self.log())?.split_once('-')?;
        Some(LogName { term: Term(fixed(term)?), first: Seq(fixed(first)?) })
    }

    /// The prefix of merged segments.
    pub fn merged(self) -> String {
        self.under("merged/")
    }

    /// A merged segment, which stands for the commits `first` to `last`.
    pub fn merged_segment(self, first: Seq, last: Seq, id: SegmentId) -> String {
        self.under(&format!("merged/{:016x}-{:016x}-{id}", first.0, last.0))
    }

    /// The commits that a merged segment stands for, and its identity.
    pub fn parse_merged(self, name: &str) -> Option<(Seq, Seq, SegmentId)> {
        let (first, rest) = name.strip_prefix(&self.merged())?.split_once('-')?;
        let (last, id) = rest.split_once('-')?;
        Some((Seq(fixed(first)?), Seq(fixed(last)?), SegmentId(parse_hex(id)?)))
    }

    /// The prefix of all parts.
    pub fn data(self) -> String {
        self.under("data/")
    }

    /// A part of a large segment.
    pub fn part(self, segment: SegmentId, part: u32) -> String {
        self.under(&format!("data/{segment}/{part:08x}"))
    }

    /// The prefix of snapshot records.
    pub fn snapshots(self) -> String {
        self.under("snapshots/")
    }

    /// A snapshot record.
    pub fn snapshot(self, seq: Seq, id: SnapshotId) -> String {
        self.under(&format!("snapshots/{:016x}-{id}", seq.0))
    }

    /// The commit and identity of a snapshot record.
    pub fn parse_snapshot(self, name: &str) -> Option<(Seq, SnapshotId)> {
        let (seq, id) = name.strip_prefix(&self.snapshots())?.split_once('-')?;
        Some((Seq(fixed(seq)?), SnapshotId(parse_hex(id)?)))
    }

    /// The prefix of holds.
    pub fn holds(self) -> String {
        self.under("holds/")
    }

    /// A hold.
    pub fn hold(self, seq: Seq, id: HoldId) -> String {
        self.under(&format!("holds/{:016x}-{id}", seq.0))
    }

    /// The commit and identity of a hold.
    pub fn parse_hold(self, name: &str) -> Option<(Seq, HoldId)> {
        let (seq, id) = name.strip_prefix(&self.holds())?.split_once('-')?;
        Some((Seq(fixed(seq)?), HoldId(parse_hex(id)?)))
    }

    /// The prefix of heads that writers build on.
    pub fn heads(self) -> String {
        self.under("heads/")
    }

    /// A head. The token keeps two of one term apart.
    pub fn head(self, term: Term, token: WriterToken) -> String {
        self.under(&format!("heads/{:016x}-{:08x}", term.0, short(token)))
    }

    /// The term of a head.
    pub fn parse_head(self, name: &str) -> Option<Term> {
        tokened(name.strip_prefix(&self.heads())?)
    }

    /// The prefix of announced expiries.
    pub fn announcements(self) -> String {
        self.under("expiring/")
    }

    /// An announced expiry: the one of the same term and token decides about it.
    pub fn announcement(self, term: Term, token: WriterToken) -> String {
        self.under(&format!("expiring/{:016x}-{:08x}", term.0, short(token)))
    }

    /// The term of an announced expiry, and the name of the expiry that decides about it.
    pub fn parse_announcement(self, name: &str) -> Option<(Term, String)> {
        let rest = name.strip_prefix(&self.announcements())?;
        Some((tokened(rest)?, self.under(&format!("expired/{rest}"))))
    }

    /// The prefix of expiries.
    pub fn expiries(self) -> String {
        self.under("expired/")
    }

    /// An expiry. The token keeps two of one term apart.
    pub fn expiry(self, term: Term, token: WriterToken) -> String {
        self.under(&format!("expired/{:016x}-{:08x}", term.0, short(token)))
    }

    /// The term of an expiry.
    pub fn parse_expiry(self, name: &str) -> Option<Term> {
        tokened(name.strip_prefix(&self.expiries())?)
    }

    /// The segment and number of a part.
    pub fn parse_part(self, name: &str) -> Option<(SegmentId, u32)> {
        let (segment, part) = name.strip_prefix(&self.data())?.split_once('/')?;
        Some((SegmentId(parse_hex(segment)?), u32::from_be_bytes(parse_hex(part)?)))
    }

    /// The prefix of proofs.
    pub fn proofs(self) -> String {
        self.under("proofs/")
    }

    /// A proof. Its time is the two's complement of the microseconds, in hex; the token keeps two
    /// proofs of one microsecond apart.
    pub fn proof(self, seq: Seq, time: Timestamp, token: WriterToken) -> String {
        self.under(&format!("proofs/{:016x}-{:016x}-{:08x}", seq.0, time.0, short(token)))
    }

    /// The commit of a proof.
    pub fn parse_proof(self, name: &str) -> Option<Seq> {
        let (seq, rest) = name.strip_prefix(&self.proofs())?.split_once('-')?;
        let (time, token) = rest.split_once('-')?;
        fixed(time)?;
        parse_hex::<4>(token)?;
        fixed(seq).map(Seq)
    }

    /// The prefixes of all objects but the two copies of the description.
    pub fn prefixes(self) -> [String; 11] {
        [
            self.writers(),
            self.signs(),
            self.log(),
            self.merged(),
            self.data(),
            self.snapshots(),
            self.holds(),
            self.proofs(),
            self.heads(),
            self.announcements(),
            self.expiries(),
        ]
    }

    /// Whether a name is one of an object of the history.
    pub fn is_object(self, name: &str) -> bool {
        self.abouts().iter().any(|about| about == name)
            || self.parse_writer(name).is_some()
            || self.parse_sign(name).is_some()
            || self.parse_segment(name).is_some()
            || self.parse_merged(name).is_some()
            || self.parse_part(name).is_some()
            || self.parse_snapshot(name).is_some()
            || self.parse_hold(name).is_some()
            || self.parse_proof(name).is_some()
            || self.parse_head(name).is_some()
            || self.parse_announcement(name).is_some()
            || self.parse_expiry(name).is_some()
    }
}

/// What a name shows of a token.
fn short(token: WriterToken) -> u32 {
    let [a, b, c, d, ..] = token.0;
    u32::from_be_bytes([a, b, c, d])
}

/// The term in a name that ends in a term and a token.
fn tokened(text: &str) -> Option<Term> {
    let (term, token) = text.split_once('-')?;
    parse_hex::<4>(token)?;
    fixed(term).map(Term)
}

/// The bytes of a token that a name ends in.
pub fn token_of(name: &str) -> Option<[u8; 4]> {
    parse_hex(name.rsplit_once('-')?.1)
}

fn fixed(text: &str) -> Option<u64> {
    parse_hex::<8>(text).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_foreign_ones_do_not() {
        let names = HistoryNames(HistoryId([0xab; 16]));
        let at = LogName { term: Term(3), first: Seq(0x1234) };
        let name = names.segment(at);
        assert_eq!(
            name,
            "histories/abababababababababababababababab/log/0000000000000003-0000000000001234"
        );
        assert_eq!(names.parse_segment(&name), Some(at));
        assert_eq!(names.parse_writer(&names.writer(Term(9))), Some(Term(9)));
        assert_eq!(names.parse_sign(&names.sign(Term(9), 2)), Some((Term(9), 2)));
        let merged = names.merged_segment(Seq(1), Seq(9), SegmentId([2; 16]));
        assert_eq!(names.parse_merged(&merged), Some((Seq(1), Seq(9), SegmentId([2; 16]))));
        let id = SnapshotId([1; 8]);
        assert_eq!(names.parse_snapshot(&names.snapshot(Seq(7), id)), Some((Seq(7), id)));
        let proof = names.proof(Seq(7), Timestamp(-1), WriterToken([2; 16]));
        assert_eq!(names.parse_proof(&proof), Some(Seq(7)));
        let hold = names.hold(Seq(7), HoldId([3; 8]));
        assert_eq!(names.parse_hold(&hold), Some((Seq(7), HoldId([3; 8]))));
        let expiry = names.expiry(Term(4), WriterToken([2; 16]));
        assert_eq!(names.parse_expiry(&expiry), Some(Term(4)));
        let head = names.head(Term(4), WriterToken([2; 16]));
        assert_eq!(names.parse_head(&head), Some(Term(4)));
        let announcement = names.announcement(Term(4), WriterToken([2; 16]));
        assert_eq!(names.parse_announcement(&announcement), Some((Term(4), expiry)));
        let part = names.part(SegmentId([2; 16]), 7);
        assert_eq!(names.parse_part(&part), Some((SegmentId([2; 16]), 7)));
        assert_eq!(parse_slot(&slot(SlotId([1; 8]))), Some(SlotId([1; 8])));
        for bad in ["", "x", "3-1", "0000000000000003-0000000000001234x", "000000000000000G-0"] {
            assert_eq!(names.parse_segment(&format!("{}{bad}", names.log())), None, "{bad}");
        }
        assert_eq!(HistoryNames(HistoryId([1; 16])).parse_segment(&name), None);
    }
}
