//! Slots that are removed at the same time: one that opens everything remains, whoever is faster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use pagekeep::internals::types::SlotId;
use pagekeep::{ErrorKind, Result};

use super::{Bench, Secret};
use crate::support::hooked::Hooked;
use crate::support::objects;

/// Removes a slot, and another one right before its operation `k`; whether that came to happen.
fn remove(
    bench: &Bench,
    first: SlotId,
    second: SlotId,
    k: u64,
) -> (Result<()>, Option<Result<()>>) {
    let other = bench.open(&bench.secrets.words);
    let event = move || other.remove_slot(second);
    let (pending, outcome) = (Arc::new(Mutex::new(Some(event))), Arc::new(Mutex::new(None)));
    let (due, told, done) = (pending, outcome.clone(), AtomicU64::new(0));
    let opened = Arc::new(AtomicU64::new(0));
    let counting = opened.clone();
    let store = Hooked::with_event(Arc::new(bench.store.clone()), move |_, _| {
        if counting.load(Ordering::SeqCst) == 1 && done.fetch_add(1, Ordering::SeqCst) == k {
            let event = due.lock().unwrap().take();
            *told.lock().unwrap() = event.map(|event| event());
        }
    });
    let repository = bench.through(Arc::new(store), &bench.secrets.file).unwrap();
    opened.store(1, Ordering::SeqCst);
    let removed = repository.remove_slot(first);
    let told = outcome.lock().unwrap().take();
    (removed, told)
}

#[test]
fn of_two_removals_at_once_one_leaves_a_slot_that_opens() {
    let mut raced = 0;
    for k in 0.. {
        let mut bench = Bench::new();
        let slots = bench.slots();
        let repository = bench.open(&bench.secrets.file);
        let of = |secret: &Secret| repository.slots_of(secret).unwrap()[0];
        let secrets = bench.secrets.clone();
        // Two are left, and each is removed by the other one's holder.
        repository.remove_slot(of(&secrets.recovery)).unwrap();
        let (first, second) = (of(&secrets.words), of(&secrets.file));
        assert_eq!(slots.len(), 3);
        let (removed, other) = remove(&bench, first, second, k);
        let Some(other) = other else {
            assert!(k > 3 && removed.is_ok());
            break;
        };
        let what = format!("at {k}: {removed:?}, {other:?}");
        for e in [&removed, &other].into_iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(e.kind(), ErrorKind::Busy | ErrorKind::Refused), "{what}");
            raced += u64::from(e.kind() == ErrorKind::Busy);
        }
        let is_there = |id: SlotId| objects(&bench.store).contains_key(&format!("keys/{id}"));
        let (has_first, has_second) = (is_there(first), is_there(second));
        assert!(has_first || has_second, "{what}");
        assert_eq!((removed.is_ok(), other.is_ok()), (!has_first, !has_second), "{what}");
        let kept = if has_first { &secrets.words } else { &secrets.file };
        bench.all_open_everything(std::slice::from_ref(kept), &what);
    }
    assert!(raced > 0);
}
