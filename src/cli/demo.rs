//! `demo`: a shop's database, a busy application, two mistakes, and the ways back, all in one
//! folder.
//!
//! Every step is the real binary, run as its own process, and printed so that it can be repeated by
//! hand in the folder. The application and a `watch` are processes of their own beside it
//! (`stage`).

mod stage;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::args::DemoArgs;
use super::context::Context;
use super::output::{counted, quote};
use super::shop;
use crate::api::demo::DemoSummary;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{random_bytes, write_hex};
use stage::{Beside, Stage, failed, wait_for_orders};
pub(crate) use stage::{WATCHER, WRITER, stop_with_input, write};

/// What the good state is called.
const LABEL: &str = "before the mistake";
/// What the state is called from which on every transaction is kept.
const OPEN: &str = "the shop is open again";
/// How many orders the application has to commit before and after a backup.
const ORDERS: u32 = 50;

pub(crate) fn demo(context: &Context, args: &DemoArgs) -> Result<()> {
    let dir = make_folder(args)?;
    let program = std::env::current_exe()
        .map_err(|e| Error::io(e, "cannot be found", "the running program"))?;
    let stage = Stage { context, dir: dir.clone(), program };
    let told = story(&stage).map_err(|e| match args.cleanup {
        true => e,
        false => e.with_hint(format!("the demo's files are in {}", dir.display())),
    });
    if args.cleanup {
        std::fs::remove_dir_all(&dir)
            .map_err(|e| Error::io(e, "cannot be removed", dir.display().to_string()))?;
    }
    let told = told?;
    context.out.json_summary(&DemoSummary {
        dir: dir.to_string_lossy().into_owned(),
        orders_before: told.before,
        orders_rescued: told.rescued,
        orders_lost: told.lost,
        orders_recovered: told.recovered,
        orders_sold_since: told.sold_since,
        kept: !args.cleanup,
    });
    if args.cleanup {
        context.out.summary("");
        context.out.summary("Done; the folder was removed.");
    } else {
        context.out.summary("");
        let dir = dir.display();
        context
            .out
            .summary(format_args!("Done. The database, the repository and its key are in {dir}"));
        context.out.summary(
            "Go there and try `pagekeep status -r repo --key-file key --state-dir state`, or `snapshots`, or `key list`.",
        );
    }
    Ok(())
}

fn make_folder(args: &DemoArgs) -> Result<PathBuf> {
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            let mut name = String::from("pagekeep-demo-");
            write_hex(&mut name, &random_bytes::<4>()?)
                .map_err(|e| failed("has no name").with_source(e))?;
            std::env::temp_dir().join(name)
        }
    };
    DirBuilder::new().mode(0o700).create(&dir).map_err(|e| {
        let exists = e.kind() == io::ErrorKind::AlreadyExists;
        let error = Error::io(e, "cannot be created", dir.display().to_string());
        if exists {
            return error
                .with_kind(ErrorKind::Refused)
                .with_hint("name a folder that does not exist");
        }
        error
    })?;
    std::fs::canonicalize(&dir)
        .map_err(|e| Error::io(e, "cannot be found", dir.display().to_string()))
}

/// How many orders the story was about.
struct Told {
    /// In the good state, and in what was restored of it.
    before: u32,
    rescued: u32,
    /// Gone with the second mistake, back again, and sold after it.
    lost: u32,
    recovered: u32,
    sold_since: u32,
}

fn story(stage: &Stage<'_>) -> Result<Told> {
    let database = stage.dir.join("shop.db");
    let (before, rescued) = a_moment_comes_back(stage, &database)?;
    let (lost, recovered, sold_since) = lost_rows_come_back(stage, &database)?;
    Ok(Told { before, rescued, lost, recovered, sold_since })
}

