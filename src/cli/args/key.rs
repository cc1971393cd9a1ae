//! The flags of `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Let another key open the repository
    Add(NewKeyArgs),
    /// List the keys that open the repository
    List,
    /// Remove a key; the last one stays
    ///
    /// Whoever had the key may have read the repository before: removing it keeps others out, it
    /// takes nothing back.
    Remove {
        /// The key's id, as `key list` shows it
        id: String,
        /// Remove it although it is the one that the repository was opened with just now
        #[arg(long)]
        in_use: bool,
    },
    /// Replace the key that you open the repository with; data stays as it is
    ///
    /// The new key gets the old one's name, unless you give another. If it was interrupted, run it
    /// again with the same keys.
    Passwd(NewKeyArgs),
    /// Make a new recovery key and print it once; those made before go on opening the repository
    Recovery {
        /// Remove the recovery keys made before
        #[arg(long)]
        replace: bool,
    },
    Rotate(RotateArgs),
    /// Print the public key by which `evidence` is signed
    ///
    /// It is no secret: hand it to whoever is to check evidence, before the evidence. It stays the
    /// same until the master key is rotated. The first line is the key that signs now; those behind
    /// it signed before.
    Public,
}

/// Bring in a new master key: what is backed up from now on is sealed under it
///
/// Every key that is to go on opening the repository has to be given, since only with it its slot
/// can be written anew: the one that opens the repository now, and the others with the options
/// below. Without all of them nothing is done. Whoever had a key that is removed, or a copy of the
/// repository's old key slots, can't open what is backed up from now on. What was stored before
/// stays under the old keys until it is rewritten.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep key rotate --with-recovery-key-file recovery.txt
  pagekeep key rotate --with-key-file server.key --new-recovery-key
  pagekeep key rotate --new-recovery-key --remove-others     # whoever has another key is out")]
pub(crate) struct RotateArgs {
    /// Another key file that goes on opening the repository; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) with_key_file: Vec<PathBuf>,
    /// Another passphrase that does, in the first line of this file; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) with_password_file: Vec<PathBuf>,
    /// A recovery key that does, in this file; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "new_recovery_key")]
    pub(crate) with_recovery_key_file: Vec<PathBuf>,
    /// Make a new recovery key, print it once, and remove those made before
    #[arg(long)]
    pub(crate) new_recovery_key: bool,
    /// Remove every key that was not given
    #[arg(long)]
    pub(crate) remove_others: bool,
    /// Make no new master key, but seal anew under the newest what was stored before; may be
    /// interrupted and repeated
    #[arg(long, conflicts_with_all = ["with_key_file", "with_password_file", "with_recovery_key_file", "new_recovery_key", "remove_others"])]
    pub(crate) rewrite: bool,
}

/// The new key: a passphrase, asked for twice, unless an option says otherwise.
#[derive(Args, Debug)]
pub(crate) struct NewKeyArgs {
    /// A key file; created if it is not there
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// The passphrase in the first line of this file
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// A name for the key
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
}
