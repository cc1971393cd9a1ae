//! From the text of a configuration to what a daemon is to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::alerts::Notices;
use super::channels::Channel;
use super::databases::{Files, Target, check_names};
use super::groups::{Group, check_members, check_one_repository, groups_of};
use super::http::HttpConfig;
use super::mistake::{Mistake, Mistaken, meant};
use super::plan::{Mode, Own, Reader};
use super::repositories::{RepositoryConfig, check_mirrors, is_mirror, repositories_of};
use super::text::{ConfigText, PlanText};
use crate::error::{ErrorKind, Result};
use crate::input;
use crate::progress::Silent;
use crate::types::Timestamp;

/// The longest configuration file.
const MAX_FILE: usize = 16 << 20;
/// How many jobs of each repository run at once where nothing is said.
const JOBS: u16 = 2;

/// What a daemon is to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The file that says it.
    pub(crate) file: PathBuf,
    /// Where the daemon keeps what it remembers, if the file says so.
    pub(crate) state_dir: Option<PathBuf>,
    /// How many jobs of each repository run at once.
    pub(crate) jobs: usize,
    /// Worker threads of each job, if the file says so.
    pub(crate) threads: Option<usize>,
    /// Where restore tests put their scratch files; the system's folder if `None`.
    pub(crate) scratch: Option<PathBuf>,
    /// Where it answers to monitors, if anywhere.
    pub(crate) http: Option<HttpConfig>,
    /// The repositories, by name.
    pub(crate) repositories: BTreeMap<String, RepositoryConfig>,
    /// The groups, by name.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Who is told of what, and when.
    pub(crate) notices: Arc<Notices>,
    /// The databases, in the order of the file.
    pub(crate) targets: Vec<Target>,
}

