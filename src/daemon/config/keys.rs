//! A table whose keys depend on one of them: the keys are read by their names, and those that
//! nobody asked for are mistakes.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::mistake::{Mistake, meant};
use super::notify_text::{TableText, ValueText};
use super::plan::Reader;
use super::source::TextSource;

/// Reads one.
pub(super) struct Keys<'a> {
    table: &'a TableText,
    /// Which place mistakes are about that no key has.
    pub(super) span: Range<usize>,
    folder: &'a Path,
    /// The keys that were asked for.
    known: Vec<String>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(table: &'a TableText, span: Range<usize>, folder: &'a Path) -> Self {
        Self { table, span, folder, known: Vec::new() }
    }

    fn value(&mut self, key: &str) -> Option<&'a Spanned<ValueText>> {
        self.known.push(key.to_owned());
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// A text that is not empty, and its place.
    pub(super) fn text(&mut self, reader: &mut Reader<'_>, key: &str) -> Option<Spanned<String>> {
        let value = self.value(key)?;
        match value.get_ref() {
            ValueText::Text(text) if text.is_empty() => {
                reader.wrong(Mistake::new(value.span(), format!("`{key}` is empty")));
                None
            }
            ValueText::Text(text) => Some(Spanned::new(value.span(), text.clone())),
            _ => {
                reader.wrong(Mistake::new(value.span(), format!("`{key}` is a text")));
                None
            }
        }
    }

    /// A text that has to be there.
    pub(super) fn needed(&mut self, reader: &mut Reader<'_>, key: &str) -> Option<Spanned<String>> {
        if self.value(key).is_none() {
            reader.wrong(Mistake::new(self.span.clone(), format!("`{key}` is missing")));
        }
        self.text(reader, key)
    }

    pub(super) fn flag(&mut self, reader: &mut Reader<'_>, key: &str) -> bool {
        match self.value(key).map(|value| (value.get_ref(), value.span())) {
            Some((ValueText::Flag(flag), _)) => *flag,
            Some((_, span)) => {
                reader.wrong(Mistake::new(span, format!("`{key}` is true or false")));
                false
            }
            None => false,
        }
    }

    /// A port of TCP.
    pub(super) fn port(&mut self, reader: &mut Reader<'_>, key: &str) -> Option<u16> {
        let value = self.value(key)?;
        let port = match value.get_ref() {
            ValueText::Number(n) => u16::try_from(*n).ok().filter(|n| *n > 0),
            _ => None,
        };
        if port.is_none() {
            reader.wrong(Mistake::new(value.span(), format!("`{key}` is from 1 to 65535")));
        }
        port
    }

    /// One or several texts; never none.
    pub(super) fn texts(&mut self, reader: &mut Reader<'_>, key: &str) -> Vec<Spanned<String>> {
        let Some(value) = self.value(key) else {
            reader.wrong(Mistake::new(self.span.clone(), format!("`{key}` is missing")));
            return Vec::new();
        };
        let texts = match value.get_ref() {
            ValueText::Text(text) => vec![text.clone()],
            ValueText::List(texts) => texts.clone(),
            _ => Vec::new(),
        };
        if texts.is_empty() {
            reader.wrong(Mistake::new(value.span(), format!("`{key}` is a list of texts")));
        }
        texts.into_iter().map(|text| Spanned::new(value.span(), text)).collect()
    }

    /// A text that comes from elsewhere: `KEY-file`, `KEY-env`, `KEY-command`, and `KEY` itself
    /// where it is no secret. Also its place.
    pub(super) fn source(
        &mut self,
        reader: &mut Reader<'_>,
        key: &str,
        is_secret: bool,
    ) -> Option<(TextSource, Range<usize>)> {
        let value = if is_secret { self.value(key) } else { None };
        if let Some(value) = value {
            let what = format!("`{key}` is a secret, and never stands in the configuration");
            let mistake = Mistake::new(value.span(), what);
            reader.wrong(
                mistake
                    .with_help(format!("{key}-file, {key}-env or {key}-command says where it is")),
            );
        } else if is_secret {
            // It is none of those that there are.
            self.known.pop();
        }
        let plain = if is_secret { None } else { self.text(reader, key) };
        let file = self.text(reader, &format!("{key}-file"));
        let env = self.text(reader, &format!("{key}-env"));
        let command = self.text(reader, &format!("{key}-command"));
        let folder = self.folder;
        let mut given = plain
            .map(|text| (TextSource::Plain(text.get_ref().clone()), text.span()))
            .into_iter()
            .chain(file.map(|f| (TextSource::File(folder.join(f.get_ref())), f.span())))
            .chain(env.map(|env| (TextSource::Env(env.get_ref().clone()), env.span())))
            .chain(command.map(|c| (TextSource::Command(c.get_ref().clone()), c.span())));
        let first = given.next();
        for (_, span) in given {
            reader.wrong(Mistake::new(span, format!("there is more than one {key}")));
        }
        first
    }

    /// As [`Keys::source`], for what has to be there.
    pub(super) fn needed_source(
        &mut self,
        reader: &mut Reader<'_>,
        key: &str,
        is_secret: bool,
    ) -> Option<(TextSource, Range<usize>)> {
        let before = reader.mistakes.len();
        let source = self.source(reader, key, is_secret);
        if source.is_none() && reader.mistakes.len() == before {
            let what = format!("it is not said what the {key} is");
            let plain = if is_secret { String::new() } else { format!("{key}, ") };
            let help = format!("{plain}{key}-file, {key}-env or {key}-command says it");
            reader.wrong(Mistake::new(self.span.clone(), what).with_help(help));
        }
        source
    }

    /// Tells of keys that nobody asked for.
    pub(super) fn end(self, reader: &mut Reader<'_>, of: &str) {
        for name in self.table.keys() {
            if self.known.iter().any(|known| known == name.get_ref()) {
                continue;
            }
            let what = format!("there is no key `{}` for {of}", name.get_ref());
            let mistake = Mistake::new(name.span(), what);
            let known = self.known.iter().map(String::as_str);
            reader.wrong(match meant(name.get_ref(), known) {
                Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
                None => mistake.with_help(format!("there are {}", self.known.join(", "))),
            });
        }
    }
}
