//! Topologies told as lines, and what must follow from them: descriptions as Kafka prints them, sub-topologies, complaints.
//!
//! ```text
//! source NAME TOPIC,…                a source of text
//! processor NAME < PARENT,… STORE,…  a processor that uses stores, all added when first named
//! sink NAME < PARENT,… TOPIC
//! ```

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Sink, Source, TopicNameExtractor, TopicPattern, Topics, Topology,
    subtopology::subtopologies,
    topics::{TopicPlan, TopicSettings},
};
use crate::{
    Record, Result,
    processor::{ProcessResult, Processor, ProcessorContext},
    state::{Changelog, ChangelogCleanup, StateStore, StoreBuilder, StoreContext},
};

struct Pass;

impl<K, V> Processor<K, V, K, V> for Pass
where
    K: Clone + 'static,
    V: Clone + 'static,
{
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        ctx.forward(record)
    }
}

struct Swallow;

impl Processor<String, String, (), ()> for Swallow {
    fn process(&mut self, _: Record<String, String>, _: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        Ok(())
    }
}

struct Named(String, Changelog);

impl StoreBuilder for Named {
    fn name(&self) -> &str {
        &self.0
    }

    fn changelog(&self) -> &Changelog {
        &self.1
    }

    fn format(&self) -> String {
        "named".to_owned()
    }

    fn is_persistent(&self) -> bool {
        false
    }

    fn is_caching(&self) -> bool {
        false
    }

    fn build(&self, _: &StoreContext) -> Result<Box<dyn StateStore>> {
        unreachable!("these topologies do not run")
    }
}

fn store(name: &str) -> Arc<dyn StoreBuilder> {
    store_with(name, ChangelogCleanup::Compact, &[])
}

fn store_with(name: &str, cleanup: ChangelogCleanup, config: &[(&str, &str)]) -> Arc<dyn StoreBuilder> {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Arc::new(Named(name.to_owned(), Changelog::Topic { cleanup, config }))
}

fn source(name: &str, topics: impl Into<Topics>) -> Source<String, String> {
    Source::new(name, topics)
}

fn sink(name: &str, topic: &str) -> Sink<String, String> {
    Sink::new(name, topic)
}

fn topology(lines: &str) -> Topology {
    let mut topology = Topology::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let list = |at: usize| words.get(at).map_or(Vec::new(), |word| word.split(',').collect());
        match words[0] {
            "source" => topology.add_source(source(words[1], &list(2)[..])),
            "processor" => {
                topology.add_processor::<_, String, String, String, String>(words[1], &list(3), || Pass);
                for name in list(4) {
                    if topology.stores.iter().any(|store| store.builder.name() == name) {
                        topology.connect_processor_and_state_stores(words[1], &[name]);
                    } else {
                        topology.add_state_store(store(name), &[words[1]]);
                    }
                }
                &mut topology
            }
            "sink" => topology.add_sink(sink(words[1], words[4]), &list(3)),
            other => panic!("{other:?} is no kind of node"),
        };
    }
    topology
}

mod describe {
    use super::*;

    #[test]
    fn a_table_table_join_reads_as_kafka_prints_it() {
        let topology = topology(
            "source KSTREAM-SOURCE-0000000001 left
             processor KTABLE-SOURCE-0000000002 < KSTREAM-SOURCE-0000000001 left-STATE-STORE-0000000000
             source KSTREAM-SOURCE-0000000004 right
             processor KTABLE-SOURCE-0000000005 < KSTREAM-SOURCE-0000000004 right-STATE-STORE-0000000003
             processor KTABLE-JOINTHIS-0000000007 < KTABLE-SOURCE-0000000002 right-STATE-STORE-0000000003
             processor KTABLE-JOINOTHER-0000000008 < KTABLE-SOURCE-0000000005 left-STATE-STORE-0000000000
             processor KTABLE-MERGE-0000000006 < KTABLE-JOINTHIS-0000000007,KTABLE-JOINOTHER-0000000008
             processor KTABLE-TOSTREAM-0000000009 < KTABLE-MERGE-0000000006
             sink KSTREAM-SINK-0000000010 < KTABLE-TOSTREAM-0000000009 out",
        );
        let expected = "\
Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000001 (topics: [left])
      --> KTABLE-SOURCE-0000000002
    Source: KSTREAM-SOURCE-0000000004 (topics: [right])
      --> KTABLE-SOURCE-0000000005
    Processor: KTABLE-SOURCE-0000000002 (stores: [left-STATE-STORE-0000000000])
      --> KTABLE-JOINTHIS-0000000007
      <-- KSTREAM-SOURCE-0000000001
    Processor: KTABLE-SOURCE-0000000005 (stores: [right-STATE-STORE-0000000003])
      --> KTABLE-JOINOTHER-0000000008
      <-- KSTREAM-SOURCE-0000000004
    Processor: KTABLE-JOINOTHER-0000000008 (stores: [left-STATE-STORE-0000000000])
      --> KTABLE-MERGE-0000000006
      <-- KTABLE-SOURCE-0000000005
    Processor: KTABLE-JOINTHIS-0000000007 (stores: [right-STATE-STORE-0000000003])
      --> KTABLE-MERGE-0000000006
      <-- KTABLE-SOURCE-0000000002
    Processor: KTABLE-MERGE-0000000006 (stores: [])
      --> KTABLE-TOSTREAM-0000000009
      <-- KTABLE-JOINTHIS-0000000007, KTABLE-JOINOTHER-0000000008
    Processor: KTABLE-TOSTREAM-0000000009 (stores: [])
      --> KSTREAM-SINK-0000000010
      <-- KTABLE-MERGE-0000000006
    Sink: KSTREAM-SINK-0000000010 (topic: out)
      <-- KTABLE-TOSTREAM-0000000009

";
        assert_eq!(topology.describe().as_str(), expected);
    }

