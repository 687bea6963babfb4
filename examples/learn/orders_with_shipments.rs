//! Orders with shipments: two streams joined within a window of time.
//!
//! An order and its shipment are two events with the same key. They belong together if the shipment comes within two
//! hours; an order that is not shipped by then is reported as late, which only the passing of time can tell.

use std::{thread, time::Duration};

use examples::println;
use streams_dsl::prelude::*;

const MINUTE_MS: i64 = 60_000;

fn orders_with_shipments() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    let orders = builder.stream::<String, String>("orders");
    let shipments = builder.stream::<String, String>("shipments");
    // From the order on for two hours: a shipment before its order is none of it. Grace is how long late records are
    // waited for; a result for "no shipment" has to wait as long.
    let within = JoinWindows::of_time_difference_and_grace(Duration::from_secs(2 * 3_600), Duration::from_secs(600))
        .before(Duration::ZERO);
    orders
        .left_join(
            &shipments,
            |_order, goods, carrier| match carrier {
                Some(carrier) => format!("{goods} shipped with {carrier}"),
                None => format!("{goods} not shipped in time"),
            },
            within,
        )
        .to("order-reports");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("orders-with-shipments", orders_with_shipments()?)?;
    let at = |minute: i64| minute * MINUTE_MS;
    let orders = [("o1", "books", 0), ("o2", "a lamp", 5), ("o3", "a chair", 10)];
    app.write("orders", orders.map(|(order, goods, minute)| (order.to_owned(), goods.to_owned(), at(minute))))?;
    let shipments = [("o1", "a bicycle", 30), ("o2", "a truck", 180), ("o3", "a plane", 130)];
    app.write("shipments", shipments.map(|(order, by, minute)| (order.to_owned(), by.to_owned(), at(minute))))?;
    app.run_until_idle()?;

    // Event time goes on with the next order; and, as in Kafka Streams, what did not come is looked for once a second.
    thread::sleep(Duration::from_millis(1_100));
    app.write("orders", [("o4".to_owned(), "a clock".to_owned(), at(300))])?;
    app.run_until_idle()?;

    // A result carries the later of the two times: that is when it could be known.
    for record in app.read::<String, String>("order-reports")? {
        println!("minute {:>3}  {}: {}", record.timestamp / MINUTE_MS, record.key, record.value);
    }
    app.close()?;
    Ok(())
}
