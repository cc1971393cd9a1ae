//! The tables of a database: their columns, and what tells their rows apart.
//!
//! | table | its rows are told apart by |
//! |---|---|
//! | with an INTEGER PRIMARY KEY | that column |
//! | any other one with rowids | the rowid; a PRIMARY KEY that is none may have NULL in it, again and again |
//! | WITHOUT ROWID | its primary key, in the order of the key's collations |
//! | FTS, R-tree | the rowid; the tables that they keep their data in are no tables of their own |
//!
//! Generated columns are left out: they follow from the others. So are the optimizer's statistics
//! (`sqlite_stat1`), which follow from the rows.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, ErrorCode, Row};

use super::cell::quoted;
use super::collation::{Collation, Encoding};
use super::record::{Layout, Stored};
use crate::sqlite::answer::{message, text};

/// Virtual tables whose content is rows that can be written as they were read.
const MODULES: [&str; 5] = ["fts3", "fts4", "fts5", "rtree", "rtree_i32"];

/// The table in which SQLite keeps the largest rowids of AUTOINCREMENT tables.
pub(crate) const SEQUENCES: &str = "sqlite_sequence";

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// The statement that made it.
    pub(crate) sql: String,
    /// The root page of its tree; zero for a virtual table.
    pub(crate) root: u32,
    /// Its columns, but for generated and hidden ones.
    pub(crate) columns: Vec<String>,
    /// What tells its rows apart.
    pub(crate) key: Key,
    /// The columns of the primary key that it was declared with, in their order.
    pub(crate) primary: Vec<String>,
    /// The columns that its unique indexes depend on; `None` if there is one of which they can't be
    /// told: of an expression, of a generated column, or of a part of the rows.
    pub(crate) unique: Option<HashSet<String>>,
    /// Whether a module keeps its rows.
    pub(crate) is_virtual: bool,
    /// The tables that a virtual table keeps its data in.
    pub(crate) shadows: Vec<String>,
    /// Their roots.
    pub(crate) shadow_roots: Vec<u32>,
    /// How its rows are stored, if they can be read without SQLite.
    pub(crate) layout: Option<Layout>,
}

/// What tells the rows of a table apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// An integer: the rowid, by the name that SQL has for it.
    Rowid(String),
    /// The columns of a primary key.
    Columns(Vec<Part>),
    /// Nothing that could be asked for, for this reason.
    None(String),
}

/// A column of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The column.
    pub(crate) column: String,
    /// How its texts are ordered.
    pub(crate) collation: Collation,
    /// The collation's name.
    pub(crate) collation_name: String,
    /// Whether large values come first.
    pub(crate) descends: bool,
}

impl Table {
    /// The names of the columns that tell rows apart.
    pub(crate) fn key_names(&self) -> Vec<String> {
        match &self.key {
            Key::Rowid(name) => vec![name.clone()],
            Key::Columns(parts) => parts.iter().map(|part| part.column.clone()).collect(),
            Key::None(_) => Vec::new(),
        }
    }

    /// Where the columns that tell rows apart are among all columns; `None` if one is none of them.
    pub(crate) fn key_places(&self) -> Option<Vec<usize>> {
        let place = |name: &String| self.columns.iter().position(|column| column == name);
        self.key_names().iter().map(place).collect()
    }

    /// Whether rows are told apart by a rowid that is none of the columns.
    pub(crate) fn has_own_rowid(&self) -> bool {
        matches!(&self.key, Key::Rowid(name) if !self.columns.contains(name))
    }

    /// Whether `VACUUM` may give its rows other rowids.
    /// Modules keep theirs as integer primary keys.
    pub(crate) fn rowids_may_move(&self) -> bool {
        self.has_own_rowid() && !self.is_virtual
    }

    /// Why its rows can't be compared; `None` if they can.
    pub(crate) fn why_not(&self) -> Option<&str> {
        match &self.key {
            Key::None(why) => Some(why),
            _ => None,
        }
    }
}

