//! `split`: each record to the first branch that wants it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use streams_core::{
    Record,
    processor::{ChildHandle, ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream, merge::PassThrough, write_processor};
use crate::{
    graph::{GraphNode, Place, Step, naming::Given},
    options::{Branched, Chain, Named},
};

const BRANCH: &str = "KSTREAM-BRANCH-";

type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// The branches of a split in the order in which they were described: what each wants (the default branch: anything),
/// and the node that it begins with.
type Branches<K, V> = Arc<Mutex<Vec<(Option<Predicate<K, V>>, String)>>>;

/// A stream that is being split. See [`KStream::split`].
pub struct BranchedKStream<K, V> {
    source: KStream<K, V>,
    place: Place,
    branches: Branches<K, V>,
    streams: HashMap<String, KStream<K, V>>,
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Splits the stream: each record goes to the first branch whose predicate is true, else to the default branch, else
    /// nowhere.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let payments = builder.stream::<String, i64>("payments");
    /// let branches = payments
    ///     .split_with(Named::new("payments-"))
    ///     .branch_with(|_card, cents| *cents >= 100_000, Branched::new().with_name("large"))
    ///     .default_branch_with(Branched::new().with_name("small"));
    /// branches["payments-large"].to("large-payments");
    /// branches["payments-small"].to("small-payments");
    /// ```
    #[must_use]
    pub fn split(&self) -> BranchedKStream<K, V> {
        self.split_node(&Given(None))
    }

    /// As [`KStream::split`], with a name: the names of the branches begin with it.
    #[must_use]
    pub fn split_with(&self, named: Named) -> BranchedKStream<K, V> {
        self.split_node(&named.given())
    }

    fn split_node(&self, name: &Given) -> BranchedKStream<K, V> {
        let branches = Branches::<K, V>::default();
        let described = Arc::clone(&branches);
        let place = self.add(
            name,
            BRANCH,
            |node| node,
            move || Split {
                branches: described.lock().unwrap_or_else(PoisonError::into_inner).clone(),
                children: Vec::new(),
            },
        );
        BranchedKStream { source: self.clone(), place, branches, streams: HashMap::new() }
    }
}

impl<K: Field, V: Field> BranchedKStream<K, V> {
    /// A branch for the records that `predicate(&key, &value)` wants, among those that no branch before took.
    #[must_use]
    pub fn branch<F>(self, predicate: F) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.branch_with(predicate, Branched::new())
    }

    /// As [`BranchedKStream::branch`], with a name, or with what becomes of the branch.
    #[must_use]
    pub fn branch_with<F>(mut self, predicate: F, branched: Branched<K, V>) -> Self
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        let number = self.branches.lock().unwrap_or_else(PoisonError::into_inner).len() + 1;
        self.add(Some(Arc::new(predicate)), number, branched);
        self
    }

    /// The records that no branch took go to the default branch. Gives the branches by name.
    #[must_use]
    pub fn default_branch(self) -> HashMap<String, KStream<K, V>> {
        self.default_branch_with(Branched::new())
    }

    /// As [`BranchedKStream::default_branch`], with a name, or with what becomes of the branch.
    pub fn default_branch_with(mut self, branched: Branched<K, V>) -> HashMap<String, KStream<K, V>> {
        self.add(None, 0, branched);
        self.streams
    }

    /// The records that no branch took are dropped. Gives the branches by name.
    pub fn no_default_branch(self) -> HashMap<String, KStream<K, V>> {
        self.streams
    }

    fn add(&mut self, predicate: Option<Predicate<K, V>>, number: usize, branched: Branched<K, V>) {
        let mut graph = self.place.graph.lock();
        let name = match branched.name {
            Some(name) => format!("{}{name}", self.place.name),
            None => format!("{}{number}", self.place.name),
        };
        graph.check_name(&name);
        graph.new_name(&name);
        let node = GraphNode::new(name.clone(), Step::Other, write_processor::<K, V, K, V, _>(|| PassThrough));
        let id = graph.add(node.giving::<K, V>(), &[self.place.node]);
        drop(graph);
        self.branches.lock().unwrap_or_else(PoisonError::into_inner).push((predicate, name.clone()));
        let stream = self.source.at(self.place.next(id, &name));
        match branched.chain {
            Chain::Keep => {
                self.streams.insert(name, stream);
            }
            Chain::Function(chain) => {
                if let Some(stream) = chain(stream) {
                    self.streams.insert(name, stream);
                }
            }
            Chain::Consumer(chain) => chain(stream),
        }
    }
}

struct Split<K, V> {
    branches: Vec<(Option<Predicate<K, V>>, String)>,
    children: Vec<ChildHandle>,
}

impl<K: Field, V: Field> Processor<K, V, K, V> for Split<K, V> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        self.children = self.branches.iter().map(|(_, name)| ctx.child(name)).collect::<ProcessResult<_>>()?;
        Ok(())
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        for ((predicate, _), child) in self.branches.iter().zip(&self.children) {
            if predicate.as_ref().is_none_or(|wants| wants(&record.key, &record.value)) {
                return ctx.forward_to(*child, record);
            }
        }
        // No branch wants it, and there is no default branch.
        Ok(())
    }
}
