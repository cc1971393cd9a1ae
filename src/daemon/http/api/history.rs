//! What a history has: commits by pages, the one that a text means, what can be reached, and how
//! many commits there are when.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ask::{Answered, Asked, At, Until, json};
use super::databases::Which;
use super::state::Api;
use crate::api::commit;
use crate::api::coverage::{CoverageSummary, Stretch};
use crate::api::daemon::{
    Bucket, CommitPage, DaemonCoverage, ProblemDetails, ResolvedCommit, Timeline,
};
use crate::daemon::equivalent::Equivalent;
use crate::daemon::wanted::Named;
use crate::daemon::words::{instead, said};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::select::{Chosen, choose};
use crate::policy::selector::{Selector, trimmed};
use crate::progress::check_cancelled;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::handle::History;
use crate::repo::history::labels::Snapshot;
use crate::types::{Clock, Seq, Timestamp};

/// How many commits a page has, unless asked for fewer, and at most.
const PAGE: u64 = 100;
const MOST: u64 = 1000;
/// How many parts a timeline has, unless asked for fewer, and at most.
const BUCKETS: u32 = 200;
const MOST_BUCKETS: u32 = 2000;
/// How many commits with labels a timeline tells.
const LABELLED: usize = 200;

/// Which commits.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CommitsAsked {
    /// Only commits of lower numbers.
    before: Option<u64>,
    /// How many at most, up to 1000; 100 if it is not said.
    limit: Option<u64>,
    /// Only those captured at or after this time (RFC 3339).
    since: Option<String>,
    /// Only those captured at or before this time (RFC 3339).
    until: Option<String>,
    /// Only those with this label.
    label: Option<String>,
}

/// The commits of a database, the newest first.
#[utoipa::path(get, path = "/databases/{repository}/{name}/commits", params(Which, CommitsAsked),
    responses((status = 200, body = CommitPage), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn commits(
    State(api): State<Arc<Api>>,
    At(which): At<Which>,
    Asked(asked): Asked<CommitsAsked>,
) -> Answered {
    let page = move |history: &History, _: &_| asked.page(history);
    json(&api.ask(which.into(), page).await?)
}

impl CommitsAsked {
    fn page(&self, history: &History) -> Result<CommitPage> {
        let since = self.since.as_deref().map(|text| time("since", text)).transpose()?;
        let until = self.until.as_deref().map(|text| time("until", text)).transpose()?;
        let label = self.label.as_deref().map(trimmed);
        let limit = usize::try_from(self.limit.unwrap_or(PAGE).clamp(1, MOST)).unwrap_or(1);
        let chain = history.readable_chain()?;
        let labels = Labels::of(history)?;
        let fits = |commit: &Commit| {
            let at = commit.record.time;
            self.before.is_none_or(|before| commit.seq.0 < before)
                && since.is_none_or(|since| at >= since)
                && until.is_none_or(|until| at <= until)
                && label.is_none_or(|label| {
                    labels.of_commit(commit).any(|given| trimmed(&given.label) == label)
                })
        };
        let mut found: Vec<Commit> = chain.commits().filter(fits).collect();
        let more = found.len().saturating_sub(limit);
        found.drain(..more);
        let oldest = found.first().map(|commit| commit.seq);
        let next = oldest.filter(|_| more > 0);
        let told = found.iter().rev().map(|commit| told(history, commit, &labels));
        Ok(CommitPage { commits: told.collect(), next })
    }
}

fn told(history: &History, commit: &Commit, labels: &Labels) -> commit::Commit {
    commit::Commit::of(history.name(), commit.seq, &commit.record, labels.of_commit(commit))
}

/// The labels of a history, by commit.
struct Labels(HashMap<Seq, Vec<Snapshot>>);

impl Labels {
    fn of(history: &History) -> Result<Self> {
        let mut labels: HashMap<Seq, Vec<Snapshot>> = HashMap::new();
        for label in history.readable_snapshots()?.0 {
            labels.entry(label.seq).or_default().push(label);
        }
        Ok(Self(labels))
    }

    fn of_commit(&self, commit: &Commit) -> impl Iterator<Item = &Snapshot> {
        self.0.get(&commit.seq).into_iter().flatten().filter(|label| label.names(commit))
    }

    fn has(&self, commit: &Commit) -> bool {
        self.of_commit(commit).next().is_some()
    }
}

/// A moment that a program names.
fn time(member: &str, text: &str) -> Result<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
        Error::new(ErrorKind::Usage, format!("{text:?} is no time"))
            .with_object(member)
            .with_hint("write it as in 2026-05-01T12:00:00Z")
    })?;
    Ok(Timestamp(time.timestamp_micros()))
}

/// Which commit is meant.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CommitAsked {
    /// As on the command line behind the `@`: `latest~2`, `seq:17`, a label, a time. Times without
    /// a zone are in UTC.
    when: String,
}

