//! Evidence in its three forms: JSON, and pages for people as text and as HTML. Each test is
//! written as it comes.
//!
//! Invariant: the pages say all that the JSON says, but for the sums that repeat it.

use std::io::{self, Write};

use serde::Serialize;

use super::document::{Foot, Gap, Head, Point, Proven, TYPE, Told, VERSION};
use crate::api::evidence::TestTally;
use crate::cli::args::EvidenceFormat;
use crate::cli::disaster_kit::escaped;
use crate::cli::output::{bytes, count, counted, span, time};
use crate::cli::terminal::printable;
use crate::format::proof::Level;

/// Writes evidence.
pub(super) struct Page<W> {
    to: W,
    format: EvidenceFormat,
    /// Whether a test was written.
    began: bool,
}

impl<W: Write> Page<W> {
    /// Writes what stands before the tests.
    pub(super) fn begin(to: W, format: EvidenceFormat, head: &Head) -> io::Result<Self> {
        let mut page = Self { to, format, began: false };
        if format == EvidenceFormat::Json {
            write!(page.to, "{{\n  \"type\": \"{TYPE}\",\n  \"version\": {VERSION}")?;
            page.member("made", &head.made)?;
            page.member("history", &head.history)?;
            page.member("span", &head.span)?;
            page.member("commits", &head.commits)?;
            page.member("ledger", &head.ledger)?;
            write!(page.to, ",\n  \"tests\": [")?;
            return Ok(page);
        }
        if format == EvidenceFormat::Html {
            let name = escaped(&printable(&head.history.name));
            write!(
                page.to,
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Evidence of tests of {name}</title>\n\
                 <style>body{{font:16px/1.5 serif;max-width:50em;margin:2em auto}}.bad{{font-weight:bold}}p{{margin:.3em 0}}</style>\n",
            )?;
        }
        page.heading("h1", &format!("Evidence of tests of {}", head.history.name))?;
        page.introduce(head)?;
        page.heading("h2", "Tests")?;
        Ok(page)
    }

    fn introduce(&mut self, head: &Head) -> io::Result<()> {
        let Head { made, history, span, commits, ledger } = head;
        self.row("history", &format!("{} ({})", history.name, history.id))?;
        self.row(
            "database",
            &format!(
                "{} on {}, kept since {}",
                history.source,
                history.host,
                time(history.created)
            ),
        )?;
        self.row("repository", &format!("{} ({})", history.location, history.repository))?;
        self.row("made", &format!("{} on {} by {}", time(made.at), made.host, made.program))?;
        self.row("signed by", &format!("the key of master key {}", made.master_key))?;
        self.row("time told of", &format!("{} to {}", time(span.since), time(span.until)))?;
        self.row("restore points", &count(commits.restore_points))?;
        let point = |point: &Option<Point>| match point {
            Some(Point { seq, time: when, digest }) => {
                format!("seq:{seq} of {}, digest {digest}", time(*when))
            }
            None => "none".to_owned(),
        };
        self.row("first", &point(&commits.first))?;
        self.row("last", &point(&commits.last))?;
        if commits.holes > 0 {
            self.row("holes", &format!("{} in the chain of commits", count(commits.holes)))?;
        }
        if let Some(chain) = &commits.chain {
            self.row("chain", &format!("segment {}, digest {}", chain.segment, chain.digest))?;
        }
        let known = ledger.known_since.map_or("not known there".to_owned(), |since| {
            format!("which knows this database since {}", time(since))
        });
        self.row("daemon's ledger", &format!("{}, {known}", ledger.file))
    }

    /// Writes a test.
    pub(super) fn test(&mut self, test: &Told) -> io::Result<()> {
        let is_first = !std::mem::replace(&mut self.began, true);
        if self.format == EvidenceFormat::Json {
            write!(self.to, "{}\n    ", if is_first { "" } else { "," })?;
            return json(&mut self.to, test);
        }
        let who = match (test.job, &test.host) {
            (Some(job), Some(host)) => format!("job {job} on {host}"),
            (Some(job), None) => format!("job {job}"),
            (None, Some(host)) => format!("no job of the daemon, on {host}"),
            (None, None) => test.from.to_owned(),
        };
        let ended = test.ended.map_or(String::new(), |ended| format!(" to {}", time(ended)));
        let (level, result) = (test.level.name(), test.result.to_uppercase());
        let title = format!("{result}  {level}  {}{ended}  ({who})", time(test.began));
        self.paragraph(test.result != "passed", &title)?;
        if let Some(message) = &test.message {
            self.detail(message)?;
        }
        if let Some(method) = &test.method {
            let sample = method.sample_ppm.map_or(String::new(), |ppm| {
                format!("a sample of {} of the batches, ", percent(ppm))
            });
            let version = &method.version;
            let seconds = method.max_seconds;
            self.detail(&format!("by pagekeep {version}: {sample}{seconds} s at most"))?;
            for assertion in &method.assertions {
                self.detail(&format!("asserts {assertion}"))?;
            }
        }
        for proof in &test.proofs {
            self.detail(&proven(test.level, proof))?;
        }
        Ok(())
    }

