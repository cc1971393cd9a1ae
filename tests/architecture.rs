//! Holds `src/` to the order of its parts, by reading the source as text.
//!
//! - Who may name whom: a module names only modules of its own level and of lower ones ([`LEVELS`]).
//! - No file names one that names it, directly or by way of others. Tests may name what they test.
//! - `unsafe`, and the lint that allows it, stand in `src/sqlite/ffi/` alone.
//! - Every file under `src/` is reached by a `mod` declaration; so nothing in it goes uncompiled.
//! - A file of more than 600 lines says why, in its module doc, with the words `600 lines`.
//! - Comments are at most 100 columns wide, but for tables and drawings.
//! - Only the command line's own strings name its flags and commands: what helps is a `Remedy` elsewhere.
//!
//! The scanner knows comments, literals, nested `use` trees, inline modules and `super`. It does not expand
//! macros and does not follow names that a module re-exports; `#[path]` and `extern crate`, which would blind
//! it, are violations themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The top-level modules, lowest first. Modules of one level may name each other.
const LEVELS: [&[&str]; 15] = [
    &["error", "remedy", "count", "machine", "simulated"],
    &["types"],
    &["progress", "disk", "chance", "input"],
    &["format"],
    &["codec"],
    &["policy"],
    &["sqlite"],
    &["store"],
    &["repo"],
    &["capture"],
    &["ops"],
    &["keeper"],
    &["api"],
    &["daemon"],
    &["cli"],
];

/// The only folder with unsafe code.
const UNSAFE_FOLDER: &str = "src/sqlite/ffi/";

/// Beyond so many lines a file has to say why.
const MAX_LINES: usize = 600;

/// How wide a comment may be.
const MAX_COLUMNS: usize = 100;

/// A source file: its path from the root of the package, with `/`, and its text.
type Sources = BTreeMap<String, String>;

#[test]
fn nothing_in_src_breaks_the_order() {
    let mut sources = Sources::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "src", &mut sources);
    assert!(sources.contains_key("src/lib.rs") && sources.contains_key("src/sqlite/ffi/mod.rs"));
    let found = violations(&sources);
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

fn collect(root: &Path, folder: &str, sources: &mut Sources) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &name, sources);
        } else if name.ends_with(".rs") {
            sources.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}

fn violations(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    let mut declared = BTreeSet::from(["src/lib.rs".to_owned(), "src/main.rs".to_owned()]);
    let scans: BTreeMap<&str, Scan> =
        sources.iter().map(|(file, text)| (file.as_str(), Scan::of(file, text))).collect();
    found.extend(circles(&arrows(&scans)));
    let is_test = tests_among(&scans);
    for (file, scan) in scans.iter().filter(|(file, _)| !is_test(file)) {
        let own = ["src/cli.rs", "src/main.rs"];
        let of_command_line = file.starts_with("src/cli/") || own.contains(file);
        for (line, text) in &scan.literals {
            if !of_command_line && !scan.is_in_tests(*line) && speaks_command_line(text) {
                found.push(format!("{file}:{line}: names a flag or a command: {text}"));
            }
        }
    }
    for (file, text) in sources {
        let scan = &scans[file.as_str()];
        for child in &scan.children {
            declared.extend(child.iter().cloned());
        }
        for (line, path) in &scan.paths {
            if let Some(why) = upward(file, path) {
                found.push(format!("{file}:{line}: {why}: {}", path.join("::")));
            }
        }
        for (line, word) in &scan.words {
            if !file.starts_with(UNSAFE_FOLDER) || word == "path" || word == "extern" {
                found.push(format!("{file}:{line}: `{word}` has no place here"));
            }
        }
        found.extend(wide(file, text));
        let lines = text.lines().count();
        if lines > MAX_LINES && !module_doc(text).contains("600 lines") {
            found.push(format!("{file}: {lines} lines, and its module doc does not say why"));
        }
    }
    let unreached = sources.keys().filter(|file| !declared.contains(*file));
    found.extend(unreached.map(|file| format!("{file}: no `mod` declares it")));
    found
}

