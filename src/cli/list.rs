//! `snapshots`, `log`, `show` and `label`: what there is, and names for it.

use super::args::{FilterArgs, LabelArgs, LogArgs, ShowArgs, SnapshotsArgs};
use super::context::{Context, Selected, asked, shown};
use super::describe::{labels_with_ends, neighbours, outcome};
use super::ended::Ended;
use super::moments::moment;
use super::output::{ago, bytes, count, counted, time};
use super::progress::Progress;
use super::rows::in_words;
use super::table::{table, times};
use super::terminal::bold;
use crate::api::commit::{self, CommitDetails, LabelSummary, UnlabelSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::SnapshotKind;
use crate::ops::diff::change::TableDiff;
use crate::ops::labels::{not_readable, passed_over};
use crate::policy::order::backwards;
use crate::policy::selector::{Edge, Selector, split_target, trimmed};
use crate::repo::Repository;
use crate::repo::chain::Commit;
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{Seq, Timestamp};

/// Which commits to list, resolved.
struct Filter {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    label: Option<String>,
}

impl Filter {
    fn new(args: &FilterArgs) -> Result<Self> {
        Ok(Self {
            since: moment(args.since.as_deref(), Edge::Begin)?,
            until: moment(args.until.as_deref(), Edge::End)?,
            label: args.label.as_deref().map(trimmed).map(str::to_owned),
        })
    }

    fn accepts(&self, commit: &Commit, labels: &[&Snapshot]) -> bool {
        let time = commit.record.time;
        self.since.is_none_or(|t| time >= t)
            && self.until.is_none_or(|t| time <= t)
            && self.label.as_ref().is_none_or(|l| labels.iter().any(|s| trimmed(&s.label) == l))
    }
}

fn labels_of<'s>(snapshots: &'s [Snapshot], commit: &Commit) -> Vec<&'s Snapshot> {
    snapshots.iter().filter(|s| s.names(commit)).collect()
}

/// A commit of a history, with its labels.
fn answer(history: &History, commit: &Commit, labels: &[&Snapshot]) -> commit::Commit {
    commit::Commit::of(history.name(), commit.seq, &commit.record, labels.iter().copied())
}

pub(crate) fn snapshots(context: &Context, args: &SnapshotsArgs) -> Result<Ended> {
    let repository = context.repository()?;
    let filter = Filter::new(&args.filter)?;
    let histories = context.histories(&repository, args.name.as_deref())?;
    if histories.is_empty() && !context.out.has_found() {
        context.out.summary("no histories yet; `pagekeep backup DB` begins one");
    }
    let mut ended = Ended::Well;
    for history in histories {
        let listed =
            context.judged(&history).and_then(|found| Ok((found, context.labels(&history)?)));
        let listed = context.beside(args.name.is_none(), &history, listed)?;
        let Some(((chain, judged), snapshots)) = listed else { continue };
        let latest = chain.latest().map(|c| c.seq);
        let listed: Vec<(Commit, Vec<&Snapshot>)> = chain
            .commits()
            .map(|commit| (labels_of(&snapshots, &commit), commit))
            .filter(|(labels, commit)| {
                let newest = Some(commit.seq) == latest;
                (newest || !labels.is_empty()) && filter.accepts(commit, labels)
            })
            .map(|(labels, commit)| (commit, labels))
            .collect();
        let times = times(listed.iter().map(|(commit, _)| commit.record.time));
        let mut rows = Vec::new();
        for (commit, labels) in &listed {
            if context.out.json {
                context.out.object(&answer(&history, commit, labels));
            }
            let ids: Vec<String> = labels.iter().map(|s| s.id.to_string()).collect();
            rows.push(vec![
                format!("seq:{}", commit.seq),
                times.cell(commit.record.time),
                why(labels),
                labels_with_ends(labels),
                ids.join(", "),
            ]);
        }
        if !context.out.json {
            let commits = u64::try_from(chain.commits().count()).unwrap_or(u64::MAX);
            let (source, commits) = (&history.about().source, counted(commits, "commit"));
            context.out.line(bold(history.name()).then(format_args!("  {source}  {commits}")));
            let header = ["COMMIT", &*times.heading("TIME"), "WHY", "LABEL", "ID"];
            for line in table(&header, &rows, &[]) {
                context.out.line(format_args!("  {line}"));
            }
        }
        let shown = shown(&history, &judged);
        if context.beside(args.name.is_none(), &history, shown)? == Some(Ended::Damaged) {
            ended = Ended::Damaged;
        }
    }
    Ok(ended)
}

