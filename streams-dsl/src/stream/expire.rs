//! `expire_after`: a tombstone for each key that was not renewed in time. Not in Kafka Streams.

use std::{sync::Arc, time::Duration};

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::{Data, Encoded, Serde, SerdeError, SharedSerde, default_serde},
    state::{KeyValueStore, Stores},
    topology::Topology,
};

use super::KStream;
use crate::{
    graph::{GraphNode, Step, lower::Wiring, naming::Given},
    options::{Materialized, Named},
    table::KTable,
};

const EXPIRE: &str = "KSTREAM-EXPIRE-";

/// Keys that are looked at in one go, so that an hour of silence does not fill the memory.
const BATCH: usize = 1_024;

impl<K: Data, V: Data> KStream<K, V> {
    /// Passes records on, and a null for each key whose last record is `ttl` old, by event time: what stands below as a
    /// table forgets rows that nobody renews.
    ///
    /// Time is that of the records: nothing expires while none comes. The null carries the time at which its key
    /// expired. A null value passes, and there is nothing left to expire. Records with a null key are dropped, and so are
    /// records that are `ttl` late, since they would expire at once. Repartitions first if the key may have changed. Not
    /// an operator of Kafka Streams.
    ///
    /// State: two rows for each key that lives, both in changelogs, so that a restart forgets no time to live. Cost: one
    /// write for each record; one more for each `ttl` that a key lives.
    #[must_use]
    pub fn expire_after(&self, ttl: Duration) -> KStream<K, Option<V>> {
        self.expire_node(&Given(None), ttl)
    }

    /// As [`KStream::expire_after`], with a name for the node; the stores are called so too, with `-last` and `-due`.
    #[must_use]
    pub fn expire_after_with(&self, ttl: Duration, named: Named) -> KStream<K, Option<V>> {
        self.expire_node(&named.given(), ttl)
    }

    /// The table of the latest values that are younger than `ttl`, by event time:
    /// [`expire_after`](KStream::expire_after), then [`to_table_with`](KStream::to_table_with).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use streams_core::{StreamsConfig, testing::TopologyTestDriver};
    /// use streams_dsl::prelude::*;
    ///
    /// let builder = StreamsBuilder::new();
    /// let logins = builder.stream::<String, String>("logins");
    /// let sessions = logins.to_table_with_ttl(Duration::from_secs(60), Materialized::new("sessions"));
    /// sessions.to_stream().to("session-changes");
    ///
    /// let driver = TopologyTestDriver::new(&builder.build()?, StreamsConfig::builder("app").build()?)?;
    /// let logins = driver.create_input_topic::<String, String>("logins");
    /// let changes = driver.create_output_topic::<String, Option<String>>("session-changes");
    /// logins.pipe_input_at("alice".into(), "laptop".into(), 0)?;
    /// logins.pipe_input_at("bob".into(), "phone".into(), 60_000)?;
    /// assert_eq!(changes.read_key_values()?, [
    ///     ("alice".into(), Some("laptop".into())),
    ///     ("alice".into(), None),
    ///     ("bob".into(), Some("phone".into())),
    /// ]);
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    #[must_use]
    pub fn to_table_with_ttl(
        &self,
        ttl: Duration,
        options: impl Into<Materialized<K, Option<V>>>,
    ) -> KTable<K, Option<V>> {
        self.expire_after(ttl).to_table_with(options)
    }

