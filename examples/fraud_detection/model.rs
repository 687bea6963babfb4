//! A small model that learns while it runs: logistic regression on binned features, with a step of its own for each
//! weight (AdaGrad). All that it knows is in state stores, so a restart changes no score.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use streams_core::{
    processor::StoreHandle,
    serde::default_serde,
    state::{KeyValueStore, StoreBuilder},
};
use streams_dsl::prelude::*;

use crate::{features::Features, transaction::Verdict};

const STEP: f32 = 0.4;
/// Draws weights towards zero that are rarely confirmed.
const DECAY: f32 = 1e-4;
/// Lessons kept for being learned again: a stream shows each only once, and fraud is rare.
const KEPT_MAX: u64 = 1 << 15;
/// How many kept lessons are learned with each new one.
const REPEATED: usize = 2;
/// The one row of the store of the model.
const MODEL: u8 = 0;

/// What speaks for fraud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Nothing,
    Amount,
    Ratio,
    Velocity,
    Burst,
    CardFrauds,
    Shipping,
    Distance,
    Hour,
    Terminal,
}

const REASONS: [Reason; 9] = {
    use Reason::{Amount, Burst, CardFrauds, Distance, Hour, Ratio, Shipping, Terminal, Velocity};
    [Amount, Ratio, Velocity, Burst, CardFrauds, Shipping, Distance, Hour, Terminal]
};

/// The weights, and `X`, which a model of some kind keeps beside them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Model<X> {
    weights: Vec<f32>,
    /// For each weight the sum of its squared slopes.
    squares: Vec<f32>,
    /// Lessons so far, repetitions not counted.
    lessons: u64,
    /// State of the random numbers that choose repetitions: part of the model, so that a restart changes nothing.
    random: u64,
    pub(crate) extra: X,
}

impl<X: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Data for Model<X> {
    type Serde = Postcard;
}

impl<X: Default> Default for Model<X> {
    fn default() -> Self {
        let random = 0x9E37_79B9_7F4A_7C15;
        Model { weights: Vec::new(), squares: Vec::new(), lessons: 0, random, extra: X::default() }
    }
}

impl<X> Model<X> {
    /// The probability of fraud.
    pub(crate) fn score(&self, features: &Features) -> f32 {
        let sum: f32 = features.places().map(|place| self.weights.get(place).unwrap_or(&0.0)).sum();
        1.0 / (1.0 + (-sum).exp())
    }

    fn learn(&mut self, features: &Features, is_fraud: bool) {
        if self.weights.len() < features.end() {
            self.weights.resize(features.end(), 0.0);
            self.squares.resize(features.end(), 0.0);
        }
        let error = self.score(features) - f32::from(u8::from(is_fraud));
        for place in features.places() {
            let (weight, square) = (&mut self.weights[place], &mut self.squares[place]);
            let slope = error + DECAY * *weight;
            *square += slope * slope;
            *weight -= STEP * slope / (square.sqrt() + 1e-3);
        }
    }

    /// What speaks most for fraud, at most three. `reasons` tells what each feature says.
    pub(crate) fn reasons(&self, features: &Features, reasons: impl Iterator<Item = (Reason, Reason)>) -> Vec<Reason> {
        let mut sums = REASONS.map(|reason| (0.0, reason));
        for (place, (one, other)) in features.places().zip(reasons) {
            let half = self.weights.get(place).unwrap_or(&0.0) / 2.0;
            for reason in [one, other] {
                if let Some(sum) = sums.iter_mut().find(|(_, known)| *known == reason) {
                    sum.0 += half;
                }
            }
        }
        sums.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        sums.iter().take(3).filter(|(sum, _)| *sum > 0.0).map(|(_, reason)| *reason).collect()
    }
}

/// A payment that waits for its verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Example {
    features: Features,
    /// The score that it was given.
    pub(crate) score: f32,
}

/// A payment whose verdict is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lesson {
    features: Features,
    is_fraud: bool,
}

impl Data for Example {
    type Serde = Postcard;
}

impl Data for Lesson {
    type Serde = Postcard;
}

