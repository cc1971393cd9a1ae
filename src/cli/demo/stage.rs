//! Where the demo plays: its folder, and the commands run in it, each printed so that it can be repeated.

use std::env;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::json;

use super::super::args::DemoArgs;
use super::super::output::Output;
use super::super::progress::Progress;
use super::shop;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::check_cancelled;
use crate::types::{random_bytes, write_hex};

/// What the commands find in their environment: everything beside the database.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PAGEKEEP_REPO", "repo"), ("PAGEKEEP_KEY_FILE", "key"), ("PAGEKEEP_STATE_DIR", "state")];

/// The folder, and how to run commands in it.
pub(super) struct Stage<'o> {
    out: &'o Output,
    /// Knows whether the user wants to stop.
    stop: Progress<'o>,
    dir: PathBuf,
    executable: PathBuf,
    /// The program's name, as it is typed.
    program: String,
}

impl<'o> Stage<'o> {
    /// Makes the folder.
    pub(super) fn set_up(out: &'o Output, args: &DemoArgs) -> Result<Self> {
        let executable = env::current_exe()
            .map_err(|e| Error::io(e, "cannot be found", "this program's own file"))?;
        let program = executable.file_name().unwrap_or("pagekeep".as_ref());
        let program = program.to_string_lossy().into_owned();
        let dir = match &args.dir {
            Some(dir) => dir.clone(),
            None => {
                let mut name = "pagekeep-demo-".to_owned();
                // Writing to a string does not fail.
                let _ = write_hex(&mut name, &random_bytes::<6>()?);
                env::temp_dir().join(name)
            }
        };
        let shown = dir.display().to_string();
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::new(ErrorKind::Refused, "exists already")
                    .with_object(shown)
                    .with_hint("the demo wants a folder of its own: name one that does not exist"));
            }
            Err(e) => return Err(Error::io(e, "cannot be created", shown)),
        }
        let dir = dir.canonicalize().map_err(|e| Error::io(e, "cannot be found", shown))?;
        Ok(Self { out, stop: Progress::new(out), dir, executable, program })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A line for people.
    pub(super) fn say(&self, text: &str) {
        self.out.summary(text);
    }

    /// The next scene.
    pub(super) fn scene(&self, text: &str) {
        self.say(&format!("\n\x1b[1;36m{text}\x1b[0m"));
    }

    fn say_command(&self, command: &str) {
        self.say(&format!("\x1b[1m$ {command}\x1b[0m"));
    }

    /// What the commands need around them, as commands.
    pub(super) fn say_surroundings(&self) {
        self.say_command(&format!("cd {}", word(&self.dir.to_string_lossy())));
        if let Some(dir) = self.missing_from_path() {
            self.say_command(&format!("PATH={}:$PATH", word(&dir.to_string_lossy())));
        }
        let set: Vec<String> = ENVIRONMENT.iter().map(|(k, v)| format!("{k}={v}")).collect();
        self.say_command(&format!("export {}", set.join(" ")));
    }

    /// This program's folder, if its name alone would start no program or another one.
    fn missing_from_path(&self) -> Option<&Path> {
        let mine = self.executable.canonicalize().ok()?;
        let path = env::var_os("PATH").unwrap_or_default();
        let mut found = env::split_paths(&path).map(|dir| dir.join(&self.program));
        let first = found.find(|file| file.is_file()).and_then(|file| file.canonicalize().ok());
        if first == Some(mine) { None } else { self.executable.parent() }
    }

    /// A command of this program as it is typed.
    pub(super) fn typed(&self, args: &[&str]) -> String {
        let words = args.iter().map(|arg| word(arg));
        std::iter::once(word(&self.program)).chain(words).collect::<Vec<_>>().join(" ")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        let ours = |name: &OsString| name.to_string_lossy().starts_with("PAGEKEEP_");
        for (name, _) in env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        // Temporary files too stay in the folder.
        command.args(args).current_dir(&self.dir).envs(ENVIRONMENT).env("TMPDIR", &self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command of this program, shows it and what it prints.
    pub(super) fn run(&self, args: &[&str]) -> Result<()> {
        self.run_typed(args, &self.typed(args))
    }

    /// As [`Stage::run`], with what has to be typed given.
    pub(super) fn run_typed(&self, args: &[&str], typed: &str) -> Result<()> {
        check_cancelled(&self.stop)?;
        self.say_command(typed);
        let output = self
            .command(args)
            .output()
            .map_err(|e| Error::io(e, "cannot be run", typed).with_kind(ErrorKind::Failure))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        self.say_indented(&String::from_utf8_lossy(&output.stdout));
        self.say_indented(&stderr);
        self.ended(typed, output.status, &stderr)
    }

    fn say_indented(&self, text: &str) {
        for line in text.trim_matches('\n').lines() {
            self.say(if line.is_empty() { String::new() } else { format!("    {line}") }.as_str());
        }
    }

    /// Judges how a command ended.
    fn ended(&self, typed: &str, status: ExitStatus, stderr: &str) -> Result<()> {
        self.json_step(typed, status.code());
        check_cancelled(&self.stop)?;
        match status.code() {
            // A warning is shown, and no reason to stop.
            Some(0 | 3) => Ok(()),
            Some(130) => Err(Error::new(ErrorKind::Interrupted, "stopped on request")),
            _ => {
                let error = Error::new(ErrorKind::Failure, format!("failed: {status}"));
                Err(error.with_object(format!("`{typed}`")).with_source(stderr.trim().to_owned()))
            }
        }
    }

    fn json_step(&self, typed: &str, code: Option<i32>) {
        if self.out.json {
            self.out.object(&json!({"type": "step", "command": typed, "exit_code": code}));
        }
    }

    /// Runs SQL on a database, as if in SQLite's shell.
    pub(super) fn sql(&self, database: &str, sql: &str) -> Result<()> {
        check_cancelled(&self.stop)?;
        let typed = format!("sqlite3 {} {}", word(database), word(sql));
        self.say_command(&typed);
        shop::execute(&self.path(database), sql)?;
        self.say("    (run by the SQLite inside this program, so that you need no other)");
        self.json_step(&typed, Some(0));
        Ok(())
    }

    /// Starts the application and waits until it has sold something.
    pub(super) fn start_application(&self, database: &str) -> Result<Application<'_>> {
        check_cancelled(&self.stop)?;
        let args = ["demo-writer", database];
        // By hand, something has to hold its standard input open.
        let typed = format!("sleep 30 | {} &", self.typed(&args));
        self.say_command(&typed);
        let failed = |e| Error::io(e, "cannot be run", &*typed).with_kind(ErrorKind::Failure);
        let mut command = self.command(&args);
        let mut child = command.stdin(Stdio::piped()).spawn().map_err(failed)?;
        let stdout = child.stdout.take().map(BufReader::new);
        let mut application = Application { stage: self, child, stdout, typed: typed.clone() };
        let mut line = String::new();
        if let Some(stdout) = &mut application.stdout {
            stdout.read_line(&mut line).map_err(failed)?;
        }
        if line.is_empty() {
            application.stop()?;
            return Err(Error::new(ErrorKind::Failure, "ended before it began").with_object(typed));
        }
        self.say_indented(&line);
        Ok(application)
    }
}

