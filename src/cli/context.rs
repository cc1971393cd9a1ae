//! From flags to what commands use: a repository that is open, a selected commit, a place for
//! output.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Local};

use super::args::Global;
use super::ended::Ended;
use super::output::{Output, quote};
use super::remedy::behind;
use crate::api::problem::Finding;
use crate::daemon::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::finding::few;
use crate::ops::labels::passed_over;
use crate::ops::point::RestorePoint;
use crate::ops::select::choose;
use crate::ops::soundness::{Look, Soundness, judge_now};
use crate::policy::selector::{Selector, split_target};
use crate::progress::Silent;
use crate::remedy::{Remedy, advice};
use crate::repo::chain::{Chain, Commit, Problem};
use crate::repo::history::handle::History;
use crate::repo::history::holds::Hold;
use crate::repo::history::labels::Snapshot;
use crate::repo::keys::secret::Secret;
use crate::repo::local::place::check_place;
use crate::repo::recover::examine;
use crate::repo::{Repository, RepositoryOptions};
use crate::store;
use crate::types::Timestamp;

/// How often a passphrase may be typed.
const TRIES: u32 = 3;

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(super) global: Global,
    pub(crate) out: Output,
    /// Whether a passphrase was typed: who mistyped it may try again.
    pub(super) asked: AtomicBool,
    /// The configuration that was named, once it was read.
    pub(super) configured: OnceLock<Config>,
}

impl Context {
    pub(crate) fn new(global: Global, out: Output) -> Self {
        Self { global, out, asked: AtomicBool::new(false), configured: OnceLock::new() }
    }

    /// How every repository of this command is opened.
    pub(crate) fn options(&self) -> Result<RepositoryOptions> {
        let options = RepositoryOptions::new(self.state_dir()?);
        Ok(match self.global.threads {
            Some(threads) => options.threads(usize::from(threads)),
            None => options,
        })
    }

    /// The repository's location.
    pub(crate) fn location(&self) -> Result<&str> {
        match self.configured()? {
            Some((_, repository)) => Ok(&repository.location),
            None => self.typed_location(),
        }
    }

