//! One row of a table at a time: found by its key, written, taken away.
//!
//! Invariants:
//! - A row is written as it is given, or SQLite's error says why not. No row makes room for another
//!   one, whatever the table's own `ON CONFLICT` clauses say.
//! - A key finds the row whose key is equal by the table's collations.
//! - The table is the database's own, whatever temporary tables there are.

use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};

use super::cell::{Cell, cells, quoted};
use super::merge::Entry;
use super::table::{Key, Table};

/// The statements for rows of one table.
#[derive(Debug)]
pub(crate) struct Access {
    table: String,
    /// How many values a key has, and how many columns there are.
    key: usize,
    columns: usize,
    condition: String,
    fetch: String,
    insert: String,
    /// Whether the rowid is none of the columns, and has to be written besides.
    has_own_rowid: bool,
}

impl Access {
    pub(crate) fn of(table: &Table) -> Self {
        let keys = table.key_names();
        let name = format!("main.{}", quoted(&table.name));
        let condition = match &table.key {
            Key::Columns(parts) => {
                let term = |(i, part): (usize, &super::table::Part)| {
                    let collation = quoted(&part.collation_name);
                    format!("{}=?{} COLLATE {collation}", quoted(&part.column), i + 1)
                };
                parts.iter().enumerate().map(term).collect::<Vec<_>>().join(" AND ")
            }
            Key::Rowid(rowid) => format!("{}=?1", quoted(rowid)),
            Key::None(_) => "0".to_owned(),
        };
        let has_own_rowid = table.has_own_rowid();
        let list = |names: &mut dyn Iterator<Item = &String>| {
            names.map(|name| quoted(name)).collect::<Vec<_>>().join(",")
        };
        let read = list(&mut keys.iter().chain(&table.columns));
        let own = keys.iter().filter(|_| has_own_rowid);
        let written = list(&mut own.chain(&table.columns));
        let n = table.columns.len() + usize::from(has_own_rowid);
        let values = (1..=n).map(|i| format!("?{i}")).collect::<Vec<_>>().join(",");
        Self {
            key: keys.len(),
            columns: table.columns.len(),
            fetch: format!("SELECT {read} FROM {name} WHERE {condition}"),
            insert: format!("INSERT OR ABORT INTO {name}({written}) VALUES({values})"),
            table: name,
            condition,
            has_own_rowid,
        }
    }

