//! The real binary, killed at random moments again and again: whatever it was at, nothing that was stored is lost or damaged.
//!
//! `PAGEKEEP_KILL_SECONDS=300 cargo test --test cli kills::` goes on for minutes.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::cli::Lab;
use crate::support::dice::{Dice, number};
use crate::support::heavy;
use rusqlite::Connection;

/// So many at least, however long they take: every eighth is followed by a look at what is stored.
const KILLS: u32 = 48;

#[test]
fn kills_at_random_moments_lose_nothing_that_was_stored() {
    let _heavy = heavy();
    let lab = Lab::new();
    let db = Connection::open(lab.path("app.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE k(n INTEGER PRIMARY KEY, x BLOB)")
        .unwrap();
    let mut dice = Dice::new(number("PAGEKEEP_KILL_SEED", 1));
    let until = Instant::now() + Duration::from_secs(number("PAGEKEEP_KILL_SECONDS", 15));
    // What a backup that ended well said: seq, and how many rows there were.
    let mut stored: BTreeMap<u64, i64> = BTreeMap::new();
    let (mut kills, mut rows, mut prunes) = (0u32, 0i64, 0);
    // A slow machine takes longer for as many.
    while Instant::now() < until || kills < KILLS {
        for _ in 0..dice.below(5) {
            let size = if dice.below(10) == 0 { 1_500_000 } else { 700 };
            db.execute("INSERT INTO k(x) VALUES(randomblob(?1))", [size]).unwrap();
            rows += 1;
        }
        db.execute(
            "UPDATE k SET x=randomblob(300) WHERE n%9=?1",
            [i64::try_from(dice.below(9)).unwrap()],
        )
        .unwrap();
        let command: &[&str] = match dice.below(6) {
            0 | 1 => &["backup", "app.db"],
            2 => &["watch", "app.db", "--interval", "0"],
            3 => &["prune", "app", "--keep-last", "12", "--grace", "0"],
            4 => &["restore", "app", "out.db", "--force", "--check", "none"],
            _ => &["verify", "app", "--level", "chain"],
        };
        let mut child =
            lab.command(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let patience = Duration::from_micros(dice.below(60_000));
        let begun = Instant::now();
        while begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if kills % 8 != 0 {
            continue;
        }
        // In between a backup and a prune are let go to their end.
        let done = lab.summary(&["backup", "app.db"]);
        stored.insert(done["seq"].as_u64().unwrap(), rows);
        if kills % 24 == 0 {
            lab.ok(&["prune", "app", "--keep-last", "12", "--grace", "0"]);
            prunes += 1;
        }
        let there = lab.seqs();
        let newest = there.last().copied().unwrap();
        assert_eq!(stored.keys().last(), Some(&newest), "after {kills} kills");
        // Of what was stored all is there that the last twelve are about.
        assert!(there.len() >= stored.len().min(12).min(usize::try_from(newest).unwrap()));
        let oldest_kept = there[there.len().saturating_sub(12)];
        for (seq, rows) in stored.range(oldest_kept..) {
            assert!(there.contains(seq), "commit {seq} is gone after {kills} kills");
            let _ = std::fs::remove_file(lab.path("check.db"));
            lab.ok(&["restore", &format!("app@seq:{seq}"), "check.db"]);
            assert_eq!(lab.number("check.db", "SELECT count(*) FROM k"), *rows, "commit {seq}");
        }
        stored = stored.split_off(&oldest_kept);
        if kills % 40 == 0 {
            lab.ok(&["verify", "app", "--level", "data"]);
        }
    }
    lab.ok(&["prune", "app", "--keep-last", "12", "--grace", "0"]);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&["repair", "app"]);
    println!("{kills} kills, {prunes} prunes, {rows} rows");
}
