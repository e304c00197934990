//! Maps that hold what came last and never grow beyond a size.

use std::collections::HashMap;
use std::hash::Hash;

/// Holds at least the last half and at most all of `max` entries. What is evicted is evicted half by half: that takes no
/// order, and no memory for one.
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    max: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Empty.
    pub(super) fn new(max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            max,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.max / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        for half in [&mut self.young, &mut self.old] {
            half.retain(|key, value| keep(key, value));
        }
    }

    pub(super) fn clear(&mut self) {
        (self.young, self.old) = (HashMap::new(), HashMap::new());
    }
}

/// As [`Recent`], with keys of two parts, and all of one first part forgotten at once.
pub(super) struct RecentOf<G, K, V> {
    young: HashMap<G, HashMap<K, V>>,
    old: HashMap<G, HashMap<K, V>>,
    /// Values in `young`.
    count: usize,
    max: usize,
}

impl<G: Hash + Eq, K: Hash + Eq, V> RecentOf<G, K, V> {
    /// Empty.
    pub(super) fn new(max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            count: 0,
            max,
        }
    }

    pub(super) fn get(&self, group: &G, key: &K) -> Option<&V> {
        let of = |half: &'_ HashMap<G, HashMap<K, V>>| half.contains_key(group);
        let young = self.young.get(group).and_then(|values| values.get(key));
        if young.is_some() || !of(&self.old) {
            return young;
        }
        self.old.get(group)?.get(key)
    }

    pub(super) fn insert(&mut self, group: G, key: K, value: V) {
        self.remove(&group, &key);
        if self.count >= self.max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.count = 0;
        }
        self.young.entry(group).or_default().insert(key, value);
        self.count += 1;
    }

    pub(super) fn remove(&mut self, group: &G, key: &K) {
        let take = |half: &mut HashMap<G, HashMap<K, V>>| {
            let Some(values) = half.get_mut(group) else {
                return false;
            };
            let removed = values.remove(key).is_some();
            if values.is_empty() {
                half.remove(group);
            }
            removed
        };
        self.count -= usize::from(take(&mut self.young));
        take(&mut self.old);
    }

    pub(super) fn remove_all(&mut self, group: &G) {
        self.count -= self.young.remove(group).map_or(0, |values| values.len());
        self.old.remove(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_half_stays_and_the_whole_is_bounded() {
        let mut recent = Recent::new(100);
        let mut of = RecentOf::new(100);
        for number in 0..1000 {
            recent.insert(number, number);
            of.insert(number % 7, number, number);
        }
        let kept = (0..1000).filter(|number| recent.get(number).is_some());
        assert!(kept.count() <= 100);
        let kept = (0..1000).filter(|number| of.get(&(number % 7), number).is_some());
        assert!(kept.count() <= 100);
        for number in 950..1000 {
            assert_eq!(recent.get(&number), Some(&number));
            assert_eq!(of.get(&(number % 7), &number), Some(&number));
        }
    }

    #[test]
    fn what_is_written_anew_counts_once_and_what_is_removed_is_gone() {
        let mut recent = Recent::new(4);
        let mut of = RecentOf::new(4);
        for round in 0..10 {
            recent.insert("a", round);
            of.insert('g', "a", round);
        }
        recent.insert("b", 1);
        of.insert('g', "b", 1);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(&9), Some(&1)));
        assert_eq!(
            (of.get(&'g', &"a"), of.get(&'g', &"b")),
            (Some(&9), Some(&1))
        );
        // In the older half now.
        for (number, key) in ["c", "d"].into_iter().enumerate() {
            recent.insert(key, number);
            of.insert('h', key, number);
        }
        assert_eq!(recent.remove(&"a"), Some(9));
        of.remove_all(&'g');
        of.remove(&'h', &"c");
        assert_eq!(recent.get(&"a"), None);
        for key in ["a", "b"] {
            assert_eq!(of.get(&'g', &key), None);
        }
        assert_eq!((of.get(&'h', &"c"), of.get(&'h', &"d")), (None, Some(&1)));
    }
}
