//! `top_n`: the greatest values of each group. Not in Kafka Streams.

use std::ops::Deref;

use streams_core::serde::{Data, Encoded, Serde, SerdeError};

use super::{KGroupedStream, KGroupedTable};
use crate::{options::Materialized, table::KTable};

/// Values in descending order of what they are ranked by; of equal ones the first that came is first.
///
/// As a value of a topic: for each of them its length (4 bytes, big-endian) and its bytes. Null if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked<V>(Vec<V>);

impl<V> Default for Ranked<V> {
    fn default() -> Self {
        Ranked(Vec::new())
    }
}

impl<V> Deref for Ranked<V> {
    type Target = [V];

    fn deref(&self) -> &[V] {
        &self.0
    }
}

impl<V> Ranked<V> {
    /// The values.
    #[must_use]
    pub fn into_vec(self) -> Vec<V> {
        self.0
    }

    /// Puts `value` behind all that are ranked as high. What cannot be compared (not a number) has no rank.
    fn insert<S: PartialOrd>(&mut self, value: V, by: impl Fn(&V) -> S) {
        let score = by(&value);
        if score.partial_cmp(&score).is_some() {
            let at = self.0.partition_point(|known| by(known) >= score);
            self.0.insert(at, value);
        }
    }
}

/// Lists of values, each as `S` writes it. See [`Ranked`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RankedSerde<S>(S);

impl<V, S: Serde<V>> Serde<Ranked<V>> for RankedSerde<S> {
    fn serialize(&self, ranked: &Ranked<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        for value in ranked.iter() {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            if self.0.serialize(value, out)? == Encoded::Null {
                return Err(SerdeError::new("null has no rank"));
            }
            let length = u32::try_from(out.len() - at - 4).map_err(SerdeError::new)?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        Ok(if ranked.is_empty() { Encoded::Null } else { Encoded::Bytes })
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Ranked<V>, SerdeError> {
        let mut rest = bytes.unwrap_or_default();
        let mut values = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((value, after)) = after.split_at_checked(length) else {
                return Err(SerdeError::new(format!("a value of {length} bytes, and {} are left", after.len())));
            };
            values.push(self.0.deserialize(Some(value))?);
            rest = after;
        }
        if rest.is_empty() { Ok(Ranked(values)) } else { Err(SerdeError::new("bytes after the last value")) }
    }
}

impl<V: Data> Data for Ranked<V> {
    type Serde = RankedSerde<V::Serde>;

    fn is_null(&self) -> bool {
        self.is_empty()
    }
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// The `n` greatest values that each key has ever had, in descending order of `by`.
    ///
    /// Records with a null key or value are dropped. State: one row for each key, of at most `n` values. For a ranking of
    /// the *latest* values see [`KGroupedTable::top_n`]. Not an operator of Kafka Streams.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let scores = builder.stream::<String, i64>("scores-by-game");
    /// scores.group_by_key().top_n(3, |score| *score).to_stream().to("high-scores");
    /// ```
    pub fn top_n<S, F>(&self, n: usize, by: F) -> KTable<K, Ranked<V>>
    where
        S: PartialOrd,
        F: Fn(&V) -> S + Send + Sync + 'static,
    {
        self.top_n_with(n, by, Materialized::absent())
    }

    /// As [`KGroupedStream::top_n`], with a name or a store.
    pub fn top_n_with<S, F>(
        &self,
        n: usize,
        by: F,
        options: impl Into<Materialized<K, Ranked<V>>>,
    ) -> KTable<K, Ranked<V>>
    where
        S: PartialOrd,
        F: Fn(&V) -> S + Send + Sync + 'static,
    {
        let aggregator = move |_: &K, value: &V, mut ranked: Ranked<V>| {
            ranked.insert(value.clone(), &by);
            ranked.0.truncate(n);
            ranked
        };
        self.aggregate_with(Ranked::default, aggregator, options)
    }
}

impl<K: Data, V: Data + PartialEq> KGroupedTable<K, V> {
    /// The `n` greatest values of each group, in descending order of `by`. A value that is changed or deleted in the
    /// table above makes place for the next one.
    ///
    /// State: one row for each group, of all its values, because any of them may move up; written whole at each commit in
    /// which one of them changed. So it is for groups of hundreds, not of millions. Not an operator of Kafka Streams.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let prices = builder.table::<String, i64>("price-by-flight");
    /// let dearest: KTable<String, Ranked<i64>> =
    ///     prices.group_by(|flight, price| (flight[..2].to_owned(), *price)).top_n(10, |price| *price);
    /// dearest.to_stream().to("dearest-by-airline");
    /// ```
    pub fn top_n<S, F>(&self, n: usize, by: F) -> KTable<K, Ranked<V>>
    where
        S: PartialOrd,
        F: Fn(&V) -> S + Send + Sync + 'static,
    {
        self.top_n_with(n, by, Materialized::absent())
    }