/// The comments of a file that are too wide; tables and what stands between ``` are drawn.
fn wide(file: &str, text: &str) -> Vec<String> {
    let (mut found, mut drawn) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        let comment = line.trim_start();
        let said = comment.trim_start_matches(['/', '!', ' ']);
        let width = line.chars().count();
        drawn = comment.starts_with("//") && drawn != said.starts_with("```");
        let is_prose = comment.starts_with("//") && !said.starts_with('|') && !drawn;
        if is_prose && width > MAX_COLUMNS {
            found.push(format!("{file}:{}: a comment of {width} columns", number + 1));
        }
    }
    found
}

/// Which files are there for tests only.
fn tests_among<'s>(scans: &'s BTreeMap<&'s str, Scan>) -> impl Fn(&str) -> bool + use<'s> {
    let tests: BTreeSet<&String> = scans.values().flat_map(|scan| &scan.tests).flatten().collect();
    move |file: &str| {
        let below = |test: &&String| {
            let folder = test.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            file == test.as_str() || file.starts_with(&format!("{folder}/"))
        };
        tests.iter().any(below)
    }
}

/// Whether a string names a command of the program, or a flag.
fn speaks_command_line(text: &str) -> bool {
    let is_flag = |(at, _): (usize, &str)| {
        let (before, behind) = (text[..at].chars().next_back(), text[at + 2..].chars().next());
        before != Some('-') && behind.is_some_and(|c| c.is_ascii_lowercase())
    };
    text.contains("`pagekeep ") || text.match_indices("--").any(is_flag)
}

/// Which files each file names, tests apart.
fn arrows<'s>(scans: &'s BTreeMap<&'s str, Scan>) -> BTreeMap<&'s str, BTreeSet<&'s str>> {
    let is_test = tests_among(scans);
    let modules: BTreeMap<Vec<String>, &str> = scans
        .keys()
        .filter(|file| **file != "src/main.rs" && !is_test(file))
        .map(|file| (module_of(file), *file))
        .collect();
    let named = |path: &[String]| {
        let deepest = (1..=path.len()).rev().find_map(|n| modules.get(&path[..n]));
        deepest.copied()
    };
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in modules.values() {
        let scan = &scans[file];
        let paths = scan.paths.iter().filter(|(line, _)| !scan.is_in_tests(*line));
        let others = paths.filter_map(|(_, path)| named(path)).filter(|to| to != file);
        arrows.insert(file, others.collect());
    }
    arrows
}

