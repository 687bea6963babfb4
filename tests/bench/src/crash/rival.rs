//! Kafka Streams, killed and started again in the same way: how soon does it run?
//!
//! Its broker lives on, only the application is killed. As a static member it need not wait until the broker gives up the
//! one that was killed. Its results are not compared: what is asked is when it says RUNNING, and how much it restored.

use std::{
    thread,
    time::{Duration, Instant},
};

use log_store::RecordView;

use super::{
    Options, Restarts,
    program::{COUNTED, LINES, TICK, TOTALLED},
    text::{Text, WORDS_PER_LINE},
};
use crate::{
    Common,
    rival::{Feed, Rival},
};

/// The settings that a user would choose who wants to be back soon.
const SETTINGS: &[(&str, &str)] = &[("group.instance.id", "one")];

/// Fills the store, and has `options.rival_rounds` long runs killed.
pub(crate) fn run(options: &Options, common: &Common, text: Text) -> anyhow::Result<Restarts> {
    let rival = Rival::start(common)?;
    for topic in [LINES, COUNTED, TOTALLED] {
        rival.create(topic, common.partitions(), &["retention.ms=-1"])?;
    }
    let start = || rival.application(common, "crash", &[LINES], SETTINGS);
    let mut feeder = Feeder::new(rival.feed(LINES, common.partitions())?, text, common.partitions());
    feeder.feed(text.vocabulary_lines())?;
    feeder.feed.end()?;
    let mut program = start()?;
    let [_] = program.said("running")?;
    program.end()?;

    feeder.feed = rival.feed(LINES, common.partitions())?;
    let (mut to_running, mut restored) = (Vec::new(), Vec::new());
    for round in 0..=options.rival_rounds {
        let began = Instant::now();
        let mut program = start()?;
        let [records] = program.said("running")?;
        // Nobody was killed before the first one.
        if round > 0 {
            to_running.push(began.elapsed());
            restored.push(records);
        }
        if round < options.rival_rounds {
            feeder.feed_for(Duration::from_millis(options.rival_up_ms), options.rate)?;
        }
        drop(program);
    }
    feeder.feed.end()?;
    Ok(Restarts::new(&mut to_running, &mut restored))
}

/// Writes the lines one after the other, over all partitions.
struct Feeder {
    feed: Feed,
    text: Text,
    partitions: u32,
    /// Lines so far.
    lines: u64,
    line: String,
}

impl Feeder {
    fn new(feed: Feed, text: Text, partitions: u32) -> Self {
        Feeder { feed, text, partitions, lines: 0, line: String::new() }
    }

    fn feed(&mut self, lines: u64) -> anyhow::Result<()> {
        for _ in 0..lines {
            let number = self.lines;
            self.lines += 1;
            self.text.write(number, &mut self.line);
            let key = number.to_be_bytes();
            let record = RecordView::new(self.text.time(number), Some(&key), Some(self.line.as_bytes()));
            self.feed.send(u32::try_from(number % u64::from(self.partitions))?, record)?;
        }
        self.feed.flush()
    }

    /// So many words a second.
    fn feed_for(&mut self, time: Duration, rate: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut fed = 0;
        while began.elapsed() < time {
            let due = (began.elapsed().as_secs_f64() * rate.div_ceil(WORDS_PER_LINE) as f64) as u64;
            self.feed(due - fed)?;
            fed = due;
            thread::sleep(TICK);
        }
        Ok(())
    }
}
