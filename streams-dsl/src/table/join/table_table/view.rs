//! Values of a join that is in no store: joined again when somebody asks.

use std::sync::Arc;

use streams_core::{processor::ProcessResult, serde::Data, state::ValueAndTimestamp};

use super::Kind;
use crate::table::{
    View, not_null,
    value_getter::{Lookup, ValueGetter},
};

/// How the values of a join are looked up.
pub(super) fn joined_view<K, V1, V2, W, J>(
    this: &View<K, V1>,
    other: &View<K, V2>,
    joiner: Arc<J>,
    kind: Kind,
) -> View<K, W>
where
    K: Data,
    V1: Data,
    V2: Data,
    W: Data,
    J: Fn(&K, Option<&V1>, Option<&V2>) -> W + Send + Sync + 'static,
{
    let mut stores = this.stores.clone();
    stores.extend(other.stores.iter().filter(|store| !this.stores.contains(store)).cloned());
    let (this, other) = (Arc::clone(&this.getter), Arc::clone(&other.getter));
    let getter = Arc::new(move || -> Box<dyn ValueGetter<K, W>> {
        Box::new(Joined { this: this(), other: other(), joiner: Arc::clone(&joiner), kind })
    });
    View { getter, stores, history: None }
}

struct Joined<K, V1, V2, J> {
    this: Box<dyn ValueGetter<K, V1>>,
    other: Box<dyn ValueGetter<K, V2>>,
    joiner: Arc<J>,
    kind: Kind,
}

// As in Kafka Streams, a join of versioned tables is not versioned itself.
impl<K, V1, V2, W, J> ValueGetter<K, W> for Joined<K, V1, V2, J>
where
    K: Data,
    V1: Data,
    V2: Data,
    W: Data,
    J: Fn(&K, Option<&V1>, Option<&V2>) -> W + Send + Sync,
{
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.this.init(ctx)?;
        self.other.init(ctx)
    }

    fn get(&mut self, ctx: &mut Lookup<'_>, key: &K) -> ProcessResult<Option<ValueAndTimestamp<W>>> {
        let this = self.this.get(ctx, key)?;
        if this.is_none() && self.kind != Kind::Outer {
            return Ok(None);
        }
        let other = self.other.get(ctx, key)?;
        if other.is_none() && (self.kind == Kind::Inner || this.is_none()) {
            return Ok(None);
        }
        let time = |row: Option<i64>| row.unwrap_or(-1);
        let timestamp = time(this.as_ref().map(|row| row.timestamp)).max(time(other.as_ref().map(|row| row.timestamp)));
        let result = (self.joiner)(key, this.as_ref().map(|row| &row.value), other.as_ref().map(|row| &row.value));
        Ok(not_null(result).map(|value| ValueAndTimestamp::new(value, timestamp)))
    }
}
