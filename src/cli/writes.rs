//! Which commands write to a history: a mirror takes none of them.

use super::args::{Command, FilesCommand, HoldCommand};
use super::context::Context;
use super::located::all_like;
use crate::error::{Error, ErrorKind, Result};

/// Refuses to write to a repository that the configuration has as a mirror: with commits, labels
/// or holds of its own it would be no copy any more, and get none again.
pub(super) fn check_no_mirror(context: &Context, command: &Command) -> Result<()> {
    if !writes(command) {
        return Ok(());
    }
    let Some(config) = context.config()? else { return Ok(()) };
    // One that is named by a place may be the same repository as one of the configuration.
    let all = match context.configured()? {
        Some(one) => vec![one],
        None => all_like(config, context.typed_location()?),
    };
    let mirror = all.into_iter().find(|(name, _)| config.is_mirror(name));
    let Some((name, repository)) = mirror else { return Ok(()) };
    let firsts = config.firsts_of(name);
    let [first, ..] = firsts.as_slice() else { return Ok(()) };
    let what = format!(
        "is the mirror {name} of {} in {}, and takes only copies",
        firsts.join(" and of "),
        config.file.display()
    );
    Err(Error::new(ErrorKind::Refused, what).with_object(&*repository.location).with_hint(format!(
        "write to the first repository, -r {first}: it is copied from there; what was written here would be in no copy, and end the copying for good"
    )))
}

fn writes(command: &Command) -> bool {
    match command {
        Command::Backup(_) | Command::Watch(_) | Command::Label(_) | Command::Undelete(_) => true,
        Command::Prune(args) => !args.dry_run,
        // What they change in the database they capture, and before it what was there.
        Command::Recover(args) => !args.how.dry_run,
        Command::Undo(args) => !args.how.dry_run,
        Command::Rewind(args) => !args.dry_run,
        Command::Hold(HoldCommand::Add { .. } | HoldCommand::Remove { .. }) => true,
        Command::Files(FilesCommand::Backup(_)) => true,
        // A copy is what a mirror is for, its keys are its own, and a repair makes it whole.
        Command::Copy(_) | Command::Key(_) | Command::Init(_) | Command::Repair(_) => false,
        Command::Hold(HoldCommand::List { .. })
        | Command::Files(FilesCommand::Restore(_) | FilesCommand::List(_))
        | Command::Snapshots(_)
        | Command::Log(_)
        | Command::Show(_)
        | Command::Restore(_)
        | Command::RestoreAll(_)
        | Command::Query(_)
        | Command::Diff(_)
        | Command::Changes(_)
        | Command::Find(_)
        | Command::Trace(_)
        | Command::Coverage(_)
        | Command::Evidence(_)
        | Command::Drift(_)
        | Command::Verify(_)
        | Command::Status(_)
        | Command::Stats(_)
        | Command::Run(_)
        | Command::Config(_)
        | Command::Adopt(_)
        | Command::DisasterKit(_)
        | Command::Notify(_)
        | Command::Job(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Token(_)
        | Command::Demo(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::JsonSchema => false,
    }
}
