//! Trails against lookups, and damage on the way.

use std::sync::Arc;

use super::*;
use crate::chance::Random;
use crate::error::{Error, ErrorKind};
use crate::ops::trial::{Bench, HOUR};
use crate::policy::retention::Policy;
use crate::progress::Silent;
use crate::repo::chain::lookup::{Blocks, Lookup};
use crate::repo::chain::trail::Trail;
use crate::store::Store;
use crate::types::PageNo;

/// A history of some commits, of which prunes may have merged some.
fn bench(seed: u64, commits: usize, merged: bool) -> Bench {
    let mut bench = Bench::new(seed);
    for i in 0..commits {
        bench.pass(HOUR);
        bench.commit();
        if merged && i % 4 == 3 {
            let policy = Policy { last: 6, ..Policy::default() };
            bench.history.prune(&bench.options(policy), &Silent).unwrap();
        }
    }
    bench
}

#[test]
fn a_trail_finds_the_versions_that_a_lookup_of_each_commit_finds() {
    for seed in 0..30 {
        let bench = bench(seed, 16, seed % 3 > 0);
        let chain = Arc::new(bench.history.chain().unwrap());
        let mut random = Random::new(seed);
        let newest = chain.latest().unwrap();
        let mut trail = Trail::new(&bench.history, chain.clone(), &newest).unwrap();
        let commits: Vec<_> = chain.commits().collect();
        for commit in commits.iter().rev() {
            if random.below(4) == 0 {
                continue;
            }
            trail.go_back(commit);
            let all = 1..=commit.record.pages;
            let pages: Vec<PageNo> = all.filter(|_| random.below(3) > 0).map(PageNo).collect();
            let lookup = Lookup::new(&chain, commit, Blocks::within(1 << 20).unwrap());
            let expected = lookup.find(&pages).unwrap();
            let found = trail.find(&pages).unwrap();
            let page_len = commit.segment.manifest.page_size.bytes();
            for ((page, version), found) in pages.iter().zip(expected).zip(found) {
                let (written, digest) = found.unwrap();
                assert_eq!(digest, version.unwrap().digest, "seed {seed}, {page}");
                assert!(written <= commit.seq);
                if random.below(3) == 0 {
                    let content = trail.content(*page).unwrap().unwrap();
                    let at = page_len * usize::try_from(page.0 - 1).unwrap();
                    assert!(content[..] == bench.expected[&commit.seq][at..at + page_len]);
                }
            }
            let beyond = PageNo(commit.record.pages + 100_000);
            assert_eq!(trail.find(&[beyond, PageNo(1)]).unwrap()[0], None);
            assert_eq!(trail.content(beyond).unwrap_err().kind(), ErrorKind::Damaged);
        }
    }
}

fn versions(bench: &Bench, key: i64) -> (Vec<Seq>, Result<Trace>) {
    let mut found = Vec::new();
    let options = TraceOptions::default();
    let trace = bench.history.trace("t", &[key.into()], &options, &Silent, &mut |version| {
        found.push(version.seq);
        Ok(())
    });
    (found, trace)
}

/// A history in which the row 1 changes with each of its commits.
fn busy(commits: u64) -> Bench {
    let mut bench = Bench::with_page_size(7, 512);
    for i in 0..commits {
        bench.pass(HOUR);
        let sql = format!("INSERT OR REPLACE INTO t VALUES(1, {i}); INSERT INTO t(x) VALUES({i})");
        bench.app.execute_batch(&sql).unwrap();
        bench.capture();
    }
    bench
}

#[test]
fn damage_on_the_way_is_told_by_its_object_behind_the_versions_that_are_newer() {
    let bench = busy(8);
    let name = bench.history.chain().unwrap().commit(Seq(5)).unwrap().segment.name().to_owned();
    let mut bytes = bench.store.get(&name, u64::MAX).unwrap().unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bench.store.damage(&name, &bytes);
    let (found, ended) = versions(&bench, 1);
    let e = ended.unwrap_err();
    assert_eq!((e.kind(), e.object()), (ErrorKind::Damaged, Some(&*name)), "{e:?}");
    assert!([Seq(8), Seq(7)].starts_with(&found) || found == [Seq(8), Seq(7), Seq(6)], "{found:?}");
}

#[test]
fn a_hole_hides_the_versions_in_it_and_what_needs_a_page_of_it_is_damage() {
    let mut bench = busy(8);
    let lose = |bench: &Bench, seq| {
        let chain = bench.history.chain().unwrap();
        let name = chain.commit(Seq(seq)).unwrap().segment.name().to_owned();
        bench.store.delete(&name).unwrap();
    };
    lose(&bench, 5);
    let (found, ended) = versions(&bench, 1);
    // Commit 6 wrote the row's pages itself.
    assert_eq!((ended.unwrap().versions, found), (7, [8, 7, 6, 4, 3, 2, 1].map(Seq).to_vec()));
    bench = busy(5);
    for _ in 0..3 {
        bench.pass(HOUR);
        let sql = "CREATE TABLE IF NOT EXISTS u(x); INSERT INTO u VALUES(1)";
        bench.app.execute_batch(sql).unwrap();
        bench.capture();
    }
    lose(&bench, 5);
    let (found, ended) = versions(&bench, 1);
    let e = ended.unwrap_err();
    assert_eq!((e.kind(), found), (ErrorKind::Damaged, vec![]), "{e:?}");
    assert!(e.message().contains("pages that are missing") && e.hint().is_some(), "{e:?}");
}

#[test]
fn a_monitor_stops_it_and_so_does_whoever_is_told() {
    struct Stopped;
    impl Monitor for Stopped {
        fn cancelled(&self) -> bool {
            true
        }
    }
    let bench = busy(3);
    let options = TraceOptions::default();
    let e = bench.history.trace("t", &[1.into()], &options, &Stopped, &mut |_| Ok(()));
    assert_eq!(e.unwrap_err().kind(), ErrorKind::Interrupted);
    let enough = || Error::new(ErrorKind::NoSpace, "enough");
    let e = bench.history.trace("t", &[1.into()], &options, &Silent, &mut |_| Err(enough()));
    assert_eq!(e.unwrap_err().kind(), ErrorKind::NoSpace);
}
