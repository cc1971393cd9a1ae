//! What the prompt completes: words of SQL, and the names of tables and columns.

use rusqlite::Connection;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::cli::terminal::printable;

/// How many names are remembered.
const MOST: usize = 20_000;

const WORDS: [&str; 40] = [
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "COUNT",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "FULL",
    "GLOB",
    "GROUP",
    "HAVING",
    "IN",
    "INTERSECT",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "SELECT",
    "THEN",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
];

/// What stands before a table, so that no word of SQL can follow.
const BEFORE_TABLES: [&str; 2] = ["from", "join"];

/// The names that are completed, sorted.
pub(super) struct Names(Vec<String>);

impl Names {
    /// The names in all databases of a connection. Where they can't be read there are none, and
    /// who asks for a table gets the error.
    pub(super) fn of(connection: &Connection) -> Self {
        let sql = format!(
            "SELECT name FROM pragma_database_list WHERE name <> 'temp'
             UNION SELECT name FROM pragma_table_list WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^'
             UNION SELECT c.name FROM pragma_table_list t, pragma_table_xinfo(t.name, t.schema) c
             WHERE t.name NOT LIKE 'sqlite^_%' ESCAPE '^' LIMIT {MOST}"
        );
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = connection.prepare(&sql)?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            names.collect()
        };
        let mut names = read().unwrap_or_default();
        // What can't be typed is not completed.
        names.retain(|name| !name.is_empty() && printable(name) == *name);
        names.sort();
        Self(names)
    }

    /// Where the word begins that is being typed, and what it may become.
    fn completed(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = line.get(..at).unwrap_or_default();
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let begin = before.char_indices().rev().take_while(|(_, c)| part(*c)).last();
        let begin = begin.map_or(at, |(begin, _)| begin);
        let typed = before.get(begin..).unwrap_or_default().to_lowercase();
        if typed.is_empty() {
            return (begin, Vec::new());
        }
        let fits = |name: &str| name.to_lowercase().starts_with(&typed);
        let written = |name: &String| match name.chars().all(part) {
            true => name.clone(),
            false => format!("\"{}\"", name.replace('"', "\"\"")),
        };
        let mut found: Vec<String> = self.0.iter().filter(|name| fits(name)).map(written).collect();
        let previous = before.get(..begin).unwrap_or_default().split_whitespace().next_back();
        let previous = previous.unwrap_or_default().to_lowercase();
        if !BEFORE_TABLES.contains(&previous.as_str()) {
            found.extend(WORDS.into_iter().filter(|word| fits(word)).map(str::to_owned));
        }
        found.dedup();
        (begin, found)
    }
}

impl Completer for Names {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.completed(line, at))
    }
}

impl Helper for Names {}
impl Highlighter for Names {}
impl Validator for Names {}

impl Hinter for Names {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_columns_and_words_are_completed() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE orders(id, \"ordered at\", \"bad\u{1b}[2J\"); CREATE VIEW open_orders AS SELECT id FROM orders",
        )
        .unwrap();
        let names = Names::of(&db);
        let complete = |line: &str| names.completed(line, line.len());
        assert_eq!(
            complete("SELECT * FROM ord"),
            (14, vec!["\"ordered at\"".to_owned(), "orders".to_owned()])
        );
        assert_eq!(
            complete("SELECT ord").1,
            ["\"ordered at\"".to_owned(), "orders".to_owned(), "ORDER".to_owned()]
        );
        assert_eq!(complete("sel"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(complete("main.open"), (5, vec!["open_orders".to_owned()]));
        assert_eq!(complete("SELECT bad").1, [""; 0]);
        assert_eq!(complete("SELECT ").1, [""; 0]);
    }
}
