//! Keys: where they come from, and where they must not go.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use zeroize::Zeroizing;

use super::args::{Global, NewKeyArgs, RotateArgs};
use super::context::{Context, check_location};
use super::input::{Signals, prompt as asked_for};
use super::output::Output;
use super::remedy::behind;
use crate::daemon::config::{RepositoryConfig, SecretSource};
use crate::error::{Error, ErrorKind, Result};
use crate::input::{self, MAX_SECRET, first_line};
use crate::progress::Monitor;
use crate::repo::Repository;
use crate::repo::keys::secret::Secret;
use crate::store::open_store;

/// Where a key is to come from.
pub(crate) struct KeySource<'a> {
    pub(crate) key_file: Option<&'a Path>,
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) password_command: Option<&'a str>,
    pub(crate) recovery_key_file: Option<&'a Path>,
}

/// Warns of what is wrong with how a key is kept, and lets a signal end what waits for it.
struct Reading<'a>(&'a Output);

impl Monitor for Reading<'_> {
    fn cancelled(&self) -> bool {
        Signals.cancelled()
    }

    fn warn(&self, message: &str) {
        self.0.warn(message);
    }
}

impl KeySource<'_> {
    /// Whether it names a key.
    pub(crate) fn is_given(&self) -> bool {
        self.key_file.is_some()
            || self.password_file.is_some()
            || self.password_command.is_some()
            || self.recovery_key_file.is_some()
    }
}

impl Context {
    /// Opens a repository of the configuration.
    pub(crate) fn configured_repository(&self, config: &RepositoryConfig) -> Result<Repository> {
        let secret = || config.secret.read(&Reading(&self.out));
        self.open(&config.location, secret).map(|(repository, _)| repository)
    }

    /// Opens another repository, with a key of its own.
    pub(crate) fn other_repository(
        &self,
        location: &str,
        keys: &KeySource<'_>,
    ) -> Result<Repository> {
        check_location(location)?;
        let opened = self.open(location, || match self.secret_from(keys)? {
            Some(secret) => Ok(secret),
            None => self.prompted(location),
        });
        let told = |e: Error| match e.kind() {
            ErrorKind::WrongKey => {
                let known = behind(&e);
                e.with_hint(format!(
                    "this is the copy: its key is given by --to-key-file, --to-password-file, --to-password-command or \
                     --to-recovery-key-file{known}"
                ))
            }
            _ => e,
        };
        opened.map(|(repository, _)| repository).map_err(told)
    }

    /// A repository that a file opens at once. For who waits at a prompt: nothing is asked for or
    /// told, no passphrase is stretched, and no pipe is read.
    pub(crate) fn at_once(&self, location: &str) -> Result<Option<Repository>> {
        check_location(location)?;
        let global = &self.global;
        if global.password_file.is_some() || global.password_command.is_some() {
            return Ok(None);
        }
        let of_environment = self.first_key_file()?;
        let key_file = global.key_file.as_ref();
        let (path, is_recovery) = match (key_file, &global.recovery_key_file, &of_environment) {
            (Some(path), ..) | (None, None, Some(path)) => (path, false),
            (None, Some(path), _) => (path, true),
            (None, None, None) => return Ok(None),
        };
        if !path.is_file() {
            return Ok(None);
        }
        let text = input::text(path, MAX_SECRET, ErrorKind::WrongKey, &Signals)?;
        let secret = match is_recovery {
            true => Secret::parse_recovery(&text)?,
            false => Secret::parse_key_file(&text, &path.display().to_string())?,
        };
        Repository::open(open_store(location)?, &secret, &self.options()?).map(Some)
    }

    /// The key to open a repository with.
    pub(crate) fn secret(&self) -> Result<Secret> {
        match self.given_secret()? {
            Some(secret) => Ok(secret),
            None => self.prompted(self.location()?),
        }
    }

