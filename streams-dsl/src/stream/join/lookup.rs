//! The join of a record with the value of a table: `stream_table` and `global_table` in one processor.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
};

use crate::{
    stream::Field,
    table::value_getter::{GetterSupplier, ValueGetter},
};

/// What a table lookup joins: how to come from a record to a key of the table, and from both values to the result.
pub(super) struct LookupJoin<KT, VT, S, J> {
    pub(super) getter: GetterSupplier<KT, VT>,
    pub(super) select: Arc<S>,
    pub(super) joiner: Arc<J>,
    /// Records without a table value are passed on too.
    pub(super) is_left: bool,
}

impl<KT, VT, S, J> Clone for LookupJoin<KT, VT, S, J> {
    fn clone(&self) -> Self {
        LookupJoin {
            getter: Arc::clone(&self.getter),
            select: Arc::clone(&self.select),
            joiner: Arc::clone(&self.joiner),
            is_left: self.is_left,
        }
    }
}

impl<KT: Data, VT: Data, S, J> LookupJoin<KT, VT, S, J> {
    pub(super) fn processor(&self) -> LookupProcessor<KT, VT, S, J> {
        LookupProcessor { join: self.clone(), getter: (self.getter)() }
    }
}

pub(super) struct LookupProcessor<KT, VT, S, J> {
    join: LookupJoin<KT, VT, S, J>,
    getter: Box<dyn ValueGetter<KT, VT>>,
}

impl<KT: Data, VT: Data, S, J> LookupProcessor<KT, VT, S, J> {
    pub(super) fn init<K, W>(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.getter.init(&mut ctx.lookup())
    }

    /// True if the record cannot be joined: it is dropped, and counted.
    pub(super) fn drops<K, V, W>(&self, record: &Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> bool
    where
        V: Data,
        S: Fn(&K, &V) -> KT,
    {
        let no_key = (self.join.select)(&record.key, &record.value).is_null();
        let drops = record.value.is_null() || (no_key && !self.join.is_left);
        if drops {
            ctx.drop_record("null join key or value");
        }
        drops
    }

    /// The result for a record, if there is one.
    pub(super) fn join<K, V, W>(
        &mut self,
        record: &Record<K, V>,
        ctx: &mut ProcessorContext<'_, K, W>,
    ) -> ProcessResult<Option<W>>
    where
        S: Fn(&K, &V) -> KT,
        J: Fn(&K, &V, Option<&VT>) -> W,
    {
        let key = (self.join.select)(&record.key, &record.value);
        let (join, mut joined) = (&self.join, None);
        let mut complete = |value: Option<&VT>| {
            joined = (join.is_left || value.is_some()).then(|| (join.joiner)(&record.key, &record.value, value));
        };
        if key.is_null() {
            complete(None);
        } else if self.getter.is_versioned() {
            let row = self.getter.get_as_of(&mut ctx.lookup(), &key, record.timestamp)?;
            complete(row.as_ref().map(|row| &row.value));
        } else {
            self.getter.read(&mut ctx.lookup(), &key, &mut complete)?;
        }
        Ok(joined)
    }
}

impl<K, V, W, KT, VT, S, J> Processor<K, V, K, W> for LookupProcessor<KT, VT, S, J>
where
    K: Field,
    V: Data,
    W: Field,
    KT: Data,
    VT: Data,
    S: Fn(&K, &V) -> KT + Send + Sync,
    J: Fn(&K, &V, Option<&VT>) -> W + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        LookupProcessor::init(self, ctx)
    }

    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        if self.drops(&record, ctx) {
            return Ok(());
        }
        match self.join(&record, ctx)? {
            Some(value) => ctx.forward(record.with_value(value)),
            None => Ok(()),
        }
    }
}
