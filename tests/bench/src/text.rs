//! Text with a known vocabulary: as skewed as natural language, and the same in every run.

/// Words in a line.
pub(crate) const WORDS_PER_LINE: u64 = 10;

/// A stream of word numbers. Of `words` draws exactly `distinct` different ones appear (if there are as many draws):
/// that many places walk through the vocabulary once, the others draw as in natural text, where the word of rank `r`
/// has a share of about `1/r`.
pub(crate) struct Words {
    words: u64,
    distinct: u64,
    drawn: u64,
    random: u64,
}

impl Words {
    pub(crate) fn new(words: u64, distinct: u64) -> Self {
        Words { words, distinct: distinct.clamp(1, words.max(1)), drawn: 0, random: 0x9E37_79B9_7F4A_7C15 }
    }

    /// How many different words appear.
    pub(crate) fn distinct(&self) -> u64 {
        self.distinct
    }

    /// xorshift64*: fast, and good enough to draw words.
    fn next_random(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Iterator for Words {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.drawn == self.words {
            return None;
        }
        let place = |drawn: u64| u128::from(drawn) * u128::from(self.distinct) / u128::from(self.words);
        let (before, after) = (place(self.drawn), place(self.drawn + 1));
        self.drawn += 1;
        if before != after {
            return Some(u64::try_from(before).expect("below the number of distinct words"));
        }
        let rank = (self.distinct as f64).powf(self.next_random());
        Some((rank as u64).clamp(1, self.distinct) - 1)
    }
}

/// The letters of a word, appended to `line`: frequent words are short, as in natural text.
pub(crate) fn push_word(line: &mut String, number: u64) {
    let mut rest = number + 26;
    while rest > 0 {
        line.push(char::from(b'a' + u8::try_from(rest % 26).expect("below 26")));
        rest /= 26;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn exactly_as_many_words_appear_as_asked_for() {
        for (words, distinct) in [(1, 1), (10, 3), (10_000, 777), (50, 1_000)] {
            let drawn: Vec<u64> = Words::new(words, distinct).collect();
            assert_eq!(drawn.len() as u64, words);
            assert_eq!(drawn.iter().collect::<HashSet<_>>().len() as u64, distinct.min(words), "{words} {distinct}");
        }
    }

    #[test]
    fn words_are_told_apart_by_their_letters() {
        let spelled: HashSet<String> = (0..100_000)
            .map(|number| {
                let mut word = String::new();
                push_word(&mut word, number);
                word
            })
            .collect();
        assert_eq!(spelled.len(), 100_000);
    }

    #[test]
    fn the_first_word_is_the_most_frequent() {
        let first = Words::new(100_000, 1_000).filter(|number| *number == 0).count();
        assert!((5_000..20_000).contains(&first), "{first}");
    }
}
