//! What is counted: each line follows from its number, so that after any crash everybody knows what has been written.

use std::fmt::Write;

/// Words in a line.
pub(crate) const WORDS_PER_LINE: u64 = 10;

/// Lines in a millisecond of event time.
const LINES_PER_MS: u64 = 20;

/// Groups that the aggregate over time has.
const BUCKETS: u64 = 64;

/// Length of a window of the aggregate over time.
pub(crate) const WINDOW_MS: i64 = 1_000;

/// Odd, so that multiplying by it loses nothing: numbers become words in no order, and words numbers again.
const SCRAMBLE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Lines over a vocabulary of `keys` words. The first lines walk through it once, the others draw from it evenly, so
/// that a store of many keys is read and written everywhere.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    pub(crate) keys: u64,
    /// Event time of the first line.
    pub(crate) began_ms: i64,
}

impl Text {
    /// Lines after which every word has come.
    pub(crate) fn vocabulary_lines(&self) -> u64 {
        self.keys.div_ceil(WORDS_PER_LINE)
    }

    /// The numbers of the words in a line.
    pub(crate) fn words(&self, line: u64) -> impl Iterator<Item = u64> + use<> {
        let (keys, walks) = (self.keys, line < self.vocabulary_lines());
        (line * WORDS_PER_LINE..(line + 1) * WORDS_PER_LINE)
            .map(move |place| if walks { place % keys } else { mix(place) % keys })
    }

    /// The line as it stands in its topic.
    pub(crate) fn write(&self, line: u64, out: &mut String) {
        out.clear();
        for word in self.words(line) {
            if !out.is_empty() {
                out.push(' ');
            }
            let spelled = (word + 1).wrapping_mul(SCRAMBLE);
            // Writing to a string does not fail.
            let _ = write!(out, "{spelled:016x}");
        }
    }

    /// Event time of a line.
    pub(crate) fn time(&self, line: u64) -> i64 {
        self.began_ms + (line / LINES_PER_MS).cast_signed()
    }
}

/// The number of a word; `None` for what is no word of ours.
pub(crate) fn number_of(word: &str) -> Option<u64> {
    let spelled = u64::from_str_radix(word, 16).ok()?;
    spelled.wrapping_mul(inverse(SCRAMBLE)).checked_sub(1)
}

/// The group of a word in the aggregate over time, and what it adds there.
pub(crate) fn share_of(number: u64) -> (u64, i64) {
    (number % BUCKETS, (number % 1_000).cast_signed())
}

/// SplitMix64's output function: evenly spread, and always the same.
pub(crate) fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(SCRAMBLE);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// What `odd` times it is 1, modulo 2^64 (Newton's steps double the bits that are right).
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut step = 0;
    while step < 5 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_word_tells_its_number() {
        let text = Text { keys: 1_000, began_ms: 0 };
        let mut line = String::new();
        for number in [0, 7, 99, 100, 12_345] {
            text.write(number, &mut line);
            let read: Vec<u64> = line.split(' ').map(|word| number_of(word).unwrap()).collect();
            assert_eq!(read, text.words(number).collect::<Vec<_>>(), "line {number}");
        }
        assert_eq!(number_of("no word"), None);
    }

    #[test]
    fn the_first_lines_have_every_word() {
        let text = Text { keys: 995, began_ms: 0 };
        let seen: HashSet<u64> = (0..text.vocabulary_lines()).flat_map(|line| text.words(line)).collect();
        assert_eq!(seen, (0..995).collect());
    }
}
