//! `group_by` on tables: values under another key, to be aggregated there.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
    topology::Topology,
};

use super::KTable;
use crate::{
    aggregate::{KGroupedTable, grouped_table},
    graph::{GraphNode, Step, lower::Wiring, naming::Given},
    options::Grouped,
};

const SELECT: &str = "KTABLE-SELECT-";

impl<K: Data, V: Data> KTable<K, V> {
    /// Groups the values of the table by the key of `selector(&key, &value)`, which also says what is to be aggregated.
    ///
    /// Always repartitions. An update takes the old value out of its group and puts the new one into its own. Pairs with
    /// a null key or value belong to no group. The table above keeps old values, in a store if need be.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let balances = builder.table::<String, i64>("balances-by-account");
    /// let of_bank = balances.group_by(|account, cents| (account[..4].to_owned(), *cents));
    /// let sums = of_bank.reduce(|sum, added| sum + added, |sum, removed| sum - removed);
    /// sums.to_stream().to("balances-by-bank");
    /// ```
    pub fn group_by<K2: Data + PartialEq, V2: Data, F>(&self, selector: F) -> KGroupedTable<K2, V2>
    where
        F: Fn(&K, &V) -> (K2, V2) + Send + Sync + 'static,
    {
        self.group_by_with(selector, Grouped::new())
    }

    /// As [`KTable::group_by`], with a name or serdes.
    pub fn group_by_with<K2: Data + PartialEq, V2: Data, F>(
        &self,
        selector: F,
        grouped: Grouped<K2, V2>,
    ) -> KGroupedTable<K2, V2>
    where
        F: Fn(&K, &V) -> (K2, V2) + Send + Sync + 'static,
    {
        let selector = Arc::new(selector);
        let parent = self.node();
        let mut graph = self.place.graph.lock();
        let name = Given(grouped.name.clone()).or_generate(&mut graph, SELECT);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let (selector, versioned) = (Arc::clone(&selector), wiring.is_versioned(parent));
            topology.add_processor(wiring.name(), wiring.parents(), move || Select {
                selector: Arc::clone(&selector),
                versioned,
            });
        });
        let id = graph.add(GraphNode::new(name.clone(), Step::Other, write), &[parent]);
        drop(graph);
        self.demand_old_values();
        grouped_table(self.place.next(id, &name), grouped)
    }
}

struct Select<F> {
    selector: Arc<F>,
    /// Below a versioned table only the newest value of a key counts.
    versioned: bool,
}

impl<K, V, K2, V2, F> Processor<K, Change<V>, K2, Change<V2>> for Select<F>
where
    K: Data,
    V: Data,
    K2: Data + PartialEq,
    V2: Data,
    F: Fn(&K, &V) -> (K2, V2) + Send + Sync,
{
    fn process(
        &mut self,
        record: Record<K, Change<V>>,
        ctx: &mut ProcessorContext<'_, K2, Change<V2>>,
    ) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        if key.is_null() {
            return Err("the key of a table's record that is to be grouped must not be null".into());
        }
        if self.versioned && !change.is_latest {
            return Ok(());
        }
        let select = |value: Option<V>| {
            let pair = value.map(|value| (self.selector)(&key, &value));
            pair.filter(|(key, value)| !key.is_null() && !value.is_null())
        };
        let (new, old) = (select(change.new), select(change.old));
        let mut send = |key: K2, new: Option<V2>, old: Option<V2>| {
            let value = Change { new, old, is_latest: change.is_latest };
            ctx.forward(Record { key, value, timestamp, headers: headers.clone() })
        };
        match (new, old) {
            (Some((key, new)), Some((old_key, old))) if key == old_key => send(key, Some(new), Some(old)),
            (new, old) => {
                // First out of one group, then into the other.
                if let Some((key, old)) = old {
                    send(key, None, Some(old))?;
                }
                match new {
                    Some((key, new)) => send(key, Some(new), None),
                    None => Ok(()),
                }
            }
        }
    }
}
