//! What is known of a card: how its owner pays.

use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

use crate::{
    activity::{Activity, DAY_MS, HOUR_MS, Velocity},
    features::{Bin, Features},
    model::Reason,
    transaction::{Payment, Verdict},
};

/// The running mean forgets payments older than about this many.
const MEMORY: f32 = 50.0;
/// Frauds of a card that are remembered.
const FRAUDS_MAX: usize = 8;
/// The greatest genuine amounts that are remembered of all cards together.
const GREATEST_MAX: usize = 32;

/// Genuine payments that must be known before any amount is extraordinary.
const SETTLED: u32 = 1_000;

/// How the owner of a card usually pays: mean and deviation of genuine amounts, and when the last frauds were. Built
/// from verdicts alone, so it never knows more than was known at the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    genuine: u32,
    mean: f32,
    /// Mean and variance of the logarithms.
    log_mean: f32,
    log_variance: f32,
    frauds_ms: Vec<i64>,
}

impl Data for Profile {
    type Serde = Postcard;
}

impl Profile {
    /// The profile after one more verdict.
    pub(crate) fn with(mut self, verdict: &Verdict) -> Profile {
        if verdict.is_fraud {
            if self.frauds_ms.len() == FRAUDS_MAX {
                self.frauds_ms.remove(0);
            }
            self.frauds_ms.push(verdict.time_ms);
            return self;
        }
        self.genuine += 1;
        let share = 1.0 / (self.genuine as f32).min(MEMORY);
        let distance = verdict.amount.ln_1p() - self.log_mean;
        self.mean += share * (verdict.amount - self.mean);
        self.log_mean += share * distance;
        self.log_variance += share * (distance * distance - self.log_variance);
        self
    }
}

/// How all owners together pay: what is usual as long as little is known of a card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Population {
    genuine: u32,
    mean: f32,
    /// The greatest genuine amounts, descending.
    greatest: Vec<f32>,
}

impl Population {
    pub(crate) fn add(&mut self, verdict: &Verdict) {
        if verdict.is_fraud {
            return;
        }
        self.genuine += 1;
        self.mean += (verdict.amount - self.mean) / self.genuine as f32;
        let at = self.greatest.partition_point(|amount| *amount >= verdict.amount);
        if at < GREATEST_MAX {
            self.greatest.truncate(GREATEST_MAX - 1);
            self.greatest.insert(at, verdict.amount);
        }
    }

    /// How many genuine payments were at least as large, as far as they are remembered. Where few are known, none is
    /// extraordinary.
    fn as_large(&self, amount: f32) -> i32 {
        if self.genuine < SETTLED {
            return GREATEST_MAX as i32;
        }
        self.greatest.partition_point(|known| *known >= amount) as i32
    }
}

/// A payment, with what was known of its card at its time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CardPayment {
    pub(crate) payment: Payment,
    velocity: Velocity,
    genuine: u32,
    mean: f32,
    log_mean: f32,
    log_variance: f32,
    /// Frauds with the card in the week before.
    frauds: u32,
}

impl CardPayment {
    fn new(activity: &Activity, profile: Option<&Profile>) -> CardPayment {
        let unknown = Profile::default();
        let Profile { genuine, mean, log_mean, log_variance, frauds_ms } = profile.unwrap_or(&unknown);
        let velocity = activity.velocity();
        let payment = activity.payment.clone();
        let week = payment.time_ms - 7 * DAY_MS..payment.time_ms;
        let frauds = frauds_ms.iter().filter(|time| week.contains(time)).count() as u32;
        CardPayment {
            payment,
            velocity,
            genuine: *genuine,
            mean: *mean,
            log_mean: *log_mean,
            log_variance: *log_variance,
            frauds,
        }
    }
}

/// What concerns a card, in the order in which it became known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum CardEvent {
    Payment(CardPayment),
    Verdict(Verdict),
}

impl CardEvent {
    pub(crate) fn payment(activity: &Activity, profile: Option<&Profile>) -> CardEvent {
        CardEvent::Payment(CardPayment::new(activity, profile))
    }
}

