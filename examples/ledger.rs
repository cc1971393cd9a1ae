//! A small application that keeps its state with Pagekeep: a ledger of accounts, served over TCP, a line for each request.
//!
//! ```text
//! $ cargo run --example ledger -- /tmp/ledger 127.0.0.1:7007
//! $ nc 127.0.0.1 7007
//! open alice
//! deposit alice 100
//! transfer alice bob 30        (an account comes into being with its first money)
//! balance bob
//! snapshot "before the audit"  takes a restore point, and answers when it is durable
//! points                       the newest moments that can be brought back
//! rewind "before the audit"    brings one back, while everybody stays connected
//! status
//! ```
//!
//! Every request that changes something is one SQLite transaction, and every transaction becomes a commit of the history. Each client
//! has a thread and a connection of its own. Money is answered for only once it is durable in the repository.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pagekeep::rusqlite::{self, Connection, OptionalExtension, params};
use pagekeep::{Event, Keeper, KeeperOptions, Repository, RepositoryOptions, Secret};

/// How long a request waits until what it did is durable.
const DURABLE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address] = &arguments[..] else {
        return Err("usage: ledger FOLDER ADDRESS".into());
    };
    let keeper = Arc::new(open(Path::new(folder))?);
    keeper.connect()?.execute_batch(
        "CREATE TABLE IF NOT EXISTS account(name TEXT PRIMARY KEY, cents INT NOT NULL CHECK(cents >= 0));
         CREATE TABLE IF NOT EXISTS entry(id INTEGER PRIMARY KEY, source TEXT, target TEXT, cents INT NOT NULL);",
    )?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for client in listener.incoming() {
        let (client, keeper) = (client?, keeper.clone());
        std::thread::spawn(move || {
            if let Err(e) = serve(client, &keeper) {
                eprintln!("a client: {e}");
            }
        });
    }
    Ok(())
}

/// Opens the repository in the folder, or makes one, and keeps the ledger in it from here on.
fn open(folder: &Path) -> Result<Keeper, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let location = folder.join("repository").display().to_string();
    // A real application keeps the key in another place than the backups.
    let key = folder.join("key");
    let secret = match key.exists() {
        true => Secret::read_key_file(&key)?,
        false => Secret::create_key_file(&key)?,
    };
    let repository = Repository::open_or_create(
        &location,
        &secret,
        &RepositoryOptions::new(folder.join("state")),
    )?;
    let options = KeeperOptions::default().interval(Duration::from_millis(50)).on_event(Arc::new(
        |event: &Event| match event {
            Event::Fault(fault) => eprintln!("backup: {}", fault.message),
            Event::Recovered => eprintln!("backup: it works again"),
            Event::Warning(text) => eprintln!("backup: {text}"),
            _ => {}
        },
    ));
    Ok(Keeper::open(folder.join("ledger.db"), repository, options)?)
}

fn serve(client: TcpStream, keeper: &Keeper) -> Result<(), Box<dyn Error>> {
    let mut db = keeper.connect()?;
    let mut answers = client.try_clone()?;
    for line in BufReader::new(client).lines() {
        let answer = match request(&line?, &mut db, keeper) {
            Ok(answer) => answer,
            Err(e) => format!("error: {e}"),
        };
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}

fn request(line: &str, db: &mut Connection, keeper: &Keeper) -> Result<String, Box<dyn Error>> {
    let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let text = rest.trim().trim_matches('"');
    match (word, &words[..]) {
        ("open", [name]) => {
            db.execute("INSERT INTO account VALUES(?1, 0)", [name])?;
            durable(keeper, format!("{name} is open"))
        }
        ("deposit", [name, cents]) => {
            transfer(db, None, name, cents.parse()?)?;
            durable(keeper, format!("{name} has {}", balance(db, name)?))
        }
        ("transfer", [source, target, cents]) => {
            transfer(db, Some(source), target, cents.parse()?)?;
            durable(keeper, format!("{source} has {}", balance(db, source)?))
        }
        ("balance", [name]) => Ok(balance(db, name)?.to_string()),
        ("snapshot", [_, ..]) => Ok(format!("seq:{}", keeper.snapshot(text)?.seq())),
        ("points", []) => {
            let labels = keeper.history().snapshots()?;
            let points = keeper.history().restore_points()?;
            let newest = points.iter().rev().take(10).map(|point| {
                let seq = point.seq();
                let of = labels.iter().filter(|label| label.seq == seq);
                let of: Vec<_> = of.map(|label| &*label.label).collect();
                format!("seq:{seq} {} {}", point.time(), of.join(", "))
            });
            Ok(newest.collect::<Vec<_>>().join("\n"))
        }
        ("rewind", [_, ..]) => {
            let rewound = keeper.rewind(&keeper.history().find(text)?)?;
            Ok(format!("rewound to seq:{}; undo: rewind seq:{}", rewound.to, rewound.before.seq))
        }
        ("status", []) => {
            let status = keeper.status();
            Ok(format!(
                "{}, {} transactions stored, {} pending, WAL {} bytes",
                status.activity.name(),
                status.published,
                status.pending,
                status.wal_bytes
            ))
        }
        _ => Err("open, deposit, transfer, balance, snapshot, points, rewind or status".into()),
    }
}

/// One transaction: both accounts and the entry, or nothing.
fn transfer(
    db: &mut Connection,
    source: Option<&str>,
    target: &str,
    cents: i64,
) -> Result<(), Box<dyn Error>> {
    if cents <= 0 {
        return Err("an amount is above zero".into());
    }
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if let Some(source) = source {
        let paid = transaction.execute(
            "UPDATE account SET cents = cents - ?2 WHERE name = ?1 AND cents >= ?2",
            params![source, cents],
        )?;
        if paid == 0 {
            return Err(format!("{source} does not have {cents}").into());
        }
    }
    transaction.execute(
        "INSERT INTO account VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET cents = cents + ?2",
        params![target, cents],
    )?;
    transaction.execute(
        "INSERT INTO entry(source, target, cents) VALUES(?1, ?2, ?3)",
        params![source, target, cents],
    )?;
    transaction.commit()?;
    Ok(())
}

fn balance(db: &Connection, name: &str) -> Result<i64, Box<dyn Error>> {
    let sql = "SELECT cents FROM account WHERE name = ?1";
    let cents = db.query_row(sql, [name], |row| row.get(0)).optional()?;
    cents.ok_or_else(|| format!("there is no account {name}").into())
}

/// The answer, with how sure it is: the transaction is committed in any case.
fn durable(keeper: &Keeper, answer: String) -> Result<String, Box<dyn Error>> {
    Ok(match keeper.wait_durable(DURABLE) {
        Ok(seq) => format!("{answer} (durable, seq:{seq})"),
        Err(e) => format!("{answer} (not in the repository yet: {e})"),
    })
}
