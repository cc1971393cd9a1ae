//! How far a mirror is with a database, and what a copy to it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::Control;
use super::overview::CopyView;
use super::pace::doubled;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::copy::{CopyOptions, CopyReport};
use crate::ops::files::history_of;
use crate::ops::prune::PruneOptions;
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::types::Timestamp;

/// How often a copy is made though nothing is known to be new: labels come without a commit.
const AGAIN: Duration = Duration::from_secs(3600);

/// How long to wait before what failed is tried again: the first time, and at most.
pub(super) const FIRST: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_secs(5 * 60);

/// How far a mirror is with a database.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) stage: Stage,
    pub(super) failures: u32,
    /// The copy, once it was found.
    pub(super) twin: Option<History>,
    /// How much had changed when the last copy began that brought everything, and when the last one
    /// began.
    pub(super) copied: Option<u64>,
    pub(super) began: Option<Instant>,
    /// How often the policy had been applied when it was last applied to the copy.
    pub(super) pruned: u64,
    /// What keeps the policy from being applied to the copy, which is copied to all the same.
    pub(super) unpruned: Option<Unpruned>,
    /// Since when it is to have a copy; when the last copy began that brought everything.
    pub(super) since: Timestamp,
    pub(super) complete: Option<Timestamp>,
    pub(super) fault: Option<String>,
}

/// A policy that could not be applied to a copy.
#[derive(Debug)]
pub(super) struct Unpruned {
    pub(super) tries: u32,
    /// When it is tried again.
    pub(super) again: Instant,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It is not copied to before then.
    At(Instant),
    /// Somebody copies.
    Running(Running),
}

/// A copy that is being made, and what there was when it began.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) changes: u64,
    /// How often the policy had been applied, if it is applied to the copy now.
    pub(super) prunes: Option<u64>,
    pub(super) at: Timestamp,
    pub(super) control: Arc<Control>,
}

/// What a copy came to.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) twin: History,
    pub(super) report: CopyReport,
    /// What became of the copy of the files, which comes behind: whether it is whole.
    pub(super) files: Result<bool>,
    /// What kept the policy from being applied.
    pub(super) unpruned: Option<Error>,
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
            unpruned: None,
            since,
            complete: None,
            fault: None,
        }
    }

    /// Asks the copy that is being made to stop. Answers whether there is one.
    pub(super) fn stop(&self) -> bool {
        match &self.stage {
            Stage::Running(running) => {
                running.control.stop();
                true
            }
            Stage::At(_) => false,
        }
    }

    pub(super) fn is_due(&self, changes: u64, prunes: u64, now: Instant) -> bool {
        let Stage::At(at) = self.stage else { return false };
        let is_old = self.began.is_none_or(|began| now.duration_since(began) >= AGAIN);
        at <= now && (self.copied != Some(changes) || self.may_prune(prunes, now) || is_old)
    }

    /// Whether the policy is to be applied to the copy now. One that can't be applied delays no
    /// copy.
    pub(super) fn may_prune(&self, prunes: u64, now: Instant) -> bool {
        let waits = self.unpruned.as_ref().is_some_and(|unpruned| now < unpruned.again);
        self.pruned != prunes && !waits
    }

    /// Takes note of whether the policy was applied; answers whether that is news.
    pub(super) fn was_pruned(&mut self, prunes: u64, is_done: bool, now: Instant) -> bool {
        if is_done {
            self.pruned = prunes;
            return self.unpruned.take().is_some();
        }
        let tries = self.unpruned.as_ref().map_or(0, |unpruned| unpruned.tries);
        let wait = doubled(FIRST, tries, LONGEST);
        let again = now.checked_add(wait).unwrap_or(now);
        self.unpruned.replace(Unpruned { tries: tries.saturating_add(1), again }).is_none()
    }

    /// How it stands, where so much has changed by now.
    pub(super) fn view(&mut self, mirror: &str, changes: u64, now: Timestamp) -> CopyView {
        // What has everything and rests has everything still.
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
    /// Whether files are kept beside the database, in a history of their own.
    pub(super) has_files: bool,
    /// How the copies are pruned, if that is due.
    pub(super) prune: Option<PruneOptions>,
}