    fn expire_node(&self, named: &Given, ttl: Duration) -> KStream<K, Option<V>> {
        let stream = if self.repartition_required { self.repartition() } else { self.clone() };
        let mut graph = stream.place.graph.lock();
        let name = named.or_generate(&mut graph, EXPIRE);
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        if ttl_ms == 0 {
            graph.refuse(format!("{name}: a time to live of zero keeps nothing"));
        }
        let (last, due) = (format!("{name}-last"), format!("{name}-due"));
        let key_serde = stream.key_serde.clone();
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let key_serde = key_serde.clone().unwrap_or_else(default_serde::<K>);
            let last_store = Stores::key_value_store_builder(
                Stores::persistent_key_value_store(&last),
                SharedSerde::clone(&key_serde),
                default_serde::<i64>(),
            );
            let due_store = Stores::key_value_store_builder(
                Stores::persistent_key_value_store(&due),
                Arc::new(DueSerde(key_serde)),
                default_serde::<bool>(),
            );
            let (last, due) = (last.clone(), due.clone());
            topology
                .add_processor::<_, K, V, K, Option<V>>(wiring.name(), wiring.parents(), move || Expire {
                    names: (last.clone(), due.clone()),
                    ttl_ms,
                    stores: None,
                    stream_time: -1,
                    next_due: i64::MIN,
                })
                .add_state_store(last_store, &[wiring.name()])
                .add_state_store(due_store, &[wiring.name()]);
        });
        let node = GraphNode::new(name.clone(), Step::Other, write).giving::<K, Option<V>>();
        let place = graph.add(node, &[stream.place.node]);
        drop(graph);
        stream.with_values(stream.place.next(place, &name))
    }
}

/// When to look at a key, and the key: ordered by time.
type Due<K> = (i64, K);

/// The time, big-endian, then the key: rows lie in order of time.
struct DueSerde<K>(SharedSerde<K>);

impl<K: 'static> Serde<Due<K>> for DueSerde<K> {
    fn serialize(&self, (time, key): &Due<K>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&time.to_be_bytes());
        self.0.serialize(key, out)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Due<K>, SerdeError> {
        let Some((time, key)) = bytes.and_then(<[u8]>::split_first_chunk) else {
            return Err(SerdeError::new("too short for a time and a key"));
        };
        Ok((i64::from_be_bytes(*time), self.0.deserialize(Some(key))?))
    }
}

struct Expire<K> {
    /// Of the stores: time of the last record of each key; when to look at it again.
    names: (String, String),
    ttl_ms: i64,
    stores: Option<Handles<K>>,
    /// Greatest timestamp that this processor has seen.
    stream_time: i64,
    /// Nothing is due before; the least there is while that is not known.
    next_due: i64,
}

struct Handles<K> {
    last: StoreHandle<KeyValueStore<K, i64>>,
    due: StoreHandle<KeyValueStore<Due<K>, bool>>,
}

impl<K: Data> Expire<K> {
    fn handles(&self) -> Handles<K> {
        let found = self.stores.as_ref().expect("found when the processor was initialised");
        Handles { last: found.last, due: found.due }
    }

    /// Passes on a null for each key whose time is over.
    fn expire<V: Data>(&mut self, ctx: &mut ProcessorContext<'_, K, Option<V>>) -> ProcessResult {
        let Handles { last, due } = self.handles();
        while self.next_due <= self.stream_time {
            let mut looked_at: Vec<Due<K>> = Vec::new();
            self.next_due = i64::MAX;
            for row in ctx.store(due).all()? {
                let (row, _) = row?;
                if row.0 > self.stream_time || looked_at.len() == BATCH {
                    self.next_due = row.0;
                    break;
                }
                looked_at.push(row);
            }
            for row in looked_at {
                ctx.store(due).delete(&row)?;
                let key = row.1;
                let Some(last_ms) = ctx.store(last).get(&key)?.copied() else { continue };
                let due_ms = last_ms.saturating_add(self.ttl_ms);
                if due_ms > self.stream_time {
                    // It was renewed since.
                    ctx.store(due).put(&(due_ms, key), true)?;
                    self.next_due = self.next_due.min(due_ms);
                } else {
                    ctx.store(last).delete(&key)?;
                    ctx.forward(Record::new(key, None, due_ms))?;
                }
            }
        }
        Ok(())
    }
}

