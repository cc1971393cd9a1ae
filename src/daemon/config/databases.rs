//! Which databases a configuration means: a path, or all files that a pattern matches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use super::mistake::Mistake;
use super::plan::{Plan, Reader};
use super::text::DatabaseText;
use crate::repo::catalog::check_history_name;

/// A `*` stops at a `/`, and means no hidden file.
const OPTIONS: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What SQLite and this program put beside a database, which no pattern means.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// One entry of the configuration: a database, or the databases that match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// The files.
    pub(crate) files: Files,
    /// The name of the history, if it is not the file's stem.
    pub(crate) name: Option<String>,
    /// How each is kept.
    pub(crate) plan: Arc<Plan>,
}

/// The files of an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Files {
    /// One, whether it is there or not.
    One(PathBuf),
    /// All that match.
    Matching(glob::Pattern),
}

impl Target {
    pub(super) fn of(
        reader: &mut Reader<'_>,
        folder: &Path,
        text: &DatabaseText,
        plan: Plan,
    ) -> Option<Self> {
        let path = text.path.get_ref();
        if path.is_empty() {
            reader.wrong(Mistake::new(text.path.span(), "names no database"));
            return None;
        }
        let whole = folder.join(path);
        let is_pattern = path.contains(['*', '?', '[']) && !whole.exists();
        let files = match is_pattern {
            false => Files::One(whole),
            true => match glob::Pattern::new(&pattern(folder, path)) {
                Ok(pattern) => Files::Matching(pattern),
                Err(e) => {
                    let what = format!("is no pattern of files: {}", e.msg);
                    reader.wrong(Mistake::new(text.path.span(), what));
                    return None;
                }
            },
        };
        if is_pattern {
            reader.check_own_files(text);
        }
        let name = text.name.as_ref().map(|name| {
            if is_pattern && !name.get_ref().contains("{stem}") {
                let what = "each database of a pattern needs a name of its own";
                let help = "{stem} stands for the file's name without its extension, {folder} for its folder's name";
                reader.wrong(Mistake::new(name.span(), what).with_help(help));
            }
            // Whatever stands for a part of the path, the rest has to be a history's name.
            let tried = name.get_ref().replace("{stem}", "a").replace("{folder}", "a");
            let sound = match tried.contains(['{', '}']) {
                true => Err("has a brace that is neither {stem} nor {folder}".to_owned()),
                false => check_history_name(&tried).map_err(|e| e.to_string()),
            };
            if let Err(why) = sound {
                reader.wrong(Mistake::new(name.span(), why));
            }
            name.get_ref().clone()
        });
        Some(Self { files, name, plan: Arc::new(plan) })
    }

    /// The folder where files that it means come and go: of a pattern, up to the first part that
    /// is none of a path.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match &self.files {
            Files::One(path) => path.parent().map(Path::to_owned),
            Files::Matching(pattern) => {
                let is_plain = |part: &&std::path::Component<'_>| {
                    !part.as_os_str().to_string_lossy().contains(['*', '?', '['])
                };
                let whole = Path::new(pattern.as_str());
                Some(whole.components().take_while(|part| is_plain(&part)).collect())
            }
        }
    }

    /// Whether it means a file, which need not be there.
    pub(crate) fn means(&self, path: &Path) -> bool {
        match &self.files {
            Files::One(file) => file == path,
            Files::Matching(pattern) => pattern.matches_path_with(path, OPTIONS),
        }
    }

    /// The files that there are now, sorted; one that is named counts as there.
    pub(crate) fn found(&self) -> Vec<PathBuf> {
        let pattern = match &self.files {
            Files::One(path) => return vec![path.clone()],
            Files::Matching(pattern) => pattern,
        };
        let mut found = Vec::new();
        if let Ok(paths) = glob::glob_with(pattern.as_str(), OPTIONS) {
            for path in paths {
                match path {
                    Ok(path) if is_database(&path) => found.push(path),
                    Ok(_) => {}
                    // One that went meanwhile, or may not be listed: the others count.
                    Err(e) => {
                        tracing::warn!(folder = %e.path().display(), "cannot be listed: {}", e.error());
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// Whether one of its files may have a history of this name.
    pub(super) fn may_name(&self, name: &str) -> bool {
        let Files::Matching(pattern) = &self.files else { return false };
        let stem = Path::new(pattern.as_str()).file_stem();
        let stem = stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let template = match &self.name {
            None => stem,
            Some(own) => {
                glob::Pattern::escape(own).replace("{stem}", &stem).replace("{folder}", "*")
            }
        };
        glob::Pattern::new(&template).is_ok_and(|template| template.matches(name))
    }

    /// The name of the history of one of its files.
    pub(crate) fn name_of(&self, path: &Path) -> String {
        let part = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let stem = part(path.file_stem());
        let folder = part(path.parent().and_then(Path::file_name));
        match &self.name {
            None => stem,
            Some(name) => name.replace("{stem}", &stem).replace("{folder}", &folder),
        }
    }
}

/// A pattern whose folder means itself, whatever is in its name.
fn pattern(folder: &Path, path: &str) -> String {
    if Path::new(path).is_absolute() {
        return path.to_owned();
    }
    let folder = glob::Pattern::escape(&folder.display().to_string());
    Path::new(&folder).join(path).display().to_string()
}

/// Whether a file that matches is meant: a file, and none that lies beside a database.
fn is_database(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_file() && !BESIDE.iter().any(|suffix| name.ends_with(suffix))
}

/// Makes sure that no two databases which are named have one history.
pub(super) fn check_names(
    reader: &mut Reader<'_>,
    texts: &[Spanned<DatabaseText>],
    targets: &[Target],
) {
    let mut names: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    for target in targets {
        let Files::One(path) = &target.files else { continue };
        let key = (target.plan.repository.clone(), target.name_of(path));
        let Some(other) = names.insert(key.clone(), path.clone()) else { continue };
        let same = |text: &&Spanned<DatabaseText>| path.ends_with(text.get_ref().path.get_ref());
        let span = texts.iter().rfind(same).map(|text| text.get_ref().path.span());
        let what = match other == *path {
            true => "is named twice".to_owned(),
            false => format!("has the name {:?} of {}", key.1, other.display()),
        };
        let mistake = Mistake::new(span.unwrap_or_default(), what);
        reader.wrong(mistake.with_help("name = \"...\" gives its history another name"));
    }
}
