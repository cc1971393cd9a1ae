//! `disaster-kit`: a page for the safe.

use std::fmt::Write;

use super::args::{DisasterKitArgs, KitFormat};
use super::context::Context;
use super::output::{quote, time};
use super::write::create_new;
use crate::api::adopt::DisasterKitSummary;
use crate::count::number;
use crate::daemon::config::{Channel, Config, Files, SecretSource, Target, TextSource};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::host;
use crate::ops::finding::few;
use crate::types::Timestamp;

/// How many characters a line of the page has.
const WIDTH: usize = 78;

/// A part of the page.
enum Part {
    Heading(String),
    Text(String),
    Command(String),
    /// Something to be filled in by hand.
    Blank(String),
}

pub(crate) fn disaster_kit(context: &Context, args: &DisasterKitArgs) -> Result<()> {
    let file = context.config_file()?;
    let Some(config) = context.config()? else {
        return Err(Error::new(ErrorKind::Usage, "no configuration was named"));
    };
    let page = page(config);
    let text = match args.format {
        KitFormat::Text => as_text(&page),
        KitFormat::Html => as_html(&page),
    };
    match &args.output {
        None => context.out.data(&text),
        Some(output) => create_new(output, text.as_bytes())?,
    }
    context.out.json_summary(&DisasterKitSummary {
        file: args.output.as_ref().map(|output| output.display().to_string()),
        repositories: number(config.repositories.len()),
        databases: number(config.targets.len()),
    });
    if let Some(output) = &args.output {
        context.out.summary(format_args!(
            "wrote {}; print it anew when {} changes",
            output.display(),
            file.display()
        ));
    }
    Ok(())
}

fn page(config: &Config) -> Vec<Part> {
    let mut page = Vec::new();
    let heading = |text: &str| Part::Heading(text.to_owned());
    let text = |text: String| Part::Text(text);
    page.push(heading("How to get the databases back"));
    page.push(text(format!(
        "What pagekeep {} keeps for {}, as {} said on {}. Nothing on this page is a secret; the keys are not on it.",
        env!("CARGO_PKG_VERSION"),
        host(),
        config.file.display(),
        time(Timestamp::now())
    )));
    page.push(heading("1. What you need"));
    page.push(text(format!(
        "The program pagekeep, version {} or later, and one of these repositories with a key that opens it. Without a key nobody can read any of it.",
        env!("CARGO_PKG_VERSION")
    )));
    let is_mirror = |name: &String| config.is_mirror(name);
    for (name, repository) in &config.repositories {
        let what = if is_mirror(name) { "mirror" } else { "repository" };
        page.push(text(format!("{what} {name}: {}", repository.location)));
        page.push(text(format!("  opened by: {}", repository.secret.described())));
        page.push(Part::Blank("  a copy of that key is kept at".to_owned()));
        page.push(Part::Blank("  its recovery key is kept at".to_owned()));
        page.push(Part::Blank("  its disk or machine is at".to_owned()));
    }
    let secrets = secrets_of_channels(config);
    if !secrets.is_empty() {
        page.push(text(format!(
            "To tell of trouble the daemon needs what its channels go by; it can be made anew where it came from: {}.",
            secrets.join("; ")
        )));
    }
    page.push(heading("2. Everything, on a new machine"));
    let first = config.repositories.iter().find(|(name, _)| !is_mirror(name));
    if let Some((name, repository)) = first {
        let (location, key) = (quote(&repository.location), key(&repository.secret));
        page.push(text(
            "The old machine must not come back meanwhile: two daemons on one history displace each other."
                .to_owned(),
        ));
        page.push(text("Install pagekeep. Make the repository reachable. Then:".to_owned()));
        page.push(Part::Command(format!("pagekeep adopt {location} {key} -n")));
        page.push(text("says what is there and what is missing, and writes nothing.".to_owned()));
        page.push(Part::Command(format!("pagekeep adopt {location} {key} --restore")));
        page.push(text(format!(
            "writes {} and restores every database that is not there. With the recovery key, it is --recovery-key-file FILE.",
            config.file.display()
        )));
        let file = quote(&config.file.display().to_string());
        page.push(Part::Command(format!("pagekeep run -c {file}")));
        page.push(text("keeps everything from then on.".to_owned()));
        let mirror = repository.mirrors.first();
        let mirrored = mirror.and_then(|mirror| config.repositories.get_key_value(mirror));
        if let Some((mirror, copy)) = mirrored {
            page.push(text(format!(
                "Where the repository {name} is lost, a mirror has everything, too. In this order, and all of it before the daemon runs:"
            )));
            let (from, key) = (quote(&copy.location), self::key(&copy.secret));
            let (mirror, name) = (quote(mirror), quote(name));
            page.push(Part::Command(format!("pagekeep adopt {from} {key} --restore")));
            page.push(Part::Command(format!("pagekeep init -c {file} -r {name}")));
            page.push(Part::Command(format!("pagekeep copy {mirror} {name} -c {file}")));
            page.push(Part::Command(format!("pagekeep run -c {file}")));
        }
        page.push(heading("3. One database, or another moment"));
        page.push(Part::Command(format!("pagekeep snapshots -r {location} {key}")));
        page.push(Part::Command(format!("pagekeep restore NAME new.db -r {location} {key}")));
        page.push(Part::Command(format!(
            "pagekeep restore \"NAME@2026-11-27 14:30\" new.db -r {location} {key}"
        )));
        page.push(Part::Command(format!(
            "pagekeep restore-all FOLDER --at \"2026-11-27 14:30\" -r {location} {key}"
        )));
        page.push(text(
            "Where that repository is lost or damaged, take a mirror's location and key."
                .to_owned(),
        ));
    }
    page.push(heading("4. What is kept"));
    for target in &config.targets {
        let name = match &target.files {
            Files::One(path) => format!("as {}", target.name_of(path)),
            Files::Matching(_) => names_of(target),
        };
        page.push(text(format!(
            "{}, {name}: {} into {}",
            target.written(),
            target.plan.described(),
            target.plan.repository
        )));
    }
    for (name, group) in &config.groups {
        let names: Vec<&str> = group.databases.iter().map(glob::Pattern::as_str).collect();
        page.push(text(format!(
            "at one moment, {}: {}, labelled \"{name} TIME\"",
            group.schedule.describe(),
            names.join(", ")
        )));
    }
    page
}

