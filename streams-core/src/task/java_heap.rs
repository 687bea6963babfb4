//! A binary heap whose ties come out as those of `java.util.PriorityQueue`.
//!
//! Kafka Streams takes records and punctuations of equal time from such a heap, so with three or more equal heads the
//! order is neither first-in first-out nor arbitrary: it is this one, and results depend on it.

/// Items with a time, the smallest first.
#[derive(Debug)]
pub(crate) struct JavaHeap<T> {
    items: Vec<(i64, T)>,
}

impl<T> JavaHeap<T> {
    pub(crate) const fn new() -> Self {
        JavaHeap { items: Vec::new() }
    }

    /// The smallest time and its item.
    #[inline]
    pub(crate) fn peek(&self) -> Option<&(i64, T)> {
        self.items.first()
    }

    /// Adds an item: sifts up while the parent is strictly greater.
    #[inline]
    pub(crate) fn offer(&mut self, time: i64, item: T) {
        self.items.push((time, item));
        let mut at = self.items.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.items[parent].0 <= time {
                break;
            }
            self.items.swap(at, parent);
            at = parent;
        }
    }

    /// Takes the smallest: the last item moves to the root and sifts down, to the right only if that child is strictly
    /// smaller than the left one.
    #[inline]
    pub(crate) fn poll(&mut self) -> Option<(i64, T)> {
        if self.items.len() < 2 {
            return self.items.pop();
        }
        let smallest = self.items.swap_remove(0);
        let len = self.items.len();
        let mut at = 0;
        while 2 * at + 1 < len {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let child = if right < len && self.items[right].0 < self.items[left].0 { right } else { left };
            if self.items[at].0 <= self.items[child].0 {
                break;
            }
            self.items.swap(at, child);
            at = child;
        }
        Some(smallest)
    }

    /// All items, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(i64, T)> {
        self.items.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::JavaHeap;

    #[test]
    fn equal_times_come_out_as_in_java() {
        // new PriorityQueue<>(comparingLong(time)) with four equal items: a, then the last moved to the root, ...
        let mut heap = JavaHeap::new();
        for item in ["a", "b", "c", "d"] {
            heap.offer(1, item);
        }
        let order: Vec<_> = std::iter::from_fn(|| heap.poll()).map(|(_, item)| item).collect();
        assert_eq!(order, ["a", "d", "c", "b"]);
    }

    proptest! {
        #[test]
        fn times_come_out_sorted(times: Vec<i64>) {
            let mut heap = JavaHeap::new();
            for time in &times {
                heap.offer(*time, ());
            }
            let polled: Vec<i64> = std::iter::from_fn(|| heap.poll()).map(|(time, ())| time).collect();
            let mut sorted = times;
            sorted.sort_unstable();
            prop_assert_eq!(polled, sorted);
        }
    }
}