    /// The key that flags or the environment give, without asking.
    fn given_secret(&self) -> Result<Option<Secret>> {
        let global = &self.global;
        let given = self.secret_from(&KeySource {
            key_file: global.key_file.as_deref(),
            password_file: global.password_file.as_deref(),
            password_command: global.password_command.as_deref(),
            recovery_key_file: global.recovery_key_file.as_deref(),
        })?;
        if given.is_some() {
            return Ok(given);
        }
        // What the configuration says of a repository is about this one; the environment may be
        // about another.
        if let Some((_, repository)) = self.configured()? {
            return repository.secret.read(&Reading(&self.out)).map(Some);
        }
        if let Some(path) = std::env::var_os("PAGEKEEP_KEY_FILE").filter(|v| !v.is_empty()) {
            return self.read_key_file(Path::new(&path)).map(Some);
        }
        let Some(text) = std::env::var_os("PAGEKEEP_PASSWORD").filter(|v| !v.is_empty()) else {
            return Ok(None);
        };
        let secret = match text.into_string() {
            Ok(text) => Secret::passphrase(text),
            Err(_) => Err(Error::new(ErrorKind::WrongKey, "is no text (UTF-8)")),
        };
        secret.map(Some).map_err(|e| e.with_object("PAGEKEEP_PASSWORD"))
    }

    /// The key that the first source which is named gives.
    fn secret_from(&self, keys: &KeySource<'_>) -> Result<Option<Secret>> {
        if let Some(path) = keys.key_file {
            return self.read_key_file(path).map(Some);
        }
        if let Some(path) = keys.password_file {
            return self.passphrase_in(path).map(Some);
        }
        if let Some(command) = keys.password_command {
            let secret = Secret::passphrase(first_line(&input::output_of(
                command,
                "--password-command",
                None,
                &Signals,
            )?));
            return secret.map(Some).map_err(|e| e.with_object("--password-command"));
        }
        if let Some(path) = keys.recovery_key_file {
            return self.recovery_in(path).map(Some);
        }
        Ok(None)
    }

    fn read_key_file(&self, path: &Path) -> Result<Secret> {
        Secret::parse_key_file(&self.secret_text(path)?, &path.display().to_string())
    }

    fn passphrase_in(&self, path: &Path) -> Result<Secret> {
        let secret = Secret::passphrase(first_line(&self.secret_text(path)?));
        secret.map_err(|e| e.with_object(path.display().to_string()))
    }

    fn recovery_in(&self, path: &Path) -> Result<Secret> {
        let secret = Secret::parse_recovery(&self.secret_text(path)?);
        secret.map_err(|e| e.with_object(path.display().to_string()))
    }

    /// The text of a file with a key; that others can read it, it tells.
    fn secret_text(&self, path: &Path) -> Result<Zeroizing<String>> {
        let text = input::text(path, MAX_SECRET, ErrorKind::WrongKey, &Signals)?;
        if path.as_os_str() != "-" && Secret::key_file_is_exposed(path) {
            self.out.warn(&format!(
                "{} can be read by others; `chmod 600` keeps it to yourself",
                path.display()
            ));
        }
        Ok(text)
    }

    fn prompted(&self, location: &str) -> Result<Secret> {
        let again = if self.was_asked() { "No key slot opens with that. " } else { "" };
        let text = prompt(&format!("{again}Passphrase of {location}: "))
            .map_err(|e| e.with_object(location))?;
        self.asked.store(true, Ordering::Relaxed);
        Secret::passphrase(text.to_string())
    }

