//! `distinct`: the first record of each key, and none that repeats it. Not in Kafka Streams.

use std::{sync::Arc, time::Duration};

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::{Data, SharedSerde, default_serde},
    state::{Stores, WindowStore},
    topology::Topology,
};

use super::KStream;
use crate::{
    graph::{GraphNode, Step, lower::Wiring, naming::Given},
    options::Named,
};

const DISTINCT: &str = "KSTREAM-DISTINCT-";

impl<K: Data, V: Data> KStream<K, V> {
    /// Leaves out records that repeat the key of one that went through less than `within` before or after, by event
    /// time.
    ///
    /// Repartitions first if the key may have changed. Records with a null key are dropped; so are records that come more
    /// than `within` late, since it is no longer known whether they repeat one. Not an operator of Kafka Streams.
    ///
    /// State: one row for each record that went through, for twice `within`. Cost: one look-up for each record, and one
    /// write for each that goes through.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use streams_core::{StreamsConfig, testing::TopologyTestDriver};
    /// use streams_dsl::prelude::*;
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("requests").distinct(Duration::from_secs(60)).to("first-requests");
    ///
    /// let driver = TopologyTestDriver::new(&builder.build()?, StreamsConfig::builder("app").build()?)?;
    /// let requests = driver.create_input_topic::<String, i64>("requests");
    /// let first = driver.create_output_topic::<String, i64>("first-requests");
    /// requests.pipe_input_at("r1".into(), 10, 0)?;
    /// requests.pipe_input_at("r1".into(), 10, 59_999)?;
    /// requests.pipe_input_at("r1".into(), 10, 60_000)?;
    /// assert_eq!(first.read_records()?.iter().map(|record| record.timestamp).collect::<Vec<_>>(), [0, 60_000]);
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    #[must_use]
    pub fn distinct(&self, within: Duration) -> KStream<K, V> {
        self.distinct_node(&Given(None), within)
    }

    /// As [`KStream::distinct`], with a name for the node; the store is called so too.
    #[must_use]
    pub fn distinct_with(&self, within: Duration, named: Named) -> KStream<K, V> {
        self.distinct_node(&named.given(), within)
    }

    fn distinct_node(&self, named: &Given, within: Duration) -> KStream<K, V> {
        let stream = if self.repartition_required { self.repartition() } else { self.clone() };
        let key_serde = stream.key_serde.clone();
        stream.distinct_ids(named, within, key_serde, |key, _| key.clone())
    }

    /// Leaves out records that repeat the id of one that went through less than `within` before or after, by event time:
    /// as [`KStream::distinct`], for an id that is not the key.
    ///
    /// Never repartitions: it sees repetitions among the records of one partition, so equal ids must have equal keys.
    /// Records with a null id are dropped.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let payments = builder.stream::<u64, String>("payments-by-account");
    /// // The payment's own id stands before the first comma.
    /// payments
    ///     .distinct_by(Duration::from_secs(24 * 3_600), |_, payment| payment.split(',').next().map(str::to_owned))
    ///     .to("payments-once");
    /// ```
    pub fn distinct_by<I, F>(&self, within: Duration, id: F) -> KStream<K, V>
    where
        I: Data,
        F: Fn(&K, &V) -> I + Send + Sync + 'static,
    {
        self.distinct_ids(&Given(None), within, None, id)
    }

    /// As [`KStream::distinct_by`], with a name for the node; the store is called so too.
    pub fn distinct_by_with<I, F>(&self, within: Duration, id: F, named: Named) -> KStream<K, V>
    where
        I: Data,
        F: Fn(&K, &V) -> I + Send + Sync + 'static,
    {
        self.distinct_ids(&named.given(), within, None, id)
    }

    fn distinct_ids<I, F>(
        &self,
        named: &Given,
        within: Duration,
        id_serde: Option<SharedSerde<I>>,
        id: F,
    ) -> KStream<K, V>
    where
        I: Data,
        F: Fn(&K, &V) -> I + Send + Sync + 'static,
    {
        let mut graph = self.place.graph.lock();
        let name = named.or_generate(&mut graph, DISTINCT);
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        if within_ms == 0 {
            graph.refuse(format!("{name}: distinct within no time leaves nothing out"));
        }
        let (store, id) = (name.clone(), Arc::new(id));
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let (name, id) = (store.clone(), Arc::clone(&id));
            // A record that is `within` late may repeat one that came as long before it.
            let retention = within.saturating_mul(2);
            let supplier = Stores::persistent_window_store(&store, retention, within, false)
                .expect("the retention is longer than the window");
            let id_serde = id_serde.clone().unwrap_or_else(default_serde::<I>);
            let builder = Stores::window_store_builder(supplier, id_serde, default_serde::<bool>());
            topology
                .add_processor(wiring.name(), wiring.parents(), move || Distinct {
                    store_name: name.clone(),
                    within_ms,
                    id: Arc::clone(&id),
                    seen: None,
                    stream_time: -1,
                })
                .add_state_store(builder, &[wiring.name()]);
        });
        let node = GraphNode::new(name.clone(), Step::Other, write).giving::<K, V>();
        let place = graph.add(node, &[self.place.node]);
        drop(graph);
        self.at(self.place.next(place, &name))
    }
}

