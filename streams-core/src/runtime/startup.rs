//! Everything that must be right before the first thread starts, in order: directory, topics, shape, identity.

use std::{fs, path::PathBuf, sync::Arc};

use log_store::{
    TopicName,
    client::{Admin, SharedClient},
};
use parking_lot::Mutex;

use super::{
    blueprint::{Blueprint, Surroundings},
    fingerprint::Fingerprint,
    internal_topics,
    process_id::process_id,
};
use crate::{
    Error, Result, StreamsConfig,
    state::StoreContext,
    task::record_collector::PartitionCounts,
    topology::{Topology, topics::TopicSettings},
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
    let mut admin = client.admin()?;
    let known = Fingerprint::read(&directory)?;
    refuse_lost_changelogs(known.as_ref(), &mut *admin)?;
    let settings = TopicSettings::of(config);
    let counts = internal_topics::prepare(topology, &settings, &mut *admin)?;
    let surroundings = Surroundings {
        application_id: config.application_id.as_str().into(),
        handlers: config.handlers.clone(),
        timestamp_extractor: config.default_timestamp_extractor,
        counts: partition_counts(admin),
        store_contexts: Arc::new(|task| Ok(StoreContext::in_memory(task))),
    };
    let blueprint = Blueprint::draw(topology, &counts, surroundings)?;
    blueprint.fingerprint().check(known.as_ref(), &config.application_id, &directory)?;
    Ok(Started { blueprint, process_id: process_id(&directory)? })
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

/// Answers for the sinks of all tasks; each asks once for each topic.
fn partition_counts(admin: Box<dyn Admin>) -> PartitionCounts {
    let admin = Mutex::new(admin);
    Arc::new(move |topic| Ok(admin.lock().describe_topic(topic)?.map(|description| description.partitions)))
}
