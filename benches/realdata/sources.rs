//! What a machine has to offer: lists of files with text, package metadata and binaries, and how
//! they are read.
//!
//! Invariants: every list is sorted before it is shuffled by the seed, so that one machine gives one
//! order; nothing here fails when a source is missing, the list is merely empty.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::rng::{Rng, Words};

/// Longer files are not read as text: one document should not be a good part of a small database.
const TEXT_MAX: u64 = 400_000;

/// The files to draw from.
#[derive(Debug, Default)]
pub struct Sources {
    /// Records of the package database, each a block of `Field: value` lines.
    pub packages: Vec<String>,
    /// Lists of a package's files, each line a digest and a path.
    pub file_lists: Vec<PathBuf>,
    /// Documentation and source text.
    pub texts: Vec<PathBuf>,
    /// Programs and libraries.
    pub binaries: Vec<PathBuf>,
    /// Files that are compressed already.
    pub packed: Vec<PathBuf>,
}

impl Sources {
    pub fn find(seed: u64) -> Self {
        let mut found = Self::default();
        if let Ok(status) = fs::read("/var/lib/dpkg/status") {
            let status = String::from_utf8_lossy(&status);
            let records = status.split("\n\n").filter(|r| r.starts_with("Package:"));
            found.packages = records.map(str::to_owned).collect();
            found.packages.sort_unstable();
        }
        walk(Path::new("/var/lib/dpkg/info"), &["md5sums"], &mut found.file_lists);

        // Rust's manual alone has more text than all the rest; one toolchain's is enough.
        if let Some(docs) = toolchain_docs() {
            walk(&docs, &["html", "md"], &mut found.texts);
        }
        let prose = ["", "txt", "md", "rst", "html", "Debian", "1", "3", "8"];
        walk(Path::new("/usr/share/doc"), &prose, &mut found.texts);
        walk(Path::new("/usr/share/man"), &prose, &mut found.texts);
        walk(Path::new("/usr/include"), &["h", "hpp"], &mut found.texts);
        if found.texts.len() < 2000 {
            // The registry changes with every build, hence only where there is little else.
            if let Some(cargo) = home("CARGO_HOME", ".cargo") {
                walk(&cargo.join("registry/src"), &["rs", "md"], &mut found.texts);
            }
        }

        for root in ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"] {
            walk(Path::new(root), &["", "so"], &mut found.binaries);
        }
        let packed = ["gz", "png", "jpg", "xz", "zip", "jar", "woff2"];
        walk(Path::new("/usr/share"), &packed, &mut found.packed);

        Rng::new(seed, "packages").shuffle(&mut found.packages);
        Rng::new(seed, "file lists").shuffle(&mut found.file_lists);
        Rng::new(seed, "texts").shuffle(&mut found.texts);
        Rng::new(seed, "binaries").shuffle(&mut found.binaries);
        Rng::new(seed, "packed").shuffle(&mut found.packed);
        found
    }
}

fn home(variable: &str, below_home: &str) -> Option<PathBuf> {
    match env::var_os(variable) {
        Some(path) => Some(path.into()),
        None => Some(PathBuf::from(env::var_os("HOME")?).join(below_home)),
    }
}

fn toolchain_docs() -> Option<PathBuf> {
    let toolchains = home("RUSTUP_HOME", ".rustup")?.join("toolchains");
    let mut docs: Vec<PathBuf> = fs::read_dir(toolchains)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("share/doc/rust/html"))
        .filter(|path| path.is_dir())
        .collect();
    docs.sort_unstable();
    docs.into_iter().next()
}

/// Adds the regular files below `root` whose extension is one of `extensions` ("" for none, "so"
/// for versioned libraries too), in sorted order. Symbolic links are not followed.
fn walk(root: &Path, extensions: &[&str], out: &mut Vec<PathBuf>) {
    let start = out.len();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && matches(&path, extensions) {
                out.push(path);
            }
        }
    }
    out[start..].sort_unstable();
}

fn matches(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    if extensions.contains(&extension) {
        return true;
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    extensions.contains(&"so") && name.contains(".so.")
}

/// A list that starts again when it is used up, and tells how often it did.
#[derive(Debug)]
pub struct Cycle<T> {
    items: Vec<T>,
    position: usize,
    round: u64,
}

impl<T> Cycle<T> {
    pub const fn new(items: Vec<T>) -> Self {
        Self { items, position: 0, round: 0 }
    }

    pub fn next(&mut self) -> Option<(&T, u64)> {
        if self.position == self.items.len() {
            self.position = 0;
            self.round += 1;
        }
        let item = self.items.get(self.position)?;
        self.position += 1;
        Some((item, self.round))
    }

    pub const fn len(&self) -> usize {
        self.items.len()
    }
}

/// The text of a file, without markup; nothing when it is no text or too short to be of use.
pub fn read_text(path: &Path, most: usize) -> Option<String> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(TEXT_MAX).read_to_end(&mut bytes).ok()?;
    if bytes[..bytes.len().min(4096)].contains(&0) {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut text = if path.extension().is_some_and(|e| e == "html") {
        without_markup(&text)
    } else {
        text.into_owned()
    };
    if text.len() > most {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    (text.len() > 60).then_some(text)
}

/// At most `most` bytes of a file, nothing when it cannot be read.
pub fn read_bytes(path: &Path, most: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

/// Text out of HTML, well enough for test data: scripts and tags go, common entities are resolved,
/// runs of empty lines become one.
fn without_markup(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_plain(&mut text, &rest[..at]);
        rest = &rest[at..];
        let end = ["script", "style"]
            .iter()
            .find(|tag| rest[1..].starts_with(**tag))
            .and_then(|tag| rest.find(&format!("</{tag}")))
            .unwrap_or(0);
        rest = &rest[end..];
        match rest.find('>') {
            Some(close) => rest = &rest[close + 1..],
            None => rest = "",
        }
    }
    push_plain(&mut text, rest);
    text
}

fn push_plain(text: &mut String, piece: &str) {
    const ENTITIES: [(&str, &str); 6] = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ];
    if piece.trim().is_empty() {
        if piece.contains('\n') && !text.ends_with("\n\n") {
            text.push('\n');
        } else if !piece.is_empty() && !text.ends_with(char::is_whitespace) {
            text.push(' ');
        }
        return;
    }
    if !piece.contains('&') {
        text.push_str(piece);
        return;
    }
    let mut plain = piece.to_owned();
    for (from, to) in ENTITIES {
        plain = plain.replace(from, to);
    }
    text.push_str(&plain);
}

/// The same text, but not the same bytes: it begins at another line, some lines are gone and some
/// are new. Used when a source is gone through again.
pub fn salted(text: &str, rng: &mut Rng, words: &Words) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return words.text(rng, text.len());
    }
    let start = rng.below(lines.len() as u64) as usize;
    let mut out = String::with_capacity(text.len() + 256);
    for i in 0..lines.len() {
        match rng.below(8) {
            0 => {
                let count = 3 + rng.below(9);
                out.push_str(&words.line(rng, count));
            }
            _ => out.push_str(lines[(start + i) % lines.len()]),
        }
        out.push('\n');
    }
    out
}
