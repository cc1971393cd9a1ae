//! The command line: flags, output, and one file for each group of commands.
//!
//! Data goes to stdout, progress, warnings and errors to stderr. With `--json` stdout has one
//! object a line: for long work typed lines and a `summary` last.

mod adopt;
mod args;
mod asking;
mod backup;
mod bar;
mod changes;
mod client;
mod complete;
mod config;
mod configured;
mod context;
mod copy;
mod coverage;
mod demo;
mod describe;
mod diff;
mod disaster_kit;
mod echo;
mod ended;
mod equivalent;
mod evidence;
mod files;
mod find;
mod generate;
mod input;
mod jobs;
mod journal;
mod keys;
mod lines;
mod list;
mod located;
mod lost;
mod mirrors;
mod moments;
mod notify;
mod output;
mod outside;
mod process;
mod progress;
mod query;
mod remedy;
mod repair;
mod restore;
mod restore_all;
mod retention;
mod rewind;
mod rows;
mod run;
mod sample;
mod secrets;
mod shell;
mod shop;
mod stats;
mod status;
mod table;
mod terminal;
mod tips;
mod tokens;
mod trace;
mod verify;
mod watch;
mod write;
mod writes;

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind as ClapKind;
use clap::{CommandFactory, Parser};

use crate::error::{ErrorKind, Result};
use crate::progress::stopped;
use args::{Cli, Command};
use context::Context;
use ended::Ended;
use output::Output;
use progress::stop_requested;
use terminal::printable;

/// The exit code of `status` when something is older than it was asked to be.
const LATE: u8 = 6;

/// Parses the arguments of the process, runs the command, and answers the exit code.
pub fn run() -> ExitCode {
    process::forbid_dumps();
    // Before all that takes a while: a signal that comes earlier ends the process.
    progress::catch_signals();
    process::prepare();
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if complete::answered(&args) {
        return ExitCode::SUCCESS;
    }
    if let [_, word, database] = &args[..]
        && word == demo::WRITER
    {
        progress::hangup_reloads(false);
        // No command of people's: completions and tips do not offer it.
        return match demo::write(Path::new(database)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                output::print_error(&e);
                ExitCode::from(e.kind().exit_code())
            }
        };
    }
    if let Some(word) = args.get_mut(1).filter(|word| *word == demo::WATCHER) {
        *word = "watch".into();
        demo::stop_with_input();
    }
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(e) => return ExitCode::from(unparsed(&args, &e)),
    };
    progress::hangup_reloads(matches!(cli.command, Command::Run(_)));
    let out = Output::new(&cli.global);
    let context = Context::new(cli.global, out);
    let ended = dispatch(&context, cli.command).map_err(|e| match e.kind() {
        // A wait for a lock of SQLite's ends by itself, after seconds, and not with the signal.
        ErrorKind::Busy if stop_requested() && is_of_sqlite(&e) => stopped(),
        _ => e,
    });
    let code = match &ended {
        Ok(_) if context.out.has_found_damage() => 4,
        Ok(Ended::Damaged) => {
            // For whoever reads only this, as cron does.
            context.out.found_on_standard_output("damage was found");
            4
        }
        Ok(Ended::Refuted) => {
            context.out.found_on_standard_output("an assertion does not hold");
            4
        }
        Ok(Ended::Well) if context.out.has_found_newer() => ErrorKind::TooNew.exit_code(),
        Ok(Ended::Well) if context.out.has_found_late() => LATE,
        Ok(Ended::Well) => match context.out.lost() {
            Some(kind) => kind.exit_code(),
            None if context.out.has_warned() => 3,
            None => 0,
        },
        Err(e) => {
            context.out.error(e);
            e.kind().exit_code()
        }
    };
    ExitCode::from(code)
}

/// Tells what the parser has to say instead of arguments, and returns the exit code.
fn unparsed(args: &[OsString], e: &clap::Error) -> u8 {
    if matches!(e.kind(), ClapKind::DisplayHelp | ClapKind::DisplayVersion) {
        // Asked for, and so data.
        return match e.print().and_then(|()| std::io::stdout().flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                let e = output::unwritten(e);
                output::print_error(&e);
                e.kind().exit_code()
            }
            _ => 0,
        };
    }
    if args.iter().any(|arg| arg == "--json") {
        output::print_usage_error(&e.render().to_string());
    }
    // There is nobody else to tell.
    let _ = e.print();
    ErrorKind::Usage.exit_code()
}

