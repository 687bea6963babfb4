//! Left side: an update of a row becomes subscriptions.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, SharedSerde},
};

use super::{
    murmur3::{Hash, hash128},
    wrapper::{Instruction, Subscription},
};

pub(super) struct Send<X, V, KO> {
    pub(super) extractor: Arc<X>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) key_serde: SharedSerde<KO>,
    pub(super) is_left: bool,
    /// Below a versioned table, only the newest value of a key counts.
    pub(super) versioned: bool,
}

impl<X, V: Data, KO: Data> Send<X, V, KO> {
    fn hash(&self, value: Option<&V>) -> ProcessResult<Option<Hash>> {
        let Some(value) = value else { return Ok(None) };
        let mut bytes = Vec::new();
        let _ = self.value_serde.serialize(value, &mut bytes)?;
        Ok(Some(hash128(&bytes)))
    }

    /// What to send where: to the key that was named before, and to the one that is named now.
    fn plan(
        &self,
        change: &Change<V>,
        before: Option<KO>,
        now: Option<KO>,
    ) -> ProcessResult<Vec<(Option<KO>, Instruction)>> {
        use Instruction::{Answer, AnswerIfFound, Delete, DeleteAndAnswer};
        let moved = match (&before, &now) {
            (Some(before), Some(now)) => self.bytes(before)? != self.bytes(now)?,
            (before, now) => before.is_some() != now.is_some(),
        };
        if self.is_left {
            // An answer comes in any case; the other side keeps no subscription to nothing.
            let unsubscribe = before.filter(|_| moved).map(|before| (Some(before), Delete));
            return Ok(unsubscribe.into_iter().chain([(now, Answer)]).collect());
        }
        Ok(match (before, now) {
            (Some(before), None) => vec![(Some(before), DeleteAndAnswer)],
            (Some(before), Some(now)) if moved => vec![(Some(before), Delete), (Some(now), Answer)],
            (_, Some(now)) if change.new.is_some() => vec![(Some(now), AnswerIfFound)],
            _ => Vec::new(),
        })
    }

    fn bytes(&self, key: &KO) -> ProcessResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let _ = self.key_serde.serialize(key, &mut bytes)?;
        Ok(bytes)
    }
}

impl<K, V, KO, X> Processor<K, Change<V>, Option<KO>, Subscription<K>> for Send<X, V, KO>
where
    K: Data,
    V: Data,
    KO: Data,
    X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync,
{
    fn process(
        &mut self,
        record: Record<K, Change<V>>,
        ctx: &mut ProcessorContext<'_, Option<KO>, Subscription<K>>,
    ) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        if self.versioned && !change.is_latest {
            ctx.drop_record("out-of-order update of a versioned table");
            return Ok(());
        }
        if change.new.is_none() && change.old.is_none() {
            return Ok(());
        }
        let extract = |value: &Option<V>| {
            let foreign_key = value.as_ref().and_then(|value| (self.extractor)(&key, value));
            foreign_key.filter(|foreign_key| !foreign_key.is_null())
        };
        let (before, now) = (extract(&change.old), extract(&change.new));
        if !self.is_left && change.new.is_some() && now.is_none() {
            ctx.drop_record("null foreign key");
        }
        let hash = self.hash(change.new.as_ref())?;
        for (foreign_key, instruction) in self.plan(&change, before, now)? {
            let partition = Some(ctx.task_id().partition);
            let value = Subscription { hash, instruction, primary_key: key.clone(), partition };
            ctx.forward(Record { key: foreign_key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}
