//! Cogrouped streams in windows.

use std::sync::Arc;

use streams_core::serde::{Data, Windowed};

use super::{
    CogroupedKStream,
    input::{Initializer, Merger},
};
use crate::{
    aggregate::{
        session_windowed::store::SessionStoreSpec,
        time_windowed::{TimeWindowing, store::WindowStoreSpec},
    },
    options::Materialized,
    table::KTable,
    window::{EmitStrategy, SessionWindows},
};

/// Cogrouped streams, cut into windows of time. See [`CogroupedKStream::windowed_by`].
#[derive(Clone)]
pub struct TimeWindowedCogroupedKStream<K, A> {
    cogrouped: CogroupedKStream<K, A>,
    windows: TimeWindowing,
}

impl<K: Data, A: Data> TimeWindowedCogroupedKStream<K, A> {
    pub(in crate::aggregate) fn new(cogrouped: CogroupedKStream<K, A>, windows: TimeWindowing) -> Self {
        windows.check(&mut cogrouped.first().place().graph.lock());
        TimeWindowedCogroupedKStream { cogrouped, windows }
    }

    /// The table of the aggregates of each key in each window, which begin with `initializer()`.
    pub fn aggregate<I>(&self, initializer: I) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, Materialized::absent())
    }

    /// As [`TimeWindowedCogroupedKStream::aggregate`], with a name or a store.
    pub fn aggregate_with<I>(&self, initializer: I, options: impl Into<Materialized<K, A>>) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
    {
        let materialized = self.cogrouped.with_key_serde(options.into());
        let (store, is_named) = self.cogrouped.store_name(&materialized);
        let named = materialized.processor.clone();
        let spec = {
            let mut graph = self.cogrouped.first().place().graph.lock();
            let emit = EmitStrategy::OnWindowUpdate;
            WindowStoreSpec::new(&mut graph, store.clone(), materialized, self.windows, emit)
        };
        let initializer: Initializer<A> = Arc::new(initializer);
        let grace_ms = Some(self.windows.grace_ms());
        let place = self.cogrouped.wire::<Windowed<K>>(&store, is_named, &named, grace_ms, None, |input| {
            input.write_windowed(Arc::clone(&spec), self.windows, Arc::clone(&initializer))
        });
        let (key_serde, value_serde) = spec.table_serdes();
        KTable::new(place, Some(key_serde), value_serde, is_named.then_some(store), spec.view())
    }
}

/// Cogrouped streams, cut into sessions. See [`CogroupedKStream::windowed_by`].
#[derive(Clone)]
pub struct SessionWindowedCogroupedKStream<K, A> {
    cogrouped: CogroupedKStream<K, A>,
    windows: SessionWindows,
}

impl<K: Data, A: Data> SessionWindowedCogroupedKStream<K, A> {
    pub(in crate::aggregate) fn new(cogrouped: CogroupedKStream<K, A>, windows: SessionWindows) -> Self {
        SessionWindowedCogroupedKStream { cogrouped, windows }
    }

    /// The table of the aggregates of each key in each session, which begin with `initializer()`; `merger(&key, one,
    /// other)` puts two sessions together.
    pub fn aggregate<I, M>(&self, initializer: I, merger: M) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        M: Fn(&K, A, A) -> A + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, merger, Materialized::absent())
    }

    /// As [`SessionWindowedCogroupedKStream::aggregate`], with a name or a store.
    pub fn aggregate_with<I, M>(
        &self,
        initializer: I,
        merger: M,
        options: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        M: Fn(&K, A, A) -> A + Send + Sync + 'static,
    {
        let materialized = self.cogrouped.with_key_serde(options.into());
        let (store, is_named) = self.cogrouped.store_name(&materialized);
        let named = materialized.processor.clone();
        let spec = {
            let mut graph = self.cogrouped.first().place().graph.lock();
            let emit = EmitStrategy::OnWindowUpdate;
            SessionStoreSpec::new(&mut graph, store.clone(), materialized, self.windows, emit)
        };
        let initializer: Initializer<A> = Arc::new(initializer);
        let merger: Merger<K, A> = Arc::new(merger);
        let grace_ms = Some(self.windows.grace_ms.saturating_add(self.windows.gap_ms));
        let place = self.cogrouped.wire::<Windowed<K>>(&store, is_named, &named, grace_ms, None, |input| {
            input.write_sessions(Arc::clone(&spec), self.windows, Arc::clone(&initializer), Arc::clone(&merger))
        });
        let (key_serde, value_serde) = spec.table_serdes();
        KTable::new(place, Some(key_serde), value_serde, is_named.then_some(store), spec.view())
    }
}
