//! Everything that must be right before the first thread starts, in order: directory, topics, shape, identity.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use log_store::{TopicName, client::SharedClient};
use parking_lot::Mutex;

use super::{
    blueprint::{Blueprint, Surroundings},
    process_id::process_id,
};
use crate::{
    Error, Result, StreamsConfig, state::StoreContext, task::record_collector::PartitionCounts, topology::Topology,
};

/// What the threads of a started application stand on.
pub(crate) struct Started {
    pub(crate) blueprint: Blueprint,
    pub(crate) process_id: String,
}

/// The directory of an application's state.
pub(crate) fn directory(config: &StreamsConfig) -> PathBuf {
    config.state_dir.join(&config.application_id)
}

/// Makes an application ready to run.
///
/// # Errors
///
/// Whatever is not as it must be, with the way out. Nothing has been started then.
pub(crate) fn prepare(topology: &Topology, config: &StreamsConfig, client: &SharedClient) -> Result<Started> {
    let directory = directory(config);
    fs::create_dir_all(&directory)
        .map_err(|source| Error::from(log_store::Error::io("create the state directory", &directory, source)))?;
    let existing = existing_topics(client)?;
    let surroundings = Surroundings {
        application_id: config.application_id.as_str().into(),
        handlers: config.handlers.clone(),
        timestamp_extractor: config.default_timestamp_extractor,
        counts: partition_counts(client)?,
        store_contexts: Arc::new(|task| Ok(StoreContext::in_memory(task))),
    };
    let blueprint = Blueprint::draw(topology, &existing, surroundings)?;
    blueprint.fingerprint().check(&config.application_id, &directory)?;
    Ok(Started { blueprint, process_id: process_id(&directory)? })
}

/// All topics of the log with their partition counts.
fn existing_topics(client: &SharedClient) -> Result<BTreeMap<TopicName, u32>> {
    let mut admin = client.admin()?;
    let mut topics = BTreeMap::new();
    for topic in admin.list_topics()? {
        if let Some(description) = admin.describe_topic(&topic)? {
            topics.insert(topic, description.partitions);
        }
    }
    Ok(topics)
}

/// Answers for the sinks of all tasks; each asks once for each topic.
fn partition_counts(client: &SharedClient) -> Result<PartitionCounts> {
    let admin = Mutex::new(client.admin()?);
    Ok(Arc::new(move |topic| Ok(admin.lock().describe_topic(topic)?.map(|description| description.partitions))))
}
