//! The job that keeps the files of an application, and what other jobs do with their history.
//!
//! Invariant: whatever becomes of the copies in mirrors, the files are kept; the outcome says what
//! is missing.

use super::job::{Order, Outcome, in_words};
use crate::count::counted;
use crate::error::{ErrorKind, Result};
use crate::ops::copy::CopyOptions;
use crate::ops::files::{FilesOptions, FilesReport, PassedOver, history_of};
use crate::ops::prune::{PruneOptions, PruneReport};
use crate::ops::verify::{VerifyOptions, VerifyReport};
use crate::progress::{Monitor, check_cancelled};
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
        let mut message = told(&report);
        for over in report.passed_over.iter().filter(|over| over.why.is_trouble()) {
            monitor.warn(&over.to_string());
        }
        for (mirror, to) in &self.mirrors {
            check_cancelled(monitor)?;
            let history = &report.backup.history;
            let copy = CopyOptions { compression: self.plan.compression };
            let copied =
                history.twin_in(to).and_then(|twin| history.copy_into(&twin, &copy, monitor));
            if let Err(e) = copied {
                check_cancelled(monitor)?;
                let why = format!("the mirror {mirror} has not all of the files: {}", in_words(&e));
                monitor.warn(&why);
                message += &format!("; {why}");
            }
        }
        Ok(Outcome::well(message))
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

    /// Removes what the policy does not keep from the history of the files, and from its copies.
    pub(super) fn prune_files(
        &self,
        options: &PruneOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<PruneReport>> {
        let Some(history) = self.files_history()? else { return Ok(None) };
        let report = history.prune(options, monitor)?;
        for (mirror, to) in &self.mirrors {
            check_cancelled(monitor)?;
            if let Err(e) = history.twin_in(to).and_then(|twin| twin.prune(options, monitor)) {
                monitor.warn(&format!("the mirror {mirror} keeps all files: {}", in_words(&e)));
            }
        }
        Ok(Some(report))
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
