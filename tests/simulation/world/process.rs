//! The process: its log, its instances and threads, and how it dies and comes back.

use super::*;

impl World {
    pub(crate) fn is_powered(&self) -> bool {
        self.is_powered.get()
    }

    /// Asked before each operation that changes the disk.
    pub(crate) fn disk(&self, operation: Disk, path: &str) -> io::Result<()> {
        if !self.is_powered() {
            return Err(io::Error::other("the power is off"));
        }
        if operation == Disk::Sync && self.is_chaotic.get() {
            let slow = if self.chance(400) { 12_000 } else { 3 };
            self.pass(Duration::from_millis(self.below(slow)));
        }
        let Some((left, fault)) = self.fault.get() else { return Ok(()) };
        let is_hit = match fault {
            Fault::PowerCut => true,
            Fault::Failure(of) => of == operation,
        };
        if left > 0 || !is_hit {
            self.fault.set(Some((left.saturating_sub(1), fault)));
            return Ok(());
        }
        self.fault.set(None);
        self.note(format_args!("{fault:?} at {operation:?} of {path}"));
        match fault {
            Fault::PowerCut => {
                self.cut_power();
                Err(io::Error::other("the power is off"))
            }
            Fault::Failure(_) => {
                self.is_broken.set(true);
                Err(io::Error::other("injected failure"))
            }
        }
    }

    /// Nothing reaches a disk from here on.
    pub(super) fn cut_power(&self) {
        let mut random = self.random.borrow_mut();
        let plan = match random.below(4) {
            0 => CrashPlan::ProcessOnly,
            1 => CrashPlan::LoseAll,
            _ => CrashPlan::Random(random.next()),
        };
        let log = self.memory.borrow().crash(plan);
        let mut kept = |writes: usize| match plan {
            CrashPlan::LoseAll => 0,
            _ => usize::try_from(random.below(writes as u64 + 1)).expect("at most all"),
        };
        let states = self.instances.borrow().iter().map(|instance| instance.disk.crash(&mut kept)).collect();
        drop(random);
        self.note(format_args!("the power is off: {plan:?}"));
        self.is_powered.set(false);
        *self.image.borrow_mut() = Some(Image { log, states });
        self.count(|summary| summary.crashes += 1);
    }

    pub(super) fn drop_everything(&self) {
        let threads: Vec<SteppedThread> =
            self.slots.borrow_mut().iter_mut().filter_map(|slot| slot.thread.take()).collect();
        drop(threads);
        let streams: Vec<_> = self.instances.borrow_mut().iter_mut().map(|instance| instance.streams.take()).collect();
        drop(streams);
        drop(self.input.borrow_mut().take());
        let log = self.log.borrow_mut().take();
        drop(log);
        self.undecided.borrow_mut().clear();
    }

    /// The process is gone, and a new one starts on what it left.
    pub(super) fn restart(&self) -> Result<(), Failure> {
        loop {
            if self.is_powered() {
                self.cut_power();
            }
            self.drop_everything();
            let image = self.image.borrow_mut().take().expect("the power was cut");
            *self.memory.borrow_mut() = image.log;
            for (instance, disk) in self.instances.borrow_mut().iter_mut().zip(image.states) {
                instance.disk = disk;
            }
            self.is_powered.set(true);
            self.is_broken.set(false);
            self.note(format_args!("restart"));
            match self.open() {
                Ok(()) => return Ok(()),
                Err(_) if !self.is_powered() || self.is_broken.get() => {}
                Err(error) => return Err(format!("the restart failed: {error}")),
            }
        }
    }

    pub(super) fn open(&self) -> Result<(), Error> {
        let directory = SimulatedDirectory(self.memory.borrow().clone());
        let config = LogConfig {
            preallocate_bytes: 0,
            checkpoint_bytes: 3_000,
            cleaner_bytes_per_second: None,
            ..LogConfig::default()
        };
        let log = EmbeddedLog::open_stepped(Arc::new(directory), config, Arc::clone(&self.clock) as Arc<dyn Clock>)?;
        let mut admin = log.admin()?;
        for topic in TOPICS {
            let name = TopicName::new(topic)?;
            if admin.describe_topic(&name)?.is_none() {
                admin.create_topics(&[NewTopic::new(name, PARTITIONS)])?;
            }
        }
        *self.input.borrow_mut() = Some(log.producer(&ProducerConfig::default())?);
        *self.log.borrow_mut() = Some(log);
        let count = self.instances.borrow().len();
        for instance in 0..count {
            self.start(instance)?;
        }
        Ok(())
    }

