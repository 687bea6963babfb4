//! From which score on a payment is worth an alert: learned from scores whose verdicts are known.

use serde::{Deserialize, Serialize};

/// Scores are counted in bins of this many to 1.
const BINS: usize = 500;
/// At so many scores all counts are halved: old ones come from a model that knew less.
const COUNTED_MAX: f32 = 16_384.0;
/// The threshold is chosen again after so many verdicts.
const PERIOD: u32 = 256;
/// Frauds that must be known before there are alerts.
const FRAUDS_MIN: f32 = 10.0;

/// Counts of scores, and the threshold that would have been best for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Threshold {
    frauds: Vec<f32>,
    genuine: Vec<f32>,
    verdicts: u32,
    /// Scores from here on are alerts.
    pub(crate) score: f32,
}

impl Default for Threshold {
    fn default() -> Self {
        // Above every score: as long as nothing is known, there are no alerts.
        Threshold { frauds: vec![0.0; BINS + 1], genuine: vec![0.0; BINS + 1], verdicts: 0, score: 2.0 }
    }
}

impl Threshold {
    /// Counts the verdict on a payment that was given `score`.
    pub(crate) fn add(&mut self, score: f32, is_fraud: bool) {
        let bin = ((score.clamp(0.0, 1.0) * BINS as f32) as usize).min(BINS);
        if is_fraud {
            self.frauds[bin] += 1.0;
        } else {
            self.genuine[bin] += 1.0;
        }
        self.verdicts += 1;
        if self.verdicts.is_multiple_of(PERIOD) {
            self.choose();
        }
    }

    /// The threshold with the greatest F1.
    fn choose(&mut self) {
        let all_frauds: f32 = self.frauds.iter().sum();
        let (mut found, mut alerts, mut best) = (0.0, 0.0, 0.0);
        if all_frauds < FRAUDS_MIN {
            return;
        }
        for bin in (0..=BINS).rev() {
            found += self.frauds[bin];
            alerts += self.frauds[bin] + self.genuine[bin];
            let f1 = 2.0 * found / (alerts + all_frauds);
            if f1 > best {
                best = f1;
                self.score = bin as f32 / BINS as f32;
            }
        }
        if all_frauds + self.genuine.iter().sum::<f32>() > COUNTED_MAX {
            self.frauds.iter_mut().chain(&mut self.genuine).for_each(|count| *count /= 2.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_parts_frauds_from_the_rest() {
        let mut threshold = Threshold::default();
        for number in 0..1_024_u32 {
            let is_fraud = number % 16 == 0;
            threshold.add(if is_fraud { 0.7 } else { 0.3 }, is_fraud);
        }
        assert!((0.31..=0.7).contains(&threshold.score), "{}", threshold.score);
    }

    #[test]
    fn there_are_no_alerts_before_frauds_are_known() {
        let mut threshold = Threshold::default();
        (0..1_024).for_each(|_| threshold.add(0.9, false));
        assert!(threshold.score > 1.0);
    }
}
