//! Everything that must be right before the first thread starts, in order: directory, topics, shape, identity.

use std::{collections::HashMap, sync::Arc};

use log_store::{
    TopicName,
    client::{Admin, SharedClient},
};
use parking_lot::Mutex;

use super::{
    blueprint::{Blueprint, StoreContexts, Surroundings},
    cleaner::Cleaner,
    fingerprint::{Fingerprint, UNKNOWN_PARTITIONS},
    global_stores::GlobalStores,
    internal_topics, orphans,
    process_id::process_id,
};
use crate::{
    Error, Result, StreamsConfig,
    state::{SimulatedDisk, StateDirectory, StateSettings},
    task::{TaskId, record_collector::PartitionCounts},
    topology::{
        Topology,
        subtopology::{SubTopology, subtopologies},
        topics::{TopicPlan, TopicSettings},
    },
};

/// What the threads of a started application stand on.
pub(crate) struct Started {
    pub(crate) blueprint: Blueprint,
    /// The part of the topology that fills global stores, if there is one.
    pub(crate) global: Option<Blueprint>,
    pub(crate) global_stores: GlobalStores,
    pub(crate) process_id: String,
    /// Held until the application has ended, even if its handle lives on.
    directory: SharedDirectory,
    cleaner: Mutex<Option<Cleaner>>,
}

impl Started {
    /// The last thread has ended: closes the global stores and lets others have the directory.
    pub(crate) fn close(&self) -> Result<()> {
        let closed = self.global_stores.close();
        self.release();
        closed
    }

    /// Lets others have the directory.
    pub(crate) fn release(&self) {
        self.cleaner.lock().take();
        self.directory.lock().take();
    }
}

type SharedDirectory = Arc<Mutex<Option<Arc<StateDirectory>>>>;

/// Opens the directory of an application's state: nobody else may have it.
pub(crate) fn open_directory(
    topology: &Topology,
    config: &StreamsConfig,
    simulated_disk: Option<&SimulatedDisk>,
) -> Result<Arc<StateDirectory>> {
    let caching = topology.stores.iter().filter(|store| store.builder.is_caching()).count().max(1);
    let settings = StateSettings {
        budget: Arc::clone(&config.memory_budget),
        config_setter: config.rocksdb_config_setter.clone(),
        held_bytes_max: config.statestore_cache_max_bytes / config.num_stream_threads / caching,
        simulated_disk: simulated_disk.cloned(),
        ..StateSettings::new(&config.state_dir)
    };
    StateDirectory::open(&config.application_id, settings)
}

/// Makes an application ready to run. With a `simulated_disk`, persistent stores keep their rows there.
///
/// # Errors
///
/// Whatever is not as it must be, with the way out. Nothing has been started then.
pub(crate) fn prepare(
    topology: &Topology,
    config: &StreamsConfig,
    client: &SharedClient,
    simulated_disk: Option<&SimulatedDisk>,
) -> Result<Started> {
    let directory = open_directory(topology, config, simulated_disk)?;
    let path = directory.path().to_owned();
    let shared: SharedDirectory = Arc::new(Mutex::new(Some(directory)));
    let mut admin = client.admin()?;
    let known = Fingerprint::read(&path)?;
    refuse_lost_changelogs(known.as_ref(), &mut *admin)?;
    find_dead_letter_topic(config, &mut *admin)?;
    let settings = TopicSettings::of(config);
    let surroundings = Surroundings {
        application_id: config.application_id.as_str().into(),
        handlers: config.handlers.clone(),
        dead_letter_topic: config.dead_letter_topic.as_deref().map(Arc::from),
        timestamp_extractor: config.default_timestamp_extractor,
        counts: partition_counts(client.admin()?),
        store_contexts: store_contexts(&shared),
    };
    if let Some(known) = &known {
        // Before topics are made for it: is this the topology that wrote the state?
        let names = if topology.has_patterns() { admin.list_topics()? } else { Vec::new() };
        let plan = TopicPlan::of(topology, &settings, names.iter())?;
        let sources = plan.parts.iter().flat_map(|part| &part.sources);
        let unknown = sources.map(|topic| (topic.clone(), UNKNOWN_PARTITIONS)).collect();
        let blueprint = Blueprint::draw(topology, &unknown, surroundings.clone())?;
        blueprint.fingerprint().compare(known, &config.application_id, &path)?;
    }
    orphans::refuse(topology, &config.application_id, &mut *admin)?;
    let counts = internal_topics::prepare(topology, &settings, &mut *admin)?;
    let blueprint = Blueprint::draw(topology, &counts, surroundings.clone())?;
    blueprint.fingerprint().check(known.as_ref(), &config.application_id, &path)?;
    let process_id = process_id(&path)?;
    let parts = subtopologies(topology);
    let (mut global, mut global_stores) = (None, GlobalStores::default());
    if parts.iter().any(|part| part.is_global) {
        let part = SubTopology::merged(parts.iter().filter(|part| part.is_global));
        let store_contexts = global_context(&shared);
        // As in Kafka Streams, dead letters are of stream tasks only.
        let surroundings = Surroundings { store_contexts, dead_letter_topic: None, ..surroundings };
        let blueprint = Blueprint::draw_parts(topology, &[part], &counts, surroundings)?;
        let opened = blueprint.open_stores(GLOBAL, &HashMap::new(), &Arc::default())()?;
        global_stores = GlobalStores::new(opened.into_iter().map(|opened| opened.store).collect());
        global = Some(blueprint);
    }
    let directory = Arc::clone(&shared);
    let name = format!("{}-CleanupThread", config.client_id);
    let cleaner = Cleaner::start(name, config.state_cleanup_delay, move || directory.lock().clone())?;
    let cleaner = Mutex::new(Some(cleaner));
    Ok(Started { blueprint, global, global_stores, process_id, directory: shared, cleaner })
}

