//! What an aggregation does with one value: the functions of `count`, `reduce` and `aggregate` in one form.

use std::sync::Arc;

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

/// `reduce`: the first value begins, and a function joins the others to it.
pub(crate) struct Reduced<F>(pub(crate) F);

impl<K, V, F> Fold<K, V, V> for Reduced<F>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    #[inline]
    fn start(&self) -> Option<V> {
        None
    }

    #[inline]
    fn fold(&self, _key: &K, value: V, aggregate: Option<V>) -> V {
        match aggregate {
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
