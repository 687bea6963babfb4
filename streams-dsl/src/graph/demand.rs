//! What operators need of the tables before them: old values, or a store to look values up in.
//!
//! Demands are logged while the program is described and replayed at build time in the same order. The order matters:
//! a filter takes old values only if the table above it is in a store *by then* (as in Kafka Streams).

use super::{Graph, NodeId, TableKind};

/// One demand on a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Demand {
    /// Updates must carry the value before.
    OldValues {
        /// The table.
        table: NodeId,
        /// True if the table is to be put into a store for that, if it is in none.
        force: bool,
    },
    /// A filter takes old values if it gets them without a new store.
    FilterOldValues {
        /// The filter.
        filter: NodeId,
        /// The table before it.
        parent: NodeId,
    },
    /// Values are looked up by key.
    Lookup {
        /// The table.
        table: NodeId,
    },
}

/// What the demands come to, table by table.
pub(crate) struct Demands {
    tables: Vec<Answer>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Answer {
    /// Updates of this table carry old values.
    sends_old_values: bool,
    /// The same, as the operators after it asked for it.
    is_asked: bool,
    /// A source table is in a store.
    is_materialized: bool,
}

impl Demands {
    /// Replays all demands of `graph`.
    pub(crate) fn replay(graph: &Graph) -> Self {
        let tables = graph
            .ids()
            .map(|id| Answer {
                is_materialized: matches!(graph[id].table, Some(TableKind::Source { is_named: true })),
                ..Answer::default()
            })
            .collect();
        let mut demands = Demands { tables };
        for demand in &graph.demands {
            match *demand {
                Demand::OldValues { table, force } => {
                    demands.old_values(graph, table, force);
                }
                Demand::FilterOldValues { filter, parent } => {
                    if demands.old_values(graph, parent, false) {
                        demands[filter].sends_old_values = true;
                    }
                }
                Demand::Lookup { table } => demands.lookup(graph, table),
            }
        }
        demands
    }

    /// True if updates of `table` carry old values.
    pub(crate) fn sends_old_values(&self, table: NodeId) -> bool {
        self.tables[table.0 as usize].sends_old_values
    }

    /// True if the source table `table` is in a store.
    pub(crate) fn is_materialized(&self, table: NodeId) -> bool {
        self.tables[table.0 as usize].is_materialized
    }

    /// Asks `table` for old values; false if it cannot give them without a store that it may not have.
    fn old_values(&mut self, graph: &Graph, table: NodeId, force: bool) -> bool {
        if self[table].is_asked {
            return true;
        }
        let granted = match graph[table].table.as_ref().expect("only tables are asked for old values") {
            TableKind::Source { .. } => {
                let granted = force || self[table].is_materialized;
                self[table].is_materialized |= granted;
                granted
            }
            TableKind::Aggregate | TableKind::Derived { is_stored: true, .. } => true,
            TableKind::Derived { parent, is_stored: false } => {
                // A filter may have got them when it was made.
                self.old_values(graph, *parent, force) || self[table].sends_old_values
            }
            TableKind::Join { parents } => {
                for parent in parents {
                    self.old_values(graph, *parent, true);
                }
                true
            }
            TableKind::PassThrough { parents } => {
                for parent in parents {
                    self.old_values(graph, *parent, true);
                }
                true
            }
            TableKind::Suppress { parent } => self.old_values(graph, *parent, force),
        };
        if granted {
            self[table].sends_old_values = true;
            self[table].is_asked = true;
        }
        granted
    }

    /// Puts the source tables that a lookup in `table` ends at into stores.
    fn lookup(&mut self, graph: &Graph, table: NodeId) {
        match graph[table].table.as_ref().expect("only tables are looked up") {
            TableKind::Source { .. } => self[table].is_materialized = true,
            TableKind::Derived { parent, is_stored: false } | TableKind::Suppress { parent } => {
                self.lookup(graph, *parent);
            }
            TableKind::Join { parents } => parents.iter().for_each(|parent| self.lookup(graph, *parent)),
            TableKind::Aggregate | TableKind::PassThrough { .. } | TableKind::Derived { is_stored: true, .. } => {}
        }
    }
}

impl std::ops::Index<NodeId> for Demands {
    type Output = Answer;

    fn index(&self, id: NodeId) -> &Answer {
        &self.tables[id.0 as usize]
    }
}

impl std::ops::IndexMut<NodeId> for Demands {
    fn index_mut(&mut self, id: NodeId) -> &mut Answer {
        &mut self.tables[id.0 as usize]
    }
}
