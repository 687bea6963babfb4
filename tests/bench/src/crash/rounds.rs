//! Starts the program, kills it, starts it again: what each start tells.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{Options, text::Text};
use crate::{Guarantee, application::READY_WAIT};

/// What all starts together told.
#[derive(Default)]
pub(crate) struct Told {
    /// From process start to RUNNING, of each start that came so far.
    pub(crate) to_running: Vec<Duration>,
    /// Records that each of these starts restored.
    pub(crate) restored: Vec<u64>,
    /// Starts that were killed before.
    pub(crate) killed_before_running: u64,
    /// Stores that began their restore before where an earlier start had begun it: what they had flushed is gone.
    pub(crate) wiped: u64,
    /// Lines that were acknowledged, by partition.
    pub(crate) fed: Vec<u64>,
    /// Where the restores of each store and partition began last.
    starts: HashMap<(String, u32), u64>,
}

/// One process.
pub(crate) struct Program {
    child: Child,
    began: Instant,
    lines: mpsc::Receiver<(Instant, String)>,
    restored: u64,
}

impl Told {
    pub(crate) fn new(partitions: u32) -> Self {
        Told { fed: vec![0; partitions as usize], ..Told::default() }
    }
}

impl Program {
    pub(crate) fn start(options: &Options, folder: &Path, text: Text, fill: bool) -> anyhow::Result<Self> {
        let common = &options.common;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("crash").arg("--child").arg(folder);
        let mut set = |name: &str, value: String| {
            command.arg(format!("--{name}")).arg(value);
        };
        set("began-ms", text.began_ms.to_string());
        set("keys", text.keys.to_string());
        set("rate", options.rate.to_string());
        set("threads", common.threads.to_string());
        set("partitions", common.partitions().to_string());
        let guarantee = match common.guarantee {
            Guarantee::ExactlyOnce => "exactly-once",
            Guarantee::AtLeastOnce => "at-least-once",
        };
        set("guarantee", guarantee.to_owned());
        set("cache", common.cache.unwrap_or(0).to_string());
        if let Some(millis) = common.commit_ms {
            set("commit-ms", millis.to_string());
        }
        if let Some(bytes) = common.memory {
            set("memory", bytes.to_string());
        }
        if fill {
            command.arg("--fill");
        }
        let began = Instant::now();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("the program has no standard output")?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Program { child, began, lines, restored: 0 })
    }

    /// Listens until `deadline`, or until RUNNING if `wants_running`. True if it is running.
    pub(crate) fn listen(&mut self, told: &mut Told, deadline: Instant, wants_running: bool) -> anyhow::Result<bool> {
        let mut is_running = false;
        while !(wants_running && is_running) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((at, line)) => is_running |= self.take_in(told, at, &line)?,
                Err(mpsc::RecvTimeoutError::Timeout) => break,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    bail!("the program ended by itself: {}", self.child.wait()?);
                }
            }
        }
        Ok(is_running)
    }

    /// Takes in one line; true if it says that the application is running.
    fn take_in(&mut self, told: &mut Told, at: Instant, line: &str) -> anyhow::Result<bool> {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| -> anyhow::Result<u64> {
            fields
                .get(place)
                .and_then(|field| field.parse().ok())
                .with_context(|| format!("{line:?} is not understood"))
        };
        match fields[0] {
            "running" => {
                told.to_running.push(at - self.began);
                told.restored.push(self.restored);
                return Ok(true);
            }
            "fed" => {
                let (partition, end) = (usize::try_from(number(1)?)?, number(2)?);
                if let Some(fed) = told.fed.get_mut(partition) {
                    *fed = end.max(*fed);
                }
            }
            "restored" => {
                let (store, partition, start) = (fields[1].to_owned(), u32::try_from(number(2)?)?, number(3)?);
                self.restored += number(4)?;
                let earlier = told.starts.insert((store, partition), start);
                told.wiped += u64::from(earlier.is_some_and(|earlier| start < earlier));
            }
            _ => bail!("{line:?} is not understood"),
        }
        Ok(false)
    }

    /// Kills it, and takes in what it had said.
    pub(crate) fn kill(mut self, told: &mut Told) -> anyhow::Result<bool> {
        self.child.kill()?;
        self.child.wait()?;
        let mut is_running = false;
        while let Ok((at, line)) = self.lines.recv() {
            is_running |= self.take_in(told, at, &line).unwrap_or(false);
        }
        Ok(is_running)
    }

    /// Waits until it ends in order.
    pub(crate) fn finish(mut self, told: &mut Told) -> anyhow::Result<()> {
        loop {
            match self.lines.recv_timeout(READY_WAIT) {
                Ok((at, line)) => drop(self.take_in(told, at, &line)?),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => bail!("the store is not filled within {READY_WAIT:?}"),
            }
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the program that fills the store ended with {status}");
        }
        Ok(())
    }
}
