//! Where the key of a repository comes from: a file, a command, the environment. Never from the
//! configuration itself, which people copy, print and commit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::mistake::Mistake;
use super::plan::Reader;
use super::text::RepositoryText;
use crate::error::{ErrorKind, Result};
use crate::input::{self, MAX_SECRET, first_line};
use crate::progress::Monitor;
use crate::repo::keys::secret::Secret;

/// How long a command may take that prints a passphrase: somebody may have to type it.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// A key file.
    KeyFile(PathBuf),
    /// A file whose first line is the passphrase.
    PasswordFile(PathBuf),
    /// A shell command whose first line is the passphrase.
    PasswordCommand(String),
    /// A variable of the environment that has the passphrase.
    PasswordEnv(String),
}

impl SecretSource {
    /// The one that a repository names.
    pub(super) fn of(
        reader: &mut Reader<'_>,
        folder: &Path,
        text: &Spanned<RepositoryText>,
    ) -> Option<Self> {
        let RepositoryText { key_file, password_file, password_command, password_env, .. } =
            text.get_ref();
        let given = [key_file, password_file, password_command, password_env];
        let mut given = given.into_iter().flatten();
        let help = "key-file, password-file, password-command or password-env names the one";
        let Some(first) = given.next() else {
            let what = "it is not said what opens this repository";
            reader.wrong(Mistake::new(text.span(), what).with_help(help));
            return None;
        };
        for another in given {
            reader
                .wrong(Mistake::new(another.span(), "one key opens a repository").with_help(help));
        }
        let (value, path) = (first.get_ref().clone(), folder.join(first.get_ref()));
        if value.is_empty() {
            reader.wrong(Mistake::new(first.span(), "names nothing"));
        }
        Some(match (key_file, password_file, password_command) {
            (Some(_), ..) => Self::KeyFile(path),
            (None, Some(_), _) => Self::PasswordFile(path),
            (None, None, Some(_)) => Self::PasswordCommand(value),
            (None, None, None) => Self::PasswordEnv(value),
        })
    }

    /// Reads the key.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKey`] when it is not there or is none; [`ErrorKind::Interrupted`].
    pub(crate) fn read(&self, monitor: &dyn Monitor) -> Result<Secret> {
        let file = |path: &Path| {
            if Secret::key_file_is_exposed(path) {
                let told = format!("{} can be read by others", path.display());
                monitor.warn(&told);
            }
            input::text(path, MAX_SECRET, ErrorKind::WrongKey, monitor)
        };
        match self {
            Self::KeyFile(path) => {
                Secret::parse_key_file(&file(path)?, &path.display().to_string())
            }
            Self::PasswordFile(path) => Secret::passphrase(first_line(&file(path)?))
                .map_err(|e| e.with_object(path.display().to_string())),
            Self::PasswordCommand(command) => {
                let given_by = "password-command";
                let text = input::output_of(command, given_by, Some(PATIENCE), monitor)?;
                Secret::passphrase(first_line(&text)).map_err(|e| e.with_object(given_by))
            }
            Self::PasswordEnv(name) => {
                let hint = "set it to the passphrase, for the daemon as well";
                let text = input::variable(name).map_err(|e| e.with_hint(hint))?;
                Secret::passphrase(text.to_string()).map_err(|e| e.with_object(name.as_str()))
            }
        }
    }

    /// Which secret it is, in words that show nothing of it.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::KeyFile(path) => format!("key file {}", path.display()),
            Self::PasswordFile(path) => format!("passphrase in {}", path.display()),
            // A command may hold a secret.
            Self::PasswordCommand(_) => "passphrase from a command".to_owned(),
            Self::PasswordEnv(name) => format!("passphrase in ${name}"),
        }
    }
}