/// Something else in a schema: an index, a trigger or a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// `index`, `trigger` or `view`.
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
    /// The table that it belongs to.
    pub(crate) table: String,
    /// The statement that made it.
    pub(crate) sql: String,
}

/// What a database has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema {
    /// Its tables, by name.
    pub(crate) tables: BTreeMap<String, Table>,
    /// Everything else, as it was made.
    pub(crate) objects: Vec<Object>,
}

/// Reads a schema.
///
/// # Errors
/// SQLite's.
pub(crate) fn schema(db: &Connection) -> rusqlite::Result<Schema> {
    let encoding: String = db.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    let encoding = Encoding::named(&encoding).unwrap_or(Encoding::Utf8);
    let listed = listed(db)?;
    let shadows: Vec<&Listed> = listed.iter().filter(|l| l.kind == "shadow").collect();
    let mut tables = BTreeMap::new();
    for entry in listed.iter().filter(|l| l.kind == "table" || l.kind == "virtual") {
        let mut table = read(db, entry, encoding)?;
        table.layout = layout(db, &table, encoding)?;
        if table.is_virtual {
            let prefix = format!("{}_", entry.name.to_ascii_lowercase());
            let own = |shadow: &&&Listed| shadow.name.to_ascii_lowercase().starts_with(&prefix);
            table.shadows = shadows.iter().filter(own).map(|l| l.name.clone()).collect();
            table.shadow_roots = shadows.iter().filter(own).map(|l| l.root).collect();
            if let Some(why) = uncompared(&table) {
                table.key = Key::None(why);
            }
        }
        tables.insert(entry.name.clone(), table);
    }
    Ok(Schema { tables, objects: objects(db)? })
}

/// Reads a table by its name, which is the same in upper and lower case; `None` if there is none.
/// Of a virtual table the tables that it keeps its data in are left out.
///
/// # Errors
/// SQLite's.
pub(crate) fn named(db: &Connection, name: &str) -> rusqlite::Result<Option<Table>> {
    let encoding: String = db.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    let encoding = Encoding::named(&encoding).unwrap_or(Encoding::Utf8);
    let listed = listed(db)?;
    let is_it = |entry: &&Listed| entry.name.eq_ignore_ascii_case(name);
    let is_table = |entry: &&Listed| entry.kind == "table" || entry.kind == "virtual";
    let found = listed.iter().filter(is_table).find(is_it);
    let found = found.map(|entry| read(db, entry, encoding)).transpose()?;
    let with_layout = |mut table: Table| {
        table.layout = layout(db, &table, encoding)?;
        Ok(table)
    };
    found.map(with_layout).transpose()
}

/// A table as SQLite lists it.
struct Listed {
    name: String,
    kind: String,
    without_rowid: bool,
    is_text: bool,
    root: u32,
    sql: String,
}

fn is_text(row: &Row<'_>, column: usize) -> rusqlite::Result<bool> {
    row.get_ref(column).map(|value| value.as_str().is_ok())
}

fn listed(db: &Connection) -> rusqlite::Result<Vec<Listed>> {
    let mut statement = db.prepare(
        "SELECT l.name, l.type, l.wr, s.rootpage, s.sql FROM pragma_table_list l
         JOIN sqlite_schema s ON s.type = 'table' AND s.name = l.name
         WHERE l.schema = 'main' AND (l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' OR l.name = ?1)",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Listed {
            name: text(row, 0)?,
            kind: row.get(1)?,
            without_rowid: row.get(2)?,
            is_text: is_text(row, 0)?,
            root: row.get(3)?,
            sql: text(row, 4)?,
        })
    };
    statement.query_map([SEQUENCES], read)?.collect()
}

/// A column as SQLite lists it.
struct Column {
    name: String,
    is_text: bool,
    /// Its place in the primary key, from 1 on.
    key: u32,
    hidden: u32,
}

