//! The store of a windowed table: how it is made, read and written, and how its updates go on.

use std::sync::Arc;

use log_store::Headers;
use streams_core::{
    Change, Record,
    processor::{ProcessResult, ProcessorContext, StoreHandle},
    serde::{Data, SharedSerde, Window, Windowed},
    state::{StoreBuilder, Stores, TimestampedWindowStore, Update, ValueAndTimestamp},
};

use super::{TimeWindowing, windowed_serde};
use crate::{
    aggregate::emit::FinalResults,
    graph::{Graph, lower::Wiring},
    options::{Materialized, StoreType},
    table::{
        View,
        materialize::{logged, serde_or_default},
        value_getter::{Lookup, ValueGetter},
    },
    window::{EmitStrategy, duration, millis},
};

/// What a windowed table's store is to be.
pub(crate) struct WindowStoreSpec<K, A> {
    pub(crate) name: String,
    materialized: Materialized<K, A>,
    windows: TimeWindowing,
    retention_ms: i64,
    emit: EmitStrategy,
}

impl<K: Data, A: Data> WindowStoreSpec<K, A> {
    pub(crate) fn new(
        graph: &mut Graph,
        name: String,
        materialized: Materialized<K, A>,
        windows: TimeWindowing,
        emit: EmitStrategy,
    ) -> Arc<Self> {
        let needed = windows.retention_ms();
        let retention_ms = materialized.retention.map_or(needed, millis);
        if retention_ms < needed {
            graph.refuse(format!(
                "window store {name} keeps windows for {retention_ms} ms; their size and grace period need {needed} ms"
            ));
        }
        Arc::new(WindowStoreSpec { name, materialized, windows, retention_ms, emit })
    }

    pub(crate) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || {
            let asked = &self.materialized;
            let (retention, size) = (duration(self.retention_ms), duration(self.windows.size_ms()));
            let name = self.name.as_str();
            let store_type = asked.store_type.unwrap_or(StoreType::RocksDb);
            let supplier = match store_type {
                StoreType::RocksDb => Stores::persistent_window_store(name, retention, size, false),
                StoreType::InMemory => Stores::in_memory_window_store(name, retention, size, false),
            };
            // Retention shorter than the windows has been refused already: whatever is built here is thrown away.
            let supplier = supplier
                .or_else(|_| Stores::persistent_window_store(name, size, size, false))
                .expect("a retention of one window is enough");
            let supplier = match self.emit {
                EmitStrategy::OnWindowClose => supplier.with_time_index(),
                EmitStrategy::OnWindowUpdate => supplier,
            };
            let builder = Stores::timestamped_window_store_builder(
                supplier,
                serde_or_default(asked.key_serde.as_ref()),
                serde_or_default(asked.value_serde.as_ref()),
                wiring.config.format_of(store_type),
            );
            let is_sliding = matches!(self.windows, TimeWindowing::Sliding(_));
            let caches = asked.caching && !(is_sliding && self.emit == EmitStrategy::OnWindowClose);
            let builder = if caches { builder.with_caching_enabled() } else { builder };
            Arc::new(logged(builder, asked.logging.as_ref(), None))
        })
    }

    /// Serdes of the table that is in the store.
    pub(crate) fn table_serdes(&self) -> (SharedSerde<Windowed<K>>, Option<SharedSerde<A>>) {
        (windowed_serde(self.materialized.key_serde.as_ref(), self.windows), self.materialized.value_serde.clone())
    }

    pub(crate) fn view(&self) -> View<Windowed<K>, A> {
        let name: Arc<str> = self.name.as_str().into();
        View {
            getter: Arc::new(move || Box::new(InWindowStore { name: Arc::clone(&name), store: None })),
            stores: vec![self.name.clone()],
            history: None,
        }
    }
}

/// What a windowed aggregation is told at build time.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) sends_old_values: bool,
    pub(crate) emit: EmitStrategy,
    pub(crate) emit_interval_ms: i64,
}

/// A value of a window, with its time.
pub(super) type Row<A> = ValueAndTimestamp<A>;

/// The store of a windowed table together with the way of its updates downstream.
pub(super) struct KeptWindows<K, A> {
    name: Arc<str>,
    settings: Settings,
    opened: Option<(StoreHandle<TimestampedWindowStore<K, A>>, bool)>,
    pub(super) final_results: FinalResults,
}

type Context<'a, K, A> = ProcessorContext<'a, Windowed<K>, Change<A>>;

impl<K: Data, A: Data> KeptWindows<K, A> {
    pub(super) fn new(name: &str, settings: Settings) -> Self {
        KeptWindows {
            name: name.into(),
            settings,
            opened: None,
            final_results: FinalResults::new(name, settings.emit_interval_ms),
        }
    }

    pub(super) fn init(&mut self, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        let store = ctx.store_handle(&self.name)?;
        self.opened = Some((store, ctx.store::<TimestampedWindowStore<K, A>>(store).is_caching()));
        self.final_results.init(ctx);
        Ok(())
    }

