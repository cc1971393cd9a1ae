//! `backup`.

use std::time::Instant;

use super::args::{self, BackupArgs};
use super::context::Context;
use super::describe::marked;
use super::output::{bytes, counted, time};
use super::progress::Progress;
use crate::api::backup::BackupSummary;
use crate::api::commit::Mark;
use crate::codec::batch::SelfCheck;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::backup::{BackupOptions, BackupReport};
use crate::ops::locate::Database;
use crate::sqlite::image::Method;

pub(crate) fn backup(context: &Context, args: BackupArgs) -> Result<()> {
    let began = Instant::now();
    let repository = context.repository()?;
    // What is missing, or named wrongly, has more to be said about it than what can't be opened.
    Database::at(&args.database, args.name.as_deref())?;
    let options = BackupOptions {
        name: args.name,
        label: args.label,
        compression: args::compression(args.compression),
        self_check: if args.self_check { SelfCheck::Every } else { SelfCheck::Sampled },
        method: match args.reader {
            args::Reader::Auto => Method::Auto,
            args::Reader::Raw => Method::Raw,
            args::Reader::Backup => Method::Backup,
        },
        adopt: args.adopt,
        takeover: args.takeover,
        start_empty: args.start_empty,
        marks: args.marks.lasts(),
        ..BackupOptions::default()
    };
    let report = {
        let progress = Progress::new(&context.out);
        repository.backup(&args.database, &options, &progress).map_err(explain_stop)?
    };
    print(context, &report, began);
    Ok(())
}

fn explain_stop(e: Error) -> Error {
    if e.kind() == ErrorKind::Interrupted {
        return e.with_hint("nothing was published by this run; what was there before is whole");
    }
    e
}

fn print(context: &Context, report: &BackupReport, began: Instant) {
    let label = report.snapshot.as_ref().map(|s| s.label.as_str());
    let name = report.history.name();
    let took = began.elapsed();
    let seconds = took.as_secs_f64();
    context.out.json_summary(&BackupSummary::of(report, took));
    match report.commit {
        Some(commit) => context.out.summary(format_args!(
            "{name}@seq:{}  {}  {} of {} changed, {} stored, {seconds:.2} s",
            report.seq,
            time(commit.time),
            counted(commit.changed.into(), "page"),
            counted(commit.pages.into(), "page"),
            bytes(commit.stored),
        )),
        None if report.followed => context.out.summary(format_args!(
            "{name}@seq:{}  `watch` has captured everything, {seconds:.2} s",
            report.seq
        )),
        None => context.out.summary(format_args!(
            "{name}@seq:{}  unchanged, nothing stored, {seconds:.2} s",
            report.seq
        )),
    }
    for mark in Mark::among(&report.marks) {
        context.out.summary(marked(name, &mark));
    }
    if let Some(label) = label {
        context.out.summary(format_args!("labelled {label:?}"));
    }
}
