//! How a run ends: nothing fails any more, everything comes out, and is read.

use super::*;

impl World {
    /// Nothing fails any more: everything comes out.
    pub(super) fn finish(&self) -> Result<Output, Failure> {
        let slots = self.slots.borrow().len();
        let mut after = None;
        for round in 0..CALM_ROUNDS_MAX {
            self.produce(20);
            for slot in 0..slots {
                self.spawn(slot);
                self.turn(slot);
            }
            let instances = self.instances.borrow().len();
            for instance in 0..instances {
                while self.restore(instance) && self.chance(3) {}
                if self.settings.has_standbys {
                    self.step_standbys(instance);
                }
            }
            // What zombies and crashed threads left open ends by its timeout.
            self.pass(if round % 64 == 63 { TRANSACTION_OVER } else { Duration::from_millis(7) });
            self.abort_expired();
            self.check_strange()?;
            if after.is_none() && round % 16 == 15 && self.is_complete() {
                after = Some(round + AFTER_ROUNDS);
            }
            if after == Some(round) {
                self.compare_copies()?;
                return Ok(self.output());
            }
        }
        Err(format!("not everything came out: {}", self.missing()))
    }

    /// Nothing moves any more but the copies: each becomes equal to its store.
    fn compare_copies(&self) -> Result<(), Failure> {
        let instances = if self.settings.has_standbys { self.instances.borrow().len() } else { 0 };
        for _ in 0..COPY_ROUNDS {
            (0..instances).for_each(|instance| self.step_standbys(instance));
            self.pass(Duration::from_millis(7));
        }
        let mut originals = BTreeMap::new();
        self.with_stores(&mut |task, store| {
            originals.insert((task, store.name().to_owned()), crate::expect::rows(store));
        });
        let mut different = None;
        let compare = &mut |task: TaskId, store: &mut dyn StateStore| {
            let copy = crate::expect::rows(store);
            match originals.get(&(task, store.name().to_owned())) {
                Some(original) if *original == copy => self.count(|summary| summary.copies += 1),
                original => {
                    different = Some(format!("the copy of {} of {task} has {copy:?}, not {original:?}", store.name()));
                }
            }
        };
        for instance in self.instances.borrow().iter() {
            instance.streams.iter().for_each(|streams| streams.with_standby_stores(compare));
        }
        different.map_or(Ok(()), Err)
    }

    /// True if every input is consumed, committed, and nothing waits in an outbox.
    pub(super) fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }

    pub(super) fn missing(&self) -> String {
        let total: usize = self.plan.iter().map(Vec::len).sum();
        let output = self.output();
        let count = |topic: &str| output[topic].values().map(Vec::len).sum::<usize>();
        let mut missing = String::new();
        // At least once, a letter may be crossed out in its store and lost on its way: the two are not one commit.
        let is_exact = self.settings.guarantee == ProcessingGuarantee::ExactlyOnceV2;
        for topic in if is_exact { &["counts", "letters"][..] } else { &["counts"] } {
            if count(topic) < total {
                missing += &format!("{topic} has {} of {total}; ", count(topic));
            }
        }
        let by_value: i64 = output["values"].values().filter_map(|values| number(values.last()?.as_deref()?)).sum();
        if by_value < i64::try_from(total).expect("few") {
            missing += &format!("values count {by_value} of {total}; ");
        }
        let mut in_outbox = 0;
        self.with_stores(&mut |_, store| {
            if store.name() == "outbox"
                && let Some(store) = (store as &mut dyn std::any::Any).downcast_mut::<KeyValueStore<String, String>>()
            {
                in_outbox += store.prefix_scan(b"letter-").map_or(1, Iterator::count);
            }
        });
        if in_outbox > 0 {
            missing += &format!("{in_outbox} letters are not posted");
        }
        missing
    }

    /// Calls `visit` with the stores of all threads.
    pub(crate) fn with_stores(&self, visit: &mut dyn FnMut(TaskId, &mut dyn StateStore)) {
        let mut slots = self.slots.borrow_mut();
        for slot in slots.iter_mut() {
            if let Some(thread) = &mut slot.thread {
                thread.with_stores(visit);
            }
        }
    }

    pub(super) fn output(&self) -> Output {
        let topics = TOPICS[1..].iter().chain(&CHANGELOGS);
        let mut output: Output = topics.map(|topic| ((*topic).to_owned(), self.read(topic))).collect();
        // The stores themselves, as the tasks see them.
        let stores = output.entry("stores".to_owned()).or_default();
        self.with_stores(&mut |task, store| {
            let name = store.name().to_owned();
            for (key, value) in crate::expect::rows(store) {
                stores.entry(format!("{task} {name} {key}").into_bytes()).or_default().push(Some(value.into_bytes()));
            }
        });
        output
    }

    /// All that a topic holds: for each key its values in order.
    pub(super) fn read(&self, topic: &str) -> BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> {
        let isolation = match self.settings.guarantee {
            ProcessingGuarantee::ExactlyOnceV2 => Isolation::ReadCommitted,
            ProcessingGuarantee::AtLeastOnce => Isolation::ReadUncommitted,
        };
        let log = self.log();
        let mut consumer =
            log.consumer(&ConsumerConfig { isolation, ..ConsumerConfig::default() }).expect("an open log");
        let partitions: Vec<_> = (0..PARTITIONS as usize).map(|number| partition(topic, number)).collect();
        let start: Vec<_> = partitions.iter().map(|partition| (partition.clone(), StartAt::Beginning)).collect();
        consumer.assign(&start).expect("topics that exist");
        let mut values: BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> = BTreeMap::new();
        while let Polled::Batch(batch) = consumer.poll(Duration::ZERO).expect("a log that can be read") {
            let mut cursor = batch.cursor();
            while let Some(at) = cursor.advance().expect("a whole batch") {
                let record = cursor.view(&at);
                let mut key = record.key.unwrap_or_default().to_vec();
                if CHANGELOGS.contains(&topic) {
                    // A key may be in several.
                    key.insert(0, b'0' + u8::try_from(batch.partition.partition).expect("few partitions"));
                }
                values.entry(key).or_default().push(record.value.map(<[u8]>::to_vec));
            }
        }
        values
    }
}
