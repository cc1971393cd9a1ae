//! From flags to what commands use: a repository that is open, a selected commit, a place for output.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Local};
use serde_json::json;
use zeroize::Zeroizing;

use super::Ended;
use super::args::{Global, NewKeyArgs, RotateArgs};
use super::input::{self, MAX_SECRET, first_line};
use super::output::{Output, quote};
use crate::codec::pool::default_threads;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::labels::passed_over;
use crate::ops::select::choose;
use crate::ops::soundness::{Look, Soundness, few, judge_now};
use crate::policy::selector::{Selector, split_target};
use crate::progress::Silent;
use crate::repo::chain::{Chain, Commit, Problem};
use crate::repo::history::{History, Snapshot};
use crate::repo::hold::Hold;
use crate::repo::keys::Secret;
use crate::repo::place::check_place;
use crate::repo::recover::examine;
use crate::repo::{self, Repository};
use crate::types::Timestamp;

/// Where a key is to come from.
pub(crate) struct KeySource<'a> {
    pub(crate) key_file: Option<&'a Path>,
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) password_command: Option<&'a str>,
    pub(crate) recovery_key_file: Option<&'a Path>,
}

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    global: Global,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(global: Global, out: Output) -> Self {
        Self { global, out }
    }

    pub(crate) fn threads(&self) -> usize {
        self.global.threads.map_or_else(default_threads, usize::from)
    }

    /// The repository's location.
    pub(crate) fn location(&self) -> Result<&str> {
        let location = self.global.repo.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Usage, "no repository was named")
                .with_hint("say which: -r REPO, or set PAGEKEEP_REPO")
        })?;
        check_location(location)?;
        Ok(location)
    }

    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        if let Some(dir) = &self.global.state_dir {
            return Ok(dir.clone());
        }
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        set("XDG_STATE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".local/state")))
            .map(|dir| dir.join("pagekeep"))
            .ok_or_else(|| {
                Error::new(ErrorKind::Usage, "there is no home directory to remember things in")
                    .with_hint("say where: --state-dir DIR")
            })
    }

    /// Opens the repository with the key that the flags and the environment give.
    pub(crate) fn repository(&self) -> Result<Repository> {
        self.repository_at(self.location()?)
    }

    /// As [`Context::repository`], for a command that judges: key slots that can't be read are findings. `secret` was asked for already.
    pub(crate) fn repository_to_judge(&self, secret: Option<Secret>) -> Result<Repository> {
        let ask = || secret.map_or_else(|| self.secret(), Ok);
        let (repository, _) = self.open_untold(self.location()?, ask)?;
        for e in &*repository.unread_slots() {
            self.out.finding(e, json!({}));
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

    /// Opens another repository, with a key of its own.
    pub(crate) fn other_repository(
        &self,
        location: &str,
        keys: &KeySource<'_>,
    ) -> Result<Repository> {
        check_location(location)?;
        let opened = self.open(location, || match self.secret_from(keys)? {
            Some(secret) => Ok(secret),
            None => prompted(location),
        });
        opened.map(|(repository, _)| repository)
    }

    /// As [`Context::repository`], whatever repository was at the place before.
    pub(crate) fn repository_as_it_is(&self) -> Result<Repository> {
        self.open_unseen(self.location()?, || self.secret()).map(|(repository, _)| repository)
    }

    /// All histories that can be read; of what can't, and of what is gone, it tells.
    pub(crate) fn all_histories(&self, repository: &Repository) -> Result<Vec<History>> {
        let census = repository.census()?;
        if let Some((name, told)) = census.strangers.told() {
            self.out.warn(&format!("{name}: {told}"));
        }
        for e in &census.unreadable {
            self.out.finding(e, json!({}));
        }
        for gone in &census.absent {
            let (seq, time) = gone.newest.unzip();
            self.out.finding(
                &gone.error(),
                json!({"absent": true, "history": gone.name, "id": gone.id, "source": gone.source,
                       "seq": seq, "time": time.flatten(), "left": gone.left}),
            );
        }
        Ok(census.histories)
    }

    /// What was done with one history. If it was done with all of them, one that is damaged or that a newer version wrote
    /// to is told of, and no reason to leave the others alone.
    pub(crate) fn beside<T>(
        &self,
        all: bool,
        history: &History,
        done: Result<T>,
    ) -> Result<Option<T>> {
        match done {
            Err(e) if all && matches!(e.kind(), ErrorKind::Damaged | ErrorKind::TooNew) => {
                self.out.finding(&e, json!({"history": history.name()}));
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    fn open(
        &self,
        location: &str,
        secret: impl FnOnce() -> Result<Secret>,
    ) -> Result<(Repository, Secret)> {
        let (repository, secret) = self.open_untold(location, secret)?;
        for e in &*repository.unread_slots() {
            let hint = e.hint().map_or(String::new(), |hint| format!("; {hint}"));
            self.out.warn(&format!("{e}{hint}"));
        }
        Ok((repository, secret))
    }

    fn open_untold(
        &self,
        location: &str,
        secret: impl FnOnce() -> Result<Secret>,
    ) -> Result<(Repository, Secret)> {
        let (repository, secret) = self.open_unseen(location, secret)?;
        if let Some(replaced) = check_place(&repository) {
            self.out.warn(&replaced.to_string());
        }
        Ok((repository, secret))
    }

    fn open_unseen(
        &self,
        location: &str,
        secret: impl FnOnce() -> Result<Secret>,
    ) -> Result<(Repository, Secret)> {
        let store = repo::open_store(location)?;
        if let Some(e) = examine(&*store).map_err(|e| within(location, e))? {
            // Before a passphrase is asked for.
            return Err(e);
        }
        let secret = secret()?;
        Ok((Repository::open(store, &secret, self.state_dir()?)?, secret))
    }

    /// The key to open a repository with.
    pub(crate) fn secret(&self) -> Result<Secret> {
        match self.given_secret()? {
            Some(secret) => Ok(secret),
            None => prompted(self.location()?),
        }
    }

    /// The key that flags or the environment give, without asking.
    fn given_secret(&self) -> Result<Option<Secret>> {
        let global = &self.global;
        let given = self.secret_from(&KeySource {
            key_file: global.key_file.as_deref(),
            password_file: global.password_file.as_deref(),
            password_command: global.password_command.as_deref(),
            recovery_key_file: global.recovery_key_file.as_deref(),
        })?;
        if given.is_some() {
            return Ok(given);
        }
        if let Some(path) = std::env::var_os("PAGEKEEP_KEY_FILE").filter(|v| !v.is_empty()) {
            return self.read_key_file(Path::new(&path)).map(Some);
        }
        match std::env::var("PAGEKEEP_PASSWORD") {
            Ok(text) if !text.is_empty() => Secret::passphrase(text).map(Some),
            _ => Ok(None),
        }
    }

    /// The key that the first source which is named gives.
    fn secret_from(&self, keys: &KeySource<'_>) -> Result<Option<Secret>> {
        if let Some(path) = keys.key_file {
            return self.read_key_file(path).map(Some);
        }
        if let Some(path) = keys.password_file {
            return passphrase_in(path).map(Some);
        }
        if let Some(command) = keys.password_command {
            let secret = Secret::passphrase(first_line(&input::output_of(command)?));
            return secret.map(Some).map_err(|e| e.with_object("--password-command"));
        }
        if let Some(path) = keys.recovery_key_file {
            return recovery_in(path).map(Some);
        }
        Ok(None)
    }

    fn read_key_file(&self, path: &Path) -> Result<Secret> {
        let text = input::text(path, MAX_SECRET, ErrorKind::WrongKey)?;
        let secret = Secret::parse_key_file(&text, &path.display().to_string())?;
        if Secret::key_file_is_exposed(path) {
            self.out.warn(&format!(
                "{} can be read by others; `chmod 600` keeps it to yourself",
                path.display()
            ));
        }
        Ok(secret)
    }

    /// The first key of a new repository: a key file is created if need be, a passphrase asked for twice.
    pub(crate) fn first_secret(&self) -> Result<Secret> {
        let file = self.global.key_file.clone().or_else(|| {
            let none_else = self.global.password_file.is_none()
                && self.global.password_command.is_none()
                && self.global.recovery_key_file.is_none();
            let set = std::env::var_os("PAGEKEEP_KEY_FILE").filter(|v| !v.is_empty());
            set.filter(|_| none_else).map(PathBuf::from)
        });
        if let Some(path) = file {
            return Secret::create_key_file(&path);
        }
        if self.global.recovery_key_file.is_some() {
            return Err(Error::new(
                ErrorKind::Usage,
                "a recovery key cannot be a repository's first key",
            )
            .with_hint("use --key-file or a passphrase; init makes a recovery key besides"));
        }
        match self.given_secret()? {
            Some(secret) => Ok(secret),
            None => new_passphrase(),
        }
    }

    /// A key to add.
    pub(crate) fn new_secret(args: &NewKeyArgs) -> Result<Secret> {
        match (&args.new_key_file, &args.new_password_file) {
            (Some(path), _) => Secret::create_key_file(path),
            (None, Some(path)) => passphrase_in(path),
            (None, None) => new_passphrase(),
        }
    }

    /// The other keys that a rotation is given, each with its file.
    pub(crate) fn other_secrets(&self, args: &RotateArgs) -> Result<Vec<(Secret, String)>> {
        let mut secrets = Vec::new();
        for path in &args.with_key_file {
            secrets.push((self.read_key_file(path)?, path));
        }
        for path in &args.with_password_file {
            secrets.push((passphrase_in(path)?, path));
        }
        for path in &args.with_recovery_key_file {
            secrets.push((recovery_in(path)?, path));
        }
        Ok(secrets.into_iter().map(|(s, path)| (s, path.display().to_string())).collect())
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
        chosen.warnings.iter().for_each(|text| self.out.warn(text));
        Ok(chosen.commit)
    }

    /// A history's chain around what is missing, with a warning for whatever is.
    pub(crate) fn chain(&self, history: &History) -> Result<Chain> {
        let chain = history.readable_chain()?;
        self.tell_troubles(history, &chain);
        Ok(chain)
    }

    /// As [`Context::chain`], for a command that shows what a history has: with a warning for whatever of it can't be restored.
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

    /// As [`Context::labels`], for a command that is about one commit: what can't be read is a warning.
    pub(crate) fn labels_of(&self, selected: &Selected) -> Result<Vec<Snapshot>> {
        let Selected { history, commit, selector, .. } = selected;
        let (mut found, unread) = history.readable_snapshots()?;
        found.retain(|s| s.names(commit));
        // Whoever selected by a label was told.
        if !matches!(selector, Selector::Label(_)) {
            for e in &unread {
                self.out.warn(&passed_over(history, e));
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
                (ErrorKind::Damaged, None) => e.with_hint(format!(
                    "`pagekeep repair {}` says what can be done about it",
                    quote(history.name())
                )),
                _ => e,
            };
            self.out.finding(&e, json!({"history": history.name()}));
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

/// How a command ends that showed all that a history has: damaged if that is not all there should be.
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

fn new_passphrase() -> Result<Secret> {
    let first = prompt("New passphrase: ")?;
    if first.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the passphrase is empty"));
    }
    let second = prompt("The same again: ")?;
    if first != second {
        return Err(Error::new(ErrorKind::Usage, "the two passphrases differ"));
    }
    Secret::passphrase(first.to_string())
}

fn prompted(location: &str) -> Result<Secret> {
    Secret::passphrase(prompt(&format!("Passphrase of {location}: "))?.to_string())
}

fn prompt(text: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(ErrorKind::WrongKey, "no key was given, and there is no terminal to ask on")
            .with_hint(
                "use --key-file, --password-file, --password-command, PAGEKEEP_KEY_FILE or PAGEKEEP_PASSWORD; or the recovery key: \
                 --recovery-key-file",
            ));
    }
    input::prompt(text)
}

fn passphrase_in(path: &Path) -> Result<Secret> {
    let text = input::text(path, MAX_SECRET, ErrorKind::WrongKey)?;
    Secret::passphrase(first_line(&text)).map_err(|e| e.with_object(path.display().to_string()))
}

fn recovery_in(path: &Path) -> Result<Secret> {
    let text = input::text(path, MAX_SECRET, ErrorKind::WrongKey)?;
    Secret::parse_recovery(&text).map_err(|e| e.with_object(path.display().to_string()))
}

/// Refuses what other programs take for a place in a cloud or on another machine, and would become a folder of that name here.
fn check_location(location: &str) -> Result<()> {
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
        Some(object) if e.kind() == ErrorKind::Storage && !object.starts_with(location) => {
            let path = Path::new(location).join(object).display().to_string();
            e.with_object(path)
        }
        _ => e,
    }
}