/// The files that name each other in circles: each circle as one text.
fn circles(arrows: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let reached = |from: &str| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = left.pop() {
            for to in arrows.get(file.as_str()).into_iter().flatten() {
                if seen.insert((*to).to_owned()) {
                    left.push((*to).to_owned());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> =
        arrows.keys().map(|file| (*file, reached(file))).collect();
    let back = |file: &str, to: &String| reached.get(to.as_str()).is_some_and(|r| r.contains(file));
    let circles: BTreeSet<Vec<&String>> = arrows
        .keys()
        .map(|file| reached[file].iter().filter(|to| back(file, to)).collect())
        .filter(|circle: &Vec<&String>| !circle.is_empty())
        .collect();
    circles.iter().map(|files| format!("a circle of {} files: {files:?}", files.len())).collect()
}

/// Why a file must not name a path from the crate's root, if it must not.
fn upward(file: &str, path: &[String]) -> Option<String> {
    let from = match &module_of(file)[..] {
        [] => return None, // lib.rs and main.rs stand above all.
        [top, ..] => top.clone(),
    };
    let Some(to) = path.first().filter(|to| !["*", "self"].contains(&&***to)) else {
        return Some("names the crate's root".to_owned());
    };
    let Some(from_level) = level(&from) else {
        return Some(format!("{from} has no level in this test"));
    };
    let Some(to_level) = level(to) else {
        return Some(format!("{to} has no level in this test"));
    };
    (to_level > from_level).then(|| format!("{from} must not name {to}"))
}

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

/// The module that a file is: `src/repo/keys.rs` is `repo::keys`.
fn module_of(file: &str) -> Vec<String> {
    let inside = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = inside.trim_end_matches("/mod");
    let root = ["lib", "main", "mod"].contains(&path);
    if root { vec![] } else { path.split('/').map(str::to_owned).collect() }
}

fn module_doc(text: &str) -> String {
    let doc = text.lines().take_while(|line| line.starts_with("//!"));
    doc.map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>().join(" ")
}

/// What one file says that matters here.
#[derive(Default)]
struct Scan {
    /// Paths from the crate's root that the file names, with their lines.
    paths: Vec<(usize, Vec<String>)>,
    /// Words that only one file, or none, may have.
    words: Vec<(usize, String)>,
    /// For each `mod` without a body: the files that it may mean.
    children: Vec<[String; 2]>,
    /// Those of them that are there for tests only.
    tests: Vec<[String; 2]>,
    /// The first and last lines of inline modules of tests.
    inline_tests: Vec<(usize, usize)>,
    /// Strings, with their lines.
    literals: Vec<(usize, String)>,
}

impl Scan {
    fn is_in_tests(&self, line: usize) -> bool {
        self.inline_tests.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    fn of(file: &str, text: &str) -> Self {
        let (literals, tokens): (Vec<Token>, _) =
            tokens(text).into_iter().partition(|token| token.text.starts_with('"'));
        let literals = literals.into_iter().map(|token| (token.line, token.text)).collect();
        let mut scan = Self { literals, ..Self::default() };
        let mut module = module_of(file);
        // Depths of the braces that close the inline modules around the present token, and the lines where those begin.
        let mut inline = Vec::new();
        let mut children = BTreeSet::new();
        let mut depth = 0usize;
        let word = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
        for (i, token) in tokens.iter().enumerate() {
            let before = i.checked_sub(1).map_or("", word);
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if let Some((_, began)) = inline.pop_if(|(closes, _)| *closes == depth)
                        && module.pop().is_some_and(|name| name == "tests")
                    {
                        scan.inline_tests.push((began, token.line));
                    }
                }
                "mod" if word(i + 2) == "{" => {
                    inline.push((depth, token.line));
                    module.push(word(i + 1).to_owned());
                }
                "mod" if word(i + 2) == ";" => {
                    let path = [&module[..], &[word(i + 1).to_owned()]].concat().join("/");
                    let files = [format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
                    if is_for_tests(&tokens[..i]) {
                        scan.tests.push(files.clone());
                    }
                    scan.children.push(files);
                    children.insert(word(i + 1).to_owned());
                }
                name if children.contains(name) && before == "use" => {
                    let mut named = Vec::new();
                    path_tree(&tokens, i, &[], &mut named);
                    let absolute = named.iter().map(|path| [&module[..], path].concat());
                    scan.paths.extend(absolute.map(|path| (token.line, path)));
                }
                "unsafe" | "unsafe_code" => scan.words.push((token.line, token.text.clone())),
                "path" if before == "[" && word(i + 1) == "=" => {
                    scan.words.push((token.line, token.text.clone()));
                }
                "extern" if word(i + 1) == "crate" => {
                    scan.words.push((token.line, token.text.clone()));
                }
                "crate" | "super" | "self" if before != "::" => {
                    let is_path = word(i + 1) == "::" || word(i + 1) == "as";
                    if is_path && before != "extern" {
                        let mut named = Vec::new();
                        path_tree(&tokens, i, &[], &mut named);
                        let absolute = named.iter().map(|path| resolved(&module, path));
                        scan.paths.extend(absolute.map(|path| (token.line, path)));
                    }
                }
                _ => {}
            }
        }
        scan
    }
}

/// Whether what follows on some tokens is there for tests only.
fn is_for_tests(before: &[Token]) -> bool {
    let words: Vec<&str> = before.iter().rev().take(12).map(|token| token.text.as_str()).collect();
    let visible = match words[..] {
        [")", _, "(", "pub", ..] => 4,
        ["pub", ..] => 1,
        _ => 0,
    };
    words[visible..].starts_with(&["]", ")", "test", "(", "cfg", "[", "#"])
}

/// Reads the path that begins at a token, and those of its groups; answers where it ends.
fn path_tree(
    tokens: &[Token],
    mut i: usize,
    prefix: &[String],
    named: &mut Vec<Vec<String>>,
) -> usize {
    let word = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut path = prefix.to_vec();
    loop {
        if word(i) == "{" {
            i += 1;
            while !["}", ""].contains(&word(i)) {
                i = path_tree(tokens, i, &path, named).max(i + 1);
                if word(i) == "as" {
                    i += 2;
                }
                if word(i) == "," {
                    i += 1;
                }
            }
            return i + 1;
        }
        let is_name = word(i).starts_with(|c: char| c.is_alphabetic() || c == '_');
        if is_name || word(i) == "*" {
            path.push(word(i).to_owned());
            i += 1;
        }
        if word(i) != "::" || word(i + 1) == "<" {
            named.push(path);
            return i;
        }
        i += 1;
    }
}

/// A path as it is written in a module, as a path from the crate's root.
fn resolved(module: &[String], path: &[String]) -> Vec<String> {
    let mut absolute = match path.first().map(String::as_str) {
        Some("crate") => vec![],
        _ => module.to_vec(),
    };
    let supers = path.iter().take_while(|part| *part == "super" || *part == "self");
    let leading =
        supers.clone().count().max(usize::from(path.first().is_some_and(|p| p == "crate")));
    let up = supers.filter(|part| *part == "super").count();
    absolute.truncate(absolute.len().saturating_sub(up));
    absolute.extend_from_slice(&path[leading..]);
    absolute
}

/// A name, a keyword, `::` or one other character of code; no comments, literals or lifetimes.
struct Token {
    line: usize,
    text: String,
}

fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(c) = lexer.peek(0) {
        let line = lexer.line;
        let text = match (c, lexer.peek(1)) {
            ('/', Some('/')) => lexer.skip_while(|c| c != '\n'),
            ('/', Some('*')) => lexer.skip_block_comment(),
            ('"', _) => lexer.take_string(),
            ('\'', _) => lexer.skip_char_or_lifetime(),
            (':', Some(':')) => lexer.take(2),
            (c, _) if c.is_alphanumeric() || c == '_' => lexer.take_name(),
            (c, _) if c.is_whitespace() => lexer.skip_while(char::is_whitespace),
            _ => lexer.take(1),
        };
        tokens.extend(text.map(|text| Token { line, text }));
    }
    tokens
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    line: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self, n: usize) {
        let end = (self.at + n).min(self.chars.len());
        self.line += self.chars[self.at..end].iter().filter(|c| **c == '\n').count();
        self.at = end;
    }

    fn take(&mut self, n: usize) -> Option<String> {
        let end = (self.at + n).min(self.chars.len());
        let text = self.chars[self.at..end].iter().collect();
        self.skip(n);
        Some(text)
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) -> Option<String> {
        while self.peek(0).is_some_and(&wanted) {
            self.skip(1);
        }
        None
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) -> Option<String> {
        let mut open = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => open += 1,
                (Some('*'), Some('/')) => open -= 1,
                (None, _) => return None,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if open == 0 {
                return None;
            }
        }
    }

    /// Takes a string, with the quote in front of it.
    fn take_string(&mut self) -> Option<String> {
        let from = self.at;
        self.skip(1);
        while let Some(c) = self.peek(0) {
            self.skip(if c == '\\' { 2 } else { 1 });
            if c == '"' {
                break;
            }
        }
        Some(self.chars[from..self.at].iter().collect())
    }

    /// Takes a raw string, as [`Lexer::take_string`] does.
    fn take_raw_string(&mut self) -> Option<String> {
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        let from = self.at + hashes;
        self.skip(hashes + 1);
        while let Some(c) = self.peek(0) {
            let ends = c == '"' && (1..=hashes).all(|i| self.peek(i) == Some('#'));
            self.skip(if ends { hashes + 1 } else { 1 });
            if ends {
                break;
            }
        }
        Some(self.chars[from..self.at].iter().collect())
    }

    fn skip_char_or_lifetime(&mut self) -> Option<String> {
        self.skip(1);
        if self.peek(0) == Some('\\') {
            self.skip(2);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(1) == Some('\'') {
            self.skip(2);
        } else {
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
        }
        None
    }

    /// A name or a number; or, behind a prefix such as `br`, a string.
    fn take_name(&mut self) -> Option<String> {
        let rest = &self.chars[self.at..];
        let n = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
        let name = self.take(n)?;
        let hashes = self.chars[self.at..].iter().take_while(|c| **c == '#').count();
        match (name.as_str(), self.peek(0), self.peek(hashes)) {
            ("r" | "br" | "cr", _, Some('"')) => self.take_raw_string(),
            ("b" | "c", Some('"'), _) => self.take_string(),
            ("b", Some('\''), _) => self.skip_char_or_lifetime(),
            // A raw identifier is no keyword.
            ("r", Some('#'), _) => {
                self.skip(1);
                self.take_name().map(|raw| format!("r#{raw}"))
            }
            _ => Some(name),
        }
    }
}

/// The test of the test: each rule goes red for what it forbids, and only for that.
mod the_scanner {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let library =
            ("src/lib.rs", "pub mod error; pub mod store; pub mod ops; pub mod cli; mod daemon;");
        let files = [&[library], files].concat();
        let sources = files.iter().map(|(f, t)| ((*f).to_owned(), (*t).to_owned())).collect();
        violations(&sources)
    }

    #[test]
    fn upward_paths_are_found_however_they_are_written() {
        for text in [
            "use crate::ops::backup;",
            "pub(crate) use crate::ops;",
            "use crate::{error::Error, ops::{self, restore}};",
            "use crate::{\n    error,\n    cli,\n};",
            "use super::ops::backup;",
            "fn f() -> crate::ops::Report { todo!() }",
            "mod tests { use super::super::ops; }",
            "mod a { mod b {} use super::super::ops; }",
            "macro_rules! m { () => { $crate::ops::run() } }",
            "fn f() { Vec::<crate::ops::X>::new() }",
            "use crate::*;",
            "use super::*;",
            "use crate::{self as root};",
            "use crate::nowhere;",
            "fn f<'a>(x: &'a str) { let q = '\"'; crate::ops::run(x) }",
        ] {
            assert!(!found(&[("src/store.rs", text)]).is_empty(), "{text}");
        }
    }

    #[test]
    fn downward_paths_and_words_in_comments_and_literals_are_none() {
        let text = r####"
            //! crate::ops, unsafe
            use crate::error::{self, Error as E};
            /* unsafe /* use crate::ops; */ crate::ops */
            pub(crate) fn f(self) { let _ = ("unsafe \" crate::ops::x", r#"crate::ops "quoted" unsafe"#, b"unsafe"); }
            pub(in crate::store) fn g() { self::h(); self.x(); let _ = ['"', '\'', 'u']; }
            mod tests { use super::*; use crate::store::X; mod deeper { use super::super::X; } }
            fn h<'unsafe_code>() { r#unsafe(); unsafely() }
        "####;
        assert_eq!(found(&[("src/store.rs", text)]), [""; 0]);
    }

    #[test]
    fn the_command_line_starts_the_daemon_and_the_daemon_knows_no_command_line() {
        assert_eq!(found(&[("src/cli.rs", "use crate::daemon;")]).len(), 0);
        assert_eq!(found(&[("src/daemon.rs", "use crate::cli::run;")]).len(), 1);
        assert_eq!(found(&[("src/cli.rs", "use crate::cli::run; use crate::ops;")]).len(), 0);
    }

    #[test]
    fn unsafe_code_and_what_would_blind_the_scanner_is_found() {
        for text in [
            "fn f() { unsafe { g() } }",
            "#![allow(unsafe_code)]",
            "unsafe impl Send for X {}",
            "#[path = \"elsewhere.rs\"] mod error;",
            "extern crate pagekeep;",
        ] {
            assert!(!found(&[("src/store.rs", text)]).is_empty(), "{text}");
        }
        let ffi = ("src/sqlite/ffi/mod.rs", "#![allow(unsafe_code)] unsafe fn f() {}");
        let parents = [("src/lib.rs", "mod sqlite;"), ("src/sqlite/mod.rs", "mod ffi;")];
        assert_eq!(found(&[parents[0], parents[1], ffi]), [""; 0]);
    }

    #[test]
    fn files_that_nothing_declares_are_found() {
        let orphan = ("src/store/orphan.rs", "");
        assert_eq!(found(&[orphan]).len(), 1);
        assert_eq!(found(&[orphan, ("src/store/mod.rs", "// mod orphan;\nmod other;")]).len(), 1);
        assert_eq!(found(&[orphan, ("src/store/mod.rs", "pub mod orphan;")]).len(), 0);
        let nested = ("src/store/a/b.rs", "");
        assert_eq!(found(&[nested, ("src/store/mod.rs", "mod a { mod b; }")]).len(), 0);
    }

    #[test]
    fn files_that_name_each_other_are_found_and_tests_may() {
        let parent = ("src/store/mod.rs", "mod a; mod b; use a::A;");
        let (there, back) = ("use super::b::B;", "use crate::store::a::A;");
        let circle = |a, b| found(&[parent, ("src/store/a.rs", a), ("src/store/b.rs", b)]).len();
        assert_eq!((circle(there, ""), circle("", back), circle(there, back)), (0, 0, 1));
        // What stands in the parent is the parent's, which names a child.
        assert_eq!(circle("use super::Store;", ""), 1);
        assert_eq!(circle(there, "#[cfg(test)] mod tests { use crate::store::a::A; }"), 0);
        let tested = ("src/store/a.rs", "#[cfg(test)] pub(crate) mod trial;");
        let trial = ("src/store/a/trial.rs", "use super::*;");
        assert_eq!(found(&[("src/store/mod.rs", "mod a;"), tested, trial]), [""; 0]);
    }

    #[test]
    fn wide_comments_are_found() {
        let wide = format!("fn f() {{}}\n    // {}", "x".repeat(94));
        assert_eq!(found(&[("src/store.rs", &wide)]).len(), 1);
        let table = format!("/// | {} |\nfn f() {{}}", "x".repeat(100));
        let code = format!("fn f() {{ g(\"{}\") }} // x", "x".repeat(100));
        assert_eq!(found(&[("src/store.rs", &format!("{table}\n{code}"))]), [""; 0]);
    }

    #[test]
    fn strings_that_name_flags_and_commands_are_found() {
        for text in [
            "fn f() -> &'static str { \"say so: --adopt\" }",
            "fn f() -> &'static str { \"`pagekeep init` makes one\" }",
            "fn f() -> &'static str { r#\"one of --force, \"--name\"\"# }",
        ] {
            assert_eq!(found(&[("src/store.rs", text)]).len(), 1, "{text}");
            assert_eq!(found(&[("src/cli.rs", text)]), [""; 0], "{text}");
            assert_eq!(found(&[("src/store.rs", &format!("mod tests {{ {text} }}"))]), [""; 0]);
        }
        let none = "/// `pagekeep init --force`\nfn f() -> [&'static str; 3] { [\"---x\", \"a -- b\", \"pagekeep 1\"] }";
        assert_eq!(found(&[("src/store.rs", none)]), [""; 0]);
    }

    #[test]
    fn long_files_have_to_say_why() {
        let long = "fn f() {}\n".repeat(MAX_LINES);
        assert_eq!(found(&[("src/store.rs", &long)]).len(), 0);
        let longer = format!("//! A store.\n{long}");
        assert_eq!(found(&[("src/store.rs", &longer)]).len(), 1);
        let excused =
            format!("//! A store.\n//! It has over 600\n//! lines since it is one table.\n{long}");
        assert_eq!(found(&[("src/store.rs", &excused)]).len(), 0);
    }
}
