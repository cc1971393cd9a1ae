//! The demo's database: a shop that sells, with rules that every transaction keeps.
//!
//! The rules are what a torn or mixed copy would break: a product's stock and what was sold of it always add up to
//! [`DELIVERED`], an order's total is the sum of its lines, and as much was sold as the lines say.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use crate::error::{Error, ErrorKind, Result};
use crate::types::random_bytes;

/// How many of each product there ever were.
const DELIVERED: i64 = 10_000;
/// What a new shop has.
const CUSTOMERS: i64 = 500;
const PRODUCTS: i64 = 120;
const ORDERS: i64 = 3_000;
/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(10);

const FIRST_NAMES: [&str; 25] = [
    "Ada", "Amara", "Anouk", "Bela", "Chiara", "Dmitri", "Elif", "Emil", "Fatima", "Greta", "Hiro",
    "Ines", "Jonas", "Kofi", "Leila", "Mateo", "Mei", "Nadia", "Oskar", "Priya", "Rosa", "Samuel",
    "Tomoko", "Viktor", "Zoe",
];
const LAST_NAMES: [&str; 20] = [
    "Adeyemi", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova",
    "Jansen", "Kowalski", "Lindgren", "Moreau", "Nakamura", "Okafor", "Petrov", "Rossi", "Sharma",
    "Tanaka", "Weber",
];
const CITIES: [&str; 12] = [
    "Accra", "Bergen", "Ghent", "Graz", "Izmir", "Kyoto", "Leeds", "Lisbon", "Lyon", "Pune",
    "Turin", "Utrecht",
];
const MATERIALS: [&str; 12] = [
    "Birch", "Brass", "Canvas", "Ceramic", "Copper", "Cork", "Enamel", "Felt", "Glass", "Linen",
    "Oak", "Wool",
];
const THINGS: [&str; 10] =
    ["basket", "bowl", "candlestick", "clock", "jug", "lamp", "mug", "stool", "tray", "vase"];

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE customers(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE, city TEXT NOT NULL);
CREATE TABLE products(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL, sold INTEGER NOT NULL DEFAULT 0);
CREATE TABLE orders(
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers(id),
    placed_at TEXT NOT NULL, total_cents INTEGER NOT NULL);
CREATE TABLE order_lines(
    order_id INTEGER NOT NULL REFERENCES orders(id) ON DELETE CASCADE,
    product_id INTEGER NOT NULL REFERENCES products(id),
    quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL,
    PRIMARY KEY(order_id, product_id)) WITHOUT ROWID;
CREATE INDEX orders_by_customer ON orders(customer_id, placed_at);
";

/// The demo's application, at its database.
pub(super) struct Shop {
    connection: Connection,
    dice: Dice,
}

impl Shop {
    /// Opens the shop's database, and makes it with a few thousand rows if it is not there. Answers whether it did.
    pub(super) fn open(path: &Path) -> Result<(Self, bool)> {
        let failed = |e| failed(e, path);
        let new = !path.exists();
        let connection = Connection::open(path).map_err(failed)?;
        connection
            .busy_timeout(PATIENCE)
            .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
            // As most applications in WAL mode have it: a commit does not wait for the disk.
            .and_then(|()| connection.pragma_update(None, "synchronous", "NORMAL"))
            .map_err(failed)?;
        let seed = u64::from_le_bytes(random_bytes()?);
        let mut shop = Self { connection, dice: Dice(seed | 1) };
        if new {
            shop.fill().map_err(failed)?;
        }
        Ok((shop, new))
    }

    fn fill(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(SCHEMA)?;
        for id in 1..=CUSTOMERS {
            let (first, last) = (self.dice.pick(&FIRST_NAMES), self.dice.pick(&LAST_NAMES));
            let email = format!("{first}.{last}{id}@example.com").to_lowercase();
            let (name, city) = (format!("{first} {last}"), self.dice.pick(&CITIES));
            self.connection
                .prepare_cached("INSERT INTO customers VALUES(?, ?, ?, ?)")?
                .execute(params![id, name, email, city])?;
        }
        let kinds = MATERIALS.iter().flat_map(|m| THINGS.iter().map(move |t| format!("{m} {t}")));
        for (id, name) in (1..=PRODUCTS).zip(kinds) {
            let price = self.dice.up_to(90) * 100 + 95;
            self.connection
                .prepare_cached("INSERT INTO products(id, name, price_cents, stock) VALUES(?, ?, ?, ?)")?
                .execute(params![id, name, price, DELIVERED])?;
        }
        for n in 0..ORDERS {
            // Placed during the last weeks, the latest of them just now.
            self.order(&format!("-{} minutes", (ORDERS - n) * 11))?;
        }
        self.connection.execute_batch("COMMIT")
    }

