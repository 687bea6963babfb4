//! Right side: answers subscriptions, at once and whenever the row they name changes.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::{Data, SharedSerde},
};

use super::{
    store::{SubscriptionStore, prefix},
    wrapper::{Instruction, Response, Subscription},
};
use crate::table::value_getter::ValueGetter;

/// Answers a subscription with the value that the row has now.
pub(super) struct AnswerSubscription<KO, VO> {
    pub(super) getter: Box<dyn ValueGetter<KO, VO>>,
}

impl<K: Data, KO: Data, VO: Data> Processor<Option<KO>, Subscription<K>, K, Response<VO>>
    for AnswerSubscription<KO, VO>
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Response<VO>>) -> ProcessResult {
        self.getter.init(&mut ctx.lookup())
    }

    fn process(
        &mut self,
        record: Record<Option<KO>, Subscription<K>>,
        ctx: &mut ProcessorContext<'_, K, Response<VO>>,
    ) -> ProcessResult {
        let Record { key: foreign_key, value: subscription, timestamp, headers } = record;
        let row = match foreign_key.filter(|key| !key.is_null()) {
            Some(key) => self.getter.get(&mut ctx.lookup(), &key)?,
            None => None,
        };
        let timestamp = row.as_ref().map_or(timestamp, |row| timestamp.max(row.timestamp));
        let value = match subscription.instruction {
            Instruction::Delete => return Ok(()),
            Instruction::AnswerIfFound if row.is_none() => return Ok(()),
            Instruction::DeleteAndAnswer => None,
            Instruction::Answer | Instruction::AnswerIfFound => row.map(|row| row.value),
        };
        let Subscription { hash, primary_key: key, partition, .. } = subscription;
        ctx.forward(Record { key, value: Response { hash, value, partition }, timestamp, headers })
    }
}

/// Answers all subscriptions to a row that has changed.
pub(super) struct AnswerUpdate<K, KO> {
    name: Arc<str>,
    other_key: SharedSerde<KO>,
    key: SharedSerde<K>,
    /// Below a versioned table, only the newest value of a key counts.
    versioned: bool,
    store: Option<StoreHandle<SubscriptionStore<K>>>,
}

impl<K: Data, KO: Data> AnswerUpdate<K, KO> {
    pub(super) fn new(name: &Arc<str>, other_key: SharedSerde<KO>, key: SharedSerde<K>, versioned: bool) -> Self {
        AnswerUpdate { name: Arc::clone(name), other_key, key, versioned, store: None }
    }
}

impl<K: Data, KO: Data, VO: Data> Processor<KO, Change<VO>, K, Response<VO>> for AnswerUpdate<K, KO> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Response<VO>>) -> ProcessResult {
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<KO, Change<VO>>,
        ctx: &mut ProcessorContext<'_, K, Response<VO>>,
    ) -> ProcessResult {
        let Record { key: foreign_key, value: change, timestamp, headers } = record;
        if foreign_key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        if self.versioned && !change.is_latest {
            ctx.drop_record("out-of-order update of a versioned table");
            return Ok(());
        }
        let prefix = prefix(&foreign_key, &self.other_key)?;
        let store = ctx.store(self.store.expect("found when the processor was initialised"));
        let mut subscribers = Vec::new();
        for row in store.prefix_scan(&prefix)? {
            let (key, row) = row?;
            subscribers.push((self.key.deserialize(key.get(prefix.len()..))?, row.value));
        }
        for (key, Subscription { hash, partition, .. }) in subscribers {
            let value = Response { hash, value: change.new.clone(), partition };
            ctx.forward(Record { key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}