    pub(super) fn log(&self) -> EmbeddedLog {
        self.log.borrow().clone().expect("the log is open")
    }

    pub(super) fn start(&self, instance: usize) -> Result<(), Error> {
        let (disk, folder) = {
            let instances = self.instances.borrow();
            (instances[instance].disk.clone(), instances[instance].folder.clone())
        };
        let config = StreamsConfig::builder(APPLICATION)
            .client_id(format!("{APPLICATION}-{instance}"))
            .state_dir(folder)
            .processing_guarantee(self.settings.guarantee)
            .commit_interval(COMMIT_INTERVAL)
            .poll_wait(Duration::ZERO)
            .repartition_purge_interval(Duration::from_millis(200))
            .num_standby_replicas(usize::from(self.settings.has_standbys))
            .topic_setting("segment.bytes", "1500")
            .topic_setting("min.cleanable.dirty.ratio", "0.01")
            .build()?;
        let client = Arc::new(SimulatedClient(self.log()));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let streams = SteppedStreams::start(&self.topology, &config, client, clock, &disk)?;
        self.instances.borrow_mut()[instance].streams = Some(streams);
        Ok(())
    }

    /// Starts the thread of a slot that has none.
    pub(super) fn spawn(&self, index: usize) {
        let (instance, number) = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index];
            if slot.thread.is_some() || slot.is_busy {
                return;
            }
            slot.is_busy = true;
            slot.is_closing = false;
            slot.until = Duration::ZERO;
            (slot.instance, slot.number)
        };
        self.note(format_args!("spawn {instance}-{number}"));
        let streams = self.instances.borrow_mut()[instance].streams.take();
        if let Some(streams) = streams {
            let spawned = streams.spawn(number);
            self.instances.borrow_mut()[instance].streams = Some(streams);
            match spawned {
                Ok(thread) => self.slots.borrow_mut()[index].thread = Some(thread),
                Err(error) => self.explain(&error),
            }
        }
        self.slots.borrow_mut()[index].is_busy = false;
    }

    /// Lets the thread of a slot take one turn, if it is there.
    pub(super) fn turn(&self, index: usize) {
        let mut thread = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index];
            let Some(thread) = slot.thread.take() else { return };
            slot.is_busy = true;
            thread
        };
        self.count(|summary| summary.turns += 1);
        if thread.turn() {
            self.slots.borrow_mut()[index].thread = Some(thread);
        } else if let Some(error) = thread.end() {
            self.note(format_args!("thread {index} ends: {error}"));
            self.explain(&error);
        } else {
            self.note(format_args!("thread {index} ends"));
        }
        self.slots.borrow_mut()[index].is_busy = false;
    }

    /// Is there a reason for this error?
    pub(super) fn explain(&self, error: &Error) {
        self.count(|summary| summary.fenced_or_failed += 1);
        let is_lost_call = matches!(error, Error::Log(LogError::TimedOut { .. }));
        // The directory of a task is in the hands of a thread that is held up, for longer than anybody waits.
        let is_held_up = error.to_string().contains("still in use by another thread");
        let is_explained = is_held_up || is_lost_call;
        if self.is_powered() && !self.is_broken.get() && !(is_explained && self.settings.is_chaotic) {
            self.strange.borrow_mut().get_or_insert_with(|| format!("an error without a reason: {error}"));
        }
    }

    /// One step of the thread that keeps an instance's copies.
    pub(super) fn step_standbys(&self, instance: usize) {
        let streams = self.instances.borrow_mut()[instance].streams.take();
        let Some(mut streams) = streams else { return };
        let worked = streams.step_standbys();
        self.instances.borrow_mut()[instance].streams = Some(streams);
        if let Err(error) = worked {
            self.note(format_args!("the standby tasks of {instance} end: {error}"));
            self.explain(&error);
        }
    }

    pub(super) fn restore(&self, instance: usize) -> bool {
        let streams = self.instances.borrow_mut()[instance].streams.take();
        let Some(streams) = streams else { return false };
        let worked = streams.restore();
        self.instances.borrow_mut()[instance].streams = Some(streams);
        worked
    }
}