/// How the histories of a pattern's files are called.
fn names_of(target: &Target) -> String {
    let found = target.found();
    let names: Vec<String> = found.iter().map(|path| target.name_of(path)).collect();
    let rule = match &target.name {
        None => "each under the name of its file without the extension".to_owned(),
        Some(name) => format!("each as {name}"),
    };
    match names.is_empty() {
        true => rule,
        false => format!("{rule}, now {}", few(names.into_iter()).join(", ")),
    }
}

/// What the channels need and the configuration does not say.
fn secrets_of_channels(config: &Config) -> Vec<String> {
    let needs = |(name, channel): (&String, &Channel)| {
        let secrets: Vec<String> =
            channel.way.sources().into_iter().filter_map(TextSource::described).collect();
        (!secrets.is_empty()).then(|| format!("channel {name}: {}", secrets.join(", ")))
    };
    config.notices.channels.iter().filter_map(needs).collect()
}

/// The option that gives such a key.
fn key(secret: &SecretSource) -> &'static str {
    match secret {
        SecretSource::KeyFile(_) => "--key-file FILE",
        _ => "--password-file FILE",
    }
}

fn as_text(page: &[Part]) -> String {
    let mut text = String::new();
    for part in page {
        // Writing to a text never fails.
        let _ = match part {
            Part::Heading(heading) => {
                let line = "=".repeat(heading.chars().count());
                let gap = if text.is_empty() { "" } else { "\n" };
                writeln!(text, "{gap}{heading}\n{line}")
            }
            Part::Text(words) => writeln!(text, "{}", filled(words)),
            Part::Command(command) => writeln!(text, "    $ {command}"),
            Part::Blank(what) => writeln!(text, "{what}: ______________________________"),
        };
    }
    text
}

/// Words in lines of paper's width.
pub(super) fn filled(words: &str) -> String {
    let indent: String = words.chars().take_while(|c| *c == ' ').collect();
    let mut text = indent.clone();
    let mut width = text.chars().count();
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width > indent.len() && width + 1 + length > WIDTH {
            text = format!("{text}\n{indent}");
            width = indent.len();
        } else if width > indent.len() {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text
}

fn as_html(page: &[Part]) -> String {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>How to get the databases back</title>\n\
         <style>body{font:16px/1.5 serif;max-width:44em;margin:2em auto}pre{background:#eee;padding:.3em 1em;white-space:pre-wrap}</style>\n",
    );
    let mut level = "h1";
    for part in page {
        let _ = match part {
            Part::Heading(heading) => {
                let done = writeln!(html, "<{level}>{}</{level}>", escaped(heading));
                level = "h2";
                done
            }
            Part::Text(words) => writeln!(html, "<p>{}</p>", escaped(words)),
            Part::Command(command) => writeln!(html, "<pre>$ {}</pre>", escaped(command)),
            Part::Blank(what) => {
                writeln!(html, "<p>{}: ______________________________</p>", escaped(what))
            }
        };
    }
    html
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
