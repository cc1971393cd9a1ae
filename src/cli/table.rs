//! Tables, as wide as the terminal is.

use std::io;

use chrono::Local;

use super::terminal::printable;
use crate::policy::clock::Listed;
use crate::types::Timestamp;

/// How few columns are worth going on in.
const NARROW: usize = 16;

/// How far in those cells of a row stand that found no room beside the first ones.
const BELOW: usize = 4;

/// How many columns there are for lines that stand `indent` columns in.
fn room(indent: usize) -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).saturating_sub(indent),
        _ => usize::MAX,
    }
}

/// A sentence that stands two columns in, in as many lines as it takes.
pub(crate) fn sentence(text: &str) -> Vec<String> {
    words_within(room(2), &printable(text)).iter().map(|line| format!("  {line}")).collect()
}

/// How a table with these times writes them, by this machine's clocks.
pub(crate) fn times(times: impl IntoIterator<Item = Timestamp>) -> Listed<Local> {
    Listed::of(times, Local)
}

/// Rows with aligned columns; the columns named in `right` are aligned to the right. On a terminal
/// that is too narrow the widest column of words goes on below itself, and if that does not help
/// each row takes several lines.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    // Tables stand two columns in.
    table_within(room(2), header, rows, right)
}

fn table_within(
    columns: usize,
    header: &[&str],
    rows: &[Vec<String>],
    right: &[usize],
) -> Vec<String> {
    // As they will be shown, so that they are as wide.
    let shown = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let of_column = |i: usize| rows.iter().filter_map(move |row| row.get(i));
    let cells: Vec<Column> = header
        .iter()
        .enumerate()
        .map(|(i, head)| Column {
            at: i,
            width: of_column(i).map(|c| width(c)).chain([width(head)]).max().unwrap_or(0),
            // Times and numbers are not broken.
            words: of_column(i)
                .any(|c| c.contains(' ') && !c.starts_with(|c: char| c.is_ascii_digit())),
            right: right.contains(&i),
        })
        .collect();
    let lines = fitted(columns, cells);
    let head: Vec<String> = header.iter().map(|&head| head.to_owned()).collect();
    std::iter::once(&head).chain(&rows).flat_map(|row| drawn(row, &lines)).collect()
}

/// A column, and how it is drawn.
#[derive(Clone, Copy)]
struct Column {
    at: usize,
    width: usize,
    words: bool,
    right: bool,
}

/// Which columns stand beside each other in which line of a row, and how wide.
fn fitted(columns: usize, mut cells: Vec<Column>) -> Vec<Vec<Column>> {
    let all = cells.iter().map(|c| c.width + 2).sum::<usize>().saturating_sub(2);
    if all <= columns {
        return vec![cells];
    }
    let widest = cells.iter_mut().filter(|c| c.words).max_by_key(|c| c.width);
    if let Some(c) = widest
        && let Some(room) = columns.saturating_add(c.width).checked_sub(all)
        && room >= NARROW
    {
        c.width = room;
        return vec![cells];
    }
    let mut lines: Vec<Vec<Column>> = vec![Vec::new()];
    let mut room = columns;
    for mut c in cells {
        let Some(line) = lines.last_mut() else { break };
        let gap = if line.is_empty() { 0 } else { 2 };
        let left = room.saturating_sub(gap);
        if c.width <= left || (c.words && left >= NARROW) {
            c.width = c.width.min(left);
            room = left - c.width;
            line.push(c);
            continue;
        }
        let below = columns.saturating_sub(BELOW);
        if c.words {
            c.width = c.width.min(below.max(NARROW));
        }
        room = below.saturating_sub(c.width);
        match line.is_empty() {
            true => line.push(c),
            false => lines.push(vec![c]),
        }
    }
    lines
}

/// A row, in as many lines as it takes.
fn drawn(row: &[String], lines: &[Vec<Column>]) -> Vec<String> {
    let mut drawn = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let cells: Vec<(Column, Vec<String>)> = line
            .iter()
            .map(|c| {
                let cell = row.get(c.at).map_or("", String::as_str);
                (*c, if c.words { words_within(c.width, cell) } else { vec![cell.to_owned()] })
            })
            .collect();
        if n > 0 && cells.iter().all(|(_, pieces)| pieces.iter().all(String::is_empty)) {
            continue;
        }
        let height = cells.iter().map(|(_, pieces)| pieces.len()).max().unwrap_or(0);
        for k in 0..height {
            let mut text = " ".repeat(if n > 0 { BELOW } else { 0 });
            for (i, (c, pieces)) in cells.iter().enumerate() {
                let piece = pieces.get(k).map_or("", String::as_str);
                let pad = " ".repeat(c.width.saturating_sub(width(piece)));
                let gap = if i > 0 { "  " } else { "" };
                match c.right {
                    true => text.extend([gap, &pad, piece]),
                    false => text.extend([gap, piece, &pad]),
                }
            }
            drawn.push(text.trim_end().to_owned());
        }
    }
    drawn
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A text in pieces of so many columns, broken between words where there are any.
fn words_within(room: usize, text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split(' ') {
        let Some(piece) = pieces.last_mut() else { break };
        if piece.is_empty() {
            piece.push_str(word);
        } else if (width(piece) + 1).saturating_add(width(word)) <= room {
            piece.push(' ');
            piece.push_str(word);
        } else {
            pieces.push(word.to_owned());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_on_below_themselves_where_a_terminal_is_narrow() {
        let why = "labelled \"before the migration\", the last commit of a day";
        let rows =
            [vec!["app@seq:1".to_owned(), why.to_owned()], vec!["app@seq:2".into(), "last".into()]];
        let within = |columns| table_within(columns, &["COMMIT", "WHY"], &rows, &[]);
        assert_eq!(
            within(40),
            [
                "COMMIT     WHY",
                "app@seq:1  labelled \"before the",
                "           migration\", the last commit",
                "           of a day",
                "app@seq:2  last"
            ]
        );
        assert_eq!(within(80).len(), 3, "wide enough");
        assert_eq!(within(usize::MAX), within(80), "no terminal");
    }

    #[test]
    fn a_row_takes_several_lines_where_its_columns_find_no_room() {
        let row = |label: &str| {
            vec!["seq:1".to_owned(), "2026-11-26 10:00:00.123456".into(), "12".into(), label.into()]
        };
        let rows = [row("before the big migration"), row("")];
        let within =
            |columns| table_within(columns, &["COMMIT", "TIME", "PAGES", "LABEL"], &rows, &[2]);
        assert_eq!(
            within(50),
            [
                "COMMIT  TIME                        PAGES",
                "    LABEL",
                "seq:1   2026-11-26 10:00:00.123456     12",
                "    before the big migration",
                "seq:1   2026-11-26 10:00:00.123456     12",
            ]
        );
        for columns in 30..100 {
            for line in within(columns) {
                assert!(width(&line) <= columns, "{columns}: {line}");
            }
        }
        assert!(within(1).len() > 3, "what nobody can read ends");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "10".into()], vec!["bcd".into(), "5".into()]];
        let lines = table(&["x", "n"], &rows, &[1]);
        assert_eq!(lines[1..], ["a    10", "bcd   5"]);
    }
}
