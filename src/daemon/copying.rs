//! How far a mirror is with a database, and what a copy to it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::Control;
use super::overview::CopyView;
use crate::error::Result;
use crate::ops::copy::{CopyOptions, CopyReport};
use crate::ops::prune::PruneOptions;
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::types::Timestamp;

/// How often a copy is made though nothing is known to be new: labels come without a commit.
const AGAIN: Duration = Duration::from_secs(3600);

/// How far a mirror is with a database.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) stage: Stage,
    pub(super) failures: u32,
    /// The copy, once it was found.
    pub(super) twin: Option<History>,
    /// How much had changed when the last copy began that was made, and when that was.
    pub(super) copied: Option<u64>,
    pub(super) began: Option<Instant>,
    /// How often the policy had been applied when it was last applied to the copy.
    pub(super) pruned: u64,
    /// Since when it is to have a copy; when the copy was last known to have everything.
    pub(super) since: Timestamp,
    pub(super) complete: Option<Timestamp>,
    pub(super) fault: Option<String>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It is not copied to before then.
    At(Instant),
    /// Somebody copies.
    Running { changes: u64, prunes: u64, control: Arc<Control> },
}

/// What a copy came to.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) twin: History,
    pub(super) report: CopyReport,
}

impl Copying {
    pub(super) fn new(since: Timestamp, now: Instant) -> Self {
        Self {
            stage: Stage::At(now),
            failures: 0,
            twin: None,
            copied: None,
            began: None,
            pruned: 0,
            since,
            complete: None,
            fault: None,
        }
    }

    /// Asks the copy that is being made to stop. Answers whether there is one.
    pub(super) fn stop(&self) -> bool {
        match &self.stage {
            Stage::Running { control, .. } => {
                control.stop();
                true
            }
            Stage::At(_) => false,
        }
    }

    pub(super) fn is_due(&self, changes: u64, prunes: u64, now: Instant) -> bool {
        let Stage::At(at) = self.stage else { return false };
        let is_old = self.began.is_none_or(|began| now.duration_since(began) >= AGAIN);
        at <= now && (self.copied != Some(changes) || self.pruned != prunes || is_old)
    }

    /// How it stands, where so much has changed by now.
    pub(super) fn view(&mut self, mirror: &str, changes: u64, now: Timestamp) -> CopyView {
        if self.copied == Some(changes) && self.fault.is_none() {
            self.complete = Some(now);
        }
        CopyView {
            mirror: mirror.to_owned(),
            complete: self.complete,
            fault: self.fault.clone(),
            since: self.since,
        }
    }
}

/// What is needed to copy.
pub(super) struct Order {
    pub(super) from: History,
    pub(super) to: Repository,
    pub(super) twin: Option<History>,
    pub(super) copy: CopyOptions,
    /// How the copy is pruned, if that is due.
    pub(super) prune: Option<PruneOptions>,
}

impl Order {
    pub(super) fn carry_out(self, control: &Control) -> Result<Copied> {
        let twin = self.twin.map_or_else(|| self.from.twin_in(&self.to), Ok)?;
        let report = self.from.copy_into(&twin, &self.copy, control)?;
        if let Some(prune) = &self.prune {
            twin.prune(prune, control)?;
        }
        Ok(Copied { twin, report })
    }
}