    /// Sells something: one order, one transaction.
    pub(super) fn sell(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = self.order("-0 minutes").and_then(|()| self.connection.execute_batch("COMMIT"));
        if done.is_err() && !self.connection.is_autocommit() {
            // The first error is the one to tell.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        done
    }

    fn order(&mut self, when: &str) -> rusqlite::Result<()> {
        let Self { connection, dice } = self;
        connection
            .prepare_cached(
                "INSERT INTO orders(customer_id, placed_at, total_cents)
                 VALUES(?, strftime('%Y-%m-%d %H:%M:%f', 'now', ?), 0)",
            )?
            .execute(params![dice.up_to(CUSTOMERS), when])?;
        let order = connection.last_insert_rowid();
        for _ in 0..dice.up_to(3) {
            let (product, quantity) = (dice.up_to(PRODUCTS), dice.up_to(3));
            let price = connection
                .prepare_cached(
                    "UPDATE products SET stock = stock - ?2, sold = sold + ?2
                     WHERE id = ?1 AND stock >= ?2 RETURNING price_cents",
                )?
                .query_map([product, quantity], |row| row.get::<_, i64>(0))?
                .next()
                .transpose()?;
            // What is sold out is not sold.
            let Some(price) = price else { continue };
            connection
                .prepare_cached(
                    "INSERT INTO order_lines VALUES(?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET quantity = quantity + ?3",
                )?
                .execute([order, product, quantity, price])?;
            connection
                .prepare_cached("UPDATE orders SET total_cents = total_cents + ?2 * ?3 WHERE id = ?1")?
                .execute([order, quantity, price])?;
        }
        Ok(())
    }

    /// What the shop has.
    pub(super) fn facts(&mut self, path: &Path) -> Result<Facts> {
        facts_of(&mut self.connection).map_err(|e| failed(e, path))
    }
}

/// What a shop's database has at one moment. `None` stands for a table that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) customers: Option<i64>,
    pub(super) products: Option<i64>,
    pub(super) orders: Option<i64>,
    pub(super) order_lines: Option<i64>,
    /// How many rows break a rule; `None` when a table to ask is not there.
    pub(super) broken: Option<i64>,
}

impl Facts {
    /// Reads a database without writing to it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(path, flags)
            .and_then(|mut connection| {
                connection.busy_timeout(PATIENCE)?;
                facts_of(&mut connection)
            })
            .map_err(|e| failed(e, path))
    }

    /// The tables' names and counts.
    pub(super) fn tables(&self) -> [(&'static str, Option<i64>); 4] {
        [
            ("customers", self.customers),
            ("products", self.products),
            ("orders", self.orders),
            ("order_lines", self.order_lines),
        ]
    }
}

/// All of them as of one moment.
fn facts_of(connection: &mut Connection) -> rusqlite::Result<Facts> {
    let moment = connection.transaction()?;
    let number = |sql: &str| moment.query_row(sql, [], |row| row.get::<_, i64>(0));
    let rows = |table: &str| {
        let there = moment.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?")?.exists([table])?;
        there.then(|| number(&format!("SELECT count(*) FROM {table}"))).transpose()
    };
    let (customers, products) = (rows("customers")?, rows("products")?);
    let (orders, order_lines) = (rows("orders")?, rows("order_lines")?);
    let all = products.and(orders).and(order_lines);
    let broken = all.map(|_| number(&broken_rules())).transpose()?;
    Ok(Facts { customers, products, orders, order_lines, broken })
}

/// Counts what breaks a rule.
fn broken_rules() -> String {
    format!(
        "SELECT (SELECT count(*) FROM products WHERE stock + sold <> {DELIVERED})
              + (SELECT count(*) FROM orders WHERE total_cents <>
                 (SELECT coalesce(sum(quantity * price_cents), 0) FROM order_lines WHERE order_id = orders.id))
              + abs((SELECT sum(sold) FROM products) - (SELECT coalesce(sum(quantity), 0) FROM order_lines))"
    )
}

/// Runs SQL as the `sqlite3` shell would: foreign keys not enforced.
pub(super) fn execute(path: &Path, sql: &str) -> Result<()> {
    Connection::open(path)
        .and_then(|connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "foreign_keys", false)?;
            connection.execute_batch(sql)
        })
        .map_err(|e| failed(e, path))
}

/// What SQLite said about the demo's database.
pub(super) fn failed(e: rusqlite::Error, path: &Path) -> Error {
    Error::new(ErrorKind::Failure, "the demo's database cannot be used")
        .with_object(path.display().to_string())
        .with_source(e)
}

/// Good enough for a shop.
struct Dice(u64);

impl Dice {
    /// From 1 to `n`.
    fn up_to(&mut self, n: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 33).unwrap_or(0) % n.max(1) + 1
    }

    fn pick<'t>(&mut self, words: &[&'t str]) -> &'t str {
        let n = self.up_to(i64::try_from(words.len()).unwrap_or(1));
        usize::try_from(n - 1).ok().and_then(|i| words.get(i)).unwrap_or(&"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shop_keeps_its_rules_and_facts_tell_when_they_are_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let (mut shop, new) = Shop::open(&path).unwrap();
        assert!(new);
        for _ in 0..50 {
            shop.sell().unwrap();
        }
        let facts = shop.facts(&path).unwrap();
        assert_eq!(facts, Facts::read(&path).unwrap());
        assert_eq!((facts.customers, facts.products), (Some(CUSTOMERS), Some(PRODUCTS)));
        assert_eq!((facts.orders, facts.broken), (Some(ORDERS + 50), Some(0)));
        drop(shop);
        assert!(!Shop::open(&path).unwrap().1);
        for (sql, broken) in [
            ("UPDATE products SET stock = stock - 1 WHERE id = 7", 1),
            ("UPDATE orders SET total_cents = total_cents + 1 WHERE id < 3", 3),
        ] {
            execute(&path, sql).unwrap();
            assert_eq!(Facts::read(&path).unwrap().broken, Some(broken), "{sql}");
        }
        execute(&path, "DELETE FROM orders; DROP TABLE order_lines").unwrap();
        let facts = Facts::read(&path).unwrap();
        assert_eq!((facts.orders, facts.order_lines, facts.broken), (Some(0), None, None));
    }
}
