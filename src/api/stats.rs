//! What a history costs, and why.

use serde::Serialize;
use utoipa::ToSchema;

use crate::ops::stats::{self, Age, By, Storage};
use crate::repo::history::handle::History;
use crate::types::Timestamp;

/// What a period added to a history. A period without commits has no line.
#[derive(Serialize, ToSchema)]
pub(crate) struct Period {
    /// The name of the history.
    history: String,
    /// The length of the period.
    by: By,
    /// Its first day, as `2026-01-31`; null for commits whose time is beyond the calendar.
    start: Option<String>,
    /// How many commits of this time can be selected.
    commits: u64,
    /// How many page versions of its commits are stored.
    versions: u64,
    /// Bytes of their batches and index blocks.
    stored_bytes: u64,
    /// The same bytes, of this period and all before.
    cumulative_bytes: u64,
}

impl Period {
    /// A period of a history.
    pub(crate) fn of(history: &History, by: By, period: &stats::Period) -> Self {
        Self {
            history: history.name().to_owned(),
            by,
            start: period.start.map(|day| day.to_string()),
            commits: period.commits,
            versions: period.versions,
            stored_bytes: period.stored,
            cumulative_bytes: period.cumulative,
        }
    }
}

/// The stored bytes of one age. All ages add up to the bytes of all segments.
#[derive(Serialize, ToSchema)]
pub(crate) struct AgeShare {
    /// The name of the history.
    pub(crate) history: String,
    /// The age of the newest commit that needs them.
    pub(crate) age: Age,
    /// The bytes.
    pub(crate) stored_bytes: u64,
}

/// What a rule of the policy costs.
#[derive(Serialize, ToSchema)]
pub(crate) struct RuleCost {
    /// The name of the history.
    history: String,
    /// The rule: `newest`, `last`, `window`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`,
    /// `floor`; or `pinned` for labels and holds.
    rule: &'static str,
    /// How many commits it keeps, with other rules or alone.
    commits: u64,
    /// How many commits would go without it.
    only_commits: u64,
    /// About how many bytes would be free without it.
    only_bytes: u64,
}

impl RuleCost {
    /// What a rule costs in a history.
    pub(crate) fn of(history: &History, rule: &stats::RuleCost) -> Self {
        Self {
            history: history.name().to_owned(),
            rule: rule.rule,
            commits: rule.points,
            only_commits: rule.only,
            only_bytes: rule.bytes,
        }
    }
}

/// What a prune by the policy would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyCost {
    /// The name of the history.
    history: String,
    /// How many commits the policy keeps.
    kept: u64,
    /// How many commits it would drop.
    dropped: u64,
    /// About how many bytes the kept commits need.
    kept_bytes: u64,
    /// About how many bytes a prune could free.
    freed_bytes: u64,
    /// How many of `kept_bytes` are not the cost of a single rule: the newest commit and several
    /// rules need them.
    shared_bytes: u64,
}

impl PolicyCost {
    /// What a policy costs in a history.
    pub(crate) fn of(history: &History, policy: &stats::PolicyCost) -> Self {
        Self {
            history: history.name().to_owned(),
            kept: policy.kept,
            dropped: policy.dropped,
            kept_bytes: policy.stays,
            freed_bytes: policy.goes,
            shared_bytes: policy.shared,
        }
    }
}

/// How much a table or an index changes, by today's layout of the database.
#[derive(Serialize, ToSchema)]
pub(crate) struct TableChanges {
    /// The name of the history.
    history: String,
    /// The name of the table or index.
    name: String,
    /// The table that it is an index of; null if it is a table.
    index_of: Option<String>,
    /// How many pages it has now.
    pages: u64,
    /// How many of those pages changed at least once.
    changed_pages: u64,
    /// How many changes of its pages are stored.
    changes: u64,
}

impl TableChanges {
    /// How much a table of a history changes.
    pub(crate) fn of(history: &History, table: &stats::TableChanges) -> Self {
        Self {
            history: history.name().to_owned(),
            name: table.name.clone(),
            index_of: table.index_of.clone(),
            pages: table.pages,
            changed_pages: table.changed,
            changes: table.changes,
        }
    }
}

/// The changes that are in no line of a table.
#[derive(Serialize, ToSchema)]
pub(crate) struct Elsewhere {
    /// The name of the history.
    history: String,
    /// Changes of tables and indexes behind the first N, which `--top` sets.
    other_tables: u64,
    /// Changes of pages that are free now, or hold SQLite's own notes.
    free: u64,
    /// Changes of pages that the database does not have any more.
    gone: u64,
    /// Changes from before the page size changed.
    other_page_size: u64,
}

