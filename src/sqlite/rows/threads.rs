//! The same work on many things, by several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// How many things a thread works on before it hands on what it found.
const AT_ONCE: usize = 256;

/// Does some work on each of some things, which lie in the order in which they are best read, and
/// gives the results in any order.
///
/// # Errors
/// What the work answers.
pub(super) fn each<T: Sync, R: Send>(
    things: &[T],
    threads: usize,
    work: &(dyn Fn(&T) -> Result<R> + Sync),
    take: &mut (dyn FnMut(R) + Send),
) -> Result<()> {
    let chunks: Vec<&[T]> = things.chunks(AT_ONCE).collect();
    let threads = threads.min(chunks.len());
    if threads < 2 {
        return things.iter().try_for_each(|thing| work(thing).map(&mut *take));
    }
    let (next, take) = (AtomicUsize::new(0), Mutex::new(take));
    let go = || -> Result<()> {
        while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = chunk.iter().map(work).collect::<Result<Vec<R>>>();
            if found.is_err() {
                // The others need not go on.
                next.store(chunks.len(), Ordering::Relaxed);
            }
            let mut take = take.lock().unwrap_or_else(PoisonError::into_inner);
            found?.into_iter().for_each(|found| (*take)(found));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(go)).collect();
        let ended = threads.into_iter().map(|thread| {
            let panicked = |_| Error::new(ErrorKind::Failure, "a thread that read pages panicked");
            thread.join().map_err(panicked).flatten()
        });
        // All have ended before the first error is told.
        ended.collect::<Vec<Result<()>>>().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_worked_on_once_and_an_error_is_told() {
        let things: Vec<u32> = (0..5000).collect();
        for threads in [0, 1, 3] {
            let mut found = Vec::new();
            each(&things, threads, &|thing| Ok(thing * 2), &mut |n| found.push(n)).unwrap();
            found.sort_unstable();
            assert_eq!(found, things.iter().map(|thing| thing * 2).collect::<Vec<_>>());
            let fails = |thing: &u32| match thing {
                3000 => Err(Error::new(ErrorKind::Damaged, "here")),
                _ => Ok(()),
            };
            let e = each(&things, threads, &fails, &mut |()| {}).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Damaged);
        }
    }
}