fn read(db: &Connection, entry: &Listed, encoding: Encoding) -> rusqlite::Result<Table> {
    let mut info =
        db.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let column = |row: &Row<'_>| {
        let (name, is_text) = (text(row, 0)?, is_text(row, 0)?);
        Ok(Column { name, is_text, key: row.get(1)?, hidden: row.get(2)? })
    };
    let is_virtual = entry.kind == "virtual";
    let all = info.query_map([&entry.name], column)?.collect::<rusqlite::Result<Vec<Column>>>();
    let (all, unknown) = match all {
        // Its module, or what that needs, may be known to the application alone.
        Err(e) if is_virtual && e.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            (Vec::new(), Some(message(&e)))
        }
        all => (all?, None),
    };
    let key = if let Some(why) = unknown {
        Key::None(why)
    } else if !entry.is_text || all.iter().any(|column| !column.is_text) {
        Key::None("its name, or that of a column, is no text".to_owned())
    } else if entry.without_rowid {
        primary_key(db, &entry.name, encoding)?
    } else if entry.name == SEQUENCES {
        // Its rowids mean nothing: SQLite writes a row for each table.
        let collation = Collation::Binary(encoding);
        let (column, collation_name) = ("name".to_owned(), "BINARY".to_owned());
        Key::Columns(vec![Part { column, collation, collation_name, descends: false }])
    } else {
        rowid(db, &entry.name, &all, is_virtual)?
    };
    let unique = unique(db, &entry.name, &all)?;
    let mut declared: Vec<&Column> = all.iter().filter(|column| column.key > 0).collect();
    declared.sort_by_key(|column| column.key);
    let primary = declared.into_iter().map(|column| column.name.clone()).collect();
    let stored = all.into_iter().filter(|column| column.hidden == 0);
    Ok(Table {
        name: entry.name.clone(),
        sql: entry.sql.clone(),
        root: entry.root,
        columns: stored.map(|column| column.name).collect(),
        key,
        primary,
        unique,
        is_virtual,
        shadows: Vec::new(),
        shadow_roots: Vec::new(),
        layout: None,
    })
}

