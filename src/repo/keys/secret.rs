//! Secrets: what people keep to open a repository.
//!
//! Invariant: a secret lives in zeroizing memory and is in no `Debug` and no error.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::disk::{Disk as _, Os};
use crate::error::{Error, ErrorKind, Result};
use crate::format::slot::{SecretKind, SlotFront};
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::local::files::is_trusted;
use crate::types::{parse_hex, random_bytes, write_hex};

const MISTYPED: &str = "the recovery key was mistyped: its checksum is wrong";
/// The alphabet of recovery keys: Crockford's base32.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The context of a recovery key's checksum.
const RECOVERY_CHECKSUM: &str = "pagekeep 2026 v1 recovery checksum";
/// Symbols of a recovery key: 35 bytes of five bits each.
const RECOVERY_LEN: usize = 56;

/// The longest key file, with its comments.
const MAX_KEY_FILE: u64 = 64 << 10;

/// What opens a repository.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// The 256 bits of a key file.
    KeyFile(Zeroizing<[u8; 32]>),
    /// The 256 bits of a recovery key.
    Recovery(Zeroizing<[u8; 32]>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({}, ..)", self.kind().name())
    }
}

impl Secret {
    /// A passphrase.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] when it is empty.
    pub fn passphrase(text: String) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the passphrase is empty"));
        }
        Ok(Self::Passphrase(Zeroizing::new(text)))
    }

    /// A new recovery key.
    ///
    /// # Errors
    /// [`ErrorKind::Failure`] without random bytes.
    pub fn new_recovery() -> Result<Self> {
        Ok(Self::Recovery(Zeroizing::new(random_bytes()?)))
    }

    /// Reads a key file. Nothing but a file is read, so that nobody waits for a pipe.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when it can't be read or is not a key file.
    pub fn read_key_file(path: &Path) -> Result<Self> {
        Ok(Self::key_file_and_owner(path)?.0)
    }

    fn key_file_and_owner(path: &Path) -> Result<(Self, u32)> {
        let name = path.display().to_string();
        let (text, owner) = small_file(path).map_err(|e| {
            let hint = match e.kind() {
                io::ErrorKind::NotFound => advice![
                    "check its path, and whether its disk is mounted; a new one comes with a new repository: ",
                    Remedy::CreateRepository,
                ],
                io::ErrorKind::InvalidInput => Advice::from("name a file, of one line and comments"),
                _ => Advice::from("check that this user may read it"),
            };
            Error::io(e, "cannot be read", &*name).with_kind(ErrorKind::WrongKey).with_hint(hint)
        })?;
        Ok((Self::parse_key_file(&text, &name)?, owner))
    }

    /// The key in a key file's text. `name` is what errors call it.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when it is not a key file's.
    pub fn parse_key_file(text: &str, name: &str) -> Result<Self> {
        let mut lines =
            text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let lower = lines.next().map(|line| Zeroizing::new(line.to_ascii_lowercase()));
        let key = lower.and_then(|line| parse_hex(&line)).map(Zeroizing::new);
        match (key, lines.next()) {
            (Some(key), None) => Ok(Self::KeyFile(key)),
            _ => Err(Error::new(ErrorKind::WrongKey, "is not a pagekeep key file")
                .with_object(name)
                .with_hint(
                    advice!["a key file has one line of 64 hex digits; lines with # are comments; for a recovery key: ", Remedy::RecoveryKey],
                )),
        }
    }

    /// Creates a key file with a new key, 0600, or reads the one that is there.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when another user than this one or root made it: that user knows the
    /// key. [`ErrorKind::Storage`] when it can't be written, or as [`Secret::read_key_file`].
    pub fn create_key_file(path: &Path) -> Result<Self> {
        let key = Zeroizing::new(random_bytes::<32>()?);
        let mut text = Zeroizing::new(String::from(
            "# pagekeep key file. Whoever has it can read the backups; without it nobody can.\n\
             # Keep a copy in another place.\n",
        ));
        let written = write_hex(&mut *text, &*key).map_err(io::Error::other).and_then(|()| {
            text.push('\n');
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Os.sync_dir(path.parent().unwrap_or(Path::new(".")))
        });
        match written {
            Ok(()) => Ok(Self::KeyFile(key)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let (secret, owner) = Self::key_file_and_owner(path)?;
                if is_trusted(owner) {
                    return Ok(secret);
                }
                Err(Error::new(
                    ErrorKind::Refused,
                    format!("belongs to another user (uid {owner}), who knows the key in it"),
                )
                .with_object(path.display().to_string())
                .with_hint("name a file that is not there yet: it is created"))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Usage, "cannot be created: its folder does not exist")
                    .with_object(path.display().to_string())
                    .with_hint("create the folder first, or name another file"))
            }
            Err(e) => Err(Error::io(e, "cannot be created", path.display().to_string())),
        }
    }

    /// Whether others than its owner may read a file with a key. A pipe or a terminal is none.
    pub fn key_file_is_exposed(path: &Path) -> bool {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
    }

    /// Reads a recovery key as it was printed; case, hyphens and white space do not matter, nor
    /// does text around it that has no other.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when there is none, when it was mistyped, or when there are two.
    pub fn parse_recovery(text: &str) -> Result<Self> {
        let whole = Self::parse_symbols(text);
        if whole.is_ok() {
            return whole;
        }
        // Its checksum tells it from all other words.
        let words = text.split(|c: char| c.is_whitespace() || "\"'\u{201c}\u{201d}:,".contains(c));
        let parts = text.lines().chain(words).map(Self::parse_symbols);
        let (found, wrong): (Vec<_>, Vec<_>) = parts.partition(Result::is_ok);
        let mut keys = found.into_iter().flatten();
        let Some(Self::Recovery(key)) = keys.next() else {
            let mistyped = |e: &Result<Self>| e.as_ref().is_err_and(|e| e.message() == MISTYPED);
            return wrong.into_iter().find(mistyped).unwrap_or(whole);
        };
        if keys.any(|other| matches!(other, Self::Recovery(other) if other != key)) {
            return Err(Error::new(ErrorKind::WrongKey, "there are two recovery keys in it")
                .with_hint("leave one of them"));
        }
        Ok(Self::Recovery(key))
    }

    fn parse_symbols(text: &str) -> Result<Self> {
        let wrong = |what| Error::new(ErrorKind::WrongKey, what);
        let mut bits: Zeroizing<Vec<bool>> = Zeroizing::new(Vec::with_capacity(RECOVERY_LEN * 5));
        let is_hyphen = |c| matches!(c, '-' | '\u{2010}'..='\u{2015}');
        for c in text.chars().filter(|c| !is_hyphen(*c) && !c.is_whitespace()) {
            let c = match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                c => c,
            };
            let value = SYMBOLS
                .iter()
                .position(|s| char::from(*s) == c)
                .ok_or_else(|| wrong("the recovery key has a character that none has"))?;
            bits.extend((0..5).rev().map(|i| value >> i & 1 == 1));
        }
        if bits.len() != RECOVERY_LEN * 5 {
            return Err(wrong("the recovery key has not 56 symbols"));
        }
        let mut bytes = Zeroizing::new([0u8; 35]);
        for (byte, bits) in bytes.iter_mut().zip(bits.as_chunks::<8>().0) {
            *byte = bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        }
        let (key, sum) = bytes.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        if sum != recovery_checksum(key) {
            return Err(wrong(MISTYPED));
        }
        Ok(Self::Recovery(Zeroizing::new(*key)))
    }

    /// A recovery key for printing: eight groups of seven symbols. `None` for other secrets.
    pub fn print_recovery(&self) -> Option<Zeroizing<String>> {
        let Self::Recovery(key) = self else { return None };
        let sum = recovery_checksum(key);
        let bytes = key.iter().chain(&sum);
        let bits: Zeroizing<Vec<bool>> = Zeroizing::new(
            bytes.flat_map(|b| (0..8).rev().map(move |i| b >> i & 1 == 1)).collect(),
        );
        let mut text = Zeroizing::new(String::with_capacity(64));
        for (i, five) in bits.chunks(5).enumerate() {
            if i > 0 && i % 7 == 0 {
                text.push('-');
            }
            let value = five.iter().fold(0usize, |v, bit| v << 1 | usize::from(*bit));
            text.extend(SYMBOLS.get(value).map(|s| char::from(*s)));
        }
        Some(text)
    }

    /// What kind of secret it is.
    pub fn kind(&self) -> SecretKind {
        match self {
            Self::Passphrase(_) => SecretKind::Passphrase,
            Self::KeyFile(_) => SecretKind::KeyFile,
            Self::Recovery(_) => SecretKind::Recovery,
        }
    }

    /// The 256 bits that a slot's sealing key comes from.
    pub(crate) fn bits(&self, front: &SlotFront) -> Result<Zeroizing<[u8; 32]>> {
        match (self, front.kdf) {
            (Self::KeyFile(key) | Self::Recovery(key), _) => Ok(key.clone()),
            (Self::Passphrase(text), Some(kdf)) => {
                let failed = |e: argon2::Error| {
                    Error::new(ErrorKind::Failure, "Argon2id failed")
                        .with_source(io::Error::other(e.to_string()))
                };
                let params =
                    Params::new(kdf.memory_kib, kdf.passes, kdf.lanes, Some(32)).map_err(failed)?;
                let mut bits = Zeroizing::new([0; 32]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(text.as_bytes(), &front.salt, bits.as_mut())
                    .map_err(failed)?;
                Ok(bits)
            }
            (Self::Passphrase(_), None) => {
                Err(Error::new(ErrorKind::Failure, "a passphrase slot has no cost"))
            }
        }
    }
}

