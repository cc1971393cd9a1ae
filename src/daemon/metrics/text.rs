//! The text format of Prometheus, version 0.0.4. It is written straight into one text, since ten
//! thousand databases make some hundred thousand lines, of which no tree of objects is needed.
//!
//! Invariant: all samples of a metric stand together, below what it means.

use std::fmt::{self, Display, Write};

use crate::types::Timestamp;

/// What a server says that its answer is.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// A value that goes up and down.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// A number that only grows, until the daemon begins again.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        // Writing to a text never fails.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

/// The samples of one metric.
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// One sample.
    pub(super) fn is(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.page.push_str(self.name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.page.push(if at == 0 { '{' } else { ',' });
            self.page.push_str(label);
            self.page.push_str("=\"");
            escape(self.page, text);
            self.page.push('"');
        }
        if !labels.is_empty() {
            self.page.push('}');
        }
        // Writing to a text never fails.
        let _ = writeln!(self.page, " {value}");
    }
}

/// Writes a label's value: what is no text between quotes is escaped.
fn escape(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            c => page.push(c),
        }
    }
}

/// A moment as seconds since 1970, exactly.
pub(super) struct Seconds(pub(super) Timestamp);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.0;
        let sign = if micros < 0 { "-" } else { "" };
        let (whole, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
        write!(f, "{sign}{whole}.{rest:06}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_name_a_line_stays_a_line() {
        let mut page = Page::default();
        page.gauge("a", "What it is.").is(&[("x", "q\"b\\s\nn\r\u{1b}ä"), ("y", "")], 3);
        page.counter("b_total", "How many.").is(&[], Seconds(Timestamp(-1_500_000)));
        assert_eq!(
            page.text(),
            "# HELP a What it is.\n# TYPE a gauge\na{x=\"q\\\"b\\\\s\\nn\r\u{1b}ä\",y=\"\"} 3\n\
             # HELP b_total How many.\n# TYPE b_total counter\nb_total -1.500000\n"
        );
    }
}
