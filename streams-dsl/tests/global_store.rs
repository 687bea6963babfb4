//! Global stores that a processor of the program's own keeps.

use streams_core::{processor::StoreHandle, serde::default_serde, state::KeyValueStore, testing::TopologyTestDriver};
use streams_dsl::prelude::*;

type Rates = KeyValueStore<String, f64>;

fn rates(name: &str) -> std::sync::Arc<dyn streams_core::state::StoreBuilder> {
    let supplier = Stores::persistent_key_value_store(name);
    std::sync::Arc::new(Stores::key_value_store_builder(supplier, default_serde::<String>(), default_serde::<f64>()))
}

/// Writes each record as a number.
struct Keep(&'static str, Option<StoreHandle<Rates>>);

impl Processor<String, String, (), ()> for Keep {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        self.1 = Some(ctx.store_handle(self.0)?);
        Ok(())
    }

    fn process(&mut self, record: Record<String, String>, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        ctx.store(self.1.ok_or("init comes first")?).put(&record.key, record.value.parse()?)?;
        Ok(())
    }
}

/// Multiplies each amount by the rate of its currency. It has named no store.
#[derive(Default)]
struct Convert(Option<StoreHandle<Rates>>);

impl Processor<String, f64, String, f64> for Convert {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, f64>) -> ProcessResult {
        self.0 = Some(ctx.store_handle("rates")?);
        Ok(())
    }

    fn process(&mut self, record: Record<String, f64>, ctx: &mut ProcessorContext<'_, String, f64>) -> ProcessResult {
        let rate = ctx.store(self.0.ok_or("init comes first")?).get(&record.key)?.copied().unwrap_or(1.0);
        let value = record.value * rate;
        ctx.forward(record.with_value(value))
    }
}

#[test]
fn its_names_are_those_of_kafka_streams() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in");
    builder.add_global_store(rates("rates"), "exchange-rates", Consumed::new(), || Keep("rates", None));
    let named = Consumed::new().with_name("named");
    builder.add_global_store(rates("more"), "more-rates", named, || Keep("more", None));
    stream.map_values(|_, value| value).to("out");
    let described = builder.build().unwrap().describe().to_string();
    assert_eq!(described.trim_end(), include_str!("describe/global-stores.txt").trim_end());
}

#[test]
fn every_processor_may_read_it() {
    let builder = StreamsBuilder::new();
    builder.add_global_store(rates("rates"), "exchange-rates", Consumed::new(), || Keep("rates", None));
    builder.stream::<String, f64>("amounts").process(Convert::default).to("converted");
    let config = StreamsConfig::builder("app").state_dir("unused").build().unwrap();
    let driver = TopologyTestDriver::new(&builder.build().unwrap(), config).unwrap();
    let (exchange, amounts) = (driver.create_input_topic("exchange-rates"), driver.create_input_topic("amounts"));
    amounts.pipe_input("dollar".to_owned(), 10.0).unwrap();
    exchange.pipe_input("dollar".to_owned(), "1.5".to_owned()).unwrap();
    amounts.pipe_input("dollar".to_owned(), 10.0).unwrap();
    let converted = driver.create_output_topic::<String, f64>("converted").read_key_values().unwrap();
    assert_eq!(converted.into_iter().map(|(_, amount)| amount).collect::<Vec<_>>(), [10.0, 15.0]);
    assert!(driver.take_produced().iter().all(|record| !record.topic.contains("changelog")), "nothing logs it");
}
