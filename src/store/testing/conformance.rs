//! One suite for every [`Store`]: what the trait promises, tried out.
//!
//! Call [`check`] with an empty store. It panics at the first promise that is not kept, which is
//! what tests want; nothing in the engine calls it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::ErrorKind;
use crate::store::contract::{Created, Store};

/// Checks the whole contract on an empty store.
///
/// # Panics
/// When the store breaks it.
pub fn check(store: &dyn Store) {
    absent_objects_are_none(store);
    created_objects_are_seen_and_kept(store);
    ranges_end_where_the_object_does(store);
    exactly_one_of_racing_creators_wins(store);
    uploads_appear_whole_or_not_at_all(store);
    listings_are_sorted_and_complete(store);
    deleting_is_idempotent(store);
    odd_names_are_refused(store);
}

fn absent_objects_are_none(store: &dyn Store) {
    assert_eq!(store.head("a/none").unwrap(), None);
    assert_eq!(store.get("a/none", 10).unwrap(), None);
    assert_eq!(store.get_range("a/none", 0, 10).unwrap(), None);
    assert!(store.list("a/").unwrap().is_empty());
    assert!(store.list_dirs("a/").unwrap().is_empty());
}

fn created_objects_are_seen_and_kept(store: &dyn Store) {
    assert_eq!(store.create("a/one", b"first").unwrap(), Created::New);
    assert_eq!(store.create("a/one", b"second").unwrap(), Created::Exists);
    assert_eq!(store.get("a/one", 5).unwrap().unwrap(), b"first");
    assert_eq!(store.head("a/one").unwrap(), Some(5));
    assert_eq!(store.get("a/one", 4).unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(store.create("a/empty", b"").unwrap(), Created::New);
    assert_eq!(store.get("a/empty", 0).unwrap().unwrap(), b"");
}

fn ranges_end_where_the_object_does(store: &dyn Store) {
    store.create("r/x", b"0123456789").unwrap();
    let range = |offset, len| store.get_range("r/x", offset, len).unwrap().unwrap();
    assert_eq!(range(0, 10), b"0123456789");
    assert_eq!(range(3, 4), b"3456");
    assert_eq!(range(8, 10), b"89");
    assert_eq!(range(10, 1), b"");
    assert_eq!(range(u64::MAX, 1), b"");
}

fn exactly_one_of_racing_creators_wins(store: &dyn Store) {
    for round in 0..20 {
        let name = format!("race/{round}");
        let winners = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for racer in 0..4u8 {
                let (name, winners) = (&name, &winners);
                s.spawn(move || {
                    let bytes = [racer; 100];
                    if store.create(name, &bytes).unwrap() == Created::New {
                        winners.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(store.get(name, 100).unwrap().unwrap(), bytes);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1, "{name}");
        let left = store.get(&name, 100).unwrap().unwrap();
        assert!(left.len() == 100 && left.iter().all(|b| *b == left[0]));
    }
}

fn uploads_appear_whole_or_not_at_all(store: &dyn Store) {
    let mut upload = store.upload("u/big").unwrap();
    upload.write(b"one ").unwrap();
    upload.write(b"two").unwrap();
    assert_eq!(store.head("u/big").unwrap(), None);
    assert!(store.list("u/").unwrap().is_empty());
    upload.finish().unwrap();
    assert_eq!(store.get("u/big", 100).unwrap().unwrap(), b"one two");
    let mut dropped = store.upload("u/dropped").unwrap();
    dropped.write(b"x").unwrap();
    drop(dropped);
    assert_eq!(store.head("u/dropped").unwrap(), None);
}

fn listings_are_sorted_and_complete(store: &dyn Store) {
    for name in ["l/b/2", "l/a", "l/b/1", "l/c/d/3", "lx/no"] {
        store.create(name, name.as_bytes()).unwrap();
    }
    let listed = store.list("l/").unwrap();
    let names: Vec<&str> = listed.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["l/a", "l/b/1", "l/b/2", "l/c/d/3"]);
    assert_eq!(listed[3].len, 7);
    assert_eq!(store.list_dirs("l/").unwrap(), ["l/b", "l/c"]);
    assert!(store.list("l").is_err());
}

fn deleting_is_idempotent(store: &dyn Store) {
    store.create("d/x", b"1").unwrap();
    store.delete("d/x").unwrap();
    store.delete("d/x").unwrap();
    assert_eq!(store.head("d/x").unwrap(), None);
    assert_eq!(store.create("d/x", b"2").unwrap(), Created::New);
}

fn odd_names_are_refused(store: &dyn Store) {
    for name in ["", "/a", "a/", "a//b", "../a", "a/../b", ".x", "a/.tmp-1", "a b", "a\0b"] {
        assert_eq!(store.create(name, b"x").unwrap_err().kind(), ErrorKind::Usage, "{name:?}");
        assert!(store.get(name, 10).is_err() && store.head(name).is_err(), "{name:?}");
    }
}
