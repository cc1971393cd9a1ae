//! Pages of metrics, made when they are asked for. Who asks at the same time gets the same one, and
//! clients that read slowly hold no more than a few in memory.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use crate::daemon::metrics::{Besides, page};
use crate::daemon::overview::Overview;

/// For how long a page is as good as a new one.
const FRESH: Duration = Duration::from_millis(500);
/// How many pages there are at most: the newest, and those that somebody still reads.
const MOST: usize = 4;

/// The pages that there are.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    newest: Option<(Instant, Arc<str>)>,
    alive: Vec<Weak<str>>,
}

/// A page that somebody reads.
struct Read(Arc<str>);

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Pages {
    /// A page of an overview; none while too many are read slowly.
    pub(super) fn page(
        &self,
        overview: &Overview,
        besides: &Besides,
        now: Instant,
    ) -> Option<Bytes> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, page)) = &state.newest
            && now.saturating_duration_since(*at) < FRESH
        {
            return Some(Bytes::from_owner(Read(page.clone())));
        }
        state.newest = None;
        state.alive.retain(|page| page.strong_count() > 0);
        if state.alive.len() >= MOST {
            return None;
        }
        let page: Arc<str> = page(overview, besides).into();
        state.alive.push(Arc::downgrade(&page));
        state.newest = Some((now, page.clone()));
        Some(Bytes::from_owner(Read(page)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_slowly_holds_no_more_than_a_few_pages() {
        let (pages, overview) = (Pages::default(), Overview::default());
        let mut now = Instant::now();
        let mut page = |pages: &Pages| {
            now += FRESH;
            pages.page(&overview, &Besides::default(), now)
        };
        let mut held: Vec<Bytes> = (0..MOST).map(|_| page(&pages).unwrap()).collect();
        assert!(page(&pages).is_none());
        held.pop();
        let last = page(&pages).unwrap();
        assert!(last.starts_with(b"# HELP "));
        // At the same time it is the same one.
        let again = pages.page(&overview, &Besides::default(), now).unwrap();
        assert_eq!(again.as_ptr(), last.as_ptr());
    }
}
