//! What a command prints: data on stdout, everything else on stderr; tables for people, lines of
//! JSON for programs.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::args::{Color, Global};
use super::remedy::said;
pub(crate) use super::shell::quote;
use super::terminal::{
    Line, bold, is_nowhere, printable_json, red, settle, write_line, write_raw, yellow,
};
use crate::api::problem::{Failure, Finding, Note, Warning, causes};
use crate::api::{self, Answer};
pub(crate) use crate::count::{bytes, count, counted, span};
use crate::error::{Error, ErrorKind, Result};
pub(crate) use crate::policy::clock::local as time;
use crate::remedy::Advice;
use crate::types::Timestamp;

/// Where and how to print.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    /// Shared by all clones.
    met: Arc<Met>,
}

/// What a command met, which decides its exit code.
#[derive(Debug, Default)]
struct Met {
    warned: AtomicBool,
    damaged: AtomicBool,
    too_new: AtomicBool,
    late: AtomicBool,
    /// Whether the reader of standard output went away.
    unread: AtomicBool,
    /// Why a line of standard output is lost.
    lost: OnceLock<ErrorKind>,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let choice = match global.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            met: Arc::default(),
        }
    }

    /// A line of data. What can't be written is told once, and makes the command fail in the end:
    /// what it does goes on. A reader that has gone away, as `head` does, is no failure.
    pub(crate) fn line(&self, line: impl Into<Line>) {
        self.written(write_line(&mut anstream::stdout(), &line.into()));
    }

    fn written(&self, written: io::Result<()>) {
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.met.unread.store(true, Ordering::Relaxed);
            }
            Err(e) => self.lose(e),
            Ok(()) => {}
        }
    }

    fn lose(&self, e: io::Error) {
        let e = unwritten(e);
        if self.met.lost.set(e.kind()).is_ok() {
            print_error(&e);
        }
    }

    /// Text for programs, with line ends of its own: as it is, but on a terminal.
    pub(crate) fn data(&self, text: &str) {
        if stdout_is_terminal() {
            return text.split('\n').for_each(|line| self.line(line));
        }
        self.written(write_raw(&mut io::stdout(), text));
    }

    /// Bytes for programs. Never to a terminal.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        self.written(io::stdout().write_all(bytes));
    }

    /// Sees to it that all bytes are with the reader.
    pub(crate) fn flush(&self) {
        self.written(io::stdout().flush());
    }

    /// Lines of data that the user has to get before the command goes on.
    ///
    /// # Errors
    /// When they did not arrive, as far as that can be told.
    pub(crate) fn deliver(&self, lines: Vec<Line>, stop: impl Fn() -> bool) -> Result<()> {
        let write = || {
            if is_nowhere() {
                return Err(io::Error::other("it leads nowhere, to /dev/null, or is closed"));
            }
            for line in lines {
                write_line(&mut anstream::stdout(), &line)?;
            }
            settle(stop)
        };
        write().map_err(unwritten)
    }

    /// Whether nobody reads standard output any more: what only prints has come to its end.
    pub(crate) fn is_unread(&self) -> bool {
        self.met.unread.load(Ordering::Relaxed)
    }

    /// What the lines that are lost make of the command, if there are any.
    pub(crate) fn lost(&self) -> Option<ErrorKind> {
        self.met.lost.get().copied()
    }

    /// A line of a summary: data that `--quiet` leaves out.
    pub(crate) fn summary(&self, line: impl Into<Line>) {
        if !self.quiet && !self.json {
            self.line(line);
        }
    }

    /// A line of JSON.
    pub(crate) fn object(&self, answer: &impl Answer) {
        match json_line(answer) {
            Ok(line) => self.line(line),
            Err(e) => self.lose(e),
        }
    }

    /// The last line of long work, where JSON is wanted.
    pub(crate) fn json_summary(&self, answer: &impl Answer) {
        if self.json {
            self.object(answer);
        }
    }

    /// As [`Output::warn`], with what helps.
    pub(crate) fn advise(&self, advice: &Advice) {
        self.warn(&said(advice));
    }

    /// Something that went on although it was not as it should be; makes the exit code 3.
    pub(crate) fn warn(&self, text: &str) {
        self.met.warned.store(true, Ordering::Relaxed);
        if self.json {
            self.object(&Warning { message: text.to_owned() });
        }
        tell(yellow("warning:").then(format_args!(" {text}")));
    }

    /// What is as usual, and may be a surprise: not as grave as a warning.
    pub(crate) fn remark(&self, text: &str) {
        if self.json {
            self.object(&Note { message: text.to_owned() });
        }
        self.note(format_args!("note: {text}"));
    }

    /// What happens meanwhile, for people: on stderr, and not with `--quiet`.
    pub(crate) fn note(&self, line: impl Into<Line>) {
        if !self.quiet {
            tell(line);
        }
    }

    /// What people may do next, beside data: as [`Output::note`].
    pub(crate) fn advice(&self, text: &str) {
        self.note(hint(text));
    }

    /// Something was found, and standard output names it.
    pub(crate) fn found_on_standard_output(&self, what: &str) {
        tell(red("error:").then(format!(" {what}; standard output names it")));
    }

    /// What `--verbose` tells.
    pub(crate) fn detail(&self, line: impl Into<Line>) {
        if self.verbose {
            tell(line);
        }
    }

    /// What goes wrong, or right again, while the command goes on: on stderr, also with `--quiet`.
    pub(crate) fn trouble(&self, line: impl Into<Line>) {
        tell(line);
    }

    /// What was warned of is no matter any more.
    pub(crate) fn forgive_warnings(&self) {
        self.met.warned.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_warned(&self) -> bool {
        self.met.warned.load(Ordering::Relaxed)
    }

    /// Damage or loss beside which the command goes on with the rest; makes the exit code 4. What a
    /// newer version wrote makes it 15, unless something is damaged, too. `finding` says the same
    /// in JSON.
    pub(crate) fn finding(&self, error: &Error, finding: &Finding) {
        let found = match error.kind() {
            ErrorKind::TooNew => &self.met.too_new,
            _ => &self.met.damaged,
        };
        found.store(true, Ordering::Relaxed);
        self.tell_finding(error, finding);
    }

    /// What is older than it was asked to be; makes the exit code 6, unless something is damaged.
    pub(crate) fn late(&self, error: &Error, finding: &Finding) {
        self.met.late.store(true, Ordering::Relaxed);
        self.tell_finding(error, finding);
    }

    pub(crate) fn has_found_late(&self) -> bool {
        self.met.late.load(Ordering::Relaxed)
    }

    fn tell_finding(&self, error: &Error, finding: &Finding) {
        if self.json {
            self.object(&finding.with_hint(error.hint().map(said)));
        }
        print_error(error);
    }

    pub(crate) fn has_found_damage(&self) -> bool {
        self.met.damaged.load(Ordering::Relaxed)
    }

    /// Whether something was found that a newer version wrote.
    pub(crate) fn has_found_newer(&self) -> bool {
        self.met.too_new.load(Ordering::Relaxed)
    }

    /// Whether there was any finding.
    pub(crate) fn has_found(&self) -> bool {
        self.has_found_damage() || self.has_found_newer()
    }

    /// Why the command did not come to its end, with all that is known about it. A stop that was
    /// asked for is no error.
    pub(crate) fn error(&self, error: &Error) {
        let kind = error.kind();
        if self.json {
            self.object(&Failure::of(error, next_step(error)));
        }
        if kind == ErrorKind::Interrupted && error.object().is_none() {
            tell(error.message());
            next_step(error).into_iter().for_each(|text| tell(hint(&text)));
            return;
        }
        print_error(error);
    }
}

