//! `group_by_key`, `group_by`: records of one key together.

use std::sync::{Arc, Mutex};

use streams_core::serde::Data;

use super::{Field, KStream, repartition::Serdes};
use crate::{aggregate::KGroupedStream, graph::naming::Given, options::Grouped};

impl<K: Data, V: Data> KStream<K, V> {
    /// Groups records by their key.
    ///
    /// Repartitions, when the groups are aggregated, only if the key may have changed.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks");
    /// let clicks_per_user = clicks.group_by_key().count();
    /// clicks_per_user.to_stream().to("clicks-per-user");
    /// ```
    #[must_use]
    pub fn group_by_key(&self) -> KGroupedStream<K, V> {
        self.group_by_key_with(Grouped::new())
    }

    /// As [`KStream::group_by_key`], with a name or serdes.
    #[must_use]
    pub fn group_by_key_with(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        KGroupedStream {
            place: self.place.clone(),
            serdes: Serdes { key: grouped.key_serde, value: grouped.value_serde }.or(self),
            repartition_required: self.repartition_required,
            name: Given(grouped.name),
            repartition: Arc::new(Mutex::new(None)),
        }
    }
}

impl<K: Field, V: Data> KStream<K, V> {
    /// Groups records by the key `selector(&key, &value)`.
    ///
    /// Always repartitions, unless the groups are never aggregated.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let lines = builder.stream::<(), String>("lines");
    /// let words = lines.flat_map_values(|(), line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    /// let counts = words.group_by(|(), word| word.clone()).count();
    /// counts.to_stream().to("counts");
    /// ```
    pub fn group_by<K2: Data, F>(&self, selector: F) -> KGroupedStream<K2, V>
    where
        F: Fn(&K, &V) -> K2 + Send + Sync + 'static,
    {
        self.group_by_with(selector, Grouped::new())
    }

    /// As [`KStream::group_by`], with a name or serdes.
    pub fn group_by_with<K2: Data, F>(&self, selector: F, grouped: Grouped<K2, V>) -> KGroupedStream<K2, V>
    where
        F: Fn(&K, &V) -> K2 + Send + Sync + 'static,
    {
        let name = Given(grouped.name);
        let place = self.select_key_node(&name, selector);
        let value = grouped.value_serde.or_else(|| self.value_serde.clone());
        KGroupedStream {
            place,
            serdes: Serdes { key: grouped.key_serde, value },
            repartition_required: true,
            name,
            repartition: Arc::new(Mutex::new(None)),
        }
    }
}