/// The application while it runs. It ends with its standard input, so it never outlives the demo, however that ends.
pub(super) struct Application<'s> {
    stage: &'s Stage<'s>,
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    typed: String,
}

impl Application<'_> {
    /// Lets it end.
    pub(super) fn stop(mut self) -> Result<()> {
        let mut said = [String::new(), String::new()];
        let failed = |e| Error::io(e, "cannot be waited for", "the application");
        drop(self.child.stdin.take());
        let [stdout, stderr] = &mut said;
        if let Some(mut from) = self.stdout.take() {
            from.read_to_string(stdout).map_err(failed)?;
        }
        if let Some(mut from) = self.child.stderr.take() {
            from.read_to_string(stderr).map_err(failed)?;
        }
        let status = self.child.wait().map_err(failed)?;
        for text in &said {
            self.stage.say_indented(text);
        }
        self.stage.ended(&self.typed, status, &said[1])
    }
}

impl Drop for Application<'_> {
    fn drop(&mut self) {
        // After `stop` both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A word as a shell has to be given it.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else if text.contains(['"', '$', '`', '\\', '!']) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        format!("\"{text}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for text in ["plain", "", "two words", "it's", "$HOME \"quoted\" it's", "a*b?", "!!", "~"] {
            let script = format!("printf %s {}", word(text));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "{script}");
        }
    }
}