/// How the rows of a table are stored, where nothing but its columns has a part in that.
fn layout(db: &Connection, table: &Table, encoding: Encoding) -> rusqlite::Result<Option<Layout>> {
    let is_tree = !table.is_virtual && table.root > 0 && table.name != SEQUENCES;
    let within = matches!(table.key, Key::Rowid(_));
    // SQLite may not be able to read it at all: then it says why.
    let is_read = || db.prepare(&select(table, &table.columns, None, within)).is_ok();
    if encoding != Encoding::Utf8 || !is_tree || table.why_not().is_some() || !is_read() {
        return Ok(None);
    }
    // A table WITHOUT ROWID is an index of its key, and has the key's columns first.
    let order = match table.key {
        Key::Columns(_) => stored_order(db, &table.name)?,
        _ => (0..table.columns.len()).collect(),
    };
    let mut info = db.prepare(
        "SELECT name, type, dflt_value, hidden FROM pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let mut rows = info.query([&table.name])?;
    let mut columns = Vec::new();
    while let Some(row) = rows.next()? {
        // A generated column may be stored, and may not be.
        if row.get::<_, u32>(3)? != 0 || (1..3).any(|i| !is_text_or_null(row, i)) {
            return Ok(None);
        }
        let Some(place) = order.iter().position(|column| *column == columns.len()) else {
            return Ok(None);
        };
        let (name, kind) = (text(row, 0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default());
        let default: Option<String> = row.get(2)?;
        let is_rowid = matches!(&table.key, Key::Rowid(key) if *key == name);
        columns.push(Stored::declared(place, is_rowid, (&kind, default.as_deref())));
    }
    Ok((columns.len() == table.columns.len()).then(|| Layout::of(columns)))
}

/// The columns of a table WITHOUT ROWID, in the order in which its records have them.
fn stored_order(db: &Connection, table: &str) -> rusqlite::Result<Vec<usize>> {
    let mut statement = db.prepare(
        "SELECT x.cid FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
         WHERE l.origin = 'pk' ORDER BY x.seqno",
    )?;
    // A number that is no column's is at no place.
    let column = |row: &Row<'_>| row.get(0).map(|n: i64| usize::try_from(n).unwrap_or(usize::MAX));
    statement.query_map([table], column)?.collect()
}

fn is_text_or_null(row: &Row<'_>, column: usize) -> bool {
    row.get_ref(column).is_ok_and(|value| value.as_str_or_null().is_ok())
}

/// How SQL calls the rowid of a table that has rowids.
fn rowid(
    db: &Connection,
    table: &str,
    columns: &[Column],
    is_virtual: bool,
) -> rusqlite::Result<Key> {
    // A PRIMARY KEY without an index of its own is the rowid.
    let sql = "SELECT count(*) FROM pragma_index_list(?1) WHERE origin = 'pk'";
    let indexed: u32 = db.query_row(sql, [table], |row| row.get(0))?;
    let mut keys = columns.iter().filter(|column| column.key > 0);
    if let (Some(column), None, 0, false) = (keys.next(), keys.next(), indexed, is_virtual) {
        return Ok(Key::Rowid(column.name.clone()));
    }
    let is_taken =
        |alias: &&str| columns.iter().any(|column| column.name.eq_ignore_ascii_case(alias));
    let alias = ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !is_taken(alias));
    Ok(match alias {
        Some(alias) => Key::Rowid(alias.to_owned()),
        None => Key::None("its columns hide the rowid".to_owned()),
    })
}

/// The primary key of a table WITHOUT ROWID, in its order.
fn primary_key(db: &Connection, table: &str, encoding: Encoding) -> rusqlite::Result<Key> {
    let mut statement = db.prepare(
        "SELECT x.name, x.coll, x.desc FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
         WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno",
    )?;
    let read = |row: &Row<'_>| Ok((text(row, 0)?, text(row, 1)?, row.get::<_, bool>(2)?));
    let mut parts = Vec::new();
    for row in statement.query_map([table], read)? {
        let (column, collation_name, descends) = row?;
        let Some(collation) = Collation::named(&collation_name, encoding) else {
            let why = format!("only its application knows the collation {collation_name}");
            return Ok(Key::None(why));
        };
        parts.push(Part { column, collation, collation_name, descends });
    }
    Ok(match parts.is_empty() {
        true => Key::None("its primary key can't be told".to_owned()),
        false => Key::Columns(parts),
    })
}

/// The columns of all unique indexes.
fn unique(
    db: &Connection,
    table: &str,
    columns: &[Column],
) -> rusqlite::Result<Option<HashSet<String>>> {
    let mut statement = db.prepare(
        "SELECT x.cid, x.name, l.partial FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
         WHERE l.\"unique\" AND x.key",
    )?;
    let mut rows = statement.query([table])?;
    let mut found = HashSet::new();
    while let Some(row) = rows.next()? {
        // An expression has no column.
        if row.get::<_, i64>(0)? == -2 || row.get(2)? {
            return Ok(None);
        }
        let name = text(row, 1)?;
        if columns.iter().any(|column| column.name == name && column.hidden != 0) {
            return Ok(None);
        }
        found.insert(name);
    }
    Ok(Some(found))
}

/// Why the rows of a virtual table are none that can be written as they were read.
fn uncompared(table: &Table) -> Option<String> {
    let module = module(&table.sql).unwrap_or_default();
    if !MODULES.contains(&module.to_ascii_lowercase().as_str()) {
        return Some(match module.is_empty() {
            true => "it is a virtual table".to_owned(),
            false => format!("it is a virtual table of the module {module}"),
        });
    }
    let content = format!("{}_content", table.name);
    let has_content = || table.shadows.iter().any(|name| name.eq_ignore_ascii_case(&content));
    (module.to_ascii_lowercase().starts_with("fts") && !has_content())
        .then(|| "it is an index of texts that it does not keep itself".to_owned())
}

impl Table {
    /// The table or view whose texts this one is a full-text index of, if it keeps none itself.
    pub(crate) fn indexed(&self) -> Option<String> {
        let module = module(&self.sql).filter(|_| self.is_virtual)?;
        if !["fts4", "fts5"].contains(&module.to_ascii_lowercase().as_str()) {
            return None;
        }
        let lower = self.sql.to_ascii_lowercase();
        let mut from = 0;
        while let Some(found) = lower.get(from..)?.find("content") {
            from += found + "content".len();
            // The name of another option goes on.
            let Some(value) = self.sql.get(from..)?.trim_start().strip_prefix('=') else {
                continue;
            };
            let value = value.trim_start();
            let end = match value.chars().next()? {
                quote @ ('\'' | '"' | '`') => {
                    let inside = value.get(1..)?;
                    return inside.split(quote).next().filter(|s| !s.is_empty()).map(str::to_owned);
                }
                _ => value.find([',', ')', ' ', '\n', '\t']).unwrap_or(value.len()),
            };
            return value.get(..end).filter(|name| !name.is_empty()).map(str::to_owned);
        }
        None
    }
}

/// The module of a virtual table, by the statement that made it.
pub(crate) fn module(sql: &str) -> Option<&str> {
    let rest = sql.get("CREATE VIRTUAL TABLE".len()..)?.trim_start();
    let rest = match rest.chars().next()? {
        '[' => rest.split_once(']')?.1,
        quote @ ('"' | '`' | '\'') => {
            let mut rest = rest.get(1..)?;
            loop {
                rest = rest.split_once(quote)?.1;
                // Two quotes are one that belongs to the name.
                match rest.strip_prefix(quote) {
                    Some(more) => rest = more,
                    None => break rest,
                }
            }
        }
        _ => rest.split_once(char::is_whitespace)?.1,
    };
    let rest = rest.trim_start();
    let using = rest.get(..5).filter(|word| word.eq_ignore_ascii_case("using"))?;
    let rest = rest.get(using.len()..)?.trim_start();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    rest.get(..end).filter(|name| !name.is_empty())
}

fn objects(db: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut statement = db.prepare(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema
         WHERE type <> 'table' AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
    )?;
    let read = |row: &Row<'_>| {
        let (kind, name) = (text(row, 0)?, text(row, 1)?);
        Ok(Object { kind, name, table: text(row, 2)?, sql: text(row, 3)? })
    };
    statement.query_map([], read)?.collect()
}

