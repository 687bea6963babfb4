//! Change data capture: a database's inserts, updates and deletes become a table here.
//!
//! A connector writes each change of a row as a record, with the row's key. In a topic of a table a value replaces the
//! one before, and a null deletes: a tombstone. So a delete has to become a null, and everything else follows: the
//! store, the tables derived from it, and the topic, from which compaction removes the row.

use examples::println;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

/// A change as connectors write it: the operation, and the row after it.
#[derive(Clone, Serialize, Deserialize)]
struct Change {
    op: String,
    after: Option<Customer>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Customer {
    name: String,
    city: String,
}

impl Data for Change {
    type Serde = Json;
}

impl Data for Customer {
    type Serde = Json;
}

fn change_data_capture() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    let customers: KTable<i64, Option<Customer>> = builder
        .stream::<i64, Change>("db.customers")
        // `Option` is where null has a type: `None` is the tombstone.
        .map_values(|_, change| if change.op == "d" { None } else { change.after })
        // Without caching every change is passed on; with it, the last one of each commit.
        .to_table_with(Materialized::new("customers").with_caching_disabled());
    customers.to_stream().to("customers");

    // A table derived from a table: a customer who moves leaves one city and comes into another.
    customers
        .filter(|_, customer| customer.is_some())
        .group_by(|id, customer| (customer.as_ref().map(|customer| customer.city.clone()), *id))
        .count()
        .to_stream()
        .to("customers-by-city");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("change-data-capture", change_data_capture()?)?;
    let change = |id: i64, op: &str, row: Option<(&str, &str)>, time: i64| {
        let after = row.map(|(name, city)| Customer { name: name.to_owned(), city: city.to_owned() });
        (id, Change { op: op.to_owned(), after }, time)
    };
    app.write(
        "db.customers",
        [
            change(1, "c", Some(("Ada", "London")), 1),
            change(2, "c", Some(("Grace", "New York")), 2),
            change(3, "c", Some(("Edsger", "London")), 3),
            change(3, "u", Some(("Edsger", "Austin")), 4),
            change(2, "d", None, 5),
        ],
    )?;
    app.run_until_idle()?;
    println!("changes:");
    for record in app.read::<i64, Option<Customer>>("customers")? {
        let customer =
            record.value.map_or("deleted".to_owned(), |customer| format!("{} in {}", customer.name, customer.city));
        println!("  {} {customer}", record.key);
    }
    println!("customers by city:");
    for (city, count) in app.read_latest::<String, i64>("customers-by-city")? {
        println!("  {city} {count}");
    }
    app.close()?;
    Ok(())
}
