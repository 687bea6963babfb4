//! Aggregation in sessions.

use std::sync::Arc;

use log_store::Headers;
use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, Window, Windowed},
};

use super::{super::time_windowed::store::Settings, store::Sessions};
use crate::{
    aggregate::{
        emit::FinalResults,
        fold::{Fold, SessionFold},
        observed_time::ObservedTime,
    },
    table::not_null,
    window::{EmitStrategy, SessionWindows, merged},
};

type Context<'a, K, A> = ProcessorContext<'a, Windowed<K>, Change<A>>;

pub(super) struct SessionAggregate<K, A, F> {
    name: Arc<str>,
    windows: SessionWindows,
    settings: Settings,
    fold: Arc<F>,
    opened: Option<(Sessions<K, A>, bool)>,
    final_results: FinalResults,
    observed: ObservedTime,
}

impl<K: Data, A: Data, F> SessionAggregate<K, A, F> {
    pub(super) fn new(name: &str, windows: SessionWindows, settings: Settings, fold: Arc<F>) -> Self {
        SessionAggregate {
            name: name.into(),
            windows,
            settings,
            fold,
            opened: None,
            final_results: FinalResults::new(name, settings.emit_interval_ms),
            observed: ObservedTime::new(name),
        }
    }

    fn store(&self) -> Sessions<K, A> {
        self.opened.expect("found when the processor was initialised").0
    }

    /// Passes an update on, unless the cache or the end of the session does so later. Without headers, as in Kafka
    /// Streams: several records stand behind a session.
    fn forward(&self, ctx: &mut Context<'_, K, A>, key: &K, window: Window, change: Change<A>) -> ProcessResult {
        let is_caching = self.opened.is_some_and(|(_, is_caching)| is_caching);
        if is_caching || self.settings.emit == EmitStrategy::OnWindowClose {
            return Ok(());
        }
        ctx.forward(Record::new(Windowed::new(key.clone(), window), change, window.end))
    }

    fn emit_closed(&mut self, close_time: i64, headers: &Headers, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        if self.settings.emit != EmitStrategy::OnWindowClose || !self.final_results.is_due(ctx, close_time) {
            return Ok(());
        }
        let (from, to) = (self.final_results.last_close().unwrap_or(0).max(0), close_time.saturating_sub(1));
        if to < 0 || to < from {
            return Ok(());
        }
        for (key, value) in self.store().ending(ctx, from, to)? {
            let timestamp = key.window.end;
            let value = Change::new(Some(value), None);
            ctx.forward(Record { key, value, timestamp, headers: headers.clone() })?;
        }
        self.final_results.advance(ctx, close_time);
        Ok(())
    }
}

impl<K, V, A, F> Processor<K, V, Windowed<K>, Change<A>> for SessionAggregate<K, A, F>
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A> + SessionFold<K, A>,
{
    fn init(&mut self, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        let store = Sessions::find_store(ctx, &self.name)?;
        self.opened = Some((store, store.is_caching(ctx)));
        self.final_results.init(ctx);
        self.observed.init(ctx);
        Ok(())
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        if key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        let observed = self.observed.observe(timestamp);
        let close_time = observed.saturating_sub(self.windows.grace_ms).saturating_sub(self.windows.gap_ms);
        let alone = Window::new(timestamp, timestamp);
        let gap = self.windows.gap_ms;
        let touching = self.store().find(ctx, &key, timestamp.saturating_sub(gap), timestamp.saturating_add(gap))?;
        let session = touching.iter().fold(alone, |session, (window, _)| merged(session, *window));
        if session.end < close_time {
            ctx.drop_record("expired window");
        } else {
            let base = touching
                .iter()
                .fold(self.fold.start(), |base, (_, value)| Some(self.fold.merge(&key, base, value.clone())));
            let new = not_null(self.fold.fold(&key, value, base));
            if session != alone {
                // The sessions before are part of a longer one, which has another key.
                for (window, value) in touching {
                    self.store().remove(ctx, &key, window)?;
                    let old = if self.settings.sends_old_values { Some(value) } else { None };
                    self.forward(ctx, &key, window, Change::new(None, old))?;
                }
            }
            self.store().put(ctx, &key, session, new.clone())?;
            self.forward(ctx, &key, session, Change::new(new, None))?;
        }
        self.emit_closed(close_time, &headers, ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        self.observed.flush(ctx);
        let Some((store, true)) = self.opened else { return Ok(()) };
        for update in store.take_updates(ctx)? {
            if update.new.is_none() && update.old.is_none() {
                // Neither there before nor now: nobody has to know.
                continue;
            }
            let old = if self.settings.sends_old_values { update.old } else { None };
            let timestamp = update.key.window.end;
            let value = Change::new(update.new, old);
            ctx.forward(Record { key: update.key, value, timestamp, headers: update.headers })?;
        }
        Ok(())
    }
}