/// The first mistake is noticed at once: the moment before it comes back. Answers the number of
/// orders before it, and after the rescue.
fn a_moment_comes_back(stage: &Stage<'_>, database: &Path) -> Result<(u32, u32)> {
    stage.say("A shop's database, in WAL mode, with customers, products and orders:");
    stage.show(&format!("cd {}", quote(&stage.dir.to_string_lossy())));
    stage.show(&format!("alias pagekeep={}", quote(&stage.program.to_string_lossy())));
    shop::create(database)?;
    let orders = shop::count(database, "orders")?;
    stage.say(&format!("shop.db has {}.", counted(orders.into(), "order")));

    stage.next("A repository, and the key that opens it:");
    stage.pagekeep(&["init"])?;

    stage
        .next("An application begins to sell, many orders a second, and goes on while we back up:");
    let application = Beside::application(stage)?;
    wait_for_orders(database, orders + ORDERS)?;
    stage.pagekeep(&["backup", "shop.db"])?;
    wait_for_orders(database, orders + 3 * ORDERS)?;
    stage.pagekeep(&["backup", "shop.db"])?;
    application.stop()?;

    stage.next(
        "The application stops, and before somebody tidies up, one more backup, with a label:",
    );
    stage.pagekeep(&["backup", "shop.db", "--label", LABEL])?;
    let good = shop::count(database, "orders")?;

    stage.next("The mistake, in SQL:");
    stage.show(&format!("sqlite3 shop.db \"{}\"", shop::MISTAKE));
    shop::execute(database, shop::MISTAKE)?;
    stage.say(&format!(
        "shop.db has {} left, and nobody notices before the next backup:",
        counted(shop::count(database, "orders")?.into(), "order")
    ));
    stage.pagekeep(&["backup", "shop.db"])?;
    stage.pagekeep(&["log", "shop"])?;

    stage.next("The moment before the mistake comes back, beside the broken database:");
    let target = format!("shop@{LABEL}");
    stage.pagekeep(&["restore", &target, "rescued.db"])?;
    stage.next("The proof: a restore to scratch, SQLite's own checks, and what the shop itself holds to be true:");
    let assertion = shop::INVARIANT;
    stage.pagekeep(&["verify", &target, "--level", "restore", "--assert", assertion])?;

    let rescued = shop::count(&stage.dir.join("rescued.db"), "orders")?;
    if rescued != good {
        return Err(failed(&format!("rescued.db has {rescued} orders instead of {good}")));
    }
    stage.next(&format!("rescued.db has all {} again.", counted(rescued.into(), "order")));
    Ok((good, rescued))
}

/// The second one is noticed late, and the shop sells on: only the rows that were lost come back.
/// Answers the numbers of orders that were lost, that came back, and that were sold since.
fn lost_rows_come_back(stage: &Stage<'_>, database: &Path) -> Result<(u32, u32, u32)> {
    stage.next("shop.db itself goes back to that moment, and its customers are there again:");
    stage.pagekeep(&["rewind", "shop.db", "--to", LABEL])?;

    stage.next("From here on `watch` keeps every transaction while the application sells:");
    let watch = Beside::watch(stage)?;
    stage.pagekeep(&["backup", "shop.db", "--label", OPEN])?;
    let application = Beside::application(stage)?;
    let open = shop::newest_order(database)?;
    wait_for_orders(database, open + ORDERS)?;

    stage.next("Another mistake. This time the shop sells on, and nobody notices:");
    stage.show(&format!("sqlite3 shop.db \"{}\"", shop::TIDYING));
    let lost = shop::tidy(database)?;
    let mistaken = shop::newest_order(database)?;
    stage.say(&format!("{} are gone from shop.db.", counted(lost.into(), "order")));
    wait_for_orders(database, mistaken + ORDERS)?;

    stage.next("Until a customer asks for order 1000. Which transaction was it?");
    let noticed = seq_after("shop@seq:", &stage.pagekeep(&["backup", "shop.db"])?)?;
    let question = "SELECT count(*) FROM orders WHERE id = 1000";
    let to = format!("seq:{noticed}");
    let found = stage.pagekeep(&["find", "shop", question, "--from", OPEN, "--to", &to])?;
    let mistake = seq_after("changed with shop@seq:", &found)?;
    let good = format!("seq:{}", mistake.saturating_sub(1));

    stage.next("What it did, and nothing else:");
    stage.pagekeep(&["diff", &format!("shop@{good}"), &format!("@seq:{mistake}"), "--stat"])?;

    stage.next("Only these rows come back, in the live database, while the application sells:");
    stage.pagekeep(&["recover", "shop.db", "--at", &good, "--table", "orders"])?;
    wait_for_orders(database, shop::newest_order(database)? + ORDERS)?;
    application.stop()?;
    stage.pagekeep(&["backup", "shop.db"])?;
    watch.stop()?;

    stage.next("All orders are there, those that came after the mistake as well:");
    stage.pagekeep(&["query", "shop", "SELECT count(*), max(id) FROM orders"])?;
    stage.pagekeep(&["verify", "shop", "--level", "restore", "--assert", shop::INVARIANT])?;
    let (orders, newest) = (shop::count(database, "orders")?, shop::newest_order(database)?);
    if orders != newest {
        return Err(failed(&format!("shop.db has {orders} of {newest} orders")));
    }
    let sold_since = newest - mistaken;
    stage.next(&format!(
        "shop.db has all {} again, the {} sold since the mistake among them.",
        counted(orders.into(), "order"),
        counted(sold_since.into(), "order")
    ));
    Ok((lost, orders.saturating_sub(newest - lost), sold_since))
}

/// The number of the commit that a command named behind these words.
fn seq_after(words: &str, printed: &str) -> Result<u64> {
    let number = printed.split_once(words).and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    number.ok_or_else(|| failed(&format!("no commit is named in {printed:?}")))
}
