//! Settings of memory and files, as several applications of one process have them.

use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::{
    EmbeddedStreams, Record, StreamsConfig,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::default_serde,
    state::{KeyValueStore, MemoryBudget, Stores},
    topology::{Source, Topology},
};

const ROWS: i64 = 2_000;

#[derive(Default)]
struct Keep(Option<StoreHandle<KeyValueStore<i64, Vec<u8>>>>);

impl Processor<i64, Vec<u8>, (), ()> for Keep {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        self.0 = Some(ctx.store_handle("rows")?);
        Ok(())
    }

    fn process(&mut self, record: Record<i64, Vec<u8>>, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        ctx.store(self.0.ok_or("init comes first")?).put(&record.key, record.value)?;
        Ok(())
    }
}

fn topology() -> Topology {
    let mut topology = Topology::new();
    topology.add_source(Source::<i64, Vec<u8>>::new("source", "in")).add_processor("keep", &["source"], Keep::default);
    let rows = Stores::persistent_key_value_store("rows");
    let builder = Stores::key_value_store_builder(rows, default_serde::<i64>(), default_serde::<Vec<u8>>());
    topology.add_state_store(builder, &["keep"]);
    topology
}

#[test]
fn applications_with_one_budget_share_it_and_the_setter_sees_each_store() {
    let folder = TempDir::new().unwrap();
    let budget = MemoryBudget::new(64 << 20);
    let opened = Arc::new(Mutex::new(Vec::new()));
    let mut held = Vec::new();
    let mut applications = Vec::new();
    for name in ["one", "two"] {
        let log = Arc::clone(&opened);
        let config =
            StreamsConfig::builder(name).shared_memory_budget(&budget).rocksdb_config_setter(move |store, _, table| {
                log.lock().push(format!("{name} {store}"));
                table.set_block_size(8 << 10);
            });
        let app = EmbeddedStreams::open(folder.path().join(name), config, topology()).unwrap();
        app.write("in", (0..ROWS).map(|row| (row, vec![7_u8; 200], row))).unwrap();
        app.run_until_idle().unwrap();
        held.push(budget.rows_bytes());
        applications.push(app);
    }
    // More than half a megabyte, which is counted for the store itself.
    let store = 512 << 10;
    assert!(held[0] > store && held[1] > held[0] + store, "the rows of both count: {held:?}");
    for app in applications {
        app.close().unwrap();
    }
    let mut opened = opened.lock().clone();
    opened.dedup();
    assert_eq!(opened, ["one rows", "two rows"], "each when its files are opened");
}
