//! An application without work, which measures itself: one line of JSON.
//!
//! `idle DATA` starts a topology with a repartition topic, a store and its changelog on empty topics; it prints how long it took
//! to RUNNING, and what resting costs: memory (null where the system does not tell it), and processor time over two seconds.

use std::{env, error::Error, fs, path::PathBuf, sync::Arc, thread, time::Duration, time::Instant};

use log_store::{
    TopicName,
    client::{LogClient, NewTopic},
};
use rustix::time::{ClockId, clock_gettime};
use streams_dsl::prelude::*;

const WAIT: Duration = Duration::from_secs(60);

/// What follows a start (first polls, the first look of the cleaners) is over after this time.
const SETTLING: Duration = Duration::from_millis(500);

const REST: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let data = PathBuf::from(env::args_os().nth(1).ok_or("usage: idle DATA")?);
    let log = EmbeddedLog::open(data.join("log"), LogConfig::default())?;
    let mut admin = log.admin()?;
    for topic in ["lines", "counts"] {
        let name = TopicName::new(topic)?;
        if admin.describe_topic(&name)?.is_none() {
            admin.create_topics(&[NewTopic::new(name, 1)])?;
        }
    }
    drop(admin);

    let began = Instant::now();
    let builder = StreamsBuilder::new();
    builder
        .stream::<(), String>("lines")
        .group_by(|(), word| word.clone())
        .count_with(Materialized::new("counts"))
        .to_stream()
        .to("counts");
    let config = StreamsConfig::builder("idle").state_dir(data.join("state")).build()?;
    let streams = Streams::new(builder.build()?, config, Arc::new(log.clone()))?;
    streams.start()?;
    streams.wait_for(State::Running, WAIT)?;
    let running_ms = began.elapsed().as_secs_f64() * 1e3;

    thread::sleep(SETTLING);
    let before = cpu_time();
    thread::sleep(REST);
    let cpu_ms = (cpu_time() - before).as_secs_f64() * 1e3;
    let rss_bytes = rss_bytes().map_or_else(|| "null".to_owned(), |bytes| bytes.to_string());
    println!(r#"{{"running_ms":{running_ms:.1},"cpu_ms":{cpu_ms:.1},"rss_bytes":{rss_bytes}}}"#);
    streams.close(WAIT);
    log.close()?;
    Ok(())
}

/// Processor time of all threads so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory held now, if the system tells: Linux does.
fn rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
