//! A prompt: statements over as many lines as they take, one after the other, until the end of
//! input.
//!
//! What was typed is remembered as long as the prompt is there, and not longer: SQL may hold what
//! the repository keeps secret.

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use super::Session;
use super::complete::Names;
use crate::cli::output::time;
use crate::cli::progress::take_stop;
use crate::error::{Error, ErrorKind, Result};

const FIRST: &str = "pagekeep> ";
const NEXT: &str = "     ...> ";

const HELP: &str = "\
SQL ends with ;  .tables  .schema [TABLE]  .help  .quit";

/// Asks for statements and answers them. `others` are the names of attached moments.
pub(super) fn run(session: &Session<'_>, others: &[&str]) -> Result<()> {
    let out = &session.context.out;
    let selected = session.selected;
    out.note(format_args!(
        "{}@seq:{}, captured {}; {HELP}",
        selected.history.name(),
        selected.commit.seq,
        time(selected.commit.record.time)
    ));
    if !others.is_empty() {
        out.note(format_args!("attached: {}", others.join(", ")));
    }
    let config = Config::builder().auto_add_history(false).build();
    let mut editor: Editor<Names, MemHistory> =
        Editor::with_history(config, MemHistory::new()).map_err(failed)?;
    editor.set_helper(Some(Names::of(session.asked.connection())));
    let mut typed = String::new();
    loop {
        let line = match editor.readline(if typed.is_empty() { FIRST } else { NEXT }) {
            Ok(line) => line,
            // Ctrl-C leaves what is half typed, and the prompt stays.
            Err(ReadlineError::Interrupted) => {
                typed.clear();
                continue;
            }
            Err(ReadlineError::Eof) => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        if typed.is_empty() && line.trim().is_empty() {
            continue;
        }
        if !typed.is_empty() {
            typed.push('\n');
        }
        typed.push_str(&line);
        let command = typed.trim();
        if !command.starts_with('.') && !is_whole(command) {
            continue;
        }
        // Without memory for it there is no history.
        let _ = editor.add_history_entry(command.replace('\n', " "));
        let done = match command {
            ".quit" | ".exit" => return Ok(()),
            ".help" => {
                out.line(HELP);
                Ok(())
            }
            command => session.answer(&translated(command)),
        };
        // A stop was for the statement. What is wrong with one is no reason to end.
        take_stop();
        if let Err(e) = done {
            out.error(&e);
        }
        typed.clear();
    }
}

/// Whether SQL ends with a semicolon that is not within a text, a name or a comment.
fn is_whole(sql: &str) -> bool {
    let mut rest = sql.chars().peekable();
    let mut ended = false;
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' | '`' => {
                ended = false;
                // A quote that is doubled ends one text and begins the next.
                if !rest.by_ref().any(|other| other == c) {
                    return false;
                }
            }
            '[' => {
                ended = false;
                if !rest.by_ref().any(|other| other == ']') {
                    return false;
                }
            }
            '-' if rest.peek() == Some(&'-') => {
                // Up to the end of the line, or of all.
                rest.by_ref().any(|other| other == '\n');
            }
            '/' if rest.peek() == Some(&'*') => {
                rest.next();
                let mut before = ' ';
                let ends = |other| std::mem::replace(&mut before, other) == '*' && other == '/';
                if !rest.by_ref().any(ends) {
                    return false;
                }
            }
            ';' => ended = true,
            c if c.is_whitespace() => {}
            _ => ended = false,
        }
    }
    ended
}

/// What a command asks, as SQL.
fn translated(command: &str) -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    match command.split_once(char::is_whitespace).unwrap_or((command, "")) {
        (".tables", _) => "SELECT schema, name, type FROM pragma_table_list \
             WHERE schema <> 'temp' AND name NOT LIKE 'sqlite^_%' ESCAPE '^' ORDER BY 1, 2"
            .to_owned(),
        (".schema", "") => {
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name"
                .to_owned()
        }
        (".schema", table) => format!(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name = {} COLLATE NOCASE \
             ORDER BY type DESC, name",
            text(table.trim())
        ),
        _ => command.to_owned(),
    }
}

fn failed(e: ReadlineError) -> Error {
    Error::new(ErrorKind::Failure, "the terminal cannot be read").with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_its_semicolon_and_no_other() {
        for whole in [
            "SELECT 1;",
            "SELECT 1; -- so",
            "SELECT 'it''s;' ;",
            "SELECT \"a;b\", [c;d], `e`;\n",
            "SELECT 1 /* ; */ ;",
            "SELECT 1;;",
            "SELECT 5 - 3 / 2;",
        ] {
            assert!(is_whole(whole), "{whole}");
        }
        for half in [
            "SELECT 1",
            "SELECT ';",
            "SELECT ';'",
            "SELECT 1 -- ;",
            "SELECT 1 /* ;",
            "SELECT 1; SELECT 2",
            "SELECT [a;",
            "SELECT 1 /*/ ;",
            "",
        ] {
            assert!(!is_whole(half), "{half}");
        }
    }

    #[test]
    fn commands_are_questions_in_which_no_text_is_sql() {
        assert!(translated(".schema it's").contains("tbl_name = 'it''s'"));
        assert_eq!(translated("SELECT 1;"), "SELECT 1;");
    }
}
