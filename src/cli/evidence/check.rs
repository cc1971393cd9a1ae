//! Whether evidence is what was signed, and what it says.
//!
//! Invariants: nothing is read as what somebody says before the signature is right, and nothing is
//! told that was not what the signature is of: a file that is changed between the two looks at it
//! is refused. A file may still be anybody's: no line of it takes more memory than [`LINE`], and
//! what is no file is not waited for.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::document::{TYPE, VERSION, count};
use super::page::sums;
use super::sealed::{self, Checked, Reading, Wrong};
use crate::api::evidence::{EvidenceChecked, EvidenceSays, TestTally};
use crate::cli::args::EvidenceFormat;
use crate::cli::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::keys::signing::PublicKey;
use crate::sqlite::rows::cell::hex;
use crate::types::parse_hex;

/// The longest line of evidence that is read. A test takes one.
const LINE: u64 = 16 << 20;

pub(super) fn check(context: &Context, path: &Path, public_key: Option<&str>) -> Result<()> {
    let wanted = public_key.map(public).transpose()?;
    let object = path.display().to_string();
    let unread = |e: io::Error| Error::io(e, "cannot be read", &*object);
    let mut file = open(path).map_err(unread)?;
    let checked = match sealed::check(&mut file).map_err(unread)? {
        Ok(checked) => checked,
        Err(Wrong::Form) => {
            let what = "does not end as evidence does: it is none, or its end was altered";
            return Err(Error::damaged(&*object, what).with_hint(ASK));
        }
        Err(Wrong::Altered) => {
            let what = "is not what was signed: it was altered, or a part of it is missing";
            return Err(Error::damaged(&*object, what).with_hint(ASK));
        }
    };
    if wanted.is_some_and(|wanted| wanted != checked.public) {
        let what = format!("is signed by another key: {}", hex(&checked.public));
        return Err(Error::new(ErrorKind::WrongKey, what).with_object(&*object).with_hint(
            "a rotation of the master key brings another one: ask those who made it, and not by the way that the file came",
        ));
    }
    let says = match checked.format {
        EvidenceFormat::Json => Some(said(&mut file, &checked, &object)?),
        EvidenceFormat::Text | EvidenceFormat::Html => None,
    };
    tell(context, &object, &checked, wanted.is_some(), says);
    Ok(())
}

/// Opens a file, and nothing else: opening a pipe would wait for who writes to it.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "is no file")),
    }
}

/// What a file says whose signature is right.
fn said(file: &mut (impl Read + Seek), checked: &Checked, object: &str) -> Result<EvidenceSays> {
    let unread = |e: io::Error| Error::io(e, "cannot be read", object);
    file.seek(SeekFrom::Start(0)).map_err(unread)?;
    let mut again = Reading::new(file.take(checked.len));
    let says = read(&mut again, object);
    if again.sha256().map_err(unread)? != checked.sha256 {
        let what = "was changed while it was checked: what it says now is not what was signed";
        return Err(Error::damaged(object, what).with_hint("copy it, and check the copy"));
    }
    says
}

/// What helps with evidence that is not right.
const ASK: &str = "ask for it anew; what it says counts for nothing";

/// A public key that was typed.
fn public(text: &str) -> Result<PublicKey> {
    parse_hex(&text.trim().to_ascii_lowercase()).ok_or_else(|| {
        Error::new(ErrorKind::Usage, "is no public key: that has 64 hex digits")
            .with_object(format!("{text:?}"))
            .with_hint("`pagekeep key public` prints it, where the repository is")
    })
}

