//! The signature at the end of a file, and whether it is right.
//!
//! ```text
//! what is said ‖ BEFORE ‖ public key ‖ BETWEEN ‖ signature ‖ AFTER
//! ```
//!
//! The three texts are those of the form, the public key and the signature are lower-case hex. What
//! is signed is a line with the version of this scheme, and one with SHA-256 of all before the
//! signature's digits. So every byte of the file counts: those before by the digest, those behind
//! since they are compared.
//!
//! Invariant: writing and checking take the same memory for every size.

use std::io::{self, Read, Seek, SeekFrom, Write};

use ring::digest::{Context as Hasher, SHA256};

use crate::cli::args::EvidenceFormat;
use crate::error::Result;
use crate::repo::keys::signing::{PublicKey, SigningKey, is_signed};
use crate::sqlite::rows::cell::hex;
use crate::types::parse_hex;

/// What is signed begins with it.
const SCHEME: &str = "pagekeep evidence v1";
/// Hex digits of a public key, and of a signature.
const PUBLIC: usize = 64;
const SIGNATURE: usize = 128;
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// The texts around a signature.
pub(super) struct Tail {
    pub(super) format: EvidenceFormat,
    before: &'static str,
    between: &'static str,
    after: &'static str,
}

/// One for each form. No file ends with two of them.
const TAILS: [Tail; 3] = [
    Tail {
        format: EvidenceFormat::Json,
        before: ",\n  \"signature\": {\n    \"scheme\": \"pagekeep evidence v1: Ed25519 of SHA-256\",\n    \"public_key\": \"",
        between: "\",\n    \"value\": \"",
        after: "\"\n  }\n}\n",
    },
    Tail {
        format: EvidenceFormat::Text,
        before: "\nSignature\n=========\npagekeep evidence v1: Ed25519 of SHA-256\npublic key: ",
        between: "\nsignature:  ",
        after: "\n",
    },
    Tail {
        format: EvidenceFormat::Html,
        before: "<h2>Signature</h2>\n<p>pagekeep evidence v1: Ed25519 of SHA-256</p>\n<pre>public key: ",
        between: "\nsignature:  ",
        after: "</pre>\n</html>\n",
    },
];

impl Tail {
    pub(super) fn of(format: EvidenceFormat) -> &'static Self {
        let [json, text, html] = &TAILS;
        match format {
            EvidenceFormat::Json => json,
            EvidenceFormat::Text => text,
            EvidenceFormat::Html => html,
        }
    }

    fn len(&self) -> usize {
        self.before.len() + PUBLIC + self.between.len() + SIGNATURE + self.after.len()
    }

    /// The public key and the signature that the end of a file has, if it is of this form.
    fn read(&self, end: &[u8]) -> Option<(PublicKey, [u8; 64])> {
        let end = std::str::from_utf8(end.get(end.len().checked_sub(self.len())?..)?).ok()?;
        let rest = end.strip_prefix(self.before)?.strip_suffix(self.after)?;
        let (public, rest) = rest.split_at_checked(PUBLIC)?;
        let signature = rest.strip_prefix(self.between)?;
        Some((parse_hex(public)?, parse_hex(signature)?))
    }
}

/// What is signed, for the digest of all before the signature.
fn message(digest: &[u8]) -> String {
    format!("{SCHEME}\n{}\n", hex(digest))
}

/// A writer that remembers what it needs to sign.
pub(super) struct Signing<W> {
    to: W,
    hasher: Hasher,
}

/// What signing came to.
pub(super) struct Signed {
    pub(super) public: PublicKey,
    /// SHA-256 of the whole file.
    pub(super) sha256: String,
}

impl<W: Write> Signing<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, hasher: Hasher::new(&SHA256) }
    }

    /// Ends the file with its signature.
    pub(super) fn sign(
        mut self,
        format: EvidenceFormat,
        key: &SigningKey,
    ) -> Result<io::Result<Signed>> {
        let (tail, public) = (Tail::of(format), key.public()?);
        let front = [tail.before, &hex(&public), tail.between].concat();
        if let Err(e) = self.write_all(front.as_bytes()) {
            return Ok(Err(e));
        }
        let signature = key.sign(message(self.hasher.clone().finish().as_ref()).as_bytes())?;
        let end = [&hex(&signature), tail.after].concat();
        let written = self.write_all(end.as_bytes()).and_then(|()| self.to.flush());
        let sha256 = hex(self.hasher.finish().as_ref());
        Ok(written.map(|()| Signed { public, sha256 }))
    }
}

impl<W: Write> Write for Signing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file whose signature is right.
pub(super) struct Checked {
    pub(super) format: EvidenceFormat,
    pub(super) public: PublicKey,
    /// SHA-256 of the whole file.
    pub(super) sha256: String,
    /// How long it is.
    pub(super) len: u64,
}

/// A reader that tells in the end what it read: a file may be changed between two looks at it.
pub(super) struct Reading<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Reading<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, hasher: Hasher::new(&SHA256) }
    }

    /// SHA-256 of all that there was, with what nobody read so far.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub(super) fn sha256(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex(self.hasher.finish().as_ref()))
    }
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(bytes)?;
        self.hasher.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Why there is no right signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It does not end as evidence does.
    Form,
    /// It is not what was signed.
    Altered,
}

