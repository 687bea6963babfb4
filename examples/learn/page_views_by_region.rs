//! Page views by region: a stream joined with a table.
//!
//! A page view knows who looked, a profile knows where that person lives. Each view is completed with the profile as it
//! is at that moment; later changes of the profile change no view that was counted before.

use examples::println;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

#[derive(Clone, Serialize, Deserialize)]
struct Profile {
    name: String,
    region: String,
}

/// One line gives a type of yours a format in topics and stores.
impl Data for Profile {
    type Serde = Json;
}

fn page_views_by_region() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    // Both topics have the user as key: a view and its profile meet in the same partition.
    let views = builder.stream::<String, String>("page-views");
    let profiles = builder.table::<String, Profile>("profiles");
    views
        // The inner join leaves out views of users that have no profile yet; `left_join_table` would keep them.
        .join_table(&profiles, |_user, _page, profile| profile.region.clone())
        // The key becomes the region, so records move to other partitions: through a repartition topic.
        .group_by(|_user, region| region.clone())
        .count_with(Materialized::new("views"))
        .to_stream()
        .to("views-by-region");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("page-views-by-region", page_views_by_region()?)?;
    let profile = |name: &str, region: &str| Profile { name: name.to_owned(), region: region.to_owned() };
    let moves = [("alice", "Europe", 0), ("bob", "Asia", 0), ("alice", "Asia", 50)];
    app.write("profiles", moves.map(|(user, region, time)| (user.to_owned(), profile(user, region), time)))?;
    let views = [("alice", 10), ("bob", 20), ("alice", 30), ("stranger", 40), ("alice", 60)];
    app.write("page-views", views.map(|(user, time)| (user.to_owned(), "/home".to_owned(), time)))?;
    app.run_until_idle()?;

    // A change of a count is a record. The last one of each region is what the table holds.
    for (region, views) in app.read_latest::<String, i64>("views-by-region")? {
        println!("{region}: {views}");
    }
    app.close()?;
    Ok(())
}