    #[test]
    fn parents_are_listed_in_the_order_in_which_kafka_met_them() {
        // In the golden case the stream of in2 is merged with that of in1: the larger name comes first.
        let topology = topology(
            "source KSTREAM-SOURCE-0000000000 in1
             source KSTREAM-SOURCE-0000000001 in2
             processor KSTREAM-MERGE-0000000002 < KSTREAM-SOURCE-0000000001,KSTREAM-SOURCE-0000000000
             sink KSTREAM-SINK-0000000003 < KSTREAM-MERGE-0000000002 out1",
        );
        let text = topology.describe().to_string();
        assert!(text.contains("<-- KSTREAM-SOURCE-0000000001, KSTREAM-SOURCE-0000000000\n"), "{text}");
    }

    #[test]
    fn a_global_store_has_a_number_and_no_tasks() {
        let mut topology = Topology::new();
        topology
            .add_global_store(store("countries"), source("reader", "countries-topic"), "keeper", || Swallow)
            .add_source(source("in", "in"))
            .add_sink(sink("out", "out"), &["in"]);
        topology.validate().unwrap();
        let expected = "\
Topologies:
   Sub-topology: 0 for global store (will not generate tasks)
    Source: reader (topics: [countries-topic])
      --> keeper
    Processor: keeper (stores: [countries])
      --> none
      <-- reader
  Sub-topology: 1
    Source: in (topics: [in])
      --> out
    Sink: out (topic: out)
      <-- in

";
        assert_eq!(topology.describe().as_str(), expected);
    }

    #[test]
    fn sets_are_in_the_order_of_javas_hash_tables() {
        let topology = topology("source s in3,in4\nprocessor p < s KSTREAM-JOIN-0000000003-Buffer,right-store");
        let text = topology.describe().to_string();
        assert!(text.contains("topics: [in4, in3]"), "{text}");
        assert!(text.contains("stores: [right-store, KSTREAM-JOIN-0000000003-Buffer]"), "{text}");
    }

    #[test]
    fn patterns_and_extractors_show_their_text() {
        let mut topology = Topology::new();
        let extractor = TopicNameExtractor::new(|_: &Record<String, String>, _| "x".to_owned());
        topology
            .add_source(source("s", TopicPattern::new("in-.*").unwrap()))
            .add_sink(Sink::<String, String>::new("k", extractor.described_as("BY-COUNTRY")), &["s"]);
        let text = topology.describe().to_string();
        assert!(
            text.contains("Source: s (topics: in-.*)") && text.contains("Sink: k (extractor class: BY-COUNTRY)"),
            "{text}"
        );
    }

    #[test]
    fn a_topology_that_is_not_valid_can_still_be_described() {
        let text = topology("processor q < p\nprocessor p < p,x").describe().to_string();
        assert!(text.contains("Processor: p (stores: [])") && text.contains("Processor: q (stores: [])"), "{text}");
    }

    #[test]
    fn many_ways_through_a_topology_cost_no_more_than_its_edges() {
        // 2^60 paths: counting them one by one would never end.
        let mut lines = "source n0 in\n".to_owned();
        for level in 0..60 {
            let (next, add) = (level + 1, |side| format!("processor {side}{level} < n{level}\n"));
            lines += &(add("a") + &add("b") + &format!("processor n{next} < a{level},b{level}\n"));
        }
        assert!(topology(&lines).describe().as_str().contains("n60"));
    }
}

mod parts {
    use super::*;

