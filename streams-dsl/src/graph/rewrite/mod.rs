//! Rewrites of the graph before it is lowered: one file per idea.

mod merge_repartitions;
mod merge_sources;
mod null_keys;
mod self_join;
mod versioned;

use std::collections::HashSet;

use super::{Generated, Graph, NodeId};
use crate::config::TopologyConfig;

/// What the rewrites found out about single nodes.
pub(crate) struct Rewrites {
    /// Tables in versioned stores, or computed from nothing but such.
    pub(crate) versioned: HashSet<NodeId>,
    /// Repartition steps that must pass records with a null key.
    pub(crate) keep_null_keys: HashSet<NodeId>,
    /// Joins of a stream with itself that need one store only.
    pub(crate) self_joins: HashSet<NodeId>,
}

/// Rewrites `graph` as `config` asks. What is wrong is added to its violations.
pub(crate) fn rewrite(graph: &mut Graph, config: &TopologyConfig) -> Rewrites {
    merge_sources::apply(graph);
    if config.optimization.merges_repartition_topics() {
        merge_repartitions::apply(graph);
    }
    let self_joins =
        if config.optimization.joins_itself_with_one_store() { self_join::apply(graph) } else { HashSet::new() };
    let keep_null_keys = null_keys::find(graph);
    let versioned = versioned::find(graph);
    if config.ensure_explicit_internal_resource_naming {
        refuse_generated_names(graph);
    }
    Rewrites { versioned, keep_null_keys, self_joins }
}

fn refuse_generated_names(graph: &mut Graph) {
    for generated in std::mem::take(&mut graph.generated) {
        graph.refuse(match generated {
            Generated::Store(name) => format!("state store {name} has a generated name; name it with Materialized"),
            Generated::Changelog(name) => {
                format!("changelog topic {name} has a generated name; name its store with Materialized")
            }
            Generated::Repartition(name) => {
                format!("repartition topic {name} has a generated name; name it with Grouped, Joined or Repartitioned")
            }
        });
    }
}