/// Partition 0 of the part that fills global stores; its stores serve all partitions.
const GLOBAL: TaskId = TaskId { subtopology: 0, partition: 0 };

/// Contexts of tasks in the directory, as long as the application has it.
fn store_contexts(directory: &SharedDirectory) -> StoreContexts {
    let directory = Arc::clone(directory);
    Arc::new(move |task| match &*directory.lock() {
        Some(directory) => directory.open_task(task),
        None => Err(Error::IllegalState(format!("task {task} cannot be opened: the application has ended"))),
    })
}

/// The context of the global stores.
fn global_context(directory: &SharedDirectory) -> StoreContexts {
    let directory = Arc::clone(directory);
    Arc::new(move |_| match &*directory.lock() {
        Some(directory) => directory.open_global(),
        None => Err(Error::IllegalState("the global stores cannot be opened: the application has ended".to_owned())),
    })
}

/// A changelog that was there and is gone must not be made again in silence: its store would begin empty, or local
/// files would be taken for more than the log knows.
fn refuse_lost_changelogs(known: Option<&Fingerprint>, admin: &mut dyn Admin) -> Result<()> {
    let stores = known.iter().flat_map(|known| &known.stores);
    let mut lost = Vec::new();
    for (store, changelog) in stores.filter_map(|(store, shape)| Some((store, shape.changelog.as_ref()?))) {
        if admin.describe_topic(&TopicName::new(changelog)?)?.is_none() {
            lost.push(format!("topic {changelog}, the changelog of store {store}, has been deleted"));
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    Err(Error::Incompatible(format!(
        "{}; bring it back, or reset the application (its offsets, internal topics and state) and begin anew",
        lost.join("; ")
    )))
}

/// Letters are of use only if they can be sent when the time comes.
fn find_dead_letter_topic(config: &StreamsConfig, admin: &mut dyn Admin) -> Result<()> {
    match &config.dead_letter_topic {
        Some(topic) if admin.describe_topic(&TopicName::new(topic)?)?.is_none() => Err(Error::Config(format!(
            "errors.dead.letter.queue.topic.name: topic {topic} does not exist; create it before the application starts"
        ))),
        _ => Ok(()),
    }
}

/// Answers for the sinks of all tasks; each asks once for each topic.
fn partition_counts(admin: Box<dyn Admin>) -> PartitionCounts {
    let admin = Mutex::new(admin);
    Arc::new(move |topic| {
        let name = TopicName::new(topic)?;
        let found = admin.lock().describe_topic(&name)?;
        Ok(found.map(|description| (name, description.partitions)))
    })
}