struct Distinct<I, F> {
    store_name: String,
    within_ms: i64,
    id: Arc<F>,
    seen: Option<StoreHandle<WindowStore<I, bool>>>,
    /// Greatest timestamp that this processor has seen.
    stream_time: i64,
}

impl<K, V, I, F> Processor<K, V, K, V> for Distinct<I, F>
where
    K: Data,
    V: Data,
    I: Data,
    F: Fn(&K, &V) -> I + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        self.seen = Some(ctx.store_handle(&self.store_name)?);
        Ok(())
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        let id = (self.id)(&record.key, &record.value);
        if id.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        let time = record.timestamp;
        self.stream_time = self.stream_time.max(time);
        if time < self.stream_time.saturating_sub(self.within_ms) {
            ctx.drop_record("too late to tell whether it repeats another");
            return Ok(());
        }
        let seen = ctx.store(self.seen.expect("found when the processor was initialised"));
        let reach = self.within_ms - 1;
        let repeats = seen.fetch(&id, time.saturating_sub(reach), time.saturating_add(reach))?.next().is_some();
        if repeats {
            return Ok(());
        }
        seen.put(&id, time, true)?;
        ctx.forward(record)
    }
}

#[cfg(test)]
mod tests {
    use streams_core::{StreamsConfig, testing::TopologyTestDriver};

    use super::*;
    use crate::StreamsBuilder;

    /// Input and output as `key@time`.
    fn check(input: &str, expected: &str) {
        let builder = StreamsBuilder::new();
        builder.stream::<Option<String>, i64>("in").distinct(Duration::from_millis(10)).to("out");
        let config = StreamsConfig::builder("app").build().unwrap();
        let driver = TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap();
        let topic = driver.create_input_topic::<Option<String>, i64>("in");
        for record in input.split_whitespace() {
            let (key, time) = record.split_once('@').unwrap();
            topic.pipe_input_at((key != "-").then(|| key.to_owned()), 1, time.parse().unwrap()).unwrap();
        }
        let records = driver.create_output_topic::<String, i64>("out").read_records().unwrap();
        let got: Vec<String> = records.iter().map(|record| format!("{}@{}", record.key, record.timestamp)).collect();
        assert_eq!(got.join(" "), expected, "{input}");
    }

    #[test]
    fn a_key_goes_through_once_within_the_time() {
        check("a@0 a@9 b@9 a@10 a@19", "a@0 b@9 a@10");
    }

    #[test]
    fn what_is_left_out_does_not_prolong_the_time() {
        check("a@0 a@6 a@12", "a@0 a@12");
    }

    #[test]
    fn a_late_record_repeats_one_that_is_later_than_itself() {
        check("a@10 a@5 b@5", "a@10 b@5");
    }

    #[test]
    fn null_keys_and_what_is_too_late_are_dropped() {
        check("-@0 a@30 b@19 b@20", "a@30 b@20");
    }

    #[test]
    fn a_changed_key_is_repartitioned_first() {
        let builder = StreamsBuilder::new();
        let keyed = builder.stream::<String, String>("in").select_key(|_, value| value.clone());
        keyed.distinct(Duration::from_secs(1)).to("out");
        assert!(builder.build().unwrap().describe().to_string().contains("-repartition"));
    }

    #[test]
    fn ids_are_told_apart_within_their_key() {
        let builder = StreamsBuilder::new();
        let payments = builder.stream::<String, i64>("in");
        payments.distinct_by_with(Duration::from_secs(1), |_, id| *id, Named::new("once")).to("out");
        let config = StreamsConfig::builder("app").build().unwrap();
        let driver = TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap();
        let topic = driver.create_input_topic::<String, i64>("in").with_timestamps(0, Duration::from_millis(1));
        topic.pipe_key_values([("a".into(), 1), ("a".into(), 2), ("a".into(), 1)]).unwrap();
        let out = driver.create_output_topic::<String, i64>("out").read_key_values().unwrap();
        assert_eq!(out, [("a".to_owned(), 1), ("a".to_owned(), 2)]);
        assert_eq!(driver.store_names(), ["once"]);
    }
}
