//! `init` and `key`.

use serde_json::json;

use super::args::{InitArgs, KeyCommand, NewKeyArgs, RotateArgs};
use super::context::Context;
use super::output::{bytes, counted, table, time};
use super::progress::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::format::slot::{KdfParams, SecretKind};
use crate::ops::prune;
use crate::repo::keys::Secret;
use crate::repo::place::{accept_place, check_place};
use crate::repo::recover::check_free;
use crate::repo::rotate::{RECOVERY_LABEL, RotateOptions};
use crate::repo::{self, Repository};
use crate::types::SlotId;

pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<()> {
    let location = context.location()?;
    match repo::open_store(location) {
        Ok(store) => check_free(&*store)?,
        Err(e) if e.kind() == ErrorKind::NoRepository => {}
        // Whatever is in the way says so before a key is made.
        Err(_) => drop(repo::create_store(location)?),
    }
    // Before a folder is created: one without a key would be left behind if there is none.
    let secret = context.first_secret()?;
    let store = repo::create_store(location)?;
    let recovery = if args.no_recovery_key { None } else { Some(Secret::new_recovery()?) };
    let mut secrets = vec![(&secret, "first key")];
    secrets.extend(recovery.iter().map(|secret| (secret, RECOVERY_LABEL)));
    let repository = Repository::init(store, &secrets, KdfParams::default(), context.state_dir()?)?;
    if let Some(replaced) = check_place(&repository) {
        // Said once: whoever creates one here means it, or sees now that a disk is not mounted.
        context.out.warn(&replaced.to_string());
        accept_place(&repository)?;
    }
    let printed = recovery.as_ref().and_then(Secret::print_recovery);
    context.out.json_summary(json!({
        "repository": repository.store().location(),
        "id": repository.id(),
        "recovery_key": printed.as_deref(),
    }));
    context.out.summary(format_args!(
        "created repository {} at {}",
        repository.id(),
        repository.store().location()
    ));
    if let (Some(key), false) = (&printed, context.out.json) {
        print_recovery(context, key);
    }
    Ok(())
}

/// The one time that a recovery key is shown; even `--quiet` does not swallow it.
fn print_recovery(context: &Context, key: &str) {
    let out = &context.out;
    out.line("");
    out.line("Recovery key, shown only now. Write it down and keep it in a safe place:");
    out.line("");
    out.line(format_args!("    {key}"));
    out.line("");
    out.line("It opens the repository when the other key is lost: --recovery-key-file FILE.");
}

pub(crate) fn key(context: &Context, command: KeyCommand) -> Result<()> {
    let (repository, secret) = context.repository_and_secret()?;
    match command {
        KeyCommand::Rotate(args) => rotate(context, &repository, &secret, &args),
        KeyCommand::Add(args) => {
            let id = add(&repository, &args)?;
            context.out.json_summary(json!({"added": id}));
            context.out.summary(format_args!("added key {id}"));
            Ok(())
        }
        KeyCommand::List => list(context, &repository),
        KeyCommand::Remove { id } => {
            let id = find(&repository, &id)?;
            repository.remove_slot(id)?;
            context.out.json_summary(json!({"removed": id}));
            context.out.summary(format_args!("removed key {id}"));
            Ok(())
        }
        KeyCommand::Passwd(args) => {
            let old = repository.current_slot();
            let new = add(&repository, &args)?;
            // An interrupted rotation leaves several; none of them may go on opening.
            for old in repository.opened_slots().iter().rev() {
                repository.remove_slot(*old)?;
            }
            context.out.json_summary(json!({"added": new, "removed": old}));
            context.out.summary(format_args!("key {new} replaces key {old}"));
            Ok(())
        }
        KeyCommand::Recovery { replace } => recovery(context, &repository, replace),
    }
}

fn add(repository: &Repository, args: &NewKeyArgs) -> Result<SlotId> {
    let secret = Context::new_secret(args)?;
    repository.add_slot(&secret, &args.label, KdfParams::default())
}

fn recovery(context: &Context, repository: &Repository, replace: bool) -> Result<()> {
    let secret = Secret::new_recovery()?;
    let old: Vec<SlotId> = repository
        .slots()?
        .iter()
        .filter(|s| s.front.as_ref().is_ok_and(|f| f.secret == SecretKind::Recovery))
        .map(|s| s.id)
        .collect();
    let id = repository.add_slot(&secret, RECOVERY_LABEL, KdfParams::default())?;
    let removed = if replace { old } else { Vec::new() };
    for old in &removed {
        repository.remove_slot(*old)?;
    }
    let printed = secret.print_recovery();
    context
        .out
        .json_summary(json!({"added": id, "removed": removed, "recovery_key": printed.as_deref()}));
    if let (Some(key), false) = (printed, context.out.json) {
        print_recovery(context, &key);
    }
    Ok(())
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
    let rotation = repository.rotate(&RotateOptions {
        secrets: &secrets,
        new_recovery: recovery.as_ref(),
        remove_others: args.remove_others,
    })?;
    // It opens the repository by now. Whatever happens from here on, it must not be lost.
    let printed = recovery.as_ref().and_then(Secret::print_recovery);
    match &printed {
        Some(key) if context.out.json => {
            context.out.object(&json!({"type": "recovery-key", "recovery_key": key.as_str()}));
        }
        Some(key) => print_recovery(context, key),
        None => {}
    }
    let rotated = rotation.complete().map_err(|e| match e.hint() {
        Some(_) => e,
        None => e.with_hint("every key that was given still opens everything; run it again"),
    })?;
    context.out.json_summary(json!({
        "key": rotated.key,
        "added": rotated.added,
        "replaced": rotated.replaced,
        "removed": rotated.removed,
        "recovery_key": printed.as_deref(),
    }));
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
            prune::rewrite(&history, context.threads(), &progress)?
        };
        context.out.json_summary(json!({
            "history": history.name(),
            "segments": report.segments,
            "bytes": report.bytes,
            "newest_left": report.newest_left,
        }));
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
    for slot in repository.slots()? {
        if context.out.json {
            context.out.object(&match &slot.front {
                Ok(front) => json!({
                    "type": "key",
                    "id": slot.id,
                    "kind": front.secret.name(),
                    "label": front.label,
                    "created": front.created,
                    "current": slot.current,
                }),
                Err(e) => json!({"type": "key", "id": slot.id, "error": e}),
            });
            continue;
        }
        let current = if slot.current { "in use" } else { "" };
        rows.push(match &slot.front {
            Ok(front) => vec![
                slot.id.to_string(),
                front.secret.name().to_owned(),
                time(front.created),
                front.label.clone(),
                current.to_owned(),
            ],
            Err(e) => vec![slot.id.to_string(), "damaged".to_owned(), String::new(), e.clone()],
        });
    }
    if !context.out.json {
        for line in table(&["ID", "KIND", "CREATED", "LABEL", ""], &rows, &[]) {
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
