//! `topics`: create, list, describe, alter, delete.

use std::collections::BTreeMap;

use anyhow::bail;
use clap::Subcommand;
use log_store::{
    TopicName,
    client::{LogClient, NewTopic, TopicDescription},
};
use serde_json::json;

use crate::{
    log::{Data, topic, topic_name, topics},
    output::Output,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a topic (and the log, if the directory has none).
    #[command(after_help = "Example: logctl --data ./data topics create orders --partitions 8 --config \
                            cleanup.policy=compact")]
    Create {
        #[arg(value_parser = topic_name)]
        name: TopicName,
        /// Number of partitions.
        #[arg(long, default_value_t = 1)]
        partitions: u32,
        /// A setting under Kafka's name; may be repeated.
        #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
        config: Vec<(String, String)>,
        /// Succeed if the topic exists already.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List all topics.
    #[command(after_help = "Example: logctl --data ./data topics list")]
    List,
    /// Show partitions and settings.
    #[command(after_help = "Example: logctl --data ./data --json topics describe orders | jq .config")]
    Describe {
        /// The topics; all if none is named.
        #[arg(value_parser = topic_name)]
        names: Vec<TopicName>,
    },
    /// Change settings.
    #[command(after_help = "Example: logctl --data ./data topics alter orders --config retention.ms=3600000 \
                            --delete-config retention.bytes")]
    Alter {
        #[arg(value_parser = topic_name)]
        name: TopicName,
        /// A setting under Kafka's name; may be repeated.
        #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
        config: Vec<(String, String)>,
        /// Take a setting back to its default; may be repeated.
        #[arg(long, value_name = "NAME")]
        delete_config: Vec<String>,
    },
    /// Delete topics with all their records.
    #[command(after_help = "Example: logctl --data ./data topics delete orders clicks")]
    Delete {
        #[arg(required = true, value_parser = topic_name)]
        names: Vec<TopicName>,
    },
}

pub(crate) fn run(command: Command, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    match command {
        Command::Create { name, partitions, config, if_not_exists } => {
            let log = data.open_or_create()?;
            if !if_not_exists || log.admin()?.describe_topic(&name)?.is_none() {
                let config = config.into_iter().collect();
                log.admin()?.create_topics(&[NewTopic { name, partitions, config }])?;
            }
            log.close()?;
        }
        Command::List => {
            for topic in topics(&data.directory()?)? {
                out.result(format_args!("{}", topic.name), || json!({"name": topic.name.as_str()}))?;
            }
        }
        Command::Describe { names } => {
            let directory = data.directory()?;
            let found = match names.as_slice() {
                [] => topics(&directory)?,
                names => names.iter().map(|name| topic(&directory, name)).collect::<anyhow::Result<_>>()?,
            };
            for topic in found {
                print(&topic, out)?;
            }
        }
        Command::Alter { name, config, delete_config } => {
            let mut changes: BTreeMap<String, Option<String>> =
                config.into_iter().map(|(name, value)| (name, Some(value))).collect();
            changes.extend(delete_config.into_iter().map(|name| (name, None)));
            if changes.is_empty() {
                bail!("nothing to change: say --config NAME=VALUE or --delete-config NAME");
            }
            let log = data.open()?;
            log.alter_topic(&name, &changes)?;
            log.close()?;
        }
        Command::Delete { names } => {
            let log = data.open()?;
            log.admin()?.delete_topics(&names)?;
            log.close()?;
        }
    }
    Ok(())
}

/// One topic.
pub(crate) fn print(topic: &TopicDescription, out: &mut Output) -> std::io::Result<()> {
    let config: Vec<_> = topic.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let id = topic.topic_id_text();
    let line = format_args!(
        "Topic: {} TopicId: {id} PartitionCount: {} Configs: {}",
        topic.name,
        topic.partitions,
        config.join(",")
    );
    out.result(
        line,
        || json!({"name": topic.name.as_str(), "topicId": id, "partitions": topic.partitions, "config": topic.config}),
    )
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, as in retention.ms=60000")?;
    Ok((name.to_owned(), value.to_owned()))
}
