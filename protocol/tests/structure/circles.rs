//! Circles of a directed graph.

use std::collections::{BTreeMap, BTreeSet};

/// The strongly connected components with more than one node, by Tarjan's algorithm.
pub(crate) fn of<'a, N: Ord>(arrows: &BTreeMap<&'a N, BTreeSet<&'a N>>) -> Vec<Vec<&'a N>> {
    let mut search = Search {
        arrows,
        next: 0,
        seen: BTreeMap::new(),
        stack: Vec::new(),
        circles: Vec::new(),
    };
    for node in arrows.keys() {
        if !search.seen.contains_key(node) {
            search.visit(node);
        }
    }
    search.circles
}

struct Search<'a, 'b, N> {
    arrows: &'b BTreeMap<&'a N, BTreeSet<&'a N>>,
    next: usize,
    /// When a node was found, and the earliest node on the stack that it leads to.
    seen: BTreeMap<&'a N, (usize, usize)>,
    stack: Vec<&'a N>,
    circles: Vec<Vec<&'a N>>,
}

impl<'a, N: Ord> Search<'a, '_, N> {
    fn visit(&mut self, node: &'a N) -> usize {
        let index = self.next;
        self.next += 1;
        self.seen.insert(node, (index, index));
        self.stack.push(node);
        let mut earliest = index;
        for to in self.arrows.get(node).into_iter().flatten() {
            earliest = match self.seen.get(to) {
                None => earliest.min(self.visit(to)),
                Some((found, _)) if self.stack.contains(to) => earliest.min(*found),
                Some(_) => earliest,
            };
        }
        self.seen.insert(node, (index, earliest));
        if earliest == index {
            let at = self.stack.iter().position(|other| *other == node);
            let circle = self.stack.split_off(at.unwrap_or_default());
            if circle.len() > 1 {
                self.circles.push(circle);
            }
        }
        earliest
    }
}

#[test]
fn circles_are_found() {
    let arrows = [
        (1, vec![2]),
        (2, vec![3, 4]),
        (3, vec![1]),
        (4, vec![5]),
        (5, vec![]),
    ];
    let nodes = [1, 2, 3, 4, 5];
    let node = |number: i32| nodes.iter().find(|node| **node == number).unwrap();
    let arrows = arrows.iter().map(|(from, to)| {
        let to: BTreeSet<&i32> = to.iter().map(|to| node(*to)).collect();
        (node(*from), to)
    });
    assert_eq!(of(&arrows.collect()), [[&1, &2, &3]]);
}
