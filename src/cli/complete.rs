//! What shells complete: commands, options, choices, and the names of histories.
//!
//! Invariants: a shell that asks while somebody types gets an answer at once or none. Nothing is
//! asked for, no passphrase is stretched, nothing is written, and no error is shown. Where there is
//! no answer the shell completes files itself, as it does for every other program.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::env::{EnvCompleter, Shells};

use super::args::{Cli, Global};
use super::context::Context;
use super::output::Output;
use crate::error::Result;

/// Has the name of the shell that asks. Of ours, so that nobody else's variable means it.
const ASKED: &str = "PAGEKEEP_COMPLETE";

/// Where bash breaks what is typed: it replaces only what stands behind the last of these.
const BREAKS: &str = "PAGEKEEP_BREAKS";

const NAME: &str = "pagekeep";

/// The shells that complete files better than the library does.
const OURS: [&dyn EnvCompleter; 3] = [&Ours("bash", BASH), &Ours("fish", FISH), &Ours("zsh", ZSH)];

const BASH: &str = r#"_pagekeep() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        # What stands together is one word, though bash breaks it at @ and :
        if [[ i -eq 0 || $rest == [[:space:]]* ]]; then words+=(""); fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        if [[ i -eq COMP_CWORD ]]; then word=$rest; fi
        words[${#words[@]} - 1]+=$word
        rest=${rest#"$word"}
    done
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(PAGEKEEP_COMPLETE=bash PAGEKEEP_BREAKS=$COMP_WORDBREAKS pagekeep -- "${words[@]}" 2>/dev/null)
}
complete -o bashdefault -o default -F _pagekeep pagekeep
"#;

const FISH: &str = r#"function __pagekeep_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token)
    set -l found (PAGEKEEP_COMPLETE=fish pagekeep -- $words 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        complete --do-complete "'' "(commandline --current-token)
    end
end
complete --command pagekeep --keep-order --no-files --arguments '(__pagekeep_complete)'
"#;

const ZSH: &str = r#"#compdef pagekeep
_pagekeep() {
    local -a found
    found=("${(@f)$(PAGEKEEP_COMPLETE=zsh pagekeep -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ -n $found ]]; then
        _describe -V pagekeep found
    else
        _files
    fi
}
if [[ $funcstack[1] == _pagekeep ]]; then
    _pagekeep "$@"
else
    compdef _pagekeep pagekeep
fi
"#;

/// The script that makes a shell ask.
pub(crate) fn script(shell: &str) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    if let Some(shell) = completer(shell) {
        shell.write_registration(ASKED, NAME, NAME, NAME, &mut script)?;
    }
    Ok(script)
}

/// Answers a shell, if it is one that asks. What goes wrong is told by the answer's absence.
pub(crate) fn answered(args: &[OsString]) -> bool {
    let (Some(shell), [_, separator, words @ ..]) = (std::env::var_os(ASKED), args) else {
        return false;
    };
    if separator != "--" {
        return false;
    }
    let shell = shell.to_str().and_then(completer).filter(|_| !words.is_empty());
    if let Some(shell) = shell {
        let words = words.to_vec();
        let here = std::env::current_dir().ok();
        let mut answer = Vec::new();
        let written = shell
            .write_complete(&mut command(&words), words, here.as_deref(), &mut answer)
            .and_then(|()| io::stdout().write_all(&answer));
        // The shell goes on without.
        let _ = written;
    }
    true
}

fn completer(shell: &str) -> Option<&'static dyn EnvCompleter> {
    let ours = OURS.into_iter().find(|ours| ours.is(shell));
    ours.or_else(|| Shells::builtins().0.iter().copied().find(|theirs| theirs.is(shell)))
}

/// The definition of the flags, with what completes the names of histories.
fn command(words: &[OsString]) -> Command {
    fn named(command: Command, words: &[OsString]) -> Command {
        let command = command.mut_args(|arg| {
            let is_name = arg.get_id() == "name"
                || arg
                    .get_value_names()
                    .is_some_and(|names| names.iter().any(|n| n == "NAME[@WHEN]"));
            if !is_name {
                return arg;
            }
            let words = words.to_vec();
            arg.add(ArgValueCompleter::new(move |typed: &OsStr| histories(&words, typed)))
        });
        command.mut_subcommands(|below| named(below, words))
    }
    named(Cli::command(), words)
}

/// The names of histories that begin as what is typed; none, if they can't be told.
fn histories(words: &[OsString], typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = names(words).unwrap_or_default();
    let typed = typed.to_string_lossy();
    let fitting = names.into_iter().filter(|name| name.starts_with(&*typed));
    fitting.map(CompletionCandidate::new).collect()
}

fn names(words: &[OsString]) -> Result<Vec<String>> {
    let typed = Cli::command().ignore_errors(true).try_get_matches_from(words);
    let Some((global, from)) = typed.ok().as_ref().and_then(given) else { return Ok(Vec::new()) };
    let out = Output::new(&global);
    let context = Context::new(global, out);
    let location = match &from {
        Some(from) => from,
        None => context.location()?,
    };
    let Some(repository) = context.at_once(location)? else { return Ok(Vec::new()) };
    let (histories, _) = repository.readable_histories()?;
    Ok(histories.iter().map(|history| history.name().to_owned()).collect())
}

/// What was typed of the repository and its key; and another repository, where the command names it
/// itself.
fn given(matches: &ArgMatches) -> Option<(Global, Option<String>)> {
    let (command, below) = matches.subcommand()?;
    let mut global = Global::from_arg_matches(below).ok()?;
    let from = (command == "copy").then(|| below.get_one::<String>("from").cloned()).flatten();
    // No shell has looked at them yet.
    global.repo = global.repo.map(|repo| at_home(Path::new(&repo)).to_string_lossy().into_owned());
    for file in [&mut global.key_file, &mut global.recovery_key_file, &mut global.state_dir] {
        *file = file.take().map(|path| at_home(&path));
    }
    Some((global, from.map(|from| at_home(Path::new(&from)).to_string_lossy().into_owned())))
}

/// A path that may begin with `~/`.
fn at_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

/// A shell that completes files itself: its name, and the script that makes it ask.
struct Ours(&'static str, &'static str);

impl EnvCompleter for Ours {
    fn name(&self) -> &'static str {
        self.0
    }

    fn is(&self, name: &str) -> bool {
        name == self.0
    }

    fn write_registration(
        &self,
        _var: &str,
        _name: &str,
        _bin: &str,
        _completer: &str,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        buf.write_all(self.1.as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        args: Vec<OsString>,
        here: Option<&Path>,
        buf: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(at) = args.len().checked_sub(1) else { return Ok(()) };
        let mut typed =
            args.get(at).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let mut args = args;
        let quoted = self.0 == "bash" && typed.starts_with(['"', '\'']);
        if quoted {
            typed.remove(0);
            args.splice(at.., [OsString::from(&typed)]);
        }
        let found = complete(&mut without_files(command.clone()), args, at, here)?;
        for candidate in found {
            // Who typed nothing yet is not shown all that could be left out.
            if typed.is_empty() && candidate.get_value().as_encoded_bytes().starts_with(b"-") {
                continue;
            }
            let value = candidate.get_value().to_string_lossy();
            let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
            let help = help.lines().next().unwrap_or_default();
            match self.0 {
                "bash" if quoted => writeln!(buf, "{value}")?,
                "bash" => writeln!(buf, "{}", escaped(behind_break(&value, &typed)))?,
                "zsh" => {
                    let value = value.replace('\\', r"\\").replace(':', r"\:");
                    let colon = if help.is_empty() { "" } else { ":" };
                    writeln!(buf, "{value}{colon}{}", help.replace('\\', r"\\"))?;
                }
                _ if help.is_empty() => writeln!(buf, "{value}")?,
                _ => writeln!(buf, "{value}\t{help}")?,
            }
        }
        Ok(())
    }
}

/// What bash replaces: what stands behind the last sign where it breaks words.
fn behind_break<'v>(value: &'v str, typed: &str) -> &'v str {
    let breaks = std::env::var(BREAKS).unwrap_or_default();
    let breaks = |c: char| breaks.contains(c) && !c.is_whitespace();
    let at =
        typed.rfind(breaks).and_then(|at| Some(at + typed.get(at..)?.chars().next()?.len_utf8()));
    value.get(at.unwrap_or(0)..).unwrap_or(value)
}

/// As it is typed in bash.
fn escaped(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./@:=+,%".contains(c);
    value.chars().flat_map(|c| (!plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

/// The definition without what the library would complete files for.
fn without_files(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_value_hint() {
        ValueHint::Unknown => arg,
        _ => arg.value_hint(ValueHint::Other),
    });
    command.mut_subcommands(without_files)
}
