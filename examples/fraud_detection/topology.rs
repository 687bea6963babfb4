//! The topology: who pays how, where frauds happen, and what to do about a payment.
//!
//! ```text
//! card-events ─┬─ payments ── activity: a day, a week, a burst of each card ── join profiles ─┬─ card-scoring ─┐
//!  (by card)   └─ verdicts ─┬─ profiles: how each card usually pays ─────────────┘            │                │
//!                           └─────────────────────────────────────────────────────────────────┘                │
//!                                                                                                              │
//! by-terminal-repartition ◄────────────────────────────────────────────────────────────────────────────────────┘
//!  (by terminal) ─┬─ payments and verdicts ── join risks ── payment-scoring
//!                 └─ verdicts ── risks ───────────┘
//!
//! scores ← every payment   alerts ← payments above the threshold, with reasons   hot-terminals ← alerts per day
//! malformed-card-events ← rows that are no events, with the reason
//! ```
//!
//! A verdict enters the topic of card events when it becomes known. What the tables, models and the threshold are made of
//! are verdicts alone, so they know nothing before its time; the activity holds payments up to the one that is scored.
//!
//! Cards and terminals are two tasks, each with its thread, its state and its model.

use std::{sync::Arc, time::Duration};

use streams_core::state::StoreBuilder;
use streams_dsl::prelude::*;

use crate::{
    activity::Activity,
    card::{CardEvent, Population, Profile},
    learner::Learner,
    scoring::{CARD_MODEL, CardScoring, Decision, PAYMENT_MODEL, PaymentScoring},
    terminal::{Risk, TerminalEvent},
    threshold::Threshold,
    transaction::{Event, Payment, Verdict},
};

pub(crate) const APPLICATION: &str = "fraud-detection";
pub(crate) const CARD_EVENTS: &str = "card-events";
pub(crate) const SCORES: &str = "scores";
pub(crate) const ALERTS: &str = "alerts";
pub(crate) const HOT_TERMINALS: &str = "hot-terminals";
pub(crate) const MALFORMED: &str = "malformed-card-events";
pub(crate) const TOPICS: [&str; 5] = [CARD_EVENTS, SCORES, ALERTS, HOT_TERMINALS, MALFORMED];

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Alerts of a terminal within a day that make it hot.
const HOT: i64 = 3;

/// Builds it. Payments from `train_until_ms` on are not learned from; `on_alert` is shown each alert.
pub(crate) fn fraud_detection(
    train_until_ms: i64,
    on_alert: impl Fn(&Decision) + Send + Sync + 'static,
) -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    let events = builder.stream::<i64, Event>(CARD_EVENTS);
    let payments: KStream<i64, Payment> = events.flat_map_values(|_, event| event.payment());
    let verdicts: KStream<i64, Verdict> = events.flat_map_values(|_, event| event.verdict());
    events.flat_map_values(|_, event| event.malformed()).to(MALFORMED);

    // What is known of each card. Nobody waits for the commit to see less of it: no cache holds anything back.
    let profiles = verdicts.group_by_key().aggregate_with(
        Profile::default,
        |_, verdict, profile: Profile| profile.with(verdict),
        Materialized::new("profiles").with_caching_disabled(),
    );
    let activities = payments.group_by_key().aggregate_with(
        Activity::default,
        |_, payment, activity: Activity| activity.with(payment),
        Materialized::new("activity").with_caching_disabled(),
    );
    let judged: KStream<i64, TerminalEvent> = activities
        .to_stream_as(Option::unwrap_or_default)
        .left_join_table(&profiles, |_, activity, profile| CardEvent::payment(activity, profile))
        .merge(&verdicts.map_values(|_, verdict| CardEvent::Verdict(verdict)))
        .process_with(
            move || CardScoring::new(train_until_ms),
            with_stores(&builder, "card-scoring", Learner::<Population>::stores(CARD_MODEL)),
        );

    // What is known of each terminal. Everything goes through one topic, so that it arrives in order.
    let by_terminal = judged.repartition_with(Repartitioned::new().with_name("by-terminal"));
    let findings = by_terminal.flat_map_values(|_, event| event.finding());
    let risks = findings.group_by_key().aggregate_with(
        Risk::default,
        |_, finding, risk: Risk| risk.with(finding),
        Materialized::new("risks").with_caching_disabled(),
    );
    let decisions: KStream<i64, Decision> =
        by_terminal.left_join_table(&risks, |_, event, risk| event.at_terminal(risk)).process_with(
            move || PaymentScoring::new(train_until_ms),
            with_stores(&builder, "payment-scoring", Learner::<Threshold>::stores(PAYMENT_MODEL)),
        );

    decisions.map(|_, decision| (decision.transaction, decision.score)).to(SCORES);
    let alerts = decisions.filter(|_, decision| decision.is_alert());
    alerts.peek(move |_, alert| on_alert(alert)).to(ALERTS);

    // One line for each terminal and day, when the day is over.
    alerts
        .group_by_key()
        .windowed_by(TimeWindows::of_size_with_no_grace(DAY))
        .count_with(Materialized::new("alerts-per-day"))
        .suppress_until_window_closes(Suppressed::until_window_closes(BufferConfig::unbounded()))
        .filter(|_, count| *count >= HOT)
        .to_stream()
        .flat_map(|terminal, count| count.map(|count| (terminal.key, format!("{} {count}", terminal.window.start))))
        .to(HOT_TERMINALS);
    builder.build()
}

/// Adds stores, and connects a processor to them.
fn with_stores(builder: &StreamsBuilder, name: &str, stores: Vec<Arc<dyn StoreBuilder>>) -> Processed {
    let names: Vec<String> = stores.iter().map(|store| store.name().to_owned()).collect();
    for store in stores {
        builder.add_state_store(store);
    }
    Processed::new().with_name(name).with_state_stores(names)
}
