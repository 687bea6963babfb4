//! One step of a program, as a closed list of kinds.

use std::{any::TypeId, sync::Arc};

use log_store::client::OffsetReset;
use streams_core::topology::Topology;

use super::lower::Wiring;

/// A node's place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

/// Writes a step to the topology: the one place where its types are still known.
pub(crate) type Write = Arc<dyn Fn(&mut Topology, &Wiring<'_>) + Send + Sync>;

/// One step of the program, with what the rewrites and the steps after it ask.
#[derive(Clone)]
pub(crate) struct GraphNode {
    pub(crate) name: String,
    pub(crate) step: Step,
    pub(crate) write: Write,
    pub(crate) parents: Vec<NodeId>,
    pub(crate) children: Vec<NodeId>,
    /// Steps are written in this order as soon as their parents are.
    pub(crate) priority: u32,
    pub(crate) changes_key: bool,
    pub(crate) changes_value: bool,
    /// A left or outer join that answers records with a null key: repartition topics above it keep them.
    pub(crate) accepts_null_keys: bool,
    /// Whether the table is kept in a versioned store; `None` where it is as its parents are.
    pub(crate) output_versioned: Option<bool>,
    /// How long after its end a window still changes; `None` if the step makes no windows.
    pub(crate) grace_ms: Option<i64>,
    /// Types of its records, where a repartition topic may move up to it.
    pub(crate) output: Option<EdgeType>,
    /// How its old values and its store come about, if it gives a table.
    pub(crate) table: Option<TableKind>,
}

/// Types of a key and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EdgeType(TypeId, TypeId);

impl EdgeType {
    pub(crate) fn of<K: 'static, V: 'static>() -> Self {
        EdgeType(TypeId::of::<K>(), TypeId::of::<V>())
    }
}

/// What kind of step a node is, as far as a rewrite or another step has to know.
#[derive(Clone)]
pub(crate) enum Step {
    /// Above all sources.
    Root,
    /// Reads topics as a stream.
    Source(Source),
    /// Reads a topic as a table.
    TableSource,
    /// Interleaves streams.
    Merge,
    /// Sends records through an internal topic. Several that Kafka Streams made by itself can become one.
    Repartition(Repartition),
    /// Keeps one side of a stream-stream join in its window store.
    JoinWindow,
    /// Joins two streams.
    StreamJoin {
        /// Node that keeps the left side.
        this_window: String,
        /// Node that keeps the right side.
        other_window: String,
    },
    /// Holds back updates of a table.
    Suppress,
    /// Anything else: nobody asks.
    Other,
}

/// The topics of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) topics: Topics,
    /// Where reading begins without a committed offset.
    pub(crate) reset: Option<OffsetReset>,
}

/// Which topics a source reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topics {
    /// These.
    Listed(Vec<String>),
    /// All whose name matches the expression.
    Pattern(String),
}

/// A repartition step.
#[derive(Clone)]
pub(crate) struct Repartition {
    /// The topic, without the application's name.
    pub(crate) topic: String,
    /// Makes the same step under other names, when several are merged; `None` if the user asked for this very one.
    pub(crate) rename: Option<Rename>,
}

/// Makes a repartition step for this topic: node name, and what writes it.
pub(crate) type Rename = Arc<dyn Fn(&mut super::Graph, &str) -> GraphNode + Send + Sync>;

/// Where a table's values are kept and where its old values come from.
#[derive(Clone)]
pub(crate) enum TableKind {
    /// Read from a topic or stream: kept in a store only if it is named or somebody needs it.
    Source {
        /// True if the user named the store.
        is_named: bool,
    },
    /// The result of an aggregation: always in a store.
    Aggregate,
    /// Computed from another table, in a store only if the user named it.
    Derived {
        /// The other table.
        parent: NodeId,
        /// True if it has a store.
        is_stored: bool,
    },
    /// A join of two tables.
    Join {
        /// Both.
        parents: [NodeId; 2],
    },
    /// The merged results of aggregations that share a store.
    PassThrough {
        /// The aggregations.
        parents: Vec<NodeId>,
    },
    /// Updates of the parent, held back.
    Suppress {
        /// The table.
        parent: NodeId,
    },
}

impl GraphNode {
    pub(crate) fn new(name: impl Into<String>, step: Step, write: Write) -> Self {
        GraphNode {
            name: name.into(),
            step,
            write,
            parents: Vec::new(),
            children: Vec::new(),
            priority: 0,
            changes_key: false,
            changes_value: false,
            accepts_null_keys: false,
            output_versioned: None,
            grace_ms: None,
            output: None,
            table: None,
        }
    }

    pub(crate) fn root() -> Self {
        GraphNode::new("root", Step::Root, Arc::new(|_, _| {}))
    }

    /// Marks a step that may change the key.
    pub(crate) fn changing_key(mut self) -> Self {
        self.changes_key = true;
        self
    }

    /// Marks a step that may change the value.
    pub(crate) fn changing_value(mut self) -> Self {
        self.changes_value = true;
        self
    }

    /// Says what records it gives.
    pub(crate) fn giving<K: 'static, V: 'static>(mut self) -> Self {
        self.output = Some(EdgeType::of::<K, V>());
        self
    }

    /// Says how its table comes about.
    pub(crate) fn table(mut self, kind: TableKind) -> Self {
        self.table = Some(kind);
        self
    }

    /// Says whether its table is versioned, if it has a store of its own.
    pub(crate) fn versioned(mut self, versioned: Option<bool>) -> Self {
        self.output_versioned = versioned;
        self
    }
}