    /// As [`KGroupedTable::top_n`], with a name or a store for all values of each group.
    pub fn top_n_with<S, F>(
        &self,
        n: usize,
        by: F,
        options: impl Into<Materialized<K, Ranked<V>>>,
    ) -> KTable<K, Ranked<V>>
    where
        S: PartialOrd,
        F: Fn(&V) -> S + Send + Sync + 'static,
    {
        let adder = move |_: &K, value: &V, mut ranked: Ranked<V>| {
            ranked.insert(value.clone(), &by);
            ranked
        };
        let subtractor = |_: &K, value: &V, mut ranked: Ranked<V>| {
            if let Some(at) = ranked.iter().position(|known| known == value) {
                ranked.0.remove(at);
            }
            ranked
        };
        let all = self.aggregate_with(Ranked::default, adder, subtractor, options);
        all.map_values(move |_, ranked| Ranked(ranked.iter().take(n).cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streams_core::{StreamsConfig, serde::NumberSerde, testing::TopologyTestDriver};

    use super::*;
    use crate::StreamsBuilder;

    fn driver(builder: &StreamsBuilder) -> TopologyTestDriver {
        let config = StreamsConfig::builder("app").build().unwrap();
        TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap()
    }

    #[test]
    fn a_stream_keeps_its_greatest_values() {
        let builder = StreamsBuilder::new();
        builder.stream::<String, f64>("in").group_by_key().top_n(2, |value| *value).to_stream().to("out");
        let driver = driver(&builder);
        let topic = driver.create_input_topic::<String, f64>("in");
        for value in [1.0, 3.0, f64::NAN, 2.0, 0.5] {
            topic.pipe_input("a".into(), value).unwrap();
        }
        let out = driver.create_output_topic::<String, Ranked<f64>>("out").read_key_values().unwrap();
        let out: Vec<Vec<f64>> = out.into_iter().map(|(_, ranked)| ranked.into_vec()).collect();
        assert_eq!(out, [vec![1.0], vec![3.0, 1.0], vec![3.0, 1.0], vec![3.0, 2.0], vec![3.0, 2.0]]);
    }

    proptest! {
        #[test]
        fn a_table_always_shows_the_top_of_its_latest_values(
            updates in prop::collection::vec((0_u8..6, prop::option::of(0_i64..20)), 1..40),
        ) {
            let builder = StreamsBuilder::new();
            builder
                .table::<u8, Option<i64>>("in")
                .group_by(|key, value| (0_u8, value.map(|value| value * 10 + i64::from(*key))))
                .top_n(3, |value| *value)
                .to_stream()
                .to("out");
            let driver = driver(&builder);
            let topic = driver.create_input_topic::<u8, Option<i64>>("in");
            let out = driver.create_output_topic::<u8, Ranked<Option<i64>>>("out");
            let mut latest = std::collections::BTreeMap::new();
            let mut shown: Vec<Option<i64>> = Vec::new();
            for (key, value) in updates {
                topic.pipe_input(key, value).unwrap();
                match value {
                    Some(value) => latest.insert(key, value * 10 + i64::from(key)),
                    None => latest.remove(&key),
                };
                if let Some(last) = out.read_records().unwrap().pop() {
                    shown = last.value.into_vec();
                }
                let mut expected: Vec<Option<i64>> = latest.values().copied().map(Some).collect();
                expected.sort_by(|one, other| other.cmp(one));
                expected.truncate(3);
                prop_assert_eq!(&shown, &expected);
            }
        }

        #[test]
        fn no_bytes_are_trusted(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let serde = RankedSerde(NumberSerde);
            if let Ok(ranked) = Serde::<Ranked<u16>>::deserialize(&serde, Some(&bytes)) {
                let mut again = Vec::new();
                let _ = serde.serialize(&ranked, &mut again).unwrap();
                prop_assert_eq!(bytes, again);
            }
        }
    }
}