    fn store<'a>(&self, ctx: &'a mut Context<'_, K, A>) -> &'a mut TimestampedWindowStore<K, A> {
        ctx.store(self.opened.expect("found when the processor was initialised").0)
    }

    pub(super) fn emits_on_close(&self) -> bool {
        self.settings.emit == EmitStrategy::OnWindowClose
    }

    pub(super) fn sends_old_values(&self) -> bool {
        self.settings.sends_old_values
    }

    #[inline]
    pub(super) fn get(&self, ctx: &mut Context<'_, K, A>, key: &K, start: i64) -> ProcessResult<Option<Row<A>>> {
        Ok(self.store(ctx).get(key, start)?.cloned())
    }

    /// Windows of `key` that start from `from` to `to`, both included, ascending.
    pub(super) fn fetch(
        &self,
        ctx: &mut Context<'_, K, A>,
        key: &K,
        from: i64,
        to: i64,
    ) -> ProcessResult<Vec<(i64, Row<A>)>> {
        Ok(self.store(ctx).fetch(key, from, to)?.map(|(start, row)| (start, row.clone())).collect())
    }

    pub(super) fn put(
        &self,
        ctx: &mut Context<'_, K, A>,
        key: &K,
        start: i64,
        value: Option<A>,
        timestamp: i64,
    ) -> ProcessResult {
        match value {
            Some(value) => self.store(ctx).put(key, start, ValueAndTimestamp::new(value, timestamp))?,
            None => self.store(ctx).delete(key, start)?,
        };
        Ok(())
    }

    /// Passes an update on, unless the cache or the end of the window does so later.
    pub(super) fn forward(
        &self,
        ctx: &mut Context<'_, K, A>,
        key: Windowed<K>,
        change: Change<A>,
        timestamp: i64,
        headers: &Headers,
    ) -> ProcessResult {
        let is_caching = self.opened.is_some_and(|(_, is_caching)| is_caching);
        if is_caching || self.emits_on_close() {
            return Ok(());
        }
        ctx.forward(Record { key, value: change, timestamp, headers: headers.clone() })
    }

    /// Passes on the windows that start from `from` to `to`: they have closed.
    pub(super) fn emit(
        &mut self,
        ctx: &mut Context<'_, K, A>,
        from: i64,
        to: i64,
        close_time: i64,
        headers: &Headers,
    ) -> ProcessResult {
        for (key, row) in self.store(ctx).fetch_all(from, to)? {
            let value = Change::new(Some(row.value), None);
            ctx.forward(Record { key, value, timestamp: row.timestamp, headers: headers.clone() })?;
        }
        self.final_results.advance(ctx, close_time);
        Ok(())
    }

    /// Passes on what the cache held back.
    pub(super) fn flush(&self, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        let Some((store, true)) = self.opened else { return Ok(()) };
        if self.emits_on_close() {
            ctx.store(store).drop_updates();
            return Ok(());
        }
        let updates = ctx.store(store).take_updates()?;
        forward_updates(ctx, updates, self.settings.sends_old_values)
    }
}

/// Passes on what a cache held back.
pub(crate) fn forward_updates<K: Data, A: Data>(
    ctx: &mut ProcessorContext<'_, K, Change<A>>,
    updates: Vec<Update<K, ValueAndTimestamp<A>>>,
    sends_old_values: bool,
) -> ProcessResult {
    for update in updates {
        let old = update.old.map(|row| row.value);
        let (new, timestamp) = match update.new {
            Some(row) => (Some(row.value), row.timestamp),
            // Neither there before nor now: nobody has to know.
            None if old.is_none() => continue,
            None => (None, update.timestamp),
        };
        let value = Change::new(new, if sends_old_values { old } else { None });
        ctx.forward(Record { key: update.key, value, timestamp, headers: update.headers })?;
    }
    Ok(())
}

/// Looks values up in a window store.
struct InWindowStore<K, A> {
    name: Arc<str>,
    store: Option<StoreHandle<TimestampedWindowStore<K, A>>>,
}

impl<K: Data, A: Data> ValueGetter<Windowed<K>, A> for InWindowStore<K, A> {
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn get(&mut self, ctx: &mut Lookup<'_>, key: &Windowed<K>) -> ProcessResult<Option<ValueAndTimestamp<A>>> {
        let store = self.store.expect("found when the processor was initialised");
        Ok(ctx.store(store).get(&key.key, key.window.start)?.cloned())
    }
}

/// The text of a window in messages.
pub(super) fn window_of_size(start: i64, size_ms: i64) -> ProcessResult<Window> {
    if size_ms == 0 {
        // Kafka Streams makes no windows of length zero either.
        return Err("a window must end after its start: sliding windows need a time difference above zero".into());
    }
    Ok(Window::of_size(start, size_ms))
}