/// A model with its stores: `{name}` for the model, `{name}-waiting` for payments without verdict, `{name}-lessons`.
pub(crate) struct Learner<X> {
    name: &'static str,
    /// Payments from then on are not learned from.
    train_until_ms: i64,
    pub(crate) model: Model<X>,
    stores: Option<Handles<X>>,
    is_changed: bool,
}

struct Handles<X> {
    model: StoreHandle<KeyValueStore<u8, Model<X>>>,
    waiting: StoreHandle<KeyValueStore<i64, Example>>,
    lessons: StoreHandle<KeyValueStore<u64, Lesson>>,
}

impl<X: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static> Learner<X> {
    pub(crate) fn new(name: &'static str, train_until_ms: i64) -> Self {
        Learner { name, train_until_ms, model: Model::default(), stores: None, is_changed: false }
    }

    pub(crate) fn stores(name: &str) -> Vec<Arc<dyn StoreBuilder>> {
        fn store<K: Data, V: Data>(name: String) -> Arc<dyn StoreBuilder> {
            let supplier = Stores::persistent_key_value_store(name);
            Arc::new(Stores::key_value_store_builder(supplier, default_serde::<K>(), default_serde::<V>()))
        }
        vec![
            store::<u8, Model<X>>(name.to_owned()),
            store::<i64, Example>(format!("{name}-waiting")),
            store::<u64, Lesson>(format!("{name}-lessons")),
        ]
    }

    pub(crate) fn init<K, V>(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        let handles = Handles {
            model: ctx.store_handle(self.name)?,
            waiting: ctx.store_handle(&format!("{}-waiting", self.name))?,
            lessons: ctx.store_handle(&format!("{}-lessons", self.name))?,
        };
        if let Some(model) = ctx.store(handles.model).get(&MODEL)? {
            self.model = model.clone();
        }
        self.stores = Some(handles);
        Ok(())
    }

    fn handles(&self) -> &Handles<X> {
        self.stores.as_ref().expect("init comes before the first record")
    }

    /// Keeps a payment with the score it was given, until its verdict comes.
    pub(crate) fn remember<K, V>(
        &self,
        ctx: &mut ProcessorContext<'_, K, V>,
        id: i64,
        features: Features,
        score: f32,
    ) -> ProcessResult {
        Ok(ctx.store(self.handles().waiting).put(&id, Example { features, score })?)
    }

    /// Learns from a verdict, and again from some earlier ones. The payment as it was when it was scored; `None` if the
    /// verdict has come before.
    pub(crate) fn learn<K, V>(
        &mut self,
        ctx: &mut ProcessorContext<'_, K, V>,
        verdict: &Verdict,
    ) -> ProcessResult<Option<Example>> {
        let (waiting, lessons) = (self.handles().waiting, self.handles().lessons);
        let Some(example) = ctx.store(waiting).delete(&verdict.id)? else { return Ok(None) };
        if verdict.time_ms >= self.train_until_ms {
            return Ok(Some(example));
        }
        self.is_changed = true;
        self.model.learn(&example.features, verdict.is_fraud);
        let kept = ctx.store(lessons);
        let lesson = Lesson { features: example.features.clone(), is_fraud: verdict.is_fraud };
        kept.put(&(self.model.lessons % KEPT_MAX), lesson)?;
        self.model.lessons += 1;
        for _ in 0..REPEATED {
            self.model.random ^= self.model.random << 13;
            self.model.random ^= self.model.random >> 7;
            self.model.random ^= self.model.random << 17;
            let number = self.model.random % self.model.lessons.min(KEPT_MAX);
            if let Some(lesson) = kept.get(&number)? {
                self.model.learn(&lesson.features, lesson.is_fraud);
            }
        }
        Ok(Some(example))
    }

    /// True until training ends: `extra` may be changed by what is known of payments made at `time_ms`.
    pub(crate) fn is_training(&self, time_ms: i64) -> bool {
        time_ms < self.train_until_ms
    }

    /// Puts the model into its store, before a commit.
    pub(crate) fn flush<K, V>(&mut self, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        if std::mem::take(&mut self.is_changed) {
            ctx.store(self.handles().model).put(&MODEL, self.model.clone())?;
        }
        Ok(())
    }
}
