//! Apache Kafka behind [`log_store::client`]: the same program, on a cluster.
//!
//! All of it is behind the feature `librdkafka`, which compiles that C library; `ssl` adds encrypted connections.
//!
//! A thin layer over librdkafka. What it bends to fit:
//!
//! * A run of messages of one partition is copied into one shared batch, so the engine knows one kind of batch.
//! * A rebalance, which librdkafka reports from inside a poll, comes out as a value in order with the records. Revoked
//!   partitions are given back when the engine says so; assigned ones are accepted with their positions resolved, so
//!   that a position is known before the first record.
//! * Positions travel into a transaction with the metadata of the generation that their partitions were assigned in
//!   (KIP-447): a member that the group has dropped is fenced, whatever it has become since.
//! * After a transaction call of unknown outcome the producer must be dropped: a new one of the same transactional id
//!   fences whatever is still on its way.
//!
//! # Limits
//!
//! Groups share out partitions by Kafka's range assignor, all of them at each rebalance, since it alone keeps partition
//! `n` of several topics together; topics of one [`log_store::client::CopartitionGroup`] must therefore have equally many
//! partitions, and [`log_store::client::Consumer::subscribe`] refuses others. librdkafka tells neither the ids of topics
//! nor the generations of groups.

#![cfg(feature = "librdkafka")]

mod admin;
mod cluster;
mod consumer;
mod convert;
mod producer;
mod rebalance;
mod run;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use log_store::{
    Result,
    client::{Admin, Consumer, ConsumerConfig, LogClient, Producer, ProducerConfig},
};
use parking_lot::Mutex;
use rdkafka::{ClientConfig, consumer::ConsumerGroupMetadata};

use crate::cluster::Cluster;

/// Longest wait for an answer of the cluster, for calls that have no limit of their own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Group metadata of the live consumers' present generations, by the member name that
/// [`log_store::client::GroupMetadata`] carries.
type Members = Mutex<HashMap<String, Arc<ConsumerGroupMetadata>>>;

/// A Kafka cluster. Clones share their connections for administration.
///
/// ```no_run
/// use log_store::client::{Admin, LogClient};
/// use log_store_kafka::KafkaClient;
///
/// let kafka = KafkaClient::new("broker-1:9092,broker-2:9092").with_property("socket.keepalive.enable", "true");
/// for topic in kafka.admin()?.list_topics()? {
///     println!("{topic}");
/// }
/// # Ok::<(), log_store::Error>(())
/// ```
#[derive(Clone)]
pub struct KafkaClient {
    properties: Arc<BTreeMap<String, String>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    members: Members,
    cluster: Mutex<Option<Arc<Cluster>>>,
}

impl KafkaClient {
    /// The cluster behind `bootstrap_servers` (`host:port`, separated by commas). Nothing is connected yet.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        KafkaClient {
            properties: Arc::new(BTreeMap::from([("bootstrap.servers".to_owned(), bootstrap_servers.into())])),
            shared: Arc::default(),
        }
    }

    /// Sets a property of librdkafka for every client that is made from now on (security, timeouts, …). Those that this
    /// crate sets itself (group, isolation, guarantees of the producer) win.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.properties).insert(name.into(), value.into());
        self.shared = Arc::default();
        self
    }

    fn client_config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &*self.properties {
            config.set(name, value);
        }
        if !client_id.is_empty() {
            config.set("client.id", client_id);
        }
        config
    }

    /// Connections for administration, made on first use.
    fn cluster(&self) -> Result<Arc<Cluster>> {
        let mut cluster = self.shared.cluster.lock();
        if let Some(cluster) = &*cluster {
            return Ok(Arc::clone(cluster));
        }
        let made = Arc::new(Cluster::new(self.client_config(""))?);
        *cluster = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Other properties may hold passwords.
        f.debug_struct("KafkaClient")
            .field("bootstrap.servers", &self.properties.get("bootstrap.servers"))
            .finish_non_exhaustive()
    }
}

impl LogClient for KafkaClient {
    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(admin::KafkaAdmin::new(self.cluster()?)))
    }

    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(consumer::KafkaConsumer::new(self, config)?))
    }

    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        Ok(Box::new(producer::KafkaProducer::new(self, config)?))
    }

    fn commit_interval_default(&self) -> Duration {
        Duration::from_millis(100)
    }
}
