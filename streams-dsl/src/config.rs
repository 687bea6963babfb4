//! Settings that shape a topology while it is built.

use std::{str::FromStr, time::Duration};

use streams_core::{Error, Result, state::StoreFormat};

use crate::options::StoreType;

/// Settings that shape a topology while it is built. Given to [`crate::StreamsBuilder::with_config`].
///
/// ```
/// use streams_dsl::{Optimization, StreamsBuilder, TopologyConfig};
///
/// let config = TopologyConfig { optimization: Optimization::all(), ..TopologyConfig::default() };
/// let builder = StreamsBuilder::with_config(config);
/// # let _ = builder;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyConfig {
    /// `topology.optimization`. Default: none.
    pub optimization: Optimization,
    /// `dsl.store.format`. Default: [`StoreFormat::Default`]. Stores in memory have the default format in any case, as in
    /// Kafka Streams.
    pub store_format: StoreFormat,
    /// `ensure.explicit.internal.resource.naming`: refuse stores and internal topics with generated names, which
    /// change when operators are added. Default: false.
    pub ensure_explicit_internal_resource_naming: bool,
    /// Least wall-clock time between two scans for windows to emit on close. Default: 1 s.
    pub emit_interval: Duration,
    /// Least wall-clock time between two scans for unmatched results of left and outer stream joins. Default: 1 s.
    pub outer_join_emit_interval: Duration,
}

impl TopologyConfig {
    /// Format of the rows of a store of this type.
    pub(crate) fn format_of(&self, store_type: StoreType) -> StoreFormat {
        match store_type {
            StoreType::RocksDb => self.store_format,
            StoreType::InMemory => StoreFormat::Default,
        }
    }
}

impl Default for TopologyConfig {
    fn default() -> Self {
        TopologyConfig {
            optimization: Optimization::none(),
            store_format: StoreFormat::Default,
            ensure_explicit_internal_resource_naming: false,
            emit_interval: Duration::from_secs(1),
            outer_join_emit_interval: Duration::from_secs(1),
        }
    }
}

/// Which optimisations a topology is built with (`topology.optimization`).
///
/// They change the names and number of internal topics and stores: an application that has state keeps the setting it
/// was started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Optimization {
    reuse_source_topics: bool,
    merge_repartition_topics: bool,
    single_store_self_join: bool,
}

impl Optimization {
    /// No optimisation. The default.
    #[must_use]
    pub fn none() -> Self {
        Optimization::default()
    }

    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Optimization::none().reuse_ktable_source_topics().merge_repartition_topics().single_store_self_join()
    }

    /// Source tables are restored from their topic instead of a changelog of their own
    /// (`reuse.ktable.source.topics`).
    #[must_use]
    pub fn reuse_ktable_source_topics(mut self) -> Self {
        self.reuse_source_topics = true;
        self
    }

    /// Several repartition topics below one change of the key become one (`merge.repartition.topics`).
    #[must_use]
    pub fn merge_repartition_topics(mut self) -> Self {
        self.merge_repartition_topics = true;
        self
    }

    /// A stream joined with itself is kept once (`single.store.self.join`).
    #[must_use]
    pub fn single_store_self_join(mut self) -> Self {
        self.single_store_self_join = true;
        self
    }

    pub(crate) fn reuses_source_topics(self) -> bool {
        self.reuse_source_topics
    }

    pub(crate) fn merges_repartition_topics(self) -> bool {
        self.merge_repartition_topics
    }

    pub(crate) fn joins_itself_with_one_store(self) -> bool {
        self.single_store_self_join
    }
}

impl FromStr for Optimization {
    type Err = Error;

    /// Reads Kafka Streams' words: `none`, `all`, or a comma-separated list.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "none" => return Ok(Optimization::none()),
            "all" => return Ok(Optimization::all()),
            _ => {}
        }
        text.split(',').try_fold(Optimization::none(), |chosen, word| match word.trim() {
            "reuse.ktable.source.topics" => Ok(chosen.reuse_ktable_source_topics()),
            "merge.repartition.topics" => Ok(chosen.merge_repartition_topics()),
            "single.store.self.join" => Ok(chosen.single_store_self_join()),
            other => Err(Error::Config(format!(
                "topology.optimization: {other:?} is not known; use none, all, or a list of \
                 reuse.ktable.source.topics, merge.repartition.topics and single.store.self.join"
            ))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimisations_are_read_by_kafkas_words() {
        assert_eq!("none".parse::<Optimization>().unwrap(), Optimization::none());
        assert_eq!("all".parse::<Optimization>().unwrap(), Optimization::all());
        assert_eq!(
            "merge.repartition.topics, single.store.self.join".parse::<Optimization>().unwrap(),
            Optimization::none().merge_repartition_topics().single_store_self_join()
        );
        assert!("everything".parse::<Optimization>().unwrap_err().to_string().contains("everything"));
    }
}
