//! How fast a card is used: by the hour over a week, and since its last pause.
//!
//! All windows of a card are one row, which each payment moves on: a store of windows would keep the same hours as rows of
//! their own, and each payment would have to read all of them back. Bounded by the hours of a week.

use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

use crate::transaction::Payment;

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
/// A pause of this length ends a burst of payments.
const PAUSE_MS: i64 = 3 * HOUR_MS;

/// What was paid within a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spending {
    pub(crate) count: u32,
    pub(crate) sum: f32,
    pub(crate) most: f32,
}

impl Spending {
    fn and(self, other: Spending) -> Spending {
        Spending { count: self.count + other.count, sum: self.sum + other.sum, most: self.most.max(other.most) }
    }
}

/// The last week of a card, as of its last payment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Activity {
    pub(crate) payment: Payment,
    /// Number of the hour and what was paid in it, ascending.
    hours: Vec<(i32, Spending)>,
    /// Payments since the last pause.
    burst: u32,
    /// The latest payment so far.
    latest_ms: i64,
}

impl Data for Activity {
    type Serde = Postcard;
}

/// How fast a card is used, this payment included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Velocity {
    pub(crate) day: Spending,
    pub(crate) week_count: u32,
    /// Payments since the last pause.
    pub(crate) burst: u32,
}

fn hour(time_ms: i64) -> i32 {
    i32::try_from(time_ms.div_euclid(HOUR_MS)).expect("a date has four digits of year")
}

impl Activity {
    /// The activity after one more payment.
    pub(crate) fn with(mut self, payment: &Payment) -> Activity {
        let now_ms = payment.time_ms;
        let goes_on = self.burst > 0 && (now_ms - self.latest_ms).abs() <= PAUSE_MS;
        self.burst = if goes_on { self.burst + 1 } else { 1 };
        self.latest_ms = self.latest_ms.max(now_ms);
        let paid = Spending { count: 1, sum: payment.amount, most: payment.amount };
        match self.hours.binary_search_by_key(&hour(now_ms), |(hour, _)| *hour) {
            Ok(at) => self.hours[at].1 = self.hours[at].1.and(paid),
            Err(at) => self.hours.insert(at, (hour(now_ms), paid)),
        }
        let week_ago = hour(self.latest_ms - 7 * DAY_MS);
        let old = self.hours.partition_point(|(hour, _)| *hour < week_ago);
        self.hours.drain(..old);
        self.payment = payment.clone();
        self
    }

    /// How fast the card was used up to the last payment: hours that have begun within the week before it, and those
    /// that overlap with the day before it.
    pub(crate) fn velocity(&self) -> Velocity {
        let now_ms = self.payment.time_ms;
        let mut velocity = Velocity { burst: self.burst, ..Velocity::default() };
        for (hour, paid) in &self.hours {
            let start_ms = i64::from(*hour) * HOUR_MS;
            if (now_ms - 7 * DAY_MS..=now_ms).contains(&start_ms) {
                velocity.week_count += paid.count;
                if start_ms > now_ms - DAY_MS - HOUR_MS {
                    velocity.day = velocity.day.and(*paid);
                }
            }
        }
        velocity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pays 1, 2, 3, … at these times, given in minutes; the velocity at the last of them.
    fn after(minutes: &[i64]) -> Velocity {
        let pay = |activity: Activity, (number, minute): (usize, &i64)| {
            let payment = Payment { time_ms: minute * 60_000, amount: number as f32 + 1.0, ..Payment::default() };
            activity.with(&payment)
        };
        minutes.iter().enumerate().fold(Activity::default(), pay).velocity()
    }

    #[test]
    fn a_payment_counts_for_a_day_and_for_a_week() {
        const DAY: i64 = 24 * 60;
        let day = |count, sum, most| Spending { count, sum, most };
        assert_eq!(after(&[0]), Velocity { day: day(1, 1.0, 1.0), week_count: 1, burst: 1 });
        assert_eq!(after(&[0, 5, DAY]), Velocity { day: day(3, 6.0, 3.0), week_count: 3, burst: 1 });
        assert_eq!(after(&[0, 5, DAY + 60]), Velocity { day: day(1, 3.0, 3.0), week_count: 3, burst: 1 });
        assert_eq!(after(&[0, 70, 7 * DAY + 1]), Velocity { day: day(1, 3.0, 3.0), week_count: 2, burst: 1 });
    }

    #[test]
    fn a_pause_ends_a_burst() {
        assert_eq!(after(&[0, 180, 360]).burst, 3);
        assert_eq!(after(&[0, 180, 361]).burst, 1);
    }

    #[test]
    fn what_comes_late_sees_only_what_was_before_it() {
        let late = after(&[0, 600, 120]);
        assert_eq!((late.week_count, late.day.sum), (2, 4.0));
    }

    #[test]
    fn hours_of_more_than_a_week_ago_are_forgotten() {
        let pay = |activity: Activity, hour: i64| {
            activity.with(&Payment { time_ms: hour * HOUR_MS, amount: 1.0, ..Payment::default() })
        };
        let activity = (0..10_000).fold(Activity::default(), pay);
        assert_eq!(activity.hours.len(), 7 * 24 + 1);
    }
}
