//! What an aggregation does with one value: the functions of `count`, `reduce` and `aggregate` in one form.

use std::sync::Arc;

use streams_core::serde::Data;

use crate::table::not_null;

/// Folds the values of a key into an aggregate.
pub(crate) trait Fold<K, V, A>: Send + Sync + 'static {
    /// What a key begins with, if that is known before its first value.
    fn start(&self) -> Option<A>;

    /// The aggregate after `value`.
    fn fold(&self, key: &K, value: V, aggregate: Option<A>) -> A;
}

/// `aggregate`: an initial value, and a function.
pub(crate) struct Aggregated<I, F> {
    pub(crate) initializer: I,
    pub(crate) aggregator: F,
}

impl<K, V, A, I, F> Fold<K, V, A> for Aggregated<I, F>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
{
    #[inline]
    fn start(&self) -> Option<A> {
        Some((self.initializer)())
    }

    #[inline]
    fn fold(&self, key: &K, value: V, aggregate: Option<A>) -> A {
        (self.aggregator)(key, &value, aggregate.unwrap_or_else(&self.initializer))
    }
}

/// `reduce`: the first value begins, and a function joins the others to it. Where it gives null, the next value begins.
pub(crate) struct Reduced<F>(pub(crate) F);

impl<K, V, F> Fold<K, V, V> for Reduced<F>
where
    V: Data,
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    #[inline]
    fn start(&self) -> Option<V> {
        None
    }

    #[inline]
    fn fold(&self, _key: &K, value: V, aggregate: Option<V>) -> V {
        match aggregate.and_then(not_null) {
            Some(aggregate) => (self.0)(aggregate, value),
            None => value,
        }
    }
}

/// `count`.
pub(crate) struct Counted;

impl<K, V> Fold<K, V, i64> for Counted {
    #[inline]
    fn start(&self) -> Option<i64> {
        Some(0)
    }

    #[inline]
    fn fold(&self, _key: &K, _value: V, aggregate: Option<i64>) -> i64 {
        aggregate.unwrap_or(0) + 1
    }
}

/// A fold that several processors share.
impl<K, V, A, T: Fold<K, V, A>> Fold<K, V, A> for Arc<T> {
    #[inline]
    fn start(&self) -> Option<A> {
        (**self).start()
    }

    #[inline]
    fn fold(&self, key: &K, value: V, aggregate: Option<A>) -> A {
        (**self).fold(key, value, aggregate)
    }
}

/// How the aggregates of two sessions become one.
pub(crate) trait SessionFold<K, A>: Send + Sync + 'static {
    /// The aggregate of both; the first is what the sessions before came to.
    fn merge(&self, key: &K, aggregate: Option<A>, other: A) -> A;
}

impl<K> SessionFold<K, i64> for Counted {
    fn merge(&self, _key: &K, aggregate: Option<i64>, other: i64) -> i64 {
        aggregate.unwrap_or(0) + other
    }
}

impl<K, V, F> SessionFold<K, V> for Reduced<F>
where
    V: Data,
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    fn merge(&self, _key: &K, aggregate: Option<V>, other: V) -> V {
        match aggregate.and_then(not_null) {
            Some(aggregate) => (self.0)(aggregate, other),
            None => other,
        }
    }
}

/// `aggregate` in sessions: an initial value, and two functions.
pub(crate) struct SessionAggregated<I, F, M> {
    aggregated: Aggregated<I, F>,
    merger: M,
}

impl<I, F, M> SessionAggregated<I, F, M> {
    pub(crate) fn new(initializer: I, aggregator: F, merger: M) -> Self {
        SessionAggregated { aggregated: Aggregated { initializer, aggregator }, merger }
    }
}

impl<K, V, A, I, F, M> Fold<K, V, A> for SessionAggregated<I, F, M>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    M: Send + Sync + 'static,
{
    fn start(&self) -> Option<A> {
        Fold::<K, V, A>::start(&self.aggregated)
    }

    fn fold(&self, key: &K, value: V, aggregate: Option<A>) -> A {
        self.aggregated.fold(key, value, aggregate)
    }
}

impl<K, A, I, F, M> SessionFold<K, A> for SessionAggregated<I, F, M>
where
    I: Fn() -> A + Send + Sync + 'static,
    F: Send + Sync + 'static,
    M: Fn(&K, A, A) -> A + Send + Sync + 'static,
{
    fn merge(&self, key: &K, aggregate: Option<A>, other: A) -> A {
        (self.merger)(key, aggregate.unwrap_or_else(&self.aggregated.initializer), other)
    }
}

impl<K, A, T: SessionFold<K, A>> SessionFold<K, A> for Arc<T> {
    fn merge(&self, key: &K, aggregate: Option<A>, other: A) -> A {
        (**self).merge(key, aggregate, other)
    }
}
