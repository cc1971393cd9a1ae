//! Which files are kept: paths, patterns of paths, and what is left out.
//!
//! A path that exists means itself, whatever characters it has. A pattern is matched part by part,
//! so that no folder is read that it can't lead into. No link is followed behind the first
//! wildcard; one in front of it is somebody's own choice, and the files count under their real
//! path.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::error::{Error, ErrorKind, Result};

/// A `*` stops at a `/`, and hidden files count: what an application has is kept.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Paths and patterns, and what is left out of what they mean.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    folder: PathBuf,
    paths: Vec<PathBuf>,
    excluded: Vec<Excluded>,
}

/// What one path means.
#[derive(Debug)]
pub(super) enum Root {
    /// A file, or a folder with all below it.
    Path(PathBuf),
    /// All that matches below a folder.
    Below { folder: PathBuf, parts: Vec<Part> },
}

/// A part of a pattern.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A name, or a pattern of one.
    Name(Pattern),
    /// `**`: any folders, or none.
    Any,
}

impl Part {
    pub(super) fn matches(&self, name: &OsStr) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches_with(&name.to_string_lossy(), OPTIONS),
            Self::Any => true,
        }
    }
}

/// A pattern of what is left out.
#[derive(Clone, Debug)]
enum Excluded {
    /// By its name, wherever it is.
    Name(Pattern),
    /// By its path.
    Path(Pattern),
}

impl Chosen {
    /// Paths and patterns, relative to a folder.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for what is no pattern.
    pub(crate) fn new(folder: &Path, paths: &[PathBuf], exclude: &[String]) -> Result<Self> {
        let folder = std::path::absolute(folder)
            .map_err(|e| Error::io(e, "is no folder", folder.display().to_string()))?;
        for path in paths {
            check_path(path).map_err(|why| wrong(&path.to_string_lossy(), &why))?;
        }
        let read = |text: &String| excluded(&folder, text).map_err(|why| wrong(text, &why));
        let excluded = exclude.iter().map(read).collect::<Result<_>>()?;
        Ok(Self { folder, paths: paths.to_vec(), excluded })
    }

    /// What each path means now, by real paths.
    pub(super) fn roots(&self) -> impl Iterator<Item = (&Path, std::io::Result<Root>)> {
        self.paths.iter().map(|path| (path.as_path(), root(&self.folder, path)))
    }

    /// Whether something is left out, by its real path.
    pub(super) fn excludes(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let whole = path.to_string_lossy();
        self.excluded.iter().any(|excluded| match excluded {
            Excluded::Name(pattern) => pattern.matches_with(&name, OPTIONS),
            Excluded::Path(pattern) => pattern.matches_with(&whole, OPTIONS),
        })
    }
}

fn wrong(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, why).with_object(text)
}

/// Whether a path may be one of those that are kept; else why not.
pub(crate) fn check_path(path: &Path) -> std::result::Result<(), String> {
    if path.as_os_str().is_empty() {
        return Err("names no file".to_owned());
    }
    match path.to_str().filter(|text| is_pattern(text)) {
        Some(text) => parts_of(split(Path::new(text)).1).map(drop),
        None => Ok(()),
    }
}

/// Whether a text may say what is left out; else why not.
pub(crate) fn check_excluded(text: &str) -> std::result::Result<(), String> {
    excluded(Path::new("/"), text).map(drop)
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn excluded(folder: &Path, text: &str) -> std::result::Result<Excluded, String> {
    let of =
        |text: &str| Pattern::new(text).map_err(|e| format!("is no pattern of files: {}", e.msg));
    if text.is_empty() {
        return Err("leaves nothing out".to_owned());
    }
    let plain = text.trim_end_matches('/');
    if !plain.contains('/') && text != "/" {
        return of(plain).map(Excluded::Name);
    }
    if Path::new(plain).is_absolute() || plain.starts_with("**/") {
        return of(plain).map(Excluded::Path);
    }
    // The files count under their real path, and so does this.
    let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let front = Pattern::escape(&real.to_string_lossy());
    let plain = plain.trim_start_matches("./");
    of(&format!("{}/{plain}", front.trim_end_matches('/'))).map(Excluded::Path)
}

fn parts_of(path: &Path) -> std::result::Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) if name == "**" => parts.push(Part::Any),
            Component::Normal(name) => {
                let pattern = Pattern::new(&name.to_string_lossy())
                    .map_err(|e| format!("is no pattern of files: {}", e.msg))?;
                parts.push(Part::Name(pattern));
            }
            Component::ParentDir => return Err("has .. behind a wildcard".to_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(parts)
}

/// What stands before the first wildcard of a path, and the rest; without the slash in front.
fn split(path: &Path) -> (PathBuf, &Path) {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let front: PathBuf = relative
        .components()
        .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()))
        .collect();
    let behind = relative.strip_prefix(&front).unwrap_or(relative);
    (front, behind)
}

fn root(folder: &Path, path: &Path) -> std::io::Result<Root> {
    let whole = folder.join(path);
    let pattern = whole.to_str().filter(|_| std::fs::symlink_metadata(&whole).is_err());
    if !pattern.is_some_and(|_| is_pattern(&path.to_string_lossy())) {
        return real(&whole).map(Root::Path);
    }
    // What stands before the first wildcard is a path. The folder is one, whatever is in its name.
    let (front, behind) = split(path);
    let start = if path.is_absolute() { Path::new("/") } else { folder };
    let below = std::fs::canonicalize(start.join(front))?;
    let mut parts = parts_of(behind).map_err(std::io::Error::other)?;
    // All that is below a folder is the folder, with its mode and its owner.
    while matches!(parts.last(), Some(Part::Any)) {
        parts.pop();
    }
    match parts.is_empty() {
        true => Ok(Root::Path(below)),
        false => Ok(Root::Below { folder: below, parts }),
    }
}

/// A path without links in front of its last part; and without any where it ends with a slash.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    let text = path.as_os_str().as_encoded_bytes();
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !text.ends_with(b"/") && !text.ends_with(b"/.") => {
            (parent, name)
        }
        _ => return std::fs::canonicalize(path),
    };
    let real = std::fs::canonicalize(parent)?.join(name);
    std::fs::symlink_metadata(&real)?;
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_left_out_anywhere_and_paths_where_they_are() {
        let exclude = ["*.tmp", "/srv/cache", "logs/*.log", "**/node_modules/"].map(str::to_owned);
        let chosen = Chosen::new(Path::new("/nowhere/x"), &[], &exclude).unwrap();
        for (path, is_out) in [
            ("/a/b.tmp", true),
            ("/a/.tmp", true),
            ("/a/b.tmp.gz", false),
            ("/srv/cache", true),
            ("/srv/cached", false),
            ("/nowhere/x/logs/a.log", true),
            ("/nowhere/x/logs/b/a.log", false),
            ("/elsewhere/logs/a.log", false),
            ("/a/b/node_modules", true),
        ] {
            assert_eq!(chosen.excludes(Path::new(path)), is_out, "{path}");
        }
        for bad in ["", "a[", "a***"] {
            assert!(check_excluded(bad).is_err(), "{bad}");
        }
        for bad in ["", "a[/b", "a/*/../b"] {
            assert!(check_path(Path::new(bad)).is_err(), "{bad}");
        }
        assert!(check_path(Path::new("../a/**/*.toml")).is_ok());
    }
}