impl<K: Data, V: Data> Processor<K, V, K, Option<V>> for Expire<K> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Option<V>>) -> ProcessResult {
        self.stores = Some(Handles { last: ctx.store_handle(&self.names.0)?, due: ctx.store_handle(&self.names.1)? });
        Ok(())
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, Option<V>>) -> ProcessResult {
        if record.key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        self.stream_time = self.stream_time.max(record.timestamp);
        self.expire(ctx)?;
        let Handles { last, due } = self.handles();
        let Record { key, value, timestamp, headers } = record;
        let due_ms = timestamp.saturating_add(self.ttl_ms);
        if value.is_null() {
            ctx.store(last).delete(&key)?;
            return ctx.forward(Record { key, value: None, timestamp, headers });
        }
        if due_ms <= self.stream_time {
            ctx.drop_record("older than its time to live");
            return Ok(());
        }
        let is_new = ctx.store(last).update(&key, |last| {
            let is_new = last.is_none();
            *last = Some(last.map_or(timestamp, |last| last.max(timestamp)));
            is_new
        })?;
        if is_new {
            ctx.store(due).put(&(due_ms, key.clone()), true)?;
            self.next_due = self.next_due.min(due_ms);
        }
        ctx.forward(Record { key, value: Some(value), timestamp, headers })
    }
}

#[cfg(test)]
mod tests {
    use streams_core::{StreamsConfig, testing::TopologyTestDriver};

    use super::*;
    use crate::StreamsBuilder;

    /// Input as `key=value@time`, output the same; `-` is null.
    fn check(input: &str, expected: &str) {
        let builder = StreamsBuilder::new();
        builder.stream::<String, Option<String>>("in").expire_after(Duration::from_millis(10)).to("out");
        let config = StreamsConfig::builder("app").build().unwrap();
        let driver = TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap();
        let topic = driver.create_input_topic::<String, Option<String>>("in");
        for record in input.split_whitespace() {
            let (key, rest) = record.split_once('=').unwrap();
            let (value, time) = rest.split_once('@').unwrap();
            let value = (value != "-").then(|| value.to_owned());
            topic.pipe_input_at(key.to_owned(), value, time.parse().unwrap()).unwrap();
        }
        let records = driver.create_output_topic::<String, Option<String>>("out").read_records().unwrap();
        let shown = |record: &Record<String, Option<String>>| {
            format!("{}={}@{}", record.key, record.value.as_deref().unwrap_or("-"), record.timestamp)
        };
        assert_eq!(records.iter().map(shown).collect::<Vec<_>>().join(" "), expected, "{input}");
    }

    #[test]
    fn a_key_that_is_not_renewed_expires_at_its_time() {
        check("a=1@0 b=1@9 b=2@12", "a=1@0 b=1@9 a=-@10 b=2@12");
    }

    #[test]
    fn a_key_that_is_renewed_lives_on() {
        check("a=1@0 a=2@9 b=1@15 b=1@19", "a=1@0 a=2@9 b=1@15 a=-@19 b=1@19");
    }

    #[test]
    fn a_late_record_does_not_shorten_a_life() {
        check("a=1@9 a=2@5 b=1@16 b=2@19", "a=1@9 a=2@5 b=1@16 a=-@19 b=2@19");
    }

    #[test]
    fn a_deleted_key_has_nothing_to_expire() {
        check("a=1@0 a=-@5 b=1@30", "a=1@0 a=-@5 b=1@30");
        check("a=1@0 a=-@5 a=2@6 b=1@12 b=1@16", "a=1@0 a=-@5 a=2@6 b=1@12 a=-@16 b=1@16");
    }

    #[test]
    fn what_would_expire_at_once_is_dropped() {
        check("a=1@20 b=1@10 b=1@11", "a=1@20 b=1@11");
    }

    #[test]
    fn many_keys_expire_in_order_of_their_times() {
        let times = 0..3_000;
        let keys: Vec<String> = times.clone().map(|time| format!("k{time:04}=1@{time}")).collect();
        let alive = keys.join(" ");
        let mut expected = Vec::new();
        for (time, key) in times.zip(&keys) {
            if time >= 10 {
                expected.push(format!("k{:04}=-@{time}", time - 10));
            }
            expected.push(key.clone());
        }
        check(&alive, &expected.join(" "));
        let at_once =
            format!("{} z=1@1000000", (0..2_500).map(|n| format!("k{n:04}=1@0")).collect::<Vec<_>>().join(" "));
        let all = (0..2_500).map(|n| format!("k{n:04}=1@0")).chain((0..2_500).map(|n| format!("k{n:04}=-@10")));
        check(&at_once, &all.chain(["z=1@1000000".to_owned()]).collect::<Vec<_>>().join(" "));
    }
}
