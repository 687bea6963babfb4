//! What a run costs the machine: processor time, memory, bytes written.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};
use serde::Serialize;

/// The clock, the processor time and the bytes written at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Started {
    at: Instant,
    cpu: Duration,
    written: u64,
}

/// What happened since.
pub(crate) struct Usage {
    /// By the clock on the wall.
    pub(crate) seconds: f64,
    /// Processor time of all threads, in the program and in the system for it.
    pub(crate) cpu_seconds: f64,
    /// Bytes handed to files, as the system counts them (0 where it does not).
    pub(crate) bytes_written: u64,
    /// Most memory held since the start of the process, in bytes (0 where the system does not tell).
    pub(crate) peak_rss_bytes: u64,
}

/// The figures of a run that is told in records.
#[derive(Serialize)]
pub(crate) struct Figures {
    seconds: f64,
    records_per_second: f64,
    cpu_seconds: f64,
    records_per_cpu_second: f64,
    peak_rss_bytes: u64,
    bytes_written: u64,
}

impl Usage {
    pub(crate) fn figures(&self, records: u64) -> Figures {
        Figures {
            seconds: self.seconds,
            records_per_second: records as f64 / self.seconds,
            cpu_seconds: self.cpu_seconds,
            records_per_cpu_second: records as f64 / self.cpu_seconds,
            peak_rss_bytes: self.peak_rss_bytes,
            bytes_written: self.bytes_written,
        }
    }
}

impl Started {
    /// Now.
    pub(crate) fn now() -> Self {
        Started { at: Instant::now(), cpu: cpu_time(), written: bytes_written() }
    }

    /// From then until now.
    pub(crate) fn usage(self) -> Usage {
        Usage {
            seconds: self.at.elapsed().as_secs_f64(),
            cpu_seconds: (cpu_time() - self.cpu).as_secs_f64(),
            bytes_written: bytes_written() - self.written,
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}

/// Forgets the peak so far, where the system allows it, so that a run does not show what loading its input took.
pub(crate) fn reset_peak() -> io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}

/// Another process, as the system counts what it uses: 0 where it does not tell.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

/// What a process has used since it began.
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    pub(crate) bytes_written: u64,
    pub(crate) peak_rss_bytes: u64,
}

impl Process {
    pub(crate) fn used(self) -> Used {
        let file = |name: &str| format!("/proc/{}/{name}", self.0);
        Used {
            // Behind the name, user and system time are the twelfth and the thirteenth field.
            cpu_seconds: stat_seconds(&file("stat"), 11),
            bytes_written: field(&file("io"), "wchar:"),
            peak_rss_bytes: field(&file("status"), "VmHWM:") * 1024,
        }
    }

    /// As [`reset_peak`]; where the system does not allow it, the peak stays that of the whole life.
    pub(crate) fn reset_peak(self) {
        let _ = fs::write(format!("/proc/{}/clear_refs", self.0), "5");
    }
}

/// Processor time of all children of this process that have ended and were waited for (0 where the system does not tell).
pub(crate) fn children_cpu_seconds() -> f64 {
    // Behind the process's own two.
    stat_seconds("/proc/self/stat", 13)
}

/// The sum of two numbers in a file of `/proc`, in clock ticks: so many fields behind the name, which may have spaces.
fn stat_seconds(file: &str, fields: usize) -> f64 {
    let stat = fs::read_to_string(file).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(fields).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / clock_ticks_per_second() as f64
}

/// Processor time of the calling thread so far, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    u64::try_from(time_of(ClockId::ThreadCPUTime).as_nanos()).unwrap_or(u64::MAX)
}

fn cpu_time() -> Duration {
    time_of(ClockId::ProcessCPUTime)
}

fn time_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn bytes_written() -> u64 {
    field("/proc/self/io", "wchar:")
}

/// Memory held now.
pub(crate) fn rss_bytes() -> u64 {
    field("/proc/self/status", "VmRSS:") * 1024
}

/// Bytes taken from files so far, as the system counts them (0 where it does not).
pub(crate) fn bytes_read() -> u64 {
    field("/proc/self/io", "rchar:")
}

pub(crate) fn peak_rss_bytes() -> u64 {
    field("/proc/self/status", "VmHWM:") * 1024
}

/// The number after `name` in a file of lines `name number …`; 0 if there is none.
fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}
