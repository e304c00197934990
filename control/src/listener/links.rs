//! Slots for links of relays and nodes. They are separate from those of clients, and limited per identity, so that a stolen
//! identity cannot take the slots of others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::mutex::lock;

/// Maximum number of links of one identity. A relay's old link may coexist with its new one, and a node opens several.
pub const LINKS_OF_ONE: usize = 16;
/// Maximum number of links.
pub const MAX_LINKS: usize = 4096;

/// The links. Clones share state.
#[derive(Clone, Default)]
pub struct Links(Arc<Mutex<HashMap<String, usize>>>);

/// A slot of a link. Dropping it releases it.
pub struct LinkSlot {
    links: Links,
    name: String,
}

impl Links {
    /// Takes a slot for the identity of this name; `None` if the identity or the node has its maximum.
    pub fn admit(&self, name: &str) -> Option<LinkSlot> {
        let mut links = self.lock();
        let all: usize = links.values().sum();
        let of_one = links.entry(name.to_owned()).or_default();
        if *of_one >= LINKS_OF_ONE || all >= MAX_LINKS {
            if *of_one == 0 {
                links.remove(name);
            }
            return None;
        }
        *of_one += 1;
        Some(LinkSlot {
            links: self.clone(),
            name: name.to_owned(),
        })
    }

    /// Number of links.
    pub fn count(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        lock(&self.0)
    }
}

impl Drop for LinkSlot {
    fn drop(&mut self) {
        let mut links = self.links.lock();
        if let Some(of_one) = links.get_mut(&self.name) {
            *of_one -= 1;
            if *of_one == 0 {
                links.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_does_not_take_the_slots_of_another() {
        let links = Links::default();
        let held: Vec<_> = (0..100).filter_map(|_| links.admit("r1")).collect();
        assert_eq!((held.len(), links.count()), (LINKS_OF_ONE, LINKS_OF_ONE));
        assert!(links.admit("r2").is_some());
        drop(held);
        assert!(links.lock().is_empty());
        let held: Vec<_> = (0..MAX_LINKS)
            .filter_map(|at| links.admit(&format!("r{at}")))
            .collect();
        assert_eq!(held.len(), MAX_LINKS);
        assert!(links.admit("one-more").is_none());
        assert_eq!(links.lock().len(), MAX_LINKS);
    }
}
