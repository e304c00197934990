//! Maps of bounded size that keep what was inserted last.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// A map of at most `max` entries that keeps at least the `max / 2` inserted last. It drops half of its entries at a time, so it
/// stores no order.
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    max: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
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
}

/// A [`Recent`] map whose entries belong to groups. All entries of a group are removed in time proportional to their number.
pub(super) struct RecentGroups<G, K, V> {
    young: Half<G, K, V>,
    old: Half<G, K, V>,
    max: usize,
}

struct Half<G, K, V> {
    entries: HashMap<K, (G, V)>,
    groups: HashMap<G, HashSet<K>>,
}

impl<G, K, V> Default for Half<G, K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            groups: HashMap::new(),
        }
    }
}

impl<G: Hash + Eq + Copy, K: Hash + Eq + Copy, V> Half<G, K, V> {
    fn insert(&mut self, group: G, key: K, value: V) {
        self.remove(&key);
        self.groups.entry(group).or_default().insert(key);
        self.entries.insert(key, (group, value));
    }

    fn remove(&mut self, key: &K) {
        let Some((group, _)) = self.entries.remove(key) else {
            return;
        };
        if let Some(keys) = self.groups.get_mut(&group) {
            keys.remove(key);
            if keys.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    fn remove_group(&mut self, group: &G) {
        for key in self.groups.remove(group).into_iter().flatten() {
            self.entries.remove(&key);
        }
    }
}

impl<G: Hash + Eq + Copy, K: Hash + Eq + Copy, V> RecentGroups<G, K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            young: Half::default(),
            old: Half::default(),
            max,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let found = self.young.entries.get(key);
        let found = found.or_else(|| self.old.entries.get(key));
        found.map(|(_, value)| value)
    }

    pub(super) fn insert(&mut self, group: G, key: K, value: V) {
        self.old.remove(&key);
        let is_new = !self.young.entries.contains_key(&key);
        if is_new && self.young.entries.len() >= self.max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(group, key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(super) fn remove_group(&mut self, group: &G) {
        self.young.remove_group(group);
        self.old.remove_group(group);
    }

    pub(super) fn clear(&mut self) {
        (self.young, self.old) = (Half::default(), Half::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_half_stays_and_the_whole_is_bounded() {
        let mut recent = Recent::new(100);
        let mut groups = RecentGroups::new(100);
        for number in 0..1000 {
            recent.insert(number, number);
            groups.insert(number % 7, number, number);
        }
        let kept = (0..1000).filter(|number| recent.get(number).is_some());
        assert!(kept.count() <= 100);
        let kept = (0..1000).filter(|number| groups.get(number).is_some());
        assert!(kept.count() <= 100);
        for number in 950..1000 {
            assert_eq!(recent.get(&number), Some(&number));
            assert_eq!(groups.get(&number), Some(&number));
        }
    }

    #[test]
    fn an_entry_that_is_written_again_counts_once_and_a_removed_one_is_gone() {
        let mut recent = Recent::new(4);
        let mut groups = RecentGroups::new(4);
        for round in 0..10 {
            recent.insert("a", round);
            groups.insert('g', "a", round);
        }
        recent.insert("b", 1);
        groups.insert('g', "b", 1);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(&9), Some(&1)));
        assert_eq!((groups.get(&"a"), groups.get(&"b")), (Some(&9), Some(&1)));
        // These push the others into the older half.
        for (number, key) in ["c", "d"].into_iter().enumerate() {
            recent.insert(key, number);
            groups.insert('h', key, number);
        }
        assert_eq!(recent.remove(&"a"), Some(9));
        groups.remove_group(&'g');
        groups.remove(&"c");
        assert_eq!(recent.get(&"a"), None);
        for key in ["a", "b", "c"] {
            assert_eq!(groups.get(&key), None);
        }
        assert_eq!(groups.get(&"d"), Some(&1));
    }

    #[test]
    fn an_entry_that_changes_its_group_leaves_the_old_one() {
        let mut groups = RecentGroups::new(4);
        groups.insert('g', "a", 1);
        groups.insert('h', "a", 2);
        groups.remove_group(&'g');
        assert_eq!(groups.get(&"a"), Some(&2));
        groups.remove_group(&'h');
        assert_eq!(groups.get(&"a"), None);
    }
}