    /// Has SQLite prepare the statements, which shows what it does not know: a collation of an
    /// index, a function, a module.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn check(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached(&self.fetch)?;
        db.prepare_cached(&self.insert)?;
        db.prepare_cached(&self.delete_sql()).map(drop)
    }

    fn delete_sql(&self) -> String {
        format!("DELETE FROM {} WHERE {}", self.table, self.condition)
    }

    /// The row of a key.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn fetch(&self, db: &Connection, key: &[Cell]) -> rusqlite::Result<Option<Entry>> {
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Entry { key: cells(row, 0, self.key)?, values: cells(row, self.key, self.columns)? })
        };
        db.prepare_cached(&self.fetch)?.query_row(params_from_iter(key), read).optional()
    }

    /// Writes a row that is not there: its key, and all its columns.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn insert(
        &self,
        db: &Connection,
        key: &[Cell],
        values: &[Cell],
    ) -> rusqlite::Result<()> {
        let own = key.iter().filter(|_| self.has_own_rowid);
        let all = params_from_iter(own.chain(values));
        db.prepare_cached(&self.insert)?.execute(all).map(drop)
    }

    /// Takes the row of a key away. Returns how many rows went.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn delete(&self, db: &Connection, key: &[Cell]) -> rusqlite::Result<usize> {
        db.prepare_cached(&self.delete_sql())?.execute(params_from_iter(key))
    }

    /// Gives some columns of the row of a key other values.
    ///
    /// # Errors
    /// SQLite's.
    pub(crate) fn update(
        &self,
        db: &Connection,
        key: &[Cell],
        set: &[(&str, &Cell)],
    ) -> rusqlite::Result<()> {
        let assigned: Vec<String> = set
            .iter()
            .enumerate()
            .map(|(i, (column, _))| format!("{}=?{}", quoted(column), self.key + i + 1))
            .collect();
        let sql = format!(
            "UPDATE OR ABORT {} SET {} WHERE {}",
            self.table,
            assigned.join(","),
            self.condition
        );
        let values: Vec<&dyn ToSql> = key
            .iter()
            .map(|cell| cell as &dyn ToSql)
            .chain(set.iter().map(|(_, cell)| *cell as &dyn ToSql))
            .collect();
        db.prepare_cached(&sql)?.execute(&*values).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::schema;
    use super::*;

    fn access(db: &Connection, table: &str) -> Access {
        Access::of(schema(db).unwrap().tables.get(table).unwrap())
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.into())
    }

    #[test]
    fn no_row_makes_room_for_another_one() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, x UNIQUE ON CONFLICT REPLACE,
             y NOT NULL ON CONFLICT REPLACE DEFAULT 7); INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2)",
        )
        .unwrap();
        let access = access(&db, "t");
        access.check(&db).unwrap();
        let one = [Cell::Integer(1)];
        for values in [
            [Cell::Integer(3), text("a"), Cell::Integer(1)],
            [Cell::Integer(3), text("c"), Cell::Null],
        ] {
            assert!(access.insert(&db, &[Cell::Integer(3)], &values).is_err(), "{values:?}");
        }
        assert!(
            access.insert(&db, &one, &[Cell::Integer(1), text("z"), Cell::Integer(1)]).is_err()
        );
        assert!(access.update(&db, &one, &[("x", &text("b"))]).is_err());
        let count: i64 = db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 2);
    }

    #[test]
    fn a_temporary_table_of_the_same_name_is_another_one() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 'a')")
            .unwrap();
        let access = access(&db, "t");
        db.execute_batch("CREATE TEMP TABLE t(y)").unwrap();
        let one = [Cell::Integer(1)];
        assert!(access.fetch(&db, &one).unwrap().is_some());
        access.update(&db, &one, &[("x", &text("b"))]).unwrap();
        assert_eq!(access.delete(&db, &one).unwrap(), 1);
        access.insert(&db, &one, &[Cell::Integer(1), text("c")]).unwrap();
        let x: String = db.query_row("SELECT x FROM main.t", [], |row| row.get(0)).unwrap();
        assert_eq!(x, "c");
    }

    #[test]
    fn a_key_finds_its_row_by_the_collations_of_the_table() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE t(k TEXT, n, v, PRIMARY KEY(n DESC, k COLLATE NOCASE)) WITHOUT ROWID;
             INSERT INTO t VALUES('Ab', 1, 'x');
             CREATE TABLE u(rowid, v); INSERT INTO u(_rowid_, v) VALUES(9, 'nine')",
        )
        .unwrap();
        let of_t = access(&db, "t");
        let key = [Cell::Integer(1), text("aB")];
        let found = of_t.fetch(&db, &key).unwrap().unwrap();
        assert_eq!(found.values, [text("Ab"), Cell::Integer(1), text("x")]);
        of_t.update(&db, &key, &[("k", &text("AB")), ("v", &Cell::Null)]).unwrap();
        let found = of_t.fetch(&db, &key).unwrap().unwrap();
        assert_eq!(found.values, [text("AB"), Cell::Integer(1), Cell::Null]);
        assert_eq!(of_t.delete(&db, &key).unwrap(), 1);
        assert_eq!(of_t.delete(&db, &key).unwrap(), 0);
        assert!(of_t.fetch(&db, &key).unwrap().is_none());
        let of_u = access(&db, "u");
        let found = of_u.fetch(&db, &[Cell::Integer(9)]).unwrap().unwrap();
        assert_eq!((&found.key[0], &found.values[1]), (&Cell::Integer(9), &text("nine")));
        of_u.insert(&db, &[Cell::Integer(4)], &[Cell::Null, Cell::Real(0.5)]).unwrap();
        assert!(of_u.fetch(&db, &[Cell::Integer(4)]).unwrap().is_some());
    }
}