/// The commit that somebody means by a text.
#[utoipa::path(get, path = "/databases/{repository}/{name}/commit", params(Which, CommitAsked),
    responses((status = 200, body = ResolvedCommit), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn resolve(
    State(api): State<Arc<Api>>,
    At(which): At<Which>,
    Asked(CommitAsked { when }): Asked<CommitAsked>,
) -> Answered {
    let (named, clock): (Named, _) = (which.into(), api.clock.clone());
    let of = named.clone();
    let resolved = api.ask(named, move |history, _| {
        let (chain, Chosen { commit, notes, warnings }) = chosen(history, &when, &clock)?;
        let labels = Labels::of(history)?;
        let mut before = None;
        let mut after = None;
        for other in chain.commits() {
            if other.seq < commit.seq {
                before = Some(other.seq);
            } else if other.seq > commit.seq {
                after = Some(other.seq);
                break;
            }
        }
        Ok(ResolvedCommit {
            command: instead(&Equivalent::Show(of, commit.seq)),
            commit: told(history, &commit, &labels),
            before,
            after,
            notes,
            warnings: warnings.iter().map(said).collect(),
        })
    });
    json(&resolved.await?)
}

/// The commit that a text means. Times without a zone are in UTC: a program sends them.
pub(super) fn chosen(history: &History, when: &str, clock: &Clock) -> Result<(Chain, Chosen)> {
    let now = clock.now().to_utc().unwrap_or_else(Utc::now);
    let selector = Selector::parse(when, &now)?;
    let chain = history.readable_chain()?;
    let chosen = choose(history, &chain, &selector)?;
    Ok((chain, chosen))
}

/// What of a database can be reached, and what could be lost now.
#[utoipa::path(get, path = "/databases/{repository}/{name}/coverage", params(Which), responses(
    (status = 200, body = DaemonCoverage), (status = "4XX", body = ProblemDetails)
))]
pub(super) async fn coverage(State(api): State<Arc<Api>>, At(which): At<Which>) -> Answered {
    let (named, now): (Named, _) = (which.into(), api.clock.now());
    let command = instead(&Equivalent::Coverage(named.clone()));
    let coverage = api.ask(named, move |history, _| {
        let coverage = history.coverage()?;
        let stretches = coverage.stretches.iter().map(|of| Stretch::of(history, of)).collect();
        let summary = CoverageSummary::of(history, &coverage, now);
        Ok(DaemonCoverage { summary, stretches, command })
    });
    json(&coverage.await?)
}

/// Which stretch of time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineAsked {
    /// Where it begins (RFC 3339); the oldest commit if it is not said.
    from: Option<String>,
    /// Where it ends (RFC 3339); now if it is not said.
    to: Option<String>,
    /// In how many parts it is cut, up to 2000; 200 if it is not said.
    buckets: Option<u32>,
}

/// How many commits a database has in each part of a stretch of time, at any zoom.
#[utoipa::path(get, path = "/databases/{repository}/{name}/timeline", params(Which, TimelineAsked),
    responses((status = 200, body = Timeline), (status = "4XX", body = ProblemDetails)))]
pub(super) async fn timeline(
    State(api): State<Arc<Api>>,
    At(which): At<Which>,
    Asked(asked): Asked<TimelineAsked>,
) -> Answered {
    let now = api.clock.now();
    let work = move |history: &History, until: &Until| asked.timeline(history, now, until);
    json(&api.ask(which.into(), work).await?)
}

impl TimelineAsked {
    fn timeline(&self, history: &History, now: Timestamp, until: &Until) -> Result<Timeline> {
        let chain = history.readable_chain()?;
        let labels = Labels::of(history)?;
        let oldest = chain.commits().next().map(|commit| commit.record.time);
        let newest = chain.latest().map(|commit| commit.record.time);
        let from = self.from.as_deref().map(|text| time("from", text)).transpose()?;
        let to = self.to.as_deref().map(|text| time("to", text)).transpose()?;
        let to = to.unwrap_or(now);
        let from = from.or(oldest).unwrap_or(to).min(to);
        let parts = self.buckets.unwrap_or(BUCKETS).clamp(1, MOST_BUCKETS);
        // The end belongs to the last part.
        let span = i128::from(to.0) - i128::from(from.0) + 1;
        let part = |at: Timestamp| {
            let n = (i128::from(at.0) - i128::from(from.0)) * i128::from(parts) / span;
            u64::try_from(n).unwrap_or_default()
        };
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut labelled: Vec<Commit> = Vec::new();
        let within = |commit: &Commit| (from..=to).contains(&commit.record.time);
        for commit in chain.commits().filter(within) {
            let (index, record) = (part(commit.record.time), &commit.record);
            let (pages, bytes) = (u64::from(record.changed), record.stored);
            // Clocks go back now and then, so an earlier part may come behind a later one.
            match buckets.iter_mut().rev().take(2).find(|bucket| bucket.index == index) {
                Some(bucket) => {
                    bucket.commits += 1;
                    bucket.last = commit.seq;
                    bucket.changed_pages += pages;
                    bucket.stored_bytes = bucket.stored_bytes.saturating_add(bytes);
                }
                None => buckets.push(Bucket {
                    index,
                    commits: 1,
                    first: commit.seq,
                    last: commit.seq,
                    changed_pages: pages,
                    stored_bytes: bytes,
                }),
            }
            if labels.has(&commit) {
                labelled.push(commit);
                // The newest ones are told.
                if labelled.len() > 2 * LABELLED {
                    labelled.drain(..LABELLED);
                    check_cancelled(until)?;
                }
            }
        }
        let buckets = gathered(buckets);
        labelled.drain(..labelled.len().saturating_sub(LABELLED));
        let labelled = labelled.iter().map(|commit| told(history, commit, &labels)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a length in seconds, for people")]
        let bucket_seconds = span as f64 / f64::from(parts) / 1e6;
        Ok(Timeline { from, to, bucket_seconds, buckets, labelled, oldest, newest })
    }
}

/// Each part once, in order.
fn gathered(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    buckets.sort_by_key(|bucket| bucket.index);
    let mut gathered: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match gathered.last_mut().filter(|last| last.index == bucket.index) {
            Some(last) => {
                last.commits += bucket.commits;
                last.first = last.first.min(bucket.first);
                last.last = last.last.max(bucket.last);
                last.changed_pages += bucket.changed_pages;
                last.stored_bytes = last.stored_bytes.saturating_add(bucket.stored_bytes);
            }
            None => gathered.push(bucket),
        }
    }
    gathered
}
