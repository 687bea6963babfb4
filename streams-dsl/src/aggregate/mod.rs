//! Groups of records, and what is made of them: counts, sums, any fold.

mod cogroup;
mod count;
mod emit;
pub(crate) mod fold;
mod general;
mod grouped_table;
mod observed_time;
mod reduce;
mod session_windowed;
mod stored;
mod time_windowed;
mod top_n;
mod windowing;

use std::sync::{Arc, Mutex, PoisonError};

pub use cogroup::{CogroupedKStream, SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream};
pub use grouped_table::KGroupedTable;
pub(crate) use grouped_table::grouped_table;
pub use session_windowed::SessionWindowedKStream;
use streams_core::serde::Data;
pub use time_windowed::TimeWindowedKStream;
pub use top_n::{Ranked, RankedSerde};
pub use windowing::Windows;

use crate::{
    graph::{NodeId, Place, naming::Given},
    stream::repartition::{Serdes, optimizable_node, place_behind, topic_prefix},
};

pub(crate) const AGGREGATE: &str = "KSTREAM-AGGREGATE-";
pub(crate) const REDUCE: &str = "KSTREAM-REDUCE-";

/// A stream whose records are grouped by key. See [`KStream::group_by_key`](crate::KStream::group_by_key).
pub struct KGroupedStream<K, V> {
    pub(crate) place: Place,
    pub(crate) serdes: Serdes<K, V>,
    pub(crate) repartition_required: bool,
    pub(crate) name: Given,
    /// The repartition step that the aggregations of this group share, if the group is named.
    pub(crate) repartition: Arc<Mutex<Option<NodeId>>>,
}

impl<K, V> Clone for KGroupedStream<K, V> {
    fn clone(&self) -> Self {
        KGroupedStream {
            place: self.place.clone(),
            serdes: self.serdes.clone(),
            repartition_required: self.repartition_required,
            name: self.name.clone(),
            repartition: Arc::clone(&self.repartition),
        }
    }
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// Where an aggregation into `store` hangs: here, or behind a repartition topic.
    pub(crate) fn partitioned_by_key(&self, store: &str, store_is_named: bool) -> Place {
        if !self.repartition_required {
            return self.place.clone();
        }
        let (prefix, is_named) = topic_prefix(&self.name, store);
        let mut shared = self.repartition.lock().unwrap_or_else(PoisonError::into_inner);
        let mut graph = self.place.graph.lock();
        let node = optimizable_node(&mut graph, self.serdes.clone(), prefix, is_named || store_is_named);
        let id = match *shared {
            Some(known) if self.name.0.is_some() => {
                // Attached once more: what hangs below it now is written after what was added in between.
                graph.attach(self.place.node, known);
                known
            }
            _ => graph.add(node, &[self.place.node]),
        };
        *shared = Some(id);
        drop(graph);
        place_behind(&self.place, id)
    }
}