/// What a person is told of a payment that looks like fraud.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Signals {
    pub(crate) amount: f32,
    pub(crate) ratio: f32,
    pub(crate) day_count: u32,
    pub(crate) burst: u32,
    pub(crate) card_frauds: u32,
    pub(crate) shipping_km: f32,
    pub(crate) terminal_km: f32,
    pub(crate) hour: u32,
    /// Verdicts on payments at the terminal within a week, and frauds among them.
    pub(crate) terminal_verdicts: u32,
    pub(crate) terminal_frauds: u32,
}

/// What each feature of a card says, in the order in which [`features`] adds them.
pub(crate) const REASONS: [(Reason, Reason); 22] = {
    use Reason::{Amount, Burst, CardFrauds, Distance, Hour, Nothing, Ratio, Shipping, Velocity};
    [
        (Nothing, Nothing),
        (Ratio, Ratio),
        (Amount, Amount),
        (Amount, Amount),
        (Shipping, Shipping),
        (Distance, Distance),
        (Velocity, Velocity),
        (Velocity, Velocity),
        (Ratio, Ratio),
        (Velocity, Velocity),
        (Burst, Burst),
        (CardFrauds, CardFrauds),
        (Velocity, Ratio),
        (Hour, Hour),
        (Ratio, Velocity),
        (Ratio, Velocity),
        (Velocity, Velocity),
        (Ratio, Distance),
        (CardFrauds, Ratio),
        (CardFrauds, Velocity),
        (Ratio, Velocity),
        (Shipping, Ratio),
    ]
};

/// What the card says about a payment.
pub(crate) fn features(card: &CardPayment, population: &Population) -> (Features, Signals) {
    let CardPayment { payment, velocity, .. } = card;
    let trust = card.genuine as f32 / (card.genuine as f32 + 2.0);
    let usual = trust * card.mean + (1.0 - trust) * population.mean + 1.0;
    let deviations = (payment.amount.ln_1p() - card.log_mean) / (card.log_variance.sqrt() + 0.3);
    let deviations = if card.genuine > 2 { deviations } else { 0.0 };
    let usual_count = (velocity.week_count - velocity.day.count) as f32 / 6.0 + 0.7;
    let frauds = card.frauds as i32;
    let hour = (payment.time_ms.rem_euclid(DAY_MS) / HOUR_MS) as i32;

    let ratio = Bin::log(payment.amount / usual, 1.5, -3, 8);
    let day_ratio = Bin::log(velocity.day.sum / usual, 1.5, -2, 10);
    let most = Bin::log(velocity.day.most / usual, 1.5, -2, 8);
    let rate = Bin::log(velocity.day.count as f32 / usual_count, 1.5, -2, 6);
    let shipping = Bin::log(payment.shipping_km, 3.0, -1, 8);
    let terminal = Bin::log(payment.terminal_km, 1.5, 0, 12).with(Bin::of(i32::from(payment.is_card_present), 0, 1));
    let day = velocity.day.count as i32;
    let few_frauds = Bin::of(frauds, 0, 2);

    let mut features = Features::default();
    for bin in [
        Bin::of(0, 0, 0),
        ratio,
        Bin::log(payment.amount / (population.mean + 1.0), 1.35, -9, 13),
        // Greater than nearly everything that was ever genuine.
        Bin::log(population.as_large(payment.amount) as f32, 2.0, -1, 5),
        shipping,
        terminal,
        day_ratio,
        rate,
        Bin::of((deviations.clamp(-3.0, 6.0) * 2.0).floor() as i32, -6, 12),
        Bin::of(day, 0, 15),
        Bin::of(velocity.burst as i32, 0, 8),
        Bin::of(frauds, 0, 5),
        most,
        Bin::of(hour, 0, 23),
        ratio.with(Bin::of(day, 0, 8)),
        ratio.with(rate),
        day_ratio.with(rate),
        ratio.with(terminal),
        ratio.with(few_frauds),
        few_frauds.with(Bin::of(day, 0, 5)).with(ratio),
        ratio.with(most),
        shipping.with(ratio),
    ] {
        features.add(bin);
    }
    let signals = Signals {
        amount: payment.amount,
        ratio: payment.amount / usual,
        day_count: velocity.day.count,
        burst: velocity.burst,
        card_frauds: card.frauds,
        shipping_km: payment.shipping_km,
        terminal_km: payment.terminal_km,
        hour: hour as u32,
        // Not known here yet.
        terminal_verdicts: 0,
        terminal_frauds: 0,
    };
    (features, signals)
}
