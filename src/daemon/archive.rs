//! The job that keeps the files of an application, and what other jobs do with their history. Its
//! copies in mirrors are made behind those of the database.

use super::job::{Ended, Order, Outcome};
use crate::count::counted;
use crate::error::{ErrorKind, Result};
use crate::ops::files::{FilesOptions, FilesReport, PassedOver, history_of};
use crate::ops::prune::{PruneOptions, PruneReport};
use crate::ops::verify::{VerifyOptions, VerifyReport};
use crate::progress::Monitor;
use crate::repo::Repository;
use crate::repo::history::handle::History;

impl Order {
    /// Brings the history of the files up to date, and its copies.
    pub(super) fn keep_files(&self, monitor: &dyn Monitor) -> Result<Outcome> {
        let Some(plan) = &self.plan.files else {
            return Ok(Outcome::well("no files are kept of this database".to_owned()));
        };
        let chosen = plan.chosen(&self.path)?;
        let options = FilesOptions {
            compression: self.plan.compression,
            adopt: false,
            kept: [self.path.clone()].into(),
        };
        let report = self.repository.back_up_files(&self.name, &chosen, &options, monitor)?;
        let message = told(&report);
        let mut ended = Ended::Well;
        for over in report.passed_over.iter().filter(|over| over.why.is_trouble()) {
            ended = Ended::Found;
            monitor.warn(&over.to_string());
        }
        Ok(Outcome { ended, message })
    }

    /// The history of the files, where files are kept and there is one.
    pub(super) fn files_history(&self) -> Result<Option<History>> {
        if self.plan.files.is_none() {
            return Ok(None);
        }
        match self.repository.history(&history_of(&self.name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Verifies the history of the files behind that of the database: what is found is found.
    pub(super) fn verify_files(
        &self,
        repository: &Repository,
        report: VerifyReport,
        options: &VerifyOptions,
        monitor: &dyn Monitor,
    ) -> Result<VerifyReport> {
        if self.plan.files.is_none() {
            return Ok(report);
        }
        let history = match repository.history(&history_of(&self.name)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(report),
            found => found?,
        };
        // What is asserted is of the database.
        let options = VerifyOptions { assertions: Vec::new(), ..options.clone() };
        let files = history.verify(None, &options, monitor)?;
        Ok(if files.findings.is_empty() { report } else { files })
    }

    /// Removes what the policy does not keep from the history of the files.
    pub(super) fn prune_files(
        &self,
        options: &PruneOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<PruneReport>> {
        let Some(history) = self.files_history()? else { return Ok(None) };
        history.prune(options, monitor).map(Some)
    }
}

/// What was kept, and what was not, in words.
fn told(report: &FilesReport) -> String {
    let (backup, tally) = (&report.backup, &report.tally);
    let mut text = match backup.commit {
        Some(_) => format!(
            "stored seq:{}: {} changed, {} gone",
            backup.seq,
            counted(tally.changed, "name"),
            tally.removed
        ),
        None => format!("nothing is new since seq:{}", backup.seq),
    };
    let troubles: Vec<&PassedOver> =
        report.passed_over.iter().filter(|over| over.why.is_trouble()).collect();
    if let [first, others @ ..] = troubles.as_slice() {
        text += &format!("; {first}");
        if !others.is_empty() {
            text += &format!(" (and {} more)", others.len());
        }
    }
    text
}