/// Why a commit is in the list: who gave it its labels.
fn why(labels: &[&Snapshot]) -> String {
    let mut found: Vec<&str> = Vec::new();
    for label in labels {
        let word = match label.kind {
            SnapshotKind::Manual => "label",
            SnapshotKind::Scheduled => "schedule",
            SnapshotKind::Safety => "safety",
            SnapshotKind::Mark => "mark",
        };
        if !found.contains(&word) {
            found.push(word);
        }
    }
    if found.is_empty() { "newest".to_owned() } else { found.join(", ") }
}

pub(crate) fn log(context: &Context, args: &LogArgs) -> Result<Ended> {
    let repository = context.repository()?;
    let filter = Filter::new(&args.filter)?;
    let history = repository.history(&args.name)?;
    let (chain, judged) = context.judged(&history)?;
    let snapshots = context.labels(&history)?;
    let mut commits: Vec<Commit> =
        chain.commits().filter(|c| filter.accepts(c, &labels_of(&snapshots, c))).collect();
    if let Some(last) = args.last {
        commits.drain(..commits.len().saturating_sub(last));
    }
    let touched = match args.tables {
        true => touched(context, &history, &commits)?,
        false => vec![None; commits.len()],
    };
    if context.out.json {
        let answers = commits.iter().map(|c| answer(&history, c, &labels_of(&snapshots, c)));
        let with =
            answers.zip(&touched).map(|(answer, tables)| answer.with_tables(tables.as_deref()));
        with.for_each(|commit| context.out.object(&commit));
        return shown(&history, &judged);
    }
    let times = times(commits.iter().map(|commit| commit.record.time));
    let rows: Vec<Vec<String>> = commits
        .iter()
        .zip(&touched)
        .map(|(commit, tables)| {
            let mut row = vec![
                format!("seq:{}", commit.seq),
                times.cell(commit.record.time),
                count(commit.record.pages.into()),
                count(commit.record.changed.into()),
                bytes(commit.record.stored),
                commit.record.kind.name().to_owned(),
                labels_with_ends(&labels_of(&snapshots, commit)),
            ];
            if args.tables {
                row.insert(6, in_words(tables.as_deref()));
            }
            row
        })
        .collect();
    let time = times.heading("TIME");
    let mut header = vec!["COMMIT", &*time, "PAGES", "CHANGED", "STORED", "CAPTURED BY", "LABEL"];
    if args.tables {
        header.insert(6, "TABLES");
    }
    for line in table(&header, &rows, &[2, 3, 4]) {
        context.out.line(line);
    }
    tell_backwards(context, &commits);
    shown(&history, &judged)
}

/// The tables that commits touched.
fn touched(
    context: &Context,
    history: &History,
    commits: &[Commit],
) -> Result<Vec<Option<Vec<TableDiff>>>> {
    let seqs: Vec<Seq> = commits.iter().map(|commit| commit.seq).collect();
    history.touched_tables(&seqs, &Progress::new(&context.out))
}

/// Tells of commits that are dated earlier than the one before them: a time may not mean there what
/// it says.
fn tell_backwards(context: &Context, commits: &[Commit]) {
    let times: Vec<Timestamp> = commits.iter().map(|c| c.record.time).collect();
    let wrong = backwards(&times);
    let Some(first) = wrong.first().and_then(|at| commits.get(*at)) else { return };
    let more = match wrong.len() {
        1 => String::new(),
        n => format!(", as are {} others", n - 1),
    };
    context.out.note(format_args!(
        "note: seq:{} is dated earlier than the commit before it{more}: a clock was wrong",
        first.seq
    ));
}

