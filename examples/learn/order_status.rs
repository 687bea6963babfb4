//! Order status: event sourcing. Events are the truth; the state of an order is what they add up to.
//!
//! The topic of events is never changed. So the state at any time can be computed again: by the same topology, from the
//! events up to that time.

use std::collections::BTreeMap;

use examples::println;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Event {
    Placed { cents: i64 },
    Discounted { cents: i64 },
    Paid,
    Cancelled,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Order {
    status: String,
    cents: i64,
}

impl Data for Event {
    type Serde = Json;
}

impl Data for Order {
    type Serde = Json;
}

impl Order {
    /// The one place that knows what an event means. It looks at nothing else: that is what makes a replay exact.
    fn after(mut self, event: &Event) -> Order {
        match event {
            Event::Placed { cents } => (self.status, self.cents) = ("placed".to_owned(), *cents),
            Event::Discounted { cents } => self.cents -= cents,
            Event::Paid => "paid".clone_into(&mut self.status),
            Event::Cancelled => "cancelled".clone_into(&mut self.status),
        }
        self
    }
}

fn order_status() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, Event>("order-events")
        .group_by_key()
        .aggregate_with(Order::default, |_, event, order: Order| order.after(event), Materialized::new("orders"))
        .to_stream()
        .to("orders");
    builder.build()
}

/// Runs events through the topology: the orders that they lead to.
fn orders_after(events: impl IntoIterator<Item = (String, Event, i64)>) -> anyhow::Result<BTreeMap<String, Order>> {
    let app = EmbeddedStreams::temporary("order-status", order_status()?)?;
    app.write("order-events", events)?;
    app.run_until_idle()?;
    // The last record of each key is its state.
    let orders = app.read_latest("orders")?;
    app.close()?;
    Ok(orders)
}

fn main() -> anyhow::Result<()> {
    let events: Vec<(String, Event, i64)> = vec![
        ("o1".into(), Event::Placed { cents: 5_000 }, 1),
        ("o2".into(), Event::Placed { cents: 900 }, 2),
        ("o1".into(), Event::Discounted { cents: 500 }, 3),
        ("o1".into(), Event::Paid, 4),
        ("o2".into(), Event::Cancelled, 5),
    ];
    for time in [2, 4, 5] {
        // Here the events are at hand; in an application they are read from their topic, with `app.read`.
        let orders = orders_after(events.iter().filter(|(_, _, at)| *at <= time).cloned())?;
        println!("at {time}:");
        for (number, order) in orders {
            println!("  {number} {} {} cents", order.status, order.cents);
        }
    }
    Ok(())
}