    /// Makes sure that a file which is to be replaced is not the key in use.
    pub(crate) fn check_no_key(&self, target: &Path) -> Result<()> {
        let id = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        let there = id(target);
        let Global { key_file, password_file, recovery_key_file, .. } = &self.global;
        let of_environment = std::env::var_os("PAGEKEEP_KEY_FILE").map(PathBuf::from);
        let files = [key_file, password_file, recovery_key_file, &of_environment];
        if there.is_none() || files.into_iter().flatten().all(|file| id(file) != there) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, "is the key that opens the repository")
            .with_object(target.display().to_string())
            .with_hint("name another file"))
    }

    /// Makes sure that a key is not to lie in the repository that it opens: whoever gets the disk
    /// would have both, and whoever loses it neither.
    fn check_apart(&self, key: &Path) -> Result<()> {
        let repository = Path::new(self.location()?);
        let is_inside = real(key).starts_with(real(repository));
        if !is_inside || repository.is_file() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            "is in the repository that it opens: whoever gets that disk would have both, and whoever loses it neither",
        )
        .with_object(key.display().to_string())
        .with_hint("keep the key in another folder, and a copy of it in another place"))
    }

    /// The key file of a new repository, if it has one.
    pub(crate) fn first_key_file(&self) -> Result<Option<PathBuf>> {
        if self.global.key_file.is_some() || self.names_no_key_file() {
            return Ok(self.global.key_file.clone());
        }
        Ok(match self.configured()?.map(|(_, repository)| &repository.secret) {
            Some(SecretSource::KeyFile(file)) => Some(file.clone()),
            Some(_) => None,
            None => self.typed_key_file(),
        })
    }

    /// The key file that was typed, or stands in the environment.
    pub(crate) fn typed_key_file(&self) -> Option<PathBuf> {
        let set = || std::env::var_os("PAGEKEEP_KEY_FILE").filter(|v| !v.is_empty());
        let of_environment = || set().filter(|_| !self.names_no_key_file()).map(PathBuf::from);
        self.global.key_file.clone().or_else(of_environment)
    }

    /// Whether another key than a key file was typed.
    fn names_no_key_file(&self) -> bool {
        let global = &self.global;
        global.password_file.is_some()
            || global.password_command.is_some()
            || global.recovery_key_file.is_some()
    }

    /// The first key of a new repository: a key file is created if need be, a passphrase asked for
    /// twice.
    pub(crate) fn first_secret(&self) -> Result<Secret> {
        if let Some(path) = self.first_key_file()? {
            self.check_apart(&path)?;
            check_creatable(&path)?;
            return Secret::create_key_file(&path);
        }
        if self.global.recovery_key_file.is_some() {
            return Err(Error::new(
                ErrorKind::Usage,
                "a recovery key cannot be a repository's first key",
            )
            .with_hint("use --key-file or a passphrase; init makes a recovery key besides"));
        }
        match self.given_secret()? {
            Some(secret) => Ok(secret),
            None => new_passphrase(),
        }
    }

    /// A key to add.
    pub(crate) fn new_secret(&self, args: &NewKeyArgs) -> Result<Secret> {
        match (&args.new_key_file, &args.new_password_file) {
            (Some(path), _) => {
                self.check_apart(path)?;
                check_creatable(path)?;
                Secret::create_key_file(path)
            }
            (None, Some(path)) => self.passphrase_in(path),
            (None, None) => new_passphrase(),
        }
    }

    /// The other keys that a rotation is given, each with its file.
    pub(crate) fn other_secrets(&self, args: &RotateArgs) -> Result<Vec<(Secret, String)>> {
        let mut secrets = Vec::new();
        for path in &args.with_key_file {
            secrets.push((self.read_key_file(path)?, path));
        }
        for path in &args.with_password_file {
            secrets.push((self.passphrase_in(path)?, path));
        }
        for path in &args.with_recovery_key_file {
            secrets.push((self.recovery_in(path)?, path));
        }
        Ok(secrets.into_iter().map(|(s, path)| (s, path.display().to_string())).collect())
    }
}

/// A path without links, as far as there is something.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path
        .ancestors()
        .find_map(|dir| Some((path.strip_prefix(dir).ok()?, std::fs::canonicalize(dir).ok()?)));
    there.map_or(path.clone(), |(rest, real)| real.join(rest))
}

fn new_passphrase() -> Result<Secret> {
    let first = prompt("New passphrase: ")?;
    if first.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the passphrase is empty"));
    }
    let second = prompt("The same again: ")?;
    if first != second {
        return Err(Error::new(ErrorKind::Usage, "the two passphrases differ"));
    }
    Secret::passphrase(first.to_string())
}

fn prompt(text: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(ErrorKind::WrongKey, "no key was given, and there is no terminal to ask on")
            .with_hint(
                "use --key-file, --password-file, --password-command, PAGEKEEP_KEY_FILE or PAGEKEEP_PASSWORD; or the recovery key: \
                 --recovery-key-file",
            ));
    }
    asked_for(text)
}

/// Where `-` means standard input no file of that name is created.
fn check_creatable(key: &Path) -> Result<()> {
    if key.as_os_str() != "-" {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Usage, "a new key is written to a file, and not to standard output")
        .with_object("-")
        .with_hint("name a file; one that is really called so is ./-"))
}
