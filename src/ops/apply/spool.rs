//! Row changes in the order in which they came, in memory up to a limit and beyond that in a file
//! without a name.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use tempfile::SpooledTempFile;

use crate::error::{Error, ErrorKind, Result};
use crate::ops::diff::change::{Named, Operation, RowChange};
use crate::sqlite::rows::cell::Cell;
use crate::sqlite::rows::table::Table;

/// How much stays in memory.
const MEMORY: usize = 4 * 1024 * 1024;

/// A row change of one of some tables.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Which of the tables.
    pub(crate) table: usize,
    pub(crate) change: RowChange,
}

/// Takes entries, with their numbers.
pub(crate) type Take<'t> = &'t mut dyn FnMut(u64, Entry) -> Result<()>;

/// The names that the changes of a table share.
#[derive(Clone, Debug)]
struct Names {
    table: Arc<str>,
    key: Arc<[String]>,
    columns: Arc<[String]>,
}

/// Row changes of some tables.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Option<BufWriter<SpooledTempFile>>,
    names: Vec<Names>,
    count: u64,
    /// Whether there are changes of each table.
    has: Vec<bool>,
}

impl Spool {
    /// An empty spool for changes of these tables.
    pub(crate) fn new(tables: &[Table]) -> Self {
        let names = |table: &Table| Names {
            table: table.name.as_str().into(),
            key: table.key_names().into(),
            columns: table.columns.clone().into(),
        };
        let file = Some(BufWriter::new(SpooledTempFile::new(MEMORY)));
        let names: Vec<Names> = tables.iter().map(names).collect();
        Self { file, has: vec![false; names.len()], names, count: 0 }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are changes of a table.
    pub(crate) fn has(&self, table: usize) -> bool {
        self.has.get(table).copied().unwrap_or(false)
    }

    /// Adds a change, whose rows have the columns of its table.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] and the like when the file can't be written.
    pub(crate) fn push(&mut self, table: usize, change: &RowChange) -> Result<()> {
        let file = self.file.as_mut().ok_or_else(unread)?;
        let mut write = || -> io::Result<()> {
            file.write_all(&u32::try_from(table).map_err(io::Error::other)?.to_le_bytes())?;
            file.write_all(&[match change.operation {
                Operation::Insert => 0,
                Operation::Update => 1,
                Operation::Delete => 2,
            }])?;
            write_cells(file, &change.key.values)?;
            for row in [&change.before, &change.after] {
                file.write_all(&[u8::from(row.is_some())])?;
                if let Some(row) = row {
                    write_cells(file, &row.values)?;
                }
            }
            Ok(())
        };
        write().map_err(failed)?;
        self.count += 1;
        if let Some(has) = self.has.get_mut(table) {
            *has = true;
        }
        Ok(())
    }

    /// Gives all changes, from the first one on.
    ///
    /// # Errors
    /// When the file can't be read; what `take` answers.
    pub(crate) fn read(&mut self, take: Take<'_>) -> Result<()> {
        let mut file = self
            .file
            .take()
            .ok_or_else(unread)?
            .into_inner()
            .map_err(|e| failed(e.into_error()))?;
        let read = self.read_from(&mut file, take);
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        self.file = Some(BufWriter::new(file));
        read
    }

    fn read_from(&self, file: &mut SpooledTempFile, take: Take<'_>) -> Result<()> {
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut file = BufReader::new(file);
        for number in 0..self.count {
            let entry = self.entry(&mut file).map_err(failed)?;
            take(number, entry)?;
        }
        Ok(())
    }

    fn entry(&self, file: &mut impl Read) -> io::Result<Entry> {
        let mut table = [0; 4];
        file.read_exact(&mut table)?;
        let table = usize::try_from(u32::from_le_bytes(table)).map_err(io::Error::other)?;
        let names = self.names.get(table).ok_or_else(|| io::Error::other("no such table"))?;
        let operation = match byte(file)? {
            0 => Operation::Insert,
            1 => Operation::Update,
            _ => Operation::Delete,
        };
        let named = |columns: &Arc<[String]>, values| Named { columns: columns.clone(), values };
        let key = named(&names.key, read_cells(file)?);
        let mut row = || {
            Ok::<_, io::Error>(match byte(file)? {
                0 => None,
                _ => Some(named(&names.columns, read_cells(file)?)),
            })
        };
        let (before, after) = (row()?, row()?);
        let change = RowChange { table: names.table.clone(), operation, key, before, after };
        Ok(Entry { table, change })
    }
}

fn unread() -> Error {
    Error::new(ErrorKind::Failure, "is being read").with_object("a temporary file")
}

fn failed(e: io::Error) -> Error {
    Error::io(e, "cannot be used", "a temporary file")
}

fn byte(file: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

fn write_cells(file: &mut impl Write, cells: &[Cell]) -> io::Result<()> {
    file.write_all(&u32::try_from(cells.len()).map_err(io::Error::other)?.to_le_bytes())?;
    for cell in cells {
        let (kind, bytes): (u8, &[u8]) = match cell {
            Cell::Null => (0, &[]),
            Cell::Integer(n) => (1, &n.to_le_bytes()),
            Cell::Real(x) => (2, &x.to_le_bytes()),
            Cell::Text(bytes) => (3, bytes),
            Cell::Blob(bytes) => (4, bytes),
        };
        file.write_all(&[kind])?;
        if kind > 2 {
            file.write_all(&(bytes.len() as u64).to_le_bytes())?;
        }
        file.write_all(bytes)?;
    }
    Ok(())
}

fn read_cells(file: &mut impl Read) -> io::Result<Vec<Cell>> {
    let mut count = [0; 4];
    file.read_exact(&mut count)?;
    (0..u32::from_le_bytes(count)).map(|_| read_cell(file)).collect()
}

fn read_cell(file: &mut impl Read) -> io::Result<Cell> {
    let eight = |file: &mut dyn Read| {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes).map(|()| bytes)
    };
    Ok(match byte(file)? {
        0 => Cell::Null,
        1 => Cell::Integer(i64::from_le_bytes(eight(file)?)),
        2 => Cell::Real(f64::from_le_bytes(eight(file)?)),
        kind => {
            let len = u64::from_le_bytes(eight(file)?);
            let mut bytes = Vec::new();
            if file.by_ref().take(len).read_to_end(&mut bytes)? as u64 != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if kind == 3 { Cell::Text(bytes) } else { Cell::Blob(bytes) }
        }
    })
}
