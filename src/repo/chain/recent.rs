//! What was used last, within a bound of bytes.

use std::hash::Hash;
use std::sync::Arc;

use lru::LruCache;

/// Values that were used last. Their sizes add up to no more than a bound; but the newest value
/// stays, however large it is.
pub(super) struct Recent<K: Hash + Eq, V: ?Sized> {
    values: LruCache<K, (Arc<V>, usize)>,
    bytes: usize,
    bound: usize,
}

impl<K: Hash + Eq, V: ?Sized> Recent<K, V> {
    /// Nothing yet, and room for so many bytes.
    pub(super) fn within(bound: usize) -> Self {
        Self { values: LruCache::unbounded(), bytes: 0, bound }
    }

    /// A value that is still there. It counts as used now.
    pub(super) fn get(&mut self, key: &K) -> Option<Arc<V>> {
        self.values.get(key).map(|(value, _)| value.clone())
    }

    /// Whether a value is still there. That does not count as use.
    pub(super) fn has(&self, key: &K) -> bool {
        self.values.contains(key)
    }

    /// Keeps a value of so many bytes, and forgets those that were not used for the longest time.
    /// Returns one of these, if there is any.
    pub(super) fn put(&mut self, key: K, value: Arc<V>, bytes: usize) -> Option<Arc<V>> {
        let mut forgotten = None;
        if let Some((_, before)) = self.values.put(key, (value, bytes)) {
            self.bytes = self.bytes.saturating_sub(before);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > self.bound && self.values.len() > 1 {
            let Some((_, (value, oldest))) = self.values.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(oldest);
            forgotten = Some(value);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_the_longest_time_is_forgotten_first() {
        let mut recent = Recent::within(10);
        for (key, bytes) in [("a", 4), ("b", 4), ("c", 2)] {
            recent.put(key, Arc::new(key), bytes);
        }
        assert_eq!(recent.get(&"a").as_deref(), Some(&"a"));
        assert_eq!(recent.put("d", Arc::new("d"), 1).as_deref(), Some(&"b"));
        assert!(!recent.has(&"b") && recent.has(&"a") && recent.has(&"c") && recent.has(&"d"));
        assert_eq!(recent.bytes, 7);
    }

    #[test]
    fn the_newest_value_stays_however_large_it_is() {
        let mut recent = Recent::within(10);
        recent.put("small", Arc::new(()), 1);
        recent.put("large", Arc::new(()), 100);
        assert!(recent.has(&"large") && !recent.has(&"small"));
        recent.put("large", Arc::new(()), 3);
        assert_eq!(recent.bytes, 3);
    }
}
