//! The two processors: one judges by the card, the other by all that is known, and decides.

use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

use crate::{
    card::{self, CardEvent, Population, Signals},
    learner::Learner,
    model::Reason,
    terminal::{self, Finding, Suspect, TerminalEvent},
    threshold::Threshold,
};

/// Scores payments by what is known of their cards.
pub(crate) struct CardScoring {
    learner: Learner<Population>,
}

pub(crate) const CARD_MODEL: &str = "card-model";

impl CardScoring {
    pub(crate) fn new(train_until_ms: i64) -> Self {
        CardScoring { learner: Learner::new(CARD_MODEL, train_until_ms) }
    }
}

/// What comes out has the terminal as its key.
impl Processor<i64, CardEvent, i64, TerminalEvent> for CardScoring {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, i64, TerminalEvent>) -> ProcessResult {
        self.learner.init(ctx)
    }

    fn process(
        &mut self,
        record: Record<i64, CardEvent>,
        ctx: &mut ProcessorContext<'_, i64, TerminalEvent>,
    ) -> ProcessResult {
        let event = match record.value {
            CardEvent::Payment(card) => {
                let model = &self.learner.model;
                let (features, signals) = card::features(&card, &model.extra);
                let suspicion = model.score(&features);
                self.learner.remember(card.payment.id, features, suspicion);
                TerminalEvent::Suspect(Suspect { payment: card.payment, features, signals, suspicion })
            }
            CardEvent::Verdict(verdict) => {
                let Some(example) = self.learner.learn(&verdict) else { return Ok(()) };
                if self.learner.is_training(verdict.time_ms) {
                    self.learner.model.extra.add(&verdict);
                }
                TerminalEvent::Finding(Finding { verdict, explained: example.score })
            }
        };
        ctx.forward(Record {
            key: event.terminal(),
            value: event,
            timestamp: record.timestamp,
            headers: record.headers,
        })
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, i64, TerminalEvent>) -> ProcessResult {
        self.learner.flush(ctx)
    }
}

/// The decision about one payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    pub(crate) transaction: i64,
    pub(crate) card: i64,
    pub(crate) terminal: i64,
    pub(crate) time_ms: i64,
    pub(crate) amount: f32,
    /// The probability of fraud.
    pub(crate) score: f32,
    /// Scores from here on are alerts.
    pub(crate) threshold: f32,
    /// What speaks for fraud, the strongest first. Empty unless it is an alert.
    pub(crate) reasons: Vec<String>,
}

impl Decision {
    pub(crate) fn is_alert(&self) -> bool {
        self.score >= self.threshold
    }
}

impl Data for Decision {
    type Serde = Json;
}

/// Scores payments by all that is known.
pub(crate) struct PaymentScoring {
    learner: Learner<Threshold>,
}

pub(crate) const PAYMENT_MODEL: &str = "payment-model";

impl PaymentScoring {
    pub(crate) fn new(train_until_ms: i64) -> Self {
        PaymentScoring { learner: Learner::new(PAYMENT_MODEL, train_until_ms) }
    }
}

impl Processor<i64, TerminalEvent, i64, Decision> for PaymentScoring {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, i64, Decision>) -> ProcessResult {
        self.learner.init(ctx)
    }

    fn process(
        &mut self,
        record: Record<i64, TerminalEvent>,
        ctx: &mut ProcessorContext<'_, i64, Decision>,
    ) -> ProcessResult {
        match &record.value {
            TerminalEvent::Suspect(suspect) => {
                let model = &self.learner.model;
                let Suspect { payment, features, signals, .. } = suspect;
                let mut decision = Decision {
                    transaction: payment.id,
                    card: payment.card,
                    terminal: payment.terminal,
                    time_ms: payment.time_ms,
                    amount: payment.amount,
                    score: model.score(features),
                    threshold: model.extra.score,
                    reasons: Vec::new(),
                };
                if decision.is_alert() {
                    let reasons = card::REASONS.into_iter().chain(terminal::REASONS);
                    let reasons = model.reasons(features, reasons);
                    decision.reasons = reasons.into_iter().filter_map(|reason| in_words(reason, signals)).collect();
                }
                self.learner.remember(payment.id, *features, decision.score);
                ctx.forward(record.with_value(decision))
            }
            TerminalEvent::Finding(finding) => {
                let verdict = &finding.verdict;
                let example = self.learner.learn(verdict);
                if let Some(example) = example.filter(|_| self.learner.is_training(verdict.time_ms)) {
                    self.learner.model.extra.add(example.score, verdict.is_fraud);
                }
                Ok(())
            }
        }
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, i64, Decision>) -> ProcessResult {
        self.learner.flush(ctx)
    }
}

/// A reason as a person reads it.
fn in_words(reason: Reason, signals: &Signals) -> Option<String> {
    Some(match reason {
        Reason::Nothing => return None,
        Reason::Amount => format!("an amount of {:.2}", signals.amount),
        Reason::Ratio => format!("{:.1} times what the card usually pays", signals.ratio),
        Reason::Velocity => format!("{} payments of the card within a day", signals.day_count),
        Reason::Burst => format!("{} payments of the card without a pause", signals.burst),
        Reason::CardFrauds => format!("{} frauds with the card within a week", signals.card_frauds),
        Reason::Shipping => format!("shipped {:.0} km away", signals.shipping_km),
        Reason::Distance => format!("{:.0} km from the owner's address", signals.terminal_km),
        Reason::Hour => format!("paid at {} o'clock", signals.hour),
        Reason::Terminal => {
            format!("{} frauds in {} payments at the terminal", signals.terminal_frauds, signals.terminal_verdicts)
        }
    })
}
