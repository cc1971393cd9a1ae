//! What the command line calls each deed that ends a trouble: a flag, or a command.

use super::shell::quote;
use crate::error::Error;
use crate::remedy::{Advice, Remedy};

/// Advice in the words of the command line.
pub(crate) fn said(advice: &Advice) -> String {
    advice.told(named)
}

/// The hint of an error in the words of the command line, to go on with behind what was said.
pub(crate) fn behind(error: &Error) -> String {
    error.hint().map_or(String::new(), |hint| format!("; {}", said(hint)))
}

/// The flag or the command for a deed. A command stands between backquotes.
pub(crate) fn named(remedy: &Remedy) -> String {
    let given =
        |name: &Option<String>| name.as_ref().map_or(String::new(), |n| format!(" {}", quote(n)));
    let flag = match remedy {
        Remedy::Force => "--force",
        Remedy::Name => "--name NAME",
        Remedy::Adopt => "--adopt of `backup`, `watch` or `files backup`",
        Remedy::TakeOver => "--takeover",
        Remedy::StartEmpty => "--start-empty",
        Remedy::OtherLocation => "-r",
        Remedy::OtherKey => "--key-file, --password-file, --recovery-key-file",
        Remedy::RecoveryKey => "--recovery-key-file",
        Remedy::GiveKeys => "--with-key-file, --with-password-file, --with-recovery-key-file",
        Remedy::NewRecoveryKey => "--new-recovery-key",
        Remedy::RemoveOtherKeys => "--remove-others",
        Remedy::PruneInDoubt => "--in-doubt",
        Remedy::SayPolicy => "--keep-window 24h --keep-daily 7 --keep-monthly 12",
        Remedy::SkipCheck => "--check none",
        Remedy::OtherScratch => "--scratch",
        Remedy::SetBackChanged => "--changed",
        Remedy::SkipTables => "--no-tables",
        Remedy::MoreTime => "--timeout",
        Remedy::MoreMemory => "--memory",
        Remedy::OtherStateFolder => "--state-dir or PAGEKEEP_STATE_DIR",
        Remedy::CreateRepository => "`pagekeep init -r REPO --key-file FILE`",
        Remedy::ListKeys => "`pagekeep key list`",
        Remedy::AddKey => "`pagekeep key add`",
        Remedy::RotateKeys => "`pagekeep key rotate`",
        Remedy::Backup => "`pagekeep backup DB`",
        Remedy::Follow => "`pagekeep watch DB`",
        Remedy::ListHistories => "`pagekeep snapshots`",
        Remedy::RestoreMissing { history, file } => {
            return format!("`pagekeep restore {} {} --if-missing`", quote(history), quote(file));
        }
        Remedy::Restore { history, file, force } => {
            let or =
                |name: &Option<String>, word: &str| name.as_deref().map_or(word.to_owned(), quote);
            let force = if *force { " --force" } else { "" };
            let (history, file) = (or(history, "NAME"), or(file, "FILE"));
            return format!("`pagekeep restore {history} {file}{force}`");
        }
        Remedy::Rewind { file } => return format!("`pagekeep rewind {} --to WHEN`", quote(file)),
        Remedy::Undo { first, last } if first == last => {
            return format!("`pagekeep undo DB seq:{first}`");
        }
        Remedy::Undo { first, last } => {
            return format!("`pagekeep undo DB seq:{first}..seq:{last}`");
        }
        Remedy::AwaitDatabase { file } => {
            return format!("`pagekeep watch {} --wait`", quote(file));
        }
        Remedy::CopyBack { from, to } => {
            return format!("`pagekeep copy {} {} -c FILE`", quote(from), quote(to));
        }
        Remedy::CheckConfiguration { file } => {
            return format!("`pagekeep config check -c {}`", quote(file));
        }
        Remedy::RemoveKey { slot } => return format!("`pagekeep key remove {slot}`"),
        Remedy::Examine { history } => return format!("`pagekeep repair{}`", given(history)),
        Remedy::Repair { history, database } => {
            let heals = database.as_ref();
            let heals = heals.map_or(String::new(), |db| format!(" --database {}", quote(db)));
            return format!("`pagekeep repair{} --apply{heals}`", given(history));
        }
        Remedy::AcceptRollback { history } => {
            return format!("`pagekeep repair{} --accept-rollback`", given(history));
        }
        Remedy::Verify { history, level } => {
            let level = level.map_or(String::new(), |level| format!(" --level {level}"));
            return format!("`pagekeep verify{}{level}`", given(history));
        }
        Remedy::ListCommits { history } => {
            let name = history.as_deref().map_or("NAME".to_owned(), quote);
            return format!("`pagekeep log {name}`");
        }
    };
    flag.to_owned()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::super::args::Cli;
    use super::*;

    fn has(command: &Command, flag: &str) -> bool {
        let (long, short) = (flag.strip_prefix("--"), flag.strip_prefix('-'));
        let is_short = |c: char| short.is_some_and(|short| short.chars().eq([c]));
        command.get_arguments().any(|arg| {
            arg.get_long().is_some_and(|l| long == Some(l)) || arg.get_short().is_some_and(is_short)
        })
    }

    fn anywhere(command: &Command, flag: &str) -> bool {
        has(command, flag) || command.get_subcommands().any(|below| anywhere(below, flag))
    }

    /// The daemon names deeds by the same function.
    #[test]
    fn no_deed_has_the_name_of_a_function() {
        for remedy in Remedy::every() {
            let text = named(&remedy);
            assert!(!text.contains("::") && !text.contains("option `"), "{remedy:?}: {text}");
        }
    }

    /// Each flag that is named exists; that of a command in that command, or in all.
    #[test]
    fn every_flag_and_every_command_that_is_named_is_there() {
        let mut tree = Cli::command();
        tree.build();
        let mut commands = 0;
        for remedy in Remedy::every() {
            let text = named(&remedy);
            let mut words = text.trim_matches('`').split_whitespace().peekable();
            let mut command = None;
            if words.next_if_eq(&"pagekeep").is_some() {
                commands += 1;
                let mut at = &tree;
                while let Some(below) = words.peek().and_then(|word| at.find_subcommand(word)) {
                    at = below;
                    words.next();
                }
                assert!(at.get_name() != tree.get_name(), "{text}: no such command");
                assert!(!at.has_subcommands(), "{text}: `{}` needs another word", at.get_name());
                command = Some(at);
            }
            let mut found = command.is_some();
            for flag in
                words.filter(|word| word.starts_with('-')).map(|word| word.trim_end_matches(','))
            {
                let there = command.map_or_else(|| anywhere(&tree, flag), |at| has(at, flag));
                assert!(there, "{remedy:?}: {text}: there is no {flag}");
                found = true;
            }
            assert!(found, "{remedy:?} is neither a command nor a flag: {text}");
        }
        assert!(commands > 10);
    }

    #[test]
    fn advice_names_flags_and_quotes_what_a_shell_would_split() {
        use crate::remedy::advice;
        let advice = advice![
            "go on with it: ",
            Remedy::Adopt,
            "; or ",
            Remedy::repair("my app"),
            " mends it"
        ];
        assert_eq!(
            said(&advice),
            "go on with it: --adopt of `backup`, `watch` or `files backup`; or `pagekeep repair 'my app' --apply` mends it"
        );
    }
}
