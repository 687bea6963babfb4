//! A small model that learns while it runs: logistic regression on binned features, with a step of its own for each
//! weight (AdaGrad).

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use streams_dsl::prelude::*;

use crate::features::{FEATURES_MAX, Features};

const STEP: f32 = 0.4;
/// Draws weights towards zero that are rarely confirmed.
const DECAY: f32 = 1e-4;

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

/// What one place of the features speaks for fraud.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Weight {
    value: f32,
    /// Sum of its squared slopes so far.
    squares: f32,
}

/// The weights, and `X`, which a model of some kind keeps beside them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Model<X> {
    weights: Vec<Weight>,
    pub(crate) extra: X,
}

impl<X: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Data for Model<X> {
    type Serde = Postcard;
}

/// A number for each feature.
type Values = [f32; FEATURES_MAX];

impl<X> Model<X> {
    /// The probability of fraud.
    pub(crate) fn score(&self, features: &Features) -> f32 {
        let mut values = Values::default();
        for (value, place) in values.iter_mut().zip(features.places()) {
            *value = self.weight(place);
        }
        probability(&values)
    }

    /// The weights are fetched, changed all at once, and put back: arithmetic without a branch is what processors do to
    /// eight numbers at a time.
    pub(crate) fn learn(&mut self, features: &Features, is_fraud: bool) {
        if self.weights.len() < features.end() {
            self.weights.resize(features.end(), Weight::default());
        }
        let (mut values, mut squares) = (Values::default(), Values::default());
        for ((value, squares), place) in values.iter_mut().zip(&mut squares).zip(features.places()) {
            let weight = self.weights[place];
            (*value, *squares) = (weight.value, weight.squares);
        }
        let error = probability(&values) - f32::from(u8::from(is_fraud));
        for (value, squares) in values.iter_mut().zip(&mut squares) {
            let slope = error + DECAY * *value;
            *squares += slope * slope;
            *value -= STEP * slope / (squares.sqrt() + 1e-3);
        }
        for ((value, squares), place) in values.into_iter().zip(squares).zip(features.places()) {
            self.weights[place] = Weight { value, squares };
        }
    }

    fn weight(&self, place: usize) -> f32 {
        self.weights.get(place).map_or(0.0, |weight| weight.value)
    }

    /// What speaks most for fraud, at most three. `reasons` tells what each feature says.
    pub(crate) fn reasons(&self, features: &Features, reasons: impl Iterator<Item = (Reason, Reason)>) -> Vec<Reason> {
        let mut sums = REASONS.map(|reason| (0.0, reason));
        for (place, (one, other)) in features.places().zip(reasons) {
            let half = self.weight(place) / 2.0;
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

fn probability(weights: &Values) -> f32 {
    let mut sums = [0.0; 8];
    for weights in weights.as_chunks::<8>().0 {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += weight;
        }
    }
    1.0 / (1.0 + (-sums.iter().sum::<f32>()).exp())
}
