//! The flags of `copy`.

use std::path::PathBuf;

use clap::Args;

/// Copy histories to another repository, which has keys of its own
///
/// Copies what the other one has not yet, with its labels and holds; every page is compared with
/// its digest on the way. May be interrupted, and goes on where it was. The copy keeps what it has
/// until it is pruned itself.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep init -r /mnt/offsite --key-file ~/offsite.key
  pagekeep copy /backups/repo /mnt/offsite --key-file ~/.pagekeep.key --to-key-file ~/offsite.key")]
pub(crate) struct CopyArgs {
    /// The repository to copy from; --key-file and the like open it
    pub(crate) from: String,
    /// The repository to copy to
    pub(crate) to: String,
    /// Only this history
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Open the other repository with this key file [default: asks for its passphrase]
    #[arg(long, value_name = "FILE", group = "to_secret")]
    pub(crate) to_key_file: Option<PathBuf>,
    /// Read the other one's passphrase from the first line of this file
    #[arg(long, value_name = "FILE", group = "to_secret")]
    pub(crate) to_password_file: Option<PathBuf>,
    /// Read the other one's passphrase from the first line that this shell command prints
    #[arg(long, value_name = "COMMAND", group = "to_secret")]
    pub(crate) to_password_command: Option<String>,
    /// Open the other repository with the recovery key in this file
    #[arg(long, value_name = "FILE", group = "to_secret")]
    pub(crate) to_recovery_key_file: Option<PathBuf>,
}