    /// The location that was typed, or stands in the environment.
    pub(crate) fn typed_location(&self) -> Result<&str> {
        let location = self.global.repo.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Usage, "no repository was named")
                .with_hint("say which: -r REPO, or set PAGEKEEP_REPO; or -c FILE, a configuration")
        })?;
        check_location(location)?;
        Ok(location)
    }

    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        let of_environment = || std::env::var_os("PAGEKEEP_STATE_DIR").map(PathBuf::from);
        let is_set = |dir: &PathBuf| !dir.as_os_str().is_empty();
        let given = self.global.state_dir.clone().filter(is_set);
        // What is typed counts more than what is written.
        let written = || Ok(self.config()?.and_then(|config| config.state_dir.clone()));
        let given = given.map_or_else(written, |dir| Ok(Some(dir)))?;
        let given = given.or_else(|| of_environment().filter(is_set));
        // A path that depends on where one stands would be another memory in each folder; the XDG
        // specification has it ignored.
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let dir = given
            .or_else(|| set("XDG_STATE_HOME").map(|dir| dir.join("pagekeep")))
            .or_else(|| set("HOME").map(|home| home.join(".local/state/pagekeep")));
        let hint = "say where: --state-dir DIR, or PAGEKEEP_STATE_DIR";
        let dir = dir.ok_or_else(|| {
            Error::new(ErrorKind::Usage, "there is no home directory to remember things in")
                .with_hint(hint)
        })?;
        // The nearest that is there.
        match dir.ancestors().find(|dir| dir.exists()) {
            Some(there) if !there.is_dir() => Err(Error::new(
                ErrorKind::Usage,
                "is no folder, so nothing can be remembered in it",
            )
            .with_object(there.display().to_string())
            .with_hint(hint)),
            _ => Ok(dir),
        }
    }

    /// Opens the repository with the key that the flags and the environment give.
    pub(crate) fn repository(&self) -> Result<Repository> {
        let opened = self.repository_at(self.location()?);
        opened.map_err(|e| self.told_if_lost(e))
    }

    /// As [`Context::repository`], for a command that judges: key slots that can't be read are
    /// findings. `secret` was asked for already.
    pub(crate) fn repository_to_judge(&self, secret: Option<Secret>) -> Result<Repository> {
        let ask = || secret.clone().map_or_else(|| self.secret(), Ok);
        let (repository, _) = self.open_untold(self.location()?, ask)?;
        for e in &*repository.unread_slots() {
            self.out.finding(e, &Finding::of(e, None));
        }
        Ok(repository)
    }

    /// As [`Context::repository`], with the key that opened it.
    pub(crate) fn repository_and_secret(&self) -> Result<(Repository, Secret)> {
        self.open(self.location()?, || self.secret())
    }

    /// As [`Context::repository`], at a location.
    pub(crate) fn repository_at(&self, location: &str) -> Result<Repository> {
        self.open(location, || self.secret()).map(|(repository, _)| repository)
    }

    /// As [`Context::repository`], whatever repository was at the place before.
    pub(crate) fn repository_as_it_is(&self) -> Result<Repository> {
        self.open_unseen(self.location()?, || self.secret()).map(|(repository, _)| repository)
    }

    /// One history, or all that can be read; of what can't, and of what is gone, it tells.
    pub(crate) fn histories(
        &self,
        repository: &Repository,
        name: Option<&str>,
    ) -> Result<Vec<History>> {
        match name {
            Some(name) => Ok(vec![repository.history(name)?]),
            None => self.all_histories(repository),
        }
    }

    /// All histories that can be read; of what can't, and of what is gone, it tells.
    pub(crate) fn all_histories(&self, repository: &Repository) -> Result<Vec<History>> {
        let census = repository.census()?;
        if let Some((name, told)) = census.strangers.told() {
            self.out.warn(&format!("{name}: {told}"));
        }
        for e in &census.unreadable {
            self.out.finding(e, &Finding::of(e, None));
        }
        for gone in &census.absent {
            self.out.finding(&gone.error(), &Finding::absent(gone));
        }
        Ok(census.histories)
    }

    /// What was done with one history. If it was done with all of them, one that is damaged or that
    /// a newer version wrote to is told of, and no reason to leave the others alone.
    pub(crate) fn beside<T>(
        &self,
        all: bool,
        history: &History,
        done: Result<T>,
    ) -> Result<Option<T>> {
        match done {
            Err(e) if all && matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                self.out.finding(&e, &Finding::of(&e, Some(history.name())));
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    pub(super) fn open(
        &self,
        location: &str,
        secret: impl Fn() -> Result<Secret>,
    ) -> Result<(Repository, Secret)> {
        let (repository, secret) = self.open_untold(location, secret)?;
        for e in &*repository.unread_slots() {
            self.out.warn(&format!("{e}{}", behind(e)));
        }
        Ok((repository, secret))
    }

    fn open_untold(
        &self,
        location: &str,
        secret: impl Fn() -> Result<Secret>,
    ) -> Result<(Repository, Secret)> {
        let (repository, secret) = self.open_unseen(location, secret)?;
        if let Some(replaced) = check_place(&repository) {
            self.out.advise(&replaced.advice());
        }
        Ok((repository, secret))
    }

    fn open_unseen(
        &self,
        location: &str,
        secret: impl Fn() -> Result<Secret>,
    ) -> Result<(Repository, Secret)> {
        let store = store::open_store(location)?;
        if let Some(e) = examine(&*store).map_err(|e| within(location, e))? {
            // Before a passphrase is asked for.
            return Err(e);
        }
        let options = self.options()?;
        let told = |e: Error| match e.object() {
            // What this machine remembers is elsewhere.
            Some(object) if Path::new(object).starts_with(&options.state_dir) => e,
            _ => within(location, e),
        };
        self.asked.store(false, Ordering::Relaxed);
        let mut left = TRIES;
        loop {
            let secret = secret()?;
            left -= 1;
            match Repository::open(store.clone(), &secret, &options) {
                Err(e) if e.kind() == ErrorKind::WrongKey && left > 0 && self.was_asked() => {}
                opened => return Ok((opened.map_err(told)?, secret)),
            }
        }
    }

    /// Whether a passphrase was typed since this repository is being opened.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The history and the commit that `NAME[@WHEN]` means.
    pub(crate) fn select(&self, repository: &Repository, target: &str) -> Result<Selected> {
        let (name, when) = split_target(target);
        let selector = Selector::parse(when, &now())?;
        let history = repository.history(name)?;
        let chain = self.chain(&history)?;
        let commit = self.choose(&history, &chain, &selector)?;
        Ok(Selected { history, chain, commit, selector })
    }

    /// The commit that a selector means; what is to be said about the choice is said.
    pub(crate) fn choose(
        &self,
        history: &History,
        chain: &Chain,
        selector: &Selector,
    ) -> Result<Commit> {
        let chosen = choose(history, chain, selector)?;
        chosen.notes.iter().for_each(|text| self.out.remark(text));
        chosen.warnings.iter().for_each(|advice| self.out.advise(advice));
        Ok(chosen.commit)
    }

    /// A history's chain around what is missing, with a warning for whatever is.
    pub(crate) fn chain(&self, history: &History) -> Result<Chain> {
        let chain = history.readable_chain()?;
        self.tell_troubles(history, &chain);
        Ok(chain)
    }

    /// As [`Context::chain`], for a command that shows what a history has: with a warning for
    /// whatever of it can't be restored.
    pub(crate) fn judged(&self, history: &History) -> Result<(Chain, Soundness)> {
        let (chain, judged) = judge_now(history, Look::Quick, &Silent)?;
        self.tell_troubles(history, &chain);
        let name = quote(history.name());
        let told = |problem: &&Problem| {
            let holes =
                chain.holes().iter().flat_map(|h| std::iter::once(&h.problem).chain(&h.besides));
            !holes.chain(chain.bad_expiries()).any(|known| known == *problem)
        };
        let more: Vec<&Problem> = judged.damage.iter().filter(told).collect();
        for text in few(more.iter().map(|p| format!("{}: {}", p.object, p.message))) {
            self.out.warn(&format!(
                "{text}; commits that need it can't be restored, `pagekeep repair {name}` says which"
            ));
        }
        Ok((chain, judged))
    }

    /// The labels of a history; of those that can't be read it tells.
    pub(crate) fn labels(&self, history: &History) -> Result<Vec<Snapshot>> {
        let (found, unread) = history.readable_snapshots()?;
        self.tell_unread(history, unread);
        Ok(found)
    }

    /// As [`Context::labels`], for a command that is about one commit: what can't be read is a
    /// warning.
    pub(crate) fn labels_of(&self, selected: &Selected) -> Result<Vec<Snapshot>> {
        let Selected { history, commit, selector, .. } = selected;
        let (mut found, unread) = history.readable_snapshots()?;
        found.retain(|s| s.names(commit));
        // Whoever selected by a label was told.
        if !matches!(selector, Selector::Label(_)) {
            for e in &unread {
                self.out.advise(&passed_over(history, e));
            }
        }
        Ok(found)
    }

    /// The holds of a history; of those that can't be read it tells.
    pub(crate) fn holds(&self, history: &History) -> Result<Vec<Hold>> {
        let (found, unread) = history.readable_holds()?;
        self.tell_unread(history, unread);
        Ok(found)
    }

    fn tell_unread(&self, history: &History, unread: Vec<Error>) {
        for e in unread {
            let e = match (e.kind(), e.hint()) {
                (ErrorKind::Damaged, None) => e.with_hint(advice![
                    Remedy::examine(history.name()),
                    " says what can be done about it",
                ]),
                _ => e,
            };
            self.out.finding(&e, &Finding::of(&e, Some(history.name())));
        }
    }

    /// Warns of what is wrong with what holds a history together.
    pub(crate) fn tell_troubles(&self, history: &History, chain: &Chain) {
        for text in troubles(history, chain) {
            self.out.warn(&text);
        }
    }
}

/// What is wrong with what holds a history together.
fn troubles(history: &History, chain: &Chain) -> Vec<String> {
    let name = quote(history.name());
    let mut found = Vec::new();
    for hole in chain.holes() {
        let what = match (hole.below, hole.above) {
            (Some(below), Some(above)) => format!("commits between seq:{below} and seq:{above}"),
            (None, Some(above)) => format!("commits before seq:{above}"),
            (Some(below), None) => format!("commits after seq:{below}"),
            (None, None) => "commits".to_owned(),
        };
        let next = match hole.problem.too_new {
            true => "a newer pagekeep can read them".to_owned(),
            false => format!("`pagekeep repair {name}` says what can be done"),
        };
        found.push(format!(
            "{}: {}; {what} are missing or can't be read, {next}",
            hole.problem.object, hole.problem.message
        ));
    }
    for problem in chain.bad_expiries() {
        found.push(format!(
            "{}: {}; commits that expired may show again, `pagekeep repair {name}` puts that right",
            problem.object, problem.message
        ));
    }
    if let [object, others @ ..] = chain.junk() {
        let more = match others.len() {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        found.push(format!(
            "{object}{more}: is nothing that pagekeep wrote, and is passed over; `pagekeep repair {name} --apply` puts it away"
        ));
    }
    found
}

/// How a command ends that showed all that a history has: damaged if that is not all there should
/// be.
///
/// # Errors
/// [`ErrorKind::TooNew`] when a newer version wrote what is missing.
pub(crate) fn shown(history: &History, judged: &Soundness) -> Result<Ended> {
    match judged.damage.iter().find(|problem| problem.too_new) {
        Some(problem) => Err(problem.error(history)),
        None if judged.damage.is_empty() => Ok(Ended::Well),
        None => Ok(Ended::Damaged),
    }
}

/// A commit, and where it is from.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) history: History,
    pub(crate) chain: Chain,
    pub(crate) commit: Commit,
    /// How it was named.
    pub(crate) selector: Selector,
}

impl Selected {
    /// What was selected, as one value.
    pub(crate) fn point(&self) -> RestorePoint {
        RestorePoint::of(&self.history, &self.chain, &self.commit)
    }
}

/// The moment that a selector names, if it names one.
pub(crate) fn asked(selector: &Selector) -> Option<Timestamp> {
    match selector {
        Selector::Moment(moment) => Some(moment.time),
        _ => None,
    }
}

/// The present time, in this machine's time zone.
pub(crate) fn now() -> DateTime<Local> {
    Local::now()
}

/// Refuses what other programs take for a place in a cloud or on another machine, and would become
/// a folder of that name here.
pub(super) fn check_location(location: &str) -> Result<()> {
    // What has a slash before its first colon is a path.
    let Some((scheme, rest)) = location.split_once(':').filter(|(s, _)| !s.contains('/')) else {
        return Ok(());
    };
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) && !rest.starts_with('/') {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Usage,
        "is no directory: cloud storage and other machines are not supported yet",
    )
    .with_object(location)
    .with_hint(format!("name a directory; one that is really called so is ./{location}")))
}

/// The beginnings of locations of restic, rclone, Litestream and others.
const SCHEMES: [&str; 22] = [
    "abs", "azblob", "azure", "b2", "file", "ftp", "gcs", "gs", "http", "https", "nfs", "oss",
    "rclone", "rest", "s3", "scp", "sftp", "smb", "ssh", "swift", "webdav", "webdavs",
];

/// The error of a store that can't be reached, with the whole path of what it names.
fn within(location: &str, e: Error) -> Error {
    match e.object() {
        Some(object)
            if e.kind() == ErrorKind::Storage && !Path::new(object).starts_with(location) =>
        {
            let path = Path::new(location).join(object).display().to_string();
            e.with_object(path)
        }
        _ => e,
    }
}