fn tell(
    context: &Context,
    file: &str,
    checked: &Checked,
    compared: bool,
    says: Option<EvidenceSays>,
) {
    let out = &context.out;
    let public_key = hex(&checked.public);
    if !compared {
        out.warn(&format!(
            "the signature is right, but anybody may have signed it: nobody said by --public-key whose key is to be {public_key}"
        ));
    }
    if out.json {
        let (file, sha256) = (file.to_owned(), checked.sha256.clone());
        out.json_summary(&EvidenceChecked { file, public_key, compared, sha256, says });
        return;
    }
    let row = |name: &str, value: &str| out.line(format_args!("{name:<14} {value}"));
    let whose = if compared { "the key that was named" } else { "a key that nobody named" };
    row("signature", &format!("right, by {whose}"));
    row("public key", &public_key);
    row("sha256", &checked.sha256);
    let Some(says) = says else {
        row("form", "a page for people, which says all itself");
        return;
    };
    row("history", &format!("{} ({})", says.history, says.id));
    row("repository", &says.repository);
    row("made", &format!("{} on {}", says.made, says.host));
    row("time told of", &format!("{} to {}", says.since, says.until));
    row("restore points", &says.restore_points.to_string());
    for (name, n) in sums(&says.tally) {
        row(name, &n.to_string());
    }
    row("long stretches", &format!("{} without a test", says.gaps));
    row("not read", &says.unread.to_string());
}

/// What a document says, as far as it is shown. Members that are not known are passed over.
#[derive(Deserialize)]
struct Document {
    r#type: String,
    version: u32,
    made: Made,
    history: About,
    span: Span,
    commits: Commits,
    tests: Tests,
    gaps: Many,
    unread: Many,
    tally: TestTally,
}

#[derive(Deserialize)]
struct Made {
    at: String,
    host: String,
}

#[derive(Deserialize)]
struct About {
    name: String,
    id: String,
    repository: String,
}

#[derive(Deserialize)]
struct Span {
    since: String,
    until: String,
}

#[derive(Deserialize)]
struct Commits {
    restore_points: u64,
}

/// Tests, of which each is counted and forgotten.
struct Tests(TestTally);

/// A list, of which each is counted and forgotten.
struct Many(u64);

#[derive(Deserialize)]
struct Ended {
    result: String,
}

impl<'de> Deserialize<'de> for Tests {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Tests;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tests")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut all: A,
            ) -> std::result::Result<Tests, A::Error> {
                let mut tally = TestTally::default();
                while let Some(Ended { result }) = all.next_element()? {
                    count(&mut tally, &result);
                }
                Ok(Tests(tally))
            }
        }
        from.deserialize_seq(Counting)
    }
}

impl<'de> Deserialize<'de> for Many {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Many;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut all: A,
            ) -> std::result::Result<Many, A::Error> {
                let mut n = 0_u64;
                while all.next_element::<IgnoredAny>()?.is_some() {
                    n = n.saturating_add(1);
                }
                Ok(Many(n))
            }
        }
        from.deserialize_seq(Counting)
    }
}

