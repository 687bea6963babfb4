//! Java's orders: Kafka prints and visits some sets in the order of its hash tables and trees, and so must we.

use std::cmp::Ordering;

/// Indices of distinct `names` in the order in which a Java `HashSet` filled in this order iterates.
///
/// A table starts with 16 buckets and doubles when it is more than three quarters full; within a bucket names stay in
/// the order of insertion.
pub(crate) fn hash_set_order<S: AsRef<str>>(names: &[S]) -> Vec<usize> {
    let mut buckets = 16;
    while names.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    let bucket = |index: &usize| {
        let hash = hash_code(names[*index].as_ref());
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(bucket);
    order
}

/// `String.hashCode`.
fn hash_code(text: &str) -> u32 {
    text.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// `String.compareTo`: by UTF-16 units.
pub(crate) fn compare_text(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

/// A `java.util.TreeSet` of small numbers whose comparator may change its mind between insertions, as Kafka's does while
/// it describes a topology: where an element ends up then depends on the shape of the red-black tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct TreeSet {
    nodes: Vec<TreeNode>,
    root: Option<usize>,
}

#[derive(Clone, Debug)]
struct TreeNode {
    item: u32,
    /// Left and right child.
    children: [Option<usize>; 2],
    parent: Option<usize>,
    is_red: bool,
}

const LEFT: usize = 0;
const RIGHT: usize = 1;

impl TreeSet {
    /// Adds `item` where the comparator leads now, unless it meets it on the way.
    pub(crate) fn insert(&mut self, item: u32, compare: impl Fn(u32, u32) -> Ordering) {
        let mut place = None;
        let mut next = self.root;
        while let Some(at) = next {
            let side = match compare(item, self.nodes[at].item) {
                Ordering::Less => LEFT,
                Ordering::Greater => RIGHT,
                Ordering::Equal => return,
            };
            place = Some((at, side));
            next = self.nodes[at].children[side];
        }
        let new = self.nodes.len();
        let parent = place.map(|(parent, _)| parent);
        self.nodes.push(TreeNode { item, children: [None; 2], parent, is_red: true });
        match place {
            Some((parent, side)) => self.nodes[parent].children[side] = Some(new),
            None => self.root = Some(new),
        }
        self.balance(new);
    }

    /// All items, from left to right.
    pub(crate) fn items(&self) -> Vec<u32> {
        let mut items = Vec::with_capacity(self.nodes.len());
        let mut open = Vec::new();
        let mut next = self.root;
        while next.is_some() || !open.is_empty() {
            while let Some(at) = next {
                open.push(at);
                next = self.nodes[at].children[LEFT];
            }
            if let Some(at) = open.pop() {
                items.push(self.nodes[at].item);
                next = self.nodes[at].children[RIGHT];
            }
        }
        items
    }

    /// Restores the red-black rules after `at` was hung in red.
    fn balance(&mut self, mut at: usize) {
        while let Some(parent) = self.nodes[at].parent.filter(|parent| self.nodes[*parent].is_red) {
            let Some(grandparent) = self.nodes[parent].parent else { break };
            let side = self.side_of(parent, grandparent);
            match self.nodes[grandparent].children[1 - side].filter(|uncle| self.nodes[*uncle].is_red) {
                Some(uncle) => {
                    self.nodes[parent].is_red = false;
                    self.nodes[uncle].is_red = false;
                    self.nodes[grandparent].is_red = true;
                    at = grandparent;
                }
                None => {
                    let mut upper = parent;
                    if self.side_of(at, parent) != side {
                        self.rotate(parent, side);
                        (upper, at) = (at, parent);
                    }
                    self.nodes[upper].is_red = false;
                    self.nodes[grandparent].is_red = true;
                    self.rotate(grandparent, 1 - side);
                }
            }
        }
        if let Some(root) = self.root {
            self.nodes[root].is_red = false;
        }
    }

    fn side_of(&self, child: usize, parent: usize) -> usize {
        usize::from(self.nodes[parent].children[LEFT] != Some(child))
    }

    /// Moves `at` down to `side`; its child on the other side takes its place.
    fn rotate(&mut self, at: usize, side: usize) {
        let Some(up) = self.nodes[at].children[1 - side] else { return };
        let inner = self.nodes[up].children[side];
        self.nodes[at].children[1 - side] = inner;
        if let Some(inner) = inner {
            self.nodes[inner].parent = Some(at);
        }
        let above = self.nodes[at].parent;
        self.nodes[up].parent = above;
        match above {
            Some(above) => {
                let place = self.side_of(at, above);
                self.nodes[above].children[place] = Some(up);
            }
            None => self.root = Some(up),
        }
        self.nodes[up].children[side] = Some(at);
        self.nodes[at].parent = Some(up);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{TreeSet, hash_code, hash_set_order};

    #[test]
    fn hash_codes_are_javas() {
        assert_eq!(hash_code(""), 0);
        assert_eq!(hash_code("hello"), 99_162_322);
        assert_eq!(hash_code("KSTREAM-SOURCE-0000000000") as i32, {
            let mut hash = 0_i32;
            for byte in b"KSTREAM-SOURCE-0000000000" {
                hash = hash.wrapping_mul(31).wrapping_add(i32::from(*byte));
            }
            hash
        });
    }

    #[test]
    fn small_sets_iterate_by_bucket() {
        // Hash codes of one-letter strings are their letters: 'q' = 113 lies in bucket 1, 'a' = 97 too, 'b' in 2.
        assert_eq!(hash_set_order(&["b", "q", "a"]), [1, 2, 0]);
        assert_eq!(hash_set_order(&["b", "a", "q"]), [1, 2, 0]);
    }

    proptest! {
        #[test]
        fn a_tree_with_a_steady_comparator_is_a_sorted_set(items in prop::collection::vec(0_u32..200, 0..300)) {
            let mut tree = TreeSet::default();
            for item in &items {
                tree.insert(*item, |left, right| left.cmp(&right));
            }
            let sorted: std::collections::BTreeSet<u32> = items.into_iter().collect();
            prop_assert_eq!(tree.items(), sorted.into_iter().collect::<Vec<_>>());
        }
    }
}
