//! The nouns that every part shares: page numbers and sizes, sequence numbers, times, identities
//! and digests.
//!
//! Invariants: a [`PageSize`] is always one that SQLite allows; an identity is printed and parsed
//! as lower-case hex and in no other way; a [`Timestamp`] is UTC microseconds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A page number; SQLite counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNo(pub u32);

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A database page size in bytes: a power of two from 512 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PageSize(u32);

impl PageSize {
    /// What SQLite gives a new database.
    pub const DEFAULT: Self = Self(4096);

    /// Accepts what SQLite accepts, and nothing else.
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && (512..=65536).contains(&bytes)).then_some(Self(bytes))
    }

    /// The size in bytes.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The size in bytes, for slices.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The page that holds SQLite's lock byte, at offset 2^30. It never carries data: it is
    /// neither read nor stored, and a restore leaves zeros there.
    pub const fn lock_page(self) -> PageNo {
        PageNo((1 << 30) / self.0 + 1)
    }

    /// Where a page begins in the database file.
    pub const fn offset(self, page: PageNo) -> u64 {
        (page.0 as u64).saturating_sub(1) * self.0 as u64
    }

    /// How many bytes a database of `pages` pages has.
    pub const fn file_len(self, pages: u32) -> u64 {
        pages as u64 * self.0 as u64
    }
}

impl TryFrom<u32> for PageSize {
    type Error = String;
    fn try_from(bytes: u32) -> std::result::Result<Self, String> {
        Self::new(bytes).ok_or_else(|| format!("{bytes} is not a page size"))
    }
}

impl From<PageSize> for u32 {
    fn from(size: PageSize) -> u32 {
        size.0
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sequence number of a commit within its history, from 1, without gaps.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a writer's turn at a history, from 1.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// UTC microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The wall clock's time. A clock before 1970 reads as 1970.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// So much earlier, as far as there are numbers.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// So much later, as far as there are numbers.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The same moment as a calendar date; `None` outside the years that chrono knows.
    pub fn to_utc(self) -> Option<chrono::DateTime<chrono::Utc>> {
        chrono::DateTime::from_timestamp_micros(self.0)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with microseconds; a moment outside the calendar prints as a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_utc() {
            Some(t) => f.write_str(&t.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// Where the time of a commit comes from: the wall clock, unless a test says otherwise.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that asks a function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(..)")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let time = chrono::DateTime::parse_from_rfc3339(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(time.timestamp_micros()))
    }
}

/// Writes bytes as lower-case hex.
pub fn write_hex(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('?');
    bytes.iter().try_for_each(|b| {
        f.write_char(digit(b >> 4))?;
        f.write_char(digit(b & 15))
    })
}

/// Reads exactly `N` bytes of lower-case hex; anything else is `None`, so that every value has
/// one spelling.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// A fresh random one, from the operating system's generator.
            ///
            /// # Errors
            /// [`ErrorKind::Failure`] when the generator fails.
            pub fn random() -> Result<Self> {
                random_bytes().map(Self)
            }

            /// Whether every byte is zero, which stands for "none" in stored objects.
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|b| *b == 0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                parse_hex(text).map(Self).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Usage,
                        format!("{text:?} is not {} lower-case hex digits", $len * 2),
                    )
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(
                &self,
                s: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(
                d: D,
            ) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                parse_hex(&text)
                    .map(Self)
                    .ok_or_else(|| serde::de::Error::custom("not an identity in hex"))
            }
        }
    };
}

identity!(
    /// A repository, named once at `init`.
    RepositoryId,
    16
);
identity!(
    /// A history within a repository.
    HistoryId,
    16
);
identity!(
    /// A segment; also its object identity, from which its sealing keys come.
    SegmentId,
    16
);
identity!(
    /// A snapshot record.
    SnapshotId,
    8
);
identity!(
    /// A hold record.
    HoldId,
    8
);
identity!(
    /// A key slot.
    SlotId,
    8
);
identity!(
    /// A master key of the keyring.
    KeyId,
    8
);
identity!(
    /// What tells one writer from another, even on one machine.
    WriterToken,
    16
);
identity!(
    /// A keyed BLAKE3 of a page's content and number, or the XOR of such digests over all pages
    /// of a database; 16 bytes.
    Digest,
    16
);

impl Digest {
    /// Adds a page to, or takes it out of, a database digest.
    pub fn toggle(&mut self, page: &Digest) {
        for (mine, theirs) in self.0.iter_mut().zip(page.0) {
            *mine ^= theirs;
        }
    }
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`ErrorKind::Failure`] when the operating system's generator fails.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    #[cfg(test)]
    if let Some(world) = crate::simulated::world() {
        world.random(&mut bytes);
        return Ok(bytes);
    }
    getrandom::fill(&mut bytes).map_err(|e| {
        Error::new(ErrorKind::Failure, "the operating system gives no random bytes").with_source(e)
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_those_of_sqlite() {
        for bad in [0, 1, 256, 511, 513, 1000, 65535, 131_072] {
            assert!(PageSize::new(bad).is_none(), "{bad}");
        }
        assert_eq!(PageSize::new(4096).unwrap().lock_page(), PageNo(262_145));
        assert_eq!(PageSize::new(65536).unwrap().lock_page(), PageNo(16_385));
        assert_eq!(PageSize::new(512).unwrap().offset(PageNo(3)), 1024);
    }

    #[test]
    fn an_identity_has_one_spelling() {
        let id = KeyId([0, 1, 0xab, 0xff, 4, 5, 6, 7]);
        assert_eq!(id.to_string(), "0001abff04050607");
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        for bad in ["", "00", "0001ABFF04050607", "0001abff0405060", "0001abff0405060g"] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn toggling_twice_changes_nothing() {
        let mut sum = Digest([7; 16]);
        let page = Digest([0x5a; 16]);
        sum.toggle(&page);
        assert_ne!(sum, Digest([7; 16]));
        sum.toggle(&page);
        assert_eq!(sum, Digest([7; 16]));
    }
}
