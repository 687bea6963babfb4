//! A model with what it keeps in state stores: it learns from each verdict.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use streams_core::{
    processor::StoreHandle,
    serde::default_serde,
    state::{KeyValueStore, StoreBuilder},
};
use streams_dsl::prelude::*;

use crate::{
    features::Features,
    model::Model,
    transaction::Verdict,
    waiting::{Example, Page, Pages, Waiting},
};

/// The one row of the store of the model.
const MODEL: u8 = 0;

/// A model with its stores: `{name}` for the model, `{name}-waiting` for payments without verdict.
pub(crate) struct Learner<X> {
    name: &'static str,
    /// Payments from then on are not learned from.
    train_until_ms: i64,
    pub(crate) model: Model<X>,
    waiting: Waiting,
    stores: Option<Handles<X>>,
    is_changed: bool,
}

struct Handles<X> {
    model: StoreHandle<KeyValueStore<u8, Model<X>>>,
    pages: StoreHandle<Pages>,
}

fn pages(name: &str) -> String {
    format!("{name}-waiting")
}

impl<X: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static> Learner<X> {
    pub(crate) fn new(name: &'static str, train_until_ms: i64) -> Self {
        let (model, waiting) = (Model::default(), Waiting::default());
        Learner { name, train_until_ms, model, waiting, stores: None, is_changed: false }
    }

    pub(crate) fn stores(name: &str) -> Vec<Arc<dyn StoreBuilder>> {
        fn store<K: Data, V: Data>(name: String) -> Arc<dyn StoreBuilder> {
            let supplier = Stores::persistent_key_value_store(name);
            Arc::new(Stores::key_value_store_builder(supplier, default_serde::<K>(), default_serde::<V>()))
        }
        vec![store::<u8, Model<X>>(name.to_owned()), store::<u64, Page>(pages(name))]
    }

    pub(crate) fn init<K, V>(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        let handles = Handles { model: ctx.store_handle(self.name)?, pages: ctx.store_handle(&pages(self.name))? };
        if let Some(model) = ctx.store(handles.model).get(&MODEL)? {
            self.model = model.clone();
        }
        self.waiting = Waiting::open(ctx, handles.pages)?;
        self.stores = Some(handles);
        Ok(())
    }

    /// Keeps a payment with the score it was given, until its verdict comes.
    pub(crate) fn remember(&mut self, id: i64, features: Features, score: f32) {
        self.waiting.add(id, features, score);
    }

    /// Learns from a verdict. The payment as it was when it was scored; `None` if the verdict has come before, or so late
    /// that the payment is forgotten.
    pub(crate) fn learn(&mut self, verdict: &Verdict) -> Option<Example> {
        let example = self.waiting.take(verdict.id)?;
        if self.is_training(verdict.time_ms) {
            self.is_changed = true;
            self.model.learn(&example.features, verdict.is_fraud);
        }
        Some(example)
    }

    /// True until training ends: `extra` may be changed by what is known of payments made at `time_ms`.
    pub(crate) fn is_training(&self, time_ms: i64) -> bool {
        time_ms < self.train_until_ms
    }

    /// Puts what has changed into the stores, before a commit.
    pub(crate) fn flush<K, V>(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        let stores = self.stores.as_ref().expect("init comes before the first record");
        self.waiting.save(ctx, stores.pages)?;
        if std::mem::take(&mut self.is_changed) {
            ctx.store(stores.model).put(&MODEL, self.model.clone())?;
        }
        Ok(())
    }
}
