//! `init` and `key`.

use std::path::{Path, PathBuf};

use super::args::{InitArgs, KeyCommand, NewKeyArgs, RotateArgs};
use super::context::Context;
use super::echo::Hidden;
use super::output::{bytes, counted, json_line, time, unwritten, usual_hint, whole_second};
use super::progress::{Progress, stop_requested};
use super::remedy::behind;
use super::table::{table, times};
use crate::api::keys::{
    AddSummary, InitSummary, Key, PasswdSummary, PublicKey, RecoveryKey, RecoverySummary,
    RemoveSummary, RewriteSummary, RotateSummary,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::TOP;
use crate::format::slot::SlotFront;
use crate::format::slot::{KdfParams, SecretKind};
use crate::repo::Repository;
use crate::repo::keys::key_slots::SlotInfo;
use crate::repo::keys::rotate::{RECOVERY_LABEL, RotateOptions};
use crate::repo::keys::secret::Secret;
use crate::repo::local::place::{accept_place, check_place};
use crate::repo::recover::check_free;
use crate::sqlite::rows::cell::hex;
use crate::store;
use crate::types::SlotId;

pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<()> {
    let location = context.location()?;
    let options = context.options()?;
    match store::open_store(location) {
        Ok(store) => check_free(&*store)?,
        Err(e) if e.kind() == ErrorKind::NoRepository => {}
        // Whatever is in the way says so before a key is made.
        Err(_) => drop(store::create_store(location)?),
    }
    // Before a folder is created: one without a key would be left behind if there is none.
    let made = NewFile::at(context.first_key_file()?.as_deref());
    let secret = context.first_secret()?;
    let store = store::create_store(location).map_err(|e| made.left(e))?;
    let recovery = if args.no_recovery_key { None } else { Some(Secret::new_recovery()?) };
    if let Some(recovery) = &recovery {
        hand_over(context, recovery).map_err(|e| {
            made.left(e.with_hint("no repository was created, since its recovery key would be lost; --no-recovery-key makes none"))
        })?;
    }
    let mut secrets = vec![(&secret, "first key")];
    secrets.extend(recovery.iter().map(|secret| (secret, RECOVERY_LABEL)));
    let repository = Repository::init(store, &secrets, KdfParams::default(), &options)
        .map_err(|e| made.left(if recovery.is_some() { in_vain(e) } else { e }))?;
    if let Some(replaced) = check_place(&repository) {
        // Said once: whoever creates one here means it, or sees now that a disk is not mounted.
        context.out.advise(&replaced.advice());
        accept_place(&repository)?;
    }
    if let Some(other) = other_file_in(location) {
        context.out.remark(&format!(
            "{location} has other files, such as {other:?}: pagekeep passes them over"
        ));
    }
    let printed = recovery.as_ref().and_then(Secret::print_recovery);
    let printed = printed.as_deref().map(String::as_str);
    context.out.json_summary(&InitSummary::of(&repository, printed));
    context.out.summary(format_args!(
        "created repository {} at {}",
        repository.id(),
        repository.store().location()
    ));
    Ok(())
}

/// A key file that a command makes. When the command fails the file stays, since another command
/// may use it already; but whoever made it is told.
struct NewFile(Option<PathBuf>);

impl NewFile {
    fn at(path: Option<&Path>) -> Self {
        Self(path.filter(|path| !path.exists()).map(Path::to_owned))
    }

    fn left(&self, e: Error) -> Error {
        let Some(path) = self.0.as_ref().filter(|path| path.exists()) else { return e };
        let known = usual_hint(&e);
        e.with_hint(format!(
            "{known}; the key file {} was made already: the same command again uses it, and if you give up, remove it",
            path.display()
        ))
    }
}

/// Shows a recovery key, once: before it opens anything, and before another one is removed for it.
/// Even `--quiet` does not swallow it.
///
/// # Errors
/// When it did not arrive where standard output goes to.
fn hand_over(context: &Context, recovery: &Secret) -> Result<()> {
    let Some(key) = recovery.print_recovery() else { return Ok(()) };
    let key = key.as_str();
    let lines = if context.out.json {
        vec![json_line(&RecoveryKey { recovery_key: key.to_owned() }).map_err(unwritten)?]
    } else {
        vec![
            "".into(),
            "Recovery key, shown only now. Write it down and keep it in a safe place:".into(),
            "".into(),
            format_args!("    {key}").into(),
            "".into(),
            "It opens the repository when the other key is lost: --recovery-key-file FILE.".into(),
            "".into(),
        ]
    };
    context.out.deliver(lines, stop_requested)
}

/// What came between a recovery key that was shown and its use.
fn in_vain(e: Error) -> Error {
    let hint = behind(&e);
    e.with_hint(format!("the recovery key above opens nothing{hint}"))
}

pub(crate) fn key(context: &Context, command: KeyCommand) -> Result<()> {
    let asks_twice = match &command {
        KeyCommand::Add(args) | KeyCommand::Passwd(args) => {
            args.new_key_file.is_none() && args.new_password_file.is_none()
        }
        _ => false,
    };
    let _hidden = asks_twice.then(Hidden::until_dropped);
    let (repository, secret) = context.repository_and_secret()?;
    match command {
        KeyCommand::Rotate(args) => rotate(context, &repository, &secret, &args),
        KeyCommand::Add(args) => add(context, &repository, &args),
        KeyCommand::List => list(context, &repository),
        KeyCommand::Remove { id, in_use } => remove(context, &repository, &id, in_use),
        KeyCommand::Passwd(args) => passwd(context, &repository, &args),
        KeyCommand::Public => public(context, &repository),
        KeyCommand::Recovery { replace } => recovery(context, &repository, replace),
    }
}

fn public(context: &Context, repository: &Repository) -> Result<()> {
    for (at, key) in repository.signing_keys()?.iter().enumerate() {
        let public = hex(&key.public()?);
        if context.out.json {
            let (master_key, created, signs) = (key.master, key.created, at == 0);
            context.out.object(&PublicKey { public_key: public, master_key, created, signs });
        } else {
            let now = if at == 0 { "signs now" } else { "signed before" };
            context.out.line(format_args!("{public}  of {}, {now}", time(key.created)));
        }
    }
    Ok(())
}

fn add(context: &Context, repository: &Repository, args: &NewKeyArgs) -> Result<()> {
    let made = NewFile::at(args.new_key_file.as_deref());
    let secret = context.new_secret(args)?;
    if let Some(there) = repository.slots_of(&secret)?.first() {
        context.out.warn(&format!(
            "this key opens the repository already, by slot {there}: nothing was added"
        ));
        context.out.json_summary(&AddSummary { added: None, already: Some(*there) });
        return Ok(());
    }
    let label = args.label.as_deref().unwrap_or_default();
    let id = repository.add_slot(&secret, label, KdfParams::default()).map_err(|e| made.left(e))?;
    context.out.json_summary(&AddSummary { added: Some(id), already: None });
    context.out.summary(format_args!("added key {id}"));
    Ok(())
}

fn remove(context: &Context, repository: &Repository, id: &str, in_use: bool) -> Result<()> {
    let id = find(repository, id)?;
    // Of the last one there is more to say.
    let others = repository.slots()?.len() > 1;
    if repository.opened_slots().contains(&id) && others && !in_use {
        return Err(Error::new(
            ErrorKind::Refused,
            "is the key in use: nothing that opens the repository with it, such as a cron job or `pagekeep watch`, could do so any more",
        )
        .with_object(id.to_string())
        .with_hint("say --in-use if that is meant; `pagekeep key list` shows the others"));
    }
    repository.remove_slot(id)?;
    context.out.json_summary(&RemoveSummary { removed: id });
    context.out.summary(format_args!("removed key {id}"));
    Ok(())
}

/// A new key instead of the one in use. One that was killed in between left both: with the same new
/// key it goes on from there.
fn passwd(context: &Context, repository: &Repository, args: &NewKeyArgs) -> Result<()> {
    let (old, opened) = (repository.current_slot(), repository.opened_slots());
    let made = NewFile::at(args.new_key_file.as_deref());
    let secret = context.new_secret(args)?;
    let there = repository.slots_of(&secret)?;
    if there.iter().any(|id| opened.contains(id)) {
        return Err(Error::new(ErrorKind::Usage, "the new key is the one in use")
            .with_object(old.to_string())
            .with_hint("`pagekeep key list` shows whether the one before is still there; `pagekeep key remove ID` removes it"));
    }
    let new = match there.first() {
        Some(there) => *there,
        None => {
            let label = args.label.clone().or_else(|| label_of(repository, old));
            let added =
                repository.add_slot(&secret, &label.unwrap_or_default(), KdfParams::default());
            added.map_err(|e| made.left(e))?
        }
    };
    // An interrupted rotation leaves several; none of them may go on opening.
    for old in opened.iter().rev() {
        remove_old(repository, *old)?;
    }
    context.out.json_summary(&PasswdSummary { added: new, removed: old });
    context.out.summary(format_args!("key {new} replaces key {old}"));
    Ok(())
}

fn label_of(repository: &Repository, id: SlotId) -> Option<String> {
    let slots = repository.slots().ok()?;
    let slot = slots.into_iter().find(|slot| slot.id == id)?;
    slot.front.ok().map(|front| front.label)
}

fn recovery(context: &Context, repository: &Repository, replace: bool) -> Result<()> {
    let secret = Secret::new_recovery()?;
    let old = recovery_slots(repository)?;
    hand_over(context, &secret).map_err(|e| e.with_hint("no key was added, and none removed"))?;
    let id = repository.add_slot(&secret, RECOVERY_LABEL, KdfParams::default()).map_err(in_vain)?;
    let removed = if replace { old } else { Vec::new() };
    for old in &removed {
        remove_old(repository, *old)?;
    }
    // Whoever made one at the same time did not see this one.
    let kept: Vec<SlotId> = recovery_slots(repository)?.into_iter().filter(|k| *k != id).collect();
    context.out.json_summary(&RecoverySummary {
        added: id,
        removed: removed.clone(),
        kept: kept.clone(),
        recovery_key: secret.print_recovery().map(|key| key.to_string()),
    });
    context.out.summary(format_args!("added key {id}"));
    for old in removed {
        context.out.summary(format_args!("removed key {old}"));
    }
    if !kept.is_empty() {
        let keys = counted(u64::try_from(kept.len()).unwrap_or(u64::MAX), "recovery key");
        let when = if replace { "by others meanwhile" } else { "before" };
        context.out.summary(format_args!(
            "{keys} made {when} still open{} the repository; `pagekeep key recovery --replace` makes a new one and removes all others",
            if kept.len() == 1 { "s" } else { "" },
        ));
    }
    Ok(())
}

fn recovery_slots(repository: &Repository) -> Result<Vec<SlotId>> {
    let slots = repository.slots()?;
    let is_recovery = |slot: &&SlotInfo| {
        slot.front.as_ref().is_ok_and(|front| front.secret == SecretKind::Recovery)
    };
    Ok(slots.iter().filter(is_recovery).map(|slot| slot.id).collect())
}

/// Removes a slot in whose place another one is. That somebody else did so meanwhile is as well.
fn remove_old(repository: &Repository, old: SlotId) -> Result<()> {
    match repository.remove_slot(old) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn rotate(
    context: &Context,
    repository: &Repository,
    secret: &Secret,
    args: &RotateArgs,
) -> Result<()> {
    if args.rewrite {
        return rewrite(context, repository);
    }
    let others = context.other_secrets(args)?;
    let mut secrets = vec![(secret, "the key in use")];
    secrets.extend(others.iter().map(|(secret, file)| (secret, file.as_str())));
    let recovery = if args.new_recovery_key { Some(Secret::new_recovery()?) } else { None };
    let options = RotateOptions {
        secrets: &secrets,
        new_recovery: recovery.as_ref(),
        remove_others: args.remove_others,
    };
    let rotation = repository.rotate_once_shown(&options, || match &recovery {
        Some(recovery) => hand_over(context, recovery)
            .map_err(|e| e.with_hint("nothing was rotated, and no key removed")),
        None => Ok(()),
    })?;
    let printed = recovery.as_ref().and_then(Secret::print_recovery);
    let rotated = rotation.complete().map_err(|e| match e.hint() {
        Some(_) => e,
        None => e.with_hint("every key that was given still opens everything; run it again"),
    })?;
    let printed = printed.as_deref().map(String::as_str);
    context.out.json_summary(&RotateSummary::of(&rotated, printed));
    context.out.summary(format_args!(
        "the new master key is {}; keys that open it: {}, slots replaced: {}, removed: {}",
        rotated.key,
        rotated.added.len(),
        rotated.replaced.len(),
        rotated.removed.len(),
    ));
    for line in [
        "What is backed up from now on is sealed under it. What was stored before stays under the old keys until it is",
        "rewritten, by and by when it is merged, or at once by `pagekeep key rotate --rewrite`: whoever had one of them may still read that.",
        "A running `pagekeep watch` takes in the new key by and by, if its own key was kept. Stop one whose key was removed.",
    ] {
        context.out.summary(line);
    }
    Ok(())
}

/// Seals anew what is under older keys.
fn rewrite(context: &Context, repository: &Repository) -> Result<()> {
    for history in context.all_histories(repository)? {
        let report = {
            let progress = Progress::new(&context.out);
            history.rewrite(&progress)?
        };
        context.out.json_summary(&RewriteSummary::of(&history, &report));
        context.out.summary(format_args!(
            "{}: {} of {} sealed under the newest key{}; what they replace is deleted by a later prune or backup",
            history.name(),
            counted(report.segments, "segment"),
            bytes(report.bytes),
            if report.newest_left { ", the newest one once another backup stands behind it" } else { "" },
        ));
    }
    Ok(())
}

fn list(context: &Context, repository: &Repository) -> Result<()> {
    let mut rows = Vec::new();
    let slots = repository.slots()?;
    // To the second: it selects no commit.
    let made = |front: &SlotFront| whole_second(front.created);
    let times = times(slots.iter().filter_map(|slot| slot.front.as_ref().ok()).map(made));
    for slot in &slots {
        if context.out.json {
            context.out.object(&Key::from(slot));
            continue;
        }
        let current = if slot.current { "in use" } else { "" };
        rows.push(match &slot.front {
            Ok(front) => vec![
                slot.id.to_string(),
                front.secret.name().to_owned(),
                times.cell(made(front)),
                front.label.clone(),
                current.to_owned(),
            ],
            Err(e) => vec![slot.id.to_string(), "damaged".to_owned(), String::new(), e.clone()],
        });
    }
    if !context.out.json {
        for line in table(&["ID", "KIND", &times.heading("CREATED"), "LABEL", ""], &rows, &[]) {
            context.out.line(line);
        }
    }
    Ok(())
}

/// The slot whose id begins so.
fn find(repository: &Repository, prefix: &str) -> Result<SlotId> {
    let found: Vec<SlotId> = repository
        .slots()?
        .iter()
        .map(|slot| slot.id)
        .filter(|id| !prefix.is_empty() && id.to_string().starts_with(prefix))
        .collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Error::new(ErrorKind::NotFound, "no key has this id")
            .with_object(prefix)
            .with_hint("`pagekeep key list` shows them")),
        _ => Err(Error::new(ErrorKind::Usage, "several keys have ids that begin so")
            .with_object(prefix)
            .with_hint("give more digits")),
    }
}

/// Something in a repository's folder that pagekeep did not make.
fn other_file_in(location: &str) -> Option<String> {
    let names = std::fs::read_dir(location).ok()?.flatten().map(|entry| entry.file_name());
    let mut others = names.map(|name| name.to_string_lossy().into_owned());
    others.find(|name| !TOP.contains(&&**name) && !name.starts_with('.'))
}
