//! Right side: remembers subscriptions.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::{Data, SharedSerde},
    state::ValueAndTimestamp,
};

use super::{
    store::{SubscriptionStore, combined_key},
    wrapper::{Instruction, Subscription},
};

pub(super) struct Receive<K, KO> {
    name: Arc<str>,
    other_key: SharedSerde<KO>,
    key: SharedSerde<K>,
    store: Option<StoreHandle<SubscriptionStore<K>>>,
}

impl<K: Data, KO: Data> Receive<K, KO> {
    pub(super) fn new(name: &Arc<str>, other_key: SharedSerde<KO>, key: SharedSerde<K>) -> Self {
        Receive { name: Arc::clone(name), other_key, key, store: None }
    }
}

type Out<'a, K, KO> = ProcessorContext<'a, Option<KO>, Subscription<K>>;

impl<K: Data, KO: Data> Processor<Option<KO>, Subscription<K>, Option<KO>, Subscription<K>> for Receive<K, KO> {
    fn init(&mut self, ctx: &mut Out<'_, K, KO>) -> ProcessResult {
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn process(&mut self, record: Record<Option<KO>, Subscription<K>>, ctx: &mut Out<'_, K, KO>) -> ProcessResult {
        let subscription = &record.value;
        let Some(foreign_key) = record.key.as_ref().filter(|key| !key.is_null()) else {
            if subscription.instruction != Instruction::Answer {
                ctx.drop_record("null foreign key");
                return Ok(());
            }
            // A left join asks for an answer, though there is nothing to subscribe to.
            return ctx.forward(record);
        };
        let key = combined_key(foreign_key, &self.other_key, &subscription.primary_key, &self.key)?;
        let store = ctx.store(self.store.expect("found when the processor was initialised"));
        if subscription.instruction.deletes() {
            store.delete(&key)?;
        } else {
            let Record { value, timestamp, headers, .. } = record.clone();
            store.put(&key, ValueAndTimestamp { value, timestamp, headers })?;
        }
        ctx.forward(record)
    }
}