pub(crate) fn show(context: &Context, args: &ShowArgs) -> Result<()> {
    let repository = context.repository()?;
    let selected = context.select(&repository, &args.target)?;
    let snapshots = context.labels_of(&selected)?;
    let Selected { history, chain, commit, selector } = selected;
    let labels = labels_of(&snapshots, &commit);
    let (proofs, _) = history.readable_proofs()?;
    let mut details =
        CommitDetails::of(&history, &commit, labels.iter().copied(), asked(&selector), &proofs);
    let tables = match args.tables {
        true => touched(context, &history, std::slice::from_ref(&commit))?.pop().flatten(),
        false => None,
    };
    details.commit = details.commit.with_tables(tables.as_deref());
    if context.out.json {
        context.out.object(&details);
        return Ok(());
    }
    let manifest = &commit.segment.manifest;
    let now = Timestamp::now();
    let row = |key: &str, value: String| context.out.line(format_args!("{key:<10} {value}"));
    row("commit", format!("{}@seq:{}", history.name(), commit.seq));
    row("time", format!("{} ({})", time(commit.record.time), ago(commit.record.time, now)));
    if let Some(asked) = details.asked_time {
        row("asked for", format!("the last commit at or before {}", time(asked)));
    }
    row("database", history.about().source.clone());
    let size = manifest.page_size.file_len(commit.record.pages);
    let pages = counted(commit.record.pages.into(), "page");
    row("size", format!("{}, {pages} of {} bytes", bytes(size), manifest.page_size));
    let changed = counted(commit.record.changed.into(), "page");
    row("changed", format!("{changed}, {} stored", bytes(commit.record.stored)));
    if args.tables {
        row("tables", in_words(tables.as_deref()));
    }
    row("captured", format!("by {}", commit.record.kind.name()));
    row("digest", commit.record.digest.to_string());
    row("segment", commit.segment.name().to_owned());
    if !labels.is_empty() {
        row("labels", labels_with_ends(&labels));
    }
    for line in neighbours(&chain, &commit) {
        row("", line);
    }
    for proof in &details.proofs {
        let outcome = outcome(&history, proof, "");
        row("proof", format!("{} {} {outcome}", time(proof.time), proof.level.name()));
    }
    if details.proofs.is_empty() {
        row(
            "proof",
            format!("none yet; `pagekeep verify {}@seq:{}` makes one", history.name(), commit.seq),
        );
    }
    Ok(())
}

pub(crate) fn label(context: &Context, args: &LabelArgs) -> Result<()> {
    let repository = context.repository()?;
    if args.remove {
        return unlabel(context, &repository, args);
    }
    let Selected { history, commit, .. } = context.select(&repository, &args.target)?;
    let snapshot =
        history.label((commit.seq, commit.record.digest), &args.label, SnapshotKind::Manual)?;
    context.out.json_summary(&LabelSummary::of(&history, &snapshot));
    context.out.summary(format_args!(
        "{}@seq:{} of {} is now labelled {:?}",
        history.name(),
        commit.seq,
        time(commit.record.time),
        snapshot.label
    ));
    Ok(())
}

fn unlabel(context: &Context, repository: &Repository, args: &LabelArgs) -> Result<()> {
    let selected = match args.target.contains('@') {
        true => Some(context.select(repository, &args.target)?),
        false => None,
    };
    let only = selected.as_ref().map(|selected| selected.commit.seq);
    // Whoever selected by a label was told of those that can't be read.
    let told = selected.is_some_and(|s| matches!(s.selector, Selector::Label(_)));
    let history = repository.history(split_target(&args.target).0)?;
    let mut removed = Vec::new();
    let (snapshots, unread) = history.readable_snapshots()?;
    let label = trimmed(&args.label);
    for snapshot in snapshots {
        if trimmed(&snapshot.label) == label && only.is_none_or(|seq| seq == snapshot.seq) {
            history.remove_snapshot(&snapshot)?;
            removed.push(snapshot.seq);
        }
    }
    if removed.is_empty() {
        if let Some(e) = not_readable(&history, label, &unread) {
            return Err(e);
        }
        return Err(Error::new(ErrorKind::NotFound, format!("has no label {:?}", args.label))
            .with_object(&*args.target)
            .with_hint(format!("`pagekeep snapshots {}` shows the labels", history.name())));
    }
    for e in unread.iter().filter(|_| !told) {
        context.out.advise(&passed_over(&history, e));
    }
    context.out.json_summary(&UnlabelSummary {
        history: history.name().to_owned(),
        label: label.to_owned(),
        removed_from: removed.clone(),
    });
    for seq in removed {
        context.out.summary(format_args!("took {label:?} back from {}@seq:{seq}", history.name()));
    }
    Ok(())
}
