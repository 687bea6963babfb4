//! Sources: which topics a topology reads, as which types.

use std::fmt;

use log_store::client::OffsetReset;

use crate::{
    Error, Result,
    serde::{Data, SharedSerde, default_serde},
    time::TimestampExtractor,
};

/// A source: reads topics as records of `K` and `V`.
pub struct Source<K, V> {
    pub(crate) name: String,
    pub(crate) topics: Topics,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
    /// `None`: the application's default.
    pub(crate) extractor: Option<TimestampExtractor<K, V>>,
    /// `None`: the application's default.
    pub(crate) offset_reset: Option<OffsetReset>,
}

impl<K, V> Source<K, V> {
    /// A source called `name` that reads `topics` with the default serdes of its types.
    ///
    /// ```
    /// use streams_core::topology::{Source, TopicPattern};
    ///
    /// let one: Source<String, i64> = Source::new("clicks-source", "clicks");
    /// let two: Source<String, i64> = Source::new("both", ["clicks", "taps"]);
    /// let many: Source<String, i64> = Source::new("all", TopicPattern::new("clicks-.*")?);
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    pub fn new(name: impl Into<String>, topics: impl Into<Topics>) -> Self
    where
        K: Data,
        V: Data,
    {
        Source::with_serdes(name, topics, default_serde(), default_serde())
    }

    /// A source that reads with these serdes.
    pub fn with_serdes(
        name: impl Into<String>,
        topics: impl Into<Topics>,
        key: SharedSerde<K>,
        value: SharedSerde<V>,
    ) -> Self {
        Source { name: name.into(), topics: topics.into(), key, value, extractor: None, offset_reset: None }
    }

    /// Takes event times from this extractor instead of the application's default.
    #[must_use]
    pub fn with_timestamp_extractor(mut self, extractor: TimestampExtractor<K, V>) -> Self {
        self.extractor = Some(extractor);
        self
    }

    /// Where reading starts without a committed offset, instead of the application's default (earliest).
    #[must_use]
    pub fn with_offset_reset(mut self, reset: OffsetReset) -> Self {
        self.offset_reset = Some(reset);
        self
    }
}

/// What a source reads.
#[derive(Clone, Debug)]
pub enum Topics {
    /// These topics.
    Named(Vec<String>),
    /// Every topic with a matching name that exists when the application starts.
    Pattern(TopicPattern),
}

impl From<&str> for Topics {
    fn from(topic: &str) -> Self {
        Topics::Named(vec![topic.to_owned()])
    }
}

impl From<String> for Topics {
    fn from(topic: String) -> Self {
        Topics::Named(vec![topic])
    }
}

impl From<&String> for Topics {
    fn from(topic: &String) -> Self {
        Topics::Named(vec![topic.clone()])
    }
}

impl From<Vec<String>> for Topics {
    fn from(topics: Vec<String>) -> Self {
        Topics::Named(topics)
    }
}

impl From<&[&str]> for Topics {
    fn from(topics: &[&str]) -> Self {
        Topics::Named(topics.iter().map(|topic| (*topic).to_owned()).collect())
    }
}

impl<const N: usize> From<[&str; N]> for Topics {
    fn from(topics: [&str; N]) -> Self {
        Topics::from(&topics[..])
    }
}

impl From<TopicPattern> for Topics {
    fn from(pattern: TopicPattern) -> Self {
        Topics::Pattern(pattern)
    }
}

/// A regular expression that a topic's whole name must match.
#[derive(Clone)]
pub struct TopicPattern {
    /// As it was written: what a description shows.
    text: String,
    whole: regex_lite::Regex,
}

impl TopicPattern {
    /// Compiles `pattern`.
    ///
    /// # Errors
    ///
    /// [`Error::Topology`] if it is no regular expression.
    pub fn new(pattern: impl Into<String>) -> Result<Self> {
        let text = pattern.into();
        match regex_lite::Regex::new(&format!("^(?:{text})$")) {
            Ok(whole) => Ok(TopicPattern { text, whole }),
            Err(error) => Err(Error::Topology(vec![format!("topic pattern {text:?}: {error}")])),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if it matches the whole of `topic`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.whole.is_match(topic)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::TopicPattern;

    #[test]
    fn a_pattern_matches_whole_names_only() {
        let pattern = TopicPattern::new("a|b-[0-9]+").unwrap();
        assert!(pattern.matches("a") && pattern.matches("b-12"));
        assert!(!pattern.matches("ab") && !pattern.matches("b-") && !pattern.matches("xb-1"));
        assert!(TopicPattern::new("a(").is_err());
    }
}
