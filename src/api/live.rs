//! The live database beside its history: rewinds, and drift.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::rows::{SchemaChange, TableDiff};
use crate::ops::drift::{Drift, Since, Verdict};
use crate::ops::rewind::{RewindPreview, Rewound};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// What a rewind came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct RewindSummary {
    /// The name of the history.
    history: String,
    /// The path of the database.
    database: String,
    /// The commit whose content the database has now.
    to: Seq,
    /// The commit of the state before; null if the database had the content already.
    before: Option<Seq>,
    /// The label of the state before; null if the database had the content already.
    label: Option<String>,
    /// The newest commit now.
    now: Seq,
    /// The moment that the commit was asked for by; null if it was asked for otherwise.
    asked_time: Option<Timestamp>,
    /// False: the database was rewound, or had the content already.
    dry_run: bool,
    /// The command that brings the state before back; null if nothing was done.
    undo: Option<String>,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}

impl RewindSummary {
    /// A rewind that took so long; `undo` is the command that takes it back.
    pub(crate) fn of(
        (history, database): (&History, &str),
        rewound: &Rewound,
        asked_time: Option<Timestamp>,
        undo: &str,
        took: Duration,
    ) -> Self {
        Self {
            before: Some(rewound.before.seq),
            label: Some(rewound.before.label.clone()),
            undo: Some(undo.to_owned()),
            ..Self::already((history, database), rewound.to, rewound.now, asked_time, took)
        }
    }

    /// The database had the content of the commit already.
    pub(crate) fn already(
        (history, database): (&History, &str),
        to: Seq,
        newest: Seq,
        asked_time: Option<Timestamp>,
        took: Duration,
    ) -> Self {
        Self {
            history: history.name().to_owned(),
            database: database.to_owned(),
            to,
            before: None,
            label: None,
            now: newest,
            asked_time,
            dry_run: false,
            undo: None,
            seconds: took.as_secs_f64(),
        }
    }
}

/// What a rewind would change.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewSummary {
    /// The name of the history.
    history: String,
    /// The commit whose content the database would have.
    to: Seq,
    /// The moment that the commit was asked for by; null if it was asked for otherwise.
    asked_time: Option<Timestamp>,
    /// True: nothing was changed.
    dry_run: bool,
    /// How many pages would change.
    pages: u64,
    /// The tables that would change, by name.
    tables: Vec<TableDiff>,
    /// What of the schema would change.
    schema: Vec<SchemaChange>,
}

impl PreviewSummary {
    /// What would change if a database became the commit.
    pub(crate) fn of(
        history: &History,
        to: Seq,
        asked_time: Option<Timestamp>,
        preview: &RewindPreview,
    ) -> Self {
        Self {
            history: history.name().to_owned(),
            to,
            asked_time,
            dry_run: true,
            pages: preview.pages,
            tables: preview.tables.iter().map(TableDiff::of).collect(),
            schema: preview.schema.iter().map(SchemaChange::of).collect(),
        }
    }
}

/// How a live database differs from its newest commit.
#[derive(Serialize, ToSchema)]
pub(crate) struct DriftSummary {
    /// The name of the history.
    history: String,
    /// The newest commit.
    seq: Seq,
    /// How many pages were compared.
    pages: u64,
    /// How many pages differ, and no transaction explains it.
    differing: u64,
    /// How many of those pages belong to each table, its indexes included.
    tables: BTreeMap<String, u64>,
    /// How many of those pages belong to no table.
    elsewhere: u64,
    /// How many pages differ because of transactions that were not captured yet.
    explained: u64,
    /// How many free pages differ, which means nothing.
    free: u64,
    /// What is known of the time since the newest commit.
    since_head: Since,
    /// The size of the live database in pages; null if the sizes are equal.
    live_pages: Option<u32>,
    /// The size of the newest commit in pages; null if the sizes are equal.
    head_pages: Option<u32>,
    /// Whether the live database is what was captured.
    verdict: Verdict,
    /// What SQLite finds unsound in the live database, in its words. It is asked only where nothing
    /// else tells.
    unsound: Vec<String>,
    /// The verdict as a boolean; null if it is `unknown`.
    drifted: Option<bool>,
}

impl DriftSummary {
    /// What a comparison found.
    pub(crate) fn of(history: &History, drift: &Drift) -> Self {
        let (live_pages, head_pages) = drift.sizes.unzip();
        let verdict = drift.verdict();
        Self {
            history: history.name().to_owned(),
            seq: drift.seq,
            pages: drift.pages,
            differing: drift.differing,
            tables: drift.tables.clone(),
            elsewhere: drift.elsewhere,
            explained: drift.explained,
            free: drift.free,
            since_head: drift.since,
            live_pages,
            head_pages,
            verdict,
            unsound: drift.unsound.clone(),
            drifted: match verdict {
                Verdict::Same => Some(false),
                Verdict::Drifted => Some(true),
                Verdict::Unknown => None,
            },
        }
    }
}
