//! How good the scores are, measured against the labels on transactions that nothing was learned from.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::{activity::DAY_MS, input::Input};

/// Payments per day that a team can look at.
const PER_DAY: usize = 100;

/// The measures of the held-out transactions. Those that divide by nothing are 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Evaluation {
    /// Transactions that were held out, and frauds among them.
    pub(crate) held_out: usize,
    pub(crate) held_out_frauds: usize,
    /// Of the alerts, those that are frauds.
    pub(crate) precision: f64,
    /// Of the frauds, those that were alerts.
    pub(crate) recall: f64,
    /// Harmonic mean of both.
    pub(crate) f1: f64,
    /// The greatest F1 that any threshold would give: known only afterwards.
    pub(crate) best_f1: f64,
    /// Area under the curve of precision over recall (average precision).
    pub(crate) auc_pr: f64,
    /// Of the hundred highest scores of each day, those that are frauds; mean over the days.
    pub(crate) precision_at_100_per_day: f64,
    /// What that would be if every fraud had a higher score than any other payment.
    pub(crate) best_precision_at_100_per_day: f64,
    pub(crate) scenarios: BTreeMap<u8, Scenario>,
}

/// Frauds of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Scenario {
    pub(crate) frauds: usize,
    pub(crate) found: usize,
    pub(crate) recall: f64,
}

/// A held-out transaction.
#[derive(Clone, Copy)]
struct Judged {
    day: i64,
    score: f32,
    is_alert: bool,
    is_fraud: bool,
    scenario: u8,
}

/// Compares scores and alerts with the labels of the input.
pub(crate) fn evaluate(input: &Input, scores: &HashMap<i64, f32>, alerts: &HashSet<i64>) -> Evaluation {
    let from_ms = input.held_out_from_ms();
    let held_out = input.rows.iter().filter(|row| row.time_ms >= from_ms);
    let judged = held_out.filter_map(|row| {
        let truth = row.truth?;
        Some(Judged {
            day: row.time_ms.div_euclid(DAY_MS),
            // A payment that was never scored is one that was never suspected.
            score: *scores.get(&truth.id).unwrap_or(&0.0),
            is_alert: alerts.contains(&truth.id),
            is_fraud: truth.is_fraud,
            scenario: truth.scenario,
        })
    });
    measure(judged.collect())
}

fn measure(mut judged: Vec<Judged>) -> Evaluation {
    let frauds = judged.iter().filter(|one| one.is_fraud).count();
    let alerts = judged.iter().filter(|one| one.is_alert).count();
    let found = judged.iter().filter(|one| one.is_alert && one.is_fraud).count();
    let mut evaluation = Evaluation {
        held_out: judged.len(),
        held_out_frauds: frauds,
        precision: ratio(found, alerts),
        recall: ratio(found, frauds),
        f1: ratio(2 * found, alerts + frauds),
        ..Evaluation::default()
    };
    for one in judged.iter().filter(|one| one.is_fraud) {
        let scenario = evaluation.scenarios.entry(one.scenario).or_default();
        scenario.frauds += 1;
        scenario.found += usize::from(one.is_alert);
        scenario.recall = ratio(scenario.found, scenario.frauds);
    }
    judged.sort_by(|one, other| other.score.total_cmp(&one.score));
    let (mut taken, mut hits) = (0, 0);
    // Equal scores cannot be told apart: they are taken together.
    for equal in judged.chunk_by(|one, other| one.score == other.score) {
        let new = equal.iter().filter(|one| one.is_fraud).count();
        taken += equal.len();
        hits += new;
        evaluation.auc_pr += ratio(hits, taken) * ratio(new, frauds);
        evaluation.best_f1 = evaluation.best_f1.max(ratio(2 * hits, taken + frauds));
    }
    let mut days: BTreeMap<i64, Vec<Judged>> = BTreeMap::new();
    for one in judged {
        days.entry(one.day).or_default().push(one);
    }
    for day in days.values() {
        let shown = day.len().min(PER_DAY);
        let top = day[..shown].iter().filter(|one| one.is_fraud).count();
        let all = day.iter().filter(|one| one.is_fraud).count();
        evaluation.precision_at_100_per_day += ratio(top, shown) / days.len() as f64;
        evaluation.best_precision_at_100_per_day += ratio(all.min(shown), shown) / days.len() as f64;
    }
    evaluation
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ones: &[(f32, bool)]) -> Vec<Judged> {
        ones.iter()
            .map(|(score, is_fraud)| Judged {
                day: 0,
                score: *score,
                is_alert: *score >= 0.5,
                is_fraud: *is_fraud,
                scenario: 1,
            })
            .collect()
    }

    #[test]
    fn a_perfect_order_has_an_area_of_one() {
        let evaluation = measure(judged(&[(0.9, true), (0.8, true), (0.2, false), (0.1, false)]));
        assert_eq!((evaluation.auc_pr, evaluation.best_f1, evaluation.f1), (1.0, 1.0, 1.0));
    }

    #[test]
    fn the_area_is_the_mean_of_precision_at_each_fraud() {
        let evaluation = measure(judged(&[(0.9, true), (0.8, false), (0.7, true)]));
        assert!((evaluation.auc_pr - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(evaluation.precision, 2.0 / 3.0);
        assert_eq!(evaluation.recall, 1.0);
    }

    #[test]
    fn equal_scores_are_no_ranking() {
        let evaluation = measure(judged(&[(0.0, true), (0.0, false), (0.0, false), (0.0, false)]));
        assert_eq!(evaluation.auc_pr, 0.25);
    }

    #[test]
    fn nothing_held_out_is_no_division_by_zero() {
        assert_eq!(measure(Vec::new()), Evaluation::default());
    }
}
