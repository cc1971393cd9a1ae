//! What is told beside an argument that there is not.
//!
//! The parser compares letters and knows no meaning: to `delete` it says `undelete`, to `rename`
//! `prune`, and to an option that there is not that a file may be called so. A tip is typed without
//! much thought, and so only a slip of a finger gets one: a letter too much, too few, another one,
//! or two in the wrong order.

use clap::error::{ContextKind, ContextValue, Error};

/// The same error, with tips that are about a slip only.
pub(crate) fn sensible(mut error: Error) -> Error {
    // Files that are called like an option, and options of other commands.
    error.remove(ContextKind::Suggested);
    let kinds = [
        (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
    ];
    for (wrong, suggested) in kinds {
        let typed = match error.get(wrong) {
            Some(ContextValue::String(typed)) => typed.clone(),
            _ => continue,
        };
        let kept: Vec<String> = match error.remove(suggested) {
            Some(ContextValue::String(tip)) => vec![tip],
            Some(ContextValue::Strings(tips)) => tips,
            _ => continue,
        };
        let mut kept = kept.into_iter().filter(|tip| is_slip(name(&typed), name(tip)));
        if let Some(tip) = kept.next() {
            error.insert(suggested, ContextValue::String(tip));
        }
    }
    error
}

/// An argument's name, without a value behind it.
fn name(arg: &str) -> &str {
    arg.split(['=', ' ']).next().unwrap_or(arg)
}

/// Whether one mistake of a finger makes one of the other.
fn is_slip(typed: &str, meant: &str) -> bool {
    let (typed, meant): (Vec<char>, Vec<char>) = (typed.chars().collect(), meant.chars().collect());
    let same = typed.iter().zip(&meant).take_while(|(a, b)| a == b).count();
    let (typed, meant) = (typed.get(same..).unwrap_or(&[]), meant.get(same..).unwrap_or(&[]));
    match (typed, meant) {
        ([_, typed @ ..], [_, meant @ ..]) if typed == meant => true,
        ([_, rest @ ..], meant) if rest == meant => true,
        (typed, [_, rest @ ..]) if rest == typed => true,
        ([a, b, typed @ ..], [c, d, meant @ ..]) => (a, b) == (d, c) && typed == meant,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_one_mistake() {
        for (typed, meant) in [
            ("bakcup", "backup"),
            ("bckup", "backup"),
            ("backupp", "backup"),
            ("vackup", "backup"),
            ("snapshot", "snapshots"),
            ("--forse", "--force"),
        ] {
            assert!(is_slip(typed, meant), "{typed}");
        }
        for (typed, meant) in [
            ("delete", "undelete"),
            ("rename", "prune"),
            ("find", "rewind"),
            ("diff", "drift"),
            ("--remove", "--remove-others"),
            ("kcabup", "backup"),
        ] {
            assert!(!is_slip(typed, meant), "{typed}");
        }
    }
}