impl Config {
    /// Reads a configuration file; answers also what it says.
    ///
    /// # Errors
    /// The outer result: the file can't be read. The inner one: it says something that can't be
    /// done.
    pub(crate) fn load(path: &Path) -> Result<std::result::Result<(Self, String), Mistaken>> {
        let text = input::text(path, MAX_FILE, ErrorKind::Usage, &Silent)?;
        // The daemon may be told to read it again from elsewhere.
        let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self::parse(path, &text).and_then(|config| match config.targets.is_empty() {
            false => Ok((config, text.to_string())),
            true => {
                let mistake = Mistake::new(0..0, "names no database");
                let mistake =
                    mistake.with_help("each database is a table [[databases]] with a path");
                Err(Mistaken::new(path, &text, vec![mistake]))
            }
        }))
    }

    /// Reads a configuration. Paths in it are relative to the folder of the file.
    pub(crate) fn parse(path: &Path, text: &str) -> std::result::Result<Self, Mistaken> {
        let wrong = |mistakes| Mistaken::new(path, text, mistakes);
        let read: ConfigText =
            toml::from_str(text).map_err(|e| wrong(vec![Mistake::of_syntax(&e)]))?;
        let mut mistakes = Vec::new();
        let config = Self::of(path, &read, &mut Reader { mistakes: &mut mistakes });
        if mistakes.is_empty() { Ok(config) } else { Err(wrong(mistakes)) }
    }

    /// Whether a repository is a mirror of another one.
    pub(crate) fn is_mirror(&self, name: &str) -> bool {
        is_mirror(&self.repositories, name)
    }

    /// The repositories that a repository is a mirror of, by name.
    pub(crate) fn firsts_of(&self, mirror: &str) -> Vec<&str> {
        let firsts = self.repositories.iter();
        let firsts = firsts.filter(|(_, first)| first.mirrors.iter().any(|name| name == mirror));
        firsts.map(|(name, _)| name.as_str()).collect()
    }

    /// The same, with the database of the daemon itself. It stays in the repository in which it is
    /// known for the shortest time, by `since`, so that its history goes on; one that is known in
    /// none begins in the first one.
    pub(crate) fn with_ledger(
        mut self,
        path: PathBuf,
        name: String,
        since: impl Fn(&str) -> Option<Timestamp>,
    ) -> Self {
        let repositories = &self.repositories;
        let mut firsts = repositories.keys().filter(|name| !is_mirror(repositories, name));
        let home = firsts.clone().filter(|name| since(name).is_some());
        let first = home.max_by_key(|name| since(name)).or_else(|| firsts.next());
        if let Some(repository) = first.cloned() {
            let mut reader = Reader { mistakes: &mut Vec::new() };
            let mut plan = reader.plan(&PlanText::default(), Own::default(), repository);
            // The daemon itself is connected to it, and never closes it.
            if let Mode::Follow { sleep_after, .. } = &mut plan.mode {
                *sleep_after = Duration::ZERO;
            }
            plan.notify.clone_from(&self.notices.notify);
            let plan = Arc::new(plan);
            self.targets.push(Target { files: Files::One(path), name: Some(name), plan });
        }
        self
    }

    fn of(path: &Path, read: &ConfigText, reader: &mut Reader<'_>) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let at = |text: &Spanned<String>| folder.join(text.get_ref());
        let least_one = |reader: &mut Reader<'_>, n: &Option<Spanned<u16>>| {
            let n = n.as_ref()?;
            if *n.get_ref() == 0 || *n.get_ref() > 256 {
                reader.wrong(Mistake::new(n.span(), "is from 1 to 256"));
            }
            Some(usize::from(*n.get_ref()))
        };
        let repositories = repositories_of(reader, &folder, &read.repositories);
        check_mirrors(reader, &read.repositories);
        let mut channels = BTreeMap::new();
        for (name, table) in &read.channels {
            if let Some(channel) = Channel::of(reader, &folder, name, table) {
                channels.insert(name.get_ref().clone(), channel);
            }
        }
        let told: Vec<&str> = read.channels.keys().map(|name| name.get_ref().as_str()).collect();
        let notify = channels_of(reader, &read.defaults, &told);
        let names: Vec<&str> =
            read.repositories.keys().map(|name| name.get_ref().as_str()).collect();
        // Where nothing is said, nothing is kept in a repository that gets copies.
        let firsts: Vec<&str> =
            names.iter().copied().filter(|name| !is_mirror(&repositories, name)).collect();
        let are_mirrors_known = repositories
            .values()
            .flat_map(|repository| &repository.mirrors)
            .all(|mirror| names.contains(&mirror.as_str()));
        let mut targets = Vec::new();
        for database in &read.databases {
            let span = database.span();
            let database = database.get_ref();
            let text = database.plan(&read.defaults);
            let repository = match (&text.repository, firsts.as_slice()) {
                (Some(name), _) if names.contains(&name.get_ref().as_str()) => {
                    name.get_ref().clone()
                }
                (Some(name), _) => {
                    let what = format!("there is no repository {:?}", name.get_ref());
                    let mistake = Mistake::new(name.span(), what);
                    reader.wrong(match meant(name.get_ref(), names.iter().copied()) {
                        Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
                        None => mistake.with_help("each repository is a table [repositories.NAME]"),
                    });
                    continue;
                }
                (None, [only]) => (*only).to_owned(),
                (None, []) => {
                    let mistake = Mistake::new(span, "there is no repository to keep this in");
                    let help = "add [repositories.main] with location = \"/path\" and key-file = \"/path\"";
                    reader.wrong(mistake.with_help(help));
                    continue;
                }
                // Which repositories are mirrors is told first.
                (None, _) if !are_mirrors_known => continue,
                (None, firsts) => {
                    let mistake =
                        Mistake::new(span, "it is not said which repository this is kept in");
                    let help = format!("add repository = \"{}\"", firsts.first().unwrap_or(&""));
                    reader.wrong(mistake.with_help(help));
                    continue;
                }
            };
            let own = Own {
                schedule: database.schedule.is_some(),
                following: database.interval.is_some()
                    || database.wal_limit.is_some()
                    || database.sleep_after.is_some(),
            };
            let mut plan = reader.plan(&text, own, repository);
            plan.notify = channels_of(reader, &text, &told);
            plan.ping = reader.ping(&folder, text.ping.as_ref());
            plan.files = reader.files(&folder, database, &plan);
            targets.extend(Target::of(reader, &folder, database, plan));
        }
        check_names(reader, &read.databases, &targets);
        let groups = groups_of(reader, &read.groups);
        check_one_repository(reader, &read.groups, &groups, &targets);
        // What is wrong with a database is told there.
        if targets.len() == read.databases.len() {
            check_members(reader, &read.groups, &targets);
        }
        let http = read.http.as_ref().and_then(|http| HttpConfig::of(reader, &folder, http));
        Self {
            file: path.to_owned(),
            state_dir: read.daemon.state_dir.as_ref().map(at),
            jobs: least_one(reader, &read.daemon.jobs).unwrap_or(JOBS.into()),
            threads: least_one(reader, &read.daemon.threads),
            scratch: read.daemon.scratch.as_ref().map(at),
            http,
            groups,
            repositories,
            notices: Arc::new(Notices { channels, alerts: reader.alerts(&read.alerts), notify }),
            targets,
        }
    }
}

/// The channels that are told of a database, each of which has to be there.
fn channels_of(reader: &mut Reader<'_>, text: &PlanText, there: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    for name in text.notify.iter().flatten() {
        if there.contains(&name.get_ref().as_str()) {
            names.push(name.get_ref().clone());
            continue;
        }
        let mistake =
            Mistake::new(name.span(), format!("there is no channel {:?}", name.get_ref()));
        reader.wrong(match meant(name.get_ref(), there.iter().copied()) {
            Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
            None => mistake.with_help("each channel is a table [channels.NAME] with a kind"),
        });
    }
    names
}
