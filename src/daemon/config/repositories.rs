//! The repositories of a configuration, and which of them get copies of others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::mistake::{Mistake, meant};
use super::plan::Reader;
use super::secret::SecretSource;
use super::text::RepositoryText;
use crate::policy::typed::parse_interval;

/// How long what is new is collected before it is copied, where nothing is said.
const COPY_EVERY: Duration = Duration::from_secs(60);

/// A repository, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepositoryConfig {
    /// Where it is.
    pub(crate) location: String,
    /// Where its key comes from.
    pub(crate) secret: SecretSource,
    /// The names of the repositories that get copies of what it has.
    pub(crate) mirrors: Vec<String>,
    /// How long what is new is collected before it is copied.
    pub(crate) copy_every: Duration,
}

/// All that a configuration names.
pub(super) fn repositories_of(
    reader: &mut Reader<'_>,
    folder: &Path,
    texts: &BTreeMap<Spanned<String>, Spanned<RepositoryText>>,
) -> BTreeMap<String, RepositoryConfig> {
    let mut repositories = BTreeMap::new();
    for (name, text) in texts {
        if let Some(repository) = repository_of(reader, folder, name, text) {
            repositories.insert(name.get_ref().clone(), repository);
        }
    }
    repositories
}

fn repository_of(
    reader: &mut Reader<'_>,
    folder: &Path,
    name: &Spanned<String>,
    text: &Spanned<RepositoryText>,
) -> Option<RepositoryConfig> {
    if name.get_ref().is_empty() {
        reader.wrong(Mistake::new(name.span(), "a repository needs a name"));
    }
    let RepositoryText { location, .. } = text.get_ref();
    if location.get_ref().is_empty() {
        reader.wrong(Mistake::new(location.span(), "the repository's location is empty"));
        return None;
    }
    if location.get_ref().contains("://") {
        let what = "is no directory: cloud storage and other machines are not supported yet";
        reader.wrong(Mistake::new(location.span(), what));
    }
    let place = folder.join(location.get_ref()).display().to_string();
    let secret = SecretSource::of(reader, folder, text)?;
    let copy_every = text.get_ref().copy_every.as_ref();
    if let Some(every) = copy_every.filter(|_| text.get_ref().mirrors.is_empty()) {
        let mistake = Mistake::new(every.span(), "this repository has no mirrors");
        reader.wrong(mistake.with_help("mirrors = [\"NAME\"] names those that get copies"));
    }
    let copy_every = reader.value(copy_every, parse_interval).unwrap_or(COPY_EVERY);
    let mirrors = text.get_ref().mirrors.iter().map(|name| name.get_ref().clone()).collect();
    Some(RepositoryConfig { location: place, secret, mirrors, copy_every })
}

/// Makes sure that mirrors are there, and have none themselves: a copy of a copy would be as good
/// as what it is made of, and no better.
pub(super) fn check_mirrors(
    reader: &mut Reader<'_>,
    repositories: &BTreeMap<Spanned<String>, Spanned<RepositoryText>>,
) {
    let names: Vec<&str> = repositories.keys().map(|name| name.get_ref().as_str()).collect();
    for (name, repository) in repositories {
        let mut seen = BTreeSet::new();
        for mirror in &repository.get_ref().mirrors {
            let found = repositories.get_key_value(mirror.get_ref().as_str());
            let mistake = |what: String| Mistake::new(mirror.span(), what);
            let mistake = match found {
                None => {
                    let mistake = mistake(format!("there is no repository {:?}", mirror.get_ref()));
                    Some(match meant(mirror.get_ref(), names.iter().copied()) {
                        Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
                        None => mistake.with_help("each repository is a table [repositories.NAME]"),
                    })
                }
                Some((other, _)) if other.get_ref() == name.get_ref() => {
                    Some(mistake("a repository is no mirror of itself".to_owned()))
                }
                Some(_) if !seen.insert(mirror.get_ref()) => {
                    Some(mistake("is named twice".to_owned()))
                }
                Some((_, other)) if !other.get_ref().mirrors.is_empty() => {
                    let mistake = mistake(format!("{} has mirrors itself", mirror.get_ref()));
                    Some(mistake.with_help("name all mirrors at the first repository"))
                }
                Some(_) => None,
            };
            mistake.into_iter().for_each(|mistake| reader.wrong(mistake));
        }
    }
}

/// Whether a repository is a mirror of another one.
pub(super) fn is_mirror(repositories: &BTreeMap<String, RepositoryConfig>, name: &str) -> bool {
    repositories.values().any(|repository| repository.mirrors.iter().any(|mirror| mirror == name))
}
