//! Which tables of two schemas are compared, and how.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::{SchemaChange, TableFate};
use crate::error::{Error, ErrorKind, Result};
use crate::sqlite::rows::table::{Object, SEQUENCES, Schema, Table};

/// A table in both moments.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) name: Arc<str>,
    pub(crate) old: Option<Table>,
    pub(crate) new: Option<Table>,
    pub(crate) fate: TableFate,
}

impl Pair {
    /// Why its rows are not compared; `None` if they are.
    pub(crate) fn why_not(&self) -> Option<&str> {
        self.old.iter().chain(&self.new).find_map(Table::why_not)
    }
}

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The tables, by name, the sequences last.
    pub(crate) pairs: Vec<Pair>,
    /// What else the old schema has of these tables.
    pub(crate) old: Vec<Object>,
    /// What else the new schema has of these tables.
    pub(crate) new: Vec<Object>,
}

impl Plan {
    /// Pairs the tables of two schemas, or those of them that are named. With `replaces`, a table
    /// that is defined otherwise is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when neither has a table that is named.
    pub(crate) fn of(old: &Schema, new: &Schema, named: &[String], replaces: bool) -> Result<Self> {
        let is_named = |name: &str| {
            named.is_empty() || named.iter().any(|other| other.eq_ignore_ascii_case(name))
        };
        let names: BTreeSet<&String> = old.tables.keys().chain(new.tables.keys()).collect();
        if let Some(missing) =
            named.iter().find(|name| !names.iter().any(|other| other.eq_ignore_ascii_case(name)))
        {
            return Err(Error::new(ErrorKind::NotFound, "is in neither of the two moments")
                .with_object(format!("table {missing:?}"))
                .with_hint("`SELECT name FROM sqlite_schema` shows what there is"));
        }
        let mut pairs: Vec<Pair> = names
            .into_iter()
            .filter(|name| is_named(name))
            .map(|name| {
                let (old, new) = (old.tables.get(name), new.tables.get(name));
                let fate = fate(old, new, replaces);
                Pair { name: Arc::from(&**name), old: old.cloned(), new: new.cloned(), fate }
            })
            .collect();
        pairs.sort_by_key(|pair| &*pair.name == SEQUENCES);
        // A view belongs to no table.
        let of_named = |object: &Object| {
            named.is_empty() || (object.kind != "view" && is_named(&object.table))
        };
        let objects = |of: &[Object]| of.iter().filter(|o| of_named(o)).cloned().collect();
        Ok(Self { pairs, old: objects(&old.objects), new: objects(&new.objects) })
    }

    /// What of the schema differs: tables first.
    pub(crate) fn schema_changes(&self) -> Vec<SchemaChange> {
        let sql = |table: &Option<Table>| table.as_ref().map(|table| table.sql.clone());
        let tables = self.pairs.iter().filter(|pair| &*pair.name != SEQUENCES).map(|pair| {
            let (before, after) = (sql(&pair.old), sql(&pair.new));
            SchemaChange { kind: "table".to_owned(), name: pair.name.to_string(), before, after }
        });
        let is_same = |a: &Object, b: &Object| a.kind == b.kind && a.name == b.name;
        let gone_or_other = self.old.iter().map(|old| {
            let new = self.new.iter().find(|new| is_same(old, new));
            (Some(old), new)
        });
        let come = self.new.iter().filter(|new| !self.old.iter().any(|old| is_same(old, new)));
        let others = gone_or_other.chain(come.map(|new| (None, Some(new)))).filter_map(|(a, b)| {
            let of = a.or(b)?;
            let sql = |object: Option<&Object>| object.map(|object| object.sql.clone());
            let (kind, name) = (of.kind.clone(), of.name.clone());
            Some(SchemaChange { kind, name, before: sql(a), after: sql(b) })
        });
        tables.chain(others).filter(|change| change.before != change.after).collect()
    }
}

fn fate(old: Option<&Table>, new: Option<&Table>, replaces: bool) -> TableFate {
    let (Some(old), Some(new)) = (old, new) else {
        return if old.is_none() { TableFate::Created } else { TableFate::Dropped };
    };
    let is_same = old.sql == new.sql && old.key == new.key && old.columns == new.columns;
    if is_same || new.name == SEQUENCES {
        TableFate::Same
    } else if replaces || old.key != new.key || old.is_virtual || new.is_virtual {
        TableFate::Replaced
    } else {
        TableFate::Redefined
    }
}
