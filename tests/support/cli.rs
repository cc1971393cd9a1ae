//! What the tests of the command line share: a folder in which the real binary runs as a user would run it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rusqlite::Connection;
use serde_json::Value;

/// The binary under test.
pub const BIN: &str = env!("CARGO_BIN_EXE_pagekeep");

/// Who has no rights at all.
const NOBODY: u32 = 65534;

/// A folder, and commands that run in it. They get `repo`, `key` and `state` in it from their environment, and nothing
/// else.
pub struct Lab {
    dir: tempfile::TempDir,
    /// The binary, where whoever runs it may read it.
    bin: PathBuf,
    user: Option<u32>,
}

impl Lab {
    /// A folder with nothing in it.
    pub fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), bin: BIN.into(), user: None }
    }

    /// A folder with a repository, without a history.
    pub fn new() -> Self {
        let lab = Self::empty();
        lab.ok(&["init"]);
        lab
    }

    /// A folder with a repository and the database `app.db`, backed up twice; the second commit is labelled.
    pub fn with_history() -> Self {
        let lab = Self::new();
        lab.make("app.db", 200);
        lab.ok(&["backup", "app.db"]);
        lab.sql("app.db", "UPDATE t SET x = 'changed' WHERE id = 7");
        lab.ok(&["backup", "app.db", "--label", "the second"]);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary that commands run.
    pub fn binary(&self) -> &Path {
        &self.bin
    }

    /// Makes a database of about that many hundreds of bytes.
    pub fn make(&self, name: &str, rows: u32) {
        self.sql(
            name,
            &format!(
                "PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
                 INSERT INTO t(x) SELECT hex(randomblob(50)) FROM n"
            ),
        );
    }

    pub fn sql(&self, name: &str, sql: &str) {
        Connection::open(self.path(name)).unwrap().execute_batch(sql).unwrap();
    }

    /// A file that only this user may read.
    pub fn secret(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn number(&self, name: &str, sql: &str) -> i64 {
        Connection::open(self.path(name)).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// From now on commands run as somebody who is not root, and everything here belongs to them.
    pub fn without_privileges(&mut self) {
        if !is_root() {
            return;
        }
        // Where the build left it, others may not be allowed to look.
        self.bin = self.path("pagekeep");
        copy_program(Path::new(BIN), &self.bin);
        fs::set_permissions(&self.bin, fs::Permissions::from_mode(0o755)).unwrap();
        for path in std::iter::once(self.path("")).chain(walk(&self.path(""))) {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        self.user = Some(NOBODY);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("TMPDIR", self.dir.path());
        command.env("PAGEKEEP_REPO", "repo").env("PAGEKEEP_KEY_FILE", "key");
        command.env("PAGEKEEP_STATE_DIR", "state");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command
    }

    /// Another program, in the same folder and with the variables of [`Lab::command`] besides its own.
    pub fn other(&self, program: &str) -> Command {
        let ours = self.command(&[]);
        let mut command = Command::new(program);
        command.current_dir(self.dir.path());
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// The command, run.
    pub fn run(&self, args: &[&str]) -> Ended {
        Ended::of(&mut self.command(args))
    }

    /// The command, which does well and has nothing to complain about.
    pub fn ok(&self, args: &[&str]) -> Ended {
        let ended = self.run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}: {ended:?}");
        ended
    }

    /// The lines of JSON of the command, which does well.
    pub fn json(&self, args: &[&str]) -> Vec<Value> {
        self.ok(&[args, &["--json"]].concat()).objects()
    }

    /// The last line of JSON of the command, which does well: the summary.
    pub fn summary(&self, args: &[&str]) -> Value {
        last(&self.json(args)).clone()
    }

    /// The commits that the log of `app` shows.
    pub fn seqs(&self) -> Vec<u64> {
        self.json(&["log", "app"]).iter().map(|c| c["seq"].as_u64().unwrap()).collect()
    }

    /// The command fails, in both forms of output: with this exit code, with a message and hint that have all of these
    /// fragments, and nothing half done stays.
    pub fn fails(&self, args: &[&str], code: i32, fragments: &[&str]) {
        self.fails_with(&[], args, code, fragments);
    }

    /// As [`Lab::fails`], with other variables; an empty one is taken away.
    pub fn fails_with(
        &self,
        variables: &[(&str, &str)],
        args: &[&str],
        code: i32,
        fragments: &[&str],
    ) {
        let command = |args: &[&str]| {
            let mut command = self.command(args);
            for (name, value) in variables {
                if value.is_empty() {
                    command.env_remove(name)
                } else {
                    command.env(name, value)
                };
            }
            command
        };
        let ended = Ended::of(&mut command(args));
        ended.failed(code, fragments);
        assert_eq!(ended.stdout, "", "{args:?}: stdout is for data");
        assert!(ended.stderr.contains("error: "), "{args:?}: {ended:?}");
        let ended = Ended::of(&mut command(&[args, &["--json"]].concat()));
        ended.failed(code, fragments);
        let last = ended.objects().pop().unwrap();
        assert_eq!((&last["type"], &last["exit_code"]), (&"error".into(), &code.into()));
        assert!(last["message"].as_str().is_some_and(|m| !m.is_empty()), "{last}");
        // Whoever reads it knows what it is about, and what to do next.
        let is_named =
            ["usage", "wrong-key", "interrupted"].contains(&last["kind"].as_str().unwrap());
        assert!(is_named || last["object"].is_string(), "{args:?}: no object: {last}");
        assert!(code == 130 || last["hint"].is_string(), "{args:?}: no next step: {last}");
        self.tidy();
    }

    /// The arguments make no sense to the parser, which says so with these fragments.
    pub fn misused(&self, args: &[&str], fragments: &[&str]) {
        let ended = self.run(args);
        ended.failed(2, fragments);
        assert_eq!(ended.stdout, "", "{args:?}");
    }

    /// Nothing half done lies about.
    pub fn tidy(&self) {
        let left = walk(&self.path(""));
        let unfinished = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.contains("tmp-") || name.contains(".old-")
        };
        let left: Vec<_> = left.into_iter().filter(unfinished).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// The one published segment that holds the commit.
    pub fn segment_of(&self, seq: u64) -> PathBuf {
        let show = self.json(&["show", &format!("app@seq:{seq}")]);
        self.path("repo").join(show[0]["segment"].as_str().unwrap())
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// It ended with this code, and a message that has all of these fragments.
    pub fn failed(&self, code: i32, fragments: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for fragment in fragments {
            assert!(self.stderr.contains(fragment), "{fragment:?} is missing: {self:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }

    /// Standard output has all of these fragments.
    pub fn says(&self, fragments: &[&str]) {
        for fragment in fragments {
            assert!(self.stdout.contains(fragment), "{fragment:?} is missing: {self:?}");
        }
    }

    /// Standard output as lines of JSON.
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        let objects: Vec<Value> = self.stdout.lines().map(parse).collect();
        for object in &objects {
            assert!(object["type"].is_string(), "{object}");
        }
        objects
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The summary among the objects that a command printed.
pub fn last(objects: &[Value]) -> &Value {
    let last = objects.last().unwrap();
    assert_eq!(last["type"], "summary", "{last}");
    last
}

/// Sends a signal to a process, or with a `-` in front to a group of them.
pub fn signal(signal: &str, whom: &str) {
    assert!(Command::new("kill").args([signal, "--", whom]).status().unwrap().success());
}

/// Waits until a process catches a signal: before that it would end it.
pub fn wait_until_caught(child: &Child, signal: u32) {
    let caught = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        u64::from_str_radix(caught.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
    };
    while !caught() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Turns one bit of a file over.
pub fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Copies a program. A child that another test forks meanwhile would have the copy open for writing,
/// if this process did it; and then it can't be run.
pub fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // A file that we made is ours.
    let dir = tempfile::tempdir().unwrap();
    fs::metadata(dir.path()).unwrap().uid() == 0
}

/// Everything below a folder.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
