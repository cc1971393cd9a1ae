//! How the daemon names the deeds that end a trouble: as the front that runs it does, since people
//! read its log, its alerts and its answers beside that front.

use std::sync::OnceLock;

use crate::error::Error;
use crate::remedy::{Advice, Remedy};

/// What a front calls a deed.
pub(crate) type Naming = fn(&Remedy) -> String;

/// The words of the front that runs the daemon of this process.
static NAMING: OnceLock<Naming> = OnceLock::new();

/// Has deeds named so from now on. The first front counts: a process runs one daemon.
pub(super) fn speak(naming: Naming) {
    let _ = NAMING.set(naming);
}

/// Advice, in the words of the front.
pub(super) fn said(advice: &Advice) -> String {
    NAMING.get().map_or_else(|| advice.to_string(), |naming| advice.told(naming))
}

/// An error with its causes and its next step, in one line.
pub(super) fn in_words(error: &Error) -> String {
    let mut text = crate::capture::follow::describe(error);
    if let Some(hint) = error.hint() {
        text = format!("{text}; {}", said(hint));
    }
    text
}
