//! The outermost edge: text goes to standard output and standard error only through here.
//!
//! Paths, names of tables, labels and messages come from whoever may write them, and a terminal
//! obeys what it is sent. Invariants: no character of a text reaches standard output or standard
//! error raw unless it can be printed, not even the end of a line; style is given apart from the
//! text, so that no text brings its own. JSON keeps every character, escaped. CSV keeps them raw,
//! and only where standard output is no terminal.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::Errno;

/// How long a pipe's reader may take before it is believed to read in the end.
const READER: Duration = Duration::from_secs(5);

/// How a piece of a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Bold,
    Yellow,
    Red,
}

impl Style {
    fn sequence(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("\x1b[1m"),
            Self::Yellow => Some("\x1b[33m"),
            Self::Red => Some("\x1b[1;31m"),
        }
    }
}

/// A line, in pieces of one style each. Any text is a plain one.
#[derive(Clone, Debug)]
pub(crate) struct Line(Vec<(Style, String)>);

pub(crate) fn bold(text: impl Display) -> Line {
    Line(vec![(Style::Bold, text.to_string())])
}

pub(crate) fn yellow(text: impl Display) -> Line {
    Line(vec![(Style::Yellow, text.to_string())])
}

pub(crate) fn red(text: impl Display) -> Line {
    Line(vec![(Style::Red, text.to_string())])
}

impl<T: Display> From<T> for Line {
    fn from(text: T) -> Self {
        Self(vec![(Style::Plain, text.to_string())])
    }
}

impl Line {
    /// The line with more behind it.
    #[must_use]
    pub(crate) fn then(mut self, more: impl Into<Self>) -> Self {
        self.0.extend(more.into().0);
        self
    }

    /// What a terminal is sent, without the end of the line.
    fn rendered(&self) -> String {
        let mut text = String::new();
        for (style, piece) in &self.0 {
            let piece = printable(piece);
            match style.sequence() {
                Some(sequence) => text.extend([sequence, &piece, "\x1b[0m"]),
                None => text.push_str(&piece),
            }
        }
        text
    }
}

/// Text that a terminal only shows: what can't be printed becomes `\n` or `\u{1b}`, as in a Rust
/// string.
pub(crate) fn printable(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}

/// A line of JSON in which every character can be printed. It says the same: JSON has such
/// characters in strings only.
pub(crate) fn printable_json(json: String) -> String {
    if is_plain(&json) {
        return json;
    }
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if is_printable(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // A string takes everything.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Whether all of a text is printable ASCII, as most is: that is told at once.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// As Rust's library judges it: no control characters, no marks that turn the direction of writing,
/// nothing invisible but the space, nothing unassigned. Accents that combine with the letter before
/// them are printed.
fn is_printable(c: char) -> bool {
    c.is_ascii_graphic() || c == ' ' || {
        // Behind a letter, where what combines is not escaped for standing alone.
        let mut buffer = String::from("a");
        buffer.push(c);
        !c.is_ascii() && buffer.escape_debug().nth(2).is_none()
    }
}

/// Writes a line to standard output, or standard error, at once, and in colour if that is wanted.
pub(crate) fn write_line(to: &mut impl Write, line: &Line) -> io::Result<()> {
    let mut text = line.rendered();
    text.push('\n');
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Writes text that a program reads, with the end of a line behind it. Never to a terminal.
pub(crate) fn write_raw(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.write_all(b"\n")?;
    to.flush()
}

/// Whether standard output is the null device: by intention, or since it was closed when the
/// process began.
pub(crate) fn is_nowhere() -> bool {
    let device = |stat: rustix::fs::Stat| stat.st_rdev;
    let null = rustix::fs::stat("/dev/null").map(device);
    let out = rustix::fs::fstat(io::stdout()).map(device);
    matches!((null, out), (Ok(null), Ok(out)) if null == out)
}

/// Waits until what was written to standard output is where it goes to: on the disk, or taken out
/// of a pipe by its reader. A reader that holds the pipe for long and reads nothing is believed to
/// read in the end; one that went away has not read.
pub(crate) fn settle(stop: impl Fn() -> bool) -> io::Result<()> {
    let out = io::stdout();
    out.lock().flush()?;
    match FileType::from_raw_mode(rustix::fs::fstat(&out)?.st_mode) {
        FileType::RegularFile => match rustix::fs::fsync(&out) {
            // A file system without it.
            Err(Errno::INVAL | Errno::ROFS) => Ok(()),
            synced => Ok(synced?),
        },
        FileType::Fifo => taken(&out, &stop),
        _ => Ok(()),
    }
}

fn taken(pipe: &impl AsFd, stop: &dyn Fn() -> bool) -> io::Result<()> {
    let began = Instant::now();
    while rustix::io::ioctl_fionread(pipe)? > 0 && began.elapsed() < READER {
        let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let mut gone = [PollFd::new(pipe, PollFlags::empty())];
        match poll(&mut gone, Some(&tick)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(e) => return Err(e.into()),
        }
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_a_terminal_obeys_is_shown_and_what_people_write_stays() {
        for plain in ["a/b c.db", "größer", "e\u{301}", "Ω≈ç 日本 🦀", "it's \"x\" \\ ~"]
        {
            assert_eq!(printable(plain), plain);
        }
        for (bad, shown) in [
            ("\x1b[2J", r"\u{1b}[2J"),
            ("a\nb\r\tc\0", r"a\nb\r\tc\u{0}"),
            ("\x7f\u{9b}31m", r"\u{7f}\u{9b}31m"),
            ("x\u{202e}y\u{2066}\u{200b}", r"x\u{202e}y\u{2066}\u{200b}"),
            ("\u{2028}\u{feff}\u{e000}\u{fdd0}", r"\u{2028}\u{feff}\u{e000}\u{fdd0}"),
        ] {
            assert_eq!(printable(bad), shown);
        }
    }

    #[test]
    fn no_text_brings_its_own_style_or_end_of_line() {
        let line = bold("app\x1b[31m").then("  x\nerror: ").then(red("y"));
        let mut written = Vec::new();
        write_line(&mut written, &line).unwrap();
        let expected = "\x1b[1mapp\\u{1b}[31m\x1b[0m  x\\nerror: \x1b[1;31my\x1b[0m\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn json_says_the_same_and_can_be_printed() {
        let value = json!({"object": "a\x1b\u{9b}\u{7f}\u{202e}\u{e0041}\"é\n"});
        let shown = printable_json(value.to_string());
        assert!(shown.chars().all(is_printable), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
