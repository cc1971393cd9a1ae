//! How many calls of the store each deed may take.
//!
//! With object storage a call costs money and a round trip, and a listing most of all. So a deed
//! that needs more calls than today fails here; one that needs fewer should lower its budget.

use std::sync::Arc;

use crate::support::Lab;
use crate::support::followed::{PATIENCE, app, at_once, start};
use pagekeep::testing::{Call, CountingStore, Verb};
use pagekeep::{BackupOptions, Repository, RestoreOptions, Silent, ViewOptions};

/// At most so many calls.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// That change something: these are the dearest but for listings.
    writes: usize,
    lists: usize,
    /// Of objects, or of what is known about one.
    reads: usize,
}

impl Budget {
    fn holds(self, deed: &str, calls: &[Call]) {
        let spent = |verbs: &[Verb]| calls.iter().filter(|call| verbs.contains(&call.verb)).count();
        let writes = spent(&[Verb::Create, Verb::Upload, Verb::Delete]);
        let lists = spent(&[Verb::List, Verb::ListDirs]);
        let reads = spent(&[Verb::Get, Verb::GetRange, Verb::Head]);
        let told: Vec<String> = calls.iter().map(Call::to_string).collect();
        assert!(
            writes <= self.writes && lists <= self.lists && reads <= self.reads,
            "{deed} took {writes} writes, {lists} lists, {reads} reads of {self:?}:\n{}",
            told.join("\n")
        );
    }
}

#[test]
fn each_deed_keeps_within_its_budget() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = app(&path);
    let commit = || app.execute_batch("INSERT INTO t(x) VALUES(1)").unwrap();
    let store = Arc::new(CountingStore::new(Arc::new(lab.store.clone())));
    let keeps = |deed: &str, [writes, lists, reads]: [usize; 3]| {
        Budget { writes, lists, reads }.holds(deed, &store.take());
    };
    let backup = |repository: &Repository| {
        repository.backup(&path, &BackupOptions::default(), &Silent).unwrap()
    };
    let repository = lab.through(store.clone()).unwrap();
    keeps("opening a repository", [0, 1, 2]);
    backup(&repository);
    keeps("a first backup", [5, 27, 13]);
    for segments in 2..5 {
        commit();
        backup(&repository);
        // Those that the chain reads: one a segment, up to where they are merged.
        keeps("a backup of a change", [1, 10, 16 + segments]);
    }
    backup(&repository);
    keeps("a backup of nothing", [0, 10, 18]);
    let newest = repository.history("app").unwrap().latest().unwrap().unwrap();
    keeps("looking for the newest commit", [0, 5, 5]);
    newest.restore(&lab.path("out.db"), &RestoreOptions::default(), &Silent).unwrap();
    keeps("a restore", [0, 0, 8]);
    newest.label("before the release").unwrap();
    keeps("a label", [1, 6, 4]);
}

/// One row by its key: what is read are the index block and the batches of the pages that lead to
/// it, each once. What came with a manifest is not read again, and nothing is read ahead.
#[test]
fn a_point_query_reads_what_leads_to_the_row_and_no_more() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = app(&path);
    app.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
         INSERT INTO t(x) SELECT hex(randomblob(400)) FROM n",
    )
    .unwrap();
    let store = Arc::new(CountingStore::new(Arc::new(lab.store.clone())));
    let repository = lab.through(store.clone()).unwrap();
    let point = || repository.history("app").unwrap().latest().unwrap().unwrap();
    let ask = |deed: &str, reads: usize| {
        let point = point();
        store.take();
        let view = point.open(&ViewOptions::default()).unwrap();
        for _ in 0..3 {
            let found: i64 = view
                .query_row("SELECT length(x) FROM t WHERE rowid = 2000", [], |row| row.get(0))
                .unwrap();
            assert!(found > 0);
        }
        Budget { writes: 0, lists: 0, reads }.holds(deed, &store.take());
    };
    repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
    // The index block, and the batches of page 1, of the page that leads to the leaf, of the leaf.
    ask("a row of a base", 4);
    app.execute_batch("UPDATE t SET x = hex(randomblob(400)) WHERE rowid = 2000").unwrap();
    repository.backup(&path, &BackupOptions::default(), &Silent).unwrap();
    // The leaf is in the delta, whose index came with its manifest; the others are where they were.
    ask("a row of a delta", 4);
}

/// What is paid for each second of a database that is written to all day.
#[test]
fn a_follower_lists_nothing_in_steady_state() {
    let lab = Lab::new();
    let path = lab.path("app.db");
    let app = app(&path);
    let store = Arc::new(CountingStore::new(Arc::new(lab.store.clone())));
    let repository = lab.through(store.clone()).unwrap();
    let (follower, _) = start(&repository, &path, at_once());
    let mut published = 0;
    // After sixteen it looks for something to merge, which is another deed.
    for n in 0..14 {
        app.execute_batch("INSERT INTO t(x) VALUES(1)").unwrap();
        follower.wait_durable(PATIENCE).unwrap();
        let calls = store.take();
        let segments = |call: &&Call| call.verb == Verb::Create && call.name.contains("/log/");
        published += calls.iter().filter(segments).count();
        // The first barrier may come before the follower has taken the database up.
        if n > 0 {
            Budget { writes: 1, lists: 0, reads: 5 }.holds("a commit", &calls);
        }
    }
    assert!(published >= 14, "{published} segments");
    follower.stop().unwrap();
    let calls = store.take();
    Budget { writes: 2, lists: 0, reads: 4 }.holds("the end", &calls);
}
