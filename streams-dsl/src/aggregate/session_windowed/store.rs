//! The store of a table of sessions.

use std::sync::Arc;

use log_store::Headers;
use streams_core::{
    processor::{ProcessResult, ProcessorContext, StoreHandle},
    serde::{Data, SessionWindowedSerde, SharedSerde, Window, Windowed},
    state::{SessionStore, StoreBuilder, StoreFormat, Stores, Update, ValueAndTimestamp},
};

use crate::{
    graph::{Graph, lower::Wiring},
    options::{Materialized, StoreType},
    table::{
        View,
        materialize::{logged, serde_or_default},
        value_getter::{Lookup, ValueGetter},
    },
    window::{EmitStrategy, SessionWindows, duration, millis},
};

/// What the store of a table of sessions is to be.
pub(crate) struct SessionStoreSpec<K, A> {
    pub(crate) name: String,
    materialized: Materialized<K, A>,
    retention_ms: i64,
    emit: EmitStrategy,
}

impl<K: Data, A: Data> SessionStoreSpec<K, A> {
    pub(crate) fn new(
        graph: &mut Graph,
        name: String,
        materialized: Materialized<K, A>,
        windows: SessionWindows,
        emit: EmitStrategy,
    ) -> Arc<Self> {
        let needed = windows.gap_ms.saturating_add(windows.grace_ms);
        let retention_ms = materialized.retention.map_or(needed, millis);
        if retention_ms < needed {
            graph.refuse(format!(
                "session store {name} keeps sessions for {retention_ms} ms; gap and grace period need {needed} ms"
            ));
        }
        Arc::new(SessionStoreSpec { name, materialized, retention_ms, emit })
    }

    pub(crate) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || {
            let asked = &self.materialized;
            let retention = duration(self.retention_ms);
            let store_type = asked.store_type.unwrap_or(StoreType::RocksDb);
            let supplier = match store_type {
                StoreType::RocksDb => Stores::persistent_session_store(&*self.name, retention),
                StoreType::InMemory => Stores::in_memory_session_store(&*self.name, retention),
            };
            let emits_on_close = self.emit == EmitStrategy::OnWindowClose;
            let supplier = if emits_on_close { supplier.with_time_index() } else { supplier };
            let caches = asked.caching && !emits_on_close;
            let key = serde_or_default(asked.key_serde.as_ref());
            let value = serde_or_default(asked.value_serde.as_ref());
            match wiring.config.format_of(store_type) {
                StoreFormat::Default => {
                    let builder = Stores::session_store_builder(supplier, key, value);
                    let builder = if caches { builder.with_caching_enabled() } else { builder };
                    Arc::new(logged(builder, asked.logging.as_ref(), None))
                }
                StoreFormat::Headers => {
                    let builder = Stores::session_store_with_headers_builder(supplier, key, value);
                    let builder = if caches { builder.with_caching_enabled() } else { builder };
                    Arc::new(logged(builder, asked.logging.as_ref(), None))
                }
            }
        })
    }

    /// Serdes of the table that is in the store.
    pub(crate) fn table_serdes(&self) -> (SharedSerde<Windowed<K>>, Option<SharedSerde<A>>) {
        let key = SessionWindowedSerde::new(serde_or_default(self.materialized.key_serde.as_ref()));
        (Arc::new(key), self.materialized.value_serde.clone())
    }

    pub(crate) fn view(&self) -> View<Windowed<K>, A> {
        let name: Arc<str> = self.name.as_str().into();
        View {
            getter: Arc::new(move || Box::new(InSessionStore { name: Arc::clone(&name), store: None })),
            stores: vec![self.name.clone()],
            history: None,
        }
    }
}

/// A session store in the hands of a processor.
pub(super) enum Sessions<K, A> {
    /// Values alone.
    Plain(StoreHandle<SessionStore<K, A>>),
    /// Values with headers.
    WithHeaders(StoreHandle<SessionStore<K, ValueAndTimestamp<A>>>),
}

impl<K, A> Clone for Sessions<K, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, A> Copy for Sessions<K, A> {}

impl<K: Data, A: Data> Sessions<K, A> {
    pub(super) fn find_store<KOut, VOut>(
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        name: &str,
    ) -> ProcessResult<Self> {
        match ctx.store_handle(name) {
            Ok(store) => Ok(Sessions::WithHeaders(store)),
            Err(_) => ctx.store_handle(name).map(Sessions::Plain),
        }
    }