/// The text of a file of the size that key files have, with comments, and the user whose it is.
fn small_file(path: &Path) -> io::Result<(Zeroizing<String>, u32)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let meta = file.metadata()?;
    if !meta.is_file() {
        return wrong("it is not a file");
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_KEY_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_KEY_FILE {
        return wrong("it is too long for a key file");
    }
    Ok((text, meta.uid()))
}

fn recovery_checksum(key: &[u8; 32]) -> [u8; 3] {
    let hash = blake3::derive_key(RECOVERY_CHECKSUM, key);
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_keys_survive_being_typed() {
        let secret = Secret::new_recovery().unwrap();
        let text = secret.print_recovery().unwrap();
        assert_eq!(text.len(), 56 + 7);
        let typed = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        let Secret::Recovery(back) = Secret::parse_recovery(&typed).unwrap() else { panic!() };
        let Secret::Recovery(key) = &secret else { panic!() };
        assert_eq!(*back, **key);
        // Any one symbol mistyped is noticed, but for one in sixteen million.
        let mut wrong = 0;
        for i in (0..text.len()).filter(|i| &text[*i..=*i] != "-") {
            let other = if &text[i..=i] == "7" { "8" } else { "7" };
            let bad = format!("{}{other}{}", &text[..i], &text[i + 1..]);
            wrong += usize::from(Secret::parse_recovery(&bad).is_err());
        }
        assert_eq!(wrong, 56);
        assert!(Secret::parse_recovery("").is_err() && Secret::parse_recovery("U").is_err());
        // As part of a text, such as `init` prints, or its JSON.
        let (curly, text) = (text.replace('-', "\u{2013}"), text.as_str());
        for around in [
            format!(
                "created repository 00ff at /srv/backup\nRecovery key:\n\n    {text}\n\nKeep it.\n"
            ),
            format!(
                "{{\"type\":\"recovery-key\",\"recovery_key\":\"{text}\"}}\n{{\"id\":\"00\"}}\n"
            ),
            format!("# printed\r\n{}\r\n", text.replace('-', " ")),
            format!("\u{201c}{curly}\u{201d}\n{text}\n"),
        ] {
            let Secret::Recovery(back) = Secret::parse_recovery(&around).unwrap() else { panic!() };
            assert_eq!(*back, **key, "{around}");
        }
        let other = Secret::new_recovery().unwrap().print_recovery().unwrap();
        let wrong = format!(
            "Recovery key: {}{}",
            if text.starts_with('7') { "8" } else { "7" },
            &text[1..]
        );
        assert_eq!(Secret::parse_recovery(&wrong).unwrap_err().message(), MISTYPED);
        let two = Secret::parse_recovery(&format!("{text}\n{}\n", *other)).unwrap_err();
        assert!(two.message().contains("two recovery keys"), "{two}");
    }

    #[test]
    fn key_files_are_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        let made = Secret::create_key_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (Secret::KeyFile(a), Secret::KeyFile(b)) =
            (made, Secret::create_key_file(&path).unwrap())
        else {
            panic!()
        };
        assert_eq!(a, b);
        fs::write(&path, "hello").unwrap();
        assert_eq!(Secret::read_key_file(&path).unwrap_err().kind(), ErrorKind::WrongKey);
        assert!(Secret::read_key_file(&dir.path().join("no")).is_err());
    }
}
