//! Left side: joins an answer, if it is for the value that the row has now.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, SharedSerde},
};

use super::{murmur3::hash128, wrapper::Response};
use crate::table::{not_null, value_getter::ValueGetter};

pub(super) struct Resolve<K, V, J> {
    pub(super) getter: Box<dyn ValueGetter<K, V>>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) joiner: Arc<J>,
    pub(super) is_left: bool,
}

impl<K, V, VO, W, J> Processor<K, Response<VO>, K, Option<W>> for Resolve<K, V, J>
where
    K: Data,
    V: Data,
    VO: Data,
    W: Data,
    J: Fn(&K, &V, Option<&VO>) -> W + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Option<W>>) -> ProcessResult {
        self.getter.init(&mut ctx.lookup())
    }

    fn process(
        &mut self,
        record: Record<K, Response<VO>>,
        ctx: &mut ProcessorContext<'_, K, Option<W>>,
    ) -> ProcessResult {
        let Record { key, value: response, timestamp, headers } = record;
        let current = self.getter.get(&mut ctx.lookup(), &key)?.map(|row| row.value);
        let hash = match &current {
            Some(value) => {
                let mut bytes = Vec::new();
                let _ = self.value_serde.serialize(value, &mut bytes)?;
                Some(hash128(&bytes))
            }
            None => None,
        };
        if hash != response.hash {
            ctx.drop_record("the left value has changed since the subscription");
            return Ok(());
        }
        let joins = self.is_left || response.value.is_some();
        let value = match &current {
            Some(current) if joins => not_null((self.joiner)(&key, current, response.value.as_ref())),
            _ => None,
        };
        ctx.forward(Record { key, value, timestamp, headers })
    }
}
