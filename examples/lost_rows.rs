//! Rows that an application lost come back, from within it, and nothing else changes.
//!
//! ```text
//! $ cargo run --example lost_rows
//! ```
//!
//! It works in a temporary folder. A mistake deletes orders, a later sale goes on, the application
//! asks the past with SQL, finds the commit that lost the orders, and brings back these orders.

use std::error::Error;
use std::time::Duration;

use pagekeep::{
    FindOptions, Keeper, KeeperOptions, RecoverOptions, Repository, RepositoryOptions, Secret,
    Silent, UndoOptions, ViewOptions,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let location = folder.path().join("repository").display().to_string();
    let key = Secret::create_key_file(&folder.path().join("key"))?;
    let options = RepositoryOptions::new(folder.path().join("state"));
    let repository = Repository::open_or_create(&location, &key, &options)?;
    let database = folder.path().join("shop.db");
    let keeper = Keeper::open(&database, repository, KeeperOptions::default())?;
    let db = keeper.connect()?;
    let orders = |when: &str| -> Result<(), Box<dyn Error>> {
        let n: i64 = db.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
        println!("{when}: {n} orders");
        Ok(())
    };

    // Each of these is a commit of its own.
    db.execute_batch("CREATE TABLE orders(id INTEGER PRIMARY KEY, cents INT)")?;
    for cents in [1000, 2500, 700, 900] {
        db.execute("INSERT INTO orders(cents) VALUES(?1)", [cents])?;
    }
    orders("before the mistake")?;
    db.execute("DELETE FROM orders WHERE id <= 2", [])?;
    db.execute("INSERT INTO orders(cents) VALUES(4400)", [])?;
    orders("after the mistake and a sale")?;

    // Which commit was it? Order 1 is asked for at few of the commits.
    keeper.wait_durable(Duration::from_secs(30))?;
    let history = keeper.history();
    let sold = history.find("latest~2")?;
    let question = "SELECT count(*) FROM orders WHERE id = 1";
    let options = FindOptions::default().from(sold.seq());
    let mut asked = Vec::new();
    let search = history.find_change(question, &options, &Silent, &mut |r| asked.push(r.seq))?;
    let last_one = search.turn.and_then(|turn| turn.before).ok_or("the answer never changed")?;
    let then = history.point(last_one.seq)?;
    println!("seq:{} is the last commit that has order 1; {} were asked", then.seq(), asked.len());

    // Any moment is a database that can be asked.
    let past = then.open(&ViewOptions::default())?;
    let cents: i64 =
        past.query_row("SELECT cents FROM orders WHERE id = 1", [], |row| row.get(0))?;
    println!("order 1 was for {cents} cents");

    // Only what is missing comes back; the sale stays.
    let options = RecoverOptions::default().tables(vec!["orders".to_owned()]);
    let done = keeper.recover(&then, &options)?.done.ok_or("nothing came back")?;
    orders("after recover")?;
    keeper.undo((done.now, done.now), &UndoOptions::default())?;
    orders("after the undo of that")?;
    keeper.close()?;
    Ok(())
}
