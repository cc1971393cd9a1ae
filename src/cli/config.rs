//! `config`: write, check and show the daemon's configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{ConfigCommand, ConfigInitArgs};
use super::asking::{SOON, ask_each};
use super::configured::{load, tell};
use super::context::Context;
use super::output::{counted, quote, time};
use super::remedy::behind;
use super::sample::sample;
use super::table::table;
use super::write::create_new;
use crate::api::config::{
    ConfigSummary, ConfigWrittenSummary, ConfiguredDatabase, EffectiveConfig, Scheduled,
};
use crate::count::number;
use crate::daemon::config::{Config, Mode, Plan, RepositoryConfig};
use crate::daemon::kind::Kind;
use crate::error::{Error, ErrorKind, Result};
use crate::policy::schedule::timetable::Timetable;
use crate::types::Timestamp;

pub(crate) fn config(context: &Context, command: &ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Init(args) => init(context, args),
        ConfigCommand::Check => check(context, context.config_file()?),
        ConfigCommand::Show => show(context, context.config_file()?),
    }
}

/// Writes a commented configuration for what is named.
fn init(context: &Context, args: &ConfigInitArgs) -> Result<()> {
    // The configuration that is to be is not there yet.
    let location = context.typed_location()?;
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_url = location.contains("://");
    let location =
        if is_url { location.to_owned() } else { whole(Path::new(location)).display().to_string() };
    let key_file = context.typed_key_file().map(|path| whole(&path));
    let databases: Vec<PathBuf> = args.databases.iter().map(|path| whole(path)).collect();
    for path in databases.iter().filter(|path| !path.exists()) {
        context.out.warn(&format!("{} is not there yet", path.display()));
    }
    let text = sample(&location, key_file.as_deref(), &databases);
    // What is written is what can be read: a name that two databases have shows here.
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from("pagekeep.toml"));
    if let Err(mistaken) = Config::parse(&whole(&file), &text) {
        tell(&context.out, &file, &mistaken);
        return Err(mistaken.error());
    }
    let Some(file) = &args.output else {
        context.out.data(&text);
        return Ok(());
    };
    create_new(file, text.as_bytes())?;
    let summary = ConfigWrittenSummary {
        file: file.display().to_string(),
        databases: number(databases.len()),
    };
    context.out.json_summary(&summary);
    let shown = quote(&file.display().to_string());
    context.out.summary(format_args!(
        "wrote {}; `pagekeep config check -c {shown}` explains it, `pagekeep run -c {shown}` does it",
        file.display()
    ));
    Ok(())
}