    fn check(lines: &str, expected: &[&str]) {
        let topology = topology(lines);
        topology.validate().unwrap();
        let names = |part: &crate::topology::subtopology::SubTopology| {
            part.nodes.iter().map(|place| &*topology.nodes[*place].name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(subtopologies(&topology).iter().map(names).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn they_are_numbered_by_their_first_nodes() {
        check("source b b\nsource a a\nsink y < a out\nsink x < b out", &["b x", "a y"]);
    }

    #[test]
    fn a_shared_store_joins_what_no_edge_joins() {
        check("source a a\nsource b b\nprocessor p < a s\nprocessor q < b s,t", &["a b p q"]);
        check("source a a\nsource b b\nprocessor p < a s\nprocessor q < b t", &["a p", "b q"]);
    }
}

mod rules {
    use super::*;

    #[track_caller]
    fn check(topology: &Topology, expected: &[&str]) {
        let error = topology.validate().expect_err("refused").to_string();
        let violations: Vec<&str> = error.lines().skip(1).collect();
        assert_eq!(violations.len(), expected.len(), "{error}");
        for text in expected {
            assert!(error.contains(text), "{text:?} is not in {error}");
        }
    }

    #[test]
    fn names_are_taken_once() {
        check(&topology("source a a\nsink a < a out"), &["node a is already added"]);
        check(&topology("source a a\nsource b a"), &["topic a is read by a and by b"]);
    }

    #[test]
    fn parents_are_known_forward_and_come_first() {
        check(&topology("source a a\nsink k < x out"), &["parent x of k is unknown"]);
        check(&topology("source a a\nprocessor p < p"), &["node p is its own parent"]);
        check(&topology("source a a\nsink k < a out\nsink l < k out"), &["sink k cannot be the parent of l"]);
        check(&topology("source a a\nprocessor q < p\nprocessor p < a"), &["parent p of q is added after it"]);
        let mut orphan = topology("source a a");
        orphan.add_sink(sink("k", "out"), &[]);
        check(&orphan, &["node k has no parents"]);
    }

    #[test]
    fn both_types_of_a_broken_edge_are_named() {
        let mut topology = topology("source a a");
        topology
            .add_processor::<_, String, i64, String, Option<i64>>("p", &["a"], || Convert)
            .add_sink(Sink::<String, i64>::new("k", "out"), &["p"]);
        check(
            &topology,
            &[
                "a forwards records of (String, String), but p takes records of (String, i64)",
                "p forwards records of (String, Option<i64>), but k takes records of (String, i64)",
            ],
        );
    }

    struct Convert;

    impl Processor<String, i64, String, Option<i64>> for Convert {
        fn process(
            &mut self,
            record: Record<String, i64>,
            ctx: &mut ProcessorContext<'_, String, Option<i64>>,
        ) -> ProcessResult {
            let value = Some(record.value);
            ctx.forward(record.with_value(value))
        }
    }

    #[test]
    fn topics_have_legal_names() {
        check(&topology("source a a/b\nsink k < a x:y"), &["source a: topic name \"a/b\""]);
        let to_nowhere = topology("source a a\nsink k < a x:y");
        to_nowhere.validate().unwrap();
        let error = to_nowhere.validate_sink_topics().expect_err("refused").to_string();
        assert!(error.contains("sink k: topic name \"x:y\""), "{error}");
        let mut topology = topology("source a a\nsink k < a a");
        topology.add_internal_topic("..", None);
        check(&topology, &["internal topic: topic name \"..\""]);
    }

    #[test]
    fn a_pattern_must_not_match_what_another_source_reads() {
        let mut topology = topology("source a in-1");
        topology.add_source(source("b", TopicPattern::new("in-.").unwrap()));
        check(&topology, &["topic in-1 is read by a and matches the pattern \"in-.\" of b"]);
    }

    #[test]
    fn stores_are_added_once_named_well_and_used() {
        let mut topology = topology("source a a\nprocessor p < a s");
        topology
            .add_state_store(store("s"), &[])
            .add_state_store(store("../t"), &["p"])
            .add_state_store(store("u"), &[]);
        check(
            &topology,
            &["a different store called s", "store: name \"../t\"", "store u is not connected to any processor"],
        );
    }

    #[test]
    fn the_same_store_may_be_added_again() {
        let mut topology = topology("source a a\nprocessor p < a\nprocessor q < a");
        let shared = store("s");
        topology.add_state_store(Arc::clone(&shared), &["p"]).add_state_store(shared, &["q"]);
        topology.validate().unwrap();
    }

    #[test]
    fn connections_lead_from_processors_to_stores() {
        let mut topology = topology("source a a\nprocessor p < a s");
        topology
            .connect_processor_and_state_stores("a", &["s"])
            .connect_processor_and_state_stores("x", &["s"])
            .connect_processor_and_state_stores("p", &["t"]);
        check(
            &topology,
            &["only processors use stores", "connected to x, which is unknown", "store t, which is not added"],
        );
    }

    #[test]
    fn a_global_store_needs_no_connection() {
        let mut topology = topology("source a a\nprocessor p < a");
        topology
            .add_global_store(store("g"), source("reader", "g"), "keeper", || Swallow)
            .connect_processor_and_state_stores("p", &["g"]);
        check(&topology, &["processor p is connected to the global store g"]);
    }

    #[test]
    fn a_topic_that_serves_as_changelog_is_read() {
        let reused = |topic: &str| {
            let mut topology = topology("source a a\nprocessor p < a");
            let changelog = Changelog::SourceTopic { topic: topic.into(), cleanup: ChangelogCleanup::Compact };
            let store: Arc<dyn StoreBuilder> = Arc::new(Named("s".into(), changelog));
            topology.add_state_store(store, &["p"]);
            topology
        };
        reused("a").validate().unwrap();
        check(&reused("b"), &["store s is restored from topic \"b\""]);
    }

    #[test]
    fn copartitioned_sources_are_known_and_agree() {
        let mut topology = topology("source a r\nsource b q");
        topology
            .add_internal_topic("r", Some(2))
            .add_internal_topic("q", Some(3))
            .copartition_sources(&["a", "b"])
            .copartition_sources(&["a", "x"]);
        check(&topology, &["q has 3, r has 2", "copartitioned source x is unknown"]);
    }
}

mod topics {
    use std::time::Duration;

    use log_store::TopicName;

    use super::*;

    fn settings_of(plan: &TopicPlan, name: &str) -> Vec<String> {
        let topics: BTreeMap<_, _> = plan.parts.iter().flat_map(|part| &part.internal).collect();
        let topic = topics[&TopicName::new(name).unwrap()];
        topic.settings.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn internal_topics_have_kafkas_names_and_settings() {
        let mut topology = topology(
            "source a a\nsink to-r < a r-repartition\nsource r r-repartition\n
             processor p < r kv",
        );
        let ms = Duration::from_millis;
        topology
            .add_internal_topic("r-repartition", None)
            .add_state_store(store_with("w", ChangelogCleanup::CompactDelete { retention: ms(2_580_000) }, &[]), &["p"])
            .add_state_store(
                store_with("j", ChangelogCleanup::Delete { retention: ms(20_000) }, &[("segment.ms", "7")]),
                &["p"],
            )
            .add_state_store(store_with("v", ChangelogCleanup::CompactWithLag { history: ms(300_000) }, &[]), &["p"])
            .add_state_store(
                store_with("x", ChangelogCleanup::Delete { retention: ms(5) }, &[("retention.ms", "9")]),
                &["p"],
            );
        topology.validate().unwrap();
        let overrides = BTreeMap::from([("retention.ms".to_owned(), "1".to_owned())]);
        let settings =
            TopicSettings { application_id: "app", overrides: &BTreeMap::new(), additional_retention_ms: 86_400_000 };
        let plan = TopicPlan::of(&topology, &settings, std::iter::empty()).unwrap();
        let create_time = "message.timestamp.type=CreateTime";
        for (name, expected) in [
            ("app-kv-changelog", vec!["cleanup.policy=compact", create_time]),
            ("app-w-changelog", vec!["cleanup.policy=compact,delete", create_time, "retention.ms=88980000"]),
            ("app-j-changelog", vec!["cleanup.policy=delete", create_time, "retention.ms=86420000", "segment.ms=7"]),
            ("app-v-changelog", vec!["cleanup.policy=compact", create_time, "min.compaction.lag.ms=86700000"]),
            ("app-x-changelog", vec!["cleanup.policy=delete", create_time, "retention.ms=9"]),
            (
                "app-r-repartition",
                vec!["cleanup.policy=delete", create_time, "retention.ms=-1", "segment.bytes=52428800"],
            ),
        ] {
            assert_eq!(settings_of(&plan, name), expected, "{name}");
        }
        // The application's settings stand above the engine's own, below what follows from a store's retention.
        let plan =
            TopicPlan::of(&topology, &TopicSettings { overrides: &overrides, ..settings }, std::iter::empty()).unwrap();
        assert!(settings_of(&plan, "app-r-repartition").contains(&"retention.ms=1".to_owned()));
        assert!(settings_of(&plan, "app-w-changelog").contains(&"retention.ms=88980000".to_owned()));
    }
}
