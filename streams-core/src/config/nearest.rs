//! "Did you mean …?": the known name that takes the fewest edits.

/// The nearest of `known` to `name`, if it is near: at most a third of its length away.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.map(|candidate| (distance(name, candidate), candidate)).min()?;
    (best.0 <= name.len().max(best.1.len()) / 3).then_some(best.1)
}

/// Levenshtein distance, by bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_count_edits() {
        for (left, right, expected) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(left, right), expected);
            assert_eq!(distance(right, left), expected);
        }
    }

    #[test]
    fn what_is_far_from_everything_has_no_neighbour() {
        let known = ["state.dir", "poll.ms"];
        assert_eq!(nearest("state.directory", known.into_iter()), None);
        assert_eq!(nearest("state.dirs", known.into_iter()), Some("state.dir"));
        assert_eq!(nearest("pol.ms", known.into_iter()), Some("poll.ms"));
    }
}