/// Says what a configuration comes to.
fn check(context: &Context, path: &Path) -> Result<()> {
    let (config, _) = load(&context.out, path)?;
    let mut databases = 0;
    let now = Timestamp::now();
    let mut rows = Vec::new();
    let (mut seen, mut names, mut kept) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
    for (repository, settings) in &config.repositories {
        if !context.out.json {
            let (location, secret) = (&settings.location, settings.secret.described());
            let copied = match settings.mirrors.as_slice() {
                [] => String::new(),
                mirrors => format!(", copied to {}", mirrors.join(" and ")),
            };
            context.out.line(format_args!("repository {repository}: {location}, {secret}{copied}"));
        }
        if !Path::new(&settings.location).exists() {
            context.out.warn(&format!(
                "{} is not there: `pagekeep init -c {} -r {}` creates it",
                settings.location,
                quote(&path.display().to_string()),
                quote(repository)
            ));
        }
    }
    let unopened = check_keys(context, &config)?;
    if let Some(http) = config.http.as_ref().filter(|_| !context.out.json) {
        context.out.line(format_args!("metrics and health at {}", http.listen));
    }
    for (name, group) in config.groups.iter().filter(|_| !context.out.json) {
        let names: Vec<&str> = group.databases.iter().map(glob::Pattern::as_str).collect();
        let (when, names) = (group.schedule.describe(), names.join(", "));
        let timetable = Timetable::new(group.schedule.clone(), group.zone, name, Duration::ZERO);
        let next = timetable.next(now).map_or("never".to_owned(), |next| time(next.begin));
        context.out.line(format_args!("group {name}: {names} at one moment, {when}; next {next}"));
    }
    for (name, channel) in &config.notices.channels {
        if !context.out.json {
            context.out.line(format_args!("channel {name}: {}", channel.kind()));
        }
        let is_told = |names: &[String]| names.contains(name);
        let is_used = config.targets.iter().any(|target| is_told(&target.plan.notify));
        if !is_used && !is_told(&config.notices.notify) {
            context
                .out
                .warn(&format!("channel {name} is told of no database: notify = [{name:?}]"));
        }
    }
    for target in &config.targets {
        let found = target.found();
        if found.is_empty() {
            context.out.warn(&format!("{} matches no file yet", target.written()));
        }
        for file in found {
            databases += 1;
            let (name, exists) = (target.name_of(&file), file.exists());
            let of_name = (target.plan.repository.clone(), name.clone());
            let is_first = seen.insert(file.clone());
            if is_first {
                kept.push((name.clone(), target.plan.repository.clone()));
            }
            let twice = match (is_first, names.get(&of_name)) {
                (false, _) => Some("is named twice".to_owned()),
                (true, Some(other)) => Some(format!("has the name {name:?} of {other}")),
                (true, None) => None,
            };
            if let Some(twice) = twice {
                context
                    .out
                    .warn(&format!("{} {twice}; one of the two is not kept", file.display()));
            }
            names.entry(of_name).or_insert_with(|| file.display().to_string());
            if !exists {
                context.out.warn(&format!("{} is not there yet", file.display()));
            }
            let scheduled = scheduled(&target.plan, now);
            if context.out.json {
                context.out.object(&ConfiguredDatabase {
                    name,
                    path: file.display().to_string(),
                    exists,
                    repository: target.plan.repository.clone(),
                    mode: mode(&target.plan).to_owned(),
                    paused: target.plan.paused,
                    schedules: scheduled,
                });
                continue;
            }
            let first = format!("{} into {}", target.plan.described(), target.plan.repository);
            rows.push(vec![name, first, String::new()]);
            for job in scheduled {
                let next = job.next.map_or("never".to_owned(), time);
                rows.push(vec![String::new(), format!("{}: {}", job.job, job.meaning), next]);
            }
        }
    }
    for (name, group) in &config.groups {
        let kept = kept.iter().map(|(name, repository)| (name.as_str(), repository.as_str()));
        if let Some(why) = group.divided(kept) {
            context.out.warn(&format!("no moment of the group {name} can be labelled: {why}"));
        }
    }
    if !context.out.json {
        table(&["DATABASE", "WHAT IS DONE", "NEXT"], &rows, &[])
            .into_iter()
            .for_each(|line| context.out.line(line));
    }
    if let Some(e) = unopened {
        return Err(e);
    }
    context.out.json_summary(&ConfigSummary {
        file: path.display().to_string(),
        repositories: number(config.repositories.len()),
        databases,
        mistakes: 0,
    });
    context.out.summary(format_args!(
        "{} can be used: {}",
        path.display(),
        counted(databases, "database")
    ));
    Ok(())
}

/// Opens each repository that is there, and tells what keeps one from being opened. Answers the
/// error of the first whose key is not the right one: no daemon could use the configuration.
fn check_keys(context: &Context, config: &Config) -> Result<Option<Error>> {
    let there =
        |(_, settings): &(&String, &RepositoryConfig)| Path::new(&settings.location).exists();
    let there: Vec<(&str, &RepositoryConfig)> =
        config.repositories.iter().filter(there).map(|(name, of)| (name.as_str(), of)).collect();
    let mut unopened = None;
    for (name, answer) in ask_each(&there, &context.options()?, SOON, |_| Ok(()))? {
        let Err(e) = answer else { continue };
        if e.kind() == ErrorKind::WrongKey && unopened.is_none() {
            unopened = Some(e);
        } else {
            context.out.warn(&format!("repository {name}: {e}{}", behind(&e)));
        }
    }
    Ok(unopened)
}

fn mode(plan: &Plan) -> &'static str {
    match plan.mode {
        Mode::Follow { .. } => "follow",
        Mode::Snapshots(_) => "snapshots",
    }
}

fn scheduled(plan: &Plan, now: Timestamp) -> Vec<Scheduled> {
    Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind, plan.schedule(kind)?)))
        .map(|(job, schedule)| Scheduled {
            job: job.name().to_owned(),
            schedule: schedule.to_string(),
            meaning: schedule.describe(),
            next: schedule.next(now, &plan.zone),
        })
        .collect()
}

/// Prints every value that is in force.
fn show(context: &Context, path: &Path) -> Result<()> {
    let (config, _) = load(&context.out, path)?;
    let toml = config.shown();
    if context.out.json {
        context.out.object(&EffectiveConfig { file: path.display().to_string(), toml });
    } else {
        context.out.data(&toml);
    }
    Ok(())
}