impl Elsewhere {
    /// What the first `top` tables of a history leave.
    pub(crate) fn of(history: &History, tables: &stats::Tables, top: usize) -> Self {
        Self {
            history: history.name().to_owned(),
            other_tables: tables.tables.iter().skip(top).map(|t| t.changes).sum(),
            free: tables.free,
            gone: tables.gone,
            other_page_size: tables.other_page_size,
        }
    }
}

/// What a history costs: its last line.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stats {
    /// The name of the history.
    history: String,
    /// How many commits can be selected.
    commits: u64,
    /// The earliest time of a commit; null if there is none.
    first_time: Option<Timestamp>,
    /// The latest time of a commit; null if there is none.
    last_time: Option<Timestamp>,
    /// How many segments the history needs.
    segments: u64,
    /// How many page versions are stored.
    versions: u64,
    /// The size of the database in pages, as of the newest commit.
    pages: u32,
    /// How many page versions are changes: not part of the first commit of a base.
    changes: u64,
    /// Changes in 24 hours; null for a history of less than a day.
    changes_per_day: Option<f64>,
    /// How many different pages changed.
    distinct_pages_changed: u64,
    /// Bytes of the page versions before they were compressed and sealed.
    plain_bytes: u64,
    /// How many times smaller page versions are stored; null if there are none.
    compression_ratio: Option<f64>,
    /// Bytes of the page versions, compressed and sealed.
    batch_bytes: u64,
    /// Bytes of index blocks.
    index_bytes: u64,
    /// Bytes of manifests, with the headers of segments and parts.
    manifest_bytes: u64,
    /// Bytes of labels and holds.
    label_bytes: u64,
    /// Bytes of the results of verifications.
    proof_bytes: u64,
    /// Bytes of the claims of writers.
    writer_bytes: u64,
    /// Bytes of the description of the history and of other records.
    other_bytes: u64,
    /// Bytes of what was replaced or is left over.
    replaced_bytes: u64,
    /// Bytes of all objects of the history.
    stored_bytes: u64,
}

impl Stats {
    /// What a history costs.
    pub(crate) fn of(history: &History, stats: &stats::Stats) -> Self {
        let (change, storage) = (&stats.change, &stats.storage);
        let (first_time, last_time) = stats.times.unzip();
        Self {
            history: history.name().to_owned(),
            commits: stats.commits,
            first_time,
            last_time,
            segments: stats.segments,
            versions: stats.versions,
            pages: change.pages,
            changes: change.changes,
            changes_per_day: change.per_day(),
            distinct_pages_changed: change.distinct,
            plain_bytes: storage.plain,
            compression_ratio: storage.ratio(),
            batch_bytes: storage.batches,
            index_bytes: storage.index,
            manifest_bytes: storage.manifests,
            label_bytes: storage.labels,
            proof_bytes: storage.proofs,
            writer_bytes: storage.writers,
            other_bytes: storage.other,
            replaced_bytes: storage.replaced,
            stored_bytes: storage.total(),
        }
    }
}

/// What all histories come to.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct StatsSummary {
    /// How many histories there are.
    histories: u64,
    /// How many commits of them can be selected.
    commits: u64,
    /// How many page versions are stored.
    versions: u64,
    /// How many page versions are changes: not part of the first commit of a base.
    changes: u64,
    /// Bytes of the page versions before they were compressed and sealed.
    plain_bytes: u64,
    /// Bytes of all objects of the histories.
    stored_bytes: u64,
    /// How many times smaller page versions are stored; null if there are none.
    compression_ratio: Option<f64>,
    /// Bytes of the page versions, compressed and sealed.
    #[serde(skip)]
    #[schema(ignore)]
    batches: u64,
}

impl StatsSummary {
    /// Counts one more history.
    pub(crate) fn add(&mut self, stats: &stats::Stats) {
        self.histories += 1;
        self.commits += stats.commits;
        self.versions += stats.versions;
        self.changes += stats.change.changes;
        self.plain_bytes += stats.storage.plain;
        self.stored_bytes += stats.storage.total();
        self.batches += stats.storage.batches;
        let (plain, batches) = (self.plain_bytes, self.batches);
        self.compression_ratio = Storage { plain, batches, ..Storage::default() }.ratio();
    }
}
