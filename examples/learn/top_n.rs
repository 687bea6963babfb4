//! Top-N: the three most viewed articles of each topic, kept up to date.
//!
//! Counting gives a table: article → views. Grouping that table by subject takes an article out of its place whenever its
//! count changes and puts it into the new one, so the ranking is always that of the latest counts.

use examples::println;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Article {
    title: String,
    views: i64,
}

impl Data for Article {
    type Serde = Json;
}

fn top_articles() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        // Key: `subject/title`.
        .stream::<String, ()>("views")
        .map_values(|_, ()| 1_i64)
        .group_by_key()
        .count_with(Materialized::new("views-by-article"))
        .group_by(|article, views| {
            let (subject, title) = article.split_once('/').unwrap_or(("", article));
            (subject.to_owned(), Article { title: title.to_owned(), views: *views })
        })
        // Of articles with equal counts the one that got there first comes first.
        .top_n(3, |article| article.views)
        .to_stream()
        .to("top-articles");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("top-articles", top_articles()?)?;
    let views = "rust/ownership rust/traits rust/ownership kafka/offsets rust/macros rust/async rust/async rust/async \
                 kafka/offsets rust/macros rust/traits rust/macros rust/macros";
    let records = views.split_whitespace().zip(1..).map(|(article, time)| (article.to_owned(), Some(time), time));
    app.write("views", records)?;
    app.run_until_idle()?;

    for (subject, articles) in app.read_latest::<String, Ranked<Article>>("top-articles")? {
        println!("{subject}:");
        for (place, article) in articles.iter().enumerate() {
            println!("  {}. {} ({} views)", place + 1, article.title, article.views);
        }
    }
    app.close()?;
    Ok(())
}