/// The arguments. Those that an error repeats are shown as a terminal may see them.
fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(args).map_err(|e| {
        if e.kind() == ClapKind::InvalidUtf8 {
            return no_text(args);
        }
        let shown = args.iter().map(|arg| printable(&arg.to_string_lossy()));
        tips::sensible(Cli::try_parse_from(shown).err().unwrap_or(e))
    })
}

/// The error of an argument, or a variable, that has to be text and is none. The parser does not
/// say which it is; it is one without which there is no such error.
fn no_text(args: &[OsString]) -> clap::Error {
    let is_without = |at: usize| {
        let others = args.iter().enumerate().map(|(i, arg)| match i == at {
            true => OsString::from("x"),
            false => arg.clone(),
        });
        !matches!(Cli::try_parse_from(others), Err(e) if e.kind() == ClapKind::InvalidUtf8)
    };
    let is_odd = |at: &usize| args.get(*at).is_some_and(|arg| arg.to_str().is_none());
    let mut odd = (0..args.len()).filter(is_odd);
    let first = odd.clone().next();
    let which = match odd.find(|at| is_without(*at)).or(first).and_then(|at| args.get(at)) {
        Some(arg) => format!("argument {}", output::quote(&printable(&arg.to_string_lossy()))),
        None => "variable PAGEKEEP_REPO".to_owned(),
    };
    let text = format!(
        "the {which} is no UTF-8 text: names of histories, labels and the paths of repositories have to be; for a path \
         that is not, make a link with another name\n"
    );
    Cli::command().error(ClapKind::InvalidUtf8, text)
}

fn dispatch(context: &Context, command: Command) -> Result<Ended> {
    writes::check_no_mirror(context, &command)?;
    match command {
        Command::Run(_) => run::run(context),
        Command::Config(command) => config::config(context, &command),
        Command::Notify(command) => notify::notify(context, &command),
        Command::Job(command) => return jobs::job(context, &command),
        Command::Pause(args) => jobs::pause(context, &args, true),
        Command::Resume(args) => jobs::pause(context, &args, false),
        Command::Token(command) => tokens::token(context, &command),
        Command::Init(args) => keys::init(context, &args),
        Command::Backup(args) => backup::backup(context, args),
        Command::Watch(args) => watch::watch(context, args),
        Command::Snapshots(args) => return list::snapshots(context, &args),
        Command::Log(args) => return list::log(context, &args),
        Command::Show(args) => list::show(context, &args),
        Command::Restore(args) => restore::restore(context, &args),
        Command::Query(args) => query::query(context, &args),
        Command::Changes(args) => changes::changes(context, &args),
        Command::Diff(args) => diff::diff(context, &args),
        Command::Find(args) => find::find(context, &args),
        Command::Recover(args) => lost::recover(context, &args),
        Command::Undo(args) => lost::undo(context, &args),
        Command::Trace(args) => trace::trace(context, &args),
        Command::Coverage(args) => return coverage::coverage(context, &args),
        Command::Rewind(args) => rewind::rewind(context, &args),
        Command::Drift(args) => return rewind::drift(context, &args),
        Command::Verify(args) => return verify::verify(context, args),
        Command::Label(args) => list::label(context, &args),
        Command::Prune(args) => retention::prune(context, &args),
        Command::Hold(command) => retention::hold(context, &command),
        Command::Undelete(args) => retention::undelete(context, &args),
        Command::Adopt(args) => adopt::adopt(context, &args),
        Command::DisasterKit(args) => disaster_kit::disaster_kit(context, &args),
        Command::Evidence(args) => evidence::evidence(context, &args),
        Command::RestoreAll(args) => restore_all::restore_all(context, &args),
        Command::Copy(args) => copy::copy(context, &args),
        Command::Repair(args) => return repair::repair(context, &args),
        Command::Status(args) => return status::status(context, &args),
        Command::Stats(args) => stats::stats(context, &args),
        Command::Key(command) => keys::key(context, command),
        Command::Files(command) => files::files(context, command),
        Command::Demo(args) => demo::demo(context, &args),
        Command::Completions(args) => generate::completions(args.shell),
        Command::Man(args) => generate::man(&args),
        Command::JsonSchema => generate::json_schema(),
    }
    .map(|()| Ended::Well)
}

/// Whether SQLite waited for a lock in vain.
fn is_of_sqlite(e: &crate::error::Error) -> bool {
    e.source().is_some_and(|source| source.to_string().contains("is locked"))
}
