//! `notify`: which channels there are, and whether they work.

use std::time::Instant;

use super::args::NotifyCommand;
use super::configured::load;
use super::context::Context;
use super::input::Signals;
use super::table::table;
use crate::api::notify::{NotifyChannel, NotifyTestSummary};
use crate::count::number;
use crate::daemon::notify::{Message, deliver};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::host;
use crate::types::Timestamp;

pub(crate) fn notify(context: &Context, command: &NotifyCommand) -> Result<()> {
    match command {
        NotifyCommand::List => list(context),
        NotifyCommand::Test { channel } => test(context, channel),
    }
}

/// Prints the channels.
fn list(context: &Context) -> Result<()> {
    let (config, _) = load(&context.out, context.config_file()?)?;
    let mut rows = Vec::new();
    for (name, channel) in &config.notices.channels {
        let is_told = |names: &[String]| names.contains(name);
        let told = config.targets.iter().filter(|target| is_told(&target.plan.notify)).count();
        let (told, kind) = (number(told), channel.kind());
        if context.out.json {
            context.out.object(&NotifyChannel {
                name: name.clone(),
                kind: kind.to_owned(),
                allow_private: channel.allow_private,
                entries: told,
            });
        }
        let told = match told {
            0 => "no database".to_owned(),
            n => format!("{n} of {} entries", config.targets.len()),
        };
        rows.push(vec![name.clone(), kind.to_owned(), told]);
    }
    if !context.out.json {
        table(&["CHANNEL", "KIND", "TOLD OF"], &rows, &[])
            .into_iter()
            .for_each(|line| context.out.line(line));
    }
    Ok(())
}

/// Has a test delivered.
fn test(context: &Context, name: &str) -> Result<()> {
    let (config, _) = load(&context.out, context.config_file()?)?;
    let channels = &config.notices.channels;
    let Some(channel) = channels.get(name) else {
        let known: Vec<&str> = channels.keys().map(String::as_str).collect();
        let hint = match known.as_slice() {
            [] => "add [channels.NAME] with a kind".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        let error = Error::new(ErrorKind::NotFound, "is no channel of this configuration");
        return Err(error.with_object(format!("{name:?}")).with_hint(hint));
    };
    let began = Instant::now();
    let message = Message::test(name, &host(), Timestamp::now());
    let answer = deliver(channel, &message, &Signals)?;
    let kind = channel.kind();
    context.out.json_summary(&NotifyTestSummary {
        channel: name.to_owned(),
        kind: kind.to_owned(),
        answer: answer.clone(),
        seconds: began.elapsed().as_secs_f64(),
    });
    context.out.summary(format_args!("{name} ({kind}) took the test: {answer}"));
    Ok(())
}