/// Reads what a document says.
fn read(file: impl Read, object: &str) -> Result<EvidenceSays> {
    let lines = Lines { from: file, line: 0 };
    let read: serde_json::Result<Document> = serde_json::from_reader(BufReader::new(lines));
    let senseless = |what: String| {
        Error::damaged(object, what).with_hint("whoever signed it did not make it by this program")
    };
    let document = read.map_err(|e| match e.io_error_kind() {
        Some(io::ErrorKind::InvalidData) | None => {
            senseless(format!("is signed, and no evidence of this form: {e}"))
        }
        Some(_) => Error::io(io::Error::from(e), "cannot be read", object),
    })?;
    if document.r#type != TYPE {
        return Err(senseless(format!("is signed, and of another type: {:?}", document.r#type)));
    }
    if document.version > VERSION {
        let what =
            format!("is of version {}, and version {VERSION} is known here", document.version);
        return Err(Error::new(ErrorKind::TooNew, what).with_object(object));
    }
    let Tests(tally) = document.tests;
    if tally != document.tally {
        return Err(senseless("is signed, and its sums are not those of its tests".to_owned()));
    }
    Ok(EvidenceSays {
        history: document.history.name,
        id: document.history.id,
        repository: document.history.repository,
        made: document.made.at,
        host: document.made.host,
        since: document.span.since,
        until: document.span.until,
        restore_points: document.commits.restore_points,
        tally,
        gaps: document.gaps.0,
        unread: document.unread.0,
    })
}

/// Refuses a line that is too long.
struct Lines<R> {
    from: R,
    line: u64,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(bytes)?;
        let read = bytes.get(..n).unwrap_or_default();
        let behind = read.iter().rev().take_while(|byte| **byte != b'\n').count();
        let kept = if behind == read.len() { self.line } else { 0 };
        self.line = kept.saturating_add(u64::try_from(behind).unwrap_or(u64::MAX));
        if self.line > LINE {
            let what = format!("a line has more than {LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"type": "pagekeep-evidence", "version": 1, "later": [1, {"a": null}],
        "made": {"at": "t", "host": "h"}, "history": {"name": "n", "id": "i", "repository": "r"},
        "span": {"since": "s", "until": "u"}, "commits": {"restore_points": 3},
        "tests": [{"result": "passed", "more": 1}, {"result": "odd"}], "gaps": [{}], "unread": [],
        "tally": {"tests": 2, "passed": 1, "failed": 0, "not_done": 0, "stopped": 0,
            "interrupted": 0, "running": 0, "unknown": 1}}"#;

    #[test]
    fn what_a_document_says_is_read_and_what_makes_no_sense_is_refused() {
        let says = read(SMALL.as_bytes(), "file").unwrap();
        assert_eq!((says.restore_points, says.gaps, says.tally.unknown), (3, 1, 1));
        let kind = |text: String| read(text.as_bytes(), "file").unwrap_err().kind();
        assert_eq!(kind(SMALL.replace("\"passed\": 1", "\"passed\": 2")), ErrorKind::Damaged);
        assert_eq!(kind(SMALL.replace("\"version\": 1", "\"version\": 2")), ErrorKind::TooNew);
        assert_eq!(kind(SMALL.replace("pagekeep-evidence", "else")), ErrorKind::Damaged);
        for end in 0..SMALL.len() {
            assert_eq!(kind(SMALL[..end].to_owned()), ErrorKind::Damaged, "{end}");
        }
        let deep = format!("{{\"later\": {}", "[".repeat(100_000));
        assert_eq!(kind(deep), ErrorKind::Damaged);
    }

    /// A file that is another one when it is looked at again: what is told is what was signed.
    #[test]
    fn what_changes_between_two_looks_is_not_told() {
        let sha256 = hex(ring::digest::digest(&ring::digest::SHA256, SMALL.as_bytes()).as_ref());
        let len = SMALL.len() as u64;
        let checked = Checked { format: EvidenceFormat::Json, public: [0; 32], sha256, len };
        let of = |text: String| said(&mut io::Cursor::new(text), &checked, "file");
        assert_eq!(of(SMALL.to_owned()).unwrap().history, "n");
        for changed in [
            SMALL.replace("\"n\"", "\"m\""),
            SMALL.replace("tally", "tolly"),
            SMALL.replace("\"n\"", " \"n"),
            SMALL[..SMALL.len() - 1].to_owned(),
        ] {
            let e = of(changed).unwrap_err();
            assert!(e.to_string().contains("changed while it was checked"), "{e}");
        }
        // What came behind it was not looked at.
        assert_eq!(of(format!("{SMALL} more")).unwrap().history, "n");
    }

    #[test]
    fn a_line_without_an_end_takes_no_memory_without_end() {
        let name = SMALL.find("\"n\"").unwrap();
        let (front, behind) = SMALL.split_at(name + 1);
        let endless = io::repeat(b'x').take(1 << 40);
        let e = read(front.as_bytes().chain(endless).chain(behind.as_bytes()), "file").unwrap_err();
        assert!(e.kind() == ErrorKind::Damaged && e.to_string().contains("a line has more"), "{e}");
    }
}
