//! The database of the demo: a shop with customers, products and orders.
//!
//! Invariant, which every transaction of the application keeps and the demo asserts after the
//! rescue: of each product, what is in stock and what was sold add up to what was bought; and there
//! is an order at all.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, params};

use crate::error::{Error, ErrorKind, Result};

/// How long to wait for others who write.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the demo asserts.
pub(crate) const INVARIANT: &str = "SELECT (SELECT count(*) FROM orders) > 0 AND \
    (SELECT sum(stock) + (SELECT sum(quantity) FROM orders) = sum(bought) FROM products)";

/// What somebody runs on the wrong database.
pub(crate) const MISTAKE: &str = "DELETE FROM orders; DROP TABLE customers";

/// What somebody else runs to make room.
pub(crate) const TIDYING: &str = "DELETE FROM orders WHERE id <= 1000";

const FIRST: [&str; 12] = [
    "Ada", "Grace", "Edsger", "Barbara", "Alan", "Radia", "Donald", "Frances", "Niklaus", "Karen",
    "Dennis", "Shafi",
];
const LAST: [&str; 10] = [
    "Moreau", "Okafor", "Lindgren", "Tanaka", "Rossi", "Novak", "Silva", "Haddad", "Murphy",
    "Weber",
];
const CITIES: [&str; 8] =
    ["Lisbon", "Oslo", "Nairobi", "Kyoto", "Quito", "Ghent", "Porto", "Turin"];
const KINDS: [&str; 8] =
    ["lamp", "chair", "kettle", "notebook", "blanket", "clock", "basket", "teapot"];
const COLOURS: [&str; 6] = ["oak", "indigo", "copper", "linen", "moss", "slate"];

pub(crate) fn sql_failed(database: &Path, e: &rusqlite::Error) -> Error {
    Error::new(ErrorKind::Failure, "the shop's database cannot be used")
        .with_object(database.display().to_string())
        .with_source(e.to_string())
}

fn pick<'w>(words: &[&'w str], n: usize) -> &'w str {
    words.get(n % words.len().max(1)).copied().unwrap_or_default()
}

/// Makes the database with a few thousand rows.
pub(crate) fn create(database: &Path) -> Result<()> {
    let fill = || -> rusqlite::Result<()> {
        let mut connection = Connection::open(database)?;
        connection.execute_batch(
            "PRAGMA journal_mode=WAL;
             CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, city TEXT NOT NULL);
             CREATE TABLE products(id INTEGER PRIMARY KEY, name TEXT NOT NULL, cents INT NOT NULL, bought INT NOT NULL,
                                   stock INT NOT NULL CHECK(stock >= 0));
             CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INT NOT NULL, product INT NOT NULL REFERENCES products(id),
                                 quantity INT NOT NULL, cents INT NOT NULL, note TEXT);
             CREATE INDEX orders_by_customer ON orders(customer);",
        )?;
        let transaction = connection.transaction()?;
        for n in 0..2000 {
            let (first, last) = (pick(&FIRST, n), pick(&LAST, n / 7));
            let email = format!("{}.{}{n}@example.com", first.to_lowercase(), last.to_lowercase());
            transaction.execute(
                "INSERT INTO customers(name, email, city) VALUES(?1, ?2, ?3)",
                params![format!("{first} {last}"), email, pick(&CITIES, n / 3)],
            )?;
        }
        for (n, cents) in (0..48).zip((900u32..).step_by(137)) {
            transaction.execute(
                "INSERT INTO products(name, cents, bought, stock) VALUES(?1, ?2, 1000000, 1000000)",
                params![format!("{} {}", pick(&COLOURS, n), pick(&KINDS, n / 6)), cents],
            )?;
        }
        for n in 0..3000 {
            order(&transaction, n)?;
        }
        transaction.commit()
    };
    fill().map_err(|e| sql_failed(database, &e))
}

/// One order: a row, and the stock that it takes.
fn order(transaction: &Transaction<'_>, n: u32) -> rusqlite::Result<()> {
    let (customer, product, quantity) = (n * 17 % 2000 + 1, n * 29 % 48 + 1, n % 4 + 1);
    transaction.execute(
        "INSERT INTO orders(customer, product, quantity, cents, note)
         SELECT ?1, id, ?3, cents * ?3, 'to be delivered before ' || (8 + ?3) || ' o''clock' FROM products WHERE id = ?2",
        params![customer, product, quantity],
    )?;
    transaction.execute(
        "UPDATE products SET stock = stock - ?2 WHERE id = ?1",
        params![product, quantity],
    )?;
    Ok(())
}

/// Sells something, in a transaction of its own.
pub(crate) fn sell(connection: &mut Connection, n: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    let transaction = connection.transaction()?;
    order(&transaction, n)?;
    transaction.commit()
}

/// The number of rows of a table.
pub(crate) fn count(database: &Path, table: &str) -> Result<u32> {
    let sql = format!("SELECT count(*) FROM {table}");
    with(database, |connection| connection.query_row(&sql, [], |row| row.get(0)))
}

/// The number of the newest order; 0 if there is none.
pub(crate) fn newest_order(database: &Path) -> Result<u32> {
    let sql = "SELECT coalesce(max(id), 0) FROM orders";
    with(database, |connection| connection.query_row(sql, [], |row| row.get(0)))
}

/// Deletes the oldest orders, and answers how many these were.
pub(crate) fn tidy(database: &Path) -> Result<u32> {
    let deleted = with(database, |connection| connection.execute(TIDYING, []))?;
    Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
}

/// Runs SQL on the database.
pub(crate) fn execute(database: &Path, sql: &str) -> Result<()> {
    with(database, |connection| connection.execute_batch(sql))
}

/// Does something with the database, which others may be writing to.
fn with<T>(database: &Path, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
    let done = Connection::open(database).and_then(|connection| {
        connection.busy_timeout(PATIENCE)?;
        work(&connection)
    });
    done.map_err(|e| sql_failed(database, &e))
}