impl Order {
    pub(super) fn carry_out(self, control: &Control) -> Result<Copied> {
        // The copy that was found earlier, if it still is one of this history, and there.
        let known = self
            .twin
            .as_ref()
            .filter(|twin| twin.id() == self.from.id() && twin.repository().id() == self.to.id());
        let twin = known.cloned().map_or_else(|| self.from.twin_in(&self.to), Ok)?;
        let report = self.from.copy_into(&twin, &self.copy, control)?;
        // What was copied is there, whatever becomes of the prune.
        let pruned = self.prune(&twin, control);
        let (files, files_pruned) = match self.copy_files(control) {
            Ok(Some((twin, is_whole))) => (Ok(is_whole), self.prune(&twin, control)),
            Ok(None) => (Ok(true), Ok(())),
            Err(e) => (Err(e), Ok(())),
        };
        let unpruned = match pruned.and(files_pruned) {
            // Whoever stopped it is not told that it failed.
            Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
            pruned => pruned.err(),
        };
        Ok(Copied { twin, report, files, unpruned })
    }

    /// Copies the history of the files, if there is one. Answers the copy, and whether it is whole.
    fn copy_files(&self, control: &Control) -> Result<Option<(History, bool)>> {
        if !self.has_files {
            return Ok(None);
        }
        let files = match self.from.repository().history(&history_of(self.from.name())) {
            // Nothing was kept yet.
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let twin = files.twin_in(&self.to)?;
        let report = files.copy_into(&twin, &self.copy, control)?;
        Ok(Some((twin, report.is_whole)))
    }

    /// Applies the policy to a copy. It was just copied: it has the labels and holds that keep
    /// what the policy would remove.
    fn prune(&self, twin: &History, control: &Control) -> Result<()> {
        self.prune.as_ref().map_or(Ok(()), |prune| twin.prune(prune, control).map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_can_not_be_applied_delays_no_copy_and_is_tried_again() {
        let now = Instant::now();
        let mut copying = Copying::new(Timestamp(0), now);
        (copying.copied, copying.began) = (Some(1), Some(now));
        assert!(copying.may_prune(1, now) && copying.is_due(1, 1, now));
        // News is told once.
        assert!(copying.was_pruned(1, false, now) && !copying.was_pruned(1, false, now));
        assert!(!copying.is_due(1, 1, now + FIRST));
        assert!(copying.is_due(2, 1, now) && !copying.may_prune(1, now));
        assert!(copying.is_due(1, 1, now + 2 * FIRST));
        assert!(copying.was_pruned(1, true, now) && !copying.was_pruned(1, true, now));
        assert!(!copying.is_due(1, 1, now + 2 * FIRST));
    }

    /// What another writer of the files' history may still displace is not in the copy.
    #[test]
    fn a_copy_is_whole_only_if_its_files_are() {
        use std::path::PathBuf;

        use crate::daemon::ear::Ear;
        use crate::format::slot::KdfParams;
        use crate::ops::backup::BackupOptions;
        use crate::ops::files::{Chosen, FilesOptions};
        use crate::progress::Silent;
        use crate::repo::RepositoryOptions;
        use crate::repo::keys::secret::Secret;
        use crate::repo::write::standing;
        use crate::repo::write::term::Claim;

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let repository = |name: &str| {
            let store = crate::store::create_store(at(name).to_str().unwrap()).unwrap();
            let secret = Secret::new_recovery().unwrap();
            let options = RepositoryOptions::new(at("state"));
            Repository::init(store, &[(&secret, "key")], KdfParams::default(), &options).unwrap()
        };
        let [main, far] = ["main", "far"].map(repository);
        let app = rusqlite::Connection::open(at("app.db")).unwrap();
        app.execute_batch("CREATE TABLE t(x)").unwrap();
        drop(app);
        let options = BackupOptions::default().name("app");
        let from = main.backup(&at("app.db"), &options, &Silent).unwrap().history;
        std::fs::write(at("file"), "text").unwrap();
        let chosen = Chosen::new(dir.path(), &[PathBuf::from("file")], &[]).unwrap();
        let options = FilesOptions {
            compression: crate::codec::batch::Compression::Fast,
            adopt: false,
            kept: std::collections::BTreeSet::new(),
        };
        main.back_up_files("app", &chosen, &options, &Silent).unwrap();
        let copied = || {
            let order = Order {
                from: from.clone(),
                to: far.clone(),
                twin: None,
                copy: CopyOptions::default(),
                has_files: true,
                prune: None,
            };
            order.carry_out(&Control::of("app", None, Arc::new(Ear::of("app")))).unwrap()
        };
        assert!(copied().files.unwrap());
        // Somebody who took a turn may begin anew.
        let files = main.history(&history_of("app")).unwrap();
        let claim = Claim::take(&files, "backup").unwrap();
        standing::record(&files, claim, None).unwrap();
        let copied = copied();
        assert!(copied.report.is_whole && !copied.files.unwrap());
    }
}