    pub(super) fn is_caching<KOut, VOut>(self, ctx: &mut ProcessorContext<'_, KOut, VOut>) -> bool {
        match self {
            Sessions::Plain(store) => ctx.store(store).is_caching(),
            Sessions::WithHeaders(store) => ctx.store(store).is_caching(),
        }
    }

    /// Sessions of `key` that touch the time from `from` to `to`, ordered by end.
    pub(super) fn find<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &K,
        from: i64,
        to: i64,
    ) -> ProcessResult<Vec<(Window, A)>> {
        Ok(match self {
            Sessions::Plain(store) => {
                ctx.store(store).find_sessions(key, from, to)?.map(|(window, value)| (window, value.clone())).collect()
            }
            Sessions::WithHeaders(store) => ctx
                .store(store)
                .find_sessions(key, from, to)?
                .map(|(window, row)| (window, row.value.clone()))
                .collect(),
        })
    }

    /// Sessions of all keys that end from `from` to `to`.
    pub(super) fn ending<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        from: i64,
        to: i64,
    ) -> ProcessResult<Vec<(Windowed<K>, A)>> {
        Ok(match self {
            Sessions::Plain(store) => ctx.store(store).find_sessions_ending(from, to)?,
            Sessions::WithHeaders(store) => {
                let found = ctx.store(store).find_sessions_ending(from, to)?;
                found.into_iter().map(|(key, row)| (key, row.value)).collect()
            }
        })
    }

    fn get<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &Windowed<K>,
    ) -> ProcessResult<Option<A>> {
        Ok(match self {
            Sessions::Plain(store) => ctx.store(store).get(&key.key, key.window)?.cloned(),
            Sessions::WithHeaders(store) => ctx.store(store).get(&key.key, key.window)?.map(|row| row.value.clone()),
        })
    }

    /// Sets the value of a session; `None` is a value too.
    pub(super) fn put<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &K,
        window: Window,
        value: Option<A>,
    ) -> ProcessResult {
        match self {
            Sessions::Plain(store) => ctx.store(store).put(key, window, value)?,
            Sessions::WithHeaders(store) => {
                let row =
                    value.map(|value| ValueAndTimestamp { value, timestamp: window.end, headers: Headers::new() });
                ctx.store(store).put(key, window, row)?
            }
        };
        Ok(())
    }

    /// Removes a session that has become part of another.
    pub(super) fn remove<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &K,
        window: Window,
    ) -> ProcessResult {
        match self {
            Sessions::Plain(store) => drop(ctx.store(store).remove(key, window)?),
            Sessions::WithHeaders(store) => drop(ctx.store(store).remove(key, window)?),
        }
        Ok(())
    }

    /// What the cache held back: each session with its value now and before.
    pub(super) fn take_updates<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
    ) -> ProcessResult<Vec<Update<Windowed<K>, A>>> {
        Ok(match self {
            Sessions::Plain(store) => ctx.store(store).take_updates()?,
            Sessions::WithHeaders(store) => {
                let updates = ctx.store(store).take_updates()?;
                // The headers are those of the row, not of the record.
                let plain = |update: Update<Windowed<K>, ValueAndTimestamp<A>>| {
                    let (new, headers) = update.new.map(|row| (row.value, row.headers)).unzip();
                    Update {
                        key: update.key,
                        new,
                        old: update.old.map(|row| row.value),
                        timestamp: update.timestamp,
                        headers: headers.unwrap_or_default(),
                    }
                };
                updates.into_iter().map(plain).collect()
            }
        })
    }
}

/// Looks values up in a session store.
struct InSessionStore<K, A> {
    name: Arc<str>,
    store: Option<Sessions<K, A>>,
}

impl<K: Data, A: Data> ValueGetter<Windowed<K>, A> for InSessionStore<K, A> {
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.store = Some(Sessions::find_store(ctx, &self.name)?);
        Ok(())
    }

    fn get(&mut self, ctx: &mut Lookup<'_>, key: &Windowed<K>) -> ProcessResult<Option<ValueAndTimestamp<A>>> {
        let store = self.store.expect("found when the processor was initialised");
        Ok(store.get(ctx, key)?.map(|value| ValueAndTimestamp::new(value, key.window.end)))
    }
}