pub(crate) fn print_error(error: &Error) {
    let mut text = format!(" {error}");
    for cause in causes(error) {
        text.push_str(": ");
        text.push_str(&cause);
    }
    tell(red("error:").then(text));
    if let Some(text) = next_step(error) {
        tell(hint(&text));
    }
}

/// What people may do about an error: what it says itself, or what helps with most of its kind.
fn next_step(error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::Interrupted => error.hint().map(said),
        _ => Some(usual_hint(error)),
    }
}

/// What an error says of the next step, or what helps with most of its kind.
pub(crate) fn usual_hint(error: &Error) -> String {
    if let Some(known) = error.hint() {
        return said(known);
    }
    let usual = match error.kind() {
        ErrorKind::Failure => {
            "try it again; if it stays so, report it with this message and `pagekeep --version`"
        }
        ErrorKind::Usage => "`pagekeep help COMMAND` tells what a command takes",
        ErrorKind::Damaged => {
            "`pagekeep verify` names all that is damaged, `pagekeep repair` says what can be done, and older commits may be whole"
        }
        ErrorKind::Source => {
            "see what `sqlite3 -readonly FILE 'PRAGMA integrity_check'` says; `pagekeep restore` brings an older state back"
        }
        ErrorKind::NoRepository => "check -r, and whether the disk is mounted",
        ErrorKind::Busy | ErrorKind::Superseded => "try again when the other one is done",
        ErrorKind::WrongKey => {
            "give a key of this repository: --key-file, --password-file or --recovery-key-file"
        }
        ErrorKind::Storage => {
            "check that the disk is mounted, and that this user may read and write there"
        }
        ErrorKind::NoSpace => "free some space and run it again; what was stored before is whole",
        ErrorKind::TooNew => "update pagekeep: a newer version wrote this",
        ErrorKind::NotFound => "`pagekeep snapshots` shows what there is",
        ErrorKind::Refused => "`pagekeep help COMMAND` tells which option insists, if one does",
        ErrorKind::Interrupted => "run it again",
    };
    usual.to_owned()
}