/// What selects rows of a table in the order of their keys: the key, then columns, then whether a
/// row is wanted. A column that is not there is NULL.
pub(crate) fn select(
    table: &Table,
    columns: &[String],
    wanted: Option<&str>,
    within: bool,
) -> String {
    let mut listed: Vec<String> = table.key_names().iter().map(|name| quoted(name)).collect();
    listed.extend(columns.iter().map(|name| match table.columns.contains(name) {
        true => quoted(name),
        false => "NULL".to_owned(),
    }));
    // On a line of its own: it may end with a comment.
    listed.push(wanted.map_or("1".to_owned(), |wanted| format!("({wanted}\n) IS TRUE")));
    let order: Vec<String> = match &table.key {
        Key::Rowid(name) => vec![quoted(name)],
        Key::Columns(parts) => parts
            .iter()
            .map(|part| {
                let down = if part.descends { " DESC" } else { "" };
                format!("{} COLLATE {}{down}", quoted(&part.column), quoted(&part.collation_name))
            })
            .collect(),
        Key::None(_) => Vec::new(),
    };
    let range = match &table.key {
        Key::Rowid(name) if within => format!(" WHERE {} BETWEEN ?1 AND ?2", quoted(name)),
        _ => String::new(),
    };
    format!(
        "SELECT {} FROM {}{range} ORDER BY {}",
        listed.join(", "),
        quoted(&table.name),
        order.join(", ")
    )
}
