//! The two processors: one knows cards, the other knows terminals and decides.

use serde::{Deserialize, Serialize};
use streams_core::{
    processor::StoreHandle,
    state::{SessionStore, TimestampedWindowStore},
};
use streams_dsl::prelude::*;

use crate::{
    card::{self, DAY_MS, HOUR_MS, Population, Profile, Signals, Spending, Velocity},
    model::{Learner, Reason},
    terminal::{self, Finding, Risk, Suspect, TerminalEvent, TerminalSignals},
    threshold::Threshold,
    transaction::{Payment, Verdict},
};

/// A payment with what was known of its card, or a verdict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CardEvent {
    Payment(Payment, Option<Profile>),
    Verdict(Verdict),
}

/// Scores payments by what is known of their cards, and sends them on to their terminals.
pub(crate) struct CardScoring {
    learner: Learner<Population>,
    windows: Option<Windows>,
}

struct Windows {
    velocity: StoreHandle<TimestampedWindowStore<i64, Spending>>,
    bursts: StoreHandle<SessionStore<i64, i64>>,
}

pub(crate) const CARD_MODEL: &str = "card-model";
/// Store of spending per card and hour.
pub(crate) const VELOCITY: &str = "velocity";
/// Store of sessions of payments.
pub(crate) const BURSTS: &str = "bursts";

impl CardScoring {
    pub(crate) fn new(train_until_ms: i64) -> Self {
        CardScoring { learner: Learner::new(CARD_MODEL, train_until_ms), windows: None }
    }

    /// Reads the windows that the aggregates before this processor keep.
    fn velocity(
        &self,
        payment: &Payment,
        ctx: &mut ProcessorContext<'_, i64, TerminalEvent>,
    ) -> ProcessResult<Velocity> {
        let windows = self.windows.as_ref().expect("init comes before the first record");
        let (card, now_ms) = (&payment.card, payment.time_ms);
        let mut velocity = Velocity::default();
        for (start_ms, spending) in ctx.store(windows.velocity).fetch(card, now_ms - 7 * DAY_MS, now_ms)? {
            velocity.week = velocity.week.and(spending.value);
            if start_ms > now_ms - DAY_MS - HOUR_MS {
                velocity.day = velocity.day.and(spending.value);
            }
        }
        let session = ctx.store(windows.bursts).find_sessions(card, now_ms, now_ms)?.next();
        velocity.burst = session.map_or(1, |(_, count)| *count);
        Ok(velocity)
    }
}

impl Processor<i64, CardEvent, i64, TerminalEvent> for CardScoring {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, i64, TerminalEvent>) -> ProcessResult {
        self.windows = Some(Windows { velocity: ctx.store_handle(VELOCITY)?, bursts: ctx.store_handle(BURSTS)? });
        self.learner.init(ctx)
    }

    fn process(
        &mut self,
        record: Record<i64, CardEvent>,
        ctx: &mut ProcessorContext<'_, i64, TerminalEvent>,
    ) -> ProcessResult {
        let (terminal, event) = match &record.value {
            CardEvent::Payment(payment, profile) => {
                let velocity = self.velocity(payment, ctx)?;
                let population = &self.learner.model.extra;
                let (features, signals) = card::features(payment, profile.as_ref(), population, &velocity);
                let suspicion = self.learner.model.score(&features);
                self.learner.remember(ctx, payment.id, features.clone(), suspicion)?;
                let suspect = Suspect { payment: payment.clone(), features, signals, suspicion };
                (payment.terminal, TerminalEvent::Suspect(suspect))
            }
            CardEvent::Verdict(verdict) => {
                let Some(example) = self.learner.learn(ctx, verdict)? else { return Ok(()) };
                if self.learner.is_training(verdict.time_ms) {
                    self.learner.model.extra.add(verdict);
                }
                let finding = Finding { verdict: verdict.clone(), explained: example.score };
                (verdict.terminal, TerminalEvent::Finding(finding))
            }
        };
        ctx.forward(record.with_value(event).with_key(terminal))
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, i64, TerminalEvent>) -> ProcessResult {
        self.learner.flush(ctx)
    }
}

/// A payment with what was known of its terminal, or a verdict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Case {
    Open(Suspect, Risk),
    Closed(Finding),
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

impl Processor<i64, Case, i64, Decision> for PaymentScoring {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, i64, Decision>) -> ProcessResult {
        self.learner.init(ctx)
    }

    fn process(&mut self, record: Record<i64, Case>, ctx: &mut ProcessorContext<'_, i64, Decision>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        match value {
            Case::Open(mut suspect, risk) => {
                let mut features = std::mem::take(&mut suspect.features);
                terminal::add_features(&mut features, &suspect, &risk);
                let model = &self.learner.model;
                let payment = &suspect.payment;
                let mut decision = Decision {
                    transaction: payment.id,
                    card: payment.card,
                    terminal: payment.terminal,
                    time_ms: payment.time_ms,
                    amount: payment.amount,
                    score: model.score(&features),
                    threshold: model.extra.score,
                    reasons: Vec::new(),
                };
                if decision.is_alert() {
                    let reasons = card::REASONS.into_iter().chain(terminal::REASONS);
                    let signals = (&suspect.signals, risk.signals(payment.time_ms));
                    let reasons = model.reasons(&features, reasons);
                    decision.reasons = reasons.into_iter().filter_map(|reason| in_words(reason, signals)).collect();
                }
                self.learner.remember(ctx, payment.id, features, decision.score)?;
                ctx.forward(Record { key, value: decision, timestamp, headers })
            }
            Case::Closed(finding) => {
                let verdict = &finding.verdict;
                let example = self.learner.learn(ctx, verdict)?;
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
fn in_words(reason: Reason, (card, terminal): (&Signals, TerminalSignals)) -> Option<String> {
    Some(match reason {
        Reason::Nothing => return None,
        Reason::Amount => format!("an amount of {:.2}", card.amount),
        Reason::Ratio => format!("{:.1} times what the card usually pays", card.ratio),
        Reason::Velocity => format!("{} payments of the card within a day", card.day_count),
        Reason::Burst => format!("{} payments of the card without a pause", card.burst),
        Reason::CardFrauds => format!("{} frauds with the card within a week", card.card_frauds),
        Reason::Shipping => format!("shipped {:.0} km away", card.shipping_km),
        Reason::Distance => format!("{:.0} km from the owner's address", card.terminal_km),
        Reason::Hour => format!("paid at {} o'clock", card.hour),
        Reason::Terminal => format!("{} frauds in {} payments at the terminal", terminal.frauds, terminal.verdicts),
    })
}
