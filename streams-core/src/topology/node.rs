//! The nodes of a topology as they are added.

use std::marker::PhantomData;

/// A source: reads topics as records of `K` and `V`.
pub struct Source<K, V> {
    types: PhantomData<fn() -> (K, V)>,
}

/// A sink: writes records of `K` and `V` to a topic.
pub struct Sink<K, V> {
    types: PhantomData<fn(K, V)>,
}