/// Checks the signature of a file, by the key that the file itself names.
///
/// # Errors
/// What keeps the file from being read.
pub(super) fn check(
    file: &mut (impl Read + Seek),
) -> io::Result<std::result::Result<Checked, Wrong>> {
    let len = file.seek(SeekFrom::End(0))?;
    let longest = TAILS.iter().map(Tail::len).max().unwrap_or_default();
    let at = len.saturating_sub(u64::try_from(longest).unwrap_or(u64::MAX));
    let mut end = Vec::with_capacity(longest);
    file.seek(SeekFrom::Start(at))?;
    file.by_ref().take(u64::try_from(longest).unwrap_or(u64::MAX)).read_to_end(&mut end)?;
    let found = TAILS.iter().find_map(|tail| Some((tail, tail.read(&end)?)));
    let Some((tail, (public, signature))) = found else { return Ok(Err(Wrong::Form)) };
    let behind = u64::try_from(SIGNATURE + tail.after.len()).unwrap_or(u64::MAX);
    let mut left = len.saturating_sub(behind);
    let mut hasher = Hasher::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    file.seek(SeekFrom::Start(0))?;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let Some(part) = chunk.get_mut(..most) else { break };
        file.read_exact(part)?;
        hasher.update(part);
        left -= u64::try_from(most).unwrap_or(left);
    }
    let before = hasher.clone().finish();
    if !is_signed(&public, message(before.as_ref()).as_bytes(), &signature) {
        return Ok(Err(Wrong::Altered));
    }
    // What was compared at the end is what is there: it is a part of the digest of the whole.
    hasher.update([&hex(&signature), tail.after].concat().as_bytes());
    let sha256 = hex(hasher.finish().as_ref());
    Ok(Ok(Checked { format: tail.format, public, sha256, len }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use super::*;
    use crate::format::slot::KdfParams;
    use crate::repo::keys::secret::Secret;
    use crate::repo::{Repository, RepositoryOptions};
    use crate::store::MemoryStore;

    fn signed(format: EvidenceFormat, said: &[u8]) -> (Vec<u8>, Signed) {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::new_recovery().unwrap();
        let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
        let options = RepositoryOptions::new(dir.path().join("state"));
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::init(store, &[(&secret, "")], kdf, &options).unwrap();
        let mut file = Vec::new();
        let mut signing = Signing::new(&mut file);
        signing.write_all(said).unwrap();
        let signed = signing.sign(format, &repository.signing_key().unwrap()).unwrap().unwrap();
        (file, signed)
    }

    const FORMATS: [EvidenceFormat; 3] =
        [EvidenceFormat::Json, EvidenceFormat::Text, EvidenceFormat::Html];

    #[test]
    fn what_is_signed_is_right_and_no_other_byte_of_it_is() {
        for format in FORMATS {
            let (file, signed) = signed(format, b"{\n  \"type\": 1");
            let right = check(&mut Cursor::new(&file)).unwrap().ok().unwrap();
            assert_eq!((right.format, right.public), (format, signed.public));
            let whole = ring::digest::digest(&SHA256, &file);
            assert_eq!(
                (hex(whole.as_ref()), &right.sha256),
                (signed.sha256.clone(), &signed.sha256)
            );
            for at in 0..file.len() {
                for change in [1, 0x20, 0x80] {
                    let mut other = file.clone();
                    other[at] ^= change;
                    assert!(check(&mut Cursor::new(&other)).unwrap().is_err(), "{at} {change}");
                }
                // A part that is missing, at the end and at the beginning; and one more byte.
                assert!(check(&mut Cursor::new(&file[..at])).unwrap().is_err(), "up to {at}");
                assert!(
                    at == 0 || check(&mut Cursor::new(&file[at..])).unwrap().is_err(),
                    "from {at}"
                );
                let mut longer = file.clone();
                longer.insert(at, b' ');
                assert!(check(&mut Cursor::new(&longer)).unwrap().is_err(), "longer at {at}");
            }
            let behind = [&file[..], b"\n"].concat();
            assert!(check(&mut Cursor::new(behind)).unwrap().is_err());
        }
    }

    #[test]
    fn a_signature_of_another_file_is_none_of_this_one() {
        let (one, _) = signed(EvidenceFormat::Text, b"one");
        let (other, _) = signed(EvidenceFormat::Text, b"two");
        let mixed = [&one[..3], &other[3..]].concat();
        assert!(matches!(check(&mut Cursor::new(mixed)).unwrap(), Err(Wrong::Altered)));
        assert!(matches!(check(&mut Cursor::new(b"")).unwrap(), Err(Wrong::Form)));
    }

    #[test]
    fn more_than_a_chunk_is_signed_and_checked() {
        for len in [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let (mut file, _) = signed(EvidenceFormat::Json, &vec![b'x'; len]);
            assert!(check(&mut Cursor::new(&file)).unwrap().is_ok(), "{len}");
            file[len - 1] ^= 1;
            assert!(check(&mut Cursor::new(&file)).unwrap().is_err(), "{len}");
        }
    }
}
