//! What is wrong with a configuration: what, where, and what was perhaps meant.
//!
//! The one-line form goes where errors go; the picture shows the place as compilers do.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::error::{Error, ErrorKind};

/// The least likeness, from 0 to 1, of a word that was perhaps meant.
const LIKE: f64 = 0.7;

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Mistake {
    /// What is wrong, without the place.
    pub(crate) message: String,
    /// Which bytes of the file it is about.
    pub(crate) span: Range<usize>,
    /// What helps, if that is known.
    pub(crate) help: Option<String>,
}

impl Mistake {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span, help: None }
    }

    pub(super) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// What a value of a place is refused for.
    pub(super) fn of(span: Range<usize>, error: &Error) -> Self {
        let mistake = Self::new(span, error.to_string());
        match error.hint() {
            Some(hint) => mistake.with_help(hint.to_string()),
            None => mistake,
        }
    }

    /// What the reader of TOML says.
    pub(super) fn of_syntax(error: &toml::de::Error) -> Self {
        let message = error.message();
        let span = error.span().unwrap_or(0..0);
        let Some((unknown, known)) = unknown_field(message) else {
            return Self::new(span, message.lines().next().unwrap_or_default());
        };
        let mistake = Self::new(span, format!("there is no key `{unknown}` here"));
        match meant(unknown, known.iter().copied()) {
            Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
            None => {
                let mut seen = BTreeSet::new();
                let known: Vec<&str> =
                    known.into_iter().filter(|name| seen.insert(*name)).collect();
                mistake.with_help(format!("there are {}", known.join(", ")))
            }
        }
    }
}

/// The field that is unknown, and those that are known, from the words of serde.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// The word that is most like one, if any is like it.
pub(super) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(like, _)| *like >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// A configuration that is not to be used, and why.
#[derive(Debug)]
pub(crate) struct Mistaken {
    /// The file.
    pub(super) path: PathBuf,
    /// What it says.
    pub(super) text: String,
    /// What is wrong with that, in the order of the file; never none.
    pub(super) mistakes: Vec<Mistake>,
}

impl Mistaken {
    pub(super) fn new(path: &Path, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
        Self { path: path.to_owned(), text: text.to_owned(), mistakes }
    }

    /// A picture of each place.
    pub(crate) fn pictures(&self) -> Vec<String> {
        let renderer = Renderer::plain();
        let path = self.path.display().to_string();
        let picture = |mistake: &Mistake| {
            let place = AnnotationKind::Primary.span(self.shown(&mistake.span));
            let snippet = Snippet::source(&self.text).path(&path).annotation(place);
            let mut group = Level::ERROR.primary_title(&mistake.message).element(snippet);
            if let Some(help) = &mistake.help {
                group = group.element(Level::HELP.message(help));
            }
            renderer.render(&[group])
        };
        self.mistakes.iter().map(picture).collect()
    }

    /// Of a table only its heading, and nothing that is not in the text.
    fn shown(&self, span: &Range<usize>) -> Range<usize> {
        let start = span.start.min(self.text.len());
        let rest = self.text.get(start..span.end.min(self.text.len())).unwrap_or_default();
        start..start + rest.find('\n').unwrap_or(rest.len())
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, mistake: &Mistake) -> usize {
        let before = self.text.as_bytes().get(..mistake.span.start).unwrap_or_default();
        before.iter().filter(|&&b| b == b'\n').count() + 1
    }

    /// All that is wrong.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// All of it as one error, which names the first place.
    pub(crate) fn error(&self) -> Error {
        let [first, others @ ..] = self.mistakes.as_slice() else {
            return Error::new(ErrorKind::Usage, "cannot be used");
        };
        let more = match others.len() {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        let error = Error::new(ErrorKind::Usage, format!("{}{more}", first.message))
            .with_object(format!("{}:{}", self.path.display(), self.line(first)));
        match &first.help {
            Some(help) => error.with_hint(help.as_str()),
            None => error,
        }
    }
}
