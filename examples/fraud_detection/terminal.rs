//! What is known of a terminal: the verdicts on its last payments.

use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

use crate::{
    activity::DAY_MS,
    card::Signals,
    features::{Bin, Features},
    model::Reason,
    transaction::{Payment, Verdict},
};

/// Verdicts of one terminal that are remembered.
const VERDICTS_MAX: usize = 64;
/// How long a verdict says something about the terminal.
const MEMORY_MS: i64 = 30 * DAY_MS;

/// A payment with all that is known of it so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspect {
    pub(crate) payment: Payment,
    pub(crate) features: Features,
    pub(crate) signals: Signals,
    /// The probability of fraud as far as the card tells.
    pub(crate) suspicion: f32,
}

/// A verdict on a payment at a terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// How far the card alone explains a fraud, from 0 to 1: a stolen card says nothing about the terminal.
    pub(crate) explained: f32,
}

/// What concerns a terminal, in the order in which it became known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum TerminalEvent {
    Suspect(Suspect),
    Finding(Finding),
}

impl TerminalEvent {
    pub(crate) fn terminal(&self) -> i64 {
        match self {
            TerminalEvent::Suspect(suspect) => suspect.payment.terminal,
            TerminalEvent::Finding(finding) => finding.verdict.terminal,
        }
    }

    pub(crate) fn finding(self) -> Option<Finding> {
        if let TerminalEvent::Finding(finding) = self { Some(finding) } else { None }
    }

    /// A payment with what is known of its terminal; a verdict as it is.
    pub(crate) fn at_terminal(&self, risk: Option<&Risk>) -> TerminalEvent {
        let mut event = self.clone();
        if let TerminalEvent::Suspect(suspect) = &mut event {
            let unknown = Risk::default();
            suspect.meet(risk.unwrap_or(&unknown));
        }
        event
    }
}

impl Suspect {
    /// Adds what the terminal says.
    fn meet(&mut self, risk: &Risk) {
        let now_ms = self.payment.time_ms;
        add_features(&mut self.features, now_ms, self.suspicion, risk);
        let week = risk.window(now_ms, 7 * DAY_MS);
        self.signals.terminal_verdicts = week.len() as u32;
        self.signals.terminal_frauds = week.iter().filter(|known| known.is_fraud).count() as u32;
    }
}

impl Data for TerminalEvent {
    type Serde = Postcard;
}

impl Data for Finding {
    type Serde = Postcard;
}

/// The recent verdicts on payments at a terminal, in order of the payments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Risk {
    verdicts: Vec<Known>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    time_ms: i64,
    is_fraud: bool,
    explained: f32,
}

impl Data for Risk {
    type Serde = Postcard;
}

impl Risk {
    /// The risk after one more verdict.
    pub(crate) fn with(mut self, finding: &Finding) -> Risk {
        let Finding { verdict, explained } = finding;
        let at = self.verdicts.partition_point(|known| known.time_ms <= verdict.time_ms);
        let known = Known { time_ms: verdict.time_ms, is_fraud: verdict.is_fraud, explained: *explained };
        self.verdicts.insert(at, known);
        let oldest = self.verdicts.last().map_or(0, |last| last.time_ms - MEMORY_MS);
        let old = self.verdicts.partition_point(|known| known.time_ms <= oldest);
        let surplus = self.verdicts.len().saturating_sub(VERDICTS_MAX);
        self.verdicts.drain(..old.max(surplus));
        self
    }

    /// The verdicts of the `window_ms` before `now_ms`.
    fn window(&self, now_ms: i64, window_ms: i64) -> &[Known] {
        &self.verdicts[self.verdicts.partition_point(|known| known.time_ms <= now_ms - window_ms)..]
    }
}

/// How many of these verdicts say something about the terminal, and how many of them are frauds.
fn weighed(verdicts: &[Known]) -> (f32, f32) {
    verdicts.iter().fold((0.0, 0.0), |(all, frauds), known| {
        let weight = 1.0 - known.explained;
        (all + weight, frauds + if known.is_fraud { weight } else { 0.0 })
    })
}

/// What each feature of a terminal says, in the order in which [`add_features`] adds them.
pub(crate) const REASONS: [(Reason, Reason); 8] = {
    use Reason::{Nothing, Terminal};
    [
        (Terminal, Terminal),
        (Terminal, Terminal),
        (Terminal, Terminal),
        (Terminal, Terminal),
        (Terminal, Terminal),
        (Terminal, Terminal),
        (Terminal, Nothing),
        (Nothing, Nothing),
    ]
};

/// Adds what the terminal says about a payment to what the card says.
fn add_features(features: &mut Features, now_ms: i64, suspicion: f32, risk: &Risk) {
    let (week, week_frauds) = weighed(risk.window(now_ms, 7 * DAY_MS));
    let (month, month_frauds) = weighed(risk.window(now_ms, MEMORY_MS));
    let rate = |all: f32, frauds: f32| Bin::of((frauds / (all + 0.5) * 5.0).round() as i32, 0, 5);
    let whole = |value: f32, most: i32| Bin::of(value.round() as i32, 0, most);
    // Genuine, fraud of the terminal, fraud of the card.
    let kind = |known: &Known| if known.explained > 0.5 { 2 } else { i32::from(known.is_fraud) };
    let last = risk.verdicts.last();
    let last_kind = Bin::of(last.map_or(3, kind), 0, 3);
    let last_three = risk.verdicts.iter().rev().take(3).fold(0, |all, known| all * 4 + kind(known) + 1);
    let age = |known: &Known| Bin::log((now_ms - known.time_ms) as f32 / DAY_MS as f32, 1.5, -1, 10);
    let age = last.map_or(Bin::of(10, -1, 10), age);
    for bin in [
        rate(week, week_frauds).with(Bin::of(week as i32, 0, 5)),
        rate(month, month_frauds).with(Bin::of(month as i32, 0, 6)),
        whole(week_frauds, 5),
        Bin::of(last_three, 0, 63),
        last_kind.with(age),
        last_kind.with(whole(month_frauds, 6)),
        Bin::of((suspicion * 6.0) as i32, 0, 5).with(last_kind).with(whole(week_frauds, 3)),
        Bin::of((suspicion * 20.0) as i32, 0, 20),
    ] {
        features.add(bin);
    }
}