    /// Writes what stands behind the tests; the signature comes next.
    pub(super) fn end(mut self, foot: &Foot) -> io::Result<W> {
        if self.format == EvidenceFormat::Json {
            write!(self.to, "{}]", if self.began { "\n  " } else { "" })?;
            self.member("longest_wished_seconds", &foot.longest_wished_seconds)?;
            self.list("gaps", &foot.gaps)?;
            self.list("unread", &foot.unread)?;
            self.member("tally", &foot.tally)?;
            return Ok(self.to);
        }
        if !self.began {
            self.paragraph(true, "There was no test.")?;
        }
        self.heading("h2", "Sums")?;
        for (name, n) in sums(&foot.tally) {
            self.row(name, &count(n))?;
        }
        let wished = span(foot.longest_wished_seconds);
        self.heading("h2", &format!("Stretches of more than {wished} without a test"))?;
        if foot.gaps.is_empty() {
            self.paragraph(false, "None.")?;
        }
        for Gap { level, from, to, .. } in &foot.gaps {
            let what = if *level == "any" { "any test" } else { "a test of a restore" };
            self.paragraph(true, &format!("{} to {}: without {what}", time(*from), time(*to)))?;
        }
        if !foot.unread.is_empty() {
            self.heading("h2", "Not read")?;
        }
        for text in &foot.unread {
            self.paragraph(true, text)?;
        }
        Ok(self.to)
    }

    fn member(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        write!(self.to, ",\n  \"{name}\": ")?;
        json(&mut self.to, value)
    }

    /// A list with a line for each, so that no line is longer than one of them.
    fn list(&mut self, name: &str, values: &[impl Serialize]) -> io::Result<()> {
        write!(self.to, ",\n  \"{name}\": [")?;
        for (at, value) in values.iter().enumerate() {
            write!(self.to, "{}\n    ", if at == 0 { "" } else { "," })?;
            json(&mut self.to, value)?;
        }
        write!(self.to, "{}]", if values.is_empty() { "" } else { "\n  " })
    }

    fn heading(&mut self, level: &str, text: &str) -> io::Result<()> {
        let text = printable(text);
        match self.format {
            EvidenceFormat::Html => writeln!(self.to, "<{level}>{}</{level}>", escaped(&text)),
            _ => {
                let gap = if level == "h1" { "" } else { "\n" };
                writeln!(self.to, "{gap}{text}\n{}", "=".repeat(text.chars().count()))
            }
        }
    }

    fn row(&mut self, name: &str, value: &str) -> io::Result<()> {
        let value = printable(value);
        match self.format {
            EvidenceFormat::Html => writeln!(self.to, "<p>{name}: {}</p>", escaped(&value)),
            _ => writeln!(self.to, "{name:<16} {value}"),
        }
    }

    fn paragraph(&mut self, is_bad: bool, text: &str) -> io::Result<()> {
        let text = printable(text);
        match self.format {
            EvidenceFormat::Html => {
                let class = if is_bad { " class=\"bad\"" } else { "" };
                writeln!(self.to, "<p{class}>{}</p>", escaped(&text))
            }
            _ => writeln!(self.to, "{text}"),
        }
    }

    fn detail(&mut self, text: &str) -> io::Result<()> {
        let text = printable(text);
        match self.format {
            EvidenceFormat::Html => writeln!(self.to, "<p>&emsp;{}</p>", escaped(&text)),
            _ => writeln!(self.to, "    {text}"),
        }
    }
}

fn json(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(to, value).map_err(io::Error::from)
}

/// How many tests ended how.
pub(super) fn sums(tally: &TestTally) -> [(&'static str, u64); 8] {
    [
        ("tests", tally.tests),
        ("passed", tally.passed),
        ("failed", tally.failed),
        ("not done", tally.not_done),
        ("stopped", tally.stopped),
        ("interrupted", tally.interrupted),
        ("still running", tally.running),
        ("unknown", tally.unknown),
    ]
}

fn percent(ppm: u32) -> String {
    format!("{:.1}%", f64::from(ppm) / 1e4)
}

/// What was found of a commit, in a line.
fn proven(level: Level, proof: &Proven) -> String {
    let (seq, digest) = (proof.seq, proof.digest);
    let part = percent(proof.coverage_ppm);
    let looked = match level {
        Level::Chain => format!("up to seq:{seq}, digest {digest}"),
        Level::Data => format!("up to seq:{seq}, digest {digest}: {part} of the batches"),
        Level::Restore => format!(
            "seq:{seq}, digest {digest}: {part} of the checks, {} held",
            counted(proof.assertions_held.into(), "assertion")
        ),
    };
    let failure = proof.failure.as_ref().map_or(String::new(), |why| format!("; failed: {why}"));
    let stored = if proof.in_repository { "; the repository has this proof" } else { "" };
    format!(
        "{looked}, {} compared, {:.1} s{stored}{failure}",
        bytes(proof.page_bytes),
        proof.seconds
    )
}