/// What the parser refuses, as an error in JSON: its first paragraph is the message.
pub(crate) fn print_usage_error(told: &str) {
    let message = told.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let error = Error::new(ErrorKind::Usage, message);
    let failure =
        Failure::of(&error, Some("`pagekeep help COMMAND` tells what it takes".to_owned()));
    // The exit code and standard error say it, too.
    let _ = json_line(&failure).and_then(|line| write_line(&mut anstream::stdout(), &line));
}

/// An answer as a line of JSON.
pub(crate) fn json_line(answer: &impl Answer) -> io::Result<Line> {
    Ok(printable_json(serde_json::to_string(&api::Line::of(answer))?).into())
}

pub(crate) fn unwritten(e: io::Error) -> Error {
    Error::io(e, "cannot be written", "standard output")
}

fn hint(text: &str) -> Line {
    bold("hint:").then(format_args!(" {text}"))
}

/// A line on stderr. There is nobody to tell when that fails.
fn tell(line: impl Into<Line>) {
    let _ = write_line(&mut anstream::stderr(), &line.into());
}

/// Whether a person reads the data.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether progress can be drawn.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// How many columns the terminal on stderr has.
pub(crate) fn stderr_width() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => 80,
    }
}

/// A moment to the second, where it selects no commit.
pub(crate) fn second(t: Timestamp) -> String {
    time(whole_second(t))
}

/// The second that a moment is in.
pub(crate) fn whole_second(t: Timestamp) -> Timestamp {
    Timestamp(t.0.saturating_sub(t.0.rem_euclid(1_000_000)))
}

/// How long ago a time was.
pub(crate) fn ago(t: Timestamp, now: Timestamp) -> String {
    match u64::try_from(now.0.saturating_sub(t.0) / 1_000_000) {
        Ok(seconds) => format!("{} ago", span(seconds)),
        Err(_) => "in the future".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 30), "1.0 GiB");
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "page"), "1 page");
        assert_eq!((quote("a/b.db"), quote("it's $5")), ("a/b.db".into(), r"'it'\''s $5'".into()));
        assert_eq!(ago(Timestamp(0), Timestamp(7_200_000_000)), "2 h ago");
    }
}
