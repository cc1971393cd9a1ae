//! A view against what the database was, beside whatever happens to the objects that it reads.

use std::collections::BTreeMap;

use super::*;
use crate::chance::Random;
use crate::format::segment::Location;
use crate::ops::trial::{Bench, HOUR};
use crate::policy::retention::Policy;
use crate::repo::chain::lookup::{Blocks, Lookup};
use crate::repo::chain::page_map::PageMap;
use crate::types::{Digest, SegmentId, Seq};

/// A history of some commits, of which a prune may have merged some.
fn bench(seed: u64, commits: usize, merged: bool) -> Bench {
    let mut bench = Bench::new(seed);
    for i in 0..commits {
        bench.pass(HOUR);
        bench.commit();
        if merged && i % 4 == 3 {
            prune(&mut bench, 5);
        }
    }
    bench
}

fn prune(bench: &mut Bench, last: u32) {
    let policy = Policy { last, ..Policy::default() };
    bench.history.prune(&bench.options(policy.clone()), &Silent).unwrap();
    // Of what is replaced nothing stays.
    bench.pass(HOUR);
    bench.history.prune(&bench.options(policy), &Silent).unwrap();
}

fn point(bench: &Bench, seq: Seq) -> RestorePoint {
    bench.history.point(seq).unwrap()
}

fn bounds(threads: usize) -> Bounds {
    Bounds { index: 1 << 20, batches: 4 << 20, contents: 1 << 20, near: 1 << 20, threads }
}

/// All pages, as a connection would read them one by one.
fn all(moment: &Moment) -> Result<Vec<u8>> {
    let page_len = moment.page_size().bytes();
    let mut bytes = vec![0; page_len * usize::try_from(moment.pages()).unwrap()];
    for (page, into) in (1..).map(PageNo).zip(bytes.chunks_exact_mut(page_len)) {
        moment.read(page, into)?;
    }
    Ok(bytes)
}

type Place = (SegmentId, Location, u16, Digest);

#[test]
fn a_lookup_finds_the_versions_that_a_page_map_finds() {
    for seed in 0..30 {
        let bench = bench(seed, 12, seed % 3 > 0);
        let chain = Arc::new(bench.history.chain().unwrap());
        let mut random = Random::new(seed);
        for commit in chain.commits() {
            let mut expected: BTreeMap<PageNo, Place> = BTreeMap::new();
            let mut map = PageMap::new(&commit, chain.lineage(commit.seq)).unwrap();
            while let Some(wanted) = map.next_window().unwrap() {
                for w in wanted {
                    let place = |(slot, page, digest)| {
                        (page, (w.segment.reference.id, w.batch.at, slot, digest))
                    };
                    expected.extend(w.pages.into_iter().map(place));
                }
            }
            // Blocks that are read again, and ones that are kept.
            for bound in [0, 1 << 20] {
                let lookup = Lookup::new(&chain, &commit, Blocks::within(bound).unwrap());
                let pages: Vec<PageNo> = expected
                    .keys()
                    .copied()
                    .filter(|_| bound > 0 || random.below(4) == 0)
                    .collect();
                let found = lookup.find(&pages).unwrap();
                assert_eq!(found.len(), pages.len());
                for (page, version) in pages.iter().zip(found) {
                    let v = version.unwrap();
                    let place = (v.segment.reference.id, v.batch.at, v.slot, v.digest);
                    assert_eq!(place, expected[page], "seed {seed}, {} page {page}", commit.seq);
                }
                let beyond = PageNo(commit.record.pages + 100_000);
                let e = lookup.find(&[PageNo(1), beyond]).unwrap_err();
                assert_eq!(e.kind(), ErrorKind::Damaged);
            }
        }
    }
}

#[test]
fn every_page_of_every_commit_is_what_it_was_with_and_without_reading_ahead() {
    for seed in 0..20 {
        let bench = bench(seed, 10, seed % 2 == 0);
        let chain = bench.history.chain().unwrap();
        for commit in chain.commits() {
            for (threads, cache) in [(0, 0), (3, 8 << 20)] {
                let options = ViewOptions::default().read_ahead(threads > 0).cache_bytes(cache);
                let moment = Moment::of(&point(&bench, commit.seq), &options).unwrap();
                assert!(all(&moment).unwrap() == bench.expected[&commit.seq], "{}", commit.seq);
            }
        }
    }
}

#[test]
fn a_view_goes_on_when_a_prune_replaces_all_that_it_reads_from() {
    for seed in 0..10 {
        let mut bench = bench(seed, 8, false);
        let seqs: Vec<Seq> = bench.expected.keys().copied().collect();
        let (old, kept) = (seqs[0], seqs[seqs.len() - 2]);
        let options = ViewOptions::default().read_ahead(false);
        let view = |seq| Moment::of(&point(&bench, seq), &options).unwrap();
        let (old, kept, expected) = (view(old), view(kept), bench.expected[&kept].clone());
        let before = bench.history.chain().unwrap();
        prune(&mut bench, 3);
        let store = bench.history.repository().store();
        let is_gone = |name: &str| store.head(name).unwrap().is_none();
        assert!(before.segments().iter().any(|s| is_gone(s.name())), "nothing was merged");
        assert!(all(&kept).unwrap() == expected, "seed {seed}");
        // It is where it is now, and reads on from there.
        let now = kept.now.read().unwrap().chain.newest().map(|s| s.name().to_owned());
        assert!(now.is_some());
        let e = all(&old).unwrap_err();
        assert_eq!((e.kind(), e.message()), (ErrorKind::NotFound, "was pruned meanwhile"));
        assert!(e.hint().is_some_and(|hint| hint.to_string().contains("begin again")));
    }
}

#[test]
fn threads_that_read_ahead_end_with_the_view() {
    let bench = bench(3, 6, false);
    let commit = bench.history.latest().unwrap().unwrap();
    let pages = Pages::new(
        &bench.history,
        &commit.chain,
        &commit.commit,
        &Cache::within(bounds(4)).unwrap(),
    )
    .unwrap();
    let mut page = vec![0; pages.page_size().bytes()];
    for at in 1..=pages.count() {
        pages.read(PageNo(at), &mut page).unwrap();
    }
    // Joined, or this test does not end.
    drop(pages);
}
