//! How the daemon names the deeds that end a trouble: as the front that runs it does, since people
//! read its log, its alerts and its answers beside that front.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::equivalent::Equivalent;
use crate::error::Error;
use crate::remedy::{Advice, Remedy};

/// What a front calls a deed.
pub(crate) type Naming = fn(&Remedy) -> String;

/// The words of a front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// What it calls a deed that helps.
    pub(crate) remedy: Naming,
    /// What does the same there as a request of the API.
    pub(crate) instead: fn(&Equivalent, &Path) -> String,
}

/// The words of the front that runs the daemon of this process.
static WORDS: OnceLock<(Words, PathBuf)> = OnceLock::new();

/// Has deeds named so from now on. The first front counts: a process runs one daemon.
/// `file` is the configuration.
pub(super) fn speak(words: Words, file: &Path) {
    // Whoever reads a command runs it in another folder.
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let _ = WORDS.set((words, file));
}

/// What does the same as a request of the API, in the words of the front.
pub(super) fn instead(of: &Equivalent) -> String {
    WORDS.get().map_or_else(String::new, |(words, file)| (words.instead)(of, file))
}

/// Advice, in the words of the front.
pub(super) fn said(advice: &Advice) -> String {
    WORDS.get().map_or_else(|| advice.to_string(), |(words, _)| advice.told(words.remedy))
}

/// An error with its causes and its next step, in one line.
pub(super) fn in_words(error: &Error) -> String {
    let mut text = crate::capture::follow::describe(error);
    if let Some(hint) = error.hint() {
        text = format!("{text}; {}", said(hint));
    }
    text
}
